/* Devices of drivers in the list of nodes: their numbers, and that no operation takes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/drm.h"
#include "backend/kfd.h"
#include "harness.h"

static struct world w;
static struct client a;
static char dir[] = "/tmp/svmd-devices-XXXXXX";

static void shell(const char *command) {
        char line[1024];

        snprintf(line, sizeof(line), "cd %s && %s", dir, command);
        assert_int_equal(system(line), 0);
}

static void await(void) {
        const struct drm_device *v;
        uint32_t count;
        char why[160], path[64];

        shell("mkdir dri && touch dri/card0 dri/card5 && printf '#!/bin/sh\\necho probe 1\\necho version 1 14\\n"
              "echo node 0 cpu 1 4096 -1 0x0 0 a\\necho node 1 gpu 104 68702699520 128 0x7 1 MI210\\n"
              "echo node 2 gpu 104 68702699520 129 0x7 1 MI210\\necho link 1 0 pcie 20 312 32000\\n"
              "echo link 1 2 xgmi 15 50000 50000\\necho link 2 1 xgmi 15 50000 50000\\n"
              "echo gpu 1 4711 0x1000000 0x800000000000\\necho xnack 1\\necho end\\n' >kfd && "
              "chmod 0700 kfd");
        snprintf(path, sizeof(path), "%s/kfd", dir);
        assert_int_equal(drm_new(&w.svc->options.drm, dir, dir), 0);
        assert_int_equal(kfd_new(&w.svc->options.kfd, path, 30000), 0);
        for (unsigned i = 0; i < 30000; i++) {
                if (drm_devices(w.svc->options.drm, &v, &count) &&
                    kfd_state(w.svc->options.kfd, why, sizeof(why)) != KFD_ASKED)
                        break;
                usleep(1000);
        }
        assert_int_equal(kfd_state(w.svc->options.kfd, why, sizeof(why)), KFD_TOLD);
        assert_int_equal(count, 2);
}

static Svmd__V1__NodesResult *list(uint32_t from) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_NODES);
        Svmd__V1__Result *r;

        op->nodes->from = from;
        r = client_call(&a, op);
        assert_int_equal(r->code, 0);
        assert_false(r->more);
        return r->nodes;
}

static void test_listed(void **state) {
        Svmd__V1__NodesResult *r = list(0);
        const Svmd__V1__Node *n;

        assert_int_equal(r->n_nodes, NODES + 4);
        n = r->nodes[NODES];
        assert_int_equal(n->id, 256);
        assert_string_equal(n->name, "drm0");
        assert_int_equal(n->kind, SVMD__V1__NODE_KIND__DRM);
        assert_false(n->online);
        assert_string_equal(n->device, "/dev/dri/card0");
        assert_true(n->trouble[0] != 0);
        assert_string_equal(r->nodes[NODES + 1]->name, "drm5");
        assert_int_equal(r->nodes[NODES + 1]->id, 261);
        n = r->nodes[NODES + 2];
        assert_int_equal(n->id, 513);
        assert_int_equal(n->kind, SVMD__V1__NODE_KIND__KFD);
        assert_string_equal(n->name, "kfd1");
        assert_string_equal(n->model, "MI210");
        assert_int_equal(n->capacity, 68702699520);
        assert_string_equal(n->device, "/dev/dri/renderD128");
        assert_int_equal(n->hive, 7);
        assert_true(n->faults);
        assert_int_equal(n->va_start, 16 << 20);
        assert_int_equal(n->va_end, 1ull << 47);
        assert_int_equal(list(NODES)->n_nodes, 4);
        assert_int_equal(list(257)->n_nodes, 3);
        assert_int_equal(list(262)->n_nodes, 2);
        assert_int_equal(list(514)->n_nodes, 1);
        assert_int_equal(list(515)->n_nodes, 0);
        assert_int_equal(list(UINT32_MAX)->n_nodes, 0);
}

static void test_links(void **state) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_LINKS);
        const Svmd__V1__LinksResult *r;

        op->links->node = 513;
        r = client_call(&a, op)->links;
        assert_int_equal(r->n_links, 2);
        assert_int_equal(r->links[0]->to, 0); /* its CPU node is the first host node */
        assert_string_equal(r->links[0]->type, "PCIe");
        assert_false(r->links[0]->peer);
        assert_int_equal(r->links[1]->to, 514);
        assert_string_equal(r->links[1]->type, "XGMI");
        assert_int_equal(r->links[1]->weight, 15);
        assert_int_equal(r->links[1]->min_bandwidth, 50000);
        assert_int_equal(r->links[1]->max_bandwidth, 50000);
        assert_true(r->links[1]->peer);
        op->links->node = 256;
        assert_int_equal(client_call(&a, op)->links->n_links, 0);
}

static void test_refused(void **state) {
        static const uint32_t there[] = { 256, 261, 513 }, not_there[] = { 255, 257, 260, 512, 515, UINT32_MAX };
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_LINKS);

        for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(client_call(&a, mk_create(there[i], 4096, 0))->code, SVMD_STATUS_NODE_KIND);
                assert_int_equal(client_call(&a, mk_space(there[i]))->code, SVMD_STATUS_NODE_KIND);
        }
        for (unsigned i = 0; i < 6; i++) {
                assert_int_equal(client_call(&a, mk_create(not_there[i], 4096, 0))->code, SVMD_STATUS_NO_NODE);
                op->links->node = not_there[i];
                assert_int_equal(client_call(&a, op)->code, SVMD_STATUS_NO_NODE);
        }
}

static int set_up(void **state) {
        if (!mkdtemp(dir))
                return -1;
        world_open(&w, 0);
        await();
        client_open(&w, &a, 1000, 1000, false);
        client_greet(&a, "");
        return 0;
}

static int tear_down(void **state) {
        struct drm *d = w.svc->options.drm;
        struct kfd *k = w.svc->options.kfd;

        client_close(&a);
        world_settle(&w);
        world_close(&w);
        drm_free(d);
        kfd_free(k);
        shell("rm -r dri kfd");
        return rmdir(dir);
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_listed), cmocka_unit_test(test_links),
                                            cmocka_unit_test(test_refused) };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
