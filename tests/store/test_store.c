/*
 * Partitions come back as they were put, across closing and across a kill; files that are damaged, newer or of another
 * program keep every byte; a full disk changes nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/alloc.h"
#include "store/schema.h"
#include "store/store.h"

static uint64_t rng;
static char dir[64], file[96], why[1024];

static uint64_t next_random(uint64_t below) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (rng >> 11) % below;
}

static int seed_random(void **state) {
        const char *s = getenv("SVMD_SEED");
        uint64_t seed = s ? strtoull(s, NULL, 0) : (uint64_t)time(NULL);

        printf("seed: SVMD_SEED=%llu\n", (unsigned long long)seed);
        rng = seed * 0x9e3779b97f4a7c15ull | 1;
        return 0;
}

static int make_dir(void **state) {
        snprintf(dir, sizeof(dir), "/tmp/svmd-store-XXXXXX");
        if (!mkdtemp(dir))
                return -1;
        snprintf(file, sizeof(file), "%s/state.db", dir);
        return 0;
}

static int remove_dir(void **state) {
        static const char *const names[] = { "state.db", "state.db-wal", "state.db-shm", "state.db-journal",
                                             "state.lock" };
        char path[128];

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
                unlink(path);
        }
        return rmdir(dir);
}

static struct store *open_store(void) {
        struct store *s;
        int r = store_open(&s, dir, why, sizeof(why));

        if (r)
                fail_msg("open: %d %s", r, why);
        return s;
}

enum { MANY = 40, LIMITS = 20 };

struct model {
        bool there[MANY];
        struct store_partition p[MANY];
        struct store_limit limits[MANY][LIMITS];
        int next;
};

static void random_partition(struct model *m, int i) {
        struct store_partition *p = &m->p[i];

        *p = (struct store_partition){ .window = (uint32_t)next_random(2),
                                       .base = next_random(UINT64_MAX) << 1,
                                       .size = UINT64_MAX - next_random(1000),
                                       .uid = UINT32_MAX - (uint32_t)next_random(2),
                                       .gid = (uint32_t)next_random(UINT32_MAX),
                                       .mode = (uint32_t)next_random(01000),
                                       .kept_max = next_random(3) ? next_random(UINT64_MAX) : UINT64_MAX,
                                       .limits = m->limits[i],
                                       .limits_count = (uint32_t)next_random(LIMITS) };
        snprintf(p->name, sizeof(p->name), "p%02d-%0*d", i, i, 7);
        snprintf(p->domain, sizeof(p->domain), "%s", next_random(2) ? "default" : "it's \"quoted\"; DROP TABLE x");
        if (next_random(2))
                snprintf(p->holder, sizeof(p->holder), "boot %d 17 it's", i);
        for (uint32_t l = 0; l < p->limits_count; l++) {
                snprintf(m->limits[i][l].node, sizeof(m->limits[i][l].node), "gpu%02u", l);
                m->limits[i][l].max = next_random(3) ? next_random(UINT64_MAX) : UINT64_MAX;
                m->limits[i][l].high = next_random(3) ? next_random(UINT64_MAX) : UINT64_MAX;
                m->limits[i][l].low = next_random(3) ? next_random(UINT64_MAX) : 0;
                m->limits[i][l].min = next_random(3) ? next_random(UINT64_MAX) : 0;
        }
}

static int compare_next(void *userdata, const struct store_partition *p) {
        struct model *m = userdata;
        struct store_partition *e;

        while (m->next < MANY && !m->there[m->next])
                m->next++;
        assert_true(m->next < MANY);
        e = &m->p[m->next++];
        assert_string_equal(p->name, e->name);
        assert_string_equal(p->domain, e->domain);
        assert_int_equal(p->window, e->window);
        assert_true(p->base == e->base && p->size == e->size);
        assert_true(p->uid == e->uid && p->gid == e->gid && p->mode == e->mode);
        assert_true(p->kept_max == e->kept_max);
        assert_string_equal(p->holder, e->holder);
        assert_int_equal(p->limits_count, e->limits_count);
        for (uint32_t i = 0; i < p->limits_count; i++) {
                assert_string_equal(p->limits[i].node, e->limits[i].node);
                assert_true(p->limits[i].max == e->limits[i].max && p->limits[i].high == e->limits[i].high);
                assert_true(p->limits[i].low == e->limits[i].low && p->limits[i].min == e->limits[i].min);
        }
        return 0;
}

static void compare(struct store *s, struct model *m) {
        int r;

        m->next = 0;
        r = store_each(s, compare_next, m, why, sizeof(why));
        if (r)
                fail_msg("each: %d %s", r, why);
        while (m->next < MANY)
                assert_false(m->there[m->next++]);
}

static void test_random(void **state) {
        static struct model m;
        struct store *s = open_store();

        for (int step = 0; step < 300; step++) {
                int i = (int)next_random(MANY), r;

                if (next_random(3)) {
                        random_partition(&m, i);
                        r = store_put(s, &m.p[i], why, sizeof(why));
                        assert_int_equal(r, 0);
                        m.there[i] = true;
                } else {
                        if (!m.there[i])
                                random_partition(&m, i);
                        r = store_remove(s, m.p[i].name, why, sizeof(why));
                        assert_int_equal(r, m.there[i] ? 0 : -ENOENT);
                        m.there[i] = false;
                }
                if (next_random(20) == 0) {
                        store_close(s);
                        s = open_store();
                }
                if (step % 10 == 0)
                        compare(s, &m);
        }
        compare(s, &m);
        store_close(s);
        store_close(NULL);
}

static int stop_at_second(void *userdata, const struct store_partition *p) {
        return ++*(int *)userdata == 2 ? 55 : 0;
}

static void put_simple(struct store *s, const char *name, uint32_t limits) {
        struct store_limit l[64];
        struct store_partition p = { .domain = "default", .size = 4, .limits = l, .limits_count = limits };

        snprintf(p.name, sizeof(p.name), "%s", name);
        for (uint32_t i = 0; i < limits; i++) {
                snprintf(l[i].node, sizeof(l[i].node), "n%u", i);
                l[i].max = i;
        }
        assert_int_equal(store_put(s, &p, why, sizeof(why)), 0);
}

/* In the place of the C library's, for SQLite. */
static unsigned waits;
__attribute__((visibility("default"))) int fdatasync(int fd) {
        waits++;
        return (int)syscall(SYS_fdatasync, fd);
}

