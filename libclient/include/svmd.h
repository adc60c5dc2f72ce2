#ifndef SVMD_H
#define SVMD_H

/*
 * libsvmd: shared addresses over processes and devices, brokered by svmd.
 *
 *      svmd_connect()                attach to a partition: a slice of addresses, the same in every process
 *      svmd_address_reserve()        1. reserve an address
 *      svmd_mem_create()             2. create memory on a node
 *      svmd_mem_map()                3. show it at the address, to the CPU or to a device's space
 *      svmd_mem_set_access()         4. set access
 *
 * Conventions, which hold for every function unless it says otherwise:
 *  - Sizes, offsets and addresses are bytes and multiples of SVMD_PAGE (4 KiB). Device memory may round up further:
 *    svmd_mem_granularity() says to what.
 *  - The return value is 0 or a positive SVMD_E_* code; svmd_error() then gives the sentence that goes with it,
 *    usually written by the daemon. Outputs are untouched on failure.
 *  - Functions may be called from any thread. Those of one session are sent in the order in which they are called.
 *  - An object named by a handle (memory, space) belongs to the session; ending the session releases it.
 *  - After fork() the child has none of the session: its calls return SVMD_E_FORKED, and the addresses are not mapped
 *    there. It may connect anew. exec() ends the session (its descriptors are close-on-exec).
 *  - A session survives a restart of svmd: calls in progress wait for the next svmd.
 *  - Strings in results live as long as the call that hands them out (callbacks) or the session says.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define SVMD_PAGE 4096ull

typedef struct svmd_session svmd_session;
typedef struct svmd_fence svmd_fence;
typedef struct svmd_batch svmd_batch;
typedef uint64_t svmd_mem;   /* a memory object; 0 is none */
typedef uint64_t svmd_lease; /* room on several nodes, granted or waited for; 0 is none */
typedef uint64_t svmd_space; /* a device's address space; SVMD_CPU is this process */
typedef uint32_t svmd_node;
#define SVMD_NODE_NONE UINT32_MAX
#define SVMD_NODE_CPU  (UINT32_MAX - 1) /* who touches: a thread of a process, not a device */

#define SVMD_CPU ((svmd_space)0)

/* Codes; the same numbers as on the wire. docs/man/libsvmd.3 explains each. */
enum {
        SVMD_OK = 0,
        SVMD_E_MALFORMED = 1,
        SVMD_E_VERSION = 2,
        SVMD_E_UNKNOWN_OP = 3,
        SVMD_E_SHAPE = 4,
        SVMD_E_DENIED = 5,
        SVMD_E_NOT_ATTACHED = 6,
        SVMD_E_SIZE = 7,
        SVMD_E_ALIGN = 8,
        SVMD_E_RANGE = 9,
        SVMD_E_NO_SUCH = 10,
        SVMD_E_FOREIGN = 11,
        SVMD_E_NODE_KIND = 12,
        SVMD_E_NO_NODE = 13,
        SVMD_E_LIMIT = 14,
        SVMD_E_NO_ROOM = 15,
        SVMD_E_NO_VA = 16,
        SVMD_E_TAKEN = 17,
        SVMD_E_BUSY = 18,
        SVMD_E_FD_COUNT = 19,
        SVMD_E_FD_KIND = 20,
        SVMD_E_QUOTA = 21,
        SVMD_E_NOT_MAPPED = 22,
        SVMD_E_ACCESS = 23,
        SVMD_E_NO_LINK = 24,
        SVMD_E_INTERRUPTED = 25,
        SVMD_E_NO_MEMORY = 26,
        SVMD_E_STORE = 27,
        SVMD_E_JOURNAL = 28,
        SVMD_E_GONE = 29,
        SVMD_E_FORKED = 30,
        SVMD_E_COLLISION = 31,
        SVMD_E_UNSUPPORTED = 32,
        SVMD_E_ABORTED = 33,
        SVMD_E_TIMEOUT = 34,
        SVMD_E_SYSTEM = 35,
        SVMD_E_NAME = 36,
        SVMD_E_INVALID = 37,
};

/* What the last failed call of this thread said: one sentence, valid until the thread's next call. Never NULL. */
const char *svmd_error(void);
/* "NO_ROOM" for SVMD_E_NO_ROOM; static. */
const char *svmd_status_name(int code);
/* The version of this library, "0.1.0"; static. */
const char *svmd_version(void);

enum { SVMD_ACCESS_NONE = 0, SVMD_ACCESS_READ = 1, SVMD_ACCESS_READ_WRITE = 3 };

/* ---- sessions -------------------------------------------------------------------------------------------- */

enum { SVMD_WINDOW_AUTO = 0, SVMD_WINDOW_PRIMARY = 1, SVMD_WINDOW_LOW = 2 };

enum {
        SVMD_CONNECT_NO_ATTACH = 1, /* queries and administration only: no partition, no addresses */
        /* The caller has reserved the partition's slice itself, and has something there: it is taken over as it is. For
         * children that have a copy of what their parent had. */
        SVMD_CONNECT_SLICE_KEPT = 2,
};

struct svmd_connect_options {
        size_t size;           /* sizeof(struct svmd_connect_options) */
        const char *socket;    /* NULL: $SVMD_SOCKET, else /run/svmd/svmd.sock */
        const char *partition; /* NULL: $SVMD_PARTITION, else the caller's default partition */
        const char *name;      /* what to call this client in lists; NULL: the program's name */
        unsigned window; /* SVMD_WINDOW_AUTO: what this process can have: low under ThreadSanitizer and MemorySanitizer,
                            primary under AddressSanitizer, else either (its default partition is a primary one) */
        unsigned flags;
        unsigned descriptors_from; /* the session's descriptors have numbers from here on; 0: as they come */
};

struct svmd_session_info {
        size_t size;
        uint64_t id;
        uint64_t base, length; /* the partition's slice of addresses; 0 when not attached */
        uint64_t epoch;        /* grows each time another svmd takes over */
        unsigned window;
        int admin; /* the connection may administer */
        char partition[64];
        char domain[64];
};

/* Connects, attaches, and reserves the partition's slice in this process (PROT_NONE, not inherited over fork). A
 * process may have several sessions, of partitions of one domain; two of the same partition share the slice. `opts` may
 * be NULL. SVMD_E_COLLISION: the process already uses part of the slice; svmd_error() names what lies there. */
int svmd_connect(svmd_session **ret, const struct svmd_connect_options *opts);
/* Ends the session: everything it holds is released, its fences end as SVMD_E_GONE, its mappings go. No other thread
 * may be using it. NULL is allowed. */
void svmd_disconnect(svmd_session *s);
/* Fills what fits into info->size. */
int svmd_session_info(svmd_session *s, struct svmd_session_info *info);

/* ---- events ---------------------------------------------------------------------------------------------- */

enum {
        SVMD_EVENT_RESERVATION = 1, /* `address`, `generation`: what an open reservation shows has changed */
        SVMD_EVENT_GONE = 2,        /* `address`: an open reservation was freed by its owner */
        SVMD_EVENT_EPOCH = 3,       /* `generation`: another svmd took over */
        SVMD_EVENT_END = 4,         /* `code`, `text`: svmd ended the session */
        SVMD_EVENT_DROPPED = 5,     /* `generation`: how many events this session was too slow for */
        SVMD_EVENT_MONITOR = 6,     /* `what`, `text`, `partition`, `session`, `pid`, `time_ns`: see svmd_monitor();
                                       of a move also `address`, `length`, `cause`, `from`, `to` */
        SVMD_EVENT_REGISTERED = 7,  /* `memory`, `address`, `length`, `generation`, `text`: registered memory was given
                                       back, and devices do not reach it any more */
        SVMD_EVENT_GIVE_BACK = 8,   /* `from`: a node of which the session, its partition or its control group has too
                                       much, or that is full, `length`: bytes that this session is asked to release
                                       there, `time_ns`: how long it has (not a time) till they are taken. Managed
                                       pages leave by themselves then, other memory is moved to a host where that can
                                       be, and the session may be ended */
};

struct svmd_event {
        unsigned type;
        int code;
        void *address;
        uint64_t generation;
        uint64_t time_ns; /* CLOCK_REALTIME */
        uint64_t session;
        uint32_t pid;
        const char *what, *partition, *text; /* valid during the callback; never NULL */
        const char *cause;                   /* of a move: "fault", "prefetch", "eviction", "advice", "drain" ... */
        uint64_t length;
        svmd_node from, to; /* SVMD_NODE_NONE: none */
        svmd_mem memory;
};

typedef void (*svmd_event_fn)(svmd_session *s, const struct svmd_event *event, void *userdata);

/* Called from svmd_dispatch() and from calls that wait, in the thread that calls them, with no lock held: the handler
 * may call libsvmd. One handler a session; NULL removes it. */
int svmd_set_event_handler(svmd_session *s, svmd_event_fn fn, void *userdata);
/* Becomes readable when svmd_dispatch() has something to do. The session owns it: poll it, never read or close it. */
int svmd_event_fd(svmd_session *s);
/* Takes in what has arrived, without waiting: completes fences, brings the mappings of open reservations up to date,
 * calls the event handler. SVMD_E_GONE when the session has ended. */
int svmd_dispatch(svmd_session *s);

/* ---- 1. addresses ---------------------------------------------------------------------------------------- */

enum {
        SVMD_EXPLICIT = 0, /* shows memory objects that are mapped there */
        SVMD_SHARED = 1,   /* managed: see below */
        SVMD_PRIVATE = 2,  /* managed: anonymous memory of this process, see "private memory" below */
};

enum {
        SVMD_RANGE_HUGE = 1, /* SVMD_SHARED: granules of 2 MiB are huge pages (the machine must have some set aside) */
        SVMD_RANGE_SIGBUS = 2, /* SVMD_SHARED: an access to what was revoked is SIGBUS; else it waits */
        SVMD_RANGE_AHEAD = 4,  /* SVMD_SHARED: empty granules around a first touch come along, where room is free */
};

struct svmd_reserve_options {
        size_t size;
        const char *name; /* NULL: anonymous, ends with the session. Else other sessions of the partition open it */
        unsigned mode;    /* named: like a file's, read and write bits of owner, group, others. 0 means 0600 */
        unsigned kind;    /* SVMD_EXPLICIT, SVMD_SHARED or SVMD_PRIVATE */
        unsigned granule; /* SVMD_SHARED: bytes that move together: 4 KiB (also 0), 64 KiB or 2 MiB */
        unsigned flags;   /* SVMD_SHARED: SVMD_RANGE_* */
};

/* Reserves `size` bytes of the partition's slice. `alignment`: 0 or a power of two up to 1 GiB. `address`: NULL, or
 * exactly where (SVMD_E_TAKEN if that is not free). Nothing is accessible there until something is mapped. `opts` may
 * be NULL. */
int svmd_address_reserve(svmd_session *s, void **ret, size_t size, size_t alignment, void *address,
                         const struct svmd_reserve_options *opts);
