//! Addresses: what parses is printed as it came, and means the same however it is quoted.

use basin_core::addr::Address;
use basin_core::limits::{DOMAIN_BYTES_MAX, LOCAL_PART_BYTES_MAX, PATH_BYTES_MAX};

/// Parses, prints and parses again.
pub(super) fn run(octets: &[u8]) {
    let Ok(text) = core::str::from_utf8(octets) else { return };
    let Ok(address) = Address::parse(text) else { return };
    assert_eq!(address.to_string(), text, "an address is kept as it came");
    assert!(text.len() + 2 <= PATH_BYTES_MAX && address.local().len() <= LOCAL_PART_BYTES_MAX, "{text:?} is too long");
    assert!(!text.chars().any(char::is_control), "control characters in {text:?}");
    assert!(address.is_same(&address), "{text:?} is the same as itself");
    let Some(domain) = address.domain() else {
        return assert!(text.eq_ignore_ascii_case("postmaster"), "only postmaster has no domain: {text:?}");
    };
    assert!(
        !domain.is_empty() && domain.len() <= DOMAIN_BYTES_MAX && !domain.contains(['@', ' ', '"', ',', ':', '>'])
            || domain.starts_with('['),
        "{text:?}"
    );
    check_case(&address, domain);
    check_quotes(&address, domain);
}

// RFC 5321 §2.4: domains have no case, local parts do.
fn check_case(address: &Address, domain: &str) {
    let other = format!("{}@{}", address.local(), domain.to_ascii_uppercase());
    let other = Address::parse(&other).expect("case does not make an address wrong");
    assert!(address.is_same(&other) && other.is_same(address), "{address} and {other} are one mailbox");
}

// RFC 5321 §4.1.2: a quoted local part is the same as the one without needless quotes.
fn check_quotes(address: &Address, domain: &str) {
    let plain = address.local_unquoted();
    let mut quoted = String::from("\"");
    for character in plain.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    if let Ok(other) = Address::parse(&format!("{quoted}@{domain}")) {
        assert!(address.is_same(&other) && other.is_same(address), "{address} and {other} are one mailbox");
        assert_eq!(other.local_unquoted(), plain, "quoting changes nothing");
    }
}
