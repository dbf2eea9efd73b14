//! What was acknowledged, against what arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use crate::letter::{FIELD, Letter, recognise};
use crate::maildir::{self, Maildir};
use crate::next_hop::Transaction;

/// One letter for one recipient.
pub type Due = (Letter, String);

/// A 250 and its times, as the client saw them.
#[derive(Debug, Clone, Copy)]
struct Answer {
    life: u32,
    /// Before the text went out.
    sent: Instant,
    /// After the answer came in.
    came: Instant,
}

/// Books of a run over several lives of the server. A life begins with a start and ends with a kill.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Letters that got their 250, and in which life.
    acknowledged: BTreeMap<Due, Answer>,
    /// Letters whose text went out without an answer coming back: they may arrive or not.
    unanswered: BTreeSet<Due>,
    /// In which lives copies arrived.
    arrived: BTreeMap<Due, Vec<u32>>,
    /// Copies of which the next hop did not say that it has them.
    unanswered_copies: BTreeMap<Due, usize>,
    /// Messages that are not what anybody sent.
    damaged: Vec<String>,
    seen: BTreeSet<PathBuf>,
}

/// What the books say at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Balance {
    /// Letters for a mailbox that got 250.
    pub acknowledged: usize,
    /// Those, and unanswered ones, that arrived.
    pub arrived: usize,
    /// Unanswered letters that arrived all the same.
    pub arrived_unanswered: usize,
    /// Second copies from a later life: the delivery overlapped a kill, so its mark was lost and it was done again.
    pub twice_over_a_kill: usize,
    /// Second copies after one of which the next hop did not say that it has it: the sender has to try again.
    pub twice_after_a_lost_reply: usize,
    /// Second copies from the same life: nothing excuses them.
    pub twice_in_one_life: Vec<String>,
    /// Acknowledged and not there.
    pub lost: Vec<String>,
    /// Torn, mixed or never sent.
    pub damaged: Vec<String>,
}

impl Balance {
    /// Whether each acknowledged letter arrived whole, and none twice without an excuse.
    pub fn is_good(&self) -> bool {
        self.lost.is_empty() && self.damaged.is_empty() && self.twice_in_one_life.is_empty()
    }
}

impl Ledger {
    /// Notes that the server said 250, just now, to a letter whose text went out at that time.
    pub fn acknowledge(&mut self, letter: &Letter, recipients: &[impl AsRef<str>], life: u32, sent: Instant) {
        let answer = Answer { life, sent, came: Instant::now() };
        for recipient in recipients {
            self.acknowledged.insert((letter.clone(), recipient.as_ref().to_owned()), answer);
        }
    }

    /// Takes back what was said while the power was being cut: between these times a real machine says nothing
    /// any more. The answer is how many letters were sent after the cut and got 250 all the same.
    ///
    /// The simulation needs it: an fdatasync that is under way while ext4 shuts down may find its transaction gone
    /// from the aborted journal and report success, and so would the server. What is sent later meets errors alone.
    pub fn cut(&mut self, begun: Instant, ended: Instant) -> usize {
        let is_over = |answer: &Answer| answer.came >= begun && answer.sent <= ended;
        let over: Vec<Due> =
            self.acknowledged.iter().filter(|(_, answer)| is_over(answer)).map(|(due, _)| due.clone()).collect();
        for due in over {
            self.acknowledged.remove(&due);
            self.unanswered.insert(due);
        }
        self.acknowledged.values().filter(|answer| answer.sent > ended).count()
    }

    /// Notes that a letter went out and no answer came.
    pub fn leave_open(&mut self, letter: &Letter, recipients: &[impl AsRef<str>]) {
        for recipient in recipients {
            self.unanswered.insert((letter.clone(), recipient.as_ref().to_owned()));
        }
    }

    /// Reads what has arrived since the last look; `added` are fields that sinks put into messages.
    ///
    /// A notification counts as the arrival of its letter at the recipient that it is about.
    pub fn look(&mut self, recipient: &str, maildir: &Maildir, life: u32, added: &[&str]) -> io::Result<()> {
        for path in maildir.names()? {
            if self.seen.contains(&path) {
                continue;
            }
            let mail = maildir::read(path.clone())?;
            if let Some(about) = notified(&mail.octets) {
                for (letter, recipient) in about {
                    self.arrived.entry((letter, recipient)).or_default().push(life);
                }
            } else {
                self.arrive(&mail.octets, recipient, life, added, &path.display().to_string());
            }
            self.seen.insert(path);
        }
        Ok(())
    }

    /// Takes down what came to a next hop since the last look.
    pub fn look_at_hop(&mut self, transactions: &[Transaction], life: u32, added: &[&str]) {
        for transaction in transactions.iter().filter(|transaction| transaction.is_taken) {
            for line in &transaction.recipients {
                let recipient = line.split(['<', '>']).nth(1).unwrap_or_default();
                let content = transaction.content();
                self.arrive(&content, recipient, life, added, line);
                if transaction.is_unanswered
                    && let Ok(letter) = recognise(&content, added)
                {
                    *self.unanswered_copies.entry((letter, recipient.to_owned())).or_default() += 1;
                }
            }
        }
    }

