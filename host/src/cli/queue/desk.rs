//! Where the queue is looked at: the server that runs, or the spool where none does.

use std::sync::Arc;

use anyhow::Context as _;
use basin_core::mail::MessageId;
use bytes::Bytes;
use tokio::runtime::Runtime;

use super::offline::Offline;
use crate::config::Config;
use crate::control::client::operator;
use crate::control::queue::act::{self, ActReport, ActRequest};
use crate::control::queue::ask::{self, Changes, ListRequest, Page, Summary, SummaryRequest};
use crate::control::queue::destinations::{self, HoldReport, HoldRequest};
use crate::control::queue::packet::{Imported, Packet};
use crate::control::queue::{self, Shown};
use crate::control::{Client, ClientError, QueueState as _};

/// Answers for a queue.
pub(super) enum Desk {
    Server(Client),
    Spool(Arc<Offline>, Runtime),
}

impl Desk {
    pub(super) fn find(config: Config) -> anyhow::Result<Self> {
        let client = Client::new(&config.spool);
        match client.ping() {
            Ok(()) => Ok(Self::Server(client)),
            Err(ClientError::NotRunning(_)) => {
                let offline = Offline::open(&config)?;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                Ok(Self::Spool(Arc::new(offline), runtime.context("cannot start the runtime")?))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn is_server(&self) -> bool {
        matches!(self, Self::Server(_))
    }

    pub(super) fn list(&self, request: &ListRequest) -> anyhow::Result<Page> {
        match self {
            Self::Server(client) => Ok(client.post("/v1/queue/list", request)?),
            Self::Spool(offline, _) => Ok(ask::list(offline.as_ref(), request)?),
        }
    }

    pub(super) fn summary(&self, request: &SummaryRequest) -> anyhow::Result<Summary> {
        match self {
            Self::Server(client) => Ok(client.post("/v1/queue/summary", request)?),
            Self::Spool(offline, _) => Ok(ask::summary(offline.as_ref(), request)?),
        }
    }

    pub(super) fn changes(&self, since: u64) -> anyhow::Result<Changes> {
        match self {
            Self::Server(client) => Ok(client.get(&format!("/v1/queue/changes/{since}"))?),
            Self::Spool(offline, _) => Ok(ask::changes(offline.as_ref(), since)),
        }
    }

    pub(super) fn act(&self, request: ActRequest) -> anyhow::Result<ActReport> {
        match self {
            Self::Server(client) => Ok(client.post("/v1/queue/act", &request)?),
            Self::Spool(offline, runtime) => Ok(runtime.block_on(act::act(offline.clone(), request, &operator()))?),
        }
    }

    pub(super) fn hold_destination(&self, request: &HoldRequest) -> anyhow::Result<HoldReport> {
        match self {
            Self::Server(client) => Ok(client.post("/v1/queue/hold-destination", request)?),
            Self::Spool(offline, _) => Ok(destinations::hold(offline.as_ref(), request, &operator())?),
        }
    }

    pub(super) fn message(&self, id: &str) -> anyhow::Result<Shown> {
        match self {
            Self::Server(client) => Ok(client.get(&format!("/v1/queue/{}", queue::parse_id(id)?))?),
            Self::Spool(offline, _) => Ok(queue::message(offline.as_ref(), id)?),
        }
    }

    pub(super) fn content(&self, id: &str) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Server(client) => {
                let url = format!("/v1/queue/{}/content", queue::parse_id(id)?);
                Ok(client.get_octets(&url)?.to_vec())
            }
            Self::Spool(offline, _) => {
                queue::read_by(&operator(), id);
                Ok(queue::content(offline.spool(), id)?)
            }
        }
    }

    pub(super) fn export(&self, id: &MessageId) -> anyhow::Result<(Packet, Bytes)> {
        match self {
            Self::Server(client) => Ok(Packet::split(&client.get_octets(&format!("/v1/queue/{id}/export"))?)?),
            Self::Spool(offline, _) => {
                queue::read_by(&operator(), id.as_str());
                let (packet, content) = Packet::export(offline.spool(), id.as_str())?;
                Ok((packet, content.into()))
            }
        }
    }

    /// Whether the message is new there.
    pub(super) fn import(&self, packet: Packet, content: Bytes) -> anyhow::Result<bool> {
        match self {
            Self::Server(client) => {
                let imported: Imported = client.post_octets("/v1/queue/import", packet.join(&content)?.into())?;
                Ok(imported.is_new)
            }
            Self::Spool(offline, runtime) => {
                let (message, state) = packet.import(&content)?;
                Ok(runtime.block_on(offline.import(message, state, &operator()))?)
            }
        }
    }
}
