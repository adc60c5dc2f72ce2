#include "mover/budget.h"

#include <errno.h>
#include <string.h>

#include "account/memcg.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "mover/internal.h"

/*
 * A page that comes in by COPY is charged to the cgroup of the process that it is copied into. When that is full, the
 * kernel does not refuse the copy: it ends a process of the group. So a group is looked at before: what it is charged
 * for, without what the kernel would take back by itself, against its limits (memory.max, memory.high) and those of the
 * groups above it. What would fill it is answered as the kernel never does, -ENOMEM, and the engine makes room among
 * what the group has in ranges. Only when that has nothing to give is the copy made all the same, and the limit is the
 * kernel's to hold.
 *
 * Limits are read again after a while, and a group without any costs nothing else. A margin stays free, for page tables
 * and for what the processes take themselves.
 */
enum { LEVELS = 16 };
static const uint64_t look_ns = 100ull * 1000 * 1000;
static const uint64_t margin_bytes = 256 << 10;

struct budget {
        struct list link; /* in the mover's */
        unsigned refs;
        uint64_t taken; /* by copies that are being made */
        uint64_t looked_ns;
        uint64_t limit[LEVELS]; /* of the group, and of those above it */
        unsigned levels, version;
        bool limited;
        char folder[];
};

/* How much of the folder's name is that of the group so many above it. */
static size_t name_of(const struct budget *b, unsigned level) {
        size_t n = strlen(b->folder);

        while (level--)
                while (n > 0 && b->folder[--n] != '/')
                        ;
        return n;
}

/* The root of version 2 has no files of limits; above that of version 1 there are none. */
static void look(struct budget *b, uint64_t now) {
        b->looked_ns = now;
        b->limited = false;
        b->version = memcg_version(b->folder, strlen(b->folder));
        for (b->levels = 0; b->version && b->levels < LEVELS; b->levels++) {
                struct memcg m = MEMCG_NONE;

                if (!memcg_read(b->folder, name_of(b, b->levels), b->version, MEMCG_LIMITS, &m))
                        return;
                b->limit[b->levels] = memcg_limit(&m);
                b->limited |= b->limit[b->levels] != MEMCG_NO_LIMIT;
        }
}

/* What the kernel takes back when the group is full is looked at only when it is. */
static bool fits(const struct budget *b, unsigned level, uint64_t bytes) {
        struct memcg m = { .max = b->limit[level], .high = MEMCG_NO_LIMIT };
        uint64_t need = b->taken + bytes + margin_bytes;
        size_t name = name_of(b, level);

        if (m.max == MEMCG_NO_LIMIT || !memcg_read(b->folder, name, b->version, 1u << MEMCG_CURRENT, &m))
                return true;
        return need <= memcg_room(&m) ||
               (memcg_read(b->folder, name, b->version, 1u << MEMCG_STAT, &m) && need <= memcg_room(&m));
}

static bool take(struct budget *b, uint64_t bytes) {
        uint64_t now = clock_ns(CLOCK_MONOTONIC);

        if (now - b->looked_ns >= look_ns)
                look(b, now);
        for (unsigned i = 0; b->limited && i < b->levels; i++)
                if (!fits(b, i, bytes))
                        return false;
        b->taken += bytes;
        return true;
}

bool budget_take(struct mover_session *s, uint64_t bytes) {
        bool has;

        if (!s->budget)
                return true;
        pthread_mutex_lock(&s->m->budgets_lock);
        has = take(s->budget, bytes);
        pthread_mutex_unlock(&s->m->budgets_lock);
        return has;
}

void budget_give(struct mover_session *s, uint64_t bytes) {
        if (!s->budget)
                return;
        pthread_mutex_lock(&s->m->budgets_lock);
        s->budget->taken -= bytes;
        pthread_mutex_unlock(&s->m->budgets_lock);
}

static struct budget *find(struct mover *m, const char *folder) {
        list_for_each (it, &m->budgets) {
                struct budget *b = container_of(it, struct budget, link);

                if (strcmp(b->folder, folder) == 0)
                        return b;
        }
        return NULL;
}

int mover_session_budget(struct mover_session *s, const char *folder) {
        struct mover *m = s->m;
        struct budget *b;

        pthread_mutex_lock(&m->budgets_lock);
        b = find(m, folder);
        if (!b) {
                b = alloc_zero(sizeof(*b) + strlen(folder) + 1);
                if (b) {
                        memcpy(b->folder, folder, strlen(folder) + 1);
                        list_push_back(&m->budgets, &b->link);
                }
        }
        if (b)
                b->refs++;
        s->budget = b;
        pthread_mutex_unlock(&m->budgets_lock);
        return b ? 0 : -ENOMEM;
}

void budget_leave(struct mover_session *s) {
        struct budget *b = s->budget;

        if (!b)
                return;
        pthread_mutex_lock(&s->m->budgets_lock);
        if (--b->refs == 0) {
                list_remove(&b->link);
                alloc_free(b);
        }
        s->budget = NULL;
        pthread_mutex_unlock(&s->m->budgets_lock);
}

void budgets_init(struct mover *m) {
        list_init(&m->budgets);
        pthread_mutex_init(&m->budgets_lock, NULL);
}

void budgets_fini(struct mover *m) {
        pthread_mutex_destroy(&m->budgets_lock);
}
