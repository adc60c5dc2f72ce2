/*
 * libsvmd on an emulated machine, through Debian's libhsakmt: each call of it that concerns AMD's driver does there
 * what it says, under a grant, and the ledger has what it took. With "own" the program has opened the library before.
 *
 *      emul-kfd-agent SOCKET [own|hold|after]     in partition "one", which has 8 MiB of the first GPU
 *
 * After: a GPU has gone for good, and two are there.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <svmd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "must.h"
#include "proto/uapi/kfd.h"

enum { MIB = 1 << 20, PAGE = 4096 };

#define ok(x) must((x) == SVMD_OK)

static svmd_session *s;
static struct gpu {
        svmd_node node;
        uint32_t id;
} gpus[2], gone;
static unsigned count;

static int on_node(const struct svmd_node_row *row, void *userdata) {
        if (row->kind == SVMD_NODE_KFD && row->id < 256 && !row->online)
                gone = (struct gpu){ row->id, row->driver_id };
        else if (row->kind == SVMD_NODE_KFD && row->id < 256 && count < 2)
                gpus[count++] = (struct gpu){ row->id, row->driver_id };
        return 0;
}

struct use {
        svmd_node node;
        uint64_t used;
};

static int on_use(const struct svmd_use_row *row, void *userdata) {
        struct use *u = userdata;

        if (row->node == u->node && row->session == 0)
                u->used = row->used;
        return 0;
}

static uint64_t charged(unsigned gpu) {
        struct use u = { gpus[gpu].node, 0 };

        ok(svmd_query_limits(s, on_use, &u));
        return u.used;
}

static uint64_t counted(unsigned gpu, const char *before, const char *behind) {
        char path[128];
        uint64_t n = 0;
        FILE *f;

        snprintf(path, sizeof(path), "/sys/class/kfd/kfd/proc/%d/%s_%u%s", getpid(), before, gpus[gpu].id, behind);
        f = fopen(path, "re");
        must(f && fscanf(f, "%" SCNu64, &n) == 1);
        fclose(f);
        return n;
}

static char *reserve(unsigned kind, size_t size) {
        struct svmd_reserve_options options = { .size = sizeof(options), .kind = kind };
        void *p;

        ok(svmd_address_reserve(s, &p, size, 0, NULL, &options));
        return p;
}

static unsigned get(const char *at, unsigned type, unsigned value, unsigned *ret_type) {
        struct svmd_amd_attribute a = { type, value };

        ok(svmd_amd_get(s, at, 4 * MIB, &a, 1));
        if (ret_type)
                *ret_type = a.type;
        return a.value;
}

static void set(const char *at, unsigned type, unsigned value) {
        const struct svmd_amd_attribute a = { type, value };

        ok(svmd_amd_set(s, at, 4 * MIB, &a, 1));
}

static void modes(void) {
        int mode = -1;

        ok(svmd_amd_xnack(s, -1, &mode));
        must(mode == 0);
        ok(svmd_amd_xnack(s, 1, &mode));
        must(mode == 1);
        ok(svmd_amd_xnack(s, 0, NULL));
}

static void attributes(char *at) {
        unsigned type;

        set(at, SVMD_AMD_PREFERRED, gpus[1].node);
        must(get(at, SVMD_AMD_PREFERRED, 0, NULL) == gpus[1].node);
        set(at, SVMD_AMD_PREFERRED, 0); /* a host node */
        must(get(at, SVMD_AMD_PREFERRED, 0, NULL) == 0);
        set(at, SVMD_AMD_PREFERRED, SVMD_NODE_NONE);
        must(get(at, SVMD_AMD_PREFERRED, 0, NULL) == SVMD_NODE_NONE);
        for (unsigned t = SVMD_AMD_ACCESS; t <= SVMD_AMD_NO_ACCESS; t++) {
                set(at, t, gpus[0].node);
                get(at, SVMD_AMD_ACCESS, gpus[0].node, &type);
                must(type == t);
        }
        for (unsigned flag = SVMD_AMD_HOST_ACCESS; flag <= SVMD_AMD_EXT_COHERENT; flag <<= 1) {
                set(at, SVMD_AMD_SET_FLAGS, flag);
                must(get(at, SVMD_AMD_SET_FLAGS, 0, NULL) & flag);
                set(at, SVMD_AMD_CLEAR_FLAGS, flag);
                must(get(at, SVMD_AMD_CLEAR_FLAGS, 0, NULL) & flag);
        }
        set(at, SVMD_AMD_GRANULARITY, 4);
        must(get(at, SVMD_AMD_GRANULARITY, 0, NULL) == 4);
        must(charged(0) == 0 && charged(1) == 0);
}

