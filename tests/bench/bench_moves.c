#include <pthread.h>
#include <stdatomic.h>

#include "bench.h"
#include "range.h"

/*
 * What it costs to move a managed range: out to a soft node, and in again, by order, until the fence is done. The limit
 * is a memcpy of as many bytes from one memory file to another: of files of 4 KiB pages it begins with pages that are
 * not in the page tables of who copies, since they are somebody else's; of huge pages it is the bare memcpy, which they
 * come close to. svmd is on one CPU, where the memcpy is measured too; the client, which only waits, on another.
 */
enum { ROUNDS = 15 };
#define SIZE (64ull << 20)

static svmd_node host, soft;

static void measure_both(svmd_session *s, struct row *out, struct row *in, size_t granule, int huge) {
        struct range r;

        range_open(&r, s, SIZE, granule, huge, 0);
        for (int round = -2; round < ROUNDS; round++) {
                double away = range_move(&r, soft), limit = huge ? memcpy_ns(SIZE) : fetch_ns(SIZE, granule),
                       back = range_move(&r, host);

                if (round < 0)
                        continue;
                if (out)
                        row_add(out, away * (double)granule / SIZE, limit * (double)granule / SIZE);
                if (in)
                        row_add(in, back * (double)granule / SIZE, limit * (double)granule / SIZE);
        }
        range_close(&r);
        if (out)
                row_print(out);
        if (in)
                row_print(in);
}

/* A rate, against the rate at which the kernel makes shared memory at the first touch. */
static void measure_prefetch(svmd_session *s) {
        struct row row = { .name = "prefetch_2m", .unit = "GB/s" };
        struct range r;

        range_open(&r, s, SIZE, 2 << 20, 0, 0);
        for (int round = -2; round < ROUNDS; round++) {
                uint64_t start;
                double ns;

                range_move(&r, soft);
                start = now_ns();
                must(svmd_prefetch(s, NULL, r.p, SIZE, host) == SVMD_OK, "svmd_prefetch: %s", svmd_error());
                ns = (double)(now_ns() - start);
                if (round >= 0)
                        row_add(&row, (double)SIZE / ns, (double)SIZE / first_touch_ns(SIZE));
        }
        range_close(&r);
        row_print(&row);
}

static void measure_evict(svmd_session *s) {
        struct row row = { .name = "evict_2m", .unit = "ns" };
        struct range r;

        range_open(&r, s, SIZE, 2 << 20, 0, 0);
        for (int round = -2; round < ROUNDS; round++) {
                double evicted, moved;

                evicted = range_evict(&r);
                range_move(&r, host);
                moved = range_move(&r, soft);
                range_move(&r, host);
                if (round >= 0)
                        row_add(&row, evicted * (2 << 20) / SIZE, moved * (2 << 20) / SIZE);
        }
        range_close(&r);
        row_print(&row);
}

/* ---- under writers ---- */

enum { WRITERS = 16 };

struct writers {
        pthread_t thread[WRITERS];
        unsigned count;
        struct range *range;
        atomic_bool stop;
};

static struct writers writers;

static void *write_on(void *userdata) {
        size_t first = (size_t)userdata;

        while (!atomic_load(&writers.stop))
                for (size_t i = first * SVMD_PAGE; i < writers.range->size; i += SVMD_PAGE * writers.count)
                        ++*(volatile uint64_t *)(void *)(writers.range->p + i);
        return NULL;
}

static void writers_start(struct range *r, unsigned count) {
        writers.range = r;
        writers.count = count;
        atomic_store(&writers.stop, false);
        for (size_t i = 0; i < count; i++)
                must(pthread_create(&writers.thread[i], NULL, write_on, (void *)i) == 0, "no thread could be made");
}

static void writers_stop(void) {
        atomic_store(&writers.stop, true);
        for (unsigned i = 0; i < writers.count; i++)
                pthread_join(writers.thread[i], NULL);
}

static void measure_revoke(svmd_session *s) {
        struct row row = { .name = "revoke_2m", .unit = "ns" };
        struct range busy, quiet;

        range_open(&busy, s, 2 << 20, 2 << 20, 0, 0);
        range_open(&quiet, s, 2 << 20, 2 << 20, 0, 0);
        for (int round = -2; round < ROUNDS; round++) {
                uint64_t start;
                double revoked, moved;

                writers_start(&busy, WRITERS);
                start = now_ns();
                must(svmd_revoke(s, NULL, busy.p) == SVMD_OK, "svmd_revoke: %s", svmd_error());
                revoked = (double)(now_ns() - start);
                must(svmd_unrevoke(s, NULL, busy.p) == SVMD_OK, "svmd_unrevoke: %s", svmd_error());
                writers_stop();
                moved = range_move(&quiet, soft);
                range_move(&quiet, host);
                if (round >= 0)
                        row_add(&row, revoked, moved);
        }
        range_close(&busy);
        range_close(&quiet);
        row_print(&row);
}

static void measure_hammer(svmd_session *s) {
        struct row row = { .name = "hammer_migrate", .unit = "GB/s" };
        struct range r;

        range_open(&r, s, SIZE, 2 << 20, 0, 0);
        writers_start(&r, 1);
        for (int round = -1; round < ROUNDS; round++) {
                double ns = range_move(&r, soft) + range_move(&r, host);

                if (round >= 0)
                        row_add(&row, 2.0 * SIZE / ns, (double)SIZE / memcpy_ns(SIZE));
        }
        writers_stop();
        range_close(&r);
        row_print(&row);
}

int main(int argc, char **argv) {
        struct row out_64k = { .name = "out_64k", .unit = "ns" }, out_2m = { .name = "out_2m", .unit = "ns" },
                   in_2m = { .name = "in_2m", .unit = "ns" }, out_huge = { .name = "out_2m_huge", .unit = "ns" },
                   in_huge = { .name = "in_2m_huge", .unit = "ns" };
        svmd_session *s;

        must(argc == 3, "usage: bench_moves RUNTIME-DIR PID");
        pin_to(0);
        s = session_open(argv[1]);
        host = node_of(s, SVMD_NODE_HOST);
        soft = node_of(s, SVMD_NODE_SOFT);
        measure_both(s, &out_64k, NULL, 64 << 10, 0);
        measure_both(s, &out_2m, &in_2m, 2 << 20, 0);
        measure_both(s, &out_huge, &in_huge, 2 << 20, 1);
        measure_prefetch(s);
        measure_evict(s);
        measure_revoke(s);
        measure_hammer(s);
        svmd_disconnect(s);
        return 0;
}
