#pragma once

#include <stdbool.h>

struct config;

/*
 * What of the configuration can change while svmd runs.
 */
enum { CONFIG_OPTIONS_MAX = 64 };

struct config_changes {
        const char *changed[CONFIG_OPTIONS_MAX], *restart[CONFIG_OPTIONS_MAX]; /* names of options */
        unsigned changed_count, restart_count;
};

/* False: with a restart alone. */
bool option_is_live(const char *name);
/* In which options the two differ: those that can change now, and those that need a restart. */
void config_compare(const struct config *c, const struct config *next, struct config_changes *ret);
/* Exchanges what can change now; done twice, nothing has happened. */
void config_exchange(struct config *c, struct config *next);
