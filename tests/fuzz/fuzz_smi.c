/*
 * KFD's events, whatever the stream holds: every line is counted once, an event is whole, and where the stream was cut
 * makes no difference. The first byte says where.
 */
#include "fuzz.h"

#include <string.h>

#include "backend/smi.h"

/* A sum over what was called back for, in its order. */
struct seen {
        uint64_t count, sum;
};

static void add(struct seen *s, uint64_t v) {
        s->sum = (s->sum ^ v) * 0x9e3779b97f4a7c15;
}

static void see(void *userdata, const struct smi_event *e) {
        struct seen *s = userdata;

        must(e->type >= SMI_MIGRATE_START && e->type <= SMI_UNMAP);
        must(SMI_MASK >> (e->type - 1) & 1);
        must(e->pid > 0 && e->ns <= INT64_MAX && e->trigger <= INT32_MAX);
        s->count++;
        add(s, e->type);
        add(s, (uint64_t)e->pid);
        add(s, e->ns);
        add(s, e->page);
        add(s, e->pages);
        add(s, e->gpu);
        add(s, e->from);
        add(s, e->to);
        add(s, e->prefetch);
        add(s, e->preferred);
        add(s, e->trigger);
        add(s, (uint64_t)e->error);
        add(s, (unsigned char)e->flag);
}

static void feed(struct smi *s, const uint8_t *bytes, size_t size, size_t piece, struct seen *seen) {
        for (size_t at = 0; at < size; at += piece) {
                size_t n = size - at < piece ? size - at : piece;
                uint8_t *copy = malloc(n); /* of just this size: reading behind it is seen */

                must(copy);
                memcpy(copy, bytes + at, n);
                smi_feed(s, copy, n, see, seen);
                free(copy);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        struct bytes in = { bytes, size };
        size_t piece = 1 + take_u8(&in);
        struct seen whole = { .count = 0 }, cut = { .count = 0 };
        struct smi a = { .used = 0 }, b = { .used = 0 };
        uint64_t lines = 0;

        for (size_t i = 0; i < in.left; i++)
                lines += in.at[i] == '\n';
        feed(&a, in.at, in.left, in.left ? in.left : 1, &whole);
        feed(&b, in.at, in.left, piece, &cut);
        must(a.events + a.unknown + a.broken == lines && a.events == whole.count);
        must(whole.count == cut.count && whole.sum == cut.sum);
        must(a.unknown == b.unknown && a.broken == b.broken && a.used == b.used && a.cut == b.cut);
        must(a.used <= SMI_LINE_MAX);
        return 0;
}
