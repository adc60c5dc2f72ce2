/*
 * Vectors that svmd allows and CUDA (the stand-in library) then does: where each operation stands by itself the first
 * go ahead in a request of their own, and are done while svmd looks at the others.
 */
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "failing.h"
#include "fake_svmd.h"
#include "harness.h"
#include "svmd.h"

enum { NODE = 1, SPACE = 7, FIRST_ID = 1000, MOST = 128, AHEAD = MOST / 16, LEAST = 64, REQUESTS_MAX = 4 };
#define GRANULE (2ul << 20)

/* What the fake was asked for, and how it answers vectors: it writes, the test reads when it has its answer. */
struct asked {
        unsigned requests, ops[REQUESTS_MAX];
        unsigned created, released;
        unsigned refused_from, refused_to; /* of each request */
        unsigned code;
        bool waits;    /* for the rest before it answers the first, and for CUDA before it answers the rest */
        bool had_come; /* the rest */
        bool was_done; /* what was first, by CUDA */
        unsigned ends; /* it hangs up instead of answering the one of this number, from 1 */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct asked asked;

static void ask_anew(struct asked how) {
        pthread_mutex_lock(&lock);
        asked = how;
        pthread_mutex_unlock(&lock);
}

static struct asked what_was_asked(void) {
        struct asked a;