/* What ends with the boot is not waited for; what comes next is, with all that came before. */
static void test_waits_for_the_disk(void **state) {
        struct store_partition held = { .name = "held", .domain = "default", .size = 4, .holder = "boot 17 4711 c1" };
        const struct store_cgroup group = { .path = "/a",
                                            .limits = &(struct store_limit){ .node = "n" },
                                            .limits_count = 1 };
        struct store *s = open_store();
        unsigned before;

        put_simple(s, "first", 0);
        before = waits;
        assert_int_equal(store_put(s, &held, why, sizeof(why)), 0);
        assert_int_equal(store_remove(s, "held", why, sizeof(why)), 0);
        assert_int_equal(waits, before);
        put_simple(s, "kept", 0);
        assert_true(waits > before);
        assert_int_equal(store_put(s, &held, why, sizeof(why)), 0);
        before = waits;
        assert_int_equal(store_remove(s, "kept", why, sizeof(why)), 0);
        assert_true(waits > before);
        assert_int_equal(store_put(s, &held, why, sizeof(why)), 0);
        before = waits;
        assert_int_equal(store_put_cgroup(s, &group, why, sizeof(why)), 0);
        assert_true(waits > before);
        store_close(s);
}

static void test_each_can_be_ended(void **state) {
        struct store *s = open_store();
        int n = 0;

        for (int i = 0; i < 5; i++)
                put_simple(s, (const char *[]){ "a", "b", "c", "d", "e" }[i], 2);
        assert_int_equal(store_each(s, stop_at_second, &n, why, sizeof(why)), 55);
        assert_int_equal(n, 2);
        store_close(s);
}

static void test_no_memory(void **state) {
        struct store *s = NULL;
        int n = -100;

        alloc_fail_at(1);
        assert_int_equal(store_open(&s, dir, why, sizeof(why)), -ENOMEM);
        alloc_fail_off();
        assert_null(s);
        s = open_store();
        put_simple(s, "many", 60);
        for (unsigned long at = 1; at <= 4; at++) {
                alloc_fail_at(at);
                assert_int_equal(store_each(s, stop_at_second, &n, why, sizeof(why)), -ENOMEM);
                alloc_fail_off();
        }
        assert_int_equal(store_each(s, stop_at_second, &n, why, sizeof(why)), 0);
        store_close(s);
}

static void test_one_svmd(void **state) {
        struct store *s = open_store(), *other = NULL;

        assert_int_equal(store_open(&other, dir, why, sizeof(why)), -EBUSY);
        assert_non_null(strstr(why, "another svmd"));
        assert_null(other);
        store_close(s);
        store_close(open_store());
}

