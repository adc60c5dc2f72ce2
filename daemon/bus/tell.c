#include "bus/tell.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "bus/names.h"
#include "bus/view.h"

#define IS_NEW (1u << 31) /* of `untold`: the object itself */

struct property {
        const char *name;
        size_t offset, size;
};

#define MEMBER(name, type, member)                                                                                     \
        { (name), offsetof(struct type, member), sizeof(((struct type *)0)->member) }

static const struct property manager_properties[] = { MEMBER("Version", view_manager, version),
#define X(name, type, member) MEMBER(name, view_manager, member),
                                                      VIEW_MANAGER_NUMBERS(X)
#undef X
};

static const struct property node_properties[] = { MEMBER("Trouble", view_node, trouble),
#define X(name, type, member) MEMBER(name, view_node, member),
                                                   VIEW_NODE_NUMBERS(X)
#undef X
};

static const struct property partition_properties[] = { MEMBER("Policy", view_partition, policy),
#define X(name, type, member) MEMBER(name, view_partition, member),
                                                        VIEW_PARTITION_NUMBERS(X)
#undef X
};

enum {
        MANAGER_COUNT = sizeof(manager_properties) / sizeof(manager_properties[0]),
        NODE_COUNT = sizeof(node_properties) / sizeof(node_properties[0]),
        PARTITION_COUNT = sizeof(partition_properties) / sizeof(partition_properties[0]),
        USAGE = PARTITION_COUNT, /* compared by hand */
        MOST = 24,
};
_Static_assert(MANAGER_COUNT < MOST && NODE_COUNT < MOST && PARTITION_COUNT + 1 < MOST,
               "a bit each, and names on a stack");

bool tell_is_full(const struct tell *t) {
        uint64_t queued = 0;

        return sd_bus_get_n_queued_write(t->bus, &queued) >= 0 && queued > TELL_QUEUE;
}

/* ---- differences ---- */

static uint32_t differences(const struct property *properties, size_t count, const void *a, const void *b) {
        uint32_t bits = 0;

        for (size_t i = 0; i < count; i++) {
                const struct property *p = &properties[i];

                if (memcmp((const char *)a + p->offset, (const char *)b + p->offset, p->size) != 0)
                        bits |= 1u << i;
        }
        return bits;
}

static uint32_t usage_differs(const struct view_partition *a, const struct view_partition *b) {
        return a->uses_count != b->uses_count ||
                               (a->uses_count && memcmp(a->uses, b->uses, a->uses_count * sizeof(*a->uses)) != 0)
                       ? 1u << USAGE
                       : 0;
}

static void removed(const struct tell *t, const char *prefix, const char *name) {
        char *path = NULL;

        if (!tell_is_full(t) && sd_bus_path_encode(prefix, name, &path) >= 0)
                (void)sd_bus_emit_object_removed(t->bus, path);
        free(path);
}

void tell_changes(struct tell *t, const struct view_copy *now, struct view_copy *next) {
        t->manager |= differences(manager_properties, MANAGER_COUNT, &now->manager, &next->manager);
        for (uint32_t i = 0; i < now->nodes_count; i++)
                if (!view_node(next, now->nodes[i].name))
                        removed(t, BUS_NODES, now->nodes[i].name);
        for (uint32_t i = 0; i < now->partitions_count; i++)
                if (!view_partition(next, now->partitions[i].name))
                        removed(t, BUS_PARTITIONS, now->partitions[i].name);
        for (uint32_t i = 0; i < next->nodes_count; i++) {
                struct view_node *n = &next->nodes[i];
                const struct view_node *was = view_node(now, n->name);

                n->untold = was ? was->untold | differences(node_properties, NODE_COUNT, was, n) : IS_NEW;
        }
        for (uint32_t i = 0; i < next->partitions_count; i++) {
                struct view_partition *p = &next->partitions[i];
                const struct view_partition *was = view_partition(now, p->name);

                p->untold = was ? was->untold | usage_differs(was, p) |
                                            differences(partition_properties, PARTITION_COUNT, was, p)
                                : IS_NEW;
        }
}

/* ---- signals ---- */

static void changed(const struct tell *t, const char *path, const char *face, const struct property *properties,
                    size_t count, uint32_t bits) {
        const char *names[MOST + 1];
        size_t n = 0;

        for (size_t i = 0; i < count; i++)
                if (bits & 1u << i)
                        names[n++] = properties[i].name;
        if (bits & 1u << USAGE && properties == partition_properties)
                names[n++] = "Usage";
        names[n] = NULL;
        if (n > 0)
                (void)sd_bus_emit_properties_changed_strv(t->bus, path, face, (char **)names);
}

static void tell_row(const struct tell *t, const char *prefix, const char *name, const char *face,
                     const struct property *properties, size_t count, uint32_t bits) {
        char *path = NULL;

        if (sd_bus_path_encode(prefix, name, &path) < 0)
                return;
        if (bits & IS_NEW)
                (void)sd_bus_emit_object_added(t->bus, path);
        else
                changed(t, path, face, properties, count, bits);
        free(path);
}

void tell_changed(struct tell *t, const struct view_copy *now) {
        unsigned told = 0;

        if (tell_is_full(t))
                return;
        changed(t, BUS_ROOT, "org.svmd1.Manager", manager_properties, MANAGER_COUNT, t->manager);
        t->manager = 0;
        for (uint32_t i = 0; i < now->nodes_count && told < TELL_OBJECTS; i++) {
                struct view_node *n = &now->nodes[i];

                if (!n->untold)
                        continue;
                tell_row(t, BUS_NODES, n->name, "org.svmd1.Node", node_properties, NODE_COUNT, n->untold);
                n->untold = 0;
                told++;
        }
        for (uint32_t i = 0; i < now->partitions_count && told < TELL_OBJECTS; i++) {
                struct view_partition *p = &now->partitions[i];

                if (!p->untold)
                        continue;
                tell_row(t, BUS_PARTITIONS, p->name, "org.svmd1.Partition", partition_properties, PARTITION_COUNT,
                         p->untold);
                p->untold = 0;
                told++;
        }
}
