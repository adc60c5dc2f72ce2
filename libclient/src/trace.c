#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "options.h"
#include "proto/trace.h"
#include "wire.h"

/* Recordings, for administrators. */

int svmd_trace_start(svmd_session *s, const char *partition, unsigned flags, int fd) {
        Svmd__V1__TraceStart body = SVMD__V1__TRACE_START__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r = session_check(s);

        if (!r && flags & ~(unsigned)SVMD_TRACE_REQUESTS)
                r = fail(SVMD_E_INVALID, "%u has bits that are no SVMD_TRACE_*", flags);
        if (r)
                return r;
        if (partition)
                body.partition = (char *)partition;
        body.requests_only = (flags & SVMD_TRACE_REQUESTS) != 0;
        op.op_case = SVMD__V1__OP__OP_TRACE_START;
        op.trace_start = &body;
        r = call_one_fd(s, &op, fd, &c, &result);
        if (!r)
                call_put(s, c);
        return session_leave(s, r);
}

int svmd_trace_stop(svmd_session *s) {
        Svmd__V1__TraceStop body = SVMD__V1__TRACE_STOP__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int r = session_check(s);

        if (r)
                return r;
        op.op_case = SVMD__V1__OP__OP_TRACE_STOP;
        op.trace_stop = &body;
        return session_leave(s, call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT));
}

int svmd_query_trace(svmd_session *s, struct svmd_trace *ret) {
        Svmd__V1__TraceQuery body = SVMD__V1__TRACE_QUERY__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct svmd_trace t = { 0 };
        struct call *c;
        int r = session_check(s);

        if (r)
                return r;
        op.op_case = SVMD__V1__OP__OP_TRACE_QUERY;
        op.trace_query = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return session_leave(s, r);
        if (result->detail_case == SVMD__V1__RESULT__DETAIL_TRACE) {
                const Svmd__V1__TraceResult *w = result->trace;

                t = (struct svmd_trace){ 0, w->ended, (int)w->error, w->records, w->dropped, w->bytes };
        }
        call_put(s, c);
        return session_leave(s, options_give(ret, &t, sizeof(t), "svmd_trace"));
}

static int read_all(int fd, uint8_t *bytes, size_t size) {
        size_t done = 0;

        while (done < size) {
                ssize_t n = pread(fd, bytes + done, size - done, (off_t)done);

                if (n <= 0)
                        return n < 0 ? errno : EIO;
                done += (size_t)n;
        }
        return 0;
}

static bool has_end(const uint8_t *bytes, size_t whole) {
        for (size_t at = TRACE_HEADER; at < whole; at += trace_record_size(bytes + at))
                if (bytes[at] == TRACE_END)
                        return true;
        return false;
}

/* Behind the last whole record. */
static int put_end(int fd, size_t at) {
        struct trace_event end = { .type = TRACE_END, .flags = TRACE_DAEMON };
        uint8_t bytes[(TRACE_UNITS + 1) * TRACE_UNIT];
        uint64_t last = 0;
        size_t size = trace_pack(&end, &last, bytes);
        ssize_t n = pwrite(fd, bytes, size, (off_t)at);

        if (n != (ssize_t)size)
                return n < 0 ? errno : ENOSPC;
        return ftruncate(fd, (off_t)(at + size)) < 0 ? errno : 0;
}

int svmd_trace_close(int fd) {
        struct stat st;
        uint8_t *bytes;
        size_t whole;
        int error;

        if (fstat(fd, &st) < 0)
                return fail_errno(errno, "the recording could not be looked at");
        bytes = calloc(1, (size_t)st.st_size + 1);
        if (!bytes)
                return fail_memory();
        error = read_all(fd, bytes, (size_t)st.st_size);
        whole = error ? 0 : trace_whole(bytes, (size_t)st.st_size);
        if (!error && whole && !has_end(bytes, whole))
                error = put_end(fd, whole);
        free(bytes);
        if (!error && !whole)
                return fail(SVMD_E_INVALID, "nothing had been recorded yet");
        return error ? fail_errno(error, "the recording could not be ended") : 0;
}
