#include "service/drm.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "backend/drm.h"
#include "backend/drm_space.h"
#include "base/alloc.h"
#include "base/text.h"
#include "core/by_id.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/devices.h"
#include "service/drm_work.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/private.h"

int drm_table_new(struct drm_table **ret, uint64_t file, uint32_t number, bool made, bool lost) {
        struct drm_table *t = alloc_zero(sizeof(*t));

        if (!t)
                return -ENOMEM;
        list_init(&t->link);
        t->file = file;
        t->made = made;
        if (drm_space_new(&t->space, number, lost) < 0 || !(t->goodbye = drm_work_new(DRM_JOB_LET_GO, t->space, 0))) {
                drm_table_free(t);
                return -ENOMEM;
        }
        t->goodbye->work.last = true;
        *ret = t;
        return 0;
}

void drm_table_free(struct drm_table *t) {
        if (!t)
                return;
        if (t->goodbye)
                private_work_free(&t->goodbye->work);
        drm_space_drop(t->space);
        list_remove(&t->link);
        alloc_free(t);
}

struct drm_table *drm_table_find(const struct private_client *k, uint64_t file, uint32_t number) {
        if (k)
                list_for_each (l, &k->tables) {
                        struct drm_table *t = container_of(l, struct drm_table, link);

                        if (t->file == file && drm_space_number(t->space) == number)
                                return t;
                }
        return NULL;
}

const struct drm_bind_driver *drm_driver_of(const struct service *svc, uint32_t node) {
        const struct drm_device *v = devices_drm(svc, node);

        return v ? drm_bind_driver(v->driver) : NULL;
}

/* ---- files ---- */

static int is_same(int theirs, int fd) {
        return drm_file_is_of(getpid(), theirs, fd);
}

/* 1: a session has given that very open file, and has the page tables in it; 0, -errno. */
static int given_already(const struct service *svc, uint32_t node, int fd) {
        list_for_each (l, &svc->state.sessions) {
                const struct private_client *k = container_of(l, struct session, by_state)->devices;

                for (unsigned i = 0; k && k->lane && i < k->count; i++) {
                        int r = k->device[i].node == node ? is_same(lane_file(k->lane, i), fd) : 0;

                        if (r != 0)
                                return r;
                }
        }
        return 0;
}

/* What a session leaves, its lane takes out of the page tables after it: also what the next one has bound there. */
static int check_left(struct call *c, const struct drm_device *v, int fd) {
        int r = lanes_end_with(c->svc->private_memory.lanes, is_same, fd);

        if (r < 0)
                return refuse_errno(c, r, "whether that open file is left by another session");
        return r ? refuse(c, SVMD_STATUS_BUSY,
                          "a session that had given this open file of drm%u has ended, and svmd still takes out what was "
                          "bound in it: give it again in a moment, or open %s anew",
                          v->minor, v->node)
                 : 0;
}

int drm_check_file(struct call *c, uint32_t node, int fd) {
        const struct drm_device *v = devices_drm(c->svc, node);
        char path[512], why[160];
        int r;

        if (!drm_bind_driver(v->driver))
                return refuse(c, SVMD_STATUS_NODE_KIND,
                              "svmd changes page tables of xe, amdgpu and nouveau, and the driver of drm%u is %s",
                              v->minor, v->driver[0] ? v->driver : "not known");
        snprintf(path, sizeof(path), "%s%s", c->svc->options.dev_root, v->node + strlen("/dev"));
        if (!drm_file_is(path, v->driver, fd, why, sizeof(why)))
                return refuse(c, SVMD_STATUS_FD_KIND, "%s", why);
        r = given_already(c->svc, node, fd);
        if (r < 0)
                return refuse_errno(c, r, "whether that open file is another session's");
        if (r)
                return refuse(
                        c, SVMD_STATUS_TAKEN,
                        "a session has given this open file of drm%u already, and its page tables are that one's: "
                        "open %s anew",
                        v->minor, v->node);
        return check_left(c, v, fd);
}

/* ---- what became of them ---- */

static void note(struct service *svc, const struct session *s, const struct drm_table *t, bool gone) {
        struct effect_drm_space e = { .file = t->file,
                                      .session = s->object.id,
                                      .number = drm_space_number(t->space),
                                      .made = t->made,
                                      .gone = gone };

        journal_note(svc, EFFECT_DRM_SPACE, &e, sizeof(e));
}

static void begin(struct service *svc, struct session *s, struct drm_work *x, struct device_result *d) {
        struct private_client *k = s->devices;

        if (drm_table_find(k, x->file, drm_space_number(x->space))) {
                d->code = SVMD_STATUS_TAKEN;
                snprintf(d->text, sizeof(d->text), "this session has page table %u of that file already%s",
                         drm_space_number(x->space),
                         x->driver->many_spaces ? "" : ", and it is all that a file has: open another, and give it");
                return;
        }
        list_push_back(&k->tables, &x->table->link);
        note(svc, s, x->table, false);
        x->table = NULL;
}

