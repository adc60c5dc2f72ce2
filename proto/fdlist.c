#include "proto/fdlist.h"

#include <errno.h>
#include <unistd.h>

void fdlist_init(struct fdlist *l) {
        l->count = l->next = 0;
}

int fdlist_add(struct fdlist *l, int fd) {
        if (l->count == SVMD_FDS_MAX)
                return -EMFILE;
        l->fd[l->count++] = fd;
        return 0;
}

int fdlist_steal(struct fdlist *l) {
        if (l->next == l->count)
                return -1;
        return l->fd[l->next++];
}

unsigned fdlist_left(const struct fdlist *l) {
        return l->count - l->next;
}

void fdlist_close(struct fdlist *l) {
        while (l->next < l->count)
                close(l->fd[l->next++]);
        fdlist_init(l);
}
