/*
 * Memory that libsvmd makes by files of DRM devices on an emulated machine, under svmd's grants: what is charged, what
 * is refused, and what is given back. Drivers say what they have taken (xe, nouveau). In partition "one", which has 8
 * MiB of each card.
 *
 *      memory_client all     exit status 0: it is as svmd.h has it
 *      memory_client hold    takes all it may have, says so, and waits
 *      memory_client wait    until all that it may have is to be had again
 *      memory_client group   in a control group that has 4 MiB of the xe by the kernel
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xf86drm.h>

#include "must.h"
#include "proto/uapi/nouveau.h"
#include "proto/uapi/xe.h"
#include "svmd.h"

#define MIB (1ull << 20)

enum { CARDS = 3, MOST = 8 };
static const char *const names[CARDS] = { "xe", "amdgpu", "nouveau" };
static svmd_session *session;
static struct card {
        svmd_node node;
        svmd_drm file;
        int fd;
} cards[CARDS];

static int find_card(const struct svmd_node_row *row, void *userdata) {
        for (unsigned i = 0; i < CARDS; i++)
                if (row->kind == SVMD_NODE_DRM && strcmp(row->driver, names[i]) == 0)
                        cards[i] = (struct card){ row->id, 0, open(row->device, O_RDWR | O_CLOEXEC) };
        return 0;
}

static void begin(void) {
        struct svmd_connect_options options = { .size = sizeof(options), .partition = "one" };

        must(svmd_connect(&session, &options) == SVMD_OK);
        must(svmd_query_nodes(session, find_card, NULL) == SVMD_OK);
        for (unsigned i = 0; i < CARDS; i++) {
                must(cards[i].fd > 0);
                must(svmd_drm_give(session, &cards[i].file, cards[i].node, cards[i].fd) == SVMD_OK);
        }
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

static uint64_t charged(const struct card *c) {
        struct use u = { .node = c->node };

        must(svmd_query_limits(session, on_use, &u) == SVMD_OK);
        return u.used;
}

/* By their drivers; all that have the card. */
static uint64_t nouveau_taken(void) {
        struct nouveau_getparam g = { .param = NOUVEAU_VRAM_USED };

        must(drmIoctl(cards[2].fd, NOUVEAU_GETPARAM, &g) == 0);
        return g.value;
}

static uint64_t taken(void) {
        uint64_t answer[1 + 2 * sizeof(struct xe_mem_region) / 8];
        struct xe_query_mem_regions *all = (void *)answer;
        struct xe_device_query q = { .query = XE_QUERY_MEM_REGIONS,
                                     .size = sizeof(*all) + 2 * sizeof(all->regions[0]),
                                     .data = (uintptr_t)answer };

        must(drmIoctl(cards[0].fd, XE_DEVICE_QUERY, &q) == 0);
        return all->regions[1].used;
}

static void alloc_and_free(struct card *c) {
        uint32_t handle[2] = { 0 }, none = 77;

        must(svmd_drm_alloc(session, c->file, 6 * MIB, &handle[0]) == SVMD_OK && charged(c) == 6 * MIB);
        must(svmd_drm_alloc(session, c->file, 4 * MIB, &none) == SVMD_E_LIMIT && none == 77);
        must(svmd_drm_alloc(session, c->file, 2 * MIB, &handle[1]) == SVMD_OK && charged(c) == 8 * MIB);
        must(handle[0] && handle[1] && handle[0] != handle[1]);
        must(svmd_drm_free(session, c->file, handle[0]) == SVMD_OK && charged(c) == 2 * MIB);
        must(svmd_drm_free(session, c->file, handle[0]) == SVMD_E_NO_SUCH);
        must(svmd_drm_alloc(session, c->file, 6 * MIB, &handle[0]) == SVMD_OK && charged(c) == 8 * MIB);
        for (unsigned i = 0; i < 2; i++)
                must(svmd_drm_free(session, c->file, handle[i]) == SVMD_OK);
        must(charged(c) == 0);
        must(svmd_drm_alloc(session, c->file, 100, &none) == SVMD_E_SIZE);
        must(svmd_drm_alloc(session, c->file, 0, &none) == SVMD_E_SIZE);
        must(svmd_drm_alloc(session, c->file + 100, MIB, &none) == SVMD_E_NO_SUCH);
}

