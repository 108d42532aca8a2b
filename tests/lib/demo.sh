#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tests/lib/demo.sh [BUILD]: a hub and two leases at work. Lease web runs nginx, lease cli fetches
# its page by the name web.cbx, through the hub, over nothing but SSH. Each of the three has a network
# namespace of its own in which only the hub can be reached: as root by ip netns, as an ordinary user
# in one user namespace. Where neither works, or with DEMO=plain, all are plain processes on loopback.
# The last line is "demo: ok", and nothing is left running.
set -u

root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$root" && realpath "${1:-build}")
PATH=$build:$PATH:/usr/sbin:/sbin
unset CBX_STATE CBX_TOKEN STATE_DIRECTORY CURL_HOME
for name in http_proxy https_proxy all_proxy HTTPS_PROXY ALL_PROXY no_proxy NO_PROXY; do
    unset "$name"
done

# ---- which kind ----

# Words that make a user namespace in which this account may build networks.
own_world=(unshare -Unmpf --mount-proc --kill-child --map-current-user --keep-caps)

if [ "${DEMO:-}" = plain ]; then
    kind=plain
elif [ "${DEMO_INSIDE:-}" = 1 ]; then
    kind=user
elif [ "$(id -u)" = 0 ]; then
    kind=root
    if ! ip netns add "cbx-try-$$" 2>/dev/null || ! ip netns del "cbx-try-$$"; then
        kind=plain
    fi
elif "${own_world[@]}" sh -c 'mount -t tmpfs tmpfs /run && ip netns add try' 2>/dev/null; then
    DEMO_INSIDE=1 exec "${own_world[@]}" "$0" "$build"
else
    kind=plain
fi

# ---- taking down ----

scratch=$(mktemp -d "${TMPDIR:-/tmp}/cbx-demo-XXXXXX")
spaces=()

# Signals our own background processes, by their ids, and no others: a shell's list of running jobs
# holds no id that was given to someone else since.
signal_all() {
    local pid
    for pid in $(jobs -pr); do
        kill -"$1" "$pid" 2>/dev/null
    done
}

still_running() {
    local space
    [ -z "$(jobs -pr)" ] || return 0
    for space in "${spaces[@]}"; do
        [ -z "$(ip netns pids "$space" 2>/dev/null)" ] || return 0
    done
    return 1
}

wait_for_the_end() {
    local tries
    for ((tries = 0; tries < 60; tries++)); do
        still_running || return 0
        sleep 0.1
    done
    return 1
}

finish() {
    local space pid
    signal_all TERM
    if ! wait_for_the_end; then
        signal_all KILL
    fi
    for space in "${spaces[@]}"; do
        # Whoever is in a namespace of ours was started here: sshd's own children.
        for pid in $(ip netns pids "$space" 2>/dev/null); do
            kill -KILL "$pid" 2>/dev/null
        done
        ip netns del "$space" 2>/dev/null
    done
    spaces=()
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

fail() {
    local log
    echo
    echo "What the programs said:"
    for log in "$scratch"/*.log; do
        [ -s "$log" ] && sed "s|^|    ${log##*/}: |" "$log"
    done
    echo "demo: failed: $*"
    exit 1
}

# ---- telling ----

bold='' dim='' plain=''
if [ -t 1 ]; then
    bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
fi
number=0

step() {
    number=$((number + 1))
    printf '\n%s%d. %s%s\n' "$bold" $number "$*" "$plain"
}

shown() { # WHERE COMMAND...: the prompt and the command
    local where=$1
    shift
    printf '   %s%s $%s %s\n' "$dim" "$where" "$plain" "$*"
}

indent() {
    sed -u 's/^/         /'
}

# ---- running ----

# Words that run a command at that place.
place() {
    if [ "$kind" = plain ]; then
        words=()
    else
        words=(ip netns exec "$prefix-$1")
    fi
}

