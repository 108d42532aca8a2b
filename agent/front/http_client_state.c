/* SPDX-License-Identifier: MIT */
/* Tested by test_http_client. */
#include "agent/front/http_client_state.h"

#include "common/base/states.h"

static const struct cbx_states states = {
    .what = "http client",
    .state =
        {
            [HTTP_CLIENT_REQUEST] = {"request", CBX_STATE(HTTP_CLIENT_EXCHANGE) |
                                                    CBX_STATE(HTTP_CLIENT_LEAVING) |
                                                    CBX_STATE(HTTP_CLIENT_RESET) |
                                                    CBX_STATE(HTTP_CLIENT_GONE)},
            [HTTP_CLIENT_EXCHANGE] = {"exchange", CBX_STATE(HTTP_CLIENT_REQUEST) |
                                                      CBX_STATE(HTTP_CLIENT_TUNNEL) |
                                                      CBX_STATE(HTTP_CLIENT_LEAVING) |
                                                      CBX_STATE(HTTP_CLIENT_RESET)},
            [HTTP_CLIENT_TUNNEL] = {"tunnel",
                                    CBX_STATE(HTTP_CLIENT_LEAVING) | CBX_STATE(HTTP_CLIENT_RESET)},
            [HTTP_CLIENT_LEAVING] = {"leaving",
                                     CBX_STATE(HTTP_CLIENT_RESET) | CBX_STATE(HTTP_CLIENT_GONE)},
            [HTTP_CLIENT_RESET] = {"reset", CBX_STATE(HTTP_CLIENT_GONE)},
            [HTTP_CLIENT_GONE] = {"gone", 0},
        },
};

void
http_client_set_state(struct http_client *client, enum http_client_state state)
{
    if (client->state == state)
        return;
    if (!cbx_states_allow_number(&states, "http client", (uint32_t)client->fd, client->state,
                                 state))
        return;
    client->state = state;
}

void
http_client_next_request(struct http_client *client)
{
    http_message_begin(&client->request, HTTP_REQUEST, false);
    client->request.head.secret = client->set->password->set;
}

void
http_client_set_deadline(struct http_client *client, double seconds)
{
    struct ev_loop *loop = client->set->conns->loop;
    ev_timer_stop(loop, &client->deadline);
    ev_timer_set(&client->deadline, seconds, 0.);
    if (seconds > 0.)
        ev_timer_start(loop, &client->deadline);
}
