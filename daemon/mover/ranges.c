#include <errno.h>
#include <unistd.h>

#include "backend/memfile.h"
#include "base/alloc.h"
#include "mover/files.h"
#include "mover/internal.h"
#include "mover/pools.h"

/*
 * A range is its two files, its place in the engine, and what each device sees of it. It lives until the engine has
 * said that nothing of it is in flight: steps and records name it.
 */
static void ended_tell(struct mover *m, struct news *n);

static void on_end(struct mover *m, struct answer *a, int result) {
        struct mover_range *r = container_of(a, struct mover_range, end.answer);

        r->range = NULL;
        r->end.result = result;
        news_push(m, &r->end.news, ended_tell);
}

static void range_close(struct mover_range *r) {
        devices_free(r);
        memfile_free(r->memory);
        files_state_unmap(r->head, r->count);
        close(r->state_fd);
        alloc_free(r);
}

static void ended_tell(struct mover *m, struct news *n) {
        struct mover_range *r = container_of(n, struct mover_range, end.news);
        uint64_t token = r->end.token;
        int result = r->end.result;

        mover_lock(m);
        list_remove(&r->link);
        moved_forget(m, r);
        mover_unlock(m);
        range_close(r);
        if (token)
                m->hooks.done(m->hooks.userdata, token, result);
}

static int describe(struct mover_range *r, struct mover *m, const struct mover_range_args *a) {
        uint64_t count;

        if (!a->granule || size_class(a->granule) == SIZES || a->size < a->granule)
                return -EINVAL;
        count = a->size / a->granule;
        if (a->address % a->granule || a->size % a->granule || count > UINT32_MAX ||
            (a->huge && a->granule != HUGE_PAGE))
                return -EINVAL;
        r->m = m;
        r->userdata = a->userdata;
        r->id = a->id;
        r->address = a->address;
        r->size = a->size;
        r->granule = a->granule;
        r->count = (uint32_t)count;
        r->huge = a->huge;
        r->group = a->group;
        r->ahead = a->ahead;
        r->hints = a->hints;
        r->state_fd = -1;
        list_init(&r->link);
        list_init(&r->shares);
        list_init(&r->taken);
        return 0;
}

static int open_state(struct mover_range *r, const struct mover_range_args *a) {
        if (a->state >= 0)
                return files_state_adopt(&r->head, a->state, r->granule, r->count);
        return files_state_new(&r->state_fd, &r->head, r->id, r->granule, r->count);
}

/* Last, because it is where an adopted file is taken over. */
static int open_memory(struct mover_range *r, const struct mover_range_args *a) {
        int k;

        if (a->memory < 0)
                k = files_memory_new(&r->memory, r->id, r->size, r->huge);
        else
                k = files_memory_adopt(&r->memory, a->memory, r->size, r->huge);
        if (k)
                return k;
        if (a->state >= 0)
                r->state_fd = a->state;
        r->fd = memfile_fd(r->memory);
        return 0;
}

static int enter_engine(struct mover *m, struct mover_range *r, const struct mover_range_args *a) {
        int k;

        mover_lock(m);
        k = managed_range_new(m->engine, &r->range, r, a->group, r->granule, r->count, a->cgroup, a->poison);
        if (!k)
                managed_range_tag(r->range, a->id);
        if (!k && a->ahead)
                managed_range_ahead(r->range);
        if (!k && a->state >= 0) {
                k = record_restore(m, r);
                if (k)
                        managed_range_end(m->engine, r->range, 0, mover_now(m));
        }
        mover_unlock(m);
        return k;
}

static void enlist(struct mover *m, struct mover_range *r) {
        list_push_back(&m->ranges, &r->link);
        if (m->traces_count)
                traces_range_begins(m, r);
}

static int range_open(struct mover *m, struct mover_range *r, const struct mover_range_args *a) {
        int k;

        r->entries = (struct range_entry *)(r->head + 1);
        k = pools_prepare(m, r->granule);
        k = k ? k : workers_start(m);
        k = k ? k : enter_engine(m, r, a);
        if (k)
                return k;
        k = open_memory(r, a);
        mover_lock(m);
        if (k)
                managed_range_end(m->engine, r->range, 0, mover_now(m));
        else
                enlist(m, r);
        mover_unlock(m);
        return k;
}

