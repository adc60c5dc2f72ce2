#include "keeper/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/complain.h"
#include "base/connect.h"
#include "keeper/packet.h"

#define PATIENCE_NS (5 * 1000000000ull)

struct keeper {
        int socket;
        unsigned version;
        uint64_t room; /* descriptors that fit for certain: what the keeper said, less every put since */
        uint64_t *drops;
        size_t drops_count, drops_room;
        struct packet packet;
};

static uint64_t deadline(void) {
        return clock_ns(CLOCK_MONOTONIC) + PATIENCE_NS;
}

/* Until the socket is ready or `most_ms` are over. -ETIMEDOUT when the deadline is. */
static int wait_for(int socket, short events, int most_ms, uint64_t until) {
        struct pollfd p = { .fd = socket, .events = events };
        uint64_t now = clock_ns(CLOCK_MONOTONIC);
        int left;

        if (now >= until)
                return -ETIMEDOUT;
        left = (int)((until - now) / 1000000 + 1);
        if (poll(&p, 1, left < most_ms ? left : most_ms) < 0 && errno != EINTR)
                return -errno;
        return 0;
}

/* A full socket is waited for; so is the kernel when it carries too many descriptors of this user, which no poll tells.
 */
static int send_patiently(struct keeper *k, const struct keeper_message *m, const int *fds, unsigned count) {
        uint64_t until = deadline();
        int r;

        for (;;) {
                r = keeper_packet_send(k->socket, m, fds, count);
                if (r == -EAGAIN)
                        r = wait_for(k->socket, POLLOUT, INT_MAX, until);
                else if (r == -ETOOMANYREFS)
                        r = wait_for(-1, 0, 2, until);
                else
                        return r;
                if (r < 0)
                        return r;
        }
}

static int receive_patiently(struct keeper *k) {
        uint64_t until = deadline();
        int r;

        for (;;) {
                r = packet_receive(k->socket, &k->packet);
                if (r == PACKET_E_END)
                        return -EPIPE;
                if (r == PACKET_E_MALFORMED)
                        return -EPROTO;
                if (r != -EAGAIN)
                        return r;
                r = wait_for(k->socket, POLLIN, INT_MAX, until);
                if (r < 0)
                        return r;
        }
}

/* In the child: a standard output that outlives svmd. That of the journal does; a pipe or terminal may not. */
static int open_log(const char *runtime_dir) {
        char path[PATH_MAX];

        if (getenv("JOURNAL_STREAM"))
                return 0;
        if (snprintf(path, sizeof(path), "%s/keeper.log", runtime_dir) >= (int)sizeof(path))
                return -ENAMETOOLONG;
        return open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static void reset_signals(void) {
        sigset_t none;

        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        for (int i = 1; i < NSIG; i++)
                signal(i, SIG_DFL);
}

/* In the grandchild. Returns only when it failed. */
static int become_keeper(const char *program, const char *runtime_dir) {
        char *argv[] = { (char *)"svmd-keeper", (char *)"--runtime-dir", (char *)runtime_dir, NULL };
        int null, log = open_log(runtime_dir);

        if (log < 0)
                return errno;
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0 || dup2(null, STDIN_FILENO) < 0)
                return errno;
        if (log > 0 && (dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0))
                return errno;
        reset_signals();
        execv(program, argv);
        return errno;
}

/* In the child. The keeper is orphaned at once and has a session of its own, so that no end of svmd or of its terminal
 * reaches it. It gets no descriptor of svmd but the end of a pipe that closes when the program runs. */
static void fork_twice(const char *program, const char *runtime_dir, int report) {
        int failed = 0;
        pid_t pid;

        if (report != 3 && dup3(report, 3, O_CLOEXEC) < 0)
                _exit(1);
        close_range(4, UINT_MAX, 0);
        setsid();
        pid = fork();
        if (pid > 0)
                _exit(0);
        failed = pid < 0 ? errno : become_keeper(program, runtime_dir);
        _exit(write(3, &failed, sizeof(failed)) == sizeof(failed) ? 1 : 2);
}

/* 0: the program was started. A positive errno in `ret_failed` says why it was not. */
static int spawn(const char *program, const char *runtime_dir, int *ret_failed) {
        int report[2], failed = 0, status;
        ssize_t n;
        pid_t pid;

        if (pipe2(report, O_CLOEXEC) < 0)
                return -errno;
        pid = fork();
        if (pid == 0)
                fork_twice(program, runtime_dir, report[1]);
        close(report[1]);
        if (pid < 0) {
                close(report[0]);
                return -errno;
        }
        do
                n = read(report[0], &failed, sizeof(failed));
        while (n < 0 && errno == EINTR);
        close(report[0]);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        *ret_failed = n == sizeof(failed) ? failed : 0;
        return 0;
}

static int try_connect(const struct sockaddr_un *address) {
        int fd, r = connect_packets(address->sun_path, 0, &fd);

        return r < 0 ? r : fd;
}

static bool nobody_listens(int r) {
        return r == -ENOENT || r == -ECONNREFUSED;
}

