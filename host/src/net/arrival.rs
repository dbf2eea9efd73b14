//! A connection before its session: whose it is, whether it waits for the greeting, whether it is encrypted at once.

use core::future::Future;
use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

use basin_core::proxy::NoHeader;
use basin_core::reply::Reply;
use basin_core::smtp::Connection;

use crate::clock::now;
use crate::net::crowd::Place;
use crate::net::door::{Door, HANDSHAKE_PATIENCE};
use crate::net::inbound::Inbound;
use crate::net::wire::{NoTls, Wire};
use crate::services::Services;
use crate::telemetry::clients::HandshakeFailed;
use crate::telemetry::records::ConnectionRefused;

/// How long the greeting waits for the name of the client. Name servers that answer do so within one; those of a client
/// that never do must not keep it, or the places that it takes here.
const CLIENT_NAME_PATIENCE: Duration = Duration::from_secs(2);

/// A connection that was accepted.
pub(crate) struct Arrival {
    pub(crate) services: Arc<Services>,
    pub(crate) door: Arc<Door>,
    pub(crate) wire: Wire,
    pub(crate) connection: Connection,
    pub(crate) place: Place,
    /// Whether a header has to say first whose connection it is.
    pub(crate) is_proxied: bool,
}

impl Arrival {
    /// Serves the connection to its end.
    pub(crate) async fn serve(mut self) {
        if self.is_proxied {
            match self.read_header().await {
                Ok(()) => {}
                Err(Some(limit)) => return self.refuse(limit).await,
                Err(None) => return,
            }
        }
        // Both at once: whoever waits for the greeting anyway does not wait for the name as well.
        let name = self.name_of_client();
        let (is_patient, name) = tokio::join!(self.waits_for_greeting(), name);
        self.connection.client_name = name;
        if !is_patient {
            return self.refuse("early").await;
        }
        if self.door.policy.is_implicit_tls {
            match self.shake().await {
                Ok(()) => {}
                Err(error) => return self.handshake_failed(&error),
            }
        }
        let Self { services, door, wire, connection, place, .. } = self;
        Inbound::serve(services, door, wire, connection, place).await;
    }

    // Has a proxy say whose connection it is. The error is the limit of that client that is reached; `None` is no header.
    async fn read_header(&mut self) -> Result<(), Option<&'static str>> {
        let proxy = self.connection.client;
        match self.wire.proxy_header().await {
            Ok(header) => {
                (self.connection.client, self.connection.server) = header.ends(proxy, self.connection.server);
            }
            Err(fault) => {
                self.count(proxy, "proxy");
                let fault = match fault {
                    NoHeader::Incomplete(_) => "it did not come in time".to_owned(),
                    NoHeader::Missing | NoHeader::TooLong | NoHeader::Malformed => fault.to_string(),
                };
                tracing::warn!(%proxy, fault, "no PROXY header from an address that `proxy-protocol` names");
                return Err(None);
            }
        }
        self.place.belongs_to(self.connection.client.ip(), now()).map_err(Some)
    }

    // The name of the client, where it is wanted and there in time. What it does not hold is borrowed of the connection.
    fn name_of_client(&self) -> impl Future<Output = Option<String>> + Send + use<> {
        let client = self.connection.client.ip();
        let resolver = self.door.has_client_names.then(|| self.services.outbound.load().resolver().clone());
        async move {
            // The future is large, and most listeners ask for no names.
            let looking = Box::pin(async move { resolver?.confirmed_name_of(client).await });
            tokio::time::timeout(CLIENT_NAME_PATIENCE, looking).await.ok().flatten()
        }
    }

    // RFC 5321 §3.1: the client waits for the greeting. Under implicit TLS the client speaks first.
    async fn waits_for_greeting(&mut self) -> bool {
        let delay = self.door.greet_delay;
        if delay.is_zero() || self.door.policy.is_implicit_tls {
            return true;
        }
        self.wire.pause(delay).await;
        !self.wire.has_input()
    }

    async fn shake(&mut self) -> Result<(), NoTls> {
        let Some(tls) = &self.door.tls else { return Err(NoTls::unavailable()) };
        let Ok(_permit) = self.services.guard.handshakes.try_acquire() else { return Err(NoTls::unavailable()) };
        self.connection.tls = Some(self.wire.secure(tls, HANDSHAKE_PATIENCE).await?);
        Ok(())
    }

    async fn refuse(self, limit: &'static str) {
        self.count(self.connection.client, limit);
        // Under implicit TLS nobody could read a reply.
        if self.door.policy.is_implicit_tls {
            return;
        }
        match self.wire.turn_away(&refusal(&self.door, limit)) {
            // What the client sent already would have the kernel reset the connection under the reply.
            Ok(()) => self.wire.close(true).await,
            Err(error) => tracing::debug!(%error, "a connection was closed without a word"),
        }
    }

    fn count(&self, client: SocketAddr, limit: &'static str) {
        let refused = ConnectionRefused { listener: &self.door.policy.name, client, limit };
        refused.record(&self.services.metrics);
    }

    fn handshake_failed(&self, error: &NoTls) {
        let (session, listener) = (self.connection.id.as_str(), self.door.policy.name.as_str());
        let cause = error.to_string();
        HandshakeFailed { session, listener, client: self.connection.client, cause: &cause }
            .record(&self.services.metrics);
    }
}

/// What is said in place of the greeting. There is no enhanced code there (RFC 2034 §4).
pub(crate) fn refusal(door: &Door, limit: &str) -> Vec<u8> {
    let (code, text) = match limit {
        "early" => (554, "you spoke before you were greeted"),
        "client" => (421, "too many connections from your address, try again later"),
        "rate" => (421, "too many connections from your address in a minute, try again later"),
        _ => (421, "too many connections, try again later"),
    };
    let mut octets = Vec::new();
    Reply::new(code, None, format!("{} {text}", door.policy.host_name)).encode(&mut octets);
    octets
}
