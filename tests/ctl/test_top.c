/* `svmd-ctl top` without a terminal: snapshots and keys come in, cells come out. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "ctl.h"
#include "expect.h"
#include "fake.h"
#include "machine.h"
#include "top-draw.h"
#include "top-model.h"
#include "top-snapshot.h"

#define SECOND 1000000000ull

static struct top_row nodes[] = {
        { .id = 0, .name = "host0", .size = 64 * GIB, .used = GIB },
        { .id = 1, .name = "gpu0", .size = 2 * GIB, .used = 2 * GIB },
        { .id = 2, .name = "gpu1", .size = 2 * GIB, .offline = true },
};
static struct top_row partitions[] = {
        { .id = 1, .name = "train", .used = 3 * MIB, .sessions = 2 },
        { .id = 2, .name = "serve", .used = 5 * MIB },
        { .id = 3, .name = "index", .used = MIB },
};
static struct top_row sessions[] = {
        { .id = 7, .name = "loader", .partition = "train", .pid = 77 },
        { .id = 8, .name = "\x1b[2J\xff evil\x01", .partition = "serve", .pid = 78 },
};

static struct top_snapshot snapshot(uint64_t at_s) {
        return (struct top_snapshot){ .at_ns = at_s * SECOND,
                                      .version = "1.2.3",
                                      .uptime_ms = 61000,
                                      .count = { COUNT(nodes), COUNT(partitions), COUNT(sessions) },
                                      .rows = { nodes, partitions, sessions } };
}

static void take(struct top_model *m, uint64_t at_s) {
        struct top_snapshot s = snapshot(at_s);

        top_take(m, &s);
}

/* The screen as lines of text. */
static char *drawn(struct top_model *m, unsigned lines, unsigned columns, bool utf8, uint64_t now_ns) {
        struct top_screen s;
        static char text[65536];
        char *at = text;

        assert_true(top_screen_init(&s, lines, columns, utf8));
        top_draw(m, &s, now_ns);
        for (unsigned i = 0; i < lines * columns; i++) {
                const struct top_cell *cell = &s.cells[i];
                size_t length = strlen(cell->text);

                assert_true(length >= 1 && length <= 4);
                assert_true(cell->style < _TOP_STYLES);
                assert_true(length > 1 || (*cell->text >= ' ' && *cell->text < 0x7f));
                assert_true(length == 1 || utf8);
                memcpy(at, cell->text, length);
                at += length;
                if (i % columns == columns - 1)
                        *at++ = '\n';
        }
        *at = '\0';
        top_screen_fini(&s);
        return text;
}

static void shows(struct top_model *m, const char *part) {
        const char *text = drawn(m, 24, 100, false, 10 * SECOND);

        if (!strstr(text, part))
                fail_msg("there is no '%s' in\n%s", part, text);
}

static void order(struct top_model *m, const char *first, const char *second) {
        const char *text = drawn(m, 24, 100, false, 10 * SECOND), *a = strstr(text, first), *b = strstr(text, second);

        if (!a || !b || a > b)
                fail_msg("'%s' does not come before '%s' in\n%s", first, second, text);
}

static void press(struct top_model *m, const char *keys) {
        for (; *keys; keys++)
                assert_int_equal(top_key(m, (unsigned char)*keys), TOP_STAY);
}

static void test_shows(void **state) {
        struct top_model m;

        top_init(&m, SECOND);
        assert_non_null(strstr(drawn(&m, 24, 80, false, SECOND), "svmd-ctl top"));
        take(&m, 10);
        shows(&m, "svmd 1.2.3, up 1 min 1 s: 3 nodes, 3 partitions, 2 sessions, 0/s move");
        shows(&m, "NODEv (3)");
        shows(&m, "100%");
        shows(&m, "offline");
        shows(&m, "?[2J? evil?");
        order(&m, "serve ", "train ");
        order(&m, "train ", "index ");
        assert_non_null(strstr(drawn(&m, 24, 100, true, 0), "\xe2\x96\x88"));
        top_fini(&m);
}

static void test_rates(void **state) {
        struct top_model m;

        top_init(&m, SECOND);
        nodes[1].in = 5 * GIB;
        take(&m, 10);
        assert_true(m.views[TOP_NODES].items[0].in == 0);
        nodes[1].in += 6 * MIB;
        partitions[0].deeds += 90;
        take(&m, 12);
        shows(&m, "3 MiB/s move");
        order(&m, "train ", "45 ");
        /* Another svmd begins at nothing. */
        nodes[1].in = MIB;
        take(&m, 13);
        shows(&m, "0/s move");
        assert_int_equal(m.views[TOP_NODES].items[0].past, 3);
        nodes[1].in = 0;
        partitions[0].deeds = 0;
        top_fini(&m);
}

/* A name that comes again with another number is another session, and has no past. */
static void test_identity(void **state) {
        struct top_model m;

        top_init(&m, SECOND);
        take(&m, 10);
        take(&m, 11);
        sessions[0].id = 9;
        sessions[0].used = GIB;
        take(&m, 12);
        assert_int_equal(m.views[TOP_SESSIONS].count, 2);
        assert_int_equal(m.views[TOP_SESSIONS].items[0].now.id, 9);
        assert_int_equal(m.views[TOP_SESSIONS].items[0].past, 1);
        assert_int_equal(m.views[TOP_SESSIONS].items[1].past, 3);
        sessions[0].id = 7;
        sessions[0].used = 0;
        top_fini(&m);
}

