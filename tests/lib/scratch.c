/* SPDX-License-Identifier: MIT */
#include "scratch.h"

#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool
template_of(const char *name, char out[SCRATCH_MAX])
{
    const char *below = getenv("TMPDIR");
    int length =
        snprintf(out, SCRATCH_MAX, "%s/cbx-%s-XXXXXX", below && *below ? below : "/tmp", name);
    return length > 0 && length < SCRATCH_MAX;
}

bool
scratch_folder(const char *name, char out[SCRATCH_MAX])
{
    return template_of(name, out) && mkdtemp(out);
}

bool
scratch_file(const char *name, const void *bytes, size_t length, char out[SCRATCH_MAX])
{
    if (!template_of(name, out))
        return false;
    int fd = mkstemp(out);
    if (fd < 0)
        return false;
    bool written = write(fd, bytes, length) == (ssize_t)length;
    return close(fd) == 0 && written;
}

bool
scratch_end(const char *folder, ...)
{
    va_list names;
    const char *name;
    va_start(names, folder);
    while ((name = va_arg(names, const char *))) {
        char path[PATH_MAX];
        (void)snprintf(path, sizeof path, "%s/%s", folder, name);
        (void)remove(path);
    }
    va_end(names);
    return rmdir(folder) == 0;
}

static int
remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

bool
scratch_remove(const char *folder)
{
    return nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0;
}
