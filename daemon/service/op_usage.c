#include "service/internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "account/who.h"
#include "base/alloc.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/usage_answer.h"

/*
 * Who holds what now, and who held what when. The first is counted here, from the ledger and the mover; what is known
 * of a process was read before by the worker. The second stands in the history, which only the worker reads.
 */

#define ROWS_OF_NODES 32          /* rows that carry a list of their own */
#define ROWS_BYTES    (64u << 10) /* where a page of them ends before it is full */

/* ---- now ---- */

static char *text_or_none(char *text) {
        return text[0] ? text : (char *)protobuf_c_empty_string;
}

/* The call is over before a `who` can go. */
static void fill_who(struct who *w, Svmd__V1__UsageRow *row) {
        struct where *where = &w->seen.where;

        row->process = text_or_none(w->seen.process);
        row->cgroup = text_or_none(where->cgroup);
        row->runtime = text_or_none(where->runtime);
        row->container = text_or_none(where->container);
        row->pod = text_or_none(where->pod);
        row->container_name = text_or_none(where->name);
        row->pod_name = text_or_none(where->pod_name);
        row->pod_namespace = text_or_none(where->pod_namespace);
}

/* False: out of memory. Nodes where nothing is, and never was, are left out. */
static bool add_use(struct call *c, Svmd__V1__UsageRow *row, const Svmd__V1__NodeUse *use) {
        if (!use->used && !use->peak)
                return true;
        row->nodes[row->n_nodes] = call_take(c, sizeof(*use));
        if (!row->nodes[row->n_nodes])
                return false;
        *row->nodes[row->n_nodes++] = *use;
        return true;
}

static Svmd__V1__UsageRow *row_new(struct call *c, const struct partition *p) {
        Svmd__V1__UsageRow *row = call_take(c, sizeof(*row));

        if (!row)
                return NULL;
        svmd__v1__usage_row__init(row);
        row->partition = p->name->text;
        row->nodes = call_take(c, (c->svc->options.machine->count + 1) * sizeof(*row->nodes));
        return row->nodes ? row : NULL;
}

static Svmd__V1__UsageRow *session_holds(struct call *c, const struct session *s) {
        Svmd__V1__UsageRow *row = row_new(c, s->partition);
        struct track *t = s->usage;

        if (!row)
                return NULL;
        row->session = s->object.id;
        row->pid = s->pid;
        row->uid = s->who.uid;
        row->client = s->client ? s->client : (char *)protobuf_c_empty_string;
        row->registered = s->registered;
        if (t && t->who)
                fill_who(t->who, row);
        for (uint32_t i = 0; i < c->svc->options.machine->count; i++) {
                const struct account *a = s->accounts ? &s->accounts[i] : NULL;
                Svmd__V1__NodeUse use = SVMD__V1__NODE_USE__INIT;

                use.node = i;
                use.managed = accounts_managed(c->svc, s, i);
                use.used = use.managed + (a ? a->used : 0);
                use.leased = a ? accounts_leased(s, i) : 0;
                use.peak = a && a->peak > use.used ? a->peak : use.used;
                use.max = a ? a->max : ACCOUNT_NO_LIMIT;
                if (!add_use(c, row, &use))
                        return NULL;
        }
        return row;
}

/* The partition's, less what its sessions have. */
static void unheld(struct service *svc, const struct partition *p, uint32_t node, Svmd__V1__NodeUse *use) {
        uint64_t charged, managed;

        accounts_partition(svc, p, node, &charged, &managed);
        list_for_each (l, &p->sessions) {
                const struct session *s = container_of(l, struct session, by_partition);

                if (!node_backend(svc, node)->private_ops)
                        managed -= accounts_managed(svc, s, node);
                charged -= session_used(s, node);
        }
        use->node = node;
        use->managed = managed;
        use->leased = accounts_leased_idle(p, node);
        use->used = use->peak = managed + charged;
        use->max = ACCOUNT_NO_LIMIT;
}

static Svmd__V1__UsageRow *partition_holds(struct call *c, const struct partition *p) {
        Svmd__V1__UsageRow *row = row_new(c, p);

        for (uint32_t i = 0; row && i < c->svc->options.machine->count; i++) {
                Svmd__V1__NodeUse use = SVMD__V1__NODE_USE__INIT;

                unheld(c->svc, p, i, &use);
                if (!add_use(c, row, &use))
                        return NULL;
        }
        return row;
}

struct page {
        Svmd__V1__HoldersResult *result;
        size_t bytes;
};

static bool is_full(const struct page *page) {
        return page->result->n_rows == ROWS_OF_NODES || page->bytes > ROWS_BYTES;
}

static int page_add(struct page *page, Svmd__V1__UsageRow *row) {
        if (!row)
                return -ENOMEM;
        if (row->n_nodes == 0 && row->registered == 0)
                return 0;
        page->result->rows[page->result->n_rows++] = row;
        page->bytes += svmd__v1__usage_row__get_packed_size(row);
        return 0;
}

static int add_sessions(struct call *c, const Svmd__V1__Holders *m, struct page *page) {
        int r = 0;

        list_for_each (l, &c->svc->state.sessions) {
                const struct session *s = container_of(l, struct session, by_state);

                if (r < 0 || s->object.id <= m->after || !s->partition ||
                    (m->partition[0] && strcmp(m->partition, s->partition->name->text) != 0))
                        continue;
                c->result->more = is_full(page);
                if (c->result->more)
                        return 0;
                r = page_add(page, session_holds(c, s));
        }
        return r;
}

