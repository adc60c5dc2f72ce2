#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "top-snapshot.h"

/*
 * What `svmd-ctl top` knows and how it is looked at, without a terminal and without a clock: snapshots and keys come
 * in, and top-draw.h makes a screen of it.
 *
 * A row is the same as one before when it has the same number and name. Rates are the difference to the snapshot
 * before, by the time between; where a sum has become less, another svmd counts anew and the rate is none.
 */
enum { TOP_PAST = 64 };

struct top_item {
        struct top_row now;
        uint64_t used[TOP_PAST], rate[TOP_PAST]; /* the last `past` of them, the newest at the end */
        unsigned past;
        uint64_t in, out, deeds; /* a second */
        bool seen;               /* in the last snapshot */
};

/* What a column shows. */
enum top_column {
        TOP_END,
        TOP_NAME,
        TOP_ID,
        TOP_PARTITION,
        TOP_CONTAINER,
        TOP_PID,
        TOP_USER,
        TOP_STATE,
        TOP_USED,
        TOP_SIZE,
        TOP_SHARE,
        TOP_BAR,
        TOP_USED_PAST,
        TOP_IN,
        TOP_OUT,
        TOP_DEEDS,
        TOP_RATE_PAST,
        TOP_COUNT_SESSIONS,
        TOP_COUNT_RESERVATIONS,
        TOP_MANAGED,
};
enum { TOP_COLUMNS = 12 };
/* The columns of a part in order, ended by TOP_END. */
extern const enum top_column top_columns[_TOP_PARTS][TOP_COLUMNS + 1];

struct top_view {
        struct top_item *items; /* in the order that is shown */
        size_t count, room;
        size_t shown;         /* of them pass the filter, and stand first */
        size_t cursor, first; /* the line with the mark, and the one that stands on top */
        enum top_column sort;
        bool reverse;
};

struct top_model {
        struct top_view views[_TOP_PARTS];
        enum top_part focus;
        bool alone; /* only the part in focus is shown */
        bool paused, help, typing;
        char filter[64];
        uint64_t interval_ns;
        bool away;
        char why[256], version[32];
        uint64_t epoch, uptime_ms;
        uint64_t at_ns;     /* of the snapshot that is shown; 0: none yet */
        uint64_t heard_ns;  /* when the last came, also when it said that svmd is away */
        unsigned snapshots; /* since the last time that svmd came back */
};

/* Keys that are no characters. */
enum {
        TOP_KEY_UP = 0x110000,
        TOP_KEY_DOWN,
        TOP_KEY_PAGE_UP,
        TOP_KEY_PAGE_DOWN,
        TOP_KEY_HOME,
        TOP_KEY_END,
        TOP_KEY_LEFT,
        TOP_KEY_RIGHT,
        TOP_KEY_ENTER,
        TOP_KEY_ESCAPE,
        TOP_KEY_ERASE,
        TOP_KEY_TAB,
        TOP_KEY_BACK_TAB,
};
enum top_deed { TOP_STAY, TOP_QUIT, TOP_INTERVAL /* has changed */ };

void top_init(struct top_model *m, uint64_t interval_ns);
void top_fini(struct top_model *m);
void top_take(struct top_model *m, const struct top_snapshot *s);
enum top_deed top_key(struct top_model *m, unsigned key);
/* What the filter and the order are put to anew: after they were changed from outside. */
void top_arrange(struct top_model *m);
/* The column of that heading ("used", any case); TOP_END: there is none. */
enum top_column top_column_of(enum top_part part, const char *name);
/* "USED" */
const char *top_heading(enum top_part part, enum top_column column);
