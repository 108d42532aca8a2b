/* SPDX-License-Identifier: MIT */
/*
 * What people are told of planes: which one, why not a better one, and bytes by plane, which add up
 * however often a link moves. CBX_SEED replays a run.
 */
#include "agent/mesh/mesh.h"
#include "hub/core/core.h"
#include "hub/core/json.h"
#include "world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct world_path slow = {.rate = 4000000};

static json_t *
peer_of(json_t *document, const char *slug)
{
    size_t index;
    json_t *peer;
    json_array_foreach(json_object_get(document, "peers"), index, peer) {
        if (strcmp(json_string_value(json_object_get(peer, "slug")), slug) == 0)
            return peer;
    }
    fail_msg("no peer %s", slug);
    return NULL;
}

static uint64_t
bytes(const json_t *object, const char *plane, const char *way)
{
    const json_t *of_plane = json_object_get(json_object_get(object, "bytes"), plane);
    assert_true(json_is_object(of_plane));
    return (uint64_t)json_integer_value(json_object_get(of_plane, way));
}

static const char *
text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    assert_non_null(value);
    return value;
}

static uint64_t
number(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

static void
bytes_by_plane_add_up_when_a_stream_moves(void **state)
{
    (void)state;
    struct world *world = world_new(world_seed(), 0);
    world->lanes = CBX_LANES_AUTO;
    world->lanes_fail = true;
    world_agent(world, "web", "8080", slow);
    struct world_agent *cli = world_agent(world, "cli", NULL, slow);
    world_dial(cli, "web", 8080, 3000000, 4000000);
    world_run(world, 300000);
    uint64_t left_out;
    json_t *streams = mesh_streams_json(cli->mesh, &left_out);
    assert_int_equal(json_array_size(streams), 1);
    const json_t *stream = json_array_get(streams, 0);
    assert_string_equal(text(stream, "plane"), "ssh");
    assert_string_equal(text(stream, "peer"), "web");
    assert_string_equal(text(stream, "direction"), "dialed");
    assert_int_equal(number(stream, "port"), 8080);
    assert_true(number(stream, "bytes_in") > 0);
    json_decref(streams);
    assert_true(world_until(world, 60000000, world_all_closed, world));
    /* Again, and now it moves. */
    world_dial(cli, "web", 8080, 3000000, 4000000);
    world_run(world, 300000);
    world->lanes_fail = false;
    mesh_lane_ask(cli->mesh);
    world_lane_up(cli);
    world_run(world, 100000);
    streams = mesh_streams_json(cli->mesh, &left_out);
    assert_string_equal(text(json_array_get(streams, 0), "plane"), "relay");
    json_decref(streams);
    assert_true(world_until(world, 60000000, world_all_closed, world));
    json_t *peers = mesh_peers_json(cli->mesh);
    const json_t *web = peer_of(peers, "web");
    assert_true(bytes(web, "ssh", "in") > 4000000 && bytes(web, "relay", "in") > 0);
    assert_true(bytes(web, "ssh", "out") > 3000000 && bytes(web, "relay", "out") > 0);
    assert_int_equal(bytes(web, "ssh", "in") + bytes(web, "relay", "in"), 8000000);
    assert_int_equal(bytes(web, "ssh", "out") + bytes(web, "relay", "out"), 6000000);
    assert_int_equal(bytes(web, "direct", "in"), 0);
    assert_true(number(web, "round_trip_us") > 0);
    json_decref(peers);
    assert_true(world_all_clean(world));
    world_free(world);
}

/* Whatever the agents count the hub counts too, link by link and in all. */
static void
both_ends_count_the_same_bytes_of_a_link(void **state)
{
    (void)state;
    struct world *world = world_new(world_seed(), 0);
    world->lanes = CBX_LANES_AUTO;
    struct world_agent *web = world_agent(world, "web", "8080", slow);
    struct world_agent *cli = world_agent(world, "cli", NULL, slow);
    world_lane_up(web);
    world_lane_up(cli);
    world_dial(cli, "web", 8080, 2000000, 1000000);
    assert_true(world_until(world, 60000000, world_all_closed, world));
    world_run(world, 2000000);
    json_t *peers = hub_core_peers_json(world->hub, NULL), *status = mesh_status_json(cli->mesh);
    const json_t *peer = peer_of(peers, "cli");
    assert_string_equal(text(peer, "plane"), "relay");
    assert_string_equal(text(peer, "plane_reason"), "");
    assert_string_equal(text(status, "plane"), "relay");
    assert_int_equal(bytes(peer, "ssh", "from"), bytes(status, "ssh", "out"));
    assert_int_equal(bytes(peer, "ssh", "to"), bytes(status, "ssh", "in"));
    assert_int_equal(bytes(peer, "relay", "from"), bytes(status, "relay", "out"));
    assert_int_equal(bytes(peer, "relay", "to"), bytes(status, "relay", "in"));
    assert_true(bytes(peer, "relay", "from") > 2000000);
    uint64_t before = bytes(status, "relay", "in");
    json_decref(peers);
    json_decref(status);
    /* Links that are over stay in the sums. */
    world_cut_lane(cli);
    world_run(world, 1000000);
    status = mesh_status_json(cli->mesh);
    assert_true(bytes(status, "relay", "in") >= before);
    json_decref(status);
    status = hub_core_status_json(world->hub);
    const json_t *planes = json_object_get(status, "planes");
    assert_true(number(json_object_get(planes, "relay"), "to") >= before);
    assert_int_equal(number(json_object_get(planes, "ssh"), "links") +
                         number(json_object_get(planes, "relay"), "links"),
                     2);
    json_decref(status);
    world_free(world);
}

static void
reasons_are_said(void **state)
{
    (void)state;
    struct world *world = world_new(world_seed(), 0);
    world->lanes = CBX_LANES_OFF;
    struct world_agent *off = world_agent(world, "off", NULL, slow);
    world->lanes = CBX_LANES_AUTO;
    world->lanes_fail = true;
    struct world_agent *failing = world_agent(world, "failing", NULL, slow);
    world_run(world, 1000000);
    json_t *peers = mesh_peers_json(off->mesh);
    const json_t *peer = peer_of(peers, "failing");
    assert_string_equal(text(peer, "plane"), "ssh");
    assert_non_null(strstr(text(peer, "plane_reason"), "off here"));
    assert_string_equal(text(peer_of(peers, "off"), "plane"), "local");
    json_decref(peers);
    peers = hub_core_peers_json(world->hub, NULL);
    assert_non_null(strstr(text(peer_of(peers, "off"), "plane_reason"), "has not asked"));
    assert_non_null(strstr(text(peer_of(peers, "failing"), "plane_reason"), "offered"));
    json_decref(peers);
    world_cut(off);
    world_run(world, 100000);
    json_t *status = mesh_status_json(off->mesh);
    assert_string_equal(text(status, "plane"), "none");
    assert_non_null(strstr(text(status, "plane_reason"), "not attached"));
    json_decref(status);
    peers = mesh_peers_json(failing->mesh);
    assert_string_equal(text(peer_of(peers, "off"), "plane"), "none");
    assert_non_null(strstr(text(peer_of(peers, "off"), "plane_reason"), "not attached"));
    json_decref(peers);
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_by_plane_add_up_when_a_stream_moves),
        cmocka_unit_test(both_ends_count_the_same_bytes_of_a_link),
        cmocka_unit_test(reasons_are_said),
    };
    return WORLD_RUN(tests);
}
