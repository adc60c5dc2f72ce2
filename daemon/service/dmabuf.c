#include "service/dmabuf.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "backend/memfile.h"
#include "base/alloc.h"
#include "base/text.h"
#include "core/by_id.h"
#include "core/grant.h"
#include "core/keeping.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/capacity.h"
#include "service/effects.h"
#include "service/grant.h"
#include "service/internal.h"
#include "service/lookup.h"

/*
 *      driver -> dma-buf -> dmabuf_import -> memory -> exported, imported, mapped, kept like other memory
 *                   ^                           |
 *                   +------- mem_dmabuf --------+
 *
 * What its file says of it is asked anew each time: nothing of that can change.
 */
bool memory_is_foreign(const struct service *svc, const struct memory *m) {
        return node_backend(svc, m->file->node)->delegated & GRANT_ALLOC;
}

static struct dmabuf query(const struct service *svc, const struct memory *m) {
        struct dmabuf info = { 0 };

        if (memory_is_foreign(svc, m))
                return (struct dmabuf){ .size = m->size, .write = true };
        (void)dmabuf_query(memfile_fd(m->file->memfile), svc->options.dmabuf_fs, &info);
        return info;
}

static unsigned access_of(const struct dmabuf *info) {
        return info->write ? RIGHT_READ | RIGHT_WRITE : RIGHT_READ;
}

bool dmabuf_is_mappable(const struct service *svc, const struct memory *m) {
        return query(svc, m).mappable;
}

int dmabuf_check_access(struct call *c, const struct memory *m, unsigned access) {
        struct dmabuf info;

        if (m->file->kind != FILE_DMABUF)
                return 0;
        info = query(c->svc, m);
        if (access == access_of(&info))
                return 0;
        return refuse(c, SVMD_STATUS_DENIED,
                      "memory %" PRIu64 " is a dma-buf with one open file for all, which is %s: ask for just that",
                      m->object.id, info.write ? "to read and write" : "to read only");
}

