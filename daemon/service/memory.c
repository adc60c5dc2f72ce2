#include "service/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "backend/memfile.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/text.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "core/share.h"
#include "service/capacity.h"
#include "service/grant.h"
#include "service/lookup.h"
#include "service/registered.h"
#include "service/spill.h"

/*
 * Where memory lies and how its pages come and go.
 *
 *      soft node    the node's pool, by extents, scattered where it is fragmented
 *      CUDA node    in the process that made it, and nowhere here: the pool counts only; or, to be shared, what CUDA
 *                   exported, which is taken for a dma-buf
 *      host node    plain: an arena of 1 GiB that the session's objects share; larger or shareable: a file of its own;
 *                   or a dma-buf, whose pages are a driver's
 *
 * Charge and extents are given back at once, the pages in the lane of the node. Whoever gets those extents next commits
 * in the same lane, behind it, so he finds zeros, and nobody is refused for pages that are on their way back.
 */
#define ARENA_SIZE   (1ull << 30)
#define INLINE_PAGES (256ull << 10) /* up to here the loop does it itself */

struct release {
        struct job job;
        struct service *svc;
        struct memory *memory; /* NULL: the whole file goes */
        struct file *file;     /* goes with it, or NULL */
        struct memfile *memfile;
        uint64_t size;
};

uint32_t memory_slot(const struct memory *m) {
        return memfile_slot(m->file->memfile);
}

struct device_extent memory_piece(const struct memory *m, uint64_t offset, uint64_t size) {
        const struct va_extent *e;
        uint64_t at = 0;

        for (uint32_t i = 0; (e = memory_extent(m, i)); at += e->size, i++) {
                uint64_t skip = offset - at, left = e->size - skip;

                if (offset < at + e->size)
                        return (struct device_extent){ memory_slot(m), e->start - FILE_BASE + skip,
                                                       left < size ? left : size };
        }
        return (struct device_extent){ 0 };
}

static void release_run(struct job *job);
static void release_done(struct job *job);

static struct release *release_new(struct service *svc, uint32_t node) {
        struct release *r = alloc_zero(sizeof(*r));

        if (!r)
                return NULL;
        r->svc = svc;
        r->job = (struct job){ .lane = node, .run = release_run, .done = release_done };
        list_init(&r->job.link);
        return r;
}

/* ---- files ---- */

static void memfile_name(char *name, size_t size, enum file_kind kind, uint64_t id) {
        snprintf(name, size, "svmd-%s-%" PRIu64,
                 kind == FILE_POOL    ? "pool"
                 : kind == FILE_ARENA ? "arena"
                                      : "memory",
                 id);
}

/* What a driver made, and only it knows more of. */
static int wrap_driver(const struct service *svc, struct memfile **ret, uint32_t node, int fd, uint64_t size) {
        return node_backend(svc, node)->delegated ? memfile_foreign(ret, fd, size)
                                                  : memfile_dmabuf(ret, fd, svc->options.dmabuf_fs, size);
}

/* The file behind it: the one that the keeper held, or a new one, which the keeper gets. */
int file_adopt(struct service *svc, struct file *f) {
        unsigned keep = f->kind == FILE_POOL ? KEEP_POOL : KEEP_FILE;
        uint64_t key = KEEP_KEY(keep, f->object.id), size = f->slots.end - f->slots.start;
        int numa = node_desc(svc, f->node)->numa, fd = kept_take(svc, key), r;
        struct memfile *memfile;
        char name[64];

        if (fd >= 0) {
                r = f->kind == FILE_DMABUF ? wrap_driver(svc, &memfile, f->node, fd, size)
                                           : memfile_adopt(&memfile, fd, size, numa, f->kind == FILE_POOL);
                if (r < 0)
                        close(fd);
        } else {
                memfile_name(name, sizeof(name), f->kind, f->object.id);
                r = f->kind == FILE_DMABUF || (svc->starting && f->kind != FILE_POOL)
                            ? -ENODATA
                            : memfile_new(&memfile, name, size, numa, f->kind == FILE_POOL);
                if (r == 0) {
                        r = svc->hooks.keep(svc->hooks.userdata, key, memfile_fd(memfile));
                        if (r < 0)
                                memfile_free(memfile);
                }
        }
        if (r == 0)
                f->memfile = memfile;
        return r;
}

