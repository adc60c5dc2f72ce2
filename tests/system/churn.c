#include "churn.h"

#include <poll.h>
#include <string.h>

#include "harness.h"

#define PAGE  4096ull
#define BYTES 0x0101010101010101ull

void churn_begin(struct churn *c, svmd_session *s) {
        memset(c, 0, sizeof(*c));
        c->s = s;
        c->host = node_named(s, "host0");
        c->gpu = node_named(s, "gpu0");
        ok(svmd_space_create(s, &c->space, c->gpu));
}

/* ---- device operations ---- */

/* SVMD_OK or SVMD_E_INTERRUPTED, the only code that a restart may bring. */
static int run(struct churn *c, struct svmd_device_op *op, struct svmd_fence_result *ret) {
        svmd_fence *f;
        int r;

        op->size = sizeof(*op);
        op->space = c->space;
        op->flags = random_below(2) ? SVMD_SUBMIT_EVENTFD : 0;
        ok(svmd_submit(c->s, &f, op));
        r = svmd_fence_wait(f, -1, ret);
        if (r != SVMD_E_INTERRUPTED)
                want(SVMD_OK, r);
        if (op->flags) {
                struct pollfd p = { .fd = svmd_fence_eventfd(f), .events = POLLIN };

                must(poll(&p, 1, CEILING_MS) == 1);
        }
        svmd_fence_free(f);
        c->fences++;
        c->interrupted += r != 0;
        return r;
}

static uint64_t expected_sum(const struct block *b) {
        uint64_t words = b->size / 8;

        if (b->device)
                return words * ((b->seed & 0xff) * BYTES);
        return words * b->seed + words * (words - 1) / 2;
}

static void device_fill(struct churn *c, struct block *b) {
        struct svmd_device_op op = { .op = SVMD_DEVICE_FILL, .dst = (uint64_t)b->at, .length = b->size };

        b->seed = op.value = random_below(256);
        b->uncertain = run(c, &op, NULL) != 0;
}

static void device_sum(struct churn *c, const struct block *b) {
        struct svmd_device_op op = { .op = SVMD_DEVICE_SUM, .src = (uint64_t)b->at, .length = b->size };
        struct svmd_fence_result result;

        if (run(c, &op, &result) == 0)
                must(result.value == expected_sum(b));
}

/* ---- blocks ---- */

static void host_write(struct block *b) {
        uint64_t *p = b->at;

        b->seed = random_below(1ull << 48);
        for (size_t i = 0; i < b->size / 8; i++)
                p[i] = b->seed + i;
}

static void host_check(const struct block *b) {
        const volatile uint64_t *p = b->at;

        for (size_t i = 0; i < b->size / 8; i++)
                if (p[i] != b->seed + i)
                        fail_here("host memory does not hold what was written there");
}

static void block_show(struct churn *c, struct block *b) {
        svmd_space space = b->device ? c->space : SVMD_CPU;

        ok(svmd_mem_map(c->s, space, (uint64_t)b->at, b->size, 0, b->mem, SVMD_ACCESS_READ_WRITE, 0));
        b->shown = true;
}

static void block_make(struct churn *c, struct block *b) {
        size_t pages = 1 + random_below(random_below(16) ? 24 : 600);

        b->device = random_below(3) == 0;
        b->size = pages * PAGE;
        ok(svmd_address_reserve(c->s, &b->at, b->size, 0, NULL, NULL));
        ok(svmd_mem_create(c->s, &b->mem, b->size, b->device ? c->gpu : c->host,
                           random_below(2) ? SVMD_MEM_SHAREABLE : 0));
        block_show(c, b);
        if (b->device)
                device_fill(c, b);
        else
                host_write(b);
}

/* The same with a vector, all or nothing; one in four is made to fail and must leave nothing. */
static void block_make_together(struct churn *c, struct block *b) {
        size_t size = (1 + random_below(16)) * PAGE;
        bool spoil = random_below(4) == 0;
        struct svmd_result results[3];
        svmd_batch *v;
        int r;

        ok(svmd_batch_new(c->s, &v));
        must(svmd_batch_reserve(v, size, 0, NULL) == 0);
        must(svmd_batch_mem_create(v, size, c->host, 0) == 1);
        if (spoil)
                must(svmd_batch_mem_release(v, UINT64_MAX - 7) == 2);
        r = svmd_batch_submit(v, SVMD_ALL_OR_NOTHING, results);
        svmd_batch_free(v);
        if (spoil) {
                want(SVMD_E_NO_SUCH, r);
                must(results[0].code == SVMD_E_ABORTED && results[1].code == SVMD_E_ABORTED);
                return;
        }
        want(SVMD_OK, r);
        *b = (struct block){ .at = (void *)results[0].address, .size = size, .mem = results[1].id };
        block_show(c, b);
        host_write(b);
}

static void block_hide(struct churn *c, struct block *b) {
        if (b->in_space)
                ok(svmd_mem_unmap(c->s, c->space, (uint64_t)b->at, b->size));
        if (b->shown)
                ok(svmd_mem_unmap(c->s, b->device ? c->space : SVMD_CPU, (uint64_t)b->at, b->size));
        b->in_space = b->shown = false;
}

/* In one of the orders in which a program may do it. */
static void block_end(struct churn *c, struct block *b) {
        if (!b->released && random_below(2)) {
                ok(svmd_mem_release(c->s, b->mem));
                b->released = true;
        }
        if (b->device || b->in_space || random_below(2))
                block_hide(c, b);
        ok(svmd_address_free(c->s, b->at));
        if (!b->released)
                ok(svmd_mem_release(c->s, b->mem));
        *b = (struct block){ 0 };
}

static void block_look(struct churn *c, struct block *b) {
        if (!b->shown)
                return;
        if (b->device && b->uncertain)
                device_fill(c, b);
        else if (b->device || (b->in_space && random_below(2)))
                device_sum(c, b);
        else
                host_check(b);
}

static void block_alter(struct churn *c, struct block *b) {
        if (!b->released && b->shown && random_below(2)) {
                block_hide(c, b);
        } else if (!b->shown) {
                block_show(c, b);
        } else if (b->device) {
                device_fill(c, b);
        } else if (!b->in_space) {
                if (b->released)
                        return;
                ok(svmd_mem_map(c->s, c->space, (uint64_t)b->at, b->size, 0, b->mem, SVMD_ACCESS_READ, 0));
                b->in_space = true;
        } else {
                host_write(b);
        }
}

/* ---- steps ---- */

static void try_to_release_early(struct churn *c, struct block *b) {
        if (b->released || !b->shown)
                return;
        ok(svmd_mem_release(c->s, b->mem));
        b->released = true;
}

void churn_step(struct churn *c) {
        struct block *b = &c->block[random_below(CHURN_BLOCKS)];

        c->steps++;
        if (!b->at) {
                if (random_below(4))
                        block_make(c, b);
                else
                        block_make_together(c, b);
                return;
        }
        switch (random_below(8)) {
        case 0:
        case 1: block_end(c, b); break;
        case 2: try_to_release_early(c, b); break;
        case 3:
        case 4: block_alter(c, b); break;
        default: block_look(c, b); break;
        }
}

void churn_check(struct churn *c) {
        for (unsigned i = 0; i < CHURN_BLOCKS; i++)
                if (c->block[i].at)
                        block_look(c, &c->block[i]);
}

void churn_end(struct churn *c) {
        for (unsigned i = 0; i < CHURN_BLOCKS; i++)
                if (c->block[i].at)
                        block_end(c, &c->block[i]);
        ok(svmd_space_destroy(c->s, c->space));
}
