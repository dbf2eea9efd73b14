//! Who lives here: local domains, mailboxes and aliases.
//!
//! The same tables answer the session ("is this recipient ours?") and the transport ("which mailbox is
//! it?"), so an address that RCPT accepted is an address that can be delivered. Every look-up is exact: no
//! suffix of a domain, no `%` and no `!` in a local part has a meaning here, which is what keeps the server
//! from being an open relay.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use thiserror::Error;

use crate::addr::{Address, check_domain, domain_to_ascii};
use crate::limits::{ALIAS_MAILBOXES_MAX, MAILBOX_NAME_BYTES_MAX};

/// The tables as the configuration has them.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// Domains whose mail ends here.
    pub domains: Vec<String>,
    /// Address and the name of its mailbox; several addresses may share one.
    pub mailboxes: Vec<(Address, String)>,
    /// Address and the addresses that get its mail. These are local: forwarding elsewhere would send under the
    /// name of a sender who did not ask for it.
    pub aliases: Vec<(Address, Vec<Address>)>,
    /// Mailbox of `postmaster`, with and without a domain, where no entry above has it (RFC 5321 §4.5.1).
    pub postmaster: String,
    /// Domain and the mailbox that gets what nobody else there does.
    pub catch_all: Vec<(String, String)>,
    /// Names of this server, at which nobody but `postmaster` lives where they are no local domains.
    pub host_names: Vec<String>,
}

/// Why tables are not a directory. The texts go to the operator as they are.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DirectoryError {
    /// A local domain that is no domain.
    #[error("{domain:?} is not a valid domain")]
    Domain {
        /// The domain.
        domain: String,
    },
    /// An address in the tables at a domain that is not in them.
    #[error("{address} is not at a local domain; add its domain or take the address out")]
    NotLocal {
        /// The address.
        address: Address,
    },
    /// A catch-all of a domain that is not local.
    #[error("there is a catch-all for {domain:?}, which is not a local domain")]
    CatchAllDomain {
        /// The domain.
        domain: String,
    },
    /// An address that stands there twice.
    #[error("{address} has two entries among mailboxes and aliases")]
    Twice {
        /// The address.
        address: Address,
    },
    /// A mailbox name that is not safe as the name of a directory.
    #[error(
        "{name:?} is not a mailbox name: 1 to {MAILBOX_NAME_BYTES_MAX} octets of letters, digits, \
         \".\", \"_\", \"+\", \"-\" and \"@\", the first a letter or digit"
    )]
    MailboxName {
        /// The name.
        name: String,
    },
    /// An alias one of whose addresses leads to no mailbox: unknown, elsewhere, or in a circle.
    #[error(
        "alias {alias}: {target} leads to no mailbox of this server; a sink at on-categorize can forward elsewhere"
    )]
    AliasTarget {
        /// The alias.
        alias: Address,
        /// What it points to.
        target: Address,
    },
    /// An alias that stands for more mailboxes than one message may reach by one recipient.
    #[error("alias {alias} stands for more than {ALIAS_MAILBOXES_MAX} mailboxes")]
    AliasTooLarge {
        /// The alias.
        alias: Address,
    },
}

/// What an address is to this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// A mailbox, by name.
    Mailbox(&'a str),
    /// Another name for these addresses.
    Alias(&'a [Address]),
    /// At a local domain, but nobody.
    Unknown,
    /// At a domain that is not local.
    NotLocal,
}

/// Local domains, mailboxes and aliases; checked once, never changed.
///
/// Domains are compared without regard to case, and so are local parts: RFC 5321 §2.4 leaves them to the
/// host that owns the domain, and nobody wants `Alice` and `alice` to be two people.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    domains: BTreeSet<String>,
    mailboxes: HashMap<String, String>,
    aliases: HashMap<String, Vec<Address>>,
    postmaster: String,
    catch_all: BTreeMap<String, String>,
    host_names: BTreeSet<String>,
}

impl Directory {
    /// Checks the tables and makes a directory of them.
    ///
    /// # Errors
    /// The first thing in the tables that cannot be meant: see [`DirectoryError`].
    pub fn new(tables: Tables) -> Result<Self, DirectoryError> {
        let (directory, errors) = Self::checked(tables);
        errors.into_iter().next().map_or(Ok(directory), Err)
    }

