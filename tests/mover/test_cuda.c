/*
 * Granules in slots of a real svmd-cuda, whose device is the stand-in: there and back, between it and other nodes, with
 * clients that have them mapped, and with one that ends in the middle. What a GPU would do to a slot is done here
 * through its descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent.h"
#include "backend/cuda.h"
#include "base/alloc.h"
#include "world.h"

#define MIB (1ull << 20)

enum { CUDA = FAR, SOFT = NEAR, GRANULE = 2 << 20, COUNT = 8, SESSION = 77 };

static struct world world;
static struct agent agent;

/* ---- failures from between the layers, one in a few while `armed` ---- */

static atomic_bool armed;
static atomic_uint calls, failures;
static atomic_uint refusals; /* the device has no memory so often */
static atomic_bool mute;     /* svmd-cuda gives the next descriptor not out */

static bool fails(unsigned n) {
        if (!atomic_load(&armed) || (atomic_fetch_add(&calls, 1) * 2654435761u >> 8) % n)
                return false;
        atomic_fetch_add(&failures, 1);
        return true;
}

struct cuda_agent;
int __real_cuda_agent_create(struct cuda_agent *a, uint32_t slot, int *ret_fd);
int __wrap_cuda_agent_create(struct cuda_agent *a, uint32_t slot, int *ret_fd);
int __wrap_cuda_agent_create(struct cuda_agent *a, uint32_t slot, int *ret_fd) {
        unsigned left = atomic_load(&refusals);

        while (left && !atomic_compare_exchange_weak(&refusals, &left, left - 1))
                ;
        return left || fails(5) ? -ENOMEM : __real_cuda_agent_create(a, slot, ret_fd);
}

/* Once: a fill begins, its client writes into what it has already, and then there is no memory for the rest; nor is
 * there any for the next copy of a slot. */
static struct {
        atomic_bool armed, starves;
        int file;
        uint64_t base, seed;
} halfway;
enum { HALFWAY = 64 << 10 };

void *__real_alloc_array(size_t count, size_t bytes);
void *__wrap_alloc_array(size_t count, size_t bytes);
void *__wrap_alloc_array(size_t count, size_t bytes) {
        if (bytes == GRANULE && atomic_exchange(&halfway.starves, false))
                return NULL;
        return bytes == GRANULE && fails(10) ? NULL : __real_alloc_array(count, bytes);
}

int __real_cuda_agent_export(struct cuda_agent *a, uint32_t slot, int *ret_fd);
int __wrap_cuda_agent_export(struct cuda_agent *a, uint32_t slot, int *ret_fd);
int __wrap_cuda_agent_export(struct cuda_agent *a, uint32_t slot, int *ret_fd) {
        return atomic_exchange(&mute, false) ? -EMFILE : __real_cuda_agent_export(a, slot, ret_fd);
}

int64_t __real_userfault_copy(int fd, uint64_t to, const void *from, uint64_t size, unsigned flags);
int64_t __wrap_userfault_copy(int fd, uint64_t to, const void *from, uint64_t size, unsigned flags);
int64_t __wrap_userfault_copy(int fd, uint64_t to, const void *from, uint64_t size, unsigned flags) {
        int64_t k;

        if (!atomic_exchange(&halfway.armed, false))
                return __real_userfault_copy(fd, to, from, size, flags);
        k = __real_userfault_copy(fd, to, from, HALFWAY, flags);
        if (k != HALFWAY)
                abort();
        for (uint64_t i = 0; i < HALFWAY; i += sizeof(uint64_t)) {
                uint64_t word = pattern(to + i, halfway.seed);

                if (pwrite(halfway.file, &word, sizeof(word), (off_t)(to + i - halfway.base)) != sizeof(word))
                        abort();
        }
        atomic_store(&halfway.starves, true);
        return -ENOMEM;
}

/* A client's end of a channel, and what it would have mapped. */
static struct gpu {
        struct cuda_channel *channel;
        int fd, kept; /* kept: the keeper's, of svmd's end */
        uint64_t seq; /* of the last map */
        uint64_t *mapped[COUNT];
} gpu;

static void begin(uint64_t capacity, const char *bytes, uint32_t patience_ms) {
        agent_listen(&agent);
        agent_start(&agent, NULL, bytes, AGENT_STANDIN);
        world.devices = true;
        world.agent = agent.path;
        world.patience_ms = patience_ms;
        world_begin(&world, capacity);
        memset(&gpu, 0, sizeof(gpu));
        atomic_store(&refusals, 0);
        atomic_store(&mute, false);
        atomic_store(&halfway.armed, false);
        atomic_store(&halfway.starves, false);
}

