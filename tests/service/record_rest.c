#include "record_rest.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "expect.h"
#include "ranges.h"
#include "service/effects.h"
#include "service/internal.h"

enum { PAGE = 4096, SIZE = 16 * PAGE, CUDA_NODE = NODES, DEVICE_NODE };

const char *const record_rest_devices[] = { "/dev/null", "/dev/zero", NULL };

/* One with a fence, to its end. */
static void run(struct client *c, Svmd__V1__Op *op) {
        Svmd__V1__Op *query = op_make(SVMD__V1__OP__OP_FENCE_QUERY);

        c->deaf = true;
        query->fence_query->fence = must(c, op)->id;
        for (;;) {
                Svmd__V1__Result *r = must(c, query);

                if (r->fence->done) {
                        if (r->fence->code)
                                fail_msg("operation %d ended with %u %s", (int)op->op_case, r->fence->code,
                                         r->fence->text);
                        return;
                }
                world_wait(c->world);
        }
}

static void opens_and_closes(struct client *a, struct client *b) {
        uint64_t id = must(a, mk_reserve(SIZE, 0, 0, "closed", 0666))->id;

        must(b, mk_open("closed", 1));
        must(b, mk_free(id));
        must(a, mk_free(id));
}

static Svmd__V1__Op *mk_revoke(uint64_t address, bool off) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_REVOKE);

        op->revoke->address = address;
        op->revoke->off = off;
        return op;
}

static Svmd__V1__Op *mk_steal(uint64_t address) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_STEAL);

        op->steal->address = address;
        return op;
}

static void takes_away(struct world *w) {
        struct user owner, thief;
        Svmd__V1__Result *r;
        uint64_t id, at;

        user_open(w, &owner, 1000, "lab");
        user_open(w, &thief, 1000, "lab");
        user_give(&owner);
        user_give(&thief);
        r = must(&owner.client, mk_range(SIZE, PAGE, "taken", 0666));
        id = r->id;
        at = r->address;
        user_join(&owner, id, true);
        process_fill(&owner.process, at, SIZE, 1);
        run(&owner.client, mk_revoke(at, false));
        run(&owner.client, mk_revoke(at, true));
        must(&thief.client, mk_open("taken", 3));
        user_join(&thief, id, true);
        run(&thief.client, mk_steal(at));
        user_close(&owner);
        user_close(&thief);
        world_settle(w);
}

static Svmd__V1__Op *mk_node(uint32_t node, Svmd__V1__NodeAction action) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_NODE_SET);

        op->node_set->node = node;
        op->node_set->action = action;
        return op;
}

static void empties_a_node(struct world *w, struct client *a) {
        uint64_t mem = must(a, mk_create(GPU0, 4 * PAGE, 0))->id;
        struct client admin;

        client_open(w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        run(&admin, mk_node(GPU0, SVMD__V1__NODE_ACTION__NODE_DRAIN));
        must(&admin, mk_node(GPU0, SVMD__V1__NODE_ACTION__NODE_ONLINE));
        client_close(&admin);
        must(a, mk_release(mem));
        world_settle(w);
}

static void comes_back_to_its_owner(struct world *w) {
        struct client first, second;
        uint64_t id;

        client_open(w, &first, 1000, 1000, false);
        client_greet(&first, "lab");
        id = must(&first, mk_range(SIZE, PAGE, "owned", 0600))->id;
        must(&first, mk_keep(id, 0, 3600));
        client_close(&first);
        client_open(w, &second, 1000, 1000, false);
        client_greet(&second, "lab");
        must(&second, mk_open("owned", 3));
        must(&second, mk_unkeep(id, 0));
        must(&second, mk_free(id));
        client_close(&second);
        world_settle(w);
}

/* ---- memory of this process ---- */

static char *new_memory(void) {
        char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        assert_true(p != MAP_FAILED);
        return p;
}

static Svmd__V1__Op *mk_register(const char *at, const char *probe, Svmd__V1__RegisterMode mode) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_REGISTER);

        op->register_->address = (uintptr_t)at;
        op->register_->size = SIZE;
        op->register_->probe = (uintptr_t)probe;
        op->register_->mode = mode;
        return op;
}

static Svmd__V1__Op *mk_unregister(uint64_t id, bool stop) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_UNREGISTER);

        op->unregister->memory = id;
        op->unregister->stop = stop;
        return op;
}

