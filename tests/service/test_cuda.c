/*
 * Channels of CUDA nodes and the granules that are handed out: in which order, to whom, what is refused, what is taken
 * back when something fails, and what a restart finds. What lies on the device is said here, and svmd-cuda is a table
 * of memfds.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/cuda.h"
#include "base/alloc.h"
#include "base/message.h"
#include "core/partition.h"
#include "core/session.h"
#include "cuda/ask.h"
#include "expect.h"
#include "ranges.h"
#include "service/cuda.h"

#define MIB     (1ull << 20)
#define GRANULE (2u << 20)
#define SIZE    (8ull * GRANULE)

enum { CUDA0 = NODES, PLAIN, NODES_ALL };

static struct world w;
static struct client admin, a, b;
static uint64_t range;

/* ---- what lies there ---- */

static uint64_t lies;        /* granules, a bit each */
static int slots[64];        /* what their descriptors are of */
static unsigned covered;     /* granules, by all calls */
static bool covered_first;   /* the last time, before it was looked what lies there */
static const char *stale;    /* every channel is, for this reason */
static bool really;          /* it is what the mover says */
static unsigned shows_fails; /* this call of it and those behind it: ENOMEM */
static unsigned taken_over;  /* channels of an earlier svmd */

int __real_cuda_channel_new(struct device *d, struct cuda_channel **ret, int fd, uint64_t session, bool is_kept);
int __wrap_cuda_channel_new(struct device *d, struct cuda_channel **ret, int fd, uint64_t session, bool is_kept);
int __real_cuda_channel_cover(struct cuda_channel *c, struct device_range *r, uint32_t first, uint32_t count,
                              uint64_t *ret_seq);
int __wrap_cuda_channel_cover(struct cuda_channel *c, struct device_range *r, uint32_t first, uint32_t count,
                              uint64_t *ret_seq);
bool __real_cuda_channel_is_stale(const struct cuda_channel *c, char *why, size_t size);
bool __wrap_cuda_channel_is_stale(const struct cuda_channel *c, char *why, size_t size);
int __real_mover_show_slots(struct mover *m, struct mover_range *r, uint32_t node, uint32_t first, uint32_t count,
                            int *ret_fds);
int __wrap_mover_show_slots(struct mover *m, struct mover_range *r, uint32_t node, uint32_t first, uint32_t count,
                            int *ret_fds);

int __wrap_cuda_channel_new(struct device *d, struct cuda_channel **ret, int fd, uint64_t session, bool is_kept) {
        taken_over += is_kept;
        return __real_cuda_channel_new(d, ret, fd, session, is_kept);
}

int __wrap_cuda_channel_cover(struct cuda_channel *c, struct device_range *r, uint32_t first, uint32_t count,
                              uint64_t *ret_seq) {
        covered += count;
        covered_first = true;
        return __real_cuda_channel_cover(c, r, first, count, ret_seq);
}

bool __wrap_cuda_channel_is_stale(const struct cuda_channel *c, char *why, size_t size) {
        if (!stale)
                return __real_cuda_channel_is_stale(c, why, size);
        snprintf(why, size, "%s", stale);
        return true;
}

int __wrap_mover_show_slots(struct mover *m, struct mover_range *r, uint32_t node, uint32_t first, uint32_t count,
                            int *ret_fds) {
        int shown = 0;

        assert_true(covered_first);
        assert_int_equal(node, CUDA0);
        covered_first = false;
        if (shows_fails && --shows_fails == 0)
                return -ENOMEM;
        if (really)
                return __real_mover_show_slots(m, r, node, first, count, ret_fds);
        for (uint32_t i = 0; i < count; i++) {
                ret_fds[i] = lies >> (first + i) & 1 ? dup(slots[first + i]) : -1;
                shown += ret_fds[i] >= 0;
        }
        return shown;
}

/* ---- an agent, which workers and the device's thread ask ---- */

int __wrap_cuda_agent_new(struct cuda_agent **ret, const char *socket_path, const char *device, unsigned patience_ms,
                          char *why, size_t why_size);
