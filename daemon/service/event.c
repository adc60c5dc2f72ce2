#include "service/internal.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"

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

void event_monitor(struct service *svc, const char *what, const struct session *about, const char *partition,
                   const char *format, ...) {
        Svmd__V1__MonitorEvent body = SVMD__V1__MONITOR_EVENT__INIT;
        Svmd__V1__Event event = SVMD__V1__EVENT__INIT;
        char text[256];
        va_list ap;

        if (svc->monitors == 0)
                return;
        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        body.time_ns = clock_ns(CLOCK_REALTIME);
        body.what = (char *)what;
        body.partition = (char *)partition;
        body.session = about ? about->object.id : 0;
        body.pid = about ? about->pid : 0;
        body.text = text;
        event.event_case = SVMD__V1__EVENT__EVENT_MONITOR;
        event.monitor = &body;
        list_for_each (l, &svc->state.sessions) {
                struct session *s = container_of(l, struct session, by_state);

                if (s->monitor)
                        event_send(svc, s, &event);
        }
}
