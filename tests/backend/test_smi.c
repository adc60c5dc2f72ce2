/*
 * What is read of KFD's events: each type as the kernel writes it, lines that it does not write, and random streams
 * against a naive reader of whole texts by regular expressions, with the same text cut anywhere. SVMD_SEED=N repeats.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/smi.h"

enum { EVENTS_MAX = 512, TEXT_MAX = 32768 };

struct seen {
        struct smi_event e[EVENTS_MAX];
        unsigned count;
};

static void see(void *userdata, const struct smi_event *e) {
        struct seen *seen = userdata;

        assert_true(seen->count < EVENTS_MAX);
        seen->e[seen->count++] = *e;
}

static void assert_same(const struct smi_event *a, const struct smi_event *b) {
        assert_true(a->type == b->type && a->pid == b->pid && a->ns == b->ns);
        assert_true(a->page == b->page && a->pages == b->pages && a->gpu == b->gpu);
        assert_true(a->from == b->from && a->to == b->to);
        assert_true(a->prefetch == b->prefetch && a->preferred == b->preferred);
        assert_true(a->trigger == b->trigger && a->error == b->error && a->flag == b->flag);
}

/* ---- directed ---- */

static void expect(const char *line, size_t size, const struct smi_event *e) {
        struct seen seen = { .count = 0 };
        struct smi s = { .used = 0 };

        smi_feed(&s, line, size, see, &seen);
        assert_int_equal(seen.count, 1);
        assert_same(&seen.e[0], e);
        assert_true(s.events == 1 && s.unknown == 0 && s.broken == 0);
}

#define EXPECT(line, ...) expect(line "\n", sizeof(line), &(struct smi_event){ __VA_ARGS__ })

static void test_each_type(void **state) {
        EXPECT("5 123456789012 -4711 @7f0012345(200) 0->8c4a 8c4a:0 1", .type = SMI_MIGRATE_START, .ns = 123456789012,
               .pid = 4711, .page = 0x7f0012345, .pages = 0x200, .to = 0x8c4a, .prefetch = 0x8c4a, .trigger = 1);
        EXPECT("5 1 -1 @0(ffffffffffffffff) ffffffff->0 0:ffffffff 2147483647", .type = SMI_MIGRATE_START, .ns = 1,
               .pid = 1, .pages = UINT64_MAX, .from = UINT32_MAX, .preferred = UINT32_MAX, .trigger = INT32_MAX);
        EXPECT("6 9223372036854775807 -2147483647 @7f0012345(1) 8c4a->0 2", .type = SMI_MIGRATE_END, .ns = INT64_MAX,
               .pid = INT32_MAX, .page = 0x7f0012345, .pages = 1, .from = 0x8c4a, .trigger = 2);
        EXPECT("6 5 -4 @3(2) 1->0 2 -12", .type = SMI_MIGRATE_END, .ns = 5, .pid = 4, .page = 3, .pages = 2, .from = 1,
               .trigger = 2, .error = -12);
        EXPECT("6 5 -4 @3(2) 1->0 2 0", .type = SMI_MIGRATE_END, .ns = 5, .pid = 4, .page = 3, .pages = 2, .from = 1,
               .trigger = 2);
        EXPECT("7 5 -4 @3(8c4a) W", .type = SMI_FAULT_START, .ns = 5, .pid = 4, .page = 3, .pages = 1, .gpu = 0x8c4a,
               .flag = 'W');
        EXPECT("7 5 -4 @3(8c4a) R", .type = SMI_FAULT_START, .ns = 5, .pid = 4, .page = 3, .pages = 1, .gpu = 0x8c4a,
               .flag = 'R');
        EXPECT("8 5 -4 @3(8c4a) M", .type = SMI_FAULT_END, .ns = 5, .pid = 4, .page = 3, .pages = 1, .gpu = 0x8c4a,
               .flag = 'M');
        EXPECT("8 5 -4 @3(8c4a) U", .type = SMI_FAULT_END, .ns = 5, .pid = 4, .page = 3, .pages = 1, .gpu = 0x8c4a,
               .flag = 'U');
        EXPECT("9 5 -4 8c4a 3", .type = SMI_QUEUE_EVICTION, .ns = 5, .pid = 4, .gpu = 0x8c4a, .trigger = 3);
        EXPECT("a 5 -4 8c4a R", .type = SMI_QUEUE_RESTORE, .ns = 5, .pid = 4, .gpu = 0x8c4a, .flag = 'R');
        EXPECT("a 5 -4 8c4a \0", .type = SMI_QUEUE_RESTORE, .ns = 5, .pid = 4, .gpu = 0x8c4a);
        EXPECT("b 5 -4 @3(10) 8c4a 1", .type = SMI_UNMAP, .ns = 5, .pid = 4, .page = 3, .pages = 0x10, .gpu = 0x8c4a,
               .trigger = 1);
}

