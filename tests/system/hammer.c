#include "hammer.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "hammer_actor.h"

void hammer_partition(const struct daemon *d, const char *name) {
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW, .mode = 0444
        };
        svmd_session *admin;

        connect_watcher(&admin, d->admin);
        ok(svmd_partition_create(admin, name, &o, NULL));
        svmd_disconnect(admin);
}

void hammer_plan(struct hammer_plan *ret, const struct daemon *d, const char *partition, const char *name,
                 uint32_t granule, uint32_t pages) {
        *ret = (struct hammer_plan){ .granule = granule,
                                     .pages = pages,
                                     .writers = 2,
                                     .threads = 2,
                                     .joiner = true,
                                     .victim = true,
                                     .reader = true,
                                     .what = HAMMER_EVERYTHING,
                                     .device_share = 16,
                                     .restart_every = 2000,
                                     .stay = 100 };
        snprintf(ret->socket, sizeof(ret->socket), "%s", d->socket);
        snprintf(ret->admin, sizeof(ret->admin), "%s", d->admin);
        snprintf(ret->partition, sizeof(ret->partition), "%s", partition);
        snprintf(ret->name, sizeof(ret->name), "%s", name);
}

/* ---- starting ---- */

static uint64_t attach(struct actor *a, enum hammer_role role, unsigned number) {
        struct message m = { .n = { role, number } };

        actor_call(a, hammer_actor_attach, &m);
        return m.n[0];
}

static void start_one(struct actor *a, enum hammer_role role, unsigned number, uint32_t uid, uint32_t more) {
        actor_new(a, uid, uid, more);
        attach(a, role, number);
        actor_begin(a, hammer_actor_work, NULL);
}

static void start_victim(struct hammer *h) {
        start_one(&h->victim, ROLE_VICTIM, (unsigned)h->board->kills, HAMMER_WRITER, HAMMER_GROUP);
}

/* The reservation's group is its owner's own. */
static void start_writers(struct hammer *h) {
        struct hammer_plan *p = &h->board->plan;

        for (unsigned i = 0; i < p->writers; i++) {
                uint32_t uid = i % 2 ? HAMMER_WRITER : HAMMER_OWNER;
                uint64_t at;

                actor_new(&h->writer[i], uid, i ? uid : HAMMER_GROUP, i ? HAMMER_GROUP : 0);
                at = attach(&h->writer[i], ROLE_WRITER, i);
                must(i == 0 || at == (uint64_t)p->base);
                p->base = (uint64_t *)at;
        }
        for (unsigned i = 0; i < p->writers; i++)
                actor_begin(&h->writer[i], hammer_actor_work, NULL);
}

void hammer_start(struct hammer *h, const struct hammer_plan *plan) {
        must(plan->writers >= 1 && plan->writers <= 8 && plan->pages % 64 == 0);
        h->board = board_new(plan);
        h->quiets = 0;
        hammer_actor_board(h->board);
        start_writers(h);
        if (plan->joiner)
                start_one(&h->joiner, ROLE_JOINER, 0, HAMMER_WRITER, HAMMER_GROUP);
        if (plan->victim)
                start_victim(h);
        if (plan->reader)
                start_one(&h->reader, ROLE_READER, 0, HAMMER_READER, 0);
        if (plan->what & HAMMER_ADMIN && plan->socket[0])
                start_one(&h->admin, ROLE_ADMIN, 0, 0, 0);
}

/* ---- watching ---- */

