/* A wall clock that jumps. Preloaded into a process, it adds an offset to what the process is told of the time of day; the
 * monotonic clocks stay as they are.
 *
 *     cc -shared -fPIC -O2 -o shift.so shift.c -ldl
 *     CHAOS_CLOCK=/file LD_PRELOAD=./shift.so PROGRAM
 *
 * The first page of that file is shared memory: see struct control. What asks the kernel by a system call of its own, and the
 * kernel itself for the times of files, is not shifted. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct control {
    _Atomic int64_t offset_seconds; /* written by the test */
    _Atomic int64_t readings;       /* that were shifted */
};

static struct control *control;

static int (*real_clock_gettime(void))(clockid_t, struct timespec *) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return real;
}

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("CHAOS_CLOCK");
    if (!path) return;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    void *page = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, 4096) == 0) page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        fprintf(stderr, "shift: %s: %s\n", path, strerror(errno));
        abort(); /* A clock that does not do what it is told proves nothing. */
    }
    close(fd);
    control = page;
}

static int64_t offset_seconds(void) {
    int64_t offset = control ? atomic_load(&control->offset_seconds) : 0;
    if (offset) atomic_fetch_add(&control->readings, 1);
    return offset;
}

int clock_gettime(clockid_t clock, struct timespec *found) {
    int code = real_clock_gettime()(clock, found);
    if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) found->tv_sec += offset_seconds();
    return code;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) < 0) return -1;
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *found) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) < 0) return -1;
    if (found) *found = now.tv_sec;
    return now.tv_sec;
}
