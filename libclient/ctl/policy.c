#include <string.h>
#include <time.h>

#include "account.h"
#include "args.h"
#include "ctl.h"
#include "json.h"
#include "size.h"
#include "table.h"
#include "verbs.h"

/*
 * What svmd goes by: shown, set and taken back in the words of svmd.conf, and read again.
 */
static const struct word {
        const char *name;
        unsigned kind;  /* SVMD_SETTING_* */
        bool of, other; /* of something that has a name; of two */
        bool rate;
} words[] = {
        { "policy", SVMD_SETTING_POLICY, false, false, false },
        { "partition-policy", SVMD_SETTING_PARTITION_POLICY, true, false, false },
        { "partition-rate", SVMD_SETTING_PARTITION_RATE, true, false, true },
        { "link-rate", SVMD_SETTING_LINK_RATE, true, true, true },
};
enum { WORDS = sizeof(words) / sizeof(words[0]) };

/* ---- set ---- */

struct change {
        const struct word *word;
        const char *name, *other, *profile;
        uint64_t rate;
};

static const char *shape(struct ctl *c, const struct word *w, bool value) {
        return ctl_text(c, "%s%s%s", w->name,
                        w->other ? "=NODE:NODE"
                        : w->of  ? "=PARTITION"
                                 : "",
                        !value    ? ""
                        : w->rate ? "=SIZE"
                                  : "=NAME");
}

static int take_value(struct ctl *c, struct change *ch, const char *text) {
        int k;

        if (!ch->word->rate) {
                ch->profile = text;
                return EXIT_OK;
        }
        k = size_parse(text, &ch->rate);
        if (k)
                return ctl_fail(c, EXIT_USAGE, "%s=%s: %s", ch->word->name, text, size_problem(k));
        return EXIT_OK;
}

/* What stands behind the word, up to its value. */
static int take_name(struct change *ch, char *text) {
        char *colon = ch->word->other ? strchr(text, ':') : NULL;

        if (ch->word->other && !colon)
                return EXIT_USAGE;
        if (colon) {
                *colon = 0;
                ch->other = colon + 1;
        }
        ch->name = text;
        return *text && (!colon || colon[1]) ? EXIT_OK : EXIT_USAGE;
}

static int parse(struct ctl *c, const char *text, bool value, struct change *ret) {
        char *rest = ctl_copy(c, text), *word = strsep(&rest, "="), *name = NULL;
        const struct word *w = NULL;

        for (unsigned i = 0; i < WORDS && !w; i++)
                w = strcmp(words[i].name, word) == 0 ? &words[i] : NULL;
        if (!w)
                return ctl_fail(c, EXIT_USAGE,
                                "'%s': expected policy, partition-policy, partition-rate or link-rate, as in "
                                "svmd.conf(5)",
                                text);
        *ret = (struct change){ .word = w };
        if (w->of)
                name = strsep(&rest, "=");
        if ((w->of && (!name || take_name(ret, name) != EXIT_OK)) || !rest != !value || (rest && !*rest))
                return ctl_fail(c, EXIT_USAGE, "'%s': expected %s", text, shape(c, w, value));
        return value ? take_value(c, ret, rest) : EXIT_OK;
}

static int say_json(struct ctl *c, const struct args *a, bool set) {
        struct json_object *o = json_object_new_object(), *list = json_object_new_array();

        for (unsigned i = 0; i < a->words_count; i++)
                json_object_array_add(list, json_object_new_string(a->words[i]));
        json_add_flag(o, "set", set);
        json_add(o, "settings", list);
        return json_print(c, o);
}

/* All are read before the first is said. */
static int each(struct ctl *c, const struct args *a, bool set) {
        struct change *changes = ctl_alloc(c, a->words_count * sizeof(*changes));
        int r = EXIT_OK;

        for (unsigned i = 0; i < a->words_count && r == EXIT_OK; i++)
                r = parse(c, a->words[i], set, &changes[i]);
        for (unsigned i = 0; i < a->words_count && r == EXIT_OK; i++) {
                const struct change *ch = &changes[i];

                r = ctl_result(
                        c, set ? svmd_policy_set(c->session, ch->word->kind, ch->name, ch->other, ch->profile, ch->rate)
                               : svmd_policy_unset(c->session, ch->word->kind, ch->name, ch->other));
        }
        return r == EXIT_OK && c->json ? say_json(c, a, set) : r;
}

int policy_set_run(struct ctl *c, const struct args *a) {
        return each(c, a, true);
}

