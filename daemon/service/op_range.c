#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "proto/range.h"
#include "service/capacity.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/join.h"
#include "service/lookup.h"
#include "service/op_range.h"
#include "service/range.h"
#include "service/rates.h"

/*
 * Managed reservations: made, and brought into a process.
 *
 *      reserve or open -> range_files: what to map -> mapped without access -> join -> made accessible
 *      uffd_device -> the client's userfaultfd -> uffd_give -----------------^
 */

/* ---- reserve ---- */

static int refuse_unusable(struct call *c) {
        return refuse(c, SVMD_STATUS_UNSUPPORTED, "there are no managed ranges here: %s", mover_features()->why);
}

static int check_flags(struct call *c, const Svmd__V1__Reserve *m, uint32_t granule) {
        const unsigned known = SVMD__V1__RANGE_FLAG__RANGE_HUGE | SVMD__V1__RANGE_FLAG__RANGE_SIGBUS |
                               SVMD__V1__RANGE_FLAG__RANGE_AHEAD;

        if (m->flags & ~known)
                return refuse(c, SVMD_STATUS_INVALID, "svmd knows no flag 0x%x of a managed reservation", m->flags);
        if (m->flags & SVMD__V1__RANGE_FLAG__RANGE_HUGE) {
                if (granule != GRANULE_HUGE)
                        return refuse(c, SVMD_STATUS_INVALID, "huge pages need a granule of 2 MiB, not %u KiB",
                                      granule >> 10);
                if (!mover_features()->huge)
                        return refuse(c, SVMD_STATUS_UNSUPPORTED,
                                      "this kernel's userfaultfd cannot serve huge pages; leave RANGE_HUGE out");
        }
        if ((m->flags & SVMD__V1__RANGE_FLAG__RANGE_SIGBUS) && !mover_features()->poison)
                return refuse(c, SVMD_STATUS_UNSUPPORTED,
                              "this kernel's userfaultfd has no POISON (Linux 6.6 has), so what is revoked cannot be "
                              "SIGBUS; leave RANGE_SIGBUS out, and accesses wait");
        return 0;
}

static int check_sizes(struct call *c, const Svmd__V1__Reserve *m, uint32_t granule) {
        if (m->size % granule)
                return refuse(c, SVMD_STATUS_SIZE, "size %" PRIu64 " is not a multiple of the granule, %u KiB", m->size,
                              granule >> 10);
        if (m->align % granule || m->address % granule)
                return refuse(c, SVMD_STATUS_ALIGN, "address and alignment have to be multiples of the granule, %u KiB",
                              granule >> 10);
        if (m->size / granule > GRANULES_MAX)
                return refuse(c, SVMD_STATUS_SIZE,
                              "%" PRIu64 " granules of %u KiB are more than the %u that a reservation may have; take "
                              "larger granules",
                              m->size / granule, granule >> 10, GRANULES_MAX);
        return 0;
}

int range_check(struct call *c, const Svmd__V1__Reserve *m, uint64_t *align) {
        uint32_t granule = m->granule ? m->granule : GRANULE_SMALL;
        char why[320];
        unsigned code;
        int r;

        if (granule != GRANULE_SMALL && granule != GRANULE_LARGE && granule != GRANULE_HUGE)
                return refuse(c, SVMD_STATUS_INVALID, "a granule is 4 KiB, 64 KiB or 2 MiB, not %u bytes", m->granule);
        if (!c->svc->mover)
                return refuse_unusable(c);
        if ((r = check_flags(c, m, granule)) != 0 || (r = check_sizes(c, m, granule)) != 0 ||
            (r = check_fds(c, RANGE_FDS)) != 0)
                return r;
        code = capacity_for_range(c->svc, c->session, m->size, why, sizeof(why));
        if (code)
                return refuse(c, code, "%s", why);
        if (*align == 0)
                *align = m->size >= GRANULE_HUGE ? GRANULE_HUGE : granule;
        return 0;
}

static void members_end(struct service *svc, struct managed_reservation *m) {
        list_for_each_safe (l, &m->members)
                managed_member_end(svc, container_of(l, struct managed_member, by_reservation));
}

static void range_undo(struct tx *tx, struct change *c) {
        struct managed_reservation *m = c->a;

        members_end(tx->svc, m);
        managed_end(tx->svc, m);
}

static const struct change_kind range_change = { range_undo, NULL };