static void file_link(struct service *svc, struct file *f, struct session *s) {
        f->session = s;
        if (s)
                file_pay(f, s->party);
        if (f->kind == FILE_ARENA)
                list_push_back(&s->files, &f->by_session);
        if (f->kind == FILE_DMABUF) {
                list_push_back(&svc->dmabufs, &f->by_session);
                svc->state.nodes[f->node].dmabufs += f->slots.end - f->slots.start;
        }
        ids_add(&svc->state.ids, &f->object);
}

static int file_make(struct service *svc, uint32_t node, enum file_kind kind, uint64_t size, struct session *s,
                     struct file **ret) {
        struct file *f;
        int r;

        if (!fds_fit(svc, s, 1))
                return -EDQUOT;
        f = file_new(state_take_id(&svc->state), kind, node, size);
        r = f && ids_reserve(&svc->state.ids, 1) == 0 ? 0 : -ENOMEM;
        if (r == 0 && kind == FILE_ARENA && !(f->release = release_new(svc, node)))
                r = -ENOMEM;
        if (r == 0)
                r = file_adopt(svc, f);
        if (r < 0) {
                if (f)
                        alloc_free(f->release);
                file_free(f);
                return r;
        }
        file_link(svc, f, s);
        *ret = f;
        return 0;
}

/* As the journal says; its memfile comes at the end of the replay, by file_adopt(). */
int file_restore(struct service *svc, uint64_t id, enum file_kind kind, uint32_t node, uint64_t size,
                 struct session *s) {
        struct file *f = file_new(id, kind, node, size);
        int r = f && ids_reserve(&svc->state.ids, 1) == 0 ? 0 : -ENOMEM;

        if (r == 0 && kind == FILE_ARENA && !(s && (f->release = release_new(svc, node))))
                r = -EBADMSG;
        if (r < 0) {
                file_free(f);
                return r;
        }
        f->journaled = true;
        file_link(svc, f, s);
        return 0;
}

static void memory_abandon(struct memory *m) {
        alloc_free(m->release);
        memory_release(m);
        memory_free(m);
}

struct account *memory_payer(struct service *svc, struct partition *p, struct session *creator, uint32_t node) {
        return creator ? session_account(&svc->state, creator, node) : &p->accounts[node];
}

void memory_set_away(struct service *svc, struct memory *m, bool away) {
        svc->spill.away = svc->spill.away + away - m->away;
        m->away = away;
}

int memory_restore(struct service *svc, uint64_t id, struct partition *p, struct session *s, uint32_t node,
                   uint64_t size, unsigned flags, struct file *f, const uint64_t (*extents)[2], uint32_t count) {
        struct account *account = memory_payer(svc, p, s, f->node);
        struct memory *m = account && ids_reserve(&svc->state.ids, 1) == 0 ? memory_new(id, p, node, size) : NULL;

        if (!m)
                return -ENOMEM;
        m->shareable = flags & SVMD__V1__MEM_FLAG__MEM_SHAREABLE;
        m->pinned = flags & SVMD__V1__MEM_FLAG__MEM_PINNED;
        m->release = release_new(svc, node);
        /* Limits may be lower than they were; what is there stays. */
        if (!m->release || memory_take_extents_at(m, f, extents, count) < 0) {
                memory_abandon(m);
                return -EINVAL;
        }
        charge_force(&m->charge, account, size);
        memory_set_away(svc, m, f->node != node);
        capacity_changed(svc, p, f->node);
        holding_init(&m->creator, m, s, RIGHT_READ | RIGHT_WRITE);
        memory_link(&svc->state, m);
        if (s)
                holding_link(&m->creator);
        spill_offer(svc, m);
        return 0;
}

