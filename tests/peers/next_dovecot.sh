# Dovecot's LMTP server as the next hop: a mail store behind Basin.

lmtp_ports() { LMTP=$WORK/next-dovecot LMTP_PORT=$(free_port); }
lmtp_routes() { route lmtp.example "127.0.0.1:$LMTP_PORT" 'protocol = "lmtp"'; }

lmtp_start() {
  mkdir -p "$LMTP/mail" "$LMTP/state"
  chown nobody:nogroup "$LMTP/mail"
  cat >"$LMTP/dovecot.conf" <<CF
base_dir = $LMTP/run
state_dir = $LMTP/state
log_path = $LMTP/log
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = daemon
ssl = no
protocols = lmtp
mail_location = maildir:$LMTP/mail/%n
first_valid_uid = 1
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = $LMTP_PORT
  }
}
passdb {
  driver = passwd-file
  args = username_format=%n $LMTP/users
}
userdb {
  driver = passwd-file
  args = username_format=%n $LMTP/users
}
CF
  printf '%s:{PLAIN}x:%s:%s::%s::\n' first "$(id -u nobody)" "$(id -g nobody)" "$LMTP/mail" second "$(id -u nobody)" "$(id -g nobody)" "$LMTP/mail" >"$LMTP/users"
  chmod 644 "$LMTP/users"
  in_view dovecot-lmtpd "$LMTP" /usr/sbin/dovecot -F -c "$LMTP/dovecot.conf" >"$LMTP/output" 2>&1 &
  PIDS+=($!)
  await 20 greets "$LMTP_PORT" && return
  cat "$LMTP/output" "$LMTP/log" 2>/dev/null
  return 1
}

check_next_dovecot() {
  if ! unpack dovecot-lmtpd; then bad "Dovecot's LMTP server can be fetched"; return; fi
  if ! has_views; then skip "Dovecot as next hop: no mounts to be had here"; return; fi
  if ! lmtp_start >"$OUT/next-dovecot" 2>&1; then bad "Dovecot starts as next hop" "$(cat "$OUT/next-dovecot")"; return; fi
  check "Basin takes a message for two boxes of Dovecot, and for one that is not there" relay lmtp '<unknown@out.example> BODY=8BITMIME' \
    '<first@lmtp.example>' '<second@lmtp.example>' '<third@lmtp.example>'
  check "the first box has it octet for octet, with one Received field" arrives "$LMTP/mail/first" lmtp
  check "so has the second" arrives "$LMTP/mail/second" lmtp
  check "the third is reported to the sender" report unknown '^Action: failed' '^Final-Recipient: rfc822; ?third@lmtp\.example' '^Diagnostic-Code: smtp; ?550'
  check "of the other two the report says nothing" silent_of_others
}

silent_of_others() { ! grep -rqE '^Final-Recipient: rfc822; ?(first|second)@lmtp' "$OUT/mail/out.example"; }
