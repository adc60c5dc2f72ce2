#pragma once

#include <stdint.h>

#include <systemd/sd-event.h>

/*
 * What svmd-dbus knows of svmd: a copy that a connection of its own keeps up to date, asked for anew when something was
 * told and every two seconds. Readers never wait, and see what was true then. While svmd is away the last copy stays.
 */
enum { VIEW_NAME = 64, VIEW_LONG = 128, VIEW_NODES_MAX = 256, VIEW_PARTITIONS_MAX = 8192 };

/* Of members that have nothing special: X(property, signature, member). */
#define VIEW_MANAGER_NUMBERS(X)                                                                                        \
        X("Running", "b", running)                                                                                     \
        X("Pid", "u", pid)                                                                                             \
        X("Epoch", "t", epoch)                                                                                         \
        X("Sessions", "t", sessions)                                                                                   \
        X("Partitions", "t", partitions)                                                                               \
        X("Reservations", "t", reservations)                                                                           \
        X("Refusals", "t", refusals)                                                                                   \
        X("JournalUsed", "t", journal_used)                                                                            \
        X("JournalSize", "t", journal_size)                                                                            \
        X("Keeper", "b", keeper)
#define VIEW_NODE_NUMBERS(X)                                                                                           \
        X("Id", "u", id)                                                                                               \
        X("Online", "b", online)                                                                                       \
        X("Faults", "b", faults)                                                                                       \
        X("Capacity", "t", capacity)                                                                                   \
        X("Used", "t", used)                                                                                           \
        X("Managed", "t", managed)                                                                                     \
        X("Reserve", "t", reserve)                                                                                     \
        X("Waiting", "t", waiting)                                                                                     \
        X("Bounces", "t", bounces)
#define VIEW_PARTITION_NUMBERS(X)                                                                                      \
        X("Start", "t", start)                                                                                         \
        X("Size", "t", size)                                                                                           \
        X("Uid", "u", uid)                                                                                             \
        X("Gid", "u", gid)                                                                                             \
        X("Mode", "u", mode)                                                                                           \
        X("Sessions", "t", sessions)                                                                                   \
        X("Reservations", "t", reservations)                                                                           \
        X("Kept", "t", kept)                                                                                           \
        X("KeptMax", "t", kept_max)

struct view_manager {
        char version[VIEW_NAME];
        int running, keeper; /* int: what sd-bus takes for a boolean */
        uint32_t pid;
        uint64_t epoch, sessions, partitions, reservations, refusals, journal_used, journal_size;
};

struct view_node {
        char name[VIEW_NAME], kind[VIEW_NAME], driver[VIEW_NAME], trouble[VIEW_LONG];
        int online, faults;
        uint32_t id;
        uint64_t capacity, used, managed, reserve, waiting, bounces;
        uint32_t untold; /* bits of properties that changed and were not told yet */
};

struct view_use {
        uint32_t node, unused;
        uint64_t used, max, high, low, min;
};

struct view_partition {
        char name[VIEW_NAME], domain[VIEW_NAME], window[VIEW_NAME], policy[VIEW_LONG];
        uint32_t uid, gid, mode;
        uint64_t start, size, sessions, reservations, kept, kept_max;
        struct view_use *uses;
        uint32_t uses_count;
        uint32_t untold;
};

struct view_copy {
        struct view_manager manager;
        struct view_node *nodes; /* by name */
        uint32_t nodes_count;
        struct view_partition *partitions; /* by name */
        uint32_t partitions_count;
};

struct view;
struct view_hooks {
        void *userdata;
        /* There is another copy, which is current from the return of this on; view_node() and the others still answer
         * out of the old one. `next` may be written to. */
        void (*changes)(void *userdata, const struct view_copy *now, struct view_copy *next);
        /* It is current. */
        void (*changed)(void *userdata);
        /* svmd tells what happened: bytes and node (UINT32_MAX: of none) of a condition. */
        void (*happened)(void *userdata, const char *what, const char *partition, uint32_t node, uint64_t bytes,
                         uint64_t session, uint32_t pid, const char *text);
};

int view_new(struct view **ret, sd_event *loop, const char *path, const struct view_hooks *hooks);
void view_free(struct view *v);
/* The number of the copy that will have everything that svmd has done so far, and that is made now; and of the current
 * one. While svmd is away they are the same. */
uint64_t view_after(struct view *v);
uint64_t view_number(const struct view *v);

const struct view_copy *view_now(const struct view *v);
/* NULL: there is none. */
struct view_node *view_node(const struct view_copy *c, const char *name);
const struct view_node *view_node_of(const struct view_copy *c, uint32_t id);
struct view_partition *view_partition(const struct view_copy *c, const char *name);
