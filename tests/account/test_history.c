/*
 * The history of use against a plain model of it, added to at random; and what befalls a file: a kill, a full disk,
 * damage, a clock that jumps, more keys and more bytes than it may have.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

#include "account/history.h"
#include "account/sum.h"
#include "base/alloc.h"

enum { START = 1700006400, DAY = 86400, KEYS = 8 }; /* START: midnight */

static const struct history_options usual = { .size = 64u << 20, .keep_days = 400, .keys = 256 };
static char dir[64], why[512];
static struct history *h;
static uint64_t boot;

static int set_up(void **state) {
        strcpy(dir, "/tmp/svmd-history-XXXXXX");
        assert_non_null(mkdtemp(dir));
        boot = 1000000;
        return 0;
}

static int tear_down(void **state) {
        char command[128];

        history_close(h);
        h = NULL;
        snprintf(command, sizeof(command), "rm -rf %s", dir);
        return system(command);
}

static void reopen(const struct history_options *o, int want) {
        int r;

        history_close(h);
        h = NULL;
        why[0] = 0;
        r = history_open(&h, dir, o, why, sizeof(why));
        if (r != want)
                fail_msg("history_open(): %d %s", r, why);
}

static int add_to(int64_t now, const struct history_record *r, size_t n) {
        boot += 10000;
        return history_add(h, now, boot, 10000, r, n, why, sizeof(why));
}

static void add(int64_t now, enum history_by by, const char *key, const char *node, uint64_t page_ms, uint64_t peak) {
        struct history_record r = { by, key, node, page_ms, peak };
        int k = add_to(now, &r, 1);

        if (k != 0)
                fail_msg("history_add(): %d %s", k, why);
}

static void ask(struct history_answer *a, enum history_by by, int64_t since, int64_t until) {
        struct history_query q = { .by = by, .since = since, .until = until, .count = 1000 };
        int k = history_ask(h, &q, a, why, sizeof(why));

        if (k != 0)
                fail_msg("history_ask(): %d %s", k, why);
}

/* What it says of one key on one node; peak 0 and page_ms 0: nothing. */
static struct history_row find(enum history_by by, const char *key, const char *node, int64_t since, int64_t until) {
        struct history_row found = { 0 };
        struct history_answer a;

        ask(&a, by, since, until);
        for (size_t i = 0; i < a.count; i++)
                if (strcmp(a.rows[i].key, key) == 0 && strcmp(a.rows[i].node, node) == 0)
                        found = (struct history_row){ .page_ms = a.rows[i].page_ms, .peak = a.rows[i].peak };
        history_answer_free(&a);
        return found;
}

static void test_sums_and_peaks(void **state) {
        struct history_row r;
        struct history_answer a;

        reopen(&usual, 0);
        add(START + 5, HISTORY_BY_USER, "1000", "gpu0", 100, 4096);
        add(START + 15, HISTORY_BY_USER, "1000", "gpu0", 50, 8192);
        add(START + 65, HISTORY_BY_USER, "1000", "gpu0", 7, 12288);
        add(START + 65, HISTORY_BY_USER, "1001", "gpu0", 1, 4096);
        r = find(HISTORY_BY_USER, "1000", "gpu0", START, START + 60);
        assert_int_equal(r.page_ms, 150);
        assert_int_equal(r.peak, 8192);
        r = find(HISTORY_BY_USER, "1000", "gpu0", START, START + 120);
        assert_int_equal(r.page_ms, 157);
        assert_int_equal(r.peak, 12288);
        r = find(HISTORY_BY_PID, "1000", "gpu0", START, START + 120);
        assert_int_equal(r.peak, 0);
        ask(&a, HISTORY_BY_USER, START + 3, START + 120); /* steps count as a whole */
        assert_int_equal(a.count, 2);
        assert_int_equal(a.since, START);
        assert_int_equal(a.step, 60);
        assert_int_equal(a.watched_ms, 40000);
        assert_string_equal(a.rows[0].key, "1000");
        history_answer_free(&a);
        reopen(&usual, 0);
        assert_int_equal(find(HISTORY_BY_USER, "1000", "gpu0", START, START + 120).page_ms, 157);
}

