/* Recordings as bytes: what was packed is read again, and nothing else is. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "proto/trace.h"

enum { ROOM = 64 * 1024 };

static uint8_t file[ROOM];
static size_t size;
static uint64_t last;

static void begin(const char *partition) {
        struct trace_header h = { .started_ns = 1234567890123456789ull, .faults = true };

        snprintf(h.partition, sizeof(h.partition), "%s", partition);
        trace_pack_header(&h, file);
        size = TRACE_HEADER;
        last = 0;
}

static void add(const struct trace_event *e) {
        assert_true(size + (TRACE_UNITS + 1) * TRACE_UNIT <= ROOM);
        size += trace_pack(e, &last, file + size);
}

static void add_node(uint32_t node, unsigned flags, const char *name) {
        struct trace_event e = { .type = TRACE_NODE, .node = node, .flags = flags, .bytes = 1 << 30, .value = 7 };

        snprintf(e.name, sizeof(e.name), "%s", name);
        add(&e);
}

static void add_range(uint32_t range, uint32_t count) {
        add(&(struct trace_event){ .type = TRACE_RANGE, .range = range, .granule = 65536, .count = count, .group = 1 });
}

static void add_machine(void) {
        begin("train");
        add_node(0, TRACE_HOST | TRACE_FAULTS, "host0");
        add_node(1, TRACE_FAULTS, "gpu0");
        add(&(struct trace_event){ .type = TRACE_LINK, .node = 0, .first = 1, .count = 32000, .value = 20 });
        add_range(0, 100);
}

/* ---- what was packed is read again ---- */

static const struct trace_event every[] = {
        { .type = TRACE_LIMIT, .group = 1, .node = 1, .bytes = UINT64_MAX - 1 },
        { .type = TRACE_LIES, .range = 0, .first = 3, .count = 97, .node = 1 },
        { .type = TRACE_FAULT, .range = 0, .first = 99, .node = 65534, .flags = TRACE_WRITE | TRACE_MINOR, .time = 5 },
        { .type = TRACE_USE, .range = 0, .node = 1, .flags = TRACE_MISSED, .time = 4294967300 },
        { .type = TRACE_MIGRATE, .range = 0, .first = 1, .count = 2, .node = 1, .flags = 4, .time = 4294967300 },
        { .type = TRACE_EVICT, .range = 0, .first = 1, .count = 2, .time = 4294967301 },
        { .type = TRACE_DISCARD, .range = 0, .first = 1, .count = 2, .time = 4294967301 },
        { .type = TRACE_PIN, .range = 0, .count = 100, .time = 1ull << 40 },
        { .type = TRACE_UNPIN, .range = 0, .count = 100, .time = 1ull << 40 },
        { .type = TRACE_ADVISE,
          .range = 0,
          .first = 8,
          .count = 8,
          .flags = TRACE_PREFERRED | TRACE_PINNED,
          .preferred = 2,
          .granularity = 2 << 20,
          .on = TRACE_PINNED,
          .accessed_by = 1ull << 63,
          .time = 1ull << 40 },
        { .type = TRACE_CAPACITY, .node = 1, .bytes = 4096, .time = 1ull << 40 },
        { .type = TRACE_MOVED,
          .range = 0,
          .first = 7,
          .count = 1,
          .from = TRACE_NOWHERE,
          .node = 0,
          .flags = 3,
          .time = 1ull << 40 },
        { .type = TRACE_MOVED,
          .range = 0,
          .first = 7,
          .count = 1,
          .from = 1,
          .node = TRACE_NOWHERE,
          .time = 1ull << 41 },
        { .type = TRACE_DROPPED, .value = 1ull << 60, .time = 1ull << 41 },
        { .type = TRACE_RANGE_END, .range = 0, .time = 1ull << 41 },
        { .type = TRACE_END, .flags = TRACE_FAILED, .first = ENOSPC, .time = 1ull << 41 },
};
enum { EVERY = sizeof(every) / sizeof(every[0]) };

