/* A preloaded library that remembers what of each file has been synced, so that after a SIGKILL a test can
 * put every file back to what a power cut would have left in the worst case: nothing that was not synced.
 *
 * For each inode under POWER_CUT_DIR it keeps, in a table that the test maps as well (POWER_CUT_TABLE), the
 * length that the last fsync or fdatasync made durable and a generation that each sync raises. A write inside
 * the durable length first saves the old bytes, with the generation, to POWER_CUT_UNDO; the test restores those
 * whose generation is still current, newest first, then cuts each file to its durable length.
 *
 * With POWER_CUT_LIE=1 a sync answers success and is not remembered: the control that a test must catch.
 *
 * Not modelled: renames, links and removals are durable at once; a shrinking ftruncate too.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define ENTRIES 65536u

struct entry {
    uint64_t inode; /* 0: free */
    uint64_t durable;
    uint64_t generation;
};

static struct entry *table;
static int undo = -1;
static int lie;
static char directory[PATH_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off_t);

static void die(const char *what) {
    fprintf(stderr, "power_cut: %s: %s\n", what, strerror(errno));
    abort();
}

__attribute__((constructor)) static void start(void) {
    real_open = dlsym(RTLD_NEXT, "open");
    real_openat = dlsym(RTLD_NEXT, "openat");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate");
    const char *dir = getenv("POWER_CUT_DIR"), *path = getenv("POWER_CUT_TABLE"), *undo_path = getenv("POWER_CUT_UNDO");
    if (!dir || !path || !undo_path) return;
    lie = getenv("POWER_CUT_LIE") != NULL;
    if (!realpath(dir, directory)) die("POWER_CUT_DIR");
    int fd = real_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || real_ftruncate(fd, ENTRIES * sizeof(struct entry)) != 0) die("POWER_CUT_TABLE");
    struct entry *mapped = mmap(NULL, ENTRIES * sizeof(struct entry), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) die("mmap");
    undo = real_open(undo_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (undo < 0) die("POWER_CUT_UNDO");
    table = mapped;
}

/* The entry of an inode, made when there is none; the lock is held. */
static struct entry *entry_of(uint64_t inode, int *made) {
    for (uint32_t step = 0; step < ENTRIES; step++) {
        struct entry *entry = &table[(inode * 0x9e3779b97f4a7c15ull + step) % ENTRIES];
        if (entry->inode == inode) return *made = 0, entry;
        if (entry->inode == 0) return entry->inode = inode, *made = 1, entry;
    }
    errno = ENOSPC;
    die("the table is full");
    return NULL;
}

