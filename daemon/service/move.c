#include "service/move.h"

#include <errno.h>
#include <string.h>

#include "backend/memfile.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "core/memory.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/spill.h"

/*
 * A move holds a second place with its own charge, as memory without a number: where the object goes, and when it is
 * there, what it has left.
 *
 *      waits for granules to leave --> job: pages are taken, bytes copied --> places exchanged, journaled --> settled
 *                                                                                          commit: old place given up
 *
 * The job runs in the lane of the object's own node, as all giving back of both places does. So whoever frees the
 * object in the meantime need not wait: its extents are another's at once, and their pages are given back, and taken
 * again, behind the copy.
 */

/* ---- the job ---- */

static int copy(struct move *v) {
        const struct memory *pool = v->in ? v->other : v->source, *host = v->in ? v->source : v->other;
        const struct memfile *pool_file = v->in ? v->to : v->from, *host_file = v->in ? v->from : v->to;
        char *base = memfile_base(memfile_slot(pool_file));
        uint64_t at = memory_extent(host, 0)->start - FILE_BASE;
        const struct va_extent *e;
        int r = 0;

        for (uint32_t i = 0; r == 0 && (e = memory_extent(pool, i)); at += e->size, i++) {
                char *p = base + (e->start - FILE_BASE);

                r = v->in ? memfile_read(memfile_slot(host_file), at, p, e->size)
                          : memfile_write(memfile_slot(host_file), at, p, e->size);
        }
        return r;
}

static void move_run(struct job *job) {
        struct move *v = container_of(job, struct move, job);

        v->result = memory_commit_pages(v->other);
        v->committed = v->result == 0;
        if (v->committed)
                v->result = copy(v);
}

static void move_free(struct service *svc, struct move *v, bool committed) {
        if (v->memory)
                v->memory->move = NULL;
        list_remove(&v->link);
        memory_discard(svc, v->other, committed);
        alloc_free(v->effect);
        alloc_free(v);
}

/* It stays where it was. */
static void move_failed(struct service *svc, struct move *v) {
        struct memory *m = v->memory;
        bool in = v->in;

        if (m && in)
                m->stuck = v->result;
        else if (m && !m->lost)
                memory_show(svc, m);
        move_free(svc, v, v->committed);
        if (m && !in && !m->lost)
                spill_failed(svc, m);
}

/* All of it in one effect, the file included: half of it would be a file without memory. */
static void note(struct service *svc, struct move *v) {
        const struct memory *m = v->memory;
        struct effect_place *e = v->effect;
        uint64_t *extents = (uint64_t *)(e + 1);

        *e = (struct effect_place){
                .memory = m->object.id,
                .file = m->file->kind == FILE_POOL ? 0 : m->file->object.id,
                .node = m->file->node,
                .extents = m->more_count + 1,
        };
        for (uint32_t i = 0; i <= m->more_count; i++) {
                extents[2 * i] = memory_extent(m, i)->start;
                extents[2 * i + 1] = memory_extent(m, i)->size;
        }
        m->file->journaled = true;
        journal_note(svc, EFFECT_PLACE, e, v->effect_size);
}

static void move_done(struct job *job) {
        struct move *v = container_of(job, struct move, job);
        struct service *svc = v->svc;

        if (v->memory && svc->state.nodes[v->memory->node].lost)
                v->result = -ENODEV;
        if (!v->memory || v->result < 0) {
                move_failed(svc, v);
                return;
        }
        memory_swap_places(v->memory, v->other);
        if (v->in)
                memory_show(svc, v->memory);
        note(svc, v);
        v->state = MOVE_SETTLED;
        list_remove(&v->link);
        list_push_back(&svc->spill.settled, &v->link);
}

void move_settle(struct service *svc, struct move *v) {
        struct memory *m = v->memory;

        move_free(svc, v, true);
        if (m)
                spill_offer(svc, m);
}

void move_forget(struct service *svc, struct move *v) {
        v->memory->move = NULL;
        v->memory = NULL;
        if (v->state != MOVE_WAITS)
                return;
        list_remove(&v->wait.link);
        move_free(svc, v, false);
}

/* ---- beginning ---- */

static void move_submit(struct service *svc, struct move *v) {
        v->job = (struct job){ .lane = v->memory->node, .run = move_run, .done = move_done };
        list_init(&v->job.link);
        v->source = v->memory;
        v->from = v->memory->file->memfile;
        v->to = v->other->file->memfile;
        v->state = MOVE_RUNS;
        jobs_submit(svc->jobs, &v->job);
}

static void move_placed(struct service *svc, struct capacity_wait *w, bool is_free) {
        struct move *v = container_of(w, struct move, wait);

        if (is_free && !svc->closing) {
                move_submit(svc, v);
                return;
        }
        v->result = -EBUSY;
        move_failed(svc, v);
}

/* Takes `other` over. */
static int move_begin(struct service *svc, struct memory *m, struct memory *other, bool in) {
        struct move *v = alloc_zero(sizeof(*v));
        size_t size = sizeof(struct effect_place) + (other->more_count + 1) * 16ul;

        if (!v || !(v->effect = alloc_zero(size))) {
                alloc_free(v);
                memory_discard(svc, other, false);
                return -ENOMEM;
        }
        v->svc = svc;
        v->memory = m;
        v->other = other;
        v->in = in;
        v->effect_size = size;
        list_init(&v->wait.link);
        list_push_back(&svc->spill.moves, &v->link);
        m->move = v;
        list_remove(&m->by_node);
        if (!in)
                memory_hide(svc, m);
        if (capacity_is_free(svc, m->partition, NULL, other->node)) {
                move_submit(svc, v);
                return 0;
        }
        v->wait = (struct capacity_wait){ .partition = m->partition, .node = other->node, .done = move_placed };
        capacity_wait(svc, &v->wait);
        return 0;
}

/* Managed granules that lie there do not leave for it. What managed ranges were promised stays true: off a node that
 * still counts for them nothing changes for all nodes together. */
static bool host_takes(struct service *svc, const struct memory *m, uint32_t host) {
        char why[16];

        if (!capacity_is_free(svc, m->partition, m->creator.session, host))
                return false;
        return !svc->state.nodes[m->node].offline ||
               capacity_for_memory(svc, m->partition, m->creator.session, host, why, sizeof(why)) == SVMD_STATUS_OK;
}

int move_out(struct service *svc, struct memory *m) {
        int r = MEMORY_E_FULL;

        for (uint32_t i = 0; i < svc->options.machine->count; i++) {
                struct account *over;
                struct memory *other;
                int k;

                if (node_desc(svc, i)->kind != NODE_HOST || svc->state.nodes[i].offline)
                        continue;
                k = memory_make_place(svc, m, i, &other, &over);
                if (k == 0 && host_takes(svc, m, i))
                        return move_begin(svc, m, other, false);
                if (k == 0)
                        memory_discard(svc, other, false);
                else if (k < 0)
                        r = k;
        }
        return r;
}

int move_in(struct service *svc, struct memory *m, struct account **ret_over) {
        struct memory *other;
        int r = memory_make_place(svc, m, m->node, &other, ret_over);

        return r == 0 ? move_begin(svc, m, other, true) : r;
}