/* Opens a named reservation, at the address where everyone has it, and maps what it shows. `access` is what this
 * session can ever do with it: a reader cannot become a writer by mprotect. `ret_size` may be NULL. */
int svmd_address_open(svmd_session *s, void **ret, size_t *ret_size, const char *name, unsigned access);
/* Gives a reservation back (its owner: it ends for everyone) or closes it (one who opened it). `address` must be its
 * start. */
int svmd_address_free(svmd_session *s, void *address);

struct svmd_address_info {
        size_t size;
        uint64_t reservation;
        void *address;
        size_t length;
        uint64_t generation; /* changes whenever what the reservation shows changes */
        uint64_t owner;      /* session that holds it */
        char name[64];
        unsigned kind, granule;
        int revoked;
};
/* What reservation contains `address`. SVMD_E_NO_SUCH: none does. */
int svmd_address_query(svmd_session *s, const void *address, struct svmd_address_info *info);

/* ---- 2. memory ------------------------------------------------------------------------------------------- */

enum {
        SVMD_MEM_SHAREABLE = 1, /* may be exported, and mapped to the CPU in a named reservation */
        SVMD_MEM_PINNED = 2,    /* stays on its node; memory of a device is otherwise moved to the host when no
                                   operation uses it and others need the room, and back before the next one */
};

/* What `size` of svmd_mem_create() must be a multiple of on that node. */
int svmd_mem_granularity(svmd_session *s, size_t *ret, svmd_node node);
/* Creates zeroed memory on a node, taken from it and charged before this returns. */
int svmd_mem_create(svmd_session *s, svmd_mem *ret, size_t size, svmd_node node, unsigned flags);
/* Drops the handle. The memory goes when nothing maps it and nobody else imported it. */
int svmd_mem_release(svmd_session *s, svmd_mem mem);
/* Makes shareable memory importable by name, within the partition; `mode` as in svmd_reserve_options. */
int svmd_mem_export(svmd_session *s, svmd_mem mem, const char *name, unsigned mode);
/* The same as a token: whoever is passed this descriptor may import it with up to `access`, in any partition of the
 * same domain. The caller owns the descriptor. */
int svmd_mem_export_fd(svmd_session *s, int *ret_fd, svmd_mem mem, unsigned access);
/* `ret_size` may be NULL. */
int svmd_mem_import(svmd_session *s, svmd_mem *ret, size_t *ret_size, const char *name, unsigned access);
/* `fd` stays the caller's. */
int svmd_mem_import_fd(svmd_session *s, svmd_mem *ret, size_t *ret_size, int fd, unsigned access);

/*
 * A dma-buf (memory that a driver exports: DRM PRIME, a dma-heap, udmabuf) as memory of svmd: shareable, charged, kept
 * while svmd is started anew, and handed to other sessions by name or token. It is mapped to the CPU where its driver
 * allows that, and in spaces of soft nodes. Bracket accesses of the CPU with DMA_BUF_IOCTL_SYNC on the descriptor, as
 * the kernel asks; svmd does not do it. A dma-buf has one open file, so its access is the same for everyone:
 * SVMD_ACCESS_READ where it was exported to read only, else SVMD_ACCESS_READ_WRITE.
 */
struct svmd_dmabuf_options {
        size_t size;
        size_t length;     /* that the dma-buf must have; 0: whatever it has */
        unsigned set_node; /* `node` means something */
        svmd_node node;    /* host node that is charged; otherwise the first one */
};
/* `fd` stays the caller's. Who imports a dma-buf that is memory in this domain already gets a handle on that memory,
 * and it is charged once. `ret_size` and `opts` may be NULL. */
int svmd_mem_import_dmabuf(svmd_session *s, svmd_mem *ret, size_t *ret_size, int fd,
                           const struct svmd_dmabuf_options *opts);
/* The dma-buf, to import into a driver. The caller owns the descriptor. `ret_size` may be NULL. */
int svmd_mem_export_dmabuf(svmd_session *s, int *ret_fd, size_t *ret_size, svmd_mem mem);

/*
 * Memory that the process has already (malloc, mmap), for devices. It stays where it is, and the process uses it as
 * before; spaces show it like other memory, usually at its own address. Whole pages of memory of nothing, or of memory
 * files (memfd, shared memory); not of other files, huge pages of a pool, or what svmd has mapped.
 *
 * Pinned is the mapping, not the pages: svmd never moves them, the kernel may swap them. When the process gives any of
 * it back (munmap, mremap, madvise, another mmap over it; a free() that comes to that), all of the registration ends:
 * when that call returns, no device reads or writes there any more; operations fail with SVMD_E_NOT_MAPPED, and
 * SVMD_EVENT_REGISTERED tells. What free() keeps within malloc nobody sees. A child of fork() has nothing registered.
 */
enum {
        SVMD_REGISTER_PINNED = 0,
        SVMD_REGISTER_ADOPTED = 1, /* see below */
        SVMD_REGISTER_PRIVATE = 2, /* a private managed range where it is: see "private memory" */
};
struct svmd_register_options {
        size_t size;
        unsigned mode; /* SVMD_REGISTER_* */
};
/*
 * Adopted is more: the whole pages in [address, address + length) become a managed range of this session at their own
 * addresses, while other threads go on reading and writing them (writers wait for as long as the copy takes). Only
 * private memory of nothing, to read and write, not locked and no stack, can be; nobody may map, unmap or madvise there
 * meanwhile. All that is said of managed ranges holds for it (svmd_prefetch(), svmd_advise(), ...; spaces of this
 * session see it at its addresses, and svmd_mem_map() is neither needed nor possible), but: no other process opens it,
 * MADV_DONTNEED empties nothing, and a child of fork() has nothing there. svmd_unregister() makes it memory of the
 * process again, content and all, under the same conditions; svmd_disconnect() does so with all that is left. Before
 * free(), realloc() or munmap() of it, it has to be unregistered, or it is gone with what was in it.
 */
/* `address` and `length`: whole pages, none of which is registered. `opts` may be NULL. `ret_generation`, which may be
 * NULL too, is grown by the event. The handle is for svmd_mem_map() into spaces, and nothing else. */
int svmd_register(svmd_session *s, svmd_mem *ret, uint64_t *ret_generation, void *address, size_t length,
                  const struct svmd_register_options *opts);
/* When it returns no device reaches the memory; what is still mapped in spaces refuses operations. */
int svmd_unregister(svmd_session *s, svmd_mem mem);

/* ---- 3. mappings ----------------------------------------------------------------------------------------- */

enum {
        SVMD_MAP_REPLACE = 1, /* what is mapped there gives way; else an overlap is SVMD_E_TAKEN */
};

/* Shows [offset, offset + size) of `mem` at `address` of `space`, with no access yet unless `access` is given.
 * SVMD_CPU: `address` lies in a reservation that this session can write, and `mem` is host memory. Else any address
 * that the node can show (usually that of the reservation: one pointer everywhere). */
int svmd_mem_map(svmd_session *s, svmd_space space, uint64_t address, size_t size, size_t offset, svmd_mem mem,
                 unsigned access, unsigned flags);
/* Holes in the range are passed over. When it returns, no device operation uses the old translation any more. */
int svmd_mem_unmap(svmd_session *s, svmd_space space, uint64_t address, size_t size);

enum { SVMD_SPARSE_DROP = 1, SVMD_SPARSE_REFUSE = 2 };
/* Makes a range sparse: where nothing is mapped, a device reads zero, and a write is dropped or refused. The CPU
 * (SVMD_CPU, SVMD_SPARSE_REFUSE only) reads zero through one mapping, and a write is SIGSEGV. */
int svmd_sparse_map(svmd_session *s, svmd_space space, uint64_t address, size_t size, unsigned writes);
int svmd_sparse_unmap(svmd_session *s, svmd_space space, uint64_t address, size_t size);

int svmd_space_create(svmd_session *s, svmd_space *ret, svmd_node node);
int svmd_space_destroy(svmd_session *s, svmd_space space);
/* For spaces of SVMD_NODE_CUDA: host memory that the CPU has in this partition is the device's at the same address, in
 * this process, until it is unregistered or the space is destroyed. The range lies in one reservation; of a managed one
 * it is pinned (svmd_pin()) meanwhile. SVMD_E_BUSY for what would change its mappings meanwhile; SVMD_E_COLLISION: this
 * device has it elsewhere. */
int svmd_host_register(svmd_session *s, svmd_space space, const void *address, size_t size);
/* All of what was registered from that address on. */
int svmd_host_unregister(svmd_session *s, svmd_space space, const void *address);

struct svmd_translation {
        size_t size;
        int valid, sparse;
        unsigned access, pat, kind;
        svmd_node node;  /* whose memory is shown */
        uint64_t offset; /* where in that node's pool, or in the memory's file */
};
/* What the device's own page table says of an address. Not for SVMD_CPU. Nothing is valid where the memory was moved to
 * the host, until an operation uses it. */
int svmd_translate(svmd_session *s, svmd_space space, uint64_t address, struct svmd_translation *ret);

/* ---- 4. access and attributes ---------------------------------------------------------------------------- */

int svmd_mem_set_access(svmd_session *s, svmd_space space, uint64_t address, size_t size, unsigned access);
/* The driver's own attributes of a mapping (page attribute index, kind), kept per page. Soft nodes know pat 0 to 15 and
 * kind 0 to 255 and report them in svmd_translate(). */
int svmd_mem_set_attributes(svmd_session *s, svmd_space space, uint64_t address, size_t size, unsigned pat,
                            unsigned kind);

/* ---- vectors --------------------------------------------------------------------------------------------- */

enum {
        SVMD_BEST_EFFORT = 0,    /* each operation by itself */
        SVMD_ALL_OR_NOTHING = 1, /* the first failure undoes the others */
        SVMD_DRY_RUN = 2,        /* says what would be, changes nothing */
};

struct svmd_result {
        int code;
        uint64_t id;      /* of what was created: memory, space */
        uint64_t address; /* of what was reserved */
};

/* A vector of 1 to 1024 operations, sent as one message; by a session with a space of a CUDA device as two, where each
 * operation is by itself. Not thread-safe by itself. Allocates; svmd_batch_free() frees. The functions that add return
 * the operation's index, or a negative SVMD_E_* code. */
int svmd_batch_new(svmd_session *s, svmd_batch **ret);
void svmd_batch_free(svmd_batch *b);
int svmd_batch_reserve(svmd_batch *b, size_t size, size_t alignment, void *address);
int svmd_batch_free_address(svmd_batch *b, void *address);
int svmd_batch_mem_create(svmd_batch *b, size_t size, svmd_node node, unsigned flags);
int svmd_batch_mem_release(svmd_batch *b, svmd_mem mem);
int svmd_batch_map(svmd_batch *b, svmd_space space, uint64_t address, size_t size, size_t offset, svmd_mem mem,
                   unsigned access, unsigned flags);
