#include "service/internal.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "core/imap.h"
#include "core/keeping.h"
#include "core/lease.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "core/space.h"
#include "service/dmabuf.h"
#include "service/effects.h"
#include "service/grant.h"
#include "service/lookup.h"
#include "service/range_restore.h"
#include "service/registered.h"
#include "service/said.h"

/*
 * Everything there is, as the effects that would make it, in an order in which each names only what came before:
 * epoch, nodes, sessions, files, memory, handles, reservations, openings, what sessions joined, spaces, mappings,
 * replies that may not have left, leases, and what was said of managed ranges and nodes.
 */

static int put(struct service *svc, uint16_t type, const void *bytes, size_t size) {
        return journal_snapshot_put(svc->journal, type, bytes, size);
}

/* A fixed part and up to two tails. */
static int put_tailed(struct service *svc, uint16_t type, const void *fixed, size_t size, const void *a, size_t a_size,
                      const void *b, size_t b_size) {
        uint8_t *bytes = alloc_zero(size + a_size + b_size);
        int r;

        if (!bytes)
                return -ENOMEM;
        memcpy(bytes, fixed, size);
        if (a_size)
                memcpy(bytes + size, a, a_size);
        if (b_size)
                memcpy(bytes + size + a_size, b, b_size);
        r = put(svc, type, bytes, size + a_size + b_size);
        alloc_free(bytes);
        return r;
}

static int put_machine(struct service *svc) {
        struct effect_epoch e = { .epoch = svc->epoch, .next_id = svc->state.next_id, .generation = svc->generation };
        int r = put(svc, EFFECT_EPOCH, &e, sizeof(e));

        for (uint32_t i = 0; r == 0 && i < svc->options.machine->count; i++) {
                const struct node_desc *d = node_desc(svc, i);
                struct effect_node n = { .index = i,
                                         .kind = d->kind,
                                         .capacity = d->capacity,
                                         .unique = d->card.unique,
                                         .driver_id = d->card.id,
                                         .domain = d->card.domain,
                                         .location = d->card.location };

                memcpy(n.name, d->name, sizeof(d->name));
                r = put(svc, EFFECT_NODE, &n, sizeof(n));
        }
        return r;
}

static int put_session(struct service *svc, const struct session *s) {
        struct effect_session e = effect_of_session(s, s->partition);

        return put_tailed(svc, EFFECT_SESSION, &e, sizeof(e), s->who.groups, s->who.groups_count * sizeof(uint32_t),
                          s->client, strlen(s->client) + 1);
}

static int put_bounds(struct service *svc, const struct session *s) {
        int r = 0;

        for (uint32_t i = 0; r == 0 && s->accounts && i < svc->options.machine->count; i++) {
                const struct bounds b = account_bounds(&s->accounts[i]);
                struct effect_session_bounds e = effect_of_bounds(s, i);

                if (!bounds_are_none(&b))
                        r = put(svc, EFFECT_SESSION_BOUNDS, &e, sizeof(e));
        }
        return r;
}

static int put_file(struct service *svc, const struct file *f) {
        struct effect_file e = effect_of_file(f);

        return put(svc, EFFECT_FILE, &e, sizeof(e));
}

/* `k` may be NULL. */
static int put_keeping(struct service *svc, const struct keeping *k) {
        struct effect_keep e;

        if (!k)
                return 0;
        e = effect_of_keeping(k);
        return put(svc, EFFECT_KEEP, &e, sizeof(e));
}

static int put_place(struct service *svc, const struct memory *m) {
        size_t size = effect_memory_size(m);
        void *bytes;
        int r = 0;

        if (m->file->kind == FILE_DMABUF)
                return dmabuf_put(svc, m);
        if (m->file->kind == FILE_OWN)
                r = put_file(svc, m->file);
        bytes = alloc_zero(size);
        if (!bytes || r != 0) {
                alloc_free(bytes);
                return r ? r : -ENOMEM;
        }
        effect_memory_fill(m, bytes);
        r = put(svc, EFFECT_MEMORY, bytes, size);
        alloc_free(bytes);
        return r;
}

