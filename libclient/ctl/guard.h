#pragma once

#include <stdint.h>

/*
 * A call that waits for the next svmd does not come back while there is none. The guard, an alarm two seconds past the
 * time that was given, ends the program then, with EXIT_TIMEOUT and a sentence.
 */
void guard_set(uint64_t timeout_ns);
void guard_end(void);
