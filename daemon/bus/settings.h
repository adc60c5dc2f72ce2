#pragma once

#include <systemd/sd-bus.h>

#include "proto/svmd.pb-c.h"

struct view_copy;

/*
 * What the methods of partitions take: a{sv}, whose names and types are those of docs/man/org.svmd1.5. A name that is
 * not known, or a value of another type, is an error of the caller's. Texts and lists point into the message or into
 * `settings`, and live as long as both.
 */
enum { SETTINGS_LIMITS = 256 };

struct settings {
        Svmd__V1__NodeLimit limits[SETTINGS_LIMITS], *list[SETTINGS_LIMITS];
        size_t limits_count;
        const struct view_copy *view; /* names of nodes */
};

int settings_create(struct settings *s, sd_bus_message *m, Svmd__V1__PartitionCreate *op, sd_bus_error *error);
int settings_set(struct settings *s, sd_bus_message *m, Svmd__V1__PartitionSet *op, sd_bus_error *error);
int settings_delete(struct settings *s, sd_bus_message *m, Svmd__V1__PartitionDelete *op, sd_bus_error *error);
