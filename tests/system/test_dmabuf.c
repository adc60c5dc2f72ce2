/*
 * Dma-bufs through the real svmd. Where the machine makes some (/dev/udmabuf, /dev/dma_heap/system; the guest of ./dev
 * vm), two processes of two users share one at one address, through names and tokens, over svmd's end; DRM devices
 * import it by PRIME, and give theirs. Everywhere: what is no dma-buf is refused with a sentence, and nothing is
 * charged. With --real the machine must make some.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon.h"
#include "drm_device.h"
#include "harness.h"

enum { SIZE = 256 * 1024, WORDS = SIZE / 8, OWNER = 2001, OTHER = 2002 };

static struct daemon d;
static svmd_session *watcher;
static bool real;

/* ---- where dma-bufs come from ---- */

static int from_udmabuf(void) {
        int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), fd, r;
        struct udmabuf_create c = { .flags = UDMABUF_FLAGS_CLOEXEC, .size = SIZE };

        if (device < 0)
                return -1;
        fd = memfd_create("bytes", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        must(fd >= 0 && ftruncate(fd, SIZE) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
        c.memfd = (uint32_t)fd;
        r = ioctl(device, UDMABUF_CREATE, &c);
        must(r >= 0);
        close(fd);
        close(device);
        return r;
}

static int from_heap(void) {
        int device = open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC);
        struct dma_heap_allocation_data a = { .len = SIZE, .fd_flags = O_RDWR | O_CLOEXEC };

        if (device < 0)
                return -1;
        must(ioctl(device, DMA_HEAP_IOCTL_ALLOC, &a) == 0);
        close(device);
        return (int)a.fd;
}

/* The driver's own: a dumb buffer of a card, exported. */
static int from_drm(const char *driver) {
        struct drm_device dev;
        int fd;

        if (!drm_device_open(&dev, driver))
                return -1;
        fd = drm_device_export(&dev, SIZE);
        drm_device_close(&dev);
        return fd;
}

static int from_vgem(void) {
        return from_drm("vgem");
}

static int from_vkms(void) {
        return from_drm("vkms");
}

static const struct source {
        const char *name;
        int (*make)(void);
} sources[] = {
        { "udmabuf", from_udmabuf },
        { "the system heap", from_heap },
        { "vgem", from_vgem },
        { "vkms", from_vkms },
};

/* ---- in the actors ---- */

static svmd_session *mine;
static volatile uint64_t *words;
static svmd_mem memory;

static void bracket(int fd, uint64_t flags) {
        struct dma_buf_sync s = { .flags = flags };

        must(ioctl(fd, DMA_BUF_IOCTL_SYNC, &s) == 0);
}

static void actor_connect(struct message *m) {
        message_take(m, try_connect(&mine, d.socket, "lab", 0));
}

/* fd[0]: a dma-buf -> n[0]: address, n[1]: memory, fd[0]: token */
static void owner_publish(struct message *m) {
        struct svmd_reserve_options o = { .size = sizeof(o), .name = "frame", .mode = 0666 };
        struct svmd_dmabuf_options wrong = { .size = sizeof(wrong), .length = SIZE + 4096 };
        size_t size = 0;
        void *at;

        want(SVMD_E_SIZE, svmd_mem_import_dmabuf(mine, &memory, &size, m->fd[0], &wrong));
        ok(svmd_mem_import_dmabuf(mine, &memory, &size, m->fd[0], NULL));
        must(size == SIZE);
        ok(svmd_address_reserve(mine, &at, SIZE, 0, NULL, &o));
        ok(svmd_mem_map(mine, SVMD_CPU, (uint64_t)at, SIZE, 0, memory, SVMD_ACCESS_READ_WRITE, 0));
        words = at;
        bracket(m->fd[0], DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW);
        for (uint64_t i = 0; i < WORDS; i++)
                words[i] = i ^ m->n[0];
        bracket(m->fd[0], DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW);
        close(m->fd[0]);
        ok(svmd_mem_export_fd(mine, &m->fd[0], memory, SVMD_ACCESS_READ_WRITE));
        m->fds_count = 1;
        m->n[0] = (uint64_t)at;
        m->n[1] = memory;
}

/* fd[0]: token -> n[0]: address */
static void other_open(struct message *m) {
        svmd_mem again;
        size_t size = 0;
        void *at;
        int fd;

        ok(svmd_address_open(mine, &at, &size, "frame", SVMD_ACCESS_READ_WRITE));
        must(size == SIZE);
        words = at;
        want(SVMD_E_DENIED, svmd_mem_import_fd(mine, &memory, &size, m->fd[0], SVMD_ACCESS_READ));
        ok(svmd_mem_import_fd(mine, &memory, &size, m->fd[0], SVMD_ACCESS_READ_WRITE));
        close(m->fd[0]);
        ok(svmd_mem_export_dmabuf(mine, &fd, &size, memory));
        must(size == SIZE);
        want(SVMD_E_TAKEN, svmd_mem_import_dmabuf(mine, &again, NULL, fd, NULL));
        close(fd);
        m->fds_count = 0;
        m->n[0] = (uint64_t)at;
}

