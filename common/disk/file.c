/* SPDX-License-Identifier: MIT */
/*
 * Plain files, written so that a crash at any moment leaves the whole old file or the whole new
 * one: a temporary file in the same folder, fsync, rename, fsync of the folder. Tested by
 * test_vault, test_store and test_operation.py.
 */
#include "common/disk/file.h"

#include "common/os/safe_path.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_CHUNK = 4096, SECRET_FILE_MAX = 64 * 1024 };

static int
io_fail(struct cbx_error *error, const char *path, const char *verb)
{
    return cbx_fail(error, CBX_ERR_IO, "%s: cannot %s: %s", path, verb, strerror(errno));
}

static int
write_all(int fd, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t count = write(fd, bytes, length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -1;
        bytes += count;
        length -= (size_t)count;
    }
    return 0;
}

/* Makes a rename in path's folder last. Some file systems cannot sync a folder and say EINVAL. */
static int
sync_folder(const char *path, struct cbx_error *error)
{
    const char *slash = strrchr(path, '/');
    char *folder = !slash          ? strdup(".")
                   : slash == path ? strdup("/")
                                   : strndup(path, (size_t)(slash - path));
    if (!folder)
        return cbx_fail(error, CBX_ERR_NOMEM, "%s: out of memory", path);
    int result = 0;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL))
        result = io_fail(error, folder, "sync the folder");
    if (fd >= 0)
        close(fd);
    free(folder);
    return result;
}

/* Writes temporary (made from its template) completely, closed and synced. Removed on failure. */
static int
write_temporary(char *temporary, const uint8_t *bytes, size_t length, unsigned mode,
                struct cbx_error *error)
{
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return io_fail(error, temporary, "create");
    bool written =
        fchmod(fd, (mode_t)mode) == 0 && write_all(fd, bytes, length) == 0 && fsync(fd) == 0;
    int result = written ? 0 : io_fail(error, temporary, "write");
    int code = errno; /* save_reserved looks at it */
    if (close(fd) != 0 && result == 0) {
        code = errno;
        result = io_fail(error, temporary, "write");
    }
    if (result != 0)
        (void)unlink(temporary);
    errno = code;
    return result;
}

/* replace: rename over what is there; else CBX_ERR_EXISTS when something is there. */
static int
publish(const char *temporary, const char *path, bool replace, struct cbx_error *error)
{
    int result = 0;
    if (replace) {
        if (rename(temporary, path) != 0)
            result = io_fail(error, path, "replace");
    } else if (link(temporary, path) != 0) {
        result = errno == EEXIST ? cbx_fail(error, CBX_ERR_EXISTS, "%s: exists", path)
                                 : io_fail(error, path, "create");
    }
    if (!replace || result != 0)
        (void)unlink(temporary);
    return result == 0 ? sync_folder(path, error) : result;
}

static int
save(const char *path, const uint8_t *bytes, size_t length, unsigned mode, bool replace,
     struct cbx_error *error)
{
    char *temporary = NULL;
    if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
        return cbx_fail(error, CBX_ERR_NOMEM, "%s: out of memory", path);
    int result = write_temporary(temporary, bytes, length, mode, error);
    if (result == 0)
        result = publish(temporary, path, replace, error);
    free(temporary);
    return result;
}

/* ---- room on a full disk ---- */

enum { SPARE_STEP = 64 * 1024 };

/* A regular file that is ours; its blocks are there already. */
static int
open_spare(const char *path)
{
    struct stat status;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd >= 0 && (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) ||
                    status.st_uid != geteuid() || status.st_nlink != 1)) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* Room for the next one, which may be larger. What is there stays, so that on a full disk the spare
 * is at least as large as the file that it was. */
static void
renew_spare(const char *spare, size_t length)
{
    int fd = open_spare(spare);
    off_t room = (off_t)((length + length / 4) / SPARE_STEP + 1) * SPARE_STEP;
    if (fd >= 0) {
        (void)fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, room);
        (void)close(fd);
    }
}

/* Into the spare's own blocks, then each takes the other's name at once: what was the file is the
 * spare from then on, and no block was given to anybody else in between. */
static int
save_in_spare(const char *spare, const char *path, const uint8_t *bytes, size_t length,
              unsigned mode, struct cbx_error *error)
{
    int fd = open_spare(spare);
    if (fd < 0)
        return io_fail(error, spare, "open");
    bool written = fchmod(fd, (mode_t)mode) == 0 && write_all(fd, bytes, length) == 0 &&
                   ftruncate(fd, (off_t)length) == 0 && fsync(fd) == 0;
    int result = written ? 0 : io_fail(error, spare, "write");
    (void)close(fd);
    if (result == 0 && renameat2(AT_FDCWD, spare, AT_FDCWD, path, RENAME_EXCHANGE) != 0 &&
        rename(spare, path) != 0)
        result = io_fail(error, path, "replace");
    return result == 0 ? sync_folder(path, error) : result;
}

static bool
no_room(int code)
{
    return code == ENOSPC || code == EDQUOT;
}

static int
save_reserved(const char *path, const uint8_t *bytes, size_t length, unsigned mode,
              struct cbx_error *error)
{
    char *spare = NULL;
    struct cbx_error full;
    if (asprintf(&spare, "%s.spare", path) < 0)
        return cbx_fail(error, CBX_ERR_NOMEM, "%s: out of memory", path);
    errno = 0;
    int result = save(path, bytes, length, mode, true, error);
    if (result == CBX_ERR_IO && no_room(errno) &&
        save_in_spare(spare, path, bytes, length, mode, &full) == 0)
        result = 0;
    if (result == 0)
        renew_spare(spare, length);
    free(spare);
    return result;
}

