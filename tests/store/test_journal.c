/*
 * Random appends, rewinds, commits and snapshots against a model that is two lists of effects (committed and not), with
 * the file adopted anew in between; a child that is killed between any two instructions, after which the log must be
 * what it had acknowledged, or one commit more; and files that were cut, damaged or written by another version.
 */
#include <errno.h>
#include <fcntl.h>
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
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "store/journal.h"

static uint64_t rng;

static uint64_t next_random(uint64_t below) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (rng >> 11) % below;
}

static void seed_random(void) {
        const char *s = getenv("SVMD_SEED");
        uint64_t seed = s ? strtoull(s, NULL, 0) : (uint64_t)time(NULL);

        printf("seed: SVMD_SEED=%llu\n", (unsigned long long)seed);
        rng = seed * 0x9e3779b97f4a7c15ull | 1;
}

/* An effect of the model: its bytes follow from `key`, so only the key is kept. */
struct item {
        uint16_t type;
        uint32_t size;
        uint32_t key;
};

enum { ITEMS = 20000, ITEM_BYTES = 3000 };

struct model {
        struct item item[ITEMS];
        size_t committed, count, seen;
        unsigned char bytes[ITEM_BYTES];
};

static void fill_bytes(unsigned char *p, const struct item *it) {
        for (uint32_t i = 0; i < it->size; i++)
                p[i] = (unsigned char)(it->key * 31 + i * 7 + (i >> 8));
}

static int compare_next(void *userdata, uint16_t type, const void *bytes, size_t size) {
        struct model *m = userdata;
        const struct item *it = &m->item[m->seen];

        assert_true(m->seen < m->committed);
        assert_int_equal(type, it->type);
        assert_int_equal(size, it->size);
        assert_int_equal((uintptr_t)bytes % 8, 0);
        fill_bytes(m->bytes, it);
        assert_memory_equal(bytes, m->bytes, size);
        m->seen++;
        return 0;
}

static void compare(struct model *m, struct journal *j) {
        m->seen = 0;
        assert_int_equal(journal_replay(j, compare_next, m), 0);
        assert_int_equal(m->seen, m->committed);
}

static struct item random_item(void) {
        struct item it = { .type = (uint16_t)next_random(65536), .key = (uint32_t)next_random(1u << 30) };

        it.size = (uint32_t)(next_random(10) ? next_random(64) : next_random(ITEM_BYTES));
        return it;
}

static int model_append(struct model *m, struct journal *j) {
        struct item it = random_item();
        int r = journal_reserve(j, 1, it.size);

        if (r)
                return r;
        fill_bytes(m->bytes, &it);
        journal_append(j, it.type, m->bytes, it.size);
        m->item[m->count++] = it;
        return 0;
}

static void model_snapshot(struct model *m, struct journal *j, bool keep) {
        struct item *all = calloc(ITEMS, sizeof(*all));
        size_t n = next_random(200);
        int r = 0;

        assert_int_equal(m->count, m->committed);
        assert_int_equal(journal_snapshot_begin(j), 0);
        for (size_t i = 0; i < n && r == 0; i++) {
                all[i] = random_item();
                fill_bytes(m->bytes, &all[i]);
                r = journal_snapshot_put(j, all[i].type, m->bytes, all[i].size);
        }
        if (r || !keep) {
                assert_true(r == 0 || r == JOURNAL_E_FULL);
                journal_snapshot_cancel(j);
        } else {
                journal_snapshot_end(j);
                memcpy(m->item, all, n * sizeof(*all));
                m->committed = m->count = n;
        }
        free(all);
}

static struct journal *adopt_anew(struct journal *j) {
        char why[256] = "";
        int fd = dup(journal_fd(j));
        struct journal *k;

        assert_true(fd >= 0);
        journal_free(j);
        assert_int_equal(journal_adopt(&k, fd, why, sizeof(why)), 0);
        assert_int_equal(journal_fd(k), fd);
        return k;
}

static struct journal *random_step(struct model *m, struct journal *j, unsigned *full) {
        size_t before = m->count;
        uint64_t mark = journal_mark(j);

