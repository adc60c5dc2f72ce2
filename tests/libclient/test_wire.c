#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_svmd.h"
#include "harness.h"
#include "proto/limits.h"
#include "proto/socket.h"
#include "svmd.h"

static void sleep_ms(long ms) {
        nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

static bool is_setup(const Svmd__V1__Request *q) {
        return q->ops[0]->op_case == SVMD__V1__OP__OP_HELLO || q->ops[0]->op_case == SVMD__V1__OP__OP_ATTACH;
}

/* ---- replies out of order ---- */

enum { HELD = 7, THREADS = 8, ROUNDS = 300 };

struct held {
        uint64_t id[HELD], value[HELD];
        unsigned count;
};

/* Holds some requests back and answers them last first, with events in between. The value of SPACE_CREATE's answer is
 * made from its question, so that a mixed-up reply shows. */
static bool answer_backwards(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data) {
        struct held *h = ((struct world *)data)->data;
        Svmd__V1__Result result = SVMD__V1__RESULT__INIT;

        if (q->ops[0]->op_case != SVMD__V1__OP__OP_SPACE_CREATE)
                return false;
        h->id[h->count] = q->id;
        h->value[h->count++] = q->ops[0]->space_create->node * 3ull + 1;
        if (h->count < HELD)
                return true;
        while (h->count) {
                h->count--;
                fake_reservation_event(conn, 1, 1, false);
                result.id = h->value[h->count];
                fake_reply(conn, h->id[h->count], &result);
        }
        return true;
}

struct asker {
        pthread_t thread;
        svmd_session *s;
        unsigned first, step;
        unsigned wrong;
        atomic_uint *left;
};

static void *ask(void *data) {
        struct asker *a = data;

        /* The held ones must be a full set: all threads stop when one set fewer than all is left. */
        while (atomic_fetch_sub(a->left, 1) - 1u < 1u << 30) {
                svmd_space space = 0;

                if (svmd_space_create(a->s, &space, a->first) != 0 || space != a->first * 3ull + 1)
                        a->wrong++;
                a->first += a->step;
        }
        return NULL;
}

static void replies_find_their_threads(void **state) {
        static struct held held; /* looked at once more when the last reply is out */
        struct asker asker[HELD];
        atomic_uint left = HELD * ROUNDS;
        struct world *w = world_with(state, answer_backwards);

        w->data = &held;
        for (unsigned i = 0; i < HELD; i++) {
                asker[i] = (struct asker){ .s = w->s, .first = i, .step = HELD, .left = &left };
                assert_int_equal(pthread_create(&asker[i].thread, NULL, ask, &asker[i]), 0);
        }
        for (unsigned i = 0; i < HELD; i++) {
                assert_int_equal(pthread_join(asker[i].thread, NULL), 0);
                assert_int_equal(asker[i].wrong, 0);
        }
}

static void *work(void *data) {
        struct asker *a = data;

        for (unsigned i = 0; i < ROUNDS; i++) {
                svmd_mem mem;
                char *at;
                void *p;

                if (svmd_mem_create(a->s, &mem, 4096, 0, 0) == 0 &&
                    svmd_address_reserve(a->s, &p, 4096, 0, NULL, NULL) == 0 &&
                    svmd_mem_map(a->s, SVMD_CPU, addr(p), 4096, 0, mem, SVMD_ACCESS_READ_WRITE, 0) == 0) {
                        at = p;
                        at[7] = (char)i;
                        a->wrong += at[7] != (char)i;
                } else {
                        a->wrong++;
                }
                a->wrong += svmd_address_free(a->s, p) != 0;
                a->wrong += svmd_mem_release(a->s, mem) != 0;
                if (i % 25 == a->first % 25)
                        return NULL;
        }
        return NULL;
}

static void threads_map_side_by_side(void **state) {
        struct world *w = *state;
        struct asker asker[THREADS];

        for (unsigned i = 0; i < THREADS; i++) {
                asker[i] = (struct asker){ .s = w->s, .first = 15 + i };
                assert_int_equal(pthread_create(&asker[i].thread, NULL, work, &asker[i]), 0);
        }
        for (int i = 0; i < 50; i++)
                assert_int_equal(svmd_dispatch(w->s), 0);
        for (unsigned i = 0; i < THREADS; i++) {
                assert_int_equal(pthread_join(asker[i].thread, NULL), 0);
                assert_int_equal(asker[i].wrong, 0);
        }
        assert_int_equal(fake_mappings(w->fake), 0);
}

/* ---- another svmd ---- */

struct again {
        uint64_t id;
        unsigned seen, fds_seen;
};

/* Forgets the first sight of a submission, as a svmd that is killed would, and announces the next one. */
static bool forget_once(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data) {
        struct again *a = ((struct world *)data)->data;
        Svmd__V1__Result result = SVMD__V1__RESULT__INIT;
        int fd;

        if (q->ops[0]->op_case != SVMD__V1__OP__OP_SUBMIT)
                return false;
        a->fds_seen += fdlist_left(fds);
        if (!a->seen++) {
                a->id = q->id;
                fake_epoch_event(conn, 2);
                return true;
        }
        if (q->id != a->id || q->ops[0]->submit->dst != 0x1234000)
                a->seen += 100;
        result.id = 777;
        fake_reply(conn, q->id, &result);
        fake_reply(conn, q->id, &result); /* the svmd before had answered after all */
        fd = fdlist_steal(fds);
        fake_fence_event(conn, 777, 0, 42);
        if (fd < 0 || eventfd_write(fd, 1) < 0)
                a->seen += 100;
        close(fd);
        return true;
}

static void unanswered_requests_are_sent_again(void **state) {
        struct world *w = world_with(state, forget_once);
        struct again again = { .seen = 0 };
        const struct svmd_device_op op = {
                .size = sizeof(op),
                .op = SVMD_DEVICE_FILL,
                .flags = SVMD_SUBMIT_EVENTFD,
                .dst = 0x1234000,
        };
        struct svmd_session_info info = { .size = sizeof(info) };
        struct svmd_fence_result result;
        svmd_fence *fence;
        struct pollfd p;

        w->data = &again;
        assert_int_equal(svmd_submit(w->s, &fence, &op), 0);
        assert_int_equal(again.seen, 2);
        assert_int_equal(again.fds_seen, 2);
        p = (struct pollfd){ .fd = svmd_fence_eventfd(fence), .events = POLLIN };
        assert_int_equal(poll(&p, 1, 30000), 1);
        assert_int_equal(svmd_fence_wait(fence, -1, &result), 0);
        assert_int_equal(result.value, 42);
        assert_int_equal(svmd_session_info(w->s, &info), 0);
        assert_int_equal(info.epoch, 2);
        svmd_fence_free(fence);
}

/* ---- fences ---- */

static svmd_fence *submit(svmd_session *s) {
        const struct svmd_device_op op = { .size = sizeof(op), .op = SVMD_DEVICE_SUM };
        svmd_fence *fence;

        assert_int_equal(svmd_submit(s, &fence, &op), 0);
        return fence;
}

struct query_log {
        atomic_uint queries;
};

/* Fences have ids that count up; a query says that those below 1000 are done and others are unknown. */
static bool answer_queries(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data) {
        struct query_log *log = ((struct world *)data)->data;
        Svmd__V1__Result result = SVMD__V1__RESULT__INIT;
        Svmd__V1__FenceResult fence = SVMD__V1__FENCE_RESULT__INIT;

        if (q->ops[0]->op_case != SVMD__V1__OP__OP_FENCE_QUERY || q->n_ops != 1)
                return false;
        atomic_fetch_add(&log->queries, 1);
        fence.done = true;
        fence.value = 55;
        result.detail_case = SVMD__V1__RESULT__DETAIL_FENCE;
        result.fence = &fence;
        fake_reply(conn, q->id, &result);
        return true;
}

static void a_fence_tells_its_outcome(void **state) {
        struct world *w = *state;
        svmd_fence *good = submit(w->s), *bad = submit(w->s), *freed = submit(w->s);
        struct svmd_fence_result result = { .value = 9 };
        int conn = fake_last_connection(w->fake);
        uint64_t id = fake_last_fence(w->fake);

        assert_int_equal(svmd_fence_wait(good, 0, &result), SVMD_E_TIMEOUT);
        assert_int_equal(svmd_fence_wait(good, 20, &result), SVMD_E_TIMEOUT);
        assert_int_equal(result.value, 9);
        svmd_fence_free(freed);
        fake_fence_event(conn, id, 0, 1); /* nobody's */
        fake_fence_event(conn, id - 1, 22, 2);
        fake_fence_event(conn, id - 2, 0, 3);
        assert_int_equal(svmd_fence_wait(good, 30000, &result), 0);
        assert_int_equal(result.value, 3);
        assert_int_equal(svmd_fence_wait(bad, 0, &result), SVMD_E_NOT_MAPPED);
        assert_string_equal(svmd_error(), "the operation went wrong");
        assert_int_equal(result.code, SVMD_E_NOT_MAPPED);
        assert_int_equal(svmd_fence_wait(bad, -1, NULL), SVMD_E_NOT_MAPPED);
        svmd_fence_free(good);
        svmd_fence_free(bad);
        svmd_fence_free(NULL);
        assert_int_equal(svmd_fence_eventfd(NULL), -1);
}

static void *wait_for_fence(void *data) {
        return (void *)(intptr_t)svmd_fence_wait(data, 30000, NULL);
}

static void lost_events_are_asked_for(void **state) {
        struct world *w = world_with(state, answer_queries);
        Svmd__V1__Event event = SVMD__V1__EVENT__INIT;
        struct query_log log = { .queries = 0 };
        struct svmd_fence_result result;
        pthread_t thread;
        svmd_fence *fence;
        void *r;

        w->data = &log;
        fence = submit(w->s);
        assert_int_equal(pthread_create(&thread, NULL, wait_for_fence, fence), 0);
        sleep_ms(20);
        event.dropped = 3;
        fake_event(fake_last_connection(w->fake), &event);
        assert_int_equal(pthread_join(thread, &r), 0);
        assert_null(r);
        assert_int_equal(svmd_fence_wait(fence, 0, &result), 0);
        assert_int_equal(result.value, 55);
        assert_true(atomic_load(&log.queries) >= 1);
        svmd_fence_free(fence);
}

/* ---- events ---- */

struct seen {
        unsigned count, type[16];
        uint64_t generation[16];
        char text[16][64];
        svmd_session *inner;
};

static void see(svmd_session *s, const struct svmd_event *e, void *userdata) {
        struct seen *seen = userdata;

        seen->type[seen->count] = e->type;
        seen->generation[seen->count] = e->generation;
        snprintf(seen->text[seen->count++], 64, "%s|%s|%s", e->what, e->partition, e->text);
        if (seen->inner) { /* a handler may call libsvmd */
                svmd_mem mem;

                assert_int_equal(svmd_mem_create(s, &mem, 4096, 0, 0), 0);
        }
}

static void events_come_in_order(void **state) {
        struct world *w = *state;
        int conn = fake_last_connection(w->fake);
        Svmd__V1__Event event = SVMD__V1__EVENT__INIT;
        Svmd__V1__MonitorEvent m = SVMD__V1__MONITOR_EVENT__INIT;
        struct seen seen = { .inner = w->s };
        struct pollfd p = { .fd = svmd_event_fd(w->s), .events = POLLIN };

        assert_true(p.fd >= 0);
        assert_int_equal(svmd_dispatch(w->s), 0);
        assert_int_equal(poll(&p, 1, 0), 0);
        assert_int_equal(svmd_set_event_handler(w->s, see, &seen), 0);
        m.what = (char *)"session-new";
        m.partition = (char *)"lab";
        event.event_case = SVMD__V1__EVENT__EVENT_MONITOR;
        event.monitor = &m;
        fake_event(conn, &event);
        fake_epoch_event(conn, 9);
        event.dropped = 4;
        fake_event(conn, &event);
        for (int i = 0; i < 1000 && seen.count < 4; i++) {
                assert_int_equal(poll(&p, 1, 30000), 1);
                assert_int_equal(svmd_dispatch(w->s), 0);
        }
        assert_int_equal(seen.count, 4);
        for (unsigned i = 0, monitors = 0, epochs = 0; i < 4; i++) {
                monitors += seen.type[i] == SVMD_EVENT_MONITOR;
                epochs += seen.type[i] == SVMD_EVENT_EPOCH && seen.generation[i] == 9;
                if (seen.type[i] == SVMD_EVENT_MONITOR)
                        assert_string_equal(seen.text[i], "session-new|lab|");
                if (seen.type[i] == SVMD_EVENT_DROPPED)
                        assert_int_equal(seen.generation[i], 4);
                if (i == 3)
                        assert_true(monitors == 2 && epochs == 1);
        }
        assert_int_equal(poll(&p, 1, 0), 0);
}

/* Another thread reads the packet; who polls must learn of it. */
static void an_event_that_another_thread_read_still_wakes(void **state) {
        struct world *w = *state;
        struct pollfd p = { .fd = svmd_event_fd(w->s), .events = POLLIN };
        svmd_fence *fence = submit(w->s), *other = submit(w->s);
        int conn = fake_last_connection(w->fake);
        pthread_t thread;
        void *r;

        assert_int_equal(svmd_dispatch(w->s), 0);
        assert_int_equal(pthread_create(&thread, NULL, wait_for_fence, other), 0);
        sleep_ms(20);
        fake_fence_event(conn, fake_last_fence(w->fake) - 1, 0, 1);
        fake_fence_event(conn, fake_last_fence(w->fake), 0, 1);
        assert_int_equal(pthread_join(thread, &r), 0);
        assert_null(r);
        assert_int_equal(poll(&p, 1, 30000), 1);
        assert_int_equal(svmd_dispatch(w->s), 0);
        assert_int_equal(svmd_fence_wait(fence, 30000, NULL), 0);
        svmd_fence_free(fence);
        svmd_fence_free(other);
}

/* ---- the end ---- */

static bool never_answer(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data) {
        return !is_setup(q);
}

static void *create_one(void *data) {
        svmd_mem mem;

        return (void *)(intptr_t)svmd_mem_create(data, &mem, 4096, 0, 0);
}

static void the_end_reaches_everyone(void **state) {
        struct world *w = world_with(state, never_answer);
        pthread_t thread[THREADS];
        struct seen seen = { .count = 0 };
        svmd_mem mem;
        void *r;

        assert_int_equal(svmd_set_event_handler(w->s, see, &seen), 0);
        for (unsigned i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&thread[i], NULL, create_one, w->s), 0);
        sleep_ms(20);
        fake_hang_up(fake_last_connection(w->fake));
        for (unsigned i = 0; i < THREADS; i++) {
                assert_int_equal(pthread_join(thread[i], &r), 0);
                assert_int_equal((intptr_t)r, SVMD_E_GONE);
        }
        assert_int_equal(svmd_mem_create(w->s, &mem, 4096, 0, 0), SVMD_E_GONE);
        assert_non_null(strstr(svmd_error(), "svmd closed the connection"));
        assert_int_equal(svmd_dispatch(w->s), SVMD_E_GONE);
        assert_int_equal(seen.count, 1);
        assert_int_equal(seen.type[0], SVMD_EVENT_END);
}

