#include "service/giveback.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/capacity.h"
#include "service/chain.h"
#include "service/internal.h"

/* Above high, and where nobody says otherwise. */
#define ASKED_MS 2000u
/* Without that anything leaves for so long, nothing will. */
#define PATIENCE_NS 2000000000ull
#define MS_NS       1000000ull
#define SESSIONS    256u

struct give_back {
        struct list link;    /* in svc->give_backs.active */
        struct list watched; /* likewise */
        struct limited of;
        uint32_t node, count; /* count: how many there are beside one another */
        bool by_max, steal;   /* else it is its high that counts */
        bool told, taking;
        uint64_t was_max; /* before it was lowered */
        uint64_t wait_ms, until_ns, least, since_ns;
        uint64_t in_vain; /* was used when nothing more left: only more than that is asked for again */
};

int give_backs_make(struct service *svc, struct limited of) {
        uint32_t count = svc->options.machine->count;
        struct give_back **all = limited_give_backs(of);

        if (*all)
                return 0;
        *all = alloc_array(count, sizeof(**all));
        if (!*all)
                return -ENOMEM;
        for (uint32_t i = 0; i < count; i++) {
                (*all)[i] = (struct give_back){ .of = of, .node = i, .count = count };
                list_init(&(*all)[i].link);
                list_init(&(*all)[i].watched);
        }
        return 0;
}

void give_backs_free(struct limited of) {
        struct give_back **all = limited_give_backs(of);

        for (uint32_t i = 0; *all && i < (*all)->count; i++) {
                list_remove(&(*all)[i].link);
                list_remove(&(*all)[i].watched);
        }
        alloc_free(*all);
        *all = NULL;
}

static struct give_back *give_back_of(struct limited of, uint32_t node) {
        struct give_back *all = *limited_give_backs(of);

        return all ? &all[node] : NULL;
}

/* ---- how much ---- */

static uint64_t used_by(struct limited of, uint32_t node) {
        const struct account *a = limited_account(of, node);

        return a ? a->used : 0;
}

static uint64_t above(struct service *svc, struct limited of, uint32_t node, uint64_t bound) {
        uint64_t used = used_by(of, node) + limited_managed(svc, of, node);

        return used > bound ? used - bound : 0;
}

static uint64_t bound_of(const struct give_back *g) {
        const struct account *a = limited_account(g->of, g->node);

        return g->by_max || a->max < a->high ? a->max : a->high;
}

/* ---- asking ---- */

static const char *partition_of(struct limited of) {
        const struct partition *p = of.session ? of.session->partition : of.partition;

        return p ? p->name->text : "";
}

static void say_asked(struct service *svc, const struct give_back *g, uint64_t bytes) {
        const char *partition = partition_of(g->of), *node = node_desc(svc, g->node)->name;
        char text[24], whose[LIMITED_NAME];

        limited_name(g->of, whose);
        text_bytes(text, sizeof(text), bytes);
        message(MESSAGE_PRESSURE,
                FIELDS(FIELD_TEXT("SVMD_WHOSE", whose), FIELD_TEXT("SVMD_PARTITION", partition),
                       FIELD_TEXT("SVMD_NODE", node), FIELD_NUMBER("SVMD_BYTES", bytes)),
                "%s is above its bound on %s: sessions are asked for %s", whose, node, text);
        event_condition(svc, "pressure", partition, g->node, bytes, "%s: sessions are asked for %s on %s", whose, text,
                        node);
}

static void ask(struct service *svc, struct give_back *g, uint64_t bytes, uint64_t now) {
        uint64_t asked = bytes;
        unsigned count = 0;

        for (struct session *s = NULL; bytes > 0 && count < SESSIONS && (s = limited_largest(svc, g->of, g->node, s));
             count++) {
                uint64_t part = session_used(s, g->node) < bytes ? session_used(s, g->node) : bytes;

                event_give_back(svc, s, g->node, part, g->wait_ms);
                bytes -= part;
        }
        say_asked(svc, g, asked - bytes);
        g->told = true;
        g->until_ns = count > 0 ? now + g->wait_ms * MS_NS : now;
}

void give_back_begin(struct service *svc, struct limited of, uint32_t node, uint64_t max, uint64_t wait_ms,
                     bool steal) {
        struct give_back *g = give_back_of(of, node);

        if (!g || above(svc, of, node, max) == 0)
                return;
        if (list_empty(&g->link))
                list_push_back(&svc->give_backs.active, &g->link);
        g->was_max = limited_account(of, node)->max;
        g->by_max = true;
        g->steal = steal;
        g->told = g->taking = false;
        g->wait_ms = wait_ms;
        chain_limit_changed(of, node);
        service_wake_soon(svc);
}

