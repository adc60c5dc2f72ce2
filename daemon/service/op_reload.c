#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "service/internal.h"
#include "service/store_job.h"

/*
 * The configuration is read in a job, since that means reading files; then what can change while svmd runs does, in the
 * loop. Who asks with an operation is told what came of it, who sends a signal reads it in the log.
 */
struct reloading {
        struct job job;
        struct service *svc;
        struct request *request; /* NULL: a signal's */
        void *read;
        int result;
        struct service_reloaded done;
        char why[1536];
};

static void read_run(struct job *job) {
        struct reloading *j = container_of(job, struct reloading, job);

        j->result = j->svc->hooks.reload_read(j->svc->hooks.userdata, &j->read, j->why, sizeof(j->why));
}

static void name_all(char *to, size_t size, const char *const *names, unsigned count) {
        size_t n = 0;

        to[0] = 0;
        for (unsigned i = 0; i < count && n < size; i++)
                n += (size_t)snprintf(to + n, size - n, "%s%s", i ? ", " : "", names[i]);
}

static void say(const struct reloading *j) {
        char changed[512], restart[512];

        if (j->result < 0) {
                message(MESSAGE_RELOAD_FAILED, NO_FIELDS,
                        "the configuration was read again, and nothing has changed: %s", j->why);
                return;
        }
        name_all(changed, sizeof(changed), j->done.changed, j->done.changed_count);
        name_all(restart, sizeof(restart), j->done.restart, j->done.restart_count);
        message(MESSAGE_RELOADED, FIELDS(FIELD_TEXT("SVMD_CHANGED", changed), FIELD_TEXT("SVMD_RESTART", restart)),
                "the configuration was read again; changed: %s", changed[0] ? changed : "nothing");
        if (restart[0])
                log_warning("what the configuration says of %s needs a restart of svmd to count", restart);
}

static void read_done(struct job *job) {
        struct reloading *j = container_of(job, struct reloading, job);
        struct service *svc = j->svc;
        int r = svc->hooks.reload(svc->hooks.userdata, j->result < 0 ? NULL : j->read, &j->done);

        if (j->result == 0 && r < 0)
                snprintf(j->why, sizeof(j->why), "svmd has no memory left");
        if (j->result == 0)
                j->result = r;
        say(j);
        if (!j->request) {
                alloc_free(j);
                return;
        }
        j->request->reloaded = j;
        store_job_ended(svc, j->request, j->result, "");
}

static struct reloading *reloading_new(struct service *svc, struct request *r) {
        struct reloading *j = alloc_zero(sizeof(*j));

        if (!j)
                return NULL;
        j->svc = svc;
        j->request = r;
        return j;
}

void service_reload(struct service *svc) {
        struct reloading *j = reloading_new(svc, NULL);

        if (!j) {
                log_error("the configuration was not read again: svmd has no memory left");
                return;
        }
        j->job = (struct job){ .lane = svc->store_lane, .run = read_run, .done = read_done };
        list_init(&j->job.link);
        jobs_submit(svc->jobs, &j->job);
}

static int names_copy(struct call *c, const char *const *names, unsigned count, char ***ret) {
        *ret = call_take(c, (count + 1) * sizeof(**ret));
        if (!*ret)
                return -ENOMEM;
        for (unsigned i = 0; i < count; i++)
                (*ret)[i] = (char *)names[i];
        return 0;
}

static int answer(struct call *c, const struct reloading *j) {
        const struct service_reloaded *d = &j->done;
        Svmd__V1__ReloadResult *row;

        if (j->result < 0)
                return refuse(c, SVMD_STATUS_INVALID, "nothing was changed: %s", j->why);
        row = call_take(c, sizeof(*row));
        if (!row)
                return -ENOMEM;
        svmd__v1__reload_result__init(row);
        if (names_copy(c, d->changed, d->changed_count, &row->changed) < 0 ||
            names_copy(c, d->restart, d->restart_count, &row->restart) < 0)
                return -ENOMEM;
        row->n_changed = d->changed_count;
        row->n_restart = d->restart_count;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_RELOAD;
        c->result->reload = row;
        return 0;
}

int op_reload(struct call *c) {
        struct reloading *j;

        if (c->request->store_done)
                return answer(c, c->request->reloaded);
        if (!c->svc->hooks.reload_read)
                return refuse(c, SVMD_STATUS_UNSUPPORTED, "this svmd cannot read its configuration again");
        j = reloading_new(c->svc, c->request);
        if (!j)
                return -ENOMEM;
        return store_job_begin(c, &j->job, read_run, read_done);
}
