//! ESMTP parameters of MAIL and RCPT (RFC 5321 §4.1.2, §4.1.1.11).

use std::collections::BTreeMap;

use crate::smtp::command::CommandError;

/// Parameters by keyword in upper case; the empty string where one has no value.
pub type Parameters = BTreeMap<String, String>;

/// Most digits of SIZE= (RFC 1870 §3).
const SIZE_DIGITS_MAX: usize = 20;

/// Reads what stands after the path: each parameter after one space.
pub(super) fn parse(text: &str) -> Result<Parameters, CommandError> {
    let mut parameters = Parameters::new();
    if text.is_empty() {
        return Ok(parameters);
    }
    let text = text.strip_prefix(' ').ok_or(CommandError::Argument("a space between path and parameters"))?;
    for parameter in text.split(' ') {
        let (keyword, value) = match parameter.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (parameter, None),
        };
        if !is_keyword(keyword) || value.is_some_and(|value| !is_value(value)) {
            return Err(CommandError::Argument("parameters of the form keyword=value"));
        }
        let old = parameters.insert(keyword.to_ascii_uppercase(), value.unwrap_or_default().to_owned());
        if old.is_some() {
            return Err(CommandError::DuplicateParameter);
        }
    }
    Ok(parameters)
}

/// Whether the text is an esmtp-keyword, which is also the form of an EHLO keyword.
pub(super) fn is_keyword(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
}

fn is_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'=')
}

/// Checks the parameters of MAIL: those of SIZE and 8BITMIME, and no others.
pub(super) fn check_mail(parameters: &Parameters) -> Result<(), CommandError> {
    for (keyword, value) in parameters {
        match keyword.as_str() {
            "SIZE" => drop(parse_size(value)?),
            "BODY" if ["7BIT", "8BITMIME"].iter().any(|body| value.eq_ignore_ascii_case(body)) => {}
            "BODY" => return Err(CommandError::ParameterValue("BODY")),
            // RFC 5321 §4.1.1.11: a parameter that was not offered is refused, never ignored.
            _ => return Err(CommandError::UnknownParameter),
        }
    }
    Ok(())
}

/// Checks the parameters of RCPT: no extension that this version offers has any.
pub(super) fn check_rcpt(parameters: &Parameters) -> Result<(), CommandError> {
    if parameters.is_empty() { Ok(()) } else { Err(CommandError::UnknownParameter) }
}

/// The octets that SIZE= declares, where it is there and well formed.
pub(super) fn declared_size(parameters: &Parameters) -> Option<u64> {
    parameters.get("SIZE").and_then(|value| parse_size(value).ok())
}

fn parse_size(value: &str) -> Result<u64, CommandError> {
    let is_number = (1..=SIZE_DIGITS_MAX).contains(&value.len()) && value.bytes().all(|octet| octet.is_ascii_digit());
    if !is_number {
        return Err(CommandError::ParameterValue("SIZE"));
    }
    // Twenty digits can pass 64 bits; such a message is too large, not small by overflow.
    Ok(value.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Option<u64>, CommandError> {
        let parameters = parse(text)?;
        check_mail(&parameters)?;
        Ok(declared_size(&parameters))
    }

    #[test]
    fn known_parameters_are_read() {
        assert_eq!(check(""), Ok(None));
        assert_eq!(check(" SIZE=100"), Ok(Some(100)));
        assert_eq!(check(" size=100 body=8bitmime"), Ok(Some(100)));
        assert_eq!(check(" SIZE=99999999999999999999"), Ok(Some(u64::MAX)));
    }

    #[test]
    fn anything_else_is_refused() {
        let value = |name| Err(CommandError::ParameterValue(name));
        for size in ["SIZE", "SIZE=abc", "SIZE=+5", "SIZE=-1", "SIZE=0x10", "SIZE=100000000000000000000"] {
            assert_eq!(check(&format!(" {size}")), value("SIZE"), "{size}");
        }
        assert_eq!(check(" BODY=9BIT"), value("BODY"));
        assert_eq!(check(" BODY"), value("BODY"));
        assert_eq!(check(" SIZE=1 size=2"), Err(CommandError::DuplicateParameter));
        assert_eq!(check(" SMTPUTF8"), Err(CommandError::UnknownParameter));
        for form in ["SIZE=1", "  SIZE=1", " SIZE=1  BODY=7BIT", " SIZE=", " =1", " -X=1", " A=b=c", " ä=1"] {
            assert!(matches!(check(form), Err(CommandError::Argument(_))), "{form}");
        }
    }
}
