#pragma once

#include <linux/ioctl.h>
#include <stdint.h>

/*
 * The kernel's HMM test device, /dev/hmm_dmirror* (CONFIG_TEST_HMM): a file stands for the address space of the process
 * that opened it. No header of the system has this. The same on Linux 6.1 and 6.12.
 */
struct dmirror_cmd {
        uint64_t address; /* of that process, whole pages */
        uint64_t buffer;  /* of the caller: contents, or a byte a page */
        uint64_t pages;
        uint64_t done;   /* out: pages */
        uint64_t faults; /* out */
};

#define DMIRROR_READ            _IOWR('H', 0, struct dmirror_cmd)
#define DMIRROR_WRITE           _IOWR('H', 1, struct dmirror_cmd)
#define DMIRROR_TO_DEVICE       _IOWR('H', 2, struct dmirror_cmd) /* gives the contents too */
#define DMIRROR_TO_SYSTEM       _IOWR('H', 3, struct dmirror_cmd)
#define DMIRROR_SNAPSHOT        _IOWR('H', 4, struct dmirror_cmd) /* a byte a page, as below */
#define DMIRROR_EXCLUSIVE       _IOWR('H', 5, struct dmirror_cmd) /* gives the contents too */
#define DMIRROR_CHECK_EXCLUSIVE _IOWR('H', 6, struct dmirror_cmd) /* EPERM: some of it is */
#define DMIRROR_RELEASE         _IOWR('H', 7, struct dmirror_cmd) /* takes all memory of the device away from everyone */

/* What a snapshot says of a page: access, and who has it. */
enum {
        DMIRROR_PAGE_NONE = 0x00, /* no page table entry, or one that is of no present page */
        DMIRROR_PAGE_READ = 0x01,
        DMIRROR_PAGE_WRITE = 0x02,
        DMIRROR_PAGE_PMD = 0x04,
        DMIRROR_PAGE_PUD = 0x08,
        DMIRROR_PAGE_PLACE = 0xf0, /* mask of the following */
        DMIRROR_PAGE_ZERO = 0x10,
        DMIRROR_PAGE_PRIVATE_LOCAL = 0x20,
        DMIRROR_PAGE_PRIVATE_REMOTE = 0x30,
        DMIRROR_PAGE_COHERENT_LOCAL = 0x40,
        DMIRROR_PAGE_COHERENT_REMOTE = 0x50,
        DMIRROR_PAGE_ERROR = 0xff, /* not mapped, or not to be read */
};
