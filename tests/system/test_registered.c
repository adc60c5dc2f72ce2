/*
 * Memory that a process has itself, registered for a device: the device reads and writes it where it is. However the
 * process gives it back while the device is at work, when that call returns no byte of the device comes to what is
 * there then, and operations are refused.
 *
 *      system_registered [ROUNDS]     SVMD_SEED reproduces the choices
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"
#include "registered_pump.h"

enum { ROUNDS = 6, PAGE = 4096 };

static struct daemon d;
static svmd_session *s, *watcher;
static svmd_node gpu;
static atomic_ullong event_generation, event_memory;

static void on_event(svmd_session *session, const struct svmd_event *e, void *userdata) {
        if (e->type != SVMD_EVENT_REGISTERED)
                return;
        must(e->text[0] && e->length == PUMP_SIZE);
        atomic_store(&event_generation, e->generation);
        atomic_store(&event_memory, e->memory);
}

static void await_event(const struct pump_region *r) {
        uint64_t until = now_ms() + CEILING_MS;

        while (atomic_load(&event_memory) != r->mem) {
                must(now_ms() < until);
                ok(svmd_dispatch(s));
                usleep(100);
        }
        must(atomic_load(&event_generation) > r->generation);
}

static char *map_at(char *at, size_t size, int flags) {
        char *p = mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

        must(p != MAP_FAILED && (!at || p == at));
        return p;
}

static void all_are(const char *at, size_t size, char value) {
        for (size_t i = 0; i < size; i++)
                if (at[i] != value) {
                        fprintf(stderr, "byte %zu of %zu is %02x, not %02x\n", i, size, (uint8_t)at[i], (uint8_t)value);
                        fail_here("a device wrote into what came after");
                }
}

/* ---- the ways ---- */

/* What a way leaves: a piece of addresses that is the process's anew, and was stamped. */
struct after {
        char *at;
        size_t size;
        char *also; /* what else is to be unmapped in the end */
        size_t also_size;
};
enum { STAMP = 0x2a };

/* Something new comes there at once. */
static void fill_again(struct after *a, char *at, size_t size) {
        map_at(at, size, MAP_FIXED_NOREPLACE);
        all_are(at, size, 0);
        memset(at, STAMP, size);
        *a = (struct after){ .at = at, .size = size };
}

static void unmap_part(struct after *a, char *at, size_t size) {
        must(munmap(at, size) == 0);
        fill_again(a, at, size);
}

static void unmap_all(char *at, struct after *a) {
        unmap_part(a, at, PUMP_SIZE);
}

static void unmap_head(char *at, struct after *a) {
        unmap_part(a, at, 5 * PAGE);
}

static void unmap_middle(char *at, struct after *a) {
        unmap_part(a, at + 20 * PAGE, 3 * PAGE);
}

static void unmap_tail(char *at, struct after *a) {
        unmap_part(a, at + PUMP_SIZE - PAGE, PAGE);
}

static void map_over(char *at, struct after *a) {
        map_at(at + 8 * PAGE, 24 * PAGE, MAP_FIXED);
        all_are(at + 8 * PAGE, 24 * PAGE, 0);
        memset(at + 8 * PAGE, STAMP, 24 * PAGE);
        *a = (struct after){ .at = at + 8 * PAGE, .size = 24 * PAGE };
}

static void move_away(char *at, struct after *a) {
        char *to = mremap(at, PUMP_SIZE, PUMP_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, map_at(NULL, PUMP_SIZE, 0));

        must(to != MAP_FAILED && to != at);
        memset(to, STAMP, PUMP_SIZE);
        fill_again(a, at, PUMP_SIZE);
        usleep(200);
        all_are(to, PUMP_SIZE, STAMP);
        a->also = to;
        a->also_size = PUMP_SIZE;
}

static void move_over(char *at, struct after *a) {
        char *from = map_at(NULL, 16 * PAGE, 0);

        memset(from, STAMP, 16 * PAGE);
        must(mremap(from, 16 * PAGE, 16 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at + PAGE) == at + PAGE);
        *a = (struct after){ .at = at + PAGE, .size = 16 * PAGE };
}

static void shrink(char *at, struct after *a) {
        must(mremap(at, PUMP_SIZE, PUMP_SIZE - 8 * PAGE, 0) == at);
        fill_again(a, at + PUMP_SIZE - 8 * PAGE, 8 * PAGE);
}

