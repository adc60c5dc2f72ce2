#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/node.h"
#include "proto/codec.h"
#include "proto/fdlist.h"
#include "service/internal.h"

/*
 * A whole service in the process of the test: a real store in a folder of its own, soft devices with their threads, and
 * hooks that collect what would have left by sockets. What would be in svmd-keeper's hands is in a table, so another
 * service can take over from it.
 */
struct world {
        char dir[64];
        struct machine machine;
        struct service_options options;
        struct store *store;
        struct service *svc;
        int wake; /* eventfd */
        bool soon;
        uint64_t wake_in_ms; /* what was asked for last */
        bool timer;          /* since the last wait, which it ends */
        struct kept_row {
                uint64_t key;
                int fd;
        } * kept;
        size_t kept_count;
        bool fail_keep_session;
        unsigned fail_keep; /* so many descriptors from now the keeper takes no more; 0: it takes all */
        uint64_t events;
};

enum { HOST0, GPU0, GPU1, GPU2, NODES };

/* What came of grants with the next request of the client; as many as `count`, which live until then. */
void client_rides(Svmd__V1__GrantDone **done, size_t count);

/* Devices for private memory that the next world has behind those, ended by NULL: dev0 ... NULL: none. */
extern const char *const *world_private;
/* Other nodes, behind those, and links, which the next world has. NULL: none. */
extern void (*world_shape)(struct machine *m);
/* What the next world's decisions go by; NULL: policy's default. */
extern const struct policy_profile *world_policy;

/* What one connection has got. */
struct client {
        struct world *world;
        struct session *session; /* NULL: gone */
        uint64_t id, request;
        uint32_t pid, uid, gid;
        uint32_t groups[4], groups_count;
        bool admin, kicked;
        uint8_t *packet; /* the last reply */
        size_t packet_size;
        bool answered;
        struct fdlist fds; /* that came with it */
        struct arena arena;
        Svmd__V1__Reply *reply;
        struct client_event {
                unsigned kind; /* Svmd__V1__Event__EventCase */
                uint64_t id, generation, dropped, bytes;
                unsigned code;
                bool gone;
        } events[64];
        unsigned events_count;
        bool deaf; /* takes no events */
};

/* `journal`: bytes, 0 for 64 MiB. */
void world_open(struct world *w, uint64_t journal);
/* With other sizes of its nodes. */
void world_open_sized(struct world *w, uint64_t journal, const uint64_t *capacity);
void world_close(struct world *w);
/* A svmd that was killed and its successor: a second service over what is in the table. Clients' sessions move to it
 * by their ids; those that it does not know are gone. Returns the old one, whose hooks are dead: world_bury() it. */
struct service *world_restart(struct world *w, struct client **clients, size_t count);
/* The same, after which everything has to be as it was (digest()). */
struct service *world_restart_as_was(struct world *w, struct client **clients, size_t count);
void world_bury(struct service *old);
/* Ends the service, and leaves the table as it is; then another one takes over from it. Where that one cannot start,
 * which its result says with a sentence, there is none. */
void world_stop(struct world *w);
int world_take_over(struct world *w, char *why, size_t why_size);
/* For the table, while there is no service: `fd` (-1: a session) is taken over. */
void world_keeps(struct world *w, uint64_t key, int fd);
void world_keeps_nothing(struct world *w);
/* Until all jobs are done and nothing waits. */
void world_settle(struct world *w);
/* Until something has happened. */
void world_wait(struct world *w);

void client_open(struct world *w, struct client *c, uint32_t uid, uint32_t gid, bool admin);
/* With groups, a pid, or through a partition's own socket. 0 or SERVICE_E_REFUSED. */
int client_open_as(struct world *w, struct client *c, const struct service_peer *peer);
void client_close(struct client *c);
/* Hello, and attach to `partition` ("" default, NULL not at all). */
void client_greet(struct client *c, const char *partition);

/* Sends one request; NULL when the session ended instead of answering. Ids are filled in. `fds` are taken. */
Svmd__V1__Reply *client_send(struct client *c, Svmd__V1__Mode mode, Svmd__V1__Op **ops, size_t count, const int *fds,
                             size_t fds_count);
/* Only hands it over, without waiting for jobs. */
int client_post(struct client *c, Svmd__V1__Mode mode, Svmd__V1__Op **ops, size_t count);
void client_await(struct client *c);
int client_raw(struct client *c, const void *bytes, size_t size, const int *fds, size_t fds_count);
/* One operation, BEST_EFFORT. */
Svmd__V1__Result *client_call(struct client *c, Svmd__V1__Op *op);

#define OP(CASE, member, message)                                                                                      \
        (&(Svmd__V1__Op){                                                                                              \
                .base = { .descriptor = &svmd__v1__op__descriptor },                                                   \
                .op_case = SVMD__V1__OP__OP_##CASE,                                                                    \
                .member = (message),                                                                                   \
        })

