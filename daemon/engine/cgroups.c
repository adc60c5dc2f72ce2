#include <errno.h>

#include "base/alloc.h"
#include "engine/managed-priv.h"

/*
 * Cgroups that pay, by number: a granule names its payer in 16 bits. A session takes a reference when it comes, so that
 * noting it as the payer cannot fail.
 */
enum { MOST = UINT16_MAX };

static uint32_t find(const struct managed *e, uint64_t id) {
        if (e->cgroup_last && e->cgroups[e->cgroup_last].refs && e->cgroups[e->cgroup_last].id == id)
                return e->cgroup_last;
        for (uint32_t i = 1; i < e->cgroups_size; i++)
                if (e->cgroups[i].refs && e->cgroups[i].id == id)
                        return i;
        return 0;
}

static uint32_t find_free(const struct managed *e) {
        for (uint32_t i = 1; i < e->cgroups_size; i++)
                if (!e->cgroups[i].refs)
                        return i;
        return 0;
}

static int grow(struct managed *e) {
        uint32_t size = e->cgroups_size ? 2 * e->cgroups_size : 16;
        struct cgroup *grown;

        size = size > MOST ? MOST : size;
        grown = size > e->cgroups_size ? alloc_grow(e->cgroups, e->cgroups_size * sizeof(*grown), size * sizeof(*grown))
                                       : NULL;
        if (!grown)
                return -ENOMEM;
        e->cgroups = grown;
        e->cgroups_size = size;
        return 0;
}

int cgroup_get(struct managed *e, uint64_t id, uint16_t *ret) {
        uint32_t i = id ? find(e, id) : 0;

        if (id && !i) {
                i = find_free(e);
                if (!i) {
                        i = e->cgroups_size ? e->cgroups_size : 1;
                        if (grow(e))
                                return -ENOMEM;
                }
                e->cgroups[i] = (struct cgroup){ .id = id };
        }
        if (i)
                e->cgroups[i].refs++;
        e->cgroup_last = i;
        *ret = (uint16_t)i;
        return 0;
}

void cgroup_put(struct managed *e, uint16_t index) {
        if (index)
                e->cgroups[index].refs--;
}

void cgroup_set(struct managed *e, struct granule *g, uint16_t index) {
        if (index)
                e->cgroups[index].refs++;
        cgroup_put(e, g->cgroup);
        g->cgroup = index;
}
