#pragma once

/* Notes what access the program has where it is not that of a heap, and makes it readable; sets it again, in the child
 * too. */
void access_take(void);
void access_show(void);
