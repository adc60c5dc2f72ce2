#include "core/turns.h"

#include <errno.h>

#include "base/alloc.h"

void turns_init(struct turns *s, unsigned quantum) {
        *s = (struct turns){ .round = 1, .portion = 1, .quantum = quantum };
        list_init(&s->ring);
        list_init(&s->done);
        list_init(&s->owing);
}

/* ---- users ---- */

static struct turns_user *user_of(struct tree_node *n) {
        return container_of(n, struct turns_user, node);
}

static struct turns_user *user_at(struct list *l) {
        return container_of(l, struct turns_user, link);
}

static struct turns_member *member_at(struct list *l) {
        return container_of(l, struct turns_member, link);
}

static void user_free(struct turns *s, struct turns_user *u) {
        tree_remove(&s->users, &u->node, NULL);
        list_remove(&u->link);
        alloc_free(u);
}

static struct turns_user *user_get(struct turns *s, uint64_t number) {
        struct tree_node *at = s->users.root, *parent = NULL;
        struct turns_user *u;

        while (at && user_of(at)->number != number) {
                parent = at;
                at = at->child[user_of(at)->number < number];
        }
        if (at)
                return user_of(at);
        u = alloc_zero(sizeof(*u));
        if (!u)
                return NULL;
        u->number = number;
        list_init(&u->link);
        list_init(&u->ready);
        list_init(&u->served);
        tree_insert(&s->users, parent, parent && user_of(parent)->number < number, &u->node, NULL);
        return u;
}

static void add_credit(const struct turns *s, int64_t *credit) {
        *credit = *credit > 0 ? s->quantum : *credit + s->quantum;
}

static bool has_work(const struct turns_user *u) {
        return !list_empty(&u->ready) || !list_empty(&u->served);
}

/* Into the ring, unless he had his part of this round. */
static void user_enter(struct turns *s, struct turns_user *u) {
        if (list_empty(&u->link))
                list_push_back(u->round == s->round ? &s->done : &s->ring, &u->link);
}

static void user_rest(struct turns_user *u) {
        if (!has_work(u))
                list_remove(&u->link);
}

void turns_fini(struct turns *s) {
        struct tree_node *n;

        while ((n = tree_first(&s->users)))
                user_free(s, user_of(n));
}

/* ---- sessions ---- */

int turns_join(struct turns *s, struct turns_member *m, uint64_t number) {
        struct turns_user *u = user_get(s, number);

        if (!u)
                return -ENOMEM;
        if (u->members++ == 0)
                list_remove(&u->link); /* he owed */
        *m = (struct turns_member){ .user = u };
        list_init(&m->link);
        return 0;
}

void turns_leave(struct turns *s, struct turns_member *m) {
        struct turns_user *u = m->user;

        turns_idle(s, m);
        m->user = NULL;
        if (--u->members > 0)
                return;
        if (u->credit < 0)
                list_push_back(&s->owing, &u->link);
        else
                user_free(s, u);
}

void turns_ready(struct turns *s, struct turns_member *m) {
        struct turns_user *u = m->user;

        if (m->ready)
                return;
        list_remove(&m->link);
        list_push_back(&u->ready, &m->link);
        u->ready_count++;
        m->ready = true;
        user_enter(s, u);
}

void turns_idle(struct turns *s, struct turns_member *m) {
        list_remove(&m->link);
        m->user->ready_count -= m->ready;
        m->ready = false;
        user_rest(m->user);
}

void turns_charge(struct turns_member *m, uint64_t cost) {
        m->credit -= (int64_t)cost;
        m->user->credit -= (int64_t)cost;
}

void turns_served(struct turns *s, struct turns_member *m, uint64_t cost) {
        struct turns_user *u = m->user;

        turns_charge(m, cost);
        u->taken++;
        u->ready_count--;
        m->ready = false;
        list_remove(&m->link);
        list_push_back(&u->served, &m->link);
}

/* ---- turns and rounds ---- */

static void find_portion(struct turns *s) {
        struct list *lists[] = { &s->ring, &s->done };
        uint64_t least = UINT64_MAX;

        for (int i = 0; i < 2; i++)
                list_for_each (l, lists[i])
                        if (user_at(l)->ready_count > 0 && user_at(l)->ready_count < least)
                                least = user_at(l)->ready_count;
        s->portion = least;
}

static void forget_served(struct list *users) {
        list_for_each_safe (l, users) {
                struct turns_user *u = user_at(l);

                list_for_each_safe (m, &u->served)
                        list_remove(m);
                user_rest(u);
        }
}

static void repay(struct turns *s) {
        list_for_each_safe (l, &s->owing) {
                struct turns_user *u = user_at(l);

                add_credit(s, &u->credit);
                if (u->credit >= 0)
                        user_free(s, u);
        }
}

void turns_begin(struct turns *s) {
        forget_served(&s->ring);
        forget_served(&s->done);
        repay(s);
        find_portion(s);
}

/* Which of his sessions: the first that has credit. Each is given some when it is looked at, so one is found. */
static struct turns_member *pick(const struct turns *s, struct turns_user *u) {
        for (;;) {
                struct turns_member *m = member_at(u->ready.next);

                add_credit(s, &m->credit);
                if (m->credit > 0)
                        return m;
                list_remove(&m->link);
                list_push_back(&u->ready, &m->link);
        }
}

struct turns_member *turns_next(struct turns *s) {
        while (!list_empty(&s->ring)) {
                struct turns_user *u = user_at(s->ring.next);

                if (u->round != s->round) {
                        u->round = s->round;
                        u->taken = 0;
                        add_credit(s, &u->credit);
                }
                if (u->credit > 0 && u->taken < s->portion && u->ready_count > 0)
                        return pick(s, u);
                list_remove(&u->link);
                list_push_back(&s->done, &u->link);
        }
        return NULL;
}

static void try_again(struct turns *s, struct turns_user *u) {
        list_for_each_safe (m, &u->served)
                turns_ready(s, member_at(m));
}

bool turns_round(struct turns *s) {
        bool any = false;

        list_for_each (l, &s->done)
                any |= user_at(l)->ready_count > 0;
        if (!any)
                return false;
        s->round++;
        while (!list_empty(&s->done)) {
                struct turns_user *u = user_at(s->done.next);

                if (u->ready_count == 0)
                        try_again(s, u);
                list_remove(&u->link);
                list_push_back(&s->ring, &u->link);
        }
        find_portion(s);
        return true;
}