static int setup(void **state) {
        *state = &world;
        begin(32 * MIB, "100000000", 60000);
        return 0;
}

static int setup_hasty(void **state) {
        *state = &world;
        begin(32 * MIB, "100000000", 50);
        return 0;
}

/* As many as svmd thinks are there, and a few less: 8 MiB. */
static int setup_small(void **state) {
        *state = &world;
        begin(32 * MIB, "8388608", 60000);
        return 0;
}

static int teardown(void **state) {
        cuda_channel_free(gpu.channel);
        for (unsigned i = 0; i < COUNT; i++)
                if (gpu.mapped[i])
                        munmap(gpu.mapped[i], GRANULE);
        if (gpu.channel) {
                close(gpu.fd);
                close(gpu.kept);
        }
        world_end(*state);
        agent_close(&agent);
        return 0;
}

/* ---- the client's part ---- */

static void channel(struct world *w) {
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        gpu.fd = pair[0];
        gpu.kept = dup(pair[1]);
        assert_int_equal(cuda_channel_new(w->device[CUDA], &gpu.channel, pair[1], SESSION, false), 0);
}

/* How many of them are there. */
static int show(struct world *w, uint32_t first, uint32_t count) {
        struct device_range *d = mover_device_range(w->m, w->r, CUDA);
        struct deadline limit = world_deadline();
        int fds[COUNT], shown;

        assert_non_null(d);
        assert_int_equal(cuda_channel_cover(gpu.channel, d, first, count, &gpu.seq), 0);
        while ((shown = mover_show_slots(w->m, w->r, CUDA, first, count, fds)) == -EAGAIN) {
                world_pump(w, 1);
                world_check_deadline(&limit, "descriptors of slots");
        }
        assert_true(shown >= 0);
        for (uint32_t i = 0; i < count; i++) {
                if (fds[i] < 0)
                        continue;
                if (gpu.mapped[first + i])
                        munmap(gpu.mapped[first + i], GRANULE);
                gpu.mapped[first + i] = mmap(NULL, GRANULE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0);
                assert_ptr_not_equal(gpu.mapped[first + i], MAP_FAILED);
                close(fds[i]);
        }
        return shown;
}

static struct cuda_take taken(struct world *w) {
        struct deadline d = world_deadline();
        struct cuda_take t;
        ssize_t n;

        while ((n = recv(gpu.fd, &t, sizeof(t), MSG_DONTWAIT)) < 0) {
                assert_int_equal(errno, EAGAIN);
                world_pump(w, 1);
                world_check_deadline(&d, "a request to let go");
        }
        assert_int_equal(n, sizeof(t));
        assert_int_equal(t.size, GRANULE);
        assert_true(t.seq > gpu.seq);
        return t;
}

static void let_go(const struct cuda_take *t) {
        uint32_t i = (uint32_t)((t->address - world.base) / GRANULE);

        if (gpu.mapped[i])
                munmap(gpu.mapped[i], GRANULE);
        gpu.mapped[i] = NULL;
        assert_int_equal(send(gpu.fd, &t->seq, sizeof(t->seq), 0), sizeof(t->seq));
}

static bool is_asked(void) {
        struct cuda_take t;

        return recv(gpu.fd, &t, sizeof(t), MSG_DONTWAIT | MSG_PEEK) >= 0;
}

static uint64_t at(const struct world *w, uint32_t granule) {
        return w->base + (uint64_t)granule * GRANULE;
}

static void fill(struct world *w, uint64_t seed) {
        client_ask(w, 0, CLIENT_FILL, w->base, COUNT * GRANULE, seed);
}

static void want(struct world *w, unsigned client, uint32_t granule, uint64_t seed) {
        assert_int_equal(client_ask(w, client, CLIENT_CHECK, at(w, granule), GRANULE, seed), 0);
}

static void want_mapped(const struct world *w, uint32_t granule, uint64_t seed) {
        for (uint64_t i = 0; i < GRANULE / 8; i++)
                assert_int_equal(gpu.mapped[granule][i], seed ? pattern(at(w, granule) + 8 * i, seed) : 0);
}

static void fill_mapped(const struct world *w, uint32_t granule, uint64_t seed) {
        for (uint64_t i = 0; i < GRANULE / 8; i++)
                gpu.mapped[granule][i] = pattern(at(w, granule) + 8 * i, seed);
}

static void assert_out(struct world *w, uint32_t granule, uint32_t node) {
        struct managed_granule_info info = world_look(w, granule);

        assert_int_equal(info.state, RESIDENCY_OUT);
        assert_int_equal(info.node, node);
}

