/* SPDX-License-Identifier: MIT */
/*
 * Sessions between two agents: one Noise KK handshake, its payloads, and every record key derived
 * from it (rules 12 to 14; PROTOCOL.md, "Sessions"). Sans-I/O and without policy: who begins, what
 * is kept side by side and when a session is replaced is agent/mesh.
 */
#ifndef COMMON_SESSION_SESSION_H
#define COMMON_SESSION_SESSION_H

#include "common/base/err.h"
#include "common/crypto/aead.h"
#include "common/crypto/noise.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CBX_INCARNATION_SIZE = 16,
    CBX_SESSION_ID_SIZE = 16,
    CBX_STREAM_ID_SIZE = 40, /* dialer's incarnation || target's || 64-bit counter */
    CBX_HANDSHAKE_MESSAGE_MAX = CBX_NOISE_PAYLOAD_MAX + CBX_NOISE_OVERHEAD,
    CBX_CIPHERS_MAX = 8,
};

enum cbx_record_class { CBX_CLASS_DATA = 0, CBX_CLASS_CONTROL = 1 };

/* What this agent says in a handshake payload. */
struct cbx_session_self {
    const uint8_t *exchange_secret; /* 32, borrowed */
    const uint8_t *exchange_public; /* 32 */
    const uint8_t *pond_public;     /* 32 */
    const uint8_t *chain_hash;      /* 32, own certificate chain */
    uint8_t incarnation[CBX_INCARNATION_SIZE];
    uint64_t pond_serial;            /* highest serial seen in the pond */
    uint8_t cipher[CBX_CIPHERS_MAX]; /* offered, best first */
    uint8_t cipher_count;
};

struct cbx_session_peer {
    const uint8_t *exchange_public; /* 32, from the verified chain */
    const uint8_t *chain_hash;      /* 32 */
};

struct cbx_session {
    uint8_t id[CBX_SESSION_ID_SIZE];
    uint8_t root_send[32]; /* never cipher keys: record keys are derived */
    uint8_t root_receive[32];
    uint8_t peer_incarnation[CBX_INCARNATION_SIZE];
    uint64_t peer_serial;
    enum cbx_cipher cipher;
    bool initiator;
};

/* The initiator's state between message 1 and message 2. */
struct cbx_handshake {
    struct cbx_noise noise;
    uint8_t offered[CBX_CIPHERS_MAX];
    uint8_t offered_count;
};

/* Message 1 into out (CBX_HANDSHAKE_MESSAGE_MAX bytes). Returns its length or an error. */
int cbx_handshake_begin(struct cbx_handshake *handshake, const struct cbx_session_self *self,
                        const struct cbx_session_peer *peer, uint8_t *out);

/* Reads message 1, writes message 2 into out, fills *session. Returns message 2's length, or
 * CBX_ERR_AUTH, CBX_ERR_FORMAT (version, payload), CBX_ERR_NOTFOUND (no cipher in common). The
 * responder chooses the cipher that both put first of those they share, ChaCha20-Poly1305 where
 * they differ. */
int cbx_handshake_answer(const struct cbx_session_self *self, const struct cbx_session_peer *peer,
                         const uint8_t *message, size_t length, uint8_t *out,
                         struct cbx_session *session);

/* Reads message 2, fills *session. 0 or an error; the handshake is wiped in both cases. */
int cbx_handshake_finish(struct cbx_handshake *handshake, const uint8_t *message, size_t length,
                         struct cbx_session *session);

void cbx_handshake_wipe(struct cbx_handshake *handshake);
void cbx_session_wipe(struct cbx_session *session);

/* Rule 14: BLAKE2b-256(key = root; "cbx record 1" || stream id || epoch || class). */
void cbx_record_key(const uint8_t root[32], const uint8_t stream_id[CBX_STREAM_ID_SIZE],
                    uint64_t epoch, enum cbx_record_class class, uint8_t out[32]);

/* Composes a stream identity (rule 15). */
void cbx_stream_id(const uint8_t dialer_incarnation[16], const uint8_t target_incarnation[16],
                   uint64_t counter, uint8_t out[CBX_STREAM_ID_SIZE]);
uint64_t cbx_stream_id_counter(const uint8_t stream_id[CBX_STREAM_ID_SIZE]);

/*
 * Replay window of one incarnation of a dialer: 8,192 counters (rule 15, RFC 6479). Zeroed memory
 * is the empty window.
 */
enum { CBX_REPLAY_WINDOW = 8192, CBX_REPLAY_WORDS = CBX_REPLAY_WINDOW / 64 + 1 };
struct cbx_replay {
    uint64_t highest; /* counter + 1 of the highest taken; 0: none */
    uint64_t bits[CBX_REPLAY_WORDS];
};
/* Takes the counter: true once, false for a repeat, one too old, or UINT64_MAX (never legal). */
bool cbx_replay_take(struct cbx_replay *window, uint64_t counter);

#endif
