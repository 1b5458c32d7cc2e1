/* Injects faults into the calls that change files below a folder. sweep.py preloads it.
 *
 *   gcc -shared -fPIC -O1 -o faults.so faults.c -ldl ;  LD_PRELOAD=faults.so python ...
 *
 * Python calls it with ctypes.CDLL(None). faults_arm(root, at, mode, error, log) starts to count
 * calls; the fault is at call number `at` (from 1). faults_count() returns the number of calls so
 * far. For a single thread. Modes:
 *
 *   0  no fault. log: a descriptor that gets a line for each call, with tabs between the fields
 *      name, path, path2, offset, data in hexadecimal
 *   1  the process dies before the call, as by kill -9
 *   2  a write writes its first half, then the process dies; other calls as 1
 *   3  the call fails with `error`
 *   4  this call and all later ones fail with `error`
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char root[PATH_MAX];
static long at, count;
static int mode, failure, trace = -1;

void faults_arm(const char *folder, long where, int how, int error, int log)
{
    snprintf(root, sizeof root, "%s", folder);
    at = where, mode = how, failure = error, trace = log, count = 0;
}

long faults_count(void) { return count; }

static int within(const char *path)
{
    return root[0] && path && strncmp(path, root, strlen(root)) == 0;
}

static int path_of(int fd, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    path[n > 0 ? n : 0] = 0;
    return within(path);
}

static void note(const char *name, const char *path, const char *path2, long offset,
                 const void *data, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    char line[2 * PATH_MAX + 128];
    if (trace < 0) return;
    if (!path2) path2 = "";
    int n = snprintf(line, sizeof line, "%s\t%s\t%s\t%ld\t", name, path, path2, offset);
    if (syscall(SYS_write, trace, line, n) < 0) _exit(99);
    for (size_t i = 0; i < size; ) {
        int m = 0;
        for (; i < size && m < 4096; i++) {
            unsigned char byte = ((const unsigned char *)data)[i];
            line[m++] = digits[byte >> 4];
            line[m++] = digits[byte & 15];
        }
        if (syscall(SYS_write, trace, line, m) < 0) _exit(99);
    }
    if (syscall(SYS_write, trace, "\n", 1) < 0) _exit(99);
}

/* 0: no fault; -1: fail with errno; 2: do half of the call, then die. */
static int fault(void)
{
    count++;
    if (mode == 4 && at > 0 && count >= at) return errno = failure, -1;
    if (count != at) return 0;
    if (mode == 1) _exit(137);
    if (mode == 3) return errno = failure, -1;
    return mode == 2 ? 2 : 0;
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define CHANGE(name, path, path2, call) \
    do { \
        if (!within(path)) return call; \
        int f = fault(); \
        if (f < 0) return -1; \
        if (f == 2) _exit(137); \
        int r = call; \
        int kept = errno; \
        if (r >= 0) note(name, path, path2, 0, "", 0); \
        errno = kept; \
        return r; \
    } while (0)

int mkdir(const char *path, mode_t m) { REAL(mkdir); CHANGE("mkdir", path, NULL, real(path, m)); }
int rmdir(const char *path) { REAL(rmdir); CHANGE("rmdir", path, NULL, real(path)); }
int unlink(const char *path) { REAL(unlink); CHANGE("unlink", path, NULL, real(path)); }
int rename(const char *a, const char *b) { REAL(rename); CHANGE("rename", a, b, real(a, b)); }
int link(const char *a, const char *b) { REAL(link); CHANGE("link", a, b, real(a, b)); }
int symlink(const char *to, const char *path)
{
    REAL(symlink);
    CHANGE("symlink", path, to, real(to, path));
}
int chmod(const char *path, mode_t m) { REAL(chmod); CHANGE("chmod", path, NULL, real(path, m)); }

static int on_file(const char *name, int fd, int (*real)(int))
{
    char path[PATH_MAX];
    if (!root[0] || !path_of(fd, path)) return real(fd);
    CHANGE(name, path, NULL, real(fd));
}

int fsync(int fd) { REAL(fsync); return on_file("fsync", fd, real); }
int fdatasync(int fd) { REAL(fdatasync); return on_file("fsync", fd, real); }

int fchmod(int fd, mode_t m)
{
    REAL(fchmod);
    char path[PATH_MAX];
    if (!root[0] || !path_of(fd, path)) return real(fd, m);
    CHANGE("chmod", path, NULL, real(fd, m));
}

static int truncated(int fd, off_t size, int (*real)(int, off_t))
{
    char path[PATH_MAX];
    if (!root[0] || !path_of(fd, path)) return real(fd, size);
    int f = fault();
    if (f < 0) return -1;
    if (f == 2) _exit(137);
    int r = real(fd, size);
    if (r == 0) note("truncate", path, NULL, size, "", 0);
    return r;
}

int ftruncate(int fd, off_t size) { REAL(ftruncate); return truncated(fd, size, real); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); return truncated(fd, size, real); }