static void test_not_ours(void **state) {
        static const char unknown[] = "1 1234:a task\n2 1:2\n3 4 cause\n4 4\nc 1 -2 name\n0 \n40 \nffffffff x\n";
        static const char *const broken[] = {
                "",
                "7",
                "7 ",
                " 7 5 -4 @3(1) W",
                "7  5 -4 @3(1) W",
                "7 5 -4 @3(1) w",
                "7 5 -4 @3(1) M",
                "8 5 -4 @3(1) R",
                "7 5 -4 @3(1) W ",
                "7 5 -4 @3(1) W\r",
                "7 5 -4 @3(1) ",
                "7 5 -4 @3(1)",
                "7 5 -0 @3(1) W",
                "7 5 --4 @3(1) W",
                "7 5 4 @3(1) W",
                "7 -5 -4 @3(1) W",
                "7 5 -4 @(1) W",
                "7 5 -4 @0x3(1) W",
                "7 5 -4 @A(1) W",
                "7 5 -4 @3() W",
                "7 5 -4 @3(100000000) W",
                "7 5 -4 @10000000000000000(1) W",
                "7 9223372036854775808 -4 @3(1) W",
                "7 5 -2147483648 @3(1) W",
                "9 5 -4 1 2147483648",
                "9 5 -4 1 -1",
                "a 5 -4 1",
                "a 5 -4 1 RR",
                "6 5 -4 @3(2) 1->0 2 ",
                "6 5 -4 @3(2) 1->0 2 -",
                "6 5 -4 @3(2) 1->0 2 0 0",
                "6 5 -4 @3(2) 1-0 2 0",
                "100000000 x",
                "x 1",
                "7\t5 -4 @3(1) W",
        };
        struct seen seen = { .count = 0 };
        struct smi s = { .used = 0 };

        smi_feed(&s, unknown, sizeof(unknown) - 1, see, &seen);
        assert_true(s.unknown == 8 && s.broken == 0 && s.events == 0);
        for (unsigned i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
                smi_feed(&s, broken[i], strlen(broken[i]), see, &seen);
                smi_feed(&s, "\n", 1, see, &seen);
                if (s.broken != i + 1)
                        fail_msg("taken: \"%s\"", broken[i]);
        }
        assert_true(s.unknown == 8 && s.events == 0 && seen.count == 0);
}

/* Without its end. */
static void put(char *to, const char *text) {
        while (*text)
                *to++ = *text++;
}

/* One that is too long is passed over, however it comes, and the next one is read again. */
static void test_too_long(void **state) {
        char line[4 * SMI_LINE_MAX];
        struct seen seen = { .count = 0 };
        struct smi s = { .used = 0 };
        uint64_t broken = 0;

        for (size_t size = SMI_LINE_MAX - 1; size < SMI_LINE_MAX + 3; size++) {
                memset(line, '0', sizeof(line));
                put(line + size - 13, "7 5 -4 @3(1) W");
                line[size + 1] = '\n';
                put(line + size + 2, "9 5 -4 1 2\n");
                for (size_t i = 0; i < size + 13; i++)
                        smi_feed(&s, line + i, 1, see, &seen);
                broken += size + 1 > SMI_LINE_MAX;
                assert_true(s.broken == broken);
        }
        assert_true(s.used == 0 && seen.count == s.events);
        assert_true(seen.e[seen.count - 1].type == SMI_QUEUE_EVICTION);
}

/* What there is room for would be a line by itself, with another number at its end. */
static void test_cut_short(void **state) {
        static const char event[] = "9 5 -4 1 2";
        char line[SMI_LINE_MAX + 2];
        struct seen seen = { .count = 0 };
        struct smi s = { .used = 0 };

        memset(line, '0', sizeof(line));
        put(line + SMI_LINE_MAX - strlen(event), event);
        line[SMI_LINE_MAX] = '7';
        line[SMI_LINE_MAX + 1] = '\n';
        smi_feed(&s, line, sizeof(line), see, &seen);
        assert_true(s.broken == 1 && s.events == 0 && seen.count == 0);
        line[SMI_LINE_MAX] = '\n';
        smi_feed(&s, line, SMI_LINE_MAX + 1, see, &seen);
        assert_true(s.broken == 1 && s.events == 1 && seen.e[0].trigger == 2);
}

/* ---- random, against a naive reader ---- */

