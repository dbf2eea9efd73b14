//! Log, configuration, metrics and facts about the server.

pub(crate) mod log {
    use super::super::world::world;
    use crate::bindings::basin::sink::log::Level;

    pub(crate) fn is_enabled(_level: Level) -> bool {
        true
    }
    pub(crate) fn write(level: Level, text: &str) {
        world(|world| world.log.push((level, text.to_owned())));
    }
}

pub(crate) mod config {
    use super::super::world::world;

    pub(crate) fn get(key: &str) -> Option<String> {
        world(|world| world.config.get(key).cloned())
    }
    pub(crate) fn keys() -> Vec<String> {
        world(|world| world.config.keys().cloned().collect())
    }
}

pub(crate) mod metrics {
    use super::super::world::world;

    pub(crate) fn add(name: &str, by: u64) {
        world(|world| *world.counters.entry(name.to_owned()).or_default() += by);
    }
    pub(crate) fn observe(name: &str, value: f64) {
        world(|world| world.observations.entry(name.to_owned()).or_default().push(value));
    }
}

pub(crate) mod server {
    use super::super::world::world;

    pub(crate) fn host_name() -> String {
        "basin.example".into()
    }
    pub(crate) fn version() -> String {
        env!("CARGO_PKG_VERSION").into()
    }
    pub(crate) fn is_local_domain(domain: &str) -> bool {
        world(|world| world.local_domains.iter().any(|local| local.eq_ignore_ascii_case(domain)))
    }
    pub(crate) fn is_local_address(address: &str) -> bool {
        world(|world| world.local_addresses.iter().any(|local| local.eq_ignore_ascii_case(address)))
    }
}
