#include "harness.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/memfile.h"
#include "base/alloc.h"
#include "core/cgroup.h"
#include "core/grant.h"
#include "core/imap.h"
#include "core/keeping.h"
#include "core/lease.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "core/share.h"
#include "core/space.h"
#include "ranges.h"

#define WAIT_MS 30000
#define SOON_MS 10

/* ---- hooks --------------------------------------------------------------------------------------------------- */

static void on_reply(void *userdata, struct session *s, const void *bytes, size_t size, struct fdlist *fds) {
        struct client *c = session_connection(s);

        if (!c)
                return;
        memcpy(c->packet, bytes, size);
        c->packet_size = size;
        c->answered = true;
        while (fds && fdlist_left(fds) > 0)
                assert_int_equal(fdlist_add(&c->fds, fdlist_steal(fds)), 0);
}

static bool on_event(void *userdata, struct session *s, const void *bytes, size_t size) {
        struct client *c = session_connection(s);
        struct arena arena;
        Svmd__V1__Packet *p;
        struct client_event e = { 0 };

        if (!c || c->deaf)
                return false;
        c->world->events++;
        arena_init(&arena);
        p = decode_packet(&arena, bytes, size);
        assert_non_null(p);
        assert_int_equal(p->packet_case, SVMD__V1__PACKET__PACKET_EVENT);
        e.kind = p->event->event_case;
        e.dropped = p->event->dropped;
        if (e.kind == SVMD__V1__EVENT__EVENT_FENCE) {
                e.id = p->event->fence->fence;
                e.code = p->event->fence->result->code;
        } else if (e.kind == SVMD__V1__EVENT__EVENT_RESERVATION) {
                e.id = p->event->reservation->reservation;
                e.generation = p->event->reservation->generation;
                e.gone = p->event->reservation->gone;
        } else if (e.kind == SVMD__V1__EVENT__EVENT_GIVE_BACK) {
                e.id = p->event->give_back->node;
                e.bytes = p->event->give_back->bytes;
                assert_true(p->event->give_back->bytes > 0);
        } else if (e.kind == SVMD__V1__EVENT__EVENT_END) {
                e.code = p->event->end->code;
                assert_true(p->event->end->text[0] != 0);
        }
        if (c->events_count < 64)
                c->events[c->events_count++] = e;
        arena_fini(&arena);
        return true;
}

static void on_session_gone(void *userdata, struct session *s) {
        struct client *c = session_connection(s);

        if (!c)
                return;
        c->session = NULL;
        c->kicked = true;
}

static int on_partition_up(void *userdata, struct partition *p) {
        return 0;
}

static void on_partition_down(void *userdata, struct partition *p) {
}

static struct kept_row *kept_find(struct world *w, uint64_t key) {
        for (size_t i = 0; i < w->kept_count; i++)
                if (w->kept[i].key == key)
                        return &w->kept[i];
        return NULL;
}

static void on_unkeep(void *userdata, uint64_t key) {
        struct world *w = userdata;
        struct kept_row *row = kept_find(w, key);

        if (!row)
                return;
        if (row->fd >= 0)
                close(row->fd);
        *row = w->kept[--w->kept_count];
}

static int on_keep(void *userdata, uint64_t key, int fd) {
        struct world *w = userdata;

        if (w->fail_keep > 0 && --w->fail_keep == 0)
                return -EMFILE;
        if (key == KEEP_KEY(KEEP_JOURNAL, 0)) /* the one thing that is replaced */
                on_unkeep(w, key);
        assert_null(kept_find(w, key));
        w->kept = realloc(w->kept, (w->kept_count + 1) * sizeof(*w->kept));
        w->kept[w->kept_count++] = (struct kept_row){ key, fd < 0 ? -1 : dup(fd) };
        return 0;
}

static int on_keep_session(void *userdata, struct session *s) {
        struct world *w = userdata;

        return w->fail_keep_session ? -EMFILE : on_keep(userdata, KEEP_KEY(KEEP_SESSION, session_id(s)), -1);
}

static int on_kill(void *userdata, struct session *s) {
        return 0;
}

static void on_flush(void *userdata) {
}

static void on_wake(void *userdata) {
        struct world *w = userdata;
        uint64_t one = 1;

        assert_int_equal(write(w->wake, &one, sizeof(one)), sizeof(one));
}

static void on_wake_soon(void *userdata) {
        struct world *w = userdata;

        w->soon = true;
}

static void on_wake_in(void *userdata, uint64_t ms) {
        struct world *w = userdata;

        w->wake_in_ms = ms;
        w->timer = true;
}

static const struct service_hooks hooks = {
        .reply = on_reply,
        .event = on_event,
        .session_gone = on_session_gone,
        .partition_up = on_partition_up,
        .partition_down = on_partition_down,
        .keep = on_keep,
        .unkeep = on_unkeep,
        .keep_session = on_keep_session,
        .kill = on_kill,
        .flush = on_flush,
        .wake = on_wake,
        .wake_soon = on_wake_soon,
        .wake_in = on_wake_in,
};

/* A dead svmd's: nobody hears it. */
static void dead_reply(void *userdata, struct session *s, const void *bytes, size_t size, struct fdlist *fds) {
}

static bool dead_event(void *userdata, struct session *s, const void *bytes, size_t size) {
        return false;
}

static void dead_session(void *userdata, struct session *s) {
}

static int dead_keep(void *userdata, uint64_t key, int fd) {
        return 0;
}

static void dead_unkeep(void *userdata, uint64_t key) {
}

static void dead_flush(void *userdata) {
}

/* ---- the world ----------------------------------------------------------------------------------------------- */

static void add_node(struct machine *m, const char *name, enum node_kind kind, uint64_t capacity, bool faults) {
        struct node_desc *n = machine_add(m);

        assert_non_null(n);
        snprintf(n->name, sizeof(n->name), "%s", name);
        n->kind = kind;
        n->capacity = capacity;
        n->faults = faults;
        n->va_start = 0;
        n->va_end = kind == NODE_SOFT ? 1ull << 47 : 0;
}

