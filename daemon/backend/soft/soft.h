#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "backend/memfile.h"
#include "backend/soft/pagetable.h"
#include "backend/soft/views.h"
#include "base/list.h"
#include "core/imap.h"

/* What the files of the software device share. */
enum {
        SOFT_CHUNK = 64 * 1024, /* bytes of an operation between two looks at who else waits */
        SOFT_HOPS = 256,        /* the same for a chase */
        SOFT_QUEUE_MAX = 1024,  /* operations of a space that wait or run */
};

/* One operation and how far it has come. */
struct soft_job {
        struct list link;
        struct device_space *space;
        struct device_op op;
        bool checked;
        uint64_t done;   /* bytes, or hops */
        uint64_t value;  /* sum so far */
        uint64_t at;     /* record that the chase has reached */
        uint64_t kept;   /* bytes of the step that have been read: in space->kept, of a chase in `pointer` */
        char pointer[8]; /* that the chase reads */
};

/* The granule that the first operation of a space asked for. It belongs to the device's thread, and from fault() to
 * range_answer() to whoever answers. */
struct soft_ask {
        bool open;  /* asked, and the answer has not been looked at */
        bool given; /* the answer began it, and it was not used yet */
        struct device_range *range;
        uint32_t granule;
        uint64_t va;
        bool write;
        unsigned code; /* the answer */
        char text[128];
};

/*
 * What the first operation of a space wants of memory that a process has itself. It is asked for when the space is not
 * locked, and the operation rests until it is answered; then it takes the same step again, and finds this.
 *
 *      IDLE -> WANTED -> ASKED -> ANSWERED -> IDLE
 *                 +------ called off ---^
 *
 * Under the space's lock, but `data` while it is ASKED.
 */
struct soft_client {
        struct client_request request;
        struct device_space *space;
        enum { CLIENT_IDLE, CLIENT_WANTED, CLIENT_ASKED, CLIENT_ANSWERED } state;
        uint32_t slot, size;
        uint64_t offset, va;
        bool write;
        int result; /* -ECANCELED: it was unmapped meanwhile */
        char data[SOFT_CHUNK];
};

struct device_space {
        struct device *device;

        /* The translation; held for a chunk by the device's thread, see space.c. */
        pthread_mutex_t lock;
        pthread_cond_t left;
        atomic_uint waiting; /* callers at the lock */
        bool yielding;       /* the thread waits until they have been in */
        struct pagetable table;
        struct imap sparse; /* address -> enum sparse_writes */
        struct soft_views views;
        const struct device_range *using; /* the first operation has begun a granule of it, or asked for one */
        bool hiding;                      /* a caller waits until it has not */
        pthread_cond_t unused;
        char *kept; /* SOFT_CHUNK bytes that an operation has read before it asks for where to write; NULL: there was
                       never anything to ask for */

        struct soft_ask ask;
        struct soft_client *client; /* NULL: no such memory was ever mapped */
        bool closing;               /* nothing more is asked for */

        /* Under the device's lock. */
        struct list ready; /* in device->ready while operations wait and the first of them can go on */
        struct list jobs;
        unsigned jobs_count;
        bool dying;
};

struct device {
        char name[NODE_NAME_MAX + 1];
        bool faults;
        device_done_fn done;
        void *userdata;
        atomic_ullong ops_done;

        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake;    /* the thread: there is something to do */
        pthread_cond_t settled; /* space_free(): nothing of the space is left */
        struct list ready;      /* spaces, in turn */
        struct device_space *running;
        bool stop;

        char bounce[2][SOFT_CHUNK]; /* the thread's own */
};

/* ---- space.c ---- */

int soft_space_new(struct device *d, struct device_space **ret);
void soft_space_free(struct device_space *s);
int soft_map(struct device_space *s, uint64_t va, const struct device_extent *extents, uint32_t count,
             struct map_attrs attrs);
void soft_unmap(struct device_space *s, uint64_t va, uint64_t size);
void soft_protect(struct device_space *s, uint64_t va, uint64_t size, struct map_attrs attrs);
void soft_sparse(struct device_space *s, uint64_t va, uint64_t size, enum sparse_writes writes,
                 struct imap_spare *spare);
void soft_translate(struct device_space *s, uint64_t va, struct device_translation *ret);
int soft_space_show(struct device_space *s, struct device_range *r, bool write);
void soft_space_hide(struct device_space *s, struct device_range *r);

/* Room for bytes that are kept. With the space locked. -ENOMEM. */
int soft_make_kept(struct device_space *s);

/* The lock of the translation, for the device's thread: behind the callers that wait for it. */
void soft_lock(struct device_space *s);
void soft_unlock(struct device_space *s);
/* The first operation uses no range any more. With the space locked. */
void soft_unused(struct device_space *s);

/* ---- soft.c ---- */

/* What the first operation of the space waited for is there. */
void soft_goes_on(struct device_space *s);

/* ---- client.c ---- */

/* With the space locked, as the next. -ENOMEM. */
int soft_client_make(struct device_space *s);
/* What is asked for there is called off; true: soft_goes_on() when the space is unlocked. */
bool soft_client_unmapped(struct device_space *s, uint64_t va, uint64_t size);
/* The device's thread: the first operation of the space has ended with SOFT_ASKS. False: it wanted no such memory. */
bool soft_client_ask(struct device_space *s);
/* A step is over: an answer that it did not take is nobody's. */
void soft_client_settle(struct device_space *s);
/* Nothing is asked for from now on. Without the lock. */
void soft_client_close(struct device_space *s);

/* ---- ops.c ---- */

enum soft_outcome {
        SOFT_GOES_ON,
        SOFT_ENDED, /* `result` says how */
        SOFT_ASKS,  /* space->ask is to be told to fault() */
};

/* Runs the next chunk of the operation; `result` is zeroed before. No lock is held. */
enum soft_outcome soft_run_chunk(struct device_space *s, struct soft_job *job, struct device_result *result);
/* The operation ends where it is: what an answer gave to it is given back. */
void soft_give_back(struct device_space *s);