static void end(struct service *svc, struct session *s, const struct drm_work *x) {
        struct drm_table *t = drm_table_find(s->devices, x->file, drm_space_number(x->space));

        if (!t || t->space != x->space)
                return;
        note(svc, s, t, true);
        drm_table_free(t);
}

static void tell(struct service *svc, const struct session *s, const struct drm_work *x,
                 const struct device_result *d) {
        struct drm_table *t = drm_table_find(s->devices, x->file, drm_space_number(x->space));

        if (t && t->space == x->space) {
                t->differs = d->value;
                text_copy(t->how, d->text);
        }
        if (d->value)
                event_monitor(svc, "remapped", s, s->partition->name->text,
                              "page table of %s (pid %u) is not as svmd left it: %s", s->client, s->pid, d->text);
}

void drm_done(struct service *svc, struct session *s, struct private_work *w, struct device_result *d) {
        struct drm_work *x = container_of(w, struct drm_work, work);

        drm_work_say(x, d);
        if (x->job == DRM_JOB_LET_GO && (x->result == 0 || x->result == -ENOENT))
                end(svc, s, x);
        else if (x->job == DRM_JOB_CHECK && x->result == 0)
                tell(svc, s, x, d);
        else if (x->table && x->result == 0)
                begin(svc, s, x, d);
}

static void count_differing(const struct session *s, struct drm_differing *ret) {
        const struct private_client *k = s->devices;

        list_for_each (l, &k->tables) {
                const struct drm_table *t = container_of(l, struct drm_table, link);

                if (t->differs && ret->tables++ == 0) {
                        ret->session = s;
                        ret->first = t;
                }
        }
}

void drm_differing(const struct service *svc, struct drm_differing *ret) {
        *ret = (struct drm_differing){ 0 };
        list_for_each (l, &svc->state.sessions) {
                const struct session *s = container_of(l, struct session, by_state);

                if (s->devices)
                        count_differing(s, ret);
        }
}

int drm_file_of(const struct private_client *k, uint64_t id) {
        for (unsigned i = 0; i < k->count; i++)
                if (k->device[i].id == id)
                        return (int)i;
        return -1;
}

/* Where the device is gone there is nothing to unmap. */
static void say_goodbye(struct service *svc, const struct session *s, struct drm_table *t) {
        const struct private_client *k = s->devices;
        int file = drm_file_of(k, t->file);
        struct drm_work *x = t->goodbye;

        x->driver = file < 0 ? NULL : drm_driver_of(svc, k->device[file].node);
        if (!x->driver || !k->lane)
                return;
        x->work.file = (uint32_t)file;
        x->start = s->partition->slice.start;
        x->size = s->partition->slice.size;
        x->made = t->made;
        t->goodbye = NULL;
        lane_submit(k->lane, &x->work);
}

void drm_goodbye(struct service *svc, struct session *s) {
        struct private_client *k = s->devices;

        list_for_each_safe (l, &k->tables) {
                struct drm_table *t = container_of(l, struct drm_table, link);

                if (!svc->replaying)
                        say_goodbye(svc, s, t);
                drm_table_free(t);
        }
}

/* ---- journal ---- */

int drm_put(struct service *svc, const struct session *s) {
        const struct private_client *k = s->devices;
        int r = 0;

        list_for_each (l, &k->tables) {
                const struct drm_table *t = container_of(l, struct drm_table, link);
                struct effect_drm_space e = {
                        .file = t->file, .session = s->object.id, .number = drm_space_number(t->space), .made = t->made
                };

                if (r == 0)
                        r = journal_snapshot_put(svc->journal, EFFECT_DRM_SPACE, &e, sizeof(e));
        }
        return r;
}

int drm_replay(struct service *svc, const void *bytes, char *why, size_t why_size) {
        const struct effect_drm_space *e = bytes;
        struct session *s = session_by_id(&svc->state, e->session);
        struct drm_table *t = s ? drm_table_find(s->devices, e->file, e->number) : NULL;

        if (!t != !e->gone || !s || !s->devices || drm_file_of(s->devices, e->file) < 0) {
                snprintf(why, why_size, "the journal has a page table of a device's file that cannot be");
                return -EBADMSG;
        }
        if (e->gone) {
                drm_table_free(t);
                return 0;
        }
        if (drm_table_new(&t, e->file, e->number, e->made, true) < 0)
                return -ENOMEM;
        list_push_back(&((struct private_client *)s->devices)->tables, &t->link);
        return 0;
}
