#pragma once

#include <stdbool.h>

#include "svmd.h"

struct daemon;

/*
 * What svmd says that it holds against what the kernel says that svmd's files have taken, when nothing moves:
 *
 *      host nodes, together    used == st_blocks of the ranges' memory, of arenas and of memories
 *      each soft node          used + warm == st_blocks of its pool and of its slots; of the reserve none is taken
 *
 * True once it is so; false when it is not within the ceiling, and then it has said what differs.
 */
bool oracle_agrees(svmd_session *watcher, const struct daemon *d);
