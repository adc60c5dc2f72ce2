#include "churn.h"

enum { RESERVATION = 64 * 1024 };

void churn_start(struct churn *c, const char *runtime_dir) {
        const Svmd__V1__Reply *reply;

        client_open(&c->client, runtime_dir);
        for (int i = 0; i < SVMD_OPS_MAX / 2; i++)
                vector_reserve(&c->vector, RESERVATION);
        reply = client_call(&c->client, &c->vector);
        for (int i = 0; i < SVMD_OPS_MAX / 2; i++)
                c->id[i] = reply->results[i]->id;
}

void churn(struct churn *c, int operations) {
        const Svmd__V1__Reply *reply;

        for (int i = 0; i < operations / 2; i++) {
                vector_free(&c->vector, c->id[i]);
                vector_reserve(&c->vector, RESERVATION);
        }
        reply = client_call(&c->client, &c->vector);
        for (int i = 0; i < operations / 2; i++)
                c->id[i] = reply->results[2 * i + 1]->id;
}

double churn_ns(struct churn *c, int operations, int messages) {
        uint64_t start = now_ns();

        for (int i = 0; i < messages; i++)
                churn(c, operations);
        return (double)(now_ns() - start) / messages;
}
