#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "backend/memfile.h"
#include "base/list.h"
#include "mover/internal.h"

/*
 * A process whose memory devices reach where it is (registered memory). Two threads a process, made for the first
 * registration: one serves what devices ask for, the other one (reach.h) is the only one that may be held up there.
 *
 * What is registered has the session's userfaultfd on it, only so that the kernel tells of munmap, mremap and madvise:
 * whoever does one of these goes on when the event has been read. So:
 *
 *      reading events    the gate is closed: no access is between its check and its end. What an event names is fenced
 *                        before the gate opens
 *      an access         behind the gate: not fenced, no event unread, each page still registered. Only then what was
 *                        read counts, and what is written is let into pages that were pinned before the check
 *
 * Locks: gate, then the mover's, then the client's. `done` of a request is called with none.
 */
struct reach;

struct mover_registered {
        struct list link; /* in the client's */
        struct clientmem *client;
        uint64_t id, address, size;
        void *userdata;
        bool fenced;
        bool fresh; /* registered while events were being read: what they tell of its addresses was there before */
        bool check; /* events may have been lost: look at all of it */
        const char *why;
        struct news news;
};

struct clientmem {
        struct mover *m;
        int uffd, mem;
        uint32_t pid, uid;
        uint64_t probe; /* a page there that is svmd's to write into */
        pthread_mutex_t gate, lock;
        pthread_cond_t wake, settled;
        uint32_t refs;
        uint64_t last_id;
        struct list registered, queue;
        struct client_request *current; /* NULL: called off */
        bool reading;                   /* events were read, or are, and not all has been acted on */
        bool supplying;                 /* what it writes is let through just now */
        bool stop;
        struct reach *reach;
        char data[CLIENT_REQUEST_MAX]; /* of the current request */
};

/* Takes `mem` over on success. -errno. */
int clientmem_new(struct clientmem **ret, struct mover *m, int uffd, int mem, uint32_t pid, uint32_t uid,
                  uint64_t probe);
/* The session lets go of it; nothing more is asked for. NULL is allowed. */
void clientmem_stop(struct clientmem *c);
void clientmem_put(struct clientmem *c);

/* Around reading events. False: an access does not end. */
bool clientmem_gate_close(struct clientmem *c);
void clientmem_gate_open(struct clientmem *c);
/* An event; with the mover's lock held, while the gate is closed. `gone`: what was mapped there is not any more. */
void clientmem_changed(struct clientmem *c, uint64_t start, uint64_t end, bool gone, const char *why);
/* The same of what an access has found, with the gate open. */
void clientmem_found(struct clientmem *c, uint64_t id, const char *why);
/* With the client's lock; NULL: it is not registered, or fenced. */
struct mover_registered *registered_find(const struct clientmem *c, uint64_t id);

/* clientmem_serve.c: the thread that serves. */
void *clientmem_main(void *userdata);
