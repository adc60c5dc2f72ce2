#include <stdlib.h>
#include <sys/mman.h>

#include "base/slab.h"
#include "bench.h"
#include "core/va.h"

/*
 * What an address costs. A space is filled with extents of mixed sizes and worn by replacing them at
 * random until its gaps are as scattered as those of a daemon that ran for long. Then a pair is timed:
 * free an extent chosen at random, and take one of another size. The limit is the same done by the
 * kernel: as many mappings that are never touched, the same victims, the same sizes, munmap and mmap.
 * (Mappings that touch are one to the kernel, so that it keeps fewer things than are alive, and stays
 * below vm.max_map_count.)
 *
 * Every round measures all sides, one after the other, so that a disturbance meets them alike.
 */
enum {
        ROUNDS = 31,
        PAIRS = 15000, /* per round and side */
        SMALL = 100000,
        LARGE = 1000000,
        WEAR = 3, /* times all extents are replaced before anything is measured */
};

/* An extent in what a reservation is made of beside it; they lie where svmd's lie. */
struct reservation {
        struct va_extent extent;
        char rest[184 - sizeof(struct va_extent)];
};

struct crowd {
        struct va_space va;
        struct slab slab;
        struct reservation **member;
        uint32_t count;
};

struct mapping {
        void *address;
        uint64_t size;
};

struct mappings {
        struct mapping *member;
        uint32_t count;
};

/* What a round does, on every side. */
struct work {
        uint32_t victim[PAIRS]; /* a random number; modulo the count of extents it names one */
        uint64_t size[PAIRS];
};

/* 4 KiB to 2 MiB: small ones as often as large ones, and every number of pages possible. */
static uint64_t random_size(void) {
        uint64_t top = 1ull << random_below(10);

        return (top == 512 ? top : top + random_below(top)) * VA_PAGE;
}

static void replace(struct va_space *va, struct reservation *r, uint64_t size) {
        va_free(va, &r->extent);
        must(va_alloc(va, &r->extent, size, VA_PAGE) == 0, "the space of addresses has no room");
}

static void crowd_init(struct crowd *c, uint32_t count) {
        c->count = count;
        slab_init(&c->slab, sizeof(struct reservation));
        c->member = calloc(count, sizeof(*c->member));
        must(c->member && va_init(&c->va, 1ull << 32, 1ull << 44) == 0, "no memory for the extents");
        for (uint32_t i = 0; i < count; i++) {
                c->member[i] = slab_take(&c->slab);
                must(c->member[i] != NULL, "no memory for the extents");
                must(va_alloc(&c->va, &c->member[i]->extent, random_size(), VA_PAGE) == 0,
                     "the space of addresses has no room");
        }
        for (uint64_t i = 0; i < (uint64_t)WEAR * count; i++)
                replace(&c->va, c->member[random_below(count)], random_size());
}

static void crowd_fini(struct crowd *c) {
        for (uint32_t i = 0; i < c->count; i++)
                slab_put(c->member[i]);
        slab_fini(&c->slab);
        free(c->member);
}

static void *map(uint64_t size) {
        void *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        must(p != MAP_FAILED, "no more mappings (vm.max_map_count)");
        return p;
}

static void remap(struct mapping *m, uint64_t size) {
        must(munmap(m->address, m->size) == 0, "a mapping cannot be removed");
        m->address = map(size);
        m->size = size;
}

static void mappings_init(struct mappings *m, uint32_t count) {
        m->count = count;
        m->member = calloc(count, sizeof(*m->member));
        must(m->member != NULL, "no memory for the extents");
        for (uint32_t i = 0; i < count; i++) {
                m->member[i].size = random_size();
                m->member[i].address = map(m->member[i].size);
        }
        for (uint64_t i = 0; i < (uint64_t)WEAR * count; i++)
                remap(&m->member[random_below(count)], random_size());
}

static void mappings_fini(struct mappings *m) {
        for (uint32_t i = 0; i < m->count; i++)
                munmap(m->member[i].address, m->member[i].size);
        free(m->member);
}

/* Both sides look their victims up before the clock starts. */
static double pair_ns(struct crowd *c, const struct work *w) {
        static struct reservation *victim[PAIRS];
        uint64_t start;

        for (uint32_t i = 0; i < PAIRS; i++)
                victim[i] = c->member[w->victim[i] % c->count];
        start = now_ns();
        for (uint32_t i = 0; i < PAIRS; i++)
                replace(&c->va, victim[i], w->size[i]);
        return (double)(now_ns() - start) / PAIRS;
}

static double kernel_ns(struct mappings *m, const struct work *w) {
        static struct mapping *victim[PAIRS];
        uint64_t start;

        for (uint32_t i = 0; i < PAIRS; i++)
                victim[i] = &m->member[w->victim[i] % m->count];
        start = now_ns();
        for (uint32_t i = 0; i < PAIRS; i++)
                remap(victim[i], w->size[i]);
        return (double)(now_ns() - start) / PAIRS;
}

int main(void) {
        static struct work work;
        struct row small = { .name = "va_alloc_100k", .unit = "ns" };
        struct row large = { .name = "va_alloc_1m", .unit = "ns" };
        struct crowd few, many;
        struct mappings kernel;

        pin_to(1);
        crowd_init(&few, SMALL);
        crowd_init(&many, LARGE);
        mappings_init(&kernel, SMALL);
        for (int round = 0; round < ROUNDS; round++) {
                double ours;

                for (uint32_t i = 0; i < PAIRS; i++) {
                        work.victim[i] = random_below(1ull << 32);
                        work.size[i] = random_size();
                }
                ours = pair_ns(&few, &work);
                row_add(&small, ours, kernel_ns(&kernel, &work));
                row_add(&large, pair_ns(&many, &work), ours);
        }
        row_print(&small);
        row_print(&large);
        mappings_fini(&kernel);
        crowd_fini(&few);
        crowd_fini(&many);
        return 0;
}
