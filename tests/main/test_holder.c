/*
 * svmd's side of a keeper that ends: the next one has everything that the first one had, the journal when it is due and
 * not before, and nothing that was not given. The keeper is the real one. And the record of how much there is.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/log.h"
#include "main/holder.h"
#include "main/record.h"
#include "service/service.h"

enum { KEYS = 200 };

static char dir[64], why[512];
static struct holder holder;
static unsigned changes;

static pid_t keeper_pid(const struct keeper *k) {
        struct ucred c;
        socklen_t size = sizeof(c);

        assert_int_equal(getsockopt(keeper_fd(k), SOL_SOCKET, SO_PEERCRED, &c, &size), 0);
        return c.pid;
}

static void on_changed(void *userdata) {
        changes++;
}

static int on_item(void *userdata, uint64_t key, int fd) {
        fail_msg("a new keeper has something");
        return 0;
}

static void open_holder(const char *program) {
        holder = (struct holder){ .changed = on_changed };
        changes = 0;
        assert_int_equal(holder_open(&holder, dir, program, on_item, NULL, why, sizeof(why)), 0);
}

/* Its number is the file's size. */
static void put_file(uint64_t key, unsigned number) {
        int fd = memfd_create("held", MFD_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, number), 0);
        assert_int_equal(holder_put(&holder, key, fd), 0); /* which stays open, as svmd's do */
}

static void put_all(void) {
        for (unsigned i = 0; i < KEYS; i++)
                put_file(KEEP_KEY(KEEP_FILE, i), i);
        put_file(KEEP_KEY(KEEP_JOURNAL, 0), 7777);
}

static void kill_keeper(void) {
        struct pollfd p = { .fd = keeper_fd(holder.keeper), .events = POLLIN };

        assert_int_equal(kill(keeper_pid(holder.keeper), SIGKILL), 0);
        assert_int_equal(poll(&p, 1, 30000), 1); /* the end of the connection */
}

struct found {
        unsigned files, journals, wrong;
};

static int note(void *userdata, uint64_t key, int fd) {
        struct found *f = userdata;
        off_t size = lseek(fd, 0, SEEK_END);

        close(fd);
        f->files += KEEP_KIND(key) == KEEP_FILE;
        f->journals += KEEP_KIND(key) == KEEP_JOURNAL;
        f->wrong += size != (KEEP_KIND(key) == KEEP_FILE ? (off_t)KEEP_ID(key) : 7777);
        return 0;
}

/* svmd has ended; what the keeper has goes to the next. */
static struct found kept(void) {
        struct found f = { 0 };
        struct keeper *k;

        holder_close(&holder, false);
        assert_int_equal(keeper_connect(&k, dir, KEEPER_PROGRAM, why, sizeof(why)), 0);
        assert_int_equal(keeper_list(k, note, &f), 0);
        assert_int_equal(keeper_quit(k), 0);
        keeper_disconnect(k);
        assert_int_equal(f.wrong, 0);
        return f;
}

static void test_another_has_everything(void **state) {
        struct found f;

        open_holder(KEEPER_PROGRAM);
        put_all();
        holder_drop(&holder, KEEP_KEY(KEEP_FILE, 5));
        kill_keeper();
        holder_replace(&holder);
        assert_int_equal(changes, 1);
        assert_int_equal(holder.replaced, 1);
        put_file(KEEP_KEY(KEEP_FILE, KEYS), KEYS);
        holder_flush(&holder);
        f = kept();
        assert_int_equal(f.files, KEYS);
        assert_int_equal(f.journals, 1);
}

/* A put that meets the end comes back when the next one has it, too. */
static void test_found_by_a_put(void **state) {
        open_holder(KEEPER_PROGRAM);
        put_all();
        kill_keeper();
        put_file(KEEP_KEY(KEEP_FILE, KEYS), KEYS);
        assert_int_equal(holder.replaced, 1);
        holder_flush(&holder);
        assert_int_equal(kept().files, KEYS + 1);
}

/* Until the turn's effects are in the journal, it may name what was let go. */
static void test_journal_comes_last(void **state) {
        struct found f;

        open_holder(KEEPER_PROGRAM);
        put_all();
        kill_keeper();
        holder_replace(&holder);
        f = kept();
        assert_int_equal(f.files, KEYS);
        assert_int_equal(f.journals, 0);
}