typedef ssize_t (*write_call)(int, const void *, size_t, off_t);

static ssize_t put(int fd, const void *data, size_t size, off_t offset, write_call real)
{
    char path[PATH_MAX];
    if (!root[0] || !path_of(fd, path)) return real(fd, data, size, offset);
    int f = fault();
    if (f < 0) return -1;
    if (f == 2) {
        real(fd, data, size / 2, offset);
        _exit(137);
    }
    ssize_t r = real(fd, data, size, offset);
    int kept = errno;
    if (r > 0) note("write", path, NULL, offset, data, r);
    errno = kept;
    return r;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    REAL(pwrite);
    return put(fd, data, size, offset, real);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    REAL(pwrite64);
    return put(fd, data, size, offset, real);
}

static ssize_t write_at_end(int fd, const void *data, size_t size, off_t offset)
{
    (void)offset;
    return syscall(SYS_write, fd, data, size);
}

ssize_t write(int fd, const void *data, size_t size)
{
    if (!root[0]) return syscall(SYS_write, fd, data, size);
    return put(fd, data, size, lseek(fd, 0, SEEK_CUR), write_at_end);
}

static int opened(const char *path, int flags, mode_t m, int (*real)(const char *, int, ...))
{
    if (!within(path) || !(flags & (O_CREAT | O_TRUNC))) return real(path, flags, m);
    if (access(path, F_OK) == 0 && !(flags & O_TRUNC)) return real(path, flags, m);
    CHANGE("create", path, NULL, real(path, flags, m));
}

#define MODE(flags) \
    mode_t m = 0; \
    if ((flags) & O_CREAT) { \
        va_list v; \
        va_start(v, flags); \
        m = va_arg(v, mode_t); \
        va_end(v); \
    }

int open(const char *path, int flags, ...)
{
    MODE(flags);
    REAL(open);
    return opened(path, flags, m, real);
}

int open64(const char *path, int flags, ...)
{
    MODE(flags);
    REAL(open64);
    return opened(path, flags, m, real);
}

/* The same by the descriptor of a folder. */

static const char *joined(int folder, const char *name, char *path)
{
    if (!root[0] || folder == AT_FDCWD || name[0] == '/') return name;
    if (!path_of(folder, path)) return name;
    size_t n = strlen(path);
    snprintf(path + n, PATH_MAX - n, "/%s", name);
    return path;
}

int renameat(int from, const char *a, int to, const char *b)
{
    REAL(renameat);
    char path[PATH_MAX], path2[PATH_MAX];
    const char *old = joined(from, a, path), *new = joined(to, b, path2);
    CHANGE("rename", old, new, real(from, a, to, b));
}

int linkat(int from, const char *a, int to, const char *b, int flags)
{
    REAL(linkat);
    char path[PATH_MAX], path2[PATH_MAX];
    const char *old = joined(from, a, path), *new = joined(to, b, path2);
    CHANGE("link", old, new, real(from, a, to, b, flags));
}

int unlinkat(int folder, const char *name, int flags)
{
    REAL(unlinkat);
    char path[PATH_MAX];
    const char *gone = joined(folder, name, path);
    CHANGE(flags & AT_REMOVEDIR ? "rmdir" : "unlink", gone, NULL, real(folder, name, flags));
}

static int opened_at(int folder, const char *name, int flags, mode_t m,
                     int (*real)(int, const char *, int, ...))
{
    char path[PATH_MAX];
    const char *full = joined(folder, name, path);
    if (!within(full) || !(flags & (O_CREAT | O_TRUNC))) return real(folder, name, flags, m);
    if (access(full, F_OK) == 0 && !(flags & O_TRUNC)) return real(folder, name, flags, m);
    CHANGE("create", full, NULL, real(folder, name, flags, m));
}

int openat(int folder, const char *name, int flags, ...)
{
    MODE(flags);
    REAL(openat);
    return opened_at(folder, name, flags, m, real);
}

int openat64(int folder, const char *name, int flags, ...)
{
    MODE(flags);
    REAL(openat64);
    return opened_at(folder, name, flags, m, real);
}
