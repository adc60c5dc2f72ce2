/* Specifications of CDI: what is in them, whose they are, and what becomes of files of others. */
#include <dirent.h>
#include <locale.h>
#include <regex.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json_util.h>

#include "cdi.h"
#include "expect.h"
#include "fake.h"
#include "machine.h"

static char folder[] = "/tmp/ctl-cdi-XXXXXX";

static const struct svmd_partition_row rows[] = {
        { .name = "train", .domain = "default" },
        { .name = "7of9", .domain = "default" },
        { .name = "tail-", .domain = "default" },
};

static int setup(void **state) {
        char command[64];

        machine_setup(state);
        fake.partitions = rows;
        fake.partitions_count = COUNT(rows);
        snprintf(command, sizeof(command), "rm -rf %s/*", folder);
        return system(command);
}

/* The line with the folder in it, and behind it. */
static const char *in(const char *line) {
        static char text[4][256];
        static unsigned at;

        at = (at + 1) % 4;
        snprintf(text[at], sizeof(text[at]), "%s --cdi-dir %s", line, folder);
        return text[at];
}

static const char *path_of(const char *file) {
        static char text[4][128];
        static unsigned at;

        at = (at + 1) % 4;
        snprintf(text[at], sizeof(text[at]), "%s/%s", folder, file);
        return text[at];
}

static const char *wrote(const char *format, const char *file) {
        static char text[512];

        snprintf(text, sizeof(text), format, path_of(file));
        return text;
}

static void put_file(const char *file, const char *text) {
        FILE *f = fopen(path_of(file), "we");

        assert_non_null(f);
        fputs(text, f);
        fclose(f);
}

static struct json_object *file_json(const char *file) {
        struct json_object *o = json_object_from_file(path_of(file));

        assert_non_null(o);
        return o;
}

