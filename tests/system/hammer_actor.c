#include "hammer_actor.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hammer_hand.h"
#include "hammer_orders.h"

enum { THREADS_MAX = 24 };

typedef void (*hand_fn)(struct hand *h);

/* Of this process. */
static struct hammer_board *board;
static enum hammer_role role;
static unsigned number;
static struct hand common; /* session, nodes and spaces */

struct worker {
        pthread_t thread;
        hand_fn fn;
        uint32_t id;
        uint64_t seed;
};

void hammer_actor_board(struct hammer_board *b) {
        board = b;
}

/* ---- coming and going ---- */

static int find_node(const struct svmd_node_row *row, void *userdata) {
        if (row->kind == SVMD_NODE_HOST) {
                must(common.hosts < HAMMER_HOSTS);
                common.host[common.hosts++] = row->id;
                return 0;
        }
        must(common.devices < HAMMER_DEVICES);
        common.faults[common.devices] = row->faults;
        common.node[common.devices++] = row->id;
        return 0;
}

static void find_nodes(void) {
        common.devices = common.hosts = 0;
        ok(svmd_query_nodes(common.session, find_node, NULL));
}

static void make_spaces(void) {
        for (unsigned i = 0; i < common.devices; i++)
                ok(svmd_space_create(common.session, &common.space[i], common.node[i]));
}

static void reserve(void **ret) {
        const struct hammer_plan *p = &board->plan;
        struct svmd_reserve_options o = { .size = sizeof(o),
                                          .name = p->name,
                                          .mode = 0664,
                                          .kind = SVMD_SHARED,
                                          .granule = p->granule,
                                          .flags = (p->huge ? SVMD_RANGE_HUGE : 0) |
                                                   (p->sigbus ? SVMD_RANGE_SIGBUS : 0) };

        struct svmd_advice a = { .size = sizeof(a), .what = SVMD_ADVISE_READ_MOSTLY, .read_mostly = 1 };

        ok(svmd_address_reserve(common.session, ret, (size_t)p->pages * PAGE_BYTES, p->granule, NULL, &o));
        if (p->read_mostly)
                ok(svmd_advise(common.session, *ret, 0, &a));
}

static void attach_admin(void) {
        connect_watcher(&common.session, board->plan.admin);
        find_nodes();
}

/* The access is tried again until somebody gives the range back. */
static void on_sigbus(int signum) {
        board_count(&board->sigbuses, 1);
        usleep(2000);
}

static void attach(void **ret) {
        const struct hammer_plan *p = &board->plan;
        size_t size = 0;

        connect_to(&common.session, p->socket, p->partition);
        if (role == ROLE_WRITER && number == 0) {
                reserve(ret);
        } else {
                ok(svmd_address_open(common.session, ret, &size, p->name,
                                     role == ROLE_READER ? SVMD_ACCESS_READ : SVMD_ACCESS_READ_WRITE));
                must(size == (size_t)p->pages * PAGE_BYTES);
        }
        find_nodes();
        if (role != ROLE_READER)
                make_spaces();
        if (p->sigbus)
                signal(SIGBUS, on_sigbus);
}

static void leave(void) {
        if (common.session && role != ROLE_ADMIN)
                ok(svmd_address_free(common.session, board->plan.base));
        svmd_disconnect(common.session);
        common.session = NULL;
}

void hammer_actor_attach(struct message *m) {
        void *at = board->plan.base;

        role = (enum hammer_role)m->n[0];
        number = (unsigned)m->n[1];
        if (role == ROLE_ADMIN)
                attach_admin();
        else if (board->plan.socket[0])
                attach(&at);
        m->n[0] = (uint64_t)at;
}

void hammer_actor_leave(struct message *m) {
        leave();
}

/* ---- what a writer does ---- */

static void write_some(struct hand *h) {
        struct hand_page *p = &h->own[hand_random(h, h->count)];
        uint64_t n = hand_random(h, 4) ? 1 : 1 + hand_random(h, 16);

        h->seat->doing = "writes";
        while (n--)
                hand_write(h, p);
}

static void look_some(struct hand *h, uint64_t *last) {
        uint32_t page = (uint32_t)hand_random(h, board->plan.pages);

        h->seat->doing = "looks at";
        if (page_owner(&board->plan, page) != h->id && !page_is_counter(&board->plan, page))
                hand_look(h, page, &last[page]);
}

static void writer_step(struct hand *h, uint64_t *last) {
        uint64_t kind = hand_random(h, 256);
        unsigned what = h->session ? board->plan.what : 0;

        if (kind < 24) {
                look_some(h, last);
        } else if (kind < 40 && !hand_may_die(h)) {
                h->seat->doing = "counts";
                hand_add(h);
        } else if (kind < 40 + board->plan.device_share && (what & HAMMER_DEVICE)) {
                hand_device(h);
        } else if (kind >= 254 && (what & HAMMER_DISCARD)) {
                hand_discard(h);
        } else if (h->count) {
                write_some(h);
        }
}

static uint64_t *new_last(void) {
        uint64_t *last = calloc(board->plan.pages, sizeof(*last));

        must(last);
        return last;
}

