#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_svmd.h"
#include "harness.h"
#include "svmd.h"

enum { PAGES = 16, SIZE = PAGES * 4096 };

static const uint64_t page = SVMD_PAGE;

/* ---- plain use ---- */

static void memory_shows_where_it_is_mapped(void **state) {
        struct world *w = *state;
        struct svmd_session_info info = { .size = sizeof(info) };
        svmd_mem mem;
        void *at;
        char byte;

        assert_int_equal(svmd_session_info(w->s, &info), 0);
        assert_int_equal(svmd_address_reserve(w->s, &at, SIZE, 0, NULL, NULL), 0);
        assert_true((uintptr_t)at >= info.base && (uintptr_t)at + SIZE <= info.base + info.length);
        assert_int_equal(can_read(at), 0);
        assert_int_equal(svmd_mem_create(w->s, &mem, SIZE, 0, 0), 0);
        assert_int_equal(svmd_mem_map(w->s, SVMD_CPU, addr(at), SIZE, 0, mem, SVMD_ACCESS_READ_WRITE, 0), 0);
        memset(at, 'x', SIZE);
        assert_int_equal(pread(fake_file(w->fake, mem), &byte, 1, SVMD_PAGE + SIZE - 1), 1);
        assert_int_equal(byte, 'x');
        assert_int_equal(svmd_mem_unmap(w->s, SVMD_CPU, addr(at) + page, page), 0);
        assert_int_equal(can_read(at), 1);
        assert_int_equal(can_read((char *)at + page), 0);
        assert_int_equal(can_read((char *)at + 2 * page), 1);
        assert_int_equal(*((char *)at + 2 * page), 'x');
        assert_int_equal(svmd_address_free(w->s, at), 0);
        assert_int_equal(can_read(at), 0);
        assert_int_equal(fake_mappings(w->fake), 0);
}

static void access_is_what_was_set_last(void **state) {
        struct world *w = *state;
        char *at = reserve(w->s, SIZE);
        svmd_mem mem = create(w->s, SIZE);

        assert_int_equal(svmd_mem_map(w->s, SVMD_CPU, addr(at), SIZE, 0, mem, SVMD_ACCESS_NONE, 0), 0);
        assert_int_equal(can_read(at), 0);
        assert_int_equal(svmd_mem_set_access(w->s, SVMD_CPU, addr(at) + page, 2 * page, SVMD_ACCESS_READ), 0);
        assert_int_equal(can_read(at), 0);
        assert_int_equal(can_read(at + page), 1);
        assert_int_equal(can_write(at + page), 0);
        assert_int_equal(can_read(at + 3 * page), 0);
        /* The file was opened for reading: mprotect() is no way around. */
        assert_int_equal(mprotect(at + page, page, PROT_READ | PROT_WRITE), -1);
        assert_int_equal(svmd_mem_set_access(w->s, SVMD_CPU, addr(at), SIZE, SVMD_ACCESS_READ_WRITE), 0);
        for (unsigned i = 0; i < PAGES; i++)
                at[i * page] = (char)('a' + i);
        assert_int_equal(svmd_mem_set_access(w->s, SVMD_CPU, addr(at) + 5 * page, page, SVMD_ACCESS_NONE), 0);
        assert_int_equal(can_read(at + 5 * page), 0);
        assert_int_equal(at[6 * page], 'g');
        assert_int_equal(svmd_mem_set_access(w->s, SVMD_CPU, addr(at) + 5 * page, page, SVMD_ACCESS_READ), 0);
        assert_int_equal(at[5 * page], 'f');
}

