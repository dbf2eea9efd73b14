//! From a question to the octets of its answer.

use std::collections::BTreeSet;

use hickory_server::proto::dnssec::rdata::{DNSSECRData, NSEC};
use hickory_server::proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_server::proto::rr::rdata::{NS, SOA, TXT};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};

use crate::zone::{Fault, Zone};

/// Seconds that the records of the zone's own making may be kept.
const TTL: u32 = 300;

/// Octets of an answer over UDP to a question without EDNS (RFC 1035 §4.2.1).
const PLAIN_UDP_BYTES: u16 = 512;

/// Answers a question; `None` is silence.
pub(crate) fn answer(zone: &Zone, question: &Message, is_tcp: bool) -> Option<Vec<u8>> {
    let query = question.queries.first()?;
    let mut reply = Message::response(question.metadata.id, OpCode::Query);
    reply.metadata.recursion_desired = question.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_query(query.clone());
    let wants_signatures = question.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
    if let Some(edns) = &question.edns {
        let mut own = Edns::new();
        own.set_max_payload(edns.max_payload());
        own.set_dnssec_ok(wants_signatures);
        reply.set_edns(own);
    }
    match zone.fault(query.name(), query.query_type()) {
        None => Answer { zone, reply: &mut reply, wants_signatures }.fill(query),
        Some(Fault::ServFail) => reply.metadata.response_code = ResponseCode::ServFail,
        Some(Fault::Refused) => reply.metadata.response_code = ResponseCode::Refused,
        Some(Fault::Truncated) => reply.metadata.truncation = true,
        Some(Fault::Silence) => return None,
        Some(Fault::Garbage) => return Some(vec![0xff; 37]),
        Some(Fault::WrongId) => reply.metadata.id = reply.metadata.id.wrapping_add(1),
        Some(Fault::WrongName) => {
            reply.queries.clear();
            reply.add_query(Query::query(Name::from_ascii("elsewhere.example.").ok()?, query.query_type()));
        }
        Some(Fault::Lame) => {}
        Some(Fault::Unrelated) => reply.authorities.push(soa(zone.unsigned.first()?.clone())),
        Some(Fault::Evasive) => {
            let apex = zone.unsigned.first()?;
            let text = RData::TXT(TXT::new(vec!["nothing to see".to_owned()]));
            reply.answers.push(Record::from_rdata(apex.clone(), TTL, text));
            reply.authorities.push(ns(apex.clone()));
        }
    }
    let octets = reply.to_vec().ok()?;
    let room = question.edns.as_ref().map_or(PLAIN_UDP_BYTES, Edns::max_payload);
    if is_tcp || octets.len() <= usize::from(room) { Some(octets) } else { reply.truncate().to_vec().ok() }
}

struct Answer<'a> {
    zone: &'a Zone,
    reply: &'a mut Message,
    wants_signatures: bool,
}