    /// Makes a directory of what can be meant, and says what cannot, for an operator who wants to know all of it.
    pub fn checked(tables: Tables) -> (Self, Vec<DirectoryError>) {
        let (mut directory, mut errors) = (Self::default(), Vec::new());
        directory.postmaster = mailbox_name(tables.postmaster).map_err(|error| errors.push(error)).unwrap_or_default();
        directory.host_names = tables.host_names.iter().map(|name| domain_key(name)).collect();
        for domain in tables.domains {
            match domain_to_ascii(&domain).filter(|ascii| check_domain(ascii).is_ok()) {
                Some(ascii) => drop(directory.domains.insert(ascii.to_ascii_lowercase())),
                None => errors.push(DirectoryError::Domain { domain }),
            }
        }
        for (domain, name) in tables.catch_all {
            match mailbox_name(name) {
                _ if !directory.is_local_domain(&domain) => errors.push(DirectoryError::CatchAllDomain { domain }),
                Ok(name) => drop(directory.catch_all.insert(domain_key(&domain), name)),
                Err(error) => errors.push(error),
            }
        }
        for (address, name) in tables.mailboxes {
            match directory.new_key(&address).and_then(|key| Ok((key, mailbox_name(name)?))) {
                Ok((key, name)) => drop(directory.mailboxes.insert(key, name)),
                Err(error) => errors.push(error),
            }
        }
        let mut aliases = Vec::new();
        for (address, targets) in tables.aliases {
            match directory.new_key(&address) {
                Ok(key) => {
                    directory.aliases.insert(key, targets);
                    aliases.push(address);
                }
                Err(error) => errors.push(error),
            }
        }
        errors.extend(aliases.iter().filter_map(|alias| directory.check_alias(alias).err()));
        (directory, errors)
    }

    /// Whether mail for the domain ends here. Exact but for case.
    pub fn is_local_domain(&self, domain: &str) -> bool {
        // Lower case is the usual form; only another one pays for a copy.
        if domain.bytes().any(|octet| octet.is_ascii_uppercase() || !octet.is_ascii()) {
            return self.domains.contains(&domain_key(domain));
        }
        self.domains.contains(domain)
    }

    /// Whether mail for the address can be delivered here.
    pub fn is_local_address(&self, address: &Address) -> bool {
        matches!(self.lookup(address), Lookup::Mailbox(_) | Lookup::Alias(_))
    }

    /// Whether it is the postmaster of this server by a name of the server itself. Notifications are from that address,
    /// and who has a question about this server writes to it (RFC 5321 §4.5.1).
    pub fn is_own_postmaster(&self, address: &Address) -> bool {
        let is_own = |domain: &str| self.host_names.contains(&domain_key(domain));
        is_postmaster(address) && address.domain().is_some_and(is_own)
    }

    /// What the address is to this server.
    pub fn lookup(&self, address: &Address) -> Lookup<'_> {
        // `postmaster` is the only address that has no domain (RFC 5321 §4.5.1).
        let Some(domain) = address.domain() else { return Lookup::Mailbox(&self.postmaster) };
        if !self.is_local_domain(domain) {
            let is_here = self.is_own_postmaster(address);
            return if is_here { Lookup::Mailbox(&self.postmaster) } else { Lookup::NotLocal };
        }
        let key = address_key(address);
        if let Some(name) = self.mailboxes.get(&key) {
            return Lookup::Mailbox(name);
        }
        if let Some(targets) = self.aliases.get(&key) {
            return Lookup::Alias(targets);
        }
        if is_postmaster(address) {
            return Lookup::Mailbox(&self.postmaster);
        }
        match self.catch_all.get(&domain_key(domain)) {
            Some(name) => Lookup::Mailbox(name),
            None => Lookup::Unknown,
        }
    }

    /// Follows aliases to the mailboxes at their ends: each mailbox once, with the address that led to it.
    ///
    /// Empty where the address is unknown or not local. An address that comes up again is not followed
    /// again, so circles end; [`ALIAS_MAILBOXES_MAX`] bounds the rest.
    pub fn expand(&self, address: &Address) -> Vec<(Address, String)> {
        let mut found: Vec<(Address, String)> = Vec::new();
        let mut names = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut waiting = vec![address];
        while let Some(next) = waiting.pop() {
            if !seen.insert(address_key(next)) || found.len() > ALIAS_MAILBOXES_MAX {
                continue;
            }
            match self.lookup(next) {
                Lookup::Mailbox(name) if names.insert(name) => found.push((next.clone(), name.to_owned())),
                // Reversed, because the last one on the stack is the first one followed.
                Lookup::Alias(targets) => waiting.extend(targets.iter().rev()),
                Lookup::Mailbox(_) | Lookup::Unknown | Lookup::NotLocal => {}
            }
        }
        found
    }

    // The key of an address that has no entry yet.
    fn new_key(&self, address: &Address) -> Result<String, DirectoryError> {
        if !address.domain().is_some_and(|domain| self.is_local_domain(domain)) {
            return Err(DirectoryError::NotLocal { address: address.clone() });
        }
        let key = address_key(address);
        if self.mailboxes.contains_key(&key) || self.aliases.contains_key(&key) {
            return Err(DirectoryError::Twice { address: address.clone() });
        }
        Ok(key)
    }

    fn check_alias(&self, alias: &Address) -> Result<(), DirectoryError> {
        let targets = self.aliases.get(&address_key(alias)).map(Vec::as_slice).unwrap_or_default();
        let dead = |target: &&Address| self.expand(target).is_empty();
        if let Some(target) = targets.iter().find(dead).or_else(|| targets.is_empty().then_some(alias)) {
            return Err(DirectoryError::AliasTarget { alias: alias.clone(), target: target.clone() });
        }
        if self.expand(alias).len() > ALIAS_MAILBOXES_MAX {
            return Err(DirectoryError::AliasTooLarge { alias: alias.clone() });
        }
        Ok(())
    }
}

