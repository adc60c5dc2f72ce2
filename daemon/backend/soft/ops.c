#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backend/memfile.h"
#include "backend/soft/soft.h"
#include "proto/status.h"

/*
 * Operations are made of spans: the longest piece from an address on that one translation covers.
 *
 *     void     in a sparse range where nothing is mapped: reads give zero, writes vanish
 *     direct   in a pool: a pointer
 *     file     in memory that a client maps too: read and written with system calls, through a bounce buffer
 *
 * A step function moves an operation by one span. soft_run_chunk() repeats it until the chunk is used up; nothing that
 * a span says is kept beyond the step.
 */
enum span_kind { SPAN_VOID, SPAN_DIRECT, SPAN_FILE };

struct span {
        enum span_kind kind;
        uint64_t size;
        char *p; /* SPAN_DIRECT */
        uint32_t slot;
        uint64_t offset; /* SPAN_FILE */
};

enum progress { OP_MORE, OP_ENDED, OP_FAILED };

struct run {
        struct device_space *space;
        struct soft_job *job;
        struct device_result *result;
};

/* The sentence is that of the format with the node's name before it. */
__attribute__((format(printf, 3, 4))) static void say_failed(const struct run *run, unsigned code, const char *format,
                                                             ...) {
        struct device_result *result = run->result;
        va_list args;
        int n;

        n = snprintf(result->text, sizeof(result->text), "%s: ", run->space->device->name);
        va_start(args, format);
        vsnprintf(result->text + n, sizeof(result->text) - (size_t)n, format, args);
        va_end(args);
        result->code = code;
        result->value = 0;
}

/* Ends the operation. */
#define fail(...) (say_failed(__VA_ARGS__), OP_FAILED)

static const char *access_name(bool write) {
        return write ? "write to" : "read of";
}

static enum progress fail_access(const struct run *run, uint64_t va, bool write, unsigned code, const char *why) {
        run->result->address = va;
        run->result->write = write;
        return fail(run, code, "%s 0x%" PRIx64 ": %s", access_name(write), va, why);
}

static enum progress fail_unmapped(const struct run *run, uint64_t va, bool write) {
        return fail_access(run, va, write, SVMD_STATUS_NOT_MAPPED,
                           run->space->device->faults
                                   ? "nothing is mapped there in this space; map it first (explicit memory is never "
                                     "faulted in)"
                                   : "nothing is mapped there in this space, and this node has no faults: prefetch or "
                                     "map first");
}

static enum progress fail_system(const struct run *run, uint64_t va, bool write, int error) {
        run->result->address = va;
        run->result->write = write;
        return fail(run, SVMD_STATUS_SYSTEM, "%s 0x%" PRIx64 ": the memory file refused it: %s; see svmd's log",
                    access_name(write), va, strerror(-error));
}

/* A page of a sparse range; what follows it may be mapped. */
static enum progress span_sparse(const struct run *run, uint64_t va, uint64_t max, bool write, struct span *ret) {
        uint64_t writes = imap_get(&run->space->sparse, va), size = PAGETABLE_PAGE - va % PAGETABLE_PAGE;

        if (writes == SPARSE_NONE)
                return fail_unmapped(run, va, write);
        if (write && writes == SPARSE_WRITES_REFUSED)
                return fail_access(run, va, write, SVMD_STATUS_ACCESS,
                                   "no memory is there and this sparse range refuses writes; map memory first");
        *ret = (struct span){ .kind = SPAN_VOID, .size = size < max ? size : max };
        return OP_MORE;
}

static enum progress span_at(const struct run *run, uint64_t va, uint64_t max, bool write, struct span *ret) {
        struct pte pte;
        uint64_t size;
        char *base;

