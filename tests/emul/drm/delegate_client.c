/*
 * A program that binds memory of DRM devices itself, under grants, on an emulated machine: what it does is in the
 * driver at once, and in svmd's books when svmd has heard of it; svmd does nothing there meanwhile, and what it does
 * not hear of in time is taken back. Exit status 0: all is as svmd.h has it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xf86drm.h>

#include "backend/drm_bind.h"
#include "must.h"
#include "proto/uapi/amdgpu.h"
#include "svmd.h"

#define MIB (1ull << 20)

enum { CARDS = 3, VECTOR = 512, ROOM = 2 * VECTOR };
static const char *const names[CARDS] = { "xe", "amdgpu", "nouveau" };
static svmd_session *session;
static char *base;
static struct card {
        const struct drm_bind_driver *driver;
        svmd_node node;
        svmd_drm file;
        int fd;
        uint32_t space, memory;
} cards[CARDS];

static int find_card(const struct svmd_node_row *row, void *userdata) {
        for (unsigned i = 0; i < CARDS; i++)
                if (row->kind == SVMD_NODE_DRM && strcmp(row->driver, names[i]) == 0)
                        cards[i] = (struct card){
                                drm_bind_driver(names[i]), row->id, 0, open(row->device, O_RDWR | O_CLOEXEC), 0, 0
                        };
        return 0;
}

static void begin(void) {
        void *p;

        must(svmd_connect(&session, NULL) == SVMD_OK);
        must(svmd_query_nodes(session, find_card, NULL) == SVMD_OK);
        must(svmd_address_reserve(session, &p, ROOM * MIB, 0, NULL, NULL) == SVMD_OK);
        base = p;
        for (unsigned i = 0; i < CARDS; i++) {
                struct card *c = &cards[i];

                must(c->driver && c->fd >= 0);
                must(svmd_drm_give(session, &c->file, c->node, c->fd) == SVMD_OK);
                must(svmd_drm_space(session, c->file, &c->space) == SVMD_OK);
                must(c->driver->memory_new(c->fd, MIB, &c->memory) == 0);
        }
}

static struct svmd_drm_binding binding(const struct card *c, unsigned what, unsigned at) {
        return (struct svmd_drm_binding){ .size = sizeof(struct svmd_drm_binding),
                                          .what = what,
                                          .handle = what == SVMD_DRM_MAP ? c->memory : 0,
                                          .address = base + at * MIB,
                                          .length = MIB,
                                          .access = what == SVMD_DRM_MAP ? SVMD_ACCESS_READ_WRITE : 0 };
}

static int bind_one(const struct card *c, unsigned what, unsigned at) {
        struct svmd_drm_binding b = binding(c, what, at);

        return svmd_drm_bind(session, NULL, c->file, c->space, &b, 1, NULL);
}

/* What the driver says itself; nouveau says nothing. */
static uint32_t shown(const struct card *c) {
        struct drm_seen *seen = NULL;
        uint32_t count = 0;

        must(c->driver->read(c->fd, c->space, (uintptr_t)base, ROOM * MIB, &seen, &count) == 0);
        free(seen);
        return count;
}

static uint64_t differ(const struct card *c) {
        uint64_t bytes = 1;

        must(svmd_drm_check(session, c->file, c->space, &bytes) == SVMD_OK);
        return bytes;
}

static unsigned open_grants(void);

/* Twice a vector of its own, one by one and at once, more than svmd is told of in one message. */
static void bind_here(const struct card *c) {
        struct svmd_drm_binding list[VECTOR];
        svmd_fence *fence;

        must(svmd_drm_delegate(session, c->file, c->space, base, ROOM * MIB, 60000) == SVMD_OK);
        must(svmd_drm_delegate(session, c->file, c->space, base, MIB, 0) == SVMD_E_TAKEN);
        must(open_grants() == 1);
        for (unsigned i = 0; i < VECTOR; i++)
                must(bind_one(c, SVMD_DRM_MAP, 2 * i) == SVMD_OK);
        for (unsigned i = 0; i < VECTOR; i++)
                list[i] = binding(c, SVMD_DRM_UNMAP, 2 * i);
        must(svmd_drm_bind(session, NULL, c->file, c->space, list, VECTOR, NULL) == SVMD_OK);
        must(!c->driver->read || shown(c) == 0);
        for (unsigned i = 0; i < VECTOR; i++)
                list[i] = binding(c, SVMD_DRM_MAP, 2 * i);
        must(svmd_drm_bind(session, NULL, c->file, c->space, list, VECTOR, NULL) == SVMD_OK);
        must(!c->driver->read || shown(c) == VECTOR);
        must(svmd_drm_bind(session, &fence, c->file, c->space, list, 1, NULL) == SVMD_E_BUSY);
        if (c->driver->read)
                must(differ(c) == 0 && open_grants() == 1); /* svmd was told, and the leave goes on */
        must(svmd_drm_settle(session, c->file, c->space, base + MIB) == SVMD_E_NO_SUCH);
        must(svmd_drm_settle(session, c->file, c->space, base) == SVMD_OK && open_grants() == 0);
        must(svmd_drm_settle(session, c->file, c->space, base) == SVMD_E_NO_SUCH);
        must(bind_one(c, SVMD_DRM_MAP, 0) == SVMD_E_TAKEN); /* svmd again, which knows */
        must(bind_one(c, SVMD_DRM_UNMAP, 0) == SVMD_OK);
        must(!c->driver->read || shown(c) == VECTOR - 1);
}