void __wrap_cuda_agent_free(struct cuda_agent *agent);
bool __wrap_cuda_agent_is_gone(const struct cuda_agent *agent);
int __wrap_cuda_agent_fd(const struct cuda_agent *agent);
int __wrap_cuda_agent_create(struct cuda_agent *agent, uint32_t slot, int *ret_fd);
int __wrap_cuda_agent_release(struct cuda_agent *agent, uint32_t slot);
int __wrap_cuda_agent_read(struct cuda_agent *agent, uint32_t slot, void *to);
int __wrap_cuda_agent_write(struct cuda_agent *agent, uint32_t slot, const void *from);
int __wrap_cuda_agent_list(struct cuda_agent *agent, uint64_t *ret_bits, uint32_t count);

enum { DEVICE_SLOTS = 64 };

int __wrap_cuda_agent_export(struct cuda_agent *agent, uint32_t slot, int *ret_fd);

static int quiet = -1; /* a socket on which nothing is said */

static struct {
        pthread_mutex_t lock;
        int memory[DEVICE_SLOTS]; /* plus one; 0: none */
        bool gone;                /* with what there was, and there is no other */
        bool full;
        bool slow; /* gives out no descriptor of before until it is not */
        pthread_cond_t hurry;
} device = { .lock = PTHREAD_MUTEX_INITIALIZER, .hurry = PTHREAD_COND_INITIALIZER };

/* With the lock. */
static void device_clear(void) {
        for (unsigned i = 0; i < DEVICE_SLOTS; i++) {
                if (device.memory[i])
                        close(device.memory[i] - 1);
                device.memory[i] = 0;
        }
}

static void device_is(bool gone, bool full) {
        pthread_mutex_lock(&device.lock);
        device.gone = gone;
        device.full = full;
        if (gone)
                device_clear();
        pthread_mutex_unlock(&device.lock);
}

static void device_end(void) {
        device_is(true, false);
        device_is(false, false);
}

int __wrap_cuda_agent_new(struct cuda_agent **ret, const char *socket_path, const char *name, unsigned patience_ms,
                          char *why, size_t why_size) {
        bool gone = __wrap_cuda_agent_is_gone(NULL);

        snprintf(why, why_size, "nobody listens");
        if (!gone)
                *ret = (struct cuda_agent *)&quiet;
        return gone ? -ECONNREFUSED : 0;
}

void __wrap_cuda_agent_free(struct cuda_agent *agent) {
}

bool __wrap_cuda_agent_is_gone(const struct cuda_agent *agent) {
        bool gone;

        pthread_mutex_lock(&device.lock);
        gone = device.gone;
        pthread_mutex_unlock(&device.lock);
        return gone;
}

int __wrap_cuda_agent_fd(const struct cuda_agent *agent) {
        return quiet;
}

int __wrap_cuda_agent_create(struct cuda_agent *agent, uint32_t slot, int *ret_fd) {
        int k = 0;

        pthread_mutex_lock(&device.lock);
        if (device.gone)
                k = -EIO;
        else if (device.full)
                k = -ENOMEM;
        else if (slot >= DEVICE_SLOTS || device.memory[slot])
                abort();
        else {
                int fd = memfd_create("slot", MFD_CLOEXEC);

                if (fd < 0 || ftruncate(fd, GRANULE) < 0)
                        abort();
                device.memory[slot] = fd + 1;
                *ret_fd = dup(fd);
        }
        pthread_mutex_unlock(&device.lock);
        return k;
}

int __wrap_cuda_agent_export(struct cuda_agent *agent, uint32_t slot, int *ret_fd) {
        int k;

        pthread_mutex_lock(&device.lock);
        while (device.slow)
                pthread_cond_wait(&device.hurry, &device.lock);
        k = device.gone ? -EIO : device.memory[slot] ? 0 : -ENOENT;
        if (k == 0)
                *ret_fd = dup(device.memory[slot] - 1);
        pthread_mutex_unlock(&device.lock);
        return k;
}

static void device_slow(bool slow) {
        pthread_mutex_lock(&device.lock);
        device.slow = slow;
        pthread_cond_broadcast(&device.hurry);
        pthread_mutex_unlock(&device.lock);
}

int __wrap_cuda_agent_release(struct cuda_agent *agent, uint32_t slot) {
        int k;

        pthread_mutex_lock(&device.lock);
        k = device.gone ? -EIO : device.memory[slot] ? 0 : -ENOENT;
        if (k == 0)
                close(device.memory[slot] - 1);
        device.memory[slot] = k == 0 ? 0 : device.memory[slot];
        pthread_mutex_unlock(&device.lock);
        return k;
}

