/*
 * What outlives its sessions: managed ranges and memory that are kept, with real processes and a real mover, over ends
 * of sessions, restarts, and the end of their time. The clock is the test's.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/keeping.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "expect.h"
#include "ranges.h"

#define KIB    1024ull
#define MIB    (1024 * KIB)
#define LARGE  (64 * KIB)
#define SIZE   (32 * LARGE)
#define SECOND 1000000000ull
#define RANGE  SVMD__V1__KEPT_KIND__KEPT_RESERVATION
#define MEMORY SVMD__V1__KEPT_KIND__KEPT_MEMORY

static struct world w;
static struct client admin;
static struct user a, b;   /* uid 100, uid 101 */
static uint64_t range, at; /* of a, named "weights" */
static uint64_t now_ns;

static uint64_t now(void) {
        return now_ns;
}

static void admin_open(void) {
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        admin.deaf = true; /* so fences are there to be asked for */
}

static int set_up(void **state) {
        Svmd__V1__Result *r;

        ops_reset();
        now_ns = 1000 * SECOND;
        world_open(&w, 0);
        w.options.boottime_ns = w.svc->options.boottime_ns = now;
        admin_open();
        must(&admin, mk_range_partition("one", 4ull << 30, 100, 0666));
        must(&admin, mk_kept_max("one", 16 * MIB));
        user_open(&w, &a, 100, "one");
        user_open(&w, &b, 101, "one");
        a.client.deaf = true;
        user_give(&a);
        r = must(&a.client, mk_range(SIZE, LARGE, "weights", 0640));
        range = r->id;
        at = r->address;
        user_join(&a, range, true);
        return 0;
}

static void settle(void) {
        world_settle(&w);
        check_world(&w);
}

static int tear_down(void **state) {
        user_close(&a);
        user_close(&b);
        client_close(&admin);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        for (;;) {
                Svmd__V1__Result *r = must(&admin, mk_kept_list("one"));
                Svmd__V1__Kept *row = r->kept->n_kept ? r->kept->kept[0] : NULL;
                char name[64];

                if (!row)
                        break;
                snprintf(name, sizeof(name), "%s", row->name);
                must(&admin, mk_kept_remove("one", row->kind, name));
        }
        client_close(&admin);
        settle();
        for (unsigned i = 0; i < NODES; i++)
                assert_int_equal(ledger_bytes(&w, i), 0);
        world_close(&w);
        return 0;
}

static void restart(void) {
        struct client *all[] = { &a.client, &b.client, &admin };

        settle();
        client_close(&admin);
        world_bury(world_restart_as_was(&w, all, 3));
        admin_open();
        settle();
}

/* A restart from the log, and one from a snapshot. */
static void restart_twice(void) {
        restart();
        assert_int_equal(journal_snapshot(w.svc), 0);
        restart();
}

static unsigned order(struct client *c, Svmd__V1__Op *op) {
        uint64_t fence = must(c, op)->id;

        op = op_make(SVMD__V1__OP__OP_FENCE_QUERY);
        op->fence_query->fence = fence;
        world_settle(&w);
        for (;;) {
                Svmd__V1__Result *r = must(c, op);

                if (r->fence->done)
                        return r->fence->code;
                world_wait(&w);
        }
}

/* Another process of the user, who has left. */
static void come_back(struct user *u, uint32_t uid) {
        user_open(&w, u, uid, "one");
        user_give(u);
}

static struct keeping *kept(Svmd__V1__KeptKind kind, const char *name) {
        return keeping_find(partition_find(&w.svc->state, "one"), (enum keeping_kind)kind, name);
}

static Svmd__V1__Kept *row_of(struct client *c, const char *name) {
        Svmd__V1__Result *r = must(c, mk_kept_list(c->admin ? "one" : ""));

        for (size_t i = 0; i < r->kept->n_kept; i++)
                if (strcmp(r->kept->kept[i]->name, name) == 0)
                        return r->kept->kept[i];
        return NULL;
}

static uint64_t bytes_on(const Svmd__V1__Kept *row, uint32_t node) {
        for (size_t i = 0; i < row->n_nodes; i++)
                if (row->nodes[i]->node == node)
                        return row->nodes[i]->used;
        return 0;
}

