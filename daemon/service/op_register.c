#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/text.h"
#include "core/memory.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/adopted.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/lookup.h"
#include "service/range.h"
#include "service/registered.h"

/*
 * Memory that a process has itself: registered, and given up again.
 *
 *      uffd_device -> the client's userfaultfd -> uffd_give -> register, with /proc/self/mem -> mapped in spaces
 */
#define ADDRESS_END (1ull << 47) /* of processes, and what svmd's page tables have */

static bool overlaps(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size) {
        return a < b + b_size && b < a + a_size;
}

static int check_place(struct call *c, const Svmd__V1__Register *m) {
        const struct partition *p = c->session->partition;
        bool pinned = m->mode == SVMD__V1__REGISTER_MODE__REGISTER_PINNED;

        if (!pinned && m->mode != SVMD__V1__REGISTER_MODE__REGISTER_ADOPTED &&
            m->mode != SVMD__V1__REGISTER_MODE__REGISTER_PRIVATE)
                return refuse(c, SVMD_STATUS_UNSUPPORTED, "svmd knows no mode %d of registering memory", (int)m->mode);
        if (m->address == 0 || m->address % SVMD_PAGE || (pinned && m->probe == 0) || m->probe % SVMD_PAGE)
                return refuse(c, SVMD_STATUS_ALIGN, "address 0x%" PRIx64 " is not at a page, 4 KiB each", m->address);
        if (m->size == 0 || m->size % SVMD_PAGE)
                return refuse(c, SVMD_STATUS_SIZE, "size %" PRIu64 " is not a multiple of 4 KiB above 0", m->size);
        if (m->size > ADDRESS_END || m->address > ADDRESS_END - m->size || m->probe >= ADDRESS_END)
                return refuse(c, SVMD_STATUS_RANGE, "0x%" PRIx64 " bytes at 0x%" PRIx64 " pass the end of addresses",
                              m->size, m->address);
        if (overlaps(m->address, m->size, p->slice.start, p->slice.size))
                return refuse(c, SVMD_STATUS_RANGE,
                              "the range at 0x%" PRIx64
                              " lies in the partition's own addresses; what is reserved there is svmd's already",
                              m->address);
        return 0;
}

static int check_room(struct call *c, const Svmd__V1__Register *m) {
        uint64_t max = c->svc->options.max_registered;
        char has[24], asked[24], most[24];

        if (c->session->registered <= max && m->size <= max - c->session->registered)
                return check_quota(c, 1);
        text_bytes(has, sizeof(has), c->session->registered);
        text_bytes(asked, sizeof(asked), m->size);
        text_bytes(most, sizeof(most), max);
        return refuse(
                c, SVMD_STATUS_LIMIT,
                "a session may have %s registered and this one has %s, so %s more is too much; unregister some, or "
                "ask for a higher max-registered-per-session",
                most, has, asked);
}

static int check_free(struct call *c, const Svmd__V1__Register *m) {
        list_for_each (l, &c->session->holdings) {
                const struct memory *other = container_of(l, struct holding, by_session)->memory;
                const struct registered *r = registered_of(other);

                if (r && !r->fenced && overlaps(m->address, m->size, r->address, other->size))
                        return refuse(c, SVMD_STATUS_TAKEN, "memory %" PRIu64 " is registered at 0x%" PRIx64 " already",
                                      other->object.id, r->address);
        }
        if (private_overlaps(c->svc, c->session, m->address, m->size))
                return refuse(c, SVMD_STATUS_TAKEN, "memory at 0x%" PRIx64 " is registered as private already",
                              m->address);
        return adopted_overlaps(c->session, m->address, m->size, false)
                       ? refuse(c, SVMD_STATUS_TAKEN, "memory at 0x%" PRIx64 " is adopted already", m->address)
                       : 0;
}

/* What a process opened as /proc/self/mem: it leads to the address space that it had then. */
static bool is_process_memory(int fd) {
        char path[48], link[64];
        struct statfs fs;
        ssize_t n;
        int flags = fcntl(fd, F_GETFL);

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        n = readlink(path, link, sizeof(link) - 1);
        if (flags < 0 || (flags & O_ACCMODE) != O_RDWR || n < 4 || fstatfs(fd, &fs) < 0)
                return false;
        link[n] = 0;
        return fs.f_type == PROC_SUPER_MAGIC && strcmp(link + n - 4, "/mem") == 0;
}

/* Writing is by the process's number, for which svmd needs the right itself. */
static int check_right(struct call *c) {
        char path[512];
        int fd;

        snprintf(path, sizeof(path), "%s/%u/mem", c->svc->options.proc_root, c->session->pid);
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return refuse(c, SVMD_STATUS_UNSUPPORTED,
                              "svmd may not write into the memory of process %u (%s): run svmd as root",
                              c->session->pid, strerror(errno));
        close(fd);
        return 0;
}

