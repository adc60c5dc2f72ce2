#include "account.h"
#include "args.h"
#include "ctl.h"
#include "json.h"
#include "rows.h"
#include "show.h"
#include "table.h"
#include "verbs.h"

/* An anonymous reservation has no owner, group and mode of its own: its session alone uses it. */
static void reservation_line(struct ctl *c, struct table_line *l, const struct svmd_reservation_row *r) {
        bool named = *r->name;

        table_cell(l, ctl_address(c, r->address));
        table_cell(l, ctl_size(c, r->length));
        table_cell(l, ctl_size(c, r->mapped));
        table_cell(l, r->partition);
        table_cell(l, named ? r->name : "-");
        table_cell(l, named ? account_mode(c, r->mode) : "-");
        table_cell(l, ctl_text(c, "%s:%s", account_user(c, r->uid), account_group(c, r->gid)));
        table_cell_count(l, r->session);
        table_cell_count(l, r->openers);
}

void show_reservations(struct ctl *c, const struct reservation_rows *reservations) {
        static const struct column columns[] = {
                { "ADDRESS", 0 },           { "SIZE", COLUMN_RIGHT },
                { "MAPPED", COLUMN_RIGHT }, { "PARTITION", COLUMN_TRUNC },
                { "NAME", COLUMN_TRUNC },   { "MODE", 0 },
                { "OWNER", COLUMN_TRUNC },  { "SESSION", COLUMN_RIGHT },
                { "OPEN", COLUMN_RIGHT },
        };
        struct table *t = table_new(c, columns, sizeof(columns) / sizeof(columns[0]));

        for (size_t i = 0; i < reservations->count; i++)
                reservation_line(c, table_line(t, NULL), &reservations->rows[i]);
        table_print(t);
}

struct json_object *show_reservations_json(struct ctl *c, const struct reservation_rows *reservations) {
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < reservations->count; i++) {
                const struct svmd_reservation_row *r = &reservations->rows[i];
                struct json_object *o = json_object_new_object();

                json_add_count(o, "id", r->id);
                json_add_text(o, "partition", r->partition);
                json_add_text(o, "name", r->name);
                json_add_address(o, "address", r->address);
                json_add_count(o, "length", r->length);
                json_add_count(o, "mapped", r->mapped);
                json_add_count(o, "generation", r->generation);
                json_add_count(o, "session", r->session);
                json_add_count(o, "openers", r->openers);
                json_add_user(c, o, r->uid);
                json_add_group(c, o, r->gid);
                json_add_mode(o, "mode", r->mode);
                json_object_array_add(list, o);
        }
        return list;
}

int reservation_list_run(struct ctl *c, const struct args *a) {
        struct reservation_rows reservations;
        int r = rows_reservations(c, a->value[OPT_PARTITION], &reservations);

        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (c->json)
                return json_print(c, show_reservations_json(c, &reservations));
        show_reservations(c, &reservations);
        return EXIT_OK;
}
