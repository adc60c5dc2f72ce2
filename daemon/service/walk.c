#include "service/walk.h"

#include "core/session.h"
#include "service/internal.h"

static struct session *at(const struct service *svc, const struct list *l) {
        return l == &svc->state.sessions ? NULL : container_of(l, struct session, by_state);
}

void walk_begin(struct service *svc, struct session_walk *w) {
        walk_end(w);
        list_init(&w->link);
        list_push_back(&svc->walks, &w->link);
        w->at = at(svc, svc->state.sessions.next);
}

struct session *walk_next(struct service *svc, struct session_walk *w) {
        struct session *s = w->at;

        if (s)
                w->at = at(svc, s->by_state.next);
        else
                walk_end(w);
        return s;
}

void walk_end(struct session_walk *w) {
        if (w->link.next)
                list_remove(&w->link);
        w->at = NULL;
}

void walks_pass(struct service *svc, const struct session *s) {
        list_for_each (l, &svc->walks) {
                struct session_walk *w = container_of(l, struct session_walk, link);

                if (w->at == s)
                        w->at = at(svc, s->by_state.next);
        }
}
