//! What was promised and what came of it.

mod counts;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use basin_core::mail::{Message, RecipientId};
use basin_core::transport::{End, Notifying};

use crate::sinks::{CHILD, EDIT};
use crate::tables::SinkTables;
pub use counts::Counts;
use values::Values;

/// The name of a message in this world: the number in its `X-Uid` field, or the id of a notification.
pub(crate) type Uid = String;

/// A message that somebody was promised to be told of or to have delivered.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    /// The message came with the null sender: nobody is told.
    pub(crate) is_null: bool,
    /// Recipients and whether each wants to know of failures.
    pub(crate) recipients: Vec<(String, bool)>,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

impl Promise {
    // What sinks submit is offered without anybody to whom it is owed.
    fn is_child(&self) -> bool {
        self.recipients.is_empty()
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Delivery {
    count: u32,
    is_confirmed: bool,
}

/// Every promise, delivery and notification.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    offered: BTreeMap<Uid, Promise>,
    promised: BTreeMap<Uid, BTreeSet<String>>,
    deliveries: BTreeMap<(Uid, String), Delivery>,
    // Message and recipient to the ids of the notifications that said so.
    failed: BTreeMap<(Uid, String), BTreeSet<String>>,
    delayed: BTreeMap<(Uid, String), BTreeSet<String>>,
    // Notifications that nobody could be given.
    dead_notifications: BTreeSet<Uid>,
    // What notifications that were made say, whether they arrive or not.
    announced: BTreeMap<(Uid, String), BTreeSet<Uid>>,
    deleted: BTreeSet<Uid>,
    // What a sink dropped, and whom it kept from being told.
    excused: BTreeSet<(Uid, String)>,
    // Addresses that a sink put others in the place of.
    expansions: BTreeMap<(Uid, String), Vec<String>>,
    // Messages that came out of one that arrived.
    children: BTreeSet<Uid>,
    ended: BTreeSet<Uid>,
    // Notifications that a sink kept back the last time that it was asked.
    suppressed: BTreeSet<Uid>,
    /// What sinks set in their tables.
    pub(crate) values: Values,
    /// Edits that every message of a client has when it arrives.
    pub(crate) owed_edits: Vec<String>,
    findings: Vec<String>,
    /// Whether the story is told while it happens.
    is_told: bool,
    /// For the report.
    pub(crate) counts: Counts,
}

/// The name of a message.
pub(crate) fn uid(message: &Message) -> Uid {
    message.header.first("X-Uid").map_or_else(|| of_notification(message), |field| field.value().trim().to_owned())
}

// A notification keeps its id in Message-ID, wherever it is carried.
fn of_notification(message: &Message) -> Uid {
    let id = message.header.first("Message-ID").map(|field| field.value()).unwrap_or_default();
    id.trim().trim_start_matches('<').split('@').next().unwrap_or_default().to_owned()
}

impl Ledger {
    /// Empty books; `is_told` writes the story on standard error while it happens.
    pub(crate) fn new(is_told: bool) -> Self {
        Self { is_told, ..Self::default() }
    }

    /// Tells a line of the story, where somebody listens.
    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        if self.is_told {
            eprintln!("{}", line());
        }
    }

    /// A message that somebody tries to hand over.
    pub(crate) fn offer(&mut self, uid: Uid, promise: Promise) {
        self.offered.insert(uid, promise);
    }

    /// It was acknowledged for those recipients.
    pub(crate) fn promise(&mut self, uid: &str, recipients: &[String]) {
        self.promised.entry(uid.to_owned()).or_default().extend(recipients.iter().cloned());
        self.counts.acknowledged += 1;
    }

    /// The address of a recipient of a message that was offered.
    pub(crate) fn recipient(&self, uid: &str, id: RecipientId) -> Option<String> {
        let recipients = &self.offered.get(uid)?.recipients;
        Some(recipients.get(usize::try_from(id).ok()?)?.0.clone())
    }

    /// A copy arrived for a recipient.
    pub(crate) fn deliver(&mut self, message: &Message, body: &[u8], recipient: &str) {
        let uid = uid(message);
        self.tell(|| format!("  delivered {uid} to {recipient}"));
        self.counts.delivered += 1;
        if self.suppressed.contains(&uid) {
            self.findings.push(format!("{uid} arrived, which a sink had kept back"));
        }
        self.compare(&uid, body);
        self.look_at_edits(&uid, message);
        self.read_notification(message, body);
        let delivery = self.deliveries.entry((uid.clone(), recipient.to_owned())).or_default();
        delivery.count += 1;
        self.counts.duplicates += u64::from(delivery.count > 1);
        if delivery.is_confirmed {
            self.findings.push(format!("{uid} was delivered to {recipient} again after its delivery was recorded"));
        }
    }

