#include "hammer_page.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/*
 * Words are loaded and stored one by one and in order: on the machines that svmd runs on this costs no more than plain
 * loads and stores, and no compiler or sanitizer may see it as a race.
 */
#define LAST (PAGE_WORDS - 1)

static uint64_t load(const uint64_t *p) {
        return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void store(uint64_t *p, uint64_t v) {
        __atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static uint64_t mix(uint64_t x) {
        x ^= x >> 31;
        x *= 0x7fb5d329728ea185ull;
        x ^= x >> 27;
        x *= 0x81dadef4bc2dd44dull;
        return x ^ x >> 33;
}

static uint64_t base_of(uint32_t number, uint64_t sequence) {
        return mix(sequence * 0x9e3779b97f4a7c15ull + number);
}

/* Never zero. */
static uint64_t pattern(uint64_t base, unsigned i) {
        return (base + i * 0xd1342543de82ef95ull) | 1;
}

static uint64_t identity(uint32_t number, uint32_t writer) {
        return (uint64_t)number << 32 | writer;
}

static uint64_t balance(uint32_t number, uint32_t writer, uint64_t sequence) {
        uint64_t base = base_of(number, sequence), sum = base;

        for (unsigned i = 3; i < LAST; i++)
                sum -= pattern(base, i);
        return sum - identity(number, writer) - 2 * sequence;
}

void page_write(uint64_t *words, uint32_t number, uint32_t writer, uint64_t sequence) {
        uint64_t base = base_of(number, sequence);

        store(&words[0], sequence);
        store(&words[1], identity(number, writer));
        store(&words[2], balance(number, writer, sequence));
        for (unsigned i = 3; i < LAST; i++)
                store(&words[i], pattern(base, i));
        store(&words[LAST], sequence);
}

uint64_t page_sum(const struct page_content *c) {
        switch (c->kind) {
        case PAGE_STAMPED: return base_of(c->number, c->sequence);
        case PAGE_FILLED: return PAGE_WORDS * (c->fill * 0x0101010101010101ull);
        case PAGE_ZERO:
        case PAGE_UNKNOWN: break;
        }
        return 0;
}

/* The word `i` of a page with that content; `second` is that of balance(), which takes all others to find. */
static uint64_t word_of(const struct page_content *c, uint64_t base, uint64_t second, unsigned i) {
        if (c->kind == PAGE_FILLED)
                return c->fill * 0x0101010101010101ull;
        if (c->kind != PAGE_STAMPED)
                return 0;
        switch (i) {
        case 0:
        case LAST: return c->sequence;
        case 1: return identity(c->number, c->writer);
        case 2: return second;
        default: return pattern(base, i);
        }
}

/* How many words differ from that content, from the last to the first; *ret_zero: how many are zero. */
static unsigned differing(const uint64_t *words, const struct page_content *c, unsigned *ret_zero) {
        bool stamped = c->kind == PAGE_STAMPED;
        uint64_t base = stamped ? base_of(c->number, c->sequence) : 0;
        uint64_t second = stamped ? balance(c->number, c->writer, c->sequence) : 0;
        unsigned n = 0, zero = 0;

        for (unsigned i = PAGE_WORDS; i-- > 0;) {
                uint64_t v = load(&words[i]);

                n += v != word_of(c, base, second, i);
                zero += v == 0;
        }
        *ret_zero = zero;
        return n;
}

/* What is wrong with a page that is not as it should be. */
static enum page_finding classify(const uint64_t *words, uint32_t number, unsigned zero) {
        struct page_content found = { .kind = PAGE_STAMPED, .number = number, .sequence = load(&words[LAST]) };
        unsigned bad;

        if (zero == PAGE_WORDS)
                return PAGE_ZEROED;
        if (load(&words[1]) >> 32 != number && load(&words[1]) != 0)
                return PAGE_FOREIGN;
        found.writer = (uint32_t)load(&words[1]);
        bad = differing(words, &found, &zero);
        return bad ? PAGE_TORN : PAGE_LOST;
}

enum page_finding page_check(const uint64_t *words, const struct page_content *c) {
        unsigned zero;

        if (c->kind == PAGE_UNKNOWN || differing(words, c, &zero) == 0)
                return PAGE_GOOD;
        return classify(words, c->number, zero);
}

enum page_finding page_read(const uint64_t *words, uint32_t number, struct page_content *ret) {
        struct page_content c = { .kind = PAGE_STAMPED, .number = number, .sequence = load(&words[LAST]) };
        uint64_t who = load(&words[1]);
        unsigned zero, bad;

        if (!c.sequence)
                c.kind = PAGE_ZERO;
        c.writer = (uint32_t)who;
        bad = differing(words, &c, &zero);
        /* The first word was read last: had a writing begun meanwhile, it would say so. */
        if (load(&words[0]) != c.sequence)
                return PAGE_MOVING;
        if (bad)
                return who && who >> 32 != number ? PAGE_FOREIGN : PAGE_TORN;
        *ret = c;
        return PAGE_GOOD;
}

enum page_finding page_check_cut(const uint64_t *words, const struct page_content *before) {
        struct page_content after = *before;
        uint64_t bases[2], seconds[2];
        unsigned bad = 0, zero = 0;

        after.kind = PAGE_STAMPED;
        after.sequence++;
        bases[0] = base_of(before->number, before->sequence);
        bases[1] = base_of(after.number, after.sequence);
        seconds[0] = balance(before->number, before->writer, before->sequence);
        seconds[1] = balance(after.number, after.writer, after.sequence);
        for (unsigned i = 0; i < PAGE_WORDS; i++) {
                uint64_t v = load(&words[i]);

                bad += v != word_of(before, bases[0], seconds[0], i) && v != word_of(&after, bases[1], seconds[1], i);
                zero += v == 0;
        }
        return bad ? classify(words, before->number, zero) : PAGE_GOOD;
}

static void describe_content(const struct page_content *c, char *to, size_t size) {
        switch (c->kind) {
        case PAGE_ZERO: snprintf(to, size, "zeroes"); break;
        case PAGE_STAMPED:
                snprintf(to, size, "page %u of writer %u at sequence %" PRIu64, c->number, c->writer, c->sequence);
                break;
        case PAGE_FILLED: snprintf(to, size, "bytes %u", c->fill); break;
        case PAGE_UNKNOWN: snprintf(to, size, "anything"); break;
        }
}

void page_describe(const uint64_t *words, const struct page_content *want, char *to, size_t size) {
        uint64_t base = base_of(want->number, want->sequence), old = base_of(want->number, want->sequence - 1);
        unsigned same = 0, previous = 0, zero = 0;
        char text[96];

        for (unsigned i = 3; i < LAST; i++) {
                uint64_t v = load(&words[i]);

                same += v == word_of(want, base, 0, i);
                previous += v == pattern(old, i);
                zero += v == 0;
        }
        describe_content(want, text, sizeof(text));
        snprintf(to, size,
                 "wanted %s; it begins with %" PRIu64 ", ends with %" PRIu64 ", says page %" PRIu64 " of writer %u; of "
                 "%u words between %u are right, %u of the sequence before, %u zero",
                 text, load(&words[0]), load(&words[LAST]), load(&words[1]) >> 32, (unsigned)load(&words[1]), LAST - 3,
                 same, previous, zero);
}

const char *page_finding_name(enum page_finding f) {
        static const char *const names[_PAGE_FINDING_N] = { "good", "in motion", "lost", "zeroed", "torn", "foreign" };

        return names[f];
}
