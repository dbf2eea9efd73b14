//! The lists: what the operator set, and what members changed since.

use basin_sink::prelude::*;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Shortest secret, in octets.
const SECRET_OCTETS_MIN: usize = 16;
/// Octets of a proof: nobody guesses 64 bits by mail.
const PROOF_OCTETS: usize = 8;
/// Keys that one question about the state answers at most.
const KEYS_MAX: usize = 1000;

/// All lists.
#[derive(Debug)]
pub(crate) struct Lists(Vec<List>);

/// One list.
#[derive(Debug)]
pub(crate) struct List {
    /// Its address.
    pub(crate) address: String,
    local: String,
    pub(crate) domain: String,
    /// Who gets its errors and `LIST-owner`.
    pub(crate) owners: Vec<String>,
    /// Members that the operator named.
    named: Vec<String>,
    /// Whether only members write to it.
    pub(crate) is_for_members: bool,
    /// Whether people subscribe by themselves.
    pub(crate) is_open: bool,
    secret: String,
}

/// What an address of a list is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// The list.
    Post,
    /// Requests of members.
    Request,
    /// The owners.
    Owner,
    /// The return path, with the proof of a member in it or for all.
    Bounces(Option<String>),
}

impl Lists {
    /// Reads the configuration.
    pub(crate) fn read() -> Result<Self> {
        let secret = config::get("secret").unwrap_or_default();
        if secret.trim().len() < SECRET_OCTETS_MIN {
            return Err(Failure::new(format!(
                "the configuration needs a secret of {SECRET_OCTETS_MIN} octets or more"
            )));
        }
        let addresses = config::list("lists").unwrap_or_default();
        addresses.iter().map(|address| List::read(address, secret.trim())).collect::<Result<_>>().map(Self)
    }

    /// The list that an address belongs to.
    pub(crate) fn role_of(&self, address: &str) -> Option<(&List, Role)> {
        self.0.iter().find_map(|list| Some((list, list.role_of(address)?)))
    }

    /// The list of that address.
    pub(crate) fn named(&self, address: &[u8]) -> Option<&List> {
        self.0.iter().find(|list| list.address.as_bytes() == address)
    }
}

impl List {
    fn read(address: &str, secret: &str) -> Result<Self> {
        let wrong = |why: String| Failure::new(format!("list {address}: {why}"));
        let address = address.to_ascii_lowercase();
        let (local, domain) = address.rsplit_once('@').ok_or_else(|| wrong("this is no address".to_owned()))?;
        let setting = |name: &str| config::get(&format!("{name}.{address}"));
        let people = |name: &str| config::list(&format!("{name}.{address}"));
        let word = |name: &str, usual: &str, other: &str| match setting(name) {
            Some(word) if word.trim() == other => Ok(false),
            Some(word) if word.trim() != usual => Err(wrong(format!("{name} is {usual} or {other}"))),
            _ => Ok(true),
        };
        Ok(Self {
            local: local.to_owned(),
            domain: domain.to_owned(),
            owners: people("owner").unwrap_or_else(|| vec![format!("postmaster@{domain}")]),
            named: people("members").unwrap_or_default(),
            is_for_members: word("posting", "members", "anyone")?,
            is_open: word("subscription", "open", "closed")?,
            secret: secret.to_owned(),
            address: address.clone(),
        })
    }

    fn role_of(&self, address: &str) -> Option<Role> {
        let (local, domain) = address.rsplit_once('@')?;
        if !domain.eq_ignore_ascii_case(&self.domain) {
            return None;
        }
        let local = local.to_ascii_lowercase();
        match local.strip_prefix(&self.local)? {
            "" => Some(Role::Post),
            "-request" => Some(Role::Request),
            "-owner" => Some(Role::Owner),
            "-bounces" => Some(Role::Bounces(None)),
            end => end.strip_prefix("-bounces+").map(|tag| Role::Bounces(Some(tag.to_owned()))),
        }
    }

    /// Whether an address is one of the list's.
    pub(crate) fn is_own(&self, address: &str) -> bool {
        self.role_of(address).is_some()
    }

    /// `LIST-request` and its like.
    pub(crate) fn with(&self, suffix: &str) -> String {
        format!("{}-{suffix}@{}", self.local, self.domain)
    }

    /// Its name for RFC 2919.
    pub(crate) fn id(&self) -> String {
        format!("{}.{}", self.local, self.domain)
    }

    /// What only this server can make out of a purpose and an address.
    pub(crate) fn proof(&self, purpose: &str, address: &str) -> String {
        let text = format!("{purpose}\n{}\n{}", self.address, address.to_ascii_lowercase());
        // A key of any length is one.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()) else { return String::new() };
        mac.update(text.as_bytes());
        let octets = mac.finalize().into_bytes();
        octets.iter().take(PROOF_OCTETS).map(|octet| format!("{octet:02x}")).collect()
    }

    /// The name of a member in return paths and in the state.
    pub(crate) fn tag(&self, member: &str) -> String {
        self.proof("member", member)
    }

    /// The return path for one member.
    pub(crate) fn return_path(&self, member: &str) -> String {
        self.with(&format!("bounces+{}", self.tag(member)))
    }

    /// A key of the state about a member.
    pub(crate) fn key(&self, what: &str, tag: &str) -> String {
        format!("{what}/{}/{tag}", self.proof("list", ""))
    }

    /// Everybody on the list, those included who get nothing at present.
    pub(crate) fn members(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for address in &self.named {
            if state::get(&self.key("left", &self.tag(address)))?.is_none() {
                all.push(address.clone());
            }
        }
        let prefix = self.key("member", "");
        let mut after: Option<String> = None;
        loop {
            let keys = state::keys(&prefix, after.as_deref())?;
            for key in &keys {
                let value = state::get(key)?.and_then(|value| String::from_utf8(value).ok());
                all.extend(value.filter(|address| !all.iter().any(|other| other.eq_ignore_ascii_case(address))));
            }
            if keys.len() < KEYS_MAX {
                return Ok(all);
            }
            after = keys.last().cloned();
        }
    }

    /// Those who get what is written to it.
    pub(crate) fn readers(&self) -> Result<Vec<String>> {
        let mut readers = Vec::new();
        for member in self.members()? {
            if state::get(&self.key("suspended", &self.tag(&member)))?.is_none() {
                readers.push(member);
            }
        }
        Ok(readers)
    }

    /// Whether that address is on the list.
    pub(crate) fn has(&self, address: &str) -> Result<bool> {
        Ok(self.members()?.iter().any(|member| member.eq_ignore_ascii_case(address)))
    }

    /// The member of that tag.
    pub(crate) fn member_by_tag(&self, tag: &str) -> Result<Option<String>> {
        Ok(self.members()?.into_iter().find(|member| self.tag(member) == tag))
    }

    /// Puts an address on the list.
    pub(crate) fn add(&self, address: &str) -> Result<()> {
        let tag = self.tag(address);
        state::delete(&self.key("left", &tag))?;
        state::delete(&self.key("suspended", &tag))?;
        Ok(state::set(&self.key("member", &tag), address, None)?)
    }

    /// Takes it off.
    pub(crate) fn remove(&self, address: &str) -> Result<()> {
        let tag = self.tag(address);
        state::delete(&self.key("member", &tag))?;
        if self.named.iter().any(|member| member.eq_ignore_ascii_case(address)) {
            // Whom the operator named would be back otherwise.
            state::set(&self.key("left", &tag), "", None)?;
        }
        Ok(())
    }
}
