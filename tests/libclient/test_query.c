/* Lists come in pages; every field arrives, and the walk asks on after the last row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_svmd.h"
#include "harness.h"
#include "svmd.h"

enum { PAGE_ROWS = 3, ROWS = 10 };

struct rows {
        Svmd__V1__Result result;
        Svmd__V1__NodesResult nodes;
        Svmd__V1__PartitionsResult partitions;
        Svmd__V1__SessionsResult sessions;
        Svmd__V1__ReservationsResult reservations;
        Svmd__V1__UsageResult usage;
        Svmd__V1__ResidencyResult residency;
        Svmd__V1__KeptResult kept_result;
        Svmd__V1__LeasesResult leases_result;
        Svmd__V1__Node node[PAGE_ROWS], *node_p[PAGE_ROWS];
        Svmd__V1__Partition partition[PAGE_ROWS], *partition_p[PAGE_ROWS];
        Svmd__V1__Session session[PAGE_ROWS], *session_p[PAGE_ROWS];
        Svmd__V1__Reservation reservation[PAGE_ROWS], *reservation_p[PAGE_ROWS];
        Svmd__V1__UsageRow use[PAGE_ROWS], *use_p[PAGE_ROWS];
        Svmd__V1__NodeUse node_use, *node_use_p;
        Svmd__V1__Run run[PAGE_ROWS], *run_p[PAGE_ROWS];
        Svmd__V1__Kept kept[PAGE_ROWS], *kept_p[PAGE_ROWS];
        Svmd__V1__Lease lease[PAGE_ROWS], *lease_p[PAGE_ROWS];
        char name[PAGE_ROWS][16];
};

static void nodes(struct rows *r, unsigned from, unsigned count) {
        svmd__v1__nodes_result__init(&r->nodes);
        for (unsigned i = 0; i < count; i++) {
                svmd__v1__node__init(&r->node[i]);
                r->node[i].id = from + i;
                r->node[i].name = r->name[i];
                r->node[i].limited = 4;
                r->node[i].va_end = 77;
                r->node[i].managed = 1;
                r->node[i].reserve = 2;
                r->node[i].warm = 3;
                r->node[i].waiting = 4;
                r->node_p[i] = &r->node[i];
        }
        r->nodes.n_nodes = count;
        r->nodes.nodes = r->node_p;
        r->result.detail_case = SVMD__V1__RESULT__DETAIL_NODES;
        r->result.nodes = &r->nodes;
}

static void partitions(struct rows *r, unsigned from, unsigned count) {
        svmd__v1__partitions_result__init(&r->partitions);
        for (unsigned i = 0; i < count; i++) {
                svmd__v1__partition__init(&r->partition[i]);
                r->partition[i].name = r->name[i];
                r->partition[i].start = 4096;
                r->partition[i].window = SVMD__V1__WINDOW__LOW;
                r->partition[i].kept = 11;
                r->partition[i].kept_max = UINT64_MAX;
                r->partition[i].n_nodes = 1;
                r->partition[i].nodes = &r->node_use_p;
                r->partition_p[i] = &r->partition[i];
        }
        r->partitions.n_partitions = count;
        r->partitions.partitions = r->partition_p;
        r->result.detail_case = SVMD__V1__RESULT__DETAIL_PARTITIONS;
        r->result.partitions = &r->partitions;
}

static void sessions(struct rows *r, unsigned from, unsigned count) {
        svmd__v1__sessions_result__init(&r->sessions);
        for (unsigned i = 0; i < count; i++) {
                svmd__v1__session__init(&r->session[i]);
                r->session[i].id = from + i;
                r->session[i].client = r->name[i];
                r->session_p[i] = &r->session[i];
        }
        r->sessions.n_sessions = count;
        r->sessions.sessions = r->session_p;
        r->result.detail_case = SVMD__V1__RESULT__DETAIL_SESSIONS;
        r->result.sessions = &r->sessions;
}

static void reservations(struct rows *r, unsigned from, unsigned count) {
        svmd__v1__reservations_result__init(&r->reservations);
        for (unsigned i = 0; i < count; i++) {
                svmd__v1__reservation__init(&r->reservation[i]);
                r->reservation[i].address = from + i;
                r->reservation[i].id = 1000 + from + i;
                r->reservation[i].name = r->name[i];
                r->reservation[i].kind = SVMD__V1__RESERVATION_KIND__SHARED;
                r->reservation[i].granule = 65536;
                r->reservation[i].revoked = true;
                r->reservation[i].kept = true;
                r->reservation[i].idle_ms = 12;
                r->reservation[i].left_ms = 13;
                r->reservation_p[i] = &r->reservation[i];
        }
        r->reservations.n_reservations = count;
        r->reservations.reservations = r->reservation_p;
        r->result.detail_case = SVMD__V1__RESULT__DETAIL_RESERVATIONS;
        r->result.reservations = &r->reservations;
}

static void usage(struct rows *r, unsigned from, unsigned count) {
        svmd__v1__usage_result__init(&r->usage);
        for (unsigned i = 0; i < count; i++) {
                svmd__v1__usage_row__init(&r->use[i]);
                r->use[i].session = from + i;
                r->use[i].n_nodes = 1;
                r->use[i].nodes = &r->node_use_p;
                r->use_p[i] = &r->use[i];
        }
        r->usage.n_rows = count;
        r->usage.rows = r->use_p;
        r->result.detail_case = SVMD__V1__RESULT__DETAIL_USAGE;
        r->result.usage = &r->usage;
}

/* A run of 3 units at the address of each key. */
static void residency(struct rows *r, unsigned from, unsigned count) {
        svmd__v1__residency_result__init(&r->residency);
        for (unsigned i = 0; i < count; i++) {
                svmd__v1__run__init(&r->run[i]);
                r->run[i].address = (from + i - 1) * 3 * SVMD_PAGE;
                r->run[i].size = 3 * SVMD_PAGE;
                r->run[i].state = (from + i - 1) % 11;
                r->run[i].cause = (from + i - 1) % 9;
                r->run[i].node = i == 1 ? UINT32_MAX : 2;
                r->run[i].pins = 5;
                r->run[i].copies = 6;
                r->run[i].busy = true;
                r->run[i].outs = 7;
                r->run[i].ins = 8;
                r->run_p[i] = &r->run[i];
        }
        r->residency.n_runs = count;
        r->residency.runs = r->run_p;
        r->result.detail_case = SVMD__V1__RESULT__DETAIL_RESIDENCY;
        r->result.residency = &r->residency;
}

