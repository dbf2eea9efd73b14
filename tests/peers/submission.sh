# Mail programs that submit: with TLS, with each mechanism of AUTH, and with what they say of themselves.

# A server of its own: port 25 as others see it, and the two ports of RFC 6409 and RFC 8314.
start_submission() {
  SUB=$WORK/submission MX=$(free_port) BEHIND=$(free_port) SPOKEN_FOR=$(free_port) STARTTLS=$(free_port) IMPLICIT=$(free_port) SUB_ADMIN=$(free_port)
  mkdir -p "$SUB"
  if ! installed openssl || ! make_submission_certificate >"$SUB/openssl" 2>&1; then bad "openssl makes a certificate" "$(cat "$SUB/openssl")"; return 1; fi
  submission_settings >"$SUB/basin.toml"
  # Commands over the submission server do not see the other one.
  if ! BASIN_CONFIG=$SUB/basin.toml add_users >"$SUB/users.log" 2>&1; then bad "basin user adds users" "$(cat "$SUB/users.log")"; return 1; fi
  BASIN_CONFIG=$SUB/basin.toml add_auth_sink >"$SUB/sink.log" 2>&1 || bad "the sample auth-sink is registered" "$(cat "$SUB/sink.log")"
  BASIN_CONFIG=$SUB/basin.toml add_choosy_sink >"$SUB/choosy.log" 2>&1 || bad "a sink for one recipient is registered" "$(cat "$SUB/choosy.log")"
  serve "$SUB/basin.toml" "$SUB/log" "$SUB_ADMIN"
}

make_submission_certificate() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj '/CN=Authority of the tests' \
    -addext 'keyUsage=critical,keyCertSign' -keyout "$SUB/ca.key" -out "$SUB/ca.pem" &&
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj '/CN=mx.basin.example' -keyout "$SUB/key.pem" -out "$SUB/csr.pem" &&
    printf 'subjectAltName=DNS:mx.basin.example,DNS:localhost,IP:127.0.0.1\n' >"$SUB/ext" &&
    openssl x509 -req -in "$SUB/csr.pem" -CA "$SUB/ca.pem" -CAkey "$SUB/ca.key" -CAcreateserial -days 2 -extfile "$SUB/ext" -out "$SUB/cert.pem"
}

submission_settings() {
  cat <<TOML
host-name = "mx.basin.example"
[spool]
directory = "$SUB/spool"
[registry]
directory = "$SUB/registry"
[maildir]
directory = "$SUB/mail"
[admin]
address = "127.0.0.1:$SUB_ADMIN"
[[certificate]]
chain-file = "$SUB/cert.pem"
key-file = "$SUB/key.pem"
[auth]
users-file = "$SUB/users"
[[listener]]
name = "mx"
address = "127.0.0.1:$MX"
[[listener]]
name = "behind-a-proxy"
address = "127.0.0.1:$BEHIND"
proxy-protocol = ["127.0.0.1"]
[[listener]]
name = "spoken-for"
address = "127.0.0.1:$SPOKEN_FOR"
xclient = ["127.0.0.1"]
[[listener]]
name = "submission"
kind = "submission"
address = "127.0.0.1:$STARTTLS"
tls = "starttls"
max-login-attempts = 10
[[listener]]
name = "submissions"
kind = "submission"
address = "127.0.0.1:$IMPLICIT"
tls = "implicit"
max-login-attempts = 10
[[domain]]
name = "basin.example"
mailboxes = ["ann", "swaks", "python", "nodemailer", "msmtp", "postfix", "exim", "choosy", "postmaster"]
[relay]
clients = []
[log]
level = "info"
TOML
}

add_users() {
  printf 'swordfish\n' | "$BASIN" user add ann@basin.example &&
    printf 'p\303\244ss word\n' | "$BASIN" user add bob@basin.example
}

