# Many messages through Basin to Postfix: none lost, none twice.

check_many() {
  local begin=$SECONDS
  KEPT=$(in_spool)
  export LD_LIBRARY_PATH=$POSTFIX/usr/lib/postfix:$POSTFIX/usr/lib/x86_64-linux-gnu
  check "smtp-source gives Basin $RELAYED messages for Postfix" timeout $DELIVERY_SECONDS "$POSTFIX/usr/sbin/smtp-source" -s 20 -m "$RELAYED" \
    -l 2000 -M client.example -f sender@out.example -t next@many.postfix.example "inet:127.0.0.1:$OUT_SMTP"
  check "all of them come, none twice" many_come
  check "nothing is left of them" await 20 nothing_left
  echo "        $RELAYED messages in $((SECONDS - begin)) s"
}

many_come() {
  await $DELIVERY_SECONDS many_are
  # One that came twice may come after the last.
  await 10 nothing_left
  local files distinct
  files=$(many_files | wc -l)
  distinct=$(many_files | xargs -r -d '\n' grep -h -m1 -i '^Message-Id:' | sort -u | wc -l)
  echo "$files messages with $distinct different Message-Ids, expected $RELAYED of each"
  [ "$files" = "$RELAYED" ] && [ "$distinct" = "$RELAYED" ]
}

many_files() { find "$NEXT/mail/many/new" -type f 2>/dev/null; }
many_are() { [ "$(many_files | wc -l)" -ge "$RELAYED" ]; }
# What other checks left in the queue stays there.
nothing_left() { [ "$(in_spool)" = "$KEPT" ]; }
in_spool() { ask "$OUT_ADMIN" /metrics | tr -d '\r' | awk '/^basin_spool_messages / { print $2 }'; }
