//! Checks of what is stated of messages.

use core::time::Duration;

use basin_core::addr::check_domain;
use basin_core::limits;
use basin_core::network::Network;
use basin_core::smtp::AuthCheck;

use super::Check;
use crate::config::message_auth::MessageAuth;
use crate::config::raw;

/// Longest wait that can be set: the client waits 10 minutes for its answer (RFC 5321 §4.5.3.2.6), and sinks take some
/// of it.
const TIME_MAX: Duration = Duration::from_secs(120);

impl Check<'_> {
    pub(super) fn message_auth(&mut self, raw: &raw::MessageAuth, host_name: Option<&String>) -> Option<MessageAuth> {
        let authserv_id = raw.authserv_id.as_ref().or(host_name)?.clone();
        if authserv_id.starts_with('[') || check_domain(&authserv_id).is_err() {
            let key = if raw.authserv_id.is_some() { "message-auth.authserv-id" } else { "host-name" };
            self.wrong(key, format!("expected a domain name such as \"mail.example.org\", found {authserv_id:?}"));
        }
        let check = raw.check.as_deref().and_then(|word| match word {
            "off" => Some(AuthCheck::Off),
            "on-demand" => Some(AuthCheck::OnDemand),
            "strangers" => Some(AuthCheck::Strangers),
            "always" => Some(AuthCheck::Always),
            other => {
                let text = format!("expected \"off\", \"on-demand\", \"strangers\" or \"always\", found {other:?}");
                self.wrong("message-auth.check", text);
                None
            }
        });
        let time_max = raw.max_time.map_or(limits::MESSAGE_AUTH_TIME_DEFAULT, |time| time.0);
        if time_max.is_zero() || time_max > TIME_MAX {
            self.wrong("message-auth.max-time", "expected a time up to \"120s\": the client waits for its answer");
        }
        let mut trusted = Vec::new();
        for (number, text) in raw.trusted.iter().enumerate() {
            let key = format!("message-auth.trusted[{number}]");
            match Network::parse(text) {
                Some(network) if network.is_everybody() => {
                    self.wrong(&key, "this is everybody, and anybody could state results in this server's name");
                }
                Some(network) => trusted.push(network),
                None => {
                    self.wrong(&key, format!("expected an address or a network such as \"10.0.0.0/8\", found {text:?}"))
                }
            }
        }
        Some(MessageAuth { authserv_id, check, time_max, trusted })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    const BASE: &str = "host-name = \"mail.example.org\"\npostmaster = \"a@example.org\"\n\
                        [[listener]]\nname = \"in\"\naddress = \"127.0.0.1:25\"\nhost-name = \"mx.example.org\"\n\
                        [[domain]]\nname = \"example.org\"\nmailboxes = [\"a\"]\n";

    fn parse(more: &str) -> Result<Config, String> {
        let text = format!("{BASE}[message-auth]\n{more}");
        Config::parse(Path::new("/etc/basin/basin.toml"), &text).map_err(|errors| errors.to_string())
    }

    #[test]
    fn the_name_is_that_of_the_host_and_all_names_of_it_are_its_own() {
        let usual = parse("").expect("valid");
        assert_eq!((usual.message_auth.check, usual.authority().id()), (None, "mail.example.org"));
        let named =
            parse("authserv-id = \"example.org\"\ncheck = \"always\"\nmax-time = \"3s\"\ntrusted = [\"10.1.2.3\"]");
        let named = named.expect("valid");
        let policy = named.message_auth_policy(&named.listeners[0]);
        assert_eq!((policy.check, policy.time_max), (AuthCheck::Always, Duration::from_secs(3)));
        for name in ["example.org", "mail.example.org", "MX.example.org"] {
            let field = format!("Authentication-Results: {name}; none\r\n");
            let block = basin_core::mail::HeaderBlock::parse(&field.into()).expect("small");
            assert!(policy.authority.is_claimed_by(&block.fields()[0]), "{name}");
        }
    }

    #[test]
    fn results_of_strangers_are_stated_where_strangers_come_and_where_nothing_else_is_written() {
        let check = |listener: &str, section: &str| {
            let text = format!("{BASE}[message-auth]\n{section}").replace("address = \"127.0.0.1:25\"", listener);
            let text = text.replace("[[domain]]", "[auth]\nusers-file = \"users\"\n[[domain]]");
            let config = Config::parse(Path::new("basin.toml"), &text).expect("valid");
            config.message_auth_policy(&config.listeners[0]).check
        };
        let (loopback, world) = ("address = \"[::1]:25\"", "address = \"0.0.0.0:25\"");
        assert_eq!(check(world, ""), AuthCheck::Strangers);
        assert_eq!(check(loopback, ""), AuthCheck::OnDemand, "no name server is asked for a server that is tried out");
        assert_eq!(check(&format!("{loopback}\nproxy-protocol = [\"::1\"]"), ""), AuthCheck::Strangers);
        let submission =
            format!("{loopback}\nkind = \"submission\"\nauth-without-tls = true\nproxy-protocol = [\"::1\"]");
        assert_eq!(check(&submission, ""), AuthCheck::OnDemand);
        assert_eq!(check(world, "check = \"on-demand\""), AuthCheck::OnDemand);
        assert_eq!(check(loopback, "check = \"strangers\""), AuthCheck::Strangers);
    }

    #[test]
    fn what_would_believe_everybody_or_keep_clients_waiting_is_refused() {
        let refused = |more| parse(more).expect_err("refused");
        assert!(refused("trusted = [\"0.0.0.0/0\"]").contains("anybody could state results"));
        assert!(refused("trusted = [\"here\"]").contains("a network such as"));
        assert!(refused("check = \"sometimes\"").contains("on-demand"));
        assert!(refused("max-time = \"10m\"").contains("the client waits"));
        assert!(refused("authserv-id = \"a b\"").contains("a domain name such as"));
    }
}
