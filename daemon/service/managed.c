#include "service/managed.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/memfile.h"
#include "base/alloc.h"
#include "base/log.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/adopted.h"
#include "service/capacity.h"
#include "service/cuda.h"
#include "service/internal.h"
#include "service/join.h"
#include "service/lookup.h"
#include "service/order.h"
#include "service/range.h"
#include "service/registered.h"

/*
 * The mover among the service's parts: it is made when nodes are up, tells of what has happened in managed_collect(),
 * and ends before the nodes do.
 *
 * While it tells, it must not be called; so what needs an answer is noted, and done when it has told everything.
 */
#define SESSION_STEPS 2
#define WORKERS_MIN   2
#define WORKERS_MAX   8
#define LARGEST       (2u << 20)

/* ---- nodes ---- */

/* What links do not state: those that are there are all alike. */
#define UNSTATED 16000u

static uint32_t link_bandwidth(const struct node_desc *from, uint32_t to) {
        uint32_t most = 0;

        for (uint32_t i = 0; i < from->links_count; i++) {
                uint64_t mb = from->links[i].max_bandwidth ? from->links[i].max_bandwidth : UNSTATED;

                if (from->links[i].to == to && mb > most)
                        most = mb < UINT32_MAX ? (uint32_t)mb : UINT32_MAX;
        }
        return most;
}

static uint32_t bandwidth_between(const struct service *svc, uint32_t from, uint32_t to) {
        const struct node_desc *a = node_desc(svc, from), *b = node_desc(svc, to);
        uint32_t mb = link_bandwidth(a, to);

        /* What lies in such slots is shown to nobody, and its device reaches nothing else. */
        if ((node_backend(svc, from)->slots || node_backend(svc, to)->slots) && from != to && a->kind != NODE_HOST &&
            b->kind != NODE_HOST)
                return 0;
        if (mb == 0)
                mb = link_bandwidth(b, from);
        if (mb == 0 && (from == to || a->kind == NODE_HOST || b->kind == NODE_HOST))
                mb = UNSTATED;
        return mb;
}

/* Of host nodes. */
static uint32_t distance_between(const struct service *svc, uint32_t from, uint32_t to) {
        const struct node_desc *a = node_desc(svc, from);

        for (uint32_t i = 0; i < a->links_count; i++)
                if (a->links[i].to == to && a->kind == NODE_HOST && node_desc(svc, to)->kind == NODE_HOST)
                        return a->links[i].weight;
        return 0;
}

/* Of one host alone the kernel need not be told. */
static int numa_of(const struct service *svc, const struct node_desc *d) {
        unsigned hosts = 0;

        for (uint32_t i = 0; i < svc->options.machine->count; i++)
                hosts += node_desc(svc, i)->numa >= 0;
        return hosts > 1 ? d->numa : -1;
}

static int make_nodes(struct service *svc) {
        struct managed_state *g = &svc->managed;
        uint32_t count = svc->options.machine->count;

        if (count > MANAGED_NODES_MAX)
                count = MANAGED_NODES_MAX;
        /* Those that svmd does not move pages of are the machine's last. */
        while (count > 0 && !backend_takes_pages(node_backend(svc, count - 1), node_desc(svc, count - 1)))
                count--;
        g->nodes = alloc_array(count, sizeof(*g->nodes));
        g->bandwidth = alloc_array((size_t)count * count, sizeof(*g->bandwidth));
        g->distance = alloc_array((size_t)count * count, sizeof(*g->distance));
        if (!g->nodes || !g->bandwidth || !g->distance)
                return -ENOMEM;
        for (uint32_t i = 0; i < count; i++) {
                const struct node_desc *d = node_desc(svc, i);
                const struct backend *b = node_backend(svc, i);

                for (uint32_t k = 0; k < count; k++) {
                        g->bandwidth[i * count + k] = bandwidth_between(svc, i, k);
                        g->distance[i * count + k] = distance_between(svc, i, k);
                }
                g->nodes[i] = (struct mover_node){
                        .host = d->kind == NODE_HOST,
                        .faults = backend_serves_faults(b, d),
                        .capacity = d->capacity,
                        .total = d->capacity,
                        .hive = d->hive,
                        .numa = numa_of(svc, d),
                        .far = d->far,
                        .bandwidth = &g->bandwidth[i * count],
                        .distance = &g->distance[i * count],
                        .backend = b->has_spaces ? b : NULL,
                        .device = svc->state.nodes[i].device,
                        .name = d->name,
                };
        }
        g->nodes_count = count;
        return 0;
}

