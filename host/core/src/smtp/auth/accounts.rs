//! The users of this server, and what is kept of their passwords.

use core::fmt;
use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use thiserror::Error;

use crate::limits::{
    ACCOUNTS_MAX, SCRAM_ITERATIONS_DEFAULT, SCRAM_ITERATIONS_MAX, SCRAM_ITERATIONS_MIN, SCRAM_SALT_BYTES_MAX,
    SCRAM_SALT_BYTES_MIN, USER_BYTES_MAX,
};
use crate::smtp::auth::pbkdf2::pbkdf2;
use crate::smtp::auth::verify::{Evidence, Login, Verified};

/// Octets of SHA-256.
pub(super) const HASH_BYTES: usize = 32;

/// Octets of a salt that nobody chose.
const SALT_BYTES: usize = 16;

/// What stands in front of the numbers in a line of the file (RFC 5803 has the same four values).
const SCHEME: &str = "{SCRAM-SHA-256}";

/// The users, by name, with what is kept of their passwords.
///
/// The file has a line for each, `user:{SCRAM-SHA-256}iterations:salt:stored-key:server-key`, the last three in
/// base64. From the keys nobody gets the password but by guessing, and nobody can log in with them.
#[derive(Clone)]
pub struct Accounts {
    users: BTreeMap<String, StoredKeys>,
    /// Makes the salts of users who do not exist.
    decoy: [u8; HASH_BYTES],
    /// Their iterations: what most users have.
    iterations: u32,
    is_available: bool,
}

/// Why a file of users is no good.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AccountsError {
    /// A line has another form.
    #[error("line {0} is no account; write user:{{SCRAM-SHA-256}}iterations:salt:stored-key:server-key")]
    Form(usize),
    /// The name is none.
    #[error("line {0}: the name is no name for a user: {1}")]
    Name(usize, BadCredential),
    /// The number of iterations is out of range.
    #[error("line {0}: {1} iterations are out of range; {SCRAM_ITERATIONS_MIN} to {SCRAM_ITERATIONS_MAX} are possible")]
    Iterations(usize, u32),
    /// The name stood there before.
    #[error("line {0}: a second line for the user {1:?}")]
    Twice(usize, String),
    /// Too many lines.
    #[error("more than {ACCOUNTS_MAX} users")]
    TooMany,
}

/// Why a text is no name or password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadCredential {
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// Longer than `limits::USER_BYTES_MAX`.
    #[error("it is longer than {USER_BYTES_MAX} octets")]
    TooLong,
    /// A colon, which ends a name in the file, or `#` in front, which begins a comment.
    #[error("a name has no colon and does not begin with #")]
    Colon,
    /// Characters that SASLprep forbids (RFC 4013 §2.3), such as control characters.
    #[error("it has characters that are not allowed (RFC 4013)")]
    Characters,
    /// SASLprep writes it in another way.
    #[error("it is not in the form that clients' names are brought into (RFC 4013)")]
    NotPrepared,
}

/// What is kept of a password (RFC 5802 §3): enough to check it, not enough to use it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKeys {
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: [u8; HASH_BYTES],
    pub(super) server_key: [u8; HASH_BYTES],
}

impl StoredKeys {
    /// Makes the keys of a password; takes as long as a login does. `salt` is random, 16 octets.
    ///
    /// # Errors
    /// The password is empty, or has characters that no client can send (RFC 4013).
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Result<Self, BadCredential> {
        let prepared = prepare(password)?;
        Ok(Self::of(prepared.as_bytes(), salt, iterations))
    }

    fn of(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let salted = pbkdf2(password, salt, iterations);
        let client_key = hmac(&salted, &[b"Client Key"]);
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: Sha256::digest(client_key).into(),
            server_key: hmac(&salted, &[b"Server Key"]),
        }
    }

    /// What stands behind the name in the file.
    pub fn to_record(&self) -> String {
        let [salt, stored, server] = [self.salt.as_slice(), &self.stored_key, &self.server_key];
        let [salt, stored, server] = [salt, stored, server].map(|octets| BASE64_STANDARD.encode(octets));
        format!("{SCHEME}{}:{salt}:{stored}:{server}", self.iterations)
    }

    fn parse(record: &str) -> Option<Self> {
        let mut parts = record.strip_prefix(SCHEME)?.split(':');
        let iterations = parts.next().filter(|text| text.bytes().all(|octet| octet.is_ascii_digit()))?.parse().ok()?;
        let mut octets = || BASE64_STANDARD.decode(parts.next()?).ok();
        let (salt, stored, server) = (octets()?, octets()?, octets()?);
        let is_salt = (SCRAM_SALT_BYTES_MIN..=SCRAM_SALT_BYTES_MAX).contains(&salt.len());
        let (stored_key, server_key) = (stored.try_into().ok()?, server.try_into().ok()?);
        (is_salt && parts.next().is_none()).then_some(Self { iterations, salt, stored_key, server_key })
    }
}

impl fmt::Debug for StoredKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredKeys({} iterations)", self.iterations)
    }
}

