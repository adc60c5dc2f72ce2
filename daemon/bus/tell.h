#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-bus.h>

struct view_copy;

/*
 * Signals about objects that come, change and go, from the difference of two copies. A bounded number of objects is
 * told of at a time, and nothing while the bus takes nothing: what was not told then is told with a later copy.
 */
enum { TELL_OBJECTS = 256, TELL_QUEUE = 1024 };

struct tell {
        sd_bus *bus;
        uint32_t manager;
};

/* `next` is not current yet: what has gone is told, and what has changed is noted. */
void tell_changes(struct tell *t, const struct view_copy *now, struct view_copy *next);
/* `now` has become current. */
void tell_changed(struct tell *t, const struct view_copy *now);
bool tell_is_full(const struct tell *t);
