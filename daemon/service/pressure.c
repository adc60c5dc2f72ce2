#include "service/pressure.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/text.h"
#include "core/lease.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "policy/share.h"
#include "service/internal.h"

#define ASKED_MS 2000u
#define PAUSE_MS 2000u
#define MS_NS    1000000ull
/* That are asked in a partition, those with most first. */
#define SESSIONS 256u

int pressure_init(struct service *svc) {
        svc->pressure = alloc_array(svc->options.machine->count + 1, sizeof(*svc->pressure));
        return svc->pressure ? 0 : -ENOMEM;
}

void pressure_fini(struct service *svc) {
        alloc_free(svc->pressure);
}

/* ---- whom ---- */

/* Its managed pages are above first: they leave by themselves. */
static struct policy_share share_of(struct service *svc, struct partition *p, uint32_t node) {
        const struct account *a = &p->accounts[node];
        uint64_t beside = limited_managed(svc, LIMITED_PARTITION(p), node);

        return (struct policy_share){
                .used = a->used,
                .min = policy_less(a->min, beside),
                .low = policy_less(a->low, beside),
                .high = a->high,
        };
}

static uint64_t tell(struct service *svc, struct partition *p, uint32_t node, const struct session *who,
                     uint64_t bytes) {
        const struct limited of = LIMITED_PARTITION(p);
        uint64_t left = bytes;
        unsigned count = 0;

        for (struct session *s = NULL; left > 0 && count < SESSIONS && (s = limited_largest(svc, of, node, s));
             count++) {
                uint64_t part = session_used(s, node) < left ? session_used(s, node) : left;

                if (s == who)
                        continue;
                event_give_back(svc, s, node, part, ASKED_MS);
                left -= part;
        }
        return bytes - left;
}

static void say(struct service *svc, const struct partition *p, uint32_t node, uint64_t bytes) {
        const char *name = node_desc(svc, node)->name;
        char text[24];

        text_bytes(text, sizeof(text), bytes);
        event_condition(svc, "pressure", p->name->text, node, bytes,
                        "%s is full: sessions of partition %s are asked for %s", name, p->name->text, text);
}

/* All partitions, and what each is asked for. */
struct asking {
        struct partition **partitions;
        struct policy_share *shares;
        uint64_t *asked;
        uint32_t count;
};

static int list_partitions(struct service *svc, uint32_t node, struct asking *a) {
        uint64_t most = svc->state.partitions_count;

        a->partitions = alloc_array(most + 1, sizeof(*a->partitions));
        a->shares = alloc_array(most + 1, sizeof(*a->shares));
        a->asked = alloc_array(most + 1, sizeof(*a->asked));
        if (!a->partitions || !a->shares || !a->asked)
                return -ENOMEM;
        for (struct partition *p = partition_after(&svc->state, ""); p && a->count < most;
             p = partition_after(&svc->state, p->name->text)) {
                if (p->accounts[node].used == 0)
                        continue;
                a->partitions[a->count] = p;
                a->shares[a->count++] = share_of(svc, p, node);
        }
        return 0;
}

static uint64_t ask(struct service *svc, uint32_t node, const struct session *who, uint64_t missing) {
        struct asking a = { 0 };
        uint64_t sum = 0;

        if (list_partitions(svc, node, &a) == 0) {
                policy_ask(a.shares, a.count, missing, a.asked);
                for (uint32_t i = 0; i < a.count; i++) {
                        uint64_t told = a.asked[i] ? tell(svc, a.partitions[i], node, who, a.asked[i]) : 0;

                        if (told > 0)
                                say(svc, a.partitions[i], node, told);
                        sum += told;
                }
        }
        alloc_free(a.partitions);
        alloc_free(a.shares);
        alloc_free(a.asked);
        return sum;
}

/* ---- rounds ---- */

uint64_t pressure_ask(struct service *svc, uint32_t node, const struct session *who, uint64_t missing) {
        struct pressure *p = &svc->pressure[node];
        uint64_t now = keeping_now(svc);

        if (svc->closing || svc->starting || missing == 0)
                return 0;
        if (p->until_ns)
                return p->asked;
        if (now < p->again_ns)
                return 0;
        p->again_ns = now + PAUSE_MS * MS_NS;
        p->asked = ask(svc, node, who, missing);
        if (!p->asked)
                return 0;
        p->until_ns = now + ASKED_MS * MS_NS;
        p->again_ns = p->until_ns + PAUSE_MS * MS_NS;
        p->used = svc->state.nodes[node].account.used;
        service_wake_at(svc, p->until_ns, now);
        return p->asked;
}

static void look(struct service *svc, uint32_t node, uint64_t now) {
        struct pressure *p = &svc->pressure[node];
        uint64_t came = policy_less(p->used, svc->state.nodes[node].account.used);
        char asked[24], given[24];

        if (!p->until_ns)
                return;
        if (came < p->asked && now < p->until_ns) {
                service_wake_at(svc, p->until_ns, now);
                return;
        }
        p->until_ns = 0;
        text_bytes(asked, sizeof(asked), p->asked);
        text_bytes(given, sizeof(given), came);
        event_condition(svc, "pressure", "", node, came, "%s: %s of %s that was asked for came back",
                        node_desc(svc, node)->name, came ? given : "nothing", asked);
}

/* Of those in line, only such as nobody stands before, and whose limits allow it. */
static void ask_for_line(struct service *svc) {
        list_for_each (l, &svc->leases.line.waiting) {
                const struct lease *lease = container_of(l, struct lease, admission.by_line);

                if (!lease->admission.front || admission_too_much(&lease->admission))
                        continue;
                for (uint32_t i = 0; i < lease->admission.count; i++) {
                        const struct admission_need *n = &lease->needs[i];
                        uint32_t node = lease->nodes[i].node;
                        uint64_t room = account_room_at(n->account, &svc->state.nodes[node].account);

                        if (n->bytes > room)
                                pressure_ask(svc, node, lease->session, n->bytes - room);
                }
        }
}

void pressure_collect(struct service *svc) {
        uint64_t now = keeping_now(svc);

        if (svc->closing || svc->starting)
                return;
        for (uint32_t i = 0; i < svc->options.machine->count; i++)
                look(svc, i, now);
        ask_for_line(svc);
}
