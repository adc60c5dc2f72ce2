#include "proto/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A unit is: type, flags, node (2 bytes), ns since the last record (4), a (4), b (4). What follows in further units is
 * the type's. All that a type does not use is zero, and a reader insists on that: so a later version can use it.
 */
static const char magic[8] = "svmdtrc\n";
enum { NODE_NONE = UINT16_MAX, FLAG_FAULTS = 1 };

struct shape {
        const char *name;
        unsigned units;
        unsigned flags;              /* that may be set; or */
        unsigned below;              /* flags is a number less than this */
        bool node, session, nowhere; /* `node` names one; a session; may be none */
        bool range, granules, run;   /* a names a range; b a granule of it; unit 1 begins with how many */
};

#define ANY_ADVICE (TRACE_PREFERRED | TRACE_ACCESSED_BY | TRACE_READ_MOSTLY | TRACE_PINNED | TRACE_GRANULARITY)
#define RUN        .range = true, .granules = true, .run = true

static const struct shape shapes[_TRACE_TYPES] = {
        [TRACE_NODE] = { "node", 4, .flags = TRACE_HOST | TRACE_FAULTS | TRACE_FAR | TRACE_OFFLINE },
        [TRACE_LINK] = { "link", 2, .node = true },
        [TRACE_LIMIT] = { "limit", 2, .node = true },
        [TRACE_RANGE] = { "range", 2, .flags = TRACE_AHEAD },
        [TRACE_LIES] = { "lies", 2, .node = true, RUN },
        [TRACE_TIME] = { "time", 1, .flags = 0 },
        [TRACE_FAULT] = { "fault", 1, .flags = TRACE_WRITE | TRACE_MINOR, .session = true, .range = true,
                          .granules = true },
        [TRACE_USE] = { "use", 1, .flags = TRACE_WRITE | TRACE_MISSED, .node = true, .range = true, .granules = true },
        [TRACE_MIGRATE] = { "migrate", 2, .below = TRACE_CAUSES, .node = true, RUN },
        [TRACE_EVICT] = { "evict", 2, RUN },
        [TRACE_DISCARD] = { "discard", 2, RUN },
        [TRACE_PIN] = { "pin", 2, RUN },
        [TRACE_UNPIN] = { "unpin", 2, RUN },
        [TRACE_ADVISE] = { "advise", 3, .flags = ANY_ADVICE, RUN },
        [TRACE_RANGE_END] = { "range end", 1, .range = true },
        [TRACE_CAPACITY] = { "capacity", 2, .node = true },
        [TRACE_MOVED] = { "moved", 2, .below = TRACE_CAUSES, .node = true, .nowhere = true, RUN },
        [TRACE_DROPPED] = { "dropped", 1, .flags = 0 },
        [TRACE_END] = { "end", 1, .below = _TRACE_ENDS },
};

const char *trace_type_name(enum trace_type type) {
        return (unsigned)type < _TRACE_TYPES && shapes[type].name ? shapes[type].name : "unknown";
}

static void put(uint8_t *to, uint64_t x, unsigned bytes) {
        for (unsigned i = 0; i < bytes; i++)
                to[i] = (uint8_t)(x >> 8 * i);
}

static uint64_t get(const uint8_t *from, unsigned bytes) {
        uint64_t x = 0;

        for (unsigned i = 0; i < bytes; i++)
                x |= (uint64_t)from[i] << 8 * i;
        return x;
}

void trace_pack_header(const struct trace_header *h, uint8_t out[TRACE_HEADER]) {
        memset(out, 0, TRACE_HEADER);
        memcpy(out, magic, sizeof(magic));
        put(out + 8, TRACE_VERSION, 4);
        put(out + 12, h->faults ? FLAG_FAULTS : 0, 4);
        put(out + 16, h->started_ns, 8);
        snprintf((char *)out + 32, sizeof(h->partition), "%s", h->partition);
}