        switch (next_random(12)) {
        default:
                for (uint64_t n = next_random(6); n; n--) {
                        int r = model_append(m, j);

                        assert_true(r == 0 || r == JOURNAL_E_FULL);
                        if (r == 0)
                                continue;
                        ++*full;
                        journal_commit(j);
                        m->committed = m->count;
                        model_snapshot(m, j, true);
                        return j;
                }
                if (next_random(3) == 0) {
                        journal_rewind(j, mark);
                        m->count = before;
                }
                break;
        case 0 ... 3:
                journal_commit(j);
                m->committed = m->count;
                break;
        case 4:
                j = adopt_anew(j);
                m->count = m->committed;
                break;
        case 5:
                if (m->count > m->committed)
                        assert_int_equal(journal_snapshot_begin(j), -EBUSY);
                else if (next_random(100) == 0)
                        model_snapshot(m, j, next_random(2));
                break;
        }
        return j;
}

static void test_random(void **state) {
        static struct model m;
        struct journal *j;
        unsigned full = 0;

        seed_random();
        assert_int_equal(journal_new(&j, 256 << 10), 0);
        for (int step = 0; step < 20000; step++) {
                j = random_step(&m, j, &full);
                assert_true(journal_used(j) <= journal_size(j));
                if (step % 16 == 0)
                        compare(&m, j);
        }
        compare(&m, j);
        assert_true(full > 5);
        journal_free(j);
}

static int count_effects(void *userdata, uint16_t type, const void *bytes, size_t size) {
        return ++*(unsigned *)userdata == 3 ? 77 : 0;
}

static int count_all(void *userdata, uint16_t type, const void *bytes, size_t size) {
        ++*(unsigned *)userdata;
        return 0;
}

static void test_basics(void **state) {
        static char big[1 << 20];
        struct journal *j;
        unsigned n = 0;

        assert_int_equal(journal_new(&j, 0), -EINVAL);
        assert_int_equal(journal_new(&j, UINT64_MAX), -EINVAL);
        assert_int_equal(journal_new(&j, (8 << 20) + 1), 0);
        assert_int_equal(journal_size(j), (4 << 20) + 4096);
        assert_int_equal(journal_used(j), 0);

        journal_commit(j);
        assert_int_equal(journal_used(j), 0);
        assert_int_equal(journal_reserve(j, 3, sizeof(big)), 0);
        journal_append(j, 1, big, sizeof(big));
        journal_append(j, 2, NULL, 0);
        journal_append(j, 3, "", 0);
        assert_int_equal(journal_replay(j, count_effects, &n), 0);
        assert_int_equal(n, 0);
        journal_commit(j);
        assert_int_equal(journal_replay(j, count_effects, &n), 77);
        journal_free(j);
        journal_free(NULL);
}

static uint64_t pages_of(struct journal *j) {
        struct stat st;

        assert_int_equal(fstat(journal_fd(j), &st), 0);
        return (uint64_t)st.st_blocks * 512;
}

/* A big journal costs what is used of it, before and after a snapshot. */
static void test_is_sparse(void **state) {
        static char big[1 << 20];
        struct journal *j;

        assert_int_equal(journal_new(&j, 1ull << 30), 0);
        assert_true(pages_of(j) <= 64 << 10);
        for (int i = 0; i < 32; i++) {
                assert_int_equal(journal_reserve(j, 1, sizeof(big)), 0);
                journal_append(j, 1, big, sizeof(big));
        }
        journal_commit(j);
        assert_true(pages_of(j) >= 32 << 20 && pages_of(j) <= 34 << 20);
        assert_int_equal(journal_snapshot_begin(j), 0);
        assert_int_equal(journal_snapshot_put(j, 1, "x", 1), 0);
        journal_snapshot_end(j);
        assert_true(pages_of(j) <= 2 << 20);
        assert_true(journal_used(j) < 4096);
        journal_free(j);
}

