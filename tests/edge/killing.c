/* Preloaded: counts what a process writes to files, and kills it at the one it was told. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long left = -1; /* calls until the kill; below 0 never */
static int torn;       /* whether half of the last write is done */

void arm(long calls, int half) { left = calls; torn = half; }

static int now(void) { return left >= 0 && left-- == 0; }
static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *data, size_t size) {
    if (now()) { if (torn) REAL(write)(file, data, size / 2); die(); }
    return REAL(write)(file, data, size);
}
ssize_t pwrite64(int file, const void *data, size_t size, off64_t place) {
    if (now()) { if (torn) REAL(pwrite64)(file, data, size / 2, place); die(); }
    return REAL(pwrite64)(file, data, size, place);
}
ssize_t pwrite(int file, const void *data, size_t size, off_t place) {
    if (now()) { if (torn) REAL(pwrite)(file, data, size / 2, place); die(); }
    return REAL(pwrite)(file, data, size, place);
}
int fsync(int file) { if (now()) die(); return REAL(fsync)(file); }
int fdatasync(int file) { if (now()) die(); return REAL(fdatasync)(file); }
int ftruncate(int file, off_t size) { if (now()) die(); return REAL(ftruncate)(file, size); }
int ftruncate64(int file, off64_t size) { if (now()) die(); return REAL(ftruncate64)(file, size); }
int rename(const char *from, const char *to) { if (now()) die(); return REAL(rename)(from, to); }
int unlink(const char *path) { if (now()) die(); return REAL(unlink)(path); }
int rmdir(const char *path) { if (now()) die(); return REAL(rmdir)(path); }
int mkdir(const char *path, mode_t mode) { if (now()) die(); return REAL(mkdir)(path, mode); }