/* Somebody closed it before it was dropped, and the number is another file's. */
static void test_number_of_another_file(void **state) {
        int fd = memfd_create("held", MFD_CLOEXEC), other;

        open_holder(KEEPER_PROGRAM);
        put_all();
        assert_int_equal(holder_put(&holder, KEEP_KEY(KEEP_FILE, 5000), fd), 0);
        close(fd);
        other = memfd_create("other", MFD_CLOEXEC);
        assert_int_equal(other, fd);
        kill_keeper();
        holder_replace(&holder);
        assert_int_equal(kept().files, KEYS);
        close(other);
}

static int first_file = -1;

static int take(void *userdata, uint64_t key, int fd) {
        if (key == KEEP_KEY(KEEP_FILE, 0))
                first_file = fd;
        return 0;
}

/* The same with what the keeper had before svmd came: from the first turn on. Until then all of it is there. */
static void number_of_another_before(bool turn, unsigned expected) {
        int other = -1;

        open_holder(KEEPER_PROGRAM);
        put_all();
        holder_close(&holder, false);
        assert_int_equal(holder_open(&holder, dir, KEEPER_PROGRAM, take, NULL, why, sizeof(why)), 0);
        if (turn) {
                holder_flush(&holder);
                close(first_file);
                other = memfd_create("other", MFD_CLOEXEC);
                assert_int_equal(other, first_file);
        }
        kill_keeper();
        holder_replace(&holder);
        assert_int_equal(kept().files, expected);
        if (turn)
                close(other);
}

static void test_number_of_another_before(void **state) {
        number_of_another_before(true, KEYS - 1);
        number_of_another_before(false, KEYS);
}

static void is_alone(const char *word) {
        assert_null(holder.keeper);
        assert_non_null(strstr(holder.why, word));
        put_file(KEEP_KEY(KEEP_FILE, 1), 1);
        holder_drop(&holder, KEEP_KEY(KEEP_FILE, 1));
        holder_flush(&holder);
        assert_int_equal(holder_become(&holder, KEEPER_PROGRAM, why, sizeof(why)), -ENOENT);
        assert_int_equal(holder.held.count, 0);
        holder_close(&holder, false);
}

static void test_program_is_gone(void **state) {
        char path[128], command[512];

        snprintf(path, sizeof(path), "%s/svmd-keeper", dir);
        snprintf(command, sizeof(command), "cp %s %s", KEEPER_PROGRAM, path);
        assert_int_equal(system(command), 0);
        open_holder(path);
        put_all();
        assert_int_equal(unlink(path), 0);
        kill_keeper();
        holder_replace(&holder);
        assert_int_equal(changes, 1);
        is_alone(path);
}

static void test_ends_again_and_again(void **state) {
        unsigned times = 0;

        open_holder(KEEPER_PROGRAM);
        while (holder.keeper) {
                kill_keeper();
                holder_replace(&holder);
                assert_true(++times < 20);
        }
        assert_true(times > 3);
        is_alone("within seconds");
}

/* The keeper that has a part is not left behind. */
static bool nobody_listens(void) {
        char path[128];

        snprintf(path, sizeof(path), "%s/keeper.sock", dir);
        return access(path, F_OK) < 0;
}

/* In a process of its own, since a hard limit only sinks. The next keeper has it, too. */
static bool alone_without_room(void) {
        struct rlimit low = { .rlim_cur = KEYS + 60,
                              .rlim_max = KEYS + 60 }; /* of which the keeper takes some for itself */

        holder_flush(&holder);
        kill_keeper();
        if (setrlimit(RLIMIT_NOFILE, &low) < 0)
                return false;
        holder_replace(&holder);
        return !holder.keeper && strstr(holder.why, "cannot take everything") && nobody_listens();
}

