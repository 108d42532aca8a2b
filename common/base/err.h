/* SPDX-License-Identifier: MIT */
/*
 * Errors. Functions that can fail return 0 (or a count) on success and a negative enum cbx_err
 * otherwise; errno never crosses a module. Where a person will read the cause, the function takes
 * a `struct cbx_error *` (may be NULL) and writes one line there: what was wrong, where, what to
 * do.
 */
#ifndef COMMON_BASE_ERR_H
#define COMMON_BASE_ERR_H

#include <stdint.h>

enum cbx_err {
    CBX_OK = 0,
    CBX_ERR_NOMEM = -1,  /* allocation failed */
    CBX_ERR_FORMAT = -2, /* malformed input: frame, token, file, name */
    CBX_ERR_LIMIT = -3,  /* a named limit was passed */
    CBX_ERR_AUTH = -4,   /* a signature, MAC or identity did not verify */
    CBX_ERR_STATE = -5,  /* not legal in this phase */
    CBX_ERR_IO = -6,     /* the operating system refused; text says what */
    CBX_ERR_AGAIN = -7,  /* nothing now, try when ready */
    CBX_ERR_CLOSED = -8, /* the other end is gone */
    CBX_ERR_EXISTS = -9, /* already there */
    CBX_ERR_NOTFOUND = -10,
    CBX_ERR_EXPIRED = -11, /* a certificate or token is past its time */
    CBX_ERR_USAGE = -12,   /* the caller's words are off */
    CBX_ERR_BUSY = -13,    /* held by another process */
};

enum { CBX_ERROR_TEXT_MAX = 400 };

struct cbx_error {
    char text[CBX_ERROR_TEXT_MAX];
};

/* Writes the formatted text into *error (when not NULL) and returns code. */
int cbx_fail(struct cbx_error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A short lower-case name of an error code. */
const char *cbx_err_name(int code);

/*
 * Why a dial, stream, circuit or link ended. One list for the wire (PROTOCOL.md, "Reasons"), the
 * fronts and the logs. The numbers are wire format: never renumber.
 */
enum cbx_reason {
    CBX_REASON_NONE = 0,
    CBX_REASON_UNKNOWN_NAME = 1, /* no such peer or role in the pond */
    CBX_REASON_PEER_AWAY = 2,    /* known, but not attached */
    CBX_REASON_NOT_EXPOSED = 3,  /* the port is not on the target's expose list */
    CBX_REASON_REFUSED = 4,      /* the target program refused the connection */
    CBX_REASON_TIMED_OUT = 5,
    CBX_REASON_DENIED = 6,      /* not allowed for this identity */
    CBX_REASON_OVERLOADED = 7,  /* a limit or budget is used up */
    CBX_REASON_GOING_AWAY = 8,  /* shutting down */
    CBX_REASON_RESTARTED = 9,   /* the peer's agent is another process now */
    CBX_REASON_INTEGRITY = 10,  /* a sealed record failed authentication */
    CBX_REASON_RESET = 11,      /* a program reset its connection */
    CBX_REASON_PROTOCOL = 12,   /* a rule of PROTOCOL.md was broken */
    CBX_REASON_LOST = 13,       /* the path was lost */
    CBX_REASON_NO_SESSION = 14, /* the target does not know this session */
    CBX_REASON_SUPERSEDED = 15, /* another process attached with this identity */
    CBX_REASON_REVOKED = 16,
    CBX_REASON_EXPIRED = 17, /* certificate or invite past its end */
    CBX_REASON_USED = 18,    /* the invite was used by another identity */
    CBX_REASON_FLOW = 19,    /* credit or allowance was passed */
    CBX_REASON_INTERNAL = 20,
    CBX_REASON_UNREACHABLE = 21, /* the target's address cannot be reached from there */
    CBX_REASON_STORAGE = 22,     /* what must be on disk first cannot be written */
    CBX_REASON_MAX = 22,
};

/* A reason that came from the wire, or this one for 0 and numbers that we do not know. */
enum cbx_reason cbx_reason_of(uint64_t number, enum cbx_reason otherwise);

/* The words people read: "port not exposed", "unknown name", ... never NULL. */
const char *cbx_reason_text(enum cbx_reason reason);
/* What to do about it, a phrase to stand behind that; "" where there is nothing to say. */
const char *cbx_reason_remedy(enum cbx_reason reason);

#endif