static void an_overlap_is_refused_unless_it_replaces(void **state) {
        struct world *w = *state;
        char *at = reserve(w->s, SIZE);
        svmd_mem a = create(w->s, SIZE), b = create(w->s, SIZE);

        assert_int_equal(svmd_mem_map(w->s, SVMD_CPU, addr(at), SIZE, 0, a, SVMD_ACCESS_READ_WRITE, 0), 0);
        strcpy(at + 4 * page, "first");
        assert_int_equal(svmd_mem_map(w->s, SVMD_CPU, addr(at) + 4 * page, page, 0, b, SVMD_ACCESS_READ_WRITE, 0),
                         SVMD_E_TAKEN);
        assert_string_equal(svmd_error(), "something is mapped there already");
        assert_string_equal(at + 4 * page, "first");
        assert_int_equal(
                svmd_mem_map(w->s, SVMD_CPU, addr(at) + 4 * page, page, 0, b, SVMD_ACCESS_READ_WRITE, SVMD_MAP_REPLACE),
                0);
        assert_string_equal(at + 4 * page, "");
        strcpy(at + 4 * page, "second");
        assert_int_equal(svmd_mem_map(w->s, SVMD_CPU, addr(at) + 4 * page, page, 4 * page, a, SVMD_ACCESS_READ_WRITE,
                                      SVMD_MAP_REPLACE),
                         0);
        assert_string_equal(at + 4 * page, "first");
}

/* ---- refusals ---- */

static bool refuse_changes(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data) {
        Svmd__V1__Op__OpCase op = q->ops[0]->op_case;

        if (!atomic_load(&((struct world *)data)->refuse))
                return false;
        if (op != SVMD__V1__OP__OP_UNMAP && op != SVMD__V1__OP__OP_FREE && op != SVMD__V1__OP__OP_MAP &&
            op != SVMD__V1__OP__OP_SPARSE_UNMAP)
                return false;
        fake_refuse(conn, q, 18, "it is in use");
        return true;
}

static void a_refusal_leaves_everything_as_it_was(void **state) {
        struct world *w = world_with(state, refuse_changes);
        char *at = reserve(w->s, SIZE);
        svmd_mem mem = create(w->s, SIZE);

        assert_int_equal(svmd_sparse_map(w->s, SVMD_CPU, addr(at), SIZE, SVMD_SPARSE_REFUSE), 0);
        assert_int_equal(svmd_mem_map(w->s, SVMD_CPU, addr(at), 4 * page, 0, mem, SVMD_ACCESS_READ_WRITE, 0), 0);
        strcpy(at, "kept");
        atomic_store(&w->refuse, true);
        assert_int_equal(svmd_mem_unmap(w->s, SVMD_CPU, addr(at), 2 * page), SVMD_E_BUSY);
        assert_int_equal(svmd_address_free(w->s, at), SVMD_E_BUSY);
        assert_int_equal(svmd_sparse_unmap(w->s, SVMD_CPU, addr(at), SIZE), SVMD_E_BUSY);
        assert_int_equal(svmd_mem_map(w->s, SVMD_CPU, addr(at), page, 0, mem, SVMD_ACCESS_READ, SVMD_MAP_REPLACE),
                         SVMD_E_BUSY);
        assert_string_equal(svmd_error(), "it is in use");
        assert_string_equal(at, "kept");
        strcpy(at, "still");
        assert_int_equal(at[8 * page], 0);
        assert_int_equal(can_write(at + 8 * page), 0);
        atomic_store(&w->refuse, false);
}

static void a_range_that_is_not_ours_is_not_touched(void **state) {
        struct world *w = *state;
        char *own = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        strcpy(own, "mine");
        svmd_mem_unmap(w->s, SVMD_CPU, addr(own), SIZE);
        svmd_mem_unmap(w->s, SVMD_CPU, 0, SIZE_MAX);
        svmd_mem_unmap(w->s, SVMD_CPU, 4096, SIZE_MAX);
        svmd_mem_set_access(w->s, SVMD_CPU, addr(own), SIZE, SVMD_ACCESS_NONE);
        assert_int_equal(svmd_address_free(w->s, own), SVMD_E_NO_SUCH);
        assert_non_null(strstr(svmd_error(), "start of a reservation"));
        assert_string_equal(own, "mine");
        munmap(own, SIZE);
}

/* ---- sparse ---- */

