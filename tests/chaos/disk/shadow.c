/* A disk that forgets. Preloaded into a process, it keeps beside a directory the image that a loss of power would leave:
 * of a file what its last fsync or fdatasync saw, of a directory the names that its last fsync saw. `disk.py` kills the
 * process and puts that image in the directory's place.
 *
 *     cc -shared -fPIC -O2 -o shadow.so shadow.c -ldl
 *     CHAOS_DISK=/data CHAOS_SHADOW=/shadow LD_PRELOAD=./shadow.so PROGRAM
 *
 * Nothing but the syncs is intercepted: what there is to keep is read from the file then, block by block where it differs.
 * So programs that write by system calls of their own are seen too; a sync by a system call of its own, or syncfs, is not.
 * A process killed in the middle of a sync leaves some of its blocks, as a disk would.
 *
 * The first page of the file `control` in the shadow is shared memory: see struct control. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK (1 << 16)
#define LOCKS 64

struct control {
    _Atomic int32_t delay_ms;     /* of each sync from now on */
    _Atomic int32_t fail_errno;   /* with which syncs fail, */
    _Atomic int32_t fail_count;   /* so many of them */
    _Atomic int32_t failed;       /* syncs that did fail */
    _Atomic int64_t syncs;        /* of files and directories */
    _Atomic int64_t bytes;        /* that syncs made durable */
};

static int (*real_fsync)(int), (*real_fdatasync)(int);
static char root[PATH_MAX], shadow[PATH_MAX];
static struct control *control;
static pthread_mutex_t locks[LOCKS];

static void fatal(const char *what) {
    fprintf(stderr, "shadow: %s: %s\n", what, strerror(errno));
    abort(); /* A disk that does not do what it is told proves nothing. */
}

__attribute__((constructor)) static void start(void) {
    const char *disk = getenv("CHAOS_DISK"), *beside = getenv("CHAOS_SHADOW");
    char path[PATH_MAX + 16];
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (!disk || !beside) return;
    if (!realpath(disk, root) || !realpath(beside, shadow)) fatal("CHAOS_DISK and CHAOS_SHADOW");
    for (int i = 0; i < LOCKS; i++) pthread_mutex_init(&locks[i], NULL);
    snprintf(path, sizeof path, "%s/control", shadow);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || ftruncate(fd, 4096) < 0) fatal(path);
    control = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (control == MAP_FAILED) fatal(path);
    close(fd);
}

/* An inode and when it was born: inode numbers are used again. */
static int identity(int directory, const char *name, char *key, size_t size, struct statx *found) {
    int flags = AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH);
    if (statx(directory, name, flags, STATX_BASIC_STATS | STATX_BTIME, found) < 0) return -1;
    if (!(found->stx_mask & STATX_BTIME)) {
        errno = ENOTSUP;
        fatal("this file system knows no time of birth");
    }
    snprintf(key, size, "%llu-%lld.%09u", (unsigned long long)found->stx_ino, (long long)found->stx_btime.tv_sec,
             found->stx_btime.tv_nsec);
    return 0;
}

static ssize_t read_whole(int fd, char *buffer, size_t size, off_t at) {
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(fd, buffer + done, size - done, at + done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        done += n;
    }
    return done;
}

static void keep_file(int fd, const char *key, off_t length) {
    char path[PATH_MAX + 256], own[64];
    snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
    snprintf(path, sizeof path, "%s/files/%s", shadow, key);
    int from = open(own, O_RDONLY | O_CLOEXEC), to = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    char *now = malloc(BLOCK), *before = malloc(BLOCK);
    if (from < 0 || to < 0 || !now || !before) fatal(path);
    for (off_t at = 0; at < length; at += BLOCK) {
        size_t size = length - at < BLOCK ? length - at : BLOCK;
        ssize_t is = read_whole(from, now, size, at), was = read_whole(to, before, size, at);
        if (is < 0 || was < 0) fatal(path);
        if (is == was && memcmp(now, before, is) == 0) continue;
        if (pwrite(to, now, is, at) != is) fatal(path);
        atomic_fetch_add(&control->bytes, is);
    }
    if (ftruncate(to, length) < 0) fatal(path);
    free(now), free(before), close(from), close(to);
}

static void keep_directory(int fd, const char *key) {
    char path[PATH_MAX + 256], beside[PATH_MAX + 320];
    snprintf(path, sizeof path, "%s/directories/%s", shadow, key);
    snprintf(beside, sizeof beside, "%s.%d", path, gettid());
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *names = own < 0 ? NULL : fdopendir(own);
    FILE *list = fopen(beside, "we");
    if (!names || !list) fatal(path);
    for (struct dirent *entry; (entry = readdir(names));) {
        struct statx found;
        char child[96];
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (identity(dirfd(names), entry->d_name, child, sizeof child, &found) < 0) continue; /* just gone */
        fprintf(list, "%c %s %s\n", S_ISDIR(found.stx_mode) ? 'd' : 'f', child, entry->d_name);
    }
    closedir(names);
    if (fclose(list) || rename(beside, path) < 0) fatal(path);
}

static int synced(int fd, int (*real)(int)) {
    char own[64], path[PATH_MAX], key[96];
    struct statx found;
    size_t length = strlen(root);
    snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
    ssize_t n = control ? readlink(own, path, sizeof path - 1) : -1;
    if (n < 0) return real(fd);
    path[n] = 0;
    if (strncmp(path, root, length) || (path[length] && path[length] != '/')) return real(fd);
    int delay = atomic_load(&control->delay_ms);
    if (delay > 0) {
        struct timespec pause = {delay / 1000, delay % 1000 * 1000000L};
        nanosleep(&pause, NULL);
    }
    if (atomic_load(&control->fail_count) > 0 && atomic_fetch_sub(&control->fail_count, 1) > 0) {
        atomic_fetch_add(&control->failed, 1);
        errno = atomic_load(&control->fail_errno);
        return -1;
    }
    if (identity(fd, "", key, sizeof key, &found) < 0) fatal(path);
    pthread_mutex_t *lock = &locks[found.stx_ino % LOCKS];
    pthread_mutex_lock(lock);
    if (S_ISDIR(found.stx_mode)) keep_directory(fd, key);
    else if (S_ISREG(found.stx_mode)) {
        /* The length again, under the lock: a concurrent sync may have seen a longer file. */
        if (identity(fd, "", key, sizeof key, &found) < 0) fatal(path);
        keep_file(fd, key, found.stx_size);
    }
    pthread_mutex_unlock(lock);
    atomic_fetch_add(&control->syncs, 1);
    return real(fd);
}

int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }
