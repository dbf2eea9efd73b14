//! Greylisting: who is not known is asked to come again later, which senders with a queue do.
//!
//! It shows both kinds of state. What a call sets is dropped with a refusal, so what must outlive the refusal is counted
//! with `increment`, which takes effect at once. Lives end entries by themselves, so that nothing has to be swept.

use basin_sink::prelude::*;
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;
use std::time::Duration;

/// How long a new sender waits where the configuration has no `delay`: longer than a program without a queue stays, and
/// shorter than the half hour after which servers try again (RFC 5321 §4.5.4.1).
const DELAY: Duration = Duration::from_secs(5 * 60);
/// How long it has for its second attempt where the configuration has no `window`: some queues wait hours.
const WINDOW: Duration = Duration::from_secs(8 * 60 * 60);
/// How long it is remembered after its last message where the configuration has no `memory`: a monthly letter
/// should not wait each month.
const MEMORY: Duration = Duration::from_secs(36 * 24 * 60 * 60);

/// Bits of the network that counts as one client: a provider's next attempt comes from a neighbour.
const IPV4_PREFIX_BITS: u32 = 24;
/// The same for IPv6: what one customer is given.
const IPV6_PREFIX_BITS: u32 = 64;

/// Octets of the digest that name a triplet; the table of one sink never has enough for a chance match.
const DIGEST_OCTETS: usize = 16;

/// The sink.
#[derive(Debug)]
pub struct Greylist;

impl OnInboundCommand for Greylist {
    fn on_inbound_command(
        session: &Session,
        message: Option<&mut Message>,
        command: &Command,
        call: &Call,
    ) -> Result<CommandVerdict> {
        let (Some(message), Some(recipient)) = (message, command.path()) else { return Ok(CommandVerdict::Next) };
        // Users of this server are known, and what the server refuses anyway needs no second answer.
        if session.auth_user().is_some() || call.native_response().is_some_and(|reply| !reply.is_success()) {
            return Ok(CommandVerdict::Next);
        }
        let times = Times::read()?;
        let triplet = triplet(&session.client().address, &message.sender(), &recipient);
        Ok(match Standing::of(&triplet, &times)? {
            Standing::Known => {
                state::set(&format!("known/{triplet}"), "", Some(times.memory))?;
                CommandVerdict::Next
            }
            Standing::New => {
                metrics::count("new");
                later(&times)
            }
            Standing::Early => {
                metrics::count("early");
                later(&times)
            }
        })
    }
}

/// What the configuration says about time.
#[derive(Debug)]
struct Times {
    delay: Duration,
    window: Duration,
    memory: Duration,
}

/// What is known of a client, a sender and a recipient together.
#[derive(Debug)]
enum Standing {
    /// It was never here, or too long ago.
    New,
    /// It was, and has not waited long enough.
    Early,
    /// It came again in time, now or before.
    Known,
}

impl Times {
    fn read() -> Result<Self> {
        let delay = config::duration("delay")?.unwrap_or(DELAY);
        let window = config::duration("window")?.unwrap_or(WINDOW);
        let memory = config::duration("memory")?.unwrap_or(MEMORY);
        if window <= delay {
            return Err(Failure::new("window ends before delay, so nobody could ever come in time"));
        }
        Ok(Self { delay, window, memory })
    }
}

impl Standing {
    /// Looks, and notes a first attempt.
    fn of(triplet: &str, times: &Times) -> Result<Self> {
        if state::get(&format!("known/{triplet}"))?.is_some() {
            return Ok(Self::Known);
        }
        // A sum is there at once and for every other connection, though this call ends with a refusal; two first
        // attempts at the same moment are one and two, and only one of them is the first.
        let attempts = state::increment(&format!("seen/{triplet}"), 1, Some(times.window))?;
        let young = format!("young/{triplet}");
        if attempts == 1 {
            state::increment(&young, 1, Some(times.delay))?;
            return Ok(Self::New);
        }
        Ok(if state::get(&young)?.is_some() { Self::Early } else { Self::Known })
    }
}

/// Names the three by a digest: keys have a limit, and a table of addresses is nobody's business.
fn triplet(client: &str, sender: &str, recipient: &str) -> String {
    let text = format!("{}\n{}\n{}", network(client), sender.to_ascii_lowercase(), recipient.to_ascii_lowercase());
    Sha256::digest(text).iter().take(DIGEST_OCTETS).map(|octet| format!("{octet:02x}")).collect()
}

