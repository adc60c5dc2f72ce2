#include "service/fence.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "core/session.h"
#include "service/internal.h"

/*
 *      made -----> starting -----> handed over -----> done -----> told, and forgotten
 *        the reply          commit           its end       event
 *
 * A device ends an operation in its own thread; the outcome waits in a queue for the loop. The fence is done then: its
 * eventfd is signalled, its event sent. It is forgotten when the event has gone out; where the session was too slow
 * for the event, it stays until it is asked for.
 */

#define FENCES_MAX 4096 /* of a session, until their ends were told */

struct done_entry {
        struct done_entry *next;
        struct device_result result;
};

struct done_queue {
        pthread_mutex_t lock;
        struct done_entry *first, **last;
        struct service *svc;
        aio_context_t aio; /* signals eventfds, with reads of nothing from `nothing` */
        int nothing;
};

void fences_done(void *userdata, const struct device_result *result) {
        struct done_queue *q = userdata;
        struct done_entry *e;

        /* The only allocation on a device's thread. Out of memory, the end of an operation waits for some. */
        while (!(e = alloc_zero(sizeof(*e))))
                usleep(1000);
        e->result = *result;
        pthread_mutex_lock(&q->lock);
        *q->last = e;
        q->last = &e->next;
        q->svc->hooks.wake(q->svc->hooks.userdata);
        pthread_mutex_unlock(&q->lock);
}

int fences_init(struct service *svc) {
        struct done_queue *q = alloc_zero(sizeof(*q));
        int r = 0;

        if (!q)
                return -ENOMEM;
        q->nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (q->nothing < 0 || syscall(SYS_io_setup, 1, &q->aio) < 0)
                r = -errno;
        if (r < 0) {
                if (q->nothing >= 0)
                        close(q->nothing);
                alloc_free(q);
                return r;
        }
        pthread_mutex_init(&q->lock, NULL);
        q->last = &q->first;
        q->svc = svc;
        svc->fences = q;
        return 0;
}

static struct done_entry *take_done(struct done_queue *q) {
        struct done_entry *first;

        pthread_mutex_lock(&q->lock);
        first = q->first;
        q->first = NULL;
        q->last = &q->first;
        pthread_mutex_unlock(&q->lock);
        return first;
}

void fences_fini(struct service *svc) {
        struct done_entry *e = take_done(svc->fences), *next;

        for (; e; e = next) {
                next = e->next;
                alloc_free(e);
        }
        syscall(SYS_io_destroy, svc->fences->aio);
        close(svc->fences->nothing);
        pthread_mutex_destroy(&svc->fences->lock);
        alloc_free(svc->fences);
}

/* ---- one fence ---- */

int fence_quota(struct call *c) {
        if (c->session->fences_count < FENCES_MAX)
                return 0;
        return refuse(c, SVMD_STATUS_QUOTA,
                      "%d operations of this session are not done or not asked for yet, which is the most; wait for "
                      "some of their fences",
                      FENCES_MAX);
}

struct fence *fence_new(struct call *c, size_t size, const struct fence_kind *kind, int notify) {
        struct fence *f;

        if (ids_reserve(&c->svc->state.ids, 1) < 0 || !(f = alloc_zero(size)))
                return NULL;
        f->object = (struct object){ .id = state_take_id(&c->svc->state), .type = OBJECT_FENCE };
        f->kind = kind;
        f->session = c->session;
        f->notify = notify;
        peer_take_fds(notify >= 0 ? c->session->party : NULL, 1);
        list_push_back(&c->session->fences, &f->by_session);
        c->session->fences_count++;
        ids_add(&c->svc->state.ids, &f->object);
        list_push_back(&c->svc->submitted, &f->starting);
        c->tx->effects = true; /* its reply is one */
        c->result->id = f->object.id;
        return f;
}

static void let_go(struct service *svc, struct fence *f) {
        list_remove(&f->starting);
        if (!f->done && f->kind->end)
                f->kind->end(svc, f);
        f->done = true;
}

void fence_free(struct service *svc, struct fence *f) {
        let_go(svc, f);
        ids_remove(&svc->state.ids, &f->object);
        list_remove(&f->by_session);
        f->session->fences_count--;
        if (f->notify >= 0) {
                close(f->notify);
                peer_drop_fds(f->session->party, 1);
        }
        alloc_free(f);
}

