#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What a container asks for, from its annotations and from what the hook was called with:
 *
 *      org.svmd.partition    the partition; without it, one of the container's own, named after its id
 *      org.svmd.size         its addresses, where it is to be made for the container
 *      org.svmd.domain       whom it may share memory with
 *      org.svmd.max.NODE     bytes that it may hold there
 *      org.svmd.min.NODE     bytes there that nobody else can take
 *
 * A container without any of them asks for nothing.
 */
enum { DEMAND_LIMITS = 32, DEMAND_NAME = 64, DEMAND_WHY = 256 };

struct state;

struct demand_limit {
        const char *node;
        uint64_t bytes; /* UINT64_MAX: none */
        bool min;
};

struct demand {
        char name[DEMAND_NAME];   /* "": nothing is asked for */
        bool makes;               /* it is made where it is not there: a size, a domain, a limit or no name was given */
        uint64_t size;            /* 0: as svmd is configured */
        char domain[DEMAND_NAME]; /* "": svmd's default */
        struct demand_limit limits[DEMAND_LIMITS];
        size_t limits_count;
};

/* `name` NULL: as annotated. 0, or -EINVAL and a sentence. */
int demand_of(struct demand *d, const struct state *s, const char *name, char why[DEMAND_WHY]);
/* The container's id as svmd keeps it, and as a partition is named that was given none. */
void demand_name(char ret[DEMAND_NAME], const char *id);
