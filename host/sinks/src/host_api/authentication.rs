//! `message-auth`: what SPF, DKIM, DMARC and ARC say of the message.

use std::sync::Arc;

use basin_core::event::Grant;
use basin_core::mail::{self, AuthMethod};
use wasmtime::component::Resource;

use super::{AuthResult, ErrorValue, MailMsg, Refused, invalid};
use crate::bindings::basin::sink::message_auth::{Host, HostAuthResult};
use crate::ended::Ended;
use crate::state::State;

/// Results that one call holds; asking again and again brings the same.
const RESULTS_MAX: usize = 256;

/// The results that a call asked for.
pub(crate) type AuthResults = Vec<mail::AuthResult>;

impl Host for State {
    async fn verify(&mut self, msg: Resource<MailMsg>, method: String) -> Result<Vec<Resource<AuthResult>>, Refused> {
        self.taken(&method);
        self.about(&msg)?;
        self.service(Grant::MessageAuth)?;
        let method: AuthMethod = method.parse().map_err(invalid)?;
        // Only the addresses are known before the content is here, and SPF alone is about them.
        if method != AuthMethod::Spf && !self.event().has_content() {
            return Err(ErrorValue::Unavailable(format!("{method} needs the whole message")).into());
        }
        let arrived = self.overlay.arrived.clone().filter(|_| self.is_main());
        let message = match arrived {
            Some(arrived) => arrived,
            None => Arc::new(self.message()?.clone()),
        };
        let results = self.wait_for(|host| host.verify(message, method)).await?;
        let first = self.auth_results.len();
        if first + results.len() > RESULTS_MAX {
            return Err(ErrorValue::Limit(format!("a call holds at most {RESULTS_MAX} results")).into());
        }
        self.auth_results.extend(results);
        let handle = |place: usize| self.handle(u32::try_from(place).unwrap_or(u32::MAX));
        Ok((first..self.auth_results.len()).map(handle).collect::<Result<Vec<_>, Ended>>()?)
    }
}

impl HostAuthResult for State {
    fn method(&mut self, result: Resource<AuthResult>) -> wasmtime::Result<String> {
        let word = self.result(&result)?.method.word().to_owned();
        self.give(word)
    }

    fn outcome(&mut self, result: Resource<AuthResult>) -> wasmtime::Result<String> {
        let word = self.result(&result)?.outcome.to_owned();
        self.give(word)
    }

    fn domain(&mut self, result: Resource<AuthResult>) -> wasmtime::Result<String> {
        let domain = self.result(&result)?.domain.clone();
        self.give(domain)
    }

    fn property(&mut self, result: Resource<AuthResult>, name: String) -> wasmtime::Result<Option<String>> {
        self.taken(&name);
        let value = self.result(&result)?.properties.get(name.as_str()).cloned();
        self.give(value)
    }

    fn reason(&mut self, result: Resource<AuthResult>) -> wasmtime::Result<String> {
        let reason = self.result(&result)?.reason.clone();
        self.give(reason)
    }

    fn drop(&mut self, _: Resource<AuthResult>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl State {
    fn result(&self, handle: &Resource<AuthResult>) -> wasmtime::Result<&mail::AuthResult> {
        let place = usize::try_from(self.number(handle)?).unwrap_or(usize::MAX);
        self.auth_results.get(place).ok_or_else(|| Ended::host("there is no such result").into())
    }
}
