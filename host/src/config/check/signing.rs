//! Checks of keys and of the pickup directory.

use std::path::PathBuf;

use basin_core::addr::check_domain;
use basin_core::limits;
use basin_outbound::sign::{Canonicalization, HeaderList};

use super::Check;
use crate::config::raw;
use crate::config::signing::{ArcKey, DkimKey, Pickup};

impl Check<'_> {
    pub(super) fn dkim(&mut self, written: Vec<raw::Dkim>) -> Vec<DkimKey> {
        let mut keys: Vec<DkimKey> = Vec::new();
        for (index, raw) in written.into_iter().enumerate() {
            let at = |name: &str| format!("dkim[{index}].{name}");
            let domain = self.signing_domain(&at("domain"), raw.domain);
            let selector = self.selector(&at("selector"), raw.selector);
            let file = self.key_file(&at("key-file"), raw.key_file);
            let headers = self.header_list(&at("headers"), raw.headers);
            let canonicalization = self.canonicalization(&at("canonicalization"), raw.canonicalization.as_deref());
            let expires_after = raw.expires_after.map(|time| time.0);
            if expires_after.is_some_and(|time| time < limits::QUEUE_LIFETIME_DEFAULT) {
                self.warn(
                    &at("expires-after"),
                    "shorter than mail waits for a server that is down (\"5d\"): late mail would have a signature that is over",
                );
            }
            let (Some(domain), Some(selector), Some(file), Some(headers), Some(canonicalization)) =
                (domain, selector, file, headers, canonicalization)
            else {
                continue;
            };
            if keys.iter().any(|key| key.domain == domain && key.selector == selector) {
                self.wrong(&at("selector"), format!("{domain} has two keys of that name; each needs its own"));
            }
            keys.push(DkimKey {
                domain,
                selector,
                file,
                headers,
                canonicalization,
                expires_after,
                covers_subdomains: raw.subdomains.unwrap_or(false),
            });
        }
        keys
    }

    pub(super) fn arc(&mut self, raw: raw::Arc) -> Option<ArcKey> {
        if raw.domain.is_none() && raw.selector.is_none() && raw.key_file.is_none() {
            return None;
        }
        let domain = self.signing_domain("arc.domain", raw.domain);
        let selector = self.selector("arc.selector", raw.selector);
        let file = self.key_file("arc.key-file", raw.key_file);
        let headers = self.header_list("arc.headers", raw.headers);
        Some(ArcKey { domain: domain?, selector: selector?, file: file?, headers: headers? })
    }

    pub(super) fn pickup(&mut self, raw: raw::Pickup) -> Option<Pickup> {
        let directory = raw.directory.map(|directory| self.folder.join(directory))?;
        let message_bytes_max = raw.max_message_size.map_or(limits::MESSAGE_BYTES_DEFAULT, |size| size.0);
        let recipients_max = raw.max_recipients.unwrap_or(limits::RECIPIENTS_DEFAULT);
        if message_bytes_max == 0 || recipients_max == 0 {
            self.wrong("pickup", "0 would take nothing; leave `directory` out to have no pickup directory");
        }
        Some(Pickup { directory, message_bytes_max, recipients_max })
    }

    fn signing_domain(&mut self, key: &str, written: Option<String>) -> Option<String> {
        let is_domain = |name: &String| !name.starts_with('[') && check_domain(name).is_ok();
        let found = written.as_ref().map_or("nothing".to_owned(), |text| format!("{text:?}"));
        let domain = written.filter(is_domain);
        if domain.is_none() {
            self.wrong(key, format!("expected the domain that signs, such as \"example.org\", found {found}"));
        }
        domain.map(|name| name.to_ascii_lowercase())
    }

    // RFC 6376 §3.1: labels as in a domain name.
    fn selector(&mut self, key: &str, written: Option<String>) -> Option<String> {
        let is_label = |label: &str| {
            let has_edge = |edge: Option<char>| edge.is_some_and(|c| c.is_ascii_alphanumeric());
            has_edge(label.chars().next())
                && has_edge(label.chars().last())
                && label.bytes().all(|o| o.is_ascii_alphanumeric() || o == b'-' || o == b'_')
        };
        let found = written.as_ref().map_or("nothing".to_owned(), |text| format!("{text:?}"));
        let selector = written.filter(|text| text.len() <= limits::LABEL_BYTES_MAX && text.split('.').all(is_label));
        if selector.is_none() {
            self.wrong(
                key,
                format!("expected a word of letters, digits and hyphens, such as \"2026a\", found {found}"),
            );
        }
        selector
    }

    fn key_file(&mut self, key: &str, written: Option<String>) -> Option<PathBuf> {
        if written.is_none() {
            self.wrong(key, "a private key is needed; `basin dkim keygen` makes one");
        }
        written.map(|file| self.folder.join(file))
    }

    fn header_list(&mut self, key: &str, written: Option<Vec<String>>) -> Option<HeaderList> {
        let Some(names) = written else { return Some(HeaderList::default()) };
        HeaderList::new(&names).map_err(|error| self.wrong(key, error.to_string())).ok()
    }

    fn canonicalization(&mut self, key: &str, written: Option<&str>) -> Option<(Canonicalization, Canonicalization)> {
        let word = |text: &str| match text {
            "relaxed" => Some(Canonicalization::Relaxed),
            "simple" => Some(Canonicalization::Simple),
            _ => None,
        };
        let text = written.unwrap_or("relaxed/relaxed");
        let both = text.split_once('/').and_then(|(header, body)| Some((word(header)?, word(body)?)));
        if both.is_none() {
            self.wrong(
                key,
                format!("expected \"relaxed/relaxed\", \"relaxed/simple\", \"simple/relaxed\" or \"simple/simple\", found {text:?}"),
            );
        }
        both
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    const BASE: &str = "host-name = \"mail.example.org\"\npostmaster = \"a@example.org\"\n\
                        [[listener]]\nname = \"in\"\naddress = \"127.0.0.1:25\"\n\
                        [[domain]]\nname = \"example.org\"\nmailboxes = [\"a\"]\n";

    fn parse(more: &str) -> Result<Config, String> {
        Config::parse(Path::new("/etc/basin/basin.toml"), &format!("{BASE}{more}")).map_err(|errors| errors.to_string())
    }

    #[test]
    fn keys_and_the_pickup_directory_are_read_relative_to_the_file() {
        let text = "[[dkim]]\ndomain = \"Example.ORG\"\nselector = \"2026a\"\nkey-file = \"keys/a.pem\"\n\
                    canonicalization = \"simple/relaxed\"\nexpires-after = \"7d\"\nsubdomains = true\n\
                    [arc]\ndomain = \"example.org\"\nselector = \"arc\"\nkey-file = \"/keys/arc.pem\"\n\
                    [pickup]\ndirectory = \"/var/spool/pickup\"\nmax-message-size = \"1MiB\"\n";
        let config = parse(text).expect("valid");
        assert_eq!((config.dkim[0].domain.as_str(), config.dkim[0].covers_subdomains), ("example.org", true));
        assert_eq!(config.dkim[0].file, Path::new("/etc/basin/keys/a.pem"));
        assert_eq!(config.arc.map(|arc| arc.file), Some("/keys/arc.pem".into()));
        assert_eq!(config.pickup.map(|pickup| pickup.message_bytes_max), Some(1 << 20));
        let none = parse("").expect("valid");
        assert_eq!((none.dkim.len(), none.arc, none.pickup), (0, None, None));
    }

    #[test]
    fn what_cannot_sign_is_refused_with_advice() {
        let dkim = |more: &str| {
            parse(&format!("[[dkim]]\ndomain = \"example.org\"\nselector = \"a\"\nkey-file = \"k\"\n{more}"))
                .expect_err("refused")
        };
        assert!(dkim("headers = [\"To\"]").contains("`From` must be in the list"));
        assert!(dkim("headers = [\"From\", \"Received\"]").contains("changed on the way"));
        assert!(dkim("canonicalization = \"strict\"").contains("expected \"relaxed/relaxed\""));
        assert!(dkim("[[dkim]]\ndomain = \"example.org\"\nselector = \"a\"\nkey-file = \"k\"").contains("two keys"));
        let bare = parse("[[dkim]]\ndomain = \"example.org\"\nselector = \"a b\"").expect_err("refused");
        assert!(bare.contains("basin dkim keygen") && bare.contains("letters, digits and hyphens"), "{bare}");
        assert!(parse("[arc]\nselector = \"a\"").expect_err("refused").contains("arc.domain"));
    }
}
