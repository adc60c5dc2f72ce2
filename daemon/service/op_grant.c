#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/grant.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/capacity.h"
#include "service/effects.h"
#include "service/grant.h"
#include "service/internal.h"
#include "service/lookup.h"
#include "service/private.h"

#define MS_NS      1000000ull
#define USUAL_MS   10000ull
#define LONGEST_MS 3600000ull

/* ---- ask ---- */

static int check_node(struct call *c, const Svmd__V1__GrantAsk *op) {
        const struct backend *b;
        int r = find_node(c, op->node);

        if (r != 0)
                return r;
        b = node_backend(c->svc, op->node);
        if (op->operations == 0 || op->operations & ~(uint32_t)GRANT_ALL)
                return refuse(c, SVMD_STATUS_INVALID, "svmd knows no such operations: 0x%x", op->operations);
        if (op->operations & b->brokered & ~b->delegated)
                return refuse(c, SVMD_STATUS_NODE_KIND,
                              "on %s nodes svmd executes operations 0x%x itself, by a file of the device: ask for them",
                              b->name, op->operations & b->brokered & ~b->delegated);
        if (op->operations & ~b->delegated)
                return refuse(c, SVMD_STATUS_NODE_KIND,
                              "on %s nodes a client executes operations 0x%x, and 0x%x is not among them", b->name,
                              b->delegated, op->operations & ~b->delegated);
        if (c->svc->state.nodes[op->node].offline)
                return refuse_off(c, op->node);
        if (op->bytes % SVMD_PAGE || (op->bytes && !(op->operations & (GRANT_ALLOC | GRANT_PREFETCH | GRANT_SPACE))))
                return refuse(c, SVMD_STATUS_SIZE,
                              "%" PRIu64 " bytes are not a multiple of 4 KiB, or these operations take none",
                              op->bytes);
        return 0;
}

/* AMD's driver refuses buffers over shared virtual memory and the other way round, wherever one of them was before: so
 * a reservation has either, and its kind says which. */
enum { BUFFERS = GRANT_ALLOC | GRANT_MAP | GRANT_UNMAP, MOVES = GRANT_ADVISE | GRANT_PREFETCH };

static int check_arena(struct call *c, const Svmd__V1__GrantAsk *op, const struct reservation *r) {
        if (node_desc(c->svc, op->node)->kind != NODE_KFD)
                return 0;
        if (op->operations & BUFFERS && (private_of(r) || managed_of(r)))
                return refuse(c, SVMD_STATUS_INVALID,
                              "buffers of kfd nodes lie in explicit reservations, and this one is managed");
        if (op->operations & MOVES && !private_of(r))
                return refuse(c, SVMD_STATUS_INVALID,
                              "memory that moves to kfd nodes lies in private reservations, and this one is not");
        return 0;
}

static int check_place(struct call *c, const Svmd__V1__GrantAsk *op) {
        struct reservation *r;
        int k;

        if (!op->reservation && node_desc(c->svc, op->node)->kind == NODE_KFD && op->operations & (BUFFERS | MOVES))
                return refuse(c, SVMD_STATUS_RANGE, "what a client does on a kfd node lies in a reservation: name it");
        if (!op->reservation)
                return op->size ? refuse(c, SVMD_STATUS_RANGE, "a range lies in a reservation: name it") : 0;
        k = find_reservation(c, op->reservation, &r);
        if (k == 0)
                k = check_range(c, op->address, op->size);
        if (k == 0)
                k = check_arena(c, op, r);
        if (k != 0)
                return k;
        if (op->address < r->va.start || op->size > r->va.start + r->va.size - op->address ||
            op->address >= r->va.start + r->va.size)
                return refuse(c, SVMD_STATUS_RANGE,
                              "0x%" PRIx64 " bytes at 0x%" PRIx64 " do not lie in reservation %" PRIu64, op->size,
                              op->address, op->reservation);
        return 0;
}