static int prefetch(struct world *w, uint32_t first, uint32_t count) {
        int k = mover_migrate(w->m, w->r, first, count, CUDA, MANAGED_BY_PREFETCH, ++w->token);

        return k ? k : world_answer(w, w->token);
}

/* ---- cases ---- */

static void test_there_and_back(void **state) {
        struct world *w = *state;

        world_share(w, size(GRANULE, COUNT), 2);
        for (unsigned round = 1; round < 4; round++) {
                fill(w, round);
                assert_int_equal(world_migrate(w, 0, 0, CUDA), 0);
                for (uint32_t i = 0; i < COUNT; i++)
                        assert_out(w, i, CUDA);
                assert_int_equal(world_memory(w), 0);
                for (uint32_t i = 0; i < COUNT; i++)
                        want(w, i % 2, i, round);
        }
        assert_int_equal(world_migrate(w, 0, 0, CUDA), 0);
        assert_int_equal(world_migrate(w, 0, 0, HOST), 0);
        assert_int_equal(world_node_used(w, CUDA), 0);
        want(w, 1, 3, 3);
}

/* By copies from node to node. */
static void test_between_nodes(void **state) {
        struct world *w = *state;

        world_share(w, size(GRANULE, COUNT), 1);
        fill(w, 5);
        assert_int_equal(world_migrate(w, 0, 0, CUDA), 0);
        assert_int_equal(world_migrate(w, 0, 0, SOFT), 0);
        for (uint32_t i = 0; i < COUNT; i++)
                assert_out(w, i, SOFT);
        assert_int_equal(world_migrate(w, 0, 4, CUDA), 0);
        assert_out(w, 3, CUDA);
        assert_out(w, 4, SOFT);
        for (uint32_t i = 0; i < COUNT; i++)
                want(w, 0, i, 5);
}

/* What nobody has touched begins on the device, as zeroes, and the device may write it first. */
static void test_begins(void **state) {
        struct world *w = *state;
        struct cuda_take t;

        world_share(w, size(GRANULE, COUNT), 2);
        channel(w);
        fill(w, 1); /* what the slots have had before is not seen */
        assert_int_equal(world_migrate(w, 0, 0, CUDA), 0);
        assert_int_equal(world_discard(w, 0, 0), 0);
        assert_int_equal(world_node_used(w, CUDA), 0);
        assert_int_equal(prefetch(w, 0, COUNT), 0);
        assert_int_equal(world_node_used(w, CUDA), COUNT * GRANULE);
        assert_int_equal(world_memory(w), 0);
        assert_int_equal(show(w, 0, 4), 4);
        for (uint32_t i = 0; i < 4; i++)
                want_mapped(w, i, 0);
        fill_mapped(w, 3, 7);
        client_tell(w, 1, CLIENT_CHECK, at(w, 3), GRANULE, 7);
        t = taken(w);
        let_go(&t);
        assert_int_equal(client_wait(w, 1), 0);
        want(w, 0, 4, 0);
        want(w, 1, 5, 0);
        assert_false(is_asked());
        world_idle(w); /* who touched goes on before it is told that all has come */
        assert_int_equal(world_node_used(w, CUDA), (COUNT - 3) * GRANULE);
        for (uint32_t i = 3; i < COUNT; i++)
                want(w, 0, i, i == 3 ? 7 : 0);
}

/* The device has less than it was thought to: what did not begin is as it was, and nothing is charged for it. */
static void test_begins_in_vain(void **state) {
        struct world *w = *state;

        world_share(w, size(GRANULE, COUNT), 1);
        atomic_store(&refusals, 1);
        assert_int_equal(prefetch(w, 2, 1), -ENOMEM);
        assert_int_equal(world_look(w, 2).state, RESIDENCY_EMPTY);
        assert_int_equal(world_node_used(w, CUDA), 0);
        assert_int_equal(prefetch(w, 2, 1), 0);
        atomic_store(&refusals, 2);
        assert_int_equal(prefetch(w, 0, COUNT), -ENOMEM);
        assert_int_equal(atomic_load(&refusals), 0);
        assert_int_equal(world_node_used(w, CUDA), (COUNT - 2) * GRANULE);
        for (uint32_t i = 0; i < COUNT; i++)
                want(w, 0, i, 0);
}

/* The fill of a granule that the device has is taken back when half of it is there: what its client has written
 * meanwhile is put over the slot, and there is none the less of it for a copy that had no memory at first. */
