/*
 * Every operation against every way to be wrong that it knows: its own code, a text, a session that goes on, and
 * nothing changed. The table at the end says which ways each operation has; the test fails where one was not tried.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/partition.h"
#include "core/session.h"
#include "expect.h"
#include "ranges.h"

/* Ways to be wrong. */
enum way {
        W_ZERO,     /* size 0 */
        W_PAGE,     /* size not a multiple of a page */
        W_OVERFLOW, /* passes the end of all addresses */
        W_OUTSIDE,  /* outside of the slice, reservation, memory or aperture */
        W_ALIGN,    /* misaligned */
        W_FOREIGN,  /* another session's of the partition */
        W_OTHER,    /* another partition's */
        W_STALE,    /* was there once */
        W_KIND,     /* the number of another kind of object */
        W_FDS,      /* too many or too few descriptors */
        W_FD_KIND,  /* of the wrong kind */
        W_NODE,     /* no such node */
        W_NODE_KIND,
        W_LINK,
        W_RIGHT,    /* no right to it */
        W_ATTACHED, /* not attached */
        W_ADMIN,    /* not an administrator */
        W_FIRST,    /* before hello, or hello again */
        W_ALONE,    /* not alone */
        W_FINAL,    /* cannot be taken back */
        W_MIX,      /* hands out a descriptor beside changes */
        W_ENUM,     /* a flag, mode or number that means nothing */
        W_NAME,     /* no name */
        W_TAKEN,
        W_NONE, /* no such name */
        W_LIMIT,
        W_ROOM,
        W_QUOTA,
        W_MAPPED, /* nothing is mapped there */
        W_BUSY,
        WAYS,
};

static const char *const way_names[WAYS] = {
        "size 0",
        "not whole pages",
        "overflow",
        "outside",
        "misaligned",
        "foreign",
        "other partition",
        "stale",
        "other kind",
        "descriptors",
        "kind of descriptor",
        "no such node",
        "kind of node",
        "no link",
        "no right",
        "not attached",
        "no administrator",
        "hello",
        "not alone",
        "taken back",
        "mixed",
        "no meaning",
        "name",
        "taken",
        "no such name",
        "limit",
        "room",
        "quota",
        "not mapped",
        "busy",
};

enum { OPS_END = SVMD__V1__OP__OP_CUDA_MAP + 1 };
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

static bool tried[OPS_END][WAYS];
static unsigned long rows;

#define page  SVMD_PAGE
#define large (16 * SVMD_PAGE)

static struct world w;
static struct client a, b, c, admin, fresh, greeted;
static uint64_t ra, rn, rb, rc, ra_at, rn_at, rb_at, rc_at, ma, ms, mg, mg1, mb, mc, sp, sg1, sb, sc, stale_memory,
        stale_space, stale_range, slice_start, slice_size;
/* Managed ones: of a; named, b reads it; of c; revoked, b writes it. */
static uint64_t rm, rmn, rmc, rmr, rm_at, rmn_at, rmc_at, rmr_at;

static void goes_on(struct client *x) {
        Svmd__V1__Op *op;

        if (x == &fresh)
                return; /* it has said nothing yet, and may still say hello */
        op = op_make(SVMD__V1__OP__OP_NODES);
        must(x, op);
}

static void expect_same(const char *before, const char *what) {
        char *after = digest(&w, true);

        if (strcmp(before, after) != 0)
                fail_msg("%s changed something:\n%s\n%s", what, before, after);
        free(after);
        check_world(&w);
}

static void expect(struct client *x, unsigned op_case, enum way way, unsigned code, Svmd__V1__Mode mode,
                   Svmd__V1__Op **ops, size_t count, size_t which, const int *fds, size_t fds_count) {
        const char *name = op_row(op_case)->name;
        Svmd__V1__Reply *reply;
        char *before;

        world_settle(&w);
        before = digest(&w, true);
        reply = client_send(x, mode, ops, count, fds, fds_count);
        if (!reply)
                fail_msg("%s, %s: the session ended", name, way_names[way]);
        if (reply->results[which]->code != code)
                fail_msg("%s, %s: %u %s, expected %s", name, way_names[way], reply->results[which]->code,
                         reply->results[which]->text, status_name(code));
        if (!reply->results[which]->text[0])
                fail_msg("%s, %s: no text", name, way_names[way]);
        world_settle(&w);
        expect_same(before, name);
        free(before);
        goes_on(x);
        tried[op_case][way] = true;
        rows++;
}

/* As many descriptors as the operations take, of no meaning. */
static size_t some_fds(Svmd__V1__Op **ops, size_t count, int *fds) {
        size_t n = 0;

        for (size_t i = 0; i < count; i++)
                for (unsigned k = op_fds(ops[i]); k > 0; k--)
                        fds[n++] = eventfd(0, EFD_CLOEXEC);
        return n;
}

static void no_shape(struct client *x, unsigned op_case, enum way way, Svmd__V1__Mode mode, Svmd__V1__Op **ops,
                     size_t count, size_t which) {
        int fds[4];
        size_t n = some_fds(ops, count, fds);

        expect(x, op_case, way, SVMD_STATUS_SHAPE, mode, ops, count, which, fds, n);
}

/* One operation, in each mode that it may come in. */
static void no(struct client *x, enum way way, unsigned code, Svmd__V1__Op *op) {
        bool final = op_row(op->op_case)->flags & OP_FINAL;
        int fds[4];
        size_t n = some_fds(&op, 1, fds);

        expect(x, op->op_case, way, code, SVMD__V1__MODE__BEST_EFFORT, &op, 1, 0, fds, n);
        if (final || way == W_FIRST || way == W_ATTACHED || way == W_ADMIN)
                return;
        expect(x, op->op_case, way, code, SVMD__V1__MODE__ALL_OR_NOTHING, &op, 1, 0, NULL, 0);
        expect(x, op->op_case, way, code, SVMD__V1__MODE__DRY_RUN, &op, 1, 0, NULL, 0);
        /* Behind changes that are taken back. */
        if (way != W_QUOTA && !(op_row(op->op_case)->flags & (OP_ALONE | OP_FD_OUT)) && x->session->partition) {
                Svmd__V1__Op *three[] = { mk_reserve(page, 0, 0, "", 0), mk_create(GPU0, page, 0), op };

                expect(x, op->op_case, way, code, SVMD__V1__MODE__ALL_OR_NOTHING, three, 3, 2, NULL, 0);
        }
}

static void no_fds(struct client *x, enum way way, unsigned code, Svmd__V1__Op *op, const int *fds, size_t count) {
        expect(x, op->op_case, way, code, SVMD__V1__MODE__BEST_EFFORT, &op, 1, 0, fds, count);
}

/* ---- the world ----------------------------------------------------------------------------------------------------
 */

static Svmd__V1__Op *mk_revoke(uint64_t address) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_REVOKE);

        op->revoke->address = address;
        return op;
}

/* Of this process. */
static int new_userfaultfd(struct client *x) {
        int device, fd;

        must(x, op_make(SVMD__V1__OP__OP_UFFD_DEVICE));
        device = fdlist_steal(&x->fds);
        fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
        assert_true(fd >= 0);
        close(device);
        return fd;
}

static void give_userfaultfd(struct client *x) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_UFFD_GIVE);
        int fd = new_userfaultfd(x);

        assert_int_equal(client_send(x, SVMD__V1__MODE__BEST_EFFORT, &op, 1, &fd, 1)->results[0]->code, 0);
}

static Svmd__V1__Op *mk_register(uint64_t address, uint64_t size, uint64_t probe) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_REGISTER);

        op->register_->address = address;
        op->register_->size = size;
        op->register_->probe = probe;
        return op;
}

static Svmd__V1__Op *mk_unregister(uint64_t memory) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_UNREGISTER);

        op->unregister->memory = memory;
        return op;
}

static int process_memory(void) {
        int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

static void set_up(void) {
        Svmd__V1__Result *r;
        uint64_t id;

        world_open(&w, 0);
        w.options.max_objects_per_session = 64;
        w.svc->options.max_objects_per_session = 64;
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        r = must(&admin, mk_partition("one", 4ull << 30, "", 100, 0666));
        slice_start = r->address;
        slice_size = r->size;
        must(&admin, mk_partition("two", 4ull << 30, "", 100, 0666));
        must(&admin, mk_partition("far", 4ull << 30, "elsewhere", 100, 0666));
        must(&admin, mk_partition("shut", 4ull << 30, "", 100, 0600));
        must(&admin, mk_limit("one", GPU1, 8 * page));
        client_open(&w, &a, 100, 100, false);
        client_greet(&a, "one");
        client_open(&w, &b, 101, 101, false);
        client_greet(&b, "one");
        client_open(&w, &c, 102, 102, false);
        client_greet(&c, "two");
        client_open(&w, &fresh, 103, 103, false);
        client_open(&w, &greeted, 104, 104, false);
        client_greet(&greeted, NULL);

        r = must(&a, mk_reserve(16 * page, 0, 0, "", 0)), ra = r->id, ra_at = r->address;
        r = must(&a, mk_reserve(16 * page, 0, 0, "named", 0644)), rn = r->id, rn_at = r->address;
        r = must(&b, mk_reserve(16 * page, 0, 0, "", 0)), rb = r->id, rb_at = r->address;
        r = must(&c, mk_reserve(16 * page, 0, 0, "", 0)), rc = r->id, rc_at = r->address;
        must(&b, mk_open("named", 1));
        r = must(&a, mk_range(16 * large, large, "", 0)), rm = r->id, rm_at = r->address;
        r = must(&a, mk_range(16 * large, large, "managed", 0644)), rmn = r->id, rmn_at = r->address;
        r = must(&c, mk_range(16 * large, large, "", 0)), rmc = r->id, rmc_at = r->address;
        r = must(&a, mk_range(16 * large, large, "revoked", 0666)), rmr = r->id, rmr_at = r->address;
        must(&b, mk_open("managed", 1));
        must(&b, mk_open("revoked", 3));
        must(&a, mk_revoke(rmr_at));
        world_settle(&w);
        give_userfaultfd(&a);
        ma = must(&a, mk_create(HOST0, 16 * page, 0))->id;
        ms = must(&a, mk_create(HOST0, 16 * page, 1))->id;
        mg = must(&a, mk_create(GPU0, 16 * page, 1 | SVMD__V1__MEM_FLAG__MEM_PINNED))->id;
        mg1 = must(&a, mk_create(GPU2, 16 * page, SVMD__V1__MEM_FLAG__MEM_PINNED))->id;
        mb = must(&b, mk_create(HOST0, 16 * page, 0))->id;
        mc = must(&c, mk_create(HOST0, 16 * page, 0))->id;
        sp = must(&a, mk_space(GPU0))->id;
        sg1 = must(&a, mk_space(GPU2))->id;
        sb = must(&b, mk_space(GPU0))->id;
        sc = must(&c, mk_space(GPU0))->id;
        must(&a, mk_export(ms, "exported", 0644, 0));
        must(&a, mk_map(0, ra_at, 4 * page, ma, 0, 3, 0));
        must(&a, mk_map(sp, 1u << 20, 4 * page, mg, 0, 3, 0));
        must(&a, mk_sparse(sp, 2u << 20, 4 * page, 1));
        must(&a, mk_sparse(0, ra_at + 8 * page, 4 * page, 2));
        id = must(&a, mk_create(HOST0, page, 0))->id;
        must(&a, mk_release(id)), stale_memory = id;
        id = must(&a, mk_space(GPU0))->id;
        must(&a, mk_destroy(id)), stale_space = id;
        id = must(&a, mk_reserve(page, 0, 0, "", 0))->id;
        must(&a, mk_free(id)), stale_range = id;
}

static void tear_down(void) {
        struct client *all[] = { &a, &b, &c, &admin, &fresh, &greeted };

        for (unsigned i = 0; i < 6; i++)
                client_close(all[i]);
        world_close(&w);
}

/* ---- ways that many operations share ------------------------------------------------------------------------------
 */

/* An operation as a client might send it; only its shape matters. */
static Svmd__V1__Op *sample(unsigned op_case) {
        switch (op_case) {
        case SVMD__V1__OP__OP_RESERVE: return mk_reserve(page, 0, 0, "", 0);
        case SVMD__V1__OP__OP_MEM_IMPORT: return mk_import("exported", 1);
        case SVMD__V1__OP__OP_PARTITION_CREATE: return mk_partition("new", 4ull << 30, "", 1, 0600);
        case SVMD__V1__OP__OP_PARTITION_DELETE: return mk_delete("two", false);
        default: return op_make(op_case);
        }
}

static void shapes(void) {
        Svmd__V1__Op *two[2];

        for (unsigned i = 0; i < OPS_END; i++) {
                const struct op_row *row = op_row(i);

                if (!row)
                        continue;
                ops_reset();
                if (row->flags & OP_FIRST)
                        no(&a, W_FIRST, SVMD_STATUS_SHAPE, sample(i));
                else
                        no(&fresh, W_FIRST, SVMD_STATUS_SHAPE, sample(i));
                if (row->flags & OP_ATTACHED)
                        no(&greeted, W_ATTACHED, SVMD_STATUS_NOT_ATTACHED, sample(i));
                if (row->flags & OP_ADMIN)
                        no(&a, W_ADMIN, SVMD_STATUS_DENIED, sample(i));
                if (row->flags & OP_ALONE) {
                        struct client *x = row->flags & OP_ADMIN      ? &admin
                                           : row->flags & OP_FIRST    ? &fresh
                                           : row->flags & OP_ATTACHED ? &a
                                                                      : &greeted;

                        two[0] = sample(i);
                        two[1] = sample(SVMD__V1__OP__OP_STATUS);
                        no_shape(x, i, W_ALONE, SVMD__V1__MODE__BEST_EFFORT, two, 2, 0);
                        two[1] = two[0];
                        two[0] = sample(SVMD__V1__OP__OP_STATUS);
                        no_shape(x, i, W_ALONE, SVMD__V1__MODE__BEST_EFFORT, two, 2, 1);
                }
                if (row->flags & OP_FINAL) {
                        struct client *x = row->flags & OP_ADMIN      ? &admin
                                           : row->flags & OP_FIRST    ? &fresh
                                           : row->flags & OP_ATTACHED ? &a
                                                                      : &greeted;

                        two[0] = sample(i);
                        no_shape(x, i, W_FINAL, SVMD__V1__MODE__DRY_RUN, two, 1, 0);
                        no_shape(x, i, W_FINAL, SVMD__V1__MODE__ALL_OR_NOTHING, two, 1, 0);
                }
                if (row->flags & OP_FD_OUT) {
                        two[0] = i == SVMD__V1__OP__OP_MEM_FD ? mk_mem_fd(ma, 1) : sample(i);
                        two[1] = mk_unmap(0, ra_at, page);
                        expect(&a, i, W_MIX, SVMD_STATUS_SHAPE, SVMD__V1__MODE__ALL_OR_NOTHING, two, 2, 0, NULL, 0);
                }
                {
                        /* A descriptor more than it takes, whatever it is. */
                        int fds[] = { eventfd(0, 0), eventfd(0, 0) };
                        struct client *x = row->flags & OP_ADMIN ? &admin : row->flags & OP_FIRST ? &fresh : &a;

                        no_fds(x, W_FDS, SVMD_STATUS_FD_COUNT, sample(i), fds, 2);
                }
        }
}

/* Wrong ranges of operations on mappings; `make` builds one. */
typedef Svmd__V1__Op *(*make_fn)(uint64_t space, uint64_t address, uint64_t size);

static Svmd__V1__Op *make_map(uint64_t space, uint64_t address, uint64_t size) {
        return mk_map(space, address, size, ma, 0, 1, 0);
}

static Svmd__V1__Op *make_access(uint64_t space, uint64_t address, uint64_t size) {
        return mk_access(space, address, size, 1);
}

static Svmd__V1__Op *make_attributes(uint64_t space, uint64_t address, uint64_t size) {
        return mk_attributes(space, address, size, 0, 0);
}

static Svmd__V1__Op *make_sparse(uint64_t space, uint64_t address, uint64_t size) {
        return mk_sparse(space, address, size, 2);
}

static void ranges(void) {
        static const make_fn makes[] = { make_map, mk_unmap, make_access, make_attributes, make_sparse, mk_unsparse };

        for (unsigned i = 0; i < sizeof(makes) / sizeof(makes[0]); i++) {
                make_fn make = makes[i];

                ops_reset();
                for (unsigned k = 0; k < 2; k++) {
                        uint64_t space = k ? sp : 0, at = k ? 4u << 20 : ra_at;

                        no(&a, W_ZERO, SVMD_STATUS_SIZE, make(space, at, 0));
                        no(&a, W_PAGE, SVMD_STATUS_SIZE, make(space, at, page + 1));
                        no(&a, W_PAGE, SVMD_STATUS_SIZE, make(space, at, page - 1));
                        no(&a, W_ALIGN, SVMD_STATUS_ALIGN, make(space, at + 8, page));
                        no(&a, W_OVERFLOW, SVMD_STATUS_RANGE, make(space, at, -page));
                        no(&a, W_OVERFLOW, SVMD_STATUS_RANGE, make(space, -page, 2 * page));
                        no(&a, W_OVERFLOW, SVMD_STATUS_RANGE, make(space, -page, page));
                }
                no(&a, W_OUTSIDE, SVMD_STATUS_RANGE, make(0, ra_at + 15 * page, 2 * page));
                no(&a, W_OUTSIDE, SVMD_STATUS_RANGE, make(0, slice_start + slice_size - page, page));
                no(&a, W_OUTSIDE, SVMD_STATUS_RANGE, make(0, page, page));
                no(&a, W_OUTSIDE, SVMD_STATUS_RANGE, make(sp, 1ull << 47, page));
                no(&a, W_OUTSIDE, SVMD_STATUS_RANGE, make(sp, (1ull << 47) - page, 2 * page));
                no(&a, W_OUTSIDE, SVMD_STATUS_RANGE, make(sg1, 1ull << 46, page));
                no(&a, W_FOREIGN, SVMD_STATUS_FOREIGN, make(0, rb_at, page));
                no(&a, W_FOREIGN, SVMD_STATUS_FOREIGN, make(sb, 1u << 20, page));
                no(&a, W_OTHER, SVMD_STATUS_RANGE, make(0, rc_at, page));
                no(&a, W_OTHER, SVMD_STATUS_NO_SUCH, make(sc, 1u << 20, page));
                no(&a, W_STALE, SVMD_STATUS_NO_SUCH, make(stale_space, 1u << 20, page));
                no(&a, W_KIND, SVMD_STATUS_NO_SUCH, make(ma, 1u << 20, page));
                no(&a, W_KIND, SVMD_STATUS_NO_SUCH, make(UINT64_MAX, 1u << 20, page));
                no(&b, W_RIGHT, SVMD_STATUS_DENIED, make(0, rn_at, page));
        }
}

/* ---- operation by operation ---------------------------------------------------------------------------------------
 */

static Svmd__V1__Op *hello(uint32_t min, uint32_t max) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_HELLO);

        op->hello->min_version = min;
        op->hello->max_version = max;
        return op;
}

