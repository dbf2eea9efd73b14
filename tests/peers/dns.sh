# Where mail goes: a DNS server under the tests' control, and two Postfix listeners with the port of mail exchangers.

dns_zone() {
  cat <<ZONE
mx-a.postfix.example MX 20 b.example
mx-a.postfix.example MX 10 a.example
mx-b.postfix.example MX 10 down.example
mx-b.postfix.example MX 20 b.example
a.example A 127.0.0.2
b.example A 127.0.0.3
down.example A 127.0.0.4
implicit.example A 127.0.0.2
nullmx.example MX 0 .
broken.example MX 10 a.example
!servfail broken.example
ZONE
}

check_dns() {
  check "Basin takes a message for a domain with two exchangers" relay mx-a '<sender@out.example> BODY=8BITMIME' '<next@mx-a.postfix.example>'
  check "it arrives" arrives "$NEXT/mail" mx-a
  check "the better one had it" came_by mx-a mx-a
  check "Basin takes a message for a domain whose better exchanger is down" relay mx-b '<sender@out.example> BODY=8BITMIME' '<next@mx-b.postfix.example>'
  check "it arrives" arrives "$NEXT/mail" mx-b
  check "the other one had it" came_by mx-b mx-b
  check "Basin takes a message for a domain without exchangers" relay implicit '<sender@out.example> BODY=8BITMIME' '<next@implicit.example>'
  check "it goes to the address of the domain" arrives "$NEXT/mail" implicit
  check "Basin takes a message for a domain that wants none" relay nullmx '<unknown@out.example> BODY=8BITMIME' '<next@nullmx.example>'
  check "the null MX is in a report to its sender" report unknown '^Action: failed' '^Final-Recipient: rfc822; ?next@nullmx\.example' '^Status: 5\.1\.10'
  check "Basin takes a message for a domain that is not there" relay nowhere '<unknown@out.example> BODY=8BITMIME' '<next@nowhere.example>'
  check "that is in a report to its sender" report unknown '^Action: failed' '^Final-Recipient: rfc822; ?next@nowhere\.example' '^Status: 5\.1\.2'
  check "Basin takes a message for a domain whose DNS is broken" relay broken '<sender@out.example> BODY=8BITMIME' '<next@broken.example>'
  check "it stays in the queue" stays "$NEXT/mail" broken 'broken\.example.*4\.4\.3'
}

# came_by NAME LISTENER: the log of Postfix says which of its listeners took that letter.
came_by() {
  local id
  id=$(grep -oE "[0-9A-F]+: message-id=<$1@out\.example>" "$NEXT/log" | cut -d: -f1)
  grep -q "$2/smtpd.* $id: client=" "$NEXT/log" || { grep " $id: " "$NEXT/log"; return 1; }
}
