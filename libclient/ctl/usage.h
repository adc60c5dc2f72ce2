#pragma once

struct args;
struct ctl;
struct node_rows;
struct svmd_holder_row;

/* The other faces of 'usage', each an exit status: who holds what now, grouped; who held what; what others say of it.
 */
int usage_by(struct ctl *c, const struct args *a);
int usage_since(struct ctl *c, const struct args *a);
int usage_drift(struct ctl *c);
/* --by as SVMD_BY_*; an exit status, and what is wrong was written. */
int usage_way(struct ctl *c, const struct args *a, unsigned otherwise, unsigned *ret);
const char *usage_way_name(unsigned by);
/* What stands above the names. */
const char *usage_heading(unsigned by);
/* The key for a person: a user by name, a container by its name if it is known, and the beginning of its number. */
const char *usage_key(struct ctl *c, unsigned by, const char *key);
/* The same of the container of a row; "": in none. */
const char *usage_container(struct ctl *c, const struct svmd_holder_row *r);
