/*
 * CUDA through the real svmd: processes of several users share device memory at one address; it is charged, refused by
 * limits, and outlives the process that made it; and svmd may end at any time. With the stand-in library, what the
 * device does wrong is made to happen too; with the real one the same program runs as far as that can be asked for.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cuda_user.h"
#include "daemon.h"
#include "harness.h"

enum { OWNER = 2001, OTHER = 2002, THIRD = 2003 };
#define MIB  (1ull << 20)
#define SIZE (4 * MIB)

static struct daemon d;
static svmd_session *watcher;
static bool standin;

/* ---- in the actors ---- */

static svmd_session *mine;
static svmd_space space;
static svmd_mem memory;
static void *at;
static uint64_t words[SIZE / 8];

static void actor_connect(struct message *m) {
        ok(try_connect(&mine, d.socket, "lab", 0));
        m->r = svmd_space_create(mine, &space, node_named(mine, "gpu0"));
        message_take(m, m->r);
        if (m->r == SVMD_OK)
                cuda_use();
}

/* n[0]: the address */
static void actor_make(struct message *m) {
        struct svmd_reserve_options o = { .size = sizeof(o), .name = "weights", .mode = 0666 };

        ok(svmd_address_reserve(mine, &at, 2 * SIZE, 2 * MIB, NULL, &o));
        ok(svmd_mem_create(mine, &memory, SIZE, node_named(mine, "gpu0"), SVMD_MEM_SHAREABLE));
        ok(svmd_mem_map(mine, space, (uintptr_t)at, SIZE, 0, memory, SVMD_ACCESS_READ_WRITE, 0));
        ok(svmd_mem_export(mine, memory, "weights", 0666));
        m->n[0] = (uintptr_t)at;
}

static void actor_open(struct message *m) {
        size_t size;

        ok(svmd_address_open(mine, &at, NULL, "weights", SVMD_ACCESS_READ_WRITE));
        ok(svmd_mem_import(mine, &memory, &size, "weights", SVMD_ACCESS_READ_WRITE));
        must(size == SIZE);
        ok(svmd_mem_map(mine, space, (uintptr_t)at, SIZE, 0, memory, SVMD_ACCESS_READ_WRITE, 0));
        m->n[0] = (uintptr_t)at;
}

static void actor_import(struct message *m) {
        ok(svmd_mem_import(mine, &memory, NULL, "weights", SVMD_ACCESS_READ_WRITE));
        ok(svmd_mem_map(mine, space, m->n[0], SIZE, 0, memory, SVMD_ACCESS_READ_WRITE, 0));
        at = (void *)(uintptr_t)m->n[0];
}

static void actor_keep(struct message *m) {
        ok(svmd_mem_keep(mine, memory, NULL));
}

/* Each word is a function of its number and n[1]. */
static void actor_write(struct message *m) {
        for (unsigned i = 0; i < SIZE / 8; i++)
                words[i] = i * 2654435761ull + m->n[1];
        must(cuda_write((uintptr_t)at, words, SIZE) == 0);
}

static void actor_read(struct message *m) {
        memset(words, 0, sizeof(words));
        must(cuda_read(words, (uintptr_t)at, SIZE) == 0);
        for (unsigned i = 0; i < SIZE / 8; i++)
                must(words[i] == i * 2654435761ull + m->n[1]);
}

static void actor_reader(struct message *m) {
        ok(svmd_mem_set_access(mine, space, (uintptr_t)at, SIZE, SVMD_ACCESS_READ));
        actor_read(m);
        if (standin) /* a real device ends the context */
                must(cuda_write((uintptr_t)at, words, 8) != 0);
        ok(svmd_mem_set_access(mine, space, (uintptr_t)at, SIZE, SVMD_ACCESS_READ_WRITE));
}

static void actor_unmap(struct message *m) {
        want(SVMD_E_UNSUPPORTED, svmd_mem_unmap(mine, space, (uintptr_t)at, SIZE / 2));
        ok(svmd_mem_unmap(mine, space, (uintptr_t)at, SIZE));
        must(cuda_read(words, (uintptr_t)at, 8) != 0 || !standin);
        ok(svmd_mem_map(mine, space, (uintptr_t)at, SIZE, 0, memory, SVMD_ACCESS_READ_WRITE, 0));
}

static void actor_create(struct message *m) {
        message_take(m, svmd_mem_create(mine, &memory, m->n[0], node_named(mine, "gpu0"), 0));
}