/* The words of svmd go before those of the library, and a fence ends too. */
static void svmd_says_why_it_ended(void **state) {
        struct world *w = *state;
        Svmd__V1__Event event = SVMD__V1__EVENT__INIT;
        Svmd__V1__EndEvent e = SVMD__V1__END_EVENT__INIT;
        svmd_fence *fence = submit(w->s);
        int conn = fake_last_connection(w->fake);

        e.code = 29;
        e.text = (char *)"an administrator ended the session";
        event.event_case = SVMD__V1__EVENT__EVENT_END;
        event.end = &e;
        fake_event(conn, &event);
        fake_hang_up(conn);
        assert_int_equal(svmd_fence_wait(fence, 30000, NULL), SVMD_E_GONE);
        assert_string_equal(svmd_error(), "an administrator ended the session");
        assert_int_equal(svmd_dispatch(w->s), SVMD_E_GONE);
        assert_string_equal(svmd_error(), "an administrator ended the session");
}

static void a_packet_that_was_no_request_is_explained(void **state) {
        struct world *w = *state;
        Svmd__V1__Result result = SVMD__V1__RESULT__INIT;
        int conn = fake_last_connection(w->fake);
        svmd_mem mem;

        result.code = 1;
        result.text = (char *)"the packet is not a request";
        fake_reply(conn, 0, &result);
        fake_hang_up(conn);
        assert_int_equal(svmd_mem_create(w->s, &mem, 4096, 0, 0), SVMD_E_GONE);
        assert_string_equal(svmd_error(), "the packet is not a request");
}

