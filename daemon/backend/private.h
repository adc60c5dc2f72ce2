#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

/*
 * Private memory: anonymous memory of one process, which the driver of a device moves, and the CPU's touch brings back.
 * svmd asks for moves by a file of the device that the process opened itself, since that file stands for its address
 * space, and looks where pages are. It owns nothing of this: what it knows was true when it looked.
 *
 * Every call into such a file waits for the process's own locks, for as long as that process likes. So each client has
 * a lane, a thread of its own, and nobody else ever waits for it:
 *
 *      loop: lane_submit() -> thread: private_run() -> lanes_take() in the loop
 */
struct lane;
struct lanes;
struct node_desc;
struct places;

#define PRIVATE_PAGE  4096u
#define PRIVATE_FILES 16 /* of a client, one a node */

/* ---- what a kind of node offers ---- */

enum private_way {
        PRIVATE_TO_DEVICE, /* its own memory */
        PRIVATE_TO_SYSTEM, /* what lies on it, back */
        PRIVATE_TOUCH,     /* it reads them: what another device has, or uses exclusively, comes back */
        PRIVATE_EXCLUSIVE, /* it alone may use the pages, which stay in system memory, until the CPU touches them */
};

/* What a device says of a page. */
enum private_page {
        PRIVATE_PAGE_NONE, /* nothing, or on another device, or swapped out, or of exclusive use */
        PRIVATE_PAGE_SYSTEM,
        PRIVATE_PAGE_HERE,
        PRIVATE_PAGE_UNMAPPED,
};

/* Any thread; -errno. `fd` was opened by the process whose memory is meant. */
struct private_ops {
        uint32_t piece; /* pages a call, at most; `scratch` has as many */
        /* Whether it is a file of the device at `path`: true, or false with a sentence. Does not wait. */
        bool (*file_ok)(const char *path, int fd, char *why, unsigned why_size);
        /* What cannot go stays, and that is no failure: look. TO_SYSTEM says how many pages came. -EINVAL: some of it
         * is not mapped there, or the process is gone. */
        int (*move)(int fd, uint64_t address, uint32_t pages, enum private_way way, void *scratch);
        /* enum private_page of each page. */
        int (*look)(int fd, uint64_t address, uint32_t pages, uint8_t *ret);
        /* 1: the device uses some of the pages exclusively. */
        int (*is_exclusive)(int fd, uint64_t address, uint32_t pages);
};

/* ---- what was seen ---- */

enum place {
        PLACE_UNSEEN,
        PLACE_NONE, /* no page: never touched, or swapped out */
        PLACE_SYSTEM,
        PLACE_DEVICE,    /* with the number of the file */
        PLACE_EXCLUSIVE, /* likewise: in system memory, and that device uses it alone */
        PLACE_UNMAPPED,  /* the process has taken it away */
        PLACES_END,
};

struct place_seen {
        enum place place;
        unsigned file;
};

/* A row of pages as they were seen last; any thread. Freed with its last user. */
int places_new(struct places **ret, uint64_t pages);
struct places *places_hold(struct places *p);
void places_drop(struct places *p);
void places_set(struct places *p, uint64_t first, const struct place_seen *seen, uint32_t count);
struct place_seen places_get(struct places *p, uint64_t page);
/* The same of `count` pages. */
void places_copy(struct places *p, uint64_t first, struct place_seen *ret, uint32_t count);
/* How many of the `most` pages from `page` on were seen alike. */
uint64_t places_run(struct places *p, uint64_t page, uint64_t most, struct place_seen *ret);
/* Pages that were seen so; of PLACE_DEVICE and PLACE_EXCLUSIVE those of that file. */
uint64_t places_count(struct places *p, enum place place, unsigned file);
/* CLOCK_MONOTONIC of the last look; 0: never. */
uint64_t places_seen_ns(struct places *p);

/* ---- work ---- */

enum private_task {
        PRIVATE_LOOK,
        PRIVATE_MOVE, /* to the file's device; PRIVATE_SYSTEM: back */
        PRIVATE_TAKE, /* exclusive use by the file's device */
        PRIVATE_CALL, /* something else that waits for the file's driver: `call` */
};
#define PRIVATE_SYSTEM UINT32_MAX

struct private_work {
        struct list link;
        uint64_t fence; /* the caller's */
        enum private_task task;
        uint32_t file;
        uint64_t address, pages;
        struct places *places; /* of a range that begins at `base`; CALL: NULL */
        /* CALL: in the lane's thread, as much as it can until *stop. */
        void (*call)(struct private_work *w, int fd, const atomic_bool *stop);
        void (*forget)(struct private_work *w); /* CALL: lets go of what it holds. NULL: nothing */
        bool last;                              /* also when the lane ends before it was begun */
        uint64_t base;
        unsigned settled; /* of private.c */
        /* The outcome. */
        int result;          /* -errno: svmd could not go on */
        uint64_t there;      /* pages that are where they shall be */
        uint64_t unmapped;   /* pages that are not mapped */
        uint64_t first_left; /* address of the first that is elsewhere; 0: none */
};

struct private_file {
        const struct private_ops *ops; /* NULL: it moves no memory, and is there for calls */
        int fd;
};
struct private_files {
        struct private_file file[PRIVATE_FILES];
        unsigned count;
        void *scratch; /* of the largest piece; NULL until needed */
};

/* Does the work, in this thread, or as much as it can until *stop. */
void private_run(struct private_files *files, struct private_work *w, const atomic_bool *stop);

/* ---- lanes ---- */

/* `wake` comes from any thread, when there is something to take. -ENOMEM. */
int lanes_new(struct lanes **ret, void (*wake)(void *userdata), void *userdata);
/* Lanes that have ended have had a moment to do so; of one that a process holds up, thread and files stay until it lets
 * go. Nobody is woken any more. NULL is allowed. */
void lanes_free(struct lanes *g);
/* Work that is done, which is the caller's again (private_work_free()); or NULL. */
struct private_work *lanes_take(struct lanes *g);

/* -ENOMEM, -EAGAIN. */
int lane_new(struct lane **ret, struct lanes *g);
/* Files are closed by the lane, since that may wait too, and what was not begun is forgotten but for what is `last`. */
void lane_end(struct lane *l);
/* Whether one that was told to end has not said goodbye yet by a file that is the `same` as `fd`: what that says. */
int lanes_end_with(struct lanes *g, int (*same)(int theirs, int fd), int fd);
/* Takes the descriptor over, under the next number. -ENOSPC. */
int lane_add_file(struct lane *l, const struct private_ops *ops, int fd);
/* The descriptor of that number, which stays the lane's. */
int lane_file(struct lane *l, unsigned file);
/* Takes the work over. In order. */
void lane_submit(struct lane *l, struct private_work *w);
void private_work_free(struct private_work *w);
