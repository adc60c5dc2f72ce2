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

enum { CLIENTS_MAX = 1000, GRANULE = 64 << 10, GRANULES = 48, WORDS = GRANULE / 8, MIB = 1 << 20, SAMPLES = 64 };
/* What may come on top of all that grows and shrinks with the load. */
#define SLACK ((uint64_t)8 << 20)

static struct daemon d;
static svmd_node host, gpu[2];

/* ---- a client ---- */

struct range {
        svmd_session *s;
        svmd_space space[2];
        uint64_t *words;
        uint64_t value[GRANULES]; /* that fills each granule */
};

/* Under this load these are no failures; wrong bytes always are. */
static bool usual(int r) {
        switch (r) {
        case SVMD_OK:
        case SVMD_E_LIMIT:
        case SVMD_E_NO_ROOM:
        case SVMD_E_NO_MEMORY:
        case SVMD_E_BUSY:
        case SVMD_E_QUOTA:
        case SVMD_E_NOT_MAPPED:
        case SVMD_E_NO_NODE:
        case SVMD_E_NODE_KIND:
        case SVMD_E_INTERRUPTED:
        case SVMD_E_TIMEOUT: return true;
        }
        fprintf(stderr, "%s: %s\n", svmd_status_name(r), svmd_error());
        return false;
}

static void write_some(struct range *r) {
        unsigned g = (unsigned)random_below(GRANULES);
        uint64_t value = random_below(UINT64_MAX);

        for (unsigned i = 0; i < WORDS; i++)
                r->words[g * WORDS + i] = value;
        r->value[g] = value;
}

static void compare_some(struct range *r) {
        unsigned g = (unsigned)random_below(GRANULES);

        for (unsigned i = 0; i < WORDS; i++)
                must(r->words[g * WORDS + i] == r->value[g]);
}

static void *granule(struct range *r, unsigned *ret_count) {
        unsigned g = (unsigned)random_below(GRANULES);

        *ret_count = 1 + (unsigned)random_below(GRANULES - g);
        return r->words + (size_t)g * WORDS;
}

/* A restart of svmd in between: it may be done, or not. */
static void discard_one(struct range *r, uint64_t *at) {
        int code;

        while ((code = svmd_discard(r->s, NULL, at, GRANULE)) == SVMD_E_INTERRUPTED)
                ;
        must(usual(code));
        if (code == SVMD_OK)
                r->value[(at - r->words) / WORDS] = 0;
}

static void move_some(struct range *r) {
        svmd_node to = random_below(3) ? gpu[random_below(2)] : host;
        unsigned n, what = (unsigned)random_below(4);
        void *at = granule(r, &n);

        if (what == 0)
                must(usual(svmd_prefetch(r->s, NULL, at, (size_t)n * GRANULE, to)));
        else if (what == 1)
                must(usual(svmd_migrate(r->s, NULL, at, (size_t)n * GRANULE, to)));
        else if (what == 2)
                must(usual(svmd_evict(r->s, NULL, at, (size_t)n * GRANULE)));
        else
                discard_one(r, at);
}

static void advise_some(struct range *r) {
        struct svmd_advice a = { .size = sizeof(a), .what = SVMD_ADVISE_PREFERRED | SVMD_ADVISE_READ_MOSTLY };
        unsigned n;
        void *at = granule(r, &n);

        a.preferred = random_below(2) ? SVMD_NODE_NONE : gpu[random_below(2)];
        a.read_mostly = random_below(2) == 0;
        must(usual(svmd_advise(r->s, at, (size_t)n * GRANULE, &a)));
}

static void sum_on_device(struct range *r) {
        unsigned g = (unsigned)random_below(GRANULES), on = (unsigned)random_below(2);
        struct svmd_device_op op = { .size = sizeof(op), .op = SVMD_DEVICE_SUM, .length = GRANULE };
        struct svmd_fence_result result;
        svmd_fence *f;
        int code;

        if (!r->space[on] && !usual(svmd_space_create(r->s, &r->space[on], gpu[on])))
                fail_here("no space");
        if (!r->space[on])
                return;
        op.space = r->space[on];
        op.src = (uintptr_t)(r->words + (size_t)g * WORDS);
        code = svmd_submit(r->s, &f, &op);
        must(usual(code));
        if (code)
                return;
        code = svmd_fence_wait(f, -1, &result);
        must(usual(code));
        must(code || result.value == r->value[g] * WORDS);
        svmd_fence_free(f);
}

static void explicit_memory(struct range *r) {
        svmd_mem mem;
        void *at;

        if (!usual(svmd_address_reserve(r->s, &at, MIB, 0, NULL, NULL)))
                fail_here("no addresses");
        if (svmd_mem_create(r->s, &mem, MIB, random_below(2) ? host : gpu[0], 0) == SVMD_OK) {
                if (svmd_mem_map(r->s, SVMD_CPU, (uintptr_t)at, MIB, 0, mem, SVMD_ACCESS_READ_WRITE, 0) == SVMD_OK)
                        memset(at, 7, MIB);
                ok(svmd_mem_release(r->s, mem));
        }
        ok(svmd_address_free(r->s, at));
}

