//! What changed in a configuration that a running server cannot put in force.

use super::checked::Config;

impl Config {
    /// Names of the keys by which another configuration differs from this one, which the server began with, where only
    /// a restart applies them.
    pub fn needs_restart(&self, other: &Self) -> Vec<&'static str> {
        let (limits, others) = (&self.limits, &other.limits);
        let pickup = |config: &Self| config.pickup.clone();
        let tracking = |config: &Self| config.tracking.clone();
        let changed = [
            ("host-name", self.host_name != other.host_name),
            ("user", self.user != other.user),
            ("group", self.group != other.group),
            ("spool.directory", self.spool != other.spool),
            ("registry.directory", self.registry != other.registry),
            ("registry.cache", self.cache != other.cache),
            ("maildir.directory", self.maildir != other.maildir),
            ("admin.address", self.admin != other.admin),
            ("outbound.connections", self.outbound.connections != other.outbound.connections),
            ("tls.reports-from", self.tls.reports_from != other.tls.reports_from),
            ("pickup", pickup(self) != pickup(other)),
            ("limits.sink-calls", limits.sink_calls != others.sink_calls),
            ("limits.sink-time-per-transaction", limits.sink_time != others.sink_time),
            ("limits.compile-time", limits.compile_time != others.compile_time),
            ("limits.compile-memory", limits.compile_memory != others.compile_memory),
            ("limits.waiting-notices", limits.waiting_notices != others.waiting_notices),
            ("limits.deliveries", limits.deliveries != others.deliveries),
            ("limits.drain-time", limits.drain_time != others.drain_time),
            ("tracking", tracking(self) != tracking(other)),
            ("audit", self.audit != other.audit),
            ("log.format", self.log.is_json != other.log.is_json),
        ];
        changed.into_iter().filter(|(_, is_changed)| *is_changed).map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::reference::{KEYS, TABLES};
    use super::*;

    fn parse(head: &str, tail: &str) -> Config {
        let text = format!(
            "{head}[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:2525\"\n\
             [[domain]]\nname = \"basin.example\"\nmailboxes = [\"alice\", \"bob\"]\n{tail}"
        );
        Config::parse(Path::new("/etc/basin/basin.toml"), &text).expect("valid")
    }

    const HEAD: &str = "host-name = \"mx.basin.example\"\npostmaster = \"alice@basin.example\"\n";

    #[test]
    fn what_a_restart_is_needed_for_is_named() {
        let began = parse(HEAD, "");
        assert_eq!(began.needs_restart(&began), [""; 0]);
        for (tail, names) in [
            ("[limits]\ndeliveries = 7\ndrain-time = \"9s\"\n", &["limits.deliveries", "limits.drain-time"][..]),
            ("[spool]\ndirectory = \"/elsewhere\"\n[tracking]\ndays = 3\n", &["spool.directory", "tracking"]),
            ("[log]\nformat = \"json\"\nlevel = \"debug\"\n", &["log.format"]),
            ("[admin]\naddress = \"off\"\n[pickup]\ndirectory = \"in\"\n", &["admin.address", "pickup"]),
            ("[[listener]]\nname = \"b\"\naddress = \"127.0.0.1:2526\"\n[queue]\nlifetime = \"1d\"\n", &[]),
        ] {
            let found = began.needs_restart(&parse(HEAD, tail));
            // The tracking log lies in the spool unless it is told otherwise.
            let found: Vec<_> =
                found.into_iter().filter(|name| names.contains(name) || !tail.contains("[spool]")).collect();
            assert_eq!(found, names, "{tail}");
        }
        let other = parse("host-name = \"other.example\"\npostmaster = \"alice@basin.example\"\nuser = \"mail\"\n", "");
        assert_eq!(began.needs_restart(&other), ["host-name", "user"]);
    }

    #[test]
    fn every_name_is_that_of_a_key_or_a_table() {
        let all = parse(
            "host-name = \"other.example\"\npostmaster = \"alice@basin.example\"\nuser = \"mail\"\ngroup = \"mail\"\n",
            "[spool]\ndirectory = \"/x\"\n[registry]\ndirectory = \"/x\"\ncache = \"/y\"\n[maildir]\ndirectory = \"/x\"\n\
             [admin]\naddress = \"off\"\n[outbound]\nconnections = 3\n[pickup]\ndirectory = \"in\"\n[limits]\n\
             sink-calls = 3\nsink-time-per-transaction = \"9s\"\nwaiting-notices = 3\ndeliveries = 3\n\
             compile-time = \"9s\"\ncompile-memory = \"1GiB\"\n\
             drain-time = \"9s\"\n[tracking]\ndays = 3\n[audit]\ndays = 3\n[log]\nformat = \"json\"\n[tls]\n\
             reports-from = \"tls@basin.example\"\n",
        );
        let names = parse(HEAD, "").needs_restart(&all);
        assert_eq!(names.len(), 21, "{names:?}");
        for name in names {
            let (table, key) = name.rsplit_once('.').unwrap_or(("", name));
            let is_key = KEYS.iter().any(|known| known.table == table && known.name == key);
            assert!(is_key || TABLES.iter().any(|table| table.name == name), "{name}");
        }
    }
}
