#include "main/reload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "main/config.h"
#include "main/live.h"
#include "service/service.h"

_Static_assert((int)CONFIG_OPTIONS_MAX <= (int)SERVICE_OPTIONS_MAX, "all names fit");

static int load(struct config *c, int argc, char **argv, char *why, size_t why_size) {
        FILE *err = fmemopen(why, why_size, "w"), *out = err ? fopen("/dev/null", "we") : NULL;
        int r = out ? config_load(c, argc, argv, out, err) : -ENOMEM;

        if (out)
                fclose(out);
        if (err)
                fclose(err);
        if (r == -ENOMEM)
                snprintf(why, why_size, "svmd has no memory left");
        why[strcspn(why, "\n")] = 0;
        return r > 0 ? -EINVAL : r;
}

int reload_read(struct config **ret, int argc, char **argv, char *why, size_t why_size) {
        struct config *c = alloc_zero(sizeof(*c));
        int r;

        why[0] = 0;
        if (!c) {
                snprintf(why, why_size, "svmd has no memory left");
                return -ENOMEM;
        }
        r = load(c, argc, argv, why, why_size);
        if (r < 0)
                alloc_free(c);
        else
                *ret = c;
        return r;
}

void reload_exchange(struct config *c, struct config *next, struct service_reloaded *ret) {
        struct config_changes changes;

        config_compare(c, next, &changes);
        memcpy(ret->changed, changes.changed, sizeof(changes.changed));
        memcpy(ret->restart, changes.restart, sizeof(changes.restart));
        ret->changed_count = changes.changed_count;
        ret->restart_count = changes.restart_count;
        config_exchange(c, next);
}

void reload_free(struct config *c) {
        if (!c)
                return;
        config_fini(c);
        alloc_free(c);
}

struct service_default_limit *reload_limits(const struct config *c) {
        struct service_default_limit *limits = alloc_array(c->default_limits_count + 1, sizeof(*limits));

        for (uint32_t i = 0; limits && i < c->default_limits_count; i++)
                limits[i] = (struct service_default_limit){ .node = c->default_limits[i].node,
                                                            .max = c->default_limits[i].max };
        return limits;
}
