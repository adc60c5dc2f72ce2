/*
 * Random requests of several sessions against a model that knows nothing of trees, lists and accounts: arrays of
 * pages. After each request the answers, the invariants of the service's state and the devices' page tables are
 * checked; every so often svmd "is killed", and its successor must have what the dead one had.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/memfile.h"
#include "core/by_id.h"
#include "core/imap.h"
#include "core/memory.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "core/space.h"
#include "harness.h"

enum { SESSIONS = 8, RANGES = 24, MEMORIES = 40, SPACES = 10, PAGES = 24, OPS = 6 };
#define P(n)   ((uint64_t)(n)*SVMD_PAGE)
#define NOBODY (1ull << 60) /* no id of anything */

static uint64_t rng;

static uint64_t any(uint64_t below) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (rng >> 11) % below;
}

/* ---- the model: copied whole, so taking back is forgetting the copy -------------------------------------------- */

struct page {
        int memory; /* -1: nothing */
        uint64_t offset;
        unsigned access, pat, kind;
};

struct range {
        bool used, freeing, managed;
        uint64_t id, address;
        int partition, owner; /* -1: its owner has ended */
        unsigned size;        /* pages */
        int name;             /* -1: anonymous */
        unsigned uid, mode;
        unsigned open[SESSIONS];
        bool closing[SESSIONS];
        struct page page[PAGES];
        bool sparse[PAGES];
};

struct space_model {
        bool used, destroying;
        uint64_t id;
        int session;
        unsigned node;
        struct page page[PAGES];
        unsigned sparse[PAGES];
};

struct memory_model {
        bool used, shareable;
        uint64_t id;
        int partition, creator, file_of; /* creator -1: released or ended */
        unsigned node;
        uint64_t size; /* pages */
        unsigned held[SESSIONS];
        bool releasing[SESSIONS];
        int name;
        unsigned uid, mode;
};

struct model {
        struct range range[RANGES];
        struct space_model space[SPACES];
        struct memory_model memory[MEMORIES];
};

/* ThreadSanitizer is slow, and looks for races, which need no odd requests. */
#ifdef __SANITIZE_THREAD__
enum { USUAL = 20000 };
#else
enum { USUAL = 100000 };
#endif

static struct model now;
static struct world world;
static struct client client[SESSIONS];
static int partition_of[SESSIONS];
static char names[8][8];
static const char *const partitions[] = { "one", "two", "three" };
static uint64_t slice[3];
static unsigned long done_ops, refused, restarts;

/* Managed ranges that have ended in this request: their addresses are free for the next one. */
static struct range ended[OPS];
static unsigned ended_count;

/* Sessions 0, 1, 2 share a partition and a user; 3, 4 the partition; 5, 6 another; 7 a third one, in a domain of its
 * own. */
static const unsigned uids[SESSIONS] = { 100, 100, 101, 102, 103, 101, 104, 105 };

/* It ends when the request commits. */
static bool range_goes(const struct range *r) {
        unsigned stays = r->owner >= 0;

        for (unsigned s = 0; s < SESSIONS; s++)
                stays += r->open[s] && !r->closing[s];
        return r->freeing || stays == 0;
}

/* By what stays when the request commits. */
static bool page_used(const struct model *m, int memory) {
        for (unsigned i = 0; i < RANGES; i++)
                for (unsigned k = 0; m->range[i].used && !range_goes(&m->range[i]) && k < PAGES; k++)
                        if (m->range[i].page[k].memory == memory)
                                return true;
        for (unsigned i = 0; i < SPACES; i++)
                for (unsigned k = 0; m->space[i].used && !m->space[i].destroying && k < PAGES; k++)
                        if (m->space[i].page[k].memory == memory)
                                return true;
        return false;
}

static void reap(struct model *m) {
        for (int i = 0; i < MEMORIES; i++) {
                bool held = false;

                for (unsigned s = 0; s < SESSIONS; s++)
                        held |= m->memory[i].held[s] != 0;
                if (m->memory[i].used && !held && !page_used(m, i))
                        m->memory[i] = (struct memory_model){ 0 };
        }
}

