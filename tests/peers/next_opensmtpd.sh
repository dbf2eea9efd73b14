# OpenSMTPD as the next hop.

opensmtpd_ports() { OPENSMTPD=$WORK/next-opensmtpd OPENSMTPD_PORT=$(free_port); }
opensmtpd_routes() { route opensmtpd.example "127.0.0.1:$OPENSMTPD_PORT"; }

opensmtpd_start() {
  need_user opensmtpd; need_user opensmtpq
  mkdir -p "$OPENSMTPD/mail"
  chown nobody "$OPENSMTPD/mail"
  cat >"$OPENSMTPD/smtpd.conf" <<CF
listen on 127.0.0.1 port $OPENSMTPD_PORT
table boxes { "@" = "nobody" }
action "in" maildir "$OPENSMTPD/mail" virtual <boxes>
match from any for domain "opensmtpd.example" action "in"
CF
  chmod 644 "$OPENSMTPD/smtpd.conf"
  in_view opensmtpd "$OPENSMTPD" /usr/sbin/smtpd -d -f "$OPENSMTPD/smtpd.conf" >"$OPENSMTPD/log" 2>&1 &
  PIDS+=($!)
  await 20 greets "$OPENSMTPD_PORT"
}

check_next_opensmtpd() {
  if ! unpack opensmtpd; then bad "OpenSMTPD can be fetched"; return; fi
  if ! has_views; then skip "OpenSMTPD as next hop: no mounts to be had here"; return; fi
  if ! opensmtpd_start; then bad "OpenSMTPD starts as next hop" "$(cat "$OPENSMTPD/log")"; return; fi
  check "Basin takes a message for OpenSMTPD" relay opensmtpd '<sender@out.example> BODY=8BITMIME' '<next@opensmtpd.example>'
  check "OpenSMTPD has it octet for octet, with one Received field" arrives "$OPENSMTPD/mail" opensmtpd
}
