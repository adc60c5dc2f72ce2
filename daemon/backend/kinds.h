#pragma once

/* The kinds of nodes of this build, as kinds.def lists them. */
struct backend;

#define KIND(name) extern const struct backend backend_##name;
#include "backend/kinds.def"
#undef KIND
