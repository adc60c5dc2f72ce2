#include "policy/sim/report.h"

/* Sizes and times for people. */
const char *size_text(char *text, uint64_t bytes) {
        static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
        double x = (double)bytes;
        unsigned u = 0;

        while (x >= 1024 && u + 1 < sizeof(units) / sizeof(units[0])) {
                x /= 1024;
                u++;
        }
        snprintf(text, SIM_TEXT, x < 10 && u ? "%.1f %s" : "%.0f %s", x, units[u]);
        return text;
}

const char *time_text(char *text, uint64_t ns) {
        if (ns < 10000)
                snprintf(text, SIM_TEXT, "%llu ns", (unsigned long long)ns);
        else if (ns < 10000000)
                snprintf(text, SIM_TEXT, "%.1f us", (double)ns / 1e3);
        else if (ns < 10000000000ull)
                snprintf(text, SIM_TEXT, "%.1f ms", (double)ns / 1e6);
        else
                snprintf(text, SIM_TEXT, "%.2f s", (double)ns / 1e9);
        return text;
}
