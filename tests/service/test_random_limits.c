/*
 * Nobody passes a limit: 64 sessions in partitions and in control groups that lie in one another take memory, give it
 * back, come, go and move, while bounds of all three kinds change under them and svmd "is killed" every so often,
 * against a model that counts anew for each question. What is refused, with whose limit, and every sum has to be the
 * model's; and after a request that found no memory nothing has changed.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "core/cgroup.h"
#include "core/partition.h"
#include "core/session.h"
#include "groups.h"
#include "harness.h"

enum { SESSIONS = 64, THINGS = 512, PARTITIONS = 3, GROUPS = 6, PLACES = 3, PAGES = 48 };
#define P(n)   ((uint64_t)(n)*SVMD_PAGE)
#define SECOND 1000000000ull
#define NONE   ACCOUNT_NO_LIMIT

static const char *const names[PARTITIONS] = { "one", "two", "three" };
static const struct {
        const char *path;
        int outer; /* of those here; -1 */
} groups[GROUPS] = { { "/", -1 }, { "/a", 0 }, { "/a/x", 1 }, { "/a/y", 1 }, { "/b", 0 }, { "/b/x", 4 } };

/* ---- the model ---- */

static struct {
        int session, place;
        uint64_t id, size; /* size 0: none */
} thing[THINGS];

static struct {
        int partition, group;
        struct bounds own[PLACES];
} of_session[SESSIONS];

static struct bounds of_partition[PARTITIONS][PLACES], of_group[GROUPS][PLACES];

static struct world w;
static struct client client[SESSIONS], admin;
static unsigned long granted, refused[4], failed, restarts, changed, unfit;
static uint64_t rng, now_ns = 1000 * SECOND;

static uint64_t now(void) {
        return now_ns;
}

static uint64_t any(uint64_t below) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return rng % below;
}

enum kind { SESSION, PARTITION, NODE, GROUP };

/* One of those that have bounds. */
struct party {
        enum kind who;
        int i;
};

static struct bounds *bounds_of(struct party p, int place) {
        static struct bounds node[PLACES];

        if (p.who == SESSION)
                return &of_session[p.i].own[place];
        if (p.who == PARTITION)
                return &of_partition[p.i][place];
        if (p.who == GROUP)
                return &of_group[p.i][place];
        node[place] = BOUNDS_NONE;
        node[place].bytes[BOUND_MAX] = w.machine.nodes[place].capacity;
        return &node[place];
}

static bool group_is_in(int g, int of) {
        while (g >= 0 && g != of)
                g = groups[g].outer;
        return g == of;
}

static bool is_charged(struct party p, int session) {
        switch (p.who) {
        case SESSION: return p.i == session;
        case PARTITION: return of_session[session].partition == p.i;
        case GROUP: return group_is_in(of_session[session].group, p.i);
        default: return true;
        }
}

static uint64_t used(struct party p, int place) {
        uint64_t sum = 0;

        for (int i = 0; i < THINGS; i++)
                if (thing[i].size && thing[i].place == place && is_charged(p, thing[i].session))
                        sum += thing[i].size;
        return sum;
}

/* Everybody, one after the other: sessions, partitions, groups. */
static bool nth(int n, struct party *ret) {
        if (n < SESSIONS)
                *ret = (struct party){ SESSION, n };
        else if (n < SESSIONS + PARTITIONS)
                *ret = (struct party){ PARTITION, n - SESSIONS };
        else
                *ret = (struct party){ GROUP, n - SESSIONS - PARTITIONS };
        return n < SESSIONS + PARTITIONS + GROUPS;
}

/* Whether the min of `p` is kept free there. */
static bool lies_within(struct party p, struct party in) {
        return in.who == NODE ? p.who != SESSION
                              : in.who == PARTITION && p.who == SESSION && of_session[p.i].partition == in.i;
}

static uint64_t room_of(struct party at, int session, int place) {
        uint64_t max = bounds_of(at, place)->bytes[BOUND_MAX], has = used(at, place), room = max > has ? max - has : 0;
        uint64_t own = 0, others = 0;
        struct party p;

        for (int n = 0; nth(n, &p); n++) {
                uint64_t min = bounds_of(p, place)->bytes[BOUND_MIN], uses = min ? used(p, place) : 0;

                if (!lies_within(p, at) || min <= uses)
                        continue;
                *(is_charged(p, session) ? &own : &others) += min - uses;
        }
        if (own > room)
                own = room;
        return room > others && room - others > own ? room - others : own;
}

