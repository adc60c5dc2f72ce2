#pragma once

#include <stdint.h>

/*
 * Devices of drivers, looked at again while svmd runs: when the files that name them have changed, and when somebody
 * asks. To look opens devices, which wakes them up; what the files are called is read without, and never waits.
 *
 *      rests --period--> files as before --> rests
 *                        others ------> drivers are asked --told--> done() --> rests
 */
struct drm;
struct kfd;
struct rescan;

struct rescan_options {
        const char *sys_root, *dev_root; /* these stay */
        unsigned period_s;               /* 0: only when somebody asks */
        void *userdata;
        /* Starts to ask the drivers; NULL in `ret_kfd` as in kfd_new(). -ENOMEM, and nothing is there. */
        int (*begin)(void *userdata, struct kfd **ret_kfd, struct drm **ret_drm);
        /* They have said what there is, or have not for long; both are its to free. */
        void (*done)(void *userdata, struct kfd *kfd, struct drm *drm);
};

/* -ENOMEM, or -errno. */
int rescan_new(struct rescan **ret, const struct rescan_options *options);
/* Who is asked is asked no more. NULL is allowed, here and below. */
void rescan_stop(struct rescan *s);
void rescan_free(struct rescan *s);
/* Readable when a step has something to do. */
int rescan_fd(const struct rescan *s);
void rescan_step(struct rescan *s);
/* Looks, whatever the files are called; once more where it looks already. */
void rescan_now(struct rescan *s);
void rescan_set_period(struct rescan *s, unsigned period_s);
