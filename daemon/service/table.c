#include "service/internal.h"

/*
 * Every operation there is: what it is called, what it needs, who may, and what does it. What has no row here nobody
 * may.
 */
static const struct op_row rows[] = {
#define ROW(case_, name, flags, fn) [SVMD__V1__OP__OP_##case_] = { name, flags, fn }
        ROW(HELLO, "hello", OP_FIRST | OP_ALONE | OP_FINAL | OP_GUEST, op_hello),
        ROW(ATTACH, "attach", OP_ALONE | OP_CHANGES | OP_STORE | OP_FINAL | OP_GUEST, op_attach),
        ROW(RESERVE, "reserve", OP_ATTACHED | OP_CHANGES, op_reserve),
        ROW(OPEN, "open", OP_ATTACHED | OP_CHANGES | OP_GUEST, op_open),
        ROW(FREE, "free", OP_ATTACHED | OP_CHANGES | OP_GIVES | OP_GUEST, op_free),
        ROW(MEM_CREATE, "mem_create", OP_ATTACHED | OP_CHANGES, op_mem_create),
        ROW(MEM_RELEASE, "mem_release", OP_ATTACHED | OP_CHANGES | OP_GIVES | OP_GUEST, op_mem_release),
        ROW(MEM_EXPORT, "mem_export", OP_ATTACHED | OP_CHANGES, op_mem_export),
        ROW(MEM_IMPORT, "mem_import", OP_ATTACHED | OP_CHANGES | OP_GUEST, op_mem_import),
        ROW(MEM_FD, "mem_fd", OP_ATTACHED | OP_FD_OUT | OP_GUEST, op_mem_fd),
        ROW(MAP, "map", OP_ATTACHED | OP_CHANGES, op_map),
        ROW(UNMAP, "unmap", OP_ATTACHED | OP_CHANGES | OP_GIVES, op_unmap),
        ROW(SET_ACCESS, "set_access", OP_ATTACHED | OP_CHANGES, op_set_access),
        ROW(SET_ATTRIBUTES, "set_attributes", OP_ATTACHED | OP_CHANGES, op_set_attributes),
        ROW(SPARSE_MAP, "sparse_map", OP_ATTACHED | OP_CHANGES, op_sparse_map),
        ROW(SPARSE_UNMAP, "sparse_unmap", OP_ATTACHED | OP_CHANGES | OP_GIVES, op_sparse_unmap),
        ROW(SPACE_CREATE, "space_create", OP_ATTACHED | OP_CHANGES | OP_GUEST, op_space_create),
        ROW(SPACE_DESTROY, "space_destroy", OP_ATTACHED | OP_CHANGES | OP_GIVES | OP_GUEST, op_space_destroy),
        ROW(SUBMIT, "submit", OP_ATTACHED | OP_CHANGES | OP_FINAL | OP_GUEST, op_submit),
        ROW(FENCE_QUERY, "fence_query", OP_FINAL | OP_GUEST, op_fence_query),
        ROW(LAYOUT, "layout", OP_ATTACHED | OP_GUEST, op_layout),
        ROW(TRANSLATE, "translate", OP_ATTACHED, op_translate),
        ROW(NODES, "nodes", OP_GUEST, op_nodes),
        ROW(LINKS, "links", OP_GUEST, op_links),
        ROW(STATUS, "status", 0, op_status),
        ROW(LIMITS, "limits", OP_ATTACHED, op_limits),
        ROW(MONITOR, "monitor", OP_ADMIN | OP_FINAL, op_monitor),
        ROW(RESERVATION_QUERY, "reservation_query", OP_ATTACHED, op_reservation_query),
        ROW(UFFD_DEVICE, "uffd_device", OP_ATTACHED | OP_FD_OUT | OP_GUEST, op_uffd_device),
        ROW(UFFD_GIVE, "uffd_give", OP_ATTACHED | OP_ALONE | OP_CHANGES | OP_FINAL | OP_GUEST, op_uffd_give),
        ROW(RANGE_FILES, "range_files", OP_ATTACHED | OP_FD_OUT | OP_GUEST, op_range_files),
        ROW(JOIN, "join", OP_ATTACHED | OP_ALONE | OP_CHANGES | OP_FINAL | OP_WAITS | OP_GUEST, op_join),
        ROW(MIGRATE, "migrate", OP_CHANGES | OP_FINAL | OP_AUDIT, op_migrate),
        ROW(DISCARD, "discard", OP_CHANGES | OP_FINAL | OP_AUDIT, op_discard),
        ROW(PIN, "pin", OP_ATTACHED | OP_CHANGES | OP_FINAL, op_pin),
        ROW(REVOKE, "revoke", OP_CHANGES | OP_FINAL | OP_AUDIT, op_revoke),
        ROW(STEAL, "steal", OP_ATTACHED | OP_CHANGES | OP_FINAL, op_steal),
        ROW(ADVISE, "advise", OP_CHANGES | OP_FINAL | OP_AUDIT, op_advise),
        ROW(ADVICE_QUERY, "advice_query", OP_ATTACHED, op_advice_query),
        ROW(ADVICE_SHOW, "advice_show", 0, op_advice_show),
        ROW(PARTITION_CREATE, "partition_create", OP_ADMIN | OP_ALONE | OP_STORE | OP_AUDIT, op_partition_create),
        ROW(PARTITION_SET, "partition_set", OP_ADMIN | OP_ALONE | OP_STORE | OP_AUDIT, op_partition_set),
        ROW(PARTITION_DELETE, "partition_delete", OP_ADMIN | OP_ALONE | OP_STORE | OP_AUDIT, op_partition_delete),
        ROW(PARTITION_LIST, "partition_list", OP_ADMIN | OP_READS, op_partition_list),
        ROW(SESSION_LIST, "session_list", OP_ADMIN, op_session_list),
        ROW(SESSION_KILL, "session_kill", OP_ADMIN | OP_ALONE | OP_AUDIT, op_session_kill),
        ROW(RESERVATION_LIST, "reservation_list", 0, op_reservation_list),
        ROW(USAGE, "usage", OP_ADMIN, op_usage),
        ROW(RESIDENCY, "residency", 0, op_residency),
        ROW(EXPLAIN, "explain", 0, op_explain),
        ROW(REGISTER, "register", OP_ATTACHED | OP_ALONE | OP_CHANGES | OP_FINAL, op_register),
        ROW(UNREGISTER, "unregister", OP_ATTACHED | OP_ALONE | OP_CHANGES | OP_FINAL | OP_GIVES, op_unregister),
        ROW(NODE_PLAN, "node_plan", OP_ADMIN, op_node_plan),
        ROW(NODE_SET, "node_set", OP_ADMIN | OP_CHANGES | OP_FINAL | OP_AUDIT, op_node_set),
        ROW(KEEP, "keep", OP_ATTACHED | OP_CHANGES, op_keep),
        ROW(KEPT_LIST, "kept_list", 0, op_kept_list),
        ROW(KEPT_REMOVE, "kept_remove", OP_CHANGES | OP_GIVES | OP_AUDIT, op_kept_remove),
        ROW(ADMIT, "admit", OP_ATTACHED | OP_CHANGES | OP_FINAL, op_admit),
        ROW(LEASE_RELEASE, "lease_release", OP_ATTACHED | OP_CHANGES | OP_GIVES, op_lease_release),
        ROW(LEASE_LIST, "lease_list", 0, op_lease_list),
        ROW(LEASE_CLAIM, "lease_claim", OP_ATTACHED | OP_CHANGES, op_lease_claim),
        ROW(LEASE_FILL, "lease_fill", OP_ATTACHED | OP_CHANGES, op_lease_fill),
        ROW(USAGE_HISTORY, "usage_history", OP_ADMIN | OP_ALONE | OP_WAITS, op_usage_history),
        ROW(HOLDERS, "holders", OP_ADMIN | OP_READS | OP_ALONE | OP_WAITS, op_holders),
        ROW(DRIFT, "drift", OP_ADMIN | OP_ALONE | OP_WAITS, op_drift),
        ROW(METRICS, "metrics", OP_ADMIN | OP_READS, op_metrics),
        ROW(UPGRADE, "upgrade", OP_ADMIN | OP_ALONE | OP_STORE | OP_AUDIT, op_upgrade),
        ROW(DMABUF_IMPORT, "dmabuf_import", OP_ATTACHED | OP_ALONE | OP_CHANGES | OP_FINAL, op_dmabuf_import),
        ROW(MEM_DMABUF, "mem_dmabuf", OP_ATTACHED | OP_FD_OUT, op_mem_dmabuf),
        ROW(DEVICE_GIVE, "device_give", OP_ATTACHED | OP_ALONE | OP_CHANGES | OP_FINAL, op_device_give),
        ROW(DRM_SPACE, "drm_space", OP_ATTACHED | OP_CHANGES | OP_FINAL, op_drm_space),
        ROW(DRM_BIND, "drm_bind", OP_ATTACHED | OP_CHANGES | OP_FINAL, op_drm_bind),
        ROW(DRM_CHECK, "drm_check", OP_ATTACHED | OP_CHANGES | OP_FINAL, op_drm_check),
        ROW(DRM_BOUND, "drm_bound", OP_ATTACHED | OP_CHANGES | OP_FINAL | OP_GIVES, op_drm_bound),
        ROW(OBSERVE, "observe", OP_CHANGES | OP_FINAL, op_observe),
        ROW(EXCLUSIVE, "exclusive", OP_ATTACHED | OP_CHANGES | OP_FINAL, op_exclusive),
        ROW(TRACE_START, "trace_start", OP_ADMIN | OP_ALONE | OP_FINAL | OP_AUDIT, op_trace_start),
        ROW(TRACE_STOP, "trace_stop", OP_ADMIN | OP_FINAL | OP_AUDIT, op_trace_stop),
        ROW(ACT_FOR, "act_for", OP_ADMIN | OP_FINAL, op_act_for),
        ROW(TRACE_QUERY, "trace_query", OP_ADMIN | OP_FINAL, op_trace_query),
        ROW(LIMIT_SET, "limit_set", OP_ALONE | OP_CHANGES | OP_STORE | OP_AUDIT, op_limit_set),
        ROW(LIMIT_QUERY, "limit_query", 0, op_limit_query),
        ROW(POLICY, "policy", OP_ADMIN | OP_CHANGES | OP_FINAL | OP_AUDIT, op_policy),
        ROW(GRANT_ASK, "grant_ask", OP_ATTACHED | OP_CHANGES | OP_FINAL, op_grant_ask),
        ROW(GRANT_DONE, "grant_done", OP_ATTACHED | OP_CHANGES | OP_FINAL | OP_GIVES, op_grant_done),
        ROW(GRANT_LIST, "grant_list", 0, op_grant_list),
        ROW(SHARE, "share", OP_CHANGES | OP_AUDIT, op_share),
        ROW(SHARE_LIST, "share_list", 0, op_share_list),
        ROW(CUDA_ATTACH, "cuda_attach", OP_ATTACHED | OP_ALONE | OP_FD_OUT | OP_FINAL | OP_GUEST, op_cuda_attach),
        ROW(CUDA_MAP, "cuda_map", OP_ATTACHED | OP_ALONE | OP_FD_OUT | OP_FINAL | OP_WAITS | OP_GUEST, op_cuda_map),
        ROW(RELOAD, "reload", OP_ADMIN | OP_ALONE | OP_STORE | OP_FINAL | OP_AUDIT, op_reload),
#undef ROW
};

_Static_assert(sizeof(rows) / sizeof(rows[0]) <= FIGURES_OPS, "each is counted");

const struct op_row *op_row(unsigned op_case) {
        if (op_case >= sizeof(rows) / sizeof(rows[0]) || !rows[op_case].fn)
                return NULL;
        return &rows[op_case];
}

unsigned op_fds(const Svmd__V1__Op *op) {
        if (op->op_case == SVMD__V1__OP__OP_SUBMIT)
                return op->submit->notify;
        if (op->op_case == SVMD__V1__OP__OP_MEM_IMPORT)
                return op->mem_import->name[0] == 0;
        if (op->op_case == SVMD__V1__OP__OP_UFFD_GIVE || op->op_case == SVMD__V1__OP__OP_DMABUF_IMPORT ||
            op->op_case == SVMD__V1__OP__OP_DEVICE_GIVE || op->op_case == SVMD__V1__OP__OP_TRACE_START)
                return 1;
        if (op->op_case == SVMD__V1__OP__OP_REGISTER)
                return op->register_->mode != SVMD__V1__REGISTER_MODE__REGISTER_ADOPTED &&
                       op->register_->mode != SVMD__V1__REGISTER_MODE__REGISTER_PRIVATE;
        return 0;
}