/* ---- ranges ---- */

static void test_range_outlives(void **state) {
        const Svmd__V1__Kept *row;

        must(&a.client, mk_keep(range, 0, 0));
        process_fill(&a.process, at, SIZE, 7);
        assert_int_equal(order(&a.client, mk_migrate(at, SIZE / 2, GPU1)), 0);
        row = row_of(&b.client, "weights");
        assert_int_equal(row->users, 1);
        assert_int_equal(row->idle_ms, 0);
        assert_true(row->left_ms == UINT64_MAX);
        user_close(&a);
        settle();
        now_ns += 5 * SECOND;
        row = row_of(&b.client, "weights");
        assert_int_equal(row->kind, RANGE);
        assert_int_equal(row->address, at);
        assert_int_equal(row->size, SIZE);
        assert_int_equal(row->uid, 100);
        assert_int_equal(row->mode, 0640);
        assert_int_equal(row->users, 0);
        assert_int_equal(row->idle_ms, 5001);
        assert_int_equal(bytes_on(row, GPU1), SIZE / 2);
        assert_int_equal(bytes_on(row, HOST0), SIZE / 2);
        restart_twice();
        row = row_of(&b.client, "weights");
        assert_int_equal(row->idle_ms, 5001);
        assert_int_equal(bytes_on(row, GPU1), SIZE / 2);
        come_back(&a, 100);
        assert_int_equal(must(&a.client, mk_open("weights", 3))->address, at);
        user_join(&a, range, true);
        assert_int_equal(process_check(&a.process, at, SIZE, 7), 0);
        assert_int_equal(row_of(&b.client, "weights")->users, 1);
        /* Its user's session owns it, so it may free it. */
        restart_twice();
        assert_int_equal(process_check(&a.process, at, SIZE, 7), 0);
        must(&a.client, mk_free(range));
        must_not(&b.client, mk_open("weights", 1), SVMD_STATUS_NO_SUCH, "weights");
        assert_null(kept(RANGE, "weights"));
        settle();
}

/* Nothing of what was under way is lost when everybody goes in the middle. */
static void test_moves_without_sessions(void **state) {
        Svmd__V1__Op *op = mk_migrate(at, SIZE, HOST0);

        must(&a.client, mk_keep(range, 0, 0));
        process_fill(&a.process, at, SIZE, 11);
        must(&a.client, mk_migrate(at, SIZE, GPU1));
        user_close(&a);
        settle();
        /* An administrator moves it, with nobody to pay. */
        op->migrate->partition = (char *)"one";
        assert_int_equal(order(&admin, op), 0);
        assert_int_equal(bytes_on(row_of(&admin, "weights"), HOST0), SIZE);
        op = mk_migrate(at, SIZE / 4, GPU0);
        op->migrate->partition = (char *)"one";
        assert_int_equal(order(&admin, op), 0);
        restart();
        op = op_make(SVMD__V1__OP__OP_NODE_SET);
        op->node_set->node = GPU0;
        op->node_set->action = SVMD__V1__NODE_ACTION__NODE_DRAIN;
        assert_int_equal(order(&admin, op), 0);
        assert_int_equal(bytes_on(row_of(&admin, "weights"), GPU0), 0);
        come_back(&a, 100);
        must(&a.client, mk_open("weights", 3));
        user_join(&a, range, true);
        assert_int_equal(process_check(&a.process, at, SIZE, 11), 0);
}

static void set_node(uint32_t node, Svmd__V1__NodeAction action) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_NODE_SET);

        op->node_set->node = node;
        op->node_set->action = action;
        must(&admin, op);
}

