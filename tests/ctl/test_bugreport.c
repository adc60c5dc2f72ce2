/* Reports: what is in them, what is hidden, and what happens when something cannot be had. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctl.h"
#include "expect.h"
#include "fake.h"
#include "machine.h"
#include "redact.h"

static char folder[] = "/tmp/ctl-bugreport-XXXXXX";

static const struct svmd_session_row sessions[] = {
        { .id = 12, .partition = "train", .client = "secret\"app", .pid = 7, .withheld = "" }
};
static const struct svmd_holder_row holders[] = {
        { .partition = "train",
          .client = "secret\"app",
          .session = 12,
          .pid = 7,
          .process = "hiddenproc",
          .cgroup = "/system.slice/customer.service",
          .runtime = "docker",
          .container = "deadbeefcafe",
          .pod = "",
          .node = 1,
          .used = MIB },
};

static int setup(void **state) {
        machine_setup(state);
        fake.sessions = sessions;
        fake.sessions_count = COUNT(sessions);
        fake.holders = holders;
        fake.holders_count = COUNT(holders);
        return 0;
}

static const char *line_with(const char *options) {
        static char line[256];
        static unsigned count;

        snprintf(line, sizeof(line), "bugreport --output %s/report-%u.tar.gz%s", folder, count++, options);
        return line;
}

/* Everything that the report has, one part behind the other. */
static char *contents(const char *line) {
        char command[512], path[256];
        static char *text;
        size_t size = 0;
        FILE *in;

        assert_int_equal(sscanf(line, "bugreport --output %255s", path), 1);
        snprintf(command, sizeof(command), "tar -xzOf %s", path);
        in = popen(command, "r");
        assert_non_null(in);
        free(text);
        text = NULL;
        assert_true(getdelim(&text, &size, '\1', in) > 0);
        assert_int_equal(pclose(in), 0);
        return text;
}

