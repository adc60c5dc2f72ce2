/* Managed ranges, on real userfaultfds that the fake serves. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_managed.h"
#include "fake_svmd.h"
#include "harness.h"
#include "svmd.h"

enum { GRANULE = 65536, SIZE = 16 * GRANULE };

/* What a test's hook looks at, and does. */
struct plan {
        Svmd__V1__Op__OpCase refused; /* operations that are refused */
        unsigned code;
        Svmd__V1__Op__OpCase looked;            /* what the kernel has at `at` is looked up when this one comes */
        const char *at;                         /* NULL: where the join is */
        char found[128];                        /* permissions and name */
        uint64_t start, end;                    /* of what was found */
        void (*spoil)(struct range_head *head); /* the state, before it is handed out */
        bool read_only;                         /* the memory that is handed out */
        bool blind;                             /* joins are answered without being done */
};

/* ---- looking ---- */

static void look_up(const void *p, struct plan *plan) {
        FILE *maps = fopen("/proc/self/maps", "re");
        char line[512];

        plan->found[0] = 0;
        assert_non_null(maps);
        while (fgets(line, sizeof(line), maps)) {
                uint64_t start, end;
                char perms[8], name[64] = "";

                if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %*s %*s %*s %63s", &start, &end, perms, name) < 3)
                        continue;
                if (addr(p) < start || addr(p) >= end)
                        continue;
                snprintf(plan->found, sizeof(plan->found), "%s %s", perms, name);
                plan->start = start;
                plan->end = end;
        }
        fclose(maps);
}

#define assert_found(p, what)                                                                                          \
        do {                                                                                                           \
                struct plan now = { 0 };                                                                               \
                look_up(p, &now);                                                                                      \
                assert_string_equal(now.found, what);                                                                  \
        } while (0)

static const char *log_of(struct fake *f) {
        static char log[FAKE_LOG_MAX];

        fake_take_log(f, log);
        return log;
}

static void answer_files_read_only(struct fake *f, int conn, const Svmd__V1__Request *q) {
        fake_managed_open(fake_managed(f), q->ops[0]->range_files->reservation, conn, SVMD_ACCESS_READ);
        fake_answer(f, conn, q);
}

static void answer_blindly(int conn, uint64_t id) {
        Svmd__V1__Result result = SVMD__V1__RESULT__INIT;

        fake_reply(conn, id, &result);
}

static const char *joined(struct fake *f, const Svmd__V1__Join *join) {
        return (const char *)(uintptr_t)fake_managed_start(fake_managed(f), join->reservation);
}

static bool follow_plan(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data) {
        struct plan *plan = ((struct world *)data)->data;
        Svmd__V1__Op__OpCase op = q->ops[0]->op_case;

        if (!plan)
                return false;
        if (op == plan->looked)
                look_up(plan->at ? plan->at : joined(f, q->ops[0]->join), plan);
        if (op == plan->refused) {
                fake_refuse(conn, q, plan->code, "not this step");
                return true;
        }
        if (op == SVMD__V1__OP__OP_RANGE_FILES && plan->spoil)
                plan->spoil(fake_managed_head(fake_managed(f), q->ops[0]->range_files->reservation));
        if (op == SVMD__V1__OP__OP_RANGE_FILES && plan->read_only) {
                answer_files_read_only(f, conn, q);
                return true;
        }
        if (op == SVMD__V1__OP__OP_JOIN && plan->blind) {
                answer_blindly(conn, q->id);
                return true;
        }
        return false;
}

static struct world *with_plan(void **state, struct plan *plan) {
        struct world *w = world_with(state, follow_plan);

        w->data = plan;
        return w;
}

static int try_managed(svmd_session *s, const char *name, void **ret) {
        const struct svmd_reserve_options opts = {
                .size = sizeof(opts), .name = name, .kind = SVMD_SHARED, .granule = GRANULE
        };

        return svmd_address_reserve(s, ret, SIZE, 0, NULL, &opts);
}

