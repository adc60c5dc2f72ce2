#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "world.h"

/*
 * The daemon around the engine: it keeps the records, reads userfaultfds, asks for things at random, and dies. What it
 * keeps over its death is what the real one's journal and keeper do: records, pins that were granted, whether a range
 * is revoked. Devices die with it.
 */
static const uint32_t bandwidth[NODES] = { 1000, 1000, 1000, 1000 };
static const uint32_t sizes[CLASS_SIZES] = { 4096, 65536, 2u << 20 };

static void on_intent(void *userdata, const struct managed_record *r) {
        struct world *w = userdata;
        struct range *range = r->range;

        check_record(w, range, r);
        w->total.duplicated += r->state == RESIDENCY_DUPLICATED;
        range->record[r->granule] = *r;
}

static void end_revoke(struct world *w, struct request *q, int result) {
        struct range *r = &w->range[q->range];

        if (result < 0)
                world_fail(w, "a revocation failed: %d", result);
        r->changing = false;
        for (unsigned g = 0; g < r->granules; g++)
                if (r->revoked && !r->pins[g] && result == 0 && r->record[g].state != RESIDENCY_REVOKED)
                        world_fail(w, "granule %u of range %u is revoked and %s", g, r->index,
                                   managed_state_name(r->record[g].state));
}

static void end_pin(struct world *w, struct request *q) {
        for (uint32_t g = q->first; g < q->first + q->count; g++)
                w->range[q->range].pins[g]++;
}

static void end_device(struct world *w, struct request *q, int result) {
        struct device_op *op = &w->op[q->first];

        if (result) {
                op->state = OP_IDLE;
                return;
        }
        op->state = OP_RUNNING;
        op->counted = true;
        op->through = w->shown[op->node][op->range][op->granule];
        op->dead = false;
        if (!op->through.valid || (op->write && !op->through.write))
                world_fail(w, "node %u was told that granule %u is shown", op->node, op->granule);
}

static void answer(struct world *w, struct request *q, int result) {
        struct range *r = &w->range[q->range];

        switch (q->type) {
        case REQUEST_DISCARD:
                for (uint32_t g = q->first; g < q->first + q->count; g++) {
                        check_discarded(r, g, q->began, result == 0);
                        r->sour[g] = r->sour[g] == 1 && result == 0 ? 0 : r->sour[g];
                }
                break;
        case REQUEST_REVOKE: end_revoke(w, q, result); break;
        case REQUEST_PIN: end_pin(w, q); break;
        case REQUEST_DEVICE: end_device(w, q, result); break;
        case REQUEST_MOVE:
        case REQUEST_DRAIN:
        case REQUEST_UNPIN:
        case REQUEST_NONE: break;
        }
        q->type = REQUEST_NONE;
        w->requests--;
}

/* Answers are acted on after the call: the engine may not be called from its own callbacks. */
static void on_done(void *userdata, uint64_t token, int result) {
        struct world *w = userdata;
        struct request *q = &w->request[token - 1];

        if (q->type == REQUEST_NONE)
                world_fail(w, "token %llu was answered twice", (unsigned long long)token);
        if (q->type == REQUEST_PIN && result) {
                if (result != MANAGED_E_REVOKED && result != MANAGED_E_LOST)
                        world_fail(w, "a pin failed: %d", result);
                q->type = REQUEST_UNPIN;
                return;
        }
        answer(w, q, result);
}

static void on_joined(void *userdata, void *session, void *range) {
        struct process *p = session;
        struct range *r = range;

        p->accessible[r->index] = p->alive && p->attached[r->index];
}

/* Decisions at random: nothing that the engine keeps may depend on them. */
static struct world *deciding;

static uint32_t random_place(const struct policy_machine *m, const struct policy_profile *p,
                             const struct policy_advice *advice, uint32_t accessor, uint64_t bytes,
                             const uint64_t *room) {
        return chance(deciding, 2) ? policy_place(m, p, advice, accessor, bytes, room) : below(deciding, NODES);
}

