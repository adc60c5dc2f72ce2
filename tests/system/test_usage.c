/*
 * Who holds what, who held what, and what the kernel says of it: every figure against one that this test counts itself.
 * What sessions hold adds up to what nodes say is used; bytes times time lie between what this test's own clock allows,
 * for a process that was there for a moment, too, and over a kill of svmd; a page that is taken out of a pool or put
 * into it shows as drift, and nothing does before.
 */
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

enum { MIB = 1 << 20, PAGE = 4096, TEXT = 1 << 16 };

static const char *const options[] = {
        "--host-capacity", "64M",     "--soft-node", "gpu0:size=16M,faults=on", "--usage-period", "1",
        "--log-level",     "warning", NULL
};

static struct daemon d;
static svmd_session *watcher;

/* ---- in an actor ---- */

static svmd_session *mine;
static svmd_mem held;

static void come(struct message *m) {
        connect_to(&mine, d.socket, "lab");
}

/* Plain host memory, memory of gpu0, a lease, a managed range that it has touched the half of, and memory that is kept
 * when it is gone. */
static void hold_all(struct message *m) {
        svmd_node host = node_named(mine, "host0"), gpu = node_named(mine, "gpu0");
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_SHARED, .granule = 65536 };
        struct svmd_lease_need need = { .node = gpu, .length = 1 * MIB };
        svmd_lease lease;
        svmd_mem mem;
        void *at;

        ok(svmd_mem_create(mine, &mem, 3 * MIB, host, 0));
        ok(svmd_mem_create(mine, &mem, 2 * MIB, gpu, 0));
        ok(svmd_admit(mine, &lease, NULL, &need, 1, NULL));
        ok(svmd_address_reserve(mine, &at, 4 * MIB, 0, NULL, &o));
        memset(at, 7, 2 * MIB);
}

/* n[0]: 1 takes 8 MiB of gpu0, 0 gives it back -> n[0], n[1]: when, in ms, at least and at most */
static void hold_gpu(struct message *m) {
        bool take = m->n[0];

        m->n[0] = now_ms();
        if (take)
                ok(svmd_mem_create(mine, &held, 8 * MIB, node_named(mine, "gpu0"), 0));
        else
                ok(svmd_mem_release(mine, held));
        m->n[1] = now_ms();
}

/* ---- what svmd says ---- */

struct sums {
        uint64_t node[8], session[8]; /* session: of one process */
        uint64_t leased, managed;
        uint32_t pid;
        char cgroup[256], process[32];
        unsigned rows;
};

static int add_holder(const struct svmd_holder_row *row, void *userdata) {
        struct sums *s = userdata;

        s->rows++;
        must(row->node < 8);
        s->node[row->node] += row->used;
        if (row->pid != s->pid || !row->session)
                return 0;
        s->session[row->node] += row->used;
        s->leased += row->leased;
        s->managed += row->managed;
        snprintf(s->cgroup, sizeof(s->cgroup), "%s", row->cgroup);
        snprintf(s->process, sizeof(s->process), "%s", row->process);
        return 0;
}

static int compare_node(const struct svmd_node_row *row, void *userdata) {
        const struct sums *s = userdata;

        must(row->id < 8);
        if (row->used != s->node[row->id]) {
                fprintf(stderr, "%s: %llu are used, and %llu are held\n", row->name, (unsigned long long)row->used,
                        (unsigned long long)s->node[row->id]);
                fail_here("what is held is not what is used");
        }
        return 0;
}

static void add_up(struct sums *s, uint32_t pid) {
        *s = (struct sums){ .pid = pid };
        ok(svmd_query_holders(watcher, NULL, add_holder, s));
        ok(svmd_query_nodes(watcher, compare_node, s));
}

static struct json_object *ctl(const char *what) {
        static char text[TEXT];
        char command[320];
        struct json_object *o;
        FILE *f;

        snprintf(command, sizeof(command), "%s --runtime-dir %s/run --json %s", SVMD_CTL_PROGRAM, d.dir, what);
        f = popen(command, "re");
        must(f);
        text[fread(text, 1, sizeof(text) - 1, f)] = 0;
        must(pclose(f) == 0);
        o = json_tokener_parse(text);
        must(o);
        return o;
}

