/*
 * svmd and its keeper become other programs while clients work. The processes stay, and clients see a pause and nothing
 * else. A program that cannot take over is refused and changes nothing; one that cannot be begun leaves the old one
 * serving.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crew.h"
#include "daemon.h"
#include "harness.h"

enum { TIMES = 24 };

static struct daemon d;
static svmd_session *watcher;
static char other[128]; /* a folder with the same programs */

static const char *const options[] = { "--soft-node",
                                       "gpu0:size=128M,faults=on",
                                       "--soft-node",
                                       "gpu1:size=32M,faults=on",
                                       "--max-sessions-per-uid",
                                       "8000",
                                       NULL };

/* ---- in the test ---- */

static uint64_t epoch_now(void) {
        struct svmd_status st;

        status_of(watcher, &st);
        must(st.pid == (uint32_t)d.pid);
        return st.epoch;
}

static void watch_again(void) {
        svmd_disconnect(watcher);
        connect_watcher(&watcher, d.admin);
}

static void runs_program(pid_t pid, const char *folder, const char *name) {
        char path[64], target[256], expected[256];
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/%d/exe", pid);
        n = readlink(path, target, sizeof(target) - 1);
        must(n > 0);
        target[n] = 0;
        snprintf(expected, sizeof(expected), "%s/%s", folder, name);
        must(strcmp(target, expected) == 0);
}

static void copy_program(const char *from, const char *name) {
        char command[512];

        snprintf(command, sizeof(command), "cp %s %s/%s", from, other, name);
        must(system(command) == 0);
}

/* A program of its own, of these lines; REAL in them is svmd. */
static void write_script(const char *name, const char *lines, char *ret_path, size_t size) {
        FILE *f;

        snprintf(ret_path, size, "%s/%s", other, name);
        f = fopen(ret_path, "we");
        must(f);
        fprintf(f, "#!/bin/sh\nREAL=%s/svmd\nKEEPER=%s/svmd-keeper\n%s\n", other, other, lines);
        must(fclose(f) == 0 && chmod(ret_path, 0755) == 0);
}

/* As what is installed, and as what lies elsewhere, with the keeper and without. */
static void upgrade_under_load(void) {
        unsigned svmd_fds = 0, keeper_fds = 0;
        uint64_t epoch = epoch_now();

        for (unsigned i = 0; i < TIMES; i++) {
                bool elsewhere = random_below(2), keeper = i % 3 == 1;
                char path[256];

                snprintf(path, sizeof(path), "%s/svmd", other);
                crew_run();
                usleep((useconds_t)random_below(20000));
                ok(svmd_upgrade(watcher, elsewhere ? path : NULL, keeper ? SVMD_UPGRADE_KEEPER : 0));
                watch_again();
                must(epoch_now() == ++epoch);
                usleep((useconds_t)random_below(20000));
                crew_rest();
                if (elsewhere)
                        runs_program(d.pid, other, "svmd");
                if (elsewhere && keeper)
                        runs_program(d.keeper, other, "svmd-keeper");
                crew_look(epoch, epoch - 1);
                /* What one program leaves open by mistake, the next one has too. */
                if (i == 1) {
                        svmd_fds = process_fds_at_rest(d.pid);
                        keeper_fds = process_fds_at_rest(d.keeper);
                }
        }
        must(process_fds_at_rest(d.pid) <= svmd_fds + 8 && process_fds_at_rest(d.keeper) <= keeper_fds + 8);
        printf("%u upgrades, epoch %llu\n", TIMES, (unsigned long long)epoch);
}

static void refused(const char *binary, unsigned flags, const char *word) {
        uint64_t epoch = epoch_now();
        int r = svmd_upgrade(watcher, binary, flags);

        if (r == SVMD_OK || !strstr(svmd_error(), word)) {
                fprintf(stderr, "%s: %d, %s\n", binary, r, svmd_error());
                fail_here("it was not refused, or the sentence does not name what is wrong");
        }
        must(epoch_now() == epoch);
}

