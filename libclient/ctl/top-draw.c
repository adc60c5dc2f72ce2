#include "top-draw.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "size.h"
#include "top-model.h"
#include "utf8.h"

/*
 * The screen from the top: who svmd is, what has to be known, the parts one under another, and the keys. A part is a
 * heading and its rows. Where a line is too short columns go, those first that say what others say too; where the
 * screen is too low each part keeps two lines, and at last there is only the one in focus.
 */
enum { TEXT = 300, HEAD_LINES = 2, MANY_LINES = 1 << 20 };

bool top_screen_init(struct top_screen *s, unsigned lines, unsigned columns, bool utf8) {
        *s = (struct top_screen){ .lines = lines, .columns = columns, .utf8 = utf8 };
        s->cells = calloc((size_t)lines * columns + 1, sizeof(*s->cells));
        return s->cells != NULL;
}

void top_screen_fini(struct top_screen *s) {
        free(s->cells);
        s->cells = NULL;
}

/* ---- cells ---- */

static void put(struct top_screen *s, unsigned line, unsigned column, const char *text, unsigned bytes, uint8_t style) {
        struct top_cell *cell = &s->cells[(size_t)line * s->columns + column];

        if (line >= s->lines || column >= s->columns)
                return;
        memcpy(cell->text, text, bytes);
        cell->text[bytes] = '\0';
        cell->style = style;
}

/* What programs call themselves is not to be trusted: what a terminal would not show in one column is "?". */
static unsigned character(const struct top_screen *s, const char *at, const char **ret_text, unsigned *ret_bytes) {
        uint32_t c = 0;
        unsigned length = utf8_decode(at, &c);
        bool plain = length == 1 && c >= ' ' && c<0x7f, other = length> 1 && s->utf8 && c >= 0xa0 &&
                     wcwidth((wchar_t)c) == 1;

        *ret_text = plain || other ? at : "?";
        *ret_bytes = plain || other ? length : 1;
        return length ? length : 1;
}

static unsigned width_of(const struct top_screen *s, const char *text) {
        const char *shown;
        unsigned width = 0, bytes;

        for (; *text; width++)
                text += character(s, text, &shown, &bytes);
        return width;
}

/* In `width` columns from `column` on, cut where it is longer. Returns the column behind. */
static unsigned write_at(struct top_screen *s, unsigned line, unsigned column, unsigned width, bool right,
                         const char *text, uint8_t style) {
        unsigned length = width_of(s, text), end = column + width, bytes;
        const char *shown;

        for (unsigned i = column; i < end; i++)
                put(s, line, i, " ", 1, style);
        column += right && length < width ? width - length : 0;
        for (; *text && column < end; column++) {
                text += character(s, text, &shown, &bytes);
                if (column + 1 == end && *text)
                        put(s, line, column, s->utf8 ? "…" : "+", s->utf8 ? 3 : 1, style);
                else
                        put(s, line, column, shown, bytes, style);
        }
        return end;
}

static void write_line(struct top_screen *s, unsigned line, const char *text, uint8_t style) {
        write_at(s, line, 0, s->columns, false, text, style);
}

/* ---- columns ---- */

static const struct {
        unsigned width;
        bool right;
        unsigned rank; /* the greatest goes first where there is no room */
} shapes[] = {
        [TOP_NAME] = { 14, false, 0 },
        [TOP_ID] = { 8, true, 4 },
        [TOP_PARTITION] = { 14, false, 3 },
        [TOP_CONTAINER] = { 20, false, 8 },
        [TOP_PID] = { 8, true, 6 },
        [TOP_USER] = { 8, false, 7 },
        [TOP_STATE] = { 7, false, 7 },
        [TOP_USED] = { 9, true, 1 },
        [TOP_SIZE] = { 9, true, 4 },
        [TOP_SHARE] = { 5, true, 4 },
        [TOP_BAR] = { 16, false, 9 },
        [TOP_USED_PAST] = { 12, false, 2 },
        [TOP_IN] = { 10, true, 3 },
        [TOP_OUT] = { 10, true, 3 },
        [TOP_DEEDS] = { 9, true, 3 },
        [TOP_RATE_PAST] = { 12, false, 5 },
        [TOP_COUNT_SESSIONS] = { 9, true, 5 },
        [TOP_COUNT_RESERVATIONS] = { 7, true, 8 },
        [TOP_MANAGED] = { 9, true, 10 },
};

