# Haraka with a plug-in in JavaScript.

# Newer than what Debian has, and what its users run.
HARAKA_VERSION=3.3.4

prepare_haraka() {
  HARAKA=$FOLDER/haraka-$HARAKA_VERSION/node_modules/Haraka
  [ -f "$HARAKA/bin/haraka" ] && return
  command -v npm >/dev/null && mkdir -p "$FOLDER/haraka-$HARAKA_VERSION" &&
    npm install --prefix "$FOLDER/haraka-$HARAKA_VERSION" --no-audit --no-fund --omit=dev --omit=optional "Haraka@$HARAKA_VERSION"
}
about_haraka() {
  echo "Haraka $HARAKA_VERSION with Node.js $(node --version), configured by \`haraka -i\` (a master with one worker, \`plugin_timeout\` 30 s); plug-ins \`rcpt_to.in_host_list\`, the misbehaving one at \`hook_data_post\`, \`queue/discard\`"
}

run_haraka() {
  local home=$HOME_OF_CASE/haraka
  FILTER=(--has-worker)
  # Without the calls that an error came through.
  PATTERN='(\[CRIT\]|FATAL ERROR|worker \d+ (exited|killed)).*?(?=     at |$)'
  node "$HARAKA/bin/haraka" -i "$home" >"$HOME_OF_CASE/made" 2>&1 || return 1
  cp "$HERE/filters/haraka.js" "$home/plugins/misbehaving.js"
  printf '%s\n' rcpt_to.in_host_list misbehaving queue/discard >"$home/config/plugins"
  echo "$DOMAIN" >"$home/config/host_list"
  sed -i "s/^;listen=.*/listen=127.0.0.1:$PORT/" "$home/config/smtp.ini"
  HOW=$1 CALLS=$CALLS YES_REALLY_DO_DISCARD=1 node "$HARAKA/bin/haraka" -c "$home" >"$LOG" 2>&1 &
  SERVER_PID=$!
  PIDS+=("$SERVER_PID")
  await 20 greets "$PORT" || return 1
  boxed "$SERVER_PID"
}
