//! Publishes a keyword in the answer to EHLO and answers the verb of the same name.
//!
//! It shows the two halves of a verb of one's own: the server names it to clients, and a client that says it
//! gets its answer from the sink and not from the server.

use basin_sink::prelude::*;

/// Keyword and verb where the configuration has no `keyword`.
const KEYWORD: &str = "XWELCOME";

/// The sink.
#[derive(Debug)]
pub struct Welcome;

impl OnInboundCommand for Welcome {
    fn on_inbound_command(
        session: &Session,
        _message: Option<&mut Message>,
        command: &Command,
        call: &Call,
    ) -> Result<CommandVerdict> {
        let keyword = config::get_or("keyword", KEYWORD).to_ascii_uppercase();
        let verb = command.keyword();
        if verb == "EHLO" {
            // A server that offers an extension must name it here, or clients may not use it (RFC 5321 §2.2.1).
            call.append_response(&keyword)?;
        } else if verb == keyword {
            let name = session.helo_domain().unwrap_or_else(|| "stranger".to_owned());
            return Ok(CommandVerdict::Consume(Reply::new(250, format!("Welcome, {name}")).status("2.0.0")));
        }
        Ok(CommandVerdict::Next)
    }
}

basin_sink::export!(Welcome: OnInboundCommand);

#[cfg(test)]
mod tests {
    use super::*;
    use basin_sink::testing;

    #[test]
    fn ehlo_publishes_the_keyword() {
        let mut session = testing::Session::new();
        session.set_response(Reply::new(250, "basin.example"));
        assert_eq!(session.command::<Welcome>("EHLO client.example"), CommandVerdict::Next);
        assert_eq!(session.response().map(|reply| reply.lines), Some(vec!["basin.example".into(), "XWELCOME".into()]));
    }

    #[test]
    fn its_verb_is_answered_with_the_name_of_the_client() {
        let mut session = testing::Session::new();
        session.set_helo("client.example");
        let welcome = CommandVerdict::Consume(Reply::new(250, "Welcome, client.example").status("2.0.0"));
        assert_eq!(session.command::<Welcome>("xwelcome"), welcome);
    }

    #[test]
    fn a_client_that_did_not_greet_is_a_stranger() {
        let mut session = testing::Session::new();
        let welcome = CommandVerdict::Consume(Reply::new(250, "Welcome, stranger").status("2.0.0"));
        assert_eq!(session.command::<Welcome>("XWELCOME"), welcome);
    }

    #[test]
    fn the_keyword_is_configurable_and_other_verbs_pass() {
        let mut session = testing::Session::new();
        session.set_config("keyword", "xhello");
        assert_eq!(session.command::<Welcome>("XWELCOME"), CommandVerdict::Next);
        assert_eq!(session.command::<Welcome>("MAIL FROM:<a@client.example>"), CommandVerdict::Next);
        assert_ne!(session.command::<Welcome>("XHELLO"), CommandVerdict::Next);
    }
}
