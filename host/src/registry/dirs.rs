//! Which directories may be granted to sinks: none that holds what is the server's own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use basin_core::event::granted_dir::DIRS_MAX;
use basin_core::event::{GrantedDir, Grants};

use crate::config::Config;

/// Trees of the kernel: reading there may wait for ever, and writing changes the machine.
const KERNEL_TREES: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Files and directories of the server, each with what it is. Mailboxes are not among them: a sink that files mail away
/// or delivers it may well be meant to work there, and nothing else of the server depends on what is in them.
#[derive(Debug, Clone, Default)]
pub struct OwnPlaces(Vec<(&'static str, PathBuf)>);

impl OwnPlaces {
    /// What a configuration names.
    pub fn of(config: &Config) -> Self {
        let mut places = vec![
            ("the configuration", Some(config.file.clone())),
            ("the spool", Some(config.spool.clone())),
            ("the registry", Some(config.registry.clone())),
            ("the cache of compiled code", Some(config.cache.clone())),
            ("the file of users", config.users_file.clone()),
            ("the pickup directory", config.pickup.as_ref().map(|pickup| pickup.directory.clone())),
            ("the tracking log", config.tracking.as_ref().map(|tracking| tracking.directory.clone())),
            ("the audit log", config.audit.as_ref().map(|audit| audit.directory.clone())),
            // Who can write these decides whom the server believes.
            ("the file of trusted authorities", config.tls.roots.clone()),
            ("the trust anchor of DNS", config.dns.trust_anchor.clone()),
        ];
        places.extend(config.certificates.iter().map(|files| ("a certificate", Some(files.chain.clone()))));
        let users = config.listeners.iter().filter_map(|listener| listener.auth.as_ref()?.users.clone());
        places.extend(users.map(|file| ("a file of users", Some(file))));
        places.extend(config.certificates.iter().map(|files| ("a private key", Some(files.key.clone()))));
        let clients = config.listeners.iter().filter_map(|listener| listener.tls.clients.as_ref());
        let authorities = clients.map(|clients| clients.authorities.clone());
        places.extend(authorities.map(|file| ("a file of authorities for clients", Some(file))));
        places.extend(config.dkim.iter().map(|key| ("a signing key", Some(key.file.clone()))));
        places.extend(config.arc.iter().map(|key| ("a signing key", Some(key.file.clone()))));
        places
            .extend(config.credentials.iter().map(|known| ("a password for another server", Some(known.file.clone()))));
        Self(places.into_iter().filter_map(|(what, path)| Some((what, settled(&path?)))).collect())
    }

    /// The same with the files that the secrets of sinks are in.
    #[must_use]
    pub fn with_secrets<'a>(&self, files: impl Iterator<Item = &'a str>) -> Self {
        let files = files.map(|file| ("a secret of a sink", settled(Path::new(file))));
        Self(self.0.iter().cloned().chain(files).collect())
    }

    /// Whether these grants can be given here.
    ///
    /// # Errors
    /// Which cannot, why, and what to do.
    pub fn check(&self, grants: &Grants) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for dir in grants.dirs() {
            self.check_dir(dir).map_err(|why| format!("cannot grant {}: {why}", dir.word()))?;
            if !names.insert(dir.guest()) {
                return Err(format!("cannot grant {}: the sink has another directory of that name", dir.word()));
            }
        }
        if names.len() > DIRS_MAX {
            return Err(format!("cannot grant {} directories to one sink, {DIRS_MAX} are the most", names.len()));
        }
        Ok(())
    }

    fn check_dir(&self, dir: GrantedDir) -> Result<(), String> {
        let path = Path::new(dir.host());
        let found = fs::canonicalize(path).map_err(|error| format!("cannot look at {}: {error}", path.display()))?;
        if !found.is_dir() {
            return Err(format!("{} is no directory", path.display()));
        }
        if found != path {
            let (path, found) = (path.display(), found.display());
            return Err(format!("{path} is reached by a symbolic link; name the directory itself, {found}"));
        }
        if KERNEL_TREES.iter().any(|tree| path.starts_with(tree)) {
            return Err(format!("{} belongs to the kernel", path.display()));
        }
        for (what, own) in &self.0 {
            if path.starts_with(own) || own.starts_with(path) {
                let own = own.display();
                return Err(format!(
                    "{what} of this server is {own}, and no sink may look into it; take another directory"
                ));
            }
        }
        Ok(())
    }
}

