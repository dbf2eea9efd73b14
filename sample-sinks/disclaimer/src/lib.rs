//! A text under outgoing mail, in plain text and in HTML.
//!
//! It shows a new body that is made of pieces of the present one: a message of any size is copied in chunks, and
//! only what is added is encoded, in the charset and the transfer encoding of the part that it goes into. What
//! cannot be continued so becomes a part beside the new one. Signed and encrypted mail is left alone.

use basin_sink::prelude::*;
use std::io::{Read as _, Write as _};

mod encoding;
mod leaf;
mod whole;

use leaf::{Leaf, Splice};

/// Field that says that the text was added, where the configuration has no `header`.
const FIELD: &str = "X-Disclaimer";

/// The sink.
#[derive(Debug)]
pub struct Disclaimer;

impl OnSubmission for Disclaimer {
    fn on_submission(message: &mut Message, _call: &Call) -> Result<MessageVerdict> {
        let words = Words::read()?;
        let field = config::get_or("header", FIELD);
        if message.headers().contains(&field) || (!config::flag("inside")?.unwrap_or(false) && is_inside(message)) {
            return Ok(MessageVerdict::Next);
        }
        if let Some(why) = protected(message) {
            metrics::count("left_alone");
            log::debug!("left alone: {why}");
            return Ok(MessageVerdict::Next);
        }
        add(message, &words)?;
        message.headers_mut().set(&field, "added")?;
        metrics::count("added");
        Ok(MessageVerdict::Next)
    }
}

/// What is added.
#[derive(Debug)]
struct Words {
    text: String,
    html: String,
}

impl Words {
    fn read() -> Result<Self> {
        let text = config::get("text").filter(|text| !text.trim().is_empty());
        let text = text.ok_or_else(|| Failure::new("the configuration has no text"))?;
        // Every charset of HTML can say every character by its number.
        let html = config::get("html").unwrap_or_else(|| encoding::html_of(&text));
        Ok(Self { text: text.lines().flat_map(|line| [line, "\r\n"]).collect(), html: encoding::ascii_html(&html) })
    }
}

/// Whether everybody who gets it is at home here.
fn is_inside(message: &Message) -> bool {
    let addresses = message.recipient_addresses();
    let domains = addresses.iter().filter_map(|address| address.rsplit_once('@'));
    domains.map(|(_, domain)| domain).all(server::is_local_domain)
}

/// Why the content must stay as it is.
fn protected(message: &Message) -> Option<String> {
    let protection = message.protection();
    if protection != "none" {
        return Some(protection);
    }
    let content_type = message.headers().get("Content-Type").unwrap_or_default().to_ascii_lowercase();
    if content_type.starts_with("multipart/report") {
        return Some("a report".to_owned());
    }
    // What a list or a client put around it does not make a signature inside any less of one.
    let is_security = |kind: &str| ["pgp-signature", "pgp-encrypted", "pkcs7"].iter().any(|word| kind.contains(word));
    if let Some(part) = message.parts().find(|part| is_security(&part.content_type())) {
        return Some(part.content_type());
    }
    let text = message.text_body().unwrap_or_default();
    text.contains("-----BEGIN PGP").then(|| "OpenPGP in the text".to_owned())
}

fn add(message: &mut Message, words: &Words) -> Result<()> {
    let bodies: Vec<Leaf> = ["text/plain", "text/html"].iter().filter_map(|kind| Leaf::first(message, kind)).collect();
    let splices: Option<Vec<Splice>> =
        bodies.iter().map(|leaf| leaf.continued(message, words)).collect::<Result<Option<_>>>()?;
    match splices {
        Some(splices) if !splices.is_empty() => spliced(message, splices),
        _ if whole::is_plain_ascii(message)? => whole::as_utf8(message, &words.text),
        _ => whole::beside(message, &words.text),
    }
}

/// Copies the body and puts each piece in its place.
fn spliced(message: &mut Message, mut splices: Vec<Splice>) -> Result<()> {
    splices.sort_by_key(|splice| splice.at);
    let mut body = message.new_body()?;
    {
        let mut old = message.body();
        let mut position = 0;
        for splice in &splices {
            let until = splice.at.saturating_sub(position);
            std::io::copy(&mut (&mut old).take(until), &mut body)?;
            std::io::copy(&mut (&mut old).take(splice.cut), &mut std::io::sink())?;
            body.write_all(&splice.put)?;
            position = splice.at + splice.cut;
        }
        std::io::copy(&mut old, &mut body)?;
    }
    Ok(message.replace_body(body)?)
}

basin_sink::export!(Disclaimer: OnSubmission);

#[cfg(test)]
mod tests;