/* In a replay: nothing of the old place is given back to the machine. */
int memory_restore_place(struct service *svc, struct memory *m, struct file *f, const uint64_t (*extents)[2],
                         uint32_t count) {
        struct account *account = memory_payer(svc, m->partition, m->creator.session, f->node);
        struct memory *other = account ? memory_new(0, m->partition, f->node, m->size) : NULL;

        if (!other)
                return -ENOMEM;
        other->release = release_new(svc, m->node);
        if (!other->release || memory_take_extents_at(other, f, extents, count) < 0) {
                memory_abandon(other);
                return -EINVAL;
        }
        charge_force(&other->charge, account, m->size);
        memory_swap_places(m, other);
        memory_set_away(svc, m, f->node != m->node);
        capacity_changed(svc, m->partition, f->node);
        memory_discard(svc, other, false);
        list_remove(&m->by_node);
        spill_offer(svc, m);
        return 0;
}

/* ---- giving back ---- */

static void punch_extents(const struct memory *m, struct memfile *memfile) {
        const struct va_extent *e;

        for (uint32_t i = 0; (e = memory_extent(m, i)); i++)
                memfile_punch(memfile, e->start - FILE_BASE, e->size);
}

static void release_run(struct job *job) {
        struct release *r = container_of(job, struct release, job);

        if (r->memory)
                punch_extents(r->memory, r->memfile);
        else
                memfile_punch(r->memfile, 0, r->size);
}

static void release_done(struct job *job) {
        struct release *r = container_of(job, struct release, job);

        if (r->file) {
                if (!r->svc->replaying)
                        r->svc->hooks.unkeep(r->svc->hooks.userdata, KEEP_KEY(KEEP_FILE, r->file->object.id));
                memfile_free(r->memfile);
                file_free(r->file);
        }
        if (r->memory)
                memory_free(r->memory);
        alloc_free(r);
}

static void release_start(struct service *svc, struct release *r, uint64_t bytes) {
        if (bytes <= INLINE_PAGES && jobs_lane_idle(svc->jobs, r->job.lane)) {
                release_run(&r->job);
                release_done(&r->job);
                return;
        }
        jobs_submit(svc->jobs, &r->job);
}

void memory_discard(struct service *svc, struct memory *m, bool committed) {
        struct partition *p = m->partition;
        struct release *r = m->release;
        struct file *f = m->file;
        uint64_t bytes = committed && !svc->replaying ? m->size : 0, lease = m->lease;
        uint32_t node = f->node;

        if (f->kind == FILE_CLIENT) {
                registered_discard(svc, m);
                return;
        }
        list_remove(&m->by_node);
        memory_set_away(svc, m, false);
        spill_forget(svc, m);

        r->memory = m;
        r->memfile = f->memfile;
        if (f->kind == FILE_OWN || f->kind == FILE_DMABUF) {
                list_remove(&f->by_session);
                ids_remove(&svc->state.ids, &f->object);
                r->file = f;
        }
        if (f->kind == FILE_DMABUF) {
                svc->state.nodes[f->node].dmabufs -= f->slots.end - f->slots.start;
                bytes = 0;
        }
        /* An ending session's arenas go as a whole, right behind this. */
        if (f->kind == FILE_ARENA && f->session->ending)
                bytes = 0;
        memory_release(m);
        lease_put_back(svc, lease, node, m->size);
        capacity_changed(svc, p, node);
        if (bytes == 0) {
                release_done(&r->job);
                return;
        }
        release_start(svc, r, bytes);
}

void memory_destroy(struct service *svc, struct memory *m) {
        list_remove(&m->by_doomed);
        if (m->name)
                shares_drop(m->name);
        memory_unlink(&svc->state, m);
        memory_discard(svc, m, true);
}

