#pragma once

/* Messages go to journald with their number and fields, where standard error leads there; else this does nothing. */
void journald_begin(void);
