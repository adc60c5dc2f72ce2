#include "service/join.h"

#include <errno.h>
#include <stdio.h>

#include "base/alloc.h"
#include "core/by_id.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/internal.h"

int join_begin(struct call *c, struct managed_member *member) {
        struct service *svc = c->svc;
        struct managed_reservation *m = member->managed;
        struct join *j = alloc_zero(sizeof(*j));
        int r;

        if (!j)
                return -ENOMEM;
        j->request = c->request;
        j->client = member->client;
        j->number = state_take_id(&svc->state);
        j->reservation = m->reservation->object.id;
        r = mover_join(svc->mover, member->client->mover, m->range, member->readonly, ANSWER(ANSWER_JOIN, j->number));
        if (r < 0) {
                alloc_free(j);
                return r;
        }
        member->joining = true;
        list_push_back(&svc->managed.joins, &j->link);
        c->request->join = j;
        c->request->jobs++;
        return OP_LATER;
}

static void over(struct service *svc, struct join *j, int result, const char *why) {
        j->result = result;
        snprintf(j->why, sizeof(j->why), "%s", why ? why : "");
        list_remove(&j->link);
        list_push_back(&svc->managed.joined, &j->link);
}

void join_answer(struct service *svc, uint64_t number, int result, const char *why) {
        list_for_each (l, &svc->managed.joins) {
                struct join *j = container_of(l, struct join, link);

                if (j->number != number)
                        continue;
                over(svc, j, result, why);
                return;
        }
}

void join_over(struct service *svc, struct managed_member *member, const char *why) {
        joins_over(svc, member->client->session, why);
        member->joining = false;
}

void joins_over(struct service *svc, const struct session *s, const char *why) {
        list_for_each_safe (l, &svc->managed.joins) {
                struct join *j = container_of(l, struct join, link);

                if (j->client->session != s)
                        continue;
                over(svc, j, -ECANCELED, why);
                svc->hooks.wake(svc->hooks.userdata);
        }
}

static struct managed_member *member_of(struct service *svc, const struct join *j) {
        const struct reservation *r = reservation_by_id(&svc->state, j->reservation);
        struct managed_reservation *m = r ? managed_of(r) : NULL;

        return m ? managed_member_find(m, j->client->session) : NULL;
}

void joins_collect(struct service *svc) {
        while (!list_empty(&svc->managed.joined)) {
                struct join *j = container_of(svc->managed.joined.next, struct join, link);
                struct managed_member *member = member_of(svc, j);

                list_remove(&j->link);
                if (member) {
                        member->joining = false;
                        member->joined = j->result == 0;
                }
                j->request->jobs--;
                request_continue(svc, j->request);
        }
}

void join_free(struct service *svc, struct request *r) {
        struct join *j = r->join;
        struct managed_member *member;

        if (!j)
                return;
        list_remove(&j->link);
        member = j->told || r->session->ending ? NULL : member_of(svc, j);
        if (member && member->joined && svc->mover) {
                member->joined = false;
                mover_leave(svc->mover, member->client->mover, member->managed->range);
        }
        alloc_free(j);
        r->join = NULL;
}
