# Whole servers that submit to Basin as their smarthost, with TLS that they verify and AUTH; and smtp-source.

# submit_by_postfix NAME WHAT SETTINGS: a Postfix with those settings sends everything to Basin; 20 messages are taken,
# and each is sent at its first attempt.
submit_by_postfix() {
  local home=$SUB/postfix-$1 what=$2 port
  port=$(free_port)
  mkdir -p "$home"
  echo "127.0.0.1:$port inet n - n - 60 smtpd" >"$home/listeners.cf"
  cat >"$home/more.cf" <<CF
myhostname = relay.client.example
smtpd_relay_restrictions = permit_mynetworks, reject
smtp_tls_CAfile = $SUB/ca.pem
smtp_tls_loglevel = 1
smtp_tls_security_level = secure
smtp_tls_secure_cert_match = mx.basin.example
smtp_sasl_auth_enable = yes
smtp_sasl_security_options = noanonymous
smtp_sasl_password_maps = inline:{[127.0.0.1]:$STARTTLS=ann@basin.example:swordfish, [127.0.0.1]:$IMPLICIT=ann@basin.example:swordfish}
# A refusal is to be seen in the queue, and makes no notification.
soft_bounce = yes
$3
CF
  if ! postfix_start "$home" "$port" >"$home/start" 2>&1; then bad "Postfix starts" "$(cat "$home/start")"; return 1; fi
  SOURCE_FROM=ann@basin.example check "Postfix takes 20 messages for Basin" source_to "$port" postfix 20 -d
  check "Postfix submits all of them $what" postfix_sent "$home" 20
}

check_submission_postfix() {
  if ! postfix_unpack || ! installed libsasl2-modules; then bad "Postfix and its SASL can be fetched"; return; fi
  local mechanism
  for mechanism in plain login scram-sha-256; do
    submit_by_postfix "$mechanism" "over STARTTLS that it verifies, with AUTH $mechanism" \
      "relayhost = [127.0.0.1]:$STARTTLS
smtp_sasl_mechanism_filter = $mechanism"
    [ "$mechanism" != plain ] || check_submission_sendmail "$SUB/postfix-plain"
    postfix_stop
  done
  submit_by_postfix implicit "over implicit TLS that it verifies" \
    "relayhost = [127.0.0.1]:$IMPLICIT
smtp_tls_wrappermode = yes"
  postfix_stop
  check "each of Postfix's messages is there once" submitted_once postfix 80 Message-Id '^Received: from client\.example'
}

# What Postfix's sendmail is told goes on to Basin: international letters, and for whom to notify of what.
check_submission_sendmail() {
  check "Postfix's sendmail takes a letter in UTF-8" by_postfix_sendmail "$1" 'postfix-Grüße' -N never
  check "it arrives with SMTPUTF8" arrived postfix 'postfix-Grüße' 'with UTF8SMTPSA'
  check "Postfix's sendmail takes one with DSN" by_postfix_sendmail "$1" postfix-dsn -V postfix-envelope -N success,failure
  check "its success is told, with the name of the envelope" notified postfix-envelope postfix@basin.example
}

by_postfix_sendmail() {
  local home=$1 subject=$2
  shift 2
  printf 'From: <ann@basin.example>\nTo: <postfix@basin.example>\nSubject: %s\n\nHello.\n' "$subject" |
    timeout 60 "$POSTFIX/usr/sbin/sendmail" -C "$home/etc" -i -f ann@basin.example "$@" postfix@basin.example
}

# notified ENVELOPE RECIPIENT: ann has a report of that delivery (RFC 3464).
notified() { await 20 is_notified "$@" || { grep -rl 'multipart/report' "$SUB/mail/basin.example/ann" | xargs -r tail -n 30; tail -n 8 "$SUB/log"; return 1; }; }
is_notified() {
  local file
  for file in $(grep -rlF "Original-Envelope-Id: $1" "$SUB/mail/basin.example/ann/new" 2>/dev/null); do
    grep -q '^Action: delivered' "$file" && grep -qF "Final-Recipient: rfc822; $2" "$file" && return
  done
  return 1
}

postfix_sent() {
  await 60 postfix_is_empty "$1"
  [ "$(grep -c 'status=sent' "$1/log")" = "$2" ] && [ "$(grep -c 'Verified TLS connection' "$1/log")" -gt 0 ] &&
    ! grep -qE 'status=(deferred|bounced)|(Trusted|Untrusted|Anonymous) TLS connection' "$1/log" || { tail -n 15 "$1/log"; return 1; }
}

# submitted_once MAILBOX COUNT FIELD [PATTERN]: as `exactly`, in the mailboxes of the submission server; with a pattern,
# of the messages in which a line matches it.
submitted_once() {
  await 30 submitted_count_is "$1" "$2"
  local files distinct
  files=$(grep -rlE -- "${4:-^}" "$SUB/mail/basin.example/$1/new" | wc -l)
  distinct=$(grep -rlE -- "${4:-^}" "$SUB/mail/basin.example/$1/new" | xargs -r grep -h -m1 -i "^$3:" | sort -u | wc -l)
  echo "$files messages with $distinct different $3, expected $2"
  [ "$files" = "$2" ] && [ "$distinct" = "$2" ]
}
submitted() { find "$SUB/mail/basin.example/$1/new" -type f 2>/dev/null | wc -l; }
submitted_count_is() { [ "$(submitted "$1")" -ge "$2" ]; }