/* A device that vanishes takes along what is kept there, and nothing of it reads as zeroes afterwards. */
static void test_node_lost(void **state) {
        uint64_t m = must(&a.client, mk_create(GPU1, MIB, 1))->id;
        Svmd__V1__Op *discard = op_make(SVMD__V1__OP__OP_DISCARD);

        must(&a.client, mk_export(m, "m", 0, 0));
        must(&a.client, mk_keep(range, 0, 0));
        must(&a.client, mk_keep(0, m, 0));
        process_fill(&a.process, at, SIZE, 13);
        assert_int_equal(order(&a.client, mk_migrate(at, SIZE / 2, GPU1)), 0);
        user_close(&a);
        settle();
        set_node(GPU1, SVMD__V1__NODE_ACTION__NODE_LOST);
        settle();
        restart_twice();
        come_back(&a, 100);
        a.client.deaf = true;
        must(&a.client, mk_open("weights", 3));
        user_join(&a, range, true);
        assert_int_equal(process_check(&a.process, at + SIZE / 2, SIZE / 2, 13), 0);
        assert_int_equal(order(&a.client, mk_migrate(at, SIZE / 2, HOST0)), SVMD_STATUS_GONE);
        discard->discard->address = at;
        discard->discard->size = SIZE / 2;
        assert_int_equal(order(&a.client, discard), 0);
        assert_int_equal(process_check(&a.process, at, SIZE / 2, 0), 0);
        must(&a.client, mk_import("m", 3));
        must(&a.client, mk_kept_remove("", MEMORY, "m"));
        must(&a.client, mk_release(m));
        settle();
        assert_int_equal(ledger_bytes(&w, GPU1), 0);
        set_node(GPU1, SVMD__V1__NODE_ACTION__NODE_ONLINE);
}

/* Rights are the name's, and only its user with write access becomes the owner again. */
static void test_rights(void **state) {
        must_not(&b.client, mk_keep(range, 0, 0), SVMD_STATUS_FOREIGN, "another session");
        must(&a.client, mk_keep(range, 0, 0));
        user_close(&a);
        settle();
        must_not(&b.client, mk_open("weights", 1), SVMD_STATUS_DENIED, "uid 100");
        must_not(&b.client, mk_kept_remove("", RANGE, "weights"), SVMD_STATUS_DENIED, "uid 100");
        must_not(&b.client, mk_kept_list("one"), SVMD_STATUS_DENIED, "administrator");
        user_open(&w, &a, 100, "one");
        user_give(&a);
        must(&a.client, mk_open("weights", 1));
        must_not(&a.client, mk_unkeep(range, 0), SVMD_STATUS_DENIED, "uid 100");
        must(&a.client, mk_free(range)); /* a reader only closes it */
        assert_non_null(kept(RANGE, "weights"));
        settle();
        must(&a.client, mk_open("weights", 3));
        must(&a.client, mk_unkeep(range, 0));
        user_close(&a);
        settle();
        user_open(&w, &a, 100, "one");
        must_not(&a.client, mk_open("weights", 3), SVMD_STATUS_NO_SUCH, "weights");
}

/* The same user's second session decides too, while the first one is there. */
static void test_second_session(void **state) {
        struct client x;

        client_open(&w, &x, 100, 100, false);
        client_greet(&x, "one");
        must(&x, mk_open("weights", 3));
        must(&x, mk_keep(range, 0, 9));
        must(&a.client, mk_keep(range, 0, 8));
        assert_int_equal(kept(RANGE, "weights")->seconds, 8);
        user_close(&a);
        settle();
        assert_int_equal(kept(RANGE, "weights")->since_ns, 0);
        assert_null(kept(RANGE, "weights")->of.reservation->owner);
        client_close(&x);
        restart();
        settle();
        user_open(&w, &a, 100, "one");
        must(&a.client, mk_open("weights", 3));
}

/* ---- time ---- */

