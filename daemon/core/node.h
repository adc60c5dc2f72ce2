#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What a node is, before anything runs on it: plain data, from options, a recorded machine or this machine. */
#define NODE_NAME_MAX 31
#define NODE_MAX      256

/* The kinds that something beside their own file knows of. Others have a number that none has here or in svmd.proto. */
enum node_kind {
        NODE_HOST = 1,
        NODE_SOFT = 2,
        NODE_HMM = 3,  /* the kernel's HMM test device: it has private memory of processes, and nothing else */
        NODE_KFD = 4,  /* a GPU of AMD's compute driver: its clients execute everything, with libhsakmt or without */
        NODE_DRM = 5,  /* a GPU of a DRM driver: svmd binds by its clients' files, and clients do the rest */
        NODE_CUDA = 6, /* an NVIDIA device: its clients execute everything, with CUDA in their processes */
};

struct node_link {
        uint32_t to; /* index in the same table of nodes */
        char type[12];
        uint32_t weight;
        uint64_t min_bandwidth, max_bandwidth; /* MB/s; 0: not stated */
        bool peer;                             /* direct access between two devices, beside the io_links */
};

/* The hardware that a device is, as its driver tells it; all 0: not told. */
struct card {
        uint64_t unique; /* a number that no other hardware has, the same for partitions of one GPU; 0: it has none */
        uint32_t id;     /* the driver's, made of the place and the model */
        uint32_t domain,
                location; /* on PCI; location: bus << 8 | device << 3 | function, partition in the upper 4 bits */
};

enum card_match { CARD_OTHER, CARD_MOVED /* the same hardware in another place */, CARD_SAME };

struct node_desc {
        char name[NODE_NAME_MAX + 1];
        enum node_kind kind;
        bool faults;       /* soft: an access to what is elsewhere can be served (XNACK on) */
        bool found;        /* kfd, drm: a driver's, and nothing that was configured */
        uint64_t capacity; /* bytes, a multiple of 4 KiB */
        uint64_t hive;     /* 0: none */
        char model[64];
        char device[64];    /* hmm, kfd, drm: the file that clients open */
        uint32_t number;    /* kfd, drm: what the driver calls it: number in KFD's topology, minor of the DRM card */
        uint32_t driver_id; /* kfd: number in KFD's calls; 0: not told, or another GPU's now */
        struct card card;   /* kfd: what it is known by, over a restart too */
        bool managed;       /* cuda: svmd moves managed pages there */
        char agent[96];     /* then: the socket of svmd-cuda */
        uint32_t agent_patience_ms; /* cuda: for a process to let go of what it has mapped there */
        char dmem[96]; /* region of the kernel's dmem that its memory is, drm/0000:03:00.0/vram0; "": none */
        int numa;      /* host: the NUMA node of this machine its memory is bound to, -1: wherever */
        bool far;      /* host: memory without CPUs (CXL, say) */
        uint64_t va_start, va_end; /* addresses that its spaces can show */
        struct node_link *links;
        uint32_t links_count;
};

bool card_is_told(const struct card *c);
/* Of two that are told. Without numbers of the hardware, another one of that model in the same place is the same. */
enum card_match card_match(const struct card *known, const struct card *seen);

struct machine {
        struct node_desc *nodes;
        uint32_t count;
};

/* Index of the node that was found as a driver's, by what the driver calls it; m->count: there is none. */
uint32_t machine_found(const struct machine *m, enum node_kind kind, uint32_t number);
/* Releases what the table owns (nodes and their links). */
void machine_fini(struct machine *m);
/* Appends a zeroed node. NULL: out of memory or NODE_MAX. */
struct node_desc *machine_add(struct machine *m);
/* Takes the nodes from the `count`th on away again. */
void machine_cut(struct machine *m, uint32_t count);
/* Appends a link; -ENOMEM. */
int machine_link(struct node_desc *n, const struct node_link *link);
/* NULL: no node of that name. */
struct node_desc *machine_find(const struct machine *m, const char *name);
/* Do two nodes reach one another's memory directly: an io_link or p2p link between them, or one of them is a host node.
 */
bool machine_reaches(const struct machine *m, uint32_t from, uint32_t to);