    fn arrive(&mut self, octets: &[u8], recipient: &str, life: u32, added: &[&str], place: &str) {
        match recognise(octets, added) {
            Ok(letter) => self.arrived.entry((letter, recipient.to_owned())).or_default().push(life),
            Err(why) => self.damaged.push(format!("{place}: {why}")),
        }
    }

    /// How many letters were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// Acknowledged letters that have not arrived yet.
    pub fn outstanding(&self) -> usize {
        self.missing().count()
    }

    /// The same, by name, with the life in which each was acknowledged.
    pub fn missing(&self) -> impl Iterator<Item = (&Due, u32)> {
        self.acknowledged
            .iter()
            .filter(|(due, _)| !self.arrived.contains_key(due))
            .map(|(due, answer)| (due, answer.life))
    }

    /// Adds everything up.
    pub fn balance(&self) -> Balance {
        let mut balance =
            Balance { acknowledged: self.acknowledged.len(), arrived: self.arrived.len(), ..Balance::default() };
        balance.damaged.clone_from(&self.damaged);
        for (due, life) in self.missing() {
            balance.lost.push(format!("{} for {}, acknowledged in life {life}", due.0.id(), due.1));
        }
        for (due, lives) in &self.arrived {
            let is_known = self.acknowledged.contains_key(due) || self.unanswered.contains(due);
            if !is_known {
                balance.damaged.push(format!("{} arrived at {} where nobody sent it", due.0.id(), due.1));
            }
            if !self.acknowledged.contains_key(due) {
                balance.arrived_unanswered += 1;
            }
            let distinct: BTreeSet<&u32> = lives.iter().collect();
            balance.twice_over_a_kill += distinct.len() - 1;
            let excess = lives.len() - distinct.len();
            let unanswered = self.unanswered_copies.get(due).copied().unwrap_or(0);
            balance.twice_after_a_lost_reply += excess.min(unanswered);
            if excess > unanswered {
                balance.twice_in_one_life.push(format!("{} at {} in lives {lives:?}", due.0.id(), due.1));
            }
        }
        balance
    }
}

/// The letter and the recipients that a notification says have failed (RFC 3464); `None` for any other mail.
fn notified(octets: &[u8]) -> Option<Vec<Due>> {
    let text = String::from_utf8_lossy(octets);
    if !text.contains("report-type=delivery-status") {
        return None;
    }
    let id = text.lines().find_map(|line| line.strip_prefix(FIELD)?.strip_prefix(": "))?;
    let letter = Letter::parse(id)?;
    let recipients = text.lines().filter_map(|line| line.strip_prefix("Final-Recipient: rfc822; "));
    Some(recipients.map(|recipient| (letter.clone(), recipient.trim().to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::Ledger;
    use crate::letter::Letter;
    use crate::maildir::Maildir;
    use std::fs;
    use std::time::Instant;

    #[test]
    fn what_was_said_during_a_cut_does_not_count_and_what_was_said_after_it_is_wrong() {
        let letter = |number| Letter { run: 1, author: 1, number, size: 100 };
        let mut ledger = Ledger::default();
        ledger.acknowledge(&letter(1), &["user"], 1, Instant::now());
        let sent_before = Instant::now();
        let begun = Instant::now();
        ledger.acknowledge(&letter(2), &["user"], 1, sent_before);
        let ended = Instant::now();
        ledger.acknowledge(&letter(3), &["user"], 1, sent_before);
        assert_eq!(ledger.cut(begun, ended), 0);
        assert_eq!(ledger.acknowledged(), 1);
        ledger.acknowledge(&letter(4), &["user"], 1, Instant::now());
        assert_eq!(ledger.cut(begun, ended), 1);
    }

    #[test]
    fn a_loss_a_copy_and_a_torn_message_are_told_apart() {
        let folder = tempfile::tempdir().expect("temporary folder");
        fs::create_dir(folder.path().join("new")).expect("new");
        let maildir = Maildir::at(folder.path());
        let letter = |number| Letter { run: 1, author: 1, number, size: 100 };
        let put = |name: &str, text: &[u8]| fs::write(folder.path().join("new").join(name), text).expect("write");
        let mut ledger = Ledger::default();
        for number in 1..=3 {
            ledger.acknowledge(&letter(number), &["user"], 1, Instant::now());
        }
        put("a", &letter(1).text());
        ledger.look("user", &maildir, 1, &[]).expect("look");
        put("b", &letter(1).text());
        put("c", &letter(2).text());
        let torn = letter(3).text();
        put("d", torn.get(..torn.len() / 2).expect("half"));
        put("e", &letter(9).text());
        ledger.look("user", &maildir, 2, &[]).expect("look");
        let balance = ledger.balance();
        assert_eq!(balance.twice_over_a_kill, 1);
        assert_eq!(balance.lost.len(), 1, "{balance:?}");
        assert_eq!(balance.damaged.len(), 2, "{balance:?}");
        assert!(balance.twice_in_one_life.is_empty());
        put("f", &letter(2).text());
        ledger.look("user", &maildir, 2, &[]).expect("look");
        assert_eq!(ledger.balance().twice_in_one_life.len(), 1);
    }
}
