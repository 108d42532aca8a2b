/* SPDX-License-Identifier: MIT */
/*
 * Credit arithmetic (rules 20 to 22), pure. A receive window grants absolute offset limits out of
 * budgets; a send window holds a sender to them.
 *
 * Outstanding = limit announced - offset acknowledged, never below CBX_WINDOW_MIN while a stream is
 * open. Budgets count what was announced, exactly as the hub sees it, so both always agree.
 *
 * Credit is memory that a relay may need, and a record costs it more than its text: so each record
 * that is not wholly acknowledged takes CBX_RECORD_COST of the limit beside its bytes. Tiny records
 * use up a window early; what the program writes meanwhile goes into one larger record.
 */
#ifndef COMMON_STREAM_WINDOW_H
#define COMMON_STREAM_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

enum {
    CBX_WINDOW_MIN = 4096,
    CBX_WINDOW_FIRST = 32 * 1024, /* at the start, while three quarters are free */
    CBX_WINDOW_MAX = 16 * 1024 * 1024,
    CBX_WINDOW_SMALL = 128 * 1024, /* at most for the sake of small records */
    CBX_RECORD_COST = 160,         /* header, tag and what a relay's allocator adds, at most */
    CBX_SEND_SPANS = 8,
};

/* What one node may have outstanding over one link. */
struct cbx_budget {
    uint64_t total;
    uint64_t used;
    bool cut; /* a grant was smaller than the stream called for: ask for more allowance */
};

struct cbx_receive_window {
    struct cbx_budget *budget; /* borrowed */
    uint64_t *peer_used;       /* outstanding of all streams of the same peer, borrowed */
    uint64_t consumed;         /* bytes the program took */
    uint64_t acked;            /* last announced consumed */
    uint64_t limit;            /* last announced limit */
    uint64_t target;           /* how much should be outstanding */
    uint64_t counted;          /* what of it is in the budgets */
    uint64_t overhead;         /* cost of the records that came since the last announcement */
    int64_t meter_began;
    uint64_t meter_bytes, meter_overhead;
    uint64_t probe_limit; /* the limit before the last grant ... */
    int64_t probe_at;     /* ... and when that grant was made; 0: no probe */
    int64_t delay_us;     /* least time from a grant to bytes beyond the old limit; 0 unknown */
    bool open;
    bool told; /* the far side knows a limit: it never goes back any more */
};

/* Opens with a first grant. CBX_ERR_LIMIT when no minimum window is free. */
int cbx_window_open(struct cbx_receive_window *window, struct cbx_budget *budget,
                    uint64_t *peer_used, int64_t now);
/* A record arrived up to this offset: true when that is within the limit. */
bool cbx_window_received(struct cbx_receive_window *window, uint64_t offset, int64_t now);
/* The program took this many more. True when an announcement is worth sending now. */
bool cbx_window_consumed(struct cbx_receive_window *window, uint64_t bytes, int64_t now);
/* Makes the announcement: limit and acked move, budgets are charged. */
void cbx_window_announce(struct cbx_receive_window *window, int64_t now);
/*
 * The stream goes on over another path, whose budget is `to`: what is outstanding counts there from
 * now on, everything consumed is announced, and the limit may go back, but not below `received`.
 * CBX_ERR_LIMIT: no room there for what came and was not consumed; nothing has changed then.
 */
int cbx_window_move(struct cbx_receive_window *window, struct cbx_budget *to, uint64_t received,
                    int64_t now);
/* Gives everything back. Harmless when closed. */
void cbx_window_close(struct cbx_receive_window *window);

/* Records that were sent one after the other, up to this offset. */
struct cbx_send_span {
    uint64_t end;
    uint32_t records;
};

struct cbx_send_window {
    uint64_t sent;
    uint64_t acked;
    uint64_t limit;
    uint64_t retransmit; /* bytes from sent on that went out once and must go out anew */
    uint64_t *pool_used; /* the agent's unacknowledged bytes, borrowed */
    uint64_t pool_total;
    int64_t meter_began;
    uint64_t meter_bytes;
    uint64_t rate; /* acknowledged bytes/s; 0 unknown */
    /* Records not wholly acknowledged; a span counts until its end is. */
    struct cbx_send_span span[CBX_SEND_SPANS];
    uint32_t spans, records;
};

/* How many bytes may be taken from the program now (0: blocked). */
uint64_t cbx_send_room(const struct cbx_send_window *window);
/* The same without the agent's budget: more than the room means that only the budget is in the way.
 */
uint64_t cbx_send_wanted(const struct cbx_send_window *window);
/* Size of the next record (rule 26): at most 10 ms of the acknowledged rate, 4 to 64 KiB. */
uint32_t cbx_send_record_size(const struct cbx_send_window *window);
/* One record went out. */
void cbx_send_sent(struct cbx_send_window *window, uint64_t bytes);
/* acked and limit from a CREDIT. CBX_ERR_LIMIT when acked was never sent or a value went back. */
int cbx_send_credit(struct cbx_send_window *window, uint64_t acked, uint64_t limit, int64_t now);
/* The far side goes on over another path: it has everything before `received`, has acknowledged
 * `acked` and grants up to limit, which may go back. What it lacks is sent anew and stays in the
 * pool until then. CBX_ERR_LIMIT when that cannot be true. */
int cbx_send_rewind(struct cbx_send_window *window, uint64_t received, uint64_t acked,
                    uint64_t limit, int64_t now);
/* The last offset was a FIN that never arrived: it is taken back. */
void cbx_send_take_back_fin(struct cbx_send_window *window);
void cbx_send_close(struct cbx_send_window *window);

#endif