static void check_high(struct service *svc, struct give_back *g) {
        const struct account *a = limited_account(g->of, g->node);

        if (!list_empty(&g->link) || svc->closing)
                return;
        if (a->used <= a->high)
                g->in_vain = 0;
        if (a->used <= a->high || a->used <= g->in_vain)
                return;
        list_push_back(&svc->give_backs.active, &g->link);
        g->by_max = g->steal = g->told = g->taking = false;
        g->wait_ms = ASKED_MS;
        if (!svc->starting)
                service_wake_soon(svc);
}

void give_back_bounds(struct service *svc, struct limited of, uint32_t node) {
        struct give_back *g = give_back_of(of, node);

        if (!g)
                return;
        list_remove(&g->watched);
        if (limited_account(of, node)->high == ACCOUNT_NO_LIMIT)
                return;
        list_push_back(&svc->give_backs.watched, &g->watched);
        check_high(svc, g);
}

void give_back_changed(struct service *svc, struct partition *p, uint32_t node) {
        struct give_back *own = give_back_of(LIMITED_PARTITION(p), node);

        if (own)
                check_high(svc, own);
        list_for_each (l, &svc->give_backs.watched) {
                struct give_back *g = container_of(l, struct give_back, watched);

                if (g->node == node)
                        check_high(svc, g);
        }
}

uint64_t give_back_limit(struct limited of, uint32_t node, uint64_t max) {
        const struct give_back *g = give_back_of(of, node);

        if (!g || list_empty(&g->link))
                return max;
        if (g->taking)
                return bound_of(g);
        return g->by_max ? g->was_max : max;
}

/* ---- taking ---- */

static void taking_changed(struct service *svc, const struct give_back *g) {
        chain_limit_changed(g->of, g->node);
        capacity_changed(svc, g->of.partition, g->node);
}

static void end(struct service *svc, struct give_back *g, uint64_t left) {
        const char *partition = partition_of(g->of), *name = node_desc(svc, g->node)->name;
        char bytes[24], whose[LIMITED_NAME];

        limited_name(g->of, whose);
        list_remove(&g->link);
        g->in_vain = left ? used_by(g->of, g->node) : 0;
        taking_changed(svc, g);
        text_bytes(bytes, sizeof(bytes), left);
        if (g->by_max && left > 0)
                message(MESSAGE_LEFT_ABOVE,
                        FIELDS(FIELD_TEXT("SVMD_WHOSE", whose), FIELD_TEXT("SVMD_PARTITION", partition),
                               FIELD_TEXT("SVMD_NODE", name), FIELD_NUMBER("SVMD_BYTES", left)),
                        "%s: %s more than its limit stays on %s; svmd-ctl usage says whose", whose, bytes, name);
        event_condition(svc, "give-back", partition, g->node, left, "%s: %s is left above its bound on %s", whose,
                        left ? bytes : "nothing", name);
}

static bool somebody_ends(const struct service *svc, struct limited of) {
        for (struct session *s = limited_session_after(svc, of, NULL); s; s = limited_session_after(svc, of, s))
                if (s->ending)
                        return true;
        return false;
}

static void end_session(struct service *svc, const struct give_back *g, struct session *s) {
        char whose[LIMITED_NAME], why[LIMITED_NAME + 80];

        limited_name(g->of, whose);
        log_info("%s: session %" PRIu64 " (pid %u) ends: its limit on %s was lowered, and it gave nothing back", whose,
                 s->object.id, s->pid, node_desc(svc, g->node)->name);
        snprintf(why, sizeof(why), "the limit of %s was lowered, and memory was not given back in time", whose);
        service_session_kick(svc, s, SVMD_STATUS_GONE, why);
}

/* True: it goes on by itself, or by this; `g` may have ended with its session. */
static bool take(struct service *svc, struct give_back *g, uint64_t over) {
        uint64_t now = clock_ns(CLOCK_MONOTONIC);
        struct session *s;

        if (!g->taking) {
                g->taking = true;
                g->least = over;
                g->since_ns = now;
                taking_changed(svc, g);
        }
        if (over < g->least) {
                g->least = over;
                g->since_ns = now;
        }
        if (spill_lower(svc, g->node, limited_account(g->of, g->node), over) || somebody_ends(svc, g->of))
                return true;
        if (limited_managed(svc, g->of, g->node) > 0 && now - g->since_ns < PATIENCE_NS)
                return true;
        s = g->steal ? limited_largest(svc, g->of, g->node, NULL) : NULL;
        if (s)
                end_session(svc, g, s);
        return s != NULL;
}

/* True: it is to be looked at again soon. */
static bool step(struct service *svc, struct give_back *g, uint64_t now) {
        uint64_t over = above(svc, g->of, g->node, bound_of(g));

        if (over == 0) {
                end(svc, g, 0);
                return false;
        }
        if (!g->told)
                ask(svc, g, over, now);
        if (now < g->until_ns) {
                service_wake_at(svc, g->until_ns, now);
                return false;
        }
        if (take(svc, g, over))
                return true;
        end(svc, g, over);
        return false;
}

