#!/usr/bin/env bash
# make test-peers: real mail software from Debian as clients and readers of Basin.
#
# Everything listens and connects on 127.0.0.1 alone, is bounded in count and time, and ends with this script.
# Packages that exclude each other are unpacked side by side below a cache folder; nothing of them is installed or
# started by Debian's own scripts. swaks alone is installed, if it is missing.
#
#   PEERS_MESSAGES=2000   messages of the Postfix relay run (20000 if unset)
#   PEERS_CACHE=DIR       where the unpacked packages are kept
set -u
cd "$(dirname "$0")/../.."

TREE=$PWD
BASIN=${BASIN_BIN:-$TREE/target/debug/basin}
WASM=${BASIN_WASM:-$TREE/target/guests/wasm32-wasip2/release}
CACHE=${PEERS_CACHE:-$TREE/target/peers}
MESSAGES=${PEERS_MESSAGES:-20000}
DELIVERY_SECONDS=600

. tests/peers/lib.sh

if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  echo "test-peers: skipped: it needs root on a Debian system to fetch and run Postfix, Exim, Dovecot and swaks"
  exit 0
fi
mkdir -p "$CACHE"
WORK=$(mktemp -d /tmp/basin-peers.XXXXXX)
chmod 755 "$WORK"
trap stop_everything EXIT

. tests/peers/swaks.sh
. tests/peers/postfix.sh
. tests/peers/exim.sh
. tests/peers/dovecot.sh

start_basin
check_swaks
check_smtp_source
check_postfix_relay
check_exim
check_dovecot

printf '%d passed, %d failed\n' "$PASSED" "$FAILED"
[ "$FAILED" = 0 ] && [ "$PASSED" -gt 0 ]
