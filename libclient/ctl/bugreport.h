#pragma once

#include <stdio.h>

struct ctl;

enum { BUGREPORT_EXPLAINED = 8, BUGREPORT_EXPLAIN = 'e', BUGREPORT_CGROUP = 'g' };

/* Writes the names that svmd knows, each a byte that says what kind it is, the name, and a NUL: p a partition, d a
 * domain, c a client or its process, r a reservation, k what is kept, o a container or a pod, g the path of a control
 * group; and after e what a verb explains, for the first managed reservations. Connects by itself. An exit status. */
int bugreport_names(struct ctl *c, FILE *out);
