#pragma once

/* Huge pages of 2 MiB that the machine has set aside. A test that sets more aside puts back what was when it ends. */
long huge_pages_get(void);
void huge_pages_set(long n);
/* At least so many until the process that asked first ends; others may do the same, and put back what was before them,
 * so ask before each use. */
void huge_pages_want(long n);
