//! ESMTP parameters of MAIL and RCPT (RFC 5321 §4.1.2, §4.1.1.11).

use core::time::Duration;
use std::collections::BTreeMap;

use crate::mail::DeliverBy;
use crate::smtp::auth;
use crate::smtp::command::CommandError;
use crate::time::Timestamp;

/// Parameters by keyword in upper case; the empty string where one has no value.
pub type Parameters = BTreeMap<String, String>;

/// Most digits of SIZE= (RFC 1870 §3).
const SIZE_DIGITS_MAX: usize = 20;

/// Most digits of HOLDFOR= (RFC 4865 §4.1).
const HOLD_DIGITS_MAX: usize = 9;

/// Longest ENVID, in octets (RFC 3461 §4.4).
const ENVID_BYTES_MAX: usize = 100;

/// Longest ORCPT, in octets (RFC 3461 §4.2).
const ORCPT_BYTES_MAX: usize = 500;

/// Most digits of a character in an address of the type utf-8 (RFC 6533 §3).
const HEXPOINT_DIGITS_MAX: usize = 6;

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

// Beyond ASCII it may be what RFC 6533 §3 lets ORCPT say; each parameter checks what it has.
fn is_value(text: &str) -> bool {
    let is_fine = |it: char| if it.is_ascii() { it.is_ascii_graphic() && it != '=' } else { is_printable(it) };
    !text.is_empty() && text.chars().all(is_fine)
}

// No control beyond ASCII, and no mark by which some editors end a line.
fn is_printable(character: char) -> bool {
    !character.is_control() && !matches!(character, '\u{2028}' | '\u{2029}')
}

/// Checks the parameters of MAIL: their form, and that they are some of those that this server knows.
pub(super) fn check_mail(parameters: &Parameters) -> Result<(), CommandError> {
    for (keyword, value) in parameters {
        match keyword.as_str() {
            "SIZE" => drop(parse_size(value)?),
            "BODY" if ["7BIT", "8BITMIME", "BINARYMIME"].iter().any(|body| value.eq_ignore_ascii_case(body)) => {}
            "BODY" => return Err(CommandError::ParameterValue("BODY")),
            "RET" if ["FULL", "HDRS"].iter().any(|ret| value.eq_ignore_ascii_case(ret)) => {}
            "RET" => return Err(CommandError::ParameterValue("RET")),
            "ENVID" if (1..=ENVID_BYTES_MAX).contains(&value.len()) && is_xtext(value) => {}
            "ENVID" => return Err(CommandError::ParameterValue("ENVID")),
            "AUTH" if auth::is_parameter(value) => {}
            "AUTH" => return Err(CommandError::ParameterValue("AUTH")),
            "SMTPUTF8" | "REQUIRETLS" | "PRDR" if value.is_empty() => {}
            "SMTPUTF8" => return Err(CommandError::ParameterValue("SMTPUTF8")),
            "REQUIRETLS" => return Err(CommandError::ParameterValue("REQUIRETLS")),
            "PRDR" => return Err(CommandError::ParameterValue("PRDR")),
            "BY" if DeliverBy::parse(value).is_some() => {}
            "BY" => return Err(CommandError::ParameterValue("BY")),
            // RFC 4865 §4.1: one of the two.
            "HOLDFOR" if parse_hold_for(value).is_some() && !parameters.contains_key("HOLDUNTIL") => {}
            "HOLDFOR" => return Err(CommandError::ParameterValue("HOLDFOR")),
            "HOLDUNTIL" if Timestamp::parse_rfc3339(value).is_some() => {}
            "HOLDUNTIL" => return Err(CommandError::ParameterValue("HOLDUNTIL")),
            "MT-PRIORITY" if parse_priority(value).is_some() => {}
            "MT-PRIORITY" => return Err(CommandError::ParameterValue("MT-PRIORITY")),
            // RFC 5321 §4.1.1.11: a parameter that was not offered is refused, never ignored.
            _ => return Err(CommandError::UnknownParameter),
        }
    }
    Ok(())
}

/// Checks the parameters of RCPT: those of DSN, and no others.
pub(super) fn check_rcpt(parameters: &Parameters) -> Result<(), CommandError> {
    for (keyword, value) in parameters {
        match keyword.as_str() {
            "NOTIFY" if is_notify(value) => {}
            "NOTIFY" => return Err(CommandError::ParameterValue("NOTIFY")),
            "ORCPT" if is_original(value) => {}
            "ORCPT" => return Err(CommandError::ParameterValue("ORCPT")),
            _ => return Err(CommandError::UnknownParameter),
        }
    }
    Ok(())
}

/// Checks what RCPT may say only where MAIL said SMTPUTF8 (RFC 6533 §3).
pub(super) fn check_rcpt_is_ascii(parameters: &Parameters) -> Result<(), CommandError> {
    let is_ascii = parameters.get("ORCPT").is_none_or(|original| original.is_ascii());
    if is_ascii { Ok(()) } else { Err(CommandError::ParameterValue("ORCPT")) }
}

