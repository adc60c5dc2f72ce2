/* What users may have, all their sessions together: descriptors of svmd's; and what a partition's processes may not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/partition.h"
#include "core/setting.h"
#include "expect.h"
#include "ranges.h"

#define GIB (1ull << 30)

static struct world w;
static struct client admin, a, same, b;

static void come(struct client *c, uint32_t uid) {
        client_open(&w, c, uid, uid, false);
        client_greet(c, "one");
}

static int set_up(void **state) {
        ops_reset();
        world_open(&w, 0);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_partition("one", 16 * GIB, "", 100, 0666));
        come(&a, 100);
        come(&same, 100);
        come(&b, 101);
        w.svc->options.max_fds_per_uid = 5;
        return 0;
}

static int tear_down(void **state) {
        client_close(&a);
        client_close(&b);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
        return 0;
}

static Svmd__V1__Op *shareable(void) {
        return mk_create(HOST0, 4096, SVMD__V1__MEM_FLAG__MEM_SHAREABLE);
}

/* Root of a container is one of its users; root of the host has no bound. */
static void test_descriptors_of_a_container(void **state) {
        struct service_peer peer = { .pid = 7, .partition = partition_find(&w.svc->state, "one") };
        struct client inside[2];

        for (unsigned i = 0; i < 2; i++) {
                peer.uid = i ? 100 : 0;
                assert_int_equal(client_open_as(&w, &inside[i], &peer), 0);
                client_greet(&inside[i], "");
        }
        for (unsigned i = 0; i < 5; i++)
                must(&inside[i % 2], shareable());
        must_not(&inside[0], shareable(), SVMD_STATUS_QUOTA, "max-fds-per-uid");
        must_not(&inside[1], shareable(), SVMD_STATUS_QUOTA, "max-fds-per-uid");
        must(&a, shareable());
        client_close(&inside[0]);
        client_close(&inside[1]);
        client_close(&same);
}

static void test_descriptors_of_all_sessions_of_a_user(void **state) {
        uint64_t first = must(&a, shareable())->id;

        for (unsigned i = 0; i < 2; i++)
                must(&a, shareable());
        for (unsigned i = 0; i < 2; i++)
                must(&same, shareable());
        must_not(&a, shareable(), SVMD_STATUS_QUOTA, "max-fds-per-uid");
        must_not(&same, shareable(), SVMD_STATUS_QUOTA, "max-fds-per-uid");
        must(&b, shareable());
        must(&a, mk_release(first));
        world_settle(&w);
        must(&same, shareable());
        must_not(&a, shareable(), SVMD_STATUS_QUOTA, "max-fds-per-uid");
        client_close(&same);
        world_settle(&w);
        for (unsigned i = 0; i < 3; i++)
                must(&a, shareable());
        must_not(&a, shareable(), SVMD_STATUS_QUOTA, "max-fds-per-uid");
}

/* Memory of a device lies in svmd's own file, and many small host ones in one. */
static void test_what_takes_none(void **state) {
        for (unsigned i = 0; i < 20; i++) {
                must(&a, mk_create(GPU0, 4096, 0));
                must(&a, mk_create(HOST0, 4096, 0));
        }
        for (unsigned i = 0; i < 4; i++)
                must(&a, shareable());
        must_not(&a, shareable(), SVMD_STATUS_QUOTA, "max-fds-per-uid");
        client_close(&same);
}

/* What others hold outlives its maker's sessions, and counts as his. */
static void test_memory_that_outlives_its_maker(void **state) {
        uint64_t m = must(&same, shareable())->id;

        must(&same, mk_export(m, "kept", 0666, 0));
        must(&b, mk_import("kept", 3));
        client_close(&same);
        world_settle(&w);
        for (unsigned i = 0; i < 4; i++)
                must(&a, shareable());
        must_not(&a, shareable(), SVMD_STATUS_QUOTA, "max-fds-per-uid");
        client_close(&b);
        world_settle(&w);
        must(&a, shareable());
        come(&b, 101);
}

static void test_a_partition_without_userfaultfds(void **state) {
        const struct setting off[] = { { .kind = SETTING_PARTITION_UFFD, .name = "*", .on = true },
                                       { .kind = SETTING_PARTITION_UFFD, .name = "one", .on = false } };

        w.svc->options.settings = off;
        w.svc->options.settings_count = 2;
        must_not(&a, op_make(SVMD__V1__OP__OP_UFFD_DEVICE), SVMD_STATUS_DENIED, "partition-userfaultfd");
        w.svc->options.settings_count = 1;
        must(&a, op_make(SVMD__V1__OP__OP_UFFD_DEVICE));
        w.svc->options.settings = NULL;
        w.svc->options.settings_count = 0;
        client_close(&same);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_descriptors_of_all_sessions_of_a_user),
                TEST(test_descriptors_of_a_container),
                TEST(test_what_takes_none),
                TEST(test_memory_that_outlives_its_maker),
                TEST(test_a_partition_without_userfaultfds),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
