#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/alloc.h"
#include "mover/budget.h"
#include "mover/clientmem.h"
#include "mover/internal.h"
#include "mover/userfault.h"

/*
 * Sessions: a userfaultfd each, and the ranges that it serves, by address. Workers hold a session while they are at
 * it; it is freed, and its userfaultfd closed, when it has ended and none does. A worker does that: whoever closes the
 * last descriptor of a userfaultfd enters the address space that it is of. What epoll hands out is a number, so that a
 * worker that was told of a session that has gone meanwhile finds nothing.
 */
static int slot_take(struct mover *m, struct mover_session *s) {
        uint32_t i = 0;

        while (i < m->slots_count && m->slots[i].s)
                i++;
        if (i == m->slots_count) {
                uint32_t count = i ? 2 * i : 16;
                struct session_slot *grown = alloc_grow(m->slots, i * sizeof(*grown), count * sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                m->slots = grown;
                m->slots_count = count;
        }
        m->slots[i].s = s;
        s->index = i;
        s->generation = ++m->slots[i].generation;
        return 0;
}

struct mover_session *session_get(struct mover *m, uint64_t id) {
        uint32_t i = (uint32_t)id;

        if (i >= m->slots_count || !m->slots[i].s || m->slots[i].generation != id >> 32)
                return NULL;
        return m->slots[i].s;
}

static uint64_t session_id(const struct mover_session *s) {
        return (uint64_t)s->generation << 32 | s->index;
}

void session_close(struct mover_session *s) {
        clientmem_stop(s->client);
        budget_leave(s);
        close(s->uffd);
        alloc_free(s);
}

void session_drop(struct mover_session *s) {
        if (--s->refs || !s->ended)
                return;
        list_remove(&s->link);
        list_push_back(&s->m->ended, &s->link);
}

struct mover_session *session_take_ended(struct mover *m) {
        struct mover_session *s;

        if (list_empty(&m->ended))
                return NULL;
        s = container_of(m->ended.next, struct mover_session, link);
        list_remove(&s->link);
        return s;
}

static int watch(struct mover *m, const struct mover_session *s, int op) {
        struct epoll_event e = { .events = EPOLLIN | EPOLLET, .data.u64 = session_id(s) };

        return epoll_ctl(m->epoll, op, s->uffd, &e) < 0 ? -errno : 0;
}

/* It may have more to say than was read: whoever is idle is told again. */
void session_rearm(struct mover_session *s) {
        (void)watch(s->m, s, EPOLL_CTL_MOD);
}

/* A descriptor that a client gave: nothing is done to it before it is known to be what it should be. */
static int set_up(int uffd, bool initialised) {
        const struct mover_features *f = mover_features();
        uint64_t needs = userfault_needs();
        int flags = fcntl(uffd, F_GETFL), k;

        if (flags < 0 || !userfault_is(uffd))
                return -EINVAL;
        if (!f->usable)
                return -EOPNOTSUPP;
        if (!(flags & O_NONBLOCK) && fcntl(uffd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        if (initialised)
                return 0;
        needs |= (f->huge ? userfault_needs_huge() : 0) | (f->poison ? userfault_poison_bit() : 0);
        k = userfault_api(uffd, needs, NULL);
        return k == -EPERM ? -EOPNOTSUPP : k;
}

static int enter(struct mover *m, struct mover_session *s, uint64_t cgroup) {
        int k;

        mover_lock(m);
        k = slot_take(m, s);
        if (!k) {
                k = managed_session_new(m->engine, &s->session, s, cgroup);
                if (k)
                        m->slots[s->index].s = NULL;
                else
                        list_push_back(&m->sessions, &s->link);
        }
        mover_unlock(m);
        return k;
}

static void leave_all(struct mover_session *s) {
        struct mover *m = s->m;

        m->slots[s->index].s = NULL;
        s->ended = true;
        joins_cancel(s, NULL);
        while (s->shares.root)
                share_remove(container_of(s->shares.root, struct share, node));
        managed_session_end(m->engine, s->session, mover_now(m));
        s->session = NULL;
}

int mover_session_new(struct mover *m, struct mover_session **ret, void *userdata, int uffd, bool initialised,
                      uint64_t cgroup) {
        struct mover_session *s;
        int k = workers_start(m);

        k = k ? k : set_up(uffd, initialised);
        if (k)
                return k;
        s = alloc_zero(sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->m = m;
        s->userdata = userdata;
        s->uffd = uffd;
        list_init(&s->link);
        list_init(&s->waiting);
        list_init(&s->lost.link);
        k = enter(m, s, cgroup);
        if (k) {
                alloc_free(s);
                return k;
        }
        k = watch(m, s, EPOLL_CTL_ADD);
        if (k) {
                mover_lock(m);
                leave_all(s);
                list_remove(&s->link);
                mover_unlock(m);
                alloc_free(s);
                return k;
        }
        *ret = s;
        return 0;
}

int mover_session_uffd(const struct mover_session *s) {
        return s->uffd;
}

void mover_session_end(struct mover *m, struct mover_session *s) {
        (void)epoll_ctl(m->epoll, EPOLL_CTL_DEL, s->uffd, NULL);
        mover_lock(m);
        s->refs++;
        leave_all(s);
        list_remove(&s->lost.link);
        session_drop(s);
        mover_unlock(m);
}

static void lost_tell(struct mover *m, struct news *n) {
        struct mover_session *s = container_of(n, struct mover_session, lost);

        m->hooks.lost(m->hooks.userdata, s->userdata, s->why, s->kill);
}

void session_lost(struct mover_session *s, const char *why, bool kill) {
        if (s->ended || s->why)
                return;
        s->why = why;
        s->kill = kill;
        news_push(s->m, &s->lost, lost_tell);
}

static struct share *share_of(struct tree_node *n) {
        return n ? container_of(n, struct share, node) : NULL;
}

struct share *share_overlapping(const struct mover_session *s, uint64_t start, uint64_t end) {
        struct tree_node *n = s->shares.root;
        struct share *found = NULL;

        while (n) {
                struct share *share = share_of(n);
                bool beyond = share->r->address + share->r->size > start;

                if (beyond)
                        found = share;
                n = n->child[!beyond];
        }
        return found && found->r->address < end ? found : NULL;
}

struct share *share_at(const struct mover_session *s, uint64_t address) {
        return share_overlapping(s, address, address + 1);
}

void share_insert(struct share *share) {
        struct tree_node *parent = NULL, *n = share->s->shares.root;
        int side = 0;

        while (n) {
                parent = n;
                side = share_of(n)->r->address < share->r->address;
                n = n->child[side];
        }
        tree_insert(&share->s->shares, parent, side, &share->node, NULL);
        list_push_back(&share->r->shares, &share->by_range);
}

void share_remove(struct share *share) {
        if (share->join)
                join_end(share->s->m, share->join, -ECANCELED,
                         "it was unmapped, or its session ended, before it had joined");
        tree_remove(&share->s->shares, &share->node, NULL);
        list_remove(&share->by_range);
        alloc_free(share);
}

void mover_leave(struct mover *m, struct mover_session *s, struct mover_range *r) {
        struct share *share;

        mover_lock(m);
        joins_cancel(s, r);
        share = share_at(s, r->address);
        if (share && share->r == r) {
                share_remove(share);
                managed_leave(m->engine, s->session, r->range, mover_now(m));
        }
        mover_unlock(m);
}

void sessions_free(struct mover *m) {
        struct mover_session *s;

        list_for_each_safe (it, &m->sessions) {
                s = container_of(it, struct mover_session, link);
                while (s->shares.root)
                        share_remove(share_of(s->shares.root));
                list_remove(&s->lost.link);
                session_close(s);
        }
        while ((s = session_take_ended(m)))
                session_close(s);
        alloc_free(m->slots);
}
