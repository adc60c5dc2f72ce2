/*
 * Random requests about managed ranges, by processes that write in them, against a model that knows what is in each
 * granule and nothing of where it lies. Now and then svmd "is killed", a process is, or a session leaves; whatever
 * moves, what is read is what was written last. Limits of sessions and control groups change meanwhile: each sum is
 * that of what its sessions have reserved, and at rest nobody has more than it may, but for what is pinned.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/cgroup.h"
#include "core/ledger.h"
#include "core/reservation.h"
#include "core/session.h"
#include "groups.h"
#include "ranges.h"

enum { USERS = 4, RANGES = 8, GRANULES = 12, NAMES = 3 };

static uint64_t rng;

static uint64_t any(uint64_t below) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (rng >> 11) % below;
}

/* ---- the model ---- */

struct range {
        bool used, revoked;
        uint64_t id, address;
        uint32_t granule, count;
        int owner, name; /* -1: ended; anonymous */
        unsigned uid;
        unsigned open[USERS]; /* access; of the owner too */
        bool joined[USERS];
        unsigned pins[USERS][GRANULES];
        uint64_t word[GRANULES]; /* the one that is written in each granule */
};

static struct range range[RANGES];
static uint64_t space[USERS];
static struct world world;
static struct client admin;
static struct user user[USERS];
static const unsigned uids[USERS] = { 100, 100, 100, 101 };
static const char *const names[NAMES] = { "red", "green", "blue" };
static unsigned long requests, touches, moves, restarts, limits;

/* Of users 0 and 2, and of 1 and 3, by their control groups; and each one's own. */
enum { GROUPS = 2 };
static const char *const groups[GROUPS] = { "/pod", "/pod/in" };
static uint64_t max_of_group[GROUPS], max_of[USERS];

static uint64_t at(const struct range *r, uint32_t granule) {
        return r->address + (uint64_t)granule * r->granule;
}

/* Somewhere in the granule, the same place each time. */
static uint64_t word_at(const struct range *r, uint32_t granule) {
        return at(r, granule) + (granule * 1352ull + 8) % r->granule / 8 * 8;
}

static bool pinned(const struct range *r, uint32_t first, uint32_t count) {
        for (unsigned u = 0; u < USERS; u++)
                for (uint32_t i = first; i < first + count; i++)
                        if (r->pins[u][i])
                                return true;
        return false;
}

static void drop(struct range *r) {
        *r = (struct range){ .owner = -1, .name = -1 };
}

static void model_close(struct range *r, int u) {
        bool open = false;

        r->open[u] = 0;
        r->joined[u] = false;
        memset(r->pins[u], 0, sizeof(r->pins[u]));
        if (r->owner == u)
                r->owner = -1;
        for (unsigned i = 0; i < USERS; i++)
                open |= r->open[i] != 0;
        if (!open || (r->owner < 0 && r->name < 0))
                drop(r);
}

/* ---- requests ---- */

static Svmd__V1__Result *ask(int u, Svmd__V1__Op *op) {
        requests++;
        return client_call(&user[u].client, op);
}

static Svmd__V1__Result *must(int u, Svmd__V1__Op *op) {
        Svmd__V1__Result *r = ask(u, op);

        if (r->code != 0)
                fail_msg("user %d, operation %d: %u %s", u, (int)op->op_case, r->code, r->text);
        return r;
}

static void must_not(int u, Svmd__V1__Op *op) {
        if (ask(u, op)->code == 0)
                fail_msg("user %d, operation %d was done", u, (int)op->op_case);
}

/* One that the user has open, mostly; or NULL. */
static struct range *pick(int u) {
        unsigned i = (unsigned)any(RANGES);

        for (unsigned n = 0; n < RANGES; n++, i = (i + 1) % RANGES)
                if (range[i].used && (range[i].open[u] || any(10) == 0))
                        return &range[i];
        return NULL;
}

static void pick_granules(const struct range *r, uint32_t *first, uint32_t *count) {
        *first = (uint32_t)any(r->count);
        *count = 1 + (uint32_t)any(r->count - *first);
}

