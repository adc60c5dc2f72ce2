#include <string.h>

#include "ctl.h"
#include "drift.h"
#include "json.h"
#include "table.h"
#include "usage.h"

/* What the kernel and drivers report, against what svmd gave out. */

static const char *signed_size(struct ctl *c, uint64_t reported, uint64_t ledger) {
        if (reported == ledger)
                return "0";
        return reported > ledger ? ctl_text(c, "+%s", ctl_size(c, reported - ledger))
                                 : ctl_text(c, "-%s", ctl_size(c, ledger - reported));
}

static int collect(const struct svmd_drift_row *row, void *userdata) {
        struct drift_rows *d = userdata;
        struct svmd_drift_row *grown, *copy;

        if (d->count == d->room) {
                d->room = d->room ? 2 * d->room : 16;
                grown = ctl_alloc(d->c, d->room * sizeof(*grown));
                if (d->count)
                        memcpy(grown, d->rows, d->count * sizeof(*grown));
                d->rows = grown;
        }
        copy = &d->rows[d->count++];
        *copy = *row;
        copy->source = ctl_copy(d->c, row->source);
        copy->subject = ctl_copy(d->c, row->subject);
        copy->place = ctl_copy(d->c, row->place);
        copy->why = ctl_copy(d->c, row->why);
        copy->container = ctl_copy(d->c, row->container);
        return 0;
}

int drift_read(struct ctl *c, struct drift_rows *ret) {
        *ret = (struct drift_rows){ .c = c };
        return svmd_query_drift(c->session, collect, ret);
}

const char *drift_summary(struct ctl *c, const struct drift_rows *d) {
        unsigned nodes = 0, others = 0;

        for (size_t i = 0; i < d->count; i++) {
                bool differs = d->rows[i].reported != d->rows[i].ledger;

                nodes += differs && d->rows[i].scope == SVMD_DRIFT_NODE;
                others += differs && d->rows[i].scope == SVMD_DRIFT_PROCESS;
        }
        if (d->count && d->rows[0].moving)
                return "memory moves at this moment; look again";
        if (nodes)
                return ctl_text(c, "the kernel reports something else than svmd gave out: 'svmd-ctl usage --drift'");
        return others ? ctl_text(c, "none; processes have device memory from drivers: 'svmd-ctl usage --drift'")
                      : "none";
}

static void counts_add(struct svmd_driver_counts *to, const struct svmd_driver_counts *n) {
        to->has |= n->has;
        to->faults += n->faults;
        to->pages_in += n->pages_in;
        to->pages_out += n->pages_out;
        to->evicted_ms += n->evicted_ms;
}

int drift_read_process(struct ctl *c, uint32_t pid, struct drift_rows *ret, struct svmd_driver_counts *ret_counts) {
        int r = drift_read(c, ret);
        size_t n = 0;

        *ret_counts = (struct svmd_driver_counts){ .has = 0 };
        for (size_t i = 0; r == SVMD_OK && i < ret->count; i++) {
                if (ret->rows[i].pid != pid)
                        continue;
                counts_add(ret_counts, &ret->rows[i].counts);
                if (ret->rows[i].unbrokered)
                        ret->rows[n++] = ret->rows[i];
        }
        ret->count = n;
        return r;
}

static const char *subject(struct ctl *c, const struct svmd_drift_row *r) {
        if (r->container[0])
                return ctl_text(c, "%s, %s", r->container, r->subject);
        return r->scope == SVMD_DRIFT_PROCESS ? ctl_text(c, "process %u, %s", r->pid, r->subject) : r->subject;
}

static const char *why(struct ctl *c, const struct svmd_drift_row *r) {
        return r->killed ? ctl_text(c, "%s%sthe kernel ended %llu of its processes for want of room", r->why,
                                    r->why[0] ? "; " : "", (unsigned long long)r->killed)
                         : r->why;
}

