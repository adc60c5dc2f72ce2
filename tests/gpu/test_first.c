/*
 * Threads of one session that come to CUDA at once, when the session has nothing of it yet: each has a space, and
 * memory in it, of its own. With the stand-in library: what is looked at is libsvmd's.
 */
#include <pthread.h>
#include <stdio.h>

#include "cuda_user.h"
#include "daemon.h"
#include "harness.h"

enum { USER = 2001, THREADS = 4, SESSIONS = 8 };
#define MIB  (1ull << 20)
#define SIZE (2 * MIB)

static struct daemon d;

static svmd_session *mine;
static svmd_node gpu;
static pthread_barrier_t together;

static void *come(void *userdata) {
        svmd_space space;
        svmd_mem mem;
        void *at;

        ok(svmd_address_reserve(mine, &at, SIZE, SIZE, NULL, NULL));
        pthread_barrier_wait(&together);
        ok(svmd_space_create(mine, &space, gpu));
        ok(svmd_mem_create(mine, &mem, SIZE, gpu, SVMD_MEM_SHAREABLE));
        ok(svmd_mem_map(mine, space, (uintptr_t)at, SIZE, 0, mem, SVMD_ACCESS_READ_WRITE, 0));
        ok(svmd_mem_unmap(mine, space, (uintptr_t)at, SIZE));
        ok(svmd_mem_release(mine, mem));
        ok(svmd_space_destroy(mine, space));
        return NULL;
}

static void begin(struct message *m) {
        pthread_t thread[THREADS];

        connect_to(&mine, d.socket, "lab");
        gpu = node_named(mine, "gpu0");
        must(pthread_barrier_init(&together, NULL, THREADS) == 0);
        for (unsigned i = 0; i < THREADS; i++)
                must(pthread_create(&thread[i], NULL, come, NULL) == 0);
        for (unsigned i = 0; i < THREADS; i++)
                must(pthread_join(thread[i], NULL) == 0);
        pthread_barrier_destroy(&together);
        svmd_disconnect(mine);
}

int main(void) {
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW, .mode = 0666
        };
        svmd_session *watcher;
        struct actor a;
        bool standin;

        if (!cuda_is_here(&standin)) {
                printf("this machine has no CUDA device: not applicable\n");
                return 77;
        }
        harness_begin("first");
        daemon_new(&d, (const char *const[]){ "--cuda-node=gpu0:device=cuda:0,size=256M", NULL });
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        actor_new(&a, USER, USER, 0);
        for (unsigned i = 0; i < SESSIONS; i++)
                actor_call(&a, begin, &(struct message){ 0 });
        actor_end(&a);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
