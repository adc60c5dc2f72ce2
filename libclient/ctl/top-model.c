#include "top-model.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ctl.h"

const enum top_column top_columns[_TOP_PARTS][TOP_COLUMNS + 1] = {
        [TOP_NODES] = { TOP_NAME, TOP_STATE, TOP_USED, TOP_SIZE, TOP_SHARE, TOP_BAR, TOP_USED_PAST, TOP_MANAGED, TOP_IN,
                        TOP_OUT, TOP_RATE_PAST },
        [TOP_PARTITIONS] = { TOP_NAME, TOP_COUNT_SESSIONS, TOP_COUNT_RESERVATIONS, TOP_USED, TOP_USED_PAST, TOP_DEEDS,
                             TOP_RATE_PAST, TOP_OUT },
        [TOP_SESSIONS] = { TOP_ID, TOP_NAME, TOP_PARTITION, TOP_CONTAINER, TOP_PID, TOP_USER, TOP_USED, TOP_USED_PAST,
                           TOP_DEEDS, TOP_RATE_PAST },
};

const char *top_heading(enum top_part part, enum top_column column) {
        static const char *const names[] = { "NODE", "PARTITION", "CLIENT" }, *const deeds[] = { "TOUCHES/S", "MOVES/S",
                                                                                                 "REQ/S" };

        switch (column) {
        case TOP_NAME: return names[part];
        case TOP_ID: return "SESSION";
        case TOP_PARTITION: return "PARTITION";
        case TOP_CONTAINER: return "CONTAINER";
        case TOP_PID: return "PID";
        case TOP_USER: return "USER";
        case TOP_STATE: return "STATE";
        case TOP_USED: return "USED";
        case TOP_SIZE: return "SIZE";
        case TOP_SHARE: return "USE%";
        case TOP_BAR: return "";
        case TOP_USED_PAST: return "USE";
        case TOP_IN: return "IN/S";
        case TOP_OUT: return part == TOP_NODES ? "OUT/S" : "EVICTED/S";
        case TOP_DEEDS: return deeds[part];
        case TOP_RATE_PAST: return part == TOP_SESSIONS ? "REQUESTS" : "MOVES";
        case TOP_COUNT_SESSIONS: return "SESSIONS";
        case TOP_COUNT_RESERVATIONS: return "RANGES";
        case TOP_MANAGED: return "MANAGED";
        case TOP_END: break;
        }
        return "";
}

enum top_column top_column_of(enum top_part part, const char *name) {
        for (const enum top_column *k = top_columns[part]; *k; k++) {
                if (*top_heading(part, *k) && strcasecmp(top_heading(part, *k), name) == 0)
                        return *k;
        }
        return TOP_END;
}

void top_init(struct top_model *m, uint64_t interval_ns) {
        *m = (struct top_model){ .interval_ns = interval_ns, .focus = TOP_PARTITIONS };
        m->views[TOP_NODES].sort = TOP_NAME;
        m->views[TOP_PARTITIONS].sort = TOP_USED;
        m->views[TOP_SESSIONS].sort = TOP_USED;
}

void top_fini(struct top_model *m) {
        for (unsigned i = 0; i < _TOP_PARTS; i++)
                free(m->views[i].items);
}

/* ---- order ---- */

/* What numbers are compared; of the past, what it is the past of. */
static uint64_t number_of(const struct top_item *i, enum top_column column) {
        switch (column) {
        case TOP_ID: return i->now.id;
        case TOP_PID: return i->now.pid;
        case TOP_USER: return i->now.uid;
        case TOP_STATE: return i->now.offline;
        case TOP_USED:
        case TOP_USED_PAST: return i->now.used;
        case TOP_SIZE: return i->now.size;
        case TOP_SHARE:
        case TOP_BAR: return i->now.size ? (uint64_t)((unsigned __int128)i->now.used * 10000 / i->now.size) : 0;
        case TOP_IN: return i->in;
        case TOP_OUT: return i->out;
        case TOP_DEEDS: return i->deeds;
        case TOP_RATE_PAST: return i->past ? i->rate[TOP_PAST - 1] : 0;
        case TOP_COUNT_SESSIONS: return i->now.sessions;
        case TOP_COUNT_RESERVATIONS: return i->now.reservations;
        case TOP_MANAGED: return i->now.managed;
        default: return 0;
        }
}

static bool is_word(enum top_column column) {
        return column == TOP_NAME || column == TOP_PARTITION || column == TOP_CONTAINER;
}

