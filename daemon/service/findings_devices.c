#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backend/drm.h"
#include "backend/kfd.h"
#include "base/text.h"
#include "service/internal.h"
#include "smi/listener.h"

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
                     "AMD's driver has %u GPU%s and %u CPU node%s (/dev/kfd %u.%u); their memory is made by clients, "
                     "under grants",
                     gpus, gpus == 1 ? "" : "s", cpus, cpus == 1 ? "" : "s", r->major, r->minor);
}

/* Whether no GPU before this one is in its hive. */
static bool is_first_of_hive(const struct kfd_report *r, uint32_t index) {
        for (uint32_t i = 0; i < index; i++)
                if (r->nodes[i].gpu && r->nodes[i].hive == r->nodes[index].hive)
                        return false;
        return true;
}

/* Of one GPU alone there is nothing to say. */
static void kfd_links(const struct teller *t, const struct kfd_report *r) {
        uint32_t gpus = 0, hives = 0, alone = 0;

        for (uint32_t i = 0; i < r->nodes_count; i++) {
                const struct kfd_node *n = &r->nodes[i];

                gpus += n->gpu;
                alone += n->gpu && n->hive == 0;
                hives += n->gpu && n->hive && is_first_of_hive(r, i);
        }
        if (gpus > 1 && hives == 1 && alone == 0)
                tell(t, "kfd-links", GOOD, "the %u AMD GPUs are in one hive: fast links lead from each to each", gpus);
        else if (gpus > 1)
                tell(t, "kfd-links", NOTE,
                     "of %u AMD GPUs %u are in no hive, and the others in %u: between them there is no fast link, and what "
                     "GPUs of several may access the driver prefetches to host memory; svmd-ctl node show has the links",
                     gpus, alone, hives);
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
                     "svmd-ctl reload asks it again",
                     why);
                return;
        case KFD_TOLD: break;
        }
        r = kfd_report(k);
        if (!kfd_opened(t, r))
                return;
        kfd_nodes(t, r);
        kfd_links(t, r);
        kfd_svm(t, r);
}

/* Of GPUs that are nodes: nobody listens where there is none. */
static void smi(const struct teller *t, const struct smi_listener *l) {
        const struct smi_heard *h;

        if (!l)
                return;
        h = smi_listener_heard(l);
        if (h->streams && !h->ended && !h->error)
                tell(t, "kfd-events", GOOD, "AMD's driver tells svmd what happens on %u GPU%s", h->streams,
                     h->streams == 1 ? "" : "s");
        else if (h->streams)
                tell(t, "kfd-events", WARNING,
                     "AMD's driver tells svmd of %u GPU%s alone: %s. svmd-ctl reload asks for the others", h->streams,
                     h->streams == 1 ? "" : "s", h->error ? strerror(-h->error) : "streams have ended");
        else if (h->asked == SMI_NOBODY)
                tell(t, "kfd-events", NOTE,
                     "AMD's driver does not tell svmd of faults, moves and stopped queues, and all else works: systemctl "
                     "enable --now svmd-smi.socket, then svmd-ctl reload");
        else if (h->asked == SMI_ASKED)
                tell(t, "kfd-events", NOTE,
                     "svmd-smi is asked for what AMD's driver tells; if that stays so, see systemctl status svmd-smi");
        else
                tell(t, "kfd-events", WARNING, "AMD's driver does not tell svmd what happens, and all else works: %s",
                     h->asked == SMI_FAILED ? h->why
                     : h->error             ? strerror(-h->error)
                                            : "its streams have ended; svmd-ctl reload asks for others");
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

/* What the last look at drift found. */
static void nvml(const struct teller *t, const struct drifting_nvml *v) {
        char used[24], total[24], charged[24], others[24];

        if (v->why[0])
                tell(t, "nvml", WARNING,
                     "what NVIDIA's driver counts is unknown, and nothing else is affected: svmd-probe-nvml %s",
                     v->why);
        else if (v->absent)
                tell(t, "nvml", NOTE,
                     "there is no libnvidia-ml.so.1 here, so what NVIDIA's driver counts is not compared with what svmd "
                     "gave out (Debian: libnvidia-ml1)");
        for (uint32_t i = 0; i < v->count; i++) {
                const struct drifting_device *d = &v->devices[i];

                if (d->error[0]) {
                        tell(t, "nvml", WARNING, "NVIDIA's driver says nothing of %s: %s; see nvidia-smi", d->name,
                             d->error);
                        continue;
                }
                text_bytes(used, sizeof(used), d->used);
                text_bytes(total, sizeof(total), d->total);
                text_bytes(charged, sizeof(charged), d->charged);
                text_bytes(others, sizeof(others), d->others);
                tell(t, "nvml", d->others ? NOTE : GOOD,
                     "%s: NVIDIA's driver counts %s of %s used, svmd gave out %s; %s are of programs without svmd%s",
                     d->name, used, total, charged, others, d->others ? " (svmd-ctl usage --drift)" : "");
        }
}

/* Nodes that give out more than there is. */
static void nvml_sizes(const struct teller *t, const struct service *svc) {
        const struct drifting_nvml *v = &svc->drifting.nvml;
        char size[24], total[24];

        for (uint32_t k = 0, i = 0; i < svc->options.machine->count && k < v->count; i++) {
                const struct node_desc *n = node_desc(svc, i);

                if (n->kind != NODE_CUDA)
                        continue;
                text_bytes(size, sizeof(size), n->capacity);
                text_bytes(total, sizeof(total), v->devices[k].total);
                if (!v->devices[k].error[0] && n->capacity > v->devices[k].total)
                        tell(t, "nvml-size", WARNING,
                             "%s gives out %s and the device has %s: set a smaller size in svmd.conf, or CUDA refuses what "
                             "svmd has allowed",
                             n->name, size, total);
                k++;
        }
}

void findings_devices(const struct service *svc, finding_fn say, void *userdata) {
        const struct teller t = { say, userdata };

        kfd(&t, svc->options.kfd);
        smi(&t, svc->options.smi);
        drm(&t, svc->options.drm);
        if (svc->found_new)
                tell(&t, "devices-new", NOTE,
                     "%u device%s came while svmd ran, and can be a node when svmd starts anew: svmd-ctl upgrade",
                     svc->found_new, svc->found_new == 1 ? "" : "s");
        nvml(&t, &svc->drifting.nvml);
        nvml_sizes(&t, svc);
        dmabufs(&t, svc);
}
