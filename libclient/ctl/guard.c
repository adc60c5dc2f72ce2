#include "guard.h"

#include <signal.h>
#include <unistd.h>

#include "ctl.h"

enum { GUARD_S = 2 };

static void guard_rang(int signal) {
        static const char text[] = "svmd-ctl: the time is over: svmd does not answer\n";

        (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
        _exit(EXIT_TIMEOUT);
}

void guard_set(uint64_t timeout_ns) {
        signal(SIGALRM, guard_rang);
        alarm((unsigned)(timeout_ns / 1000000000ull) + GUARD_S);
}

void guard_end(void) {
        alarm(0);
}
