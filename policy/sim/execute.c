#include <errno.h>

#include "policy/sim/world.h"

/*
 * Steps in simulated time. A step takes step_ns, and its bytes the time that the link between the two nodes needs: one
 * transfer after the other in each direction. Where two nodes have no link the bytes go over the first host. What
 * zeroes memory takes no time for it.
 */
enum { UNSTATED = 16000 };

static uint64_t transfer(struct world *w, uint64_t from_ns, uint32_t from, uint32_t to, uint64_t bytes) {
        uint32_t mb = w->machine->nodes[from].bandwidth[to];
        uint64_t begin = from_ns > w->link_free[from][to] ? from_ns : w->link_free[from][to];
        uint64_t ns = bytes * 1000 / (mb ? mb : UNSTATED);

        w->link_free[from][to] = begin + ns;
        w->tally->busy_ns[from][to] += ns;
        return begin + ns;
}

static uint32_t first_host(const struct world *w) {
        for (uint32_t i = 0; i < w->machine->count; i++)
                if (w->machine->nodes[i].host)
                        return i;
        return 0;
}

static uint64_t carry(struct world *w, uint32_t from, uint32_t to, uint64_t bytes) {
        uint32_t host = first_host(w);

        if (from == to || from >= w->machine->count || to >= w->machine->count)
                return w->now;
        if (w->machine->nodes[from].bandwidth[to] || from == host || to == host)
                return transfer(w, w->now, from, to, bytes);
        return transfer(w, transfer(w, w->now, from, host, bytes), host, to, bytes);
}

static uint32_t host_of(const struct range *r, const struct managed_step *s) {
        return r->host[s->granule] ? r->host[s->granule] - 1u : 0;
}

/* When its bytes are there. */
static uint64_t carried(struct world *w, const struct managed_step *s) {
        uint64_t bytes = (uint64_t)s->count * s->bytes;

        switch (s->type) {
        case MANAGED_COPY_IN:
        case MANAGED_WRITE_BACK: return carry(w, s->node, s->host, bytes);
        case MANAGED_COPY_OUT: return carry(w, host_of(s->range, s), s->node, bytes);
        case MANAGED_COPY_NODE: return carry(w, s->from, s->node, bytes);
        default: return w->now;
        }
}

void execute_some(struct world *w) {
        const struct managed_step *s;

        while (w->workers_free) {
                s = w->workers_free > 1 ? managed_take(w->engine) : managed_take_urgent(w->engine);
                if (!s && w->workers_free == w->options->workers)
                        s = managed_take(w->engine);
                if (!s)
                        return;
                w->workers_free--;
                happens_at(w, w->setup ? w->now : carried(w, s) + w->options->step_ns, STEP_DONE, (void *)s);
        }
}

/* ---- what they do ---- */

static uint8_t host_byte(const struct managed_step *s) {
        return (uint8_t)(s->host == MANAGED_NOWHERE ? 1 : s->host + 1);
}

static int in_process(struct world *w, const struct managed_step *s) {
        struct range *r = s->range;
        struct share *share = share_of(s->session, r->number);
        int k = 0;

        for (uint32_t i = s->granule; i < s->granule + s->count; i++) {
                uint8_t *pte = &share->pte[i];

                switch (s->type) {
                case MANAGED_WRITE_PROTECT: *pte |= PTE_PROTECTED; break;
                case MANAGED_UNPROTECT: *pte &= (uint8_t)~PTE_PROTECTED; break;
                case MANAGED_CONTINUE:
                        if (!r->host[i])
                                return -EFAULT;
                        *pte = PTE_MAPPED | (s->protect ? PTE_PROTECTED : 0);
                        break;
                case MANAGED_COPY_IN:
                case MANAGED_ZERO:
                        k = r->host[i] ? -EEXIST : k;
                        if (r->host[i])
                                break;
                        r->host[i] = host_byte(s);
                        *pte = PTE_MAPPED | (s->protect ? PTE_PROTECTED : 0);
                        break;
                default: break;
                }
        }
        return k;
}

static void punch(struct world *w, struct range *r, uint32_t i) {
        r->host[i] = 0;
        for (size_t k = 0; k < w->sessions_room; k++)
                if (w->sessions[k] && r->number < w->sessions[k]->shares_room && w->sessions[k]->shares[r->number].pte)
                        w->sessions[k]->shares[r->number].pte[i] = 0;
}

static void in_memfd(struct world *w, const struct managed_step *s) {
        struct range *r = s->range;

        for (uint32_t i = s->granule; i < s->granule + s->count; i++)
                switch (s->type) {
                case MANAGED_WRITE_BACK:
                case MANAGED_ALLOCATE: r->host[i] = r->host[i] ? r->host[i] : host_byte(s); break;
                case MANAGED_PUNCH_HOLE: punch(w, r, i); break;
                default: break;
                }
}

static bool wakes(const struct managed_step *s) {
        return s->session && (s->wake || s->type == MANAGED_WAKE || s->type == MANAGED_POISON);
}

void execute_done(struct world *w, const struct managed_step *step) {
        struct managed_step s = *step;
        int k = 0;

        w->workers_free++;
        if (s.session)
                k = in_process(w, &s);
        else if (s.range)
                in_memfd(w, &s);
        managed_complete(w->engine, step, k, w->now);
        if (wakes(&s))
                actors_wake(w, s.range, s.granule, s.count);
}
