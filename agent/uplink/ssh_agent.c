/* SPDX-License-Identifier: MIT */
/*
 * A bounded reader and writer of the agent protocol, and an answer for each request that is known.
 */
#include "agent/uplink/ssh_agent.h"
#include "common/base/bytes.h"

#include <sodium.h>
#include <string.h>

/* RFC 4252; the host-bound form is OpenSSH's since 8.9 (PROTOCOL, 3.3). */
enum { USERAUTH_REQUEST = 50, SESSION_ID_MIN = 20, SESSION_ID_MAX = 64 };

/* ---- reading ---- */

struct reader {
    const uint8_t *at;
    size_t left;
    bool failed; /* stays; all that is read afterwards is empty */
};

static const uint8_t *
take(struct reader *reader, size_t length)
{
    if (reader->failed || length > reader->left) {
        reader->failed = true;
        return NULL;
    }
    const uint8_t *at = reader->at;
    reader->at += length;
    reader->left -= length;
    return at;
}

static uint32_t
take_number(struct reader *reader)
{
    const uint8_t *at = take(reader, 4);
    return at != NULL ? cbx_get_be32(at) : 0;
}

static uint8_t
take_byte(struct reader *reader)
{
    const uint8_t *at = take(reader, 1);
    return at != NULL ? *at : 0;
}

/* A string as a reader of its own. */
static struct reader
take_string(struct reader *reader)
{
    uint32_t length = take_number(reader);
    const uint8_t *at = take(reader, length);
    return (struct reader){.at = at, .left = at != NULL ? length : 0, .failed = !at};
}

static bool
is(const struct reader *string, const void *bytes, size_t length)
{
    return !string->failed && string->left == length &&
           (length == 0 || memcmp(string->at, bytes, length) == 0);
}

static bool
is_text(const struct reader *string, const char *text)
{
    return is(string, text, strlen(text));
}

static bool
at_end(const struct reader *reader)
{
    return !reader->failed && reader->left == 0;
}

/* ---- writing: all replies are of known, small sizes ---- */

static uint8_t *
put_number(uint8_t *at, uint32_t number)
{
    cbx_put_be32(at, number);
    return at + 4;
}

static uint8_t *
put_string(uint8_t *at, const void *bytes, size_t length)
{
    at = put_number(at, (uint32_t)length);
    memcpy(at, bytes, length);
    return at + length;
}

/* ---- requests ---- */

static bool
pinned(const struct ssh_agent *agent, const struct reader *host_key, uint8_t digest[32])
{
    (void)crypto_hash_sha256(digest, host_key->at, host_key->left);
    return sodium_memcmp(digest, agent->host_key_sha256, 32) == 0;
}

static size_t
list_identities(struct ssh_agent *agent, uint8_t *reply)
{
    static const char comment[] = "cbx";
    uint8_t blob[CBX_SSH_BLOB_SIZE];
    uint8_t *at = reply;
    *at++ = SSH_AGENT_IDENTITIES;
    at = put_number(at, agent->host_key_right ? 1 : 0);
    if (!agent->host_key_right)
        return (size_t)(at - reply);
    cbx_ssh_blob(agent->key.public_key, blob);
    at = put_string(at, blob, sizeof blob);
    at = put_string(at, comment, strlen(comment));
    agent->listed = true;
    return (size_t)(at - reply);
}

/* A login's request as its user, with this key and (where it is named) at the pinned host. */
static bool
is_our_login(const struct ssh_agent *agent, struct reader data,
             const uint8_t blob[CBX_SSH_BLOB_SIZE])
{
    struct reader session = take_string(&data);
    uint8_t type = take_byte(&data);
    struct reader user = take_string(&data);
    struct reader service = take_string(&data);
    struct reader method = take_string(&data);
    uint8_t has_signature = take_byte(&data);
    struct reader algorithm = take_string(&data);
    struct reader key = take_string(&data);
    bool host_bound = is_text(&method, "publickey-hostbound-v00@openssh.com");
    if (host_bound) {
        uint8_t digest[32];
        struct reader host_key = take_string(&data);
        if (host_key.failed || !pinned(agent, &host_key, digest))
            return false;
    }
    return at_end(&data) && session.left >= SESSION_ID_MIN && session.left <= SESSION_ID_MAX &&
           type == USERAUTH_REQUEST && is_text(&user, agent->user) &&
           is_text(&service, "ssh-connection") && (host_bound || is_text(&method, "publickey")) &&
           has_signature == 1 && is_text(&algorithm, "ssh-ed25519") &&
           is(&key, blob, CBX_SSH_BLOB_SIZE);
}

/* 0: refused. */
static size_t
sign(struct ssh_agent *agent, struct reader *request, uint8_t *reply)
{
    static const char type[] = "ssh-ed25519";
    uint8_t blob[CBX_SSH_BLOB_SIZE];
    uint8_t signature[crypto_sign_BYTES];
    struct reader key = take_string(request);
    struct reader data = take_string(request);
    (void)take_number(request); /* flags choose among RSA's hashes */
    cbx_ssh_blob(agent->key.public_key, blob);
    if (!at_end(request) || !agent->host_key_right || !is(&key, blob, sizeof blob) ||
        !is_our_login(agent, data, blob))
        return 0;
    (void)crypto_sign_detached(signature, NULL, data.at, data.left, agent->key.secret_key);
    agent->signed_once = true;
    uint8_t *at = reply;
    *at++ = SSH_AGENT_SIGNATURE;
    at = put_number(at, (uint32_t)(4 + strlen(type) + 4 + sizeof signature));
    at = put_string(at, type, strlen(type));
    at = put_string(at, signature, sizeof signature);
    return (size_t)(at - reply);
}

/* The type of the answer. One wrong key spoils the login for good: ssh never shows two. */
static uint8_t
show_host_key(struct ssh_agent *agent, struct reader *request)
{
    uint8_t digest[32];
    struct reader name = take_string(request);
    if (!is_text(&name, SSH_AGENT_HOST_KEY))
        return SSH_AGENT_FAILURE; /* such as session-bind@openssh.com: ssh goes on without */
    struct reader host_key = take_string(request);
    if (host_key.failed || !at_end(request))
        return SSH_AGENT_EXTENSION_FAILURE;
    if (!pinned(agent, &host_key, digest)) {
        agent->host_key_wrong = true;
        memcpy(agent->host_key_seen, digest, sizeof digest);
    }
    agent->host_key_right = !agent->host_key_wrong;
    return agent->host_key_right ? SSH_AGENT_SUCCESS : SSH_AGENT_EXTENSION_FAILURE;
}

size_t
ssh_agent_answer(struct ssh_agent *agent, const uint8_t *request, size_t length,
                 uint8_t reply[SSH_AGENT_REPLY_MAX])
{
    struct reader reader = {.at = request, .left = length};
    uint8_t type = take_byte(&reader);
    size_t used = 0;
    reply[0] = SSH_AGENT_FAILURE;
    if (type == SSH_AGENT_REQUEST_IDENTITIES && at_end(&reader))
        used = list_identities(agent, reply);
    else if (type == SSH_AGENT_REQUEST_SIGNATURE)
        used = sign(agent, &reader, reply);
    else if (type == SSH_AGENT_EXTENSION)
        reply[0] = show_host_key(agent, &reader);
    if (used > 0)
        return used;
    if (reply[0] != SSH_AGENT_SUCCESS)
        agent->refused++;
    return 1;
}
