#include "hammer_beside.h"

#include <unistd.h>

#include "churn.h"
#include "hammer.h"
#include "hammer_hand.h"

enum { ARCHIVE_GRANULE = 64 << 10, ARCHIVE_SIZE = 6 << 20, ARCHIVE_PAGES = ARCHIVE_SIZE / PAGE_BYTES };

/* Of each process, from before it was forked. */
static struct hammer_board *board;

/* ---- explicit memory ---- */

static void churner_work(struct message *m) {
        struct hand h = { 0 };
        struct churn c;

        connect_to(&h.session, board->plan.socket, board->plan.partition);
        churn_begin(&c, h.session);
        hand_begin(&h, board, UINT32_MAX, m->n[0]);
        h.seat->doing = "churns";
        do {
                h.seat->doing = "churns";
                churn_step(&c);
                if (board_get(&board->pause))
                        churn_check(&c);
        } while (board_gate(board, h.seat));
        churn_check(&c);
        churn_end(&c);
        hand_end(&h);
        svmd_disconnect(h.session);
}

/* ---- the archive ---- */

static svmd_session *session;
static uint64_t *archive;

static uint64_t word_of(uint64_t i) {
        return i * 0x9e3779b97f4a7c15ull + 1;
}

/* -> n[0]: address */
static void owner_fill(struct message *m) {
        struct svmd_reserve_options o = {
                .size = sizeof(o), .name = "archive", .mode = 0644, .kind = SVMD_SHARED, .granule = ARCHIVE_GRANULE
        };
        void *at = NULL;

        connect_to(&session, board->plan.socket, board->plan.partition);
        ok(svmd_address_reserve(session, &at, ARCHIVE_SIZE, 0, NULL, &o));
        archive = at;
        for (uint64_t i = 0; i < ARCHIVE_SIZE / 8; i++)
                archive[i] = word_of(i);
        m->n[0] = (uint64_t)at;
}

/* Whoever has it open keeps it. */
static void owner_leave(struct message *m) {
        svmd_disconnect(session);
}

static void reader_attach(struct message *m) {
        void *at = NULL;

        connect_to(&session, board->plan.socket, board->plan.partition);
        ok(svmd_address_open(session, &at, NULL, "archive", SVMD_ACCESS_READ));
        archive = at;
}

static void look_at(struct hand *h, uint64_t page) {
        const volatile uint64_t *p = archive;

        h->seat->page = (uint32_t)page;
        for (uint64_t i = page * PAGE_WORDS; i < (page + 1) * PAGE_WORDS; i++) {
                uint64_t is = p[i];

                if (is != word_of(i)) {
                        board_report(board, is ? PAGE_LOST : PAGE_ZEROED, "word %llu of the archive is %llx",
                                     (unsigned long long)i, (unsigned long long)is);
                        return;
                }
        }
        board_count(&board->reads, 1);
}

static void look_at_all(struct hand *h) {
        for (uint64_t page = 0; page < ARCHIVE_PAGES; page++)
                look_at(h, page);
}

static void reader_work(struct message *m) {
        struct hand h = { 0 };

        hand_begin(&h, board, UINT32_MAX, m->n[0]);
        do {
                h.seat->doing = "reads the archive at";
                look_at(&h, hand_random(&h, ARCHIVE_PAGES));
                if (board_get(&board->pause))
                        look_at_all(&h);
        } while (board_gate(board, h.seat));
        look_at_all(&h);
        hand_end(&h);
}

/* When nobody moves it any more. */
static void reader_leave(struct message *m) {
        ok(svmd_address_free(session, archive));
        svmd_disconnect(session);
}

/* A session that is attached to nothing ends with its svmd. */
static void come_again(struct hand *h) {
        svmd_disconnect(h->session);
        h->session = NULL;
        while (try_connect(&h->session, board->plan.admin, NULL, SVMD_CONNECT_NO_ATTACH))
                usleep(1000);
}

static int find_node(const struct svmd_node_row *row, void *userdata) {
        struct hand *h = userdata;

        must(h->devices < HAMMER_DEVICES);
        h->node[h->devices++] = row->id;
        return 0;
}

static void move_some(struct hand *h, uint64_t base) {
        uint64_t all = ARCHIVE_SIZE / ARCHIVE_GRANULE, n = 1 + hand_random(h, all / 2);
        uint64_t first = hand_random(h, all - n + 1);
        int r = svmd_partition_migrate(h->session, NULL, board->plan.partition, base + first * ARCHIVE_GRANULE,
                                       n * ARCHIVE_GRANULE, h->node[hand_random(h, h->devices)]);

        if (r == SVMD_E_GONE)
                come_again(h);
        else
                hand_accepts(h, "a move of the archive", r);
        board_count(&board->orders, 1);
}

static struct hand mover;

static void mover_attach(struct message *m) {
        come_again(&mover);
        ok(svmd_query_nodes(mover.session, find_node, &mover));
}

/* n[0]: seed, n[1]: address */
static void mover_work(struct message *m) {
        struct hand h = mover;

        hand_begin(&h, board, UINT32_MAX, m->n[0]);
        do {
                h.seat->doing = "moves the archive";
                move_some(&h, m->n[1]);
        } while (board_gate(board, h.seat));
        hand_end(&h);
        svmd_disconnect(h.session);
}

/* ---- in the test ---- */

static uint64_t make_archive(struct hammer_beside *b) {
        struct message m = { 0 };
        struct actor owner;

        actor_new(&owner, HAMMER_OWNER, HAMMER_OWNER, 0);
        actor_call(&owner, owner_fill, &m);
        for (unsigned i = 0; i < 2; i++) {
                actor_new(&b->reader[i], HAMMER_READER, HAMMER_READER, 0);
                actor_call(&b->reader[i], reader_attach, &(struct message){ 0 });
        }
        actor_call(&owner, owner_leave, &(struct message){ 0 });
        actor_end(&owner);
        return m.n[0];
}

static void begin(struct actor *a, actor_fn fn, uint64_t address) {
        actor_begin(a, fn, &(struct message){ .n = { random_seed_for(a->number), address } });
}

void beside_start(struct hammer_beside *b, struct hammer_board *of) {
        uint64_t at;

        board = of;
        at = make_archive(b);
        actor_new(&b->mover, 0, 0, 0);
        actor_call(&b->mover, mover_attach, &(struct message){ 0 });
        begin(&b->mover, mover_work, at);
        for (unsigned i = 0; i < 2; i++) {
                uint32_t uid = i ? HAMMER_WRITER : HAMMER_OWNER;

                begin(&b->reader[i], reader_work, at);
                actor_new(&b->churner[i], uid, uid, 0);
                begin(&b->churner[i], churner_work, at);
        }
}

static void finish(struct actor *a, actor_fn leave) {
        actor_finish(a, NULL);
        if (leave)
                actor_call(a, leave, &(struct message){ 0 });
        actor_end(a);
}

void beside_finish(struct hammer_beside *b) {
        finish(&b->mover, NULL);
        for (unsigned i = 0; i < 2; i++) {
                finish(&b->churner[i], NULL);
                finish(&b->reader[i], reader_leave);
        }
}

void beside_abandon(struct hammer_beside *b) {
        for (unsigned i = 0; i < 2; i++) {
                actor_abandon(&b->churner[i]);
                actor_abandon(&b->reader[i]);
        }
        actor_abandon(&b->mover);
}