/* ---- packing ---- */

static void pack_node(uint8_t *u, const struct trace_event *e) {
        put(u + 16, e->bytes, 8);
        put(u + 24, e->value, 8);
        snprintf((char *)u + 32, sizeof(e->name), "%s", e->name);
}

static void pack_range(uint8_t *u, const struct trace_event *e) {
        put(u + 12, e->granule, 4);
        put(u + 16, e->count, 4);
        put(u + 20, e->group, 4);
        put(u + 24, e->address, 8);
}

static void pack_advice(uint8_t *u, const struct trace_event *e) {
        put(u + 20, e->preferred, 4);
        put(u + 24, e->granularity, 4);
        put(u + 28, e->on, 4);
        put(u + 32, e->accessed_by, 8);
}

static void pack_run(uint8_t *u, const struct trace_event *e) {
        put(u + 16, e->count, 4);
        if (e->type == TRACE_MOVED)
                put(u + 20, e->from, 4);
        if (e->type == TRACE_ADVISE)
                pack_advice(u, e);
}

static void pack_body(uint8_t *u, const struct trace_event *e) {
        const struct shape *s = &shapes[e->type];

        if (s->range)
                put(u + 8, e->range, 4);
        if (s->granules)
                put(u + 12, e->first, 4);
        if (s->run)
                pack_run(u, e);
        switch (e->type) {
        case TRACE_NODE: pack_node(u, e); break;
        case TRACE_LINK:
                put(u + 8, e->first, 4);
                put(u + 12, e->count, 4);
                put(u + 16, e->value, 8);
                break;
        case TRACE_LIMIT:
                put(u + 8, e->group, 4);
                put(u + 16, e->bytes, 8);
                break;
        case TRACE_RANGE:
                put(u + 8, e->range, 4);
                pack_range(u, e);
                break;
        case TRACE_CAPACITY: put(u + 16, e->bytes, 8); break;
        case TRACE_TIME:
        case TRACE_DROPPED: put(u + 8, e->value, 8); break;
        case TRACE_END: put(u + 8, e->first, 4); break;
        default: break;
        }
}

size_t trace_pack(const struct trace_event *e, uint64_t *last, uint8_t out[(TRACE_UNITS + 1) * TRACE_UNIT]) {
        uint64_t passed = e->time > *last ? e->time - *last : 0;
        size_t size = shapes[e->type].units * (size_t)TRACE_UNIT;

        if (passed > UINT32_MAX) {
                struct trace_event pause = { .type = TRACE_TIME, .value = passed, .time = *last };

                size = trace_pack(&pause, last, out);
                *last += passed;
                return size + trace_pack(e, last, out + size);
        }
        memset(out, 0, size);
        out[0] = (uint8_t)e->type;
        out[1] = (uint8_t)e->flags;
        put(out + 2, e->node == TRACE_NOWHERE ? NODE_NONE : e->node, 2);
        put(out + 4, passed, 4);
        pack_body(out, e);
        *last += passed;
        return size;
}

/* ---- reading ---- */

__attribute__((format(printf, 3, 4))) static int bad(struct trace_reader *t, size_t offset, const char *format, ...) {
        va_list args;
        int n = snprintf(t->why, sizeof(t->why), "offset %zu: expected ", offset);

        va_start(args, format);
        vsnprintf(t->why + n, sizeof(t->why) - (size_t)n, format, args);
        va_end(args);
        return -EBADMSG;
}

static bool is_zero(const uint8_t *bytes, size_t size) {
        for (size_t i = 0; i < size; i++)
                if (bytes[i])
                        return false;
        return true;
}

/* Text with zeroes behind it, up to the end of its room. */
static bool is_text(const uint8_t *bytes, size_t room) {
        size_t length = strnlen((const char *)bytes, room);

        return length < room && is_zero(bytes + length, room - length);
}

