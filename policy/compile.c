#include "policy/compile.h"

#include "policy/compile-priv.h"

/*
 * A dialect is a function that translates one wish; what they have in common is here. Everybody's first question is
 * whether the driver has a word for it: a wish that becomes another one, or nothing, says so.
 */
void verdict(struct policy_verdict *v, enum policy_became became, enum policy_why why) {
        v->became = became;
        v->why = why;
}

void step(struct policy_verdict *v, enum policy_call call, uint32_t type, int64_t argument) {
        v->steps[v->steps_count++] = (struct policy_step){ call, type, argument };
}

void refused(struct policy_verdict *v, enum policy_why why) {
        verdict(v, POLICY_REFUSED, why);
}

void approximated(struct policy_verdict *v, enum policy_why why) {
        verdict(v, POLICY_APPROXIMATED, why);
}

void refused_if_on(const struct policy_wish *w, struct policy_verdict *v, enum policy_why why) {
        if (w->value)
                refused(v, why);
}

void approximated_if_on(const struct policy_wish *w, struct policy_verdict *v, enum policy_why why) {
        if (w->value)
                approximated(v, why);
}

int64_t ordinal_of(const struct policy_target *t, enum policy_location location) {
        if (location == POLICY_AT_PEER || location == POLICY_AT_FAR)
                return t->other;
        if (location == POLICY_AT_HOST || t->host)
                return -1;
        return t->id;
}

/* Pages that are to lie elsewhere are of use to a node that can fault or reaches them. */
void judge_preferred(const struct policy_target *t, enum policy_location location, struct policy_verdict *v) {
        if (location == POLICY_AT_NONE)
                return;
        if (location == POLICY_AT_HERE) {
                if (!t->host && !t->faults)
                        approximated(v, POLICY_WHY_PREFETCH);
        } else if (t->host) {
                if (location != POLICY_AT_HOST)
                        approximated(v, POLICY_WHY_CPU);
        } else if (!t->faults) {
                refused(v, POLICY_WHY_NO_FAULTS);
        } else if (location == POLICY_AT_FAR) {
                approximated(v, POLICY_WHY_NO_LINK);
        }
}

/* Likewise for one that wants to reach them where they are. */
void judge_accessed_by(const struct policy_target *t, const struct policy_wish *w, struct policy_verdict *v) {
        if (!w->value)
                return;
        if (t->host) {
                if (w->location == POLICY_AT_PEER || w->location == POLICY_AT_FAR)
                        approximated(v, POLICY_WHY_CPU);
        } else if (w->location == POLICY_AT_FAR) {
                if (t->faults)
                        approximated(v, POLICY_WHY_NO_LINK);
                else
                        refused(v, POLICY_WHY_NO_LINK);
        }
}

void judge_granularity(const struct policy_target *t, uint64_t bytes, struct policy_verdict *v) {
        if (bytes && bytes < t->granule)
                approximated(v, POLICY_WHY_GRANULE);
        else if (bytes >= POLICY_HUGE && !t->huge_pages)
                approximated(v, POLICY_WHY_NO_HUGE);
}

static void engine(const struct policy_target *t, const struct policy_wish *w, struct policy_verdict *v) {
        switch (w->word) {
        case POLICY_WISH_PREFERRED: judge_preferred(t, w->location, v); break;
        case POLICY_WISH_ACCESSED_BY:
                judge_accessed_by(t, w, v);
                if (w->value && !t->host && !t->faults)
                        refused(v, POLICY_WHY_NO_FAULTS);
                break;
        case POLICY_WISH_READ_MOSTLY:
                if (w->value && !t->host && !t->faults)
                        refused(v, POLICY_WHY_NO_FAULTS);
                break;
        case POLICY_WISH_GRANULARITY: judge_granularity(t, w->value, v); break;
        case POLICY_WISH_ATOMICS:
                if (w->value == POLICY_ATOMICS_GLOBAL || (w->value == POLICY_ATOMICS_CPU && !t->host))
                        approximated(v, POLICY_WHY_ONE_OWNER);
                break;
        case POLICY_WISH_COARSE: approximated_if_on(w, v, POLICY_WHY_COHERENT); break;
        case POLICY_WISH_PINNED:
        case POLICY_WISH_GROUP:
        case POLICY_WISH_PREFETCH:
        case POLICY_WISH_DISCARD:
        case _POLICY_WISH_N: break;
        }
}

