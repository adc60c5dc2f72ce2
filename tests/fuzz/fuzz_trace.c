/* A recording: read, and what svmd did by its word. What is read is sound; anything else is refused with an offset. */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "proto/trace.h"

static void check(const struct trace_reader *t, const struct trace_event *e) {
        uint8_t bytes[(TRACE_UNITS + 1) * TRACE_UNIT];
        uint64_t last = e->time;

        must(e->type > 0 && e->type < _TRACE_TYPES);
        if (e->type == TRACE_USE || e->type == TRACE_LIES || e->type == TRACE_CAPACITY)
                must(e->node < t->nodes);
        if (e->type >= TRACE_FAULT && e->type <= TRACE_ADVISE)
                must(e->range < t->ranges_count && e->first < t->ranges[e->range].count &&
                     e->count <= t->ranges[e->range].count - e->first);
        /* Packed again it is the same, but for its time. */
        must(trace_pack(e, &last, bytes) == trace_record_size(bytes));
        must(memcmp(bytes + 8, t->bytes + t->at - trace_record_size(bytes) + 8, trace_record_size(bytes) - 8) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        struct trace_reader t;
        struct trace_event e;
        int k = trace_open(&t, bytes, size);

        while (!k && (k = trace_next(&t, &e)) == 1) {
                check(&t, &e);
                k = 0;
        }
        must(k == 0 || (k == -EBADMSG && strstr(t.why, "offset ")));
        must(trace_whole(bytes, size) <= size);
        trace_close(&t);
        return 0;
}
