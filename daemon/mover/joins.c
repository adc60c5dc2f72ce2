#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "mover/internal.h"
#include "mover/userfault.h"

/*
 * A session joins a range: a worker registers the mapping with the session's userfaultfd, which enters the client's
 * address space, and the engine then protects what moves just now.
 *
 *     asked -> (nobody reads the userfaultfd) -> registered -> engine -> joined
 *
 * An event that was read and not acted on may tell of an older mapping at the same place, so the range is not the
 * session's before that is over. A session registers one range at a time: no more than one worker is kept by it.
 */
static void tell(struct mover *m, struct news *n) {
        struct join *j = container_of(n, struct join, news);

        mover_lock(m);
        list_remove(&j->all);
        mover_unlock(m);
        m->hooks.joined(m->hooks.userdata, j->token, j->result, j->why);
        alloc_free(j);
}

/* It is answered; the share stays, or goes with whoever calls. */
void join_end(struct mover *m, struct join *j, int result, const char *why) {
        list_remove(&j->link);
        if (j->share)
                j->share->join = NULL;
        j->share = NULL;
        j->result = result;
        snprintf(j->why, sizeof(j->why), "%s", why);
        if (!j->busy)
                news_push(m, &j->news, tell);
}

static int join_new(struct join **ret, struct mover_session *s, struct mover_range *r, bool readonly) {
        struct join *j = alloc_zero(sizeof(*j));
        struct share *share = j ? alloc_zero(sizeof(*share)) : NULL;

        if (!share) {
                alloc_free(j);
                return -ENOMEM;
        }
        *share = (struct share){ .s = s, .r = r, .readonly = readonly, .join = j };
        list_init(&share->by_range);
        *j = (struct join){ .s = s, .r = r, .share = share };
        list_init(&j->link);
        list_init(&j->news.link);
        *ret = j;
        return 0;
}

int mover_join(struct mover *m, struct mover_session *s, struct mover_range *r, bool readonly, uint64_t token) {
        struct join *j;
        int k = join_new(&j, s, r, readonly);

        if (k)
                return k;
        j->token = token;
        mover_lock(m);
        if (!s->reading && share_overlapping(s, r->address, r->address + r->size)) {
                mover_unlock(m);
                alloc_free(j->share);
                alloc_free(j);
                return -EEXIST;
        }
        list_push_back(&m->joins, &j->all);
        list_push_back(&m->jobs, &j->link);
        mover_unlock(m);
        return 0;
}

int mover_rejoin(struct mover *m, struct mover_session *s, struct mover_range *r, bool readonly) {
        struct share *share = alloc_zero(sizeof(*share));
        int k = -EEXIST;

        if (!share)
                return -ENOMEM;
        *share = (struct share){ .s = s, .r = r, .readonly = readonly };
        list_init(&share->by_range);
        mover_lock(m);
        if (!share_overlapping(s, r->address, r->address + r->size))
                k = managed_rejoin(m->engine, s->session, r->range, readonly);
        if (!k)
                share_insert(share);
        mover_unlock(m);
        if (k)
                alloc_free(share);
        return k;
}

static bool is_inserted(const struct share *share) {
        return !list_empty(&share->by_range);
}

/* Ends it before the engine has it. */
static void refuse(struct mover *m, struct join *j, int result, const char *why) {
        struct share *share = j->share;

        join_end(m, j, result, why);
        if (share && is_inserted(share))
                share_remove(share);
        else
                alloc_free(share);
}

struct join *join_take(struct mover *m) {
        while (!list_empty(&m->jobs)) {
                struct join *j = container_of(m->jobs.next, struct join, link);

                list_remove(&j->link);
                if (!j->s->reading && !j->s->registering)
                        return j;
                list_push_back(&j->s->waiting, &j->link);
        }
        return NULL;
}

void joins_go_on(struct mover_session *s) {
        while (!list_empty(&s->waiting)) {
                struct list *l = s->waiting.next;

                list_remove(l);
                list_push_back(&s->m->jobs, l);
        }
}

static const char *reason(int error) {
        switch (error) {
        case -EEXIST: return "the range is joined already";
        case -EBUSY: return "another userfaultfd has the mapping";
        case -ESRCH: return "the process has ended";
        case -EINVAL:
        case -EPERM: return "the range's memory is not mapped there as it has to be: map it, PROT_NONE, then join";
        case -ENOMEM: return "the machine is out of memory";
        default: return strerror(-error);
        }
}

static int register_mapping(int uffd, uint64_t start, uint64_t size, bool readonly) {
        uint64_t ioctls = 0;
        int k = userfault_register(uffd, start, size, readonly, &ioctls);

        return k || userfault_serves(ioctls, readonly) ? k : -EINVAL;
}

/* Gives the lock up meanwhile. The session, if it is still there, can be used when there still is a share. */
static int enter(struct mover *m, struct join *j) {
        struct mover_session *s = j->s;
        uint64_t start = j->r->address, size = j->r->size;
        bool readonly = j->share->readonly;
        int k;

        share_insert(j->share);
        s->refs++;
        s->registering = j->busy = true;
        mover_unlock(m);
        k = register_mapping(s->uffd, start, size, readonly);
        mover_lock(m);
        s->registering = j->busy = false;
        j->registered = !k;
        joins_go_on(s);
        session_drop(s);
        return k;
}

void join_run(struct mover *m, struct join *j) {
        struct mover_session *s = j->s;
        struct mover_range *r = j->r;
        int k = 0;

        if (!j->registered && share_overlapping(s, r->address, r->address + r->size))
                k = -EEXIST;
        else if (!j->registered)
                k = enter(m, j);
        if (!j->share) { /* called off meanwhile */
                news_push(m, &j->news, tell);
                return;
        }
        if (!k)
                k = managed_join(m->engine, s->session, r->range, j->share->readonly, mover_now(m));
        if (k == -EAGAIN)
                list_push_back(&s->waiting, &j->link);
        else if (k)
                refuse(m, j, k, reason(k));
}

void join_joined(void *userdata, void *session, void *range) {
        struct mover_range *r = range;
        struct share *share = share_at(session, r->address);

        if (share && share->r == r && share->join)
                join_end(r->m, share->join, 0, "");
}

/* Those that have not begun, of the range or (NULL) of all; the others end with their shares. */
void joins_cancel(struct mover_session *s, const struct mover_range *r) {
        list_for_each_safe (it, &s->m->joins) {
                struct join *j = container_of(it, struct join, all);

                if (j->s == s && j->share && (!r || j->r == r) && !is_inserted(j->share))
                        refuse(s->m, j, -ECANCELED, "the session ended, or left, before it had joined");
        }
}

void joins_free(struct mover *m) {
        list_for_each_safe (it, &m->joins) {
                struct join *j = container_of(it, struct join, all);

                if (j->share && !is_inserted(j->share))
                        alloc_free(j->share);
                alloc_free(j);
        }
}