static void link_nodes(struct machine *m, uint32_t a, uint32_t b) {
        struct node_link link = { .to = b, .type = "xgmi", .weight = 15, .peer = true };

        assert_int_equal(machine_link(&m->nodes[a], &link), 0);
        link.to = a;
        assert_int_equal(machine_link(&m->nodes[b], &link), 0);
}

const char *const *world_private;
void (*world_shape)(struct machine *m);
const struct policy_profile *world_policy;

static void add_private(struct machine *m) {
        char name[16];

        for (const char *const *path = world_private; path && *path; path++) {
                snprintf(name, sizeof(name), "dev%d", (int)(path - world_private));
                add_node(m, name, NODE_HMM, 1ull << 20, true);
                snprintf(m->nodes[m->count - 1].device, sizeof(m->nodes[0].device), "%s", *path);
        }
}

static int try_start(struct world *w, struct service_kept *kept, size_t count, char *why, size_t why_size) {
        struct service_hooks h = hooks;

        h.userdata = w;
        assert_int_equal(service_new(&w->svc, &w->options, &h), 0);
        return service_start(w->svc, w->store, kept, count, why, why_size);
}

static void start(struct world *w, struct service_kept *kept, size_t count) {
        char why[512] = "";
        int r = try_start(w, kept, count, why, sizeof(why));

        if (r != 0)
                fail_msg("svmd does not start: %d, %s", r, why);
}

void world_open(struct world *w, uint64_t journal) {
        static const uint64_t capacity[NODES] = { 8ull << 30, 2ull << 30, 1ull << 30, 1ull << 20 };

        world_open_sized(w, journal, capacity);
}

void world_open_sized(struct world *w, uint64_t journal, const uint64_t *capacity) {
        const char *tmp = getenv("TMPDIR");
        char why[512];

        *w = (struct world){ 0 };
        snprintf(w->dir, sizeof(w->dir), "%s/svmd-service-XXXXXX", tmp ? tmp : "/tmp");
        assert_non_null(mkdtemp(w->dir));
        add_node(&w->machine, "host0", NODE_HOST, capacity[HOST0], true);
        add_node(&w->machine, "gpu0", NODE_SOFT, capacity[GPU0], false);
        add_node(&w->machine, "gpu1", NODE_SOFT, capacity[GPU1], true);
        add_node(&w->machine, "gpu2", NODE_SOFT, capacity[GPU2], true);
        link_nodes(&w->machine, GPU0, GPU1);
        w->machine.nodes[GPU2].va_end = 1ull << 46;
        if (world_shape)
                world_shape(&w->machine);
        add_private(&w->machine);
        w->options = (struct service_options){
                .machine = &w->machine,
                .default_partition_size = 8ull << 30,
                .journal_size = journal ? journal : 64ull << 20,
                .max_objects_per_session = 4096,
                .max_registered = 64ull << 20,
                .max_sessions = 64,
                .max_sessions_per_uid = 48,
                .bus_uid = (uint32_t)-1,
                .keeper = true,
                .sys_root = "/sys",
                .proc_root = "/proc",
                .dev_root = "/dev",
                .dmabuf_fs = TMPFS_MAGIC, /* this machine may have no dma-bufs: memfds are taken for them */
                .policy = world_policy,
        };
        w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        assert_true(w->wake >= 0);
        if (store_open(&w->store, w->dir, why, sizeof(why)) != 0)
                fail_msg("%s", why);
        start(w, NULL, 0);
}

void world_close(struct world *w) {
        char command[128];

        service_free(w->svc, false);
        store_close(w->store);
        for (size_t i = 0; i < w->kept_count; i++)
                if (w->kept[i].fd >= 0)
                        close(w->kept[i].fd);
        free(w->kept);
        close(w->wake);
        machine_fini(&w->machine);
        snprintf(command, sizeof(command), "rm -rf %s", w->dir);
        assert_int_equal(system(command), 0);
}

static void await_wake(struct world *w) {
        struct pollfd p = { .fd = w->wake, .events = POLLIN };
        uint64_t n;
        int r;

        bool timer = w->timer && w->wake_in_ms < WAIT_MS, early = w->soon || timer;
        int ms = w->soon ? SOON_MS : timer ? (int)w->wake_in_ms : WAIT_MS;

        w->soon = w->timer = false;
        do
                r = poll(&p, 1, ms);
        while (r < 0 && errno == EINTR); /* a fuzzer's clock */
        if (r == 0 && early)
                return;
        if (r != 1)
                fail_msg("nothing happened for %d ms", WAIT_MS);
        assert_int_equal(read(w->wake, &n, sizeof(n)), sizeof(n));
}

void world_settle(struct world *w) {
        service_collect(w->svc);
        service_commit(w->svc);
        while (!service_idle(w->svc) || !managed_at_rest(w)) {
                w->soon |= service_idle(w->svc);
                world_wait(w);
        }
}

void world_wait(struct world *w) {
        await_wake(w);
        service_collect(w->svc);
        service_commit(w->svc);
}

static struct service_kept *copy_kept(const struct world *w) {
        struct service_kept *kept = calloc(w->kept_count + 1, sizeof(*kept));

        for (size_t i = 0; i < w->kept_count; i++)
                kept[i] = (struct service_kept){ w->kept[i].key, w->kept[i].fd >= 0 ? dup(w->kept[i].fd) : -1 };
        return kept;
}

void world_stop(struct world *w) {
        service_free(w->svc, true);
        w->svc = NULL;
}

int world_take_over(struct world *w, char *why, size_t why_size) {
        struct service_kept *kept = copy_kept(w);
        size_t n = w->kept_count;
        int r = try_start(w, kept, n, why, why_size);

        if (r != 0)
                world_stop(w);
        for (size_t i = 0; i < n; i++)
                if (kept[i].fd >= 0)
                        close(kept[i].fd);
        free(kept);
        return r;
}

void world_keeps(struct world *w, uint64_t key, int fd) {
        on_unkeep(w, key);
        assert_int_equal(on_keep(w, key, fd), 0);
        close(fd);
}

void world_keeps_nothing(struct world *w) {
        while (w->kept_count > 0)
                on_unkeep(w, w->kept[0].key);
}

