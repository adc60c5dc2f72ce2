#include <errno.h>
#include <string.h>

#include "cgroup/ask.h"
#include "cgroup/wire.h"
#include "service/dmem.h"

static const uint64_t defaults[DMEM_VALUES] = { DMEM_NO_LIMIT, 0, 0 };

static bool is_same_folder(const struct dmem_entry *e) {
        return e->recorded && e->number == e->got.number;
}

/* What is there was written by svmd. */
static bool is_own(const struct dmem_entry *e, unsigned i) {
        return is_same_folder(e) && (e->got.value[i] == e->value[i] || e->got.value[i] == e->before[i]);
}

/* Of a group that svmd has own bounds for: whether this one is to be written. */
static bool is_due(const struct dmem_entry *e, unsigned i) {
        if (!is_same_folder(e))
                return e->got.value[i] != dmem_rounded(e->want[i]);
        return e->value[i] != dmem_rounded(e->want[i]) ||
               (e->got.value[i] != e->value[i] && (e->pending[i] || is_own(e, i)));
}

/* Of one that it has none for any more: what it wrote is still there. */
static bool is_left(const struct dmem_entry *e, unsigned i) {
        return is_own(e, i) && e->got.value[i] != defaults[i];
}

static bool find(const struct dmem_way *way, struct dmem_entry *e) {
        e->there = dmem_read(way->root, e->path, e->region, &e->got) == 0;
        return e->there;
}

static void keep_error(struct dmem_entry *e, int r, enum dmem_by by) {
        if (r >= 0 || e->error)
                return;
        e->error = r;
        e->by = by;
}

static bool is_refusal(int r) {
        return r == -EACCES || r == -EPERM || r == -EROFS;
}

/* After svmd itself was refused. */
static void have_written(struct dmem_way *way, struct dmem_entry *e, unsigned i, uint64_t value, int refusal) {
        int r = way->silent ? CGROUP_E_SILENT : CGROUP_E_NONE;
        char line[CGROUP_WIRE_LINE];

        if (way->writer && !way->silent) {
                dmem_line(line, sizeof(line), e->region, dmem_rounded(value));
                r = cgroup_ask(way->writer, way->root, e->path, (enum dmem_value)i, line);
        }
        way->silent = r == CGROUP_E_SILENT;
        if (r <= 0)
                keep_error(e, r, DMEM_BY_WRITER);
        else
                keep_error(e, refusal, r == CGROUP_E_NONE ? DMEM_BY_SVMD_ALONE : DMEM_BY_SVMD_SILENT);
}

static void write_value(struct dmem_way *way, struct dmem_entry *e, unsigned i, uint64_t value) {
        int r = dmem_write(way->root, way->emulated, e->path, e->region, i, value);

        if (is_refusal(r))
                have_written(way, e, i, value, r);
        else
                keep_error(e, r, DMEM_BY_SVMD);
}

static void write_own(struct dmem_way *way, struct dmem_entry *e, unsigned due) {
        for (unsigned i = 0; i < DMEM_VALUES; i++) {
                if (due & 1u << i)
                        write_value(way, e, i, e->value[i]);
        }
        if (!find(way, e))
                return;
        for (unsigned i = 0; i < DMEM_VALUES; i++)
                if (due & 1u << i) {
                        e->pending[i] = e->got.value[i] != e->value[i];
                        e->before[i] = e->pending[i] ? e->before[i] : e->value[i];
                }
}

static void take_away(struct dmem_way *way, struct dmem_entry *e, unsigned left) {
        for (unsigned i = 0; i < DMEM_VALUES; i++)
                if (left & 1u << i)
                        write_value(way, e, i, defaults[i]);
        /* What could not be taken away is svmd's as long as it is there. */
        e->recorded = e->error < 0;
        (void)find(way, e);
}

/* The bits of what is to be written; the record becomes what it will be. */
static unsigned prepare(struct dmem_entry *e) {
        unsigned bits = 0;

        for (unsigned i = 0; i < DMEM_VALUES; i++)
                bits |= (e->owned ? is_due(e, i) : is_left(e, i)) ? 1u << i : 0;
        if (!e->owned)
                return bits;
        for (unsigned i = 0; i < DMEM_VALUES; i++) {
                uint64_t want = dmem_rounded(e->want[i]);

                e->before[i] = bits & 1u << i && is_own(e, i) ? e->got.value[i] : want;
                e->pending[i] = (bits & 1u << i) != 0;
                e->value[i] = want;
        }
        e->number = e->got.number;
        e->recorded = true;
        return bits;
}

/* A group that is gone has no record any more: its folder will be another one. */
void dmem_look(struct dmem_way *way, struct dmem_entry *entries, size_t count, int (*note)(void *userdata),
               void *userdata) {
        bool some = false;
        int r = 0;

        for (size_t i = 0; i < count; i++) {
                struct dmem_entry *e = &entries[i];

                e->due = 0;
                if (!find(way, e)) {
                        some |= e->recorded;
                        e->recorded = false;
                        continue;
                }
                some |= way->drive && e->owned != e->recorded;
                if (way->drive && (e->owned || e->recorded))
                        e->due = prepare(e);
                some |= e->due != 0;
        }
        if (some)
                r = note(userdata);
        for (size_t i = 0; i < count; i++) {
                struct dmem_entry *e = &entries[i];

                if (!e->there || !way->drive)
                        continue;
                if (r < 0 && e->due)
                        e->error = r;
                else if (e->owned && e->due)
                        write_own(way, e, e->due);
                else if (!e->owned && e->recorded)
                        take_away(way, e, e->due);
        }
        /* What was there before is nobody's again. Where it stays noted, another svmd takes it for its own once. */
        if (some && r == 0)
                (void)note(userdata);
}
