#pragma once

#include "policy/compile.h"

/* What the files of compile.h share. A verdict begins as "applied, nothing to be called". */
enum { POLICY_HUGE = 2 << 20, POLICY_PAGE = 4096, POLICY_MADV_DONTNEED = 4 };

void verdict(struct policy_verdict *v, enum policy_became became, enum policy_why why);
void refused(struct policy_verdict *v, enum policy_why why);
void approximated(struct policy_verdict *v, enum policy_why why);
/* Where the wish is on, or has a number; to take it back is nobody's trouble. */
void refused_if_on(const struct policy_wish *w, struct policy_verdict *v, enum policy_why why);
void approximated_if_on(const struct policy_wish *w, struct policy_verdict *v, enum policy_why why);
void step(struct policy_verdict *v, enum policy_call call, uint32_t type, int64_t argument);
/* A device's number, or -1 for the host: how CUDA and HIP name a place. */
int64_t ordinal_of(const struct policy_target *t, enum policy_location location);
void judge_preferred(const struct policy_target *t, enum policy_location location, struct policy_verdict *v);
void judge_accessed_by(const struct policy_target *t, const struct policy_wish *w, struct policy_verdict *v);
void judge_granularity(const struct policy_target *t, uint64_t bytes, struct policy_verdict *v);

void compile_kfd(const struct policy_target *t, const struct policy_wish *w, struct policy_verdict *v);
void compile_hip(const struct policy_target *t, const struct policy_wish *w, struct policy_verdict *v);
void compile_xe(const struct policy_target *t, const struct policy_wish *w, struct policy_verdict *v);
void compile_ze(const struct policy_target *t, const struct policy_wish *w, struct policy_verdict *v);
void compile_cuda(const struct policy_target *t, const struct policy_wish *w, struct policy_verdict *v);