/* The first half are ranges, the others memory. */
static void kept(struct rows *r, unsigned from, unsigned count) {
        svmd__v1__kept_result__init(&r->kept_result);
        for (unsigned i = 0; i < count; i++) {
                svmd__v1__kept__init(&r->kept[i]);
                r->kept[i].name = r->name[i];
                r->kept[i].kind =
                        from + i <= ROWS / 2 ? SVMD__V1__KEPT_KIND__KEPT_RESERVATION : SVMD__V1__KEPT_KIND__KEPT_MEMORY;
                r->kept[i].id = from + i;
                r->kept[i].address = 4096;
                r->kept[i].size = 8192;
                r->kept[i].mode = 0640;
                r->kept[i].uid = 7;
                r->kept[i].gid = 8;
                r->kept[i].seconds = 60;
                r->kept[i].idle_ms = 1;
                r->kept[i].left_ms = UINT64_MAX;
                r->kept[i].users = 2;
                r->kept[i].partition = (char *)"lab";
                r->kept[i].n_nodes = 1;
                r->kept[i].nodes = &r->node_use_p;
                r->kept_p[i] = &r->kept[i];
        }
        r->kept_result.n_kept = count;
        r->kept_result.kept = r->kept_p;
        r->result.detail_case = SVMD__V1__RESULT__DETAIL_KEPT;
        r->result.kept = &r->kept_result;
}

