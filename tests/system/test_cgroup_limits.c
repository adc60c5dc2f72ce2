/*
 * Limits of sessions and of control groups, with processes in groups of the kernel's (version 2): who is charged where,
 * what is said to who is refused, and what is in force after svmd was killed: before, in the middle of and after a
 * change. A process that changes its own limits all the time loses none, and no more than the last one is in doubt.
 * Managed pages count with the rest: processes touch theirs all the time, and svmd is killed under them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

#define PAGE 4096ull
enum { PAGES = 64, CHANGES = 400, KILLS = 3, GROUP_KILLS = 4 };
#define LIMIT (PAGES * PAGE)

#define RANGE   (4ull << 20)
#define GRANULE 65536u

static struct daemon d;
static svmd_session *watcher;
static svmd_node gpu, host, looked_at;

/* ---- groups of the test's own ---- */

static char mount_point[64], outer[128], inner[160]; /* as svmd names them */

static bool group_make(char *path, size_t size, const char *above, const char *name) {
        char folder[320];

        snprintf(path, size, "%s/%s", above, name);
        snprintf(folder, sizeof(folder), "%s%s", mount_point, path);
        return mkdir(folder, 0755) == 0;
}

static void group_end(const char *path) {
        char folder[320];

        snprintf(folder, sizeof(folder), "%s%s", mount_point, path);
        for (unsigned i = 0; i < CEILING_MS && rmdir(folder) < 0 && errno == EBUSY; i++)
                usleep(1000);
}

static bool groups_begin(void) {
        static const char *const mounts[] = { "/sys/fs/cgroup/unified", "/sys/fs/cgroup" };
        char name[64], file[128];

        snprintf(name, sizeof(name), "svmd-test-%d-limits", getpid());
        for (unsigned i = 0; i < 2; i++) {
                snprintf(mount_point, sizeof(mount_point), "%s", mounts[i]);
                snprintf(file, sizeof(file), "%s/cgroup.procs", mount_point);
                if (access(file, W_OK) == 0 && group_make(outer, sizeof(outer), "", name) &&
                    group_make(inner, sizeof(inner), outer, "inner"))
                        return true;
        }
        return false;
}

static void group_enter(const char *path, pid_t pid) {
        char file[320];
        FILE *f;

        snprintf(file, sizeof(file), "%s%s/cgroup.procs", mount_point, path);
        f = fopen(file, "we");
        must(f && fprintf(f, "%d", pid) > 0 && fclose(f) == 0);
}

/* ---- in an actor ---- */

static svmd_session *mine;
static uint64_t own_id;
static svmd_mem held[PAGES];
static unsigned held_count;

static void connect_actor(struct message *m) {
        struct svmd_session_info info = { .size = sizeof(info) };

        connect_to(&mine, d.socket, "limited");
        ok(svmd_session_info(mine, &info));
        m->n[0] = own_id = info.id;
}

/* n[0]: bytes -> r */
static void create(struct message *m) {
        svmd_mem mem;

        message_take(m, svmd_mem_create(mine, &mem, m->n[0], gpu, SVMD_MEM_PINNED));
        if (!m->r)
                held[held_count++ % PAGES] = mem;
}

static void release_all(struct message *m) {
        while (held_count > 0)
                ok(svmd_mem_release(mine, held[--held_count]));
}

static int lower_own(uint64_t bytes) {
        struct svmd_limit limit = { .node = gpu, .max = bytes };
        struct svmd_limit_options o = { .size = sizeof(o), .limits = &limit, .limits_count = 1 };

        return svmd_session_limit(mine, own_id, &o);
}

/* n[0]: bytes -> r */
static void lower(struct message *m) {
        message_take(m, lower_own(m->n[0]));
}

/* Step by step, while svmd is killed. -> n[0]: the last that was acknowledged */
static void lower_on(struct message *m) {
        for (unsigned i = 1; i <= CHANGES; i++) {
                ok(lower_own((2 * CHANGES - i) * PAGE));
                m->n[0] = (2 * CHANGES - i) * PAGE;
                usleep(500);
        }
}