#define NS   "([0-9]{1,18})"
#define PID  "-(0*[1-9][0-9]{0,8})"
#define HEX  "([0-9a-f]{1,8})"
#define LONG "([0-9a-f]{1,16})"
#define DEC  "([0-9]{1,9})"

static const char *const patterns[] = {
        [SMI_MIGRATE_START] = "^0*5 " NS " " PID " @" LONG "\\(" LONG "\\) " HEX "->" HEX " " HEX ":" HEX " " DEC "$",
        [SMI_MIGRATE_END] = "^0*6 " NS " " PID " @" LONG "\\(" LONG "\\) " HEX "->" HEX " " DEC "( (-?[0-9]{1,9}))?$",
        [SMI_FAULT_START] = "^0*7 " NS " " PID " @" LONG "\\(" HEX "\\) ([WR])$",
        [SMI_FAULT_END] = "^0*8 " NS " " PID " @" LONG "\\(" HEX "\\) ([MU])$",
        [SMI_QUEUE_EVICTION] = "^0*9 " NS " " PID " " HEX " " DEC "$",
        [SMI_QUEUE_RESTORE] = "^0*a " NS " " PID " " HEX " (.)$",
        [SMI_UNMAP] = "^0*b " NS " " PID " @" LONG "\\(" LONG "\\) " HEX " " DEC "$",
};

static regex_t compiled[SMI_UNMAP + 1];
static uint64_t rnd_state;

static uint64_t below(uint64_t n) {
        rnd_state ^= rnd_state << 13;
        rnd_state ^= rnd_state >> 7;
        rnd_state ^= rnd_state << 17;
        return rnd_state % n;
}

static uint64_t part(const char *line, const regmatch_t *m, int base) {
        return m->rm_so < 0 ? 0 : (uint64_t)strtoll(line + m->rm_so, NULL, base);
}

static uint64_t hex(const char *line, const regmatch_t *m) {
        return strtoull(line + m->rm_so, NULL, 16);
}

static void fill_in(struct smi_event *e, const char *l, const regmatch_t *m) {
        e->ns = part(l, &m[1], 10);
        e->pid = (int)part(l, &m[2], 10);
        if (e->type == SMI_QUEUE_EVICTION || e->type == SMI_QUEUE_RESTORE)
                e->gpu = (uint32_t)hex(l, &m[3]);
        else
                e->page = hex(l, &m[3]);
        if (e->type == SMI_FAULT_START || e->type == SMI_FAULT_END) {
                e->gpu = (uint32_t)hex(l, &m[4]);
                e->pages = 1;
        }
        switch (e->type) {
        case SMI_MIGRATE_START:
                e->prefetch = (uint32_t)hex(l, &m[7]);
                e->preferred = (uint32_t)hex(l, &m[8]);
                e->trigger = (uint32_t)part(l, &m[9], 10);
                break;
        case SMI_MIGRATE_END:
                e->trigger = (uint32_t)part(l, &m[7], 10);
                e->error = (int)part(l, &m[9], 10);
                break;
        case SMI_FAULT_START:
        case SMI_FAULT_END: e->flag = l[m[5].rm_so]; break;
        case SMI_QUEUE_EVICTION: e->trigger = (uint32_t)part(l, &m[4], 10); break;
        case SMI_QUEUE_RESTORE: e->flag = l[m[4].rm_so]; break;
        case SMI_UNMAP:
                e->gpu = (uint32_t)hex(l, &m[5]);
                e->trigger = (uint32_t)part(l, &m[6], 10);
                break;
        }
        if (e->type == SMI_MIGRATE_START || e->type == SMI_MIGRATE_END || e->type == SMI_UNMAP)
                e->pages = hex(l, &m[4]);
        if (e->type == SMI_MIGRATE_START || e->type == SMI_MIGRATE_END) {
                e->from = (uint32_t)hex(l, &m[5]);
                e->to = (uint32_t)hex(l, &m[6]);
        }
}

