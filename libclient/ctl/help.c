#include "help.h"

#include <string.h>

#include "args.h"
#include "ctl.h"
#include "verbs.h"

enum { HELP_WIDTH = 80, OPTION_COLUMN = 26 };

#define ASKS "On a terminal it says what would happen and asks first, unless --yes is given."
#define STATUS                                                                                                         \
        "Exit status: 0 done, 1 svmd refused or something is wrong, 2 usage, 3 the time was over, 4 svmd cannot be reached."

/* A space that no line is broken at, until it is written. */
#define KEEP "\037"

static void print_word(FILE *out, const char *word, size_t length) {
        for (size_t i = 0; i < length; i++)
                fputc(word[i] == *KEEP ? ' ' : word[i], out);
}

/* Words of `text` from column `indent` on, broken before HELP_WIDTH. */
static void print_wrapped(FILE *out, const char *text, unsigned indent, unsigned column) {
        while (*text) {
                size_t word = strcspn(text, " ");

                if (column > indent && column + 1 + word > HELP_WIDTH) {
                        fprintf(out, "\n%*s", (int)indent, "");
                        column = indent;
                } else if (column > indent) {
                        fputc(' ', out);
                        column++;
                }
                print_word(out, text, word);
                column += (unsigned)word;
                text += word + (text[word] == ' ');
        }
        fputc('\n', out);
}

static void print_option(FILE *out, unsigned opt) {
        const struct opt_text *t = &opt_texts[opt];
        int n = fprintf(out, "  --%s%s%s", t->name, t->arg ? " " : "", t->arg ? t->arg : "");

        if (n >= OPTION_COLUMN) {
                fputc('\n', out);
                n = 0;
        }
        fprintf(out, "%*s", OPTION_COLUMN - n, "");
        print_wrapped(out, t->help, OPTION_COLUMN, OPTION_COLUMN);
}

static const char *synopsis(struct ctl *c, const struct verb *v) {
        const char *text = ctl_text(c, "svmd-ctl %s%s%s", v->name, *v->operands ? " " : "", v->operands);

        for (unsigned i = 0; i < _OPT_OF_VERBS; i++) {
                const struct opt_text *t = &opt_texts[i];

                if (v->options & BIT(i))
                        text = ctl_text(c, "%s [--%s%s%s]%s", text, t->name, t->arg ? KEEP : "", t->arg ? t->arg : "",
                                        t->many ? "..." : "");
        }
        return text;
}

int help_verb(struct ctl *c, const struct verb *v) {
        fputs("Usage: ", c->out);
        print_wrapped(c->out, synopsis(c, v), 7, 7);
        fputc('\n', c->out);
        print_wrapped(c->out, ctl_text(c, "%s.%s%s", v->summary, v->more ? " " : "", v->more ? v->more : ""), 0, 0);
        if (v->flags & VERB_ADMIN)
                print_wrapped(c->out, "It is for administrators: root and members of the group svmd-admin.", 0, 0);
        if (v->flags & VERB_ASKS)
                print_wrapped(c->out, ASKS, 0, 0);
        fputs("\nOptions:\n", c->out);
        for (unsigned i = 0; i < _OPT_MAX; i++) {
                if (i >= _OPT_OF_VERBS ? i < OPT_HELP : (v->options & BIT(i)) != 0)
                        print_option(c->out, i);
        }
        fprintf(c->out, "\nExamples:\n  %s\n  %s\n\n", v->examples[0], v->examples[1]);
        print_wrapped(c->out, STATUS, 0, 0);
        return EXIT_OK;
}

static const char *verb_usage(struct ctl *c, const struct verb *v) {
        return ctl_text(c, "%s%s%s", v->name, *v->operands ? " " : "", v->operands);
}

int help_all(struct ctl *c, const char *family) {
        size_t length = family ? strlen(family) : 0;

        fprintf(c->out, "Usage: svmd-ctl [OPTION]... %s...\n\n", family ? ctl_text(c, "%s VERB ", family) : "VERB ");
        if (!family)
                fputs("Looks into svmd and administers it.\n\n", c->out);
        fputs("Verbs:\n", c->out);
        for (unsigned i = 0; i < verbs_count; i++) {
                if (family && (strncmp(verbs[i].name, family, length) != 0 || verbs[i].name[length] != ' '))
                        continue;
                fprintf(c->out, "  %-24s", verb_usage(c, &verbs[i]));
                print_wrapped(c->out, verbs[i].summary, OPTION_COLUMN, OPTION_COLUMN);
        }
        fputs("\nOptions:\n", c->out);
        for (unsigned i = _OPT_OF_VERBS; i < _OPT_MAX; i++)
                print_option(c->out, i);
        fputc('\n', c->out);
        print_wrapped(c->out, STATUS " 'svmd-ctl VERB --help' has examples.", 0, 0);
        return EXIT_OK;
}

/* mdoc takes a line that begins with a dot or a quote as a command, and a backslash as an escape. */
static void mdoc_text(FILE *out, const char *text) {
        if (*text == '.' || *text == '\'')
                fputs("\\&", out);
        for (; *text; text++) {
                if (*text == '\\')
                        fputs("\\e", out);
                else if (*text == '-')
                        fputs("\\-", out);
                else
                        fputc(*text, out);
        }
        fputc('\n', out);
}

/* A sentence a line, as mdoc wants it. */
static void mdoc_sentences(FILE *out, const char *text) {
        const char *end;

        while ((end = strstr(text, ". ")) != NULL) {
                char line[1024];

                snprintf(line, sizeof(line), "%.*s", (int)(end + 1 - text), text);
                mdoc_text(out, line);
                text = end + 2;
        }
        mdoc_text(out, text);
}

static void mdoc_option(FILE *out, unsigned opt, const char *macro) {
        const struct opt_text *t = &opt_texts[opt];

        fprintf(out, "%s Fl \\-%s%s%s%s\n", macro, t->name, t->arg ? " Ar " : "", t->arg ? t->arg : "",
                t->many ? " ..." : "");
}

static void mdoc_verb(FILE *out, const struct verb *v) {
        fprintf(out, ".It Cm %s%s%s\n", v->name, *v->operands ? " Ar " : "", v->operands);
        for (unsigned i = 0; i < _OPT_OF_VERBS; i++) {
                if (v->options & BIT(i))
                        mdoc_option(out, i, ".Op");
        }
        fputs(".Pp\n", out);
        fprintf(out, "%s.\n", v->summary);
        if (v->more)
                mdoc_sentences(out, v->more);
        if (v->flags & VERB_ADMIN)
                fputs("For administrators.\n", out);
        if (v->flags & VERB_ASKS)
                mdoc_sentences(out, ASKS);
        fputs(".Bd -literal -offset indent\n", out);
        mdoc_text(out, v->examples[0]);
        mdoc_text(out, v->examples[1]);
        fputs(".Ed\n", out);
}

void verbs_print_mdoc(FILE *out) {
        fputs(".Sh VERBS\n.Bl -tag -width Ds\n", out);
        for (unsigned i = 0; i < verbs_count; i++)
                mdoc_verb(out, &verbs[i]);
        fputs(".El\n.Sh OPTIONS\n.Bl -tag -width Ds\n", out);
        for (unsigned i = 0; i < _OPT_MAX; i++) {
                mdoc_option(out, i, ".It");
                mdoc_sentences(out, opt_texts[i].help);
        }
        fputs(".El\n", out);
}