static void test_settings(void **state) {
        struct store *s = open_store();
        unsigned char header[100];
        struct stat st;
        FILE *f;

        put_simple(s, "p", 1);
        store_close(s);
        assert_int_equal(stat(file, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        f = fopen(file, "r");
        assert_int_equal(fread(header, 1, sizeof(header), f), sizeof(header));
        fclose(f);
        assert_int_equal(header[18], 2); /* write-ahead log */
        assert_memory_equal(header + 60, "\0\0\0\4", 4);
        assert_memory_equal(header + 68, "svmd", 4);
}

struct bytes {
        unsigned char *p;
        size_t size;
};

static struct bytes read_file(void) {
        struct bytes b = { malloc(1 << 20), 0 };
        FILE *f = fopen(file, "r");

        assert_non_null(f);
        b.size = fread(b.p, 1, 1 << 20, f);
        fclose(f);
        return b;
}

static void write_file(const void *bytes, size_t size) {
        FILE *f = fopen(file, "w");

        assert_non_null(f);
        assert_int_equal(fwrite(bytes, 1, size, f), size);
        assert_int_equal(fclose(f), 0);
}

static void assert_refused_untouched(int error, const char *says) {
        struct bytes before = read_file(), after;
        struct store *s = NULL;

        why[0] = '\0';
        assert_int_equal(store_open(&s, dir, why, sizeof(why)), error);
        assert_null(s);
        if (!strstr(why, says))
                fail_msg("'%s' does not say '%s'", why, says);
        after = read_file();
        assert_int_equal(after.size, before.size);
        assert_memory_equal(after.p, before.p, before.size);
        free(before.p);
        free(after.p);
}

static void exec_sql(const char *sql) {
        sqlite3 *db;

        assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
}

static void test_newer_is_refused(void **state) {
        struct store *s = open_store();

        put_simple(s, "p", 1);
        store_close(s);
        exec_sql("PRAGMA user_version = 7; CREATE TABLE news (x)");
        assert_refused_untouched(-EPROTO, "newer svmd (schema 7, this one knows 4)");
        exec_sql("DROP TABLE news; PRAGMA user_version = 4");
        store_close(open_store());
}

static void newer_svmd_is_killed(void) {
        sqlite3 *db;

        if (sqlite3_open(file, &db) || sqlite3_exec(db, "PRAGMA user_version = 9", NULL, NULL, NULL))
                _exit(1);
        kill(getpid(), SIGKILL);
}

/* That it is newer stands in the write-ahead log of a svmd that was killed; the log is not moved into the file. */
static void test_newer_in_the_log(void **state) {
        char wal[128];
        struct stat before, after;
        int status;
        pid_t pid;

        store_close(open_store());
        pid = fork();
        if (pid == 0)
                newer_svmd_is_killed();
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        snprintf(wal, sizeof(wal), "%s-wal", file);
        assert_int_equal(stat(wal, &before), 0);
        assert_true(before.st_size > 0);
        assert_refused_untouched(-EPROTO, "schema 9");
        assert_int_equal(stat(wal, &after), 0);
        assert_int_equal(after.st_size, before.st_size);
}

static void test_other_program_is_refused(void **state) {
        exec_sql("CREATE TABLE recipes (x); INSERT INTO recipes VALUES ('soup')");
        assert_refused_untouched(-EPROTO, "another program");
        exec_sql("PRAGMA application_id = 77");
        assert_refused_untouched(-EPROTO, "another program");
}

static void test_damage_is_refused(void **state) {
        struct store *s = open_store();
        struct bytes good, bad;
        char name[32];

        for (int i = 0; i < 200; i++) {
                snprintf(name, sizeof(name), "partition-%d", i);
                put_simple(s, name, 20);
        }
        store_close(s);
        good = read_file();
        assert_true(good.size > 20000);
        bad = (struct bytes){ malloc(good.size), good.size };

        write_file("this is no database, but it has some length ....................................................",
                   90);
        assert_refused_untouched(-EUCLEAN, "mkdir");
        write_file(good.p, good.size / 2 / 4096 * 4096); /* the tail is missing */
        assert_refused_untouched(-EUCLEAN, "damaged");
        memcpy(bad.p, good.p, good.size);
        memset(bad.p + 4096 * (1 + next_random(good.size / 4096 - 1)), 0xa5, 4096); /* a page */
        write_file(bad.p, bad.size);
        assert_refused_untouched(-EUCLEAN, "damaged");
        write_file(good.p, good.size);
        store_close(open_store());
        free(good.p);
        free(bad.p);
}

static const char *const test_steps[] = {
        "CREATE TABLE a (x)",
        "INSERT INTO a VALUES (1); ALTER TABLE a ADD COLUMN y DEFAULT 5",
        "UPDATE a SET y = 6; CREATE TABLE b (z)",
        "CREATE TABLE c (z); THIS IS NO SQL",
};

static int number(sqlite3 *db, const char *sql) {
        sqlite3_stmt *q;
        int n = -1;

        if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW)
                n = sqlite3_column_int(q, 0);
        sqlite3_finalize(q);
        return n;
}

/* The steps run in order from where the file stands, and all or none of them. */
static void test_upgrade(void **state) {
        sqlite3 *db;

        assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
        assert_int_equal(schema_upgrade(db, test_steps, 0, 1), SQLITE_OK);
        assert_int_equal(number(db, "PRAGMA user_version"), 1);
        assert_int_equal(number(db, "PRAGMA application_id"), SCHEMA_APPLICATION);
        assert_int_equal(schema_upgrade(db, test_steps, 1, 3), SQLITE_OK);
        assert_int_equal(number(db, "PRAGMA user_version"), 3);
        assert_int_equal(number(db, "SELECT y FROM a"), 6);
        assert_int_equal(schema_upgrade(db, test_steps, 2, 4), SQLITE_ERROR); /* b exists */
        assert_int_equal(schema_upgrade(db, test_steps, 3, 4), SQLITE_ERROR); /* c is taken back */
        assert_int_equal(number(db, "PRAGMA user_version"), 3);
        assert_int_equal(number(db, "SELECT count(*) FROM sqlite_schema"), 2);
        sqlite3_close(db);
}

static int old_partition(void *userdata, const struct store_partition *p) {
        unsigned *count = userdata;

        assert_string_equal(p->name, "old");
        assert_true(p->base == 1ull << 45 && p->mode == 0640);
        assert_int_equal(p->kept_max, 0);
        assert_string_equal(p->holder, "");
        assert_int_equal(p->limits_count, 1);
        assert_true(p->limits[0].max == 4096 && p->limits[0].high == UINT64_MAX);
        assert_true(p->limits[0].low == 0 && p->limits[0].min == 0);
        ++*count;
        return 0;
}

/* A file of each earlier version is read, and nothing is kept by what was made before that was known, or protected. */
static void test_older_files(void **state) {
        struct store *s;
        unsigned count = 0;
        sqlite3 *db;

        assert_int_equal(schema_version, 4);
        assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
        assert_int_equal(schema_upgrade(db, schema_steps, 0, 1), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db,
                                      "INSERT INTO partition (name, domain, window, base, size, uid, gid, mode)"
                                      " VALUES ('old', 'default', 0, 35184372088832, 4294967296, 7, 7, 416);"
                                      "INSERT INTO partition_limit (partition, node, max) VALUES ('old', 'gpu0', 4096)",
                                      NULL, NULL, NULL),
                         SQLITE_OK);
        sqlite3_close(db);
        s = open_store();
        assert_int_equal(store_each(s, old_partition, &count, why, sizeof(why)), 0);
        assert_int_equal(count, 1);
        store_close(s);
}

