#pragma once

/* Private memory: see private.c. */
struct reservation;

/* Maps it. What other sessions of the process had there is gone already: va_add(). */
int private_show(const struct reservation *r);
