#include <string.h>

#include "account.h"
#include "advice.h"
#include "args.h"
#include "ctl.h"
#include "json.h"
#include "show.h"
#include "table.h"
#include "target.h"
#include "verbs.h"

/* What svmd answers lives during its callback, so it is written there. */
struct explain {
        struct ctl *ctl;
        const char *partition; /* NULL: the session's own */
        uint64_t address;
        struct node_rows nodes;
};

static const char *node_name(const struct explain *x, svmd_node node) {
        if (node == SVMD_NODE_CPU)
                return "cpu";
        return node == SVMD_NODE_NONE ? NULL : rows_node_name(x->ctl, &x->nodes, node);
}

static const char *ago(struct ctl *c, uint64_t ms) {
        if (ms == 0)
                return "never";
        return ms < 1000 ? ctl_text(c, "%llu ms ago", (unsigned long long)ms)
                         : ctl_text(c, "%s ago", ctl_duration(c, ms));
}

static const char *node_set(const struct explain *x, uint64_t nodes) {
        const char *text = "";

        for (; nodes; nodes &= nodes - 1)
                text = ctl_text(x->ctl, "%s%s%s", text, *text ? ", " : "",
                                node_name(x, (svmd_node)__builtin_ctzll(nodes)));
        return text;
}

static struct json_object *node_set_json(const struct explain *x, uint64_t nodes) {
        struct json_object *list = json_object_new_array();

        for (; nodes; nodes &= nodes - 1)
                json_object_array_add(list, json_object_new_string(node_name(x, (svmd_node)__builtin_ctzll(nodes))));
        return list;
}

static struct json_object *advice_json(const struct explain *x, const struct svmd_advice *a) {
        struct json_object *o = json_object_new_object();

        json_add_text(o, "preferred", node_name(x, a->preferred));
        json_add(o, "accessed_by", node_set_json(x, a->accessed_by));
        json_add_flag(o, "read_mostly", a->read_mostly);
        json_add_flag(o, "pinned", a->pinned);
        json_add(o, "granularity", a->granularity ? json_object_new_uint64(a->granularity) : NULL);
        json_add(o, "session", a->session ? json_object_new_uint64(a->session) : NULL);
        return o;
}

static void json_add_ago(struct json_object *o, const char *key, uint64_t ms) {
        json_add(o, key, ms ? json_object_new_uint64(ms) : NULL);
}

/* "none" is null. */
static const char *why(const char *text) {
        return strcmp(text, "none") ? text : NULL;
}

static struct json_object *past_json(const struct explain *x, const struct svmd_past_row *p) {
        struct json_object *o = json_object_new_object();

        json_add_count(o, "ms_ago", p->ms);
        json_add_count(o, "began_ms_ago", p->began_ms);
        json_add_text(o, "what", p->deed);
        json_add_text(o, "cause", p->cause);
        json_add_text(o, "why", why(p->why));
        json_add_text(o, "by", node_name(x, p->by));
        json_add_text(o, "from", node_name(x, p->from));
        json_add_text(o, "to", node_name(x, p->to));
        json_add(o, "for_reservation", p->reservation ? json_object_new_uint64(p->reservation) : NULL);
        json_add_address(o, "address", p->address);
        json_add_count(o, "size", p->length);
        json_add_count(o, "times", p->times);
        return o;
}

static struct json_object *pasts_json(const struct explain *x, const struct svmd_past_row *const *rows, size_t count) {
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < count; i++)
                json_object_array_add(list, past_json(x, rows[i]));
        return list;
}

static struct json_object *touch_json(const struct explain *x, const struct svmd_touch_row *t) {
        struct json_object *o = json_object_new_object();

        json_add_text(o, "node", node_name(x, t->node));
        json_add_text(o, "access", t->write ? "write" : "read");
        json_add_text(o, "outcome", t->outcome);
        json_add_text(o, "why", why(t->why));
        json_add(o, "code", json_object_new_int(t->code));
        json_add_text(o, "to", node_name(x, t->to));
        json_add_text(o, "state", t->state);
        json_add_text(o, "on", node_name(x, t->on));
        json_add(o, "copies", node_set_json(x, t->copies));
        return o;
}

static struct json_object *touches_json(const struct explain *x, const struct svmd_explanation *e) {
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < e->touches_count; i++)
                json_object_array_add(list, touch_json(x, e->touches[i]));
        return list;
}

static struct json_object *hints_json(const struct explain *x, const struct svmd_explanation *e) {
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < e->hints_count; i++)
                json_object_array_add(list, advice_hint_json(x->ctl, &x->nodes, e->hints[i]));
        return list;
}