int trace_open(struct trace_reader *t, const void *bytes, size_t size) {
        const uint8_t *h = bytes;

        *t = (struct trace_reader){ .bytes = bytes, .size = size, .at = TRACE_HEADER };
        if (size < sizeof(magic) || memcmp(h, magic, sizeof(magic)) != 0)
                return bad(t, 0, "\"svmdtrc\": this is no trace of svmd");
        if (size < TRACE_HEADER)
                return bad(t, size, "a header of %d bytes", TRACE_HEADER);
        if (get(h + 8, 4) != TRACE_VERSION)
                return bad(t, 8, "version %d, not %" PRIu64, TRACE_VERSION, get(h + 8, 4));
        if (get(h + 12, 4) & ~(uint64_t)FLAG_FAULTS)
                return bad(t, 12, "no flags but %d", FLAG_FAULTS);
        if (!is_zero(h + 24, 8))
                return bad(t, 24, "zeroes");
        if (!is_text(h + 32, sizeof(t->header.partition)))
                return bad(t, 32, "a name of at most %zu bytes, and zeroes", sizeof(t->header.partition) - 1);
        t->header.faults = get(h + 12, 4) & FLAG_FAULTS;
        t->header.started_ns = get(h + 16, 8);
        memcpy(t->header.partition, h + 32, sizeof(t->header.partition));
        return 0;
}

void trace_close(struct trace_reader *t) {
        free(t->ranges);
        t->ranges = NULL;
        t->ranges_count = t->ranges_room = 0;
}

static int check_granules(struct trace_reader *t, const struct shape *s, const struct trace_event *e) {
        const struct trace_range *r;

        if (e->range >= t->ranges_count || t->ranges[e->range].ended)
                return bad(t, t->at + 8, "a range that was declared and has not ended, not %" PRIu32, e->range);
        r = &t->ranges[e->range];
        if (s->granules && e->first >= r->count)
                return bad(t, t->at + 12, "a granule of the range, which has %" PRIu32, r->count);
        if (s->run && (!e->count || e->count > r->count - e->first))
                return bad(t, t->at + 16, "1 to %" PRIu32 " granules", r->count - e->first);
        return 0;
}

static int check_node(struct trace_reader *t, const struct shape *s, const struct trace_event *e) {
        if (s->node && !(s->nowhere && e->node == TRACE_NOWHERE) && e->node >= t->nodes)
                return bad(t, t->at + 2, "one of the %" PRIu32 " nodes that were declared", t->nodes);
        if (!s->node && !s->session && e->type != TRACE_NODE && e->node)
                return bad(t, t->at + 2, "0");
        return 0;
}

static int declare_node(struct trace_reader *t, struct trace_event *e, const uint8_t *u) {
        if (t->declared)
                return bad(t, t->at, "no node after other records");
        if (e->node != t->nodes || t->nodes == TRACE_NODES)
                return bad(t, t->at + 2, "node %" PRIu32, t->nodes);
        if (!u[32] || !is_text(u + 32, sizeof(e->name)))
                return bad(t, t->at + 32, "a name of 1 to 31 bytes, and zeroes");
        if (!is_zero(u + 8, 8))
                return bad(t, t->at + 8, "zeroes");
        e->bytes = get(u + 16, 8);
        e->value = get(u + 24, 8);
        memcpy(e->name, u + 32, sizeof(e->name));
        t->nodes++;
        return 0;
}

static int declare_link(struct trace_reader *t, struct trace_event *e, const uint8_t *u) {
        e->first = (uint32_t)get(u + 8, 4);
        e->count = (uint32_t)get(u + 12, 4);
        e->value = get(u + 16, 8);
        if (e->first >= t->nodes || e->first == e->node)
                return bad(t, t->at + 8, "another node");
        return is_zero(u + 24, 8) ? 0 : bad(t, t->at + 24, "zeroes");
}

