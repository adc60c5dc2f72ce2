#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "core/keeping.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "core/space.h"
#include "service/adopted.h"
#include "service/explain.h"
#include "service/lookup.h"

/*
 * Why things at an address are as they are: rows for programs, sentences for people.
 */
#define MAPPINGS_MAX 16 /* that are told of */

void sentence(struct sentences *s, const char *format, ...) {
        char text[640];
        va_list ap;

        if (s->count == SENTENCES_MAX)
                return;
        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        s->list[s->count++] = call_string(s->call, text);
}

/* ---- whose it is ---- */

static void explain_keeping(struct sentences *s, const struct keeping *k) {
        uint64_t left = keeping_left_ms(s->call->svc, k);
        char until[64] = "until it is removed (svmd-ctl kept remove)";

        if (k->since_ns != 0 && left != UINT64_MAX)
                snprintf(until, sizeof(until), "and ends in %" PRIu64 " s", left / 1000 + 1);
        else if (k->seconds)
                snprintf(until, sizeof(until), "for %" PRIu64 " s", k->seconds);
        if (k->since_ns != 0)
                sentence(s, "It has had no session for %" PRIu64 " s; it is kept %s.",
                         keeping_idle_ms(s->call->svc, k) / 1000, until);
        else
                sentence(s, "It is kept when its last session leaves, %s.", until);
}

static void explain_reservation(struct sentences *s, const struct reservation *r, uint64_t address) {
        const struct session *owner = r->owner;
        char name[SVMD_NAME_MAX + 16];

        if (r->shared)
                snprintf(name, sizeof(name), "reservation %s", r->shared->name->text);
        else
                snprintf(name, sizeof(name), "reservation %" PRIu64, r->object.id);
        if (owner)
                sentence(s,
                         "0x%" PRIx64 " lies in %s of partition %s, which session %" PRIu64
                         " (pid %u, uid %u, %s) owns.",
                         address, name, r->partition->name->text, owner->object.id, owner->pid, owner->who.uid,
                         owner->client);
        else
                sentence(s,
                         "0x%" PRIx64
                         " lies in %s of partition %s; its owner's session has ended, and %u have it open.",
                         address, name, r->partition->name->text, r->shared->openings_count);
        if (r->shared && r->shared->keeping)
                explain_keeping(s, r->shared->keeping);
}

static int explain_nothing(struct sentences *s, const struct partition *p, uint64_t address) {
        if (address < p->slice.start || address - p->slice.start >= p->slice.size)
                sentence(s,
                         "0x%" PRIx64 " is no address of partition %s, whose slice is 0x%" PRIx64 " to 0x%" PRIx64
                         ": svmd knows nothing about it.",
                         address, p->name->text, p->slice.start, p->slice.start + p->slice.size);
        else
                sentence(s,
                         "Nothing is reserved at 0x%" PRIx64
                         ", which is an address of partition %s: an access there is a segmentation fault.",
                         address, p->name->text);
        return 0;
}

/* ---- explicit memory ---- */

static void explain_mapping(struct sentences *s, const struct mapping *e, const char *who) {
        const struct memory *m = memory_of(e->backing);
        static const char *const access[] = { "no access", "to read", "", "to read and write" };

        sentence(s, "%s sees memory %" PRIu64 " there, %s: %" PRIu64 " bytes of it lie on %s.", who, m->object.id,
                 access[e->attrs.access & 3], m->size, node_desc(s->call->svc, m->file->node)->name);
        if (m->keeping)
                sentence(s, "Memory %" PRIu64 " is kept, as %s, when its last user leaves.", m->object.id,
                         m->name->text);
        if (m->lost)
                sentence(s, "Its content was lost with %s: operations that need it fail until it is released.",
                         node_desc(s->call->svc, m->node)->name);
        else if (m->away)
                sentence(s,
                         "Memory %" PRIu64
                         " was moved there while others needed room on %s; it goes back before an operation uses it.",
                         m->object.id, node_desc(s->call->svc, m->node)->name);
}

