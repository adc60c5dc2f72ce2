#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What AMD's kernel driver has, as svmd-probe-kfd tells it: a child that runs for moments and whose library may assert,
 * hang, or say nonsense. It is started once, a thread waits for it, and whatever it does costs these devices alone.
 *
 * Its lines, in this order; words are separated by one space, and nothing else may stand there:
 *
 *      probe 1                                                 of this form
 *      version MAJOR MINOR                                     of the interface /dev/kfd
 *      node INDEX cpu|gpu CORES BYTES RENDER HIVE SVM NAME     RENDER: minor number of its DRM node, or -1; SVM: 0 or 1
 *      link FROM TO TYPE WEIGHT MINIMUM MAXIMUM                bandwidths in MB/s
 *      gpu INDEX ID START END                                  ID: KFD's number for it; addresses that it can show
 *      card INDEX UNIQUE DOMAIN LOCATION                       as in struct card
 *      xnack MODE
 *      error WHAT ERRNO STATUS                                 STATUS: libhsakmt's
 *      end
 */
enum { KFD_NODES_MAX = 256, KFD_LINKS_MAX = 8192, KFD_ERRORS_MAX = 16, KFD_TEXT_MAX = 256 * 1024 };

struct machine;

struct kfd_node {
        char name[48];
        bool gpu, svm;
        uint32_t cores;
        int render;
        uint64_t bytes, hive;
        uint32_t id;               /* KFD's; 0: it did not say */
        uint64_t va_start, va_end; /* 0: it did not say */
        bool has_card;
        uint64_t unique;
        uint32_t domain, location;
};

struct kfd_link {
        uint32_t from, to, weight, minimum, maximum;
        char type[8];
};

struct kfd_error {
        char what[12]; /* "open", "library", "version", "topology", "node", "svm-set", "svm-get", "xnack" */
        int error, status;
};

struct kfd_report {
        bool has_version, has_xnack;
        unsigned major, minor;
        int xnack;
        uint32_t nodes_count, links_count, errors_count;
        struct kfd_node nodes[KFD_NODES_MAX];
        struct kfd_link links[KFD_LINKS_MAX];
        struct kfd_error errors[KFD_ERRORS_MAX];
};

/* Of text that is all there is. 0, or -EBADMSG with words that follow "it". */
int kfd_report_read(struct kfd_report *ret, const char *text, size_t size, char *why, size_t why_size);
/* NULL: it had none of that. */
const struct kfd_error *kfd_report_error(const struct kfd_report *r, const char *what);
/* As recorded machines have it. */
const char *kfd_link_type(const struct kfd_link *l);
/* The node of the machine that a CPU node of the report is: they are its host nodes, in their order; where those are
 * fewer, the first is meant. */
uint32_t kfd_host_of(const struct kfd_report *r, uint32_t index, const struct machine *m);

enum kfd_state {
        KFD_ABSENT, /* no driver, so nobody was asked */
        KFD_ASKED,  /* the child runs */
        KFD_TOLD,
        KFD_FAILED,
};

struct kfd;
/* Starts `program` and the thread that waits for it, for `patience_ms` at most. NULL: KFD_ABSENT for ever. -ENOMEM. */
int kfd_new(struct kfd **ret, const char *program, unsigned patience_ms);
/* The child is ended if it runs still; nothing runs afterwards. NULL is allowed, here and there. */
void kfd_stop(struct kfd *k);
void kfd_free(struct kfd *k);
/* `why` gets words that follow "svmd-probe-kfd" for KFD_FAILED. Any thread. */
enum kfd_state kfd_state(struct kfd *k, char *why, size_t why_size);
/* For KFD_TOLD; it does not change any more, and stays until kfd_free(). */
const struct kfd_report *kfd_report(const struct kfd *k);