        if (max > SOFT_CHUNK)
                max = SOFT_CHUNK;
        size = pagetable_run(&run->space->table, va, max, &pte);
        if (size == 0)
                return span_sparse(run, va, max, write, ret);
        if (!(pte.attrs.access & (write ? 2 : 1)))
                return fail_access(run, va, write, SVMD_STATUS_ACCESS,
                                   pte.attrs.access ? "the mapping there is read-only; set its access to read and write"
                                                    : "the mapping there allows no access; set its access first");
        base = memfile_base(pte.slot);
        *ret = (struct span){ .kind = base ? SPAN_DIRECT : SPAN_FILE, .size = size, .slot = pte.slot };
        ret->offset = pte.offset;
        ret->p = base ? base + pte.offset : NULL;
        return OP_MORE;
}

/* The bytes of a span: where they are, or read into `bounce`. */
static enum progress span_read(const struct run *run, uint64_t va, uint64_t max, char *bounce, struct span *ret) {
        enum progress step;
        int r;

        step = span_at(run, va, max, false, ret);
        if (step != OP_MORE || ret->kind == SPAN_DIRECT)
                return step;
        if (ret->kind == SPAN_VOID) {
                memset(bounce, 0, ret->size);
        } else {
                r = memfile_read(ret->slot, ret->offset, bounce, ret->size);
                if (r < 0)
                        return fail_system(run, va, false, r);
        }
        ret->p = bounce;
        return OP_MORE;
}

static enum progress span_write(const struct run *run, uint64_t va, const struct span *span, const char *from,
                                uint64_t size) {
        int r;

        if (span->kind == SPAN_DIRECT)
                memmove(span->p, from, size); /* two addresses may show the same memory */
        if (span->kind != SPAN_FILE)
                return OP_MORE;
        r = memfile_write(span->slot, span->offset, from, size);
        return r < 0 ? fail_system(run, va, true, r) : OP_MORE;
}

static enum progress advance(struct soft_job *job, uint64_t size) {
        job->done += size;
        return job->done == job->op.size ? OP_ENDED : OP_MORE;
}

static enum progress step_fill(const struct run *run) {
        struct soft_job *job = run->job;
        uint64_t va = job->op.dst + job->done;
        char *bounce = run->space->device->bounce[0];
        struct span span = { 0 };
        enum progress step;

        step = span_at(run, va, job->op.size - job->done, true, &span);
        if (step != OP_MORE)
                return step;
        if (span.kind == SPAN_DIRECT) {
                memset(span.p, (int)(job->op.value & 0xff), span.size);
        } else {
                memset(bounce, (int)(job->op.value & 0xff), span.size);
                step = span_write(run, va, &span, bounce, span.size);
        }
        return step == OP_MORE ? advance(job, span.size) : step;
}

static enum progress step_copy(const struct run *run) {
        struct soft_job *job = run->job;
        uint64_t to = job->op.dst + job->done;
        struct span src = { 0 }, dst = { 0 };
        enum progress step;

        step = span_read(run, job->op.src + job->done, job->op.size - job->done, run->space->device->bounce[0], &src);
        if (step == OP_MORE)
                step = span_at(run, to, src.size, true, &dst);
        if (step == OP_MORE)
                step = span_write(run, to, &dst, src.p, dst.size);
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
        char(*bounce)[SOFT_CHUNK] = run->space->device->bounce;
        struct span a = { 0 }, b = { 0 };
        enum progress step;

        step = span_read(run, job->op.dst + job->done, job->op.size - job->done, bounce[0], &a);
        if (step == OP_MORE)
                step = span_read(run, job->op.src + job->done, a.size, bounce[1], &b);
        if (step != OP_MORE)
                return step;
        if (memcmp(a.p, b.p, b.size) != 0) {
                run->result->value = job->done + first_difference(a.p, b.p, b.size);
                return OP_ENDED;
        }
        run->result->value = job->done + b.size;
        return advance(job, b.size);
}

static enum progress step_sum(const struct run *run) {
        struct soft_job *job = run->job;
        struct span span = { 0 };
        enum progress step;

        step = span_read(run, job->op.src + job->done, job->op.size - job->done, run->space->device->bounce[0], &span);
        if (step != OP_MORE)
                return step;
        for (uint64_t i = 0; i < span.size; i += 8) {
                uint64_t word;

                memcpy(&word, span.p + i, 8);
                job->value += word;
        }
        run->result->value = job->value;
        return advance(job, span.size);
}

