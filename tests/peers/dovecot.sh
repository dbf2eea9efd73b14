# Dovecot as the reader of a Maildir that Basin wrote: what IMAP fetches is what was sent.

check_dovecot() {
  if ! unpack dovecot-imapd; then bad "Dovecot can be fetched"; return; fi
  local root=$CACHE/dovecot-imapd/root home=$WORK/dovecot
  export LD_LIBRARY_PATH=$root/usr/lib/dovecot:$root/usr/lib/x86_64-linux-gnu
  mkdir -p "$home/mail"
  printf 'From: <sender@client.example>\r\nSubject: for dovecot\r\n\r\n.dot\r\n\r\n8-bit: k\303\244se\r\nFrom the start\r\n\r\n' >"$home/sent"
  send_raw "$home/sent" || { bad "a message is sent for Dovecot"; return; }
  await 20 count_is dovecot 1 || { bad "it is delivered"; return; }
  cp -r "$WORK/mail/basin.example/dovecot/." "$home/mail"
  chown -R nobody "$home"
  cat >"$home/dovecot.conf" <<CF
base_dir = $home/run
libexec_dir = $root/usr/lib/dovecot
log_path = $home/log
ssl = no
protocols = imap
mail_location = maildir:$home/mail
first_valid_uid = 1
mail_uid = nobody
mail_gid = nogroup
mail_plugin_dir = $root/usr/lib/dovecot/modules
imap_capability =
CF
  printf 'a SELECT INBOX\r\nb FETCH 1 BODY.PEEK[]\r\nc LOGOUT\r\n' |
    HOME=$home USER=nobody setpriv --reuid nobody --regid nogroup --clear-groups env LD_LIBRARY_PATH="$LD_LIBRARY_PATH" \
      CONFIG_FILE="$home/dovecot.conf" timeout 30 "$root/usr/bin/doveconf" -f service=imap -c "$home/dovecot.conf" -m imap -e "$root/usr/lib/dovecot/imap" >"$home/fetched" 2>"$home/error"
  check "Dovecot fetches the message octet for octet by IMAP" fetched_is_sent "$home"
}

# swaks adds nothing to raw data: the dots are doubled here and the last one is put there.
send_raw() {
  sed 's/^\./../' "$1" >"$1.wire" && printf '.\r\n' >>"$1.wire"
  swaks --server "127.0.0.1:$SMTP" --ehlo client.example --from sender@client.example --to dovecot@basin.example \
    --timeout 20 --no-data-fixup --data "@$1.wire" >"$WORK/dovecot/swaks" 2>&1 || { cat "$WORK/dovecot/swaks"; return 1; }
}

# The literal of the FETCH ends with what was sent.
fetched_is_sent() {
  perl -0777 -e '
    my ($sent, $fetched) = map { local @ARGV = ($_); <> } @ARGV;
    my ($size) = $fetched =~ /BODY\[\] \{(\d+)\}\r\n/ or die "no literal:\n$fetched";
    my $text = substr($fetched, $+[0], $size);
    die "fetched:\n$text\nsent:\n$sent" unless substr($text, -length($sent)) eq $sent;
  ' "$1/sent" "$1/fetched" || { cat "$1/error" "$1/log" 2>/dev/null; return 1; }
}
