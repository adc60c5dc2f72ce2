#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The processes that use ranges: forked before anything else, and told what to do over a socket. What each of them does
 * is what libsvmd does, by hand.
 */
enum client_op {
        CLIENT_UFFD,     /* gives its userfaultfd */
        CLIENT_MAP,      /* the descriptor that comes along (or nothing) at `address`, PROT_NONE; `value`: private */
        CLIENT_OPEN,     /* makes [address, size) accessible; `value`: PROT_* */
        CLIENT_FILL,     /* writes a pattern of the seed `value` */
        CLIENT_CHECK,    /* reads it: `value` is how many words are different */
        CLIENT_LOAD,     /* a word */
        CLIENT_STORE,    /* a word */
        CLIENT_UNMAP,    /* may be of a part */
        CLIENT_REMAP,    /* mremap to anywhere */
        CLIENT_ADVISE,   /* madvise(`value`) */
        CLIENT_PUNCH,    /* of the file that was mapped last, [offset of address - its start, size) */
        CLIENT_TRY,      /* loads a word: `value` is 1 when that was SIGBUS */
        CLIENT_WRITERS,  /* starts threads that write stamps all over [address, size) and check them; `value`: how many,
                            and from bit 8 on a number for the first */
        CLIENT_WRITTEN,  /* `value` is how many stamps they have written */
        CLIENT_QUIET,    /* they end: `value` is how many stamps were wrong, `address` how many were written */
        CLIENT_TIME,     /* touches a word in each `value` bytes; `value` is the ns a touch took (median) */
        CLIENT_BLOCKING, /* makes its userfaultfd blocking */
};

struct client_message {
        enum client_op op;
        int error; /* answer: errno of what failed */
        uint64_t address, size, value;
};

struct client {
        pid_t pid;
        int socket;
};

/* Forks it. */
void client_new(struct client *c);
void client_kill(struct client *c);
/* One packet; `fd` -1: none. */
void client_send(struct client *c, const struct client_message *m, int fd);
void client_receive(struct client *c, struct client_message *m, int *ret_fd);

uint64_t pattern(uint64_t address, uint64_t seed);
