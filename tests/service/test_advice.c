/*
 * What several sessions advise about one range: whose words count, what is told of the others, what is left of them
 * when sessions end, and all of it over restarts, from the log and from a snapshot.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/reservation.h"
#include "engine/hints.h"
#include "expect.h"
#include "ranges.h"

#define PAGE   4096ull
#define SIZE   (64 * PAGE)
#define BIT(a) SVMD__V1__ADVICE_WHAT__ADVICE_##a

static struct world w;
static struct client admin, a, b, c; /* a owns the range "shared", b may write it, c may read it */
static uint64_t range, at;

static int set_up(void **state) {
        Svmd__V1__Result *r;

        ops_reset();
        world_open(&w, 0);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_range_partition("one", 4ull << 30, 100, 0666));
        client_open(&w, &a, 100, 100, false);
        client_greet(&a, "one");
        client_open(&w, &b, 101, 101, false);
        client_greet(&b, "one");
        client_open(&w, &c, 102, 102, false);
        client_greet(&c, "one");
        a.deaf = b.deaf = c.deaf = admin.deaf = true;
        r = must(&a, mk_range(SIZE, PAGE, "shared", 0666));
        range = r->id;
        at = r->address;
        must(&b, mk_open("shared", 3));
        must(&c, mk_open("shared", 1));
        return 0;
}

static int tear_down(void **state) {
        client_close(&a);
        client_close(&b);
        client_close(&c);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
        return 0;
}

static void restart(void) {
        struct client *all[] = { &a, &b, &c, &admin };
        struct service *old = world_restart_as_was(&w, all, 4);

        world_bury(old);
        client_close(&admin);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        admin.deaf = true;
        world_settle(&w);
}

/* From the log, and from a snapshot. */
static void restart_twice(void) {
        restart();
        assert_int_equal(journal_snapshot(w.svc), 0);
        restart();
}

static Svmd__V1__Op *mk_advise(uint64_t first, uint64_t count, uint32_t what) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_ADVISE);

        op->advise->address = at + first * PAGE;
        op->advise->size = count * PAGE;
        op->advise->what = what;
        return op;
}

static void prefer(struct client *x, uint64_t first, uint64_t count, uint32_t node) {
        Svmd__V1__Op *op = mk_advise(first, count, BIT(PREFERRED));

        op->advise->preferred = node + 1;
        op->advise->partition = (char *)(x == &admin ? "one" : "");
        must(x, op);
}

static Svmd__V1__AdviceShowResult *show(struct client *x, uint64_t first, uint64_t count) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_ADVICE_SHOW);

        op->advice_show->address = at + first * PAGE;
        op->advice_show->size = count * PAGE;
        op->advice_show->partition = (char *)(x == &admin ? "one" : "");
        return must(x, op)->advice_show;
}

static uint32_t preferred(uint64_t granule) {
        return show(&admin, granule, 1)->advice->preferred - 1;
}

/* The row of the session's hint, the first one. */
static const Svmd__V1__AdviceHint *hint(const Svmd__V1__AdviceShowResult *r, uint64_t session) {
        for (size_t i = 0; i < r->n_hints; i++)
                if (r->hints[i]->session == session)
                        return r->hints[i];
        fail_msg("no hint of session %" PRIu64, session);
        return NULL;
}

/* ---- who wins ---------------------------------------------------------------------------------------------------- */

