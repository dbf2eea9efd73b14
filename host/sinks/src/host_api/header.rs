//! Edits of the header block.

use std::sync::Arc;

use basin_core::limits::{SINK_FIELDS_ADDED_MAX, SINK_HEADER_BYTES_ADDED_MAX};
use basin_core::mail::{Field, FieldError, HeaderBlock};
use bytes::Bytes;

use super::body::check_lines;
use super::signature::Edit;
use super::{ErrorValue, Refused, invalid};
use crate::state::State;

/// Longest header line, in octets, CR LF excluded (RFC 5322 §2.1.1).
const LINE_BYTES_MAX: usize = 998;

/// Fields that servers write about the way of a message (RFC 5321 §4.4). Without them loops are not found and
/// the way cannot be told; no sink writes, changes or removes them.
const TRACE_FIELDS: [&str; 2] = ["Received", "Return-Path"];

impl State {
    /// Puts a field before the one at `index`.
    pub(super) fn insert_field(&mut self, index: usize, name: &str, value: &str) -> Result<(), Refused> {
        self.edit_header()?;
        let field = Field::new(name, value).map_err(field_error)?;
        self.check_trace(name)?;
        self.may_break(Edit::Insert(name, index))?;
        let added = self.room(1, field.raw().len())?;
        self.block()?.insert(index, field).map_err(field_error)?;
        self.edited(added)
    }

    /// Replaces the first field of that name, drops the others, or adds one.
    pub(super) fn set_field(&mut self, name: &str, value: &str) -> Result<(), Refused> {
        self.edit_header()?;
        let field = Field::new(name, value).map_err(field_error)?;
        self.check_trace(name)?;
        self.may_break(Edit::Set(name))?;
        let added = self.room(1, field.raw().len())?;
        self.block()?.set(field).map_err(field_error)?;
        self.edited(added)
    }

    /// Gives the field at `index` another value.
    pub(super) fn edit_field(&mut self, index: usize, value: &str) -> Result<(), Refused> {
        self.edit_header()?;
        let name = self.message()?.header.fields().get(index).ok_or(ErrorValue::NotFound)?.name();
        let field = Field::new(&name, value).map_err(field_error)?;
        self.check_trace(&name)?;
        self.may_break(Edit::Touch(index))?;
        let added = self.room(1, field.raw().len())?;
        self.block()?.replace(index, field).map_err(field_error)?;
        self.edited(added)
    }

    /// Takes out the field at `index`.
    pub(super) fn remove_field(&mut self, index: usize) -> Result<(), Refused> {
        self.edit_header()?;
        let name = self.message()?.header.fields().get(index).ok_or(ErrorValue::NotFound)?.name();
        self.check_trace(&name)?;
        self.may_break(Edit::Touch(index))?;
        self.block()?.remove_at(index).map_err(field_error)?;
        self.edited((0, 0))
    }

    /// Takes out every field of that name and says how many there were.
    pub(super) fn remove_fields(&mut self, name: &str) -> Result<u32, Refused> {
        self.edit_header()?;
        self.check_trace(name)?;
        self.may_break(Edit::RemoveAll(name))?;
        let removed = self.block()?.remove(name);
        self.edited((0, 0))?;
        Ok(u32::try_from(removed).unwrap_or(u32::MAX))
    }

    /// Replaces the whole block. Its trace fields must be those that were there, in their order.
    pub(super) fn replace_block(&mut self, octets: Vec<u8>) -> Result<(), Refused> {
        self.edit_header()?;
        check_lines(&octets, LINE_BYTES_MAX)?;
        let block = HeaderBlock::parse(&Bytes::from(octets)).map_err(field_error)?;
        if let Some(junk) = block.fields().iter().find(|field| field.name().is_empty()) {
            let line = String::from_utf8_lossy(junk.raw());
            return Err(invalid(format!("{:?} is no header field", line.chars().take(40).collect::<String>())));
        }
        let present = self.message()?.header.clone();
        if !trace(&block).eq(trace(&present)) {
            return Err(self.deny(TRACE_TEXT));
        }
        if block == *present {
            return Ok(());
        }
        self.may_break(Edit::Content)?;
        let fields = block.fields().len().saturating_sub(present.fields().len());
        let added = self.room(fields, block.len().saturating_sub(present.len()))?;
        *self.block()? = block;
        self.edited(added)
    }

    // What the call will have added; checked before the edit, noted after it, so that a refused edit costs nothing.
    fn room(&self, fields: usize, octets: usize) -> Result<(usize, usize), Refused> {
        let (written, written_octets) = self.quota.headers.get(&self.message_number).copied().unwrap_or_default();
        if written + fields > SINK_FIELDS_ADDED_MAX || written_octets + octets > SINK_HEADER_BYTES_ADDED_MAX {
            let what = format!(
                "a call writes at most {SINK_FIELDS_ADDED_MAX} header fields and {SINK_HEADER_BYTES_ADDED_MAX} octets \
                 to a message"
            );
            return Err(ErrorValue::Limit(what).into());
        }
        Ok((fields, octets))
    }

    fn edited(&mut self, (fields, octets): (usize, usize)) -> Result<(), Refused> {
        let written = self.quota.headers.entry(self.message_number).or_default();
        written.0 += fields;
        written.1 += octets;
        // Content-Type may be among what changed.
        self.parts.forget();
        Ok(())
    }

    fn block(&mut self) -> Result<&mut HeaderBlock, Refused> {
        Ok(Arc::make_mut(&mut self.message_mut()?.header))
    }

    fn check_trace(&mut self, name: &str) -> Result<(), Refused> {
        check_trace_name(name).map_err(|why| self.deny(why))
    }
}

/// No sink writes the fields of servers, not in messages of its own either; why.
pub(super) fn check_trace_name(name: &str) -> Result<(), &'static str> {
    let is_trace = TRACE_FIELDS.iter().any(|trace| trace.eq_ignore_ascii_case(name));
    if is_trace { Err(TRACE_TEXT) } else { Ok(()) }
}

const TRACE_TEXT: &str = "Received and Return-Path belong to the servers that write them (RFC 5321 §4.4)";

fn trace(block: &HeaderBlock) -> impl Iterator<Item = &Field> {
    block.fields().iter().filter(|field| TRACE_FIELDS.iter().any(|name| field.is(name)))
}

/// Why a field was not taken, for the sink.
pub(super) fn field_error(why: FieldError) -> Refused {
    match why {
        FieldError::Name | FieldError::Value => invalid(why),
        FieldError::NoSuchField => ErrorValue::NotFound.into(),
        FieldError::Full => ErrorValue::Limit(why.to_string()).into(),
    }
}
