#pragma once

#include <linux/ioctl.h>
#include <stdint.h>

/*
 * What svmd needs of /dev/kfd, interface 1.11: our own definitions of the calls, with the numbers and sizes of the
 * kernel's. docs/devices.md says what they do.
 */

struct kfd_get_version_args {
        uint32_t major, minor;
};

struct kfd_create_queue_args {
        uint64_t ring_base;       /* in */
        uint64_t write_pointer;   /* out */
        uint64_t read_pointer;    /* out */
        uint64_t doorbell_offset; /* out */
        uint32_t ring_size;       /* in, from here on */
        uint32_t gpu_id;
        uint32_t type;
        uint32_t percentage;
        uint32_t priority;
        uint32_t queue_id; /* out */
        uint64_t eop_buffer;
        uint64_t eop_buffer_size;
        uint64_t save_area;
        uint32_t save_area_size;
        uint32_t control_stack_size;
};

struct kfd_destroy_queue_args {
        uint32_t queue_id, pad;
};

struct kfd_memory_policy_args {
        uint64_t alternate_base, alternate_size;
        uint32_t gpu_id, default_policy, alternate_policy, pad;
};

struct kfd_clock_counters_args {
        uint64_t gpu_clock, cpu_clock, system_clock, system_frequency;
        uint32_t gpu_id, pad;
};

struct kfd_create_event_args {
        uint64_t page_offset;
        uint32_t trigger_data, type, auto_reset, node_id, event_id, slot_index;
};

struct kfd_event_args {
        uint32_t event_id, pad;
};

struct kfd_wait_events_args {
        uint64_t events;
        uint32_t count, wait_for_all, timeout, result;
};

struct kfd_aperture {
        uint64_t lds_base, lds_limit, scratch_base, scratch_limit, gpuvm_base, gpuvm_limit;
        uint32_t gpu_id, pad;
};

struct kfd_apertures_args {
        uint64_t apertures; /* an array of struct kfd_aperture */
        uint32_t count;     /* 0 asks for the number */
        uint32_t pad;
};

struct kfd_tile_config_args {
        uint64_t tile_config, macro_tile_config;
        uint32_t tile_count, macro_tile_count, gpu_id, address_config, banks, ranks;
};

struct kfd_trap_handler_args {
        uint64_t tba, tma;
        uint32_t gpu_id, pad;
};

struct kfd_scratch_args {
        uint64_t address;
        uint32_t gpu_id, pad;
};

struct kfd_acquire_vm_args {
        uint32_t drm_fd, gpu_id;
};

enum {
        KFD_ALLOC_VRAM = 1u << 0,
        KFD_ALLOC_GTT = 1u << 1,
        KFD_ALLOC_USERPTR = 1u << 2,
        KFD_ALLOC_DOORBELL = 1u << 3,
        KFD_ALLOC_MMIO_REMAP = 1u << 4,
        KFD_ALLOC_PUBLIC = 1u << 29,
        KFD_ALLOC_EXECUTABLE = 1u << 30,
};
#define KFD_ALLOC_WRITABLE (1u << 31)

struct kfd_alloc_memory_args {
        uint64_t address, size;
        uint64_t handle;
        uint64_t mmap_offset; /* in: the address of a userptr */
        uint32_t gpu_id, flags;
};

struct kfd_free_memory_args {
        uint64_t handle;
};

struct kfd_map_memory_args {
        uint64_t handle;
        uint64_t gpu_ids; /* an array of uint32_t */
        uint32_t count;
        uint32_t done; /* in and out: how many were */
};

struct kfd_smi_events_args {
        uint32_t gpu_id, anon_fd;
};

enum kfd_svm_operation { KFD_SVM_SET = 0, KFD_SVM_GET = 1 };

enum kfd_svm_type {
        KFD_SVM_PREFERRED_LOC = 0,
        KFD_SVM_PREFETCH_LOC = 1,
        KFD_SVM_ACCESS = 2,
        KFD_SVM_ACCESS_IN_PLACE = 3,
        KFD_SVM_NO_ACCESS = 4,
        KFD_SVM_SET_FLAGS = 5,
        KFD_SVM_CLEAR_FLAGS = 6,
        KFD_SVM_GRANULARITY = 7,
};

enum {
        KFD_SVM_HOST_ACCESS = 0x1,
        KFD_SVM_COHERENT = 0x2,
        KFD_SVM_HIVE_LOCAL = 0x4,
        KFD_SVM_GPU_RO = 0x8,
        KFD_SVM_GPU_EXEC = 0x10,
        KFD_SVM_READ_MOSTLY = 0x20,
        KFD_SVM_ALWAYS_MAPPED = 0x40,
        KFD_SVM_EXT_COHERENT = 0x80,
};

#define KFD_SVM_SYSTEM    0u
#define KFD_SVM_UNDEFINED UINT32_MAX

struct kfd_svm_attribute {
        uint32_t type, value;
};

struct kfd_svm_args {
        uint64_t start, size;
        uint32_t operation, count;
        struct kfd_svm_attribute attributes[];
};

struct kfd_xnack_args {
        int32_t mode; /* negative: only asks */
};