static int put_memory(struct service *svc, const struct memory *m) {
        int r;

        if (m->registered)
                return registered_put(svc, m);
        r = put_place(svc, m);
        if (r == 0 && m->name) {
                struct effect_export e = {
                        .memory = m->object.id, .uid = m->name->uid, .gid = m->name->gid, .mode = m->name->mode
                };

                r = put_tailed(svc, EFFECT_EXPORT, &e, sizeof(e), m->name->text, strlen(m->name->text) + 1, NULL, 0);
        }
        if (r == 0 && m->has_token) {
                struct effect_token e = { .memory = m->object.id, .access = m->token_access };

                memcpy(e.token, m->token, sizeof(e.token));
                r = put(svc, EFFECT_TOKEN, &e, sizeof(e));
        }
        return r == 0 ? put_keeping(svc, m->keeping) : r;
}

static int put_holding(struct service *svc, const struct holding *h) {
        struct effect_hold e = { .memory = h->memory->object.id,
                                 .session = h->session->object.id,
                                 .access = h->access };

        if (h == &h->memory->creator)
                return 0;
        return put(svc, EFFECT_HOLD, &e, sizeof(e));
}

static int put_reservation(struct service *svc, const struct reservation *r) {
        const char *name = r->shared ? r->shared->name->text : "";
        struct effect_reserve e = effect_of_reservation(r);
        uint8_t bytes[sizeof(e) + SVMD_NAME_MAX + 1];
        int k;

        memcpy(bytes, &e, sizeof(e));
        memcpy(bytes + sizeof(e), name, strlen(name) + 1);
        k = put(svc, EFFECT_RESERVE, bytes, sizeof(e) + strlen(name) + 1);
        if (k == 0 && managed_of(r)) {
                struct effect_range range = effect_of_range(managed_of(r));

                k = put(svc, EFFECT_RANGE, &range, sizeof(range));
        }
        if (k == 0 && private_of(r))
                k = private_put(svc, private_of(r));
        return k == 0 && r->shared ? put_keeping(svc, r->shared->keeping) : k;
}

static int put_opening(struct service *svc, const struct opening *o) {
        struct effect_open e = { .reservation = o->reservation->object.id,
                                 .session = o->session->object.id,
                                 .access = o->access };

        return put(svc, EFFECT_OPEN, &e, sizeof(e));
}

static int put_mappings(struct service *svc, const struct vmap *m, const struct imap *sparse, uint64_t space,
                        const struct reservation *r) {
        int k = 0;

        for (struct mapping *x = vmap_first_from(m, 0); x && k == 0; x = vmap_next(x)) {
                struct effect_map e = {
                        .space = space,
                        .reservation = r ? r->object.id : 0,
                        .address = x->va,
                        .size = x->size,
                        .memory = memory_of(x->backing)->object.id,
                        .offset = x->offset,
                        .generation = r ? r->generation : 0,
                        .access = x->attrs.access,
                        .pat = x->attrs.pat,
                        .kind = x->attrs.kind,
                };

                k = put(svc, EFFECT_MAP, &e, sizeof(e));
        }
        for (struct imap_entry *x = sparse ? imap_first_from(sparse, 0) : NULL; x && k == 0; x = imap_next(x)) {
                struct effect_sparse e = {
                        .space = space,
                        .reservation = r ? r->object.id : 0,
                        .address = x->start,
                        .size = x->end - x->start,
                        .to = x->value,
                };

                k = put(svc, EFFECT_SPARSE, &e, sizeof(e));
        }
        return k;
}

static int put_arenas(struct service *svc, const struct session *s) {
        int r = 0;

        list_for_each (l, &s->files) {
                const struct file *f = container_of(l, struct file, by_session);

                if (r == 0 && f->journaled)
                        r = put_file(svc, f);
        }
        return r;
}