static void test_merge(void **state) {
        struct world *w = *state;

        world_share(w, size(GRANULE, COUNT), 1);
        fill(w, 1);
        assert_int_equal(world_migrate(w, 0, 0, CUDA), 0);
        halfway.file = mover_range_memory(w->r);
        halfway.base = w->base;
        halfway.seed = 2;
        atomic_store(&halfway.armed, true);
        assert_int_equal(world_migrate(w, 3, 1, HOST), -ENOMEM);
        assert_false(atomic_load(&halfway.armed) || atomic_load(&halfway.starves));
        assert_out(w, 3, CUDA);
        assert_int_equal(world_memory(w), 0);
        assert_int_equal(world_node_used(w, CUDA), COUNT * GRANULE);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, at(w, 3), HALFWAY, 2), 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, at(w, 3) + HALFWAY, GRANULE - HALFWAY, 1), 0);
        want(w, 0, 2, 1);
}

static void test_other_granules(void **state) {
        struct world *w = *state;

        world_share(w, size(65536, 4), 1);
        assert_int_equal(prefetch(w, 0, 4), MANAGED_E_FULL);
        client_ask(w, 0, CLIENT_FILL, w->base, 4 * 65536, 1);
        assert_int_equal(world_migrate(w, 0, 0, CUDA), MANAGED_E_FULL);
        assert_int_equal(world_migrate(w, 0, 0, SOFT), 0);
        assert_int_equal(world_migrate(w, 0, 0, CUDA), MANAGED_E_FULL);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 4 * 65536, 1), 0);
        assert_null(mover_device_range(w->m, w->r, CUDA));
}

/* The CPU's touch waits until the client has let go, and finds what the GPU wrote until then. */
static void test_waits_for_the_client(void **state) {
        struct world *w = *state;
        struct cuda_take t;

        world_share(w, size(GRANULE, COUNT), 2);
        channel(w);
        fill(w, 1);
        assert_int_equal(show(w, 0, COUNT), 0); /* they are not there */
        assert_int_equal(world_migrate(w, 0, 0, CUDA), 0);
        assert_false(is_asked());
        assert_int_equal(show(w, 2, 3), 3);
        want_mapped(w, 3, 1);
        fill_mapped(w, 3, 2);
        client_tell(w, 1, CLIENT_CHECK, at(w, 3), GRANULE, 3);
        t = taken(w);
        assert_int_equal(t.address, at(w, 3));
        for (unsigned i = 0; i < 50; i++)
                world_pump(w, 1);
        assert_false(client_answered(w, 1));
        assert_out(w, 3, CUDA);
        assert_false(is_asked());
        assert_int_equal(show(w, 3, 1), 0); /* on its way */
        fill_mapped(w, 3, 3);
        let_go(&t);
        assert_int_equal(client_wait(w, 1), 0);
        want(w, 0, 0, 1); /* of which nobody is asked: it was never mapped */
        assert_false(is_asked());
        /* and away again, with another slot's memory */
        assert_int_equal(world_migrate(w, 3, 1, CUDA), 0);
        assert_int_equal(show(w, 3, 1), 1);
        want_mapped(w, 3, 3);
}

/* Who maps while another is asked for the same learns of it by the number. */
static void test_numbers(void **state) {
        struct world *w = *state;
        struct cuda_take first, second;
        uint64_t before;

        world_share(w, size(GRANULE, COUNT), 1);
        channel(w);
        fill(w, 1);
        assert_int_equal(world_migrate(w, 0, 0, CUDA), 0);
        assert_int_equal(show(w, 0, 2), 2);
        before = gpu.seq;
        client_tell(w, 0, CLIENT_CHECK, at(w, 0), GRANULE, 1);
        first = taken(w);
        let_go(&first);
        assert_int_equal(client_wait(w, 0), 0);
        assert_int_equal(show(w, 1, 1), 1);
        assert_true(gpu.seq >= first.seq && before < first.seq);
        client_tell(w, 0, CLIENT_CHECK, at(w, 1), GRANULE, 1);
        second = taken(w);
        let_go(&second);
        assert_int_equal(client_wait(w, 0), 0);
}

static void stale(const char *word) {
        char why[128] = "";

        assert_true(cuda_channel_is_stale(gpu.channel, why, sizeof(why)));
        assert_non_null(strstr(why, word));
}

static void one_mapped(struct world *w) {
        world_share(w, size(GRANULE, COUNT), 1);
        channel(w);
        fill(w, 1);
        assert_int_equal(world_migrate(w, 0, 0, CUDA), 0);
        assert_int_equal(show(w, 0, COUNT), COUNT);
}

static void test_closed(void **state) {
        struct world *w = *state;
        char why[8];
        uint64_t seq;

        one_mapped(w);
        assert_false(cuda_channel_is_stale(gpu.channel, why, sizeof(why)));
        shutdown(gpu.fd, SHUT_RDWR);
        want(w, 0, 0, 1);
        stale("closed");
        assert_int_equal(cuda_channel_cover(gpu.channel, mover_device_range(w->m, w->r, CUDA), 0, 1, &seq), -ESTALE);
}

