#pragma once

#include <stdbool.h>
#include <stddef.h>

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* A circular doubly linked list with its links embedded in what it lists. A link that is on no list
 * points at itself, so removing it twice is harmless. */
struct list {
        struct list *next, *prev;
};

static inline void list_init(struct list *l) {
        l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l) {
        return l->next == l;
}

static inline void list_insert_before(struct list *at, struct list *l) {
        l->prev = at->prev;
        l->next = at;
        at->prev->next = l;
        at->prev = l;
}

static inline void list_push_back(struct list *head, struct list *l) {
        list_insert_before(head, l);
}

static inline void list_push_front(struct list *head, struct list *l) {
        list_insert_before(head->next, l);
}

static inline void list_remove(struct list *l) {
        l->prev->next = l->next;
        l->next->prev = l->prev;
        list_init(l);
}

#define list_for_each(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)
/* The current link may be removed while walking. */
#define list_for_each_safe(it, head)                                                                                   \
        for (struct list *it = (head)->next, *it##_next = it->next; it != (head); it = it##_next, it##_next = it->next)
