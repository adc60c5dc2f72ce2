#pragma once

#include <stdint.h>

/*
 * What this library uses of libhsakmt.so.1: the program's own where it has one, linked or loaded, else Debian's, opened
 * when it is first needed. The driver's file is of the process that opened it, so a process has one library.
 */
struct hsa_attribute {
        uint32_t type, value; /* GPUs are numbers of the topology, and UINT32_MAX is none */
};

enum {
        HSA_OK = 0,
        HSA_INVALID_PARAMETER = 3,
        HSA_NO_MEMORY = 6,
        HSA_NOT_SUPPORTED = 11,
        HSA_OUT_OF_RESOURCES = 13,
        HSA_ALREADY_OPENED = 22,
};

/* X(member, symbol, parameters) */
#define HSA_FUNCTIONS(X)                                                                                               \
        X(open, "hsaKmtOpenKFD", (void))                                                                               \
        X(system, "hsaKmtAcquireSystemProperties", (void *ret))                                                        \
        X(svm_set, "hsaKmtSVMSetAttr", (void *at, uint64_t size, unsigned count, struct hsa_attribute *list))          \
        X(svm_get, "hsaKmtSVMGetAttr", (void *at, uint64_t size, unsigned count, struct hsa_attribute *list))          \
        X(xnack_set, "hsaKmtSetXNACKMode", (int32_t mode))                                                             \
        X(xnack_get, "hsaKmtGetXNACKMode", (int32_t * ret))

struct hsa_api {
#define X(member, symbol, parameters) int(*member) parameters;
        HSA_FUNCTIONS(X)
#undef X
};

/* Opened and started with the first call of a process: a code. The api lives as long as the process. */
int hsa_api(const struct hsa_api **ret);
/* The sentence and the code of a call of it that failed; `ret_errno` gets what a grant is told. */
int hsa_fail(int status, const char *doing, int *ret_errno);
