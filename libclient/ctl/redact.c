#include "redact.h"

#include <ctype.h>
#include <json-c/json_object.h>
#include <obstack.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "svg.h"

struct name {
        char *text, *stands;
        size_t length;
};

struct redact {
        struct name *names;
        size_t count, room;
        bool sorted;
        size_t first[257]; /* where the names that begin with a byte stand */
        unsigned numbers[16];
        const char *kinds[16];
};

static void *must(void *p) {
        if (!p)
                obstack_alloc_failed_handler();
        return p;
}

struct redact *redact_new(void) {
        return must(calloc(1, sizeof(struct redact)));
}

void redact_free(struct redact *r) {
        for (size_t i = 0; i < r->count; i++) {
                free(r->names[i].text);
                free(r->names[i].stands);
        }
        free(r->names);
        free(r);
}

/* ---- names ---- */

static bool says_nothing(const char *name) {
        static const char *const known[] = {
                "",     "-",          "root",         "svmd",          "svmd-ctl",    "svmd-keeper",
                "none", "default",    "host",         "unknown",       "other",       "init.scope",
                "/",    "user.slice", "system.slice", "machine.slice", "svmd.service"
        };

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
                if (strcmp(known[i], name) == 0)
                        return true;
        return false;
}

static unsigned next_number(struct redact *r, const char *kind) {
        unsigned i = 0;

        while (i + 1 < sizeof(r->kinds) / sizeof(r->kinds[0]) && r->kinds[i] && strcmp(r->kinds[i], kind) != 0)
                i++;
        r->kinds[i] = kind;
        return ++r->numbers[i];
}

static const struct name *known(const struct redact *r, const char *text) {
        for (size_t i = 0; i < r->count; i++)
                if (strcmp(r->names[i].text, text) == 0)
                        return &r->names[i];
        return NULL;
}

static void add(struct redact *r, const char *text, const char *stands) {
        if (known(r, text))
                return;
        if (r->count == r->room) {
                r->room = r->room ? 2 * r->room : 64;
                r->names = must(realloc(r->names, r->room * sizeof(*r->names)));
        }
        r->names[r->count++] = (struct name){ must(strdup(text)), must(strdup(stands)), strlen(text) };
        r->sorted = false;
}

static void add_as_json(struct redact *r, const char *text, const char *stands) {
        struct json_object *o = must(json_object_new_string(text));
        char *written = must(strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE)));

        written[strlen(written) - 1] = '\0';
        add(r, written + 1, stands);
        free(written);
        json_object_put(o);
}

static void add_as_xml(struct redact *r, const char *text, const char *stands) {
        char *written;
        size_t size;
        FILE *out = must(open_memstream(&written, &size));

        svg_escape(out, text, 0);
        fclose(out);
        add(r, written, stands);
        free(written);
}

void redact_add(struct redact *r, const char *kind, const char *name) {
        char stands[64];

        if (says_nothing(name) || known(r, name))
                return;
        snprintf(stands, sizeof(stands), "%s-%u", kind, next_number(r, kind));
        add(r, name, stands);
        add_as_json(r, name, stands);
        add_as_xml(r, name, stands);
}

void redact_add_path(struct redact *r, const char *path) {
        char *copy = must(strdup(path)), *rest = copy, *part;

        while ((part = strsep(&rest, "/")))
                redact_add(r, "group", part);
        free(copy);
}

/* `until`: the bytes that end the name. */
static void add_behind(struct redact *r, const char *text, const char *before, const char *until, const char *kind) {
        for (const char *at = text; (at = strstr(at, before));) {
                size_t length = strcspn(at += strlen(before), until);
                char name[256];

                if (length >= sizeof(name) || !at[length] || at[length] == '\n')
                        continue;
                while (length && at[length - 1] == ' ')
                        length--;
                snprintf(name, sizeof(name), "%.*s", (int)length, at);
                if (strcmp(kind, "path") == 0)
                        redact_add_path(r, name);
                else
                        redact_add(r, kind, name);
        }
}

void redact_add_log(struct redact *r, const char *text) {
        add_behind(r, text, ": partition ", ":,\n", "partition");
        add_behind(r, text, "name=\"", "\"\n", "name");
        add_behind(r, text, "asked by ", "(\n", "program");
        add_behind(r, text, ", in /", ")\n", "path");
}

/* ---- text ---- */

/* The longest comes first of those that begin alike. */
static int compare(const void *left, const void *right) {
        const struct name *a = left, *b = right;
        int r = (int)(unsigned char)*a->text - (int)(unsigned char)*b->text;

        return r ? r : a->length > b->length ? -1 : a->length < b->length;
}

static void sort(struct redact *r) {
        size_t at = 0;

        if (r->sorted)
                return;
        if (r->count)
                qsort(r->names, r->count, sizeof(*r->names), compare);
        for (unsigned byte = 0; byte <= 256; byte++) {
                while (at < r->count && (unsigned char)*r->names[at].text < byte)
                        at++;
                r->first[byte] = at;
        }
        r->sorted = true;
}

static bool in_word(char c) {
        return isalnum((unsigned char)c) || c == '_' || (c & 0x80);
}

/* Where a name ends within a word, another one is meant. */
static bool stands_alone(const char *before, const char *at, const struct name *n) {
        return !(before && in_word(*before) && in_word(*at)) && !(in_word(at[n->length - 1]) && in_word(at[n->length]));
}

static const struct name *name_at(const struct redact *r, const char *before, const char *at) {
        unsigned byte = (unsigned char)*at;

        for (size_t i = r->first[byte]; i < r->first[byte + 1]; i++) {
                const struct name *n = &r->names[i];

                if (strncmp(n->text, at, n->length) == 0 && stands_alone(before, at, n))
                        return n;
        }
        return NULL;
}

void redact_write(struct redact *r, FILE *out, const char *text) {
        const char *before = NULL;

        sort(r);
        while (*text) {
                const struct name *n = name_at(r, before, text);

                if (n)
                        fputs(n->stands, out);
                else
                        fputc(*text, out);
                text += n ? n->length : 1;
                before = text - 1;
        }
}
