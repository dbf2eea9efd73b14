# Basin with the sinks of tests/hostile.

prepare_basin() { [ -x "$BASIN" ] && [ -f "$WASM/loop_forever.wasm" ] && [ -f "$WASM/hang.wasm" ] && [ -f "$WASM/exit.wasm" ]; }
about_basin() {
  local build=release
  case $BASIN in */debug/*) build=debug ;; esac
  echo "Basin $("$BASIN" --version | cut -d' ' -f2) ($build build) with the sinks of \`tests/hostile\` at \`on-end-of-data\`, bound with the rule \`rcpt to=victim@*\`; budget and policy (\`defer\`) as they are"
}

run_basin() {
  local admin sink
  # What is wrong with the sink, of a line that says much more.
  PATTERN='kind="[^"]*" detail="[^"]*"'
  case $1 in
    loop) sink=loop-forever ;;
    throw) sink=trap ;;
    memory) sink=eat-memory ;;
    *) sink=$1 ;;
  esac
  admin=$(free_port)
  COUNT=(--metrics "$admin")
  cat >"$HOME_OF_CASE/basin.toml" <<TOML
host-name = "mx.$DOMAIN"
[spool]
directory = "$HOME_OF_CASE/spool"
[registry]
directory = "$HOME_OF_CASE/registry"
[maildir]
directory = "$HOME_OF_CASE/mail"
[admin]
address = "127.0.0.1:$admin"
[[listener]]
name = "inbound"
address = "127.0.0.1:$PORT"
[[domain]]
name = "$DOMAIN"
mailboxes = ["victim", "other", "postmaster"]
TOML
  "$BASIN" --config "$HOME_OF_CASE/basin.toml" sink add "$WASM/${sink//-/_}.wasm" --name "$sink" \
    --event 'on-end-of-data:rcpt to=victim@*' >"$LOG" 2>&1 || return 1
  "$BASIN" --config "$HOME_OF_CASE/basin.toml" serve >"$LOG" 2>&1 &
  SERVER_PID=$!
  PIDS+=("$SERVER_PID")
  await 30 is_healthy "$admin" || return 1
  # What wasmtime maps and nobody touches, some GiB, counts as data too: a limit of that would be met before any message.
  [ -z "$BOX" ] || boxed "$SERVER_PID"
}
