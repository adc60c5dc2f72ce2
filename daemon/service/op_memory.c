#include "service/internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
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
#include "core/reservation.h"
#include "core/session.h"
#include "core/share.h"
#include "core/space.h"
#include "service/capacity.h"
#include "service/dmabuf.h"
#include "service/effects.h"
#include "service/lookup.h"
#include "service/spill.h"

/*
 * Memory: create, release, hand on, and the file behind it.
 *
 * A token is a sealed memfd that holds the memory's number and 32 random bytes. Whoever can read it could have been
 * handed it; it is not the memory itself, so it costs svmd no descriptor, and memory that no CPU can map passes in the
 * same way.
 */

/* ---- staging: pages of large memory are taken by a job, before the request runs ---- */

struct staged {
        struct job job;
        struct capacity_wait wait;
        struct spill_wait room;
        struct service *svc;
        struct request *request;
        struct memory *memory;
        uint64_t size, lease;
        uint32_t node, flags;
        int result;
};

#define INLINE_COMMIT (1ull << 20)

/* Beside 0 and -errno: managed granules stay where it would lie. */
enum { STAGE_FULL = 1 };

static void stage_run(struct job *job) {
        struct staged *st = container_of(job, struct staged, job);

        st->result = memory_commit_pages(st->memory);
}

static void stage_done(struct job *job) {
        struct staged *st = container_of(job, struct staged, job);

        st->request->jobs--;
        request_continue(st->svc, st->request);
}

/* Its place is its own. */
static void stage_commit(struct service *svc, struct staged *st) {
        if (st->memory->size <= INLINE_COMMIT && jobs_lane_idle(svc->jobs, st->memory->node)) {
                st->result = memory_commit_pages(st->memory);
                return;
        }
        st->job = (struct job){ .lane = st->memory->node, .run = stage_run, .done = stage_done };
        list_init(&st->job.link);
        st->request->jobs++;
        jobs_submit(svc->jobs, &st->job);
}

/* Managed granules have left its place, or will not. */
static void stage_placed(struct service *svc, struct capacity_wait *w, bool is_free) {
        struct staged *st = container_of(w, struct staged, wait);

        st->request->jobs--;
        st->request->drop |= svc->closing;
        if (is_free)
                stage_commit(svc, st);
        else
                st->result = STAGE_FULL;
        request_continue(svc, st->request);
}

/* It has a charge and extents, where managed granules may lie still. */
static void stage_place(struct service *svc, struct staged *st) {
        struct session *s = st->request->session;

        if (capacity_is_free(svc, s->partition, s, st->node)) {
                stage_commit(svc, st);
                return;
        }
        st->wait = (struct capacity_wait){
                .partition = s->partition, .session = s, .node = st->node, .done = stage_placed
        };
        st->request->jobs++;
        capacity_wait(svc, &st->wait);
}

static bool stage_make(struct service *svc, struct staged *st, struct account **ret_over) {
        char why[16];

        return memory_make(svc, st->request->session, st->node, st->size, st->flags, st->lease, &st->memory, ret_over,
                           why, sizeof(why)) == SVMD_STATUS_OK;
}

/* Other explicit memory gives way, or nothing more can. */
static bool stage_go(struct service *svc, struct spill_wait *w) {
        struct staged *st = container_of(w, struct staged, room);
        struct request *r = st->request;
        struct account *over;

        if (!svc->closing && !r->session->ending) {
                if (spill_is_taken(svc, st->node))
                        return false;
                if (stage_make(svc, st, &over))
                        stage_place(svc, st);
                else if (over && spill_room(svc, st->node, session_account(&svc->state, r->session, st->node), over,
                                            st->size) == SPILL_WAIT)
                        return false;
        }
        list_remove(&w->link);
        r->jobs--;
        r->drop |= svc->closing;
        request_continue(svc, r);
        return true;
}

