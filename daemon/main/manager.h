#pragma once

#include <stddef.h>
#include <stdint.h>

#include "transport/transport.h"

/*
 * svmd under a service manager (systemd, or what speaks as it does): sockets that it opened, and what it is told.
 * Without one all of this does nothing.
 */
enum { MANAGER_SOCKETS = 16 };

/* Sockets of type SEQPACKET that listen at a path; what else was given is closed, with a warning. How many. */
size_t manager_sockets(struct transport_given given[MANAGER_SOCKETS]);
/* How often manager_alive() has to be called, in ms; 0: nobody waits for it. */
uint64_t manager_beat_ms(void);
/* The loop turns. Also a line of status for people. */
void manager_alive(uint32_t nodes, uint64_t sessions);
void manager_ready(uint32_t nodes, uint64_t sessions);
/* The configuration is read again; manager_ready() ends it. */
void manager_reloading(void);
/* Becoming another program, with the same process. */
void manager_becoming(const char *program);
void manager_stopping(void);
