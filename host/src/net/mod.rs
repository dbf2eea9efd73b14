//! SMTP on sockets: who is let in ([`listen`]), what comes before a session ([`arrival`]), what a session does
//! ([`inbound`]), octets ([`wire`]).

pub(crate) mod arrival;
pub(crate) mod crowd;
pub(crate) mod door;
pub(crate) mod inbound;
pub mod listen;
pub(crate) mod wire;

pub use door::Guard;