static Svmd__V1__Op *attach(const char *partition, uint32_t window) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_ATTACH);

        op->attach->partition = (char *)partition;
        op->attach->window = (Svmd__V1__Window)window;
        return op;
}

static void sessions(void) {
        struct service_peer peer = { .pid = a.pid, .uid = 100, .gid = 100 };
        struct client same;

        ops_reset();
        no(&fresh, W_ENUM, SVMD_STATUS_VERSION, hello(2, 9));
        no(&fresh, W_ENUM, SVMD_STATUS_VERSION, hello(0, 0));
        no(&greeted, W_NONE, SVMD_STATUS_NO_SUCH, attach("nowhere", 0));
        no(&greeted, W_RIGHT, SVMD_STATUS_DENIED, attach("shut", 0));
        no(&greeted, W_TAKEN, SVMD_STATUS_COLLISION, attach("one", 1));
        no(&greeted, W_ENUM, SVMD_STATUS_INVALID, attach("one", 7));
        no(&a, W_TAKEN, SVMD_STATUS_SHAPE, attach("one", 0));
        /* A process is of one domain. */
        assert_int_equal(client_open_as(&w, &same, &peer), 0);
        client_greet(&same, NULL);
        no(&same, W_RIGHT, SVMD_STATUS_DENIED, attach("far", 0));
        client_close(&same);
        w.fail_keep_session = true;
        no(&greeted, W_QUOTA, SVMD_STATUS_QUOTA, attach("one", 0));
        w.fail_keep_session = false;
}

static void reservations(void) {
        Svmd__V1__Op *op;

        ops_reset();
        no(&a, W_ZERO, SVMD_STATUS_SIZE, mk_reserve(0, 0, 0, "", 0));
        no(&a, W_PAGE, SVMD_STATUS_SIZE, mk_reserve(page + 1, 0, 0, "", 0));
        no(&a, W_ALIGN, SVMD_STATUS_ALIGN, mk_reserve(page, 3 * page, 0, "", 0));
        no(&a, W_ALIGN, SVMD_STATUS_ALIGN, mk_reserve(page, 512, 0, "", 0));
        no(&a, W_ALIGN, SVMD_STATUS_ALIGN, mk_reserve(page, 2ull << 30, 0, "", 0));
        no(&a, W_ALIGN, SVMD_STATUS_ALIGN, mk_reserve(page, 0, slice_start + 1, "", 0));
        no(&a, W_ALIGN, SVMD_STATUS_ALIGN, mk_reserve(page, 2 * page, slice_start + page, "", 0));
        no(&a, W_OUTSIDE, SVMD_STATUS_RANGE, mk_reserve(slice_size + page, 0, 0, "", 0));
        no(&a, W_OUTSIDE, SVMD_STATUS_RANGE, mk_reserve(page, 0, slice_start - page, "", 0));
        no(&a, W_OUTSIDE, SVMD_STATUS_RANGE, mk_reserve(2 * page, 0, slice_start + slice_size - page, "", 0));
        no(&a, W_OVERFLOW, SVMD_STATUS_RANGE, mk_reserve(-page, 0, slice_start, "", 0));
        no(&a, W_OVERFLOW, SVMD_STATUS_RANGE, mk_reserve(page, 0, -page, "", 0));
        no(&a, W_ROOM, SVMD_STATUS_NO_VA, mk_reserve(slice_size, 0, 0, "", 0));
        no(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_reserve(page, 0, rb_at, "", 0));
        no(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_reserve(page, 0, 0, "named", 0));
        no(&a, W_NAME, SVMD_STATUS_NAME, mk_reserve(page, 0, 0, "-x", 0));
        no(&a, W_NAME, SVMD_STATUS_NAME, mk_reserve(page, 0, 0, "a/b", 0));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_reserve(page, 0, 0, "m", 01777));
        op = mk_reserve(page, 0, 0, "", 0);
        op->reserve->kind = (Svmd__V1__ReservationKind)3;
        no(&a, W_ENUM, SVMD_STATUS_INVALID, op);

        no(&a, W_NONE, SVMD_STATUS_NO_SUCH, mk_open("nothing", 1));
        no(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_open("named", 1));
        no(&b, W_TAKEN, SVMD_STATUS_TAKEN, mk_open("named", 1));
        no(&b, W_RIGHT, SVMD_STATUS_DENIED, mk_open("named", 3));
        no(&c, W_OTHER, SVMD_STATUS_NO_SUCH, mk_open("named", 1));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_open("named", 2));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_open("named", 0));

        no(&a, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_free(rb));
        no(&a, W_OTHER, SVMD_STATUS_NO_SUCH, mk_free(rc));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_free(stale_range));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_free(ma));

        op = op_make(SVMD__V1__OP__OP_LAYOUT);
        op->layout->reservation = rb;
        no(&a, W_FOREIGN, SVMD_STATUS_FOREIGN, op);
        op->layout->reservation = rc;
        no(&a, W_OTHER, SVMD_STATUS_NO_SUCH, op);
        op->layout->reservation = stale_range;
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, op);
        op->layout->reservation = sp;
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, op);
        op = op_make(SVMD__V1__OP__OP_RESERVATION_QUERY);
        op->reservation_query->address = slice_start + slice_size - page;
        no(&a, W_OUTSIDE, SVMD_STATUS_NO_SUCH, op);
        op->reservation_query->address = rc_at;
        no(&a, W_OTHER, SVMD_STATUS_NO_SUCH, op);
        op = op_make(SVMD__V1__OP__OP_RESERVATION_LIST);
        op->reservation_list->partition = (char *)"two";
        no(&a, W_RIGHT, SVMD_STATUS_DENIED, op);
        op->reservation_list->partition = (char *)"";
        no(&greeted, W_ATTACHED, SVMD_STATUS_NOT_ATTACHED, op);
        op->reservation_list->partition = (char *)"nowhere";
        no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, op);
}

/* ---- managed ranges ---- */

static Svmd__V1__Op *mk_managed(uint64_t size, uint64_t align, uint64_t address, uint32_t granule, uint32_t flags) {
        Svmd__V1__Op *op = mk_range(size, granule, "", 0);

        op->reserve->align = align;
        op->reserve->address = address;
        op->reserve->flags = flags;
        return op;
}

static void managed_reservations(void) {
        Svmd__V1__Op *op = mk_reserve(page, 0, 0, "", 0);

        ops_reset();
        no(&a, W_PAGE, SVMD_STATUS_SIZE, mk_managed(large + page, 0, 0, large, 0));
        no(&a, W_PAGE, SVMD_STATUS_SIZE, mk_managed(1u << 20, 0, 0, 2u << 20, 0));
        no(&a, W_ALIGN, SVMD_STATUS_ALIGN, mk_managed(large, page, 0, large, 0));
        no(&a, W_ALIGN, SVMD_STATUS_ALIGN, mk_managed(large, 0, slice_start + (1u << 30) + page, large, 0));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_managed(large, 0, 0, 8192, 0));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_managed(large, 0, 0, 1, 0));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_managed(large, 0, 0, large, 8));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_managed(large, 0, 0, large, SVMD__V1__RANGE_FLAG__RANGE_HUGE));
        no(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_managed(large, 0, rm_at, large, 0));
        no(&a, W_ROOM, SVMD_STATUS_NO_VA, mk_managed(slice_size, 0, 0, 2u << 20, 0));
        op = mk_reserve(page, 0, 0, "", 0);
        op->reserve->granule = page;
        no(&a, W_ENUM, SVMD_STATUS_INVALID, op);
        op = mk_reserve(page, 0, 0, "", 0);
        op->reserve->flags = 1;
        no(&a, W_ENUM, SVMD_STATUS_INVALID, op);
        must(&admin, mk_limit("one", HOST0, 8u << 20));
        must(&admin, mk_limit("one", GPU0, 1u << 20));
        must(&admin, mk_limit("one", GPU2, 1u << 20));
        no(&a, W_LIMIT, SVMD_STATUS_LIMIT, mk_managed(16u << 20, 0, 0, large, 0));
        must(&admin, mk_limit("one", HOST0, UINT64_MAX));
        must(&admin, mk_limit("one", GPU0, UINT64_MAX));
        must(&admin, mk_limit("one", GPU2, UINT64_MAX));

        no(&a, W_KIND, SVMD_STATUS_INVALID, mk_map(0, rm_at, page, ma, 0, 1, 0));
        no(&a, W_KIND, SVMD_STATUS_INVALID, mk_unmap(0, rm_at, page));
        no(&a, W_KIND, SVMD_STATUS_INVALID, mk_sparse(0, rm_at, page, 2));

        no_fds(&a, W_TAKEN, SVMD_STATUS_TAKEN, op_make(SVMD__V1__OP__OP_UFFD_GIVE), (int[]){ new_userfaultfd(&a) }, 1);
        no_fds(&b, W_FD_KIND, SVMD_STATUS_FD_KIND, op_make(SVMD__V1__OP__OP_UFFD_GIVE), (int[]){ eventfd(0, 0) }, 1);
        no_fds(&b, W_FD_KIND, SVMD_STATUS_FD_KIND, op_make(SVMD__V1__OP__OP_UFFD_GIVE),
               (int[]){ open("/dev/null", O_RDWR) }, 1);

        no(&b, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_files(rm));
        no(&a, W_OTHER, SVMD_STATUS_NO_SUCH, mk_files(rmc));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_files(stale_range));
        no(&a, W_KIND, SVMD_STATUS_INVALID, mk_files(ra));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_files(ma));
        no(&b, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_join(rm));
        no(&a, W_OTHER, SVMD_STATUS_NO_SUCH, mk_join(rmc));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_join(stale_range));
        no(&a, W_KIND, SVMD_STATUS_INVALID, mk_join(ra));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_join(sp));
        no(&b, W_NONE, SVMD_STATUS_SHAPE, mk_join(rmn));
        no(&a, W_MAPPED, SVMD_STATUS_SYSTEM, mk_join(rm));
}