struct service *world_restart(struct world *w, struct client **clients, size_t count) {
        struct service_kept *kept;
        struct service *old = w->svc;
        size_t n = w->kept_count;

        /* Its threads may wake it still. */
        old->hooks.reply = dead_reply;
        old->hooks.event = dead_event;
        old->hooks.session_gone = dead_session;
        old->hooks.partition_up = on_partition_up;
        old->hooks.partition_down = on_partition_down;
        old->hooks.keep = dead_keep;
        old->hooks.unkeep = dead_unkeep;
        old->hooks.keep_session = (int (*)(void *, struct session *))on_partition_up;
        old->hooks.flush = dead_flush;
        old->hooks.wake_soon = dead_flush;
        old->hooks.wake_in = dead_unkeep;
        managed_stop(old); /* or its threads would go on */
        kept = copy_kept(w);
        start(w, kept, n);
        for (size_t i = 0; i < n; i++)
                if (kept[i].fd >= 0)
                        fail_msg("key %" PRIx64 " was neither taken nor dropped", kept[i].key);
        free(kept);
        for (size_t i = 0; i < count; i++) {
                struct client *c = clients[i];
                struct object *o = c->session ? ids_find(&w->svc->state.ids, c->id) : NULL;

                c->session = o ? container_of(o, struct session, object) : NULL;
                if (c->session)
                        service_session_resumed(w->svc, c->session, c);
        }
        return old;
}

void world_bury(struct service *old) {
        service_free(old, true);
}

/* ---- clients ------------------------------------------------------------------------------------------------- */

int client_open_as(struct world *w, struct client *c, const struct service_peer *peer) {
        int r;

        *c = (struct client){ .world = w, .pid = peer->pid, .uid = peer->uid, .gid = peer->gid, .admin = peer->admin };
        fdlist_init(&c->fds);
        arena_init(&c->arena);
        c->packet = malloc(SVMD_PACKET_MAX);
        r = service_session_new(w->svc, &c->session, peer, c);
        if (r == 0)
                c->id = session_id(c->session);
        else
                c->session = NULL;
        return r;
}

void client_open(struct world *w, struct client *c, uint32_t uid, uint32_t gid, bool admin) {
        static uint32_t pid = 1000;
        struct service_peer peer = { .pid = pid++, .uid = uid, .gid = gid, .admin = admin };

        assert_int_equal(client_open_as(w, c, &peer), 0);
}

void client_close(struct client *c) {
        if (c->session)
                service_session_end(c->world->svc, c->session);
        c->session = NULL;
        fdlist_close(&c->fds);
        arena_fini(&c->arena);
        free(c->packet);
        c->packet = NULL;
}

int client_raw(struct client *c, const void *bytes, size_t size, const int *fds, size_t fds_count) {
        struct fdlist list;
        int r;

        fdlist_init(&list);
        for (size_t i = 0; i < fds_count; i++)
                assert_int_equal(fdlist_add(&list, fds[i]), 0);
        c->answered = false;
        c->reply = NULL;
        fdlist_close(&c->fds);
        r = service_receive(c->world->svc, c->session, bytes, size, &list);
        fdlist_close(&list);
        return r;
}

void client_await(struct client *c) {
        Svmd__V1__Packet *p;

        while (!c->answered && !c->kicked)
                world_wait(c->world);
        service_commit(c->world->svc);
        if (!c->answered)
                return;
        arena_reset(&c->arena);
        p = decode_packet(&c->arena, c->packet, c->packet_size);
        assert_non_null(p);
        assert_int_equal(p->packet_case, SVMD__V1__PACKET__PACKET_REPLY);
        c->reply = p->reply;
}

static Svmd__V1__GrantDone **rides;
static size_t rides_count;

void client_rides(Svmd__V1__GrantDone **done, size_t count) {
        rides = done;
        rides_count = count;
}

static int post(struct client *c, Svmd__V1__Mode mode, Svmd__V1__Op **ops, size_t count, const int *fds,
                size_t fds_count) {
        static uint8_t bytes[SVMD_PACKET_MAX];
        Svmd__V1__Request m = SVMD__V1__REQUEST__INIT;
        ssize_t n;

        m.id = ++c->request;
        m.mode = mode;
        m.ops = ops;
        m.n_ops = count;
        m.done = rides;
        m.n_done = rides_count;
        rides_count = 0;
        n = encode_request(&m, bytes, sizeof(bytes));
        assert_true(n > 0);
        return client_raw(c, bytes, (size_t)n, fds, fds_count);
}

int client_post(struct client *c, Svmd__V1__Mode mode, Svmd__V1__Op **ops, size_t count) {
        return post(c, mode, ops, count, NULL, 0);
}

Svmd__V1__Reply *client_send(struct client *c, Svmd__V1__Mode mode, Svmd__V1__Op **ops, size_t count, const int *fds,
                             size_t fds_count) {
        int r = post(c, mode, ops, count, fds, fds_count);

        if (r == SERVICE_E_ENDED)
                return NULL;
        client_await(c);
        if (!c->reply)
                return NULL;
        assert_int_equal(c->reply->id, c->request);
        assert_int_equal(c->reply->n_results, count);
        return c->reply;
}

Svmd__V1__Result *client_call(struct client *c, Svmd__V1__Op *op) {
        Svmd__V1__Reply *reply = client_send(c, SVMD__V1__MODE__BEST_EFFORT, &op, 1, NULL, 0);

        assert_non_null(reply);
        return reply->results[0];
}

void client_greet(struct client *c, const char *partition) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_HELLO);
        Svmd__V1__Result *r;

        op->hello->min_version = op->hello->max_version = SVMD_PROTOCOL_VERSION;
        op->hello->client = (char *)"test";
        assert_int_equal(client_call(c, op)->code, 0);
        if (!partition)
                return;
        op = op_make(SVMD__V1__OP__OP_ATTACH);
        op->attach->partition = (char *)partition;
        op->attach->any_window = true;
        r = client_call(c, op);
        if (r->code != 0)
                fail_msg("attach: %u %s", r->code, r->text);
}

/* ---- operations ---------------------------------------------------------------------------------------------- */