/* The first one that has no room, in the order in which svmd says it. */
static bool has_room(int session, int place, uint64_t size, struct party *ret_over) {
        struct party all[3 + GROUPS] = { { SESSION, session },
                                         { PARTITION, of_session[session].partition },
                                         { NODE, 0 } };
        unsigned n = 3;

        for (int g = of_session[session].group; g >= 0; g = groups[g].outer)
                all[n++] = (struct party){ GROUP, g };
        for (unsigned i = 0; i < n; i++) {
                *ret_over = all[i];
                if (size > room_of(all[i], session, place))
                        return false;
        }
        return true;
}

/* Whether it can have these, which come out of what is not promised to others. */
static bool fits(struct party who, int place, const struct bounds *b) {
        struct party in = { who.who == SESSION ? PARTITION : NODE,
                            who.who == SESSION ? of_session[who.i].partition : 0 };
        uint64_t min = b->bytes[BOUND_MIN], max = bounds_of(in, place)->bytes[BOUND_MAX], promised = 0;
        struct party p;

        if (min > b->bytes[BOUND_MAX])
                return false;
        if (min <= bounds_of(who, place)->bytes[BOUND_MIN])
                return true;
        if (in.who == PARTITION && max == NONE)
                return false;
        for (int n = 0; nth(n, &p); n++)
                if (lies_within(p, in) && (p.who != who.who || p.i != who.i))
                        promised += bounds_of(p, place)->bytes[BOUND_MIN];
        return promised <= max && min <= max - promised;
}

/* ---- the same of svmd ---- */

static const struct account *account_of(struct party p, int place) {
        struct state *s = &w.svc->state;
        const struct cgroup *g;

        switch (p.who) {
        case SESSION: return client[p.i].session->accounts ? &client[p.i].session->accounts[place] : NULL;
        case PARTITION: return &partition_find(s, names[p.i])->accounts[place];
        case GROUP: g = cgroup_find(s, groups[p.i].path); return g ? &g->accounts[place] : NULL;
        default: return &s->nodes[place].account;
        }
}

static void same(struct party p, int place) {
        const struct account *a = account_of(p, place);
        const struct bounds want = *bounds_of(p, place), have = a ? account_bounds(a) : BOUNDS_NONE;

        if (memcmp(&want, &have, sizeof(want)) != 0 && p.who != NODE)
                fail_msg("bounds of %d %d on node %d are others", p.who, p.i, place);
        if (a && a->used != used(p, place))
                fail_msg("%d %d has %" PRIu64 " on node %d, not %" PRIu64, p.who, p.i, a->used, place, used(p, place));
        if (a && (a->used > (1ull << 62) || a->held > (1ull << 62)))
                fail_msg("%d %d: a sum went below nothing", p.who, p.i);
}

static void check(void) {
        struct party p;

        for (int place = 0; place < PLACES; place++) {
                for (int n = 0; nth(n, &p); n++)
                        same(p, place);
                same((struct party){ NODE, 0 }, place);
        }
        check_world(&w);
}

static void check_at(int session, int place) {
        same((struct party){ SESSION, session }, place);
        same((struct party){ PARTITION, of_session[session].partition }, place);
        same((struct party){ NODE, 0 }, place);
        for (int g = of_session[session].group; g >= 0; g = groups[g].outer)
                same((struct party){ GROUP, g }, place);
}

/* ---- steps ---- */

static void come(int s) {
        client_open(&w, &client[s], 100 + (uint32_t)s % 4, 100, false);
        groups_put(&w, client[s].pid, groups[of_session[s].group].path);
        client_greet(&client[s], names[of_session[s].partition]);
}

/* With all that it has; and another one comes, elsewhere. */
static void go_and_come(int s) {
        client_close(&client[s]);
        world_settle(&w);
        for (int i = 0; i < THINGS; i++)
                if (thing[i].session == s)
                        thing[i].size = 0;
        for (int place = 0; place < PLACES; place++)
                of_session[s].own[place] = BOUNDS_NONE;
        of_session[s].partition = (int)any(PARTITIONS);
        of_session[s].group = (int)any(GROUPS);
        come(s);
}

static void administer(void) {
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
}

