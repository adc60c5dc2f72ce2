/*
 * Managed ranges on a CUDA node, through the real svmd and svmd-cuda: processes of several users have granules mapped
 * on the device where the CPU has them; a touch by a CPU of any process brings back what the device wrote, whoever has
 * it mapped, whatever runs there, and whoever is killed or stopped meanwhile.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "cuda_user.h"
#include "daemon.h"
#include "harness.h"

enum { OWNER = 2001, OTHER = 2002, THIRD = 2003 };
enum { GRANULES = 8, WORDS = (2 << 20) / 8 };
#define GRANULE (2ull << 20)
#define SIZE    (GRANULES * GRANULE)

static struct daemon d;
static svmd_session *watcher;
static bool standin;
static struct agent agent;

/* ---- in the actors ---- */

static svmd_session *mine;
static svmd_space space;
static svmd_node gpu;
static uint64_t *at;
static uint64_t words[WORDS];

static void actor_connect(struct message *m) {
        ok(try_connect(&mine, d.socket, "lab", 0));
        gpu = node_named(mine, "gpu0");
        ok(svmd_space_create(mine, &space, gpu));
        cuda_use();
}

static void actor_set(struct message *m) {
        must(setenv(m->text, "1", 1) == 0);
}

static void actor_unset(struct message *m) {
        must(unsetenv(m->text) == 0);
}

static void actor_slow(struct message *m) {
        must(setenv("STANDIN_CUDA_SLOW", "10", 1) == 0);
}

static void actor_fast(struct message *m) {
        must(unsetenv("STANDIN_CUDA_SLOW") == 0);
}

/* n[0]: the granule's size, or 0. Back: the address */
static void actor_reserve(struct message *m) {
        struct svmd_reserve_options o = { .size = sizeof(o),
                                          .name = m->text,
                                          .mode = 0666,
                                          .kind = SVMD_SHARED,
                                          .granule = m->n[0] ? (unsigned)m->n[0] : (unsigned)GRANULE };
        void *p;

        ok(svmd_address_reserve(mine, &p, SIZE, GRANULE, NULL, &o));
        at = p;
        m->n[0] = (uintptr_t)p;
}

/* n[0]: the access. */
static void actor_open(struct message *m) {
        void *p;

        ok(svmd_address_open(mine, &p, NULL, m->text, (unsigned)m->n[0]));
        at = p;
        m->n[0] = (uintptr_t)p;
}

static void actor_free(struct message *m) {
        ok(svmd_address_free(mine, at));
        must(!standin || cuda_read(words, (uintptr_t)at, 8) != 0);
}

static uint64_t word(uint64_t granule, uint64_t i, uint64_t seed) {
        return (granule * WORDS + i) * 2654435761ull + seed;
}

/* All of it, by the CPU. */
static void actor_cpu_write(struct message *m) {
        for (uint64_t i = 0; i < SIZE / 8; i++)
                at[i] = word(0, i, m->n[0]);
}

static void actor_cpu_read(struct message *m) {
        for (uint64_t i = 0; i < SIZE / 8; i++)
                must(at[i] == word(0, i, m->n[0]));
}

/* All bytes of granule n[1] are n[0], for the CPU. */
static void actor_cpu_is(struct message *m) {
        uint64_t value = m->n[0] * 0x0101010101010101ull;

        for (uint64_t i = 0; i < WORDS; i++)
                must(at[m->n[1] * WORDS + i] == value);
}

static void actor_prefetch(struct message *m) {
        message_take(m, svmd_prefetch(mine, NULL, at, SIZE, gpu));
}