    /// The server under test has a delivery on disk.
    pub(crate) fn confirm(&mut self, uid: &str, recipient: &str) {
        self.tell(|| format!("  confirmed {uid} to {recipient}"));
        let delivery = self.deliveries.entry((uid.to_owned(), recipient.to_owned())).or_default();
        delivery.is_confirmed = true;
        if delivery.count == 0 {
            self.findings.push(format!("{uid} counts as delivered to {recipient} and is not"));
        }
    }

    /// A notification is on disk.
    pub(crate) fn announce(&mut self, notification: &Message) {
        if notification.envelope.sender.is_some() {
            self.findings.push("a notification with a sender".into());
        }
        self.suppressed.remove(&of_notification(notification));
        let body = notification.body.read(0, usize::MAX).unwrap_or_default();
        let Some(report) = Report::read(notification, &body) else {
            return self.findings.push("a notification that cannot be read".into());
        };
        if self.offered.get(&report.uid).is_some_and(|promise| promise.is_null) {
            self.findings.push(format!("{}: the null sender is notified", report.uid));
        }
        for (recipient, action) in report.recipients {
            if action == "failed" {
                let key = (report.uid.clone(), recipient);
                self.announced.entry(key).or_default().insert(of_notification(notification));
            }
        }
    }

    /// A sink puts others in the place of an address.
    pub(crate) fn expands(&mut self, uid: Uid, address: String, others: Vec<String>) {
        self.counts.expansions += u64::from(self.expansions.insert((uid, address), others).is_none());
    }

    /// A sink keeps a notification back.
    pub(crate) fn suppressed(&mut self, uid: &str, notifying: &Notifying) {
        self.tell(|| format!("  a sink keeps the notification about {uid} back"));
        self.suppressed.insert(notifying.id().to_string());
        notifying.recipients().for_each(|one| self.excuse(uid, &one.address.to_string()));
    }

    /// Nothing is owed to a recipient any more, because a sink says so.
    fn excuse(&mut self, uid: &str, recipient: &str) {
        self.excused.insert((uid.to_owned(), recipient.to_owned()));
    }

    /// A message came to its end at the server under test.
    pub(crate) fn end(&mut self, uid: &str, message: &Message, end: End, has_sinks: bool) {
        let id = &message.id;
        self.tell(|| format!("  {uid} ({id}) ended as {end:?}"));
        self.ended.insert(uid.to_owned());
        match end {
            End::Discarded if has_sinks => {
                message.envelope.recipients.iter().for_each(|one| self.excuse(uid, &one.address.to_string()));
                // A notification that a sink dropped reaches nobody.
                self.dead_notifications.insert(uid.to_owned());
            }
            End::FailedUntold => drop(self.dead_notifications.insert(uid.to_owned())),
            End::Superseded => {
                self.counts.superseded += 1;
                self.deleted.insert(uid.to_owned());
                if message.supersedes.is_none() {
                    self.findings.push(format!("{uid} ({id}) gave way, and no sink gave it a key"));
                }
            }
            End::Deleted | End::Moved => drop(self.deleted.insert(uid.to_owned())),
            End::NoRecipients | End::Discarded => {
                self.findings.push(format!("{uid} ({id}) ended as {end:?}, which nobody asked for"));
            }
            End::Delivered | End::Failed => {}
        }
    }

    /// Something is wrong.
    pub(crate) fn find(&mut self, finding: String) {
        self.findings.push(finding);
    }

    fn look_at_edits(&mut self, uid: &str, message: &Message) {
        let edits: Vec<String> = message.header.all(EDIT).map(|field| field.value().trim().to_owned()).collect();
        let once: BTreeSet<&str> = edits.iter().map(String::as_str).collect();
        if once.len() < edits.len() {
            self.findings.push(format!("{uid} arrived with an edit twice: {edits:?}"));
        }
        let is_of_a_client =
            self.promised.contains_key(uid) || self.offered.get(uid).is_some_and(|one| !one.is_child());
        if let Some(missing) = self.owed_edits.iter().find(|edit| is_of_a_client && !once.contains(edit.as_str())) {
            self.findings.push(format!("{uid} arrived without the edit {missing}"));
        }
        self.children.extend(message.header.all(CHILD).map(|field| field.value().trim().to_owned()));
    }

