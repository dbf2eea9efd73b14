#!/usr/bin/env bash
# make test-peers: real mail software from Debian as clients and readers of Basin, and as the servers it sends to.
#
# Everything listens and connects on 127.0.0.1 alone, is bounded in count and time, and ends with this script.
# Packages that exclude each other are unpacked side by side below a cache folder; nothing of them is installed or
# started by Debian's own scripts. Of those that start nothing, swaks with its TLS, openssl, libsasl2-modules and
# python3-dkim are installed where they are missing. Nodemailer comes from npm, where there is one.
#
#   PEERS_MESSAGES=2000   messages of the Postfix relay run (20000 if unset)
#   PEERS_RELAYED=500     messages through Basin to Postfix (5000 if unset)
#   PEERS_ONLY=relay      leaves out the checks of peers as clients; PEERS_ONLY=submission has those of mail programs alone
#   PEERS_CACHE=DIR       where the unpacked packages are kept
set -u
cd "$(dirname "$0")/../.."

TREE=$PWD
BASIN=${BASIN_BIN:-$TREE/target/debug/basin}
WASM=${BASIN_WASM:-$TREE/target/guests/wasm32-wasip2/release}
CACHE=${PEERS_CACHE:-$TREE/target/peers}
TEST_DNS=${TEST_DNS_BIN:-$TREE/target/debug/basin-test-dns}
MESSAGES=${PEERS_MESSAGES:-20000}
RELAYED=${PEERS_RELAYED:-5000}
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

for part in swaks postfix_home postfix exim dovecot submission submission_servers relay next_postfix next_exim next_opensmtpd next_dovecot dns dkim many; do
  . "tests/peers/$part.sh"
done

if [ "${PEERS_ONLY:-}" != relay ]; then check_submission; fi
if [ -z "${PEERS_ONLY:-}" ]; then
  start_basin
  check_swaks
  check_smtp_source
  check_postfix_relay
  check_exim
  check_dovecot
fi
if [ "${PEERS_ONLY:-}" = submission ]; then
  :
elif ! postfix_unpack; then
  bad "Postfix can be fetched"
elif prepare_relay; then
  check_next_postfix
  check_next_exim
  check_next_opensmtpd
  check_next_dovecot
  check_dns
  check_dkim
  check_many
fi

printf '%d passed, %d failed, %d skipped\n' "$PASSED" "$FAILED" "$SKIPPED"
[ "$FAILED" = 0 ] && [ "$PASSED" -gt 0 ]
