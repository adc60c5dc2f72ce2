#pragma once

#include <stdint.h>

/*
 * What a person types for a range of addresses: ADDR, ADDR+SIZE, ADDR-END (END is the first address after it), or the
 * name of a reservation. Addresses are decimal, or hexadecimal after "0x"; a size may also have a unit. What reads as a
 * number is never a name.
 */
struct range {
        char name[64]; /* "": it is given by addresses */
        uint64_t address;
        uint64_t size; /* 0: none was given */
};

/* 0, or -1 with a sentence in `why`. */
int range_parse(struct range *ret, const char *text, char why[256]);
