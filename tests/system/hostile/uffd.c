#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile/families.h"
#include "hostile/raw.h"
#include "svmd.h"

/* The userfaultfd that a session gives: used before, unregistered, closed, somebody else's, never served. */

static int device(struct raw *r) {
        must(raw_op(r, UffdDevice, UFFD_DEVICE, uffd_device, NULL, (void)b) == 0);
        must(r->passed >= 0);
        return r->passed;
}

static int uffd_new(struct raw *r, bool used) {
        struct uffdio_api api = { .api = UFFD_API };
        int from = device(r), fd = ioctl(from, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);

        must(fd >= 0);
        close(from);
        must(!used || ioctl(fd, UFFDIO_API, &api) == 0);
        return fd;
}

static unsigned give(struct raw *r, int fd) {
        struct fdlist fds;

        fdlist_init(&fds);
        must(fdlist_add(&fds, fd) == 0);
        return raw_op(r, UffdGive, UFFD_GIVE, uffd_give, &fds, (void)b);
}

static void used_before(struct message *m) {
        struct raw r;
        int fd;

        raw_attach(&r, target.socket, HOSTILE_PARTITION);
        fd = uffd_new(&r, true);
        must(give(&r, fd) == SVMD_E_FD_KIND);
        close(fd);
        fd = uffd_new(&r, false);
        must(give(&r, fd) == 0);
        must(give(&r, fd) == SVMD_E_TAKEN);
        raw_close(&r);
}

/* The range is there, svmd knows it, and nothing is registered or mapped: orders and joins about it. */
static void unregistered(struct message *m) {
        uint64_t reservation, address;
        struct raw r;

        raw_attach(&r, target.socket, HOSTILE_PARTITION);
        must(give(&r, uffd_new(&r, false)) == 0);
        must(raw_op(&r, Reserve, RESERVE, reserve, NULL, b.size = 1 << 20; b.kind = SVMD__V1__RESERVATION_KIND__SHARED;
                    b.granule = 65536) == 0);
        reservation = r.object;
        address = r.address;
        raw_op(&r, Join, JOIN, join, NULL, b.reservation = reservation); /* whatever the answer is */
        raw_op(&r, Migrate, MIGRATE, migrate, NULL, b.address = address; b.size = 1 << 20; b.node = target.gpu);
        raw_op(&r, Revoke, REVOKE, revoke, NULL, b.address = address);
        raw_close(&r);
}

/* libsvmd's own is taken away under it: every descriptor of that kind that the process has. */
static void closed(struct message *m) {
        svmd_session *s = hostile_session(NULL);
        volatile char *p = hostile_range(s, 1 << 20, NULL, 0);

        for (int fd = 3; fd < 256; fd++) {
                char path[64], to[64];
                ssize_t n;

                snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
                n = readlink(path, to, sizeof(to) - 1);
                to[n > 0 ? n : 0] = 0;
                if (strstr(to, "userfaultfd"))
                        close(fd);
        }
        for (unsigned i = 0; i < 16; i++) {
                svmd_migrate(s, NULL, (const void *)p, 65536, target.gpu);
                p[i * 4096] = 1;
        }
}

/* Memory whose faults nobody serves, where svmd is asked to read what a request says: it enters no client's memory. */
static void *touch(void *p) {
        *(volatile char *)p = 1;
        return NULL;
}

static void never_answered(struct message *m) {
        struct raw r;
        int fd;
        void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        struct uffdio_register reg = { .range = { (uint64_t)p, 1 << 20 }, .mode = UFFDIO_REGISTER_MODE_MISSING };
        pthread_t t;

        raw_attach(&r, target.socket, HOSTILE_PARTITION);
        fd = uffd_new(&r, true);
        must(p != MAP_FAILED && ioctl(fd, UFFDIO_REGISTER, &reg) == 0);
        must(pthread_create(&t, NULL, touch, p) == 0);
        raw_op(&r, Register, REGISTER, register_, NULL, b.address = (uint64_t)p; b.size = 1 << 20);
        for (unsigned i = 0; i < 50; i++)
                must(raw_status(&r) == 0);
        raw_close(&r); /* the thread waits until the process is ended */
}

/* Of a child: what is registered there is not in the process that the session is of. */
static void of_another_process(struct message *m) {
        int fd, pair[2];
        struct raw r;
        pid_t pid;

        raw_attach(&r, target.socket, HOSTILE_PARTITION);
        must(pipe(pair) == 0);
        fd = uffd_new(&r, false);
        pid = fork();
        must(pid >= 0);
        if (pid == 0) {
                struct raw mine;

                raw_attach(&mine, target.socket, HOSTILE_PARTITION);
                must(give(&mine, fd) == 0);
                must(raw_op(&mine, Reserve, RESERVE, reserve, NULL, b.size = 1 << 20;
                            b.kind = SVMD__V1__RESERVATION_KIND__SHARED; b.granule = 65536) == 0);
                raw_op(&mine, Join, JOIN, join, NULL, b.reservation = mine.object);
                _exit(0);
        }
        must(waitpid(pid, NULL, 0) == pid);
        must(raw_status(&r) == 0);
        give(&r, fd); /* it was the child's, and is in use */
        must(raw_status(&r) == 0);
        raw_close(&r);
}

const struct hostile_family hostile_uffd = { "userfaultfds",
                                             { { .name = "used before", .run = used_before },
                                               { .name = "unregistered", .run = unregistered },
                                               { .name = "closed", .run = closed },
                                               { .name = "never answered", .run = never_answered },
                                               { .name = "of another process", .run = of_another_process } } };
