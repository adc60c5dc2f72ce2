#include "core/unbrokered.h"

#include <string.h>

/* CUDA has files for what all its devices share: who may use one of them opens those too. */
static bool is_named(const char *name, const char *device) {
        static const char nvidia[] = "/dev/nvidia";

        if (!name[0])
                return false;
        return strcmp(name, device) == 0 ||
               (strcmp(name, nvidia) == 0 && strncmp(device, nvidia, sizeof(nvidia) - 1) == 0);
}

static bool covers(const struct claim *c, const char *device) {
        for (unsigned i = 0; i < CLAIM_NAMES; i++)
                if (is_named(c->names[i], device))
                        return true;
        return false;
}

bool unbrokered(const struct claim *claims, unsigned count, const struct sight *seen, uint64_t *ret_claimed) {
        uint64_t bytes = 0;
        bool named = false;

        for (unsigned i = 0; i < count; i++) {
                if (!covers(&claims[i], seen->device))
                        continue;
                named = true;
                bytes += claims[i].bytes;
        }
        *ret_claimed = seen->kind == SIGHT_MEMORY ? bytes : named ? seen->bytes : 0;
        return seen->kind == SIGHT_MEMORY ? seen->bytes > bytes : !named;
}