int
cbx_file_save(const char *path, const uint8_t *bytes, size_t length, unsigned mode,
              struct cbx_error *error)
{
    if ((mode & CBX_FILE_RESERVED) != 0)
        return save_reserved(path, bytes, length, mode & ~(unsigned)CBX_FILE_RESERVED, error);
    return save(path, bytes, length, mode, true, error);
}

int
cbx_file_create(const char *path, const uint8_t *bytes, size_t length, unsigned mode,
                struct cbx_error *error)
{
    return save(path, bytes, length, mode, false, error);
}

/* Whether the file is ours, private as asked for, and holds exactly these bytes. */
static bool
holds(const char *path, const uint8_t *bytes, size_t length, unsigned mode)
{
    struct stat status;
    uint8_t *now = NULL;
    size_t now_length = 0;
    if (lstat(path, &status) != 0 || !S_ISREG(status.st_mode) || status.st_uid != geteuid() ||
        (status.st_mode & 07777) != (mode & 07777) || (size_t)status.st_size != length ||
        cbx_file_load(path, length, &now, &now_length, NULL) != 0 || !now)
        return false;
    bool same = now_length == length && memcmp(now, bytes, length) == 0;
    sodium_memzero(now, now_length);
    free(now);
    return same;
}

int
cbx_file_keep(const char *path, const uint8_t *bytes, size_t length, unsigned mode,
              struct cbx_error *error)
{
    return holds(path, bytes, length, mode) ? 0 : cbx_file_save(path, bytes, length, mode, error);
}

/* A buffer that may hold secrets: it grows without leaving copies behind. */
struct secret_buffer {
    uint8_t *bytes;
    size_t size;
    size_t length;
};

static void
secret_free(struct secret_buffer *buffer)
{
    if (buffer->bytes) {
        sodium_memzero(buffer->bytes, buffer->size);
        free(buffer->bytes);
    }
}

static int
secret_grow(struct secret_buffer *buffer, size_t size)
{
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return CBX_ERR_NOMEM;
    if (buffer->length > 0)
        memcpy(bytes, buffer->bytes, buffer->length);
    secret_free(buffer);
    buffer->bytes = bytes;
    buffer->size = size;
    return 0;
}

/* Reads to the end. One byte stays free for the NUL; max + 1 bytes read means too long. */
static int
read_all(int fd, size_t max, const char *path, struct secret_buffer *buffer,
         struct cbx_error *error)
{
    for (;;) {
        if (buffer->length + 1 >= buffer->size) {
            int result = secret_grow(buffer, buffer->size * 2 + READ_CHUNK);
            if (result != 0) {
                (void)cbx_fail(error, result, "%s: out of memory", path);
                return result;
            }
        }
        ssize_t count = read(fd, buffer->bytes + buffer->length, buffer->size - buffer->length - 1);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return io_fail(error, path, "read");
        if (count == 0)
            return 0;
        buffer->length += (size_t)count;
        if (buffer->length > max)
            return cbx_fail(error, CBX_ERR_LIMIT, "%s: longer than %zu bytes", path, max);
    }
}

int
cbx_file_load(const char *path, size_t max, uint8_t **bytes, size_t *length,
              struct cbx_error *error)
{
    *bytes = NULL;
    *length = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return cbx_fail(error, CBX_ERR_NOTFOUND, "%s: no such file", path);
    if (fd < 0)
        return io_fail(error, path, "open");
    struct secret_buffer buffer = {0};
    struct stat status;
    int result = 0;
    /* The size is a hint that spares the growing; READ_CHUNK leaves room to see the end. */
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0 &&
        (uint64_t)status.st_size <= max &&
        secret_grow(&buffer, (size_t)status.st_size + READ_CHUNK) != 0)
        result = cbx_fail(error, CBX_ERR_NOMEM, "%s: out of memory", path);
    if (result == 0)
        result = read_all(fd, max, path, &buffer, error);
    close(fd);
    if (result != 0) {
        secret_free(&buffer);
        return result;
    }
    buffer.bytes[buffer.length] = '\0';
    *bytes = buffer.bytes;
    *length = buffer.length;
    return 0;
}

static int
check_line(const char *path, const char *what, const uint8_t *line, size_t length,
           struct cbx_error *error)
{
    if (length == 0)
        return cbx_fail(error, CBX_ERR_FORMAT, "%s: the first line, the %s, is empty", path, what);
    if (length > CBX_SECRET_LINE_MAX)
        return cbx_fail(error, CBX_ERR_LIMIT, "%s: the %s is longer than %d bytes", path, what,
                        CBX_SECRET_LINE_MAX);
    if (memchr(line, '\0', length))
        return cbx_fail(error, CBX_ERR_FORMAT, "%s: the %s holds a zero byte", path, what);
    return 0;
}

int
cbx_file_secret_line(const char *path, const char *what, char **line, size_t *length,
                     struct cbx_error *error)
{
    uint8_t *bytes;
    size_t all;
    *line = NULL;
    *length = 0;
    int result = cbx_file_load(path, SECRET_FILE_MAX, &bytes, &all, error);
    if (result != 0 || !bytes)
        return result;
    const uint8_t *end = memchr(bytes, '\n', all);
    size_t used = end ? (size_t)(end - bytes) : all;
    if (used > 0 && bytes[used - 1] == '\r')
        used--;
    result = cbx_safe_file(path, error);
    if (result == 0)
        result = check_line(path, what, bytes, used, error);
    sodium_memzero(bytes + used, all - used);
    if (result != 0) {
        sodium_memzero(bytes, used);
        free(bytes);
        return result;
    }
    *line = (char *)bytes; /* cbx_file_load put a NUL behind the last byte */
    *length = used;
    return 0;
}