/* Operations on granules. */
static Svmd__V1__Op *mk_discard(uint64_t address, uint64_t size) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_DISCARD);

        op->discard->address = address;
        op->discard->size = size;
        return op;
}

static Svmd__V1__Op *mk_move(uint64_t address, uint64_t size) {
        return mk_migrate(address, size, GPU1);
}

static Svmd__V1__Op *mk_pinned(uint64_t address, uint64_t size) {
        return mk_pin(address, size, false);
}

static Svmd__V1__Op *mk_unpinned(uint64_t address, uint64_t size) {
        return mk_pin(address, size, true);
}

static Svmd__V1__Op *mk_advise(uint64_t address, uint64_t size) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_ADVISE);

        op->advise->address = address;
        op->advise->size = size;
        op->advise->what = SVMD__V1__ADVICE_WHAT__ADVICE_READ_MOSTLY;
        return op;
}

static Svmd__V1__Op *mk_at(unsigned op_case, uint64_t address) {
        Svmd__V1__Op *op = op_make(op_case);

        switch (op_case) {
        case SVMD__V1__OP__OP_REVOKE: op->revoke->address = address; break;
        case SVMD__V1__OP__OP_STEAL: op->steal->address = address; break;
        case SVMD__V1__OP__OP_ADVICE_QUERY: op->advice_query->address = address; break;
        case SVMD__V1__OP__OP_ADVICE_SHOW: op->advice_show->address = address; break;
        case SVMD__V1__OP__OP_RESIDENCY: op->residency->address = address; break;
        case SVMD__V1__OP__OP_EXPLAIN: op->explain->address = address; break;
        }
        return op;
}

static void granules(void) {
        static Svmd__V1__Op *(*const makes[])(uint64_t, uint64_t) = { mk_move, mk_discard, mk_pinned, mk_unpinned,
                                                                      mk_advise };

        for (unsigned i = 0; i < sizeof(makes) / sizeof(makes[0]); i++) {
                ops_reset();
                no(&a, W_OUTSIDE, SVMD_STATUS_RANGE, makes[i](slice_start + slice_size - large, large));
                no(&a, W_OUTSIDE, SVMD_STATUS_RANGE, makes[i](large, large));
                no(&a, W_ALIGN, SVMD_STATUS_ALIGN, makes[i](rm_at + page, large));
                no(&a, W_PAGE, SVMD_STATUS_SIZE, makes[i](rm_at, large + page));
                no(&a, W_OVERFLOW, SVMD_STATUS_RANGE, makes[i](rm_at, 17 * large));
                no(&a, W_OVERFLOW, SVMD_STATUS_RANGE, makes[i](rm_at + large, -(uint64_t)large));
                no(&b, W_FOREIGN, SVMD_STATUS_FOREIGN, makes[i](rm_at, large));
                no(&a, W_OTHER, SVMD_STATUS_RANGE, makes[i](rmc_at, large));
                no(&a, W_KIND, SVMD_STATUS_INVALID, makes[i](ra_at, page));
                if (makes[i] != mk_unpinned && makes[i] != mk_advise)
                        no(&a, W_BUSY, SVMD_STATUS_ACCESS, makes[i](rmr_at, large));
        }
        no(&b, W_RIGHT, SVMD_STATUS_DENIED, mk_move(rmn_at, large));
        no(&b, W_RIGHT, SVMD_STATUS_DENIED, mk_discard(rmn_at, large));
        no(&a, W_NODE, SVMD_STATUS_NO_NODE, mk_migrate(rm_at, large, NODES));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_pin(rm_at, large, true));
}

static void advice(void) {
        static uint32_t fallback[4] = { 1, 0, NODES + 1, 1 };
        Svmd__V1__Op *op = mk_advise(rm_at, large);

        op->advise->what = 0;
        no(&a, W_ENUM, SVMD_STATUS_INVALID, op);
        op->advise->what = 512;
        no(&a, W_ENUM, SVMD_STATUS_INVALID, op);
        op->advise->what = SVMD__V1__ADVICE_WHAT__ADVICE_PINNED;
        op->advise->against = SVMD__V1__ADVICE_WHAT__ADVICE_READ_MOSTLY;
        no(&a, W_ENUM, SVMD_STATUS_INVALID, op);
        op->advise->against = 0;
        op->advise->what = SVMD__V1__ADVICE_WHAT__ADVICE_ATOMICS;
        op->advise->atomics = 4;
        no(&a, W_ENUM, SVMD_STATUS_INVALID, op);
        op->advise->what = SVMD__V1__ADVICE_WHAT__ADVICE_FALLBACK;
        op->advise->fallback = fallback;
        op->advise->n_fallback = 4;
        no(&a, W_ENUM, SVMD_STATUS_INVALID, op);
        op->advise->n_fallback = 2; /* no node */
        no(&a, W_ENUM, SVMD_STATUS_INVALID, op);
        op->advise->fallback = &fallback[2];
        op->advise->n_fallback = 1;
        no(&a, W_NODE, SVMD_STATUS_NO_NODE, op);
        op->advise->what = SVMD__V1__ADVICE_WHAT__ADVICE_GRANULARITY;
        op->advise->granularity = 5000;
        no(&a, W_ENUM, SVMD_STATUS_INVALID, op);
        op->advise->what = SVMD__V1__ADVICE_WHAT__ADVICE_PREFERRED;
        op->advise->preferred = NODES + 1;
        no(&a, W_NODE, SVMD_STATUS_NO_NODE, op);
        op->advise->what = SVMD__V1__ADVICE_WHAT__ADVICE_ACCESSED_BY;
        op->advise->accessed_by = 1ull << NODES;
        no(&a, W_NODE, SVMD_STATUS_NO_NODE, op);
}

static void whole_ranges(void) {
        static const unsigned ops[] = { SVMD__V1__OP__OP_REVOKE, SVMD__V1__OP__OP_STEAL, SVMD__V1__OP__OP_ADVICE_QUERY,
                                        SVMD__V1__OP__OP_ADVICE_SHOW };
        Svmd__V1__Op *op;

        for (unsigned i = 0; i < 4; i++) {
                ops_reset();
                no(&a, W_OUTSIDE, SVMD_STATUS_RANGE, mk_at(ops[i], slice_start + slice_size - page));
                no(&b, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_at(ops[i], rm_at));
                no(&a, W_OTHER, SVMD_STATUS_RANGE, mk_at(ops[i], rmc_at));
                no(&a, W_KIND, SVMD_STATUS_INVALID, mk_at(ops[i], ra_at));
        }
        no(&b, W_RIGHT, SVMD_STATUS_DENIED, mk_revoke(rmn_at));
        no(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_revoke(rmr_at));
        no(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_at(SVMD__V1__OP__OP_STEAL, rmn_at));
        no(&b, W_RIGHT, SVMD_STATUS_DENIED, mk_at(SVMD__V1__OP__OP_STEAL, rmn_at));
        no(&b, W_BUSY, SVMD_STATUS_ACCESS, mk_at(SVMD__V1__OP__OP_STEAL, rmr_at));
        no(&a, W_OUTSIDE, SVMD_STATUS_RANGE, mk_at(SVMD__V1__OP__OP_RESIDENCY, slice_start + slice_size - page));
        no(&a, W_OTHER, SVMD_STATUS_RANGE, mk_at(SVMD__V1__OP__OP_RESIDENCY, rmc_at));
        no(&a, W_KIND, SVMD_STATUS_INVALID, mk_at(SVMD__V1__OP__OP_RESIDENCY, ra_at));
        op = mk_at(SVMD__V1__OP__OP_RESIDENCY, rm_at);
        op->residency->size = 17 * large;
        no(&a, W_OVERFLOW, SVMD_STATUS_RANGE, op);
        op->residency->size = UINT64_MAX;
        no(&a, W_OVERFLOW, SVMD_STATUS_RANGE, op);
        op = mk_at(SVMD__V1__OP__OP_ADVICE_SHOW, rm_at);
        op->advice_show->size = 17 * large;
        no(&a, W_OVERFLOW, SVMD_STATUS_RANGE, op);
}

/* Whose partition it is about. */
static void partitions_of_others(void) {
        Svmd__V1__Op *ops[] = { mk_move(rmc_at, large),
                                mk_discard(rmc_at, large),
                                mk_revoke(rmc_at),
                                mk_at(SVMD__V1__OP__OP_RESIDENCY, rmc_at),
                                mk_at(SVMD__V1__OP__OP_EXPLAIN, rmc_at),
                                mk_advise(rmc_at, large),
                                mk_at(SVMD__V1__OP__OP_ADVICE_SHOW, rmc_at) };
        char **names[] = { &ops[0]->migrate->partition,    &ops[1]->discard->partition, &ops[2]->revoke->partition,
                           &ops[3]->residency->partition,  &ops[4]->explain->partition, &ops[5]->advise->partition,
                           &ops[6]->advice_show->partition };

        for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
                *names[i] = (char *)"";
                no(&greeted, W_ATTACHED, SVMD_STATUS_NOT_ATTACHED, ops[i]);
                *names[i] = (char *)"two";
                no(&a, W_RIGHT, SVMD_STATUS_DENIED, ops[i]);
                *names[i] = (char *)"nowhere";
                no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, ops[i]);
        }
}

static void settings(void) {
        enum { POLICY, PARTITION_POLICY, PARTITION_RATE, LINK_RATE };
        char name[16];

        no(&admin, W_ENUM, SVMD_STATUS_INVALID, mk_set(9, "", "", "latency", 0));
        no(&admin, W_ENUM, SVMD_STATUS_INVALID, mk_set(POLICY, "", "", "none", 0));
        no(&admin, W_ENUM, SVMD_STATUS_INVALID, mk_set(POLICY, "one", "", "latency", 0));
        no(&admin, W_ENUM, SVMD_STATUS_INVALID, mk_set(PARTITION_POLICY, "one", "two", "latency", 0));
        no(&admin, W_ENUM, SVMD_STATUS_INVALID, mk_set(PARTITION_RATE, "one", "", "", UINT64_MAX));
        no(&admin, W_ENUM, SVMD_STATUS_INVALID, mk_set(LINK_RATE, "host0", "host0", "", 1));
        no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, mk_set(PARTITION_RATE, "none", "", "", 1));
        no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, mk_set(PARTITION_POLICY, "", "", "latency", 0));
        no(&admin, W_NODE, SVMD_STATUS_NO_NODE, mk_set(LINK_RATE, "host0", "gpu9", "", 1));
        no(&admin, W_NODE, SVMD_STATUS_NO_NODE,
           mk_unset(LINK_RATE, "host0", "a name that is longer than that of a node can be"));
        no(&admin, W_STALE, SVMD_STATUS_NO_SUCH, mk_unset(LINK_RATE, "host0", "gpu0"));
        for (unsigned i = 0; i < SETTINGS_MAX; i++) {
                struct settings_row row = { .setting = { .kind = SETTING_PARTITION_RATE } };

                snprintf(name, sizeof(name), "p%u", i);
                memcpy(row.setting.name, name, sizeof(name));
                assert_int_equal(settings_set(w.svc, &row), 0);
        }
        no(&admin, W_QUOTA, SVMD_STATUS_QUOTA, mk_set(POLICY, "", "", "latency", 0));
        settings_free(w.svc);
        no(&admin, W_BUSY, SVMD_STATUS_UNSUPPORTED, op_make(SVMD__V1__OP__OP_RELOAD));
}

static void nodes(void) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_NODE_SET);

        op->node_set->node = NODES;
        op->node_set->action = SVMD__V1__NODE_ACTION__NODE_DRAIN;
        no(&admin, W_NODE, SVMD_STATUS_NO_NODE, op);
        op->node_set->node = HOST0;
        no(&admin, W_BUSY, SVMD_STATUS_BUSY, op);
        op->node_set->action = SVMD__V1__NODE_ACTION__NODE_KEEP;
        no(&admin, W_ENUM, SVMD_STATUS_INVALID, op);
        op->node_set->action = (Svmd__V1__NodeAction)9;
        no(&admin, W_ENUM, SVMD_STATUS_INVALID, op);
        op = op_make(SVMD__V1__OP__OP_NODE_PLAN);
        op->node_plan->node = NODES;
        op->node_plan->action = SVMD__V1__NODE_ACTION__NODE_DRAIN;
        no(&admin, W_NODE, SVMD_STATUS_NO_NODE, op);
        op->node_plan->node = HOST0;
        no(&admin, W_BUSY, SVMD_STATUS_BUSY, op);
        op->node_plan->action = SVMD__V1__NODE_ACTION__NODE_LOST;
        no(&admin, W_ENUM, SVMD_STATUS_INVALID, op);
}

