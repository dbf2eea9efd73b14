# Signatures before and after: made by a client or by Basin, checked by dkimpy, which shares no code with Basin.

dkim_settings() {
  openssl genrsa -out "$OUT/rsa.pem" 2048 2>/dev/null && openssl genpkey -algorithm ed25519 -out "$OUT/ed25519.pem"
  chmod 600 "$OUT/rsa.pem" "$OUT/ed25519.pem"
  mkdir -p "$OUT/records"
  printf 'v=DKIM1; k=rsa; p=%s' "$(openssl rsa -in "$OUT/rsa.pem" -pubout -outform DER 2>/dev/null | base64 -w0)" |
    tee "$OUT/records/client._domainkey.sender.example." >"$OUT/records/rsa._domainkey.out.example."
  # The key itself is the end of its DER form (RFC 8410); RFC 8463 wants it bare.
  printf 'v=DKIM1; k=ed25519; p=%s' "$(openssl pkey -in "$OUT/ed25519.pem" -pubout -outform DER | tail -c 32 | base64 -w0)" >"$OUT/records/ed._domainkey.out.example."
  cat <<TOML
[[dkim]]
domain = "out.example"
selector = "rsa"
key-file = "$OUT/rsa.pem"
[[dkim]]
domain = "out.example"
selector = "ed"
key-file = "$OUT/ed25519.pem"
TOML
}

# dkimpy sign DOMAIN SELECTOR KEY-FILE FILE | dkimpy verify RECORDS FILE
dkimpy() {
  /usr/bin/python3 - "$@" <<'PY'
import sys, dkim
verb, *more = sys.argv[1:]
text = open(more[-1], "rb").read().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
if verb == "sign":
    domain, selector, key, path = more
    signature = dkim.sign(text, selector.encode(), domain.encode(), open(key, "rb").read(), canonicalize=(b"simple", b"simple"))
    open(path, "wb").write(signature + text)
else:
    records, path = more
    record = lambda name, timeout=5: open(records + "/" + name.decode(), "rb").read()
    message = dkim.DKIM(text)
    for index in range(sum(name.lower() == b"dkim-signature" for name, _ in message.headers)):
        verdict = "valid" if message.verify(idx=index, dnsfunc=record) else "broken"
        fields = message.signature_fields
        print(verdict, fields[b"d"].decode(), fields[b"a"].decode(), fields[b"c"].decode())
PY
}

check_dkim() {
  unset LD_LIBRARY_PATH
  if ! installed python3-dkim; then bad "dkimpy is installed" "$(cat "$WORK/apt.log")"; return; fi
  letter signed
  check "dkimpy signs a message, simple/simple" dkimpy sign sender.example client "$OUT/rsa.pem" "$OUT/signed.eml"
  check "Basin takes it" perl tests/peers/send.pl "$OUT_SMTP" "$OUT/signed.eml" '<sender@sender.example> BODY=8BITMIME' '<next@plain.postfix.example>'
  check "it arrives" await 30 is_stored "$NEXT/mail" signed
  check "the client's signature is valid after relay" verdict signed 'valid sender.example rsa-sha256 simple/simple'
  check "Basin's RSA signature is valid at Postfix" verdict plain 'valid out.example rsa-sha256 relaxed/relaxed'
  check "Basin's Ed25519 signature is valid at Postfix" verdict plain 'valid out.example ed25519-sha256 relaxed/relaxed'
  check "they are valid at Exim" verdict exim 'valid out.example rsa-sha256 relaxed/relaxed'
}

# verdict NAME LINE: dkimpy says that of the stored letter, and finds nothing broken.
verdict() {
  local folder=$NEXT/mail
  is_stored "$folder" "$1" || folder=$EXIM/mail
  dkimpy verify "$OUT/records" "$(stored "$folder" "$1")" >"$OUT/verdict"
  cat "$OUT/verdict"
  grep -qxF "$2" "$OUT/verdict" && ! grep -q broken "$OUT/verdict"
}
