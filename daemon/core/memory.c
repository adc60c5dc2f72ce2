#include "core/memory.h"

#include <errno.h>

#include "base/alloc.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/session.h"
#include "core/state.h"

struct file *file_new(uint64_t id, enum file_kind kind, uint32_t node, uint64_t size) {
        struct file *f = alloc_zero(sizeof(*f));

        if (!f)
                return NULL;
        f->object = (struct object){ .id = id, .type = OBJECT_FILE };
        f->kind = kind;
        f->node = node;
        list_init(&f->by_session);
        va_init(&f->slots, FILE_BASE, FILE_BASE + size);
        return f;
}

void file_free(struct file *f) {
        if (f)
                peer_drop_fds(f->payer, 1);
        alloc_free(f);
}

void file_pay(struct file *f, struct peer *user) {
        peer_take_fds(user, 1);
        peer_drop_fds(f->payer, 1);
        f->payer = user;
}

struct memory *memory_new(uint64_t id, struct partition *p, uint32_t node, uint64_t size) {
        struct memory *m = alloc_zero(sizeof(*m));

        if (!m)
                return NULL;
        m->object = (struct object){ .id = id, .type = OBJECT_MEMORY };
        m->partition = p;
        m->node = node;
        m->size = size;
        backing_init(&m->backing);
        list_init(&m->holdings);
        list_init(&m->by_doomed);
        list_init(&m->by_node);
        list_init(&m->creator.by_session);
        list_init(&m->creator.by_memory);
        p->memories_count++;
        return m;
}

static void give_extents(struct memory *m) {
        if (!m->file)
                return;
        if (m->extent.size > 0)
                va_free(&m->file->slots, &m->extent);
        for (uint32_t i = 0; i < m->more_count; i++)
                va_free(&m->file->slots, &m->more[i]);
        m->file = NULL;
}

static void drop_extents(struct memory *m) {
        give_extents(m);
        alloc_free(m->more);
        m->more = NULL;
        m->more_count = 0;
        m->extent.size = 0;
}

/* How many extents the largest gaps need to hold the size; 0: they do not. The gaps are found by taking them. */
static int scatter_extents(struct memory *m, uint64_t left) {
        struct va_space *slots = &m->file->slots;
        uint32_t room = 0;
        bool first = true;

        while (left > 0) {
                uint64_t gap = va_largest_gap(slots);
                uint64_t take = gap < left ? gap : left;
                struct va_extent *e = &m->extent;

                if (take == 0)
                        return MEMORY_E_FULL;
                if (!first) {
                        if (m->more_count == room)
                                return MEMORY_E_FULL;
                        e = &m->more[m->more_count++];
                } else {
                        /* Extents are linked where they lie, so the array cannot grow: room for the worst case is taken
                         * at once, and the worst case is bounded by the number of gaps. */
                        uint64_t most = slots->count + 1 < left / VA_PAGE ? slots->count + 1 : left / VA_PAGE;

                        if (most > MEMORY_EXTENTS_MAX)
                                most = MEMORY_EXTENTS_MAX;
                        m->more = alloc_array(most, sizeof(*m->more));
                        if (!m->more)
                                return -ENOMEM;
                        room = (uint32_t)most;
                        first = false;
                }
                va_alloc(slots, e, take, VA_PAGE);
                left -= take;
        }
        return 0;
}

int memory_take_extents(struct memory *m, struct file *f, bool scatter) {
        int r;

        m->file = f;
        r = va_alloc(&f->slots, &m->extent, m->size, VA_PAGE);
        if (r == VA_E_FULL) {
                m->extent.size = 0;
                r = scatter && f->slots.end - f->slots.start - f->slots.used >= m->size ? scatter_extents(m, m->size)
                                                                                        : MEMORY_E_FULL;
        }
        if (r != 0)
                drop_extents(m);
        return r;
}

int memory_take_extents_at(struct memory *m, struct file *f, const uint64_t (*extents)[2], uint32_t count) {
        m->file = f;
        m->more = count > 1 ? alloc_array(count - 1, sizeof(*m->more)) : NULL;
        if (count > 1 && !m->more) {
                m->file = NULL;
                return -ENOMEM;
        }
        for (uint32_t i = 0; i < count; i++) {
                struct va_extent *e = i == 0 ? &m->extent : &m->more[i - 1];

                if (va_alloc_at(&f->slots, e, extents[i][0], extents[i][1]) != 0) {
                        e->size = 0;
                        drop_extents(m);
                        return -EINVAL;
                }
                if (i > 0)
                        m->more_count++;
        }
        return 0;
}

void memory_release(struct memory *m) {
        give_extents(m);
        charge_drop(&m->charge);
        m->partition->memories_count--;
        m->partition = NULL;
}

/* Extents are linked where they lie; the others move as an array. */
static void swap_first(struct memory *a, struct memory *b) {
        uint64_t start = a->extent.start, size = a->extent.size;

        va_free(&a->file->slots, &a->extent);
        va_free(&b->file->slots, &b->extent);
        va_alloc_at(&b->file->slots, &a->extent, b->extent.start, b->extent.size);
        va_alloc_at(&a->file->slots, &b->extent, start, size);
}

#define SWAP(a, b)                                                                                                     \
        do {                                                                                                           \
                __typeof__(a) swapped = (a);                                                                           \
                (a) = (b);                                                                                             \
                (b) = swapped;                                                                                         \
        } while (0)

void memory_swap_places(struct memory *a, struct memory *b) {
        swap_first(a, b);
        SWAP(a->more, b->more);
        SWAP(a->more_count, b->more_count);
        SWAP(a->file, b->file);
        SWAP(a->charge, b->charge);
}

void memory_free(struct memory *m) {
        alloc_free(m->more);
        name_free(m->name);
        alloc_free(m);
}

const struct va_extent *memory_extent(const struct memory *m, uint32_t i) {
        if (i == 0)
                return &m->extent;
        return i <= m->more_count ? &m->more[i - 1] : NULL;
}

void memory_link(struct state *s, struct memory *m) {
        ids_add(&s->ids, &m->object);
        s->memories_count++;
        if (m->name)
                name_link(&m->partition->memory_names, m->name);
}

void memory_unlink(struct state *s, struct memory *m) {
        ids_remove(&s->ids, &m->object);
        s->memories_count--;
        if (m->name)
                name_unlink(&m->partition->memory_names, m->name);
}

bool memory_idle(const struct memory *m) {
        return list_empty(&m->holdings) && m->backing.count == 0;
}

bool memory_unused(const struct memory *m) {
        return memory_idle(m) && !m->keeping;
}

void holding_init(struct holding *h, struct memory *m, struct session *session, unsigned access) {
        h->session = session;
        h->memory = m;
        h->access = access;
        list_init(&h->by_session);
        list_init(&h->by_memory);
}

void holding_link(struct holding *h) {
        list_push_back(&h->session->holdings, &h->by_session);
        list_push_back(&h->memory->holdings, &h->by_memory);
        h->session->memories_count++;
        h->session->objects++;
}

void holding_unlink(struct holding *h) {
        list_remove(&h->by_session);
        list_remove(&h->by_memory);
        h->session->memories_count--;
        h->session->objects--;
}

struct holding *holding_find(const struct memory *m, const struct session *session) {
        list_for_each (l, &m->holdings) {
                struct holding *h = container_of(l, struct holding, by_memory);

                if (h->session == session)
                        return h;
        }
        return NULL;
}

struct memory *memory_of(struct backing *b) {
        return container_of(b, struct memory, backing);
}