static void dontneed(char *at, struct after *a) {
        must(madvise(at + 4 * PAGE, 30 * PAGE, MADV_DONTNEED) == 0);
        all_are(at + 4 * PAGE, 30 * PAGE, 0);
        memset(at, STAMP, PUMP_SIZE);
        *a = (struct after){ .at = at, .size = PUMP_SIZE };
}

static void free_lazily(char *at, struct after *a) {
        must(madvise(at, PUMP_SIZE, MADV_FREE) == 0);
        memset(at, STAMP, PUMP_SIZE);
        *a = (struct after){ .at = at, .size = PUMP_SIZE };
}

static void remove_pages(char *at, struct after *a) {
        must(madvise(at + PAGE, PAGE, MADV_REMOVE) == 0);
        all_are(at + PAGE, PAGE, 0);
        memset(at, STAMP, PUMP_SIZE);
        *a = (struct after){ .at = at, .size = PUMP_SIZE };
}

static void unregister(char *at, struct after *a);

static const struct way {
        const char *name;
        void (*go)(char *at, struct after *a);
        bool shared, told;
} ways[] = {
        { "munmap of all", unmap_all, false, true },
        { "munmap of the head", unmap_head, false, true },
        { "munmap of the middle", unmap_middle, false, true },
        { "munmap of the tail", unmap_tail, false, true },
        { "munmap of all of a memory file", unmap_all, true, true },
        { "mmap over it", map_over, false, true },
        { "mmap over a memory file", map_over, true, true },
        { "mremap away", move_away, false, true },
        { "mremap over it", move_over, false, true },
        { "mremap that shrinks", shrink, false, true },
        { "MADV_DONTNEED", dontneed, false, true },
        { "MADV_FREE", free_lazily, false, true },
        { "MADV_REMOVE", remove_pages, true, true },
        { "svmd_unregister", unregister, false, false },
};

static struct pump_region region;

static void unregister(char *at, struct after *a) {
        ok(svmd_unregister(s, region.mem));
        memset(at, STAMP, PUMP_SIZE);
        *a = (struct after){ .at = at, .size = PUMP_SIZE };
}

