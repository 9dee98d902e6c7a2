/* Fails or kills a process at its n-th operation on one folder.

   Loaded with LD_PRELOAD and armed by faults_arm(), which starts the count at 1.
   Counted is every call that changes the folder or a file in it, or waits for the
   disk: open with O_CREAT, write, pwrite, ftruncate, fallocate, posix_fallocate, fsync,
   fdatasync, rename, unlink, link, symlink. Everything else goes through untouched.

   In the mode POWER nothing survives but what was synced: each page written since the
   last fsync of its file, and each change of a name since the last fsync of the
   folder, is undone with a probability of one half, and then the process is killed. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum mode { COUNT, KILL, TORN, ONCE, STICKY, SHORT, POWER };
enum { PAGE = 4096, PATH = 1024, LONG = PATH + 64, RECORDS = 4096 };

struct write_record {
    dev_t dev; ino_t ino; char path[PATH];
    off_t offset, old_size; size_t length; char *old;
};
struct name_record { char kind; char from[PATH], to[PATH], kept[LONG]; };

static struct {
    char folder[PATH]; enum mode mode; long at, count; int error, log; uint64_t seed;
} faults = { .log = -1 };
static struct write_record written[RECORDS];
static struct name_record named[RECORDS];
static int writes, names, graves;

/* The system calls themselves, which nothing intercepts. */

static ssize_t put(int fd, const void *data, size_t n, off_t at) {
    return at < 0 ? syscall(SYS_write, fd, data, n)
                  : syscall(SYS_pwrite64, fd, data, n, at);
}
static int move(const char *a, const char *b) {
    return syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 0);
}
static int drop(const char *path) {
    return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
static int tie(const char *a, const char *b) {
    return syscall(SYS_linkat, AT_FDCWD, a, AT_FDCWD, b, 0);
}

static void absolute(const char *path, char *out) {
    char here[PATH] = "";
    if (path[0] != '/' && !getcwd(here, sizeof here)) here[0] = 0;
    int n = snprintf(out, PATH, "%s", here);
    snprintf(out + n, PATH - n, "%s%s", n ? "/" : "", path);
}

static int inside(const char *path) {
    size_t n = strlen(faults.folder);
    return n && !strncmp(path, faults.folder, n) && (path[n] == '/' || !path[n]);
}

static int path_of(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH - 1);
    out[n < 0 ? 0 : n] = 0;
    return inside(out);
}

static int coin(void) {
    faults.seed = faults.seed * 6364136223846793005u + 1442695040888963407u;
    return faults.seed >> 63;
}

static void undo_write(const struct write_record *w) {
    int fd = syscall(SYS_openat, AT_FDCWD, w->path, O_RDWR);
    struct stat now;
    if (fd < 0 || fstat(fd, &now)) return;
    if (now.st_dev == w->dev && now.st_ino == w->ino) {
        for (off_t at = w->offset; at < w->offset + (off_t)w->length;) {
            off_t stop = (at / PAGE + 1) * PAGE;
            if (stop > w->offset + (off_t)w->length) stop = w->offset + w->length;
            if (coin()) put(fd, w->old + (at - w->offset), stop - at, at);
            at = stop;
        }
        if (w->offset + (off_t)w->length > w->old_size && coin())
            syscall(SYS_ftruncate, fd, w->old_size);
    }
    close(fd);
}

static void undo_name(const struct name_record *r) {
    if (r->kind == 'c') drop(r->from);
    if (r->kind == 'u' && access(r->from, F_OK)) move(r->kept, r->from);
    if (r->kind == 'r' && access(r->from, F_OK) && !access(r->to, F_OK)) {
        move(r->to, r->from);
        if (r->kept[0]) move(r->kept, r->to);
    }
}

static void power_cut(void) {
    while (writes) undo_write(&written[--writes]);
    while (names) if (coin()) undo_name(&named[--names]); else names--;
}

/* Count an operation: 0 to go on, -1 to fail with errno set, 1 to do half of it. */
static int tick(const char *what, const char *path) {
    char line[LONG];
    if (faults.mode == COUNT && faults.log < 0) return 0;
    faults.count++;
    int n = snprintf(line, sizeof line, "%ld %s %s\n", faults.count, what,
                     path + strlen(faults.folder));
    if (faults.log >= 0) put(faults.log, line, n, -1);
    if (faults.count < faults.at || faults.mode == COUNT) return 0;
    int first = faults.count == faults.at;
    int data = !strcmp(what, "write") || !strcmp(what, "pwrite");
    if (data && first && (faults.mode == TORN || faults.mode == SHORT)) return 1;
    if (faults.mode == POWER) power_cut();
    if (faults.mode == POWER || faults.mode == KILL || faults.mode == TORN)
        raise(SIGKILL);
    if (faults.mode == ONCE && !first) return 0;
    errno = faults.error;
    return -1;
}

static void remember_write(int fd, const char *path, size_t n, off_t at) {
    struct stat now;
    if (faults.mode != POWER || writes == RECORDS || fstat(fd, &now)) return;
    if (at < 0) at = fcntl(fd, F_GETFL) & O_APPEND ? now.st_size
                                                   : lseek(fd, 0, SEEK_CUR);
    struct write_record *w = &written[writes++];
    *w = (struct write_record){ .dev = now.st_dev, .ino = now.st_ino, .offset = at,
                                .old_size = now.st_size, .length = n,
                                .old = calloc(1, n + 1) };
    snprintf(w->path, PATH, "%s", path);
    int again = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);
    if (again >= 0) { if (pread(again, w->old, n, at) < 0) {} close(again); }
}