/* The entry of an open file when it is a regular file that is being watched. */
static struct entry *watched(int fd) {
    struct stat status;
    if (!table || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return NULL;
    for (uint32_t step = 0; step < ENTRIES; step++) {
        struct entry *entry = &table[((uint64_t)status.st_ino * 0x9e3779b97f4a7c15ull + step) % ENTRIES];
        if (entry->inode == status.st_ino) return entry;
        if (entry->inode == 0) return NULL;
    }
    return NULL;
}

/* Watches a file that was opened for writing: new files are durable with length 0, files that were there
 * before this process with the length that they had. */
static void opened(int fd, int flags, int existed) {
    char link[64], path[PATH_MAX];
    struct stat status;
    if (fd < 0 || !table || (flags & O_ACCMODE) == O_RDONLY) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return;
    path[length] = 0;
    size_t prefix = strlen(directory);
    if (strncmp(path, directory, prefix) != 0 || path[prefix] != '/') return;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return;
    pthread_mutex_lock(&lock);
    int made;
    struct entry *entry = entry_of(status.st_ino, &made);
    if (!existed || (flags & O_TRUNC)) {
        /* A new file, maybe on the inode of a removed one. */
        entry->durable = 0;
        entry->generation++;
    } else if (made) {
        entry->durable = status.st_size;
        entry->generation = 1;
    }
    pthread_mutex_unlock(&lock);
}

static int open_watched(int folder, const char *path, int flags, mode_t mode) {
    struct stat status;
    int existed = fstatat(folder, path, &status, 0) == 0;
    int fd = real_openat(folder, path, flags, mode);
    int error = errno;
    opened(fd, flags, existed);
    errno = error;
    return fd;
}

#define MODE_OF(flags)                                   \
    mode_t mode = 0;                                     \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {             \
        va_list arguments;                               \
        va_start(arguments, flags);                      \
        mode = va_arg(arguments, mode_t);                \
        va_end(arguments);                               \
    }

int open(const char *path, int flags, ...) { MODE_OF(flags) return open_watched(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE_OF(flags) return open_watched(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE_OF(flags) return open_watched(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE_OF(flags) return open_watched(folder, path, flags, mode); }
int creat(const char *path, mode_t mode) { return open_watched(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open_watched(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

/* Saves what a write at `offset` is about to replace; the lock is held. */
static void save(int fd, struct entry *entry, off_t offset, size_t length) {
    if (offset < 0 || (uint64_t)offset >= entry->durable) return;
    if (length > entry->durable - (uint64_t)offset) length = entry->durable - (uint64_t)offset;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int reader = real_open(link, O_RDONLY | O_CLOEXEC); /* the file may be open for writing only */
    uint64_t header[4] = {entry->inode, entry->generation, (uint64_t)offset, length};
    char *old = malloc(sizeof header + length);
    if (reader < 0 || !old) die("save");
    memcpy(old, header, sizeof header);
    if (pread(reader, old + sizeof header, length, offset) != (ssize_t)length) die("save: read");
    if (real_write(undo, old, sizeof header + length) != (ssize_t)(sizeof header + length)) die("save: write");
    free(old);
    close(reader);
}

static void before_write(int fd, struct entry *entry, size_t length) {
    if (!(fcntl(fd, F_GETFL) & O_APPEND)) save(fd, entry, lseek(fd, 0, SEEK_CUR), length);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    struct entry *entry = watched(fd);
    if (!entry) return real_write(fd, bytes, length);
    pthread_mutex_lock(&lock);
    before_write(fd, entry, length);
    ssize_t written = real_write(fd, bytes, length);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    struct entry *entry = watched(fd);
    if (!entry) return real_writev(fd, parts, count);
    size_t length = 0;
    for (int index = 0; index < count; index++) length += parts[index].iov_len;
    pthread_mutex_lock(&lock);
    before_write(fd, entry, length);
    ssize_t written = real_writev(fd, parts, count);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    struct entry *entry = watched(fd);
    if (!entry) return real_pwrite(fd, bytes, length, offset);
    pthread_mutex_lock(&lock);
    save(fd, entry, offset, length);
    ssize_t written = real_pwrite(fd, bytes, length, offset);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) { return pwrite(fd, bytes, length, offset); }

/* Remembers what a sync made durable. The length is taken before the sync: what is appended while it runs is
 * not promised. */
static int synced(int fd, int (*real_sync)(int)) {
    struct entry *entry = watched(fd);
    if (!entry) return real_sync(fd);
    if (lie) return 0;
    struct stat status;
    pthread_mutex_lock(&lock);
    int result = fstat(fd, &status);
    pthread_mutex_unlock(&lock);
    if (result == 0) result = real_sync(fd);
    if (result == 0) {
        pthread_mutex_lock(&lock);
        if (entry->durable < (uint64_t)status.st_size) entry->durable = status.st_size;
        entry->generation++;
        pthread_mutex_unlock(&lock);
    }
    return result;
}

int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

int ftruncate(int fd, off_t length) {
    struct entry *entry = watched(fd);
    int result = real_ftruncate(fd, length);
    if (entry && result == 0) {
        pthread_mutex_lock(&lock);
        if (entry->durable > (uint64_t)length) entry->durable = length;
        pthread_mutex_unlock(&lock);
    }
    return result;
}

int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }
