#include "xe_range.h"

#include "harness.h"

svmd_session *session;
svmd_node host, device[DEVICES];
svmd_space space[DEVICES];

void xe_begin(const char *socket) {
        connect_to(&session, socket, "lab");
        host = node_named(session, "host0");
        device[0] = node_named(session, "gpu0");
        device[1] = node_named(session, "gpu1");
        for (unsigned i = 0; i < DEVICES; i++)
                ok(svmd_space_create(session, &space[i], device[i]));
}

static uint64_t random_of(uint64_t *rng, uint64_t below) {
        *rng ^= *rng << 13;
        *rng ^= *rng >> 7;
        *rng ^= *rng << 17;
        return (*rng >> 11) % below;
}

static void *move_about(void *data) {
        struct moved *m = data;

        while (!atomic_load(&m->stop)) {
                size_t all = m->size / m->granule, n = 1 + random_of(&m->rng, all),
                       first = random_of(&m->rng, all - n + 1);
                svmd_node to = random_of(&m->rng, 3) ? device[random_of(&m->rng, DEVICES)] : host;
                int r = svmd_migrate(session, NULL, m->at + first * m->granule, n * m->granule, to);

                if (r && r != SVMD_E_NO_ROOM && r != SVMD_E_BUSY)
                        ok(r);
        }
        return NULL;
}

void start_moving(struct moved *m) {
        m->rng = random_below(1ull << 40) | 1;
        atomic_store(&m->stop, false);
        must(pthread_create(&m->thread, NULL, move_about, m) == 0);
}

void stop_moving(struct moved *m) {
        atomic_store(&m->stop, true);
        pthread_join(m->thread, NULL);
}

void reserve(struct moved *m, size_t size, size_t granule, size_t align, unsigned flags, const char *name) {
        struct svmd_reserve_options o = { .size = sizeof(o),
                                          .kind = SVMD_SHARED,
                                          .granule = (unsigned)granule,
                                          .flags = flags,
                                          .name = name,
                                          .mode = name ? 0666 : 0 };
        void *at;

        ok(svmd_address_reserve(session, &at, size, align, NULL, &o));
        must(!align || (uint64_t)at % align == 0);
        *m = (struct moved){ .at = at, .size = size, .granule = granule };
        start_moving(m);
}

void release(struct moved *m) {
        stop_moving(m);
        ok(svmd_address_free(session, m->at));
}

int try_run(unsigned on, struct svmd_device_op op, uint64_t *ret) {
        struct svmd_fence_result result = { 0 };
        svmd_fence *f;
        int r;

        op.size = sizeof(op);
        op.space = space[on];
        r = svmd_submit(session, &f, &op);
        if (r)
                return r;
        r = svmd_fence_wait(f, -1, &result);
        svmd_fence_free(f);
        if (ret)
                *ret = result.value;
        return r;
}

unsigned any(void) {
        return (unsigned)random_below(DEVICES);
}

void fill(unsigned on, void *at, size_t size, uint8_t byte) {
        struct svmd_device_op op = { .op = SVMD_DEVICE_FILL, .dst = (uint64_t)at, .length = size, .value = byte };

        ok(try_run(on, op, NULL));
}

uint64_t sum(unsigned on, const void *at, size_t size) {
        struct svmd_device_op op = { .op = SVMD_DEVICE_SUM, .src = (uint64_t)at, .length = size };
        uint64_t value = 0;

        ok(try_run(on, op, &value));
        return value;
}

void add(unsigned on, void *at, uint64_t n) {
        struct svmd_device_op op = { .op = SVMD_DEVICE_ATOMIC_ADD, .dst = (uint64_t)at, .value = n };

        ok(try_run(on, op, NULL));
}

void want_bytes(const char *at, size_t size, uint8_t byte) {
        const volatile uint64_t *p = (const volatile uint64_t *)at;

        for (size_t i = 0; i < size / 8; i++)
                if (p[i] != byte * 0x0101010101010101ull)
                        fail_here("a range does not hold what was written there");
}

void write_words(char *at, size_t size, uint64_t k) {
        for (size_t i = 0; i < size / 8; i++)
                ((volatile uint64_t *)at)[i] = k + i;
}

void want_words(const char *at, size_t size, uint64_t k) {
        for (size_t i = 0; i < size / 8; i++)
                if (((const volatile uint64_t *)at)[i] != k + i)
                        fail_here("a range does not hold what was written there");
}

uint64_t sum_of(size_t size, uint64_t k) {
        uint64_t n = size / 8;

        return n * k + n * (n - 1) / 2;
}

void use(char *at, size_t size) {
        uint8_t byte = (uint8_t)(1 + random_below(255));

        fill(any(), at, size, byte);
        want_bytes(at, size, byte);
        write_words(at, size, byte);
        must(sum(any(), at, size) == sum_of(size, byte));
        want_words(at, size, byte);
}
