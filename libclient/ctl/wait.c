#include <errno.h>
#include <string.h>
#include <time.h>

#include "args.h"
#include "condition.h"
#include "ctl.h"
#include "guard.h"
#include "json.h"
#include "reach.h"
#include "rows.h"
#include "verbs.h"

enum { POLL_NS = 20000000 };

/*
 * Looks at the condition every 20 ms until it holds. svmd may be away, before its start or between two: then the
 * condition does not hold yet.
 */
struct look {
        const struct condition *condition;
        bool holds;
        const char *was; /* what it was at the last look, for the person */
};

static void look_at_count(struct ctl *c, struct look *l, const char *what, uint64_t value) {
        l->holds = condition_compare(l->condition, value);
        l->was = ctl_text(c, "%s %llu", what, (unsigned long long)value);
}

/* Connections that have no partition, as this one, are not counted; without rights only this one is known of. */
static int look_at_sessions(struct ctl *c, struct look *l) {
        struct svmd_status status = { .size = sizeof(status) };
        struct session_rows sessions;
        uint64_t count = 0;
        int r;

        if (!c->info.admin) {
                r = svmd_query_status(c->session, &status);
                if (r == SVMD_OK)
                        look_at_count(c, l, "sessions were", status.sessions - (status.sessions > 0));
                return r;
        }
        r = rows_sessions(c, NULL, &sessions);
        if (r != SVMD_OK)
                return r;
        for (size_t i = 0; i < sessions.count; i++)
                count += *sessions.rows[i].partition != '\0';
        look_at_count(c, l, "sessions were", count);
        return SVMD_OK;
}

static int look_at_node(struct ctl *c, struct look *l) {
        struct node_rows nodes;
        int r = rows_nodes(c, &nodes);

        if (r != SVMD_OK)
                return r;
        l->was = ctl_text(c, "there is no node '%s'", l->condition->name);
        for (size_t i = 0; i < nodes.count; i++) {
                if (strcmp(nodes.rows[i].name, l->condition->name) != 0)
                        continue;
                l->holds = condition_compare(l->condition, nodes.rows[i].used);
                l->was = ctl_text(c, "node %s used %s (%llu bytes)", nodes.rows[i].name,
                                  ctl_size(c, nodes.rows[i].used), (unsigned long long)nodes.rows[i].used);
        }
        return SVMD_OK;
}

static int look_at_partition(struct ctl *c, struct look *l) {
        struct partition_rows partitions = { 0 };
        int r = rows_partitions(c, l->condition->name, &partitions);
        bool exists;

        if (r != SVMD_OK && r != SVMD_E_NO_SUCH)
                return r;
        exists = partitions.count > 0;
        l->was = ctl_text(c, exists ? "partition %s was there" : "there was no partition %s", l->condition->name);
        if (l->condition->kind == CONDITION_PARTITION_EXISTS)
                l->holds = exists;
        else if (l->condition->kind == CONDITION_PARTITION_GONE)
                l->holds = !exists;
        else if (exists)
                look_at_count(c, l, ctl_text(c, "sessions of partition %s were", l->condition->name),
                              partitions.rows[0].sessions);
        return SVMD_OK;
}

static int look_once(struct ctl *c, struct look *l) {
        switch (l->condition->kind) {
        case CONDITION_READY: l->holds = true; return SVMD_OK;
        case CONDITION_SESSIONS: return look_at_sessions(c, l);
        case CONDITION_NODE_USED: return look_at_node(c, l);
        default: return look_at_partition(c, l);
        }
}

static void leave(struct ctl *c) {
        svmd_disconnect(c->session);
        c->session = NULL;
}

/* EXIT_OK: looked, or svmd is away. */
static int look(struct ctl *c, struct look *l) {
        int r;

        if (!c->session && reach_quietly(c, 0, &l->was) != EXIT_OK)
                return EXIT_OK;
        r = look_once(c, l);
        if (r == SVMD_E_GONE) {
                leave(c);
                l->was = "svmd had ended the session";
                return EXIT_OK;
        }
        return ctl_result(c, r);
}

static int wait_till(struct ctl *c, const struct condition *condition, uint64_t deadline) {
        const struct timespec pause = { .tv_nsec = POLL_NS };
        char was[512] = "";

        for (;;) {
                struct look l = { .condition = condition };
                void *mark = obstack_alloc(&c->pool, 0);
                int r = look(c, &l);

                if (r != EXIT_OK || l.holds)
                        return r;
                snprintf(was, sizeof(was), "%s", l.was);
                obstack_free(&c->pool, mark);
                if (ctl_now_ns() >= deadline)
                        return ctl_fail(c, EXIT_TIMEOUT, "the time is over: %s", was);
                nanosleep(&pause, NULL);
        }
}

int wait_run(struct ctl *c, const struct args *a) {
        struct condition condition;
        uint64_t timeout = UINT64_MAX, begin = ctl_now_ns(), deadline;
        struct json_object *o;
        char why[256];
        int r;

        if (condition_parse(&condition, a->words, a->words_count, why) != 0)
                return ctl_fail(c, EXIT_USAGE, "%s; see 'svmd-ctl wait --help'", why);
        r = args_seconds(c, a, OPT_TIMEOUT, &timeout);
        if (r != EXIT_OK)
                return r;
        deadline = timeout == UINT64_MAX ? UINT64_MAX : begin + timeout;
        if (timeout != UINT64_MAX)
                guard_set(timeout);
        r = wait_till(c, &condition, deadline);
        guard_end();
        if (r != EXIT_OK || !c->json)
                return r;
        o = json_object_new_object();
        json_add_count(o, "waited_ms", (ctl_now_ns() - begin) / 1000000);
        return json_print(c, o);
}
