#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "core/imap.h"

/*
 * Private managed reservations: what the service keeps of them beside core's objects. Their pages are anonymous memory
 * of their session's process; svmd asks drivers to move them, by files of devices that the process gave, and looks.
 *
 *      session --devices--> private_client: its lane, and the files that it gave
 *      reservation --own--> private_range: what was seen of its pages, and where they are preferred
 *
 * Nothing is charged: bytes on a node are what was seen there.
 */
struct call;
struct lane;
struct lanes;
struct places;
struct reservation;
struct service;
struct session;

struct private_range {
        struct reservation *reservation;
        struct places *places;
        struct imap preferred; /* address -> node + 1 */
        uint64_t adviser;      /* the session that spoke last, or 0 */
        struct list link;      /* in private_state.ranges */
};

#define PRIVATE_DEVICES 16 /* of a session */
struct private_client {
        struct lane *lane; /* NULL in a replay */
        struct private_device {
                uint64_t id; /* by which the keeper holds the file */
                uint32_t node;
                bool moves;        /* memory of the process; else it is there for page tables (drm.h) */
        } device[PRIVATE_DEVICES]; /* the file's number in the lane */
        unsigned count;
        struct list tables; /* drm_table: page tables in its files of DRM devices */
};

/* In struct service. */
struct private_state {
        struct lanes *lanes;
        struct list ranges;
};

int private_init(struct service *svc);
void private_fini(struct service *svc);
/* Takes what lanes have done. */
void private_collect(struct service *svc);

/* NULL: it is of another kind. */
struct private_range *private_of(const struct reservation *r);
/* Hangs it on the reservation. -ENOMEM. */
int private_begin(struct service *svc, struct reservation *r);
/* With the reservation. */
void private_end(struct service *svc, struct reservation *r);
/* The session's; made with its first device. NULL: out of memory. */
struct private_client *private_client_of(struct session *s);
/* NULL is allowed; -1: it gave none of that node. */
int private_device_of(const struct private_client *k, uint32_t node);
/* Whether it gave a file by which its memory is seen and moved. NULL is allowed. */
bool private_moves(const struct private_client *k);
/* With its session. */
void private_client_free(struct service *svc, struct session *s);
/* Takes `fd` over on success. -errno. */
int private_add_device(struct service *svc, struct private_client *k, uint64_t id, uint32_t node, int fd);

/* The node that stands for system memory: which one a page lies on the kernel decides. */
uint32_t private_host_node(const struct service *svc);
/* Bytes of all ranges that were seen on the node. */
uint64_t private_seen(const struct service *svc, uint32_t node);
/* The same of one range. */
uint64_t private_range_seen(const struct private_range *p, uint32_t node);
/* Bytes of the range that were seen in memory of any kind. */
uint64_t private_held(const struct private_range *p);

/* Memory that the session has registered as private: outside of its partition. NULL: none is there. */
struct reservation *private_outside(const struct service *svc, const struct session *s, uint64_t address);
bool private_overlaps(const struct service *svc, const struct session *s, uint64_t address, uint64_t size);
/* Makes it, whose place was checked, and ends it: 0, OP_REFUSED, -ENOMEM. */
int private_begin_outside(struct call *c, uint64_t address, uint64_t size);
int private_unregister(struct call *c, struct reservation *r);
/* Why a private reservation cannot have what the call's operation asks for. OP_REFUSED. */
int private_refuse(struct call *c, const struct reservation *r);

/* The pieces of operations that shared ranges have too: 0, OP_REFUSED, -errno; or what lies there is not private. */
#define PRIVATE_OTHER 8
int private_migrate(struct call *c);
int private_advise(struct call *c);
int private_advice_query(struct call *c);
int private_residency(struct call *c);
/* The private range at the address, of a session that may ask; `size` 0 becomes all of it from there on. */
int private_find(struct call *c, const char *partition, uint64_t address, uint64_t *size, struct private_range **ret);

/* ---- journal ---- */

/* For a snapshot: behind the reservation, and behind the session. */
int private_put(struct service *svc, const struct private_range *p);
int private_put_client(struct service *svc, const struct session *s);
int private_replay(struct service *svc, uint16_t type, const void *bytes, char *why, size_t why_size);
/* Behind the replay: what the keeper held of sessions is theirs again. A file that it had not is gone, which is no
 * failure: its process may give it again. */
int private_restore(struct service *svc, char *why, size_t why_size);
