/*
 * What bounces: hand-made courses of events, and random ones against a naive model that keeps every event.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "policy/policy.h"

/* A host and four devices: A and B are linked, C reaches the host only, D nothing and nobody it. */
enum { HOST, A, B, C, D, COUNT };
static const uint32_t from_host[COUNT] = { 50, 16, 16, 16, 0 }, from_a[COUNT] = { 16, 900, 64, 0, 0 };
static const uint32_t from_b[COUNT] = { 16, 64, 900, 0, 0 }, from_c[COUNT] = { 16, 0, 0, 900, 0 };
static const uint32_t from_d[COUNT] = { 0, 0, 0, 0, 900 };
static const struct policy_node nodes[COUNT] = {
        [HOST] = { .host = true, .online = true, .bandwidth = from_host },
        [A] = { .faults = true, .online = true, .bandwidth = from_a },
        [B] = { .faults = true, .online = true, .bandwidth = from_b },
        [C] = { .faults = true, .online = true, .bandwidth = from_c },
        [D] = { .faults = true, .online = true, .bandwidth = from_d },
};
static const struct policy_machine machine = { nodes, COUNT };
static const uint64_t us = 1000, ms = 1000 * 1000;

static struct policy_profile profile;
static struct policy_thrash thrash;
static struct policy_granule granule;
static uint64_t now, until;

static int setup(void **state) {
        profile = *policy_profile_default();
        profile.lapse_us = 1000;
        profile.bounces = 3;
        profile.nap_us = 500;
        profile.naps = 2;
        profile.pin_ms = 300;
        profile.epoch_ms = 1000;
        thrash = (struct policy_thrash){ 0 };
        granule = (struct policy_granule){ .where = HOST, .bytes = 4096 };
        now = 5000 * ms;
        return 0;
}

/* A touch by the accessor, so long after what was last; what is not held back has moved when it is answered. */
static enum policy_cure touch(uint32_t accessor, uint64_t after_ns) {
        enum policy_cure cure;

        now += after_ns;
        cure = policy_thrash(&machine, &profile, &thrash, &granule, accessor, now, &until);
        if (cure != POLICY_STAY) {
                granule.where = cure == POLICY_HOST ? (uint32_t)HOST : accessor;
                granule.moved_ns = cure == POLICY_NAP ? until : now;
        }
        if (cure == POLICY_NAP)
                now = until;
        return cure;
}

static void test_device_and_cpu(void **state) {
        assert_int_equal(touch(A, 0), POLICY_LET);
        assert_int_equal(touch(HOST, 999 * us), POLICY_LET);
        assert_int_equal(touch(A, 999 * us), POLICY_LET);
        assert_int_equal(thrash.bounces, 2);
        assert_int_equal(touch(HOST, 999 * us), POLICY_HOST);
        assert_true(policy_pinned(&thrash, now) && policy_pinned(&thrash, now + 300 * ms - 1));
        assert_false(policy_pinned(&thrash, now + 300 * ms));
        assert_int_equal(touch(A, 100 * us), POLICY_STAY);
        assert_int_equal(touch(B, 299 * ms), POLICY_STAY);
        /* After that one move, and then it is pinned again. */
        assert_int_equal(touch(A, ms), POLICY_LET);
        assert_int_equal(touch(HOST, 10 * us), POLICY_HOST);
}

static void test_slow(void **state) {
        touch(A, 0);
        for (unsigned i = 0; i < 20; i++)
                assert_int_equal(touch(i % 2 ? A : HOST, 1000 * us), POLICY_LET);
        assert_int_equal(thrash.bounces, 0);
}

static void test_linked(void **state) {
        touch(A, 0);
        touch(B, 10 * us);
        touch(A, 10 * us);
        assert_int_equal(touch(B, 10 * us), POLICY_STAY);
        assert_int_equal(granule.where, A);
        assert_int_equal(touch(C, 10 * us), POLICY_HOST); /* reaches the host, as A does */
        assert_int_equal(touch(B, 10 * us), POLICY_STAY);
        assert_int_equal(touch(D, 10 * us), POLICY_LET); /* reaches neither */
}

static void test_naps(void **state) {
        touch(A, 0);
        touch(C, 10 * us);
        touch(A, 10 * us);
        assert_int_equal(touch(C, 10 * us), POLICY_NAP);
        assert_int_equal(until, 5000 * ms + 20 * us + 500 * us);
        assert_int_equal(touch(A, 10 * us), POLICY_NAP);
        assert_int_equal(touch(C, 10 * us), POLICY_HOST);
        assert_int_equal(thrash.naps, 0);
}

/* No memory that both reach: naps, and none for what has been there that long. */
static void test_nothing_helps(void **state) {
        touch(A, 0);
        touch(D, 10 * us);
        touch(A, 10 * us);
        for (unsigned i = 0; i < 600; i++)
                assert_int_equal(touch(i % 2 ? A : D, 10 * us), POLICY_NAP);
        assert_int_equal(touch(D, 500 * us), POLICY_LET);
        assert_int_equal(thrash.naps, UINT8_MAX);
}

