#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "proto/svmd.pb-c.h"

/*
 * One connection to svmd's socket for administrators, on an sd_event loop. Nothing here waits. One request is on its
 * way at a time: the next is sent when the reply to the last one has come.
 *
 * Replies and events live during the call. The link may be freed in any of them.
 */
struct link;

struct link_hooks {
        void *userdata;
        void (*reply)(void *userdata, const Svmd__V1__Result *result);
        void (*event)(void *userdata, const Svmd__V1__Event *event);
        /* The connection has ended, or svmd says what is no reply. Free the link. */
        void (*ended)(void *userdata, const char *why);
};

/* Says hello; the first reply is the one to that. Negative errno: nobody answers there. */
int link_new(struct link **ret, sd_event *loop, const char *path, const struct link_hooks *hooks);
/* One operation. -EBUSY while a reply is due, -EMSGSIZE, or what became of the connection. */
int link_send(struct link *l, const Svmd__V1__Op *op);
/* NULL is allowed. */
void link_free(struct link *l);

/* An operation on its own, to be sent later. -ENOMEM, -EMSGSIZE. */
int op_pack(const Svmd__V1__Op *op, void **ret, size_t *ret_size);
/* `dry_run`: it is only tried, and the reply says what it would come to. */
int link_send_packed(struct link *l, const void *bytes, size_t size, bool dry_run);
