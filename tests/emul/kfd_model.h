#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * KFD 1.11 as a model: what /dev/kfd answers, from numbers alone. Pure: the caller's memory is behind functions, its
 * process is a number. Each rule stands for a fact of docs/devices.md, has its number, and can be broken to see that a
 * test notices.
 */
struct machine;
struct kfd_file;
struct kfd_model;

#define KFD_RULES(X)                                                                                                   \
        X(VERSION, "K1")                                                                                               \
        X(UNKNOWN_CALL, "K2")                                                                                          \
        X(FOREIGN, "K3")                                                                                               \
        X(APERTURES, "K4")                                                                                             \
        X(APERTURES_COUNT, "K5")                                                                                       \
        X(NEEDS_VM, "K6")                                                                                              \
        X(ONE_VM, "K7")                                                                                                \
        X(ALLOC_SIZE, "K8")                                                                                            \
        X(ALLOC_CAPACITY, "K9")                                                                                        \
        X(ALLOC_OVER_SVM, "K10")                                                                                       \
        X(HANDLE, "K11")                                                                                               \
        X(MAP_DEVICES, "K12")                                                                                          \
        X(MAP_OVER_MAPPING, "K13")                                                                                     \
        X(FREE_MAPPED, "K14")                                                                                          \
        X(SVM_PAGES, "K15")                                                                                            \
        X(SVM_TYPE, "K16")                                                                                             \
        X(SVM_GPU, "K17")                                                                                              \
        X(SVM_VMA, "K18")                                                                                              \
        X(SVM_OVER_MAPPING, "K19")                                                                                     \
        X(SVM_DEFAULTS, "K20")                                                                                         \
        X(GET_LOCATION, "K21")                                                                                         \
        X(GET_PREFETCH, "K22")                                                                                         \
        X(GET_ACCESS, "K23")                                                                                           \
        X(GET_FLAGS, "K24")                                                                                            \
        X(GET_GRANULARITY, "K25")                                                                                      \
        X(SVM_COUNT, "K26")                                                                                            \
        X(XNACK_QUEUE, "K27")                                                                                          \
        X(XNACK_ABLE, "K28")                                                                                           \
        X(PREFETCH_HIVES, "K29")                                                                                       \
        X(GRANULARITY_MAX, "K30")                                                                                      \
        X(AVAILABLE, "K31")                                                                                            \
        X(SVM_ACCESS_XNACK, "K32")                                                                                     \
        X(GPU_KNOWN, "K33")                                                                                            \
        X(SVM_TAIL, "K34")                                                                                             \
        X(EVENT, "K35")                                                                                                \
        X(SIZES, "K36")                                                                                                \
        X(CLOCKS, "K37")                                                                                               \
        X(OTHERS, "K38")                                                                                               \
        X(WITHOUT_SVM, "K39")

enum kfd_rule {
        KFD_RULE_NONE,
#define KFD_RULE_ENUM(name, fact) KFD_RULE_##name,
        KFD_RULES(KFD_RULE_ENUM)
#undef KFD_RULE_ENUM
                KFD_RULES_END
};

/* The caller's memory. */
struct kfd_memory {
        void *userdata;
        int (*read)(void *userdata, uint64_t address, void *to, size_t size); /* 0 or -EFAULT */
        int (*write)(void *userdata, uint64_t address, const void *from, size_t size);
        bool (*mapped)(void *userdata, uint64_t address, uint64_t size); /* each page has a VMA */
};

/* What sysfs shows of a process and a GPU. */
struct kfd_counters {
        uint64_t vram;              /* bytes */
        uint64_t page_in, page_out; /* pages that went to the GPU and came back */
};

/* `m` stays with the caller. -ENOMEM. */
int kfd_model_new(struct kfd_model **ret, const struct machine *m);
/* All files are closed. */
void kfd_model_free(struct kfd_model *k);
/* That rule does not hold any more. */
void kfd_model_break(struct kfd_model *k, enum kfd_rule rule);
/* As of a kernel that was built without shared virtual memory. */
void kfd_model_without_svm(struct kfd_model *k);

/* What a process has ends with its last file. -ENOMEM. */
int kfd_model_open(struct kfd_model *k, uint32_t process, struct kfd_file **ret);
void kfd_model_close(struct kfd_file *f);
/* One ioctl; `data` has the bytes that `number` names. 0 or a negative errno. */
int kfd_model_call(struct kfd_file *f, uint32_t process, const struct kfd_memory *memory, unsigned number, void *data);

/* The `index`th process; 0: there are no more. */
uint32_t kfd_model_process(const struct kfd_model *k, unsigned index);
/* False: there is no such process, or no such GPU (0 based). */
bool kfd_model_counters(const struct kfd_model *k, uint32_t process, unsigned gpu, struct kfd_counters *ret);
