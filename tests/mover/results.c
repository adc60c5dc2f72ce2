#include "results.h"

#include <pthread.h>
#include <stdlib.h>

#include "backend/backend.h"

enum { MOST = 4096 };

struct op_results {
        pthread_mutex_t lock;
        struct device_result result[MOST];
        unsigned count;
};

struct op_results *results_new(void) {
        struct op_results *r = calloc(1, sizeof(*r));

        if (!r)
                abort();
        pthread_mutex_init(&r->lock, NULL);
        return r;
}

void results_free(struct op_results *r) {
        if (r)
                pthread_mutex_destroy(&r->lock);
        free(r);
}

void results_add(void *userdata, const struct device_result *result) {
        struct op_results *r = userdata;

        pthread_mutex_lock(&r->lock);
        if (r->count == MOST)
                abort();
        r->result[r->count++] = *result;
        pthread_mutex_unlock(&r->lock);
}

bool results_take(struct op_results *r, uint64_t fence, struct device_result *ret) {
        bool found = false;

        pthread_mutex_lock(&r->lock);
        for (unsigned i = 0; i < r->count && !found; i++)
                if (r->result[i].fence == fence) {
                        *ret = r->result[i];
                        r->result[i] = r->result[--r->count];
                        found = true;
                }
        pthread_mutex_unlock(&r->lock);
        return found;
}
