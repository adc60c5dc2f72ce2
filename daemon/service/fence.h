#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "base/list.h"
#include "core/ids.h"
#include "proto/codec.h"

/*
 * What goes on after its request was answered. The reply names a fence; the work is handed over when the journal has
 * that reply, so it is begun once at most, however often svmd dies; and its end is told by an event, or to who asks.
 */
struct call;
struct fence;
struct service;
struct session;

struct fence_kind {
        /* Hands the work over. May end the fence. */
        void (*start)(struct service *svc, struct fence *f);
        /* It is done, or forgotten with its session: lets go of what it holds. Once. NULL: nothing. */
        void (*end)(struct service *svc, struct fence *f);
        /* What the mover says of it: 0, MANAGED_E_*, -errno. From within what it tells. NULL: nothing. */
        void (*answer)(struct service *svc, struct fence *f, int result);
};

/* The first member of a larger struct, where a kind needs more. */
struct fence {
        struct object object;
        const struct fence_kind *kind;
        struct session *session;
        struct list by_session;
        struct list starting; /* in svc->submitted until the journal has the reply; then the kind's */
        int notify;           /* eventfd, or -1 */
        bool done;
        struct device_result result;
};

int fences_init(struct service *svc);
void fences_fini(struct service *svc);
/* Ends what devices have done. */
void fences_collect(struct service *svc);
/* Hands over what was submitted. */
void fences_start(struct service *svc);
/* For devices, with svc->fences: from any thread, and told by fences_collect(). */
void fences_done(void *userdata, const struct device_result *result);

/* Refused beyond what a session may have. */
int fence_quota(struct call *c);
/* A fence of `size` bytes in all, of the call's session; takes `notify` over. It starts when the journal has the reply
 * of the call, which gets its id. NULL: out of memory. */
struct fence *fence_new(struct call *c, size_t size, const struct fence_kind *kind, int notify);
void fence_free(struct service *svc, struct fence *f);
/* NULL: there is none, or the id is of something else. */
struct fence *fence_by_id(const struct service *svc, uint64_t id);
/* Told by the kind; may free it. The result's `fence` is not looked at. */
void fence_finish(struct service *svc, struct fence *f, const struct device_result *result);
/* The event that the fence of that number is done. False: the session was too slow for it. */
bool fence_tell(struct service *svc, struct session *s, uint64_t id, const struct device_result *with);