static void buffers(char *at, const char *private) {
        must(counted(0, "vram", "") == 0);
        ok(svmd_amd_alloc(s, at + 2 * MIB, 4 * MIB, gpus[0].node, SVMD_AMD_WRITE));
        must(charged(0) == 4 * MIB && counted(0, "vram", "") == 4 * MIB);
        must(svmd_amd_alloc(s, at + 2 * MIB, MIB, gpus[0].node, 0) == SVMD_E_SYSTEM); /* mapped there */
        must(charged(0) == 4 * MIB && counted(0, "vram", "") == 4 * MIB);
        must(svmd_amd_alloc(s, (void *)private, MIB, gpus[0].node, 0) == SVMD_E_RANGE);
        must(svmd_amd_set(s, at, MIB, &(struct svmd_amd_attribute){ SVMD_AMD_GRANULARITY, 4 }, 1) == SVMD_E_RANGE);
        must(svmd_amd_alloc(s, at + 6 * MIB, 8 * MIB, gpus[0].node, 0) == SVMD_E_LIMIT);
        must(counted(0, "vram", "") == 4 * MIB);
}

static void moves(char *at) {
        struct svmd_advice advice = { .size = sizeof(advice),
                                      .what = SVMD_ADVISE_PREFERRED | SVMD_ADVISE_READ_MOSTLY | SVMD_ADVISE_GRANULARITY,
                                      .preferred = gpus[1].node,
                                      .read_mostly = 1,
                                      .granularity = 65536 };
        svmd_fence *f;

        ok(svmd_prefetch(s, &f, at, 4 * MIB, gpus[0].node));
        ok(svmd_fence_wait(f, 30000, NULL));
        svmd_fence_free(f);
        must(charged(0) == 8 * MIB && counted(0, "counters", "/page_in") == 4 * MIB / PAGE);
        ok(svmd_prefetch(s, NULL, at, 4 * MIB, gpus[0].node)); /* where it is: no more is charged */
        must(svmd_prefetch(s, NULL, at + 4 * MIB, 4 * MIB, gpus[0].node) == SVMD_E_LIMIT);
        must(charged(0) == 8 * MIB);
        ok(svmd_prefetch(s, NULL, at + MIB, 2 * MIB, gpus[1].node));
        must(charged(0) == 6 * MIB && charged(1) == 2 * MIB);
        ok(svmd_prefetch(s, NULL, at, MIB, 0));
        must(charged(0) == 5 * MIB);
        ok(svmd_advise(s, at, 4 * MIB, &advice));
        must(get(at, SVMD_AMD_PREFERRED, 0, NULL) == gpus[1].node);
        must(get(at, SVMD_AMD_SET_FLAGS, 0, NULL) & SVMD_AMD_READ_MOSTLY);
        must(get(at, SVMD_AMD_GRANULARITY, 0, NULL) == 4);
}

