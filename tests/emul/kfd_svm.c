#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kfd_priv.h"
#include "proto/uapi/kfd.h"

/*
 * Attributes of shared virtual memory. The ranges of a process are those that were ever named; setting cuts them at the
 * ends of the call's range, makes new ones for what none covers, and changes what lies between. Getting is the
 * intersection over the ranges that the call's range touches.
 */
enum { PAGE = 4096, GRANULARITY = 9, GRANULARITY_MAX = 63 };

bool kfd_svm_overlaps(const struct kfd_owner *o, uint64_t start, uint64_t end) {
        for (unsigned i = 0; i < o->ranges_count; i++)
                if (o->ranges[i].start < end && start < o->ranges[i].end)
                        return true;
        return false;
}

static uint64_t all_gpus(const struct kfd_owner *o) {
        return (UINT64_C(1) << o->model->machine->count) - 1;
}

static struct svm_range defaults(const struct kfd_owner *o) {
        bool as_it_is = holds(o, KFD_RULE_SVM_DEFAULTS);
        bool faults = o->xnack && holds(o, KFD_RULE_SVM_ACCESS_XNACK);

        return (struct svm_range){
                .preferred = KFD_SVM_UNDEFINED,
                .prefetch = KFD_SVM_UNDEFINED,
                .flags = as_it_is ? KFD_SVM_HOST_ACCESS | KFD_SVM_COHERENT : 0,
                .granularity = as_it_is ? GRANULARITY : 0,
                .access = faults ? all_gpus(o) : 0,
                .at = -1,
        };
}

/* ---- what a call may say ---- */

static int check_gpu(const struct kfd_owner *o, const struct kfd_svm_attribute *a) {
        switch (a->type) {
        case KFD_SVM_PREFERRED_LOC:
                if (a->value == KFD_SVM_UNDEFINED)
                        return 0;
                /* fall through */
        case KFD_SVM_PREFETCH_LOC:
                if (a->value == KFD_SVM_SYSTEM)
                        return 0;
                /* fall through */
        case KFD_SVM_ACCESS:
        case KFD_SVM_ACCESS_IN_PLACE:
        case KFD_SVM_NO_ACCESS: return kfd_gpu_of(o->model, a->value) < 0 && holds(o, KFD_RULE_SVM_GPU) ? -EINVAL : 0;
        default: return 0;
        }
}

static int check(const struct kfd_owner *o, const struct kfd_memory *memory, const struct kfd_svm_args *a,
                 unsigned room) {
        if (a->count > room)
                return holds(o, KFD_RULE_SVM_COUNT) ? -EINVAL : -E2BIG;
        if (holds(o, KFD_RULE_SVM_PAGES) && (!a->start || !a->size || a->start % PAGE || a->size % PAGE))
                return -EINVAL;
        if (holds(o, KFD_RULE_SVM_TAIL) && a->start + a->size < a->start)
                return -EINVAL;
        for (uint32_t i = 0; i < a->count; i++) {
                const struct kfd_svm_attribute *v = &a->attributes[i];
                bool only_set = v->type == KFD_SVM_ACCESS_IN_PLACE || v->type == KFD_SVM_NO_ACCESS;

                if (holds(o, KFD_RULE_SVM_TYPE) &&
                    (v->type > KFD_SVM_GRANULARITY || (a->operation == KFD_SVM_GET && only_set)))
                        return -EINVAL;
                if ((a->operation == KFD_SVM_SET || v->type == KFD_SVM_ACCESS) && check_gpu(o, v) < 0)
                        return -EINVAL;
        }
        if (holds(o, KFD_RULE_SVM_VMA) && !memory->mapped(memory->userdata, a->start, a->size))
                return -EFAULT;
        if (holds(o, KFD_RULE_SVM_OVER_MAPPING) && kfd_is_mapped(o, a->start, a->start + a->size, UINT64_MAX))
                return -EADDRINUSE;
        return 0;
}

/* ---- set ---- */

