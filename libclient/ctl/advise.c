#include <stdlib.h>
#include <string.h>

#include "advice.h"
#include "args.h"
#include "ctl.h"
#include "json.h"
#include "rows.h"
#include "size.h"
#include "target.h"
#include "verbs.h"

/* An administrator's hint: words like "preferred=gpu0". */
struct words {
        struct ctl *ctl;
        struct node_rows nodes;
        struct svmd_advice advice;
        struct svmd_verdict_row *verdicts;
        size_t count;
};

/* Nodes with commas; each is handed to `add`. */
static int each_node(struct words *w, const char *list, int (*add)(struct words *w, svmd_node node)) {
        char *rest = ctl_copy(w->ctl, list), *name;
        int r = EXIT_OK;

        while (r == EXIT_OK && (name = strsep(&rest, ","))) {
                const struct svmd_node_row *node;

                r = rows_find_node(w->ctl, &w->nodes, name, &node);
                if (r == EXIT_OK)
                        r = add(w, node->id);
        }
        return r;
}

static int add_fallback(struct words *w, svmd_node node) {
        if (w->advice.fallbacks == sizeof(w->advice.fallback) / sizeof(w->advice.fallback[0]))
                return ctl_fail(w->ctl, EXIT_USAGE, "there can be three fallbacks");
        w->advice.fallback[w->advice.fallbacks++] = node;
        return EXIT_OK;
}

static int add_accessor(struct words *w, svmd_node node) {
        if (node >= 64)
                return ctl_fail(w->ctl, EXIT_USAGE, "only the first 64 nodes can be named in accessed-by");
        w->advice.accessed_by |= 1ull << node;
        return EXIT_OK;
}

static int set_preferred(struct words *w, svmd_node node) {
        w->advice.preferred = node;
        return EXIT_OK;
}

static int set_flag(struct words *w, const char *name, const char *value, int *ret) {
        if (strcmp(value, "yes") != 0)
                return ctl_fail(w->ctl, EXIT_USAGE, "%s=%s: expected yes, no or default", name, value);
        *ret = 1;
        return EXIT_OK;
}

static int set_granularity(struct words *w, const char *value) {
        uint64_t bytes = 0;

        if (size_parse(value, &bytes) || bytes > UINT32_MAX)
                return ctl_fail(w->ctl, EXIT_USAGE, "granularity=%s: expected a size from 4K to 2M", value);
        w->advice.granularity = (unsigned)bytes;
        return EXIT_OK;
}

static int set_atomics(struct words *w, const char *value) {
        for (unsigned i = 1; i < 4; i++)
                if (strcmp(value, advice_atomics[i]) == 0) {
                        w->advice.atomics = i;
                        return EXIT_OK;
                }
        return ctl_fail(w->ctl, EXIT_USAGE, "atomics=%s: expected device, global or cpu", value);
}

static int set_group(struct words *w, const char *value) {
        char *end;
        unsigned long n = strtoul(value, &end, 10);

        if (!*value || *end || n == 0 || n > UINT32_MAX)
                return ctl_fail(w->ctl, EXIT_USAGE, "group=%s: expected a number from 1 on", value);
        w->advice.group = (unsigned)n;
        return EXIT_OK;
}

static int set(struct words *w, unsigned bit, const char *name, const char *value) {
        w->advice.what |= bit;
        if (strcmp(value, "default") == 0)
                return EXIT_OK;
        if (strcmp(value, "no") == 0) {
                w->advice.against |= bit;
                return EXIT_OK;
        }
        switch (bit) {
        case SVMD_ADVISE_PREFERRED: return each_node(w, value, set_preferred);
        case SVMD_ADVISE_FALLBACK: return each_node(w, value, add_fallback);
        case SVMD_ADVISE_ACCESSED_BY: return each_node(w, value, add_accessor);
        case SVMD_ADVISE_READ_MOSTLY: return set_flag(w, name, value, &w->advice.read_mostly);
        case SVMD_ADVISE_PINNED: return set_flag(w, name, value, &w->advice.pinned);
        case SVMD_ADVISE_GRANULARITY: return set_granularity(w, value);
        case SVMD_ADVISE_ATOMICS: return set_atomics(w, value);
        case SVMD_ADVISE_COARSE: return set_flag(w, name, value, &w->advice.coarse);
        default: return set_group(w, value);
        }
}

