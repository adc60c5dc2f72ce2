#include "service/lease.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "core/by_id.h"
#include "core/keeping.h"
#include "core/lease.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/capacity.h"
#include "service/effects.h"
#include "service/fence.h"
#include "service/internal.h"

static struct lease *lease_of(struct admission *a) {
        return container_of(a, struct lease, admission);
}

struct lease *lease_find(const struct service *svc, uint64_t id) {
        struct object *o = ids_find(&svc->state.ids, id);

        return o && o->type == OBJECT_LEASE ? container_of(o, struct lease, object) : NULL;
}

/* Nodes that take nothing new; and what managed ranges were promised, or have pinned, stays free. Other granules leave
 * as soon as it is charged, as they do for memory. */
static bool forbids(void *userdata, const struct admission *a) {
        struct service *svc = userdata;
        const struct lease *l = container_of(a, struct lease, admission);
        bool shared = false;

        for (uint32_t i = 0; i < a->count; i++) {
                if (svc->state.nodes[l->nodes[i].node].offline)
                        return true;
                shared |= capacity_is_shared(svc, l->nodes[i].node);
        }
        return shared && !capacity_for_lease(svc, l);
}

void leases_init(struct service *svc) {
        admission_line_init(&svc->leases.line, forbids, svc);
        list_init(&svc->leases.ends);
        leases_room_init(svc);
}

void leases_changed(struct service *svc) {
        svc->leases.changed = true;
}

static void tell_capacity(struct service *svc, const struct lease *l) {
        for (uint32_t i = 0; i < l->admission.count; i++)
                capacity_changed(svc, l->partition, l->nodes[i].node);
}

/* ---- time ---- */

static void wake_for_first(struct service *svc, uint64_t now) {
        const struct list *ends = &svc->leases.ends;

        if (!list_empty(ends))
                service_wake_at(svc, container_of(ends->next, struct lease, by_end)->until_ns, now);
}

static void ends_insert(struct service *svc, struct lease *l) {
        struct list *at = svc->leases.ends.prev;

        if (l->until_ns == UINT64_MAX)
                return;
        while (at != &svc->leases.ends && container_of(at, struct lease, by_end)->until_ns > l->until_ns)
                at = at->prev;
        list_push_front(at, &l->by_end);
        wake_for_first(svc, keeping_now(svc));
}

/* ---- end ---- */

static void note(struct service *svc, uint16_t type, const struct lease *l) {
        struct effect_id e = { .id = l->object.id };

        journal_note(svc, type, &e, sizeof(e));
}

void lease_end(struct service *svc, struct lease *l) {
        if (l->state == LEASE_WAITS && !list_empty(&l->admission.by_line)) {
                admission_call_off(&svc->leases.line, &l->admission);
                leases_changed(svc);
        }
        for (uint32_t i = 0; i < l->admission.count; i++)
                charge_drop(&l->needs[i].charge);
        tell_capacity(svc, l);
        keeping_drop(l->keeping);
        lease_free(&svc->state, l);
}

static void leave(struct service *svc, struct lease *l) {
        if (!l->keeping || l->releasing) {
                lease_end(svc, l);
                return;
        }
        lease_orphan(l);
        keeping_left(svc, l->keeping);
}

void leases_end(struct service *svc, struct session *s) {
        list_for_each_safe (l, &s->leases)
                leave(svc, container_of(l, struct lease, by_session));
}

static void say_expired(const struct service *svc, const struct lease *l, struct device_result *ret) {
        const struct account *lacks = admission_lacks(&l->admission);

        ret->code = SVMD_STATUS_TIMEOUT;
        if (lacks)
                snprintf(ret->text, sizeof(ret->text),
                         "%s had no room for it in time; svmd-ctl lease list shows who waits",
                         node_desc(svc, lease_need_of(l, lacks)->node)->name);
        else
                snprintf(ret->text, sizeof(ret->text),
                         "its turn did not come in time; svmd-ctl lease list shows who waits");
}

