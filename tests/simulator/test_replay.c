/* Recordings made by hand, whose bytes and times were computed by hand; and that the decisions are svmd's own. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/managed.h"
#include "policy/policy.h"
#include "policy/sim/cluster.h"
#include "policy/sim/sim.h"

enum { GRANULE = 65536, MB = 16000, FAULT_NS = 5000, STEP_NS = 1000, ROOM = 256 * 1024 };
/* 65,536 bytes over 16,000 MB/s. */
enum { CARRY_NS = 4096 };

static uint8_t file[ROOM];
static size_t size;
static uint64_t last;
static struct sim_machine machine;
static struct sim_tally tally, again;
static char why[256];

/* ---- the decisions are policy.h's ---- */

static struct { unsigned place, promote, evict, prefetch; } asked;

uint32_t __real_policy_place(const struct policy_machine *m, const struct policy_profile *p,
                             const struct policy_advice *advice, uint32_t accessor, uint64_t bytes,
                             const uint64_t *room);
uint32_t __wrap_policy_place(const struct policy_machine *m, const struct policy_profile *p,
                             const struct policy_advice *advice, uint32_t accessor, uint64_t bytes,
                             const uint64_t *room);
uint32_t __wrap_policy_place(const struct policy_machine *m, const struct policy_profile *p,
                             const struct policy_advice *advice, uint32_t accessor, uint64_t bytes,
                             const uint64_t *room) {
        uint32_t answer = __real_policy_place(m, p, advice, accessor, bytes, room);

        asked.place++;
        assert_int_equal(answer, __real_policy_place(m, p, advice, accessor, bytes, room));
        return answer;
}

enum policy_answer __real_policy_promote(const struct policy_machine *m, const struct policy_profile *p,
                                         const struct policy_advice *advice, const struct policy_granule *g,
                                         uint32_t accessor, enum policy_access access, uint64_t now_ns);
enum policy_answer __wrap_policy_promote(const struct policy_machine *m, const struct policy_profile *p,
                                         const struct policy_advice *advice, const struct policy_granule *g,
                                         uint32_t accessor, enum policy_access access, uint64_t now_ns);
enum policy_answer __wrap_policy_promote(const struct policy_machine *m, const struct policy_profile *p,
                                         const struct policy_advice *advice, const struct policy_granule *g,
                                         uint32_t accessor, enum policy_access access, uint64_t now_ns) {
        enum policy_answer answer = __real_policy_promote(m, p, advice, g, accessor, access, now_ns);

        asked.promote++;
        assert_int_equal(answer, __real_policy_promote(m, p, advice, g, accessor, access, now_ns));
        return answer;
}

bool __real_policy_evict(const struct policy_machine *m, const struct policy_profile *p,
                         const struct policy_advice *advice, const struct policy_granule *g, uint64_t now_ns,
                         const uint64_t *room, uint32_t *ret_to);
bool __wrap_policy_evict(const struct policy_machine *m, const struct policy_profile *p,
                         const struct policy_advice *advice, const struct policy_granule *g, uint64_t now_ns,
                         const uint64_t *room, uint32_t *ret_to);
bool __wrap_policy_evict(const struct policy_machine *m, const struct policy_profile *p,
                         const struct policy_advice *advice, const struct policy_granule *g, uint64_t now_ns,
                         const uint64_t *room, uint32_t *ret_to) {
        uint32_t to = *ret_to;
        bool answer = __real_policy_evict(m, p, advice, g, now_ns, room, ret_to);

        asked.evict++;
        assert_int_equal(answer, __real_policy_evict(m, p, advice, g, now_ns, room, &to));
        assert_true(!answer || to == *ret_to);
        return answer;
}

void __real_policy_prefetch(const struct policy_profile *p, const struct policy_advice *advice,
                            const struct policy_fault *f, struct policy_stream *stream, uint32_t *ret_first,
                            uint32_t *ret_count);
void __wrap_policy_prefetch(const struct policy_profile *p, const struct policy_advice *advice,
                            const struct policy_fault *f, struct policy_stream *stream, uint32_t *ret_first,
                            uint32_t *ret_count);