int svmd_batch_unmap(svmd_batch *b, svmd_space space, uint64_t address, size_t size);
int svmd_batch_set_access(svmd_batch *b, svmd_space space, uint64_t address, size_t size, unsigned access);
/* Sends the vector, waits, and empties it for the next use. `results` (may be NULL) takes one entry an operation; where
 * svmd has answered only one of two messages, those of the other have the code why. Returns 0 if all succeeded, else
 * the code of the first that failed; svmd_error() is that one's sentence. */
int svmd_batch_submit(svmd_batch *b, unsigned mode, struct svmd_result *results);

/* ---- device operations ----------------------------------------------------------------------------------- */

enum {
        SVMD_DEVICE_FILL = 1,    /* dst, length, value: the low byte */
        SVMD_DEVICE_COPY = 2,    /* dst, src, length; ranges that overlap are SVMD_E_RANGE */
        SVMD_DEVICE_COMPARE = 3, /* dst, src, length -> value: offset of the first difference, or length */
        SVMD_DEVICE_SUM = 4,     /* src, length (of 8): sum of the 64-bit words -> value */
        SVMD_DEVICE_CHASE = 5,   /* src: first pointer; length: most hops; value: offset of the pointer in each record
                                    -> value: hops made, address: last record reached */
        SVMD_DEVICE_ATOMIC_ADD = 6, /* dst (of 8), value -> value: before */
};

enum {
        SVMD_SUBMIT_EVENTFD = 1, /* the fence has an eventfd: svmd_fence_eventfd() */
};

struct svmd_device_op {
        size_t size;
        unsigned op;
        unsigned flags;
        svmd_space space;
        uint64_t dst, src, length, value;
};

/* The outcome of a fence. A node without faults ends an operation on what is not mapped in its space with
 * SVMD_E_NOT_MAPPED, also where the CPU has it mapped. */
struct svmd_fence_result {
        int code;
        uint64_t value, address;
};

/* Starts the operation on the device that the space belongs to. Operations of one space run in order. */
int svmd_submit(svmd_session *s, svmd_fence **ret, const struct svmd_device_op *op);
/* Waits until the fence is done, at most `timeout_ms` (-1: for ever; 0: just looks): SVMD_E_TIMEOUT when it is not.
 * Otherwise the operation's own code, with svmd_error() its sentence, and *ret filled (may be NULL). Any number of
 * times. */
int svmd_fence_wait(svmd_fence *f, int timeout_ms, struct svmd_fence_result *ret);
/* Readable once the fence is done, without svmd_dispatch(). Owned by the fence. -1 if it was not asked for. */
int svmd_fence_eventfd(svmd_fence *f);
/* Any time before its session ends; the operation goes on. NULL is allowed. */
void svmd_fence_free(svmd_fence *f);

/* ---- managed ranges -------------------------------------------------------------------------------------- */

/*
 * A reservation of kind SVMD_SHARED needs no memory mapped into it: every byte is there, zero at first, readable and
 * writable by every session that has it open and by every space of those sessions. Where its pages live (host memory or
 * a node) is svmd's business; a touch brings them. What follows are wishes and questions about that.
 *
 * Memory that the kernel or a device has pinned by itself (io_uring fixed buffers, RDMA, O_DIRECT in flight) must be
 * pinned here first: a write through such a pin to a page that has left is lost. The same goes for robust mutexes and
 * for thread stacks.
 *
 * [address, address + size) lies in one managed reservation and is made of whole granules; size 0 means to its end.
 * Functions with a fence return at once: svmd_fence_wait() gives the outcome; with `ret` NULL they wait themselves.
 */

/* Moves the range to a node before it is needed there. A hint: what has no room there, or has moved just now, stays,
 * and that is no failure. On a node without faults this is what lets a device use the range, and what was never touched
 * begins there, as zeroes: on a CUDA node that the session has a space of, what lies there in the end is mapped for the
 * kernels of this process (by who waits for the fence), until a CPU touches it; SVMD_E_BUSY where not all of it does.
 */
int svmd_prefetch(svmd_session *s, svmd_fence **ret, const void *address, size_t size, svmd_node node);
/* The same as an order: SVMD_E_NO_ROOM, SVMD_E_BUSY (pinned). */
int svmd_migrate(svmd_session *s, svmd_fence **ret, const void *address, size_t size, svmd_node node);
/* Off the node where it is, to where policy wants it. */
int svmd_evict(svmd_session *s, svmd_fence **ret, const void *address, size_t size);
/* The content is zero afterwards, in every process and on every device, and no memory is used for it. */
int svmd_discard(svmd_session *s, svmd_fence **ret, const void *address, size_t size);
/* In host memory, and not moved until unpinned as often: what lies on a device comes back, and a prefetch or an order
 * to a device is SVMD_E_BUSY. Devices reach it there; on a CUDA node by svmd_host_register(). */
int svmd_pin(svmd_session *s, svmd_fence **ret, const void *address, size_t size);
int svmd_unpin(svmd_session *s, const void *address, size_t size);
/* The whole reservation that contains `address`: nobody may use it until svmd_unrevoke(), not this session either; its
 * content is kept. An access waits, or is SIGBUS (SVMD_RANGE_SIGBUS). For its owner. */
int svmd_revoke(svmd_session *s, svmd_fence **ret, const void *address);
int svmd_unrevoke(svmd_session *s, svmd_fence **ret, const void *address);
/* Makes a named managed reservation of another session this session's own, content and address kept: everyone else
 * loses it (SVMD_EVENT_GONE; their accesses wait or are SIGBUS). For its owner's user and for who may write it. The
 * caller must have it open. */
int svmd_steal(svmd_session *s, const void *address);

struct svmd_range {
        const void *address;
        size_t length;
};
/* Vectors of the two that programs send most, as one message: 1 to 1024 ranges and as many fences (`ret` NULL: waits
 * for all). Returns the first failure; fences of those that failed are NULL. */
int svmd_prefetch_ranges(svmd_session *s, svmd_fence **ret, const struct svmd_range *ranges, size_t count,
                         svmd_node node);
int svmd_discard_ranges(svmd_session *s, svmd_fence **ret, const struct svmd_range *ranges, size_t count);

/* ---- advice ---------------------------------------------------------------------------------------------- */

enum {
        SVMD_ADVISE_PREFERRED = 1,   /* `preferred`; SVMD_NODE_NONE takes it back */
        SVMD_ADVISE_ACCESSED_BY = 2, /* `accessed_by`: reach it where it is */
        SVMD_ADVISE_READ_MOSTLY = 4, /* readers get copies; a write ends them */
        SVMD_ADVISE_PINNED = 8,      /* policy leaves it where it is */
        SVMD_ADVISE_GRANULARITY = 16,
        SVMD_ADVISE_FALLBACK = 32, /* `fallback`: where to when the preferred node has no room */
        SVMD_ADVISE_ATOMICS = 64,  /* `atomics`: whose atomic operations have to work together */
        SVMD_ADVISE_COARSE = 128,  /* others need not see writes before a kernel ends */
        SVMD_ADVISE_GROUP = 256,   /* `group`: granules of the reservation with one number move together */
};
enum {
        SVMD_ATOMICS_ANY,
        SVMD_ATOMICS_DEVICE, /* of one device */
        SVMD_ATOMICS_GLOBAL, /* of all devices and the CPU */
        SVMD_ATOMICS_CPU,
};

struct svmd_advice {
        size_t size;
        unsigned what; /* SVMD_ADVISE_*: which of the following are set; on a query 0 */
        svmd_node preferred;
        uint64_t accessed_by; /* bit per node, of the first 64 */
        int read_mostly, pinned;
        unsigned granularity; /* bytes that prefer to move together, power of two from 4 KiB to 2 MiB; 0: as it comes */
        uint64_t session;     /* query: who spoke last; 0: nobody */
        /* Of `what`: what is zero there is no word taken back but a wish that nobody's word counts. */
        unsigned against;
        unsigned fallbacks; /* how many of these, in this order */
        svmd_node fallback[3];
        unsigned atomics; /* SVMD_ATOMICS_* */
        int coarse;
        unsigned group; /* 0: none */
};
/* A hint, to all nodes at once. Of one session the last word counts, and zero takes it back; of several, an
 * administrator's, then the owner's, then those of who may write, then the later one's: svmd_query_advice() says who.
 */
int svmd_advise(svmd_session *s, const void *address, size_t size, const struct svmd_advice *advice);
/* The same of up to 1024 ranges, as one message. Returns the first failure; the others are advised. */
int svmd_advise_ranges(svmd_session *s, const struct svmd_range *ranges, size_t count,
                       const struct svmd_advice *advice);
/* An administrator's word. */
int svmd_partition_advise(svmd_session *s, const char *partition, uint64_t address, size_t size,
                          const struct svmd_advice *advice);
struct svmd_verdict_row;
typedef int (*svmd_verdict_fn)(const struct svmd_verdict_row *row, void *userdata);
/* As svmd_advise(), or with `partition` as svmd_partition_advise(), and `fn` is called with what each node makes of it:
 * a row for each attribute that the node has something to do with. *ret_overruled (may be NULL): SVMD_ADVISE_* of which
 * somebody else's word counts in some of it; what the nodes make of those is not what happens there. Of private ranges
 * nothing is told. A non-zero return of `fn` ends the rows and is the result; the advice stays. */
int svmd_advise_judged(svmd_session *s, const char *partition, uint64_t address, size_t size,
                       const struct svmd_advice *advice, svmd_verdict_fn fn, void *userdata, unsigned *ret_overruled);
/* What counts at one address. */
int svmd_advice_query(svmd_session *s, const void *address, struct svmd_advice *ret);

/* What one session said once. The bits are SVMD_ADVISE_*, and say what became of it in some granule looked at. */
struct svmd_hint_row {
        uint64_t session;
        unsigned pid, uid;
        const char *client; /* the first 15 bytes of what it calls itself */
        const char *rank;   /* "administrator", "owner", "writer", "left" (an owner whose session ended), "reader" */
        uint64_t said_ns;   /* since 1970; 0: to an older svmd */
        uint64_t address, length; /* all that it was said of */
        const struct svmd_advice *advice;
        unsigned wins;      /* it counts */
        unsigned agrees;    /* another counts that says the same, or more */
        unsigned outranked; /* somebody of higher rank says something else */
        unsigned overtaken; /* somebody of the same rank has said something else since */
        unsigned moot; /* of no use: fallbacks of a node that does not count, a pin that one of higher rank lifts */
};
/* What a node makes of what counts. */
struct svmd_verdict_row {
        svmd_node node;
        unsigned what;      /* one bit of SVMD_ADVISE_* */
        const char *became; /* "applied", "approximated", "refused" */
        const char *why;    /* for people; "": applied */
};
struct svmd_advice_report {
        size_t size;
        uint64_t address, length;         /* what was looked at */
        const struct svmd_advice *advice; /* what counts in all of it */
        unsigned mixed;                   /* SVMD_ADVISE_*: not the same everywhere, and zero in `advice` */
        const struct svmd_hint_row *hints;
        size_t hints_count;
        const struct svmd_verdict_row *verdicts; /* of `advice` */
        size_t verdicts_count;
};
typedef int (*svmd_advice_fn)(const struct svmd_advice_report *report, void *userdata);
/* Whose words count in [address, address + size) (0: to the reservation's end). Where there is much to tell it comes in
 * several reports, one behind the other. `partition` is for administrators, NULL otherwise. A non-zero return of `fn`
 * ends the walk and is the result. */
