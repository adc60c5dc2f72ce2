#include "own.h"

#include <string.h>
#include <sys/mman.h>

#include "heap.h"
#include "raw.h"

/*
 * libsvmd's memory while the heap calls it. It is taken from a stretch of addresses of its own, so free() knows it by
 * the address; pieces are powers of two with their class in front, and go back to the list of their class. It is
 * ordinary private memory: a child inherits it.
 */
#define ROOM ((size_t)64 << 20)

enum { HEAD = 16, FIRST = 5, CLASSES = 22 }; /* 32 bytes to 64 MiB */

struct piece {
        size_t class;
        struct piece *next; /* while it is free */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uintptr_t start, used, end;
static struct piece *spare[CLASSES];

void own_hold(void) {
        pthread_mutex_lock(&lock);
}

void own_release(void) {
        pthread_mutex_unlock(&lock);
}

bool own_has(const void *p) {
        return (uintptr_t)p - start < end - start;
}

static bool reserve(void) {
        void *p;

        if (start)
                return true;
        p = raw_mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
                return false;
        used = start = (uintptr_t)p;
        end = start + ROOM;
        return true;
}

static struct piece *take(size_t class) {
        struct piece *p = spare[class];
        size_t size = (size_t)1 << (class + FIRST);

        if (p) {
                spare[class] = p->next;
                return p;
        }
        if (!reserve() || size > end - used)
                return NULL;
        p = (struct piece *)used;
        used += size;
        p->class = class;
        return p;
}

void *own_alloc(size_t size) {
        size_t class = 0;
        struct piece *p;

        if (size > ROOM - HEAD)
                return NULL;
        while ((size_t)1 << (class + FIRST) < size + HEAD)
                class ++;
        own_hold();
        p = take(class);
        own_release();
        return p ? (char *)p + HEAD : NULL;
}

static struct piece *piece_of(const void *p) {
        return (struct piece *)((uintptr_t)p - HEAD);
}

size_t own_size(const void *p) {
        return ((size_t)1 << (piece_of(p)->class + FIRST)) - HEAD;
}

void own_free(void *p) {
        struct piece *piece = piece_of(p);

        own_hold();
        piece->next = spare[piece->class];
        spare[piece->class] = piece;
        own_release();
}

void *own_realloc(void *p, size_t size) {
        void *to;

        if (own_size(p) >= size)
                return p;
        to = own_alloc(size);
        if (!to)
                return NULL;
        memcpy(to, p, own_size(p));
        own_free(p);
        return to;
}