/* n[0]: seed; each word is changed once it was as it should be. */
static void actor_change(struct message *m) {
        int fd;

        ok(svmd_mem_export_dmabuf(mine, &fd, NULL, memory));
        bracket(fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW);
        for (uint64_t i = 0; i < WORDS; i++) {
                must(words[i] == (i ^ m->n[0]));
                words[i] = i ^ (m->n[0] + 1);
        }
        bracket(fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW);
        close(fd);
}

/* n[0]: seed -> n[1]: how many drivers have the bytes by PRIME. */
static void actor_import_into_drivers(struct message *m) {
        static const char *const drivers[] = { "vgem", "vkms" };
        int fd;

        m->n[1] = 0;
        ok(svmd_mem_export_dmabuf(mine, &fd, NULL, memory));
        for (unsigned i = 0; i < 2; i++) {
                struct drm_device dev;

                if (!drm_device_open(&dev, drivers[i]))
                        continue;
                drm_device_imports(&dev, fd, SIZE, 5, 5 ^ m->n[0]);
                m->n[1]++;
                drm_device_close(&dev);
        }
        close(fd);
}

/* ---- the test ---- */

static void must_be_charged(uint64_t bytes) {
        struct ledger l;

        ledger_read(watcher, &l);
        if (l.host != bytes) {
                fprintf(stderr, "%llu bytes are charged, not %llu\n", (unsigned long long)l.host,
                        (unsigned long long)bytes);
                fail_here("the ledger is wrong");
        }
}

static void await_charged(uint64_t bytes) {
        uint64_t until = now_ms() + CEILING_MS;
        struct ledger l;

        do {
                ledger_read(watcher, &l);
                if (l.host == bytes)
                        return;
                usleep(1000);
        } while (now_ms() < until);
        must_be_charged(bytes);
}

static void join(struct actor *a, uint32_t uid) {
        struct message m = { 0 };

        actor_new(a, uid, uid, 0);
        actor_call(a, actor_connect, &m);
        message_want(0, &m);
}

static void restart(void) {
        daemon_kill(&d);
        daemon_start(&d);
        svmd_disconnect(watcher);
        connect_watcher(&watcher, d.admin);
}

static void share(const struct source *from, int dmabuf) {
        struct actor owner, other;
        struct message m = { .n = { 7 }, .fd = { dmabuf }, .fds_count = 1 };
        uint64_t address, seed = 7;

        join(&owner, OWNER);
        join(&other, OTHER);
        actor_call(&owner, owner_publish, &m);
        address = m.n[0];
        must_be_charged(SIZE);
        restart();
        actor_call(&other, other_open, &m);
        close(dmabuf);
        must(m.n[0] == address);
        must_be_charged(SIZE);
        for (unsigned i = 0; i < 4; i++) {
                m = (struct message){ .n = { seed++ } };
                actor_call(i % 2 ? &owner : &other, actor_change, &m);
                if (i == 1)
                        restart();
        }
        m = (struct message){ .n = { seed } };
        actor_call(&owner, actor_import_into_drivers, &m);
        printf("dma-buf of %s: shared at 0x%llx, imported by %llu drivers\n", from->name, (unsigned long long)address,
               (unsigned long long)m.n[1]);
        must(m.n[1] > 0 || !real);
        actor_kill(&owner);
        await_charged(SIZE);
        m = (struct message){ .n = { seed++ } };
        actor_call(&other, actor_change, &m);
        restart();
        m = (struct message){ .n = { seed } };
        actor_call(&other, actor_change, &m);
        actor_kill(&other);
        await_charged(0);
}

static void refusals(void) {
        svmd_session *s;
        svmd_mem mem = 0;
        size_t size = 0;
        int fd = memfd_create("no dma-buf", MFD_CLOEXEC);

        must(ftruncate(fd, SIZE) == 0);
        connect_to(&s, d.socket, "lab");
        want(SVMD_E_FD_KIND, svmd_mem_import_dmabuf(s, &mem, &size, fd, NULL));
        must(strstr(svmd_error(), "no dma-buf") != NULL);
        ok(svmd_mem_create(s, &mem, 4096, node_named(s, "host0"), SVMD_MEM_SHAREABLE));
        want(SVMD_E_UNSUPPORTED, svmd_mem_export_dmabuf(s, &fd, &size, mem));
        ok(svmd_mem_release(s, mem));
        must_be_charged(0);
        svmd_disconnect(s);
}

int main(int argc, char **argv) {
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 16ull << 30, .window = HARNESS_WINDOW, .mode = 0444
        };
        unsigned count = 0;

        real = argc > 1 && strcmp(argv[1], "--real") == 0;
        harness_begin("dmabuf");
        if (harness_one_user())
                return 0;
        daemon_new(&d, (const char *const[]){ "--soft-node=gpu0:size=64M", NULL });
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        refusals();
        for (unsigned i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
                int fd = sources[i].make();

                if (fd < 0)
                        continue;
                share(&sources[i], fd);
                count++;
        }
        svmd_disconnect(watcher);
        daemon_end(&d);
        if (real && count < sizeof(sources) / sizeof(sources[0]))
                fail_here("this machine does not make dma-bufs of every kind");
        printf("%u kinds of dma-bufs\n", count);
        return 0;
}