static void test_pages(void **state) {
        struct history_query q = { .by = HISTORY_BY_PID, .since = START, .until = START + 60, .count = 3 };
        uint64_t seen = 0, last = UINT64_MAX;
        struct history_answer a;
        char key[16];

        reopen(&usual, 0);
        for (unsigned i = 0; i < 10; i++) {
                snprintf(key, sizeof(key), "%u", i);
                add(START, HISTORY_BY_PID, key, "host0", 1 + i, 1);
        }
        do {
                assert_int_equal(history_ask(h, &q, &a, why, sizeof(why)), 0);
                for (size_t i = 0; i < a.count; i++) {
                        assert_true(a.rows[i].page_ms < last);
                        last = a.rows[i].page_ms;
                        seen += last;
                }
                q.from += a.count;
                assert_true(a.more == (q.from < 10));
                history_answer_free(&a);
        } while (q.from < 10);
        assert_int_equal(seen, 55);
}

/* Minutes go after a day, hours after 31 days, days after 400; what is asked is answered from what is left. */
static void test_ages(void **state) {
        uint64_t sum = 0;

        reopen(&usual, 0);
        for (int64_t t = 0; t < 500 * (int64_t)DAY; t += 6 * 3600) {
                boot += 6 * 3600 * 1000ull;
                add(START + t, HISTORY_BY_NODE, "gpu0", "gpu0", 10, 4096);
                sum += t >= 450 * (int64_t)DAY ? 10 : 0;
        }
        assert_int_equal(find(HISTORY_BY_NODE, "gpu0", "gpu0", START + 450 * (int64_t)DAY, INT64_MAX).page_ms, sum);
        assert_int_equal(find(HISTORY_BY_NODE, "gpu0", "gpu0", START + 499 * (int64_t)DAY, INT64_MAX).page_ms, 40);
        /* 400 days back from the last hour, and the day that this falls into is gone. */
        assert_in_range(find(HISTORY_BY_NODE, "gpu0", "gpu0", 0, INT64_MAX).page_ms, 399 * 40, 401 * 40);
}

static void test_other(void **state) {
        const struct history_options few = { .size = usual.size, .keep_days = 400, .keys = KEYS };
        struct history_answer a;
        uint64_t sum = 0;
        char key[16];

        reopen(&few, 0);
        for (unsigned i = 0; i < 50; i++) {
                snprintf(key, sizeof(key), "p%u", i % 25);
                add(START, HISTORY_BY_PID, key, i % 2 ? "host0" : "gpu0", 1, 4096 * i);
                if (i == 30)
                        reopen(&few, 0);
        }
        ask(&a, HISTORY_BY_PID, START, START + 60);
        for (size_t i = 0; i < a.count; i++)
                sum += a.rows[i].page_ms;
        assert_int_equal(sum, 50);
        assert_true(a.count <= 2 * (KEYS + 1));
        history_answer_free(&a);
        assert_true(find(HISTORY_BY_PID, HISTORY_OTHER, "gpu0", START, START + 60).page_ms > 0);
        assert_true(find(HISTORY_BY_PID, "p0", "gpu0", START, START + 60).page_ms == 1);
        assert_true(find(HISTORY_BY_PID, "p0", "host0", START, START + 60).page_ms == 1);
}

static void test_clock_jumps(void **state) {
        reopen(&usual, 0);
        add(START, HISTORY_BY_NODE, "gpu0", "gpu0", 5, 1);
        /* Far into the future, where nothing may be dropped for its age; and back. */
        add(START + 5000 * (int64_t)DAY, HISTORY_BY_NODE, "gpu0", "gpu0", 7, 2);
        add(START + 10, HISTORY_BY_NODE, "gpu0", "gpu0", 9, 3);
        assert_int_equal(find(HISTORY_BY_NODE, "gpu0", "gpu0", START, START + 60).page_ms, 14);
        assert_int_equal(find(HISTORY_BY_NODE, "gpu0", "gpu0", START, START + DAY).page_ms, 14);
        /* Trusted again: what is dated ahead goes. */
        for (unsigned i = 0; i < 8; i++) {
                boot += 1790000;
                add(START + 10 + 1800 * i, HISTORY_BY_NODE, "gpu0", "gpu0", 0, 1);
        }
        assert_int_equal(find(HISTORY_BY_NODE, "gpu0", "gpu0", START, INT64_MAX).page_ms, 14);
        add(START - 7200, HISTORY_BY_NODE, "gpu0", "gpu0", 1, 1);
        assert_int_equal(find(HISTORY_BY_NODE, "gpu0", "gpu0", START - 7200, START).page_ms, 1);
}