static void sparse_parts_read_zero(void **state) {
        struct world *w = *state;
        char *at = reserve(w->s, SIZE);
        svmd_mem mem = create(w->s, SIZE);

        assert_int_equal(svmd_mem_map(w->s, SVMD_CPU, addr(at), page, 0, mem, SVMD_ACCESS_READ_WRITE, 0), 0);
        strcpy(at, "data");
        assert_int_equal(svmd_sparse_map(w->s, SVMD_CPU, addr(at), SIZE, SVMD_SPARSE_REFUSE), 0);
        assert_string_equal(at, "data");
        assert_int_equal(at[3 * page], 0);
        assert_int_equal(can_write(at + 3 * page), 0);
        assert_int_equal(svmd_mem_map(w->s, SVMD_CPU, addr(at) + 3 * page, page, 0, mem, SVMD_ACCESS_READ, 0), 0);
        assert_string_equal(at + 3 * page, "data");
        assert_int_equal(svmd_mem_unmap(w->s, SVMD_CPU, addr(at) + 3 * page, page), 0);
        assert_int_equal(at[3 * page], 0);
        assert_int_equal(svmd_sparse_unmap(w->s, SVMD_CPU, addr(at), SIZE / 2), 0);
        assert_string_equal(at, "data");
        assert_int_equal(can_read(at + 3 * page), 0);
        assert_int_equal(can_read(at + SIZE / 2), 1);
}

/* ---- files ---- */

static void files_of_memory_are_bounded(void **state) {
        struct world *w = *state;
        char *at = reserve(w->s, 200 * page);
        unsigned before = open_descriptors();
        svmd_mem mem[100];
        svmd_batch *b;

        assert_int_equal(svmd_batch_new(w->s, &b), 0);
        for (unsigned i = 0; i < 100; i++)
                mem[i] = create(w->s, page);
        for (unsigned i = 0; i < 100; i++)
                assert_int_equal(
                        svmd_batch_map(b, SVMD_CPU, addr(at) + i * page, page, 0, mem[i], SVMD_ACCESS_READ_WRITE, 0),
                        i);
        assert_int_equal(svmd_batch_submit(b, SVMD_ALL_OR_NOTHING, NULL), 0);
        for (unsigned i = 0; i < 100; i++)
                at[i * page] = (char)i;
        for (unsigned i = 0; i < 100; i++) {
                char byte;

                assert_int_equal(pread(fake_file(w->fake, mem[i]), &byte, 1, SVMD_PAGE), 1);
                assert_int_equal(byte, (char)i);
        }
        assert_true(wait_descriptors(before + 100 /* the fake's own */ + 64));
        for (unsigned i = 0; i < 100; i++)
                assert_int_equal(svmd_mem_release(w->s, mem[i]), 0);
        assert_true(wait_descriptors(before));
        svmd_batch_free(b);
}

/* A file that cannot be mapped, as if the kernel were out of mappings. */
static bool send_a_pipe(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data) {
        struct world *w = data;

        if (!atomic_load(&w->refuse) || q->ops[0]->op_case != SVMD__V1__OP__OP_MEM_FD)
                return false;
        fake_refuse(conn, q, 4, "not this time");
        return true;
}

static void what_cannot_be_shown_is_taken_back(void **state) {
        struct world *w = world_with(state, send_a_pipe);
        char *at = reserve(w->s, SIZE);
        svmd_mem mem = create(w->s, SIZE);

        atomic_store(&w->refuse, true);
        assert_int_equal(svmd_mem_map(w->s, SVMD_CPU, addr(at), SIZE, 0, mem, SVMD_ACCESS_READ, 0), SVMD_E_SHAPE);
        assert_string_equal(svmd_error(), "not this time");
        assert_int_equal(fake_mappings(w->fake), 0);
        assert_int_equal(can_read(at), 0);
        atomic_store(&w->refuse, false);
        assert_int_equal(svmd_mem_map(w->s, SVMD_CPU, addr(at), SIZE, 0, mem, SVMD_ACCESS_READ, 0), 0);
        assert_int_equal(can_read(at), 1);
}

/* ---- named reservations ---- */

struct seen {
        unsigned type[64];
        void *address[64];
        unsigned count;
};

static void see(svmd_session *s, const struct svmd_event *e, void *userdata) {
        struct seen *seen = userdata;

        assert_non_null(e->text);
        seen->type[seen->count] = e->type;
        seen->address[seen->count++] = e->address;
}

static void dispatch_until(svmd_session *s, const struct seen *seen, unsigned count) {
        while (seen->count < count) {
                struct pollfd p = { .fd = svmd_event_fd(s), .events = POLLIN };

                assert_int_equal(poll(&p, 1, 30000), 1);
                assert_int_equal(svmd_dispatch(s), 0);
        }
}