add_auth_sink() {
  "$BASIN" sink add "$WASM/auth_sink.wasm" --name auth --event 'on-inbound-command:verb=EHLO|AUTH' --grant reply --grant authenticate \
    --set tokens="ann@basin.example:$(printf t0ken | sha256sum | cut -d' ' -f1)" --set mechanisms=OAUTHBEARER,XOAUTH2
}

# Who is choosy refuses what came, after DATA; the other recipients of the message do not.
add_choosy_sink() {
  "$BASIN" sink add "$WASM/scripted.wasm" --name choosy --event 'on-end-of-data:rcpt to=choosy@basin.example' --grant read-envelope --grant edit-envelope --grant reply \
    --set 'on-end-of-data=rcpt-fail choosy@basin.example=550 5.7.1 not what it likes'
}

# arrived MAILBOX SUBJECT PATTERN: one message with that subject, in which a line matches.
arrived() {
  await 20 has_arrived "$@" || { echo "$2 is not in the mailbox $1, or not with $3"; find "$SUB/mail/basin.example/$1" -type f -exec head -n 12 {} +; tail -n 8 "$SUB/log"; return 1; }
}
has_arrived() {
  local file
  for file in $(grep -rlF "Subject: $2" "$SUB/mail/basin.example/$1/new" 2>/dev/null); do
    tr -d '\r' <"$file" | tr -s '\n ' ' ' | grep -qE -- "$3" && return
  done
  return 1
}

# refuses PATTERN COMMAND...: the command fails, and prints that.
refuses() {
  local pattern=$1 output
  shift
  if output=$("$@" 2>&1); then echo "it works: $output"; return 1; fi
  grep -qE -- "$pattern" <<<"$output" || { printf '%s\n' "$output"; return 1; }
}

check_submission() {
  start_submission || return
  check_submission_swaks
  check_submission_proxies
  check_submission_openssl
  check_submission_python
  check_submission_nodemailer
  check_submission_msmtp
  check_submission_gsasl
  check_submission_postfix
  check_submission_exim
  check_submission_smtp_source
}

submit_swaks() { swaks --server 127.0.0.1 --ehlo client.example --from ann@basin.example --to swaks@basin.example --timeout 30 --tls-ca-path "$SUB/ca.pem" --tls-verify "$@"; }

check_submission_swaks() {
  if ! installed swaks || ! installed libnet-ssleay-perl; then bad "swaks with TLS is installed" "$(cat "$WORK/apt.log")"; return; fi
  local mechanism
  for mechanism in PLAIN LOGIN; do
    check "swaks submits over STARTTLS with AUTH $mechanism" submit_swaks --port "$STARTTLS" --tls --auth "$mechanism" --auth-user ann@basin.example --auth-password swordfish --header "Subject: starttls-$mechanism"
    check "it arrives as authenticated mail" arrived swaks "starttls-$mechanism" 'with ESMTPSA'
    check "swaks submits over implicit TLS with AUTH $mechanism" submit_swaks --port "$IMPLICIT" --tls-on-connect --auth "$mechanism" --auth-user ann@basin.example --auth-password swordfish --header "Subject: implicit-$mechanism"
  done
  check "a password with other letters than ASCII is taken" submit_swaks --port "$STARTTLS" --tls --auth PLAIN --auth-user bob@basin.example --auth-password $'p\xc3\xa4ss word' --from bob@basin.example --header "Subject: letters"
  check "swaks with PIPELINING submits" submit_swaks --port "$IMPLICIT" --tls-on-connect --pipeline --auth PLAIN --auth-user ann@basin.example --auth-password swordfish --header "Subject: pipelined"
  check "it arrives" arrived swaks pipelined 'with ESMTPSA'
  check "a wrong password is refused" refuses '535 5\.7\.8' submit_swaks --port "$STARTTLS" --tls --auth PLAIN --auth-user ann@basin.example --auth-password wrong
  check "no login without TLS" refuses 'did not advertise authentication' submit_swaks --port "$STARTTLS" --auth PLAIN --auth-user ann@basin.example --auth-password swordfish
  check "nobody submits without a login" refuses '530 5\.7\.0' submit_swaks --port "$STARTTLS" --tls
  check "mail comes in at the other port over STARTTLS, without a login" submit_swaks --port "$MX" --tls --from sender@client.example --header "Subject: from-outside"
  check "swaks with PRDR is told of each recipient" swaks_uses_prdr
  check "who did not refuse has it" arrived swaks prdr 'with ESMTPS '
  check "it arrives as mail over TLS" arrived swaks from-outside 'with ESMTPS '
  check "a sender of somebody else is refused" refuses '550 5\.7\.1' submit_swaks --port "$IMPLICIT" --tls-on-connect --auth PLAIN --auth-user ann@basin.example --auth-password swordfish --from sender@client.example
  check "the other port relays for nobody" refuses '550 5\.7\.1' submit_swaks --port "$MX" --tls --from sender@client.example --to friend@away.example
}

