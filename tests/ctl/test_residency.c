/* What is made of rows of residency, against a model that looks at each granule by itself. */
#include "residency.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "ctl.h"
#include "map-range.h"

enum { GRANULES = 3000, NODES = 5, ROUNDS = 1500, PAGE = 4096, ADDRESS = 16 };

static uint64_t random_state;

static uint64_t rnd(uint64_t bound) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state % bound;
}

/* One range at one time: which node holds each granule. */
struct model {
        size_t count;
        svmd_node nodes[GRANULES];
        bool busy[GRANULES];
        struct svmd_residency_row list[GRANULES];
        struct residency_rows rows;
};

static svmd_node random_node(void) {
        uint64_t n = rnd(NODES + 1);

        return n == NODES ? SVMD_NODE_NONE : n == NODES - 1 ? 63 : (svmd_node)n;
}

/* Runs are joined by chance, as svmd may cut them anywhere. */
static void model_make(struct model *m, uint64_t base, size_t count) {
        size_t runs = 0;

        m->count = count;
        for (size_t i = 0; i < count; i++) {
                m->nodes[i] = i && rnd(4) ? m->nodes[i - 1] : random_node();
                if (runs && m->list[runs - 1].node == m->nodes[i] && rnd(8)) {
                        m->list[runs - 1].length += PAGE;
                        m->busy[i] = m->busy[i - 1];
                        continue;
                }
                m->busy[i] = rnd(5) == 0;
                m->list[runs++] = (struct svmd_residency_row){ .address = base + i * PAGE,
                                                               .length = PAGE,
                                                               .node = m->nodes[i],
                                                               .state = "out",
                                                               .cause = "fault",
                                                               .pins = rnd(5) == 0,
                                                               .busy = m->busy[i],
                                                               .copies = rnd(5) ? 0 : 1ull << 63 | rnd(4) };
        }
        m->rows = (struct residency_rows){ m->list, runs };
}

static uint64_t count_on(const struct model *m, svmd_node node, size_t from, size_t to) {
        uint64_t count = 0;

        for (size_t i = from; i < to && i < m->count; i++)
                count += m->nodes[i] == node;
        return count;
}

static void check_sums(struct ctl *c, const struct model *m) {
        struct residency_sums s = residency_sums(c, &m->rows);
        uint64_t held = 0, all = 0, pinned = 0, copies = 0, want_pinned = 0, want_copies = 0;

        for (size_t i = 0; i < s.count; i++) {
                assert_true(i == 0 || s.sums[i - 1].node < s.sums[i].node);
                assert_int_equal(s.sums[i].bytes, PAGE * count_on(m, s.sums[i].node, 0, m->count));
                assert_int_equal(s.sums[i].bytes - s.sums[i].busy, residency_on(&m->rows, s.sums[i].node));
                assert_true(s.sums[i].bytes || s.sums[i].copies);
                held += s.sums[i].node == SVMD_NODE_NONE ? 0 : s.sums[i].bytes;
                all += s.sums[i].bytes;
                pinned += s.sums[i].pinned;
                copies += s.sums[i].copies;
        }
        for (size_t i = 0; i < m->rows.count; i++) {
                want_pinned += m->list[i].pins ? m->list[i].length : 0;
                want_copies += m->list[i].length * (uint64_t)__builtin_popcountll(m->list[i].copies);
        }
        assert_int_equal(all, PAGE * m->count);
        assert_int_equal(held, residency_held(&m->rows));
        assert_int_equal(pinned, want_pinned);
        assert_int_equal(copies, want_copies);
}

static void check_moved(const struct model *a, const struct model *b) {
        uint64_t moved = 0;

        for (size_t i = 0; i < a->count; i++)
                moved += a->nodes[i] != b->nodes[i] && !b->busy[i] ? PAGE : 0;
        assert_int_equal(residency_moved(&a->rows, &b->rows), moved);
        assert_int_equal(residency_moved(&a->rows, &a->rows), 0);
}

static void check_cells(struct ctl *c, const struct model *m, uint64_t base) {
        static const svmd_node nodes[] = { 0, 1, 2, 3, 63 };
        static struct residency_cell cells[GRANULES];
        struct residency_sums s = residency_sums(c, &m->rows);
        size_t per = (size_t)1 << rnd(8), count = (m->count + per - 1) / per;

        residency_cells(c, cells, count, base, per * PAGE, &m->rows, &s);
        for (size_t i = 0; i < count; i++) {
                uint64_t most = 0, share = count_on(m, cells[i].node, i * per, (i + 1) * per);
                uint64_t size = (i + 1) * per < m->count ? per : m->count - i * per;

                for (size_t k = 0; k < 5; k++) {
                        uint64_t n = count_on(m, nodes[k], i * per, (i + 1) * per);

                        most = n > most ? n : most;
                }
                if (cells[i].node == SVMD_NODE_NONE)
                        assert_int_equal(most, 0);
                else
                        assert_int_equal(share, most);
                assert_int_equal(cells[i].mixed, share < size);
        }
}

/* Every line keeps to the width, and all of the range is drawn. */
static void check_picture(const struct model *m, uint64_t base) {
        static const struct svmd_node_row nodes[] = { { .id = 0, .name = "host0" }, { .id = 1, .name = "gpu0" } };
        struct svmd_reservation_row r = { .address = base,
                                          .length = m->count * PAGE,
                                          .name = "r",
                                          .partition = "p",
                                          .kind = SVMD_SHARED,
                                          .granule = PAGE };
        struct map_part part = { { &r, NULL, r.address, r.length }, m->rows };
        struct map_range map = { &part, 1, { nodes, 2 }, false };
        unsigned width = 40 + (unsigned)rnd(200);
        size_t size, cells = 0, row = 0;
        struct ctl c;
        char *text, *rest, *line;
        FILE *out = open_memstream(&text, &size);

        ctl_init(&c, out, stderr);
        c.utf8 = false;
        c.color = rnd(4) == 0;
        c.width = width;
        map_range_draw(&c, &map, width);
        ctl_fini(&c);
        fclose(out);
        if (c.color) {
                free(text);
                return;
        }
        rest = text;
        for (unsigned i = 0; (line = strsep(&rest, "\n"));) {
                if (i++ < 3 || strncmp(line, "0x", 2) != 0)
                        continue;
                assert_true(strlen(line) <= width);
                if (row == 0)
                        row = strlen(line) - ADDRESS;
                cells += strlen(line) - ADDRESS;
        }
        assert_true(cells >= 1 && cells <= m->count);
        assert_true(row <= width);
        assert_true(cells <= 8 * row);
        free(text);
}

static void test_random(void **state) {
        static struct model a, b;

        for (int i = 0; i < ROUNDS; i++) {
                uint64_t base = rnd(1 << 20) * PAGE;
                size_t count = 1 + rnd(rnd(2) ? 40 : GRANULES);
                struct ctl c;

                ctl_init(&c, stdout, stderr);
                model_make(&a, base, count);
                model_make(&b, base, count);
                check_sums(&c, &a);
                check_moved(&a, &b);
                check_cells(&c, &a, base);
                check_picture(&a, base);
                ctl_fini(&c);
        }
}

int main(void) {
        const char *seed = getenv("SVMD_SEED");
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_random) };

        if (!setlocale(LC_ALL, "C.UTF-8"))
                return 1;
        random_state = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL) * 2654435761u + 1;
        print_message("SVMD_SEED=%llu\n", (unsigned long long)random_state);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