static char *managed(svmd_session *s, const char *name) {
        void *at;
        int r = try_managed(s, name, &at);

        if (r)
                fail_msg("%s", svmd_error());
        return at;
}

static char *open_managed(svmd_session *s, const char *name, unsigned access) {
        void *at;
        size_t size;
        int r = svmd_address_open(s, &at, &size, name, access);

        if (r)
                fail_msg("%s", svmd_error());
        assert_int_equal(size, SIZE);
        return at;
}

/* ---- the steps ---- */

static void a_range_is_joined_before_it_is_accessible(void **state) {
        struct plan plan = { .looked = SVMD__V1__OP__OP_JOIN };
        struct world *w = with_plan(state, &plan);
        unsigned before = open_descriptors();
        char *at = managed(w->s, NULL);

        assert_string_equal(log_of(w->fake), "rdgfj");
        assert_string_equal(plan.found, "---s /memfd:fake-range");
        assert_int_equal(plan.start, addr(at));
        assert_int_equal(plan.end, addr(at) + SIZE);
        assert_found(at, "rw-s /memfd:fake-range");
        assert_int_equal(at[0], 0);
        fake_managed_set_fill(fake_managed(w->fake), fake_reservation_id(w->fake, addr(at)), 'x');
        assert_int_equal(at[SIZE - 1], 'x');
        at[GRANULE] = 'y';
        assert_int_equal(at[GRANULE], 'y');
        assert_int_equal(at[GRANULE + 1], 'x');
        assert_true(fake_managed_faults(fake_managed(w->fake)) >= 3);
        /* One of the library: the userfaultfd. Of the fake: another of that, a pipe, two files. */
        assert_true(wait_descriptors(before + 1 + 5));
        assert_int_equal(svmd_address_free(w->s, at), 0);
        assert_found(at, "---p ");
        assert_string_equal(log_of(w->fake), "x");
        assert_true(wait_descriptors(before + 1 + 3));
        managed(w->s, NULL);
        assert_string_equal(log_of(w->fake), "rfj");
}

static void a_granule_is_4k_unless_asked_otherwise(void **state) {
        const struct svmd_reserve_options opts = { .size = sizeof(opts), .kind = SVMD_SHARED };
        const struct svmd_reserve_options wrong = { .size = sizeof(opts), .kind = 7 };
        struct world *w = *state;
        void *at;

        assert_int_equal(svmd_address_reserve(w->s, &at, SVMD_PAGE, 0, NULL, &opts), 0);
        *(char *)at = 1;
        assert_int_equal(fake_managed_granule(fake_managed(w->fake), fake_reservation_id(w->fake, addr(at))),
                         SVMD_PAGE);
        assert_int_equal(svmd_address_reserve(w->s, &at, SVMD_PAGE, 0, NULL, &wrong), SVMD_E_INVALID);
}

static void wrong_magic(struct range_head *h) {
        h->magic++;
}

static void wrong_version(struct range_head *h) {
        h->version++;
}

static void wrong_granule(struct range_head *h) {
        h->granule *= 2;
}

static void wrong_count(struct range_head *h) {
        h->count--;
}

static void expect_undone(void **state, const struct plan *given, int code, const char *sentence, const char *log) {
        struct plan plan = *given;
        struct world *w = with_plan(state, &plan);
        unsigned before = open_descriptors();
        bool given_one = strchr(log, 'g');
        void *at = NULL;

        plan.code = SVMD_E_QUOTA;
        assert_int_equal(try_managed(w->s, NULL, &at), code);
        assert_non_null(strstr(svmd_error(), sentence));
        assert_null(at);
        assert_string_equal(log_of(w->fake), log);
        assert_int_equal(fake_reservations(w->fake), 0);
        if (plan.looked) {
                assert_found((void *)plan.start, "---p ");
                assert_int_equal(svmd_range_begin(w->s, (void *)plan.start), UINT64_MAX);
        }
        /* The userfaultfd stays once svmd has it: here, there, and the pipe of who serves it. */
        assert_true(wait_descriptors(before + (given_one ? 4 : 0)));
        w->data = NULL;
        at = managed(w->s, NULL);
        strcpy(at, "now");
        assert_string_equal(at, "now");
}