        pthread_mutex_lock(&lock);
        a = asked;
        pthread_mutex_unlock(&lock);
        return a;
}

/* How much memory CUDA has made and not released. */
static unsigned cuda_has(void) {
        char path[64], name[64];
        unsigned count = 0;
        struct dirent *e;
        DIR *d = opendir("/proc/self/fd");

        while (d && (e = readdir(d))) {
                ssize_t n;

                snprintf(path, sizeof(path), "/proc/self/fd/%.20s", e->d_name);
                n = readlink(path, name, sizeof(name) - 1);
                name[n > 0 ? n : 0] = 0;
                count += strstr(name, "standin-cuda") != NULL;
        }
        if (d)
                closedir(d);
        return count;
}

static bool cuda_comes_to(unsigned count) {
        for (int i = 0; i < 30000; i++) {
                if (cuda_has() == count)
                        return true;
                nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        }
        return false;
}

/* ---- what the fake says ---- */

static void say_node(int conn, uint64_t id) {
        Svmd__V1__Node node = SVMD__V1__NODE__INIT, *nodes[] = { &node };
        Svmd__V1__NodesResult body = SVMD__V1__NODES_RESULT__INIT;
        Svmd__V1__Result result = SVMD__V1__RESULT__INIT;

        node.id = NODE;
        node.name = (char *)"cuda0";
        node.kind = SVMD__V1__NODE_KIND__CUDA;
        node.device = (char *)"cuda:0";
        body.n_nodes = 1;
        body.nodes = nodes;
        result.detail_case = SVMD__V1__RESULT__DETAIL_NODES;
        result.nodes = &body;
        fake_reply(conn, id, &result);
}

static void say_made(int conn, const Svmd__V1__Request *q) {
        Svmd__V1__Result result[MOST], *results[MOST];

        for (unsigned i = 0; i < q->n_ops; i++) {
                results[i] = &result[i];
                svmd__v1__result__init(&result[i]);
                if (i >= asked.refused_from && i < asked.refused_to) {
                        result[i].code = asked.code;
                        result[i].text = (char *)(asked.requests == 1 ? "one of the first" : "one of the rest");
                } else {
                        result[i].id = FIRST_ID + asked.created++;
                }
        }
        fake_reply_all(conn, q->id, results, q->n_ops);
}

static void answer_vector(int conn, const Svmd__V1__Request *q) {
        if (asked.requests < REQUESTS_MAX)
                asked.ops[asked.requests] = (unsigned)q->n_ops;
        asked.requests++;
        if (asked.waits && asked.requests == 1)
                asked.had_come = poll(&(struct pollfd){ .fd = conn, .events = POLLIN }, 1, 30000) == 1;
        if (asked.waits && asked.requests == 2)
                asked.was_done = cuda_comes_to(asked.ops[0]);
        if (asked.requests == asked.ends)
                fake_hang_up(conn);
        else
                say_made(conn, q);
}

static bool answer(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data) {
        Svmd__V1__Result result = SVMD__V1__RESULT__INIT;
        bool mine = true;

        pthread_mutex_lock(&lock);
        switch (q->ops[0]->op_case) {
        case SVMD__V1__OP__OP_SPACE_CREATE:
                result.id = SPACE;
                result.value = SVMD_NODE_CUDA;
                fake_reply(conn, q->id, &result);
                break;
        case SVMD__V1__OP__OP_NODES: say_node(conn, q->id); break;
        case SVMD__V1__OP__OP_MEM_CREATE: answer_vector(conn, q); break;
        case SVMD__V1__OP__OP_MEM_RELEASE:
                asked.released++;
                fake_reply(conn, q->id, &result);
                break;
        default: mine = false;
        }
        pthread_mutex_unlock(&lock);
        return mine;
}

/* ---- asking ---- */

enum { UNTOUCHED = 999 };

/* Makes memory by one vector: its code. Counts what was made. Of the allocations that submitting needs the one of
 * number `*fails` fails, if there is one; then it is -1. */
static int make_with(svmd_session *s, unsigned count, unsigned mode, long *fails, struct svmd_result results[MOST],
                     unsigned *ret_made) {
        svmd_batch *b;
        int r;

        assert_int_equal(svmd_batch_new(s, &b), 0);
        for (unsigned i = 0; i < count; i++) {
                assert_int_equal(svmd_batch_mem_create(b, GRANULE, NODE, 0), i);
                results[i] = (struct svmd_result){ .code = UNTOUCHED };
        }
        allocations_left = *fails;
        r = svmd_batch_submit(b, mode, results);
        *fails = allocations_left;
        allocations_left = -1;
        svmd_batch_free(b);
        *ret_made = 0;
        for (unsigned i = 0; i < count; i++)
                *ret_made += results[i].code == 0;
        return r;
}

static int make(svmd_session *s, unsigned count, unsigned mode, struct svmd_result results[MOST], unsigned *ret_made) {
        return make_with(s, count, mode, &(long){ -1 }, results, ret_made);
}

static svmd_session *begin(void **state, struct asked how) {
        struct world *w = world_with(state, answer);
        svmd_space space;

        assert_int_equal(setenv("STANDIN_CUDA_BYTES", "1073741824", 1), 0);
        ask_anew(how);
        if (svmd_space_create(w->s, &space, NODE))
                fail_msg("%s", svmd_error());
        return w->s;
}

static void the_first_are_done_while_svmd_looks_at_the_rest(void **state) {
        svmd_session *s = begin(state, (struct asked){ .waits = true });
        struct svmd_result results[MOST];
        struct asked a;
        unsigned made;

        assert_int_equal(make(s, MOST, SVMD_BEST_EFFORT, results, &made), 0);
        a = what_was_asked();
        assert_int_equal(a.requests, 2);
        assert_int_equal(a.ops[0], AHEAD);
        assert_int_equal(a.ops[1], MOST - AHEAD);
        assert_true(a.had_come);
        assert_true(a.was_done);
        assert_int_equal(made, MOST);
        assert_int_equal(cuda_has(), MOST);
        for (unsigned i = 0; i < MOST; i++)
                assert_int_equal(results[i].id, FIRST_ID + i);
        assert_int_equal(svmd_mem_release(s, results[AHEAD].id), 0);
        assert_int_equal(cuda_has(), MOST - 1);
}

/* The agent looks at each part's own operations. */
static void what_is_for_another_node_is_not_done(void **state) {
        svmd_session *s = begin(state, (struct asked){ 0 });
        svmd_batch *b;

        assert_int_equal(svmd_batch_new(s, &b), 0);
        for (unsigned i = 0; i < MOST; i++)
                assert_int_equal(svmd_batch_mem_create(b, GRANULE, i ? NODE : NODE + 1, 0), i);
        assert_int_equal(svmd_batch_submit(b, SVMD_BEST_EFFORT, NULL), 0);
        svmd_batch_free(b);
        assert_int_equal(what_was_asked().requests, 2);
        assert_int_equal(cuda_has(), MOST - 1);
}

static void what_belongs_together_goes_together(void **state) {
        static const struct {
                unsigned count, mode, requests;
        } rows[] = {
                { LEAST - 1, SVMD_BEST_EFFORT, 1 },
                { LEAST, SVMD_BEST_EFFORT, 2 },
                { MOST, SVMD_ALL_OR_NOTHING, 1 },
                { MOST, SVMD_DRY_RUN, 1 },
        };

        for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                svmd_session *s = begin(state, (struct asked){ 0 });
                struct svmd_result results[MOST];
                unsigned made;

                assert_int_equal(make(s, rows[i].count, rows[i].mode, results, &made), 0);
                assert_int_equal(made, rows[i].count);
                assert_int_equal(what_was_asked().requests, rows[i].requests);
                assert_int_equal(cuda_has(), rows[i].mode == SVMD_DRY_RUN ? 0 : rows[i].count);
        }
}

/* A session that has no part in it sends one request. */
static void without_cuda_nothing_goes_ahead(void **state) {
        struct world *w = world_with(state, answer);
        struct svmd_result results[MOST];
        unsigned made;

        ask_anew((struct asked){ 0 });
        assert_int_equal(make(w->s, MOST, SVMD_BEST_EFFORT, results, &made), 0);
        assert_int_equal(what_was_asked().requests, 1);
}

