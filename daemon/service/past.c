#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "core/name.h"
#include "core/node.h"
#include "core/reservation.h"
#include "proto/past.h"
#include "service/explain.h"
#include "service/lookup.h"

/*
 * What was decided about a granule lately, as the engine remembers it, and what was refused or put off: in rows, and
 * the last few in sentences.
 */
enum { TOLD = 6 };

#define X(name, number, text) _Static_assert((int)MANAGED_##name == number, text);
PAST_DEEDS(X)
#undef X
#define X(name, number, text) _Static_assert((int)MANAGED_WHY_##name == number, text);
PAST_WHYS(X)
#undef X

static uint32_t wire_node(uint8_t node) {
        return node == MANAGED_PAST_NONE ? UINT32_MAX : node == MANAGED_PAST_CPU ? PAST_NODE_CPU : node;
}

static uint64_t ago_ms(uint64_t then_ns) {
        uint64_t now = clock_ns(CLOCK_MONOTONIC);

        return now > then_ns ? (now - then_ns) / 1000000 + 1 : 1;
}

static Svmd__V1__Past *row(struct call *c, const struct managed_reservation *m, const struct managed_past *p) {
        Svmd__V1__Past *new = call_take(c, sizeof(*new));

        if (!new)
                return NULL;
        svmd__v1__past__init(new);
        new->address = m->reservation->va.start + (uint64_t)p->first * m->granule;
        new->size = (uint64_t)p->count * m->granule;
        new->began_ms = ago_ms(p->began_ns);
        new->ms = ago_ms(p->ns);
        new->times = p->times;
        new->cause = p->cause;
        new->deed = p->deed;
        new->why = p->why;
        new->by = wire_node(p->by);
        new->from = wire_node(p->from);
        new->to = wire_node(p->to);
        new->reservation = p->whom;
        return new;
}

/* ---- sentences ---- */

static const char *node_of(const struct service *svc, uint8_t node) {
        return node == MANAGED_PAST_CPU ? "the CPU" : node == MANAGED_PAST_NONE ? "no node" : name_node(svc, node);
}

static void when(const struct managed_past *p, char *text, size_t size) {
        uint64_t ms = ago_ms(p->ns);

        if (ms < 1000)
                snprintf(text, size, "%" PRIu64 " ms ago", ms);
        else if (ms < 120 * 1000)
                snprintf(text, size, "%" PRIu64 ".%" PRIu64 " s ago", ms / 1000, ms % 1000 / 100);
        else
                snprintf(text, size, "%" PRIu64 " min ago", ms / 60000);
}

/* Whom it made room for, if that is known. */
static void for_whom(const struct service *svc, const struct managed_past *p, char *text, size_t size) {
        const char *node = node_of(svc, p->from);

        switch (p->why) {
        case MANAGED_WHY_RESERVE: snprintf(text, size, "an eviction, as %s had more than it may,", node); break;
        case MANAGED_WHY_CGROUP: snprintf(text, size, "an eviction, as a control group was full,"); break;
        case MANAGED_WHY_LIMIT: snprintf(text, size, "an eviction, as limits allowed no more on %s,", node); break;
        default: snprintf(text, size, "an eviction"); break;
        }
        if (p->whom) {
                size_t at = strlen(text);

                snprintf(text + at, size - at, " for reservation %" PRIu64, p->whom);
        }
}

static void because(const struct service *svc, const struct managed_past *p, char *text, size_t size) {
        switch (p->cause) {
        case MANAGED_BY_FAULT:
        case MANAGED_BY_DEVICE: snprintf(text, size, "a touch by %s", node_of(svc, p->by)); break;
        case MANAGED_BY_PREFETCH: snprintf(text, size, "a prefetch, or a touch of what is around it"); break;
        case MANAGED_BY_EVICTION: for_whom(svc, p, text, size); break;
        case MANAGED_BY_REQUEST: snprintf(text, size, "a request"); break;
        case MANAGED_BY_ADVICE: snprintf(text, size, "a hint"); break;
        case MANAGED_BY_DRAIN: snprintf(text, size, "that %s was emptied", node_of(svc, p->from)); break;
        case MANAGED_BY_REVOKE: snprintf(text, size, "a revocation"); break;
        default: snprintf(text, size, "svmd's restart"); break;
        }
}

static void along(const struct managed_past *p, char *text, size_t size) {
        text[0] = 0;
        if (p->count > 1)
                snprintf(text, size, ", with %u around it", p->count - 1);
        else if (p->times > 1)
                snprintf(text, size, ", for the %uth time", p->times);
}