static bool answer_garbage(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data) {
        if (is_setup(q))
                return false;
        packet_send(conn, "\xff\xff\xff\xff", 4, NULL, 0);
        return true;
}

static void garbage_ends_the_session(void **state) {
        struct world *w = world_with(state, answer_garbage);
        svmd_mem mem;

        assert_int_equal(svmd_mem_create(w->s, &mem, 4096, 0, 0), SVMD_E_GONE);
        assert_non_null(strstr(svmd_error(), "could not take in"));
}

static bool answer_too_little(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data) {
        Svmd__V1__Result result = SVMD__V1__RESULT__INIT;

        if (is_setup(q))
                return false;
        fake_reply(conn, q->id, &result);
        return true;
}

static void too_few_results_are_a_failure(void **state) {
        struct world *w = world_with(state, answer_too_little);
        svmd_batch *b;

        assert_int_equal(svmd_batch_new(w->s, &b), 0);
        assert_int_equal(svmd_batch_mem_release(b, 1), 0);
        assert_int_equal(svmd_batch_mem_release(b, 2), 1);
        assert_int_equal(svmd_batch_submit(b, SVMD_BEST_EFFORT, NULL), SVMD_E_MALFORMED);
        svmd_batch_free(b);
}

/* ---- full sockets ---- */

