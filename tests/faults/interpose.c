/* What the service does to one folder, seen and disturbed from outside the program.
 *
 * Preloaded into the unchanged binary. Every call that changes a file or a name below FAULTS_FOLDER is carried out,
 * and then written into FAULTS_LOG, in one total order: `disk.rs` builds from it what a power cut would have left.
 * FAULTS_CONTROL is a file that both sides map: it counts the calls by kind and makes the n-th of a kind fail.
 * Must never change what the program sees, but for the failures that were asked for.
 *
 * A record of the log, little endian:
 *
 *   offset  octets  field
 *   0       4       length of the whole record
 *   4       1       kind, see `enum kind`
 *   5       1       1 when the call succeeded
 *   6       2       zero
 *   8       8       inode
 *   16      8       offset, or length of the file
 *   24      4       octets of the first path
 *   28      4       octets of the second path
 *   32      4       octets of data
 *   36              the paths, relative to the folder, and the data
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { CREATE = 1, WRITE, SET_LENGTH, SYNC, SYNC_FOLDER, RENAME, LINK, UNLINK, MAKE_FOLDER, REMOVE_FOLDER };

/* Kinds of calls that can be made to fail; bits of `control.kinds`. */
enum { KIND_WRITE = 0, KIND_SYNC = 1, KIND_NAME = 2, KIND_REMOVE = 3, KINDS = 4 };

enum { DIE = 0xFFFF };

/* The shared page: all fields 32 bits. */
struct control {
  uint32_t kinds; /* which kinds count and fail */
  uint32_t error; /* errno to fail with; 0: none fails; DIE: the process is killed before the call */
  uint32_t skip;  /* so many pass first */
  uint32_t times; /* so many fail then; UINT32_MAX: all */
  uint32_t tear;  /* a failing write first writes half of its octets */
  uint32_t struck;
  uint32_t counts[KINDS];
  int32_t clock_shift; /* seconds that the wall clock is ahead */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_length;
static int log_fd = -1;
static struct control *control;

__attribute__((constructor)) static void begin(void) {
  const char *watched = getenv("FAULTS_FOLDER"), *log = getenv("FAULTS_LOG"), *shared = getenv("FAULTS_CONTROL");
  if (!watched || strlen(watched) >= sizeof folder) return;
  strcpy(folder, watched);
  folder_length = strlen(folder);
  if (log) {
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  }
  if (shared) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, shared, O_RDWR | O_CLOEXEC, 0);
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) abort();
    control = page;
    syscall(SYS_close, fd);
  }
}

/* What follows the folder in a path; NULL when it lies elsewhere. */
static const char *inside(const char *path) {
  if (strncmp(path, folder, folder_length) || (path[folder_length] && path[folder_length] != '/')) return NULL;
  return path[folder_length] ? path + folder_length + 1 : path + folder_length;
}

/* Path of a name, relative to the folder; NULL when it lies elsewhere. */
static const char *below(int at, const char *name, char *out) {
  if (!folder_length || !name) return NULL;
  if (name[0] == '/' || at == AT_FDCWD) {
    if (name[0] != '/') return NULL; /* the service is given absolute paths */
    if (strlen(name) >= PATH_MAX) return NULL;
    strcpy(out, name);
  } else {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, out, PATH_MAX - 1);
    if (length <= 0 || (size_t)length + strlen(name) + 2 > PATH_MAX) return NULL;
    snprintf(out + length, (size_t)(PATH_MAX - length), "/%s", name);
  }
  return inside(out);
}

/* The same of an open file; also says what it is. */
static const char *below_fd(int fd, char *out, struct stat *info) {
  if (!folder_length || syscall(SYS_fstat, fd, info)) return NULL;
  if (!S_ISREG(info->st_mode) && !S_ISDIR(info->st_mode)) return NULL;
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, out, PATH_MAX - 1);
  if (length <= 0) return NULL;
  out[length] = 0;
  return inside(out);
}

static void put(uint8_t *at, uint64_t value, int octets) {
  for (int i = 0; i < octets; i++) at[i] = (uint8_t)(value >> (8 * i));
}

static void note(enum kind kind, int succeeded, uint64_t inode, uint64_t offset, const char *first, const char *second,
                 const struct iovec *data, int parts, size_t length) {
  if (log_fd < 0) return;
  uint8_t head[36] = {0};
  size_t a = first ? strlen(first) : 0, b = second ? strlen(second) : 0;
  put(head, sizeof head + a + b + length, 4);
  head[4] = (uint8_t)kind;
  head[5] = (uint8_t)succeeded;
  put(head + 8, inode, 8);
  put(head + 16, offset, 8);
  put(head + 24, a, 4);
  put(head + 28, b, 4);
  put(head + 32, length, 4);
  struct iovec out[3 + 16] = {{head, sizeof head}, {(void *)first, a}, {(void *)second, b}};
  int count = 3;
  for (int i = 0; i < parts && length && count < 19; i++) {
    size_t take = data[i].iov_len < length ? data[i].iov_len : length;
    out[count++] = (struct iovec){data[i].iov_base, take};
    length -= take;
  }
  if (syscall(SYS_writev, log_fd, out, count) < 0) abort();
}