static void explain_json(const struct explain *x, const struct svmd_explanation *e) {
        struct json_object *o = json_object_new_object(), *sentences = json_object_new_array();

        json_add_address(o, "address", x->address);
        for (size_t i = 0; i < e->sentences_count; i++)
                json_object_array_add(sentences, json_object_new_string(e->sentences[i]));
        json_add(o, "sentences", sentences);
        json_add(o, "reservation", e->reservation ? show_reservation_json(x->ctl, e->reservation) : NULL);
        json_add(o, "granule", e->granule ? show_residency_json(x->ctl, &x->nodes, e->granule, true) : NULL);
        json_add(o, "advice", e->advice ? advice_json(x, e->advice) : NULL);
        json_add_count(o, "moves", e->moves);
        json_add_ago(o, "moved_ms_ago", e->moved_ms);
        json_add_ago(o, "touched_ms_ago", e->touched_ms);
        json_add(o, "hints", hints_json(x, e));
        json_add(o, "history", pasts_json(x, e->history, e->history_count));
        json_add(o, "not_done", pasts_json(x, e->not_done, e->not_done_count));
        json_add(o, "touches", touches_json(x, e));
        json_print(x->ctl, o);
}

static void add_reservation(const struct explain *x, struct fields *f, const struct svmd_reservation_row *r) {
        struct ctl *c = x->ctl;

        fields_add(f, "reservation", "%s, %s from %s", *r->name ? r->name : "without a name", ctl_size(c, r->length),
                   ctl_address(c, r->address));
        fields_add(f, "partition", "%s", r->partition);
        fields_add(f, "owner", "%s:%s, session %llu", account_user(c, r->uid), account_group(c, r->gid),
                   (unsigned long long)r->session);
        if (r->kind == SVMD_PRIVATE)
                fields_add(f, "kind", "%s, whose residency is observed", show_kind(r));
        else if (r->kind == SVMD_SHARED)
                fields_add(f, "kind", "%s, in granules of %s", show_kind(r), ctl_size(c, r->granule));
        else
                fields_add(f, "kind", "%s, shows %s of memory objects", show_kind(r), ctl_size(c, r->mapped));
}

static void add_granule(const struct explain *x, struct fields *f, const struct svmd_residency_row *g) {
        const char *node = node_name(x, g->node), *copies = node_set(x, g->copies);

        fields_add(f, "granule", "%s at %s", ctl_size(x->ctl, g->length), ctl_address(x->ctl, g->address));
        fields_add(f, "state", "%s%s", g->state, g->busy ? ", on its way" : "");
        fields_add(f, "node", "%s", node ? node : strcmp(g->cause, "observed") ? "none: it is zero" : "none");
        if (*copies)
                fields_add(f, "copies", "%s", copies);
        if (strcmp(g->cause, "observed") == 0)
                return;
        fields_add(f, "cause", "%s", g->cause);
        fields_add(f, "pins", "%u", g->pins);
}

static void add_advice(const struct explain *x, struct fields *f, const struct svmd_advice *a) {
        const char *node = node_name(x, a->preferred), *accessed = node_set(x, a->accessed_by), *text = "";
        struct ctl *c = x->ctl;

        if (node)
                text = ctl_text(c, "preferred on %s; ", node);
        if (*accessed)
                text = ctl_text(c, "%saccessed by %s; ", text, accessed);
        if (a->read_mostly)
                text = ctl_text(c, "%sread mostly; ", text);
        if (a->pinned)
                text = ctl_text(c, "%sto be left where it is; ", text);
        if (a->granularity)
                text = ctl_text(c, "%s%s move together; ", text, ctl_size(c, a->granularity));
        if (!*text)
                fields_add(f, "advice", "none");
        else if (a->session)
                fields_add(f, "advice", "%slast said by session %llu", text, (unsigned long long)a->session);
        else
                fields_add(f, "advice", "%.*s", (int)strlen(text) - 2, text);
}

static void explain_text(const struct explain *x, const struct svmd_explanation *e) {
        struct fields *f = fields_new(x->ctl);
        struct ctl *c = x->ctl;

        for (size_t i = 0; i < e->sentences_count; i++)
                table_sentence(c, e->sentences[i]);
        if (e->sentences_count == 0 && !e->reservation)
                fprintf(c->out, "Nothing is reserved at %s.\n", ctl_address(c, x->address));
        if (e->sentences_count && e->reservation)
                fputc('\n', c->out);
        if (e->reservation)
                add_reservation(x, f, e->reservation);
        if (e->granule) {
                add_granule(x, f, e->granule);
        }
        if (e->granule && strcmp(e->granule->cause, "observed") != 0) {
                fields_add(f, "moves", "%u, out of host memory %u, back %u; the last %s", e->moves, e->granule->outs,
                           e->granule->ins, ago(c, e->moved_ms));
                fields_add(f, "touched", "%s", ago(c, e->touched_ms));
        }
        if (e->advice)
                add_advice(x, f, e->advice);
        fields_print(f);
}

static int on_explanation(const struct svmd_explanation *e, void *userdata) {
        const struct explain *x = userdata;

        (x->ctl->json ? explain_json : explain_text)(x, e);
        return 0;
}

int explain_run(struct ctl *c, const struct args *a) {
        struct explain x = { .ctl = c };
        int r = target_address(c, a->words[0], &x.partition, &x.address);

        if (r == EXIT_OK)
                r = ctl_result(c, rows_nodes(c, &x.nodes));
        if (r != EXIT_OK)
                return r;
        ctl_observe(c, x.partition, x.address - x.address % 4096, 4096);
        return ctl_result(c, svmd_explain(c->session, x.partition, x.address, on_explanation, &x));
}
