/* What the log says of administration, and of what an administrator looks for: each message is taken with its fields.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/session.h"
#include "harness.h"

#define PAGE SVMD_PAGE

enum { SAID_MAX = 64, BUS = 4000 };

static struct world w;
static struct client admin, user;

static struct said {
        const char *id;
        char text[1024], fields[1024];
} said[SAID_MAX];
static unsigned said_count;

static bool take(const struct message_desc *m, const struct message_field *fields, size_t count, const char *text) {
        struct said *s = &said[said_count < SAID_MAX - 1 ? said_count++ : SAID_MAX - 1];
        size_t n = 0;

        s->id = m->id;
        s->fields[0] = 0;
        snprintf(s->text, sizeof(s->text), "%s", text);
        for (size_t i = 0; i < count; i++) {
                int k = fields[i].text ? snprintf(s->fields + n, sizeof(s->fields) - n, "%s=%s\n", fields[i].name,
                                                  fields[i].text)
                                       : snprintf(s->fields + n, sizeof(s->fields) - n, "%s=%llu\n", fields[i].name,
                                                  (unsigned long long)fields[i].number);

                n += (size_t)k;
                assert_true(n < sizeof(s->fields));
                assert_int_equal(strncmp(fields[i].name, "SVMD_", 5), 0);
        }
        return true;
}

static bool is(const struct said *s, enum message m) {
        return strcmp(s->id, message_desc(m)->id) == 0;
}

/* The only message since the last look. */
static const struct said *only(enum message m) {
        unsigned count = said_count;

        said_count = 0;
        if (count != 1 || !is(&said[0], m))
                fail_msg("%u messages, the first: %s", count, count ? said[0].text : "none");
        return &said[0];
}

static void has(const struct said *s, const char *text) {
        if (!strstr(s->text, text) && !strstr(s->fields, text))
                fail_msg("it does not say %s:\n%s\n%s", text, s->text, s->fields);
}

static int set_up(void **state) {
        struct service_peer me = { .pid = (uint32_t)getpid(), .uid = 100, .gid = 100, .admin = true };

        ops_reset();
        world_open(&w, 0);
        message_set_sink(take);
        assert_int_equal(client_open_as(&w, &admin, &me), 0);
        client_greet(&admin, NULL);
        client_open(&w, &user, 200, 200, false);
        client_greet(&user, NULL);
        said_count = 0;
        return 0;
}

static int tear_down(void **state) {
        client_close(&user);
        client_close(&admin);
        world_settle(&w);
        message_set_sink(NULL);
        world_close(&w);
        return 0;
}

static void test_who_and_what(void **state) {
        const struct said *s;

        assert_int_equal(client_call(&admin, mk_partition("train", 4ull << 30, "", 7, 0640))->code, 0);
        s = only(MESSAGE_CHANGED);
        has(s, "partition_create name=\"train\" size=");
        has(s, "SVMD_OPERATION=partition_create\n");
        has(s, "SVMD_ARGUMENTS=name=\"train\" size=4294967296 uid=7");
        has(s, "SVMD_RESULT=OK\n");
        has(s, "SVMD_ASKER_UID=100\n");
        has(s, "SVMD_ASKER_COMM=service_audit\n");
        has(s, "SVMD_ASKER_CGROUP=/");
        has(s, "SVMD_THROUGH_PID=0\n");
        assert_int_equal(client_call(&admin, mk_limit("train", GPU1, 5 * PAGE))->code, 0);
        has(only(MESSAGE_CHANGED), "partition_set name=\"train\" limits=[{ node=2 max=20480 }]: done; asked by");
}

/* What changes nothing, and what a client does with its own. */
static void test_not_told(void **state) {
        Svmd__V1__Op *op = mk_partition("dry", 4ull << 30, "", 7, 0640);

        assert_int_equal(client_send(&admin, SVMD__V1__MODE__DRY_RUN, &op, 1, NULL, 0)->results[0]->code, 0);
        assert_int_equal(client_call(&admin, op_make(SVMD__V1__OP__OP_PARTITION_LIST))->code, 0);
        assert_int_equal(client_call(&user, op_make(SVMD__V1__OP__OP_MIGRATE))->code, SVMD_STATUS_NOT_ATTACHED);
        assert_int_equal(said_count, 0);
}

