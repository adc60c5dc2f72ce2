#include "mover/pools.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "backend/backend.h"
#include "backend/memfile.h"
#include "base/alloc.h"
#include "mover/internal.h"

/*
 * The engine numbers slots from 0 and reuses free ones first, so a pool of the node's size reaches, with one slot more
 * for the one whose space is being given back. A slot is used by one step at a time; slots share the words of the bit
 * map, so its bits are set atomically.
 */
static const struct { uint32_t bytes; } sizes[SIZES] = { { 4096 }, { 65536 }, { 2u << 20 } };

unsigned size_class(uint32_t bytes) {
        unsigned i = 0;

        while (i < SIZES && sizes[i].bytes != bytes)
                i++;
        return i;
}

/* Of a device that has slots of its own. */
static int device_pool_new(const struct mover_node *n, struct pool **ret) {
        const struct device_slots *slots = n->backend->slots;
        uint64_t count = n->total / slots->bytes + 2;
        struct pool *p = alloc_zero(sizeof(*p));

        if (!p)
                return -ENOMEM;
        p->committed = alloc_array(count / 64 + 1, sizeof(p->committed[0]));
        if (!p->committed) {
                alloc_free(p);
                return -ENOMEM;
        }
        p->slots_of = slots;
        p->device = n->device;
        p->bytes = slots->bytes;
        p->slots = (uint32_t)count;
        *ret = p;
        return 0;
}

static const struct device_slots *slots_of(const struct mover_node *n) {
        return n->backend && n->device ? n->backend->slots : NULL;
}