/* Once a session. The keeper has it before anything depends on it. */
static int reach(struct call *c, struct managed_client *k, uint64_t probe, int *fd) {
        struct service *svc = c->svc;
        uint64_t key = KEEP_KEY(KEEP_CLIENT, c->session->object.id);
        int r = check_right(c);

        if (r != 0)
                return r;
        r = svc->hooks.keep(svc->hooks.userdata, key, *fd);
        if (r < 0)
                return refuse_errno(c, r, "what leads to the process's memory");
        r = mover_client(svc->mover, k->mover, *fd, c->session->pid, c->session->who.uid, probe);
        if (r < 0) {
                svc->hooks.unkeep(svc->hooks.userdata, key);
                return refuse_errno(c, r, "what reaches the process's memory");
        }
        *fd = -1;
        k->reached = true;
        k->probe = probe;
        return 0;
}

static uint32_t host_node(const struct service *svc) {
        uint32_t i = 0;

        while (i + 1 < svc->options.machine->count && node_desc(svc, i)->kind != NODE_HOST)
                i++;
        return i;
}

static int make(struct call *c, const Svmd__V1__Register *op) {
        struct service *svc = c->svc;
        struct effect_register e;
        struct registered *r;
        struct memory *m;
        int k = ids_reserve(&svc->state.ids, 1);

        if (k < 0)
                return -ENOMEM;
        m = registered_new(c->session, state_take_id(&svc->state), host_node(svc), op->address, op->size);
        if (!m)
                return -ENOMEM;
        r = registered_of(m);
        k = registered_reach(svc, r);
        if (k < 0) {
                registered_discard(svc, m);
                return refuse_errno(c, k, "registered memory");
        }
        r->generation = ++svc->generation;
        holding_init(&m->creator, m, c->session, RIGHT_READ | RIGHT_WRITE);
        memory_link(&svc->state, m);
        holding_link(&m->creator);
        e = effect_of_registered(m);
        tx_effect(c->tx, EFFECT_REGISTER, &e, sizeof(e));
        c->result->id = m->object.id;
        c->result->generation = r->generation;
        return 0;
}

static int register_memory(struct call *c, const Svmd__V1__Register *m, int *fd) {
        struct managed_client *k = c->session->managed;
        int r;

        if (!c->svc->mover)
                return refuse(c, SVMD_STATUS_UNSUPPORTED, "memory cannot be registered here: %s",
                              mover_features()->why);
        if (*fd < 0 || !is_process_memory(*fd))
                return refuse(c, SVMD_STATUS_FD_KIND,
                              "the descriptor that came with register is not /proc/self/mem, open to read and write");
        if (!k || !k->mover)
                return refuse(c, SVMD_STATUS_SHAPE,
                              "svmd has no userfaultfd of this session, by which it learns what becomes of the memory: "
                              "uffd_device, then uffd_give come first");
        if ((r = check_place(c, m)) != 0 || (r = check_room(c, m)) != 0 || (r = check_free(c, m)) != 0)
                return r;
        if (!k->reached && (r = reach(c, k, m->probe, fd)) != 0)
                return r;
        return make(c, m);
}

static int adopt(struct call *c, const Svmd__V1__Register *m) {
        int r;

        if (!c->svc->mover)
                return refuse(c, SVMD_STATUS_UNSUPPORTED, "memory cannot be adopted here: %s", mover_features()->why);
        if ((r = check_place(c, m)) != 0 || (r = check_free(c, m)) != 0)
                return r;
        return adopted_begin(c, m->address, m->size);
}

static int make_private(struct call *c, const Svmd__V1__Register *m) {
        int r;

        if ((r = check_place(c, m)) != 0 || (r = check_room(c, m)) != 0 || (r = check_free(c, m)) != 0)
                return r;
        return private_begin_outside(c, m->address, m->size);
}

int op_register(struct call *c) {
        int fd = fdlist_steal(&c->request->in), r;

        switch (c->op->register_->mode) {
        case SVMD__V1__REGISTER_MODE__REGISTER_ADOPTED: r = adopt(c, c->op->register_); break;
        case SVMD__V1__REGISTER_MODE__REGISTER_PRIVATE: r = make_private(c, c->op->register_); break;
        default: r = register_memory(c, c->op->register_, &fd);
        }

        if (fd >= 0)
                close(fd);
        return r;
}

int op_unregister(struct call *c) {
        struct effect_hold e = { .session = c->session->object.id };
        struct registered *r;
        struct holding *h;
        struct reservation *adopted = adopted_by_id(c, c->op->unregister->memory);
        struct memory *m;
        int k;

        if (adopted && private_of(adopted))
                return private_unregister(c, adopted);
        if (adopted)
                return adopted_end(c, adopted, c->op->unregister->stop);
        k = find_memory(c, c->op->unregister->memory, &m, &h);
        if (k != 0)
                return k;
        r = registered_of(m);
        if (!r)
                return refuse(c, SVMD_STATUS_INVALID, "memory %" PRIu64 " was created, not registered; release it",
                              m->object.id);
        c->result->address = r->address;
        c->result->size = m->size;
        c->result->value = r->fenced;
        r->fenced = true;
        mover_fence(r->mover);
        e.memory = m->object.id;
        tx_effect(c->tx, EFFECT_RELEASE, &e, sizeof(e));
        holding_end(c->svc, h);
        return 0;
}