/* What operations of the request have put off until it commits. */
static void commit(struct model *m) {
        for (unsigned i = 0; i < RANGES; i++) {
                struct range *r = &m->range[i];
                unsigned open = 0;

                for (unsigned s = 0; s < SESSIONS; s++) {
                        if (r->closing[s])
                                r->open[s] = 0;
                        r->closing[s] = false;
                        open += r->open[s] != 0;
                }
                if (r->used && (r->freeing || (r->owner < 0 && open == 0))) {
                        if (r->managed && ended_count < OPS)
                                ended[ended_count++] = *r;
                        *r = (struct range){ 0 };
                }
        }
        for (unsigned i = 0; i < SPACES; i++)
                if (m->space[i].destroying)
                        m->space[i] = (struct space_model){ 0 };
        for (unsigned i = 0; i < MEMORIES; i++)
                for (int s = 0; s < SESSIONS; s++)
                        if (m->memory[i].releasing[s]) {
                                m->memory[i].held[s] = 0;
                                m->memory[i].releasing[s] = false;
                                if (m->memory[i].creator == s)
                                        m->memory[i].creator = -1;
                        }
        reap(m);
}

static void end_session(struct model *m, int s) {
        for (unsigned i = 0; i < SPACES; i++)
                if (m->space[i].session == s)
                        m->space[i] = (struct space_model){ 0 };
        for (unsigned i = 0; i < RANGES; i++) {
                struct range *r = &m->range[i];

                r->open[s] = 0;
                if (r->used && r->owner == s) {
                        bool open = false;

                        for (unsigned k = 0; k < SESSIONS; k++)
                                open |= r->open[k] != 0;
                        r->owner = -1;
                        if (!open || r->name < 0)
                                *r = (struct range){ 0 };
                }
        }
        for (unsigned i = 0; i < MEMORIES; i++) {
                m->memory[i].held[s] = 0;
                if (m->memory[i].used && m->memory[i].creator == s)
                        m->memory[i].creator = -1;
        }
        commit(m);
}

static bool allows(unsigned uid, unsigned mode, int s, unsigned access) {
        unsigned bits = access == 1 ? 4 : 6;

        mode = uids[s] == uid ? mode >> 6 : mode; /* groups are the users' own */
        return (mode & bits) == bits;
}

static uint64_t used_bytes(const struct model *m, unsigned node, int partition) {
        uint64_t sum = 0;

        for (unsigned i = 0; i < MEMORIES; i++)
                if (m->memory[i].used && m->memory[i].node == node &&
                    (partition < 0 || m->memory[i].partition == partition))
                        sum += m->memory[i].size;
        return sum;
}

/* ---- operations: each predicts success, and changes the model then ---------------------------------------------- */

struct ask {
        Svmd__V1__Op *op;
        int good;               /* what the model says */
        uint64_t *want;         /* where the id that svmd gives belongs, in the model */
        struct range *reserved; /* its address too */
        struct memory_model *made;
};

static int find_name(const struct model *m, int partition, int name, bool memory) {
        for (int i = 0; i < (memory ? MEMORIES : RANGES); i++) {
                if (memory ? m->memory[i].used && m->memory[i].partition == partition && m->memory[i].name == name
                           : m->range[i].used && m->range[i].partition == partition && m->range[i].name == name)
                        return i;
        }
        return -1;
}

/* Mostly one that the session can do something with: what is refused anyway tells little. */
static int pick_memory(const struct model *m, int s) {
        int i = (int)any(MEMORIES);

        for (int n = 0; any(12) && n < MEMORIES && !(m->memory[i].id && m->memory[i].held[s]); n++)
                i = (i + 1) % MEMORIES;
        return i;
}

static int pick_range(const struct model *m, int s) {
        int i = (int)any(RANGES);

        for (int n = 0; any(12) && n < RANGES && !(m->range[i].id && (m->range[i].owner == s || m->range[i].open[s]));
             n++)
                i = (i + 1) % RANGES;
        return i;
}

static int pick_space(const struct model *m, int s) {
        int i = (int)any(SPACES);

        for (int n = 0; any(12) && n < SPACES && !(m->space[i].id && m->space[i].session == s); n++)
                i = (i + 1) % SPACES;
        return i;
}

static void blank(struct page *p) {
        for (unsigned i = 0; i < PAGES; i++)
                p[i].memory = -1;
}