static char *reserve_named(svmd_session *s, const char *name) {
        const struct svmd_reserve_options opts = { .size = sizeof(opts), .name = name };
        void *at;

        assert_int_equal(svmd_address_reserve(s, &at, 64 * page, 0, NULL, &opts), 0);
        return at;
}

/* What others change is followed: a child process is the owner's peer, so that two views of one address are not in
 * the same process. */
static void an_open_reservation_follows_its_owner(void **state) {
        struct world *w = *state;
        struct seen seen = { .count = 0 };
        svmd_mem mem[3];
        uint64_t id;
        size_t size;
        void *at;

        at = reserve_named(w->s, "shared"); /* in the fake, named reservations stay when they are closed */
        for (unsigned i = 0; i < 3; i++) {
                mem[i] = create(w->s, 20 * page);
                assert_int_equal(pwrite(fake_file(w->fake, mem[i]), &(char){ (char)('A' + i) }, 1, SVMD_PAGE), 1);
        }
        assert_int_equal(svmd_address_free(w->s, at), 0);
        for (unsigned i = 0; i < 20; i++) /* more than a page of the layout */
                fake_show(w->fake, addr(at) + i * page, page, mem[0], SVMD_ACCESS_READ_WRITE);
        assert_int_equal(svmd_address_open(w->s, &at, &size, "shared", SVMD_ACCESS_READ), 0);
        assert_int_equal(size, 64 * page);
        for (unsigned i = 0; i < 20; i++)
                assert_int_equal(((char *)at)[i * page], 'A');
        assert_int_equal(can_write(at), 0);
        assert_int_equal(can_read((char *)at + 20 * page), 0);
        assert_int_equal(svmd_set_event_handler(w->s, see, &seen), 0);
        id = fake_reservation_id(w->fake, addr(at));
        fake_show(w->fake, addr(at), 2 * page, mem[1], SVMD_ACCESS_READ);
        fake_show(w->fake, addr(at) + 10 * page, page, 0, 0);
        fake_show(w->fake, addr(at) + 30 * page, page, mem[2], SVMD_ACCESS_READ);
        fake_reservation_event(fake_last_connection(w->fake), id, 5, false);
        dispatch_until(w->s, &seen, 1);
        assert_int_equal(seen.type[0], SVMD_EVENT_RESERVATION);
        assert_ptr_equal(seen.address[0], at);
        assert_int_equal(((char *)at)[0], 'B');
        assert_int_equal(((char *)at)[3 * page], 'A');
        assert_int_equal(can_read((char *)at + 10 * page), 0);
        assert_int_equal(((char *)at)[30 * page], 'C');
        fake_reservation_event(fake_last_connection(w->fake), id, 5, false); /* nothing new */
        fake_reservation_event(fake_last_connection(w->fake), id, 6, true);
        dispatch_until(w->s, &seen, 2);
        assert_int_equal(seen.type[1], SVMD_EVENT_GONE);
        assert_int_equal(can_read(at), 0);
        assert_int_equal(svmd_address_free(w->s, at), SVMD_E_NO_SUCH);
}

static void one_process_may_have_it_twice(void **state) {
        struct world *w = *state;
        svmd_session *other = connect_to(w->fake);
        char *at = reserve_named(w->s, "twice");
        svmd_mem mem = create(w->s, SIZE);
        void *opened;

        assert_int_equal(svmd_mem_map(w->s, SVMD_CPU, addr(at), SIZE, 0, mem, SVMD_ACCESS_READ_WRITE, 0), 0);
        strcpy(at, "one");
        assert_int_equal(svmd_address_open(other, &opened, NULL, "twice", SVMD_ACCESS_READ), 0);
        assert_ptr_equal(opened, at);
        strcpy(at, "two"); /* the owner still writes */
        assert_int_equal(svmd_address_free(other, opened), 0);
        strcpy(at, "three");
        assert_int_equal(svmd_address_open(other, &opened, NULL, "twice", SVMD_ACCESS_READ), 0);
        svmd_disconnect(w->s);
        w->s = NULL;
        assert_string_equal(opened, "three"); /* and no moment without it */
        assert_int_equal(svmd_dispatch(other), 0);
        assert_string_equal(opened, "three");
        assert_int_equal(can_write(opened), 0); /* now by its own right */
        svmd_disconnect(other);
}

