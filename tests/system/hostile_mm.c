#include "hostile_mm.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
        GRANULE = 4096,
        HOSTILE_GRANULES = 512,
        HOSTILE_THREADS = 8,
        HOSTILE_ORDERS = 16,
        FAULTER_GRANULES = 64,
        START_MS = 60000
};

static uint64_t now_ns(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t get(const uint64_t *p) {
        return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void add(uint64_t *p) {
        __atomic_fetch_add(p, 1, __ATOMIC_ACQ_REL);
}

/* ---- the hostile process ---- */

static struct hostile_mm_state *state;

static void hostile_fail(const char *what, const char *why) {
        snprintf(state->why, sizeof(state->why), "%s: %s", what, why);
        __atomic_store_n(&state->ready, 2, __ATOMIC_RELEASE);
        _exit(1);
}

static void hostile_agreed(const char *what, int code) {
        if (code)
                hostile_fail(what, svmd_error());
}

static int hostile_find(const struct svmd_node_row *row, void *userdata) {
        const char **name = userdata;

        if (strcmp(row->name, *name) != 0)
                return 0;
        *name = NULL;
        return 1000 + (int)row->id;
}

static svmd_node find_node(svmd_session *s, const char *name) {
        int r = svmd_query_nodes(s, hostile_find, &name);

        return name ? SVMD_NODE_NONE : (svmd_node)(r - 1000);
}

struct hostile_range {
        svmd_session *s;
        volatile char *at;
        svmd_node node;
        size_t threads;
};

/* Sixteen granules are ordered away, one by one, and touched when they are. */
static void hostile_turn(struct hostile_range *r, volatile char *at) {
        svmd_fence *fence[HOSTILE_ORDERS];

        for (size_t i = 0; i < HOSTILE_ORDERS; i++) {
                hostile_agreed("migrate", svmd_migrate(r->s, &fence[i], (void *)(at + i * GRANULE), GRANULE, r->node));
                add(&state->ordered);
        }
        for (size_t i = 0; i < HOSTILE_ORDERS; i++) {
                hostile_agreed("migrate", svmd_fence_wait(fence[i], -1, NULL));
                svmd_fence_free(fence[i]);
                add(&state->moved);
        }
        for (size_t i = 0; i < HOSTILE_ORDERS; i++)
                at[i * GRANULE]++;
}

static void *hostile_orders(void *data) {
        struct hostile_range *r = data;
        size_t each = HOSTILE_GRANULES / HOSTILE_THREADS;
        volatile char *at = r->at + __atomic_fetch_add(&r->threads, 1, __ATOMIC_RELAXED) * each * GRANULE;

        for (size_t i = 0; !get(&state->stop); i = (i + HOSTILE_ORDERS) % each)
                hostile_turn(r, at + i * GRANULE);
        return NULL;
}

/* Without the C library's handlers: nobody is to be kind here. The child before goes while the next one is made. */
static void hostile_fork(void) {
        static pid_t last;
        pid_t pid;

        add(&state->forks);
        pid = (pid_t)syscall(SYS_fork);
        if (pid == 0)
                syscall(SYS_exit_group, 0);
        add(&state->forks);
        if (pid < 0)
                hostile_fail("fork", strerror(errno));
        while (last && waitpid(last, NULL, 0) < 0 && errno == EINTR)
                ;
        last = pid;
}

/* One written page, and the kernel copies the page tables of all. */
static void hostile_grow(uint64_t bytes) {
        char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (p == MAP_FAILED)
                hostile_fail("mmap", strerror(errno));
        madvise(p, bytes, MADV_NOHUGEPAGE);
        p[0] = 1;
        for (uint64_t i = GRANULE; i < bytes; i += GRANULE)
                (void)*(volatile char *)(p + i);
}

static void hostile_begin(struct hostile_range *r, const char *socket, const char *node) {
        struct svmd_connect_options c = { .size = sizeof(c), .socket = socket, .name = "hostile" };
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_SHARED, .granule = GRANULE };
        void *at;

        hostile_agreed("connect", svmd_connect(&r->s, &c));
        hostile_agreed("reserve", svmd_address_reserve(r->s, &at, HOSTILE_GRANULES * GRANULE, 0, NULL, &o));
        r->at = at;
        r->node = find_node(r->s, node);
        if (r->node == SVMD_NODE_NONE)
                hostile_fail(node, "there is no such node");
        for (size_t i = 0; i < HOSTILE_GRANULES; i++)
                r->at[i * GRANULE] = 1;
}

static void hostile_main(const char *socket, const char *node, uint32_t uid, uint64_t bytes) {
        struct hostile_range r = { 0 };
        pthread_t t[HOSTILE_THREADS];

        if (uid && (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid)))
                hostile_fail("setresuid", strerror(errno));
        prctl(PR_SET_DUMPABLE, 1);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(0);
        hostile_begin(&r, socket, node);
        hostile_grow(bytes);
        for (unsigned i = 0; i < HOSTILE_THREADS; i++)
                if (pthread_create(&t[i], NULL, hostile_orders, &r))
                        hostile_fail("pthread_create", "failed");
        __atomic_store_n(&state->ready, 1, __ATOMIC_RELEASE);
        while (!get(&state->stop))
                hostile_fork();
        for (unsigned i = 0; i < HOSTILE_THREADS; i++)
                pthread_join(t[i], NULL);
        svmd_disconnect(r.s);
        _exit(0);
}