static void do_reserve_op(struct model *m, int s, struct ask *t) {
        bool named = any(2), managed = any(4) == 0;
        int name = named ? (int)any(8) : -1, free_slot = -1;
        unsigned size = 1 + (unsigned)any(PAGES), mode = any(2) ? 0666 : 0604;
        uint64_t address = any(4) ? 0 : slice[partition_of[s]] + (4ull << 30) + P(any(64) * 8);
        bool taken = false;

        for (int i = 0; i < RANGES; i++) {
                const struct range *r = &m->range[i];

                if (!r->used)
                        free_slot = i;
                else if (!r->address && r->partition == partition_of[s])
                        address = 0; /* where that one lies is not known yet */
        }
        for (int i = 0; i < RANGES; i++) {
                const struct range *r = &m->range[i];

                if (r->used && address && r->partition == partition_of[s] && r->address < address + P(size) &&
                    address < r->address + P(r->size))
                        taken = true;
        }
        for (unsigned i = 0; i < ended_count; i++)
                if (address && ended[i].partition == partition_of[s] && ended[i].address < address + P(size) &&
                    address < ended[i].address + P(ended[i].size)) {
                        address = 0;
                        taken = false;
                }
        if (free_slot < 0) {
                t->op = op_make(SVMD__V1__OP__OP_STATUS);
                t->good = 1;
                return;
        }
        t->op = mk_reserve(P(size), 0, address, named ? names[name] : "", named ? mode : 0);
        if (managed)
                t->op->reserve->kind = SVMD__V1__RESERVATION_KIND__SHARED;
        t->good = !taken && !(named && find_name(m, partition_of[s], name, false) >= 0);
        if (!t->good)
                return;
        m->range[free_slot] = (struct range){ .used = true,
                                              .managed = managed,
                                              .partition = partition_of[s],
                                              .owner = s,
                                              .size = size,
                                              .name = name,
                                              .uid = uids[s],
                                              .mode = mode,
                                              .address = address };
        blank(m->range[free_slot].page);
        t->want = &m->range[free_slot].id;
        t->reserved = &m->range[free_slot];
}

static void do_open_op(struct model *m, int s, struct ask *t) {
        int name = (int)any(8), i = find_name(m, partition_of[s], name, false);
        unsigned access = any(2) ? 3 : 1;
        struct range *r = i < 0 ? NULL : &m->range[i];

        t->op = mk_open(names[name], access);
        t->good = r && !r->freeing && r->owner != s && !r->open[s] && allows(r->uid, r->mode, s, access);
        if (t->good)
                r->open[s] = access;
}

static void do_free_op(struct model *m, int s, struct ask *t) {
        struct range *r = &m->range[pick_range(m, s)];

        t->op = mk_free(r->id ? r->id : NOBODY);
        t->good = r->used && r->id && r->partition == partition_of[s] && !r->freeing &&
                  (r->owner == s || (r->open[s] && !r->closing[s]));
        if (!t->good)
                return;
        if (r->owner == s)
                r->freeing = true;
        else
                r->closing[s] = true;
}

static void do_create_op(struct model *m, int s, struct ask *t) {
        static const uint64_t capacity[NODES] = { 8ull << 18, 2ull << 18, 1ull << 18, 256 };
        unsigned node = (unsigned)any(NODES);
        uint64_t size = any(12) ? 1 + any(PAGES) : 257 + any(300);
        bool shareable = any(2);
        int slot = -1;

        for (int i = 0; i < MEMORIES; i++)
                if (!m->memory[i].used)
                        slot = i;
        if (slot < 0) {
                t->op = op_make(SVMD__V1__OP__OP_LIMITS);
                t->good = 1;
                return;
        }
        /* What would give way when its node is full makes the outcome of a request depend on the order of its parts:
         * test_spill.c is about that. */
        t->op = mk_create(node, P(size), shareable | (node >= GPU1 ? SVMD__V1__MEM_FLAG__MEM_PINNED : 0u));
        t->good = used_bytes(m, node, -1) + size <= capacity[node] &&
                  !(node == GPU1 && partition_of[s] == 0 && used_bytes(m, node, 0) + size > 300);
        if (!t->good)
                return;
        m->memory[slot] = (struct memory_model){ .used = true,
                                                 .shareable = shareable,
                                                 .partition = partition_of[s],
                                                 .creator = s,
                                                 .node = node,
                                                 .size = size,
                                                 .name = -1 };
        m->memory[slot].held[s] = 3;
        t->want = &m->memory[slot].id;
        t->made = &m->memory[slot];
}

