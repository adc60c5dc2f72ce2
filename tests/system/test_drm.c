/*
 * The devices of DRM drivers, as svmd lists them, against what libdrm says here and now. With names of drivers, these
 * must be there (the guest of ./dev vm); on a machine without any that is what svmd says.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xf86drm.h>

#include "daemon.h"
#include "drm_device.h"
#include "harness.h"

enum { DEVICES_MAX = 64 };

static struct daemon d;
static svmd_session *watcher;

struct rows {
        unsigned count;
        struct device {
                svmd_node id;
                char name[32], driver[64], path[64];
                unsigned can;
        } device[DEVICES_MAX];
};

static int on_node(const struct svmd_node_row *row, void *userdata) {
        struct rows *r = userdata;

        if (row->kind != SVMD_NODE_DRM)
                return 0;
        must(r->count < DEVICES_MAX);
        r->device[r->count].id = row->id;
        r->device[r->count].can = row->can;
        snprintf(r->device[r->count].name, sizeof(r->device[0].name), "%s", row->name);
        snprintf(r->device[r->count].driver, sizeof(r->device[0].driver), "%s", row->driver);
        snprintf(r->device[r->count].path, sizeof(r->device[0].path), "%s", row->device);
        r->count++;
        return 0;
}

struct look {
        char text[512];
        unsigned level;
};

static int on_finding(const char *id, unsigned level, const char *text, void *userdata) {
        struct look *l = userdata;

        if (strcmp(id, "drm") == 0) {
                l->level = level;
                snprintf(l->text, sizeof(l->text), "%s", text);
        }
        return 0;
}

static struct look finding(void) {
        uint64_t until = now_ms() + CEILING_MS;
        struct look l;

        do {
                l = (struct look){ 0 };
                ok(svmd_query_findings(watcher, on_finding, &l));
                must(l.text[0] != 0);
                if (!strstr(l.text, "look again"))
                        return l;
                usleep(2000);
        } while (now_ms() < until);
        fail_here(l.text);
}

static const struct device *find(const struct rows *r, const char *name) {
        for (unsigned i = 0; i < r->count; i++)
                if (strcmp(r->device[i].name, name) == 0)
                        return &r->device[i];
        return NULL;
}

/* libdrm, from here. Returns whether there is such a card. */
static bool compare(const struct rows *r, unsigned card) {
        char path[32], name[16];
        uint64_t prime = 0, syncobj = 0;
        const struct device *v;
        drmVersionPtr version;
        int fd;

        snprintf(path, sizeof(path), "/dev/dri/card%u", card);
        snprintf(name, sizeof(name), "drm%u", card);
        fd = open(path, O_RDWR | O_CLOEXEC);
        v = find(r, name);
        must((fd >= 0) == (v != NULL));
        if (fd < 0)
                return false;
        version = drmGetVersion(fd);
        must(version && strcmp(version->name, v->driver) == 0);
        drmFreeVersion(version);
        must(drmGetCap(fd, DRM_CAP_PRIME, &prime) == 0);
        (void)drmGetCap(fd, DRM_CAP_SYNCOBJ, &syncobj);
        must(!(prime & DRM_PRIME_CAP_IMPORT) == !(v->can & SVMD_NODE_IMPORT));
        must(!(prime & DRM_PRIME_CAP_EXPORT) == !(v->can & SVMD_NODE_EXPORT));
        must(!syncobj == !(v->can & SVMD_NODE_SYNCOBJ));
        must(access(v->path, F_OK) == 0);
        printf("%s: %s, %s%s%s%s\n", v->name, v->driver, v->path, v->can & SVMD_NODE_IMPORT ? ", import" : "",
               v->can & SVMD_NODE_EXPORT ? ", export" : "", v->can & SVMD_NODE_SYNCOBJ ? ", syncobj" : "");
        close(fd);
        return true;
}

static void no_memory_there(const struct rows *r) {
        svmd_session *s;
        svmd_mem mem;

        connect_to(&s, d.socket, NULL);
        for (unsigned i = 0; i < r->count; i++) {
                want(SVMD_E_NODE_KIND, svmd_mem_create(s, &mem, 4096, r->device[i].id, 0));
                must(strstr(svmd_error(), "driver's device") != NULL);
        }
        svmd_disconnect(s);
}

int main(int argc, char **argv) {
        static struct rows rows;
        struct look l;
        unsigned there = 0;

        harness_begin("drm");
        daemon_new(&d, (const char *const[]){ "--soft-node=gpu0:size=64M", NULL });
        connect_watcher(&watcher, d.admin);
        l = finding();
        ok(svmd_query_nodes(watcher, on_node, &rows));
        for (unsigned i = 0; i < DEVICES_MAX; i++)
                there += compare(&rows, i);
        must(there == rows.count);
        no_memory_there(&rows);
        printf("%s\n", l.text);
        must(l.level == (there ? SVMD_FINDING_GOOD : SVMD_FINDING_NOTE));
        for (int i = 1; i < argc; i++) {
                struct drm_device dev;

                must(drm_device_open(&dev, argv[i]));
                drm_device_close(&dev);
                must(strstr(l.text, argv[i]) != NULL);
        }
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