static union {
        char bytes[8u << 20];
        uint64_t align;
} pool;
static size_t pool_used;

void ops_reset(void) {
        pool_used = 0;
}

static void *pool_take(size_t size) {
        void *p = pool.bytes + pool_used;

        pool_used += (size + 15) & ~15ul;
        assert_true(pool_used <= sizeof(pool));
        return p;
}

Svmd__V1__Op *op_make(unsigned op_case) {
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(&svmd__v1__op__descriptor, op_case);
        Svmd__V1__Op *op = pool_take(sizeof(*op));
        const ProtobufCMessageDescriptor *d = f->descriptor;
        ProtobufCMessage *m = pool_take(d->sizeof_message);

        svmd__v1__op__init(op);
        protobuf_c_message_init(d, m);
        op->op_case = op_case;
        op->hello = (Svmd__V1__Hello *)m; /* all members are pointers to messages */
        return op;
}

#define MAKE(CASE, member)                                                                                             \
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_##CASE);                                                           \
        __typeof__(*op->member) *m = op->member

Svmd__V1__Op *mk_reserve(uint64_t size, uint64_t align, uint64_t address, const char *name, uint32_t mode) {
        MAKE(RESERVE, reserve);
        m->size = size;
        m->align = align;
        m->address = address;
        m->name = (char *)name;
        m->mode = mode;
        return op;
}

Svmd__V1__Op *mk_open(const char *name, uint32_t access) {
        MAKE(OPEN, open);
        m->name = (char *)name;
        m->access = access;
        return op;
}

Svmd__V1__Op *mk_free(uint64_t reservation) {
        MAKE(FREE, free);
        m->reservation = reservation;
        return op;
}

Svmd__V1__Op *mk_create(uint32_t node, uint64_t size, uint32_t flags) {
        MAKE(MEM_CREATE, mem_create);
        m->node = node;
        m->size = size;
        m->flags = flags;
        return op;
}

Svmd__V1__Op *mk_release(uint64_t memory) {
        MAKE(MEM_RELEASE, mem_release);
        m->memory = memory;
        return op;
}

Svmd__V1__Op *mk_export(uint64_t memory, const char *name, uint32_t mode, uint32_t access) {
        MAKE(MEM_EXPORT, mem_export);
        m->memory = memory;
        m->name = (char *)name;
        m->mode = mode;
        m->access = access;
        return op;
}

Svmd__V1__Op *mk_import(const char *name, uint32_t access) {
        MAKE(MEM_IMPORT, mem_import);
        m->name = (char *)name;
        m->access = access;
        return op;
}

Svmd__V1__Op *mk_dmabuf_import(uint64_t size, uint32_t node) {
        MAKE(DMABUF_IMPORT, dmabuf_import);
        m->size = size;
        m->node = node;
        return op;
}

Svmd__V1__Op *mk_mem_dmabuf(uint64_t memory) {
        MAKE(MEM_DMABUF, mem_dmabuf);
        m->memory = memory;
        return op;
}

Svmd__V1__Op *mk_cuda_attach(uint32_t node) {
        MAKE(CUDA_ATTACH, cuda_attach);
        m->node = node;
        return op;
}

Svmd__V1__Op *mk_cuda_map(uint64_t reservation, uint32_t node, uint32_t first, uint32_t count) {
        MAKE(CUDA_MAP, cuda_map);
        m->reservation = reservation;
        m->node = node;
        m->first = first;
        m->count = count;
        return op;
}

Svmd__V1__Op *mk_mem_fd(uint64_t memory, uint32_t access) {
        MAKE(MEM_FD, mem_fd);
        m->memory = memory;
        m->access = access;
        return op;
}

Svmd__V1__Op *mk_map(uint64_t space, uint64_t address, uint64_t size, uint64_t memory, uint64_t offset, uint32_t access,
                     uint32_t flags) {
        MAKE(MAP, map);
        m->space = space;
        m->address = address;
        m->size = size;
        m->memory = memory;
        m->offset = offset;
        m->access = access;
        m->flags = flags;
        return op;
}

Svmd__V1__Op *mk_unmap(uint64_t space, uint64_t address, uint64_t size) {
        MAKE(UNMAP, unmap);
        m->space = space;
        m->address = address;
        m->size = size;
        return op;
}

Svmd__V1__Op *mk_access(uint64_t space, uint64_t address, uint64_t size, uint32_t access) {
        MAKE(SET_ACCESS, set_access);
        m->space = space;
        m->address = address;
        m->size = size;
        m->access = access;
        return op;
}

Svmd__V1__Op *mk_attributes(uint64_t space, uint64_t address, uint64_t size, uint32_t pat, uint32_t kind) {
        MAKE(SET_ATTRIBUTES, set_attributes);
        m->space = space;
        m->address = address;
        m->size = size;
        m->pat = pat;
        m->kind = kind;
        return op;
}

Svmd__V1__Op *mk_sparse(uint64_t space, uint64_t address, uint64_t size, uint32_t writes) {
        MAKE(SPARSE_MAP, sparse_map);
        m->space = space;
        m->address = address;
        m->size = size;
        m->writes = (Svmd__V1__SparseWrites)writes;
        return op;
}

Svmd__V1__Op *mk_unsparse(uint64_t space, uint64_t address, uint64_t size) {
        MAKE(SPARSE_UNMAP, sparse_unmap);
        m->space = space;
        m->address = address;
        m->size = size;
        return op;
}

Svmd__V1__Op *mk_space(uint32_t node) {
        MAKE(SPACE_CREATE, space_create);
        m->node = node;
        return op;
}

Svmd__V1__Op *mk_destroy(uint64_t space) {
        MAKE(SPACE_DESTROY, space_destroy);
        m->space = space;
        return op;
}

Svmd__V1__Op *mk_submit(uint64_t space, uint32_t what, uint64_t dst, uint64_t src, uint64_t size, uint64_t value,
                        bool notify) {
        MAKE(SUBMIT, submit);
        m->space = space;
        m->op = (Svmd__V1__DeviceOp)what;
        m->dst = dst;
        m->src = src;
        m->size = size;
        m->value = value;
        m->notify = notify;
        return op;
}

