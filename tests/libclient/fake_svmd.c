#include "fake_svmd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "fake_managed.h"
#include "proto/codec.h"
#include "proto/limits.h"
#include "proto/socket.h"

enum { CONNECTIONS = 64, RESERVATIONS = 64, MEMORIES = 256, MAPPINGS = 4096, PAGE_ROWS = 8 };

struct reservation {
        uint64_t id, start, size, generation;
        char name[SVMD_NAME_MAX + 1];
};

struct memory {
        uint64_t id, size;
        int fd;
};

struct mapping {
        uint64_t address, size, memory, offset;
        unsigned access;
};

struct fake {
        pthread_t thread;
        pthread_mutex_t lock;
        char dir[64], path[108];
        int listener, stop[2];
        fake_hook hook;
        void *data;
        int conn[CONNECTIONS];
        unsigned conns;
        struct reservation reservation[RESERVATIONS];
        unsigned reservations;
        struct memory memory[MEMORIES];
        unsigned memories;
        struct mapping mapping[MAPPINGS];
        unsigned mappings;
        uint64_t next_id, last_fence, base, next_address;
        struct fake_managed *managed;
        struct fdlist *came; /* with the request that is being answered */
        char log[FAKE_LOG_MAX];
        unsigned log_used;
        unsigned char bytes[SVMD_PACKET_MAX];
};

/* What assert() must not swallow in a release build. */
#define CHECK(x)                                                                                                       \
        do {                                                                                                           \
                if (!(x)) {                                                                                            \
                        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                        \
                        abort();                                                                                       \
                }                                                                                                      \
        } while (0)

/* ---- sending ---- */

static void send_packet(int conn, Svmd__V1__Packet *p, const struct fdlist *fds) {
        unsigned char *bytes = malloc(SVMD_PACKET_MAX);
        ssize_t n;

        CHECK(bytes);
        n = encode_packet(p, bytes, SVMD_PACKET_MAX);
        CHECK(n > 0);
        packet_send(conn, bytes, (size_t)n, fds, 0); /* a client that is gone does not matter */
        free(bytes);
}

static void send_reply(int conn, Svmd__V1__Reply *reply, const struct fdlist *fds) {
        Svmd__V1__Packet p = SVMD__V1__PACKET__INIT;

        p.packet_case = SVMD__V1__PACKET__PACKET_REPLY;
        p.reply = reply;
        send_packet(conn, &p, fds);
}

void fake_reply_all(int conn, uint64_t id, Svmd__V1__Result **results, size_t count) {
        Svmd__V1__Reply reply = SVMD__V1__REPLY__INIT;

        reply.id = id;
        reply.n_results = count;
        reply.results = results;
        send_reply(conn, &reply, NULL);
}

void fake_reply(int conn, uint64_t id, Svmd__V1__Result *result) {
        fake_reply_all(conn, id, &result, 1);
}

void fake_refuse(int conn, const Svmd__V1__Request *q, unsigned code, const char *text) {
        Svmd__V1__Reply reply = SVMD__V1__REPLY__INIT;
        Svmd__V1__Result result = SVMD__V1__RESULT__INIT, *results[SVMD_OPS_MAX];

        result.code = code;
        result.text = (char *)text;
        for (size_t i = 0; i < q->n_ops; i++)
                results[i] = &result;
        reply.id = q->id;
        reply.n_results = q->n_ops;
        reply.results = results;
        send_reply(conn, &reply, NULL);
}

void fake_event(int conn, Svmd__V1__Event *event) {
        Svmd__V1__Packet p = SVMD__V1__PACKET__INIT;

        p.packet_case = SVMD__V1__PACKET__PACKET_EVENT;
        p.event = event;
        send_packet(conn, &p, NULL);
}

void fake_fence_event(int conn, uint64_t fence, unsigned code, uint64_t value) {
        Svmd__V1__Event event = SVMD__V1__EVENT__INIT;
        Svmd__V1__FenceEvent body = SVMD__V1__FENCE_EVENT__INIT;
        Svmd__V1__FenceResult result = SVMD__V1__FENCE_RESULT__INIT;

        result.done = true;
        result.code = code;
        result.value = value;
        result.text = (char *)(code ? "the operation went wrong" : "");
        body.fence = fence;
        body.result = &result;
        event.event_case = SVMD__V1__EVENT__EVENT_FENCE;
        event.fence = &body;
        fake_event(conn, &event);
}

