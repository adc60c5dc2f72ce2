/*
 * Processes of four users contradict each other about one range, and an administrator all of them. Whose words count is
 * as the documented order says, each loser is named with its pid, and svmd may be killed in between; when a process is
 * killed its words go.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

enum { GRANULE = 64 << 10, COUNT = 64, USERS = 4, ROUNDS = 60 };

static const char *const options[] = { "--host-capacity",
                                       "48M",
                                       "--soft-node",
                                       "gpu0:size=16M,faults=on",
                                       "--soft-node",
                                       "gpu1:size=16M,faults=off",
                                       "--log-level",
                                       "warning",
                                       NULL };

static struct daemon d;
static svmd_session *admin;
static uint64_t at;

/* ---- in an actor ---- */

static svmd_session *mine;

/* n[0]: make it (1), or open it with this access (2: to write, 3: to read) -> n[0]: address */
static void come(struct message *m) {
        struct svmd_reserve_options o = {
                .size = sizeof(o), .name = "range", .mode = 0666, .kind = SVMD_SHARED, .granule = GRANULE
        };
        size_t size;
        void *p;

        connect_to(&mine, d.socket, "lab");
        if (m->n[0] == 1)
                ok(svmd_address_reserve(mine, &p, GRANULE * COUNT, 0, NULL, &o));
        else
                ok(svmd_address_open(mine, &p, &size, "range",
                                     m->n[0] == 2 ? SVMD_ACCESS_READ_WRITE : SVMD_ACCESS_READ));
        m->n[0] = (uint64_t)(uintptr_t)p;
}

/* n[0]: first granule, n[1]: count, n[2]: node */
static void prefer(struct message *m) {
        struct svmd_advice a = { .size = sizeof(a), .what = SVMD_ADVISE_PREFERRED, .preferred = (svmd_node)m->n[2] };

        message_take(m, svmd_advise(mine, (const char *)(uintptr_t)m->n[3] + m->n[0] * GRANULE, m->n[1] * GRANULE, &a));
}

/* ---- the model: of each granule what each user wishes, and when it said so ---- */

enum { ADMIN = USERS, PARTIES };
static const unsigned rank_of[PARTIES] = { 3, 2, 2, 1, 4 }; /* the owner, two writers, a reader, the administrator */
static struct actor user[USERS];
static bool alive[USERS];
static struct {
        svmd_node node; /* SVMD_NODE_NONE: no wish */
        uint64_t order;
} wish[COUNT][PARTIES];
static uint64_t order;

static bool before(unsigned i, unsigned a, unsigned b) {
        if (wish[i][b].node == SVMD_NODE_NONE)
                return true;
        return rank_of[a] != rank_of[b] ? rank_of[a] > rank_of[b] : wish[i][a].order > wish[i][b].order;
}

static unsigned winner(unsigned i) {
        unsigned best = PARTIES;

        for (unsigned p = 0; p < PARTIES; p++)
                if (wish[i][p].node != SVMD_NODE_NONE && (best == PARTIES || before(i, p, best)))
                        best = p;
        return best;
}

static void say(unsigned p) {
        unsigned first = (unsigned)random_below(COUNT), count = 1 + (unsigned)random_below(COUNT - first);
        svmd_node node = random_below(5) ? (svmd_node)random_below(3) : SVMD_NODE_NONE;

        if (p == ADMIN) {
                struct svmd_advice a = { .size = sizeof(a), .what = SVMD_ADVISE_PREFERRED, .preferred = node };

                ok(svmd_partition_advise(admin, "lab", at + first * GRANULE, (size_t)count * GRANULE, &a));
        } else {
                struct message m = { .n = { first, count, node, at } };

                actor_call(&user[p], prefer, &m);
                message_want(0, &m);
        }
        order++;
        for (unsigned i = first; i < first + count; i++) {
                wish[i][p].node = node;
                wish[i][p].order = order;
        }
}

