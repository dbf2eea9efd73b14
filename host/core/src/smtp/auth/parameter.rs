//! The parameter AUTH= of MAIL (RFC 4954 §5): who submitted the message, says the client.

use crate::addr::Address;
use crate::smtp::command::CommandError;
use crate::smtp::intent::{OutOfSequence, Tally};
use crate::smtp::live::Live;
use crate::smtp::parameters::Parameters;
use crate::smtp::xclient::from_xtext;

/// What is said where nobody vouches for the sender.
const NOBODY: &str = "<>";

/// Whether the value is an address as xtext, or that of nobody.
pub(in crate::smtp) fn is_parameter(value: &str) -> bool {
    value == NOBODY || from_xtext(value).is_some_and(|address| Address::parse(&address).is_ok())
}

impl Live {
    /// Takes the parameter as the client's login allows. Who is not logged in is not believed: the message counts as
    /// submitted by nobody that is known.
    pub(in crate::smtp) fn vouch_for_sender(&self, mut parameters: Parameters) -> Result<Parameters, OutOfSequence> {
        if let Some(value) = parameters.get_mut("AUTH") {
            if self.policy.auth.is_none() && self.facts.vouched.auth.is_none() {
                // RFC 5321 §4.1.1.11: it was not offered. Who is logged in all the same was offered AUTH by a sink.
                return Err(OutOfSequence { reply: CommandError::UnknownParameter.reply(), tally: Tally::Fault });
            }
            if self.facts.vouched.auth.is_none() {
                NOBODY.clone_into(value);
            }
        }
        Ok(parameters)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::EventSet;
    use crate::mail::Auth;
    use crate::smtp::auth::AuthPolicy;
    use crate::smtp::policy::{Connection, ListenerPolicy};
    use crate::time::Timestamp;

    fn vouched(auth: Option<&str>, is_offered: bool) -> Option<String> {
        let connection = Connection {
            id: "s".into(),
            client: "192.0.2.7:4".parse().expect("an address"),
            server: "192.0.2.1:25".parse().expect("an address"),
            started: Timestamp::from_seconds(0),
            random: 0,
            client_name: None,
            tls: None,
        };
        let mut policy = ListenerPolicy::new("mx", "basin.example", Arc::default());
        policy.auth = is_offered.then(|| AuthPolicy::new(Arc::default()));
        let mut live = Live::new(Arc::new(policy), connection, EventSet::default());
        let auth = auth.map(|user| Auth { user: user.to_owned(), mechanism: "PLAIN".to_owned() });
        live.facts_mut().vouched.auth = auth;
        let parameters = Parameters::from([("AUTH".to_owned(), "carol@client.example".to_owned())]);
        live.vouch_for_sender(parameters).ok().and_then(|mut parameters| parameters.remove("AUTH"))
    }

    #[test]
    fn who_is_not_logged_in_vouches_for_nobody() {
        assert_eq!(vouched(Some("carol"), true).as_deref(), Some("carol@client.example"));
        assert_eq!(vouched(None, true).as_deref(), Some("<>"));
        assert_eq!(vouched(None, false), None);
        assert_eq!(vouched(Some("carol"), false).as_deref(), Some("carol@client.example"), "a sink offered AUTH");
    }
}
