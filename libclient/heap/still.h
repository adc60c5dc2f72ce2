#pragma once

/* All other threads stand still in between, and in a child there are none. */
void still_begin(void);
void still_end(void);
void still_child(void);