/* What is refused here is tried again when the request runs, and refused there with words. */
static void stage_one(struct service *svc, struct request *r, struct staged *st, const Svmd__V1__MemCreate *m) {
        struct account *over = NULL;

        if (m->node >= svc->options.machine->count || m->size % SVMD_PAGE ||
            m->size % node_backend(svc, m->node)->granularity)
                return;
        if (m->size > svc->options.machine->nodes[m->node].capacity)
                return;
        st->svc = svc;
        st->request = r;
        st->size = m->size;
        st->node = m->node;
        st->flags = m->flags;
        st->lease = m->lease;
        if (!spill_has_waiters(svc, m->node) && stage_make(svc, st, &over)) {
                stage_place(svc, st);
                return;
        }
        if ((!over && !spill_has_waiters(svc, m->node)) || !spill_could_help(svc, m->node))
                return;
        st->room = (struct spill_wait){ .node = m->node, .go = stage_go };
        r->jobs++;
        spill_wait(svc, &st->room);
}

/* A node is nearly full when the small objects of one request could fill it; larger ones are staged anyway. */
static bool is_nearly_full(const struct service *svc, const struct session *s, uint32_t node) {
        return s->partition && account_room(&s->partition->accounts[node]) < SVMD_OPS_MAX * INLINE_COMMIT;
}

bool memory_is_staged(struct service *svc, const struct session *s, const Svmd__V1__MemCreate *m) {
        if (m->node >= svc->options.machine->count || node_backend(svc, m->node)->delegated)
                return false;
        return m->size > INLINE_COMMIT || !jobs_lane_idle(svc->jobs, m->node) || capacity_is_shared(svc, m->node) ||
               (spill_could_help(svc, m->node) && is_nearly_full(svc, s, m->node));
}

static bool creates_staged(struct service *svc, const struct request *r, const Svmd__V1__Op *op) {
        return op->op_case == SVMD__V1__OP__OP_MEM_CREATE && memory_is_staged(svc, r->session, op->mem_create);
}

static bool creates_before(const Svmd__V1__Op *op, size_t i, const size_t ends[NODE_MAX]) {
        return op->op_case == SVMD__V1__OP__OP_MEM_CREATE && op->mem_create->node < NODE_MAX &&
               i < ends[op->mem_create->node];
}

/* What comes before a staged one on its node is staged with it: charges are made in the order of the request. */
uint32_t stage_memory(struct service *svc, struct request *r, const Svmd__V1__Request *m) {
        size_t staged_end[NODE_MAX] = { 0 };

        if (m->mode == SVMD__V1__MODE__DRY_RUN || !r->session->partition)
                return 0;
        r->staged = alloc_array(m->n_ops, sizeof(*r->staged));
        if (!r->staged)
                return 0;
        for (size_t i = 0; i < m->n_ops; i++)
                if (creates_staged(svc, r, m->ops[i]))
                        staged_end[m->ops[i]->mem_create->node] = i + 1;
        for (size_t i = 0; i < m->n_ops; i++)
                if (creates_staged(svc, r, m->ops[i]) || creates_before(m->ops[i], i, staged_end))
                        stage_one(svc, r, &r->staged[i], m->ops[i]->mem_create);
        return r->jobs;
}

void staged_free(struct service *svc, struct request *r) {
        for (uint32_t i = 0; r->staged && i < r->ops; i++)
                if (r->staged[i].memory)
                        memory_discard(svc, r->staged[i].memory, r->staged[i].result == 0);
        alloc_free(r->staged);
        r->staged = NULL;
}

/* ---- create ---- */

static void create_undo(struct tx *tx, struct change *c) {
        struct memory *m = c->a;

        list_remove(&m->by_doomed);
        holding_unlink(&m->creator);
        memory_unlink(&tx->svc->state, m);
        memory_discard(tx->svc, m, c->n[0]);
}