static enum policy_answer random_promote(const struct policy_machine *m, const struct policy_profile *p,
                                         const struct policy_advice *advice, const struct policy_granule *g,
                                         uint32_t accessor, enum policy_access access, uint64_t now_ns) {
        return chance(deciding, 2) ? POLICY_DUPLICATE : (enum policy_answer)below(deciding, 3);
}

static bool random_evict(const struct policy_machine *m, const struct policy_profile *p,
                         const struct policy_advice *advice, const struct policy_granule *g, uint64_t now_ns,
                         const uint64_t *room, uint32_t *ret_to) {
        *ret_to = below(deciding, NODES);
        return chance(deciding, 3);
}

static void little_prefetch(const struct policy_profile *p, const struct policy_advice *advice,
                            const struct policy_fault *f, struct policy_stream *stream, uint32_t *ret_first,
                            uint32_t *ret_count) {
        *ret_first = f->at;
        *ret_count = chance(deciding, 4) ? 3 : 0;
}

static enum policy_cure random_thrash(const struct policy_machine *m, const struct policy_profile *p,
                                      struct policy_thrash *t, const struct policy_granule *g, uint32_t accessor,
                                      uint64_t now_ns, uint64_t *ret_until_ns) {
        enum policy_cure cure = chance(deciding, 4) ? policy_pinned(t, now_ns) ? POLICY_STAY : POLICY_LET
                                                    : (enum policy_cure)below(deciding, 4);

        if ((cure == POLICY_STAY || cure == POLICY_HOST) && !policy_pinned(t, now_ns))
                t->until_ns = now_ns + below(deciding, 4000);
        t->bounced_ns = now_ns;
        *ret_until_ns = now_ns + below(deciding, 1000);
        deciding->total.cures += cure != POLICY_LET;
        return cure;
}

/* Allowances that are used up after a few granules, and as good as never fill again. */
void daemon_caps(struct world *w, bool on) {
        uint64_t rate = on ? 40ull * w->largest : 0;
        struct managed_flow flow;

        for (unsigned i = 1; i < NODES; i++) {
                managed_link_flow(w->engine, 0, i, &flow);
                w->total.put_off += on ? 0 : flow.put_off;
                if ((i > 1 || !on) && managed_link_cap(w->engine, 0, i, rate))
                        world_fail(w, "no cap");
        }
        for (unsigned i = 0; i < GROUPS; i++)
                managed_group_cap(w->engine, w->group[i].group, i ? 0 : rate);
}

/* An administrator's word, at any moment: another profile, which is gone when it was said, or another cap. */
void daemon_set(struct world *w) {
        struct policy_profile p = policy_profiles[below(w, policy_profiles_count)];
        struct managed_group *group = w->group[below(w, GROUPS)].group;
        uint64_t rate = chance(w, 2) ? (1 + below(w, 80)) * (uint64_t)w->largest : 0;

        p.settle_us = below(w, 3);
        p.window_us = 1 + below(w, 3);
        p.window_moves = below(w, 16);
        switch (below(w, 4)) {
        case 0: managed_profile(w->engine, &p); break;
        case 1: managed_group_profile(group, chance(w, 4) ? NULL : &p); break;
        case 2: managed_group_cap(w->engine, group, rate); break;
        default:
                if (managed_link_cap(w->engine, 0, 2 + below(w, NODES - 2), rate))
                        world_fail(w, "no cap");
        }
        memset(&p, 0xff, sizeof(p));
        w->total.set++;
}

