#pragma once

#include <stdint.h>

/*
 * Stands at the interface to the kernel where a machine has no /dev/hmm_dmirror: hmm_call() of backend/hmm.h. A small
 * model of one address space of MOCK_PAGES pages and two devices, whose files are those of /dev/null and /dev/zero.
 * What it does is what test_hmm of Linux 6.1 was seen to do in the guest (tests/vm/guest/hmm.sh).
 */
enum { MOCK_PAGES = 3000 };
enum mock_place { MOCK_NONE, MOCK_SYSTEM, MOCK_PINNED, MOCK_UNMAPPED, MOCK_DEVICE, MOCK_EXCLUSIVE = MOCK_DEVICE + 2 };

/* From here on calls come here; the space begins at `base`, with all pages in system memory. */
void mock_begin(uint64_t base);
void mock_end(void);
void mock_set(unsigned first, unsigned count, unsigned place);
unsigned mock_get(unsigned page);
/* The CPU's touch. */
void mock_touch(unsigned first, unsigned count);
/* The next `times` calls with this request fail so (a negative errno), and do nothing. */
void mock_fail(unsigned long request, int error, unsigned times);
/* Calls wait: the process holds its own memory up; until they are let go. */
void mock_hold(void);
void mock_release(void);
/* Calls that wait there. */
unsigned mock_waiting(void);
