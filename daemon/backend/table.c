#include <stddef.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/kinds.h"

#define KIND(name) &backend_##name,
static const struct backend *const kinds[] = {
#include "backend/kinds.def"
};
#undef KIND

const struct backend *backend_at(unsigned i) {
        return i < sizeof(kinds) / sizeof(kinds[0]) ? kinds[i] : NULL;
}

const struct backend *backend_for(enum node_kind kind) {
        const struct backend *b;

        for (unsigned i = 0; (b = backend_at(i)); i++)
                if (b->kind == kind)
                        return b;
        return NULL;
}

const struct backend *backend_of_device(const char *device) {
        const struct backend *b;

        for (unsigned i = 0; (b = backend_at(i)); i++)
                if (b->device && strncmp(device, b->device, strlen(b->device)) == 0)
                        return b;
        return NULL;
}

bool backend_has_pool(const struct backend *b) {
        return b->has_spaces && !b->delegated;
}

bool backend_serves_faults(const struct backend *b, const struct node_desc *desc) {
        return desc->faults && (!b->has_spaces || b->range_answer);
}

bool backend_takes_pages(const struct backend *b, const struct node_desc *desc) {
        return b->kind == NODE_HOST || (b->range_new && (!b->slots || desc->managed));
}