static void make_engine(struct world *w) {
        static struct policy_profile profile;
        struct managed_config c = {
                .profile = &profile,
                .workers = 3,
                .session_steps = 2,
                .largest = w->largest,
                .warm = 2 * 65536,
                .continue_protects = w->continue_protects,
                .decide = { random_place, random_promote, random_evict, little_prefetch, random_thrash },
                .userdata = w,
                .intent = on_intent,
                .done = on_done,
                .joined = on_joined,
        };
        uint64_t granule = 65536, huge = w->largest == 65536 ? 0 : w->largest, reserve = 3ull * w->largest;

        deciding = w;
        profile = *policy_profile_default();
        profile.settle_us = 0;
        profile.window_us = 1;
        profile.window_moves = 8;
        if (managed_new(&w->engine, &c))
                world_fail(w, "no engine");
        managed_node_add(w->engine, true, false, 16 * granule + 4 * huge + reserve, 0, bandwidth);
        for (unsigned i = 1; i < NODES; i++)
                managed_node_add(w->engine, w->host[i], w->faults[i], 10 * granule + 2 * huge + reserve, !w->host[i],
                                 bandwidth);
        managed_node_shape(w->engine, 1, w->host[1] && w->far, NULL);
        for (unsigned i = 0; i < GROUPS; i++) {
                struct group *g = &w->group[i];

                if (managed_group_new(w->engine, &g->group))
                        world_fail(w, "no group");
                for (unsigned n = 0; n < NODES; n++)
                        managed_group_limit(w->engine, g->group, n, g->limit[n], w->now);
        }
        daemon_caps(w, true);
}

/* Limits at random, into which what the ranges have fits on any of the places, on devices alone, and without one. */
static void set_limits(struct world *w, unsigned group) {
        uint64_t unit = group ? w->range[3].bytes : 65536, none = 0;
        bool one_less = !group && chance(w, 4) && !w->host[1];
        struct group *g = &w->group[group];

        for (unsigned i = 1; i < NODES; i++)
                one_less &= !w->offline[i];
        if (one_less)
                none = 1 + below(w, NODES - 1);
        for (unsigned i = 0; i < NODES; i++) {
                uint64_t low = group ? 2 : i == 0 ? 6 : w->host[1] ? 7 : 5;

                g->limit[i] = (low + (one_less ? 4 : 0) + below(w, 4)) * unit;
                if (chance(w, 10))
                        g->limit[i] = UINT64_MAX;
                if (none && i == none)
                        g->limit[i] = 0;
        }
}

static void make_ranges(struct world *w) {
        for (unsigned i = 0; i < RANGES; i++) {
                struct range *r = &w->range[i];

                r->index = i;
                r->class = i == 1 ? 0 : i == 3 && w->largest > 65536 ? 2 : 1;
                r->bytes = sizes[r->class];
                r->granules = i == 3 ? 4 : GRANULES;
                r->poison = i == 2;
                if (managed_range_new(w->engine, &r->range, r, group_of(w, r) ? group_of(w, r)->group : NULL, r->bytes,
                                      r->granules, i % (CGROUPS - 1), r->poison))
                        world_fail(w, "no range");
                if (i % 2 == 0)
                        managed_range_ahead(r->range);
        }
}

void daemon_start(struct world *w) {
        w->range[3].bytes = w->largest;
        for (unsigned i = 0; i < GROUPS; i++)
                set_limits(w, i);
        make_engine(w);
        make_ranges(w);
        for (unsigned i = 0; i < RANGES; i++)
                for (unsigned g = 0; g < GRANULES; g++)
                        w->range[i].record[g] = (struct managed_record){
                                .range = &w->range[i],
                                .granule = g,
                                .node = MANAGED_NOWHERE,
                                .host = MANAGED_NOWHERE,
                        };
}

static void restore_sessions(struct world *w) {
        for (unsigned i = 0; i < PROCESSES; i++) {
                struct process *p = &w->process[i];

                p->known = p->alive;
                if (!p->alive)
                        continue;
                managed_session_new(w->engine, &p->session, p, p->cgroup);
                for (unsigned k = 0; k < RANGES; k++) {
                        if (p->attached[k] && p->accessible[k])
                                managed_rejoin(w->engine, p->session, w->range[k].range, p->readonly[k]);
                        else if (p->attached[k]) /* its request to attach was not answered */
                                process_detach(w, p, k);
                }
        }
}

