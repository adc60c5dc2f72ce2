#include "kfd_model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kfd_priv.h"
#include "proto/uapi/kfd.h"

/*
 * Processes, buffers, queues. A process is whoever opened the file first by its number; all its files are one. A buffer
 * has an address from the beginning, and is at it on the GPUs it is mapped on.
 */
enum { BUFFER_ALIGN = 2 << 20, IDS_MAX = 256 };

#define APERTURE_LDS     (UINT64_C(1) << 48)
#define APERTURE_SCRATCH (UINT64_C(2) << 48)
#define APERTURE_SIZE    UINT64_C(0xffffffff)
#define GPUVM_BASE       UINT64_C(0x1000000)
#define GPUVM_LIMIT      ((UINT64_C(1) << 47) - 1)

int kfd_gpu_of(const struct kfd_model *k, uint32_t id) {
        for (unsigned i = 0; i < k->machine->count; i++)
                if (k->machine->gpus[i].id == id)
                        return (int)i;
        return -1;
}

bool kfd_is_mapped(const struct kfd_owner *o, uint64_t start, uint64_t end, uint64_t gpus) {
        for (unsigned i = 0; i < o->buffers_count; i++) {
                const struct kfd_buffer *b = &o->buffers[i];

                if ((b->mapped & gpus) && b->address < end && start < b->address + b->size)
                        return true;
        }
        return false;
}

/* A GPU that a call names; -EINVAL. */
static int gpu_of(const struct kfd_owner *o, uint32_t id) {
        int gpu = kfd_gpu_of(o->model, id);

        if (gpu < 0)
                return holds(o, KFD_RULE_GPU_KNOWN) ? -EINVAL : 0;
        return gpu;
}

/* One whose VM the process has. */
static int gpu_with_vm(const struct kfd_owner *o, uint32_t id) {
        int gpu = gpu_of(o, id);

        if (gpu >= 0 && !(o->vms >> gpu & 1) && holds(o, KFD_RULE_NEEDS_VM))
                return -ENODEV;
        return gpu;
}

/* ---- the process ---- */

static int get_version(struct kfd_owner *o, struct kfd_get_version_args *a) {
        a->major = 1;
        a->minor = holds(o, KFD_RULE_VERSION) ? 11 : 0;
        return 0;
}

static int get_apertures(struct kfd_owner *o, const struct kfd_memory *memory, struct kfd_apertures_args *a) {
        const struct machine *m = o->model->machine;
        uint32_t count = a->count < m->count ? a->count : m->count;

        if (a->count == 0 && holds(o, KFD_RULE_APERTURES_COUNT)) {
                a->count = m->count;
                return 0;
        }
        if (m->count == 0)
                return -EINVAL;
        for (uint32_t i = 0; i < count; i++) {
                uint64_t lds = holds(o, KFD_RULE_APERTURES) ? APERTURE_LDS : GPUVM_BASE;
                struct kfd_aperture p = {
                        .lds_base = lds,
                        .lds_limit = lds | APERTURE_SIZE,
                        .scratch_base = APERTURE_SCRATCH,
                        .scratch_limit = APERTURE_SCRATCH | APERTURE_SIZE,
                        .gpuvm_base = GPUVM_BASE,
                        .gpuvm_limit = GPUVM_LIMIT,
                        .gpu_id = m->gpus[i].id,
                };

                if (memory->write(memory->userdata, a->apertures + i * sizeof(p), &p, sizeof(p)) < 0)
                        return -EFAULT;
        }
        a->count = count;
        return 0;
}

static int acquire_vm(struct kfd_owner *o, const struct kfd_acquire_vm_args *a) {
        int gpu = gpu_of(o, a->gpu_id);

        if (gpu < 0)
                return gpu;
        if ((o->vms >> gpu & 1) && o->drm_fds[gpu] != a->drm_fd && holds(o, KFD_RULE_ONE_VM))
                return -EBUSY;
        o->vms |= UINT64_C(1) << gpu;
        o->drm_fds[gpu] = a->drm_fd;
        return 0;
}

