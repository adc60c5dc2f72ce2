/*
 * Random requests about what is kept, against a naive model: sessions come, reserve and export by name, ask for keeping
 * and take it back, open what others left, and go; time passes, and svmd dies. After each step everything there is, and
 * everything that is not, is as the model says. SVMD_SEED=N repeats a run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/keeping.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "ranges.h"

enum { SESSIONS = 6, NAMES = 5, STEPS = 3000 };
#define PAGE     4096ull
#define SECOND   1000000000ull
#define KEPT_MAX (40 * PAGE)

/* One named thing, of one of the two kinds. */
struct thing {
        bool there, kept;
        uint64_t id, size, seconds, since; /* since 0: it has users */
        unsigned uid;
        int owner; /* of a range: the session that owns it; of memory: that made it; -1: nobody */
        unsigned access[SESSIONS];
};

static struct thing things[2][NAMES]; /* ranges, memory */
static struct world w;
static struct client sessions[SESSIONS], admin;
static uint64_t now_ns;
static unsigned long granted, refused;

static uint64_t now(void) {
        return now_ns;
}

static unsigned uid_of(int s) {
        return 100 + s % 2;
}

static const char *name_of(int n) {
        static char names[NAMES][8];

        snprintf(names[n], sizeof(names[n]), "n%d", n);
        return names[n];
}

static int pick(int n) {
        return (int)((unsigned)random() % (unsigned)n);
}

/* ---- the model ---- */

static bool used(const struct thing *t) {
        for (int s = 0; s < SESSIONS; s++)
                if (t->access[s])
                        return true;
        return false;
}

/* Who has left it may have been the last one. */
static void left(struct thing *t) {
        if (!t->there || used(t))
                return;
        if (t->kept)
                t->since = t->since ? t->since : now_ns;
        else
                t->there = false;
}

static void model_close(struct thing *t, int s) {
        t->access[s] = 0;
        if (t->owner == s)
                t->owner = -1;
        left(t);
}

static uint64_t kept_bytes(void) {
        uint64_t sum = 0;

        for (int k = 0; k < 2; k++)
                for (int n = 0; n < NAMES; n++)
                        sum += things[k][n].there && things[k][n].kept ? things[k][n].size : 0;
        return sum;
}

static void time_passes(void) {
        for (int k = 0; k < 2; k++)
                for (int n = 0; n < NAMES; n++) {
                        struct thing *t = &things[k][n];

                        if (t->there && t->kept && t->since && t->seconds && now_ns >= t->since + t->seconds * SECOND)
                                t->there = false;
                }
}

/* ---- steps ---- */

static unsigned ask(struct client *c, Svmd__V1__Op *op, Svmd__V1__Result **ret) {
        Svmd__V1__Result *r = client_call(c, op);

        if (ret)
                *ret = r;
        granted += r->code == 0;
        refused += r->code != 0;
        return r->code;
}

static void check_code(unsigned code, unsigned expected, const char *what) {
        if (code != expected)
                fail_msg("%s: %u, the model says %u", what, code, expected);
}

static void step_make(int s, int k, int n) {
        struct thing *t = &things[k][n];
        uint64_t size = (1 + (uint64_t)pick(16)) * PAGE;
        Svmd__V1__Result *r;
        unsigned code;

        if (k == 0) {
                code = ask(&sessions[s], mk_range(size, PAGE, name_of(n), 0644), &r);
        } else {
                uint64_t id = client_call(&sessions[s], mk_create((uint32_t)pick(2), size, 1))->id;

                code = ask(&sessions[s], mk_export(id, name_of(n), 0644, 0), &r);
                if (code)
                        client_call(&sessions[s], mk_release(id));
        }
        check_code(code, t->there ? SVMD_STATUS_TAKEN : 0, "make");
        if (code)
                return;
        *t = (struct thing){ .there = true, .id = r->id, .size = size, .uid = uid_of(s), .owner = s };
        t->access[s] = 3;
}

