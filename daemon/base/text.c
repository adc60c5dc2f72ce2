#include "base/text.h"

void text_bytes(char *out, size_t size, uint64_t bytes) {
        static const char units[] = "KMGTP";
        double v = (double)bytes / 1024;
        unsigned u = 0;

        while (v >= 1024 && u < 4) {
                v /= 1024;
                u++;
        }
        snprintf(out, size, "%.4g %ciB", v, units[u]);
}