static void actor_release(struct message *m) {
        ok(svmd_mem_release(mine, memory));
}

static void actor_set(struct message *m) {
        must(setenv(m->text, "1", 1) == 0);
}

static void actor_unset(struct message *m) {
        must(unsetenv(m->text) == 0);
}

/* What the CPU has in the slice is as ever, beside CUDA's reservation. */
static void actor_cpu(struct message *m) {
        svmd_mem plain;
        void *p;

        ok(svmd_address_reserve(mine, &p, MIB, 0, NULL, NULL));
        ok(svmd_mem_create(mine, &plain, MIB, node_named(mine, "host0"), 0));
        ok(svmd_mem_map(mine, SVMD_CPU, (uintptr_t)p, MIB, 0, plain, SVMD_ACCESS_READ_WRITE, 0));
        memset(p, 7, MIB);
        ok(svmd_address_free(mine, p));
        ok(svmd_mem_release(mine, plain));
}

static void actor_wrong(struct message *m) {
        svmd_mem plain;

        want(SVMD_E_SIZE, svmd_mem_create(mine, &plain, 4096, node_named(mine, "gpu0"), 0));
        want(SVMD_E_RANGE, svmd_mem_map(mine, space, 2 * MIB, SIZE, 0, memory, 0, 0));
        want(SVMD_E_ALIGN, svmd_mem_map(mine, space, (uintptr_t)at + 4096, SIZE, 0, memory, 0, 0));
        want(SVMD_E_TAKEN, svmd_mem_map(mine, space, (uintptr_t)at, SIZE, 0, memory, 0, 0));
        want(SVMD_E_NODE_KIND, svmd_mem_map(mine, SVMD_CPU, (uintptr_t)at + SIZE, SIZE, 0, memory, 0, 0));
        ok(svmd_mem_create(mine, &plain, 2 * MIB, node_named(mine, "host0"), 0));
        want(SVMD_E_NODE_KIND, svmd_mem_map(mine, space, (uintptr_t)at + SIZE, 2 * MIB, 0, plain, 0, 0));
        ok(svmd_mem_release(mine, plain));
}

/* ---- beside ---- */

static int find_used(const struct svmd_node_row *row, void *userdata) {
        if (strcmp(row->name, "gpu0") == 0)
                *(uint64_t *)userdata = row->used;
        return 0;
}

static uint64_t used(void) {
        uint64_t bytes = UINT64_MAX;

        ok(svmd_query_nodes(watcher, find_used, &bytes));
        return bytes;
}

static void await_used(uint64_t bytes) {
        uint64_t end = now_ms() + CEILING_MS;

        while (used() != bytes) {
                if (now_ms() > end)
                        fail_here("the node's bytes are not what they should come to");
                usleep(1000);
        }
}

static void start(struct actor *a, uint32_t uid) {
        struct message m = { 0 };

        actor_new(a, uid, uid, 0);
        actor_call(a, actor_connect, &m);
        message_want(SVMD_OK, &m);
}

static void restart(void) {
        svmd_disconnect(watcher);
        daemon_kill(&d);
        daemon_start(&d);
        connect_watcher(&watcher, d.admin);
}

/* Two users, one pointer; the maker is killed, svmd is killed, everybody is gone, and a third one reads. */
static void share(void) {
        struct actor owner, other, third;
        struct message m = { 0 };
        uint64_t address;

        start(&owner, OWNER);
        start(&other, OTHER);
        actor_call(&owner, actor_make, &m);
        address = m.n[0];
        must(used() == SIZE);
        m.n[1] = 1;
        actor_call(&owner, actor_write, &m);
        actor_call(&other, actor_open, &m);
        must(m.n[0] == address);
        actor_call(&other, actor_read, &m);
        m.n[1] = 2;
        actor_call(&other, actor_write, &m);
        actor_call(&owner, actor_read, &m);
        actor_call(&owner, actor_reader, &m);
        actor_call(&owner, actor_unmap, &m);
        actor_call(&owner, actor_wrong, &m);
        actor_call(&owner, actor_cpu, &m);
        must(used() == SIZE);

        actor_call(&owner, actor_keep, &m);
        restart();
        must(used() == SIZE);
        actor_call(&other, actor_read, &m);
        actor_kill(&owner);
        actor_call(&other, actor_read, &m);
        actor_kill(&other);
        restart();
        must(used() == SIZE);

        start(&third, THIRD);
        m.n[0] = address;
        actor_call(&third, actor_import, &m);
        actor_call(&third, actor_read, &m);
        actor_end(&third);
        ok(svmd_kept_remove(watcher, "lab", SVMD_KEPT_MEM, "weights"));
        await_used(0);
        printf("shared at one address by two users, and read by a third when both were gone\n");
}

