#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hammer_board.h"
#include "svmd.h"

/*
 * A thread of the hammer. One that writes knows, in memory of its own, what each of its pages holds, and compares every
 * word of a page before it writes there again.
 */
struct hand_page {
        uint32_t number;
        bool cut;          /* was left by one that was killed: it may have been writing */
        uint64_t sequence; /* the last that was written there, whatever it holds now */
        struct page_content content;
};

struct hand {
        struct hammer_board *b;
        struct hammer_seat *seat;
        uint32_t id;
        uint64_t rng;

        svmd_session *session;            /* NULL: no svmd */
        svmd_space space[HAMMER_DEVICES]; /* of its process, on the nodes `node` */
        svmd_node node[HAMMER_DEVICES];
        bool faults[HAMMER_DEVICES];
        unsigned devices;
        svmd_node host[HAMMER_HOSTS];
        unsigned hosts;

        struct hand_page *own;
        uint32_t count;
};

uint64_t hand_random(struct hand *h, uint64_t bound);

/* Takes a seat. */
void hand_begin(struct hand *h, struct hammer_board *b, uint32_t id, uint64_t seed);
void hand_end(struct hand *h);
/* Finds the pages that are its to write, as the board says that they were left. -> hand_end() */
void hand_take_pages(struct hand *h);

/* Compares; a finding is reported, and the page may then hold anything. */
void hand_check(struct hand *h, struct hand_page *p);
/* Checks, writes the next sequence, and publishes it. */
void hand_write(struct hand *h, struct hand_page *p);
/* Every page of its own. */
void hand_sweep(struct hand *h);
/* Before the page holds something else than a sequence: nobody else judges it until it is written again. */
void hand_hide(struct hand *h, struct hand_page *p);
/* It may be killed anywhere: what it was at is unknown, so it adds to no counter. */
bool hand_may_die(const struct hand *h);
/* Adds to a counter, by the CPU. */
void hand_add(struct hand *h);
/* A page that may be anybody's, as everyone else may judge it. */
void hand_look(struct hand *h, uint32_t page, uint64_t *last);

/* ---- with svmd ---- */

/* One device operation on its own pages, or on a counter. */
void hand_device(struct hand *h);
/* Discards a granule that is all its own; false: it has none. */
bool hand_discard(struct hand *h);
/* A code that an order may get while others revoke, pin and move, and nodes are full; another one is a finding. */
bool hand_accepts(struct hand *h, const char *what, int code);