/* Of a session: what it created and still holds, in the order in which that lies in its arenas, mostly. */
static int put_created(struct service *svc, const struct session *s) {
        int r = 0;

        list_for_each (l, &s->holdings) {
                const struct holding *h = container_of(l, struct holding, by_session);

                if (r == 0 && h == &h->memory->creator)
                        r = put_memory(svc, h->memory);
        }
        return r;
}

static int put_lease_name(struct service *svc, const struct lease *l) {
        struct effect_lease_name e = effect_of_lease_name(l);

        return put_tailed(svc, EFFECT_LEASE_NAME, &e, sizeof(e), l->name->text, strlen(l->name->text) + 1, NULL, 0);
}

static int put_lease(struct service *svc, const struct lease *l) {
        uint64_t bytes[LEASE_EFFECT_MAX / 8];
        int r = l->state == LEASE_EXPIRED ? 0 : put(svc, EFFECT_LEASE, bytes, lease_effect(l, bytes));

        if (r == 0 && l->name)
                r = put_lease_name(svc, l);
        return r == 0 ? put_keeping(svc, l->keeping) : r;
}

/* Those that are kept and have no session. */
static int put_idle_leases(struct service *svc) {
        int r = 0;

        for (struct partition *p = partition_after(&svc->state, ""); p && r == 0;
             p = partition_after(&svc->state, p->name->text))
                list_for_each (l, &p->kept) {
                        const struct lease *x = container_of(l, struct keeping, by_partition)->of.lease;

                        if (r == 0 && x && !x->session)
                                r = put_lease(svc, x);
                }
        return r;
}

/* Those that wait in the order of their turns. */
static int put_leases(struct service *svc) {
        int r = put_idle_leases(svc);

        list_for_each (k, &svc->state.sessions) {
                list_for_each (l, &container_of(k, struct session, by_state)->leases) {
                        const struct lease *x = container_of(l, struct lease, by_session);

                        if (r == 0 && x->state == LEASE_GRANTED)
                                r = put_lease(svc, x);
                }
        }
        list_for_each (l, &svc->leases.line.waiting) {
                if (r == 0)
                        r = put_lease(svc, container_of(l, struct lease, admission.by_line));
        }
        return r;
}

/* What nobody holds who created it. */
static int put_orphans(struct service *svc) {
        const struct object *o;
        uint64_t at = 0;
        int r = 0;

        while (r == 0 && (o = ids_next(&svc->state.ids, &at))) {
                const struct memory *m = o->type == OBJECT_MEMORY ? container_of(o, struct memory, object) : NULL;

                if (m && list_empty(&m->creator.by_session))
                        r = put_memory(svc, m);
        }
        return r;
}

typedef int (*reservation_fn)(struct service *svc, const struct reservation *r);

/* By address: each then takes the place behind the one before, and no search is needed for it. */
static int put_slices(struct service *svc, reservation_fn fn) {
        int r = 0;

        for (struct partition *p = partition_after(&svc->state, ""); p && r == 0;
             p = partition_after(&svc->state, p->name->text))
                for (struct va_extent *e = va_first_from(&p->va, 0); e && r == 0; e = va_next(e))
                        if (!reservation_of(e)->retired)
                                r = fn(svc, reservation_of(e));
        return r;
}

/* Those that take no addresses of a slice, too. */
static int put_reservations(struct service *svc, reservation_fn fn) {
        const struct object *o;
        uint64_t at = 0;
        int r = put_slices(svc, fn);

        while (r == 0 && (o = ids_next(&svc->state.ids, &at)))
                if (o->type == OBJECT_RESERVATION && container_of(o, struct reservation, object)->outside)
                        r = fn(svc, container_of(o, struct reservation, object));
        return r;
}

static int put_session_holds(struct service *svc, const struct session *s) {
        int r = 0;

        list_for_each (l, &s->holdings) {
                if (r == 0)
                        r = put_holding(svc, container_of(l, struct holding, by_session));
        }
        list_for_each (l, &s->openings) {
                if (r == 0)
                        r = put_opening(svc, container_of(l, struct opening, by_session));
        }
        if (r == 0 && s->managed)
                r = range_put_session(svc, s->managed);
        if (r == 0)
                r = private_put_client(svc, s);
        if (r == 0)
                r = grants_put(svc, s);
        list_for_each (l, &s->spaces) {
                struct space *space = container_of(l, struct space, by_session);
                struct effect_space e = { .id = space->object.id, .session = s->object.id, .node = space->node };

                if (r == 0)
                        r = put(svc, EFFECT_SPACE, &e, sizeof(e));
                if (r == 0)
                        r = put_mappings(svc, &space->mappings, &space->sparse, space->object.id, NULL);
        }
        return r;
}

