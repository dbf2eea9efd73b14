# Postfix as the next hop: what it takes, with what parameters, over what TLS.

NEXT_DOMAINS="plain tls required verified other bare many mx-a mx-b"

postfix_ports() {
  NEXT=$WORK/next-postfix
  NEXT_PLAIN=$(free_port) NEXT_TLS=$(free_port) NEXT_BARE=$(free_port) NEXT_MANY=$(free_port)
}

postfix_routes() {
  route plain.postfix.example "127.0.0.1:$NEXT_PLAIN" 'tls = "never"'
  route tls.postfix.example "127.0.0.1:$NEXT_TLS"
  route required.postfix.example "127.0.0.1:$NEXT_MANY" 'tls = "required"'
  route verified.postfix.example "mx.verified.postfix.example:$NEXT_TLS" 'tls = "verified"'
  route other.postfix.example "mx.other.example:$NEXT_TLS" 'tls = "verified"'
  route bare.postfix.example "127.0.0.1:$NEXT_BARE"
  route many.postfix.example "127.0.0.5:$NEXT_MANY"
}

next_postfix_start() {
  local domain
  mkdir -p "$NEXT/mail"
  chown nobody "$NEXT/mail"
  for domain in $NEXT_DOMAINS; do
    echo "next@$domain.postfix.example $domain/"
  done >"$NEXT/boxes"
  # The bare one refuses whoever sends ahead of a reply without being offered PIPELINING.
  cat >"$NEXT/listeners.cf" <<CF
127.0.0.1:$NEXT_PLAIN inet n - n - 60 smtpd -v -o syslog_name=plain
127.0.0.1:$NEXT_TLS inet n - n - 60 smtpd -o syslog_name=tls -o smtpd_tls_security_level=may
127.0.0.1:$NEXT_BARE inet n - n - 60 smtpd -v -o syslog_name=bare -o smtpd_forbid_unauth_pipelining=yes
  -o smtpd_discard_ehlo_keywords=pipelining,chunking,dsn,size,enhancedstatuscodes
127.0.0.1:$NEXT_MANY inet n - n - 60 smtpd
127.0.0.5:$NEXT_MANY inet n - n - 60 smtpd
127.0.0.2:$MX_PORT inet n - n - 60 smtpd -o syslog_name=mx-a
127.0.0.3:$MX_PORT inet n - n - 60 smtpd -o syslog_name=mx-b
CF
  cat >"$NEXT/more.cf" <<CF
myhostname = mx.postfix.example
smtpd_relay_restrictions = permit_mynetworks, reject
local_header_rewrite_clients =
smtpd_tls_cert_file = $OUT/mx.pem
smtpd_tls_key_file = $OUT/mx.key
smtpd_tls_loglevel = 1
smtpd_tls_received_header = yes
virtual_mailbox_base = $NEXT/mail
virtual_mailbox_domains = $(for domain in $NEXT_DOMAINS; do printf '%s.postfix.example ' "$domain"; done) implicit.example
virtual_mailbox_maps = texthash:$NEXT/boxes
virtual_uid_maps = static:$(id -u nobody)
virtual_gid_maps = static:$(id -g nobody)
transport_maps = inline:{{out.example = smtp:[127.0.0.1]:$OUT_SMTP}}
CF
  echo "next@implicit.example implicit/" >>"$NEXT/boxes"
  postfix_start "$NEXT" "$NEXT_PLAIN"
}

