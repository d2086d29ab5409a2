/* Faults below SQLite: a library for LD_PRELOAD that stands between SQLite and the system.
 *
 * The directory $LEDGER_FAULTS holds a file for each kind of call (sync, write, read). Its content
 * is the fault of the calls on the files of the ledger; without a file, the calls work.
 *
 *   hang    the call waits until the file is gone or has another content
 *   late    the call waits for 0.5 s, and then fails with EIO
 *   full    the call fails with ENOSPC
 *   short   the call writes only half of the bytes
 *   broken  the call fails with EIO
 *
 * The file $LEDGER_FAULTS/clock holds the seconds by which the system's clock is wrong.
 *
 * If the directory $LEDGER_FAULTS/synced exists, each file is copied there when it was synced. The
 * copies are what a power cut would leave, if nothing else reached the disk.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static int is_of_ledger(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, "/ledger.sqlite3") != NULL;
}

static void fault_of(const char *kind, char *fault, size_t size) {
    char file[4096];
    const char *directory = getenv("LEDGER_FAULTS");
    fault[0] = 0;
    if (!directory) return;
    snprintf(file, sizeof file, "%s/%s", directory, kind);
    FILE *found = fopen(file, "r");
    if (!found) return;
    if (!fgets(fault, size, found)) fault[0] = 0;
    fclose(found);
}

/* Return 0 if the call works, 1 if it must be short, and -1 with errno if it fails. */
static int meet_fault(const char *kind, int fd) {
    char path[4096], fault[32];
    if (!is_of_ledger(fd, path, sizeof path)) return 0;
    fault_of(kind, fault, sizeof fault);
    while (!strcmp(fault, "hang")) {
        usleep(5000);
        fault_of(kind, fault, sizeof fault);
    }
    if (!strcmp(fault, "short")) return 1;
    if (!strcmp(fault, "late")) usleep(500000);
    errno = !strcmp(fault, "full") ? ENOSPC : EIO;
    return fault[0] ? -1 : 0;
}

static void keep_synced(int fd) {
    char path[4096], copy[8192], part[8300], buffer[65536];
    const char *directory = getenv("LEDGER_FAULTS");
    if (!directory || !is_of_ledger(fd, path, sizeof path)) return;
    ssize_t (*real_pread)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, "pread64");
    snprintf(copy, sizeof copy, "%s/synced%s", directory, strrchr(path, '/'));
    snprintf(part, sizeof part, "%s.part", copy);
    int target = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (target < 0) return;
    ssize_t length;
    for (off_t at = 0; (length = real_pread(fd, buffer, sizeof buffer, at)) > 0; at += length)
        if (write(target, buffer, length) != length) abort();
    close(target);
    rename(part, copy);
}

#define SYNC(name)                                            \
    int name(int fd) {                                        \
        int (*real)(int) = dlsym(RTLD_NEXT, #name);           \
        if (meet_fault("sync", fd)) return -1;                \
        int result = real(fd);                                \
        if (!result) keep_synced(fd);                         \
        return result;                                        \
    }

#define WRITE(name)                                                                     \
    ssize_t name(int fd, const void *bytes, size_t size, off_t at) {                    \
        ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, #name);    \
        int met = meet_fault("write", fd);                                              \
        if (met < 0) return -1;                                                         \
        return real(fd, bytes, met ? size / 2 : size, at);                              \
    }

#define READ(name)                                                                \
    ssize_t name(int fd, void *bytes, size_t size, off_t at) {                    \
        ssize_t (*real)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, #name);    \
        if (meet_fault("read", fd)) return -1;                                    \
        return real(fd, bytes, size, at);                                         \
    }

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    static time_t looked_at;
    static long wrong_by;
    char seconds[32];
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (clock != CLOCK_REALTIME || result) return result;
    if (now->tv_sec != looked_at) {
        looked_at = now->tv_sec;
        fault_of("clock", seconds, sizeof seconds);
        wrong_by = atol(seconds);
    }
    now->tv_sec += wrong_by;
    return result;
}

/* SQLite syncs the directory after it has removed a journal. */
int unlink(const char *path) {
    char copy[8192];
    int (*real)(const char *) = dlsym(RTLD_NEXT, "unlink");
    const char *directory = getenv("LEDGER_FAULTS");
    int result = real(path);
    if (!result && directory && strstr(path, "/ledger.sqlite3")) {
        snprintf(copy, sizeof copy, "%s/synced%s", directory, strrchr(path, '/'));
        real(copy);
    }
    return result;
}

SYNC(fsync)
SYNC(fdatasync)
WRITE(pwrite)
WRITE(pwrite64)
READ(pread)
READ(pread64)
