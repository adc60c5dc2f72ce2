#include "picture.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "ctl.h"
#include "map.h"

#define GIB (1ull << 30)

enum { RANGES = 200, ROUNDS = 3000 };

static uint64_t random_state;

static uint64_t rnd(uint64_t bound) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state % bound;
}

/* Characters, not bytes. */
static unsigned width_of(const char *line, size_t bytes) {
        unsigned width = 0;

        for (size_t i = 0; i < bytes; i++)
                width += ((unsigned char)line[i] & 0xc0) != 0x80;
        return width;
}

static void check_width(const char *text, unsigned width) {
        while (*text) {
                size_t bytes = strcspn(text, "\n");

                if (width_of(text, bytes) > width)
                        fail_msg("wider than %u: '%.*s'", width, (int)bytes, text);
                text += bytes + (text[bytes] == '\n');
        }
}

/* Writes the picture of a map and checks it against text, if any. */
static char *draw(const struct map_partition *partitions, size_t count, unsigned width, bool utf8) {
        struct ctl c;
        size_t size;
        char *text;
        FILE *out = open_memstream(&text, &size);

        ctl_init(&c, out, stderr);
        c.utf8 = utf8;
        c.terminal = true;
        c.width = width;
        if (count == 1)
                map_draw_one(&c, partitions, width);
        else
                map_draw_all(&c, partitions, count, width);
        ctl_fini(&c);
        fclose(out);
        check_width(text, width);
        return text;
}

static const struct svmd_reservation_row three[] = {
        { .id = 1,
          .address = 0x280000000000,
          .length = GIB,
          .mapped = GIB,
          .session = 12,
          .name = "index",
          .partition = "train" },
        { .id = 2, .address = 0x280040000000, .length = 512 << 20, .session = 12, .name = "", .partition = "train" },
        { .id = 3,
          .address = 0x280200000000,
          .length = 2 * GIB,
          .mapped = GIB,
          .session = 14,
          .name = "weights",
          .partition = "train" },
};

static const char one_utf8[] = "train\n"
                               "0x280000000000 to 0x280400000000\n"
                               "16 GiB, 3.5 GiB reserved\n"
                               "\n"
                               "slice     ██████▓····························█████████··························\n"
                               "reserved  ██████████████████ ░░░░░░░░░ · ██████████████████░░░░░░░░░░░░░░░░░ ·\n"
                               "          1                  2           3\n"
                               "          █ shows memory  ░ reserved only  · free, not to scale\n"
                               "\n"
                               "# ADDRESS           SIZE MAPPED SESSION NAME\n"
                               "1 0x280000000000   1 GiB  1 GiB      12 index\n"
                               "2 0x280040000000 512 MiB      0      12 -\n"
                               "3 0x280200000000   2 GiB  1 GiB      14 weights\n";

static const char one_ascii[] = "train\n"
                                "0x280000000000 to 0x280400000000\n"
                                "16 GiB, 3.5 GiB reserved\n"
                                "\n"
                                "slice     ####................#####...............\n"
                                "reserved  ######### ----- . #########--------- .\n"
                                "          1         2       3\n"
                                "          # shows memory  - reserved only\n"
                                "          . free, not to scale\n"
                                "\n"
                                "# ADDRESS           SIZE MAPPED SESSION NAME\n"
                                "1 0x280000000000   1 GiB  1 GiB      12 index\n"
                                "2 0x280040000000 512 MiB      0      12 -\n"
                                "3 0x280200000000   2 GiB  1 GiB      14 weights\n";

static void expect(const struct map_partition *partitions, size_t count, unsigned width, bool utf8, const char *want) {
        char *text = draw(partitions, count, width, utf8);

        if (strcmp(text, want) != 0)
                fail_msg("drew\n%s\ninstead of\n%s", text, want);
        free(text);
}

static void test_one(void **state) {
        struct map_partition p = { "train", "default", 0x280000000000, 16 * GIB, { three, 3 } };

        expect(&p, 1, 80, true, one_utf8);
        expect(&p, 1, 50, false, one_ascii);
}

static void test_empty(void **state) {
        struct map_partition p = { "train", "default", 0x280000000000, 16 * GIB, { NULL, 0 } };

        expect(&p, 1, 40, true,
               "train\n0x280000000000 to 0x280400000000\n16 GiB, 0 reserved\n\n"
               "slice     ······························\n");
}

static const char all_utf8[] =
        "2,000 partitions of 31.3 TiB\n"
        "4 reservations of 5.5 GiB\n"
        "\n"
        "p0000  0x280000000000     16 GiB  █████░·····················███████····················\n"
        "                         3.5 GiB  █████████████ ░░░░░░░ · █████████████░░░░░░░░░░░░░ ·\n"
        "  999 partitions without reservations: p0001 to p0999, 15.6 TiB\n"
        "p1000  0x37a000000000     16 GiB  ···························███████····················\n"
        "                           2 GiB  · █████████████████████████░░░░░░░░░░░░░░░░░░░░░░░░ ·\n"
        "  999 partitions without reservations: p1001 to p1999, 15.6 TiB\n"
        "\n"
        "█ shows memory  ░ reserved only  · free, not to scale\n";

static void test_many(void **state) {
        static struct map_partition many[2000];
        static char names[2000][16];
        struct svmd_reservation_row far = three[2];

        for (unsigned i = 0; i < 2000; i++) {
                snprintf(names[i], sizeof(names[i]), "p%04u", i);
                many[i] = (struct map_partition){ names[i], "default", 0x280000000000 + i * 16 * GIB, 16 * GIB, { 0 } };
        }
        far.address += 1000 * 16 * GIB;
        many[0].reservations = (struct reservation_rows){ three, 3 };
        many[1000].reservations = (struct reservation_rows){ &far, 1 };
        expect(many, 2000, 88, true, all_utf8);
        free(draw(many, 2000, 40, true));
}

