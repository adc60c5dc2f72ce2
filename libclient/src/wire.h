#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "proto/codec.h"
#include "proto/fdlist.h"
#include "session.h"

/* A packet that came, decoded. */
struct inbox {
        struct arena arena;
        Svmd__V1__Packet *packet;
        struct fdlist fds;
};

/* A thread that waits for a reply or for a fence. */
struct waiter {
        struct waiter *next, **link;
        pthread_cond_t wake;
        const struct svmd_fence *fence;
        bool done;
};

/* One request and its reply. It keeps the bytes and the descriptors until it is answered, to send them again. */
struct call {
        struct call *next, **link;
        struct waiter waiter;
        uint64_t id;
        unsigned char *bytes;
        size_t size, room, ops;
        struct fdlist fds;
        struct inbox *in;
        struct svmd_fence *
                *fences; /* one an operation: take their ids from the reply, before any event can name them */
        size_t fences_count;
        uint64_t *asked; /* nobody waits: the reply is about these fences */
        int error;       /* errno of a request that could not be sent */
};

/* A fence belongs to its session, which frees it at the latest. */
struct svmd_fence {
        struct svmd_fence *next, **link;
        svmd_session *session;
        uint64_t id;
        int eventfd;
        bool done;
        int code;
        char *text;
        uint64_t value, address;

        /* hint.c: when it is done, what lies on that node is mapped there; size 0: nothing */
        uint64_t shows, shows_size;
        svmd_node shows_node;
};

int wire_init(svmd_session *s, int socket);
/* Closes the descriptors and frees what wire_init() and calls took. */
void wire_fini(svmd_session *s);
/* In the child of a fork: closes what the session has open. */
void wire_close(svmd_session *s);

/* Sends a request (its id is given here) with duplicates of `count` descriptors, and waits for the reply. 0 and the
 * call, to be given back with call_put() when its results were read; or a code. One result an operation is made sure
 * of. `fences`: NULL, or one an operation; of those that failed they are still the caller's. */
int call_run(svmd_session *s, const Svmd__V1__Request *request, const int *fds, unsigned count,
             struct svmd_fence **fences, struct call **ret);
/* The halves of it, where something is to be done between them: what is sent first is answered first. After
 * call_begin() call_end() must come; where that fails the call is given back. */
int call_begin(svmd_session *s, const Svmd__V1__Request *request, struct call **ret);
int call_end(svmd_session *s, struct call *c);
/* call_run() for one operation: its failure is the failure of the call. */
int call_one(svmd_session *s, Svmd__V1__Op *op, Svmd__V1__Mode mode, struct call **ret,
             const Svmd__V1__Result **ret_result);
/* The same in BEST_EFFORT, with a duplicate of a descriptor. */
int call_one_fd(svmd_session *s, Svmd__V1__Op *op, int fd, struct call **ret, const Svmd__V1__Result **ret_result);
/* The same as call_one() where success is all there is to know. */
int call_simple(svmd_session *s, Svmd__V1__Op *op, Svmd__V1__Mode mode);
const Svmd__V1__Result *call_result(const struct call *c, size_t i);
void call_put(svmd_session *s, struct call *c);

/* With `lock` held: reads until the waiter is done, the session ended, or `deadline` (CLOCK_MONOTONIC, NULL: never)
 * has passed. What has arrived is taken in even when the deadline is in the past. */
void wire_wait(svmd_session *s, struct waiter *w, const struct timespec *deadline);
/* Takes in what has arrived, unless another thread is reading. */
void wire_read(svmd_session *s);
/* With `lock` held: asks the daemon about every fence that is not done. */
void wire_ask_fences(svmd_session *s);
int waiter_init(struct waiter *w);