static void do_release_op(struct model *m, int s, struct ask *t) {
        struct memory_model *x = &m->memory[pick_memory(m, s)];

        t->op = mk_release(x->id ? x->id : NOBODY);
        t->good = x->used && x->id && x->held[s] && !x->releasing[s];
        if (t->good)
                x->releasing[s] = true;
}

static void do_export_op(struct model *m, int s, struct ask *t) {
        struct memory_model *x = &m->memory[pick_memory(m, s)];
        int name = (int)any(8);
        unsigned mode = any(2) ? 0666 : 0604;

        t->op = mk_export(x->id ? x->id : NOBODY, names[name], mode, 0);
        t->good = x->used && x->id && x->held[s] && !x->releasing[s] && x->shareable && x->creator == s &&
                  x->name < 0 && find_name(m, partition_of[s], name, true) < 0;
        if (!t->good)
                return;
        x->name = name;
        x->uid = uids[s];
        x->mode = mode;
}

/* Else it ends with this request. */
static bool in_use(const struct model *m, int memory) {
        for (int s = 0; s < SESSIONS; s++)
                if (m->memory[memory].held[s] && !m->memory[memory].releasing[s])
                        return true;
        return page_used(m, memory);
}

static void do_import_op(struct model *m, int s, struct ask *t) {
        int name = (int)any(8), i = find_name(m, partition_of[s], name, true);
        unsigned access = any(2) ? 3 : 1;
        struct memory_model *x = i < 0 ? NULL : &m->memory[i];

        t->op = mk_import(names[name], access);
        t->good = x && !x->held[s] && allows(x->uid, x->mode, s, access) && in_use(m, i);
        if (t->good)
                x->held[s] = access;
}

/* Where a mapping operation acts. NULL: it is refused. */
struct where {
        struct range *range;
        struct space_model *space;
        uint64_t id, address;
        unsigned first, count;
        struct page *page;
};

static bool pick_where(struct model *m, int s, struct where *w) {
        *w = (struct where){ 0 };
        if (any(2)) {
                w->space = &m->space[pick_space(m, s)];
                w->id = w->space->id ? w->space->id : NOBODY;
                w->first = (unsigned)any(PAGES);
                w->count = 1 + (unsigned)any(any(3) && w->first < PAGES - 4 ? 4 : PAGES - w->first);
                w->address = P(1000 + w->first);
                w->page = w->space->page;
                return w->space->used && w->space->id && w->space->session == s && !w->space->destroying;
        }
        w->range = &m->range[pick_range(m, s)];
        w->first = (unsigned)any(w->range->size && any(8) ? w->range->size : PAGES);
        w->count = 1 + (unsigned)any(any(3) ? 4 : PAGES - w->first);
        if (w->count > PAGES - w->first)
                w->count = PAGES - w->first;
        w->address = w->range->address + P(w->first);
        w->page = w->range->page;
        if (!w->range->used || !w->range->address) {
                w->address = P(1);
                return false;
        }
        if (w->range->partition != partition_of[s] || w->first + w->count > w->range->size) {
                /* What lies there is another matter: keep to one range. */
                w->address = P(1);
                return false;
        }
        return !w->range->managed && !w->range->freeing &&
               (w->range->owner == s || (w->range->open[s] == 3 && !w->range->closing[s]));
}