static void test_channel_freed(void **state) {
        struct world *w = *state;
        struct cuda_take t;

        one_mapped(w);
        client_tell(w, 0, CLIENT_CHECK, at(w, 0), GRANULE, 1);
        t = taken(w);
        assert_int_equal(t.address, at(w, 0));
        cuda_channel_free(gpu.channel);
        gpu.channel = NULL;
        close(gpu.fd);
        close(gpu.kept);
        assert_int_equal(client_wait(w, 0), 0);
}

/* It answers what it was not asked, or never. */
static void test_liar(void **state) {
        struct world *w = *state;
        uint64_t never = UINT64_MAX;

        one_mapped(w);
        assert_int_equal(send(gpu.fd, &never, sizeof(never), 0), sizeof(never));
        want(w, 0, 0, 1);
        stale("not asked");
}

static void test_out_of_patience(void **state) {
        struct world *w = *state;

        one_mapped(w);
        want(w, 0, 0, 1);
        stale("in time");
        want(w, 0, 1, 1);
        /* Not a byte of another's is seen by who did not let go. */
        client_ask(w, 0, CLIENT_FILL, w->base, COUNT * GRANULE, 9);
        assert_int_equal(world_migrate(w, 0, 0, CUDA), 0);
        want_mapped(w, 0, 1);
        want_mapped(w, 7, 1);
        for (uint32_t i = 0; i < COUNT; i++)
                fill_mapped(w, i, 66);
        for (uint32_t i = 0; i < COUNT; i++)
                want(w, 0, i, 9);
}

/* The range ends only when nobody has any of it mapped. */
static void test_range_ends(void **state) {
        struct world *w = *state;
        struct cuda_take t;

        one_mapped(w);
        client_kill(&w->client[0]);
        mover_session_end(w->m, w->s[0]);
        mover_range_end(w->m, w->r, ++w->token);
        for (uint32_t i = 0; i < COUNT; i++) {
                assert_false(world_answered(w, w->token));
                t = taken(w);
                assert_int_equal(t.address, at(w, i));
                let_go(&t);
        }
        assert_int_equal(world_answer(w, w->token), 0);
        assert_int_equal(world_node_used(w, CUDA), 0);
}

/* More than the device has: it says so, though svmd has room there on paper. */
static void test_full(void **state) {
        struct world *w = *state;
        unsigned there = 0;

        world_share(w, size(GRANULE, COUNT), 1);
        fill(w, 4);
        assert_int_not_equal(world_migrate(w, 0, 0, CUDA), 0);
        for (uint32_t i = 0; i < COUNT; i++)
                there += world_look(w, i).node == CUDA;
        assert_int_equal(there, 4);
        for (uint32_t i = 0; i < COUNT; i++)
                want(w, 0, i, 4);
        assert_int_equal(world_migrate(w, 4, 2, CUDA), 0);
        assert_int_equal(world.slots_gone, 0);
}

/* The node's capacity shrinks: what is mapped there leaves when it has been let go. */
static void test_pressure(void **state) {
        struct world *w = *state;
        struct deadline d = world_deadline();

        one_mapped(w);
        for (uint32_t i = 0; i < COUNT; i++)
                fill_mapped(w, i, 20 + i);
        mover_node_capacity(w->m, CUDA, 0);
        while (world_node_used(w, CUDA)) {
                struct cuda_take t;

                if (recv(gpu.fd, &t, sizeof(t), MSG_DONTWAIT) == sizeof(t))
                        let_go(&t);
                world_pump(w, 1);
                world_check_deadline(&d, "an empty node");
        }
        for (uint32_t i = 0; i < COUNT; i++)
                want(w, 0, i, 20 + i);
}

static void until_back(struct world *w, unsigned times) {
        struct deadline d = world_deadline();

        while (w->slots_back < times) {
                world_pump(w, 10);
                world_check_deadline(&d, "the next svmd-cuda");
        }
        assert_int_equal(w->slots_gone, times);
}

/* svmd-cuda ends: what was there is lost, the rest is not, and the node takes pages again when there is another. */
static void test_agent_killed(void **state) {
        struct world *w = *state;

        world_share(w, size(GRANULE, COUNT), 1);
        fill(w, 1);
        assert_int_equal(world_migrate(w, 0, 4, CUDA), 0);
        assert_int_equal(world_migrate(w, 4, 2, SOFT), 0);
        agent_kill(&agent);
        agent_start(&agent, NULL, "100000000", AGENT_STANDIN);
        until_back(w, 1);
        for (uint32_t i = 0; i < 4; i++)
                assert_true(world_look(w, i).lost);
        for (uint32_t i = 4; i < COUNT; i++)
                want(w, 0, i, 1);
        assert_int_equal(world_migrate(w, 0, 1, HOST), MANAGED_E_LOST);
        assert_int_equal(world_migrate(w, 4, 4, CUDA), 0);
        want(w, 0, 6, 1);
        assert_int_equal(world_discard(w, 0, 4), 0);
        client_ask(w, 0, CLIENT_FILL, w->base, 4 * GRANULE, 2);
        assert_int_equal(world_migrate(w, 0, 4, CUDA), 0);
        want(w, 0, 2, 2);
}

