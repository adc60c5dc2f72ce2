#include <errno.h>

#include "world.h"

/*
 * What the kernel does, as far as it matters (6.1): a page table entry maps the memfd's page; punching a page takes it
 * out of every page table and leaves markers where it was protected; UFFDIO_COPY adds page and entry at once and
 * refuses when the page is there; UFFDIO_CONTINUE without a mode maps writable and thereby drops a protection; a fault
 * is a message, and its thread sleeps until somebody wakes the address.
 */
static void block(struct world *w, struct thread *t, bool minor) {
        if (!t->waits)
                t->since = w->now;
        t->waits = true;
        t->blocked = t->unread = true;
        t->minor = minor;
        w->total.faults++;
}

/* Nothing is mapped. Without MINOR the kernel maps the memfd's page itself, and keeps the protection of a marker. */
static bool fault_in(struct world *w, struct process *p, struct thread *t, struct pte *pte) {
        struct range *r = &w->range[t->range];
        bool present = r->memfd[t->page].present;

        if (!present || !w->shortcuts.no_minor) {
                block(w, t, present);
                return false;
        }
        pte->present = true;
        pte->writable = !pte->protected && !p->readonly[t->range];
        return true;
}

static bool allowed(struct world *w, struct process *p, struct thread *t) {
        struct range *r = &w->range[t->range];
        struct pte *pte = &p->pte[t->range][t->page];

        if (pte->poisoned) { /* SIGBUS */
                if (!r->poison || (!r->revoked && !r->changing && !is_lost(r, t->page) && !r->sour[t->page / PAGES]))
                        world_fail(w, "SIGBUS in range %u page %u, which is not revoked", t->range, t->page);
                t->waits = false;
                return false;
        }
        if (!pte->present && !fault_in(w, p, t, pte))
                return false;
        if (t->write && !pte->writable) {
                block(w, t, false);
                return false;
        }
        return true;
}

void kernel_access(struct world *w, struct process *p, struct thread *t) {
        struct range *r = &w->range[t->range];
        struct page *page = &r->memfd[t->page];

        if (!allowed(w, p, t))
                return;
        t->waits = false;
        w->total.accesses++;
        if (!page->present)
                world_fail(w, "an entry of process %u maps page %u of range %u, which is a hole", p->index, t->page,
                           t->range);
        check_read(w, r, t->page, t->word, page->word[t->word], "a thread");
        if (t->write)
                page->word[t->word] = check_write(w, r, t->page, t->word);
}

void kernel_wake(struct process *p, uint32_t range, uint32_t first, uint32_t pages) {
        for (unsigned i = 0; i < THREADS; i++) {
                struct thread *t = &p->thread[i];

                if (t->blocked && t->range == range && t->page >= first && t->page < first + pages) {
                        t->blocked = t->unread = false;
                        t->retry = true;
                }
        }
}

void kernel_protect(struct pte *pte, bool on) {
        pte->protected = on;
        if (pte->present)
                pte->writable = !on;
}

/* MADV_DONTNEED: what was protected leaves a marker. */
void kernel_zap(struct pte *pte) {
        pte->present = pte->writable = false;
}

void kernel_punch(struct world *w, struct range *r, uint32_t page) {
        if (r->memfd[page].present)
                w->charged[r->memfd[page].cgroup]--;
        r->memfd[page].present = false;
        for (unsigned i = 0; i < PROCESSES; i++) {
                struct pte *pte = &w->process[i].pte[r->index][page];

                pte->present = pte->writable = false;
        }
}

bool kernel_charge(struct world *w, struct page *page, uint32_t cgroup) {
        if (w->charged[cgroup] >= w->limit[cgroup])
                return false;
        w->charged[cgroup]++;
        page->cgroup = (uint8_t)cgroup;
        page->present = true;
        return true;
}

int kernel_copy(struct world *w, struct process *p, struct range *r, uint32_t page, const uint64_t *words, bool protect,
                uint32_t host) {
        struct pte *pte = &p->pte[r->index][page];
        struct page *to = &r->memfd[page];

        if (to->present && !w->shortcuts.overwrite)
                return -EEXIST;
        if (!to->present && !kernel_charge(w, to, p->cgroup))
                return -ENOMEM;
        to->host = (uint8_t)(w->shortcuts.any_host ? 0 : host);
        for (unsigned i = 0; i < WORDS; i++)
                to->word[i] = words ? words[i] : 0;
        *pte = (struct pte){ .present = true, .writable = !protect, .protected = protect };
        return 0;
}

int kernel_continue(struct process *p, struct range *r, uint32_t page, bool protect) {
        struct pte *pte = &p->pte[r->index][page];

        if (!r->memfd[page].present)
                return -EFAULT;
        if (pte->present)
                return -EEXIST;
        *pte = (struct pte){
                .present = true,
                .writable = !protect && !p->readonly[r->index],
                .protected = protect,
        };
        return 0;
}
