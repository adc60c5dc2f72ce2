#pragma once

#include "proto/limits.h"
#include "proto/svmd.pb-c.h"
#include "session.h"

/* A walk over a list that comes in pages. The body of the operation is the caller's. */
struct walk {
        Svmd__V1__Op op;
        /* Hands a row over and moves the key in the body behind it. Non-zero ends the walk and is its result. */
        int (*row)(struct walk *w, const void *row);
        union {
                svmd_node_fn node;
                svmd_link_fn link;
                svmd_use_fn use;
                svmd_partition_fn partition;
                svmd_session_fn session;
                svmd_reservation_fn reservation;
                svmd_residency_fn residency;
                svmd_kept_fn kept;
                svmd_share_fn share;
                svmd_lease_fn lease;
                svmd_grant_fn grant;
                svmd_holder_fn holder;
                svmd_history_fn history;
                svmd_drift_fn drift;
                svmd_limited_fn limited;
                svmd_setting_fn setting;
        } fn;
        void *userdata;
        const Svmd__V1__Result *result; /* that the row is of */
        bool over;                      /* the rest is not wanted */
        char name[SVMD_NAME_MAX + 1];   /* room for a key that is a name */
};

void walk_begin(struct walk *w, Svmd__V1__Op__OpCase op_case, void *body, int (*row)(struct walk *w, const void *row),
                void *userdata);
/* Asks page after page while there are more. */
int walk_run(svmd_session *s, struct walk *w);
