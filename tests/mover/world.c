#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/memfile.h"
#include "base/clock.h"
#include "engine/hints.h"
#include "results.h"

static const uint32_t bandwidth[NODES] = { 1000, 1000, 1000 }, to_host[NODES] = { [HOST] = 1000, [FAR] = 1000 };

enum { CEILING_S = 30, LARGEST = 2 << 20, WORKERS = 4 };

struct deadline world_deadline(void) {
        return (struct deadline){ clock_ns(CLOCK_MONOTONIC) + CEILING_S * 1000000000ull };
}

void world_check_deadline(const struct deadline *d, const char *what) {
        if (clock_ns(CLOCK_MONOTONIC) > d->at)
                fail_msg("%s: not within %d s", what, CEILING_S);
}

/* ---- hooks ---- */

static void on_wake(void *userdata) {
        struct world *w = userdata;
        uint64_t one = 1;

        if (write(w->wake, &one, sizeof(one)) < 0)
                abort();
}

static void answered(struct world *w, uint64_t token, int result, const char *why) {
        for (unsigned i = 0; i < w->answers; i++)
                assert_int_not_equal(w->answer[i].token, token);
        assert_true(w->answers < ANSWERS);
        w->answer[w->answers].token = token;
        w->answer[w->answers].result = result;
        snprintf(w->answer[w->answers].why, sizeof(w->answer[0].why), "%s", why);
        w->answers++;
}

static void on_done(void *userdata, uint64_t token, int result) {
        answered(userdata, token, result, "");
}

static void on_joined(void *userdata, uint64_t token, int result, const char *why) {
        answered(userdata, token, result, why);
}

static void on_lost(void *userdata, void *session, const char *why, bool kill) {
        struct world *w = userdata;

        w->lost++;
        w->lost_kill = kill;
        snprintf(w->lost_why, sizeof(w->lost_why), "%s", why);
}

static void on_moved(void *userdata, void *range, uint32_t first, uint32_t granules, uint32_t from, uint32_t to,
                     enum managed_cause cause) {
        ((struct world *)userdata)->moved[cause] += granules;
}

static void on_slots(void *userdata, uint32_t node, bool there, const char *why) {
        struct world *w = userdata;

        assert_int_equal(node, FAR);
        w->slots_gone += !there;
        w->slots_back += there;
        if (there)
                mover_node_online(w->m, node);
}

static int on_pool(void *userdata, uint32_t node, uint32_t granule, uint64_t size, struct memfile **ret) {
        struct world *w = userdata;
        struct memfile **pool = &w->pool[node][granule == 4096 ? 0 : granule == 65536 ? 1 : 2];
        int k = w->pool_error;

        if (!k && !*pool)
                k = memfile_new(pool, "pool", size, -1, true);
        if (!k)
                *ret = *pool;
        return k;
}

static void devices_make(struct world *w, struct mover_node *nodes) {
        struct node_desc desc = { .kind = NODE_SOFT, .capacity = nodes[NEAR].total, .numa = -1 };

        if (!w->results)
                w->results = results_new();
        for (uint32_t i = NEAR; i < NODES; i++) {
                nodes[i].faults = desc.faults = i == NEAR;
                desc.managed = w->agent && i == FAR;
                nodes[i].backend = backend_for(desc.managed ? NODE_CUDA : NODE_SOFT);
                if (desc.managed) {
                        nodes[i].bandwidth = to_host;
                        desc.agent_patience_ms = w->patience_ms;
                        snprintf(desc.device, sizeof(desc.device), "cuda:0");
                        snprintf(desc.agent, sizeof(desc.agent), "%s", w->agent);
                }
                desc.va_end = 1ull << 47;
                snprintf(desc.name, sizeof(desc.name), "soft%u", i);
                if (!w->device[i])
                        assert_int_equal(nodes[i].backend->device_new(&w->device[i], &desc, results_add, w->results),
                                         0);
                nodes[i].device = w->device[i];
        }
}

static void devices_free(struct world *w) {
        for (uint32_t i = NEAR; w->results && i < NODES; i++)
                backend_for(w->agent && i == FAR ? NODE_CUDA : NODE_SOFT)->device_free(w->device[i]);
        results_free(w->results);
}

