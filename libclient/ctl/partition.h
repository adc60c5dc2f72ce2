#pragma once

#include <svmd.h>

struct args;
struct ctl;
struct json_object;
struct node_rows;

struct json_object *partition_json(struct ctl *c, const struct svmd_partition_row *p, const struct node_rows *nodes);
const char *partition_window(unsigned window);
/* The partition of that name; else an exit status, and what is wrong was written, with the nearest name. */
int partition_find(struct ctl *c, const char *name, const struct svmd_partition_row **ret);
