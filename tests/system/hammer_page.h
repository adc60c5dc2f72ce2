#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What the hammer writes to a page: 512 words that all follow from the page's number and a sequence number.
 *
 *      word 0          sequence, written first
 *      word 1          page number and writer
 *      word 2          such that the words of the page add up to page_sum()
 *      word 3..510     pattern
 *      word 511        sequence, written last
 *
 * Who reads in the opposite order (last word, others, first word) and finds both sequences equal has seen one writing
 * and nothing of the next, whoever writes meanwhile. Then every other word must be as it says.
 */
enum { PAGE_BYTES = 4096, PAGE_WORDS = PAGE_BYTES / 8 };

/* What a page must hold. */
enum page_kind {
        PAGE_ZERO,
        PAGE_STAMPED, /* of page `number`, sequence `sequence` */
        PAGE_FILLED,  /* every byte is `fill` */
        PAGE_UNKNOWN, /* an operation that wrote was refused or interrupted */
};

struct page_content {
        enum page_kind kind;
        uint32_t number, writer;
        uint64_t sequence;
        uint8_t fill;
};

enum page_finding {
        PAGE_GOOD,
        PAGE_MOVING,  /* the two sequences differ: somebody writes */
        PAGE_LOST,    /* an older content */
        PAGE_ZEROED,  /* zero, and must not be */
        PAGE_TORN,    /* of several contents */
        PAGE_FOREIGN, /* of another page, or nothing the hammer ever writes */
        _PAGE_FINDING_N,
};

void page_write(uint64_t *words, uint32_t number, uint32_t writer, uint64_t sequence);
/* The words of a page with that content, added up. Not for PAGE_UNKNOWN. */
uint64_t page_sum(const struct page_content *c);

/* For the page's writer, who knows what it must hold: every word is compared. */
enum page_finding page_check(const uint64_t *words, const struct page_content *c);
/* For others: GOOD, with what it holds in *ret (kind ZERO or STAMPED), or MOVING, or what is wrong. */
enum page_finding page_read(const uint64_t *words, uint32_t number, struct page_content *ret);
/* For what was left by a writer that ended anywhere: each word is of `before` or of the writing after it. */
enum page_finding page_check_cut(const uint64_t *words, const struct page_content *before);

/* What the page holds instead, for people. */
void page_describe(const uint64_t *words, const struct page_content *want, char *to, size_t size);
const char *page_finding_name(enum page_finding f);
