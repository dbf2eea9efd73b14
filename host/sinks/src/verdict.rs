//! Whether a verdict is allowed, and the reply that goes with it.

use basin_core::event::{EventKind, FailureKind, Grant, Grants, Verdict};
use basin_core::limits::SINK_INPUT_BYTES_MAX;
use basin_core::reply::{Class, Reply};

use crate::ended::Ended;

/// Verbs of SMTP and its extensions: consuming one in the server's place takes the grant `end-chain`, because the
/// sinks behind are not asked and the server does not act. Own verbs of sinks are all others.
const STANDARD_VERBS: [&str; 14] = [
    "HELO", "EHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "VRFY", "EXPN", "HELP", "AUTH", "STARTTLS",
];

/// What a verdict is checked against besides its event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing<'a> {
    /// What the sink is granted.
    pub(crate) grants: &'a Grants,
    /// Verb of the command, where there is one.
    pub(crate) verb: Option<&'a str>,
    /// Whether its component exports `on-inbound-input`.
    pub(crate) hears_input: bool,
}

/// Checks a verdict against the event and the grants, and brings its reply into the form that the event takes.
///
/// Without the grant `reply` a sink can still say no; the client gets the words and the code of the server
/// in place of the sink's, and of the sink's reply only "for now" or "for good" is left.
pub(crate) fn check(event: EventKind, verdict: Verdict, standing: Standing<'_>) -> Result<Verdict, Ended> {
    let word = verdict.word();
    if !event.allows(&verdict) {
        return Err(refused(format!("it said {word} at {event}, which does not know that")));
    }
    let speaks_out = event.is_outbound() && verdict != Verdict::Next;
    let needed = [speaks_out.then_some(Grant::Outbound), grant_for(&verdict, standing)];
    if let Some(grant) = needed.into_iter().flatten().find(|grant| !standing.grants.has(*grant)) {
        return Err(refused(format!("it said {word} without the grant {grant} (--grant {grant} gives it)")));
    }
    if !verdict.has_fitting_reply(event) {
        let code = verdict.reply().map_or(0, Reply::code);
        return Err(refused(format!("it said {word} at {event} with a {code}, which does not fit")));
    }
    let may_reply = standing.grants.has(Grant::Reply) || speaks_auth(&verdict, standing);
    let own_or_stock = |reply: Reply| if may_reply { reply } else { stock(event, reply.class(), standing.verb) };
    match verdict {
        Verdict::Refuse(reply) if event == EventKind::OnConnect => {
            Ok(Verdict::Refuse(in_place_of_banner(own_or_stock(reply))))
        }
        Verdict::Refuse(reply) => Ok(Verdict::Refuse(own_or_stock(reply))),
        // Its words are the server's own there.
        Verdict::DropSession(_) if event.is_outbound() => Ok(verdict),
        Verdict::SkipRecipient(reply) => Ok(Verdict::SkipRecipient(own_or_stock(reply))),
        Verdict::SkipMessage(reply) => Ok(Verdict::SkipMessage(own_or_stock(reply))),
        Verdict::TreatAs(reply) => Ok(Verdict::TreatAs(own_or_stock(reply))),
        Verdict::DropSession(_) if !may_reply => Ok(Verdict::DropSession(dropped(&verdict))),
        Verdict::Consume(reply) => Ok(Verdict::Consume(own_or_stock(reply))),
        Verdict::Defer(mut later) => {
            later.reply = own_or_stock(later.reply);
            Ok(Verdict::Defer(later))
        }
        Verdict::AwaitInput(_) | Verdict::AwaitOctets(..) if !standing.hears_input => {
            Err(refused(format!("it said {word}, and its component does not export on-inbound-input to hear it")))
        }
        Verdict::AwaitOctets(_, octets) if !(1..=SINK_INPUT_BYTES_MAX).contains(&octets) => {
            Err(refused(format!("it asked for {octets} octets; one can ask for 1 to {SINK_INPUT_BYTES_MAX}")))
        }
        Verdict::AwaitInput(reply) => Ok(Verdict::AwaitInput(own_or_stock(reply))),
        Verdict::AwaitOctets(reply, octets) => Ok(Verdict::AwaitOctets(own_or_stock(reply), octets)),
        Verdict::DropSession(_)
        | Verdict::Next
        | Verdict::SkipRemaining
        | Verdict::Accept
        | Verdict::Discard
        | Verdict::Hold(_)
        | Verdict::BadMail(_)
        | Verdict::WaiveUpTo(_)
        | Verdict::Resolved
        | Verdict::Expand(_)
        | Verdict::Hops(_)
        | Verdict::Hosts(_)
        | Verdict::Delivered
        | Verdict::Suppress
        | Verdict::SendFirst(_)
        | Verdict::SendBlob(_)
        | Verdict::ChangeState(_) => Ok(verdict),
    }
}

