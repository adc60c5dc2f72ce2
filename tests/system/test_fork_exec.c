/*
 * fork() and exec() as svmd.h says: a child has none of its parent's sessions and addresses and may connect anew; the
 * parent notices nothing; exec ends the session, and nothing of it reaches the new program.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "churn.h"
#include "daemon.h"
#include "harness.h"

enum { SIZE = 64 * 1024, FORKS = 50 };

static struct daemon d;
static svmd_session *watcher, *s;
static volatile uint64_t *at;
static svmd_mem mem;

static void prepare(void) {
        void *p;

        connect_to(&s, d.socket, "lab");
        ok(svmd_address_reserve(s, &p, SIZE, 0, NULL, NULL));
        ok(svmd_mem_create(s, &mem, SIZE, node_named(s, "host0"), 0));
        ok(svmd_mem_map(s, SVMD_CPU, (uint64_t)p, SIZE, 0, mem, SVMD_ACCESS_READ_WRITE, 0));
        at = p;
        *at = 4711;
}

static int end_of(pid_t pid) {
        int status;

        must(pid > 0 && wait_end(pid, &status));
        must(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static bool is_mapped(const volatile void *p) {
        unsigned char page;

        return mincore((void *)p, SIZE, &page) == 0 || errno != ENOMEM;
}

/* Every kind of call says whose session it is, and ending it does nothing to the parent's. */
static void use_parents_session(void) {
        struct svmd_device_op op = { .size = sizeof(op), .op = SVMD_DEVICE_FILL };
        struct svmd_status st = { .size = sizeof(st) };
        svmd_fence *f;
        svmd_batch *b;
        svmd_mem other;
        void *p;

        want(SVMD_E_FORKED, svmd_address_reserve(s, &p, SIZE, 0, NULL, NULL));
        want(SVMD_E_FORKED, svmd_mem_create(s, &other, SIZE, 0, 0));
        want(SVMD_E_FORKED, svmd_mem_release(s, mem));
        want(SVMD_E_FORKED, svmd_mem_unmap(s, SVMD_CPU, (uint64_t)at, SIZE));
        want(SVMD_E_FORKED, svmd_address_free(s, (void *)at));
        want(SVMD_E_FORKED, svmd_dispatch(s));
        want(SVMD_E_FORKED, svmd_query_status(s, &st));
        want(SVMD_E_FORKED, svmd_submit(s, &f, &op));
        if (svmd_batch_new(s, &b) == 0)
                fail_here("a vector of the parent's session was made in the child");
        must(strlen(svmd_error()) > 10);
        must(!is_mapped(at));
        svmd_disconnect(s);
}

static void connect_anew(void) {
        uint64_t address = (uint64_t)at;
        struct churn c;
        svmd_session *own;
        void *p;

        connect_to(&own, d.socket, "lab");
        want(SVMD_E_TAKEN, svmd_address_reserve(own, &p, SIZE, 0, (void *)address, NULL));
        churn_begin(&c, own);
        for (unsigned i = 0; i < 50; i++)
                churn_step(&c);
        churn_end(&c);
        svmd_disconnect(own);
}

static void in_child(void (*fn)(void)) {
        pid_t pid;

        fflush(NULL);
        pid = fork();
        if (pid == 0) {
                fn();
                _exit(0);
        }
        must(end_of(pid) == 0);
        must(*at == 4711);
}

static void both(void) {
        use_parents_session();
        connect_anew();
}

/* The child of a child. */
static void again(void) {
        pid_t pid;

        connect_anew();
        pid = fork();
        if (pid == 0) {
                both();
                _exit(0);
        }
        must(end_of(pid) == 0);
}

static void stay(void) {
        must(sleep(60) > 0);
}

static int is_it(const struct svmd_session_row *row, void *userdata) {
        return row->id == *(const uint64_t *)userdata;
}

/* A child that lives on does not keep its parent's session. */
static void session_ends_with_parent(void) {
        struct svmd_session_info info = { .size = sizeof(info) };
        svmd_session *own;
        pid_t pid;

        connect_to(&own, d.socket, "lab");
        ok(svmd_session_info(own, &info));
        pid = fork();
        if (pid == 0) {
                stay();
                _exit(0);
        }
        svmd_disconnect(own);
        for (uint64_t until = now_ms() + CEILING_MS; svmd_query_sessions(watcher, "lab", is_it, &info.id) == 1;
             usleep(1000))
                must(now_ms() < until);
        kill(pid, SIGKILL);
        must(waitpid(pid, NULL, 0) == pid);
}

/* ---- exec: this same program, which says what it was given ---- */

static int after_exec(const char *address) {
        char command[64];

        if (is_mapped((const volatile void *)strtoull(address, NULL, 0)))
                return 10;
        /* 0, 1, 2, the folder that is read, and the pipe that ctest may have given */
        snprintf(command, sizeof(command), "/proc/%d/fd", getpid());
        return (int)process_fds(getpid());
}

static unsigned fds_after_exec(bool with_session) {
        char address[32];
        svmd_session *own = NULL;
        pid_t pid;

        snprintf(address, sizeof(address), "%#llx", (unsigned long long)at);
        fflush(NULL);
        pid = fork();
        if (pid == 0) {
                if (with_session) {
                        struct churn c;

                        connect_to(&own, d.socket, "lab");
                        must(svmd_event_fd(own) >= 0);
                        churn_begin(&c, own);
                        for (unsigned i = 0; i < 30; i++)
                                churn_step(&c);
                }
                execl("/proc/self/exe", "system_fork_exec", "--after-exec", address, (char *)NULL);
                _exit(98);
        }
        return (unsigned)end_of(pid);
}

static void exec_ends_it(void) {
        unsigned without = fds_after_exec(false), with = fds_after_exec(true);

        must(without < 90 && with == without);
}

int main(int argc, char **argv) {
        static const char *const options[] = { "--soft-node", "gpu0:size=64M", "--log-level", "warning", NULL };
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW, .mode = 0444
        };
        struct ledger before, after;
        unsigned fds;

        if (argc == 3 && strcmp(argv[1], "--after-exec") == 0)
                return after_exec(argv[2]);
        harness_begin("system_fork_exec");
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        prepare();
        await_settled(watcher, &d, 0, 0);
        fds = process_fds_at_rest(d.pid);
        ledger_read(watcher, &before);
        in_child(use_parents_session);
        in_child(connect_anew);
        in_child(again);
        for (unsigned i = 0; i < FORKS; i++)
                in_child(both);
        session_ends_with_parent();
        exec_ends_it();
        await_settled(watcher, &d, fds, 0);
        ledger_read(watcher, &after);
        must(memcmp(&before, &after, sizeof(before)) == 0);
        ok(svmd_mem_unmap(s, SVMD_CPU, (uint64_t)at, SIZE));
        svmd_disconnect(s);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
