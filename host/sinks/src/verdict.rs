//! Whether a verdict is allowed, and the reply that goes with it.

use basin_core::event::{EventKind, FailureKind, Grant, Grants, Verdict};
use basin_core::reply::{Class, Reply};

use crate::ended::Ended;

/// Verbs of SMTP and its extensions: consuming one in the server's place takes the grant `end-chain`, because the
/// sinks behind are not asked and the server does not act. Own verbs of sinks are all others.
const STANDARD_VERBS: [&str; 14] = [
    "HELO", "EHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "VRFY", "EXPN", "HELP", "AUTH", "STARTTLS",
];

/// Checks a verdict against the event and the grants, and brings its reply into the form that the event takes.
///
/// Without the grant `reply` a sink can still say no; the client gets the words and the code of the server
/// in place of the sink's, and of the sink's reply only "for now" or "for good" is left.
pub(crate) fn check(event: EventKind, verdict: Verdict, grants: &Grants, verb: Option<&str>) -> Result<Verdict, Ended> {
    if !event.allows(&verdict) {
        return Err(refused(format!("it said {} at {event}, which does not know that", verdict.word())));
    }
    if let Some(grant) = grant_for(&verdict, verb).filter(|grant| !grants.has(*grant)) {
        let word = verdict.word();
        return Err(refused(format!("it said {word} without the grant {grant} (--grant {grant} gives it)")));
    }
    if !verdict.has_fitting_reply(event) {
        let code = verdict.reply().map_or(0, Reply::code);
        return Err(refused(format!("it said {} at {event} with a {code}, which does not fit", verdict.word())));
    }
    let may_reply = grants.has(Grant::Reply);
    let own_or_stock = |reply: Reply| if may_reply { reply } else { stock(event, reply.class()) };
    match verdict {
        Verdict::Refuse(reply) if event == EventKind::OnConnect => {
            Ok(Verdict::Refuse(in_place_of_banner(own_or_stock(reply))))
        }
        Verdict::Refuse(reply) => Ok(Verdict::Refuse(own_or_stock(reply))),
        Verdict::DropSession(_) if !may_reply => Ok(Verdict::DropSession(dropped(&verdict))),
        Verdict::Consume(reply) => Ok(Verdict::Consume(own_or_stock(reply))),
        Verdict::Defer(mut later) => {
            later.reply = own_or_stock(later.reply);
            Ok(Verdict::Defer(later))
        }
        Verdict::AwaitInput(_) | Verdict::AwaitOctets(..) => {
            Err(refused(format!("it said {}, which this version of basin does not give", verdict.word())))
        }
        Verdict::DropSession(_)
        | Verdict::Next
        | Verdict::SkipRemaining
        | Verdict::Accept
        | Verdict::Discard
        | Verdict::Hold(_)
        | Verdict::BadMail(_)
        | Verdict::WaiveUpTo(_) => Ok(verdict),
    }
}

fn grant_for(verdict: &Verdict, verb: Option<&str>) -> Option<Grant> {
    match verdict {
        Verdict::SkipRemaining => Some(Grant::EndChain),
        Verdict::Accept => Some(Grant::AcceptRecipients),
        Verdict::Discard => Some(Grant::Discard),
        Verdict::Consume(_) => verb.is_none_or(|verb| STANDARD_VERBS.contains(&verb)).then_some(Grant::EndChain),
        Verdict::Next
        | Verdict::Refuse(_)
        | Verdict::DropSession(_)
        | Verdict::AwaitInput(_)
        | Verdict::AwaitOctets(..)
        | Verdict::Hold(_)
        | Verdict::Defer(_)
        | Verdict::BadMail(_)
        | Verdict::WaiveUpTo(_) => None,
    }
}

// In place of the banner there are only these two (RFC 5321 §3.1, §3.8).
fn in_place_of_banner(reply: Reply) -> Reply {
    let code = if reply.class() == Class::Transient { 421 } else { 554 };
    Reply::multi_line(code, reply.enhanced(), reply.lines().to_vec())
}

fn dropped(verdict: &Verdict) -> Reply {
    match verdict.reply().map(Reply::class) {
        Some(Class::Transient) => Reply::with(421, 7, 1, "a filter of this server ends the session"),
        Some(Class::Permanent | Class::Continue | Class::Success) | None => {
            Reply::with(554, 7, 1, "a filter of this server ends the session")
        }
    }
}