static int pool_new(struct mover *m, struct pool **ret, uint32_t node, uint32_t granule) {
        uint64_t slots = m->nodes[node].node.total / granule + 2;
        struct pool *p;
        int k;

        if (slots_of(&m->nodes[node].node))
                return device_pool_new(&m->nodes[node].node, ret);
        if (slots > UINT32_MAX)
                slots = UINT32_MAX;
        p = alloc_zero(sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->bytes = granule;
        p->slots = (uint32_t)slots;
        p->committed = alloc_array(slots / 64 + 1, sizeof(p->committed[0]));
        k = p->committed ? m->hooks.pool(m->hooks.userdata, node, granule, slots * granule, &p->file) : -ENOMEM;
        if (!k)
                p->base = memfile_base(memfile_slot(p->file));
        if (!k && (!p->base || memfile_size(p->file) < slots * granule))
                k = -EINVAL;
        if (k) {
                alloc_free(p->committed);
                alloc_free(p);
                return k;
        }
        *ret = p;
        return 0;
}

bool pools_are_on(const struct mover *m, uint32_t node) {
        unsigned hosts = 0;

        for (uint32_t i = 0; i < m->c.nodes_count; i++)
                hosts += m->nodes[i].node.host;
        return !m->nodes[node].node.host || hosts > 1;
}

/* Engines keep what does not fit from such nodes. */
static bool pool_fits(const struct mover_node *n, uint32_t granule) {
        return !slots_of(n) || slots_of(n)->bytes == granule;
}

int pools_prepare(struct mover *m, uint32_t granule) {
        unsigned class = size_class(granule);

        for (uint32_t i = 0; i < m->c.nodes_count; i++) {
                struct pool *p;
                int k;

                if (!pools_are_on(m, i) || m->nodes[i].pool[class] || !pool_fits(&m->nodes[i].node, granule))
                        continue;
                k = pool_new(m, &p, i, granule);
                if (k)
                        return k;
                mover_lock(m);
                m->nodes[i].pool[class] = p;
                mover_unlock(m);
        }
        return 0;
}

struct pool *pool_get(const struct mover *m, uint32_t node, uint32_t granule) {
        return node < m->c.nodes_count ? m->nodes[node].pool[size_class(granule)] : NULL;
}

bool pool_has(const struct pool *p, uint32_t slot) {
        return slot < p->slots;
}

int pool_extent(const struct pool *p, uint32_t slot, struct device_extent *ret) {
        if (p->slots_of)
                return -EIO;
        *ret = (struct device_extent){
                .slot = memfile_slot(p->file),
                .offset = (uint64_t)slot * p->bytes,
                .size = p->bytes,
        };
        return 0;
}

static char *at(const struct pool *p, uint32_t slot) {
        return p->base + (uint64_t)slot * p->bytes;
}

/* A device's is made anew for each granule, as a client may have it mapped that had it last. */
static int make(struct pool *p, uint32_t slot, bool *ret_zero) {
        int k = p->slots_of->make(p->device, slot);

        if (!k)
                __atomic_fetch_or(&p->committed[slot / 64], 1ull << slot % 64, __ATOMIC_RELEASE);
        *ret_zero = !k;
        return k;
}

/* Takes its pages; *ret_zero: they are zero, being new. */
static int commit(struct pool *p, uint32_t slot, bool *ret_zero) {
        uint64_t *word = &p->committed[slot / 64], bit = 1ull << slot % 64;
        int k;

        *ret_zero = false;
        if (p->slots_of)
                return make(p, slot, ret_zero);
        if (__atomic_load_n(word, __ATOMIC_ACQUIRE) & bit)
                return 0;
        k = memfile_commit(p->file, (uint64_t)slot * p->bytes, p->bytes);
        if (k)
                return k;
        if (p->bytes > PAGE) /* or the copy meets a fault in every page */
                (void)madvise(at(p, slot), p->bytes, MADV_POPULATE_WRITE);
        __atomic_fetch_or(word, bit, __ATOMIC_RELEASE);
        *ret_zero = true;
        return 0;
}

/* What a device has is copied, so that nobody who is kept by a client keeps the device from others. */
static int bounce(struct pool_view *v, uint32_t count) {
        struct pool *p = v->pool;
        int k = 0;

        if (count != 1)
                return -EIO;
        v->bytes = alloc_array(1, p->bytes);
        if (!v->bytes)
                return -ENOMEM;
        if (v->use != POOL_FILL)
                k = p->slots_of->read(p->device, v->slot, v->bytes);
        if (k)
                alloc_free(v->bytes);
        return k;
}

int pool_open(struct pool *p, uint32_t slot, uint32_t count, enum pool_use use, struct pool_view *ret) {
        bool is_zero;
        int k = 0;

        if (!pool_has(p, slot) || count > p->slots - slot)
                return -EIO;
        for (uint32_t i = 0; !k && i < count && use == POOL_FILL; i++)
                k = commit(p, slot + i, &is_zero);
        if (!k)
                *ret = (struct pool_view){ .pool = p, .slot = slot, .use = use };
        if (k || !p->slots_of)
                ret->bytes = k ? NULL : at(p, slot);
        else
                k = bounce(ret, count);
        return k;
}

int pool_close(struct pool_view *v, int result) {
        struct pool *p = v->pool;

        if (!p->slots_of)
                return result;
        if (!result && v->use != POOL_READ)
                result = p->slots_of->write(p->device, v->slot, v->bytes);
        alloc_free(v->bytes);
        return result;
}

int pool_zero(struct pool *p, uint32_t slot) {
        bool is_zero;
        int k = pool_has(p, slot) ? commit(p, slot, &is_zero) : -EIO;

        if (!k && !is_zero)
                memset(at(p, slot), 0, p->bytes);
        return k;
}

int pool_copy(struct pool *to, uint32_t slot, struct pool *from, uint32_t from_slot) {
        struct pool_view a, b;
        int k = pool_open(from, from_slot, 1, POOL_READ, &a);

        if (k)
                return k;
        k = pool_open(to, slot, 1, POOL_FILL, &b);
        if (!k) {
                memcpy(b.bytes, a.bytes, to->bytes);
                k = pool_close(&b, 0);
        }
        return pool_close(&a, k);
}

bool pool_committed(struct pool *p, uint32_t slot) {
        if (p->slots_of && !p->slots_of->has(p->device, slot))
                return false;
        __atomic_fetch_or(&p->committed[slot / 64], 1ull << slot % 64, __ATOMIC_RELEASE);
        return true;
}

void pool_release(struct pool *p, uint32_t slot) {
        __atomic_fetch_and(&p->committed[slot / 64], ~(1ull << slot % 64), __ATOMIC_RELEASE);
        if (p->slots_of)
                p->slots_of->release(p->device, slot);
        else
                memfile_punch(p->file, (uint64_t)slot * p->bytes, p->bytes);
}

/* The run of slots that have pages, at `offset` or after it. */
static bool next_used(void *userdata, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end) {
        const struct pool *p = userdata;
        uint64_t i = offset / p->bytes, end;

        while (i < p->slots && !(p->committed[i / 64] >> i % 64 & 1))
                i += p->committed[i / 64] >> i % 64 ? 1 : 64 - i % 64;
        if (i >= p->slots)
                return false;
        for (end = i; end < p->slots && p->committed[end / 64] >> end % 64 & 1; end++)
                ;
        *ret_start = i * p->bytes;
        *ret_end = end * p->bytes;
        return true;
}

static void release_unused(struct pool *p) {
        for (uint32_t i = 0; i < p->slots; i++)
                if (!(p->committed[i / 64] >> i % 64 & 1) && p->slots_of->has(p->device, i))
                        p->slots_of->release(p->device, i);
}

void pools_sweep(struct mover *m) {
        for (uint32_t i = 0; i < m->c.nodes_count; i++)
                for (unsigned c = 0; c < SIZES; c++) {
                        struct pool *p = m->nodes[i].pool[c];

                        if (p && p->slots_of)
                                release_unused(p);
                        else if (p)
                                (void)memfile_punch_unused(p->file, next_used, p);
                }
}

void pools_free(struct mover *m) {
        for (uint32_t i = 0; i < m->c.nodes_count; i++)
                for (unsigned c = 0; c < SIZES; c++) {
                        struct pool *p = m->nodes[i].pool[c];

                        if (!p)
                                continue;
                        alloc_free(p->committed);
                        alloc_free(p);
                }
}