static void test_side_by_side(void **state) {
        const Svmd__V1__AdviceShowResult *r;
        uint64_t ids[] = { a.id, b.id, c.id, admin.id }, said[4] = { 0 };

        prefer(&admin, 0, 4, HOST0);
        prefer(&a, 0, 16, GPU0);
        prefer(&b, 0, 32, GPU1);
        prefer(&c, 0, 48, GPU2);
        for (unsigned round = 0; round < 2; round++) {
                r = show(&c, 0, 1);
                assert_int_equal(r->advice->preferred, HOST0 + 1);
                assert_int_equal(r->n_hints, 4);
                for (unsigned i = 0; i < 4; i++) {
                        const Svmd__V1__AdviceHint *x = hint(r, ids[i]);

                        assert_int_equal(x->uid, i < 3 ? 100 + i : 0);
                        assert_string_equal(x->client, "test");
                        assert_true(x->said_ns > 0 && (!said[i] || said[i] == x->said_ns));
                        said[i] = x->said_ns;
                        assert_int_equal(x->wins, i == 3 ? BIT(PREFERRED) : 0);
                        assert_int_equal(x->outranked, i == 3 ? 0 : BIT(PREFERRED));
                }
                assert_int_equal(hint(r, a.id)->rank, SVMD__V1__ADVICE_RANK__RANK_OWNER);
                assert_int_equal(hint(r, b.id)->rank, SVMD__V1__ADVICE_RANK__RANK_WRITER);
                assert_int_equal(hint(r, c.id)->rank, SVMD__V1__ADVICE_RANK__RANK_READER);
                assert_int_equal(hint(r, b.id)->address, at);
                assert_int_equal(hint(r, b.id)->size, 32 * PAGE);
                assert_int_equal(preferred(10), GPU0);
                assert_int_equal(preferred(20), GPU1);
                assert_int_equal(preferred(40), GPU2);
                assert_int_equal(preferred(50), UINT32_MAX);
                r = show(&a, 0, 20);
                assert_int_equal(r->mixed, BIT(PREFERRED));
                assert_int_equal(r->advice->preferred, 0);
                assert_int_equal(hint(r, a.id)->wins, BIT(PREFERRED));
                assert_int_equal(hint(r, a.id)->outranked, BIT(PREFERRED));
                restart_twice();
        }
        prefer(&admin, 0, 64, UINT32_MAX); /* another session of an administrator's */
        assert_int_equal(preferred(0), GPU0);
}

static void test_a_wish_against(void **state) {
        Svmd__V1__Op *op = mk_advise(0, 64, BIT(READ_MOSTLY));

        op->advise->read_mostly = true;
        must(&b, op);
        assert_true(show(&a, 0, 64)->advice->read_mostly);
        op = mk_advise(0, 64, BIT(READ_MOSTLY));
        must(&a, op);
        assert_true(show(&a, 0, 64)->advice->read_mostly);
        op->advise->against = BIT(READ_MOSTLY);
        must(&a, op);
        assert_false(show(&a, 0, 64)->advice->read_mostly);
        restart_twice();
        assert_int_equal(hint(show(&a, 0, 64), b.id)->outranked, BIT(READ_MOSTLY));
        op->advise->against = 0;
        must(&a, op);
        assert_true(show(&a, 0, 64)->advice->read_mostly);
}

static void test_all_attributes(void **state) {
        Svmd__V1__Op *op = mk_advise(0, 64, 511);
        uint32_t fallback[] = { GPU2 + 1, HOST0 + 1 };

        op->advise->preferred = GPU1 + 1;
        op->advise->accessed_by = 1u << GPU0;
        op->advise->read_mostly = op->advise->pinned = op->advise->coarse = true;
        op->advise->granularity = 65536;
        op->advise->fallback = fallback;
        op->advise->n_fallback = 2;
        op->advise->atomics = SVMD__V1__ATOMICS__ATOMICS_GLOBAL;
        op->advise->group = 7;
        must(&b, op);
        for (unsigned i = 0; i < 2; i++) {
                const Svmd__V1__AdviceResult *x = show(&a, 0, 0)->advice;

                assert_int_equal(x->preferred, GPU1 + 1);
                assert_int_equal(x->accessed_by, 1u << GPU0);
                assert_true(x->read_mostly && x->pinned && x->coarse);
                assert_int_equal(x->granularity, 65536);
                assert_int_equal(x->n_fallback, 2);
                assert_int_equal(x->fallback[0], GPU2 + 1);
                assert_int_equal(x->fallback[1], HOST0 + 1);
                assert_int_equal(x->atomics, SVMD__V1__ATOMICS__ATOMICS_GLOBAL);
                assert_int_equal(x->group, 7);
                assert_int_equal(hint(show(&a, 3, 1), b.id)->wins, 511);
                restart_twice();
        }
}

