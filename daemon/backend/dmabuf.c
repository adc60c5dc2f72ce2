#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "backend/memfile.h"

/*
 * What a descriptor says of itself. The kernel has dma-bufs in a file system of their own, which nobody else can put
 * files into; their size is where seeking to the end leads; and a driver that lets no CPU at them refuses to map them.
 * Nothing of the memory is touched.
 */
enum { PAGE = 4096 };

#ifndef DMA_BUF_MAGIC
#define DMA_BUF_MAGIC 0x444d4142
#endif

int dmabuf_query(int fd, long magic, struct dmabuf *ret) {
        int flags = fcntl(fd, F_GETFL);
        struct statfs fs;
        off_t size;
        void *p;

        if (flags < 0 || (flags & O_PATH) || fstatfs(fd, &fs) < 0 || fs.f_type != (magic ? magic : DMA_BUF_MAGIC))
                return -EINVAL;
        size = lseek(fd, 0, SEEK_END);
        if (size <= 0 || size % PAGE)
                return -EINVAL;
        (void)lseek(fd, 0, SEEK_SET);
        *ret = (struct dmabuf){ .size = (uint64_t)size, .write = (flags & O_ACCMODE) == O_RDWR };
        p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
        ret->mappable = p != MAP_FAILED;
        if (p != MAP_FAILED)
                munmap(p, PAGE);
        return 0;
}
