#pragma once

/*
 * The numbers of Past and Touch rows, and their names for people and programs. Those of causes and states are in
 * proto/range.h.
 */
#define PAST_NODE_CPU 0xfffffffeu

/* Numbers of enum managed_deed. */
#define PAST_DEEDS(X)                                                                                                  \
        X(BEGAN, 0, "began")                                                                                           \
        X(MOVED, 1, "moved")                                                                                           \
        X(COPIED, 2, "copied")                                                                                         \
        X(MAPPED, 3, "mapped")                                                                                         \
        X(UNCOPIED, 4, "uncopied")                                                                                     \
        X(DISCARDED, 5, "discarded")                                                                                   \
        X(TAKEN, 6, "taken")                                                                                           \
        X(RETURNED, 7, "returned")                                                                                     \
        X(REFUSED, 8, "refused")                                                                                       \
        X(DELAYED, 9, "delayed")

/* Numbers of enum managed_why. */
#define PAST_WHYS(X)                                                                                                   \
        X(NONE, 0, "none")                                                                                             \
        X(ROOM, 1, "room")                                                                                             \
        X(LIMIT, 2, "limit")                                                                                           \
        X(RESERVE, 3, "reserve")                                                                                       \
        X(CGROUP, 4, "cgroup")                                                                                         \
        X(PINNED, 5, "pinned")                                                                                         \
        X(ADVICE, 6, "advice")                                                                                         \
        X(RECENT, 7, "recent")                                                                                         \
        X(RATE, 8, "rate")                                                                                             \
        X(THRASH, 9, "thrash")                                                                                         \
        X(CAP, 10, "cap")                                                                                              \
        X(USED, 11, "used")                                                                                            \
        X(OFFLINE, 12, "offline")                                                                                      \
        X(FAULTLESS, 13, "no-faults")                                                                                  \
        X(REVOKED, 14, "revoked")                                                                                      \
        X(LOST, 15, "lost")                                                                                            \
        X(PROFILE, 16, "profile")                                                                                      \
        X(SYSTEM, 17, "system")

/* Numbers of enum managed_outcome. */
#define TOUCH_OUTCOMES(X)                                                                                              \
        X(IS_HERE, 0, "here")                                                                                          \
        X(BEGINS, 1, "begins")                                                                                         \
        X(MOVES, 2, "moves")                                                                                           \
        X(COPIES, 3, "copies")                                                                                         \
        X(MAPS, 4, "maps")                                                                                             \
        X(TOUCH_WAITS, 5, "waits")                                                                                     \
        X(TOUCH_FAILS, 6, "fails")