Svmd__V1__Op *mk_partition(const char *name, uint64_t size, const char *domain, uint32_t uid, uint32_t mode) {
        MAKE(PARTITION_CREATE, partition_create);
        m->name = (char *)name;
        m->size = size;
        m->domain = (char *)domain;
        m->uid = m->gid = uid;
        m->mode = mode;
        return op;
}

Svmd__V1__Op *mk_limit(const char *partition, uint32_t node, uint64_t max) {
        Svmd__V1__NodeLimit *limit = pool_take(sizeof(*limit)), **list = pool_take(sizeof(*list));
        MAKE(PARTITION_SET, partition_set);

        svmd__v1__node_limit__init(limit);
        limit->node = node;
        limit->max = max;
        *list = limit;
        m->name = (char *)partition;
        m->limits = list;
        m->n_limits = 1;
        return op;
}

Svmd__V1__Op *mk_bound(const char *partition, uint32_t node, unsigned bound, uint64_t bytes) {
        Svmd__V1__Op *op = mk_limit(partition, node, bytes);

        op->partition_set->limits[0]->bound = (Svmd__V1__Bound)bound;
        return op;
}

Svmd__V1__Op *mk_own_limit(uint64_t session, const char *cgroup, uint32_t node, unsigned bound, uint64_t bytes) {
        Svmd__V1__Op *bounds = mk_bound("", node, bound, bytes);
        MAKE(LIMIT_SET, limit_set);

        m->session = session;
        if (cgroup)
                m->cgroup = (char *)cgroup;
        m->limits = bounds->partition_set->limits;
        m->n_limits = 1;
        return op;
}

Svmd__V1__Op *mk_kept_max(const char *partition, uint64_t max) {
        MAKE(PARTITION_SET, partition_set);
        m->name = (char *)partition;
        m->set_kept = true;
        m->kept_max = max;
        return op;
}

Svmd__V1__Op *mk_keep(uint64_t reservation, uint64_t memory, uint64_t seconds) {
        MAKE(KEEP, keep);
        m->reservation = reservation;
        m->memory = memory;
        m->seconds = seconds;
        return op;
}

Svmd__V1__Op *mk_unkeep(uint64_t reservation, uint64_t memory) {
        Svmd__V1__Op *op = mk_keep(reservation, memory, 0);

        op->keep->off = true;
        return op;
}

Svmd__V1__Op *mk_kept_list(const char *partition) {
        MAKE(KEPT_LIST, kept_list);
        m->partition = (char *)partition;
        return op;
}

Svmd__V1__Op *mk_kept_remove(const char *partition, Svmd__V1__KeptKind kind, const char *name) {
        MAKE(KEPT_REMOVE, kept_remove);
        m->partition = (char *)partition;
        m->kind = kind;
        m->name = (char *)name;
        return op;
}

static Svmd__V1__LeaseNeed *need(uint32_t node, uint64_t size) {
        Svmd__V1__LeaseNeed *n = pool_take(sizeof(*n));

        svmd__v1__lease_need__init(n);
        n->node = node;
        n->size = size;
        return n;
}

Svmd__V1__Op *mk_admit(uint32_t node, uint64_t size, uint64_t wait_ms) {
        MAKE(ADMIT, admit);
        m->needs = pool_take(sizeof(*m->needs));
        m->needs[0] = need(node, size);
        m->n_needs = 1;
        m->wait_ms = wait_ms;
        return op;
}

Svmd__V1__Op *mk_admit_two(uint32_t node, uint64_t size, uint32_t other, uint64_t other_size, uint64_t wait_ms) {
        MAKE(ADMIT, admit);
        m->needs = pool_take(2 * sizeof(*m->needs));
        m->needs[0] = need(node, size);
        m->needs[1] = need(other, other_size);
        m->n_needs = 2;
        m->wait_ms = wait_ms;
        return op;
}

Svmd__V1__Op *mk_grant(uint32_t node, uint32_t operations, uint64_t bytes) {
        MAKE(GRANT_ASK, grant_ask);
        m->node = node;
        m->operations = operations;
        m->bytes = bytes;
        return op;
}

Svmd__V1__Op *mk_grant_done(uint64_t grant, uint64_t generation, uint32_t error, uint64_t gone) {
        MAKE(GRANT_DONE, grant_done);
        m->grant = grant;
        m->generation = generation;
        m->error = error;
        m->gone = gone;
        return op;
}

Svmd__V1__Op *mk_grant_list(const char *partition) {
        MAKE(GRANT_LIST, grant_list);
        m->partition = (char *)partition;
        return op;
}

Svmd__V1__Op *mk_lease_release(uint64_t lease) {
        MAKE(LEASE_RELEASE, lease_release);
        m->lease = lease;
        return op;
}

Svmd__V1__Op *mk_lease_list(const char *partition) {
        MAKE(LEASE_LIST, lease_list);
        m->partition = (char *)partition;
        return op;
}

static Svmd__V1__Op *mk_setting(Svmd__V1__SettingChange *change, unsigned kind, const char *name, const char *other) {
        MAKE(POLICY, policy);
        svmd__v1__setting_change__init(change);
        change->kind = (Svmd__V1__SettingKind)kind;
        change->name = (char *)(name ? name : "");
        change->other = (char *)(other ? other : "");
        m->change = change;
        return op;
}

/* Changes go round: a few live at a time. */
static Svmd__V1__SettingChange *next_change(void) {
        static Svmd__V1__SettingChange changes[16];
        static unsigned next;

        return &changes[next++ % 16];
}

Svmd__V1__Op *mk_attach(const char *partition) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_ATTACH);

        op->attach->partition = (char *)partition;
        op->attach->any_window = true;
        return op;
}

Svmd__V1__Op *mk_share(const char *name, bool memory, const char *to, uint32_t access) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_SHARE);

        op->share->name = (char *)name;
        op->share->memory = memory;
        op->share->to = (char *)to;
        op->share->access = access;
        return op;
}

