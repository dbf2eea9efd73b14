#!/usr/bin/env bash
# make rivals: filters that misbehave, written alike for Postfix, Haraka, OpenSMTPD and Basin; README.md tells more.
#
# Everything listens on 127.0.0.1 alone, is bounded in time and memory, and ends with this script. It needs root on a
# Debian system, Node.js for Haraka, and network at the first time.
#
#   RIVALS_SECONDS=90     how long a reply is waited for
#   RIVALS_MEMORY=1024    MiB that a server has together with its filter
#   RIVALS_ONLY="basin"   these servers alone, in place of "postfix haraka opensmtpd basin"
#   RIVALS_HOW="loop"     these misbehaviours alone, in place of "loop throw throw-later exit hang memory"
#   RIVALS_FOLDER=DIR     where what was fetched and seen is kept; rows that are not run again are taken from there
set -u
cd "$(dirname "$0")/../.."

TREE=$PWD
HERE=$TREE/tests/rivals
BASIN=${BASIN_BIN:-$TREE/target/debug/basin}
WASM=${BASIN_WASM:-$TREE/target/guests/wasm32-wasip2/release}
CACHE=${PEERS_CACHE:-$TREE/target/peers}
FOLDER=${RIVALS_FOLDER:-$TREE/target/rivals}
BOUND=${RIVALS_SECONDS:-90}
MEMORY_MIB=${RIVALS_MEMORY:-1024}
DOMAIN=rivals.example
# Debian's own, for which Debian packages python3-milter.
PYTHON=/usr/bin/python3
export PYTHONDONTWRITEBYTECODE=1

. tests/peers/lib.sh
. tests/peers/postfix_home.sh
for part in box postfix haraka opensmtpd basin; do . "tests/rivals/$part.sh"; done

if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  echo "rivals: skipped: it needs root on a Debian system"
  exit 0
fi
mkdir -p "$CACHE" "$FOLDER/seen"
WORK=$(mktemp -d /tmp/basin-rivals.XXXXXX)
chmod 755 "$WORK"
trap 'stop_everything; drop_box' EXIT
make_box

# case_of SERVER HOW: starts it, watches it and ends it.
case_of() {
  local server=$1 how=$2 seen=$FOLDER/seen/$1-$2.json
  HOME_OF_CASE=$WORK/$server-$how PORT=$(free_port) SERVER_PID= FILTER=() LOG=$WORK/$server-$how/log
  mkdir -p "$HOME_OF_CASE"
  CALLS=$HOME_OF_CASE/calls
  touch "$CALLS"
  chmod 666 "$CALLS"
  COUNT=(--calls "$CALLS")
  if ! "run_$server" "$how"; then
    bad "$server starts" "$(cat "$LOG" "$HOME_OF_CASE"/*.log 2>/dev/null)"
    end_of_case 2>/dev/null
    return
  fi
  unset LD_LIBRARY_PATH
  if "$PYTHON" "$HERE/watch.py" --port "$PORT" --domain "$DOMAIN" --bound "$BOUND" --server-pid "$SERVER_PID" \
    --box "$BOX" --log "$LOG" --log-pattern "$PATTERN" "${COUNT[@]}" "${FILTER[@]}" >"$HOME_OF_CASE/seen.json"; then
    cp "$HOME_OF_CASE/seen.json" "$seen"
    cp "$LOG" "$FOLDER/seen/$server-$how.log"
    "about_$server" >"$FOLDER/seen/$server.about"
    about_box >"$FOLDER/seen/box.about"
    ok "$server, $how: seen"
  else
    bad "$server, $how: watched"
  fi
  # Where the shell would tell whom it saw killed.
  end_of_case 2>/dev/null
}

# The processes of this case, by their ids: what hangs does not end when it is asked to.
end_of_case() {
  local pid
  for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null; done
  sleep 1
  for pid in $(tree_of "${PIDS[@]}"); do kill -9 "$pid" 2>/dev/null; done
  empty_box
  wait
  PIDS=()
}

for server in ${RIVALS_ONLY:-postfix haraka opensmtpd basin}; do
  if ! "prepare_$server" >"$WORK/prepare" 2>&1; then
    bad "$server can be had" "$(cat "$WORK/prepare")"
    continue
  fi
  for how in ${RIVALS_HOW:-loop throw throw-later exit hang memory}; do
    # The one server whose filters are callbacks.
    if [ "$how" != throw-later ] || [ "$server" = haraka ]; then case_of "$server" "$how"; fi
  done
done

"$PYTHON" "$HERE/table.py" "$FOLDER/seen" "$TREE/docs/security.md" || FAILED=$((FAILED + 1))
printf '%d seen, %d failed\n' "$PASSED" "$FAILED"
[ "$FAILED" = 0 ]
