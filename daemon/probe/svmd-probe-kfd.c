#include <errno.h>
#include <fcntl.h>
#include <hsakmt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "confine/confine.h"
#include "proto/uapi/kfd.h"

/*
 * Says what libhsakmt finds of AMD's driver, in the lines that daemon/backend/kfd.h describes, and ends. It is a
 * process of its own because the library asserts, waits for devices, and makes a KFD process of whoever opens it; svmd
 * gives it a few seconds and takes nothing on trust: it may make few system calls. `svmd-probe-kfd` by hand says the
 * same.
 *
 * Nothing of a device is changed: attributes of a page of this process are set and asked for, to see whether the kernel
 * takes them.
 */
enum { PAGE = 4096, NODES_MAX = 256 };

static const struct {
        HSA_IOLINKTYPE type;
        const char *name;
} link_types[] = {
        { HSA_IOLINKTYPE_HYPERTRANSPORT, "ht" }, { HSA_IOLINKTYPE_PCIEXPRESS, "pcie" },
        { HSA_IOLINKTYPE_AMBA, "amba" },         { HSA_IOLINKTYPE_MIPI, "mipi" },
        { HSA_IOLINK_TYPE_QPI_1_1, "qpi" },      { HSA_IOLINK_TYPE_XGMI, "xgmi" },
};

/* The library keeps no errno, but what its last system call left is still there. */
static void say_error(const char *what, HSAKMT_STATUS status) {
        printf("error %s %d %d\n", what, errno, (int)status);
}

static const char *link_name(HSA_IOLINKTYPE type) {
        for (unsigned i = 0; i < sizeof(link_types) / sizeof(link_types[0]); i++)
                if (link_types[i].type == type)
                        return link_types[i].name;
        return "other";
}

/* What a device is called, in one word. */
static void copy_name(char *to, size_t size, const HsaNodeProperties *p) {
        size_t n = 0;

        for (unsigned i = 0; i < HSA_PUBLIC_NAME_SIZE && p->MarketingName[i] && n + 1 < size; i++) {
                unsigned c = p->MarketingName[i];

                to[n++] = c > ' ' && c < 127 ? (char)c : '_';
        }
        if (n == 0)
                to[n++] = '-';
        to[n] = 0;
}

static int memory_of(HSAuint32 node, const HsaNodeProperties *p, uint64_t *ret) {
        HsaMemoryProperties banks[32] = { 0 };
        HSAuint32 count = p->NumMemoryBanks < 32 ? p->NumMemoryBanks : 32;
        HSAKMT_STATUS r = count ? hsaKmtGetNodeMemoryProperties(node, count, banks) : HSAKMT_STATUS_SUCCESS;

        *ret = 0;
        for (HSAuint32 i = 0; r == HSAKMT_STATUS_SUCCESS && i < count; i++)
                if (banks[i].HeapType == HSA_HEAPTYPE_SYSTEM || banks[i].HeapType == HSA_HEAPTYPE_FRAME_BUFFER_PUBLIC ||
                    banks[i].HeapType == HSA_HEAPTYPE_FRAME_BUFFER_PRIVATE)
                        *ret += banks[i].SizeInBytes;
        return (int)r;
}

static void say_links(HSAuint32 node, const HsaNodeProperties *p) {
        HsaIoLinkProperties links[256];
        HSAuint32 count = p->NumIOLinks < 256 ? p->NumIOLinks : 256;

        memset(links, 0, sizeof(links));
        if (count == 0)
                return;
        errno = 0;
        if (hsaKmtGetNodeIoLinkProperties(node, count, links) != HSAKMT_STATUS_SUCCESS)
                return;
        for (HSAuint32 i = 0; i < count; i++)
                printf("link %u %u %s %u %u %u\n", node, links[i].NodeTo, link_name(links[i].IoLinkType),
                       links[i].Weight, links[i].MinimumBandwidth, links[i].MaximumBandwidth);
}

static void say_node(HSAuint32 node) {
        HsaNodeProperties p = { 0 };
        HSAKMT_STATUS r;
        uint64_t bytes;
        char name[48];
        bool gpu;

        errno = 0;
        r = hsaKmtGetNodeProperties(node, &p);
        if (r != HSAKMT_STATUS_SUCCESS || (r = (HSAKMT_STATUS)memory_of(node, &p, &bytes)) != HSAKMT_STATUS_SUCCESS) {
                say_error("node", r);
                return;
        }
        gpu = p.NumFComputeCores > 0;
        copy_name(name, sizeof(name), &p);
        printf("node %u %s %u %" PRIu64 " %d 0x%llx %u %s\n", node, gpu ? "gpu" : "cpu",
               gpu ? p.NumFComputeCores : p.NumCPUCores, bytes, gpu ? (int)p.DrmRenderMinor : -1,
               (unsigned long long)p.HiveID, p.Capability.ui32.SVMAPISupported, name);
        if (gpu)
                printf("card %u 0x%" PRIx64 " %u %u\n", node, p.UniqueID, p.Domain, p.LocationId);
        say_links(node, &p);
}