static void say_done(struct sentences *s, const struct managed_past *p) {
        const struct service *svc = s->call->svc;
        const char *from = node_of(svc, p->from), *to = node_of(svc, p->to), *by = node_of(svc, p->by);
        char ago[48], cause[160], more[48];

        when(p, ago, sizeof(ago));
        because(svc, p, cause, sizeof(cause));
        along(p, more, sizeof(more));
        switch ((enum managed_deed)p->deed) {
        case MANAGED_BEGAN: sentence(s, "%s %s began it on %s, as zeroes%s.", ago, cause, to, more); break;
        case MANAGED_MOVED: sentence(s, "%s %s brought it from %s to %s%s.", ago, cause, from, to, more); break;
        case MANAGED_COPIED:
                sentence(s, "%s %s made a copy on %s of what %s has%s.", ago, cause, to, from, more);
                break;
        case MANAGED_MAPPED: sentence(s, "%s %s let %s reach it on %s%s.", ago, cause, by, to, more); break;
        case MANAGED_UNCOPIED: sentence(s, "%s %s ended its copies%s.", ago, cause, more); break;
        case MANAGED_DISCARDED: sentence(s, "%s %s discarded it%s.", ago, cause, more); break;
        case MANAGED_TAKEN: sentence(s, "%s %s took it away%s.", ago, cause, more); break;
        case MANAGED_RETURNED: sentence(s, "%s %s ended, and gave it back%s.", ago, cause, more); break;
        case MANAGED_REFUSED:
        case MANAGED_DELAYED:
        case _MANAGED_DEED_N: break;
        }
}

static void reason(const struct service *svc, const struct managed_past *p, char *text, size_t size) {
        static const char *const reasons[_MANAGED_WHY_N] = {
                [MANAGED_WHY_NONE] = "it could not",
                [MANAGED_WHY_PINNED] = "it is pinned",
                [MANAGED_WHY_ADVICE] = "the hints say otherwise",
                [MANAGED_WHY_RECENT] = "it had moved just before",
                [MANAGED_WHY_RATE] = "too much of its reservation had moved just before",
                [MANAGED_WHY_THRASH] = "nodes took it from each other",
                [MANAGED_WHY_CAP] = "the link was at its cap",
                [MANAGED_WHY_USED] = "a device was using it",
                [MANAGED_WHY_REVOKED] = "it had been taken away",
                [MANAGED_WHY_LOST] = "its content, or the node, was lost",
                [MANAGED_WHY_PROFILE] = "the profile leaves it where it is",
                [MANAGED_WHY_SYSTEM] = "the machine had no memory for it, or a device failed",
        };
        const char *to = p->to == MANAGED_PAST_NONE ? "any node" : node_of(svc, p->to);

        switch ((enum managed_why)p->why) {
        case MANAGED_WHY_ROOM: snprintf(text, size, "there was no room on %s", to); break;
        case MANAGED_WHY_LIMIT: snprintf(text, size, "limits allow no more on %s", to); break;
        case MANAGED_WHY_OFFLINE: snprintf(text, size, "%s was offline", to); break;
        case MANAGED_WHY_FAULTLESS: snprintf(text, size, "%s cannot fault", to); break;
        default: snprintf(text, size, "%s", reasons[p->why] ? reasons[p->why] : "it could not"); break;
        }
}

static void say_not_done(struct sentences *s, const struct managed_past *p) {
        const struct service *svc = s->call->svc;
        char ago[48], cause[160], why[160], more[48], to[96] = "";
        bool delayed = p->deed == MANAGED_DELAYED;

        when(p, ago, sizeof(ago));
        because(svc, p, cause, sizeof(cause));
        reason(svc, p, why, sizeof(why));
        along(p, more, sizeof(more));
        if (p->to != MANAGED_PAST_NONE)
                snprintf(to, sizeof(to), " to %s", node_of(svc, p->to));
        sentence(s, "%s %s %s bring it%s%s: %s.", ago, cause, delayed ? "had to wait to" : "did not", to, more, why);
}

/* ---- both ---- */

static int tell(struct sentences *s, const struct managed_reservation *m, uint32_t granule, bool not_done,
                Svmd__V1__Past ***ret, size_t *ret_count) {
        enum { MOST = MANAGED_PASTS > MANAGED_NOT_DONE ? MANAGED_PASTS : MANAGED_NOT_DONE };
        struct managed_past *past = call_take(s->call, MOST * sizeof(*past));
        unsigned count;

        *ret = call_take(s->call, MOST * sizeof(**ret));
        if (!past || !*ret)
                return -ENOMEM;
        count = mover_history(s->call->svc->mover, m->range, granule, not_done, past, MOST);
        for (unsigned i = 0; i < count; i++) {
                (*ret)[i] = row(s->call, m, &past[i]);
                if (!(*ret)[i])
                        return -ENOMEM;
                if (i < TOLD)
                        (not_done ? say_not_done : say_done)(s, &past[i]);
        }
        *ret_count = count;
        return 0;
}

int explain_past(struct sentences *s, const struct managed_reservation *m, uint32_t granule,
                 Svmd__V1__ExplainResult *result) {
        int r = tell(s, m, granule, false, &result->history, &result->n_history);

        return r ? r : tell(s, m, granule, true, &result->not_done, &result->n_not_done);
}