/* With a session that ends others in the list end, too. */
void give_backs_collect(struct service *svc) {
        bool soon = false;
        struct list todo;

        if (svc->starting || svc->closing || list_empty(&svc->give_backs.active))
                return;
        list_init(&todo);
        while (!list_empty(&svc->give_backs.active)) {
                struct list *l = svc->give_backs.active.next;

                list_remove(l);
                list_push_back(&todo, l);
        }
        while (!list_empty(&todo)) {
                struct list *l = todo.next;

                list_remove(l);
                list_push_back(&svc->give_backs.active, l);
                soon |= step(svc, container_of(l, struct give_back, link), keeping_now(svc));
        }
        if (soon)
                service_wake_soon(svc);
}

/* ---- the plan ---- */

struct way_down {
        struct call *call;
        uint32_t node;
        int error;
};

/* Of at most `left` bytes; returns those. */
static uint64_t add(struct way_down *p, Svmd__V1__PlanKind kind, const struct session *s, uint64_t bytes,
                    uint64_t left) {
        if (bytes > left)
                bytes = left;
        if (bytes > 0 && p->error == 0)
                p->error = plan_step(p->call, p->node, kind, s, bytes);
        return bytes;
}

uint64_t spillable(const struct service *svc, struct limited of, uint32_t node, const struct session *s) {
        uint64_t sum = 0;

        list_for_each (l, &svc->state.nodes[node].memories) {
                const struct memory *m = container_of(l, struct memory, by_node);

                if (m->creator.session == s && (s || m->partition == of.partition))
                        sum += m->size;
        }
        return sum;
}

static void add_steps(struct way_down *plan, struct limited of, uint64_t over) {
        struct service *svc = plan->call->svc;
        uint64_t asked = over, left = over;
        uint32_t node = plan->node;

        for (struct session *s = NULL; asked > 0 && (s = limited_largest(svc, of, node, s));)
                asked -= add(plan, SVMD__V1__PLAN_KIND__PLAN_GIVE_BACK, s, session_used(s, node), asked);
        left -= add(plan, SVMD__V1__PLAN_KIND__PLAN_EVICT, NULL, limited_managed(svc, of, node), left);
        left -= add(plan, SVMD__V1__PLAN_KIND__PLAN_SPILL, NULL, spillable(svc, of, node, NULL), left);
        for (struct session *s = NULL; left > 0 && (s = limited_largest(svc, of, node, s));)
                left -= add(plan, SVMD__V1__PLAN_KIND__PLAN_SPILL, s, spillable(svc, of, node, s), left);
        for (struct session *s = NULL; left > 0 && (s = limited_largest(svc, of, node, s));)
                left -= add(plan, SVMD__V1__PLAN_KIND__PLAN_STEAL, s,
                            session_used(s, node) - spillable(svc, of, node, s), left);
        add(plan, SVMD__V1__PLAN_KIND__PLAN_STAYS, NULL, left, left);
}

int plan_begin(struct call *c) {
        Svmd__V1__PlanResult *plan;

        if (c->result->detail_case == SVMD__V1__RESULT__DETAIL_PLAN)
                return 0;
        plan = call_take(c, sizeof(*plan));
        if (!plan)
                return -ENOMEM;
        svmd__v1__plan_result__init(plan);
        plan->steps = call_take(c, SESSIONS * sizeof(*plan->steps));
        if (!plan->steps)
                return -ENOMEM;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_PLAN;
        c->result->plan = plan;
        return 0;
}

int plan_step(struct call *c, uint32_t node, Svmd__V1__PlanKind kind, const struct session *s, uint64_t bytes) {
        Svmd__V1__PlanResult *plan = c->result->plan;
        Svmd__V1__PlanStep *step;

        if (plan->n_steps == SESSIONS)
                return 0;
        step = call_take(c, sizeof(*step));
        if (!step)
                return -ENOMEM;
        svmd__v1__plan_step__init(step);
        step->node = node;
        step->kind = kind;
        step->bytes = bytes;
        if (s) {
                step->session = s->object.id;
                step->pid = s->pid;
                step->client = call_string(c, s->client ? s->client : "");
        }
        plan->steps[plan->n_steps++] = step;
        return 0;
}

int give_back_plan(struct call *c, struct limited of, uint32_t node, uint64_t max) {
        struct way_down plan = { .call = c, .node = node };
        uint64_t over = above(c->svc, of, node, max);
        int r = plan_begin(c);

        if (r == 0 && over > 0)
                add_steps(&plan, of, over);
        return r ? r : plan.error;
}
