#include <inttypes.h>
#include <string.h>

#include "backend/memfile.h"
#include "backend/soft/soft.h"
#include "backend/soft/span.h"
#include "proto/status.h"

/*
 * A step function moves an operation by one span of each address. soft_run_chunk() repeats it until the chunk is used
 * up; nothing that a span says is kept beyond the step.
 *
 * Of two operands one is read first. If anything of the two has to be asked for, the bytes that were read are kept
 * while the other one is asked for, so that no operation holds two granules and each answer moves it on.
 */
static enum progress advance(struct soft_job *job, uint64_t size) {
        job->done += size;
        return job->done == job->op.size ? OP_ENDED : OP_MORE;
}

static enum progress step_fill(const struct run *run) {
        struct soft_job *job = run->job;
        char *bounce = run->space->device->bounce[0];
        struct span span = { 0 };
        enum progress step;

        step = span_open(run, job->op.dst + job->done, job->op.size - job->done, true, &span);
        if (step != OP_MORE)
                return step;
        if (span.kind == SPAN_DIRECT) {
                memset(span.p, (int)(job->op.value & 0xff), span.size);
        } else {
                memset(bounce, (int)(job->op.value & 0xff), span.size);
                step = span_write(run, &span, bounce, span.size);
        }
        step = span_close(run, &span, step);
        return step == OP_MORE ? advance(job, span.size) : step;
}

/* The bytes at `va`, in a span that is closed; they stay while those at `other` are asked for. */
static enum progress read_first(const struct run *run, uint64_t va, uint64_t other, struct span *ret) {
        struct device_space *s = run->space;
        struct soft_job *job = run->job;
        uint64_t left = job->op.size - job->done, limit;
        enum progress step;

        if (job->kept > 0) {
                *ret = (struct span){ .kind = SPAN_DIRECT, .p = s->kept, .size = job->kept };
                return OP_MORE;
        }
        limit = span_asked(run, other, left);
        step = span_read(run, va, limit ? limit : left, s->kept ? s->kept : s->device->bounce[0], ret);
        if (step != OP_MORE || (!ret->range && ret->kind != SPAN_CLIENT && !span_asked(run, other, 1)))
                return step;
        if (ret->p != s->kept)
                memcpy(s->kept, ret->p, ret->size);
        ret->p = s->kept;
        step = span_close(run, ret, OP_MORE);
        if (step == OP_MORE)
                job->kept = ret->size;
        return step;
}

static enum progress step_copy(const struct run *run) {
        struct soft_job *job = run->job;
        uint64_t from = job->op.src + job->done, to = job->op.dst + job->done;
        struct span src = { 0 }, dst = { 0 };
        enum progress step;

        step = read_first(run, from, to, &src);
        if (step == OP_MORE)
                step = span_open(run, to, src.size, true, &dst);
        if (step != OP_MORE)
                return step;
        step = span_close(run, &dst, span_write(run, &dst, src.p, dst.size));
        if (step == OP_ASKS)
                return step;
        job->kept = 0;
        return step == OP_MORE ? advance(job, dst.size) : step;
}

static uint64_t first_difference(const char *a, const char *b, uint64_t size) {
        uint64_t i = 0;

        while (i < size && a[i] == b[i])
                i++;
        return i;
}

static enum progress step_compare(const struct run *run) {
        struct soft_job *job = run->job;
        uint64_t at = job->op.dst + job->done, other = job->op.src + job->done, same;
        struct span a = { 0 }, b = { 0 };
        enum progress step;

        step = read_first(run, at, other, &a);
        if (step == OP_MORE)
                step = span_read(run, other, a.size, run->space->device->bounce[1], &b);
        if (step != OP_MORE)
                return step;
        job->kept = 0;
        same = memcmp(a.p, b.p, b.size) == 0 ? b.size : first_difference(a.p, b.p, b.size);
        step = span_close(run, &b, OP_MORE);
        if (step != OP_MORE)
                return step;
        run->result->value = job->done + same;
        return same < b.size ? OP_ENDED : advance(job, b.size);
}

