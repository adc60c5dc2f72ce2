/*
 * CUDA through the real svmd: processes of several users share device memory at one address; it is charged, refused by
 * limits, and outlives the process that made it; and svmd may end at any time. With the stand-in library, what the
 * device does wrong is made to happen too; with the real one the same program runs as far as that can be asked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
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
        must(!standin || cuda_read(words, (uintptr_t)at, 8) != 0); /* a real device might end the context */
        ok(svmd_mem_map(mine, space, (uintptr_t)at, SIZE, 0, memory, SVMD_ACCESS_READ_WRITE, 0));
}

/* n[0] bytes, with the flags n[1] */
static void actor_create(struct message *m) {
        message_take(m, svmd_mem_create(mine, &memory, m->n[0], node_named(mine, "gpu0"), (unsigned)m->n[1]));
}

static int find_used(const struct svmd_node_row *row, void *userdata) {
        if (strcmp(row->name, "gpu0") == 0)
                *(uint64_t *)userdata = row->used;
        return 0;
}

static uint64_t used_by(svmd_session *s) {
        uint64_t bytes = UINT64_MAX;

        ok(svmd_query_nodes(s, find_used, &bytes));
        return bytes;
}

/* A vector of n[0] granules, in mode n[1]. Back: how many there are. */
static void actor_granules(struct message *m) {
        enum { MOST = 512 };
        static struct svmd_result made[MOST], mapped[MOST];
        unsigned count = (unsigned)m->n[0], got = 0;
        svmd_batch *b;
        char word[8];

        ok(svmd_batch_new(mine, &b));
        for (unsigned i = 0; i < count; i++)
                must(svmd_batch_mem_create(b, 2 * MIB, node_named(mine, "gpu0"), 0) == (int)i);
        message_take(m, svmd_batch_submit(b, (unsigned)m->n[1], made));
        for (unsigned i = 0; i < count; i++)
                got += made[i].code == 0;
        m->n[2] = made[count - 1].code;
        if (m->r == SVMD_OK) {
                ok(svmd_address_reserve(mine, &at, 2 * MIB * count, 2 * MIB, NULL, NULL));
                for (unsigned i = 0; i < count; i++)
                        must(svmd_batch_map(b, space, (uintptr_t)at + 2 * MIB * i, 2 * MIB, 0, made[i].id,
                                            SVMD_ACCESS_READ_WRITE, 0) == (int)i);
                ok(svmd_batch_submit(b, SVMD_BEST_EFFORT, mapped));
                for (unsigned i = 0; i < count; i++) /* each its own memory */
                        must(cuda_write((uintptr_t)at + 2 * MIB * i, &i, sizeof(i)) == 0);
                for (unsigned i = 0; i < count; i++)
                        must(cuda_read(word, (uintptr_t)at + 2 * MIB * i, 4) == 0 && memcmp(word, &i, 4) == 0);
                ok(svmd_mem_unmap(mine, space, (uintptr_t)at, 2 * MIB * count));
                must(!standin || cuda_read(word, (uintptr_t)at, 4) != 0);
                ok(svmd_address_free(mine, at));
        }
        for (unsigned i = 0; i < count; i++)
                if (made[i].code == 0)
                        must(svmd_batch_mem_release(b, made[i].id) >= 0);
        m->n[1] = used_by(mine);
        if (got)
                ok(svmd_batch_submit(b, SVMD_BEST_EFFORT, NULL));
        svmd_batch_free(b);
        m->n[0] = got;
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

/* ---- host memory that the device sees ---- */

enum { HOST_SIZE = 4 << 20 };
static char *host_at;

/* Maps, managed or not, and registers. Back: the address */
static void actor_host(struct message *m) {
        struct svmd_reserve_options o = { .size = sizeof(o), .name = m->text, .mode = 0666 };
        svmd_mem plain;
        void *p;

        if (m->n[1])
                o.kind = SVMD_SHARED;
        ok(svmd_address_reserve(mine, &p, HOST_SIZE, 2 * MIB, NULL, &o));
        if (!m->n[1]) {
                ok(svmd_mem_create(mine, &plain, HOST_SIZE, node_named(mine, "host0"), SVMD_MEM_SHAREABLE));
                ok(svmd_mem_map(mine, SVMD_CPU, (uintptr_t)p, HOST_SIZE, 0, plain, SVMD_ACCESS_READ_WRITE, 0));
        }
        host_at = p;
        memset(host_at, 1, HOST_SIZE);
        message_take(m, svmd_host_register(mine, space, host_at, HOST_SIZE));
        m->n[0] = (uintptr_t)p;
}

static void actor_host_join(struct message *m) {
        void *p;

        ok(svmd_address_open(mine, &p, NULL, m->text, SVMD_ACCESS_READ_WRITE));
        host_at = p;
        ok(svmd_host_register(mine, space, host_at, HOST_SIZE));
        m->n[0] = (uintptr_t)p;
}

/* n[0] by the CPU, or n[1] by the device. */
static void actor_host_fill(struct message *m) {
        if (m->n[0])
                memset(host_at, (int)m->n[0], HOST_SIZE);
        else
                must(cuda_fill((uintptr_t)host_at, (unsigned char)m->n[1], HOST_SIZE) == 0);
}

static void actor_host_read(struct message *m) {
        static char device[HOST_SIZE];

        must(cuda_read(device, (uintptr_t)host_at, HOST_SIZE) == 0);
        for (size_t i = 0; i < HOST_SIZE; i++)
                must(device[i] == (char)m->n[0] && host_at[i] == (char)m->n[0]);
}

static void actor_host_busy(struct message *m) {
        want(SVMD_E_TAKEN, svmd_host_register(mine, space, host_at, MIB));
        want(SVMD_E_RANGE, svmd_host_register(mine, space, host_at, 2 * HOST_SIZE));
        want(SVMD_E_NODE_KIND, svmd_host_register(mine, SVMD_CPU, host_at, HOST_SIZE));
        want(SVMD_E_NO_SUCH, svmd_host_unregister(mine, space, host_at + MIB));
        want(SVMD_E_BUSY, svmd_address_free(mine, host_at));
        if (!m->n[1])
                want(SVMD_E_BUSY, svmd_mem_unmap(mine, SVMD_CPU, (uintptr_t)host_at, HOST_SIZE));
        else
                want(SVMD_E_BUSY, svmd_migrate(mine, NULL, host_at, HOST_SIZE, node_named(mine, "soft0")));
}

static void actor_host_end(struct message *m) {
        if (m->n[0]) {
                ok(svmd_host_unregister(mine, space, host_at));
                must(!standin || cuda_fill((uintptr_t)host_at, 1, 8) != 0);
                if (m->n[1])
                        ok(svmd_migrate(mine, NULL, host_at, HOST_SIZE, node_named(mine, "soft0")));
        } else {
                ok(svmd_space_destroy(mine, space));
        }
        ok(svmd_address_free(mine, host_at));
}

static void must_be(uint64_t p, int attribute, int value) {
        must(cuda_told(p, SIZE, attribute) == value);
}

/* What is said of memory that CUDA manages CUDA is told. */
static void actor_advise(struct message *m) {
        svmd_node gpu = node_named(mine, "gpu0"), host = node_named(mine, "host0");
        struct svmd_advice a = { .size = sizeof(a),
                                 .what = SVMD_ADVISE_PREFERRED | SVMD_ADVISE_ACCESSED_BY | SVMD_ADVISE_READ_MOSTLY,
                                 .preferred = gpu,
                                 .accessed_by = 1ull << gpu,
                                 .read_mostly = 1 };
        uint64_t p = cuda_alloc_managed(SIZE);
        svmd_fence *f;

        ok(svmd_advise(mine, (void *)p, SIZE, &a));
        must_be(p, 1, 1);
        must_be(p, 2, 0);
        must_be(p, 3, 0);
        a.preferred = host;
        a.read_mostly = 0;
        a.accessed_by = 0;
        ok(svmd_advise(mine, (void *)p, SIZE, &a));
        must_be(p, 1, 0);
        must_be(p, 2, -1);
        must_be(p, 3, -2);
        a.preferred = SVMD_NODE_NONE;
        ok(svmd_advise(mine, (void *)p, SIZE, &a));
        must_be(p, 2, -2);
        a.preferred = node_named(mine, "soft0");
        want(SVMD_E_NODE_KIND, svmd_advise(mine, (void *)p, SIZE, &a));
        a = (struct svmd_advice){ .size = sizeof(a), .what = SVMD_ADVISE_PINNED, .pinned = 1 };
        want(SVMD_E_UNSUPPORTED, svmd_advise(mine, (void *)p, SIZE, &a));
        ok(svmd_prefetch(mine, NULL, (void *)p, SIZE, gpu));
        must_be(p, 4, 0);
        ok(svmd_prefetch(mine, &f, (void *)p, SIZE, host));
        ok(svmd_fence_wait(f, 0, NULL));
        svmd_fence_free(f);
        must_be(p, 4, -1);
        want(SVMD_E_NODE_KIND, svmd_prefetch(mine, &f, (void *)p, SIZE, node_named(mine, "soft0")));
}

/* ---- beside ---- */

static uint64_t used(void) {
        return used_by(watcher);
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

/* From here on what would reach into other processes is refused. */
static void actor_apart(struct message *m) {
        static const int calls[] = { SCMP_SYS(ptrace),     SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
                                     SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_getfd),      SCMP_SYS(kcmp) };
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

        must(getpid() == 1);
        for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
                must(seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), calls[i], 0) == 0);
        must(seccomp_load(filter) == 0);
        seccomp_release(filter);
        must(syscall(SYS_pidfd_open, 1, 0) < 0 && errno == EPERM);
}

