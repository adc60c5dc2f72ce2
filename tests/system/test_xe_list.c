/*
 * What the tests of the kernel's GPU SVM look at (docs/xe-list.md), on managed ranges and devices of svmd. In each case
 * a thread moves what the case works on all the time, from node to node.
 *
 *      system_xe_list [CASE]     SVMD_SEED reproduces the choices
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"
#include "huge_pages.h"
#include "xe_range.h"

enum { THREADS = 4, PROCESSES = 3, HUGE_PAGES = 16 };

static struct daemon d;
static const char *const options[] = { "--soft-node", "gpu0:size=24M", "--soft-node", "gpu1:size=24M",
                                       "--log-level", "warning",       NULL };

/* ---- cases ---- */

static void once(void) {
        struct moved m;

        reserve(&m, 2 * MIB, 64 * KIB, 0, 0, NULL);
        use(m.at, m.size);
        release(&m);
}

static void twice(void) {
        struct moved m;

        reserve(&m, 2 * MIB, 64 * KIB, 0, 0, NULL);
        use(m.at, m.size);
        use(m.at, m.size);
        release(&m);
}

static void sizes(void) {
        static const size_t granules[] = { 4 * KIB, 64 * KIB, 2 * MIB }, counts[] = { 1, 2, 3, 5 };

        for (unsigned g = 0; g < 3; g++)
                for (unsigned c = 0; c < 4; c++) {
                        struct moved m;

                        reserve(&m, counts[c] * granules[g], granules[g], 0, 0, NULL);
                        use(m.at, m.size);
                        release(&m);
                }
}

static void alignments(void) {
        static const size_t aligns[] = { 64 * KIB, 2 * MIB, 1024 * MIB };

        for (unsigned i = 0; i < 3; i++) {
                struct moved m;

                reserve(&m, 192 * KIB, 64 * KIB, aligns[i], 0, NULL);
                use(m.at, m.size);
                release(&m);
        }
}

static void many(void) {
        for (unsigned i = 0; i < 40; i++) {
                struct moved m;

                reserve(&m, 256 * KIB, 64 * KIB, 0, 0, NULL);
                use(m.at, m.size);
                release(&m);
        }
}

static void stride(void) {
        struct moved m;

        reserve(&m, 8 * MIB, 64 * KIB, 0, 0, NULL);
        for (size_t at = 0; at < m.size; at += 17 * PAGE)
                add(any(), m.at + at, at + 1);
        for (size_t at = 0; at < m.size; at += 17 * PAGE)
                must(*(volatile uint64_t *)(m.at + at) == at + 1);
        release(&m);
}

/* Several spaces on each device. */
static void queues(void) {
        svmd_space first[DEVICES], more[6];
        struct moved m;

        memcpy(first, space, sizeof(first));
        reserve(&m, 2 * MIB, 64 * KIB, 0, 0, NULL);
        for (unsigned i = 0; i < 6; i++)
                ok(svmd_space_create(session, &more[i], device[i % DEVICES]));
        for (unsigned i = 0; i < 60; i++) {
                space[i % DEVICES] = more[i % 6];
                add(i % DEVICES, m.at + i % 6 * 8, 1);
        }
        for (unsigned i = 0; i < 6; i++) {
                must(((volatile uint64_t *)m.at)[i] == 10);
                ok(svmd_space_destroy(session, more[i]));
        }
        memcpy(space, first, sizeof(first));
        release(&m);
}

/* What nobody wrote is zero to whoever looks first. */
static void untouched(void) {
        struct moved m;

        reserve(&m, 4 * MIB, 64 * KIB, 0, 0, NULL);
        must(sum(0, m.at, m.size / 2) == 0);
        want_bytes(m.at, m.size, 0);
        must(sum(1, m.at, m.size) == 0);
        release(&m);
}

struct adder {
        pthread_t thread;
        char *at;
        unsigned on, times, step;
};

static void *add_often(void *data) {
        struct adder *a = data;

        for (unsigned i = 0; i < a->times; i++)
                add(a->on, a->at + (size_t)i * a->step, 1);
        return NULL;
}

