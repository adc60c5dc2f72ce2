#pragma once

#include "harness.h"

/* Asks, and fails the test unless it was done. The result is the client's, until its next request. */
Svmd__V1__Result *must(struct client *c, Svmd__V1__Op *op);

/* Asks, and fails the test unless it was refused with this code and a text that has `says` in it. */
void must_not(struct client *c, Svmd__V1__Op *op, unsigned code, const char *says);