void fake_reservation_event(int conn, uint64_t id, uint64_t generation, bool gone) {
        Svmd__V1__Event event = SVMD__V1__EVENT__INIT;
        Svmd__V1__ReservationEvent body = SVMD__V1__RESERVATION_EVENT__INIT;

        body.reservation = id;
        body.generation = generation;
        body.gone = gone;
        event.event_case = SVMD__V1__EVENT__EVENT_RESERVATION;
        event.reservation = &body;
        fake_event(conn, &event);
}

void fake_epoch_event(int conn, uint64_t epoch) {
        Svmd__V1__Event event = SVMD__V1__EVENT__INIT;
        Svmd__V1__EpochEvent body = SVMD__V1__EPOCH_EVENT__INIT;

        body.epoch = epoch;
        event.event_case = SVMD__V1__EVENT__EVENT_EPOCH;
        event.epoch = &body;
        fake_event(conn, &event);
}

void fake_hang_up(int conn) {
        shutdown(conn, SHUT_RDWR);
}

/* ---- the model, under the lock ---- */

struct outcome {
        Svmd__V1__Result result;
        union {
                Svmd__V1__HelloResult hello;
                Svmd__V1__AttachResult attach;
                Svmd__V1__LayoutResult layout;
                Svmd__V1__FenceResult fence;
        } detail;
        Svmd__V1__Mapping row[PAGE_ROWS], *rows[PAGE_ROWS];
};

static struct reservation *by_id(struct fake *f, uint64_t id) {
        for (unsigned i = 0; i < f->reservations; i++) {
                if (f->reservation[i].id == id)
                        return &f->reservation[i];
        }
        return NULL;
}

static struct reservation *by_name(struct fake *f, const char *name) {
        for (unsigned i = 0; i < f->reservations; i++) {
                if (!strcmp(f->reservation[i].name, name))
                        return &f->reservation[i];
        }
        return NULL;
}

static struct memory *memory_by_id(struct fake *f, uint64_t id) {
        for (unsigned i = 0; i < f->memories; i++) {
                if (f->memory[i].id == id)
                        return &f->memory[i];
        }
        return NULL;
}

static void insert(struct fake *f, struct mapping m) {
        unsigned at = f->mappings;

        CHECK(f->mappings < MAPPINGS);
        while (at && f->mapping[at - 1].address > m.address) {
                f->mapping[at] = f->mapping[at - 1];
                at--;
        }
        f->mapping[at] = m;
        f->mappings++;
}

static void remove_at(struct fake *f, unsigned i) {
        memmove(&f->mapping[i], &f->mapping[i + 1], (--f->mappings - i) * sizeof(f->mapping[0]));
}

static void unmap(struct fake *f, uint64_t start, uint64_t end) {
        for (unsigned i = 0; i < f->mappings;) {
                struct mapping m = f->mapping[i], left = m, right = m;

                if (m.address >= end || m.address + m.size <= start) {
                        i++;
                        continue;
                }
                remove_at(f, i);
                left.size = start > m.address ? start - m.address : 0;
                right.address = end;
                right.size = m.address + m.size > end ? m.address + m.size - end : 0;
                right.offset += end - m.address;
                if (left.size)
                        insert(f, left);
                if (right.size)
                        insert(f, right);
        }
}

static void set_access(struct fake *f, uint64_t start, uint64_t end, unsigned access) {
        struct mapping copy[64];
        unsigned count = 0;

        for (unsigned i = 0; i < f->mappings; i++) {
                struct mapping m = f->mapping[i];
                uint64_t from = m.address > start ? m.address : start;
                uint64_t to = m.address + m.size < end ? m.address + m.size : end;

                if (from >= to)
                        continue;
                CHECK(count < 64);
                copy[count++] = (struct mapping){ from, to - from, m.memory, m.offset + from - m.address, access };
        }
        unmap(f, start, end);
        for (unsigned i = 0; i < count; i++)
                insert(f, copy[i]);
}

static void do_hello(struct fake *f, struct outcome *o) {
        svmd__v1__hello_result__init(&o->detail.hello);
        o->detail.hello.version = SVMD_PROTOCOL_VERSION;
        o->detail.hello.daemon = (char *)"fake";
        o->detail.hello.epoch = 1;
        o->detail.hello.session = f->next_id++;
        o->result.detail_case = SVMD__V1__RESULT__DETAIL_HELLO;
        o->result.hello = &o->detail.hello;
}