static void start_adder(struct adder *a, unsigned on, char *at, unsigned times, unsigned step) {
        *a = (struct adder){ .at = at, .on = on, .times = times, .step = step };
        must(pthread_create(&a->thread, NULL, add_often, a) == 0);
}

/* CPU and device write words of one page at once. */
static void race(void) {
        struct adder a;
        struct moved m;

        reserve(&m, 64 * KIB, 64 * KIB, 0, 0, NULL);
        start_adder(&a, 0, m.at, 300, 0);
        for (unsigned i = 0; i < 300; i++)
                ((volatile uint64_t *)m.at)[1]++;
        pthread_join(a.thread, NULL);
        must(((volatile uint64_t *)m.at)[0] == 300 && ((volatile uint64_t *)m.at)[1] == 300);
        release(&m);
}

/* CPU and devices add to the same word. */
static void atomics(void) {
        struct adder a[DEVICES];
        struct moved m;

        reserve(&m, 64 * KIB, 64 * KIB, 0, 0, NULL);
        for (unsigned i = 0; i < DEVICES; i++)
                start_adder(&a[i], i, m.at, 200, 0);
        for (unsigned i = 0; i < 1000; i++)
                __atomic_fetch_add((uint64_t *)m.at, 1, __ATOMIC_SEQ_CST);
        for (unsigned i = 0; i < DEVICES; i++)
                pthread_join(a[i].thread, NULL);
        must(*(volatile uint64_t *)m.at == 1000 + 200 * DEVICES);
        release(&m);
}

static void huge(void) {
        struct svmd_reserve_options o = {
                .size = sizeof(o), .kind = SVMD_SHARED, .granule = 2 * MIB, .flags = SVMD_RANGE_HUGE
        };
        struct moved m;
        void *at;

        if (svmd_address_reserve(session, &at, 2 * MIB, 0, NULL, &o)) {
                printf("huge pages: does not apply in this run: %s\n", svmd_error());
                return;
        }
        ok(svmd_address_free(session, at));
        for (unsigned i = 0; i < 3; i++) {
                reserve(&m, 4 * MIB, 2 * MIB, 0, SVMD_RANGE_HUGE, NULL);
                use(m.at, m.size);
                release(&m);
        }
}

/* Managed ranges and explicit memory, in turns, at addresses of the same partition. */
static void mixed(void) {
        struct moved m[4];
        void *at[4];

        for (unsigned i = 0; i < 4; i++) {
                svmd_mem mem;

                reserve(&m[i], 512 * KIB, 64 * KIB, 0, 0, NULL);
                ok(svmd_address_reserve(session, &at[i], 512 * KIB, 0, NULL, NULL));
                ok(svmd_mem_create(session, &mem, 512 * KIB, host, 0));
                ok(svmd_mem_map(session, SVMD_CPU, (uint64_t)at[i], 512 * KIB, 0, mem, SVMD_ACCESS_READ_WRITE, 0));
                for (unsigned k = 0; k < DEVICES; k++)
                        ok(svmd_mem_map(session, space[k], (uint64_t)at[i], 512 * KIB, 0, mem, SVMD_ACCESS_READ_WRITE,
                                        0));
                ok(svmd_mem_release(session, mem));
        }
        for (unsigned i = 0; i < 16; i++) {
                use(m[i % 4].at, m[i % 4].size);
                use(at[i % 4], 512 * KIB);
        }
        for (unsigned i = 0; i < 4; i++) {
                for (unsigned k = 0; k < DEVICES; k++)
                        ok(svmd_mem_unmap(session, space[k], (uint64_t)at[i], 512 * KIB));
                ok(svmd_mem_unmap(session, SVMD_CPU, (uint64_t)at[i], 512 * KIB));
                ok(svmd_address_free(session, at[i]));
                release(&m[i]);
        }
}