static void leases(struct rows *r, unsigned from, unsigned count) {
        svmd__v1__leases_result__init(&r->leases_result);
        for (unsigned i = 0; i < count; i++, from++) {
                svmd__v1__lease__init(&r->lease[i]);
                r->lease[i].lease = from;
                r->lease[i].session = 8;
                r->lease[i].pid = 9;
                r->lease[i].client = r->name[i];
                r->lease[i].partition = (char *)"lab";
                r->lease[i].granted = from % 2;
                r->lease[i].priority = 10;
                r->lease[i].left_ms = 11;
                r->lease[i].before = 12;
                r->lease[i].n_nodes = 1;
                r->lease[i].nodes = &r->node_use_p;
                r->lease_p[i] = &r->lease[i];
        }
        r->leases_result.n_leases = count;
        r->leases_result.leases = r->lease_p;
        r->result.detail_case = SVMD__V1__RESULT__DETAIL_LEASES;
        r->result.leases = &r->leases_result;
}

/* The kind is of the row that is named. */
static unsigned kept_after(const Svmd__V1__KeptList *q) {
        unsigned after = (unsigned)atoi(q->after);

        assert_int_equal(q->after_kind, after == 0          ? SVMD__V1__KEPT_KIND__KEPT_NONE
                                        : after <= ROWS / 2 ? SVMD__V1__KEPT_KIND__KEPT_RESERVATION
                                                            : SVMD__V1__KEPT_KIND__KEPT_MEMORY);
        return after;
}

static uint64_t asked_size;

static unsigned residency_after(const Svmd__V1__Residency *q) {
        asked_size = q->size;
        return (unsigned)(q->address / (3 * SVMD_PAGE));
}

/* Keys are 1 to ROWS. Answers with the page after `after`. */
static void page(struct rows *r, unsigned after, void (*fill)(struct rows *, unsigned, unsigned)) {
        unsigned count = ROWS - after < PAGE_ROWS ? ROWS - after : PAGE_ROWS;

        svmd__v1__node_use__init(&r->node_use);
        r->node_use.node = 5;
        r->node_use.used = 6;
        r->node_use_p = &r->node_use;
        for (unsigned i = 0; i < count; i++)
                snprintf(r->name[i], sizeof(r->name[i]), "%02u", after + 1 + i);
        fill(r, after + 1, count);
        r->result.more = after + count < ROWS;
}

static bool answer_pages(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data) {
        const Svmd__V1__Op *op = q->ops[0];
        static struct rows r;

        svmd__v1__result__init(&r.result);
        switch (op->op_case) {
        case SVMD__V1__OP__OP_NODES: page(&r, op->nodes->from ? op->nodes->from - 1 : 0, nodes); break;
        case SVMD__V1__OP__OP_PARTITION_LIST: page(&r, (unsigned)atoi(op->partition_list->after), partitions); break;
        case SVMD__V1__OP__OP_SESSION_LIST: page(&r, (unsigned)op->session_list->after, sessions); break;
        case SVMD__V1__OP__OP_RESERVATION_LIST: page(&r, (unsigned)op->reservation_list->after, reservations); break;
        case SVMD__V1__OP__OP_RESIDENCY: page(&r, residency_after(op->residency), residency); break;
        case SVMD__V1__OP__OP_KEPT_LIST: page(&r, kept_after(op->kept_list), kept); break;
        case SVMD__V1__OP__OP_LEASE_LIST: page(&r, (unsigned)op->lease_list->after, leases); break;
        case SVMD__V1__OP__OP_USAGE: page(&r, (unsigned)op->usage->after, usage); break;
        default: return false;
        }
        fake_reply(conn, q->id, &r.result);
        return true;
}

struct count {
        unsigned rows, wrong, stop_at;
};

