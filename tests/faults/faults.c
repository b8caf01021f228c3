/* Faults of the disk and the system for a running process: load with LD_PRELOAD, switch by a shared file.
 *
 * MIEN_FAULTS_CONTROL names a file of RULES_MAX rules (struct rule below, `library.py` writes them), mapped by every
 * process that inherits the variable. Before each call that is listed in enum call the rules are looked at in order;
 * the first one that matches decides. Without a rule that is on a call costs one comparison more.
 *
 * MIEN_FAULTS_MIRROR names a folder in which the files "rows.vec" and "data.mdb" are kept as a disk would have them
 * after a loss of power: a block gets there when it was written and then synced with success. After a sync that fails
 * its blocks count as clean, as they do in Linux: only if they are written again does a later sync take them over.
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

enum call { WRITE, SYNC, TRUNCATE, OPEN, RENAME, LINK, MAKE_FOLDER, MAP, READ };

enum { RULES_MAX = 8, RULE_PATH_BYTES = 128, MIRRORS_MAX = 64, BLOCK_BYTES = 4096 };

/* What a failing call does all the same: see `Effect` in library.py. */
enum effect { NOTHING = 0, DONE = 1, DURABLE = 2, TORN = 3 };

struct rule {
    int32_t is_on;
    uint32_t calls;      /* bits 1 << enum call */
    int32_t error;       /* 0: the call is counted and goes on */
    int32_t effect;      /* of a write or sync that fails */
    int64_t short_bytes; /* write no more than that, with success; -1: as asked */
    int64_t offset_end;  /* writes and reads that begin below it; -1: all */
    int64_t skip_left;   /* calls that still pass */
    int64_t times_left;  /* calls that are hit; -1: all */
    int64_t hit_count;
    char path[RULE_PATH_BYTES]; /* part of the path, or of either path */
};

static struct rule *rules;
static const char *mirror_folder;

#define REAL(name)                                                     \
    static __typeof__(name) *real;                                     \
    if (real == NULL)                                                  \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("MIEN_FAULTS_CONTROL");
    mirror_folder = getenv("MIEN_FAULTS_MIRROR");
    if (path == NULL)
        return;
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0)
        return;
    void *mapped = mmap(NULL, RULES_MAX * sizeof(struct rule), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (mapped != MAP_FAILED)
        rules = mapped;
}

/* Not to be failed by a rule. */
static ssize_t plain_pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
    REAL(pwrite);
    return real(descriptor, bytes, count, offset);
}

static ssize_t plain_pread(int descriptor, void *bytes, size_t count, off_t offset) {
    REAL(pread);
    return real(descriptor, bytes, count, offset);
}

static int plain_ftruncate(int descriptor, off_t length) {
    REAL(ftruncate);
    return real(descriptor, length);
}

static int path_of(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0;
}

static int may_match(enum call call) {
    if (rules != NULL)
        for (int number = 0; number < RULES_MAX; number++)
            if (__atomic_load_n(&rules[number].is_on, __ATOMIC_ACQUIRE) && rules[number].calls & 1u << call)
                return 1;
    return 0;
}

/* The rule that decides about a call, counted; NULL: none does. `offset` is -1 where there is none. */
static struct rule *match(enum call call, const char *path, const char *other, int64_t offset) {
    if (rules == NULL)
        return NULL;
    for (int number = 0; number < RULES_MAX; number++) {
        struct rule *rule = &rules[number];
        if (!__atomic_load_n(&rule->is_on, __ATOMIC_ACQUIRE) || !(rule->calls & 1u << call))
            continue;
        if (strstr(path, rule->path) == NULL && (other == NULL || strstr(other, rule->path) == NULL))
            continue;
        if (rule->offset_end >= 0 && offset >= rule->offset_end)
            continue;
        if (__atomic_load_n(&rule->skip_left, __ATOMIC_RELAXED) > 0 &&
            __atomic_fetch_sub(&rule->skip_left, 1, __ATOMIC_RELAXED) > 0)
            continue;
        if (rule->times_left >= 0 && __atomic_fetch_sub(&rule->times_left, 1, __ATOMIC_RELAXED) <= 0) {
            __atomic_store_n(&rule->times_left, 0, __ATOMIC_RELAXED);
            continue;
        }
        __atomic_fetch_add(&rule->hit_count, 1, __ATOMIC_RELAXED);
        return rule;
    }
    return NULL;
}

