//! Recipients and parameters.

use super::world::{MessageState, RecipientState};
use crate::bindings::basin::sink::types::Error;

impl MessageState {
    pub(crate) fn add_recipient(&mut self, address: &str) -> Result<u32, Error> {
        check_address(address)?;
        if self.recipients.iter().any(|recipient| recipient.address == address) {
            return Err(Error::Duplicate);
        }
        let id = self.next_recipient;
        self.next_recipient += 1;
        self.recipients.push(RecipientState {
            id,
            address: address.to_owned(),
            original: address.to_owned(),
            outcome: "pending".into(),
            ..RecipientState::default()
        });
        Ok(id)
    }
}

/// A rough form of RFC 5321 §4.1.2: one local part, one domain, nothing that could end a command.
pub(crate) fn check_address(address: &str) -> Result<(), Error> {
    let good = address.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
        && !address.contains(|c: char| c.is_control() || "<> ".contains(c));
    if good { Ok(()) } else { Err(Error::Invalid(format!("address {address:?}"))) }
}

/// The value of a parameter, whose keyword is compared without regard to case.
pub(crate) fn parameter(list: &[(String, String)], keyword: &str) -> Option<String> {
    list.iter().find(|(name, _)| name.eq_ignore_ascii_case(keyword)).map(|(_, value)| value.clone())
}

pub(crate) fn set_parameter(list: &mut Vec<(String, String)>, keyword: &str, value: Option<&str>) -> Result<(), Error> {
    let good = |text: &str| text.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'=');
    if keyword.is_empty() || !good(keyword) || !value.is_none_or(good) {
        return Err(Error::Invalid(format!("parameter {keyword:?}")));
    }
    list.retain(|(name, _)| !name.eq_ignore_ascii_case(keyword));
    if let Some(value) = value {
        list.push((keyword.to_ascii_uppercase(), value.to_owned()));
    }
    Ok(())
}
