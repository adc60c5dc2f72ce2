#include "harness.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon.h"

enum { CEILING_S = 30, TEST_CEILING_S = 280 };

static uint64_t seed, rng;
static pid_t main_pid;
static const char *who = "test";
static char actor_name[32];
static struct actor *actors[64];

/* ---- checks ---- */

void fail_at(const char *file, int line, const char *text) {
        const char *base = strrchr(file, '/');

        fprintf(stderr, "%s:%d (%s, SVMD_SEED=%llu): %s\n", base ? base + 1 : file, line, who, (unsigned long long)seed,
                text);
        if (getpid() != main_pid)
                _exit(99);
        exit(1);
}

void want_at(const char *file, int line, const char *call, int code, int got) {
        char text[1024];

        if (code == got)
                return;
        snprintf(text, sizeof(text), "%s: expected %s, got %s%s%s", call, svmd_status_name(code), svmd_status_name(got),
                 got ? ": " : "", got ? svmd_error() : "");
        fail_at(file, line, text);
}

static void end_all(void) {
        if (getpid() != main_pid)
                return;
        for (size_t i = 0; i < sizeof(actors) / sizeof(actors[0]); i++)
                if (actors[i] && actors[i]->pid > 0)
                        kill(actors[i]->pid, SIGKILL);
        daemon_abandon_all();
}

static void on_alarm(int signum) {
        static const char text[] = "the test did not end within its ceiling\n";

        (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
        end_all();
        _exit(1);
}

static uint32_t slow(void) {
        const char *given = getenv("SVMD_SLOW");
        unsigned long n = given ? strtoul(given, NULL, 0) : 1;

        return n ? (uint32_t)n : 1;
}

uint32_t ceiling_ms(void) {
        return CEILING_S * 1000 * slow();
}

void harness_begin(const char *test) {
        const char *given = getenv("SVMD_SEED");

        seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 1000 + (uint64_t)getpid() % 1000;
        main_pid = getpid();
        random_set(seed);
        setvbuf(stdout, NULL, _IOLBF, 0);
        printf("%s: SVMD_SEED=%llu\n", test, (unsigned long long)seed);
        atexit(end_all);
        signal(SIGPIPE, SIG_IGN);
        signal(SIGALRM, on_alarm);
        alarm(TEST_CEILING_S * slow());
        unsetenv("SVMD_SOCKET");
        unsetenv("SVMD_PARTITION");
}

bool harness_one_user(void) {
        const char *told = getenv("SVMD_TEST_NOT_ROOT");

        if (geteuid() == 0)
                return false;
        printf("not run as root: separation of users does not apply in this run\n");
        if (!told || strcmp(told, "1") != 0) {
                printf("run it as root, or say with SVMD_TEST_NOT_ROOT=1 that this is known\n");
                exit(1);
        }
        return true;
}

/* ---- time and chance ---- */

uint64_t now_ms(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void random_set(uint64_t s) {
        rng = s * 0x9e3779b97f4a7c15ull | 1;
        random_below(1);
        random_below(1);
}

uint64_t random_below(uint64_t bound) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (rng >> 11) % bound;
}

uint64_t random_seed_for(unsigned actor) {
        return seed * 1000003 + actor;
}

bool wait_end(pid_t pid, int *ret_status) {
        uint64_t until = now_ms() + CEILING_MS;

        while (now_ms() < until) {
                pid_t r = waitpid(pid, ret_status, WNOHANG);

                if (r == pid)
                        return true;
                if (r < 0)
                        return false;
                usleep(500);
        }
        return false;
}

/* ---- actors ---- */

struct order {
        actor_fn fn;
        struct message m;
};

static void send_with_fds(int socket, const void *bytes, size_t size, const int *fds, unsigned count) {
        union {
                char space[CMSG_SPACE(sizeof(int) * ACTOR_FDS)];
                struct cmsghdr align;
        } control = { 0 };
        struct iovec iov = { (void *)bytes, size };
        struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (count) {
                struct cmsghdr *c;

                h.msg_control = control.space;
                h.msg_controllen = CMSG_SPACE(sizeof(int) * count);
                c = CMSG_FIRSTHDR(&h);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * count);
                memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
        }
        must(sendmsg(socket, &h, MSG_NOSIGNAL) == (ssize_t)size);
}