/* Whether an administrator changes something with it: it needs the right, or it may name what is not his session's. */
static bool administers(const struct op_row *row) {
        return row->flags & OP_ADMIN ? !(row->flags & OP_READS)
                                     : (row->flags & (OP_CHANGES | OP_STORE)) && !(row->flags & OP_ATTACHED);
}

/* All of those are told but these, which only look, or begin a session. */
static void test_every_operation(void **state) {
        static const unsigned looks[] = { SVMD__V1__OP__OP_MONITOR, SVMD__V1__OP__OP_SESSION_LIST,
                                          SVMD__V1__OP__OP_USAGE,   SVMD__V1__OP__OP_USAGE_HISTORY,
                                          SVMD__V1__OP__OP_DRIFT,   SVMD__V1__OP__OP_TRACE_QUERY,
                                          SVMD__V1__OP__OP_ACT_FOR, SVMD__V1__OP__OP_OBSERVE,
                                          SVMD__V1__OP__OP_ATTACH,  SVMD__V1__OP__OP_NODE_PLAN };

        for (unsigned i = 0; i < 512; i++) {
                const struct op_row *row = op_row(i);
                bool only_looks = false;

                for (unsigned k = 0; k < sizeof(looks) / sizeof(looks[0]); k++)
                        only_looks |= looks[k] == i;
                if (row && administers(row) && !only_looks && !(row->flags & OP_AUDIT))
                        fail_msg("%s changes something, and nobody is told who did", row->name);
        }
}

/* Nobody writes into the log by a name. */
static void test_names_are_quoted(void **state) {
        const struct said *s;

        assert_int_equal(client_call(&admin, mk_partition("a\nsvmd: \"b\" is fine\\", 4ull << 30, "", 7, 0))->code,
                         SVMD_STATUS_NAME);
        s = only(MESSAGE_CHANGE_REFUSED);
        has(s, "name=\"a\\x0asvmd: \\x22b\\x22 is fine\\x5c\"");
        has(s, "SVMD_RESULT=NAME\n");
        assert_null(strchr(s->text, '\n'));
}

/* A client that tries does not fill the log; what was done is always told. */
static void test_refusals_have_a_rate(void **state) {
        for (unsigned i = 0; i < 100; i++)
                assert_int_equal(client_call(&user, mk_partition("mine", 4ull << 30, "", 7, 0))->code,
                                 SVMD_STATUS_DENIED);
        assert_int_equal(said_count, MESSAGE_BURST);
        has(&said[0], "SVMD_RESULT=DENIED\n");
        has(&said[0], "SVMD_ASKER_UID=200\n");
        w.svc->rates.refused.begun_ns -= MESSAGE_PERIOD_NS;
        said_count = 0;
        client_call(&user, mk_partition("mine", 4ull << 30, "", 7, 0));
        has(only(MESSAGE_CHANGE_REFUSED), "(90 more were refused, and not told)");
        for (unsigned i = 0; i < 2 * MESSAGE_BURST; i++)
                assert_int_equal(client_call(&admin, mk_kept_max("none", i))->code, SVMD_STATUS_NO_SUCH);
        said_count = 0;
        for (unsigned i = 0; i < 2 * MESSAGE_BURST; i++) {
                Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_NODE_SET);

                op->node_set->node = GPU0;
                op->node_set->action = i % 2 ? SVMD__V1__NODE_ACTION__NODE_ONLINE : SVMD__V1__NODE_ACTION__NODE_OFFLINE;
                assert_int_equal(client_call(&admin, op)->code, 0);
                has(only(MESSAGE_CHANGED), "node_set node=1 action=NODE_O");
        }
}

/* What was taken back with its request was not done. */
static void test_taken_back(void **state) {
        Svmd__V1__Op *ops[2] = { mk_kept_remove("none", SVMD__V1__KEPT_KIND__KEPT_MEMORY, "x"),
                                 mk_kept_remove("none", SVMD__V1__KEPT_KIND__KEPT_MEMORY, "y") };

        client_send(&admin, SVMD__V1__MODE__ALL_OR_NOTHING, ops, 2, NULL, 0);
        assert_int_equal(said_count, 2);
        assert_true(is(&said[0], MESSAGE_CHANGE_REFUSED) && is(&said[1], MESSAGE_CHANGE_REFUSED));
        has(&said[1], "SVMD_RESULT=ABORTED\n");
}

static Svmd__V1__Op *mk_act_for(uint32_t pid, uint32_t uid) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_ACT_FOR);

        op->act_for->pid = pid;
        op->act_for->uid = uid;
        return op;
}

