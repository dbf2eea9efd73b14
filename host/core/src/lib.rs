//! Basin's pure machines.
//!
//! A machine takes a value, returns a value and says what it wants next; the shell does the I/O. Nothing in
//! this crate touches a file, a socket, a clock, an environment variable, a thread or a random source: time
//! and randomness are arguments, so every run is reproducible.
//!
//! Rooms: [`smtp`] speaks the protocol, [`mail`] knows messages, [`event`] decides which sinks run and what
//! their answers mean, [`transport`] decides what happens to a stored message, [`queue`] when to try again.

pub mod addr;
pub mod base64;
pub mod event;
pub mod limits;
pub mod mail;
pub mod network;
pub mod proxy;
pub mod queue;
pub mod rate;
pub mod reply;
pub mod secret;
pub mod smtp;
pub mod time;
pub mod transport;