swaks_uses_prdr() {
  local output
  output=$(submit_swaks --port "$MX" --tls --prdr --from sender@client.example --to swaks@basin.example,choosy@basin.example --header "Subject: prdr" 2>&1)
  grep -q '353' <<<"$output" && grep -q '250 2\.1\.5 <swaks@basin\.example> accepted' <<<"$output" && grep -q '550 5\.7\.1 not what it likes' <<<"$output" || { tail -n 15 <<<"$output"; return 1; }
}

# Clients that stand in for others, at listeners that trust them, and at one that does not.
check_submission_proxies() {
  local from=(--from sender@client.example)
  local by_proxy=(--proxy-source 192.0.2.9 --proxy-source-port 4000 --proxy-dest 192.0.2.1 --proxy-dest-port 25)
  check "swaks behind a proxy, PROXY version 1" submit_swaks --port "$BEHIND" "${from[@]}" --proxy-version 1 --proxy-family TCP4 "${by_proxy[@]}" --header "Subject: proxy-1"
  check "it comes from the proxy's client" arrived swaks proxy-1 'Received: from client\.example \(\[192\.0\.2\.9\]\)'
  check "swaks behind a proxy, PROXY version 2, with TLS" submit_swaks --port "$BEHIND" "${from[@]}" --tls --proxy-version 2 --proxy-family AF_INET --proxy-command PROXY --proxy-protocol STREAM "${by_proxy[@]}" --header "Subject: proxy-2"
  check "it comes from the proxy's client too" arrived swaks proxy-2 'Received: from client\.example \(\[192\.0\.2\.9\]\)'
  check "XCLIENT of a client that may" submit_swaks --port "$SPOKEN_FOR" "${from[@]}" --xclient-addr 192.0.2.10 --header "Subject: xclient"
  check "it comes from whom XCLIENT names" arrived swaks xclient '\[192\.0\.2\.10\]'
  check "XCLIENT of one that may not" refuses 'XCLIENT' submit_swaks --port "$MX" "${from[@]}" --xclient-addr 192.0.2.10
}

# says PORT PATTERN COMMANDS OPENSSL-ARGUMENTS...: what the server says to those lines holds the pattern.
says() {
  local port=$1 pattern=$2 lines=$3 output
  shift 3
  output=$(printf "$lines" | timeout 20 openssl s_client -connect "127.0.0.1:$port" -CAfile "$SUB/ca.pem" -verify_return_error -quiet -crlf -ign_eof "$@" 2>&1)
  grep -qE -- "$pattern" <<<"$output" || { printf '%s\n' "$output"; return 1; }
}

