#include "soaked.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

enum { GRANULE = 64 << 10, GRANULES = 48, WORDS = GRANULE / 8, MIB = 1 << 20 };

struct range {
        const struct soaked *k;
        svmd_session *s;
        svmd_space space[2];
        uint64_t *words;
        uint64_t value[GRANULES]; /* that fills each granule */
};

bool soaked_usual(int r) {
        switch (r) {
        case SVMD_OK:
        case SVMD_E_LIMIT:
        case SVMD_E_NO_ROOM:
        case SVMD_E_NO_MEMORY:
        case SVMD_E_BUSY:
        case SVMD_E_QUOTA:
        case SVMD_E_NOT_MAPPED:
        case SVMD_E_NO_NODE:
        case SVMD_E_NODE_KIND:
        case SVMD_E_INTERRUPTED:
        case SVMD_E_TIMEOUT: return true;
        }
        fprintf(stderr, "%s: %s\n", svmd_status_name(r), svmd_error());
        return false;
}

static void write_some(struct range *r) {
        unsigned g = (unsigned)random_below(GRANULES);
        uint64_t value = random_below(UINT64_MAX);

        for (unsigned i = 0; i < WORDS; i++)
                r->words[g * WORDS + i] = value;
        r->value[g] = value;
}

static void compare_some(struct range *r) {
        unsigned g = (unsigned)random_below(GRANULES);

        for (unsigned i = 0; i < WORDS; i++)
                must(r->words[g * WORDS + i] == r->value[g]);
}

static void *granule(struct range *r, unsigned *ret_count) {
        unsigned g = (unsigned)random_below(GRANULES);

        *ret_count = 1 + (unsigned)random_below(GRANULES - g);
        return r->words + (size_t)g * WORDS;
}

/* A restart of svmd in between: it may be done, or not. */
static void discard_one(struct range *r, uint64_t *at) {
        int code;

        while ((code = svmd_discard(r->s, NULL, at, GRANULE)) == SVMD_E_INTERRUPTED)
                ;
        must(soaked_usual(code));
        if (code == SVMD_OK)
                r->value[(at - r->words) / WORDS] = 0;
}

static void move_some(struct range *r) {
        svmd_node to = random_below(3) ? r->k->gpu[random_below(2)] : r->k->host;
        unsigned n, what = (unsigned)random_below(4);
        void *at = granule(r, &n);

        if (what == 0)
                must(soaked_usual(svmd_prefetch(r->s, NULL, at, (size_t)n * GRANULE, to)));
        else if (what == 1)
                must(soaked_usual(svmd_migrate(r->s, NULL, at, (size_t)n * GRANULE, to)));
        else if (what == 2)
                must(soaked_usual(svmd_evict(r->s, NULL, at, (size_t)n * GRANULE)));
        else
                discard_one(r, at);
}

static void advise_some(struct range *r) {
        struct svmd_advice a = { .size = sizeof(a), .what = SVMD_ADVISE_PREFERRED | SVMD_ADVISE_READ_MOSTLY };
        unsigned n;
        void *at = granule(r, &n);

        a.preferred = random_below(2) ? SVMD_NODE_NONE : r->k->gpu[random_below(2)];
        a.read_mostly = random_below(2) == 0;
        must(soaked_usual(svmd_advise(r->s, at, (size_t)n * GRANULE, &a)));
}

static void sum_on_device(struct range *r) {
        unsigned g = (unsigned)random_below(GRANULES), on = (unsigned)random_below(2);
        struct svmd_device_op op = { .size = sizeof(op), .op = SVMD_DEVICE_SUM, .length = GRANULE };
        struct svmd_fence_result result;
        svmd_fence *f;
        int code;

        if (!r->space[on] && !soaked_usual(svmd_space_create(r->s, &r->space[on], r->k->gpu[on])))
                fail_here("no space");
        if (!r->space[on])
                return;
        op.space = r->space[on];
        op.src = (uintptr_t)(r->words + (size_t)g * WORDS);
        code = svmd_submit(r->s, &f, &op);
        must(soaked_usual(code));
        if (code)
                return;
        code = svmd_fence_wait(f, -1, &result);
        must(soaked_usual(code));
        must(code || result.value == r->value[g] * WORDS);
        svmd_fence_free(f);
}

