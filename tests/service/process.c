#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

#define WAIT_MS 30000

enum task { USERFAULTFD, MAP, OPEN, UNMAP, LOAD, STORE, FILL, CHECK };

struct message {
        enum task task;
        int error;
        uint64_t address, size, value;
};

/* ---- the socket ---- */

static void give(int socket, const struct message *m, int fd) {
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
                abort();
}

static bool take(int socket, struct message *m, int *ret_fd) {
        char control[CMSG_SPACE(sizeof(int))];
        struct iovec v = { m, sizeof(*m) };
        struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
        struct cmsghdr *c;

        if (recvmsg(socket, &h, MSG_CMSG_CLOEXEC) != sizeof(*m))
                return false;
        c = CMSG_FIRSTHDR(&h);
        *ret_fd = -1;
        if (c && c->cmsg_type == SCM_RIGHTS)
                memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
        return true;
}

/* ---- the process ---- */

static uint64_t pattern(uint64_t address, uint64_t seed) {
        uint64_t x = (address + seed) * 0x9e3779b97f4a7c15ull;

        return seed ? x ^ x >> 29 : 0;
}

static volatile uint64_t *word(uint64_t address) {
        return (volatile uint64_t *)(uintptr_t)address;
}

static int map(const struct message *m, int fd) {
        int flags = (m->value ? MAP_PRIVATE : MAP_SHARED) | MAP_FIXED_NOREPLACE | MAP_NORESERVE;
        void *p = mmap((void *)(uintptr_t)m->address, m->size, PROT_NONE, flags, fd, 0);

        return p == MAP_FAILED || madvise(p, m->size, MADV_DONTFORK) < 0 ? errno : 0;
}

static void run(struct message *m, int *fd) {
        void *at = (void *)(uintptr_t)m->address;
        int given = *fd;

        *fd = -1;
        switch (m->task) {
        case USERFAULTFD:
                *fd = ioctl(given, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
                m->error = *fd < 0 ? errno : 0;
                break;
        case MAP: m->error = map(m, given); break;
        case OPEN: m->error = mprotect(at, m->size, PROT_READ | (m->value ? PROT_WRITE : 0)) ? errno : 0; break;
        case UNMAP: m->error = munmap(at, m->size) ? errno : 0; break;
        case LOAD: m->value = *word(m->address); break;
        case STORE: *word(m->address) = m->value; break;
        case FILL:
                for (uint64_t a = m->address; a < m->address + m->size; a += 8)
                        *word(a) = pattern(a, m->value);
                break;
        case CHECK: {
                uint64_t wrong = 0;

                for (uint64_t a = m->address; a < m->address + m->size; a += 8)
                        wrong += *word(a) != pattern(a, m->value);
                m->value = wrong;
                break;
        }
        }
        if (given >= 0)
                close(given);
}

static void serve(int socket) {
        struct message m;
        int fd;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (take(socket, &m, &fd)) {
                run(&m, &fd);
                give(socket, &m, fd);
                if (fd >= 0) /* svmd has it; libsvmd would keep one too */
                        (void)fcntl(fd, F_DUPFD, 100);
        }
        _exit(0);
}

/* ---- its parent ---- */

void process_start(struct process *p) {
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        p->pid = fork();
        assert_true(p->pid >= 0);
        if (p->pid == 0) {
                close(pair[0]);
                serve(pair[1]);
        }
        close(pair[1]);
        p->socket = pair[0];
}

void process_end(struct process *p) {
        kill(p->pid, SIGKILL);
        assert_int_equal(waitpid(p->pid, NULL, 0), p->pid);
        close(p->socket);
}

static bool await(const struct process *p, int ms) {
        struct pollfd fd = { .fd = p->socket, .events = POLLIN };
        int r;

        do
                r = poll(&fd, 1, ms);
        while (r < 0 && errno == EINTR);
        return r == 1;
}

static int tell(struct process *p, struct message *m, int fd) {
        int back;

        give(p->socket, m, fd);
        if (!await(p, WAIT_MS))
                fail_msg("process %d did not do it within %d ms", (int)p->pid, WAIT_MS);
        assert_true(take(p->socket, m, &back));
        return back;
}

int process_userfaultfd(struct process *p, int device) {
        struct message m = { .task = USERFAULTFD };
        int fd = tell(p, &m, device);

        assert_int_equal(m.error, 0);
        return fd;
}

int process_map(struct process *p, int memory, uint64_t address, uint64_t size, bool readonly) {
        struct message m = { .task = MAP, .address = address, .size = size, .value = readonly };

        tell(p, &m, memory);
        return m.error;
}

int process_open(struct process *p, uint64_t address, uint64_t size, bool write) {
        struct message m = { .task = OPEN, .address = address, .size = size, .value = write };

        tell(p, &m, -1);
        return m.error;
}

int process_unmap(struct process *p, uint64_t address, uint64_t size) {
        struct message m = { .task = UNMAP, .address = address, .size = size };

        tell(p, &m, -1);
        return m.error;
}

uint64_t process_load(struct process *p, uint64_t address) {
        struct message m = { .task = LOAD, .address = address };

        tell(p, &m, -1);
        return m.value;
}

void process_store(struct process *p, uint64_t address, uint64_t value) {
        struct message m = { .task = STORE, .address = address, .value = value };

        tell(p, &m, -1);
}

void process_fill(struct process *p, uint64_t address, uint64_t size, uint64_t seed) {
        struct message m = { .task = FILL, .address = address, .size = size, .value = seed };

        tell(p, &m, -1);
}

uint64_t process_check(struct process *p, uint64_t address, uint64_t size, uint64_t seed) {
        struct message m = { .task = CHECK, .address = address, .size = size, .value = seed };

        tell(p, &m, -1);
        return m.value;
}

void process_begin_load(struct process *p, uint64_t address) {
        struct message m = { .task = LOAD, .address = address };

        give(p->socket, &m, -1);
}

bool process_loaded(struct process *p, int ms, uint64_t *ret) {
        struct message m;
        int back;

        if (!await(p, ms))
                return false;
        assert_true(take(p->socket, &m, &back));
        *ret = m.value;
        return true;
}
