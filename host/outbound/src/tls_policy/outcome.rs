//! What TLS came to on a connection, as the reports of RFC 8460 tell it.

use core::net::IpAddr;
use std::io;

use basin_core::reply::Reply;

use super::{TlsPlan, TlsPolicies};
use crate::tls_report::{Failure, Kind};

/// What TLS came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is there; with what is wrong with the certificate, where the plan needs nothing of it.
    Secured(Option<rustls::Error>),
    /// The handshake failed.
    Failed(io::Error),
    /// The server does not offer it.
    NotOffered,
}

impl TlsPolicies {
    /// Keeps what TLS came to on a connection made by that plan, from the address `source`.
    pub(crate) fn note_outcome(&self, plan: &TlsPlan, source: Option<IpAddr>, outcome: &Outcome) {
        let result = match outcome {
            // A domain that has no policy wants nothing of its certificates.
            Outcome::Secured(Some(flaw)) if plan.policy.is_policy() => {
                Err(Failure::of_tls(flaw, plan.policy.is_dane()))
            }
            Outcome::Secured(_) => Ok(()),
            Outcome::Failed(error) => Err(Failure::of_handshake(error, plan.policy.is_dane())),
            Outcome::NotOffered => Err(Failure::new(Kind::StarttlsNotSupported, "the answer to EHLO has no STARTTLS")),
        };
        self.note(plan, source, result);
    }
}

impl TlsPlan {
    /// What the sender is told of a connection that came to that, where the plan needs more.
    pub(crate) fn explain(&self, outcome: &Outcome) -> Option<Reply> {
        match outcome {
            Outcome::Failed(error) if self.needs_tls() => Some(self.failed(error)),
            Outcome::NotOffered if self.needs_tls() => Some(self.not_offered()),
            Outcome::Secured(_) | Outcome::Failed(_) | Outcome::NotOffered => None,
        }
    }
}