static uint64_t number(struct json_object *o, const char *key) {
        struct json_object *value;

        must(json_object_object_get_ex(o, key, &value));
        return json_object_get_uint64(value);
}

static const char *string(struct json_object *o, const char *key) {
        struct json_object *value;

        must(json_object_object_get_ex(o, key, &value));
        return json_object_get_string(value);
}

/* Sum of a member of the rows on a node whose key begins so. */
static uint64_t sum_of(struct json_object *rows, const char *by, const char *key, const char *node,
                       const char *member) {
        uint64_t sum = 0;

        for (size_t i = 0; i < json_object_array_length(rows); i++) {
                struct json_object *row = json_object_array_get_idx(rows, i);

                if (strncmp(string(row, by), key, strlen(key)) == 0 && strcmp(string(row, "node"), node) == 0)
                        sum += number(row, member);
        }
        return sum;
}

/* ---- now ---- */

static void read_cgroup(uint32_t pid, char *to, size_t size) {
        char path[64], line[512];
        FILE *f;

        to[0] = 0;
        snprintf(path, sizeof(path), "/proc/%u/cgroup", pid);
        f = fopen(path, "re");
        must(f);
        while (fgets(line, sizeof(line), f)) {
                line[strcspn(line, "\n")] = 0;
                if (strstr(line, ":memory:"))
                        snprintf(to, size, "%s", strchr(strchr(line, ':') + 1, ':') + 1);
                if (strncmp(line, "0::", 3) == 0 && !to[0])
                        snprintf(to, size, "%.500s", line + 3);
        }
        fclose(f);
}

static void check_now(const struct actor *a) {
        svmd_node host = node_named(watcher, "host0"), gpu = node_named(watcher, "gpu0");
        struct json_object *by;
        char want[512], key[32];
        struct sums s;

        add_up(&s, (uint32_t)a->pid);
        must(s.session[host] == (3 + 2) * MIB);
        must(s.session[gpu] == (2 + 1) * MIB);
        must(s.leased == 1 * MIB && s.managed == 2 * MIB);
        read_cgroup((uint32_t)a->pid, want, sizeof(want));
        must(strcmp(s.cgroup, want) == 0);
        must(strcmp(s.process, "system_usage") == 0);
        by = ctl("usage --by pid");
        snprintf(key, sizeof(key), "%d ", a->pid);
        must(sum_of(by, "pid", key, "gpu0", "used") == 3 * MIB);
        must(sum_of(by, "pid", key, "gpu0", "leased") == 1 * MIB);
        must(sum_of(by, "pid", key, "host0", "managed") == 2 * MIB);
        json_object_put(by);
        by = ctl("usage --by cgroup");
        must(sum_of(by, "cgroup", want, "gpu0", "used") == 3 * MIB);
        json_object_put(by);
        by = ctl("usage --by user");
        must(sum_of(by, "user", "2001", "host0", "used") == 5 * MIB);
        json_object_put(by);
}

/* ---- drift ---- */

struct drift {
        int64_t gpu, host;
        uint64_t gpu_reported, host_reported;
        char why[256];
        bool moving;
};

static int take_drift(const struct svmd_drift_row *row, void *userdata) {
        struct drift *t = userdata;
        int64_t drift = (int64_t)(row->reported - row->ledger);

        t->moving |= row->moving;
        if (row->scope != SVMD_DRIFT_NODE)
                return 0;
        if (strcmp(row->subject, "gpu0") == 0) {
                t->gpu = drift;
                t->gpu_reported = row->reported;
                snprintf(t->why, sizeof(t->why), "%s", row->why);
        } else {
                must(strcmp(row->subject, "host memory") == 0);
                t->host = drift;
                t->host_reported = row->reported;
        }
        return 0;
}