fn is_postmaster(address: &Address) -> bool {
    address.local_unquoted().eq_ignore_ascii_case("postmaster")
}

// A mailbox becomes a directory on disk, so its name is checked here, once.
fn mailbox_name(name: String) -> Result<String, DirectoryError> {
    let is_name = name.len() <= MAILBOX_NAME_BYTES_MAX
        && name.starts_with(is_mailbox_letter)
        && name.chars().all(|character| is_mailbox_letter(character) || "._+-@".contains(character));
    if is_name { Ok(name) } else { Err(DirectoryError::MailboxName { name }) }
}

/// Whether a mailbox may be called so: a letter or digit, and of other scripts whatever stands with letters there, such as
/// a vowel sign. Nothing that is not seen or turns what is behind it around (RFC 6532 leaves those to whoever
/// hands addresses out): an operator looks at these names in listings of directories.
pub fn is_mailbox_letter(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_alphanumeric();
    }
    let is_unseen = matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}' | '\u{e0000}'..
    );
    !is_unseen && !character.is_control() && !character.is_whitespace()
}

/// An address as it is compared: in normal form C and in lower case, with A-labels for a domain.
pub fn address_key(address: &Address) -> String {
    let local = address.local_key();
    let mut key = if local.is_ascii() { local } else { local.to_lowercase() };
    key.push('@');
    key.push_str(&address.ascii_domain().unwrap_or_default());
    key.make_ascii_lowercase();
    key
}

