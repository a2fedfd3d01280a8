/* A preloaded library that makes the disk under a process sick, when a test says so: below SICK_DISK_DIR calls fail
 * with the errors that the test puts into the file SICK_DISK_CONTROL, which it maps as well and may change at any
 * time, or take longer. All zero: the disk is well.
 *
 * Not modelled: reads through buffered streams (RocksDB reads logs so, at the start only) and mapped files.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* Error numbers; 0: none. Mirrored in src/sick_disk.rs. */
struct control {
    volatile int32_t write;  /* of write, pwrite and writev */
    volatile int32_t sync;   /* of fsync and fdatasync */
    volatile int32_t read;   /* of pread */
    volatile int32_t shorten; /* not an error: every write takes half of its bytes, at least one */
    volatile int32_t slow;    /* not an error: every sync takes so many microseconds longer */
};

static struct control *control;
static char directory[PATH_MAX];

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pread)(int, void *, size_t, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

static void die(const char *what) {
    fprintf(stderr, "sick_disk: %s: %s\n", what, strerror(errno));
    abort();
}

__attribute__((constructor)) static void start(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_pread = dlsym(RTLD_NEXT, "pread");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    const char *dir = getenv("SICK_DISK_DIR"), *path = getenv("SICK_DISK_CONTROL");
    if (!dir || !path) return;
    if (!realpath(dir, directory)) die("SICK_DISK_DIR");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) die("SICK_DISK_CONTROL");
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) die("mmap");
    close(fd);
    control = mapped;
}

/* Whether an open file is a regular one on the sick disk. */
static int on_disk(int fd) {
    char link[64], path[PATH_MAX];
    struct stat status;
    if (fstat(fd, &status) != 0 || (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    size_t prefix = strlen(directory);
    return strncmp(path, directory, prefix) == 0 && (path[prefix] == '/' || path[prefix] == 0);
}

/* The error of an operation on a file; 0: none. */
static int error_of(int number, int fd) { return control && number && on_disk(fd) ? number : 0; }

static size_t shortened(int fd, size_t length) {
    return control && control->shorten && length > 1 && on_disk(fd) ? length / 2 : length;
}

#define FAIL_WITH(number)            \
    do {                             \
        int error = (number);        \
        if (error) {                 \
            errno = error;           \
            return -1;               \
        }                            \
    } while (0)

ssize_t write(int fd, const void *bytes, size_t length) {
    if (control) FAIL_WITH(error_of(control->write, fd));
    return real_write(fd, bytes, shortened(fd, length));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (control) FAIL_WITH(error_of(control->write, fd));
    return real_writev(fd, parts, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    if (control) FAIL_WITH(error_of(control->write, fd));
    return real_pwrite(fd, bytes, shortened(fd, length), offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) { return pwrite(fd, bytes, length, offset); }

ssize_t pread(int fd, void *bytes, size_t length, off_t offset) {
    if (control) FAIL_WITH(error_of(control->read, fd));
    return real_pread(fd, bytes, length, offset);
}

ssize_t pread64(int fd, void *bytes, size_t length, off_t offset) { return pread(fd, bytes, length, offset); }

static void linger(int fd) {
    int micros = control ? control->slow : 0;
    if (micros > 0 && on_disk(fd)) usleep(micros);
}

int fsync(int fd) {
    if (control) FAIL_WITH(error_of(control->sync, fd));
    linger(fd);
    return real_fsync(fd);
}

int fdatasync(int fd) {
    if (control) FAIL_WITH(error_of(control->sync, fd));
    linger(fd);
    return real_fdatasync(fd);
}