static void test_act_for(void **state) {
        struct client bus;
        const struct said *s;

        client_open(&w, &bus, BUS, BUS, true);
        client_greet(&bus, NULL);
        assert_int_equal(client_call(&admin, mk_act_for(1, 300))->code, SVMD_STATUS_DENIED);
        assert_int_equal(client_call(&bus, mk_act_for(1, 300))->code, SVMD_STATUS_DENIED);
        w.svc->options.bus_uid = BUS;
        assert_int_equal(client_call(&admin, mk_act_for(1, 300))->code, SVMD_STATUS_DENIED);
        assert_int_equal(client_call(&bus, mk_act_for((uint32_t)getpid(), 300))->code, 0);
        assert_int_equal(said_count, 0);
        assert_int_equal(client_call(&bus, mk_partition("train", 4ull << 30, "", 7, 0640))->code, 0);
        s = only(MESSAGE_CHANGED);
        has(s, "SVMD_ASKER_UID=300\n");
        has(s, "SVMD_ASKER_COMM=service_audit\n");
        has(s, "over D-Bus");
        assert_int_equal(client_call(&bus, mk_act_for(0, 301))->code, 0);
        assert_int_equal(client_call(&bus, mk_delete("train", false))->code, 0);
        has(only(MESSAGE_CHANGED), "SVMD_ASKER_UID=301\n");
        client_close(&bus);
}

/* ---- what happens ---- */

static unsigned count_of(enum message m, const char *field) {
        unsigned n = 0;

        for (unsigned i = 0; i < said_count; i++)
                n += is(&said[i], m) && strstr(said[i].fields, field) != NULL;
        return n;
}

static void test_conditions(void **state) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_MONITOR);
        struct client owner;
        unsigned events;

        op->monitor->on = op->monitor->seldom = true;
        assert_int_equal(client_call(&admin, op)->code, 0);
        assert_int_equal(w.svc->monitors, 0);
        assert_int_equal(w.svc->watchers, 1);
        assert_int_equal(client_call(&admin, mk_partition("one", 4ull << 30, "", 200, 0600))->code, 0);
        assert_int_equal(client_call(&admin, mk_limit("one", HOST0, 8 * PAGE))->code, 0);
        assert_int_equal(client_call(&admin, mk_bound("one", HOST0, SVMD__V1__BOUND__BOUND_HIGH, 2 * PAGE))->code, 0);
        client_open(&w, &owner, 200, 200, false);
        client_greet(&owner, "one");
        said_count = 0;
        events = admin.events_count;

        assert_int_equal(client_call(&owner, mk_create(HOST0, 4 * PAGE, 0))->code, 0);
        while (count_of(MESSAGE_PRESSURE, "SVMD_PARTITION=one\nSVMD_NODE=host0\nSVMD_BYTES=8192\n") == 0)
                service_collect(w.svc);
        for (unsigned i = 0; i < 3 * MESSAGE_BURST; i++)
                assert_int_equal(client_call(&owner, mk_create(HOST0, 8 * PAGE, 0))->code, SVMD_STATUS_LIMIT);
        assert_int_equal(count_of(MESSAGE_LIMIT_REFUSED, "SVMD_BYTES=32768\n"), MESSAGE_BURST);
        op = op_make(SVMD__V1__OP__OP_NODE_SET);
        op->node_set->node = GPU0;
        op->node_set->action = SVMD__V1__NODE_ACTION__NODE_LOST;
        assert_int_equal(client_call(&admin, op)->code, 0);
        assert_int_equal(count_of(MESSAGE_NODE_LOST, "SVMD_NODE=gpu0\n"), 1);
        assert_true(admin.events_count >= events + 3); /* pressure, node-lost, node-offline */

        op = op_make(SVMD__V1__OP__OP_MONITOR);
        op->monitor->on = true;
        assert_int_equal(client_call(&admin, op)->code, 0);
        assert_int_equal(w.svc->monitors, 1);
        assert_int_equal(w.svc->watchers, 1);
        client_close(&owner);
        client_close(&admin);
        assert_int_equal(w.svc->monitors + w.svc->watchers, 0);
        client_open(&w, &admin, 0, 0, true);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_who_and_what, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_not_told, set_up, tear_down),
                cmocka_unit_test(test_every_operation),
                cmocka_unit_test_setup_teardown(test_names_are_quoted, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_refusals_have_a_rate, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_taken_back, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_act_for, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_conditions, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