void __wrap_policy_prefetch(const struct policy_profile *p, const struct policy_advice *advice,
                            const struct policy_fault *f, struct policy_stream *stream, uint32_t *ret_first,
                            uint32_t *ret_count) {
        asked.prefetch++;
        __real_policy_prefetch(p, advice, f, stream, ret_first, ret_count);
}

/* ---- recordings ---- */

static void add(const struct trace_event *e) {
        assert_true(size + (TRACE_UNITS + 1) * TRACE_UNIT <= ROOM);
        size += trace_pack(e, &last, file + size);
}

static void add_node(uint32_t node, unsigned flags, const char *name, uint64_t capacity) {
        struct trace_event e = { .type = TRACE_NODE, .node = node, .flags = flags, .bytes = capacity };

        snprintf(e.name, sizeof(e.name), "%s", name);
        add(&e);
}

static void begin(uint64_t host, uint32_t granules) {
        struct trace_header h = { .faults = true };

        trace_pack_header(&h, file);
        size = TRACE_HEADER;
        last = 0;
        add_node(0, TRACE_HOST | TRACE_FAULTS, "host0", host);
        add_node(1, TRACE_FAULTS, "gpu0", 1ull << 30);
        for (uint32_t i = 0; i < 2; i++)
                add(&(struct trace_event){ .type = TRACE_LINK, .node = i, .first = !i, .count = MB });
        add(&(struct trace_event){ .type = TRACE_RANGE, .granule = GRANULE, .count = granules });
}

static void touch(uint64_t time, uint32_t granule, bool device) {
        add(&(struct trace_event){ .type = device ? TRACE_USE : TRACE_FAULT,
                                   .time = time,
                                   .first = granule,
                                   .node = device,
                                   .flags = TRACE_WRITE });
}

static void advise_one_by_one(uint32_t granules) {
        add(&(struct trace_event){
                .type = TRACE_ADVISE, .count = granules, .flags = TRACE_GRANULARITY, .granularity = GRANULE });
}

static void play_into(struct sim_tally *ret, const char *profile) {
        struct sim_options o = {
                .profile = policy_profile_find(profile), .workers = 2, .fault_ns = FAULT_NS, .step_ns = STEP_NS
        };

        add(&(struct trace_event){ .type = TRACE_END, .time = last });
        assert_int_equal(sim_machine_of_trace(&machine, file, size, why, sizeof(why)), 0);
        if (sim_replay(ret, &machine, file, size, &o, why, sizeof(why)))
                fail_msg("%s", why);
        size -= TRACE_UNIT;
}

/* ---- tests ---- */

/* A first touch: svmd hears of it, and zeroes it with one step. */
static void test_first_touch(void **state) {
        begin(1ull << 30, 16);
        advise_one_by_one(16);
        touch(1000000, 3, false);
        touch(2000000, 3, false);
        play_into(&tally, "balanced");
        assert_int_equal(tally.touches, 2);
        assert_int_equal(tally.faults, 1);
        assert_int_equal(tally.stalled_ns, FAULT_NS + STEP_NS);
        assert_int_equal(tally.time_ns, 2000000);
        assert_int_equal(tally.moved[SIM_NOWHERE][0], GRANULE);
        assert_int_equal(tally_link_bytes(&tally), 0);
        assert_int_equal(tally.peak[0], GRANULE);
        assert_int_equal(tally.used[0], GRANULE);
}

/* To the device and back. Out: protect, copy, punch, and show; in: hide, and copy. */
static void test_there_and_back(void **state) {
        begin(1ull << 30, 16);
        advise_one_by_one(16);
        touch(1000000, 3, false);
        touch(100000000, 3, true);
        touch(200000000, 3, false);
        play_into(&tally, "balanced");
        assert_int_equal(tally.faults, 2);
        assert_int_equal(tally.device_faults, 1);
        assert_int_equal(tally.moved[0][1], GRANULE);
        assert_int_equal(tally.moved[1][0], GRANULE);
        assert_int_equal(tally.busy_ns[0][1], CARRY_NS);
        assert_int_equal(tally.busy_ns[1][0], CARRY_NS);
        assert_int_equal(tally.stalled_ns, 3 * FAULT_NS + 2 * CARRY_NS + (1 + 4 + 2) * STEP_NS);
        assert_int_equal(tally.time_ns, 200000000 + FAULT_NS + CARRY_NS + 2 * STEP_NS);
        assert_int_equal(tally.peak[0], GRANULE);
        assert_int_equal(tally.peak[1], GRANULE);
        assert_true(asked.place && asked.promote && asked.prefetch);
}

