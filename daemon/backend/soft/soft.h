#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "backend/soft/pagetable.h"
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
        struct device_op op;
        bool checked;
        uint64_t done;  /* bytes, or hops */
        uint64_t value; /* sum so far */
        uint64_t at;    /* record that the chase has reached */
};

struct device_space {
        struct device *device;

        /* The translation; held for a chunk by the device's thread, see soft.c. */
        pthread_mutex_t lock;
        pthread_cond_t left;
        atomic_uint waiting; /* callers at the lock */
        bool yielding;       /* the thread waits until they have been in */
        struct pagetable table;
        struct imap sparse; /* address -> enum sparse_writes */

        /* Under the device's lock. */
        struct list ready; /* in device->ready while operations wait */
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

/* Runs the next chunk of the operation, with the space locked. True: it has ended, and `result` (zeroed before) says
 * how. */
bool soft_run_chunk(struct device_space *s, struct soft_job *job, struct device_result *result);