static void fill(struct hand *h) {
        h->seat->doing = "fills";
        for (uint32_t i = 0; i < h->count; i++)
                hand_write(h, &h->own[i]);
        for (uint32_t i = 0; h->id == 0 && i < plan_counters(&board->plan); i++)
                __atomic_fetch_add(plan_counter(&board->plan, i), 0, __ATOMIC_SEQ_CST);
}

/* True: go on. */
static bool gate(struct hand *h) {
        if (board->plan.sweep && board_get(&board->pause) && !board_get(&board->stop))
                hand_sweep(h);
        return board_gate(board, h->seat);
}

static void writer_run(struct hand *h) {
        uint64_t *last = new_last();

        hand_take_pages(h);
        if (board->plan.fill)
                fill(h);
        while (gate(h))
                writer_step(h, last);
        hand_sweep(h);
        free(last);
}

static void reader_run(struct hand *h) {
        uint64_t *last = new_last();

        while (board_gate(board, h->seat))
                look_some(h, last);
        free(last);
}

/* ---- threads ---- */

static void *run_worker(void *data) {
        struct worker *w = data;
        struct hand h = common;

        hand_begin(&h, board, w->id, w->seed);
        w->fn(&h);
        hand_end(&h);
        return NULL;
}

static void start(struct worker *workers, unsigned *n, hand_fn fn, uint32_t id) {
        struct worker *w = &workers[(*n)++];

        must(*n <= THREADS_MAX);
        *w = (struct worker){ .fn = fn, .id = id, .seed = random_seed_for(number * 64 + *n + (unsigned)role * 1024) };
        must(pthread_create(&w->thread, NULL, run_worker, w) == 0);
}

static void start_orders(struct worker *workers, unsigned *n) {
        const struct hammer_plan *p = &board->plan;

        if (!common.session)
                return;
        if ((p->what & (HAMMER_ORDERS | HAMMER_ADVICE | HAMMER_PINS)) && number <= plan_granules(p) / 32)
                start(workers, n, orders_run, UINT32_MAX);
        if (number == 0 && (p->what & HAMMER_REVOKE))
                start(workers, n, revokes_run, UINT32_MAX);
}

static void work_as_writers(void) {
        struct worker workers[THREADS_MAX];
        unsigned n = 0;

        for (uint32_t i = 0; i < board->plan.threads; i++)
                start(workers, &n, writer_run, number * board->plan.threads + i);
        start_orders(workers, &n);
        while (n)
                pthread_join(workers[--n].thread, NULL);
}

static void work_as_readers(void) {
        struct worker workers[THREADS_MAX];
        unsigned n = 0;

        start(workers, &n, reader_run, UINT32_MAX - 1);
        start(workers, &n, reader_run, UINT32_MAX - 2);
        while (n)
                pthread_join(workers[--n].thread, NULL);
}

static void work_alone(hand_fn fn, uint32_t id) {
        struct worker w = { .fn = fn, .id = id, .seed = random_seed_for(number * 64 + (unsigned)role * 1024) };

        run_worker(&w);
}

/* One stay. What it knows of its pages it takes from one to the next. */
static void stay(struct hand *h, uint64_t *last) {
        uint64_t steps = 1 + hand_random(h, board->plan.stay);
        void *at;

        if (board->plan.socket[0]) {
                h->seat->doing = "joins";
                attach(&at);
                must(at == board->plan.base);
                h->session = common.session;
                memcpy(h->space, common.space, sizeof(h->space));
                memcpy(h->node, common.node, sizeof(h->node));
                memcpy(h->faults, common.faults, sizeof(h->faults));
                h->devices = common.devices;
        }
        while (steps-- && gate(h))
                writer_step(h, last);
        if (board_get(&board->stop))
                hand_sweep(h);
        h->seat->doing = "leaves";
        leave();
        board_count(&board->joins, 1);
}

static void work_as_joiner(void) {
        uint64_t *last = new_last();
        struct hand h = common;

        leave();
        hand_begin(&h, board, plan_joiner_id(&board->plan), random_seed_for(4096));
        hand_take_pages(&h);
        while (board_gate(board, h.seat)) /* what it sweeps it must have joined */
                stay(&h, last);
        hand_end(&h);
        free(last);
}

void hammer_actor_work(struct message *m) {
        switch (role) {
        case ROLE_WRITER: work_as_writers(); break;
        case ROLE_JOINER: work_as_joiner(); break;
        case ROLE_VICTIM: work_alone(writer_run, plan_victim_id(&board->plan)); break;
        case ROLE_READER: work_as_readers(); break;
        case ROLE_ADMIN: work_alone(admin_orders_run, UINT32_MAX); break;
        }
}

void hammer_actor_count(struct message *m) {
        const struct hammer_plan *p = &board->plan;

        for (uint32_t i = 0; i < plan_counters(p); i++) {
                uint64_t is = board_get(plan_counter(p, i));

                if (is != board->added[i])
                        board_report(board, HAMMER_WRONG_COUNT, "counter %u: %" PRIu64 " was added, and it is %" PRIu64,
                                     i, board->added[i], is);
        }
}