static int counted(struct count *c, bool right) {
        c->rows++;
        c->wrong += !right;
        return c->rows == c->stop_at ? 99 : 0;
}

static int see_node(const struct svmd_node_row *row, void *data) {
        struct count *c = data;

        return counted(c, row->id == c->rows + 1 && row->limits == 4 && row->va_end == 77 && row->managed == 1 &&
                                  row->reserve == 2 && row->warm == 3 && row->waiting == 4 &&
                                  atoi(row->name) == (int)row->id && !row->model[0]);
}

static int see_partition(const struct svmd_partition_row *row, void *data) {
        struct count *c = data;

        return counted(c, atoi(row->name) == (int)c->rows + 1 && row->base == 4096 && row->window == SVMD_WINDOW_LOW &&
                                  row->nodes_count == 1 && row->nodes[0].node == 5 && row->nodes[0].used == 6 &&
                                  row->kept == 11 && row->kept_max == UINT64_MAX);
}

static int see_kept(const struct svmd_kept_row *row, void *data) {
        struct count *c = data;

        return counted(c, row->id == c->rows + 1 && atoi(row->name) == (int)row->id && row->address == 4096 &&
                                  row->kind == (c->rows < ROWS / 2 ? SVMD_KEPT_RANGE : SVMD_KEPT_MEM) &&
                                  row->length == 8192 && row->mode == 0640 && row->uid == 7 && row->gid == 8 &&
                                  row->seconds == 60 && row->idle_ms == 1 && row->left_ms == UINT64_MAX &&
                                  row->users == 2 && !strcmp(row->partition, "lab") && row->nodes_count == 1 &&
                                  row->nodes[0].node == 5 && row->nodes[0].used == 6);
}

static int see_lease(const struct svmd_lease_row *row, void *data) {
        struct count *c = data;

        return counted(c, row->lease == c->rows + 1 && atoi(row->client) == (int)row->lease && row->session == 8 &&
                                  row->pid == 9 && !strcmp(row->partition, "lab") &&
                                  row->granted == (int)(row->lease % 2) && row->priority == 10 && row->left_ms == 11 &&
                                  row->before == 12 && row->nodes_count == 1 && row->nodes[0].node == 5 &&
                                  row->nodes[0].used == 6);
}

static int see_session(const struct svmd_session_row *row, void *data) {
        struct count *c = data;

        return counted(c, row->id == c->rows + 1 && atoi(row->client) == (int)row->id);
}

static int see_reservation(const struct svmd_reservation_row *row, void *data) {
        struct count *c = data;

        return counted(c, row->address == c->rows + 1 && row->id == 1000 + row->address && row->kind == SVMD_SHARED &&
                                  row->granule == 65536 && row->revoked && row->kept && row->idle_ms == 12 &&
                                  row->left_ms == 13);
}

static int see_run(const struct svmd_residency_row *row, void *data) {
        static const char *const states[] = { "empty",   "resident",   "copying",    "punching", "out",    "filling",
                                              "writing", "continuing", "duplicated", "revoked",  "unknown" };
        static const char *const causes[] = { "fault",  "device", "prefetch", "eviction", "request",
                                              "advice", "drain",  "revoke",   "restart" };
        struct count *c = data;

        return counted(c, row->address == c->rows * 3 * SVMD_PAGE && row->length == 3 * SVMD_PAGE &&
                                  !strcmp(row->state, states[c->rows % 11]) &&
                                  !strcmp(row->cause, causes[c->rows % 9]) &&
                                  row->node == (c->rows % PAGE_ROWS == 1 ? SVMD_NODE_NONE : 2) && row->pins == 5 &&
                                  row->copies == 6 && row->busy && row->outs == 7 && row->ins == 8);
}

static int see_use(const struct svmd_use_row *row, void *data) {
        struct count *c = data;

        /* A row a session, then (session 0) one a partition. */
        return counted(c, row->session == (c->rows < ROWS ? c->rows + 1 : 0) && row->node == 5);
}

