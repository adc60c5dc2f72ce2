#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mover/userfault.h"

enum { WRITERS = 8, STAMP = 4096 };

static void die(const char *what) {
        fprintf(stderr, "client %d: %s: %s\n", (int)getpid(), what, strerror(errno));
        _exit(1);
}

uint64_t pattern(uint64_t address, uint64_t seed) {
        uint64_t x = (address + seed) * 0x9e3779b97f4a7c15ull;

        return x ^ x >> 29;
}

/* ---- the socket ---- */

static void send_packet(int socket, const struct client_message *m, int fd) {
        char control[CMSG_SPACE(sizeof(int))] = { 0 };
        struct iovec v = { (void *)(uintptr_t)m, sizeof(*m) };
        struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1 };

        if (fd >= 0) {
                struct cmsghdr *c;

                h.msg_control = control;
                h.msg_controllen = sizeof(control);
                c = CMSG_FIRSTHDR(&h);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(c), &fd, sizeof(int));
        }
        if (sendmsg(socket, &h, MSG_NOSIGNAL) != sizeof(*m))
                die("send");
}

static bool receive_packet(int socket, struct client_message *m, int *ret_fd) {
        char control[CMSG_SPACE(sizeof(int))];
        struct iovec v = { m, sizeof(*m) };
        struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
        struct cmsghdr *c;
        ssize_t n = recvmsg(socket, &h, MSG_CMSG_CLOEXEC);

        if (n != sizeof(*m))
                return false;
        *ret_fd = -1;
        c = CMSG_FIRSTHDR(&h);
        if (c && c->cmsg_type == SCM_RIGHTS)
                memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
        return true;
}

void client_send(struct client *c, const struct client_message *m, int fd) {
        send_packet(c->socket, m, fd);
}

void client_receive(struct client *c, struct client_message *m, int *ret_fd) {
        int fd;

        if (!receive_packet(c->socket, m, &fd))
                die("a client is gone");
        if (ret_fd)
                *ret_fd = fd;
        else if (fd >= 0)
                close(fd);
}

/* ---- writers: each has two words in every page, which hold how often it has written there ---- */

struct writer {
        pthread_t thread;
        volatile uint64_t *words;
        uint64_t pages, wrong;
        _Atomic uint64_t written;
        unsigned index;
};

static struct {
        struct writer w[WRITERS];
        unsigned count;
        _Atomic bool stop;
} writers;

/* What it finds is what it has left. */
static void *writer_main(void *userdata) {
        struct writer *w = userdata;
        uint64_t x = 88172645463325252ull + w->index * 7919u, *seen = calloc(w->pages, sizeof(*seen));
        unsigned slot = w->index * 2;

        if (!seen)
                die("calloc");
        for (uint64_t i = 0; i < w->pages; i++) /* what an earlier writer left */
                seen[i] = w->words[i * (STAMP / 8) + slot];
        while (!writers.stop) {
                volatile uint64_t *at;
                uint64_t page;

                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                page = x % w->pages;
                at = &w->words[page * (STAMP / 8) + slot];
                if (at[0] != seen[page] || at[1] != seen[page])
                        w->wrong++;
                at[0] = at[1] = ++seen[page];
                w->written++;
        }
        for (uint64_t i = 0; i < w->pages; i++)
                if (w->words[i * (STAMP / 8) + slot] != seen[i] || w->words[i * (STAMP / 8) + slot + 1] != seen[i])
                        w->wrong++;
        free(seen);
        return NULL;
}

static void writers_start(struct client_message *m) {
        writers.stop = false;
        writers.count = m->value & 0xff;
        for (unsigned i = 0; i < writers.count; i++) {
                struct writer *w = &writers.w[i];

                *w = (struct writer){ .words = (volatile uint64_t *)(uintptr_t)m->address,
                                      .pages = m->size / STAMP,
                                      .index = (unsigned)(m->value >> 8) + i };
                if (pthread_create(&w->thread, NULL, writer_main, w))
                        die("pthread_create");
        }
}

static uint64_t writers_written(void) {
        uint64_t sum = 0;

        for (unsigned i = 0; i < writers.count; i++)
                sum += writers.w[i].written;
        return sum;
}

static void writers_end(struct client_message *m) {
        m->value = m->address = 0;
        writers.stop = true;
        for (unsigned i = 0; i < writers.count; i++) {
                pthread_join(writers.w[i].thread, NULL);
                m->value += writers.w[i].wrong;
                m->address += writers.w[i].written;
        }
}

/* ---- what it is told ---- */

static struct {
        int file, uffd;
        uint64_t start;
} mapped = { .file = -1, .uffd = -1 };

static sigjmp_buf bus;

static void on_bus(int sig) {
        siglongjmp(bus, 1);
}

