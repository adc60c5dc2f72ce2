#pragma once

#include <stdint.h>

/*
 * Pages of a client's file that only a userfaultfd can serve as they have to be served: told from holes, or filled if
 * and only if they are holes. svmd maps them for that alone, never touches the mapping, and so can never be killed by
 * what the client does to the file meanwhile. Any thread.
 */

/* 1: the file has the page, 0: a hole, or -errno. */
int own_has(int file, uint64_t offset, uint64_t page);
/* UFFDIO_COPY says of huge pages that there is one when it has none left to give: -EEXIST if there is, else -ENOMEM. */
int own_exists(int file, uint64_t offset, uint64_t page);
/* Fills a hole. 0, -EEXIST: it is none, or -errno. */
int own_fill(int file, uint64_t offset, uint64_t page, const void *from);
