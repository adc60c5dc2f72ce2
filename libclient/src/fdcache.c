#include "fdcache.h"

#include <stdlib.h>
#include <unistd.h>

#include "error.h"
#include "wire.h"

enum { FILES_MAX = 64 };

struct fdcache {
        struct file file[FILES_MAX];
        unsigned count;
        uint64_t clock;
};

const struct file *fdcache_find(svmd_session *s, uint64_t memory, unsigned access) {
        struct fdcache *cache = s->fdcache;

        for (unsigned i = 0; cache && i < cache->count; i++) {
                struct file *f = &cache->file[i];

                if (f->memory == memory && f->access == access) {
                        f->used = ++cache->clock;
                        return f;
                }
        }
        return NULL;
}

static struct file *place(struct fdcache *cache) {
        struct file *oldest = &cache->file[0];

        if (cache->count < FILES_MAX)
                return &cache->file[cache->count++];
        for (unsigned i = 1; i < FILES_MAX; i++) {
                if (cache->file[i].used < oldest->used)
                        oldest = &cache->file[i];
        }
        close(oldest->fd);
        return oldest;
}

/* Descriptors come in the order of the operations that succeeded. */
static int keep(struct fdcache *cache, struct call *c, const struct file *wanted, unsigned count) {
        int r = 0;

        for (unsigned i = 0; i < count; i++) {
                const Svmd__V1__Result *result = call_result(c, i);
                int fd;

                if (result->code) {
                        r = r ? r : fail_result(result);
                        continue;
                }
                fd = fdlist_steal(&c->in->fds);
                if (fd < 0)
                        return fail(SVMD_E_FD_COUNT, "svmd sent no file for memory %llu",
                                    (unsigned long long)wanted[i].memory);
                *place(cache) = (struct file){
                        .memory = wanted[i].memory,
                        .access = wanted[i].access,
                        .fd = fd,
                        .offset = result->value,
                        .used = ++cache->clock,
                };
        }
        return r;
}

int fdcache_fetch(svmd_session *s, const struct file *wanted, unsigned count) {
        Svmd__V1__MemFd body[FDCACHE_FETCH_MAX];
        Svmd__V1__Op op[FDCACHE_FETCH_MAX], *ops[FDCACHE_FETCH_MAX];
        Svmd__V1__Request request = SVMD__V1__REQUEST__INIT;
        struct call *c;
        int r;

        if (!s->fdcache)
                s->fdcache = calloc(1, sizeof(*s->fdcache));
        if (!s->fdcache)
                return fail_memory();
        request.n_ops = count;
        request.ops = ops;
        for (unsigned i = 0; i < count; i++) {
                svmd__v1__mem_fd__init(&body[i]);
                svmd__v1__op__init(&op[i]);
                body[i].memory = wanted[i].memory;
                body[i].access = wanted[i].access;
                op[i].op_case = SVMD__V1__OP__OP_MEM_FD;
                op[i].mem_fd = &body[i];
                ops[i] = &op[i];
        }
        r = call_run(s, &request, NULL, 0, NULL, &c);
        if (r)
                return r;
        r = keep(s->fdcache, c, wanted, count);
        call_put(s, c);
        return r;
}

void fdcache_drop(svmd_session *s, uint64_t memory) {
        struct fdcache *cache = s->fdcache;

        for (unsigned i = 0; cache && i < cache->count;) {
                if (cache->file[i].memory != memory) {
                        i++;
                        continue;
                }
                close(cache->file[i].fd);
                cache->file[i] = cache->file[--cache->count];
        }
}

void fdcache_free(svmd_session *s) {
        struct fdcache *cache = s->fdcache;

        for (unsigned i = 0; cache && i < cache->count; i++)
                close(cache->file[i].fd);
        free(cache);
        s->fdcache = NULL;
}