/* Before it reads on, this svmd writes events until its own socket is full: only a client that reads while it cannot
 * send gets through. */
static bool flood(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data) {
        if (q->ops[0]->op_case == SVMD__V1__OP__OP_MEM_RELEASE) {
                for (int i = 0; i < 300; i++)
                        fake_reservation_event(conn, 1, (uint64_t)i, false);
        }
        return false;
}

static void *send_large(void *data) {
        svmd_batch *b;
        int r = svmd_batch_new(data, &b);

        for (int round = 0; !r && round < 10; round++) {
                for (int i = 0; i < SVMD_OPS_MAX && r >= 0; i++)
                        r = svmd_batch_mem_release(b, UINT64_MAX - (unsigned)i);
                r = r < 0 ? r : svmd_batch_submit(b, SVMD_BEST_EFFORT, NULL);
        }
        svmd_batch_free(b);
        return (void *)(intptr_t)r;
}

static void full_sockets_do_not_lock_up(void **state) {
        struct world *w = world_with(state, flood);
        pthread_t thread[2 * THREADS];
        svmd_fence *fence = submit(w->s); /* never done: a reader that waits for nothing that comes */
        pthread_t waiter;
        void *r;

        assert_int_equal(setsockopt(fake_last_connection(w->fake), SOL_SOCKET, SO_SNDBUF, &(int){ 1 }, sizeof(int)), 0);
        assert_int_equal(pthread_create(&waiter, NULL, wait_for_fence, fence), 0);
        for (unsigned i = 0; i < 2 * THREADS; i++)
                assert_int_equal(pthread_create(&thread[i], NULL, send_large, w->s), 0);
        for (unsigned i = 0; i < 2 * THREADS; i++) {
                assert_int_equal(pthread_join(thread[i], &r), 0);
                assert_null(r);
        }
        fake_fence_event(fake_last_connection(w->fake), fake_last_fence(w->fake), 0, 1);
        assert_int_equal(pthread_join(waiter, &r), 0);
        assert_null(r);
        svmd_fence_free(fence);
}

