#pragma once

#include <ev.h>

#include "base/list.h"
#include "core/turns.h"
#include "proto/fdlist.h"
#include "proto/limits.h"
#include "service/service.h"
#include "transport/queued.h"
#include "transport/transport.h"

struct listener {
        ev_io io;
        struct list link;
        struct transport *transport;
        struct partition *partition; /* NULL: svmd.sock or admin.sock */
        bool admin;
        bool given;   /* its file is not ours */
        bool ended;   /* that container, before svmd looked */
        ev_io holder; /* a descriptor of the container's process that the partition was made for; fd -1: none */
        uint64_t key;
        char path[108];
};

struct transport {
        struct transport_options options;
        struct ev_loop *loop;
        ev_async wake;
        ev_timer soon, later, beat;
        ev_prepare flush;
        ev_check serve;
        struct turns turns; /* who is served next */
        struct queued queued;
        ev_signal term, interrupt, hangup;
        struct watch {
                ev_io io;
                void (*fn)(void *userdata);
                void *userdata;
        } watches[_TRANSPORT_WATCHED];
        ev_timer retry; /* listeners rest while there are no descriptors */
        struct service *svc;
        struct list conns, dirty, listeners;
        struct service_kept *kept;
        size_t kept_count;
        int outcome; /* TRANSPORT_E_* */
        bool keep_sockets;
        uint8_t *buffer; /* SVMD_PACKET_MAX bytes */
};

/* A packet that has not left. */
struct outgoing {
        struct list link;
        size_t size;
        bool event, stuck;
        struct fdlist fds;
        uint8_t bytes[];
};

struct conn {
        ev_io io;
        struct list link;
        struct list dirty; /* has something to send this turn */
        struct list queue;
        struct transport *transport;
        struct session *session;
        struct turns_member member;
        struct queued_share share;
        unsigned events; /* in the queue */
        bool missed;     /* there was no room for an event: its session is told when there is */
        bool later;      /* a reply is to come before the next packet is taken */
};

/* Takes `fd` over. NULL: it was refused and closed. */
struct conn *conn_new(struct transport *t, int fd, const struct listener *from);
struct conn *conn_resume(struct transport *t, int fd, struct session *s);
void conn_reply(struct conn *c, const void *bytes, size_t size, struct fdlist *fds);
bool conn_event(struct conn *c, const void *bytes, size_t size);
/* Takes a packet and has it served, where it has one and may be read: what that cost. May free the connection. */
unsigned conn_serve(struct conn *c);
/* Sends what can be sent. */
void conn_flush(struct conn *c);
/* For struct queued: its user has room again. */
void conn_wake(struct queued_share *share);
void conn_name(const struct queued_share *share, char ret[96]);
/* Sends what can be sent at once, closes and frees; the session is not told. */
void conn_free(struct conn *c);
int conn_fd(const struct conn *c);

/* Negative errno. */
int listener_new(struct transport *t, const char *path, mode_t mode, bool admin, struct partition *p,
                 struct listener **ret);
/* Of a partition that was made for a container: tells the service when that has ended. */
void listener_watch(struct listener *l);
/* From when the service has begun. */
void listener_start(struct listener *l);
void listener_free(struct listener *l, bool keep_file);
void listeners_rest(struct transport *t);

/* Who is at the other end: 0, or negative errno. Groups are the caller's to free. */
int peer_read(int fd, struct service_peer *ret, uint32_t **ret_groups);
/* SIGKILL for the process at the other end. -ESRCH: it is gone. */
int peer_kill(int fd);
/* Is it in the group? (gid_t)-1 is none. */
bool peer_is_in(const struct service_peer *peer, gid_t gid);
/* May this peer administer? The one place that says so. */
bool peer_may_administer(const struct service_peer *peer, gid_t admin_gid);
