#pragma once

/* The kinds of nodes of this build; table.c lists them. */
struct backend;

extern const struct backend backend_host;
extern const struct backend backend_soft;
extern const struct backend backend_hmm;
extern const struct backend backend_cuda;