void memory_left(struct service *svc, struct memory *m) {
        if (memory_unused(m))
                memory_destroy(svc, m);
        else
                keeping_left(svc, m->keeping);
}

/* What this needs was taken when the arena was made. */
void file_end(struct service *svc, struct file *f) {
        struct release *r = f->release;

        r->file = f;
        r->memfile = f->memfile;
        list_remove(&f->by_session);
        ids_remove(&svc->state.ids, &f->object);
        if (svc->replaying) {
                release_done(&r->job);
                return;
        }
        r->size = memfile_size(f->memfile);
        release_start(svc, r, memfile_bytes(f->memfile));
}

void memory_orphan(struct memory *m) {
        uint32_t node = m->file->node;

        if (m->charge.account && m->charge.account != &m->partition->accounts[node])
                charge_lift(&m->charge, &m->partition->accounts[node]);
}

void holding_end(struct service *svc, struct holding *h) {
        struct memory *m = h->memory;

        holding_unlink(h);
        if (h == &m->creator) {
                memory_orphan(m);
                spill_orphan(m);
                h->session = NULL;
        } else {
                alloc_free(h);
        }
        memory_left(svc, m);
}

/* ---- making ---- */

static struct file *arena_with_room(struct session *s, uint32_t node, uint64_t size) {
        list_for_each (l, &s->files) {
                struct file *f = container_of(l, struct file, by_session);

                if (f->node == node && va_largest_gap(&f->slots) >= size)
                        return f;
        }
        return NULL;
}

static int file_for(struct service *svc, struct session *s, uint32_t node, uint64_t size, bool shareable,
                    struct file **ret) {
        struct file *f;

        if (svc->state.nodes[node].pool) {
                *ret = svc->state.nodes[node].pool;
                return 0;
        }
        if (shareable || size > ARENA_SIZE)
                return file_make(svc, node, FILE_OWN, size, s, ret);
        f = arena_with_room(s, node, size);
        if (!f)
                return file_make(svc, node, FILE_ARENA, ARENA_SIZE, s, ret);
        *ret = f;
        return 0;
}

static unsigned say_node(const char *name, uint64_t size, const struct account *node, char *why, size_t why_size) {
        char asked[24], used[24], max[24], held[24];

        text_bytes(asked, sizeof(asked), size);
        text_bytes(used, sizeof(used), node->used);
        text_bytes(max, sizeof(max), node->max);
        text_bytes(held, sizeof(held), node->held);
        if (node->used < node->max && size <= node->max - node->used)
                snprintf(why, why_size,
                         "%s has no room that is not promised: %s asked, %s of %s used, %s kept free for the min of "
                         "others (svmd-ctl partition list); free memory there or use another node",
                         name, asked, used, max, held);
        else
                snprintf(why, why_size, "%s is full: %s asked, %s of %s used; free memory there or use another node",
                         name, asked, used, max);
        return SVMD_STATUS_NO_ROOM;
}

unsigned say_over(struct service *svc, struct session *s, uint32_t node, uint64_t size, const struct account *over,
                  char *why, size_t why_size) {
        const struct limited of = limited_of(s, node, over);
        const char *name = node_desc(svc, node)->name;
        char asked[24], used[24], max[24], whose[LIMITED_NAME];
        uint64_t withheld;

        if (over == &svc->state.nodes[node].account)
                return say_node(name, size, over, why, why_size);
        text_bytes(asked, sizeof(asked), size);
        text_bytes(used, sizeof(used), over->used);
        text_bytes(max, sizeof(max), over->max);
        if (message_passes(&svc->rates.limit, clock_ns(CLOCK_MONOTONIC), &withheld))
                message(MESSAGE_LIMIT_REFUSED,
                        FIELDS(FIELD_TEXT("SVMD_PARTITION", s->partition->name->text), FIELD_TEXT("SVMD_NODE", name),
                               FIELD_NUMBER("SVMD_BYTES", size), FIELD_NUMBER("SVMD_SESSION", s->object.id),
                               FIELD_NUMBER("SVMD_SESSION_PID", s->pid), FIELD_NUMBER("SVMD_WITHHELD", withheld)),
                        "session %" PRIu64 " (pid %u) was refused %s on %s: %s may have %s there and has %s",
                        s->object.id, s->pid, asked, name, limited_name(of, whose), max, used);
        limited_say(of, name, size, over, why, why_size);
        return SVMD_STATUS_LIMIT;
}