static void do_map_op(struct model *m, int s, struct ask *t) {
        static const unsigned accesses[] = { 0, 1, 3 };
        struct where w;
        bool good = pick_where(m, s, &w), replace = any(2);
        int i = pick_memory(m, s);
        struct memory_model *x = &m->memory[i];
        unsigned access = accesses[any(3)];
        uint64_t offset = any(any(3) ? 4 : PAGES);

        for (unsigned k = 0; k < w.count; k++)
                good &= replace || w.page[w.first + k].memory < 0;
        t->op = mk_map(w.space ? w.id : 0, w.address, P(w.count), x->id ? x->id : NOBODY, P(offset), access, replace);
        good &= x->used && x->id && x->held[s] && !x->releasing[s] && !(access & ~x->held[s]) &&
                offset + w.count <= x->size;
        if (good && w.range)
                good = x->node == HOST0 && (w.range->name < 0 || x->shareable);
        if (good && w.space) {
                unsigned a = w.space->node, b = x->node;

                good = b == HOST0 || a == b || (a == GPU0 && b == GPU1) || (a == GPU1 && b == GPU0);
        }
        t->good = good;
        for (unsigned k = 0; good && k < w.count; k++)
                w.page[w.first + k] = (struct page){ .memory = i, .offset = offset + k, .access = access };
}

static void do_unmap_op(struct model *m, int s, struct ask *t) {
        struct where w;

        t->good = pick_where(m, s, &w);
        t->op = mk_unmap(w.space ? w.id : 0, w.address, P(w.count));
        for (unsigned k = 0; t->good && k < w.count; k++)
                w.page[w.first + k] = (struct page){ .memory = -1 };
}

static void do_access_op(struct model *m, int s, struct ask *t) {
        static const unsigned accesses[] = { 0, 1, 3 };
        unsigned access = accesses[any(3)];
        struct where w;

        t->good = pick_where(m, s, &w);
        t->op = mk_access(w.space ? w.id : 0, w.address, P(w.count), access);
        for (unsigned k = 0; t->good && k < w.count; k++) {
                const struct page *p = &w.page[w.first + k];
                unsigned held = p->memory < 0 ? 0 : m->memory[p->memory].held[s];

                if (p->memory < 0 || access & ~(held ? held : p->access))
                        t->good = 0;
        }
        for (unsigned k = 0; t->good && k < w.count; k++)
                w.page[w.first + k].access = access;
}

static void do_attributes_op(struct model *m, int s, struct ask *t) {
        unsigned pat = (unsigned)any(16), kind = (unsigned)any(256);
        struct where w;

        t->good = pick_where(m, s, &w);
        if (w.range && any(2))
                pat = kind = 0;
        if (w.range && (pat || kind))
                t->good = 0;
        t->op = mk_attributes(w.space ? w.id : 0, w.address, P(w.count), pat, kind);
        for (unsigned k = 0; t->good && k < w.count; k++)
                t->good = w.page[w.first + k].memory >= 0;
        for (unsigned k = 0; t->good && k < w.count; k++) {
                w.page[w.first + k].pat = pat;
                w.page[w.first + k].kind = kind;
        }
}

static unsigned sparse_at(const struct where *w, unsigned i) {
        return w->space ? w->space->sparse[i] : w->range->sparse[i] ? 2 : 0;
}

static void do_sparse_op(struct model *m, int s, struct ask *t) {
        bool on = any(2);
        unsigned writes = 1 + (unsigned)any(2);
        struct where w;
        bool good = pick_where(m, s, &w);
        unsigned before = good ? sparse_at(&w, w.first) : 0;

        t->op = on ? mk_sparse(w.space ? w.id : 0, w.address, P(w.count), writes)
                   : mk_unsparse(w.space ? w.id : 0, w.address, P(w.count));
        if (on && w.range && writes != 2)
                good = false;
        for (unsigned k = 0; good && k < w.count; k++)
                if (on ? sparse_at(&w, w.first + k) != 0
                       : sparse_at(&w, w.first + k) == 0 || sparse_at(&w, w.first + k) != before)
                        good = false;
        t->good = good;
        for (unsigned k = 0; good && k < w.count; k++) {
                if (w.space)
                        w.space->sparse[w.first + k] = on ? writes : 0;
                else
                        w.range->sparse[w.first + k] = on;
        }
}

static void do_space_op(struct model *m, int s, struct ask *t) {
        unsigned node = (unsigned)any(NODES);
        int slot = -1;

        for (int i = 0; i < SPACES; i++)
                if (!m->space[i].used)
                        slot = i;
        if (slot < 0) {
                t->op = op_make(SVMD__V1__OP__OP_NODES);
                t->good = 1;
                return;
        }
        t->op = mk_space(node);
        t->good = node != HOST0;
        if (!t->good)
                return;
        m->space[slot] = (struct space_model){ .used = true, .session = s, .node = node };
        blank(m->space[slot].page);
        t->want = &m->space[slot].id;
}

