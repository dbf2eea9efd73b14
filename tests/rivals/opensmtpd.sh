# OpenSMTPD with a filter in Python.

prepare_opensmtpd() { unpack opensmtpd && has_views; }
about_opensmtpd() {
  echo "OpenSMTPD $(dpkg-deb -f "$CACHE"/opensmtpd/debs/opensmtpd_*.deb Version) with a \`proc-exec\` filter at \`commit\`; its manual pages name no timeout for filters"
}

run_opensmtpd() {
  local view=$HOME_OF_CASE/view
  PATTERN='(fatal: |warn: (?!smtpd: parent_forward_open)|\w*Error: ).*'
  need_user opensmtpd; need_user opensmtpq
  mkdir -p "$view/mail"
  cp "$HERE"/filters/*.py "$view/"
  mv "$CALLS" "$view/calls"
  CALLS=$view/calls
  COUNT=(--calls "$CALLS")
  FILTER=(--filter-name opensmtpd.py)
  chown nobody "$view/mail"
  cat >"$view/smtpd.conf" <<CF
filter "misbehaving" proc-exec "$PYTHON $view/opensmtpd.py $1 $CALLS"
listen on 127.0.0.1 port $PORT filter "misbehaving"
table boxes { "@" = "nobody" }
action "in" maildir "$view/mail" virtual <boxes>
match from any for domain "$DOMAIN" action "in"
CF
  chmod 644 "$view/smtpd.conf"
  in_view opensmtpd "$view" /usr/sbin/smtpd -d -f "$view/smtpd.conf" >"$LOG" 2>&1 &
  SERVER_PID=$!
  PIDS+=("$SERVER_PID")
  await 20 greets "$PORT" || return 1
  boxed "$SERVER_PID"
}
