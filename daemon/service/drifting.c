#include "service/drifting.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/message.h"
#include "base/text.h"
#include "service/drift.h"
#include "service/internal.h"

#define MS_NS 1000000ull

struct look {
        struct job job;
        struct service *svc;
        struct drift *drift;
        int result;
};

/* ---- what is told ---- */

static void tell_begins(struct service *svc, const struct drift_row *r) {
        uint64_t withheld;

        if (message_passes(&svc->rates.drift, clock_ns(CLOCK_MONOTONIC), &withheld))
                message(MESSAGE_DRIFT,
                        FIELDS(FIELD_TEXT("SVMD_NODE", r->subject), FIELD_NUMBER("SVMD_REPORTED", r->reported),
                               FIELD_NUMBER("SVMD_LEDGER", r->ledger), FIELD_NUMBER("SVMD_WITHHELD", withheld)),
                        DRIFT_SAYS ": %s", r->subject, r->reported, r->ledger, drift_explain(r));
        event_condition(svc, "drift", "", UINT32_MAX, r->reported, DRIFT_SAYS, r->subject, r->reported, r->ledger);
}

static void tell_ends(struct service *svc, const struct told *g) {
        uint64_t withheld;

        if (message_passes(&svc->rates.drift, clock_ns(CLOCK_MONOTONIC), &withheld))
                message(MESSAGE_DRIFT_ENDED,
                        FIELDS(FIELD_TEXT("SVMD_NODE", g->subject), FIELD_NUMBER("SVMD_WITHHELD", withheld)),
                        "%s: the kernel and svmd count the same again", g->subject);
        event_condition(svc, "drift", "", UINT32_MAX, 0, "%s: the kernel and svmd count the same again", g->subject);
}

static void meet(struct service *svc, const struct drift_row *r) {
        struct drifting_row *g;
        struct told *told;
        bool is_new;

        told = told_meet(TOLD_ROWS(svc->drifting.rows), r->subject, &is_new);
        if (!told)
                return;
        g = container_of(told, struct drifting_row, told);
        g->reported = r->reported;
        g->ledger = r->ledger;
        if (is_new)
                tell_begins(svc, r);
}

void drifting_verdict(struct service *svc, const struct drift *d) {
        struct drifting *g = &svc->drifting;
        const struct drift_row *rows;
        uint32_t count;

        rows = drift_rows(d, &count);
        for (uint32_t i = 0; i < count; i++)
                if (rows[i].scope == SCOPE_NODE && rows[i].reported != rows[i].ledger)
                        meet(svc, &rows[i]);
        told_end(svc, TOLD_ROWS(g->rows), tell_ends);
        g->nvml = *drift_nvml(d);
        g->looks++;
}

/* ---- looking ---- */

static void look_run(struct job *job) {
        struct look *l = container_of(job, struct look, job);
        char why[256]; /* told by who asks for drift */

        l->result = drift_look_at_nodes(l->drift, why, sizeof(why));
        if (l->result == 0)
                drift_look_at_cgroups(l->svc, l->drift);
        drift_looked(l->drift);
}

static void look_begin(struct service *svc, unsigned tries);

static void look_done(struct job *job) {
        struct look *l = container_of(job, struct look, job);
        struct service *svc = l->svc;
        bool still = l->result == 0 && drift_stood_still(svc, l->drift);
        unsigned next = l->result == 0 && !still ? drift_next_try(l->drift) : 0;

        svc->drifting.looking = false;
        if (l->result == 0 && !svc->closing)
                full_verdict(svc, l->drift);
        if (still && !svc->closing)
                drifting_verdict(svc, l->drift);
        drift_free(l->drift);
        alloc_free(l);
        if (next && !svc->closing)
                look_begin(svc, next);
}

static void look_taken(void *userdata) {
        struct look *l = userdata;

        jobs_submit(l->svc->accounts.jobs, &l->job);
}

/* Without memory for it, the next time. */
static void look_begin(struct service *svc, unsigned tries) {
        struct look *l = alloc_zero(sizeof(*l));
        const struct drift_args args = { .tries = tries, .userdata = l, .taken = look_taken };

        if (!l)
                return;
        l->drift = drift_new(svc, &args);
        if (!l->drift) {
                alloc_free(l);
                return;
        }
        l->svc = svc;
        l->job = (struct job){ .lane = 0, .run = look_run, .done = look_done };
        list_init(&l->job.link);
        svc->drifting.looking = true;
}

void drifting_collect(struct service *svc) {
        struct drifting *g = &svc->drifting;
        uint64_t now;

        drift_take(svc);
        if (!g->next_ns || svc->closing)
                return;
        now = keeping_now(svc);
        if (now >= g->next_ns) {
                g->next_ns = now + svc->options.drift_period_ms * MS_NS;
                if (!g->looking)
                        look_begin(svc, 0);
        }
        service_wake_at(svc, g->next_ns, now);
}

void drifting_stop(struct service *svc) {
        while (!list_empty(&svc->drifting.taking))
                drift_take(svc);
}

void drifting_start(struct service *svc) {
        uint64_t now = keeping_now(svc);

        if (!svc->options.drift_period_ms)
                return;
        svc->drifting.next_ns = now + svc->options.drift_period_ms * MS_NS;
        service_wake_at(svc, svc->drifting.next_ns, now);
}