/* In a PID namespace of its own. */
static void start_apart(struct actor *a, uint32_t uid) {
        struct message m = { 0 };
        int ours = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);

        must(ours >= 0 && unshare(CLONE_NEWPID) == 0);
        actor_new(a, uid, uid, 0);
        must(setns(ours, CLONE_NEWPID) == 0);
        close(ours);
        actor_call(a, actor_apart, &m);
        actor_call(a, actor_connect, &m);
        message_want(SVMD_OK, &m);
}

static void restart(void) {
        svmd_disconnect(watcher);
        daemon_kill(&d);
        daemon_start(&d);
        connect_watcher(&watcher, d.admin);
}

/* Two users, one pointer; the maker is killed, svmd is killed, everybody is gone, and a third one reads. No process
 * sees another one's number, or may trace it. */
static void share(void) {
        struct actor owner, other, third;
        struct message m = { 0 };
        uint64_t address;

        start_apart(&owner, OWNER);
        start_apart(&other, OTHER);
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

        start_apart(&third, THIRD);
        m.n[0] = address;
        actor_call(&third, actor_import, &m);
        actor_call(&third, actor_read, &m);
        actor_end(&third);
        ok(svmd_kept_remove(watcher, "lab", SVMD_KEPT_MEM, "weights"));
        await_used(0);
        printf("shared at one address by two users in PID namespaces of their own, and read by a third when both were gone\n");
}

