#include "service/lookup.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/by_id.h"
#include "core/imap.h"
#include "core/lease.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "core/share.h"
#include "core/space.h"
#include "service/devices.h"

/*
 * An id that is not the caller's gets one of two answers: of its own partition, that it belongs to another session; of
 * any other, that there is no such thing. So partitions learn nothing of one another. A process that holds several
 * partitions is told when it mixes them up: what another one of its sessions made, it knows already.
 */

int check_quota(struct call *c, uint64_t more) {
        if (c->session->objects + more <= c->svc->options.max_objects_per_session)
                return 0;
        return refuse(c, SVMD_STATUS_QUOTA,
                      "this session holds %" PRIu64 " objects, which is the most (max-objects-per-session)",
                      c->session->objects);
}

bool fds_fit(const struct service *svc, const struct session *s, uint32_t more) {
        uint32_t max = svc->options.max_fds_per_uid;

        return !s || max == 0 || (s->who.superuser && !s->door) || s->party->fds + more <= max;
}

int check_fds(struct call *c, uint32_t more) {
        if (fds_fit(c->svc, c->session, more))
                return 0;
        return refuse(c, SVMD_STATUS_QUOTA,
                      "svmd keeps %" PRIu64 " file descriptors for user %u, of %u that it may (max-fds-per-uid): give "
                      "back shareable memory, dma-bufs, managed ranges or fences with an eventfd, or have the limit "
                      "raised",
                      c->session->party->fds, c->session->who.uid, c->svc->options.max_fds_per_uid);
}

int check_range(struct call *c, uint64_t address, uint64_t size) {
        if (size == 0 || size % SVMD_PAGE)
                return refuse(c, SVMD_STATUS_SIZE, "size %" PRIu64 " is not a multiple of 4 KiB above 0", size);
        if (address % SVMD_PAGE)
                return refuse(c, SVMD_STATUS_ALIGN, "address 0x%" PRIx64 " is not a multiple of 4 KiB", address);
        if (address + size < address)
                return refuse(c, SVMD_STATUS_RANGE,
                              "0x%" PRIx64 " bytes at 0x%" PRIx64 " pass the end of all addresses", size, address);
        return 0;
}

int check_access(struct call *c, uint32_t access) {
        if (access == 0 || access == RIGHT_READ || access == (RIGHT_READ | RIGHT_WRITE))
                return 0;
        return refuse(c, SVMD_STATUS_INVALID, "access is 0 (none), 1 (read) or 3 (read and write), not %u", access);
}

int check_opening_access(struct call *c, uint32_t access) {
        if (access == RIGHT_READ || access == (RIGHT_READ | RIGHT_WRITE))
                return 0;
        return refuse(c, SVMD_STATUS_INVALID, "access is 1 (read) or 3 (read and write), not %u", access);
}

int check_named(struct call *c, const struct name *n, const char *what, const char *text, const char *verb,
                uint32_t access) {
        const struct session *s = c->session;
        const char *partition = s->partition->name->text;

        if (!n || (s->guest && !share_access(n, s)))
                return refuse(c, SVMD_STATUS_NO_SUCH, "partition %s has no %s named %s%s", partition, what, text,
                              s->guest ? " that it shares with yours" : "");
        if (s->guest && access & ~share_access(n, s))
                return refuse(c, SVMD_STATUS_DENIED, "partition %s shares %s to read only", partition, text);
        if (!s->guest && !mode_allows(n->uid, n->gid, n->mode, &s->who, access))
                return refuse(c, SVMD_STATUS_DENIED,
                              "%s belongs to uid %u, gid %u, mode %04o: uid %u may not %s it to %s", text, n->uid,
                              n->gid, n->mode, s->who.uid, verb, access == RIGHT_READ ? "read" : "read and write");
        return 0;
}

static int no_such(struct call *c, const char *what, uint64_t id) {
        return refuse(c, SVMD_STATUS_NO_SUCH, "there is no %s %" PRIu64 ", or no longer", what, id);
}