/* Of the outer group, until svmd is gone. -> n[0]: the last that was acknowledged, n[1]: the one after it */
static void change_group(struct message *m) {
        svmd_session *admin;

        connect_watcher(&admin, d.admin);
        for (uint64_t pages = 1;; pages++) {
                struct svmd_limit limit = { .node = gpu, .max = pages * PAGE };
                struct svmd_limit_options o = { .size = sizeof(o), .limits = &limit, .limits_count = 1 };

                m->n[1] = pages * PAGE;
                if (svmd_cgroup_limit(admin, outer, &o) != SVMD_OK)
                        break;
                m->n[0] = pages * PAGE;
        }
        svmd_disconnect(admin);
}

static uint64_t *words;

static void reserve(struct message *m) {
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_SHARED, .granule = GRANULE };
        void *at = NULL;

        ok(svmd_address_reserve(mine, &at, RANGE, 0, NULL, &o));
        words = at;
        for (uint64_t i = 0; i < RANGE / 8; i++)
                words[i] = i * 7 + own_id;
}

/* n[0]: how often. Adds one to a word of each granule, and none is lost. */
static void touch(struct message *m) {
        for (uint64_t round = 0; round < m->n[0]; round++)
                for (uint64_t i = 0; i < RANGE / 8; i += GRANULE / 8)
                        words[i]++;
        m->n[1] = words[0] - own_id;
}

static void await_end(struct message *m) {
        while (svmd_dispatch(mine) == SVMD_OK)
                usleep(1000);
        svmd_disconnect(mine);
        mine = NULL;
        held_count = 0;
}

/* ---- what svmd says ---- */

struct seen {
        uint64_t used, max, sessions;
        char cgroup[160];
        unsigned rows;
};

static int see(const struct svmd_limited_row *row, void *userdata) {
        struct seen *s = userdata;

        s->rows++;
        s->sessions = row->sessions;
        snprintf(s->cgroup, sizeof(s->cgroup), "%s", row->cgroup);
        for (size_t i = 0; i < row->nodes_count; i++)
                if (row->nodes[i].node == looked_at) {
                        s->used = row->nodes[i].used;
                        s->max = row->nodes[i].max;
                }
        return 0;
}

static struct seen of_group(const char *path) {
        struct seen s = { .max = UINT64_MAX };

        ok(svmd_query_cgroups(watcher, path, see, &s));
        must(s.rows == 1);
        return s;
}

static struct seen of_session(uint64_t id) {
        struct seen s = { .max = UINT64_MAX };

        ok(svmd_query_session(watcher, id, see, &s));
        must(s.rows == 1);
        return s;
}

static void limit_group(const char *path, uint64_t bytes, unsigned come_down, uint64_t deadline_ms) {
        struct svmd_limit limit = { .node = looked_at, .max = bytes };
        struct svmd_limit_options o = { .size = sizeof(o),
                                        .limits = &limit,
                                        .limits_count = 1,
                                        .come_down = come_down,
                                        .deadline_ms = deadline_ms };

        ok(svmd_cgroup_limit(watcher, path, &o));
}

static void clear_group(const char *path) {
        struct svmd_limit_options o = { .size = sizeof(o), .clear = 1 };

        ok(svmd_cgroup_limit(watcher, path, &o));
}

static void killed(void) {
        svmd_disconnect(watcher);
        daemon_kill(&d);
        daemon_start(&d);
        connect_watcher(&watcher, d.admin);
}

static void create_expect(struct actor *a, uint64_t size, int code, const char *says) {
        struct message m = { .n = { size } };

        actor_call(a, create, &m);
        message_want(code, &m);
        must(strstr(m.error, says));
}

static uint64_t join_in(struct actor *a, uint32_t uid, const char *group) {
        struct message m = { 0 };

        actor_new(a, uid, 3000, 0);
        group_enter(group, a->pid);
        actor_call(a, connect_actor, &m);
        return m.n[0];
}