/* What was reserved fits whatever the sizes; a byte more than the half is refused and changes nothing. */
static void test_full(void **state) {
        struct journal *j;
        unsigned n = 0;
        int r;

        assert_int_equal(journal_new(&j, 16 << 10), 0);
        assert_int_equal(journal_reserve(j, 1, 8192 - 16 - 8 + 1), JOURNAL_E_FULL);
        assert_int_equal(journal_reserve(j, SIZE_MAX / 8, 1), JOURNAL_E_FULL);
        assert_int_equal(journal_reserve(j, 1, SIZE_MAX), JOURNAL_E_FULL);
        while ((r = journal_reserve(j, 10, 10)) == 0) {
                for (int i = 0; i < 10; i++)
                        journal_append(j, 1, "x", 1);
                journal_commit(j);
                n++;
        }
        assert_int_equal(r, JOURNAL_E_FULL);
        assert_int_equal(n, (8192 - 176) / 176 + 1);

        assert_int_equal(journal_snapshot_begin(j), 0);
        while ((r = journal_snapshot_put(j, 2, "snapshot", 8)) == 0)
                ;
        assert_int_equal(r, JOURNAL_E_FULL);
        journal_snapshot_cancel(j);
        assert_int_equal(journal_used(j), n * 176);
        j = adopt_anew(j);
        assert_int_equal(journal_used(j), n * 176);
        journal_free(j);
}

static void test_no_memory(void **state) {
        struct journal *j = NULL;
        char why[64];
        int fd;

        alloc_fail_at(1);
        assert_int_equal(journal_new(&j, 4096), -ENOMEM);
        alloc_fail_off();
        assert_null(j);

        assert_int_equal(journal_new(&j, 4096), 0);
        fd = dup(journal_fd(j));
        journal_free(j);
        alloc_fail_at(1);
        assert_int_equal(journal_adopt(&j, fd, why, sizeof(why)), -ENOMEM);
        alloc_fail_off();
        assert_int_equal(journal_adopt(&j, fd, why, sizeof(why)), 0);
        journal_free(j);
}

/* One who needs more in the middle leaves what was reserved around it. */
static void test_reserve_within(void **state) {
        static char big[3000];
        struct journal *j;

        assert_int_equal(journal_new(&j, 16 << 10), 0);
        assert_int_equal(journal_reserve(j, 1, 4000), 0);
        assert_int_equal(journal_reserve_more(j, 1, 3000), 0);
        assert_int_equal(journal_reserve_more(j, 1, 1500), JOURNAL_E_FULL);
        journal_append(j, 1, big, 3000);
        journal_append(j, 1, big, 3000);
        journal_append(j, 1, big, 900);
        journal_commit(j);
        assert_int_equal(journal_reserve_more(j, 1, 1500), JOURNAL_E_FULL);
        assert_int_equal(journal_reserve_more(j, 1, 900), 0);
        journal_append(j, 1, big, 900);
        journal_free(j);
}

/* A commit ends what was reserved, used or not: nothing adds up from one turn to the next. */
static void test_reserve_ends(void **state) {
        struct journal *j;

        assert_int_equal(journal_new(&j, 16 << 10), 0);
        for (int i = 0; i < 100; i++) {
                assert_int_equal(journal_reserve_more(j, 1, 3000), 0);
                assert_int_equal(journal_reserve_more(j, 1, 3000), 0);
                if (i % 2 == 0)
                        journal_append(j, 1, "effect", 6);
                journal_commit(j);
        }
        journal_free(j);
}

/* The machine's fallocate, which the linker leads here: it fails from the Nth call on, for more than `fail_above`
 * bytes.
 */
static unsigned pages_fail_at, interrupt_at;
static off_t fail_above;
static int fail_with;

int __real_fallocate(int fd, int mode, off_t offset, off_t size);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t size);

int __wrap_fallocate(int fd, int mode, off_t offset, off_t size) {
        if (interrupt_at && --interrupt_at == 0) {
                errno = EINTR;
                return -1;
        }
        if (pages_fail_at && (pages_fail_at == 1 || --pages_fail_at == 1) && !(mode & FALLOC_FL_PUNCH_HOLE) &&
            size > fail_above) {
                errno = fail_with;
                return -1;
        }
        return __real_fallocate(fd, mode, offset, size);
}

static void no_pages(int error, off_t above) {
        pages_fail_at = 1;
        fail_above = above;
        fail_with = error;
}