// The server's words, in the class of the sink's.
fn stock(event: EventKind, class: Class) -> Reply {
    match (class, event) {
        (Class::Success | Class::Continue, _) => Reply::with(250, 0, 0, "OK"),
        (Class::Transient, _) => Reply::with(451, 7, 1, "a filter of this server says: try again later"),
        (Class::Permanent, EventKind::OnInboundCommand | EventKind::OnInboundInput) => {
            Reply::with(550, 7, 1, "refused by a filter of this server")
        }
        (Class::Permanent, _) => Reply::with(554, 7, 1, "refused by a filter of this server"),
    }
}

fn refused(detail: String) -> Ended {
    Ended::new(FailureKind::Verdict, detail)
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use basin_core::event::Later;

    use super::*;

    fn everything() -> Grants {
        Grants::everything()
    }

    fn kind(event: EventKind, verdict: Verdict, grants: &Grants) -> Option<FailureKind> {
        check(event, verdict, grants, Some("MAIL")).err().map(|ended| ended.kind)
    }

    #[test]
    fn each_verdict_that_needs_a_grant_fails_without_it() {
        let none = Grants::default();
        let ok = || Reply::new(250, None, "ok");
        for (event, verdict) in [
            (EventKind::OnConnect, Verdict::SkipRemaining),
            (EventKind::OnInboundCommand, Verdict::Accept),
            (EventKind::OnInboundCommand, Verdict::Consume(ok())),
            (EventKind::OnEndOfData, Verdict::Discard),
        ] {
            assert_eq!(kind(event, verdict.clone(), &none), Some(FailureKind::Verdict), "{verdict:?}");
            assert_eq!(kind(event, verdict.clone(), &everything()), None, "{verdict:?}");
        }
    }

    #[test]
    fn a_verb_of_the_sinks_own_is_consumed_without_a_grant_and_answered_in_stock_words() {
        let none = Grants::default();
        let verdict = Verdict::Consume(Reply::new(299, None, "hello"));
        let checked = check(EventKind::OnInboundCommand, verdict, &none, Some("XHELLO"));
        assert_eq!(checked, Ok(Verdict::Consume(Reply::with(250, 0, 0, "OK"))));
    }

    #[test]
    fn an_event_refuses_what_it_does_not_know() {
        let reply = Reply::new(550, None, "no");
        assert_eq!(kind(EventKind::OnReject, Verdict::SkipRemaining, &everything()), Some(FailureKind::Verdict));
        assert_eq!(kind(EventKind::OnConnect, Verdict::DropSession(reply), &everything()), Some(FailureKind::Verdict));
        assert_eq!(
            kind(EventKind::OnEndOfData, Verdict::BadMail(String::new()), &everything()),
            Some(FailureKind::Verdict)
        );
    }

    #[test]
    fn the_class_of_a_reply_fits_its_verdict() {
        let of = |code| Reply::new(code, None, "x");
        let all = everything();
        for (event, verdict) in [
            (EventKind::OnEndOfData, Verdict::Refuse(of(250))),
            (EventKind::OnEndOfData, Verdict::DropSession(of(354))),
            (EventKind::OnInboundCommand, Verdict::Consume(of(334))),
            (EventKind::OnSubmission, Verdict::Refuse(of(451))),
            (EventKind::OnSubmission, Verdict::Defer(Later { reply: of(550), after: Duration::ZERO })),
        ] {
            assert_eq!(kind(event, verdict.clone(), &all), Some(FailureKind::Verdict), "{verdict:?}");
        }
    }

    #[test]
    fn without_the_grant_reply_only_the_class_is_left() {
        let none = Grants::default();
        let refuse = |code| Verdict::Refuse(Reply::new(code, None, "my words"));
        let code = |event, code| {
            let checked = check(event, refuse(code), &none, None).expect("allowed");
            let reply = checked.reply().expect("a reply").clone();
            assert!(!reply.to_string().contains("my words"));
            reply.code()
        };
        assert_eq!(code(EventKind::OnConnect, 450), 421);
        assert_eq!(code(EventKind::OnConnect, 501), 554);
        assert_eq!(code(EventKind::OnInboundCommand, 521), 550);
        assert_eq!(code(EventKind::OnEndOfData, 450), 451);
    }

    #[test]
    fn at_connect_a_reply_keeps_its_text_and_gets_the_code_of_its_class() {
        let verdict = Verdict::Refuse(Reply::with(550, 7, 1, "go away"));
        let checked = check(EventKind::OnConnect, verdict, &everything(), None);
        assert_eq!(checked, Ok(Verdict::Refuse(Reply::with(554, 7, 1, "go away"))));
    }

    #[test]
    fn waiting_for_input_is_a_clear_error_in_this_version() {
        let error =
            check(EventKind::OnInboundCommand, Verdict::AwaitInput(Reply::new(334, None, "")), &everything(), None);
        assert!(error.expect_err("not given").detail.contains("does not give"));
    }
}