static void do_destroy_op(struct model *m, int s, struct ask *t) {
        struct space_model *x = &m->space[pick_space(m, s)];

        t->op = mk_destroy(x->id ? x->id : NOBODY);
        t->good = x->used && x->id && x->session == s && !x->destroying;
        if (t->good)
                x->destroying = true;
}

typedef void (*ask_fn)(struct model *m, int s, struct ask *t);
static const ask_fn steps[] = {
        do_reserve_op, do_reserve_op,    do_open_op,   do_free_op,   do_create_op,  do_create_op,
        do_create_op,  do_release_op,    do_export_op, do_import_op, do_import_op,  do_open_op,
        do_map_op,     do_map_op,        do_map_op,    do_map_op,    do_map_op,     do_unmap_op,
        do_access_op,  do_attributes_op, do_sparse_op, do_space_op,  do_destroy_op,
};

/* ---- one request ------------------------------------------------------------------------------------------------ */

static void learn(const struct ask *t, const Svmd__V1__Result *r) {
        if (t->want)
                *t->want = r->id;
        if (t->reserved) {
                if (t->reserved->address)
                        assert_int_equal(r->address, t->reserved->address);
                t->reserved->address = r->address;
                assert_int_equal(r->size, P(t->reserved->size));
        }
}

static void expect_code(const struct ask *t, const Svmd__V1__Result *r, int s) {
        if ((r->code == 0) != (t->good != 0))
                fail_msg("session %d, operation %d: the model says %s, svmd %u %s", s, (int)t->op->op_case,
                         t->good ? "yes" : "no", r->code, r->text);
        if (r->code)
                assert_true(r->text[0] != 0);
}

/* In BEST_EFFORT each operation commits by itself, so the model is that of the next one. */
static void check_each(struct ask *t, size_t n, Svmd__V1__Reply *reply, int s) {
        for (size_t i = 0; i < n; i++) {
                expect_code(&t[i], reply->results[i], s);
                done_ops++;
                refused += !t[i].good;
        }
}

static void request(int s) {
        static struct model copy;
        struct ask t[OPS] = { 0 };
        Svmd__V1__Op *ops[OPS];
        size_t n = 1 + any(OPS), bad = OPS;
        Svmd__V1__Mode mode = (Svmd__V1__Mode)any(3);
        Svmd__V1__Reply *reply;

        ops_reset();
        copy = now;
        ended_count = 0;
        for (size_t i = 0; i < n; i++) {
                steps[any(sizeof(steps) / sizeof(steps[0]))](mode ? &copy : &now, s, &t[i]);
                ops[i] = t[i].op;
                if (mode == SVMD__V1__MODE__BEST_EFFORT)
                        commit(&now);
                if (!t[i].good && bad == OPS)
                        bad = i;
                if (mode && bad < OPS) {
                        n = i + 1;
                        break;
                }
        }
        reply = client_send(&client[s], mode, ops, n, NULL, 0);
        assert_non_null(reply);
        if (mode == SVMD__V1__MODE__BEST_EFFORT || bad == OPS) {
                check_each(t, n, reply, s);
        } else {
                expect_code(&t[bad], reply->results[bad], s);
                for (size_t i = 0; i < bad; i++)
                        assert_int_equal(reply->results[i]->code, SVMD_STATUS_ABORTED);
                done_ops += n;
                refused++;
        }
        if (mode == SVMD__V1__MODE__DRY_RUN || (mode && bad < OPS))
                return;
        for (size_t i = 0; i < n; i++)
                if (t[i].good)
                        learn(&t[i], reply->results[i]);
        if (mode) {
                commit(&copy);
                now = copy;
        }
}

/* ---- what svmd has is what the model has ------------------------------------------------------------------------ */

static void check_ledger(void) {
        for (unsigned node = 0; node < NODES; node++)
                assert_int_equal(ledger_bytes(&world, node), P(used_bytes(&now, node, -1)));
        for (int p = 0; p < 3; p++) {
                struct partition *x = partition_find(&world.svc->state, partitions[p]);

                for (unsigned node = 0; node < NODES; node++)
                        assert_int_equal(x->accounts[node].used, P(used_bytes(&now, node, p)));
        }
}