static void try_load(struct client_message *m) {
        struct sigaction a = { .sa_handler = on_bus, .sa_flags = SA_NODEFER }, before;
        uint64_t address = m->address;

        sigaction(SIGBUS, &a, &before);
        if (sigsetjmp(bus, 1) == 0) {
                *(volatile uint64_t *)(uintptr_t)address;
                m->value = 0;
        } else
                m->value = 1;
        sigaction(SIGBUS, &before, NULL);
}

static void map(struct client_message *m, int fd) {
        void *at = (void *)(uintptr_t)m->address, *p;
        int flags = (m->value ? MAP_PRIVATE : MAP_SHARED) | MAP_FIXED | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0);

        p = mmap(at, m->size, PROT_NONE, flags, fd, 0);
        if (p == MAP_FAILED || madvise(p, m->size, MADV_DONTFORK) < 0)
                m->error = errno;
        if (mapped.file >= 0)
                close(mapped.file);
        mapped.file = fd;
        mapped.start = m->address;
}

static uint64_t *word(uint64_t address) {
        return (uint64_t *)(uintptr_t)address;
}

static void fill(const struct client_message *m) {
        for (uint64_t a = m->address; a < m->address + m->size; a += 8)
                *word(a) = pattern(a, m->value);
}

static void check(struct client_message *m) {
        uint64_t wrong = 0;

        for (uint64_t a = m->address; a < m->address + m->size; a += 8)
                wrong += *(volatile uint64_t *)word(a) != (m->value ? pattern(a, m->value) : 0);
        m->value = wrong;
}

static int by_number(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return x < y ? -1 : x > y;
}

static uint64_t now(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void time_touches(struct client_message *m) {
        uint64_t n = m->size / m->value, *took = calloc(n, sizeof(*took)), stride = m->value;

        if (!took)
                die("calloc");
        for (uint64_t i = 0; i < n; i++) {
                uint64_t t = now();

                *(volatile uint64_t *)word(m->address + i * 1031 % n * stride);
                took[i] = now() - t;
        }
        qsort(took, n, sizeof(*took), by_number);
        m->value = took[n / 2];
        m->address = took[n - 1 - n / 100];
        free(took);
}

static int errno_of(int r) {
        return r < 0 ? errno : 0;
}

static void obey(struct client_message *m, int *fd) {
        void *at = (void *)(uintptr_t)m->address;

        switch (m->op) {
        case CLIENT_UFFD:
                if (mapped.uffd >= 0) /* or the end of what it is registered for waits for a reader */
                        close(mapped.uffd);
                mapped.uffd = *fd = userfault_new();
                m->error = *fd < 0 ? -*fd : 0;
                break;
        case CLIENT_MAP:
                map(m, *fd);
                *fd = -1;
                break;
        case CLIENT_OPEN: m->error = errno_of(mprotect(at, m->size, (int)m->value)); break;
        case CLIENT_FILL: fill(m); break;
        case CLIENT_CHECK: check(m); break;
        case CLIENT_LOAD: m->value = *(volatile uint64_t *)word(m->address); break;
        case CLIENT_STORE: *(volatile uint64_t *)word(m->address) = m->value; break;
        case CLIENT_UNMAP: m->error = errno_of(munmap(at, m->size)); break;
        case CLIENT_REMAP:
                m->error = mremap(at, m->size, m->size, MREMAP_MAYMOVE | MREMAP_FIXED, m->value) == MAP_FAILED;
                break;
        case CLIENT_ADVISE: m->error = errno_of(madvise(at, m->size, (int)m->value)); break;
        case CLIENT_PUNCH:
                m->error = errno_of(fallocate(mapped.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                              (off_t)(m->address - mapped.start), (off_t)m->size));
                break;
        case CLIENT_TRY: try_load(m); break;
        case CLIENT_WRITERS: writers_start(m); break;
        case CLIENT_WRITTEN: m->value = writers_written(); break;
        case CLIENT_QUIET: writers_end(m); break;
        case CLIENT_TIME: time_touches(m); break;
        case CLIENT_BLOCKING: m->error = errno_of(fcntl(mapped.uffd, F_SETFL, (int)m->value)); break;
        }
}

static void client_main(int socket) {
        struct client_message m;
        int fd;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (receive_packet(socket, &m, &fd)) {
                m.error = 0;
                obey(&m, &fd);
                send_packet(socket, &m, m.op == CLIENT_UFFD ? fd : -1);
        }
        _exit(0);
}

void client_new(struct client *c) {
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                die("socketpair");
        fflush(NULL);
        c->pid = fork();
        if (c->pid < 0)
                die("fork");
        if (c->pid == 0) {
                close(pair[0]);
                client_main(pair[1]);
        }
        close(pair[1]);
        c->socket = pair[0];
}

void client_kill(struct client *c) {
        if (c->pid <= 0)
                return;
        kill(c->pid, SIGKILL);
        waitpid(c->pid, NULL, 0);
        close(c->socket);
        c->pid = 0;
}
