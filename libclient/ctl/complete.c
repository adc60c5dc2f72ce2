#include "complete.h"

#include <string.h>

#include "args.h"
#include "ctl.h"
#include "reach.h"
#include "rows.h"
#include "verbs.h"

/*
 * All of it comes from the table of verbs, and names from svmd itself where one answers. So the scripts of shells know
 * no verb, and are never behind.
 */
struct line {
        const char *part;    /* the word that is not finished */
        const char *said[3]; /* the words that are no options, as many as a verb and its first operand have */
        unsigned said_count;
        unsigned opt; /* that waits for its argument, or _OPT_MAX */
};

static void offer(struct ctl *c, const char *part, const char *candidate, const char *behind) {
        if (strncmp(candidate, part, strlen(part)) == 0)
                fprintf(c->out, "%s%s\n", candidate, behind);
}

static unsigned option_of(const char *word) {
        for (unsigned i = 0; i < _OPT_MAX; i++)
                if (strcmp(opt_texts[i].name, word) == 0)
                        return i;
        return _OPT_MAX;
}

/* --socket and --runtime-dir say where to ask. */
static void heed(struct ctl *c, unsigned opt, const char *value) {
        if (opt == OPT_SOCKET)
                c->socket = value;
        if (opt == OPT_RUNTIME_DIR)
                c->runtime_dir = value;
}

static void take_apart(struct ctl *c, unsigned count, char **words, struct line *l) {
        *l = (struct line){ .part = count ? words[count - 1] : "", .opt = _OPT_MAX };
        for (unsigned i = 0; i + 1 < count; i++) {
                const char *word = words[i];

                if (l->opt != _OPT_MAX) {
                        heed(c, l->opt, word);
                        l->opt = _OPT_MAX;
                } else if (strncmp(word, "--", 2) == 0) {
                        unsigned opt = option_of(word + 2);

                        l->opt = opt != _OPT_MAX && opt_texts[opt].arg ? opt : _OPT_MAX;
                } else {
                        if (l->said_count < 3)
                                l->said[l->said_count] = word;
                        l->said_count++;
                }
        }
}

/* How many of the words that were said are the verb's; 0: it is another one. */
static unsigned is_said(const struct verb *v, const struct line *l) {
        size_t first = strcspn(v->name, " ");
        const char *second = v->name[first] ? v->name + first + 1 : NULL;

        if (l->said_count == 0 || strlen(l->said[0]) != first || strncmp(v->name, l->said[0], first) != 0)
                return 0;
        if (!second)
                return 1;
        return l->said_count > 1 && strcmp(l->said[1], second) == 0 ? 2 : 0;
}

static const struct verb *verb_of(const struct line *l, unsigned *ret_words) {
        for (unsigned i = 0; i < verbs_count; i++) {
                *ret_words = is_said(&verbs[i], l);
                if (*ret_words)
                        return &verbs[i];
        }
        return NULL;
}

/* Families stand together in the table, and their word is offered once. */
static void offer_verbs(struct ctl *c, const struct line *l) {
        const char *last = "";

        for (unsigned i = 0; i < verbs_count; i++) {
                size_t first = strcspn(verbs[i].name, " ");
                const char *word = ctl_text(c, "%.*s", (int)first, verbs[i].name);

                if (l->said_count == 1 && verbs[i].name[first] && strcmp(word, l->said[0]) == 0)
                        offer(c, l->part, verbs[i].name + first + 1, "");
                if (l->said_count == 0 && strcmp(word, last) != 0)
                        offer(c, l->part, word, "");
                last = word;
        }
}

static void offer_options(struct ctl *c, const struct line *l, const struct verb *v) {
        for (unsigned i = 0; i < _OPT_MAX; i++)
                if (i >= _OPT_OF_VERBS || (v && v->options & BIT(i)))
                        offer(c, l->part, ctl_text(c, "--%s", opt_texts[i].name), "");
}

static void offer_nodes(struct ctl *c, const char *part, const char *behind) {
        struct node_rows nodes;
        const char *why;

        if (reach_quietly(c, 0, &why) != EXIT_OK || rows_nodes(c, &nodes) != 0)
                return;
        for (size_t i = 0; i < nodes.count; i++)
                offer(c, part, nodes.rows[i].name, behind);
}

static void offer_partitions(struct ctl *c, const char *part) {
        struct partition_rows partitions;
        const char *why;

        if (reach_quietly(c, VERB_ADMIN, &why) != EXIT_OK || rows_partitions(c, NULL, &partitions) != 0)
                return;
        for (size_t i = 0; i < partitions.count; i++)
                offer(c, part, partitions.rows[i].name, "");
}

static void offer_sessions(struct ctl *c, const char *part) {
        struct session_rows sessions;
        const char *why;

        if (reach_quietly(c, VERB_ADMIN, &why) != EXIT_OK || rows_sessions(c, NULL, &sessions) != 0)
                return;
        for (size_t i = 0; i < sessions.count; i++)
                offer(c, part, ctl_text(c, "%llu", (unsigned long long)sessions.rows[i].id), "");
}

static void offer_cgroups(struct ctl *c, const char *part) {
        struct limited_rows groups;
        const char *why;

        if (reach_quietly(c, VERB_ADMIN, &why) != EXIT_OK || rows_limited(c, 0, &groups) != 0)
                return;
        for (size_t i = 0; i < groups.count; i++)
                offer(c, part, groups.rows[i].cgroup, "");
}

/* What a placeholder such as NODE stands for. */
static void offer_value(struct ctl *c, const char *part, const char *placeholder, const char *family) {
        if (strncmp(placeholder, "NODE=", 5) == 0)
                offer_nodes(c, part, "=");
        else if (strncmp(placeholder, "NODE", 4) == 0)
                offer_nodes(c, part, "");
        else if (strncmp(placeholder, "SESSION", 7) == 0 || (strcmp(family, "session") == 0 && *placeholder == 'I'))
                offer_sessions(c, part);
        else if (strncmp(placeholder, "NAME", 4) == 0 &&
                 (strcmp(family, "partition") == 0 || strcmp(family, "cdi") == 0))
                offer_partitions(c, part);
        else if (strncmp(placeholder, "PATH", 4) == 0 && strcmp(family, "cgroup") == 0)
                offer_cgroups(c, part);
}

static const char *operand(struct ctl *c, const struct verb *v, unsigned at) {
        const char *text = v->operands;

        for (; at && *text; at--) {
                text += strcspn(text, " ");
                text += *text == ' ';
        }
        text += *text == '[';
        return ctl_text(c, "%.*s", (int)strcspn(text, " ]"), text);
}

int complete_run(struct ctl *c, unsigned count, char **words) {
        struct line l;
        const struct verb *v;
        unsigned of_verb;

        take_apart(c, count, words, &l);
        v = verb_of(&l, &of_verb);
        if (l.opt != _OPT_MAX)
                offer_value(c, l.part, opt_texts[l.opt].arg, l.opt == OPT_PARTITION ? "partition" : "");
        else if (*l.part == '-')
                offer_options(c, &l, v);
        else if (!v)
                offer_verbs(c, &l);
        else
                offer_value(c, l.part, operand(c, v, l.said_count - of_verb), l.said[0]);
        return EXIT_OK;
}