Svmd__V1__Op *mk_set(unsigned kind, const char *name, const char *other, const char *profile, uint64_t rate) {
        Svmd__V1__SettingChange *change = next_change();
        Svmd__V1__Op *op = mk_setting(change, kind, name, other);

        change->profile = (char *)(profile ? profile : "");
        change->rate = rate;
        return op;
}

Svmd__V1__Op *mk_unset(unsigned kind, const char *name, const char *other) {
        Svmd__V1__SettingChange *change = next_change();
        Svmd__V1__Op *op = mk_setting(change, kind, name, other);

        change->back = true;
        return op;
}

Svmd__V1__Op *mk_policy(uint32_t from) {
        MAKE(POLICY, policy);
        m->from = from;
        return op;
}

Svmd__V1__Op *mk_holders(const char *partition) {
        MAKE(HOLDERS, holders);
        m->partition = (char *)partition;
        return op;
}

Svmd__V1__Op *mk_history(unsigned by, uint64_t since, uint64_t until) {
        MAKE(USAGE_HISTORY, usage_history);
        m->by = (Svmd__V1__UsageBy)by;
        m->since = since;
        m->until = until;
        return op;
}

Svmd__V1__Op *mk_drift(void) {
        return op_make(SVMD__V1__OP__OP_DRIFT);
}

Svmd__V1__Op *mk_lease_keep(uint64_t lease, const char *name, uint64_t seconds) {
        MAKE(KEEP, keep);
        m->lease = lease;
        m->name = (char *)name;
        m->seconds = seconds;
        return op;
}

Svmd__V1__Op *mk_lease_claim(const char *name) {
        MAKE(LEASE_CLAIM, lease_claim);
        m->name = (char *)name;
        return op;
}

Svmd__V1__Op *mk_lease_fill(uint64_t memory, uint64_t lease) {
        MAKE(LEASE_FILL, lease_fill);
        m->memory = memory;
        m->lease = lease;
        return op;
}

Svmd__V1__Op *mk_create_leased(uint32_t node, uint64_t size, uint64_t lease) {
        Svmd__V1__Op *op = mk_create(node, size, 0);

        op->mem_create->lease = lease;
        return op;
}

Svmd__V1__Op *mk_delete(const char *partition, bool end_sessions) {
        MAKE(PARTITION_DELETE, partition_delete);
        m->name = (char *)partition;
        m->end_sessions = end_sessions;
        return op;
}

/* ---- the digest ---------------------------------------------------------------------------------------------- */

static void put_accounts(FILE *f, const struct world *w, const struct account *a) {
        for (uint32_t i = 0; a && i < w->machine.count; i++)
                if (a[i].used || a[i].max != ACCOUNT_NO_LIMIT)
                        fprintf(f, " node%u:%" PRIu64 "/%" PRIx64, i, a[i].used, a[i].max);
}

/* Beside max. */
static void put_bounds(FILE *f, const struct world *w, const struct account *a) {
        for (uint32_t i = 0; a && i < w->machine.count; i++)
                if (a[i].min || a[i].low || a[i].high != ACCOUNT_NO_LIMIT)
                        fprintf(f, " node%u:%" PRIx64 "-%" PRIx64 "-%" PRIx64, i, a[i].min, a[i].low, a[i].high);
}

static void put_vmap(FILE *f, const struct vmap *m, const struct imap *sparse) {
        for (struct mapping *e = vmap_first_from(m, 0); e; e = vmap_next(e))
                fprintf(f, "    %" PRIx64 "+%" PRIx64 " memory %" PRIu64 "+%" PRIx64 " access %u pat %u kind %u\n",
                        e->va, e->size, memory_of(e->backing)->object.id, e->offset, e->attrs.access, e->attrs.pat,
                        e->attrs.kind);
        for (struct imap_entry *e = sparse ? imap_first_from(sparse, 0) : NULL; e; e = imap_next(e))
                fprintf(f, "    sparse %" PRIx64 "-%" PRIx64 " %" PRIu64 "\n", e->start, e->end, e->value);
}

static void put_name(FILE *f, const struct name *n) {
        if (n)
                fprintf(f, " name %s %u:%u %o", n->text, n->uid, n->gid, n->mode);
}

static void put_keeping(FILE *f, const struct keeping *k) {
        if (k)
                fprintf(f, " kept %" PRIu64 " s since %" PRIu64 "%s", k->seconds, k->since_ns,
                        k->removing ? " REMOVING" : "");
}

static void put_reservation(FILE *f, struct world *w, const struct reservation *r) {
        fprintf(f, "  reservation %" PRIu64 " %" PRIx64 "+%" PRIx64 " owner %" PRIu64 " generation %" PRIu64,
                r->object.id, r->va.start, r->va.size, r->owner ? r->owner->object.id : 0, r->generation);
        put_name(f, r->shared ? r->shared->name : NULL);
        put_keeping(f, r->shared ? r->shared->keeping : NULL);
        fprintf(f, "%s\n", r->freeing ? " FREEING" : "");
        put_vmap(f, &r->cpu, r->sparse);
        put_managed(f, w, r);
}

static void put_session(FILE *f, const struct world *w, const struct session *s, bool all) {
        fprintf(f, "session %" PRIu64 " pid %u uid %u gid %u groups", s->object.id, s->pid, s->who.uid, s->who.gid);
        for (uint32_t i = 0; i < s->who.groups_count; i++)
                fprintf(f, " %u", s->who.groups[i]);
        fprintf(f, " client %s partition %s objects %" PRIu64, s->client ? s->client : "-",
                s->partition ? s->partition->name->text : "-", s->objects);
        if (all)
                fprintf(f, " fences %" PRIu64 " monitor %d", s->fences_count, s->monitor);
        put_accounts(f, w, s->accounts);
        put_bounds(f, w, s->accounts);
        if (s->partition && s->guest)
                fprintf(f, " guest from %s", s->door ? s->door->name->text : "nowhere");
        fprintf(f, "\n");
        list_for_each (l, &s->openings) {
                struct opening *o = container_of(l, struct opening, by_session);

                fprintf(f, "  opened %" PRIu64 " access %u%s\n", o->reservation->object.id, o->access,
                        o->closing ? " CLOSING" : "");
        }
}

