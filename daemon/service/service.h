#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The only way in: a session hands over a packet with its file descriptors, and gets a reply. Sockets, D-Bus, tests and
 * fuzzers enter here. One thread calls everything; slow work runs in jobs and comes back by service_collect().
 *
 * A reply is handed to the transport when its effects are in the journal's memory, but must leave only after
 * service_commit(): one commit for everything that a turn of the loop has brought.
 */
struct service;
struct session;
struct partition;
struct fdlist;
struct drm;
struct kfd;
struct machine;
struct node_desc;
struct store;
struct setting;
struct smi_event;
struct smi_listener;
struct policy_profile;

enum { SERVICE_OPTIONS_MAX = 64 };

/* What a reload came to: names of options, which stay. */
struct service_reloaded {
        const char *changed[SERVICE_OPTIONS_MAX], *restart[SERVICE_OPTIONS_MAX]; /* with a restart alone */
        unsigned changed_count, restart_count;
};

struct service_hooks {
        void *userdata;
        /* A reply's bytes are valid during the call; descriptors are sent from `fds` (may be NULL) and stay the
         * caller's. */
        void (*reply)(void *userdata, struct session *s, const void *bytes, size_t size, struct fdlist *fds);
        /* False: the session has no room for it now. */
        bool (*event)(void *userdata, struct session *s, const void *bytes, size_t size);
        /* The session is being freed: forget it and close its socket. */
        void (*session_gone)(void *userdata, struct session *s);
        /* A partition came up or goes: it has a socket of its own. */
        int (*partition_up)(void *userdata, struct partition *p);
        void (*partition_down)(void *userdata, struct partition *p);
        /* Into the hands of svmd-keeper, and out of them. */
        int (*keep)(void *userdata, uint64_t key, int fd);
        void (*unkeep)(void *userdata, uint64_t key);
        /* The session's socket likewise, under KEEP_SESSION and its id. */
        int (*keep_session)(void *userdata, struct session *s);
        /* SIGKILL for the process that connected. -ESRCH: it is gone. */
        int (*kill)(void *userdata, struct session *s);
        /* What was handed over may leave now: the journal has it. */
        void (*flush)(void *userdata);
        /* From any thread: call service_collect() soon. */
        void (*wake)(void *userdata);
        /* In this thread: call it in some 10 ms; once, however often this is called meanwhile. */
        void (*wake_soon)(void *userdata);
        /* In this thread: call it in so many milliseconds; what was asked for before is forgotten. */
        void (*wake_in)(void *userdata, uint64_t ms);
        /* Whether the program may take this one's place: 0, or negative with a sentence. In a job's thread. */
        int (*upgrade_check)(void *userdata, const char *binary, bool keeper, char *why, size_t why_size);
        /* It does, as soon as the replies of this turn have left; `keeper`: svmd-keeper has become another program when
         * this returns. The same errors. */
        int (*upgrade)(void *userdata, const char *binary, bool keeper, char *why, size_t why_size);
        /* The configuration as it is now: 0, or negative with a sentence. In a job's thread. */
        int (*reload_read)(void *userdata, void **ret, char *why, size_t why_size);
        /* What was read counts from now on, as far as it can while svmd runs, and is this hook's (NULL: it could not be
         * read). 0 or -ENOMEM, and nothing has changed. */
        int (*reload)(void *userdata, void *read, struct service_reloaded *ret);
};

struct service_default_limit {
        const char *node; /* "*": every node without one of its own */
        uint64_t max;
};

