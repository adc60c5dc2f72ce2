#include "ranges.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/cgroup.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "engine/hints.h"
#include "mover/mover.h"
#include "service/chain.h"

#if defined(__SANITIZE_THREAD__)
#define WINDOW SVMD__V1__WINDOW__LOW
#else
#define WINDOW SVMD__V1__WINDOW__PRIMARY
#endif

/* ---- operations ---- */

Svmd__V1__Op *mk_range_partition(const char *name, uint64_t size, uint32_t uid, uint32_t mode) {
        Svmd__V1__Op *op = mk_partition(name, size, "", uid, mode);

        op->partition_create->window = WINDOW;
        return op;
}

Svmd__V1__Op *mk_range(uint64_t size, uint32_t granule, const char *name, uint32_t mode) {
        Svmd__V1__Op *op = mk_reserve(size, 0, 0, name, mode);

        op->reserve->kind = SVMD__V1__RESERVATION_KIND__SHARED;
        op->reserve->granule = granule;
        return op;
}

Svmd__V1__Op *mk_files(uint64_t reservation) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_RANGE_FILES);

        op->range_files->reservation = reservation;
        return op;
}

Svmd__V1__Op *mk_join(uint64_t reservation) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_JOIN);

        op->join->reservation = reservation;
        return op;
}

Svmd__V1__Op *mk_migrate(uint64_t address, uint64_t size, uint32_t node) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_MIGRATE);

        op->migrate->address = address;
        op->migrate->size = size;
        op->migrate->node = node;
        return op;
}

Svmd__V1__Op *mk_pin(uint64_t address, uint64_t size, bool off) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_PIN);

        op->pin->address = address;
        op->pin->size = size;
        op->pin->off = off;
        return op;
}

/* ---- users ---- */

static Svmd__V1__Result *must(struct user *u, Svmd__V1__Op *op) {
        Svmd__V1__Result *r = client_call(&u->client, op);

        if (r->code != 0)
                fail_msg("operation %d: %u %s", (int)op->op_case, r->code, r->text);
        return r;
}

void user_open(struct world *w, struct user *u, uint32_t uid, const char *partition) {
        struct service_peer peer = { .uid = uid, .gid = uid };

        process_start(&u->process);
        peer.pid = (uint32_t)u->process.pid;
        assert_int_equal(client_open_as(w, &u->client, &peer), 0);
        client_greet(&u->client, partition);
}

void user_close(struct user *u) {
        client_close(&u->client);
        process_end(&u->process);
}

void user_give(struct user *u) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_UFFD_GIVE);
        Svmd__V1__Reply *reply;
        int device, fd;

        must(u, op_make(SVMD__V1__OP__OP_UFFD_DEVICE));
        device = fdlist_steal(&u->client.fds);
        assert_true(device >= 0);
        fd = process_userfaultfd(&u->process, device);
        close(device);
        reply = client_send(&u->client, SVMD__V1__MODE__BEST_EFFORT, &op, 1, &fd, 1);
        assert_non_null(reply);
        if (reply->results[0]->code != 0)
                fail_msg("uffd_give: %u %s", reply->results[0]->code, reply->results[0]->text);
}

void user_map(struct user *u, uint64_t reservation) {
        struct object *o = ids_find(&u->client.world->svc->state.ids, reservation);
        const struct reservation *r = container_of(o, struct reservation, object);
        int memory, state;

        must(u, mk_files(reservation));
        memory = fdlist_steal(&u->client.fds);
        state = fdlist_steal(&u->client.fds);
        assert_true(memory >= 0 && state >= 0);
        assert_int_equal(process_map(&u->process, memory, r->va.start, r->va.size,
                                     !(reservation_access(r, u->client.session) & RIGHT_WRITE)),
                         0);
        close(memory);
        close(state);
}

void user_join(struct user *u, uint64_t reservation, bool write) {
        struct object *o = ids_find(&u->client.world->svc->state.ids, reservation);
        const struct reservation *r = container_of(o, struct reservation, object);

        user_map(u, reservation);
        must(u, mk_join(reservation));
        assert_int_equal(process_open(&u->process, r->va.start, r->va.size, write), 0);
}

