/* Which GPU of a report is which node: by its hardware, by its place where that is not known, and never two of one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "main/cards.h"

enum { SIZE = 1 << 20, SLOT1 = 1 << 8, SLOT2 = 2 << 8, SLOT3 = 3 << 8 };

static struct machine m;
static struct kfd_report r;
static struct cards cards;

static void gpu(uint64_t unique, uint32_t id, uint32_t location) {
        r.nodes[r.nodes_count++] =
                (struct kfd_node){ .gpu = true, .bytes = SIZE, .id = id, .unique = unique, .location = location };
}

static void node(uint64_t unique, uint32_t id, uint32_t location, uint32_t number) {
        struct node_desc *n = machine_add(&m);

        assert_non_null(n);
        n->kind = NODE_KFD;
        n->found = true;
        n->capacity = SIZE;
        n->number = number;
        n->card = (struct card){ .unique = unique, .id = id, .location = location };
}

/* Of nodes 0 to 2; -1: it is not there. */
static void must_be(int a, int b, int c) {
        const int want[] = { a, b, c };
        unsigned taken = 0;

        cards_find(&cards, &m, &r);
        for (uint32_t i = 0; i < m.count && i < 3; i++)
                assert_int_equal(cards.at[i], want[i] < 0 ? CARDS_NONE : want[i]);
        for (uint32_t i = 0; i < KFD_NODES_MAX; i++)
                taken += cards.taken[i];
        assert_int_equal(taken, (a >= 0) + (b >= 0) + (c >= 0));
        for (uint32_t i = 0; i < m.count && i < 3; i++)
                assert_true(want[i] < 0 || cards.taken[want[i]]);
}

static void must_say(const char *words) {
        char why[160];

        cards_why_gone(&m.nodes[0], &r, why, sizeof(why));
        assert_string_equal(why, words);
}

static int begin(void **state) {
        memset(&r, 0, sizeof(r));
        r.nodes_count = 1; /* a CPU */
        return 0;
}

static int end(void **state) {
        machine_fini(&m);
        return 0;
}

/* Slots are named by the driver's number, hardware by its own. */
static void test_hardware(void **state) {
        node(0xa, 11, SLOT1, 1);
        node(0xb, 12, SLOT2, 2);
        gpu(0xb, 12, SLOT2);
        must_be(-1, 1, -1);
        must_say("AMD's driver has it no longer");
        gpu(0xa, 13, SLOT3);
        must_be(2, 1, -1);
        r.nodes_count = 1;
        gpu(0xb, 11, SLOT1);
        gpu(0xa, 12, SLOT2);
        must_be(2, 1, -1);
        r.nodes_count = 1;
        gpu(0xc, 11, SLOT1);
        gpu(0xb, 12, SLOT2);
        must_be(-1, 2, -1);
        must_say("AMD's driver has it no longer: another GPU is in its place, 0000:01:00.0");
}

/* Those without a number of their own are what is in their place. */
static void test_places(void **state) {
        node(0, 11, SLOT1, 1);
        node(0, 12, SLOT2, 2);
        gpu(0, 12, SLOT2);
        must_be(-1, 1, -1);
        gpu(0, 13, SLOT3);
        must_be(-1, 1, -1);
        must_say("AMD's driver has it no longer");
        gpu(0, 14, SLOT1); /* another model */
        must_be(-1, 1, -1);
        must_say("AMD's driver has it no longer: another GPU is in its place, 0000:01:00.0");
        gpu(0, 11, SLOT1);
        must_be(4, 1, -1);
        r.nodes[4].domain = 1;
        must_be(-1, 1, -1);
}

/* One has a number of its own and the other one of that place has not. */
static void test_one_number(void **state) {
        node(0xa, 11, SLOT1, 1);
        node(0, 12, SLOT2, 2);
        gpu(0, 11, SLOT1);
        gpu(0xa, 12, SLOT2);
        must_be(2, -1, -1);
}

/* Partitions of one GPU have its number, and are told apart by their functions or the upper bits. */
static void test_partitions(void **state) {
        node(0xa, 11, SLOT1, 1);
        node(0xa, 12, SLOT1 | 1, 2);
        node(0xa, 13, SLOT1 | 1u << 28, 3);
        gpu(0xa, 23, SLOT2 | 1u << 28);
        gpu(0xa, 22, SLOT2 | 1);
        gpu(0xa, 21, SLOT2);
        must_be(3, 2, 1);
        gpu(0xa, 12, SLOT1 | 1);
        must_be(3, 4, 1);
}

/* Firmware that gives two GPUs one number: what is in its old place comes first, and none is two nodes. */
static void test_twins(void **state) {
        node(0xa, 11, SLOT1, 1);
        node(0xa, 12, SLOT2, 2);
        gpu(0xa, 12, SLOT2);
        must_be(-1, 1, -1);
        gpu(0xa, 13, SLOT3);
        must_be(2, 1, -1);
}

static void test_size(void **state) {
        node(0xa, 11, SLOT1, 1);
        gpu(0xa, 21, SLOT1);
        r.nodes[1].bytes = SIZE / 4;
        must_be(-1, -1, -1);
        must_say("AMD's driver has it with memory of another size: its partitions were changed");
        r.nodes[1].bytes = SIZE + 4095;
        must_be(1, -1, -1);
}

/* Of an older svmd, which noted no hardware. */
static void test_unknown(void **state) {
        node(0, 0, 0, 1);
        node(0xb, 12, SLOT2, 2);
        gpu(0xb, 12, SLOT2); /* that place is another one's now */
        must_be(-1, 1, -1);
        must_say("AMD's driver has it no longer");
        r.nodes_count = 1;
        gpu(0xa, 11, SLOT1);
        gpu(0xb, 12, SLOT2);
        must_be(1, 2, -1);
}

/* Neither a CPU, nor what was configured, nor another driver's. */
static void test_others(void **state) {
        gpu(0, 11, SLOT1);
        node(0, 11, SLOT1, 1);
        m.nodes[0].found = false;
        must_be(-1, -1, -1);
        m.nodes[0].found = true;
        m.nodes[0].kind = NODE_DRM;
        must_be(-1, -1, -1);
        m.nodes[0].kind = NODE_KFD;
        r.nodes[1].gpu = false;
        must_be(-1, -1, -1);
        must_say("AMD's driver has it no longer");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_hardware, begin, end),
                cmocka_unit_test_setup_teardown(test_places, begin, end),
                cmocka_unit_test_setup_teardown(test_one_number, begin, end),
                cmocka_unit_test_setup_teardown(test_partitions, begin, end),
                cmocka_unit_test_setup_teardown(test_twins, begin, end),
                cmocka_unit_test_setup_teardown(test_size, begin, end),
                cmocka_unit_test_setup_teardown(test_unknown, begin, end),
                cmocka_unit_test_setup_teardown(test_others, begin, end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
