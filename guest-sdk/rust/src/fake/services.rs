//! Log, configuration, metrics, server and state; and what the server in memory does not have.

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

/// The table has no clock: a life is accepted, and nothing expires within a test.
pub(crate) mod state {
    use super::super::world::world;
    use crate::bindings::basin::sink::types::Error;
    use std::ops::Bound;

    /// Longest value, in octets.
    const VALUE_OCTETS_MAX: usize = 64 * 1024;
    /// Keys that one call lists at most.
    const KEYS_MAX: usize = 1000;

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(world(|world| world.state.get(key).cloned()))
    }
    pub(crate) fn set(key: &str, value: &[u8], _life: u32) -> Result<(), Error> {
        if value.len() > VALUE_OCTETS_MAX {
            return Err(Error::Limit("state value of 64 KiB".into()));
        }
        world(|world| world.state.insert(key.to_owned(), value.to_vec()));
        Ok(())
    }
    pub(crate) fn swap(key: &str, expected: Option<&[u8]>, value: &[u8], life: u32) -> Result<bool, Error> {
        if get(key)?.as_deref() != expected {
            return Ok(false);
        }
        set(key, value, life).map(|()| true)
    }
    pub(crate) fn delete(key: &str) -> Result<(), Error> {
        world(|world| world.state.remove(key));
        Ok(())
    }
    pub(crate) fn increment(key: &str, by: i64, life: u32) -> Result<i64, Error> {
        let text = get(key)?.map_or_else(|| "0".to_owned(), |value| String::from_utf8_lossy(&value).into_owned());
        let number: i64 = text.parse().map_err(|_| Error::Invalid(format!("state {key:?} is not a number")))?;
        let sum = number.checked_add(by).ok_or_else(|| Error::Invalid("sum out of range".into()))?;
        set(key, sum.to_string().as_bytes(), life).map(|()| sum)
    }
    pub(crate) fn keys(prefix: &str, after: Option<&str>) -> Result<Vec<String>, Error> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(world(|world| {
            let keys = world.state.range::<str, _>((from, Bound::Unbounded)).map(|(key, _)| key);
            keys.filter(|key| key.starts_with(prefix)).take(KEYS_MAX).cloned().collect()
        }))
    }
}

/// Answers of a resolver cannot be made up honestly; a test that needs them runs against a server.
pub(crate) mod dns {
    use crate::bindings::basin::sink::types::Error;

    fn absent(question: &str) -> ! {
        panic!("basin_sink::testing has no DNS, so {question} has no answer here; test this against a server")
    }
    pub(crate) fn addresses(name: &str) -> Result<Vec<String>, Error> {
        absent(&format!("dns::addresses({name:?})"))
    }
    pub(crate) fn mx(domain: &str) -> Result<Vec<(u16, String)>, Error> {
        absent(&format!("dns::mx({domain:?})"))
    }
    pub(crate) fn txt(name: &str) -> Result<Vec<String>, Error> {
        absent(&format!("dns::txt({name:?})"))
    }
    pub(crate) fn ptr(address: &str) -> Result<Vec<String>, Error> {
        absent(&format!("dns::ptr({address:?})"))
    }
}

pub(crate) mod message_auth {
    use super::super::message::MailMsg;
    use crate::bindings::basin::sink::types::Error;

    /// Nothing makes one here.
    #[derive(Debug)]
    pub(crate) enum AuthResult {}

    impl AuthResult {
        pub(crate) fn method(&self) -> String {
            match *self {}
        }
        pub(crate) fn outcome(&self) -> String {
            match *self {}
        }
        pub(crate) fn domain(&self) -> String {
            match *self {}
        }
        pub(crate) fn property(&self, _name: &str) -> Option<String> {
            match *self {}
        }
        pub(crate) fn reason(&self) -> String {
            match *self {}
        }
    }

    pub(crate) fn verify(_msg: &MailMsg, method: &str) -> Result<Vec<AuthResult>, Error> {
        panic!(
            "basin_sink::testing verifies no signatures, so verify(_, {method:?}) has no answer here; test this against a server"
        )
    }
}
