//! What the server knows, and how it is to misbehave.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use hickory_server::proto::rr::rdata::tlsa::TLSA;
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, MX, NS, PTR, TXT};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};

use crate::sign::Key;

/// Seconds that every answer may be kept.
const TTL: u32 = 300;

/// How an answer is spoiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SERVFAIL.
    ServFail,
    /// REFUSED.
    Refused,
    /// No answer at all.
    Silence,
    /// An answer that says it is cut off, over TCP too.
    Truncated,
    /// Octets that are no DNS message.
    Garbage,
    /// The answer to a question with another number.
    WrongId,
    /// The answer to a question for another name.
    WrongName,
    /// NOERROR with nothing in it: what a lame server says.
    Lame,
    /// NOERROR with nothing but the SOA record of the first zone without signatures, whoever was asked for.
    Unrelated,
    /// The same with an NS record there, and a text of that zone in place of the answer.
    Evasive,
}

/// Names, their records and their faults.
///
/// In text, one line is a record, `NAME KIND DATA...` with names that need no dot at their end, or a
/// directive; `#` begins a comment:
///
/// ```text
/// example.org MX 10 mx.example.org
/// mx.example.org A 127.0.0.1
/// _25._tcp.mx.example.org TLSA 3 1 1 0123...ef
/// example.net MX 0 .                      # a null MX
/// _mta-sts.example.org TXT v=STSv1; id=1  # to the end of the line
/// !servfail broken.example MX             # also refused, silence, truncated, garbage, wrong-id,
/// !silence slow.example                   # wrong-name, lame, unrelated, evasive; without a kind, for all
/// !signed                                 # everything has signatures, up to the root...
/// !unsigned example.net                   # ...but not here and below: an insecure delegation
/// !bogus mx.example.org                   # ...and here they are wrong
/// ```
#[derive(Default)]
pub struct Zone {
    pub(crate) records: BTreeMap<Name, BTreeMap<RecordType, Vec<Record>>>,
    pub(crate) faults: HashMap<(Name, Option<RecordType>), Fault>,
    pub(crate) key: Option<Key>,
    pub(crate) unsigned: BTreeSet<Name>,
    pub(crate) bogus: BTreeSet<Name>,
}

/// A line that is no record and no directive.
#[derive(Debug)]
pub struct ZoneError {
    line: String,
}

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot understand the line {:?}", self.line)
    }
}

impl std::error::Error for ZoneError {}

impl Zone {
    /// Reads a zone from its text.
    pub fn parse(text: &str) -> Result<Self, ZoneError> {
        let mut zone = Self::default();
        for line in text.lines() {
            let line = line.split(" #").next().unwrap_or(line).trim();
            if !line.is_empty() && !line.starts_with('#') {
                zone.line(line).ok_or_else(|| ZoneError { line: line.to_owned() })?;
            }
        }
        Ok(zone)
    }

    /// The same with more lines.
    pub fn with(mut self, text: &str) -> Result<Self, ZoneError> {
        let more = Self::parse(text)?;
        for (name, kinds) in more.records {
            for (kind, records) in kinds {
                self.records.entry(name.clone()).or_default().entry(kind).or_default().extend(records);
            }
        }
        self.faults.extend(more.faults);
        self.unsigned.extend(more.unsigned);
        self.bogus.extend(more.bogus);
        self.key = self.key.or(more.key);
        Ok(self)
    }

    /// The key of a signed zone as a trust anchor file has it.
    pub fn trust_anchor(&self) -> Option<String> {
        self.key.as_ref().map(Key::trust_anchor)
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if let Some(directive) = first.strip_prefix('!') {
            return self.directive(directive, rest.trim());
        }
        let (kind, data) = rest.trim().split_once(char::is_whitespace)?;
        let name = name(first)?;
        let record = Record::from_rdata(name.clone(), TTL, rdata(kind, data.trim())?);
        self.records.entry(name).or_default().entry(record.record_type()).or_default().push(record);
        Some(())
    }

    fn directive(&mut self, directive: &str, rest: &str) -> Option<()> {
        match directive {
            "signed" => self.key = Some(Key::generate()?),
            "unsigned" => _ = self.unsigned.insert(name(rest)?),
            "bogus" => _ = self.bogus.insert(name(rest)?),
            fault => {
                let fault = fault_named(fault)?;
                let (whose, kind) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                let kind = if kind.is_empty() { None } else { Some(kind.trim().parse().ok()?) };
                self.faults.insert((name(whose)?, kind), fault);
            }
        }
        Some(())
    }

    pub(crate) fn fault(&self, name: &Name, kind: RecordType) -> Option<Fault> {
        let name = name.to_lowercase();
        self.faults.get(&(name.clone(), Some(kind))).or_else(|| self.faults.get(&(name, None))).copied()
    }

    pub(crate) fn find(&self, name: &Name, kind: RecordType) -> Option<&Vec<Record>> {
        self.records.get(&name.to_lowercase())?.get(&kind)
    }

    /// Whether the name is there, be it only because a name below it is.
    pub(crate) fn has_name(&self, name: &Name) -> bool {
        name.is_root()
            || self.unsigned.contains(&name.to_lowercase())
            || self.records.keys().any(|known| name.zone_of(known))
    }

    /// The insecure delegation that a name lies in.
    pub(crate) fn unsigned_apex(&self, name: &Name) -> Option<&Name> {
        self.unsigned.iter().find(|apex| apex.zone_of(name))
    }
}

fn fault_named(text: &str) -> Option<Fault> {
    Some(match text {
        "servfail" => Fault::ServFail,
        "refused" => Fault::Refused,
        "silence" => Fault::Silence,
        "truncated" => Fault::Truncated,
        "garbage" => Fault::Garbage,
        "wrong-id" => Fault::WrongId,
        "wrong-name" => Fault::WrongName,
        "lame" => Fault::Lame,
        "unrelated" => Fault::Unrelated,
        "evasive" => Fault::Evasive,
        _ => return None,
    })
}

/// Any octets are a label: what no host can be called, a zone can still say.
fn name(text: &str) -> Option<Name> {
    let labels = text.trim().split('.').filter(|label| !label.is_empty());
    let mut name = Name::from_labels(labels.map(str::as_bytes)).ok()?.to_lowercase();
    name.set_fqdn(true);
    Some(name)
}

fn rdata(kind: &str, data: &str) -> Option<RData> {
    Some(match kind {
        "A" => RData::A(A(data.parse().ok()?)),
        "AAAA" => RData::AAAA(AAAA(data.parse().ok()?)),
        "CNAME" => RData::CNAME(CNAME(name(data)?)),
        "NS" => RData::NS(NS(name(data)?)),
        "PTR" => RData::PTR(PTR(name(data)?)),
        // One string of a TXT record holds 255 octets; readers put them together again.
        "TXT" => RData::TXT(TXT::from_bytes(data.as_bytes().chunks(255).collect())),
        "MX" => {
            let (preference, exchange) = data.split_once(char::is_whitespace)?;
            RData::MX(MX::new(preference.parse().ok()?, name(exchange)?))
        }
        "TLSA" => {
            let mut parts = data.split_whitespace();
            let mut number = || parts.next()?.parse::<u8>().ok();
            let (usage, selector, matching) = (number()?, number()?, number()?);
            let hex: String = parts.collect();
            let octets = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok());
            let data: Option<Vec<u8>> = octets.collect();
            RData::TLSA(TLSA::new(usage.into(), selector.into(), matching.into(), data?))
        }
        _ => return None,
    })
}
