/*
 * What explain says is true: over generated machines, random hints of several sessions, and before each touch by the
 * CPU of a process or by a device what svmd says that it would come to. Then it is done, and compared.
 *
 * Of the hints, who said what and when is kept here too, and policy asked what comes of it: each winner, and each loser
 * with its pid and time, has to be as explain says.
 *
 * What bounces is either held back for the whole of the test or not at all, so that nothing that is said depends on how
 * fast the test runs.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "core/node.h"
#include "expect.h"
#include "mover/mover.h"
#include "policy/arbitrate.h"
#include "proto/past.h"
#include "proto/range.h"
#include "proto/status.h"
#include "ranges.h"

enum { GRANULE = 64 << 10, COUNT = 256, WORLDS = 10, SETS = 1000, MOST = 4 };
#define SIZE ((uint64_t)COUNT * GRANULE)

static struct world w;
static struct client admin;
static struct user owner, writer, reader;
static uint64_t range, at, space[64];
static uint32_t nodes;
static unsigned seed;
static unsigned outcomes[_MANAGED_OUTCOME_N];
static unsigned pinned[COUNT];
static uint64_t hints_seen; /* hints that were looked at */

static uint32_t below(uint32_t n) {
        return (uint32_t)rand_r(&seed) % n;
}

/* ---- the machine ---- */

static void connect(struct machine *m, uint32_t a, uint32_t b) {
        struct node_link link = { .type = "xgmi", .weight = 15, .peer = true, .max_bandwidth = 10000 * (1 + below(5)) };

        link.to = b;
        assert_int_equal(machine_link(&m->nodes[a], &link), 0);
        link.to = a;
        assert_int_equal(machine_link(&m->nodes[b], &link), 0);
}

/* Up to four devices more, in two hives, with links or without. */
static void shape(struct machine *m) {
        for (uint32_t i = NODES, end = NODES + below(MOST + 1); i < end; i++) {
                struct node_desc *n = machine_add(m);

                assert_non_null(n);
                snprintf(n->name, sizeof(n->name), "gpu%u", i - 1);
                n->kind = NODE_SOFT;
                n->capacity = 1ull << 30;
                n->faults = below(4) > 0;
                n->va_end = 1ull << 47;
        }
        for (uint32_t i = GPU0; i < m->count; i++) {
                m->nodes[i].hive = below(3);
                for (uint32_t k = GPU0; k < i; k++)
                        if (i != GPU1 && below(2))
                                connect(m, i, k);
        }
}

/* ---- hints ---- */

static const struct {
        struct client *client;
        struct policy_party party;
} speakers[] = {
        { &reader.client, { POLICY_READER } },
        { &writer.client, { POLICY_WRITER } },
        { &owner.client, { POLICY_OWNER } },
        { &admin, { POLICY_ADMINISTRATOR } },
};
enum { SPEAKERS = sizeof(speakers) / sizeof(speakers[0]), SAID_MAX = 1 << 14 };

/* All that was said in this world, and whose word on what is heard of each granule: plus one, 0 none. */
static struct said {
        struct policy_hint hint;
        unsigned who;
        uint32_t first, count;
        uint64_t began_ns, ended_ns;
} said[SAID_MAX];
static unsigned said_count;
static unsigned word[COUNT][SPEAKERS][_POLICY_ATTRIBUTE_N];

static void remember(const Svmd__V1__Advise *a, unsigned who, uint32_t first, uint32_t count, uint64_t began_ns) {
        struct said *new = &said[said_count++];

        assert_true(said_count < SAID_MAX);
        *new = (struct said){ .who = who, .first = first, .count = count, .began_ns = began_ns };
        new->ended_ns = clock_ns(CLOCK_REALTIME);
        new->hint = (struct policy_hint){ .party = &speakers[who].party,
                                          .order = said_count,
                                          .advice = { .preferred = a->preferred,
                                                      .accessed_by = a->accessed_by,
                                                      .read_mostly = a->read_mostly,
                                                      .pinned = a->pinned,
                                                      .granularity = a->granularity,
                                                      .coarse = a->coarse } };
        for (size_t i = 0; i < a->n_fallback; i++)
                new->hint.advice.fallback[i] = a->fallback[i];
        for (uint32_t g = first; g < first + count; g++)
                for (enum policy_attribute k = 0; k < _POLICY_ATTRIBUTE_N; k++)
                        if (a->what >> k & 1)
                                word[g][who][k] =
                                        policy_is_zero(&new->hint.advice, k) && !(a->against >> k & 1) ? 0 : said_count;
}