/* What the killed child puts i-th: name, owner and limits follow from i. */
static void put_ith(struct store *s, uint32_t i) {
        struct store_limit l[LIMITS];
        struct store_partition p = { .domain = "default", .uid = i, .limits = l, .limits_count = i % LIMITS };

        snprintf(p.name, sizeof(p.name), "%02u", i % MANY);
        for (uint32_t n = 0; n < p.limits_count; n++) {
                snprintf(l[n].node, sizeof(l[n].node), "n%02u", n);
                l[n].max = i;
        }
        if (store_put(s, &p, why, sizeof(why)))
                _exit(1);
}

static int check_whole(void *userdata, const struct store_partition *p) {
        uint32_t *last = userdata;

        assert_int_equal(atoi(p->name), p->uid % MANY);
        assert_int_equal(p->limits_count, p->uid % LIMITS);
        for (uint32_t n = 0; n < p->limits_count; n++)
                assert_int_equal(p->limits[n].max, p->uid);
        if (p->uid > *last)
                *last = p->uid;
        return 0;
}

/* However long it takes. */
static void await_more(const volatile uint32_t *done, uint32_t than) {
        for (int ms = 0; *done <= than; ms++) {
                assert_true(ms < 30000);
                usleep(1000);
        }
}

/* Every put that returned is there, and none by halves. */
static void test_killed(void **state) {
        volatile uint32_t *done = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        for (int round = 0; round < 40; round++) {
                useconds_t after = (useconds_t)next_random(30000);
                uint32_t last = 0;
                int status;
                pid_t pid = fork();
                struct store *s;

                if (pid == 0) {
                        s = open_store();
                        for (;;) {
                                put_ith(s, *done + 1);
                                ++*done;
                        }
                }
                if (round % 4) /* or while it opens */
                        await_more(done, *done);
                usleep(after);
                kill(pid, SIGKILL);
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_true(WIFSIGNALED(status));
                s = open_store();
                assert_int_equal(store_each(s, check_whole, &last, why, sizeof(why)), 0);
                assert_true(last == *done || last == *done + 1);
                *done = last;
                store_close(s);
        }
        assert_true(*done >= 30);
        munmap((void *)done, 4096);
}

