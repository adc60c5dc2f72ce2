#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ctl;

enum top_part { TOP_NODES, TOP_PARTITIONS, TOP_SESSIONS, _TOP_PARTS };

/* A node, a partition or a session at one moment. Sums only grow, until another svmd begins anew. */
struct top_row {
        uint64_t id;                                 /* with `name` what it is known by */
        char name[64], partition[64], container[96]; /* "": in none */
        uint32_t pid, uid;
        bool offline;
        uint64_t size; /* of a node: what it has room for; of others 0 */
        uint64_t used, managed;
        uint64_t sessions, reservations;
        uint64_t in,
                out;    /* sums: bytes that came to a node and left it; `out` of a partition: bytes that were evicted */
        uint64_t deeds; /* sum: granules that came to a partition or left it for room; requests of a session; touches
                           that a node's device waited for */
};

/* What svmd says at one moment, or that it says nothing. */
struct top_snapshot {
        uint64_t at_ns; /* of ctl_now_ns() */
        bool away;
        char why[256]; /* it is away */
        char version[32];
        uint64_t epoch, uptime_ms;
        size_t count[_TOP_PARTS];
        struct top_row *rows[_TOP_PARTS]; /* malloc()ed */
};

/* Asks over c->session. A code of libsvmd. */
int top_snapshot_take(struct ctl *c, struct top_snapshot *ret);
void top_snapshot_free(struct top_snapshot *s);