static void do_attach(struct fake *f, const Svmd__V1__Attach *a, struct outcome *o) {
        svmd__v1__attach_result__init(&o->detail.attach);
        f->base = a->window == SVMD__V1__WINDOW__LOW ? SVMD_LOW_START : SVMD_PRIMARY_START;
        if (!f->next_address)
                f->next_address = f->base;
        o->detail.attach.partition = a->partition[0] ? a->partition : (char *)"user-1";
        o->detail.attach.start = f->base;
        o->detail.attach.size = SVMD_PARTITION_UNIT;
        o->detail.attach.window = a->window;
        o->detail.attach.domain = (char *)"default";
        o->result.detail_case = SVMD__V1__RESULT__DETAIL_ATTACH;
        o->result.attach = &o->detail.attach;
}

static void tell(const struct reservation *r, Svmd__V1__Result *result) {
        result->id = r->id;
        result->address = r->start;
        result->size = r->size;
        result->generation = r->generation;
}

static void refuse(struct outcome *o, unsigned code, const char *text) {
        o->result.code = code;
        o->result.text = (char *)text;
}

static void do_reserve(struct fake *f, int conn, const Svmd__V1__Reserve *q, struct outcome *o) {
        struct reservation *r = &f->reservation[f->reservations++];

        CHECK(f->reservations < RESERVATIONS);
        *r = (struct reservation){ .id = f->next_id++, .size = q->size, .generation = 1 };
        r->start = q->address ? q->address : f->next_address;
        if (!q->address)
                f->next_address += q->size;
        strcpy(r->name, q->name);
        tell(r, &o->result);
        if (q->kind == SVMD__V1__RESERVATION_KIND__EXPLICIT)
                return;
        fake_managed_add(f->managed, r->id, r->start, r->size, q->granule ? q->granule : (uint32_t)SVMD_PAGE);
        fake_managed_open(f->managed, r->id, conn, 3);
}

static void do_open(struct fake *f, int conn, const Svmd__V1__Open *q, struct outcome *o) {
        const struct reservation *r = by_name(f, q->name);

        if (!r) {
                refuse(o, 10, "there is no reservation of that name");
                return;
        }
        tell(r, &o->result);
        o->result.value = fake_managed_granule(f->managed, r->id);
        if (o->result.value)
                fake_managed_open(f->managed, r->id, conn, q->access);
}

static void do_free(struct fake *f, int conn, const Svmd__V1__Free *q, struct outcome *o) {
        struct reservation *r = by_id(f, q->reservation);

        if (!r) {
                refuse(o, 10, "there is no such reservation");
                return;
        }
        fake_managed_leave(f->managed, r->id, conn);
        if (!r->name[0]) {
                unmap(f, r->start, r->start + r->size);
                fake_managed_remove(f->managed, r->id);
                *r = f->reservation[--f->reservations];
        }
}

static void do_mem_create(struct fake *f, const Svmd__V1__MemCreate *q, struct outcome *o) {
        struct memory *m = &f->memory[f->memories++];

        CHECK(f->memories < MEMORIES);
        *m = (struct memory){ .id = f->next_id++, .size = q->size, .fd = memfd_create("fake", MFD_CLOEXEC) };
        CHECK(m->fd >= 0 && ftruncate(m->fd, (off_t)(q->size + SVMD_PAGE)) == 0);
        o->result.id = m->id;
        o->result.size = m->size;
}

static void do_mem_release(struct fake *f, const Svmd__V1__MemRelease *q) {
        struct memory *m = memory_by_id(f, q->memory);

        if (!m)
                return;
        close(m->fd);
        *m = f->memory[--f->memories];
}

static void do_mem_fd(struct fake *f, const Svmd__V1__MemFd *q, struct outcome *o, struct fdlist *fds) {
        const struct memory *m = memory_by_id(f, q->memory);
        char path[64];
        int fd;

        if (!m) {
                refuse(o, 10, "there is no such memory");
                return;
        }
        snprintf(path, sizeof(path), "/proc/self/fd/%d", m->fd);
        fd = open(path, (q->access & 2 ? O_RDWR : O_RDONLY) | O_CLOEXEC);
        CHECK(fd >= 0 && fdlist_add(fds, fd) == 0);
        o->result.value = SVMD_PAGE; /* the memory does not begin where the file does */
        o->result.size = m->size;
}