static enum progress step_sum(const struct run *run) {
        struct soft_job *job = run->job;
        struct span span = { 0 };
        enum progress step;
        uint64_t sum = 0;

        step = span_read(run, job->op.src + job->done, job->op.size - job->done, run->space->device->bounce[0], &span);
        if (step != OP_MORE)
                return step;
        for (uint64_t i = 0; i < span.size; i += 8) {
                uint64_t word;

                memcpy(&word, span.p + i, 8);
                sum += word;
        }
        step = span_close(run, &span, OP_MORE);
        if (step != OP_MORE)
                return step;
        job->value += sum;
        run->result->value = job->value;
        return advance(job, span.size);
}

/* A pointer may lie across two pages. */
static enum progress load_pointer(const struct run *run, uint64_t va, uint64_t *ret) {
        struct soft_job *job = run->job;
        struct span span = { 0 };
        enum progress step;

        if (va > UINT64_MAX - 8)
                return run_fail(run, SVMD_STATUS_RANGE, "the chase left the address space at 0x%" PRIx64, va);
        for (; job->kept < 8; job->kept += span.size) {
                step = span_read(run, va + job->kept, 8 - job->kept, run->space->device->bounce[0], &span);
                if (step != OP_MORE)
                        return step;
                memcpy(job->pointer + job->kept, span.p, span.size);
                step = span_close(run, &span, OP_MORE);
                if (step != OP_MORE)
                        return step;
        }
        memcpy(ret, job->pointer, 8);
        job->kept = 0;
        return OP_MORE;
}

static enum progress step_chase(const struct run *run) {
        struct soft_job *job = run->job;
        uint64_t next = 0, offset = job->op.value;
        enum progress step;

        if (job->at > UINT64_MAX - offset)
                return run_fail(run, SVMD_STATUS_RANGE, "record 0x%" PRIx64 " plus offset 0x%" PRIx64 " is no address",
                                job->at, offset);
        step = load_pointer(run, job->at + offset, &next);
        if (step != OP_MORE)
                return step;
        if (next != 0) {
                job->at = next;
                step = advance(job, 1);
        } else {
                step = OP_ENDED;
        }
        run->result->value = job->done;
        run->result->address = job->at;
        return step;
}

static enum progress step_atomic_add(const struct run *run) {
        const struct device_op *op = &run->job->op;
        struct device_result *result = run->result;
        struct span span = { 0 };
        enum progress step;
        int r = 0;

        step = span_open(run, op->dst, 8, true, &span);
        if (step != OP_MORE)
                return step;
        if (span.kind == SPAN_CLIENT)
                return span_fail_access(run, op->dst, true, SVMD_STATUS_UNSUPPORTED,
                                        "registered memory cannot be added to in one step that CPUs see whole; use "
                                        "memory of svmd for that");
        if (span.kind == SPAN_DIRECT)
                result->value = __atomic_fetch_add((uint64_t *)(void *)span.p, op->value, __ATOMIC_SEQ_CST);
        else if (span.kind == SPAN_FILE)
                r = memfile_atomic_add(span.slot, span.offset, op->value, &result->value);
        step = span_close(run, &span, r < 0 ? run_fail_system(run, &span, r) : OP_MORE);
        return step == OP_MORE ? OP_ENDED : step;
}