static void expire(struct service *svc, struct lease *l) {
        struct device_result d = { 0 };

        admission_call_off(&svc->leases.line, &l->admission);
        leases_changed(svc);
        list_remove(&l->by_end);
        l->state = LEASE_EXPIRED;
        say_expired(svc, l, &d);
        if (!fence_tell(svc, l->session, l->object.id, &d))
                return;
        note(svc, EFFECT_LEASE_END, l);
        lease_free(&svc->state, l);
}

void leases_collect(struct service *svc) {
        struct list *ends = &svc->leases.ends;
        uint64_t now;

        if (list_empty(ends))
                return;
        leases_step(svc);
        now = keeping_now(svc);
        while (!list_empty(ends)) {
                struct lease *l = container_of(ends->next, struct lease, by_end);

                if (l->until_ns > now)
                        break;
                expire(svc, l);
        }
        wake_for_first(svc, now);
}

/* ---- turns ---- */

static void granted(struct service *svc, struct lease *l) {
        list_remove(&l->admission.by_line);
        list_remove(&l->by_end);
        l->state = LEASE_GRANTED;
        l->making = false;
        tell_capacity(svc, l);
}

static uint64_t given_back(const struct service *svc) {
        uint64_t sum = svc->managed.bytes;

        for (uint32_t i = 0; i < svc->options.machine->count; i++)
                sum += svc->state.nodes[i].account.refunds;
        return sum;
}

void leases_step(struct service *svc) {
        struct leases *all = &svc->leases;
        struct list now;

        if (list_empty(&all->line.waiting) || svc->closing || svc->starting)
                return;
        if (!all->changed && all->refunds == given_back(svc))
                return;
        all->changed = false;
        all->refunds = given_back(svc);
        list_init(&now);
        admission_step(&all->line, &now);
        while (!list_empty(&now)) {
                struct lease *l = lease_of(container_of(now.next, struct admission, by_line));
                struct device_result d = { .value = l->object.id };

                granted(svc, l);
                note(svc, EFFECT_LEASE_GRANT, l);
                fence_tell(svc, l->session, l->object.id, &d);
        }
}

bool lease_begin(struct service *svc, struct lease *l) {
        struct list now;

        list_init(&now);
        admission_enter(&svc->leases.line, &l->admission);
        admission_step(&svc->leases.line, &now);
        if (list_empty(&now)) {
                ends_insert(svc, l);
                return false;
        }
        granted(svc, l);
        return true;
}

/* ---- memory out of it ---- */

unsigned lease_draw(struct service *svc, struct session *s, uint64_t id, uint32_t node, uint64_t bytes, char *why,
                    size_t why_size) {
        struct lease *l = lease_find(svc, id);
        char asked[24], left[24];

        if (!l || l->session != s || l->state == LEASE_EXPIRED || l->releasing) {
                snprintf(why, why_size, "this session has no lease %" PRIu64, id);
                return SVMD_STATUS_NO_SUCH;
        }
        if (l->state == LEASE_WAITS) {
                snprintf(why, why_size, "lease %" PRIu64 " is not granted yet: wait for its fence", id);
                return SVMD_STATUS_BUSY;
        }
        if (bytes > lease_left(l, node)) {
                text_bytes(asked, sizeof(asked), bytes);
                text_bytes(left, sizeof(left), lease_left(l, node));
                snprintf(why, why_size, "lease %" PRIu64 " has %s left on %s, not %s", id, left,
                         node_desc(svc, node)->name, asked);
                return SVMD_STATUS_LIMIT;
        }
        lease_take(l, node, bytes);
        return SVMD_STATUS_OK;
}

void lease_put_back(struct service *svc, uint64_t id, uint32_t node, uint64_t bytes) {
        struct lease *l = id ? lease_find(svc, id) : NULL;

        if (l)
                lease_return(l, node, bytes);
}

/* ---- for who asks ---- */

