#include <stddef.h>

#include "backend/backend.h"
#include "backend/kinds.h"

const struct backend *backend_for(enum node_kind kind) {
        static const struct backend *const kinds[] = { &backend_host, &backend_soft, &backend_hmm, &backend_cuda };

        for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
                if (kinds[i]->kind == kind)
                        return kinds[i];
        return NULL;
}
