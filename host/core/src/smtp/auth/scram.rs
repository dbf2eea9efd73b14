//! SCRAM-SHA-256, the server's side (RFC 5802, RFC 7677).

use base64::prelude::{BASE64_STANDARD, Engine as _};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use crate::limits::SCRAM_NONCE_BYTES_MAX;
use crate::smtp::auth::accounts::{Accounts, HASH_BYTES, StoredKeys, hmac};
use crate::smtp::auth::command::decode;
use crate::smtp::auth::exchange::user_name;
use crate::smtp::auth::{AuthPolicy, Failed, Mechanism};
use crate::smtp::starttls::Channel;

/// The client's first message.
#[derive(Debug)]
pub(super) struct First {
    /// What stands before the bare message; the client repeats it under its proof.
    header: String,
    binding: Binding,
    bare: String,
    user: String,
    nonce: String,
}

/// What the client says of channel binding (RFC 5802 §7, `gs2-cbind-flag`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binding {
    /// It knows none.
    Unknown,
    /// It knows some and believes that this server does not.
    NotOffered,
    /// RFC 9266.
    Exporter,
    /// RFC 5929 §4.
    ServerEndPoint,
}

/// What the client's second message is checked against.
pub(super) struct Final {
    pub(super) user: String,
    is_user: bool,
    keys: StoredKeys,
    header: String,
    binding: Binding,
    /// The client's nonce with this server's behind it.
    nonce: String,
    /// The two messages so far, as they are signed.
    signed: String,
}

impl core::fmt::Debug for Final {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Final")
    }
}

impl First {
    /// Reads the message (RFC 5802 §7, `client-first-message`).
    pub(super) fn parse(message: &[u8]) -> Result<Self, Failed> {
        let text = core::str::from_utf8(message).map_err(|_| Failed::Malformed)?;
        let mut parts = text.splitn(3, ',');
        let (Some(flag), Some(authorize_as), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Failed::Malformed);
        };
        let binding = match flag.split_once('=') {
            None if flag == "n" => Binding::Unknown,
            None if flag == "y" => Binding::NotOffered,
            Some(("p", "tls-exporter")) => Binding::Exporter,
            Some(("p", "tls-server-end-point")) => Binding::ServerEndPoint,
            // Another kind of binding is one that this connection has not.
            Some(("p", _)) => return Err(Failed::Wrong),
            Some(_) | None => return Err(Failed::Malformed),
        };
        let header = text.get(..text.len() - bare.len()).unwrap_or_default().to_owned();
        // An attribute `m=` in front would be an extension that must be understood; none is. Those behind the nonce
        // may be passed over.
        let mut attributes = bare.split(',');
        let mut value = |name: &str| attributes.next().and_then(|it| it.strip_prefix(name)).ok_or(Failed::Malformed);
        let (name, nonce) = (value("n=")?, value("r=")?);
        let is_nonce =
            (1..=SCRAM_NONCE_BYTES_MAX).contains(&nonce.len()) && nonce.bytes().all(|octet| octet.is_ascii_graphic());
        if !is_nonce {
            return Err(Failed::Malformed);
        }
        let user = user_name(unescape(name)?.as_bytes())?;
        match authorize_as.strip_prefix("a=") {
            None if authorize_as.is_empty() => {}
            // Nobody acts for somebody else here.
            Some(other) if user_name(unescape(other)?.as_bytes())? == user => {}
            Some(_) => return Err(Failed::Wrong),
            None => return Err(Failed::Malformed),
        }
        Ok(Self { header, binding, bare: bare.to_owned(), user, nonce: nonce.to_owned() })
    }

    /// Checks that the client binds to the channel as the mechanism says (RFC 5802 §6).
    pub(super) fn check_binding(
        &self,
        mechanism: Mechanism,
        channel: &Channel,
        policy: &AuthPolicy,
    ) -> Result<(), Failed> {
        let is_plus = mechanism == Mechanism::ScramSha256Plus;
        let can_bind = channel.is_offered() && policy.mechanisms.contains(&Mechanism::ScramSha256Plus);
        let is_fine = match self.binding {
            Binding::Unknown => !is_plus,
            // The list of mechanisms that the client saw is not the one that was sent: somebody in between took the
            // better ones out.
            Binding::NotOffered => !is_plus && !can_bind,
            Binding::Exporter => is_plus && channel.exporter.is_some(),
            Binding::ServerEndPoint => is_plus && channel.server_end_point.is_some(),
        };
        if is_fine { Ok(()) } else { Err(Failed::Wrong) }
    }
}