int __wrap_cuda_agent_read(struct cuda_agent *agent, uint32_t slot, void *to) {
        int k;

        pthread_mutex_lock(&device.lock);
        k = device.gone ? -EIO : device.memory[slot] ? 0 : -ENOENT;
        if (k == 0 && pread(device.memory[slot] - 1, to, GRANULE, 0) != GRANULE)
                abort();
        pthread_mutex_unlock(&device.lock);
        return k;
}

int __wrap_cuda_agent_write(struct cuda_agent *agent, uint32_t slot, const void *from) {
        int k;

        pthread_mutex_lock(&device.lock);
        k = device.gone ? -EIO : device.memory[slot] ? 0 : -ENOENT;
        if (k == 0 && pwrite(device.memory[slot] - 1, from, GRANULE, 0) != GRANULE)
                abort();
        pthread_mutex_unlock(&device.lock);
        return k;
}

int __wrap_cuda_agent_list(struct cuda_agent *agent, uint64_t *ret_bits, uint32_t count) {
        pthread_mutex_lock(&device.lock);
        memset(ret_bits, 0, (count + 63) / 64 * sizeof(*ret_bits));
        for (uint32_t i = 0; i < count && i < DEVICE_SLOTS; i++)
                if (device.memory[i])
                        ret_bits[i / 64] |= 1ull << i % 64;
        pthread_mutex_unlock(&device.lock);
        return 0;
}

/* ---- the world ---- */

static void shape(struct machine *m) {
        for (unsigned i = CUDA0; i < NODES_ALL; i++) {
                struct node_desc *n = machine_add(m);

                assert_non_null(n);
                snprintf(n->name, sizeof(n->name), i == CUDA0 ? "cuda0" : "cuda1");
                n->kind = NODE_CUDA;
                n->numa = -1;
                n->capacity = 64 * MIB;
                n->va_end = 1ull << 47;
                n->managed = i == CUDA0;
                n->agent_patience_ms = 100;
                if (n->managed)
                        snprintf(n->agent, sizeof(n->agent), "cuda.sock");
        }
}

static int set_up(void **state) {
        ops_reset();
        if (quiet < 0)
                quiet = eventfd(0, EFD_CLOEXEC);
        world_shape = shape;
        world_open(&w, 0);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_range_partition("one", 8ull << 30, 100, 0666));
        client_open(&w, &a, 100, 100, false);
        client_open(&w, &b, 101, 101, false);
        client_greet(&a, "one");
        client_greet(&b, "one");
        a.deaf = b.deaf = true;
        range = must(&a, mk_range(SIZE, GRANULE, "heap", 0664))->id;
        for (unsigned i = 0; i < 64; i++)
                slots[i] = memfd_create("slot", MFD_CLOEXEC);
        lies = 0;
        covered = 0;
        stale = NULL;
        really = false;
        return 0;
}

static int tear_down(void **state) {
        client_close(&a);
        client_close(&b);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
        for (unsigned i = 0; i < 64; i++)
                close(slots[i]);
        world_shape = NULL;
        device_end();
        return 0;
}

static struct user u; /* with a process; only some have it */

static void restart(void) {
        struct client *all[] = { &a, &b, &u.client };

        client_close(&admin); /* it has no partition, so it does not outlive svmd */
        world_bury(world_restart(&w, all, u.client.session ? 3 : 2));
        world_settle(&w);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        check_world(&w);
}

static unsigned kept(void) {
        unsigned n = 0;

        for (size_t i = 0; i < w.kept_count; i++)
                n += KEEP_KIND(w.kept[i].key) == KEEP_CUDA;
        return n;
}

static unsigned fds(void) {
        unsigned n = 0;

        for (int i = 0; i < 4096; i++)
                n += fcntl(i, F_GETFD) >= 0;
        return n;
}

/* The client's end. */
static int attach(struct client *c) {
        struct stat st;
        int fd;

        must(c, mk_cuda_attach(CUDA0));
        fd = fdlist_steal(&c->fds);
        assert_true(fd >= 0 && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode));
        assert_int_equal(fdlist_steal(&c->fds), -1);
        return fd;
}

static bool is_open(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };

        return poll(&p, 1, 0) == 0;
}

static uint64_t space(struct client *c) {
        return must(c, mk_space(CUDA0))->id;
}

