//! The targets: each takes any octets and fails where a property does not hold.

mod address;
mod auth;
mod bdat;
mod command;
mod data;
mod header;
mod mime;
mod proxy;
mod replies;
mod session;

/// A target and its name, which is also that of its folder of seeds and of its program in `fuzz/`.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// What it does with octets.
    pub run: fn(&[u8]),
}

/// All targets.
pub const ALL: &[Target] = &[
    Target { name: "address", run: address::run },
    Target { name: "auth", run: auth::run },
    Target { name: "bdat", run: bdat::run },
    Target { name: "command", run: command::run },
    Target { name: "data", run: data::run },
    Target { name: "header", run: header::run },
    Target { name: "mime", run: mime::run },
    Target { name: "proxy", run: proxy::run },
    Target { name: "replies", run: replies::run },
    Target { name: "session", run: session::run },
];

/// Runs the target of that name.
///
/// # Panics
/// Where there is no such target, or its property does not hold.
pub fn run(name: &str, octets: &[u8]) {
    let target = ALL.iter().find(|target| target.name == name).expect("a target of that name");
    (target.run)(octets);
}
