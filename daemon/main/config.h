#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/node.h"
#include "core/setting.h"
#include "policy/policy.h"

/*
 * Options of svmd: one table gives the command line, the configuration file, --help and the man page.
 * Order of precedence: command line, drop-ins (DIR.d/ *.conf in order of their names, beside the file), file, defaults.
 */
struct config {
        char *config_file;                     /* default /etc/svmd/svmd.conf; absent is no error unless it was named */
        char *cuda_agent;                      /* NULL: in runtime_dir */
        uint32_t cuda_patience;                /* seconds */
        char *runtime_dir;                     /* /run/svmd */
        char *state_dir;                       /* /var/lib/svmd */
        char *machine_dir;                     /* a recorded machine, NULL: none */
        bool machine_faults;                   /* its devices have faults */
        char *sys_root, *proc_root, *dev_root; /* /sys, /proc, /dev */
        char *dmem_root;                       /* NULL: the kernel's */
        char *kfd_probe;                       /* NULL: svmd-probe-kfd beside svmd, else in libexec */
        char *keeper_program;                  /* NULL: svmd-keeper beside svmd, else in libexec */
        char *metrics_group;                   /* svmd-metrics; who may ask for figures */
        char *admin_group;                     /* svmd-admin; who may use admin.sock beside svmd's own user */
        uint64_t default_partition_size;       /* 64 GiB; multiple of 4 GiB */
        uint64_t journal_size;                 /* 1 GiB; both halves together */
        uint64_t host_capacity;                /* 0: what the machine has; else split over the host nodes */
        uint32_t max_sessions;                 /* 15000 */
        uint32_t max_sessions_per_uid;         /* 4096; the daemon's own uid has no bound */
        uint32_t max_fds_per_uid;              /* 65536; likewise */
        uint64_t max_queued_per_uid;           /* 64 MiB; likewise */
        uint64_t max_objects_per_session;      /* 1048576: reservations, memories, spaces, mappings */
        uint64_t kept_max;                     /* 0: of a partition, unless it was made with another */
        uint64_t max_registered;               /* 64 GiB: registered memory of a session */
        struct policy_profile profile;         /* what decides where pages go */
        uint32_t usage_period;                 /* 10 s; 0: no history of use is kept */
        uint32_t device_period;                /* 10 s; 0: devices are looked at again at a reload */
        uint32_t drift_period;                 /* 60 s; 0: drift is looked at when somebody asks */
        uint32_t dmem_period;                  /* 5 s; 0: when sessions come and limits change */
        uint32_t usage_days;                   /* 400 */
        uint64_t usage_size;                   /* 64 MiB */
        int log_level;                         /* LOG_INFO */
        bool dmem_drive;                       /* off */
        bool check_only;                       /* --check-config */
        bool check_takeover;                   /* --check-takeover */
        struct machine soft;                   /* --soft-node and [node NAME]: nodes without links */
        struct default_limit {
                char node[NODE_NAME_MAX + 1]; /* "*": every node without one of its own */
                uint64_t max;
        } * default_limits; /* of default partitions: --default-limit NODE=SIZE */
        uint32_t default_limits_count;
        struct setting *settings; /* link-rate, partition-rate, partition-policy */
        uint32_t settings_count;
};

enum {
        _CONFIG_E_OK,
        CONFIG_E_DONE, /* --help or --version was printed; end with 0 */
        CONFIG_E_BAD,  /* a sentence was written to `err`: for a file "FILE:LINE: what was expected"; end with 2 */
};

/* Sizes take K, M, G, T (powers of 1024). */
int config_load(struct config *c, int argc, char **argv, FILE *out, FILE *err);
void config_fini(struct config *c);
/* The table as an mdoc list, for svmd.8 and svmd.conf.5. */
void config_print_mdoc(FILE *out, bool for_file);
