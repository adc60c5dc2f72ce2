#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct service;
struct service_hooks;
struct service_kept;
struct service_reloaded;
struct transport;

/*
 * Sockets around the service, on libev. A turn of the loop serves who is ready in rounds, a packet of each session at
 * most before its reply has left, and no more operations than a turn may have (core/turns.h says who is next). After
 * each round the service commits, and replies leave.
 *
 * What keeps descriptors over a restart is the caller's.
 */
struct transport_given {
        char path[108];
        int fd; /* listens there already */
};

struct transport_options {
        const char *runtime_dir;
        /* Sockets that somebody else (systemd) opened, and whose files are his. The transport closes them. */
        const struct transport_given *given;
        size_t given_count;
        /* Called so often while the loop turns; 0: never. */
        uint64_t beat_ms;
        void (*beat)(void *userdata);
        uint64_t queued_most; /* bytes that wait for a user; 0: no bound */
        gid_t reader_gid;     /* may ask for figures over any socket; (gid_t)-1: nobody but administrators */
        gid_t admin_gid;      /* may administer, beside root and svmd's own user; (gid_t)-1: nobody else */
        void *userdata;
        int (*keep)(void *userdata, uint64_t key, int fd);
        void (*unkeep)(void *userdata, uint64_t key);
        /* Once a turn, before replies leave. */
        void (*before_sleep)(void *userdata);
        /* As in struct service_hooks. When `upgrade` gives 0, transport_run() returns after the turn. */
        int (*upgrade_check)(void *userdata, const char *binary, bool keeper, char *why, size_t why_size);
        int (*upgrade)(void *userdata, const char *binary, bool keeper, char *why, size_t why_size);
        /* Likewise; SIGHUP reloads, too. */
        int (*reload_read)(void *userdata, void **ret, char *why, size_t why_size);
        int (*reload)(void *userdata, void *read, struct service_reloaded *ret);
};

int transport_new(struct transport **ret, const struct transport_options *options);
/* What the service needs to be given. */
void transport_hooks(struct transport *t, struct service_hooks *hooks);
/* Descriptors of an earlier svmd, for the listeners that the service asks for while it starts. */
void transport_set_kept(struct transport *t, struct service_kept *kept, size_t count);
/* The service has started: opens svmd.sock and admin.sock, resumes kept sessions. `why` gets a sentence. */
int transport_start(struct transport *t, struct service *svc, char *why, size_t why_size);
enum {
        TRANSPORT_E_KEEP,    /* SIGTERM: what is there is kept for the next svmd */
        TRANSPORT_E_END,     /* SIGINT: it ends */
        TRANSPORT_E_UPGRADE, /* everything has left; may be run again */
};
int transport_run(struct transport *t);
/* Calls `fn` when `fd` is readable. One descriptor of each kind at a time. */
enum transport_watched { TRANSPORT_KEEPER, TRANSPORT_DEVICES, TRANSPORT_RESCAN, _TRANSPORT_WATCHED };
void transport_watch(struct transport *t, enum transport_watched what, int fd, void (*fn)(void *userdata),
                     void *userdata);
void transport_unwatch(struct transport *t, enum transport_watched what);
/* After the service is gone. `keep_sockets`: socket files stay for the next svmd. */
void transport_free(struct transport *t, bool keep_sockets);
