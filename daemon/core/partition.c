#include "core/partition.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "core/ledger.h"
#include "core/name.h"
#include "core/node.h"
#include "core/share.h"
#include "core/state.h"

#define UNIT (4ull << 30)

/* docs/architecture.md, "VA window": where programs of either kind leave room. */
static const struct {
        uint64_t start, end;
} windows[WINDOWS] = {
        [WINDOW_PRIMARY] = { 0x280000000000ull, 0x400000000000ull },
        [WINDOW_LOW] = { 0x1000000000ull, 0x4000000000ull },
};

static struct domain *domain_new(struct state *s, const char *name) {
        struct domain *d = alloc_zero(sizeof(*d));

        if (!d)
                return NULL;
        d->name = name_new(name, d, 0, 0, 0);
        if (!d->name) {
                alloc_free(d);
                return NULL;
        }
        for (int w = 0; w < WINDOWS; w++)
                va_init(&d->window[w], windows[w].start, windows[w].end);
        name_link(&s->domains, d->name);
        return d;
}

static struct domain *domain_get(struct state *s, const char *name) {
        struct name *n = name_find(&s->domains, name);

        return n ? n->object : domain_new(s, name);
}

static void domain_put(struct state *s, struct domain *d) {
        if (d->partitions > 0)
                return;
        name_unlink(&s->domains, d->name);
        name_free(d->name);
        alloc_free(d);
}

static int take_slice(struct domain *d, struct partition *p, const struct partition_args *args) {
        struct va_space *w = &d->window[args->window];
        int r;

        if (args->base == 0)
                r = va_alloc(w, &p->slice, args->size, VA_ALIGN_MAX);
        else
                r = va_alloc_at(w, &p->slice, args->base, args->size);
        if (r == -EINVAL || r == VA_E_TAKEN)
                return PARTITION_E_OVERLAP;
        return r == VA_E_FULL ? PARTITION_E_FULL : r;
}

static void release(struct partition *p) {
        shares_drop_for(p);
        alloc_free(p->accounts);
        name_free(p->name);
        alloc_free(p);
}

static struct partition *prepare(const struct state *s, const struct partition_args *args) {
        struct partition *p = alloc_zero(sizeof(*p));

        if (!p)
                return NULL;
        p->window = args->window;
        list_init(&p->sessions);
        list_init(&p->kept);
        list_init(&p->shares);
        p->accounts = alloc_array(s->machine->count ? s->machine->count : 1, sizeof(*p->accounts));
        p->name = name_new(args->name, NULL, args->uid, args->gid, args->mode);
        if (p->accounts && p->name)
                return p;
        release(p);
        return NULL;
}

int partition_new(struct partition **ret, struct state *s, const struct partition_args *args) {
        struct partition *p;
        struct domain *d;
        int r;

        if (args->window >= WINDOWS || args->size == 0 || args->size % UNIT != 0 || args->base % UNIT != 0)
                return -EINVAL;
        if (partition_find(s, args->name))
                return PARTITION_E_NAME;
        p = prepare(s, args);
        if (!p)
                return -ENOMEM;
        d = domain_get(s, args->domain);
        r = d ? take_slice(d, p, args) : -ENOMEM;
        if (r != 0) {
                if (d)
                        domain_put(s, d);
                release(p);
                return r;
        }
        p->domain = d;
        p->number = ++s->numbered;
        d->partitions++;
        va_init(&p->va, p->slice.start, p->slice.start + p->slice.size);
        for (uint32_t i = 0; i < s->machine->count; i++)
                account_init(&p->accounts[i], &s->nodes[i].account, ACCOUNT_NO_LIMIT);
        *ret = p;
        return 0;
}

/* Partitions are found by their names alone; the tree hangs on the name and leads back here. */
void partition_link(struct state *s, struct partition *p) {
        p->name->object = p;
        name_link(&s->partitions, p->name);
        s->partitions_count++;
}

void partition_unlink(struct state *s, struct partition *p) {
        name_unlink(&s->partitions, p->name);
        p->name->object = NULL;
        s->partitions_count--;
}

void partition_free(struct state *s, struct partition *p) {
        if (p->name->object)
                partition_unlink(s, p);
        for (uint32_t i = 0; i < s->machine->count; i++) {
                if (p->accounts[i].max != ACCOUNT_NO_LIMIT)
                        s->nodes[i].limited--;
                account_fini(&p->accounts[i]);
        }
        va_free(&p->domain->window[p->window], &p->slice);
        p->domain->partitions--;
        domain_put(s, p->domain);
        release(p);
}

struct partition *partition_find(const struct state *s, const char *name) {
        struct name *n = name_find(&s->partitions, name);

        return n ? n->object : NULL;
}

struct partition *partition_after(const struct state *s, const char *after) {
        struct tree_node *at = s->partitions.root, *best = NULL;

        while (at) {
                struct name *n = container_of(at, struct name, node);

                if (strcmp(n->text, after) > 0) {
                        best = at;
                        at = at->child[0];
                } else {
                        at = at->child[1];
                }
        }
        return best ? container_of(best, struct name, node)->object : NULL;
}