int svmd_query_advice(svmd_session *s, const char *partition, uint64_t address, size_t size, svmd_advice_fn fn,
                      void *userdata);

/* ---- residency and reasons ------------------------------------------------------------------------------- */

/* begin/retry, without a round trip: what was derived from the range (a translation, a residency) is still good when
 * svmd_range_retry() with the number that svmd_range_begin() gave before is 0. Moves by svmd, discards, revokes and
 * this session's own unmaps count. Both are loads of shared memory. `address` in no managed reservation of this
 * session: begin gives UINT64_MAX, which always has to be retried. */
uint64_t svmd_range_begin(svmd_session *s, const void *address);
int svmd_range_retry(svmd_session *s, const void *address, uint64_t begun);

/* Maps what svmd records of the managed reservation that contains `address`, read-only: a head and 16 bytes a granule,
 * as svmd.protocol(7) says, written before what they say happens. It is the caller's to munmap(). */
int svmd_range_states(svmd_session *s, const void *address, const void **ret, size_t *ret_size);

struct svmd_residency_row {
        uint64_t address, length;
        const char *state, *cause; /* "resident", "out" ...; "fault", "eviction" ...: docs/man/libsvmd.3 */
        svmd_node node;            /* that holds it; SVMD_NODE_NONE: nothing does (it is zero) */
        unsigned pins;
        int busy;           /* on its way */
        uint64_t copies;    /* bit per node with a copy to read */
        uint32_t outs, ins; /* with counters: how often it left host memory, and came back */
};
typedef int (*svmd_residency_fn)(const struct svmd_residency_row *row, void *userdata);
/* Where [address, address + size) lies, in runs; with `counters` a row a granule. `partition` is for administrators,
 * NULL otherwise. A non-zero return of `fn` ends the walk and is the result. */
int svmd_query_residency(svmd_session *s, const char *partition, uint64_t address, size_t size, int counters,
                         svmd_residency_fn fn, void *userdata);

/* Something that was decided about a run of granules, or (`not_done`) was refused or put off. The words are in
 * docs/man/libsvmd.3. svmd remembers the last few of each reservation, until it is restarted. */
struct svmd_past_row {
        uint64_t address, length;
        uint64_t began_ms, ms; /* ago: of the first and the last granule of the run */
        uint32_t times;
        const char *cause, *deed, *why; /* "eviction", "moved", "room" */
        svmd_node by;                   /* whose access it was: a node, SVMD_NODE_CPU, SVMD_NODE_NONE */
        svmd_node from, to;
        uint64_t reservation; /* that an eviction made room for; 0: none, or unknown */
};
/* What a read or a write by a node would come to, if nothing else happened before. */
struct svmd_touch_row {
        svmd_node node; /* SVMD_NODE_CPU: the CPU */
        int write;
        const char *outcome, *why; /* "moves", "none" */
        int code;                  /* how an operation would end: SVMD_OK, SVMD_E_*; the CPU's: SIGBUS, or it waits */
        svmd_node to;              /* where it would be used */
        const char *state;         /* afterwards, */
        svmd_node on;              /* the node that then holds it, */
        uint64_t copies;           /* and those with a copy to read: bit per node */
};
struct svmd_explanation {
        size_t size;
        const struct svmd_reservation_row *reservation; /* NULL: nothing is reserved there */
        const struct svmd_residency_row *granule;       /* NULL: not managed */
        const struct svmd_advice *advice;               /* NULL: not managed */
        const char *const *sentences;                   /* for people, most important first */
        size_t sentences_count;
        uint32_t moves;
        uint64_t moved_ms, touched_ms;               /* ago; 0: never */
        const struct svmd_past_row *const *history;  /* the latest first */
        const struct svmd_past_row *const *not_done; /* the latest first */
        const struct svmd_touch_row *const *touches; /* the CPU's, then each device's: read, write */
        size_t history_count, not_done_count, touches_count;
        const struct svmd_hint_row *const *hints; /* that speak of the granule; those that count first */
        size_t hints_count;
};
typedef int (*svmd_explain_fn)(const struct svmd_explanation *e, void *userdata);
/* The same question for an administrator: `partition` says whose private memory is looked at. */
int svmd_partition_observe(svmd_session *s, svmd_fence **ret, const char *partition, uint64_t address, size_t size);
/* Why things at an address are as they are. `partition` as above; what `e` points to lives during the call. */
int svmd_explain(svmd_session *s, const char *partition, uint64_t address, svmd_explain_fn fn, void *userdata);

/* ---- AMD's compute driver --------------------------------------------------------------------------------- */

/*
 * GPUs that are nodes of kind SVMD_NODE_KFD serve only the process that opened /dev/kfd, so libsvmd does there what is
 * asked of it, with the program's own libhsakmt where it has one. Each call has svmd's leave (a grant), which charges
 * what it takes. Buffers lie in explicit reservations and have one address on the GPU in all their life. Memory that
 * moves is private (SVMD_PRIVATE): its attributes are the driver's own words, and svmd_prefetch() and svmd_advise() of
 * such memory on such a node become them.
 */
enum {
        SVMD_AMD_WRITE = 1,
        SVMD_AMD_EXECUTE = 2,
};
/* Memory of the node at exactly this address, mapped on it for the GPU to read; the CPU does not see it. Charged until
 * it is freed. svmd_address_free() of the reservation frees it too. */
int svmd_amd_alloc(svmd_session *s, void *address, size_t size, svmd_node node, unsigned flags);
/* `address`: where it begins. */
int svmd_amd_free(svmd_session *s, void *address);

enum {                         /* of an attribute: what `value` is */
       SVMD_AMD_PREFERRED = 0, /* a node; SVMD_NODE_NONE: none. Of host nodes the system as a whole is meant */
       SVMD_AMD_PREFETCH =
               1,           /* a node: moves there now. With GPUs of several hives the driver moves it to the system */
       SVMD_AMD_ACCESS = 2, /* a node, in this and the next two */
       SVMD_AMD_IN_PLACE = 3,
       SVMD_AMD_NO_ACCESS = 4,
       SVMD_AMD_SET_FLAGS = 5, /* SVMD_AMD_HOST_ACCESS and so on, in this and the next one */
       SVMD_AMD_CLEAR_FLAGS = 6,
       SVMD_AMD_GRANULARITY = 7, /* log2 of pages that move together */
};
enum {
        SVMD_AMD_HOST_ACCESS = 0x1,
        SVMD_AMD_COHERENT = 0x2,
        SVMD_AMD_HIVE_LOCAL = 0x4,
        SVMD_AMD_GPU_READ_ONLY = 0x8,
        SVMD_AMD_GPU_EXECUTE = 0x10,
        SVMD_AMD_READ_MOSTLY = 0x20,
        SVMD_AMD_ALWAYS_MAPPED = 0x40,
        SVMD_AMD_EXT_COHERENT = 0x80,
};
enum { SVMD_AMD_ATTRIBUTES = 64 }; /* a call takes at most so many */
struct svmd_amd_attribute {
        unsigned type, value;
};
/* Of [address, address + size), which lies in one private reservation. What was prefetched to a node is charged there
 * until it is prefetched elsewhere or its addresses are given back. */
int svmd_amd_set(svmd_session *s, const void *address, size_t size, const struct svmd_amd_attribute *list,
                 unsigned count);
/* What holds for all of it; of locations that differ SVMD_NODE_NONE. Given the types, and of access the node, whose
 * type becomes what it has; SVMD_AMD_SET_FLAGS are those set in all of it, SVMD_AMD_CLEAR_FLAGS those set in none. */
int svmd_amd_get(svmd_session *s, const void *address, size_t size, struct svmd_amd_attribute *list, unsigned count);
/* Whether GPUs serve this process's faults (XNACK): 0 or 1 sets it, while the process has no queue; -1 asks. `ret` may
 * be NULL. */
int svmd_amd_xnack(svmd_session *s, int mode, int *ret);

/* ---- private memory -------------------------------------------------------------------------------------- */

/*
 * A reservation of kind SVMD_PRIVATE is anonymous memory of this process (not inherited over fork): the only kind that
 * drivers of real devices migrate. It has no name, no sharers, and no copies to read. svmd asks the driver of a node
 * for moves, by a file of its device that this process opened; the kernel brings a page back when the CPU touches it.
 * So where pages are is observed, not owned: what queries and explanations say is what svmd saw last, after each move
 * and after svmd_observe().
 *
 * svmd_prefetch(), svmd_migrate(), svmd_evict() (to the node that all of the range prefers, else to host memory) and
 * svmd_advise() (SVMD_ADVISE_PREFERRED) work as on shared ranges; the other functions of those are SVMD_E_INVALID, with
 * the reason. The value of a move's fence is how many bytes are where they shall be, and its address the first that is
 * not: SVMD_E_BUSY where the kernel left some, SVMD_E_NOT_MAPPED where the process has unmapped some.
 *
 * Memory that the process has already becomes a private range where it is with svmd_register() (SVMD_REGISTER_PRIVATE:
 * whole pages; what is no private memory of nothing just stays) and all of the above, until svmd_unregister(). Nothing
 * of it changes: the process may free and unmap it at any time.
 */

/* Gives svmd an open file of the node's device (svmd_node_row.device), which stays the caller's too. `fd` -1: opens
 * one. Once a session and node. Its device brings all pages back when the last one that has a file open closes it. */
int svmd_device_give(svmd_session *s, svmd_node node, int fd);
/* Looks where [address, address + size) is. */
int svmd_observe(svmd_session *s, svmd_fence **ret, const void *address, size_t size);
/* The node alone may use the pages, for atomic operations: they come to host memory, and the CPU's next touch of a page
 * ends it there. */
int svmd_exclusive(svmd_session *s, svmd_fence **ret, const void *address, size_t size, svmd_node node);

/* ---- page tables of DRM devices -------------------------------------------------------------------------- */

/*
 * On a node of a DRM driver (xe, amdgpu, nouveau) memory is made by an open file of the device, and shown by page
 * tables that belong to that file: a process opens the device, gives svmd the file, makes or imports memory by it, and
 * svmd binds it in vectors, at addresses of the session's partition. A file of amdgpu or nouveau is one page table, of
 * xe it has several; a process gives several files where it wants more.
 *
 * svmd refuses to bind over what it has bound, unless it is told to replace it, also where the driver would. The
 * process can change its page tables itself at any time, and keeps its file: svmd_drm_check() tells what is not as svmd
 * left it. When the session ends, svmd unmaps what lies in the partition's addresses, and destroys page tables that it
 * made.
 */
typedef uint64_t svmd_drm; /* a file that was given */

/* `fd` is open, stays the caller's too, and is given by no other session (SVMD_E_TAKEN). Of one that has ended svmd
 * first takes out what was bound by it: this waits for that, 5 seconds at most (SVMD_E_BUSY). 16 files a session. */
