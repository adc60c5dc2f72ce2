#include "service/full.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/message.h"
#include "base/text.h"
#include "service/drift.h"
#include "service/internal.h"

const char *full_name(const struct full_row *r, char *to, unsigned room) {
        bool in = r->container[0];

        snprintf(to, room, "%s%s%s%s", r->container, in ? " (" : "", r->told.subject, in ? ")" : "");
        return to;
}

static void tell(struct service *svc, const struct full_row *r, bool begins) {
        char name[448], limit[24];
        uint64_t withheld;

        full_name(r, name, sizeof(name));
        text_bytes(limit, sizeof(limit), r->limit);
        if (message_passes(&svc->rates.full, clock_ns(CLOCK_MONOTONIC), &withheld)) {
                if (begins)
                        message(MESSAGE_GROUP_FULL,
                                FIELDS(FIELD_TEXT("SVMD_CGROUP", r->told.subject),
                                       FIELD_TEXT("SVMD_CONTAINER", r->container), FIELD_NUMBER("SVMD_LIMIT", r->limit),
                                       FIELD_NUMBER("SVMD_KILLED", r->killed), FIELD_NUMBER("SVMD_WITHHELD", withheld)),
                                "%s has all the host memory that the kernel lets it have, %s, and %" PRIu64
                                " of its processes were ended for that",
                                name, limit, r->killed);
                else
                        message(MESSAGE_GROUP_FULL_ENDED,
                                FIELDS(FIELD_TEXT("SVMD_CGROUP", r->told.subject),
                                       FIELD_NUMBER("SVMD_WITHHELD", withheld)),
                                "%s has room for host memory again, or no sessions", name);
        }
        event_condition(svc, "group-full", "", UINT32_MAX, begins ? r->limit : 0, "%s %s", name,
                        begins ? "has all the host memory that the kernel lets it have" : "has room again");
}

/* That more of its processes were ended is told, too. */
static void meet(struct service *svc, const struct drift_row *d) {
        struct told *told;
        struct full_row *r;
        bool news;

        told = told_meet(TOLD_ROWS(svc->full.rows), d->subject, &news);
        if (!told)
                return;
        r = container_of(told, struct full_row, told);
        news = news || r->killed != d->killed;
        text_copy(r->container, d->container);
        r->limit = d->limit;
        r->killed = d->killed;
        if (news)
                tell(svc, r, true);
}

static void ends(struct service *svc, const struct told *told) {
        tell(svc, container_of(told, const struct full_row, told), false);
}

void full_verdict(struct service *svc, const struct drift *d) {
        const struct drift_row *rows;
        uint32_t count;

        rows = drift_rows(d, &count);
        for (uint32_t i = 0; i < count; i++)
                if (rows[i].scope == SCOPE_CGROUP && (drift_is_full(&rows[i]) || rows[i].killed > 0))
                        meet(svc, &rows[i]);
        told_end(svc, TOLD_ROWS(svc->full.rows), ends);
}
