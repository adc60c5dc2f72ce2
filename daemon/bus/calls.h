#pragma once

#include <sys/types.h>

#include <systemd/sd-bus.h>

#include "proto/svmd.pb-c.h"

/*
 * Method calls that change something. Each becomes the request that a packet of its caller would be:
 *
 *      who is it? -> may he? -> a connection of its own: hello, "for that process", the operation -> reply
 *
 *      may he: root and members of the group that the socket lets administer may; of others polkit is asked.
 *
 * Nothing waits, and a caller that vanishes takes its call along: polkit's question and the connection end.
 */
struct calls;
struct view;

struct calls_options {
        sd_bus *bus;
        const char *socket;
        gid_t admin_gid; /* (gid_t)-1: there is no such group */
};
/* node, what, bytes at most, session, pid, client */
#define BUS_PLAN "(ssttus)"
/* id, pid, uid, gid, client, reservations, memories, spaces, registered bytes */
#define BUS_SESSIONS "(tuuustttt)"
enum {
        CALLS_MAX = 256,
        CALLS_A_SENDER = 8,
        CALLS_A_USER = 32, /* once it is known who he is */
};

/* What the reply is. */
enum call_reply {
        REPLY_EMPTY,
        REPLY_PARTITION, /* path of the partition that was made */
        REPLY_FENCE,     /* empty, when the operation's fence has ended */
        REPLY_PLAN,      /* what it would come to, without doing it: BUS_PLAN */
        REPLY_SESSIONS,  /* all pages of them: BUS_SESSIONS */
};

struct call_desc {
        const char *action; /* of polkit */
        enum call_reply reply;
        const char *name; /* of the partition */
};

int calls_new(struct calls **ret, const struct calls_options *options);
void calls_free(struct calls *c);
/* What was done is seen by who reads properties before its caller is told. Before the first call. */
void calls_set_view(struct calls *c, struct view *v);
/* There is another copy. */
void calls_seen(struct calls *c);
/* For a method's handler to return: 1, and the reply comes later; or negative with `error` set. */
int call_begin(struct calls *c, sd_bus_message *m, const struct call_desc *desc, const Svmd__V1__Op *op,
               sd_bus_error *error);
/* The same error for a name of svmd's codes. */
#define CALL_ERROR(code_name) "org.svmd1.Error." code_name
