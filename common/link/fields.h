/* SPDX-License-Identifier: MIT */
/*
 * The names of the fields of every frame: frame->field[CBX_DATA_OFFSET] is the offset of a DATA
 * frame. The order is that of PROTOCOL.md, "Frames"; kinds and sizes stand in frame.c's table.
 * Code that takes several types at once uses the two enums of leading fields that they share.
 */
#ifndef COMMON_LINK_FIELDS_H
#define COMMON_LINK_FIELDS_H

/* HANDSHAKE, CONFIRM, NO_HANDSHAKE, RENDEZVOUS: what the hub passes on. */
enum cbx_passed_field { CBX_PASSED_FROM, CBX_PASSED_TO };
/* DATA, FIN, CREDIT, RESET, EPOCH: sealed records. */
enum cbx_sealed_field { CBX_SEALED_EPOCH, CBX_SEALED_COUNTER };

enum cbx_hub_hello_field { CBX_HUB_HELLO_VERSION, CBX_HUB_HELLO_KIND, CBX_HUB_HELLO_SOFTWARE };
enum cbx_agent_hello_field {
    CBX_AGENT_HELLO_VERSION,
    CBX_AGENT_HELLO_INCARNATION,
    CBX_AGENT_HELLO_RECEIVE_BUDGET,
    CBX_AGENT_HELLO_SOFTWARE
};
enum cbx_welcome_field {
    CBX_WELCOME_POND,
    CBX_WELCOME_SLUG,
    CBX_WELCOME_GENERATION,
    CBX_WELCOME_ALLOWANCE,
    CBX_WELCOME_ADDRESS,
    CBX_WELCOME_DIRECT
};
enum cbx_join_offer_field { CBX_JOIN_OFFER_SLUG, CBX_JOIN_OFFER_INVITE };
enum cbx_join_field { CBX_JOIN_PEER };
enum cbx_bye_field { CBX_BYE_REASON, CBX_BYE_RETRY_MS, CBX_BYE_TEXT };
enum cbx_ping_field { CBX_PING_NONCE, CBX_PING_RECEIVED };
enum cbx_pong_field { CBX_PONG_NONCE, CBX_PONG_RECEIVED };
enum cbx_ack_field { CBX_ACK_RECEIVED };
enum cbx_pace_field { CBX_PACE_EVERY };
enum cbx_allow_field { CBX_ALLOW_SEQUENCE, CBX_ALLOW_ALLOWANCE };
enum cbx_allowed_field { CBX_ALLOWED_SEQUENCE };
enum cbx_want_field { CBX_WANT_ALLOWANCE };
enum cbx_addresses_field { CBX_ADDRESSES_LIST };
enum cbx_peer_field {
    CBX_PEER_SLUG,
    CBX_PEER_STATE,
    CBX_PEER_GENERATION,
    CBX_PEER_SERIAL,
    CBX_PEER_INCARNATION,
    CBX_PEER_CHAIN_HASH,
    CBX_PEER_PORTS,
    CBX_PEER_LABELS
};
enum cbx_synced_field { CBX_SYNCED_PEERS };
enum cbx_chain_get_field { CBX_CHAIN_GET_SLUG };
enum cbx_chain_field { CBX_CHAIN_SLUG, CBX_CHAIN_INVITE, CBX_CHAIN_PEER };
enum cbx_handshake_field {
    CBX_HANDSHAKE_FROM,
    CBX_HANDSHAKE_TO,
    CBX_HANDSHAKE_STEP,
    CBX_HANDSHAKE_SENDER_HASH,
    CBX_HANDSHAKE_RECEIVER_HASH,
    CBX_HANDSHAKE_MESSAGE
};
enum cbx_confirm_field { CBX_CONFIRM_FROM, CBX_CONFIRM_TO, CBX_CONFIRM_SESSION, CBX_CONFIRM_TAG };
enum cbx_no_handshake_field { CBX_NO_HANDSHAKE_FROM, CBX_NO_HANDSHAKE_TO, CBX_NO_HANDSHAKE_REASON };
enum cbx_rendezvous_field {
    CBX_RENDEZVOUS_FROM,
    CBX_RENDEZVOUS_TO,
    CBX_RENDEZVOUS_SESSION,
    CBX_RENDEZVOUS_COUNTER,
    CBX_RENDEZVOUS_SEALED
};
enum cbx_lane_get_field { CBX_LANE_GET_CIPHER };
enum cbx_lane_field { CBX_LANE_FRAME_ID, CBX_LANE_FRAME_SECRET, CBX_LANE_FRAME_CIPHER };
enum cbx_no_lane_field { CBX_NO_LANE_REASON, CBX_NO_LANE_TEXT };
enum cbx_shift_field { CBX_SHIFT_LANE_ID };
enum cbx_open_field {
    CBX_OPEN_DIALER,
    CBX_OPEN_TARGET,
    CBX_OPEN_PORT,
    CBX_OPEN_SESSION,
    CBX_OPEN_STREAM_ID,
    CBX_OPEN_EPOCH,
    CBX_OPEN_COUNTER,
    CBX_OPEN_LIMIT,
    CBX_OPEN_SEALED
};
enum cbx_data_field { CBX_DATA_EPOCH, CBX_DATA_COUNTER, CBX_DATA_OFFSET, CBX_DATA_PAYLOAD };
enum cbx_fin_field { CBX_FIN_EPOCH, CBX_FIN_COUNTER, CBX_FIN_OFFSET, CBX_FIN_TAG };
enum cbx_credit_field {
    CBX_CREDIT_EPOCH,
    CBX_CREDIT_COUNTER,
    CBX_CREDIT_ACKNOWLEDGED,
    CBX_CREDIT_LIMIT,
    CBX_CREDIT_TAG
};
enum cbx_reset_field { CBX_RESET_EPOCH, CBX_RESET_COUNTER, CBX_RESET_SEALED };
enum cbx_epoch_field { CBX_EPOCH_EPOCH, CBX_EPOCH_COUNTER, CBX_EPOCH_SESSION, CBX_EPOCH_SEALED };
enum cbx_close_field { CBX_CLOSE_REASON };
enum cbx_resume_field {
    CBX_RESUME_DIALER,
    CBX_RESUME_TARGET,
    CBX_RESUME_PORT,
    CBX_RESUME_SESSION,
    CBX_RESUME_STREAM_ID,
    CBX_RESUME_EPOCH,
    CBX_RESUME_RECEIVED,
    CBX_RESUME_ACKNOWLEDGED,
    CBX_RESUME_LIMIT,
    CBX_RESUME_ENDED,
    CBX_RESUME_TAG
};
enum cbx_resumed_field {
    CBX_RESUMED_EPOCH,
    CBX_RESUMED_RECEIVED,
    CBX_RESUMED_ACKNOWLEDGED,
    CBX_RESUMED_LIMIT,
    CBX_RESUMED_ENDED,
    CBX_RESUMED_TAG
};

#endif