/* Memory that is bound over a part of a range in one space hides it there, until it is unbound. */
static void bound_over(void) {
        struct moved m;
        svmd_mem mem;

        reserve(&m, 512 * KIB, 64 * KIB, 0, 0, NULL);
        write_words(m.at, m.size, 7);
        ok(svmd_mem_create(session, &mem, 64 * KIB, host, 0));
        for (unsigned i = 0; i < 5; i++) {
                ok(svmd_mem_map(session, space[0], (uint64_t)m.at, 64 * KIB, 0, mem, SVMD_ACCESS_READ_WRITE, 0));
                fill(0, m.at, 64 * KIB, 0x11);
                must(sum(0, m.at, 64 * KIB) == 8 * KIB * 0x1111111111111111ull);
                must(sum(1, m.at, m.size) == sum_of(m.size, 7));
                want_words(m.at, m.size, 7);
                ok(svmd_mem_unmap(session, space[0], (uint64_t)m.at, 64 * KIB));
                must(sum(0, m.at, m.size) == sum_of(m.size, 7));
        }
        ok(svmd_mem_release(session, mem));
        release(&m);
}

/* Freed while operations on it are out: each ends, and the next range there is zero. */
static void busy(void) {
        for (unsigned round = 0; round < 10; round++) {
                svmd_fence *f[8];
                struct moved m;

                reserve(&m, 512 * KIB, 64 * KIB, 0, 0, NULL);
                write_words(m.at, m.size, round);
                stop_moving(&m);
                for (unsigned i = 0; i < 8; i++) {
                        struct svmd_device_op op = { .size = sizeof(op),
                                                     .op = SVMD_DEVICE_FILL,
                                                     .space = space[i % DEVICES],
                                                     .dst = (uint64_t)m.at,
                                                     .length = m.size,
                                                     .value = 0xff };

                        ok(svmd_submit(session, &f[i], &op));
                }
                ok(svmd_address_free(session, m.at));
                for (unsigned i = 0; i < 8; i++) {
                        int r = svmd_fence_wait(f[i], -1, NULL);

                        must(r == SVMD_OK || r == SVMD_E_NOT_MAPPED || r == SVMD_E_GONE);
                        svmd_fence_free(f[i]);
                }
                reserve(&m, 512 * KIB, 64 * KIB, 0, 0, NULL);
                want_bytes(m.at, m.size, 0);
                release(&m);
        }
}

/* A device that is sent where nothing is, was, or may be. */
static void invalid(void) {
        struct svmd_device_op op = { .op = SVMD_DEVICE_SUM, .length = 4 * KIB };
        struct moved m;
        char *gone;

        reserve(&m, 64 * KIB, 64 * KIB, 0, 0, NULL);
        gone = m.at;
        release(&m);
        reserve(&m, 512 * KIB, 64 * KIB, 2 * MIB, 0, NULL);
        op.src = (uint64_t)(gone == m.at ? m.at + m.size + 2 * MIB : gone);
        must(try_run(0, op, NULL) != SVMD_OK);
        op.src = (uint64_t)m.at + m.size - 2 * KIB; /* over its end */
        must(try_run(1, op, NULL) != SVMD_OK);
        op.src = 0x1000;
        must(try_run(0, op, NULL) != SVMD_OK);
        use(m.at, m.size);
        release(&m);
}

/* ---- unmapped, mapped over, locked, by the process itself ---- */

enum { PIECES = 64 };

static void unmap_piece(unsigned first, unsigned n, bool touch, bool remap) {
        size_t piece = 64 * KIB, size = PIECES * piece, offset = first * piece, length = n * piece;
        struct moved m;

        reserve(&m, size, 64 * KIB, 0, 0, NULL);
        write_words(m.at, size, 3);
        if (touch)
                want_words(m.at, size, 3);
        must(munmap(m.at + offset, length) == 0);
        if (remap) {
                char *own = mmap(m.at + offset, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                                 -1, 0);

                must(own == m.at + offset);
                want_bytes(own, length, 0);
                memset(own, 0x5a, length);
                want_bytes(own, length, 0x5a);
        }
        for (unsigned round = 0; round < 3; round++) {
                want_words(m.at, offset, 3);
                want_words(m.at + offset + length, size - offset - length, 3 + (offset + length) / 8);
                /* The range has it still: others and devices may use what this process has let go. */
                must(sum(any(), m.at, size) == sum_of(size, 3));
        }
        release(&m);
}

static void unmap_head(void) {
        unmap_piece(0, PIECES / 4, false, false);
        unmap_piece(0, PIECES / 4, true, false);
}