static void test_sort(void **state) {
        struct top_model m;

        top_init(&m, SECOND);
        take(&m, 10);
        shows(&m, "USEDv");
        press(&m, "r");
        order(&m, "index ", "serve ");
        shows(&m, "USED^");
        press(&m, "r<<<");
        shows(&m, "PARTITIONv (3)");
        order(&m, "index ", "serve ");
        order(&m, "serve ", "train ");
        press(&m, "n>>");
        shows(&m, "USEDv");
        order(&m, "gpu0 ", "host0 ");
        assert_int_equal(top_column_of(TOP_NODES, "in/s"), TOP_IN);
        assert_int_equal(top_column_of(TOP_NODES, "pid"), TOP_END);
        assert_int_equal(top_column_of(TOP_NODES, ""), TOP_END);
        top_fini(&m);
}

static void test_filter(void **state) {
        struct top_model m;

        top_init(&m, SECOND);
        take(&m, 10);
        press(&m, "/TRAqx");
        shows(&m, "filter: TRAqx_");
        shows(&m, "PARTITION (0/3)");
        assert_int_equal(top_key(&m, TOP_KEY_ERASE), TOP_STAY);
        assert_int_equal(top_key(&m, TOP_KEY_ERASE), TOP_STAY);
        shows(&m, "PARTITION (1/3)");
        /* A session passes by its partition. */
        shows(&m, "loader");
        assert_null(strstr(drawn(&m, 24, 100, false, 0), "serve"));
        assert_int_equal(top_key(&m, TOP_KEY_ENTER), TOP_STAY);
        shows(&m, "filter: TRA ");
        take(&m, 11);
        shows(&m, "PARTITION (1/3)");
        assert_int_equal(top_key(&m, TOP_KEY_ESCAPE), TOP_STAY);
        shows(&m, "PARTITION (3)");
        for (int i = 0; i < 200; i++)
                press(&m, i ? "x" : "/");
        assert_int_equal(strlen(m.filter), sizeof(m.filter) - 1);
        top_fini(&m);
}

static void test_keys(void **state) {
        struct top_model m;

        top_init(&m, SECOND);
        take(&m, 10);
        press(&m, "?");
        shows(&m, "any key goes back");
        press(&m, "n");
        assert_int_equal(m.focus, TOP_PARTITIONS);
        press(&m, "z");
        assert_null(strstr(drawn(&m, 24, 100, false, 0), "NODE"));
        press(&m, "znjjjj");
        assert_int_equal(m.views[TOP_NODES].cursor, 2);
        press(&m, "k");
        /* The mark is seen, however low the screen is. */
        assert_non_null(strstr(drawn(&m, 5, 100, false, 0), "gpu1 "));
        assert_null(strstr(drawn(&m, 5, 100, false, 0), "gpu0 "));
        press(&m, " ");
        assert_int_equal(m.views[TOP_NODES].cursor, 1);
        shows(&m, "paused");
        nodes[0].used = 0;
        take(&m, 11);
        assert_true(m.at_ns == 10 * SECOND);
        press(&m, " ");
        take(&m, 12);
        assert_true(m.at_ns == 12 * SECOND);
        nodes[0].used = GIB;
        assert_int_equal(top_key(&m, '-'), TOP_INTERVAL);
        assert_true(m.interval_ns == SECOND / 2);
        for (int i = 0; i < 20; i++)
                assert_int_equal(top_key(&m, i < 10 ? '-' : '+'), TOP_INTERVAL);
        assert_true(m.interval_ns >= SECOND / 10 && m.interval_ns <= 60 * SECOND);
        assert_int_equal(top_key(&m, 'q'), TOP_QUIT);
        top_fini(&m);
}

static void test_away(void **state) {
        struct top_snapshot away = { .at_ns = 15 * SECOND, .away = true, .why = "there is no socket" };
        struct top_model m;

        top_init(&m, SECOND);
        take(&m, 10);
        assert_null(strstr(drawn(&m, 24, 100, false, 12 * SECOND), "does not answer"));
        assert_non_null(strstr(drawn(&m, 24, 100, false, 14 * SECOND), "svmd does not answer; this is 4 s old"));
        top_take(&m, &away);
        assert_non_null(strstr(drawn(&m, 24, 100, false, 16 * SECOND), "away for 6 s: there is no socket"));
        shows(&m, "serve");
        take(&m, 17);
        assert_null(strstr(drawn(&m, 24, 100, false, 17 * SECOND), "away"));
        top_fini(&m);
}