/* ---- tests ---- */

/* One a session and node, with a space of it, and no longer. */
static void test_attach(void **state) {
        uint64_t first, second;
        int fd, other;

        must_not(&a, mk_cuda_attach(CUDA0), SVMD_STATUS_SHAPE, "space_create");
        must_not(&a, mk_cuda_attach(PLAIN), SVMD_STATUS_UNSUPPORTED, "managed = on");
        first = space(&a);
        fd = attach(&a);
        assert_int_equal(kept(), 1);
        must_not(&a, mk_cuda_attach(CUDA0), SVMD_STATUS_TAKEN, "already");
        second = space(&a);
        must(&a, mk_destroy(first));
        assert_true(is_open(fd));
        space(&b);
        other = attach(&b);
        assert_int_equal(kept(), 2);
        must(&a, mk_destroy(second));
        assert_false(is_open(fd));
        assert_true(is_open(other));
        assert_int_equal(kept(), 1);
        close(fd);
        space(&a);
        fd = attach(&a);
        client_close(&b);
        assert_false(is_open(other));
        assert_true(is_open(fd));
        assert_int_equal(kept(), 1);
        close(other);
        close(fd);
        client_open(&w, &b, 101, 101, false);
        client_greet(&b, "one");
}

/* What there is, in order, and asked for from before it leaves. */
static void test_map(void **state) {
        struct stat want, got;
        Svmd__V1__Result *r;
        int end, fd;

        space(&a);
        end = attach(&a);
        must(&a, mk_cuda_map(range, CUDA0, 0, 8));
        r = a.reply->results[0];
        assert_int_equal(r->detail_case, SVMD__V1__RESULT__DETAIL_CUDA_MAP);
        assert_int_equal(r->cuda_map->n_granules, 0);
        assert_int_equal(a.fds.count, 0);
        assert_int_equal(covered, 8);
        lies = 1 << 2 | 1 << 3 | 1 << 6 | 1 << 7;
        r = must(&a, mk_cuda_map(range, CUDA0, 1, 6));
        assert_true(r->value > 0);
        assert_int_equal(r->cuda_map->n_granules, 3);
        for (unsigned i = 0; i < 3; i++) {
                static const uint32_t there[] = { 2, 3, 6 };

                assert_int_equal(r->cuda_map->granules[i], there[i]);
                fd = fdlist_steal(&a.fds);
                assert_true(fstat(fd, &got) == 0 && fstat(slots[there[i]], &want) == 0);
                assert_int_equal(got.st_ino, want.st_ino);
                close(fd);
        }
        assert_int_equal(fdlist_steal(&a.fds), -1);
        close(end);
}

static void test_refused(void **state) {
        uint64_t small = must(&a, mk_range(SIZE, 4096, "", 0))->id, read;
        struct client reader;
        int end;

        must_not(&a, mk_cuda_map(range, CUDA0, 0, 1), SVMD_STATUS_SHAPE, "cuda_attach");
        space(&a);
        end = attach(&a);
        must_not(&a, mk_cuda_map(range, CUDA0, 0, 0), SVMD_STATUS_SIZE, "1 to 60");
        must_not(&a, mk_cuda_map(range, CUDA0, 0, 61), SVMD_STATUS_SIZE, "1 to 60");
        must_not(&a, mk_cuda_map(range, CUDA0, 8, 1), SVMD_STATUS_RANGE, "8 granules");
        must_not(&a, mk_cuda_map(range, CUDA0, 7, 2), SVMD_STATUS_RANGE, "8 granules");
        must_not(&a, mk_cuda_map(range, CUDA0, UINT32_MAX, 2), SVMD_STATUS_RANGE, "8 granules");
        must_not(&a, mk_cuda_map(small, CUDA0, 0, 1), SVMD_STATUS_UNSUPPORTED, "2 MiB");
        must_not(&a, mk_cuda_map(range, PLAIN, 0, 1), SVMD_STATUS_UNSUPPORTED, "managed = on");
        close(end);

        client_open(&w, &reader, 300, 300, false);
        client_greet(&reader, "one");
        read = must(&reader, mk_open("heap", 1))->id;
        assert_int_equal(read, range);
        space(&reader);
        end = attach(&reader);
        must_not(&reader, mk_cuda_map(range, CUDA0, 0, 1), SVMD_STATUS_ACCESS, "open it to write");
        close(end);
        client_close(&reader);
        assert_int_equal(covered, 0);
}

