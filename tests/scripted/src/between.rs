//! Events between two sessions.
//!
//! | step | what it does |
//! |---|---|
//! | `fork ADDRESS` | moves that recipient to a message of its own; `fork each` leaves the first and moves every other |
//! | `submit FROM TO TEXT` | puts a message into the queue; `<>` is the null path, TEXT its subject and body |
//! | `copy FROM TO` | puts a copy of the message into the queue |
//! | `expiry DELAY GIVE-UP` | tells the sender of a delay and gives up after so many seconds |
//! | `deliver-after SECONDS` | keeps the message back |
//! | `supersede KEY` | takes the place of a queued message with that key |
//! | `priority N` | sets the priority |
//! | `route-domain ADDRESS=DOMAIN` | routes that recipient as if it were there |
//! | `remove ADDRESS` | takes that recipient off |
//! | `told` | logs what the event tells of recipient and destination |
//!
//! | verdict | at |
//! |---|---|
//! | `resolved`, `expand A,B`, `unknown CODE TEXT` | `on-categorize` |
//! | `use-hops HOP,HOP` with `mx:DOMAIN`, `host:NAME:PORT`, `lmtp:NAME`, `local`, and `+tls=LEVEL`, `+credentials=NAME`, `+source=NAME` | `on-route` |
//! | `use-hosts NAME=ADDRESS/ADDRESS,NAME=ADDRESS` | `on-dns-resolve` |
//! | `delivered` | `on-local-delivery` |
//! | `suppress` | `on-notification` |
//! | `defer CODE TEXT`, `fail CODE TEXT` | where the contract has them; `defer` is for a second |

use std::time::Duration;

use basin_sink::prelude::*;

use crate::{Scripted, Stage, number, reply, unknown};