/* NULL: it found no memory, as it was to. A session that goes on after a restart may end by that. */
static Svmd__V1__Result *call(struct client *c, Svmd__V1__Op *op, bool may_fail) {
        Svmd__V1__Reply *reply;

        if (may_fail)
                alloc_fail_at(1 + any(12));
        reply = client_send(c, SVMD__V1__MODE__BEST_EFFORT, &op, 1, NULL, 0);
        alloc_fail_off();
        if (reply && (!may_fail || reply->results[0]->code != SVMD_STATUS_NO_MEMORY))
                return reply->results[0];
        assert_true(may_fail);
        failed++;
        if (!reply && c == &admin) {
                client_close(c);
                administer();
        } else if (!reply) {
                go_and_come((int)(c - client));
        }
        return NULL;
}

static void take(bool may_fail) {
        int s = (int)any(SESSIONS), place = (int)any(PLACES), i = (int)any(THINGS);
        uint64_t size = P(1 + any(PAGES));
        static const char *const says[] = { "session ", "partition ", "", "control group " };
        Svmd__V1__Result *r;
        struct party over;
        bool room;

        if (thing[i].size)
                return;
        room = has_room(s, place, size, &over);
        r = call(&client[s], mk_create((uint32_t)place, size, place == HOST0 ? 0 : SVMD__V1__MEM_FLAG__MEM_PINNED),
                 may_fail);
        if (!r)
                return;
        if (room != (r->code == 0))
                fail_msg("session %d, node %d, %" PRIu64 " bytes: %u %s, who has no room: %d %d", s, place, size,
                         r->code, r->text, over.who, over.i);
        if (room) {
                granted++;
                thing[i].session = s;
                thing[i].place = place;
                thing[i].id = r->id;
                thing[i].size = size;
                return;
        }
        refused[over.who]++;
        assert_int_equal(r->code, over.who == NODE ? SVMD_STATUS_NO_ROOM : SVMD_STATUS_LIMIT);
        if (strncmp(r->text, says[over.who], strlen(says[over.who])) != 0)
                fail_msg("'%s' is not about %d %d", r->text, over.who, over.i);
        check_at(s, place);
}

static void give(bool may_fail) {
        int i = (int)any(THINGS), s = thing[i].session;
        Svmd__V1__Result *r;

        if (!thing[i].size)
                return;
        r = call(&client[s], mk_release(thing[i].id), may_fail);
        if (!r)
                return;
        assert_int_equal(r->code, 0);
        world_settle(&w);
        thing[i].size = 0;
        check_at(s, thing[i].place);
}

static uint64_t some_bytes(enum kind who, unsigned bound) {
        uint64_t most = bound == BOUND_MIN || bound == BOUND_LOW ? 64 : who == SESSION ? 96 : 1400;

        return any(3) == 0 ? NONE : P(any(most));
}

static Svmd__V1__Op *mk_change(struct party p, int place, unsigned bound, uint64_t bytes) {
        if (p.who == PARTITION)
                return mk_bound(names[p.i], (uint32_t)place, bound, bytes);
        return mk_own_limit(p.who == SESSION ? client[p.i].id : 0, p.who == GROUP ? groups[p.i].path : NULL,
                            (uint32_t)place, bound, bytes);
}

/* Of whom, with few sessions of many. */
static struct party someone(void) {
        struct party p;

        (void)nth(any(2) ? (int)any(SESSIONS) : SESSIONS + (int)any(PARTITIONS + GROUPS), &p);
        return p;
}

static void change(bool may_fail) {
        struct party p = someone();
        int place = (int)any(PLACES);
        unsigned bound = (unsigned)any(BOUNDS);
        uint64_t bytes = some_bytes(p.who, bound);
        struct bounds b = *bounds_of(p, place), *now_has = bounds_of(p, place);
        Svmd__V1__Result *r;
        bool good;

        b.bytes[bound] = bytes == NONE && (bound == BOUND_MIN || bound == BOUND_LOW) ? 0 : bytes;
        good = fits(p, place, &b);
        r = call(&admin, mk_change(p, place, bound, bytes), may_fail);
        if (!r)
                return;
        if (good != (r->code == 0))
                fail_msg("bound %u of %d %d on node %d, %" PRIx64 ": %u %s", bound, p.who, p.i, place, bytes, r->code,
                         r->text);
        changed += good;
        unfit += !good;
        if (good)
                *now_has = b;
        same(p, place);
}