static void step_open(int s, int k, int n) {
        struct thing *t = &things[k][n];
        unsigned access = pick(3) ? 3 : 1, expected = 0;

        if (!t->there)
                expected = SVMD_STATUS_NO_SUCH;
        else if (t->uid != uid_of(s) && access == 3)
                expected = SVMD_STATUS_DENIED;
        else if (t->access[s])
                expected = SVMD_STATUS_TAKEN;
        check_code(ask(&sessions[s], k ? mk_import(name_of(n), access) : mk_open(name_of(n), access), NULL), expected,
                   "open");
        if (expected)
                return;
        if (k == 0 && t->kept && t->owner < 0 && t->uid == uid_of(s) && access == 3)
                t->owner = s;
        t->access[s] = access;
        t->since = 0;
}

static void step_close(int s, int k, int n) {
        struct thing *t = &things[k][n];
        unsigned expected = t->there && t->access[s] ? 0 : SVMD_STATUS_FOREIGN;

        if (!t->there)
                return;
        check_code(ask(&sessions[s], k ? mk_release(t->id) : mk_free(t->id), NULL), expected, "close");
        if (expected)
                return;
        if (k == 0 && t->owner == s)
                t->there = false; /* for everyone */
        else
                model_close(t, s);
}

static void step_keep(int s, int k, int n) {
        struct thing *t = &things[k][n];
        uint64_t seconds = (uint64_t)pick(4) * 10;
        bool off = pick(4) == 0;
        Svmd__V1__Op *op = mk_keep(k ? 0 : t->id, k ? t->id : 0, seconds);
        unsigned expected = 0;

        if (!t->there)
                return;
        op->keep->off = off;
        if (!t->access[s])
                expected = SVMD_STATUS_FOREIGN;
        else if (t->owner != s && (t->uid != uid_of(s) || t->access[s] != 3))
                expected = SVMD_STATUS_DENIED;
        else if (!off && !t->kept && kept_bytes() + t->size > KEPT_MAX)
                expected = SVMD_STATUS_LIMIT;
        check_code(ask(&sessions[s], op, NULL), expected, off ? "unkeep" : "keep");
        if (expected)
                return;
        t->kept = !off;
        t->seconds = seconds;
}

static void step_remove(int s, int k, int n) {
        struct thing *t = &things[k][n];
        bool as_admin = pick(2);
        unsigned expected = !t->there || !t->kept              ? SVMD_STATUS_NO_SUCH
                            : !as_admin && t->uid != uid_of(s) ? SVMD_STATUS_DENIED
                                                               : 0;

        check_code(ask(as_admin ? &admin : &sessions[s],
                       mk_kept_remove(as_admin ? "one" : "",
                                      k ? SVMD__V1__KEPT_KIND__KEPT_MEMORY : SVMD__V1__KEPT_KIND__KEPT_RESERVATION,
                                      name_of(n)),
                       NULL),
                   expected, "remove");
        if (expected)
                return;
        t->kept = false;
        left(t);
}

static void come(int s) {
        client_open(&w, &sessions[s], uid_of(s), uid_of(s), false);
        client_greet(&sessions[s], "one");
}

static void step_leave(int s) {
        client_close(&sessions[s]);
        for (int k = 0; k < 2; k++)
                for (int n = 0; n < NAMES; n++)
                        if (things[k][n].there && things[k][n].access[s])
                                model_close(&things[k][n], s);
        come(s);
}

/* Some of them in any order, with one behind that fails: all is as it was. */
static void step_undone(int s, int k, int n) {
        const struct thing *t = &things[k][n];
        Svmd__V1__Op *ops[] = {
                mk_keep(k ? 0 : t->id, k ? t->id : 0, 5),
                mk_unkeep(k ? 0 : t->id, k ? t->id : 0),
                mk_kept_remove("", k ? SVMD__V1__KEPT_KIND__KEPT_MEMORY : SVMD__V1__KEPT_KIND__KEPT_RESERVATION,
                               name_of(n)),
                k ? mk_import(name_of(n), 3) : mk_open(name_of(n), 3),
                k ? mk_release(t->id) : mk_free(t->id),
        };
        int count = 1 + pick(4);

        for (int i = 4; i > 0; i--) {
                int j = pick(i + 1);
                Svmd__V1__Op *swap = ops[i];

                ops[i] = ops[j];
                ops[j] = swap;
        }
        ops[count] = mk_free(UINT64_MAX);
        client_send(&sessions[s], SVMD__V1__MODE__ALL_OR_NOTHING, ops, (size_t)count + 1, NULL, 0);
        assert_int_not_equal(sessions[s].reply->results[count]->code, 0);
}

