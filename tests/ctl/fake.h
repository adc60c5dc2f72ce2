#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <svmd.h>

/*
 * A client library without svmd (the partition "low" lies in the low window): it answers with the rows that a test puts
 * here, and notes what was asked for. `code` and `error` are what every call returns when set.
 */
struct fake {
        int admin_code, client_code; /* of connecting */
        int admin;                   /* the connection may administer */
        int code;                    /* of every query and change */
        const char *error;

        struct svmd_status status;
        const struct svmd_node_row *nodes;
        size_t nodes_count;
        const struct svmd_link_row *links;
        size_t links_count;
        const struct svmd_use_row *use;
        size_t use_count;
        struct {
                const char *id;
                unsigned level;
                const char *text;
        } findings[8];
        size_t findings_count;
        const struct svmd_partition_row *partitions;
        size_t partitions_count;
        const struct svmd_session_row *sessions;
        size_t sessions_count;
        const struct svmd_limited_row *limited; /* of sessions and of control groups */
        size_t limited_count;
        const struct svmd_reservation_row *reservations;
        size_t reservations_count;
        const struct svmd_holder_row *holders;
        size_t holders_count;
        const struct svmd_history_row *history;
        size_t history_count;
        struct svmd_history_options history_asked;
        struct svmd_history_span history_span;
        const struct svmd_metric_row *metrics;
        size_t metrics_count;
        const struct svmd_drift_row *drift;
        size_t drift_count;
        const struct svmd_grant_row *grants;
        size_t grants_count;
        const struct svmd_lease_row *leases;
        size_t leases_count;
        const struct svmd_kept_row *kept;
        size_t kept_count;
        const struct svmd_share_row *shares;
        size_t shares_count;
        const struct svmd_event *events;
        size_t events_count, events_sent;
        unsigned appear_after; /* a partition shows only from that query on */

        /* Managed memory is where `residency` says, and from the end of a fence on where `moved` says. */
        const struct svmd_residency_row *residency;
        size_t residency_count;
        const struct svmd_residency_row *moved;
        size_t moved_count;
        const struct svmd_node_row *nodes_then; /* as many, from the end of a fence on; NULL: as before */
        const struct svmd_explanation *explanation;
        const struct svmd_advice_report *reports; /* parts, one behind the other */
        size_t reports_count;
        struct svmd_advice advised;
        const struct svmd_verdict_row *verdicts; /* of advice that is given */
        size_t verdicts_count;
        unsigned overruled;
        const struct svmd_setting_row *settings;
        size_t settings_count;
        char set_asked[512]; /* settings, one behind the other */
        const char *reloaded[4], *needs_restart[4];
        int start_code;       /* of what would return a fence */
        int fence_code;       /* how the fence ends */
        unsigned fence_after; /* waits that are over before it does */

        /* what was asked for */
        char connected[2][256]; /* the sockets, in order */
        unsigned connects, attached;
        char partition[64]; /* attached to by name */
        char name[64];
        struct svmd_partition_options options; /* without the domain */
        char domain[64];
        struct svmd_limit limits[8];
        unsigned set;
        int end_sessions, drop_kept, dry_run;
        uint64_t limited_session; /* whose limits were set: this one's, or those of `name` */
        struct svmd_limit_options limit_options;
        uint64_t deadline_ms;
        unsigned kind;         /* of what was to be kept no longer */
        char share_asked[128]; /* NAME TO ACCESS MEMORY PARTITION */
        uint64_t killed;
        const struct svmd_plan_row *plan; /* until there were more changes than `plan_until` */
        size_t plan_count;
        unsigned planned_action;
        unsigned plan_until;
        unsigned changes, queries;
        const char *asked; /* which of the functions with a fence; NULL: none */
        char asked_partition[64];
        uint64_t asked_address, asked_size;
        svmd_node asked_node;
        unsigned asked_action; /* of a node; 1: take back what was revoked */
        int asked_counters;
        const char *upgraded; /* the version that svmd goes on as; NULL: it cannot */
        char binary[64];
        struct svmd_trace trace; /* how the recording stands */
        int trace_code;          /* of asking that */
        unsigned trace_flags, trace_closed;
        bool trace_stopped;
        unsigned upgrade_flags, gone; /* gone: queries of the status that find no svmd */
        unsigned waits, fences;       /* fences: that are not freed */
        bool done;                    /* a fence has ended */
};
extern struct fake fake;

/* Everything as an administrator on a machine without anything. */
void fake_reset(void);

/* Runs svmd-ctl with a line of words separated by spaces ('single quotes' hold a word together). What it wrote stands
 * in run_out and run_err until the next run. */
extern char *run_out, *run_err;
int run(const char *line);
/* The same on a terminal, where a person answers. */
int run_asked(const char *line, const char *answer);