/* In the middle of all that moves: nobody waits for ever, and what is not lost is right. */
static void test_agent_killed_at_work(void **state) {
        struct world *w = *state;

        world_share(w, size(GRANULE, COUNT), 1);
        for (unsigned round = 1; round < 6; round++) {
                fill(w, round);
                assert_int_equal(mover_migrate(w->m, w->r, 0, COUNT, CUDA, MANAGED_BY_REQUEST, ++w->token), 0);
                for (unsigned i = 0; i < round; i++)
                        world_pump(w, 1);
                agent_kill(&agent);
                agent_start(&agent, NULL, "100000000", AGENT_STANDIN);
                (void)world_answer(w, w->token);
                until_back(w, round);
                world_idle(w);
                for (uint32_t i = 0; i < COUNT; i++)
                        if (!world_look(w, i).lost)
                                want(w, 0, i, round);
                assert_int_equal(world_discard(w, 0, 0), 0);
        }
}

/* A client that had lost memory mapped is still asked, before its number has other memory. */
static void test_lost_while_mapped(void **state) {
        struct world *w = *state;
        struct deadline d = world_deadline();

        one_mapped(w);
        agent_kill(&agent);
        agent_start(&agent, NULL, "100000000", AGENT_STANDIN);
        while (w->slots_back < 1) {
                struct cuda_take t;

                if (recv(gpu.fd, &t, sizeof(t), MSG_DONTWAIT) == sizeof(t))
                        let_go(&t);
                world_pump(w, 10);
                world_check_deadline(&d, "the next svmd-cuda");
        }
        for (uint32_t i = 0; i < COUNT; i++)
                assert_true(world_look(w, i).lost);
}

/* ---- svmd comes back ---- */

static void restart(struct world *w) {
        cuda_channel_free(gpu.channel);
        world_restart(w);
        assert_int_equal(cuda_channel_new(w->device[CUDA], &gpu.channel, dup(gpu.kept), SESSION, true), 0);
}

/* Slots are found again, what a client has mapped as well, and what nobody has any more is given back. */
static void test_restart(void **state) {
        struct world *w = *state;
        const struct device_slots *slots = backend_for(NODE_CUDA)->slots;
        struct cuda_take t;
        unsigned there = 0;

        one_mapped(w);
        fill_mapped(w, 2, 5);
        assert_int_equal(slots->make(w->device[CUDA], 11), 0);
        restart(w);
        for (uint32_t i = 0; i < 16; i++)
                there += slots->has(w->device[CUDA], i);
        assert_int_equal(there, COUNT);
        client_tell(w, 0, CLIENT_CHECK, at(w, 2), GRANULE, 6);
        t = taken(w);
        assert_int_equal(t.address, at(w, 2));
        fill_mapped(w, 2, 6);
        let_go(&t);
        assert_int_equal(client_wait(w, 0), 0);
        assert_int_equal(show(w, 3, 1), 1);
        want_mapped(w, 3, 1);
}

/* Descriptors of slots of before are fetched when somebody wants them. Who asks does not wait for svmd-cuda, and a
 * failure is one answer, not the last one. */
static void test_restart_fds(void **state) {
        struct world *w = *state;
        int fds[COUNT];

        one_mapped(w);
        restart(w);
        assert_non_null(mover_device_range(w->m, w->r, CUDA));
        agent_stop(&agent);
        for (unsigned i = 0; i < 20; i++) {
                assert_int_equal(mover_show_slots(w->m, w->r, CUDA, 0, COUNT, fds), -EAGAIN);
                for (uint32_t k = 0; k < COUNT; k++)
                        assert_int_equal(fds[k], -1);
                world_pump(w, 1);
        }
        assert_int_equal(kill(agent.pid, SIGCONT), 0);
        assert_int_equal(show(w, 0, COUNT), COUNT);
        for (uint32_t i = 0; i < COUNT; i++)
                want_mapped(w, i, 1);
        restart(w);
        assert_non_null(mover_device_range(w->m, w->r, CUDA));
        atomic_store(&mute, true);
        assert_int_equal(show(w, 2, 1), 0);
        assert_false(atomic_load(&mute));
        assert_int_equal(show(w, 2, 1), 1);
        want_mapped(w, 2, 1);
}