static char *new_region(bool shared) {
        char *p;
        int fd;

        if (!shared)
                return map_at(NULL, PUMP_SIZE, 0);
        fd = memfd_create("region", MFD_CLOEXEC);
        must(fd >= 0 && ftruncate(fd, PUMP_SIZE) == 0);
        p = mmap(NULL, PUMP_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        must(p != MAP_FAILED);
        close(fd);
        return p;
}

static void go(const struct way *w) {
        struct after a = { 0 };
        char *at = new_region(w->shared);

        pump_register(&region, at);
        pump_start(&region);
        usleep((useconds_t)random_below(1500));
        w->go(at, &a);
        /* Also what is still there of it. */
        pump_refused(&region);
        usleep((useconds_t)random_below(1500));
        pump_stop();
        all_are(a.at, a.size, STAMP);
        if (w->told) {
                await_event(&region);
                ok(svmd_unregister(s, region.mem));
                pump_refused(&region);
        }
        ok(svmd_mem_unmap(s, pump_space(), (uint64_t)at, PUMP_SIZE));
        all_are(a.at, a.size, STAMP);
        munmap(at, PUMP_SIZE);
        if (a.also)
                munmap(a.also, a.also_size);
}

static void every_way(unsigned rounds) {
        for (unsigned round = 0; round < rounds; round++)
                for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
                        go(&ways[i]);
}

/* ---- what is left alone ---- */

static int registered_row(const struct svmd_session_row *row, void *userdata) {
        uint64_t *sum = userdata;

        *sum += row->registered;
        return 0;
}

static uint64_t registered(void) {
        uint64_t sum = 0;

        ok(svmd_query_sessions(watcher, "lab", registered_row, &sum));
        return sum;
}

static void works(void) {
        struct ledger before, after;
        struct pump_region r;
        char *at = map_at(NULL, 2 * PUMP_SIZE, 0);
        bool grown;

        ledger_read(watcher, &before);
        pump_register(&r, at);
        must(registered() == PUMP_SIZE);
        ledger_read(watcher, &after);
        must(before.host == after.host);
        pump_works(&r);
        /* It grows where it is: the rest is as before. */
        must(munmap(at + PUMP_SIZE, PUMP_SIZE) == 0);
        grown = mremap(at, PUMP_SIZE, 2 * PUMP_SIZE, 0) == at; /* or another thread was there first */
        pump_works(&r);
        /* A page that is not there yet, and one that may not be written. */
        must(mprotect(at, PAGE, PROT_READ) == 0);
        {
                struct svmd_device_op fill = { .size = sizeof(fill),
                                               .op = SVMD_DEVICE_FILL,
                                               .space = pump_space(),
                                               .dst = (uint64_t)at,
                                               .length = PAGE };
                svmd_fence *f;

                ok(svmd_submit(s, &f, &fill));
                want(SVMD_E_ACCESS, svmd_fence_wait(f, CEILING_MS, NULL));
                svmd_fence_free(f);
        }
        must(mprotect(at, PAGE, PROT_READ | PROT_WRITE) == 0);
        pump_works(&r);
        pump_unregister(&r);
        must(registered() == 0);
        must(munmap(at, grown ? 2 * PUMP_SIZE : PUMP_SIZE) == 0);
}

/* A child has the bytes and nothing else; the parent's registration goes on. */
static void fork_leaves_it(void) {
        struct pump_region r;
        char *at = map_at(NULL, PUMP_SIZE, 0);
        int status, go_on[2];
        pid_t pid;
        char c;

        memset(at, STAMP, PUMP_SIZE);
        pump_register(&r, at);
        must(pipe(go_on) == 0);
        pid = fork();
        must(pid >= 0);
        if (pid == 0) {
                close(go_on[1]);
                must(read(go_on[0], &c, 1) == 0);
                all_are(at, PUMP_SIZE, STAMP);
                must(munmap(at, PUMP_SIZE) == 0);
                _exit(0);
        }
        close(go_on[0]);
        pump_works(&r);
        close(go_on[1]);
        must(wait_end(pid, &status) && WIFEXITED(status) && WEXITSTATUS(status) == 0);
        pump_works(&r);
        pump_unregister(&r);
        munmap(at, PUMP_SIZE);
}

/* Memory is registered where other memory has just gone: what svmd still hears of that is not about this. */
static void addresses_come_again(void) {
        for (unsigned i = 0; i < 200; i++) {
                char *at = map_at(NULL, 2 * PUMP_SIZE, 0);
                struct pump_region r;

                must(munmap(at + PUMP_SIZE, PUMP_SIZE) == 0);
                pump_register(&r, at);
                if (mremap(at, PUMP_SIZE, 2 * PUMP_SIZE, 0) == at) {
                        pump_unregister(&r);
                        must(munmap(at + PUMP_SIZE, PUMP_SIZE) == 0); /* which the kernel tells of */
                        must(munmap(at, PUMP_SIZE) == 0);
                        at = map_at(at + PUMP_SIZE, PUMP_SIZE, MAP_FIXED_NOREPLACE);
                        pump_register(&r, at);
                        pump_works(&r);
                }
                pump_unregister(&r);
                must(munmap(at, PUMP_SIZE) == 0);
        }
}

/* What came there may never be served: nobody of svmd waits for it. */
static void it_becomes_what_never_comes(void) {
        struct uffdio_register u = { .mode = UFFDIO_REGISTER_MODE_MISSING };
        struct uffdio_api api = { .api = UFFD_API };
        int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC), fd;
        char *at = map_at(NULL, PUMP_SIZE, 0);
        struct pump_region r;

        fd = device < 0 ? -1 : ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC);
        must(fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0);
        pump_register(&r, at);
        map_at(at, PUMP_SIZE, MAP_FIXED);
        u.range = (struct uffdio_range){ .start = (uint64_t)at, .len = PUMP_SIZE };
        must(ioctl(fd, UFFDIO_REGISTER, &u) == 0);
        pump_refused(&r);
        pump_unregister(&r);
        close(fd);
        close(device);
        must(munmap(at, PUMP_SIZE) == 0);
}

/* ---- refusals ---- */

