//! MAIL: what is offered, who may send, and what the parameters ask for.

use std::sync::Arc;

use crate::addr::{Address, AddressError};
use crate::event::Command;
use crate::mail::{DeliverBy, Envelope, Late, Message};
use crate::reply::Reply;
use crate::smtp::command::{CommandError, check_rewritten_mail};
use crate::smtp::intent::{Action, Intent, OutOfSequence, Refusal, Tally, over_rate, too_large};
use crate::smtp::live::{Live, Transaction};
use crate::smtp::parameters::{Parameters, declared_size, held_until, priority};
use crate::smtp::policy::SenderTable;
use crate::time::Timestamp;

/// Largest number in LIMITS (RFC 9422 §3: six digits).
const LIMIT_MAX: usize = 999_999;

impl Live {
    /// Checks MAIL.
    pub(super) fn intend_mail(
        &mut self,
        sender: Option<Address>,
        parameters: Parameters,
        now: Timestamp,
    ) -> Result<Intent, OutOfSequence> {
        if self.facts.helo.is_none() {
            return Err(OutOfSequence::fault("send EHLO first"));
        }
        // RFC 5321 §4.1.4: MAIL inside a transaction is out of sequence.
        if self.transaction.is_some() {
            return Err(OutOfSequence::fault("a transaction is open; RSET ends it"));
        }
        if parameters.iter().any(|(keyword, value)| !self.offers(keyword, value)) {
            // RFC 5321 §4.1.1.11.
            return Err(OutOfSequence { reply: CommandError::UnknownParameter.reply(), tally: Tally::Fault });
        }
        if self.policy.mails_max.is_some_and(|mails_max| self.facts.messages >= mails_max) {
            // RFC 9422 §4.2: what was announced is kept to.
            return Err(OutOfSequence {
                reply: Reply::with(421, 5, 3, "no more messages here; closing"),
                tally: Tally::Work,
            });
        }
        let parameters = self.vouch_for_sender(parameters)?;
        let refusal = self.mail_refusal(sender.as_ref(), &parameters, None, now);
        let mut envelope = Envelope::new(sender);
        envelope.parameters = parameters;
        let mut message = Message::new(self.next_id(now), self.arrival(now), envelope);
        let reply = self.take_wishes(&mut message);
        let action = Action::Begin(Box::new(Transaction::new(message)));
        Ok(Intent { refusal, ..Intent::of(action, reply, Tally::Work) })
    }

    // Whether the extension of that parameter of MAIL is offered now.
    fn offers(&self, keyword: &str, value: &str) -> bool {
        let extensions = &self.policy.extensions;
        match keyword {
            // RFC 3030 §3: BINARYMIME is nothing without CHUNKING.
            "BODY" if value.eq_ignore_ascii_case("BINARYMIME") => extensions.chunking && extensions.binarymime,
            "SMTPUTF8" => extensions.smtputf8,
            "REQUIRETLS" => self.offers_requiretls(),
            "PRDR" => extensions.prdr,
            "BY" => extensions.deliverby,
            "HOLDFOR" | "HOLDUNTIL" => self.policy.is_submission && self.policy.hold_max.is_some(),
            "MT-PRIORITY" => extensions.mt_priority,
            _ => true,
        }
    }

    // RFC 8689 §2: only where it could be kept to.
    fn offers_requiretls(&self) -> bool {
        self.policy.extensions.requiretls && self.facts.vouched.tls.is_some()
    }

    /// The keywords of EHLO for what this file decides about.
    pub(super) fn mail_keywords(&self, now: Timestamp) -> Vec<String> {
        let (policy, extensions) = (&self.policy, &self.policy.extensions);
        let mut lines = Vec::new();
        if extensions.smtputf8 {
            lines.push("SMTPUTF8".to_owned());
        }
        if extensions.limits {
            let mails_max = policy.mails_max.map(|mails_max| format!(" MAILMAX={mails_max}")).unwrap_or_default();
            lines.push(format!("LIMITS{mails_max} RCPTMAX={}", policy.recipients_max.min(LIMIT_MAX)));
        }
        if self.offers_requiretls() {
            lines.push("REQUIRETLS".to_owned());
        }
        if extensions.deliverby {
            let seconds = policy.deliver_by_min.as_secs();
            lines.push(if seconds > 0 { format!("DELIVERBY {seconds}") } else { "DELIVERBY".to_owned() });
        }
        if let Some(hold_max) = policy.hold_max.filter(|_| policy.is_submission) {
            // RFC 4865 §3: the longest wait, and the moment that it leads to.
            lines.push(format!("FUTURERELEASE {} {}", hold_max.as_secs(), now.plus(hold_max).to_rfc3339()));
        }
        if extensions.mt_priority {
            lines.push("MT-PRIORITY".to_owned());
        }
        if extensions.prdr {
            lines.push("PRDR".to_owned());
        }
        lines
    }

