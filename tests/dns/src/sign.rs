//! Signatures, made anew for every answer: the zones of tests are small.

use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use hickory_server::proto::dnssec::crypto::Ed25519SigningKey;
use hickory_server::proto::dnssec::rdata::sig::SigInput;
use hickory_server::proto::dnssec::rdata::{DNSKEY, DNSSECRData, RRSIG};
use hickory_server::proto::dnssec::{DnssecSigner, SigningKey, TBS};
use hickory_server::proto::rr::{DNSClass, Name, RData, Record, SerialNumber};

/// How far the clocks of server and client may be apart, and how long signatures hold.
const VALIDITY: Duration = Duration::from_hours(1);

/// The one key of a signed tree of names: it signs the root, and with it everything.
pub(crate) struct Key {
    signer: DnssecSigner,
    dnskey: DNSKEY,
}

impl Key {
    pub(crate) fn generate() -> Option<Self> {
        let key = Ed25519SigningKey::from_pkcs8(&Ed25519SigningKey::generate_pkcs8().ok()?).ok()?;
        let dnskey = DNSKEY::from_key(&key.to_public_key().ok()?);
        let signer = DnssecSigner::new(dnskey.clone(), Box::new(key), Name::root(), VALIDITY);
        Some(Self { signer, dnskey })
    }

    pub(crate) fn trust_anchor(&self) -> String {
        format!(". 3600 IN DNSKEY {}\n", self.dnskey)
    }

    pub(crate) fn dnskey(&self, ttl: u32) -> Record {
        Record::from_rdata(Name::root(), ttl, RData::DNSSEC(DNSSECRData::DNSKEY(self.dnskey.clone())))
    }

    /// The signature of records of one name and kind; a wrong one where that is wanted.
    pub(crate) fn sign(&self, records: &[Record], is_wrong: bool) -> Option<Record> {
        let first = records.first()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        // Serial numbers of 32 bits that wrap are how DNSSEC writes times (RFC 4034 §3.1.5).
        let serial = |time: Duration| SerialNumber::new(u32::try_from(time.as_secs() & 0xffff_ffff).unwrap_or(0));
        let input = SigInput {
            type_covered: first.record_type(),
            algorithm: self.signer.key().algorithm(),
            num_labels: first.name.num_labels(),
            original_ttl: first.ttl,
            sig_expiration: serial(now + VALIDITY),
            sig_inception: serial(now.saturating_sub(VALIDITY)),
            key_tag: self.dnskey.calculate_key_tag().ok()?,
            signer_name: Name::root(),
        };
        let text = TBS::from_input(&first.name, DNSClass::IN, &input, records.iter()).ok()?;
        let mut signature = self.signer.sign(&text).ok()?;
        if is_wrong && let Some(octet) = signature.first_mut() {
            *octet ^= 1;
        }
        let rrsig = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, signature)));
        Some(Record::from_rdata(first.name.clone(), first.ttl, rrsig))
    }
}
