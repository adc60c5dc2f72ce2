#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backend/drm.h"
#include "backend/kfd.h"
#include "service/internal.h"

/* What `svmd-ctl doctor` says of the drivers of devices: what was found, what they refuse, and what to do about it. */

enum { GOOD, NOTE, WARNING };

struct teller {
        finding_fn say;
        void *userdata;
};

__attribute__((format(printf, 4, 5))) static void tell(const struct teller *t, const char *id, unsigned level,
                                                       const char *format, ...) {
        char text[320];
        va_list ap;

        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        t->say(t->userdata, id, level, text);
}

static const char *status_word(int status) {
        static const struct {
                int status;
                const char *word;
        } words[] = {
                { 1, "error" },
                { 2, "driver mismatch" },
                { 3, "invalid parameter" },
                { 5, "invalid node" },
                { 6, "no memory" },
                { 10, "not implemented" },
                { 11, "not supported" },
                { 12, "unavailable" },
                { 13, "out of resources" },
                { 20, "/dev/kfd not open" },
                { 21, "the kernel refused" },
        };

        for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
                if (words[i].status == status)
                        return words[i].word;
        return "a status that svmd does not know";
}

static void no_driver(const struct teller *t) {
        tell(t, "kfd", NOTE,
             "there is no /dev/kfd, so no AMD GPU is in reach: where the machine has one, load its driver "
             "(modprobe amdgpu)");
}

/* Whether there is anything more to say. */
static bool kfd_opened(const struct teller *t, const struct kfd_report *r) {
        const struct kfd_error *e = kfd_report_error(r, "open");

        if (e && (e->error == ENOENT || e->error == ENODEV || e->error == ENXIO))
                no_driver(t);
        else if (e && (e->error == EACCES || e->error == EPERM))
                tell(t, "kfd", WARNING,
                     "svmd may not open /dev/kfd: put its user into the group that has it (ls -l /dev/kfd; mostly "
                     "render), and start it anew");
        else if (e)
                tell(t, "kfd", WARNING, "/dev/kfd cannot be opened: %s", strerror(e->error));
        else if ((e = kfd_report_error(r, "version")) || (e = kfd_report_error(r, "library")) ||
                 (e = kfd_report_error(r, "topology")) || (e = kfd_report_error(r, "node")))
                tell(t, "kfd", WARNING,
                     "AMD GPUs are unknown: libhsakmt fails at \"%s\" (%s; %s). Look at dmesg for amdgpu, and whether "
                     "kernel and library fit together",
                     e->what, status_word(e->status), e->error ? strerror(e->error) : "no system call failed");
        else
                return true;
        return false;
}

static void kfd_nodes(const struct teller *t, const struct kfd_report *r) {
        uint32_t gpus = 0, cpus;

        for (uint32_t i = 0; i < r->nodes_count; i++)
                gpus += r->nodes[i].gpu;
        cpus = r->nodes_count - gpus;
        if (gpus == 0)
                tell(t, "kfd", NOTE, "AMD's driver is there (/dev/kfd %u.%u, %u CPU node%s), and has no GPU", r->major,
                     r->minor, cpus, cpus == 1 ? "" : "s");
        else
                tell(t, "kfd", GOOD,
                     "AMD's driver has %u GPU%s and %u CPU node%s (/dev/kfd %u.%u); this version of svmd does not place "
                     "memory on them",
                     gpus, gpus == 1 ? "" : "s", cpus, cpus == 1 ? "" : "s", r->major, r->minor);
}