static void create_commit(struct tx *tx, struct change *c) {
        struct memory *m = c->a;

        m->lease = 0;
}

static const struct change_kind create_change = { create_undo, create_commit };

static void file_undo(struct tx *tx, struct change *c) {
        struct file *f = c->a;

        f->journaled = false;
}

static const struct change_kind file_change = { file_undo, NULL };

void effect_file(struct tx *tx, const struct file *f) {
        struct effect_file e = effect_of_file(f);

        tx_effect(tx, EFFECT_FILE, &e, sizeof(e));
}

size_t effect_memory_size(const struct memory *m) {
        return sizeof(struct effect_memory) + (m->more_count + 1) * 16ul;
}

void effect_memory_fill(const struct memory *m, void *bytes) {
        struct effect_memory e = {
                .id = m->object.id,
                .session = m->creator.session ? m->creator.session->object.id : 0,
                .file = m->file->kind == FILE_POOL ? 0 : m->file->object.id,
                .size = m->size,
                .node = m->node,
                .flags = (m->shareable ? SVMD__V1__MEM_FLAG__MEM_SHAREABLE : 0u) |
                         (m->pinned ? SVMD__V1__MEM_FLAG__MEM_PINNED : 0u),
                .extents = m->more_count + 1,
                .lost = m->lost,
        };
        uint64_t *extents = (uint64_t *)((char *)bytes + sizeof(e));

        text_copy(e.partition, m->partition->name->text);
        memcpy(bytes, &e, sizeof(e));
        for (uint32_t i = 0; i <= m->more_count; i++) {
                extents[2 * i] = memory_extent(m, i)->start;
                extents[2 * i + 1] = memory_extent(m, i)->size;
        }
}

int check_memory(struct call *c, uint32_t node, uint64_t size) {
        const struct node_desc *d;
        const struct backend *b;
        int r = find_node(c, node);

        if (r != 0)
                return r;
        d = node_desc(c->svc, node);
        b = node_backend(c->svc, node);
        if (b->private_ops)
                return refuse(c, SVMD_STATUS_NODE_KIND,
                              "%s has no memory objects: drivers move private memory of a process to it, which is "
                              "reserved as PRIVATE",
                              d->name);
        if (size == 0 || size % b->granularity)
                return refuse(c, SVMD_STATUS_SIZE,
                              "size %" PRIu64 " is not a multiple of %" PRIu64 " above 0, as %s nodes want it", size,
                              b->granularity, b->name);
        if (size > d->capacity)
                return refuse(c, SVMD_STATUS_NO_ROOM,
                              "%s has %" PRIu64 " bytes in all; use a smaller size or another node", d->name,
                              d->capacity);
        return 0;
}

/* What its client makes itself, for itself: what others are to have svmd must have a descriptor of. */
static int check_made(struct call *c, const Svmd__V1__MemCreate *m) {
        const char *name = node_desc(c->svc, m->node)->name;

        if (!(node_backend(c->svc, m->node)->delegated & GRANT_ALLOC))
                return 0;
        if (m->flags & SVMD__V1__MEM_FLAG__MEM_SHAREABLE)
                return refuse(c, SVMD_STATUS_NODE_KIND,
                              "shareable memory on %s is made by its client itself, under a grant (grant_ask), and not "
                              "in a vector: use svmd_mem_create()",
                              name);
        list_for_each (l, &c->session->spaces)
                if (container_of(l, struct space, by_session)->node == m->node)
                        return 0;
        return refuse(c, SVMD_STATUS_NODE_KIND,
                      "memory on %s is made by its client itself, in a space of it: make one first "
                      "(svmd_space_create())",
                      name);
}

