#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "proto/codec.h"
#include "proto/socket.h"
#include "proto/status.h"
#include "transport/internal.h"

/*
 * One connection. Idle it is this struct and a descriptor. It is read while it has nothing to send and owes no reply,
 * so a client that does not take its replies is not served further, and what is queued for it is bounded: one turn's
 * replies and EVENTS_MAX events; and that of all connections of a user by transport/queued.h.
 */
#define EVENTS_MAX 64

static void set_interest(struct conn *c) {
        bool reads = list_empty(&c->queue) && !c->later && list_empty(&c->share.resting);
        int events = (list_empty(&c->queue) ? 0 : EV_WRITE) | (reads ? EV_READ : 0);

        if (ev_is_active(&c->io) && (c->io.events & (EV_READ | EV_WRITE)) == events)
                return;
        ev_io_stop(c->transport->loop, &c->io);
        ev_io_set(&c->io, c->io.fd, events);
        if (events)
                ev_io_start(c->transport->loop, &c->io);
}

static size_t size_of(const struct outgoing *o) {
        return sizeof(*o) + o->size;
}

static void outgoing_free(struct conn *c, struct outgoing *o) {
        queued_take(&c->transport->queued, &c->share, size_of(o));
        list_remove(&o->link);
        c->events -= o->event;
        fdlist_close(&o->fds);
        alloc_free(o);
}

static struct outgoing *outgoing_new(struct conn *c, const void *bytes, size_t size, bool event) {
        struct outgoing *o = alloc_zero(sizeof(*o) + size);

        if (!o)
                return NULL;
        o->size = size;
        o->event = event;
        fdlist_init(&o->fds);
        memcpy(o->bytes, bytes, size);
        list_push_back(&c->queue, &o->link);
        queued_add(&c->transport->queued, &c->share, size_of(o));
        c->events += event;
        if (list_empty(&c->dirty))
                list_push_back(&c->transport->dirty, &c->dirty);
        return o;
}

void conn_reply(struct conn *c, const void *bytes, size_t size, struct fdlist *fds) {
        bool room = queued_has_room(&c->transport->queued, &c->share, sizeof(struct outgoing) + size);
        struct outgoing *o = room ? outgoing_new(c, bytes, size, false) : NULL;

        c->later = false;
        if (!o) {
                /* Without its reply the client would wait for ever; at the end of the connection it does not. */
                shutdown(c->io.fd, SHUT_RDWR);
                return;
        }
        while (fds && fdlist_left(fds) > 0)
                fdlist_add(&o->fds, fdlist_steal(fds));
}

bool conn_event(struct conn *c, const void *bytes, size_t size) {
        if (c->events >= EVENTS_MAX || queued_is_full(&c->share)) {
                c->missed = true;
                if (list_empty(&c->queue)) {
                        queued_rest(&c->transport->queued, &c->share); /* told of it when there is room */
                        set_interest(c);
                }
                return false;
        }
        return outgoing_new(c, bytes, size, true) != NULL;
}

static int send_one(struct conn *c, struct outgoing *o) {
        int r = packet_send(c->io.fd, o->bytes, o->size, &o->fds, MSG_DONTWAIT);

        if (r == -EAGAIN) {
                if (!o->event && !o->stuck)
                        service_reply_stuck(c->transport->svc, c->session, o->bytes, o->size);
                o->stuck = true;
                return r;
        }
        if (o->stuck && !o->event)
                service_reply_left(c->transport->svc, c->session);
        outgoing_free(c, o);
        return r;
}

void conn_flush(struct conn *c) {
        list_remove(&c->dirty);
        while (!list_empty(&c->queue)) {
                int r = send_one(c, container_of(c->queue.next, struct outgoing, link));

                if (r == -EAGAIN)
                        break;
                if (r < 0)
                        shutdown(c->io.fd, SHUT_RDWR); /* reading finds the end, and that ends the session */
        }
        if (c->missed && list_empty(&c->queue)) {
                c->missed = false;
                service_session_writable(c->transport->svc, c->session);
        }
        set_interest(c);
}

void conn_wake(struct queued_share *share) {
        struct conn *c = container_of(share, struct conn, share);

        if (list_empty(&c->dirty))
                list_push_back(&c->transport->dirty, &c->dirty); /* conn_flush() goes on from there */
}

void conn_name(const struct queued_share *share, char ret[96]) {
        session_party_name(container_of(share, struct conn, share)->session, ret, 96);
}

/* Reading found that nobody is there any more. */
static void end(struct conn *c) {
        struct transport *t = c->transport;
        struct session *s = c->session;

        turns_charge(&c->member, 1);
        conn_free(c);
        service_session_end(t->svc, s);
}

static void kick_malformed(struct conn *c, ssize_t n) {
        turns_charge(&c->member, 1);
        service_session_kick(c->transport->svc, c->session, SVMD_STATUS_MALFORMED,
                             n == -EMSGSIZE ? "a packet is at most 128 KiB"
                                            : "at most 64 file descriptors come with a packet");
}