static uint64_t file_size(void) {
        char path[128];
        struct stat st;

        snprintf(path, sizeof(path), "%s/usage.db", dir);
        assert_int_equal(stat(path, &st), 0);
        return (uint64_t)st.st_size;
}

/* It stays within its size; the newest and the coarse steps stay in it. */
static void test_size(void **state) {
        const struct history_options small = { .size = HISTORY_SIZE_LEAST, .keep_days = 400, .keys = 64 };
        struct history_record r[40];
        struct history_answer a;
        uint64_t sum = 0;
        char key[40][32];

        reopen(&small, 0);
        for (unsigned t = 0; t < 300; t++) {
                for (unsigned i = 0; i < 40; i++) {
                        snprintf(key[i], sizeof(key[i]), "process %u of %u", i, t / 20);
                        r[i] = (struct history_record){ HISTORY_BY_PID, key[i], "gpu0", 1, 4096 };
                }
                if (add_to(START + 60 * (int64_t)t, r, 40) != 0)
                        fail_msg("%s", why);
        }
        assert_true(file_size() <= HISTORY_SIZE_LEAST);
        assert_int_equal(find(HISTORY_BY_PID, "process 0 of 14", "gpu0", START + 299 * 60, INT64_MAX).page_ms, 1);
        ask(&a, HISTORY_BY_PID, 0, INT64_MAX);
        for (size_t i = 0; i < a.count; i++)
                sum += a.rows[i].page_ms;
        assert_int_equal(sum, 300 * 40);
        history_answer_free(&a);
}

/* What it has in memory does not grow with what it has on the disk, and all of it goes. */
static void test_memory(void **state) {
        struct history_record r[256];
        char key[256][32];
        int64_t most = 0;

        reopen(&usual, 0);
        for (unsigned t = 0; t < 120; t++) {
                for (unsigned i = 0; i < 256; i++) {
                        snprintf(key[i], sizeof(key[i]), "process %u", 256 * t + i);
                        r[i] = (struct history_record){ HISTORY_BY_PID, key[i], "gpu0", 1, 4096 };
                }
                if (add_to(START + 60 * (int64_t)t, r, 256) != 0)
                        fail_msg("%s", why);
                if (sqlite3_memory_used() > most)
                        most = sqlite3_memory_used();
        }
        assert_true(file_size() > 2 * 1024 * HISTORY_CACHE_KIB);
        assert_in_range(most, 1024, 1024 * (HISTORY_CACHE_KIB + 256));
        history_close(h);
        h = NULL;
        assert_int_equal(sqlite3_memory_used(), 0);
}

static void spoil(const char *bytes, size_t size, off_t at) {
        char path[128];
        int fd;

        snprintf(path, sizeof(path), "%s/usage.db", dir);
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, bytes, size, at), size);
        close(fd);
}

static void test_damage(void **state) {
        char zero[4096], path[128];

        memset(zero, 0x5a, sizeof(zero));
        spoil(zero, sizeof(zero), 0);
        reopen(&usual, HISTORY_E_MOVED);
        assert_non_null(strstr(why, "usage.db.damaged"));
        snprintf(path, sizeof(path), "%s/usage.db.damaged", dir);
        assert_int_equal(access(path, F_OK), 0);
        add(START, HISTORY_BY_NODE, "gpu0", "gpu0", 5, 1);
        reopen(&usual, 0);
        assert_int_equal(find(HISTORY_BY_NODE, "gpu0", "gpu0", START, START + 60).page_ms, 5);
        history_close(h);
        h = NULL;
        spoil(zero, sizeof(zero), 4096); /* a page of a table */
        reopen(&usual, HISTORY_E_MOVED);
        assert_int_equal(find(HISTORY_BY_NODE, "gpu0", "gpu0", START, START + 60).page_ms, 0);
}

