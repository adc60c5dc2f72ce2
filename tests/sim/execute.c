#include <errno.h>
#include <string.h>

#include "world.h"

/*
 * What workers do, a page or a word at a time, with anything else in between; and the shortcuts, each of which is a
 * way to do a step wrong.
 */
static uint64_t *slot_page(struct world *w, uint32_t node, const struct range *r, uint32_t slot, uint32_t page) {
        return w->pool[node][r->class][slot][page % PAGES];
}

static struct range *range_of(const struct managed_step *s) {
        return s->range;
}

static void finish(struct world *w, struct job *j, int result) {
        const struct managed_step *s = j->step;
        struct process *p = s->session;

        j->done = true;
        j->result = result;
        if (p && result != -ESRCH && result != -EAGAIN &&
            (s->wake || s->type == MANAGED_WAKE || s->type == MANAGED_POISON))
                kernel_wake(p, range_of(s)->index, s->granule * PAGES, s->count * PAGES);
}

/* The record that this step comes after. */
static void expect(struct world *w, const struct managed_step *s, unsigned states) {
        enum residency state = range_of(s)->record[s->granule].state;

        if (is_lost(range_of(s), s->granule * PAGES)) /* while the step was out */
                return;
        if (!(states & 1u << state))
                world_fail(w, "step %u of granule %u of range %u in %s", s->type, s->granule, range_of(s)->index,
                           managed_state_name(state));
}

#define IN(x) (1u << RESIDENCY_##x)

static void check_order(struct world *w, const struct managed_step *s) {
        switch (s->type) {
        case MANAGED_PUNCH_HOLE: expect(w, s, IN(PUNCHING) | IN(EMPTY)); break;
        case MANAGED_COPY_IN: expect(w, s, IN(FILLING)); break;
        case MANAGED_ZERO: expect(w, s, IN(FILLING) | IN(RESIDENT) | IN(DUPLICATED)); break;
        case MANAGED_MERGE: expect(w, s, IN(FILLING)); break;
        case MANAGED_WRITE_BACK: expect(w, s, IN(WRITING)); break;
        case MANAGED_COPY_OUT: expect(w, s, IN(COPYING) | IN(DUPLICATED)); break;
        case MANAGED_CONTINUE: expect(w, s, IN(RESIDENT) | IN(CONTINUING) | IN(DUPLICATED)); break;
        default: break;
        }
}

static void unprotect_everywhere(struct world *w, const struct managed_step *s) {
        for (unsigned i = 0; i < PROCESSES; i++)
                for (uint32_t page = s->granule * PAGES; page < (s->granule + 1) * PAGES; page++)
                        if (!w->process[i].readonly[range_of(s)->index])
                                kernel_protect(&w->process[i].pte[range_of(s)->index][page], false);
}

static int in_process(struct world *w, struct job *j, uint32_t page) {
        const struct managed_step *s = j->step;
        struct range *r = range_of(s);
        struct process *p = s->session;
        struct pte *pte = &p->pte[r->index][page];
        uint64_t *from = s->type == MANAGED_COPY_IN ? slot_page(w, s->node, r, s->slot, page) : NULL;
        int k = 0;

        if (!p->alive || !p->attached[r->index])
                return -ESRCH;
        switch (s->type) {
        case MANAGED_WRITE_PROTECT:
                if (!w->shortcuts.no_protection)
                        kernel_protect(pte, true);
                break;
        case MANAGED_UNPROTECT: kernel_protect(pte, false); break;
        case MANAGED_CONTINUE:
                if (s->protect && !w->continue_protects)
                        world_fail(w, "CONTINUE with a mode that the kernel has not");
                k = kernel_continue(p, r, page, s->protect);
                k = k == -EEXIST ? 0 : k;
                break;
        case MANAGED_COPY_IN:
        case MANAGED_ZERO:
                if (p->readonly[r->index])
                        world_fail(w, "COPY into a read-only mapping");
                k = chance(w, 200) ? -ENOMEM : kernel_copy(w, p, r, page, from, s->protect, s->host);
                w->total.enomem += k == -ENOMEM;
                break;
        case MANAGED_POISON:
                if (!pte->present && !r->memfd[page].present)
                        pte->poisoned = true;
                break;
        default: break;
        }
        return k;
}

