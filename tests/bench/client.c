#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/fdlist.h"
#include "proto/socket.h"

/* ---- vectors ---- */

static size_t add(struct vector *v, Svmd__V1__Op__OpCase op_case) {
        size_t i = v->count++;

        must(i < SVMD_OPS_MAX, "a vector has more operations than fit in");
        svmd__v1__op__init(&v->op[i]);
        v->op[i].op_case = op_case;
        v->op[i].hello = (void *)&v->body[i]; /* all members of the union are pointers */
        v->ops[i] = &v->op[i];
        return i;
}

void vector_reserve(struct vector *v, uint64_t size) {
        size_t i = add(v, SVMD__V1__OP__OP_RESERVE);

        svmd__v1__reserve__init(&v->body[i].reserve);
        v->body[i].reserve.size = size;
}

void vector_free(struct vector *v, uint64_t reservation) {
        size_t i = add(v, SVMD__V1__OP__OP_FREE);

        svmd__v1__free__init(&v->body[i].free);
        v->body[i].free.reservation = reservation;
}

void vector_mem_create(struct vector *v, uint32_t node, uint64_t size) {
        size_t i = add(v, SVMD__V1__OP__OP_MEM_CREATE);

        svmd__v1__mem_create__init(&v->body[i].mem_create);
        v->body[i].mem_create.node = node;
        v->body[i].mem_create.size = size;
}

void vector_mem_release(struct vector *v, uint64_t memory) {
        size_t i = add(v, SVMD__V1__OP__OP_MEM_RELEASE);

        svmd__v1__mem_release__init(&v->body[i].mem_release);
        v->body[i].mem_release.memory = memory;
}

void vector_partition(struct vector *v, char *name, uint64_t size, Svmd__V1__NodeLimit **limits, size_t count) {
        Svmd__V1__PartitionCreate *m = &v->body[add(v, SVMD__V1__OP__OP_PARTITION_CREATE)].partition_create;

        svmd__v1__partition_create__init(m);
        m->name = name;
        m->size = size;
        m->limits = limits;
        m->n_limits = count;
}

void vector_space_create(struct vector *v, uint32_t node) {
        size_t i = add(v, SVMD__V1__OP__OP_SPACE_CREATE);

        svmd__v1__space_create__init(&v->body[i].space_create);
        v->body[i].space_create.node = node;
}

void vector_map(struct vector *v, const Svmd__V1__Map *map) {
        v->body[add(v, SVMD__V1__OP__OP_MAP)].map = *map;
}

void vector_status(struct vector *v) {
        svmd__v1__status__init(&v->body[add(v, SVMD__V1__OP__OP_STATUS)].status);
}

void vector_nodes(struct vector *v) {
        svmd__v1__nodes__init(&v->body[add(v, SVMD__V1__OP__OP_NODES)].nodes);
}

void vector_admit(struct vector *v, Svmd__V1__LeaseNeed **need) {
        size_t i = add(v, SVMD__V1__OP__OP_ADMIT);

        svmd__v1__admit__init(&v->body[i].admit);
        v->body[i].admit.n_needs = 1;
        v->body[i].admit.needs = need;
        v->body[i].admit.wait_ms = UINT64_MAX;
}

void vector_lease_release(struct vector *v, uint64_t lease) {
        size_t i = add(v, SVMD__V1__OP__OP_LEASE_RELEASE);

        svmd__v1__lease_release__init(&v->body[i].lease_release);
        v->body[i].lease_release.lease = lease;
}

void vector_range(struct vector *v, uint64_t size, uint32_t granule) {
        vector_reserve(v, size);
        v->body[v->count - 1].reserve.kind = SVMD__V1__RESERVATION_KIND__SHARED;
        v->body[v->count - 1].reserve.granule = granule;
}

void vector_prefer(struct vector *v, uint64_t address, uint64_t size, uint32_t node) {
        size_t i = add(v, SVMD__V1__OP__OP_ADVISE);

        svmd__v1__advise__init(&v->body[i].advise);
        v->body[i].advise.address = address;
        v->body[i].advise.size = size;
        v->body[i].advise.what = SVMD__V1__ADVICE_WHAT__ADVICE_PREFERRED;
        v->body[i].advise.preferred = node + 1;
}

void vector_advice_query(struct vector *v, uint64_t address) {
        size_t i = add(v, SVMD__V1__OP__OP_ADVICE_QUERY);

        svmd__v1__advice_query__init(&v->body[i].advice_query);
        v->body[i].advice_query.address = address;
}

void vector_grant(struct vector *v, uint32_t node, uint64_t bytes) {
        Svmd__V1__GrantAsk *m = &v->body[add(v, SVMD__V1__OP__OP_GRANT_ASK)].grant_ask;

        svmd__v1__grant_ask__init(m);
        m->node = node;
        m->operations = SVMD__V1__GRANT_OPERATION__GRANT_ALLOC;
        m->bytes = bytes;
}

/* ---- calls ---- */

