//! The message out of its text: header block with our Received field on top, and body.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;

use crate::limits::{HEADER_BLOCK_BYTES_MAX, RECEIVED_FIELDS_MAX};
use crate::mail::{Body, Content, Field, FieldError, HeaderBlock, Message, trace};
use crate::reply::Reply;
use crate::smtp::live::Live;
use crate::time::Timestamp;

/// Octets read at first to find the end of the header block; most blocks are shorter.
const HEADER_READ_BYTES: usize = 8 * 1024;

/// Makes the message, and the same as it came, which is what signatures are about. `edited` is its header block where
/// sinks have changed it.
pub(super) fn assemble(
    live: &Live,
    message: Message,
    content: &Content,
    edited: Option<Arc<HeaderBlock>>,
    now: Timestamp,
) -> Result<(Message, Arc<Message>), Reply> {
    let (block, is_header_only) = read_header(content)?;
    // The empty line belongs to neither part.
    let body_start = if is_header_only { content.len } else { (block.len() as u64 + 2).min(content.len) };
    let has_header = !begins_with_white_space(&block);
    let (block, body_start) = if has_header { (block, body_start) } else { (Bytes::new(), 0) };
    let parsed = HeaderBlock::parse(&block).map_err(header_too_large)?;
    if trace::hops(&parsed) > RECEIVED_FIELDS_MAX {
        return Err(Reply::with(554, 4, 6, "too many hops: the message goes in a circle"));
    }
    let mut message = message;
    message.header = Arc::new(parsed);
    message.body = Body::window(content.octets.clone(), body_start, content.len - body_start);
    message.is_header_only = is_header_only && has_header;
    let original = Arc::new(message.clone());
    let header = edited.unwrap_or_else(|| live.without_forged_results(message.header.clone()));
    Ok((with_received(live, message, header, now)?, original))
}

/// Gives the message this header block, with our Received field on top (RFC 5321 §4.4); nothing else is touched.
pub(super) fn with_received(
    live: &Live,
    mut message: Message,
    header: Arc<HeaderBlock>,
    now: Timestamp,
) -> Result<Message, Reply> {
    let only_recipient = match message.envelope.recipients.as_slice() {
        [recipient] => Some(&recipient.address),
        _ => None,
    };
    let is_utf8 = message.envelope.parameters.contains_key("SMTPUTF8");
    let field = trace::received(&message.arrival, &live.policy.host_name, &message.id, only_recipient, is_utf8, now)
        .map_err(|_| cannot_store())?;
    let mut header = Arc::unwrap_or_clone(header);
    if live.policy.is_submission {
        complete(&mut header, &message, &live.policy.host_name, now).map_err(header_too_large)?;
    }
    header.insert(0, field).map_err(header_too_large)?;
    message.header = Arc::new(header);
    Ok(message)
}

// RFC 6409 §8.1 and §8.3: what a mail program left out. Never on the way of mail that others sent.
fn complete(header: &mut HeaderBlock, message: &Message, host_name: &str, now: Timestamp) -> Result<(), FieldError> {
    let has = |header: &HeaderBlock, name: &str| header.fields().iter().any(|field| field.is(name));
    if !has(header, "Message-ID") {
        header.insert(0, Field::new("Message-ID", &format!("<{}@{host_name}>", message.id))?)?;
    }
    if !has(header, "Date") {
        header.insert(0, Field::new("Date", &now.to_rfc5322())?)?;
    }
    Ok(())
}

/// Whether a text has no header block for what stands at its start. White space there continues a field that is
/// not there, and would continue ours: no client writes in our name. Postfix sees it the same way.
pub(super) fn begins_with_white_space(block: &[u8]) -> bool {
    matches!(block.first(), Some(b' ' | b'\t'))
}

/// Length of the header block at the start of a text, its last line end included; `None` where the empty line
/// behind it is not there. Nothing before `from` needs to be looked at again.
pub(super) fn header_end(octets: &[u8], from: usize) -> Option<usize> {
    if octets.starts_with(b"\r\n") {
        return Some(0);
    }
    let searched = from.saturating_sub(3);
    memmem::find(octets.get(searched..).unwrap_or_default(), b"\r\n\r\n").map(|at| searched + at + 2)
}

// The octets before the first empty line, and whether they are all there is: without that line there is no body
// (RFC 5322 §2.1).
fn read_header(content: &Content) -> Result<(Bytes, bool), Reply> {
    let whole = usize::try_from(content.len).unwrap_or(usize::MAX);
    let mut octets: Vec<u8> = Vec::new();
    let mut wanted = HEADER_READ_BYTES;
    loop {
        // Room for the empty line behind a block of the largest size.
        let len = wanted.min(whole).min(HEADER_BLOCK_BYTES_MAX + 4);
        let searched = octets.len();
        read_up_to(content, &mut octets, len)?;
        if let Some(end) = header_end(&octets, searched) {
            // A copy, so that the block does not keep the whole buffer alive.
            return Ok((Bytes::copy_from_slice(octets.get(..end).unwrap_or_default()), false));
        }
        if len == whole || len < wanted {
            return Ok((octets.into(), true));
        }
        wanted *= 4;
    }
}

fn read_up_to(content: &Content, octets: &mut Vec<u8>, len: usize) -> Result<(), Reply> {
    let mut filled = octets.len();
    octets.resize(len, 0);
    while let Some(rest) = octets.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match content.octets.read_at(filled as u64, rest) {
            Ok(count) if count > 0 => filled += count,
            // The reason is in the storage's own log; the client can only try again.
            Ok(_) | Err(_) => return Err(cannot_store()),
        }
    }
    Ok(())
}

fn header_too_large<E>(_: E) -> Reply {
    Reply::with(552, 3, 4, "the header block is larger than this server takes")
}

/// What a client hears when the storage failed and did not say how.
pub(super) fn cannot_store() -> Reply {
    Reply::with(451, 3, 0, "the message could not be stored, try again later")
}