static int count_open(const struct svmd_grant_row *row, void *userdata) {
        *(unsigned *)userdata += row->state == SVMD_GRANT_ASKED;
        return 0;
}

static unsigned open_grants(void) {
        unsigned count = 0;

        must(svmd_query_grants(session, NULL, count_open, &count) == SVMD_OK);
        return count;
}

/* The one that the driver refuses ends the vector, and the ones before it stand. */
static void says_which(struct card *c) {
        struct svmd_drm_binding list[5];

        must(svmd_drm_delegate(session, c->file, c->space, base, ROOM * MIB, 60000) == SVMD_OK);
        for (unsigned i = 0; i < 5; i++)
                list[i] = binding(c, SVMD_DRM_MAP, 1 + 2 * i);
        list[3].handle = 3333;
        must(svmd_drm_bind(session, NULL, c->file, c->space, list, 5, NULL) == SVMD_E_NO_SUCH);
        must(strstr(svmd_error(), "binding 4 of 5") && strstr(svmd_error(), "3 stand"));
        list[0] = binding(c, SVMD_DRM_MAP, ROOM - 1);
        list[0].length = 2 * MIB;
        must(svmd_drm_bind(session, NULL, c->file, c->space, list, 1, NULL) == SVMD_E_RANGE);
        list[0] = binding(c, SVMD_DRM_MIRROR, 100);
        must(svmd_drm_bind(session, NULL, c->file, c->space, list, 1, NULL) == SVMD_E_INVALID);
        must(svmd_drm_settle(session, c->file, c->space, base) == SVMD_OK);
        must(shown(c) == VECTOR - 1 + 3 && differ(c) == 0);
        for (unsigned i = 0; i < 3; i++)
                must(bind_one(c, SVMD_DRM_UNMAP, 1 + 2 * i) == SVMD_OK);
}

/* What the process does beside its leave, by a call of its own, is told whether the leave is open or not. */
static void tells_what_was_not_told(struct card *c) {
        struct amdgpu_gem_va own = { .handle = c->memory,
                                     .op = AMDGPU_VA_MAP,
                                     .flags = AMDGPU_PAGE_READ,
                                     .address = (uintptr_t)base + 5 * MIB,
                                     .size = MIB / 2 };

        must(svmd_drm_delegate(session, c->file, c->space, base, ROOM * MIB, 60000) == SVMD_OK);
        must(drmIoctl(c->fd, AMDGPU_GEM_VA, &own) == 0);
        must(differ(c) == MIB / 2);
        must(svmd_drm_settle(session, c->file, c->space, base) == SVMD_OK && differ(c) == MIB / 2);
        own.op = AMDGPU_VA_CLEAR;
        must(drmIoctl(c->fd, AMDGPU_GEM_VA, &own) == 0 && differ(c) == 0);
}

/* Of a leave that was too short svmd hears nothing, so nothing of it stays. */
static void takes_back(struct card *c) {
        must(svmd_drm_delegate(session, c->file, c->space, base, ROOM * MIB, 300) == SVMD_OK);
        if (bind_one(c, SVMD_DRM_MAP, 1) == SVMD_OK) { /* else the machine is slow, and it is over already */
                must(shown(c) == VECTOR);
                usleep(300 * 1000);
                must(bind_one(c, SVMD_DRM_MAP, 3) == SVMD_E_TIMEOUT);
        }
        must(shown(c) == VECTOR - 1 && differ(c) == 0);
        must(svmd_drm_delegate(session, c->file, c->space, base, ROOM * MIB, 1) == SVMD_OK);
        usleep(20000);
        must(svmd_drm_settle(session, c->file, c->space, base) == SVMD_E_TIMEOUT);
        must(svmd_drm_settle(session, c->file, c->space, base) == SVMD_E_NO_SUCH);
        must(bind_one(c, SVMD_DRM_MAP, 1) == SVMD_OK && bind_one(c, SVMD_DRM_UNMAP, 1) == SVMD_OK);
}

static void ends_with_its_page_table(struct card *c) {
        must(svmd_drm_delegate(session, c->file, c->space, base, ROOM * MIB, 60000) == SVMD_OK);
        must(bind_one(c, SVMD_DRM_MAP, 1) == SVMD_OK);
        must(svmd_drm_space_end(session, c->file, c->space) == SVMD_OK && open_grants() == 0);
        must(bind_one(c, SVMD_DRM_MAP, 1) == SVMD_E_NO_SUCH);
}

int main(void) {
        begin();
        must(svmd_drm_delegate(session, cards[0].file, cards[0].space, base + 1, MIB, 0) == SVMD_E_ALIGN);
        must(svmd_drm_delegate(session, cards[0].file, cards[0].space, base + MIB, ROOM * MIB, 0) == SVMD_E_RANGE);
        for (unsigned i = 0; i < CARDS; i++)
                bind_here(&cards[i]);
        for (unsigned i = 0; i < 2; i++) {
                says_which(&cards[i]);
                takes_back(&cards[i]);
        }
        tells_what_was_not_told(&cards[1]);
        for (unsigned i = 0; i < CARDS; i++)
                ends_with_its_page_table(&cards[i]);
        must(svmd_drm_delegate(session, cards[0].file, 0, base, MIB, 0) == SVMD_OK);
        svmd_disconnect(session); /* with a leave */
        puts("a program bound memory of three drivers itself, and svmd knew of it when it had to");
        return 0;
}
