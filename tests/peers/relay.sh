# Basin as the sender: the server whose mail leaves for the next hops of this folder, and what is asked of each of them.

OUT_NAME=out.basin.example

# Ports and keys are chosen first: the routes of the server name the next hops before these run.
prepare_relay() {
  OUT=$WORK/out OUT_SMTP=$(free_port) OUT_ADMIN=$(free_port) DNS_PORT=$(free_port) MX_PORT=$(free_port)
  mkdir -p "$OUT"
  if ! installed openssl || ! make_certificates >"$OUT/openssl" 2>&1; then bad "openssl makes certificates" "$(cat "$WORK/apt.log" "$OUT/openssl" 2>/dev/null)"; return 1; fi
  postfix_ports; exim_ports; opensmtpd_ports; lmtp_ports
  { dns_zone; printf '%s.verified.postfix.example A 127.0.0.1\n' mx again; echo "mx.other.example A 127.0.0.1"; } >"$OUT/zone"
  "$TEST_DNS" "127.0.0.1:$DNS_PORT" "$OUT/zone" >"$OUT/dns.log" 2>&1 &
  PIDS+=($!)
  if ! await 10 grep -q listening "$OUT/dns.log"; then bad "the DNS server of the tests starts" "$(cat "$OUT/dns.log")"; return 1; fi
  { relay_settings; postfix_routes; exim_routes; opensmtpd_routes; lmtp_routes; dkim_settings; } >"$OUT/basin.toml"
  serve "$OUT/basin.toml" "$OUT/log" "$OUT_ADMIN"
  prepare_chunking
}

# An authority, and a certificate of it for the host that every next hop with TLS claims to be.
make_certificates() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj '/CN=Authority of the tests' \
    -addext 'keyUsage=critical,keyCertSign' -keyout "$OUT/ca.key" -out "$OUT/ca.pem" &&
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj '/CN=mx' -keyout "$OUT/mx.key" -out "$OUT/mx.csr" &&
    printf 'subjectAltName=DNS:mx.verified.postfix.example,DNS:again.verified.postfix.example\n' >"$OUT/mx.ext" &&
    openssl x509 -req -in "$OUT/mx.csr" -CA "$OUT/ca.pem" -CAkey "$OUT/ca.key" -CAcreateserial -days 2 -extfile "$OUT/mx.ext" -out "$OUT/mx.pem" &&
    chmod 644 "$OUT/mx.key"
}

relay_settings() {
  printf 'secret\n' >"$OUT/password"
  printf 'wrong\n' >"$OUT/password-wrong"
  chmod 600 "$OUT/password" "$OUT/password-wrong"
  cat <<TOML
host-name = "$OUT_NAME"
[spool]
directory = "$OUT/spool"
[registry]
directory = "$OUT/registry"
[maildir]
directory = "$OUT/mail"
[admin]
address = "127.0.0.1:$OUT_ADMIN"
[[listener]]
name = "inbound"
address = "127.0.0.1:$OUT_SMTP"
[[domain]]
name = "out.example"
mailboxes = ["sender", "unknown", "null", "reports", "postmaster"]
[log]
level = "info"
[dns]
servers = ["127.0.0.1:$DNS_PORT"]
[tls]
roots = "$OUT/ca.pem"
[queue]
first-waits = ["1s"]
longest-wait = "2s"
[outbound]
mx-port = $MX_PORT
connect-timeout = "5s"
[[credentials]]
name = "right"
user = "smart"
password-file = "$OUT/password"
[[credentials]]
name = "wrong"
user = "smart"
password-file = "$OUT/password-wrong"
TOML
}

# route DOMAIN HOST MORE-LINES...
route() {
  printf '[[route]]\ndomains = ["%s"]\nhosts = ["%s"]\n' "$1" "$2"
  shift 2
  [ $# = 0 ] || printf '%s\n' "$@"
}

# A second server that differs from the first in one thing: it sends with BDAT wherever that is offered (RFC 3030).
prepare_chunking() {
  CHUNKING_SMTP=$(free_port)
  local admin
  admin=$(free_port)
  sed -e "s|$OUT_SMTP|$CHUNKING_SMTP|; s|:$OUT_ADMIN|:$admin|; s|\"$OUT/spool\"|\"$OUT/spool-chunking\"|" \
    -e 's|^\[outbound\]|&\nchunking = "preferred"|' "$OUT/basin.toml" >"$OUT/chunking.toml"
  serve "$OUT/chunking.toml" "$OUT/log-chunking" "$admin"
}

# with_chunking COMMAND...: as it is, with the second server in place of the first.
with_chunking() { OUT_SMTP=$CHUNKING_SMTP "$@"; }

# letter NAME: a message with all that a hop could break, with CRLF, in $OUT/NAME.eml. Its Message-ID has the name.
letter() {
  {
    printf 'From: <sender@out.example>\r\nTo: <next@hop.example>\r\nSubject: a subject\r\n\tthat is  folded\r\n'
    printf 'Message-ID: <%s@out.example>\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\nX-Spaces: a  b\r\n\r\n' "$1"
    printf '.\r\n..\r\n.dot\r\n\r\nFrom the start\r\n8-bit: k\303\244se \377\r\nwhite space stays \t \r\n\t\r\n'
    perl -e 'print "x" x 998, "\r\n", "." x 998, "\r\n", "line $_ of many\r\n" x 2000 for 1'
    printf '.\r\n\r\n\r\n'
  } >"$OUT/$1.eml"
}

# relay NAME MAIL-ARGUMENTS RCPT-ARGUMENTS...: writes that letter and gives it to Basin.
relay() {
  local name=$1
  shift
  letter "$name"
  perl tests/peers/send.pl "$OUT_SMTP" "$OUT/$name.eml" "$@"
}

# stored FOLDER NAME: the files below a folder of a next hop that hold the letter.
stored() { find "$1" -type f \( -path '*/new/*' -o -path '*/cur/*' \) -print0 2>/dev/null | xargs -0r grep -lF "Message-ID: <$2@out.example>"; }
is_stored() { stored "$1" "$2" | grep -q .; }

# arrives FOLDER NAME: once, octet for octet, with one Received field of Basin.
arrives() {
  await 30 is_stored "$1" "$2" || { echo "$2 does not come"; story; return 1; }
  local files
  files=$(stored "$1" "$2")
  [ "$(wc -l <<<"$files")" = 1 ] || { echo "it came more than once: $files"; return 1; }
  perl tests/peers/same.pl "$OUT/$2.eml" "$files" "$OUT_NAME"
}

story() { tail -n 12 "$OUT/log"; }
logged() { grep -qE -- "$1" "$OUT/log"; }

# stays FOLDER NAME PATTERN: Basin says why it does not send the letter, and does not send it.
stays() {
  await 20 logged "$3" || { echo "the log does not say $3"; story; return 1; }
  ! is_stored "$1" "$2"
}

# report MAILBOX PATTERN...: a notification in a mailbox of Basin holds all of them.
report() {
  await 30 has_report "$@" || { echo "no such report; there are:"; find "$OUT/mail/out.example/$1" -type f | xargs -r tail -n 60; story; return 1; }
}
has_report() {
  local file pattern mailbox=$1
  shift
  for file in $(find "$OUT/mail/out.example/$mailbox/new" -type f 2>/dev/null); do
    for pattern in "$@"; do grep -qiE -- "$pattern" "$file" || continue 2; done
    return 0
  done
  return 1
}