int svmd_drm_give(svmd_session *s, svmd_drm *ret, svmd_node node, int fd);
/* Memory of the device, whole pages of 4 KiB: made by libsvmd in this process, under a grant, and charged on the node
 * until it is freed. *ret: its handle in the file. What a process makes there by itself is seen, as use without svmd.
 */
int svmd_drm_alloc(svmd_session *s, svmd_drm file, size_t size, uint32_t *ret);
/* Unmap it first: drivers let memory live that page tables show. What is left is freed with the session. */
int svmd_drm_free(svmd_session *s, svmd_drm file, uint32_t handle);
/* A new page table, and the driver's number of it. SVMD_E_TAKEN: the file is one, and has it. */
int svmd_drm_space(svmd_session *s, svmd_drm file, uint32_t *ret);
/* One that the process has made, as one with faults must be: it shows that process's memory. */
int svmd_drm_space_take(svmd_session *s, svmd_drm file, uint32_t space);
/* Unmaps what lies in the partition's addresses, and destroys it if svmd made it. */
int svmd_drm_space_end(svmd_session *s, svmd_drm file, uint32_t space);

enum {
        SVMD_DRM_MAP = 0,
        SVMD_DRM_UNMAP = 1,    /* whatever is there; nothing is no failure */
        SVMD_DRM_EMPTY = 2,    /* reads give zero, writes vanish */
        SVMD_DRM_MIRROR = 3,   /* xe: what the process has there; in page tables with faults */
        SVMD_DRM_PREFETCH = 4, /* of what is mirrored: `value` 0 where advice says, 1 to the device, 2 to the system */
        SVMD_DRM_ADVISE = 5,   /* of what is mirrored: `advice` is `value` */
        SVMD_DRM_PLACE = 6,    /* amdgpu: all memory of `handle` belongs, if `value` is 1, in the device's, if 2, in the
                                * system's, and if 0, wherever there is room; it moves when the device uses it next.
                                * Address and length are 0. What was charged for it stays charged */
};
enum {
        SVMD_DRM_PREFERRED = 0, /* 1 the device's memory, 2 the system's */
        SVMD_DRM_ATOMIC = 1,    /* 0 not said, 1 by the device, 2 by all, 3 by the CPU */
        SVMD_DRM_CACHING = 2,   /* a pat */
};
/* Whole pages. What a member is not said for must be 0. */
struct svmd_drm_binding {
        size_t size;
        unsigned what;   /* SVMD_DRM_* */
        uint32_t handle; /* MAP, PLACE: of memory in the file */
        const void *address;
        size_t length;
        uint64_t offset;    /* MAP: in the memory */
        unsigned access;    /* MAP: SVMD_ACCESS_READ, SVMD_ACCESS_READ_WRITE */
        unsigned pat, kind; /* MAP: the driver's, as of svmd_map() */
        int replace;        /* what is mapped there gives way */
        unsigned advice, value;
};
struct svmd_drm_sync {
        uint32_t handle; /* of a syncobj of the file */
        uint64_t point;  /* of a timeline; 0: it is a plain one */
};
struct svmd_drm_bind_options {
        size_t size;
        const struct svmd_drm_sync *wait; /* before it begins; 16 at most, 5 seconds */
        size_t wait_count;
        const struct svmd_drm_sync *signal; /* when all of it is in force; 16 at most */
        size_t signal_count;
};
/* 1 to 1,024 bindings, in order, in as few calls of the driver as it takes. The fence's value is how many of them, from
 * the first on, are in force: after a failure the next one is what failed, svmd_error() says why, and those behind it
 * were not begun. SVMD_E_TAKEN: something is bound there; SVMD_E_NO_LINK, SVMD_E_BUSY, SVMD_E_NO_MEMORY: as the driver
 * says. `opts` may be NULL. */
int svmd_drm_bind(svmd_session *s, svmd_fence **ret, svmd_drm file, uint32_t space, const struct svmd_drm_binding *list,
                  size_t count, const struct svmd_drm_bind_options *opts);
/* Many bindings a second: from now on svmd_drm_bind() of these addresses (of one reservation), with no fence and no
 * options, is done by this process itself: by the same code and its own file, without a message to svmd, which is told
 * later of what is in force. svmd binds nothing there meanwhile (SVMD_E_BUSY). Nor does it know yet what is bound
 * there: the driver alone says what may be replaced. For `ms`, an hour at most (0: ten seconds); then SVMD_E_TIMEOUT,
 * and what svmd was not told of is unmapped. MAP, UNMAP and EMPTY. */
int svmd_drm_delegate(svmd_session *s, svmd_drm file, uint32_t space, const void *address, size_t size, unsigned ms);
/* The end of it: svmd hears of all that was bound there, and binds there again. `address`: where it begins. */
int svmd_drm_settle(svmd_session *s, svmd_drm file, uint32_t space, const void *address);
/* Compares what svmd has bound, or was told of, with what the driver tells. *ret: how many bytes differ, of which
 * svmd-ctl monitor tells how. SVMD_E_NODE_KIND: the driver tells nothing (nouveau, and before Linux 6.18). */
int svmd_drm_check(svmd_session *s, svmd_drm file, uint32_t space, uint64_t *ret);

/* ---- what outlives its sessions -------------------------------------------------------------------------- */

/*
 * A managed reservation with a name, or memory that was exported by name, ends with its last session, unless it is
 * kept: then it goes on without one, with content, address, name and mode, and the next svmd_address_open() or
 * svmd_mem_import() finds it. Also when svmd is restarted meanwhile; not when the machine is. What is kept counts for
 * its partition: for the limits of nodes as before, and by its size for what the partition may keep, which is nothing
 * unless an administrator allows it (svmd-ctl partition set NAME --kept-max SIZE).
 *
 * Freed by its owner with svmd_address_free() it ends, kept or not. Who opens a kept reservation to write, as the user
 * that its name belongs to, while it has no owner, owns it again. Memory has no owner again: it goes when it is kept no
 * longer, and its last handle and mapping are gone.
 */
struct svmd_keep_options {
        size_t size;
        uint64_t seconds; /* that it goes on without sessions, at most 2^32-1; 0: until svmd_kept_remove() */
        int off;          /* keep it no longer: it ends with its last session */
};
/* The reservation that contains `address`: for the session that owns it, and for others of the name's user that have it
 * open to write. `opts` may be NULL: until it is removed. Once more sets the time anew. SVMD_E_LIMIT, SVMD_E_QUOTA: the
 * partition keeps as much as it may. SVMD_E_INVALID: it has no name, or is explicit (keep the memory that it shows). */
int svmd_keep(svmd_session *s, const void *address, const struct svmd_keep_options *opts);
/* The same for memory: for the session that created it, and for others of the name's user that imported it to write. */
int svmd_mem_keep(svmd_session *s, svmd_mem mem, const struct svmd_keep_options *opts);

enum { SVMD_KEPT_RANGE = 1, SVMD_KEPT_MEM = 2, SVMD_KEPT_LEASE = 3 };

struct svmd_use_row;
struct svmd_kept_row {
        unsigned kind; /* SVMD_KEPT_* */
        const char *name, *partition;
        uint64_t id;      /* of the reservation, memory or lease */
        uint64_t address; /* of a range */
        uint64_t length;
        uint32_t uid, gid;
        unsigned mode;
        uint32_t users;                   /* sessions that have it open, or a handle on it */
        uint64_t seconds;                 /* as in svmd_keep_options */
        uint64_t idle_ms;                 /* without users for so long; 0: it has some */
        uint64_t left_ms;                 /* until it ends; UINT64_MAX: no time is set, or it does not run */
        const struct svmd_use_row *nodes; /* where it lies now: `node` and `used` */
        size_t nodes_count;
};
typedef int (*svmd_kept_fn)(const struct svmd_kept_row *row, void *userdata);
/* What a partition keeps, ranges first, leases last, in order of names. On a client's session `partition` must be NULL:
 * its own. A non-zero return of `fn` ends the walk and is the result. */
int svmd_query_kept(svmd_session *s, const char *partition, svmd_kept_fn fn, void *userdata);
/* It is not kept any more: without users it ends at once, else with its last one. For the user that the name belongs
 * to, and for administrators, who name the partition (`partition` NULL: the session's own). SVMD_E_NO_SUCH: nothing of
 * that kind and name is kept. */
int svmd_kept_remove(svmd_session *s, const char *partition, unsigned kind, const char *name);

/* ---- sharing with another partition ----------------------------------------------------------------------- */

/*
 * A named reservation, or memory exported by name, can be had from another partition of the same domain, at the same
 * address. Who comes in through that partition's own socket (a container: $SVMD_SOCKET leads there) connects with the
 * owner's partition in svmd_connect_options.partition: then it is a guest there, reserves those addresses too, and
 * svmd_address_open() and svmd_mem_import() find what is shared with it, with the access that was given, whatever the
 * name's mode says. All else is SVMD_E_DENIED to a guest but spaces and device operations of its own, and what it
 * opened is not charged to it. A share lasts as long as the name and both partitions do, also without sessions, and
 * over restarts of svmd.
 */
struct svmd_share_options {
        size_t size;
        int memory;            /* the name is of memory, else of a reservation */
        const char *partition; /* for administrators: whose it is; NULL: the session's own */
};
/* For the user that the name belongs to, the owner of the partition, and administrators. `access`: SVMD_ACCESS_READ or
 * SVMD_ACCESS_READ_WRITE; guests that have more lose it. Once more sets it anew. `opts` may be NULL. SVMD_E_NO_SUCH: no
 * such name, or no such partition. SVMD_E_DENIED: somebody else's, or the partition is of another domain. Any thread.
 */
int svmd_share(svmd_session *s, const char *name, const char *to, unsigned access,
               const struct svmd_share_options *opts);
/* Guests that have it lose it, and get SVMD_EVENT_GONE. From one that looks at no event a managed range's pages are
 * taken too, where a device has room for them once; other memory that a process mapped it has until it ends.
 * SVMD_E_NO_SUCH: it was not shared with that partition. */
int svmd_unshare(svmd_session *s, const char *name, const char *to, const struct svmd_share_options *opts);

struct svmd_share_row {
        const char *name, *partition; /* whose it is */
        const char *to;
        int memory;
        unsigned access;
        uint64_t address; /* of a reservation */
        uint64_t length;  /* bytes */
        uint32_t uid;     /* that the name belongs to */
        uint32_t guests;  /* sessions of `to` that have it */
};
typedef int (*svmd_share_fn)(const struct svmd_share_row *row, void *userdata);
/* What a partition shares and what is shared with it. On a client's session `partition` must be NULL: its own; NULL of
 * an administrator: of all. A non-zero return of `fn` ends the walk and is the result. */
int svmd_query_shares(svmd_session *s, const char *partition, svmd_share_fn fn, void *userdata);

/* ---- admission ------------------------------------------------------------------------------------------- */

