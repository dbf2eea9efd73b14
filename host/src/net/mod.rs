//! SMTP on sockets: who is let in ([`listen`]), what a session does ([`inbound`]), octets ([`wire`]).

pub(crate) mod inbound;
pub mod listen;
pub(crate) mod wire;