/// A domain as it is compared: as DNS knows it.
pub(crate) fn domain_key(domain: &str) -> String {
    domain_to_ascii(domain).unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).expect("valid")
    }

    fn tables() -> Tables {
        Tables {
            domains: vec!["basin.example".into(), "Other.Example".into()],
            mailboxes: vec![
                (address("alice@basin.example"), "alice".into()),
                (address("bob@basin.example"), "bob".into()),
                (address("\"a b\"@basin.example"), "ab".into()),
            ],
            aliases: vec![
                (address("team@basin.example"), vec![address("alice@basin.example"), address("bob@basin.example")]),
                (address("all@basin.example"), vec![address("team@basin.example"), address("alice@basin.example")]),
            ],
            postmaster: "alice".into(),
            catch_all: vec![("other.example".into(), "bob".into())],
            host_names: vec!["MX.basin.example".into()],
        }
    }

    fn directory() -> Directory {
        Directory::new(tables()).expect("the tables are right")
    }

    #[test]
    fn mailboxes_are_found_without_regard_to_case_and_quoting() {
        for text in
            ["alice@basin.example", "ALICE@Basin.Example", "\"alice\"@basin.example", "\"al\\ice\"@basin.example"]
        {
            assert_eq!(directory().lookup(&address(text)), Lookup::Mailbox("alice"), "{text}");
        }
        assert_eq!(directory().lookup(&address("\"A B\"@basin.example")), Lookup::Mailbox("ab"));
    }

    #[test]
    fn the_domain_is_matched_whole() {
        for text in [
            "alice@basin.example.evil.invalid",
            "alice@evilbasin.example",
            "alice@sub.basin.example",
            "alice@example",
            "alice@[192.0.2.1]",
        ] {
            assert_eq!(directory().lookup(&address(text)), Lookup::NotLocal, "{text}");
        }
    }

    #[test]
    fn names_of_other_scripts_are_found_however_they_are_written() {
        let utf8 = |text: &str| Address::parse_utf8(text).expect("valid");
        let mut tables = tables();
        for text in ["j\u{f6}rg@basin.example", "\u{939}\u{93f}\u{928}\u{94d}\u{926}\u{940}@basin.example"] {
            tables.mailboxes.push((utf8(text), address_key(&utf8(text))));
        }
        let directory = Directory::new(tables).expect("the tables are right");
        for text in ["j\u{f6}rg@basin.example", "JO\u{308}RG@Basin.example", "\"j\u{f6}rg\"@basin.example"] {
            assert_eq!(directory.lookup(&utf8(text)), Lookup::Mailbox("j\u{f6}rg@basin.example"), "{text}");
        }
        assert_eq!(directory.lookup(&address("jorg@basin.example")), Lookup::Unknown);
    }

    #[test]
    fn old_routing_tricks_are_unknown_users() {
        for text in ["x%far.example@basin.example", "far!x@basin.example", "\"x@far.example\"@basin.example"] {
            assert_eq!(directory().lookup(&address(text)), Lookup::Unknown, "{text}");
        }
    }

    #[test]
    fn postmaster_is_always_somebody() {
        for text in ["postmaster", "PostMaster", "postmaster@basin.example", "POSTMASTER@other.example"] {
            assert_eq!(directory().lookup(&address(text)), Lookup::Mailbox("alice"), "{text}");
        }
    }

    #[test]
    fn at_the_name_of_the_server_itself_nobody_lives_but_the_postmaster() {
        for text in ["postmaster@mx.basin.example", "\"Postmaster\"@MX.BASIN.example"] {
            assert_eq!(directory().lookup(&address(text)), Lookup::Mailbox("alice"), "{text}");
        }
        for text in ["alice@mx.basin.example", "postmaster@far.example", "postmaster@x.mx.basin.example"] {
            assert_eq!(directory().lookup(&address(text)), Lookup::NotLocal, "{text}");
        }
        assert!(!directory().is_local_domain("mx.basin.example"));
    }

    #[test]
    fn a_catch_all_takes_what_nobody_else_does() {
        assert_eq!(directory().lookup(&address("any@OTHER.example")), Lookup::Mailbox("bob"));
        assert_eq!(directory().lookup(&address("any@basin.example")), Lookup::Unknown);
    }

    #[test]
    fn aliases_expand_to_each_mailbox_once() {
        let names = |text| directory().expand(&address(text)).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
        assert_eq!(names("all@basin.example"), ["alice", "bob"]);
        assert_eq!(names("bob@basin.example"), ["bob"]);
        assert_eq!(names("nobody@basin.example"), [""; 0]);
        assert_eq!(names("alice@far.example"), [""; 0]);
    }

    #[test]
    fn aliases_in_a_circle_or_to_nobody_are_refused() {
        let mut circle = tables();
        circle.aliases = vec![
            (address("a@basin.example"), vec![address("b@basin.example")]),
            (address("b@basin.example"), vec![address("a@basin.example")]),
        ];
        assert!(matches!(Directory::new(circle), Err(DirectoryError::AliasTarget { .. })));
        for target in ["nobody@basin.example", "alice@far.example"] {
            let mut dead = tables();
            dead.aliases = vec![(address("a@basin.example"), vec![address(target)])];
            assert!(matches!(Directory::new(dead), Err(DirectoryError::AliasTarget { .. })), "{target}");
        }
        let mut own = tables();
        own.aliases =
            vec![(address("a@basin.example"), vec![address("a@basin.example"), address("bob@basin.example")])];
        assert!(Directory::new(own).is_ok_and(|own| own.expand(&address("a@basin.example")).len() == 1));
    }

    #[test]
    fn faults_of_the_tables_are_named() {
        let mut twice = tables();
        twice.mailboxes.push((address("Team@basin.example"), "team".into()));
        assert!(matches!(Directory::new(twice), Err(DirectoryError::Twice { .. })));
        let mut far = tables();
        far.mailboxes.push((address("x@far.example"), "x".into()));
        assert!(matches!(Directory::new(far), Err(DirectoryError::NotLocal { .. })));
        for name in ["", ".", "..", "a/b", ".hidden", "a\0", "a b", "ü\u{202e}b", "\u{2028}", "ü/b"] {
            let unsafe_name = Tables { postmaster: name.into(), ..tables() };
            assert!(matches!(Directory::new(unsafe_name), Err(DirectoryError::MailboxName { .. })), "{name:?}");
        }
        let mut many = tables();
        many.aliases.push((address("one@basin.example"), vec![address("nobody@basin.example")]));
        many.aliases.push((address("two@far.example"), vec![address("bob@basin.example")]));
        many.mailboxes.push((address("x@far.example"), "x".into()));
        assert_eq!(Directory::checked(many).1.len(), 3);
        let domain = Tables { domains: vec!["-x".into()], ..tables() };
        assert!(matches!(Directory::new(domain), Err(DirectoryError::Domain { .. })));
    }
}
