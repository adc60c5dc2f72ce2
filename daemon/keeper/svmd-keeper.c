/*
 * svmd-keeper holds file descriptors while svmd does not run, and nothing else: it reads none of them and knows no
 * meaning of its keys. So there is little in it that can fail, and little reason to restart it.
 *
 * One svmd is connected at a time. Everything it had sent counts, also after it was killed: what is queued on its
 * connection is taken in before the end of the connection is believed, and before the next svmd is let in.
 *
 *      nobody --connection, right user--> connected --LIST--> listing --END--> connected
 *        ^---------- end of connection -------'                  |
 *        ^---------- end of connection --------------------------'
 *
 * While it lists it reads no requests, so what it lists does not change under it. It never waits for its peer.
 *
 * It becomes another program by exec: everything it holds stays open, and a table in memory says what each is.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "confine/confine.h"
#include "keeper/kept.h"
#include "keeper/packet.h"
#include "keeper/table.h"

/* Descriptors that are not for keeping: a batch that replaces what is there, and the keeper's own. */
#define OWN_FDS (KEEPER_BATCH + 32)
/* How it ends where another one runs; the unit of systemd does not try again then. */
#define EXIT_ANOTHER 3
/* The first descriptor of a service manager's. */
#define GIVEN_FD 3
enum { LOCK_TRIES = 100, LOCK_REST_MS = 10 };
/* More messages than a socket can queue. */
#define DRAIN_MAX 8192

struct state {
        struct table t;
        const char *dir;
        bool listing, crowded;      /* crowded: the kernel carries as many descriptors as it will */
        uint64_t listed, list_last; /* how many, and the key of the last one */
        uint64_t most;              /* descriptors that may be kept */
        struct packet packet;
        bool quit;
        bool given; /* the listener is a service manager's */
};

static void __attribute__((format(printf, 1, 2))) say(const char *format, ...) {
        va_list ap;

        fputs("svmd-keeper: ", stderr);
        va_start(ap, format);
        vfprintf(stderr, format, ap);
        va_end(ap);
        fputc('\n', stderr);
}

static void hang_up(struct state *s) {
        close(s->t.client);
        s->t.client = -1;
        s->listing = false;
        s->crowded = false;
}

/* One that is gone or does not read gets none: the end of its connection comes behind what it had sent. */
static void answer(struct state *s, enum keeper_type type, uint64_t value) {
        struct keeper_message m;

        packet_init(&m, type, value);
        keeper_packet_send(s->t.client, &m, NULL, 0);
}

static bool take_put(struct state *s, struct packet *p) {
        unsigned count = p->message.head.count, i;

        if (count == 0 || count > KEEPER_BATCH || (p->fds_count != count && !p->fds_lost)) {
                packet_close_fds(p);
                return false;
        }
        for (i = 0; i < count && i < p->fds_count; i++) {
                if (kept_put(&s->t.kept, p->message.key[i], p->fds[i]) < 0) {
                        say("out of memory: the descriptor of key %llx is lost", (unsigned long long)p->message.key[i]);
                        close(p->fds[i]);
                }
        }
        if (i < count)
                say("%u descriptors are lost: this process or the machine can have no more open files "
                    "(RLIMIT_NOFILE, fs.file-max)",
                    count - i);
        for (; i < p->fds_count; i++)
                close(p->fds[i]);
        p->fds_count = 0;
        return true;
}

/* Returns only when it failed; then everything is as it was. */
static int exec_with_table(struct state *s, int program) {
        char number[16];
        char *argv[] = {
                (char *)"svmd-keeper", (char *)"--runtime-dir", (char *)s->dir, (char *)"--table", number, NULL
        };
        int r, table = table_write(&s->t);

        if (table < 0)
                return table;
        snprintf(number, sizeof(number), "%d", table);
        r = table_pass_on(&s->t, true);
        if (r == 0) {
                fexecve(program, argv, environ);
                r = -errno;
        }
        table_pass_on(&s->t, false);
        close(table);
        return r;
}