/* The same by a fence, and by vectors with and without. */
static void actor_prefetch_others(struct message *m) {
        struct svmd_range ranges[2] = { { at, GRANULE }, { at + WORDS, SIZE - GRANULE } };
        svmd_fence *f[2];

        switch (m->n[0]) {
        case 0:
                ok(svmd_prefetch(mine, f, at, 0, gpu));
                must(!standin || cuda_read(words, (uintptr_t)at, 8) != 0);
                ok(svmd_fence_wait(f[0], -1, NULL));
                svmd_fence_free(f[0]);
                break;
        case 1:
                ok(svmd_prefetch_ranges(mine, f, ranges, 2, gpu));
                for (int i = 0; i < 2; i++) {
                        ok(svmd_fence_wait(f[i], -1, NULL));
                        svmd_fence_free(f[i]);
                }
                break;
        default: ok(svmd_prefetch_ranges(mine, NULL, ranges, 2, gpu)); break;
        }
}

/* All of it, by the device; from the addresses that the CPU uses. */
static void actor_gpu_read(struct message *m) {
        for (uint64_t g = 0; g < GRANULES; g++) {
                memset(words, 0, sizeof(words));
                must(cuda_read(words, (uintptr_t)(at + g * WORDS), sizeof(words)) == 0);
                for (uint64_t i = 0; i < WORDS; i++)
                        must(words[i] == word(g, i, m->n[0]));
        }
}

static void actor_gpu_write(struct message *m) {
        for (uint64_t g = 0; g < GRANULES; g++) {
                for (uint64_t i = 0; i < WORDS; i++)
                        words[i] = word(g, i, m->n[0]);
                must(cuda_write((uintptr_t)(at + g * WORDS), words, sizeof(words)) == 0);
        }
}

static void actor_gpu_zero(struct message *m) {
        for (uint64_t g = 0; g < GRANULES; g++) {
                memset(words, 1, sizeof(words));
                must(cuda_read(words, (uintptr_t)(at + g * WORDS), sizeof(words)) == 0);
                for (uint64_t i = 0; i < WORDS; i++)
                        must(words[i] == 0);
        }
}

static void actor_pin(struct message *m) {
        ok(svmd_pin(mine, NULL, at, SIZE));
}

static void actor_unpin(struct message *m) {
        ok(svmd_unpin(mine, at, SIZE));
}

static void actor_migrate(struct message *m) {
        message_take(m, svmd_migrate(mine, NULL, at, SIZE, gpu));
}

static void actor_register(struct message *m) {
        ok(svmd_host_register(mine, space, at, SIZE));
}

static void actor_unregister(struct message *m) {
        ok(svmd_host_unregister(mine, space, at));
}

/* A kernel that is under way when this returns: granule n[1] becomes n[0]. */
static void actor_gpu_fill(struct message *m) {
        must(cuda_fill_async((uintptr_t)(at + m->n[1] * WORDS), (unsigned char)m->n[0], GRANULE) == 0);
}

static void actor_gpu_ended(struct message *m) {
        must(cuda_wait() == 0);
}

static void actor_gpu_none(struct message *m) {
        for (uint64_t g = 0; standin && g < GRANULES; g++)
                must(cuda_read(words, (uintptr_t)(at + g * WORDS), 8) != 0);
}

/* What was mapped is, in the end, no more. */
static void actor_gpu_await_none(struct message *m) {
        uint64_t end = now_ms() + CEILING_MS;

        while (standin && cuda_read(words, (uintptr_t)at, 8) == 0) {
                if (now_ms() > end)
                        fail_here("what is lost stays mapped");
                usleep(1000);
        }
}

static void actor_discard(struct message *m) {
        message_take(m, svmd_discard(mine, NULL, at, SIZE));
}

static void actor_destroy(struct message *m) {
        ok(svmd_space_destroy(mine, space));
}

static void actor_space(struct message *m) {
        ok(svmd_space_create(mine, &space, gpu));
}

/* Of two spaces the first is destroyed. */
static void actor_other_space(struct message *m) {
        svmd_space other;

        ok(svmd_space_create(mine, &other, gpu));
        ok(svmd_space_destroy(mine, space));
        space = other;
}

static void actor_disconnect(struct message *m) {
        svmd_disconnect(mine);
        mine = NULL;
}

/* ---- a writer on the CPU, while granules go to the device and come back ---- */

