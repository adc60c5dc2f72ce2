#include "account/report.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct line {
        const char *at;
        size_t size;
};

/* Takes the first line off the text. False: there is none. */
static bool next_line(const char **text, size_t *size, struct line *ret) {
        const char *newline;

        if (*size == 0)
                return false;
        newline = memchr(*text, '\n', *size);
        *ret = (struct line){ *text, newline ? (size_t)(newline - *text) : *size };
        *text += ret->size + (newline != NULL);
        *size -= ret->size + (newline != NULL);
        return true;
}

static struct line trimmed(struct line l) {
        while (l.size > 0 && isspace((unsigned char)l.at[0])) {
                l.at++;
                l.size--;
        }
        while (l.size > 0 && isspace((unsigned char)l.at[l.size - 1]))
                l.size--;
        return l;
}

static void put(char *to, size_t room, struct line l) {
        size_t n = l.size < room - 1 ? l.size : room - 1;

        for (size_t i = 0; i < n; i++)
                to[i] = isgraph((unsigned char)l.at[i]) ? l.at[i] : '?';
        to[n] = 0;
}

/* Takes digits off the line. */
static bool take_number(struct line *l, uint64_t *ret) {
        uint64_t n = 0;
        size_t i = 0;

        for (; i < l->size && isdigit((unsigned char)l->at[i]); i++)
                if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(l->at[i] - '0'), &n))
                        n = UINT64_MAX;
        if (i == 0)
                return false;
        l->at += i;
        l->size -= i;
        *ret = n;
        return true;
}

static bool is(struct line l, const char *text) {
        return l.size == strlen(text) && memcmp(l.at, text, l.size) == 0;
}

/* "44564 KiB": a unit is allowed, and none is bytes. */
static bool read_size(struct line l, uint64_t *ret) {
        static const char *const units[] = { "", "KiB", "MiB", "GiB" };
        uint64_t n;

        if (!take_number(&l, &n))
                return false;
        l = trimmed(l);
        for (unsigned i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
                if (!is(l, units[i]))
                        continue;
                if (__builtin_mul_overflow(n, 1ull << 10 * i, ret))
                        *ret = UINT64_MAX;
                return true;
        }
        return false;
}

/* ---- fdinfo ---- */

/* NULL: there are too many. */
static struct fdinfo_region *region_named(struct fdinfo *f, struct line name) {
        char text[REPORT_NAME];
        struct fdinfo_region *r;

        put(text, sizeof(text), name);
        for (unsigned i = 0; i < f->regions_count; i++)
                if (strcmp(f->regions[i].name, text) == 0)
                        return &f->regions[i];
        if (name.size == 0 || f->regions_count == REPORT_REGIONS)
                return NULL;
        r = &f->regions[f->regions_count++];
        *r = (struct fdinfo_region){ .total = 0 };
        memcpy(r->name, text, sizeof(text));
        return r;
}

static const struct {
        const char *head;
        size_t offset;
} sizes[] = {
        { "drm-total-", offsetof(struct fdinfo_region, total) },
        { "drm-shared-", offsetof(struct fdinfo_region, shared) },
        { "drm-resident-", offsetof(struct fdinfo_region, resident) },
        { "drm-purgeable-", offsetof(struct fdinfo_region, purgeable) },
        { "drm-active-", offsetof(struct fdinfo_region, active) },
        { "drm-memory-", offsetof(struct fdinfo_region, memory) },
        { "amd-evicted-", offsetof(struct fdinfo_region, evicted) },
        { "amd-requested-", offsetof(struct fdinfo_region, requested) },
};

static void take_size(struct fdinfo *f, struct line key, struct line value) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                size_t head = strlen(sizes[i].head);
                struct fdinfo_region *r;
                uint64_t n;

                if (key.size <= head || memcmp(key.at, sizes[i].head, head) != 0 || !read_size(value, &n))
                        continue;
                r = region_named(f, (struct line){ key.at + head, key.size - head });
                if (!r)
                        return;
                *(uint64_t *)((char *)r + sizes[i].offset) = n;
                r->has_resident |= sizes[i].offset == offsetof(struct fdinfo_region, resident);
                r->has_memory |= sizes[i].offset == offsetof(struct fdinfo_region, memory);
                return;
        }
}