uint64_t hostile_mm_bytes(void) {
        uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE), most = 24ull << 30;

        return memory < most ? memory & ~(uint64_t)(GRANULE - 1) : most;
}

const char *hostile_mm_new(struct hostile_mm *h, const char *socket, const char *node, uint32_t uid, uint64_t bytes) {
        uint64_t until = now_ns() + START_MS * 1000000ull;

        h->state = mmap(NULL, sizeof(*h->state), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (h->state == MAP_FAILED)
                return "mmap failed";
        fflush(NULL);
        state = h->state;
        h->pid = fork();
        if (h->pid < 0)
                return "fork failed";
        if (h->pid == 0)
                hostile_main(socket, node, uid, bytes);
        while (!get(&h->state->ready) || (get(&h->state->ready) == 1 && get(&h->state->moved) == 0)) {
                if (now_ns() >= until)
                        return "the hostile process does not get to it";
                usleep(1000);
        }
        return h->state->why[0] ? h->state->why : NULL;
}

void hostile_mm_free(struct hostile_mm *h) {
        if (h->pid > 0) {
                kill(h->pid, SIGKILL);
                waitpid(h->pid, NULL, 0);
        }
        munmap(h->state, sizeof(*h->state));
        h->pid = 0;
        h->state = NULL;
}

/* ---- another session's faults ---- */

const char *faulter_new(struct faulter *f, svmd_session *s, svmd_node node) {
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_SHARED, .granule = GRANULE };
        struct svmd_advice single = { .size = sizeof(single), .what = SVMD_ADVISE_GRANULARITY, .granularity = GRANULE };
        void *at;

        if (svmd_address_reserve(s, &at, FAULTER_GRANULES * GRANULE, 0, NULL, &o) || svmd_advise(s, at, 0, &single))
                return svmd_error();
        *f = (struct faulter){ .s = s, .at = at, .count = FAULTER_GRANULES, .node = node };
        for (size_t i = 0; i < f->count; i++)
                f->at[i * GRANULE] = 1;
        return NULL;
}

const char *faulter_once(struct faulter *f, uint64_t *ret_ns) {
        volatile char *at = f->at + f->next++ % f->count * GRANULE;
        uint64_t begun;

        if (svmd_migrate(f->s, NULL, (void *)at, GRANULE, f->node))
                return svmd_error();
        begun = now_ns();
        (*at)++;
        *ret_ns = now_ns() - begun;
        return NULL;
}

static int by_size(const void *a, const void *b) {
        const uint64_t *x = a, *y = b;

        return *x < *y ? -1 : *x > *y;
}

const char *faulter_measure(struct faulter *f, unsigned samples, uint64_t *ret_median_ns, uint64_t *ret_longest_ns) {
        uint64_t *ns = calloc(samples, sizeof(*ns));
        const char *why = ns ? NULL : "out of memory";

        for (unsigned i = 0; i < samples && !why; i++)
                why = faulter_once(f, &ns[i]);
        if (!why) {
                qsort(ns, samples, sizeof(*ns), by_size);
                *ret_median_ns = ns[samples / 2];
                *ret_longest_ns = ns[samples - 1];
        }
        free(ns);
        return why;
}

const char *faulter_free(struct faulter *f) {
        return svmd_address_free(f->s, (void *)f->at) ? svmd_error() : NULL;
}