static void expect(struct count *c, int r, unsigned rows, int code) {
        assert_int_equal(r, code);
        assert_int_equal(c->rows, rows);
        assert_int_equal(c->wrong, 0);
        *c = (struct count){ .stop_at = c->stop_at };
}

static void walks_go_over_all_pages(void **state) {
        struct world *w = world_with(state, answer_pages);
        struct count c = { .rows = 0 };

        expect(&c, svmd_query_nodes(w->s, see_node, &c), ROWS, 0);
        expect(&c, svmd_query_partitions(w->s, NULL, see_partition, &c), ROWS, 0);
        expect(&c, svmd_query_sessions(w->s, NULL, see_session, &c), ROWS, 0);
        expect(&c, svmd_query_reservations(w->s, NULL, see_reservation, &c), ROWS, 0);
        expect(&c, svmd_query_usage(w->s, NULL, see_use, &c), 2 * ROWS, 0);
        expect(&c, svmd_query_kept(w->s, NULL, see_kept, &c), ROWS, 0);
        expect(&c, svmd_query_leases(w->s, NULL, see_lease, &c), ROWS, 0);
        expect(&c, svmd_query_residency(w->s, NULL, 0, 0, 1, see_run, &c), ROWS, 0);
        /* What is left is asked for, and no more than that: pages of 3 rows of 3 units. */
        expect(&c, svmd_query_residency(w->s, NULL, 0, 20 * SVMD_PAGE, 0, see_run, &c), 9, 0);
        assert_int_equal(asked_size, 2 * SVMD_PAGE);
        expect(&c, svmd_query_residency(w->s, NULL, 0, 9 * SVMD_PAGE, 0, see_run, &c), 3, 0);
        c.stop_at = 5;
        expect(&c, svmd_query_nodes(w->s, see_node, &c), 5, 99);
        expect(&c, svmd_query_partitions(w->s, NULL, see_partition, &c), 5, 99);
        expect(&c, svmd_query_kept(w->s, NULL, see_kept, &c), 5, 99);
        expect(&c, svmd_query_leases(w->s, NULL, see_lease, &c), 5, 99);
        expect(&c, svmd_query_usage(w->s, NULL, see_use, &c), 5, 99);
}

static void granularity_is_of_a_node_that_exists(void **state) {
        struct world *w = world_with(state, answer_pages);
        size_t granularity = 1;

        assert_int_equal(svmd_mem_granularity(w->s, &granularity, 3), 0);
        assert_int_equal(granularity, SVMD_PAGE);
        granularity = 1;
        assert_int_equal(svmd_mem_granularity(w->s, &granularity, 11), SVMD_E_NO_NODE);
        assert_int_equal(granularity, 1);
}

/* ---- keeping ---- */

static struct {
        Svmd__V1__Keep keep;
        Svmd__V1__KeptRemove remove;
        char name[16], partition[16];
} asked;

static bool answer_keep(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data) {
        const Svmd__V1__Op *op = q->ops[0];
        Svmd__V1__Result result = SVMD__V1__RESULT__INIT;

        if (op->op_case == SVMD__V1__OP__OP_KEEP) {
                asked.keep = *op->keep;
        } else if (op->op_case == SVMD__V1__OP__OP_KEPT_REMOVE) {
                asked.remove = *op->kept_remove;
                snprintf(asked.name, sizeof(asked.name), "%s", op->kept_remove->name);
                snprintf(asked.partition, sizeof(asked.partition), "%s", op->kept_remove->partition);
        } else {
                return false;
        }
        fake_reply(conn, q->id, &result);
        return true;
}

