//! Bodies that a sink writes.

use basin_core::event::{EventKind, Grant};
use basin_core::mail::{Body, Message, Origin};
use wasmtime::component::Resource;

use super::signature::{Edit, broken_by};
use super::{BodyWriter, ErrorValue, Refused, invalid};
use crate::bindings::basin::sink::message::HostBodyWriter;
use crate::ended::Ended;
use crate::state::State;

/// Most bodies under construction in one call.
const WRITERS_MAX: usize = 16;

/// The bodies under construction of one call.
#[derive(Debug, Default)]
pub(crate) struct Writers(Vec<Option<Writer>>);

/// A body under construction.
#[derive(Debug, Default)]
pub(super) struct Writer {
    octets: Vec<u8>,
    // The last octet written was a CR, and it is not in `octets` yet.
    is_cr_open: bool,
}

impl Writers {
    fn len(&self) -> usize {
        self.0.iter().flatten().map(|writer| writer.octets.len()).sum()
    }

    fn writer(&mut self, number: u32) -> Option<&mut Writer> {
        self.0.get_mut(usize::try_from(number).ok()?)?.as_mut()
    }

    fn take(&mut self, number: u32) -> Option<Writer> {
        self.0.get_mut(usize::try_from(number).ok()?)?.take()
    }
}

impl Writer {
    /// Adds octets. Makes every line end CR LF, bare CR and LF included: servers that disagree about what ends a line let
    /// one message be read as two (SMTP smuggling).
    pub(super) fn append(&mut self, octets: &[u8]) {
        self.octets.reserve(octets.len());
        for &octet in octets {
            let is_after_cr = core::mem::replace(&mut self.is_cr_open, octet == b'\r');
            match octet {
                b'\n' => self.octets.extend_from_slice(b"\r\n"),
                _ => {
                    if is_after_cr {
                        self.octets.extend_from_slice(b"\r\n");
                    }
                    if octet != b'\r' {
                        self.octets.push(octet);
                    }
                }
            }
        }
    }

    /// Octets so far.
    pub(super) fn len(&self) -> usize {
        self.octets.len()
    }

    /// The body, with its last line ended.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.is_cr_open || !self.octets.is_empty() && !self.octets.ends_with(b"\n") {
            self.octets.extend_from_slice(b"\r\n");
        }
        self.octets
    }
}

impl HostBodyWriter for State {
    fn write(&mut self, writer: Resource<BodyWriter>, octets: Vec<u8>) -> Result<(), Refused> {
        self.taken(&octets);
        self.edit(Grant::EditBody)?;
        let (number, limit) = (self.number(&writer)?, self.octets_max(self.overlay.message.as_ref()));
        if (self.writers.len() + octets.len()) as u64 > limit {
            return Err(ErrorValue::Limit(format!("the bodies of a call have at most {limit} octets")).into());
        }
        let writer = self.writers.writer(number).ok_or(ErrorValue::NotFound)?;
        writer.append(&octets);
        Ok(())
    }

    fn drop(&mut self, writer: Resource<BodyWriter>) -> wasmtime::Result<()> {
        // One of an earlier call is gone already; to let go of it is no use of it.
        if let Ok(number) = self.number(&writer) {
            self.writers.take(number);
        }
        Ok(())
    }
}

impl State {
    /// `mail-msg.new-body`.
    pub(super) fn begin_body(&mut self) -> Result<Resource<BodyWriter>, Refused> {
        self.edit_content()?;
        if self.writers.0.len() >= WRITERS_MAX {
            return Err(ErrorValue::Limit(format!("a call makes at most {WRITERS_MAX} bodies")).into());
        }
        let number = u32::try_from(self.writers.0.len()).map_err(|_| Ended::host("too many bodies"))?;
        let handle = self.handle(number)?;
        self.writers.0.push(Some(Writer::default()));
        Ok(handle)
    }

    /// `mail-msg.replace-body`.
    pub(super) fn put_body(&mut self, writer: &Resource<BodyWriter>) -> Result<(), Refused> {
        self.edit_content()?;
        self.may_break(Edit::Content)?;
        let number = self.number(writer)?;
        let writer = self.writers.take(number).ok_or(ErrorValue::NotFound)?;
        let octets = writer.finish();
        let limit = self.octets_max(self.message().ok());
        let message = self.message_mut()?;
        if (message.header.len() + 2 + octets.len()) as u64 > limit {
            return Err(ErrorValue::Limit(format!("a message has at most {limit} octets")).into());
        }
        message.body = Body::from_bytes(octets);
        self.parts.forget();
        Ok(())
    }