static bool become(struct state *s, struct packet *p) {
        int r;

        if (p->fds_count != 1 || p->message.head.count) {
                packet_close_fds(p);
                return false;
        }
        r = exec_with_table(s, p->fds[0]);
        packet_close_fds(p);
        say("cannot become another program: %s", strerror(-r));
        answer(s, KEEPER_FAILED, (uint64_t)-r);
        return true;
}

static void take_drop(struct state *s, const struct keeper_message *m) {
        for (unsigned i = 0; i < m->head.count; i++)
                kept_drop(&s->t.kept, m->key[i]);
}

/* False: no message of this protocol. */
static bool take(struct state *s, struct packet *p) {
        const struct keeper_message *m = &p->message;

        if (m->head.type == KEEPER_PUT)
                return take_put(s, p);
        if (m->head.type == KEEPER_BECOME && !p->fds_lost)
                return become(s, p);
        if (p->fds_count || p->fds_lost || (m->head.count && m->head.type != KEEPER_DROP)) {
                packet_close_fds(p);
                return false;
        }
        switch (m->head.type) {
        case KEEPER_DROP: take_drop(s, m); return true;
        case KEEPER_ROOM:
                answer(s, KEEPER_ROOM, s->most > s->t.kept.count ? s->most - s->t.kept.count : 0);
                return true;
        case KEEPER_LIST:
                s->listing = true;
                s->listed = 0;
                return true;
        case KEEPER_QUIT: s->quit = true; return true;
        default: return false;
        }
}

/* Takes in what is queued, and the end of the connection behind it. */
static void drain(struct state *s) {
        for (unsigned n = 0; n < DRAIN_MAX && s->t.client >= 0 && !s->listing && !s->quit; n++) {
                int r = packet_receive(s->t.client, &s->packet);

                if (r == -EAGAIN)
                        return;
                if (r == 0 && take(s, &s->packet))
                        continue;
                if (r != PACKET_E_END)
                        say("svmd (process %d) sent what is no message of version %d; its connection ends, everything "
                            "stays kept",
                            (int)s->t.client_pid, KEEPER_VERSION);
                hang_up(s);
        }
}

static struct kept_item *next_to_list(const struct state *s) {
        if (s->listed == 0)
                return kept_from(&s->t.kept, 0);
        return s->list_last == UINT64_MAX ? NULL : kept_from(&s->t.kept, s->list_last + 1);
}

/* The next batch, or the end. */
static int send_items(struct state *s) {
        struct keeper_message m;
        struct kept_item *it = next_to_list(s);
        int fds[KEEPER_BATCH], r;

        packet_init(&m, it ? KEEPER_ITEMS : KEEPER_END, it ? 0 : s->listed);
        while (it && m.head.count < KEEPER_BATCH) {
                fds[m.head.count] = it->fd;
                m.key[m.head.count++] = it->key;
                it = kept_next(it);
        }
        r = keeper_packet_send(s->t.client, &m, fds, m.head.count);
        if (r < 0)
                return r;
        if (m.head.count)
                s->list_last = m.key[m.head.count - 1];
        s->listed += m.head.count;
        s->listing = m.head.type == KEEPER_ITEMS;
        return 0;
}

static void list(struct state *s) {
        s->crowded = false;
        while (s->listing) {
                int r = send_items(s);

                if (r == -ETOOMANYREFS)
                        s->crowded = true;
                if (r == -EAGAIN || r == -ETOOMANYREFS)
                        return;
                if (r < 0)
                        s->listing = false; /* it is gone; drain() meets the end of the connection */
        }
}

static void serve(struct state *s) {
        if (s->listing)
                list(s);
        drain(s);
}

static void turn_away(int fd, enum keeper_type type, uint64_t value) {
        struct keeper_message m;

        packet_init(&m, type, value);
        keeper_packet_send(fd, &m, NULL, 0);
        close(fd);
}

