#include "told.h"

#include "ctl.h"
#include "json.h"
#include "size.h"

enum { PAGE = 4096 };

const char *told_text(struct ctl *c, const struct svmd_device_events *e) {
        if (!(e->pages_in | e->pages_out | e->faults | e->evictions | e->restores | e->unmaps))
                return NULL;
        return ctl_text(
                c,
                "%s moved in and %s out, %llu fault%s, %llu range%s unmapped; queues stopped %llu times and went "
                "on %llu",
                ctl_size(c, e->pages_in * PAGE), ctl_size(c, e->pages_out * PAGE), (unsigned long long)e->faults,
                e->faults == 1 ? "" : "s", (unsigned long long)e->unmaps, e->unmaps == 1 ? "" : "s",
                (unsigned long long)e->evictions, (unsigned long long)e->restores);
}

struct json_object *told_json(const struct svmd_device_events *e) {
        struct json_object *o = json_object_new_object();

        json_add_count(o, "pages_in", e->pages_in);
        json_add_count(o, "pages_out", e->pages_out);
        json_add_count(o, "faults", e->faults);
        json_add_count(o, "evictions", e->evictions);
        json_add_count(o, "restores", e->restores);
        json_add_count(o, "unmaps", e->unmaps);
        return o;
}
