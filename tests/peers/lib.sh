# Shared by the checks of real peers; sourced by run.sh.

PASSED=0
FAILED=0
SKIPPED=0
PIDS=()

ok() { PASSED=$((PASSED + 1)); echo "ok      $1"; }
bad() { FAILED=$((FAILED + 1)); echo "FAILED  $1"; [ $# -lt 2 ] || printf '%s\n' "$2" | tail -n 20 | sed 's/^/        /'; }
skip() { SKIPPED=$((SKIPPED + 1)); echo "skipped $1"; }

# check NAME COMMAND...: what the command prints is shown where it fails.
check() {
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then ok "$name"; else bad "$name" "$output"; fi
}

# await SECONDS COMMAND...: looks four times a second until the command succeeds.
await() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.25
  done
}

# A port of 127.0.0.1 that nobody listens at, below those that Linux gives to outgoing connections.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo $port
      return
    fi
  done
}

# unpack PACKAGE: the package and what it needs beyond this system, unpacked to $CACHE/PACKAGE and not installed.
unpack() {
  local package=$1 folder=$CACHE/$1
  [ -f "$folder/.complete" ] && return
  rm -rf "$folder" && mkdir -p "$folder/debs/partial" "$folder/root"
  if ! apt-get install -y -q --no-install-recommends --download-only --reinstall -o Dir::Cache::archives="$folder/debs" "$package" >"$folder/log" 2>&1; then
    apt-get update -q >>"$folder/log" 2>&1
    apt-get install -y -q --no-install-recommends --download-only --reinstall -o Dir::Cache::archives="$folder/debs" "$package" >>"$folder/log" 2>&1 ||
      { cat "$folder/log"; return 1; }
  fi
  local deb
  for deb in "$folder"/debs/*.deb; do dpkg -x "$deb" "$folder/root" || return 1; done
  touch "$folder/.complete"
}

# in_view PACKAGE SHARED COMMAND...: for software that has its paths compiled in. The command sees the unpacked package
# laid over this system's files; what it writes is gone with it, except below SHARED. Nobody else sees any of it.
in_view() {
  mkdir -p "$2/view"
  exec env -u LD_LIBRARY_PATH unshare --mount bash -c '
    set -e
    view=$1/view package=$2 shared=$1
    shift 2
    mount -t tmpfs tmpfs "$view"
    mkdir "$view/upper" "$view/work" "$view/root"
    cp -a "$package/." "$view/upper"
    # A folder here would hide the symbolic link of that name below.
    rm -rf "$view/upper/lib"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$view/upper,workdir=$view/work" "$view/root"
    mount --rbind /dev "$view/root/dev"
    mount --bind /proc "$view/root/proc"
    mkdir -p "$view/root$shared"
    mount --bind "$shared" "$view/root$shared"
    exec chroot "$view/root" "$@"
  ' - "$2" "$CACHE/$1/root" "${@:3}"
}
has_views() { unshare --mount mount -t tmpfs tmpfs "$WORK" 2>/dev/null; }

# installed PACKAGE: it is, or it gets so. For packages that start nothing and exclude no other. A fresh machine has no
# list of packages, or an old one.
installed() {
  dpkg -s "$1" 2>/dev/null | grep -q '^Status: .* installed$' && return
  apt-get install -y -q --no-install-recommends "$1" >"$WORK/apt.log" 2>&1 ||
    { apt-get update -q && apt-get install -y -q --no-install-recommends "$1"; } >>"$WORK/apt.log" 2>&1
}

# A user that a package's own script would have made.
need_user() { getent passwd "$1" >/dev/null || useradd --system --no-create-home --shell /usr/sbin/nologin "$1"; }

start_basin() {
  SMTP=$(free_port) ADMIN=$(free_port)
  cat >"$WORK/basin.toml" <<TOML
host-name = "mx.basin.example"
[spool]
directory = "$WORK/spool"
[registry]
directory = "$WORK/registry"
[maildir]
directory = "$WORK/mail"
[admin]
address = "127.0.0.1:$ADMIN"
[[listener]]
name = "inbound"
address = "127.0.0.1:$SMTP"
[[domain]]
name = "basin.example"
mailboxes = ["swaks", "source", "postfix", "exim", "dovecot", "postmaster"]
[log]
level = "warn"
TOML
  export BASIN_CONFIG=$WORK/basin.toml
  serve "$WORK/basin.toml" "$WORK/basin.log" "$ADMIN"
}

# serve CONFIGURATION LOG ADMIN-PORT: a server that runs until the script ends.
serve() {
  "$BASIN" --config "$1" serve >"$2" 2>&1 &
  PIDS+=($!)
  if ! await 30 is_healthy "$3"; then
    echo "basin does not start:"; cat "$2"
    exit 1
  fi
}

# ask ADMIN-PORT PATH: status line, header and body.
ask() { (exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET %s HTTP/1.0\r\n\r\n' "$2" >&3 && cat <&3) 2>/dev/null; }
is_healthy() { ask "$1" /health | head -1 | grep -q ' 200'; }
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# mails MAILBOX: the files of a mailbox of Basin.
mails() { find "$WORK/mail/basin.example/$1/new" "$WORK/mail/basin.example/$1/cur" -type f 2>/dev/null; }
count_is() { [ "$(mails "$1" | wc -l)" -ge "$2" ]; }

# exactly MAILBOX COUNT FIELD: that many messages arrive, each with a value of FIELD of its own.
exactly() {
  await $DELIVERY_SECONDS count_is "$1" "$2"
  local files distinct
  files=$(mails "$1" | wc -l)
  distinct=$(mails "$1" | xargs -r -d '\n' grep -h -m1 -i "^$3:" | sort -u | wc -l)
  echo "$files messages with $distinct different $3, expected $2 of each"
  [ "$files" = "$2" ] && [ "$distinct" = "$2" ]
}

stop_everything() {
  local pid
  for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null; done
  wait 2>/dev/null
  [ "$FAILED" = 0 ] && rm -rf "$WORK" || echo "kept for a look: $WORK"
}
