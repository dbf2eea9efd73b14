//! Keys from their files, and who gets which signature.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use basin_core::mail::{Arrival, Origin};
use basin_core::network::Network;
use basin_core::transport::{self, Work};
use basin_outbound::sign::{ArcIdentity, DkimIdentity, KeyError, Signer, SigningKey, Standing};
use thiserror::Error;

use crate::clock::now;
use crate::config::Config;
use crate::telemetry::signing::{MessageSigned, SigningFailed};

/// Largest file that is read as a key, in octets: an RSA key of 4096 bits has 3,300.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why a key file cannot be used. No text has anything of the key in it.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("cannot read the key {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner and its group can read it, or others than its owner can write it.
    #[error(
        "the key {} has mode {mode:03o}, so that others can read or change it; run `chmod 640` or `chmod 600` on it",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no file, or far too large for a key.
    #[error("{} is no file with a key", path.display())]
    NoFile {
        /// What it is.
        path: PathBuf,
    },
    /// What is in it is no key.
    #[error("cannot use the key {}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
}

/// Reads a private key, unless others could have read it before.
///
/// # Errors
/// See [`KeyFileError`].
pub fn read_key(path: &Path) -> Result<SigningKey, KeyFileError> {
    let failed = |source| KeyFileError::Read { path: path.to_owned(), source };
    let facts = fs::metadata(path).map_err(failed)?;
    if !facts.is_file() || facts.len() > KEY_FILE_BYTES_MAX {
        return Err(KeyFileError::NoFile { path: path.to_owned() });
    }
    let mode = facts.mode() & 0o777;
    if mode & 0o027 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    let text = fs::read(path).map_err(failed)?;
    SigningKey::from_pem(&text).map_err(|source| KeyFileError::Key { path: path.to_owned(), source })
}

/// Keys and rules that are in force.
#[derive(Default)]
pub struct Signing {
    signer: Signer,
    relay_clients: Vec<Network>,
}

impl Signing {
    /// Reads the keys of a configuration.
    ///
    /// # Errors
    /// The first key that cannot be used.
    pub fn load(config: &Config) -> Result<Self, KeyFileError> {
        Ok(Self { signer: load(config)?, relay_clients: config.relay_clients.clone() })
    }

    /// Whether there is nothing to sign with.
    pub fn is_idle(&self) -> bool {
        self.signer.is_idle()
    }

    /// Signs a message that leaves, and hands the machine what there is to put on top of it.
    pub(crate) async fn sign(&self, signing: transport::Signing) -> Work {
        let message = signing.message().clone();
        let (id, standing) = (message.id.clone(), standing(&message.arrival, &self.relay_clients));
        // The future is large, and most messages need none.
        match Box::pin(self.signer.sign(message, standing, now())).await {
            Ok(signed) => {
                MessageSigned { message: &id, by: &signed.by, chain: signed.chain }.record();
                signing.signed(signed.fields, now())
            }
            Err(error) => {
                SigningFailed { message: &id, cause: &error.to_string() }.record();
                signing.not_signed(now())
            }
        }
    }
}

/// Reads all keys of a configuration. All or nothing: with one key missing, mail would leave unsigned and nobody
/// would know.
///
/// # Errors
/// The first key that cannot be used.
fn load(config: &Config) -> Result<Signer, KeyFileError> {
    let identity = |dkim: &crate::config::DkimKey| {
        let key = Arc::new(read_key(&dkim.file)?);
        let (header_canonicalization, body_canonicalization) = dkim.canonicalization;
        Ok(DkimIdentity {
            headers: dkim.headers.clone(),
            header_canonicalization,
            body_canonicalization,
            expires_after: dkim.expires_after,
            covers_subdomains: dkim.covers_subdomains,
            ..DkimIdentity::new(dkim.domain.as_str(), dkim.selector.as_str(), key)
        })
    };
    let dkim = config.dkim.iter().map(identity).collect::<Result<Vec<_>, _>>()?;
    let seal = |arc: &crate::config::ArcKey| {
        Ok(ArcIdentity {
            domain: arc.domain.clone(),
            selector: arc.selector.clone(),
            key: Arc::new(read_key(&arc.file)?),
            headers: arc.headers.clone(),
            authority: config.host_name.clone(),
        })
    };
    let arc = config.arc.as_ref().map(seal).transpose()?;
    Ok(Signer::new(dkim, arc, config.dns.servers.clone()))
}

/// How a message stands to this server: whoever may send through it to anywhere is one of us, and so is what was made
/// or dropped here. From anybody else a From field with our domain is a claim that no signature of ours confirms.
pub fn standing(arrival: &Arrival, relay_clients: &[Network]) -> Standing {
    match &arrival.origin {
        Origin::Pickup | Origin::Sink(_) | Origin::Notification => Standing::Submitted,
        Origin::Smtp => {
            let is_ours = |client: core::net::SocketAddr| relay_clients.iter().any(|network| network.has(client.ip()));
            if arrival.vouched.auth.is_some() || arrival.client.is_some_and(is_ours) {
                Standing::Submitted
            } else {
                Standing::Foreign
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use basin_core::time::Timestamp;
    use basin_outbound::sign::{KeyKind, generate};

    use super::*;

    #[test]
    fn a_key_that_others_can_read_is_refused_with_advice() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key.pem");
        fs::write(&path, generate(KeyKind::Ed25519).expect("a key")).expect("written");
        let with_mode = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("changed");
            read_key(&path)
        };
        assert!(with_mode(0o600).is_ok() && with_mode(0o640).is_ok() && with_mode(0o400).is_ok());
        for mode in [0o644, 0o604, 0o660, 0o622] {
            let text = with_mode(mode).expect_err("refused").to_string();
            assert!(text.contains(&format!("{mode:03o}")) && text.contains("chmod 600"), "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_never_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key.pem");
        fs::write(&path, "very secret").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
        let text = format!("{:?}", read_key(&path).expect_err("refused"));
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn only_who_may_send_through_this_server_is_signed_for() {
        let arrival = |origin, client: Option<&str>| Arrival {
            origin,
            at: Timestamp::default(),
            listener: "in".into(),
            client: client.map(|text| text.parse().expect("an address")),
            server: None,
            helo: None,
            is_esmtp: true,
            session: None,
            depth: 0,
            vouched: Default::default(),
        };
        let ours = [Network::parse("192.0.2.0/24").expect("a network")];
        assert_eq!(standing(&arrival(Origin::Smtp, Some("192.0.2.9:1")), &ours), Standing::Submitted);
        assert_eq!(standing(&arrival(Origin::Smtp, Some("198.51.100.9:1")), &ours), Standing::Foreign);
        assert_eq!(standing(&arrival(Origin::Smtp, None), &ours), Standing::Foreign);
        assert_eq!(standing(&arrival(Origin::Pickup, None), &[]), Standing::Submitted);
        assert_eq!(standing(&arrival(Origin::Notification, None), &[]), Standing::Submitted);
    }
}
