//! What is written to a list: who may, who gets it, and how it looks to them.

use super::lists::{List, Lists};
use super::own;
use basin_sink::prelude::*;

/// Property of a recipient: the list through which it gets the message. Those that an expansion makes have it, too.
const THROUGH: &str = "list";

/// The members in place of the list.
pub(crate) fn expand(list: &List, message: &Message, recipient: &mut Recipient) -> Result<Resolution> {
    let sender = message.sender();
    // RFC 5321 §4.5.5 and RFC 3834 §2: what a program sends about other mail goes to nobody else, least of all to a list.
    let why = if sender.is_empty() {
        Some("it has no return path")
    } else if own::is_automatic(message) {
        Some("a program sent it")
    } else if was_here(list, message) {
        Some("it came from the list")
    } else {
        None
    };
    if let Some(why) = why {
        metrics::count("dropped");
        log::info!("{}: dropped, {why}", list.address);
        return Ok(Resolution::Expand(Vec::new()));
    }
    if list.is_for_members && !list.has(&sender)? {
        metrics::count("strangers");
        return Ok(refuse(550, "5.7.2", "only members write to this list"));
    }
    recipient.set_property(THROUGH, &list.address)?;
    metrics::count("posts");
    Ok(Resolution::Expand(list.readers()?))
}

fn was_here(list: &List, message: &Message) -> bool {
    let headers = message.headers();
    let id = format!("<{}>", list.id());
    headers.all("List-Id").iter().any(|value| value.to_ascii_lowercase().contains(&id))
        || headers.all("X-Loop").iter().any(|value| value.trim().eq_ignore_ascii_case(&list.address))
}

/// Gives each recipient that came out of a list a message with a return path of its own.
pub(crate) fn send_out(lists: &Lists, message: &mut Message) -> Result<()> {
    let mut members = Vec::new();
    for recipient in message.recipients() {
        let through = recipient.property(THROUGH);
        if let Some(list) = through.as_deref().and_then(|address| lists.named(address)) {
            members.push((recipient, list));
        }
    }
    let Some((_, first)) = members.first() else { return Ok(()) };
    // Where all of them came out of one list, the fields are written once, and the forks have them.
    let is_one = members.iter().all(|(_, list)| list.address == first.address);
    let is_alone = members.len() == message.recipient_count() as usize;
    if is_alone && is_one {
        mark(first, message)?;
    }
    let last = if is_alone { members.pop() } else { None };
    let mut shared = None;
    for (mut recipient, list) in members {
        // What the sender wanted to hear of its letter it hears of the list's address; here the list asks.
        recipient.set_notify(&["FAILURE"])?;
        match message.fork(&[recipient.id()]) {
            Ok(mut fork) => {
                if !(is_alone && is_one) {
                    mark(list, &mut fork)?;
                }
                fork.set_sender(&list.return_path(&recipient.address()))?;
            }
            // A chain makes 1,000 forks. The others stay together and share a return path.
            Err(Error::Limit(_)) if is_alone && is_one => shared = Some(list),
            Err(error) => return Err(error.into()),
        }
    }
    if let Some((mut recipient, list)) = last {
        recipient.set_notify(&["FAILURE"])?;
        if !is_one {
            mark(list, message)?;
        }
        let return_path = match shared {
            Some(list) => list.with("bounces"),
            None => list.return_path(&recipient.address()),
        };
        message.set_sender(&return_path)?;
    }
    Ok(())
}

/// The fields of RFC 2369 and RFC 2919. Those of another list give way (RFC 2369 §4).
fn mark(list: &List, message: &mut Message) -> Result<()> {
    let request = list.with("request");
    let fields = [
        ("List-Id", format!("<{}>", list.id())),
        ("List-Post", format!("<mailto:{}>", list.address)),
        ("List-Help", format!("<mailto:{request}?subject=help>")),
        ("List-Subscribe", format!("<mailto:{request}?subject=subscribe>")),
        ("List-Unsubscribe", format!("<mailto:{request}?subject=unsubscribe>")),
        ("List-Owner", format!("<mailto:{}>", list.with("owner"))),
        ("Precedence", "list".to_owned()),
        ("X-Loop", list.address.clone()),
    ];
    let mut headers = message.headers_mut();
    for (name, value) in &fields {
        match headers.set(name, value) {
            // A signature of the author that covers the field, though it is not there, is worth more than the field.
            Ok(()) | Err(Error::Denied(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    message.set_parameter("ENVID", None)?;
    Ok(message.set_parameter("RET", Some("HDRS"))?)
}