/* Until somebody listens and has room in its queue. */
static int connect_patiently(const struct sockaddr_un *address) {
        uint64_t until = deadline();
        int fd;

        for (;;) {
                fd = try_connect(address);
                if (!nobody_listens(fd) && fd != -EAGAIN)
                        return fd;
                if (wait_for(-1, 0, 10, until) < 0)
                        return fd;
        }
}

static int start_keeper(const struct sockaddr_un *address, const char *runtime_dir, const char *program, char *why,
                        size_t why_size) {
        int failed = 0, r = spawn(program, runtime_dir, &failed);

        if (r < 0)
                return complain(why, why_size, r, "cannot start another process: %s", strerror(-r));
        if (failed)
                return complain(why, why_size, -failed,
                                "cannot start %s: %s; say where svmd-keeper is with --keeper-program", program,
                                strerror(failed));
        r = connect_patiently(address);
        if (r < 0)
                return complain(why, why_size, r,
                                "%s was started and does not listen on %s: %s; %s/keeper.log may say why", program,
                                address->sun_path, strerror(-r), runtime_dir);
        return r;
}

static int find_keeper(const char *runtime_dir, const char *program, char *why, size_t why_size) {
        struct sockaddr_un address;
        int r;

        r = packet_address(&address, runtime_dir);
        if (r < 0)
                return complain(why, why_size, r,
                                "the runtime directory %s has too long a name: with /" KEEPER_SOCKET_NAME
                                " it must be shorter than %zu bytes",
                                runtime_dir, sizeof(address.sun_path));
        r = try_connect(&address);
        if (r == -EAGAIN)
                r = connect_patiently(&address);
        if (nobody_listens(r))
                return start_keeper(&address, runtime_dir, program, why, why_size);
        if (r < 0)
                return complain(why, why_size, r, "cannot connect to %s: %s", address.sun_path, strerror(-r));
        return r;
}

static int greet(struct keeper *k, const char *runtime_dir, char *why, size_t why_size) {
        const struct keeper_head *h = &k->packet.message.head;
        int r = receive_patiently(k);

        if (r < 0)
                return complain(why, why_size, r,
                                "svmd-keeper in %s does not greet: %s; if it hangs, end it (which releases what it "
                                "holds) and start svmd again",
                                runtime_dir, strerror(-r));
        packet_close_fds(&k->packet);
        if (h->type == KEEPER_BUSY)
                return complain(why, why_size, -EBUSY,
                                "another svmd (process %llu) runs in %s: stop it, or give this one a --runtime-dir of "
                                "its own",
                                (unsigned long long)h->value, runtime_dir);
        if (h->type == KEEPER_REFUSED)
                return complain(why, why_size, -EACCES,
                                "svmd-keeper in %s belongs to another user: start svmd as that user or as root",
                                runtime_dir);
        if (h->type != KEEPER_HELLO || h->version < KEEPER_OLDEST)
                return complain(why, why_size, -EPROTO,
                                "svmd-keeper in %s speaks version %u and this svmd version %u: start the svmd that "
                                "started it, or end it, which releases what it holds",
                                runtime_dir, h->version, KEEPER_OLDEST);
        k->version = h->version;
        return 0;
}

static int connect_once(struct keeper *k, const char *runtime_dir, const char *program, char *why, size_t why_size) {
        int r;

        k->socket = r = find_keeper(runtime_dir, program, why, why_size);
        if (r >= 0)
                r = greet(k, runtime_dir, why, why_size);
        return r;
}

/* One that ends may still listen: who is queued there is hung up on, and asks again. */
static int connect_to_one_that_stays(struct keeper *k, const char *runtime_dir, const char *program, char *why,
                                     size_t why_size) {
        uint64_t until = deadline();
        int r;

        for (;;) {
                r = connect_once(k, runtime_dir, program, why, why_size);
                if ((r != -EPIPE && r != -ECONNRESET) || wait_for(-1, 0, 2, until) < 0)
                        return r;
                close(k->socket);
        }
}

int keeper_connect(struct keeper **ret, const char *runtime_dir, const char *program, char *why, size_t why_size) {
        struct keeper *k = alloc_zero(sizeof(*k));
        int r;

        if (!k)
                return complain(why, why_size, -ENOMEM, "no memory to connect to svmd-keeper");
        r = connect_to_one_that_stays(k, runtime_dir, program, why, why_size);
        if (r < 0) {
                keeper_disconnect(k);
                return r;
        }
        *ret = k;
        return 0;
}

void keeper_disconnect(struct keeper *k) {
        if (!k)
                return;
        if (k->socket >= 0)
                close(k->socket);
        alloc_free(k->drops);
        alloc_free(k);
}

int keeper_fd(const struct keeper *k) {
        return k->socket;
}

static int request(struct keeper *k, enum keeper_type type) {
        struct keeper_message m;

        packet_init(&m, type, 0);
        return send_patiently(k, &m, NULL, 0);
}