static void a_vector_has_a_bound(void **state) {
        struct world *w = *state;
        svmd_batch *b;

        assert_int_equal(svmd_batch_new(w->s, &b), 0);
        assert_int_equal(svmd_batch_submit(b, SVMD_BEST_EFFORT, NULL), SVMD_E_SHAPE);
        for (int i = 0; i < SVMD_OPS_MAX; i++)
                assert_int_equal(svmd_batch_mem_create(b, 4096, 0, 0), i);
        assert_int_equal(svmd_batch_mem_create(b, 4096, 0, 0), -SVMD_E_SIZE);
        assert_int_equal(svmd_batch_free_address(b, w), -SVMD_E_SIZE);
        svmd_batch_free(b);
}

/* ---- connecting ---- */

static int connect_with(const struct svmd_connect_options *opts) {
        svmd_session *s;
        int r = svmd_connect(&s, opts);

        if (!r)
                svmd_disconnect(s);
        return r;
}

static void what_cannot_be_connected_is_explained(void **state) {
        struct world *w = *state;
        struct svmd_connect_options opts = { .size = sizeof(opts), .socket = "/nowhere/svmd.sock" };
        struct {
                struct svmd_connect_options known;
                uint64_t later;
        } newer = { .known = { .size = sizeof(newer), .socket = fake_path(w->fake) } };
        char path[200];

        assert_int_equal(connect_with(&opts), SVMD_E_SYSTEM);
        assert_non_null(strstr(svmd_error(), "/nowhere/svmd.sock"));
        assert_non_null(strstr(svmd_error(), "start svmd"));
        memset(path, 'p', sizeof(path));
        path[199] = 0;
        opts.socket = path;
        assert_int_equal(connect_with(&opts), SVMD_E_INVALID);
        opts.socket = fake_path(w->fake);
        opts.flags = 0x80;
        assert_int_equal(connect_with(&opts), SVMD_E_INVALID);
        opts.flags = 0;
        opts.window = 9;
        assert_int_equal(connect_with(&opts), SVMD_E_INVALID);
        opts.window = 0;
        opts.size = 3;
        assert_int_equal(connect_with(&opts), SVMD_E_INVALID);
        assert_int_equal(connect_with(&newer.known), 0);
        newer.later = 1;
        assert_int_equal(connect_with(&newer.known), SVMD_E_UNSUPPORTED);
        assert_int_equal(svmd_session_info(NULL, NULL), SVMD_E_INVALID);
        assert_string_equal(svmd_status_name(SVMD_E_NO_ROOM), "NO_ROOM");
        assert_string_equal(svmd_version(), "0.1.0");
}