static void keeping_is_asked_for(void **state) {
        struct svmd_keep_options o = { .size = sizeof(o), .seconds = 60 };
        struct world *w = world_with(state, answer_keep);
        void *at;

        assert_int_equal(svmd_mem_keep(w->s, 5, &o), 0);
        assert_true(asked.keep.memory == 5 && !asked.keep.reservation && asked.keep.seconds == 60 && !asked.keep.off);
        assert_int_equal(svmd_mem_keep(w->s, 0, NULL), SVMD_E_NO_SUCH);
        assert_int_equal(svmd_keep(w->s, (void *)4096, &o), SVMD_E_NO_SUCH);
        assert_int_equal(svmd_address_reserve(w->s, &at, 4 * SVMD_PAGE, 0, NULL, NULL), 0);
        o.off = 1;
        assert_int_equal(svmd_keep(w->s, (char *)at + SVMD_PAGE, &o), 0);
        assert_int_equal(asked.keep.reservation, fake_reservation_id(w->fake, (uintptr_t)at));
        assert_true(!asked.keep.memory && asked.keep.off);
        assert_int_equal(svmd_keep(w->s, at, NULL), 0);
        assert_true(asked.keep.seconds == 0 && !asked.keep.off);
        o.size = 3;
        assert_int_equal(svmd_keep(w->s, at, &o), SVMD_E_INVALID);
        assert_int_equal(svmd_kept_remove(w->s, NULL, SVMD_KEPT_MEM, "cache"), 0);
        assert_true(asked.remove.kind == SVMD__V1__KEPT_KIND__KEPT_MEMORY && !asked.partition[0]);
        assert_string_equal(asked.name, "cache");
        assert_int_equal(svmd_kept_remove(w->s, "lab", SVMD_KEPT_RANGE, "weights"), 0);
        assert_string_equal(asked.partition, "lab");
        assert_int_equal(svmd_kept_remove(w->s, "lab", SVMD_KEPT_RANGE, NULL), SVMD_E_NAME);
}

/* ---- why ---- */

static bool answer_explain(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data) {
        const char *sentences[] = { "it was written here", "nobody asked for more" };
        Svmd__V1__Result result = SVMD__V1__RESULT__INIT;
        Svmd__V1__ExplainResult e = SVMD__V1__EXPLAIN_RESULT__INIT;
        Svmd__V1__Reservation r = SVMD__V1__RESERVATION__INIT;
        Svmd__V1__AdviceResult advice = SVMD__V1__ADVICE_RESULT__INIT;
        Svmd__V1__Run run = SVMD__V1__RUN__INIT;
        Svmd__V1__Past past = SVMD__V1__PAST__INIT, not = SVMD__V1__PAST__INIT;
        Svmd__V1__Touch touch = SVMD__V1__TOUCH__INIT, *touches[] = { &touch };
        Svmd__V1__Past *history[] = { &past, &past, &not };
        Svmd__V1__AdviceHint hint = SVMD__V1__ADVICE_HINT__INIT, *hints[] = { &hint };

        if (q->ops[0]->op_case != SVMD__V1__OP__OP_EXPLAIN)
                return false;
        past.deed = 1;
        past.cause = 3;
        past.why = 1;
        past.from = 2;
        past.by = UINT32_MAX;
        past.reservation = 77;
        not .deed = 8;
        not .why = 999;
        touch.node = UINT32_MAX - 1;
        touch.outcome = 2;
        touch.state = 1;
        hint.pid = 345;
        hint.rank = SVMD__V1__ADVICE_RANK__RANK_OWNER;
        hint.advice = &advice;
        hint.wins = SVMD_ADVISE_PREFERRED;
        run.state = 4;
        advice.preferred = 2;
        r.name = (char *)"board";
        if (q->ops[0]->explain->address) {
                e.reservation = &r;
                e.run = &run;
                e.advice = &advice;
                e.history = history;
                e.n_history = 2;
                e.not_done = &history[2];
                e.n_not_done = 1;
                e.touches = touches;
                e.n_touches = 1;
                e.hints = hints;
                e.n_hints = 1;
        }
        e.sentences = (char **)sentences;
        e.n_sentences = 2;
        e.moves = 3;
        e.moved_ms = 4;
        e.touched_ms = 5;
        result.detail_case = SVMD__V1__RESULT__DETAIL_EXPLAIN;
        result.explain = &e;
        fake_reply(conn, q->id, &result);
        return true;
}