static void test_expiry(void **state) {
        uint64_t ends;

        must(&a.client, mk_keep(range, 0, 60));
        now_ns += 100 * SECOND; /* in use, no time runs */
        world_settle(&w);
        assert_non_null(kept(RANGE, "weights"));
        user_close(&a);
        ends = now_ns + 60 * SECOND;
        settle();
        assert_int_equal(w.wake_in_ms, 60000);
        assert_int_equal(row_of(&b.client, "weights")->left_ms, 60000);
        now_ns += 59 * SECOND;
        restart();
        assert_int_equal(w.wake_in_ms, 1000);
        assert_int_equal(keeping_ends(kept(RANGE, "weights")), ends);
        /* Opened, its time stands still; then it begins anew. */
        user_open(&w, &a, 100, "one");
        must(&a.client, mk_open("weights", 3));
        now_ns += 600 * SECOND;
        settle();
        assert_non_null(kept(RANGE, "weights"));
        user_close(&a);
        settle();
        now_ns += 60 * SECOND - 1;
        settle();
        assert_non_null(kept(RANGE, "weights"));
        now_ns += 1;
        settle();
        assert_null(kept(RANGE, "weights"));
        restart_twice();
        user_open(&w, &a, 100, "one");
        must_not(&a.client, mk_open("weights", 3), SVMD_STATUS_NO_SUCH, "weights");
        must(&a.client, mk_reserve(SIZE, 0, at, "weights", 0)); /* its addresses are free, and its name */
}

/* Time goes on while no svmd runs. */
static void test_expiry_over_restart(void **state) {
        must(&a.client, mk_keep(range, 0, 60));
        user_close(&a);
        settle();
        now_ns += 61 * SECOND;
        restart();
        assert_null(kept(RANGE, "weights"));
        user_open(&w, &a, 100, "one");
}

static void test_order_of_ends(void **state) {
        static const char *const names[] = { "c", "a", "b" };
        static const uint64_t seconds[] = { 30, 10, 20 };

        for (unsigned i = 0; i < 3; i++) {
                uint64_t id = must(&a.client, mk_range(LARGE, LARGE, names[i], 0))->id;

                must(&a.client, mk_keep(id, 0, seconds[i]));
        }
        must(&a.client, mk_keep(range, 0, 0));
        user_close(&a);
        settle();
        restart();
        for (unsigned i = 0; i < 3; i++) {
                now_ns += 10 * SECOND;
                settle();
                assert_true((i < 1) == (kept(RANGE, "b") != NULL) && (i < 2) == (kept(RANGE, "c") != NULL));
                assert_null(kept(RANGE, "a"));
        }
        assert_non_null(kept(RANGE, "weights"));
        user_open(&w, &a, 100, "one");
}

/* A process that died while no svmd ran is gone for the next one, and what it had is kept from then on. */
static void test_ends_between(void **state) {
        must(&a.client, mk_keep(range, 0, 60));
        settle();
        for (size_t i = 0; i < w.kept_count; i++)
                if (w.kept[i].key == KEEP_KEY(KEEP_SESSION, a.client.id))
                        w.kept[i] = w.kept[--w.kept_count];
        world_bury(world_restart(&w, (struct client *[]){ &a.client, &b.client, &admin }, 3));
        settle();
        assert_int_equal(kept(RANGE, "weights")->since_ns, now_ns);
        user_close(&a);
        user_open(&w, &a, 100, "one");
        must(&a.client, mk_open("weights", 3));
}

/* ---- memory ---- */

static int file_of(struct client *c, uint64_t memory) {
        must(c, mk_mem_fd(memory, 3));
        return fdlist_steal(&c->fds);
}

static void test_memory_outlives(void **state) {
        uint64_t host = must(&a.client, mk_create(HOST0, MIB, 1))->id,
                 gpu = must(&a.client, mk_create(GPU0, MIB, 1))->id;
        static const char text[] = "what was there";
        char found[sizeof(text)] = "";
        int fd;

        must(&a.client, mk_export(host, "host", 0600, 0));
        must(&a.client, mk_export(gpu, "gpu", 0600, 0));
        must(&a.client, mk_keep(0, host, 0));
        must(&a.client, mk_keep(0, gpu, 5));
        fd = file_of(&a.client, host);
        assert_int_equal(pwrite(fd, text, sizeof(text), 4096), sizeof(text));
        close(fd);
        user_close(&a);
        settle();
        assert_int_equal(bytes_on(row_of(&b.client, "host"), HOST0), MIB);
        assert_int_equal(bytes_on(row_of(&b.client, "gpu"), GPU0), MIB);
        assert_int_equal(row_of(&b.client, "gpu")->left_ms, 5000);
        restart_twice();
        assert_int_equal(ledger_bytes(&w, GPU0), MIB);
        user_open(&w, &a, 100, "one");
        assert_int_equal(must(&a.client, mk_import("host", 3))->id, host);
        fd = file_of(&a.client, host);
        assert_int_equal(pread(fd, found, sizeof(found), 4096), sizeof(found));
        assert_memory_equal(found, text, sizeof(text));
        close(fd);
        now_ns += 5 * SECOND;
        settle();
        assert_int_equal(ledger_bytes(&w, GPU0), 0);
        must_not(&a.client, mk_import("gpu", 3), SVMD_STATUS_NO_SUCH, "gpu");
        must(&a.client, mk_unkeep(0, host));
        must(&a.client, mk_release(host));
        settle();
        assert_int_equal(ledger_bytes(&w, HOST0), 0);
}