static void hmm(const struct policy_target *t, const struct policy_wish *w, struct policy_verdict *v) {
        switch (w->word) {
        case POLICY_WISH_PREFERRED:
                if (w->location == POLICY_AT_PEER || w->location == POLICY_AT_FAR)
                        refused(v, POLICY_WHY_OTHER_DEVICE);
                else if (w->location == POLICY_AT_HERE)
                        approximated(v, POLICY_WHY_PREFETCH);
                break;
        case POLICY_WISH_PREFETCH:
                if (w->location == POLICY_AT_PEER || w->location == POLICY_AT_FAR)
                        refused(v, POLICY_WHY_OTHER_DEVICE);
                else
                        step(v, POLICY_CALL_HMM_MIGRATE, 0, w->location == POLICY_AT_HERE);
                break;
        case POLICY_WISH_DISCARD: step(v, POLICY_CALL_MADVISE, POLICY_MADV_DONTNEED, 0); break;
        case POLICY_WISH_ACCESSED_BY:
        case POLICY_WISH_READ_MOSTLY:
        case POLICY_WISH_PINNED:
        case POLICY_WISH_GRANULARITY:
        case POLICY_WISH_ATOMICS:
        case POLICY_WISH_COARSE: refused_if_on(w, v, POLICY_WHY_NO_WORD); break;
        case POLICY_WISH_GROUP: approximated_if_on(w, v, POLICY_WHY_MEMBERS); break;
        case _POLICY_WISH_N: break;
        }
}

void policy_compile(const struct policy_target *target, const struct policy_wish *wish, struct policy_verdict *ret) {
        *ret = (struct policy_verdict){ 0 };
        switch (target->dialect) {
        case POLICY_ENGINE: engine(target, wish, ret); break;
        case POLICY_HMM: hmm(target, wish, ret); break;
        case POLICY_KFD: compile_kfd(target, wish, ret); break;
        case POLICY_HIP: compile_hip(target, wish, ret); break;
        case POLICY_XE: compile_xe(target, wish, ret); break;
        case POLICY_ZE: compile_ze(target, wish, ret); break;
        case POLICY_CUDA: compile_cuda(target, wish, ret); break;
        case _POLICY_DIALECT_N: break;
        }
        if (ret->became == POLICY_REFUSED)
                ret->steps_count = 0;
}

const char *policy_why_text(enum policy_why why) {
        static const char *const text[_POLICY_WHY_N] = {
                [POLICY_WHY_NONE] = "",
                [POLICY_WHY_NO_FAULTS] = "it has no faults: what is not there cannot be used by it",
                [POLICY_WHY_PREFETCH] = "it has no faults: pages come by prefetch alone",
                [POLICY_WHY_NO_LINK] = "there is no fast link between them",
                [POLICY_WHY_CPU] = "the CPU cannot reach device memory: its touch brings the page back",
                [POLICY_WHY_NO_HUGE] = "there are no huge pages: as many small ones move together",
                [POLICY_WHY_GRANULE] = "the range moves in larger granules",
                [POLICY_WHY_ONE_OWNER] = "a page can be written in one place at a time, and moves for each atomic",
                [POLICY_WHY_COHERENT] = "its memory is coherent at any time",
                [POLICY_WHY_ONE_COPY] = "its driver keeps one copy",
                [POLICY_WHY_LOCATION] = "its driver can be told where pages prefer to be, and no more",
                [POLICY_WHY_MEMBERS] = "svmd moves the members of the group one after the other",
                [POLICY_WHY_NO_WORD] = "its driver has no word for that",
                [POLICY_WHY_OTHER_DEVICE] = "its driver can prefer its own memory or the host's, and no other device's",
        };

        return why < _POLICY_WHY_N ? text[why] : "";
}
