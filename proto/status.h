#pragma once

/*
 * Status codes of the wire and of libsvmd. The numbers never change; each row is
 * X(name, number, what it means to a person).
 */
#define SVMD_STATUS_TABLE(X)                                                                                           \
        X(OK, 0, "done")                                                                                               \
        X(MALFORMED, 1, "the packet is not a request; the session ends")                                               \
        X(VERSION, 2, "client and svmd share no protocol version")                                                     \
        X(UNKNOWN_OP, 3, "svmd does not know the operation")                                                           \
        X(SHAPE, 4, "the request has the wrong shape")                                                                 \
        X(DENIED, 5, "the caller has no right to do this")                                                             \
        X(NOT_ATTACHED, 6, "the session is attached to no partition")                                                  \
        X(SIZE, 7, "the size is wrong")                                                                                \
        X(ALIGN, 8, "the alignment is wrong")                                                                          \
        X(RANGE, 9, "the range lies outside of what it must lie in")                                                   \
        X(NO_SUCH, 10, "there is no such thing, or no longer")                                                         \
        X(FOREIGN, 11, "it belongs to another session")                                                                \
        X(NODE_KIND, 12, "a node of this kind cannot do it")                                                           \
        X(NO_NODE, 13, "there is no such node")                                                                        \
        X(LIMIT, 14, "a limit would be passed")                                                                        \
        X(NO_ROOM, 15, "the node is full")                                                                             \
        X(NO_VA, 16, "no free range of addresses is large enough")                                                     \
        X(TAKEN, 17, "something is there already")                                                                     \
        X(BUSY, 18, "it is in use")                                                                                    \
        X(FD_COUNT, 19, "the number of file descriptors is wrong")                                                     \
        X(FD_KIND, 20, "a file descriptor is of the wrong kind")                                                       \
        X(QUOTA, 21, "too many of these are held already")                                                             \
        X(NOT_MAPPED, 22, "nothing is mapped at the address")                                                          \
        X(ACCESS, 23, "the mapping does not allow this access")                                                        \
        X(NO_LINK, 24, "the two nodes have no direct link")                                                            \
        X(INTERRUPTED, 25, "svmd was restarted while it ran")                                                          \
        X(NO_MEMORY, 26, "the machine is out of memory")                                                               \
        X(STORE, 27, "the state database could not be written")                                                        \
        X(JOURNAL, 28, "the journal is full")                                                                          \
        X(GONE, 29, "the session has ended")                                                                           \
        X(FORKED, 30, "the session belongs to the parent process")                                                     \
        X(COLLISION, 31, "this process already uses the addresses")                                                    \
        X(UNSUPPORTED, 32, "this machine or build cannot do it")                                                       \
        X(ABORTED, 33, "another operation of the request failed, so this one was not done")                            \
        X(TIMEOUT, 34, "it did not happen in time")                                                                    \
        X(SYSTEM, 35, "a system call failed")                                                                          \
        X(NAME, 36, "the name is not allowed")                                                                         \
        X(INVALID, 37, "an argument has a value that means nothing")

enum svmd_status_number {
#define X(name, number, text) SVMD_STATUS_##name = number,
        SVMD_STATUS_TABLE(X)
#undef X
};

/* "NO_SUCH" and its sentence; unknown numbers give "UNKNOWN". Static strings. */
const char *status_name(unsigned code);
const char *status_text(unsigned code);