static void limits(void) {
        struct svmd_limit limit = { .node = node_named(watcher, "gpu0"), .max = 8 * MIB };
        struct svmd_partition_options o = { .size = sizeof(o), .limits = &limit, .limits_count = 1 };
        struct actor a;
        struct message m = { 0 };

        start(&a, OWNER);
        ok(svmd_partition_set(watcher, "lab", &o, 0));
        m.n[0] = 10 * MIB;
        actor_call(&a, actor_create, &m);
        message_want(SVMD_E_LIMIT, &m);
        must(used() == 0);
        limit.max = UINT64_MAX;
        ok(svmd_partition_set(watcher, "lab", &o, 0));
        if (standin) { /* the device itself has less than svmd thinks */
                m.n[0] = 128 * MIB;
                actor_call(&a, actor_create, &m);
                message_want(SVMD_E_NO_ROOM, &m);
                must(strstr(m.error, "CUDA_ERROR_OUT_OF_MEMORY"));
        }
        m.n[0] = 10 * MIB;
        actor_call(&a, actor_create, &m); /* which carries what became of the other */
        message_want(SVMD_OK, &m);
        must(used() == 10 * MIB);
        actor_call(&a, actor_release, &m);
        await_used(0);
        actor_end(&a);
        printf("limits refuse, and what the device has not is not charged\n");
}

/* CUDA gives other addresses than it is asked for, and says that all is well. */
static void hint(void) {
        struct message m = { .text = "STANDIN_CUDA_MOVES" };
        struct actor a;

        actor_new(&a, OWNER, OWNER, 0);
        actor_call(&a, actor_set, &m);
        actor_call(&a, actor_connect, &m);
        message_want(SVMD_E_COLLISION, &m);
        actor_call(&a, actor_cpu, &m);
        m = (struct message){ .text = "STANDIN_CUDA_MOVES" };
        actor_call(&a, actor_unset, &m);
        actor_call(&a, actor_connect, &m);
        message_want(SVMD_OK, &m);
        actor_end(&a);
        printf("addresses that CUDA does not give are refused, and taken when it does\n");
}

/* svmd is killed between its yes and what its client says of it. */
static void killed_between(void) {
        struct message m = { .text = "STANDIN_CUDA_STOPS" };
        struct actor a;
        int status;

        start(&a, OWNER);
        actor_call(&a, actor_set, &m);
        m = (struct message){ .n = { SIZE } };
        actor_begin(&a, actor_create, &m);
        must(waitpid(a.pid, &status, WUNTRACED) == a.pid && WIFSTOPPED(status));
        must(used() == SIZE);
        restart();
        must(used() == SIZE);
        must(kill(a.pid, SIGCONT) == 0);
        actor_finish(&a, &m);
        message_want(SVMD_OK, &m);
        must(used() == SIZE);
        actor_call(&a, actor_release, &m);
        await_used(0);

        m = (struct message){ .n = { SIZE } }; /* and its client, too */
        actor_begin(&a, actor_create, &m);
        must(waitpid(a.pid, &status, WUNTRACED) == a.pid && WIFSTOPPED(status));
        restart();
        must(used() == SIZE);
        actor_kill(&a);
        await_used(0);
        printf("charges are exact over svmd's end between a grant and its acknowledgement\n");
}

int main(int argc, char **argv) {
        struct svmd_partition_options o = { .size = sizeof(o),
                                            .length = 8ull << 30,
                                            .window = HARNESS_WINDOW,
                                            .mode = 0666,
                                            .has_kept_max = 1,
                                            .kept_max = 64 * MIB };

        if (!cuda_is_here(&standin)) {
                printf("this machine has no CUDA device: not applicable\n");
                return 77;
        }
        printf("%s\n", standin ? "with the stand-in libcuda.so.1" : "with this machine's own libcuda.so.1");
        harness_begin("cuda");
        if (harness_one_user())
                return 0;
        daemon_new(&d, (const char *const[]){ "--cuda-node=gpu0:device=cuda:0,size=256M", NULL });
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        share();
        limits();
        if (standin) {
                hint();
                killed_between();
        }
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