/* Ranges in order, some touching, of sizes from a page to a share of the slice. */
static size_t random_ranges(struct picture_range *ranges, uint64_t base, uint64_t length) {
        size_t count = 0, wanted = rnd(RANGES + 1);
        uint64_t at = base, end = base + length;

        while (count < wanted) {
                uint64_t gap = rnd(3) ? 0 : (1 + rnd(1ull << rnd(24))) * 4096;
                uint64_t size = (1 + rnd(1ull << rnd(22))) * 4096;

                if (gap >= end - at || size > end - at - gap)
                        break;
                ranges[count++] = (struct picture_range){ at + gap, size, rnd(2) ? rnd(size + 1) : size };
                at += gap + size;
        }
        return count;
}

static void check_levels(uint64_t base, uint64_t length, const struct picture_range *ranges, size_t count) {
        unsigned width = 8 + (unsigned)rnd(200);
        uint8_t cells[256];

        picture_levels(cells, width, base, length, ranges, count);
        for (unsigned i = 0; i < width; i++) {
                uint64_t from = base + (uint64_t)((unsigned __int128)length * i / width);
                uint64_t to = base + (uint64_t)((unsigned __int128)length * (i + 1) / width), covered = 0;

                for (size_t k = 0; k < count; k++) {
                        uint64_t a = ranges[k].address, b = a + ranges[k].length;

                        if (a < to && b > from)
                                covered += (b < to ? b : to) - (a > from ? a : from);
                }
                assert_int_equal(cells[i] > 0, covered > 0);
                assert_int_equal(cells[i] == 4, covered > (to - from) / 4 * 3 + (to - from) % 4 * 3 / 4);
                assert_true(cells[i] <= 4);
        }
}

static void check_spans(uint64_t base, uint64_t length, const struct picture_range *ranges, size_t count) {
        static struct picture_span spans[2 * RANGES + 1];
        unsigned width = 8 + (unsigned)rnd(200), line = 0, column = 0;
        size_t n = picture_spans(spans, width, base, length, ranges, count), next = 0;

        assert_true(n <= 2 * count + 1);
        for (size_t i = 0; i < n; i++) {
                if (spans[i].line != line) {
                        assert_int_equal(spans[i].line, line + 1);
                        line++;
                        column = 0;
                }
                assert_int_equal(spans[i].column, column);
                assert_true(spans[i].width >= 2);
                column += spans[i].width;
                assert_true(column <= width);
                if (spans[i].range != SIZE_MAX)
                        assert_int_equal(spans[i].range, next++);
        }
        assert_int_equal(next, count);
}

/* Every reservation has its number in the picture, up to the bound on lines, which "and N more" then completes. */
static void check_numbers(const struct picture_range *ranges, size_t count, uint64_t base, uint64_t length) {
        unsigned width = 40 + (unsigned)rnd(160), next = 1, most = (unsigned)rnd(4);
        struct picture p = { .width = width, .utf8 = rnd(2), .color = rnd(2) };
        size_t size, shown, lines = 0;
        char *text, *rest, *line;

        p.out = open_memstream(&text, &size);
        shown = picture_zoom(&p, base, length, ranges, count, true, most);
        fclose(p.out);
        assert_true(shown <= count);
        assert_true(shown == count || most > 0);
        rest = text;
        while ((line = strsep(&rest, "\n")) && *line) {
                if (!p.color)
                        assert_true(width_of(line, strlen(line)) <= width);
                if (lines++ % 2 == 0)
                        continue;
                for (char *word; (word = strsep(&line, " "));) {
                        if (*word)
                                assert_int_equal(atoi(word), next++);
                }
        }
        assert_int_equal(next, shown + 1);
        assert_true(most == 0 || lines <= 2 * most);
        free(text);
}

static void check_map(const struct picture_range *ranges, size_t count, uint64_t base, uint64_t length) {
        static struct svmd_reservation_row rows[RANGES];
        struct map_partition p[2] = { { "some", "default", base, length, { rows, count } },
                                      { "a-name-that-is-longer-than-its-column", "x", base, length, { rows, count } } };

        for (size_t i = 0; i < count; i++)
                rows[i] = (struct svmd_reservation_row){ .address = ranges[i].address,
                                                         .length = ranges[i].length,
                                                         .mapped = ranges[i].mapped,
                                                         .name = rnd(2) ? "a-name-of-some-length-that-gives-way" : "",
                                                         .partition = "some" };
        free(draw(p, 1 + rnd(2), 40 + (unsigned)rnd(100), rnd(2)));
}

static void test_random(void **state) {
        static struct picture_range ranges[RANGES];

        for (int i = 0; i < ROUNDS; i++) {
                uint64_t base = rnd(1 << 20) * 4096 * 1024, length = (1 + rnd(64)) * 4 * GIB;
                size_t count = random_ranges(ranges, base, length);

                check_levels(base, length, ranges, count);
                if (count) {
                        check_spans(base, length, ranges, count);
                        check_numbers(ranges, count, base, length);
                }
                if (i % 10 == 0)
                        check_map(ranges, count, base, length);
        }
}

int main(void) {
        const char *seed = getenv("SVMD_SEED");
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_one),
                cmocka_unit_test(test_empty),
                cmocka_unit_test(test_many),
                cmocka_unit_test(test_random),
        };

        if (!setlocale(LC_ALL, "C.UTF-8"))
                return 1;
        random_state = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL) * 2654435761u + 1;
        print_message("SVMD_SEED=%llu\n", (unsigned long long)random_state);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