struct kfd_available_memory_args {
        uint64_t available;
        uint32_t gpu_id, pad;
};

#define KFD_GET_VERSION       _IOR('K', 0x01, struct kfd_get_version_args)
#define KFD_CREATE_QUEUE      _IOWR('K', 0x02, struct kfd_create_queue_args)
#define KFD_DESTROY_QUEUE     _IOWR('K', 0x03, struct kfd_destroy_queue_args)
#define KFD_SET_MEMORY_POLICY _IOW('K', 0x04, struct kfd_memory_policy_args)
#define KFD_CLOCK_COUNTERS    _IOWR('K', 0x05, struct kfd_clock_counters_args)
#define KFD_CREATE_EVENT      _IOWR('K', 0x08, struct kfd_create_event_args)
#define KFD_DESTROY_EVENT     _IOW('K', 0x09, struct kfd_event_args)
#define KFD_SET_EVENT         _IOW('K', 0x0a, struct kfd_event_args)
#define KFD_RESET_EVENT       _IOW('K', 0x0b, struct kfd_event_args)
#define KFD_WAIT_EVENTS       _IOWR('K', 0x0c, struct kfd_wait_events_args)
#define KFD_SET_SCRATCH       _IOWR('K', 0x11, struct kfd_scratch_args)
#define KFD_TILE_CONFIG       _IOWR('K', 0x12, struct kfd_tile_config_args)
#define KFD_SET_TRAP_HANDLER  _IOW('K', 0x13, struct kfd_trap_handler_args)
#define KFD_APERTURES         _IOWR('K', 0x14, struct kfd_apertures_args)
#define KFD_ACQUIRE_VM        _IOW('K', 0x15, struct kfd_acquire_vm_args)
#define KFD_ALLOC_MEMORY      _IOWR('K', 0x16, struct kfd_alloc_memory_args)
#define KFD_FREE_MEMORY       _IOW('K', 0x17, struct kfd_free_memory_args)
#define KFD_MAP_MEMORY        _IOWR('K', 0x18, struct kfd_map_memory_args)
#define KFD_UNMAP_MEMORY      _IOWR('K', 0x19, struct kfd_map_memory_args)
#define KFD_SMI_EVENTS        _IOWR('K', 0x1f, struct kfd_smi_events_args)
#define KFD_SVM               _IOWR('K', 0x20, struct kfd_svm_args)
#define KFD_XNACK             _IOWR('K', 0x21, struct kfd_xnack_args)
#define KFD_AVAILABLE_MEMORY  _IOWR('K', 0x23, struct kfd_available_memory_args)

/* The attributes follow the structure, and the call's size is that of both. */
#define KFD_SVM_WITH(count)                                                                                            \
        _IOC(_IOC_READ | _IOC_WRITE, 'K', 0x20,                                                                        \
             sizeof(struct kfd_svm_args) + (count) * sizeof(struct kfd_svm_attribute))

_Static_assert(KFD_GET_VERSION == 0x80084b01u, "get version");
_Static_assert(KFD_CREATE_QUEUE == 0xc0584b02u, "create queue");
_Static_assert(KFD_DESTROY_QUEUE == 0xc0084b03u, "destroy queue");
_Static_assert(KFD_SET_MEMORY_POLICY == 0x40204b04u, "memory policy");
_Static_assert(KFD_CLOCK_COUNTERS == 0xc0284b05u, "clock counters");
_Static_assert(KFD_CREATE_EVENT == 0xc0204b08u, "create event");
_Static_assert(KFD_DESTROY_EVENT == 0x40084b09u, "destroy event");
_Static_assert(KFD_WAIT_EVENTS == 0xc0184b0cu, "wait for events");
_Static_assert(KFD_SET_SCRATCH == 0xc0104b11u, "scratch");
_Static_assert(KFD_TILE_CONFIG == 0xc0284b12u, "tile config");
_Static_assert(KFD_SET_TRAP_HANDLER == 0x40184b13u, "trap handler");
_Static_assert(KFD_APERTURES == 0xc0104b14u, "apertures");
_Static_assert(sizeof(struct kfd_aperture) == 56, "aperture");
_Static_assert(KFD_ACQUIRE_VM == 0x40084b15u, "acquire VM");
_Static_assert(KFD_ALLOC_MEMORY == 0xc0284b16u, "allocate memory");
_Static_assert(KFD_FREE_MEMORY == 0x40084b17u, "free memory");
_Static_assert(KFD_MAP_MEMORY == 0xc0184b18u, "map memory");
_Static_assert(KFD_UNMAP_MEMORY == 0xc0184b19u, "unmap memory");
_Static_assert(KFD_SMI_EVENTS == 0xc0084b1fu, "SMI events");
_Static_assert(KFD_SVM == 0xc0184b20u, "SVM attributes");
_Static_assert(KFD_SVM_WITH(2) == 0xc0284b20u, "two SVM attributes");
_Static_assert(KFD_XNACK == 0xc0044b21u, "XNACK mode");
_Static_assert(KFD_AVAILABLE_MEMORY == 0xc0104b23u, "available memory");