static void hint(unsigned who, uint32_t granule) {
        static const uint32_t sizes[] = { 0, 4096, GRANULE, 2 << 20 };
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_ADVISE);
        Svmd__V1__Advise *a = op->advise;
        uint32_t first = granule - below(granule < 3 ? granule + 1 : 3), fallback[] = { 1 + below(nodes) };
        uint32_t count = granule + 1 - first + below(COUNT - granule < 3 ? COUNT - granule : 3);
        uint64_t now = clock_ns(CLOCK_REALTIME);

        a->address = at + (uint64_t)first * GRANULE;
        a->size = (uint64_t)count * GRANULE;
        a->what = 1 + below(SVMD__V1__ADVICE_WHAT__ADVICE_FALLBACK * 2 - 1);
        a->what |= below(4) ? 0 : SVMD__V1__ADVICE_WHAT__ADVICE_COARSE;
        a->against = a->what & below(64);
        a->preferred = below(3) ? 1 + below(nodes) : 0;
        a->accessed_by = below(2) ? below(1u << nodes) : 0;
        a->read_mostly = below(2);
        a->pinned = !below(4);
        a->granularity = sizes[below(4)];
        a->fallback = fallback;
        a->n_fallback = below(2);
        a->coarse = below(2);
        a->partition = (char *)(speakers[who].client == &admin ? "one" : "");
        must(speakers[who].client, op);
        remember(a, who, first, count, now);
}

/* What is heard of the granule; returns how many. */
static uint32_t voices_of(uint32_t granule, struct policy_voice *ret) {
        uint32_t count = 0;

        for (unsigned who = 0; who < SPEAKERS; who++)
                for (enum policy_attribute k = 0; k < _POLICY_ATTRIBUTE_N; k++) {
                        const struct policy_hint *heard =
                                word[granule][who][k] ? &said[word[granule][who][k] - 1].hint : NULL;
                        uint32_t i = 0;

                        while (heard && i < count && ret[i].hint != heard)
                                i++;
                        if (heard && i == count)
                                ret[count++] = (struct policy_voice){ .hint = heard };
                        if (heard)
                                ret[i].says |= 1u << k;
                }
        return count;
}

static bool is_row_of(const Svmd__V1__AdviceHint *row, const struct said *s) {
        const struct client *c = speakers[s->who].client;

        return row->session == c->id && row->pid == c->pid && row->said_ns >= s->began_ns &&
               row->said_ns <= s->ended_ns && (int)row->rank == (int)speakers[s->who].party.rank &&
               row->address == at + (uint64_t)s->first * GRANULE && row->size == (uint64_t)s->count * GRANULE;
}

static const Svmd__V1__AdviceHint *row_for(const Svmd__V1__ExplainResult *e, const struct said *s) {
        for (size_t i = 0; i < e->n_hints; i++)
                if (is_row_of(e->hints[i], s))
                        return e->hints[i];
        fail_msg("hint %u, of session %" PRIu64 " (pid %u), is not told of", (unsigned)(s - said) + 1,
                 speakers[s->who].client->id, speakers[s->who].client->pid);
        return NULL;
}

static void names(const Svmd__V1__ExplainResult *e, const struct client *c) {
        char text[80];

        snprintf(text, sizeof(text), "Session %" PRIu64 " (pid %u, ", c->id, c->pid);
        for (size_t i = 0; i < e->n_sentences; i++)
                if (strstr(e->sentences[i], text))
                        return;
        fail_msg("no sentence says \"%s\"", text);
}