struct layout {
        enum top_column columns[TOP_COLUMNS];
        unsigned count;
        unsigned name; /* columns that the name has */
};

static unsigned taken(const struct layout *l) {
        unsigned width = 0;

        for (unsigned i = 0; i < l->count; i++)
                width += shapes[l->columns[i]].width + (i > 0);
        return width;
}

static void drop_one(struct layout *l) {
        unsigned worst = 0;

        for (unsigned i = 1; i < l->count; i++)
                if (shapes[l->columns[i]].rank > shapes[l->columns[worst]].rank)
                        worst = i;
        memmove(&l->columns[worst], &l->columns[worst + 1], (l->count - worst - 1) * sizeof(l->columns[0]));
        l->count--;
}

/* What is left over is the name's, up to twice its width. */
static struct layout layout_of(enum top_part part, unsigned columns) {
        struct layout l = { .name = shapes[TOP_NAME].width };
        unsigned left;

        while (top_columns[part][l.count]) {
                l.columns[l.count] = top_columns[part][l.count];
                l.count++;
        }
        while (l.count > 1 && taken(&l) > columns)
                drop_one(&l);
        left = taken(&l) < columns ? columns - taken(&l) : 0;
        l.name += left < l.name ? left : l.name;
        return l;
}

/* ---- what a cell says ---- */

static void append(char text[TEXT], const char *more) {
        size_t length = strlen(text);

        snprintf(text + length, TEXT - length, "%s", more);
}

static void past_text(const struct top_screen *s, char text[TEXT], const uint64_t *values, unsigned past,
                      unsigned width, uint64_t most) {
        static const char *const utf8[] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
        static const char *const ascii[] = { " ", "_", ".", "-", "=", "+", "*", "%", "#" };
        unsigned shown = past < width ? past : width;

        for (unsigned i = TOP_PAST - shown; i < TOP_PAST; i++)
                most = values[i] > most ? values[i] : most;
        *text = '\0';
        for (unsigned i = shown; i < width; i++)
                append(text, " ");
        for (unsigned i = TOP_PAST - shown; i < TOP_PAST; i++) {
                unsigned level = most ? (unsigned)(((unsigned __int128)values[i] * 8 + most - 1) / most) : 0;

                append(text, (s->utf8 ? utf8 : ascii)[level]);
        }
}

static void bar_text(const struct top_screen *s, char text[TEXT], const struct top_row *row, unsigned width) {
        unsigned inner = width - 2, full = 0;

        if (row->size)
                full = (unsigned)(((unsigned __int128)row->used * inner + row->size - 1) / row->size);
        full = full > inner ? inner : full;
        snprintf(text, TEXT, "%s", "[");
        for (unsigned i = 0; i < inner; i++)
                append(text, i >= full ? " " : s->utf8 ? "█" : "|");
        append(text, "]");
}

static void rate_text(char text[TEXT], uint64_t bytes) {
        if (bytes)
                size_format(text, bytes);
        else
                snprintf(text, TEXT, "%s", "-");
}

static void user_text(char text[TEXT], uint32_t uid) {
        const struct passwd *pw = getpwuid(uid);

        if (pw)
                snprintf(text, TEXT, "%s", pw->pw_name);
        else
                snprintf(text, TEXT, "%u", uid);
}