impl Stage<'_> {
    /// Plays a step of these events; false where it is none.
    pub(crate) fn between(&mut self, word: &str, rest: &str) -> Result<bool> {
        let now = self.call.now();
        let after = |text: &str| Ok::<_, Failure>(now.plus(Duration::from_secs(number(text)?)));
        let words: Vec<&str> = rest.splitn(3, ' ').collect();
        let Some(message) = &mut self.message else {
            return match (word, words.as_slice()) {
                ("submit", [from, to, text]) => submit(from, to, text).map(|()| true),
                ("told", _) => told(self.destination, None).map(|()| true),
                _ => Ok(false),
            };
        };
        match (word, words.as_slice()) {
            ("fork", ["each"]) => {
                let others: Vec<u32> = message.recipients().skip(1).map(|one| one.id()).collect();
                for id in others {
                    message.fork(&[id])?;
                }
            }
            ("fork", [address]) => {
                message.fork(&ids(message, address))?;
            }
            ("submit", [from, to, text]) => submit(from, to, text)?,
            ("copy", [from, to]) => {
                NewMessage::copy_of(message, path(from), &[to])?.submit()?;
            }
            ("expiry", [delay, give_up]) => message.set_expiry(after(delay)?, after(give_up)?)?,
            ("deliver-after", [seconds]) => message.set_deliver_after(after(seconds)?)?,
            ("supersede", _) => message.set_supersede_key(rest)?,
            ("priority", _) => message.set_priority(rest.parse().map_err(|_| unknown(word))?)?,
            ("route-domain", _) => {
                let (address, domain) = rest.split_once('=').ok_or_else(|| unknown(word))?;
                for mut one in message.recipients().filter(|one| one.address() == address) {
                    one.set_route_domain(domain)?;
                }
            }
            ("remove", _) => {
                for one in message.recipients().filter(|one| one.address() == rest) {
                    one.remove()?;
                }
            }
            ("told", _) => told(self.destination, self.recipient.as_deref())?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn ids(message: &Message, address: &str) -> Vec<u32> {
    message.recipients().filter(|one| one.address() == address).map(|one| one.id()).collect()
}

fn path(text: &str) -> &str {
    if text == "<>" { "" } else { text }
}

fn submit(from: &str, to: &str, text: &str) -> Result<()> {
    let mut message = NewMessage::new(path(from), &[to])?;
    message.header("Subject", text)?.body(text)?;
    let id = message.submit()?;
    log::info!("submitted {id}");
    Ok(())
}

fn told(destination: Option<&Destination>, recipient: Option<&Recipient>) -> Result<()> {
    if let Some(destination) = destination {
        let failures: Vec<String> =
            destination.failures().iter().map(|(hop, reply)| format!("{hop} said {reply}")).collect();
        log::info!("destination {} failed {failures:?}", destination.domain());
    }
    if let Some(recipient) = recipient {
        log::info!("recipient {} {} is {}", recipient.id(), recipient.address(), recipient.outcome());
    }
    Ok(())
}

fn later(text: &str) -> Result<Later> {
    Ok(Later::after(Duration::from_secs(1), reply(text)?))
}

/// A verdict about a stored message. At `on-submission` `defer` is for the first time only: a message that is put off
/// for ever would tell a test nothing.
fn about_message(stage: &mut Stage<'_>, event: &str) -> Result<MessageVerdict> {
    let (word, rest) = stage.play(event)?;
    Ok(match word.as_str() {
        "next" => MessageVerdict::Next,
        "skip-remaining" => MessageVerdict::SkipRemaining,
        "refuse" => MessageVerdict::Refuse(reply(&rest)?),
        "defer" if stage.call.raised() > 0 => MessageVerdict::Next,
        "defer" => MessageVerdict::Defer(later(&rest)?),
        "discard" => MessageVerdict::Discard,
        "hold" => MessageVerdict::Hold(rest),
        "bad-mail" => MessageVerdict::BadMail(rest),
        _ => return Err(unknown(&word).into()),
    })
}

impl OnSubmission for Scripted {
    fn on_submission(message: &mut Message, call: &Call) -> Result<MessageVerdict> {
        about_message(&mut Stage { message: Some(message), ..Stage::of(call) }, "on-submission")
    }
}

impl OnPreCategorize for Scripted {
    fn on_pre_categorize(message: &mut Message, call: &Call) -> Result<MessageVerdict> {
        about_message(&mut Stage { message: Some(message), ..Stage::of(call) }, "on-pre-categorize")
    }
}

impl OnPostCategorize for Scripted {
    fn on_post_categorize(message: &mut Message, call: &Call) -> Result<MessageVerdict> {
        about_message(&mut Stage { message: Some(message), ..Stage::of(call) }, "on-post-categorize")
    }
}

impl OnCategorize for Scripted {
    fn on_categorize(message: &mut Message, recipient: &mut Recipient, call: &Call) -> Result<Resolution> {
        let mut stage = Stage { message: Some(message), recipient: Some(recipient), ..Stage::of(call) };
        let (word, rest) = stage.play("on-categorize")?;
        Ok(match word.as_str() {
            "next" => Resolution::Next,
            "resolved" => Resolution::Resolved,
            "expand" => Resolution::Expand(rest.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect()),
            "unknown" => Resolution::Unknown(reply(&rest)?),
            "defer" => Resolution::Defer(later(&rest)?),
            _ => return Err(unknown(&word).into()),
        })
    }
}

fn hop(text: &str) -> Result<NextHop> {
    let bad = || Error::Invalid(format!("{text:?} is no hop"));
    let mut words = text.split('+');
    let to = words.next().unwrap_or_default();
    let mut hop = match to.split_once(':') {
        Some(("mx", domain)) => NextHop::mx(domain),
        Some(("lmtp", name)) => NextHop::lmtp(name),
        Some(("host", host)) => {
            let (name, port) = host.rsplit_once(':').ok_or_else(bad)?;
            NextHop::host(name, port.parse().map_err(|_| bad())?)
        }
        None if to == "local" => NextHop::local(),
        _ => return Err(bad().into()),
    };
    for word in words {
        hop = match word.split_once('=') {
            Some(("tls", "none")) => hop.tls(Tls::None),
            Some(("tls", "opportunistic")) => hop.tls(Tls::Opportunistic),
            Some(("tls", "required")) => hop.tls(Tls::Required),
            Some(("tls", "verified")) => hop.tls(Tls::Verified),
            Some(("credentials", name)) => hop.credentials(name),
            Some(("source", name)) => hop.source(name),
            _ => return Err(bad().into()),
        };
    }
    Ok(hop)
}

impl OnRoute for Scripted {
    fn on_route(message: &mut Message, destination: &Destination, call: &Call) -> Result<RouteVerdict> {
        let mut stage = Stage { message: Some(message), destination: Some(destination), ..Stage::of(call) };
        let (word, rest) = stage.play("on-route")?;
        Ok(match word.as_str() {
            "next" => RouteVerdict::Next,
            "skip-remaining" => RouteVerdict::SkipRemaining,
            "use-hops" => RouteVerdict::UseHops(rest.split(',').map(hop).collect::<Result<_>>()?),
            "fail" => RouteVerdict::Fail(reply(&rest)?),
            "defer" => RouteVerdict::Defer(later(&rest)?),
            _ => return Err(unknown(&word).into()),
        })
    }
}

fn host(text: &str) -> Result<HostAddress> {
    let (name, addresses) = text.split_once('=').ok_or_else(|| Error::Invalid(format!("{text:?} is no host")))?;
    Ok(HostAddress { name: name.to_owned(), addresses: addresses.split('/').map(str::to_owned).collect() })
}

impl OnDnsResolve for Scripted {
    fn on_dns_resolve(destination: &Destination, call: &Call) -> Result<DnsVerdict> {
        let mut stage = Stage { destination: Some(destination), ..Stage::of(call) };
        let (word, rest) = stage.play("on-dns-resolve")?;
        Ok(match word.as_str() {
            "next" => DnsVerdict::Next,
            "use-hosts" => DnsVerdict::UseHosts(rest.split(',').map(host).collect::<Result<_>>()?),
            "fail" => DnsVerdict::Fail(reply(&rest)?),
            "defer" => DnsVerdict::Defer(later(&rest)?),
            _ => return Err(unknown(&word).into()),
        })
    }
}

impl OnLocalDelivery for Scripted {
    fn on_local_delivery(message: &mut Message, recipient: &mut Recipient, call: &Call) -> Result<Delivery> {
        let mut stage = Stage { message: Some(message), recipient: Some(recipient), ..Stage::of(call) };
        let (word, rest) = stage.play("on-local-delivery")?;
        Ok(match word.as_str() {
            "next" => Delivery::Next,
            "delivered" => Delivery::Delivered,
            "fail" => Delivery::Fail(reply(&rest)?),
            "defer" => Delivery::Defer(later(&rest)?),
            _ => return Err(unknown(&word).into()),
        })
    }
}

impl OnNotification for Scripted {
    fn on_notification(subject: &mut Message, notification: &mut Message, call: &Call) -> Result<NotificationVerdict> {
        for recipient in subject.recipients() {
            log::info!("{} to {} is {}", subject.id(), recipient.address(), recipient.outcome());
        }
        let mut stage = Stage { message: Some(notification), ..Stage::of(call) };
        let (word, _) = stage.play("on-notification")?;
        Ok(match word.as_str() {
            "next" => NotificationVerdict::Next,
            "suppress" => NotificationVerdict::Suppress,
            _ => return Err(unknown(&word).into()),
        })
    }
}

impl OnTrack for Scripted {
    fn on_track(entry: &TrackRecord, call: &Call) -> Result<()> {
        let recipient = entry.recipient().unwrap_or_default();
        log::info!("tracked {} of {} from {} to {recipient}", entry.kind(), entry.message_id(), entry.sender());
        Stage::of(call).play("on-track").map(drop)
    }
}

impl OnTimer for Scripted {
    fn on_timer(call: &Call) -> Result<()> {
        Stage::of(call).play("on-timer").map(drop)
    }
}
