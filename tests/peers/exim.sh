# Exim as a client: a message handed to its command line goes on to Basin.

check_exim() {
  if ! unpack exim4-daemon-light; then bad "Exim can be fetched"; return; fi
  need_user Debian-exim
  local root=$CACHE/exim4-daemon-light/root
  export LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu
  # Exim starts itself again as its own user. A set-uid program would then be stripped of LD_LIBRARY_PATH.
  chmod u-s "$root/usr/sbin/exim4"
  mkdir -p "$WORK/exim/spool" "$WORK/exim/log"
  chown -R Debian-exim "$WORK/exim"
  cat >"$WORK/exim.conf" <<CF
primary_hostname = exim.client.example
spool_directory = $WORK/exim/spool
log_file_path = $WORK/exim/log/%slog
exim_user = Debian-exim
exim_group = Debian-exim
trusted_users = root
keep_environment = LD_LIBRARY_PATH
deliver_drop_privilege = true
exim_path = $root/usr/sbin/exim4
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
  port = $SMTP
  hosts_avoid_tls = *
  allow_localhost
CF
  local number
  for number in $(seq 1 50); do
    printf 'From: <sender@client.example>\nSubject: from exim\nX-Number: %s\n\n.a dot\nbody %s\n' "$number" "$number" |
      timeout 60 "$root/usr/sbin/exim4" -C "$WORK/exim.conf" -odf -i -f sender@client.example exim@basin.example || break
  done >"$WORK/exim/output" 2>&1
  check "Exim hands 50 messages to Basin" exactly exim 50 X-Number
  check "the dot at the start of a line is still one" dots_are_whole
  [ "$(mails exim | wc -l)" = 50 ] || cat "$WORK/exim/output" "$WORK"/exim/log/* | tail -n 20
}

dots_are_whole() { [ "$(mails exim | xargs -d '\n' grep -lx '\.a dot' | wc -l)" = 50 ]; }