#ifdef __SANITIZE_THREAD__
enum { ROUNDS = 100 }; /* it is ten times as slow */
#else
enum { ROUNDS = 400 };
#endif
enum { CPU_WORDS = 64, GPU_WORD = WORDS / 2 };

static atomic_bool writing;
static uint64_t cpu_wrote[GRANULES][CPU_WORDS], gpu_wrote[GRANULES];

/* The words of a granule that are the CPU's: one in each of many pages. */
static uint64_t *cpu_word(unsigned granule, unsigned i) {
        return &at[granule * WORDS + i * (WORDS / CPU_WORDS) + 1];
}

static void *writer(void *unused) {
        unsigned step = 0;

        while (atomic_load(&writing)) {
                unsigned granule = step / 32 * 5 % GRANULES, i = step * 7 % CPU_WORDS;

                must(*cpu_word(granule, i) == cpu_wrote[granule][i]);
                *cpu_word(granule, i) = ++cpu_wrote[granule][i];
                step++;
                if (step % 32 == 0)
                        usleep(5000);
        }
        return NULL;
}

/* By the device, if the granule is there still. */
static bool gpu_add(unsigned granule) {
        uint64_t p = (uintptr_t)&at[granule * WORDS + GPU_WORD], now;

        if (cuda_read(&now, p, sizeof(now)) != 0)
                return false;
        must(now == gpu_wrote[granule]);
        now++;
        if (cuda_write(p, &now, sizeof(now)) != 0)
                return false;
        gpu_wrote[granule] = now;
        return true;
}

static void actor_clear(struct message *m) {
        memset(at, 0, SIZE);
}

/* Back: n[0] how often the device wrote, n[1] and on what it wrote to each granule. */
static void actor_race(struct message *m) {
        uint64_t done = 0, end = now_ms() + CEILING_MS;
        pthread_t thread;

        memset(cpu_wrote, 0, sizeof(cpu_wrote));
        memset(gpu_wrote, 0, sizeof(gpu_wrote));
        atomic_store(&writing, true);
        must(pthread_create(&thread, NULL, writer, NULL) == 0);
        for (unsigned i = 0; i < ROUNDS || (!done && now_ms() < end); i++) { /* until they have met */
                unsigned granule = i % GRANULES;
                int r = svmd_prefetch(mine, NULL, at + granule * WORDS, GRANULE, gpu);

                if (r != SVMD_E_BUSY && r != SVMD_E_INTERRUPTED) /* the writer was faster; svmd was killed */
                        ok(r);
                done += r == SVMD_OK && gpu_add(granule);
                usleep(1000);
        }
        atomic_store(&writing, false);
        must(pthread_join(thread, NULL) == 0);
        for (unsigned g = 0; g < GRANULES; g++) {
                for (unsigned i = 0; i < CPU_WORDS; i++)
                        must(*cpu_word(g, i) == cpu_wrote[g][i]);
                m->n[1 + g] = gpu_wrote[g];
        }
        m->n[0] = done;
}

/* A CPU of another process takes granules away, and sees what the device wrote grow. */
static void actor_race_touch(struct message *m) {
        static uint64_t seen[GRANULES];

        memset(seen, 0, sizeof(seen));
        for (unsigned i = 0; i < ROUNDS; i++) {
                unsigned granule = i * 3 % GRANULES;
                uint64_t now = at[granule * WORDS + GPU_WORD];

                must(now >= seen[granule]);
                seen[granule] = now;
                usleep(5000);
        }
}

static void actor_race_read(struct message *m) {
        for (unsigned g = 0; g < GRANULES; g++)
                must(at[g * WORDS + GPU_WORD] == m->n[1 + g]);
}

/* ---- beside ---- */

static int find_used(const struct svmd_node_row *row, void *userdata) {
        if (strcmp(row->name, "gpu0") == 0)
                *(uint64_t *)userdata = row->managed;
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
                        fail_here("the node's managed bytes are not what they should come to");
                usleep(1000);
        }
}

