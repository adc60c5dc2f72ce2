#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "mover/clientmem.h"
#include "mover/reach.h"
#include "mover/userfault.h"

/*
 * The thread that serves what devices want of a process's memory, one request at a time.
 *
 *      read      reach_read -> behind the gate: checked -> told
 *      write     pinned -> behind the gate: checked, let through, written -> the next page ... -> told
 *
 * A request that is called off is forgotten where it is; what it writes is not let through any more.
 *
 * Bytes are read by /proc/PID/mem, which the process opened itself: it is of one address space for ever. Writing goes
 * by the process's number, which another program has after exec, and another process after its end. So svmd leaves a
 * number of its own choice in a page of the address space that it knows, by /proc/PID/mem, and reads it back by the
 * process's number; and a process that has got other rights meanwhile is not written to.
 */
struct piece {
        struct clientmem *c;
        struct client_request *request; /* a number only: it may have been called off */
        uint64_t id, address;
        uint32_t size;
        bool write, identified;
};

static bool is_wanted(const struct piece *p) {
        struct clientmem *c = p->c;
        bool wanted;

        pthread_mutex_lock(&c->lock);
        wanted = !c->stop && (!p->request || c->current == p->request);
        pthread_mutex_unlock(&c->lock);
        return wanted;
}

/* ---- checks ---- */

/* No event told of it: it came to svmd when nobody listened. */
static const char found[] = "it is not mapped as it was registered";

/* Behind the gate. 0, -ESTALE, -ESRCH, -EAGAIN: an event was not read yet. */
static int look(struct clientmem *c, uint64_t id, uint64_t address, uint64_t size) {
        uint64_t end = address + size;
        bool known;
        int k = 0;

        pthread_mutex_lock(&c->lock);
        known = registered_find(c, id) != NULL;
        pthread_mutex_unlock(&c->lock);
        if (!known)
                return -ESTALE;
        for (uint64_t at = address - address % PAGE; at < end && k == 0; at += PAGE)
                k = userfault_has(c->uffd, at);
        return k == -ENOENT ? -ESTALE : k;
}

/* The same, when events have been read. With 0 the gate stays closed. */
static int check(const struct piece *p, uint64_t address, uint64_t size) {
        struct clientmem *c = p->c;

        for (;;) {
                int k;

                pthread_mutex_lock(&c->gate);
                k = look(c, p->id, address, size);
                if (k == 0)
                        return 0;
                pthread_mutex_unlock(&c->gate);
                if (k != -EAGAIN)
                        return k;
                if (!is_wanted(p))
                        return -ECANCELED;
                usleep(50);
        }
}

static int check_rights(const struct clientmem *c) {
        char path[32];
        struct stat st;

        snprintf(path, sizeof(path), "/proc/%" PRIu32, c->pid);
        if (stat(path, &st) < 0)
                return -ESRCH;
        return st.st_uid == c->uid ? 0 : -EPERM;
}

static int compare(const struct clientmem *c) {
        uint64_t wrote[2], there_is[2] = { 0 };
        struct iovec here = { there_is, sizeof(there_is) }, there = { (void *)(uintptr_t)c->probe, sizeof(there_is) };

        if (getrandom(wrote, sizeof(wrote), 0) != sizeof(wrote))
                return -EIO;
        if (pwrite(c->mem, wrote, sizeof(wrote), (off_t)c->probe) != sizeof(wrote))
                return -ESRCH;
        if (syscall(SYS_process_vm_readv, (pid_t)c->pid, &here, 1ul, &there, 1ul, 0ul) != sizeof(there_is))
                return errno == EPERM ? -EPERM : -ESRCH;
        return memcmp(wrote, there_is, sizeof(wrote)) == 0 ? 0 : -ESRCH;
}

/* The page may have been an earlier session's, which svmd is at still. */
static int identify(const struct clientmem *c) {
        int k = check_rights(c), tries = 0;

        while (k == 0 && (k = compare(c)) == -ESRCH && ++tries < 3)
                k = 0;
        return k;
}

/* ---- reading and writing ---- */

/* When nothing is to be let through behind it. */
static int check_once(const struct piece *p, uint64_t address, uint64_t size) {
        int k = check(p, address, size);

        if (k == 0)
                pthread_mutex_unlock(&p->c->gate);
        return k;
}

static int serve_read(const struct piece *p) {
        int k = reach_read(p->c->reach, p->address, p->c->data, p->size), stale = check_once(p, p->address, p->size);

        return stale ? stale : k;
}

static bool supply_begin(const struct piece *p) {
        struct clientmem *c = p->c;

        pthread_mutex_lock(&c->lock);
        c->supplying = !c->stop && c->current == p->request && registered_find(c, p->id);
        pthread_mutex_unlock(&c->lock);
        return c->supplying;
}

