#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "backend/private.h"
#include "base/clock.h"
#include "core/node.h"
#include "core/reservation.h"
#include "core/session.h"
#include "proto/range.h"
#include "service/explain.h"
#include "service/internal.h"
#include "service/lookup.h"
#include "service/private.h"

/*
 * Where private memory was when svmd last looked: it never waits for a process to answer a question.
 */
#define LOOKED_AT 16384 /* pages a result */

static uint32_t device_node(const struct private_range *p, unsigned file) {
        const struct private_client *k = p->reservation->owner->devices;

        return k && file < k->count ? k->device[file].node : UINT32_MAX;
}

static void fill(const struct service *svc, const struct private_range *p, uint64_t page, const struct place_seen *seen,
                 Svmd__V1__Run *row) {
        static const uint32_t states[PLACES_END] = {
                [PLACE_UNSEEN] = RANGE_SEEN_UNSEEN,       [PLACE_NONE] = RESIDENCY_EMPTY,
                [PLACE_SYSTEM] = RESIDENCY_RESIDENT,      [PLACE_DEVICE] = RESIDENCY_OUT,
                [PLACE_EXCLUSIVE] = RANGE_SEEN_EXCLUSIVE, [PLACE_UNMAPPED] = RANGE_SEEN_UNMAPPED,
        };

        svmd__v1__run__init(row);
        row->address = p->reservation->va.start + page * SVMD_PAGE;
        row->size = SVMD_PAGE;
        row->state = states[seen->place];
        row->cause = RANGE_CAUSE_OBSERVED;
        row->node = UINT32_MAX;
        if (seen->place == PLACE_SYSTEM || seen->place == PLACE_EXCLUSIVE)
                row->node = private_host_node(svc);
        else if (seen->place == PLACE_DEVICE)
                row->node = device_node(p, seen->file);
}

int private_residency(struct call *c) {
        const Svmd__V1__Residency *op = c->op->residency;
        uint64_t address = op->address - op->address % SVMD_PAGE, size = 0, page, end;
        Svmd__V1__ResidencyResult *result;
        struct private_range *p;
        int r = private_find(c, op->partition, address, &size, &p);

        if (r != 0)
                return r;
        if (op->size > size - op->address % SVMD_PAGE)
                return refuse(c, SVMD_STATUS_RANGE,
                              "0x%" PRIx64 " bytes at 0x%" PRIx64 " pass the end of the reservation, 0x%" PRIx64,
                              op->size, op->address, address + size);
        result = call_take(c, sizeof(*result));
        if (!result || !(result->runs = call_take(c, SVMD_ROWS_MAX * sizeof(*result->runs))))
                return -ENOMEM;
        result->base.descriptor = &svmd__v1__residency_result__descriptor;
        page = (address - p->reservation->va.start) / SVMD_PAGE;
        end = page + (op->size ? op->size + op->address % SVMD_PAGE + SVMD_PAGE - 1 : size) / SVMD_PAGE;
        while (page < end && result->n_runs < SVMD_ROWS_MAX) {
                Svmd__V1__Run *row = call_take(c, sizeof(*row));
                uint64_t most = end - page < LOOKED_AT ? end - page : LOOKED_AT;
                struct place_seen seen;

                if (!row)
                        return -ENOMEM;
                most = places_run(p->places, page, op->counters ? 1 : most, &seen);
                fill(c->svc, p, page, &seen, row);
                row->size = most * SVMD_PAGE;
                result->runs[result->n_runs++] = row;
                page += most;
        }
        c->result->more = page < end;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_RESIDENCY;
        c->result->residency = result;
        return 0;
}

/* ---- explain ---- */

static void explain_place(struct sentences *s, const struct private_range *p, const struct place_seen *seen) {
        const struct service *svc = s->call->svc;
        uint32_t device = device_node(p, seen->file);
        const char *name = device != UINT32_MAX ? node_desc(svc, device)->name : "a device";
        uint64_t ms = (clock_ns(CLOCK_MONOTONIC) - places_seen_ns(p->places)) / 1000000;

        switch (seen->place) {
        case PLACE_UNSEEN:
                sentence(s, "svmd has not looked at this page yet: svmd_observe() does, and every move.");
                break;
        case PLACE_NONE:
                sentence(s,
                         "%" PRIu64
                         " ms ago there was no page: it was never touched, or the kernel has swapped it out.",
                         ms);
                break;
        case PLACE_SYSTEM: sentence(s, "%" PRIu64 " ms ago it lay in host memory.", ms); break;
        case PLACE_DEVICE:
                sentence(s, "%" PRIu64 " ms ago it lay on %s; the CPU's touch brings it back.", ms, name);
                break;
        case PLACE_EXCLUSIVE:
                sentence(s, "%" PRIu64 " ms ago it lay in host memory, for %s alone to use until the CPU touches it.",
                         ms, name);
                break;
        default:
                sentence(s,
                         "%" PRIu64
                         " ms ago it was not mapped: the process has taken it away, and an access is a fault.",
                         ms);
        }
}

static void explain_files(struct sentences *s, const struct private_range *p) {
        const struct private_client *k = p->reservation->owner->devices;
        char names[200] = "";
        size_t used = 0;

        for (unsigned i = 0; k && i < k->count && used < sizeof(names); i++)
                if (k->device[i].moves)
                        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "",
                                                 node_desc(s->call->svc, k->device[i].node)->name);
        if (names[0])
                sentence(s, "The process has given files of %s: svmd can move pages there, and back.", names);
        else
                sentence(s, "The process has given no file of a device, so svmd can neither move nor see its pages.");
}

int private_explain(struct sentences *s, const struct private_range *p, uint64_t address,
                    Svmd__V1__ExplainResult *result) {
        uint64_t page = (address - p->reservation->va.start) / SVMD_PAGE;
        uint64_t preferred = imap_get(&p->preferred, address);
        struct place_seen seen = places_get(p->places, page);

        result->run = call_take(s->call, sizeof(*result->run));
        result->advice = call_take(s->call, sizeof(*result->advice));
        if (!result->run || !result->advice)
                return -ENOMEM;
        fill(s->call->svc, p, page, &seen, result->run);
        svmd__v1__advice_result__init(result->advice);
        result->advice->preferred = (uint32_t)preferred;
        result->advice->session = p->adviser;
        sentence(
                s,
                "The reservation is private: anonymous memory of process %u, which drivers move. Residency is observed, "
                "not owned: svmd asks for moves, and looks.",
                p->reservation->owner->pid);
        explain_place(s, p, &seen);
        explain_files(s, p);
        if (preferred)
                sentence(s, "It is preferred on %s: an eviction of all that prefers it goes there.",
                         node_desc(s->call->svc, (uint32_t)preferred - 1)->name);
        return 0;
}