static void mover_make(struct world *w, uint64_t capacity) {
        static const struct mover_hooks hooks = { .wake = on_wake,
                                                  .done = on_done,
                                                  .joined = on_joined,
                                                  .lost = on_lost,
                                                  .moved = on_moved,
                                                  .pool = on_pool,
                                                  .slots = on_slots };
        struct mover_hooks h = hooks;
        struct mover_node nodes[NODES] = { { .host = true }, { .faults = true }, { .faults = true } };
        struct mover_config c = {
                .workers = w->workers ? w->workers : WORKERS,
                .workers_max = 16,
                .session_steps = 3,
                .stuck_ns = w->stuck_ns,
                .held_ns = w->held_ns,
                .largest = LARGEST,
                .nodes = nodes,
                .nodes_count = NODES,
        };

        h.userdata = w;
        for (unsigned i = 0; i < NODES; i++) {
                nodes[i].capacity = nodes[i].total = capacity + (uint64_t)c.workers * LARGEST;
                nodes[i].bandwidth = bandwidth;
        }
        if (w->devices)
                devices_make(w, nodes);
        assert_int_equal(mover_new(&w->m, &c, &h), 0);
}

static void close_kept(int *fd) {
        if (*fd >= 0)
                close(*fd);
        *fd = -1;
}

static void keep_nothing(struct world *w) {
        close_kept(&w->kept.memory);
        close_kept(&w->kept.state);
        for (unsigned i = 0; i < CLIENTS; i++)
                close_kept(&w->kept.uffd[i]);
}