static void remember_name(char kind, const char *from, const char *to) {
    if (faults.mode != POWER || names == RECORDS) return;
    struct name_record *r = &named[names++];
    r->kind = kind;
    snprintf(r->from, PATH, "%s", from);
    snprintf(r->to, PATH, "%s", to ? to : "");
    r->kept[0] = 0;
    const char *lost = kind == 'u' ? from : kind == 'r' ? to : NULL;
    if (lost) {
        snprintf(r->kept, LONG, "%s.graves/%d", faults.folder, graves++);
        if (tie(lost, r->kept)) r->kept[0] = 0;
    }
}

static void synced(int fd) {
    struct stat now;
    if (faults.mode != POWER || fstat(fd, &now)) return;
    if (S_ISDIR(now.st_mode)) { names = 0; return; }
    int kept = 0;
    for (int i = 0; i < writes; i++)
        if (written[i].dev != now.st_dev || written[i].ino != now.st_ino)
            written[kept++] = written[i];
        else free(written[i].old);
    writes = kept;
}

static ssize_t store(const char *what, int fd, const void *data, size_t n, off_t at) {
    char path[PATH];
    if (!path_of(fd, path)) return put(fd, data, n, at);
    int verdict = tick(what, path);
    if (verdict < 0) return -1;
    remember_write(fd, path, n, at);
    if (verdict == 0) return put(fd, data, n, at);
    ssize_t done = put(fd, data, n > 1 ? n / 2 : n, at);
    if (faults.mode == TORN) raise(SIGKILL);
    return done;
}

ssize_t write(int fd, const void *data, size_t n) {
    return store("write", fd, data, n, -1);
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) {
    return store("pwrite", fd, data, n, at);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    return store("pwrite", fd, data, n, at);
}

/* Syncing: the kernel is not asked, since a killed process leaves its pages there. */

static int sync_of(const char *what, int fd) {
    char path[PATH];
    if (!path_of(fd, path)) return syscall(SYS_fsync, fd);
    if (tick(what, path) < 0) return -1;
    synced(fd);
    return 0;
}
int fsync(int fd) { return sync_of("fsync", fd); }
int fdatasync(int fd) { return sync_of("fdatasync", fd); }

int ftruncate64(int fd, off64_t size) {
    char path[PATH];
    if (path_of(fd, path) && tick("ftruncate", path) < 0) return -1;
    return syscall(SYS_ftruncate, fd, size);
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int fallocate64(int fd, int how, off64_t at, off64_t n) {
    char path[PATH];
    if (path_of(fd, path) && tick("fallocate", path) < 0) return -1;
    return syscall(SYS_fallocate, fd, how, at, n);
}
int fallocate(int fd, int how, off_t at, off_t n) { return fallocate64(fd, how, at, n); }
int posix_fallocate64(int fd, off64_t at, off64_t n) {
    return fallocate64(fd, 0, at, n) ? errno : 0;
}
int posix_fallocate(int fd, off_t at, off_t n) { return posix_fallocate64(fd, at, n); }

int rename(const char *from, const char *to) {
    char a[PATH], b[PATH];
    absolute(from, a);
    absolute(to, b);
    if (inside(b)) {
        if (tick("rename", b) < 0) return -1;
        remember_name('r', a, b);
    }
    return move(from, to);
}
int unlink(const char *name) {
    char path[PATH];
    absolute(name, path);
    if (inside(path) && !faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW)) {
        if (tick("unlink", path) < 0) return -1;
        remember_name('u', path, NULL);
    }
    return drop(name);
}
int link(const char *from, const char *to) {
    char path[PATH];
    absolute(to, path);
    if (inside(path) && tick("link", path) < 0) return -1;
    int result = tie(from, to);
    if (!result && inside(path)) remember_name('c', path, NULL);
    return result;
}
int symlink(const char *text, const char *to) {
    char path[PATH];
    absolute(to, path);
    if (inside(path) && tick("symlink", path) < 0) return -1;
    int result = syscall(SYS_symlinkat, text, AT_FDCWD, to);
    if (!result && inside(path)) remember_name('c', path, NULL);
    return result;
}

static int open_of(int folder, const char *name, int flags, mode_t mode) {
    char path[PATH];
    int made = 0;
    if ((flags & O_CREAT) && folder == AT_FDCWD) {
        absolute(name, path);
        made = inside(path) && faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW);
        if (made && tick("open", path) < 0) return -1;
    }
    int fd = syscall(SYS_openat, folder, name, flags, mode);
    if (fd >= 0 && made) remember_name('c', path, NULL);
    return fd;
}
#define OPEN(folder)                                                                  \
    va_list rest;                                                                     \
    va_start(rest, flags);                                                            \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;           \
    va_end(rest);                                                                     \
    return open_of(folder, name, flags, mode)
int open(const char *name, int flags, ...) { OPEN(AT_FDCWD); }
int open64(const char *name, int flags, ...) { OPEN(AT_FDCWD); }
int openat(int folder, const char *name, int flags, ...) { OPEN(folder); }
int openat64(int folder, const char *name, int flags, ...) { OPEN(folder); }

void faults_arm(const char *folder, int mode, long at, int error, long seed, int log) {
    snprintf(faults.folder, PATH, "%s", folder);
    faults.mode = mode;
    faults.at = at;
    faults.error = error;
    faults.log = log;
    faults.seed = seed;
    faults.count = writes = names = 0;
}