static void restart(void) {
        struct client *all[SESSIONS];

        if (pick(2))
                assert_int_equal(journal_snapshot(w.svc), 0);
        client_close(&admin);
        for (int s = 0; s < SESSIONS; s++)
                all[s] = &sessions[s];
        now_ns += (uint64_t)pick(8) * SECOND; /* time that no svmd sees pass */
        time_passes();
        world_settle(&w);
        world_bury(world_restart(&w, all, SESSIONS));
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
}

/* ---- comparing ---- */

static void check_thing(const struct partition *p, int k, int n) {
        const struct thing *t = &things[k][n];
        const struct name *name = name_find(k ? &p->memory_names : &p->reservation_names, name_of(n));
        const struct keeping *x = keeping_find(p, k ? KEEPING_MEMORY : KEEPING_RESERVATION, name_of(n));

        if ((name != NULL) != t->there || (x != NULL) != (t->there && t->kept))
                fail_msg("%s %s: there %d, kept %d; the model says %d, %d", k ? "memory" : "range", name_of(n),
                         name != NULL, x != NULL, t->there, t->there && t->kept);
        if (!x)
                return;
        assert_int_equal(keeping_object(x), t->id);
        assert_int_equal(x->seconds, t->seconds);
        assert_int_equal(x->since_ns, t->since);
        if (k == 0)
                assert_int_equal(x->of.reservation->owner ? x->of.reservation->owner->object.id : 0,
                                 t->owner < 0 ? 0 : sessions[t->owner].id);
}

static void check_all(void) {
        const struct partition *p = partition_find(&w.svc->state, "one");
        uint64_t bytes[2] = { 0 };

        world_settle(&w);
        for (int k = 0; k < 2; k++)
                for (int n = 0; n < NAMES; n++)
                        check_thing(p, k, n);
        assert_int_equal(p->kept_bytes, kept_bytes());
        for (int n = 0; n < NAMES; n++)
                bytes[0] += things[1][n].there ? things[1][n].size : 0;
        bytes[1] = ledger_bytes(&w, HOST0) + ledger_bytes(&w, GPU0);
        assert_int_equal(bytes[0], bytes[1]);
}

static void step(unsigned i) {
        int s = pick(SESSIONS), k = pick(2), n = pick(NAMES);

        for (int tries = 0; tries < 4 && !things[k][n].access[s]; tries++)
                s = pick(SESSIONS); /* mostly somebody who has it */
        ops_reset();
        switch (pick(12)) {
        case 0:
        case 1: step_make(s, k, n); break;
        case 2:
        case 3:
        case 4: step_open(pick(SESSIONS), k, n); break;
        case 5: step_close(s, k, n); break;
        case 6:
        case 7: step_keep(s, k, n); break;
        case 8: step_remove(s, k, n); break;
        case 9: step_leave(s); break;
        case 10: step_undone(s, k, n); break;
        case 11:
                now_ns += (uint64_t)pick(8) * SECOND;
                time_passes();
                break;
        }
        if (pick(50) == 0)
                restart();
        check_all();
        if (i % 16 == 0)
                check_world(&w);
}

static void test_random(void **state) {
        const char *given = getenv("SVMD_SEED");
        unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);

        printf("SVMD_SEED=%u\n", seed);
        srandom(seed);
        now_ns = 1000 * SECOND;
        world_open(&w, 0);
        w.options.boottime_ns = w.svc->options.boottime_ns = now;
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        assert_int_equal(client_call(&admin, mk_partition("one", 4ull << 30, "", 100, 0666))->code, 0);
        assert_int_equal(client_call(&admin, mk_kept_max("one", KEPT_MAX))->code, 0);
        for (int s = 0; s < SESSIONS; s++)
                come(s);
        for (unsigned i = 0; i < STEPS; i++)
                step(i);
        printf("%lu granted, %lu refused\n", granted, refused);
        for (int s = 0; s < SESSIONS; s++)
                client_close(&sessions[s]);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_random) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