void world_begin(struct world *w, uint64_t capacity) {
        unsigned workers = w->workers;
        bool devices = w->devices;
        const char *agent = w->agent;
        uint32_t patience_ms = w->patience_ms;
        uint64_t stuck_ns = w->stuck_ns, held_ns = w->held_ns;
        void *p;

        memset(w, 0, sizeof(*w));
        w->workers = workers;
        w->devices = devices;
        w->agent = agent;
        w->patience_ms = patience_ms;
        w->stuck_ns = stuck_ns;
        w->held_ns = held_ns;
        p = mmap(NULL, WORLD_ROOM + LARGEST, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        assert_ptr_not_equal(p, MAP_FAILED);
        w->base = ((uint64_t)(uintptr_t)p + LARGEST - 1) & ~(uint64_t)(LARGEST - 1);
        for (unsigned i = 0; i < CLIENTS; i++)
                client_new(&w->client[i]);
        munmap(p, WORLD_ROOM + LARGEST);
        w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        assert_true(w->wake >= 0);
        w->hints = hints_new();
        assert_non_null(w->hints);
        w->capacity = capacity;
        w->kept.memory = w->kept.state = -1;
        for (unsigned i = 0; i < CLIENTS; i++)
                w->kept.uffd[i] = -1;
        mover_make(w, capacity);
}

/* Sessions first: a client that is killed while its threads are blocked must not keep anybody. */
void world_advise(struct world *w, uint32_t first, uint32_t count, uint32_t what, const struct policy_advice *a) {
        struct hint_who who = { .session = 5, .rank = POLICY_OWNER, .client = "world" };
        struct hint_words words = { .first = first, .count = count, .what = what, .advice = *a };
        struct hints_change *c;

        assert_int_equal(hints_prepare(w->hints, &c, &who, &words), 0);
        mover_hold(w->m);
        hints_commit(w->hints, c);
        mover_release(w->m, w->r, first, count);
}

void world_end(struct world *w) {
        for (unsigned i = 0; i < CLIENTS; i++)
                client_kill(&w->client[i]);
        for (uint32_t i = NEAR; i < NODES; i++)
                if (w->space[i])
                        world_hide(w, i);
        mover_free(w->m);
        hints_free(w->hints);
        devices_free(w);
        for (unsigned i = 0; i < NODES * 3; i++)
                memfile_free(w->pool[i / 3][i % 3]);
        keep_nothing(w);
        close(w->wake);
}

static void range_make(struct world *w, int memory, int state) {
        struct mover_range_args a = {
                .userdata = w,
                .id = w->id,
                .address = w->base,
                .size = (uint64_t)w->range_size.granule * w->range_size.count,
                .granule = w->range_size.granule,
                .huge = w->range_size.huge,
                .poison = w->range_size.poison,
                .group = w->group,
                .hints = w->hints,
                .memory = memory,
                .state = state,
        };

        assert_int_equal(mover_range_new(w->m, &w->r, &a), 0);
}

static void session_again(struct world *w, unsigned i) {
        if (!w->s[i])
                return;
        assert_int_equal(mover_session_new(w->m, &w->s[i], w, w->kept.uffd[i], true, 0), 0);
        w->kept.uffd[i] = dup(w->kept.uffd[i]);
        if (w->kept.joined[i])
                assert_int_equal(mover_rejoin(w->m, w->s[i], w->r, w->kept.readonly[i]), 0);
}

void world_restart(struct world *w) {
        mover_free(w->m);
        w->answers = 0;
        if (w->agent) { /* what it knows of slots svmd learns anew */
                backend_for(NODE_CUDA)->device_free(w->device[FAR]);
                w->device[FAR] = NULL;
        }
        mover_make(w, w->capacity);
        range_make(w, w->kept.memory, w->kept.state);
        w->kept.memory = dup(w->kept.memory);
        w->kept.state = dup(w->kept.state);
        for (unsigned i = 0; i < CLIENTS; i++)
                session_again(w, i);
        assert_int_equal(mover_restored(w->m), 0);
}

/* ---- waiting ---- */

void world_pump(struct world *w, int ms) {
        struct pollfd p = { .fd = w->wake, .events = POLLIN };
        uint64_t n;

        if (poll(&p, 1, ms) > 0)
                assert_int_equal(read(w->wake, &n, sizeof(n)), sizeof(n));
        mover_collect(w->m);
}

bool world_answered(struct world *w, uint64_t token) {
        for (unsigned i = 0; i < w->answers; i++)
                if (w->answer[i].token == token)
                        return true;
        return false;
}

int world_answer(struct world *w, uint64_t token) {
        struct deadline d = world_deadline();

        for (;; world_pump(w, 100)) {
                for (unsigned i = 0; i < w->answers; i++)
                        if (w->answer[i].token == token) {
                                int result = w->answer[i].result;

                                snprintf(w->why, sizeof(w->why), "%s", w->answer[i].why);
                                w->answer[i] = w->answer[--w->answers];
                                return result;
                        }
                world_check_deadline(&d, "an answer");
        }
}

void world_idle(struct world *w) {
        struct deadline d = world_deadline();

        while (!mover_idle(w->m)) {
                world_pump(w, 1);
                world_check_deadline(&d, "idle");
        }
}

void client_tell(struct world *w, unsigned i, enum client_op op, uint64_t address, uint64_t size, uint64_t value) {
        struct client_message m = { .op = op, .address = address, .size = size, .value = value };

        client_send(&w->client[i], &m, -1);
}

bool client_answered(struct world *w, unsigned i) {
        struct pollfd p = { .fd = w->client[i].socket, .events = POLLIN };

        return poll(&p, 1, 0) == 1;
}

static void pump_until_answer(struct world *w, unsigned i) {
        struct deadline d = world_deadline();

        for (;;) {
                struct pollfd p[2] = { { .fd = w->wake, .events = POLLIN },
                                       { .fd = w->client[i].socket, .events = POLLIN } };

                assert_true(poll(p, 2, 1000) >= 0);
                if (p[0].revents)
                        world_pump(w, 0);
                if (p[1].revents)
                        return;
                world_check_deadline(&d, "a client");
        }
}

uint64_t client_wait(struct world *w, unsigned i) {
        struct client_message m;

        pump_until_answer(w, i);
        client_receive(&w->client[i], &m, NULL);
        if (m.error)
                fail_msg("client %u, op %u: %s", i, m.op, strerror(m.error));
        return m.value;
}

uint64_t client_ask(struct world *w, unsigned i, enum client_op op, uint64_t address, uint64_t size, uint64_t value) {
        client_tell(w, i, op, address, size, value);
        return client_wait(w, i);
}

/* ---- ranges and sessions ---- */

void world_range(struct world *w, struct range_size s) {
        w->id++;
        w->count = s.count;
        w->range_size = s;
        range_make(w, -1, -1);
        close_kept(&w->kept.memory);
        close_kept(&w->kept.state);
        w->kept.memory = dup(mover_range_memory(w->r));
        w->kept.state = dup(mover_range_state(w->r));
}

void world_session(struct world *w, unsigned i) {
        struct client_message m = { .op = CLIENT_UFFD };
        int fd;

        client_send(&w->client[i], &m, -1);
        client_receive(&w->client[i], &m, &fd);
        assert_true(fd >= 0);
        assert_int_equal(mover_session_new(w->m, &w->s[i], w, fd, false, 0), 0);
        close_kept(&w->kept.uffd[i]);
        w->kept.uffd[i] = dup(fd);
        w->kept.joined[i] = false;
}

static int reopened(const struct mover_range *r) {
        char path[40];
        int fd;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", mover_range_memory(r));
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}

static uint64_t range_size(const struct mover_range *r) {
        return (uint64_t)lseek(mover_range_memory(r), 0, SEEK_END);
}

void world_map(struct world *w, unsigned i, bool readonly) {
        struct client_message m = { .op = CLIENT_MAP, .address = w->base, .size = range_size(w->r), .value = readonly };
        int fd = readonly ? reopened(w->r) : mover_range_memory(w->r);

        client_send(&w->client[i], &m, fd);
        client_wait(w, i);
        if (readonly)
                close(fd);
}

int world_join(struct world *w, unsigned i, bool readonly) {
        int k;

        world_map(w, i, readonly);
        k = mover_join(w->m, w->s[i], w->r, readonly, ++w->token);
        k = k ? k : world_answer(w, w->token);
        if (k)
                return k;
        w->kept.joined[i] = true;
        w->kept.readonly[i] = readonly;
        client_ask(w, i, CLIENT_OPEN, w->base, range_size(w->r), readonly ? PROT_READ : PROT_READ | PROT_WRITE);
        return 0;
}

void world_share(struct world *w, struct range_size s, unsigned clients) {
        world_range(w, s);
        for (unsigned i = 0; i < clients; i++) {
                world_session(w, i);
                assert_int_equal(world_join(w, i, false), 0);
        }
}

/* ---- requests ---- */

static uint32_t all(const struct world *w, uint32_t first, uint32_t count) {
        return count ? count : w->count - first;
}

int world_migrate(struct world *w, uint32_t first, uint32_t count, uint32_t node) {
        int k = mover_migrate(w->m, w->r, first, all(w, first, count), node, MANAGED_BY_REQUEST, ++w->token);

        return k ? k : world_answer(w, w->token);
}

int world_discard(struct world *w, uint32_t first, uint32_t count) {
        int k = mover_discard(w->m, w->r, first, all(w, first, count), ++w->token);

        return k ? k : world_answer(w, w->token);
}

int world_pin(struct world *w, uint32_t first, uint32_t count) {
        int k = mover_pin(w->m, w->r, first, all(w, first, count), ++w->token);

        return k ? k : world_answer(w, w->token);
}

int world_revoke(struct world *w, bool on) {
        int k = on ? mover_revoke(w->m, w->r, ++w->token) : mover_unrevoke(w->m, w->r, ++w->token);

        return k ? k : world_answer(w, w->token);
}

struct managed_granule_info world_look(struct world *w, uint32_t granule) {
        struct managed_granule_info info;

        mover_look(w->m, w->r, granule, 1, &info);
        return info;
}

uint64_t world_node_used(struct world *w, uint32_t node) {
        struct managed_node_info info;

        mover_node_info(w->m, node, &info);
        return info.used;
}

uint64_t world_pool_bytes(struct world *w, uint32_t node) {
        uint64_t sum = 0;

        for (unsigned i = 0; i < 3; i++)
                sum += w->pool[node][i] ? memfile_bytes(w->pool[node][i]) : 0;
        return sum;
}

uint64_t world_memory(struct world *w) {
        return mover_range_memory_bytes(w->r);
}

/* ---- devices ---- */

void world_show(struct world *w, uint32_t node, bool write) {
        if (!w->space[node])
                assert_int_equal(backend_for(NODE_SOFT)->space_new(w->device[node], &w->space[node]), 0);
        assert_int_equal(mover_show(w->m, w->r, node, w->space[node], write), 0);
}

void world_hide(struct world *w, uint32_t node) {
        if (w->r)
                mover_hide(w->m, w->r, node, w->space[node]);
        backend_for(NODE_SOFT)->space_free(w->space[node]);
        w->space[node] = NULL;
}

uint64_t world_submit(struct world *w, uint32_t node, struct device_op op) {
        op.fence = ++w->token;
        assert_int_equal(backend_for(NODE_SOFT)->submit(w->space[node], &op), 0);
        return op.fence;
}

struct device_result world_result(struct world *w, uint64_t fence) {
        struct deadline d = world_deadline();
        struct device_result r;

        while (!results_take(w->results, fence, &r)) {
                world_pump(w, 1);
                world_check_deadline(&d, "an operation");
        }
        return r;
}

struct device_result world_op(struct world *w, uint32_t node, struct device_op op) {
        return world_result(w, world_submit(w, node, op));
}