/* Hands over the items of one message. Closes those that nobody wants any more, and all that follow a loss. */
static int hand_over(struct keeper *k, keeper_fn fn, void *userdata, int r) {
        struct packet *p = &k->packet;

        if (r == 0 && (p->fds_lost || p->fds_count != p->message.head.count))
                r = -EMFILE;
        for (unsigned i = 0; i < p->fds_count; i++) {
                if (r == 0)
                        r = fn(userdata, p->message.key[i], p->fds[i]);
                else
                        close(p->fds[i]);
        }
        p->fds_count = 0;
        return r;
}

int keeper_list(struct keeper *k, keeper_fn fn, void *userdata) {
        uint64_t listed = 0;
        int r = 0, error = keeper_flush(k);

        if (error == 0)
                error = request(k, KEEPER_LIST);

        while (error == 0) {
                error = receive_patiently(k);
                if (error == 0 && k->packet.message.head.type == KEEPER_END)
                        return r == 0 && listed != k->packet.message.head.value ? -EPROTO : r;
                if (error == 0 && k->packet.message.head.type != KEEPER_ITEMS) {
                        packet_close_fds(&k->packet);
                        error = -EPROTO;
                }
                if (error == 0) {
                        listed += k->packet.message.head.count;
                        r = hand_over(k, fn, userdata, r);
                }
        }
        return error;
}

/* Every put may have been of a new key, so the room is asked for again before it could be used up. */
static int ask_room(struct keeper *k) {
        int r = request(k, KEEPER_ROOM);

        if (r == 0)
                r = receive_patiently(k);
        if (r < 0)
                return r;
        packet_close_fds(&k->packet);
        if (k->packet.message.head.type != KEEPER_ROOM)
                return -EPROTO;
        k->room = k->packet.message.head.value;
        return k->room ? 0 : -EMFILE;
}

/* What is put again is not to be dropped. */
static void forget_drop(struct keeper *k, uint64_t key) {
        size_t n = 0;

        for (size_t i = 0; i < k->drops_count; i++)
                if (k->drops[i] != key)
                        k->drops[n++] = k->drops[i];
        k->drops_count = n;
}

int keeper_put(struct keeper *k, uint64_t key, int fd) {
        struct keeper_message m;
        int r = k->room == 0 ? ask_room(k) : 0;

        if (r < 0)
                return r;
        forget_drop(k, key);
        packet_init(&m, KEEPER_PUT, 0);
        m.head.count = 1;
        m.key[0] = key;
        r = send_patiently(k, &m, &fd, 1);
        if (r == 0)
                k->room--;
        return r;
}

int keeper_drop(struct keeper *k, uint64_t key) {
        if (k->drops_count == k->drops_room) {
                size_t room = k->drops_room ? k->drops_room * 2 : KEEPER_DROPS;
                uint64_t *drops = alloc_grow(k->drops, k->drops_room * sizeof(*drops), room * sizeof(*drops));

                if (!drops)
                        return -ENOMEM;
                k->drops = drops;
                k->drops_room = room;
        }
        k->drops[k->drops_count++] = key;
        return 0;
}

static int send_drops(struct keeper *k, size_t from, size_t count) {
        struct keeper_message m;

        packet_init(&m, KEEPER_DROP, 0);
        m.head.count = (uint32_t)count;
        memcpy(m.key, k->drops + from, count * sizeof(*m.key));
        return send_patiently(k, &m, NULL, 0);
}

int keeper_flush(struct keeper *k) {
        size_t sent = 0;
        int r = 0;

        while (r == 0 && sent < k->drops_count) {
                size_t count = k->drops_count - sent < KEEPER_DROPS ? k->drops_count - sent : KEEPER_DROPS;

                r = send_drops(k, sent, count);
                if (r == 0)
                        sent += count;
        }
        if (sent)
                memmove(k->drops, k->drops + sent, (k->drops_count - sent) * sizeof(*k->drops));
        k->drops_count -= sent;
        return r;
}

int keeper_quit(struct keeper *k) {
        int r = request(k, KEEPER_QUIT);

        if (r == 0)
                r = receive_patiently(k);
        if (r == 0) {
                packet_close_fds(&k->packet);
                return -EPROTO;
        }
        return r == -EPIPE ? 0 : r;
}

int keeper_become(struct keeper *k, int program, char *why, size_t why_size) {
        const struct keeper_head *h = &k->packet.message.head;
        struct keeper_message m;
        int r;

        if (k->version < 2)
                return complain(why, why_size, -EOPNOTSUPP,
                                "the svmd-keeper that runs is too old to become another program; it goes on as it is, "
                                "and svmd can be upgraded without it");
        packet_init(&m, KEEPER_BECOME, 0);
        r = send_patiently(k, &m, &program, 1);
        if (r == 0)
                r = receive_patiently(k);
        if (r < 0)
                return complain(why, why_size, r, "svmd-keeper did not become another program: %s", strerror(-r));
        packet_close_fds(&k->packet);
        if (h->type == KEEPER_FAILED)
                return complain(why, why_size, h->value ? -(int)h->value : -EPROTO,
                                "svmd-keeper cannot become another program and stays what it is: %s",
                                strerror((int)h->value));
        if (h->type != KEEPER_BECAME)
                return complain(why, why_size, -EPROTO, "svmd-keeper answers what it was not asked");
        k->version = h->version;
        k->room = 0;
        return 0;
}