    fn compare(&mut self, uid: &str, body: &[u8]) {
        let Some(promise) = self.offered.get(uid) else { return };
        if body != promise.body {
            self.findings.push(format!("{uid} arrived with another body: {} octets", body.len()));
        }
    }

    fn read_notification(&mut self, message: &Message, body: &[u8]) {
        let Some(report) = Report::read(message, body) else { return };
        for (recipient, action) in report.recipients {
            let told = match action.as_str() {
                "failed" => {
                    self.counts.failures_told += 1;
                    &mut self.failed
                }
                "delayed" => {
                    self.counts.delays_told += 1;
                    &mut self.delayed
                }
                _ => continue,
            };
            let ids = told.entry((report.uid.clone(), recipient.clone())).or_default();
            ids.insert(of_notification(message));
            if ids.len() > 1 {
                let uid = &report.uid;
                self.findings.push(format!("{uid}: {recipient} was reported as {action} by {ids:?}"));
            }
        }
    }

    /// After the end: what was promised and not kept.
    pub(crate) fn close(&mut self) -> Option<String> {
        for (uid, promised) in &self.promised {
            if self.deleted.contains(uid) {
                continue;
            }
            let Some(promise) = self.offered.get(uid) else { continue };
            for (recipient, wants_failures) in promise.recipients.iter().filter(|(one, _)| promised.contains(one)) {
                let key = (uid.clone(), recipient.clone());
                let is_told = self.failed.contains_key(&key);
                let is_owed = !promise.is_null && *wants_failures;
                let others = self.expansions.get(&key);
                let by_others = others.is_some_and(|others| others.iter().all(|one| self.is_settled(uid, one)));
                if !by_others && !self.is_settled(uid, recipient) && is_owed {
                    self.findings.push(format!("{uid}: {recipient} has no copy and nobody knows"));
                }
                let is_confirmed = self.deliveries.get(&key).is_some_and(|delivery| delivery.is_confirmed);
                if is_confirmed && is_told {
                    self.findings.push(format!("{uid}: {recipient} has its copy and was reported as failed"));
                }
            }
        }
        for child in &self.children {
            let is_over = self.ended.contains(child) || self.deleted.contains(child);
            self.counts.children += u64::from(is_over);
            if !is_over {
                self.findings.push(format!("{child} was submitted with an edit that arrived, and never was"));
            }
        }
        self.finding()
    }

    // Whether a recipient has a copy, or somebody knows of it, or a sink wanted neither.
    fn is_settled(&self, uid: &str, recipient: &str) -> bool {
        let key = (uid.to_owned(), recipient.to_owned());
        // A notification that nobody took is the end of what a server can do (RFC 5321 §6.1).
        let is_dead = self
            .announced
            .get(&key)
            .is_some_and(|ids| ids.iter().any(|id| self.dead_notifications.contains(id) || self.deleted.contains(id)));
        let is_delivered = self.deliveries.get(&key).is_some_and(|delivery| delivery.count > 0);
        is_delivered || is_dead || self.failed.contains_key(&key) || self.excused.contains(&key)
    }

    /// What is wrong with what sinks keep, after the end.
    pub(crate) fn close_tables(&self, tables: &SinkTables) -> Option<String> {
        self.values.close(tables).or_else(|| values::close_timers(tables, &self.ended))
    }

    /// The first thing that is wrong.
    pub(crate) fn finding(&self) -> Option<String> {
        self.findings.first().cloned()
    }
}

/// What a notification says (RFC 3464).
struct Report {
    uid: Uid,
    recipients: Vec<(String, String)>,
}

impl Report {
    fn read(message: &Message, body: &[u8]) -> Option<Self> {
        let kind = message.header.first("Content-Type")?.value();
        if !kind.contains("report-type=delivery-status") {
            return None;
        }
        let body = String::from_utf8_lossy(body);
        let mut recipients: Vec<(String, String)> = Vec::new();
        let mut uid = None;
        for line in body.lines() {
            if let Some(address) = line.strip_prefix("Final-Recipient: rfc822; ") {
                recipients.push((address.to_owned(), String::new()));
            } else if let (Some(action), Some(last)) = (line.strip_prefix("Action: "), recipients.last_mut()) {
                action.clone_into(&mut last.1);
            } else if let Some(number) = line.strip_prefix("X-Uid: ") {
                uid.get_or_insert_with(|| number.trim().to_owned());
            }
        }
        Some(Self { uid: uid?, recipients })
    }
}