struct service_options {
        const struct policy_profile *policy; /* what decisions about pages go by; NULL: policy's default. Copied */
        const struct setting *settings;      /* of links and partitions. Must stay */
        uint32_t settings_count;
        const struct machine *machine;
        uint64_t default_partition_size, journal_size;
        uint64_t max_objects_per_session;
        uint64_t kept_max;       /* of a partition that is made without a word about it */
        uint64_t max_registered; /* bytes a session */
        uint32_t max_sessions, max_sessions_per_uid;
        uint32_t max_fds_per_uid; /* 0: no bound */
        uint32_t bus_uid;         /* of svmd-dbus, which asks for others; (uint32_t)-1: none */
        const struct service_default_limit *default_limits;
        uint32_t default_limits_count;
        bool keeper; /* sessions survive this process */
        const char *sys_root, *proc_root, *dev_root;
        struct drm *drm;                /* devices of DRM drivers; NULL: nobody looked */
        struct kfd *kfd;                /* what AMD's driver has; NULL: it is not there */
        const struct smi_listener *smi; /* who listens to that driver; NULL: nobody */
        const char *nvml_probe;         /* svmd-probe-nvml; NULL: NVIDIA's driver is not asked */
        long dmabuf_fs;                 /* magic of the file system that dma-bufs are of; 0: the kernel's */
        uint64_t (*boottime_ns)(void);  /* NULL: CLOCK_BOOTTIME */
        const char *state_dir;          /* where the history of use is; NULL: none is kept */
        const char *runtime_dir;        /* notes on containers, and the socket of svmd-cgroup; NULL: neither */
        uint32_t usage_period_ms;       /* how often it is written; 0: none is kept */
        uint32_t drift_period_ms;       /* how often ledger and kernel are compared; 0: when somebody asks */
        const char *dmem_root;          /* a folder in place of the kernel's dmem; NULL: the kernel's */
        bool dmem_drive;                /* limits that svmd sets are written there */
        uint32_t dmem_period_ms; /* how often groups are looked at there; 0: when sessions come and limits change */
        uint32_t usage_days;
        uint64_t usage_size;
};

/* What svmd-keeper held. */
struct service_kept {
        uint64_t key;
        int fd; /* -1 once taken */
};

enum {
        KEEP_JOURNAL = 1,
        KEEP_POOL,
        KEEP_FILE,
        KEEP_SESSION,
        KEEP_LISTENER,
        KEEP_RANGE,       /* memory of a managed reservation, by its id */
        KEEP_RANGE_STATE, /* and its state */
        KEEP_UFFD,        /* by the session's id */
        KEEP_SLOTS,       /* pool of granules: node << 8 | log2 of their size */
        KEEP_CLIENT,      /* /proc/PID/mem of a session that has registered memory, by the session's id */
        KEEP_DEVICE,      /* a file of a device that a session gave, by its own id */
        KEEP_CUDA,        /* svmd's end of a channel: session's id << 6 | node; see cuda.h */
};
#define KEEP_KEY(kind, id) ((uint64_t)(kind) << 56 | (id))
#define KEEP_KIND(key)     ((unsigned)((key) >> 56))
#define KEEP_ID(key)       ((key) & ((1ull << 56) - 1))

int service_new(struct service **ret, const struct service_options *options, const struct service_hooks *hooks);
/* Brings up nodes and partitions, and what an earlier svmd left: takes the descriptors it needs out of `kept`, session
 * sockets excepted. `why` gets a sentence. The store may be NULL (partitions are not durable then). */
int service_start(struct service *svc, struct store *store, struct service_kept *kept, size_t kept_count, char *why,
                  size_t why_size);
/* The nodes that an earlier svmd had, in the order of their numbers: kind, name, capacity and, where it knew that,
 * card. A non-zero return ends the walk and is returned. */
typedef int (*service_node_fn)(void *userdata, uint32_t number, const struct node_desc *n);
int service_kept_nodes(const struct service_kept *kept, size_t count, service_node_fn fn, void *userdata);
/* Whether a node that is a driver's device (node_desc.found) is there, after service_start(). One that is not is lost,
 * for that reason, until it is. */
void service_found(struct service *svc, uint32_t node, bool there, const char *why);
/* What a node's device is known by (node_desc.card) has changed: the next svmd shall know. */
void service_found_card(struct service *svc);
/* What drivers have, looked at again; and how many devices there are that can be no node while svmd runs. */
void service_set_devices(struct service *svc, struct kfd *kfd, struct drm *drm);
void service_found_new(struct service *svc, unsigned count);
/* What AMD's driver told; processes that have no session here count for their node alone. */
void service_device_event(struct service *svc, const struct smi_event *event);
/* From now on these count: policy, settings, sizes and limits of what is made, maxima. 0 or -ENOMEM, and nothing has
 * changed. */
