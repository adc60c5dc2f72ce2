#pragma once

#include "harness.h"

struct hammer_board;

/*
 * What others do beside a hammer on the same partition, for svmds that are killed:
 *
 *      churners    explicit memory on the host and on a device, checked (churn.h); two users
 *      readers     of an archive: a range whose owner has left, so that nobody can pay for what comes in
 *      a mover     an administrator who moves the archive about; svmd's end is the end of its session, and it comes
 * again
 *
 * They stand still with the hammer, and have looked at all they have before that.
 */
struct hammer_beside {
        struct actor churner[2], reader[2], mover;
};

void beside_start(struct hammer_beside *b, struct hammer_board *board);
/* After the board says stop. */
void beside_finish(struct hammer_beside *b);
void beside_abandon(struct hammer_beside *b);
