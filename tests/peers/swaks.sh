# swaks speaks as a person would who tries a server by hand.

swaks_to() { swaks --server "127.0.0.1:$SMTP" --ehlo client.example --from sender@client.example --to swaks@basin.example --timeout 20 "$@"; }

shows_stamp() { mails swaks | xargs -r -d '\n' grep -l '^X-Basin-Sink: stamp' | grep -q .; }

check_swaks() {
  if ! installed swaks; then bad "swaks is installed" "$(cat "$WORK/apt.log")"; return; fi
  check "the samples are registered while the server runs" register_samples
  check "EHLO shows the sample's keyword" await 5 offers_keyword
  check "swaks sends a mail" swaks_to --header "Subject: from swaks" --body "Hello."
  check "it arrives with the sample's header" await 10 shows_stamp
  printf 'MZ' >"$WORK/evil.exe"
  local output
  output=$(swaks_to --attach-type application/octet-stream --attach-name evil.exe --attach "@$WORK/evil.exe" 2>&1)
  if grep -q '^<\*\* 550 5.7.1 .*evil.exe' <<<"$output"; then ok "a forbidden attachment gets 550"; else bad "a forbidden attachment gets 550" "$output"; fi
  output=$(swaks_to --to nobody@basin.example 2>&1)
  if grep -q '^<\*\* 550 5.1.1' <<<"$output"; then ok "an unknown user gets 550 at RCPT"; else bad "an unknown user gets 550 at RCPT" "$output"; fi
  check "swaks with PIPELINING sends a mail" swaks_to --pipeline --body "Hello, pipelined."
  "$BASIN" sink remove stamp >/dev/null && "$BASIN" sink remove block >/dev/null && "$BASIN" sink remove welcome >/dev/null
}

register_samples() {
  "$BASIN" sink add "$WASM/stamp_header.wasm" --name stamp --event on-end-of-data --grant edit-headers &&
    "$BASIN" sink add "$WASM/block_attachment.wasm" --name block --event on-end-of-data --grant reply --grant read-headers --grant read-body &&
    "$BASIN" sink add "$WASM/welcome.wasm" --name welcome --event 'on-inbound-command:verb=EHLO|XWELCOME' --grant reply
}

offers_keyword() { swaks_to --quit-after EHLO 2>&1 | grep -q '^<-  250[- ]XWELCOME'; }
