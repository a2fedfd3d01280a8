/* A preloaded library that gives a process a machine of its own: a wall clock that the test sets, by the offset in
 * microseconds that it puts into the file MACHINE_CONTROL, which it may change at any time; and an address,
 * MACHINE_ADDRESS, from which its connections to port MACHINE_PORT come, so that whoever accepts them knows whose they
 * are.
 *
 * Only clock_gettime is changed, which is what the database reads. Not gettimeofday and time, which RocksDB reads:
 * the kernel counts the absolute times that it waits for by the clock of the real machine.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Mirrored in src/machine.rs. */
static volatile int64_t *offset;
static struct sockaddr_in own;
static in_port_t port;

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_connect)(int, const struct sockaddr *, socklen_t);

static void die(const char *what) {
    fprintf(stderr, "machine: %s: %s\n", what, strerror(errno));
    abort();
}

__attribute__((constructor)) static void start(void) {
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    real_connect = dlsym(RTLD_NEXT, "connect");
    const char *path = getenv("MACHINE_CONTROL"), *address = getenv("MACHINE_ADDRESS"), *number = getenv("MACHINE_PORT");
    if (!path || !address || !number) return;
    own.sin_family = AF_INET;
    if (inet_pton(AF_INET, address, &own.sin_addr) != 1) die("MACHINE_ADDRESS");
    port = htons(atoi(number));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) die("MACHINE_CONTROL");
    void *mapped = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) die("mmap");
    close(fd);
    offset = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    /* Other libraries may ask before this one has started. */
    int result = real_clock_gettime ? real_clock_gettime(clock, time) : syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t nanos = time->tv_nsec + *offset % 1000000 * 1000;
        int64_t carry = nanos < 0 ? -1 : nanos / 1000000000;
        time->tv_sec += *offset / 1000000 + carry;
        time->tv_nsec = nanos - carry * 1000000000;
    }
    return result;
}

int connect(int fd, const struct sockaddr *address, socklen_t length) {
    const struct sockaddr_in *to = (const struct sockaddr_in *)address;
    if (offset && length >= sizeof *to && address->sa_family == AF_INET && to->sin_port == port) {
        int one = 1;
        /* The kernel takes the port when it connects: one that differs for each of many connections is not needed. */
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&own, sizeof own) != 0 && errno != EINVAL) die("bind");
    }
    return real_connect(fd, address, length);
}
