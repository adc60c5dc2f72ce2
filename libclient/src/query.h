#pragma once

#include "proto/svmd.pb-c.h"
#include "session.h"

/* A walk over the pages of a list: what to call, and the body to put the key of the next page into. */
struct query {
        union {
                svmd_node_fn node;
                svmd_link_fn link;
                svmd_use_fn use;
                svmd_finding_fn finding;
                svmd_partition_fn partition;
                svmd_session_fn session;
                svmd_reservation_fn reservation;
        } fn;
        void *userdata;
        svmd_node node;
        struct svmd_status *status;
        Svmd__V1__Nodes *nodes;
        Svmd__V1__Usage *usage;
        Svmd__V1__PartitionList *partitions;
        char *last_name; /* SVMD_NAME_MAX + 1 bytes: of the last partition */
        Svmd__V1__SessionList *sessions;
        Svmd__V1__ReservationList *reservations;
};

/* Hands over the rows of one page and moves the key, in `key` and in the body. Non-zero ends the walk. */
typedef int (*query_page_fn)(const Svmd__V1__Result *result, uint64_t *key, const struct query *q);

/* Asks page after page, while there are more and the key moves. */
int query_walk(svmd_session *s, Svmd__V1__Op *op, uint64_t *key, query_page_fn page, const struct query *q);