/* So it is with what began there, and with what a device has written into it. */
static void test_restart_begun(void **state) {
        struct world *w = *state;
        struct cuda_take t;

        world_share(w, size(GRANULE, COUNT), 1);
        channel(w);
        assert_int_equal(prefetch(w, 0, 4), 0);
        assert_int_equal(show(w, 1, 1), 1);
        fill_mapped(w, 1, 3);
        restart(w);
        assert_int_equal(world_node_used(w, CUDA), 4 * GRANULE);
        client_tell(w, 0, CLIENT_CHECK, at(w, 1), GRANULE, 3);
        t = taken(w);
        assert_int_equal(t.address, at(w, 1));
        let_go(&t);
        assert_int_equal(client_wait(w, 0), 0);
        shutdown(gpu.fd, SHUT_RDWR);
        want(w, 0, 2, 0);
        want(w, 0, 5, 0);
}

/* svmd-cuda ended while there was no svmd. */
static void test_restart_of_both(void **state) {
        struct world *w = *state;

        world_share(w, size(GRANULE, COUNT), 1);
        channel(w);
        fill(w, 1);
        assert_int_equal(world_migrate(w, 0, 3, CUDA), 0);
        agent_kill(&agent);
        agent_start(&agent, NULL, "100000000", AGENT_STANDIN);
        restart(w);
        for (uint32_t i = 0; i < 3; i++)
                assert_true(world_look(w, i).lost);
        for (uint32_t i = 3; i < COUNT; i++)
                want(w, 0, i, 1);
        assert_int_equal(world_migrate(w, 3, 2, CUDA), 0);
        assert_int_equal(world_discard(w, 0, 3), 0);
        want(w, 0, 4, 1);
}

/* ---- at random, beside a model that knows what each granule has ---- */

static void serve(struct world *w) {
        struct cuda_take t;

        while (recv(gpu.fd, &t, sizeof(t), MSG_DONTWAIT) == sizeof(t))
                let_go(&t);
        world_pump(w, 1);
}

static uint64_t ask_served(struct world *w, unsigned client, enum client_op op, uint32_t granule, uint64_t seed) {
        struct deadline d = world_deadline();

        client_tell(w, client, op, at(w, granule), GRANULE, seed);
        while (!client_answered(w, client)) {
                serve(w);
                world_check_deadline(&d, "a client");
        }
        return client_wait(w, client);
}

static void answer_served(struct world *w) {
        struct deadline d = world_deadline();

        while (!world_answered(w, w->token)) {
                serve(w);
                world_check_deadline(&d, "a move");
        }
}

static void move_served(struct world *w, uint32_t first, uint32_t count, uint32_t to, enum managed_cause cause) {
        assert_int_equal(mover_migrate(w->m, w->r, first, count, to, cause, ++w->token), 0);
        answer_served(w);
        (void)world_answer(w, w->token);
}

static void discard_served(struct world *w, uint32_t granule) {
        assert_int_equal(mover_discard(w->m, w->r, granule, 1, ++w->token), 0);
        answer_served(w);
        assert_int_equal(world_answer(w, w->token), 0);
}

static void random_steps(struct world *w) {
        uint64_t has[COUNT] = { 0 }, seed = 0;
        unsigned start = getenv("SVMD_SEED") ? (unsigned)atoi(getenv("SVMD_SEED")) : (unsigned)getpid();

        print_message("SVMD_SEED=%u\n", start);
        srand(start);
        world_share(w, size(GRANULE, COUNT), 2);
        channel(w);
        for (uint32_t i = 0; i < COUNT / 2; i++)
                ask_served(w, 0, CLIENT_FILL, i, has[i] = ++seed);
        for (unsigned step = 0; step < 250; step++) {
                uint32_t i = (uint32_t)rand() % COUNT, count = 1 + (uint32_t)rand() % (COUNT - i);

                switch (rand() % 8) {
                case 0: ask_served(w, (unsigned)rand() % 2, CLIENT_FILL, i, has[i] = ++seed); break;
                case 1: assert_int_equal(ask_served(w, (unsigned)rand() % 2, CLIENT_CHECK, i, has[i]), 0); break;
                case 2: move_served(w, i, count, (uint32_t)rand() % NODES, MANAGED_BY_REQUEST); break;
                case 3: move_served(w, i, count, CUDA, MANAGED_BY_REQUEST); break;
                case 6: move_served(w, i, count, CUDA, MANAGED_BY_PREFETCH); break;
                case 7:
                        discard_served(w, i);
                        has[i] = 0;
                        break;
                case 4: (void)show(w, i, count); break;
                case 5:
                        if (gpu.mapped[i]) {
                                want_mapped(w, i, has[i]);
                                fill_mapped(w, i, has[i] = ++seed);
                        }
                        break;
                }
                serve(w);
        }
        for (uint32_t i = 0; i < COUNT; i++)
                assert_int_equal(ask_served(w, 0, CLIENT_CHECK, i, has[i]), 0);
}

