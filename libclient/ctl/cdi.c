#include "cdi.h"

#include <string.h>

#include "args.h"
#include "ctl.h"
#include "json.h"
#include "partition.h"
#include "reach.h"
#include "rows.h"
#include "table.h"
#include "verbs.h"

static bool is_partition(const struct partition_rows *partitions, const char *name) {
        for (size_t i = 0; i < partitions->count; i++)
                if (strcmp(partitions->rows[i].name, name) == 0)
                        return true;
        return false;
}

static struct json_object *names_json(const char *const *names, size_t count) {
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < count; i++)
                json_object_array_add(list, json_object_new_string(names[i]));
        return list;
}

/* Those of another svmd on this machine are its own matter. */
static bool *find_stale(struct ctl *c, const struct cdi_devices *d, const struct partition_rows *partitions,
                        size_t *ret_count) {
        bool *gone = ctl_alloc(c, d->count + 1);

        *ret_count = 0;
        for (size_t i = 0; i < d->count; i++) {
                gone[i] = d->rows[i].owned && !is_partition(partitions, d->rows[i].name) &&
                          strcmp(d->rows[i].folder, reach_folder(c)) == 0;
                *ret_count += gone[i];
        }
        return gone;
}

/* ---- generate ---- */

struct chosen {
        const char **names, **skipped;
        size_t count, skipped_count;
};

/* All of them but those that have a file of their own, and those whose name cannot be a device's. */
static void choose_all(struct ctl *c, const struct partition_rows *partitions, const struct cdi_devices *d,
                       struct chosen *ret) {
        ret->names = ctl_alloc(c, 2 * (partitions->count + 1) * sizeof(*ret->names));
        ret->skipped = ret->names + partitions->count + 1;
        for (size_t i = 0; i < partitions->count; i++) {
                const char *name = partitions->rows[i].name;

                if (!cdi_name_ok(name))
                        ret->skipped[ret->skipped_count++] = name;
                else if (!cdi_has(d, name, true))
                        ret->names[ret->count++] = name;
        }
}

static int choose_named(struct ctl *c, const struct args *a, const struct cdi_devices *d, struct chosen *ret) {
        const struct svmd_partition_row *p;
        int r;

        ret->names = ctl_alloc(c, (a->words_count + 1) * sizeof(*ret->names));
        for (unsigned i = 0; i < a->words_count; i++) {
                const char *name = a->words[i];

                r = partition_find(c, name, &p);
                if (r != EXIT_OK)
                        return r;
                if (!cdi_name_ok(name))
                        return ctl_fail(c, EXIT_REFUSED,
                                        "partition %s cannot be a CDI device: its name does not end with a letter or a "
                                        "digit",
                                        name);
                if (cdi_has(d, name, true))
                        return ctl_fail(c, EXIT_REFUSED,
                                        "partition %s has a specification of its own, which goes with it; 'svmd-ctl "
                                        "cdi list' shows where",
                                        name);
                for (size_t k = 0; k < ret->count; k++)
                        if (strcmp(ret->names[k], name) == 0)
                                return ctl_fail(c, EXIT_USAGE, "'%s' is named twice", name);
                ret->names[ret->count++] = name;
        }
        return EXIT_OK;
}

static int generated(struct ctl *c, const struct chosen *chosen, const char *path, size_t purged) {
        struct json_object *o = json_object_new_object();

        json_add_text(o, "file", chosen->count ? path : NULL);
        json_add(o, "devices", names_json(chosen->names, chosen->count));
        json_add(o, "skipped", names_json(chosen->skipped, chosen->skipped_count));
        json_add_count(o, "purged", purged);
        if (c->json)
                return json_print(c, o);
        json_object_put(o);
        if (chosen->count)
                fprintf(c->out, "Wrote %s: %zu device%s of kind " CDI_KIND "\n", path, chosen->count,
                        chosen->count == 1 ? "" : "s");
        else
                fprintf(c->out, "There is no partition to write a specification for\n");
        for (size_t i = 0; i < chosen->skipped_count; i++)
                fprintf(c->out, "Left out %s: a device's name ends with a letter or a digit\n", chosen->skipped[i]);
        if (purged)
                fprintf(c->out, "Removed %zu of partitions that are gone\n", purged);
        return EXIT_OK;
}

int cdi_generate_run(struct ctl *c, const struct args *a) {
        struct partition_rows partitions;
        struct chosen chosen = { 0 };
        struct cdi_folders folders;
        struct cdi_devices d;
        size_t stale;
        bool *gone;
        int r = cdi_folders(c, a, &folders);

        if (r == EXIT_OK)
                r = ctl_result(c, rows_partitions(c, NULL, &partitions));
        if (r == EXIT_OK)
                r = cdi_read(c, &folders, &d);
        if (r == EXIT_OK && a->words_count)
                r = choose_named(c, a, &d, &chosen);
        else if (r == EXIT_OK)
                choose_all(c, &partitions, &d, &chosen);
        if (r != EXIT_OK)
                return r;
        if (a->value[OPT_DRY_RUN])
                return json_print(c, cdi_spec(c, chosen.names, chosen.count, a->value[OPT_HOOK]));
        gone = find_stale(c, &d, &partitions, &stale);
        r = cdi_take(c, &d, gone);
        if (r == EXIT_OK && chosen.count)
                r = cdi_write(c, cdi_path(c, &folders, NULL),
                              cdi_spec(c, chosen.names, chosen.count, a->value[OPT_HOOK]));
        return r == EXIT_OK ? generated(c, &chosen, cdi_path(c, &folders, NULL), stale) : r;
}