/*
 * Room on several nodes at once, all of it or none, before anything is allocated: a lease. It is charged like memory,
 * and memory that is created out of it takes its bytes over, so what was admitted is there when it is wanted. Ask for
 * all that is needed in one call: who waits holds nothing of what he asked for, but keeps what he has, so programs that
 * have one lease each and wait for another can wait for each other.
 *
 * Turns go by priority; then they are fair between partitions, by bytes; then by who came first. Nobody is overtaken
 * for ever. Room for what needs nothing that others wait for is granted at once. Device memory that nobody uses gives
 * way for who waits at the front of the line, where all that he needs can be had by that. Memory that is created
 * without a lease stands in no line. A lease ends with its session unless it is kept, and is there still when svmd is
 * restarted.
 */
struct svmd_lease_need {
        svmd_node node;  /* no node twice */
        uint64_t length; /* bytes, a multiple of 4096 */
};
struct svmd_admit_options {
        size_t size;
        unsigned priority; /* more goes first */
        int wait_ms;       /* how long it may wait for its turn; -1: for ever; 0: not at all */
};
/* `count` needs, 1 to 16. With `fence` it returns at once, and svmd_fence_wait() gives the outcome; with NULL it waits
 * itself. `opts` may be NULL: no priority, no waiting. SVMD_E_NO_ROOM, SVMD_E_LIMIT: there is no room now and it does
 * not wait, or there cannot be as things are; SVMD_E_TIMEOUT: its turn did not come in time, and there is no lease. */
int svmd_admit(svmd_session *s, svmd_lease *ret, svmd_fence **fence, const struct svmd_lease_need *needs, size_t count,
               const struct svmd_admit_options *opts);
/* Gives back what is left of it; one that waits is called off, and its fence ends with SVMD_E_ABORTED. Memory that was
 * created out of it stays. */
int svmd_lease_release(svmd_session *s, svmd_lease lease);
/* svmd_mem_create() out of a lease of this session. SVMD_E_LIMIT: it has not that much left on the node; SVMD_E_BUSY:
 * it is not granted yet. */
int svmd_mem_create_leased(svmd_session *s, svmd_mem *ret, size_t size, svmd_node node, unsigned flags,
                           svmd_lease lease);

/*
 * Room that is held for later: a server sleeps, and wakes with what it had; a job's room is reserved before it is
 * restored. Memory goes back into a lease instead of to everybody, and a lease that is kept outlives its session under
 * a name, by which a session of the same user claims it. So nobody gets the bytes in between, also when svmd is
 * restarted meanwhile. What is kept counts for what the partition may keep (svmd_keep), by what was asked for.
 */
struct svmd_lease_keep_options {
        size_t size;
        uint64_t seconds; /* that it goes on without a session, at most 2^32-1; 0: until svmd_kept_remove() */
        unsigned mode;    /* as a file's; who may write may claim it. 0: 0600 */
        int off;          /* keep it no longer: it ends with its session */
};
/* One that is granted. `name`: among those of its partition; NULL once it has one. `opts` may be NULL. Once more sets
 * the time anew. SVMD_E_LIMIT, SVMD_E_QUOTA: the partition keeps as much as it may; SVMD_E_TAKEN: the name is. */
int svmd_lease_keep(svmd_session *s, svmd_lease lease, const char *name, const struct svmd_lease_keep_options *opts);
/* One that is kept and has no session is this session's from now on, and stays kept. SVMD_E_BUSY: another session has
 * it; SVMD_E_NO_SUCH: there is none of that name in this partition. */
int svmd_lease_claim(svmd_session *s, svmd_lease *ret, const char *name);
/* svmd_mem_release() whose bytes go into `*lease`, or where that is 0 into a new one, which it becomes. For the session
 * that created the memory, which nobody else has. SVMD_E_BUSY: somebody has, or it is mapped or kept; SVMD_E_NO_ROOM:
 * it has given way to others and lies on a host node, so it has no room on its own. It is there still then. */
int svmd_mem_release_into_lease(svmd_session *s, svmd_mem mem, svmd_lease *lease);

/* Leave that svmd gave this or another process to execute what only that can. libsvmd asks for it and says what became
 * of it, where it is needed. */
enum {
        SVMD_GRANT_ASKED = 1,   /* it is not known yet what became of it */
        SVMD_GRANT_HELD = 2,    /* it was done, and pays for what is there */
        SVMD_GRANT_EXPIRED = 3, /* nobody said in time what became of it: it stays charged */
        SVMD_GRANT_FAILED = 4,  /* nothing was done: the last few of each session */
};
/* What it is for. */
enum {
        SVMD_GRANT_ALLOC = 1,
        SVMD_GRANT_MAP = 2,
        SVMD_GRANT_UNMAP = 4,
        SVMD_GRANT_ACCESS = 8,
        SVMD_GRANT_ADVISE = 16,
        SVMD_GRANT_PREFETCH = 32,
        SVMD_GRANT_USERPTR = 64,
        SVMD_GRANT_SPACE = 128,
        SVMD_GRANT_IMPORT = 256,
        SVMD_GRANT_MODE = 512,
};
struct svmd_grant_row {
        uint64_t grant, generation;
        uint64_t session;
        uint32_t pid;
        const char *client, *partition;
        svmd_node node;
        unsigned operations;    /* SVMD_GRANT_ALLOC and so on */
        uint64_t address, size; /* 0: it is for no range */
        uint64_t bytes;         /* charged */
        unsigned state;
        uint64_t left_ms; /* that it may still be acknowledged; UINT64_MAX: no time runs */
        int error;        /* errno of one that failed */
};
typedef int (*svmd_grant_fn)(const struct svmd_grant_row *row, void *userdata);
/* In order of their numbers. On a client's session `partition` must be NULL: its own. A non-zero return of `fn` ends
 * the walk and is the result. */
int svmd_query_grants(svmd_session *s, const char *partition, svmd_grant_fn fn, void *userdata);

struct svmd_lease_row {
        svmd_lease lease;
        uint64_t session; /* 0: it is kept, and has none */
        uint32_t pid;
        const char *client, *partition;
        int granted;
        unsigned priority;
        uint64_t left_ms; /* that it may still wait, or is kept without a session; UINT64_MAX: no time runs */
        uint32_t before;  /* how many stand before it in line, of all partitions */
        const struct svmd_use_row *nodes; /* `node`, `used`: what is left of it, and `max`: what was asked for */
        size_t nodes_count;
        const char *name; /* "": none */
        int kept;
};
typedef int (*svmd_lease_fn)(const struct svmd_lease_row *row, void *userdata);
/* In order of their numbers. On a client's session `partition` must be NULL: its own. A non-zero return of `fn` ends
 * the walk and is the result. */
int svmd_query_leases(svmd_session *s, const char *partition, svmd_lease_fn fn, void *userdata);

/* ---- queries --------------------------------------------------------------------------------------------- */

enum {
        SVMD_NODE_HOST = 1,
        SVMD_NODE_SOFT = 2,
        SVMD_NODE_HMM = 3,
        SVMD_NODE_KFD = 4,  /* a GPU of AMD's compute driver: clients execute everything there, under grants */
        SVMD_NODE_DRM = 5,  /* a device of a DRM driver: svmd_node_row says who executes what */
        SVMD_NODE_CUDA = 6, /* an NVIDIA device: libsvmd does there, with CUDA, what is asked of it */
};
enum { SVMD_NODE_IMPORT = 1, SVMD_NODE_EXPORT = 2, SVMD_NODE_SYNCOBJ = 4, SVMD_NODE_TIMELINE = 8 };

/* Sums of what a driver told since svmd began to listen: of a device, or of what a process has on all of them. A driver
 * may leave events out. Pages are of 4 KiB. */
struct svmd_device_events {
        uint64_t pages_in, pages_out; /* that came to a device, and left one */
        uint64_t faults;
        uint64_t evictions, restores; /* of queues */
        uint64_t unmaps;              /* from a device */
};

/* Rows are handed to a callback; a non-zero return ends the walk and becomes the function's result. `row` and its
 * strings live during the call. The callback must not call libsvmd on the same session. */
struct svmd_node_row {
        svmd_node id;
        const char *name, *model;
        unsigned kind;
        int faults, online;
        uint64_t capacity, used, hive, pool_bytes, spaces, ops, va_start, va_end;
        uint64_t limits;                    /* partitions with a limit on this node */
        uint64_t managed;                   /* bytes of managed granules, part of `used` */
        uint64_t reserve;                   /* bytes kept back for bringing granules in */
        uint64_t warm;                      /* soft: bytes of free slots that keep their pages */
        uint64_t waiting;                   /* granules that wait for room */
        const char *device;                 /* its file, which for hmm is opened for svmd_device_give(); or empty */
        const char *driver, *version, *bus; /* of a driver's device; never NULL */
        unsigned can;                       /* SVMD_NODE_IMPORT (dma-bufs), _EXPORT, _SYNCOBJ, _TIMELINE */
        const char *trouble;                /* why nothing more is known of it, or "" */
        uint64_t bounces;                   /* touches of granules there that had moved just before */
        uint64_t pins, naps;                /* what was done about them: pinned for a time, or answered later */
        uint64_t device_faults;             /* of its device, served since svmd started, as the following */
        uint64_t evictions, evicted;        /* granules that left to make room; their bytes */
        unsigned functions, functions_most; /* of drm: virtual functions (SR-IOV) that it has, and can have */
        const char *physical;               /* the bus of the device that it is a virtual function of; or "" */
        /* Bits 1 alloc, 2 map, 4 unmap, 8 access, 16 advise, 32 prefetch, 64 userptr, 128 space, 256 import, 512 mode
         * of the process: what clients execute on the device themselves, under grants, and what svmd executes for them.
         * What is in neither is refused. Both 0: svmd keeps the node's page tables itself, or has only the row. */
        unsigned delegated, brokered;
        uint32_t number, driver_id; /* of a GPU: KFD's numbers for it in its topology and its calls; drm: the minor */
        const char *kind_name;      /* also of kinds that have no SVMD_NODE_* */
        struct svmd_device_events events; /* of kfd */
};
typedef int (*svmd_node_fn)(const struct svmd_node_row *row, void *userdata);
int svmd_query_nodes(svmd_session *s, svmd_node_fn fn, void *userdata);

struct svmd_link_row {
        svmd_node from, to;
        const char *type;
        uint32_t weight;
        uint64_t min_bandwidth, max_bandwidth; /* MB/s as the machine states it; 0: not stated */
        int peer;                              /* direct access between two devices */
        uint64_t rate;    /* bytes a second that may move when nobody waits for them, both ways; 0: no cap */
        uint64_t moved;   /* bytes that have, since it has a cap */
        uint64_t put_off; /* moves that waited for the cap, or were not made for it */
};
typedef int (*svmd_link_fn)(const struct svmd_link_row *row, void *userdata);
int svmd_query_links(svmd_session *s, svmd_node node, svmd_link_fn fn, void *userdata);