/* Pages that the machine does not have are refused where that is possible, and the log goes on as it was. */
static void test_no_pages(void **state) {
        static char big[100 << 10];
        struct journal *j = NULL;
        unsigned n = 0;

        no_pages(ENOSPC, 0);
        assert_int_equal(journal_new(&j, 64 << 20), -ENOMEM);
        assert_null(j);
        pages_fail_at = 0;
        assert_int_equal(journal_new(&j, 64 << 20), 0);
        for (int i = 0; i < 10; i++) {
                assert_int_equal(journal_reserve(j, 1, sizeof(big)), 0);
                journal_append(j, 1, big, sizeof(big));
        }
        journal_commit(j);

        no_pages(ENOSPC, 0);
        assert_int_equal(journal_reserve(j, 1, sizeof(big)), -ENOMEM);
        no_pages(ENOMEM, 0);
        assert_int_equal(journal_reserve(j, 1, sizeof(big)), -ENOMEM);
        assert_int_equal(journal_snapshot_begin(j), 0);
        assert_int_equal(journal_snapshot_put(j, 2, "x", 1), -ENOMEM);
        journal_snapshot_cancel(j);

        no_pages(ENOMEM, 256 << 10); /* not a chunk ahead, but what is needed */
        assert_int_equal(journal_reserve(j, 1, sizeof(big)), 0);
        journal_append(j, 1, big, sizeof(big));
        journal_commit(j);
        pages_fail_at = 0;
        interrupt_at = 1;
        assert_int_equal(journal_reserve(j, 1, 2 << 20), 0);
        assert_int_equal(interrupt_at, 0);
        j = adopt_anew(j);
        assert_int_equal(journal_replay(j, count_all, &n), 0);
        assert_int_equal(n, 11);
        journal_free(j);
}

/* A copy of the first `size` bytes of the file, unsealed. */
static int copy_of(const unsigned char *bytes, size_t size) {
        int fd = memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        assert_true(fd >= 0);
        for (size_t at = 0; at < size;) {
                ssize_t n = pwrite(fd, bytes + at, size - at, at);

                assert_true(n > 0);
                at += n;
        }
        return fd;
}

static int adopt_copy(const unsigned char *bytes, size_t size, char *why, size_t why_size) {
        int fd = copy_of(bytes, size), r;
        struct journal *j;

        why[0] = '\0';
        r = journal_adopt(&j, fd, why, why_size);
        if (r == 0)
                journal_free(j);
        else
                assert_int_equal(close(fd), 0); /* it stayed ours */
        return r;
}

static size_t make_damageable(unsigned char *bytes, size_t size, uint64_t *used) {
        struct journal *j;
        ssize_t n;

        assert_int_equal(journal_new(&j, 32 << 10), 0);
        assert_int_equal(journal_snapshot_begin(j), 0);
        for (int i = 0; i < 5; i++)
                assert_int_equal(journal_snapshot_put(j, 9, "snapshot bytes", 13), 0);
        journal_snapshot_end(j);
        for (int i = 0; i < 10; i++) {
                assert_int_equal(journal_reserve(j, 2, 30), 0);
                journal_append(j, (uint16_t)i, "twenty bytes of data", 20);
                journal_append(j, (uint16_t)i, "ten bytes.", 10);
                journal_commit(j);
        }
        *used = journal_used(j);
        n = pread(journal_fd(j), bytes, size, 0);
        assert_true(n > 0);
        journal_free(j);
        return (size_t)n;
}

enum { FORMAT_AT = 8, FORMAT_END = 12, TAIL0_AT = 32, TAIL0_END = 40, HEADER_END = 48, PAGE = 4096 };

static void test_damage(void **state) {
        static unsigned char bytes[64 << 10];
        char why[256];
        uint64_t used;
        size_t size = make_damageable(bytes, sizeof(bytes), &used), second = PAGE + (16 << 10);

        assert_int_equal(size, PAGE + (32 << 10));
        assert_int_equal(adopt_copy(bytes, size, why, sizeof(why)), 0);

        /* Every bit of the header and of the half that is active (the second, after one snapshot). */
        for (size_t at = 0; at < second + used; at++) {
                if (at == HEADER_END)
                        at = second;
                for (int bit = 0; bit < 8; bit++) {
                        int expected = at >= FORMAT_AT && at < FORMAT_END ? JOURNAL_E_FORMAT
                                       : at >= TAIL0_AT && at < TAIL0_END ? 0 /* of the other half */
                                                                          : JOURNAL_E_BROKEN;
                        int r;

                        bytes[at] ^= 1u << bit;
                        r = adopt_copy(bytes, size, why, sizeof(why));
                        if (r != expected)
                                fail_msg("bit %d of byte %zu: %d where %d was expected (%s)", bit, at, r, expected,
                                         why);
                        assert_true(expected == 0 || strlen(why) > 20);
                        bytes[at] ^= 1u << bit;
                }
        }
        /* What was never committed does not count. */
        memset(bytes + second + used, 0xff, 64);
        assert_int_equal(adopt_copy(bytes, size, why, sizeof(why)), 0);
}

