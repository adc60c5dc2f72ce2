#include "recording.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/trace.h"

/* Granule after granule of all ranges: its number plus one. */
struct numbers {
        uint32_t *number;
        uint64_t *base; /* of each range */
        uint64_t size;
        uint32_t ranges;
};

static void *grow(void *old, size_t bytes) {
        return realloc(old, bytes ? bytes : 1);
}

static int range_add(struct numbers *n, const struct trace_event *e) {
        uint64_t *base = grow(n->base, (n->ranges + 1) * sizeof(*base));
        uint32_t *number = base ? grow(n->number, (n->size + e->count) * sizeof(*number)) : NULL;

        n->base = base ? base : n->base;
        n->number = number ? number : n->number;
        if (!number)
                return -ENOMEM;
        for (uint32_t i = 0; i < e->count; i++)
                n->number[n->size + i] = 0;
        n->base[n->ranges++] = n->size;
        n->size += e->count;
        return 0;
}

static int touch(struct numbers *n, struct trace *t, const struct trace_event *e) {
        uint32_t *number = &n->number[n->base[e->range] + e->first];

        if (!*number)
                *number = ++t->granules;
        return trace_add(t, *number - 1);
}

static int read_events(struct trace *t, struct trace_reader *r) {
        struct numbers n = { 0 };
        struct trace_event e;
        int k;

        while ((k = trace_next(r, &e)) > 0) {
                if (e.type == TRACE_RANGE)
                        k = range_add(&n, &e);
                else if (e.type == TRACE_FAULT || e.type == TRACE_USE)
                        k = touch(&n, t, &e);
                if (k < 0)
                        break;
        }
        free(n.number);
        free(n.base);
        return k;
}

static int read_bytes(uint8_t **ret, size_t *ret_size, const char *file) {
        enum { MOST = 64 << 20 };
        FILE *f = fopen(file, "re");
        uint8_t *bytes = f ? malloc(MOST) : NULL;
        int k = f ? -ENOMEM : -errno;

        if (bytes) {
                *ret_size = fread(bytes, 1, MOST, f);
                k = ferror(f) ? -EIO : 0;
        }
        if (f)
                fclose(f);
        if (k)
                free(bytes);
        else
                *ret = bytes;
        return k;
}

int recording_read(struct trace *ret, const char *file) {
        struct trace t = { 0 };
        struct trace_reader r;
        uint8_t *bytes;
        size_t size = 0;
        int k = read_bytes(&bytes, &size, file);

        if (k)
                return k;
        k = trace_open(&r, bytes, size);
        if (!k) {
                k = read_events(&t, &r);
                trace_close(&r);
        }
        free(bytes);
        if (k)
                trace_free(&t);
        else
                *ret = t;
        return k;
}