/* gpu0 has no faults. */
static void test_verdicts(void **state) {
        Svmd__V1__Op *op = mk_advise(0, 64, BIT(READ_MOSTLY) | BIT(ACCESSED_BY));
        const Svmd__V1__AdviceShowResult *r;
        unsigned refused = 0, applied = 0;

        op->advise->read_mostly = true;
        op->advise->accessed_by = 1u << GPU0;
        must(&a, op);
        r = show(&a, 0, 64);
        for (size_t i = 0; i < r->n_verdicts; i++) {
                const Svmd__V1__AdviceVerdict *v = r->verdicts[i];

                if (v->became == SVMD__V1__ADVICE_BECAME__BECAME_REFUSED) {
                        assert_true(v->node == GPU0 && v->why[0]);
                        refused++;
                }
                applied += v->node == GPU1 && v->what == BIT(READ_MOSTLY) &&
                           v->became == SVMD__V1__ADVICE_BECAME__BECAME_APPLIED;
                assert_true(v->what != BIT(ACCESSED_BY) || v->node == GPU0);
        }
        assert_int_equal(refused, 2);
        assert_int_equal(applied, 1);
}

static Svmd__V1__AdviseResult *judge(struct client *x, Svmd__V1__Op *op) {
        Svmd__V1__Result *r;

        op->advise->verdicts = true;
        op->advise->partition = (char *)(x == &admin ? "one" : "");
        r = must(x, op);
        assert_int_equal(r->detail_case, SVMD__V1__RESULT__DETAIL_ADVISE);
        return r->advise;
}

/* The reply to advice says the same as a question afterwards, and what others keep from counting. */
static void test_judged(void **state) {
        Svmd__V1__Op *op = mk_advise(0, 64, BIT(READ_MOSTLY) | BIT(PREFERRED)), *two[2] = { op, op };
        const Svmd__V1__AdviceShowResult *shown;
        const Svmd__V1__AdviseResult *r;

        op->advise->read_mostly = true;
        op->advise->preferred = GPU0 + 1;
        op->advise->pinned = true; /* not named in `what` */
        r = judge(&a, op);
        assert_int_equal(r->overruled, 0);
        assert_true(r->n_verdicts >= 4);
        shown = show(&admin, 0, 64);
        assert_int_equal(shown->n_verdicts, r->n_verdicts);
        for (size_t i = 0; i < r->n_verdicts; i++) {
                assert_int_equal(shown->verdicts[i]->node, r->verdicts[i]->node);
                assert_int_equal(shown->verdicts[i]->what, r->verdicts[i]->what);
                assert_int_equal(shown->verdicts[i]->became, r->verdicts[i]->became);
                assert_string_equal(shown->verdicts[i]->why, r->verdicts[i]->why);
        }
        prefer(&admin, 63, 1, GPU1);
        op = mk_advise(0, 64, BIT(PREFERRED));
        op->advise->preferred = GPU0 + 1;
        assert_int_equal(judge(&a, op)->overruled, BIT(PREFERRED));
        op = mk_advise(0, 63, BIT(PREFERRED));
        op->advise->preferred = GPU0 + 1;
        assert_int_equal(judge(&a, op)->overruled, 0);
        op = mk_advise(0, 64, BIT(PREFERRED));
        r = judge(&a, op); /* taken back */
        assert_true(r->n_verdicts == 0 && r->overruled == 0);
        /* As a reply could be too long otherwise. */
        two[0]->advise->verdicts = true;
        assert_non_null(client_send(&a, SVMD__V1__MODE__BEST_EFFORT, two, 2, NULL, 0));
        assert_int_equal(a.reply->results[0]->code, SVMD_STATUS_SHAPE);
        assert_int_equal(preferred(1), UINT32_MAX);
        restart_twice();
}

