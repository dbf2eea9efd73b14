//! Visits to real sockets on the loopback interface: servers that behave, and servers that do not.

mod asking;
mod certs;
mod content;
mod dane;
mod exchangers;
mod feed;
mod hostile;
mod peer;
mod routes;
mod tls;
mod words;