static int by_name(int name) {
        for (int i = 0; i < RANGES; i++)
                if (range[i].used && range[i].name == name)
                        return i;
        return -1;
}

static void do_reserve(int u) {
        static const uint32_t granules[] = { 4096, 65536, 65536, 2 << 20 };
        int name = any(2) ? (int)any(NAMES) : -1, slot = -1;
        uint32_t granule = granules[any(4)], count = 1 + (uint32_t)any(GRANULES);
        Svmd__V1__Op *op;
        Svmd__V1__Result *r;

        for (int i = 0; i < RANGES; i++)
                if (!range[i].used)
                        slot = i;
        if (slot < 0)
                return;
        op = mk_range((uint64_t)granule * count, granule, name < 0 ? "" : names[name], 0660);
        if (name >= 0 && by_name(name) >= 0) {
                must_not(u, op);
                return;
        }
        r = must(u, op);
        range[slot] = (struct range){ .used = true,
                                      .id = r->id,
                                      .address = r->address,
                                      .granule = granule,
                                      .count = count,
                                      .owner = u,
                                      .uid = uids[u],
                                      .name = name };
        range[slot].open[u] = RIGHT_READ | RIGHT_WRITE;
}

static void do_open(int u) {
        int name = (int)any(NAMES), i = by_name(name);
        unsigned access = any(3) ? RIGHT_READ | RIGHT_WRITE : RIGHT_READ;
        Svmd__V1__Op *op = mk_open(names[name], access);
        struct range *r = i < 0 ? NULL : &range[i];

        if (!r || r->open[u] || uids[u] != r->uid) {
                must_not(u, op);
                return;
        }
        assert_int_equal(must(u, op)->address, r->address);
        r->open[u] = access;
}

static void unmap(struct range *r, int u) {
        if (r->joined[u])
                assert_int_equal(process_unmap(&user[u].process, r->address, (uint64_t)r->granule * r->count), 0);
        r->joined[u] = false;
}

static void do_free(int u) {
        struct range *r = pick(u);

        if (!r)
                return;
        if (!r->open[u]) {
                must_not(u, mk_free(r->id));
                return;
        }
        if (r->owner == u)
                for (int i = 0; i < USERS; i++)
                        unmap(r, i);
        unmap(r, u);
        must(u, mk_free(r->id));
        if (r->owner == u)
                drop(r);
        else
                model_close(r, u);
}

static void do_join(int u) {
        struct range *r = pick(u);

        if (!r)
                return;
        if (r->joined[u] && restarts > 0)
                return; /* a resumed session may ask again */
        if (!r->open[u] || r->joined[u]) {
                must_not(u, mk_join(r->id));
                return;
        }
        user_join(&user[u], r->id, r->open[u] & RIGHT_WRITE);
        r->joined[u] = true;
}

/* ---- touching ---- */

static void do_touch(int u) {
        struct range *r = pick(u);
        uint32_t i;

        if (!r || !r->joined[u] || r->revoked)
                return;
        touches++;
        i = (uint32_t)any(r->count);
        if (any(2) && r->open[u] & RIGHT_WRITE) {
                r->word[i] = any(UINT64_MAX / 2);
                process_store(&user[u].process, word_at(r, i), r->word[i]);
                return;
        }
        assert_int_equal(process_load(&user[u].process, word_at(r, i)), r->word[i]);
}

static void do_device(int u) {
        struct range *r = pick(u);
        uint32_t i;

        if (!r || !r->open[u] || r->revoked || !space[u])
                return;
        i = (uint32_t)any(r->count);
        if (!(r->open[u] & RIGHT_WRITE)) {
                assert_int_equal(user_do(&user[u], mk_submit(space[u], SVMD__V1__DEVICE_OP__DEVICE_ATOMIC_ADD,
                                                             word_at(r, i), 0, 0, 1, false)),
                                 SVMD_STATUS_ACCESS);
                return;
        }
        assert_int_equal(user_do(&user[u], mk_submit(space[u], SVMD__V1__DEVICE_OP__DEVICE_ATOMIC_ADD, word_at(r, i), 0,
                                                     0, 7, false)),
                         0);
        r->word[i] += 7;
}