static void let_in(struct state *s) {
        struct ucred peer = { .uid = (uid_t)-1 };
        socklen_t size = sizeof(peer);
        int fd = accept4(s->t.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0) {
                if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
                        poll(NULL, 0, 100); /* the machine has no descriptor left */
                return;
        }
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || (peer.uid != geteuid() && peer.uid != 0)) {
                say("refused user %u: only user %u and root may connect", peer.uid, geteuid());
                turn_away(fd, KEEPER_REFUSED, 0);
                return;
        }
        if (s->t.client >= 0)
                serve(s);
        if (s->quit || s->t.client >= 0) {
                turn_away(fd, KEEPER_BUSY, (uint64_t)s->t.client_pid);
                return;
        }
        s->t.client = fd;
        s->t.client_pid = peer.pid;
        answer(s, KEEPER_HELLO, (uint64_t)getpid());
}

static void run(struct state *s) {
        while (!s->quit) {
                struct pollfd p[2] = {
                        { .fd = s->t.listener, .events = POLLIN },
                        { .fd = s->crowded ? -1 : s->t.client, .events = s->listing ? POLLOUT : POLLIN },
                };

                if (poll(p, 2, s->crowded ? 10 : -1) < 0 && errno != EINTR) {
                        poll(NULL, 0, 100); /* out of kernel memory: what is kept stays kept */
                        continue;
                }
                if (s->t.client >= 0 && (s->crowded || p[1].revents))
                        serve(s);
                if (p[0].revents && !s->quit)
                        let_in(s);
        }
}

/* The kernel lets go of the lock of one that was killed only after the sockets that it held, by whose end this one may
 * have been started. */
static int lock_patiently(int fd) {
        for (unsigned tries = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; tries++) {
                if (tries == LOCK_TRIES)
                        return -EBUSY;
                poll(NULL, 0, LOCK_REST_MS);
        }
        return 0;
}

/* One keeper a directory. */
static int lock_directory(const char *dir) {
        char path[PATH_MAX];
        int fd;

        if (snprintf(path, sizeof(path), "%s/keeper.lock", dir) >= (int)sizeof(path))
                return -ENAMETOOLONG;
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        if (lock_patiently(fd) < 0) {
                close(fd);
                return -EBUSY;
        }
        return fd;
}

static int listen_in(const char *dir, struct sockaddr_un *address) {
        int fd, r = packet_address(address, dir);

        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        unlink(address->sun_path);
        umask(0177);
        if (bind(fd, (struct sockaddr *)address, sizeof(*address)) < 0 || listen(fd, 64) < 0) {
                r = -errno;
                close(fd);
                return r;
        }
        return fd;
}

/* The socket that a service manager listens at in this process's place, and starts it for: then nobody who connects has
 * to start one. -1: there is none. Its file is the manager's. Another program in this process finds the same. */
static int given_listener(void) {
        const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
        int type = 0, listens = 0, fd = GIVEN_FD;
        socklen_t size = sizeof(type);

        if (!pid || !count || atoi(pid) != getpid() || atoi(count) != 1)
                return -1;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET ||
            getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 || !listens ||
            fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
                say("descriptor %d of the service manager is no socket that svmd can connect to, and is not used", fd);
                return -1;
        }
        return fd;
}

static uint64_t raise_limit(void) {
        struct rlimit l;

        if (getrlimit(RLIMIT_NOFILE, &l) < 0)
                return 0;
        l.rlim_cur = l.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &l) < 0)
                getrlimit(RLIMIT_NOFILE, &l);
        return l.rlim_cur > OWN_FDS ? l.rlim_cur - OWN_FDS : 0;
}

/* What it holds is worth more than itself: the kernel should take others first, where this process may ask for that;
 * and nobody should read its memory. */