static void managed(void) {
        managed_reservations();
        granules();
        advice();
        whole_ranges();
        partitions_of_others();
        nodes();
}

static void memories(void) {
        int fds[2];

        ops_reset();
        no(&a, W_ZERO, SVMD_STATUS_SIZE, mk_create(HOST0, 0, 0));
        no(&a, W_PAGE, SVMD_STATUS_SIZE, mk_create(HOST0, 5, 0));
        no(&a, W_PAGE, SVMD_STATUS_SIZE, mk_create(GPU0, (2u << 20) + 1, 0));
        no(&a, W_NODE, SVMD_STATUS_NO_NODE, mk_create(NODES, page, 0));
        no(&a, W_NODE, SVMD_STATUS_NO_NODE, mk_create(UINT32_MAX, 4u << 20, 0));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_create(HOST0, page, 4));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_create(HOST0, 4u << 20, 0x80000000));
        no(&a, W_ROOM, SVMD_STATUS_NO_ROOM, mk_create(GPU2, 2u << 20, 0));
        no(&a, W_ROOM, SVMD_STATUS_NO_ROOM, mk_create(GPU2, 250 * page, 0));
        no(&a, W_ROOM, SVMD_STATUS_NO_ROOM, mk_create(GPU0, 2ull << 30, 0));
        no(&a, W_OVERFLOW, SVMD_STATUS_NO_ROOM, mk_create(HOST0, -page, 0));
        no(&a, W_OVERFLOW, SVMD_STATUS_NO_ROOM, mk_create(GPU0, 1ull << 63, 0));
        no(&a, W_LIMIT, SVMD_STATUS_LIMIT, mk_create(GPU1, 9 * page, 0));
        no(&a, W_LIMIT, SVMD_STATUS_LIMIT, mk_create(GPU1, 2u << 20, 0));

        no(&a, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_release(mb));
        no(&a, W_OTHER, SVMD_STATUS_NO_SUCH, mk_release(mc));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_release(stale_memory));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_release(ra));

        no(&a, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_export(mb, "x", 0, 0));
        no(&a, W_OTHER, SVMD_STATUS_NO_SUCH, mk_export(mc, "x", 0, 0));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_export(stale_memory, "x", 0, 0));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_export(sp, "x", 0, 0));
        no(&a, W_RIGHT, SVMD_STATUS_DENIED, mk_export(ma, "x", 0, 0));
        no(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_export(ms, "again", 0, 0));
        no(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_export(mg, "exported", 0, 0));
        no(&a, W_NAME, SVMD_STATUS_NAME, mk_export(mg, ".x", 0, 0));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_export(mg, "x", 01000, 0));
        no_fds(&a, W_ENUM, SVMD_STATUS_INVALID, mk_export(mg, "", 0, 2), NULL, 0);
        {
                Svmd__V1__Op *two[] = { mk_export(mg, "", 0, 1), mk_unmap(0, ra_at + 15 * page, page) };

                expect(&a, SVMD__V1__OP__OP_MEM_EXPORT, W_MIX, SVMD_STATUS_SHAPE, SVMD__V1__MODE__ALL_OR_NOTHING, two,
                       2, 0, NULL, 0);
        }

        no(&b, W_NONE, SVMD_STATUS_NO_SUCH, mk_import("nothing", 1));
        no(&b, W_RIGHT, SVMD_STATUS_DENIED, mk_import("exported", 3));
        no(&c, W_OTHER, SVMD_STATUS_NO_SUCH, mk_import("exported", 1));
        no(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_import("exported", 1));
        no(&b, W_ENUM, SVMD_STATUS_INVALID, mk_import("exported", 4));
        no_fds(&b, W_FDS, SVMD_STATUS_FD_COUNT, mk_import("", 1), NULL, 0);
        fds[0] = eventfd(0, 0);
        no_fds(&b, W_FD_KIND, SVMD_STATUS_FD_KIND, mk_import("", 1), fds, 1);
        fds[0] = memfd_create("no-token", MFD_ALLOW_SEALING);
        assert_int_equal(ftruncate(fds[0], 4096), 0);
        no_fds(&b, W_FD_KIND, SVMD_STATUS_FD_KIND, mk_import("", 1), fds, 1);
        fds[0] = open("/dev/null", O_RDONLY);
        no_fds(&b, W_FD_KIND, SVMD_STATUS_FD_KIND, mk_import("", 1), fds, 1);
        /* A token that was made by hand. */
        {
                uint64_t forged[6] = { 0, mg };

                memcpy(forged, "svmdtok1", 8);
                fds[0] = memfd_create("forged", MFD_ALLOW_SEALING);
                assert_int_equal(write(fds[0], forged, sizeof(forged)), sizeof(forged));
                assert_int_equal(fcntl(fds[0], F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK), 0);
                no_fds(&b, W_STALE, SVMD_STATUS_NO_SUCH, mk_import("", 1), fds, 1);
        }

        no(&a, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_mem_fd(mb, 1));
        no(&a, W_OTHER, SVMD_STATUS_NO_SUCH, mk_mem_fd(mc, 1));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_mem_fd(stale_memory, 1));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_mem_fd(ra, 1));
        no(&a, W_NODE_KIND, SVMD_STATUS_NODE_KIND, mk_mem_fd(mg, 1));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_mem_fd(ma, 2));
}

static void tokens(void) {
        Svmd__V1__Op *op, *two[2];
        struct client far;
        int fds[2];

        ops_reset();
        op = mk_export(mg, "", 0, 1);
        assert_int_equal(client_send(&a, SVMD__V1__MODE__BEST_EFFORT, &op, 1, NULL, 0)->results[0]->code, 0);
        assert_int_equal(fdlist_left(&a.fds), 1);
        fds[0] = fdlist_steal(&a.fds);
        no_fds(&b, W_RIGHT, SVMD_STATUS_DENIED, mk_import("", 3), (int[]){ dup(fds[0]) }, 1);
        no_fds(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_import("", 1), (int[]){ dup(fds[0]) }, 1);
        no_fds(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_export(mg, "", 0, 3), NULL, 0);
        client_open(&w, &far, 100, 100, false);
        client_greet(&far, "far");
        no_fds(&far, W_OTHER, SVMD_STATUS_DENIED, mk_import("", 1), (int[]){ dup(fds[0]) }, 1);
        client_close(&far);
        /* A refused operation's descriptor is not the next one's. */
        two[0] = mk_import("", 7);
        two[1] = mk_submit(sb, SVMD__V1__DEVICE_OP__DEVICE_FILL, 1u << 20, 0, 8, 0, true);
        fds[1] = eventfd(0, EFD_NONBLOCK);
        client_send(&b, SVMD__V1__MODE__BEST_EFFORT, two, 2, (int[]){ fds[0], dup(fds[1]) }, 2);
        assert_int_equal(b.reply->results[0]->code, SVMD_STATUS_INVALID);
        assert_int_equal(b.reply->results[1]->code, 0);
        close(fds[1]);
        while (w.svc->fences && b.session->fences_count > 0)
                service_collect(w.svc);
}

static void mappings(void) {
        ops_reset();
        no(&a, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_map(0, ra_at, page, mb, 0, 1, 1));
        no(&a, W_OTHER, SVMD_STATUS_NO_SUCH, mk_map(0, ra_at, page, mc, 0, 1, 1));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_map(0, ra_at, page, stale_memory, 0, 1, 1));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_map(0, ra_at, page, rb, 0, 1, 1));
        no(&a, W_OUTSIDE, SVMD_STATUS_RANGE, mk_map(0, ra_at, 16 * page, ma, page, 1, 1));
        no(&a, W_OVERFLOW, SVMD_STATUS_RANGE, mk_map(0, ra_at, page, ma, -page, 1, 1));
        no(&a, W_ALIGN, SVMD_STATUS_ALIGN, mk_map(0, ra_at, page, ma, 12, 1, 1));
        no(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_map(0, ra_at + 3 * page, 2 * page, ma, 0, 1, 0));
        no(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_map(sp, 1u << 20, page, mg, 0, 1, 0));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_map(0, ra_at, page, ma, 0, 2, 1));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_map(0, ra_at, page, ma, 0, 259, 1));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_map(0, ra_at, page, ma, 0, 1, 2));
        no(&a, W_NODE_KIND, SVMD_STATUS_NODE_KIND, mk_map(0, ra_at, page, mg, 0, 1, 1));
        no(&a, W_LINK, SVMD_STATUS_NO_LINK, mk_map(sp, 4u << 20, page, mg1, 0, 1, 0));
        no(&a, W_RIGHT, SVMD_STATUS_DENIED, mk_map(0, rn_at, page, ma, 0, 1, 0));

        no(&a, W_MAPPED, SVMD_STATUS_NOT_MAPPED, mk_access(0, ra_at + 3 * page, 2 * page, 1));
        no(&a, W_MAPPED, SVMD_STATUS_NOT_MAPPED, mk_access(sp, 8u << 20, page, 1));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_access(0, ra_at, page, 2));
        no(&a, W_MAPPED, SVMD_STATUS_NOT_MAPPED, mk_attributes(sp, 8u << 20, page, 1, 1));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_attributes(sp, 1u << 20, page, 16, 0));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_attributes(sp, 1u << 20, page, 0, 256));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_attributes(sp, 1u << 20, page, 1u << 31, 0));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_attributes(0, ra_at, page, 1, 0));

        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_sparse(sp, 8u << 20, page, 0));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_sparse(sp, 8u << 20, page, 3));
        no(&a, W_ENUM, SVMD_STATUS_UNSUPPORTED, mk_sparse(0, ra_at, page, 1));
        no(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_sparse(sp, 2u << 20, page, 1));
        no(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_sparse(sp, (2u << 20) + 2 * page, 4 * page, 1));
        no(&a, W_MAPPED, SVMD_STATUS_NOT_MAPPED, mk_unsparse(sp, 8u << 20, page));
        no(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_unsparse(sp, (2u << 20) + 2 * page, 4 * page));
        no(&a, W_MAPPED, SVMD_STATUS_NOT_MAPPED, mk_unsparse(0, ra_at, page));

        /* A reader stays one, also of what it holds itself. */
        must(&b, mk_import("exported", 1));
        no(&b, W_RIGHT, SVMD_STATUS_DENIED, mk_map(0, rb_at, page, ms, 0, 3, 0));
        no(&b, W_RIGHT, SVMD_STATUS_DENIED, mk_mem_fd(ms, 3));
        must(&b, mk_map(0, rb_at, page, ms, 0, 1, 0));
        no(&b, W_RIGHT, SVMD_STATUS_DENIED, mk_access(0, rb_at, page, 3));
        no(&b, W_RIGHT, SVMD_STATUS_DENIED, mk_export(ms, "mine", 0, 0));
        must(&b, mk_unmap(0, rb_at, page));
        must(&b, mk_release(ms));
}

static void devices(void) {
        Svmd__V1__Op *op;
        int fd;

        ops_reset();
        no(&a, W_NODE, SVMD_STATUS_NO_NODE, mk_space(99));
        no(&a, W_NODE_KIND, SVMD_STATUS_NODE_KIND, mk_space(HOST0));
        no(&a, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_destroy(sb));
        no(&a, W_OTHER, SVMD_STATUS_NO_SUCH, mk_destroy(sc));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_destroy(stale_space));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_destroy(ma));

        no(&a, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_submit(sb, 1, 0, 0, 8, 0, false));
        no(&a, W_OTHER, SVMD_STATUS_NO_SUCH, mk_submit(sc, 1, 0, 0, 8, 0, false));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_submit(stale_space, 1, 0, 0, 8, 0, false));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_submit(ra, 1, 0, 0, 8, 0, false));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_submit(sp, 0, 0, 0, 8, 0, false));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_submit(sp, 7, 0, 0, 8, 0, false));
        no_fds(&a, W_FDS, SVMD_STATUS_FD_COUNT, mk_submit(sp, 1, 0, 0, 8, 0, true), NULL, 0);
        fd = open("/dev/null", O_WRONLY);
        no_fds(&a, W_FD_KIND, SVMD_STATUS_FD_KIND, mk_submit(sp, 1, 0, 0, 8, 0, true), &fd, 1);

        op = op_make(SVMD__V1__OP__OP_FENCE_QUERY);
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, op);
        op->fence_query->fence = ma;
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, op);
        op = op_make(SVMD__V1__OP__OP_TRANSLATE);
        op->translate->space = sb;
        no(&a, W_FOREIGN, SVMD_STATUS_FOREIGN, op);
        op->translate->space = sc;
        no(&a, W_OTHER, SVMD_STATUS_NO_SUCH, op);
        op->translate->space = stale_space;
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, op);
        op->translate->space = ma;
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, op);
        op = op_make(SVMD__V1__OP__OP_LINKS);
        op->links->node = NODES;
        no(&a, W_NODE, SVMD_STATUS_NO_NODE, op);
}