int service_configure(struct service *svc, const struct service_options *options);
/* Reads the configuration again; the log says what came of it. */
void service_reload(struct service *svc);
/* Ends every session without telling (`keep_state`: leaves journal and files as they are for the next svmd). */
void service_free(struct service *svc, bool keep_state);

struct service_peer {
        uint32_t pid, uid, gid;
        const uint32_t *groups;
        uint32_t groups_count;
        bool admin;                  /* came over admin.sock and may */
        bool reader;                 /* may ask for figures */
        struct partition *partition; /* came over that partition's own socket */
};

enum {
        _SERVICE_E_OK,
        SERVICE_E_LATER,   /* the reply comes later; no further packet of this session until then */
        SERVICE_E_ENDED,   /* the packet was malformed: the session is gone */
        SERVICE_E_REFUSED, /* too many sessions */
};

int service_session_new(struct service *svc, struct session **ret, const struct service_peer *peer, void *connection);
/* The connection has ended. Everything the session held is released. */
void service_session_end(struct service *svc, struct session *s);
/* Ends it from this side, with an End event. */
void service_session_kick(struct service *svc, struct session *s, unsigned code, const char *text);
/* Sessions of an earlier svmd, after service_start(); a non-zero return ends the walk. */
int service_each_session(struct service *svc, int (*fn)(void *userdata, struct session *s), void *userdata);
/* Tells a resumed session that another svmd answers now, or ends it where what it had is lost. */
void service_session_resumed(struct service *svc, struct session *s, void *connection);

/* One packet. Descriptors that are needed are stolen from `fds`. */
int service_receive(struct service *svc, struct session *s, const void *bytes, size_t size, struct fdlist *fds);
/* The reply that the transport was given last could not leave yet; and then it did. */
void service_reply_stuck(struct service *svc, struct session *s, const void *bytes, size_t size);
void service_reply_left(struct service *svc, struct session *s);
/* Room for events again. */
void service_session_writable(struct service *svc, struct session *s);
void service_collect(struct service *svc);
void service_commit(struct service *svc);
/* What was committed is all there is: what was let go may leave the keeper. */
bool service_recorded(const struct service *svc);
/* Nothing runs or waits in jobs. */
bool service_idle(struct service *svc);

uint64_t session_id(const struct session *s);
/* Whom bounds are for, as core/session.h says: a number of its own. A user of the host has his own. */
uint64_t session_party(const struct session *s);
uint64_t peer_party(const struct service_peer *peer);
/* That one in a message: "user 1000", or whose socket it came through. */
void session_party_name(const struct session *s, char *ret, size_t size);
void *session_connection(const struct session *s);
const char *partition_name(const struct partition *p);
/* The container that it was made for, as holder.h reads it; "": none. */
const char *partition_holder(const struct partition *p);
/* That container has ended: the partition ends, too, in a later service_collect(). */
void service_partition_orphaned(struct service *svc, struct partition *p);
void *partition_listener(const struct partition *p);
void partition_set_listener(struct partition *p, void *listener);
int service_each_partition(struct service *svc, int (*fn)(void *userdata, struct partition *p), void *userdata);
uint64_t service_sessions(const struct service *svc);
uint64_t service_attached(const struct service *svc); /* those of them that a restart keeps */
uint64_t service_partitions(const struct service *svc);
uint64_t service_epoch(const struct service *svc);
/* Memory of clients, on all nodes. */
uint64_t service_bytes(const struct service *svc);
/* svmd-keeper has ended. There is another one that holds everything, the so manieth; or none, and why. */
void service_keeper_replaced(struct service *svc, unsigned times);
void service_keeper_lost(struct service *svc, const char *why);
/* What was lost before this svmd: how many sessions. */
void service_lost(struct service *svc, const char *what);
/* The highest type of effect that a journal of this svmd may hold. */
unsigned service_effects(void);
