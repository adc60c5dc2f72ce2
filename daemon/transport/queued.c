#include "transport/queued.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

static struct queued_user *user_of(struct tree_node *n) {
        return container_of(n, struct queued_user, node);
}

static struct queued_user *user_get(struct queued *q, uint64_t party) {
        struct tree_node *n = q->users.root, *parent = NULL;
        struct queued_user *u;
        int side = 0;

        while (n && user_of(n)->party != party) {
                parent = n;
                side = party > user_of(n)->party;
                n = n->child[side];
        }
        if (n)
                return user_of(n);
        u = alloc_zero(sizeof(*u));
        if (!u)
                return NULL;
        u->party = party;
        list_init(&u->resting);
        tree_insert(&q->users, parent, side, &u->node, NULL);
        return u;
}

int queued_join(struct queued *q, struct queued_share *s, uint64_t party) {
        s->user = user_get(q, party);
        list_init(&s->resting);
        if (!s->user)
                return -ENOMEM;
        s->user->members++;
        return 0;
}

void queued_leave(struct queued *q, struct queued_share *s) {
        struct queued_user *u = s->user;

        list_remove(&s->resting);
        s->user = NULL;
        if (--u->members > 0)
                return;
        tree_remove(&q->users, &u->node, NULL);
        alloc_free(u);
}

static bool is_bound(const struct queued *q, const struct queued_user *u) {
        return q->most > 0 && u->party != q->exempt;
}

static void say_full(struct queued *q, const struct queued_share *s) {
        uint64_t withheld;
        char name[96];

        if (!message_passes(&q->rate, clock_ns(CLOCK_MONOTONIC), &withheld))
                return;
        q->name(s, name);
        log_warning("%s does not take %" PRIu64
                    " bytes of replies and events, and is not served until he does (max-queued-per-uid)",
                    name, s->user->bytes);
}

void queued_add(struct queued *q, struct queued_share *s, size_t bytes) {
        struct queued_user *u = s->user;

        u->bytes += bytes;
        if (u->full || !is_bound(q, u) || u->bytes < q->most)
                return;
        u->full = true;
}

void queued_take(struct queued *q, struct queued_share *s, size_t bytes) {
        struct queued_user *u = s->user;

        u->bytes -= bytes;
        if (!u->full || u->bytes > q->most / 2)
                return;
        u->full = false;
        while (!list_empty(&u->resting)) {
                struct queued_share *other = container_of(u->resting.next, struct queued_share, resting);

                list_remove(&other->resting);
                q->wake(other);
        }
}

bool queued_is_full(const struct queued_share *s) {
        return s->user->full;
}

bool queued_has_room(const struct queued *q, const struct queued_share *s, size_t bytes) {
        return !is_bound(q, s->user) || s->user->bytes + bytes <= 2 * q->most;
}

void queued_rest(struct queued *q, struct queued_share *s) {
        if (!list_empty(&s->resting))
                return;
        if (list_empty(&s->user->resting))
                say_full(q, s);
        list_push_back(&s->user->resting, &s->resting);
}