static int grow(struct trace_reader *t) {
        uint32_t room = t->ranges_room ? 2 * t->ranges_room : 16;
        struct trace_range *ranges;

        if (t->ranges_count < t->ranges_room)
                return 0;
        ranges = realloc(t->ranges, room * sizeof(*ranges));
        if (!ranges)
                return -ENOMEM;
        t->ranges = ranges;
        t->ranges_room = room;
        return 0;
}

static int declare_range(struct trace_reader *t, struct trace_event *e, const uint8_t *u) {
        int k;

        e->range = (uint32_t)get(u + 8, 4);
        e->granule = (uint32_t)get(u + 12, 4);
        e->count = (uint32_t)get(u + 16, 4);
        e->group = (uint32_t)get(u + 20, 4);
        e->address = get(u + 24, 8);
        if (e->range != t->ranges_count)
                return bad(t, t->at + 8, "range %" PRIu32, t->ranges_count);
        if (e->granule != 4096 && e->granule != 65536 && e->granule != 2 << 20)
                return bad(t, t->at + 12, "granules of 4096, 65536 or 2097152 bytes, not %" PRIu32, e->granule);
        if (!e->count)
                return bad(t, t->at + 16, "at least one granule");
        k = grow(t);
        if (!k)
                t->ranges[t->ranges_count++] = (struct trace_range){ e->granule, e->count, false };
        return k;
}

static int read_advice(struct trace_reader *t, struct trace_event *e, const uint8_t *u) {
        e->preferred = (uint32_t)get(u + 20, 4);
        e->granularity = (uint32_t)get(u + 24, 4);
        e->on = (uint32_t)get(u + 28, 4);
        e->accessed_by = get(u + 32, 8);
        if (e->preferred > t->nodes)
                return bad(t, t->at + 20, "a node plus one, or 0");
        if (e->on & ~(unsigned)(TRACE_READ_MOSTLY | TRACE_PINNED))
                return bad(t, t->at + 28, "no flags but %d and %d", TRACE_READ_MOSTLY, TRACE_PINNED);
        return is_zero(u + 40, 8) ? 0 : bad(t, t->at + 40, "zeroes");
}

/* What stands behind the count of a run. */
static int read_rest(struct trace_reader *t, struct trace_event *e, const uint8_t *u) {
        if (e->type == TRACE_ADVISE)
                return read_advice(t, e, u);
        if (e->type != TRACE_MOVED)
                return is_zero(u + 20, 12) ? 0 : bad(t, t->at + 20, "zeroes");
        e->from = (uint32_t)get(u + 20, 4);
        if (e->from != TRACE_NOWHERE && e->from >= t->nodes)
                return bad(t, t->at + 20, "a node that was declared");
        return is_zero(u + 24, 8) ? 0 : bad(t, t->at + 24, "zeroes");
}

static int read_bytes(struct trace_reader *t, struct trace_event *e, const uint8_t *u) {
        e->group = e->type == TRACE_LIMIT ? (uint32_t)get(u + 8, 4) : 0;
        e->bytes = get(u + 16, 8);
        if (e->type == TRACE_LIMIT && !e->group)
                return bad(t, t->at + 8, "a group: 1 or more");
        if ((e->type != TRACE_LIMIT && get(u + 8, 4)) || get(u + 12, 4) || !is_zero(u + 24, 8))
                return bad(t, t->at + 8, "zeroes where nothing stands");
        return 0;
}

static int read_granules(struct trace_reader *t, struct trace_event *e, const struct shape *s, const uint8_t *u) {
        int k;

        e->range = (uint32_t)get(u + 8, 4);
        e->first = (uint32_t)get(u + 12, 4);
        e->count = s->run ? (uint32_t)get(u + 16, 4) : 1;
        k = check_granules(t, s, e);
        k = k || !s->run ? k : read_rest(t, e, u);
        if (!k && e->type == TRACE_RANGE_END) {
                if (e->first)
                        return bad(t, t->at + 12, "0");
                t->ranges[e->range].ended = true;
        }
        return k;
}