static void call(struct actor *a, actor_fn fn) {
        struct message m = { 0 };

        actor_call(a, fn, &m);
}

static void call_for(struct actor *a, actor_fn fn, uint64_t n0, uint64_t n1) {
        struct message m = { .n = { n0, n1 } };

        actor_call(a, fn, &m);
}

static void named(struct actor *a, actor_fn fn, const char *name, uint64_t n0, uint64_t *ret) {
        struct message m = { .n = { n0 } };

        snprintf(m.text, sizeof(m.text), "%s", name);
        actor_call(a, fn, &m);
        if (ret)
                *ret = m.n[0];
}

static int prefetch(struct actor *a, struct message *m) {
        actor_call(a, actor_prefetch, m);
        return m->r;
}

static void prefetch_ok(struct actor *a) {
        struct message m = { 0 };

        prefetch(a, &m);
        message_want(SVMD_OK, &m);
}

static void start(struct actor *a, uint32_t uid) {
        actor_new(a, uid, uid, 0);
        call(a, actor_connect);
}

/* Two users at one address. */
static void both(struct actor *a, struct actor *b, const char *name) {
        uint64_t here, there;

        start(a, OWNER);
        start(b, OTHER);
        named(a, actor_reserve, name, 0, &here);
        named(b, actor_open, name, SVMD_ACCESS_READ_WRITE, &there);
        must(here == there);
}

static void leave(struct actor *a) {
        call(a, actor_disconnect);
        actor_end(a);
}

static void restart(void) {
        svmd_disconnect(watcher);
        daemon_kill(&d);
        daemon_start(&d);
        connect_watcher(&watcher, d.admin);
}

static void share(void) {
        struct message m = { 0 };
        struct actor a, b;

        both(&a, &b, "share");
        call_for(&a, actor_cpu_write, 1, 0);
        if (prefetch(&a, &m) != SVMD_OK)
                printf("cuMemMap where the CPU has a managed range: no: %s\n", m.error);
        message_want(SVMD_OK, &m);
        must(used() == SIZE);
        call_for(&a, actor_gpu_read, 1, 0);
        printf("cuMemMap where the CPU has a managed range: yes\n");
        prefetch_ok(&b);
        call_for(&b, actor_gpu_read, 1, 0);
        call_for(&a, actor_gpu_write, 2, 0);
        call_for(&b, actor_gpu_read, 2, 0);
        must(used() == SIZE);
        call_for(&b, actor_cpu_read, 2, 0);
        await_used(0);
        call(&a, actor_gpu_none);
        call(&b, actor_gpu_none);
        call_for(&a, actor_cpu_read, 2, 0);

        for (uint64_t i = 0; i < 3; i++) {
                call_for(&a, actor_cpu_write, 3 + i, 0);
                call_for(&b, actor_prefetch_others, i, 0);
                call_for(&b, actor_gpu_read, 3 + i, 0);
        }

        /* What runs on the device when a CPU touches is waited for, in the other process. */
        prefetch_ok(&a);
        prefetch_ok(&b);
        call(&a, actor_slow);
        call_for(&a, actor_gpu_fill, 7, 3);
        call_for(&b, actor_cpu_is, 7, 3);
        call(&a, actor_gpu_ended);
        call(&a, actor_fast);

        prefetch_ok(&a);
        call(&b, actor_free);
        call_for(&a, actor_gpu_fill, 8, 0);
        call(&a, actor_gpu_ended);
        call(&a, actor_other_space);
        call_for(&a, actor_gpu_fill, 9, 1);
        call(&a, actor_gpu_ended);
        call(&a, actor_destroy);
        call(&a, actor_gpu_none);
        call_for(&a, actor_cpu_is, 8, 0);
        call_for(&a, actor_cpu_is, 9, 1);
        prefetch_ok(&a); /* moves, and maps nowhere */
        call(&a, actor_gpu_none);
        call(&a, actor_space);
        prefetch_ok(&a);
        call(&a, actor_free);
        await_used(0);
        actor_end(&a);
        actor_end(&b);
        printf("two users' processes share granules of the device at the CPU's addresses\n");
}