    /// Takes over what sinks rewrote of MAIL, and that alone: what they changed about the message itself stays.
    /// Gives the answer where the priority is another one now, and why policy refuses what MAIL has become.
    ///
    /// # Errors
    /// The client would have been refused for its form.
    pub(super) fn rewrite_mail(
        &self,
        transaction: &mut Transaction,
        sent: &Command,
        rewritten: &Command,
    ) -> Result<(Option<Reply>, Option<Refusal>), CommandError> {
        let sender = check_rewritten_mail(rewritten)?;
        if rewritten.parameters.iter().any(|(keyword, value)| !self.offers(keyword, value)) {
            return Err(CommandError::UnknownParameter);
        }
        let parameters = self.vouch_for_sender(rewritten.parameters.clone());
        let parameters = parameters.map_err(|_| CommandError::UnknownParameter)?;
        let is_new = |keyword: &str| sent.parameters.get(keyword) != rewritten.parameters.get(keyword);
        let message = &mut transaction.message;
        let envelope = Arc::make_mut(&mut message.envelope);
        if rewritten.path != sent.path {
            envelope.sender = sender;
        }
        for keyword in sent.parameters.keys().chain(parameters.keys()).filter(|keyword| is_new(keyword)) {
            match parameters.get(keyword) {
                Some(value) => drop(envelope.parameters.insert(keyword.clone(), value.clone())),
                None => drop(envelope.parameters.remove(keyword)),
            }
        }
        if !envelope.sender.as_ref().is_none_or(Address::is_ascii) && !envelope.parameters.contains_key("SMTPUTF8") {
            return Err(CommandError::Sender(AddressError::NotAscii));
        }
        if is_new("HOLDFOR") || is_new("HOLDUNTIL") {
            message.deliver_after = held_until(&parameters, message.arrival.at);
        }
        let reply = is_new("MT-PRIORITY").then(|| self.take_priority(message));
        let sender = message.envelope.sender.as_ref();
        Ok((reply, self.mail_refusal(sender, &parameters, transaction.waived, message.arrival.at)))
    }

    // Puts what the parameters ask for into the message, and gives the answer to MAIL.
    fn take_wishes(&self, message: &mut Message) -> Reply {
        message.deliver_after = held_until(&message.envelope.parameters, message.arrival.at);
        self.take_priority(message)
    }

    fn take_priority(&self, message: &mut Message) -> Reply {
        let wanted = priority(&message.envelope.parameters).unwrap_or(0);
        // RFC 6710 §5.1 and §8: strangers do not get their mail in front of that of others, and hear it.
        let granted = if self.may_relay() { wanted } else { wanted.min(0) };
        message.priority = granted;
        if granted == wanted {
            return Reply::with(250, 1, 0, "sender ok");
        }
        Reply::with(250, 3, 6, format!("{granted} is the priority assigned to the message"))
    }

    /// Why policy refuses a MAIL; `waived` is the size that sinks let it have.
    pub(super) fn mail_refusal(
        &self,
        sender: Option<&Address>,
        parameters: &Parameters,
        waived: Option<u64>,
        now: Timestamp,
    ) -> Option<Refusal> {
        let refusal = |reply, is_policy| Some(Refusal { reply, tally: Tally::Work, is_policy, is_size: false });
        if self.is_queue_full {
            // RFC 5321 §4.2.3: 452, insufficient storage; the client keeps the message and tries later. A limit and no
            // policy: no sink may lift it.
            return refusal(Reply::with(452, 3, 1, "the queue of this server is full, try again later"), false);
        }
        if self.is_over_rate {
            return refusal(over_rate(), false);
        }
        match &self.facts.vouched.auth {
            // RFC 6409 §4.3, RFC 4954 §6.
            None if self.policy.is_submission || self.policy.is_auth_required => {
                return refusal(Reply::with(530, 7, 0, "authentication required"), true);
            }
            // RFC 6409 §6.1.
            Some(auth) if self.policy.is_submission => {
                if !sender.is_none_or(|sender| self.may_send_as(&auth.user, sender)) {
                    return refusal(Reply::with(550, 7, 1, "this sender address is not yours"), true);
                }
            }
            Some(_) | None => {}
        }
        let is_beyond = |until: Timestamp| self.policy.hold_max.is_some_and(|hold_max| until > now.plus(hold_max));
        if held_until(parameters, now).is_some_and(is_beyond) {
            // RFC 4865 §4.1.
            return refusal(Reply::with(501, 5, 4, "the message would have to be held for too long"), false);
        }
        let by = parameters.get("BY").and_then(|value| DeliverBy::parse(value));
        let is_too_soon =
            |by: &DeliverBy| u64::try_from(by.seconds).unwrap_or(0) < self.policy.deliver_by_min.as_secs();
        if by.filter(|by| by.late == Late::Return).is_some_and(|by| is_too_soon(&by)) {
            // RFC 2852 §4.
            return refusal(Reply::with(501, 5, 4, "the message cannot be there as soon as that"), false);
        }
        // RFC 1870 §6.1: what cannot fit is refused before it is sent.
        let bytes_max = waived.unwrap_or(self.policy.message_bytes_max);
        let is_too_large = declared_size(parameters).is_some_and(|size| size > bytes_max);
        is_too_large.then(|| Refusal { reply: too_large(), tally: Tally::Work, is_policy: true, is_size: true })
    }