static int by_number(const void *a, const void *b) {
        const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;

        return x->id < y->id ? -1 : x->id > y->id;
}

/* In order of sessions; the list's order means nothing. */
static void put_holders(FILE *f, const struct memory *m) {
        uint64_t last = 0;

        for (;;) {
                const struct holding *next = NULL;

                list_for_each (l, &m->holdings) {
                        const struct holding *h = container_of(l, struct holding, by_memory);

                        if (h->session->object.id > last && (!next || h->session->object.id < next->session->object.id))
                                next = h;
                }
                if (!next)
                        return;
                last = next->session->object.id;
                fprintf(f, "  %s %" PRIu64 " access %u%s\n", next == &m->creator ? "made" : "held", last, next->access,
                        next->releasing ? " RELEASING" : "");
        }
}

static void put_memory(FILE *f, const struct memory *m) {
        const struct va_extent *e;

        fprintf(f,
                "memory %" PRIu64 " partition %s node %u size %" PRIu64 " shareable %d charge %" PRIu64 " maps %" PRIu64
                " file %" PRIu64,
                m->object.id, m->partition->name->text, m->node, m->size, m->shareable, m->charge.bytes,
                m->backing.count, m->file->object.id);
        fprintf(f, " paid by %s",
                m->charge.account == &m->partition->accounts[m->file->node] ? "partition" : "session");
        put_name(f, m->name);
        put_keeping(f, m->keeping);
        if (m->has_token)
                fprintf(f, " token %" PRIx64 " %u", m->token[0], m->token_access);
        if (m->doomed)
                fprintf(f, " DOOMED");
        for (uint32_t i = 0; (e = memory_extent(m, i)); i++)
                fprintf(f, " [%" PRIx64 "+%" PRIx64 "]", e->start, e->size);
        fprintf(f, "\n");
        put_holders(f, m);
}

static void put_lease(FILE *f, const struct lease *l) {
        fprintf(f, "lease %" PRIu64 " session %" PRIu64 " state %d priority %u until %" PRIx64, l->object.id,
                l->session ? l->session->object.id : 0, l->state, l->admission.priority, l->until_ns);
        for (uint32_t i = 0; i < l->admission.count; i++)
                fprintf(f, " node%u:%" PRIx64 "/%" PRIx64, l->nodes[i].node, l->needs[i].bytes, l->nodes[i].asked);
        for (uint32_t i = 0; i < l->admission.count; i++)
                if (l->nodes[i].filling)
                        fprintf(f, " FILLING");
        put_name(f, l->name);
        put_keeping(f, l->keeping);
        fprintf(f, "%s\n", l->releasing ? " RELEASING" : "");
}

static void put_grant(FILE *f, const struct grant *g) {
        fprintf(f,
                "grant %" PRIu64 " session %" PRIu64 " generation %" PRIu64 " node%u operations %x reservation %" PRIu64
                " at %" PRIx64 "+%" PRIx64 " bytes %" PRIx64 " until %" PRIx64 " held %d\n",
                g->object.id, g->session->object.id, g->generation, g->node, g->operations, g->reservation, g->address,
                g->size, g->charge.bytes, g->until_ns, g->held);
}

/* What the kernel was told is no state of svmd's: it is read again. */
static bool has_own(const struct world *w, const struct cgroup *g) {
        for (uint32_t i = 0; i < w->machine.count; i++)
                if (!bounds_are_none(&g->own[i]))
                        return true;
        return false;
}

/* By path. */
static void put_cgroups(FILE *f, const struct world *w) {
        const struct cgroup *last = NULL, *next;

        for (;; last = next) {
                next = NULL;
                list_for_each (l, &w->svc->state.cgroups) {
                        const struct cgroup *g = container_of(l, struct cgroup, by_state);

                        if (has_own(w, g) && (!last || strcmp(g->path, last->path) > 0) &&
                            (!next || strcmp(g->path, next->path) < 0))
                                next = g;
                }
                if (!next)
                        return;
                fprintf(f, "cgroup %s", next->path);
                put_accounts(f, w, next->accounts);
                put_bounds(f, w, next->accounts);
                fprintf(f, "\n");
        }
}

static void put_line(FILE *f, const struct service *svc) {
        fprintf(f, "line");
        list_for_each (l, &svc->leases.line.waiting)
                fprintf(f, " %" PRIu64, container_of(l, struct lease, admission.by_line)->object.id);
        fprintf(f, "\n");
}

static void put_settings(FILE *f, const struct service *svc) {
        for (uint32_t i = 0; i < svc->settings.count; i++) {
                const struct settings_row *row = &svc->settings.rows[i];
                const struct setting *s = &row->setting;

                fprintf(f, "set %d %s:%s %s %" PRIu64 " by %u at %" PRIu64 "\n", s->kind, s->name, s->other,
                        s->profile ? s->profile->name : "-", s->rate, row->uid, row->set_ns);
        }
}

static void put_shares(FILE *f, const struct state *s) {
        list_for_each (l, &s->shares) {
                const struct share *x = container_of(l, struct share, by_state);

                fprintf(f, "share %" PRIu64 " of %s%s in %s with %s access %u%s\n", x->id,
                        share_of_memory(x) ? "memory " : "", x->name->text, x->from->name->text, x->to->name->text,
                        x->access, x->ending ? " ENDING" : "");
        }
}