/* Counts a call; true when it has to fail, errno set. */
static int strikes(int kind) {
  if (!control) return 0;
  control->counts[kind]++;
  if (!control->error || !(control->kinds & 1u << kind)) return 0;
  if (control->skip) {
    control->skip--;
    return 0;
  }
  if (!control->times) return 0;
  if (control->times != UINT32_MAX) control->times--;
  control->struck++;
  if (control->error == DIE) {
    kill(getpid(), SIGKILL);
    pause();
  }
  errno = (int)control->error;
  return 1;
}

#define LOCKED(type, body)                                                                                             \
  pthread_mutex_lock(&mutex);                                                                                          \
  type result = body;                                                                                                  \
  int kept = errno;                                                                                                    \
  pthread_mutex_unlock(&mutex);                                                                                        \
  errno = kept;                                                                                                        \
  return result

/* Writing. */

/* `offset` < 0: where the file stands, or at its end. */
static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t offset) {
  char path[PATH_MAX];
  struct stat info;
  const char *name = below_fd(fd, path, &info);
  int positioned = offset >= 0;
  size_t length = 0;
  for (int i = 0; i < count; i++) length += parts[i].iov_len;
  struct iovec half;
  if (name && !positioned) {
    int flags = (int)syscall(SYS_fcntl, fd, F_GETFL);
    offset = flags & O_APPEND ? info.st_size : (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
  }
  if (name && strikes(KIND_WRITE)) {
    if (!control->tear || length < 2 || count < 1 || parts[0].iov_len < 2) return -1;
    /* As a kernel does it: what fits is written, and the next call fails. */
    half = (struct iovec){parts[0].iov_base, parts[0].iov_len / 2};
    parts = &half;
    count = 1;
  }
  ssize_t written = positioned ? syscall(SYS_pwritev, fd, parts, count, offset, 0) : syscall(SYS_writev, fd, parts, count);
  if (name && written > 0) note(WRITE, 1, info.st_ino, (uint64_t)offset, NULL, NULL, parts, count, (size_t)written);
  return written;
}

/* Signal handlers write into pipes: those must not wait for the lock. */
static int is_file(int fd) {
  struct stat info;
  return folder_length && !syscall(SYS_fstat, fd, &info) && S_ISREG(info.st_mode);
}

ssize_t write(int fd, const void *data, size_t length) {
  if (!is_file(fd)) return syscall(SYS_write, fd, data, length);
  struct iovec part = {(void *)data, length};
  LOCKED(ssize_t, write_parts(fd, &part, 1, -1));
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (!is_file(fd)) return syscall(SYS_writev, fd, parts, count);
  LOCKED(ssize_t, write_parts(fd, parts, count > 16 ? 16 : count, -1));
}
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
  struct iovec part = {(void *)data, length};
  LOCKED(ssize_t, write_parts(fd, &part, 1, offset));
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }

/* Without these the copies inside the kernel become reads and writes, which are seen. */
ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t length, unsigned flags) {
  (void)in, (void)in_at, (void)out, (void)out_at, (void)length, (void)flags;
  errno = ENOSYS;
  return -1;
}
ssize_t sendfile64(int out, int in, off64_t *at, size_t length) {
  (void)out, (void)in, (void)at, (void)length;
  errno = ENOSYS;
  return -1;
}
ssize_t sendfile(int out, int in, off_t *at, size_t length) { return sendfile64(out, in, at, length); }

static int set_length(int fd, off64_t length) {
  char path[PATH_MAX];
  struct stat info;
  const char *name = below_fd(fd, path, &info);
  if (name && strikes(KIND_WRITE)) return -1;
  int outcome = (int)syscall(SYS_ftruncate, fd, length);
  if (name && !outcome) note(SET_LENGTH, 1, info.st_ino, (uint64_t)length, NULL, NULL, NULL, 0, 0);
  return outcome;
}
int ftruncate64(int fd, off64_t length) { LOCKED(int, set_length(fd, length)); }
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

/* Syncing. */

static int sync_fd(int fd, long call) {
  char path[PATH_MAX];
  struct stat info;
  const char *name = below_fd(fd, path, &info);
  int outcome = name && strikes(KIND_SYNC) ? -1 : (int)syscall(call, fd);
  if (name && S_ISDIR(info.st_mode)) note(SYNC_FOLDER, !outcome, info.st_ino, 0, name, NULL, NULL, 0, 0);
  if (name && S_ISREG(info.st_mode)) note(SYNC, !outcome, info.st_ino, 0, NULL, NULL, NULL, 0, 0);
  return outcome;
}
int fsync(int fd) { LOCKED(int, sync_fd(fd, SYS_fsync)); }
int fdatasync(int fd) { LOCKED(int, sync_fd(fd, SYS_fdatasync)); }

/* Promises nothing (see its manual page), so it is not logged; but it can fail. */
static int sync_range(int fd, off64_t offset, off64_t length, unsigned flags) {
  char path[PATH_MAX];
  struct stat info;
  if (below_fd(fd, path, &info) && strikes(KIND_SYNC)) return -1;
  return (int)syscall(SYS_sync_file_range, fd, offset, length, flags);
}
int sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags) {
  LOCKED(int, sync_range(fd, offset, length, flags));
}