int mover_range_new(struct mover *m, struct mover_range **ret, const struct mover_range_args *a) {
        struct mover_range *r;
        int k;

        if ((a->memory < 0) != (a->state < 0) || (a->poison && !mover_features()->poison) ||
            (a->huge && !mover_features()->huge))
                return -EINVAL;
        r = alloc_zero(sizeof(*r));
        if (!r)
                return -ENOMEM;
        k = describe(r, m, a);
        k = k ? k : open_state(r, a);
        if (k) {
                alloc_free(r);
                return k;
        }
        k = range_open(m, r, a);
        if (k) {
                files_state_unmap(r->head, r->count);
                if (a->state < 0)
                        close(r->state_fd);
                alloc_free(r);
                return k;
        }
        *ret = r;
        return 0;
}

void mover_range_end(struct mover *m, struct mover_range *r, uint64_t token) {
        mover_lock(m);
        if (m->traces_count)
                traces_range_ends(m, r);
        r->end.token = token;
        r->end.answer.done = on_end;
        managed_range_end(m->engine, r->range, (uintptr_t)&r->end.answer, mover_now(m));
        mover_unlock(m);
}

int mover_range_memory(const struct mover_range *r) {
        return r->fd;
}

int mover_range_state(const struct mover_range *r) {
        return r->state_fd;
}

uint64_t mover_range_memory_bytes(const struct mover_range *r) {
        return memfile_bytes(r->memory);
}

void mover_range_generation(struct mover_range *r, uint64_t generation) {
        if (generation > r->head->generation)
                __atomic_store_n(&r->head->generation, generation, __ATOMIC_SEQ_CST);
}

void mover_look(struct mover *m, const struct mover_range *r, uint32_t first, uint32_t count,
                struct managed_granule_info *ret) {
        enum { CHUNK = 4096 };

        for (uint32_t i = 0; i < count;) {
                mover_lock(m);
                for (uint32_t end = count - i < CHUNK ? count : i + CHUNK; i < end; i++)
                        managed_granule_info(r->range, first + i, &ret[i]);
                mover_unlock(m);
        }
}

unsigned mover_history(struct mover *m, const struct mover_range *r, uint32_t granule, bool not_done,
                       struct managed_past *ret, unsigned max) {
        unsigned count;

        mover_lock(m);
        count = managed_history(r->range, granule, not_done, ret, max);
        mover_unlock(m);
        return count;
}

void mover_predict(struct mover *m, const struct mover_range *r, uint32_t granule, uint32_t node, bool write,
                   struct managed_touch *ret) {
        mover_lock(m);
        managed_predict(m->engine, r->range, granule, node, write, mover_now(m), ret);
        mover_unlock(m);
}

uint64_t mover_range_used(struct mover *m, const struct mover_range *r, uint32_t node) {
        uint64_t used;

        mover_lock(m);
        used = managed_range_used(r->range, node);
        mover_unlock(m);
        return used;
}

/* What was being discarded when the earlier svmd ended may be mapped still, for writing. It goes before anybody is told
 * that his discard was interrupted: what he then writes would be punched. */
static void punch_empty(struct mover_range *r) {
        for (uint32_t first, i = 0; i < r->count; i++) {
                for (first = i; i < r->count && range_state(r->entries[i].word) == RESIDENCY_EMPTY; i++)
                        ;
                memfile_punch(r->memory, (uint64_t)first * r->granule, (uint64_t)(i - first) * r->granule);
        }
}

int mover_restored(struct mover *m) {
        int k = 0;

        list_for_each (it, &m->ranges) {
                punch_empty(container_of(it, struct mover_range, link));
                k = k ? k : devices_restore(m, container_of(it, struct mover_range, link));
        }
        if (k)
                return k;
        pools_sweep(m);
        mover_lock(m);
        k = managed_restored(m->engine, mover_now(m));
        mover_unlock(m);
        return k;
}

void ranges_free(struct mover *m) {
        list_for_each_safe (it, &m->ranges) {
                struct mover_range *r = container_of(it, struct mover_range, link);

                list_remove(&r->link);
                range_close(r);
        }
}