static void fill(const struct device_result *from, bool done, Svmd__V1__FenceResult *r) {
        svmd__v1__fence_result__init(r);
        r->done = done;
        if (!done)
                return;
        r->code = from->code;
        r->text = (char *)from->text;
        r->value = from->value;
        r->address = from->address;
}

bool fence_tell(struct service *svc, struct session *s, uint64_t id, const struct device_result *with) {
        Svmd__V1__FenceResult result;
        Svmd__V1__FenceEvent fence = SVMD__V1__FENCE_EVENT__INIT;
        Svmd__V1__Event event = SVMD__V1__EVENT__INIT;

        fill(with, true, &result);
        fence.fence = id;
        fence.result = &result;
        event.event_case = SVMD__V1__EVENT__EVENT_FENCE;
        event.fence = &fence;
        return event_send(svc, s, &event);
}

/* Its client may have filled the eventfd, and shares its flags, so a write() of svmd could wait for ever. The kernel's
 * own signal at the end of a read never waits. */
static void signal_eventfd(const struct done_queue *q, int fd) {
        struct iocb read = { .aio_lio_opcode = IOCB_CMD_PREAD,
                             .aio_fildes = (uint32_t)q->nothing,
                             .aio_flags = IOCB_FLAG_RESFD,
                             .aio_resfd = (uint32_t)fd },
                    *reads = &read;
        struct io_event done;

        if (syscall(SYS_io_submit, q->aio, 1, &reads) == 1)
                (void)syscall(SYS_io_getevents, q->aio, 1, 1, &done, NULL);
}

struct fence *fence_by_id(const struct service *svc, uint64_t id) {
        struct object *o = ids_find(&svc->state.ids, id);

        return o && o->type == OBJECT_FENCE ? container_of(o, struct fence, object) : NULL;
}

void fence_finish(struct service *svc, struct fence *f, const struct device_result *result) {
        let_go(svc, f);
        f->result = *result;
        if (f->notify >= 0)
                signal_eventfd(svc->fences, f->notify);
        if (!f->session->ending && fence_tell(svc, f->session, f->object.id, result))
                fence_free(svc, f);
}

/* A start may end its fence, and submit nothing. */
void fences_start(struct service *svc) {
        while (!list_empty(&svc->submitted)) {
                struct fence *f = container_of(svc->submitted.next, struct fence, starting);

                list_remove(&f->starting);
                f->kind->start(svc, f);
        }
}

void fences_collect(struct service *svc) {
        struct done_entry *e = take_done(svc->fences), *next;

        for (; e; e = next) {
                struct fence *f = fence_by_id(svc, e->result.fence);

                next = e->next;
                if (f)
                        fence_finish(svc, f, &e->result);
                alloc_free(e);
        }
}

int op_fence_query(struct call *c) {
        uint64_t id = c->op->fence_query->fence;
        struct fence *f = fence_by_id(c->svc, id);
        Svmd__V1__FenceResult *result = call_take(c, sizeof(*result));
        struct device_result lease = { 0 };
        bool done;

        if (!result)
                return -ENOMEM;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_FENCE;
        c->result->fence = result;
        if (lease_answer(c, id, &lease, &done)) {
                fill(&lease, done, result);
                result->text = call_string(c, lease.text);
                return 0;
        }
        if (!f && id > 0 && id < c->svc->first_id) {
                svmd__v1__fence_result__init(result);
                result->done = true;
                result->code = SVMD_STATUS_INTERRUPTED;
                result->text = call_string(
                        c,
                        "svmd was restarted while the operation ran; what it wrote may be there in part: submit it again");
                return 0;
        }
        if (!f || f->session != c->session) {
                c->result->detail_case = SVMD__V1__RESULT__DETAIL__NOT_SET;
                return refuse(c, SVMD_STATUS_NO_SUCH, "there is no fence %" PRIu64 ", or its end was told already", id);
        }
        fill(&f->result, f->done, result);
        if (!f->done)
                return 0;
        result->text = call_string(c, f->result.text);
        fence_free(c->svc, f);
        return 0;
}