static void test_of_others(void **state) {
        char path[256], command[512];

        snprintf(path, sizeof(path), "%s/usage.db", dir);
        reopen(&usual, 0);
        history_close(h);
        h = NULL;
        snprintf(command, sizeof(command),
                 "python3 -c \"import sqlite3; sqlite3.connect('%s').execute('pragma user_version = 99')\"", path);
        assert_int_equal(system(command), 0);
        assert_int_equal(history_open(&h, dir, &usual, why, sizeof(why)), -EPROTO);
        assert_non_null(strstr(why, "newer svmd"));
        snprintf(command, sizeof(command),
                 "python3 -c \"import sqlite3; sqlite3.connect('%s').execute('pragma application_id = 1')\"", path);
        assert_int_equal(system(command), 0);
        assert_int_equal(history_open(&h, dir, &usual, why, sizeof(why)), -EPROTO);
        assert_non_null(strstr(why, "another program"));
        assert_int_equal(access(path, F_OK), 0);
}

/* A process that adds one to two ways of grouping at once, and is killed somewhere. */
static void adder(int told) {
        struct history_record r[] = { { HISTORY_BY_USER, "1000", "gpu0", 1, 4096 },
                                      { HISTORY_BY_PID, "1", "gpu0", 1, 4096 } };

        reopen(&usual, 0);
        for (;;) {
                if (add_to(START, r, 2) != 0 || write(told, "x", 1) != 1)
                        _exit(1);
        }
}

/* However long the first one takes. */
static void await_first(int told) {
        struct pollfd p = { .fd = told, .events = POLLIN };
        char c;

        assert_int_equal(poll(&p, 1, 30000), 1);
        assert_int_equal(read(told, &c, 1), 1);
}

static void test_kill(void **state) {
        uint64_t told = 0;

        reopen(&usual, 0);
        for (unsigned round = 0; round < 20; round++) {
                uint64_t user, pid;
                int pipes[2];
                char c;
                pid_t child;

                history_close(h);
                h = NULL;
                assert_int_equal(pipe(pipes), 0);
                child = fork();
                if (child == 0) {
                        close(pipes[0]);
                        adder(pipes[1]);
                }
                close(pipes[1]);
                if (round % 4) { /* or while it opens */
                        await_first(pipes[0]);
                        told++;
                }
                nanosleep(&(struct timespec){ 0, 1000000l * (long)(round % 7) }, NULL);
                kill(child, SIGKILL);
                waitpid(child, NULL, 0);
                while (read(pipes[0], &c, 1) == 1)
                        told++;
                close(pipes[0]);
                reopen(&usual, 0);
                user = find(HISTORY_BY_USER, "1000", "gpu0", START, START + 60).page_ms;
                pid = find(HISTORY_BY_PID, "1", "gpu0", START, START + 60).page_ms;
                assert_true(user == pid);
                assert_true(user >= told && user <= told + 1);
                told = user;
        }
        assert_true(told > 0);
}

/* A file system of 1 MiB that somebody else fills: an addition fails with a sentence, what was there stays, and it goes
 * on when there is room again. */
static void test_full_disk(void **state) {
        static char block[65536];
        struct history_record r[64];
        char path[128], key[64][64];
        int fd, k = 0;

        if (geteuid() != 0 || mount("none", dir, "tmpfs", 0, "size=1m") < 0)
                skip();
        reopen(&usual, 0);
        add(START, HISTORY_BY_NODE, "gpu0", "gpu0", 5, 1);
        snprintf(path, sizeof(path), "%s/fill", dir);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        while (write(fd, block, sizeof(block)) > 0)
                ;
        while (write(fd, block, 512) > 0)
                ;
        close(fd);
        for (unsigned t = 0; t < 2000 && k == 0; t++) {
                for (unsigned i = 0; i < 64; i++) {
                        snprintf(key[i], sizeof(key[i]), "a process with a rather long name %u %u", i, t);
                        r[i] = (struct history_record){ HISTORY_BY_PID, key[i], "gpu0", 1, 1 };
                }
                k = add_to(START, r, 64);
        }
        assert_int_equal(k, -ENOSPC);
        assert_non_null(strstr(why, "usage.db"));
        assert_int_equal(unlink(path), 0);
        add(START, HISTORY_BY_NODE, "gpu0", "gpu0", 6, 1);
        assert_int_equal(find(HISTORY_BY_NODE, "gpu0", "gpu0", START, START + 60).page_ms, 11);
        history_close(h);
        h = NULL;
        assert_int_equal(umount2(dir, MNT_DETACH), 0);
}