fn network(address: &str) -> String {
    match address.parse() {
        Ok(IpAddr::V4(address)) => (address.to_bits() >> (u32::BITS - IPV4_PREFIX_BITS)).to_string(),
        Ok(IpAddr::V6(address)) => (address.to_bits() >> (u128::BITS - IPV6_PREFIX_BITS)).to_string(),
        Err(_) => address.to_owned(),
    }
}

fn later(times: &Times) -> CommandVerdict {
    let seconds = times.delay.as_secs();
    refuse(451, "4.7.1", &format!("greylisted, please try again in {seconds} seconds"))
}

basin_sink::export!(Greylist: OnInboundCommand);

#[cfg(test)]
mod tests {
    use super::*;
    use basin_sink::testing;

    const RCPT: &str = "RCPT TO:<b@basin.example>";

    fn attempt() -> testing::Message {
        let mut message = testing::Message::from_eml("");
        message.set_client("192.0.2.1", None).set_response(Reply::new(250, "ok"));
        message
    }

    fn greylisted() -> CommandVerdict {
        refuse(451, "4.7.1", "greylisted, please try again in 300 seconds")
    }

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }

    #[test]
    fn a_new_sender_waits_and_then_passes_for_good() {
        let mut message = attempt();
        assert_eq!(message.command::<Greylist>(RCPT), greylisted());
        message.advance(minutes(4));
        assert_eq!(message.command::<Greylist>(RCPT), greylisted());
        message.advance(minutes(2));
        assert_eq!(message.command::<Greylist>(RCPT), CommandVerdict::Next);
        // Long after the window, within the memory of the last message.
        message.advance(30 * 24 * minutes(60));
        assert_eq!(message.command::<Greylist>(RCPT), CommandVerdict::Next);
        message.advance(30 * 24 * minutes(60));
        assert_eq!(message.command::<Greylist>(RCPT), CommandVerdict::Next);
        assert_eq!((message.counter("new"), message.counter("early")), (1, 1));
    }

    #[test]
    fn who_comes_again_too_late_or_not_for_a_long_time_is_new() {
        let mut message = attempt();
        assert_eq!(message.command::<Greylist>(RCPT), greylisted());
        message.advance(9 * minutes(60));
        assert_eq!(message.command::<Greylist>(RCPT), greylisted());
        message.advance(minutes(6));
        assert_eq!(message.command::<Greylist>(RCPT), CommandVerdict::Next);
        message.advance(37 * 24 * minutes(60));
        assert_eq!(message.command::<Greylist>(RCPT), greylisted());
    }

    #[test]
    fn each_sender_and_recipient_waits_for_itself_and_neighbours_are_one() {
        let mut message = attempt();
        assert_eq!(message.command::<Greylist>(RCPT), greylisted());
        message.advance(minutes(6));
        message.set_client("192.0.2.200", None);
        assert_eq!(message.command::<Greylist>("RCPT TO:<B@Basin.example>"), CommandVerdict::Next);
        assert_eq!(message.command::<Greylist>("RCPT TO:<c@basin.example>"), greylisted());
        message.set_sender("other@client.example");
        assert_eq!(message.command::<Greylist>(RCPT), greylisted());
        message.set_sender("a@client.example").set_client("192.0.3.1", None);
        assert_eq!(message.command::<Greylist>(RCPT), greylisted());
        message.set_client("2001:db8::1", None);
        assert_eq!(message.command::<Greylist>(RCPT), greylisted());
        message.advance(minutes(6)).set_client("2001:db8::ffff", None);
        assert_eq!(message.command::<Greylist>(RCPT), CommandVerdict::Next);
    }

    #[test]
    fn users_and_what_the_server_refuses_are_let_through() {
        let mut message = attempt();
        message.set_auth("ann", "PLAIN");
        assert_eq!(message.command::<Greylist>(RCPT), CommandVerdict::Next);
        let mut message = attempt();
        message.set_response(Reply::new(550, "no such user"));
        assert_eq!(message.command::<Greylist>(RCPT), CommandVerdict::Next);
        assert_eq!(message.state_keys(), [""; 0], "a guesser does not fill the table");
    }

    #[test]
    fn the_operator_sets_the_times() {
        let mut message = attempt();
        message.set_config("delay", "1s").set_config("window", "1m");
        assert_eq!(
            message.command::<Greylist>(RCPT),
            refuse(451, "4.7.1", "greylisted, please try again in 1 seconds")
        );
        message.advance(Duration::from_secs(1));
        assert_eq!(message.command::<Greylist>(RCPT), CommandVerdict::Next);
        message.set_config("window", "1s");
        assert!(message.try_command::<Greylist>(RCPT).is_err());
    }
}