/* Shown somewhere, it is in use. */
static void test_memory_shown(void **state) {
        uint64_t m = must(&a.client, mk_create(GPU0, MIB, 1))->id, space;

        must(&a.client, mk_export(m, "m", 0666, 0));
        must(&a.client, mk_keep(0, m, 60));
        must(&b.client, mk_import("m", 3));
        space = must(&b.client, mk_space(GPU0))->id;
        must(&b.client, mk_map(space, MIB, MIB, m, 0, 3, 0));
        must(&b.client, mk_release(m));
        user_close(&a);
        settle();
        assert_int_equal(kept(MEMORY, "m")->since_ns, 0);
        restart();
        must(&b.client, mk_unmap(space, MIB, MIB));
        settle();
        assert_int_equal(kept(MEMORY, "m")->since_ns, now_ns);
        /* While nobody has it, it gives way as any memory of a device does. */
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_NODE_SET);
        op->node_set->node = GPU0;
        op->node_set->action = SVMD__V1__NODE_ACTION__NODE_DRAIN;
        assert_int_equal(order(&admin, op), 0);
        assert_int_equal(bytes_on(row_of(&admin, "m"), HOST0), MIB);
        restart();
        user_open(&w, &a, 100, "one");
        must(&a.client, mk_import("m", 3));
}

/* ---- what is refused ---- */

static void test_refusals(void **state) {
        uint64_t plain = must(&a.client, mk_range(LARGE, LARGE, "", 0))->id;
        uint64_t explicit = must(&a.client, mk_reserve(LARGE, 0, 0, "explicit", 0))->id;
        uint64_t m = must(&a.client, mk_create(HOST0, MIB, 1))->id, big;

        must_not(&a.client, mk_keep(0, 0, 0), SVMD_STATUS_INVALID, "one reservation, one memory or one lease");
        must_not(&a.client, mk_keep(range, m, 0), SVMD_STATUS_INVALID, "one reservation, one memory or one lease");
        must_not(&a.client, mk_keep(plain, 0, 0), SVMD_STATUS_INVALID, "no name");
        must_not(&a.client, mk_keep(explicit, 0, 0), SVMD_STATUS_INVALID, "explicit");
        must_not(&a.client, mk_keep(0, m, 0), SVMD_STATUS_INVALID, "export it by name");
        must_not(&a.client, mk_keep(range, 0, 1ull << 32), SVMD_STATUS_INVALID, "2^32-1");
        must_not(&a.client, mk_keep(12345, 0, 0), SVMD_STATUS_NO_SUCH, "12345");
        must_not(&a.client, mk_kept_remove("", RANGE, "weights"), SVMD_STATUS_NO_SUCH, "weights");
        must_not(&a.client, mk_kept_remove("", 0, "weights"), SVMD_STATUS_INVALID, "reservation (1)");
        must_not(&admin, mk_kept_list(""), SVMD_STATUS_NOT_ATTACHED, "partition");
        must(&a.client, mk_export(m, "m", 0666, 0));
        must(&b.client, mk_import("m", 3));
        must_not(&b.client, mk_keep(0, m, 0), SVMD_STATUS_DENIED, "uid 100");
        big = must(&a.client, mk_range(15 * MIB, LARGE, "big", 0))->id;
        must(&a.client, mk_keep(range, 0, 0));
        must_not(&a.client, mk_keep(big, 0, 0), SVMD_STATUS_LIMIT, "may keep 16 MiB and keeps 2 MiB");
        must(&a.client, mk_keep(range, 0, 1)); /* what is kept takes no more */
        must(&admin, mk_kept_max("one", UINT64_MAX));
        must(&a.client, mk_keep(big, 0, 0));
        must(&admin, mk_kept_max("one", 0));
        must(&a.client, mk_keep(big, 0, 7)); /* a lower limit ends nothing */
        must_not(&a.client, mk_keep(0, m, 0), SVMD_STATUS_LIMIT, "may keep 0");
        restart_twice();
        must_not(&a.client, mk_keep(0, m, 0), SVMD_STATUS_LIMIT, "--kept-max");
}