static void read_naively(const char *text, struct seen *seen) {
        char copy[TEXT_MAX], *save = NULL;

        memcpy(copy, text, strlen(text) + 1);
        if (strrchr(copy, '\n'))
                *strrchr(copy, '\n') = 0;
        else
                copy[0] = 0;
        for (char *l = strtok_r(copy, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
                for (int type = SMI_MIGRATE_START; type <= SMI_UNMAP && strlen(l) <= SMI_LINE_MAX; type++) {
                        regmatch_t m[10];
                        struct smi_event e = { .type = (enum smi_type)type };

                        if (regexec(&compiled[type], l, 10, m, 0))
                                continue;
                        fill_in(&e, l, m);
                        see(seen, &e);
                }
}

static size_t write_one(char *to, size_t room) {
        unsigned long long ns = below(1ull << 50), page = below(1ull << 36), pages = below(1 << 20);
        unsigned pid = 1 + (unsigned)below(4000000), gpu = (unsigned)below(65536), other = (unsigned)below(65536);
        unsigned trigger = (unsigned)below(7);

        switch (below(9)) {
        case 0:
                return (size_t)snprintf(to, room, "5 %llu -%u @%llx(%llx) %x->%x %x:%x %u\n", ns, pid, page, pages, gpu,
                                        other, gpu, other, trigger);
        case 1:
                return (size_t)snprintf(to, room, "6 %llu -%u @%llx(%llx) %x->%x %u\n", ns, pid, page, pages, gpu,
                                        other, trigger);
        case 2:
                return (size_t)snprintf(to, room, "6 %llu -%u @%llx(%llx) %x->%x %u %d\n", ns, pid, page, pages, gpu,
                                        other, trigger, -(int)below(130));
        case 3: return (size_t)snprintf(to, room, "7 %llu -%u @%llx(%x) %c\n", ns, pid, page, gpu, "WR"[below(2)]);
        case 4: return (size_t)snprintf(to, room, "8 %llu -%u @%llx(%x) %c\n", ns, pid, page, gpu, "MU"[below(2)]);
        case 5: return (size_t)snprintf(to, room, "9 %llu -%u %x %u\n", ns, pid, gpu, trigger);
        case 6: return (size_t)snprintf(to, room, "a %llu -%u %x %c\n", ns, pid, gpu, "0R"[below(2)]);
        case 7: return (size_t)snprintf(to, room, "b %llu -%u @%llx(%llx) %x %u\n", ns, pid, page, pages, gpu, trigger);
        default: return (size_t)snprintf(to, room, "%x %llu:%llx\n", (unsigned)below(20) + 12, ns, page);
        }
}

static size_t write_text(char *text) {
        size_t size = 0;

        for (uint64_t lines = below(60); lines > 0; lines--)
                size += write_one(text + size, TEXT_MAX - size);
        for (uint64_t wrong = size ? below(8) : 0; wrong > 0; wrong--)
                text[below(size)] = "0123456789abcdefx @()->: \nWRMU-"[below(31)];
        text[size] = 0;
        return size;
}

static void feed_in_pieces(struct smi *s, const char *text, size_t size, struct seen *seen) {
        for (size_t at = 0; at < size;) {
                size_t n = 1 + below(below(2) ? 8 : 300);
                char *piece;

                n = n < size - at ? n : size - at;
                piece = malloc(n); /* of just this size, so that a sanitizer sees what lies behind */
                assert_non_null(piece);
                memcpy(piece, text + at, n);
                smi_feed(s, piece, n, see, seen);
                free(piece);
                at += n;
        }
}

static void test_random(void **state) {
        const char *given = getenv("SVMD_SEED");
        static struct seen naive, whole, pieces;
        static char text[TEXT_MAX];
        uint64_t events = 0, broken = 0;

        rnd_state = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) | 1;
        print_message("SVMD_SEED=%" PRIu64 "\n", rnd_state);
        for (int type = SMI_MIGRATE_START; type <= SMI_UNMAP; type++)
                assert_int_equal(regcomp(&compiled[type], patterns[type], REG_EXTENDED), 0);
        for (unsigned round = 0; round < 300; round++) {
                size_t size = write_text(text);
                struct smi a = { .used = 0 }, b = { .used = 0 };

                naive.count = whole.count = pieces.count = 0;
                read_naively(text, &naive);
                smi_feed(&a, text, size, see, &whole);
                feed_in_pieces(&b, text, size, &pieces);
                assert_int_equal(whole.count, naive.count);
                assert_int_equal(pieces.count, naive.count);
                for (unsigned i = 0; i < naive.count; i++) {
                        assert_same(&whole.e[i], &naive.e[i]);
                        assert_same(&pieces.e[i], &naive.e[i]);
                }
                assert_true(a.events == naive.count && a.events == b.events);
                assert_true(a.unknown == b.unknown && a.broken == b.broken && a.used == b.used);
                events += a.events;
                broken += a.broken;
        }
        assert_true(events > 0 && broken > 0);
        for (int type = SMI_MIGRATE_START; type <= SMI_UNMAP; type++)
                regfree(&compiled[type]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_each_type), cmocka_unit_test(test_not_ours), cmocka_unit_test(test_too_long),
                cmocka_unit_test(test_cut_short), cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