/* Each word, by whoever can. */
static void check_content(void) {
        for (unsigned k = 0; k < RANGES; k++)
                for (int u = 0; u < USERS; u++) {
                        const struct range *r = &range[k];

                        if (!r->used || !r->joined[u] || r->revoked)
                                continue;
                        for (uint32_t i = 0; i < r->count; i++)
                                assert_int_equal(process_load(&user[u].process, word_at(r, i)), r->word[i]);
                }
}

/* ---- moving ---- */

static void do_migrate(int u) {
        struct range *r = pick(u);
        uint32_t first, count, node = (uint32_t)any(NODES);
        Svmd__V1__Op *op;
        unsigned code;

        if (!r)
                return;
        pick_granules(r, &first, &count);
        op = mk_migrate(at(r, first), (uint64_t)count * r->granule, node);
        op->migrate->prefetch = any(2);
        op->migrate->evict = any(6) == 0;
        if (!r->open[u] || (!op->migrate->prefetch && !(r->open[u] & RIGHT_WRITE)) ||
            (r->revoked && (!op->migrate->evict || op->migrate->prefetch))) {
                must_not(u, op);
                return;
        }
        code = user_do(&user[u], op);
        moves += code == 0;
        if (op->migrate->prefetch)
                assert_int_equal(code, 0);
        else if (code != 0 && code != SVMD_STATUS_NO_ROOM && code != SVMD_STATUS_BUSY &&
                 !(r->revoked && code == SVMD_STATUS_ACCESS))
                fail_msg("a move ended with %u", code);
        else if (pinned(r, first, count) && node != HOST0 && !op->migrate->evict && !r->revoked)
                assert_int_not_equal(code, 0);
}

static void do_discard(int u) {
        struct range *r = pick(u);
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_DISCARD);
        uint32_t first, count;

        if (!r)
                return;
        pick_granules(r, &first, &count);
        op->discard->address = at(r, first);
        op->discard->size = (uint64_t)count * r->granule;
        if (!(r->open[u] & RIGHT_WRITE) || r->revoked) {
                must_not(u, op);
                return;
        }
        if (pinned(r, first, count))
                return;
        assert_int_equal(user_do(&user[u], op), 0);
        for (uint32_t i = first; i < first + count; i++)
                r->word[i] = 0;
}

static void do_pin(int u) {
        struct range *r = pick(u);
        uint32_t first, count;
        bool all = true;
        unsigned code;

        if (!r)
                return;
        pick_granules(r, &first, &count);
        for (uint32_t i = first; i < first + count; i++)
                all &= r->pins[u][i] > 0;
        if (any(2) || (all && any(3))) {
                Svmd__V1__Op *op = mk_pin(at(r, first), (uint64_t)count * r->granule, true);

                if (!r->open[u] || !all) {
                        must_not(u, op);
                        return;
                }
                must(u, op);
                for (uint32_t i = first; i < first + count; i++)
                        r->pins[u][i]--;
                return;
        }
        if (!r->open[u] || r->revoked) {
                must_not(u, mk_pin(at(r, first), (uint64_t)count * r->granule, false));
                return;
        }
        code = user_do(&user[u], mk_pin(at(r, first), (uint64_t)count * r->granule, false));
        if (code == SVMD_STATUS_NO_ROOM && limits > 0)
                return;
        assert_int_equal(code, 0);
        for (uint32_t i = first; i < first + count; i++)
                r->pins[u][i]++;
}

static void do_advise(int u) {
        static uint32_t fallback[3];
        struct range *r = pick(u);
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_ADVISE);
        uint32_t first, count;

        if (!r)
                return;
        pick_granules(r, &first, &count);
        op->advise->address = at(r, first);
        op->advise->size = (uint64_t)count * r->granule;
        op->advise->what = 1 + (uint32_t)any(511);
        op->advise->against = any(3) ? 0 : op->advise->what & (uint32_t)any(512);
        op->advise->preferred = (uint32_t)any(NODES + 1);
        op->advise->accessed_by = any(1u << NODES);
        op->advise->read_mostly = any(2);
        op->advise->pinned = any(8) == 0;
        op->advise->granularity = any(2) ? 65536 : 0;
        op->advise->fallback = fallback;
        op->advise->n_fallback = any(4);
        for (unsigned i = 0; i < 3; i++)
                fallback[i] = 1 + (uint32_t)any(NODES);
        op->advise->atomics = (Svmd__V1__Atomics)any(4);
        op->advise->coarse = any(2);
        op->advise->group = (uint32_t)any(3);
        if (r->open[u])
                must(u, op);
        else
                must_not(u, op);
}

