//! What a call changed, in words: the overlay before it against the overlay after it.

mod diff;

use basin_core::event::Overlay;
use basin_core::mail::{Body, HeaderBlock, Message, Recipient, Scope};

/// Bodies up to this length are compared line by line, in octets; of longer ones only the length is told.
const BODY_BYTES_SHOWN: u64 = 256 * 1024;

/// A part of the scene and what changed in it, line by line.
pub(crate) type Effect = (&'static str, Vec<String>);

/// Everything that changed; empty where nothing did.
pub(crate) fn of(before: &Overlay, after: &Overlay, sink: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    effects.push(("answer", answer(before, after)));
    if let (Some(before), Some(after)) = (&before.command, &after.command)
        && before != after
    {
        let path =
            |path: &Option<String>| path.as_deref().map_or_else(|| "none".to_owned(), |path| format!("<{path}>"));
        let mut lines = changed("path", &path(&before.path), &path(&after.path));
        let show = |parameters: &std::collections::BTreeMap<String, String>| format!("{parameters:?}");
        lines.extend(changed("parameters", &show(&before.parameters), &show(&after.parameters)));
        effects.push(("command", lines));
    }
    if let (Some(before), Some(after)) = (&before.out_command, &after.out_command) {
        effects.push(("command to the other server", changed("line", before.line(), after.line())));
    }
    if let (Some(before), Some(after)) = (&before.message, &after.message) {
        effects.push(("envelope", envelope(before, after)));
        effects.push(("header", header(&before.header, &after.header)));
        effects.push(("body", body(&before.body, &after.body)));
        effects.push(("properties", properties(&before.properties, &after.properties, sink)));
    }
    effects.push(("session properties", properties(&before.session_bag, &after.session_bag, sink)));
    effects.retain(|(_, lines)| !lines.is_empty());
    effects
}

fn changed(what: &str, before: &str, after: &str) -> Vec<String> {
    if before == after { Vec::new() } else { vec![format!("- {what} {before}"), format!("+ {what} {after}")] }
}

fn answer(before: &Overlay, after: &Overlay) -> Vec<String> {
    let mut lines = Vec::new();
    if before.banner != after.banner {
        lines
            .push(after.banner.as_ref().map_or("banner of the server".to_owned(), |banner| format!("banner {banner}")));
    }
    if before.response != after.response {
        lines.push(after.response.as_ref().map_or("not replaced".to_owned(), |reply| format!("replaced by {reply}")));
    }
    match after.appended.strip_prefix(before.appended.as_slice()) {
        Some(appended) => lines.extend(appended.iter().map(|line| format!("line added: {line}"))),
        None => lines.extend(listed(&before.appended, &after.appended)),
    }
    if before.delay != after.delay {
        lines.push(format!("delayed by {} ms", after.delay.as_millis()));
    }
    if before.is_protocol_error != after.is_protocol_error {
        let word = if after.is_protocol_error { "counted" } else { "not counted" };
        lines.push(format!("{word} as a protocol error"));
    }
    if before.authenticated != after.authenticated {
        let who = after.authenticated.as_ref();
        lines.push(
            who.map_or("not authenticated".to_owned(), |it| {
                format!("authenticated as {} by {}", it.user, it.mechanism)
            }),
        );
    }
    lines
}

fn envelope(before: &Message, after: &Message) -> Vec<String> {
    let sender = |message: &Message| {
        format!("<{}>", message.envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default())
    };
    let mut lines = changed("from", &sender(before), &sender(after));
    let recipients = |message: &Message| message.envelope.recipients.iter().map(recipient).collect::<Vec<_>>();
    lines.extend(listed(&recipients(before), &recipients(after)));
    let parameters = |message: &Message| format!("{:?}", message.envelope.parameters);
    lines.extend(changed("parameters", &parameters(before), &parameters(after)));
    lines.extend(changed("priority", &before.priority.to_string(), &after.priority.to_string()));
    let deliver_after =
        |message: &Message| message.deliver_after.map_or_else(|| "any time".to_owned(), |at| at.to_rfc3339());
    lines.extend(changed("deliver after", &deliver_after(before), &deliver_after(after)));
    lines
}

fn recipient(recipient: &Recipient) -> String {
    let notify = if recipient.notify.is_empty() { String::new() } else { format!(" notify {:?}", recipient.notify) };
    let route = recipient.route_domain.as_ref().map(|domain| format!(" by way of {domain}")).unwrap_or_default();
    let outcome = match recipient.outcome.word() {
        "pending" => String::new(),
        word => format!(" {word}"),
    };
    format!("to <{}>{notify}{route}{outcome}", recipient.address)
}

fn header(before: &HeaderBlock, after: &HeaderBlock) -> Vec<String> {
    let fields = |block: &HeaderBlock| {
        block.fields().iter().map(|field| String::from_utf8_lossy(field.raw()).into_owned()).collect::<Vec<_>>()
    };
    // A folded field is one thing; its further lines are shown below its first.
    let shown = listed(&fields(before), &fields(after));
    shown.iter().map(|line| line.trim_end().replace("\r\n", "\n  ")).collect()
}

fn body(before: &Body, after: &Body) -> Vec<String> {
    let read = |body: &Body| body.read(0, usize::try_from(BODY_BYTES_SHOWN).unwrap_or(usize::MAX)).ok();
    let (Some(old), Some(new)) = (read(before), read(after)) else {
        return vec!["it cannot be read".to_owned()];
    };
    if before.len() == after.len() && old == new {
        return Vec::new();
    }
    let lengths = format!("{} octets became {}", before.len(), after.len());
    if before.len().max(after.len()) > BODY_BYTES_SHOWN {
        return vec![lengths];
    }
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).lines().map(str::to_owned).collect::<Vec<_>>();
    std::iter::once(lengths).chain(listed(&text(&old), &text(&new))).collect()
}

fn properties(before: &basin_core::mail::Bag, after: &basin_core::mail::Bag, sink: &str) -> Vec<String> {
    let scope = Scope(sink);
    let names = |bag: &basin_core::mail::Bag| {
        let value = |name: &String| {
            bag.value(scope, name).map(|octets| String::from_utf8_lossy(octets).into_owned()).unwrap_or_default()
        };
        bag.names(scope).iter().map(|name| format!("{name} = {}", value(name))).collect::<Vec<_>>()
    };
    listed(&names(before), &names(after))
}

fn listed(before: &[String], after: &[String]) -> Vec<String> {
    let plain = |lines: &'_ [String]| -> Vec<String> { lines.to_vec() };
    let (before, after) = (plain(before), plain(after));
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    let after: Vec<&str> = after.iter().map(String::as_str).collect();
    diff::lines(&before, &after).into_iter().map(|(sign, line)| format!("{sign} {line}")).collect()
}