char *digest(struct world *w, bool all) {
        struct state *s = &w->svc->state;
        struct object **objects = calloc(s->ids.count + 1, sizeof(*objects));
        size_t n = 0, size;
        char *text;
        FILE *f = open_memstream(&text, &size);

        for (struct partition *p = partition_after(s, ""); p; p = partition_after(s, p->name->text)) {
                fprintf(f, "partition %" PRIx64 "+%" PRIx64 " window %u domain %s ready %d ending %d", p->slice.start,
                        p->slice.size, p->window, p->domain->name->text, p->ready, p->ending);
                put_name(f, p->name);
                fprintf(f, " sessions %" PRIu64 " reservations %" PRIu64 " memories %" PRIu64 " reserved %" PRIu64,
                        p->sessions_count, p->reservations_count, p->memories_count, p->va.used - p->retired);
                put_accounts(f, w, p->accounts);
                fprintf(f, " kept %" PRIu64 " of %" PRIx64 "\n", p->kept_bytes, p->kept_max);
        }
        fprintf(f, "nodes");
        for (uint32_t i = 0; i < w->machine.count; i++)
                fprintf(f, " %" PRIu64 " (%" PRIu64 " limited, %" PRIu64 " spaces)", s->nodes[i].account.used,
                        s->nodes[i].limited, s->nodes[i].spaces);
        fprintf(f, "\nmappings %" PRIu64 "\n", s->mappings_count);
        put_cgroups(f, w);
        put_line(f, w->svc);
        put_settings(f, w->svc);
        put_shares(f, s);
        for (uint64_t i = 0; i < s->ids.size; i++)
                if (s->ids.slots[i])
                        objects[n++] = s->ids.slots[i];
        qsort(objects, n, sizeof(*objects), by_number);
        for (size_t i = 0; i < n; i++) {
                struct object *o = objects[i];

                if (o->type == OBJECT_SESSION) {
                        struct session *x = container_of(o, struct session, object);

                        if (all || x->partition)
                                put_session(f, w, x, all);
                } else if (o->type == OBJECT_RESERVATION) {
                        put_reservation(f, w, container_of(o, struct reservation, object));
                } else if (o->type == OBJECT_MEMORY) {
                        put_memory(f, container_of(o, struct memory, object));
                } else if (o->type == OBJECT_LEASE) {
                        put_lease(f, container_of(o, struct lease, object));
                } else if (o->type == OBJECT_GRANT) {
                        put_grant(f, container_of(o, struct grant, object));
                } else if (o->type == OBJECT_SPACE) {
                        struct space *x = container_of(o, struct space, object);

                        fprintf(f, "space %" PRIu64 " session %" PRIu64 " node %u%s\n", x->object.id,
                                x->session->object.id, x->node, x->destroying ? " DESTROYING" : "");
                        put_vmap(f, &x->mappings, &x->sparse);
                }
        }
        fclose(f);
        free(objects);
        return text;
}

/* ---- checks -------------------------------------------------------------------------------------------------- */

static void check_page(struct world *w, const struct space *s, uint64_t va) {
        const struct backend *b = node_backend(w->svc, s->node);
        struct mapping *e = vmap_find(&s->mappings, va);
        struct device_translation t;

        b->translate(s->device_space, va, &t);
        if (e && memory_of(e->backing)->away) {
                assert_false(t.valid);
                return;
        }
        if (t.valid != (e != NULL))
                fail_msg("space %" PRIu64 " at %" PRIx64 ": the device %s, svmd %s", s->object.id, va,
                         t.valid ? "maps it" : "does not map it", e ? "does" : "does not");
        if (!e) {
                assert_int_equal(t.sparse, imap_get(&s->sparse, va) != 0);
                return;
        }
        struct memory *m = memory_of(e->backing);
        struct device_extent piece = memory_piece(m, e->offset + (va - e->va), SVMD_PAGE);

        assert_int_equal(t.slot, piece.slot);
        assert_int_equal(t.offset & ~4095ull, piece.offset);
        assert_int_equal(t.attrs.access, e->attrs.access);
        assert_int_equal(t.attrs.pat, e->attrs.pat);
        assert_int_equal(t.attrs.kind, e->attrs.kind);
}

static void check_space(struct world *w, const struct space *s) {
        uint64_t end = 0;

        for (struct mapping *e = vmap_first_from(&s->mappings, 0); e; e = vmap_next(e)) {
                check_page(w, s, e->va);
                check_page(w, s, e->va + e->size - SVMD_PAGE);
                if (e->va > end)
                        check_page(w, s, e->va - SVMD_PAGE);
                end = e->va + e->size;
                check_page(w, s, end);
        }
        for (struct imap_entry *e = imap_first_from(&s->sparse, 0); e; e = imap_next(e)) {
                check_page(w, s, e->start);
                check_page(w, s, e->end - SVMD_PAGE);
                check_page(w, s, e->end);
        }
}

static void check_dmabufs(struct world *w) {
        uint64_t bytes = 0;

        list_for_each (l, &w->svc->dmabufs)
                bytes += memfile_size(container_of(l, struct file, by_session)->memfile);
        for (uint32_t i = 0; i < w->machine.count; i++)
                bytes -= w->svc->state.nodes[i].dmabufs;
        assert_int_equal(bytes, 0);
}

void check_world(struct world *w) {
        struct state *s = &w->svc->state;

        assert_int_equal(state_check(s), 0);
        check_managed(w);
        check_dmabufs(w);
        list_for_each (l, &s->sessions) {
                struct session *x = container_of(l, struct session, by_state);

                list_for_each (k, &x->spaces)
                        check_space(w, container_of(k, struct space, by_session));
        }
}

uint64_t ledger_bytes(struct world *w, uint32_t node) {
        return w->svc->state.nodes[node].account.used;
}

uint64_t file_bytes(struct world *w, uint32_t node) {
        struct state *s = &w->svc->state;
        uint64_t sum = s->nodes[node].pool ? memfile_bytes(s->nodes[node].pool->memfile) : 0;

        for (uint64_t i = 0; i < s->ids.size; i++) {
                struct object *o = s->ids.slots[i];

                if (o && o->type == OBJECT_FILE && container_of(o, struct file, object)->node == node)
                        sum += memfile_bytes(container_of(o, struct file, object)->memfile);
        }
        return sum;
}

/* The first line in which they differ. */
static void same_text(const char *before, const char *after) {
        size_t i = 0, line = 0;

        if (strcmp(before, after) == 0)
                return;
        for (; before[i] && before[i] == after[i]; i++)
                if (before[i] == '\n')
                        line = i + 1;
        fail_msg("before: %.200s\nafter:  %.200s", before + line, after + line);
}

struct service *world_restart_as_was(struct world *w, struct client **clients, size_t count) {
        char *before = digest(w, false), *after;
        struct service *old = world_restart(w, clients, count);

        after = digest(w, false);
        same_text(before, after);
        free(before);
        free(after);
        return old;
}
