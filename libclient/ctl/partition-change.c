#include <string.h>
#include <unistd.h>

#include "account.h"
#include "args.h"
#include "ctl.h"
#include "json.h"
#include "partition.h"
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

static int create_json(struct ctl *c, const char *name, const struct svmd_partition_options *opts, uint64_t base) {
        struct json_object *o = json_object_new_object();

        json_add_text(o, "partition", name);
        json_add_address(o, "base", base);
        json_add_flag(o, "dry_run", opts->dry_run);
        return json_print(c, o);
}

int partition_create_run(struct ctl *c, const struct args *a) {
        struct svmd_partition_options opts = { .size = sizeof(opts), .uid = getuid(), .gid = getgid() };
        const char *name = a->words[0];
        uint64_t base = 0;
        int r;

        opts.domain = a->value[OPT_DOMAIN];
        r = args_size(c, a, OPT_SIZE, &opts.length);
        if (r == EXIT_OK)
                r = window_parse(c, a->value[OPT_WINDOW], &opts.window);
        if (r == EXIT_OK)
                r = options_parse(c, a, &opts);
        if (r != EXIT_OK)
                return r;
        r = svmd_partition_create(c->session, name, &opts, &base);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (c->json)
                return create_json(c, name, &opts, base);
        fprintf(c->out, "%s partition %s at %s, owner %s:%s\n", opts.dry_run ? "Would create" : "Created", name,
                ctl_address(c, base), account_user(c, opts.uid), account_group(c, opts.gid));
        return EXIT_OK;
}

static int change_json(struct ctl *c, const char *name, bool dry_run) {
        struct json_object *o = json_object_new_object();

        json_add_text(o, "partition", name);
        json_add_flag(o, "dry_run", dry_run);
        return json_print(c, o);
}

int partition_set_run(struct ctl *c, const struct args *a) {
        struct svmd_partition_options opts = { .size = sizeof(opts) };
        const struct svmd_partition_row *p;
        unsigned set = 0;
        int r;

        if (!a->limits_count && !a->value[OPT_KEPT_MAX] && !a->value[OPT_OWNER] && !a->value[OPT_MODE])
                return ctl_fail(c, EXIT_USAGE,
                                "what to set? Give --min, --low, --high, --max, --kept-max, --owner or --mode");
        r = partition_find(c, a->words[0], &p);
        if (r == EXIT_OK)
                r = options_parse(c, a, &opts);
        if (r != EXIT_OK)
                return r;
        set |= a->value[OPT_OWNER] ? SVMD_SET_OWNER : 0;
        set |= a->value[OPT_MODE] ? SVMD_SET_MODE : 0;
        r = svmd_partition_set(c->session, p->name, &opts, set);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (c->json)
                return change_json(c, p->name, opts.dry_run);
        fprintf(c->out, "%s partition %s\n", opts.dry_run ? "Would change" : "Changed", p->name);
        return EXIT_OK;
}

static const char *delete_question(struct ctl *c, const struct svmd_partition_row *p, bool end_sessions) {
        if (p->sessions && end_sessions)
                return ctl_text(c, "Delete partition %s and end its %llu session%s?", p->name,
                                (unsigned long long)p->sessions, p->sessions == 1 ? "" : "s");
        return ctl_text(c, "Delete partition %s?", p->name);
}

int partition_delete_run(struct ctl *c, const struct args *a) {
        bool dry = a->value[OPT_DRY_RUN], end_sessions = a->value[OPT_END_SESSIONS];
        unsigned flags =
                (end_sessions ? SVMD_DELETE_END_SESSIONS : 0u) | (a->value[OPT_DROP_KEPT] ? SVMD_DELETE_DROP_KEPT : 0u);
        const struct svmd_partition_row *p;
        int r = partition_find(c, a->words[0], &p);

        if (r != EXIT_OK)
                return r;
        if (!dry && !a->value[OPT_YES] && !ctl_confirm(c, delete_question(c, p, end_sessions)))
                return ctl_fail(c, EXIT_REFUSED, "nothing was done");
        r = svmd_partition_delete(c->session, p->name, flags, dry);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (c->json)
                return change_json(c, p->name, dry);
        fprintf(c->out, "%s partition %s", dry ? "Would delete" : "Deleted", p->name);
        if (p->sessions)
                fprintf(c->out, " and %s %llu session%s", dry ? "end" : "ended", (unsigned long long)p->sessions,
                        p->sessions == 1 ? "" : "s");
        fputc('\n', c->out);
        return EXIT_OK;
}