# run WHERE STATUS COMMAND...: shows it and its output, and expects its exit status ("fails": not 0).
# A single word is a line for the shell.
run() {
    local where=$1 expected=$2 status words
    shift 2
    shown "$where" "$*"
    [ $# -gt 1 ] || set -- sh -c "$1"
    place "$where"
    (cd "$scratch" && exec "${words[@]}" "$@") >"$scratch/out" 2>&1 </dev/null
    status=$?
    indent <"$scratch/out"
    case $expected in
    fails) [ $status != 0 ] || fail "\"$*\" should have failed" ;;
    *) [ $status = "$expected" ] || fail "\"$*\" ended with status $status" ;;
    esac
}

# start WHERE NAME COMMAND...: runs it in the background.
start() {
    local where=$1 name=$2 words
    shift 2
    place "$where"
    (cd "$scratch" && exec "${words[@]}" "$@") >"$scratch/$name.out" 2>"$scratch/$name.log" </dev/null &
    started=$!
}

# within SECONDS WHAT COMMAND...: until it succeeds.
within() {
    local tenths=$(($1 * 10)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        tenths=$((tenths - 1))
        [ $tenths -gt 0 ] || fail "$what"
        sleep 0.1
    done
}

expect_output() {
    grep -q -- "$1" "$scratch/out" || fail "\"$1\" was expected there"
}

free_port() {
    local port
    while :; do
        port=$((RANDOM % 20000 + 20000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo $port
}

# ---- networks ----

# wire LEASE PREFIX: joins the hub's namespace and the lease's.
wire() {
    local lease=$1 net=$2
    ip -n "$prefix-hub" link add "to-$lease" type veth peer name to-hub netns "$prefix-$lease" &&
        ip -n "$prefix-hub" address add "$net.1/24" dev "to-$lease" &&
        ip -n "$prefix-hub" link set "to-$lease" up &&
        ip -n "$prefix-$lease" address add "$net.2/24" dev to-hub &&
        ip -n "$prefix-$lease" link set to-hub up &&
        ip -n "$prefix-$lease" route add 10.83.0.1/32 via "$net.1"
}

# Three namespaces; each lease has one wire, to the hub, and one route, to the hub's address. The
# hub forwards nothing.
build_networks() {
    local lease net
    prefix=cbx-$$
    if [ "$kind" = user ]; then
        mount -t tmpfs tmpfs /run || fail "no private /run"
    fi
    for lease in hub web cli; do
        ip netns add "$prefix-$lease" || fail "ip netns add"
        spaces+=("$prefix-$lease")
        ip -n "$prefix-$lease" link set lo up
    done
    ip -n "$prefix-hub" address add 10.83.0.1/32 dev lo
    ip netns exec "$prefix-hub" sh -c 'echo 0 >/proc/sys/net/ipv4/ip_forward'
    net=0
    for lease in web cli; do
        net=$((net + 1))
        if ! wire "$lease" "10.83.$net"; then
            fail "the network of $lease could not be made"
        fi
    done
}

case $kind in
plain)
    echo "A hub and two leases, web and cli, as plain processes on loopback: network namespaces are"
    echo "not to be had here (or DEMO=plain asked for this), so this run does not show isolation."
    hub_listen=127.0.0.1:0 page_port=$(free_port) proxy=127.0.0.1:$(free_port)
    ;;
*)
    echo "A hub and two leases, web and cli, each in a network namespace of its own. A lease can reach"
    echo "the hub's address 10.83.0.1 and nothing else."
    hub_listen=10.83.0.1:7000 page_port=8080 proxy=127.0.0.1:1080
    build_networks
    ;;
esac
as_root=()
[ "$(id -u)" != 0 ] || as_root=(--as-root)

# ---- the story ----

if [ "$kind" != plain ]; then
    step "There is no way from lease to lease"
    run cli fails curl -sS --max-time 2 http://10.83.1.2:8080/
fi

step "The hub starts, on one port"
shown hub cbx-hub --state h run --listen "$hub_listen" "${as_root[@]}" "&"
start hub hub cbx-hub --state h run --listen "$hub_listen" "${as_root[@]}"
within 10 "the hub did not start" grep -q '^listening ' "$scratch/hub.out"
indent <"$scratch/hub.out"

step "The operator invites two leases; a token is one line, good once, for 15 minutes"
expose=8080
[ "$kind" != plain ] || expose=8080=127.0.0.1:$page_port
shown hub "cbx-hub --state h invite --pond demo --slug web --expose $expose >web.token"
place hub
(cd "$scratch" && umask 077 && exec "${words[@]}" cbx-hub --state h invite --pond demo --slug web \
    --expose "$expose") >"$scratch/web.token" 2>"$scratch/invite.log" || fail "invite web"
shown hub "cbx-hub --state h invite --pond demo --slug cli >cli.token"
(cd "$scratch" && exec "${words[@]}" cbx-hub --state h invite --pond demo --slug cli) \
    >"$scratch/cli.token" 2>>"$scratch/invite.log" || fail "invite cli"
chmod 600 "$scratch"/*.token
shown hub "cut -c1-60 web.token"
cut -c1-60 "$scratch/web.token" | indent

step "Lease web runs nginx on its loopback, and joins"
mkdir "$scratch/www" "$scratch/nginx"
echo "Hello from nginx on lease web." >"$scratch/www/index.html"
cat >"$scratch/nginx.conf" <<END
daemon off;
master_process off;
pid $scratch/nginx/pid;
error_log stderr;
events { }
http {
    access_log off;
    client_body_temp_path $scratch/nginx/body;
    proxy_temp_path $scratch/nginx/proxy;
    fastcgi_temp_path $scratch/nginx/fastcgi;
    uwsgi_temp_path $scratch/nginx/uwsgi;
    scgi_temp_path $scratch/nginx/scgi;
    server { listen 127.0.0.1:$page_port; root $scratch/www; }
}
END
shown web "nginx -c nginx.conf &      # listens on 127.0.0.1:$page_port"
start web nginx nginx -p "$scratch/nginx" -e stderr -c "$scratch/nginx.conf"
nginx_pid=$started
shown web "cbx-agent --state w up @web.token --proxy off &"
start web web cbx-agent --state w up @web.token --proxy off

step "Lease cli joins, and waits until web's port actually accepts"
shown cli "cbx-agent --state c up @cli.token --proxy $proxy &"
start cli cli cbx-agent --state c up @cli.token --proxy "$proxy"
run cli 0 cbx-agent --state c wait web.cbx:8080 --timeout 15s

step "A page by name, through the SOCKS5 front"
run cli 0 curl -sS --socks5-hostname "$proxy" http://web.cbx:8080/
expect_output "Hello from nginx"

step "The same through HTTP CONNECT, and over standard input and output"
run cli 0 curl -sS --proxytunnel -x "http://$proxy" http://web.cbx:8080/
expect_output "Hello from nginx"
run cli 0 'printf "GET / HTTP/1.0\r\n\r\n" | cbx-agent --state c dial web.cbx:8080 | tail -n 1'
expect_output "Hello from nginx"

step "A port that web does not expose is refused, in each front's own words"
run cli 97 curl -sS --socks5-hostname "$proxy" http://web.cbx:81/
run cli fails curl -sS --proxytunnel -x "http://$proxy" http://web.cbx:81/
expect_output 403
run cli 1 cbx-agent --state c dial web.cbx:81
expect_output "port not exposed"

step "So is a name that nobody has"
run cli 1 cbx-agent --state c dial nosuch.cbx:8080
expect_output "unknown name"

step "What the operator sees"
run hub 0 cbx-hub --state h peers
expect_output web
run hub 0 cbx-hub --state h status

step "What the lease sees"
run cli 0 cbx-agent --state c peers
run cli 0 cbx-agent --state c status

step "Everything is taken down"
run web 0 cbx-agent --state w down
run cli 0 cbx-agent --state c down
run hub 0 cbx-hub --state h shutdown
kill "$nginx_pid"
wait_for_the_end || fail "something still runs after all was told to end"
finish
trap - EXIT

echo
echo "demo: ok"