static int check_create(struct call *c, const Svmd__V1__MemCreate *m) {
        int r = check_memory(c, m->node, m->size);

        if (r == 0)
                r = check_made(c, m);
        if (r != 0)
                return r;
        if (m->flags & ~(uint32_t)(SVMD__V1__MEM_FLAG__MEM_SHAREABLE | SVMD__V1__MEM_FLAG__MEM_PINNED))
                return refuse(c, SVMD_STATUS_INVALID, "svmd knows no memory flag 0x%x", m->flags);
        return check_quota(c, 1);
}

static int refuse_shared(struct call *c, const Svmd__V1__MemCreate *m) {
        char managed[24], asked[24];

        text_bytes(managed, sizeof(managed), capacity_managed(c->svc, m->node));
        text_bytes(asked, sizeof(asked), m->size);
        return refuse(
                c, SVMD_STATUS_NO_ROOM,
                "%s of managed pages are on %s and do not leave it for %s: they are pinned, or other nodes are full; "
                "unpin or discard some, or use another node",
                managed, node_desc(c->svc, m->node)->name, asked);
}

/* Those who hold a node that is full are asked to give back. */
static int refuse_room(struct call *c, const Svmd__V1__MemCreate *m, const struct account *over, unsigned code,
                       const char *why) {
        const struct account *account = session_account(&c->svc->state, c->session, m->node);
        uint64_t room, asked = 0;
        char bytes[24];

        if (over && over == &c->svc->state.nodes[m->node].account && c->request->mode != SVMD__V1__MODE__DRY_RUN) {
                room = account_room_at(account, over);
                asked = pressure_ask(c->svc, m->node, c->session, m->size > room ? m->size - room : 0);
        }
        if (!asked)
                return refuse(c, code, "%s", why);
        text_bytes(bytes, sizeof(bytes), asked);
        return refuse(c, code, "%s; others are asked to give back %s of it: try again, or wait in line for it", why,
                      bytes);
}

/* What a job has prepared, or the same made here and now. Code 0, or refused. */
static int get_memory(struct call *c, const Svmd__V1__MemCreate *m, struct memory **ret, bool *ret_committed) {
        struct staged *st = c->request->staged ? &c->request->staged[c->index] : NULL;
        bool dry = c->request->mode == SVMD__V1__MODE__DRY_RUN;
        struct account *over;
        char why[640];
        unsigned code;
        int r;

        if (st && st->memory && st->result == 0) {
                *ret = st->memory;
                *ret_committed = true;
                st->memory = NULL;
                return 0;
        }
        if (st && st->memory && st->result == STAGE_FULL)
                return refuse_shared(c, m);
        if (st && st->memory)
                return refuse_errno(c, st->result == -ENOSPC ? -ENOMEM : st->result, "the pages of this memory");
        code = memory_make(c->svc, c->session, m->node, m->size, m->flags, m->lease, ret, &over, why, sizeof(why));
        if (code)
                return refuse_room(c, m, over, code, why);
        *ret_committed = !dry;
        if (dry)
                return 0;
        if (!capacity_is_free(c->svc, c->session->partition, c->session, m->node)) {
                memory_discard(c->svc, *ret, false);
                return refuse_shared(c, m);
        }
        if (!jobs_lane_idle(c->svc->jobs, m->node))
                jobs_wait_lane(c->svc->jobs, m->node);
        r = memory_commit_pages(*ret);
        if (r == 0)
                return 0;
        memory_discard(c->svc, *ret, false);
        return refuse_errno(c, r == -ENOSPC ? -ENOMEM : r, "the pages of this memory");
}