struct svmd_use_row {
        const char *partition, *client;
        uint64_t session; /* 0: the row is the whole partition */
        uint32_t pid, uid;
        svmd_node node;
        uint64_t used, peak, max; /* max UINT64_MAX: no limit */
        uint64_t high, low, min;  /* of a partition or session: SVMD_BOUND_*; high UINT64_MAX: none */
};
typedef int (*svmd_use_fn)(const struct svmd_use_row *row, void *userdata);
/* Limits and use of the session's own partition, a row a node. */
int svmd_query_limits(svmd_session *s, svmd_use_fn fn, void *userdata);

struct svmd_status {
        size_t size;
        char version[32];
        uint32_t pid;
        int keeper;
        uint64_t uptime_ms, epoch, nodes, partitions, sessions, reservations, memories, mappings, spaces, requests,
                refusals, journal_used, journal_size;
};
int svmd_query_status(svmd_session *s, struct svmd_status *ret);

enum { SVMD_FINDING_GOOD = 0, SVMD_FINDING_NOTE = 1, SVMD_FINDING_WARNING = 2, SVMD_FINDING_FAILURE = 3 };
typedef int (*svmd_finding_fn)(const char *id, unsigned level, const char *text, void *userdata);
/* What svmd found out about this machine and its own rights. */
int svmd_query_findings(svmd_session *s, svmd_finding_fn fn, void *userdata);

/* ---- administration (a session on admin.sock) ------------------------------------------------------------ */

/* What a partition, a session or a control group may have on a node. Up to `min` nobody else can take it; up to `low`
 * others' memory is taken first; above `high` memory is asked back; `max` is never passed. */
enum { SVMD_BOUND_MAX = 0, SVMD_BOUND_HIGH = 1, SVMD_BOUND_LOW = 2, SVMD_BOUND_MIN = 3 };

struct svmd_limit {
        svmd_node node;
        uint64_t max;   /* bytes; UINT64_MAX: no limit, no protection */
        unsigned bound; /* SVMD_BOUND_*: which one `max` is */
};

struct svmd_partition_options {
        size_t size;
        uint64_t length;    /* multiple of 4 GiB; 0: the configured default */
        unsigned window;    /* SVMD_WINDOW_PRIMARY or _LOW */
        const char *domain; /* NULL: "default" */
        uint32_t uid, gid;
        unsigned mode; /* who may attach by name: read bits of owner, group, others; 0 means 0600 */
        const struct svmd_limit *limits;
        size_t limits_count;
        int dry_run;
        int has_kept_max;       /* `kept_max` is given; else a new partition has the configured one */
        uint64_t kept_max;      /* bytes that may be kept without sessions, by their size; UINT64_MAX: no limit */
        unsigned come_down;     /* set: SVMD_COME_DOWN or SVMD_STEAL */
        uint64_t deadline_ms;   /* that sessions have to give back, then */
        const char *container;  /* create: the id of the one that it is for; it is deleted when that ends. NULL: none */
        uint32_t container_pid; /* the container's first process, as the host numbers it, */
        uint64_t container_started; /* and when that began: the 22nd field of /proc/PID/stat */
};
enum {
        SVMD_COME_DOWN = 1, /* what is held beyond the limits leaves; what cannot, stays */
        SVMD_STEAL = 2,     /* the same, and where nothing else helps sessions end, those with most first */
};

/* How a partition comes down to its limits on a node: a row a step, in their order. */
enum { SVMD_PLAN_GIVE_BACK = 0, SVMD_PLAN_EVICT = 1, SVMD_PLAN_SPILL = 2, SVMD_PLAN_STEAL = 3, SVMD_PLAN_STAYS = 4 };

struct svmd_plan_row {
        svmd_node node;
        unsigned kind;    /* SVMD_PLAN_* */
        uint64_t bytes;   /* at most. What is given back need not be taken by the steps behind */
        uint64_t session; /* whose; 0: the partition's */
        uint32_t pid;
        const char *client;
};
typedef int (*svmd_plan_fn)(const struct svmd_plan_row *row, void *userdata);
/* What svmd_partition_set() with these limits, or svmd_partition_delete() with `opts` NULL, would have to take now. For
 * administrators. A non-zero return of `fn` ends the walk and is the result. */
int svmd_partition_plan(svmd_session *s, const char *name, const struct svmd_partition_options *opts, svmd_plan_fn fn,
                        void *userdata);

/* Limits of a session or of a control group. Of both together with the partition the tightest counts. Managed memory
 * counts for the session that reserved it, whoever else has it open, and for its partition alone when that has ended.
 */
struct svmd_limit_options {
        size_t size;
        const struct svmd_limit *limits; /* what is not named stays as it is */
        size_t limits_count;
        int clear;            /* takes all of them away; without `limits` then */
        unsigned come_down;   /* SVMD_COME_DOWN or SVMD_STEAL */
        uint64_t deadline_ms; /* that sessions have to give back, then */
        int dry_run;
};
/* Of a session, for as long as it is there. On a client's session: of the own, or another one of the same user; they
 * may lower max and high, and SVMD_E_DENIED is all else. A min is kept free of what the partition may have, so it has
 * to have a max. */
int svmd_session_limit(svmd_session *s, uint64_t session, const struct svmd_limit_options *opts);
/* Of a control group of version 2, by its path ("/system.slice"), over all sessions of processes in it and below it,
 * whatever their partitions. It need not be there yet, and the limits are kept over restarts of svmd and of the
 * machine. For administrators. */
int svmd_cgroup_limit(svmd_session *s, const char *path, const struct svmd_limit_options *opts);
/* What these would have to take now, as svmd_partition_plan(). */
int svmd_session_plan(svmd_session *s, uint64_t session, const struct svmd_limit_options *opts, svmd_plan_fn fn,
                      void *userdata);
int svmd_cgroup_plan(svmd_session *s, const char *path, const struct svmd_limit_options *opts, svmd_plan_fn fn,
                     void *userdata);

struct svmd_limited_row {
        uint64_t session;   /* 0: a control group */
        const char *cgroup; /* that one; or the one that the session's process is in, "": not known */
        uint64_t sessions;  /* of a control group: those in it and below it */
        const char *partition, *client;
        uint32_t pid, uid;
        const struct svmd_use_row *nodes; /* one a node that is used or limited */
        size_t nodes_count;
};
typedef int (*svmd_limited_fn)(const struct svmd_limited_row *row, void *userdata);
/* One session: any for administrators, for others those of the same user. */
int svmd_query_session(svmd_session *s, uint64_t session, svmd_limited_fn fn, void *userdata);
/* Control groups that have limits, by path (`path` NULL: all). For administrators. */
int svmd_query_cgroups(svmd_session *s, const char *path, svmd_limited_fn fn, void *userdata);

/* `ret_base` may be NULL. */
int svmd_partition_create(svmd_session *s, const char *name, const struct svmd_partition_options *opts,
                          uint64_t *ret_base);

enum { SVMD_SET_OWNER = 1, SVMD_SET_MODE = 2 };
/* Changes the limits and kept_max where they are given, and what `set` names (SVMD_SET_*). */
int svmd_partition_set(svmd_session *s, const char *name, const struct svmd_partition_options *opts, unsigned set);
enum { SVMD_DELETE_END_SESSIONS = 1, SVMD_DELETE_DROP_KEPT = 2 };
/* A partition with sessions, or that keeps something, is SVMD_E_BUSY unless `flags` (SVMD_DELETE_*) says to end that.
 */
int svmd_partition_delete(svmd_session *s, const char *name, unsigned flags, int dry_run);
/* The same; its sessions are asked to give back what they have (SVMD_EVENT_GIVE_BACK), and end after `deadline_ms`.
 * Nobody may attach meanwhile. It is deleted as soon as none of them is left, which this waits for. It goes on when
 * the asking process ends; when svmd ends before, nothing was done. */
int svmd_partition_delete_by(svmd_session *s, const char *name, unsigned flags, uint64_t deadline_ms, int dry_run);

struct svmd_partition_row {
        const char *name, *domain;
        uint64_t base, length;
        unsigned window, mode;
        uint32_t uid, gid;
        uint64_t sessions, reservations, reserved_bytes;
        const struct svmd_use_row *nodes; /* one a node that is used or limited */
        size_t nodes_count;
        uint64_t kept, kept_max;      /* bytes, by size: what is kept, in use or not; and what may be */
        const char *policy;           /* its profile, "" when svmd says none */
        uint64_t rate;                /* bytes a second that may move when nobody waits for them; 0: no cap */
        uint64_t moved, put_off;      /* bytes that have; moves that waited for the cap, or were not made for it */
        uint64_t bounces, pins, naps; /* as of a node */
        uint64_t refusals; /* operations of its sessions that were refused, since svmd started, as the following */
        uint64_t cpu_faults, device_faults; /* in its managed ranges, served */
        uint64_t evictions, evicted;        /* as of a node */
        const char *container;              /* that it was made for, and ends with; "": none */
};
typedef int (*svmd_partition_fn)(const struct svmd_partition_row *row, void *userdata);
/* `name` NULL: all. */
int svmd_query_partitions(svmd_session *s, const char *name, svmd_partition_fn fn, void *userdata);

struct svmd_session_row {
        uint64_t id;
        const char *partition, *client;
        uint32_t pid, uid, gid;
        uint64_t reservations, memories, spaces, requests, refusals, dropped_events;
        uint64_t registered;              /* bytes of its own memory that devices may reach */
        struct svmd_device_events events; /* of its process, all sessions together */
        const char
                *withheld; /* a CUDA node whose managed pages its process did not give back when asked, and why; "" */
};
typedef int (*svmd_session_fn)(const struct svmd_session_row *row, void *userdata);
int svmd_query_sessions(svmd_session *s, const char *partition, svmd_session_fn fn, void *userdata);
int svmd_session_kill(svmd_session *s, uint64_t session, int dry_run);

struct svmd_reservation_row {
        uint64_t id, address, length, session, mapped, generation;
        const char *name, *partition;
        uint32_t uid, gid, openers;
        unsigned mode;
        unsigned kind, granule;
        int revoked;
        int kept;                  /* it goes on without sessions: svmd_keep() */
        uint64_t idle_ms, left_ms; /* of one that is kept: as in svmd_kept_row */
};
typedef int (*svmd_reservation_fn)(const struct svmd_reservation_row *row, void *userdata);
/* In address order. On a client's session `partition` must be NULL: its own. */
int svmd_query_reservations(svmd_session *s, const char *partition, svmd_reservation_fn fn, void *userdata);
/* ---- accounts -------------------------------------------------------------------------------------------- */

/* Use per session and per partition (`partition` NULL: all), a row a node that is used. */
int svmd_query_usage(svmd_session *s, const char *partition, svmd_use_fn fn, void *userdata);

/* Who holds what now, a row a node: of sessions, then for each partition what none of its sessions holds. The rows of a
 * node add up to what is used of it. `node` UINT32_MAX: it holds nothing, and has registered memory. */
