#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * The kernel's userfaultfd, thin: each function is one system call. 0, or -errno. What each of them does to an address
 * space of another process is what the kernel does; -ESRCH: that process has ended, -ENOENT: there is no (registered)
 * mapping, -EAGAIN: its mappings are changing, and an event about that has to be read.
 */
enum {
        USERFAULT_WAKE = 1,    /* whoever waits in what was served */
        USERFAULT_PROTECT = 2, /* against writes */
};

/* What svmd cannot do without. */
uint64_t userfault_needs(void);
/* The same for huge pages, in addition. */
uint64_t userfault_needs_huge(void);
uint64_t userfault_poison_bit(void);
/* For one of svmd's own, with nobody to read events. */
uint64_t userfault_needs_own(void);

/* A new one, by /dev/userfaultfd or the system call; not blocking. */
int userfault_new(void);
/* A userfaultfd, of whichever process. */
bool userfault_is(int fd);
/* Once each. `ret_has` may be NULL. -EINVAL: the kernel has not all of `features`, or it was done before. */
int userfault_api(int fd, uint64_t features, uint64_t *ret_has);
/* Read-only: a private mapping, which is never protected. `ret_ioctls`: what can be done there, a bit each. */
int userfault_register(int fd, uint64_t start, uint64_t size, bool readonly, uint64_t *ret_ioctls);
/* Memory of nothing, of svmd's own: its pages are served by copy. */
int userfault_register_missing(int fd, uint64_t start, uint64_t size);
/* Whether such a registration serves memory of files as svmd needs it. */
bool userfault_serves(uint64_t ioctls, bool readonly);

int userfault_protect(int fd, uint64_t start, uint64_t size);
int userfault_unprotect(int fd, uint64_t start, uint64_t size, unsigned flags);
int userfault_wake(int fd, uint64_t start, uint64_t size);

/* These stop at the first page that cannot be served: bytes that were (at least one page), or -errno. -EEXIST: there is
 * one; -EFAULT of continue: there is none in the file. */
int64_t userfault_copy(int fd, uint64_t to, const void *from, uint64_t size, unsigned flags);
int64_t userfault_zero(int fd, uint64_t to, uint64_t size, unsigned flags); /* not for huge pages, nor PROTECT */
int64_t userfault_continue(int fd, uint64_t start, uint64_t size, unsigned flags);
int64_t userfault_poison(int fd, uint64_t start, uint64_t size, unsigned flags);
/* Whether the page is registered with this userfaultfd, and nothing has changed there that was not read of: 0, -ENOENT,
 * -EAGAIN, -ESRCH. Changes nothing that its process could tell. */
int userfault_has(int fd, uint64_t page);

/* What the kernel tells. */
struct userfault_event {
        enum { USERFAULT_FAULT, USERFAULT_REMOVE, USERFAULT_UNMAP, USERFAULT_REMAP, USERFAULT_OTHER } type;
        bool write, minor;   /* FAULT */
        uint64_t start, end; /* FAULT: where, in `start`; REMAP: what was there */
};
/* Whether reading it never waits, also when another holder made it blocking. Of one with nothing to read, that is not.
 */
bool userfault_reads_now(int fd);
/* At most `max` events (64); how many, 0 when there is none now, or -errno. */
int userfault_read(int fd, struct userfault_event *ret, unsigned max);