/* Waits until it is so. */
static void await_drift(int64_t gpu, int64_t host) {
        uint64_t until = now_ms() + CEILING_MS;
        struct drift t;

        do {
                t = (struct drift){ .gpu = 0 };
                ok(svmd_query_drift(watcher, take_drift, &t));
                if (!t.moving && t.gpu == gpu && t.host == host)
                        break;
                usleep(10000);
        } while (now_ms() < until);
        if (t.gpu != gpu || t.host != host || t.moving) {
                fprintf(stderr, "drift of gpu0 %lld, of the host %lld, moving %d\n", (long long)t.gpu,
                        (long long)t.host, t.moving);
                fail_here("the drift is not what it must be");
        }
        must(t.gpu_reported == process_blocks(d.pid, "svmd-pool-1 ") + process_blocks(d.pid, "svmd-slots-1-"));
        must(t.host_reported == process_blocks(d.pid, "svmd-arena") + process_blocks(d.pid, "svmd-memory") +
                                        process_blocks(d.pid, "svmd-range-") + process_blocks(d.pid, "svmd-slots-0-"));
        must((t.why[0] != 0) == (gpu != 0));
}

/* A file of svmd's, opened behind its back. */
static int open_of_svmd(const char *name) {
        char path[64], target[128];

        for (unsigned fd = 0; fd < 4096; fd++) {
                ssize_t n;

                snprintf(path, sizeof(path), "/proc/%d/fd/%u", d.pid, fd);
                n = readlink(path, target, sizeof(target) - 1);
                if (n > 0 && (target[n] = 0, strstr(target, name)))
                        return open(path, O_RDWR | O_CLOEXEC);
        }
        return -1;
}

static void punch(int fd, off_t at) {
        must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, PAGE) == 0);
}

static void check_drift(void) {
        struct json_object *o;
        int fd;

        await_drift(0, 0);
        fd = open_of_svmd("memfd:svmd-pool-1 ");
        must(fd >= 0);
        /* The first bytes of the pool are taken, the last are not. */
        punch(fd, 0);
        await_drift(-PAGE, 0);
        must(fallocate(fd, 0, 0, PAGE) == 0);
        await_drift(0, 0);
        must(fallocate(fd, FALLOC_FL_KEEP_SIZE, 16 * MIB - PAGE, PAGE) == 0);
        await_drift(PAGE, 0);
        o = ctl("status");
        must(number(o, "drift") == PAGE);
        json_object_put(o);
        punch(fd, 16 * MIB - PAGE);
        close(fd);
        fd = open_of_svmd("memfd:svmd-arena-");
        must(fd >= 0);
        must(fallocate(fd, FALLOC_FL_KEEP_SIZE, 512 * MIB, 2 * PAGE) == 0);
        await_drift(0, 2 * PAGE);
        punch(fd, 512 * MIB);
        punch(fd, 512 * MIB + PAGE);
        close(fd);
        await_drift(0, 0);
}

/* ---- the history ---- */

struct found {
        const char *key;
        uint64_t page_ms, peak;
};

static int find_row(const struct svmd_history_row *row, void *userdata) {
        struct found *f = userdata;

        if (strncmp(row->key, f->key, strlen(f->key)) != 0 || strcmp(row->node, "gpu0") != 0)
                return 0;
        f->page_ms += row->page_ms;
        if (row->peak > f->peak)
                f->peak = row->peak;
        return 0;
}

static struct found history_of(unsigned by, const char *key) {
        struct svmd_history_options o = { .size = sizeof(o), .by = by, .until = (uint64_t)time(NULL) + 120 };
        struct found f = { .key = key };

        ok(svmd_query_history(watcher, &o, NULL, find_row, &f));
        return f;
}

/* Waits until at least so much of it is in the history. */
static struct found await_history(unsigned by, const char *key, uint64_t page_ms) {
        uint64_t until = now_ms() + CEILING_MS;
        struct found f = history_of(by, key);

        while (f.page_ms < page_ms && now_ms() < until) {
                usleep(20000);
                f = history_of(by, key);
        }
        if (f.page_ms < page_ms) {
                fprintf(stderr, "%s: %llu page x ms, at least %llu are wanted\n", key, (unsigned long long)f.page_ms,
                        (unsigned long long)page_ms);
                fail_here("the history does not come to have what was held");
        }
        return f;
}

/* One that comes, holds 8 MiB for a moment, gives it back and goes, all between two beats: its bytes and its time are
 * there. */