/* A buffer by svmd's leave, and then another one behind its back; it says when, and waits. */
static void hold(char *at) {
        struct kfd_alloc_memory_args a = {
                .address = (uintptr_t)at + 8 * MIB, .size = 2 * MIB, .gpu_id = gpus[0].id, .flags = KFD_ALLOC_VRAM
        };
        int fd;

        ok(svmd_amd_alloc(s, at, 4 * MIB, gpus[0].node, 0));
        must(charged(0) == 4 * MIB);
        printf("%d\n", getpid());
        fflush(stdout);
        must(getchar() == '\n');
        fd = open("/dev/kfd", O_RDWR | O_CLOEXEC);
        must(fd >= 0 && ioctl(fd, KFD_ALLOC_MEMORY, &a) == 0);
        printf("%d\n", getpid());
        fflush(stdout);
        while (getchar() != EOF)
                ;
        close(fd);
        svmd_disconnect(s);
}

/* What is of no GPU works still, advice names those that are there, and the gone one's number is another one's. */
static void after(char *at, char *private) {
        struct svmd_advice advice = { .size = sizeof(advice),
                                      .what = SVMD_ADVISE_PREFERRED | SVMD_ADVISE_ACCESSED_BY,
                                      .preferred = gpus[0].node,
                                      .accessed_by = 1ull << gpus[1].node };
        unsigned type;

        must(gone.id == 0 && gpus[0].id != gpus[1].id);
        modes();
        set(private, SVMD_AMD_GRANULARITY, 4);
        ok(svmd_advise(s, private, 4 * MIB, &advice));
        get(private, SVMD_AMD_ACCESS, gpus[1].node, &type);
        must(type == SVMD_AMD_IN_PLACE);
        must(svmd_amd_alloc(s, at, MIB, gone.node, 0) == SVMD_E_NO_NODE && strstr(svmd_error(), "kfd1"));
        ok(svmd_amd_alloc(s, at, 4 * MIB, gpus[1].node, 0));
        must(charged(1) == 4 * MIB && counted(1, "vram", "") == 4 * MIB);
        printf("%d %u\n", getpid(), gpus[1].id);
        fflush(stdout);
        while (getchar() != EOF)
                ;
        svmd_disconnect(s);
}

int main(int argc, char **argv) {
        struct svmd_connect_options options = { .size = sizeof(options), .socket = argv[1], .partition = "one" };
        char *explicit, *private;
        void *own = NULL;
        int fd;

        if (argc > 2 && strcmp(argv[2], "own") == 0)
                must((own = dlopen(OWN_LIBRARY, RTLD_NOW | RTLD_GLOBAL)));
        ok(svmd_connect(&s, &options));
        ok(svmd_query_nodes(s, on_node, NULL));
        must(count == 2);
        explicit = reserve(SVMD_EXPLICIT, 16 * MIB);
        if (argc > 2 && strcmp(argv[2], "hold") == 0) {
                hold(explicit);
                return 0;
        }
        private = reserve(SVMD_PRIVATE, 16 * MIB);
        if (argc > 2 && strcmp(argv[2], "after") == 0) {
                after(explicit, private);
                return 0;
        }
        modes();
        must(!own || *(const unsigned *)dlsym(own, "own_library_opened") == 1);
        attributes(private);
        buffers(explicit, private);
        moves(private);
        fd = open("/dev/kfd", O_RDWR | O_CLOEXEC);
        must(fd >= 0 && svmd_device_give(s, gpus[0].node, fd) == SVMD_E_NODE_KIND);
        ok(svmd_amd_free(s, explicit + 2 * MIB));
        must(charged(0) == MIB && counted(0, "vram", "") == 0);
        ok(svmd_amd_alloc(s, explicit, MIB, gpus[0].node, SVMD_AMD_EXECUTE));
        ok(svmd_address_free(s, explicit));
        must(counted(0, "vram", "") == 0);
        ok(svmd_address_free(s, private));
        must(charged(0) == 0 && charged(1) == 0);
        svmd_disconnect(s);
        close(fd);
        printf("libsvmd with %s libhsakmt: as svmd.h has it\n", argc > 2 ? "the program's own" : "a");
        return 0;
}