static void forget(struct world *w) {
        memset(w->job, 0, sizeof(w->job));
        memset(w->shown, 0, sizeof(w->shown));
        memset(w->op, 0, sizeof(w->op));
        memset(w->request, 0, sizeof(w->request));
        w->requests = 0;
}

static struct request *request_new(struct world *w, enum request_type type, uint32_t range, uint64_t *ret_token) {
        for (uint32_t i = 0; i < sizeof(w->request) / sizeof(w->request[0]); i++) {
                struct request *q = &w->request[i];

                if (q->type != REQUEST_NONE)
                        continue;
                *q = (struct request){ .type = type, .range = range, .began = w->now };
                *ret_token = i + 1;
                w->requests++;
                return q;
        }
        return NULL;
}

static void restore_range(struct world *w, struct range *r) {
        for (unsigned g = 0; g < r->granules; g++) {
                if (managed_restore(w->engine, r->range, &r->record[g]))
                        world_fail(w, "granule %u of range %u is not restored", g, r->index);
                for (unsigned k = 0; k < r->pins[g]; k++)
                        if (managed_pin(w->engine, r->range, g, 1, 0, w->now))
                                world_fail(w, "granule %u of range %u is not pinned again", g, r->index);
        }
}

/* Revocations are requests that the daemon itself asks again. */
static void revoke_again(struct world *w, struct range *r) {
        uint64_t token = 0;

        if (!r->changing && !r->revoked)
                return;
        r->changing = true;
        request_new(w, REQUEST_REVOKE, r->index, &token);
        if (r->revoked)
                managed_revoke(w->engine, r->range, token, w->now);
        else
                managed_unrevoke(w->engine, r->range, token, w->now);
}

/* A new engine lets one granule more in than there was, if that was more than it would. */
static void restore_floors(struct world *w) {
        for (unsigned i = 0; i < GROUPS; i++)
                for (unsigned n = 0; n < NODES; n++) {
                        struct group *g = &w->group[i];
                        uint64_t used, floor;

                        managed_group_used(g->group, n, &used, NULL);
                        floor = used > 2 * w->largest ? used - 2 * w->largest : 0;
                        g->floor[n] = floor > g->floor[n] ? floor : g->floor[n];
                }
}

void daemon_kill(struct world *w) {
        w->total.kills++;
        restore_floors(w);
        for (unsigned i = 0; i < WORKERS; i++)
                for (uint32_t n = below(w, 4); w->job[i].step && !w->job[i].done && n; n--)
                        job_advance(w, &w->job[i]);
        managed_free(w->engine);
        forget(w);
        memset(w->offline, 0, sizeof(w->offline));
        make_engine(w);
        make_ranges(w);
        restore_sessions(w);
        for (unsigned i = 0; i < RANGES; i++)
                restore_range(w, &w->range[i]);
        w->restoring = true;
        if (managed_restored(w->engine, w->now))
                world_fail(w, "not restored");
        for (unsigned i = 0; i < RANGES; i++) {
                memset(w->range[i].discards, 0, sizeof(w->range[i].discards));
                for (unsigned g = 0; g < GRANULES; g++)
                        w->range[i].sour[g] = w->range[i].sour[g] ? 2 : 0;
                revoke_again(w, &w->range[i]);
        }
}

/* The dead daemon's discards may be ended by the punches of the restart, and by nothing after them. */
void daemon_calm(struct world *w) {
        if (w->restoring && managed_settled(w->engine))
                w->restoring = false;
        for (uint32_t i = 0; i < sizeof(w->request) / sizeof(w->request[0]); i++) {
                struct request *q = &w->request[i];

                if (q->type != REQUEST_UNPIN)
                        continue;
                managed_unpin(w->engine, w->range[q->range].range, q->first, q->count, w->now);
                q->type = REQUEST_NONE;
                w->requests--;
        }
}