struct refused {
        unsigned count;
        int error;
};

static int find_refused(const struct svmd_grant_row *row, void *userdata) {
        struct refused *f = userdata;

        if (row->state == SVMD_GRANT_FAILED) {
                f->count++;
                f->error = row->error;
        }
        return 0;
}

struct found {
        const char *id, *words;
        bool there;
};

static int find(const char *id, unsigned level, const char *text, void *userdata) {
        struct found *f = userdata;

        f->there |= strcmp(id, f->id) == 0 && strstr(text, f->words);
        return 0;
}

static int find_faults(const struct svmd_node_row *row, void *userdata) {
        *(unsigned *)userdata |= (strcmp(row->name, "gpu0") == 0    ? 1u
                                  : strcmp(row->name, "soft0") == 0 ? 2u
                                                                    : 0) *
                                 (row->faults != 0);
        return 0;
}

/* What a device cannot do is said before somebody waits for it. */
static void traps(void) {
        struct found f = { "faults", "1 of 2 nodes with spaces have no faults", false };
        unsigned faults = 0;

        ok(svmd_query_nodes(watcher, find_faults, &faults));
        must(faults == 2);
        ok(svmd_query_findings(watcher, find, &f));
        must(f.there);
        printf("svmd says that the device has no faults\n");
}

static void limits(void) {
        struct refused refused = { 0 };
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
                must(strstr(m.error, "CUDA_ERROR_OUT_OF_MEMORY") && strstr(m.error, "nvidia-smi"));
                m.n[1] = SVMD_MEM_SHAREABLE;
                actor_call(&a, actor_create, &m);
                message_want(SVMD_E_NO_ROOM, &m);
        }
        m.n[0] = 10 * MIB;
        m.n[1] = 0;
        actor_call(&a, actor_create, &m); /* which carries what became of the other */
        message_want(SVMD_OK, &m);
        must(used() == 10 * MIB);
        ok(svmd_query_grants(watcher, "lab", find_refused, &refused));
        must(!standin || (refused.count == 1 && refused.error == ENOMEM));
        actor_call(&a, actor_release, &m);
        await_used(0);
        actor_end(&a);
        printf("limits refuse, and what the device has not is not charged\n");
}