fn grant_for(verdict: &Verdict, standing: Standing<'_>) -> Option<Grant> {
    match verdict {
        Verdict::SkipRemaining => Some(Grant::EndChain),
        Verdict::Accept | Verdict::WaiveUpTo(_) => Some(Grant::AcceptRecipients),
        Verdict::Discard | Verdict::Suppress => Some(Grant::Discard),
        Verdict::Resolved | Verdict::Expand(_) => Some(Grant::EditEnvelope),
        Verdict::Hops(_) | Verdict::Hosts(_) | Verdict::Delivered => Some(Grant::Route),
        Verdict::Consume(_) | Verdict::AwaitInput(_) | Verdict::AwaitOctets(..) => match standing.verb {
            // Whoever writes a mechanism handles the command; that is what the grant is for.
            Some("AUTH") if !standing.grants.has(Grant::EndChain) || !matches!(verdict, Verdict::Consume(_)) => {
                Some(Grant::Authenticate)
            }
            verb => verb.is_none_or(|verb| STANDARD_VERBS.contains(&verb)).then_some(Grant::EndChain),
        },
        Verdict::Next
        | Verdict::Refuse(_)
        | Verdict::DropSession(_)
        | Verdict::Hold(_)
        | Verdict::Defer(_)
        | Verdict::BadMail(_)
        | Verdict::SendFirst(_)
        | Verdict::SendBlob(_)
        | Verdict::SkipRecipient(_)
        | Verdict::SkipMessage(_)
        | Verdict::TreatAs(_)
        | Verdict::ChangeState(_) => None,
    }
}