static bool has_ended(const struct actor *a) {
        siginfo_t info = { 0 };

        return a->pid && waitid(P_PID, (id_t)a->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == a->pid;
}

static bool any_ended(const struct hammer *h) {
        for (unsigned i = 0; i < h->board->plan.writers; i++)
                if (has_ended(&h->writer[i]))
                        return true;
        return has_ended(&h->joiner) || has_ended(&h->victim) || has_ended(&h->reader) || has_ended(&h->admin);
}

static void replace_victim(struct hammer *h) {
        pid_t pid = h->victim.pid;

        actor_kill(&h->victim);
        board_bury(h->board, pid);
        h->board->kills++;
        start_victim(h);
}

static bool stand_still(struct hammer *h) {
        bool good = board_pause(h->board);

        if (!good)
                fprintf(stderr, "not everybody came to a stand\n");
        else if (!board_get(&h->board->stop))
                good = h->quiet(h->userdata, h);
        h->quiets++;
        board_resume(h->board);
        return good;
}

struct watch {
        uint64_t writes, since; /* and when that was */
        uint64_t next_kill, next_quiet, next_restart;
};

static enum hammer_end stuck(const struct hammer *h) {
        fprintf(stderr, "%s: nothing goes on\n", h->board->plan.name);
        board_print_seats(h->board);
        return HAMMER_STUCK;
}

static enum hammer_end ended(const struct hammer *h) {
        fprintf(stderr, "%s: a process ended; see above why\n", h->board->plan.name);
        return HAMMER_BROKEN;
}

/* True: it is over, for the reason in *ret. */
static bool look(struct hammer *h, struct watch *w, enum hammer_end *ret) {
        uint64_t writes = board_get(&h->board->writes);

        if (board_get(&h->board->stop)) {
                *ret = HAMMER_FOUND;
        } else if (writes >= h->board->plan.writes && h->board->restarts >= h->board->plan.restarts_wanted) {
                *ret = HAMMER_DONE;
        } else if (any_ended(h)) {
                *ret = ended(h);
        } else if (writes == w->writes && now_ms() - w->since > CEILING_MS) {
                *ret = stuck(h);
        } else {
                if (writes != w->writes)
                        w->since = now_ms();
                w->writes = writes;
                return false;
        }
        return true;
}

static bool restart(struct hammer *h) {
        if (h->restart)
                h->restart(h->userdata, h);
        else
                daemon_kill(h->daemon);
        if (!h->daemon->pid)
                daemon_start(h->daemon);
        board_count(&h->board->restarts, 1);
        return !h->restart || stand_still(h);
}

/* At so many writes as chance has it: a kill in about 10,000, a restart as planned, four times standing still. */
static bool interfere(struct hammer *h, struct watch *w) {
        uint64_t each = h->board->plan.writes / 4 + 1;

        if (h->board->plan.victim && w->writes >= w->next_kill) {
                w->next_kill = w->writes + 1 + random_below(20000);
                replace_victim(h);
        }
        if (h->board->plan.restarts && w->writes >= w->next_restart) {
                w->next_restart = w->writes + 1 + random_below(2 * h->board->plan.restart_every);
                if (!restart(h))
                        return false;
        }
        if (h->quiet && !h->restart && w->writes >= w->next_quiet) {
                w->next_quiet += each;
                if (w->writes)
                        return stand_still(h);
        }
        return true;
}

enum hammer_end hammer_watch(struct hammer *h) {
        struct watch w = { .since = now_ms(), .next_kill = random_below(20000) };
        enum hammer_end end;

        while (!look(h, &w, &end)) {
                if (!interfere(h, &w))
                        return stuck(h);
                usleep(2000);
        }
        return end;
}

/* ---- ending ---- */

static void finish_one(struct actor *a) {
        if (a->pid)
                actor_finish(a, NULL);
}

static void leave_one(struct actor *a) {
        if (!a->pid)
                return;
        actor_call(a, hammer_actor_leave, &(struct message){ 0 });
        actor_end(a);
}

static void for_all(struct hammer *h, void (*fn)(struct actor *a)) {
        fn(&h->admin);
        fn(&h->reader);
        fn(&h->joiner);
        fn(&h->victim);
        for (unsigned i = h->board->plan.writers; i-- > 0;)
                fn(&h->writer[i]);
}

void hammer_finish(struct hammer *h) {
        board_set(&h->board->stop, 1);
        for_all(h, finish_one);
        actor_call(&h->writer[0], hammer_actor_count, &(struct message){ 0 });
        for_all(h, leave_one);
}

static void kill_one(struct actor *a) {
        if (a->pid)
                actor_abandon(a);
}

void hammer_abandon(struct hammer *h) {
        for_all(h, kill_one);
}

void hammer_free(struct hammer *h) {
        board_free(h->board);
        h->board = NULL;
}