/* ---- what the mover tells ---- */

static void on_wake(void *userdata) {
        struct service *svc = userdata;

        svc->hooks.wake(svc->hooks.userdata);
}

static void on_ended(struct service *svc, uint64_t id) {
        list_for_each_safe (l, &svc->managed.ending) {
                struct managed_reservation *m = container_of(l, struct managed_reservation, link);

                if (m->reservation->object.id == id)
                        managed_ended(svc, m);
        }
}

static void on_done(void *userdata, uint64_t token, int result) {
        struct service *svc = userdata;

        if (ANSWER_KIND(token) == ANSWER_FENCE)
                managed_fence_done(svc, ANSWER_NUMBER(token), result);
        else if (ANSWER_KIND(token) == ANSWER_END)
                on_ended(svc, ANSWER_NUMBER(token));
}

static void on_joined(void *userdata, uint64_t token, int result, const char *why) {
        join_answer(userdata, ANSWER_NUMBER(token), result, why);
}

static void on_lost(void *userdata, void *session, const char *why, bool kill) {
        struct service *svc = userdata;
        struct managed_client *k = session;

        if (k->lost)
                return;
        k->lost = true;
        k->kill = kill;
        snprintf(k->why, sizeof(k->why), "%s", why);
        list_push_back(&svc->managed.lost, &k->link);
}

static void on_moved(void *userdata, void *range, uint32_t first, uint32_t granules, uint32_t from, uint32_t to,
                     enum managed_cause cause) {
        event_moved(userdata, range, first, granules, from, to, cause);
}

static void on_pinned(void *userdata, void *range, uint32_t first, uint32_t granules, uint32_t node) {
        event_pinned(userdata, range, first, granules, node);
}

uint64_t managed_pool_key(uint32_t node, uint32_t granule) {
        return KEEP_KEY(KEEP_SLOTS, (uint64_t)node << 8 | (unsigned)__builtin_ctz(granule));
}

/* Taken over from an earlier svmd, or new and in the keeper's hands. */
static int make_pool(struct service *svc, uint32_t node, uint32_t granule, uint64_t size, struct memfile **ret) {
        uint64_t key = managed_pool_key(node, granule);
        int numa = svc->managed.nodes[node].numa, fd = kept_take(svc, key), r;
        char name[64];

        if (fd >= 0) {
                r = memfile_adopt(ret, fd, size, numa, true);
                if (r < 0)
                        close(fd);
                return r;
        }
        snprintf(name, sizeof(name), "svmd-slots-%u-%u", node, granule);
        r = memfile_new(ret, name, size, numa, true);
        if (r < 0)
                return r;
        r = svc->hooks.keep(svc->hooks.userdata, key, memfile_fd(*ret));
        if (r < 0)
                memfile_free(*ret);
        return r;
}

/* Other memory there is its clients', who have not lost it. */
static void on_slots(void *userdata, uint32_t node, bool there, const char *why) {
        struct service *svc = userdata;
        const char *name = node_desc(svc, node)->name;

        cuda_node_gone(svc, node); /* they map what was there before */
        if (there) {
                if (!svc->state.nodes[node].offline)
                        mover_node_online(svc->mover, node);
                event_monitor(svc, "node-online", NULL, "", "managed pages can be moved to %s again", name);
                return;
        }
        message(MESSAGE_NODE_LOST, FIELDS(FIELD_TEXT("SVMD_NODE", name)), "%s has lost its managed pages: %s", name,
                why);
        event_condition(svc, "node-lost", "", node, 0, "%s has lost its managed pages: %s", name, why);
}

static void on_unregistered(void *userdata, void *registered, const char *why) {
        registered_gone(userdata, registered, why);
}

static int on_pool(void *userdata, uint32_t node, uint32_t granule, uint64_t size, struct memfile **ret) {
        struct service *svc = userdata;
        struct managed_pool *pool = alloc_zero(sizeof(*pool));
        int r = pool ? make_pool(svc, node, granule, size, &pool->memfile) : -ENOMEM;

        if (r < 0) {
                alloc_free(pool);
                return r;
        }
        pool->node = node;
        pool->granule = granule;
        pool->next = svc->managed.pools;
        svc->managed.pools = pool;
        *ret = pool->memfile;
        return 0;
}