static Svmd__V1__Result *send_with(struct client *c, Svmd__V1__Op *op, int fd) {
        Svmd__V1__Result *r = client_send(c, SVMD__V1__MODE__BEST_EFFORT, &op, 1, &fd, 1)->results[0];

        if (r->code != 0)
                fail_msg("operation %d: %u %s", (int)op->op_case, r->code, r->text);
        return r;
}

static int give_userfaultfd(struct client *c) {
        int device, uffd;

        must(c, op_make(SVMD__V1__OP__OP_UFFD_DEVICE));
        device = fdlist_steal(&c->fds);
        uffd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
        assert_true(uffd >= 0);
        close(device);
        send_with(c, op_make(SVMD__V1__OP__OP_UFFD_GIVE), dup(uffd));
        return uffd;
}

/* Pinned; it gives it back without a word. */
static void pinned(struct client *c, int uffd) {
        char *at = new_memory(), *probe = new_memory();
        struct uffdio_register r = { .range = { (uintptr_t)at, SIZE }, .mode = UFFDIO_REGISTER_MODE_WP };
        uint64_t id = send_with(c, mk_register(at, probe, SVMD__V1__REGISTER_MODE__REGISTER_PINNED),
                                open("/proc/self/mem", O_RDWR | O_CLOEXEC))
                              ->id;

        assert_int_equal(ioctl(uffd, UFFDIO_REGISTER, &r), 0);
        assert_int_equal(madvise(at, SIZE, MADV_DONTNEED), 0);
        world_settle(c->world);
        must(c, mk_unregister(id, false));
        assert_int_equal(ioctl(uffd, UFFDIO_UNREGISTER, &r.range), 0);
        munmap(at, SIZE);
        munmap(probe, SIZE);
}

static void adopted(struct client *c) {
        char *at = new_memory();
        uint64_t id = must(c, mk_register(at, NULL, SVMD__V1__REGISTER_MODE__REGISTER_ADOPTED))->id;
        int memory;

        must(c, mk_files(id));
        memory = fdlist_steal(&c->fds);
        close(fdlist_steal(&c->fds));
        assert_true(mmap(at, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory, 0) == at);
        close(memory);
        must(c, mk_join(id));
        must(c, mk_unregister(id, true));
        assert_int_equal(munmap(at, SIZE), 0);
        must(c, mk_unregister(id, false));
}

static void registers(struct world *w) {
        struct service_peer peer = { .pid = (uint32_t)getpid(), .uid = getuid(), .gid = getgid() };
        struct client c;
        int uffd;

        assert_int_equal(client_open_as(w, &c, &peer), 0);
        client_greet(&c, "lab");
        c.deaf = true;
        uffd = give_userfaultfd(&c);
        pinned(&c, uffd);
        adopted(&c);
        client_close(&c);
        close(uffd);
        world_settle(w);
}

/* ---- devices ---- */

static void imports_a_buffer(struct client *a) {
        int fd = memfd_create("dma-buf", MFD_CLOEXEC);

        assert_int_equal(ftruncate(fd, SIZE), 0);
        must(a, mk_release(send_with(a, mk_dmabuf_import(SIZE, HOST0), fd)->id));
}

/* As of a file of a DRM device, which no machine of this test has: one that stays, and one that is let go. */
static void has_page_table(struct world *w, const struct client *c, uint64_t file) {
        struct effect_drm_space e = { .file = file, .session = c->session->object.id, .number = 1, .made = true };

        journal_note(w->svc, EFFECT_DRM_SPACE, &e, sizeof(e));
        e.number = 2;
        journal_note(w->svc, EFFECT_DRM_SPACE, &e, sizeof(e));
        e.gone = true;
        journal_note(w->svc, EFFECT_DRM_SPACE, &e, sizeof(e));
}

