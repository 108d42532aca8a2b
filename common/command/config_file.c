/* SPDX-License-Identifier: MIT */
/*
 * libinih reads the syntax. It does not say where it is when a value is wrong, splits lines longer
 * than its buffer in two and ends others at a NUL byte: so its lines are handed to it one by one
 * here, counted and looked at.
 */
#include "common/command/config_file.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>

struct reader {
    const struct cbx_config_file *config;
    void *arg;
    FILE *file;
    int line;       /* of what is being read */
    int wrong_line; /* of the first error found here; 0: none */
    bool seen[CBX_CONFIG_NAMES_MAX];
    struct cbx_error error; /* of that line */
};

/* What follows a wrong line is not read: it may have no end. */
static char *
next_line(char *text, int size, void *arg)
{
    struct reader *reader = arg;
    memset(text, '\n', (size_t)size); /* the last NUL is then the one that fgets wrote */
    if (reader->wrong_line != 0 || !fgets(text, size, reader->file))
        return NULL;
    reader->line++;
    size_t used = (size_t)((char *)memrchr(text, '\0', (size_t)size) - text);
    if (strlen(text) != used)
        (void)cbx_fail(&reader->error, CBX_ERR_USAGE,
                       "the line contains a NUL byte; use a plain text file");
    else if (text[used - 1] != '\n' && !feof(reader->file))
        (void)cbx_fail(&reader->error, CBX_ERR_USAGE,
                       "the line is longer than %d characters; shorten it, or write a list as "
                       "several lines of that name",
                       size - 2);
    else
        return text;
    reader->wrong_line = reader->line;
    return NULL;
}

/* libinih takes a colon for "=", too: `proxy 127.0.0.1:1` comes with a name of two words. */
static int
unknown_name(struct reader *reader, const char *name)
{
    const char *const *only = reader->config->line_only;
    if (strpbrk(name, " \t"))
        return cbx_fail(&reader->error, CBX_ERR_USAGE, "'%s' is not a name; write NAME = VALUE",
                        name);
    for (; only && *only; only++) {
        if (strcmp(*only, name) == 0)
            return cbx_fail(&reader->error, CBX_ERR_USAGE,
                            "%s is for the command line only; give --%s there", name, name);
    }
    return cbx_fail(&reader->error, CBX_ERR_USAGE, "unknown name %s; %s lists the known ones", name,
                    reader->config->manual);
}

static int
take_setting(struct reader *reader, const char *section, const char *name, const char *value)
{
    const struct cbx_config_file *config = reader->config;
    const char *known;
    bool repeats = false;
    if (section[0] != '\0' && strcmp(section, config->section) != 0)
        return cbx_fail(&reader->error, CBX_ERR_USAGE, "unknown section [%s]; only [%s] is known",
                        section, config->section);
    for (size_t i = 0; i < CBX_CONFIG_NAMES_MAX && (known = config->name(i, &repeats)) != NULL;
         i++) {
        struct cbx_error cause = {""};
        if (strcmp(known, name) != 0)
            continue;
        if (reader->seen[i] && !repeats)
            return cbx_fail(&reader->error, CBX_ERR_USAGE,
                            "%s is set twice; remove one of the lines", name);
        reader->seen[i] = true;
        int result = config->set(reader->arg, i, value, &cause);
        return result == 0 ? 0 : cbx_fail(&reader->error, result, "%s: %s", name, cause.text);
    }
    return unknown_name(reader, name);
}

static int
on_setting(void *arg, const char *section, const char *name, const char *value)
{
    struct reader *reader = arg;
    if (reader->wrong_line != 0)
        return 0;
    if (take_setting(reader, section, name, value) == 0)
        return 1;
    reader->wrong_line = reader->line;
    return 0;
}

int
cbx_config_file_read(const char *path, const struct cbx_config_file *config, void *arg,
                     struct cbx_error *error)
{
    struct reader reader = {.config = config, .arg = arg, .file = fopen(path, "re")};
    if (!reader.file)
        return cbx_fail(error, CBX_ERR_USAGE, "cannot open the configuration file %s: %s", path,
                        strerror(errno));
    ini_allow_multiline = false;
    /* The first line that libinih could not read, or whose setting was refused. */
    int bad_line = ini_parse_stream(next_line, &reader, on_setting, &reader);
    bool unread = ferror(reader.file) != 0;
    (void)fclose(reader.file);
    if (unread)
        return cbx_fail(error, CBX_ERR_USAGE, "cannot read the configuration file %s", path);
    if (bad_line < 0)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    if (reader.wrong_line != 0 && (bad_line == 0 || bad_line >= reader.wrong_line))
        return cbx_fail(error, CBX_ERR_USAGE, "%s:%d: %s", path, reader.wrong_line,
                        reader.error.text);
    if (bad_line != 0)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "%s:%d: neither [SECTION] nor NAME = VALUE; correct or remove the line",
                        path, bad_line);
    return 0;
}