/* Its driver has what svmd charges, and a page table is to be had after memory. */
static void takes_of_nouveau(struct card *c) {
        uint32_t handle, space;

        must(nouveau_taken() == 0);
        must(svmd_drm_alloc(session, c->file, 6 * MIB, &handle) == SVMD_OK && nouveau_taken() == 6 * MIB);
        must(svmd_drm_space(session, c->file, &space) == SVMD_OK);
        must(svmd_drm_free(session, c->file, handle) == SVMD_OK && nouveau_taken() == 0);
}

/* The driver refuses what svmd granted: nothing stays charged. */
static void refused_by_the_driver(void) {
        struct xe_gem_create g = { .size = (12ull << 30) - 4 * MIB,
                                   .placement = 2,
                                   .cpu_caching = XE_CACHING_WRITE_COMBINED };
        struct drm_gem_close end = { 0 };
        uint32_t handle = 0;

        must(taken() == 0);
        must(drmIoctl(cards[0].fd, XE_GEM_CREATE, &g) == 0);
        must(svmd_drm_alloc(session, cards[0].file, 6 * MIB, &handle) == SVMD_E_NO_ROOM && handle == 0);
        must(strstr(svmd_error(), "xe has no memory left"));
        must(charged(&cards[0]) == 0);
        end.handle = g.handle;
        must(drmIoctl(cards[0].fd, DRM_IOCTL_GEM_CLOSE, &end) == 0);
}

/* One that the process has closed itself is paid for until svmd hears of it. What is left ends with the session. */
static void ends(void) {
        struct drm_gem_close end = { 0 };
        uint32_t handle;
        int fd = dup(cards[0].fd);

        must(svmd_drm_alloc(session, cards[0].file, MIB, &handle) == SVMD_OK);
        end.handle = handle;
        must(drmIoctl(cards[0].fd, DRM_IOCTL_GEM_CLOSE, &end) == 0);
        must(charged(&cards[0]) == MIB);
        must(svmd_drm_free(session, cards[0].file, handle) == SVMD_OK && charged(&cards[0]) == 0);
        must(svmd_drm_alloc(session, cards[0].file, 3 * MIB, &handle) == SVMD_OK && taken() == 3 * MIB);
        svmd_disconnect(session);
        cards[0].fd = fd;
        must(taken() == 0); /* in a file that lives on */
        begin();
        for (unsigned i = 0; i < 30000 && charged(&cards[0]); i++)
                usleep(1000);
        must(charged(&cards[0]) == 0);
}

static void take_all(void) {
        uint32_t handle;

        for (unsigned i = 0; i < CARDS; i++)
                must(svmd_drm_alloc(session, cards[i].file, MOST * MIB, &handle) == SVMD_OK);
}

static void wait_for_all(void) {
        uint32_t handle;
        int r;

        for (unsigned i = 0; i < CARDS; i++) {
                r = svmd_drm_alloc(session, cards[i].file, MOST * MIB, &handle);
                for (unsigned n = 0; n < 30000 && r == SVMD_E_LIMIT; n++) {
                        usleep(1000);
                        r = svmd_drm_alloc(session, cards[i].file, MOST * MIB, &handle);
                }
                must(r == SVMD_OK);
        }
}

static void bounded_by_the_group(void) {
        uint32_t handle;

        must(svmd_drm_alloc(session, cards[0].file, 4 * MIB, &handle) == SVMD_OK);
        must(svmd_drm_alloc(session, cards[0].file, MIB, &handle) == SVMD_E_LIMIT);
        must(strstr(svmd_error(), "dmem.max"));
        for (unsigned i = 1; i < CARDS; i++)
                must(svmd_drm_alloc(session, cards[i].file, MOST * MIB, &handle) == SVMD_OK);
}

int main(int argc, char **argv) {
        const char *mode = argc > 1 ? argv[1] : "all";

        setvbuf(stdout, NULL, _IOLBF, 0);
        begin();
        if (strcmp(mode, "hold") == 0) {
                take_all();
                puts("held");
                pause();
        }
        if (strcmp(mode, "wait") == 0) {
                wait_for_all();
                return 0;
        }
        if (strcmp(mode, "group") == 0) {
                bounded_by_the_group();
                return 0;
        }
        for (unsigned i = 0; i < CARDS; i++)
                alloc_and_free(&cards[i]);
        takes_of_nouveau(&cards[2]);
        refused_by_the_driver();
        ends();
        svmd_disconnect(session);
        return 0;
}