static void a_step_that_fails_undoes_the_others(void **state) {
        expect_undone(state, &(struct plan){ .refused = SVMD__V1__OP__OP_RESERVE }, SVMD_E_QUOTA, "not this step", "");
        expect_undone(state, &(struct plan){ .refused = SVMD__V1__OP__OP_UFFD_DEVICE }, SVMD_E_QUOTA, "not this step",
                      "rx");
        expect_undone(state, &(struct plan){ .refused = SVMD__V1__OP__OP_UFFD_GIVE }, SVMD_E_QUOTA, "not this step",
                      "rdx");
        expect_undone(state, &(struct plan){ .refused = SVMD__V1__OP__OP_RANGE_FILES }, SVMD_E_QUOTA, "not this step",
                      "rdgx");
        expect_undone(state, &(struct plan){ .refused = SVMD__V1__OP__OP_JOIN, .looked = SVMD__V1__OP__OP_JOIN },
                      SVMD_E_QUOTA, "not this step", "rdgfx");
        expect_undone(state, &(struct plan){ .spoil = wrong_magic }, SVMD_E_VERSION, "of one version", "rdgfx");
        expect_undone(state, &(struct plan){ .spoil = wrong_version }, SVMD_E_VERSION, "of one version", "rdgfx");
        expect_undone(state, &(struct plan){ .spoil = wrong_granule }, SVMD_E_VERSION, "of one version", "rdgfx");
        expect_undone(state, &(struct plan){ .spoil = wrong_count }, SVMD_E_VERSION, "of one version", "rdgfx");
        /* A file that was opened to read can be mapped without access, but never be written. */
        expect_undone(state, &(struct plan){ .read_only = true, .blind = true, .looked = SVMD__V1__OP__OP_JOIN },
                      SVMD_E_SYSTEM, "access", "rdgfx");
}

static bool answer_with(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data) {
        if (q->ops[0]->op_case != SVMD__V1__OP__OP_UFFD_DEVICE && q->ops[0]->op_case != SVMD__V1__OP__OP_RANGE_FILES)
                return false;
        if (((struct world *)data)->data == (void *)(uintptr_t)q->ops[0]->op_case)
                answer_blindly(conn, q->id); /* without descriptors */
        else
                fake_answer(f, conn, q);
        return true;
}

static void answers_without_descriptors_are_refused(void **state) {
        struct world *w = world_with(state, answer_with);
        void *at;

        w->data = (void *)(uintptr_t)SVMD__V1__OP__OP_UFFD_DEVICE;
        assert_int_equal(try_managed(w->s, NULL, &at), SVMD_E_FD_COUNT);
        w->data = (void *)(uintptr_t)SVMD__V1__OP__OP_RANGE_FILES;
        assert_int_equal(try_managed(w->s, NULL, &at), SVMD_E_FD_COUNT);
        w->data = NULL;
        assert_int_equal(try_managed(w->s, NULL, &at), 0);
        assert_int_equal(fake_reservations(w->fake), 1);
}

static void a_free_that_is_refused_leaves_the_range(void **state) {
        struct plan plan = { .refused = SVMD__V1__OP__OP_FREE, .code = SVMD_E_BUSY };
        struct world *w = with_plan(state, &plan);
        char *at = managed(w->s, NULL);
        uint64_t begun = svmd_range_begin(w->s, at);

        strcpy(at, "kept");
        plan.looked = SVMD__V1__OP__OP_FREE;
        plan.at = at;
        log_of(w->fake);
        assert_int_equal(svmd_address_free(w->s, at), SVMD_E_BUSY);
        assert_string_equal(svmd_error(), "not this step");
        assert_string_equal(plan.found, "---s /memfd:fake-range"); /* before svmd was asked */
        assert_string_equal(log_of(w->fake), "");
        assert_string_equal(at, "kept");
        assert_int_equal(svmd_range_retry(w->s, at, begun), 1);
        plan.refused = 0;
        assert_int_equal(svmd_address_free(w->s, at), 0);
}

