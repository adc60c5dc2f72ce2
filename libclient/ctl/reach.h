#pragma once

struct ctl;

/* Connects: over admin.sock, and where the verb is not for administrators alone (flags: VERB_*), else over svmd.sock.
 * Returns an exit status; on failure what is wrong and what to do is written. */
int reach(struct ctl *c, unsigned flags);
/* The same in silence: `ret_why` says why not. */
int reach_quietly(struct ctl *c, unsigned flags, const char **ret_why);
/* The folder of svmd's sockets, from the root on. */
const char *reach_folder(struct ctl *c);
