#include "row.h"

#include "proto/past.h"
#include "proto/range.h"

unsigned row_kind(const Svmd__V1__Reservation *from) {
        switch ((int)from->kind) {
        case SVMD__V1__RESERVATION_KIND__SHARED: return SVMD_SHARED;
        case SVMD__V1__RESERVATION_KIND__PRIVATE: return SVMD_PRIVATE;
        default: return SVMD_EXPLICIT;
        }
}

void row_use(struct svmd_use_row *ret, const Svmd__V1__NodeUse *from) {
        ret->node = from->node;
        ret->used = from->used;
        ret->peak = from->peak;
        ret->max = from->max;
        ret->high = from->high;
        ret->low = from->low;
        ret->min = from->min;
}

void row_reservation(struct svmd_reservation_row *ret, const Svmd__V1__Reservation *from) {
        *ret = (struct svmd_reservation_row){
                .id = from->id,
                .address = from->address,
                .length = from->size,
                .session = from->session,
                .mapped = from->mapped,
                .generation = from->generation,
                .name = from->name,
                .partition = from->partition,
                .uid = from->uid,
                .gid = from->gid,
                .openers = from->openers,
                .mode = from->mode,
                .kind = row_kind(from),
                .granule = from->granule,
                .revoked = from->revoked,
                .kept = from->kept,
                .idle_ms = from->idle_ms,
                .left_ms = from->left_ms,
        };
}

#define NAME_OF(id, number, text)                                                                                      \
        case number: return text;

static const char *state_name(uint32_t state) {
        switch (state) {
                RANGE_STATES(NAME_OF)
                RANGE_SEEN_STATES(NAME_OF)
        default: return "unknown";
        }
}

static const char *cause_name(uint32_t cause) {
        switch (cause) {
                RANGE_CAUSES(NAME_OF)
        case RANGE_CAUSE_OBSERVED: return "observed";
        default: return "unknown";
        }
}

void row_residency(struct svmd_residency_row *ret, const Svmd__V1__Run *from) {
        *ret = (struct svmd_residency_row){
                .address = from->address,
                .length = from->size,
                .state = state_name(from->state),
                .cause = cause_name(from->cause),
                .node = from->node,
                .pins = from->pins,
                .busy = from->busy,
                .copies = from->copies,
                .outs = from->outs,
                .ins = from->ins,
        };
}

static const char *deed_name(uint32_t deed) {
        switch (deed) {
                PAST_DEEDS(NAME_OF)
        default: return "unknown";
        }
}

static const char *why_name(uint32_t why) {
        switch (why) {
                PAST_WHYS(NAME_OF)
        default: return "unknown";
        }
}

static const char *outcome_name(uint32_t outcome) {
        switch (outcome) {
                TOUCH_OUTCOMES(NAME_OF)
        default: return "unknown";
        }
}

void row_past(struct svmd_past_row *ret, const Svmd__V1__Past *from) {
        *ret = (struct svmd_past_row){
                .address = from->address,
                .length = from->size,
                .began_ms = from->began_ms,
                .ms = from->ms,
                .times = from->times,
                .cause = cause_name(from->cause),
                .deed = deed_name(from->deed),
                .why = why_name(from->why),
                .by = from->by,
                .from = from->from,
                .to = from->to,
                .reservation = from->reservation,
        };
}

void row_touch(struct svmd_touch_row *ret, const Svmd__V1__Touch *from) {
        *ret = (struct svmd_touch_row){
                .node = from->node,
                .write = from->write,
                .outcome = outcome_name(from->outcome),
                .why = why_name(from->why),
                .code = (int)from->code,
                .to = from->to,
                .state = state_name(from->state),
                .on = from->on,
                .copies = from->copies,
        };
}

void row_advice(struct svmd_advice *ret, const Svmd__V1__AdviceResult *from) {
        ret->what = 0;
        ret->preferred = from->preferred - 1; /* 0 becomes SVMD_NODE_NONE */
        ret->accessed_by = from->accessed_by;
        ret->read_mostly = from->read_mostly;
        ret->pinned = from->pinned;
        ret->granularity = from->granularity;
        ret->session = from->session;
        ret->atomics = from->atomics;
        ret->coarse = from->coarse;
        ret->group = from->group;
        for (size_t i = 0; i < from->n_fallback && i < sizeof(ret->fallback) / sizeof(ret->fallback[0]); i++)
                ret->fallback[ret->fallbacks++] = from->fallback[i] - 1;
}

static const char *rank_name(Svmd__V1__AdviceRank rank) {
        switch ((int)rank) {
        case SVMD__V1__ADVICE_RANK__RANK_READER: return "reader";
        case SVMD__V1__ADVICE_RANK__RANK_LEFT: return "left";
        case SVMD__V1__ADVICE_RANK__RANK_WRITER: return "writer";
        case SVMD__V1__ADVICE_RANK__RANK_OWNER: return "owner";
        case SVMD__V1__ADVICE_RANK__RANK_ADMINISTRATOR: return "administrator";
        default: return "unknown";
        }
}

void row_hint(struct svmd_hint_row *ret, struct svmd_advice *said, const Svmd__V1__AdviceHint *from) {
        said->size = sizeof(*said);
        if (from->advice)
                row_advice(said, from->advice);
        said->what = from->what;
        said->against = from->against;
        *ret = (struct svmd_hint_row){
                .session = from->session,
                .pid = from->pid,
                .uid = from->uid,
                .client = from->client,
                .rank = rank_name(from->rank),
                .said_ns = from->said_ns,
                .address = from->address,
                .length = from->size,
                .advice = said,
                .wins = from->wins,
                .agrees = from->agrees,
                .outranked = from->outranked,
                .overtaken = from->overtaken,
                .moot = from->moot,
        };
}

struct svmd_device_events row_events(const Svmd__V1__DeviceEvents *from) {
        if (!from)
                return (struct svmd_device_events){ 0 };
        return (struct svmd_device_events){ .pages_in = from->pages_in,
                                            .pages_out = from->pages_out,
                                            .faults = from->faults,
                                            .evictions = from->evictions,
                                            .restores = from->restores,
                                            .unmaps = from->unmaps };
}
