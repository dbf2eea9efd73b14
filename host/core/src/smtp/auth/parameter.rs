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
            if self.policy.auth.is_none() {
                // RFC 5321 §4.1.1.11: it was not offered.
                return Err(OutOfSequence { reply: CommandError::UnknownParameter.reply(), tally: Tally::Fault });
            }
            if self.facts.vouched.auth.is_none() {
                NOBODY.clone_into(value);
            }
        }
        Ok(parameters)
    }
}