/* Limits of sessions and of control groups. */
static void limited(void) {
        Svmd__V1__Op *op = mk_own_limit(a.id, NULL, GPU0, BOUND_MAX, 5);

        no(&admin, W_STALE, SVMD_STATUS_NO_SUCH, mk_own_limit(UINT64_MAX, NULL, GPU0, BOUND_MAX, 5));
        no(&admin, W_KIND, SVMD_STATUS_NO_SUCH, mk_own_limit(ma, NULL, GPU0, BOUND_MAX, 5));
        no(&admin, W_ATTACHED, SVMD_STATUS_NOT_ATTACHED, mk_own_limit(admin.id, NULL, GPU0, BOUND_MAX, 5));
        no(&admin, W_NODE, SVMD_STATUS_NO_NODE, mk_own_limit(a.id, NULL, 99, BOUND_MAX, 5));
        no(&admin, W_ENUM, SVMD_STATUS_INVALID, mk_own_limit(a.id, NULL, GPU0, BOUNDS, 5));
        no(&admin, W_ENUM, SVMD_STATUS_INVALID, mk_own_limit(a.id, "/x", GPU0, BOUND_MAX, 5));
        op->limit_set->clear = true;
        no(&admin, W_ENUM, SVMD_STATUS_INVALID, op);
        no(&admin, W_NAME, SVMD_STATUS_NAME, mk_own_limit(0, "x", GPU0, BOUND_MAX, 5));
        no(&admin, W_ROOM, SVMD_STATUS_LIMIT, mk_own_limit(0, "/x", GPU0, BOUND_MIN, UINT64_MAX - 1));
        no(&a, W_RIGHT, SVMD_STATUS_DENIED, mk_own_limit(0, "/x", GPU0, BOUND_MAX, 5));
        no(&a, W_RIGHT, SVMD_STATUS_DENIED, mk_own_limit(a.id, NULL, GPU0, BOUND_LOW, 5));

        op = op_make(SVMD__V1__OP__OP_LIMIT_QUERY);
        no(&a, W_RIGHT, SVMD_STATUS_DENIED, op);
        op->limit_query->cgroup = (char *)"/nowhere";
        no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, op);
        op->limit_query->session = UINT64_MAX;
        no(&admin, W_STALE, SVMD_STATUS_NO_SUCH, op);
        op->limit_query->session = ma;
        no(&admin, W_KIND, SVMD_STATUS_NO_SUCH, op);
}

static Svmd__V1__Op *in(const char *partition, Svmd__V1__Op *op) {
        op->share->partition = (char *)partition;
        return op;
}

static void shares(void) {
        Svmd__V1__Op *op, *two[2];

        ops_reset();
        no(&greeted, W_ATTACHED, SVMD_STATUS_NOT_ATTACHED, mk_share("named", false, "two", 1));
        no(&b, W_RIGHT, SVMD_STATUS_DENIED, mk_share("named", false, "two", 1));
        no(&a, W_RIGHT, SVMD_STATUS_DENIED, in("one", mk_share("named", false, "two", 1)));
        no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, in("none", mk_share("named", false, "two", 1)));
        no(&a, W_NONE, SVMD_STATUS_NO_SUCH, mk_share("nothing", false, "two", 1));
        no(&a, W_NONE, SVMD_STATUS_NO_SUCH, mk_share("named", true, "two", 1));
        no(&a, W_NONE, SVMD_STATUS_NO_SUCH, mk_share("named", false, "none", 1));
        no(&a, W_OTHER, SVMD_STATUS_INVALID, mk_share("named", false, "one", 1));
        no(&a, W_OTHER, SVMD_STATUS_DENIED, mk_share("named", false, "far", 1));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_share("named", false, "two", 2));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_share("named", false, "two", 4));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_share("named", false, "two", 0));
        must(&a, mk_share("named", false, "two", 1));
        two[0] = mk_share("named", false, "two", 0);
        two[1] = mk_share("named", false, "two", 3);
        expect(&a, SVMD__V1__OP__OP_SHARE, W_BUSY, SVMD_STATUS_BUSY, SVMD__V1__MODE__ALL_OR_NOTHING, two, 2, 1, NULL,
               0);
        must(&a, mk_share("named", false, "two", 0));

        op = op_make(SVMD__V1__OP__OP_SHARE_LIST);
        no(&greeted, W_ATTACHED, SVMD_STATUS_NOT_ATTACHED, op);
        op->share_list->partition = (char *)"one";
        no(&a, W_RIGHT, SVMD_STATUS_DENIED, op);
        op->share_list->partition = (char *)"none";
        no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, op);
}

static void administration(void) {
        Svmd__V1__Op *op;

        ops_reset();
        no(&admin, W_TAKEN, SVMD_STATUS_TAKEN, mk_partition("one", 4ull << 30, "", 1, 0));
        no(&admin, W_NAME, SVMD_STATUS_NAME, mk_partition("", 4ull << 30, "", 1, 0));
        no(&admin, W_NAME, SVMD_STATUS_NAME, mk_partition("a b", 4ull << 30, "", 1, 0));
        no(&admin, W_NAME, SVMD_STATUS_NAME, mk_partition("x", 4ull << 30, "/", 1, 0));
        no(&admin, W_PAGE, SVMD_STATUS_SIZE, mk_partition("x", 1ull << 30, "", 1, 0));
        no(&admin, W_ROOM, SVMD_STATUS_NO_VA, mk_partition("x", 1ull << 46, "", 1, 0));
        no(&admin, W_OVERFLOW, SVMD_STATUS_NO_VA, mk_partition("x", -(4ull << 30), "", 1, 0));
        no(&admin, W_ENUM, SVMD_STATUS_INVALID, mk_partition("x", 4ull << 30, "", 1, 01000));
        op = mk_partition("x", 4ull << 30, "", 1, 0);
        op->partition_create->window = (Svmd__V1__Window)2;
        no(&admin, W_ENUM, SVMD_STATUS_INVALID, op);
        op = mk_partition("x", 4ull << 30, "", 1, 0);
        op->partition_create->limits = mk_limit("x", 99, 5)->partition_set->limits;
        op->partition_create->n_limits = 1;
        no(&admin, W_NODE, SVMD_STATUS_NO_NODE, op);
        op = mk_partition("x", 4ull << 30, "", 1, 0);
        op->partition_create->container = (char *)"a/b";
        no(&admin, W_NAME, SVMD_STATUS_NAME, op);
        op->partition_create->container = (char *)"ab";
        op->partition_create->container_pid = 0x7fffffff;
        no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, op);

        no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, mk_limit("nowhere", 0, 5));
        no(&admin, W_NODE, SVMD_STATUS_NO_NODE, mk_limit("one", 99, 5));
        no(&admin, W_ENUM, SVMD_STATUS_INVALID, mk_bound("one", 0, BOUNDS, 5));
        no(&admin, W_ROOM, SVMD_STATUS_LIMIT, mk_bound("one", GPU0, BOUND_MIN, UINT64_MAX - 1));
        op = mk_limit("one", 0, 5);
        op->partition_set->set_mode = true;
        op->partition_set->mode = 07777;
        no(&admin, W_ENUM, SVMD_STATUS_INVALID, op);

        no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, mk_delete("nowhere", true));
        no(&admin, W_BUSY, SVMD_STATUS_BUSY, mk_delete("one", false));

        op = op_make(SVMD__V1__OP__OP_PARTITION_LIST);
        op->partition_list->name = (char *)"nowhere";
        no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, op);
        op = op_make(SVMD__V1__OP__OP_SESSION_KILL);
        op->session_kill->session = UINT64_MAX;
        no(&admin, W_STALE, SVMD_STATUS_NO_SUCH, op);
        op->session_kill->session = ma;
        no(&admin, W_KIND, SVMD_STATUS_NO_SUCH, op);
        op->session_kill->session = admin.id;
        no(&admin, W_BUSY, SVMD_STATUS_INVALID, op);
        limited();
}

static void quotas(void) {
        uint64_t objects = a.session->objects;

        ops_reset();
        w.svc->options.max_objects_per_session = objects;
        no(&a, W_QUOTA, SVMD_STATUS_QUOTA, mk_reserve(page, 0, 0, "", 0));
        no(&a, W_QUOTA, SVMD_STATUS_QUOTA, mk_create(HOST0, page, 0));
        no(&a, W_QUOTA, SVMD_STATUS_QUOTA, mk_create(GPU0, 4u << 20, 0));
        no(&a, W_QUOTA, SVMD_STATUS_QUOTA, mk_space(GPU0));
        w.svc->options.max_objects_per_session = b.session->objects;
        no(&b, W_QUOTA, SVMD_STATUS_QUOTA, mk_import("exported", 1));
        no(&b, W_QUOTA, SVMD_STATUS_QUOTA, mk_open("named", 1));
        w.svc->options.max_objects_per_session = 1;
        no(&a, W_QUOTA, SVMD_STATUS_QUOTA, mk_map(0, ra_at + 12 * page, page, ma, 0, 1, 0));
        no(&a, W_QUOTA, SVMD_STATUS_QUOTA, mk_access(0, ra_at, page, 1));
        w.svc->options.max_objects_per_session = 64;
}

/* ---- whole requests ------------------------------------------------------------------------------------------------
 */

static void whole_requests(void) {
        static Svmd__V1__Op *many[SVMD_OPS_MAX];
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_STATUS);
        Svmd__V1__Reply *r;
        char *before;

        ops_reset();
        before = digest(&w, true);
        r = client_send(&a, (Svmd__V1__Mode)9, &op, 1, NULL, 0);
        assert_int_equal(r->results[0]->code, SVMD_STATUS_INVALID);
        op = op_make(SVMD__V1__OP__OP_STATUS);
        op->op_case = 0;
        r = client_send(&a, SVMD__V1__MODE__BEST_EFFORT, &op, 1, NULL, 0);
        assert_int_equal(r->results[0]->code, SVMD_STATUS_UNKNOWN_OP);
        /* Long answers and long refusals in one packet: each has a code and a text, and those that fit their rows. */
        for (unsigned i = 0; i < SVMD_OPS_MAX; i++)
                many[i] = i % 3 == 0 ? op_make(SVMD__V1__OP__OP_NODES) : mk_reserve(page, 0, slice_start - page, "", 0);
        for (unsigned mode = 0; mode < 3; mode++) {
                r = client_send(&a, (Svmd__V1__Mode)mode, many, SVMD_OPS_MAX, NULL, 0);
                assert_non_null(r);
                assert_true(a.packet_size <= SVMD_PACKET_MAX);
                for (unsigned i = 0; i < SVMD_OPS_MAX; i++) {
                        assert_int_equal(r->results[i]->code == 0, r->results[i]->nodes != NULL && i % 3 == 0);
                        if (r->results[i]->code)
                                assert_true(r->results[i]->text[0] != 0);
                }
        }
        for (unsigned i = 0; i < SVMD_OPS_MAX; i++)
                many[i] = mk_import("", 1);
        r = client_send(&a, SVMD__V1__MODE__BEST_EFFORT, many, SVMD_OPS_MAX, NULL, 0);
        for (unsigned i = 0; i < SVMD_OPS_MAX; i++) {
                assert_int_equal(r->results[i]->code, SVMD_STATUS_FD_COUNT);
                assert_true(r->results[i]->text[0] != 0);
        }
        expect_same(before, "a whole request");
        free(before);
        goes_on(&a);
}

/* ---- packets that are none: the session ends, and what it held is released ------------------------------------------
 */

static void end_by(const char *what, const void *bytes, size_t size) {
        struct client x;
        char *before;

        world_settle(&w);
        client_open(&w, &x, 105, 105, false);
        client_greet(&x, "one");
        before = digest(&w, false);
        ops_reset();
        must(&x, mk_reserve(page, 0, 0, "", 0));
        must(&x, mk_create(GPU0, 4u << 20, 0));
        must(&x, mk_space(GPU1));
        must(&x, mk_open("named", 1));
        x.events_count = 0;
        assert_int_equal(client_raw(&x, bytes, size, NULL, 0), SERVICE_E_ENDED);
        if (!x.kicked || x.events_count == 0 || x.events[x.events_count - 1].code != SVMD_STATUS_MALFORMED)
                fail_msg("%s: no end", what);
        client_close(&x);
        world_settle(&w);
        check_world(&w);
        free(before);
        goes_on(&a);
}

static void malformed(void) {
        uint8_t noise[300], packet[256];
        Svmd__V1__Request m = SVMD__V1__REQUEST__INIT;
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_STATUS);
        uint64_t used = ledger_bytes(&w, GPU0);
        size_t n;

        for (unsigned i = 0; i < sizeof(noise); i++)
                noise[i] = (uint8_t)(i * 37 + 255);
        end_by("noise", noise, sizeof(noise));
        end_by("nothing", noise, 0);
        m.id = 1000;
        n = (size_t)encode_request(&m, packet, sizeof(packet));
        end_by("no operation", packet, n);
        m.ops = &op;
        m.n_ops = 1;
        n = (size_t)encode_request(&m, packet, sizeof(packet));
        end_by("cut", packet, n - 1);
        m.id = 0;
        n = (size_t)encode_request(&m, packet, sizeof(packet));
        end_by("id 0", packet, n);
        m.id = 1;
        n = (size_t)encode_request(&m, packet, sizeof(packet));
        end_by("an old id", packet, n);
        m.id = 1000;
        op = mk_open("0123456789012345678901234567890123456789012345678901234567890123", 1);
        n = (size_t)encode_request(&m, packet, sizeof(packet));
        end_by("a long name", packet, n);
        assert_int_equal(ledger_bytes(&w, GPU0), used);
}

/* ---- who may come ---------------------------------------------------------------------------------------------------
 */

/* Who comes through a partition's own socket, as root too: all of them together, and nobody else with them. */
static void containers_are_bounded(void) {
        struct service_peer peer = { .pid = 6, .partition = partition_find(&w.svc->state, "one") };
        struct client inside[4], other;

        for (unsigned i = 0; i < 3; i++) {
                peer.uid = i;
                assert_int_equal(client_open_as(&w, &inside[i], &peer), 0);
        }
        peer.uid = 0;
        assert_int_equal(client_open_as(&w, &inside[3], &peer), SERVICE_E_REFUSED);
        peer.partition = partition_find(&w.svc->state, "two");
        assert_int_equal(client_open_as(&w, &other, &peer), 0);
        client_close(&other);
        peer.partition = NULL;
        assert_int_equal(client_open_as(&w, &other, &peer), 0);
        client_close(&other);
        for (unsigned i = 0; i < 4; i++)
                client_close(&inside[i]);
}