static ssize_t receive_with_fds(int socket, void *bytes, size_t size, int *fds) {
        union {
                char space[CMSG_SPACE(sizeof(int) * ACTOR_FDS)];
                struct cmsghdr align;
        } control = { 0 };
        struct iovec iov = { bytes, size };
        struct msghdr h = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space)
        };
        ssize_t n = recvmsg(socket, &h, MSG_CMSG_CLOEXEC);

        for (struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&h) : NULL; c; c = CMSG_NXTHDR(&h, c))
                if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
                        memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
        return n;
}

static void serve(int socket) {
        int fds[ACTOR_FDS];
        struct order o;

        while (receive_with_fds(socket, &o, sizeof(o), fds) == (ssize_t)sizeof(o)) {
                memcpy(o.m.fd, fds, sizeof(fds));
                o.fn(&o.m);
                send_with_fds(socket, &o, sizeof(o), o.m.fd, o.m.fds_count);
                for (unsigned i = 0; i < o.m.fds_count; i++)
                        close(o.m.fd[i]);
        }
        _exit(0);
}

static void become(uint32_t uid, uint32_t gid, uint32_t gid_more) {
        gid_t more = gid_more;

        if (geteuid() != 0)
                return;
        must(setgroups(gid_more ? 1 : 0, &more) == 0);
        must(setresgid(gid, gid, gid) == 0);
        must(setresuid(uid, uid, uid) == 0);
        /* A change of user takes the death signal away and makes /proc/self root's. */
        must(prctl(PR_SET_DUMPABLE, 1) == 0);
}

static void actor_remember(struct actor *a) {
        for (size_t i = 0; i < sizeof(actors) / sizeof(actors[0]); i++) {
                if (!actors[i]) {
                        actors[i] = a;
                        return;
                }
        }
        must(false);
}

/* Its memory may be something else soon, and its number somebody else's. */
static void actor_forget(struct actor *a) {
        close(a->socket);
        a->pid = 0;
        for (size_t i = 0; i < sizeof(actors) / sizeof(actors[0]); i++)
                if (actors[i] == a)
                        actors[i] = NULL;
}

void actor_new(struct actor *a, uint32_t uid, uint32_t gid, uint32_t gid_more) {
        static unsigned last;
        int pair[2];

        must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
        a->number = ++last;
        fflush(NULL);
        a->pid = fork();
        must(a->pid >= 0);
        if (a->pid == 0) {
                close(pair[0]);
                snprintf(actor_name, sizeof(actor_name), "actor %u, uid %u", a->number, uid);
                who = actor_name;
                alarm(0);
                become(uid, gid, gid_more);
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                random_set(random_seed_for(a->number));
                serve(pair[1]);
        }
        close(pair[1]);
        a->socket = pair[0];
        actor_remember(a);
}

void actor_begin(struct actor *a, actor_fn fn, const struct message *m) {
        struct order o = { .fn = fn };

        if (m)
                o.m = *m;
        send_with_fds(a->socket, &o, sizeof(o), o.m.fd, o.m.fds_count);
}

void actor_finish(struct actor *a, struct message *m) {
        struct pollfd p = { .fd = a->socket, .events = POLLIN };
        struct order o;
        int fds[ACTOR_FDS] = { -1, -1, -1, -1 };

        if (poll(&p, 1, 4 * CEILING_MS) <= 0)
                fail_here("an actor does not answer");
        if (receive_with_fds(a->socket, &o, sizeof(o), fds) != (ssize_t)sizeof(o))
                fail_here("an actor ended; see above why");
        memcpy(o.m.fd, fds, sizeof(fds));
        if (m)
                *m = o.m;
}

void actor_call(struct actor *a, actor_fn fn, struct message *m) {
        actor_begin(a, fn, m);
        actor_finish(a, m);
}