static void insert(struct kfd_owner *o, unsigned at, struct svm_range r) {
        memmove(&o->ranges[at + 1], &o->ranges[at], (o->ranges_count - at) * sizeof(r));
        o->ranges[at] = r;
        o->ranges_count++;
}

static void cut(struct kfd_owner *o, uint64_t address) {
        for (unsigned i = 0; i < o->ranges_count; i++) {
                struct svm_range right = o->ranges[i];

                if (right.start >= address || right.end <= address)
                        continue;
                right.start = address;
                o->ranges[i].end = address;
                insert(o, i + 1, right);
                return;
        }
}

/* Ranges for what none covers. */
static void fill(struct kfd_owner *o, uint64_t start, uint64_t end) {
        struct svm_range r = defaults(o);
        unsigned i = 0;

        for (r.start = start; r.start < end; i++) {
                if (i < o->ranges_count && o->ranges[i].end <= r.start)
                        continue;
                if (i < o->ranges_count && o->ranges[i].start <= r.start) {
                        r.start = o->ranges[i].end;
                        continue;
                }
                r.end = i < o->ranges_count && o->ranges[i].start < end ? o->ranges[i].start : end;
                insert(o, i, r);
                r.start = r.end;
        }
}

/* The GPUs that may use it are all in the hive of `gpu`. */
static bool in_one_hive(const struct kfd_owner *o, uint64_t gpus, int gpu) {
        const struct machine *m = o->model->machine;

        for (unsigned i = 0; i < m->count; i++)
                if ((gpus >> i & 1) && (int)i != gpu && (m->gpus[i].hive == 0 || m->gpus[i].hive != m->gpus[gpu].hive))
                        return false;
        return true;
}

/* Pages move when they are asked for; where GPUs of several hives use them they go to the system, and nothing says so.
 */
static void prefetch(struct kfd_owner *o, struct svm_range *r, uint32_t location) {
        int to = location == KFD_SVM_SYSTEM ? -1 : kfd_gpu_of(o->model, location);
        uint64_t pages = (r->end - r->start) / PAGE;

        r->prefetch = location;
        if (to >= 0 && holds(o, KFD_RULE_PREFETCH_HIVES) && !in_one_hive(o, r->access | r->in_place, to))
                to = -1;
        if (to == r->at)
                return;
        if (r->at >= 0)
                o->of[r->at].page_out += pages;
        if (to >= 0)
                o->of[to].page_in += pages;
        r->at = to;
}

static void apply(struct kfd_owner *o, struct svm_range *r, const struct kfd_svm_attribute *a) {
        int gpu = kfd_gpu_of(o->model, a->value);
        uint64_t bit = gpu < 0 ? 0 : UINT64_C(1) << gpu;

        switch ((enum kfd_svm_type)a->type) {
        case KFD_SVM_PREFERRED_LOC: r->preferred = a->value; break;
        case KFD_SVM_PREFETCH_LOC: prefetch(o, r, a->value); break;
        case KFD_SVM_ACCESS:
        case KFD_SVM_ACCESS_IN_PLACE:
        case KFD_SVM_NO_ACCESS:
                r->access = a->type == KFD_SVM_ACCESS ? r->access | bit : r->access & ~bit;
                r->in_place = a->type == KFD_SVM_ACCESS_IN_PLACE ? r->in_place | bit : r->in_place & ~bit;
                break;
        case KFD_SVM_SET_FLAGS: r->flags |= a->value; break;
        case KFD_SVM_CLEAR_FLAGS: r->flags &= ~a->value; break;
        case KFD_SVM_GRANULARITY:
                r->granularity =
                        a->value > GRANULARITY_MAX && holds(o, KFD_RULE_GRANULARITY_MAX) ? GRANULARITY_MAX : a->value;
                break;
        }
}

