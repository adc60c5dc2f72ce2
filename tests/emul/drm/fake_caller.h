#pragma once

#include "drm_model.h"

/* A caller whose memory is this process's. Descriptors: 10 to 19 are devices, 20 to 29 dma-bufs of 1 MiB, no others. */
enum { FAKE_DEVICE = 10, FAKE_DMABUF = 20, FAKE_DMABUF_SIZE = 1 << 20 };

/* `mm`: which address space it says it has. */
struct drm_caller fake_caller(uint64_t mm);