/* What each operation is: its name, the step, which addresses it takes, and what it asks of them. */
static const struct op_row {
        const char *name;
        enum progress (*step)(const struct run *run);
        bool uses_dst, uses_src;
        bool words; /* size and addresses are multiples of 8 */
        unsigned steps_of_a_chunk;
} rows[] = {
        [DEVICE_FILL] = { "fill", step_fill, true, false, false, SOFT_CHUNK / PAGETABLE_PAGE },
        [DEVICE_COPY] = { "copy", step_copy, true, true, false, SOFT_CHUNK / PAGETABLE_PAGE },
        [DEVICE_COMPARE] = { "compare", step_compare, true, true, false, SOFT_CHUNK / PAGETABLE_PAGE },
        [DEVICE_SUM] = { "sum", step_sum, false, true, true, SOFT_CHUNK / PAGETABLE_PAGE },
        [DEVICE_CHASE] = { "chase", step_chase, false, false, false, SOFT_HOPS },
        [DEVICE_ATOMIC_ADD] = { "atomic add", step_atomic_add, true, false, true, 1 },
};

static bool range_overflows(uint64_t va, uint64_t size) {
        return va > UINT64_MAX - size;
}

static bool ranges_overlap(const struct device_op *op) {
        return op->dst < op->src + op->size && op->src < op->dst + op->size;
}

static enum progress check_words(const struct run *run, const struct op_row *row) {
        const struct device_op *op = &run->job->op;
        uint64_t va = row->uses_dst ? op->dst : op->src;

        if (va % 8)
                return run_fail(run, SVMD_STATUS_ALIGN, "%s at 0x%" PRIx64 ": the address must be a multiple of 8",
                                row->name, va);
        if (row->step != step_atomic_add && op->size % 8)
                return run_fail(run, SVMD_STATUS_SIZE, "%s of %" PRIu64 " bytes: the size must be a multiple of 8",
                                row->name, op->size);
        return OP_MORE;
}

/* Once, before the first step. */
static enum progress check(const struct run *run, const struct op_row *row) {
        const struct device_op *op = &run->job->op;
        uint64_t size = op->type == DEVICE_ATOMIC_ADD ? 8 : op->size;

        run->job->checked = true;
        run->job->at = op->src;
        if (size == 0)
                return run_fail(run, SVMD_STATUS_SIZE, "%s of nothing: the size must not be 0", row->name);
        if ((row->uses_dst && range_overflows(op->dst, size)) || (row->uses_src && range_overflows(op->src, size)))
                return run_fail(run, SVMD_STATUS_RANGE,
                                "%s of %" PRIu64 " bytes: the range ends behind the last address", row->name, size);
        if (op->type == DEVICE_COPY && ranges_overlap(op))
                return run_fail(run, SVMD_STATUS_RANGE,
                                "copy of %" PRIu64 " bytes: source and destination overlap; copy in parts that do not",
                                size);
        return row->words ? check_words(run, row) : OP_MORE;
}

/* With the space locked. */
static enum progress run_steps(const struct run *run) {
        struct soft_job *job = run->job;
        const struct op_row *row = &rows[job->op.type];
        uint64_t first = job->done;
        enum progress step;

        if (job->checked)
                step = run_answered(run);
        else
                step = check(run, row);
        for (unsigned i = 0; step == OP_MORE && i < row->steps_of_a_chunk && job->done - first < SOFT_CHUNK; i++) {
                step = row->step(run);
                run_settle(run);
        }
        return step;
}

enum soft_outcome soft_run_chunk(struct device_space *s, struct soft_job *job, struct device_result *result) {
        const struct run run = { .space = s, .job = job, .result = result };
        enum progress step;

        if (job->op.type >= sizeof(rows) / sizeof(rows[0]) || !rows[job->op.type].step) {
                run_fail(&run, SVMD_STATUS_INVALID, "operation %d: a software device does not know it",
                         (int)job->op.type);
                return SOFT_ENDED;
        }
        soft_lock(s);
        step = run_steps(&run);
        soft_unlock(s);
        switch (step) {
        case OP_MORE: return SOFT_GOES_ON;
        case OP_ASKS: return SOFT_ASKS;
        case OP_ENDED: result->code = SVMD_STATUS_OK; break;
        case OP_FAILED: break;
        }
        return SOFT_ENDED;
}
