# Postfix as a client: its load generator straight at Basin, then a whole Postfix that relays to Basin.

postfix_unpack() {
  unpack postfix || return 1
  POSTFIX=$CACHE/postfix/root
  export LD_LIBRARY_PATH=$POSTFIX/usr/lib/postfix:$POSTFIX/usr/lib/x86_64-linux-gnu
}

# source_to PORT MAILBOX COUNT MORE...: smtp-source with short messages, 50 sessions at once.
source_to() {
  local port=$1 mailbox=$2 count=$3
  shift 3
  timeout $DELIVERY_SECONDS "$POSTFIX/usr/sbin/smtp-source" -s 50 -m "$count" -l 1000 -M client.example "$@" \
    -f sender@client.example -t "$mailbox@basin.example" "inet:127.0.0.1:$port"
}

check_smtp_source() {
  if ! postfix_unpack; then bad "Postfix can be fetched"; return; fi
  local count=$((MESSAGES / 4))
  check "smtp-source sends $count messages, one in a session" source_to "$SMTP" source "$count"
  check "each is there once" exactly source "$count" Message-Id
  check "smtp-source sends $count messages in sessions that stay open" source_to "$SMTP" source "$count" -d
  check "each is there once" exactly source $((2 * count)) Message-Id
}

# A Postfix of its own: queue, configuration and ports below $WORK, accounts that every Debian has.
postfix_start() {
  POSTFIX_ETC=$WORK/postfix/etc POSTFIX_PORT=$(free_port)
  mkdir -p "$POSTFIX_ETC" "$WORK/postfix/queue" "$WORK/postfix/data"
  chown daemon "$WORK/postfix/data"
  cat >"$POSTFIX_ETC/main.cf" <<CF
compatibility_level = 3.6
queue_directory = $WORK/postfix/queue
data_directory = $WORK/postfix/data
command_directory = $POSTFIX/usr/sbin
daemon_directory = $POSTFIX/usr/lib/postfix/sbin
meta_directory = $POSTFIX_ETC
shlib_directory = $POSTFIX/usr/lib/postfix
sendmail_path = $POSTFIX/usr/sbin/sendmail
mail_owner = daemon
setgid_group = mail
default_privs = nobody
maillog_file = $WORK/postfix/log
maillog_file_prefixes = $WORK
import_environment = LD_LIBRARY_PATH=$LD_LIBRARY_PATH MAIL_CONFIG TZ LANG=C
myhostname = relay.client.example
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.1/32
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
relayhost = [127.0.0.1]:$SMTP
smtp_destination_concurrency_limit = 20
minimal_backoff_time = 2s
queue_run_delay = 2s
disable_dns_lookups = yes
CF
  cat >"$POSTFIX_ETC/master.cf" <<CF
127.0.0.1:$POSTFIX_PORT inet n - n - 60 smtpd
pickup   unix n - n 60 1 pickup
cleanup  unix n - n - 0 cleanup
qmgr     unix n - n 300 1 qmgr
rewrite  unix - - n - - trivial-rewrite
bounce   unix - - n - 0 bounce
defer    unix - - n - 0 bounce
trace    unix - - n - 0 bounce
verify   unix - - n - 1 verify
flush    unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp     unix - - n - 20 smtp
relay    unix - - n - - smtp
error    unix - - n - - error
retry    unix - - n - - error
discard  unix - - n - - discard
anvil    unix - - n - 1 anvil
scache   unix - - n - 1 scache
postlog  unix-dgram n - n - 1 postlogd
CF
  cp "$POSTFIX/etc/postfix/postfix-files" "$POSTFIX/etc/postfix/dynamicmaps.cf" "$POSTFIX_ETC/" 2>/dev/null
  local folder
  for folder in active bounce corrupt defer deferred flush hold incoming maildrop pid private public saved trace; do mkdir -p "$WORK/postfix/queue/$folder"; done
  chown daemon "$WORK"/postfix/queue/*
  chown root "$WORK/postfix/queue/pid"
  chgrp mail "$WORK/postfix/queue/maildrop" "$WORK/postfix/queue/public"
  chmod 730 "$WORK/postfix/queue/maildrop"; chmod 710 "$WORK/postfix/queue/public"; chmod 700 "$WORK/postfix/queue/private"
  "$POSTFIX/usr/lib/postfix/sbin/master" -c "$POSTFIX_ETC" -d >"$WORK/postfix/master" 2>&1 &
  POSTFIX_PID=$!
  await 20 postfix_answers
}

postfix_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$POSTFIX_PORT" && head -c3 <&3 | grep -q 220) 2>/dev/null; }
postfix_queue() { find "$WORK"/postfix/queue/{maildrop,incoming,active,deferred,hold} -type f | wc -l; }
postfix_is_empty() { [ "$(postfix_queue)" = 0 ]; }

# The master ends its children; it is found by the id that this script was given, never by name.
postfix_stop() { kill "$POSTFIX_PID" 2>/dev/null; wait "$POSTFIX_PID" 2>/dev/null; }

check_postfix_relay() {
  [ -n "${POSTFIX:-}" ] || { bad "Postfix is there"; return; }
  if ! postfix_start; then bad "Postfix starts" "$(cat "$WORK/postfix/master" "$WORK/postfix/log" 2>/dev/null)"; return; fi
  local begin=$SECONDS
  check "Postfix takes $MESSAGES messages for Basin" source_to "$POSTFIX_PORT" postfix "$MESSAGES"
  check "Postfix hands all of them on" await $DELIVERY_SECONDS postfix_is_empty
  check "nothing is lost, nothing is there twice" exactly postfix "$MESSAGES" Message-Id
  echo "        $MESSAGES messages in $((SECONDS - begin)) s; $(grep -c 'status=sent' "$WORK/postfix/log") sent, $(grep -c 'status=deferred' "$WORK/postfix/log") deferred"
  postfix_stop
}
