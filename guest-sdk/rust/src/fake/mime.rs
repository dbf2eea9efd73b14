//! The parsed view, by the parser that the server uses.

use super::world::MessageState;
use crate::bindings::basin::sink::types::Datetime;
use mail_parser::{Address, HeaderValue, MessageParser, MessagePart, MimeHeaders, PartType};

/// Longest text that a sink gets at once, in octets.
const TEXT_OCTETS_MAX: usize = 1 << 20;

/// A leaf of the MIME tree, decoded.
#[derive(Debug, Clone)]
pub(crate) struct PartState {
    pub(crate) path: String,
    pub(crate) content_type: String,
    pub(crate) header: MessageState,
    pub(crate) file_name: Option<String>,
    pub(crate) is_attachment: bool,
    pub(crate) content: Vec<u8>,
    pub(crate) text: Option<String>,
    pub(crate) raw_range: (u64, u64),
}

impl MessageState {
    fn parsed<R>(&self, look: impl FnOnce(&mail_parser::Message<'_>) -> Option<R>) -> Option<R> {
        let content = self.content();
        look(&MessageParser::default().parse(&content)?)
    }

    pub(crate) fn subject(&self) -> Option<String> {
        self.parsed(|message| message.subject().map(str::to_owned))
    }

    pub(crate) fn message_id(&self) -> Option<String> {
        self.parsed(|message| message.message_id().map(str::to_owned))
    }

    pub(crate) fn date(&self) -> Option<Datetime> {
        self.parsed(|message| message.date().map(|date| Datetime { seconds: date.to_timestamp(), nanoseconds: 0 }))
    }

    pub(crate) fn addresses(&self, name: &str) -> Vec<String> {
        let texts = self.headers_named(name);
        texts.iter().flat_map(|text| addresses_in(text)).collect()
    }

    pub(crate) fn first_text(&self, content_type: &str) -> Option<String> {
        self.parts().into_iter().find(|part| part.content_type == content_type && !part.is_attachment)?.text
    }

    pub(crate) fn parts(&self) -> Vec<PartState> {
        let content = self.content();
        let Some(message) = MessageParser::default().parse(&content) else { return Vec::new() };
        let mut leaves = Vec::new();
        collect(&message, 0, "", &content, &mut leaves);
        leaves
    }

    /// What an edit of the content would break, worst first.
    pub(crate) fn protection(&self) -> &'static str {
        let content_type = self.headers_named("Content-Type").concat().to_ascii_lowercase();
        if content_type.starts_with("multipart/encrypted") || content_type.starts_with("application/pkcs7-mime") {
            "encrypted"
        } else if content_type.starts_with("multipart/signed") {
            "signed"
        } else if !self.headers_named("DKIM-Signature").is_empty() {
            "dkim-signed"
        } else {
            "none"
        }
    }
}

fn addresses_in(value: &str) -> Vec<String> {
    let field = format!("To: {value}\r\n\r\n");
    let parsed = MessageParser::default().parse(field.as_bytes());
    let Some(HeaderValue::Address(address)) = parsed.as_ref().and_then(|message| message.header("To")) else {
        return Vec::new();
    };
    let all: Vec<_> = match address {
        Address::List(list) => list.iter().collect(),
        Address::Group(groups) => groups.iter().flat_map(|group| &group.addresses).collect(),
    };
    all.into_iter().filter_map(|addr| addr.address.as_deref().map(str::to_owned)).collect()
}

fn collect(message: &mail_parser::Message<'_>, id: u32, path: &str, content: &[u8], leaves: &mut Vec<PartState>) {
    let Some(part) = message.part(id) else { return };
    if let PartType::Multipart(children) = &part.body {
        for (index, &child) in children.iter().enumerate() {
            let place = if path.is_empty() { (index + 1).to_string() } else { format!("{path}.{}", index + 1) };
            collect(message, child, &place, content, leaves);
        }
        return;
    }
    let is_attachment = message.attachments.contains(&id);
    leaves.push(leaf(part, if path.is_empty() { "1" } else { path }, is_attachment, content));
}

fn leaf(part: &MessagePart<'_>, path: &str, is_attachment: bool, content: &[u8]) -> PartState {
    let (start, end) = (part.offset_body as usize, part.offset_end as usize);
    let mut header = MessageState::default();
    header.set_content(content.get(part.offset_header as usize..start).unwrap_or_default());
    let (octets, text) = match &part.body {
        PartType::Text(text) | PartType::Html(text) => (text.as_bytes(), Some(cut(text))),
        PartType::Binary(octets) | PartType::InlineBinary(octets) => (octets.as_ref(), None),
        PartType::Message(message) => (message.raw_message.as_ref(), None),
        PartType::Multipart(_) => (Default::default(), None),
    };
    let content_type = part.content_type().map_or_else(
        || "text/plain".to_owned(),
        |of| format!("{}/{}", of.ctype(), of.subtype().unwrap_or("plain")).to_ascii_lowercase(),
    );
    PartState {
        path: path.to_owned(),
        content_type,
        header,
        file_name: part.attachment_name().map(str::to_owned),
        is_attachment,
        content: octets.to_vec(),
        text,
        raw_range: (start as u64, end.saturating_sub(start) as u64),
    }
}

fn cut(text: &str) -> String {
    let mut end = TEXT_OCTETS_MAX.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
