#include "service/internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "proto/range.h"

/* Events are hints and never wait: a session that is too slow for one gets the count of those it missed with the next.
 */

bool event_send(struct service *svc, struct session *s, Svmd__V1__Event *event) {
        Svmd__V1__Packet packet = SVMD__V1__PACKET__INIT;
        uint8_t bytes[1024];
        ssize_t n;

        if (svc->starting || s->ending)
                return false;
        event->dropped = s->dropped;
        packet.packet_case = SVMD__V1__PACKET__PACKET_EVENT;
        packet.event = event;
        n = encode_packet(&packet, bytes, sizeof(bytes));
        if (n > 0 && svc->hooks.event(svc->hooks.userdata, s, bytes, (size_t)n)) {
                s->dropped = 0;
                return true;
        }
        s->dropped++;
        s->dropped_total++;
        return false;
}

void service_session_writable(struct service *svc, struct session *s) {
        Svmd__V1__Event event = SVMD__V1__EVENT__INIT;

        if (s->dropped > 0)
                event_send(svc, s, &event);
}

static void tell(struct service *svc, const struct reservation *r, struct session *s, bool gone) {
        Svmd__V1__ReservationEvent body = SVMD__V1__RESERVATION_EVENT__INIT;
        Svmd__V1__Event event = SVMD__V1__EVENT__INIT;

        body.reservation = r->object.id;
        body.generation = r->generation;
        body.gone = gone;
        event.event_case = SVMD__V1__EVENT__EVENT_RESERVATION;
        event.reservation = &body;
        event_send(svc, s, &event);
}

void event_reservation(struct service *svc, const struct reservation *r, const struct session *except, bool gone) {
        if (!r->shared || svc->replaying)
                return;
        if (r->owner && r->owner != except)
                tell(svc, r, r->owner, gone);
        list_for_each (l, &r->shared->openings) {
                struct opening *o = container_of(l, struct opening, by_reservation);

                if (o->session != except)
                        tell(svc, r, o->session, gone);
        }
}

void event_reservation_lost(struct service *svc, const struct reservation *r, struct session *s) {
        if (!svc->replaying)
                tell(svc, r, s, true);
}

/* `often`: only for those who want each of them. */
static void tell_monitors(struct service *svc, Svmd__V1__MonitorEvent *body, bool often) {
        Svmd__V1__Event event = SVMD__V1__EVENT__INIT;

        body->time_ns = clock_ns(CLOCK_REALTIME);
        event.event_case = SVMD__V1__EVENT__EVENT_MONITOR;
        event.monitor = body;
        list_for_each (l, &svc->state.sessions) {
                struct session *s = container_of(l, struct session, by_state);

                if (s->monitor && !(often && s->monitor_seldom))
                        event_send(svc, s, &event);
        }
}

void event_give_back(struct service *svc, struct session *s, uint32_t node, uint64_t bytes, uint64_t wait_ms) {
        Svmd__V1__GiveBackEvent body = SVMD__V1__GIVE_BACK_EVENT__INIT;
        Svmd__V1__Event event = SVMD__V1__EVENT__INIT;

        body.node = node;
        body.bytes = bytes;
        body.deadline_ms = wait_ms;
        event.event_case = SVMD__V1__EVENT__EVENT_GIVE_BACK;
        event.give_back = &body;
        event_send(svc, s, &event);
}

void event_monitor(struct service *svc, const char *what, const struct session *about, const char *partition,
                   const char *format, ...) {
        Svmd__V1__MonitorEvent body = SVMD__V1__MONITOR_EVENT__INIT;
        char text[256];
        va_list ap;

        if (svc->watchers == 0)
                return;
        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        body.what = (char *)what;
        body.partition = (char *)partition;
        body.session = about ? about->object.id : 0;
        body.pid = about ? about->pid : 0;
        body.text = text;
        tell_monitors(svc, &body, false);
}

void event_condition(struct service *svc, const char *what, const char *partition, uint32_t node, uint64_t bytes,
                     const char *format, ...) {
        Svmd__V1__MonitorEvent body = SVMD__V1__MONITOR_EVENT__INIT;
        char text[256];
        va_list ap;

        if (svc->watchers == 0)
                return;
        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        body.what = (char *)what;
        body.partition = (char *)partition;
        body.from = node + 1;
        body.size = bytes;
        body.text = text;
        tell_monitors(svc, &body, false);
}