void daemon_read(struct world *w, struct process *p) {
        struct thread *t = &p->thread[below(w, THREADS)];
        struct range *r = &w->range[t->range];
        struct pte *pte = &p->pte[t->range][t->page];
        enum residency state = r->record[t->page / PAGES].state;

        if (!t->unread || !p->known)
                return;
        t->unread = false;
        if ((w->shortcuts.trust_kind || (w->shortcuts.continue_copying && state == RESIDENCY_COPYING)) && t->minor) {
                kernel_continue(p, r, t->page, false);
                kernel_wake(p, t->range, t->page, 1);
                return;
        }
        if (w->shortcuts.trust_kind && pte->present && pte->protected) {
                kernel_protect(pte, false);
                kernel_wake(p, t->range, t->page, 1);
                return;
        }
        world_starve(w);
        if (managed_fault(w->engine, p->session, r->range, t->page / PAGES, t->write, t->minor, w->now) == -ENOMEM)
                t->unread = true; /* the worker gives it again */
        alloc_fail_off();
}

/* One of the allocations of the next call may fail, and all after it. */
void world_starve(struct world *w) {
        if (chance(w, 20))
                alloc_fail_at(1 + below(w, 8));
}

static void request_move(struct world *w, struct range *r, uint32_t first, uint32_t count) {
        enum managed_cause cause = chance(w, 3) ? MANAGED_BY_PREFETCH : MANAGED_BY_REQUEST;
        uint32_t to = below(w, NODES);
        uint64_t token = 0;
        struct request *q = request_new(w, REQUEST_MOVE, r->index, &token);

        if (!q)
                return;
        world_starve(w);
        if (managed_migrate(w->engine, r->range, first, count, to, cause, token, w->now))
                answer(w, q, -ENOMEM);
        alloc_fail_off();
}

static void request_evict(struct world *w, struct range *r, uint32_t first, uint32_t count) {
        uint64_t token = 0;
        struct request *q = request_new(w, REQUEST_MOVE, r->index, &token);

        if (!q)
                return;
        w->total.evictions++;
        world_starve(w);
        if (managed_evict(w->engine, r->range, first, count, token, w->now))
                answer(w, q, -ENOMEM);
        alloc_fail_off();
}

static void request_limits(struct world *w) {
        unsigned group = below(w, GROUPS);
        struct group *g = &w->group[group];

        w->total.limits++;
        set_limits(w, group);
        for (unsigned i = 0; i < NODES; i++) {
                uint64_t used;

                managed_group_used(g->group, i, &used, NULL);
                g->floor[i] = used > g->limit[i] ? used : 0;
                managed_group_limit(w->engine, g->group, i, g->limit[i], w->now);
        }
}

static void request_discard(struct world *w, struct range *r, uint32_t first, uint32_t count) {
        uint64_t token = 0;
        struct request *q = request_new(w, REQUEST_DISCARD, r->index, &token);

        if (!q)
                return;
        q->first = first;
        q->count = count;
        for (uint32_t g = first; g < first + count; g++) {
                r->discards[g]++;
                for (uint32_t i = 0; i < PAGES * WORDS; i++)
                        r->truth[g * PAGES + i / WORDS][i % WORDS].maybe_zero = true;
        }
        w->total.discards++;
        world_starve(w);
        if (managed_discard(w->engine, r->range, first, count, token, w->now))
                answer(w, q, -ENOMEM);
        alloc_fail_off();
}

static void request_pin(struct world *w, struct range *r, uint32_t granule) {
        uint64_t token = 0;
        struct request *q;
        int k;

        if (r->pins[granule]) {
                r->pins[granule]--;
                managed_unpin(w->engine, r->range, granule, 1, w->now);
                return;
        }
        q = r->revoked || r->changing ? NULL : request_new(w, REQUEST_PIN, r->index, &token);
        if (!q)
                return;
        q->first = granule;
        q->count = 1;
        world_starve(w);
        k = managed_pin(w->engine, r->range, granule, 1, token, w->now);
        alloc_fail_off();
        if (k) {
                q->type = REQUEST_NONE;
                w->requests--;
        }
}

