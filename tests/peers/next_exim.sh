# Exim as the next hop, as a smart host that wants a password over TLS, and as one that puts strangers off at first.

exim_ports() { EXIM=$WORK/next-exim EXIM_PLAIN=$(free_port) EXIM_SMART=$(free_port); }

exim_routes() {
  route exim.example "127.0.0.1:$EXIM_PLAIN"
  route smart.example "mx.verified.postfix.example:$EXIM_SMART" 'credentials = "right"'
  route smart-wrong.example "again.verified.postfix.example:$EXIM_SMART" 'credentials = "wrong"'
}

next_exim_start() {
  unpack exim4-daemon-heavy || return 1
  need_user Debian-exim
  local root=$CACHE/exim4-daemon-heavy/root
  export LD_LIBRARY_PATH=$root/usr/lib:$root/usr/lib/x86_64-linux-gnu
  # As in exim.sh: a set-uid program would lose LD_LIBRARY_PATH.
  chmod u-s "$root/usr/sbin/exim4"
  mkdir -p "$EXIM/spool" "$EXIM/log" "$EXIM/mail"
  chown -R Debian-exim "$EXIM"
  cat >"$EXIM/exim.conf" <<CF
primary_hostname = exim.example
spool_directory = $EXIM/spool
log_file_path = $EXIM/log/%slog
log_selector = +received_recipients +tls_cipher
exim_user = Debian-exim
exim_group = Debian-exim
keep_environment = LD_LIBRARY_PATH
exim_path = $root/usr/sbin/exim4
local_interfaces = <; 127.0.0.1.$EXIM_PLAIN ; 127.0.0.1.$EXIM_SMART
disable_ipv6 = true
host_lookup =
rfc1413_query_timeout = 0s
never_users =
tls_advertise_hosts = *
tls_certificate = $OUT/mx.pem
tls_privatekey = $OUT/mx.key
acl_smtp_rcpt = rcpt
acl_smtp_data = accept
begin acl
rcpt:
  deny    condition = \${if eq{\$received_port}{$EXIM_SMART}}
          !authenticated = *
          message = log in first
  defer   local_parts = grey
          condition = \${if !exists{$EXIM/known}}
          message = 4.7.1 never seen you, come back later
  accept
begin routers
here:
  driver = accept
  transport = maildir
begin transports
maildir:
  driver = appendfile
  directory = $EXIM/mail
  maildir_format
  user = Debian-exim
  group = Debian-exim
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = \${if and{{eq{\$auth2}{smart}}{eq{\$auth3}{secret}}}}
  server_set_id = \$auth2
  server_advertise_condition = \${if def:tls_in_cipher}
CF
  "$root/usr/sbin/exim4" -C "$EXIM/exim.conf" -bdf -q1m >"$EXIM/output" 2>&1 &
  PIDS+=($!)
  await 20 greets "$EXIM_PLAIN" && return
  cat "$EXIM/output" "$EXIM"/log/*
  return 1
}

check_next_exim() {
  if ! next_exim_start >"$OUT/next-exim" 2>&1; then bad "Exim starts as next hop" "$(cat "$OUT/next-exim")"; return; fi
  check "Basin takes a message for Exim" relay exim '<reports@out.example> BODY=8BITMIME ENVID=exim1' \
    '<next@exim.example> NOTIFY=SUCCESS ORCPT=rfc822;first@exim.example'
  check "Exim has it octet for octet, with one Received field" arrives "$EXIM/mail" exim
  check "Exim offers no DSN: Basin reports that it was relayed" report reports '^Action: relayed' '^Original-Envelope-Id: exim1' \
    '^Original-Recipient: rfc822; ?first@exim\.example'
  check "Basin takes a message for Exim to be sent in chunks" with_chunking relay exim-bdat '<sender@out.example> BODY=8BITMIME' '<next@exim.example>'
  check "Exim has it octet for octet, with one Received field" arrives "$EXIM/mail" exim-bdat
  check "it came with BDAT" grep -qE '<= sender@out\.example .* K .*exim-bdat@' "$EXIM/log/mainlog"
  check "Basin takes a message for the smart host" relay smart '<sender@out.example> BODY=8BITMIME' '<next@smart.example>'
  check "it logs in and the message comes" arrives "$EXIM/mail" smart
  check "the smart host saw the name, over TLS" grep -qE '<= sender@out\.example .*X=TLS1\.3.* A=plain:smart' "$EXIM/log/mainlog"
  check "Basin takes a message for it with the wrong password" relay smart-wrong '<sender@out.example> BODY=8BITMIME' '<next@smart-wrong.example>'
  check "it stays in the queue" stays "$EXIM/mail" smart-wrong 'smart-wrong\.example.*535'
  check "Basin takes a message for somebody who puts strangers off" relay grey '<sender@out.example> BODY=8BITMIME' '<grey@exim.example>'
  check "it stays in the queue with their answer" stays "$EXIM/mail" grey 'never seen you'
  touch "$EXIM/known"
  check "the next attempt is successful" arrives "$EXIM/mail" grey
}