static void fate_is(const Svmd__V1__AdviceHint *row, enum policy_fate fate, enum policy_attribute k) {
        const uint32_t bits[] = {
                [POLICY_WON] = row->wins,
                [POLICY_AGREES] = row->agrees,
                [POLICY_OUTRANKED] = row->outranked,
                [POLICY_OVERTAKEN] = row->overtaken,
                [POLICY_MOOT] = row->moot,
        };

        for (enum policy_fate f = POLICY_WON; f <= POLICY_MOOT; f++)
                if ((bits[f] >> k & 1) != (f == fate))
                        fail_msg("attribute %d of a hint of session %" PRIu64 ": fate %d, and not %d", (int)k,
                                 row->session, (int)f, (int)fate);
}

static void check_hints(const Svmd__V1__ExplainResult *e, uint32_t granule) {
        struct policy_voice voices[SPEAKERS * _POLICY_ATTRIBUTE_N];
        uint32_t count = voices_of(granule, voices);
        struct policy_ruling ruling;

        policy_arbitrate(voices, count, &ruling);
        assert_int_equal(e->n_hints, count);
        assert_int_equal(e->advice->preferred, ruling.advice.preferred);
        assert_int_equal(e->advice->accessed_by, ruling.advice.accessed_by);
        assert_int_equal(e->advice->read_mostly, ruling.advice.read_mostly);
        assert_int_equal(e->advice->pinned, ruling.advice.pinned);
        assert_int_equal(e->advice->granularity, ruling.advice.granularity);
        assert_int_equal(e->advice->coarse, ruling.advice.coarse);
        assert_int_equal(e->advice->n_fallback, ruling.advice.fallback[0] ? 1 : 0);
        for (uint32_t i = 0; i < count; i++) {
                const struct said *s = &said[voices[i].hint->order - 1];
                const Svmd__V1__AdviceHint *row = row_for(e, s);

                for (enum policy_attribute k = 0; k < _POLICY_ATTRIBUTE_N; k++)
                        fate_is(row, policy_fate(voices, &ruling, i, k), k);
                if (e->n_hints <= 16)
                        names(e, speakers[s->who].client);
        }
        hints_seen += count;
}

static unsigned ended(struct client *c, uint64_t fence, char *text) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_FENCE_QUERY);

        op->fence_query->fence = fence;
        for (;;) {
                Svmd__V1__Result *r = must(c, op);

                if (r->fence->done) {
                        snprintf(text, 200, "%s", r->fence->text);
                        return r->fence->code;
                }
                world_wait(&w);
        }
}

static void pin(uint32_t granule) {
        bool off = pinned[granule];
        char text[200];
        Svmd__V1__Result *r = must(&owner.client, mk_pin(at + (uint64_t)granule * GRANULE, GRANULE, off));

        if (r->id)
                assert_int_equal(ended(&owner.client, r->id, text), 0);
        pinned[granule] = !off;
}

static void discard(uint32_t granule) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_DISCARD);
        char text[200];

        if (pinned[granule])
                return;
        op->discard->address = at + (uint64_t)granule * GRANULE;
        op->discard->size = GRANULE;
        assert_int_equal(ended(&owner.client, must(&owner.client, op)->id, text), 0);
}

static void happen(uint32_t granule) {
        if (!below(3))
                discard(granule);
        for (unsigned i = 0, n = 1 + below(4); i < n; i++)
                hint(below(SPEAKERS), granule);
        if (!below(12) || pinned[granule])
                pin(granule);
}

/* ---- touches ---- */

static Svmd__V1__ExplainResult *explain(uint32_t granule) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_EXPLAIN);

        world_settle(&w);
        op->explain->address = at + (uint64_t)granule * GRANULE;
        return must(&owner.client, op)->explain;
}

static Svmd__V1__Touch *row_of(const Svmd__V1__ExplainResult *e, uint32_t node, bool write) {
        for (size_t i = 0; i < e->n_touches; i++)
                if (e->touches[i]->node == node && e->touches[i]->write == write)
                        return e->touches[i];
        fail_msg("nothing is said of node %u", node);
        return NULL;
}

static unsigned perform(uint32_t granule, uint32_t node, bool write, char *text) {
        uint64_t address = at + (uint64_t)granule * GRANULE + 8 * below(GRANULE / 8);
        Svmd__V1__Op *op;

        text[0] = 0;
        if (node == PAST_NODE_CPU) {
                if (write)
                        process_store(&owner.process, address, below(1000));
                else
                        process_load(&owner.process, address);
                return 0;
        }
        op = write ? mk_submit(space[node], SVMD__V1__DEVICE_OP__DEVICE_FILL, address, 0, 8, 1, false)
                   : mk_submit(space[node], SVMD__V1__DEVICE_OP__DEVICE_SUM, 0, address, 8, 0, false);
        return ended(&owner.client, must(&owner.client, op)->id, text);
}

