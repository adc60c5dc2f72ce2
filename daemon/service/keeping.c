#include "service/keeping.h"

#include <inttypes.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/keeping.h"
#include "core/lease.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "service/effects.h"
#include "service/internal.h"

/*
 *      keep -> in use <-> idle, in `ends` if its time is bounded -> expired, removed -> the object ends
 *
 * What a session's end, a close or a release leaves idle follows again in a replay; since when, and that it came to an
 * end by its time, does not, so each is an effect. In a replay nothing here decides: keepings_restored() does, once all
 * effects are done.
 */
#define MS_NS 1000000ull

uint64_t keeping_now(const struct service *svc) {
        return svc->options.boottime_ns ? svc->options.boottime_ns() : clock_ns(CLOCK_BOOTTIME);
}

static const char *kind_name(const struct keeping *k) {
        return k->of.reservation ? "reservation" : k->of.memory ? "memory" : "lease";
}

static void note(struct service *svc, const struct keeping *k, bool off) {
        struct effect_keep e = effect_of_keeping(k);

        e.off = off;
        journal_note(svc, EFFECT_KEEP, &e, sizeof(e));
}

/* ---- time ---- */

static void ends_insert(struct service *svc, struct keeping *k) {
        uint64_t end = keeping_ends(k);
        struct list *at = svc->keepings.ends.prev;

        if (end == UINT64_MAX)
                return;
        while (at != &svc->keepings.ends && keeping_ends(container_of(at, struct keeping, by_end)) > end)
                at = at->prev;
        list_push_front(at, &k->by_end);
}

static void ask_to_wake(struct service *svc, uint64_t now) {
        const struct list *ends = &svc->keepings.ends;

        if (!list_empty(ends))
                service_wake_at(svc, keeping_ends(container_of(ends->next, struct keeping, by_end)), now);
}

static void begin_time(struct service *svc, struct keeping *k, uint64_t since) {
        k->since_ns = since;
        ends_insert(svc, k);
        ask_to_wake(svc, keeping_now(svc));
}

void keeping_left(struct service *svc, struct keeping *k) {
        const struct name *n;

        if (!k || k->removing || svc->replaying || k->since_ns != 0 || !keeping_idle(k))
                return;
        begin_time(svc, k, keeping_now(svc));
        note(svc, k, false);
        n = keeping_name(k);
        event_monitor(svc, "kept-idle", NULL, keeping_partition(k)->name->text,
                      "%s %s of uid %u has no session any more and is kept", kind_name(k), n->text, n->uid);
}

void keeping_used(struct keeping *k) {
        if (!k)
                return;
        k->since_ns = 0;
        list_remove(&k->by_end);
}

/* ---- end ---- */

void keeping_drop(struct keeping *k) {
        if (!k)
                return;
        keeping_unlink(k);
        keeping_free(k);
}

void keeping_end(struct service *svc, struct keeping *k) {
        struct kept of = k->of;

        keeping_drop(k);
        if (of.reservation && reservation_idle(of.reservation))
                reservation_end(svc, of.reservation);
        else if (of.memory)
                memory_left(svc, of.memory);
        else if (of.lease && !of.lease->session)
                lease_end(svc, of.lease);
}

static void expire(struct service *svc, struct keeping *k) {
        const struct name *n = keeping_name(k);

        log_info("%s %s of uid %u in partition %s: kept for %" PRIu64 " s without a session, and ended", kind_name(k),
                 n->text, n->uid, keeping_partition(k)->name->text, k->seconds);
        event_monitor(svc, "kept-expired", NULL, keeping_partition(k)->name->text,
                      "%s %s of uid %u had no session for %" PRIu64 " s and has ended", kind_name(k), n->text, n->uid,
                      k->seconds);
        note(svc, k, true);
        keeping_end(svc, k);
}

void keepings_collect(struct service *svc) {
        struct list *ends = &svc->keepings.ends;
        uint64_t now;

        if (list_empty(ends))
                return;
        now = keeping_now(svc);
        while (!list_empty(ends)) {
                struct keeping *k = container_of(ends->next, struct keeping, by_end);

                if (keeping_ends(k) > now)
                        break;
                expire(svc, k);
        }
        ask_to_wake(svc, now);
}

static void end_those_of(struct service *svc, struct partition *p) {
        list_for_each_safe (l, &p->kept) {
                struct keeping *k = container_of(l, struct keeping, by_partition);

                note(svc, k, true);
                keeping_end(svc, k);
        }
}

void keepings_end(struct service *svc, struct partition *only) {
        if (only)
                end_those_of(svc, only);
        for (struct partition *p = only ? NULL : partition_after(&svc->state, ""); p;
             p = partition_after(&svc->state, p->name->text))
                end_those_of(svc, p);
}

/* ---- after a replay ---- */

static void restored(struct service *svc, struct keeping *k) {
        uint64_t now = keeping_now(svc), since = k->since_ns;

        keeping_used(k);
        if (keeping_idle(k))
                begin_time(svc, k, since && since < now ? since : now);
}

void keepings_restored(struct service *svc) {
        for (struct partition *p = partition_after(&svc->state, ""); p; p = partition_after(&svc->state, p->name->text))
                list_for_each (l, &p->kept)
                        restored(svc, container_of(l, struct keeping, by_partition));
}

/* ---- for rows ---- */

uint64_t keeping_idle_ms(const struct service *svc, const struct keeping *k) {
        uint64_t now = keeping_now(svc);

        if (k->since_ns == 0)
                return 0;
        return now > k->since_ns ? (now - k->since_ns) / MS_NS + 1 : 1;
}

uint64_t keeping_left_ms(const struct service *svc, const struct keeping *k) {
        uint64_t end = keeping_ends(k), now = keeping_now(svc);

        if (end == UINT64_MAX)
                return UINT64_MAX;
        return end > now ? (end - now) / MS_NS : 0;
}