static void test_most_objects(void **state) {
        must(&admin, mk_kept_max("one", UINT64_MAX));
        for (unsigned i = 0; i <= SVMD_KEPT_MAX; i++) {
                uint64_t m = must(&a.client, mk_create(GPU0, 4096, 1))->id;
                char name[16];

                snprintf(name, sizeof(name), "m%04u", i);
                must(&a.client, mk_export(m, name, 0, 0));
                if (i < SVMD_KEPT_MAX)
                        must(&a.client, mk_keep(0, m, 0));
                else
                        must_not(&a.client, mk_keep(0, m, 0), SVMD_STATUS_QUOTA, "1024");
                ops_reset();
        }
        user_close(&a);
        settle();
        assert_int_equal(ledger_bytes(&w, GPU0), SVMD_KEPT_MAX * 4096);
        /* In pages, each once, in order. */
        Svmd__V1__Op *op = mk_kept_list("one");
        char last[64] = "";
        unsigned rows = 0;
        bool more = true;

        while (more) {
                Svmd__V1__Result *r = must(&admin, op);

                for (size_t i = 0; i < r->kept->n_kept; i++, rows++) {
                        assert_true(strcmp(last, r->kept->kept[i]->name) < 0);
                        snprintf(last, sizeof(last), "%s", r->kept->kept[i]->name);
                }
                more = r->more;
                op->kept_list->after = last;
                op->kept_list->after_kind = MEMORY;
        }
        assert_int_equal(rows, SVMD_KEPT_MAX);
        restart();
        user_open(&w, &a, 100, "one");
}

/* ---- removing ---- */

static void test_remove(void **state) {
        uint64_t m = must(&a.client, mk_create(HOST0, MIB, 1))->id;

        must(&a.client, mk_export(m, "weights", 0666, 0)); /* two kinds of names */
        must(&a.client, mk_keep(range, 0, 0));
        must(&a.client, mk_keep(0, m, 0));
        /* In use, it only stops being kept. */
        must(&admin, mk_kept_remove("one", RANGE, "weights"));
        assert_null(kept(RANGE, "weights"));
        must_not(&admin, mk_kept_remove("one", RANGE, "weights"), SVMD_STATUS_NO_SUCH, "weights");
        restart();
        process_fill(&a.process, at, SIZE, 3);
        assert_int_equal(process_check(&a.process, at, SIZE, 3), 0);
        user_close(&a);
        settle();
        must_not(&b.client, mk_open("weights", 1), SVMD_STATUS_NO_SUCH, "weights");
        assert_int_equal(ledger_bytes(&w, HOST0), MIB);
        user_open(&w, &a, 100, "one");
        must(&a.client, mk_kept_remove("", MEMORY, "weights"));
        settle();
        assert_int_equal(ledger_bytes(&w, HOST0), 0);
        restart_twice();
}

/* ---- taken back, together with others, in one request ---- */

static void same_after(const char *before) {
        char *after;

        world_settle(&w);
        after = digest(&w, true);
        assert_string_equal(before, after);
        free(after);
        check_world(&w);
}