static void check_pages(const struct vmap *map, const struct page *page, uint64_t base) {
        uint64_t pages = 0, mapped = 0;

        for (unsigned i = 0; i < PAGES; i++) {
                const struct mapping *e = vmap_find(map, base + P(i));

                assert_int_equal(e != NULL, page[i].memory >= 0);
                if (!e)
                        continue;
                pages++;
                assert_int_equal(memory_of(e->backing)->object.id, now.memory[page[i].memory].id);
                assert_int_equal(e->offset + (base + P(i) - e->va), P(page[i].offset));
                assert_int_equal(e->attrs.access, page[i].access);
                assert_int_equal(e->attrs.pat, page[i].pat);
                assert_int_equal(e->attrs.kind, page[i].kind);
        }
        for (struct mapping *e = vmap_first_from(map, 0); e; e = vmap_next(e))
                mapped += e->size;
        assert_int_equal(mapped, P(pages));
}

static void check_model(void) {
        uint64_t ranges = 0, memories = 0, spaces = 0;

        check_ledger();
        for (unsigned i = 0; i < RANGES; i++) {
                struct object *o;

                if (!now.range[i].used)
                        continue;
                ranges++;
                o = ids_find(&world.svc->state.ids, now.range[i].id);
                assert_non_null(o);
                check_pages(&container_of(o, struct reservation, object)->cpu, now.range[i].page, now.range[i].address);
        }
        for (unsigned i = 0; i < SPACES; i++) {
                struct object *o;

                if (!now.space[i].used)
                        continue;
                spaces++;
                o = ids_find(&world.svc->state.ids, now.space[i].id);
                assert_non_null(o);
                check_pages(&container_of(o, struct space, object)->mappings, now.space[i].page, P(1000));
                for (unsigned k = 0; k < PAGES; k++)
                        assert_int_equal(imap_get(&container_of(o, struct space, object)->sparse, P(1000 + k)),
                                         now.space[i].sparse[k]);
        }
        for (unsigned i = 0; i < MEMORIES; i++)
                memories += now.memory[i].used;
        assert_int_equal(world.svc->state.reservations_count, ranges);
        assert_int_equal(world.svc->state.memories_count, memories);
        assert_int_equal(world.svc->state.spaces_count, spaces);
}

/* ---- bytes in memory: each object's first word is its number -------------------------------------------------- */

static void mark_memory(void) {
        for (unsigned i = 0; i < MEMORIES; i++) {
                const struct memory *m;

                if (!now.memory[i].used)
                        continue;
                m = memory_by_id(&world.svc->state, now.memory[i].id);
                for (uint64_t at = 0; at < m->size; at += SVMD_PAGE) {
                        struct device_extent e = memory_piece(m, at, SVMD_PAGE);
                        uint64_t word = m->object.id + at;

                        assert_int_equal(memfile_write(e.slot, e.offset, &word, sizeof(word)), 0);
                }
        }
}

static void check_marks(void) {
        for (unsigned i = 0; i < MEMORIES; i++) {
                const struct memory *m;

                if (!now.memory[i].used)
                        continue;
                m = memory_by_id(&world.svc->state, now.memory[i].id);
                for (uint64_t at = 0; at < m->size; at += SVMD_PAGE) {
                        struct device_extent e = memory_piece(m, at, SVMD_PAGE);
                        uint64_t word;

                        assert_int_equal(memfile_read(e.slot, e.offset, &word, sizeof(word)), 0);
                        assert_int_equal(word, m->object.id + at);
                }
        }
}

/* The oracle outside: what the ledger charges, files have taken from the machine, and nothing beside. */
static void check_files(void) {
        for (unsigned node = 0; node < NODES; node++)
                assert_int_equal(file_bytes(&world, node), ledger_bytes(&world, node));
}

/* ---- sessions come, go, and move on to another svmd ------------------------------------------------------------ */

static void come(int s) {
        client_open(&world, &client[s], uids[s], uids[s], false);
        client_greet(&client[s], partitions[partition_of[s]]);
}

static void leave(int s) {
        client_close(&client[s]);
        end_session(&now, s);
        come(s);
}