void drift_show(struct ctl *c, const struct drift_rows *d, const char *none) {
        static const struct column columns[] = {
                { "OF", COLUMN_TRUNC },       { "WHERE", COLUMN_TRUNC },  { "SAYS", 0 },
                { "REPORTED", COLUMN_RIGHT }, { "LEDGER", COLUMN_RIGHT }, { "DRIFT", COLUMN_RIGHT },
                { "LIMIT", COLUMN_RIGHT },    { "MAY BE", COLUMN_WRAP }
        };
        struct table *t = table_new(c, columns, sizeof(columns) / sizeof(columns[0]));

        for (size_t i = 0; i < d->count; i++) {
                const struct svmd_drift_row *r = &d->rows[i];
                struct table_line *l = table_line(t, NULL);

                table_cell(l, subject(c, r));
                table_cell(l, r->place);
                table_cell(l, r->source);
                table_cell(l, ctl_size(c, r->reported));
                table_cell(l, ctl_size(c, r->ledger));
                table_cell(l, signed_size(c, r->reported, r->ledger));
                table_cell(l, r->limit == UINT64_MAX ? "-" : ctl_size(c, r->limit));
                table_cell(l, why(c, r));
        }
        table_print(t, none);
}

const char *drift_counts_text(struct ctl *c, const struct svmd_driver_counts *n) {
        const struct {
                unsigned bit;
                uint64_t n;
                const char *what;
        } all[] = { { SVMD_COUNTS_FAULTS, n->faults, "faults" },
                    { SVMD_COUNTS_PAGES_IN, n->pages_in, "pages in" },
                    { SVMD_COUNTS_PAGES_OUT, n->pages_out, "pages out" },
                    { SVMD_COUNTS_EVICTED, n->evicted_ms, "ms of stopped queues" } };
        const char *text = NULL;

        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                if (n->has & all[i].bit)
                        text = ctl_text(c, "%s%s%llu %s", text ? text : "", text ? ", " : "",
                                        (unsigned long long)all[i].n, all[i].what);
        return text;
}

/* null: the driver, or this kernel, counts no such thing. */
static void add_count(struct json_object *o, const char *name, bool has, uint64_t n) {
        json_add(o, name, has ? json_object_new_uint64(n) : NULL);
}

struct json_object *drift_counts_json(const struct svmd_driver_counts *n) {
        struct json_object *o = n->has ? json_object_new_object() : NULL;

        if (!o)
                return NULL;
        add_count(o, "faults", n->has & SVMD_COUNTS_FAULTS, n->faults);
        add_count(o, "pages_in", n->has & SVMD_COUNTS_PAGES_IN, n->pages_in);
        add_count(o, "pages_out", n->has & SVMD_COUNTS_PAGES_OUT, n->pages_out);
        add_count(o, "evicted_ms", n->has & SVMD_COUNTS_EVICTED, n->evicted_ms);
        return o;
}

struct json_object *drift_json(const struct drift_rows *d) {
        static const char *const scopes[] = { "node", "process", "cgroup", "device" };
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < d->count; i++) {
                const struct svmd_drift_row *r = &d->rows[i];
                struct json_object *o = json_object_new_object();

                json_add_text(o, "scope", r->scope < sizeof(scopes) / sizeof(scopes[0]) ? scopes[r->scope] : "");
                json_add_text(o, "source", r->source);
                json_add_text(o, "subject", r->subject);
                json_add_text(o, "place", r->place);
                json_add(o, "session", r->session ? json_object_new_uint64(r->session) : NULL);
                json_add(o, "pid", r->pid ? json_object_new_uint64(r->pid) : NULL);
                json_add_count(o, "reported", r->reported);
                json_add_count(o, "ledger", r->ledger);
                json_add(o, "drift", json_object_new_int64((int64_t)(r->reported - r->ledger)));
                json_add_text(o, "why", r->why);
                json_add_flag(o, "moving", r->moving);
                json_add(o, "limit", r->limit == UINT64_MAX ? NULL : json_object_new_uint64(r->limit));
                json_add_count(o, "killed", r->killed);
                json_add_text(o, "container", r->container);
                json_add_flag(o, "unbrokered", r->unbrokered);
                json_add(o, "counts", drift_counts_json(&r->counts));
                json_object_array_add(list, o);
        }
        return list;
}

int usage_drift(struct ctl *c) {
        struct drift_rows d;
        int r = drift_read(c, &d);

        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (c->json)
                return json_print(c, drift_json(&d));
        drift_show(c, &d, "Nothing is reported");
        return EXIT_OK;
}