static void explain_spaces(struct sentences *s, const struct partition *p, uint64_t address) {
        unsigned told = 0;

        list_for_each (l, &p->sessions) {
                const struct session *owner = container_of(l, struct session, by_partition);

                list_for_each (k, &owner->spaces) {
                        const struct space *space = container_of(k, struct space, by_session);
                        const struct mapping *e = vmap_find(&space->mappings, address);
                        char who[128];

                        if (!e || told++ == MAPPINGS_MAX)
                                continue;
                        snprintf(who, sizeof(who), "%s, in space %" PRIu64 " of session %" PRIu64 ",",
                                 node_desc(s->call->svc, space->node)->name, space->object.id, owner->object.id);
                        explain_mapping(s, e, who);
                }
        }
}

static int explain_explicit(struct sentences *s, const struct reservation *r, uint64_t address,
                            Svmd__V1__ExplainResult *result) {
        const struct mapping *e = vmap_find(&r->cpu, address);

        sentence(s, "The reservation is explicit: what lies there stays on the node where it was created.");
        if (e) {
                result->mappings = call_take(s->call, sizeof(*result->mappings));
                if (!result->mappings || !(result->mappings[0] = mapping_row(s->call, e)))
                        return -ENOMEM;
                result->n_mappings = 1;
                explain_mapping(s, e, "The CPU");
        } else {
                sentence(s, "No memory is mapped there for the CPU: an access is a segmentation fault.");
        }
        return 0;
}

/* ---- managed memory ---- */

static uint64_t ago_ms(uint64_t then_ns) {
        uint64_t now = clock_ns(CLOCK_MONOTONIC);

        return then_ns == 0 ? 0 : now > then_ns ? (now - then_ns) / 1000000 + 1 : 1;
}

static int explain_managed(struct sentences *s, const struct managed_reservation *m, uint64_t address,
                           Svmd__V1__ExplainResult *result) {
        uint32_t granule = (uint32_t)((address - m->reservation->va.start) / m->granule);
        struct managed_granule_info info;
        int r;

        mover_look(s->call->svc->mover, m->range, granule, 1, &info);
        result->run = call_take(s->call, sizeof(*result->run));
        result->advice = advice_row(s->call, m, granule);
        if (!result->run || !result->advice)
                return -ENOMEM;
        run_fill(m, granule, &info, result->run);
        result->moves = info.outs + info.ins;
        result->moved_ms = ago_ms(info.moved_ns);
        result->touched_ms = ago_ms(info.touched_ns);
        if (m->revoked)
                sentence(s, "The reservation is revoked: %s until its owner or an administrator gives it back.",
                         m->flags & SVMD__V1__RANGE_FLAG__RANGE_SIGBUS ? "an access is SIGBUS" : "an access waits");
        r = explain_hints(s, m, granule, result);
        if (r != 0)
                return r;
        explain_granule(s, m, granule, &info);
        r = explain_past(s, m, granule, result);
        return r ? r : explain_touches(s, m, granule, result);
}

int op_explain(struct call *c) {
        const Svmd__V1__Explain *op = c->op->explain;
        Svmd__V1__ExplainResult *result = call_take(c, sizeof(*result));
        struct sentences *s = call_take(c, sizeof(*s));
        const struct reservation *r;
        struct partition *p;
        int k = call_partition(c, op->partition, &p);

        if (k != 0)
                return k;
        if (!result || !s)
                return -ENOMEM;
        svmd__v1__explain_result__init(result);
        s->call = c;
        r = adopted_or_at(c, p, op->address);
        if (!r) {
                k = explain_nothing(s, p, op->address);
        } else {
                result->reservation = reservation_row(c, r);
                explain_reservation(s, r, op->address);
                k = !result->reservation ? -ENOMEM
                    : private_of(r)      ? private_explain(s, private_of(r), op->address, result)
                    : managed_of(r)      ? explain_managed(s, managed_of(r), op->address, result)
                                         : explain_explicit(s, r, op->address, result);
        }
        if (k != 0)
                return k;
        explain_spaces(s, p, op->address);
        result->sentences = s->list;
        result->n_sentences = s->count;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_EXPLAIN;
        c->result->explain = result;
        return 0;
}