static int foreign(struct call *c, const char *what, uint64_t id) {
        return refuse(c, SVMD_STATUS_FOREIGN, "%s %" PRIu64 " belongs to another session", what, id);
}

/* Of another partition; `maker` made it, or is NULL. */
static int elsewhere(struct call *c, const char *what, uint64_t id, const struct session *maker) {
        if (!maker || maker->process != c->session->process)
                return no_such(c, what, id);
        return refuse(c, SVMD_STATUS_FOREIGN,
                      "%s %" PRIu64 " belongs to session %" PRIu64
                      " of this process, in partition %s, and this session "
                      "is in %s: what one made no other can use",
                      what, id, maker->object.id, maker->partition->name->text, c->session->partition->name->text);
}

int refuse_address(struct call *c, const struct partition *p, uint64_t address) {
        uint64_t end = p->slice.start + p->slice.size;

        if (address >= p->slice.start && address < end)
                return refuse(c, SVMD_STATUS_RANGE, "0x%" PRIx64 " lies in no reservation; reserve the addresses first",
                              address);
        return refuse(c, SVMD_STATUS_RANGE,
                      "0x%" PRIx64 " is no address of partition %s, which has 0x%" PRIx64 " to 0x%" PRIx64, address,
                      p->name->text, p->slice.start, end);
}

int find_reservation(struct call *c, uint64_t id, struct reservation **ret) {
        struct reservation *r = reservation_by_id(&c->svc->state, id);

        if (!r)
                return no_such(c, "reservation", id);
        if (r->partition != c->session->partition)
                return elsewhere(c, "reservation", id, r->owner);
        if (r->freeing)
                return no_such(c, "reservation", id);
        if (!reservation_access(r, c->session))
                return opening_find(r, c->session) ? no_such(c, "reservation", id) : foreign(c, "reservation", id);
        *ret = r;
        return 0;
}

int find_memory(struct call *c, uint64_t id, struct memory **ret, struct holding **ret_holding) {
        struct memory *m = memory_by_id(&c->svc->state, id);
        struct holding *h = m ? holding_find(m, c->session) : NULL;

        if (!m || (h && h->releasing))
                return no_such(c, "memory", id);
        if (!h && m->partition != c->session->partition)
                return elsewhere(c, "memory", id, m->creator.session);
        if (!h)
                return foreign(c, "memory", id);
        *ret = m;
        *ret_holding = h;
        return 0;
}

int find_lease(struct call *c, uint64_t id, struct lease **ret) {
        struct lease *l = lease_find(c->svc, id);

        if (!l || l->session != c->session || l->state == LEASE_EXPIRED || l->releasing)
                return refuse(c, l && l->session != c->session ? SVMD_STATUS_FOREIGN : SVMD_STATUS_NO_SUCH,
                              "this session has no lease %" PRIu64, id);
        if (l->state == LEASE_WAITS)
                return refuse(c, SVMD_STATUS_BUSY, "lease %" PRIu64 " is not granted yet: wait for its fence", id);
        *ret = l;
        return 0;
}

int find_space(struct call *c, uint64_t id, struct space **ret) {
        struct space *s = space_by_id(&c->svc->state, id);

        if (!s)
                return no_such(c, "space", id);
        if (s->session != c->session)
                return s->session->partition == c->session->partition ? foreign(c, "space", id)
                                                                      : elsewhere(c, "space", id, s->session);
        if (s->destroying)
                return no_such(c, "space", id);
        *ret = s;
        return 0;
}

int find_node(struct call *c, uint32_t id) {
        if (id < c->svc->options.machine->count)
                return 0;
        if (devices_has(c->svc, id))
                return refuse(c, SVMD_STATUS_NODE_KIND,
                              "node %u is a driver's device, where svmd places no memory: hand its dma-bufs over "
                              "(svmd_mem_import_dmabuf)",
                              id);
        return refuse(c, SVMD_STATUS_NO_NODE, "there is no node %u; this machine has nodes 0 to %u", id,
                      c->svc->options.machine->count - 1);
}