static void refusals(void) {
        struct svmd_register_options unknown = { .size = sizeof(unknown), .mode = 7 };
        char *at = map_at(NULL, 8 * PAGE, 0), *file;
        svmd_mem mem, other;
        int fd;
        void *p;

        want(SVMD_E_ALIGN, svmd_register(s, &mem, NULL, at + 1, PAGE, NULL));
        want(SVMD_E_ALIGN, svmd_register(s, &mem, NULL, NULL, PAGE, NULL));
        want(SVMD_E_SIZE, svmd_register(s, &mem, NULL, at, 0, NULL));
        want(SVMD_E_SIZE, svmd_register(s, &mem, NULL, at, 100, NULL));
        want(SVMD_E_UNSUPPORTED, svmd_register(s, &mem, NULL, at, PAGE, &unknown));
        must(munmap(at + 4 * PAGE, PAGE) == 0);
        want(SVMD_E_NOT_MAPPED, svmd_register(s, &mem, NULL, at, 8 * PAGE, NULL));
        want(SVMD_E_NOT_MAPPED, svmd_register(s, &mem, NULL, at + 4 * PAGE, PAGE, NULL));

        fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        file = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
        must(fd >= 0 && file != MAP_FAILED);
        want(SVMD_E_UNSUPPORTED, svmd_register(s, &mem, NULL, file, PAGE, NULL));
        munmap(file, PAGE);
        close(fd);
        must(registered() == 0);

        ok(svmd_register(s, &mem, NULL, at, 2 * PAGE, NULL));
        want(SVMD_E_TAKEN, svmd_register(s, &other, NULL, at + PAGE, 2 * PAGE, NULL));
        ok(svmd_address_reserve(s, &p, 1 << 20, 0, NULL, NULL));
        want(SVMD_E_RANGE, svmd_register(s, &other, NULL, p, PAGE, NULL));
        want(SVMD_E_UNSUPPORTED, svmd_mem_map(s, SVMD_CPU, (uint64_t)p, PAGE, 0, mem, SVMD_ACCESS_READ, 0));
        ok(svmd_address_free(s, p));
        want(SVMD_E_INVALID, svmd_mem_release(s, mem));
        want(SVMD_E_UNSUPPORTED, svmd_mem_export(s, mem, "mine", 0600));
        ok(svmd_mem_create(s, &other, PAGE, node_named(s, "host0"), 0));
        want(SVMD_E_INVALID, svmd_unregister(s, other));
        ok(svmd_mem_release(s, other));
        ok(svmd_unregister(s, mem));
        want(SVMD_E_NO_SUCH, svmd_unregister(s, mem));
        ok(svmd_register(s, &mem, NULL, at, 2 * PAGE, NULL));
        ok(svmd_unregister(s, mem));
        p = mmap(NULL, 1 << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        must(p != MAP_FAILED);
        want(SVMD_E_LIMIT, svmd_register(s, &mem, NULL, p, 1 << 30, NULL));
        munmap(p, 1 << 30);
        munmap(at, 4 * PAGE); /* whoever came into the hole stays */
        munmap(at + 5 * PAGE, 3 * PAGE);
}

/* Huge pages of a pool, where the machine has some. */
static void huge_is_refused(void) {
        svmd_mem mem;
        void *p = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

        if (p == MAP_FAILED)
                return;
        want(SVMD_E_UNSUPPORTED, svmd_register(s, &mem, NULL, p, 2 << 20, NULL));
        munmap(p, 2 << 20);
        must(registered() == 0);
}

/* Another session of the process. */
static void foreign(void) {
        char *at = map_at(NULL, PAGE, 0);
        svmd_session *other;
        svmd_mem mem, theirs;
        svmd_space space;

        connect_to(&other, d.socket, "lab");
        ok(svmd_register(s, &mem, NULL, at, PAGE, NULL));
        want(SVMD_E_TAKEN, svmd_register(other, &theirs, NULL, at, PAGE, NULL));
        want(SVMD_E_FOREIGN, svmd_unregister(other, mem));
        ok(svmd_space_create(other, &space, gpu));
        want(SVMD_E_FOREIGN, svmd_mem_map(other, space, 0x100000, PAGE, 0, mem, SVMD_ACCESS_READ, 0));
        ok(svmd_unregister(s, mem));
        ok(svmd_register(other, &theirs, NULL, at, PAGE, NULL));
        svmd_disconnect(other);
        must(munmap(at, PAGE) == 0);
}

int main(int argc, char **argv) {
        static const char *const options[] = { "--soft-node", "gpu0:size=64M", "--max-registered-per-session",
                                               "512M",        "--log-level",   "warning",
                                               NULL };

        struct svmd_partition_options o = { .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW };

        harness_begin("system_registered");
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        connect_to(&s, d.socket, "lab");
        ok(svmd_set_event_handler(s, on_event, NULL));
        gpu = node_named(s, "gpu0");
        pump_begin(s, gpu);
        refusals();
        huge_is_refused();
        foreign();
        works();
        fork_leaves_it();
        it_becomes_what_never_comes();
        addresses_come_again();
        every_way(argc > 1 ? (unsigned)atoi(argv[1]) : ROUNDS);
        must(registered() == 0);
        pump_end();
        svmd_disconnect(s);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