static void send_request(struct client *c, Svmd__V1__Op **ops, size_t count) {
        Svmd__V1__Request request = SVMD__V1__REQUEST__INIT;
        ssize_t n;
        int r;

        request.id = ++c->id;
        request.n_ops = count;
        request.ops = ops;
        request.n_done = c->done != NULL;
        request.done = &c->done;
        n = encode_request(&request, c->buffer, SVMD_PACKET_MAX);
        must(n > 0, "a request of %zu operations does not fit into a packet", count);
        c->sent = (size_t)n;
        r = packet_send(c->socket, c->buffer, c->sent, NULL, 0);
        errno = -r;
        must(r == 0, "svmd takes no request");
        c->done = NULL;
}

static const Svmd__V1__Packet *receive(struct client *c) {
        const Svmd__V1__Packet *p;
        struct fdlist fds;
        ssize_t n;

        fdlist_init(&fds);
        n = packet_recv(c->socket, c->buffer, SVMD_PACKET_MAX, &fds, 0);
        errno = n < 0 ? (int)-n : 0;
        must(n > 0, "svmd sends no reply");
        fdlist_close(&fds);
        arena_reset(&c->arena);
        p = decode_packet(&c->arena, c->buffer, (size_t)n);
        must(p != NULL, "svmd sent what is no packet");
        c->received = (size_t)n;
        return p;
}

const Svmd__V1__Packet *client_receive(struct client *c) {
        const Svmd__V1__Packet *p = receive(c);

        for (size_t i = 0; p->packet_case == SVMD__V1__PACKET__PACKET_REPLY && i < p->reply->n_results; i++)
                must(p->reply->results[i]->code == 0, "svmd refused: %s", p->reply->results[i]->text);
        return p;
}

static const Svmd__V1__Reply *call(struct client *c, Svmd__V1__Op **ops, size_t count) {
        const Svmd__V1__Packet *p;

        send_request(c, ops, count);
        do
                p = client_receive(c);
        while (p->packet_case != SVMD__V1__PACKET__PACKET_REPLY);
        return p->reply;
}

void client_send(struct client *c, struct vector *v) {
        send_request(c, v->ops, v->count);
        v->count = 0;
}

const Svmd__V1__Reply *client_call(struct client *c, struct vector *v) {
        const Svmd__V1__Reply *reply = call(c, v->ops, v->count);

        v->count = 0;
        return reply;
}

/* ---- sessions ---- */

static void open_socket(struct client *c, const char *runtime_dir, const char *name) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };

        memset(c, 0, sizeof(*c));
        arena_init(&c->arena);
        c->buffer = malloc(SVMD_PACKET_MAX);
        must(c->buffer != NULL, "no memory for a packet");
        must(snprintf(a.sun_path, sizeof(a.sun_path), "%s/%s", runtime_dir, name) < (int)sizeof(a.sun_path),
             "the path of the socket is too long: %s/%s", runtime_dir, name);
        c->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        must(c->socket >= 0, "no socket could be made");
        must(connect(c->socket, (const struct sockaddr *)&a, sizeof(a)) == 0, "nobody listens on %s", a.sun_path);
}

static void greet(struct client *c) {
        Svmd__V1__Hello hello = SVMD__V1__HELLO__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT, *ops = &op;

        hello.min_version = hello.max_version = SVMD_PROTOCOL_VERSION;
        hello.client = (char *)"bench";
        op.op_case = SVMD__V1__OP__OP_HELLO;
        op.hello = &hello;
        call(c, &ops, 1);
}

void client_open(struct client *c, const char *runtime_dir) {
        Svmd__V1__Attach attach = SVMD__V1__ATTACH__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT, *ops = &op;

        open_socket(c, runtime_dir, "svmd.sock");
        greet(c);
        op.op_case = SVMD__V1__OP__OP_ATTACH;
        op.attach = &attach;
        call(c, &ops, 1);
}

void client_open_admin(struct client *c, const char *runtime_dir) {
        open_socket(c, runtime_dir, "admin.sock");
        greet(c);
}

void client_close(struct client *c) {
        close(c->socket);
        arena_fini(&c->arena);
        free(c->buffer);
}

/* ---- questions ---- */

static const Svmd__V1__Result *ask(struct client *c, struct vector *v) {
        const Svmd__V1__Reply *reply = client_call(c, v);

        must(reply->n_results == 1 && !reply->results[0]->more, "svmd did not answer a question with one page");
        return reply->results[0];
}

static const Svmd__V1__NodesResult *nodes(struct client *c) {
        static struct vector v;

        vector_nodes(&v);
        return ask(c, &v)->nodes;
}

uint32_t client_find_node(struct client *c, Svmd__V1__NodeKind kind) {
        const Svmd__V1__NodesResult *n = nodes(c);

        for (size_t i = 0; i < n->n_nodes; i++)
                if (n->nodes[i]->kind == kind)
                        return n->nodes[i]->id;
        must(false, "svmd has no node of kind %d", (int)kind);
        return 0;
}

uint64_t client_used_bytes(struct client *c) {
        const Svmd__V1__NodesResult *n = nodes(c);
        uint64_t used = 0;

        for (size_t i = 0; i < n->n_nodes; i++)
                used += n->nodes[i]->used;
        return used;
}

const Svmd__V1__StatusResult *client_status(struct client *c) {
        static struct vector v;

        vector_status(&v);
        return ask(c, &v)->status;
}
