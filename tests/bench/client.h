#pragma once

#include "bench.h"
#include "proto/codec.h"
#include "proto/limits.h"

/* A lean client: one thread that sends a request and waits for its reply, with the codec and the socket calls that
 * libsvmd uses. Whatever svmd refuses ends the program. */
struct client {
        int socket;
        uint64_t id; /* of the last request */
        struct arena arena;
        size_t sent, received;     /* bytes of the last request and its reply */
        uint8_t *buffer;           /* SVMD_PACKET_MAX bytes */
        Svmd__V1__GrantDone *done; /* rides on the next request; NULL: nothing does */
};

/* Greeted, and attached to the caller's default partition. */
void client_open(struct client *c, const char *runtime_dir);
/* Greeted over the admin socket, attached to nothing. */
void client_open_admin(struct client *c, const char *runtime_dir);
void client_close(struct client *c);

/* A request in the making. */
struct vector {
        size_t count;
        Svmd__V1__Op op[SVMD_OPS_MAX], *ops[SVMD_OPS_MAX];
        union {
                Svmd__V1__Reserve reserve;
                Svmd__V1__Free free;
                Svmd__V1__MemCreate mem_create;
                Svmd__V1__MemRelease mem_release;
                Svmd__V1__PartitionCreate partition_create;
                Svmd__V1__SpaceCreate space_create;
                Svmd__V1__Map map;
                Svmd__V1__Status status;
                Svmd__V1__Nodes nodes;
                Svmd__V1__Admit admit;
                Svmd__V1__LeaseRelease lease_release;
                Svmd__V1__Advise advise;
                Svmd__V1__AdviceQuery advice_query;
                Svmd__V1__GrantAsk grant_ask;
        } body[SVMD_OPS_MAX];
};

void vector_reserve(struct vector *v, uint64_t size);
void vector_free(struct vector *v, uint64_t reservation);
void vector_mem_create(struct vector *v, uint32_t node, uint64_t size);
void vector_mem_release(struct vector *v, uint64_t memory);
/* `name` and `limits` must live until the vector is sent. */
void vector_partition(struct vector *v, char *name, uint64_t size, Svmd__V1__NodeLimit **limits, size_t count);
void vector_space_create(struct vector *v, uint32_t node);
void vector_map(struct vector *v, const Svmd__V1__Map *map);
void vector_status(struct vector *v);
void vector_nodes(struct vector *v);
/* Of one node; `need` must live until the vector is sent. Waits for ever. */
void vector_admit(struct vector *v, Svmd__V1__LeaseNeed **need);
/* A managed one, and advice about it. */
void vector_range(struct vector *v, uint64_t size, uint32_t granule);
void vector_prefer(struct vector *v, uint64_t address, uint64_t size, uint32_t node);
void vector_advice_query(struct vector *v, uint64_t address);
void vector_lease_release(struct vector *v, uint64_t lease);
/* To allocate so much. */
void vector_grant(struct vector *v, uint32_t node, uint64_t bytes);

/* Sends the vector, empties it, and waits. The reply is valid until the next call. */
const Svmd__V1__Reply *client_call(struct client *c, struct vector *v);
/* The two halves of it, for who has several clients. What comes is a reply or an event; nothing is refused. */
void client_send(struct client *c, struct vector *v);
const Svmd__V1__Packet *client_receive(struct client *c);
/* The id that the first node of that kind has, and what is used of all nodes. */
uint32_t client_find_node(struct client *c, Svmd__V1__NodeKind kind);
uint64_t client_used_bytes(struct client *c);
/* Valid until the next call. */
const Svmd__V1__StatusResult *client_status(struct client *c);
