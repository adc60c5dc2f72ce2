#include <string.h>

#include "args.h"
#include "ctl.h"
#include "drift.h"
#include "json.h"
#include "rows.h"
#include "table.h"
#include "verbs.h"

static const struct {
        const char *name, *color;
} levels[] = {
        [SVMD_FINDING_GOOD] = { "good", "green" },
        [SVMD_FINDING_NOTE] = { "note", NULL },
        [SVMD_FINDING_WARNING] = { "warning", "yellow" },
        [SVMD_FINDING_FAILURE] = { "failure", "red" },
};

/* A level that this program does not know is shown as the worst. */
static unsigned level_of(const struct finding_row *row) {
        return row->level <= SVMD_FINDING_FAILURE ? row->level : SVMD_FINDING_FAILURE;
}

static void doctor_json(struct ctl *c, const struct finding_rows *findings) {
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < findings->count; i++) {
                struct json_object *o = json_object_new_object();

                json_add_text(o, "id", findings->rows[i].id);
                json_add_text(o, "level", levels[level_of(&findings->rows[i])].name);
                json_add_text(o, "text", findings->rows[i].text);
                json_object_array_add(list, o);
        }
        json_print(c, list);
}

#define GRANT_PREFIX "kernel-"

static bool is_grant(const struct finding_row *row) {
        return strncmp(row->id, GRANT_PREFIX, strlen(GRANT_PREFIX)) == 0;
}

/* What the kernel grants, in svmd's order. */
static void grants_text(struct ctl *c, const struct finding_rows *findings) {
        static const struct column columns[] = { { "KERNEL", 0 }, { "LEVEL", 0 }, { "WHAT IT MEANS", COLUMN_WRAP } };
        struct table *t = table_new(c, columns, 3);
        unsigned count = 0;

        for (size_t i = 0; i < findings->count; i++) {
                const struct finding_row *row = &findings->rows[i];
                struct table_line *l;

                if (!is_grant(row))
                        continue;
                if (count++ == 0)
                        fputc('\n', c->out);
                l = table_line(t, NULL);
                table_cell(l, row->id + strlen(GRANT_PREFIX));
                table_cell_color(l, levels[level_of(row)].name, levels[level_of(row)].color);
                table_cell(l, row->text);
        }
        table_print(t, NULL);
}

/* The worst first. */
static void findings_text(struct ctl *c, const struct finding_rows *findings) {
        static const struct column columns[] = { { "LEVEL", 0 }, { "ABOUT", 0 }, { "FINDING", COLUMN_WRAP } };
        struct table *t = table_new(c, columns, 3);

        for (unsigned level = SVMD_FINDING_FAILURE + 1; level-- > 0;) {
                for (size_t i = 0; i < findings->count; i++) {
                        struct table_line *l;

                        if (is_grant(&findings->rows[i]) || level_of(&findings->rows[i]) != level)
                                continue;
                        l = table_line(t, NULL);
                        table_cell_color(l, levels[level].name, levels[level].color);
                        table_cell(l, findings->rows[i].id);
                        table_cell(l, findings->rows[i].text);
                }
        }
        table_print(t, NULL);
}

static void doctor_text(struct ctl *c, const struct finding_rows *findings) {
        findings_text(c, findings);
        grants_text(c, findings);
}

int doctor_run(struct ctl *c, const struct args *a) {
        struct finding_rows findings;
        struct drift_rows drift;
        unsigned failures = 0;
        int r;

        /* What svmd then says of processes that use devices without it is of now. */
        if (c->info.admin)
                (void)drift_read(c, &drift);
        r = rows_findings(c, &findings);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        for (size_t i = 0; i < findings.count; i++)
                failures += level_of(&findings.rows[i]) == SVMD_FINDING_FAILURE;
        if (c->json)
                doctor_json(c, &findings);
        else
                doctor_text(c, &findings);
        return failures ? EXIT_REFUSED : EXIT_OK;
}