static void clear(void) {
        struct party p = someone();
        Svmd__V1__Op *op;

        if (p.who == PARTITION)
                return;
        op = mk_change(p, 0, BOUND_MAX, 0);
        op->limit_set->n_limits = 0;
        op->limit_set->clear = true;
        assert_int_equal(client_call(&admin, op)->code, 0);
        for (int place = 0; place < PLACES; place++) {
                *bounds_of(p, place) = BOUNDS_NONE;
                same(p, place);
        }
}

static void leave(void) {
        go_and_come((int)any(SESSIONS));
}

/* svmd sees it when it looks next: because somebody asks, or because it is time to. */
static void move(void) {
        int s = (int)any(SESSIONS), place = (int)any(PLACES);

        of_session[s].group = (int)any(GROUPS);
        groups_put(&w, client[s].pid, groups[of_session[s].group].path);
        assert_int_equal(client_call(&admin, op_make(SVMD__V1__OP__OP_LIMIT_QUERY))->code, 0);
        check_at(s, place);
}

static void restart(void) {
        struct client *all[SESSIONS];

        for (int s = 0; s < SESSIONS; s++)
                all[s] = &client[s];
        client_close(&admin);
        world_bury(world_restart_as_was(&w, all, SESSIONS));
        administer();
        restarts++;
        check();
}

static void step(void) {
        bool may_fail = any(12) == 0;
        uint64_t what = any(100);

        ops_reset();
        if (what < 50)
                take(may_fail);
        else if (what < 72)
                give(may_fail);
        else if (what < 92)
                change(may_fail);
        else if (what < 94)
                clear();
        else if (what < 98)
                move();
        else
                leave();
}

static void test_random_limits(void **state) {
        static const uint64_t capacity[NODES] = { P(3000), P(1200), P(700), P(256) };
        const char *text = getenv("SVMD_SEED"), *count = getenv("SVMD_OPS");
        uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
        unsigned long wanted = count ? strtoul(count, NULL, 0) : getenv("SVMD_LONG") ? 200000 : 4000;

        printf("seed: SVMD_SEED=%" PRIu64 "\n", seed);
        fflush(stdout);
        rng = seed * 0x9e3779b97f4a7c15ull | 1;
        world_open_sized(&w, 0, capacity);
        groups_open(&w);
        w.options.boottime_ns = w.svc->options.boottime_ns = now;
        w.options.max_sessions = w.svc->options.max_sessions = 2 * SESSIONS;
        administer();
        for (int p = 0; p < PARTITIONS; p++) {
                assert_int_equal(client_call(&admin, mk_partition(names[p], 4ull << 30, "", 100, 0666))->code, 0);
                for (int place = 0; place < PLACES; place++)
                        of_partition[p][place] = BOUNDS_NONE;
        }
        for (int g = 0; g < GROUPS; g++)
                for (int place = 0; place < PLACES; place++)
                        of_group[g][place] = BOUNDS_NONE;
        for (int s = 0; s < SESSIONS; s++) {
                of_session[s].partition = s % PARTITIONS;
                of_session[s].group = s % GROUPS;
                for (int place = 0; place < PLACES; place++)
                        of_session[s].own[place] = BOUNDS_NONE;
                come(s);
        }
        for (unsigned long done = 0; done < wanted; done++) {
                now_ns += any(2) * SECOND;
                step();
                if (done % 64 == 0)
                        check();
                if (any(250) == 0)
                        restart();
        }
        printf("%lu granted, refused: %lu by sessions, %lu by partitions, %lu by nodes, %lu by groups; %lu bounds changed, "
               "%lu did not fit; %lu times no memory, %lu restarts\n",
               granted, refused[SESSION], refused[PARTITION], refused[NODE], refused[GROUP], changed, unfit, failed,
               restarts);
        assert_true(wanted < 4000 || (refused[SESSION] && refused[PARTITION] && refused[NODE] && refused[GROUP]));
        for (int s = 0; s < SESSIONS; s++)
                client_close(&client[s]);
        client_close(&admin);
        world_settle(&w);
        for (unsigned node = 0; node < NODES; node++)
                assert_int_equal(ledger_bytes(&w, node), 0);
        check_world(&w);
        world_close(&w);
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_random_limits) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
