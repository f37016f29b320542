/* Remembers what a power cut would leave of one folder; see power.py for what this covers.
 *
 *   POWER_ROOT=<folder> POWER_SHADOW=<folder> LD_PRELOAD=<this library> <command>
 *
 * fsync and fdatasync of a file below the root copy its content, as it is at that moment, to <shadow>/objects/<inode>,
 * and answer without troubling the disk. fsync of the root itself writes its names and inodes to <shadow>/names. Nothing
 * else reaches the shadow: at any instant it is what would be there after a cut that takes everything unsynced.
 *
 * POWER_FAIL_EVERY=<n>: every n-th such call fails with EIO, and does what Linux does then: the pages that were dirty
 * count as clean and never reach the disk, although they are still read back, until somebody writes them again.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096
#define MOST_FILES 256
#define MOST_PAGES (1 << 16) /* 256 MB of one file */

struct file {
  dev_t dev;
  ino_t ino;
  unsigned char *lost; /* one byte per page: its last write failed to reach the disk */
};

static struct file files[MOST_FILES];
static int n_files;
static long n_syncs, fail_every;
static const char *root, *shadow;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_fsync)(int), (*real_fdatasync)(int);

static void __attribute__((constructor)) begin(void) {
  const char *every = getenv("POWER_FAIL_EVERY");
  real_pwrite = (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
  real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  root = getenv("POWER_ROOT");
  shadow = getenv("POWER_SHADOW");
  fail_every = every ? atol(every) : 0;
}

static void die(const char *what) {
  fprintf(stderr, "power.c: %s: %s\n", what, strerror(errno));
  abort();
}

/* 0: none of ours; 1: the root; 2: a file below it */
static int kind(int fd, struct stat *found) {
  char link[64], path[PATH_MAX];
  ssize_t n;
  size_t n_root = root ? strlen(root) : 0;
  if (!n_root || !shadow || fstat(fd, found)) return 0;
  if (!S_ISREG(found->st_mode) && !S_ISDIR(found->st_mode)) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  if (strncmp(path, root, n_root)) return 0;
  if (S_ISDIR(found->st_mode)) return path[n_root] == 0;
  return path[n_root] == '/' ? 2 : 0;
}

static struct file *known(int fd, const struct stat *found) {
  char link[64];
  struct file *file;
  for (int i = 0; i < n_files; i++)
    if (files[i].ino == found->st_ino && files[i].dev == found->st_dev) return &files[i];
  if (n_files == MOST_FILES) die("too many files");
  file = &files[n_files++];
  file->dev = found->st_dev;
  file->ino = found->st_ino;
  file->lost = calloc(MOST_PAGES, 1);
  /* Never closed: the inode's number is not given to another file. O_PATH, because closing any other descriptor would
   * give back the locks of SQLite. */
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  if (open(link, O_PATH | O_CLOEXEC) < 0 || !file->lost) die("remember a file");
  return file;
}

static int sync_file(int fd, const struct stat *found, int fails) {
  char path[PATH_MAX], live[PAGE], kept[PAGE];
  int from = fd, to;
  struct file *file = known(fd, found);
  if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY) { /* not one of SQLite's: those may not be closed */
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if ((from = open(path, O_RDONLY | O_CLOEXEC)) < 0) die("read back");
  }
  snprintf(path, sizeof path, "%s/objects/%lu", shadow, (unsigned long)found->st_ino);
  if ((to = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0) die(path);
  for (off_t at = 0; at < found->st_size; at += PAGE) {
    ssize_t n = pread(from, live, PAGE, at), m = pread(to, kept, PAGE, at);
    long page = at / PAGE;
    if (n < 0 || page >= MOST_PAGES) die("read a page");
    if (n == m && !memcmp(live, kept, (size_t)n)) continue;
    if (fails) file->lost[page] = 1;
    else if (!file->lost[page] && real_pwrite(to, live, (size_t)n, at) != n) die("keep a page");
  }
  if (!fails && ftruncate(to, found->st_size)) die("keep the size");
  close(to);
  if (from != fd) close(from);
  return 0;
}

static int sync_names(int fd) {
  char path[PATH_MAX], draft[PATH_MAX];
  struct dirent *entry;
  DIR *folder = opendir(root);
  FILE *names;
  (void)fd;
  snprintf(path, sizeof path, "%s/names", shadow);
  snprintf(draft, sizeof draft, "%s/names.draft", shadow);
  if (!folder || !(names = fopen(draft, "we"))) die("keep the names");
  while ((entry = readdir(folder)))
    if (entry->d_name[0] != '.') fprintf(names, "%lu %s\n", (unsigned long)entry->d_ino, entry->d_name);
  closedir(folder);
  if (fclose(names) || rename(draft, path)) die("keep the names");
  return 0;
}

static int synced(int fd, int (*real)(int)) {
  struct stat found;
  int which = kind(fd, &found), fails, answer = 0;
  if (!which) return real(fd);
  pthread_mutex_lock(&lock);
  n_syncs++;
  fails = fail_every && n_syncs % fail_every == 0;
  if (fstat(fd, &found)) die("stat"); /* it may have grown while another thread was here */
  if (which == 2) answer = sync_file(fd, &found, fails);
  else if (!fails) answer = sync_names(fd);
  pthread_mutex_unlock(&lock);
  if (fails) {
    errno = EIO;
    return -1;
  }
  return answer;
}

int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

ssize_t pwrite64(int fd, const void *from, size_t n, off_t at) {
  struct stat found;
  if (fail_every && n && kind(fd, &found) == 2) {
    pthread_mutex_lock(&lock);
    memset(known(fd, &found)->lost + at / PAGE, 0, (size_t)((at + (off_t)n - 1) / PAGE - at / PAGE + 1));
    pthread_mutex_unlock(&lock);
  }
  return real_pwrite(fd, from, n, at);
}

ssize_t pwrite(int fd, const void *from, size_t n, off_t at) { return pwrite64(fd, from, n, at); }
