//! Refuses messages whose attachments are programs or too large.
//!
//! It reads decoded parts in chunks, so that its memory does not depend on the message, and it looks into a
//! file with an innocent name: the first octets tell a Windows or a Unix program.

use basin_sink::prelude::*;
use std::io::Read as _;

/// Extensions that are refused where the configuration has no `extensions`: what Windows runs on a double click.
const EXTENSIONS: &str = "exe,com,scr,pif,bat,cmd,js,jse,vbs,vbe,wsf,wsh,hta,jar,msi,msp,cpl,dll,lnk,ps1,reg,chm";

/// Longest file name that a reply shows, in characters. A reply line has 512 octets (RFC 5321 §4.5.3.1.5), and a
/// character at most 4.
const SHOWN_CHARACTERS_MAX: usize = 60;

/// The sink.
#[derive(Debug)]
pub struct BlockAttachment;

impl OnEndOfData for BlockAttachment {
    fn on_end_of_data(_session: &Session, message: &mut Message, _call: &Call) -> Result<DataVerdict> {
        let extensions = config::get_or("extensions", EXTENSIONS).to_lowercase();
        let octets_max = config::octets("max-size")?;
        for part in message.parts() {
            if let Some(why) = objection(&part, &extensions, octets_max)? {
                let name = shown(&part.file_name().unwrap_or_else(|| "without a name".to_owned()));
                log::info!("refused {}: {name}: {why}", message.id());
                metrics::count("refused");
                return Ok(refuse(550, "5.7.1", &format!("attachment {name}: {why}")));
            }
        }
        Ok(DataVerdict::Next)
    }
}

/// Why this part is not wanted, if it is not.
fn objection(part: &Part, extensions: &str, octets_max: Option<u64>) -> Result<Option<&'static str>> {
    let name = part.file_name();
    // An inline part with a file name is one click away from being an attachment.
    if !part.is_attachment() && name.is_none() {
        return Ok(None);
    }
    if name.is_some_and(|name| is_forbidden(&name, extensions)) {
        return Ok(Some("files of this type are not accepted"));
    }
    // The octets that arrive are counted and not the size that is stated, because only they are a fact about
    // what a recipient would open.
    let mut reader = part.reader();
    let mut chunk = vec![0; 64 * 1024];
    let mut octets: u64 = 0;
    loop {
        let count = reader.read(&mut chunk)?;
        if count == 0 {
            return Ok(None);
        }
        if octets == 0 && is_program(chunk.get(..count).unwrap_or_default()) {
            return Ok(Some("it is a program under another name"));
        }
        octets += count as u64;
        match octets_max {
            Some(max) if octets > max => return Ok(Some("it is too large")),
            Some(_) => {}
            // Without a limit of size nothing behind the first octets matters.
            None => return Ok(None),
        }
    }
}

/// Whether the name ends like one of those. Windows ignores dots and spaces at the end of a name.
fn is_forbidden(name: &str, extensions: &str) -> bool {
    let name = name.trim_end_matches(['.', ' ', '\t', '\0']).to_lowercase();
    let Some((_, extension)) = name.rsplit_once('.') else { return false };
    extensions.split(',').any(|forbidden| forbidden.trim().trim_start_matches('.') == extension)
}

/// Whether content begins as programs of Windows (PE, behind its DOS stub) or Unix (ELF) do.
fn is_program(start: &[u8]) -> bool {
    if start.starts_with(b"\x7fELF") {
        return true;
    }
    // "MZ" alone begins many a text; the DOS header says at 0x3c where "PE" stands.
    let Some(&[a, b, c, d]) = start.get(0x3c..0x40) else { return false };
    let at = u32::from_le_bytes([a, b, c, d]) as usize;
    start.starts_with(b"MZ") && start.get(at..).is_some_and(|rest| rest.starts_with(b"PE\0\0"))
}

/// The name as a reply may show it: the sender chose it, so only letters, digits and plain marks stay.
fn shown(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._- ()".contains(c) { c } else { '?' };
    name.chars().take(SHOWN_CHARACTERS_MAX).map(plain).collect()
}

basin_sink::export!(BlockAttachment: OnEndOfData);

#[cfg(test)]
mod tests;
