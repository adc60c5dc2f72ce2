#pragma once

#include <stdint.h>
#include <stdio.h>

struct args;
struct ctl;

enum {
        VERB_ADMIN = 1,      /* changes or sees everything: only over admin.sock */
        VERB_OWN = 2,        /* over a client socket it is about the caller's own partition, which is attached */
        VERB_NO_SESSION = 4, /* makes its own connection */
        VERB_ASKS = 8,       /* cannot be undone: on a terminal it says what would be and asks, unless --yes */
};

/* One row per verb: it drives dispatch, --help, suggestions and the man page. */
struct verb {
        const char *name; /* "partition create" */
        const char *operands;
        unsigned least, most; /* how many operands */
        uint64_t options;     /* BIT(OPT_*) */
        unsigned flags;
        const char *summary; /* "List ..." */
        const char *more;    /* sentences that go on from there; may be NULL */
        const char *examples[2];
        int (*run)(struct ctl *c, const struct args *a);
};
extern const struct verb verbs[];
extern const unsigned verbs_count;

/* svmd-ctl, from its arguments to its exit status. */
int verbs_main(int argc, char **argv, FILE *out, FILE *err);
/* The verbs and the options as mdoc, for svmd-ctl(1). */
void verbs_print_mdoc(FILE *out);

int status_run(struct ctl *c, const struct args *a);
int doctor_run(struct ctl *c, const struct args *a);
int node_list_run(struct ctl *c, const struct args *a);
int node_show_run(struct ctl *c, const struct args *a);
int node_drain_run(struct ctl *c, const struct args *a);
int node_lost_run(struct ctl *c, const struct args *a);
int node_offline_run(struct ctl *c, const struct args *a);
int node_online_run(struct ctl *c, const struct args *a);
int partition_create_run(struct ctl *c, const struct args *a);
int partition_list_run(struct ctl *c, const struct args *a);
int partition_show_run(struct ctl *c, const struct args *a);
int partition_set_run(struct ctl *c, const struct args *a);
int partition_delete_run(struct ctl *c, const struct args *a);
int cdi_generate_run(struct ctl *c, const struct args *a);
int cdi_list_run(struct ctl *c, const struct args *a);
int cdi_remove_run(struct ctl *c, const struct args *a);
int session_list_run(struct ctl *c, const struct args *a);
int session_kill_run(struct ctl *c, const struct args *a);
int session_limit_run(struct ctl *c, const struct args *a);
int cgroup_list_run(struct ctl *c, const struct args *a);
int cgroup_set_run(struct ctl *c, const struct args *a);
int cgroup_delete_run(struct ctl *c, const struct args *a);
int reservation_list_run(struct ctl *c, const struct args *a);
int lease_list_run(struct ctl *c, const struct args *a);
int grant_list_run(struct ctl *c, const struct args *a);
int session_show_run(struct ctl *c, const struct args *a);
int lease_remove_run(struct ctl *c, const struct args *a);
int share_list_run(struct ctl *c, const struct args *a);
int share_set_run(struct ctl *c, const struct args *a);
int share_remove_run(struct ctl *c, const struct args *a);
int kept_list_run(struct ctl *c, const struct args *a);
int kept_remove_run(struct ctl *c, const struct args *a);
int usage_run(struct ctl *c, const struct args *a);
int map_run(struct ctl *c, const struct args *a);
int advice_run(struct ctl *c, const struct args *a);
int advise_run(struct ctl *c, const struct args *a);
int explain_run(struct ctl *c, const struct args *a);
int migrate_run(struct ctl *c, const struct args *a);
int evict_run(struct ctl *c, const struct args *a);
int discard_run(struct ctl *c, const struct args *a);
int revoke_run(struct ctl *c, const struct args *a);
int top_run(struct ctl *c, const struct args *a);
int bugreport_run(struct ctl *c, const struct args *a);
int monitor_run(struct ctl *c, const struct args *a);
int policy_show_run(struct ctl *c, const struct args *a);
int policy_set_run(struct ctl *c, const struct args *a);
int policy_unset_run(struct ctl *c, const struct args *a);
int reload_run(struct ctl *c, const struct args *a);
int upgrade_run(struct ctl *c, const struct args *a);
int trace_record_run(struct ctl *c, const struct args *a);
int wait_run(struct ctl *c, const struct args *a);
