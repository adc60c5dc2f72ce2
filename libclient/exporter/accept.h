#pragma once

#include <stdbool.h>

/* Of the two formats, which one an Accept header asks for: true is OpenMetrics 1.0.0, false the text format 0.0.4,
 * which is also for who says nothing, asks for something else, or wants both alike and names neither. NULL: no header.
 */
bool accept_open_metrics(const char *header);