static bool refuse_attach(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data) {
        if (q->ops[0]->op_case != SVMD__V1__OP__OP_ATTACH || strcmp(q->ops[0]->attach->partition, "lab"))
                return false;
        fake_refuse(conn, q, 5, "");
        return true;
}

static void the_environment_names_socket_and_partition(void **state) {
        struct world *w = world_with(state, refuse_attach);
        struct svmd_connect_options opts = { .size = sizeof(opts), .flags = SVMD_CONNECT_NO_ATTACH };
        struct svmd_session_info info = { .size = offsetof(struct svmd_session_info, window), .window = 99 };
        svmd_session *s;

        setenv("SVMD_SOCKET", fake_path(w->fake), 1);
        setenv("SVMD_PARTITION", "lab", 1);
        assert_int_equal(connect_with(NULL), SVMD_E_DENIED);
        assert_string_equal(svmd_error(), "the caller has no right to do this");
        assert_int_equal(svmd_connect(&s, &opts), 0);
        assert_int_equal(svmd_session_info(s, &info), 0);
        assert_int_equal(info.length, 0);
        assert_int_equal(info.window, 99); /* did not fit into the size */
        svmd_disconnect(s);
        unsetenv("SVMD_PARTITION");
        assert_int_equal(connect_with(NULL), 0);
        unsetenv("SVMD_SOCKET");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(replies_find_their_threads),
                world_test(threads_map_side_by_side),
                world_test(unanswered_requests_are_sent_again),
                world_test(a_fence_tells_its_outcome),
                world_test(lost_events_are_asked_for),
                world_test(events_come_in_order),
                world_test(an_event_that_another_thread_read_still_wakes),
                world_test(the_end_reaches_everyone),
                world_test(svmd_says_why_it_ended),
                world_test(a_packet_that_was_no_request_is_explained),
                world_test(garbage_ends_the_session),
                world_test(too_few_results_are_a_failure),
                world_test(full_sockets_do_not_lock_up),
                world_test(a_vector_has_a_bound),
                world_test(what_cannot_be_connected_is_explained),
                world_test(the_environment_names_socket_and_partition),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
