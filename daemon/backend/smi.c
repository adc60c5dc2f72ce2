#include "backend/smi.h"

#include <string.h>

/*
 * A line is "TYPE " in hexadecimal, and a body whose form is the type's. In a form, letters stand for what is read:
 *
 *      n time   p process   a first page   z pages   g GPU   f from   t to   h prefetch   r preferred
 *      d trigger   e error   c flag
 *
 * all else stands for itself, and what follows '?' may be missing. A number that does not fit or a byte too many breaks
 * the line. It is read as bytes: the flag of a restore is a 0 byte, mostly.
 */
static const struct form {
        const char *text, *flags; /* flags: which there are; NULL for any */
} forms[] = {
        [SMI_MIGRATE_START] = { "n -p @a(z) f->t h:r d", NULL },
        [SMI_MIGRATE_END] = { "n -p @a(z) f->t d? e", NULL },
        [SMI_FAULT_START] = { "n -p @a(g) c", "WR" },
        [SMI_FAULT_END] = { "n -p @a(g) c", "MU" },
        [SMI_QUEUE_EVICTION] = { "n -p g d", NULL },
        [SMI_QUEUE_RESTORE] = { "n -p g c", NULL },
        [SMI_UNMAP] = { "n -p @a(z) g d", NULL },
};

enum { FORMS = sizeof(forms) / sizeof(forms[0]) };

struct cursor {
        const char *at, *end;
};

static int digit(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

static bool number(struct cursor *c, unsigned base, uint64_t max, uint64_t *ret) {
        const char *first = c->at;
        uint64_t v = 0;

        for (; c->at < c->end && (unsigned)digit(*c->at) < base; c->at++) {
                unsigned d = (unsigned)digit(*c->at);

                if (v > (max - d) / base)
                        return false;
                v = v * base + d;
        }
        *ret = v;
        return c->at > first;
}

static bool hexadecimal32(struct cursor *c, uint32_t *ret) {
        uint64_t v;

        if (!number(c, 16, UINT32_MAX, &v))
                return false;
        *ret = (uint32_t)v;
        return true;
}

static bool trigger(struct cursor *c, uint32_t *ret) {
        uint64_t v;

        if (!number(c, 10, INT32_MAX, &v))
                return false;
        *ret = (uint32_t)v;
        return true;
}

static bool process(struct cursor *c, int *ret) {
        uint64_t v;

        if (!number(c, 10, INT32_MAX, &v) || v == 0)
                return false;
        *ret = (int)v;
        return true;
}

static bool error(struct cursor *c, int *ret) {
        bool minus = c->at < c->end && *c->at == '-';
        uint64_t v;

        c->at += minus;
        if (!number(c, 10, INT32_MAX, &v))
                return false;
        *ret = minus ? -(int)v : (int)v;
        return true;
}

static bool flag(struct cursor *c, const char *flags, char *ret) {
        if (c->at == c->end || (flags && (!*c->at || !strchr(flags, *c->at))))
                return false;
        *ret = *c->at++;
        return true;
}

static bool literal(struct cursor *c, char what) {
        return c->at < c->end && *c->at++ == what;
}

static bool field(struct cursor *c, char what, const struct form *f, struct smi_event *e) {
        switch (what) {
        case 'n': return number(c, 10, INT64_MAX, &e->ns);
        case 'p': return process(c, &e->pid);
        case 'a': return number(c, 16, UINT64_MAX, &e->page);
        case 'z': return number(c, 16, UINT64_MAX, &e->pages);
        case 'g': return hexadecimal32(c, &e->gpu);
        case 'f': return hexadecimal32(c, &e->from);
        case 't': return hexadecimal32(c, &e->to);
        case 'h': return hexadecimal32(c, &e->prefetch);
        case 'r': return hexadecimal32(c, &e->preferred);
        case 'd': return trigger(c, &e->trigger);
        case 'e': return error(c, &e->error);
        case 'c': return flag(c, f->flags, &e->flag);
        default: return literal(c, what);
        }
}

static bool body(struct cursor *c, const struct form *f, struct smi_event *e) {
        for (const char *t = f->text; *t; t++) {
                if (*t == '?' && c->at == c->end)
                        return true;
                if (*t != '?' && !field(c, *t, f, e))
                        return false;
        }
        return c->at == c->end;
}

static void take_line(struct smi *s, void (*call)(void *, const struct smi_event *), void *userdata) {
        struct cursor c = { s->line, s->line + s->used };
        struct smi_event e = { .pages = 0 };
        uint64_t type;
        bool numbered = !s->cut && number(&c, 16, UINT32_MAX, &type) && literal(&c, ' ');

        if (numbered && (type >= FORMS || !forms[type].text)) {
                s->unknown++;
                return;
        }
        if (!numbered || !body(&c, &forms[type], &e)) {
                s->broken++;
                return;
        }
        s->events++;
        e.type = (enum smi_type)type;
        if (e.type == SMI_FAULT_START || e.type == SMI_FAULT_END)
                e.pages = 1;
        call(userdata, &e);
}

/* What fits: the line's end is not kept. */
static void keep(struct smi *s, const char *bytes, size_t size) {
        size_t room = sizeof(s->line) - s->used;

        s->cut |= size > room;
        if (size > room)
                size = room;
        memcpy(s->line + s->used, bytes, size);
        s->used += size;
}

void smi_feed(struct smi *s, const void *bytes, size_t size,
              void (*call)(void *userdata, const struct smi_event *event), void *userdata) {
        const char *at = bytes, *end = at + size;

        while (at < end) {
                const char *line_end = memchr(at, '\n', (size_t)(end - at));

                keep(s, at, (size_t)((line_end ? line_end : end) - at));
                if (!line_end)
                        return;
                take_line(s, call, userdata);
                s->used = 0;
                s->cut = false;
                at = line_end + 1;
        }
}