static int set(struct kfd_owner *o, const struct kfd_svm_args *a) {
        uint64_t end = a->start + a->size;
        /* Two cuts, and a gap before each range and behind the last. */
        struct svm_range *grown = realloc(o->ranges, (o->ranges_count * 2 + 5) * sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        o->ranges = grown;
        cut(o, a->start);
        cut(o, end);
        fill(o, a->start, end);
        for (unsigned i = 0; i < o->ranges_count; i++)
                if (o->ranges[i].start >= a->start && o->ranges[i].end <= end)
                        for (uint32_t k = 0; k < a->count; k++)
                                apply(o, &o->ranges[i], &a->attributes[k]);
        return 0;
}

/* ---- get ---- */

/* What `sum` and `r` have in common; flags that one of them lacks are gathered in `ret_some`. */
static void meet(const struct kfd_owner *o, struct svm_range *sum, const struct svm_range *r, uint32_t *ret_some) {
        if (sum->preferred != r->preferred)
                sum->preferred = holds(o, KFD_RULE_GET_LOCATION) ? KFD_SVM_UNDEFINED : r->preferred;
        if (sum->prefetch != r->prefetch)
                sum->prefetch = holds(o, KFD_RULE_GET_PREFETCH) ? KFD_SVM_UNDEFINED : r->prefetch;
        if (holds(o, KFD_RULE_GET_ACCESS)) {
                sum->access &= r->access;
                sum->in_place &= r->in_place;
        } else {
                sum->access |= r->access;
                sum->in_place |= r->in_place;
        }
        sum->flags = holds(o, KFD_RULE_GET_FLAGS) ? sum->flags & r->flags : sum->flags | r->flags;
        *ret_some |= r->flags;
        if ((r->granularity < sum->granularity) == holds(o, KFD_RULE_GET_GRANULARITY))
                sum->granularity = r->granularity;
}

static struct svm_range intersection(const struct kfd_owner *o, uint64_t start, uint64_t end, uint32_t *ret_some) {
        struct svm_range sum = defaults(o);
        bool any = false;

        *ret_some = sum.flags;
        for (unsigned i = 0; i < o->ranges_count; i++) {
                const struct svm_range *r = &o->ranges[i];

                if (r->start >= end || r->end <= start)
                        continue;
                if (any) {
                        meet(o, &sum, r, ret_some);
                } else {
                        sum = *r;
                        *ret_some = r->flags;
                }
                any = true;
        }
        return sum;
}

static int get(const struct kfd_owner *o, struct kfd_svm_args *a) {
        uint32_t some;
        struct svm_range sum = intersection(o, a->start, a->start + a->size, &some);

        for (uint32_t i = 0; i < a->count; i++) {
                struct kfd_svm_attribute *v = &a->attributes[i];
                int gpu = kfd_gpu_of(o->model, v->value);
                uint64_t bit = gpu < 0 ? 0 : UINT64_C(1) << gpu;

                switch (v->type) {
                case KFD_SVM_PREFERRED_LOC: v->value = sum.preferred; break;
                case KFD_SVM_PREFETCH_LOC: v->value = sum.prefetch; break;
                case KFD_SVM_ACCESS:
                        v->type = sum.access & bit     ? KFD_SVM_ACCESS
                                  : sum.in_place & bit ? KFD_SVM_ACCESS_IN_PLACE
                                                       : KFD_SVM_NO_ACCESS;
                        break;
                case KFD_SVM_SET_FLAGS: v->value = sum.flags; break;
                case KFD_SVM_CLEAR_FLAGS: v->value = ~some; break;
                case KFD_SVM_GRANULARITY: v->value = sum.granularity; break;
                default: break;
                }
        }
        return 0;
}

int kfd_svm(struct kfd_owner *o, const struct kfd_memory *memory, struct kfd_svm_args *a, unsigned room) {
        int r = check(o, memory, a, room);

        if (r < 0)
                return r;
        switch (a->operation) {
        case KFD_SVM_SET: return set(o, a);
        case KFD_SVM_GET: return get(o, a);
        default: return -EINVAL;
        }
}
