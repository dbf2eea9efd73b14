//! Root is for binding ports; everything after that runs as somebody else.
//!
//! A server that the network can reach and that was started as root without `user` refuses to run: sinks are
//! sandboxed, but the sandbox is the second wall, not the only one. `--allow-root` overrules it, for
//! containers whose root is nobody outside. On loopback alone root is taken with a warning: that is where
//! people and tests try things out.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User, setgid, setgroups, setuid};
use thiserror::Error;

/// Why the server cannot become whom it should be.
#[derive(Debug, Error)]
pub enum PrivilegeError {
    /// Started as root, and nobody says whom to become.
    #[error(
        "started as root, and `user` names nobody else; set user = \"basin\" in {}, or start as another user \
         (port 25 needs AmbientCapabilities=CAP_NET_BIND_SERVICE then), or give --allow-root",
        file.display()
    )]
    Root {
        /// The configuration.
        file: PathBuf,
    },
    /// A name or number that the system does not know.
    #[error("there is no {what} {name:?} on this machine; `basin` needs one to run as (useradd --system {name})")]
    Unknown {
        /// "user" or "group".
        what: &'static str,
        /// What was written.
        name: String,
    },
    /// The system refuses.
    #[error("cannot {doing}: {cause}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Root could be had back, so it was not given up.
    #[error("root was given up and can be had back; the system is not set up as this server expects")]
    NotGone,
}

/// Whom to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    user: Uid,
    group: Gid,
}

/// What to do about the user that the process was started by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Stay.
    Stay,
    /// Stay root, which somebody should know.
    StayRoot,
    /// Stay, although a user is configured: only root can become somebody else.
    CannotChange(String),
    /// Become that user after binding.
    Become(Identity),
}

impl Plan {
    /// Decides before anything is bound. `allows_root` is `--allow-root`, or a server on loopback alone.
    ///
    /// # Errors
    /// Root without a user to become, or a user that does not exist.
    pub fn make(
        user: Option<&str>,
        group: Option<&str>,
        allows_root: bool,
        file: PathBuf,
    ) -> Result<Self, PrivilegeError> {
        let identity = match (user, Uid::effective().is_root()) {
            (None, false) => return Ok(Self::Stay),
            // The service manager may have made us that user already.
            (Some(user), false) if Identity::find(user, group).is_ok_and(|it| it.user == Uid::effective()) => {
                return Ok(Self::Stay);
            }
            (Some(user), false) => return Ok(Self::CannotChange(user.to_owned())),
            (None, true) => None,
            (Some(user), true) => Some(Identity::find(user, group)?),
        };
        Self::of_root(identity, allows_root, file)
    }

    // `user = "root"` is root like any other.
    fn of_root(identity: Option<Identity>, allows_root: bool, file: PathBuf) -> Result<Self, PrivilegeError> {
        match identity.filter(|identity| !identity.user.is_root()) {
            Some(identity) => Ok(Self::Become(identity)),
            None if allows_root => Ok(Self::StayRoot),
            None => Err(PrivilegeError::Root { file }),
        }
    }
}

impl Identity {
    fn find(user: &str, group: Option<&str>) -> Result<Self, PrivilegeError> {
        let system = |doing| move |cause: nix::Error| PrivilegeError::System { doing, cause: cause.into() };
        let unknown = |what, name: &str| PrivilegeError::Unknown { what, name: name.to_owned() };
        let found = match user.parse() {
            Ok(number) => User::from_uid(Uid::from_raw(number)),
            Err(_) => User::from_name(user),
        };
        let found = found.map_err(system("look up the user"))?.ok_or_else(|| unknown("user", user))?;
        let group = match group {
            None => found.gid,
            Some(name) => {
                let group = match name.parse() {
                    Ok(number) => Group::from_gid(Gid::from_raw(number)),
                    Err(_) => Group::from_name(name),
                };
                group.map_err(system("look up the group"))?.ok_or_else(|| unknown("group", name))?.gid
            }
        };
        Ok(Self { user: found.uid, group })
    }

    /// The owner of a directory, for root who works on files that are another's.
    ///
    /// # Errors
    /// The directory cannot be looked at.
    pub fn owner_of(directory: &Path) -> Result<Self, PrivilegeError> {
        let metadata = std::fs::metadata(directory);
        let metadata =
            metadata.map_err(|cause| PrivilegeError::System { doing: "see whose the directory is", cause })?;
        Ok(Self { user: Uid::from_raw(metadata.uid()), group: Gid::from_raw(metadata.gid()) })
    }

    /// Whether it is somebody else than root, and the process is root.
    pub fn is_below_us(&self) -> bool {
        Uid::effective().is_root() && !self.user.is_root()
    }

    /// Gives a directory that root made to the user.
    ///
    /// # Errors
    /// The system refuses.
    pub fn own(&self, path: &Path) -> Result<(), PrivilegeError> {
        let given = std::os::unix::fs::chown(path, Some(self.user.as_raw()), Some(self.group.as_raw()));
        given.map_err(|cause| PrivilegeError::System { doing: "give a directory to the user", cause })
    }

    /// Becomes the user, for good. Call it before the first thread is started.
    ///
    /// # Errors
    /// The system refuses; the process must end then, because nobody knows what it is.
    pub fn assume(&self) -> Result<(), PrivilegeError> {
        let system = |doing| move |cause: nix::Error| PrivilegeError::System { doing, cause: cause.into() };
        // Groups while the right to change them is still there, the user last.
        setgroups(&[self.group]).map_err(system("drop the groups of root"))?;
        setgid(self.group).map_err(system("change the group"))?;
        setuid(self.user).map_err(system("change the user"))?;
        if setuid(Uid::from_raw(0)).is_ok() { Err(PrivilegeError::NotGone) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_does_not_exist_is_named() {
        let error = Identity::find("no-such-user-here", None).expect_err("unknown");
        assert!(error.to_string().contains("no user \"no-such-user-here\""), "{error}");
        let error = Identity::find("root", Some("no-such-group-here")).expect_err("unknown");
        assert!(error.to_string().contains("no group \"no-such-group-here\""), "{error}");
    }

    #[test]
    fn numbers_are_users_too() {
        let root = Identity { user: Uid::from_raw(0), group: Gid::from_raw(0) };
        assert_eq!(Identity::find("0", None).ok(), Some(root));
        assert_eq!(Identity::find("root", Some("0")).ok(), Some(root));
    }

    #[test]
    fn root_by_name_is_root_all_the_same() {
        let identity = |number| Some(Identity { user: Uid::from_raw(number), group: Gid::from_raw(0) });
        assert!(matches!(Plan::of_root(identity(0), false, PathBuf::new()), Err(PrivilegeError::Root { .. })));
        assert_eq!(Plan::of_root(identity(0), true, PathBuf::new()).ok(), Some(Plan::StayRoot));
        assert_eq!(Plan::of_root(identity(7), false, PathBuf::new()).ok(), identity(7).map(Plan::Become));
    }

    #[test]
    fn without_a_user_everybody_stays_who_they_are() {
        let plan = Plan::make(None, None, true, PathBuf::new());
        let expected = if Uid::effective().is_root() { Plan::StayRoot } else { Plan::Stay };
        assert_eq!(plan.ok(), Some(expected));
    }
}