struct svmd_holder_row {
        const char *partition, *client;
        uint64_t session; /* 0: memory of the partition that no session holds */
        uint32_t pid, uid;
        const char *process;                   /* its name; "": it was gone when svmd looked */
        const char *cgroup;                    /* path of its control group; "": not known */
        const char *runtime, *container, *pod; /* as the names of control groups say; "": in none */
        svmd_node node;
        uint64_t used, peak;
        uint64_t managed;    /* of `used`: granules of managed ranges */
        uint64_t leased;     /* of `used`: room that leases hold */
        uint64_t registered; /* beside `used`, on all rows of a session: of its own memory that devices may reach */
        const char *container_name, *pod_name, *pod_namespace; /* as people call it; "": svmd-hook did not say */
};
typedef int (*svmd_holder_fn)(const struct svmd_holder_row *row, void *userdata);
/* `partition` NULL: all. For administrators. */
int svmd_query_holders(svmd_session *s, const char *partition, svmd_holder_fn fn, void *userdata);

/* What svmd has done since it started, as sums. */
enum {
        SVMD_METRIC_OPERATIONS = 0, /* `label`: which; `count` were carried out, `refused` were not */
        SVMD_METRIC_HISTOGRAM = 1,  /* `name` of `label`: `count` times, which took `sum_ns` in all */
        SVMD_METRIC_FLOW = 2,       /* `count` granules of `bytes` have moved from node to node, or been copied */
        SVMD_METRIC_GRANTS = 3,     /* `label`: "asked", "held", "expired": `count` there are; "failed": there were */
};

struct svmd_metric_row {
        unsigned kind;       /* SVMD_METRIC_* */
        uint64_t started_ns; /* when svmd began to count, since 1970 */
        const char *name;    /* "request", "cpu-fault", "device-fault", "migration"; "" */
        const char *label;   /* a request's operation or "several"; a migration's cause; "" */
        uint64_t count, refused, sum_ns;
        /* Of a histogram: bucket i has what took up to first_ns << i nanoseconds and is in none before it. What is in
         * none of them took longer. */
        uint64_t first_ns;
        const uint64_t *buckets;
        size_t buckets_count;
        svmd_node from, to;
        uint64_t bytes; /* of grants: charged */
};
typedef int (*svmd_metric_fn)(const struct svmd_metric_row *row, void *userdata);
/* For administrators, and members of svmd's metrics-group; who are in that may ask for svmd_query_partitions() and
 * svmd_query_holders() too. */
int svmd_query_metrics(svmd_session *s, svmd_metric_fn fn, void *userdata);

enum {
        SVMD_BY_NODE = 0,
        SVMD_BY_PARTITION = 1,
        SVMD_BY_USER = 2,
        SVMD_BY_CGROUP = 3,
        SVMD_BY_CONTAINER = 4,
        SVMD_BY_PID = 5,
};
struct svmd_history_row {
        const char *key;  /* "none": of no session, or in no container; "unknown"; "other": the rest */
        const char *node; /* its name */
        uint64_t page_ms; /* pages of 4 KiB times milliseconds */
        uint64_t average; /* bytes, over the time that svmd looked */
        uint64_t peak;    /* bytes */
};
typedef int (*svmd_history_fn)(const struct svmd_history_row *row, void *userdata);
struct svmd_history_options {
        size_t size;
        unsigned by;           /* SVMD_BY_* */
        uint64_t since, until; /* seconds since 1970; until is not part of it */
        const char *node;      /* NULL: all */
};
struct svmd_history_span {
        size_t size;
        uint64_t since, until; /* of the steps that were looked at */
        uint64_t step;         /* seconds: a minute, an hour or a day */
        uint64_t watched_ms;   /* how long svmd has looked in that time */
};
/* Who used how much of each node between two times, most first. `ret` may be NULL. For administrators. */
int svmd_query_history(svmd_session *s, const struct svmd_history_options *o, struct svmd_history_span *ret,
                       svmd_history_fn fn, void *userdata);

enum { SVMD_DRIFT_NODE = 0, SVMD_DRIFT_PROCESS = 1, SVMD_DRIFT_CGROUP = 2, SVMD_DRIFT_DEVICE = 3 };
enum { SVMD_COUNTS_FAULTS = 1, SVMD_COUNTS_PAGES_IN = 2, SVMD_COUNTS_PAGES_OUT = 4, SVMD_COUNTS_EVICTED = 8 };
/* What AMD's driver itself counts of a process on a GPU: nothing is left out, as it may be of struct
 * svmd_device_events. */
struct svmd_driver_counts {
        unsigned has; /* SVMD_COUNTS_*; kernels differ in what they count */
        uint64_t faults, pages_in, pages_out;
        uint64_t evicted_ms; /* queues were stopped */
};
struct svmd_drift_row {
        unsigned scope;      /* SVMD_DRIFT_* */
        const char *source;  /* who reports it: st_blocks, fdinfo, kfd, fd, maps, memcg, dmem, nvml */
        const char *subject; /* the node, process or control group */
        const char *place;   /* the node, or the device and its region */
        uint64_t session;    /* of a process; else 0 */
        uint32_t pid;
        uint64_t reported, ledger; /* bytes; the drift is what the first is more than the second */
        const char *why;           /* what may explain a drift; "": there is none */
        int moving;            /* svmd's own figures changed while it looked, so that a drift of a node means nothing */
        uint64_t limit;        /* of a control group: what the kernel lets it have; UINT64_MAX: no limit */
        uint64_t killed;       /* of it: processes that the kernel ended for that */
        const char *container; /* it is that of "RUNTIME:ID", by its name; "": of none */
        int unbrokered;        /* of a process: it has that of a device without svmd */
        struct svmd_driver_counts counts; /* of kfd */
};
typedef int (*svmd_drift_fn)(const struct svmd_drift_row *row, void *userdata);
/* What the kernel and drivers report, against what svmd gave out. For administrators. */
int svmd_query_drift(svmd_session *s, svmd_drift_fn fn, void *userdata);
/* ---- orders ---------------------------------------------------------------------------------------------- */

/* From now on SVMD_EVENT_MONITOR events come. */
int svmd_monitor(svmd_session *s, int on);

/* The managed functions above for an administrator, who has no addresses of his own: `partition` says whose. */
int svmd_partition_migrate(svmd_session *s, svmd_fence **ret, const char *partition, uint64_t address, size_t size,
                           svmd_node node);
int svmd_partition_evict(svmd_session *s, svmd_fence **ret, const char *partition, uint64_t address, size_t size);
int svmd_partition_discard(svmd_session *s, svmd_fence **ret, const char *partition, uint64_t address, size_t size);
int svmd_partition_revoke(svmd_session *s, svmd_fence **ret, const char *partition, uint64_t address, int off);

enum { SVMD_NODE_DRAIN = 1, SVMD_NODE_OFFLINE = 2, SVMD_NODE_ONLINE = 3, SVMD_NODE_LOST = 4 };
/* DRAIN: the node takes nothing more and what is managed leaves it; the fence is done when it has. OFFLINE: the same,
 * without a promise. ONLINE: it is used again. LOST: a device has vanished; it is offline, and managed content that lay
 * nowhere else is gone until it is discarded: SVMD_E_GONE, and for the CPU SIGBUS or a thread that waits. Memory
 * objects there are gone until they are released: SVMD_E_GONE of the operations that need them. */
int svmd_node_set(svmd_session *s, svmd_fence **ret, svmd_node node, unsigned action);
/* What DRAIN or OFFLINE would come to now, whose memory leaves and whose stays, as svmd_partition_plan(); refused as
 * that would be. For administrators. */
int svmd_node_plan(svmd_session *s, svmd_node node, unsigned action, svmd_plan_fn fn, void *userdata);

enum { SVMD_UPGRADE_KEEPER = 1, SVMD_UPGRADE_CHECK = 2 };
/* svmd becomes another program, or the present version of the file that it was started from (`binary` NULL): the same
 * process, with all sessions. KEEPER: svmd-keeper too. CHECK: only tries whether the program could. Comes back before
 * it happens: afterwards the epoch is another one, and this session, if it is attached to no partition, has ended. */
int svmd_upgrade(svmd_session *s, const char *binary, unsigned flags);

/* ---- what svmd goes by ----------------------------------------------------------------------------------- */

enum {
        SVMD_SETTING_POLICY,           /* what decides where pages go, where a partition has nothing of its own */
        SVMD_SETTING_PARTITION_POLICY, /* `name`: a partition, or "*" */
        SVMD_SETTING_PARTITION_RATE,   /* likewise */
        SVMD_SETTING_LINK_RATE,        /* `name`, `other`: nodes, or "*" */
};
/* Sets it over what the configuration says of the same, until it is taken back or the machine starts again. `profile`:
 * "balanced", "throughput", "latency" or "pinned"; `rate`: bytes a second, 0 is no cap. What does not belong to the
 * kind is NULL, or 0. For administrators, as all of these. */
int svmd_policy_set(svmd_session *s, unsigned kind, const char *name, const char *other, const char *profile,
                    uint64_t rate);
int svmd_policy_unset(svmd_session *s, unsigned kind, const char *name, const char *other);
struct svmd_setting_row {
        unsigned kind; /* SVMD_SETTING_* */
        const char *name, *other, *profile;
        uint64_t rate;
        int set;         /* by an administrator; else the configuration says so */
        uint64_t set_ns; /* since 1970 */
        unsigned uid;
};
typedef int (*svmd_setting_fn)(const struct svmd_setting_row *row, void *userdata);
/* What is configured, and then what is set. What names something goes over what means all; of equals the later counts.
 */
int svmd_query_policy(svmd_session *s, svmd_setting_fn fn, void *userdata);

typedef int (*svmd_reload_fn)(const char *option, int needs_restart, void *userdata);
/* svmd reads its configuration again. `fn` (may be NULL) is called with each option that is another one now, or would
 * be with a restart. SVMD_E_INVALID: nothing has changed, and svmd_error() has file, line and what was expected. */
int svmd_reload(svmd_session *s, svmd_reload_fn fn, void *userdata);

/* ---- recordings ------------------------------------------------------------------------------------------ */

enum { SVMD_TRACE_REQUESTS = 1 };
/* What is asked of managed ranges (`partition` NULL: of all) is recorded into the file from now on, for svmd-sim(1):
 * faults, what devices use and requests; REQUESTS: these alone. `fd` is of an empty regular file, opened to be written;
 * svmd has its own from then on. One recording a session, with which it ends. */
int svmd_trace_start(svmd_session *s, const char *partition, unsigned flags, int fd);
/* Comes back before all that was recorded is in the file: svmd_query_trace() says when it is. */
int svmd_trace_stop(svmd_session *s);
struct svmd_trace {
        size_t size;
        int ended; /* the file is whole. svmd forgets the recording when it has said so */
        int error; /* errno of the write that ended it, or 0 */
        uint64_t records;
        uint64_t dropped; /* records that came too fast, or could not be written */
        uint64_t bytes;   /* of the file */
};
int svmd_query_trace(svmd_session *s, struct svmd_trace *ret);
/* svmd has ended while it recorded: cuts what is not whole off the file (open for both) and writes its last record. */
int svmd_trace_close(int fd);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