static void refuses_order(uint64_t at, uint32_t node, unsigned code, const char *says) {
        Svmd__V1__Op *op = mk_migrate(at, GRANULE, node);

        must_not(&a, op, code, says);
        op->migrate->prefetch = true;
        must_not(&a, op, code, says);
}

/* Granules that a node cannot have, and nodes that have none. */
static void test_orders(void **state) {
        uint64_t at = must(&a, mk_range(SIZE, 64u << 10, "", 0))->address;

        refuses_order(at, CUDA0, SVMD_STATUS_UNSUPPORTED, "granules of 2M");
        refuses_order(at, PLAIN, SVMD_STATUS_NODE_KIND, "managed = on");
}

/* ---- granules that begin there ---- */

static uint64_t u_open(uint64_t *ret_at) {
        Svmd__V1__Result *r;
        uint64_t id;

        user_open(&w, &u, 102, "one");
        user_give(&u);
        r = must(&u.client, mk_range(SIZE, GRANULE, "first", 0666));
        *ret_at = r->address;
        id = r->id;
        user_join(&u, id, true);
        return id;
}

static void u_close(void) {
        user_close(&u);
        memset(&u, 0, sizeof(u));
}

static unsigned prefetch(uint64_t at, uint64_t size) {
        Svmd__V1__Op *op = mk_migrate(at, size, CUDA0);

        op->migrate->prefetch = true;
        return user_do(&u, op);
}

static unsigned discard(uint64_t at, uint64_t size) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_DISCARD);

        op->discard->address = at;
        op->discard->size = size;
        return user_do(&u, op);
}

static uint64_t managed(void) {
        Svmd__V1__Result *r = must(&admin, op_make(SVMD__V1__OP__OP_NODES));

        return r->nodes->nodes[CUDA0]->managed;
}

/* What nobody has touched is prefetched: it is charged, found again by the next svmd, and zero where it is read. */
static void test_begins(void **state) {
        uint64_t at, id = u_open(&at);

        assert_int_equal(prefetch(at, SIZE), SVMD_STATUS_OK);
        assert_int_equal(managed(), SIZE);
        assert_int_equal(where(&w, id, 7), CUDA0);
        check_world(&w);
        restart();
        assert_int_equal(managed(), SIZE);
        assert_int_equal(process_check(&u.process, at, GRANULE, 0), 0);
        world_settle(&w);
        assert_int_equal(managed(), SIZE - GRANULE);

        assert_int_equal(discard(at, SIZE), SVMD_STATUS_OK);
        assert_int_equal(managed(), 0);
        must(&admin, mk_limit("one", CUDA0, 3 * GRANULE));
        assert_int_equal(prefetch(at, SIZE), SVMD_STATUS_OK); /* a hint: what has no room stays */
        assert_int_equal(managed(), 3 * GRANULE);
        check_world(&w);
        assert_int_equal(discard(at, SIZE), SVMD_STATUS_OK);
        must(&admin, mk_limit("one", CUDA0, UINT64_MAX));

        device_is(false, true);
        assert_int_equal(prefetch(at, GRANULE), SVMD_STATUS_NO_MEMORY);
        assert_int_equal(managed(), 0);
        device_is(false, false);
        assert_int_equal(prefetch(at, GRANULE), SVMD_STATUS_OK);
        assert_int_equal(managed(), GRANULE);
        assert_int_equal(process_check(&u.process, at, SIZE, 0), 0);
        u_close();
}

