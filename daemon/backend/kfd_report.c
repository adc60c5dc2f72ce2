#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backend/kfd.h"
#include "base/complain.h"
#include "base/text.h"
#include "core/node.h"

/*
 * Strictly: a word that is not expected, a number that does not fit, a byte behind the end, and all of it is refused.
 * What half a report says of a machine is worse than nothing.
 */
enum { LINE_MAX_BYTES = 255, WORDS_MAX = 9 };

struct line {
        char text[LINE_MAX_BYTES + 1];
        char *words[WORDS_MAX];
        unsigned count;
};

/* Words of printable ASCII, one space between two. */
static bool split(struct line *l) {
        char *at = l->text;

        for (l->count = 0; l->count < WORDS_MAX;) {
                l->words[l->count++] = at;
                while (*at > ' ' && *at < 127)
                        at++;
                if (at == l->words[l->count - 1])
                        return false;
                if (!*at)
                        return true;
                if (*at != ' ')
                        return false;
                *at++ = 0;
        }
        return false;
}

static bool number(const char *word, uint64_t max, uint64_t *ret) {
        uint64_t v = 0;

        if (!*word || strlen(word) > 20)
                return false;
        for (; *word; word++) {
                if (!isdigit((unsigned char)*word) || v > (UINT64_MAX - 9) / 10)
                        return false;
                v = v * 10 + (uint64_t)(*word - '0');
        }
        *ret = v;
        return v <= max;
}

static bool number32(const char *word, uint32_t *ret) {
        uint64_t v;

        if (!number(word, UINT32_MAX, &v))
                return false;
        *ret = (uint32_t)v;
        return true;
}

static bool integer(const char *word, int *ret) {
        bool minus = *word == '-';
        uint64_t v;

        if (!number(word + minus, INT32_MAX, &v))
                return false;
        *ret = minus ? -(int)v : (int)v;
        return true;
}

static bool hexadecimal(const char *word, uint64_t *ret) {
        int end = 0;

        return strncmp(word, "0x", 2) == 0 && isxdigit((unsigned char)word[2]) && strlen(word) <= 18 &&
               sscanf(word, "%" SCNx64 "%n", ret, &end) == 1 && !word[end];
}

static bool read_version(struct kfd_report *r, const struct line *l) {
        if (l->count != 3 || r->has_version || r->nodes_count)
                return false;
        r->has_version = true;
        return number32(l->words[1], &r->major) && number32(l->words[2], &r->minor);
}

static bool read_node(struct kfd_report *r, const struct line *l) {
        struct kfd_node *n = &r->nodes[r->nodes_count];
        uint32_t index, svm;

        if (l->count != 9 || r->nodes_count == KFD_NODES_MAX)
                return false;
        if (!number32(l->words[1], &index) || index != r->nodes_count)
                return false;
        n->gpu = strcmp(l->words[2], "gpu") == 0;
        if (!n->gpu && strcmp(l->words[2], "cpu") != 0)
                return false;
        if (!number32(l->words[3], &n->cores) || !number(l->words[4], INT64_MAX, &n->bytes) ||
            !integer(l->words[5], &n->render) || !hexadecimal(l->words[6], &n->hive) || !number32(l->words[7], &svm) ||
            svm > 1 || strlen(l->words[8]) >= sizeof(n->name))
                return false;
        n->svm = svm;
        text_copy(n->name, l->words[8]);
        r->nodes_count++;
        return true;
}

static bool read_link(struct kfd_report *r, const struct line *l) {
        struct kfd_link *k = &r->links[r->links_count];

        if (l->count != 7 || r->links_count == KFD_LINKS_MAX || strlen(l->words[3]) >= sizeof(k->type))
                return false;
        if (!number32(l->words[1], &k->from) || !number32(l->words[2], &k->to) || !number32(l->words[4], &k->weight) ||
            !number32(l->words[5], &k->minimum) || !number32(l->words[6], &k->maximum))
                return false;
        text_copy(k->type, l->words[3]);
        r->links_count++;
        return true;
}

static bool read_gpu(struct kfd_report *r, const struct line *l) {
        uint32_t index, id;
        struct kfd_node *n;

        if (l->count != 5 || !number32(l->words[1], &index) || index >= r->nodes_count || !number32(l->words[2], &id))
                return false;
        n = &r->nodes[index];
        if (!n->gpu || n->id || id == 0)
                return false;
        n->id = id;
        return hexadecimal(l->words[3], &n->va_start) && hexadecimal(l->words[4], &n->va_end) &&
               n->va_start < n->va_end;
}

