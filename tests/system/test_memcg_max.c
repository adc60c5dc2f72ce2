/*
 * The memory limit of a client's cgroup (memory.max, or version 1's) holds for its managed memory too. A range that is
 * larger than what the cgroup has left goes out and comes in, 1,000 times a granule: nobody is killed, every byte is
 * right, and what is in host memory is charged to the client, but for what is under way, and for granules that the
 * kernel would not let it pay for: at most half of them. Whom the kernel bounds so is told by name.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"
#include "memcg.h"

enum {
        GRANULE = 65536,
        RANGE = 1 << 20,
        LEFT = 3 << 18,
        TRIPS = 64,
        LOOKS = 8,
        WORDS = RANGE / 8,
        STRIDE = 512,
        UNPAID = RANGE / 2
};

static struct daemon d;
static svmd_session *watcher;

/* In an actor. */
static svmd_session *mine;
static uint64_t *words;

static void client_begin(struct message *m) {
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_SHARED, .granule = GRANULE };
        void *at;

        connect_to(&mine, d.socket, NULL);
        ok(svmd_address_reserve(mine, &at, RANGE, 0, NULL, &o));
        words = at;
}

/* n[0]: round trips; n[1]: what each word has before -> after */
static void client_trips(struct message *m) {
        svmd_node gpu = node_named(mine, "gpu0");

        for (uint64_t i = 0; i < m->n[0]; i++) {
                ok(svmd_prefetch(mine, NULL, words, 0, gpu));
                for (size_t k = 0; k < WORDS; k += STRIDE)
                        must(words[k]++ == m->n[1]);
                m->n[1]++;
        }
}

static void client_end(struct message *m) {
        ok(svmd_address_free(mine, words));
        svmd_disconnect(mine);
}

static uint64_t range_bytes(void) {
        return process_blocks(d.pid, "svmd-range-");
}

/* Bytes in host memory that the client does not pay for. Newer kernels put the group's figures together only every few
 * seconds, so this waits until they are few. */
static uint64_t not_paid(const struct memcg *c) {
        uint64_t end = now_ms() + CEILING_MS;

        for (;; usleep(10000)) {
                uint64_t in_memory = range_bytes(), charged = memcg_shmem(c);
                uint64_t more = in_memory > charged ? in_memory - charged : 0;

                if (more <= UNPAID || now_ms() >= end)
                        return more;
        }
}

static void test_trips(struct actor *a, const struct memcg *c) {
        uint64_t most = 0;
        struct message m = { .n = { TRIPS / LOOKS, 0 } };

        memcg_limit(c, memcg_current(c) + LEFT);
        for (unsigned i = 0; i < LOOKS; i++) {
                uint64_t more;

                actor_call(a, client_trips, &m);
                more = not_paid(c);
                most = more > most ? more : most;
        }
        printf("%" PRIu64 " round trips of 16 granules; %" PRIu64 " KiB of %u in host memory, %" PRIu64
               " KiB of them at most that the client does not pay for; killed for memory: %" PRIu64 "\n",
               m.n[1], range_bytes() >> 10, RANGE >> 10, most >> 10, memcg_oom_kills(c));
        must(memcg_oom_kills(c) == 0);
        must(range_bytes() < RANGE);
        must(most <= UNPAID);
}

/* ---- told ---- */

struct told {
        const char *group;
        bool row, finding;
};

static int on_drift(const struct svmd_drift_row *row, void *userdata) {
        struct told *t = userdata;
        size_t n = strlen(row->subject), of = strlen(t->group);

        if (strcmp(row->source, "memcg") == 0 && n <= of && strcmp(t->group + of - n, row->subject) == 0)
                t->row = row->limit != UINT64_MAX && strstr(row->why, "lets this group have no more");
        return 0;
}

static int on_finding(const char *id, unsigned level, const char *text, void *userdata) {
        struct told *t = userdata;

        t->finding |= strcmp(id, "group-full") == 0 && strstr(text, strrchr(t->group, '/'));
        return 0;
}

/* It is at its limit: whoever asks is told of it, and who only looks at findings, too. */
static void test_told(const struct memcg *c) {
        struct told t = { .group = c->path };
        uint64_t until = now_ms() + CEILING_MS;

        for (; !t.row || !t.finding; usleep(10000)) {
                must(now_ms() < until);
                ok(svmd_query_drift(watcher, on_drift, &t));
                ok(svmd_query_findings(watcher, on_finding, &t));
        }
        printf("%s is told to be at its limit\n", c->path);
}

/* ---- full ---- */

/* What it has in host memory may not leave, and what it takes itself fills its cgroup. */
static void client_eat(struct message *m) {
        ok(svmd_pin(mine, NULL, words, GRANULE));
        for (;;) {
                char *more = malloc(1 << 20);

                must(more);
                memset(more, 1, 1 << 20);
        }
}

/* n[0]: what each word has */
static void client_look(struct message *m) {
        for (size_t k = 0; k < WORDS; k += STRIDE)
                must(words[k] == m->n[0]);
}

/* The kernel ends the process that filled its cgroup, and nobody else loses anything. */
static void test_full(struct actor *a, const struct memcg *c) {
        struct message m = { .n = { 3, 0 } };
        struct actor other;
        struct svmd_status st;
        int status;

        actor_new(&other, 2002, 2002, 0);
        actor_call(&other, client_begin, NULL);
        actor_call(&other, client_trips, &m);
        actor_begin(a, client_eat, NULL);
        must(wait_end(a->pid, &status));
        must(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        actor_ended(a);
        must(memcg_oom_kills(c) == 1);
        must(kill(d.pid, 0) == 0 && kill(d.keeper, 0) == 0);
        for (uint64_t until = now_ms() + CEILING_MS;; usleep(5000)) { /* what it had is released */
                status_of(watcher, &st);
                if (st.reservations == 1)
                        break;
                must(now_ms() < until);
        }
        m = (struct message){ .n = { 3 } };
        actor_call(&other, client_look, &m);
        actor_call(&other, client_end, NULL);
        actor_end(&other);
        printf("who fills his cgroup is ended by the kernel, and nobody else\n");
}

int main(void) {
        static const char *const options[] = { "--soft-node", "gpu0:size=64M", "--log-level", "warning", NULL };
        struct memcg c;
        struct actor a;

        harness_begin("system_memcg_max");
        if (harness_one_user())
                return 0;
        if (!memcg_new(&c, "client")) {
                printf("limits of cgroups do not apply in this run: none can be made\n");
                return 0;
        }
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        actor_new(&a, 2001, 2001, 0);
        memcg_enter(&c, a.pid);
        actor_call(&a, client_begin, NULL);
        test_trips(&a, &c);
        test_told(&c);
        test_full(&a, &c);
        svmd_disconnect(watcher);
        daemon_end(&d);
        memcg_end(&c);
        return 0;
}