static void cell_text(const struct top_screen *s, char text[TEXT], const struct top_item *i, enum top_column column) {
        const struct top_row *row = &i->now;
        unsigned width = shapes[column].width;

        *text = '\0';
        switch (column) {
        case TOP_NAME: snprintf(text, TEXT, "%s", *row->name ? row->name : "-"); break;
        case TOP_ID: snprintf(text, TEXT, "%llu", (unsigned long long)row->id); break;
        case TOP_PARTITION: snprintf(text, TEXT, "%s", row->partition); break;
        case TOP_CONTAINER: snprintf(text, TEXT, "%s", *row->container ? row->container : "-"); break;
        case TOP_PID: snprintf(text, TEXT, "%u", row->pid); break;
        case TOP_USER: user_text(text, row->uid); break;
        case TOP_STATE: snprintf(text, TEXT, "%s", row->offline ? "offline" : "online"); break;
        case TOP_USED: size_format(text, row->used); break;
        case TOP_SIZE: size_format(text, row->size); break;
        case TOP_SHARE:
                if (row->size)
                        snprintf(text, TEXT, "%u%%", (unsigned)((unsigned __int128)row->used * 100 / row->size));
                break;
        case TOP_BAR: bar_text(s, text, row, width); break;
        case TOP_USED_PAST: past_text(s, text, i->used, i->past, width, row->size); break;
        case TOP_RATE_PAST: past_text(s, text, i->rate, i->past, width, 0); break;
        case TOP_IN: rate_text(text, i->in); break;
        case TOP_OUT: rate_text(text, i->out); break;
        case TOP_DEEDS: count_format(text, i->deeds); break;
        case TOP_COUNT_SESSIONS: count_format(text, row->sessions); break;
        case TOP_COUNT_RESERVATIONS: count_format(text, row->reservations); break;
        case TOP_MANAGED: size_format(text, row->managed); break;
        case TOP_END: break;
        }
}

/* How full a node is, is said by colour too. */
static uint8_t cell_style(const struct top_item *i, enum top_column column) {
        uint64_t size = i->now.size;

        if (column == TOP_USED_PAST || column == TOP_RATE_PAST)
                return TOP_SPARK;
        if ((column == TOP_STATE || column == TOP_NAME) && i->now.offline)
                return TOP_BAD;
        if (column != TOP_SHARE && column != TOP_BAR)
                return TOP_PLAIN;
        return i->now.used > size - size / 10 ? TOP_BAD : i->now.used > size - size / 4 ? TOP_WARN : TOP_GOOD;
}

/* ---- parts ---- */

static void heading_text(const struct top_screen *s, char text[TEXT], const struct top_view *v, enum top_part part,
                         enum top_column column) {
        const char *sorted = v->sort != column ? "" : s->utf8 ? v->reverse ? "▲" : "▼" : v->reverse ? "^" : "v";

        if (column != TOP_NAME)
                snprintf(text, TEXT, "%s%s", top_heading(part, column), sorted);
        else if (v->shown == v->count)
                snprintf(text, TEXT, "%s%s (%zu)", top_heading(part, column), sorted, v->count);
        else
                snprintf(text, TEXT, "%s%s (%zu/%zu)", top_heading(part, column), sorted, v->shown, v->count);
}

static void draw_row(struct top_screen *s, unsigned line, const struct layout *l, const struct top_item *item,
                     bool mark) {
        unsigned column = 0;
        char text[TEXT];

        write_line(s, line, "", mark ? TOP_MARK : TOP_PLAIN);
        for (unsigned i = 0; i < l->count; i++) {
                enum top_column k = l->columns[i];
                unsigned width = k == TOP_NAME ? l->name : shapes[k].width;

                cell_text(s, text, item, k);
                column =
                        write_at(s, line, column, width, shapes[k].right, text, mark ? TOP_MARK : cell_style(item, k)) +
                        1;
        }
}

static void draw_heading(struct top_screen *s, unsigned line, const struct layout *l, const struct top_view *v,
                         enum top_part part, uint8_t style) {
        unsigned column = 0;
        char text[TEXT];

        write_line(s, line, "", style);
        for (unsigned i = 0; i < l->count; i++) {
                enum top_column k = l->columns[i];
                unsigned width = k == TOP_NAME ? l->name : shapes[k].width;

                heading_text(s, text, v, part, k);
                column = write_at(s, line, column, width, shapes[k].right, text, style) + 1;
        }
}