/* Two devices' worth at once share a link: the second waits for the first. */
static void test_link_is_shared(void **state) {
        begin(1ull << 30, 16);
        advise_one_by_one(16);
        add(&(struct trace_event){ .type = TRACE_LIES, .count = 2, .node = 1 });
        touch(1000000, 0, false);
        add(&(struct trace_event){ .type = TRACE_FAULT, .time = 1000000, .first = 1, .node = 7, .flags = TRACE_WRITE });
        play_into(&tally, "balanced");
        assert_int_equal(tally.moved[1][0], 2 * GRANULE);
        assert_int_equal(tally.busy_ns[1][0], 2 * CARRY_NS);
        assert_true(tally.stall_max_ns >= FAULT_NS + 2 * CARRY_NS);
        assert_int_equal(tally.peak[1], 2 * GRANULE);
}

/* A host that holds 4 of 16 granules beside its reserve: what is above leaves. */
static void test_evicts(void **state) {
        uint64_t reserve = 2 * (2ull << 20), held = 4 * GRANULE;

        begin(reserve + held, 16);
        advise_one_by_one(16);
        for (unsigned lap = 0; lap < 3; lap++)
                for (uint32_t i = 0; i < 16; i++)
                        touch(1000000000ull * (16 * lap + i + 1), i, false);
        play_into(&tally, "balanced");
        assert_int_equal(tally.touches, 48);
        assert_true(tally.evictions >= 16 - 4);
        assert_int_equal(tally.moved[0][1], tally.evictions * GRANULE);
        assert_int_equal(tally.moved[0][1] - tally.moved[1][0], (16 - tally.used[0] / GRANULE) * GRANULE);
        assert_true(tally.used[0] <= held);
        assert_int_equal(tally.used[0] + tally.used[1], 16 * GRANULE);
        assert_true(asked.evict);
}

static void test_discard_and_end(void **state) {
        begin(1ull << 30, 16);
        advise_one_by_one(16);
        for (uint32_t i = 0; i < 4; i++)
                touch(1000, i, false);
        add(&(struct trace_event){ .type = TRACE_DISCARD, .time = 2000, .first = 1, .count = 2 });
        touch(3000, 1, false);
        add(&(struct trace_event){ .type = TRACE_RANGE_END, .time = 4000 });
        play_into(&tally, "balanced");
        assert_int_equal(tally.faults, 5);
        assert_int_equal(tally.moved[0][SIM_NOWHERE], 5 * GRANULE);
        assert_int_equal(tally.used[0], 0);
        assert_int_equal(tally.peak[0], 4 * GRANULE);
}

/* A host of no room, and nowhere else to go: said, not waited for. */
static void test_no_room(void **state) {
        struct sim_options o = { .profile = policy_profile_default(), .workers = 2 };

        begin(1ull << 30, 16);
        touch(1000, 0, false);
        assert_int_equal(sim_machine_of_trace(&machine, file, size, why, sizeof(why)), 0);
        machine.nodes[0].capacity = machine.nodes[1].capacity = 0;
        assert_int_equal(sim_replay(&tally, &machine, file, size, &o, why, sizeof(why)), -EDEADLK);
        assert_non_null(strstr(why, "--node NAME=SIZE"));
}

static void read_fixture(const char *name) {
        char path[512];
        ssize_t n;
        int fd;

        snprintf(path, sizeof(path), "%s/%s", FIXTURES, name);
        fd = open(path, O_RDONLY);
        assert_true(fd >= 0);
        n = read(fd, file, ROOM);
        assert_true(n > TRACE_HEADER && n < ROOM);
        size = (size_t)n;
        close(fd);
}