/* ---- the slice ---- */

/* How many mappings of nothing this process has in [base, base + length); `hidden`: those that no core gets. */
static unsigned holes(uint64_t base, uint64_t length, unsigned *hidden) {
        char line[512], rights[8];
        uint64_t start = 0, end;
        unsigned n = 0;
        bool hole = false;
        FILE *f = fopen("/proc/self/smaps", "re");

        assert_non_null(f);
        for (*hidden = 0; fgets(line, sizeof(line), f);) {
                if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s", &start, &end, rights) == 3)
                        n += hole = start >= base && end <= base + length && strncmp(rights, "---", 3) == 0;
                else if (hole && strncmp(line, "VmFlags:", 8) == 0)
                        *hidden += strstr(line, " dd") && strstr(line, " dc");
        }
        fclose(f);
        return n;
}

static uint64_t slice_base(svmd_session *s) {
        struct svmd_session_info info = { .size = sizeof(info) };

        assert_int_equal(svmd_session_info(s, &info), 0);
        return info.base;
}

static int try_connect(struct fake *f, svmd_session **ret) {
        const struct svmd_connect_options opts = { .size = sizeof(opts), .socket = fake_path(f) };

        return svmd_connect(ret, &opts);
}

static void a_collision_says_what_lies_there(void **state) {
        struct world *w = *state;
        uint64_t base = slice_base(w->s);
        svmd_session *s = NULL;
        char text[32];
        long p;
        int fd;

        svmd_disconnect(w->s);
        w->s = NULL;
        fd = open("/proc/self/exe", O_RDONLY);
        p = syscall(SYS_mmap, base + (1 << 20), 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, 0);
        assert_int_equal(p, base + (1 << 20));
        close(fd);
        assert_int_equal(try_connect(w->fake, &s), SVMD_E_COLLISION);
        snprintf(text, sizeof(text), "%#lx-%#lx", (unsigned long)p, (unsigned long)p + 4096);
        assert_non_null(strstr(svmd_error(), text));
        assert_non_null(strstr(svmd_error(), "libclient_va")); /* the file */
        assert_non_null(strstr(svmd_error(), "svmd-ctl partition create NAME --window "));
        assert_null(s);
        syscall(SYS_munmap, p, 4096);
        assert_int_equal(try_connect(w->fake, &w->s), 0);
}

/* A sanitizer's shadow is larger than any limit, so this one is for plain builds. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define HAVE_LIMIT 1
static void a_limit_of_addresses_is_named(void **state) {
        struct world *w = *state;
        struct rlimit old, low;
        svmd_session *s = NULL;
        int r;

        svmd_disconnect(w->s);
        w->s = NULL;
        assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
        low = old;
        low.rlim_cur = 1ull << 31;
        assert_int_equal(setrlimit(RLIMIT_AS, &low), 0);
        r = try_connect(w->fake, &s);
        assert_int_equal(setrlimit(RLIMIT_AS, &old), 0);
        assert_int_equal(r, SVMD_E_SYSTEM);
        assert_non_null(strstr(svmd_error(), "ulimit -v"));
}
#endif

static void the_last_session_gives_the_slice_back(void **state) {
        struct world *w = *state;
        svmd_session *other = connect_to(w->fake);
        uint64_t base = slice_base(w->s);
        long p;

        svmd_disconnect(w->s);
        w->s = NULL;
        p = syscall(SYS_mmap, base, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        assert_true(p == -1 && errno == EEXIST);
        svmd_disconnect(other);
        p = syscall(SYS_mmap, base, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        assert_int_equal(p, base);
        syscall(SYS_munmap, p, 4096);
}

/* ---- against a model ---- */

