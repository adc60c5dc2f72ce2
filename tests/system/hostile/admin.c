#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "hostile/families.h"
#include "hostile/raw.h"
#include "svmd.h"

/* What only administrators may, by who is none. */

static void operations(struct message *m) {
        struct raw r;

        raw_attach(&r, target.socket, HOSTILE_PARTITION);
        must(raw_op(&r, PartitionCreate, PARTITION_CREATE, partition_create, NULL, b.name = (char *)"mine";
                    b.size = 4ull << 30) == SVMD_E_DENIED);
        must(raw_op(&r, PartitionSet, PARTITION_SET, partition_set, NULL, b.name = (char *)HOSTILE_PARTITION;
                    b.set_mode = true; b.mode = 0777) == SVMD_E_DENIED);
        must(raw_op(&r, PartitionDelete, PARTITION_DELETE, partition_delete, NULL, b.name = (char *)HOSTILE_PARTITION;
                    b.end_sessions = true) == SVMD_E_DENIED);
        must(raw_op(&r, NodeSet, NODE_SET, node_set, NULL, b.node = target.gpu; b.action = 1) == SVMD_E_DENIED);
        must(raw_op(&r, Monitor, MONITOR, monitor, NULL, b.on = true) == SVMD_E_DENIED);
        raw_close(&r);
}

static void others_sessions(struct message *m) {
        struct raw r;

        raw_attach(&r, target.socket, HOSTILE_PARTITION);
        for (uint64_t id = 1; id < target.ids; id++)
                must(raw_op(&r, SessionKill, SESSION_KILL, session_kill, NULL, b.session = id) == SVMD_E_DENIED);
        must(raw_op(&r, SessionList, SESSION_LIST, session_list, NULL, (void)b) == SVMD_E_DENIED);
        raw_close(&r);
}

static bool reachable(const char *path) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        bool yes;

        must(fd >= 0 && strlen(path) < sizeof(a.sun_path));
        strcpy(a.sun_path, path);
        yes = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
        must(yes || errno == EACCES || errno == EPERM || (!target.svmd && errno == ENOENT));
        close(fd);
        return yes;
}

static void sockets(struct message *m) {
        char path[256];

        must(!reachable(target.admin));
        snprintf(path, sizeof(path), "%s/run/keeper.sock", target.dir);
        must(!reachable(path));
        snprintf(path, sizeof(path), "%s/run/p/" HOSTILE_PARTITION "/svmd.sock", target.dir);
        must(!reachable(path));
}

/* Another program in svmd's place, and records of everyone's faults. */
static void takeovers(struct message *m) {
        struct raw r;

        raw_attach(&r, target.socket, HOSTILE_PARTITION);
        must(raw_op(&r, Upgrade, UPGRADE, upgrade, NULL, b.binary = (char *)"/bin/true") == SVMD_E_DENIED);
        must(raw_op(&r, Revoke, REVOKE, revoke, NULL, b.address = target.address;
                    b.partition = (char *)HOSTILE_PARTITION) == SVMD_E_DENIED);
        must(raw_op(&r, Discard, DISCARD, discard, NULL, b.address = target.address;
                    b.partition = (char *)HOSTILE_PARTITION) == SVMD_E_DENIED);
        must(raw_op(&r, KeptRemove, KEPT_REMOVE, kept_remove, NULL, b.partition = (char *)HOSTILE_PARTITION;
                    b.name = (char *)"x") == SVMD_E_DENIED);
        must(raw_op(&r, ReservationList, RESERVATION_LIST, reservation_list, NULL,
                    b.partition = (char *)HOSTILE_PARTITION) != 0);
        raw_close(&r);
}

/* Files of svmd's: nothing in its folders opens, and /proc shows nothing of it. */
static void files(struct message *m) {
        const int pids[] = { target.svmd, target.keeper };
        char path[256];

        snprintf(path, sizeof(path), "%s/state/state.db", target.dir);
        must(open(path, O_RDONLY) < 0);
        for (unsigned i = 0; i < 2; i++) {
                snprintf(path, sizeof(path), "/proc/%d/mem", pids[i]);
                must(open(path, O_RDONLY) < 0);
                snprintf(path, sizeof(path), "/proc/%d/fd", pids[i]);
                must(!opendir(path));
        }
}

const struct hostile_family hostile_admin = { "administration",
                                              { { .name = "operations", .run = operations },
                                                { .name = "others' sessions", .run = others_sessions },
                                                { .name = "sockets", .run = sockets },
                                                { .name = "takeovers", .run = takeovers },
                                                { .name = "files", .run = files } } };