bool lease_answer(struct call *c, uint64_t id, struct device_result *ret, bool *ret_done) {
        struct lease *l = lease_find(c->svc, id);

        if (!l || l->session != c->session)
                return false;
        *ret_done = l->state != LEASE_WAITS;
        ret->value = l->object.id;
        if (l->state != LEASE_EXPIRED)
                return true;
        say_expired(c->svc, l, ret);
        note(c->svc, EFFECT_LEASE_END, l);
        lease_free(&c->svc->state, l);
        return true;
}

/* ---- journal ---- */

struct need_row {
        uint64_t node, asked, left;
};

size_t lease_effect(const struct lease *l, void *bytes) {
        struct effect_lease e = {
                .id = l->object.id,
                .session = l->session ? l->session->object.id : 0,
                .until_ns = l->until_ns,
                .priority = l->admission.priority,
                .granted = l->state == LEASE_GRANTED,
                .count = l->admission.count,
        };
        struct need_row *rows = (struct need_row *)((char *)bytes + sizeof(e));

        memcpy(bytes, &e, sizeof(e));
        for (uint32_t i = 0; i < e.count; i++)
                rows[i] = (struct need_row){ l->nodes[i].node, l->nodes[i].asked, l->needs[i].bytes };
        if (l->session)
                return sizeof(e) + e.count * sizeof(*rows);
        snprintf((char *)&rows[e.count], LEASE_PARTITION_MAX, "%s", l->partition->name->text);
        return sizeof(e) + e.count * sizeof(*rows) + LEASE_PARTITION_MAX;
}

static bool rows_ok(const struct service *svc, const struct effect_lease *e, const struct need_row *rows) {
        uint64_t seen[NODE_MAX / 64] = { 0 };

        for (uint32_t i = 0; i < e->count; i++) {
                const struct need_row *r = &rows[i];

                if (r->node >= svc->options.machine->count || seen[r->node / 64] & 1ull << r->node % 64 ||
                    r->asked == 0 || r->asked > node_desc(svc, (uint32_t)r->node)->capacity || r->left > r->asked ||
                    (!e->granted && r->left != r->asked) || r->left % SVMD_PAGE || r->asked % SVMD_PAGE)
                        return false;
                seen[r->node / 64] |= 1ull << r->node % 64;
        }
        return true;
}

static struct session *session_of(const struct service *svc, uint64_t id) {
        struct session *s = session_by_id(&svc->state, id);

        return s && s->partition ? s : NULL;
}

/* The partition that an effect names which is whole up to its rows; NULL: there is none. */
static struct partition *partition_of(const struct service *svc, const struct effect_lease *e, size_t size,
                                      const struct session *s) {
        const char *name = (const char *)(e + 1) + e->count * sizeof(struct need_row);

        if (s)
                return s->partition;
        if (e->session || !e->granted || size < sizeof(*e) + e->count * sizeof(struct need_row) + LEASE_PARTITION_MAX ||
            !memchr(name, 0, LEASE_PARTITION_MAX))
                return NULL;
        return partition_find(&svc->state, name);
}

static int replay_lease(struct service *svc, const struct effect_lease *e, size_t size) {
        const struct need_row *rows = (const void *)(e + 1);
        struct session *s = session_of(svc, e->session);
        struct lease_need nodes[SVMD_LEASE_NEEDS_MAX];
        struct partition *p;
        struct lease *l;

        if (e->count == 0 || e->count > SVMD_LEASE_NEEDS_MAX || size < sizeof(*e) + e->count * sizeof(*rows) ||
            e->id == 0 || e->id >= UINT64_MAX >> 1 || ids_find(&svc->state.ids, e->id) || !rows_ok(svc, e, rows) ||
            !(p = partition_of(svc, e, size, s)))
                return -EBADMSG;
        for (uint32_t i = 0; i < e->count; i++)
                nodes[i] = (struct lease_need){ .node = (uint32_t)rows[i].node, .asked = rows[i].asked };
        if (ids_reserve(&svc->state.ids, 1) < 0 || !(l = lease_new(&svc->state, e->id, p, s, nodes, e->count)))
                return -ENOMEM;
        if (svc->state.next_id <= e->id)
                svc->state.next_id = e->id + 1;
        l->until_ns = e->until_ns;
        l->admission.priority = e->priority;
        if (!e->granted) {
                admission_enter(&svc->leases.line, &l->admission);
                ends_insert(svc, l);
                leases_changed(svc);
                return 0;
        }
        l->state = LEASE_GRANTED;
        for (uint32_t i = 0; i < e->count; i++) {
                l->needs[i].bytes = rows[i].left;
                charge_force(&l->needs[i].charge, l->needs[i].account, rows[i].left);
        }
        tell_capacity(svc, l);
        return 0;
}