/* ---- against a model ---- */

enum { MODEL_STEPS = 60, ROUNDS = 400 };

static uint64_t seed;
static uint64_t below(uint64_t n) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        return seed % n;
}

static void test_random(void **state) {
        static uint64_t sum[MODEL_STEPS][HISTORY_BYS][KEYS][2], peak[MODEL_STEPS][HISTORY_BYS][KEYS][2];
        static const char *const keys[KEYS] = { "a", "b", "c", "d", "e", "f", "g", "h" };
        static const char *const nodes[2] = { "host0", "gpu0" };

        seed = (uint64_t)time(NULL) | 1;
        print_message("seed %llu\n", (unsigned long long)seed);
        reopen(&usual, 0);
        for (unsigned round = 0; round < ROUNDS; round++) {
                unsigned minute = below(MODEL_STEPS), by = below(HISTORY_BYS), key = below(KEYS), node = below(2);
                uint64_t n = below(1000), p = below(1 << 20), want = 0, top = 0;
                unsigned first, last;

                add(START + 60 * (int64_t)minute + (int64_t)below(60), by, keys[key], nodes[node], n, p);
                sum[minute][by][key][node] += n;
                if (p > peak[minute][by][key][node])
                        peak[minute][by][key][node] = p;
                if (below(20) == 0)
                        reopen(&usual, 0);
                first = below(MODEL_STEPS);
                last = first + below(MODEL_STEPS - first);
                for (unsigned m = first; m <= last; m++) {
                        want += sum[m][by][key][node];
                        top = peak[m][by][key][node] > top ? peak[m][by][key][node] : top;
                }
                {
                        struct history_row r = find(by, keys[key], nodes[node], START + 60 * (int64_t)first,
                                                    START + 60 * (int64_t)(last + 1));

                        assert_true(r.page_ms == want);
                        assert_true(r.peak == top);
                }
        }
}

/* ---- sum_up() ---- */

static void test_sum_up(void **state) {
        static const struct sum_who a = { { NULL, "train", "1000", "/c", "docker:x", "1" } },
                                    b = { { NULL, "train", "1000", "/c", "docker:y", "2" } };
        const struct sum_part parts[] = {
                { &a, "gpu0", 10, 100, 150 },
                { &b, "gpu0", 20, 80, 80 },
                { &b, "host0", 1, 5, 5 },
                { &a, "gpu0", 3, 0, 300 }, /* one that has ended */
        };
        uint64_t sums[HISTORY_BYS] = { 0 };
        struct history_record *r;
        size_t n;

        assert_int_equal(sum_up(parts, 4, &r, &n), 0);
        for (size_t i = 0; i < n; i++) {
                sums[r[i].by] += r[i].page_ms;
                if (i && r[i - 1].by == r[i].by)
                        assert_true(r[i - 1].page_ms >= r[i].page_ms);
                if (r[i].by == HISTORY_BY_PID && strcmp(r[i].key, "1") == 0)
                        assert_true(r[i].page_ms == 13 && r[i].peak == 300);
                if (r[i].by == HISTORY_BY_USER && strcmp(r[i].node, "gpu0") == 0)
                        assert_true(r[i].page_ms == 33 && r[i].peak == 300);
                if (r[i].by == HISTORY_BY_NODE && strcmp(r[i].node, "host0") == 0)
                        assert_true(strcmp(r[i].key, "host0") == 0 && r[i].page_ms == 1 && r[i].peak == 5);
        }
        for (unsigned by = 0; by < HISTORY_BYS; by++)
                assert_int_equal(sums[by], 34);
        alloc_free(r);
        assert_int_equal(sum_up(parts, 2, &r, &n), 0);
        for (size_t i = 0; i < n; i++)
                if (r[i].by == HISTORY_BY_USER)
                        assert_int_equal(r[i].peak, 180);
        alloc_free(r);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_sums_and_peaks),
                TEST(test_pages),
                TEST(test_ages),
                TEST(test_other),
                TEST(test_clock_jumps),
                TEST(test_size),
                TEST(test_damage),
                TEST(test_of_others),
                TEST(test_memory),
                TEST(test_kill),
                TEST(test_full_disk),
                TEST(test_random),
                cmocka_unit_test(test_sum_up),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
