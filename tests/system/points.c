/*
 * svmd that ends by SIGKILL at a named point: $SVMD_TEST_POINT is its name, and $SVMD_TEST_COUNT how often it is passed
 * before. It is svmd's own objects, linked again with some calls going through here.
 *
 *      before-commit, after-commit       the journal's, of a turn that has effects
 *      before-put, after-put             a descriptor goes to the keeper
 *      before-drops                      what was let go leaves the keeper, behind the commit
 *      before-send, after-send           a reply or event leaves, behind the commit
 *      snapshot, before-snapshot-end, after-snapshot-end
 *      before-STEP, after-STEP           of what the mover does to pages, STEP as in enum managed_step_type
 *      before-adopt, before-join, before-leave, before-return, and after-
 *                                        memory of a process is adopted, its process is served, no longer, it ends
 *      before-become, before-exec        svmd-keeper, and svmd itself, become other programs
 *      begun                             the program that svmd became, at its beginning
 *      start-POINT                       the same while it starts, and of a start alone:
 *      start-listed, start-file, start-rejoin, start-settle, start-settled
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "main/config.h"
#include "mover/mover.h"
#include "mover/steps.h"
#include "proto/socket.h"
#include "service/adopted.h"
#include "service/internal.h"
#include "transport/transport.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

static atomic_bool running; /* it has started */
static atomic_ulong passed;

static void at(const char *name) {
        const char *point = getenv("SVMD_TEST_POINT"), *count = getenv("SVMD_TEST_COUNT");
        bool start = point && strncmp(point, "start-", 6) == 0;

        if (!point || start == atomic_load(&running) || strcmp(start ? point + 6 : point, name) != 0)
                return;
        if (atomic_fetch_add(&passed, 1) >= (count ? strtoul(count, NULL, 0) : 0))
                kill(getpid(), SIGKILL);
}

static void at_step(const char *when, const struct managed_step *step) {
        static const char *const names[] = {
                [MANAGED_WRITE_PROTECT] = "write-protect",
                [MANAGED_UNPROTECT] = "unprotect",
                [MANAGED_CONTINUE] = "continue",
                [MANAGED_COPY_IN] = "copy-in",
                [MANAGED_ZERO] = "zero",
                [MANAGED_WAKE] = "wake",
                [MANAGED_POISON] = "poison",
                [MANAGED_WRITE_BACK] = "write-back",
                [MANAGED_ALLOCATE] = "allocate",
                [MANAGED_COPY_OUT] = "copy-out",
                [MANAGED_MERGE] = "merge",
                [MANAGED_PUNCH_HOLE] = "punch-hole",
                [MANAGED_COPY_NODE] = "copy-node",
                [MANAGED_ZERO_SLOT] = "zero-slot",
                [MANAGED_SLOT_FREE] = "slot-free",
                [MANAGED_INVALIDATE] = "invalidate",
                [MANAGED_NODE_MAP] = "node-map",
        };
        char name[48];

        snprintf(name, sizeof(name), "%s-%s", when, names[step->type]);
        at(name);
}

/* A signal to the whole process is not taken before the next way into the kernel or out of it: at a point in user mode
 * it is, on return from kill(). */

void __real_journal_commit(struct journal *j);
void __wrap_journal_commit(struct journal *j) {
        bool effects = journal_mark(j) > 0;

        if (effects)
                at("before-commit");
        __real_journal_commit(j);
        if (effects)
                at("after-commit");
}

int __real_journal_snapshot_put(struct journal *j, uint16_t type, const void *bytes, size_t size);
int __wrap_journal_snapshot_put(struct journal *j, uint16_t type, const void *bytes, size_t size) {
        at("snapshot");
        return __real_journal_snapshot_put(j, type, bytes, size);
}

void __real_journal_snapshot_end(struct journal *j);
void __wrap_journal_snapshot_end(struct journal *j) {
        at("before-snapshot-end");
        __real_journal_snapshot_end(j);
        at("after-snapshot-end");
}

