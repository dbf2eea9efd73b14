//! Watches sessions: who came, who proved who they are, what was refused and why.
//!
//! It changes nothing and nobody waits for it: at `on-reject` and `on-disconnect` it is told, and at `on-authenticated`
//! it is meant for the mode `observe`, which asks after the decision. What it finds is in the log and on the
//! metrics page.

use basin_sink::prelude::*;

/// Errors of one session after which its line is a warning, where the configuration has no `errors`: a program that
/// guesses makes many, and the server closes the session at 20.
const ERRORS: u32 = 10;

/// Characters of a refused line that are logged: a command of the usual size.
const SHOWN_CHARACTERS_MAX: usize = 200;

/// The sink.
#[derive(Debug)]
pub struct SessionAudit;

impl OnAuthenticated for SessionAudit {
    fn on_authenticated(session: &Session, _call: &Call) -> Result<CommandVerdict> {
        let client = session.client();
        let mechanism = session.auth_mechanism().unwrap_or_else(|| "AUTH".to_owned());
        match session.auth_user() {
            Some(user) => {
                metrics::count("authenticated");
                log::info!("{} {client} is {user} by {mechanism}, {}", session.id(), security(session));
            }
            None => {
                metrics::count("authentication_failed");
                log::info!("{} {client} failed to authenticate, {}", session.id(), security(session));
            }
        }
        Ok(CommandVerdict::Next)
    }
}

impl OnReject for SessionAudit {
    fn on_reject(session: &Session, line: &[u8], call: &Call) -> Result<()> {
        let reply = call.response().map_or_else(|| "no reply".to_owned(), |reply| reply.to_string());
        metrics::count(if reply.starts_with('4') { "deferred" } else { "refused" });
        let client = session.client();
        // The connection itself, or a whole message, is refused without a line of its own.
        let what = if line.is_empty() { String::new() } else { format!(" {:?}", shown(line)) };
        log::info!("{} {client} was refused{what}: {reply}", session.id());
        Ok(())
    }
}

impl OnDisconnect for SessionAudit {
    fn on_disconnect(session: &Session, call: &Call) -> Result<()> {
        let reason = session.end_reason().unwrap_or_else(|| "unknown".to_owned());
        let seconds = call.now().seconds.saturating_sub(session.started().seconds).max(0);
        metrics::count("sessions");
        metrics::observe("session_seconds", f64::from(u32::try_from(seconds).unwrap_or(u32::MAX)));
        let line = format!(
            "{} {} ({}) at {}: {} messages, {} errors, {seconds} s, {}, user {}, ended: {reason}",
            session.id(),
            session.client(),
            session.client_name().or(session.helo_domain()).unwrap_or_else(|| "no name".to_owned()),
            session.listener(),
            session.message_count(),
            session.error_count(),
            security(session),
            session.auth_user().unwrap_or_else(|| "none".to_owned()),
        );
        // At a notice nothing can be remembered; what one session shows has to do, and the counters show the rest.
        if session.error_count() >= config::parse("errors")?.unwrap_or(ERRORS) {
            metrics::count("suspicious");
            log::warn!("{line}");
        } else {
            log::info!("{line}");
        }
        Ok(())
    }
}

fn security(session: &Session) -> String {
    session.tls_version().unwrap_or_else(|| "no TLS".to_owned())
}

/// A refused line as the log may have it: of AUTH nothing behind the mechanism, or the log would hold passwords.
fn shown(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    if words.next().is_some_and(|verb| verb.eq_ignore_ascii_case("AUTH")) {
        return format!("AUTH {} ...", words.next().unwrap_or_default());
    }
    line.chars().take(SHOWN_CHARACTERS_MAX).collect()
}

basin_sink::export!(SessionAudit: OnAuthenticated, OnReject, OnDisconnect);

#[cfg(test)]
mod tests {
    use super::*;
    use basin_sink::testing;

    fn last_line(session: &testing::Session) -> &str {
        session.log().last().map_or("", |(_, line)| line)
    }

    #[test]
    fn who_authenticates_and_who_fails_is_logged_and_counted() {
        let mut session = testing::Session::new();
        session.set_tls("TLSv1.3", "TLS_AES_128_GCM_SHA256", None);
        assert_eq!(session.authenticated::<SessionAudit>(), CommandVerdict::Next);
        assert_eq!(last_line(&session), "session-1 192.0.2.1:40000 failed to authenticate, TLSv1.3");
        session.set_auth("ann", "SCRAM-SHA-256");
        assert_eq!(session.authenticated::<SessionAudit>(), CommandVerdict::Next);
        assert_eq!(last_line(&session), "session-1 192.0.2.1:40000 is ann by SCRAM-SHA-256, TLSv1.3");
        assert_eq!((session.counter("authenticated"), session.counter("authentication_failed")), (1, 1));
    }

    #[test]
    fn a_refusal_is_logged_with_its_line_and_its_reply() {
        let mut session = testing::Session::new();
        session.set_response(Reply::new(550, "no such user").status("5.1.1"));
        session.reject::<SessionAudit>(b"RCPT TO:<guess@basin.example>");
        let expected =
            r#"session-1 192.0.2.1:40000 was refused "RCPT TO:<guess@basin.example>": 550 5.1.1 no such user"#;
        assert_eq!(last_line(&session), expected);
        session.set_response(Reply::new(451, "later"));
        session.reject::<SessionAudit>(b"");
        assert_eq!(last_line(&session), "session-1 192.0.2.1:40000 was refused: 451 later");
        assert_eq!((session.counter("refused"), session.counter("deferred")), (1, 1));
    }

    #[test]
    fn no_password_gets_into_the_log() {
        let mut session = testing::Session::new();
        session.set_response(Reply::new(535, "no"));
        session.reject::<SessionAudit>(b"auth PLAIN AGFubgBzZWNyZXQ=");
        assert!(last_line(&session).contains(r#""AUTH PLAIN ...""#), "{}", last_line(&session));
        assert!(!last_line(&session).contains("AGFub"));
    }

    #[test]
    fn the_end_of_a_session_is_one_line_about_all_of_it() {
        let mut session = testing::Session::new();
        session.set_helo("client.example").set_counts(2, 1).set_listener("submission").set_auth("ann", "PLAIN");
        session.disconnect::<SessionAudit>("quit");
        assert_eq!(
            last_line(&session),
            "session-1 192.0.2.1:40000 (client.example) at submission: 2 messages, 1 errors, 0 s, no TLS, user ann, ended: quit"
        );
        assert_eq!((session.counter("sessions"), session.observations("session_seconds")), (1, &[0.0][..]));
    }
    #[test]
    fn a_session_of_many_errors_is_worth_a_warning() {
        let mut session = testing::Session::new();
        session.set_counts(0, 10);
        session.disconnect::<SessionAudit>("error");
        session.set_config("errors", "11");
        session.disconnect::<SessionAudit>("error");
        let levels: Vec<log::Level> = session.log().iter().map(|(level, _)| *level).collect();
        assert_eq!((levels, session.counter("suspicious")), (vec![log::Level::Warn, log::Level::Info], 1));
        session.set_config("errors", "many");
        assert!(session.try_disconnect::<SessionAudit>("error").is_err());
    }
}