static void unmap_middle(void) {
        unmap_piece(PIECES / 4, PIECES / 2, false, false);
        unmap_piece(PIECES / 4, PIECES / 2, true, false);
}

static void unmap_tail(void) {
        unmap_piece(PIECES / 2, PIECES / 2, false, false);
        unmap_piece(PIECES / 2, PIECES / 2, true, false);
}

static void unmap_all(void) {
        unmap_piece(0, PIECES, false, false);
        unmap_piece(0, PIECES, true, false);
}

static void remap(void) {
        unmap_piece(0, PIECES / 2, true, true);
        unmap_piece(PIECES / 4, PIECES / 2, false, true);
        unmap_piece(PIECES / 4, PIECES / 2, true, true);
        unmap_piece(PIECES / 2, PIECES / 2, false, true);
}

/* What is locked leaves like everything else; its content is what counts. */
static void locked(void) {
        struct moved m;

        reserve(&m, 1 * MIB, 64 * KIB, 0, 0, NULL);
        write_words(m.at, m.size, 11);
        if (mlock(m.at, m.size))
                printf("mlock: does not apply in this run\n");
        use(m.at, m.size);
        munlock(m.at, m.size);
        release(&m);
}

static void zapped(void) {
        struct moved m;

        reserve(&m, 1 * MIB, 64 * KIB, 0, 0, NULL);
        write_words(m.at, m.size, 11);
        for (unsigned i = 0; i < 20; i++) {
                must(madvise(m.at, m.size, MADV_DONTNEED) == 0);
                want_words(m.at, m.size, 11);
        }
        release(&m);
}

/* ---- hints ---- */

static void prefetch(void) {
        struct moved m;

        reserve(&m, 2 * MIB, 64 * KIB, 0, 0, NULL);
        for (unsigned i = 0; i < 10; i++) {
                ok(svmd_prefetch(session, NULL, m.at, m.size, device[i % DEVICES]));
                use(m.at, m.size);
                ok(svmd_prefetch(session, NULL, m.at, m.size, host));
                use(m.at, m.size);
        }
        release(&m);
}

static void *prefetch_often(void *data) {
        struct adder *a = data;

        for (unsigned i = 0; i < a->times; i++)
                ok(svmd_prefetch(session, NULL, a->at, 2 * MIB, (i + a->on) % 2 ? host : device[a->on]));
        return NULL;
}

static void prefetch_parallel(void) {
        struct adder a[THREADS];
        struct moved m;

        reserve(&m, 2 * MIB, 64 * KIB, 0, 0, NULL);
        write_words(m.at, m.size, 5);
        for (unsigned i = 0; i < THREADS; i++) {
                a[i] = (struct adder){ .at = m.at, .on = i % DEVICES, .times = 40 };
                must(pthread_create(&a[i].thread, NULL, prefetch_often, &a[i]) == 0);
        }
        for (unsigned i = 0; i < 10; i++)
                want_words(m.at, m.size, 5);
        for (unsigned i = 0; i < THREADS; i++)
                pthread_join(a[i].thread, NULL);
        must(sum(0, m.at, m.size) == sum_of(m.size, 5));
        release(&m);
}

/* Preferred location and the others, of the whole and of parts, changed between uses. */
static void advised(void) {
        struct moved m;

        reserve(&m, 2 * MIB, 64 * KIB, 0, 0, NULL);
        for (unsigned i = 0; i < 24; i++) {
                size_t half = m.size / 2, part = i % 3;
                struct svmd_advice a = { .size = sizeof(a), .what = 1u << i % 5 }, is = { .size = sizeof(is) };
                char *at = part == 2 ? m.at + half : m.at;

                a.preferred = i % 2 ? host : device[i / 2 % DEVICES];
                a.accessed_by = 1ull << device[0];
                a.read_mostly = i % 4 < 2;
                a.granularity = 64 * KIB;
                ok(svmd_advise(session, at, part ? half : m.size, &a));
                ok(svmd_advice_query(session, at, &is));
                if (a.what == SVMD_ADVISE_READ_MOSTLY)
                        must(!is.read_mostly == !a.read_mostly);
                ok(svmd_prefetch(session, NULL, at, part ? half : m.size, device[any()]));
                use(m.at, m.size);
        }
        release(&m);
}

