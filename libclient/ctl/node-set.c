#include "args.h"
#include "ctl.h"
#include "json.h"
#include "plan.h"
#include "rows.h"
#include "verbs.h"
#include "work.h"

/* Taking nodes out of use, and back. What leaves a node is read from its own row. */
struct node_set {
        const char *name;          /* "drain" */
        unsigned action;           /* SVMD_NODE_* */
        struct svmd_node_row node; /* before */
        struct plan plan;          /* of those that empty it */
};

static bool empties(const struct node_set *n) {
        return n->action == SVMD_NODE_DRAIN || n->action == SVMD_NODE_OFFLINE;
}

static int ask_plan(struct ctl *c, const void *what, svmd_plan_fn fn, void *userdata) {
        const struct node_set *n = what;

        return svmd_node_plan(c->session, n->node.id, n->action, fn, userdata);
}

static uint64_t planned(const struct node_set *n, unsigned kind) {
        uint64_t sum = 0;

        for (size_t i = 0; i < n->plan.count; i++)
                sum += n->plan.rows[i].kind == kind ? n->plan.rows[i].bytes : 0;
        return sum;
}

static int look(struct ctl *c, svmd_node id, struct svmd_node_row *ret) {
        struct node_rows nodes;
        int r = rows_nodes(c, &nodes);

        for (size_t i = 0; r == SVMD_OK && i < nodes.count; i++) {
                if (nodes.rows[i].id == id)
                        *ret = nodes.rows[i];
        }
        return r;
}

static const char *how_far(struct ctl *c, void *userdata) {
        const struct node_set *n = userdata;
        struct svmd_node_row now = n->node;

        if (look(c, n->node.id, &now) != SVMD_OK)
                return NULL;
        return ctl_text(c, "%s %s: %s left of %s", n->action == SVMD_NODE_DRAIN ? "draining" : "setting", n->node.name,
                        ctl_size(c, now.managed), ctl_size(c, n->node.managed));
}

static void say_json(struct ctl *c, const struct node_set *n, const struct svmd_node_row *now, const char *result) {
        struct json_object *o = json_object_new_object();

        json_add_text(o, "change", n->name);
        json_add_text(o, "node", n->node.name);
        json_add_flag(o, "dry_run", result == NULL);
        json_add_text(o, "result", result);
        json_add_flag(o, "online", now->online);
        json_add_count(o, "left_bytes", now->managed);
        json_add_count(o, "used", now->used);
        if (empties(n))
                json_add(o, "plan", plan_json(c, &n->plan));
        json_print(c, o);
}

/* "768 MiB of managed memory and 256 MiB that programs created go elsewhere; 4 KiB stays" */
static const char *what_leaves(struct ctl *c, const struct node_set *n) {
        uint64_t managed = planned(n, SVMD_PLAN_EVICT), created = planned(n, SVMD_PLAN_SPILL);
        uint64_t stays = planned(n, SVMD_PLAN_STAYS);
        const char *text = "nothing has to go elsewhere";

        if (managed && created)
                text = ctl_text(c, "%s of managed memory and %s that programs created there go elsewhere",
                                ctl_size(c, managed), ctl_size(c, created));
        else if (managed)
                text = ctl_text(c, "%s of managed memory there goes elsewhere", ctl_size(c, managed));
        else if (created)
                text = ctl_text(c, "%s that programs created there goes to a host", ctl_size(c, created));
        return stays ? ctl_text(c, "%s; %s stays", text, ctl_size(c, stays)) : text;
}

static int dry_text(struct ctl *c, const struct node_set *n) {
        if (n->action == SVMD_NODE_ONLINE)
                fprintf(c->out, "Would put %s online\n", n->node.name);
        else if (n->action == SVMD_NODE_LOST)
                fprintf(c->out, "Would give up %s: up to %s of managed memory there is lost\n", n->node.name,
                        ctl_size(c, n->node.managed));
        else
                fprintf(c->out, "Would %s %s: %s\n", n->action == SVMD_NODE_DRAIN ? "drain" : "take offline",
                        n->node.name, what_leaves(c, n));
        return ctl_result(c, plan_show(c, &n->plan));
}

