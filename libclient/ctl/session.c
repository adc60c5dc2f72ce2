#include "account.h"
#include "args.h"
#include "ctl.h"
#include "drift.h"
#include "grant.h"
#include "json.h"
#include "rows.h"
#include "show.h"
#include "size.h"
#include "table.h"
#include "told.h"
#include "verbs.h"

void show_sessions(struct ctl *c, const struct session_rows *sessions, bool one) {
        static const struct column columns[] = {
                { "PARTITION", COLUMN_TRUNC },
                { "SESSION", COLUMN_RIGHT },
                { "CLIENT", COLUMN_TRUNC },
                { "PID", COLUMN_RIGHT },
                { "USER", 0 },
                { "RESERV.", COLUMN_RIGHT },
                { "MEM", COLUMN_RIGHT },
                { "SPACES", COLUMN_RIGHT },
                { "REGIST.", COLUMN_RIGHT },
                { "REQUESTS", COLUMN_RIGHT },
                { "REFUSED", COLUMN_RIGHT },
        };
        struct table *t = table_new(c, columns + one, sizeof(columns) / sizeof(columns[0]) - one);

        for (size_t i = 0; i < sessions->count; i++) {
                const struct svmd_session_row *s = &sessions->rows[i];
                struct table_line *l;

                if (s->id == c->info.id)
                        continue;
                l = table_line(t, NULL);
                if (!one)
                        table_cell(l, s->partition);
                table_cell_count(l, s->id);
                table_cell(l, s->client);
                table_cell_count(l, s->pid);
                table_cell(l, account_user(c, s->uid));
                table_cell_count(l, s->reservations);
                table_cell_count(l, s->memories);
                table_cell_count(l, s->spaces);
                table_cell(l, ctl_size(c, s->registered));
                table_cell_count(l, s->requests);
                table_cell_count(l, s->refusals);
        }
        table_print(t, one ? "There is no session of this partition" : "There is no session");
}

struct json_object *show_sessions_json(struct ctl *c, const struct session_rows *sessions) {
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < sessions->count; i++) {
                const struct svmd_session_row *s = &sessions->rows[i];
                struct json_object *o;

                if (s->id == c->info.id)
                        continue;
                o = json_object_new_object();
                json_add_count(o, "id", s->id);
                json_add_text(o, "partition", s->partition);
                json_add_text(o, "client", s->client);
                json_add_count(o, "pid", s->pid);
                json_add_user(c, o, s->uid);
                json_add_group(c, o, s->gid);
                json_add_count(o, "reservations", s->reservations);
                json_add_count(o, "memories", s->memories);
                json_add_count(o, "spaces", s->spaces);
                json_add_count(o, "requests", s->requests);
                json_add_count(o, "refusals", s->refusals);
                json_add_count(o, "registered", s->registered);
                json_add_count(o, "dropped_events", s->dropped_events);
                json_add(o, "events", told_json(&s->events));
                json_object_array_add(list, o);
        }
        return list;
}

int session_list_run(struct ctl *c, const struct args *a) {
        struct session_rows sessions;
        int r = rows_sessions(c, a->value[OPT_PARTITION], &sessions);

        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (c->json)
                return json_print(c, show_sessions_json(c, &sessions));
        show_sessions(c, &sessions, a->value[OPT_PARTITION] != NULL);
        return EXIT_OK;
}

static const char *session_text(struct ctl *c, const struct svmd_session_row *s) {
        return ctl_text(c, "session %llu (%s, process %u of %s%s%s)", (unsigned long long)s->id, s->client, s->pid,
                        account_user(c, s->uid), *s->partition ? ", partition " : "", s->partition);
}

/* NULL: an exit status is in `ret_status`, and what is wrong was written. */
static const struct svmd_session_row *session_find(struct ctl *c, const char *word, int *ret_status) {
        struct session_rows sessions = { 0 };
        uint64_t id = 0;

        if (count_parse(word, &id) != 0) {
                *ret_status = ctl_fail(c, EXIT_USAGE,
                                       "'%s' is no session; expected a number of 'svmd-ctl session list'", word);
                return NULL;
        }
        *ret_status = ctl_result(c, rows_sessions(c, NULL, &sessions));
        if (*ret_status != EXIT_OK)
                return NULL;
        for (size_t i = 0; i < sessions.count; i++) {
                if (sessions.rows[i].id == id)
                        return &sessions.rows[i];
        }
        *ret_status = ctl_fail(c, EXIT_REFUSED, "there is no session %s; 'svmd-ctl session list' shows those there are",
                               word);
        return NULL;
}

int session_show_run(struct ctl *c, const struct args *a) {
        struct session_rows sessions;
        struct drift_rows unbrokered;
        struct svmd_driver_counts counts;
        struct json_object *list, *o;
        struct grant_rows grants;
        struct node_rows nodes;
        int r;
        const struct svmd_session_row *s = session_find(c, a->words[0], &r);

        if (!s)
                return r;
        sessions = (struct session_rows){ s, 1 };
        r = *s->partition ? rows_grants(c, s->partition, &grants) : SVMD_OK;
        if (!*s->partition)
                grants = (struct grant_rows){ NULL, 0 };
        if (r == SVMD_OK)
                r = rows_nodes(c, &nodes);
        if (r == SVMD_OK)
                r = drift_read_process(c, s->pid, &unbrokered, &counts);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (c->json) {
                list = show_sessions_json(c, &sessions);
                o = json_object_new_object();
                json_add(o, "session", json_object_get(json_object_array_get_idx(list, 0)));
                json_object_put(list);
                json_add(o, "grants", show_grants_json(c, &grants, &nodes, s->id));
                json_add(o, "unbrokered", drift_json(&unbrokered));
                json_add_text(o, "withheld", s->withheld);
                json_add(o, "counts", drift_counts_json(&counts));
                return json_print(c, o);
        }
        show_sessions(c, &sessions, false);
        if (told_text(c, &s->events))
                fprintf(c->out, "\nDrivers told of its process: %s\n", told_text(c, &s->events));
        if (counts.has)
                fprintf(c->out, "\nThe driver itself counts of its process: %s\n", drift_counts_text(c, &counts));
        fputc('\n', c->out);
        show_grants(c, &grants, &nodes, s->id);
        fputc('\n', c->out);
        drift_show(c, &unbrokered, "It uses no device without svmd, as far as can be seen");
        if (*s->withheld)
                fprintf(c->out, "\nIt did not give back managed pages when it was asked: %s\n", s->withheld);
        return EXIT_OK;
}

int session_kill_run(struct ctl *c, const struct args *a) {
        bool dry = a->value[OPT_DRY_RUN];
        struct json_object *o;
        int r;
        const struct svmd_session_row *s = session_find(c, a->words[0], &r);

        if (!s)
                return r;
        r = dry ? EXIT_OK : args_agreed(c, a, ctl_text(c, "End %s?", session_text(c, s)));
        if (r != EXIT_OK)
                return r;
        r = svmd_session_kill(c->session, s->id, dry);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (!c->json) {
                fprintf(c->out, "%s %s\n", dry ? "Would end" : "Ended", session_text(c, s));
                return EXIT_OK;
        }
        o = json_object_new_object();
        json_add_count(o, "session", s->id);
        json_add_flag(o, "dry_run", dry);
        return json_print(c, o);
}
