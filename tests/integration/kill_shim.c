/* LD_PRELOAD: kills the process (SIGKILL) right after the call with number DEFIB_SHIM_KILL_AFTER that changes or syncs a
 * file whose name ends in "-wal", and keeps the count of such calls in the file DEFIB_SHIM_COUNT. Without
 * DEFIB_SHIM_KILL_AFTER it only counts. What the killed process wrote stays in the kernel's page cache, as it does when a
 * program crashes; a power cut is another matter. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long calls;

static int is_wal(int fd) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path);
  return length >= 4 && memcmp(path + length - 4, "-wal", 4) == 0;
}

/* Called once the real call has been made. */
static void count(int fd) {
  if (!is_wal(fd)) return;
  pthread_mutex_lock(&lock);
  const char *file = getenv("DEFIB_SHIM_COUNT"), *kill_after = getenv("DEFIB_SHIM_KILL_AFTER");
  ++calls;
  if (file != NULL) {
    char text[32];
    int length = snprintf(text, sizeof text, "%ld\n", calls);
    int out = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (out >= 0) {
      syscall(SYS_pwrite64, out, text, length, 0);
      close(out);
    }
  }
  if (kill_after != NULL && calls == atol(kill_after)) syscall(SYS_kill, getpid(), SIGKILL);
  pthread_mutex_unlock(&lock);
}

#define WRAP(result_type, name, parameters, arguments)                              \
  result_type name parameters {                                                     \
    static result_type(*real) parameters;                                           \
    if (real == NULL) real = (result_type(*) parameters)dlsym(RTLD_NEXT, #name);    \
    result_type result = real arguments;                                            \
    count(fd);                                                                      \
    return result;                                                                  \
  }

WRAP(ssize_t, write, (int fd, const void *bytes, size_t size), (fd, bytes, size))
WRAP(ssize_t, pwrite, (int fd, const void *bytes, size_t size, off_t at), (fd, bytes, size, at))
WRAP(ssize_t, pwrite64, (int fd, const void *bytes, size_t size, off64_t at), (fd, bytes, size, at))
WRAP(int, ftruncate, (int fd, off_t size), (fd, size))
WRAP(int, ftruncate64, (int fd, off64_t size), (fd, size))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, fdatasync, (int fd), (fd))
