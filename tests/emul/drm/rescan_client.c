/*
 * A program with page tables of two cards, one of which goes and comes (rescan.py): what it is told meanwhile, by what
 * it asks for. Each line that it reads is a step, after which it writes "done".
 *
 *      begin    memory of the xe, and bindings on both
 *      lost     the xe is not there: nothing is to be had on it, what it had stays charged, and the other card serves
 *      back     it is there
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "must.h"
#include "svmd.h"

#define MIB (1ull << 20)

enum { CARDS = 2 };
static const char *const names[CARDS] = { "drm0", "drm2" };
static svmd_session *session;
static char *base;
static struct card {
        svmd_node node;
        svmd_drm file;
        int fd;
        uint32_t space;
} cards[CARDS];

static int find_card(const struct svmd_node_row *row, void *userdata) {
        for (unsigned i = 0; i < CARDS; i++)
                if (strcmp(row->name, names[i]) == 0)
                        cards[i] = (struct card){ .node = row->id, .fd = open(row->device, O_RDWR | O_CLOEXEC) };
        return 0;
}

/* Nothing at a place of the page table. */
static int bind_at(const struct card *c, unsigned place) {
        struct svmd_drm_binding b = {
                .size = sizeof(b), .what = SVMD_DRM_EMPTY, .address = base + place * MIB, .length = MIB
        };

        return svmd_drm_bind(session, NULL, c->file, c->space, &b, 1, NULL);
}

static int on_use(const struct svmd_use_row *row, void *userdata) {
        uint64_t *used = userdata;

        if (row->node == cards[0].node && row->session == 0)
                *used = row->used;
        return 0;
}

static uint64_t charged(void) {
        uint64_t used = 0;

        must(svmd_query_limits(session, on_use, &used) == SVMD_OK);
        return used;
}

static void begin(void) {
        struct svmd_session_info info = { .size = sizeof(info) };
        uint32_t handle;

        must(svmd_connect(&session, NULL) == SVMD_OK);
        must(svmd_session_info(session, &info) == SVMD_OK);
        base = (char *)info.base;
        must(svmd_query_nodes(session, find_card, NULL) == SVMD_OK);
        for (unsigned i = 0; i < CARDS; i++) {
                struct card *c = &cards[i];

                must(c->fd > 0 && svmd_drm_give(session, &c->file, c->node, c->fd) == SVMD_OK);
                must(svmd_drm_space(session, c->file, &c->space) == SVMD_OK);
                must(bind_at(c, 0) == SVMD_OK);
        }
        must(svmd_drm_alloc(session, cards[0].file, MIB, &handle) == SVMD_OK);
        must(charged() == MIB); /* svmd has heard with that what became of the grant */
}

static void lost(void) {
        uint64_t differ;
        svmd_drm file;
        uint32_t handle;

        must(bind_at(&cards[0], 1) == SVMD_E_NO_NODE);
        must(strstr(svmd_error(), "drm0") && strstr(svmd_error(), "not there"));
        must(svmd_drm_check(session, cards[0].file, cards[0].space, &differ) == SVMD_E_NO_NODE);
        must(svmd_drm_alloc(session, cards[0].file, MIB, &handle) == SVMD_E_NO_NODE);
        must(svmd_drm_give(session, &file, cards[0].node, cards[0].fd) == SVMD_E_NO_NODE);
        must(charged() == MIB);
        must(bind_at(&cards[1], 1) == SVMD_OK);
}

/* The file that it had is the emulator's, so it serves still. */
static void back(void) {
        uint64_t differ = 1;
        uint32_t handle;

        must(bind_at(&cards[0], 0) == SVMD_E_TAKEN);
        must(bind_at(&cards[0], 1) == SVMD_OK);
        must(svmd_drm_check(session, cards[0].file, cards[0].space, &differ) == SVMD_OK && differ == 0);
        must(svmd_drm_alloc(session, cards[0].file, MIB, &handle) == SVMD_OK);
}

int main(void) {
        char line[16];

        setvbuf(stdout, NULL, _IOLBF, 0);
        while (fgets(line, sizeof(line), stdin)) {
                if (strcmp(line, "begin\n") == 0)
                        begin();
                else if (strcmp(line, "lost\n") == 0)
                        lost();
                else
                        back();
                puts("done");
        }
        return 0;
}
