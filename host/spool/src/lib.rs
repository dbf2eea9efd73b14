//! Basin's durable message storage: an append-only log of segments with group commit.
//!
//! [`Spool::commit`] queues a message; one writer thread takes all that has queued up, writes it with one
//! system call, syncs once, and hands each caller its [`Receipt`]. How the files look is written down in
//! `docs/spool-format.md`, why they look so in `docs/decisions/0002-spool-is-a-segment-log.md`.
//!
//! Every file operation goes through [`Storage`], so that tests can make each one fail and cut the power at
//! any moment ([`fault::FaultyStorage`]).

mod backup;
mod body;
mod check;
mod damage;
mod draft;
mod error;
pub mod fault;
mod group;
mod index;
mod layout;
mod log;
mod messages;
mod pin;
mod prepare;
mod queue;
mod read;
mod receipt;
mod reclaim;
mod record;
mod recover;
mod repair;
mod scan;
mod sectors;
mod segment;
mod shared;
mod spool;
mod statistics;
pub mod storage;
mod summary;
mod writer;

pub use backup::{Backup, BackupError, back_up, restore};
pub use check::{Checked, check};
pub use damage::{Damage, DamageKind};
pub use draft::Draft;
pub use error::{OpenError, SpoolFault};
pub use pin::{AtRest, Pin, SpoolFile};
pub use receipt::Receipt;
pub use recover::Recovery;
pub use repair::{Repaired, repair, upgrade};
pub use scan::{Scanned, Unreadable};
pub use shared::Options;
pub use spool::Spool;
pub use statistics::Statistics;
pub use storage::{RealStorage, Storage};
pub use summary::Summary;