/* Short forms; each returns the operation, which lives until ops_reset(). Texts must live as long. */
void ops_reset(void);
Svmd__V1__Op *op_make(unsigned op_case);
Svmd__V1__Op *mk_reserve(uint64_t size, uint64_t align, uint64_t address, const char *name, uint32_t mode);
Svmd__V1__Op *mk_open(const char *name, uint32_t access);
Svmd__V1__Op *mk_free(uint64_t reservation);
Svmd__V1__Op *mk_create(uint32_t node, uint64_t size, uint32_t flags);
Svmd__V1__Op *mk_release(uint64_t memory);
Svmd__V1__Op *mk_export(uint64_t memory, const char *name, uint32_t mode, uint32_t access);
Svmd__V1__Op *mk_import(const char *name, uint32_t access);
Svmd__V1__Op *mk_dmabuf_import(uint64_t size, uint32_t node);
Svmd__V1__Op *mk_mem_dmabuf(uint64_t memory);
Svmd__V1__Op *mk_cuda_attach(uint32_t node);
Svmd__V1__Op *mk_cuda_map(uint64_t reservation, uint32_t node, uint32_t first, uint32_t count);
Svmd__V1__Op *mk_mem_fd(uint64_t memory, uint32_t access);
Svmd__V1__Op *mk_map(uint64_t space, uint64_t address, uint64_t size, uint64_t memory, uint64_t offset, uint32_t access,
                     uint32_t flags);
Svmd__V1__Op *mk_unmap(uint64_t space, uint64_t address, uint64_t size);
Svmd__V1__Op *mk_access(uint64_t space, uint64_t address, uint64_t size, uint32_t access);
Svmd__V1__Op *mk_attributes(uint64_t space, uint64_t address, uint64_t size, uint32_t pat, uint32_t kind);
Svmd__V1__Op *mk_sparse(uint64_t space, uint64_t address, uint64_t size, uint32_t writes);
Svmd__V1__Op *mk_unsparse(uint64_t space, uint64_t address, uint64_t size);
Svmd__V1__Op *mk_space(uint32_t node);
Svmd__V1__Op *mk_destroy(uint64_t space);
Svmd__V1__Op *mk_submit(uint64_t space, uint32_t op, uint64_t dst, uint64_t src, uint64_t size, uint64_t value,
                        bool notify);
Svmd__V1__Op *mk_partition(const char *name, uint64_t size, const char *domain, uint32_t uid, uint32_t mode);
Svmd__V1__Op *mk_bound(const char *partition, uint32_t node, unsigned bound, uint64_t bytes);
Svmd__V1__Op *mk_limit(const char *partition, uint32_t node, uint64_t max);
/* Of a session, or of the control group `cgroup` where that is not NULL. */
Svmd__V1__Op *mk_own_limit(uint64_t session, const char *cgroup, uint32_t node, unsigned bound, uint64_t bytes);
Svmd__V1__Op *mk_kept_max(const char *partition, uint64_t max);
Svmd__V1__Op *mk_keep(uint64_t reservation, uint64_t memory, uint64_t seconds);
Svmd__V1__Op *mk_unkeep(uint64_t reservation, uint64_t memory);
Svmd__V1__Op *mk_kept_list(const char *partition);
Svmd__V1__Op *mk_kept_remove(const char *partition, Svmd__V1__KeptKind kind, const char *name);
/* On one node, or two. */
Svmd__V1__Op *mk_admit(uint32_t node, uint64_t size, uint64_t wait_ms);
Svmd__V1__Op *mk_admit_two(uint32_t node, uint64_t size, uint32_t other, uint64_t other_size, uint64_t wait_ms);
Svmd__V1__Op *mk_grant(uint32_t node, uint32_t operations, uint64_t bytes);
Svmd__V1__Op *mk_grant_done(uint64_t grant, uint64_t generation, uint32_t error, uint64_t gone);
Svmd__V1__Op *mk_grant_list(const char *partition);
Svmd__V1__Op *mk_lease_release(uint64_t lease);
Svmd__V1__Op *mk_lease_list(const char *partition);
Svmd__V1__Op *mk_holders(const char *partition);
Svmd__V1__Op *mk_history(unsigned by, uint64_t since, uint64_t until);
Svmd__V1__Op *mk_drift(void);
Svmd__V1__Op *mk_lease_keep(uint64_t lease, const char *name, uint64_t seconds);
Svmd__V1__Op *mk_lease_claim(const char *name);
Svmd__V1__Op *mk_lease_fill(uint64_t memory, uint64_t lease);
Svmd__V1__Op *mk_create_leased(uint32_t node, uint64_t size, uint64_t lease);
/* In any window. */
Svmd__V1__Op *mk_attach(const char *partition);
/* Of the session's own partition. */
Svmd__V1__Op *mk_share(const char *name, bool memory, const char *to, uint32_t access);
/* A setting of that kind; what does not belong to it NULL or 0. And taken back; and the list. */
Svmd__V1__Op *mk_set(unsigned kind, const char *name, const char *other, const char *profile, uint64_t rate);
Svmd__V1__Op *mk_unset(unsigned kind, const char *name, const char *other);
Svmd__V1__Op *mk_policy(uint32_t from);
Svmd__V1__Op *mk_delete(const char *partition, bool end_sessions);

/* All that a restart must keep, as text; the caller frees it. `all`: also what it need not (sessions that have not
 * attached, fences). */
char *digest(struct world *w, bool all);
/* state_check(), and each device's page table against its space. */
void check_world(struct world *w);
/* Bytes that the ledger says are used on the node, and those that its files have taken. After world_settle(). */
uint64_t ledger_bytes(struct world *w, uint32_t node);
uint64_t file_bytes(struct world *w, uint32_t node);