static unsigned say_errno(int r, const char *name, char *why, size_t why_size) {
        if (r == MEMORY_E_FULL) {
                snprintf(why, why_size, "%s has no room for it", name);
                return SVMD_STATUS_NO_ROOM;
        }
        if (r == -EDQUOT) {
                snprintf(why, why_size,
                         "svmd keeps as many file descriptors for this user as it may (max-fds-per-uid): give back "
                         "shareable memory, dma-bufs or managed ranges, or have the limit raised");
                return SVMD_STATUS_QUOTA;
        }
        if (r == -EMFILE || r == -ENFILE || r == -EXFULL) {
                snprintf(why, why_size,
                         "svmd has no file descriptor left for memory of its own on %s; use memory that is not "
                         "shareable, or fewer and larger objects",
                         name);
                return SVMD_STATUS_QUOTA;
        }
        snprintf(why, why_size, "the machine has no memory left for it on %s", name);
        return SVMD_STATUS_NO_MEMORY;
}

static unsigned memory_charge(struct service *svc, struct session *s, struct memory *m, struct account *account,
                              uint64_t lease, struct account **ret_over, char *why, size_t why_size) {
        unsigned code = lease ? lease_draw(svc, s, lease, m->node, m->size, why, why_size) : SVMD_STATUS_OK;

        if (code)
                return code;
        if (lease) {
                charge_force(&m->charge, account, m->size);
                m->lease = lease;
                return SVMD_STATUS_OK;
        }
        if (charge_take(&m->charge, account, m->size, ret_over) != 0)
                return say_over(svc, s, m->node, m->size, *ret_over, why, why_size);
        return capacity_for_memory(svc, s->partition, s, m->node, why, why_size);
}

/* -errno, MEMORY_E_FULL. */
static int memory_place(struct service *svc, struct session *s, struct memory *m, bool own_file) {
        struct file *f;
        int r = m->release ? file_for(svc, s, m->node, m->size, own_file, &f) : -ENOMEM;

        if (r < 0)
                return r;
        r = memory_take_extents(m, f, f->kind == FILE_POOL);
        if (r != 0 && f->kind == FILE_OWN) {
                ids_remove(&svc->state.ids, &f->object);
                svc->hooks.unkeep(svc->hooks.userdata, KEEP_KEY(KEEP_FILE, f->object.id));
                memfile_free(f->memfile);
                file_free(f);
        }
        return r;
}

int memory_make_place(struct service *svc, const struct memory *m, uint32_t node, struct memory **ret,
                      struct account **ret_over) {
        struct account *account = memory_payer(svc, m->partition, m->creator.session, node);
        struct memory *other = account ? memory_new(0, m->partition, node, m->size) : NULL;
        int r;

        *ret_over = NULL;
        if (!other)
                return -ENOMEM;
        other->release = release_new(svc, m->node);
        r = charge_take(&other->charge, account, m->size, ret_over) == 0 ? memory_place(svc, NULL, other, true)
                                                                         : MEMORY_E_FULL;
        if (r != 0) {
                memory_abandon(other);
                return r;
        }
        capacity_changed(svc, m->partition, node);
        *ret = other;
        return 0;
}