static void protect(void) {
        int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

        if (fd >= 0) {
                (void)!write(fd, "-1000", 5);
                close(fd);
        }
        prctl(PR_SET_DUMPABLE, 0);
        prctl(PR_SET_NAME, "svmd-keeper");
        signal(SIGPIPE, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
}

/* With the sockets made, what is left to do is little. Without the filter it is the same keeper. */
static void confine(void) {
        int r = confine_keeper();

        if (r < 0 && r != -EOPNOTSUPP)
                say("goes on without a filter of system calls: %s", strerror(-r));
}

static int usage(FILE *out) {
        fputs("svmd-keeper [--runtime-dir DIR]\n"
              "Holds file descriptors across restarts of svmd, which starts it. SIGTERM ends it and releases them.\n"
              "  --runtime-dir DIR  where keeper.sock is made (/run/svmd)\n"
              "  --check-takeover   say from which others this program can go on\n"
              "  --help             print this\n"
              "  --version          print the version\n",
              out);
        return out == stdout ? 0 : 2;
}

/* For the svmd that is to have this program take over: which tables it reads, and what it speaks. */
static int check_takeover(void) {
        printf("svmd-keeper %s\ntable %d %d\nprotocol %d\ngood\n", SVMD_VERSION, TABLE_OLDEST, TABLE_VERSION,
               KEEPER_VERSION);
        return 0;
}

struct arguments {
        const char *dir, *table;
};

/* -1: go on; else end with that. */
static int read_arguments(int argc, char **argv, struct arguments *a) {
        static const struct option options[] = {
                { "runtime-dir", required_argument, NULL, 'r' }, { "table", required_argument, NULL, 't' },
                { "check-takeover", no_argument, NULL, 'c' },    { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },           { 0 }
        };

        for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
                switch (c) {
                case 'r': a->dir = optarg; break;
                case 't': a->table = optarg; break;
                case 'c': return check_takeover();
                case 'h': return usage(stdout);
                case 'v': printf("svmd-keeper %s\n", SVMD_VERSION); return 0;
                default: return usage(stderr);
                }
        }
        return optind < argc ? usage(stderr) : -1;
}

/* 0, or how to end. */
static int begin(struct state *s) {
        struct sockaddr_un address;

        s->t.lock = lock_directory(s->dir);
        if (s->t.lock < 0) {
                say("%s: %s", s->dir,
                    s->t.lock == -EBUSY ? "a svmd-keeper runs here already; svmd connects to it by itself"
                                        : strerror(-s->t.lock));
                return s->t.lock == -EBUSY ? EXIT_ANOTHER : 1;
        }
        s->given = given_listener() >= 0;
        s->t.listener = s->given ? GIVEN_FD : listen_in(s->dir, &address);
        if (s->t.listener >= 0)
                return 0;
        say("cannot listen on %s/" KEEPER_SOCKET_NAME ": %s", s->dir, strerror(-s->t.listener));
        return 1;
}

/* Where another program was before, in this same process. 0, or how to end. */
static int go_on(struct state *s, const char *table) {
        int r = table_read(&s->t, atoi(table));

        s->given = s->t.listener == GIVEN_FD && given_listener() >= 0;

        if (r < 0) {
                say("what the program before left cannot be read, and is lost: %s", strerror(-r));
                return 1;
        }
        if (s->t.client >= 0)
                answer(s, KEEPER_BECAME, (uint64_t)getpid());
        return 0;
}

static void finish(struct state *s) {
        struct sockaddr_un address;

        /* The next keeper may start while this one is still closing what it held. */
        if (!s->given && packet_address(&address, s->dir) == 0)
                unlink(address.sun_path);
        close(s->t.listener);
        close(s->t.lock);
        kept_drop_all(&s->t.kept);
}

int main(int argc, char **argv) {
        static struct state s = { .t.client = -1 };
        struct arguments a = { .dir = "/run/svmd" };
        int r = read_arguments(argc, argv, &a);

        if (r >= 0)
                return r;
        s.dir = a.dir;
        s.most = raise_limit();
        protect();
        r = a.table ? go_on(&s, a.table) : begin(&s);
        if (r)
                return r;
        confine();
        run(&s);
        finish(&s);
        return 0;
}
