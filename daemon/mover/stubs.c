#include "mover/mover.h"

#include <errno.h>

/* What is not served yet. */
const struct mover_features *mover_features(void) {
        static const struct mover_features none = { .why = "managed ranges are not served by this svmd" };

        return &none;
}

int mover_new(struct mover **ret, const struct mover_config *c, const struct mover_hooks *hooks) {
        return -ENOSYS;
}

void mover_free(struct mover *m) {
}

void mover_collect(struct mover *m) {
}

bool mover_idle(struct mover *m) {
        return true;
}

void mover_watch(struct mover *m, bool on) {
}

void mover_node_capacity(struct mover *m, uint32_t node, uint64_t capacity) {
}

int mover_node_drain(struct mover *m, uint32_t node, uint64_t token) {
        return -ENOSYS;
}

void mover_node_online(struct mover *m, uint32_t node) {
}

void mover_node_info(struct mover *m, uint32_t node, struct managed_node_info *ret) {
}

struct managed_group *mover_group_new(struct mover *m) {
        return NULL;
}

void mover_group_free(struct mover *m, struct managed_group *g) {
}

void mover_group_limit(struct mover *m, struct managed_group *g, uint32_t node, uint64_t bytes) {
}

void mover_group_used(struct mover *m, struct managed_group *g, uint32_t node, uint64_t *ret_used, uint64_t *ret_peak) {
}

int mover_range_new(struct mover *m, struct mover_range **ret, const struct mover_range_args *args) {
        return -ENOSYS;
}

void mover_range_end(struct mover *m, struct mover_range *r, uint64_t token) {
}

int mover_range_memory(const struct mover_range *r) {
        return -ENOSYS;
}

int mover_range_state(const struct mover_range *r) {
        return -ENOSYS;
}

uint64_t mover_range_memory_bytes(const struct mover_range *r) {
        return 0;
}

void mover_range_generation(struct mover_range *r, uint64_t generation) {
}

int mover_restored(struct mover *m) {
        return -ENOSYS;
}

int mover_session_new(struct mover *m, struct mover_session **ret, void *userdata, int uffd, bool initialised,
                      uint64_t cgroup) {
        return -ENOSYS;
}

int mover_session_uffd(const struct mover_session *s) {
        return -ENOSYS;
}

void mover_session_end(struct mover *m, struct mover_session *s) {
}

int mover_join(struct mover *m, struct mover_session *s, struct mover_range *r, bool readonly, uint64_t token) {
        return -ENOSYS;
}

int mover_rejoin(struct mover *m, struct mover_session *s, struct mover_range *r, bool readonly) {
        return -ENOSYS;
}

void mover_leave(struct mover *m, struct mover_session *s, struct mover_range *r) {
}

int mover_migrate(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, uint32_t node,
                  enum managed_cause cause, uint64_t token) {
        return -ENOSYS;
}

int mover_evict(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, uint64_t token) {
        return -ENOSYS;
}

int mover_discard(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, uint64_t token) {
        return -ENOSYS;
}

int mover_pin(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, uint64_t token) {
        return -ENOSYS;
}

void mover_unpin(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count) {
}

int mover_revoke(struct mover *m, struct mover_range *r, uint64_t token) {
        return -ENOSYS;
}

int mover_unrevoke(struct mover *m, struct mover_range *r, uint64_t token) {
        return -ENOSYS;
}

int mover_advise(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, unsigned what,
                 const struct mover_advice *advice) {
        return -ENOSYS;
}

void mover_advice(struct mover *m, struct mover_range *r, uint32_t granule, struct mover_advice *ret) {
}

int mover_each_advice(struct mover *m, struct mover_range *r,
                      int (*fn)(void *userdata, uint32_t first, uint32_t count, const struct mover_advice *a),
                      void *userdata) {
        return -ENOSYS;
}

void mover_look(struct mover *m, const struct mover_range *r, uint32_t first, uint32_t count,
                struct managed_granule_info *ret) {
}

int mover_show(struct mover *m, struct mover_range *r, uint32_t node, struct device_space *space, bool write) {
        return -ENOSYS;
}

void mover_hide(struct mover *m, struct mover_range *r, uint32_t node, struct device_space *space) {
}

const struct device_faults *mover_device_faults(void) {
        return NULL;
}