static void test_pages(void **state) {
        const Svmd__V1__AdviceShowResult *r;
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_ADVICE_SHOW);
        uint64_t big, looked = 0, rows = 0, address;
        Svmd__V1__Result *result;

        result = must(&a, mk_range(400 * PAGE, PAGE, "", 0));
        big = result->address;
        for (unsigned i = 0; i < 400; i++) {
                Svmd__V1__Op *say = mk_advise(0, 1, BIT(PREFERRED));

                ops_reset();
                say = mk_advise(0, 1, BIT(PREFERRED));
                say->advise->address = big + i * PAGE;
                say->advise->preferred = 1 + i % 3;
                must(&a, say);
        }
        ops_reset();
        op = op_make(SVMD__V1__OP__OP_ADVICE_SHOW);
        for (address = big; looked < 400 * PAGE; address += r->size) {
                op->advice_show->address = address;
                result = must(&a, op);
                r = result->advice_show;
                assert_int_equal(r->address, address);
                looked += r->size;
                rows += r->n_hints;
                assert_int_equal(result->more, looked < 400 * PAGE);
                assert_int_equal(r->mixed, BIT(PREFERRED));
        }
        assert_int_equal(rows, 400);
}

/* ---- who goes ---------------------------------------------------------------------------------------------------- */

static void test_sessions_end(void **state) {
        uint64_t first = a.id;

        must(&admin, mk_kept_max("one", SIZE));
        must(&a, mk_keep(range, 0, 0));
        prefer(&a, 0, 16, GPU0);
        prefer(&b, 0, 32, GPU1);
        prefer(&c, 0, 64, GPU2);
        client_close(&b);
        world_settle(&w);
        restart_twice();
        assert_int_equal(preferred(5), GPU0);
        assert_int_equal(preferred(20), GPU2);
        client_close(&a);
        world_settle(&w);
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(preferred(5), GPU0); /* left behind; c may only read */
                assert_int_equal(hint(show(&admin, 5, 1), first)->rank, SVMD__V1__ADVICE_RANK__RANK_LEFT);
                restart_twice();
        }
        /* Its user is back. */
        client_open(&w, &a, 100, 100, false);
        a.deaf = true;
        client_greet(&a, "one");
        must(&a, mk_open("shared", 3));
        assert_int_equal(preferred(5), GPU0);
        prefer(&a, 0, 8, HOST0);
        assert_int_equal(preferred(5), HOST0);
        assert_int_equal(preferred(10), GPU0);
        restart_twice();
        assert_int_equal(preferred(10), GPU0);
        client_close(&a);
        world_settle(&w);
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(preferred(5), HOST0);
                assert_int_equal(preferred(10), GPU2); /* the one before it has nothing to say any more */
                restart_twice();
        }
}

static void test_an_administrator_stays(void **state) {
        uint64_t first = admin.id;

        prefer(&b, 0, 64, GPU1);
        prefer(&admin, 0, 16, GPU0);
        restart(); /* which ends the administrator's session */
        assert_int_not_equal(admin.id, first);
        assert_int_equal(preferred(5), GPU0);
        assert_int_equal(hint(show(&admin, 5, 1), first)->rank, SVMD__V1__ADVICE_RANK__RANK_ADMINISTRATOR);
        prefer(&admin, 0, 8, UINT32_MAX);
        assert_int_equal(preferred(5), GPU1);
        assert_int_equal(preferred(10), GPU0);
        restart_twice();
        assert_int_equal(preferred(5), GPU1);
        assert_int_equal(preferred(10), GPU0);
}

static void test_close(void **state) {
        Svmd__V1__Op *op = mk_free(range);

        prefer(&b, 0, 64, GPU1);
        prefer(&c, 0, 64, GPU2);
        must(&b, op);
        assert_int_equal(preferred(5), GPU2);
        restart_twice();
        assert_int_equal(preferred(5), GPU2);
        must(&b, mk_open("shared", 3));
        assert_int_equal(preferred(5), GPU2);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_side_by_side), TEST(test_a_wish_against), TEST(test_all_attributes),
                TEST(test_verdicts),     TEST(test_judged),         TEST(test_pages),
                TEST(test_sessions_end), TEST(test_close),          TEST(test_an_administrator_stays),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