/* Reserved, prefetched, and a kernel writes first: no CPU has touched it. What others had there is not seen. */
static void first(void) {
        struct message m = { 0 };
        struct actor a, b;

        both(&a, &b, "first");
        prefetch_ok(&a);
        must(used() == SIZE);
        call(&a, actor_gpu_zero);
        prefetch_ok(&b);
        call_for(&a, actor_gpu_write, 1, 0);
        call_for(&b, actor_gpu_read, 1, 0);
        call_for(&b, actor_cpu_read, 1, 0);
        await_used(0);
        prefetch_ok(&b);
        actor_call(&a, actor_discard, &m);
        message_want(SVMD_OK, &m);
        await_used(0);
        prefetch_ok(&a);
        call(&a, actor_gpu_zero);
        call_for(&a, actor_gpu_fill, 5, 2);
        call(&a, actor_gpu_ended);
        restart();
        must(used() == SIZE);
        call_for(&b, actor_cpu_is, 5, 2);
        call_for(&b, actor_cpu_is, 0, 3);
        prefetch_ok(&b);
        call_for(&b, actor_gpu_fill, 6, 3);
        leave(&b);
        call_for(&a, actor_cpu_is, 6, 3);
        call_for(&a, actor_cpu_is, 5, 2);
        leave(&a);
        await_used(0);
        printf("a kernel writes what no CPU has touched\n");
}

/* A pin brings what the device wrote back to the host and keeps it there, for the CPU and, when it is registered, for
 * kernels. */
static void pinned(void) {
        struct message m = { 0 };
        struct actor a, b;

        both(&a, &b, "pinned");
        prefetch_ok(&a);
        prefetch_ok(&b);
        call_for(&a, actor_gpu_write, 1, 0);
        call(&b, actor_pin);
        await_used(0);
        call(&a, actor_gpu_none);
        call_for(&a, actor_cpu_read, 1, 0);
        prefetch(&a, &m);
        message_want(SVMD_E_BUSY, &m);
        must(strstr(m.error, "8 of 8") && strstr(m.error, "pinned") && strstr(m.error, "svmd_host_register"));
        actor_call(&a, actor_migrate, &m);
        message_want(SVMD_E_BUSY, &m);
        must(strstr(m.error, "unpinned"));
        must(used() == 0);
        call(&a, actor_gpu_none);
        call(&b, actor_register);
        call_for(&b, actor_gpu_read, 1, 0);
        call_for(&b, actor_gpu_write, 2, 0);
        call_for(&a, actor_cpu_read, 2, 0);
        call(&b, actor_unregister);
        prefetch(&a, &m);
        message_want(SVMD_E_BUSY, &m);
        call(&b, actor_unpin);
        prefetch_ok(&a);
        must(used() == SIZE);
        call_for(&a, actor_gpu_read, 2, 0);
        leave(&a);
        leave(&b);
        await_used(0);
        printf("what is pinned stays in host memory, and kernels use it there\n");
}

static void race(bool killing) {
        struct message m = { 0 };
        struct actor a, b;

        both(&a, &b, killing ? "killing" : "race");
        call(&a, actor_clear);
        actor_begin(&a, actor_race, &m);
        actor_begin(&b, actor_race_touch, &m);
        for (unsigned i = 0; killing && i < 4; i++) {
                usleep(100000);
                restart();
        }
        actor_finish(&b, &m);
        actor_finish(&a, &m);
        must(m.n[0] > 0);
        printf("the device wrote %llu times beside a writer on the CPU%s\n", (unsigned long long)m.n[0],
               killing ? ", while svmd was killed" : "");
        actor_call(&b, actor_race_read, &m);
        actor_end(&a);
        actor_end(&b);
        await_used(0);
}

