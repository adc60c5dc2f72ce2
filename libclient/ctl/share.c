#include <string.h>

#include "account.h"
#include "args.h"
#include "ctl.h"
#include "json.h"
#include "rows.h"
#include "table.h"
#include "verbs.h"

/* What partitions share with one another. */

static const char *what_text(const struct svmd_share_row *s) {
        return s->memory ? "memory" : "range";
}

static const char *access_text(unsigned access) {
        return access == SVMD_ACCESS_READ ? "r" : "rw";
}

/* ---- list ---- */

static void list_text(struct ctl *c, const struct share_rows *shares) {
        static const struct column columns[] = {
                { "PARTITION", COLUMN_TRUNC },
                { "NAME", COLUMN_TRUNC },
                { "KIND", 0 },
                { "ADDRESS", 0 },
                { "SIZE", COLUMN_RIGHT },
                { "OWNER", 0 },
                { "WITH", COLUMN_TRUNC },
                { "ACCESS", 0 },
                { "GUESTS", COLUMN_RIGHT },
        };
        struct table *t = table_new(c, columns, sizeof(columns) / sizeof(columns[0]));

        for (size_t i = 0; i < shares->count; i++) {
                const struct svmd_share_row *s = &shares->rows[i];
                struct table_line *l = table_line(t, NULL);

                table_cell(l, s->partition);
                table_cell(l, s->name);
                table_cell(l, what_text(s));
                table_cell(l, s->memory ? "-" : ctl_address(c, s->address));
                table_cell(l, ctl_size(c, s->length));
                table_cell(l, account_user(c, s->uid));
                table_cell(l, s->to);
                table_cell(l, access_text(s->access));
                table_cell_count(l, s->guests);
        }
        table_print(t, "Nothing is shared");
}

static struct json_object *share_json(struct ctl *c, const struct svmd_share_row *s) {
        struct json_object *o = json_object_new_object();

        json_add_text(o, "partition", s->partition);
        json_add_text(o, "name", s->name);
        json_add_text(o, "kind", what_text(s));
        if (!s->memory)
                json_add_address(o, "address", s->address);
        json_add_count(o, "length", s->length);
        json_add_user(c, o, s->uid);
        json_add_text(o, "with", s->to);
        json_add_text(o, "access", access_text(s->access));
        json_add_count(o, "guests", s->guests);
        return o;
}

int share_list_run(struct ctl *c, const struct args *a) {
        struct json_object *list;
        struct share_rows shares;
        int r = ctl_result(c, rows_shares(c, a->value[OPT_PARTITION], &shares));

        if (r != EXIT_OK)
                return r;
        if (!c->json) {
                list_text(c, &shares);
                return EXIT_OK;
        }
        list = json_object_new_array();
        for (size_t i = 0; i < shares.count; i++)
                json_object_array_add(list, share_json(c, &shares.rows[i]));
        return json_print(c, list);
}

/* ---- set, remove ---- */

static int options_of(struct ctl *c, const struct args *a, struct svmd_share_options *ret) {
        const char *kind = a->value[OPT_KIND];

        *ret = (struct svmd_share_options){ .size = sizeof(*ret) };
        if (kind && strcmp(kind, "memory") == 0)
                ret->memory = 1;
        else if (kind && strcmp(kind, "range") != 0)
                return ctl_fail(c, EXIT_USAGE, "--kind '%s': expected range or memory", kind);
        ret->partition = c->info.admin ? a->value[OPT_PARTITION] : NULL;
        return EXIT_OK;
}

static int say(struct ctl *c, const struct args *a, const struct svmd_share_options *opts, const char *text,
               const char *access) {
        struct json_object *o;

        if (!c->json) {
                fprintf(c->out, "%s\n", text);
                return EXIT_OK;
        }
        o = json_object_new_object();
        json_add_text(o, "name", a->words[0]);
        json_add_text(o, "kind", opts->memory ? "memory" : "range");
        json_add_text(o, "with", a->words[1]);
        json_add_text(o, "access", access);
        json_add_flag(o, "dry_run", a->value[OPT_DRY_RUN] != NULL);
        return json_print(c, o);
}

int share_set_run(struct ctl *c, const struct args *a) {
        const char *access = a->words_count > 2 ? a->words[2] : "r";
        struct svmd_share_options opts;
        int r = options_of(c, a, &opts);

        if (r == EXIT_OK && strcmp(access, "r") != 0 && strcmp(access, "rw") != 0)
                r = ctl_fail(c, EXIT_USAGE, "'%s' is no access: expected r or rw", access);
        if (r == EXIT_OK)
                r = ctl_result(c, svmd_share(c->session, a->words[0], a->words[1],
                                             access[1] ? SVMD_ACCESS_READ_WRITE : SVMD_ACCESS_READ, &opts));
        if (r != EXIT_OK)
                return r;
        return say(c, a, &opts,
                   ctl_text(c, "Partition %s may have %s, %s", a->words[1], a->words[0],
                            access[1] ? "to read and write" : "to read"),
                   access);
}

static int find(struct ctl *c, const struct args *a, const struct svmd_share_options *opts,
                const struct svmd_share_row **ret) {
        struct share_rows shares = { 0 };
        int r = ctl_result(c, rows_shares(c, a->value[OPT_PARTITION], &shares));

        for (size_t i = 0; r == EXIT_OK && i < shares.count; i++) {
                *ret = &shares.rows[i];
                if (strcmp((*ret)->name, a->words[0]) == 0 && strcmp((*ret)->to, a->words[1]) == 0 &&
                    !(*ret)->memory == !opts->memory)
                        return EXIT_OK;
        }
        return r != EXIT_OK
                       ? r
                       : ctl_fail(c, EXIT_REFUSED, "%s '%s' is not shared with %s; 'svmd-ctl share list' shows what is",
                                  opts->memory ? "memory" : "range", a->words[0], a->words[1]);
}

int share_remove_run(struct ctl *c, const struct args *a) {
        bool dry = a->value[OPT_DRY_RUN];
        const struct svmd_share_row *row = NULL;
        struct svmd_share_options opts;
        const char *guests;
        int r = options_of(c, a, &opts);

        if (r == EXIT_OK)
                r = find(c, a, &opts, &row);
        if (r != EXIT_OK)
                return r;
        guests = ctl_text(c, "%u guest%s", row->guests, row->guests == 1 ? "" : "s");
        if (!dry)
                r = args_agreed(c, a,
                                ctl_text(c, "Take %s back from partition %s, and from %s that ha%s it?", row->name,
                                         row->to, guests, row->guests == 1 ? "s" : "ve"));
        if (!dry && r == EXIT_OK)
                r = ctl_result(c, svmd_unshare(c->session, a->words[0], a->words[1], &opts));
        if (r != EXIT_OK)
                return r;
        return say(c, a, &opts,
                   ctl_text(c, "%s %s back from partition %s; %s had it", dry ? "Would take" : "Took", row->name,
                            row->to, guests),
                   NULL);
}