unsigned memory_make(struct service *svc, struct session *s, uint32_t node, uint64_t size, unsigned flags,
                     uint64_t lease, struct memory **ret, struct account **ret_over, char *why, size_t why_size) {
        struct account *account = session_account(&svc->state, s, node);
        struct memory *m;
        unsigned code;
        int r;

        *ret_over = NULL;
        if (svc->state.nodes[node].offline) {
                say_off(svc, node, why, why_size);
                return SVMD_STATUS_NO_NODE;
        }
        m = account ? memory_new(state_take_id(&svc->state), s->partition, node, size) : NULL;
        if (!m)
                return say_errno(-ENOMEM, node_desc(svc, node)->name, why, why_size);
        m->shareable = flags & SVMD__V1__MEM_FLAG__MEM_SHAREABLE;
        m->pinned = flags & SVMD__V1__MEM_FLAG__MEM_PINNED;
        m->release = release_new(svc, node);
        code = memory_charge(svc, s, m, account, lease, ret_over, why, why_size);
        if (!code && (r = memory_place(svc, s, m, m->shareable)) != 0)
                code = say_errno(r, node_desc(svc, node)->name, why, why_size);
        if (code) {
                uint64_t drawn = m->lease;

                memory_abandon(m);
                lease_put_back(svc, drawn, node, size);
                return code;
        }
        capacity_changed(svc, s->partition, node);
        *ret = m;
        return SVMD_STATUS_OK;
}

/* The keeper has it before anything depends on it. */
static int dmabuf_file(struct service *svc, uint32_t node, uint64_t size, int *fd, struct file **ret) {
        struct file *f = file_new(state_take_id(&svc->state), FILE_DMABUF, node, size);
        uint64_t key = f ? KEEP_KEY(KEEP_FILE, f->object.id) : 0;
        struct memfile *memfile;
        int r = f ? svc->hooks.keep(svc->hooks.userdata, key, *fd) : -ENOMEM;

        if (r == 0) {
                r = wrap_driver(svc, &memfile, node, *fd, size);
                if (r < 0)
                        svc->hooks.unkeep(svc->hooks.userdata, key);
        }
        if (r < 0) {
                file_free(f);
                return r;
        }
        *fd = -1;
        f->memfile = memfile;
        file_link(svc, f, NULL);
        *ret = f;
        return 0;
}

unsigned memory_make_dmabuf(struct service *svc, struct session *s, uint32_t node, uint64_t size, struct grant *g,
                            int *fd, struct memory **ret, char *why, size_t why_size) {
        struct account *account = session_account(&svc->state, s, node), *over = NULL;
        struct memory *m = account && ids_reserve(&svc->state.ids, 2) == 0
                                   ? memory_new(state_take_id(&svc->state), s->partition, node, size)
                                   : NULL;
        struct file *f = NULL;
        unsigned code;
        int r;

        if (!m)
                return say_errno(-ENOMEM, node_desc(svc, node)->name, why, why_size);
        m->shareable = m->pinned = true;
        m->release = release_new(svc, node);
        code = g ? SVMD_STATUS_OK : memory_charge(svc, s, m, account, 0, &over, why, why_size);
        r = code ? 0 : !m->release ? -ENOMEM : !fds_fit(svc, s, 1) ? -EDQUOT : dmabuf_file(svc, node, size, fd, &f);
        if (r < 0)
                code = say_errno(r, node_desc(svc, node)->name, why, why_size);
        if (code) {
                memory_abandon(m);
                return code;
        }
        if (g)
                grant_hand_over(svc, g, &m->charge, size);
        file_pay(f, s->party);
        memory_take_extents(m, f, false); /* all of it: nothing is in the way */
        capacity_changed(svc, s->partition, node);
        *ret = m;
        return SVMD_STATUS_OK;
}

int memory_commit_pages(struct memory *m) {
        const struct va_extent *e;
        int r;

        for (uint32_t i = 0; (e = memory_extent(m, i)); i++) {
                r = memfile_commit(m->file->memfile, e->start - FILE_BASE, e->size);
                if (r < 0) {
                        while (i-- > 0)
                                memfile_punch(m->file->memfile, memory_extent(m, i)->start - FILE_BASE,
                                              memory_extent(m, i)->size);
                        return r;
                }
        }
        return 0;
}
