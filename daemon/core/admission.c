#include "core/admission.h"

#include <stddef.h>

#define PAGE 4096

void admission_line_init(struct admission_line *line, bool (*forbids)(void *userdata, const struct admission *a),
                         void *userdata) {
        *line = (struct admission_line){ .forbids = forbids, .userdata = userdata };
        list_init(&line->waiting);
}

/* ---- turns ---- */

static bool is_old(const struct admission *a) {
        return a->overtaken >= ADMISSION_OVERTAKEN;
}

static bool goes_before(const struct admission *a, const struct admission *b) {
        if (is_old(a) != is_old(b))
                return is_old(a);
        if (!is_old(a) && a->priority != b->priority)
                return a->priority > b->priority;
        if (!is_old(a) && a->start != b->start)
                return a->start < b->start;
        return a->number < b->number;
}

static void insert(struct admission_line *line, struct admission *a) {
        struct list *at = line->waiting.prev;

        while (at != &line->waiting && goes_before(a, container_of(at, struct admission, by_line)))
                at = at->prev;
        list_push_front(at, &a->by_line);
}

static uint64_t cost(const struct admission *a) {
        uint64_t pages = 0;

        for (uint32_t i = 0; i < a->count; i++)
                pages += (a->needs[i].bytes - 1) / PAGE + 1;
        return pages;
}

void admission_enter(struct admission_line *line, struct admission *a) {
        a->number = line->number++;
        a->overtaken = 0;
        a->start = a->share->finish > line->now ? a->share->finish : line->now;
        a->share->finish = a->start + cost(a);
        if (a->share->finish > line->latest)
                line->latest = a->share->finish;
        insert(line, a);
        line->count++;
}

/* With the line empty no share is behind another. */
static void leave(struct admission_line *line, struct admission *a) {
        list_remove(&a->by_line);
        line->count--;
        if (line->count == 0)
                line->now = line->latest;
}

void admission_call_off(struct admission_line *line, struct admission *a) {
        if (a->share->finish == a->start + cost(a))
                a->share->finish = a->start;
        leave(line, a);
}

/* ---- room ---- */

static uint64_t room_left(const struct account *a) {
        uint64_t taken = a->used + a->claimed;

        return taken >= a->used && taken < a->max ? a->max - taken : 0;
}

/* Of the accounts up to, not including, `end`. */
static bool has_room(const struct admission_need *n, const struct account *end) {
        for (const struct account *a = n->account; a != end; a = a->parent)
                if (n->bytes > room_left(a))
                        return false;
        return true;
}

static const struct account *node_of(const struct admission_need *n) {
        const struct account *a = n->account;

        while (a->parent)
                a = a->parent;
        return a;
}

static bool all_have_room(const struct admission *a, bool on_nodes) {
        for (uint32_t i = 0; i < a->count; i++)
                if (!has_room(&a->needs[i], on_nodes ? NULL : node_of(&a->needs[i])))
                        return false;
        return true;
}

const struct account *admission_too_much(const struct admission *a) {
        for (uint32_t i = 0; i < a->count; i++)
                for (const struct account *at = a->needs[i].account; at; at = at->parent)
                        if (a->needs[i].bytes > at->max)
                                return at;
        return NULL;
}

const struct account *admission_lacks(const struct admission *a) {
        for (uint32_t i = 0; i < a->count; i++)
                for (const struct account *at = a->needs[i].account; at; at = at->parent)
                        if (at->used >= at->max || a->needs[i].bytes > at->max - at->used)
                                return at;
        return NULL;
}

/* ---- claims: what those before have priority for, during one step ---- */

static void claim(const struct admission *a) {
        bool on_nodes = all_have_room(a, false);

        if (admission_too_much(a))
                return;
        for (uint32_t i = 0; i < a->count; i++)
                for (struct account *at = a->needs[i].account; at && (on_nodes || at->parent); at = at->parent)
                        at->claimed = a->needs[i].bytes > UINT64_MAX - at->claimed ? UINT64_MAX
                                                                                   : at->claimed + a->needs[i].bytes;
}

static void clear_claims(const struct admission_line *line) {
        list_for_each (l, &line->waiting) {
                const struct admission *a = container_of(l, struct admission, by_line);

                for (uint32_t i = 0; i < a->count; i++)
                        for (struct account *at = a->needs[i].account; at; at = at->parent)
                                at->claimed = 0;
        }
}

/* ---- granting ---- */

static void grant(struct admission_line *line, struct admission *a, struct list *granted) {
        for (uint32_t i = 0; i < a->count; i++)
                charge_force(&a->needs[i].charge, a->needs[i].account, a->needs[i].bytes);
        if (a->start > line->now)
                line->now = a->start;
        leave(line, a);
        list_push_back(granted, &a->by_line);
}

static bool meet(const struct admission *a, const struct admission *b) {
        for (uint32_t i = 0; i < a->count; i++)
                for (uint32_t j = 0; j < b->count; j++)
                        if (node_of(&a->needs[i]) == node_of(&b->needs[j]))
                                return true;
        return false;
}

/* Those that were there before, and still are. */
static void overtake(struct admission_line *line, const struct admission *by) {
        list_for_each_safe (l, &line->waiting) {
                struct admission *a = container_of(l, struct admission, by_line);

                if (a->number > by->number || is_old(a) || !meet(a, by))
                        continue;
                a->overtaken++;
                if (!is_old(a))
                        continue;
                list_remove(&a->by_line);
                insert(line, a);
        }
}

void admission_step(struct admission_line *line, struct list *granted) {
        struct list *last = granted->prev;

        list_for_each_safe (l, &line->waiting) {
                struct admission *a = container_of(l, struct admission, by_line);

                if (all_have_room(a, true) && !(line->forbids && line->forbids(line->userdata, a)))
                        grant(line, a, granted);
                else
                        claim(a);
        }
        clear_claims(line);
        for (struct list *l = last->next; l != granted; l = l->next)
                overtake(line, container_of(l, struct admission, by_line));
}