static void test_random(void **state) {
        random_steps(*state);
}

/* The same where the device is full now and then, and svmd has no memory to copy by. */
static void test_random_starved(void **state) {
        atomic_store(&armed, true);
        random_steps(*state);
        atomic_store(&armed, false);
        assert_true(atomic_load(&failures) > 0);
}

/* ---- each allocation that can fail ---- */

static int new_device(struct world *w) {
        struct node_desc desc = { .kind = NODE_CUDA, .capacity = MIB, .managed = true, .agent = "/nonexistent" };
        struct device *d;
        int k = backend_for(NODE_CUDA)->device_new(&d, &desc, NULL, NULL);

        if (!k)
                backend_for(NODE_CUDA)->device_free(d);
        return k;
}

static int new_range(struct world *w) {
        return mover_device_range(w->m, w->r, CUDA) ? 0 : -ENOMEM;
}

static int new_channel(struct world *w) {
        struct cuda_channel *c;
        int pair[2], k;

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        k = cuda_channel_new(w->device[CUDA], &c, pair[1], SESSION, true);
        if (k)
                close(pair[1]); /* which it did not take over */
        else
                cuda_channel_free(c);
        close(pair[0]);
        return k;
}

static int cover(struct world *w) {
        uint64_t seq;

        return cuda_channel_cover(gpu.channel, mover_device_range(w->m, w->r, CUDA), 0, COUNT, &seq);
}

static int show_one(struct world *w) {
        int fd, k = mover_show_slots(w->m, w->r, CUDA, 0, 1, &fd);

        if (k > 0)
                close(fd);
        return k == 0 ? -ENOMEM : 0; /* as if it were not there */
}

static void test_no_memory(void **state) {
        int (*const all[])(struct world * w) = { new_device, new_range, new_channel, cover, show_one };
        struct world *w = *state;

        world_share(w, size(GRANULE, COUNT), 1);
        channel(w);
        fill(w, 1);
        assert_int_equal(world_migrate(w, 0, 1, CUDA), 0);
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
                unsigned long n = 0;
                unsigned failed = 0;
                bool hit;

                do { /* without an agent, as it is without memory for one, a device begins all the same */
                        int k;

                        alloc_fail_at(++n);
                        k = all[i](w);
                        hit = alloc_fail_hit();
                        alloc_fail_off();
                        assert_true(k == 0 || (hit && k == -ENOMEM));
                        failed += k != 0;
                } while (hit);
                assert_true(failed > 0);
        }
        shutdown(gpu.fd, SHUT_RDWR);
        want(w, 0, 0, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_there_and_back, setup, teardown),
                cmocka_unit_test_setup_teardown(test_between_nodes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_begins, setup, teardown),
                cmocka_unit_test_setup_teardown(test_begins_in_vain, setup, teardown),
                cmocka_unit_test_setup_teardown(test_merge, setup, teardown),
                cmocka_unit_test_setup_teardown(test_other_granules, setup, teardown),
                cmocka_unit_test_setup_teardown(test_waits_for_the_client, setup, teardown),
                cmocka_unit_test_setup_teardown(test_numbers, setup, teardown),
                cmocka_unit_test_setup_teardown(test_closed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_channel_freed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_liar, setup, teardown),
                cmocka_unit_test_setup_teardown(test_out_of_patience, setup_hasty, teardown),
                cmocka_unit_test_setup_teardown(test_range_ends, setup, teardown),
                cmocka_unit_test_setup_teardown(test_full, setup_small, teardown),
                cmocka_unit_test_setup_teardown(test_pressure, setup, teardown),
                cmocka_unit_test_setup_teardown(test_agent_killed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_agent_killed_at_work, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lost_while_mapped, setup, teardown),
                cmocka_unit_test_setup_teardown(test_restart, setup, teardown),
                cmocka_unit_test_setup_teardown(test_restart_fds, setup, teardown),
                cmocka_unit_test_setup_teardown(test_restart_begun, setup, teardown),
                cmocka_unit_test_setup_teardown(test_restart_of_both, setup, teardown),
                cmocka_unit_test_setup_teardown(test_random, setup, teardown),
                cmocka_unit_test_setup_teardown(test_random_starved, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