static int replay_grant(struct service *svc, struct lease *l) {
        if (l->state != LEASE_WAITS)
                return -EBADMSG;
        admission_call_off(&svc->leases.line, &l->admission);
        for (uint32_t i = 0; i < l->admission.count; i++)
                charge_force(&l->needs[i].charge, l->needs[i].account, l->needs[i].bytes);
        granted(svc, l);
        return 0;
}

static int replay_use(struct lease *l, const struct effect_lease_use *e) {
        if (e->node > UINT32_MAX || e->bytes > lease_left(l, (uint32_t)e->node) || e->bytes == 0)
                return -EBADMSG;
        lease_take(l, (uint32_t)e->node, e->bytes);
        return 0;
}

static int replay_fill(struct service *svc, struct lease *l, const struct effect_lease_use *e) {
        if (l->state != LEASE_GRANTED || !l->session || e->node >= svc->options.machine->count || e->bytes == 0 ||
            e->bytes > node_desc(svc, (uint32_t)e->node)->capacity)
                return -EBADMSG;
        if (!lease_has_node(l, (uint32_t)e->node)) {
                if (l->admission.count >= SVMD_LEASE_NEEDS_MAX)
                        return -EBADMSG;
                if (lease_add_node(l, (uint32_t)e->node) < 0)
                        return -ENOMEM;
        }
        lease_return(l, (uint32_t)e->node, e->bytes);
        tell_capacity(svc, l);
        return 0;
}

static int replay_name(struct lease *l, const struct effect_lease_name *e) {
        const char *name = (const char *)(e + 1);

        if (l->state != LEASE_GRANTED || l->name || !name_ok(name) || name_find(&l->partition->lease_names, name))
                return -EBADMSG;
        return lease_set_name(l, name, e->uid, e->gid, e->mode);
}

static int replay_claim(struct service *svc, struct lease *l, const struct effect_lease_claim *e) {
        struct session *s = session_of(svc, e->session);

        if (!s || s->partition != l->partition || l->session || !l->keeping)
                return -EBADMSG;
        if (lease_accounts(&svc->state, s) < 0)
                return -ENOMEM;
        lease_adopt(l, s);
        keeping_used(l->keeping);
        return 0;
}

int lease_replay(struct service *svc, uint16_t type, const void *bytes, size_t size, char *why, size_t why_size) {
        const struct effect_id *e = bytes; /* each begins with the lease's number */
        struct lease *l = lease_find(svc, e->id);
        int r = 0;

        if (type == EFFECT_LEASE)
                r = replay_lease(svc, bytes, size);
        else if (!l)
                r = type == EFFECT_LEASE_END ? 0 : -EBADMSG; /* a snapshot leaves out those that have expired */
        else if (type == EFFECT_LEASE_GRANT)
                r = replay_grant(svc, l);
        else if (type == EFFECT_LEASE_USE)
                r = replay_use(l, bytes);
        else if (type == EFFECT_LEASE_FILL)
                r = replay_fill(svc, l, bytes);
        else if (type == EFFECT_LEASE_NAME)
                r = replay_name(l, bytes);
        else if (type == EFFECT_LEASE_CLAIM)
                r = replay_claim(svc, l, bytes);
        else
                lease_end(svc, l);
        if (r == -EBADMSG)
                snprintf(why, why_size, "the journal has a lease %" PRIu64 " that cannot be", e->id);
        return r;
}