static int see_explanation(const struct svmd_explanation *e, void *data) {
        assert_int_equal(e->sentences_count, 2);
        assert_string_equal(e->sentences[1], "nobody asked for more");
        assert_true(e->moves == 3 && e->moved_ms == 4 && e->touched_ms == 5);
        if (!*(int *)data) {
                assert_true(!e->reservation && !e->granule && !e->advice);
                assert_true(!e->history_count && !e->not_done_count && !e->touches_count);
                return 7;
        }
        assert_true(e->history_count == 2 && e->not_done_count == 1 && e->touches_count == 1);
        assert_string_equal(e->history[1]->deed, "moved");
        assert_string_equal(e->history[1]->cause, "eviction");
        assert_string_equal(e->history[1]->why, "room");
        assert_true(e->history[1]->from == 2 && e->history[1]->by == SVMD_NODE_NONE);
        assert_int_equal(e->history[1]->reservation, 77);
        assert_string_equal(e->not_done[0]->deed, "refused");
        assert_string_equal(e->not_done[0]->why, "unknown");
        assert_int_equal(e->touches[0]->node, SVMD_NODE_CPU);
        assert_string_equal(e->touches[0]->outcome, "moves");
        assert_string_equal(e->touches[0]->state, "resident");
        assert_int_equal(e->hints_count, 1);
        assert_true(e->hints[0]->pid == 345 && e->hints[0]->wins == SVMD_ADVISE_PREFERRED);
        assert_string_equal(e->hints[0]->rank, "owner");
        assert_int_equal(e->hints[0]->advice->preferred, 1);
        assert_string_equal(e->reservation->name, "board");
        assert_string_equal(e->granule->state, "out");
        assert_int_equal(e->advice->preferred, 1);
        return 8;
}

static void an_explanation_has_what_there_is(void **state) {
        struct world *w = world_with(state, answer_explain);

        assert_int_equal(svmd_explain(w->s, NULL, 4096, see_explanation, &(int){ 1 }), 8);
        assert_int_equal(svmd_explain(w->s, "lab", 0, see_explanation, &(int){ 0 }), 7);
}

/* ---- moves, as they are watched ---- */

static void see_move(svmd_session *s, const struct svmd_event *e, void *data) {
        assert_int_equal(e->type, SVMD_EVENT_MONITOR);
        assert_string_equal(e->what, "move");
        assert_string_equal(e->cause, "eviction");
        assert_ptr_equal(e->address, (void *)8192);
        assert_true(e->length == 4096 && e->from == 2 && e->to == SVMD_NODE_NONE && e->session == 9);
        ++*(unsigned *)data;
}

static void a_move_has_its_cause_and_places(void **state) {
        struct world *w = *state;
        Svmd__V1__Event event = SVMD__V1__EVENT__INIT;
        Svmd__V1__MonitorEvent m = SVMD__V1__MONITOR_EVENT__INIT;
        unsigned count = 0;

        assert_int_equal(svmd_set_event_handler(w->s, see_move, &count), 0);
        m.what = (char *)"move";
        m.cause = (char *)"eviction";
        m.address = 8192;
        m.size = 4096;
        m.from = 3;
        m.session = 9;
        event.event_case = SVMD__V1__EVENT__EVENT_MONITOR;
        event.monitor = &m;
        fake_event(fake_last_connection(w->fake), &event);
        while (!count)
                assert_int_equal(svmd_dispatch(w->s), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(walks_go_over_all_pages),
                world_test(granularity_is_of_a_node_that_exists),
                world_test(keeping_is_asked_for),
                world_test(an_explanation_has_what_there_is),
                world_test(a_move_has_its_cause_and_places),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