impl Answer<'_> {
    fn fill(&mut self, query: &Query) {
        let kind = query.query_type();
        let mut name = query.name().to_lowercase();
        let mut seen = BTreeSet::new();
        // An alias that leads back ends the chain: what is there so far is the answer, as resolvers do it.
        while seen.insert(name.clone()) {
            if let Some(records) = self.records(&name, kind) {
                return self.put(records, false);
            }
            let Some(alias) = self.records(&name, RecordType::CNAME).filter(|_| kind != RecordType::DS) else {
                return self.deny(&name, kind);
            };
            let target = alias.first().and_then(|record| {
                if let RData::CNAME(target) = &record.data { Some(target.0.to_lowercase()) } else { None }
            });
            self.put(alias, false);
            name = target.unwrap_or_default();
        }
    }

    fn records(&self, name: &Name, kind: RecordType) -> Option<Vec<Record>> {
        match (&self.zone.key, kind) {
            (Some(key), RecordType::DNSKEY) if name.is_root() => Some(vec![key.dnskey(TTL)]),
            (Some(_), RecordType::NS) if name.is_root() || self.zone.unsigned.contains(name) => {
                Some(vec![ns(name.clone())])
            }
            _ => self.zone.find(name, kind).cloned(),
        }
    }

    /// Adds records of one name and kind with their signature.
    fn put(&mut self, records: Vec<Record>, is_authority: bool) {
        let Some(name) = records.first().map(|record| record.name.clone()) else { return };
        // The one record at an insecure delegation that its parent signs is the proof that there is no DS.
        let is_proof = records.iter().all(|record| record.record_type() == RecordType::NSEC);
        let is_signed = is_proof || self.zone.unsigned_apex(&name).is_none();
        let key = self.zone.key.as_ref().filter(|_| self.wants_signatures && is_signed);
        let signature = key.and_then(|key| key.sign(&records, self.zone.bogus.contains(&name)));
        let section = if is_authority { &mut self.reply.authorities } else { &mut self.reply.answers };
        section.extend(records);
        section.extend(signature);
    }

    /// Says that there is no such record, or no such name, and proves it.
    fn deny(&mut self, name: &Name, kind: RecordType) {
        if !self.zone.has_name(name) {
            self.reply.metadata.response_code = ResponseCode::NXDomain;
        }
        // The parent answers for the delegation itself (RFC 4035 §3.1.4.1).
        let is_parents = kind == RecordType::DS && self.zone.unsigned.contains(name);
        let apex = self.zone.unsigned_apex(name).filter(|_| !is_parents).cloned();
        self.put(vec![soa(apex.clone().unwrap_or_default())], true);
        if self.zone.key.is_none() || !self.wants_signatures || apex.is_some() {
            return;
        }
        if self.zone.has_name(name) {
            let mut kinds: Vec<_> = self.zone.records.get(name).into_iter().flatten().map(|it| *it.0).collect();
            kinds.extend(is_parents.then_some(RecordType::NS));
            return self.put(vec![nsec(name.clone(), after(name), kinds)], true);
        }
        // No such name, and no wildcard that could have made one (RFC 4035 §3.1.3.2).
        let mut encloser = name.base_name();
        while !self.zone.has_name(&encloser) {
            encloser = encloser.base_name();
        }
        let wildcard = encloser.prepend_label("*").unwrap_or_default();
        let (first, second) = (self.gap(name), self.gap(&wildcard));
        let is_one = first.name == second.name;
        self.put(vec![first], true);
        if !is_one {
            self.put(vec![second], true);
        }
    }

    /// The record that says that nothing is around a name that does not exist.
    fn gap(&self, name: &Name) -> Record {
        let names: BTreeSet<_> = self.zone.records.keys().chain(&self.zone.unsigned).collect();
        let before = names.range::<Name, _>(..name).next_back().map_or_else(Name::root, |name| (*name).clone());
        let next = names.range::<Name, _>(name..).next().map_or_else(Name::root, |name| (*name).clone());
        let kinds = self.zone.records.get(&before).into_iter().flatten().map(|it| *it.0).collect();
        nsec(before, next, kinds)
    }
}

fn ns(apex: Name) -> Record {
    Record::from_rdata(apex, TTL, RData::NS(NS(Name::from_ascii("ns.").unwrap_or_default())))
}

fn soa(apex: Name) -> Record {
    let name = |text: &str| Name::from_ascii(text).unwrap_or_default();
    let soa = SOA::new(name("ns."), name("hostmaster."), 1, 3_600, 600, 86_400, TTL);
    Record::from_rdata(apex, TTL, RData::SOA(soa))
}

fn nsec(name: Name, next: Name, mut kinds: Vec<RecordType>) -> Record {
    if name.is_root() {
        kinds.extend([RecordType::SOA, RecordType::NS, RecordType::DNSKEY]);
    }
    kinds.extend([RecordType::NSEC, RecordType::RRSIG]);
    Record::from_rdata(name, TTL, RData::DNSSEC(DNSSECRData::NSEC(NSEC::new(next, kinds))))
}

/// The first name that can stand behind another (RFC 4470 §3).
fn after(name: &Name) -> Name {
    name.prepend_label([0_u8].as_slice()).unwrap_or_default()
}