static bool revocable(const struct world *w, const struct range *r) {
        for (unsigned i = 0; i < RANGES; i++)
                if (&w->range[i] != r && (w->range[i].revoked || w->range[i].changing))
                        return false;
        return !r->changing && !w->offline[1] && !w->offline[2] && !w->offline[3];
}

static void request_revoke(struct world *w, struct range *r) {
        uint64_t token = 0;

        if (!revocable(w, r) || !request_new(w, REQUEST_REVOKE, r->index, &token))
                return;
        r->changing = true;
        r->revoked = !r->revoked;
        w->total.revokes++;
        if (r->revoked)
                managed_revoke(w->engine, r->range, token, w->now);
        else
                managed_unrevoke(w->engine, r->range, token, w->now);
}

static void request_drain(struct world *w) {
        uint32_t node = 1 + below(w, NODES - 1);
        uint64_t token = 0;

        if (w->offline[node]) {
                w->offline[node] = false;
                managed_node_online(w->engine, node, w->now);
                return;
        }
        for (unsigned i = 0; i < NODES; i++)
                if (w->offline[i] || !w->group[0].limit[i])
                        return;
        for (unsigned i = 0; i < RANGES; i++)
                if (w->range[i].revoked || w->range[i].changing)
                        return;
        if (!request_new(w, REQUEST_DRAIN, 0, &token))
                return;
        w->offline[node] = true;
        managed_node_drain(w->engine, node, token, w->now);
}

/* A step that is out may still read what it was told to. */
static bool is_being_read(const struct world *w, uint32_t node, uint32_t class, uint32_t slot) {
        for (unsigned i = 0; i < WORKERS; i++) {
                const struct managed_step *s = w->job[i].step;
                bool copies = s && s->type == MANAGED_COPY_NODE;
                uint32_t from = copies ? s->from : s ? s->node : 0, from_slot = copies ? s->from_slot : s ? s->slot : 0;

                if (s && s->range && ((struct range *)s->range)->class == class && from == node && from_slot == slot)
                        return true;
        }
        return false;
}

/* A node vanishes: nothing that was there can be read any more. */
static void request_loss(struct world *w) {
        uint32_t node = 1 + below(w, NODES - 1);

        if (w->host[node])
                return;
        for (unsigned i = 0; i < NODES; i++)
                if (w->offline[i] || !w->group[0].limit[i])
                        return;
        for (unsigned i = 0; i < RANGES; i++)
                if (w->range[i].changing)
                        return;
        for (unsigned c = 0; c < CLASS_SIZES; c++)
                for (unsigned s = 0; s < SLOTS; s++)
                        if (!is_being_read(w, node, c, s))
                                memset(w->pool[node][c][s], 0xdd, sizeof(w->pool[node][c][s]));
        for (unsigned i = 0; i < DEVICE_OPS; i++)
                w->op[i].dead |= w->op[i].node == node || w->op[i].through.from == node;
        w->offline[node] = true;
        w->total.losses++;
        w->vanishes = node + 1;
        managed_node_lost(w->engine, node, w->now);
        w->vanishes = 0;
        check_loss(w, node);
}

void daemon_request(struct world *w) {
        struct range *r = &w->range[below(w, RANGES)];
        uint32_t first = below(w, r->granules), left = r->granules - first, count = 1 + below(w, left > 4 ? 4 : left);
        uint32_t what = below(w, 1000);

        if (w->requests > 20)
                return;
        if (what < 700)
                request_move(w, r, first, count);
        else if (what < 780)
                request_evict(w, r, first, count);
        else if (what < 800)
                request_limits(w);
        else if (what < 880)
                request_discard(w, r, first, chance(w, 2) ? 1 : count);
        else if (what < 940)
                request_pin(w, r, first);
        else if (what < 960)
                managed_unduplicate(w->engine, r->range, first, count, 0, w->now);
        else if (what < 970 || (r->revoked && what < 990))
                request_revoke(w, r);
        else if (what >= 997)
                request_loss(w);
        else if (what < 980 || w->offline[1] || w->offline[2] || w->offline[3])
                request_drain(w);
}