    fn may_send_as(&self, user: &str, sender: &Address) -> bool {
        let is_users_own = Address::parse(user).is_ok_and(|own| own.is_same(sender));
        is_users_own
            || match self.policy.senders.allows(user, sender) {
                Some(is_allowed) => is_allowed,
                None => sender.domain().is_none_or(|domain| {
                    self.policy.directory.is_local_domain(domain) && !self.policy.is_elsewhere(domain)
                }),
            }
    }
}

impl SenderTable {
    /// Whether the table lets the user send from that address; `None` where it says nothing of the user.
    pub fn allows(&self, user: &str, sender: &Address) -> Option<bool> {
        let row = self.rows.get(user)?;
        let has_domain = |domain: &str| sender.domain().is_some_and(|there| there.eq_ignore_ascii_case(domain));
        Some(row.iter().any(|entry| match entry.strip_prefix('@') {
            Some(domain) => has_domain(domain),
            None => Address::parse(entry).is_ok_and(|address| address.is_same(sender)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventSet;
    use crate::mail::TlsFacts;
    use crate::smtp::policy::{Connection, ListenerPolicy};

    const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

    fn live(change: impl FnOnce(&mut ListenerPolicy)) -> Live {
        let connection = Connection {
            id: "s".into(),
            client: "192.0.2.7:4".parse().expect("an address"),
            server: "192.0.2.1:25".parse().expect("an address"),
            started: NOW,
            random: 0,
            client_name: None,
            tls: None,
        };
        let mut policy = ListenerPolicy::new("mx", "basin.example", Arc::default());
        change(&mut policy);
        let mut live = Live::new(Arc::new(policy), connection, EventSet::default());
        live.facts_mut().helo = Some("client.example".to_owned());
        live
    }

    fn parameters(words: &[(&str, &str)]) -> Parameters {
        words.iter().map(|(keyword, value)| ((*keyword).to_owned(), (*value).to_owned())).collect()
    }

    fn mail(path: &str, words: &[(&str, &str)]) -> Command {
        let path = Some(path.to_owned());
        Command { keyword: "MAIL".to_owned(), path, parameters: parameters(words), ..Command::default() }
    }

    #[expect(clippy::panic, reason = "a test fails by panicking")]
    fn begun(live: &mut Live, sent: &Command) -> Transaction {
        let sender = sent.path.as_deref().map(|path| Address::parse(path).expect("valid"));
        let intent = live.intend_mail(sender, sent.parameters.clone(), NOW).expect("in sequence");
        let Action::Begin(transaction) = intent.action else { panic!("MAIL begins a transaction") };
        *transaction
    }

    #[test]
    fn what_sinks_changed_about_the_message_outlives_what_others_rewrite_of_mail() {
        let mut live = live(|_| ());
        let sent = mail("a@client.example", &[("ENVID", "1"), ("MT-PRIORITY", "-3"), ("RET", "FULL")]);
        let mut transaction = begun(&mut live, &sent);
        let later = Some(NOW.plus(core::time::Duration::from_secs(60)));
        let message = &mut transaction.message;
        (message.priority, message.deliver_after) = (5, later);
        Arc::make_mut(&mut message.envelope).parameters.insert("ENVID".to_owned(), "by-a-sink".to_owned());
        Arc::make_mut(&mut message.envelope).parameters.insert("AUTH".to_owned(), "own@here.example".to_owned());
        Arc::make_mut(&mut message.envelope).sender = Address::parse("b@here.example").ok();

        let rewritten = mail("a@client.example", &[("ENVID", "1"), ("MT-PRIORITY", "-3"), ("SIZE", "10")]);
        let (reply, refusal) = live.rewrite_mail(&mut transaction, &sent, &rewritten).expect("right");
        assert!(reply.is_none() && refusal.is_none(), "{reply:?} {refusal:?}");
        let message = &transaction.message;
        assert_eq!((message.priority, message.deliver_after), (5, later));
        assert_eq!(message.envelope.sender.as_ref().map(ToString::to_string).as_deref(), Some("b@here.example"));
        let there = [("ENVID", "by-a-sink"), ("AUTH", "own@here.example"), ("MT-PRIORITY", "-3"), ("SIZE", "10")];
        assert_eq!(message.envelope.parameters, parameters(&there), "RET is gone, SIZE came");

        let rewritten = mail("c@client.example", &[("ENVID", "2"), ("MT-PRIORITY", "-7")]);
        let (reply, _) = live.rewrite_mail(&mut transaction, &sent, &rewritten).expect("right");
        assert!(reply.is_some_and(|reply| reply.code() == 250));
        let message = &transaction.message;
        assert_eq!((message.priority, message.deliver_after), (-7, later));
        assert_eq!(message.envelope.parameters.get("ENVID").map(String::as_str), Some("2"));
        assert_eq!(message.envelope.sender.as_ref().map(ToString::to_string).as_deref(), Some("c@client.example"));
    }

    #[test]
    fn a_sink_adds_to_mail_what_the_client_could_have_said_and_nothing_else() {
        let tls = TlsFacts::default();
        for (word, is_offered) in [
            (("SMTPUTF8", ""), false),
            (("PRDR", ""), false),
            (("MT-PRIORITY", "-1"), false),
            (("REQUIRETLS", ""), false),
            (("HOLDFOR", "60"), false),
            (("RET", "HDRS"), true),
        ] {
            let mut bare = live(|policy| {
                let extensions = &mut policy.extensions;
                (extensions.smtputf8, extensions.prdr, extensions.mt_priority) = (false, false, false);
            });
            let sent = mail("a@client.example", &[]);
            let mut transaction = begun(&mut bare, &sent);
            let done = bare.rewrite_mail(&mut transaction, &sent, &mail("a@client.example", &[word]));
            assert_eq!(done.is_ok(), is_offered, "{word:?} {done:?}");
            let mut full = live(|policy| {
                policy.is_submission = true;
                policy.hold_max = Some(core::time::Duration::from_secs(100));
            });
            full.facts_mut().vouched.tls = Some(tls.clone());
            let mut transaction = begun(&mut full, &sent);
            let done = full.rewrite_mail(&mut transaction, &sent, &mail("a@client.example", &[word]));
            assert!(done.is_ok(), "{word:?} {done:?}");
            assert!(transaction.message.envelope.parameters.contains_key(word.0), "{word:?}");
        }
    }

    #[test]
    fn an_international_sender_needs_smtputf8_whoever_wrote_it() {
        let mut live = live(|_| ());
        let sent = mail("a@client.example", &[("SMTPUTF8", "")]);
        let mut transaction = begun(&mut live, &sent);
        let path = "j\u{f6}rg@b\u{fc}cher.example";
        assert!(live.rewrite_mail(&mut transaction, &sent, &mail(path, &[("SMTPUTF8", "")])).is_ok());
        assert!(transaction.message.envelope.sender.as_ref().is_some_and(|sender| !sender.is_ascii()));
        let done = live.rewrite_mail(&mut transaction, &sent, &mail("a@client.example", &[]));
        assert_eq!(done.err(), Some(CommandError::Sender(AddressError::NotAscii)), "set-sender is older than that");
    }

    #[test]
    fn a_row_says_all_that_a_user_may_send_from() {
        let rows = [("ann".to_owned(), vec!["ann@a.example".to_owned(), "@lists.example".to_owned()])];
        let table = SenderTable { rows: rows.into() };
        let allows = |user: &str, sender: &str| table.allows(user, &Address::parse(sender).expect("valid"));
        assert_eq!(allows("ann", "ann@A.example"), Some(true));
        assert_eq!(allows("ann", "any@lists.example"), Some(true));
        assert_eq!(allows("ann", "bob@a.example"), Some(false));
        assert_eq!(allows("ann", "any@x.lists.example"), Some(false));
        assert_eq!(allows("bob", "bob@a.example"), None);
    }
}