/* The wall clock; the monotonic one goes on as it does. */
int clock_gettime(clockid_t clock, struct timespec *now) {
  int outcome = (int)syscall(SYS_clock_gettime, clock, now);
  if (!outcome && control && clock == CLOCK_REALTIME) now->tv_sec += control->clock_shift;
  return outcome;
}

/* Names. */

static int open_name(int at, const char *name, int flags, mode_t mode) {
  char path[PATH_MAX];
  const char *relative = flags & (O_CREAT | O_TRUNC) ? below(at, name, path) : NULL;
  struct stat before, after;
  int was = relative && !syscall(SYS_newfstatat, at, name, &before, 0);
  if (relative && flags & O_CREAT && !was && strikes(KIND_NAME)) return -1;
  int fd = (int)syscall(SYS_openat, at, name, flags, mode);
  if (!relative || fd < 0 || syscall(SYS_fstat, fd, &after)) return fd;
  if (!was) note(CREATE, 1, after.st_ino, 0, relative, NULL, NULL, 0, 0);
  if (was && flags & O_TRUNC) note(SET_LENGTH, 1, after.st_ino, 0, NULL, NULL, NULL, 0, 0);
  return fd;
}

#define OPEN_MODE                                                                                                      \
  mode_t mode = 0;                                                                                                     \
  if (flags & (O_CREAT | __O_TMPFILE)) {                                                                               \
    va_list rest;                                                                                                      \
    va_start(rest, flags);                                                                                             \
    mode = (mode_t)va_arg(rest, int);                                                                                  \
    va_end(rest);                                                                                                      \
  }
int open(const char *name, int flags, ...) { OPEN_MODE LOCKED(int, open_name(AT_FDCWD, name, flags, mode)); }
int open64(const char *name, int flags, ...) { OPEN_MODE LOCKED(int, open_name(AT_FDCWD, name, flags, mode)); }
int openat(int at, const char *name, int flags, ...) { OPEN_MODE LOCKED(int, open_name(at, name, flags, mode)); }
int openat64(int at, const char *name, int flags, ...) { OPEN_MODE LOCKED(int, open_name(at, name, flags, mode)); }

static int two_names(enum kind kind, int at, const char *from, int to_at, const char *to, int flags) {
  char from_path[PATH_MAX], to_path[PATH_MAX];
  const char *first = below(at, from, from_path), *second = below(to_at, to, to_path);
  int both = first && second;
  if (both && strikes(KIND_NAME)) return -1;
  int outcome = kind == RENAME ? (int)syscall(SYS_renameat2, at, from, to_at, to, 0)
                               : (int)syscall(SYS_linkat, at, from, to_at, to, flags);
  if (both && !outcome) note(kind, 1, 0, 0, first, second, NULL, 0, 0);
  return outcome;
}
int rename(const char *from, const char *to) { LOCKED(int, two_names(RENAME, AT_FDCWD, from, AT_FDCWD, to, 0)); }
int renameat(int a, const char *from, int b, const char *to) { LOCKED(int, two_names(RENAME, a, from, b, to, 0)); }
int link(const char *from, const char *to) { LOCKED(int, two_names(LINK, AT_FDCWD, from, AT_FDCWD, to, 0)); }
int linkat(int a, const char *from, int b, const char *to, int flags) { LOCKED(int, two_names(LINK, a, from, b, to, flags)); }

static int make_folder(int at, const char *name, mode_t mode) {
  char path[PATH_MAX];
  const char *relative = below(at, name, path);
  struct stat there;
  int is_new = syscall(SYS_newfstatat, at, name, &there, 0) != 0;
  if (relative && is_new && strikes(KIND_NAME)) return -1;
  int outcome = (int)syscall(SYS_mkdirat, at, name, mode);
  if (relative && *relative && !outcome) note(MAKE_FOLDER, 1, 0, 0, relative, NULL, NULL, 0, 0);
  return outcome;
}
int mkdir(const char *name, mode_t mode) { LOCKED(int, make_folder(AT_FDCWD, name, mode)); }
int mkdirat(int at, const char *name, mode_t mode) { LOCKED(int, make_folder(at, name, mode)); }

static int remove_name(int at, const char *name, int flags) {
  char path[PATH_MAX];
  const char *relative = below(at, name, path);
  if (relative && strikes(KIND_REMOVE)) return -1;
  int outcome = (int)syscall(SYS_unlinkat, at, name, flags);
  if (relative && !outcome) note(flags & AT_REMOVEDIR ? REMOVE_FOLDER : UNLINK, 1, 0, 0, relative, NULL, NULL, 0, 0);
  return outcome;
}
int unlink(const char *name) { LOCKED(int, remove_name(AT_FDCWD, name, 0)); }
int unlinkat(int at, const char *name, int flags) { LOCKED(int, remove_name(at, name, flags)); }
int rmdir(const char *name) { LOCKED(int, remove_name(AT_FDCWD, name, AT_REMOVEDIR)); }
