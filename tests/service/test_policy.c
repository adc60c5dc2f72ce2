/*
 * What is set over the configuration, and the configuration read again: what counts of both, over restarts from the log
 * and from a snapshot, and when memory or the file is missing.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "policy/policy.h"
#include "ranges.h"
#include "service/effects.h"
#include "service/rates.h"

#define PAGE 4096ull

enum {
        POLICY = SVMD__V1__SETTING_KIND__SETTING_POLICY,
        PARTITION_POLICY = SVMD__V1__SETTING_KIND__SETTING_PARTITION_POLICY,
        PARTITION_RATE = SVMD__V1__SETTING_KIND__SETTING_PARTITION_RATE,
        LINK_RATE = SVMD__V1__SETTING_KIND__SETTING_LINK_RATE,
};

static struct world w;
static struct client admin, a;

static Svmd__V1__Result *must(struct client *x, Svmd__V1__Op *op) {
        Svmd__V1__Result *r = client_call(x, op);

        if (r->code != 0)
                fail_msg("operation %d: %u %s", (int)op->op_case, r->code, r->text);
        return r;
}

static int set_up(void **state) {
        ops_reset();
        world_open(&w, 0);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_range_partition("one", 4ull << 30, 100, 0666));
        must(&admin, mk_range_partition("two", 4ull << 30, 100, 0666));
        client_open(&w, &a, 100, 100, false);
        client_greet(&a, "one");
        must(&a, mk_range(64 * PAGE, PAGE, "", 0));
        return 0;
}

static int tear_down(void **state) {
        alloc_fail_off();
        client_close(&a);
        client_close(&admin);
        world_settle(&w);
        world_close(&w);
        return 0;
}

/* What the partition goes by: policy and rate, as its row says. */
static void assert_goes_by(const char *partition, const char *policy, uint64_t rate) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_PARTITION_LIST);
        const Svmd__V1__Partition *p;

        op->partition_list->name = (char *)partition;
        p = must(&admin, op)->partitions->partitions[0];
        assert_string_equal(p->policy, policy);
        assert_int_equal(p->rate, rate);
}

static uint64_t link_rate(uint32_t from, uint32_t to) {
        struct managed_flow flow;

        mover_link_flow(w.svc->mover, from, to, &flow);
        return flow.rate;
}

static void restart_twice(void) {
        struct client *all[] = { &admin, &a };

        for (unsigned i = 0; i < 2; i++) {
                struct service *old = world_restart_as_was(&w, all, 2);

                world_bury(old);
                client_close(&admin);
                client_open(&w, &admin, 0, 0, true);
                client_greet(&admin, NULL);
                if (i == 0)
                        assert_int_equal(journal_snapshot(w.svc), 0);
        }
}

static void test_set(void **state) {
        must(&admin, mk_set(POLICY, NULL, NULL, "throughput", 0));
        assert_goes_by("one", "throughput", 0);
        must(&admin, mk_set(PARTITION_POLICY, "one", NULL, "latency", 0));
        must(&admin, mk_set(PARTITION_RATE, "*", NULL, NULL, 1000));
        must(&admin, mk_set(PARTITION_RATE, "two", NULL, NULL, 2000));
        must(&admin, mk_set(LINK_RATE, "gpu1", "host0", NULL, 3000));
        for (unsigned i = 0; i < 2; i++) {
                assert_goes_by("one", "latency", 1000);
                assert_goes_by("two", "throughput", 2000);
                assert_int_equal(link_rate(HOST0, GPU1), 3000);
                restart_twice();
        }
        must(&admin, mk_unset(LINK_RATE, "host0", "gpu1"));
        must(&admin, mk_unset(PARTITION_POLICY, "one", NULL));
        must(&admin, mk_unset(PARTITION_RATE, "two", NULL));
        must(&admin, mk_unset(POLICY, NULL, NULL));
        restart_twice();
        assert_goes_by("one", "balanced", 1000);
        assert_goes_by("two", "balanced", 1000);
        assert_int_equal(link_rate(HOST0, GPU1), 0);
}