static void same(const struct trace_event *a, const struct trace_event *b) {
        assert_int_equal(a->type, b->type);
        assert_int_equal(a->flags, b->flags);
        assert_int_equal(a->time, b->time);
        assert_int_equal(a->node, b->node);
        assert_int_equal(a->range, b->range);
        assert_int_equal(a->first, b->first);
        assert_int_equal(a->from, b->from);
        assert_int_equal(a->group, b->group);
        assert_int_equal(a->bytes, b->bytes);
        assert_int_equal(a->value, b->value);
        assert_int_equal(a->preferred, b->preferred);
        assert_int_equal(a->granularity, b->granularity);
        assert_int_equal(a->on, b->on);
        assert_int_equal(a->accessed_by, b->accessed_by);
}

static void add_every(void) {
        add_machine();
        for (unsigned i = 0; i < EVERY; i++)
                add(&every[i]);
}

static void test_round_trip(void **state) {
        struct trace_reader t;
        struct trace_event e;

        add_every();
        assert_int_equal(trace_whole(file, size), size);
        assert_int_equal(trace_open(&t, file, size), 0);
        assert_string_equal(t.header.partition, "train");
        assert_true(t.header.faults);
        assert_int_equal(t.header.started_ns, 1234567890123456789ull);
        assert_int_equal(trace_next(&t, &e), 1);
        assert_string_equal(e.name, "host0");
        assert_int_equal(e.flags, TRACE_HOST | TRACE_FAULTS);
        assert_int_equal(e.value, 7);
        assert_int_equal(trace_next(&t, &e), 1);
        assert_int_equal(trace_next(&t, &e), 1);
        assert_int_equal(e.count, 32000);
        assert_int_equal(e.value, 20);
        assert_int_equal(trace_next(&t, &e), 1);
        assert_int_equal(e.granule, 65536);
        assert_int_equal(e.count, 100);
        for (unsigned i = 0; i < EVERY; i++) {
                assert_int_equal(trace_next(&t, &e), 1);
                same(&e, &every[i]);
        }
        assert_true(t.ended);
        assert_int_equal(trace_next(&t, &e), 0);
        trace_close(&t);
}

/* ---- nothing else is ---- */

static int read_all(struct trace_reader *t) {
        struct trace_event e;
        int k = trace_open(t, file, size);

        while (!k && (k = trace_next(t, &e)) == 1)
                k = 0;
        return k;
}

static void refused(const char *why) {
        struct trace_reader t;

        assert_int_equal(read_all(&t), -EBADMSG);
        if (!strstr(t.why, why))
                fail_msg("'%s' is not in '%s'", why, t.why);
        trace_close(&t);
}

static void refused_event(const struct trace_event *e, const char *why) {
        add_machine();
        add(e);
        refused(why);
}

/* One byte of the last record is another one. */
static void refused_byte(const struct trace_event *e, size_t at, uint8_t byte, const char *why) {
        size_t before;

        add_machine();
        before = size;
        add(e);
        file[before + at] = byte;
        refused(why);
}

static void test_header(void **state) {
        begin("");
        size = 7;
        refused("offset 0: expected \"svmdtrc\"");
        size = 95;
        refused("offset 95: expected a header of 96 bytes");
        size = TRACE_HEADER;
        file[8] = 2;
        refused("offset 8: expected version 1, not 2");
        begin("");
        file[12] = 2;
        refused("offset 12");
        begin("");
        file[24] = 1;
        refused("offset 24");
        begin("");
        file[95] = 'x';
        refused("offset 32");
        begin("");
        file[0] = 'S';
        refused("offset 0");
}

