#include "service/explain.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "core/node.h"
#include "core/session.h"
#include "proto/range.h"

/*
 * One granule of a managed range in sentences, from what the engine knows of it.
 */
static const char *const causes[] = {
#define X(name, number, text) [number] = text,
        RANGE_CAUSES(X)
#undef X
};
static const char *const states[] = {
#define X(name, number, text) [number] = text,
        RANGE_STATES(X)
#undef X
};

void name_nodes(const struct service *svc, uint64_t set, char *text, size_t size) {
        size_t at = 0;

        text[0] = 0;
        for (bool first = true; set; set &= set - 1, first = false) {
                uint32_t node = (uint32_t)__builtin_ctzll(set);
                const char *between = first ? "" : (set & (set - 1)) ? ", " : " and ";
                const char *name = node < svc->options.machine->count ? node_desc(svc, node)->name : "?";

                if (at + 2 * sizeof(svc->options.machine->nodes->name) > size) {
                        snprintf(text + at, size - at, " and %d more", __builtin_popcountll(set));
                        return;
                }
                at += (size_t)snprintf(text + at, size - at, "%s%s", between, name);
        }
}

const char *name_node(const struct service *svc, uint32_t node) {
        return node < svc->options.machine->count ? node_desc(svc, node)->name : "no node";
}

/* "4 KiB", "2 MiB". */
void granule_size(uint32_t bytes, char *text, size_t size) {
        if (bytes >= 1u << 20)
                snprintf(text, size, "%u MiB", bytes >> 20);
        else
                snprintf(text, size, "%u KiB", bytes >> 10);
}

static void since(uint64_t then_ns, char *text, size_t size) {
        uint64_t now = clock_ns(CLOCK_MONOTONIC), ms = then_ns && now > then_ns ? (now - then_ns) / 1000000 : 0;

        if (then_ns == 0)
                text[0] = 0;
        else if (ms < 1000)
                snprintf(text, size, " for %" PRIu64 " ms", ms);
        else if (ms < 120 * 1000)
                snprintf(text, size, " for %" PRIu64 ".%" PRIu64 " s", ms / 1000, ms % 1000 / 100);
        else if (ms < 7200 * 1000)
                snprintf(text, size, " for %" PRIu64 " min", ms / 60000);
        else
                snprintf(text, size, " for %" PRIu64 " h", ms / 3600000);
}

static void explain_place(struct sentences *s, const struct managed_reservation *m,
                          const struct managed_granule_info *info) {
        const struct service *svc = s->call->svc;
        char size[32], time[48], ago[64] = "", copies[160];
        const char *cause = causes[info->cause], *node = name_node(svc, info->node);

        granule_size(m->granule, size, sizeof(size));
        since(info->moved_ns, time, sizeof(time));
        if (time[0])
                snprintf(ago, sizeof(ago), " %s ago", time + strlen(" for "));
        switch (info->state) {
        case RESIDENCY_EMPTY:
                sentence(s, "Its granule of %s was never touched, or was discarded: it is zero and uses no memory.",
                         size);
                break;
        case RESIDENCY_RESIDENT:
                sentence(s, "Its granule of %s is in the memory of %s%s (%s), where the CPU uses it.", size, node, time,
                         cause);
                break;
        case RESIDENCY_OUT:
                if (info->lost) {
                        sentence(s, "The content of its granule of %s was lost with %s%s: discard it to use it again.",
                                 size, node, ago);
                        break;
                }
                sentence(s, "Its granule of %s is on %s%s (%s), out of the CPU's reach.", size, node, time, cause);
                break;
        case RESIDENCY_DUPLICATED:
                name_nodes(svc, info->copies, copies, sizeof(copies));
                sentence(s, "Its granule of %s is in the memory of %s, with copies to read on %s (%s).", size, node,
                         copies, cause);
                break;
        case RESIDENCY_REVOKED:
                if (info->lost) {
                        sentence(s, "Its granule of %s was taken away, and its content was lost with %s%s.", size, node,
                                 ago);
                        break;
                }
                sentence(s, "Its granule of %s was taken away%s; %s keeps its content.", size, time,
                         info->node == MANAGED_NOWHERE ? "it is empty, and no node" : node);
                break;
        case RESIDENCY_COPYING:
        case RESIDENCY_PUNCHING:
        case RESIDENCY_FILLING:
        case RESIDENCY_WRITING:
        case RESIDENCY_CONTINUING:
                sentence(s, "Its granule of %s is on its way just now (%s, %s).", size, states[info->state], cause);
                break;
        }
        if (info->outs || info->ins)
                sentence(s, "It has left host memory %u time%s and come back %u time%s.", info->outs,
                         info->outs == 1 ? "" : "s", info->ins, info->ins == 1 ? "" : "s");
}

static void explain_pins(struct sentences *s, const struct managed_reservation *m, uint32_t granule,
                         const struct managed_granule_info *info) {
        if (info->pins == 0)
                return;
        sentence(s, "It is pinned %u time%s, and is not moved until it is unpinned.", info->pins,
                 info->pins == 1 ? "" : "s");
        list_for_each (l, &m->members) {
                const struct managed_member *member = container_of(l, struct managed_member, by_reservation);
                const struct session *x = member->client->session;

                if (member->pins && member->pins[granule])
                        sentence(s, "Session %" PRIu64 " (pid %u, %s) has pinned it %u time%s.", x->object.id, x->pid,
                                 x->client, member->pins[granule], member->pins[granule] == 1 ? "" : "s");
        }
}

void explain_granule(struct sentences *s, const struct managed_reservation *m, uint32_t granule,
                     const struct managed_granule_info *info) {
        explain_place(s, m, info);
        explain_pins(s, m, granule, info);
}