uint64_t managed_pool_bytes(const struct service *svc, uint32_t node) {
        uint64_t bytes = 0;

        for (const struct managed_pool *pool = svc->managed.pools; pool; pool = pool->next)
                bytes += pool->node == node ? memfile_bytes(pool->memfile) : 0;
        return bytes;
}

static void free_pools(struct service *svc) {
        struct managed_pool *pool;

        while ((pool = svc->managed.pools)) {
                svc->managed.pools = pool->next;
                memfile_free(pool->memfile);
                alloc_free(pool);
        }
}

/* Ending its session would not do: it has the range's memory mapped. */
static void end_process(struct service *svc, struct session *s, const char *why) {
        int r = svc->hooks.kill(svc->hooks.userdata, s);

        message(MESSAGE_SESSION_KILLED,
                FIELDS(FIELD_NUMBER("SVMD_SESSION", s->object.id), FIELD_NUMBER("SVMD_SESSION_PID", s->pid),
                       FIELD_NUMBER("SVMD_SESSION_UID", s->who.uid)),
                "session %llu: %s; pid %u (uid %u) %s", (unsigned long long)s->object.id, why, s->pid, s->who.uid,
                r == 0 ? "was killed" : strerror(-r));
        event_monitor(svc, "session-killed", s, s->partition ? s->partition->name->text : "", "%s: %s", s->client, why);
}

void managed_collect(struct service *svc) {
        if (!svc->mover)
                return;
        svc->moves_told = 0;
        mover_collect(svc->mover);
        orders_collect(svc);
        joins_collect(svc);
        capacity_collect(svc);
        pages_collect(svc);
        cuda_collect(svc);
        while (!list_empty(&svc->managed.lost)) {
                struct managed_client *k = container_of(svc->managed.lost.next, struct managed_client, link);

                list_remove(&k->link);
                if (k->kill)
                        end_process(svc, k->session, k->why);
                service_session_kick(svc, k->session, SVMD_STATUS_GONE, k->why);
        }
}

/* ---- coming up and going down ---- */

static unsigned workers(void) {
        long cpus = sysconf(_SC_NPROCESSORS_ONLN);

        return cpus < WORKERS_MIN ? WORKERS_MIN : cpus > WORKERS_MAX ? WORKERS_MAX : (unsigned)cpus;
}

static void open_device(struct service *svc) {
        char path[512];

        snprintf(path, sizeof(path), "%s/userfaultfd", svc->options.dev_root);
        svc->managed.device = open(path, O_RDWR | O_CLOEXEC);
        svc->managed.device_error = svc->managed.device < 0 ? errno : 0;
}

int managed_start(struct service *svc, char *why, size_t why_size) {
        const struct mover_hooks hooks = {
                .userdata = svc,
                .wake = on_wake,
                .done = on_done,
                .joined = on_joined,
                .lost = on_lost,
                .moved = on_moved,
                .pinned = on_pinned,
                .unregistered = on_unregistered,
                .pool = on_pool,
                .slots = on_slots,
        };
        struct mover_config config = {
                .workers = workers(),
                .workers_max = 4 * workers(),
                .session_steps = SESSION_STEPS,
                .largest = LARGEST,
                .profile = svc->options.policy,
        };
        int r;

        open_device(svc);
        if (!mover_features()->usable)
                return 0;
        r = make_nodes(svc);
        config.nodes = svc->managed.nodes;
        config.nodes_count = svc->managed.nodes_count;
        if (r == 0)
                r = mover_new(&svc->mover, &config, &hooks);
        if (r < 0)
                snprintf(why, why_size, "what moves pages cannot come up: %s", strerror(-r));
        return r;
}

void managed_stop(struct service *svc) {
        mover_free(svc->mover);
        svc->mover = NULL;
        list_for_each_safe (l, &svc->managed.ending)
                managed_ended(svc, container_of(l, struct managed_reservation, link));
        free_pools(svc);
        alloc_free(svc->managed.nodes);
        alloc_free(svc->managed.bandwidth);
        alloc_free(svc->managed.distance);
        svc->managed.nodes = NULL;
        svc->managed.bandwidth = svc->managed.distance = NULL;
        svc->managed.nodes_count = 0;
        if (svc->managed.device >= 0)
                close(svc->managed.device);
        svc->managed.device = -1;
}

