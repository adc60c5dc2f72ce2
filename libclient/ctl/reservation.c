#include "account.h"
#include "args.h"
#include "ctl.h"
#include "json.h"
#include "rows.h"
#include "show.h"
#include "table.h"
#include "verbs.h"

const char *show_kind(const struct svmd_reservation_row *r) {
        if (r->kind == SVMD_PRIVATE)
                return "private";
        return r->kind != SVMD_SHARED ? "explicit" : r->revoked ? "revoked" : "shared";
}

static const char *kept_text(struct ctl *c, const struct svmd_reservation_row *r) {
        if (!r->kept)
                return "-";
        return r->left_ms == UINT64_MAX ? "yes" : ctl_text(c, "%s more", ctl_duration(c, r->left_ms));
}

/* An anonymous reservation has no mode: its session alone uses it. */
static void reservation_line(struct ctl *c, struct table_line *l, const struct svmd_reservation_row *r) {
        table_cell(l, ctl_address(c, r->address));
        table_cell(l, ctl_size(c, r->length));
        table_cell(l, ctl_size(c, r->mapped));
        table_cell_color(l, show_kind(r), r->revoked ? "red" : NULL);
        table_cell(l, r->kind != SVMD_EXPLICIT ? ctl_size(c, r->granule) : "-");
        table_cell(l, r->name);
        table_cell(l, *r->name ? ctl_text(c, "%04o", r->mode) : "-");
        table_cell(l, account_user(c, r->uid));
        table_cell_count(l, r->session);
        table_cell_count(l, r->openers);
        table_cell(l, kept_text(c, r));
}

void show_reservations(struct ctl *c, const struct reservation_rows *reservations, bool one) {
        static const struct column columns[] = {
                { "PARTITION", COLUMN_TRUNC },
                { "ADDRESS", 0 },
                { "SIZE", COLUMN_RIGHT },
                { "MAPPED", COLUMN_RIGHT },
                { "KIND", 0 },
                { "GRANULE", COLUMN_RIGHT },
                { "NAME", COLUMN_TRUNC },
                { "MODE", 0 },
                { "OWNER", 0 },
                { "SESSION", COLUMN_RIGHT },
                { "OPEN", COLUMN_RIGHT },
                { "KEPT", 0 },
        };
        struct table *t = table_new(c, columns + one, sizeof(columns) / sizeof(columns[0]) - one);

        for (size_t i = 0; i < reservations->count; i++) {
                struct table_line *l = table_line(t, NULL);

                if (!one)
                        table_cell(l, reservations->rows[i].partition);
                reservation_line(c, l, &reservations->rows[i]);
        }
        table_print(t, "There is no reservation");
}

struct json_object *show_reservation_json(struct ctl *c, const struct svmd_reservation_row *r) {
        struct json_object *o = json_object_new_object();

        json_add_count(o, "id", r->id);
        json_add_text(o, "partition", r->partition);
        json_add_text(o, "name", r->name);
        json_add_address(o, "address", r->address);
        json_add_count(o, "length", r->length);
        json_add_count(o, "mapped", r->mapped);
        json_add_text(o, "kind", r->kind == SVMD_SHARED ? "shared" : r->kind == SVMD_PRIVATE ? "private" : "explicit");
        json_add(o, "granule", r->kind != SVMD_EXPLICIT ? json_object_new_uint64(r->granule) : NULL);
        json_add_flag(o, "revoked", r->revoked);
        json_add_count(o, "generation", r->generation);
        json_add_count(o, "session", r->session);
        json_add_count(o, "openers", r->openers);
        json_add_flag(o, "kept", r->kept);
        json_add_user(c, o, r->uid);
        json_add_group(c, o, r->gid);
        json_add_mode(o, "mode", r->mode);
        return o;
}

struct json_object *show_reservations_json(struct ctl *c, const struct reservation_rows *reservations) {
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < reservations->count; i++)
                json_object_array_add(list, show_reservation_json(c, &reservations->rows[i]));
        return list;
}

int reservation_list_run(struct ctl *c, const struct args *a) {
        struct reservation_rows reservations;
        int r = rows_reservations(c, a->value[OPT_PARTITION], &reservations);

        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (c->json)
                return json_print(c, show_reservations_json(c, &reservations));
        show_reservations(c, &reservations, a->value[OPT_PARTITION] != NULL);
        return EXIT_OK;
}