/// The server's first message, and what the answer to it is checked against. Who is no user gets one as well.
pub(super) fn challenge(first: First, nonce: &str, accounts: &Accounts) -> (Vec<u8>, Final) {
    let (keys, is_user) = accounts.keys_of(&first.user);
    let nonce = format!("{}{nonce}", first.nonce);
    let message = format!("r={nonce},s={},i={}", BASE64_STANDARD.encode(&keys.salt), keys.iterations);
    let First { header, binding, bare, user, .. } = first;
    let signed = format!("{bare},{message}");
    (message.into_bytes(), Final { user, is_user: is_user.into(), keys, header, binding, nonce, signed })
}

impl Final {
    /// Checks the client's second message, and makes the server's: its proof that it knows the password too.
    pub(super) fn check(&self, message: &[u8], channel: &Channel) -> Result<Vec<u8>, Failed> {
        let text = core::str::from_utf8(message).map_err(|_| Failed::Malformed)?;
        // The proof is the last attribute.
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Failed::Malformed)?;
        let mut attributes = without_proof.split(',');
        let mut value = |name: &str| attributes.next().and_then(|it| it.strip_prefix(name)).ok_or(Failed::Malformed);
        let (bound, nonce) = (value("c=")?, value("r=")?);
        let decoded = |text: &str| decode(text.as_bytes()).ok_or(Failed::Malformed);
        let proof: [u8; HASH_BYTES] = decoded(proof)?.reveal().try_into().map_err(|_| Failed::Malformed)?;
        let data = match self.binding {
            Binding::Unknown | Binding::NotOffered => Some(&[][..]),
            Binding::Exporter => channel.exporter.as_deref(),
            Binding::ServerEndPoint => channel.server_end_point.as_deref(),
        };
        let expected = [self.header.as_bytes(), data.ok_or(Failed::Wrong)?].concat();
        let is_bound = decoded(bound)?.reveal().ct_eq(&expected) & nonce.as_bytes().ct_eq(self.nonce.as_bytes());

        let signed = format!("{},{without_proof}", self.signed);
        let signature = hmac(&self.keys.stored_key, &[signed.as_bytes()]);
        let mut client_key = proof;
        client_key.iter_mut().zip(signature).for_each(|(octet, mask)| *octet ^= mask);
        let is_proof = Sha256::digest(client_key).as_slice().ct_eq(&self.keys.stored_key);

        if !bool::from(is_bound & is_proof & Choice::from(u8::from(self.is_user))) {
            return Err(Failed::Wrong);
        }
        let verifier = BASE64_STANDARD.encode(hmac(&self.keys.server_key, &[signed.as_bytes()]));
        Ok(format!("v={verifier}").into_bytes())
    }
}

// RFC 5802 §5.1: in a name "=2C" is a comma and "=3D" an equals sign, and nothing else stands behind one.
fn unescape(name: &str) -> Result<String, Failed> {
    let mut parts = name.split('=');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (None, Some(rest)) => ('=', rest),
            (None, None) => return Err(Failed::Malformed),
        };
        text.push(sign);
        text.push_str(rest);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7677 §3.
    #[test]
    fn the_example_of_the_standard_is_what_comes_out() {
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let keys = StoredKeys::derive("pencil", &salt, 4096).expect("a password");
        let line = Accounts::line("user", &keys).expect("a name");
        let accounts = Accounts::parse(&line, [0; HASH_BYTES]).expect("a line");
        let first = First::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").expect("a message");
        let (challenge, expected) = challenge(first, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", &accounts);
        assert_eq!(
            String::from_utf8_lossy(&challenge),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let answer = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                      p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let verifier = expected.check(answer.as_bytes(), &Channel::default()).expect("the proof is right");
        assert_eq!(String::from_utf8_lossy(&verifier), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        let changed = answer.replace("p=dH", "p=dG");
        assert_eq!(expected.check(changed.as_bytes(), &Channel::default()), Err(Failed::Wrong));
    }

    #[test]
    fn names_are_escaped_and_nothing_else_is() {
        assert_eq!(unescape("a=2Cb=3Dc"), Ok("a,b=c".to_owned()));
        for bad in ["a=", "a=2", "a=2c", "a=41"] {
            assert_eq!(unescape(bad), Err(Failed::Malformed), "{bad}");
        }
    }

    #[test]
    fn what_is_no_first_message_is_refused() {
        for bad in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=a",
            "n,,r=b,n=a",
            "n,,m=x,n=a,r=b",
            "n,,n=a,r=",
            "n,,n=a,r=b c",
            "x,,n=a,r=b",
            "n,b=c,n=a,r=b",
            "p,,n=a,r=b",
            "n=a,,n=a,r=b",
        ] {
            assert_eq!(First::parse(bad.as_bytes()).map(|first| first.user), Err(Failed::Malformed), "{bad}");
        }
        let long = format!("n,,n=a,r={}", "x".repeat(SCRAM_NONCE_BYTES_MAX + 1));
        assert_eq!(First::parse(long.as_bytes()).map(|first| first.user), Err(Failed::Malformed));
    }
}
