#include "policy/policy.h"

/*
 * An allowance of bytes a second: it fills as time goes by, to what a tenth of a second brings, and whatever moves
 * takes out of it. Something may go as long as anything is left, so that what is larger than the bucket goes too, and
 * what cannot wait goes all the same; either leaves a debt that has to be paid off first.
 */
static const uint64_t second_ns = 1000 * 1000 * 1000;

static int64_t level(const struct policy_bucket *b, uint64_t rate, uint64_t now_ns) {
        int64_t most = (int64_t)(rate / 10 ? rate / 10 : 1);
        unsigned __int128 grown = (unsigned __int128)(now_ns - b->at_ns) * rate / second_ns;

        if (grown > (unsigned __int128)INT64_MAX || b->bytes > most - (int64_t)grown)
                return most;
        return b->bytes + (int64_t)grown;
}

uint64_t policy_bucket_due(const struct policy_bucket *b, uint64_t rate, uint64_t now_ns) {
        int64_t left = rate ? level(b, rate, now_ns) : 1;

        if (left > 0)
                return now_ns;
        return now_ns + (uint64_t)(((unsigned __int128)(uint64_t)(1 - left) * second_ns + rate - 1) / rate);
}

void policy_bucket_take(struct policy_bucket *b, uint64_t rate, uint64_t bytes, uint64_t now_ns) {
        if (!rate)
                return;
        b->bytes = level(b, rate, now_ns) - (int64_t)bytes;
        b->at_ns = now_ns;
}