/* ---- cases ---- */

/* Two processes, one of them in a group below: exactly so much together, over kills of svmd too. */
static void together(void) {
        struct actor a, b;
        uint64_t of_b;
        char says[256];

        limit_group(outer, LIMIT, 0, 0);
        limit_group(inner, LIMIT / 2, 0, 0);
        join_in(&a, 2001, outer);
        of_b = join_in(&b, 2002, inner);
        must(strcmp(of_session(of_b).cgroup, inner) == 0);
        for (unsigned round = 0; round < 2; round++) {
                snprintf(says, sizeof(says), "control group %s may have", inner);
                create_expect(&b, LIMIT / 2 + PAGE, SVMD_E_LIMIT, says);
                create_expect(&b, LIMIT / 2, 0, "");
                snprintf(says, sizeof(says), "svmd-ctl cgroup set %s --limit", outer);
                create_expect(&a, LIMIT / 2 + PAGE, SVMD_E_LIMIT, says);
                create_expect(&a, LIMIT / 2, 0, "");
                create_expect(&a, PAGE, SVMD_E_LIMIT, says);
                must(of_group(outer).used == LIMIT && of_group(outer).sessions == 2);
                must(of_group(inner).used == LIMIT / 2 && of_group(inner).sessions == 1);
                killed();
                must(of_group(outer).used == LIMIT && of_group(inner).used == LIMIT / 2);
                actor_call(&a, release_all, &(struct message){ 0 });
                actor_call(&b, release_all, &(struct message){ 0 });
                await_settled(watcher, &d, 0, 0);
                must(of_group(outer).used == 0 && of_group(inner).used == 0);
        }
        /* Moved by the kernel, it is charged elsewhere when svmd looks next. */
        create_expect(&b, LIMIT / 2, 0, "");
        group_enter(outer, b.pid);
        must(of_group(inner).used == 0 && of_group(outer).used == LIMIT / 2);
        actor_end(&a);
        actor_end(&b);
        clear_group(outer);
        clear_group(inner);
}

/* Its own user lowers, and svmd is killed meanwhile: nothing that was acknowledged is lost. */
static void own_over_kills(void) {
        struct message m = { .n = { 5 * PAGE } };
        struct actor a;
        uint64_t id = join_in(&a, 2001, outer);

        actor_begin(&a, lower_on, &(struct message){ 0 });
        for (unsigned i = 0; i < KILLS; i++) {
                usleep(20000 + (unsigned)random_below(40000));
                killed();
        }
        actor_finish(&a, &m);
        must(m.n[0] == CHANGES * PAGE);
        must(of_session(id).max == CHANGES * PAGE);
        m = (struct message){ .n = { 5 * PAGE } };
        actor_call(&a, lower, &m);
        message_want(SVMD_OK, &m);
        m = (struct message){ .n = { 6 * PAGE } };
        actor_call(&a, lower, &m);
        message_want(SVMD_E_DENIED, &m);
        killed();
        create_expect(&a, 6 * PAGE, SVMD_E_LIMIT, "svmd-ctl session limit");
        create_expect(&a, 5 * PAGE, 0, "");
        actor_end(&a);
        await_settled(watcher, &d, 0, 0);
}

/* The last one that was acknowledged is in force, or the one that was on its way. */
static void group_over_kills(void) {
        limit_group(outer, PAGE, 0, 0);
        for (unsigned i = 0; i < GROUP_KILLS; i++) {
                struct message m = { 0 };
                struct actor a;
                uint64_t max;

                actor_new(&a, 0, 0, 0);
                actor_begin(&a, change_group, &(struct message){ 0 });
                usleep(10000 + (unsigned)random_below(60000));
                killed();
                actor_finish(&a, &m);
                max = of_group(outer).max;
                must(m.n[0] == 0 || max == m.n[0] || max == m.n[1]);
                actor_end(&a);
        }
        clear_group(outer);
}