static bool in_own_mounts(void) {
        return geteuid() == 0 && unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static void fill_until_refused(struct store *s, struct model *m, int error) {
        int r = 0;

        for (int i = 0; r == 0 && i < 100000; i++) {
                struct model copy = *m;
                int at = i % MANY;

                random_partition(m, at);
                r = store_put(s, &m->p[at], why, sizeof(why));
                if (r == 0) {
                        m->there[at] = true;
                        continue;
                }
                *m = copy;
                for (int k = 0; k < MANY; k++)
                        m->p[k].limits = m->limits[k];
        }
        if (error ? r != error : r >= 0)
                fail_msg("put: %d %s", r, why);
        assert_true(strlen(why) > 20);
        compare(s, m);
}

/* No file may grow beyond a size, so sooner or later the log cannot. */
static void test_file_cannot_grow(void **state) {
        static struct model m;
        struct rlimit old, low;
        struct store *s = open_store();

        random_partition(&m, 0);
        assert_int_equal(store_put(s, &m.p[0], why, sizeof(why)), 0);
        m.there[0] = true;
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
        signal(SIGXFSZ, SIG_IGN);
        low = (struct rlimit){ .rlim_cur = 200 << 10, .rlim_max = old.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
        fill_until_refused(s, &m, 0);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        store_close(s);
        s = open_store();
        compare(s, &m);
        store_close(s);
}

static void full_disk(void) {
        static struct model m;
        struct store *s, *other = NULL;

        assert_int_equal(mount("svmd-test", dir, "tmpfs", 0, "size=300k"), 0);
        s = open_store();
        fill_until_refused(s, &m, -ENOSPC);
        store_close(s);
        s = open_store();
        compare(s, &m);
        store_close(s);
        assert_int_equal(mount("svmd-test", dir, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0);
        assert_int_equal(store_open(&other, dir, why, sizeof(why)), -EROFS);
        assert_non_null(strstr(why, "--state-dir"));
}

/* In a child, whose mounts end with it. */
static void test_full_disk(void **state) {
        int status;
        pid_t pid = fork();

        if (pid == 0) {
                if (!in_own_mounts())
                        _exit(77);
                full_disk();
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
                printf("not applicable without the right to mount: a disk that is really full or read-only\n");
        else
                assert_int_equal(status, 0);
}

static void test_folder(void **state) {
        struct store *s = NULL;
        char below[128];

        snprintf(below, sizeof(below), "%s/missing/deep", dir);
        assert_int_equal(store_open(&s, below, why, sizeof(why)), -ENOENT);
        assert_non_null(strstr(why, below));
        snprintf(below, sizeof(below), "%s/made", dir);
        assert_int_equal(store_open(&s, below, why, sizeof(why)), 0);
        store_close(s);
        snprintf(below, sizeof(below), "rm -r %s/made", dir);
        assert_int_equal(system(below), 0);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void) {
        const struct CMUnitTest tests[] = {
                IN_DIR(test_random),
                IN_DIR(test_waits_for_the_disk),
                IN_DIR(test_each_can_be_ended),
                IN_DIR(test_no_memory),
                IN_DIR(test_one_svmd),
                IN_DIR(test_settings),
                IN_DIR(test_newer_is_refused),
                IN_DIR(test_newer_in_the_log),
                IN_DIR(test_other_program_is_refused),
                IN_DIR(test_damage_is_refused),
                IN_DIR(test_upgrade),
                IN_DIR(test_older_files),
                IN_DIR(test_killed),
                IN_DIR(test_file_cannot_grow),
                IN_DIR(test_full_disk),
                IN_DIR(test_folder),
        };
        return cmocka_run_group_tests(tests, seed_random, NULL);
}
