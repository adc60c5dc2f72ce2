#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/tree.h"
#include "core/ids.h"
#include "core/name.h"

struct state;
struct partition;
struct domain;
struct account;
struct cgroup;
struct device_events;
struct give_back;
struct grant_failed;
struct managed_limits;

/*
 * Whom bounds are for, so that nobody takes what others need: a user of the host, or whoever comes through a
 * partition's own socket, all users of that container together. Root of a container may be root of the host by its
 * number; here it is not.
 */
uint64_t party_of(uint32_t uid, const struct partition *door);

/* Sessions of one process, or of one party: of a process the attached ones are in one domain. */
struct peer {
        struct tree_node node;
        uint64_t number; /* pid or party */
        uint64_t sessions, attached;
        struct domain *domain; /* while one is attached */
        struct tree *in;
        struct device_events *events; /* of a process; NULL: no driver told of it */
        uint64_t fds;                 /* of a party: that svmd keeps for it, beside those that each session has */
};

/* One connection of one process; once attached, to a partition. Idle it is this struct and its groups. */
struct session {
        struct object object;
        struct partition *partition; /* NULL: not attached */
        struct partition *door;      /* the one whose own socket it came through */
        bool guest;                  /* attached to another one: share.h */
        struct list by_partition, by_state;
        struct list reservations; /* owned: struct reservation.by_owner */
        struct list openings;     /* of others' named reservations */
        struct list holdings;     /* of memory */
        struct list spaces, files, fences;
        struct list leases; /* the service's: struct lease */
        struct list grants; /* struct grant */
        uint64_t grants_count;
        struct grant_failed *grants_failed; /* made with the first grant */
        struct list orders;                 /* the service's: fences whose turn has not come */
        uint32_t orders_out;
        struct account *accounts; /* one a node, made with the first charge */
        struct cgroup *cgroup;    /* with limits, that its process is in */
        char *cgroup_path;        /* of the process; NULL: not known */
        uint64_t cgroup_looked;   /* the service's: when it was read */
        struct credentials who;
        struct peer *process, *party;
        struct give_back *give_backs; /* as of a partition */
        uint32_t pid;
        bool admin, monitor, resumed;
        bool monitor_seldom; /* not each move */
        bool reader;         /* may ask what administrators may ask for figures */
        bool waiting;        /* a request of it waits for a job */
        bool ending;         /* it is released as soon as that job is done */
        bool end_noted;      /* the journal has its end */
        char *client;
        uint64_t objects; /* counted against its quota */
        uint64_t reservations_count, memories_count, spaces_count, fences_count;
        uint64_t registered; /* bytes of its own memory that devices may reach */
        uint64_t requests, refusals, dropped, dropped_total;
        uint64_t last_request;
        void *connection; /* the transport's */
        void *replies;    /* the service's: answers that may be asked for again */
        void *managed;    /* the service's: struct managed_client, of one that has to do with managed ranges */
        struct managed_limits *managed_limits; /* the service's: of one with limits */
        void *trace;                           /* the mover's: struct mover_trace, of one that records */
        void *usage;                           /* the service's: struct track, once it is attached */
        void *asker;                           /* the service's: struct asker, of one that has administered */
        void *devices; /* the service's: struct private_client, of one that gave files of devices */
};

struct session_args {
        uint64_t id;
        uint32_t pid;
        struct credentials who; /* groups are copied */
        bool admin, reader;
        struct partition *door; /* NULL: it is one of the host */
};

int session_new(struct session **ret, struct state *s, const struct session_args *args);
/* Descriptors that svmd keeps for a party: counted, and counted no more. Who has some stays when his last session has
 * gone. NULL: nobody's. */
void peer_take_fds(struct peer *p, uint32_t n);
void peer_drop_fds(struct peer *p, uint32_t n);
/* The process that has sessions and this number; NULL: there is none. */
struct peer *session_process(const struct state *s, uint32_t pid);
/* Where to count what drivers tell of it, made with the first event. NULL: out of memory. */
struct device_events *peer_events(struct peer *p);
/* How many sessions a party has. */
uint64_t sessions_of_party(const struct state *s, uint64_t party);
/* The domain that the process of this session is attached in by another of its sessions, or NULL. */
struct domain *session_other_domain(const struct session *session);
/* Nothing may be left in it. */
void session_free(struct state *s, struct session *session);
/* -ENOMEM */
int session_set_client(struct session *session, const char *client);
/* As a guest if it came through another one's door. */
void session_attach(struct session *session, struct partition *p);
/* Explicit memory that is charged to it there, in bytes; one that has not attached has none. */
uint64_t session_used(const struct session *s, uint32_t node);
/* Of one that is attached, after a restart; NULL: that partition is no more. -ENOMEM. */
int session_restore_door(struct state *s, struct session *session, struct partition *door);
/* Makes the accounts if need be, and returns the one of the node; NULL: out of memory. */
struct account *session_account(struct state *s, struct session *session, uint32_t node);