/* A pointer may lie across two pages. */
static enum progress load_pointer(const struct run *run, uint64_t va, uint64_t *ret) {
        char bytes[8];
        struct span span = { 0 };
        enum progress step;

        if (va > UINT64_MAX - 8)
                return fail(run, SVMD_STATUS_RANGE, "the chase left the address space at 0x%" PRIx64, va);
        for (uint64_t done = 0; done < 8; done += span.size) {
                step = span_read(run, va + done, 8 - done, run->space->device->bounce[0], &span);
                if (step != OP_MORE)
                        return step;
                memcpy(bytes + done, span.p, span.size);
        }
        memcpy(ret, bytes, 8);
        return OP_MORE;
}

static enum progress step_chase(const struct run *run) {
        struct soft_job *job = run->job;
        uint64_t next = 0, offset = job->op.value;
        enum progress step;

        if (job->at > UINT64_MAX - offset)
                return fail(run, SVMD_STATUS_RANGE, "record 0x%" PRIx64 " plus offset 0x%" PRIx64 " is no address",
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

        step = span_at(run, op->dst, 8, true, &span);
        if (step != OP_MORE)
                return step;
        if (span.kind == SPAN_DIRECT)
                result->value = __atomic_fetch_add((uint64_t *)(void *)span.p, op->value, __ATOMIC_SEQ_CST);
        else if (span.kind == SPAN_FILE)
                r = memfile_atomic_add(span.slot, span.offset, op->value, &result->value);
        return r < 0 ? fail_system(run, op->dst, true, r) : OP_ENDED;
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
                return fail(run, SVMD_STATUS_ALIGN, "%s at 0x%" PRIx64 ": the address must be a multiple of 8",
                            row->name, va);
        if (row->step != step_atomic_add && op->size % 8)
                return fail(run, SVMD_STATUS_SIZE, "%s of %" PRIu64 " bytes: the size must be a multiple of 8",
                            row->name, op->size);
        return OP_MORE;
}

static enum progress check(const struct run *run, const struct op_row *row) {
        const struct device_op *op = &run->job->op;
        uint64_t size = op->type == DEVICE_ATOMIC_ADD ? 8 : op->size;

        if (size == 0)
                return fail(run, SVMD_STATUS_SIZE, "%s of nothing: the size must not be 0", row->name);
        if ((row->uses_dst && range_overflows(op->dst, size)) || (row->uses_src && range_overflows(op->src, size)))
                return fail(run, SVMD_STATUS_RANGE, "%s of %" PRIu64 " bytes: the range ends behind the last address",
                            row->name, size);
        if (op->type == DEVICE_COPY && ranges_overlap(op))
                return fail(run, SVMD_STATUS_RANGE,
                            "copy of %" PRIu64 " bytes: source and destination overlap; copy in parts that do not",
                            size);
        return row->words ? check_words(run, row) : OP_MORE;
}

bool soft_run_chunk(struct device_space *s, struct soft_job *job, struct device_result *result) {
        const struct run run = { .space = s, .job = job, .result = result };
        enum progress step = OP_MORE;
        const struct op_row *row;
        uint64_t first = job->done;

        if (job->op.type >= sizeof(rows) / sizeof(rows[0]) || !rows[job->op.type].step) {
                say_failed(&run, SVMD_STATUS_INVALID, "operation %d: a software device does not know it",
                           (int)job->op.type);
                return true;
        }
        row = &rows[job->op.type];
        if (!job->checked) {
                job->checked = true;
                job->at = job->op.src;
                step = check(&run, row);
        }
        for (unsigned i = 0; step == OP_MORE && i < row->steps_of_a_chunk && job->done - first < SOFT_CHUNK; i++)
                step = row->step(&run);
        if (step == OP_ENDED)
                result->code = SVMD_STATUS_OK;
        return step != OP_MORE;
}