/* In `lines` lines from `line` on, of which the first is the heading. */
static void draw_part(struct top_model *m, struct top_screen *s, enum top_part part, unsigned line, unsigned lines,
                      bool marks) {
        struct layout l = layout_of(part, s->columns);
        struct top_view *v = &m->views[part];
        bool focus = marks && part == m->focus;
        size_t rows = lines - 1;

        draw_heading(s, line, &l, v, part, focus ? TOP_HEAD : TOP_BOLD);
        if (v->first > v->cursor)
                v->first = v->cursor;
        if (v->cursor >= v->first + rows && rows)
                v->first = v->cursor - rows + 1;
        if (v->first + rows > v->shown)
                v->first = v->shown > rows ? v->shown - rows : 0;
        for (size_t i = 0; i < rows && v->first + i < v->shown; i++)
                draw_row(s, line + 1 + (unsigned)i, &l, &v->items[v->first + i], focus && v->first + i == v->cursor);
}

static unsigned least(unsigned a, unsigned b) {
        return a < b ? a : b;
}

/* Two lines each, then the nodes, then what is in focus, then the others get what they want. Returns what is left. */
static unsigned share_out(const struct top_model *m, unsigned lines, unsigned ret[_TOP_PARTS]) {
        const enum top_part order[] = { TOP_NODES, m->focus, TOP_PARTITIONS, TOP_SESSIONS };
        unsigned left = lines;

        for (unsigned i = 0; i < _TOP_PARTS; i++)
                ret[i] = 0;
        if (m->alone || lines < 2 * _TOP_PARTS) {
                ret[m->focus] = lines;
                return 0;
        }
        for (unsigned i = 0; i < _TOP_PARTS; i++)
                ret[i] = 2;
        left -= 2 * _TOP_PARTS;
        for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
                size_t shown = m->views[order[i]].shown;
                unsigned want = least(shown > MANY_LINES ? MANY_LINES : (unsigned)shown + 1, MANY_LINES), more;

                if (i == 0 && m->focus != TOP_NODES)
                        want = least(want, 2 + lines / 3);
                more = want > ret[order[i]] ? least(want - ret[order[i]], left) : 0;
                ret[order[i]] += more;
                left -= more;
        }
        return left;
}

/* ---- the other lines ---- */

static void uptime_text(char text[64], uint64_t ms) {
        unsigned long long s = ms / 1000;

        if (s < 3600)
                snprintf(text, 64, "%llu min %llu s", s / 60, s % 60);
        else if (s < 86400)
                snprintf(text, 64, "%llu h %llu min", s / 3600, s / 60 % 60);
        else
                snprintf(text, 64, "%llu d %llu h", s / 86400, s / 3600 % 24);
}

static void title_text(const struct top_model *m, char text[TEXT]) {
        uint64_t in = 0;
        char up[64], moved[SIZE_TEXT];

        for (size_t i = 0; i < m->views[TOP_NODES].count; i++)
                in += m->views[TOP_NODES].items[i].in;
        uptime_text(up, m->uptime_ms);
        size_format(moved, in);
        if (m->at_ns == 0)
                snprintf(text, TEXT, "svmd-ctl top");
        else
                snprintf(text, TEXT, "svmd %s, up %s: %zu nodes, %zu partitions, %zu sessions, %s/s move", m->version,
                         up, m->views[TOP_NODES].count, m->views[TOP_PARTITIONS].count, m->views[TOP_SESSIONS].count,
                         moved);
}

/* Silence is told when it has lasted longer than one interval, and some more. */
static bool is_silent(const struct top_model *m, uint64_t now_ns) {
        return m->heard_ns && now_ns > m->heard_ns + m->interval_ns + 2000000000ull;
}

