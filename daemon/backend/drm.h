#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The devices that DRM drivers have, as they say themselves (libdrm): looked at once, in a thread of its own, because
 * to open a device may wake it up and take seconds. Nothing of a device is changed.
 */
enum { DRM_DEVICES_MAX = 64 };

struct drm_device {
        unsigned minor;   /* of /dev/dri/cardN */
        char node[64];    /* the file that was opened: its render node, or where there is none the card */
        char driver[32];  /* empty: it could not be asked */
        char version[32]; /* of the driver */
        char model[64];   /* what the driver calls itself */
        char bus[32];     /* "pci 0000:03:00.0", "platform", or "" */
        bool render;      /* it has a render node */
        bool import, export_, syncobj, timeline; /* PRIME and synchronisation objects */
        int error;                               /* errno of opening it, or 0 */
        uint64_t capacity, used;                 /* bytes of its own memory, as its driver says; 0: none, or not told */
        bool varies;                        /* `capacity` is what programs may have now, which is not always the same */
        unsigned functions, functions_most; /* SR-IOV: virtual functions that it has, and can have */
        char physical[32];                  /* a virtual function: the bus address of its device, as `bus`; or "" */
};

struct drm;
/* Below `dev_root` and `sys_root`, which stay. -ENOMEM. */
int drm_new(struct drm **ret, const char *dev_root, const char *sys_root);
/* Does not wait for a driver that does not answer. NULL is allowed. */
void drm_free(struct drm *d);
/* In the order of their minors; they stay until drm_free(). False: it is still looking. Any thread. */
bool drm_devices(struct drm *d, const struct drm_device **ret, uint32_t *ret_count);