static void each_part_says_what_was_refused(void **state) {
        svmd_session *s = begin(state, (struct asked){ .refused_from = 2, .refused_to = 5, .code = SVMD_E_LIMIT });
        struct svmd_result results[MOST];
        unsigned made;

        assert_int_equal(make(s, MOST, SVMD_BEST_EFFORT, results, &made), SVMD_E_LIMIT);
        assert_string_equal(svmd_error(), "one of the first");
        assert_int_equal(made, MOST - 6);
        assert_int_equal(cuda_has(), MOST - 6);
        for (unsigned i = 0; i < MOST; i++) {
                unsigned at = i < AHEAD ? i : i - AHEAD;

                assert_int_equal(results[i].code, at >= 2 && at < 5 ? SVMD_E_LIMIT : 0);
        }

        s = begin(state, (struct asked){ .refused_from = AHEAD, .refused_to = MOST, .code = SVMD_E_NO_ROOM });
        assert_int_equal(make(s, MOST, SVMD_BEST_EFFORT, results, &made), SVMD_E_NO_ROOM);
        assert_string_equal(svmd_error(), "one of the rest");
        assert_int_equal(made, 2 * AHEAD);
        assert_int_equal(cuda_has(), 2 * AHEAD);
}

/* It is taken back from svmd while the rest is still on its way. */
static void what_cuda_refuses_is_taken_back(void **state) {
        static const unsigned rooms[] = { AHEAD / 2, AHEAD, AHEAD + 5 };
        char bytes[32];

        for (unsigned i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++) {
                svmd_session *s = begin(state, (struct asked){ 0 });
                struct svmd_result results[MOST];
                unsigned made;

                snprintf(bytes, sizeof(bytes), "%lu", rooms[i] * GRANULE);
                assert_int_equal(setenv("STANDIN_CUDA_BYTES", bytes, 1), 0);
                assert_int_equal(make(s, MOST, SVMD_BEST_EFFORT, results, &made), SVMD_E_NO_ROOM);
                assert_int_equal(made, rooms[i]);
                for (unsigned k = 0; k < MOST; k++)
                        assert_int_equal(results[k].code, k < rooms[i] ? 0 : SVMD_E_NO_ROOM);
                assert_int_equal(what_was_asked().released, MOST - rooms[i]);
                assert_int_equal(cuda_has(), rooms[i]);
        }
}

static void an_end_between_the_parts_is_said_of_the_rest(void **state) {
        svmd_session *s = begin(state, (struct asked){ .ends = 2, .waits = true });
        struct svmd_result results[MOST];
        unsigned made;

        assert_int_equal(make(s, MOST, SVMD_BEST_EFFORT, results, &made), SVMD_E_GONE);
        assert_non_null(strstr(svmd_error(), "connect again"));
        assert_int_equal(made, AHEAD);
        for (unsigned i = AHEAD; i < MOST; i++)
                assert_int_equal(results[i].code, SVMD_E_GONE);

        s = begin(state, (struct asked){ .ends = 1 });
        assert_int_equal(make(s, MOST, SVMD_BEST_EFFORT, results, &made), SVMD_E_GONE);
        assert_int_equal(made, 0);
        assert_int_equal(cuda_has(), 0);
}

/* Whatever this process has no memory for: what results call made is made, by svmd and by CUDA, and nothing else. */
static void every_allocation_may_fail(void **state) {
        bool done = false, first_alone = false;
        unsigned failures = 0;

        for (long nth = 0; !done; nth++) {
                svmd_session *s = begin(state, (struct asked){ 0 });
                struct svmd_result results[MOST];
                struct asked a;
                unsigned made;
                long left = nth;
                int r = make_with(s, MOST, SVMD_BEST_EFFORT, &left, results, &made);

                a = what_was_asked();
                done = left >= 0;
                failures += r != 0;
                if (done)
                        assert_int_equal(r, 0);
                if (r == SVMD_E_GONE) /* a reply that cannot be decoded is lost, and svmd takes all back */
                        continue;
                assert_true(r == 0 || r == SVMD_E_NO_MEMORY);
                assert_int_equal(a.created - a.released, made);
                assert_int_equal(cuda_has(), made);
                if (r && a.requests == 1 && made == AHEAD) {
                        assert_non_null(strstr(svmd_error(), "out of memory"));
                        first_alone = true;
                }
        }
        print_message("%u failures\n", failures);
        assert_true(failures > MOST && first_alone);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(the_first_are_done_while_svmd_looks_at_the_rest),
                world_test(what_is_for_another_node_is_not_done),
                world_test(what_belongs_together_goes_together),
                world_test(without_cuda_nothing_goes_ahead),
                world_test(each_part_says_what_was_refused),
                world_test(what_cuda_refuses_is_taken_back),
                world_test(an_end_between_the_parts_is_said_of_the_rest),
                world_test(every_allocation_may_fail),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