static void kfd_svm(const struct teller *t, const struct kfd_report *r) {
        const struct kfd_error *set = kfd_report_error(r, "svm-set"), *xnack = kfd_report_error(r, "xnack");

        if (set && set->error == EPERM)
                tell(t, "kfd-svm", NOTE,
                     "this kernel's AMD driver has no shared virtual memory (%s): it was built without "
                     "CONFIG_HSA_AMD_SVM, which needs CONFIG_DEVICE_PRIVATE. Boot a kernel that has it, or use explicit "
                     "memory on these GPUs",
                     strerror(set->error));
        else if (set)
                tell(t, "kfd-svm", WARNING,
                     "AMD's driver refuses attributes of shared virtual memory (%s; %s): look at dmesg for amdgpu",
                     status_word(set->status), set->error ? strerror(set->error) : "no system call failed");
        else
                tell(t, "kfd-svm", GOOD, "AMD's driver takes attributes of shared virtual memory");
        if (!set && xnack)
                tell(t, "kfd-xnack", NOTE,
                     "the AMD GPUs serve no faults (XNACK: %s): what they use must be prefetched or pinned first",
                     status_word(xnack->status));
        else if (!set && r->has_xnack)
                tell(t, "kfd-xnack", r->xnack > 0 ? GOOD : NOTE,
                     r->xnack > 0 ? "the AMD GPUs serve faults (XNACK is on)"
                                  : "the AMD GPUs serve no faults (XNACK is off): what they use must be prefetched or "
                                    "pinned first, or XNACK turned on (HSA_XNACK=1) where they can");
}

static void kfd(const struct teller *t, struct kfd *k) {
        const struct kfd_report *r;
        char why[192] = "";

        switch (kfd_state(k, why, sizeof(why))) {
        case KFD_ABSENT: no_driver(t); return;
        case KFD_ASKED:
                tell(t, "kfd", NOTE, "svmd-probe-kfd is asking AMD's driver what there is; look again in a moment");
                return;
        case KFD_FAILED:
                tell(t, "kfd", WARNING,
                     "AMD GPUs are unknown, and nothing else is affected: svmd-probe-kfd %s. Run it by hand to see more; "
                     "svmd asks it again when it is started anew",
                     why);
                return;
        case KFD_TOLD: break;
        }
        r = kfd_report(k);
        if (!kfd_opened(t, r))
                return;
        kfd_nodes(t, r);
        kfd_svm(t, r);
}

static void drm(const struct teller *t, struct drm *d) {
        const struct drm_device *v;
        uint32_t count, failed = 0, shares = 0;
        char names[160] = "";

        if (!drm_devices(d, &v, &count)) {
                tell(t, "drm", NOTE,
                     "svmd is looking at the devices of DRM drivers; look again in a moment. If that stays so, a driver "
                     "does not answer: see dmesg");
                return;
        }
        for (uint32_t i = 0; i < count; i++) {
                size_t n = strlen(names);

                failed += v[i].error != 0;
                shares += v[i].import && v[i].export_;
                snprintf(names + n, sizeof(names) - n, "%sdrm%u %s", n ? ", " : "", v[i].minor,
                         v[i].driver[0] ? v[i].driver : "?");
        }
        if (count == 0)
                tell(t, "drm", NOTE, "there are no devices of DRM drivers (/dev/dri)");
        else
                tell(t, "drm", GOOD, "%u device%s of DRM drivers (%s), of which %u share memory both ways", count,
                     count == 1 ? "" : "s", names, shares);
        for (uint32_t i = 0; i < count; i++)
                if (v[i].error) {
                        tell(t, "drm-open", WARNING,
                             "%u of them cannot be asked: %s is \"%s\". Let svmd's user open it (groups video and "
                             "render)",
                             failed, v[i].node, strerror(v[i].error));
                        return;
                }
}

static void dmabufs(const struct teller *t, const struct service *svc) {
        bool heap = svc->seen.files.dma_heap, udmabuf = svc->seen.files.udmabuf;

        if (heap && udmabuf)
                tell(t, "dma-buf", GOOD,
                     "memory for devices can be made by /dev/dma_heap/system and /dev/udmabuf, and "
                     "imported");
        else
                tell(t, "dma-buf", NOTE,
                     "there is no %s: memory that several devices use comes from %s (CONFIG_DMABUF_HEAPS_SYSTEM, "
                     "CONFIG_UDMABUF)",
                     heap      ? "/dev/udmabuf"
                     : udmabuf ? "/dev/dma_heap/system"
                               : "/dev/dma_heap/system and /dev/udmabuf",
                     heap      ? "/dev/dma_heap or a driver"
                     : udmabuf ? "/dev/udmabuf or a driver"
                               : "a driver");
}

void findings_devices(const struct service *svc, finding_fn say, void *userdata) {
        const struct teller t = { say, userdata };

        kfd(&t, svc->options.kfd);
        drm(&t, svc->options.drm);
        dmabufs(&t, svc);
}