static void has_private_memory(struct world *w) {
        Svmd__V1__Op *reserve = mk_reserve(SIZE, 0, 0, "", 0), *prefer = op_make(SVMD__V1__OP__OP_ADVISE);
        Svmd__V1__Op *give = op_make(SVMD__V1__OP__OP_DEVICE_GIVE);
        struct client c;

        client_open(w, &c, 1000, 1000, false);
        client_greet(&c, "lab");
        reserve->reserve->kind = SVMD__V1__RESERVATION_KIND__PRIVATE;
        prefer->advise->address = must(&c, reserve)->address;
        prefer->advise->size = SIZE;
        prefer->advise->what = SVMD__V1__ADVICE_WHAT__ADVICE_PREFERRED;
        prefer->advise->preferred = DEVICE_NODE + 1;
        give->device_give->node = DEVICE_NODE;
        has_page_table(w, &c, send_with(&c, give, open(record_rest_devices[0], O_RDWR | O_CLOEXEC))->id);
        must(&c, prefer);
        client_close(&c);
        world_settle(w);
}

/* Two that the node has not room for together. */
static void admits(struct world *w, struct client *a, struct client *b) {
        uint64_t most = w->svc->options.machine->nodes[GPU0].capacity / 2 + PAGE;
        uint64_t lease = must(a, mk_admit(GPU0, most, 0))->id, waits = must(b, mk_admit(GPU0, most, UINT64_MAX))->id;
        uint64_t memory = must(a, mk_create_leased(GPU0, PAGE, lease))->id;

        must(a, mk_release(memory));
        must(a, mk_lease_release(lease));
        world_settle(w);
        must(b, mk_lease_release(waits));
}

/* Its room goes from one session to the next. */
static void sleeps(struct world *w) {
        struct client first, second;
        uint64_t lease;

        client_open(w, &first, 1000, 1000, false);
        client_greet(&first, "lab");
        lease = must(&first, mk_lease_fill(must(&first, mk_create(GPU0, PAGE, 0))->id, 0))->id;
        must(&first, mk_lease_keep(lease, "asleep", 3600));
        client_close(&first);
        client_open(w, &second, 1000, 1000, false);
        client_greet(&second, "lab");
        must(&second, mk_lease_release(must(&second, mk_lease_claim("asleep"))->id));
        client_close(&second);
        world_settle(w);
}

static void is_limited(struct world *w, struct client *a) {
        struct client admin;

        client_open(w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_own_limit(a->id, NULL, GPU0, BOUND_MAX, 512ull << 20));
        must(&admin, mk_own_limit(a->id, NULL, GPU0, BOUND_HIGH, 256ull << 20));
        client_close(&admin);
}

static void sets(struct world *w) {
        struct client admin;

        client_open(w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_set(SVMD__V1__SETTING_KIND__SETTING_LINK_RATE, "host0", "gpu0", NULL, 1u << 20));
        must(&admin, mk_unset(SVMD__V1__SETTING_KIND__SETTING_LINK_RATE, "gpu0", "host0"));
        client_close(&admin);
}

/* With a partition from whose own socket somebody comes. */
static void shares(struct world *w, struct client *a) {
        struct service_peer peer = { .pid = 4000, .uid = 300, .gid = 300 };
        struct client admin, guest;
        uint64_t id = must(a, mk_reserve(PAGE, 0, 0, "shared", 0600))->id;

        client_open(w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_partition("guests", 4ull << 30, "", 300, 0600));
        must(a, mk_share("shared", false, "guests", RIGHT_READ));
        peer.partition = partition_find(&w->svc->state, "guests");
        assert_int_equal(client_open_as(w, &guest, &peer), 0);
        client_greet(&guest, NULL);
        must(&guest, mk_attach(a->session->partition->name->text));
        must(&guest, mk_open("shared", RIGHT_READ));
        client_close(&guest);
        must(a, mk_free(id));
        client_close(&admin);
        world_settle(w);
}

static void is_granted(struct client *a) {
        Svmd__V1__Result *r = must(a, mk_grant(CUDA_NODE, 1, 1ull << 21));

        must(a, mk_grant_done(r->id, r->generation, 5, 0));
}

void record_rest_shape(struct machine *m) {
        struct node_desc *n = machine_add(m);

        assert_non_null(n);
        snprintf(n->name, sizeof(n->name), "cuda0");
        n->kind = NODE_CUDA;
        n->capacity = 1ull << 30;
}

void record_rest(struct world *w, struct client *a, struct client *b) {
        opens_and_closes(a, b);
        takes_away(w);
        empties_a_node(w, a);
        comes_back_to_its_owner(w);
        registers(w);
        imports_a_buffer(a);
        has_private_memory(w);
        admits(w, a, b);
        sleeps(w);
        is_limited(w, a);
        sets(w);
        is_granted(a);
        shares(w, a);
}