static int by_words(const struct top_item *a, const struct top_item *b, enum top_column column) {
        return column == TOP_PARTITION   ? strcmp(a->now.partition, b->now.partition)
               : column == TOP_CONTAINER ? strcmp(a->now.container, b->now.container)
                                         : strverscmp(a->now.name, b->now.name);
}

/* Words go up, numbers go down; among equals, by name and number, so that nothing changes places without a reason. */
static int compare(const void *left, const void *right, void *userdata) {
        const struct top_item *a = left, *b = right;
        const struct top_view *v = userdata;
        uint64_t x = number_of(a, v->sort), y = number_of(b, v->sort);
        int r = is_word(v->sort) ? by_words(a, b, v->sort) : x > y ? -1 : x < y;

        r = v->reverse ? -r : r;
        if (r == 0)
                r = by_words(a, b, TOP_NAME);
        return r ? r : a->now.id < b->now.id ? -1 : a->now.id > b->now.id;
}

static bool passes(const struct top_model *m, const struct top_item *i) {
        return !*m->filter || strcasestr(i->now.name, m->filter) || strcasestr(i->now.partition, m->filter) ||
               strcasestr(i->now.container, m->filter);
}

static void view_arrange(const struct top_model *m, struct top_view *v) {
        v->shown = 0;
        for (size_t i = 0; i < v->count; i++) {
                struct top_item item = v->items[i];

                if (!passes(m, &item))
                        continue;
                v->items[i] = v->items[v->shown];
                v->items[v->shown++] = item;
        }
        if (v->shown)
                qsort_r(v->items, v->shown, sizeof(*v->items), compare, v);
        if (v->cursor >= v->shown)
                v->cursor = v->shown ? v->shown - 1 : 0;
}

void top_arrange(struct top_model *m) {
        for (unsigned i = 0; i < _TOP_PARTS; i++)
                view_arrange(m, &m->views[i]);
}

/* ---- snapshots ---- */

static int by_key(const void *left, const void *right) {
        const struct top_item *a = left, *b = right;

        if (a->now.id != b->now.id)
                return a->now.id < b->now.id ? -1 : 1;
        return strcmp(a->now.name, b->now.name);
}

static uint64_t rate_of(uint64_t now, uint64_t before, uint64_t ns) {
        return now > before && ns ? (uint64_t)((unsigned __int128)(now - before) * 1000000000 / ns) : 0;
}

static void remember(uint64_t *past, uint64_t value) {
        memmove(past, past + 1, (TOP_PAST - 1) * sizeof(*past));
        past[TOP_PAST - 1] = value;
}

static void item_take(struct top_item *i, enum top_part part, const struct top_row *row, uint64_t ns) {
        i->in = rate_of(row->in, i->now.in, ns);
        i->out = rate_of(row->out, i->now.out, ns);
        i->deeds = rate_of(row->deeds, i->now.deeds, ns);
        i->now = *row;
        i->seen = true;
        remember(i->used, row->used);
        remember(i->rate, part == TOP_NODES ? i->in + i->out : i->deeds);
        i->past += i->past < TOP_PAST;
}

static void view_reserve(struct top_view *v, size_t count) {
        struct top_item *more;

        if (count <= v->room)
                return;
        more = realloc(v->items, 2 * count * sizeof(*more));
        if (!more)
                obstack_alloc_failed_handler();
        v->items = more;
        v->room = 2 * count;
}

/* What is not in the snapshot has gone. The items that were known stand in front, in the order of their keys. */
static void view_take(struct top_view *v, enum top_part part, const struct top_snapshot *s, uint64_t ns) {
        size_t known = v->count, left = 0;

        if (known)
                qsort(v->items, known, sizeof(*v->items), by_key);
        view_reserve(v, known + s->count[part]);
        for (size_t i = 0; i < known; i++)
                v->items[i].seen = false;
        for (size_t i = 0; i < s->count[part]; i++) {
                struct top_item wanted = { .now = s->rows[part][i] }, *item = NULL;

                if (known)
                        item = bsearch(&wanted, v->items, known, sizeof(wanted), by_key);
                if (!item) {
                        item = &v->items[v->count++];
                        *item = (struct top_item){ .now = s->rows[part][i] };
                }
                item_take(item, part, &s->rows[part][i], ns);
        }
        for (size_t i = 0; i < v->count; i++)
                if (v->items[i].seen)
                        v->items[left++] = v->items[i];
        v->count = left;
}