static void do_map(struct fake *f, const Svmd__V1__Map *q, struct outcome *o) {
        if (q->space)
                return;
        for (unsigned i = 0; i < f->mappings && !(q->flags & 1); i++) {
                const struct mapping *m = &f->mapping[i];

                if (m->address < q->address + q->size && m->address + m->size > q->address) {
                        refuse(o, 17, "something is mapped there already");
                        return;
                }
        }
        unmap(f, q->address, q->address + q->size);
        insert(f, (struct mapping){ q->address, q->size, q->memory, q->offset, q->access });
}

static void do_layout(struct fake *f, const Svmd__V1__Layout *q, struct outcome *o) {
        const struct reservation *r = by_id(f, q->reservation);
        Svmd__V1__LayoutResult *l = &o->detail.layout;

        if (!r) {
                refuse(o, 10, "there is no such reservation");
                return;
        }
        svmd__v1__layout_result__init(l);
        l->mappings = o->rows;
        for (unsigned i = 0; i < f->mappings; i++) {
                const struct mapping *m = &f->mapping[i];
                Svmd__V1__Mapping *row = &o->row[l->n_mappings];

                if (m->address < q->from || m->address < r->start || m->address >= r->start + r->size)
                        continue;
                if (l->n_mappings == PAGE_ROWS) {
                        o->result.more = true;
                        break;
                }
                svmd__v1__mapping__init(row);
                row->address = m->address;
                row->size = m->size;
                row->memory = m->memory;
                row->offset = m->offset;
                row->access = m->access;
                o->rows[l->n_mappings++] = row;
        }
        o->result.detail_case = SVMD__V1__RESULT__DETAIL_LAYOUT;
        o->result.layout = l;
}

static void do_fence_query(struct outcome *o) {
        svmd__v1__fence_result__init(&o->detail.fence);
        o->result.detail_case = SVMD__V1__RESULT__DETAIL_FENCE;
        o->result.fence = &o->detail.fence;
}

static void do_files(struct fake *f, int conn, const Svmd__V1__RangeFiles *q, struct outcome *o, struct fdlist *fds) {
        const char *why = "";

        o->result.code = fake_managed_files(f->managed, conn, q->reservation, fds, &o->result.size, &why);
        o->result.text = (char *)why;
}

/* The first of them, until somebody looks. */
static void note(struct fake *f, char what) {
        if (f->log_used < FAKE_LOG_MAX - 1)
                f->log[f->log_used++] = what;
}

/* False: it is not about a managed range. */
static bool do_managed(struct fake *f, int conn, const Svmd__V1__Op *op, struct outcome *o, struct fdlist *fds) {
        const char *why = "";

        switch (op->op_case) {
        case SVMD__V1__OP__OP_UFFD_DEVICE:
                note(f, 'd');
                o->result.code = fake_managed_device(fds, &why);
                break;
        case SVMD__V1__OP__OP_UFFD_GIVE:
                note(f, 'g');
                o->result.code = fake_managed_give(f->managed, conn, fdlist_steal(f->came), &why);
                break;
        case SVMD__V1__OP__OP_RANGE_FILES:
                note(f, 'f');
                do_files(f, conn, op->range_files, o, fds);
                return true;
        case SVMD__V1__OP__OP_JOIN:
                note(f, 'j');
                o->result.code = fake_managed_join(f->managed, conn, op->join->reservation, &why);
                break;
        case SVMD__V1__OP__OP_MIGRATE:
        case SVMD__V1__OP__OP_DISCARD:
        case SVMD__V1__OP__OP_REVOKE:
        case SVMD__V1__OP__OP_NODE_SET: o->result.id = f->last_fence = f->next_id++; break;
        case SVMD__V1__OP__OP_PIN: o->result.id = op->pin->off ? 0 : (f->last_fence = f->next_id++); break;
        default: return false;
        }
        o->result.text = (char *)why;
        return true;
}