/// What the parameters of RCPT say of the recipient.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// ORCPT, else the address as it was given.
    pub(super) original: String,
    /// The words of NOTIFY, in upper case.
    pub(super) notify: Vec<String>,
}

impl Wishes {
    /// Reads parameters that were checked.
    pub(super) fn of(parameters: &Parameters, address: String) -> Self {
        let notify = parameters.get("NOTIFY").map(|words| words.to_ascii_uppercase());
        Self {
            original: parameters.get("ORCPT").cloned().unwrap_or(address),
            notify: notify.iter().flat_map(|words| words.split(',')).map(str::to_owned).collect(),
        }
    }
}

// RFC 3461 §4.1: NEVER alone, or some of the others, each once.
fn is_notify(value: &str) -> bool {
    let words: Vec<_> = value.split(',').map(str::to_ascii_uppercase).collect();
    let is_word = |word: &String| ["SUCCESS", "FAILURE", "DELAY"].contains(&word.as_str());
    let is_once = |word: &String| words.iter().filter(|other| *other == word).count() == 1;
    words == ["NEVER"] || words.iter().all(|word| is_word(word) && is_once(word))
}

// RFC 3461 §4.2: an address type, a semicolon, the address coded; for one type in another way as well.
fn is_original(value: &str) -> bool {
    let Some((kind, address)) = value.split_once(';') else { return false };
    let is_coded = is_xtext(address) || kind.eq_ignore_ascii_case("utf-8") && is_unitext(address);
    value.len() <= ORCPT_BYTES_MAX && is_keyword(kind) && !address.is_empty() && is_coded
}

// RFC 6533 §3, utf-8-addr-unitext: letters as they are, and `\x{E9}` in place of those that have a meaning here.
fn is_unitext(text: &str) -> bool {
    let mut parts = text.split('\\');
    let is_plain = |part: &str| part.chars().all(|it| !matches!(it, '+' | '='));
    parts.next().is_some_and(is_plain) && parts.all(|part| embedded(part).is_some_and(is_plain))
}

// What stands behind an embedded character, of which the backslash is gone.
fn embedded(part: &str) -> Option<&str> {
    let (digits, rest) = part.strip_prefix("x{")?.split_once('}')?;
    let is_hex = (2..=HEXPOINT_DIGITS_MAX).contains(&digits.len())
        && digits.bytes().all(|digit| digit.is_ascii_digit() || (b'A'..=b'F').contains(&digit));
    let code = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
    char::from_u32(code).map(|_| rest)
}

// RFC 3461 §4: printable octets, of which "+" begins a coded one and "=" is always coded.
fn is_xtext(text: &str) -> bool {
    let is_hex = |octet: &u8| octet.is_ascii_digit() || (b'A'..=b'F').contains(octet);
    let is_coded = |part: &&str| part.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(is_hex));
    text.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'=')
        && text.split('+').skip(1).all(|part| is_coded(&part))
}

/// The octets that SIZE= declares, where it is there and well formed.
pub(super) fn declared_size(parameters: &Parameters) -> Option<u64> {
    parameters.get("SIZE").and_then(|value| parse_size(value).ok())
}

/// The priority that MT-PRIORITY= asks for, where it is there and well formed (RFC 6710 §4).
pub(super) fn priority(parameters: &Parameters) -> Option<i32> {
    parameters.get("MT-PRIORITY").and_then(|value| parse_priority(value))
}

/// The time before which a message is not to be delivered, where HOLDFOR= or HOLDUNTIL= say one (RFC 4865 §4).
pub(super) fn held_until(parameters: &Parameters, now: Timestamp) -> Option<Timestamp> {
    let hold_for = || parameters.get("HOLDFOR").and_then(|value| parse_hold_for(value)).map(|wait| now.plus(wait));
    let hold_until = || parameters.get("HOLDUNTIL").and_then(|value| Timestamp::parse_rfc3339(value));
    hold_for().or_else(hold_until)
}

fn parse_hold_for(value: &str) -> Option<Duration> {
    // A number from 1 on, without zeros in front (RFC 4865, future-release-integer).
    let is_number = (1..=HOLD_DIGITS_MAX).contains(&value.len())
        && !value.starts_with('0')
        && value.bytes().all(|octet| octet.is_ascii_digit());
    value.parse().ok().filter(|_| is_number).map(Duration::from_secs)
}

