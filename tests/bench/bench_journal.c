#include "churn.h"

/*
 * What it costs that svmd may be killed: messages of 64 operations that change what it knows, with its journal, and, as
 * the limit, by the same svmd linked once more with calls of the journal that do nothing (unjournaled.c).
 */
enum { ROUNDS = 45, MESSAGES = 300, OPERATIONS = 64 };

int main(int argc, char **argv) {
        struct row row = { .name = "journal", .unit = "ns" };
        static struct churn with, without;

        must(argc == 5, "usage: bench_journal RUNTIME-DIR PID RUNTIME-DIR PID");
        pin_to(0);
        churn_start(&with, argv[1]);
        churn_start(&without, argv[3]);
        churn_ns(&with, OPERATIONS, MESSAGES);
        churn_ns(&without, OPERATIONS, MESSAGES);
        for (int round = 0; round < ROUNDS; round++) {
                double one = churn_ns(&with, OPERATIONS, MESSAGES);

                row_add(&row, one / OPERATIONS, churn_ns(&without, OPERATIONS, MESSAGES) / OPERATIONS);
        }
        row_print(&row);
        client_close(&with.client);
        client_close(&without.client);
        return 0;
}