static void sessions_are_bounded(void) {
        struct service_peer peer = { .pid = 5, .uid = 777, .gid = 1 };
        struct client many[4];

        w.svc->options.max_sessions_per_uid = 3;
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(client_open_as(&w, &many[i], &peer), 0);
        assert_int_equal(client_open_as(&w, &many[3], &peer), SERVICE_E_REFUSED);
        client_close(&many[3]);
        client_close(&many[0]);
        assert_int_equal(client_open_as(&w, &many[0], &peer), 0);
        containers_are_bounded();
        w.svc->options.max_sessions = (uint32_t)w.svc->state.sessions_count;
        peer.uid = 0;
        assert_int_equal(client_open_as(&w, &many[3], &peer), SERVICE_E_REFUSED);
        for (unsigned i = 0; i < 4; i++)
                client_close(&many[i]);
        w.svc->options.max_sessions = 64;
        w.svc->options.max_sessions_per_uid = 48;
}

/* ---- what is kept ---------------------------------------------------------------------------------------------------
 */

static void keep(void) {
        ops_reset();
        no(&a, W_LIMIT, SVMD_STATUS_LIMIT, mk_keep(rmn, 0, 0));
        must(&admin, mk_kept_max("one", 1ull << 30));
        no(&a, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_keep(rb, 0, 0));
        no(&a, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_keep(0, mb, 0));
        no(&a, W_OTHER, SVMD_STATUS_NO_SUCH, mk_keep(rmc, 0, 0));
        no(&a, W_OTHER, SVMD_STATUS_NO_SUCH, mk_keep(0, mc, 0));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_keep(stale_range, 0, 0));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_keep(0, stale_memory, 0));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_keep(ms, 0, 0));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_keep(0, rmn, 0));
        no(&a, W_KIND, SVMD_STATUS_INVALID, mk_keep(rn, 0, 0));
        no(&a, W_NAME, SVMD_STATUS_INVALID, mk_keep(rm, 0, 0));
        no(&a, W_NAME, SVMD_STATUS_INVALID, mk_keep(0, ma, 0));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_keep(0, 0, 0));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_keep(rmn, ms, 0));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_keep(rmn, 0, 1ull << 32));
        no(&b, W_RIGHT, SVMD_STATUS_DENIED, mk_keep(rmn, 0, 0));
}

static void keeping(void) {
        const Svmd__V1__KeptKind range_kind = SVMD__V1__KEPT_KIND__KEPT_RESERVATION;

        keep();
        must(&a, mk_keep(rmn, 0, 0));
        no(&a, W_RIGHT, SVMD_STATUS_DENIED, mk_kept_list("one"));
        no(&greeted, W_ATTACHED, SVMD_STATUS_NOT_ATTACHED, mk_kept_list(""));
        no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, mk_kept_list("none"));
        no(&a, W_RIGHT, SVMD_STATUS_DENIED, mk_kept_remove("one", range_kind, "managed"));
        no(&b, W_RIGHT, SVMD_STATUS_DENIED, mk_kept_remove("", range_kind, "managed"));
        no(&greeted, W_ATTACHED, SVMD_STATUS_NOT_ATTACHED, mk_kept_remove("", range_kind, "managed"));
        no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, mk_kept_remove("none", range_kind, "managed"));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_kept_remove("", range_kind, "named"));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_kept_remove("", SVMD__V1__KEPT_KIND__KEPT_MEMORY, "managed"));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_kept_remove("", 0, "managed"));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_kept_remove("", 4, "managed"));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_kept_remove("", SVMD__V1__KEPT_KIND__KEPT_LEASE, "managed"));
        no(&admin, W_BUSY, SVMD_STATUS_BUSY, mk_delete("one", true));
        must(&a, mk_unkeep(rmn, 0));
}

/* ---- leases -------------------------------------------------------------------------------------------------------
 */

static void leases(void) {
        uint64_t all = w.machine.nodes[GPU1].capacity, lease, waits, many[SVMD_LEASES_MAX];
        Svmd__V1__Op *op = mk_admit(GPU1, page, 0);
        unsigned n = 0;

        must(&admin, mk_limit("one", GPU1, UINT64_MAX));
        op->admit->n_needs = 0;
        no(&a, W_ENUM, SVMD_STATUS_INVALID, op);
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_admit_two(GPU1, page, GPU1, page, 0));
        no(&a, W_ZERO, SVMD_STATUS_SIZE, mk_admit(GPU1, 0, 0));
        no(&a, W_PAGE, SVMD_STATUS_SIZE, mk_admit(GPU1, page + 1, 0));
        no(&a, W_NODE, SVMD_STATUS_NO_NODE, mk_admit(NODES, page, 0));
        no(&a, W_ROOM, SVMD_STATUS_NO_ROOM, mk_admit(GPU1, all + page, UINT64_MAX));
        no(&a, W_OVERFLOW, SVMD_STATUS_NO_ROOM, mk_admit(GPU1, UINT64_MAX - page + 1, UINT64_MAX));
        must(&admin, mk_limit("two", GPU1, 4 * page));
        no(&c, W_LIMIT, SVMD_STATUS_LIMIT, mk_admit(GPU1, 5 * page, UINT64_MAX));
        must(&admin, mk_limit("two", GPU1, UINT64_MAX));

        lease = must(&a, mk_admit(GPU1, 4 * page, 0))->id;
        waits = must(&b, mk_admit(GPU1, all, UINT64_MAX))->id;
        no(&c, W_TAKEN, SVMD_STATUS_NO_ROOM, mk_admit(GPU1, page, 0)); /* b stands before */
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_create_leased(GPU1, page, ma));
        no(&b, W_FOREIGN, SVMD_STATUS_NO_SUCH, mk_create_leased(GPU1, page, lease));
        no(&b, W_BUSY, SVMD_STATUS_BUSY, mk_create_leased(GPU1, page, waits));
        no(&a, W_LIMIT, SVMD_STATUS_LIMIT, mk_create_leased(GPU1, 5 * page, lease));
        no(&a, W_LIMIT, SVMD_STATUS_LIMIT, mk_create_leased(GPU0, page, lease));
        no(&b, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_lease_release(lease));
        no(&c, W_OTHER, SVMD_STATUS_FOREIGN, mk_lease_release(lease));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_lease_release(ma));
        must(&b, mk_lease_release(waits));
        must(&a, mk_lease_release(lease));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_lease_release(lease));

        while (n < SVMD_LEASES_MAX)
                many[n++] = must(&a, mk_admit(HOST0, page, 0))->id;
        no(&a, W_QUOTA, SVMD_STATUS_QUOTA, mk_admit(HOST0, page, 0));
        while (n > 0)
                must(&a, mk_lease_release(many[--n]));
        no(&a, W_RIGHT, SVMD_STATUS_DENIED, mk_lease_list("one"));
        no(&greeted, W_ATTACHED, SVMD_STATUS_NOT_ATTACHED, mk_lease_list(""));
        no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, mk_lease_list("none"));
        no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, mk_holders("none"));
        no(&admin, W_NONE, SVMD_STATUS_UNSUPPORTED, mk_history(0, 0, 1)); /* others: test_accounts.c */
}

static void grants(void) {
        no(&a, W_NODE, SVMD_STATUS_NO_NODE, mk_grant(NODES, 1, 0));
        no(&a, W_NODE_KIND, SVMD_STATUS_NODE_KIND, mk_grant(GPU0, 1, 0));
        no(&a, W_NODE_KIND, SVMD_STATUS_NODE_KIND, mk_grant(HOST0, 1, 0));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_grant(GPU0, 0, 0));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_grant(GPU0, 1 << 10, 0));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_grant_done(stale_memory, 1, 0, 0));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_grant_done(ma, 1, 0, 0));
        no(&a, W_RIGHT, SVMD_STATUS_DENIED, mk_grant_list("one"));
        no(&greeted, W_ATTACHED, SVMD_STATUS_NOT_ATTACHED, mk_grant_list(""));
        no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, mk_grant_list("none"));
}

static Svmd__V1__Op *mk_named(Svmd__V1__Op *op, const char *name, uint32_t mode) {
        op->keep->name = (char *)name;
        op->keep->mode = mode;
        return op;
}

static void keep_lease(uint64_t lease, uint64_t waits) {
        Svmd__V1__Op *op = mk_lease_keep(lease, "", 0);

        op->keep->off = true;
        no(&a, W_ENUM, SVMD_STATUS_INVALID, op);
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_named(mk_keep(rmn, 0, 0), "l", 0));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_named(mk_lease_keep(lease, "", 0), "l", 01000));
        no(&a, W_ENUM, SVMD_STATUS_INVALID, mk_lease_keep(lease, "l", 1ull << 32));
        no(&a, W_NAME, SVMD_STATUS_NAME, mk_lease_keep(lease, "", 0));
        no(&a, W_NAME, SVMD_STATUS_NAME, mk_lease_keep(lease, "/", 0));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_lease_keep(ma, "l", 0));
        no(&b, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_lease_keep(lease, "l", 0));
        no(&b, W_BUSY, SVMD_STATUS_BUSY, mk_lease_keep(waits, "l", 0));
        must(&admin, mk_kept_max("one", 3 * page));
        no(&a, W_LIMIT, SVMD_STATUS_LIMIT, mk_lease_keep(lease, "l", 0));
        must(&admin, mk_kept_max("one", 1ull << 30));
        must(&a, mk_lease_keep(lease, "l", 0));
        no(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_lease_keep(lease, "other", 0));
}

static void claim(void) {
        struct client x;

        client_open(&w, &x, a.uid, a.gid, false);
        client_greet(&x, "one");
        must(&x, mk_lease_keep(must(&x, mk_admit(HOST0, page, 0))->id, "idle", 0));
        client_close(&x);
        no(&a, W_NONE, SVMD_STATUS_NO_SUCH, mk_lease_claim("none"));
        no(&c, W_OTHER, SVMD_STATUS_NO_SUCH, mk_lease_claim("idle"));
        no(&b, W_RIGHT, SVMD_STATUS_DENIED, mk_lease_claim("idle"));
        no(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_lease_claim("l"));
        client_open(&w, &x, a.uid, a.gid, false);
        client_greet(&x, "one");
        no(&x, W_BUSY, SVMD_STATUS_BUSY, mk_lease_claim("l"));
        for (unsigned n = 0; n < SVMD_LEASES_MAX; n++)
                must(&x, mk_admit(HOST0, page, 0));
        no(&x, W_QUOTA, SVMD_STATUS_QUOTA, mk_lease_claim("idle"));
        no(&x, W_QUOTA, SVMD_STATUS_QUOTA, mk_lease_fill(must(&x, mk_create(HOST0, page, 0))->id, 0));
        client_close(&x);
        must(&a, mk_kept_remove("", SVMD__V1__KEPT_KIND__KEPT_LEASE, "idle"));
}

static void fill(uint64_t lease, uint64_t waits) {
        uint64_t id = must(&a, mk_create(GPU1, page, 0))->id, of_b;

        no(&a, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_lease_fill(mb, lease));
        no(&a, W_OTHER, SVMD_STATUS_NO_SUCH, mk_lease_fill(mc, lease));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_lease_fill(stale_memory, lease));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_lease_fill(sp, lease));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_lease_fill(id, ma));
        no(&a, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_lease_fill(id, waits));
        of_b = must(&b, mk_create(HOST0, page, 0))->id;
        no(&b, W_BUSY, SVMD_STATUS_BUSY, mk_lease_fill(of_b, waits));
        must(&b, mk_release(of_b));
        must(&admin, mk_kept_max("one", 4 * page));
        no(&a, W_LIMIT, SVMD_STATUS_LIMIT, mk_lease_fill(id, lease));
        must(&admin, mk_kept_max("one", 1ull << 30));
        must(&a, mk_release(id));
}

static void held_for_later(void) {
        uint64_t lease = must(&a, mk_admit(GPU1, 4 * page, 0))->id;
        uint64_t waits = must(&b, mk_admit(GPU1, w.machine.nodes[GPU1].capacity, UINT64_MAX))->id;

        keep_lease(lease, waits);
        claim();
        fill(lease, waits);
        must(&b, mk_lease_release(waits));
        must(&a, mk_lease_release(lease));
}

/* ---- what each operation can be wrong in ----------------------------------------------------------------------------
 */

#define B(way) (1u << (way))
#define RANGE_WAYS                                                                                                     \
        (B(W_ZERO) | B(W_PAGE) | B(W_OVERFLOW) | B(W_OUTSIDE) | B(W_ALIGN) | B(W_FOREIGN) | B(W_OTHER) | B(W_STALE) |  \
         B(W_KIND) | B(W_RIGHT))
#define PLACE_WAYS   (B(W_OUTSIDE) | B(W_FOREIGN) | B(W_OTHER) | B(W_KIND))
#define GRANULE_WAYS (PLACE_WAYS | B(W_ALIGN) | B(W_PAGE) | B(W_OVERFLOW))
#define OTHER_WAYS   (B(W_ATTACHED) | B(W_RIGHT) | B(W_NONE)) /* of operations that name a partition */
#define ID_WAYS      (B(W_FOREIGN) | B(W_OTHER) | B(W_STALE) | B(W_KIND))

