#include "map-range.h"

#include "args.h"
#include "ctl.h"
#include "json.h"
#include "map.h"
#include "show.h"

struct json_object *show_residency_json(struct ctl *c, const struct node_rows *nodes,
                                        const struct svmd_residency_row *row, bool counters) {
        struct json_object *o = json_object_new_object(), *copies = json_object_new_array();

        json_add_address(o, "address", row->address);
        json_add_count(o, "length", row->length);
        json_add_text(o, "state", row->state);
        json_add_text(o, "node", row->node == SVMD_NODE_NONE ? NULL : rows_node_name(c, nodes, row->node));
        json_add_text(o, "cause", row->cause);
        json_add_count(o, "pins", row->pins);
        json_add_flag(o, "busy", row->busy);
        for (uint64_t left = row->copies; left; left &= left - 1) {
                const char *name = rows_node_name(c, nodes, (svmd_node)__builtin_ctzll(left));

                json_object_array_add(copies, json_object_new_string(name));
        }
        json_add(o, "copies", copies);
        if (counters) {
                json_add_count(o, "outs", row->outs);
                json_add_count(o, "ins", row->ins);
        }
        return o;
}

static int map_range_json(struct ctl *c, const struct map_range *m) {
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < m->count; i++) {
                const struct map_part *p = &m->parts[i];
                struct json_object *o = json_object_new_object(), *runs = json_object_new_array();

                json_add_address(o, "address", p->target.address);
                json_add_count(o, "length", p->target.size);
                json_add(o, "reservation", show_reservation_json(c, p->target.reservation));
                for (size_t k = 0; k < p->rows.count; k++)
                        json_object_array_add(runs, show_residency_json(c, &m->nodes, &p->rows.rows[k], m->counters));
                json_add(o, "runs", runs);
                json_object_array_add(list, o);
        }
        return json_print(c, list);
}

static int fetch(struct ctl *c, const char *word, struct map_range *m) {
        const struct target *targets;
        struct map_part *parts;
        int r = target_list(c, word, &targets, &m->count);

        if (r == EXIT_OK)
                r = ctl_result(c, rows_nodes(c, &m->nodes));
        if (r != EXIT_OK)
                return r;
        parts = ctl_alloc(c, m->count * sizeof(*parts));
        for (size_t i = 0; i < m->count; i++) {
                const struct target *t = &targets[i];

                parts[i] = (struct map_part){ .target = *t };
                if (t->reservation->kind == SVMD_EXPLICIT)
                        continue;
                if (t->reservation->kind == SVMD_PRIVATE)
                        ctl_observe(c, t->partition, t->address, t->size);
                r = rows_residency(c, t->partition, t->address, t->size, m->counters, &parts[i].rows);
                if (r != SVMD_OK)
                        return ctl_result(c, r);
        }
        m->parts = parts;
        return EXIT_OK;
}

int map_range_run(struct ctl *c, const struct args *a, unsigned width) {
        struct map_range m = { .counters = a->value[OPT_COUNTERS] };
        int r = fetch(c, a->words[0], &m);

        if (r != EXIT_OK)
                return r;
        if (c->json)
                return map_range_json(c, &m);
        map_range_draw(c, &m, width);
        return EXIT_OK;
}
