#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile/families.h"
#include "hostile/raw.h"
#include "svmd.h"

/* Descriptors: too many, none, of a wrong kind, and such that would hold svmd up. */

static size_t status_packet(struct raw *r) {
        Svmd__V1__Status body = SVMD__V1__STATUS__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        op.op_case = SVMD__V1__OP__OP_STATUS;
        op.status = &body;
        return raw_pack(&op, ++r->id);
}

static void flood(struct message *m) {
        struct raw r;

        raw_hello(&r, target.socket);
        for (unsigned i = 0; i < 20; i++) {
                raw_send_many(&r, i ? 1 + (unsigned)random_below(SVMD_FDS_MAX) : SVMD_FDS_MAX, status_packet(&r));
                must(raw_code(&r) == SVMD_E_FD_COUNT);
        }
        must(raw_status(&r) == 0);
        raw_close(&r);
        for (unsigned i = 0; i < 10; i++) {
                raw_hello(&r, target.socket);
                raw_send_many(&r, SVMD_FDS_MAX + 1 + (unsigned)random_below(253 - SVMD_FDS_MAX), status_packet(&r));
                raw_expect_end(&r, SVMD_E_MALFORMED);
        }
}

static uint64_t space_new(struct raw *r) {
        raw_attach(r, target.socket, HOSTILE_PARTITION);
        must(raw_op(r, SpaceCreate, SPACE_CREATE, space_create, NULL, b.node = target.gpu) == 0);
        return r->object;
}

static unsigned submit(struct raw *r, uint64_t space, const struct fdlist *fds) {
        return raw_op(r, Submit, SUBMIT, submit, fds, b.space = space; b.op = SVMD__V1__DEVICE_OP__DEVICE_FILL;
                      b.dst = 4096 * 1024; b.size = 4096; b.notify = true);
}

static unsigned submit_one(struct raw *r, uint64_t space, int fd) {
        struct fdlist fds;

        fdlist_init(&fds);
        must(fdlist_add(&fds, fd) == 0);
        return submit(r, space, &fds);
}

static void missing(struct message *m) {
        struct raw r;
        uint64_t space = space_new(&r);

        must(submit(&r, space, NULL) == SVMD_E_FD_COUNT);
        must(raw_op(&r, UffdGive, UFFD_GIVE, uffd_give, NULL, (void)b) == SVMD_E_FD_COUNT);
        must(raw_op(&r, MemImport, MEM_IMPORT, mem_import, NULL, b.access = 1) == SVMD_E_FD_COUNT);
        must(raw_op(&r, DmabufImport, DMABUF_IMPORT, dmabuf_import, NULL, (void)b) == SVMD_E_FD_COUNT);
        must(raw_op(&r, Register, REGISTER, register_, NULL, b.address = 4096; b.size = 4096) == SVMD_E_FD_COUNT);
        raw_close(&r);
}

static void wrong_kind(struct message *m) {
        int pipes[2], good;
        struct raw r;
        uint64_t space = space_new(&r), value;

        must(pipe(pipes) == 0);
        const int wrong[] = { pipes[1], r.fd, open("/dev/null", O_RDWR), memfd_create("x", 0) };
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                struct fdlist fds;

                must(submit_one(&r, space, wrong[i]) == SVMD_E_FD_KIND);
                fdlist_init(&fds);
                must(fdlist_add(&fds, wrong[i]) == 0);
                must(raw_op(&r, UffdGive, UFFD_GIVE, uffd_give, &fds, (void)b) == SVMD_E_FD_KIND);
                must(raw_op(&r, MemImport, MEM_IMPORT, mem_import, &fds, b.access = 1) == SVMD_E_FD_KIND);
                must(raw_op(&r, DmabufImport, DMABUF_IMPORT, dmabuf_import, &fds, b.node = target.host) != 0);
        }
        good = eventfd(0, 0);
        must(submit_one(&r, space, good) == 0);
        must(poll(&(struct pollfd){ .fd = good, .events = POLLIN }, 1, (int)CEILING_MS) == 1);
        must(read(good, &value, 8) == 8 && value == 1);
        raw_close(&r);
}

/* An eventfd that is full, and made blocking again behind svmd's back, would hold up whoever writes to it. */
static void full_eventfd(struct message *m) {
        uint64_t full = UINT64_MAX - 1;
        struct raw r;
        uint64_t space = space_new(&r);
        int e = eventfd(0, 0);

        must(write(e, &full, sizeof(full)) == sizeof(full));
        for (unsigned i = 0; i < 200; i++) {
                must(submit_one(&r, space, e) == 0);
                fcntl(e, F_SETFL, 0);
        }
        raw_close(&r);
}

/* The connection's own other end, in packets that are never taken: only the kernel's search for cycles finds them. */
static void own_socket(struct message *m) {
        for (unsigned i = 0; i < 20; i++) {
                struct fdlist fds;
                struct raw r;

                raw_hello(&r, target.socket);
                fdlist_init(&fds);
                for (unsigned k = 0; k < 8; k++)
                        must(fdlist_add(&fds, r.fd) == 0);
                must(raw_op(&r, Status, STATUS, status, &fds, (void)b) == SVMD_E_FD_COUNT);
                raw_close(&r);
        }
}

const struct hostile_family hostile_fds = { "descriptors",
                                            { { .name = "flood", .run = flood },
                                              { .name = "missing", .run = missing },
                                              { .name = "wrong kind", .run = wrong_kind },
                                              { .name = "a full eventfd", .run = full_eventfd },
                                              { .name = "its own socket", .run = own_socket } } };