static const struct {
        unsigned op, ways;
} ways_of[] = {
        { SVMD__V1__OP__OP_HELLO, B(W_ENUM) },
        { SVMD__V1__OP__OP_ATTACH, B(W_NONE) | B(W_RIGHT) | B(W_TAKEN) | B(W_ENUM) | B(W_QUOTA) },
        { SVMD__V1__OP__OP_RESERVE, B(W_LIMIT) | B(W_ZERO) | B(W_PAGE) | B(W_ALIGN) | B(W_OUTSIDE) | B(W_OVERFLOW) |
                                            B(W_ROOM) | B(W_TAKEN) | B(W_NAME) | B(W_ENUM) | B(W_QUOTA) },
        { SVMD__V1__OP__OP_OPEN, B(W_NONE) | B(W_TAKEN) | B(W_RIGHT) | B(W_OTHER) | B(W_ENUM) | B(W_QUOTA) },
        { SVMD__V1__OP__OP_FREE, ID_WAYS },
        { SVMD__V1__OP__OP_MEM_CREATE,
          B(W_ZERO) | B(W_PAGE) | B(W_NODE) | B(W_ENUM) | B(W_ROOM) | B(W_OVERFLOW) | B(W_LIMIT) | B(W_QUOTA) },
        { SVMD__V1__OP__OP_MEM_RELEASE, ID_WAYS },
        { SVMD__V1__OP__OP_MEM_EXPORT, ID_WAYS | B(W_RIGHT) | B(W_TAKEN) | B(W_NAME) | B(W_ENUM) | B(W_MIX) },
        { SVMD__V1__OP__OP_MEM_IMPORT,
          B(W_NONE) | B(W_RIGHT) | B(W_OTHER) | B(W_TAKEN) | B(W_ENUM) | B(W_FD_KIND) | B(W_STALE) | B(W_QUOTA) },
        { SVMD__V1__OP__OP_MEM_FD, ID_WAYS | B(W_NODE_KIND) | B(W_ENUM) | B(W_RIGHT) },
        { SVMD__V1__OP__OP_MAP, RANGE_WAYS | B(W_TAKEN) | B(W_ENUM) | B(W_NODE_KIND) | B(W_LINK) | B(W_QUOTA) },
        { SVMD__V1__OP__OP_UNMAP, RANGE_WAYS },
        { SVMD__V1__OP__OP_SET_ACCESS, RANGE_WAYS | B(W_MAPPED) | B(W_ENUM) | B(W_QUOTA) },
        { SVMD__V1__OP__OP_SET_ATTRIBUTES, RANGE_WAYS | B(W_MAPPED) | B(W_ENUM) },
        { SVMD__V1__OP__OP_SPARSE_MAP, RANGE_WAYS | B(W_ENUM) | B(W_TAKEN) },
        { SVMD__V1__OP__OP_SPARSE_UNMAP, RANGE_WAYS | B(W_MAPPED) | B(W_TAKEN) },
        { SVMD__V1__OP__OP_SPACE_CREATE, B(W_NODE) | B(W_NODE_KIND) | B(W_QUOTA) },
        { SVMD__V1__OP__OP_SPACE_DESTROY, ID_WAYS },
        { SVMD__V1__OP__OP_SUBMIT, ID_WAYS | B(W_ENUM) | B(W_FD_KIND) },
        { SVMD__V1__OP__OP_FENCE_QUERY, B(W_STALE) | B(W_KIND) },
        { SVMD__V1__OP__OP_LAYOUT, ID_WAYS },
        { SVMD__V1__OP__OP_TRANSLATE, ID_WAYS },
        { SVMD__V1__OP__OP_NODES, 0 },
        { SVMD__V1__OP__OP_LINKS, B(W_NODE) },
        { SVMD__V1__OP__OP_STATUS, 0 },
        { SVMD__V1__OP__OP_LIMITS, 0 },
        { SVMD__V1__OP__OP_MONITOR, 0 },
        { SVMD__V1__OP__OP_RESERVATION_QUERY, B(W_OUTSIDE) | B(W_OTHER) },
        { SVMD__V1__OP__OP_PARTITION_CREATE,
          B(W_TAKEN) | B(W_NAME) | B(W_PAGE) | B(W_ROOM) | B(W_OVERFLOW) | B(W_ENUM) | B(W_NODE) },
        { SVMD__V1__OP__OP_PARTITION_SET, B(W_NONE) | B(W_NODE) | B(W_ENUM) },
        { SVMD__V1__OP__OP_PARTITION_DELETE, B(W_NONE) | B(W_BUSY) },
        { SVMD__V1__OP__OP_PARTITION_LIST, B(W_NONE) },
        { SVMD__V1__OP__OP_SESSION_LIST, 0 },
        { SVMD__V1__OP__OP_SESSION_KILL, B(W_STALE) | B(W_KIND) | B(W_BUSY) },
        { SVMD__V1__OP__OP_RESERVATION_LIST, B(W_RIGHT) | B(W_ATTACHED) | B(W_NONE) },
        { SVMD__V1__OP__OP_USAGE, 0 },
        { SVMD__V1__OP__OP_UFFD_DEVICE, 0 },
        { SVMD__V1__OP__OP_UFFD_GIVE, B(W_FD_KIND) | B(W_TAKEN) },
        { SVMD__V1__OP__OP_RANGE_FILES, ID_WAYS },
        { SVMD__V1__OP__OP_JOIN, ID_WAYS | B(W_NONE) | B(W_MAPPED) },
        { SVMD__V1__OP__OP_MIGRATE, GRANULE_WAYS | OTHER_WAYS | B(W_NODE) | B(W_BUSY) },
        { SVMD__V1__OP__OP_DISCARD, GRANULE_WAYS | OTHER_WAYS | B(W_BUSY) },
        { SVMD__V1__OP__OP_PIN, GRANULE_WAYS | B(W_STALE) | B(W_BUSY) },
        { SVMD__V1__OP__OP_REVOKE, PLACE_WAYS | OTHER_WAYS | B(W_TAKEN) },
        { SVMD__V1__OP__OP_STEAL, PLACE_WAYS | B(W_RIGHT) | B(W_TAKEN) | B(W_BUSY) },
        { SVMD__V1__OP__OP_ADVISE, GRANULE_WAYS | OTHER_WAYS | B(W_ENUM) | B(W_NODE) },
        { SVMD__V1__OP__OP_ADVICE_QUERY, PLACE_WAYS },
        { SVMD__V1__OP__OP_ADVICE_SHOW, PLACE_WAYS | OTHER_WAYS | B(W_OVERFLOW) },
        { SVMD__V1__OP__OP_RESIDENCY, B(W_OUTSIDE) | B(W_OTHER) | B(W_KIND) | B(W_OVERFLOW) | OTHER_WAYS },
        { SVMD__V1__OP__OP_EXPLAIN, OTHER_WAYS },
        { SVMD__V1__OP__OP_NODE_PLAN, B(W_NODE) | B(W_BUSY) | B(W_ENUM) },
        { SVMD__V1__OP__OP_NODE_SET, B(W_NODE) | B(W_BUSY) | B(W_ENUM) },
        { SVMD__V1__OP__OP_REGISTER, B(W_ZERO) | B(W_PAGE) | B(W_OVERFLOW) | B(W_OUTSIDE) | B(W_ALIGN) | B(W_FD_KIND) |
                                             B(W_ENUM) | B(W_RIGHT) | B(W_NONE) | B(W_TAKEN) | B(W_LIMIT) },
        { SVMD__V1__OP__OP_UNREGISTER, ID_WAYS },
        { SVMD__V1__OP__OP_UPGRADE, 0 },
        { SVMD__V1__OP__OP_POLICY, B(W_ENUM) | B(W_NONE) | B(W_NODE) | B(W_STALE) | B(W_QUOTA) },
        { SVMD__V1__OP__OP_RELOAD, B(W_BUSY) },
        { SVMD__V1__OP__OP_GRANT_ASK, B(W_NODE) | B(W_NODE_KIND) | B(W_ENUM) }, /* the rest: test_grants.c */
        { SVMD__V1__OP__OP_GRANT_DONE, B(W_STALE) | B(W_KIND) },
        { SVMD__V1__OP__OP_GRANT_LIST, OTHER_WAYS },
        { SVMD__V1__OP__OP_SHARE, OTHER_WAYS | B(W_OTHER) | B(W_ENUM) | B(W_STALE) | B(W_BUSY) },
        { SVMD__V1__OP__OP_SHARE_LIST, OTHER_WAYS },
        { SVMD__V1__OP__OP_DMABUF_IMPORT, B(W_FD_KIND) | B(W_ZERO) | B(W_PAGE) | B(W_OUTSIDE) | B(W_NODE) |
                                                  B(W_NODE_KIND) | B(W_ROOM) | B(W_LIMIT) | B(W_QUOTA) | B(W_TAKEN) },
        { SVMD__V1__OP__OP_MEM_DMABUF, ID_WAYS },
        { SVMD__V1__OP__OP_KEEP, ID_WAYS | B(W_NAME) | B(W_ENUM) | B(W_RIGHT) | B(W_LIMIT) | B(W_TAKEN) | B(W_BUSY) },
        { SVMD__V1__OP__OP_KEPT_LIST, OTHER_WAYS },
        { SVMD__V1__OP__OP_KEPT_REMOVE, OTHER_WAYS | B(W_ENUM) | B(W_STALE) },
        { SVMD__V1__OP__OP_DEVICE_GIVE, B(W_NODE) | B(W_NODE_KIND) }, /* with nodes that take some: test_private.c */
        { SVMD__V1__OP__OP_DRM_SPACE, B(W_NONE) },                    /* with files of devices: test_drm.c */
        { SVMD__V1__OP__OP_DRM_BIND, B(W_NONE) },
        { SVMD__V1__OP__OP_DRM_CHECK, B(W_NONE) },
        { SVMD__V1__OP__OP_DRM_BOUND, B(W_NONE) },
        { SVMD__V1__OP__OP_CUDA_ATTACH, B(W_NODE) | B(W_NODE_KIND) }, /* with nodes that have such: test_cuda.c */
        { SVMD__V1__OP__OP_CUDA_MAP, ID_WAYS | B(W_NODE) | B(W_NODE_KIND) },
        { SVMD__V1__OP__OP_OBSERVE, GRANULE_WAYS | OTHER_WAYS },
        { SVMD__V1__OP__OP_EXCLUSIVE, GRANULE_WAYS | B(W_NODE) | B(W_NODE_KIND) },
        { SVMD__V1__OP__OP_ADMIT, B(W_ZERO) | B(W_PAGE) | B(W_NODE) | B(W_ENUM) | B(W_ROOM) | B(W_OVERFLOW) |
                                          B(W_LIMIT) | B(W_QUOTA) | B(W_TAKEN) },
        { SVMD__V1__OP__OP_LEASE_RELEASE, ID_WAYS },
        { SVMD__V1__OP__OP_LEASE_LIST, OTHER_WAYS },
        { SVMD__V1__OP__OP_USAGE_HISTORY, B(W_NONE) },
        { SVMD__V1__OP__OP_HOLDERS, B(W_NONE) },
        { SVMD__V1__OP__OP_DRIFT, 0 },
        { SVMD__V1__OP__OP_METRICS, 0 },
        { SVMD__V1__OP__OP_LEASE_CLAIM, B(W_NONE) | B(W_OTHER) | B(W_RIGHT) | B(W_TAKEN) | B(W_BUSY) | B(W_QUOTA) },
        { SVMD__V1__OP__OP_LEASE_FILL, ID_WAYS | B(W_BUSY) | B(W_QUOTA) | B(W_LIMIT) },
        { SVMD__V1__OP__OP_TRACE_START, B(W_FD_KIND) | B(W_NONE) | B(W_TAKEN) | B(W_QUOTA) },
        { SVMD__V1__OP__OP_TRACE_STOP, B(W_NONE) },
        { SVMD__V1__OP__OP_TRACE_QUERY, B(W_NONE) },
        { SVMD__V1__OP__OP_ACT_FOR, B(W_RIGHT) },
        { SVMD__V1__OP__OP_LIMIT_SET,
          B(W_STALE) | B(W_KIND) | B(W_ATTACHED) | B(W_NODE) | B(W_ENUM) | B(W_NAME) | B(W_ROOM) | B(W_RIGHT) },
        { SVMD__V1__OP__OP_LIMIT_QUERY, B(W_RIGHT) | B(W_NONE) | B(W_STALE) | B(W_KIND) },
};

/* What the row of an operation makes it be wrong in besides. */
static unsigned ways_of_row(const struct op_row *row) {
        return B(W_FIRST) | B(W_FDS) | (row->flags & OP_ATTACHED ? B(W_ATTACHED) : 0) |
               (row->flags & OP_ADMIN ? B(W_ADMIN) : 0) | (row->flags & OP_ALONE ? B(W_ALONE) : 0) |
               (row->flags & OP_FINAL ? B(W_FINAL) : 0) | (row->flags & OP_FD_OUT ? B(W_MIX) : 0);
}

static void refuse_register(struct client *x, enum way way, unsigned code, uint64_t address, uint64_t size) {
        no_fds(x, way, code, mk_register(address, size, page), (int[]){ process_memory() }, 1);
}