static int count_node(const struct svmd_node_row *row, void *userdata) {
        ++*(unsigned *)userdata;
        return 0;
}

static void ask(struct range *r) {
        unsigned nodes = 0;

        ok(svmd_query_nodes(r->s, count_node, &nodes));
        must(nodes >= 3);
}

/* One session from its begin to its end. */
static void live(void) {
        static void (*const deeds[])(struct range *) = { write_some,    write_some,      compare_some,
                                                         compare_some,  move_some,       advise_some,
                                                         sum_on_device, explicit_memory, ask };
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_SHARED, .granule = GRANULE };
        struct range r = { .space = { 0, 0 } };
        int code;

        if (try_connect(&r.s, d.socket, "soak", 0) != SVMD_OK)
                return;
        code = svmd_address_reserve(r.s, (void **)&r.words, (size_t)GRANULES * GRANULE, 0, NULL, &o);
        must(usual(code));
        for (uint64_t n = code ? 0 : 50 + random_below(400); n > 0; n--) {
                deeds[random_below(sizeof(deeds) / sizeof(deeds[0]))](&r);
                usleep((useconds_t)random_below(4000));
        }
        svmd_disconnect(r.s);
}

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
                live();
}

/* ---- what is done to them ---- */

static void set_limit(void) {
        struct svmd_limit limit = { .node = gpu[0], .max = (16 + random_below(64)) * MIB };
        struct svmd_partition_options o = { .size = sizeof(o), .limits = &limit, .limits_count = 1 };
        svmd_session *admin;

        connect_watcher(&admin, d.admin);
        ok(svmd_partition_set(admin, "soak", &o, 0));
        svmd_disconnect(admin);
}

static void drain(bool back) {
        svmd_session *admin;
        svmd_fence *f = NULL;

        connect_watcher(&admin, d.admin);
        must(usual(svmd_node_set(admin, back ? NULL : &f, gpu[1], back ? SVMD_NODE_ONLINE : SVMD_NODE_OFFLINE)));
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

        while (now_ms() < end) {
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
                        daemon_kill(&d);
                        daemon_start(&d);
                        restarts++;
                }
                if (now_ms() >= sample && samples.count < SAMPLES) {
                        samples.svmd[samples.count] = process_anon(d.pid);
                        samples.keeper[samples.count++] = process_anon(d.keeper);
                        sample += every;
                }
                for (unsigned i = 0; i < count; i++)
                        must(waitpid(clients[i], NULL, WNOHANG) == 0);
        }
        if (away)
                drain(true);
        printf("%u clients for %" PRIu64 " s: %" PRIu64 " killed, svmd %" PRIu64 " times\n", count, seconds, kills,
               restarts);
        must(samples.count > SAMPLES / 2 && kills > 0);
        must_be_flat("svmd", samples.svmd, samples.count);
        must_be_flat("svmd-keeper", samples.keeper, samples.count);
}

static void set_up(void) {
        static const char *const options[] = { "--host-capacity", "2G", "--soft-node", "gpu0:size=128M", "--soft-node",
                                               "gpu1:size=96M",   NULL };
        struct svmd_partition_options o = { .size = sizeof(o), .mode = 0666, .window = HARNESS_WINDOW };
        svmd_session *admin;

        o.length = (uint64_t)16 << 30;
        daemon_new(&d, options);
        connect_watcher(&admin, d.admin);
        ok(svmd_partition_create(admin, "soak", &o, NULL));
        host = node_named(admin, "host0");
        gpu[0] = node_named(admin, "gpu0");
        gpu[1] = node_named(admin, "gpu1");
        svmd_disconnect(admin);
}

/* svmd opens files for its slots when the first granule of a size comes to a node, and keeps them. */
static void warm_up(void) {
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_SHARED, .granule = GRANULE };
        svmd_session *s;
        uint64_t *words;

        connect_to(&s, d.socket, "soak");
        ok(svmd_address_reserve(s, (void **)&words, GRANULE, 0, NULL, &o));
        for (unsigned i = 0; i < 2; i++) {
                words[0] = i;
                ok(svmd_migrate(s, NULL, words, 0, gpu[i]));
        }
        svmd_disconnect(s);
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
        set_up();
        warm_up();
        fds[0] = process_fds_at_rest(d.pid);
        fds[1] = process_fds_at_rest(d.keeper);
        for (unsigned i = 0; i < count; i++)
                clients[i] = start_client(i);
        soak(clients, count, seconds);
        for (unsigned i = 0; i < count; i++) {
                kill(clients[i], SIGKILL);
                must(waitpid(clients[i], NULL, 0) == clients[i]);
        }
        connect_watcher(&watcher, d.admin);
        own = process_fds_at_rest(d.pid) > fds[0] + 1;
        await_settled(watcher, &d, fds[0] + 1 + own, fds[1]);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
