#include "hostile/witness.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"

enum { GRANULE = 65536, GRANULES = 32, PLAIN = 1 << 20, WORDS = PLAIN / 8, RANGE_WORDS = GRANULES * GRANULE / 8 };

static uint64_t word(uint64_t i) {
        return (i + 1) * 0x9e3779b97f4a7c15ull;
}

static void device(struct witness *w, unsigned op, uint64_t dst, uint64_t src, uint64_t want_value) {
        struct svmd_device_op o = {
                .size = sizeof(o), .op = op, .space = w->space, .dst = dst, .src = src, .length = PLAIN
        };
        struct svmd_fence_result result;
        svmd_fence *f;

        ok(svmd_submit(w->s, &f, &o));
        ok(svmd_fence_wait(f, (int)CEILING_MS, &result));
        must(result.value == want_value);
        svmd_fence_free(f);
}

static void make_plain(struct witness *w) {
        void *host, *at;

        ok(svmd_mem_create(w->s, &w->host_memory, PLAIN, node_named(w->s, "host0"), 0));
        ok(svmd_address_reserve(w->s, &host, PLAIN, 0, NULL, NULL));
        ok(svmd_mem_map(w->s, SVMD_CPU, (uint64_t)host, PLAIN, 0, w->host_memory, SVMD_ACCESS_READ_WRITE, 0));
        w->host = host;
        for (uint64_t i = 0; i < WORDS; i++)
                w->host[i] = word(i);
        ok(svmd_space_create(w->s, &w->space, w->gpu));
        ok(svmd_mem_map(w->s, w->space, (uint64_t)host, PLAIN, 0, w->host_memory, SVMD_ACCESS_READ_WRITE, 0));
        ok(svmd_mem_create(w->s, &w->gpu_memory, PLAIN, w->gpu, 0));
        ok(svmd_address_reserve(w->s, &at, PLAIN, 0, NULL, NULL));
        ok(svmd_mem_map(w->s, w->space, (uint64_t)at, PLAIN, 0, w->gpu_memory, SVMD_ACCESS_READ_WRITE, 0));
        w->at_gpu = (uint64_t)at;
        device(w, SVMD_DEVICE_COPY, w->at_gpu, (uint64_t)host, 0);
}

static void make_range(struct witness *w) {
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_SHARED, .granule = GRANULE };
        void *at;

        ok(svmd_address_reserve(w->s, &at, GRANULES * GRANULE, 0, NULL, &o));
        w->range = at;
        for (uint64_t i = 0; i < RANGE_WORDS; i++)
                w->range[i] = word(i);
}

static uint64_t blocks(const struct witness *w) {
        return process_blocks(w->d->pid, "svmd-arena") + process_blocks(w->d->pid, "svmd-memory");
}

void witness_new(struct witness *w, const struct daemon *d, const char *partition) {
        *w = (struct witness){ .d = d };
        connect_watcher(&w->watcher, d->admin);
        connect_to(&w->s, d->socket, partition);
        w->gpu = node_named(w->s, "gpu0");
        make_plain(w);
        make_range(w);
        for (unsigned i = 0; i < GRANULES; i++)
                witness_step(w);
        witness_note(w);
}

void witness_note(struct witness *w) {
        if (!w->d->pid)
                return;
        w->svmd_fds = process_fds_at_rest(w->d->pid);
        w->keeper_fds = process_fds_at_rest(w->d->keeper);
        w->blocks = blocks(w);
        ledger_read(w->watcher, &w->charges);
}

void witness_step(struct witness *w) {
        volatile uint64_t *at = w->range + w->next % GRANULES * (GRANULE / 8);
        void *p;

        ok(svmd_address_reserve(w->s, &p, 4096, 0, NULL, NULL));
        ok(svmd_address_free(w->s, p));
        ok(svmd_migrate(w->s, NULL, (const void *)at, GRANULE, w->gpu));
        must(*at == word((uint64_t)(at - w->range)));
        *at = word((uint64_t)(at - w->range));
        w->next++;
        w->steps++;
}

static bool is_as_before(const struct witness *w) {
        struct ledger now;

        ledger_read(w->watcher, &now);
        return now.host == w->charges.host && now.soft_count == w->charges.soft_count &&
               memcmp(now.soft, w->charges.soft, now.soft_count * sizeof(now.soft[0])) == 0 && blocks(w) == w->blocks &&
               process_fds(w->d->pid) == w->svmd_fds && process_fds(w->d->keeper) == w->keeper_fds;
}

static void say_what_is(const struct witness *w) {
        struct ledger now;

        ledger_read(w->watcher, &now);
        fprintf(stderr,
                "host %llu, was %llu; gpu0 %llu, was %llu; files %llu, was %llu; descriptors %u and %u, were %u and %u\n",
                (unsigned long long)now.host, (unsigned long long)w->charges.host, (unsigned long long)now.soft[0],
                (unsigned long long)w->charges.soft[0], (unsigned long long)blocks(w), (unsigned long long)w->blocks,
                process_fds(w->d->pid), process_fds(w->d->keeper), w->svmd_fds, w->keeper_fds);
}

/* What others had may take a moment to be given back. */
static void check_accounts(struct witness *w) {
        uint64_t until = now_ms() + CEILING_MS;

        while (w->d->pid && !is_as_before(w)) {
                if (now_ms() >= until) {
                        say_what_is(w);
                        fail_here("svmd still has something of the hostile client");
                }
                usleep(1000);
        }
}

void witness_check(struct witness *w) {
        witness_step(w);
        for (uint64_t i = 0; i < WORDS; i++)
                must(w->host[i] == word(i));
        device(w, SVMD_DEVICE_COMPARE, w->at_gpu, (uint64_t)w->host, PLAIN);
        for (uint64_t i = 0; i < RANGE_WORDS; i++)
                must(w->range[i] == word(i));
        check_accounts(w);
}

void witness_free(struct witness *w) {
        svmd_disconnect(w->s);
        svmd_disconnect(w->watcher);
}
