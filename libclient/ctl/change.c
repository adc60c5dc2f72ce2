#include "change.h"

#include "args.h"
#include "ctl.h"
#include "json.h"
#include "rows.h"
#include "work.h"

static int look(struct ctl *c, const struct change *ch, struct residency_rows *ret) {
        return rows_residency(c, ch->target.partition, ch->target.address, ch->target.size, false, ret);
}

static const char *how_far(struct ctl *c, void *userdata) {
        const struct change *ch = userdata;
        struct residency_rows now;

        if (look(c, ch, &now) != SVMD_OK)
                return NULL;
        return ctl_text(c, "%s %s%s: %s left of %s", ch->doing, target_text(c, &ch->target), ch->tail,
                        ctl_size(c, ch->left(ch, &now)), ctl_size(c, ch->left(ch, &ch->before)));
}

/* What became of it. On success all of it was done, also where programs have moved it on since. */
struct outcome {
        int code;
        const char *why;
        uint64_t done, left;
        struct residency_rows now;
};

static void say_where(struct ctl *c, const struct change *ch, const struct residency_rows *now) {
        struct residency_sums sums = residency_sums(c, now);
        const char *text = "";

        for (size_t i = 0; i < sums.count; i++) {
                const struct residency_sum *s = &sums.sums[i];

                if (s->bytes == 0)
                        continue;
                text = ctl_text(c, "%s%s%s ", text, *text ? ", " : "", ctl_size(c, s->bytes));
                if (s->node == SVMD_NODE_NONE)
                        text = ctl_text(c, "%sin no memory (zero)", text);
                else
                        text = ctl_text(c, "%son %s", text, rows_node_name(c, &ch->nodes, s->node));
                if (s->busy)
                        text = ctl_text(c, "%s (%s on its way)", text, ctl_size(c, s->busy));
        }
        fprintf(c->out, "Now %s\n", text);
}

static const char *amount(struct ctl *c, uint64_t bytes) {
        return bytes ? ctl_size(c, bytes) : "nothing";
}

static void say(struct ctl *c, const struct change *ch, const struct outcome *o) {
        fprintf(c->out, "%s %s of %s%s", ch->done, amount(c, o->done), target_text(c, &ch->target), ch->tail);
        if (o->left)
                fprintf(c->out, "; %s is left", ctl_size(c, o->left));
        fputc('\n', c->out);
        say_where(c, ch, &o->now);
        if (o->code == SVMD_OK && ch->after)
                fprintf(c->out, "%s\n", ch->after);
}

static struct json_object *where_json(struct ctl *c, const struct change *ch, const struct residency_rows *now) {
        struct residency_sums sums = residency_sums(c, now);
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < sums.count; i++) {
                const struct residency_sum *s = &sums.sums[i];
                struct json_object *o = json_object_new_object();

                json_add_text(o, "node", s->node == SVMD_NODE_NONE ? NULL : rows_node_name(c, &ch->nodes, s->node));
                json_add_count(o, "bytes", s->bytes);
                json_object_array_add(list, o);
        }
        return list;
}

/* A dry run has no result. */
static void say_json(struct ctl *c, const struct change *ch, const struct outcome *o, bool dry) {
        struct json_object *j = json_object_new_object();

        json_add_text(j, "change", ch->name);
        json_add_text(j, "partition", ch->target.reservation->partition);
        json_add_text(j, "reservation", ch->target.reservation->name);
        json_add_address(j, "address", ch->target.address);
        json_add_count(j, "length", ch->target.size);
        json_add_text(j, "node", ch->node ? ch->node->name : NULL);
        json_add_flag(j, "dry_run", dry);
        json_add_text(j, "result", dry ? NULL : svmd_status_name(o->code));
        json_add_count(j, "done_bytes", o->done);
        json_add_count(j, "left_bytes", o->left);
        json_add(j, "now", where_json(c, ch, &o->now));
        json_print(c, j);
}

static int dry_run(struct ctl *c, const struct change *ch) {
        struct outcome o = { .left = ch->left(ch, &ch->before), .now = ch->before };

        if (c->json)
                say_json(c, ch, &o, true);
        else
                fprintf(c->out, "%s %s of %s%s\n", ch->would, amount(c, o.left), target_text(c, &ch->target), ch->tail);
        return EXIT_OK;
}

static int carry_out(struct ctl *c, const struct change *ch, uint64_t deadline) {
        struct work w = { .deadline_ns = deadline, .how_far = how_far, .userdata = (void *)ch };
        uint64_t total = ch->left(ch, &ch->before);
        struct outcome o = { .code = ch->start(c, ch, &w.fence) };

        if (o.code != SVMD_OK)
                return ctl_result(c, o.code);
        o.code = work_wait(c, &w, &o.why);
        if (o.code != SVMD_E_GONE && look(c, ch, &o.now) == SVMD_OK) {
                o.left = o.code == SVMD_OK ? 0 : ch->left(ch, &o.now);
                o.done = o.left < total ? total - o.left : 0;
                if (c->json)
                        say_json(c, ch, &o, false);
                else
                        say(c, ch, &o);
        }
        return work_result(c, o.code, o.why);
}

int change_run(struct ctl *c, const struct args *a, struct change *ch) {
        uint64_t deadline;
        int r = work_deadline(c, a, &deadline);

        if (r == EXIT_OK && ch->target.reservation->kind == SVMD_PRIVATE)
                ctl_observe(c, ch->target.partition, ch->target.address, ch->target.size);
        if (r == EXIT_OK)
                r = ctl_result(c, look(c, ch, &ch->before));
        if (r != EXIT_OK)
                return r;
        if (a->value[OPT_DRY_RUN])
                return dry_run(c, ch);
        if (ch->question)
                r = args_agreed(c, a, ctl_text(c, "%s %s?", ch->question, target_text(c, &ch->target)));
        return r == EXIT_OK ? carry_out(c, ch, deadline) : r;
}