static void together(struct client *c, Svmd__V1__Op *one, Svmd__V1__Op *two) {
        Svmd__V1__Op *undone[] = { one, two, mk_free(UINT64_MAX) };
        char *before;

        world_settle(&w);
        before = digest(&w, true);
        client_send(c, SVMD__V1__MODE__ALL_OR_NOTHING, undone, 3, NULL, 0);
        assert_int_equal(c->reply->results[2]->code, SVMD_STATUS_NO_SUCH);
        same_after(before);
        client_send(c, SVMD__V1__MODE__DRY_RUN, undone, 2, NULL, 0);
        assert_int_equal(c->reply->results[0]->code, 0);
        assert_int_equal(c->reply->results[1]->code, 0);
        same_after(before);
        client_send(c, SVMD__V1__MODE__ALL_OR_NOTHING, undone, 2, NULL, 0);
        assert_int_equal(c->reply->results[0]->code, 0);
        assert_int_equal(c->reply->results[1]->code, 0);
        free(before);
        settle();
        restart_twice();
}

static void test_together(void **state) {
        uint64_t m = must(&a.client, mk_create(HOST0, MIB, 1))->id;

        must(&a.client, mk_export(m, "m", 0, 0));
        together(&a.client, mk_keep(range, 0, 0), mk_keep(range, 0, 5));
        assert_int_equal(kept(RANGE, "weights")->seconds, 5);
        together(&a.client, mk_unkeep(range, 0), mk_keep(range, 0, 6));
        assert_int_equal(kept(RANGE, "weights")->seconds, 6);
        together(&a.client, mk_keep(range, 0, 7), mk_kept_remove("", RANGE, "weights"));
        assert_null(kept(RANGE, "weights"));
        together(&a.client, mk_keep(0, m, 0), mk_release(m));
        assert_int_equal(kept(MEMORY, "m")->since_ns, now_ns);
        together(&a.client, mk_import("m", 3), mk_keep(0, m, 9));
        assert_int_equal(kept(MEMORY, "m")->since_ns, 0);
        together(&a.client, mk_release(m), mk_kept_remove("", MEMORY, "m"));
        assert_null(kept(MEMORY, "m"));
        assert_int_equal(ledger_bytes(&w, HOST0), 0);
        together(&a.client, mk_keep(range, 0, 0), mk_unkeep(range, 0));
        must(&a.client, mk_keep(range, 0, 50));
        user_close(&a);
        settle();
        user_open(&w, &a, 100, "one");
        client_send(&a.client, SVMD__V1__MODE__ALL_OR_NOTHING,
                    (Svmd__V1__Op *[]){ mk_kept_remove("", RANGE, "weights"), mk_open("weights", 3) }, 2, NULL, 0);
        assert_int_equal(a.client.reply->results[1]->code, SVMD_STATUS_NO_SUCH);
        together(&a.client, mk_open("weights", 3), mk_keep(range, 0, 11));
        assert_int_equal(kept(RANGE, "weights")->seconds, 11);
        together(&a.client, mk_kept_remove("", RANGE, "weights"), mk_free(range));
        must(&b.client, mk_reserve(SIZE, 0, at, "", 0));
        /* What ends in the same request is not kept any more, nor removed once more. */
        range = must(&a.client, mk_range(SIZE, LARGE, "weights", 0))->id;
        must(&a.client, mk_keep(range, 0, 0));
        client_send(&a.client, SVMD__V1__MODE__ALL_OR_NOTHING,
                    (Svmd__V1__Op *[]){ mk_free(range), mk_kept_remove("", RANGE, "weights") }, 2, NULL, 0);
        assert_int_equal(a.client.reply->results[1]->code, SVMD_STATUS_NO_SUCH);
        client_send(&a.client, SVMD__V1__MODE__ALL_OR_NOTHING,
                    (Svmd__V1__Op *[]){ mk_kept_remove("", RANGE, "weights"), mk_keep(range, 0, 0) }, 2, NULL, 0);
        assert_int_equal(a.client.reply->results[1]->code, SVMD_STATUS_BUSY);
        client_send(&a.client, SVMD__V1__MODE__ALL_OR_NOTHING,
                    (Svmd__V1__Op *[]){ mk_keep(range, 0, 3), mk_free(range) }, 2, NULL, 0);
        assert_int_equal(a.client.reply->results[1]->code, 0);
        settle();
        assert_null(kept(RANGE, "weights"));
}

/* ---- partitions ---- */