/* ---- opening ---- */

static void a_reader_sees_what_others_write(void **state) {
        struct plan plan = { .looked = SVMD__V1__OP__OP_JOIN };
        struct world *w = with_plan(state, &plan);
        char *at = managed(w->s, "board");
        uint64_t id = fake_reservation_id(w->fake, addr(at));

        strcpy(at, "text");
        assert_int_equal(svmd_address_free(w->s, at), 0); /* in the fake, names stay */
        log_of(w->fake);
        assert_ptr_equal(open_managed(w->s, "board", SVMD_ACCESS_READ), at);
        assert_string_equal(log_of(w->fake), "ofj");
        assert_string_equal(plan.found, "---p /memfd:fake-range");
        assert_found(at, "r--p /memfd:fake-range");
        assert_string_equal(at, "text");
        assert_int_equal(at[GRANULE], 0);
        assert_int_equal(pwrite(fake_managed_memory(fake_managed(w->fake), id), "next", 4, 0), 4);
        assert_string_equal(at, "next");
        assert_int_equal(can_write(at), 0);
        assert_int_equal(svmd_address_open(w->s, &(void *){ NULL }, NULL, "board", SVMD_ACCESS_READ), SVMD_E_TAKEN);
        assert_string_equal(at, "next");
}

/* Two sessions of one process. */
static svmd_session *second(struct world *w) {
        svmd_session *s = connect_to(w->fake);

        log_of(w->fake);
        return s;
}

static void sessions_of_a_process_share_a_mapping(void **state) {
        struct world *w = *state;
        char *at = managed(w->s, "twice");
        svmd_session *other = second(w);

        strcpy(at, "one");
        assert_ptr_equal(open_managed(other, "twice", SVMD_ACCESS_READ_WRITE), at);
        assert_string_equal(log_of(w->fake), "of"); /* to know its state */
        assert_int_equal(svmd_range_retry(other, at, svmd_range_begin(other, at)), 0);
        strcpy(at, "two");
        assert_int_equal(svmd_address_free(other, at), 0); /* the first one has it mapped */
        assert_string_equal(at, "two");
        open_managed(other, "twice", SVMD_ACCESS_READ);
        log_of(w->fake);
        svmd_disconnect(w->s);
        w->s = NULL;
        assert_string_equal(log_of(w->fake), "fdgj"); /* the second one, on its own */
        assert_string_equal(at, "two");
        assert_found(at, "r--p /memfd:fake-range");
        assert_int_equal(svmd_address_free(other, at), 0);
        assert_found(at, "---p ");
        svmd_disconnect(other);
}

static void one_that_closes_hands_over(void **state) {
        struct plan plan = { .refused = 0 };
        struct world *w = with_plan(state, &plan);
        char *at = managed(w->s, "twice");
        svmd_session *other;

        strcpy(at, "text");
        assert_int_equal(svmd_address_free(w->s, at), 0);
        open_managed(w->s, "twice", SVMD_ACCESS_READ_WRITE);
        other = second(w);
        open_managed(other, "twice", SVMD_ACCESS_READ_WRITE);
        assert_int_equal(svmd_address_free(w->s, at), 0);
        assert_string_equal(log_of(w->fake), "ofxfdgj");
        assert_string_equal(at, "text");
        /* The other way round, where it fails at first. */
        open_managed(w->s, "twice", SVMD_ACCESS_READ_WRITE);
        plan = (struct plan){ .refused = SVMD__V1__OP__OP_JOIN, .code = SVMD_E_NO_MEMORY };
        assert_int_equal(svmd_address_free(other, at), 0);
        assert_found(at, "---p ");
        plan.refused = 0;
        assert_int_equal(svmd_dispatch(w->s), 0);
        assert_string_equal(at, "text");
        svmd_disconnect(other);
        assert_string_equal(at, "text");
}