static void check_short_life(void) {
        const uint64_t pages = 8 * MIB / PAGE;
        struct message m = { 0 };
        uint64_t least, most;
        struct actor a;
        struct found f;
        char key[32];

        actor_new(&a, 2002, 2002, 0);
        actor_call(&a, come, &m);
        m.n[0] = 1;
        actor_call(&a, hold_gpu, &m);
        least = m.n[1];
        most = m.n[0];
        usleep(150000);
        m.n[0] = 0;
        actor_call(&a, hold_gpu, &m);
        /* Its clock counts whole milliseconds. */
        least = m.n[0] - 1 > least ? m.n[0] - 1 - least : 0;
        most = m.n[1] + 1 - most;
        snprintf(key, sizeof(key), "%d", a.pid);
        actor_end(&a);
        f = await_history(SVMD_BY_PID, key, pages * least);
        must(f.page_ms <= pages * most);
        must(f.peak == 8 * MIB);
        f = await_history(SVMD_BY_USER, "2002", pages * least);
        must(f.page_ms <= pages * most && f.peak == 8 * MIB);
}

/* svmd is killed over and over while 8 MiB are held: never is more counted than there was. */
static void check_kills(void) {
        const uint64_t pages = 8 * MIB / PAGE;
        struct message m = { 0 };
        uint64_t began, before = 0;
        struct actor a;
        struct found f;

        actor_new(&a, 2003, 2003, 0);
        actor_call(&a, come, &m);
        m.n[0] = 1;
        actor_call(&a, hold_gpu, &m);
        began = m.n[0];
        for (unsigned i = 0; i < 3; i++) {
                usleep((unsigned)(200000 + random_below(1200000)));
                daemon_kill(&d);
                daemon_start(&d);
                svmd_disconnect(watcher);
                connect_watcher(&watcher, d.admin);
                f = history_of(SVMD_BY_USER, "2003");
                must(f.page_ms >= before && f.page_ms <= pages * (now_ms() + 1 - began));
                before = f.page_ms;
        }
        f = await_history(SVMD_BY_USER, "2003", before + pages * 500);
        must(f.page_ms <= pages * (now_ms() + 1 - began));
        must(f.peak == 8 * MIB);
        m.n[0] = 0;
        actor_call(&a, hold_gpu, &m);
        actor_end(&a);
}

/* Every way to group has the same sum. */
static void check_ways(void) {
        struct json_object *o, *rows;
        uint64_t sums[6], least = UINT64_MAX, most = 0;
        static const char *const ways[] = { "node", "partition", "user", "cgroup", "container", "pid" };
        uint64_t until = now_ms() + CEILING_MS;

        do { /* an addition may come in between */
                least = UINT64_MAX;
                most = 0;
                for (unsigned i = 0; i < 6; i++) {
                        char command[64];

                        snprintf(command, sizeof(command), "usage --since 1h --by %s", ways[i]);
                        o = ctl(command);
                        must(json_object_object_get_ex(o, "rows", &rows));
                        sums[i] = sum_of(rows, "key", "", "gpu0", "page_ms");
                        json_object_put(o);
                        least = sums[i] < least ? sums[i] : least;
                        most = sums[i] > most ? sums[i] : most;
                }
        } while (least != most && now_ms() < until);
        must(least == most && least > 0);
}

int main(void) {
        struct message m = { 0 };
        struct actor a;
        struct sums s;

        harness_begin("system_usage");
        if (harness_one_user())
                return 0;
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab",
                                 &(struct svmd_partition_options){ .size = sizeof(struct svmd_partition_options),
                                                                   .length = 4ull << 30,
                                                                   .window = HARNESS_WINDOW,
                                                                   .mode = 0666 },
                                 NULL));
        add_up(&s, 0);
        actor_new(&a, 2001, 2001, 0);
        actor_call(&a, come, &m);
        actor_call(&a, hold_all, &m);
        check_now(&a);
        check_drift();
        check_short_life();
        check_ways();
        actor_end(&a);
        check_kills();
        svmd_disconnect(watcher);
        connect_watcher(&watcher, d.admin);
        add_up(&s, 0);
        must(s.rows == 0 || s.node[node_named(watcher, "gpu0")] == 0);
        await_drift(0, 0);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
