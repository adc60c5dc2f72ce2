#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/name.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/internal.h"
#include "service/lookup.h"
#include "service/managed.h"

/*
 * Recordings, into a file of the client's. The mover writes it; a session has one, and who leaves has had enough.
 * Nothing of it is journaled: a recording ends with the svmd that makes it.
 */
static int check_file(struct call *c, int fd) {
        int flags = fcntl(fd, F_GETFL);
        struct stat st;

        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || flags < 0 || (flags & O_ACCMODE) == O_RDONLY ||
            flags & O_APPEND)
                return refuse(c, SVMD_STATUS_FD_KIND,
                              "a recording goes into a regular file, opened to be written and not to append");
        if (st.st_size > 0)
                return refuse(c, SVMD_STATUS_FD_KIND, "a recording begins in an empty file; this one has %lld bytes",
                              (long long)st.st_size);
        return 0;
}

static int check(struct call *c, int fd, struct partition **ret) {
        const char *name = c->op->trace_start->partition;

        *ret = NULL;
        if (!c->svc->mover)
                return refuse(c, SVMD_STATUS_UNSUPPORTED,
                              "there is nothing to record, as there are no managed ranges: %s", mover_features()->why);
        if (c->session->trace)
                return refuse(c, SVMD_STATUS_TAKEN, "this session makes a recording already; end that one first");
        if (name[0]) {
                int r = call_partition(c, name, ret);

                if (r != 0)
                        return r;
        }
        return check_file(c, fd);
}

static int start(struct call *c, struct partition *p, int fd) {
        struct mover_trace_args args = { .faults = !c->op->trace_start->requests_only, .fd = fd };
        struct mover_trace *t;
        int r;

        if (p) {
                struct managed_share *share = managed_share_get(c->svc, p);

                if (!share)
                        return -ENOMEM;
                args.group = share->group;
                args.partition = p->name->text;
        }
        r = mover_trace_new(c->svc->mover, &t, &args);
        if (r == -EBUSY)
                return refuse(c, SVMD_STATUS_QUOTA, "svmd makes %d recordings at a time", MOVER_TRACES);
        if (r < 0)
                return refuse_errno(c, r, "a recording");
        c->session->trace = t;
        return 0;
}

int op_trace_start(struct call *c) {
        int fd = fdlist_steal(&c->request->in);
        struct partition *p;
        int r = check(c, fd, &p);

        if (r == 0)
                r = start(c, p, fd);
        if (r != 0)
                close(fd);
        return r;
}

static int refuse_none(struct call *c) {
        return refuse(c, SVMD_STATUS_NO_SUCH, "this session makes no recording, or no longer");
}

int op_trace_stop(struct call *c) {
        if (!c->session->trace)
                return refuse_none(c);
        mover_trace_stop(c->session->trace, false);
        return 0;
}

int op_trace_query(struct call *c) {
        struct mover_trace_info info;
        Svmd__V1__TraceResult *row;

        if (!c->session->trace)
                return refuse_none(c);
        row = call_take(c, sizeof(*row));
        if (!row)
                return -ENOMEM;
        mover_trace_info(c->session->trace, &info);
        svmd__v1__trace_result__init(row);
        row->ended = info.ended;
        row->error = (uint32_t)info.error;
        row->records = info.records;
        row->dropped = info.dropped;
        row->bytes = info.bytes;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_TRACE;
        c->result->trace = row;
        if (info.ended) {
                mover_trace_put(c->session->trace);
                c->session->trace = NULL;
        }
        return 0;
}

void trace_leave(struct session *s) {
        if (!s->trace)
                return;
        mover_trace_stop(s->trace, true);
        mover_trace_put(s->trace);
        s->trace = NULL;
}
