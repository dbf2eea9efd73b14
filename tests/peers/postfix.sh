# Postfix as a client: its load generator straight at Basin, then a whole Postfix that relays to Basin.

# source_to PORT MAILBOX COUNT MORE...: smtp-source with short messages of $SOURCE_FROM, 50 sessions at once.
source_to() {
  local port=$1 mailbox=$2 count=$3
  shift 3
  timeout $DELIVERY_SECONDS "$POSTFIX/usr/sbin/smtp-source" -s 50 -m "$count" -l 1000 -M client.example "$@" \
    -f "${SOURCE_FROM:-sender@client.example}" -t "$mailbox@basin.example" "inet:127.0.0.1:$port"
}

check_smtp_source() {
  if ! postfix_unpack; then bad "Postfix can be fetched"; return; fi
  local count=$((MESSAGES / 4))
  check "smtp-source sends $count messages, one in a session" source_to "$SMTP" source "$count"
  check "each is there once" exactly source "$count" Message-Id
  check "smtp-source sends $count messages in sessions that stay open" source_to "$SMTP" source "$count" -d
  check "each is there once" exactly source $((2 * count)) Message-Id
}

check_postfix_relay() {
  [ -n "${POSTFIX:-}" ] || { bad "Postfix is there"; return; }
  local home=$WORK/postfix port begin
  port=$(free_port)
  mkdir -p "$home"
  echo "127.0.0.1:$port inet n - n - 60 smtpd" >"$home/listeners.cf"
  cat >"$home/more.cf" <<CF
myhostname = relay.client.example
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [127.0.0.1]:$SMTP
smtp_destination_concurrency_limit = 20
CF
  if ! postfix_start "$home" "$port" >"$home/start" 2>&1; then bad "Postfix starts" "$(cat "$home/start")"; return; fi
  begin=$SECONDS
  check "Postfix takes $MESSAGES messages for Basin" source_to "$port" postfix "$MESSAGES"
  check "Postfix hands all of them on" await $DELIVERY_SECONDS postfix_is_empty "$home"
  check "nothing is lost, nothing is there twice" exactly postfix "$MESSAGES" Message-Id
  echo "        $MESSAGES messages in $((SECONDS - begin)) s; $(grep -c 'status=sent' "$home/log") sent, $(grep -c 'status=deferred' "$home/log") deferred"
  postfix_stop
}
