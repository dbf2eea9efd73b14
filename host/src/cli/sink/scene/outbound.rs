//! What lies beyond this server in a scene: the other server, and what the two say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use basin_core::event::outbound::{OutCommand, ResponseFacts};
use basin_core::event::{EventKind, Occasion, OutFacts, OutSession, Overlay};

use super::SceneArgs;

/// Documentation address (RFC 5737) of the other server.
const OTHER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 25)), 25);
/// This server's end of the connection to it.
const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 25)), 40_025);
/// Domain of a scene without recipients.
const DOMAIN: &str = "basin.example";
/// What this server calls itself there.
const HELO: &str = "mx.basin.example";

impl SceneArgs {
    /// Whether a message is on its way at this point of the dialogue with another server.
    pub(super) fn leaves_at(&self, event: EventKind) -> bool {
        let is_in_transaction = || matches!(self.answered().as_str(), "MAIL" | "RCPT" | "DATA" | "BDAT" | ".");
        matches!(event, EventKind::OnMessageStart | EventKind::OnPerRecipient | EventKind::OnBeforeData)
            || event == EventKind::OnServerResponse && is_in_transaction()
    }

    /// Adds the dialogue with another server, where the event belongs to one.
    pub(super) fn beyond(&self, occasion: &mut Occasion, overlay: &mut Overlay) {
        let event = occasion.event;
        if !event.is_outbound() {
            return;
        }
        let is_about_one =
            event == EventKind::OnPerRecipient || event == EventKind::OnServerResponse && self.answered() == "RCPT";
        if let Some(message) = overlay.message.as_ref().filter(|_| is_about_one) {
            occasion.recipient = message.envelope.recipients.last().map(|recipient| recipient.id);
        }
        let facts = self.other_server(event);
        if event.is_before_command() {
            overlay.out_command = Some(OutCommand::new(&self.out_line(event), facts.extensions.clone().into()));
        } else if let Some(reply) = occasion.native_response.clone() {
            let (keyword, line) = (self.answered(), self.out_line(event));
            let response = ResponseFacts { keyword, line, reply, is_pipelined: false, is_last: false };
            occasion.response = Some(Arc::new(response));
        }
        occasion.outbound = Some(Arc::new(facts));
    }

    fn other_server(&self, event: EventKind) -> OutFacts {
        let host = self.host.clone().unwrap_or_else(|| format!("mx.{}", self.destination()));
        let is_before_ehlo =
            event == EventKind::OnSessionStart || event == EventKind::OnServerResponse && self.answered().is_empty();
        OutFacts {
            banner: format!("{host} ESMTP"),
            session: Arc::new(OutSession { id: "scene".to_owned(), host, remote: Some(OTHER), local: Some(HERE) }),
            attempt: 1,
            extensions: if is_before_ehlo { Vec::new() } else { self.offers.clone() },
            tls: self.tls.clone(),
            ..OutFacts::default()
        }
    }

    fn destination(&self) -> &str {
        self.to.last().and_then(|address| address.trim_matches(['<', '>']).rsplit_once('@')).map_or(DOMAIN, |it| it.1)
    }

    // The verb that was answered.
    fn answered(&self) -> String {
        let of_line = || self.command.as_deref().and_then(|line| line.split(' ').next()).map(str::to_owned);
        self.verb.clone().or_else(of_line).unwrap_or_default().to_ascii_uppercase()
    }

    fn out_line(&self, event: EventKind) -> String {
        if let Some(line) = &self.command {
            return line.clone();
        }
        let verbs = [
            (EventKind::OnSessionStart, "EHLO"),
            (EventKind::OnMessageStart, "MAIL"),
            (EventKind::OnPerRecipient, "RCPT"),
            (EventKind::OnBeforeData, "DATA"),
            (EventKind::OnSessionEnd, "QUIT"),
        ];
        let verb = verbs.iter().find(|(kind, _)| *kind == event);
        let verb = verb.map_or_else(|| self.answered(), |(_, verb)| (*verb).to_owned());
        // What the client called itself is another matter.
        if verb == "EHLO" { format!("EHLO {HELO}") } else { self.line_of(&verb) }
    }
}

#[cfg(test)]
mod tests {
    use basin_core::time::Timestamp;

    use super::*;

    fn scene(verb: Option<&str>, reply: Option<&str>) -> SceneArgs {
        SceneArgs {
            to: vec!["b@far.example".to_owned()],
            from: Some("a@basin.example".to_owned()),
            verb: verb.map(str::to_owned),
            reply: reply.map(str::to_owned),
            offers: vec!["DSN".to_owned()],
            ..SceneArgs::default()
        }
    }

    #[test]
    fn a_rule_about_a_reply_meets_its_verb_and_code() {
        let scene = scene(Some("rcpt"), Some("501 5.5.4 greylisted"));
        let question = scene.question(EventKind::OnServerResponse, Timestamp::default()).expect("a scene");
        let facts = question.facts();
        assert_eq!((facts.verb, facts.code), (Some("RCPT"), Some(501)));
        let response = question.occasion.response.as_deref().expect("a reply");
        assert_eq!(response.line, "RCPT TO:<b@far.example>");
        assert!(question.occasion.recipient.is_some() && question.overlay.message.is_some());
    }

    #[test]
    fn a_command_is_there_with_what_the_other_server_offers() {
        let question = scene(None, None).question(EventKind::OnMessageStart, Timestamp::default()).expect("a scene");
        let command = question.overlay.out_command.as_ref().expect("a command");
        assert_eq!(command.line(), "MAIL FROM:<a@basin.example>");
        let facts = question.occasion.outbound.as_deref().expect("a session");
        assert_eq!(
            (facts.session.host.as_str(), facts.extensions.as_slice()),
            ("mx.far.example", &["DSN".to_owned()][..])
        );
        let start = scene(None, None).question(EventKind::OnSessionStart, Timestamp::default()).expect("a scene");
        assert!(start.overlay.message.is_none());
        assert!(start.occasion.outbound.as_deref().is_some_and(|facts| facts.extensions.is_empty()));
    }
}