unsigned user_do(struct user *u, Svmd__V1__Op *op) {
        struct client *c = &u->client;
        uint64_t fence = must(u, op)->id;

        for (;;) {
                for (unsigned i = 0; i < c->events_count; i++)
                        if (c->events[i].kind == SVMD__V1__EVENT__EVENT_FENCE && c->events[i].id == fence) {
                                c->events_count = 0;
                                return c->events[i].code;
                        }
                world_wait(c->world);
        }
}

uint32_t where(struct world *w, uint64_t reservation, uint32_t granule) {
        struct object *o = ids_find(&w->svc->state.ids, reservation);
        struct managed_granule_info info;

        mover_look(w->svc->mover, managed_of(container_of(o, struct reservation, object))->range, granule, 1, &info);
        return info.state == RESIDENCY_OUT ? info.node : UINT32_MAX;
}

/* ---- for the harness ---- */

static uint64_t pins_of(const struct managed_member *member) {
        uint64_t sum = 0;

        for (uint32_t i = 0; member->pins && i < member->managed->count; i++)
                sum += member->pins[i];
        return sum;
}

/* In order of sessions. */
static void put_members(FILE *f, const struct managed_reservation *m) {
        uint64_t last = 0;

        for (;;) {
                const struct managed_member *next = NULL;

                list_for_each (l, &m->members) {
                        const struct managed_member *x = container_of(l, struct managed_member, by_reservation);
                        uint64_t id = x->client->session->object.id;

                        if (id > last && (!next || id < next->client->session->object.id))
                                next = x;
                }
                if (!next)
                        return;
                last = next->client->session->object.id;
                fprintf(f, "    member %" PRIu64 "%s%s pins %" PRIu64 "%s\n", last, next->readonly ? " reads" : "",
                        next->joined ? " joined" : "", pins_of(next), next->client->mover ? " serves" : "");
        }
}

struct advice_run {
        FILE *f;
        uint32_t first, end;
        struct policy_advice advice;
};

static void put_run(const struct advice_run *x) {
        const struct policy_advice *a = &x->advice;

        for (enum policy_attribute k = 0; k < _POLICY_ATTRIBUTE_N; k++) {
                if (policy_is_zero(a, k))
                        continue;
                fprintf(x->f,
                        "    advice %u+%u preferred %u by %" PRIx64
                        " read %d pinned %d granularity %u fallback %u,%u,%u atomics %u coarse %d group %u\n",
                        x->first, x->end - x->first, a->preferred, a->accessed_by, a->read_mostly, a->pinned,
                        a->granularity, a->fallback[0], a->fallback[1], a->fallback[2], a->atomics, a->coarse,
                        a->group);
                return;
        }
}

/* Neighbours that are alike are one, whoever said it. */
static int put_advice(void *userdata, uint32_t first, uint32_t count, const struct policy_advice *a) {
        struct advice_run *x = userdata;
        bool same = x->end == first;

        for (enum policy_attribute k = 0; k < _POLICY_ATTRIBUTE_N; k++)
                same = same && policy_same(a, &x->advice, k);
        if (!same) {
                put_run(x);
                x->first = first;
                x->advice = *a;
        }
        x->end = first + count;
        return 0;
}

void put_managed(FILE *f, struct world *w, const struct reservation *r) {
        const struct managed_reservation *m = managed_of(r);
        struct advice_run run = { .f = f };

        if (!m)
                return;
        fprintf(f, "    managed %u x %u flags %u%s%s\n", m->count, m->granule, m->flags, m->revoked ? " revoked" : "",
                m->changing ? " CHANGING" : "");
        put_members(f, m);
        assert_int_equal(hints_check(m->hints), 0);
        hints_each_run(m->hints, put_advice, &run);
        put_run(&run);
}

static uint64_t kept_rows(const struct world *w, unsigned kind) {
        uint64_t n = 0;

        for (size_t i = 0; i < w->kept_count; i++)
                n += KEEP_KIND(w->kept[i].key) == kind;
        return n;
}

