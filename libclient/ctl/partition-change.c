#include <string.h>
#include <unistd.h>

#include "account.h"
#include "args.h"
#include "cdi.h"
#include "ctl.h"
#include "json.h"
#include "lower.h"
#include "partition.h"
#include "plan.h"
#include "rows.h"
#include "verbs.h"

static int window_parse(struct ctl *c, const char *text, unsigned *ret) {
        if (!text || strcmp(text, "primary") == 0)
                *ret = SVMD_WINDOW_PRIMARY;
        else if (strcmp(text, "low") == 0)
                *ret = SVMD_WINDOW_LOW;
        else
                return ctl_fail(c, EXIT_USAGE, "--window '%s': expected primary or low", text);
        return EXIT_OK;
}

/* The options that create and set share. */
static int options_parse(struct ctl *c, const struct args *a, struct svmd_partition_options *opts) {
        int r = EXIT_OK;

        if (a->value[OPT_OWNER])
                r = account_parse_owner(c, a->value[OPT_OWNER], &opts->uid, &opts->gid);
        if (r == EXIT_OK && a->value[OPT_MODE])
                r = account_parse_mode(c, a->value[OPT_MODE], &opts->mode);
        if (r == EXIT_OK)
                r = args_limits(c, a, &opts->limits, &opts->limits_count);
        if (r == EXIT_OK && a->value[OPT_KEPT_MAX]) {
                opts->has_kept_max = 1;
                if (strcmp(a->value[OPT_KEPT_MAX], "none") == 0)
                        opts->kept_max = UINT64_MAX;
                else
                        r = args_size(c, a, OPT_KEPT_MAX, &opts->kept_max);
        }
        opts->dry_run = a->value[OPT_DRY_RUN] != NULL;
        return r;
}

static int create_json(struct ctl *c, const char *name, const struct svmd_partition_options *opts, uint64_t base,
                       const char *cdi) {
        struct json_object *o = json_object_new_object();

        json_add_text(o, "partition", name);
        json_add_address(o, "base", base);
        json_add_flag(o, "dry_run", opts->dry_run);
        json_add_text(o, "cdi_file", cdi);
        return json_print(c, o);
}

/* One that was asked for with a specification is not left without. */
static int create_device(struct ctl *c, const struct args *a, const char *name, const char **ret_path) {
        int r = cdi_partition_made(c, a, name, ret_path);

        if (r != EXIT_OK && svmd_partition_delete_by(c->session, name, 0, 0, 0) != SVMD_OK)
                (void)ctl_fail(c, r, "partition %s is there all the same", name);
        return r;
}

int partition_create_run(struct ctl *c, const struct args *a) {
        struct svmd_partition_options opts = { .size = sizeof(opts), .uid = getuid(), .gid = getgid() };
        const char *name = a->words[0], *cdi = NULL;
        uint64_t base = 0;
        int r;

        opts.domain = a->value[OPT_DOMAIN];
        r = args_size(c, a, OPT_SIZE, &opts.length);
        if (r == EXIT_OK)
                r = window_parse(c, a->value[OPT_WINDOW], &opts.window);
        if (r == EXIT_OK)
                r = options_parse(c, a, &opts);
        if (r == EXIT_OK)
                r = cdi_partition_check(c, a, name);
        if (r == EXIT_OK)
                r = ctl_result(c, svmd_partition_create(c->session, name, &opts, &base));
        if (r == EXIT_OK && a->value[OPT_CDI] && !opts.dry_run)
                r = create_device(c, a, name, &cdi);
        if (r != EXIT_OK)
                return r;
        if (c->json)
                return create_json(c, name, &opts, base, cdi);
        fprintf(c->out, "%s partition %s at %s, owner %s:%s\n", opts.dry_run ? "Would create" : "Created", name,
                ctl_address(c, base), account_user(c, opts.uid), account_group(c, opts.gid));
        if (cdi)
                fprintf(c->out, "Containers get it as " CDI_KIND "=%s (%s)\n", name, cdi);
        return EXIT_OK;
}

/* ---- set ---- */

struct setting {
        const char *name;
        struct svmd_partition_options opts;
};

static int ask_plan(struct ctl *c, const void *what, svmd_plan_fn fn, void *userdata) {
        const struct setting *set = what;

        return svmd_partition_plan(c->session, set->name, &set->opts, fn, userdata);
}

