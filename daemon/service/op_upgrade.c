#include "service/internal.h"

#include <errno.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "core/session.h"
#include "service/store_job.h"

/*
 * Another program takes this one's place. It is checked first, in a job, since that means running it; then svmd-keeper
 * changes over, if it is to; and svmd itself does when the reply has left.
 */
struct upgrade_job {
        struct job job;
        struct service *svc;
        struct request *request;
        bool keeper;
        int result;
        char *binary;
        char why[256];
};

static void check_run(struct job *job) {
        struct upgrade_job *j = container_of(job, struct upgrade_job, job);

        j->result = j->svc->hooks.upgrade_check(j->svc->hooks.userdata, j->binary, j->keeper, j->why, sizeof(j->why));
}

static void check_done(struct job *job) {
        struct upgrade_job *j = container_of(job, struct upgrade_job, job);

        store_job_ended(j->svc, j->request, j->result, j->why);
        alloc_free(j->binary);
        alloc_free(j);
}

/* In the store's lane: what was to be written before is on disk when the other program looks. */
static int check_begin(struct call *c) {
        const Svmd__V1__Upgrade *m = c->op->upgrade;
        struct upgrade_job *j = alloc_zero(sizeof(*j));
        char *binary = alloc_string(m->binary);

        if (!j || !binary) {
                alloc_free(j);
                alloc_free(binary);
                return -ENOMEM;
        }
        j->svc = c->svc;
        j->request = c->request;
        j->keeper = m->keeper;
        j->binary = binary;
        return store_job_begin(c, &j->job, check_run, check_done);
}

static int go_ahead(struct call *c) {
        const Svmd__V1__Upgrade *m = c->op->upgrade;
        struct service *svc = c->svc;
        char why[256] = "";

        if (c->request->store_result < 0)
                return refuse(c, SVMD_STATUS_INVALID, "nothing was changed: %s", c->request->store_why);
        if (c->request->mode == SVMD__V1__MODE__DRY_RUN)
                return 0;
        if (svc->hooks.upgrade(svc->hooks.userdata, m->binary, m->keeper, why, sizeof(why)) < 0)
                return refuse(c, SVMD_STATUS_SYSTEM, "svmd stays what it is: %s", why);
        return 0;
}

int op_upgrade(struct call *c) {
        const Svmd__V1__Upgrade *m = c->op->upgrade;

        c->result->value = c->svc->epoch;
        if (m->binary[0] && !c->session->who.superuser)
                return refuse(
                        c, SVMD_STATUS_DENIED,
                        "only root and svmd's own user may say which program svmd becomes; without one it becomes "
                        "what is installed now");
        if (m->binary[0] && m->binary[0] != '/')
                return refuse(c, SVMD_STATUS_INVALID, "the path of a program begins with /, unlike %.200s", m->binary);
        if (!c->svc->hooks.upgrade_check)
                return refuse(c, SVMD_STATUS_UNSUPPORTED, "this svmd cannot become another program");
        if (!c->svc->options.keeper)
                return refuse(c, SVMD_STATUS_UNSUPPORTED,
                              "svmd-keeper is gone, so sessions would end; svmd-ctl doctor says what to do");
        return c->request->store_done ? go_ahead(c) : check_begin(c);
}