static int check(struct call *c, const Svmd__V1__GrantAsk *op) {
        int r = check_node(c, op);

        if (r == 0)
                r = check_place(c, op);
        if (r == 0 && op->wait_ms > LONGEST_MS)
                r = refuse(c, SVMD_STATUS_INVALID, "a grant is for an hour at most");
        if (r == 0 && c->session->grants_count >= SVMD_GRANTS_MAX)
                r = refuse(c, SVMD_STATUS_QUOTA,
                           "this session has %d grants, which is the most; acknowledge some, or release what is there",
                           SVMD_GRANTS_MAX);
        return r;
}

static int charge(struct call *c, struct grant *g, uint64_t bytes) {
        struct account *account = session_account(&c->svc->state, c->session, g->node), *over = NULL;
        unsigned code = SVMD_STATUS_OK;
        char why[640];

        if (!account)
                return -ENOMEM;
        if (charge_take(&g->charge, account, bytes, &over) != 0)
                code = say_over(c->svc, c->session, g->node, bytes, over, why, sizeof(why));
        else if (bytes)
                code = capacity_for_memory(c->svc, c->session->partition, c->session, g->node, why, sizeof(why));
        return code ? refuse(c, code, "%s", why) : 0;
}

int op_grant_ask(struct call *c) {
        const Svmd__V1__GrantAsk *op = c->op->grant_ask;
        struct effect_grant e;
        struct grant *g;
        int r = check(c, op);

        if (r != 0)
                return r;
        if (ids_reserve(&c->svc->state.ids, 1) < 0 ||
            !(g = grant_new(&c->svc->state, state_take_id(&c->svc->state), c->session)))
                return -ENOMEM;
        g->generation = ++c->svc->generation;
        g->reservation = op->reservation;
        g->address = op->address;
        g->size = op->size;
        g->until_ns = keeping_now(c->svc) + (op->wait_ms ? op->wait_ms : USUAL_MS) * MS_NS;
        g->node = op->node;
        g->operations = op->operations;
        r = charge(c, g, op->bytes);
        if (r != 0) {
                grant_free(&c->svc->state, g);
                return r;
        }
        capacity_changed(c->svc, c->session->partition, g->node);
        e = effect_of_grant(g);
        tx_effect(c->tx, EFFECT_GRANT, &e, sizeof(e));
        c->result->id = g->object.id;
        c->result->generation = g->generation;
        return 0;
}

/* ---- done ---- */

static unsigned said(struct service *svc, struct session *s, const Svmd__V1__GrantDone *m, char *why, size_t size) {
        const struct grant_done d = { m->generation, m->error, m->gone };

        if (d.gone % SVMD_PAGE || (d.error && d.gone)) {
                snprintf(why, size, "what is gone is a multiple of 4 KiB, and nothing where nothing was done");
                return SVMD_STATUS_SIZE;
        }
        return grant_said(svc, s, m->grant, &d, why, size);
}

int op_grant_done(struct call *c) {
        char why[160];
        unsigned code = said(c->svc, c->session, c->op->grant_done, why, sizeof(why));

        return code ? refuse(c, code, "%s", why) : 0;
}

static Svmd__V1__GrantRefused *refused_row(struct service *svc, uint64_t grant, unsigned code, const char *why) {
        Svmd__V1__GrantRefused *row = arena_take(&svc->arena, sizeof(*row));
        size_t size = strlen(why) + 1;
        char *text = arena_take(&svc->arena, size);

        if (!row || !text)
                return NULL;
        svmd__v1__grant_refused__init(row);
        row->grant = grant;
        row->code = code;
        row->text = memcpy(text, why, size);
        return row;
}

