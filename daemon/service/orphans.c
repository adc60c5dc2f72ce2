#include "service/internal.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/text.h"
#include "core/name.h"
#include "core/partition.h"

/*
 * Partitions whose container has ended, and nobody deleted them: its runtime crashed, or calls no hooks at the end.
 *
 *      none --the container's process has ended--> found --sessions end--> emptied --the store forgets it--> gone
 *                                                    ^                      |   ^------ it could not ------|
 *                                                    `-- svmd ended: what it had of it is gone, and it looks again
 *
 * It is what an administrator's 'partition delete --end-sessions --drop-kept' does, asked for by nobody. What stands in
 * the way (a change on its way to the store, memory that another partition imported, a full disk) is waited for.
 */
#define AGAIN_NS 500000000ull

struct forgetting {
        struct job job;
        struct service *svc;
        char name[64];
        int result;
};

static void again(struct service *svc) {
        uint64_t now = keeping_now(svc);

        service_wake_at(svc, now + AGAIN_NS, now);
}

void service_partition_orphaned(struct service *svc, struct partition *p) {
        if (p->orphan != ORPHAN_NONE)
                return;
        p->orphan = ORPHAN_FOUND;
        svc->orphans++;
        log_info("partition %s: the container that it was made for has ended", p->name->text);
        svc->hooks.wake(svc->hooks.userdata);
}

static void forget(struct job *job) {
        struct forgetting *f = container_of(job, struct forgetting, job);
        char why[256];

        f->result = store_remove(f->svc->store, f->name, why, sizeof(why));
}

static void forgotten(struct job *job) {
        struct forgetting *f = container_of(job, struct forgetting, job);
        struct partition *p = partition_find(&f->svc->state, f->name);

        if (p && f->result < 0) {
                p->orphan = ORPHAN_EMPTIED;
                again(f->svc);
        }
        partition_forgotten(f->svc, f->name, f->result);
        if (p && f->result < 0)
                p->ending = true; /* nobody may attach to what is going */
        alloc_free(f);
}

static int begin_forgetting(struct service *svc, struct partition *p) {
        struct forgetting *f;
        int r;

        keepings_end(svc, p);
        r = p->journaled ? journal_snapshot(svc) : 0;
        f = r == 0 ? alloc_zero(sizeof(*f)) : NULL;
        if (!f)
                return -ENOMEM;
        f->svc = svc;
        text_copy(f->name, p->name->text);
        f->job = (struct job){ .lane = svc->store_lane, .run = forget, .done = forgotten };
        list_init(&f->job.link);
        jobs_submit(svc->jobs, &f->job);
        p->orphan = ORPHAN_FORGETTING;
        return 0;
}

static void step(struct service *svc, struct partition *p) {
        if (p->orphan == ORPHAN_FOUND) {
                if (!p->ready || p->writing || p->ending || partition_memory_is_elsewhere(svc, p)) {
                        again(svc);
                        return;
                }
                p->ending = true;
                partition_kick(svc, p, "the container that the partition was made for has ended");
                p->orphan = ORPHAN_EMPTIED;
        }
        if (p->orphan == ORPHAN_EMPTIED && p->sessions_count == 0 && begin_forgetting(svc, p) < 0)
                again(svc);
}

void orphans_collect(struct service *svc) {
        struct partition *next;

        if (svc->orphans == 0 || svc->starting || svc->closing)
                return;
        for (struct partition *p = partition_after(&svc->state, ""); p; p = next) {
                next = partition_after(&svc->state, p->name->text);
                if (p->orphan != ORPHAN_NONE)
                        step(svc, p);
        }
}