static void test_another_has_no_room(void **state) {
        int status;
        pid_t pid;

        pid = fork();
        if (pid == 0) {
                close_range(3, ~0u, 0); /* of the tests before */
                open_holder(KEEPER_PROGRAM);
                put_all();
                _exit(alone_without_room() ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

static void test_out_of_memory(void **state) {
        int fd = memfd_create("held", MFD_CLOEXEC);

        open_holder(KEEPER_PROGRAM);
        put_all();
        alloc_fail_at(1);
        assert_int_equal(holder_put(&holder, KEEP_KEY(KEEP_FILE, 9000), fd), -ENOMEM);
        alloc_fail_off();
        assert_int_equal(holder.held.count, KEYS + 1);
        kill_keeper();
        alloc_fail_at(1);
        holder_replace(&holder);
        alloc_fail_off();
        is_alone("memory");
        close(fd);
}

/* A keeper that cannot go on as that program goes on as it is. */
static void test_become(void **state) {
        open_holder(KEEPER_PROGRAM);
        put_all();
        assert_int_equal(holder_become(&holder, "/nowhere/svmd-keeper", why, sizeof(why)), -ENOENT);
        assert_int_equal(holder_become(&holder, "/etc/passwd", why, sizeof(why)), -EACCES);
        assert_int_equal(holder_become(&holder, KEEPER_PROGRAM, why, sizeof(why)), 0);
        assert_int_equal(changes, 0);
        assert_int_equal(kept().files, KEYS);
}

/* One that begins and ends: svmd has everything, and gives it to another. */
static void test_becomes_what_ends(void **state) {
        open_holder(KEEPER_PROGRAM);
        put_all();
        assert_int_equal(holder_become(&holder, "/bin/true", why, sizeof(why)), -EPIPE);
        assert_int_equal(holder.replaced, 1);
        holder_flush(&holder);
        assert_int_equal(kept().files, KEYS);
}

/* ---- the record ---- */

static void make_file(const char *name, const char *text) {
        char path[128];
        FILE *f;

        snprintf(path, sizeof(path), "%s/%s", dir, name);
        f = fopen(path, "we");
        assert_non_null(f);
        fputs(text, f);
        fclose(f);
}

static void test_record(void **state) {
        struct record_counts before = { 0 }, now = { .sessions = 12, .bytes = 1ull << 40 };
        struct record *r;

        assert_int_equal(record_open(&r, dir, &before), RECORD_E_NEW);
        record_set(r, &now);
        now.sessions = 13;
        record_set(r, &now);
        record_close(r, false);
        assert_int_equal(record_open(&r, dir, &before), 0);
        assert_true(before.sessions == 13 && before.bytes == 1ull << 40);
        record_close(r, false); /* a start that failed: nothing was set */
        assert_int_equal(record_open(&r, dir, &before), 0);
        assert_true(before.sessions == 13);
        record_close(r, true);
        assert_int_equal(record_open(&r, dir, &before), RECORD_E_NEW);
        record_close(r, true);
        make_file("svmd.sock", "");
        assert_int_equal(record_open(&r, dir, &before), RECORD_E_UNKNOWN);
        record_close(r, true);
        make_file("svmd.held", "short");
        assert_int_equal(record_open(&r, dir, &before), RECORD_E_UNKNOWN);
        record_close(r, true);
        alloc_fail_at(1);
        assert_int_equal(record_open(&r, dir, &before), -ENOMEM);
        alloc_fail_off();
        assert_int_equal(record_open(&r, "/nowhere", &before), -ENOENT);
        record_set(NULL, &now);
        record_close(NULL, true);
}

/* ---- */

static int make_dir(void **state) {
        strcpy(dir, "/tmp/svmd-holder-XXXXXX");
        return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
        char command[128];

        while (waitpid(-1, NULL, WNOHANG) > 0)
                ;
        snprintf(command, sizeof(command), "rm -rf %s", dir);
        return system(command);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void) {
        const struct CMUnitTest tests[] = {
                IN_DIR(test_another_has_everything),
                IN_DIR(test_found_by_a_put),
                IN_DIR(test_journal_comes_last),
                IN_DIR(test_number_of_another_file),
                IN_DIR(test_program_is_gone),
                IN_DIR(test_ends_again_and_again),
                IN_DIR(test_another_has_no_room),
                IN_DIR(test_out_of_memory),
                IN_DIR(test_become),
                IN_DIR(test_becomes_what_ends),
                IN_DIR(test_record),
                IN_DIR(test_number_of_another_before),
        };

        log_set_level(0);
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
