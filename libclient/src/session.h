#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "heads.h"
#include "ranges.h"
#include "svmd.h"

struct adoption;
struct call;
struct event;
struct fdcache;
struct grants;
struct cuda;
struct drm;
struct kfd;
struct inbox;
struct probe;
struct registration;
struct reservation;
struct slice;
struct view;
struct waiter;

/*
 * A session: one connection, and what this process knows of it. Four locks, taken in this order:
 *  - `va_lock` makes changes of what the CPU sees one after the other; it is held over round trips;
 *  - the lock of managed ranges (process.h): what is mapped of them in this process, by whichever session; it is held
 *    over round trips and over system calls that wait for svmd;
 *  - the lock of the process (process.h), for the lists of sessions and slices;
 *  - `lock` guards every field below that changes, for moments, never over a system call that waits. What `va_lock`
 *    serialises is changed under `lock` too: fork() takes `lock` alone and must find consistent lists.
 */
struct svmd_session {
        struct svmd_session *next, **link; /* all of the process */
        atomic_bool forked;                /* this is the child of the process whose session it is */
        pthread_mutex_t va_lock, lock;

        /* wire.c */
        int socket;
        uint64_t last_id;
        uint64_t epoch_id;               /* calls up to this one may have been answered by an earlier svmd */
        struct call *calls, **calls_end; /* unanswered, in the order of their ids */
        struct call *unsent;             /* the first of them that did not go out yet */
        struct call *spare_calls;
        struct waiter *waiters, **waiters_end;
        bool reading; /* a thread reads the socket */
        bool reset;   /* the peer closed with our packets unread */
        bool ended;
        int end_code;
        char *end_text;
        struct inbox *in;
        unsigned char *buffer;
        struct svmd_fence *pending, **pending_end; /* not done, in the order of submission */
        struct svmd_fence *finished;

        /* event.c */
        struct event *events, **events_end;
        unsigned event_count;
        uint64_t lost_events;
        bool refresh_all; /* events of reservations may have been lost */
        bool delivering;
        svmd_event_fn handler;
        void *userdata;
        int poll_fd, wake_fd; /* -1 until svmd_event_fd() */

        /* va.c */
        struct ranges reservations, views, sparse;
        struct view *spare_views;
        unsigned spare_count;
        unsigned descriptors_from; /* 0, or the lowest number of those that stay */
        struct fdcache *fdcache;
        struct slice *slice;
        struct svmd_session *slice_next, **slice_link;

        /* uffd.c, heads.c */
        int uffd; /* -1 until the first managed range, or registered memory */

        /* register.c, with the lock of managed ranges */
        struct registration *registrations;
        struct probe *probe; /* a page for svmd, NULL until memory is registered */

        /* adopt.c, likewise */
        struct adoption *adoptions;

        /* What only some sessions have: NULL until it is needed, and then of the thread that was the first to make it.
         */
        _Atomic(struct grants *) grants; /* grant.c: one was asked for */
        _Atomic(struct kfd *) kfd;       /* agent/kfd.c: a node of AMD's compute driver was used */
        _Atomic(struct drm *) drm;       /* agent/drm.c: a file of a DRM device was given */
        _Atomic(struct cuda *) cuda;     /* agent/cuda.c: there was a space of a CUDA node */

        /* heads.c */
        struct heads heads;

        struct svmd_session_info info;
};

/* 0, or the code with which every call of this session fails now. */
int session_check(const svmd_session *s);
/* The end of a call that waited: handles the events that came, without touching svmd_error(). Returns `r`. */
int session_leave(svmd_session *s, int r);
/* The same descriptor with a number from `from` on, as far as the process may have such. Takes `fd` over. */
int descriptor_above(int fd, unsigned from);
/* Frees the memory; nothing of the session may be in use. */
void session_free(svmd_session *s);