static void test_epoch(void **state) {
        touch(A, 0);
        touch(HOST, 10 * us);
        touch(A, 10 * us);
        granule.moved_ns = now += 1000 * ms;
        assert_int_equal(touch(HOST, 10 * us), POLICY_LET);
        assert_int_equal(thrash.bounces, 1);
}

static void test_no_pins(void **state) {
        profile.pin_ms = 0;
        touch(A, 0);
        touch(B, 10 * us);
        touch(A, 10 * us);
        for (unsigned i = 0; i < 20; i++)
                assert_int_equal(touch(i % 2 ? A : B, 10 * us), POLICY_NAP);
}

/* ---- against a model ---- */

static uint64_t draw(uint64_t bound) {
        return (uint64_t)random() % bound;
}

struct model {
        uint64_t bounce[4096]; /* the times of all bounces */
        unsigned count, naps;
        uint64_t pinned_until;
};

/* Bounces up to the last one, each less than an epoch before the next. */
static unsigned in_a_row(const struct model *m, uint64_t at) {
        unsigned n = 0;

        for (unsigned i = m->count; i-- > 0; at = m->bounce[i], n++)
                if (at - m->bounce[i] >= profile.epoch_ms * ms)
                        break;
        return n;
}

static bool link_between(uint32_t from, uint32_t to) {
        if (from == HOST)
                return to == HOST;
        return nodes[from].bandwidth[to] != 0;
}

static enum policy_cure expected(struct model *m, uint32_t accessor, uint64_t *ret_until) {
        uint32_t where = granule.where;
        bool host = link_between(where, HOST) && link_between(accessor, HOST);
        bool bounce = granule.moved_ns && now < granule.moved_ns + profile.lapse_us * us;

        if (now < m->pinned_until)
                return link_between(accessor, where) ? POLICY_STAY : host ? POLICY_HOST : POLICY_LET;
        if (in_a_row(m, now) == 0)
                m->naps = 0;
        if (!bounce)
                return POLICY_LET;
        m->bounce[m->count++] = now;
        if (in_a_row(m, now) < profile.bounces)
                return POLICY_LET;
        if (profile.pin_ms &&
            (link_between(accessor, where) || (host && (accessor == HOST || m->naps >= profile.naps)))) {
                m->pinned_until = now + profile.pin_ms * ms;
                m->naps = 0;
                return link_between(accessor, where) ? POLICY_STAY : POLICY_HOST;
        }
        if (now >= granule.moved_ns + profile.nap_us * us)
                return POLICY_LET;
        m->naps++;
        *ret_until = granule.moved_ns + profile.nap_us * us;
        return POLICY_NAP;
}

static void test_random(void **state) {
        enum { COURSES = 300, EVENTS = 1000 };
        unsigned seen[4] = { 0 };

        for (unsigned c = 0; c < COURSES; c++) {
                static struct model m;

                memset(&m, 0, sizeof(m));
                setup(NULL);
                profile.lapse_us = (uint32_t)(1 + draw(2000));
                profile.bounces = (uint32_t)(1 + draw(6));
                profile.nap_us = (uint32_t)draw(2000);
                profile.naps = (uint32_t)draw(4);
                profile.pin_ms = (uint32_t)draw(20);
                profile.epoch_ms = (uint32_t)(1 + draw(30));
                for (unsigned i = 0; i < EVENTS; i++) {
                        uint32_t accessor = (uint32_t)draw(draw(2) ? 3 : COUNT);
                        uint64_t model_until = 0, after = draw(10) ? draw(1500) * us : draw(40) * ms;
                        enum policy_cure model_cure, cure;

                        if (accessor == granule.where)
                                continue;
                        now += after;
                        model_cure = expected(&m, accessor, &model_until);
                        cure = touch(accessor, 0);
                        assert_int_equal(cure, model_cure);
                        if (cure == POLICY_NAP)
                                assert_int_equal(until, model_until);
                        assert_int_equal(thrash.until_ns > now, m.pinned_until > now);
                        seen[cure]++;
                }
        }
        for (unsigned i = 0; i < 4; i++)
                assert_true(seen[i] > 100);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_device_and_cpu, setup), cmocka_unit_test_setup(test_slow, setup),
                cmocka_unit_test_setup(test_linked, setup),         cmocka_unit_test_setup(test_naps, setup),
                cmocka_unit_test_setup(test_nothing_helps, setup),  cmocka_unit_test_setup(test_epoch, setup),
                cmocka_unit_test_setup(test_no_pins, setup),        cmocka_unit_test(test_random),
        };
        const char *s = getenv("SVMD_SEED");
        unsigned seed = s ? (unsigned)strtoul(s, NULL, 0) : (unsigned)time(NULL);

        printf("SVMD_SEED=%u\n", seed);
        srandom(seed);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