static void test_truncation(void **state) {
        static unsigned char bytes[64 << 10];
        char why[256];
        uint64_t used;
        size_t size = make_damageable(bytes, sizeof(bytes), &used);

        for (size_t cut = 0; cut < size; cut += cut < 100 ? 1 : 997) {
                assert_int_equal(adopt_copy(bytes, cut, why, sizeof(why)), JOURNAL_E_BROKEN);
                assert_true(strlen(why) > 20);
        }
        assert_int_equal(adopt_copy(bytes, size - 1, why, sizeof(why)), JOURNAL_E_BROKEN);
        assert_int_equal(adopt_copy(bytes, sizeof(bytes), why, sizeof(why)), JOURNAL_E_BROKEN);
        bytes[FORMAT_AT] = 2;
        assert_int_equal(adopt_copy(bytes, size, why, sizeof(why)), JOURNAL_E_FORMAT);
        assert_non_null(strstr(why, "format 2"));
}

/*
 * The killed child. Commit k consists of 1 + k % 4 effects (k, i, count) of type COMMIT and of a size that follows from
 * both; a snapshot after commit k of 3 effects (k, i, 3) of type SNAPSHOT.
 */
enum { COMMIT = 1, SNAPSHOT = 2, KILL_JOURNAL = 16 << 10 };

struct piece {
        uint64_t k;
        uint32_t i, count;
        unsigned char more[200];
};

static size_t piece_size(uint64_t k, uint32_t i) {
        return offsetof(struct piece, more) + (k * 37 + i * 11) % sizeof(((struct piece *)0)->more);
}

static void put_piece(struct journal *j, uint16_t type, uint64_t k, uint32_t i, uint32_t count) {
        struct piece p = { .k = k, .i = i, .count = count };

        memset(p.more, (int)(k + i), sizeof(p.more));
        if (type == COMMIT)
                journal_append(j, type, &p, piece_size(k, i));
        else if (journal_snapshot_put(j, type, &p, piece_size(k, i)))
                _exit(3);
}

/* Every fifth time one that is cancelled comes first: it must leave no trace. */
static void child_snapshot(struct journal *j, uint64_t k) {
        if (k % 5 == 0) {
                if (journal_snapshot_begin(j))
                        _exit(2);
                put_piece(j, SNAPSHOT, k + 1000, 0, 3);
                journal_snapshot_cancel(j);
        }
        if (journal_snapshot_begin(j))
                _exit(2);
        for (uint32_t i = 0; i < 3; i++)
                put_piece(j, SNAPSHOT, k, i, 3);
        journal_snapshot_end(j);
}

static void child_run(struct journal *j, volatile uint64_t *acknowledged) {
        for (uint64_t k = *acknowledged + 1;; k++) {
                uint32_t count = 1 + k % 4;

                if (journal_reserve(j, count, count * sizeof(struct piece))) {
                        child_snapshot(j, k - 1);
                        if (journal_reserve(j, count, count * sizeof(struct piece)))
                                _exit(4);
                }
                for (uint32_t i = 0; i < count; i++)
                        put_piece(j, COMMIT, k, i, count);
                journal_commit(j);
                *acknowledged = k;
        }
}

struct seen {
        uint64_t k;    /* the last whole commit, 0: none yet */
        uint32_t next; /* the piece of k + 1 (or of the snapshot) that must come */
        bool in_snapshot;
        unsigned snapshots, commits;
};

