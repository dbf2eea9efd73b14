//! Root is for binding ports; everything after that runs as somebody else.
//!
//! A server that the network can reach and that was started as root without `user` refuses to run: sinks are
//! sandboxed, but the sandbox is the second wall, not the only one. `--allow-root` overrules it, for
//! containers whose root is nobody outside. On loopback alone root is taken with a warning: that is where
//! people and tests try things out.

use std::path::PathBuf;

use nix::unistd::{Gid, Group, Uid, User, setgid, setgroups, setuid};
use thiserror::Error;

/// Why the server cannot become whom it should be.
#[derive(Debug, Error)]
pub enum PrivilegeError {
    /// Started as root, and nobody says whom to become.
    #[error(
        "started as root, and `user` is not set; set user = \"basin\" in {}, or start as another user \
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
        match (user, Uid::effective().is_root()) {
            (None, false) => Ok(Self::Stay),
            (None, true) if allows_root => Ok(Self::StayRoot),
            (None, true) => Err(PrivilegeError::Root { file }),
            (Some(user), false) => Ok(Self::CannotChange(user.to_owned())),
            (Some(user), true) => Identity::find(user, group).map(Self::Become),
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

    /// Gives a directory that root made to the user.
    ///
    /// # Errors
    /// The system refuses.
    pub fn own(&self, path: &std::path::Path) -> Result<(), PrivilegeError> {
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
        let can_return = !self.user.is_root() && setuid(Uid::from_raw(0)).is_ok();
        if can_return { Err(PrivilegeError::NotGone) } else { Ok(()) }
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
    fn without_a_user_everybody_stays_who_they_are() {
        let plan = Plan::make(None, None, true, PathBuf::new());
        let expected = if Uid::effective().is_root() { Plan::StayRoot } else { Plan::Stay };
        assert_eq!(plan.ok(), Some(expected));
    }
}