static void registered(void) {
        Svmd__V1__Op *op = mk_register(page, page, page);
        uint64_t id, end = 1ull << 47, most = w.svc->options.max_registered;
        int fd = process_memory();

        refuse_register(&b, W_NONE, SVMD_STATUS_SHAPE, page, page);
        refuse_register(&a, W_ZERO, SVMD_STATUS_SIZE, page, 0);
        refuse_register(&a, W_PAGE, SVMD_STATUS_SIZE, page, 100);
        refuse_register(&a, W_ALIGN, SVMD_STATUS_ALIGN, page + 8, page);
        refuse_register(&a, W_ALIGN, SVMD_STATUS_ALIGN, 0, page);
        refuse_register(&a, W_OVERFLOW, SVMD_STATUS_RANGE, end - page, 2 * page);
        refuse_register(&a, W_OVERFLOW, SVMD_STATUS_RANGE, UINT64_MAX - page + 1, page);
        refuse_register(&a, W_OUTSIDE, SVMD_STATUS_RANGE, slice_start, page);
        refuse_register(&a, W_OUTSIDE, SVMD_STATUS_RANGE, slice_start - page, 2 * page);
        refuse_register(&a, W_LIMIT, SVMD_STATUS_LIMIT, page, most + page);
        refuse_register(&a, W_RIGHT, SVMD_STATUS_UNSUPPORTED, page, page); /* svmd knows no such process */
        op->register_->mode = 7;
        no_fds(&a, W_ENUM, SVMD_STATUS_UNSUPPORTED, op, (int[]){ process_memory() }, 1);
        no_fds(&a, W_FD_KIND, SVMD_STATUS_FD_KIND, mk_register(page, page, page),
               (int[]){ open("/proc/self/mem", O_RDONLY) }, 1);
        no_fds(&a, W_FD_KIND, SVMD_STATUS_FD_KIND, mk_register(page, page, page),
               (int[]){ open("/proc/self/maps", O_RDONLY) }, 1);
        no_fds(&a, W_FD_KIND, SVMD_STATUS_FD_KIND, mk_register(page, page, page), (int[]){ open("/dev/null", O_RDWR) },
               1);

        a.session->pid = (uint32_t)getpid();
        op = mk_register(4 * page, 2 * page, page);
        id = client_send(&a, SVMD__V1__MODE__BEST_EFFORT, &op, 1, &fd, 1)->results[0]->id;
        assert_int_not_equal(id, 0);
        refuse_register(&a, W_TAKEN, SVMD_STATUS_TAKEN, 5 * page, page);
        refuse_register(&a, W_TAKEN, SVMD_STATUS_TAKEN, 3 * page, 2 * page);
        refuse_register(&a, W_LIMIT, SVMD_STATUS_LIMIT, 8 * page, most - page);
        no(&b, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_unregister(id));
        no(&c, W_OTHER, SVMD_STATUS_NO_SUCH, mk_unregister(id));
        no(&a, W_KIND, SVMD_STATUS_INVALID, mk_unregister(ma));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_unregister(ra));
        no(&a, W_KIND, SVMD_STATUS_INVALID, mk_release(id));
        no(&a, W_KIND, SVMD_STATUS_UNSUPPORTED, mk_map(0, ra_at, page, id, 0, 1, 0));
        must(&a, mk_unregister(id));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_unregister(id));
}

static int dmabuf(uint64_t size) {
        int fd = memfd_create("dma-buf", MFD_CLOEXEC);

        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        return fd;
}

static void refuse_dmabuf(struct client *x, enum way way, unsigned code, Svmd__V1__Op *op, int fd) {
        no_fds(x, way, code, op, (int[]){ fd }, 1);
}

static void dmabufs(void) {
        Svmd__V1__Op *op = mk_dmabuf_import(0, 0);
        uint64_t id, most = w.svc->options.max_objects_per_session;
        int fd = dmabuf(4 * page), again = dup(fd);

        refuse_dmabuf(&a, W_FD_KIND, SVMD_STATUS_FD_KIND, op, eventfd(0, 0));
        refuse_dmabuf(&a, W_FD_KIND, SVMD_STATUS_FD_KIND, op, open("/proc/self/maps", O_RDONLY));
        refuse_dmabuf(&a, W_FD_KIND, SVMD_STATUS_FD_KIND, op, open("/dev/null", O_RDWR));
        refuse_dmabuf(&a, W_FD_KIND, SVMD_STATUS_FD_KIND, op, open("/dev/shm", O_PATH));
        refuse_dmabuf(&a, W_ZERO, SVMD_STATUS_FD_KIND, op, dmabuf(0));
        refuse_dmabuf(&a, W_PAGE, SVMD_STATUS_FD_KIND, op, dmabuf(page + 1));
        refuse_dmabuf(&a, W_OUTSIDE, SVMD_STATUS_SIZE, mk_dmabuf_import(page, 0), dmabuf(2 * page));
        refuse_dmabuf(&a, W_OUTSIDE, SVMD_STATUS_SIZE, mk_dmabuf_import(3 * page, 0), dmabuf(2 * page));
        refuse_dmabuf(&a, W_NODE, SVMD_STATUS_NO_NODE, mk_dmabuf_import(0, NODES + 1), dmabuf(page));
        refuse_dmabuf(&a, W_NODE, SVMD_STATUS_NO_NODE, mk_dmabuf_import(0, UINT32_MAX), dmabuf(page));
        refuse_dmabuf(&a, W_NODE_KIND, SVMD_STATUS_NODE_KIND, mk_dmabuf_import(0, GPU0 + 1), dmabuf(page));
        refuse_dmabuf(&a, W_ROOM, SVMD_STATUS_NO_ROOM, op, dmabuf(1ull << 40));
        must(&admin, mk_limit("one", HOST0, a.session->partition->accounts[HOST0].used + 3 * page));
        refuse_dmabuf(&a, W_LIMIT, SVMD_STATUS_LIMIT, mk_dmabuf_import(0, HOST0 + 1), dmabuf(4 * page));
        must(&admin, mk_limit("one", HOST0, UINT64_MAX));
        w.svc->options.max_objects_per_session = a.session->objects;
        refuse_dmabuf(&a, W_QUOTA, SVMD_STATUS_QUOTA, mk_dmabuf_import(0, 0), dmabuf(page));
        w.svc->options.max_objects_per_session = most;

        op = mk_dmabuf_import(0, 0);
        id = client_send(&a, SVMD__V1__MODE__BEST_EFFORT, &op, 1, &fd, 1)->results[0]->id;
        assert_int_not_equal(id, 0);
        refuse_dmabuf(&a, W_TAKEN, SVMD_STATUS_TAKEN, mk_dmabuf_import(0, 0), again);
        no(&b, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_mem_dmabuf(id));
        no(&c, W_OTHER, SVMD_STATUS_NO_SUCH, mk_mem_dmabuf(id));
        no(&a, W_KIND, SVMD_STATUS_UNSUPPORTED, mk_mem_dmabuf(ma));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_mem_dmabuf(ra));
        no_fds(&a, W_RIGHT, SVMD_STATUS_DENIED, mk_export(id, "", 0, 1), NULL, 0);
        must(&a, mk_export(id, "dma", 0666, 0));
        no(&b, W_RIGHT, SVMD_STATUS_DENIED, mk_import("dma", 1));
        must(&a, mk_release(id));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_mem_dmabuf(id));
}

static void cuda_pages(void) {
        no(&a, W_NODE, SVMD_STATUS_NO_NODE, mk_cuda_attach(NODES));
        no(&a, W_NODE_KIND, SVMD_STATUS_NODE_KIND, mk_cuda_attach(HOST0));
        no(&a, W_NODE_KIND, SVMD_STATUS_NODE_KIND, mk_cuda_attach(GPU0));
        no(&b, W_FOREIGN, SVMD_STATUS_FOREIGN, mk_cuda_map(rm, GPU0, 0, 1));
        no(&a, W_OTHER, SVMD_STATUS_NO_SUCH, mk_cuda_map(rmc, GPU0, 0, 1));
        no(&a, W_STALE, SVMD_STATUS_NO_SUCH, mk_cuda_map(stale_range, GPU0, 0, 1));
        no(&a, W_KIND, SVMD_STATUS_INVALID, mk_cuda_map(ra, GPU0, 0, 1));
        no(&a, W_KIND, SVMD_STATUS_NO_SUCH, mk_cuda_map(ma, GPU0, 0, 1));
        no(&a, W_NODE, SVMD_STATUS_NO_NODE, mk_cuda_map(rm, NODES, 0, 1));
        no(&a, W_NODE_KIND, SVMD_STATUS_NODE_KIND, mk_cuda_map(rm, GPU0, 0, 1));
}

static Svmd__V1__Op *mk_observe(uint64_t address, uint64_t size) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_OBSERVE);

        op->observe->address = address;
        op->observe->size = size;
        return op;
}

static Svmd__V1__Op *mk_exclusive(uint64_t address, uint64_t size) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_EXCLUSIVE);

        op->exclusive->address = address;
        op->exclusive->size = size;
        return op;
}

static void private_memory(void) {
        static Svmd__V1__Op *(*const makes[])(uint64_t, uint64_t) = { mk_observe, mk_exclusive };
        Svmd__V1__Op *op = mk_reserve(large, 0, 0, "", 0);
        uint64_t id, at;

        op->reserve->kind = SVMD__V1__RESERVATION_KIND__PRIVATE;
        id = must(&a, op)->id;
        at = a.reply->results[0]->address;
        for (unsigned i = 0; i < sizeof(makes) / sizeof(makes[0]); i++) {
                no(&a, W_OUTSIDE, SVMD_STATUS_INVALID, makes[i](slice_start + slice_size - large, large));
                no(&a, W_KIND, SVMD_STATUS_INVALID, makes[i](rm_at, large));
                no(&a, W_OTHER, SVMD_STATUS_INVALID, makes[i](rmc_at, large));
                no(&a, W_ALIGN, SVMD_STATUS_ALIGN, makes[i](at + 8, page));
                no(&a, W_PAGE, SVMD_STATUS_SIZE, makes[i](at, 100));
                no(&a, W_OVERFLOW, SVMD_STATUS_RANGE, makes[i](at + page, large));
                no(&b, W_FOREIGN, SVMD_STATUS_FOREIGN, makes[i](at, page));
        }
        op = mk_exclusive(at, page);
        op->exclusive->node = NODES;
        no(&a, W_NODE, SVMD_STATUS_NO_NODE, op);
        op->exclusive->node = HOST0;
        no(&a, W_NODE_KIND, SVMD_STATUS_NODE_KIND, op);
        op = mk_observe(at, page);
        op->observe->partition = (char *)"one";
        no(&a, W_RIGHT, SVMD_STATUS_DENIED, op);
        op->observe->partition = (char *)"none";
        no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, op);
        op->observe->partition = (char *)"";
        no(&greeted, W_ATTACHED, SVMD_STATUS_NOT_ATTACHED, op);
        must(&a, mk_free(id));
        for (unsigned i = 0; i < 4; i++) {
                static const unsigned drm[] = { SVMD__V1__OP__OP_DRM_SPACE, SVMD__V1__OP__OP_DRM_BIND,
                                                SVMD__V1__OP__OP_DRM_CHECK, SVMD__V1__OP__OP_DRM_BOUND };

                no(&a, W_NONE, SVMD_STATUS_NO_SUCH, op_make(drm[i]));
        }
        op = op_make(SVMD__V1__OP__OP_DEVICE_GIVE);
        no_fds(&a, W_NODE_KIND, SVMD_STATUS_NODE_KIND, op, (int[]){ open("/dev/null", O_RDWR) }, 1);
        op->device_give->node = NODES;
        no_fds(&a, W_NODE, SVMD_STATUS_NO_NODE, op, (int[]){ open("/dev/null", O_RDWR) }, 1);
}

static void trace_into(struct client *x, int fd) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_TRACE_START);

        client_send(x, SVMD__V1__MODE__BEST_EFFORT, &op, 1, &fd, 1);
        assert_int_equal(x->reply->results[0]->code, 0);
}

static void no_trace(struct client *x, enum way way, unsigned code, const char *partition, int fd) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_TRACE_START);

        op->trace_start->partition = (char *)partition;
        no_fds(x, way, code, op, (int[]){ fd }, 1);
}

static void traces(void) {
        struct client more[4], other;
        int old = memfd_create("old", 0);

        no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, op_make(SVMD__V1__OP__OP_TRACE_STOP));
        client_open(&w, &other, 100, 100, true);
        client_greet(&other, NULL);
        no(&other, W_RIGHT, SVMD_STATUS_DENIED, op_make(SVMD__V1__OP__OP_ACT_FOR));
        client_close(&other);
        no(&admin, W_NONE, SVMD_STATUS_NO_SUCH, op_make(SVMD__V1__OP__OP_TRACE_QUERY));
        no_trace(&admin, W_NONE, SVMD_STATUS_NO_SUCH, "none", memfd_create("trace", 0));
        no_trace(&admin, W_FD_KIND, SVMD_STATUS_FD_KIND, "", eventfd(0, 0));
        no_trace(&admin, W_FD_KIND, SVMD_STATUS_FD_KIND, "", open("/proc/self/exe", O_RDONLY));
        assert_int_equal(write(old, "x", 1), 1);
        no_trace(&admin, W_FD_KIND, SVMD_STATUS_FD_KIND, "one", old);
        for (unsigned i = 0; i < 4; i++) {
                client_open(&w, &more[i], 0, 0, true);
                client_greet(&more[i], NULL);
                trace_into(&more[i], memfd_create("trace", 0));
        }
        no_trace(&more[0], W_TAKEN, SVMD_STATUS_TAKEN, "", memfd_create("trace", 0));
        no_trace(&admin, W_QUOTA, SVMD_STATUS_QUOTA, "", memfd_create("trace", 0));
        for (unsigned i = 0; i < 4; i++)
                client_close(&more[i]);
}

static void everything_was_tried(void) {
        unsigned operations = 0, known = 0;

        for (unsigned i = 0; i < OPS_END + 16; i++)
                operations += op_row(i) != NULL;
        for (unsigned i = 0; i < sizeof(ways_of) / sizeof(ways_of[0]); i++) {
                const struct op_row *row = op_row(ways_of[i].op);
                unsigned ways = ways_of[i].ways | ways_of_row(row);

                known++;
                for (unsigned k = 0; k < WAYS; k++)
                        if (ways & B(k) && !tried[ways_of[i].op][k])
                                fail_msg("%s was not tried with: %s", row->name, way_names[k]);
        }
        assert_int_equal(known, operations);
}

static void test_refusals(void **state) {
        set_up();
        shapes();
        sessions();
        reservations();
        managed();
        memories();
        ranges();
        mappings();
        devices();
        registered();
        dmabufs();
        cuda_pages();
        private_memory();
        traces();
        keeping();
        leases();
        grants();
        held_for_later();
        shares();
        administration();
        settings();
        quotas();
        tokens();
        whole_requests();
        malformed();
        sessions_are_bounded();
        everything_was_tried();
        printf("%lu refusals\n", rows);
        tear_down();
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_refusals) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
