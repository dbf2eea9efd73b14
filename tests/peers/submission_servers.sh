# Whole servers that submit to Basin as their smarthost, with TLS that they verify and AUTH; and smtp-source.

# submit_by_postfix HOME PORT MORE-SETTINGS: a Postfix that sends everything to Basin, takes 20 messages, and is empty.
submit_by_postfix() {
  local home=$1 port=$2
  mkdir -p "$home"
  echo "127.0.0.1:$port inet n - n - 60 smtpd" >"$home/listeners.cf"
  cat >"$home/more.cf" <<CF
myhostname = relay.client.example
smtpd_relay_restrictions = permit_mynetworks, reject
smtp_tls_CAfile = $SUB/ca.pem
smtp_tls_loglevel = 1
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = inline:{[127.0.0.1]:$STARTTLS=ann@basin.example:swordfish, [127.0.0.1]:$IMPLICIT=ann@basin.example:swordfish}
$3
CF
  postfix_start "$home" "$port" || return 1
  source_to "$port" postfix 20 -d && await 60 postfix_is_empty "$home"
}

check_submission_postfix() {
  if ! postfix_unpack || ! installed libsasl2-modules; then bad "Postfix and its SASL can be fetched"; return; fi
  local home port mechanism
  for mechanism in plain login scram-sha-256; do
    home=$SUB/postfix-$mechanism port=$(free_port)
    check "Postfix submits over STARTTLS that it verifies, with AUTH $mechanism" submit_by_postfix "$home" "$port" \
      "relayhost = [127.0.0.1]:$STARTTLS
smtp_tls_security_level = secure
smtp_tls_secure_cert_match = mx.basin.example
smtp_sasl_security_options = noanonymous
smtp_sasl_mechanism_filter = $mechanism"
    check "all 20 are sent over TLS that is trusted" postfix_sent "$home" 20 'Verified TLS connection'
    postfix_stop
  done
  home=$SUB/postfix-implicit port=$(free_port)
  check "Postfix submits over implicit TLS" submit_by_postfix "$home" "$port" \
    "relayhost = [127.0.0.1]:$IMPLICIT
smtp_tls_security_level = secure
smtp_tls_wrappermode = yes
smtp_tls_secure_cert_match = mx.basin.example
smtp_sasl_security_options = noanonymous"
  check "all 20 are sent" postfix_sent "$home" 20 'Verified TLS connection'
  postfix_stop
  check "each of Postfix's messages is there once" submitted_once postfix 80 Message-Id
}

postfix_sent() {
  [ "$(grep -c 'status=sent' "$1/log")" = "$2" ] && grep -q "$3" "$1/log" && ! grep -q 'status=\(deferred\|bounced\)' "$1/log" || { tail -n 15 "$1/log"; return 1; }
}

# submitted_once MAILBOX COUNT FIELD: as `exactly`, in the mailboxes of the submission server.
submitted_once() {
  await 30 submitted_count_is "$1" "$2"
  local distinct
  distinct=$(grep -rh -m1 -i "^$3:" "$SUB/mail/basin.example/$1/new" | sort -u | wc -l)
  echo "$(submitted "$1") messages with $distinct different $3, expected $2"
  [ "$(submitted "$1")" = "$2" ] && [ "$distinct" = "$2" ]
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
    exim_submits "$root" "$mode" >"$SUB/exim-$mode.output" 2>&1
    check "Exim hands 20 messages on with TLS that it verifies and AUTH ($mode)" exim_sent "$mode"
  done
  check "each of Exim's messages is there once" submitted_once exim 60 X-Number
  check "Exim sends them in chunks" grep -qE ' K ' "$SUB/exim-PLAIN/log/mainlog"
}

exim_submits() {
  local root=$1 mode=$2 home=$SUB/exim-$2 number
  mkdir -p "$home/spool" "$home/log"
  chown -R Debian-exim "$home"
  exim_submission_settings "$root" "$home" "$mode" >"$home.conf"
  for number in $(seq 1 20); do
    printf 'From: <ann@basin.example>\nSubject: from exim\nX-Number: %s-%s\n\n.a dot\nbody\n' "$mode" "$number" |
      timeout 60 "$root/usr/sbin/exim4" -C "$home.conf" -odf -i -f ann@basin.example exim@basin.example || return 1
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

exim_sent() {
  local log=$SUB/exim-$1/log/mainlog
  [ "$(grep -c '=> exim@basin.example .*CV=yes .*A=client' "$log")" = 20 ] || { tail -n 12 "$log" "$SUB/exim-$1.output"; return 1; }
}

# What smtp-source can say otherwise than usual, at the port for other servers.
check_submission_smtp_source() {
  [ -n "${POSTFIX:-}" ] || { bad "Postfix is there"; return; }
  local count=200 before
  before=$(submitted postmaster)
  check "smtp-source with 50 sessions of one message" source_to "$MX" postmaster $count
  check "smtp-source in sessions that stay open, a greeting of its own" source_to "$MX" postmaster $count -d -M other.client.example
  printf 'From: <sender@client.example>\nSubject: eight bits\n\nk\303\244se \377\n.a dot\n' >"$SUB/eight"
  check "smtp-source with a text in 8 bits" source_to "$MX" postmaster $count -F "$SUB/eight"
  check "smtp-source with a subject, and messages of 100,000 octets" source_to "$MX" postmaster 20 -l 100000 -S variants
  check "smtp-source with HELO and no other extension" source_to "$MX" postmaster $count -o
  check "each message is there" submitted_count_reaches postmaster $((before + 4 * count + 20))
  # It speaks LMTP with -L, which this server is none of.
  check "LMTP is answered as an unknown greeting" refuses '50[02]' source_to "$MX" postmaster 1 -L
}
submitted_count_reaches() { await 60 submitted_count_is "$1" "$2" || { echo "$(submitted "$1") of $2"; return 1; }; }