/* Vectors of granules: all of them, or those that the device has, or none where all were asked for. */
static void vectors(void) {
        struct message m = { .n = { standin ? 32 : 128, SVMD_BEST_EFFORT } };
        struct actor a;

        start(&a, OWNER);
        actor_call(&a, actor_granules, &m);
        message_want(SVMD_OK, &m);
        must(m.n[0] == (standin ? 32 : 128) && m.n[1] == m.n[0] * 2 * MIB);
        await_used(0);
        if (standin) {
                m = (struct message){ .n = { 40, SVMD_BEST_EFFORT } };
                actor_call(&a, actor_granules, &m);
                message_want(SVMD_E_NO_ROOM, &m);
                must(m.n[0] == 32 && m.n[1] == 64 * MIB && m.n[2] == SVMD_E_NO_ROOM);
                m = (struct message){ .n = { 40, SVMD_ALL_OR_NOTHING } };
                actor_call(&a, actor_granules, &m);
                message_want(SVMD_E_NO_ROOM, &m);
                must(m.n[0] == 0 && m.n[1] == 0 && m.n[2] == SVMD_E_NO_ROOM);
        }
        m = (struct message){ .n = { 129, SVMD_BEST_EFFORT } }; /* more than the node has */
        actor_call(&a, actor_granules, &m);
        must(m.r != SVMD_OK && (m.n[0] == 128 || standin) && m.n[1] == m.n[0] * 2 * MIB);
        await_used(0);
        m = (struct message){ .n = { 8, SVMD_BEST_EFFORT } };
        actor_call(&a, actor_granules, &m);
        message_want(SVMD_OK, &m);
        actor_end(&a);
        await_used(0);
        printf("vectors of granules are made and mapped as far as there is room\n");
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

/* svmd is killed between its yes and what its client says of it: of memory under a grant, and of memory without. */
static void killed_between(unsigned flags) {
        struct message m = { .text = "STANDIN_CUDA_STOPS" };
        struct actor a;
        int status;

        start(&a, OWNER);
        actor_call(&a, actor_set, &m);
        m = (struct message){ .n = { SIZE, flags } };
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

        m = (struct message){ .n = { SIZE, flags } }; /* and its client, too */
        actor_begin(&a, actor_create, &m);
        must(waitpid(a.pid, &status, WUNTRACED) == a.pid && WIFSTOPPED(status));
        restart();
        must(used() == SIZE);
        actor_kill(&a);
        await_used(0);
        printf("charges are exact over svmd's end between its yes and what came of it, %s\n",
               flags ? "of a grant" : "of memory that is a process's own");
}

static void advised(void) {
        struct message m = { 0 };
        struct actor a;

        start(&a, OWNER);
        actor_call(&a, actor_advise, &m);
        actor_end(&a);
        printf("advice about memory that CUDA manages reaches CUDA\n");
}

/* Two users' processes, one pointer on the CPU and the device in both. */
static void host_memory(bool managed) {
        struct message m = { .n = { 0, managed } };
        struct actor owner, other;
        uint64_t address;

        snprintf(m.text, sizeof(m.text), "%s", managed ? "managed" : "plain");
        start(&owner, OWNER);
        start(&other, OTHER);
        actor_call(&owner, actor_host, &m);
        message_want(SVMD_OK, &m);
        address = m.n[0];
        actor_call(&other, actor_host_join, &m);
        must(m.n[0] == address);
        m = (struct message){ .n = { 0, 5 } };
        actor_call(&owner, actor_host_fill, &m);
        m.n[0] = 5;
        actor_call(&other, actor_host_read, &m);
        m = (struct message){ .n = { 6, 0 } };
        actor_call(&other, actor_host_fill, &m);
        actor_call(&owner, actor_host_read, &m);
        m = (struct message){ .n = { 0, managed } };
        actor_call(&owner, actor_host_busy, &m);
        actor_kill(&other);
        m = (struct message){ .n = { 1, managed } };
        actor_call(&owner, actor_host_end, &m);
        if (standin) { /* a device without one pointer for both */
                m = (struct message){ .text = "STANDIN_CUDA_MOVES" };
                actor_call(&owner, actor_set, &m);
                m = (struct message){ .text = "elsewhere", .n = { 0, managed } };
                actor_call(&owner, actor_host, &m);
                message_want(SVMD_E_COLLISION, &m);
                m = (struct message){ .text = "STANDIN_CUDA_MOVES" };
                actor_call(&owner, actor_unset, &m);
        }
        m = (struct message){ .text = "again", .n = { 0, managed } };
        actor_call(&owner, actor_host, &m);
        message_want(SVMD_OK, &m);
        m.n[0] = 0;
        actor_call(&owner, actor_host_end, &m);
        actor_end(&owner);
        printf("%s host memory has one pointer on the CPU and the device, for two users\n",
               managed ? "managed" : "plain");
}

/* ---- what NVIDIA's driver counts ---- */

static char counts[64];

__attribute__((format(printf, 1, 2))) static void driver_says(const char *format, ...) {
        FILE *f = fopen(counts, "we");
        va_list ap;

        must(f != NULL);
        va_start(ap, format);
        must(vfprintf(f, format, ap) > 0 && fclose(f) == 0);
        va_end(ap);
}

struct seen {
        pid_t pid;
        uint64_t device, device_ledger, own, own_ledger, stranger;
        bool drifts;
};

static int see(const struct svmd_drift_row *row, void *userdata) {
        struct seen *v = userdata;

        v->drifts |= row->scope == SVMD_DRIFT_NODE && row->reported != row->ledger && !row->moving;
        if (strcmp(row->source, "nvml") != 0)
                return 0;
        if (row->scope == SVMD_DRIFT_DEVICE) {
                must(strcmp(row->subject, "gpu0") == 0);
                v->device = row->reported;
                v->device_ledger = row->ledger;
        } else if (row->pid == (uint32_t)v->pid) {
                must(row->session != 0 && strcmp(row->place, "gpu0") == 0);
                v->own = row->reported;
                v->own_ledger = row->ledger;
        } else {
                must(row->session == 0 && strstr(row->why, "without svmd"));
                v->stranger += row->reported;
        }
        return 0;
}

static int pass(const struct svmd_drift_row *row, void *userdata) {
        return 0;
}

static void doctor_says(const char *id, const char *said) {
        uint64_t end = now_ms() + CEILING_MS;
        struct found f = { id, said, false };

        while (!f.there) {
                if (now_ms() > end)
                        fail_here(said);
                ok(svmd_query_drift(watcher, pass, NULL)); /* which is the last look that it tells of */
                ok(svmd_query_findings(watcher, find, &f));
        }
}

static void reconciled(void) {
        struct message m = { .n = { 10 * MIB } };
        struct seen v = { 0 };
        struct actor a;

        start(&a, OWNER);
        actor_call(&a, actor_create, &m);
        driver_says("%llu %llu\n%d %llu\n4242424 %llu\n4242425 -\n", 128 * MIB, 40 * MIB, (int)a.pid, 12 * MIB,
                    5 * MIB);
        v.pid = a.pid;
        ok(svmd_query_drift(watcher, see, &v));
        must(v.device == 40 * MIB && v.device_ledger == 10 * MIB);
        must(v.own == 12 * MIB && v.own_ledger == 10 * MIB && v.stranger == 5 * MIB && !v.drifts);
        doctor_says("nvml", "5 MiB are of programs without svmd");
        doctor_says("nvml-size", "gpu0 gives out 256 MiB and the device has 128 MiB");
        driver_says("crash\n");
        doctor_says("nvml", "did not end well (signal 6)");
        must(unlink(counts) == 0);
        doctor_says("nvml", "Driver-Not-Loaded");
        actor_call(&a, actor_release, &m);
        await_used(0);
        actor_end(&a);
        printf("what the driver counts is compared, and a library that crashes costs only that\n");
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
        snprintf(counts, sizeof(counts), "/tmp/svmd-standin-nvml-%d", (int)getpid());
        must(setenv("STANDIN_NVML", counts, 1) == 0);
        daemon_new(&d, (const char *const[]){ "--cuda-node=gpu0:device=cuda:0,size=256M", "--soft-node=soft0:size=64M",
                                              NULL });
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        traps();
        share();
        limits();
        vectors();
        host_memory(false);
        host_memory(true);
        advised();
        if (standin) {
                hint();
                reconciled();
                killed_between(0);
                killed_between(SVMD_MEM_SHAREABLE);
        }
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