/* svmd is killed, and what it knew of who has mapped what with it. */
static void restarted(void) {
        struct actor a, b;

        both(&a, &b, "restarted");
        call_for(&a, actor_cpu_write, 1, 0);
        prefetch_ok(&a);
        prefetch_ok(&b);
        call_for(&a, actor_gpu_write, 2, 0);
        restart();
        must(used() == SIZE);
        call_for(&b, actor_gpu_read, 2, 0);
        call_for(&a, actor_gpu_fill, 5, 0);
        call_for(&b, actor_cpu_is, 5, 0);
        call_for(&a, actor_gpu_fill, 6, 1);
        restart();
        call_for(&a, actor_cpu_is, 6, 1);
        call_for(&b, actor_cpu_is, 6, 1);
        prefetch_ok(&b);
        call_for(&b, actor_gpu_fill, 3, 2);
        call_for(&a, actor_cpu_is, 3, 2);
        actor_end(&a);
        actor_end(&b);
        await_used(0);
        printf("what the device wrote outlives svmd\n");
}

/* One that has granules mapped is killed, and one disconnects. */
static void gone(void) {
        struct actor a, b, c;

        both(&a, &b, "gone");
        start(&c, THIRD);
        named(&c, actor_open, "gone", SVMD_ACCESS_READ_WRITE, NULL);
        call_for(&a, actor_cpu_write, 1, 0);
        prefetch_ok(&a);
        prefetch_ok(&b);
        prefetch_ok(&c);
        call_for(&b, actor_gpu_write, 4, 0);
        actor_kill(&b);
        call(&c, actor_disconnect);
        call(&c, actor_gpu_none);
        call_for(&a, actor_gpu_read, 4, 0);
        call_for(&a, actor_cpu_read, 4, 0);
        actor_end(&a);
        actor_end(&c);
        await_used(0);
        printf("who is killed, or leaves, keeps nobody from his bytes\n");
}

static int find_withheld(const struct svmd_session_row *row, void *userdata) {
        char *text = userdata;

        if (*row->withheld)
                snprintf(text, 200, "%u %s", row->pid, row->withheld);
        return 0;
}

static int find_finding(const char *id, unsigned level, const char *text, void *userdata) {
        *(bool *)userdata |= strcmp(id, "cuda-withheld") == 0;
        return 0;
}

/* Another one does not answer. */
static void stopped(void) {
        struct message m = { 0 };
        char text[200] = "";
        bool found = false;
        struct actor a, b;
        int status;

        both(&a, &b, "stopped");
        call_for(&a, actor_cpu_write, 1, 0);
        prefetch_ok(&a);
        prefetch_ok(&b);
        call_for(&a, actor_gpu_write, 2, 0);
        must(kill(b.pid, SIGSTOP) == 0 && waitpid(b.pid, &status, WUNTRACED) == b.pid && WIFSTOPPED(status));
        call_for(&a, actor_cpu_read, 2, 0);
        ok(svmd_query_sessions(watcher, NULL, find_withheld, text));
        must(strtoul(text, NULL, 10) == (unsigned long)b.pid && strstr(text, "gpu0: "));
        ok(svmd_query_findings(watcher, find_finding, &found));
        must(found);
        for (uint64_t i = 0; i < 20; i++) { /* and nobody waits for it again */
                prefetch_ok(&a);
                call_for(&a, actor_gpu_write, 3 + i, 0);
                call_for(&a, actor_cpu_read, 3 + i, 0);
        }
        must(kill(b.pid, SIGCONT) == 0);
        call_for(&b, actor_cpu_read, 22, 0);
        prefetch(&b, &m);
        message_want(SVMD_E_GONE, &m);
        must(strstr(m.error, "destroy its spaces"));
        call(&b, actor_destroy);
        call(&b, actor_space);
        prefetch_ok(&b);
        call_for(&b, actor_gpu_read, 22, 0);
        text[0] = 0;
        ok(svmd_query_sessions(watcher, NULL, find_withheld, text));
        must(!text[0]);
        actor_end(&a);
        actor_end(&b);
        await_used(0);
        printf("a process that is stopped is waited for once, and told of\n");
}