static int set_limits(struct ctl *c, const struct args *a, struct setting *set, unsigned what) {
        struct lower lower = {
                .what = ctl_text(c, "partition %s", set->name),
                .key = "partition",
                .name = set->name,
                .from = { set->name, ask_plan, set },
                .dry_run = set->opts.dry_run,
        };
        int r = lower_plan(c, a, &lower, a->limits_count > 0);

        if (r != EXIT_OK)
                return r;
        set->opts.come_down = lower.come_down;
        set->opts.deadline_ms = lower.deadline_ms;
        r = svmd_partition_set(c->session, set->name, &set->opts, what);
        return r == SVMD_OK ? lower_done(c, &lower) : ctl_result(c, r);
}

int partition_set_run(struct ctl *c, const struct args *a) {
        struct setting set = { .opts = { .size = sizeof(set.opts) } };
        const struct svmd_partition_row *p;
        unsigned what = 0;
        int r;

        if (!a->limits_count && !a->value[OPT_KEPT_MAX] && !a->value[OPT_OWNER] && !a->value[OPT_MODE])
                return ctl_fail(c, EXIT_USAGE,
                                "what to set? Give --min, --low, --high, --max, --kept-max, --owner or --mode");
        r = partition_find(c, a->words[0], &p);
        if (r == EXIT_OK)
                r = options_parse(c, a, &set.opts);
        if (r != EXIT_OK)
                return r;
        set.name = p->name;
        what |= a->value[OPT_OWNER] ? SVMD_SET_OWNER : 0;
        what |= a->value[OPT_MODE] ? SVMD_SET_MODE : 0;
        return set_limits(c, a, &set, what);
}

/* ---- delete ---- */

static int delete_json(struct ctl *c, const char *name, bool dry_run, const struct plan *plan) {
        struct json_object *o = json_object_new_object();

        json_add_text(o, "partition", name);
        json_add_flag(o, "dry_run", dry_run);
        if (dry_run)
                json_add(o, "plan", plan_json(c, plan));
        return json_print(c, o);
}

static const char *delete_question(struct ctl *c, const struct svmd_partition_row *p, bool end_sessions) {
        if (p->sessions && end_sessions)
                return ctl_text(c, "Delete partition %s and end its %llu session%s?", p->name,
                                (unsigned long long)p->sessions, p->sessions == 1 ? "" : "s");
        return ctl_text(c, "Delete partition %s?", p->name);
}

int partition_delete_run(struct ctl *c, const struct args *a) {
        bool dry = a->value[OPT_DRY_RUN], end_sessions = a->value[OPT_END_SESSIONS], asks;
        unsigned flags =
                (end_sessions ? SVMD_DELETE_END_SESSIONS : 0u) | (a->value[OPT_DROP_KEPT] ? SVMD_DELETE_DROP_KEPT : 0u);
        const struct svmd_partition_row *p;
        struct plan plan = { 0 };
        uint64_t deadline_ns = 0;
        int r = partition_find(c, a->words[0], &p);

        if (r == EXIT_OK)
                r = args_seconds(c, a, OPT_DEADLINE, &deadline_ns);
        if (r == EXIT_OK && a->value[OPT_DEADLINE] && !end_sessions)
                r = ctl_fail(c, EXIT_USAGE, "--deadline is for --end-sessions: when those that are left then end");
        if (r != EXIT_OK)
                return r;
        asks = !dry && !a->value[OPT_YES] && c->can_ask;
        r = (dry || asks) && end_sessions ? plan_get(c, p->name, NULL, &plan) : SVMD_OK;
        if (r == SVMD_OK && asks)
                r = plan_tell(c, &plan);
        if (r == SVMD_OK && asks && !ctl_confirm(c, delete_question(c, p, end_sessions)))
                return ctl_fail(c, EXIT_REFUSED, "nothing was done");
        if (r == SVMD_OK)
                r = svmd_partition_delete_by(c->session, p->name, flags, deadline_ns / 1000000, dry);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (!dry && cdi_partition_gone(c, a, p->name) != EXIT_OK)
                return EXIT_REFUSED;
        if (c->json)
                return delete_json(c, p->name, dry, &plan);
        fprintf(c->out, "%s partition %s", dry ? "Would delete" : "Deleted", p->name);
        if (p->sessions)
                fprintf(c->out, " and %s %llu session%s", dry ? "end" : "ended", (unsigned long long)p->sessions,
                        p->sessions == 1 ? "" : "s");
        fputc('\n', c->out);
        return dry ? ctl_result(c, plan_show(c, &plan)) : EXIT_OK;
}