static bool read_card(struct kfd_report *r, const struct line *l) {
        struct kfd_node *n;
        uint32_t index;

        if (l->count != 5 || !number32(l->words[1], &index) || index >= r->nodes_count)
                return false;
        n = &r->nodes[index];
        if (!n->gpu || n->has_card)
                return false;
        n->has_card = true;
        return hexadecimal(l->words[2], &n->unique) && number32(l->words[3], &n->domain) &&
               number32(l->words[4], &n->location);
}

static bool read_xnack(struct kfd_report *r, const struct line *l) {
        if (l->count != 2 || r->has_xnack)
                return false;
        r->has_xnack = true;
        return integer(l->words[1], &r->xnack);
}

static bool read_error(struct kfd_report *r, const struct line *l) {
        struct kfd_error *e = &r->errors[r->errors_count];

        if (l->count != 4 || r->errors_count == KFD_ERRORS_MAX || strlen(l->words[1]) >= sizeof(e->what))
                return false;
        if (!integer(l->words[2], &e->error) || !integer(l->words[3], &e->status) || e->error < 0)
                return false;
        text_copy(e->what, l->words[1]);
        r->errors_count++;
        return true;
}

static const struct {
        const char *word;
        bool (*read)(struct kfd_report *r, const struct line *l);
} kinds[] = {
        { "version", read_version }, { "node", read_node }, { "link", read_link }, { "xnack", read_xnack },
        { "error", read_error },     { "gpu", read_gpu },   { "card", read_card },
};

static bool read_line(struct kfd_report *r, const struct line *l) {
        for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
                if (strcmp(l->words[0], kinds[i].word) == 0)
                        return kinds[i].read(r, l);
        return false;
}

/* Links lead to nodes that there are. */
static bool links_ok(const struct kfd_report *r) {
        for (uint32_t i = 0; i < r->links_count; i++)
                if (r->links[i].from >= r->nodes_count || r->links[i].to >= r->nodes_count)
                        return false;
        return true;
}

int kfd_report_read(struct kfd_report *ret, const char *text, size_t size, char *why, size_t why_size) {
        const char *at = text, *end = text + size;
        unsigned count = 0;

        memset(ret, 0, sizeof(*ret));
        while (at < end) {
                const char *stop = memchr(at, '\n', (size_t)(end - at));
                struct line l;

                count++;
                if (!stop)
                        return complain(why, why_size, -EBADMSG, "was cut short in line %u", count);
                if (stop - at > LINE_MAX_BYTES || memchr(at, 0, (size_t)(stop - at)))
                        return complain(why, why_size, -EBADMSG, "said what svmd does not understand, in line %u",
                                        count);
                memcpy(l.text, at, (size_t)(stop - at));
                l.text[stop - at] = 0;
                at = stop + 1;
                if (!split(&l))
                        return complain(why, why_size, -EBADMSG, "said what svmd does not understand, in line %u",
                                        count);
                if (count == 1 && (l.count != 2 || strcmp(l.words[0], "probe") != 0 || strcmp(l.words[1], "1") != 0))
                        return complain(why, why_size, -EBADMSG, "is of another version, or no such program");
                if (count > 1 && l.count == 1 && strcmp(l.words[0], "end") == 0)
                        return at == end && links_ok(ret)
                                       ? 0
                                       : complain(why, why_size, -EBADMSG, "said what does not fit together");
                if (count > 1 && !read_line(ret, &l))
                        return complain(why, why_size, -EBADMSG, "said what svmd does not understand, in line %u",
                                        count);
        }
        return complain(why, why_size, -EBADMSG, "did not say all");
}

const struct kfd_error *kfd_report_error(const struct kfd_report *r, const char *what) {
        for (uint32_t i = 0; i < r->errors_count; i++)
                if (strcmp(r->errors[i].what, what) == 0)
                        return &r->errors[i];
        return NULL;
}

const char *kfd_link_type(const struct kfd_link *l) {
        static const char *const names[][2] = {
                { "ht", "HT" }, { "pcie", "PCIe" }, { "amba", "AMBA" }, { "qpi", "QPI" }, { "xgmi", "XGMI" },
        };

        for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (strcmp(l->type, names[i][0]) == 0)
                        return names[i][1];
        return l->type;
}

uint32_t kfd_host_of(const struct kfd_report *r, uint32_t index, const struct machine *m) {
        uint32_t nth = 0;

        for (uint32_t i = 0; i < index; i++)
                nth += !r->nodes[i].gpu;
        for (uint32_t i = 0; i < m->count; i++)
                if (m->nodes[i].kind == NODE_HOST && nth-- == 0)
                        return i;
        return 0;
}
