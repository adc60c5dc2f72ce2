#include <errno.h>
#include <string.h>

#include "backend/soft/soft.h"
#include "backend/soft/span.h"
#include "base/alloc.h"
#include "proto/status.h"

/*
 * Memory that a process has itself (registered memory). Nobody of svmd maps it; it is asked for a chunk at a time, and
 * who is asked may wait for that process. So the device's thread does not: the operation rests, as one that has asked
 * for a granule, and what unmaps the memory calls the question off.
 */
int soft_client_make(struct device_space *s) {
        int r = soft_make_kept(s);

        if (r < 0 || s->client)
                return r;
        s->client = alloc_zero(sizeof(*s->client));
        if (!s->client)
                return -ENOMEM;
        s->client->space = s;
        list_init(&s->client->request.link);
        return 0;
}

static void answered(struct client_request *request, int result) {
        struct soft_client *c = container_of(request, struct soft_client, request);
        struct device_space *s = c->space;

        pthread_mutex_lock(&s->lock);
        c->result = result;
        c->state = CLIENT_ANSWERED;
        pthread_mutex_unlock(&s->lock);
        soft_goes_on(s);
}

/* True: the operation is to be told. */
static bool call_off(struct soft_client *c) {
        if (c->state == CLIENT_WANTED) { /* the device's thread is about to ask, and will find this */
                c->state = CLIENT_ANSWERED;
                c->result = -ECANCELED;
                return false;
        }
        if (c->state != CLIENT_ASKED || !c->request.access->cancel(c->request.userdata, &c->request))
                return false;
        c->state = CLIENT_ANSWERED;
        c->result = -ECANCELED;
        return true;
}

bool soft_client_unmapped(struct device_space *s, uint64_t va, uint64_t size) {
        struct soft_client *c = s->client;

        if (!c || c->state == CLIENT_IDLE || c->va >= va + size || va >= c->va + c->size)
                return false;
        return call_off(c);
}

void soft_client_close(struct device_space *s) {
        bool called_off;

        pthread_mutex_lock(&s->lock);
        s->closing = true;
        called_off = s->client && call_off(s->client);
        pthread_mutex_unlock(&s->lock);
        if (called_off)
                soft_goes_on(s);
}

bool soft_client_ask(struct device_space *s) {
        struct soft_client *c = s->client;
        bool asked = false;

        soft_lock(s);
        if (!c || c->state == CLIENT_IDLE) {
                soft_unlock(s);
                return false;
        }
        if (c->state == CLIENT_WANTED && !s->closing) {
                c->request.size = c->size;
                c->request.write = c->write;
                c->request.data = c->data;
                c->request.done = answered;
                c->state = CLIENT_ASKED;
                asked = memfile_ask(c->slot, c->offset, &c->request) == 0;
        }
        if (!asked) {
                c->state = CLIENT_ANSWERED;
                c->result = -ECANCELED;
        }
        soft_unlock(s);
        if (!asked)
                soft_goes_on(s);
        return true;
}

void soft_client_settle(struct device_space *s) {
        if (s->client && s->client->state == CLIENT_ANSWERED)
                s->client->state = CLIENT_IDLE;
}

static bool is_answer(const struct soft_client *c, const struct span *span, bool write) {
        return c->state == CLIENT_ANSWERED && c->va == span->va && c->write == write &&
               (c->result == -ECANCELED || (c->slot == span->slot && c->offset == span->offset));
}

static enum progress want(struct soft_client *c, const struct span *span, uint64_t size, bool write) {
        c->state = CLIENT_WANTED;
        c->va = span->va;
        c->slot = span->slot;
        c->offset = span->offset;
        c->size = (uint32_t)size;
        c->write = write;
        return OP_ASKS;
}

static enum progress outcome(const struct run *run, struct soft_client *c) {
        c->state = CLIENT_IDLE;
        switch (c->result) {
        case 0: return OP_MORE;
        case -ECANCELED:
                return span_fail_access(run, c->va, c->write, SVMD_STATUS_NOT_MAPPED,
                                        "the registered memory there was unmapped from this space meanwhile");
        case -ESTALE:
                return span_fail_access(run, c->va, c->write, SVMD_STATUS_NOT_MAPPED,
                                        "the process has given back memory that it had registered (munmap, mremap, "
                                        "madvise); register it anew");
        case -EFAULT:
                return span_fail_access(run, c->va, c->write, SVMD_STATUS_ACCESS,
                                        "the process does not allow that access to its memory (mprotect)");
        case -ESRCH:
                return span_fail_access(run, c->va, c->write, SVMD_STATUS_NOT_MAPPED,
                                        "the process whose memory it is has ended");
        }
        return span_fail_access(run, c->va, c->write, SVMD_STATUS_SYSTEM, strerror(-c->result));
}

enum progress client_read(const struct run *run, struct span *span, char *to) {
        struct soft_client *c = run->space->client;
        enum progress step;

        if (!is_answer(c, span, false))
                return want(c, span, span->size, false);
        step = outcome(run, c);
        if (span->size > c->size)
                span->size = c->size;
        if (step == OP_MORE)
                memcpy(to, c->data, span->size);
        return step;
}

enum progress client_write(const struct run *run, const struct span *span, const char *from, uint64_t size) {
        struct soft_client *c = run->space->client;

        if (is_answer(c, span, true))
                return outcome(run, c);
        memmove(c->data, from, size);
        return want(c, span, size, true);
}
