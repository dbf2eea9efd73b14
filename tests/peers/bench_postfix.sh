#!/usr/bin/env bash
# bench_postfix.sh SINK-PORT: a Postfix that relays everything to that port of 127.0.0.1, for the benchmark.
#
# Prints its port, the id of its master and its queue folder, and ends when its standard input does.
set -u
cd "$(dirname "$0")/../.."
CACHE=${PEERS_CACHE:-$PWD/target/peers}
. tests/peers/lib.sh
. tests/peers/postfix_home.sh
mkdir -p "$CACHE"
WORK=$(mktemp -d /tmp/basin-bench.XXXXXX)
chmod 755 "$WORK"
trap stop_everything EXIT

postfix_unpack >&2 || exit 1
home=$WORK/postfix port=$(free_port)
mkdir -p "$home"
echo "127.0.0.1:$port inet n - n - 100 smtpd" >"$home/listeners.cf"
# As many connections to the next hop as Basin is given. Queue files are synced before 250, as always.
cat >"$home/more.cf" <<CF
myhostname = relay.client.example
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [127.0.0.1]:$1
smtp_destination_concurrency_limit = 20
initial_destination_concurrency = 20
CF
postfix_start "$home" "$port" >&2 || { FAILED=1; exit 1; }
echo "$port $POSTFIX_PID $home/queue"
cat >/dev/null