// The text of a 334 is the mechanism's own data (RFC 4954 §4), and so is what its 235 and 535 say.
fn speaks_auth(verdict: &Verdict, standing: Standing<'_>) -> bool {
    let is_answer = matches!(verdict, Verdict::Consume(_) | Verdict::AwaitInput(_) | Verdict::AwaitOctets(..));
    is_answer && standing.verb == Some("AUTH") && standing.grants.has(Grant::Authenticate)
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
fn stock(event: EventKind, class: Class, verb: Option<&str>) -> Reply {
    match (class, event) {
        (Class::Success, _) => Reply::with(250, 0, 0, "OK"),
        // Clients of AUTH know no other code (RFC 4954 §4), those of anything else no text that they would need.
        (Class::Continue, _) if verb == Some("AUTH") => Reply::new(334, None, ""),
        (Class::Continue, _) => Reply::new(354, None, "go on"),
        (Class::Transient, _) => Reply::with(451, 7, 1, "a filter of this server says: try again later"),
        (Class::Permanent, EventKind::OnAuthenticated | EventKind::OnInboundCommand | EventKind::OnInboundInput) => {
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

    fn standing<'a>(grants: &'a Grants, verb: Option<&'a str>) -> Standing<'a> {
        Standing { grants, verb, hears_input: true }
    }

    fn kind(event: EventKind, verdict: Verdict, grants: &Grants) -> Option<FailureKind> {
        check(event, verdict, standing(grants, Some("MAIL"))).err().map(|ended| ended.kind)
    }

    #[test]
    fn each_verdict_that_needs_a_grant_fails_without_it() {
        let none = Grants::default();
        let ok = || Reply::new(250, None, "ok");
        for (event, verdict) in [
            (EventKind::OnConnect, Verdict::SkipRemaining),
            (EventKind::OnInboundCommand, Verdict::Accept),
            (EventKind::OnInboundCommand, Verdict::Consume(ok())),
            (EventKind::OnInboundCommand, Verdict::AwaitInput(Reply::new(354, None, "go on"))),
            (EventKind::OnEndOfData, Verdict::Discard),
            (EventKind::OnMaxMsgSize, Verdict::WaiveUpTo(1)),
        ] {
            assert_eq!(kind(event, verdict.clone(), &none), Some(FailureKind::Verdict), "{verdict:?}");
            assert_eq!(kind(event, verdict.clone(), &everything()), None, "{verdict:?}");
        }
    }

    #[test]
    fn a_verb_of_the_sinks_own_is_consumed_without_a_grant_and_answered_in_stock_words() {
        let none = Grants::default();
        let verdict = Verdict::Consume(Reply::new(299, None, "hello"));
        let checked = check(EventKind::OnInboundCommand, verdict, standing(&none, Some("XHELLO")));
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
            let checked = check(event, refuse(code), standing(&none, None)).expect("allowed");
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
        let checked = check(EventKind::OnConnect, verdict, standing(&everything(), None));
        assert_eq!(checked, Ok(Verdict::Refuse(Reply::with(554, 7, 1, "go away"))));
    }

    #[test]
    fn input_is_asked_for_by_who_can_hear_it() {
        let event = EventKind::OnInboundCommand;
        let none = Grants::default();
        let ask = |octets: Option<u64>| {
            let reply = Reply::new(399, None, "more of your words");
            octets.map_or(Verdict::AwaitInput(reply.clone()), |octets| Verdict::AwaitOctets(reply, octets))
        };
        let own = standing(&none, Some("XHELLO"));
        let stock = Reply::new(354, None, "go on");
        assert_eq!(check(event, ask(None), own), Ok(Verdict::AwaitInput(stock.clone())));
        assert_eq!(check(event, ask(Some(1 << 20)), own), Ok(Verdict::AwaitOctets(stock, 1 << 20)));
        for octets in [0, (1 << 20) + 1] {
            assert!(check(event, ask(Some(octets)), own).is_err_and(|error| error.detail.contains("1 to 1048576")));
        }
        let deaf = Standing { hears_input: false, ..own };
        let error = check(event, ask(None), deaf).expect_err("nobody would hear it");
        assert!(error.detail.contains("does not export on-inbound-input"), "{}", error.detail);
    }

    #[test]
    fn a_mechanism_of_auth_takes_the_grant_and_speaks_for_itself() {
        let event = EventKind::OnInboundInput;
        let challenge = || Verdict::AwaitInput(Reply::new(334, None, "Y2hhbGxlbmdl"));
        let welcome = || Verdict::Consume(Reply::with(235, 7, 0, "welcome"));
        let of = |grants: &[Grant], verdict| {
            let grants = grants.iter().copied().collect();
            check(event, verdict, standing(&grants, Some("AUTH")))
        };
        assert_eq!(of(&[Grant::Authenticate], challenge()), Ok(challenge()));
        assert_eq!(of(&[Grant::Authenticate], welcome()), Ok(welcome()));
        for (grants, verdict) in [(&[][..], challenge()), (&[Grant::EndChain], challenge()), (&[], welcome())] {
            let error = of(grants, verdict).expect_err("not granted");
            assert!(error.detail.contains("--grant authenticate"), "{}", error.detail);
        }
        assert!(of(&[Grant::EndChain], welcome()).is_ok(), "who may answer for the server may answer AUTH");
    }
}
