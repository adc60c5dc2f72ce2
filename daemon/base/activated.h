#pragma once

#include <stdbool.h>
#include <sys/types.h>

/*
 * What small programs have in common that a service manager starts when somebody connects to their socket, and that end
 * when nobody comes any more. They tell a person on standard error.
 */

/* Whether it gave this process one listening SOCK_SEQPACKET socket and nothing else, and there is that user, by name or
 * number; says which of them was missing. */
bool activated_begin(const char *program, const char *user, uid_t *ret);
/* Up to a day. */
bool activated_read_seconds(const char *text, unsigned *ret);
/* Whether that user or root has connected; says so where it was somebody else. */
bool activated_may(const char *program, int fd, uid_t user);
/* Who connects next; -1: nobody has for so long (-1: waits for ever). */
int activated_accept(int patience_ms);
/* Serves one connection after the other, until nobody has come for so long (0: for ever). What is received on one waits
 * a second at most. `serve` need not close it. */
void activated_serve(unsigned idle_s, void (*serve)(void *userdata, int fd), void *userdata);
