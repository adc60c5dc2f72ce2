#include "mover/place.h"

#include <linux/mempolicy.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mover/internal.h"

/*
 * On which NUMA node new pages of a range's memfd lie. The file has no policy of its own, so the kernel asks that of
 * the thread that takes the page: of the worker that copies, continues, writes or allocates. It prefers the node and
 * does not insist: when other programs have filled it, the page lies elsewhere rather than that somebody is killed for
 * it, and a range's granules lie as engine and ledger say while host nodes have what svmd was told that they have.
 *
 * Where all hosts are the same memory, and where the kernel refuses, nothing is preferred.
 */
enum { NODES = 1024, WORD = 8 * sizeof(long) };

static void prefer(int numa) {
        unsigned long nodes[NODES / WORD] = { 0 };
        static __thread int preferred = -1;

        if (numa == preferred || numa >= NODES)
                return;
        preferred = numa;
        if (numa < 0) {
                (void)syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0ul);
                return;
        }
        nodes[(unsigned)numa / WORD] = 1ul << ((unsigned)numa % WORD);
        (void)syscall(SYS_set_mempolicy, MPOL_PREFERRED, nodes, (unsigned long)NODES);
}

static bool takes_pages(const struct managed_step *step) {
        switch ((int)step->type) {
        case MANAGED_COPY_IN:
        case MANAGED_ZERO:
        case MANAGED_CONTINUE: /* of what was swapped out */
        case MANAGED_WRITE_BACK:
        case MANAGED_ALLOCATE: return step->host < MANAGED_NODES_MAX;
        default: return false;
        }
}

void place_prefer(struct mover *m, const struct managed_step *step) {
        prefer(takes_pages(step) ? m->nodes[step->host].node.numa : -1);
}