static uint8_t notice_text(const struct top_model *m, uint64_t now_ns, char text[TEXT]) {
        unsigned long long age = m->at_ns && now_ns > m->at_ns ? (now_ns - m->at_ns) / 1000000000 : 0;

        *text = '\0';
        if (m->away) {
                snprintf(text, TEXT, "away for %llu s: %s", age, m->why);
                return TOP_BAD;
        }
        if (is_silent(m, now_ns)) {
                snprintf(text, TEXT, "svmd does not answer; this is %llu s old", age);
                return TOP_BAD;
        }
        if (m->typing || *m->filter)
                snprintf(text, TEXT, "filter: %s%s%s", m->filter, m->typing ? "_" : "", m->paused ? "   paused" : "");
        else if (m->paused)
                snprintf(text, TEXT, "paused");
        return TOP_WARN;
}

static const char *const keys_help[] = {
        "n p s    nodes, partitions, sessions; Tab: the next of them",
        "z        only the one in focus, or all of them (also Enter)",
        "< >      sort by the column to the left or right; r: the other way round",
        "/        show names with this text in them; Escape: show all",
        "j k      down and up, also by the arrows, Page Up and Down, Home, End",
        "space    hold the picture; again: go on",
        "+ -      look half as often, or twice",
        "q        quit",
        "",
        "IN/S and OUT/S are bytes that come to a node and leave it. MOVES/S of a",
        "partition are pages that a touch brought, or that left to make room.",
};

static void draw_help(struct top_screen *s) {
        for (unsigned i = 0; i < sizeof(keys_help) / sizeof(keys_help[0]); i++)
                write_line(s, HEAD_LINES + i, keys_help[i], TOP_PLAIN);
        write_line(s, s->lines - 1, "any key goes back", TOP_DIM);
}

void top_draw(struct top_model *m, struct top_screen *s, uint64_t now_ns) {
        unsigned shares[_TOP_PARTS], line = HEAD_LINES, left;
        char text[TEXT];
        uint8_t style;

        for (unsigned i = 0; i < s->lines; i++)
                write_line(s, i, "", TOP_PLAIN);
        title_text(m, text);
        write_line(s, 0, text, TOP_BOLD);
        style = notice_text(m, now_ns, text);
        write_line(s, 1, text, style);
        if (s->lines <= HEAD_LINES + 1)
                return;
        if (m->help) {
                draw_help(s);
                return;
        }
        left = share_out(m, s->lines - HEAD_LINES - 1, shares);
        for (unsigned i = 0; i < _TOP_PARTS; i++) {
                if (shares[i])
                        draw_part(m, s, (enum top_part)i, line, shares[i], true);
                line += shares[i] + (left >= _TOP_PARTS - 1);
        }
        snprintf(text, sizeof(text),
                 "q quit  Tab part  <> sort  r reverse  / filter  z alone  space hold  +- %g s  ? help",
                 (double)m->interval_ns / 1e9);
        write_line(s, s->lines - 1, text, TOP_DIM);
}

/* ---- without a terminal ---- */

static void print_line(const struct top_screen *s, unsigned line, FILE *out) {
        const struct top_cell *cells = &s->cells[(size_t)line * s->columns];
        unsigned end = s->columns;

        while (end && (!*cells[end - 1].text || strcmp(cells[end - 1].text, " ") == 0))
                end--;
        for (unsigned i = 0; i < end; i++)
                fputs(*cells[i].text ? cells[i].text : " ", out);
        fputc('\n', out);
}

void top_print(struct top_model *m, FILE *out, unsigned columns, bool utf8) {
        char text[TEXT];

        title_text(m, text);
        fprintf(out, "%s\n", text);
        for (unsigned i = 0; i < _TOP_PARTS; i++) {
                unsigned lines = (unsigned)m->views[i].shown + 1;
                struct top_screen s;

                if (!top_screen_init(&s, lines, columns, utf8))
                        return;
                draw_part(m, &s, (enum top_part)i, 0, lines, false);
                fputc('\n', out);
                for (unsigned line = 0; line < lines; line++)
                        print_line(&s, line, out);
                top_screen_fini(&s);
        }
}
