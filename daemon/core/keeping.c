#include "core/keeping.h"

#include <string.h>

#include "base/alloc.h"
#include "core/lease.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/reservation.h"

#define SECOND_NS 1000000000ull

struct keeping *keeping_new(const struct kept *of, uint64_t seconds) {
        struct keeping *k = alloc_zero(sizeof(*k));

        if (!k)
                return NULL;
        list_init(&k->by_partition);
        list_init(&k->by_end);
        k->of = *of;
        k->seconds = seconds;
        return k;
}

enum keeping_kind keeping_kind(const struct keeping *k) {
        return k->of.reservation ? KEEPING_RESERVATION : k->of.memory ? KEEPING_MEMORY : KEEPING_LEASE;
}

struct partition *keeping_partition(const struct keeping *k) {
        return k->of.reservation ? k->of.reservation->partition
               : k->of.memory    ? k->of.memory->partition
                                 : k->of.lease->partition;
}

const struct name *keeping_name(const struct keeping *k) {
        return k->of.reservation ? k->of.reservation->shared->name
               : k->of.memory    ? k->of.memory->name
                                 : k->of.lease->name;
}

uint64_t keeping_object(const struct keeping *k) {
        return k->of.reservation ? k->of.reservation->object.id
               : k->of.memory    ? k->of.memory->object.id
                                 : k->of.lease->object.id;
}

uint64_t keeping_size(const struct keeping *k) {
        return k->of.reservation ? k->of.reservation->va.size
               : k->of.memory    ? k->of.memory->size
                                 : lease_size(k->of.lease);
}

/* Whether it comes behind (kind, name). */
static bool behind(const struct keeping *k, enum keeping_kind kind, const char *name) {
        if (keeping_kind(k) != kind)
                return keeping_kind(k) > kind;
        return strcmp(keeping_name(k)->text, name) > 0;
}

struct keeping *keeping_after(const struct partition *p, enum keeping_kind kind, const char *name) {
        list_for_each (l, &p->kept) {
                struct keeping *k = container_of(l, struct keeping, by_partition);

                if (behind(k, kind, name))
                        return k;
        }
        return NULL;
}

static struct keeping **slot_of(const struct keeping *k) {
        return k->of.reservation ? &k->of.reservation->shared->keeping
               : k->of.memory    ? &k->of.memory->keeping
                                 : &k->of.lease->keeping;
}

void keeping_free(struct keeping *k) {
        if (k)
                list_remove(&k->by_end);
        alloc_free(k);
}

void keeping_link(struct keeping *k) {
        struct partition *p = keeping_partition(k);
        struct keeping *next = keeping_after(p, keeping_kind(k), keeping_name(k)->text);

        list_push_back(next ? &next->by_partition : &p->kept, &k->by_partition);
        p->kept_bytes += keeping_size(k);
        p->kept_count++;
        *slot_of(k) = k;
}

void keeping_unlink(struct keeping *k) {
        struct partition *p = keeping_partition(k);

        list_remove(&k->by_partition);
        p->kept_bytes -= keeping_size(k);
        p->kept_count--;
        *slot_of(k) = NULL;
}

bool keeping_idle(const struct keeping *k) {
        return k->of.reservation ? reservation_idle(k->of.reservation)
               : k->of.memory    ? memory_idle(k->of.memory)
                                 : !k->of.lease->session;
}

uint32_t keeping_users(const struct keeping *k) {
        const struct reservation *r = k->of.reservation;
        uint32_t users = 0;

        if (r)
                return r->shared->openings_count + (r->owner != NULL);
        if (k->of.lease)
                return k->of.lease->session != NULL;
        list_for_each (l, &k->of.memory->holdings)
                users++;
        return users;
}

bool keeping_ending(const struct keeping *k) {
        return k && k->removing && keeping_idle(k);
}

uint64_t keeping_ends(const struct keeping *k) {
        if (k->since_ns == 0 || k->seconds == 0 || k->seconds > (UINT64_MAX - k->since_ns) / SECOND_NS)
                return UINT64_MAX;
        return k->since_ns + k->seconds * SECOND_NS;
}

static const struct tree *names_of(const struct partition *p, enum keeping_kind kind) {
        switch (kind) {
        case KEEPING_RESERVATION: return &p->reservation_names;
        case KEEPING_MEMORY: return &p->memory_names;
        case KEEPING_LEASE: return &p->lease_names;
        case KEEPING_NONE: break;
        }
        return NULL;
}

struct keeping *keeping_find(const struct partition *p, enum keeping_kind kind, const char *name) {
        const struct tree *names = names_of(p, kind);
        struct name *n = names ? name_find(names, name) : NULL;

        if (!n)
                return NULL;
        return kind == KEEPING_MEMORY  ? ((struct memory *)n->object)->keeping
               : kind == KEEPING_LEASE ? ((struct lease *)n->object)->keeping
                                       : ((struct reservation *)n->object)->shared->keeping;
}