static int check_piece(void *userdata, uint16_t type, const void *bytes, size_t size) {
        struct seen *s = userdata;
        const struct piece *p = bytes;

        assert_true(size >= offsetof(struct piece, more));
        assert_int_equal(size, piece_size(p->k, p->i));
        assert_int_equal(p->i, s->next);
        for (size_t i = 0; i < size - offsetof(struct piece, more); i++)
                assert_int_equal(p->more[i], (unsigned char)(p->k + p->i));
        if (type == SNAPSHOT) {
                assert_int_equal(s->commits, 0);
                s->k = p->k;
                s->snapshots += p->i == 0;
        } else {
                assert_int_equal(type, COMMIT);
                assert_int_equal(p->k, s->k + 1);
        }
        s->next = p->i + 1 == p->count ? 0 : s->next + 1;
        if (type == COMMIT && s->next == 0) {
                s->k = p->k;
                s->commits++;
        }
        return 0;
}

/* Some while it adopts the log, most between commits, however long those take. */
static void kill_after_a_while(pid_t pid, const volatile uint64_t *acknowledged) {
        uint64_t until = next_random(8) ? *acknowledged + 1 + next_random(8) : 0;

        for (int i = 0; *acknowledged < until; i++) {
                assert_true(i < 300000);
                usleep(100);
        }
        usleep((useconds_t)next_random(3000));
        kill(pid, SIGKILL);
}

/* The child stopped itself; it gets some instructions more, one at a time. */
static void kill_between_instructions(pid_t pid) {
        uint64_t steps = next_random(6000);
        int status;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSTOPPED(status));
        while (steps--) {
                if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0 || waitpid(pid, &status, 0) != pid ||
                    !WIFSTOPPED(status))
                        fail_msg("the child could not be stepped: status %x", status);
        }
        kill(pid, SIGKILL);
}

static uint64_t adopt_and_check(int fd, uint64_t acknowledged, unsigned *snapshots) {
        struct seen s = { 0 };
        struct journal *j;
        char why[256] = "";
        int r;

        r = journal_adopt(&j, dup(fd), why, sizeof(why));
        if (r)
                fail_msg("after a kill: %d %s", r, why);
        assert_int_equal(journal_replay(j, check_piece, &s), 0);
        assert_int_equal(s.next, 0);
        assert_true(s.snapshots <= 1);
        *snapshots += s.snapshots;
        if (s.k != acknowledged && s.k != acknowledged + 1)
                fail_msg("commit %llu was acknowledged, the log ends with %llu", (unsigned long long)acknowledged,
                         (unsigned long long)s.k);
        journal_free(j);
        return s.k;
}

static void child_main(int fd, volatile uint64_t *acknowledged, bool stepped) {
        struct journal *j;
        char why[256];

        if (stepped && ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
                _exit(5);
        if (journal_adopt(&j, fd, why, sizeof(why)))
                _exit(6);
        if (stepped)
                raise(SIGSTOP);
        child_run(j, acknowledged);
}

static void test_killed(void **state) {
        volatile uint64_t *acknowledged = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        unsigned snapshots = 0, kills = 0;
        struct journal *j;

        seed_random();
        assert_int_equal(journal_new(&j, KILL_JOURNAL), 0);
        for (int round = 0; round < 400; round++) {
                bool stepped = round % 2;
                int status;
                pid_t pid = fork();

                assert_true(pid >= 0);
                if (pid == 0)
                        child_main(journal_fd(j), acknowledged, stepped);
                if (stepped)
                        kill_between_instructions(pid);
                else
                        kill_after_a_while(pid, acknowledged);
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
                kills++;
                *acknowledged = adopt_and_check(journal_fd(j), *acknowledged, &snapshots);
        }
        printf("%u kills, %llu commits\n", kills, (unsigned long long)*acknowledged);
        assert_true(kills >= 200 && *acknowledged > 400 && snapshots > 100);
        journal_free(j);
        munmap((void *)acknowledged, 4096);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_basics),       cmocka_unit_test(test_is_sparse),
                cmocka_unit_test(test_full),         cmocka_unit_test(test_reserve_within),
                cmocka_unit_test(test_reserve_ends), cmocka_unit_test(test_no_memory),
                cmocka_unit_test(test_no_pages),     cmocka_unit_test(test_damage),
                cmocka_unit_test(test_truncation),   cmocka_unit_test(test_random),
                cmocka_unit_test(test_killed),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