impl Accounts {
    /// Reads the file's text. Empty lines and those that begin with `#` are skipped.
    ///
    /// `decoy` is random and secret, and the same after a restart: from it come the salts that SCRAM names for users
    /// who do not exist. With another one tomorrow, those who asked twice would know who does.
    ///
    /// # Errors
    /// See [`AccountsError`]; the file is taken whole or not at all.
    pub fn parse(text: &str, decoy: [u8; HASH_BYTES]) -> Result<Self, AccountsError> {
        let mut users = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let number = index + 1;
            let (user, record) = line.trim_end().split_once(':').ok_or(AccountsError::Form(number))?;
            check_user(user).map_err(|bad| AccountsError::Name(number, bad))?;
            let keys = StoredKeys::parse(record).ok_or(AccountsError::Form(number))?;
            if !(SCRAM_ITERATIONS_MIN..=SCRAM_ITERATIONS_MAX).contains(&keys.iterations) {
                return Err(AccountsError::Iterations(number, keys.iterations));
            }
            if users.insert(user.to_owned(), keys).is_some() {
                return Err(AccountsError::Twice(number, user.to_owned()));
            }
            if users.len() > ACCOUNTS_MAX {
                return Err(AccountsError::TooMany);
            }
        }
        let iterations = usual_iterations(&users);
        Ok(Self { users, decoy, iterations, is_available: true })
    }

    /// Stands for users that cannot be read: logins are answered with 454 until they can.
    pub fn unavailable() -> Self {
        Self { is_available: false, ..Self::default() }
    }

    /// The line of a user in the file, without line end.
    ///
    /// # Errors
    /// The name cannot stand in the file.
    pub fn line(user: &str, keys: &StoredKeys) -> Result<String, BadCredential> {
        check_user(user)?;
        Ok(format!("{user}:{}", keys.to_record()))
    }

    /// The names, in order.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// Checks a login. A password takes some ten milliseconds of computing, as long for a user who does not exist.
    pub fn verify(&self, login: &Login) -> Verified {
        if !self.is_available {
            return Verified::Unavailable;
        }
        let password = match &login.evidence {
            Evidence::Password(password) => password,
            Evidence::Proof(is_right) => return if *is_right { Verified::Right } else { Verified::Wrong },
        };
        let (keys, is_user) = self.keys_of(&login.user);
        let prepared = core::str::from_utf8(password.reveal()).ok().and_then(|text| prepare(text).ok());
        let is_text = prepared.is_some();
        let computed = StoredKeys::of(prepared.unwrap_or_default().as_bytes(), &keys.salt, keys.iterations);
        let is_right = computed.stored_key.ct_eq(&keys.stored_key) & is_user & Choice::from(u8::from(is_text));
        if is_right.into() { Verified::Right } else { Verified::Wrong }
    }

    /// Whether the users can be read.
    pub(super) fn is_available(&self) -> bool {
        self.is_available
    }

    /// The keys of a user, and whether there is one. Who does not exist has keys as well, the same each time.
    pub(super) fn keys_of(&self, user: &str) -> (StoredKeys, Choice) {
        if let Some(keys) = self.users.get(user) {
            return (keys.clone(), Choice::from(1));
        }
        let made_up = |what: &[u8]| hmac(&self.decoy, &[what, user.as_bytes()]);
        let salt = made_up(b"salt ").get(..SALT_BYTES).unwrap_or_default().to_vec();
        let (stored_key, server_key) = (made_up(b"stored "), made_up(b"server "));
        (StoredKeys { iterations: self.iterations, salt, stored_key, server_key }, Choice::from(0))
    }

    /// A nonce for SCRAM: not to be guessed by who does not know the secret, and never the same for two things.
    pub(super) fn nonce(&self, unique: &[&[u8]]) -> String {
        let parts: Vec<&[u8]> = core::iter::once(&b"nonce "[..]).chain(unique.iter().copied()).collect();
        BASE64_STANDARD.encode(hmac(&self.decoy, &parts).get(..SALT_BYTES).unwrap_or_default())
    }
}

impl Default for Accounts {
    fn default() -> Self {
        let users = BTreeMap::new();
        Self { users, decoy: [0; HASH_BYTES], iterations: SCRAM_ITERATIONS_DEFAULT, is_available: true }
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Accounts({} users)", self.users.len())
    }
}

/// HMAC-SHA-256 over the parts one after the other.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; HASH_BYTES] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Brings a name or password into the one form that is compared (RFC 4013).
pub(super) fn prepare(text: &str) -> Result<String, BadCredential> {
    let prepared = stringprep::saslprep(text).map_err(|_| BadCredential::Characters)?;
    if prepared.is_empty() { Err(BadCredential::Empty) } else { Ok(prepared.into_owned()) }
}

fn check_user(user: &str) -> Result<(), BadCredential> {
    if user.len() > USER_BYTES_MAX {
        return Err(BadCredential::TooLong);
    }
    if user.contains(':') || user.starts_with('#') {
        return Err(BadCredential::Colon);
    }
    if prepare(user)? == user { Ok(()) } else { Err(BadCredential::NotPrepared) }
}

// What most users have, so that those who do not exist are like most.
fn usual_iterations(users: &BTreeMap<String, StoredKeys>) -> u32 {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    users.values().for_each(|keys| *counts.entry(keys.iterations).or_default() += 1);
    let most = counts.into_iter().max_by_key(|(iterations, count)| (*count, *iterations));
    most.map_or(SCRAM_ITERATIONS_DEFAULT, |(iterations, _)| iterations)
}