int op_mem_create(struct call *c) {
        const Svmd__V1__MemCreate *m = c->op->mem_create;
        struct memory *memory;
        struct change *change;
        bool committed = false;
        void *effect;
        int r = check_create(c, m);

        if (r == 0 && (tx_room(c->tx, 2) < 0 || ids_reserve(&c->svc->state.ids, 2) < 0)) /* its file, itself */
                r = -ENOMEM;
        if (r == 0)
                r = get_memory(c, m, &memory, &committed);
        if (r != 0)
                return r;
        effect = call_take(c, effect_memory_size(memory));
        r = effect ? 0 : -ENOMEM;
        if (r == 0 && memory->more_count > 0)
                r = tx_reserve(c->tx, effect_memory_size(memory) + sizeof(struct effect_file) + SVMD_PACKET_MAX);
        if (r < 0) {
                memory_discard(c->svc, memory, committed);
                return r;
        }
        holding_init(&memory->creator, memory, c->session, RIGHT_READ | RIGHT_WRITE);
        memory_link(&c->svc->state, memory);
        holding_link(&memory->creator);
        spill_offer(c->svc, memory);
        if (memory->file->kind != FILE_POOL && !memory->file->journaled) {
                memory->file->journaled = true;
                effect_file(c->tx, memory->file);
                if (memory->file->kind == FILE_ARENA)
                        tx_push(c->tx, &file_change, memory->file, NULL);
        }
        change = tx_push(c->tx, &create_change, memory, NULL);
        change->n[0] = committed;
        if (memory->lease) {
                struct effect_lease_use e = { .lease = memory->lease, .node = memory->node, .bytes = memory->size };

                tx_effect(c->tx, EFFECT_LEASE_USE, &e, sizeof(e));
        }
        effect_memory_fill(memory, effect);
        tx_effect(c->tx, EFFECT_MEMORY, effect, effect_memory_size(memory));
        c->result->id = memory->object.id;
        c->result->size = memory->size;
        return 0;
}

/* ---- release ---- */

static void release_undo(struct tx *tx, struct change *c) {
        struct holding *h = c->a;

        h->releasing = false;
}

static void release_commit(struct tx *tx, struct change *c) {
        holding_end(tx->svc, c->a);
}

static const struct change_kind release_change = { release_undo, release_commit };

int op_mem_release(struct call *c) {
        struct effect_hold e;
        struct holding *h;
        struct memory *m;
        int r = find_memory(c, c->op->mem_release->memory, &m, &h);

        if (r != 0)
                return r;
        if (m->registered)
                return refuse(c, SVMD_STATUS_INVALID, "memory %" PRIu64 " is registered; unregister it", m->object.id);
        if (tx_room(c->tx, 1) < 0)
                return -ENOMEM;
        h->releasing = true;
        e = (struct effect_hold){ .memory = m->object.id, .session = c->session->object.id };
        tx_push(c->tx, &release_change, h, NULL);
        tx_effect(c->tx, EFFECT_RELEASE, &e, sizeof(e));
        return 0;
}

/* ---- export ---- */

static void export_undo(struct tx *tx, struct change *c) {
        struct memory *m = c->a;

        name_unlink(&m->partition->memory_names, m->name);
        name_free(m->name);
        m->name = NULL;
}

static const struct change_kind export_change = { export_undo, NULL };

static void token_undo(struct tx *tx, struct change *c) {
        struct memory *m = c->a;

        m->has_token = c->n[0];
        m->token_access = (unsigned)c->n[1];
}

static const struct change_kind token_change = { token_undo, NULL };

struct token {
        char magic[8];
        uint64_t memory;
        uint64_t key[4];
};
#define TOKEN_MAGIC "svmdtok1"