check_submission_openssl() {
  local version
  for version in tls1_2 tls1_3; do
    check "openssl s_client -starttls smtp speaks $version" says "$STARTTLS" '^250[- ]AUTH .*PLAIN' 'EHLO client.example\nQUIT\n' -starttls smtp "-$version"
    check "openssl s_client speaks $version from the first octet" says "$IMPLICIT" '^250[- ]AUTH .*SCRAM-SHA-256' 'EHLO client.example\nQUIT\n' "-$version"
  done
  check "a binding is offered where every client knows it, over TLS 1.3" says "$IMPLICIT" '^250[- ]AUTH SCRAM-SHA-256-PLUS ' 'EHLO client.example\nQUIT\n' -tls1_3
  check "and over TLS 1.2 none" says "$IMPLICIT" '^250[- ]AUTH SCRAM-SHA-256 PLAIN ' 'EHLO client.example\nQUIT\n' -tls1_2
  check "an older TLS is turned away" refuses 'alert|no protocols|wrong version|unsupported' says "$IMPLICIT" '^250' 'EHLO client.example\nQUIT\n' -tls1_1 -cipher 'ALL:@SECLEVEL=0'
  check "the certificate is for the name that it was made for" says "$IMPLICIT" '^250' 'EHLO client.example\nQUIT\n' -verify_hostname mx.basin.example
  check "no STARTTLS inside of TLS" says "$IMPLICIT" '^50[23]' 'EHLO client.example\nSTARTTLS\nQUIT\n'
}

check_submission_python() {
  check "smtplib: STARTTLS, LOGIN, PLAIN, SMTP_SSL, SMTPUTF8, 8BITMIME, refusals" \
    timeout 120 python3 tests/peers/submission.py "$SUB/ca.pem" "$MX" "$STARTTLS" "$IMPLICIT"
  check "smtplib's mail over STARTTLS arrives as authenticated" arrived python smtplib-starttls 'with ESMTPSA'
  check "smtplib's mail over implicit TLS arrives as authenticated" arrived python smtplib-implicit 'with ESMTPSA'
  check "smtplib's international mail arrives with its letters" arrived python 'smtplib-übung' 'Grüße aus München'
  check "smtplib's 8-bit mail arrives with its octets" arrived python smtplib-8bit 'käse'
  check "smtplib's mail in chunks arrives with its dots" arrived python smtplib-bdat ' \.a dot \. the end'
  check "the success that smtplib asked for is told" notified smtplib+dsn python@basin.example
}

# Nodemailer is fetched by npm into the cache, and used from there.
check_submission_nodemailer() {
  if ! command -v npm >/dev/null; then skip "Nodemailer: there is no npm"; return; fi
  local home=$CACHE/nodemailer
  mkdir -p "$home"
  [ -d "$home/node_modules/nodemailer" ] || (cd "$home" && npm install --no-audit --no-fund nodemailer) >"$SUB/npm.log" 2>&1
  if ! [ -d "$home/node_modules/nodemailer" ]; then
    if grep -qE 'ENOTFOUND|ECONNREFUSED|ECONNRESET|EAI_AGAIN|ETIMEDOUT|ENETUNREACH' "$SUB/npm.log"; then
      skip "Nodemailer: npm does not reach its registry, $(grep -m1 -oE 'E(NOTFOUND|CONN[A-Z]+|AI_AGAIN|TIMEDOUT|NETUNREACH).*' "$SUB/npm.log")"
    else
      bad "Nodemailer can be fetched" "$(cat "$SUB/npm.log")"
    fi
    return
  fi
  check "Nodemailer: STARTTLS, implicit TLS, PLAIN, LOGIN, XOAUTH2 by a sink, a pool, an attachment, refusals" \
    env NODE_PATH="$home/node_modules" NODE_EXTRA_CA_CERTS="$SUB/ca.pem" timeout 120 node tests/peers/submission.js "$MX" "$STARTTLS" "$IMPLICIT"
  check "Nodemailer's mail arrives as authenticated" arrived nodemailer nodemailer-starttls-PLAIN 'with ESMTPSA'
  check "who came with a token is authenticated by the sink" arrived nodemailer nodemailer-XOAUTH2 'with ESMTPSA'
  check "its attachment arrives" arrived nodemailer nodemailer-attachment 'filename=notes\.bin'
  check "its international mail arrives" arrived nodemailer nodemailer-utf8 'with UTF8SMTPSA'
}