/* Descriptors of what an earlier svmd made come from svmd-cuda: who wants them waits, and nobody else does. */
static void test_late(void **state) {
        uint64_t at, id = u_open(&at);
        Svmd__V1__Op *op;
        int end, fd;

        really = true;
        assert_int_equal(prefetch(at, SIZE), SVMD_STATUS_OK);
        space(&u.client);
        end = attach(&u.client);
        restart();
        device_slow(true);
        op = mk_cuda_map(id, CUDA0, 0, 8);
        assert_int_equal(client_post(&u.client, SVMD__V1__MODE__BEST_EFFORT, &op, 1), SERVICE_E_LATER);
        for (unsigned i = 0; i < 10; i++) {
                must(&admin, op_make(SVMD__V1__OP__OP_NODES));
                must(&a, mk_release(must(&a, mk_create(GPU0, MIB, 0))->id));
                world_wait(&w);
                assert_false(u.client.answered);
        }
        device_slow(false);
        client_await(&u.client);
        assert_int_equal(u.client.reply->results[0]->code, SVMD_STATUS_OK);
        assert_int_equal(u.client.reply->results[0]->cuda_map->n_granules, 8);
        for (unsigned i = 0; i < 8; i++) {
                fd = fdlist_steal(&u.client.fds);
                assert_true(fd >= 0);
                close(fd);
        }

        restart(); /* and who ends meanwhile is not waited for */
        device_slow(true);
        op = mk_cuda_map(id, CUDA0, 0, 8);
        assert_int_equal(client_post(&u.client, SVMD__V1__MODE__BEST_EFFORT, &op, 1), SERVICE_E_LATER);
        close(end);
        u_close();
        world_settle(&w);
        device_slow(false);
}

/* Nothing is left of what did not come to be, and nothing leaks. */
static void test_failures(void **state) {
        unsigned before, n;
        int end = -1;

        space(&a);
        before = fds();
        w.fail_keep = 1;
        must_not(&a, mk_cuda_attach(CUDA0), SVMD_STATUS_QUOTA, "");
        w.fail_keep = 0;
        assert_int_equal(fds(), before);
        for (n = 1; end < 0; n++) {
                Svmd__V1__Result *r;

                alloc_fail_at(n);
                r = client_call(&a, mk_cuda_attach(CUDA0));
                alloc_fail_off();
                if (r->code == 0)
                        end = fdlist_steal(&a.fds);
                else
                        assert_int_equal(r->code, SVMD_STATUS_NO_MEMORY);
                assert_int_equal(kept(), end >= 0);
                if (end < 0)
                        assert_int_equal(fds(), before);
        }
        assert_true(n > 3);
        lies = 0xff;
        before = fds();
        for (n = 1;; n++) {
                Svmd__V1__Result *r;

                alloc_fail_at(n);
                r = client_call(&a, mk_cuda_map(range, CUDA0, 0, 8));
                alloc_fail_off();
                if (r->code == 0)
                        break;
                assert_int_equal(r->code, SVMD_STATUS_NO_MEMORY);
                assert_int_equal(a.fds.count, 0);
                assert_int_equal(fds(), before);
        }
        assert_true(n > 1);
        assert_int_equal(a.fds.count, 8);
        fdlist_close(&a.fds);
        shows_fails = 1;
        assert_int_equal(client_call(&a, mk_cuda_map(range, CUDA0, 0, 8))->code, SVMD_STATUS_NO_MEMORY);
        assert_int_equal(fds(), before);
        close(end);
}

/* The same channel, of which everything is taken for mapped; but not one whose client has closed it. */
static void test_restart(void **state) {
        uint64_t first;
        int end, other;

        must(&b, mk_open("heap", 1));
        first = space(&a);
        end = attach(&a);
        space(&b);
        other = attach(&b);
        assert_int_equal(kept(), 2);
        for (unsigned i = 0; i < 2; i++) {
                taken_over = 0;
                restart();
                assert_int_equal(kept(), 2);
                assert_true(is_open(end) && is_open(other));
                assert_int_equal(taken_over, 2);
                must_not(&a, mk_cuda_attach(CUDA0), SVMD_STATUS_TAKEN, "already");
                lies = 1;
                must(&a, mk_cuda_map(range, CUDA0, 0, 1));
                assert_int_equal(a.fds.count, 1);
                fdlist_close(&a.fds);
                assert_int_equal(journal_snapshot(w.svc), 0);
        }
        close(other);
        taken_over = 0;
        restart();
        assert_int_equal(kept(), 1);
        assert_int_equal(taken_over, 1);
        other = attach(&b);
        assert_int_equal(taken_over, 1);
        assert_int_equal(kept(), 2);
        must(&a, mk_destroy(first));
        assert_false(is_open(end));
        restart();
        assert_int_equal(kept(), 1);
        close(end);
        close(other);
}

