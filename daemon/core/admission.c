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

/* In all accounts but `except`. */
static bool has_room(const struct admission_need *n, const struct account *except) {
        for (const struct account *a = n->account; a; a = account_up(n->account, a))
                if (a != except && n->bytes > account_room_at(n->account, a))
                        return false;
        return true;
}

static struct account *node_of(const struct admission_need *n) {
        struct account *a = n->account;

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
                for (const struct account *leaf = a->needs[i].account, *at = leaf; at; at = account_up(leaf, at))
                        if (a->needs[i].bytes > account_most_at(leaf, at))
                                return at;
        return NULL;
}

const struct account *admission_lacks(const struct admission *a) {
        for (uint32_t i = 0; i < a->count; i++)
                for (const struct account *leaf = a->needs[i].account, *at = leaf; at; at = account_up(leaf, at))
                        if (a->needs[i].bytes > account_room_at(leaf, at))
                                return at;
        return NULL;
}

/* ---- claims: what those before have priority for, during one step ---- */

static void claim(const struct admission *a) {
        bool on_nodes = all_have_room(a, false);

        if (admission_too_much(a))
                return;
        for (uint32_t i = 0; i < a->count; i++) {
                const struct admission_need *n = &a->needs[i];
                const struct account *node = node_of(n);

                for (struct account *at = n->account; at; at = account_up(n->account, at))
                        if (on_nodes || at != node)
                                at->claimed = n->bytes > UINT64_MAX - at->claimed ? UINT64_MAX : at->claimed + n->bytes;
        }
}

static bool is_claimed(const struct admission *a) {
        for (uint32_t i = 0; i < a->count; i++)
                for (const struct account *leaf = a->needs[i].account, *at = leaf; at; at = account_up(leaf, at))
                        if (at->claimed > 0)
                                return true;
        return false;
}

static void clear_claims(const struct admission_line *line) {
        list_for_each (l, &line->waiting) {
                const struct admission *a = container_of(l, struct admission, by_line);

                for (uint32_t i = 0; i < a->count; i++)
                        for (struct account *leaf = a->needs[i].account, *at = leaf; at; at = account_up(leaf, at))
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

                a->front = !is_claimed(a);
                if (all_have_room(a, true) && !(line->forbids && line->forbids(line->userdata, a)))
                        grant(line, a, granted);
                else
                        claim(a);
        }
        clear_claims(line);
        for (struct list *l = last->next; l != granted; l = l->next)
                overtake(line, container_of(l, struct admission, by_line));
}
