#include "lower.h"

#include "args.h"
#include "ctl.h"
#include "json.h"

/* What has to be taken by force is asked for, where somebody can answer. */
static int ask(struct ctl *c, const struct args *a, struct lower *l) {
        uint64_t deadline_ns = 10000000000ull;
        unsigned steals = plan_steals(&l->plan);
        int r = args_seconds(c, a, OPT_DEADLINE, &deadline_ns);

        if (r != EXIT_OK || (!a->value[OPT_DEADLINE] && !a->value[OPT_FORCE]))
                return r;
        l->deadline_ms = deadline_ns / 1000000;
        l->come_down = a->value[OPT_FORCE] ? SVMD_STEAL : SVMD_COME_DOWN;
        if (l->dry_run || steals == 0 || a->value[OPT_YES] || a->value[OPT_FORCE] || !c->can_ask)
                return EXIT_OK;
        r = ctl_result(c, plan_tell(c, &l->plan));
        if (r == EXIT_OK &&
            !ctl_confirm(c, ctl_text(c, "End %u session%s that may not give it back?", steals, steals == 1 ? "" : "s")))
                return ctl_fail(c, EXIT_REFUSED, "nothing was done");
        l->come_down = SVMD_STEAL;
        return r;
}

int lower_plan(struct ctl *c, const struct args *a, struct lower *l, int limits) {
        int r = limits ? ctl_result(c, plan_from(c, &l->from, &l->plan)) : EXIT_OK;

        return r == EXIT_OK ? ask(c, a, l) : r;
}

static int say_json(struct ctl *c, const struct lower *l) {
        struct json_object *o = json_object_new_object();

        if (l->name)
                json_add_text(o, l->key, l->name);
        else
                json_add_count(o, l->key, l->number);
        json_add_flag(o, "dry_run", l->dry_run);
        json_add(o, "plan", plan_json(c, &l->plan));
        json_add_count(o, "left_bytes", plan_bytes(l->come_down ? &l->left : &l->plan));
        json_add(o, "left", plan_json(c, l->come_down ? &l->left : &l->plan));
        return json_print(c, o);
}

static int say(struct ctl *c, const struct lower *l) {
        uint64_t above = plan_bytes(&l->plan), left = plan_bytes(&l->left);

        if (c->json)
                return say_json(c, l);
        fprintf(c->out, "%s %s\n", l->dry_run ? "Would change" : "Changed", l->what);
        if (l->dry_run)
                return ctl_result(c, plan_show(c, &l->plan));
        if (!l->come_down) {
                if (above)
                        fprintf(c->out, "It has %s more than that, which stays; --deadline takes it\n",
                                ctl_size(c, above));
                return EXIT_OK;
        }
        if (above)
                fprintf(c->out, "%s of %s has left\n", ctl_size(c, above > left ? above - left : 0),
                        ctl_size(c, above));
        return ctl_result(c, plan_show(c, &l->left));
}

int lower_done(struct ctl *c, struct lower *l) {
        int r = SVMD_OK;

        if (l->come_down && !l->dry_run && l->plan.count)
                r = plan_wait(c, &l->from, l->deadline_ms, &l->left);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        r = say(c, l);
        if (r == EXIT_OK && l->left.count)
                return ctl_fail(c, EXIT_TIMEOUT, "%s is left above the limits of %s", ctl_size(c, plan_bytes(&l->left)),
                                l->what);
        return r;
}
