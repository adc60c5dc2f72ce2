#include "args.h"
#include "ctl.h"
#include "drift.h"
#include "json.h"
#include "rows.h"
#include "size.h"
#include "table.h"
#include "verbs.h"

/* Administrators only: NULL for others, and where svmd cannot look now. */
static const char *drift_text(struct ctl *c) {
        struct drift_rows drift;

        return c->info.admin && drift_read(c, &drift) == SVMD_OK ? drift_summary(c, &drift) : NULL;
}

/* Bytes that nodes have more than svmd gave out, less what they have less. */
static void json_add_drift(struct ctl *c, struct json_object *o) {
        struct drift_rows drift;
        int64_t sum = 0;

        if (!c->info.admin || drift_read(c, &drift) != SVMD_OK)
                return;
        for (size_t i = 0; i < drift.count; i++)
                if (drift.rows[i].scope == SVMD_DRIFT_NODE)
                        sum += (int64_t)(drift.rows[i].reported - drift.rows[i].ledger);
        json_add(o, "drift", json_object_new_int64(sum));
}

static void status_json(struct ctl *c, const struct svmd_status *s) {
        struct json_object *o = json_object_new_object();

        json_add_text(o, "version", s->version);
        json_add_count(o, "pid", s->pid);
        json_add_flag(o, "keeper", s->keeper);
        json_add_count(o, "uptime_ms", s->uptime_ms);
        json_add_count(o, "epoch", s->epoch);
        json_add_count(o, "nodes", s->nodes);
        json_add_count(o, "partitions", s->partitions);
        json_add_count(o, "sessions", s->sessions);
        json_add_count(o, "reservations", s->reservations);
        json_add_count(o, "memories", s->memories);
        json_add_count(o, "mappings", s->mappings);
        json_add_count(o, "spaces", s->spaces);
        json_add_count(o, "requests", s->requests);
        json_add_count(o, "refusals", s->refusals);
        json_add_count(o, "journal_used", s->journal_used);
        json_add_count(o, "journal_size", s->journal_size);
        json_add_drift(c, o);
        json_print(c, o);
}

static const char *count(struct ctl *c, uint64_t n) {
        char text[SIZE_TEXT];

        count_format(text, n);
        return ctl_copy(c, text);
}

static void status_text(struct ctl *c, const struct svmd_status *s, const struct finding_rows *findings) {
        struct fields *f = fields_new(c);
        const char *drift = drift_text(c);
        unsigned bad = 0;

        for (size_t i = 0; i < findings->count; i++)
                bad += findings->rows[i].level >= SVMD_FINDING_WARNING;
        fprintf(c->out, "svmd %s is up for %s\n", s->version, ctl_duration(c, s->uptime_ms));
        fields_add(f, "process", "%u", s->pid);
        fields_add(f, "keeper", "%s",
                   s->keeper ? ctl_text(c, "present: sessions and memory outlive svmd (epoch %llu)",
                                        (unsigned long long)s->epoch)
                             : "absent: sessions and memory end with svmd");
        fields_add(f, "nodes", "%s", count(c, s->nodes));
        fields_add(f, "partitions", "%s", count(c, s->partitions));
        fields_add(f, "sessions", "%s and this one", count(c, s->sessions - (s->sessions > 0)));
        fields_add(f, "reservations", "%s", count(c, s->reservations));
        fields_add(f, "memory objects", "%s", count(c, s->memories));
        fields_add(f, "mappings", "%s in %s device spaces and on the CPU", count(c, s->mappings), count(c, s->spaces));
        fields_add(f, "requests", "%s served, %s operations refused", count(c, s->requests), count(c, s->refusals));
        fields_add(f, "journal", "%s of %s", ctl_size(c, s->journal_used), ctl_size(c, s->journal_size));
        if (drift)
                fields_add(f, "drift", "%s", drift);
        if (bad)
                fields_add(f, "findings", "%u to look at: 'svmd-ctl doctor'", bad);
        else
                fields_add(f, "findings", "nothing to look at");
        fields_print(f);
}

int status_run(struct ctl *c, const struct args *a) {
        struct svmd_status s = { .size = sizeof(s) };
        struct finding_rows findings;
        int r = svmd_query_status(c->session, &s);

        if (r == SVMD_OK)
                r = rows_findings(c, &findings);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (c->json)
                status_json(c, &s);
        else
                status_text(c, &s, &findings);
        return EXIT_OK;
}
