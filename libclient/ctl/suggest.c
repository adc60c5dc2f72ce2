#include "suggest.h"

#include <stdbool.h>
#include <string.h>

enum { LETTERS = 63 };

static unsigned least(unsigned a, unsigned b) {
        return a < b ? a : b;
}

/* Optimal string alignment: three rows of the table suffice, as a swap looks two rows back. */
unsigned suggest_distance(const char *a, const char *b) {
        unsigned rows[3][LETTERS + 1], *before = rows[0], *last = rows[1], *now = rows[2], *spare;
        size_t m = strnlen(a, LETTERS), n = strnlen(b, LETTERS);

        for (unsigned j = 0; j <= n; j++)
                last[j] = before[j] = j;
        for (unsigned i = 1; i <= m; i++) {
                now[0] = i;
                for (unsigned j = 1; j <= n; j++) {
                        now[j] = least(least(last[j], now[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                                now[j] = least(now[j], before[j - 2] + 1);
                }
                spare = before;
                before = last;
                last = now;
                now = spare;
        }
        return last[n];
}

const char *suggest(const char *word, const char *const *candidates, size_t count) {
        unsigned best = (unsigned)strnlen(word, LETTERS) / 3 + 1;
        const char *found = NULL;

        for (size_t i = 0; i < count; i++) {
                size_t length = strlen(word);
                bool begins = length > 1 && strncmp(word, candidates[i], length) == 0;
                unsigned distance = begins ? 1 : suggest_distance(word, candidates[i]);

                if (distance < best || (distance == best && !found && distance < strnlen(candidates[i], LETTERS))) {
                        best = distance;
                        found = candidates[i];
                }
        }
        return found;
}