// A file that is not there yet is taken for where it would be.
fn settled(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    fs::canonicalize(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(own: &OwnPlaces, dirs: &[String]) -> Result<(), String> {
        own.check(&dirs.iter().map(|dir| dir.parse().expect("a grant")).collect())
    }

    #[test]
    fn whom_the_server_believes_no_sink_decides() {
        let text = "host-name = \"mx.basin.example\"\npostmaster = \"alice@basin.example\"\n\
            [spool]\ndirectory = \"spool\"\n[maildir]\ndirectory = \"mail\"\n\
            [[listener]]\nname = \"inbound\"\naddress = \"127.0.0.1:2525\"\n\
            [[domain]]\nname = \"basin.example\"\nmailboxes = [\"alice\"]\n";
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there");
        let mut config = Config::parse(&root.join("etc/basin.toml"), text).expect("valid");
        let what =
            [("roots", "authorities"), ("dns", "trust anchor"), ("clients", "for clients"), ("audit", "audit log")];
        what.iter().for_each(|(dir, _)| fs::create_dir_all(root.join(dir)).expect("made"));
        config.audit.as_mut().expect("it is kept").directory = root.join("audit");
        config.tls.roots = Some(root.join("roots/ca.pem"));
        config.dns.trust_anchor = Some(root.join("dns/root.key"));
        let clients = crate::tls::ClientCertificates { authorities: root.join("clients/ca.pem"), is_required: true };
        config.listeners[0].tls.clients = Some(clients);
        let own = OwnPlaces::of(&config);
        for (dir, why) in what {
            let said = check(&own, &[format!("dir={}/{dir}::/d", root.display())]).expect_err("refused");
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn only_directories_that_are_not_the_servers_own_are_granted() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there");
        for dir in ["spool/queue", "mail", "other"] {
            fs::create_dir_all(root.join(dir)).expect("made");
        }
        fs::write(root.join("other/token"), "x").expect("written");
        std::os::unix::fs::symlink(root.join("mail"), root.join("link")).expect("made");
        let own = OwnPlaces(vec![("the spool", root.join("spool"))]);
        let secret = format!("{}/other/token", root.display());
        let own = own.with_secrets(std::iter::once(secret.as_str()));
        let dir = |path: &str| [format!("dir={}{path}::/d", root.display())];
        assert_eq!(check(&own, &dir("/mail")), Ok(()));
        for (path, why) in [
            ("", "the spool of this server"),
            ("/spool", "the spool of this server"),
            ("/spool/queue", "the spool of this server"),
            ("/other", "a secret of a sink of this server"),
            ("/other/token", "is no directory"),
            ("/link", "name the directory itself"),
            ("/none", "cannot look at"),
        ] {
            let said = check(&own, &dir(path)).expect_err("refused");
            assert!(said.contains(why), "{path}: {said}");
        }
        assert!(check(&own, &["dir=/proc/self::/d".to_owned()]).is_err());
        let twice = [dir("/mail")[0].clone(), format!("dir={}/mail::/d:rw", root.display())];
        assert!(check(&own, &twice).expect_err("refused").contains("another directory of that name"));
        let many: Vec<_> = (0..=DIRS_MAX).map(|n| format!("dir={}/mail::/d{n}", root.display())).collect();
        assert!(check(&own, &many).expect_err("refused").contains("the most"));
    }
}
