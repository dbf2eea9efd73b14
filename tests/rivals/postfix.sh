# Postfix with a milter in Python.

prepare_postfix() { postfix_unpack && installed python3-milter && "$PYTHON" -c 'import Milter'; }
about_postfix() {
  local defaults
  postfix_unpack
  defaults=$("$POSTFIX/usr/sbin/postconf" -d milter_default_action milter_content_timeout 2>/dev/null | sed 's/.*/`&`/' | paste -sd, | sed 's/,/, /')
  unset LD_LIBRARY_PATH
  echo "Postfix $(dpkg-deb -f "$CACHE"/postfix/debs/postfix_*.deb Version) with a milter of python3-milter $(dpkg-query -W -f '${Version}' python3-milter): in \`smtpd_milters\`, all else as it comes ($defaults); nothing starts the milter again"
}

run_postfix() {
  local how=$1 milter
  PATTERN='(warning|fatal|panic|milter-reject): .*'
  milter=$(free_port)
  "$PYTHON" "$HERE/filters/postfix.py" "$how" "$milter" "$CALLS" >"$HOME_OF_CASE/milter.log" 2>&1 &
  FILTER=(--filter-pid $!)
  PIDS+=($!)
  await 10 listens "$milter" || return 1
  echo "127.0.0.1:$PORT inet n - n - - smtpd" >"$HOME_OF_CASE/listeners.cf"
  cat >"$HOME_OF_CASE/more.cf" <<CF
myhostname = mx.$DOMAIN
virtual_mailbox_domains = $DOMAIN
virtual_mailbox_maps = static:box
virtual_transport = discard:
smtpd_milters = inet:127.0.0.1:$milter
CF
  postfix_unpack && postfix_start "$HOME_OF_CASE" "$PORT" || return 1
  SERVER_PID=$POSTFIX_PID
  boxed "$SERVER_PID" "${FILTER[1]}"
}