    // What the listener takes that the message came by, or the message itself where that was waived for it: a sink makes
    // nothing that the client could not have sent. What came another way may have as much as any.
    fn octets_max(&self, message: Option<&Message>) -> u64 {
        let by_smtp = message.filter(|message| message.arrival.origin == Origin::Smtp);
        let limit = self.host.message_bytes_max(by_smtp.map(|message| message.arrival.listener.as_str()));
        message.map_or(limit, |message| limit.max(message.size()))
    }

    /// Whether the header block may be edited: the grant is there, and so is the block.
    pub(super) fn edit_header(&mut self) -> Result<(), Refused> {
        self.edit_from(EventKind::OnEndOfHeaders, Grant::EditHeaders)
    }

    /// Whether the content may be edited: the grant is there, and so is the content.
    pub(super) fn edit_content(&mut self) -> Result<(), Refused> {
        self.edit_from(EventKind::OnEndOfData, Grant::EditBody)
    }

    /// Whether the envelope may be edited: the grant is there, and the message is still on its way in.
    pub(super) fn edit_envelope(&mut self) -> Result<(), Refused> {
        self.edit_from(EventKind::OnInboundCommand, Grant::EditEnvelope)
    }

    // What can be changed at `first` can be changed at the events behind it, too (`wit/message.wit`).
    fn edit_from(&mut self, first: EventKind, grant: Grant) -> Result<(), Refused> {
        use EventKind::{
            OnEndOfData, OnEndOfHeaders, OnInboundCommand, OnInboundInput, OnNotification, OnPostCategorize,
            OnPreCategorize, OnSubmission,
        };
        let changing = [
            OnInboundCommand,
            OnInboundInput,
            OnEndOfHeaders,
            OnEndOfData,
            OnSubmission,
            OnPreCategorize,
            OnPostCategorize,
            OnNotification,
        ];
        if !changing.iter().skip_while(|event| **event != first).any(|event| *event == self.event()) {
            return Err(ErrorValue::ReadOnly.into());
        }
        self.edit(grant)
    }

    /// Answers `unavailable` where the content is not here yet.
    pub(super) fn content_is_here(&self) -> Result<(), Refused> {
        // What goes to another server is here, too.
        if self.event().has_content() || self.event().is_outbound() {
            return Ok(());
        }
        Err(ErrorValue::Unavailable(format!("at {} the content is not here yet", self.event())).into())
    }

    /// Answers `denied` where the edit breaks a signature and the binding does not grant that.
    pub(super) fn may_break(&mut self, edit: Edit<'_>) -> Result<(), Refused> {
        match broken_by(&self.message()?.header, edit) {
            None => Ok(()),
            Some(what) if self.has(Grant::BreakSignatures) => {
                self.signature_broken(what);
                Ok(())
            }
            Some(what) => Err(self.deny(format!(
                "the message is {what} and the edit would break that; it needs the grant {}",
                Grant::BreakSignatures
            ))),
        }
    }
}

/// Checks octets for use as header lines; kept beside the body's rule because both guard the same line ends.
pub(super) fn check_lines(octets: &[u8], line_max: usize) -> Result<(), Refused> {
    if !octets.is_empty() && !octets.ends_with(b"\r\n") {
        return Err(invalid("a header block ends with CR LF"));
    }
    for line in octets.split_inclusive(|&octet| octet == b'\n') {
        let text = line.strip_suffix(b"\r\n").ok_or_else(|| invalid("lines end with CR LF"))?;
        if text.is_empty() || text.len() > line_max || text.iter().any(|octet| matches!(octet, b'\r' | 0)) {
            return Err(invalid(format!("a header line has 1 to {line_max} octets and no CR or NUL")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(chunks: &[&[u8]]) -> String {
        let mut writer = Writer::default();
        chunks.iter().for_each(|chunk| writer.append(chunk));
        String::from_utf8(writer.finish()).expect("ASCII")
    }

    #[test]
    fn every_line_ends_in_cr_lf_wherever_the_chunks_are_cut() {
        assert_eq!(written(&[b"a\nb\r", b"\nc"]), "a\r\nb\r\nc\r\n");
        assert_eq!(written(&[b"a\r\n", b""]), "a\r\n");
        assert_eq!(written(&[]), "");
    }

    #[test]
    fn a_bare_cr_ends_a_line_too() {
        for chunks in [&[&b"a\rb"[..]][..], &[b"a\r", b"b"], &[b"a", b"\r", b"b"]] {
            assert_eq!(written(chunks), "a\r\nb\r\n", "{chunks:?}");
        }
        assert_eq!(written(&[b"a\r\r\n\r"]), "a\r\n\r\n\r\n");
    }
}
