/* Loaded before a program's libraries: after `dfer_writes_left` writes to regular files the disk is full. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* Set by the test through ctypes; negative: there is room. */
long dfer_writes_left = -1;
long dfer_writes = 0;

static int refused(int descriptor) {
    struct stat status;
    if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) return 0;
    __sync_fetch_and_add(&dfer_writes, 1);
    if (dfer_writes_left < 0) return 0;
    if (dfer_writes_left > 0) {
        dfer_writes_left--;
        return 0;
    }
    errno = ENOSPC;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int descriptor, const void *data, size_t size) {
    return refused(descriptor) ? -1 : REAL(write)(descriptor, data, size);
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    return refused(descriptor) ? -1 : REAL(writev)(descriptor, parts, count);
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t at) {
    return refused(descriptor) ? -1 : REAL(pwrite64)(descriptor, data, size, at);
}

int ftruncate64(int descriptor, off64_t size) { return refused(descriptor) ? -1 : REAL(ftruncate64)(descriptor, size); }

int fsync(int descriptor) { return refused(descriptor) ? -1 : REAL(fsync)(descriptor); }

/* A new name in a folder needs room as well. */
static int creates(int flags) { return (flags & O_CREAT) && dfer_writes_left == 0; }

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, int);
    va_end(rest);
    struct stat status;
    if (creates(flags) && stat(path, &status) != 0) {
        errno = ENOSPC;
        return -1;
    }
    return REAL(open64)(path, flags, mode);
}