/* ---- more than fits, threads, processes ---- */

/* Twice what both devices have. */
static void evicted(void) {
        enum { RANGES = 12 };
        struct moved m[RANGES];

        for (unsigned i = 0; i < RANGES; i++) {
                reserve(&m[i], 8 * MIB, i % 2 ? 64 * KIB : 2 * MIB, 0, 0, NULL);
                stop_moving(&m[i]);
                fill(i % DEVICES, m[i].at, m[i].size, (uint8_t)(i + 1));
        }
        for (unsigned i = 0; i < RANGES; i++) {
                must(sum(any(), m[i].at, m[i].size) == m[i].size / 8 * ((i + 1) * 0x0101010101010101ull));
                want_bytes(m[i].at, m[i].size, (uint8_t)(i + 1));
                ok(svmd_address_free(session, m[i].at));
        }
}

/* Threads of one process fault on the same addresses on several devices. */
static void threads(void) {
        struct adder a[THREADS];
        struct moved m;

        reserve(&m, 4 * MIB, 64 * KIB, 0, 0, NULL);
        for (unsigned i = 0; i < THREADS; i++)
                start_adder(&a[i], i % DEVICES, m.at, 100, 9 * PAGE);
        for (unsigned i = 0; i < 100; i++)
                __atomic_fetch_add((uint64_t *)(m.at + (size_t)i * 9 * PAGE), 1, __ATOMIC_SEQ_CST);
        for (unsigned i = 0; i < THREADS; i++)
                pthread_join(a[i].thread, NULL);
        for (unsigned i = 0; i < 100; i++)
                must(*(volatile uint64_t *)(m.at + (size_t)i * 9 * PAGE) == THREADS + 1);
        release(&m);
}

struct own_thread {
        pthread_t thread;
        char *at;
};

static void *use_own(void *data) {
        struct own_thread *t = data;

        for (unsigned i = 0; i < 4; i++) {
                uint64_t k = (uint64_t)i * 1000 + (uint64_t)t->at;

                write_words(t->at, 512 * KIB, k);
                must(sum(i % DEVICES, t->at, 512 * KIB) == sum_of(512 * KIB, k));
                want_words(t->at, 512 * KIB, k);
        }
        return NULL;
}

/* Each thread has a piece to itself. */
static void threads_apart(void) {
        struct own_thread t[THREADS];
        struct moved m;

        reserve(&m, THREADS * 512 * KIB, 64 * KIB, 0, 0, NULL);
        for (unsigned i = 0; i < THREADS; i++) {
                t[i].at = m.at + i * 512 * KIB;
                must(pthread_create(&t[i].thread, NULL, use_own, &t[i]) == 0);
        }
        for (unsigned i = 0; i < THREADS; i++)
                pthread_join(t[i].thread, NULL);
        release(&m);
}

static struct moved shared;

/* n[0]: not 0: the one that reserves it. */
static void process_open(struct message *m) {
        void *at;

        xe_begin(d.socket);
        if (m->n[0]) {
                reserve(&shared, 4 * MIB, 64 * KIB, 0, 0, "board");
                return;
        }
        ok(svmd_address_open(session, &at, NULL, "board", SVMD_ACCESS_READ_WRITE));
        shared = (struct moved){ .at = at, .size = 4 * MIB, .granule = 64 * KIB };
        start_moving(&shared);
}

/* n[0]: number */
static void process_add(struct message *m) {
        for (unsigned i = 0; i < 200; i++) {
                char *at = shared.at + (i * 5 % 64) * 64 * KIB;

                __atomic_fetch_add((uint64_t *)at, 1, __ATOMIC_SEQ_CST);
                if (i % 4 == 0)
                        add((unsigned)m->n[0] % DEVICES, at, 1);
                ((volatile uint64_t *)at)[1 + m->n[0]]++;
        }
}

static void process_check(struct message *m) {
        uint64_t all = 0, own = 0;

        for (unsigned i = 0; i < 64; i++) {
                all += *(volatile uint64_t *)(shared.at + (size_t)i * 64 * KIB);
                own += ((volatile uint64_t *)(shared.at + (size_t)i * 64 * KIB))[1 + m->n[0]];
        }
        must(all == PROCESSES * 250 && own == 200);
        stop_moving(&shared);
}

