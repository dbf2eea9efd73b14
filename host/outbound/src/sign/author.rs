//! Whose mail a message is, as its reader sees it.

use basin_core::mail::{HeaderBlock, Message};
use mail_auth::AuthenticatedMessage;

/// The domains that a signature may stand for, the best first: that of the From field, which DMARC looks at (RFC 7489
/// §3.1), then that of the reverse path.
///
/// A message with no From field, with two, or with authors in several domains has no author: no signature of ours shall
/// vouch for whichever of them a reader shows (RFC 5322 §3.6.2 allows one field).
pub(super) fn domains(message: &Message) -> Vec<String> {
    let Some(author) = author_domain(&message.header) else { return Vec::new() };
    let sender = message.envelope.sender.as_ref().and_then(|address| address.domain());
    let sender = sender.map(str::to_ascii_lowercase).filter(|sender| *sender != author);
    core::iter::once(author).chain(sender).collect()
}

fn author_domain(header: &HeaderBlock) -> Option<String> {
    let mut fields = header.all("From");
    let (field, None) = (fields.next()?, fields.next()) else { return None };
    let alone = [field.raw(), b"\r\n"].concat();
    let parsed = AuthenticatedMessage::parse(&alone)?;
    let mut domains = parsed.from.iter().map(|address| address.rsplit_once('@').map(|(_, domain)| domain));
    let first = domains.next()??;
    let is_one = domains.all(|domain| domain == Some(first));
    // `from` is in lower case already; names in other scripts are signed for by their ASCII form.
    (is_one && !first.is_empty()).then(|| mail_auth::common::to_a_label(first).into_owned())
}