static void test_generate(void **state) {
        struct json_object *o;
        struct stat st;

        expect(in("cdi generate train"), 0,
               wrote("Wrote %s: 1 device of kind svmd.org/partition\n", "svmd.org-partition.json"), "");
        o = file_json("svmd.org-partition.json");
        expect_json(o, "cdiVersion", "0.3.0");
        expect_json(o, "kind", "svmd.org/partition");
        expect_json(o, "devices.0.name", "train");
        expect_json(o, "devices.0.containerEdits.env.0", "SVMD_SOCKET=/run/svmd/client/svmd.sock");
        expect_json(o, "devices.0.containerEdits.env.1", "SVMD_PARTITION=train");
        expect_json(o, "devices.0.containerEdits.mounts.0.hostPath", "/run/svmd/p/train");
        expect_json(o, "devices.0.containerEdits.mounts.0.containerPath", "/run/svmd/client");
        expect_json(o, "devices.0.containerEdits.mounts.0.options.0", "nosuid");
        expect_json(o, "containerEdits", "{ }");
        assert_int_equal(json_object_object_length(o), 4);
        json_object_put(o);
        assert_int_equal(stat(path_of("svmd.org-partition.json"), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0644);
        /* All of them: the least version that may have a name with a digit in front. */
        o = run_json(in("cdi generate --hook --json"), 0);
        expect_json(o, "devices.1", "7of9");
        expect_json(o, "skipped.0", "tail-");
        json_object_put(o);
        o = file_json("svmd.org-partition.json");
        expect_json(o, "cdiVersion", "0.5.0");
        expect_json(o, "devices.1.containerEdits.hooks.0.hookName", "createRuntime");
        expect_json(o, "devices.1.containerEdits.hooks.0.args.1", "attach");
        expect_json(o, "devices.1.containerEdits.hooks.1.hookName", "poststop");
        json_object_put(o);
        expect_part(in("cdi generate tail-"), 1, "", "cannot be a CDI device");
        expect_part(in("cdi generate train train"), 2, "", "named twice");
        expect_part(in("cdi generate trian"), 1, "", "did you mean 'train'?");
}

static void test_dry_run(void **state) {
        struct json_object *o = run_json(in("cdi generate train --dry-run --json"), 0);

        expect_json(o, "devices.0.name", "train");
        json_object_put(o);
        assert_int_equal(access(path_of("svmd.org-partition.json"), F_OK), -1);
}

/* A partition with a specification of its own is in no other, and takes it along. */
static void test_transient(void **state) {
        struct json_object *o;

        expect_part(in("partition create train --cdi"), 0, "Containers get it as svmd.org/partition=train", "");
        o = file_json("svmd.org-partition_train.json");
        expect_json(o, "devices.0.name", "train");
        json_object_put(o);
        expect_part(in("cdi generate train"), 1, "", "a specification of its own");
        o = run_json(in("cdi generate --json"), 0);
        expect_json(o, "devices", "[ \"7of9\" ]");
        json_object_put(o);
        o = run_json(in("cdi list --json"), 0);
        expect_json(o, "0.name", "7of9");
        expect_json(o, "0.transient", "false");
        expect_json(o, "1.name", "train");
        expect_json(o, "1.transient", "true");
        expect_json(o, "1.stale", "false");
        json_object_put(o);
        expect_part(in("partition delete train --dry-run"), 0, "", "");
        assert_int_equal(access(path_of("svmd.org-partition_train.json"), F_OK), 0);
        expect_part(in("partition delete train"), 0, "Deleted", "");
        assert_int_equal(access(path_of("svmd.org-partition_train.json"), F_OK), -1);
        fake.changes = 0;
        expect_part(in("partition create tail- --cdi"), 2, "", "begin and end with a letter or a digit");
        assert_int_equal(fake.changes, 0);
}

/* A partition that was to have a specification, and cannot, is not left. */
static void test_unwritable(void **state) {
        put_file("svmd.org-partition_train.json", "{\"kind\": \"nvidia.com/gpu\", \"devices\": []}\n");
        expect_part(in("partition create train --cdi"), 1, "", "is not of kind svmd.org/partition");
        assert_string_equal(fake.name, "train");
        assert_int_equal(fake.changes, 2);
}

static void test_others(void **state) {
        static const char *const files[] = { "nvidia.json", "svmd.org-partition.json", "svmd.org-partition_x.json" };
        static const char theirs[] = "{\"kind\": \"nvidia.com/gpu\", \"devices\": [{\"name\": \"train\"}]}\n";

        for (size_t i = 0; i < COUNT(files); i++)
                put_file(files[i], theirs);
        put_file("broken.json", "{");
        put_file("mine.json", "{\"kind\": \"svmd.org/partition\", \"devices\": [{\"name\": \"old\"}]}\n");
        expect_part(in("cdi generate"), 1, "", "is not of kind svmd.org/partition");
        expect_part(in("cdi list"), 0, "mine.json", "");
        assert_null(strstr(run_out, "nvidia"));
        expect_part(in("cdi remove train"), 1, "", "there is no CDI device");
        /* Of our kind, but of a name that is not: a person wrote it. */
        expect_part(in("cdi remove old"), 1, "", "was not written by svmd-ctl");
        expect(in("cdi remove --stale"), 0, "Nothing is stale\n", "");
        for (size_t i = 0; i < COUNT(files); i++) {
                struct json_object *o = file_json(files[i]);

                expect_json(o, "kind", "nvidia.com/gpu");
                json_object_put(o);
        }
}

static void test_stale(void **state) {
        struct json_object *o;

        expect_part(in("cdi generate"), 0, "2 devices", "");
        expect_part(in("partition create other --cdi"), 0, "", "");
        fake.partitions_count = 1;
        o = run_json(in("cdi list --json"), 0);
        expect_json(o, "1.stale", "true");
        json_object_put(o);
        expect(in("cdi remove --stale --runtime-dir /"), 0, "Nothing is stale\n", ""); /* of another svmd's */
        o = run_json(in("cdi remove --stale --json"), 0);
        expect_json(o, "removed", "[ \"7of9\", \"other\" ]");
        json_object_put(o);
        assert_int_equal(access(path_of("svmd.org-partition_other.json"), F_OK), -1);
        o = file_json("svmd.org-partition.json");
        expect_json(o, "cdiVersion", "0.3.0");
        json_object_put(o);
        expect(in("cdi remove train"), 0, "Removed svmd.org/partition=train\n", "");
        assert_int_equal(access(path_of("svmd.org-partition.json"), F_OK), -1);
        expect(in("cdi list"), 0,
               "There is no CDI device of kind svmd.org/partition; 'svmd-ctl cdi generate' writes them\n", "");
        expect_part(in("partition create other --cdi"), 0, "", "");
        expect_part(in("cdi generate"), 0, "Removed 1 of partitions that are gone", "");
        expect_part(in("cdi remove"), 2, "", "--stale");
}

/* Whoever reads while it is written has all of the one before, or all of this one; and nothing stays beside it. */
static void test_whole(void **state) {
        int status, ready[2];
        struct dirent *e;
        char byte;
        pid_t pid;
        DIR *dir;

        expect_part(in("cdi generate train"), 0, "", "");
        assert_int_equal(pipe(ready), 0);
        pid = fork();
        if (pid == 0) {
                struct json_object *o = json_object_from_file(path_of("svmd.org-partition.json"));

                for (bool begun = false; o; begun = true) {
                        json_object_put(o);
                        if (!begun && write(ready[1], "", 1) != 1)
                                break;
                        o = json_object_from_file(path_of("svmd.org-partition.json"));
                }
                _exit(1);
        }
        assert_int_equal(read(ready[0], &byte, 1), 1);
        for (unsigned i = 0; i < 200; i++)
                expect_part(in(i % 2 ? "cdi generate train" : "cdi generate"), 0, "", "");
        assert_int_equal(waitpid(pid, &status, WNOHANG), 0); /* it reads on */
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        close(ready[0]);
        close(ready[1]);
        expect(in("cdi remove train"), 0, "Removed svmd.org/partition=train\n", "");
        assert_int_equal(access(path_of("svmd.org-partition.json"), F_OK), -1);
        dir = opendir(folder);
        assert_non_null(dir);
        while ((e = readdir(dir)))
                assert_true(e->d_name[0] == '.');
        closedir(dir);
}

/* Users have a folder of their own; root's are the system's, which no test touches. */
static void test_folders(void **state) {
        const char *old = getenv("XDG_RUNTIME_DIR");
        char *keep = old ? strdup(old) : NULL, cdi[128];

        if (geteuid() == 0 && seteuid(65534) != 0)
                fail();
        unsetenv("XDG_RUNTIME_DIR");
        expect_part("cdi list", 2, "", "XDG_RUNTIME_DIR is not set");
        setenv("XDG_RUNTIME_DIR", folder, 1);
        expect_part("cdi list", 0, "There is no CDI device", "");
        if (getuid() == 0 && seteuid(0) != 0)
                fail();
        snprintf(cdi, sizeof(cdi), "%s/cdi", folder);
        assert_int_equal(access(cdi, F_OK), -1);
        if (keep)
                setenv("XDG_RUNTIME_DIR", keep, 1);
        else
                unsetenv("XDG_RUNTIME_DIR");
        free(keep);
}

/* The rule as CDI writes it, against ours, over names near its edge. */
static void test_names(void **state) {
        static const char letters[] = "aZ09-_.:/ @\xc3";
        unsigned seed = (unsigned)time(NULL), good = 0;
        regex_t rule;

        assert_int_equal(regcomp(&rule, "^[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?$", REG_EXTENDED | REG_NOSUB), 0);
        print_message("seed %u\n", seed);
        for (unsigned i = 0; i < 100000; i++) {
                char name[9] = "";
                unsigned n = (unsigned)rand_r(&seed) % 8;
                bool want;

                for (unsigned k = 0; k < n; k++)
                        name[k] = letters[(unsigned)rand_r(&seed) % (rand_r(&seed) % 4 ? 8 : sizeof(letters) - 1)];
                want = regexec(&rule, name, 0, NULL, 0) == 0;
                if (cdi_name_ok(name) != want)
                        fail_msg("'%s' is %s", name, want ? "good" : "bad");
                good += want;
        }
        assert_true(good > 1000);
        regfree(&rule);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_generate, setup),
                cmocka_unit_test_setup(test_dry_run, setup),
                cmocka_unit_test_setup(test_transient, setup),
                cmocka_unit_test_setup(test_unwritable, setup),
                cmocka_unit_test_setup(test_others, setup),
                cmocka_unit_test_setup(test_stale, setup),
                cmocka_unit_test_setup(test_whole, setup),
                cmocka_unit_test_setup(test_folders, setup),
                cmocka_unit_test(test_names),
        };
        char command[64];
        int failed;

        setlocale(LC_ALL, "C.UTF-8");
        if (!mkdtemp(folder) || chmod(folder, 0755) != 0)
                return 1;
        failed = cmocka_run_group_tests(tests, NULL, NULL);
        snprintf(command, sizeof(command), "rm -rf %s", folder);
        return system(command) == 0 ? failed : 1;
}