/* What an administrator is shown of one that did not answer. */
static void test_withheld(void **state) {
        Svmd__V1__Result *r;
        unsigned found = 0;
        int end;

        space(&a);
        end = attach(&a);
        for (unsigned i = 0; i < 2; i++) {
                bool is = i == 1;

                stale = is ? "it sleeps" : NULL;
                r = must(&admin, op_make(SVMD__V1__OP__OP_SESSION_LIST));
                for (size_t k = 0; k < r->sessions->n_sessions; k++)
                        assert_string_equal(r->sessions->sessions[k]->withheld,
                                            is && r->sessions->sessions[k]->id == a.id ? "cuda0: it sleeps" : "");
                r = must(&admin, op_make(SVMD__V1__OP__OP_STATUS));
                for (size_t k = 0; k < r->status->n_findings; k++)
                        if (strcmp(r->status->findings[k]->id, "cuda-withheld") == 0) {
                                assert_non_null(strstr(r->status->findings[k]->text, "cuda0: it sleeps"));
                                found++;
                        }
                assert_int_equal(found, i);
        }
        must_not(&a, mk_cuda_map(range, CUDA0, 0, 1), SVMD_STATUS_GONE, "it sleeps");
        assert_int_equal(covered, 0);
        close(end);
}

/* ---- the log ---- */

static struct {
        unsigned withheld, lost; /* messages */
        char text[1024], fields[1024];
} said;

static bool take(const struct message_desc *m, const struct message_field *fields, size_t count, const char *text) {
        bool withheld = m == message_desc(MESSAGE_PAGES_WITHHELD), lost = m == message_desc(MESSAGE_NODE_LOST);
        size_t n = 0;

        if (!withheld && !lost)
                return true;
        said.withheld += withheld;
        said.lost += lost;
        snprintf(said.text, sizeof(said.text), "%s", text);
        for (size_t i = 0; i < count && n < sizeof(said.fields); i++)
                n += (size_t)(fields[i].text ? snprintf(said.fields + n, sizeof(said.fields) - n, "%s=%s\n",
                                                        fields[i].name, fields[i].text)
                                             : snprintf(said.fields + n, sizeof(said.fields) - n, "%s=%llu\n",
                                                        fields[i].name, (unsigned long long)fields[i].number));
        return true;
}

static void says(const char *text) {
        if (!strstr(said.text, text) && !strstr(said.fields, text))
                fail_msg("it does not say %s:\n%s\n%s", text, said.text, said.fields);
}

/* Who keeps granules longer than it may, or answers what it was not asked, is in the log, once a channel; and nobody
 * waits for it again. */
static void test_audited(void **state) {
        uint64_t at, id = u_open(&at), never = UINT64_MAX;
        char number[48];
        int end, fd;

        message_set_sink(take);
        memset(&said, 0, sizeof(said));
        really = true;
        assert_int_equal(prefetch(at, SIZE), SVMD_STATUS_OK);
        space(&u.client);
        end = attach(&u.client);
        must(&u.client, mk_cuda_map(id, CUDA0, 0, 4));
        for (int i = 0; i < 4; i++) {
                fd = fdlist_steal(&u.client.fds);
                assert_true(fd >= 0);
                close(fd);
        }
        assert_int_equal(process_check(&u.process, at, 2 * GRANULE, 0), 0);
        while (!said.withheld)
                world_wait(&w);
        says("cuda0");
        says("cuda-patience");
        snprintf(number, sizeof(number), "SVMD_SESSION_PID=%u\n", (unsigned)u.process.pid);
        says(number);
        says("SVMD_SESSION_UID=102\n");
        says("SVMD_SESSION_COMM=service_cuda\n");
        assert_int_equal(process_check(&u.process, at + 2 * GRANULE, 2 * GRANULE, 0), 0);
        world_settle(&w);
        must_not(&u.client, mk_cuda_map(id, CUDA0, 0, 1), SVMD_STATUS_GONE, "cuda-patience");
        close(end);

        space(&a);
        end = attach(&a);
        assert_int_equal(send(end, &never, sizeof(never), 0), sizeof(never));
        must_not(&a, mk_cuda_map(range, CUDA0, 0, 1), SVMD_STATUS_GONE, "not asked");
        world_settle(&w);
        assert_int_equal(said.withheld, 2);
        says("not asked");
        close(end);

        space(&b); /* who leaves is not blamed */
        close(attach(&b));
        u_close();
        world_settle(&w);
        assert_int_equal(said.withheld, 2);
        message_set_sink(NULL);
}