/* ---- list ---- */

static struct json_object *devices_json(const struct cdi_devices *d, const struct partition_rows *partitions) {
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < d->count; i++) {
                struct json_object *o = json_object_new_object();

                json_add_text(o, "name", d->rows[i].name);
                json_add_text(o, "file", d->rows[i].path);
                json_add_text(o, "version", d->rows[i].version);
                json_add_flag(o, "transient", d->rows[i].transient);
                json_add_flag(o, "ours", d->rows[i].owned);
                json_add_flag(o, "stale", !is_partition(partitions, d->rows[i].name));
                json_object_array_add(list, o);
        }
        return list;
}

static void devices_text(struct ctl *c, const struct cdi_devices *d, const struct partition_rows *partitions) {
        static const struct column columns[] = {
                { "DEVICE", 0 }, { "PARTITION", 0 }, { "CDI", 0 }, { "FILE", COLUMN_TRUNC }
        };
        struct table *t = table_new(c, columns, sizeof(columns) / sizeof(columns[0]));

        for (size_t i = 0; i < d->count; i++) {
                struct table_line *l = table_line(t, NULL);

                table_cell(l, ctl_text(c, CDI_KIND "=%s", d->rows[i].name));
                table_cell(l, is_partition(partitions, d->rows[i].name) ? "there" : "gone");
                table_cell(l, d->rows[i].version);
                table_cell(l, d->rows[i].path);
        }
        table_print(t, "There is no CDI device of kind " CDI_KIND "; 'svmd-ctl cdi generate' writes them");
}

int cdi_list_run(struct ctl *c, const struct args *a) {
        struct partition_rows partitions;
        struct cdi_folders folders;
        struct cdi_devices d;
        int r = cdi_folders(c, a, &folders);

        if (r == EXIT_OK)
                r = ctl_result(c, rows_partitions(c, NULL, &partitions));
        if (r == EXIT_OK)
                r = cdi_read(c, &folders, &d);
        if (r != EXIT_OK)
                return r;
        if (c->json)
                return json_print(c, devices_json(&d, &partitions));
        devices_text(c, &d, &partitions);
        return EXIT_OK;
}

/* ---- remove ---- */

static int find_named(struct ctl *c, const struct args *a, const struct cdi_devices *d, bool *gone, size_t *ret_count) {
        for (unsigned i = 0; i < a->words_count; i++) {
                size_t found = 0;

                for (size_t k = 0; k < d->count; k++) {
                        if (strcmp(d->rows[k].name, a->words[i]) != 0)
                                continue;
                        *ret_count += !gone[k];
                        gone[k] = true;
                        found++;
                }
                if (!found)
                        return ctl_fail(c, EXIT_REFUSED,
                                        "there is no CDI device " CDI_KIND "=%s; 'svmd-ctl cdi list' shows those there "
                                        "are",
                                        a->words[i]);
        }
        return EXIT_OK;
}

static int removed(struct ctl *c, const struct cdi_devices *d, const bool *gone, size_t count) {
        const char **names = ctl_alloc(c, (count + 1) * sizeof(*names));
        struct json_object *o;
        size_t n = 0;

        for (size_t i = 0; i < d->count; i++)
                if (gone[i])
                        names[n++] = d->rows[i].name;
        if (c->json) {
                o = json_object_new_object();
                json_add(o, "removed", names_json(names, n));
                return json_print(c, o);
        }
        for (size_t i = 0; i < n; i++)
                fprintf(c->out, "Removed " CDI_KIND "=%s\n", names[i]);
        if (n == 0)
                fprintf(c->out, "Nothing is stale\n");
        return EXIT_OK;
}

int cdi_remove_run(struct ctl *c, const struct args *a) {
        struct partition_rows partitions;
        struct cdi_folders folders;
        struct cdi_devices d;
        size_t count = 0;
        bool *gone;
        int r = cdi_folders(c, a, &folders);

        if (r == EXIT_OK && !a->words_count == !a->value[OPT_STALE])
                r = ctl_fail(c, EXIT_USAGE, "what to remove? Name partitions, or give --stale for those that are gone");
        if (r == EXIT_OK && a->value[OPT_STALE])
                r = reach(c, VERB_ADMIN);
        if (r == EXIT_OK && a->value[OPT_STALE])
                r = ctl_result(c, rows_partitions(c, NULL, &partitions));
        if (r == EXIT_OK)
                r = cdi_read(c, &folders, &d);
        if (r != EXIT_OK)
                return r;
        if (a->value[OPT_STALE]) {
                gone = find_stale(c, &d, &partitions, &count);
        } else {
                gone = ctl_alloc(c, d.count + 1);
                memset(gone, 0, d.count + 1);
                r = find_named(c, a, &d, gone, &count);
        }
        if (r == EXIT_OK)
                r = cdi_take(c, &d, gone);
        return r == EXIT_OK ? removed(c, &d, gone, count) : r;
}