/* ---- against svmd ---- */

struct answer {
        svmd_node preferred;
        unsigned pid[PARTIES], voices, winner;
};

static int on_report(const struct svmd_advice_report *r, void *userdata) {
        struct answer *a = userdata;

        must(r->mixed == 0);
        a->preferred = r->advice->preferred;
        for (size_t i = 0; i < r->hints_count; i++) {
                const struct svmd_hint_row *h = &r->hints[i];

                must(h->said_ns > 0 && a->voices < PARTIES);
                must(h->wins == SVMD_ADVISE_PREFERRED ||
                     (h->agrees | h->outranked | h->overtaken) == SVMD_ADVISE_PREFERRED);
                if (h->wins)
                        a->winner = h->pid;
                a->pid[a->voices++] = h->pid;
        }
        return 0;
}

static unsigned pid_of(unsigned p) {
        return p == ADMIN ? (unsigned)getpid() : (unsigned)user[p].pid;
}

static bool is_named(const struct answer *a, unsigned pid) {
        for (unsigned i = 0; i < a->voices; i++)
                if (a->pid[i] == pid)
                        return true;
        return false;
}

static void check(void) {
        for (unsigned i = 0; i < COUNT; i++) {
                unsigned best = winner(i), voices = 0;
                struct answer a = { .preferred = SVMD_NODE_NONE };

                ok(svmd_query_advice(admin, "lab", at + i * GRANULE, GRANULE, on_report, &a));
                for (unsigned p = 0; p < PARTIES; p++)
                        if (wish[i][p].node != SVMD_NODE_NONE) {
                                must(is_named(&a, pid_of(p)));
                                voices++;
                        }
                must(a.voices == voices);
                must(a.preferred == (best == PARTIES ? SVMD_NODE_NONE : wish[i][best].node));
                must(best == PARTIES || a.winner == pid_of(best));
        }
}

static void restart_daemon(void) {
        daemon_kill(&d);
        daemon_start(&d);
        svmd_disconnect(admin);
        connect_watcher(&admin, d.admin);
}

static void lose(unsigned p) {
        struct svmd_status st;
        uint64_t end = now_ms() + CEILING_MS, sessions;

        status_of(admin, &st);
        sessions = st.sessions;
        actor_kill(&user[p]);
        alive[p] = false;
        for (unsigned i = 0; i < COUNT; i++)
                wish[i][p].node = SVMD_NODE_NONE;
        do {
                must(now_ms() < end);
                usleep(2000);
                status_of(admin, &st);
        } while (st.sessions >= sessions);
}

int main(void) {
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW, .mode = 0444
        };

        harness_begin("system_advice");
        if (harness_one_user())
                return 0;
        daemon_new(&d, options);
        connect_watcher(&admin, d.admin);
        ok(svmd_partition_create(admin, "lab", &o, NULL));
        for (unsigned i = 0; i < COUNT; i++)
                for (unsigned p = 0; p < PARTIES; p++)
                        wish[i][p].node = SVMD_NODE_NONE;
        for (unsigned p = 0; p < USERS; p++) {
                struct message m = { .n = { p == 0 ? 1 : p == 3 ? 3 : 2 } };

                actor_new(&user[p], 2001 + p, 3000 + p, 0);
                actor_call(&user[p], come, &m);
                at = m.n[0];
                alive[p] = true;
        }
        for (unsigned round = 0; round < ROUNDS; round++) {
                unsigned p = (unsigned)random_below(PARTIES);

                if (p == ADMIN || alive[p])
                        say(p);
                if (round % 10 == 5)
                        restart_daemon();
                if (round % 10 == 5 || round % 10 == 9)
                        check();
                if (round == ROUNDS / 2)
                        lose(1);
        }
        check();
        for (unsigned p = 0; p < USERS; p++)
                if (alive[p])
                        actor_end(&user[p]);
        svmd_disconnect(admin);
        daemon_end(&d);
        return 0;
}