/* Random maps, unmaps, accesses and replacements; after each, every page of the kernel's view is compared. */
static void random_changes_match_a_model(void **state) {
        struct world *w = *state;
        char *at = reserve(w->s, SIZE);
        svmd_mem mem[4];
        unsigned shown[PAGES] = { 0 }, access[PAGES] = { 0 }; /* 0: nothing; else 1 + memory * PAGES + page of it */

        for (unsigned m = 0; m < 4; m++) {
                mem[m] = create(w->s, SIZE);
                for (unsigned i = 0; i < PAGES; i++)
                        assert_int_equal(pwrite(fake_file(w->fake, mem[m]), &(char){ (char)(1 + m * PAGES + i) }, 1,
                                                (off_t)(SVMD_PAGE + i * page)),
                                         1);
        }
        for (unsigned round = 0; round < 600; round++) {
                unsigned first = (unsigned)rnd(PAGES), count = 1 + (unsigned)rnd(PAGES - first), m = (unsigned)rnd(4);
                unsigned offset = (unsigned)rnd(PAGES - count + 1), a = (unsigned[]){ 0, 1, 3 }[rnd(3)];
                unsigned what = (unsigned)rnd(3);
                uint64_t where = addr(at) + first * page;

                if (what == 0)
                        assert_int_equal(svmd_mem_unmap(w->s, SVMD_CPU, where, count * page), 0);
                if (what == 1)
                        assert_int_equal(svmd_mem_map(w->s, SVMD_CPU, where, count * page, offset * page, mem[m], a,
                                                      SVMD_MAP_REPLACE),
                                         0);
                if (what == 2)
                        assert_int_equal(svmd_mem_set_access(w->s, SVMD_CPU, where, count * page, a), 0);
                for (unsigned i = 0; i < count; i++) {
                        if (what == 0)
                                shown[first + i] = 0;
                        if (what == 1)
                                shown[first + i] = 1 + m * PAGES + offset + i;
                        access[first + i] = what == 0 ? 0 : what == 1 || shown[first + i] ? a : 0;
                }
                for (unsigned i = 0; i < PAGES; i++) {
                        assert_int_equal(can_read(at + i * page), access[i] != 0);
                        if (access[i])
                                assert_int_equal(at[i * page], (char)shown[i]);
                        if (access[i])
                                assert_int_equal(can_write(at + i * page), access[i] == 3);
                }
        }
}

/* A core of a process with a slice would have all of it otherwise: gdb writes what it can read of a mapping. */
static void what_shows_nothing_is_in_no_core(void **state) {
        struct world *w = *state;
        struct svmd_session_info info = { .size = sizeof(info) };
        svmd_mem mem = create(w->s, SIZE);
        void *at;
        unsigned n, hidden;

        assert_int_equal(svmd_session_info(w->s, &info), 0);
        assert_int_equal(holes(info.base, info.length, &hidden), 1);
        assert_int_equal(hidden, 1);
        assert_int_equal(svmd_address_reserve(w->s, &at, SIZE, 0, NULL, NULL), 0);
        assert_int_equal(svmd_mem_map(w->s, SVMD_CPU, addr(at), SIZE, 0, mem, SVMD_ACCESS_READ_WRITE, 0), 0);
        n = holes(info.base, info.length, &hidden);
        assert_true(n > 0 && hidden == n);
        assert_int_equal(svmd_mem_unmap(w->s, SVMD_CPU, addr(at), SIZE), 0);
        assert_int_equal(holes(info.base, info.length, &hidden), 1);
        assert_int_equal(hidden, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(memory_shows_where_it_is_mapped),
                world_test(access_is_what_was_set_last),
                world_test(an_overlap_is_refused_unless_it_replaces),
                world_test(a_refusal_leaves_everything_as_it_was),
                world_test(a_range_that_is_not_ours_is_not_touched),
                world_test(sparse_parts_read_zero),
                world_test(files_of_memory_are_bounded),
                world_test(what_cannot_be_shown_is_taken_back),
                world_test(an_open_reservation_follows_its_owner),
                world_test(one_process_may_have_it_twice),
                world_test(a_collision_says_what_lies_there),
#if HAVE_LIMIT
                world_test(a_limit_of_addresses_is_named),
#endif
                world_test(the_last_session_gives_the_slice_back),
                world_test(what_shows_nothing_is_in_no_core),
                world_test(random_changes_match_a_model),
        };

        seed_random();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