static void supply_end(struct clientmem *c) {
        pthread_mutex_lock(&c->lock);
        c->supplying = false;
        pthread_cond_broadcast(&c->settled);
        pthread_mutex_unlock(&c->lock);
}

/* The part of the page that is written, where it belongs. */
static void fill_page(const struct piece *p, uint32_t page, char *to) {
        uint64_t skip = p->address % PAGE, start = (uint64_t)page * PAGE;
        uint64_t from = start > skip ? start - skip : 0, at = start > skip ? 0 : skip;
        uint64_t size = p->size - from < PAGE - at ? p->size - from : PAGE - at;

        memcpy(to + at, p->c->data + from, size);
}

/* What is pinned was the registered page when it was pinned, and is so still. */
static int let_through(struct piece *p, uint32_t page) {
        char bytes[PAGE] = { 0 };
        int k = p->identified ? 0 : identify(p->c);

        p->identified = true;
        if (k == 0)
                k = check(p, p->address - p->address % PAGE + (uint64_t)page * PAGE, PAGE);
        if (k < 0)
                return k;
        fill_page(p, page, bytes);
        if (supply_begin(p)) {
                reach_supply(p->c->reach, page, bytes);
                supply_end(p->c);
        } else
                k = -ECANCELED;
        pthread_mutex_unlock(&p->c->gate);
        return k;
}

static int serve_write(struct piece *p) {
        uint32_t page;
        int k = 0, written, stale;

        reach_write(p->c->reach, p->address, p->size);
        while (reach_pinned(p->c->reach, &page)) {
                k = let_through(p, page);
                if (k < 0)
                        reach_deny(p->c->reach);
        }
        written = reach_result(p->c->reach);
        if (k == 0 && written < 0 && !p->identified)
                k = identify(p->c);
        if (k < 0 || written == 0)
                return k;
        stale = check_once(p, p->address, p->size);
        return stale ? stale : written;
}

/* ---- one after the other ---- */

static void serve(struct piece *p) {
        struct client_request *request = p->request;
        struct clientmem *c = p->c;
        int k = check_once(p, p->address, p->size); /* what is known to be somebody else's is not touched */
        bool told;

        if (k == 0)
                k = p->write ? serve_write(p) : serve_read(p);
        if (k == -ESTALE)
                clientmem_found(p->c, p->id, found);
        pthread_mutex_lock(&c->lock);
        told = c->current == request;
        c->current = NULL;
        if (told && k == 0 && !p->write)
                memcpy(request->data, c->data, p->size);
        pthread_mutex_unlock(&c->lock);
        if (told)
                request->done(request, k);
}

/* With the lock held. */
static void take(struct clientmem *c, struct piece *ret) {
        struct client_request *request = container_of(c->queue.next, struct client_request, link);
        const struct mover_registered *r = request->userdata;

        list_remove(&request->link);
        c->current = request;
        *ret = (struct piece){ .c = c,
                               .request = request,
                               .id = r->id,
                               .address = request->address,
                               .size = request->size,
                               .write = request->write };
        if (ret->write)
                memcpy(c->data, request->data, request->size);
}

static bool take_check(struct clientmem *c, struct piece *ret, uint64_t *ret_size) {
        list_for_each (l, &c->registered) {
                struct mover_registered *r = container_of(l, struct mover_registered, link);

                if (!r->check)
                        continue;
                r->check = false;
                *ret = (struct piece){ .c = c, .id = r->id, .address = r->address };
                *ret_size = r->size;
                return true;
        }
        return false;
}

static void serve_check(struct piece *p, uint64_t size) {
        for (uint64_t done = 0; done < size; done += CLIENT_REQUEST_MAX) {
                uint64_t left = size - done;
                int k = check_once(p, p->address + done, left < CLIENT_REQUEST_MAX ? left : CLIENT_REQUEST_MAX);

                if (k == -ESTALE)
                        clientmem_found(p->c, p->id, found);
                if (k < 0)
                        return;
        }
}

void *clientmem_main(void *userdata) {
        struct clientmem *c = userdata;
        struct mover *m = c->m;
        struct piece p;
        uint64_t size;

        pthread_mutex_lock(&c->lock);
        while (!c->stop) {
                bool checks = take_check(c, &p, &size);

                if (!checks && list_empty(&c->queue)) {
                        pthread_cond_wait(&c->wake, &c->lock);
                        continue;
                }
                if (!checks)
                        take(c, &p);
                pthread_mutex_unlock(&c->lock);
                if (checks)
                        serve_check(&p, size);
                else
                        serve(&p);
                pthread_mutex_lock(&c->lock);
        }
        pthread_mutex_unlock(&c->lock);
        /* Whoever closes it last enters the process. */
        close(c->uffd);
        clientmem_put(c);
        /* After this nothing of the mover is touched. */
        mover_lock(m);
        m->clients--;
        pthread_cond_broadcast(&m->gone);
        pthread_mutex_unlock(&m->lock);
        return NULL;
}