void say_off(const struct service *svc, uint32_t node, char *text, size_t size) {
        const char *name = node_desc(svc, node)->name;
        const struct node *n = &svc->state.nodes[node];

        if (n->lost && n->trouble[0]) /* svmd has seen it go, and sees it come */
                snprintf(text, size, "%s has vanished: %s", name, n->trouble);
        else if (n->lost)
                snprintf(text, size, "%s has vanished: svmd-ctl node online %s when it is back", name, name);
        else
                snprintf(text, size, "node %s is offline: svmd-ctl node online %s", name, name);
}

int refuse_off(struct call *c, uint32_t node) {
        char text[256];

        say_off(c->svc, node, text, sizeof(text));
        return refuse(c, SVMD_STATUS_NO_NODE, "%s", text);
}

int call_partition(struct call *c, const char *name, struct partition **ret) {
        struct partition *p = c->session->partition;

        if (name[0]) {
                if (!c->session->admin)
                        return refuse(c, SVMD_STATUS_DENIED, "only an administrator names another partition");
                p = partition_find(&c->svc->state, name);
                if (!p || !p->ready)
                        return refuse(c, SVMD_STATUS_NO_SUCH, "there is no partition %s; see svmd-ctl partition list",
                                      name);
        }
        if (!p)
                return refuse(c, SVMD_STATUS_NOT_ATTACHED, "name a partition, or attach to one first");
        *ret = p;
        return 0;
}

static int find_cpu(struct call *c, uint64_t address, uint64_t size, struct target *ret) {
        struct reservation *r = reservation_at(c->session->partition, address);
        unsigned access = r ? reservation_access(r, c->session) : 0;

        if (!r || r->freeing)
                return refuse_address(c, c->session->partition, address);
        if (!access && opening_find(r, c->session))
                return refuse(c, SVMD_STATUS_RANGE, "the reservation at 0x%" PRIx64 " is being closed", r->va.start);
        if (!access)
                return refuse(c, SVMD_STATUS_FOREIGN, "0x%" PRIx64 " is reserved by another session", address);
        if (!(access & RIGHT_WRITE))
                return refuse(c, SVMD_STATUS_DENIED,
                              "this session opened the reservation at 0x%" PRIx64 " to read only", r->va.start);
        if (private_of(r))
                return private_refuse(c, r);
        if (managed_of(r))
                return refuse(c, SVMD_STATUS_INVALID,
                              "the reservation at 0x%" PRIx64 " is managed: all of it is there already, and svmd moves "
                              "its pages; explicit memory needs an explicit reservation",
                              r->va.start);
        if (size > r->va.start + r->va.size - address)
                return refuse(c, SVMD_STATUS_RANGE,
                              "0x%" PRIx64 " bytes at 0x%" PRIx64 " pass the end of the reservation, 0x%" PRIx64, size,
                              address, r->va.start + r->va.size);
        *ret = (struct target){ .reservation = r };
        return 0;
}

int find_target(struct call *c, uint64_t space, uint64_t address, uint64_t size, struct target *ret) {
        const struct node_desc *node;
        struct target t = { 0 };
        int r = check_range(c, address, size);

        if (r != 0)
                return r;
        if (space == 0)
                return find_cpu(c, address, size, ret);
        r = find_space(c, space, &t.space);
        if (r != 0)
                return r;
        node = node_desc(c->svc, t.space->node);
        if (address < node->va_start || address + size > node->va_end)
                return refuse(c, SVMD_STATUS_RANGE,
                              "%s can show addresses 0x%" PRIx64 " to 0x%" PRIx64 "; 0x%" PRIx64 " is not among them",
                              node->name, node->va_start, node->va_end,
                              address < node->va_start ? address : address + size);
        *ret = t;
        return 0;
}
