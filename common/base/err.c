/* SPDX-License-Identifier: MIT */
/* How an error's line is written, and the tables of what codes and reasons mean and what to do. */
#include "common/base/err.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

int
cbx_fail(struct cbx_error *error, int code, const char *format, ...)
{
    if (!error)
        return code;
    /* Formatted aside first: callers put error->text itself among the arguments. */
    char text[CBX_ERROR_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0)
        (void)snprintf(text, sizeof text, "%s", cbx_err_name(code));
    /* One line, whatever names from outside hold. */
    for (char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
    }
    memcpy(error->text, text, sizeof text);
    return code;
}

const char *
cbx_err_name(int code)
{
    static const char *const names[] = {
        "ok",
        "out of memory",
        "malformed",
        "limit exceeded",
        "not authentic",
        "wrong state",
        "input/output error",
        "try again later",
        "closed",
        "exists",
        "not found",
        "expired",
        "usage",
        "busy",
    };
    /* Not negated: INT_MIN has no positive twin. */
    if (code > 0 || code < CBX_ERR_BUSY)
        return "unknown error";
    return names[-code];
}

enum cbx_reason
cbx_reason_of(uint64_t number, enum cbx_reason otherwise)
{
    return number >= 1 && number <= CBX_REASON_MAX ? (enum cbx_reason)number : otherwise;
}

const char *
cbx_reason_text(enum cbx_reason reason)
{
    static const char *const texts[CBX_REASON_MAX + 1] = {
        [CBX_REASON_NONE] = "no reason",
        [CBX_REASON_UNKNOWN_NAME] = "unknown name",
        [CBX_REASON_PEER_AWAY] = "peer away",
        [CBX_REASON_NOT_EXPOSED] = "port not exposed",
        [CBX_REASON_REFUSED] = "connection refused",
        [CBX_REASON_TIMED_OUT] = "timed out",
        [CBX_REASON_DENIED] = "denied",
        [CBX_REASON_OVERLOADED] = "overloaded",
        [CBX_REASON_GOING_AWAY] = "going away",
        [CBX_REASON_RESTARTED] = "peer restarted",
        [CBX_REASON_INTEGRITY] = "integrity check failed",
        [CBX_REASON_RESET] = "connection reset",
        [CBX_REASON_PROTOCOL] = "protocol error",
        [CBX_REASON_LOST] = "path lost",
        [CBX_REASON_NO_SESSION] = "no session",
        [CBX_REASON_SUPERSEDED] = "superseded",
        [CBX_REASON_REVOKED] = "revoked",
        [CBX_REASON_EXPIRED] = "expired",
        [CBX_REASON_USED] = "invite already used",
        [CBX_REASON_FLOW] = "flow-control limit exceeded",
        [CBX_REASON_INTERNAL] = "internal error",
        [CBX_REASON_UNREACHABLE] = "address unreachable",
        [CBX_REASON_STORAGE] = "state cannot be saved",
    };
    /* Numbers come from the wire, where a newer peer may know more of them. */
    if ((unsigned)reason > CBX_REASON_MAX)
        return "unknown reason";
    return texts[reason];
}

const char *
cbx_reason_remedy(enum cbx_reason reason)
{
    static const char *const texts[CBX_REASON_MAX + 1] = {
        [CBX_REASON_UNKNOWN_NAME] = "`cbx-agent peers` lists the names",
        [CBX_REASON_PEER_AWAY] = "its agent is not attached to the hub now",
        [CBX_REASON_NOT_EXPOSED] = "invite that lease again with --expose",
        [CBX_REASON_REFUSED] = "nothing listens there on the target",
        [CBX_REASON_TIMED_OUT] = "`cbx-agent netcheck` tests the way to the hub",
        [CBX_REASON_DENIED] = "its invite or a rule on that box forbids it",
        [CBX_REASON_OVERLOADED] = "a limit is reached: try again later",
        [CBX_REASON_GOING_AWAY] = "it is shutting down: try again later",
        [CBX_REASON_RESTARTED] = "dial again",
        [CBX_REASON_INTEGRITY] = "something on the path changes bytes: dial again",
        [CBX_REASON_LOST] = "dial again",
        [CBX_REASON_NO_SESSION] = "dial again",
        [CBX_REASON_REVOKED] = "invite that lease again",
        [CBX_REASON_EXPIRED] = "check the clocks of both boxes, or invite that lease again",
        [CBX_REASON_UNREACHABLE] = "that box has no route to the address behind the port",
        [CBX_REASON_STORAGE] = "the disk of this box or of that one is full: see their logs",
    };
    const char *text = (unsigned)reason <= CBX_REASON_MAX ? texts[reason] : NULL;
    return text ? text : "";
}
