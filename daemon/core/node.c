#include "core/node.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"

bool card_is_told(const struct card *c) {
        return c->unique || c->id;
}

static bool is_in_place(const struct card *known, const struct card *seen) {
        return known->id == seen->id && known->domain == seen->domain && known->location == seen->location;
}

/* Partitions of one GPU are functions of one device, or numbered in the upper bits. */
static uint32_t partition_of(const struct card *c) {
        return c->location & 0xf0000007;
}

enum card_match card_match(const struct card *known, const struct card *seen) {
        if (known->unique != seen->unique)
                return CARD_OTHER;
        if (is_in_place(known, seen))
                return CARD_SAME;
        return known->unique && partition_of(known) == partition_of(seen) ? CARD_MOVED : CARD_OTHER;
}

uint32_t machine_found(const struct machine *m, enum node_kind kind, uint32_t number) {
        uint32_t i = 0;

        while (i < m->count && (!m->nodes[i].found || m->nodes[i].kind != kind || m->nodes[i].number != number))
                i++;
        return i;
}

void machine_fini(struct machine *m) {
        for (uint32_t i = 0; i < m->count; i++)
                alloc_free(m->nodes[i].links);
        alloc_free(m->nodes);
        *m = (struct machine){ 0 };
}

struct node_desc *machine_add(struct machine *m) {
        struct node_desc *nodes;

        if (m->count >= NODE_MAX)
                return NULL;
        nodes = alloc_grow(m->nodes, m->count * sizeof(*nodes), (m->count + 1) * sizeof(*nodes));
        if (!nodes)
                return NULL;
        m->nodes = nodes;
        nodes[m->count].numa = -1;
        return &nodes[m->count++];
}

void machine_cut(struct machine *m, uint32_t count) {
        for (uint32_t i = count; i < m->count; i++)
                alloc_free(m->nodes[i].links);
        m->count = count;
}

int machine_link(struct node_desc *n, const struct node_link *link) {
        struct node_link *links;

        links = alloc_grow(n->links, n->links_count * sizeof(*links), (n->links_count + 1) * sizeof(*links));
        if (!links)
                return -ENOMEM;
        n->links = links;
        links[n->links_count++] = *link;
        return 0;
}

struct node_desc *machine_find(const struct machine *m, const char *name) {
        for (uint32_t i = 0; i < m->count; i++)
                if (strcmp(m->nodes[i].name, name) == 0)
                        return &m->nodes[i];
        return NULL;
}

bool machine_reaches(const struct machine *m, uint32_t from, uint32_t to) {
        const struct node_desc *n = &m->nodes[from];

        if (from == to || n->kind == NODE_HOST || m->nodes[to].kind == NODE_HOST)
                return true;
        for (uint32_t i = 0; i < n->links_count; i++)
                if (n->links[i].to == to)
                        return true;
        return false;
}