static int add_partitions(struct call *c, const Svmd__V1__Holders *m, struct page *page) {
        struct partition *p = partition_after(&c->svc->state, m->after_partition);
        int r = 0;

        for (; r == 0 && p; p = partition_after(&c->svc->state, p->name->text)) {
                if (!p->ready || (m->partition[0] && strcmp(m->partition, p->name->text) != 0))
                        continue;
                c->result->more = is_full(page);
                if (c->result->more)
                        return 0;
                r = page_add(page, partition_holds(c, p));
        }
        return r;
}

int op_holders(struct call *c) {
        const Svmd__V1__Holders *m = c->op->holders;
        struct page page = { NULL, 0 };
        int r = 0;

        if (m->partition[0] && !partition_find(&c->svc->state, m->partition))
                return refuse(c, SVMD_STATUS_NO_SUCH, "there is no partition %s; see svmd-ctl partition list",
                              m->partition);
        if (m->after == 0 && accounts_look(c->svc, c->request))
                return OP_LATER;
        DETAIL(c, HoldersResult, HOLDERS, holders, result);
        page.result = result;
        result->rows = call_take(c, ROWS_OF_NODES * sizeof(*result->rows));
        if (!result->rows)
                return -ENOMEM;
        if (m->after != UINT64_MAX)
                r = add_sessions(c, m, &page);
        if (r == 0 && !c->result->more)
                r = add_partitions(c, m, &page);
        return r;
}

/* ---- the history ---- */

static void ask_done(struct job *job) {
        struct usage_answer *a = container_of(job, struct usage_answer, job);
        struct request *r = a->request;

        r->usage = a;
        r->jobs--;
        request_continue(a->svc, r);
}

int usage_wait(struct call *c, struct usage_answer *a, void (*run)(struct job *job)) {
        a->svc = c->svc;
        a->request = c->request;
        a->job = (struct job){ .lane = 0, .run = run, .done = ask_done };
        list_init(&a->job.link);
        c->request->jobs++;
        return OP_LATER;
}

void usage_submit(struct usage_answer *a) {
        jobs_submit(a->svc->accounts.jobs, &a->job);
}

int usage_ask(struct call *c, struct usage_answer *a, void (*run)(struct job *job)) {
        int r = usage_wait(c, a, run);

        usage_submit(a);
        return r;
}

void usage_answer_free(struct usage_answer *a) {
        if (!a)
                return;
        history_answer_free(&a->history);
        drift_free(a->drift);
        alloc_free(a);
}

static void history_run(struct job *job) {
        struct usage_answer *a = container_of(job, struct usage_answer, job);

        a->result = accounts_history(a->svc, a->why, sizeof(a->why));
        if (a->result == 0)
                a->result = history_ask(a->svc->accounts.history, &a->query, &a->history, a->why, sizeof(a->why));
        if (a->result > 0)
                a->result = -EUCLEAN;
}

static int history_begin(struct call *c, const Svmd__V1__UsageHistory *m) {
        struct usage_answer *a;

        if (!c->svc->accounts.state_dir)
                return refuse(
                        c, SVMD_STATUS_UNSUPPORTED,
                        "this svmd keeps no history of use; set usage-period in svmd.conf to something else than 0");
        if ((unsigned)m->by >= HISTORY_BYS)
                return refuse(c, SVMD_STATUS_INVALID,
                              "use can be grouped by node, partition, user, control group, container or process");
        if (m->since >= m->until || m->until > INT64_MAX)
                return refuse(c, SVMD_STATUS_INVALID, "a span of time ends after it begins");
        if (strlen(m->node) >= sizeof(a->node))
                return refuse(c, SVMD_STATUS_INVALID, "a node has no name as long as that");
        a = alloc_zero(sizeof(*a));
        if (!a)
                return -ENOMEM;
        memcpy(a->node, m->node, strlen(m->node) + 1);
        a->query = (struct history_query){ .by = (enum history_by)m->by,
                                           .since = (int64_t)m->since,
                                           .until = (int64_t)m->until,
                                           .node = a->node[0] ? a->node : NULL,
                                           .from = m->from,
                                           .count = SVMD_ROWS_MAX };
        return usage_ask(c, a, history_run);
}

int op_usage_history(struct call *c) {
        struct usage_answer *a = c->request->usage;
        size_t bytes = 0;

        if (!a)
                return history_begin(c, c->op->usage_history);
        if (a->result < 0)
                return refuse(c, SVMD_STATUS_STORE, "the history of use cannot be read: %s", a->why);
        DETAIL(c, UsageHistoryResult, USAGE_HISTORY, usage_history, r);
        r->since = (uint64_t)a->history.since;
        r->until = (uint64_t)a->history.until;
        r->step = a->history.step;
        r->watched_ms = a->history.watched_ms;
        r->rows = call_take(c, (a->history.count + 1) * sizeof(*r->rows));
        if (!r->rows)
                return -ENOMEM;
        c->result->more = a->history.more;
        for (size_t i = 0; i < a->history.count; i++) {
                Svmd__V1__HistoryRow *row = call_take(c, sizeof(*row));

                if (!row)
                        return -ENOMEM;
                svmd__v1__history_row__init(row);
                row->key = a->history.rows[i].key;
                row->node = a->history.rows[i].node;
                row->page_ms = a->history.rows[i].page_ms;
                row->peak = a->history.rows[i].peak;
                if (bytes > ROWS_BYTES) {
                        c->result->more = true;
                        break;
                }
                bytes += svmd__v1__history_row__get_packed_size(row);
                r->rows[r->n_rows++] = row;
        }
        return 0;
}