/* svmd-cuda is killed, with what is on the device. What is put there again is what counts. */
static void agent_lost(void) {
        struct message m = { 0 };
        struct actor a, b;
        uint64_t end;

        both(&a, &b, "lost");
        call_for(&a, actor_cpu_write, 1, 0);
        prefetch_ok(&a);
        prefetch_ok(&b);
        call_for(&a, actor_gpu_write, 2, 0);
        agent_kill(&agent);
        call(&a, actor_gpu_await_none);
        call(&b, actor_gpu_await_none);
        agent_start(&agent, NULL, NULL, AGENT_OWN);
        actor_call(&a, actor_discard, &m);
        message_want(SVMD_OK, &m);
        call_for(&b, actor_cpu_write, 3, 0);
        for (end = now_ms() + CEILING_MS; prefetch(&a, &m) != SVMD_OK;) { /* until svmd has heard of the new one */
                if (now_ms() > end)
                        message_want(SVMD_OK, &m);
                usleep(10000);
        }
        call_for(&a, actor_gpu_read, 3, 0);
        call_for(&a, actor_gpu_fill, 7, 2);
        call_for(&b, actor_cpu_is, 7, 2);
        leave(&a);
        leave(&b);
        await_used(0);
        printf("svmd-cuda's end costs what was there, and nothing that is put there afterwards\n");
}

static void refused(void) {
        struct message m = { 0 };
        struct actor a, b;

        both(&a, &b, "refused");
        actor_end(&b);
        start(&b, OTHER);
        named(&b, actor_open, "refused", SVMD_ACCESS_READ, NULL);
        call_for(&a, actor_cpu_write, 1, 0);
        prefetch(&b, &m);
        message_want(SVMD_E_ACCESS, &m);
        call_for(&b, actor_cpu_read, 1, 0);
        actor_end(&b);
        start(&b, OTHER);
        named(&b, actor_reserve, "small", 4096, NULL);
        prefetch(&b, &m);
        message_want(SVMD_E_UNSUPPORTED, &m);
        must(strstr(m.error, "granules of 2M"));
        actor_end(&b);
        if (standin) {
                named(&a, actor_set, "STANDIN_CUDA_NO_MAP", 0, NULL);
                must(prefetch(&a, &m) != SVMD_OK && strstr(m.error, "did not map a granule where the CPU has"));
                call(&a, actor_gpu_none);
                call_for(&a, actor_cpu_read, 1, 0);
                named(&a, actor_unset, "STANDIN_CUDA_NO_MAP", 0, NULL);
                prefetch_ok(&a);
                call_for(&a, actor_gpu_read, 1, 0);
        }
        actor_end(&a);
        await_used(0);
        printf("what cannot be mapped is refused in words\n");
}

int main(int argc, char **argv) {
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 8ull << 30, .window = HARNESS_WINDOW, .mode = 0666
        };
        char option[128];

        if (!cuda_is_here(&standin)) {
                printf("this machine has no CUDA device: not applicable\n");
                return 77;
        }
        printf("%s\n", standin ? "with the stand-in libcuda.so.1" : "with this machine's own libcuda.so.1");
        harness_begin("cuda_managed");
        if (harness_one_user())
                return 0;
        agent_listen(&agent);
        agent_start(&agent, NULL, NULL, AGENT_OWN);
        snprintf(option, sizeof(option), "--cuda-agent=%s", agent.path);
        daemon_new(&d, (const char *const[]){ "--cuda-node=gpu0:device=cuda:0,size=64M,managed=on", "--cuda-patience=2",
                                              option, NULL });
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        share();
        first();
        pinned();
        race(false);
        restarted();
        race(true);
        gone();
        stopped();
        agent_lost();
        refused();
        svmd_disconnect(watcher);
        daemon_end(&d);
        agent_close(&agent);
        return 0;
}