/* What was asked last is asked again: the answer is the one that was given. */
static void ask_again(int s, const uint8_t *packet, size_t size, const uint8_t *before, size_t before_size) {
        client_raw(&client[s], packet, size, NULL, 0);
        client_await(&client[s]);
        assert_true(client[s].answered);
        assert_int_equal(client[s].packet_size, before_size);
        assert_memory_equal(client[s].packet, before, before_size);
}

static void restart(void) {
        static uint8_t packet[4096], answer[SVMD_PACKET_MAX];
        Svmd__V1__Request m = SVMD__V1__REQUEST__INIT;
        struct client *all[SESSIONS];
        Svmd__V1__Op *op, *last;
        struct service *old;
        size_t size, answer_size;
        int s = (int)any(SESSIONS);

        world_settle(&world);
        if (any(2))
                assert_int_equal(journal_snapshot(world.svc), 0);
        mark_memory();
        /* A change whose reply is lost. */
        ops_reset();
        op = mk_space(GPU0);
        m.id = client[s].request + 1;
        m.ops = &op;
        m.n_ops = 1;
        size = (size_t)encode_request(&m, packet, sizeof(packet));
        assert_int_equal(client_call(&client[s], op)->code, 0);
        last = mk_destroy(client[s].reply->results[0]->id);
        answer_size = client[s].packet_size;
        memcpy(answer, client[s].packet, answer_size);

        for (int i = 0; i < SESSIONS; i++)
                all[i] = &client[i];
        old = world_restart_as_was(&world, all, SESSIONS);
        check_marks();
        check_world(&world);
        world_bury(old);
        check_marks();
        check_files();
        for (int i = 0; i < SESSIONS; i++)
                assert_non_null(client[i].session);
        ask_again(s, packet, size, answer, answer_size);
        assert_int_equal(client_call(&client[s], last)->code, 0);
        check_world(&world);
        restarts++;
}

static void set_up(void) {
        struct client admin;
        const char *domains[] = { "", "", "other" };

        world_open(&world, 0);
        for (unsigned i = 0; i < 8; i++)
                snprintf(names[i], sizeof(names[i]), "name-%u", i);
        client_open(&world, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        for (unsigned i = 0; i < 3; i++) {
                Svmd__V1__Result *r;

                ops_reset();
                r = client_call(&admin, mk_partition(partitions[i], 8ull << 30, domains[i], 100, 0666));
                assert_int_equal(r->code, 0);
                slice[i] = r->address;
        }
        assert_int_equal(client_call(&admin, mk_limit("one", GPU1, P(300)))->code, 0);
        client_close(&admin);
        for (int s = 0; s < SESSIONS; s++) {
                partition_of[s] = s < 5 ? 0 : s < 7 ? 1 : 2;
                come(s);
        }
        for (unsigned i = 0; i < RANGES; i++)
                now.range[i] = (struct range){ 0 };
}

static void test_random(void **state) {
        const char *text = getenv("SVMD_SEED"), *count = getenv("SVMD_OPS");
        uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
        unsigned long wanted = count ? strtoul(count, NULL, 0) : getenv("SVMD_LONG") ? 10000000 : USUAL;

        printf("seed: SVMD_SEED=%" PRIu64 "\n", seed);
        fflush(stdout);
        rng = seed * 0x9e3779b97f4a7c15ull | 1;
        set_up();
        for (unsigned long i = 0; done_ops < wanted; i++) {
                request((int)any(SESSIONS));
                if (any(300) == 0)
                        leave((int)any(SESSIONS));
                if (any(4) == 0) {
                        check_world(&world);
                        check_model();
                }
                if (any(700) == 0) {
                        world_settle(&world);
                        check_files();
                        restart();
                        check_model();
                }
        }
        printf("%lu operations, %lu refused, %lu restarts, %" PRIu64 " events\n", done_ops, refused, restarts,
               world.events);
        assert_true(refused < done_ops * 9 / 10);
        world_settle(&world);
        check_files();
        for (int s = 0; s < SESSIONS; s++)
                client_close(&client[s]);
        world_settle(&world);
        for (unsigned node = 0; node < NODES; node++)
                assert_int_equal(ledger_bytes(&world, node), 0);
        check_files();
        check_world(&world);
        world_close(&world);
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_random) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