static bool is_kept(const struct world *w, unsigned kind, uint64_t id) {
        for (size_t i = 0; i < w->kept_count; i++)
                if (w->kept[i].key == KEEP_KEY(kind, id))
                        return true;
        return false;
}

static uint64_t length(const struct list *list) {
        uint64_t n = 0;

        list_for_each (l, list)
                n++;
        return n;
}

/* Its owner and who has it open are its members. */
static void check_range(struct world *w, const struct managed_reservation *m) {
        const struct reservation *r = m->reservation;
        uint64_t members = r->owner ? 1 : 0;

        assert_ptr_equal(managed_of(r), m);
        assert_non_null(m->range);
        assert_false(r->retired);
        assert_int_equal(r->va.size, (uint64_t)m->count * m->granule);
        if (r->owner)
                assert_non_null(managed_member_find(m, r->owner));
        if (r->shared)
                list_for_each (l, &r->shared->openings) {
                        const struct opening *o = container_of(l, struct opening, by_reservation);
                        const struct managed_member *member = managed_member_find(m, o->session);

                        assert_non_null(member);
                        assert_int_equal(member->readonly, !(o->access & RIGHT_WRITE));
                        members++;
                }
        assert_int_equal(length(&m->members), members);
        assert_true(is_kept(w, KEEP_RANGE, r->object.id));
        assert_true(is_kept(w, KEEP_RANGE_STATE, r->object.id));
}

bool managed_at_rest(struct world *w) {
        const struct managed_state *m = &w->svc->managed;

        return !w->svc->mover || (list_empty(&m->ending) && list_empty(&m->taking) && mover_idle(w->svc->mover));
}

/* The mover was told what holds, of whom nothing has changed since. */
static void check_told(struct world *w, struct limited of) {
        const struct managed_limits *l = chain_limits(of);

        for (uint32_t i = 0; l && i < w->svc->managed.nodes_count; i++) {
                const struct account *a = limited_account(of, i);
                uint64_t left = a->max > a->used ? a->max - a->used : 0;

                if (!list_empty(&l->news[i].link) || *limited_give_backs(of))
                        continue;
                assert_int_equal(l->told[i].max, a->max == ACCOUNT_NO_LIMIT ? UINT64_MAX : left);
                assert_int_equal(l->unused[i], of.session ? 0 : account_unused(a));
        }
}

static void check_limits(struct world *w) {
        list_for_each (l, &w->svc->state.sessions)
                check_told(w, LIMITED_SESSION(container_of(l, struct session, by_state)));
        list_for_each (l, &w->svc->state.cgroups)
                check_told(w, LIMITED_CGROUP(container_of(l, struct cgroup, by_state)));
}

void check_managed(struct world *w) {
        struct service *svc = w->svc;
        uint64_t bytes = 0, ranges = 0, serves = 0;
        bool rest = managed_at_rest(w);

        check_limits(w);
        list_for_each (l, &svc->managed.ranges) {
                const struct managed_reservation *m = container_of(l, struct managed_reservation, link);

                check_range(w, m);
                bytes += m->reservation->va.size;
                ranges++;
        }
        assert_int_equal(svc->managed.bytes, bytes);
        if (rest)
                assert_true(list_empty(&svc->managed.joins) && list_empty(&svc->managed.waits));
        list_for_each (l, &svc->state.sessions) {
                const struct session *s = container_of(l, struct session, by_state);
                const struct managed_client *k = s->managed;

                if (!k || !k->mover)
                        continue;
                serves++;
                assert_true(is_kept(w, KEEP_UFFD, s->object.id));
        }
        for (struct partition *p = partition_after(&svc->state, ""); p;
             p = partition_after(&svc->state, p->name->text)) {
                const struct managed_share *share = p->managed;

                bytes -= share ? share->bytes : 0;
                assert_false(rest && p->retired > 0);
        }
        assert_int_equal(bytes, 0);
        assert_int_equal(kept_rows(w, KEEP_UFFD), serves);
        if (!rest)
                return;
        assert_int_equal(kept_rows(w, KEEP_RANGE), ranges);
        assert_int_equal(kept_rows(w, KEEP_RANGE_STATE), ranges);
}