void process_start(struct world *w, struct process *p) {
        uint32_t index = (uint32_t)(p - w->process);

        *p = (struct process){ .index = index, .alive = true, .known = true, .cgroup = (uint8_t)below(w, CGROUPS - 1) };
        managed_session_new(w->engine, &p->session, p, p->cgroup);
}

void process_attach(struct world *w, struct process *p, uint32_t range) {
        int k;

        p->attached[range] = true;
        p->readonly[range] = chance(w, 4);
        memset(p->pte[range], 0, sizeof(p->pte[range]));
        k = managed_join(w->engine, p->session, w->range[range].range, p->readonly[range], w->now);
        if (k == -EAGAIN)
                process_detach(w, p, range);
        else if (k)
                world_fail(w, "join: %d", k);
        w->total.joins += k == 0;
}

/* The mapping goes; whoever waited in it does not any more. */
void process_detach(struct world *w, struct process *p, uint32_t range) {
        p->attached[range] = p->accessible[range] = false;
        memset(p->pte[range], 0, sizeof(p->pte[range]));
        for (unsigned i = 0; i < THREADS; i++)
                if (p->thread[i].range == range)
                        p->thread[i] = (struct thread){ 0 };
}

void process_die(struct world *w, struct process *p) {
        for (unsigned i = 0; i < RANGES; i++)
                process_detach(w, p, i);
        p->alive = false;
}

/* Sooner or later the daemon sees that the process is gone. */
void daemon_notice(struct world *w, struct process *p) {
        if (p->alive || !p->known)
                return;
        managed_session_end(w->engine, p->session, w->now);
        p->known = false;
}

static void device_touch(struct world *w, struct device_op *op) {
        struct range *r = &w->range[op->range];
        uint32_t page = op->granule * PAGES + below(w, PAGES), word = below(w, WORDS);
        uint64_t *at;

        if (op->dead)
                return;
        if (w->host[op->through.from]) {
                if (!r->memfd[page].present) {
                        world_fail(w, "node %u uses page %u of range %u, which is a hole", op->node, page, op->range);
                        return;
                }
                at = &r->memfd[page].word[word];
        } else
                at = &w->pool[op->through.from][r->class][op->through.slot][page % PAGES][word];
        check_read(w, r, page, word, *at, "a device");
        if (op->write)
                *at = check_write(w, r, page, word);
        w->total.device++;
}

static void device_ask(struct world *w, struct device_op *op) {
        struct translation *t;
        uint64_t token = 0;
        struct request *q;

        op->node = 1 + w->host[1] + below(w, NODES - 1 - w->host[1]);
        op->range = below(w, RANGES);
        op->granule = below(w, w->range[op->range].granules);
        op->write = chance(w, 2);
        op->since = w->now;
        t = &w->shown[op->node][op->range][op->granule];
        op->counted = managed_device_begin(w->engine, w->range[op->range].range, op->granule, op->node, op->write);
        if (op->counted || (w->shortcuts.no_invalidation && t->valid && (t->write || !op->write))) {
                op->state = OP_RUNNING;
                op->through = *t;
                op->dead = false;
                return;
        }
        q = request_new(w, REQUEST_DEVICE, op->range, &token);
        if (!q)
                return;
        q->first = (uint32_t)(op - w->op);
        op->state = OP_ASKING;
        world_starve(w);
        if (managed_device_access(w->engine, w->range[op->range].range, op->granule, op->node, op->write, token,
                                  w->now))
                answer(w, q, -ENOMEM);
        alloc_fail_off();
}

void device_run(struct world *w, struct device_op *op) {
        if (op->state == OP_IDLE && !w->quiesce)
                device_ask(w, op);
        else if (op->state == OP_RUNNING && !chance(w, 4))
                device_touch(w, op);
        else if (op->state == OP_RUNNING) {
                op->state = OP_IDLE;
                if (op->counted)
                        managed_device_end(w->engine, w->range[op->range].range, op->granule, w->now);
        }
}
