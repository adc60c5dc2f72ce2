#pragma once

#include <stdint.h>

struct cuda_api;

/* The addresses of a slice, reserved with CUDA as well, under what svmd maps there; once a process: a code. Nothing may
 * be mapped there yet. */
int cuda_slice_take(const struct cuda_api *api, uint64_t base, uint64_t length);
