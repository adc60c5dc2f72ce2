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
        Svmd__V1__Node node[PAGE_ROWS], *node_p[PAGE_ROWS];
        Svmd__V1__Partition partition[PAGE_ROWS], *partition_p[PAGE_ROWS];
        Svmd__V1__Session session[PAGE_ROWS], *session_p[PAGE_ROWS];
        Svmd__V1__Reservation reservation[PAGE_ROWS], *reservation_p[PAGE_ROWS];
        Svmd__V1__UsageRow use[PAGE_ROWS], *use_p[PAGE_ROWS];
        Svmd__V1__NodeUse node_use, *node_use_p;
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

        return counted(c, row->id == c->rows + 1 && row->limits == 4 && row->va_end == 77 &&
                                  atoi(row->name) == (int)row->id && !row->model[0]);
}

static int see_partition(const struct svmd_partition_row *row, void *data) {
        struct count *c = data;

        return counted(c, atoi(row->name) == (int)c->rows + 1 && row->base == 4096 && row->window == SVMD_WINDOW_LOW &&
                                  row->nodes_count == 1 && row->nodes[0].node == 5 && row->nodes[0].used == 6);
}

static int see_session(const struct svmd_session_row *row, void *data) {
        struct count *c = data;

        return counted(c, row->id == c->rows + 1 && atoi(row->client) == (int)row->id);
}

static int see_reservation(const struct svmd_reservation_row *row, void *data) {
        struct count *c = data;

        return counted(c, row->address == c->rows + 1 && row->id == 1000 + row->address);
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
        c.stop_at = 5;
        expect(&c, svmd_query_nodes(w->s, see_node, &c), 5, 99);
        expect(&c, svmd_query_partitions(w->s, NULL, see_partition, &c), 5, 99);
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

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(walks_go_over_all_pages),
                world_test(granularity_is_of_a_node_that_exists),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