static void refuse_programs(void) {
        static const struct {
                const char *name, *lines, *word;
        } wrong[] = {
                { "silent", "exit 0", "does not say" },
                { "bad", "echo 'x.conf:3: there is no key' >&2; exit 2", "x.conf:3" },
                { "old-journal", "$REAL \"$@\" | sed 's/^journal .*/journal 7 8/'", "journals of format" },
                { "old-effects", "$REAL \"$@\" | sed 's/^effects .*/effects 3/'", "older" },
                { "old-ranges", "$REAL \"$@\" | sed 's/^ranges .*/ranges 0/'", "managed ranges" },
                { "old-store", "$REAL \"$@\" | sed 's/^store .*/store 0/'", "state.db" },
                { "elsewhere", "$REAL \"$@\" --runtime-dir /run/elsewhere", "/run" },
                { "node-gone", "$REAL \"$@\" | grep -v gpu1", "gpu1" },
                { "node-grown", "$REAL \"$@\" | sed 's/33554432/67108864/'", "gpu1" },
                { "crashed", "$REAL \"$@\"; kill -9 $$", "cannot take over" },
        };
        char path[256];

        if (getenv("SVMD_LONG")) {
                write_script("slow", "exec sleep 60", path, sizeof(path));
                refused(path, 0, "within ten seconds");
        }
        crew_run();
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                write_script(wrong[i].name, wrong[i].lines, path, sizeof(path));
                refused(path, 0, wrong[i].word);
                refused(path, SVMD_UPGRADE_CHECK, wrong[i].word);
        }
        refused("/nowhere/svmd", 0, "/nowhere/svmd");
        refused("svmd", 0, "begins with /");
        crew_rest();
        crew_look(epoch_now(), epoch_now() - 1);
}

/* It may take over, and then there is nothing to begin. What ends from then on ends as before. */
static void fail_to_begin(void) {
        const struct svmd_partition_options o = { .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW };
        uint64_t epoch = epoch_now();
        char path[256];

        ok(svmd_partition_create(watcher, "brief", &o, NULL));
        write_script("vanishes", "$REAL \"$@\"; rm -f \"$0\"", path, sizeof(path));
        crew_run();
        usleep((useconds_t)random_below(20000));
        ok(svmd_upgrade(watcher, path, 0));
        must(epoch_now() == epoch); /* the same connection, and the same svmd */
        must(daemon_said(&d, "cannot become"));
        crew_rest();
        crew_look(epoch, epoch - 1);
        ok(svmd_partition_delete(watcher, "brief", 0, 0));
        snprintf(path, sizeof(path), "%s/run/p/brief", d.dir);
        must(access(path, F_OK) != 0);
}

/* The keeper's program has to be one that can be begun from a descriptor: a script cannot. Nor does svmd change then.
 */
static void fail_to_begin_keeper(void) {
        uint64_t epoch = epoch_now();
        char folder[160], path[256];

        snprintf(folder, sizeof(folder), "%s/script", other);
        must(mkdir(folder, 0755) == 0);
        write_script("script/svmd-keeper", "exec $KEEPER \"$@\"", path, sizeof(path));
        write_script("script/svmd", "exec $REAL \"$@\"", path, sizeof(path));
        crew_run();
        refused(path, SVMD_UPGRADE_KEEPER, "svmd-keeper cannot become");
        crew_rest();
        crew_look(epoch, epoch - 1);
        runs_program(d.keeper, other, "svmd-keeper");
}

/* It may take over, is begun, and ends: to clients that is a killed svmd, and the next one has everything. */
static void end_at_once(void) {
        uint64_t epoch = epoch_now();
        char path[256];
        int status;

        write_script("ends", "case \"$*\" in *check-takeover*) exec $REAL \"$@\";; esac; exit 1", path, sizeof(path));
        crew_run();
        ok(svmd_upgrade(watcher, path, 0));
        must(wait_end(d.pid, &status));
        d.pid = 0;
        usleep(20000);
        daemon_start(&d);
        watch_again();
        must(epoch_now() == epoch + 1);
        crew_rest();
        crew_look(epoch + 1, epoch);
}

/* Whoever may not choose programs may still have the installed one taken. */
static void check_rights(void) {
        svmd_session *s;
        char path[256];

        snprintf(path, sizeof(path), "%s/svmd", other);
        ok(try_connect(&s, d.socket, NULL, SVMD_CONNECT_NO_ATTACH));
        want(SVMD_E_DENIED, svmd_upgrade(s, path, SVMD_UPGRADE_CHECK));
        want(SVMD_E_DENIED, svmd_upgrade(s, NULL, SVMD_UPGRADE_CHECK));
        svmd_disconnect(s);
        ok(svmd_upgrade(watcher, NULL, SVMD_UPGRADE_CHECK | SVMD_UPGRADE_KEEPER));
        want(SVMD_E_INVALID, svmd_upgrade(watcher, NULL, 8));
}

int main(void) {
        harness_begin("system_upgrade");
        if (harness_one_user())
                return 0;
        daemon_new(&d, options);
        snprintf(other, sizeof(other), "%s/other", d.dir);
        must(mkdir(other, 0755) == 0);
        copy_program(SVMD_PROGRAM, "svmd");
        copy_program(SVMD_KEEPER_PROGRAM, "svmd-keeper");
        connect_watcher(&watcher, d.admin);
        crew_begin(&d, watcher);
        check_rights();
        upgrade_under_load();
        refuse_programs();
        fail_to_begin();
        fail_to_begin_keeper();
        end_at_once();
        crew_end();
        await_settled(watcher, &d, 0, 0);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