/* The connection may be gone when the service has had the packet. */
static unsigned receive(struct conn *c, size_t size, struct fdlist *fds) {
        struct transport *t = c->transport;
        unsigned cost = count_operations(t->buffer, size);
        int r;

        turns_served(&t->turns, &c->member, cost);
        r = service_receive(t->svc, c->session, t->buffer, size, fds);
        fdlist_close(fds);
        if (r == SERVICE_E_LATER) {
                c->later = true;
                set_interest(c);
        }
        return cost;
}

unsigned conn_serve(struct conn *c) {
        struct transport *t = c->transport;
        struct fdlist fds;
        ssize_t n = -EAGAIN;

        if (queued_is_full(&c->share)) {
                queued_rest(&t->queued, &c->share);
                set_interest(c);
        }
        fdlist_init(&fds);
        if (c->io.events & EV_READ)
                n = packet_recv(c->io.fd, t->buffer, SVMD_PACKET_MAX, &fds, MSG_DONTWAIT);
        if (n > 0)
                return receive(c, (size_t)n, &fds);
        if (n == -EAGAIN || n == -EINTR) {
                turns_idle(&t->turns, &c->member);
                return 0;
        }
        if (n == -EMSGSIZE || n == -EBADMSG)
                kick_malformed(c, n);
        else
                end(c);
        return 1;
}

/* What it sent is taken when its turn comes. */
static void on_io(struct ev_loop *loop, ev_io *io, int events) {
        struct conn *c = container_of(io, struct conn, io);

        if (events & EV_WRITE)
                conn_flush(c);
        else
                turns_ready(&c->transport->turns, &c->member);
}

static struct conn *conn_make(struct transport *t, int fd, uint64_t party) {
        struct conn *c = alloc_zero(sizeof(*c));

        if (!c)
                return NULL;
        if (turns_join(&t->turns, &c->member, party) < 0) {
                alloc_free(c);
                return NULL;
        }
        if (queued_join(&t->queued, &c->share, party) < 0) {
                turns_leave(&t->turns, &c->member);
                alloc_free(c);
                return NULL;
        }
        turns_charge(&c->member, 1);
        c->transport = t;
        list_init(&c->dirty);
        list_init(&c->queue);
        list_push_back(&t->conns, &c->link);
        ev_io_init(&c->io, on_io, fd, EV_READ);
        ev_io_start(t->loop, &c->io);
        return c;
}

static void refuse_connection(int fd, const char *text) {
        Svmd__V1__EndEvent body = SVMD__V1__END_EVENT__INIT;
        Svmd__V1__Event event = SVMD__V1__EVENT__INIT;
        Svmd__V1__Packet packet = SVMD__V1__PACKET__INIT;
        uint8_t bytes[512];
        ssize_t n;

        body.code = SVMD_STATUS_QUOTA;
        body.text = (char *)text;
        event.event_case = SVMD__V1__EVENT__EVENT_END;
        event.end = &body;
        packet.packet_case = SVMD__V1__PACKET__PACKET_EVENT;
        packet.event = &event;
        n = encode_packet(&packet, bytes, sizeof(bytes));
        if (n > 0)
                packet_send(fd, bytes, (size_t)n, NULL, MSG_DONTWAIT);
        close(fd);
}

struct conn *conn_new(struct transport *t, int fd, const struct listener *from) {
        struct service_peer peer;
        uint32_t *groups = NULL;
        struct conn *c;
        int r = peer_read(fd, &peer, &groups);

        peer.partition = from->partition;
        c = r == 0 ? conn_make(t, fd, peer_party(&peer)) : NULL;
        if (!c) {
                alloc_free(groups);
                close(fd);
                return NULL;
        }
        peer.admin = from->admin && peer_may_administer(&peer, t->options.admin_gid);
        peer.reader = peer_is_in(&peer, t->options.reader_gid);
        r = service_session_new(t->svc, &c->session, &peer, c);
        alloc_free(groups);
        if (r == 0)
                return c;
        ev_io_stop(t->loop, &c->io);
        list_remove(&c->link);
        turns_leave(&t->turns, &c->member);
        queued_leave(&t->queued, &c->share);
        alloc_free(c);
        refuse_connection(
                fd,
                r == SERVICE_E_REFUSED
                        ? "svmd has as many sessions as it may have, in all, of this user or of this container; end some, or "
                          "raise max-sessions or max-sessions-per-uid"
                        : "svmd has no memory left for another session");
        return NULL;
}

struct conn *conn_resume(struct transport *t, int fd, struct session *s) {
        struct conn *c = conn_make(t, fd, session_party(s));

        if (c)
                c->session = s;
        return c;
}

void conn_free(struct conn *c) {
        while (!list_empty(&c->queue))
                if (send_one(c, container_of(c->queue.next, struct outgoing, link)) == -EAGAIN)
                        outgoing_free(c, container_of(c->queue.next, struct outgoing, link));
        ev_io_stop(c->transport->loop, &c->io);
        list_remove(&c->link);
        list_remove(&c->dirty);
        turns_leave(&c->transport->turns, &c->member);
        queued_leave(&c->transport->queued, &c->share);
        close(c->io.fd);
        alloc_free(c);
}

int conn_fd(const struct conn *c) {
        return c->io.fd;
}