static struct rule *match_descriptor(enum call call, int descriptor, int64_t offset) {
    char path[PATH_MAX];
    int saved = errno;
    struct rule *rule = may_match(call) && path_of(descriptor, path) ? match(call, path, NULL, offset) : NULL;
    errno = saved;
    return rule;
}

static struct rule *match_path(enum call call, const char *path, const char *other) {
    return may_match(call) ? match(call, path, other, -1) : NULL;
}

#define FAIL(rule, value)               \
    do {                                \
        if (rule != NULL && rule->error) { \
            errno = rule->error;        \
            return value;               \
        }                               \
    } while (0)

/* --- The disk as it would be after a loss of power ------------------------------------------------------------- */

struct mirror {
    char path[PATH_MAX];
    unsigned char *dirty; /* a byte for each block */
    size_t block_count;
};

static struct mirror mirrors[MIRRORS_MAX];
static int mirror_count;
static pthread_mutex_t mirror_lock = PTHREAD_MUTEX_INITIALIZER;

static int ends_with(const char *text, const char *end) {
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

static struct mirror *mirror_of(int descriptor) {
    char path[PATH_MAX];
    if (mirror_folder == NULL || !path_of(descriptor, path))
        return NULL;
    if (!ends_with(path, "/rows.vec") && !ends_with(path, "/data.mdb"))
        return NULL;
    for (int number = 0; number < mirror_count; number++)
        if (strcmp(mirrors[number].path, path) == 0)
            return &mirrors[number];
    if (mirror_count == MIRRORS_MAX)
        abort();
    strcpy(mirrors[mirror_count].path, path);
    return &mirrors[mirror_count++];
}

static void mirror_soil(struct mirror *mirror, int64_t offset, int64_t count, unsigned char is_dirty) {
    size_t end = (size_t)((offset + count + BLOCK_BYTES - 1) / BLOCK_BYTES);
    if (count <= 0)
        return;
    if (end > mirror->block_count) {
        mirror->dirty = realloc(mirror->dirty, end * 2);
        memset(mirror->dirty + mirror->block_count, 0, end * 2 - mirror->block_count);
        mirror->block_count = end * 2;
    }
    memset(mirror->dirty + offset / BLOCK_BYTES, is_dirty, end - (size_t)(offset / BLOCK_BYTES));
}

/* Take over the dirty blocks of [offset, offset + count), or forget that they are dirty as the failed `rule` has it. */
static void mirror_sync(struct mirror *mirror, int descriptor, int64_t offset, int64_t count, const struct rule *rule) {
    char path[PATH_MAX * 2], source_path[64], block[BLOCK_BYTES];
    struct stat status;
    size_t first = (size_t)(offset / BLOCK_BYTES), end = mirror->block_count;
    if (count >= 0 && (size_t)((offset + count + BLOCK_BYTES - 1) / BLOCK_BYTES) < end)
        end = (size_t)((offset + count + BLOCK_BYTES - 1) / BLOCK_BYTES);
    int is_torn = rule != NULL && rule->error && rule->effect == TORN;
    if (rule != NULL && rule->error && rule->effect < DURABLE) {
        if (first < end)
            memset(mirror->dirty + first, 0, end - first);
        return;
    }
    snprintf(path, sizeof path, "%s/", mirror_folder);
    size_t length = strlen(path);
    snprintf(path + length, sizeof path - length, "%s", mirror->path);
    for (char *letter = path + length; *letter; letter++)
        if (*letter == '/')
            *letter = '%';
    int target = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    /* The caller's descriptor may be for writing only. */
    snprintf(source_path, sizeof source_path, "/proc/self/fd/%d", descriptor);
    int source = open(source_path, O_RDONLY | O_CLOEXEC);
    if (target < 0 || source < 0 || fstat(source, &status) != 0)
        abort();
    for (size_t number = first; number < end; number++) {
        if (!mirror->dirty[number])
            continue;
        ssize_t found = plain_pread(source, block, sizeof block, (off_t)number * BLOCK_BYTES);
        if (is_torn)
            memset(block + sizeof block / 8, 0xFF, sizeof block - sizeof block / 8);
        if (found > 0 && plain_pwrite(target, block, (size_t)found, (off_t)number * BLOCK_BYTES) != found)
            abort();
        mirror->dirty[number] = 0;
    }
    if (plain_ftruncate(target, status.st_size) != 0)
        abort();
    close(source);
    close(target);
}

/* `count` bytes at `offset` were written through this descriptor, and the caller hears so unless `rule` fails it. */
static void note_write(int descriptor, int64_t offset, int64_t count, const struct rule *rule) {
    if (mirror_folder == NULL || count <= 0)
        return;
    int saved = errno;
    pthread_mutex_lock(&mirror_lock);
    struct mirror *mirror = mirror_of(descriptor);
    if (mirror != NULL) {
        mirror_soil(mirror, offset, count, 1);
        if (fcntl(descriptor, F_GETFL) & O_DSYNC)
            mirror_sync(mirror, descriptor, offset, count, rule);
    }
    pthread_mutex_unlock(&mirror_lock);
    errno = saved;
}

static void note_sync(int descriptor, const struct rule *rule) {
    if (mirror_folder == NULL)
        return;
    int saved = errno;
    pthread_mutex_lock(&mirror_lock);
    struct mirror *mirror = mirror_of(descriptor);
    if (mirror != NULL)
        mirror_sync(mirror, descriptor, 0, -1, rule);
    pthread_mutex_unlock(&mirror_lock);
    errno = saved;
}

/* --- Calls ----------------------------------------------------------------------------------------------------- */

static size_t shortened(const struct rule *rule, size_t count) {
    int is_short = rule != NULL && !rule->error && rule->short_bytes >= 0 && (size_t)rule->short_bytes < count;
    return is_short ? (size_t)rule->short_bytes : count;
}

static int is_skipped(const struct rule *rule) { return rule != NULL && rule->error && rule->effect == NOTHING; }

static ssize_t written_at(int descriptor, const void *bytes, size_t count, off_t offset,
                          ssize_t (*real)(int, const void *, size_t, off_t)) {
    struct rule *rule = match_descriptor(WRITE, descriptor, offset);
    if (is_skipped(rule))
        FAIL(rule, -1);
    ssize_t written = real(descriptor, bytes, shortened(rule, count), offset);
    note_write(descriptor, offset, written, rule);
    FAIL(rule, -1);
    return written;
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
    REAL(pwrite);
    return written_at(descriptor, bytes, count, offset, real);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset) {
    REAL(pwrite64);
    return written_at(descriptor, bytes, count, offset, real);
}

ssize_t write(int descriptor, const void *bytes, size_t count) {
    REAL(write);
    off_t offset = lseek(descriptor, 0, SEEK_CUR);
    struct rule *rule = match_descriptor(WRITE, descriptor, offset);
    if (is_skipped(rule))
        FAIL(rule, -1);
    ssize_t written = real(descriptor, bytes, shortened(rule, count));
    if (offset >= 0)
        note_write(descriptor, offset, written, rule);
    FAIL(rule, -1);
    return written;
}

ssize_t writev(int descriptor, const struct iovec *parts, int part_count) {
    REAL(writev);
    off_t offset = lseek(descriptor, 0, SEEK_CUR);
    struct rule *rule = match_descriptor(WRITE, descriptor, offset);
    if (is_skipped(rule))
        FAIL(rule, -1);
    ssize_t written;
    if (rule != NULL && rule->short_bytes >= 0) {
        REAL(write);
        written = real(descriptor, parts[0].iov_base, shortened(rule, parts[0].iov_len));
    } else
        written = real(descriptor, parts, part_count);
    if (offset >= 0)
        note_write(descriptor, offset, written, rule);
    FAIL(rule, -1);
    return written;
}

ssize_t pwritev(int descriptor, const struct iovec *parts, int part_count, off_t offset) {
    REAL(pwritev);
    struct rule *rule = match_descriptor(WRITE, descriptor, offset);
    if (is_skipped(rule))
        FAIL(rule, -1);
    ssize_t written = real(descriptor, parts, part_count, offset);
    note_write(descriptor, offset, written, rule);
    FAIL(rule, -1);
    return written;
}

/* The standard library's streams call the system by other names. */
size_t fwrite(const void *bytes, size_t size, size_t count, FILE *stream) {
    REAL(fwrite);
    struct rule *rule = match_descriptor(WRITE, fileno(stream), -1);
    FAIL(rule, 0);
    return real(bytes, size, count, stream);
}

int fsync(int descriptor) {
    REAL(fsync);
    struct rule *rule = match_descriptor(SYNC, descriptor, -1);
    int result = is_skipped(rule) ? 0 : real(descriptor);
    note_sync(descriptor, rule);
    FAIL(rule, -1);
    return result;
}

int fdatasync(int descriptor) {
    REAL(fdatasync);
    struct rule *rule = match_descriptor(SYNC, descriptor, -1);
    int result = is_skipped(rule) ? 0 : real(descriptor);
    note_sync(descriptor, rule);
    FAIL(rule, -1);
    return result;
}

int ftruncate(int descriptor, off_t length) {
    REAL(ftruncate);
    FAIL(match_descriptor(TRUNCATE, descriptor, -1), -1);
    return real(descriptor, length);
}

int ftruncate64(int descriptor, off64_t length) {
    REAL(ftruncate64);
    FAIL(match_descriptor(TRUNCATE, descriptor, -1), -1);
    return real(descriptor, length);
}

ssize_t pread(int descriptor, void *bytes, size_t count, off_t offset) {
    REAL(pread);
    FAIL(match_descriptor(READ, descriptor, offset), -1);
    return real(descriptor, bytes, count, offset);
}

ssize_t pread64(int descriptor, void *bytes, size_t count, off64_t offset) {
    REAL(pread64);
    FAIL(match_descriptor(READ, descriptor, offset), -1);
    return real(descriptor, bytes, count, offset);
}

ssize_t preadv(int descriptor, const struct iovec *parts, int part_count, off_t offset) {
    REAL(preadv);
    FAIL(match_descriptor(READ, descriptor, offset), -1);
    return real(descriptor, parts, part_count, offset);
}

ssize_t preadv64(int descriptor, const struct iovec *parts, int part_count, off64_t offset) {
    REAL(preadv64);
    FAIL(match_descriptor(READ, descriptor, offset), -1);
    return real(descriptor, parts, part_count, offset);
}

ssize_t preadv2(int descriptor, const struct iovec *parts, int part_count, off_t offset, int flags) {
    REAL(preadv2);
    FAIL(match_descriptor(READ, descriptor, offset), -1);
    return real(descriptor, parts, part_count, offset, flags);
}

ssize_t preadv64v2(int descriptor, const struct iovec *parts, int part_count, off64_t offset, int flags) {
    REAL(preadv64v2);
    FAIL(match_descriptor(READ, descriptor, offset), -1);
    return real(descriptor, parts, part_count, offset, flags);
}

static mode_t mode_of(int flags, va_list arguments) {
    return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(arguments, int) : 0;
}

#define OPENING(name)                                        \
    int name(const char *path, int flags, ...) {             \
        REAL(name);                                          \
        va_list arguments;                                   \
        va_start(arguments, flags);                          \
        mode_t mode = mode_of(flags, arguments);             \
        va_end(arguments);                                   \
        FAIL(match_path(OPEN, path, NULL), -1);              \
        return real(path, flags, mode);                      \
    }

OPENING(open)
OPENING(open64)

#define OPENING_STREAM(name)                                 \
    FILE *name(const char *path, const char *mode) {         \
        REAL(name);                                          \
        FAIL(match_path(OPEN, path, NULL), NULL);            \
        return real(path, mode);                             \
    }

OPENING_STREAM(fopen)
OPENING_STREAM(fopen64)

int rename(const char *from, const char *to) {
    REAL(rename);
    FAIL(match_path(RENAME, from, to), -1);
    return real(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    REAL(renameat);
    FAIL(match_path(RENAME, from, to), -1);
    return real(from_folder, from, to_folder, to);
}

int link(const char *from, const char *to) {
    REAL(link);
    FAIL(match_path(LINK, from, to), -1);
    return real(from, to);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    REAL(linkat);
    FAIL(match_path(LINK, from, to), -1);
    return real(from_folder, from, to_folder, to, flags);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    FAIL(match_path(MAKE_FOLDER, path, NULL), -1);
    return real(path, mode);
}

void *mmap(void *address, size_t length, int protection, int flags, int descriptor, off_t offset) {
    REAL(mmap);
    if (descriptor >= 0)
        FAIL(match_descriptor(MAP, descriptor, -1), MAP_FAILED);
    return real(address, length, protection, flags, descriptor, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int descriptor, off64_t offset) {
    REAL(mmap64);
    if (descriptor >= 0)
        FAIL(match_descriptor(MAP, descriptor, -1), MAP_FAILED);
    return real(address, length, protection, flags, descriptor, offset);
}