fn parse_priority(value: &str) -> Option<i32> {
    let digit = value.strip_prefix('-').unwrap_or(value);
    let is_priority = matches!(digit.as_bytes(), [b'0'..=b'9']) && value != "-0";
    value.parse().ok().filter(|_| is_priority)
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
    fn times_and_priorities_are_read() {
        let parameters = parse(" MT-PRIORITY=-4 HOLDFOR=60 BY=100;R SMTPUTF8 PRDR").expect("valid");
        assert_eq!(check_mail(&parameters), Ok(()));
        let now = Timestamp::from_seconds(100);
        assert_eq!(
            (priority(&parameters), held_until(&parameters, now)),
            (Some(-4), Some(now.plus(Duration::from_secs(60))))
        );
        let parameters = parse(" HOLDUNTIL=1970-01-01T00:05:00Z").expect("valid");
        assert_eq!(held_until(&parameters, now), Some(Timestamp::from_seconds(300)));
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
        assert_eq!(check(" X-OWN=1"), Err(CommandError::UnknownParameter));
        for (name, bad) in [
            ("ENVID", "ENVID=\u{f6}"),
            ("AUTH", "AUTH=\u{f6}@x.example"),
            ("SIZE", "SIZE=\u{664}"),
            ("SMTPUTF8", "SMTPUTF8=1"),
            ("PRDR", "PRDR=yes"),
            ("REQUIRETLS", "REQUIRETLS=1"),
            ("BY", "BY=0;R"),
            ("BY", "BY"),
            ("HOLDFOR", "HOLDFOR=-1"),
            ("HOLDFOR", "HOLDFOR=0"),
            ("HOLDFOR", "HOLDFOR=060"),
            ("HOLDFOR", "HOLDFOR=1000000000"),
            ("HOLDFOR", "HOLDFOR=1 HOLDUNTIL=2030-01-01T00:00:00Z"),
            ("HOLDUNTIL", "HOLDUNTIL=tomorrow"),
            ("MT-PRIORITY", "MT-PRIORITY=10"),
            ("MT-PRIORITY", "MT-PRIORITY=-0"),
            ("MT-PRIORITY", "MT-PRIORITY=+1"),
        ] {
            assert_eq!(check(&format!(" {bad}")), value(name), "{bad}");
        }
        for (name, ret) in [("RET", "RET=BODY"), ("RET", "RET"), ("ENVID", "ENVID"), ("ENVID", "ENVID=a+b")] {
            assert_eq!(check(&format!(" {ret}")), value(name), "{ret}");
        }
        assert_eq!(check(&format!(" ENVID={}", "x".repeat(101))), value("ENVID"));
        for form in ["SIZE=1", "  SIZE=1", " SIZE=1  BODY=7BIT", " SIZE=", " =1", " -X=1", " A=b=c", " ä=1"] {
            assert!(matches!(check(form), Err(CommandError::Argument(_))), "{form}");
        }
    }

    #[test]
    fn the_parameters_of_dsn_are_read() {
        assert_eq!(check(" RET=hdrs ENVID=QQ+2B314159"), Ok(None));
        let wishes = |text: &str| {
            let parameters = parse(text)?;
            check_rcpt(&parameters)?;
            let wishes = Wishes::of(&parameters, "a@b.example".to_owned());
            Ok::<_, CommandError>((wishes.notify.join(" "), wishes.original))
        };
        let read = |notify: &str, original: &str| Ok((notify.to_owned(), original.to_owned()));
        assert_eq!(wishes(""), read("", "a@b.example"));
        assert_eq!(wishes(" NOTIFY=never"), read("NEVER", "a@b.example"));
        assert_eq!(
            wishes(" NOTIFY=success,Delay ORCPT=rfc822;c+2Bd@e.example"),
            read("SUCCESS DELAY", "rfc822;c+2Bd@e.example")
        );
        for bad in ["NEVER,SUCCESS", "NEVER,NEVER", "DELAY,DELAY", "", "SUCCESS,", "SOON"] {
            let text = if bad.is_empty() { " NOTIFY".to_owned() } else { format!(" NOTIFY={bad}") };
            assert_eq!(wishes(&text), Err(CommandError::ParameterValue("NOTIFY")), "{bad}");
        }
        for bad in ["rfc822", "rfc822;", ";a@b", "rfc822;a+2b", "rfc822;a+0", "a b;c"] {
            assert!(wishes(&format!(" ORCPT={bad}")).is_err(), "{bad}");
        }
        for good in
            ["utf-8;j\u{f6}rg@b\u{fc}cher.example", "utf-8;a\\x{2B}\u{e9}@x", "UTF-8;a\\x{E9}@x", "utf-8;a+2Bb@x"]
        {
            assert!(wishes(&format!(" ORCPT={good}")).is_ok(), "{good}");
        }
        for bad in
            ["rfc822;j\u{f6}rg@x", "utf-8;\u{f6}+2B@x", "utf-8;\u{f6}\\x{zz}", "utf-8;\u{f6}\\", "utf-8;\u{f6}\u{85}"]
        {
            assert!(wishes(&format!(" ORCPT={bad}")).is_err(), "{bad}");
        }
        for bad in ["utf-8;\u{f6}\\x{D800}", "utf-8;\u{f6}\\x{1234567}", "utf-8;\u{f6}\\x{e9}", "\u{f6};a"] {
            assert!(wishes(&format!(" ORCPT={bad}")).is_err(), "{bad}");
        }
        assert!(wishes(" NOTIFY=NEV\u{c9}R").is_err());
        assert_eq!(wishes(&format!(" ORCPT=rfc822;{}", "x".repeat(500))), Err(CommandError::ParameterValue("ORCPT")));
        assert_eq!(wishes(" SIZE=1"), Err(CommandError::UnknownParameter));
    }
}