static void do_op(struct fake *f, int conn, const Svmd__V1__Op *op, struct outcome *o, struct fdlist *fds) {
        svmd__v1__result__init(&o->result);
        if (do_managed(f, conn, op, o, fds))
                return;
        switch (op->op_case) {
        case SVMD__V1__OP__OP_HELLO: do_hello(f, o); break;
        case SVMD__V1__OP__OP_ATTACH: do_attach(f, op->attach, o); break;
        case SVMD__V1__OP__OP_RESERVE:
                note(f, 'r');
                do_reserve(f, conn, op->reserve, o);
                break;
        case SVMD__V1__OP__OP_OPEN:
                note(f, 'o');
                do_open(f, conn, op->open, o);
                break;
        case SVMD__V1__OP__OP_FREE:
                note(f, 'x');
                do_free(f, conn, op->free, o);
                break;
        case SVMD__V1__OP__OP_MEM_CREATE: do_mem_create(f, op->mem_create, o); break;
        case SVMD__V1__OP__OP_MEM_RELEASE: do_mem_release(f, op->mem_release); break;
        case SVMD__V1__OP__OP_MEM_FD: do_mem_fd(f, op->mem_fd, o, fds); break;
        case SVMD__V1__OP__OP_MAP: do_map(f, op->map, o); break;
        case SVMD__V1__OP__OP_UNMAP:
                if (!op->unmap->space)
                        unmap(f, op->unmap->address, op->unmap->address + op->unmap->size);
                break;
        case SVMD__V1__OP__OP_SET_ACCESS:
                set_access(f, op->set_access->address, op->set_access->address + op->set_access->size,
                           op->set_access->access);
                break;
        case SVMD__V1__OP__OP_LAYOUT: do_layout(f, op->layout, o); break;
        case SVMD__V1__OP__OP_FENCE_QUERY: do_fence_query(o); break;
        case SVMD__V1__OP__OP_SUBMIT: o->result.id = f->last_fence = f->next_id++; break;
        default: break;
        }
}

void fake_answer(struct fake *f, int conn, const Svmd__V1__Request *q) {
        struct outcome *o = calloc(q->n_ops, sizeof(*o));
        Svmd__V1__Result *results[SVMD_OPS_MAX];
        Svmd__V1__Reply reply = SVMD__V1__REPLY__INIT;
        struct fdlist fds;

        CHECK(o);
        fdlist_init(&fds);
        pthread_mutex_lock(&f->lock);
        for (size_t i = 0; i < q->n_ops; i++) {
                do_op(f, conn, q->ops[i], &o[i], &fds);
                results[i] = &o[i].result;
        }
        pthread_mutex_unlock(&f->lock);
        reply.id = q->id;
        reply.n_results = q->n_ops;
        reply.results = results;
        send_reply(conn, &reply, &fds);
        fdlist_close(&fds);
        free(o);
}

/* ---- the thread ---- */

static void drop_connection(struct fake *f, unsigned i) {
        fake_managed_end(f->managed, f->conn[i]);
        pthread_mutex_lock(&f->lock);
        close(f->conn[i]);
        f->conn[i] = f->conn[--f->conns];
        pthread_mutex_unlock(&f->lock);
}

static void serve(struct fake *f, unsigned i) {
        struct fdlist fds;
        struct arena arena;
        Svmd__V1__Request *q;
        ssize_t n;

        fdlist_init(&fds);
        arena_init(&arena);
        n = packet_recv(f->conn[i], f->bytes, sizeof(f->bytes), &fds, MSG_DONTWAIT);
        if (n <= 0) {
                if (n != -EAGAIN)
                        drop_connection(f, i);
                return;
        }
        q = decode_request(&arena, f->bytes, (size_t)n);
        CHECK(q);
        f->came = &fds;
        if (!f->hook || !f->hook(f, f->conn[i], q, &fds, f->data))
                fake_answer(f, f->conn[i], q);
        fdlist_close(&fds);
        arena_fini(&arena);
}

static void accept_one(struct fake *f) {
        int fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);

        CHECK(fd >= 0 && f->conns < CONNECTIONS);
        pthread_mutex_lock(&f->lock);
        f->conn[f->conns++] = fd;
        pthread_mutex_unlock(&f->lock);
}

static void *run(void *data) {
        struct fake *f = data;

        for (;;) {
                struct pollfd p[CONNECTIONS + 2] = { { f->stop[0], POLLIN, 0 }, { f->listener, POLLIN, 0 } };
                unsigned conns = f->conns;

                for (unsigned i = 0; i < conns; i++)
                        p[i + 2] = (struct pollfd){ f->conn[i], POLLIN, 0 };
                CHECK(poll(p, conns + 2, -1) > 0 || errno == EINTR);
                if (p[0].revents)
                        return NULL;
                for (unsigned i = conns; i-- > 0;) {
                        if (p[i + 2].revents)
                                serve(f, i);
                }
                if (p[1].revents)
                        accept_one(f);
        }
}