static int token_file(const struct memory *m) {
        struct token t = { .magic = TOKEN_MAGIC, .memory = m->object.id };
        int fd = memfd_create("svmd-token", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (fd < 0)
                return -errno;
        memcpy(t.key, m->token, sizeof(t.key));
        if (write(fd, &t, sizeof(t)) != sizeof(t) ||
            fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0) {
                int r = errno ? -errno : -EIO;

                close(fd);
                return r;
        }
        return fd;
}

/* Alone in its request: after a restart it is done again, with the same token, where others would get the old reply. */
static int export_token(struct call *c, struct memory *m, uint32_t access) {
        struct effect_token e = { .memory = m->object.id, .access = access };
        struct change *change;
        int fd;

        if (c->request->ops != 1)
                return refuse(c, SVMD_STATUS_SHAPE, "mem_export of a token must be the only operation of its request");
        if (m->has_token && m->token_access != access)
                return refuse(c, SVMD_STATUS_TAKEN,
                              "this memory has a token for access %u already, and has one at most", m->token_access);
        if (tx_room(c->tx, 1) < 0)
                return -ENOMEM;
        change = tx_push(c->tx, &token_change, m, NULL);
        change->n[0] = m->has_token;
        change->n[1] = m->token_access;
        if (!m->has_token && getrandom(m->token, sizeof(m->token), 0) != sizeof(m->token))
                return -EIO;
        m->has_token = true;
        m->token_access = access;
        if (c->request->mode == SVMD__V1__MODE__DRY_RUN)
                return 0;
        memcpy(e.token, m->token, sizeof(e.token));
        fd = token_file(m);
        if (fd < 0)
                return fd;
        if (fdlist_add(&c->request->out, fd) < 0) {
                close(fd);
                return refuse(c, SVMD_STATUS_SHAPE, "a reply carries %d descriptors at most", SVMD_FDS_MAX);
        }
        tx_effect(c->tx, EFFECT_TOKEN, &e, sizeof(e));
        return 0;
}

static int export_name(struct call *c, struct memory *m, const Svmd__V1__MemExport *op) {
        struct effect_export e = { .memory = m->object.id, .uid = c->session->who.uid, .gid = c->session->who.gid };
        char bytes[sizeof(e) + SVMD_NAME_MAX + 1];

        if (!name_ok(op->name))
                return refuse(c, SVMD_STATUS_NAME,
                              "a name is 1 to 63 letters, digits and . _ : - and begins with a letter or digit");
        if (op->mode > 0777)
                return refuse(c, SVMD_STATUS_INVALID, "mode %o is not one of a file", op->mode);
        if (m->name)
                return refuse(c, SVMD_STATUS_TAKEN, "this memory is exported as %s already", m->name->text);
        if (name_find(&m->partition->memory_names, op->name))
                return refuse(c, SVMD_STATUS_TAKEN, "the partition has memory named %s already", op->name);
        if (tx_room(c->tx, 1) < 0)
                return -ENOMEM;
        e.mode = op->mode ? op->mode : 0600;
        m->name = name_new(op->name, m, e.uid, e.gid, e.mode);
        if (!m->name)
                return -ENOMEM;
        name_link(&m->partition->memory_names, m->name);
        tx_push(c->tx, &export_change, m, NULL);
        memcpy(bytes, &e, sizeof(e));
        memcpy(bytes + sizeof(e), op->name, strlen(op->name) + 1);
        tx_effect(c->tx, EFFECT_EXPORT, bytes, sizeof(e) + strlen(op->name) + 1);
        return 0;
}

int op_mem_export(struct call *c) {
        const Svmd__V1__MemExport *op = c->op->mem_export;
        struct holding *h;
        struct memory *m;
        int r = find_memory(c, op->memory, &m, &h);

        if (r != 0)
                return r;
        if (m->registered)
                return refuse(c, SVMD_STATUS_UNSUPPORTED,
                              "memory %" PRIu64 " is registered: it is its process's own and cannot be shared",
                              op->memory);
        if (!m->shareable)
                return refuse(c, SVMD_STATUS_DENIED,
                              "memory %" PRIu64 " was not created shareable; create it with MEM_SHAREABLE", op->memory);
        if (m->partition != c->session->partition || h != &m->creator)
                return refuse(c, SVMD_STATUS_DENIED, "only the session that created memory %" PRIu64 " can export it",
                              op->memory);
        c->result->id = m->object.id;
        if (op->name[0])
                return export_name(c, m, op);
        r = check_opening_access(c, op->access);
        if (r != 0)
                return r;
        if ((r = dmabuf_check_access(c, m, op->access)) != 0)
                return r;
        return export_token(c, m, op->access);
}

/* ---- import ---- */

static void import_undo(struct tx *tx, struct change *c) {
        holding_unlink(c->a);
        alloc_free(c->a);
}

static void import_commit(struct tx *tx, struct change *c) {
        keeping_used(((struct memory *)c->b)->keeping);
}

static const struct change_kind import_change = { import_undo, import_commit };

static int find_by_token(struct call *c, struct memory **ret) {
        int fd = fdlist_steal(&c->request->in);
        struct token t = { 0 };
        struct memory *m;
        int seals = fd >= 0 ? fcntl(fd, F_GET_SEALS) : -1;
        ssize_t n = seals >= 0 ? pread(fd, &t, sizeof(t), 0) : -1;

        if (fd >= 0)
                close(fd);
        if (seals < 0 || !(seals & F_SEAL_WRITE) || n != sizeof(t) ||
            memcmp(t.magic, TOKEN_MAGIC, sizeof(t.magic)) != 0)
                return refuse(c, SVMD_STATUS_FD_KIND,
                              "the descriptor is no token of svmd; pass on what svmd_mem_export_fd() gave");
        m = memory_by_id(&c->svc->state, t.memory);
        if (!m || !m->has_token || m->partition->ending || keeping_ending(m->keeping) ||
            memcmp(t.key, m->token, sizeof(t.key)) != 0)
                return refuse(c, SVMD_STATUS_NO_SUCH, "the memory of this token is gone");
        if (m->partition->domain != c->session->partition->domain)
                return refuse(c, SVMD_STATUS_DENIED, "the memory belongs to a partition of another sharing domain");
        if (c->op->mem_import->access & ~m->token_access)
                return refuse(c, SVMD_STATUS_DENIED, "this token is to read only");
        *ret = m;
        return 0;
}

static int find_by_name(struct call *c, struct memory **ret) {
        const Svmd__V1__MemImport *op = c->op->mem_import;
        struct name *n = name_find(&c->session->partition->memory_names, op->name);
        bool there = n && !keeping_ending(((struct memory *)n->object)->keeping);
        int r = check_named(c, there ? n : NULL, "memory", op->name, "import", op->access);

        if (r == 0)
                *ret = n->object;
        return r;
}

/* ---- what this request has given up, and what goes with that when it commits ---- */

static bool reservation_goes(const struct reservation *r) {
        if (r->freeing || !r->shared || r->owner || r->shared->keeping)
                return r->freeing;
        list_for_each (l, &r->shared->openings)
                if (!container_of(l, struct opening, by_reservation)->closing)
                        return false;
        return true;
}

static bool mapping_goes(const struct session *s, const struct mapping *e) {
        const struct reservation *r = reservation_at(s->partition, e->va);

        if (r && &r->cpu == e->map)
                return reservation_goes(r);
        list_for_each (l, &s->spaces) {
                const struct space *space = container_of(l, struct space, by_session);

                if (&space->mappings == e->map)
                        return space->destroying;
        }
        return false;
}

static bool memory_goes(const struct session *s, const struct memory *m) {
        if (m->keeping)
                return false;
        list_for_each (l, &m->holdings)
                if (!container_of(l, struct holding, by_memory)->releasing)
                        return false;
        list_for_each (l, &m->backing.mappings)
                if (!mapping_goes(s, container_of(l, struct mapping, by_backing)))
                        return false;
        return true;
}

int op_mem_import(struct call *c) {
        const Svmd__V1__MemImport *op = c->op->mem_import;
        struct effect_hold e;
        struct holding *h;
        struct memory *m = NULL;
        int r = check_quota(c, 1);

        if (r == 0)
                r = check_opening_access(c, op->access);
        if (r != 0)
                return r;
        if (c->session->guest && !op->name[0])
                return refuse(c, SVMD_STATUS_DENIED,
                              "a guest imports what is shared by its name; a token is for a "
                              "session of a partition");
        r = op->name[0] ? find_by_name(c, &m) : find_by_token(c, &m);
        if (r != 0)
                return r;
        if ((r = dmabuf_check_access(c, m, op->access)) != 0)
                return r;
        if (memory_goes(c->session, m)) /* the journal has one effect behind the other: there it has gone */
                return refuse(c, SVMD_STATUS_NO_SUCH,
                              "that memory is gone: this request has given back what used it last; import it first");
        if (holding_find(m, c->session))
                return refuse(c, SVMD_STATUS_TAKEN, "this session has that memory already, as %" PRIu64, m->object.id);
        if (tx_room(c->tx, 1) < 0 || !(h = alloc_zero(sizeof(*h))))
                return -ENOMEM;
        holding_init(h, m, c->session, op->access);
        holding_link(h);
        tx_push(c->tx, &import_change, h, m);
        e = (struct effect_hold){ .memory = m->object.id, .session = c->session->object.id, .access = op->access };
        tx_effect(c->tx, EFFECT_HOLD, &e, sizeof(e));
        c->result->id = m->object.id;
        c->result->size = m->size;
        return 0;
}

/* ---- the file behind it ---- */

/* What a session may do with memory that it holds, or that a reservation which it has open shows. */
static unsigned memory_access(struct session *s, struct memory *m) {
        struct holding *h = holding_find(m, s);
        unsigned access = h ? h->access : 0;

        list_for_each (l, &m->backing.mappings) {
                struct mapping *e = container_of(l, struct mapping, by_backing);
                struct reservation *r = reservation_at(s->partition, e->va);

                if (!r || vmap_find(&r->cpu, e->va) != e)
                        continue;
                access |= reservation_access(r, s) & e->attrs.access;
                if (access == (RIGHT_READ | RIGHT_WRITE))
                        break;
        }
        return access;
}

int op_mem_fd(struct call *c) {
        const Svmd__V1__MemFd *op = c->op->mem_fd;
        struct memory *m = memory_by_id(&c->svc->state, op->memory);
        unsigned access = m ? memory_access(c->session, m) : 0;
        int r = check_opening_access(c, op->access), fd;

        if (r != 0)
                return r;
        if (!m || (!access && m->partition != c->session->partition))
                return refuse(c, SVMD_STATUS_NO_SUCH, "there is no memory %" PRIu64 ", or no longer", op->memory);
        if (!access)
                return refuse(c, SVMD_STATUS_FOREIGN, "memory %" PRIu64 " belongs to another session", op->memory);
        if (op->access & ~access)
                return refuse(c, SVMD_STATUS_DENIED, "this session may only read memory %" PRIu64, op->memory);
        if (m->registered)
                return refuse(c, SVMD_STATUS_UNSUPPORTED,
                              "memory %" PRIu64 " is registered: it is where its process has it, in no file of svmd",
                              op->memory);
        if (node_desc(c->svc, m->node)->kind != NODE_HOST)
                return refuse(c, SVMD_STATUS_NODE_KIND,
                              "the CPU cannot map memory of %s; copy it to a host node with its device",
                              node_desc(c->svc, m->node)->name);
        if (m->file->kind == FILE_DMABUF)
                return dmabuf_give(c, m, access);
        fd = op->access == RIGHT_READ ? memfile_open_read(m->file->memfile)
                                      : fcntl(memfile_fd(m->file->memfile), F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
                return op->access == RIGHT_READ ? fd : -errno;
        if (fdlist_add(&c->request->out, fd) < 0) {
                close(fd);
                return refuse(c, SVMD_STATUS_SHAPE, "a reply carries %d descriptors at most", SVMD_FDS_MAX);
        }
        c->result->value = m->extent.start - FILE_BASE;
        c->result->size = m->size;
        return 0;
}