/* The same input gives the same output, whatever the policy. */
static void test_same_again(void **state) {
        for (uint32_t i = 0; i < policy_profiles_count; i++) {
                struct sim_options o = {
                        .profile = &policy_profiles[i], .workers = 3, .fault_ns = FAULT_NS, .step_ns = STEP_NS
                };

                read_fixture("python.trace");
                assert_int_equal(sim_machine_of_trace(&machine, file, size, why, sizeof(why)), 0);
                assert_int_equal(sim_replay(&tally, &machine, file, size, &o, why, sizeof(why)), 0);
                assert_int_equal(sim_replay(&again, &machine, file, size, &o, why, sizeof(why)), 0);
                assert_memory_equal(&tally, &again, sizeof(tally));
                assert_int_equal(tally.touches, 1299);
        }
}

static void test_recorded(void **state) {
        read_fixture("sort.trace");
        assert_int_equal(sim_recorded(&tally, file, size, why, sizeof(why)), 0);
        assert_int_equal(tally.faults, 2201);
        assert_int_equal(tally.evictions, 2178);
        assert_false(tally.cut);
        size -= TRACE_UNIT;
        assert_int_equal(sim_recorded(&tally, file, size, why, sizeof(why)), 0);
        assert_true(tally.cut);
        size -= 1;
        assert_int_equal(sim_recorded(&tally, file, size, why, sizeof(why)), -EBADMSG);
        assert_non_null(strstr(why, "a whole"));
}

static void test_nodes_are_matched(void **state) {
        static struct sim_machine from, to;
        uint32_t node_of[SIM_NODES];

        from = (struct sim_machine){ .count = 4,
                                     .nodes = { { .name = "host0", .host = true },
                                                { .name = "gpu0" },
                                                { .name = "gpu7" },
                                                { .name = "cxl", .host = true, .far = true } } };
        to = (struct sim_machine){ .count = 3,
                                   .nodes = { { .name = "gpu7" }, { .name = "gpu1" }, { .name = "h", .host = true } } };
        sim_machine_match(&to, &from, node_of);
        assert_int_equal(node_of[0], 2);
        assert_int_equal(node_of[1], 0); /* the first device */
        assert_int_equal(node_of[2], 0); /* of its name */
        assert_int_equal(node_of[3], 2); /* a host, where there is none without CPUs */
}

/* The same seed, the same cluster; pages are neither lost nor made. */
static void test_cluster(void **state) {
        bool all = getenv("SVMD_ALL") || getenv("SVMD_LONG");

        for (unsigned p = 0; p < _CLUSTER_PATTERNS; p++) {
                struct cluster_args a = { .nodes = all ? 1024 : 64,
                                          .pages = all ? 10000000 : 20000,
                                          .events = all ? 1000000 : 50000,
                                          .pattern = (enum cluster_pattern)p,
                                          .seed = 7,
                                          .profile = policy_profile_default() };
                struct cluster_result r, s;

                cluster_run(&r, &a);
                cluster_run(&s, &a);
                assert_int_equal(r.touches, a.events);
                assert_int_equal(r.checksum, s.checksum);
                assert_int_equal(r.moves, s.moves);
                assert_int_equal(r.evictions, s.evictions);
                assert_true(r.moves > 0 && r.evictions > 0);
                assert_true(r.bytes / a.pages < 64 || a.nodes * a.nodes * 4ull > a.pages);
                a.seed = 8;
                cluster_run(&s, &a);
                assert_true(r.checksum != s.checksum);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_first_touch),       cmocka_unit_test(test_there_and_back),
                cmocka_unit_test(test_link_is_shared),    cmocka_unit_test(test_evicts),
                cmocka_unit_test(test_discard_and_end),   cmocka_unit_test(test_no_room),
                cmocka_unit_test(test_same_again),        cmocka_unit_test(test_recorded),
                cmocka_unit_test(test_nodes_are_matched), cmocka_unit_test(test_cluster),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