check_next_postfix() {
  if ! next_postfix_start >"$OUT/next-postfix" 2>&1; then bad "Postfix starts as next hop" "$(cat "$OUT/next-postfix")"; return; fi
  check "Basin takes a message for Postfix" relay plain '<sender@out.example> BODY=8BITMIME' '<next@plain.postfix.example>'
  check "Postfix has it octet for octet, with one Received field" arrives "$NEXT/mail" plain
  check "SIZE and 8BITMIME were said" said 'MAIL FROM:<sender@out\.example> .*SIZE=[0-9]+' 'MAIL FROM:<sender@out\.example> .*BODY=8BITMIME'
  check "a null sender is taken" relay null '<> BODY=8BITMIME' '<next@plain.postfix.example>'
  check "it arrives" arrives "$NEXT/mail" null
  check "it is still null" null_is_null
  check "Basin takes a message to be sent in chunks" with_chunking relay bdat '<sender@out.example> BODY=8BITMIME' '<next@plain.postfix.example>'
  check "Postfix has it octet for octet, with one Received field" arrives "$NEXT/mail" bdat
  check "it came with BDAT" said 'BDAT [0-9]+ LAST'
  check_postfix_dsn
  check_postfix_tls
  check "a server without PIPELINING, SIZE, CHUNKING and DSN gets its mail" relay bare '<sender@out.example> BODY=8BITMIME' '<next@bare.postfix.example>'
  check "one command at a time, octet for octet" arrives "$NEXT/mail" bare
  check "Basin takes a message for nobody" relay unknown '<unknown@out.example> BODY=8BITMIME ENVID=no+2Bbody' '<nobody@plain.postfix.example>'
  check "the 550 is in a report to its sender" report unknown '^Action: failed' '^Status: 5\.1\.1' \
    '^Final-Recipient: rfc822; ?nobody@plain\.postfix\.example' '^Diagnostic-Code: smtp; ?550 5\.1\.1' '^Original-Envelope-Id: no\+'
}

# said PATTERN...: Basin said all of them to the plain listener, which logs every line.
said() { await 20 was_said "$@" || { grep -E 'plain/smtpd.*< ' "$NEXT/log"; return 1; }; }
was_said() {
  local pattern
  for pattern in "$@"; do grep -qE "plain/smtpd.*< .*$pattern" "$NEXT/log" || { echo "never said: $pattern"; return 1; }; done
}

null_is_null() { said 'MAIL FROM:<>' && grep -qx 'Return-Path: <>' "$(stored "$NEXT/mail" null)"; }

check_postfix_dsn() {
  check "a message with RET, ENVID, NOTIFY and ORCPT is taken" relay dsn '<reports@out.example> BODY=8BITMIME RET=HDRS ENVID=env+2B7' \
    '<next@plain.postfix.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first@origin.example'
  check "Postfix is told all of them" said 'MAIL FROM:<reports@out\.example>.* RET=HDRS' 'MAIL FROM:<reports@out\.example>.* ENVID=env\+2B7' \
    'RCPT TO:<next@plain\.postfix\.example>.* NOTIFY=SUCCESS,FAILURE' 'RCPT TO:<next@plain\.postfix\.example>.* ORCPT=rfc822;first@origin\.example'
  check "Postfix reports delivery, Basin carries the report" report reports '^Action: delivered' '^Original-Envelope-Id: env\+' \
    '^Original-Recipient: rfc822; ?first@origin\.example'
}

# with_tls NAME: arrived, and Postfix wrote into its own Received field what it came over.
with_tls() { arrives "$NEXT/mail" "$1" && grep -q 'using TLSv1\.3' "$(stored "$NEXT/mail" "$1")"; }

check_postfix_tls() {
  check "a message for a server with STARTTLS is taken" relay tls '<sender@out.example> BODY=8BITMIME' '<next@tls.postfix.example>'
  check "it comes over TLS, though nobody knows the certificate's name" with_tls tls
  check "a message for a verified server is taken" relay verified '<sender@out.example> BODY=8BITMIME' '<next@verified.postfix.example>'
  check "the certificate is of the right authority and name: it comes" with_tls verified
  check "a message for a server with another's certificate is taken" relay other '<sender@out.example> BODY=8BITMIME' '<next@other.postfix.example>'
  check "it stays in the queue" stays "$NEXT/mail" other 'mx\.other\.example.*certificate'
  check "a message that needs TLS is taken" relay required '<sender@out.example> BODY=8BITMIME' '<next@required.postfix.example>'
  check "it stays in the queue where no TLS is offered" stays "$NEXT/mail" required 'required\.postfix\.example.*TLS'
}