# submit_msmtp PORT TLS_STARTTLS MECHANISM SUBJECT [PASSWORD]: msmtp runs from its unpacked package.
submit_msmtp() {
  local root=$CACHE/msmtp/root home=$SUB/msmtp
  mkdir -p "$home"
  cat >"$home/$4" <<CF
account default
host 127.0.0.1
port $1
domain client.example
tls on
tls_starttls $2
tls_trust_file $SUB/ca.pem
tls_host_override mx.basin.example
auth $3
user ann@basin.example
password ${5:-swordfish}
from ann@basin.example
timeout 30
CF
  chmod 600 "$home/$4"
  printf 'From: <ann@basin.example>\nTo: <msmtp@basin.example>\nSubject: %s\n\n.a dot\n' "$4" |
    LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu timeout 60 "$root/usr/bin/msmtp" -C "$home/$4" -i msmtp@basin.example
}

# msmtp knows SCRAM, and tokens.
check_submission_msmtp() {
  if ! unpack msmtp; then bad "msmtp can be fetched"; return; fi
  local mechanism
  for mechanism in plain login scram-sha-256; do
    check "msmtp submits over STARTTLS with AUTH $mechanism" submit_msmtp "$STARTTLS" on "$mechanism" "msmtp-$mechanism"
    check "it arrives as authenticated mail" arrived msmtp "msmtp-$mechanism" 'with ESMTPSA'
  done
  check "msmtp submits over implicit TLS with AUTH scram-sha-256" submit_msmtp "$IMPLICIT" off scram-sha-256 msmtp-implicit
  check "it submits with a token that a sink knows" submit_msmtp "$IMPLICIT" off oauthbearer msmtp-token t0ken
  check "SCRAM refuses a wrong password" refuses '535|authentication failed' submit_msmtp "$STARTTLS" on scram-sha-256 msmtp-wrong wrong
}

# gsasl PASSWORD MECHANISM MORE...: the command of GNU SASL logs in over STARTTLS, and says no more.
log_in_gsasl() {
  local password=$1 mechanism=$2
  shift 2
  LD_LIBRARY_PATH=$CACHE/gsasl/root/usr/lib/x86_64-linux-gnu timeout 60 "$CACHE/gsasl/root/usr/bin/gsasl" --smtp --verbose --starttls \
    --connect="127.0.0.1:$STARTTLS" --hostname=mx.basin.example --x509-ca-file="$SUB/ca.pem" --authentication-id=ann@basin.example \
    --password="$password" ${mechanism:+--mechanism="$mechanism"} "$@" </dev/null 2>&1
}
logs_in_gsasl() { local output; output=$(log_in_gsasl "$@"); grep -q '^235 2\.7\.0' <<<"$output" && grep -q 'server trusted' <<<"$output" || { tail -n 12 <<<"$output"; return 1; }; }

# GNU SASL binds SCRAM to the TLS connection (RFC 5802 §6, RFC 9266), and checks the server's proof.
check_submission_gsasl() {
  if ! unpack gsasl; then bad "GNU SASL can be fetched"; return; fi
  check "GNU SASL logs in with SCRAM that is bound to its TLS connection" logs_in_gsasl swordfish SCRAM-SHA-256-PLUS
  check "it logs in with SCRAM that is not" logs_in_gsasl swordfish SCRAM-SHA-256 --no-cb
  check "a wrong password is refused with a binding too" refuses '535 5\.7\.8' logs_in_gsasl wrong SCRAM-SHA-256-PLUS
  check "it logs in over TLS 1.2 with what it chooses itself" logs_in_gsasl swordfish '' --priority=NORMAL:-VERS-TLS1.3 --no-cb
}
