/* SPDX-License-Identifier: MIT */
/* Runs a program to its end and keeps what it said. Blocking: for the checks before the loop. */
#ifndef HUB_HOST_PROC_H
#define HUB_HOST_PROC_H

#include "common/base/err.h"
#include <stddef.h>
#include <stdint.h>

struct proc_result {
    int status;        /* as of waitpid; 127 << 8 when the program could not be run */
    int64_t run_us;    /* from fork to the end */
    size_t length;     /* of the output, standard output and error together; the rest was dropped */
    char output[4096]; /* NUL-terminated */
};

/* environment NULL: ours. Standard input is empty. After timeout_ms the program is killed and
 * CBX_ERR_EXPIRED returned; CBX_ERR_IO when the system refused. A status other than 0 is no error.
 */
int proc_run(const char *const argv[], const char *const environment[], int64_t timeout_ms,
             struct proc_result *result, struct cbx_error *error);

/* The first line of what it said, for an error text; "no output" when there is none. */
const char *proc_first_line(struct proc_result *result);

#endif