static int in_memfd(struct world *w, struct job *j, uint32_t page, uint32_t word) {
        const struct managed_step *s = j->step;
        struct range *r = range_of(s);
        struct page *m = &r->memfd[page];

        switch (s->type) {
        case MANAGED_WRITE_BACK:
                if (chance(w, 200))
                        return -ENOMEM;
                if (!m->present) {
                        kernel_charge(w, m, CGROUPS - 1);
                        m->host = (uint8_t)s->host;
                }
                memcpy(m->word, slot_page(w, s->node, r, s->slot, page), sizeof(m->word));
                break;
        case MANAGED_ALLOCATE:
                if (chance(w, 200))
                        return -ENOMEM;
                if (!m->present) {
                        kernel_charge(w, m, CGROUPS - 1);
                        m->host = (uint8_t)s->host;
                        memset(m->word, 0, sizeof(m->word));
                }
                break;
        case MANAGED_COPY_OUT:
                if (chance(w, 2000))
                        return -EIO;
                slot_page(w, s->node, r, s->slot, page)[word] = m->present ? m->word[word] : 0;
                break;
        case MANAGED_MERGE:
                if (m->present)
                        slot_page(w, s->node, r, s->slot, page)[word] = m->word[word];
                break;
        case MANAGED_PUNCH_HOLE: kernel_punch(w, r, page); break;
        case MANAGED_COPY_NODE:
                slot_page(w, s->node, r, s->slot, page)[word] = slot_page(w, s->from, r, s->from_slot, page)[word];
                break;
        case MANAGED_ZERO_SLOT:
                if (!w->shortcuts.stale_slot)
                        memset(slot_page(w, s->node, r, s->slot, page), 0, WORDS * sizeof(uint64_t));
                break;
        default: break;
        }
        return 0;
}

static bool by_word(enum managed_step_type t) {
        return t == MANAGED_COPY_OUT || t == MANAGED_MERGE || t == MANAGED_COPY_NODE;
}

static void at_once(struct world *w, struct job *j) {
        const struct managed_step *s = j->step;
        struct range *r = range_of(s);

        switch (s->type) {
        case MANAGED_INVALIDATE:
                if (!w->shortcuts.no_invalidation)
                        w->shown[s->node][r->index][s->granule].valid = false;
                break;
        case MANAGED_NODE_MAP:
                w->shown[s->node][r->index][s->granule] =
                        (struct translation){ .valid = true, .write = s->write, .from = s->from, .slot = s->from_slot };
                break;
        case MANAGED_SLOT_FREE: {
                unsigned class = s->bytes == 4096 ? 0 : s->bytes == 65536 ? 1 : 2;

                memset(w->pool[s->node][class][s->slot], 0xee, sizeof(w->pool[0][0][0]));
                break;
        }
        case MANAGED_WAKE: {
                struct process *p = s->session;

                if (!p->alive || !p->attached[r->index]) {
                        finish(w, j, -ESRCH);
                        return;
                }
                break;
        }
        default: break;
        }
        finish(w, j, 0);
}

static void count(struct world *w, const struct managed_step *s) {
        w->total.steps++;
        w->total.outs += s->type == MANAGED_COPY_OUT;
        w->total.rehosted += s->type == MANAGED_COPY_OUT && w->host[s->node];
        w->total.ins += s->type == MANAGED_COPY_IN;
        w->total.moves += s->type == MANAGED_COPY_NODE;
        w->total.written_back += s->type == MANAGED_WRITE_BACK;
        w->total.merged += s->type == MANAGED_MERGE;
}

/* The next page or word of the step, or its end. */
void job_advance(struct world *w, struct job *j) {
        const struct managed_step *s = j->step;
        uint32_t words = by_word(s->type) ? WORDS : 1, page = s->granule * PAGES + j->at / words;
        int k;

        if (s->type == MANAGED_INVALIDATE || s->type == MANAGED_NODE_MAP || s->type == MANAGED_SLOT_FREE ||
            s->type == MANAGED_WAKE) {
                count(w, s);
                at_once(w, j);
                return;
        }
        if (j->at == 0) {
                count(w, s);
                check_order(w, s);
                if (s->type == MANAGED_PUNCH_HOLE && w->shortcuts.unprotect_first)
                        unprotect_everywhere(w, s);
        }
        if (chance(w, 100)) {
                finish(w, j, -EAGAIN);
                return;
        }
        if (j->at == 0 && s->type == MANAGED_PUNCH_HOLE && w->shortcuts.unprotect_first && !j->result) {
                j->result = 1; /* the punch is a call of its own */
                return;
        }
        k = s->session ? in_process(w, j, page) : in_memfd(w, j, page, j->at % words);
        if (k == -EEXIST)
                j->result = -EEXIST;
        else if (k) {
                finish(w, j, k);
                return;
        }
        if (++j->at == s->count * PAGES * words)
                finish(w, j, j->result > 0 ? 0 : j->result);
}
