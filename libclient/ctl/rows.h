#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <svmd.h>

struct ctl;

/*
 * What svmd answers to queries, kept to the end of the run. Each rows_*() returns a code of libsvmd, with `ret` filled
 * only on success.
 */
struct node_rows {
        const struct svmd_node_row *rows;
        size_t count;
};
struct link_rows {
        const struct svmd_link_row *rows;
        size_t count;
};
struct use_rows {
        const struct svmd_use_row *rows;
        size_t count;
};
struct finding_row {
        const char *id, *text;
        unsigned level;
};
struct finding_rows {
        const struct finding_row *rows;
        size_t count;
};
struct partition_rows {
        const struct svmd_partition_row *rows;
        size_t count;
};
struct session_rows {
        const struct svmd_session_row *rows;
        size_t count;
};
struct reservation_rows {
        const struct svmd_reservation_row *rows;
        size_t count;
};
struct share_rows {
        const struct svmd_share_row *rows;
        size_t count;
};
struct kept_rows {
        const struct svmd_kept_row *rows;
        size_t count;
};
struct lease_rows {
        const struct svmd_lease_row *rows;
        size_t count;
};
struct grant_rows {
        const struct svmd_grant_row *rows;
        size_t count;
};
struct limited_rows {
        const struct svmd_limited_row *rows;
        size_t count;
};
struct residency_rows {
        const struct svmd_residency_row *rows;
        size_t count;
};

int rows_nodes(struct ctl *c, struct node_rows *ret);
/* Of one session, or with 0 of all control groups that have limits. */
int rows_limited(struct ctl *c, uint64_t session, struct limited_rows *ret);
int rows_links(struct ctl *c, svmd_node node, struct link_rows *ret);
int rows_findings(struct ctl *c, struct finding_rows *ret);
/* Of one partition, or of all (NULL). */
int rows_partitions(struct ctl *c, const char *name, struct partition_rows *ret);
int rows_sessions(struct ctl *c, const char *partition, struct session_rows *ret);
/* These are of the session's own partition when it may not administer. */
int rows_reservations(struct ctl *c, const char *partition, struct reservation_rows *ret);
int rows_shares(struct ctl *c, const char *partition, struct share_rows *ret);
int rows_kept(struct ctl *c, const char *partition, struct kept_rows *ret);
int rows_leases(struct ctl *c, const char *partition, struct lease_rows *ret);
int rows_grants(struct ctl *c, const char *partition, struct grant_rows *ret);
int rows_usage(struct ctl *c, const char *partition, struct use_rows *ret);
/* Of a managed range, in address order. `partition` NULL: the session's own. */
int rows_residency(struct ctl *c, const char *partition, uint64_t address, uint64_t size, bool counters,
                   struct residency_rows *ret);

/* "host0", or "node 7" if it is not among the rows. */
const char *rows_node_name(struct ctl *c, const struct node_rows *nodes, svmd_node id);
/* The node of that name (or number); else an exit status, and what is wrong was written. */
int rows_find_node(struct ctl *c, const struct node_rows *nodes, const char *name, const struct svmd_node_row **ret);