static void a_writer_does_not_use_what_a_reader_mapped(void **state) {
        struct world *w = *state;
        char *at = managed(w->s, "board");
        svmd_session *other;
        void *ret = NULL;

        assert_int_equal(svmd_address_free(w->s, at), 0);
        open_managed(w->s, "board", SVMD_ACCESS_READ);
        other = second(w);
        assert_int_equal(svmd_address_open(other, &ret, NULL, "board", SVMD_ACCESS_READ_WRITE), SVMD_E_BUSY);
        assert_non_null(strstr(svmd_error(), "to read"));
        assert_string_equal(log_of(w->fake), "ox");
        assert_null(ret);
        assert_int_equal(at[0], 0);
        assert_int_equal(svmd_address_free(w->s, at), 0);
        open_managed(other, "board", SVMD_ACCESS_READ_WRITE);
        at[0] = 1;
        svmd_disconnect(other);
        assert_found(at, "---p ");
}

/* ---- loss ---- */

struct seen {
        unsigned type[16];
        void *address[16];
        unsigned count;
};

static void see(svmd_session *s, const struct svmd_event *e, void *userdata) {
        struct seen *seen = userdata;

        assert_non_null(e->cause);
        assert_int_equal(e->from, SVMD_NODE_NONE);
        seen->type[seen->count] = e->type;
        seen->address[seen->count++] = e->address;
}

struct toucher {
        pthread_t thread;
        const char *at;
        int touched; /* what can_read() gave */
        atomic_bool done;
};

static void *touch(void *data) {
        struct toucher *t = data;

        t->touched = can_read(t->at);
        atomic_store(&t->done, true);
        return NULL;
}

static void touch_begin(struct toucher *t, const char *at) {
        *t = (struct toucher){ .at = at };
        assert_int_equal(pthread_create(&t->thread, NULL, touch, t), 0);
}

/* Whether it has read something. */
static int touch_end(struct toucher *t) {
        assert_int_equal(pthread_join(t->thread, NULL), 0);
        return t->touched;
}