static void touch(uint32_t granule, uint32_t node, bool write) {
        Svmd__V1__Touch told = *row_of(explain(granule), node, write);
        const Svmd__V1__Run *now;
        char text[200];
        unsigned code = perform(granule, node, write, text);

        now = explain(granule)->run;
        outcomes[told.outcome]++;
        if (code == told.code && now->state == told.state && now->node == told.on && now->copies == told.copies)
                return;
        fail_msg("granule %u, %s by node %d: said outcome %u (why %u), code %u, state %u on %d, copies %" PRIx64
                 "; but code %u (%s), state %u on %d, copies %" PRIx64,
                 granule, write ? "write" : "read", (int)node, told.outcome, told.why, told.code, told.state,
                 (int)told.on, told.copies, code, text, now->state, (int)now->node, now->copies);
}

/* ---- the world ---- */

static void open_clients(void) {
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_range_partition("one", 4ull << 30, 100, 0666));
        if (below(2))
                must(&admin, mk_limit("one", GPU0 + below(nodes - GPU0), below(2) * 16 * GRANULE));
        user_open(&w, &owner, 100, "one");
        user_open(&w, &writer, 101, "one");
        user_open(&w, &reader, 102, "one");
        owner.client.deaf = writer.client.deaf = reader.client.deaf = admin.deaf = true;
        user_give(&owner);
}

static void open_world(void) {
        static const uint64_t capacity[NODES] = { 8ull << 30, 1ull << 30, 1ull << 30, 1ull << 30 };
        static struct policy_profile profile;
        Svmd__V1__Result *r;

        profile = *policy_profile_default();
        profile.lapse_us = below(2) ? 0 : UINT32_MAX;
        profile.pin_ms = profile.epoch_ms = UINT32_MAX / 1000;
        world_policy = &profile;
        world_shape = shape;
        world_open_sized(&w, 0, capacity);
        nodes = w.machine.count;
        open_clients();
        r = must(&owner.client, mk_range(SIZE, GRANULE, "shared", 0666));
        range = r->id;
        at = r->address;
        user_join(&owner, range, true);
        must(&writer.client, mk_open("shared", 3));
        must(&reader.client, mk_open("shared", 1));
        for (uint32_t i = GPU0; i < nodes; i++)
                space[i] = must(&owner.client, mk_space(i))->id;
        memset(pinned, 0, sizeof(pinned));
        memset(word, 0, sizeof(word));
        said_count = 0;
}

static void close_world(void) {
        user_close(&owner);
        user_close(&writer);
        user_close(&reader);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
        world_shape = NULL;
        world_policy = NULL;
}

static void a_set(void) {
        uint32_t granule = below(COUNT), first = below(nodes);

        happen(granule);
        check_hints(explain(granule), granule);
        for (uint32_t i = 0; i < nodes; i++) {
                uint32_t node = (first + i) % nodes;
                bool write = below(2);

                node = node == HOST0 ? PAST_NODE_CPU : node;
                touch(granule, node, write);
                touch(granule, node, !write);
        }
        ops_reset();
}

static void test_truth(void **state) {
        unsigned sets = getenv("SVMD_LONG") ? 20 * SETS : SETS;

        seed = getenv("SVMD_SEED") ? (unsigned)strtoul(getenv("SVMD_SEED"), NULL, 0) : (unsigned)time(NULL);
        print_message("seed %u\n", seed);
        for (unsigned i = 0; i < WORLDS; i++) {
                open_world();
                for (unsigned k = 0; k < sets / WORLDS; k++)
                        a_set();
                close_world();
        }
        print_message("%" PRIu64 " hints\n", hints_seen);
        for (unsigned i = 0; i < _MANAGED_OUTCOME_N; i++) {
                print_message("outcome %u: %u\n", i, outcomes[i]);
                assert_true(outcomes[i] > 0 || i == MANAGED_TOUCH_WAITS);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_truth) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
