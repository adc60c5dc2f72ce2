#pragma once

#include <stdint.h>

struct call;
struct request;
struct service;
struct session;

/*
 * Who changed what as an administrator, in the log: one message an operation that administers, with its arguments and
 * how it ended, before its reply leaves. What is refused is said too, up to a rate; what was done always. And which
 * process kept memory that svmd had asked it for, up to a rate.
 */

/* Before the request's operations, whose flags these are: finds out who asks, while he is there. -ENOMEM. */
int audit_begin(struct service *svc, struct session *s, unsigned flags);
/* One operation has ended with that code. */
void audit_end(struct service *svc, const struct session *s, const struct call *c);
/* The session's process did not give back what it has mapped of the node's memory, and others go on without it. */
void audit_withheld(struct service *svc, const struct session *s, const char *node, const char *why);
/* From now on the session asks for another process, which svmd cannot see itself. -ENOMEM. */
int audit_act_for(struct service *svc, struct session *s, uint32_t pid, uint32_t uid);
void audit_forget(struct session *s);