static void process_leave(struct message *m) {
        ok(svmd_address_free(session, shared.at));
        svmd_disconnect(session);
}

static void for_all(struct actor *a, actor_fn fn, bool at_once) {
        for (unsigned i = 0; i < PROCESSES; i++) {
                struct message m = { .n = { i } };

                if (at_once)
                        actor_begin(&a[i], fn, &m);
                else
                        actor_call(&a[i], fn, &m);
        }
        for (unsigned i = 0; at_once && i < PROCESSES; i++)
                actor_finish(&a[i], NULL);
}

/* Runs in the test: processes of two users on one range, each of which moves it. */
static void processes(void) {
        struct actor a[PROCESSES];

        for (unsigned i = 0; i < PROCESSES; i++) {
                struct message m = { .n = { i == 0 } };

                actor_new(&a[i], 2001 + i % 2, 3000, 0);
                actor_call(&a[i], process_open, &m);
        }
        for_all(a, process_add, true);
        for_all(a, process_check, false);
        for (unsigned i = PROCESSES; i-- > 0;) {
                actor_call(&a[i], process_leave, &(struct message){ 0 });
                actor_end(&a[i]);
        }
}

static void evicted_alone(struct message *m) {
        xe_begin(d.socket);
        evicted();
        svmd_disconnect(session);
}

/* Runs in the test: each has twice what both devices have. */
static void processes_evicted(void) {
        struct actor a[PROCESSES];

        for (unsigned i = 0; i < PROCESSES; i++)
                actor_new(&a[i], 2001 + i % 2, 3000, 0);
        for_all(a, evicted_alone, true);
        for (unsigned i = 0; i < PROCESSES; i++)
                actor_end(&a[i]);
}

/* ---- the list ---- */

static const struct {
        const char *name;
        void (*run)(void);
        bool in_test; /* it makes processes of its own */
} cases[] = {
        { "once", once, false },
        { "twice", twice, false },
        { "sizes", sizes, false },
        { "alignments", alignments, false },
        { "many", many, false },
        { "stride", stride, false },
        { "queues", queues, false },
        { "untouched", untouched, false },
        { "race", race, false },
        { "atomics", atomics, false },
        { "huge", huge, false },
        { "mixed", mixed, false },
        { "bound_over", bound_over, false },
        { "busy", busy, false },
        { "invalid", invalid, false },
        { "unmap_head", unmap_head, false },
        { "unmap_middle", unmap_middle, false },
        { "unmap_tail", unmap_tail, false },
        { "unmap_all", unmap_all, false },
        { "remap", remap, false },
        { "locked", locked, false },
        { "zapped", zapped, false },
        { "prefetch", prefetch, false },
        { "prefetch_parallel", prefetch_parallel, false },
        { "advised", advised, false },
        { "evicted", evicted, false },
        { "threads", threads, false },
        { "threads_apart", threads_apart, false },
        { "processes", processes, true },
        { "processes_evicted", processes_evicted, true },
};

/* n[0]: which */
static void run_one(struct message *m) {
        xe_begin(d.socket);
        cases[m->n[0]].run();
        svmd_disconnect(session);
}

static void run_case(unsigned i) {
        struct message m = { .n = { i } };
        uint64_t start = now_ms();
        struct actor a;

        if (cases[i].in_test) {
                cases[i].run();
        } else {
                actor_new(&a, 2001, 3000, 0);
                actor_call(&a, run_one, &m);
                actor_end(&a);
        }
        printf("%-20s good, %llu ms\n", cases[i].name, (unsigned long long)(now_ms() - start));
}

int main(int argc, char **argv) {
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 8ull << 30, .window = HARNESS_WINDOW, .mode = 0444
        };
        svmd_session *watcher;
        unsigned run = 0;

        harness_begin("system_xe_list");
        harness_one_user();
        huge_pages_want(HUGE_PAGES);
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                if (argc > 1 && strcmp(argv[1], cases[i].name) != 0)
                        continue;
                run_case(i);
                await_settled(watcher, &d, 0, 0);
                run++;
        }
        must(run);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
