/* SPDX-License-Identifier: MIT */
/* Tested by test_direct and test_direct_dialer. */
#include "agent/lanes/lane_proof.h"

#include "agent/uplink/tcp_buffer.h"

#include <errno.h>
#include <sodium.h>
#include <sys/socket.h>

const char lane_proof_no_socket[] =
    "lanes do not work through a proxy that is itself reached by TLS";

bool
lane_proof_send(struct lane_proof *proof, int fd, size_t until)
{
    uint8_t preface[CBX_LANE_PREFACE];
    size_t length = until - proof->sent;
    cbx_lane_preface(proof->ticket, preface);
    ssize_t sent = send(fd, preface + proof->sent, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    sodium_memzero(preface, sizeof preface);
    proof->sent = until;
    return sent == (ssize_t)length;
}

enum lane_proof_result
lane_proof_hear(struct lane_proof *proof, int fd)
{
    ssize_t got =
        recv(fd, proof->answer + proof->heard, sizeof proof->answer - proof->heard, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return LANE_PROOF_MORE;
    if (got <= 0)
        return LANE_PROOF_CLOSED;
    proof->heard += (size_t)got;
    if (proof->heard < sizeof proof->answer)
        return LANE_PROOF_MORE;
    return cbx_lane_answer_holds(proof->ticket, proof->answer) ? LANE_PROOF_HOLDS
                                                               : LANE_PROOF_WRONG;
}

int
lane_proof_socket(struct tcp_buffer *tcp)
{
    int fd = tcp_buffer_release(tcp);
    if (fd < 0)
        tcp_buffer_free(tcp);
    return fd;
}