static int refuse_files(struct call *c, const Svmd__V1__Reserve *m, int r) {
        if (r == -ENOSPC && (m->flags & SVMD__V1__RANGE_FLAG__RANGE_HUGE))
                return refuse(c, SVMD_STATUS_NO_ROOM,
                              "the machine has not %" PRIu64 " huge pages set aside that are free: sysctl "
                              "vm.nr_hugepages=NUMBER sets some aside, or leave RANGE_HUGE out",
                              m->size / GRANULE_HUGE);
        return refuse_errno(c, r == -ENOSPC ? -ENOMEM : r, "the files of a managed reservation");
}

int range_begin(struct call *c, const Svmd__V1__Reserve *m, struct reservation *r) {
        struct service *svc = c->svc;
        struct managed_reservation *managed;
        int k = managed_client_of(svc, c->session) ? 0 : -ENOMEM;

        if (k == 0)
                k = managed_begin(svc, r, m->granule ? m->granule : GRANULE_SMALL, m->flags, &managed);
        if (k < 0) {
                reservation_unlink(&svc->state, r);
                reservation_free(r);
                return k;
        }
        k = managed_bring_up(svc, managed, -1, -1);
        if (k == 0 && c->request->mode != SVMD__V1__MODE__DRY_RUN)
                k = managed_keep(svc, managed);
        if (k == 0)
                k = managed_member_begin(svc, managed, c->session, false);
        if (k < 0) {
                managed_end(svc, managed);
                return refuse_files(c, m, k);
        }
        tx_push(c->tx, &range_change, managed, NULL);
        c->result->value = managed->granule;
        return 0;
}

void effect_range(struct tx *tx, const struct managed_reservation *m) {
        struct effect_range e = effect_of_range(m);

        tx_effect(tx, EFFECT_RANGE, &e, sizeof(e));
}

/* ---- the userfaultfd ---- */

static int hand_out(struct call *c, int fd) {
        if (fd < 0)
                return refuse_errno(c, fd, "a descriptor of a managed reservation");
        if (fdlist_add(&c->request->out, fd) == 0)
                return 0;
        close(fd);
        return refuse(c, SVMD_STATUS_SHAPE, "a reply carries %d descriptors at most", SVMD_FDS_MAX);
}

static int duplicate(int fd) {
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

        return copy < 0 ? -errno : copy;
}

/* The switch of the partition. */
static int check_allowed(struct call *c) {
        const char *name = c->session->partition->name->text;

        if (userfaultfd_allowed(c->svc, name))
                return 0;
        return refuse(c, SVMD_STATUS_DENIED,
                      "processes of partition %s may have no managed memory: partition-userfaultfd is off for it in "
                      "svmd.conf",
                      name);
}

int op_uffd_device(struct call *c) {
        const struct managed_state *g = &c->svc->managed;

        if (!c->svc->mover)
                return refuse_unusable(c);
        if (check_allowed(c) != 0)
                return OP_REFUSED;
        if (g->device < 0)
                return refuse(c, SVMD_STATUS_UNSUPPORTED,
                              "svmd cannot open %s/userfaultfd (%s), from which clients make what serves their page "
                              "faults: run svmd as root, on a kernel with that device",
                              c->svc->options.dev_root, strerror(g->device_error));
        return hand_out(c, duplicate(g->device));
}

static bool is_userfaultfd(int fd) {
        char path[48], link[64];
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        n = readlink(path, link, sizeof(link) - 1);
        if (n < 0)
                return false;
        link[n] = 0;
        return strcmp(link, "anon_inode:[userfaultfd]") == 0;
}

/* The keeper has it before the mover changes it: a successor finds it new or initialised, and finds out which. */
static int take_userfaultfd(struct call *c, struct managed_client *k, int fd) {
        struct service *svc = c->svc;
        uint64_t key = KEEP_KEY(KEEP_UFFD, c->session->object.id);
        int r = svc->hooks.keep(svc->hooks.userdata, key, fd);

        if (r < 0)
                return refuse_errno(c, r, "a session's userfaultfd");
        r = mover_session_new(svc->mover, &k->mover, k, fd, false, k->cgroup);
        if (r == 0) {
                managed_client_came(k);
                return 0;
        }
        svc->hooks.unkeep(svc->hooks.userdata, key);
        if (r == -EINVAL)
                return refuse(c, SVMD_STATUS_FD_KIND,
                              "the userfaultfd has been in use already; give svmd a new one, before UFFDIO_API");
        if (r == -EOPNOTSUPP)
                return refuse(c, SVMD_STATUS_UNSUPPORTED,
                              "the userfaultfd cannot do what svmd needs; make it from the device that uffd_device "
                              "hands out");
        return refuse_errno(c, r, "a session's userfaultfd");
}

