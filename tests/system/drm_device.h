#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A card of a driver, as far as the tests need one: dumb buffers, PRIME. */
struct drm_device {
        int fd;
};

/* False: there is no card of it. */
bool drm_device_open(struct drm_device *d, const char *driver);
void drm_device_close(struct drm_device *d);
/* A dma-buf of a new buffer; -1: the driver has no such buffers. */
int drm_device_export(struct drm_device *d, size_t size);
/* The device imports the dma-buf, and what it is there has `word` at index `i`. */
void drm_device_imports(struct drm_device *d, int dmabuf, size_t size, size_t i, uint64_t word);