static int read_body(struct trace_reader *t, struct trace_event *e, const struct shape *s, const uint8_t *u) {
        if (s->range)
                return read_granules(t, e, s, u);
        switch (e->type) {
        case TRACE_NODE: return declare_node(t, e, u);
        case TRACE_LINK: return declare_link(t, e, u);
        case TRACE_RANGE: return declare_range(t, e, u);
        case TRACE_LIMIT:
        case TRACE_CAPACITY: return read_bytes(t, e, u);
        case TRACE_TIME:
        case TRACE_DROPPED: e->value = get(u + 8, 8); return 0;
        case TRACE_END:
                e->first = (uint32_t)get(u + 8, 4);
                t->ended = true;
                return get(u + 12, 4) ? bad(t, t->at + 12, "0") : 0;
        default: return 0;
        }
}

static int read_head(struct trace_reader *t, struct trace_event *e, const struct shape **ret) {
        const uint8_t *u = t->bytes + t->at;
        size_t left = t->size - t->at;
        const struct shape *s;

        if (t->ended)
                return bad(t, t->at, "nothing behind the end record");
        if (left < TRACE_UNIT)
                return bad(t, t->size, "a whole record: %zu bytes are missing", TRACE_UNIT - left);
        if (!u[0] || u[0] >= _TRACE_TYPES)
                return bad(t, t->at, "a type of 1 to %d, not %u", _TRACE_TYPES - 1, u[0]);
        s = &shapes[u[0]];
        if (left < s->units * (size_t)TRACE_UNIT)
                return bad(t, t->size, "a whole %s: %zu bytes are missing", s->name,
                           s->units * (size_t)TRACE_UNIT - left);
        if (s->below ? u[1] >= s->below : u[1] & ~s->flags)
                return bad(t, t->at + 1, "other flags of a %s than %#x", s->name, u[1]);
        *e = (struct trace_event){ .type = (enum trace_type)u[0], .flags = u[1], .node = (uint32_t)get(u + 2, 2) };
        if (s->nowhere && e->node == NODE_NONE)
                e->node = TRACE_NOWHERE;
        e->time = t->time + get(u + 4, 4);
        *ret = s;
        return 0;
}

static int read_one(struct trace_reader *t, struct trace_event *e) {
        const struct shape *s = NULL;
        int k = read_head(t, e, &s);

        k = k ? k : check_node(t, s, e);
        k = k ? k : read_body(t, e, s, t->bytes + t->at);
        if (k)
                return k;
        if (e->type == TRACE_TIME && e->value > UINT64_MAX / 2 - e->time)
                return bad(t, t->at + 8, "a time that is not past all bounds");
        t->declared |= e->type != TRACE_NODE && e->type != TRACE_LINK;
        t->time = e->time + (e->type == TRACE_TIME ? e->value : 0);
        t->at += s->units * (size_t)TRACE_UNIT;
        return 0;
}

int trace_next(struct trace_reader *t, struct trace_event *ret) {
        struct trace_event e = { .type = TRACE_TIME };

        while (e.type == TRACE_TIME) {
                int k;

                if (t->at == t->size)
                        return 0;
                k = read_one(t, &e);
                if (k)
                        return k;
        }
        *ret = e;
        return 1;
}

size_t trace_record_size(const uint8_t *record) {
        return record[0] < _TRACE_TYPES ? shapes[record[0]].units * (size_t)TRACE_UNIT : 0;
}

size_t trace_whole(const void *bytes, size_t size) {
        const uint8_t *u = bytes;
        size_t at = TRACE_HEADER, n;

        if (size < TRACE_HEADER)
                return 0;
        while (size - at >= TRACE_UNIT && (n = trace_record_size(u + at)) && n <= size - at)
                at += n;
        return at;
}
