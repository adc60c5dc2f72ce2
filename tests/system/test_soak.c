/*
 * Hundreds of clients for a long time: each writes, moves, advises, lends to devices and frees what it has, and
 * compares it; many are killed, svmd too, limits change, a node is drained and comes back. In the second half svmd runs
 * on undisturbed, and its memory and that of its keeper are looked at: they must not grow from there on. At the end
 * nothing is left, neither bytes nor descriptors.
 *
 *      system_soak [SECONDS [CLIENTS]]     SVMD_SEED reproduces the choices; 3600 and 300 with SVMD_LONG=1
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"
#include "soaked.h"

enum { CLIENTS_MAX = 1000, MIB = 1 << 20, SAMPLES = 64 };
/* What may come on top of all that grows and shrinks with the load. */
#define SLACK ((uint64_t)8 << 20)

static struct soaked k;

static pid_t start_client(unsigned number) {
        static unsigned born;
        uint64_t seed = random_seed_for(++born);
        pid_t pid = fork();

        must(pid >= 0);
        if (pid > 0)
                return pid;
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failure of the test leaves none */
        random_set(seed);
        for (;;)
                soaked_live(&k, 50 + random_below(400), 4000);
}

/* ---- what is done to them ---- */

static void set_limit(void) {
        struct svmd_limit limit = { .node = k.gpu[0], .max = (16 + random_below(64)) * MIB };
        struct svmd_partition_options o = { .size = sizeof(o), .limits = &limit, .limits_count = 1 };
        svmd_session *admin;

        connect_watcher(&admin, k.d.admin);
        ok(svmd_partition_set(admin, "soak", &o, 0));
        svmd_disconnect(admin);
}

static void drain(bool back) {
        svmd_session *admin;
        svmd_fence *f = NULL;

        connect_watcher(&admin, k.d.admin);
        must(soaked_usual(
                svmd_node_set(admin, back ? NULL : &f, k.gpu[1], back ? SVMD_NODE_ONLINE : SVMD_NODE_OFFLINE)));
        svmd_fence_free(f);
        svmd_disconnect(admin);
}

/* ---- what is looked at ---- */

/* Memory of its own: what it has mapped of its nodes' pools comes and goes with what they hold. */
static uint64_t process_anon(pid_t pid) {
        char path[32], line[256];
        uint64_t kib = 0;
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
        f = fopen(path, "re");
        must(f);
        while (fgets(line, sizeof(line), f))
                if (sscanf(line, "RssAnon: %" SCNu64, &kib) == 1)
                        break;
        fclose(f);
        return kib << 10;
}

struct samples {
        uint64_t svmd[SAMPLES], keeper[SAMPLES];
        unsigned count;
};

static int by_size(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return x < y ? -1 : x > y;
}

static uint64_t median(const uint64_t *of, unsigned count) {
        uint64_t sorted[SAMPLES];

        memcpy(sorted, of, count * sizeof(*of));
        qsort(sorted, count, sizeof(*sorted), by_size);
        return sorted[count / 2];
}

/* The first quarter against the last one: what grows all the time is greater there. */
static void must_be_flat(const char *what, const uint64_t *of, unsigned count) {
        unsigned quarter = count / 4;
        uint64_t before = median(of, quarter), after = median(of + count - quarter, quarter);

        printf("%s: %.1f MiB, then %.1f MiB\n", what, (double)before / MIB, (double)after / MIB);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they keep what was freed, and shadows */
        must(after < before + before / 10 + SLACK);
#endif
}

static void soak(pid_t *clients, unsigned count, uint64_t seconds) {
        uint64_t begin = now_ms(), end = begin + seconds * 1000, half = begin + seconds * 500, sample = half;
        uint64_t every = (end - half) / SAMPLES, kills = 0, restarts = 0;
        struct samples samples = { .count = 0 };
        bool away = false;

        while (now_ms() < end || samples.count < SAMPLES) { /* on a machine that is slow, for longer */
                unsigned at = (unsigned)random_below(count);

                usleep(20000);
                if (random_below(4) == 0) {
                        kill(clients[at], SIGKILL);
                        must(waitpid(clients[at], NULL, 0) == clients[at]);
                        clients[at] = start_client(at);
                        kills++;
                }
                if (random_below(50) == 0)
                        set_limit();
                if (random_below(100) == 0)
                        drain(away), away = !away;
                if (now_ms() < half && random_below(60) == 0) {
                        daemon_kill(&k.d);
                        daemon_start(&k.d);
                        restarts++;
                }
                if (now_ms() >= sample && samples.count < SAMPLES) {
                        samples.svmd[samples.count] = process_anon(k.d.pid);
                        samples.keeper[samples.count++] = process_anon(k.d.keeper);
                        sample += every;
                }
                for (unsigned i = 0; i < count; i++)
                        must(waitpid(clients[i], NULL, WNOHANG) == 0);
        }
        if (away)
                drain(true);
        printf("%u clients for %" PRIu64 " s: %" PRIu64 " killed, svmd %" PRIu64 " times\n", count, seconds, kills,
               restarts);
        must(kills > 0);
        must_be_flat("svmd", samples.svmd, samples.count);
        must_be_flat("svmd-keeper", samples.keeper, samples.count);
}

int main(int argc, char **argv) {
        bool is_long = getenv("SVMD_LONG");
        uint64_t seconds = argc > 1 ? strtoull(argv[1], NULL, 0) : is_long ? 3600 : 8;
        unsigned count = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : is_long ? 300 : 16, fds[2];
        static pid_t clients[CLIENTS_MAX];
        svmd_session *watcher;
        bool own; /* svmd has needed a userfaultfd for itself, and keeps it */

        harness_begin("system_soak");
        alarm(0); /* it goes on for as long as it is told, and every wait has its ceiling */
        must(count > 0 && count <= CLIENTS_MAX && seconds > 0);
        soaked_begin(&k, true);
        fds[0] = process_fds_at_rest(k.d.pid);
        fds[1] = process_fds_at_rest(k.d.keeper);
        for (unsigned i = 0; i < count; i++)
                clients[i] = start_client(i);
        soak(clients, count, seconds);
        for (unsigned i = 0; i < count; i++) {
                kill(clients[i], SIGKILL);
                must(waitpid(clients[i], NULL, 0) == clients[i]);
        }
        connect_watcher(&watcher, k.d.admin);
        await_settled(watcher, &k.d, 0, fds[1]); /* the ended clients have gone by then */
        own = process_fds_at_rest(k.d.pid) > fds[0] + 1;
        await_settled(watcher, &k.d, fds[0] + 1 + own, fds[1]);
        svmd_disconnect(watcher);
        daemon_end(&k.d);
        return 0;
}
