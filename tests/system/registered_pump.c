#include "registered_pump.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

enum { THREADS = 2 };

static svmd_session *session;
static svmd_space space;
static svmd_mem scratch;
static const uint64_t scratch_at = 0x10000000;
static pthread_t thread[THREADS];
static atomic_bool running, ending;
static atomic_uint busy, worked;
static _Atomic(uint64_t) target;

svmd_space pump_space(void) {
        return space;
}

static int run(unsigned type, uint64_t dst, uint64_t src, uint64_t length, uint64_t value, uint64_t *ret) {
        struct svmd_device_op op = { .size = sizeof(op), .op = type, .space = space };
        struct svmd_fence_result outcome = { 0 };
        svmd_fence *f;
        int r;

        op.dst = dst;
        op.src = src;
        op.length = length;
        op.value = value;
        ok(svmd_submit(session, &f, &op));
        r = svmd_fence_wait(f, CEILING_MS, &outcome);
        svmd_fence_free(f);
        if (ret)
                *ret = outcome.value;
        return r;
}

static void allowed(int r) {
        if (r == SVMD_OK)
                atomic_fetch_add(&worked, 1);
        else if (r != SVMD_E_INTERRUPTED)
                want(SVMD_E_NOT_MAPPED, r);
}

static void work(unsigned number, unsigned turn) {
        uint64_t at = atomic_load(&target), part = PUMP_SIZE / 3;

        switch (turn % 4) {
        case 0: allowed(run(SVMD_DEVICE_FILL, at, 0, PUMP_SIZE, PUMP_BIT | (turn & 0x7f), NULL)); break;
        case 1: allowed(run(SVMD_DEVICE_SUM, 0, at, PUMP_SIZE, 0, NULL)); break;
        case 2: allowed(run(SVMD_DEVICE_COPY, scratch_at + number * PUMP_SIZE, at, PUMP_SIZE, 0, NULL)); break;
        case 3: allowed(run(SVMD_DEVICE_COPY, at + part - 100, at + 2 * part - 50, part - 200, 0, NULL)); break;
        }
}

static void *pump(void *userdata) {
        unsigned number = (unsigned)(uintptr_t)userdata;

        for (unsigned turn = number; !atomic_load(&ending); turn++) {
                atomic_fetch_add(&busy, 1);
                if (atomic_load(&running))
                        work(number, turn);
                atomic_fetch_sub(&busy, 1);
                if (!atomic_load(&running))
                        usleep(100);
        }
        return NULL;
}

void pump_begin(svmd_session *s, svmd_node gpu) {
        session = s;
        ok(svmd_space_create(s, &space, gpu));
        ok(svmd_mem_create(s, &scratch, THREADS * PUMP_SIZE, gpu, 0));
        ok(svmd_mem_map(s, space, scratch_at, THREADS * PUMP_SIZE, 0, scratch, SVMD_ACCESS_READ_WRITE, 0));
        for (uintptr_t i = 0; i < THREADS; i++)
                must(pthread_create(&thread[i], NULL, pump, (void *)i) == 0);
}

void pump_end(void) {
        atomic_store(&ending, true);
        for (unsigned i = 0; i < THREADS; i++)
                pthread_join(thread[i], NULL);
        ok(svmd_space_destroy(session, space));
        ok(svmd_mem_release(session, scratch));
}

void pump_register(struct pump_region *r, char *at) {
        r->at = at;
        ok(svmd_register(session, &r->mem, &r->generation, at, PUMP_SIZE, NULL));
        must(r->mem && r->generation);
        ok(svmd_mem_map(session, space, (uint64_t)at, PUMP_SIZE, 0, r->mem, SVMD_ACCESS_READ_WRITE, 0));
}

void pump_unregister(struct pump_region *r) {
        ok(svmd_unregister(session, r->mem));
        ok(svmd_mem_unmap(session, space, (uint64_t)r->at, PUMP_SIZE));
}

void pump_start(const struct pump_region *r) {
        uint64_t until = now_ms() + CEILING_MS;

        atomic_store(&target, (uint64_t)r->at);
        atomic_store(&worked, 0);
        atomic_store(&running, true);
        while (atomic_load(&worked) < 4) {
                must(now_ms() < until);
                usleep(50);
        }
}

void pump_stop(void) {
        atomic_store(&running, false);
        while (atomic_load(&busy) > 0)
                usleep(50);
}

void pump_refused_at(const struct pump_region *r, uint64_t offset) {
        want(SVMD_E_NOT_MAPPED, run(SVMD_DEVICE_FILL, (uint64_t)r->at + offset, 0, 8, PUMP_BIT, NULL));
        want(SVMD_E_NOT_MAPPED, run(SVMD_DEVICE_SUM, 0, (uint64_t)r->at + offset, 8, 0, NULL));
}

void pump_refused(const struct pump_region *r) {
        pump_refused_at(r, 0);
        pump_refused_at(r, PUMP_SIZE - 8);
}

void pump_works(const struct pump_region *r) {
        uint64_t sum;

        memset(r->at, 1, PUMP_SIZE);
        ok(run(SVMD_DEVICE_SUM, 0, (uint64_t)r->at, PUMP_SIZE, 0, &sum));
        must(sum == 0x0101010101010101ull * (PUMP_SIZE / 8));
        ok(run(SVMD_DEVICE_FILL, (uint64_t)r->at + 3, 0, PUMP_SIZE - 10, 0x91, NULL));
        must(r->at[2] == 1 && (uint8_t)r->at[3] == 0x91 && (uint8_t)r->at[PUMP_SIZE - 8] == 0x91);
        must(r->at[PUMP_SIZE - 7] == 1);
        for (unsigned i = 3; i < PUMP_SIZE - 7; i++)
                must((uint8_t)r->at[i] == 0x91);
        ok(run(SVMD_DEVICE_COPY, (uint64_t)r->at + 5000, (uint64_t)r->at, 5000, 0, NULL));
        must(memcmp(r->at, r->at + 5000, 5000) == 0);
        ok(run(SVMD_DEVICE_COMPARE, (uint64_t)r->at + 5000, (uint64_t)r->at, 5000, 0, &sum));
        must(sum == 5000);
        ok(run(SVMD_DEVICE_COMPARE, (uint64_t)r->at + PUMP_SIZE - 8, (uint64_t)r->at + PUMP_SIZE - 9, 8, 0, &sum));
        must(sum == 1);
        ok(run(SVMD_DEVICE_COPY, scratch_at + 1, (uint64_t)r->at, PUMP_SIZE, 0, NULL));
        ok(run(SVMD_DEVICE_COMPARE, (uint64_t)r->at, scratch_at + 1, PUMP_SIZE, 0, &sum));
        must(sum == PUMP_SIZE);
        want(SVMD_E_UNSUPPORTED, run(SVMD_DEVICE_ATOMIC_ADD, (uint64_t)r->at, 0, 0, 1, NULL));
}
