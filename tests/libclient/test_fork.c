#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_svmd.h"
#include "harness.h"
#include "svmd.h"

/* What a child found out, as its exit status: 0, or the line of the first thing that was wrong. */
#define EXPECT(x)                                                                                                      \
        do {                                                                                                           \
                if (!(x))                                                                                              \
                        return __LINE__ % 250 + 1;                                                                     \
        } while (0)

typedef int (*child_fn)(struct world *w, char *at);

static int run_child(struct world *w, char *at, child_fn fn) {
        int status;
        pid_t pid = fork();

        if (!pid)
                _exit(fn(w, at));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static bool is_mapped(const void *p) {
        return msync((void *)p, 4096, MS_ASYNC) == 0 || errno != ENOMEM;
}

static int look_at_parents_session(struct world *w, char *at) {
        svmd_mem mem;

        EXPECT(!is_mapped(at));
        EXPECT(svmd_mem_create(w->s, &mem, 4096, 0, 0) == SVMD_E_FORKED);
        EXPECT(strstr(svmd_error(), "after fork()"));
        EXPECT(svmd_dispatch(w->s) == SVMD_E_FORKED);
        EXPECT(svmd_event_fd(w->s) == -1);
        svmd_disconnect(w->s);
        return 0;
}

static int connect_anew(struct world *w, char *at) {
        const struct svmd_connect_options opts = { .size = sizeof(opts), .socket = fake_path(w->fake) };
        svmd_session *s, *second;
        svmd_mem mem;
        void *p;

        EXPECT(svmd_connect(&s, &opts) == 0);
        EXPECT(is_mapped(at)); /* reserved again, at the same addresses */
        EXPECT(svmd_address_reserve(s, &p, 4096, 0, NULL, NULL) == 0);
        EXPECT(svmd_mem_create(s, &mem, 4096, 0, 0) == 0);
        EXPECT(svmd_mem_map(s, SVMD_CPU, addr(p), 4096, 0, mem, SVMD_ACCESS_READ_WRITE, 0) == 0);
        *(char *)p = 1;
        EXPECT(svmd_connect(&second, &opts) == 0);
        svmd_disconnect(w->s);
        EXPECT(*(char *)p == 1);
        svmd_disconnect(s);
        EXPECT(is_mapped(at));
        svmd_disconnect(second);
        EXPECT(!is_mapped(at));
        return 0;
}

static char *with_memory(struct world *w) {
        char *at = reserve(w->s, 65536);
        svmd_mem mem = create(w->s, 65536);

        assert_int_equal(svmd_mem_map(w->s, SVMD_CPU, addr(at), 65536, 0, mem, SVMD_ACCESS_READ_WRITE, 0), 0);
        strcpy(at, "parent");
        return at;
}

static void a_child_has_nothing_of_the_session(void **state) {
        struct world *w = *state;
        char *at = with_memory(w);

        assert_int_equal(run_child(w, at, look_at_parents_session), 0);
        assert_string_equal(at, "parent");
        strcpy(at, "still");
        assert_int_equal(svmd_mem_unmap(w->s, SVMD_CPU, addr(at), 65536), 0);
}

static void a_child_may_connect_anew(void **state) {
        struct world *w = *state;
        char *at = with_memory(w);

        assert_int_equal(run_child(w, at, connect_anew), 0);
        assert_string_equal(at, "parent");
}

static void a_child_does_not_keep_the_session_alive(void **state) {
        struct world *w = *state;
        int hold[2];
        pid_t pid;

        assert_int_equal(pipe(hold), 0);
        assert_true(svmd_event_fd(w->s) >= 0);
        pid = fork();
        if (!pid) {
                char byte;

                close(hold[1]);
                _exit(read(hold[0], &byte, 1) != 0); /* until the parent is through */
        }
        svmd_disconnect(w->s);
        w->s = NULL;
        assert_true(fake_wait_connections(w->fake, 0));
        close(hold[0]);
        close(hold[1]);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

struct busy {
        pthread_t thread;
        struct world *w;
        atomic_bool *stop;
        unsigned wrong;
};

static void *keep_busy(void *data) {
        struct busy *b = data;

        while (!atomic_load(b->stop)) {
                svmd_mem mem;
                void *p;

                b->wrong += svmd_address_reserve(b->w->s, &p, 4096, 0, NULL, NULL) != 0;
                b->wrong += svmd_mem_create(b->w->s, &mem, 4096, 0, 0) != 0;
                b->wrong += svmd_mem_map(b->w->s, SVMD_CPU, addr(p), 4096, 0, mem, SVMD_ACCESS_READ_WRITE, 0) != 0;
                *(volatile char *)p = 1;
                b->wrong += svmd_address_free(b->w->s, p) != 0;
                b->wrong += svmd_mem_release(b->w->s, mem) != 0;
        }
        return NULL;
}

static int leave_at_once(struct world *w, char *at) {
        EXPECT(!is_mapped(at));
        leave_in_child(w->s);
        return 0;
}

static void a_fork_amid_threads_is_whole(void **state) {
        struct world *w = *state;
        char *at = with_memory(w);
        struct busy busy[4];
        atomic_bool stop = false;

        for (unsigned i = 0; i < 4; i++) {
                busy[i] = (struct busy){ .w = w, .stop = &stop };
                assert_int_equal(pthread_create(&busy[i].thread, NULL, keep_busy, &busy[i]), 0);
        }
        for (unsigned i = 0; i < 40; i++)
                assert_int_equal(run_child(w, at, leave_at_once), 0);
        atomic_store(&stop, true);
        for (unsigned i = 0; i < 4; i++) {
                assert_int_equal(pthread_join(busy[i].thread, NULL), 0);
                assert_int_equal(busy[i].wrong, 0);
        }
        assert_string_equal(at, "parent");
}

static void exec_closes_everything(void **state) {
        struct world *w = *state;

        assert_true(svmd_event_fd(w->s) >= 0);
        with_memory(w);
        assert_int_equal(
                system("ls -l /proc/self/fd </dev/null 2>/dev/null | grep -q -e socket: -e memfd: -e anon_inode:"),
                1 << 8); /* grep found none */
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(a_child_has_nothing_of_the_session),
                world_test(a_child_may_connect_anew),
                world_test(a_child_does_not_keep_the_session_alive),
                world_test(a_fork_amid_threads_is_whole),
                world_test(exec_closes_everything),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