static int give(struct call *c, struct managed_client *k, int *fd) {
        struct effect_id e = { .id = c->session->object.id };
        int r;

        if (!c->svc->mover)
                return refuse_unusable(c);
        if (check_allowed(c) != 0)
                return OP_REFUSED;
        if (*fd < 0 || !is_userfaultfd(*fd))
                return refuse(c, SVMD_STATUS_FD_KIND, "the descriptor that came with uffd_give is no userfaultfd");
        if (!k)
                return -ENOMEM;
        if (k->mover && !k->taken_over)
                return refuse(c, SVMD_STATUS_TAKEN,
                              "this session gave a userfaultfd already; one serves all its ranges");
        if (!k->mover) {
                r = take_userfaultfd(c, k, *fd);
                if (r != 0)
                        return r;
                *fd = -1;
        }
        k->taken_over = false;
        tx_effect(c->tx, EFFECT_UFFD, &e, sizeof(e));
        return 0;
}

int op_uffd_give(struct call *c) {
        int fd = fdlist_steal(&c->request->in), r = give(c, managed_client_of(c->svc, c->session), &fd);

        if (fd >= 0)
                close(fd);
        return r;
}

/* ---- into a process ---- */

int range_member(struct call *c, uint64_t id, struct managed_reservation **ret, struct managed_member **ret_member) {
        struct reservation *r;
        int k = find_reservation(c, id, &r);

        if (k != 0)
                return k;
        *ret = managed_of(r);
        if (private_of(r))
                return private_refuse(c, r);
        if (!*ret)
                return refuse(c, SVMD_STATUS_INVALID,
                              "reservation %" PRIu64 " is explicit: map memory there, and the memory's file (mem_fd)",
                              id);
        *ret_member = managed_member_find(*ret, c->session);
        return 0;
}

/* Who has it cannot write through it, as another user. */
static int reopen(int fd) {
        char path[48];
        int copy;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        copy = open(path, O_RDONLY | O_CLOEXEC);
        return copy < 0 ? -errno : copy;
}

int op_range_files(struct call *c) {
        struct managed_reservation *m;
        struct managed_member *member;
        int r = range_member(c, c->op->range_files->reservation, &m, &member), memory;

        if (r != 0)
                return r;
        memory = mover_range_memory(m->range);
        r = hand_out(c, member->readonly ? reopen(memory) : duplicate(memory));
        if (r == 0)
                r = hand_out(c, reopen(mover_range_state(m->range)));
        if (r != 0)
                return r;
        c->result->id = m->reservation->object.id;
        c->result->address = m->reservation->va.start;
        c->result->size = range_state_size(m->count);
        c->result->value = m->granule;
        c->result->generation = m->reservation->generation;
        return 0;
}

static int refuse_join(struct call *c, const struct join *j) {
        if (j->result == -ENOMEM)
                return -ENOMEM;
        return refuse(c, SVMD_STATUS_SYSTEM, "the range cannot be served in this process: %s",
                      j->why[0] ? j->why : strerror(-j->result));
}

int op_join(struct call *c) {
        struct join *j = c->request->join;
        struct managed_reservation *m;
        struct managed_member *member;
        struct effect_join e = { .session = c->session->object.id };
        int r = range_member(c, c->op->join->reservation, &m, &member);

        if (r != 0)
                return r;
        if (j && j->result < 0)
                return refuse_join(c, j);
        if (!j && member->joined && !c->session->resumed)
                return refuse(c, SVMD_STATUS_TAKEN, "this session has joined the reservation at 0x%" PRIx64 " already",
                              m->reservation->va.start);
        if (!j && !member->client->mover)
                return refuse(c, SVMD_STATUS_SHAPE,
                              "svmd has no userfaultfd of this session, without which it cannot serve its page faults: "
                              "uffd_device, then uffd_give come first");
        if (!j && !member->joined)
                return join_begin(c, member);
        if (j && member->managed->reservation->outside && managed_show(c->svc, member) < 0)
                return -ENOMEM;
        if (j)
                j->told = true;
        e.reservation = m->reservation->object.id;
        tx_effect(c->tx, EFFECT_JOIN, &e, sizeof(e));
        return 0;
}
