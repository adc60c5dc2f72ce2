#pragma once

#include <stdbool.h>

struct daemon;

/*
 * The ledger of managed memory computed anew from the states of granules as svmd has written them down, against what
 * `svmd-ctl --json node list` says of each node. Copies of what is duplicated are no states, and are counted from what
 * svmd says of the partition's ranges. Nothing moves. True once it is the same; false when it is not within the
 * ceiling, and then it has said what differs.
 */
bool ledger_json_agrees(const struct daemon *d, const char *partition);