static int create_queue(struct kfd_owner *o, struct kfd_create_queue_args *a) {
        int gpu = gpu_with_vm(o, a->gpu_id);

        if (gpu < 0)
                return gpu;
        a->queue_id = o->queues++;
        return 0;
}

static int destroy_queue(struct kfd_owner *o) {
        if (o->queues == 0)
                return -EINVAL;
        o->queues--;
        return 0;
}

/* Those that serve faults for one process alone are of the 9.4.2 and 9.4.3 family; none after them does. */
static bool all_have_faults(const struct kfd_owner *o) {
        const struct machine *m = o->model->machine;

        for (unsigned i = 0; i < m->count; i++)
                if (m->gpus[i].gfx != 90010 && m->gpus[i].gfx / 100 != 904 && m->gpus[i].gfx / 100 != 905)
                        return false;
        return true;
}

static int set_xnack(struct kfd_owner *o, struct kfd_xnack_args *a) {
        if (a->mode < 0) {
                a->mode = o->xnack;
                return 0;
        }
        if (o->queues > 0 && holds(o, KFD_RULE_XNACK_QUEUE))
                return -EBUSY;
        if (a->mode && !all_have_faults(o) && holds(o, KFD_RULE_XNACK_ABLE))
                return -EPERM;
        o->xnack = a->mode != 0;
        return 0;
}

static int create_event(struct kfd_owner *o, struct kfd_create_event_args *a) {
        uint32_t id = 1;

        while (id <= KFD_EVENTS_MAX && o->events[id])
                id++;
        if (id > KFD_EVENTS_MAX)
                return -ENOSPC;
        o->events[id] = true;
        a->event_id = a->slot_index = a->trigger_data = id;
        a->page_offset = 0;
        return 0;
}

static int change_event(struct kfd_owner *o, const struct kfd_event_args *a, bool ends) {
        if (a->event_id == 0 || a->event_id > KFD_EVENTS_MAX || !o->events[a->event_id])
                return holds(o, KFD_RULE_EVENT) ? -EINVAL : 0;
        o->events[a->event_id] = !ends;
        return 0;
}

static int clock_counters(const struct kfd_owner *o, struct kfd_clock_counters_args *a) {
        int gpu = kfd_gpu_of(o->model, a->gpu_id);

        if (gpu < 0 && !holds(o, KFD_RULE_CLOCKS))
                return -EINVAL;
        a->gpu_clock = gpu >= 0;
        a->cpu_clock = a->system_clock = 1;
        a->system_frequency = 1000000000;
        return 0;
}

/* ---- buffers ---- */

static int available_memory(const struct kfd_owner *o, struct kfd_available_memory_args *a) {
        int gpu = gpu_with_vm(o, a->gpu_id);

        if (gpu < 0)
                return gpu;
        a->available = o->model->machine->gpus[gpu].memory;
        if (holds(o, KFD_RULE_AVAILABLE))
                a->available -= o->model->used[gpu];
        return 0;
}

