//! What a sink can do in a session, against the server in memory.

use basin_sink::prelude::*;
use basin_sink::testing;
use std::time::Duration;

/// A dialogue over two inputs, with its place in a session property.
struct Login;

impl OnInboundCommand for Login {
    fn on_inbound_command(
        session: &Session,
        _message: Option<&mut Message>,
        command: &Command,
        call: &Call,
    ) -> Result<CommandVerdict> {
        match command.keyword().as_str() {
            "AUTH" => {
                session.set_property("user", command.argument().replace("XLOGIN ", ""))?;
                Ok(CommandVerdict::AwaitInput(Reply::new(334, "password")))
            }
            "RCPT" => {
                command.set_path("other@basin.example")?;
                call.set_response(&Reply::new(251, "forwarded"))?;
                call.delay_response(Duration::from_millis(1_500))?;
                assert_eq!(command.parameter("notify").as_deref(), Some("NEVER"));
                Ok(CommandVerdict::Next)
            }
            _ => {
                call.set_protocol_error();
                Ok(refuse(500, "5.5.2", "what?"))
            }
        }
    }
}

impl OnInboundInput for Login {
    fn on_inbound_input(
        session: &Session,
        _message: Option<&mut Message>,
        _command: &Command,
        input: &[u8],
        _call: &Call,
    ) -> Result<CommandVerdict> {
        if input != b"secret" {
            return Ok(refuse(535, "5.7.8", "no"));
        }
        let user = session.property("user").unwrap_or_default();
        session.set_authenticated(&String::from_utf8_lossy(&user), "XLOGIN")?;
        Ok(CommandVerdict::Consume(Reply::new(235, "welcome").status("2.7.0")))
    }
}

basin_sink::export!(Login: OnInboundCommand, OnInboundInput);

#[test]
fn a_dialogue_goes_over_several_inputs() {
    let mut session = testing::Session::new();
    assert_eq!(session.command::<Login>("AUTH XLOGIN ann"), CommandVerdict::AwaitInput(Reply::new(334, "password")));
    assert_eq!(session.input::<Login>(b"wrong"), refuse(535, "5.7.8", "no"));
    assert_eq!(session.auth_user(), None);
    assert_eq!(session.input::<Login>(b"secret"), CommandVerdict::Consume(Reply::new(235, "welcome").status("2.7.0")));
    assert_eq!(session.auth_user(), Some("ann"));
}

#[test]
fn only_auth_can_say_who_the_client_is() {
    let mut session = testing::Session::new();
    session.set_session_property("user", "ann");
    assert_eq!(session.command::<Login>("RSET"), refuse(500, "5.5.2", "what?"));
    assert!(session.try_input::<Login>(b"secret").is_err());
    assert_eq!(session.auth_user(), None);
}

#[test]
fn the_command_and_the_reply_can_be_changed() {
    let mut session = testing::Session::new();
    session.set_response(Reply::new(250, "ok"));
    assert_eq!(session.command::<Login>("rcpt TO:<b@basin.example> NOTIFY=NEVER"), CommandVerdict::Next);
    assert_eq!(session.command_path(), Some("other@basin.example"));
    assert_eq!(session.response().map(|reply| reply.to_string()).as_deref(), Some("251 forwarded"));
    assert_eq!(session.delay(), Duration::from_millis(1_500));
}

#[test]
fn a_protocol_error_is_counted() {
    let mut session = testing::Session::new();
    assert_eq!(session.command::<Login>("NOOP"), refuse(500, "5.5.2", "what?"));
    assert_eq!(session.protocol_errors(), 1);
}

/// Counts in state, and reads the configuration.
struct Counter;

impl OnConnect for Counter {
    fn on_connect(session: &Session, _call: &Call) -> Result<ConnectVerdict> {
        let limit = config::parse::<i64>("limit")?.unwrap_or(2);
        let seen = state::increment(&session.client().address, 1, Some(Duration::from_secs(60)))?;
        metrics::observe("seen", seen as f64);
        if seen > limit {
            return Ok(refuse(421, "4.7.0", "too many"));
        }
        Ok(ConnectVerdict::Next)
    }
}

#[test]
fn state_outlives_the_call_and_configuration_is_typed() {
    let mut session = testing::Session::new();
    session.set_client("192.0.2.7", None).set_config("limit", "1");
    assert_eq!(session.connect::<Counter>(), ConnectVerdict::Next);
    assert_eq!(session.connect::<Counter>(), refuse(421, "4.7.0", "too many"));
    assert_eq!(session.state("192.0.2.7"), Some(&b"2"[..]));
    assert_eq!(session.observations("seen"), [1.0, 2.0]);
    session.set_config("limit", "one");
    let failure = session.try_connect::<Counter>().map_err(|failure| failure.to_string());
    assert!(failure.is_err_and(|text| text.contains("limit")));
}

/// Edits where it must not.
struct Meddler;

impl OnRoute for Meddler {
    fn on_route(message: &mut Message, destination: &Destination, _call: &Call) -> Result<RouteVerdict> {
        assert_eq!(message.set_sender("x@client.example"), Err(Error::ReadOnly));
        assert_eq!(message.headers_mut().append("X", "y"), Err(Error::ReadOnly));
        message.set_property("tried", destination.domain())?;
        Ok(RouteVerdict::UseHops(vec![NextHop::host("smarthost.example", 587).tls(Tls::Verified), NextHop::local()]))
    }
}

impl OnMessageStart for Meddler {
    fn on_message_start(
        session: &OutSession,
        _message: &mut Message,
        command: &OutCommand,
        _call: &Call,
    ) -> Result<OutVerdict> {
        assert_eq!(session.extension("size").as_deref(), Some("1000"));
        assert!(command.set_line("DATA").is_err());
        assert!(command.append_parameter("RET=HDRS").is_err());
        command.append_parameter("SIZE=10")?;
        Ok(OutVerdict::SendFirst("XHELLO".into()))
    }
}

#[test]
fn a_route_cannot_edit_the_message_and_names_its_hops() {
    let mut message = testing::Message::from_eml("Subject: hi\r\n\r\n");
    let hops = vec![NextHop::host("smarthost.example", 587).tls(Tls::Verified), NextHop::local()];
    assert_eq!(message.route::<Meddler>("remote.example"), RouteVerdict::UseHops(hops));
    assert_eq!(message.property("tried"), Some(&b"remote.example"[..]));
}

#[test]
fn an_outbound_command_takes_offered_parameters_alone() {
    let mut message = testing::Message::from_eml("Subject: hi\r\n\r\n");
    message.set_remote("mx.remote.example", &["SIZE 1000"]);
    assert_eq!(
        message.message_start::<Meddler>("MAIL FROM:<a@client.example>"),
        OutVerdict::SendFirst("XHELLO".into())
    );
    assert_eq!(message.sent_line(), "MAIL FROM:<a@client.example> SIZE=10");
}