void fdinfo_parse(const char *text, size_t size, struct fdinfo *ret) {
        struct line line;

        memset(ret, 0, sizeof(*ret));
        while (next_line(&text, &size, &line)) {
                const char *colon = line.size ? memchr(line.at, ':', line.size) : NULL;
                struct line key, value;

                if (!colon)
                        continue;
                key = trimmed((struct line){ line.at, (size_t)(colon - line.at) });
                value = trimmed((struct line){ colon + 1, (size_t)(line.at + line.size - colon - 1) });
                if (is(key, "drm-driver"))
                        put(ret->driver, sizeof(ret->driver), value);
                else if (is(key, "drm-pdev"))
                        put(ret->pdev, sizeof(ret->pdev), value);
                else if (is(key, "drm-client-id"))
                        ret->has_client = take_number(&value, &ret->client);
                else
                        take_size(ret, key, value);
        }
}

uint64_t fdinfo_bytes(const struct fdinfo_region *r) {
        return r->has_resident ? r->resident : r->has_memory ? r->memory : r->total;
}

bool fdinfo_is_local(const struct fdinfo_region *r) {
        return strncmp(r->name, "vram", 4) == 0 || strncmp(r->name, "local", 5) == 0;
}

/* ---- files of numbers ---- */

bool report_number(const char *text, size_t size, uint64_t *ret) {
        struct line l = trimmed((struct line){ text, size });
        uint64_t n;

        if (!take_number(&l, &n) || l.size > 0)
                return false;
        *ret = n;
        return true;
}

bool report_key(const char *text, size_t size, const char *key, uint64_t *ret) {
        size_t length = strlen(key);
        struct line l;

        while (next_line(&text, &size, &l))
                if (l.size > length && memcmp(l.at, key, length) == 0 && l.at[length] == ' ')
                        return report_number(l.at + length, l.size - length, ret);
        return false;
}

/* "DRIVER/DEVICE/REGION"; a device may have no slash in its name. */
static bool split(struct line name, struct dmem_row *row) {
        const char *first = name.size ? memchr(name.at, '/', name.size) : NULL, *last;

        if (!first)
                return false;
        last = memrchr(name.at, '/', name.size);
        if (last == first)
                return false;
        put(row->driver, sizeof(row->driver), (struct line){ name.at, (size_t)(first - name.at) });
        put(row->device, sizeof(row->device), (struct line){ first + 1, (size_t)(last - first - 1) });
        put(row->region, sizeof(row->region), (struct line){ last + 1, (size_t)(name.at + name.size - last - 1) });
        return true;
}

unsigned dmem_parse(const char *text, size_t size, struct dmem_row *rows, unsigned room) {
        unsigned count = 0;
        struct line l;

        while (next_line(&text, &size, &l)) {
                const char *space = l.size ? memchr(l.at, ' ', l.size) : NULL;
                struct dmem_row row = { .bytes = 0 };

                if (!space || !split((struct line){ l.at, (size_t)(space - l.at) }, &row) ||
                    !report_number(space, (size_t)(l.at + l.size - space), &row.bytes))
                        continue;
                if (count < room)
                        rows[count] = row;
                count++;
        }
        return count;
}

/* "START-END PERMS OFFSET MAJOR:MINOR INODE   NAME" */
bool maps_line_parse(const char *line, const char **ret_name, uint64_t *ret_bytes) {
        const char *name = strchr(line, '/');
        char *end;
        uint64_t from = strtoull(line, &end, 16), to;

        if (!name || *end != '-')
                return false;
        to = strtoull(end + 1, &end, 16);
        if (*end != ' ' || to <= from)
                return false;
        *ret_name = name;
        *ret_bytes = to - from;
        return true;
}

bool report_is_device(const char *path) {
        static const char *const heads[] = { "/dev/dri/card", "/dev/dri/renderD", "/dev/kfd", "/dev/nvidia",
                                             "/dev/accel/" };

        for (unsigned i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
                if (strncmp(path, heads[i], strlen(heads[i])) == 0)
                        return true;
        return false;
}