int policy_unset_run(struct ctl *c, const struct args *a) {
        return each(c, a, false);
}

/* ---- show ---- */

struct showing {
        struct ctl *ctl;
        struct table *table;
        struct json_object *json;
};

static const struct word *word_of(unsigned kind) {
        static const struct word unknown = { "unknown", 0, true, true, true };

        for (unsigned i = 0; i < WORDS; i++)
                if (words[i].kind == kind)
                        return &words[i];
        return &unknown;
}

static const char *when(struct ctl *c, uint64_t ns) {
        time_t seconds = (time_t)(ns / 1000000000);
        struct tm tm;
        char text[32];

        if (ns == 0 || !localtime_r(&seconds, &tm))
                return NULL;
        strftime(text, sizeof(text), "%F %T", &tm);
        return ctl_copy(c, text);
}

static void add_line(struct showing *s, const struct svmd_setting_row *row) {
        const struct word *w = word_of(row->kind);
        struct table_line *l = table_line(s->table, NULL);
        struct ctl *c = s->ctl;

        table_cell(l, w->name);
        table_cell(l, row->other[0] ? ctl_text(c, "%s:%s", row->name, row->other) : ctl_copy(c, row->name));
        table_cell(l, !w->rate    ? ctl_copy(c, row->profile)
                      : row->rate ? ctl_text(c, "%s/s", ctl_size(c, row->rate))
                                  : "no cap");
        table_cell(l, row->set ? account_user(c, row->uid) : "the configuration");
        table_cell(l, when(c, row->set_ns));
}

static void add_object(struct showing *s, const struct svmd_setting_row *row) {
        struct json_object *o = json_object_new_object();
        const struct word *w = word_of(row->kind);

        json_add_text(o, "setting", w->name);
        json_add_text(o, w->other ? "node" : "partition", row->name);
        if (w->other)
                json_add_text(o, "other", row->other);
        if (w->rate)
                json_add_count(o, "rate", row->rate);
        else
                json_add_text(o, "policy", row->profile);
        json_add_flag(o, "set", row->set);
        json_add(o, "set_ns", row->set ? json_object_new_uint64(row->set_ns) : NULL);
        if (row->set)
                json_add_user(s->ctl, o, row->uid);
        json_object_array_add(s->json, o);
}

static int on_row(const struct svmd_setting_row *row, void *userdata) {
        struct showing *s = userdata;

        if (s->json)
                add_object(s, row);
        else
                add_line(s, row);
        return 0;
}

int policy_show_run(struct ctl *c, const struct args *a) {
        static const struct column columns[] = {
                { "SETTING", 0 }, { "OF", 0 }, { "VALUE", 0 }, { "SAID BY", 0 }, { "SINCE", 0 }
        };
        struct showing s = { .ctl = c };
        int r;

        if (c->json)
                s.json = json_object_new_array();
        else
                s.table = table_new(c, columns, sizeof(columns) / sizeof(columns[0]));
        r = ctl_result(c, svmd_query_policy(c->session, on_row, &s));
        if (r == EXIT_OK && c->json)
                return json_print(c, s.json);
        if (r == EXIT_OK)
                table_print(s.table, NULL);
        else if (c->json)
                json_object_put(s.json);
        else
                table_drop(s.table);
        return r;
}

/* ---- reload ---- */

struct reloaded {
        struct ctl *ctl;
        const char *changed, *restart;
        struct json_object *changed_json, *restart_json;
};

static int on_option(const char *option, int restart, void *userdata) {
        struct reloaded *x = userdata;
        const char **list = restart ? &x->restart : &x->changed;

        *list = ctl_text(x->ctl, "%s%s%s", *list, **list ? ", " : "", option);
        json_object_array_add(restart ? x->restart_json : x->changed_json, json_object_new_string(option));
        return 0;
}

int reload_run(struct ctl *c, const struct args *a) {
        struct json_object *o = json_object_new_object();
        struct reloaded x = { .ctl = c, .changed = "", .restart = "" };
        int r;

        json_add(o, "changed", x.changed_json = json_object_new_array());
        json_add(o, "needs_restart", x.restart_json = json_object_new_array());
        r = ctl_result(c, svmd_reload(c->session, on_option, &x));
        if (r == EXIT_OK && c->json)
                return json_print(c, o);
        json_object_put(o);
        if (r != EXIT_OK)
                return r;
        fprintf(c->out, "Changed: %s\n", *x.changed ? x.changed : "nothing");
        if (*x.restart)
                fprintf(c->out, "Needs a restart of svmd to change: %s\n", x.restart);
        return r;
}
