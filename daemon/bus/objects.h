#pragma once

#include <systemd/sd-bus.h>

struct calls;
struct objects;
struct view;
struct view_hooks;

/*
 * What the bus sees: /org/svmd1 with org.svmd1.Manager and an object manager, and an object for each node and
 * partition. Properties are read out of the view's copy; methods become calls.
 */
int objects_new(struct objects **ret, sd_bus *bus, struct calls *calls);
void objects_free(struct objects *o);
/* For the view, which has to be set before the bus is served. */
void objects_hooks(struct objects *o, struct view_hooks *hooks);
void objects_set_view(struct objects *o, struct view *v);