static void say(struct ctl *c, const struct node_set *n, const struct svmd_node_row *now) {
        const char *name = n->node.name;
        uint64_t left = now->managed, gone = n->node.managed > left ? n->node.managed - left : 0;

        if (n->action == SVMD_NODE_ONLINE) {
                fprintf(c->out, "Node %s is %s\n", name, now->online ? "online" : "offline");
                return;
        }
        if (n->action == SVMD_NODE_LOST) {
                fprintf(c->out,
                        "Node %s is %s; what was managed there and nowhere else is lost until it is discarded\n", name,
                        now->online ? "online" : "offline");
                return;
        }
        fprintf(c->out, "Node %s is %s; %s of managed memory has left it", name, now->online ? "online" : "offline",
                ctl_size(c, gone));
        if (left)
                fprintf(c->out, ", %s is still there", ctl_size(c, left));
        fputc('\n', c->out);
        if (now->used > left)
                fprintf(c->out,
                        "%s that programs created there is still there: pinned, in use, or without room on a host; "
                        "'svmd-ctl node show %s' says whose\n",
                        ctl_size(c, now->used - left), name);
}

static int carry_out(struct ctl *c, const struct node_set *n, uint64_t deadline) {
        struct work w = { .deadline_ns = deadline, .how_far = how_far, .userdata = (void *)n };
        struct svmd_node_row now = n->node;
        const char *why;
        int r = svmd_node_set(c->session, &w.fence, n->node.id, n->action);

        if (r != SVMD_OK)
                return ctl_result(c, r);
        r = work_wait(c, &w, &why);
        if (r != SVMD_E_GONE && look(c, n->node.id, &now) == SVMD_OK) {
                if (c->json)
                        say_json(c, n, &now, svmd_status_name(r));
                else
                        say(c, n, &now);
        }
        return work_result(c, r, why);
}

/* Taking into use again needs no question. Who is asked sees the plan. */
static int agreed(struct ctl *c, const struct args *a, const struct node_set *n) {
        const char *name = n->node.name;
        int r = SVMD_OK;

        if (n->action == SVMD_NODE_ONLINE)
                return EXIT_OK;
        if (n->action == SVMD_NODE_LOST)
                return args_agreed(
                        c, a, ctl_text(c, "Give up %s of managed memory on %s?", ctl_size(c, n->node.managed), name));
        if (c->can_ask && !a->value[OPT_YES])
                r = plan_tell(c, &n->plan);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        return args_agreed(c, a,
                           ctl_text(c, "%s %s: %s?", n->action == SVMD_NODE_DRAIN ? "Drain" : "Take offline", name,
                                    what_leaves(c, n)));
}

static int run(struct ctl *c, const struct args *a, struct node_set *n) {
        const struct svmd_node_row *node;
        struct node_rows nodes;
        uint64_t deadline;
        int r = work_deadline(c, a, &deadline);

        if (r == EXIT_OK)
                r = ctl_result(c, rows_nodes(c, &nodes));
        if (r == EXIT_OK)
                r = rows_find_node(c, &nodes, a->words[0], &node);
        if (r != EXIT_OK)
                return r;
        n->node = *node;
        if (empties(n))
                r = ctl_result(c, plan_from(c, &(struct plan_source){ n->node.name, ask_plan, n }, &n->plan));
        if (r != EXIT_OK)
                return r;
        if (!a->value[OPT_DRY_RUN]) {
                r = agreed(c, a, n);
                return r == EXIT_OK ? carry_out(c, n, deadline) : r;
        }
        if (!c->json)
                return dry_text(c, n);
        say_json(c, n, &n->node, NULL);
        return EXIT_OK;
}

int node_drain_run(struct ctl *c, const struct args *a) {
        return run(c, a, &(struct node_set){ .name = "drain", .action = SVMD_NODE_DRAIN });
}

int node_offline_run(struct ctl *c, const struct args *a) {
        return run(c, a, &(struct node_set){ .name = "offline", .action = SVMD_NODE_OFFLINE });
}

int node_lost_run(struct ctl *c, const struct args *a) {
        return run(c, a, &(struct node_set){ .name = "lost", .action = SVMD_NODE_LOST });
}

int node_online_run(struct ctl *c, const struct args *a) {
        return run(c, a, &(struct node_set){ .name = "online", .action = SVMD_NODE_ONLINE });
}
