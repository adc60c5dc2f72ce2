#pragma once

#include <stdint.h>
#include <sys/types.h>

struct ctl;

/* The name, or the number when there is none. */
const char *account_user(struct ctl *c, uint32_t uid);
const char *account_group(struct ctl *c, uint32_t gid);
/* "USER", "USER:GROUP", names or numbers; without a group, the user's own. Returns an exit status; what is wrong is
 * written. */
int account_parse_owner(struct ctl *c, const char *text, uint32_t *ret_uid, uint32_t *ret_gid);
/* Octal permission bits. */
int account_parse_mode(struct ctl *c, const char *text, unsigned *ret);
/* "rw-r-----" */
const char *account_mode(struct ctl *c, unsigned mode);