static void explicit_memory(struct range *r) {
        svmd_mem mem;
        void *at;

        if (!soaked_usual(svmd_address_reserve(r->s, &at, MIB, 0, NULL, NULL)))
                fail_here("no addresses");
        if (svmd_mem_create(r->s, &mem, MIB, random_below(2) ? r->k->host : r->k->gpu[0], 0) == SVMD_OK) {
                if (svmd_mem_map(r->s, SVMD_CPU, (uintptr_t)at, MIB, 0, mem, SVMD_ACCESS_READ_WRITE, 0) == SVMD_OK)
                        memset(at, 7, MIB);
                ok(svmd_mem_release(r->s, mem));
        }
        ok(svmd_address_free(r->s, at));
}

static int count_node(const struct svmd_node_row *row, void *userdata) {
        ++*(unsigned *)userdata;
        return 0;
}

static void ask(struct range *r) {
        unsigned nodes = 0;

        ok(svmd_query_nodes(r->s, count_node, &nodes));
        must(nodes >= 3);
}

void soaked_live(const struct soaked *k, uint64_t deeds_wanted, unsigned pause_us) {
        static void (*const deeds[])(struct range *) = { write_some,    write_some,      compare_some,
                                                         compare_some,  move_some,       advise_some,
                                                         sum_on_device, explicit_memory, ask };
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_SHARED, .granule = GRANULE };
        struct range r = { .k = k };
        int code;

        if (try_connect(&r.s, k->d.socket, "soak", 0) != SVMD_OK)
                return;
        code = svmd_address_reserve(r.s, (void **)&r.words, (size_t)GRANULES * GRANULE, 0, NULL, &o);
        must(soaked_usual(code));
        for (uint64_t n = code ? 0 : deeds_wanted; n > 0; n--) {
                deeds[random_below(sizeof(deeds) / sizeof(deeds[0]))](&r);
                usleep((useconds_t)random_below(pause_us));
        }
        svmd_disconnect(r.s);
}

/* ---- the machine ---- */

static void set_up(struct soaked *k, bool history) {
        const char *const options[] = { "--host-capacity",
                                        "2G",
                                        "--soft-node",
                                        "gpu0:size=128M",
                                        "--soft-node",
                                        "gpu1:size=96M",
                                        "--usage-period",
                                        history ? "10" : "0",
                                        NULL };
        struct svmd_partition_options o = { .size = sizeof(o), .mode = 0666, .window = HARNESS_WINDOW };
        svmd_session *admin;

        o.length = (uint64_t)16 << 30;
        daemon_new(&k->d, options);
        connect_watcher(&admin, k->d.admin);
        ok(svmd_partition_create(admin, "soak", &o, NULL));
        k->host = node_named(admin, "host0");
        k->gpu[0] = node_named(admin, "gpu0");
        k->gpu[1] = node_named(admin, "gpu1");
        svmd_disconnect(admin);
}

/* svmd opens files for its slots when the first granule of a size comes to a node, and keeps them. */
static void warm_up(const struct soaked *k) {
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_SHARED, .granule = GRANULE };
        svmd_session *s;
        uint64_t *words;

        connect_to(&s, k->d.socket, "soak");
        ok(svmd_address_reserve(s, (void **)&words, GRANULE, 0, NULL, &o));
        for (unsigned i = 0; i < 2; i++) {
                words[0] = i;
                ok(svmd_migrate(s, NULL, words, 0, k->gpu[i]));
        }
        svmd_disconnect(s);
}

void soaked_begin(struct soaked *k, bool history) {
        set_up(k, history);
        warm_up(k);
}
