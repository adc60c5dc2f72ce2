#include "plan.h"

#include <string.h>
#include <time.h>

#include "ctl.h"
#include "json.h"
#include "rows.h"
#include "table.h"

#define LOOK_NS  100000000l
#define STILL_NS 5000000000ull

struct taking {
        struct ctl *c;
        struct plan *plan;
        size_t room;
};

static int take(const struct svmd_plan_row *row, void *userdata) {
        struct taking *t = userdata;
        struct plan *p = t->plan;

        if (p->count == t->room) {
                struct svmd_plan_row *more;

                t->room = t->room ? 2 * t->room : 16;
                more = ctl_alloc(t->c, t->room * sizeof(*more));
                if (p->count)
                        memcpy(more, p->rows, p->count * sizeof(*more));
                p->rows = more;
        }
        p->rows[p->count] = *row;
        p->rows[p->count++].client = ctl_copy(t->c, row->client);
        return 0;
}

int plan_from(struct ctl *c, const struct plan_source *from, struct plan *ret) {
        struct taking t = { .c = c, .plan = ret };

        *ret = (struct plan){ 0 };
        return from->ask(c, from->what, take, &t);
}

int plan_get(struct ctl *c, const char *partition, const struct svmd_partition_options *opts, struct plan *ret) {
        struct taking t = { .c = c, .plan = ret };

        *ret = (struct plan){ 0 };
        return svmd_partition_plan(c->session, partition, opts, take, &t);
}

uint64_t plan_bytes(const struct plan *p) {
        uint64_t sum = 0;

        for (size_t i = 0; i < p->count; i++)
                sum += p->rows[i].kind == SVMD_PLAN_GIVE_BACK ? 0 : p->rows[i].bytes;
        return sum;
}

unsigned plan_steals(const struct plan *p) {
        unsigned n = 0;

        for (size_t i = 0; i < p->count; i++)
                n += p->rows[i].kind == SVMD_PLAN_STEAL;
        return n;
}

static const struct {
        const char *name, *text;
} kinds[] = {
        [SVMD_PLAN_GIVE_BACK] = { "give-back", "asked to give back" },
        [SVMD_PLAN_EVICT] = { "evict", "managed pages leave" },
        [SVMD_PLAN_SPILL] = { "spill", "moved to a host" },
        [SVMD_PLAN_STEAL] = { "steal", "taken: the session ends" },
        [SVMD_PLAN_STAYS] = { "stays", "cannot be taken" },
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static const char *whose(struct ctl *c, const struct svmd_plan_row *row) {
        return row->session ? ctl_text(c, "session %llu, pid %u (%s)", (unsigned long long)row->session, row->pid,
                                       row->client)
                            : "-";
}

int plan_show(struct ctl *c, const struct plan *p) {
        static const struct column columns[] = {
                { "NODE", 0 }, { "BYTES", COLUMN_RIGHT }, { "WHAT", 0 }, { "WHOSE", 0 }
        };
        struct node_rows nodes;
        struct table *t;
        int r = p->count ? rows_nodes(c, &nodes) : SVMD_OK;

        if (r != SVMD_OK || p->count == 0)
                return r;
        t = table_new(c, columns, 4);
        for (size_t i = 0; i < p->count; i++) {
                const struct svmd_plan_row *row = &p->rows[i];
                struct table_line *l = table_line(t, NULL);

                table_cell(l, rows_node_name(c, &nodes, row->node));
                table_cell(l, ctl_size(c, row->bytes));
                table_cell(l, row->kind == SVMD_PLAN_STEAL && !row->session ? "taken"
                              : row->kind < KINDS                           ? kinds[row->kind].text
                                                                            : "?");
                table_cell(l, whose(c, row));
        }
        table_print(t, NULL);
        return SVMD_OK;
}

int plan_tell(struct ctl *c, const struct plan *p) {
        FILE *out = c->out;
        int r;

        c->out = c->err;
        r = plan_show(c, p);
        c->out = out;
        return r;
}

struct json_object *plan_json(struct ctl *c, const struct plan *p) {
        struct json_object *list = json_object_new_array();
        struct node_rows nodes = { 0 };

        if (p->count)
                (void)rows_nodes(c, &nodes);
        for (size_t i = 0; i < p->count; i++) {
                const struct svmd_plan_row *row = &p->rows[i];
                struct json_object *o = json_object_new_object();

                json_add_text(o, "node", rows_node_name(c, &nodes, row->node));
                json_add_text(o, "step", row->kind < KINDS ? kinds[row->kind].name : "?");
                json_add_count(o, "bytes", row->bytes);
                json_add_count(o, "session", row->session);
                json_add_count(o, "pid", row->pid);
                json_add_text(o, "client", row->client);
                json_object_array_add(list, o);
        }
        return list;
}

/* ---- waiting ---- */

static void show_left(struct ctl *c, const char *name, uint64_t left) {
        if (!c->watched)
                return;
        fprintf(c->err, "\r\033[K%s: %s left", name, ctl_size(c, left));
        fflush(c->err);
}

int plan_wait(struct ctl *c, const struct plan_source *from, uint64_t deadline_ms, struct plan *ret) {
        const struct timespec pause = { .tv_nsec = LOOK_NS };
        uint64_t since = ctl_now_ns() + deadline_ms * 1000000, least = UINT64_MAX, left;
        int r;

        while ((r = plan_from(c, from, ret)) == SVMD_OK && (left = plan_bytes(ret)) > 0) {
                uint64_t now = ctl_now_ns();

                if (left < least && now > since)
                        since = now;
                least = left < least ? left : least;
                if (now > since && now - since > STILL_NS)
                        break;
                show_left(c, from->name, left);
                nanosleep(&pause, NULL);
        }
        if (c->watched)
                fputs("\r\033[K", c->err);
        return r;
}
