//! A client that logs in, and the shell around the session that it talks to.

use std::sync::{Arc, OnceLock};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use basin_core::event::EventSet;
use basin_core::smtp::{
    Accounts, AuthPolicy, Connection, ListenerPolicy, Outbox, Secured, Session, Step, StoredKeys, TlsPolicy, Verified,
};
use basin_core::time::Timestamp;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

/// Alice's.
pub(crate) const PASSWORD: &str = "rabbit hole";

/// Alice and another user.
pub(crate) fn accounts() -> Arc<Accounts> {
    static MADE: OnceLock<Arc<Accounts>> = OnceLock::new();
    let make = || {
        let line = |user: &str, password: &str, salt: &[u8]| {
            Accounts::line(user, &StoredKeys::derive(password, salt, 4096).expect("keys")).expect("a line")
        };
        let text =
            format!("{}\n{}\n", line("alice", PASSWORD, b"0123456789abcdef"), line("user", "pencil", b"12345678"));
        Arc::new(Accounts::parse(&text, [7; 32]).expect("the lines are right"))
    };
    MADE.get_or_init(make).clone()
}

/// A listener whose limits nobody reaches.
pub(crate) fn policy(auth: AuthPolicy) -> Arc<ListenerPolicy> {
    let mut policy = ListenerPolicy::new("mx", "basin.example", Arc::default());
    policy.tls = Some(TlsPolicy { is_required: false });
    policy.auth = Some(auth);
    (policy.errors_max, policy.idle_commands_max) = (1_000, 1_000);
    Arc::new(policy)
}

/// A session and what the shell does for it.
pub(crate) struct Talk {
    step: Option<Step>,
    outbox: Outbox,
    /// Whether the shell has had enough of guesses.
    pub(crate) is_barred: bool,
    /// Logins that the shell was asked about.
    pub(crate) compared: u32,
}

impl Talk {
    pub(crate) fn new(policy: Arc<ListenerPolicy>) -> Self {
        let connection = Connection {
            id: "s".into(),
            client: "192.0.2.7:4".parse().expect("an address"),
            server: "192.0.2.1:25".parse().expect("an address"),
            started: NOW,
            random: 1,
            client_name: None,
            tls: None,
        };
        let mut outbox = Outbox::new();
        let step = Session::start(policy, connection, EventSet::default(), &mut outbox);
        outbox.take_bytes();
        Self { step: Some(step), outbox, is_barred: false, compared: 0 }
    }

    /// Sends a line and hears the answer.
    pub(crate) fn say(&mut self, line: &str) -> String {
        let interest = EventSet::default();
        let mut step = match self.step.take().expect("a step") {
            Step::Read(session) => session.line(line.as_bytes(), NOW, interest, &mut self.outbox),
            Step::Input(awaiting, _) => awaiting.input(line.as_bytes(), NOW, interest, &mut self.outbox),
            step @ (Step::Ask(..) | Step::StartTls(_) | Step::Verify(..)) => step,
            step @ (Step::Receive(_) | Step::Examine(_) | Step::Store(..) | Step::Close(_)) => step,
        };
        let shown = format!("{step:?}");
        assert!(!shown.contains(PASSWORD) && !shown.contains(&BASE64_STANDARD.encode(PASSWORD)), "{shown}");
        if let Step::Verify(verifying, login) = step {
            // What `Accounts::verify` says, in less time; it has a test of its own.
            let is_right = match login.password() {
                Some(password) => login.user == "alice" && password.reveal() == PASSWORD.as_bytes(),
                None => accounts().verify(&login) == Verified::Right,
            };
            let verified = match (self.is_barred, is_right) {
                (true, _) => Verified::Unavailable,
                (false, true) => Verified::Right,
                (false, false) => Verified::Wrong,
            };
            self.compared += 1;
            step = verifying.verified(verified, NOW, &mut self.outbox);
        }
        self.step = Some(step);
        String::from_utf8(self.outbox.take_bytes()).expect("replies are ASCII")
    }

    /// Begins TLS.
    pub(crate) fn secure(&mut self, secured: Secured) {
        let said = self.say("STARTTLS");
        assert!(said.starts_with("220 "), "{said}");
        let Some(Step::StartTls(securing)) = self.step.take() else { panic!("no handshake") };
        self.step = Some(securing.secured(secured));
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.step, Some(Step::Close(_)))
    }
}

/// A client of SCRAM-SHA-256 (RFC 5802 §3) that can be told to do it wrong.
pub(crate) struct Scram {
    pub(crate) user: &'static str,
    pub(crate) password: &'static str,
    /// The first part of its first message.
    pub(crate) header: &'static str,
    /// That part as it is repeated in the end; where it is empty, the same.
    pub(crate) repeated: &'static str,
    /// What it binds to.
    pub(crate) bound: Vec<u8>,
    pub(crate) nonce_in_the_end: Option<&'static str>,
}

impl Scram {
    pub(crate) fn usual() -> Self {
        Self {
            user: "alice",
            password: PASSWORD,
            header: "n,,",
            repeated: "",
            bound: Vec::new(),
            nonce_in_the_end: None,
        }
    }

    /// Logs in; the error is what the server said. Fails where the server does not prove that it knows the password.
    pub(crate) fn login(&self, talk: &mut Talk, mechanism: &str) -> Result<(), String> {
        talk.say("EHLO client.example");
        let bare = format!("n={},r=fyko+d2lbbFgONRv9qkxdawL", self.user);
        let first = talk.say(&format!("AUTH {mechanism} {}", encode(format!("{}{bare}", self.header))));
        let challenge = decode(&first)?;
        let text = String::from_utf8(challenge).expect("text");
        let value = |name: &str| text.split(',').find_map(|part| part.strip_prefix(name)).expect("there").to_owned();
        let (nonce, salt, iterations) = (value("r="), value("s="), value("i="));
        let salt = BASE64_STANDARD.decode(salt).expect("a salt");
        let mut salted = [0; 32];
        let iterations = iterations.parse().expect("a number");
        pbkdf2::pbkdf2_hmac::<Sha256>(self.password.as_bytes(), &salt, iterations, &mut salted);
        let client_key = mac(&salted, b"Client Key");
        let repeated = if self.repeated.is_empty() { self.header } else { self.repeated };
        let bound = encode([repeated.as_bytes(), &self.bound].concat());
        let end = format!("c={bound},r={nonce}{}", self.nonce_in_the_end.unwrap_or_default());
        let signed = format!("{bare},{text},{end}");
        let signature = mac(&Sha256::digest(client_key), signed.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, mask)| key ^ mask).collect();
        let second = talk.say(&encode(format!("{end},p={}", encode(proof))));
        let verifier = decode(&second)?;
        let expected = format!("v={}", encode(mac(&mac(&salted, b"Server Key"), signed.as_bytes())));
        assert_eq!(String::from_utf8(verifier).expect("text"), expected, "the server's own proof");
        let last = talk.say("");
        if last.starts_with("235 ") { Ok(()) } else { Err(last) }
    }
}

fn encode(octets: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(octets)
}

fn decode(reply: &str) -> Result<Vec<u8>, String> {
    let coded = reply.strip_prefix("334 ").ok_or_else(|| reply.to_owned())?;
    Ok(BASE64_STANDARD.decode(coded.trim_end()).expect("base64"))
}

fn mac(key: &[u8], octets: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(octets);
    mac.finalize().into_bytes().into()
}