static void do_revoke(int u) {
        struct range *r = pick(u);
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_REVOKE);
        unsigned code;

        if (!r)
                return;
        op->revoke->address = r->address;
        op->revoke->off = r->revoked;
        if (r->owner != u) {
                must_not(u, op);
                return;
        }
        code = user_do(&user[u], op);
        if (code == 0)
                r->revoked = !r->revoked;
        else
                assert_true(!r->revoked && pinned(r, 0, r->count) && code == SVMD_STATUS_BUSY);
}

static void do_steal(int u) {
        struct range *r = pick(u);
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_STEAL);
        unsigned code;

        if (!r)
                return;
        op->steal->address = r->address;
        if (!(r->open[u] & RIGHT_WRITE) || r->owner == u || r->revoked) {
                must_not(u, op);
                return;
        }
        code = user_do(&user[u], op);
        if (code != 0) {
                assert_true(pinned(r, 0, r->count) && code == SVMD_STATUS_BUSY);
                return;
        }
        for (int i = 0; i < USERS; i++) {
                if (i == u)
                        continue;
                unmap(r, i);
                r->open[i] = 0;
                memset(r->pins[i], 0, sizeof(r->pins[i]));
        }
        r->owner = u;
}

static void do_space(int u) {
        if (space[u])
                must(u, mk_destroy(space[u]));
        space[u] = space[u] ? 0 : must(u, mk_space(GPU1))->id;
}

/* ---- limits ---- */

/* Of the one or the other; there is room enough elsewhere. */
static void do_limit(int u) {
        uint64_t max = any(3) ? (1 + any(24)) << 20 : ACCOUNT_NO_LIMIT;
        int g = (int)any(2 * GROUPS);
        Svmd__V1__Op *op =
                mk_own_limit(g < GROUPS ? 0 : user[u].client.id, g < GROUPS ? groups[g] : NULL, HOST0, BOUND_MAX, max);

        assert_int_equal(client_call(&admin, op)->code, 0);
        *(g < GROUPS ? &max_of_group[g] : &max_of[u]) = max;
        limits++;
}

static uint64_t has(int u) {
        return accounts_managed(world.svc, user[u].client.session, HOST0);
}

/* Of what it has reserved, by whomever. */
static uint64_t pins_of(int u) {
        uint64_t sum = 0;

        for (unsigned i = 0; i < RANGES; i++)
                for (uint32_t k = 0; range[i].used && range[i].owner == u && k < range[i].count; k++)
                        sum += pinned(&range[i], k, 1) ? range[i].granule : 0;
        return sum;
}

static void within(struct limited of, uint64_t sum, uint64_t max, uint64_t pins) {
        char name[LIMITED_NAME];

        if (limited_managed(world.svc, of, HOST0) != sum)
                fail_msg("%s is charged %" PRIu64 ", not %" PRIu64, limited_name(of, name),
                         limited_managed(world.svc, of, HOST0), sum);
        if (sum > max && sum > pins)
                fail_msg("%s has %" PRIu64 ", and may have %" PRIu64 " with %" PRIu64 " pinned", limited_name(of, name),
                         sum, max, pins);
}

static void check_limits(void) {
        for (int u = 0; u < USERS; u++)
                within(LIMITED_SESSION(user[u].client.session), has(u), max_of[u], pins_of(u));
        for (int g = 0; g < GROUPS; g++) {
                struct cgroup *at = cgroup_find(&world.svc->state, groups[g]);
                uint64_t sum = 0, pins = 0;

                assert_true(!at == (max_of_group[g] == ACCOUNT_NO_LIMIT));
                for (int u = 0; at && u < USERS; u++)
                        if (g == 0 || u % 2 == g) {
                                sum += has(u);
                                pins += pins_of(u);
                        }
                if (at)
                        within(LIMITED_CGROUP(at), sum, max_of_group[g], pins);
        }
}