void actor_kill(struct actor *a) {
        int status;

        kill(a->pid, SIGKILL);
        must(wait_end(a->pid, &status));
        must(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* it did not fail before */
        actor_forget(a);
}

void actor_abandon(struct actor *a) {
        int status;

        kill(a->pid, SIGKILL);
        must(wait_end(a->pid, &status));
        actor_forget(a);
}

void actor_ended(struct actor *a) {
        actor_forget(a);
}

void actor_end(struct actor *a) {
        int status;

        shutdown(a->socket, SHUT_RDWR); /* actors that came later have this end of the pair too */
        must(wait_end(a->pid, &status));
        must(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        actor_forget(a);
}

void message_want_at(const char *file, int line, int code, const struct message *m) {
        char text[1024];

        if (code == m->r)
                return;
        snprintf(text, sizeof(text), "an actor was to get %s and got %s: %s", svmd_status_name(code),
                 svmd_status_name(m->r), m->error);
        fail_at(file, line, text);
}

void message_take(struct message *m, int r) {
        m->r = r;
        snprintf(m->error, sizeof(m->error), "%s", r ? svmd_error() : "");
}

/* ---- sessions ---- */

int try_connect(svmd_session **s, const char *socket, const char *partition, unsigned flags) {
        struct svmd_connect_options o = { .size = sizeof(o), .socket = socket, .partition = partition, .flags = flags };

        return svmd_connect(s, &o);
}

void connect_to(svmd_session **s, const char *socket, const char *partition) {
        ok(try_connect(s, socket, partition, 0));
}

void connect_watcher(svmd_session **s, const char *socket) {
        ok(try_connect(s, socket, NULL, SVMD_CONNECT_NO_ATTACH));
}

/* ---- the ledger ---- */

static int add_node(const struct svmd_node_row *row, void *userdata) {
        struct ledger *l = userdata;

        if (row->kind == SVMD_NODE_HOST) {
                l->host += row->used;
                return 0;
        }
        must(l->soft_count < sizeof(l->soft) / sizeof(l->soft[0]));
        l->soft[l->soft_count++] = row->used;
        return 0;
}

void ledger_read(svmd_session *watcher, struct ledger *ret) {
        struct ledger l = { 0 };

        ok(svmd_query_nodes(watcher, add_node, &l));
        *ret = l;
}

struct truth {
        const struct daemon *d;
        uint64_t host;
        bool pools;
};

static int check_node(const struct svmd_node_row *row, void *userdata) {
        struct truth *t = userdata;
        char name[32];

        if (row->kind == SVMD_NODE_HOST) {
                t->host += row->used;
                return 0;
        }
        snprintf(name, sizeof(name), "svmd-pool-%u ", row->id);
        t->pools = t->pools && process_blocks(t->d->pid, name) == row->used;
        return 0;
}

/* Blocks are read before and after, so that the two sides of a comparison are of one moment when nothing moves. */
bool ledger_is_true(svmd_session *watcher, const struct daemon *d) {
        struct truth t = { .d = d, .pools = true };
        uint64_t blocks;

        ok(svmd_query_nodes(watcher, check_node, &t));
        blocks = process_blocks(d->pid, "svmd-arena") + process_blocks(d->pid, "svmd-memory");
        return t.pools && blocks == t.host;
}

static void say_unsettled(svmd_session *watcher, const struct daemon *d) {
        struct ledger l;

        ledger_read(watcher, &l);
        fprintf(stderr, "svmd has %u descriptors, its keeper %u; host: ledger %llu, files %llu + %llu\n",
                process_fds(d->pid), process_fds(d->keeper), (unsigned long long)l.host,
                (unsigned long long)process_blocks(d->pid, "svmd-arena"),
                (unsigned long long)process_blocks(d->pid, "svmd-memory"));
        for (unsigned i = 0; i < l.soft_count; i++) {
                char name[32];

                snprintf(name, sizeof(name), "svmd-pool-%u ", i + 1);
                fprintf(stderr, "soft %u: ledger %llu, pool %llu\n", i, (unsigned long long)l.soft[i],
                        (unsigned long long)process_blocks(d->pid, name));
        }
        process_fds_say(d->pid);
}

void await_settled(svmd_session *watcher, const struct daemon *d, unsigned svmd_fds, unsigned keeper_fds) {
        uint64_t until = now_ms() + CEILING_MS;

        while ((svmd_fds && process_fds(d->pid) != svmd_fds) || (keeper_fds && process_fds(d->keeper) != keeper_fds) ||
               !ledger_is_true(watcher, d)) {
                if (now_ms() >= until) {
                        fprintf(stderr, "wanted: svmd %u descriptors, keeper %u\n", svmd_fds, keeper_fds);
                        say_unsettled(watcher, d);
                        fail_here("svmd's ledger, or its descriptors, do not become what they must be");
                }
                usleep(1000);
        }
}

void status_of(svmd_session *watcher, struct svmd_status *st) {
        st->size = sizeof(*st);
        ok(svmd_query_status(watcher, st));
}

struct named {
        const char *name;
        svmd_node id;
};

static int match_node(const struct svmd_node_row *row, void *userdata) {
        struct named *n = userdata;

        if (strcmp(row->name, n->name) == 0)
                n->id = row->id;
        return 0;
}

svmd_node node_named(svmd_session *s, const char *name) {
        struct named n = { name, UINT32_MAX };

        ok(svmd_query_nodes(s, match_node, &n));
        must(n.id != UINT32_MAX);
        return n.id;
}
