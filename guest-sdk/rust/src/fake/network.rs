//! What others say: a resolver with the records of the test, and the results of message authentication.

pub(crate) mod dns {
    use super::super::world::{Zone, world};
    use crate::bindings::basin::sink::types::Error;

    /// Longest name, in octets (RFC 1035 §2.3.4).
    const NAME_OCTETS_MAX: usize = 253;

    fn ask<T>(name: &str, look: impl FnOnce(&Zone, &str) -> Vec<T>) -> Result<Vec<T>, Error> {
        if name.is_empty()
            || name.len() > NAME_OCTETS_MAX
            || name.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            return Err(Error::Invalid(format!("{name:?} is no name")));
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        world(|world| {
            world.zone.asked.push(name.clone());
            if world.zone.failing.contains(&name) {
                return Err(Error::Unavailable(format!("no server answered for {name}")));
            }
            if !world.zone.knows(&name) {
                return Err(Error::NotFound);
            }
            Ok(look(&world.zone, &name))
        })
    }

    pub(crate) fn addresses(name: &str) -> Result<Vec<String>, Error> {
        ask(name, |zone, name| zone.addresses.get(name).cloned().unwrap_or_default())
    }
    pub(crate) fn mx(domain: &str) -> Result<Vec<(u16, String)>, Error> {
        ask(domain, |zone, name| zone.mx.get(name).cloned().unwrap_or_default())
    }
    pub(crate) fn txt(name: &str) -> Result<Vec<String>, Error> {
        ask(name, |zone, name| zone.txt.get(name).cloned().unwrap_or_default())
    }
    pub(crate) fn ptr(address: &str) -> Result<Vec<String>, Error> {
        ask(address, |zone, name| zone.ptr.get(name).cloned().unwrap_or_default())
    }
}

pub(crate) mod message_auth {
    use super::super::message::MailMsg;
    use super::super::world::{Access, AuthState, world};
    use crate::bindings::basin::sink::types::Error;

    #[derive(Debug)]
    pub(crate) struct AuthResult(AuthState);

    impl AuthResult {
        pub(crate) fn method(&self) -> String {
            self.0.method.clone()
        }
        pub(crate) fn outcome(&self) -> String {
            self.0.outcome.clone()
        }
        pub(crate) fn domain(&self) -> String {
            self.0.domain.clone()
        }
        pub(crate) fn property(&self, name: &str) -> Option<String> {
            self.0.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        }
        pub(crate) fn reason(&self) -> String {
            format!("{} {} in this test", self.0.method, self.0.outcome)
        }
    }

    /// What the test gave for that method; "none" where it gave nothing.
    pub(crate) fn verify(_msg: &MailMsg, method: &str) -> Result<Vec<AuthResult>, Error> {
        if !matches!(method, "spf" | "dkim" | "dmarc" | "arc") {
            return Err(Error::Invalid(format!("{method:?} is no method")));
        }
        world(|world| {
            if world.access == Access::NoBody && method != "spf" {
                return Err(Error::Unavailable("the content is not here yet".into()));
            }
            if world.auth_unavailable {
                return Err(Error::Unavailable("no answer in time".into()));
            }
            let given = world.auth_results.iter().filter(|result| result.method == method);
            let mut results: Vec<AuthResult> = given.cloned().map(AuthResult).collect();
            if results.is_empty() {
                let (method, outcome) = (method.to_owned(), "none".to_owned());
                results.push(AuthResult(AuthState { method, outcome, ..AuthState::default() }));
            }
            Ok(results)
        })
    }
}