static void test_delete(void **state) {
        Svmd__V1__Op *op = mk_delete("one", true);
        uint64_t m;

        must(&a.client, mk_keep(range, 0, 0));
        m = must(&a.client, mk_create(GPU0, MIB, 1))->id;
        must(&a.client, mk_export(m, "m", 0, 0));
        must(&a.client, mk_keep(0, m, 0));
        must_not(&admin, op, SVMD_STATUS_BUSY, "keeps 2 objects");
        user_close(&a);
        must_not(&admin, op, SVMD_STATUS_BUSY, "--drop-kept");
        op->partition_delete->drop_kept = true;
        must(&admin, op);
        settle();
        assert_null(partition_find(&w.svc->state, "one"));
        for (unsigned i = 0; i < NODES; i++)
                assert_int_equal(ledger_bytes(&w, i), 0);
        must(&admin, mk_range_partition("one", 4ull << 30, 100, 0666));
        restart();
        user_open(&w, &a, 100, "one");
        user_close(&b);
        user_open(&w, &b, 101, "one");
}

/* Of a new partition: what svmd's configuration says, unless it is said. */
static void test_default_limit(void **state) {
        Svmd__V1__Op *op = mk_partition("two", 4ull << 30, "new", 100, 0600);

        must(&admin, op);
        assert_int_equal(partition_find(&w.svc->state, "two")->kept_max, 0);
        w.svc->options.kept_max = MIB;
        op = mk_partition("three", 4ull << 30, "new", 100, 0600);
        must(&admin, op);
        assert_int_equal(partition_find(&w.svc->state, "three")->kept_max, MIB);
        op = mk_partition("four", 4ull << 30, "new", 100, 0600);
        op->partition_create->set_kept = true;
        op->partition_create->kept_max = 3 * MIB;
        must(&admin, op);
        restart();
        assert_int_equal(partition_find(&w.svc->state, "three")->kept_max, MIB);
        assert_int_equal(partition_find(&w.svc->state, "four")->kept_max, 3 * MIB);
        must(&a.client, mk_keep(range, 0, 0));
        op = op_make(SVMD__V1__OP__OP_PARTITION_LIST);
        op->partition_list->name = (char *)"one";
        assert_int_equal(must(&admin, op)->partitions->partitions[0]->kept, SIZE);
        assert_int_equal(must(&admin, op)->partitions->partitions[0]->kept_max, 16 * MIB);
}

/* ---- what is said ---- */

static bool explained(struct client *c, const char *text) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_EXPLAIN);
        Svmd__V1__Result *r;

        op->explain->address = at;
        r = must(c, op);
        for (size_t i = 0; i < r->explain->n_sentences; i++)
                if (strstr(r->explain->sentences[i], text))
                        return true;
        return false;
}

static void test_said(void **state) {
        Svmd__V1__Op *list = op_make(SVMD__V1__OP__OP_RESERVATION_LIST);
        const Svmd__V1__Reservation *row;

        must(&a.client, mk_keep(range, 0, 90));
        assert_true(explained(&b.client, "It is kept when its last session leaves, for 90 s."));
        assert_true(must(&b.client, list)->reservations->reservations[0]->kept);
        user_close(&a);
        settle();
        now_ns += 30 * SECOND;
        assert_true(explained(&b.client, "It has had no session for 30 s; it is kept and ends in 61 s."));
        row = must(&b.client, list)->reservations->reservations[0];
        assert_int_equal(row->session, 0);
        assert_int_equal(row->openers, 0);
        assert_int_equal(row->left_ms, 60000);
        user_open(&w, &a, 100, "one");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_range_outlives),
                TEST(test_moves_without_sessions),
                TEST(test_node_lost),
                TEST(test_rights),
                TEST(test_second_session),
                TEST(test_expiry),
                TEST(test_expiry_over_restart),
                TEST(test_order_of_ends),
                TEST(test_ends_between),
                TEST(test_memory_outlives),
                TEST(test_memory_shown),
                TEST(test_refusals),
                TEST(test_most_objects),
                TEST(test_remove),
                TEST(test_together),
                TEST(test_delete),
                TEST(test_default_limit),
                TEST(test_said),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