static int take_word(struct words *w, const char *word) {
        const char *equals = strchr(word, '=');
        const char *names = "";

        for (unsigned i = 0; i < ADVICE_NAMES; i++) {
                const struct advice_name *n = &advice_names[i];
                size_t length = strlen(n->word);

                names = ctl_text(w->ctl, "%s%s%s", names, i ? ", " : "", n->word);
                if (equals && (size_t)(equals - word) == length && strncmp(word, n->word, length) == 0)
                        return set(w, n->bit, n->word, equals + 1);
        }
        return ctl_fail(w->ctl, EXIT_USAGE, "'%s': expected ATTRIBUTE=VALUE, where ATTRIBUTE is one of %s", word,
                        names);
}

/* ---- what becomes of it ---- */

static struct json_object *said_json(struct ctl *c, const struct args *a, const struct target *t) {
        struct json_object *o = json_object_new_object(), *list = json_object_new_array();

        json_add_text(o, "partition", t->reservation->partition);
        json_add_text(o, "reservation", t->reservation->name);
        json_add_address(o, "address", t->address);
        json_add_count(o, "length", t->size);
        for (unsigned i = 1; i < a->words_count; i++)
                json_object_array_add(list, json_object_new_string(a->words[i]));
        json_add(o, "advised", list);
        return o;
}

static int on_verdict(const struct svmd_verdict_row *row, void *userdata) {
        struct words *w = userdata;
        struct svmd_verdict_row *v = ctl_alloc(w->ctl, (w->count + 1) * sizeof(*v));

        if (w->count)
                memcpy(v, w->verdicts, w->count * sizeof(*v));
        v[w->count] = *row;
        v[w->count].why = ctl_copy(w->ctl, row->why);
        w->verdicts = v;
        w->count++;
        return 0;
}

static const char *names_of(struct ctl *c, unsigned bits) {
        const char *text = "";

        for (unsigned i = 0; i < ADVICE_NAMES; i++)
                if (bits & advice_names[i].bit)
                        text = ctl_text(c, "%s%s%s", text, *text ? ", " : "", advice_names[i].word);
        return text;
}

static int say(struct words *w, const struct args *a, const struct target *t, unsigned overruled) {
        struct ctl *c = w->ctl;
        struct json_object *o;

        if (!c->json) {
                advice_verdicts_print(c, &w->nodes, w->verdicts, w->count, 0);
                if (overruled)
                        fprintf(c->out,
                                "Somebody else's word counts in some of it, of %s: 'svmd-ctl advice' says whose\n",
                                names_of(c, overruled));
                return EXIT_OK;
        }
        o = said_json(c, a, t);
        json_add(o, "nodes", advice_verdicts_json(c, &w->nodes, w->verdicts, w->count, 0));
        json_add(o, "overruled", advice_bits_json(overruled));
        return json_print(c, o);
}

int advise_run(struct ctl *c, const struct args *a) {
        struct words w = { .ctl = c, .advice = { .size = sizeof(w.advice), .preferred = SVMD_NODE_NONE } };
        unsigned overruled = 0;
        struct target t;
        int r = target_managed(c, a->words[0], &t);

        if (r == EXIT_OK)
                r = ctl_result(c, rows_nodes(c, &w.nodes));
        for (unsigned i = 1; r == EXIT_OK && i < a->words_count; i++)
                r = take_word(&w, a->words[i]);
        if (r != EXIT_OK)
                return r;
        r = ctl_result(c, svmd_advise_judged(c->session, t.partition, t.address, t.size, &w.advice, on_verdict, &w,
                                             &overruled));
        return r == EXIT_OK ? say(&w, a, &t, overruled) : r;
}