int grants_ride(struct service *svc, struct request *r, const Svmd__V1__Request *m, Svmd__V1__Reply *reply) {
        char why[160];

        if (m->n_done == 0)
                return 0;
        reply->refused = arena_take(&svc->arena, m->n_done * sizeof(*reply->refused));
        if (!reply->refused)
                return -ENOMEM;
        for (size_t i = 0; i < m->n_done; i++) {
                const Svmd__V1__GrantDone *d = m->done[i];
                unsigned code;

                if (r->rode & 1ull << i)
                        continue;
                code = r->session->partition ? said(svc, r->session, d, why, sizeof(why)) : SVMD_STATUS_NOT_ATTACHED;
                if (!code) {
                        r->rode |= 1ull << i;
                        continue;
                }
                if (!(reply->refused[reply->n_refused] =
                              refused_row(svc, d->grant, code, r->session->partition ? why : status_text(code))))
                        return -ENOMEM;
                reply->n_refused++;
        }
        return 0;
}

/* ---- list ---- */

/* One that is there, or one of which nothing was done. */
struct listed {
        uint64_t id; /* 0: there is none */
        const struct session *session;
        const struct grant *there;
        const struct grant_failed *failed;
};

static void take_first(struct listed *first, struct listed l, uint64_t after) {
        if (l.id > after && (!first->id || l.id < first->id))
                *first = l;
}

static struct listed grant_after(const struct partition *p, uint64_t after) {
        struct listed first = { 0 };

        list_for_each (k, &p->sessions) {
                const struct session *s = container_of(k, struct session, by_partition);

                list_for_each (l, &s->grants) {
                        const struct grant *g = container_of(l, struct grant, by_session);

                        take_first(&first, (struct listed){ g->object.id, s, g, NULL }, after);
                        if (g->object.id > after)
                                break; /* in the order of their numbers */
                }
                for (unsigned i = 0; s->grants_failed && i < GRANTS_FAILED; i++)
                        take_first(&first, (struct listed){ s->grants_failed[i].id, s, NULL, &s->grants_failed[i] },
                                   after);
        }
        return first;
}

static void fill_there(Svmd__V1__Grant *row, const struct grant *g, uint64_t now) {
        row->generation = g->generation;
        row->node = g->node;
        row->operations = g->operations;
        row->reservation = g->reservation;
        row->address = g->address;
        row->size = g->size;
        row->bytes = g->charge.bytes;
        row->state = (Svmd__V1__GrantState)(grant_state(g, now) + 1);
        row->left_ms = g->held ? UINT64_MAX : g->until_ns > now ? (g->until_ns - now) / MS_NS : 0;
}

static void fill_failed(Svmd__V1__Grant *row, const struct grant_failed *f) {
        row->node = f->node;
        row->operations = f->operations;
        row->state = SVMD__V1__GRANT_STATE__GRANT_FAILED;
        row->left_ms = UINT64_MAX;
        row->error = f->error;
}

static Svmd__V1__Grant *grant_row(struct call *c, const struct listed *l) {
        Svmd__V1__Grant *row = call_take(c, sizeof(*row));

        if (!row)
                return NULL;
        svmd__v1__grant__init(row);
        row->grant = l->id;
        row->session = l->session->object.id;
        row->pid = l->session->pid;
        row->client = call_string(c, l->session->client);
        row->partition = call_string(c, l->session->partition->name->text);
        if (l->there)
                fill_there(row, l->there, keeping_now(c->svc));
        else
                fill_failed(row, l->failed);
        return row;
}

int op_grant_list(struct call *c) {
        const Svmd__V1__GrantList *op = c->op->grant_list;
        Svmd__V1__GrantsResult *result = call_take(c, sizeof(*result));
        struct listed g;
        struct partition *p;
        int r = call_partition(c, op->partition, &p);

        if (r != 0)
                return r;
        if (!result)
                return -ENOMEM;
        svmd__v1__grants_result__init(result);
        result->grants = call_take(c, SVMD_ROWS_MAX * sizeof(*result->grants));
        if (!result->grants)
                return -ENOMEM;
        for (g = grant_after(p, op->after); g.id && result->n_grants < SVMD_ROWS_MAX; g = grant_after(p, g.id)) {
                if (!(result->grants[result->n_grants] = grant_row(c, &g)))
                        return -ENOMEM;
                result->n_grants++;
        }
        c->result->more = g.id != 0;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_GRANTS;
        c->result->grants = result;
        return 0;
}