/* Any keys, snapshots and sizes: nothing is written outside, and the mark is on a row that is shown. */
static void test_random(void **state) {
        static struct top_row many[300];
        const char *seed = getenv("SVMD_SEED");
        unsigned state_of = seed ? (unsigned)atoi(seed) : (unsigned)time(NULL);
        struct top_model m;

        print_message("SVMD_SEED=%u\n", state_of);
        top_init(&m, SECOND);
        for (unsigned round = 0; round < 2000; round++) {
                struct top_snapshot s = { .at_ns = (round + 1) * SECOND,
                                          .away = rand_r(&state_of) % 16 == 0,
                                          .why = "x" };
                unsigned count = (unsigned)rand_r(&state_of) % COUNT(many);

                for (unsigned i = 0; i < count; i++) {
                        many[i] = (struct top_row){ .id = (unsigned)rand_r(&state_of) % 400,
                                                    .used = (unsigned)rand_r(&state_of),
                                                    .size = rand_r(&state_of) % 2 ? UINT64_MAX : 0,
                                                    .deeds = (unsigned)rand_r(&state_of) };
                        snprintf(many[i].name, sizeof(many[i].name), "n%u", i % 7);
                }
                for (unsigned part = 0; part < _TOP_PARTS; part++) {
                        s.rows[part] = many;
                        s.count[part] = part == TOP_NODES ? count % 9 : count;
                }
                if (round % 4 == 0)
                        top_take(&m, &s);
                top_key(&m, rand_r(&state_of) % 2 ? TOP_KEY_UP + (unsigned)rand_r(&state_of) % 13
                                                  : 1 + (unsigned)rand_r(&state_of) % 127);
                drawn(&m, 1 + (unsigned)rand_r(&state_of) % 50, 1 + (unsigned)rand_r(&state_of) % 150, round % 2,
                      (round + 2) * SECOND);
                for (unsigned part = 0; part < _TOP_PARTS; part++) {
                        const struct top_view *v = &m.views[part];

                        assert_true(v->shown <= v->count);
                        assert_true(v->cursor < v->shown || (v->cursor == 0 && v->shown == 0));
                }
        }
        top_fini(&m);
}

/* ---- the verb ---- */

static int setup(void **state) {
        static const struct svmd_metric_row flows[] = {
                { .kind = SVMD_METRIC_HISTOGRAM, .name = "request", .label = "", .from = 0, .to = 1, .bytes = 7 },
                { .kind = SVMD_METRIC_FLOW, .name = "", .label = "", .from = 0, .to = 1, .bytes = GIB },
        };
        static const struct svmd_session_row attached[] = {
                { .id = 12, .partition = "train", .client = "loader", .pid = 77, .withheld = "" },
                { .id = 99, .partition = "", .client = "svmd-ctl", .pid = 79, .withheld = "" },
        };

        machine_setup(state);
        fake.metrics = flows;
        fake.metrics_count = COUNT(flows);
        fake.sessions = attached;
        fake.sessions_count = COUNT(attached);
        return 0;
}

static void test_once(void **state) {
        struct json_object *o;

        expect_part("top --once --interval 0.1", 0, "NODE\xe2\x96\xbc (3)", "");
        assert_non_null(strstr(run_out, "CLIENT (1)"));
        assert_null(strchr(run_out, '\x1b'));
        o = run_json("top --once --interval 0.1 --json --filter gpu --sort used", 0);
        expect_json(o, "nodes.0.node", "gpu0");
        expect_json(o, "nodes.0.in_rate", "0");
        assert_int_equal(json_object_array_length(json_object_object_get(o, "nodes")), 2);
        assert_int_equal(json_object_array_length(json_object_object_get(o, "partitions")), 0);
        json_object_put(o);
        o = run_json("top --once --interval 0.1 --json", 0);
        expect_json(o, "sessions.0.client", "loader");
        json_object_put(o);
        /* Pictures follow one another, and a terminal is not needed for it. */
        expect_part("top --batch --count 2 --interval 0.1", 0, "\n\nsvmd ", "");
        for (unsigned i = 0, width = 0; run_out[i]; i++) {
                width = run_out[i] == '\n' ? 0 : width + ((run_out[i] & 0xc0) != 0x80);
                assert_true(width <= 80);
        }
}

static void test_wrong(void **state) {
        expect("top --interval 0", 2, "", "svmd-ctl: --interval '0': expected 0.1 to 3600 seconds\n");
        expect("top --once --sort size2", 2, "",
               "svmd-ctl: --sort 'size2': expected a column's heading, such as used or in/s\n");
        fake.code = SVMD_E_GONE;
        fake.error = "svmd has gone";
        fake.gone = 1;
        expect("top --batch", 4, "", "svmd-ctl: svmd has gone\n");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_shows),
                cmocka_unit_test(test_rates),
                cmocka_unit_test(test_identity),
                cmocka_unit_test(test_sort),
                cmocka_unit_test(test_filter),
                cmocka_unit_test(test_keys),
                cmocka_unit_test(test_away),
                cmocka_unit_test(test_random),
                cmocka_unit_test_setup(test_once, setup),
                cmocka_unit_test_setup(test_wrong, setup),
        };

        if (!setlocale(LC_ALL, "C.UTF-8"))
                return 1;
        unsetenv("COLUMNS");
        setenv("SVMD_RUNTIME_DIR", "/run/svmd", 1);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