static void test_malformed(void **state) {
        struct trace_event fault = { .type = TRACE_FAULT }, evict = { .type = TRACE_EVICT, .count = 1 };
        struct trace_event advise = { .type = TRACE_ADVISE, .count = 1 }, end = { .type = TRACE_END };

        refused_event(&(struct trace_event){ .type = TRACE_NODE, .node = 2, .name = "late" }, "no node after");
        refused_event(&(struct trace_event){ .type = TRACE_RANGE, .range = 2, .granule = 4096, .count = 1 }, "range 1");
        refused_event(&(struct trace_event){ .type = TRACE_RANGE, .range = 1, .granule = 8192, .count = 1 },
                      "granules of");
        refused_event(&(struct trace_event){ .type = TRACE_RANGE, .range = 1, .granule = 4096 }, "at least one");
        refused_event(&(struct trace_event){ .type = TRACE_FAULT, .range = 1 }, "a range that was declared");
        refused_event(&(struct trace_event){ .type = TRACE_FAULT, .first = 100 }, "which has 100");
        refused_event(&(struct trace_event){ .type = TRACE_USE, .node = 2 }, "one of the 2 nodes");
        refused_event(&(struct trace_event){ .type = TRACE_USE, .node = TRACE_NOWHERE }, "one of the 2 nodes");
        refused_event(&(struct trace_event){ .type = TRACE_EVICT, .first = 99, .count = 2 }, "1 to 1 granules");
        refused_event(&(struct trace_event){ .type = TRACE_EVICT }, "1 to 100 granules");
        refused_event(&(struct trace_event){ .type = TRACE_LIMIT, .bytes = 1 }, "a group");
        refused_event(&(struct trace_event){ .type = TRACE_MOVED, .count = 1, .from = 9 }, "a node that was declared");
        refused_event(&(struct trace_event){ .type = TRACE_ADVISE, .count = 1, .preferred = 3 }, "a node plus one");
        refused_byte(&fault, 0, 0, "a type of 1 to");
        refused_byte(&fault, 0, _TRACE_TYPES, "a type of 1 to");
        refused_byte(&fault, 1, 8, "other flags of a fault");
        refused_byte(&evict, 2, 1, "offset 290: expected 0");
        refused_byte(&evict, 31, 1, "zeroes");
        refused_byte(&advise, 28, 1, "no flags but");
        refused_byte(&advise, 47, 1, "zeroes");
        refused_byte(&end, 1, _TRACE_ENDS, "other flags of");
        add_machine();
        add(&end);
        add(&fault);
        refused("nothing behind the end record");
        add_machine();
        add(&(struct trace_event){ .type = TRACE_RANGE_END });
        add(&fault);
        refused("has not ended");
}

/* Cut anywhere, it is whole up to there or said to be cut; and what is whole of it is found. */
static void test_cut(void **state) {
        size_t whole = TRACE_HEADER, all;

        add_every();
        all = size;
        for (size_t at = TRACE_HEADER; at < all; at++) {
                struct trace_reader t;
                int k;

                if (at == whole + trace_record_size(file + whole))
                        whole = at;
                size = at;
                k = read_all(&t);
                assert_int_equal(k, at == whole ? 0 : -EBADMSG);
                if (k)
                        assert_non_null(strstr(t.why, "a whole"));
                trace_close(&t);
                assert_int_equal(trace_whole(file, at), whole);
        }
        assert_int_equal(trace_whole(file, TRACE_HEADER - 1), 0);
}

/* Any byte may be any other: it is read or refused, and what is read is sound. */
static void test_flipped(void **state) {
        unsigned seed = getenv("SVMD_SEED") ? (unsigned)atoi(getenv("SVMD_SEED")) : (unsigned)time(NULL);

        print_message("seed %u\n", seed);
        srand(seed);
        for (unsigned i = 0; i < 20000; i++) {
                struct trace_reader t;
                struct trace_event e;
                int k;

                add_every();
                for (int n = 1 + rand() % 3; n; n--)
                        file[TRACE_HEADER + (size_t)rand() % (size - TRACE_HEADER)] = (uint8_t)rand();
                k = trace_open(&t, file, size);
                while (!k && (k = trace_next(&t, &e)) == 1) {
                        k = 0;
                        assert_true(e.type != TRACE_USE || e.node < t.nodes);
                        if (e.type >= TRACE_FAULT && e.type <= TRACE_ADVISE)
                                assert_true(e.range < t.ranges_count && e.first + e.count <= t.ranges[e.range].count);
                }
                assert_true(k == 0 || (k == -EBADMSG && strstr(t.why, "offset ")));
                trace_close(&t);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_round_trip), cmocka_unit_test(test_header),  cmocka_unit_test(test_malformed),
                cmocka_unit_test(test_cut),        cmocka_unit_test(test_flipped),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
