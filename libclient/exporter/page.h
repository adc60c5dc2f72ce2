#pragma once

#include <stddef.h>
#include <stdio.h>

#include "scrape.h"

struct page_options {
        bool open_metrics;
        size_t partitions; /* so many have rows of their own */
        double scrape_s;   /* how long svmd was asked */
};

/* All that was scraped, as a page; `s` NULL: svmd did not answer. */
void page_write(FILE *out, const struct scrape *s, const struct page_options *o);