int __real_keeper_put(struct keeper *k, uint64_t key, int fd);
int __wrap_keeper_put(struct keeper *k, uint64_t key, int fd) {
        int r;

        at("before-put");
        r = __real_keeper_put(k, key, fd);
        at("after-put");
        return r;
}

int __real_keeper_flush(struct keeper *k);
int __wrap_keeper_flush(struct keeper *k) {
        at("before-drops");
        return __real_keeper_flush(k);
}

int __real_packet_send(int socket, const void *bytes, size_t size, const struct fdlist *fds, int flags);
int __wrap_packet_send(int socket, const void *bytes, size_t size, const struct fdlist *fds, int flags) {
        int r;

        at("before-send");
        r = __real_packet_send(socket, bytes, size, fds, flags);
        at("after-send");
        return r;
}

void __real_batch_execute(struct mover *m, struct batch *b);
void __wrap_batch_execute(struct mover *m, struct batch *b) {
        at_step("before", b->step[0]);
        __real_batch_execute(m, b);
        at_step("after", b->step[0]);
}

/* ---- memory of a process ---- */

int __real_adopted_begin(struct call *c, uint64_t address, uint64_t size);
int __wrap_adopted_begin(struct call *c, uint64_t address, uint64_t size) {
        int r;

        at("before-adopt");
        r = __real_adopted_begin(c, address, size);
        at("after-adopt");
        return r;
}

int __real_adopted_end(struct call *c, struct reservation *r, bool stop);
int __wrap_adopted_end(struct call *c, struct reservation *r, bool stop) {
        int k;

        at(stop ? "before-leave" : "before-return");
        k = __real_adopted_end(c, r, stop);
        at(stop ? "after-leave" : "after-return");
        return k;
}

int __real_op_join(struct call *c);
int __wrap_op_join(struct call *c) {
        int r;

        at("before-join");
        r = __real_op_join(c);
        at("after-join");
        return r;
}

/* ---- other programs ---- */

int __real_keeper_become(struct keeper *k, int program, char *why, size_t why_size);
int __wrap_keeper_become(struct keeper *k, int program, char *why, size_t why_size) {
        at("before-become");
        return __real_keeper_become(k, program, why, why_size);
}

int __real_execv(const char *path, char *const *argv);
int __wrap_execv(const char *path, char *const *argv) {
        at("before-exec");
        if (atomic_load(&running))
                setenv("SVMD_TEST_BECAME", "1", 1);
        return __real_execv(path, argv);
}

int __real_config_load(struct config *c, int argc, char **argv, FILE *out, FILE *err);
int __wrap_config_load(struct config *c, int argc, char **argv, FILE *out, FILE *err) {
        const char *point = getenv("SVMD_TEST_POINT");

        if (getenv("SVMD_TEST_BECAME") && point && strcmp(point, "begun") == 0)
                kill(getpid(), SIGKILL);
        return __real_config_load(c, argc, argv, out, err);
}

/* ---- starting ---- */

int __real_keeper_list(struct keeper *k, keeper_fn fn, void *userdata);
int __wrap_keeper_list(struct keeper *k, keeper_fn fn, void *userdata) {
        int r = __real_keeper_list(k, fn, userdata);

        at("listed");
        return r;
}

int __real_file_adopt(struct service *svc, struct file *f);
int __wrap_file_adopt(struct service *svc, struct file *f) {
        at("file");
        return __real_file_adopt(svc, f);
}

int __real_mover_rejoin(struct mover *m, struct mover_session *s, struct mover_range *r, bool readonly);
int __wrap_mover_rejoin(struct mover *m, struct mover_session *s, struct mover_range *r, bool readonly) {
        at("rejoin");
        return __real_mover_rejoin(m, s, r, readonly);
}

int __real_mover_restored(struct mover *m);
int __wrap_mover_restored(struct mover *m) {
        int r;

        at("settle");
        r = __real_mover_restored(m);
        at("settled");
        return r;
}

int __real_transport_run(struct transport *t);
int __wrap_transport_run(struct transport *t) {
        atomic_store(&running, true);
        return __real_transport_run(t);
}
