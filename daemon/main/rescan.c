#include "main/rescan.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "backend/drm.h"
#include "backend/kfd.h"
#include "base/alloc.h"
#include "base/clock.h"

#define STEP_NS     20000000
#define PATIENCE_NS 30000000000ull

struct rescan {
        struct rescan_options options;
        int timer;
        uint64_t print; /* of the files, when it was looked last */
        struct kfd *kfd;
        struct drm *drm;   /* NULL: nobody is asked */
        uint64_t until_ns; /* they are waited for */
        bool again;
};

/* ---- what files there are ---- */

static uint64_t hash(const struct dirent *e) {
        uint64_t h = 0xcbf29ce484222325ull ^ e->d_ino;

        for (const char *c = e->d_name; *c; c++)
                h = (h ^ (uint8_t)*c) * 0x100000001b3ull;
        return h;
}

/* Whatever their order. A device that was exchanged for another one has another inode under its name. */
static uint64_t print_of_folder(const char *root, const char *folder) {
        const struct dirent *e;
        uint64_t sum = 0;
        char path[512];
        DIR *dir;

        snprintf(path, sizeof(path), "%s/%s", root, folder);
        dir = opendir(path);
        while (dir && (e = readdir(dir)))
                if (e->d_name[0] != '.')
                        sum += hash(e);
        if (dir)
                closedir(dir);
        return sum;
}

static uint64_t print_of(const struct rescan_options *o) {
        char path[512];

        snprintf(path, sizeof(path), "%s/kfd", o->dev_root);
        return print_of_folder(o->sys_root, "class/drm") * 31 +
               print_of_folder(o->sys_root, "class/kfd/kfd/topology/nodes") * 17 +
               print_of_folder(o->dev_root, "dri") * 7 + (access(path, F_OK) == 0);
}

/* ---- looking ---- */

static void rest(const struct rescan *s, time_t seconds, long ns) {
        const struct itimerspec at = { .it_value = { seconds, ns } };

        (void)timerfd_settime(s->timer, 0, &at, NULL);
}

static void begin(struct rescan *s) {
        s->again = false;
        s->print = print_of(&s->options);
        s->until_ns = clock_ns(CLOCK_MONOTONIC) + PATIENCE_NS;
        if (s->options.begin(s->options.userdata, &s->kfd, &s->drm) == 0)
                rest(s, 0, STEP_NS);
        else
                rest(s, s->options.period_s, 0); /* there may be memory then */
}

static bool have_told(const struct rescan *s) {
        const struct drm_device *devices;
        uint32_t count;
        char why[2];

        return kfd_state(s->kfd, why, sizeof(why)) != KFD_ASKED && drm_devices(s->drm, &devices, &count);
}

void rescan_step(struct rescan *s) {
        struct kfd *kfd = s->kfd;
        struct drm *drm = s->drm;
        uint64_t times;

        (void)!read(s->timer, &times, sizeof(times));
        if (drm && !have_told(s) && clock_ns(CLOCK_MONOTONIC) < s->until_ns) {
                rest(s, 0, STEP_NS);
                return;
        }
        if (drm) {
                s->kfd = NULL;
                s->drm = NULL;
                s->options.done(s->options.userdata, kfd, drm);
        }
        if (s->again || (s->options.period_s && print_of(&s->options) != s->print))
                begin(s);
        else
                rest(s, s->options.period_s, 0);
}

void rescan_now(struct rescan *s) {
        if (!s)
                return;
        if (s->drm)
                s->again = true;
        else
                begin(s);
}

void rescan_set_period(struct rescan *s, unsigned period_s) {
        if (!s || s->options.period_s == period_s)
                return;
        s->options.period_s = period_s;
        if (!s->drm)
                rest(s, period_s, 0);
}

int rescan_new(struct rescan **ret, const struct rescan_options *options) {
        struct rescan *s = alloc_zero(sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->options = *options;
        s->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (s->timer < 0) {
                int r = -errno;

                alloc_free(s);
                return r;
        }
        s->print = print_of(options);
        rest(s, options->period_s, 0);
        *ret = s;
        return 0;
}

void rescan_stop(struct rescan *s) {
        if (s)
                kfd_stop(s->kfd);
}

void rescan_free(struct rescan *s) {
        if (!s)
                return;
        kfd_free(s->kfd);
        drm_free(s->drm);
        close(s->timer);
        alloc_free(s);
}

int rescan_fd(const struct rescan *s) {
        return s->timer;
}