struct fake *fake_start(fake_hook hook, void *data) {
        struct fake *f = calloc(1, sizeof(*f));
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        CHECK(f);
        strcpy(f->dir, "/tmp/fake-svmd-XXXXXX");
        CHECK(mkdtemp(f->dir));
        snprintf(f->path, sizeof(f->path), "%s/svmd.sock", f->dir);
        strcpy(address.sun_path, f->path);
        f->hook = hook;
        f->data = data;
        f->next_id = 100;
        f->managed = fake_managed_new();
        pthread_mutex_init(&f->lock, NULL);
        f->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        CHECK(f->listener >= 0 && bind(f->listener, (struct sockaddr *)&address, sizeof(address)) == 0);
        CHECK(listen(f->listener, 64) == 0 && pipe2(f->stop, O_CLOEXEC) == 0);
        CHECK(pthread_create(&f->thread, NULL, run, f) == 0);
        return f;
}

void fake_stop(struct fake *f) {
        close(f->stop[1]);
        pthread_join(f->thread, NULL);
        close(f->stop[0]);
        close(f->listener);
        while (f->conns)
                close(f->conn[--f->conns]);
        fake_managed_free(f->managed);
        for (unsigned i = 0; i < f->memories; i++)
                close(f->memory[i].fd);
        unlink(f->path);
        rmdir(f->dir);
        pthread_mutex_destroy(&f->lock);
        free(f);
}

const char *fake_path(const struct fake *f) {
        return f->path;
}

/* ---- looking ---- */

unsigned fake_mappings(struct fake *f) {
        unsigned count;

        pthread_mutex_lock(&f->lock);
        count = f->mappings;
        pthread_mutex_unlock(&f->lock);
        return count;
}

unsigned fake_reservations(struct fake *f) {
        unsigned count;

        pthread_mutex_lock(&f->lock);
        count = f->reservations;
        pthread_mutex_unlock(&f->lock);
        return count;
}

unsigned fake_connections(struct fake *f) {
        unsigned count;

        pthread_mutex_lock(&f->lock);
        count = f->conns;
        pthread_mutex_unlock(&f->lock);
        return count;
}

bool fake_wait_connections(struct fake *f, unsigned count) {
        for (int i = 0; i < 30000; i++) {
                if (fake_connections(f) == count)
                        return true;
                nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        }
        return false;
}

int fake_last_connection(struct fake *f) {
        int conn;

        pthread_mutex_lock(&f->lock);
        CHECK(f->conns);
        conn = f->conn[f->conns - 1];
        pthread_mutex_unlock(&f->lock);
        return conn;
}

void fake_show(struct fake *f, uint64_t address, uint64_t size, uint64_t memory, unsigned access) {
        pthread_mutex_lock(&f->lock);
        unmap(f, address, address + size);
        if (memory)
                insert(f, (struct mapping){ address, size, memory, 0, access });
        pthread_mutex_unlock(&f->lock);
}

int fake_file(struct fake *f, uint64_t memory) {
        const struct memory *m;
        int fd;

        pthread_mutex_lock(&f->lock);
        m = memory_by_id(f, memory);
        fd = m ? m->fd : -1;
        pthread_mutex_unlock(&f->lock);
        return fd;
}

uint64_t fake_last_fence(struct fake *f) {
        uint64_t id;

        pthread_mutex_lock(&f->lock);
        id = f->last_fence;
        pthread_mutex_unlock(&f->lock);
        return id;
}

uint64_t fake_reservation_id(struct fake *f, uint64_t address) {
        uint64_t id = 0;

        pthread_mutex_lock(&f->lock);
        for (unsigned i = 0; i < f->reservations; i++) {
                if (f->reservation[i].start == address)
                        id = f->reservation[i].id;
        }
        pthread_mutex_unlock(&f->lock);
        return id;
}

struct fake_managed *fake_managed(struct fake *f) {
        return f->managed;
}

void fake_take_log(struct fake *f, char *ret) {
        pthread_mutex_lock(&f->lock);
        memcpy(ret, f->log, f->log_used);
        ret[f->log_used] = 0;
        f->log_used = 0;
        pthread_mutex_unlock(&f->lock);
}