/* KFD's number of a node; 0: it is no GPU. */
static uint32_t gpu_id(HSAuint32 node) {
        char path[96];
        uint32_t id = 0;
        FILE *f;

        snprintf(path, sizeof(path), "/sys/class/kfd/kfd/topology/nodes/%u/gpu_id", node);
        f = fopen(path, "re");
        if (!f)
                return 0;
        if (fscanf(f, "%" SCNu32, &id) != 1)
                id = 0;
        fclose(f);
        return id;
}

/* What the library makes of the apertures is its own choice; this is the driver's word. */
static void say_gpus(HSAuint32 nodes) {
        static struct kfd_aperture apertures[NODES_MAX];
        struct kfd_apertures_args a = { .apertures = (uintptr_t)apertures, .count = NODES_MAX };
        int fd = open("/dev/kfd", O_RDWR | O_CLOEXEC);

        if (fd < 0 || ioctl(fd, KFD_APERTURES, &a) < 0)
                a.count = 0;
        for (HSAuint32 node = 0; node < nodes; node++) {
                uint32_t id = gpu_id(node);

                for (uint32_t i = 0; id && i < a.count; i++)
                        if (apertures[i].gpu_id == id)
                                printf("gpu %u %u 0x%" PRIx64 " 0x%" PRIx64 "\n", node, id, apertures[i].gpuvm_base,
                                       apertures[i].gpuvm_limit + 1);
        }
        if (fd >= 0)
                close(fd);
}

static void say_topology(void) {
        HsaSystemProperties system = { 0 };
        HSAKMT_STATUS r;

        errno = 0;
        r = hsaKmtAcquireSystemProperties(&system);
        if (r != HSAKMT_STATUS_SUCCESS) {
                say_error("topology", r);
                return;
        }
        for (HSAuint32 i = 0; i < system.NumNodes; i++)
                say_node(i);
        say_gpus(system.NumNodes);
}

/* Whether the kernel takes attributes of shared virtual memory at all: granularity is no device's. */
static void say_svm(void) {
        HSA_SVM_ATTRIBUTE granularity = { HSA_SVM_ATTR_GRANULARITY, 9 };
        void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        HSAKMT_STATUS r;
        HSAint32 xnack = -1;

        if (page == MAP_FAILED)
                return;
        errno = 0;
        r = hsaKmtSVMSetAttr(page, PAGE, 1, &granularity);
        if (r != HSAKMT_STATUS_SUCCESS)
                say_error("svm-set", r);
        errno = 0;
        r = hsaKmtSVMGetAttr(page, PAGE, 1, &granularity);
        if (r != HSAKMT_STATUS_SUCCESS)
                say_error("svm-get", r);
        errno = 0;
        r = hsaKmtGetXNACKMode(&xnack);
        if (r != HSAKMT_STATUS_SUCCESS)
                say_error("xnack", r);
        else
                printf("xnack %d\n", xnack);
        munmap(page, PAGE);
}

int main(void) {
        HsaVersionInfo version = { 0 };
        HSAKMT_STATUS r;
        int confined;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        confined = confine_probe();
        if (confined < 0 && confined != -EOPNOTSUPP)
                fprintf(stderr, "svmd-probe-kfd: goes on without a filter of system calls: %s\n", strerror(-confined));
        printf("probe 1\n");
        errno = 0;
        if (access("/dev/kfd", R_OK | W_OK) < 0) {
                say_error("open", HSAKMT_STATUS_KERNEL_IO_CHANNEL_NOT_OPENED);
                printf("end\n");
                return 0;
        }
        errno = 0;
        r = hsaKmtOpenKFD();
        if (r != HSAKMT_STATUS_SUCCESS)
                say_error("library", r);
        errno = 0;
        r = hsaKmtGetVersion(&version);
        if (r == HSAKMT_STATUS_SUCCESS)
                printf("version %u %u\n", version.KernelInterfaceMajorVersion, version.KernelInterfaceMinorVersion);
        else
                say_error("version", r);
        say_topology();
        say_svm();
        printf("end\n");
        fflush(stdout);
        _exit(0); /* closing may assert, and there is nothing left to close */
}