static Svmd__V1__Op *set_node(Svmd__V1__NodeAction action) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_NODE_SET);

        op->node_set->node = CUDA0;
        op->node_set->action = action;
        return op;
}

/* With the node go its channels; sessions stay. */
static void test_lost(void **state) {
        int end;

        space(&a);
        end = attach(&a);
        must(&admin, set_node(SVMD__V1__NODE_ACTION__NODE_LOST));
        assert_false(is_open(end));
        assert_int_equal(kept(), 0);
        close(end);
        must_not(&a, mk_cuda_attach(CUDA0), SVMD_STATUS_NO_NODE, "vanished");
        must_not(&a, mk_cuda_map(range, CUDA0, 0, 1), SVMD_STATUS_NO_NODE, "vanished");
        restart();
        must_not(&a, mk_cuda_attach(CUDA0), SVMD_STATUS_NO_NODE, "vanished");
        must(&admin, set_node(SVMD__V1__NODE_ACTION__NODE_ONLINE));
        close(attach(&a));
}

static void monitor(bool on) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_MONITOR);

        op->monitor->on = on;
        admin.deaf = !on;
        must(&admin, op);
}

static void until_lost(unsigned times) {
        while (said.lost < times)
                world_wait(&w);
        assert_int_equal(said.lost, times);
        says("SVMD_NODE=cuda0\n");
        says("cuda0 has lost its managed pages: ");
}

/* Which svmd hears of within a second or so. */
static void until_back(uint64_t at, uint64_t size) {
        unsigned code = SVMD_STATUS_NO_NODE;

        for (unsigned i = 0; i < 3000 && code == SVMD_STATUS_NO_NODE; i++) {
                code = prefetch(at, size);
                usleep(10000);
        }
        assert_int_equal(code, SVMD_STATUS_OK);
}

/* svmd-cuda ends: what was there is lost and told of, channels are closed, the rest stays; and the node takes pages
 * again when there is another one. So it is where there is none when svmd starts. */
static void test_agent_ends(void **state) {
        uint64_t at, id = u_open(&at), resident = GRANULE * 6ull;
        unsigned events;
        int end;

        message_set_sink(take);
        memset(&said, 0, sizeof(said));
        process_fill(&u.process, at + 4 * GRANULE, 4 * GRANULE, 5);
        assert_int_equal(prefetch(at, resident), SVMD_STATUS_OK);
        assert_int_equal(managed(), resident);
        space(&u.client);
        end = attach(&u.client);
        monitor(true);
        events = admin.events_count;
        device_is(true, false);
        until_lost(1);
        says("svmd-cuda has ended");
        assert_true(admin.events_count > events);
        assert_int_equal(admin.events[events].kind, SVMD__V1__EVENT__EVENT_MONITOR);
        monitor(false);
        assert_false(is_open(end));
        close(end);
        assert_int_equal(kept(), 0);
        world_settle(&w);
        check_world(&w);
        assert_int_equal(managed(), 0);
        assert_int_equal(process_check(&u.process, at + resident, SIZE - resident, 5), 0);
        assert_int_equal(prefetch(at + resident, GRANULE), SVMD_STATUS_NO_NODE);
        assert_int_equal(prefetch(at, GRANULE), SVMD_STATUS_GONE);

        device_is(false, false);
        until_back(at + resident, SIZE - resident);
        assert_int_equal(where(&w, id, 7), CUDA0);
        close(attach(&u.client));
        assert_int_equal(process_check(&u.process, at + resident, GRANULE, 5), 0);
        assert_int_equal(prefetch(at, GRANULE), SVMD_STATUS_GONE);
        assert_int_equal(discard(at, resident), SVMD_STATUS_OK);
        assert_int_equal(prefetch(at, GRANULE), SVMD_STATUS_OK);
        assert_int_equal(process_check(&u.process, at, resident, 0), 0);

        device_is(true, false);
        until_lost(2);
        restart();
        until_lost(3);
        says("nobody listens");
        assert_int_equal(prefetch(at, GRANULE), SVMD_STATUS_NO_NODE);
        device_is(false, false);
        until_back(at, resident);
        assert_int_equal(managed(), resident);
        assert_int_equal(process_check(&u.process, at, resident, 0), 0);
        u_close();
        message_set_sink(NULL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_attach, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_map, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_orders, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_begins, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_late, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_failures, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_restart, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_withheld, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_audited, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_agent_ends, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_lost, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