/* While a group comes down: the limit stays in force, nobody has lost anything, and saying it again goes on. */
static void killed_on_the_way_down(void) {
        struct actor a;
        uint64_t id = join_in(&a, 2001, inner);

        create_expect(&a, LIMIT, 0, "");
        limit_group(outer, PAGE, SVMD_STEAL, 60000);
        killed();
        must(of_group(outer).used == LIMIT && of_group(outer).max == PAGE && of_session(id).used == LIMIT);
        create_expect(&a, PAGE, SVMD_E_LIMIT, "control group");
        limit_group(outer, PAGE, SVMD_STEAL, 0);
        actor_call(&a, await_end, &(struct message){ 0 });
        await_settled(watcher, &d, 0, 0);
        must(of_group(outer).used == 0 && of_group(outer).sessions == 0);
        actor_end(&a);
        clear_group(outer);
}

static void await_most(const char *path, uint64_t id, uint64_t most) {
        for (unsigned i = 0; (path ? of_group(path) : of_session(id)).used > most; i++) {
                must(i < CEILING_MS);
                usleep(1000);
        }
}

/* Two processes touch all they have, in a group and in one below, one of them with a limit of its own. */
static void managed_pages(void) {
        struct svmd_limit own = { .max = RANGE / 4 };
        struct svmd_limit_options o = { .size = sizeof(o), .limits = &own, .limits_count = 1 };
        struct message ma = { .n = { 40 } }, mb = { .n = { 40 } };
        struct actor a, b;
        uint64_t id;

        looked_at = own.node = host;
        limit_group(outer, RANGE, 0, 0);
        limit_group(inner, RANGE / 2, 0, 0);
        join_in(&a, 2001, outer);
        id = join_in(&b, 2002, inner);
        actor_call(&a, reserve, &(struct message){ 0 });
        actor_call(&b, reserve, &(struct message){ 0 });
        ok(svmd_session_limit(watcher, id, &o));
        for (unsigned round = 0; round < KILLS; round++) {
                actor_begin(&a, touch, &ma);
                actor_begin(&b, touch, &mb);
                usleep(10000 + (unsigned)random_below(30000));
                killed();
                actor_finish(&a, &ma);
                actor_finish(&b, &mb);
                must(ma.n[1] == 40 * (round + 1) && mb.n[1] == ma.n[1]);
                ma.n[0] = mb.n[0] = 40;
                await_most(outer, 0, RANGE);
                await_most(inner, 0, RANGE / 2);
                await_most(NULL, id, RANGE / 4);
                must(of_group(inner).used == of_session(id).used);
        }
        limit_group(outer, RANGE / 8, SVMD_COME_DOWN, 0);
        await_most(outer, 0, RANGE / 8);
        killed();
        await_most(outer, 0, RANGE / 8);
        group_enter(outer, b.pid);
        must(of_group(inner).used == 0);
        actor_end(&a);
        actor_end(&b);
        clear_group(outer);
        clear_group(inner);
        looked_at = gpu;
}

static void make_partition(void) {
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW, .mode = 0444
        };

        ok(svmd_partition_create(watcher, "limited", &o, NULL));
}

int main(void) {
        static const char *const options[] = { "--soft-node", "gpu0:size=32M", "--log-level", "warning", NULL };

        harness_begin("system_cgroup_limits");
        if (harness_one_user())
                return 0;
        if (!groups_begin()) {
                printf("limits of control groups do not apply in this run: no group of version 2 can be made\n");
                return 0;
        }
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        gpu = looked_at = node_named(watcher, "gpu0");
        host = node_named(watcher, "host0");
        make_partition();
        together();
        own_over_kills();
        group_over_kills();
        killed_on_the_way_down();
        managed_pages();
        svmd_disconnect(watcher);
        daemon_end(&d);
        group_end(inner);
        group_end(outer);
        return 0;
}