/* A later word about the same is in the place of the one before. */
static void test_again(void **state) {
        must(&admin, mk_set(PARTITION_RATE, "one", NULL, NULL, 1));
        must(&admin, mk_set(LINK_RATE, "gpu0", "gpu1", NULL, 1));
        must(&admin, mk_set(LINK_RATE, "gpu1", "gpu0", NULL, 2));
        must(&admin, mk_set(PARTITION_RATE, "one", NULL, NULL, 2));
        assert_int_equal(w.svc->settings.count, 2);
        assert_goes_by("one", "balanced", 2);
        restart_twice();
        assert_int_equal(w.svc->settings.count, 2);
        assert_int_equal(link_rate(GPU0, GPU1), 2);
}

static void test_list(void **state) {
        static struct setting configured[] = { { .kind = SETTING_PARTITION_UFFD, .name = "*" }, /* no message has it */
                                               { .kind = SETTING_PARTITION_RATE, .name = "*", .rate = 7 } };
        const Svmd__V1__PolicyResult *r;
        Svmd__V1__Result *result;
        unsigned seen = 0;

        w.svc->options.settings = configured;
        w.svc->options.settings_count = 2;
        must(&admin, mk_set(PARTITION_POLICY, "one", NULL, "pinned", 0));
        r = must(&admin, mk_policy(0))->policy;
        assert_int_equal(r->n_settings, 3);
        assert_true((int)r->settings[0]->kind == POLICY && !r->settings[0]->set);
        assert_string_equal(r->settings[0]->profile, "balanced");
        assert_true((int)r->settings[1]->kind == PARTITION_RATE && r->settings[1]->rate == 7 && !r->settings[1]->set);
        assert_true(r->settings[2]->set && r->settings[2]->set_ns);
        assert_string_equal(r->settings[2]->profile, "pinned");
        for (unsigned i = 0; i < 100; i++) {
                struct settings_row row = { .setting = { .kind = SETTING_PARTITION_RATE } };

                snprintf(row.setting.name, sizeof(row.setting.name), "p%u", i);
                assert_int_equal(settings_set(w.svc, &row), 0);
        }
        do {
                result = must(&admin, mk_policy(seen));
                seen += (unsigned)result->policy->n_settings;
        } while (result->more);
        assert_int_equal(seen, 103);
        assert_int_equal(must(&admin, mk_policy(200))->policy->n_settings, 0);
        w.svc->options.settings = NULL;
        w.svc->options.settings_count = 0;
}

/* An administrator goes over the configuration, but not with all over one that is named. */
static void test_over_the_configuration(void **state) {
        struct policy_profile pinned = *policy_profile_find("pinned");
        struct setting configured[] = { { .kind = SETTING_PARTITION_POLICY, .name = "one", .profile = &pinned },
                                        { .kind = SETTING_PARTITION_RATE, .name = "*", .rate = 5 } };
        struct service_options o = w.svc->options;

        o.settings = configured;
        o.settings_count = 2;
        o.policy = policy_profile_find("latency");
        o.max_sessions = 60;
        assert_int_equal(service_configure(w.svc, &o), 0);
        assert_int_equal(w.svc->options.max_sessions, 60);
        assert_goes_by("one", "pinned", 5);
        assert_goes_by("two", "latency", 5);
        must(&admin, mk_set(PARTITION_POLICY, "*", NULL, "throughput", 0));
        must(&admin, mk_set(PARTITION_RATE, "*", NULL, NULL, 6));
        assert_goes_by("one", "pinned", 6);
        assert_goes_by("two", "throughput", 6);
        o.settings_count = 0;
        o.policy = NULL;
        assert_int_equal(service_configure(w.svc, &o), 0);
        assert_goes_by("one", "throughput", 6);
        must(&admin, mk_unset(PARTITION_POLICY, "*", NULL));
        must(&admin, mk_unset(PARTITION_RATE, "*", NULL));
        assert_goes_by("two", "balanced", 0);
}

/* A cap on a link that never had one takes memory. */
static void test_no_memory(void **state) {
        struct setting cap = { .kind = SETTING_LINK_RATE, .name = "*", .other = "*", .rate = 9 };
        struct service_options o = w.svc->options;
        unsigned long n = 1;
        int r;

        o.settings = &cap;
        o.settings_count = 1;
        o.policy = policy_profile_find("latency");
        o.max_sessions = 60;
        do {
                alloc_fail_at(n++);
                r = service_configure(w.svc, &o);
                alloc_fail_off();
                if (r == 0)
                        break;
                assert_int_equal(r, -ENOMEM);
                assert_int_equal(w.svc->options.max_sessions, 64);
                assert_goes_by("one", "balanced", 0);
                assert_int_equal(link_rate(HOST0, GPU0), 0);
        } while (n < 100);
        assert_true(n > 2 && n < 100);
        assert_int_equal(link_rate(HOST0, GPU0), 9);
        o.settings_count = 0;
        assert_int_equal(service_configure(w.svc, &o), 0);
}