static int put_cpu_mappings(struct service *svc, const struct reservation *r) {
        return put_mappings(svc, &r->cpu, r->sparse, 0, r);
}

static int put_reply(void *userdata, const struct session *s, uint64_t id, const void *bytes, size_t size) {
        struct effect_reply e = { .session = s->object.id, .request = id };

        return put_tailed(userdata, EFFECT_REPLY, &e, sizeof(e), bytes, size, NULL, 0);
}

static int put_all(struct service *svc) {
        int r = put_machine(svc);

        list_for_each (l, &svc->state.sessions) {
                const struct session *s = container_of(l, struct session, by_state);

                if (r == 0 && s->partition)
                        r = put_session(svc, s);
                if (r == 0 && s->partition)
                        r = put_bounds(svc, s);
                if (r == 0 && s->partition && s->door)
                        r = sharing_put_door(svc, s);
        }
        list_for_each (l, &svc->state.sessions) {
                const struct session *s = container_of(l, struct session, by_state);

                if (r == 0)
                        r = put_arenas(svc, s);
        }
        list_for_each (l, &svc->state.sessions) {
                const struct session *s = container_of(l, struct session, by_state);

                if (r == 0)
                        r = put_created(svc, s);
        }
        if (r == 0)
                r = put_orphans(svc);
        if (r == 0)
                r = put_reservations(svc, put_reservation);
        if (r == 0)
                r = sharing_put(svc);
        list_for_each (l, &svc->state.sessions) {
                const struct session *s = container_of(l, struct session, by_state);

                if (r == 0 && s->partition)
                        r = put_session_holds(svc, s);
                if (r == 0 && s->partition)
                        r = replies_each(s, put_reply, svc);
        }
        if (r == 0)
                r = put_reservations(svc, put_cpu_mappings);
        if (r == 0)
                r = put_leases(svc);
        return r == 0 ? said_put(svc) : r;
}

/* Only sessions bring what names a partition into the journal, the one that they came through among them; a share does
 * not need the one that it is for. */
static void note_named(struct service *svc) {
        for (struct partition *p = partition_after(&svc->state, ""); p; p = partition_after(&svc->state, p->name->text))
                p->journaled = p->sessions_count > 0 || p->memories_count > 0 || p->reservations_count > 0 ||
                               p->kept_count > 0;
        list_for_each (l, &svc->state.sessions) {
                const struct session *s = container_of(l, struct session, by_state);

                if (s->partition && s->door)
                        s->door->journaled = true;
        }
}

/* Where even one effect has no room, the journal is behind until the next snapshot, which comes before anything else is
 * appended. */
void journal_note(struct service *svc, uint16_t type, const void *bytes, size_t size) {
        if (!svc->journal || svc->replaying || svc->journal_behind)
                return;
        if (journal_reserve_more(svc->journal, 1, size) != 0)
                svc->journal_behind = true;
        else
                journal_append(svc->journal, type, bytes, size);
}

/* What was appended and not committed belongs to requests that are complete: they are committed first, and their
 * replies leave. Those that cannot are in their sessions' lists. */
int journal_snapshot(struct service *svc) {
        int r;

        journal_commit(svc->journal);
        svc->hooks.flush(svc->hooks.userdata);
        r = journal_snapshot_begin(svc->journal);
        if (r == 0)
                r = put_all(svc);
        if (r == 0) {
                journal_snapshot_end(svc->journal);
                svc->journal_behind = false;
                note_named(svc);
        } else {
                journal_snapshot_cancel(svc->journal);
        }
        return r;
}