static int alloc_memory(struct kfd_owner *o, struct kfd_alloc_memory_args *a) {
        struct kfd_model *k = o->model;
        int gpu = gpu_with_vm(o, a->gpu_id);
        struct kfd_buffer *grown;

        if (gpu < 0)
                return gpu;
        if (a->size == 0 && holds(o, KFD_RULE_ALLOC_SIZE))
                return -EINVAL;
        if (kfd_svm_overlaps(o, a->address, a->address + a->size) && holds(o, KFD_RULE_ALLOC_OVER_SVM))
                return -EADDRINUSE;
        if ((a->flags & KFD_ALLOC_VRAM) && a->size > k->machine->gpus[gpu].memory - k->used[gpu] &&
            holds(o, KFD_RULE_ALLOC_CAPACITY))
                return -ENOMEM;
        grown = realloc(o->buffers, (o->buffers_count + 1) * sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        o->buffers = grown;
        a->handle = (uint64_t)a->gpu_id << 32 | ++o->last_handle;
        grown[o->buffers_count++] = (struct kfd_buffer){
                .handle = a->handle,
                .address = a->address,
                .size = a->size,
                .offset = k->offsets[gpu],
                .gpu = (unsigned)gpu,
                .flags = a->flags,
        };
        if (!(a->flags & KFD_ALLOC_USERPTR))
                a->mmap_offset = k->offsets[gpu];
        k->offsets[gpu] += (a->size + BUFFER_ALIGN - 1) & ~(uint64_t)(BUFFER_ALIGN - 1);
        if (a->flags & KFD_ALLOC_VRAM) {
                k->used[gpu] += a->size;
                o->of[gpu].vram += a->size;
        }
        return 0;
}

static struct kfd_buffer *buffer_of(const struct kfd_owner *o, uint64_t handle) {
        for (unsigned i = 0; i < o->buffers_count; i++)
                if (o->buffers[i].handle == handle)
                        return &o->buffers[i];
        return NULL;
}

static void drop(struct kfd_owner *o, struct kfd_buffer *b) {
        if (b->flags & KFD_ALLOC_VRAM) {
                o->model->used[b->gpu] -= b->size;
                o->of[b->gpu].vram -= b->size;
        }
        *b = o->buffers[--o->buffers_count];
}

static int free_memory(struct kfd_owner *o, const struct kfd_free_memory_args *a) {
        struct kfd_buffer *b = buffer_of(o, a->handle);

        if (!b)
                return holds(o, KFD_RULE_HANDLE) ? -EINVAL : 0;
        if (b->mapped && holds(o, KFD_RULE_FREE_MAPPED))
                return -EBUSY;
        drop(o, b);
        return 0;
}

static int map_one(struct kfd_owner *o, struct kfd_buffer *b, uint32_t id) {
        int gpu = gpu_with_vm(o, id);
        uint64_t bit;

        if (gpu < 0)
                return gpu;
        bit = UINT64_C(1) << gpu;
        if (b->mapped & bit)
                return 0;
        if (kfd_is_mapped(o, b->address, b->address + b->size, bit) && holds(o, KFD_RULE_MAP_OVER_MAPPING))
                return -EINVAL;
        b->mapped |= bit;
        return 0;
}

static int unmap_one(struct kfd_owner *o, struct kfd_buffer *b, uint32_t id) {
        int gpu = gpu_of(o, id);

        if (gpu >= 0)
                b->mapped &= ~(UINT64_C(1) << gpu);
        return gpu < 0 ? gpu : 0;
}

static int map_memory(struct kfd_owner *o, const struct kfd_memory *memory, struct kfd_map_memory_args *a,
                      int (*one)(struct kfd_owner *, struct kfd_buffer *, uint32_t)) {
        struct kfd_buffer *b = buffer_of(o, a->handle);
        uint32_t ids[IDS_MAX];
        int r = 0;

        if (holds(o, KFD_RULE_MAP_DEVICES) && (a->count == 0 || a->count > IDS_MAX || a->done > a->count))
                return -EINVAL;
        if (gpu_of(o, (uint32_t)(a->handle >> 32)) < 0)
                return -EINVAL;
        if (!b)
                return -ENOMEM;
        if (memory->read(memory->userdata, a->gpu_ids, ids, a->count * sizeof(ids[0])) < 0)
                return -EFAULT;
        while (a->done < a->count && (r = one(o, b, ids[a->done])) == 0)
                a->done++;
        return r;
}

/* ---- calls ---- */

static int of_gpu(const struct kfd_owner *o, uint32_t id) {
        int gpu = gpu_of(o, id);

        return gpu < 0 ? gpu : 0;
}

/* Of what is not there: no model has queues to update, debuggers, dma-bufs or checkpoints. */
static int other_call(const struct kfd_owner *o, unsigned number) {
        static const struct {
                unsigned first, last;
                int error;
        } calls[] = {
                { 0x07, 0x07, -EINVAL }, /* update a queue */
                { 0x0d, 0x10, -EPERM },  /* debuggers, as they once were */
                { 0x1a, 0x1a, -EINVAL }, /* mask of a queue's units */
                { 0x1b, 0x1b, -EFAULT }, /* state of a queue */
                { 0x1c, 0x1c, -EINVAL }, /* about a dma-buf */
                { 0x1d, 0x1d, -EBADF },  /* import a dma-buf */
                { 0x1e, 0x1e, -EINVAL }, /* global wave sync of a queue */
                { 0x22, 0x22, -EINVAL }, /* checkpoint */
        };

        for (unsigned i = 0; holds(o, KFD_RULE_OTHERS) && i < sizeof(calls) / sizeof(calls[0]); i++)
                if (_IOC_NR(number) >= calls[i].first && _IOC_NR(number) <= calls[i].last)
                        return calls[i].error;
        return holds(o, KFD_RULE_UNKNOWN_CALL) ? -ENOTTY : 0;
}

/* A stream of a GPU's events would be a new descriptor, which no FUSE file gives. */
static int smi_events(const struct kfd_owner *o, const struct kfd_smi_events_args *a) {
        int r = of_gpu(o, a->gpu_id);

        return r < 0 ? r : -ENOTTY;
}

static bool has_svm(const struct kfd_owner *o) {
        return !o->model->without_svm || !holds(o, KFD_RULE_WITHOUT_SVM);
}

static int dispatch(struct kfd_owner *o, const struct kfd_memory *memory, unsigned number, void *data) {
        const struct kfd_memory_policy_args *policy = data;
        const struct kfd_trap_handler_args *trap = data;
        const struct kfd_tile_config_args *tiles = data;
        const struct kfd_scratch_args *scratch = data;

        switch (_IOC_NR(number)) {
        case _IOC_NR(KFD_GET_VERSION): return get_version(o, data);
        case _IOC_NR(KFD_CREATE_QUEUE): return create_queue(o, data);
        case _IOC_NR(KFD_DESTROY_QUEUE): return destroy_queue(o);
        case _IOC_NR(KFD_CLOCK_COUNTERS): return clock_counters(o, data);
        case _IOC_NR(KFD_CREATE_EVENT): return create_event(o, data);
        case _IOC_NR(KFD_APERTURES): return get_apertures(o, memory, data);
        case _IOC_NR(KFD_ACQUIRE_VM): return acquire_vm(o, data);
        case _IOC_NR(KFD_ALLOC_MEMORY): return alloc_memory(o, data);
        case _IOC_NR(KFD_FREE_MEMORY): return free_memory(o, data);
        case _IOC_NR(KFD_MAP_MEMORY): return map_memory(o, memory, data, map_one);
        case _IOC_NR(KFD_UNMAP_MEMORY): return map_memory(o, memory, data, unmap_one);
        case _IOC_NR(KFD_XNACK): return has_svm(o) ? set_xnack(o, data) : -EPERM;
        case _IOC_NR(KFD_AVAILABLE_MEMORY): return available_memory(o, data);
        case _IOC_NR(KFD_SMI_EVENTS): return smi_events(o, data);
        case _IOC_NR(KFD_SVM):
                if (!has_svm(o))
                        return -EPERM;
                return kfd_svm(o, memory, data, (unsigned)((_IOC_SIZE(number) - sizeof(struct kfd_svm_args)) / 8));
        case _IOC_NR(KFD_SET_MEMORY_POLICY): return of_gpu(o, policy->gpu_id);
        case _IOC_NR(KFD_SET_TRAP_HANDLER): return of_gpu(o, trap->gpu_id);
        case _IOC_NR(KFD_SET_SCRATCH): return of_gpu(o, scratch->gpu_id);
        case _IOC_NR(KFD_TILE_CONFIG): return of_gpu(o, tiles->gpu_id);
        case _IOC_NR(KFD_DESTROY_EVENT): return change_event(o, data, true);
        case _IOC_NR(KFD_SET_EVENT):
        case _IOC_NR(KFD_RESET_EVENT): return change_event(o, data, false);
        default: return other_call(o, number);
        }
}

/* What a call's structure has: later interfaces make them longer. 0: there is no such call. */
static unsigned least_size(unsigned number) {
        static const unsigned calls[] = {
                KFD_GET_VERSION,      KFD_CREATE_QUEUE, KFD_DESTROY_QUEUE, KFD_SET_MEMORY_POLICY,
                KFD_CLOCK_COUNTERS,   KFD_CREATE_EVENT, KFD_DESTROY_EVENT, KFD_SET_EVENT,
                KFD_RESET_EVENT,      KFD_SET_SCRATCH,  KFD_TILE_CONFIG,   KFD_SET_TRAP_HANDLER,
                KFD_APERTURES,        KFD_ACQUIRE_VM,   KFD_ALLOC_MEMORY,  KFD_FREE_MEMORY,
                KFD_MAP_MEMORY,       KFD_UNMAP_MEMORY, KFD_SVM,           KFD_XNACK,
                KFD_AVAILABLE_MEMORY, KFD_SMI_EVENTS,
        };

        for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
                if (_IOC_NR(calls[i]) == _IOC_NR(number))
                        return _IOC_SIZE(calls[i]);
        return 0;
}

/* Of a shorter structure the rest is 0, and what is answered there is lost. The type in the number is not looked at. */
int kfd_model_call(struct kfd_file *f, uint32_t process, const struct kfd_memory *memory, unsigned number, void *data) {
        struct kfd_owner *o = (struct kfd_owner *)f;
        unsigned size = _IOC_SIZE(number), least = least_size(number);
        uint64_t whole[16] = { 0 };
        int r;

        if (o->process != process && holds(o, KFD_RULE_FOREIGN))
                return -EBADF;
        if (size >= least)
                return dispatch(o, memory, number, data);
        if (least > sizeof(whole) || !holds(o, KFD_RULE_SIZES))
                return -EINVAL;
        memcpy(whole, data, size);
        r = dispatch(o, memory, _IOC(_IOC_DIR(number), 'K', _IOC_NR(number), least), whole);
        memcpy(data, whole, size);
        return r;
}

/* ---- the model ---- */

int kfd_model_new(struct kfd_model **ret, const struct machine *m) {
        struct kfd_model *k = calloc(1, sizeof(*k));

        if (!k)
                return -ENOMEM;
        k->machine = m;
        *ret = k;
        return 0;
}

void kfd_model_free(struct kfd_model *k) {
        free(k);
}

void kfd_model_break(struct kfd_model *k, enum kfd_rule rule) {
        k->broken = rule;
}

void kfd_model_without_svm(struct kfd_model *k) {
        k->without_svm = true;
}

static struct kfd_owner *owner_of(const struct kfd_model *k, uint32_t process) {
        struct kfd_owner *o = k->owners;

        while (o && o->process != process)
                o = o->next;
        return o;
}

int kfd_model_open(struct kfd_model *k, uint32_t process, struct kfd_file **ret) {
        struct kfd_owner *o = owner_of(k, process);

        if (!o) {
                o = calloc(1, sizeof(*o));
                if (!o)
                        return -ENOMEM;
                o->model = k;
                o->process = process;
                o->next = k->owners;
                k->owners = o;
        }
        o->files++;
        *ret = (struct kfd_file *)o; /* all files of a process are the same */
        return 0;
}

void kfd_model_close(struct kfd_file *f) {
        struct kfd_owner *o = (struct kfd_owner *)f, **at = &o->model->owners;

        if (--o->files > 0)
                return;
        while (o->buffers_count > 0)
                drop(o, &o->buffers[0]);
        while (*at != o)
                at = &(*at)->next;
        *at = o->next;
        free(o->buffers);
        free(o->ranges);
        free(o);
}

uint32_t kfd_model_process(const struct kfd_model *k, unsigned index) {
        const struct kfd_owner *o = k->owners;

        while (o && index-- > 0)
                o = o->next;
        return o ? o->process : 0;
}

bool kfd_model_counters(const struct kfd_model *k, uint32_t process, unsigned gpu, struct kfd_counters *ret) {
        const struct kfd_owner *o = owner_of(k, process);

        if (!o || gpu >= k->machine->count)
                return false;
        *ret = o->of[gpu];
        return true;
}