/* What no svmd writes. */
static void test_replay(void **state) {
        const struct effect_setting right = { .kind = SETTING_PARTITION_POLICY, .name = "one", .profile = "latency" };
        struct effect_setting e[4] = { right, right, right, right };
        char why[128];

        e[0].kind = SETTING_POLICY + 1;
        memset(e[1].name, 'x', sizeof(e[1].name));
        memcpy(e[2].profile, "none", 5);
        memset(e[3].other, 'x', sizeof(e[3].other));
        for (unsigned i = 0; i < 4; i++) {
                why[0] = 0;
                assert_int_equal(settings_replay(w.svc, &e[i], why, sizeof(why)), -EBADMSG);
                assert_true(why[0]);
        }
        assert_int_equal(w.svc->settings.count, 0);
        alloc_fail_at(1);
        assert_int_equal(settings_replay(w.svc, &right, why, sizeof(why)), -ENOMEM);
        alloc_fail_off();
        assert_int_equal(settings_replay(w.svc, &right, why, sizeof(why)), 0);
}

/* ---- reload ---- */

static struct {
        bool bad, no_memory;
        unsigned reads, applied, failed;
} program;

static int reload_read(void *userdata, void **ret, char *why, size_t why_size) {
        program.reads++;
        *ret = &program;
        if (!program.bad)
                return 0;
        snprintf(why, why_size, "/etc/svmd/svmd.conf:3: expected another value");
        return -EINVAL;
}

static int reload(void *userdata, void *read, struct service_reloaded *ret) {
        if (!read || program.no_memory) {
                program.failed++;
                return read ? -ENOMEM : 0;
        }
        program.applied++;
        ret->changed[ret->changed_count++] = "policy";
        ret->restart[ret->restart_count++] = "journal-size";
        ret->restart[ret->restart_count++] = "machine";
        return 0;
}

static void set_hooks(void) {
        memset(&program, 0, sizeof(program));
        w.svc->hooks.reload_read = reload_read;
        w.svc->hooks.reload = reload;
}

static void test_reload(void **state) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_RELOAD);
        const Svmd__V1__ReloadResult *r;
        Svmd__V1__Result *result;

        set_hooks();
        r = must(&admin, op)->reload;
        assert_true(r->n_changed == 1 && r->n_restart == 2);
        assert_string_equal(r->changed[0], "policy");
        assert_string_equal(r->restart[1], "machine");
        program.bad = true;
        result = client_call(&admin, op);
        assert_int_equal(result->code, SVMD_STATUS_INVALID);
        assert_non_null(strstr(result->text, "nothing was changed: /etc/svmd/svmd.conf:3: expected another value"));
        program.bad = false;
        program.no_memory = true;
        assert_int_equal(client_call(&admin, op)->code, SVMD_STATUS_INVALID);
        assert_true(program.reads == 3 && program.applied == 1 && program.failed == 2);
        for (unsigned long n = 1;; n++) {
                unsigned code;

                program.no_memory = false;
                alloc_fail_at(n);
                code = client_call(&admin, op)->code;
                alloc_fail_off();
                if (code == 0)
                        break;
                assert_int_equal(code, SVMD_STATUS_NO_MEMORY);
        }
}

/* A signal's, and one whose session has ended meanwhile. */
static void test_reload_alone(void **state) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_RELOAD);
        struct client x;

        set_hooks();
        service_reload(w.svc);
        world_settle(&w);
        assert_int_equal(program.applied, 1);
        alloc_fail_at(1);
        service_reload(w.svc);
        alloc_fail_off();
        world_settle(&w);
        assert_int_equal(program.reads, 1);
        client_open(&w, &x, 0, 0, true);
        client_greet(&x, NULL);
        assert_int_equal(client_post(&x, SVMD__V1__MODE__BEST_EFFORT, &op, 1), SERVICE_E_LATER);
        client_close(&x);
        world_settle(&w);
        assert_int_equal(program.applied, 2);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_set),       TEST(test_again),  TEST(test_list),   TEST(test_over_the_configuration),
                TEST(test_no_memory), TEST(test_replay), TEST(test_reload), TEST(test_reload_alone),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
