#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/setting.h"

/*
 * What administrators have set while svmd runs, over what the configuration says of the same (rates.h has both): until
 * it is taken back, or the machine starts again. The journal has it.
 */
struct service;

enum { SETTINGS_MAX = 1024 };

struct settings_row {
        struct setting setting; /* its profile is one that svmd comes with */
        uint64_t set_ns;        /* since 1970 */
        uint32_t uid;
};

struct settings {
        struct settings_row *rows; /* what was set later behind */
        uint32_t count, room;
};

enum {
        _SETTINGS_E_OK,
        SETTINGS_E_NONE, /* taken back: it was not set */
        SETTINGS_E_FULL,
};

/* In the place of what was set of the same; or that is taken back. It counts at once. 0, SETTINGS_E_*, -ENOMEM. */
int settings_set(struct service *svc, const struct settings_row *row);
int settings_back(struct service *svc, const struct setting *setting);

/* An effect of SETTING: 0, -ENOMEM, or -EBADMSG with a sentence. It counts with the next rates_apply(). */
int settings_replay(struct service *svc, const void *bytes, char *why, size_t why_size);
/* For a snapshot: JOURNAL_E_FULL. */
int settings_put(struct service *svc);
struct effect_setting;
struct effect_setting effect_of_setting(const struct settings_row *row, bool back);
void settings_free(struct service *svc);