void top_take(struct top_model *m, const struct top_snapshot *s) {
        m->heard_ns = s->at_ns;
        m->away = s->away;
        if (s->away) {
                snprintf(m->why, sizeof(m->why), "%s", s->why);
                m->snapshots = 0;
                return;
        }
        if (m->paused)
                return;
        for (unsigned i = 0; i < _TOP_PARTS; i++)
                view_take(&m->views[i], (enum top_part)i, s, m->at_ns && s->at_ns > m->at_ns ? s->at_ns - m->at_ns : 0);
        memcpy(m->version, s->version, sizeof(m->version));
        m->epoch = s->epoch;
        m->uptime_ms = s->uptime_ms;
        m->at_ns = s->at_ns;
        m->snapshots++;
        top_arrange(m);
}

/* ---- keys ---- */

static void sort_next(struct top_model *m, int step) {
        struct top_view *v = &m->views[m->focus];
        const enum top_column *columns = top_columns[m->focus];
        int count = 0, at = 0;

        for (; columns[count]; count++)
                at = columns[count] == v->sort ? count : at;
        do
                at = (at + step + count) % count;
        while (!*top_heading(m->focus, columns[at]));
        v->sort = columns[at];
        view_arrange(m, v);
}

static void move(struct top_model *m, long by) {
        struct top_view *v = &m->views[m->focus];
        long to = (long)v->cursor + by;

        v->cursor = v->shown == 0 || to < 0 ? 0 : to >= (long)v->shown ? v->shown - 1 : (size_t)to;
}

static void type(struct top_model *m, unsigned key) {
        size_t length = strlen(m->filter);

        if (key == TOP_KEY_ENTER || key == TOP_KEY_ESCAPE)
                m->typing = false;
        if (key == TOP_KEY_ESCAPE)
                *m->filter = '\0';
        if (key == TOP_KEY_ERASE && length)
                m->filter[length - 1] = '\0';
        if (key >= ' ' && key < 0x7f && length + 1 < sizeof(m->filter)) {
                m->filter[length] = (char)key;
                m->filter[length + 1] = '\0';
        }
        top_arrange(m);
}

static enum top_deed change_interval(struct top_model *m, bool longer) {
        uint64_t to = longer ? m->interval_ns * 2 : m->interval_ns / 2;

        if (to >= 100000000ull && to <= 60000000000ull)
                m->interval_ns = to;
        return TOP_INTERVAL;
}

static void clear_filter(struct top_model *m) {
        *m->filter = '\0';
        top_arrange(m);
}

enum top_deed top_key(struct top_model *m, unsigned key) {
        enum { PAGE = 10, ALL = 1 << 30 };

        if (m->typing) {
                type(m, key);
                return TOP_STAY;
        }
        if (m->help) {
                m->help = false;
                return key == 'q' ? TOP_QUIT : TOP_STAY;
        }
        switch (key) {
        case 'q': return TOP_QUIT;
        case TOP_KEY_TAB: m->focus = (m->focus + 1) % _TOP_PARTS; break;
        case TOP_KEY_BACK_TAB: m->focus = (m->focus + _TOP_PARTS - 1) % _TOP_PARTS; break;
        case 'n': m->focus = TOP_NODES; break;
        case 'p': m->focus = TOP_PARTITIONS; break;
        case 's': m->focus = TOP_SESSIONS; break;
        case 'z':
        case TOP_KEY_ENTER: m->alone = !m->alone; break;
        case '<':
        case TOP_KEY_LEFT: sort_next(m, -1); break;
        case '>':
        case TOP_KEY_RIGHT: sort_next(m, 1); break;
        case 'r':
                m->views[m->focus].reverse = !m->views[m->focus].reverse;
                top_arrange(m);
                break;
        case '/': m->typing = true; break;
        case TOP_KEY_ESCAPE: clear_filter(m); break;
        case ' ': m->paused = !m->paused; break;
        case '+': return change_interval(m, true);
        case '-': return change_interval(m, false);
        case 'h':
        case '?': m->help = true; break;
        case 'k':
        case TOP_KEY_UP: move(m, -1); break;
        case 'j':
        case TOP_KEY_DOWN: move(m, 1); break;
        case TOP_KEY_PAGE_UP: move(m, -PAGE); break;
        case TOP_KEY_PAGE_DOWN: move(m, PAGE); break;
        case TOP_KEY_HOME: move(m, -ALL); break;
        case TOP_KEY_END: move(m, ALL); break;
        default: break;
        }
        return TOP_STAY;
}