static void sleep_ms(long ms) {
        nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

static void wait_faults(struct fake *f, unsigned count) {
        for (int i = 0; i < 30000 && fake_managed_faults(fake_managed(f)) < count; i++)
                sleep_ms(1);
        assert_true(fake_managed_faults(fake_managed(f)) >= count);
}

static void what_its_owner_freed_is_taken_away(void **state) {
        struct world *w = *state;
        struct seen seen = { .count = 0 };
        char *at = managed(w->s, "board");
        uint64_t id = fake_reservation_id(w->fake, addr(at)), begun;
        int conn = fake_last_connection(w->fake);
        struct toucher t;

        assert_int_equal(svmd_set_event_handler(w->s, see, &seen), 0);
        assert_int_equal(svmd_address_free(w->s, at), 0);
        open_managed(w->s, "board", SVMD_ACCESS_READ_WRITE);
        begun = svmd_range_begin(w->s, at);
        strcpy(at, "text");
        fake_managed_leave(fake_managed(w->fake), id, conn); /* nobody serves it any more */
        touch_begin(&t, at + GRANULE);
        wait_faults(w->fake, 2);
        fake_reservation_event(conn, id, 9, true);
        while (!seen.count)
                assert_int_equal(svmd_dispatch(w->s), 0);
        assert_int_equal(seen.type[0], SVMD_EVENT_GONE);
        assert_ptr_equal(seen.address[0], at);
        assert_int_equal(touch_end(&t), 0); /* no zeroes */
        assert_found(at, "---p ");
        assert_int_equal(svmd_range_retry(w->s, at, begun), 1);
        assert_int_equal(svmd_address_free(w->s, at), SVMD_E_NO_SUCH);
}

/* After a restart, what the session has open is asked for again; what it does not have any more goes. */
static void what_was_stolen_unseen_is_taken_away(void **state) {
        struct plan plan = { .refused = 0 };
        struct world *w = with_plan(state, &plan);
        char *at = managed(w->s, "board");

        strcpy(at, "text");
        fake_epoch_event(fake_last_connection(w->fake), 2);
        assert_int_equal(svmd_dispatch(w->s), 0);
        assert_string_equal(at, "text");
        plan = (struct plan){ .refused = SVMD__V1__OP__OP_LAYOUT, .code = SVMD_E_FOREIGN };
        fake_epoch_event(fake_last_connection(w->fake), 3);
        while (svmd_range_begin(w->s, at) != UINT64_MAX)
                assert_int_equal(svmd_dispatch(w->s), 0);
        assert_found(at, "---p ");
}

static void who_steals_is_the_owner(void **state) {
        struct world *w = *state;
        svmd_session *other = second(w);
        char *at = managed(w->s, "board");

        strcpy(at, "text");
        open_managed(other, "board", SVMD_ACCESS_READ_WRITE);
        log_of(w->fake);
        assert_int_equal(svmd_steal(other, at), 0);
        assert_string_equal(log_of(w->fake), "dgfj"); /* the mapping of the other session was not of use any more */
        assert_string_equal(at, "text");
        svmd_disconnect(w->s); /* it has not heard yet */
        w->s = NULL;
        assert_string_equal(at, "text");
        assert_int_equal(svmd_address_free(other, at), 0);
        assert_found(at, "---p ");
        svmd_disconnect(other);
}

/* A session that has not heard yet that its range is gone, when another one of the process gets its addresses. */
static void new_reservations_displace_what_is_gone(void **state) {
        const struct svmd_reserve_options shared = { .size = sizeof(shared), .kind = SVMD_SHARED, .granule = GRANULE };
        struct world *w = *state;
        svmd_session *other = second(w);
        char *at = managed(w->s, "old");
        svmd_mem mem;
        void *again;

        strcpy(at, "old");
        assert_int_equal(svmd_address_reserve(other, &again, SIZE, 0, at, NULL), 0);
        assert_found(at, "---p ");
        mem = create(other, SIZE);
        assert_int_equal(svmd_mem_map(other, SVMD_CPU, addr(at), SIZE, 0, mem, SVMD_ACCESS_READ_WRITE, 0), 0);
        strcpy(at, "new");
        at = managed(w->s, "older");
        strcpy(at, "old");
        fake_managed_remove(fake_managed(w->fake), fake_reservation_id(w->fake, addr(at)));
        assert_int_equal(svmd_address_reserve(other, &again, SIZE, 0, at, &shared), 0);
        assert_int_equal(at[0], 0);
        strcpy(at, "new");
        svmd_disconnect(w->s);
        w->s = NULL;
        assert_string_equal(at, "new");
        assert_string_equal(at - SIZE, "new");
        svmd_disconnect(other);
}

/* With svmd and its keeper gone nobody is there to bring pages: threads stop, and never read zeroes. */
static void without_svmd_threads_stop(void **state) {
        struct world *w = *state;
        char *at = managed(w->s, NULL);
        struct toucher t;

        fake_managed_set_fill(fake_managed(w->fake), fake_reservation_id(w->fake, addr(at)), 'x');
        assert_int_equal(at[0], 'x');
        fake_hang_up(fake_last_connection(w->fake));
        assert_true(fake_wait_connections(w->fake, 0));
        touch_begin(&t, at + GRANULE);
        sleep_ms(200);
        assert_false(atomic_load(&t.done));
        assert_int_equal(at[0], 'x'); /* what is there can be used */
        assert_int_equal(svmd_dispatch(w->s), SVMD_E_GONE);
        assert_int_equal(svmd_address_free(w->s, at), SVMD_E_GONE);
        svmd_disconnect(w->s);
        w->s = NULL;
        assert_int_equal(touch_end(&t), 0);
}

/* ---- fork ---- */

static unsigned userfaultfds(void) {
        unsigned count = 0;

        for (int fd = 3; fd < 64; fd++) {
                char path[64], target[64] = "";

                snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
                if (readlink(path, target, sizeof(target) - 1) > 0 && strstr(target, "userfaultfd"))
                        count++;
        }
        return count;
}

static int child(struct world *w, const char *at, unsigned before) {
        if (msync((void *)at, SVMD_PAGE, MS_ASYNC) == 0 || errno != ENOMEM)
                return 1;
        if (userfaultfds() != before - 1) /* the fake's is inherited */
                return 2;
        if (svmd_range_begin(w->s, at) != UINT64_MAX)
                return 3;
        svmd_disconnect(w->s);
        return 0;
}

static void a_child_has_nothing_of_the_range(void **state) {
        struct world *w = *state;
        char *at = managed(w->s, NULL);
        unsigned before = userfaultfds();
        int status;
        pid_t pid;

        assert_int_equal(before, 2);
        strcpy(at, "parent");
        pid = fork();
        if (!pid)
                _exit(child(w, at, before));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        assert_string_equal(at, "parent");
        assert_int_equal(at[GRANULE], 0);
}

/* ---- threads ---- */

enum { BUSY = 3, ROUNDS = 60, FORKS = 20 };

struct busy {
        pthread_t thread;
        struct world *w;
        const atomic_bool *stop;
        unsigned wrong, rounds;
};

static void *reserve_and_free(void *data) {
        struct busy *b = data;

        for (; !atomic_load(b->stop); b->rounds++) {
                void *at;

                if (try_managed(b->w->s, NULL, &at)) {
                        b->wrong++;
                        continue;
                }
                strcpy(at, "busy");
                b->wrong += strcmp(at, "busy") != 0;
                b->wrong += svmd_range_begin(b->w->s, at) == UINT64_MAX;
                b->wrong += svmd_address_free(b->w->s, at) != 0;
        }
        return NULL;
}

static void a_fork_amid_threads_is_whole(void **state) {
        struct world *w = *state;
        char *at = managed(w->s, NULL);
        atomic_bool stop = false;
        struct busy busy[BUSY];
        int status;

        strcpy(at, "parent");
        for (unsigned i = 0; i < BUSY; i++) {
                busy[i] = (struct busy){ .w = w, .stop = &stop };
                assert_int_equal(pthread_create(&busy[i].thread, NULL, reserve_and_free, &busy[i]), 0);
        }
        for (unsigned i = 0; i < FORKS; i++) {
                pid_t pid = fork();

                if (!pid) {
                        int mapped = msync(at, SVMD_PAGE, MS_ASYNC) == 0 || errno != ENOMEM;

                        leave_in_child(w->s);
                        _exit(mapped);
                }
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_int_equal(status, 0);
        }
        atomic_store(&stop, true);
        for (unsigned i = 0; i < BUSY; i++) {
                assert_int_equal(pthread_join(busy[i].thread, NULL), 0);
                assert_int_equal(busy[i].wrong, 0);
        }
        assert_string_equal(at, "parent");
}

/* Opens, looks, and closes or ends: whichever session has it mapped, the others go on. */
static void *come_and_go(void *data) {
        struct busy *b = data;
        svmd_session *s = connect_to(b->w->fake);

        for (; b->rounds < ROUNDS; b->rounds++) {
                void *at = NULL;

                b->wrong += svmd_address_open(s, &at, NULL, "board", SVMD_ACCESS_READ_WRITE) != 0;
                can_write(at); /* it may be without access just now */
                b->wrong += svmd_range_begin(s, at) == UINT64_MAX;
                if (b->rounds % 7 == 6) {
                        svmd_disconnect(s);
                        s = connect_to(b->w->fake);
                } else {
                        b->wrong += svmd_address_free(s, at) != 0;
                }
        }
        svmd_disconnect(s);
        return NULL;
}

static void sessions_come_and_go(void **state) {
        struct world *w = *state;
        char *at = managed(w->s, "board");
        struct busy busy[BUSY];

        strcpy(at, "text");
        assert_int_equal(svmd_address_free(w->s, at), 0);
        for (unsigned i = 0; i < BUSY; i++) {
                busy[i] = (struct busy){ .w = w };
                assert_int_equal(pthread_create(&busy[i].thread, NULL, come_and_go, &busy[i]), 0);
        }
        for (unsigned i = 0; i < BUSY; i++) {
                assert_int_equal(pthread_join(busy[i].thread, NULL), 0);
                assert_int_equal(busy[i].wrong, 0);
        }
        assert_found(at, "---p ");
        open_managed(w->s, "board", SVMD_ACCESS_READ);
        assert_string_equal(at, "text");
}

/* ---- begin and retry ---- */

static void a_number_is_good_until_something_changes(void **state) {
        struct world *w = *state;
        char *at = managed(w->s, NULL), *second_at = managed(w->s, NULL);
        struct range_head *head = fake_managed_head(fake_managed(w->fake), fake_reservation_id(w->fake, addr(at)));
        uint64_t begun = svmd_range_begin(w->s, at + 5), other = svmd_range_begin(w->s, second_at);
        void *again;

        assert_true(begun != UINT64_MAX && begun != 0);
        assert_int_equal(svmd_range_retry(w->s, at + SIZE - 1, begun), 0);
        __atomic_fetch_add(&head->sequence, 1, __ATOMIC_RELEASE);
        assert_int_equal(svmd_range_retry(w->s, at, begun), 1);
        assert_int_equal(svmd_range_retry(w->s, second_at, other), 0);
        begun = svmd_range_begin(w->s, at);
        assert_int_equal(svmd_range_retry(w->s, at, begun), 0);
        assert_int_equal(svmd_address_free(w->s, at), 0);
        assert_int_equal(svmd_range_begin(w->s, at), UINT64_MAX);
        assert_int_equal(svmd_range_retry(w->s, at, begun), 1);
        assert_int_equal(svmd_range_retry(w->s, at, UINT64_MAX), 1);
        assert_int_equal(svmd_range_begin(w->s, second_at + SIZE), UINT64_MAX);
        assert_int_equal(svmd_range_begin(NULL, at), UINT64_MAX);
        /* The same address, and a state that begins at 0. */
        assert_int_equal(
                svmd_address_reserve(w->s, &again, SIZE, 0, at,
                                     &(struct svmd_reserve_options){ .size = sizeof(struct svmd_reserve_options),
                                                                     .kind = SVMD_SHARED,
                                                                     .granule = GRANULE }),
                0);
        assert_true(svmd_range_begin(w->s, at) > begun);
        assert_int_equal(svmd_range_retry(w->s, second_at, other), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(a_range_is_joined_before_it_is_accessible),
                world_test(a_granule_is_4k_unless_asked_otherwise),
                world_test(a_step_that_fails_undoes_the_others),
                world_test(answers_without_descriptors_are_refused),
                world_test(a_free_that_is_refused_leaves_the_range),
                world_test(a_reader_sees_what_others_write),
                world_test(sessions_of_a_process_share_a_mapping),
                world_test(one_that_closes_hands_over),
                world_test(a_writer_does_not_use_what_a_reader_mapped),
                world_test(what_its_owner_freed_is_taken_away),
                world_test(what_was_stolen_unseen_is_taken_away),
                world_test(who_steals_is_the_owner),
                world_test(new_reservations_displace_what_is_gone),
                world_test(without_svmd_threads_stop),
                world_test(a_child_has_nothing_of_the_range),
                world_test(a_fork_amid_threads_is_whole),
                world_test(sessions_come_and_go),
                world_test(a_number_is_good_until_something_changes),
        };

        if (!have_userfaultfd())
                return 0;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