/* ---- finding ---- */

struct managed_reservation *managed_of(const struct reservation *r) {
        return r->managed;
}

struct managed_member *managed_member_find(const struct managed_reservation *m, const struct session *s) {
        list_for_each (l, &m->members) {
                struct managed_member *member = container_of(l, struct managed_member, by_reservation);

                if (member->client->session == s)
                        return member;
        }
        return NULL;
}

static int check_opened(struct call *c, const struct reservation *r, unsigned access) {
        unsigned has = reservation_access(r, c->session);

        if (has == 0 && opening_find(r, c->session))
                return refuse(c, SVMD_STATUS_RANGE, "the reservation at 0x%" PRIx64 " is being closed", r->va.start);
        if (has == 0)
                return refuse(c, SVMD_STATUS_FOREIGN, "0x%" PRIx64 " is reserved by another session", r->va.start);
        if (access & ~has)
                return refuse(c, SVMD_STATUS_DENIED,
                              "this session opened the reservation at 0x%" PRIx64 " to read only", r->va.start);
        return 0;
}

int managed_at(struct call *c, const struct partition *p, uint64_t address, uint64_t size, unsigned access,
               struct managed_reservation **ret, uint32_t *ret_first, uint32_t *ret_count) {
        struct reservation *r = adopted_or_at(c, p, address);
        struct managed_reservation *m;
        uint64_t offset, left;
        int k;

        if (!r || r->freeing)
                return refuse_address(c, p, address);
        if (access && (k = check_opened(c, r, access)) != 0)
                return k;
        m = managed_of(r);
        if (private_of(r))
                return private_refuse(c, r);
        if (!m)
                return refuse(c, SVMD_STATUS_INVALID,
                              "the reservation at 0x%" PRIx64 " is explicit: its memory stays where it was created",
                              r->va.start);
        offset = address - r->va.start;
        left = r->va.size - offset;
        if (offset % m->granule)
                return refuse(c, SVMD_STATUS_ALIGN,
                              "address 0x%" PRIx64 " is not at a granule of its reservation, %u KiB each", address,
                              m->granule >> 10);
        if (size % m->granule)
                return refuse(c, SVMD_STATUS_SIZE,
                              "size %" PRIu64 " is not a multiple of the reservation's granule, %u KiB", size,
                              m->granule >> 10);
        if (size > left)
                return refuse(c, SVMD_STATUS_RANGE,
                              "0x%" PRIx64 " bytes at 0x%" PRIx64 " pass the end of the reservation, 0x%" PRIx64, size,
                              address, r->va.start + r->va.size);
        *ret = m;
        *ret_first = (uint32_t)(offset / m->granule);
        *ret_count = (uint32_t)((size ? size : left) / m->granule);
        return 0;
}

int managed_around(struct call *c, const struct partition *p, uint64_t address, unsigned access,
                   struct managed_reservation **ret, uint32_t *ret_granule) {
        const struct reservation *r = adopted_or_at(c, p, address);
        const struct managed_reservation *m = r ? managed_of(r) : NULL;
        uint32_t count;

        if (m)
                address -= (address - r->va.start) % m->granule;
        return managed_at(c, p, address, 0, access, ret, ret_granule, &count);
}

/* ---- pins ---- */

int managed_pins_add(struct managed_member *member, uint32_t first, uint32_t count) {
        if (!member->pins)
                member->pins = alloc_array(member->managed->count, sizeof(*member->pins));
        if (!member->pins)
                return -ENOMEM;
        for (uint32_t i = first; i < first + count; i++)
                if (member->pins[i] == UINT16_MAX)
                        return -EOVERFLOW;
        for (uint32_t i = first; i < first + count; i++)
                member->pins[i]++;
        return 0;
}

bool managed_pins_all(const struct managed_member *member, uint32_t first, uint32_t count) {
        for (uint32_t i = first; i < first + count; i++)
                if (!member->pins || member->pins[i] == 0)
                        return false;
        return true;
}

void managed_pins_drop(struct managed_member *member, uint32_t first, uint32_t count) {
        for (uint32_t i = first; i < first + count; i++)
                member->pins[i]--;
}