static void test_hidden(void **state) {
        static const char *const secret[] = { "secret", "hiddenproc", "customer", "deadbeef",
                                              "train",  "\"index\"",  "twin" };
        const char *line = line_with("");
        struct stat st;
        char *text;

        expect_part(line, EXIT_OK, "Check before sending: journal.txt", "");
        assert_non_null(strstr(run_out, "status.json"));
        text = contents(line);
        for (size_t i = 0; i < COUNT(secret); i++)
                if (strstr(text, secret[i]))
                        fail_msg("'%s' is told: %.400s", secret[i], strstr(text, secret[i]) - 200);
        assert_non_null(strstr(text, "\"partition\": \"partition-1\""));
        assert_non_null(strstr(text, "\"name\": \"reservation-1\""));
        assert_non_null(strstr(text, "\"client\": \"program-"));
        assert_non_null(strstr(text, "<svg xmlns="));
        assert_non_null(strstr(text, "MemTotal"));
        assert_non_null(strstr(text, "A report about svmd"));
        assert_int_equal(stat(strchr(line, '/'), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        /* What is there already is not overwritten. */
        expect_part(line, EXIT_REFUSED, "", "File exists");
}

static void test_full(void **state) {
        const char *line = line_with(" --full");

        expect_part(line, EXIT_OK, "Nothing is replaced", "");
        assert_non_null(strstr(contents(line), "\"name\": \"train\""));
        assert_null(strstr(contents(line), "partition-1"));
}

/* Whoever has no svmd has a report all the same, and no log with names that nobody would say. */
static void test_away(void **state) {
        const char *line = line_with(" --json");
        struct json_object *o, *parts;
        unsigned notes = 0;

        fake.admin_code = fake.client_code = SVMD_E_SYSTEM;
        o = run_json(line, EXIT_OK);
        parts = json_object_object_get(o, "parts");
        for (size_t i = 0; i < json_object_array_length(parts); i++) {
                struct json_object *part = json_object_array_get_idx(parts, i);
                const char *name = json_object_get_string(json_object_object_get(part, "part"));
                const char *note = json_object_get_string(json_object_object_get(part, "note"));

                notes += note && strcmp(note, "it ended with 4") == 0;
                if (strcmp(name, "journal.txt") == 0 || strcmp(name, "config.conf") == 0)
                        assert_string_equal(note, "left out, for the names in it; --full has it");
        }
        assert_true(notes >= 10);
        json_object_put(o);
        assert_non_null(strstr(contents(line), "there is no socket"));
        assert_non_null(strstr(contents(line), "it ended with 4"));
}

static void test_cannot(void **state) {
        char empty[64];
        const char *line;

        expect("bugreport --output /nowhere/x.tar.gz", EXIT_REFUSED, "",
               "svmd-ctl: cannot write /nowhere/x.tar.gz: No such file or directory\n");
        setenv("TMPDIR", "/nowhere", 1);
        expect(line_with(""), EXIT_REFUSED, "",
               "svmd-ctl: cannot make a folder in /nowhere: No such file or directory\n");
        unsetenv("TMPDIR");
        /* Without tar nothing is left behind. */
        snprintf(empty, sizeof(empty), "%s/empty", folder);
        assert_int_equal(mkdir(empty, 0700), 0);
        setenv("TMPDIR", empty, 1);
        setenv("PATH", "/nowhere", 1);
        line = line_with("");
        expect_part(line, EXIT_REFUSED, "", "tar has failed");
        assert_int_equal(access(strchr(line, '/'), F_OK), -1);
        assert_int_equal(rmdir(empty), 0);
        unsetenv("TMPDIR");
        setenv("PATH", "/usr/bin:/bin", 1);
}

static void test_progress(void **state) {
        assert_int_equal(run_asked(line_with(""), ""), EXIT_OK);
        assert_non_null(strstr(run_err, "] status --json"));
        assert_null(strchr(run_out, '\r'));
}

/* ---- names ---- */

static const char *redacted(struct redact *r, const char *text) {
        static char *written;
        size_t size;
        FILE *out;

        free(written);
        out = open_memstream(&written, &size);
        redact_write(r, out, text);
        fclose(out);
        return written;
}

static void test_redact(void **state) {
        struct redact *r = redact_new();

        redact_add(r, "partition", "a");
        redact_add(r, "partition", "train");
        redact_add(r, "partition", "train-2");
        redact_add(r, "program", "a<b");
        redact_add(r, "program", "root");
        redact_add(r, "program", "train");
        redact_add_path(r, "/system.slice/shop.service/x");
        assert_string_equal(redacted(r, "train trains train-2 train-3 retrain \"train\" train"),
                            "partition-2 trains partition-3 partition-2-3 retrain \"partition-2\" partition-2");
        assert_string_equal(redacted(r, "a at a.b /a/ root a&lt;b a<b"),
                            "partition-1 at partition-1.b /partition-1/ root program-1 program-1");
        assert_string_equal(redacted(r, "/system.slice/shop.service/x"), "/system.slice/group-1/group-2");
        assert_string_equal(redacted(r, ""), "");
        redact_add_log(r, "svmd: partition gone: deleted\nx name=\"old one\": done; asked by eve (pid 3, in /u/v)\n"
                          "svmd: partition without end\n");
        assert_string_equal(redacted(r, "gone, old one, eve, u v"), "partition-4, name-1, program-2, group-3 group-4");
        redact_free(r);
}

static int finish(void **state) {
        char command[128];

        snprintf(command, sizeof(command), "rm -rf %s", folder);
        return system(command);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_redact),
                cmocka_unit_test_setup(test_hidden, setup),
                cmocka_unit_test_setup(test_full, setup),
                cmocka_unit_test_setup(test_away, setup),
                cmocka_unit_test_setup(test_cannot, setup),
                cmocka_unit_test_setup(test_progress, setup),
        };

        if (!setlocale(LC_ALL, "C.UTF-8") || !mkdtemp(folder))
                return 1;
        setenv("SVMD_RUNTIME_DIR", "/run/svmd", 1);
        unsetenv("TMPDIR");
        return cmocka_run_group_tests(tests, NULL, finish);
}