int dmabuf_give(struct call *c, const struct memory *m, unsigned access) {
        struct dmabuf info = query(c->svc, m);
        int fd;

        if (access_of(&info) & ~access)
                return refuse(
                        c, SVMD_STATUS_DENIED,
                        "memory %" PRIu64
                        " is a dma-buf that is open to write, and this session may only read it: it cannot have it",
                        m->object.id);
        fd = fcntl(memfile_fd(m->file->memfile), F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (fdlist_add(&c->request->out, fd) < 0) {
                close(fd);
                return refuse(c, SVMD_STATUS_SHAPE, "a reply carries %d descriptors at most", SVMD_FDS_MAX);
        }
        c->result->value = 0;
        c->result->size = m->size;
        return 0;
}

/* ---- import ---- */

static int check_size(struct call *c, const struct dmabuf *info) {
        uint64_t want = c->op->dmabuf_import->size;

        if (want && want != info->size)
                return refuse(c, SVMD_STATUS_SIZE, "the dma-buf has %" PRIu64 " bytes, not %" PRIu64, info->size, want);
        return 0;
}

static int find_charged(struct call *c, uint32_t *ret) {
        const struct machine *m = c->svc->options.machine;
        uint32_t node = c->op->dmabuf_import->node;
        int r;

        if (node > 0) {
                r = find_node(c, node - 1);
                if (r != 0)
                        return r;
                node--;
        } else {
                while (node + 1 < m->count && m->nodes[node].kind != NODE_HOST)
                        node++;
        }
        if (m->nodes[node].kind != NODE_HOST)
                return refuse(c, SVMD_STATUS_NODE_KIND,
                              "%s has memory of its own, and a dma-buf is none of it; name a host node to charge",
                              m->nodes[node].name);
        *ret = node;
        return 0;
}

/* The memory that this dma-buf is in that domain already, or NULL. */
static struct memory *find_same(struct service *svc, const struct domain *domain, int fd) {
        list_for_each (l, &svc->dmabufs) {
                struct file *f = container_of(l, struct file, by_session);
                struct va_extent *e = va_first_from(&f->slots, FILE_BASE);
                struct memory *m = e ? container_of(e, struct memory, extent) : NULL;

                if (m && m->partition->domain == domain && !m->partition->ending && !keeping_ending(m->keeping) &&
                    memfile_is_same(f->memfile, fd))
                        return m;
        }
        return NULL;
}

static void say_memory(struct call *c, const struct memory *m) {
        c->result->id = m->object.id;
        c->result->size = m->size;
}

/* Who has the descriptor has the memory: one more handle on what is charged already. */
static int hold(struct call *c, struct memory *m, unsigned access) {
        struct effect_hold e = { .memory = m->object.id, .session = c->session->object.id, .access = access };
        struct holding *h;

        if (holding_find(m, c->session))
                return refuse(c, SVMD_STATUS_TAKEN, "this session has that dma-buf already, as %" PRIu64, m->object.id);
        h = alloc_zero(sizeof(*h));
        if (!h)
                return -ENOMEM;
        holding_init(h, m, c->session, access);
        holding_link(h);
        keeping_used(m->keeping);
        tx_effect(c->tx, EFFECT_HOLD, &e, sizeof(e));
        say_memory(c, m);
        return 0;
}

static struct effect_dmabuf effect_of(const struct memory *m) {
        struct effect_dmabuf e = {
                .id = m->object.id,
                .session = m->creator.session ? m->creator.session->object.id : 0,
                .file = m->file->object.id,
                .size = m->size,
                .node = m->node,
                .access = m->creator.access,
        };

        text_copy(e.partition, m->partition->name->text);
        return e;
}

static int make(struct call *c, uint32_t node, uint64_t size, unsigned access, struct grant *g, int *fd) {
        struct effect_dmabuf e;
        struct memory *m;
        char why[320];
        unsigned code = memory_make_dmabuf(c->svc, c->session, node, size, g, fd, &m, why, sizeof(why));

        if (code)
                return refuse(c, code, "%s", why);
        if (!capacity_is_free(c->svc, c->session->partition, c->session, node)) {
                memory_discard(c->svc, m, false);
                return refuse(c, SVMD_STATUS_NO_ROOM,
                              "managed pages are where the dma-buf would be charged on %s; discard or evict some",
                              node_desc(c->svc, node)->name);
        }
        holding_init(&m->creator, m, c->session, access);
        memory_link(&c->svc->state, m);
        holding_link(&m->creator);
        m->file->journaled = true;
        e = effect_of(m);
        tx_effect(c->tx, EFFECT_DMABUF, &e, sizeof(e));
        say_memory(c, m);
        return 0;
}

static int import(struct call *c, int *fd) {
        struct memory *same;
        struct dmabuf info;
        uint32_t node;
        int r;

        if (*fd < 0 || dmabuf_query(*fd, c->svc->options.dmabuf_fs, &info) < 0)
                return refuse(c, SVMD_STATUS_FD_KIND,
                              "the descriptor that came with dmabuf_import is no dma-buf; a driver's PRIME export, "
                              "/dev/udmabuf and /dev/dma_heap give some");
        if ((r = check_size(c, &info)) != 0 || (r = find_charged(c, &node)) != 0 || (r = check_quota(c, 1)) != 0)
                return r;
        same = find_same(c->svc, c->session->partition->domain, *fd);
        return same ? hold(c, same, access_of(&info)) : make(c, node, info.size, access_of(&info), NULL, fd);
}

/* What a device's library exported, made under a grant that has paid for it: svmd holds it, and can ask nothing of it.
 */
static int take_over(struct call *c, int *fd) {
        const Svmd__V1__DmabufImport *op = c->op->dmabuf_import;
        uint32_t node = op->node - 1;
        struct grant *g;
        char why[160];
        unsigned code;
        int r;

        if (op->node == 0 || op->node > c->svc->options.machine->count)
                return refuse(c, SVMD_STATUS_NO_NODE, "name the node that the grant is for");
        code = grant_usable(c->svc, c->session, op->grant, op->generation, node, GRANT_ALLOC, &g, why, sizeof(why));
        if (code)
                return refuse(c, code, "%s", why);
        if (op->size == 0 || op->size % node_backend(c->svc, node)->granularity || op->size > g->charge.bytes)
                return refuse(c, SVMD_STATUS_SIZE,
                              "grant %" PRIu64 " pays for %" PRIu64 " bytes, and memory of %s is a multiple of %" PRIu64
                              " above 0",
                              op->grant, g->charge.bytes, node_desc(c->svc, node)->name,
                              node_backend(c->svc, node)->granularity);
        r = check_quota(c, 1);
        return r ? r : make(c, node, op->size, RIGHT_READ | RIGHT_WRITE, g, fd);
}

int op_dmabuf_import(struct call *c) {
        int fd = fdlist_steal(&c->request->in), r = c->op->dmabuf_import->grant ? take_over(c, &fd) : import(c, &fd);

        if (fd >= 0)
                close(fd);
        return r;
}

int op_mem_dmabuf(struct call *c) {
        struct holding *h;
        struct memory *m;
        int r = find_memory(c, c->op->mem_dmabuf->memory, &m, &h);

        if (r != 0)
                return r;
        if (m->file->kind != FILE_DMABUF)
                return refuse(c, SVMD_STATUS_UNSUPPORTED,
                              "memory %" PRIu64
                              " is no dma-buf: make one with a driver, /dev/udmabuf or /dev/dma_heap, "
                              "and import it",
                              m->object.id);
        return dmabuf_give(c, m, h->access);
}

/* ---- journal ---- */

int dmabuf_put(struct service *svc, const struct memory *m) {
        struct effect_dmabuf e = effect_of(m);

        return journal_snapshot_put(svc->journal, EFFECT_DMABUF, &e, sizeof(e));
}

int dmabuf_restore(struct service *svc, const struct effect_dmabuf *e, struct partition *p, struct session *s) {
        const uint64_t extent[1][2] = { { FILE_BASE, e->size } };
        const unsigned flags = SVMD__V1__MEM_FLAG__MEM_SHAREABLE | SVMD__V1__MEM_FLAG__MEM_PINNED;
        int r = file_restore(svc, e->file, FILE_DMABUF, e->node, e->size, NULL);

        if (r < 0)
                return r;
        r = memory_restore(svc, e->id, p, s, e->node, e->size, flags, file_by_id(&svc->state, e->file), extent, 1);
        if (r < 0)
                return r;
        memory_by_id(&svc->state, e->id)->creator.access = e->access;
        return 0;
}