static void count_monitors(struct service *svc, int more) {
        svc->monitors = (uint64_t)((int64_t)svc->monitors + more);
        if (svc->mover)
                mover_watch(svc->mover, svc->monitors > 0);
}

void event_watch(struct service *svc, struct session *s, bool on, bool seldom) {
        count_monitors(svc, (on && !seldom) - (s->monitor && !s->monitor_seldom));
        svc->watchers += (uint64_t)on - s->monitor;
        s->monitor = on;
        s->monitor_seldom = on && seldom;
}

/* ---- moves ---- */

/* More than a monitor takes in would only be made to be dropped. */
#define MOVES_TOLD 256 /* in one collection */

static void drop_move(struct service *svc) {
        list_for_each (l, &svc->state.sessions) {
                struct session *s = container_of(l, struct session, by_state);

                s->dropped += s->monitor && !s->monitor_seldom;
                s->dropped_total += s->monitor && !s->monitor_seldom;
        }
}

static const char *place_name(const struct service *svc, uint32_t node) {
        return node < svc->options.machine->count ? node_desc(svc, node)->name : "nowhere";
}

/* Whether an event about these granules is told; then its fields, but for what became of them. */
static bool begin_granules(struct service *svc, const struct managed_reservation *m, uint32_t first, uint32_t granules,
                           const char *what, Svmd__V1__MonitorEvent *body) {
        const struct reservation *r = m->reservation;

        if (svc->monitors == 0)
                return false;
        if (svc->moves_told++ >= MOVES_TOLD) {
                drop_move(svc);
                return false;
        }
        svmd__v1__monitor_event__init(body);
        body->what = (char *)what;
        body->partition = r->partition->name->text;
        body->session = r->owner ? r->owner->object.id : 0;
        body->pid = r->owner ? r->owner->pid : 0;
        body->address = r->va.start + (uint64_t)first * m->granule;
        body->size = (uint64_t)granules * m->granule;
        return true;
}

void event_moved(struct service *svc, const struct managed_reservation *m, uint32_t first, uint32_t granules,
                 uint32_t from, uint32_t to, enum managed_cause cause) {
        static const char *const causes[] = {
#define X(name, number, text) [number] = text,
                RANGE_CAUSES(X)
#undef X
        };
        Svmd__V1__MonitorEvent body;
        const struct reservation *r = m->reservation;
        char text[256];

        if (!begin_granules(svc, m, first, granules, "move", &body))
                return;
        body.cause = (char *)causes[cause];
        body.from = from == MANAGED_NOWHERE ? 0 : from + 1;
        body.to = to == MANAGED_NOWHERE ? 0 : to + 1;
        snprintf(text, sizeof(text), "0x%" PRIx64 ", %" PRIu64 " KiB of %s%s, went from %s to %s (%s)", body.address,
                 body.size >> 10, r->shared ? "reservation " : "an anonymous reservation",
                 r->shared ? r->shared->name->text : "", place_name(svc, from), place_name(svc, to), body.cause);
        body.text = text;
        tell_monitors(svc, &body, true);
}

void event_pinned(struct service *svc, const struct managed_reservation *m, uint32_t first, uint32_t granules,
                  uint32_t node) {
        const char *partition = m->reservation->partition->name->text, *name = place_name(svc, node);
        uint64_t address = m->reservation->va.start + (uint64_t)first * m->granule, withheld;
        Svmd__V1__MonitorEvent body;
        char text[256];

        if (message_passes(&svc->rates.thrash, clock_ns(CLOCK_MONOTONIC), &withheld))
                message(MESSAGE_THRASH,
                        FIELDS(FIELD_TEXT("SVMD_PARTITION", partition), FIELD_TEXT("SVMD_NODE", name),
                               FIELD_NUMBER("SVMD_ADDRESS", address),
                               FIELD_NUMBER("SVMD_BYTES", (uint64_t)granules * m->granule),
                               FIELD_NUMBER("SVMD_WITHHELD", withheld)),
                        "partition %s: nodes take 0x%" PRIx64 " from each other; it stays on %s for a time", partition,
                        address, name);
        if (!begin_granules(svc, m, first, granules, "thrash", &body))
                return;
        body.to = node + 1;
        snprintf(text, sizeof(text),
                 "0x%" PRIx64 ", %" PRIu64 " KiB, stays on %s for a time: nodes take it from each other", body.address,
                 body.size >> 10, place_name(svc, node));
        body.text = text;
        tell_monitors(svc, &body, true);
}
