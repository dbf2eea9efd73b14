//! Host calls that ask the services of the server: `state`, `dns`, `message-auth`.

use std::cell::RefCell;

use crate::basin::sink::message::MailMsg;
use crate::basin::sink::{dns, message_auth, state};
use crate::{answer, number, show, text};

thread_local! {
    /// Results that outlive their call, where the instance does.
    static KEPT: RefCell<Vec<message_auth::AuthResult>> = const { RefCell::new(Vec::new()) };
}

/// Plays one line of the script, if it is one of these.
pub(crate) fn play(msg: Option<&MailMsg>, name: &str, arguments: &[&str]) -> Option<String> {
    match name {
        "state-get" => answer(state::get(arguments[0]).map(|value| value.map(text))),
        "state-set" => answer(state::set(arguments[0], arguments[1].as_bytes(), number(arguments, 2))),
        "state-fill" => answer(state::set(arguments[0], &vec![b'x'; number(arguments, 1)], 0)),
        "state-swap" => {
            let expected = Some(arguments[1].as_bytes()).filter(|expected| *expected != b"-");
            answer(state::swap(arguments[0], expected, arguments[2].as_bytes(), 0))
        }
        "state-delete" => answer(state::delete(arguments[0])),
        "state-increment" => answer(state::increment(arguments[0], number(arguments, 1), number(arguments, 2))),
        "state-keys" => answer(state::keys(arguments[0], arguments.get(1).copied())),
        "state-list" => answer(
            state::keys(arguments[0], arguments.get(1).copied())
                .map(|keys| (keys.len(), keys.first().cloned(), keys.last().cloned())),
        ),
        "dns-addresses" => answer(dns::addresses(arguments[0])),
        "dns-mx" => answer(dns::mx(arguments[0])),
        "dns-txt" => answer(dns::txt(arguments[0])),
        "dns-ptr" => answer(dns::ptr(arguments[0])),
        "dns-many" => show((0..number(arguments, 0)).take_while(|_| dns::txt("a.example").is_ok()).count()),
        "verify" => answer(message_auth::verify(msg.expect("a message"), arguments[0]).map(|results| {
            let shown = results
                .iter()
                .map(|one| (one.method(), one.outcome(), one.domain(), one.property("header.s"), one.reason()));
            shown.collect::<Vec<_>>()
        })),
        "keep-result" => answer(message_auth::verify(msg.expect("a message"), arguments[0]).map(|results| {
            let count = results.len();
            KEPT.with_borrow_mut(|kept| kept.extend(results));
            count
        })),
        "use-kept-result" => {
            show(KEPT.with_borrow(|kept| kept.first().map(|result| result.outcome()).unwrap_or_default()))
        }
        "drop-kept-result" => show(KEPT.with_borrow_mut(|kept| kept.drain(..).count())),
        _ => None,
    }
}