/* ---- coming, going, going on ---- */

static void come(int u) {
        struct service_peer peer = { .uid = uids[u], .gid = uids[u] };

        process_start(&user[u].process);
        peer.pid = (uint32_t)user[u].process.pid;
        assert_int_equal(client_open_as(&world, &user[u].client, &peer), 0);
        groups_put(&world, peer.pid, groups[u % GROUPS]);
        client_greet(&user[u].client, "one");
        user_give(&user[u]);
        max_of[u] = ACCOUNT_NO_LIMIT;
}

/* Its process is killed first, or its connection ends first. */
static void leave(int u) {
        bool killed = any(2);

        if (killed)
                process_end(&user[u].process);
        client_close(&user[u].client);
        if (!killed)
                process_end(&user[u].process);
        space[u] = 0;
        for (unsigned i = 0; i < RANGES; i++)
                if (range[i].open[u])
                        model_close(&range[i], u);
}

static void restart(void) {
        struct client *all[USERS + 1] = { &admin };
        struct service *old;

        world_settle(&world);
        if (any(2))
                assert_int_equal(journal_snapshot(world.svc), 0);
        for (unsigned u = 0; u < USERS; u++)
                all[1 + u] = &user[u].client;
        old = world_restart_as_was(&world, all, USERS + 1);
        world_bury(old);
        client_close(&admin);
        client_open(&world, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        for (unsigned u = 0; u < USERS; u++)
                assert_non_null(user[u].client.session);
        restarts++;
}

typedef void (*step_fn)(int u);
static const step_fn steps[] = {
        do_reserve, do_reserve, do_open,    do_open,    do_free,    do_join,    do_join,    do_join,
        do_touch,   do_touch,   do_touch,   do_touch,   do_touch,   do_touch,   do_touch,   do_touch,
        do_device,  do_device,  do_migrate, do_migrate, do_migrate, do_migrate, do_discard, do_pin,
        do_advise,  do_advise,  do_revoke,  do_steal,   do_space,   do_limit,
};

static void set_up(void) {
        world_open(&world, 0);
        groups_open(&world);
        max_of_group[0] = max_of_group[1] = ACCOUNT_NO_LIMIT;
        client_open(&world, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        ops_reset();
        assert_int_equal(client_call(&admin, mk_range_partition("one", 4ull << 30, 100, 0666))->code, 0);
        for (int u = 0; u < USERS; u++)
                come(u);
        for (unsigned i = 0; i < RANGES; i++)
                drop(&range[i]);
}

static void tear_down(void) {
        for (int u = 0; u < USERS; u++)
                leave(u);
        client_close(&admin);
        world_settle(&world);
        check_world(&world);
        assert_true(list_empty(&world.svc->managed.ranges));
        world_close(&world);
}

static void test_random_ranges(void **state) {
        const char *text = getenv("SVMD_SEED"), *count = getenv("SVMD_OPS");
        uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
        unsigned long wanted = count ? strtoul(count, NULL, 0) : 5000;

        printf("seed: SVMD_SEED=%" PRIu64 "\n", seed);
        fflush(stdout);
        rng = seed * 0x9e3779b97f4a7c15ull | 1;
        set_up();
        for (unsigned long i = 0; requests < wanted; i++) {
                ops_reset();
                steps[any(sizeof(steps) / sizeof(steps[0]))]((int)any(USERS));
                if (any(150) == 0) {
                        int u = (int)any(USERS);

                        leave(u);
                        come(u);
                }
                if (any(50) == 0) {
                        world_settle(&world);
                        check_world(&world);
                        check_content();
                        world_settle(&world);
                        check_limits();
                }
                if (any(200) == 0)
                        restart();
        }
        printf("%lu requests, %lu touches, %lu moves, %lu restarts\n", requests, touches, moves, restarts);
        tear_down();
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_random_ranges) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
