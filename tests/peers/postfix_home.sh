# A Postfix of its own: queue, configuration and ports below a folder, unpacked and not installed.

postfix_unpack() {
  unpack postfix || return 1
  POSTFIX=$CACHE/postfix/root
  export LD_LIBRARY_PATH=$POSTFIX/usr/lib/postfix:$POSTFIX/usr/lib/x86_64-linux-gnu
}

# postfix_start HOME PORT: what is particular to it stands in $HOME/more.cf, its listeners in $HOME/listeners.cf. It
# runs with accounts that every Debian has, and is ready when it answers at PORT.
postfix_start() {
  local home=$1 etc=$1/etc queue=$1/queue folder
  mkdir -p "$etc" "$home/data"
  chown daemon "$home/data"
  postfix_main "$home" "$etc" | cat - "$home/more.cf" >"$etc/main.cf"
  postfix_services | cat "$home/listeners.cf" - >"$etc/master.cf"
  cp "$POSTFIX/etc/postfix/postfix-files" "$POSTFIX/etc/postfix/dynamicmaps.cf" "$etc/" 2>/dev/null
  for folder in active bounce corrupt defer deferred flush hold incoming maildrop pid private public saved trace; do mkdir -p "$queue/$folder"; done
  chown daemon "$queue"/*
  chown root "$queue/pid"
  chgrp mail "$queue/maildrop" "$queue/public"
  chmod 730 "$queue/maildrop"; chmod 710 "$queue/public"; chmod 700 "$queue/private"
  "$POSTFIX/usr/lib/postfix/sbin/master" -c "$etc" -d >"$home/master" 2>&1 &
  # The master ends its children; it is found by this id, never by name.
  POSTFIX_PID=$!
  PIDS+=("$POSTFIX_PID")
  await 20 greets "$2" && return
  cat "$home/master" "$home/log" 2>/dev/null
  return 1
}

postfix_main() {
  cat <<CF
compatibility_level = 3.6
queue_directory = $1/queue
data_directory = $1/data
command_directory = $POSTFIX/usr/sbin
daemon_directory = $POSTFIX/usr/lib/postfix/sbin
meta_directory = $2
shlib_directory = $POSTFIX/usr/lib/postfix
sendmail_path = $POSTFIX/usr/sbin/sendmail
mail_owner = daemon
setgid_group = mail
default_privs = nobody
maillog_file = $1/log
maillog_file_prefixes = $1
import_environment = LD_LIBRARY_PATH=$LD_LIBRARY_PATH MAIL_CONFIG TZ LANG=C
export_environment = LD_LIBRARY_PATH=$LD_LIBRARY_PATH MAIL_CONFIG TZ LANG=C
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_client_connection_count_limit = 0
minimal_backoff_time = 2s
queue_run_delay = 2s
disable_dns_lookups = yes
CF
}

postfix_services() {
  cat <<CF
pickup   unix n - n 60 1 pickup
cleanup  unix n - n - 0 cleanup
qmgr     unix n - n 300 1 qmgr
tlsmgr   unix - - n 1000? 1 tlsmgr
rewrite  unix - - n - - trivial-rewrite
bounce   unix - - n - 0 bounce
defer    unix - - n - 0 bounce
trace    unix - - n - 0 bounce
verify   unix - - n - 1 verify
flush    unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
virtual  unix - n n - - virtual
smtp     unix - - n - 20 smtp
relay    unix - - n - - smtp
error    unix - - n - - error
retry    unix - - n - - error
discard  unix - - n - - discard
anvil    unix - - n - 1 anvil
scache   unix - - n - 1 scache
postlog  unix-dgram n - n - 1 postlogd
CF
}

greets() { (exec 3<>"/dev/tcp/127.0.0.1/$1" && head -c3 <&3 | grep -q 220) 2>/dev/null; }
postfix_queue() { find "$1"/queue/{maildrop,incoming,active,deferred,hold} -type f | wc -l; }
postfix_is_empty() { [ "$(postfix_queue "$1")" = 0 ]; }
postfix_stop() { kill "$POSTFIX_PID" 2>/dev/null; wait "$POSTFIX_PID" 2>/dev/null; }