# Exim speaks BDAT (RFC 3030) and PRDR where they are offered.
check_submission_exim() {
  if ! unpack exim4-daemon-light; then bad "Exim can be fetched"; return; fi
  need_user Debian-exim
  local root=$CACHE/exim4-daemon-light/root mode
  export LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu
  chmod u-s "$root/usr/sbin/exim4"
  for mode in PLAIN LOGIN IMPLICIT; do
    exim_submits "$root" "$mode" 20 >"$SUB/exim-$mode.output" 2>&1
    check "Exim hands 20 messages on with TLS that it verifies and AUTH ($mode)" exim_sent "$mode"
  done
  check "each of Exim's messages is there once" submitted_once exim 60 X-Number
  check "Exim sends them in chunks" grep -qE '=> exim@basin.example .* K C="250 ' "$SUB/exim-PLAIN/log/mainlog"
  check "Exim hands one message on to two" exim_submits "$root" PLAIN 1 choosy@basin.example
  check "each of the two gets an answer of its own (PRDR)" exim_used_prdr
}

# exim_submits ROOT MODE COUNT MORE-RECIPIENTS...: Exim hands each message on before its command ends.
exim_submits() {
  local root=$1 mode=$2 count=$3 home=$SUB/exim-$2 number
  shift 3
  mkdir -p "$home/spool" "$home/log"
  chown -R Debian-exim "$home"
  exim_submission_settings "$root" "$home" "$mode" >"$home.conf"
  for number in $(seq 1 "$count"); do
    printf 'From: <ann@basin.example>\nSubject: from exim\nX-Number: %s-%s\n\n.a dot\nbody\n' "$mode" "$number" |
      timeout 60 "$root/usr/sbin/exim4" -C "$home.conf" -odf -i -f ann@basin.example exim@basin.example "$@" || return 1
  done
}

exim_submission_settings() {
  local port=$STARTTLS protocol=smtp mechanism=$3 send='^ann@basin.example^swordfish'
  [ "$3" = IMPLICIT ] && port=$IMPLICIT protocol=smtps mechanism=PLAIN
  [ "$3" = LOGIN ] && send=': ann@basin.example : swordfish'
  cat <<CF
primary_hostname = exim.client.example
spool_directory = $2/spool
log_file_path = $2/log/%slog
log_selector = +tls_certificate_verified +tls_cipher
exim_user = Debian-exim
exim_group = Debian-exim
trusted_users = root
keep_environment = LD_LIBRARY_PATH
deliver_drop_privilege = true
exim_path = $1/usr/sbin/exim4
local_interfaces = 127.0.0.1
disable_ipv6 = true
host_lookup =
never_users =
begin routers
basin:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = basin
begin transports
basin:
  driver = smtp
  port = $port
  protocol = $protocol
  hosts_require_tls = *
  hosts_require_auth = *
  hosts_try_prdr = *
  tls_verify_certificates = $SUB/ca.pem
  tls_verify_hosts = *
  tls_verify_cert_hostnames =
  allow_localhost
begin authenticators
client:
  driver = plaintext
  public_name = $mechanism
  client_send = $send
CF
}

exim_used_prdr() {
  local log=$SUB/exim-PLAIN/log/mainlog
  grep -qE '[=-]> exim@basin.example .* PRDR' "$log" && grep -qE '\*\* choosy@basin.example .*550 5\.7\.1 not what it likes' "$log" || { tail -n 5 "$log"; return 1; }
}

exim_sent() {
  local log=$SUB/exim-$1/log/mainlog
  [ "$(grep -c '=> exim@basin.example .*CV=yes .*A=client' "$log")" = 20 ] || { tail -n 12 "$log" "$SUB/exim-$1.output"; return 1; }
}

# What smtp-source can say otherwise than usual, at the port for other servers.
check_submission_smtp_source() {
  if ! postfix_unpack; then bad "Postfix can be fetched"; return; fi
  local count=200 before
  before=$(submitted postmaster)
  check "smtp-source with 50 sessions of one message" source_to "$MX" postmaster $count
  check "smtp-source in sessions that stay open, a greeting of its own" source_to "$MX" postmaster $count -d -M other.client.example
  printf 'From: <sender@client.example>\nSubject: eight bits\n\nk\303\244se \377\n.a dot\n' >"$SUB/eight"
  check "smtp-source with a text in 8 bits" source_of_file "$MX" postmaster $count "$SUB/eight"
  check "smtp-source with a subject, and messages of 100,000 octets" source_to "$MX" postmaster 20 -l 100000 -S variants
  check "each message is there" submitted_count_reaches postmaster $((before + 3 * count + 20))
  check "its eight bits are as they were" eight_bits_are_whole $count
  check "smtp-source that says no HELO is told to" refuses '503 5\.5\.1' source_to "$MX" postmaster 1 -o
  # It speaks LMTP with -L, which this server is none of.
  check "LMTP is answered as an unknown greeting" refuses '50[02]' source_to "$MX" postmaster 1 -L
}
# source_of_file PORT MAILBOX COUNT FILE: as source_to, with a text of its own, which has its own size.
source_of_file() {
  timeout "$DELIVERY_SECONDS" "$POSTFIX/usr/sbin/smtp-source" -s 50 -m "$3" -F "$4" -M client.example -f sender@client.example -t "$2@basin.example" "inet:127.0.0.1:$1"
}
eight_bits_are_whole() { [ "$(LC_ALL=C grep -rlaP 'k\xc3\xa4se \xff' "$SUB/mail/basin.example/postmaster/new" | wc -l)" = "$1" ]; }
submitted_count_reaches() { await 60 submitted_count_is "$1" "$2" || { echo "$(submitted "$1") of $2"; return 1; }; }
