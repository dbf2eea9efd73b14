//! Command lines: from octets to a request that the session can carry out.
//!
//! The grammar is the strict one of RFC 5321 §4.1: no comments, no space around the colon, no missing angle
//! bracket. A server that guesses what a line was meant to say disagrees one day with the next one about
//! where a message goes. White space at the end of a line is the one thing that §4.1.1 has us tolerate.

use thiserror::Error;

use crate::addr::{Address, AddressError, check_domain};
use crate::event;
use crate::limits::{DOMAIN_BYTES_MAX, PATH_BYTES_MAX, VERB_BYTES_MAX};
use crate::reply::Reply;
use crate::secret::Secret;
use crate::smtp::auth;
pub use crate::smtp::auth::command::without_secrets;
use crate::smtp::parameters::{self, Parameters};
use crate::smtp::xclient::{self, Claims};

/// A command of the right form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// HELO and the client's name.
    Helo(String),
    /// EHLO and the client's name.
    Ehlo(String),
    /// MAIL: reverse path, `None` for `<>`, and parameters that were checked.
    Mail(Option<Address>, Parameters),
    /// RCPT: forward path and parameters that were checked.
    Rcpt(Address, Parameters),
    /// DATA.
    Data,
    /// BDAT: octets that follow the line, and whether they are the last ones of the message.
    Bdat(u64, bool),
    /// RSET.
    Rset,
    /// NOOP, with any argument.
    Noop,
    /// QUIT.
    Quit,
    /// HELP, with any argument.
    Help,
    /// VRFY with an argument.
    Vrfy,
    /// EXPN with an argument.
    Expn,
    /// STARTTLS.
    StartTls,
    /// AUTH: a mechanism in upper case, and the response that came with it, decoded.
    Auth {
        /// The mechanism.
        mechanism: String,
        /// The initial response.
        initial: Option<Secret>,
    },
    /// XCLIENT, and what it says.
    Xclient(Box<Claims>),
    /// A request of HTTP: somebody talks past us.
    Http,
    /// Any other verb, in upper case.
    Unknown(String),
}

/// Why a line is no command. Each has its reply; the texts are for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CommandError {
    /// The line passes `limits::COMMAND_LINE_BYTES_MAX`.
    #[error("line too long")]
    LineTooLong,
    /// A CR or LF that is not part of a CR LF (RFC 5321 §2.3.8).
    #[error("bare CR or LF; a line ends with CR LF")]
    BareLineEnd,
    /// Another control octet.
    #[error("control character in a command")]
    Control,
    /// No verb at the start of the line.
    #[error("command not recognised")]
    NoVerb,
    /// HELO or EHLO without a name, or with one that has spaces or is too long.
    #[error("one domain or address literal is required")]
    Greeting,
    /// The argument has another form; the text says which one is needed.
    #[error("syntax error: {0} required")]
    Argument(&'static str),
    /// An argument where none is allowed.
    #[error("no argument allowed")]
    NoArgument,
    /// The reverse path is no address.
    #[error("bad sender address: {0}")]
    Sender(AddressError),
    /// The forward path is no address.
    #[error("bad recipient address: {0}")]
    Recipient(AddressError),
    /// A parameter that stands there twice.
    #[error("a parameter is given twice")]
    DuplicateParameter,
    /// The value of that parameter is wrong.
    #[error("bad value of {0}")]
    ParameterValue(&'static str),
    /// The initial response of AUTH is not base64.
    #[error("cannot read the response behind the mechanism")]
    InitialResponse,
    /// A parameter of an extension that is not offered.
    #[error("parameter not recognised")]
    UnknownParameter,
    /// BDAT of another form, or over 64 bits. Nobody knows how much of what follows is text, so the connection
    /// closes.
    #[error("BDAT with a size and perhaps LAST is required; closing")]
    Chunk,
}

impl CommandError {
    /// Whether the line began with a command of this server all the same.
    pub(super) fn has_known_verb(self) -> bool {
        match self {
            Self::LineTooLong | Self::BareLineEnd | Self::Control | Self::NoVerb => false,
            Self::Greeting | Self::Argument(_) | Self::NoArgument | Self::Sender(_) | Self::Recipient(_) => true,
            Self::DuplicateParameter | Self::ParameterValue(_) | Self::UnknownParameter | Self::Chunk => true,
            Self::InitialResponse => true,
        }
    }

    /// The reply to a line that failed so.
    pub fn reply(self) -> Reply {
        let (code, subject, detail) = match self {
            Self::LineTooLong | Self::BareLineEnd | Self::Control | Self::NoVerb => (500, 5, 2),
            // RFC 2034 §3: replies to HELO and EHLO have no enhanced code.
            Self::Greeting => return Reply::new(501, None, self.to_string()),
            // RFC 6531 §3.5: what to say to an address that is not ASCII without SMTPUTF8.
            Self::Sender(AddressError::NotAscii) | Self::Recipient(AddressError::NotAscii) => (553, 6, 7),
            Self::Sender(_) => (501, 1, 7),
            Self::Recipient(_) => (501, 1, 3),
            Self::UnknownParameter => (555, 5, 4),
            // RFC 4954 §4.
            Self::InitialResponse => (501, 5, 2),
            Self::Argument(_) | Self::NoArgument | Self::DuplicateParameter | Self::ParameterValue(_) | Self::Chunk => {
                (501, 5, 4)
            }
        };
        Reply::with(code, subject, detail, self.to_string())
    }
}

/// Most digits of the size in BDAT: those of the largest number of 64 bits.
const CHUNK_DIGITS_MAX: usize = 20;

impl Request {
    /// Reads a line without its CR LF.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        if line.iter().any(|octet| matches!(octet, b'\r' | b'\n')) {
            return Err(CommandError::BareLineEnd);
        }
        let line = trim_end(line);
        if line.iter().any(u8::is_ascii_control) {
            return Err(CommandError::Control);
        }
        let (verb, argument) = split_verb(line);
        let text = || core::str::from_utf8(argument).ok().filter(|text| text.is_ascii());
        let is = |name: &str| verb.eq_ignore_ascii_case(name.as_bytes());
        if is("MAIL") {
            let (path, rest) = split_path(argument, b"FROM:", "MAIL FROM:<address>")?;
            let sender = if path.is_empty() { None } else { Some(mailbox(path).map_err(CommandError::Sender)?) };
            let parameters = parameters::parse(rest)?;
            check_mail(sender.as_ref(), &parameters)?;
            Ok(Self::Mail(sender, parameters))
        } else if is("RCPT") {
            let (path, rest) = split_path(argument, b"TO:", "RCPT TO:<address>")?;
            let recipient = mailbox(path).map_err(CommandError::Recipient)?;
            let parameters = parameters::parse(rest)?;
            parameters::check_rcpt(&parameters)?;
            Ok(Self::Rcpt(recipient, parameters))
        } else if is("DATA") {
            without_argument(argument, Self::Data)
        } else if is("BDAT") {
            chunk(argument)
        } else if is("EHLO") {
            client_name(text()).map(Self::Ehlo)
        } else if is("HELO") {
            client_name(text()).map(Self::Helo)
        } else if is("QUIT") {
            without_argument(argument, Self::Quit)
        } else if is("RSET") {
            without_argument(argument, Self::Rset)
        } else if is("NOOP") {
            Ok(Self::Noop)
        } else if is("HELP") {
            Ok(Self::Help)
        } else if is("VRFY") {
            with_argument(argument, Self::Vrfy)
        } else if is("EXPN") {
            with_argument(argument, Self::Expn)
        } else if is("STARTTLS") {
            // RFC 3207 §4: 501 with a parameter.
            without_argument(argument, Self::StartTls)
        } else if is("AUTH") {
            auth::command::parse(argument)
        } else if is("XCLIENT") {
            xclient::parse(argument)
        } else if HTTP_METHODS.iter().any(|method| is(method)) {
            Ok(Self::Http)
        } else {
            unknown(verb)
        }
    }

    /// The verb in upper case.
    pub fn keyword(&self) -> &str {
        match self {
            Self::Helo(_) => "HELO",
            Self::Ehlo(_) => "EHLO",
            Self::Mail(..) => "MAIL",
            Self::Rcpt(..) => "RCPT",
            Self::Data => "DATA",
            Self::Bdat(..) => "BDAT",
            Self::Rset => "RSET",
            Self::Noop => "NOOP",
            Self::Quit => "QUIT",
            Self::Help => "HELP",
            Self::Vrfy => "VRFY",
            Self::Expn => "EXPN",
            Self::StartTls => "STARTTLS",
            Self::Auth { .. } => "AUTH",
            Self::Xclient(_) => "XCLIENT",
            Self::Http => "HTTP",
            Self::Unknown(verb) => verb,
        }
    }

    /// What sinks are shown of it.
    pub fn describe(&self, line: &[u8]) -> event::Command {
        let argument = split_verb(trim_end(line)).1;
        let (path, parameters) = if let Self::Mail(sender, parameters) = self {
            (Some(sender.as_ref().map(ToString::to_string).unwrap_or_default()), parameters.clone())
        } else if let Self::Rcpt(recipient, parameters) = self {
            (Some(recipient.to_string()), parameters.clone())
        } else {
            (None, Parameters::new())
        };
        event::Command {
            keyword: self.keyword().to_owned(),
            argument: String::from_utf8_lossy(argument).into_owned(),
            line: line.to_vec(),
            path,
            parameters,
        }
    }
}

/// Checks path and parameters of MAIL as a sink rewrote them, by the rules that hold for clients.
pub(super) fn check_rewritten_mail(command: &event::Command) -> Result<Option<Address>, CommandError> {
    let sender = match command.path.as_deref().unwrap_or_default() {
        "" => None,
        path => Some(mailbox(path).map_err(CommandError::Sender)?),
    };
    check_mail(sender.as_ref(), &command.parameters)?;
    Ok(sender)
}

fn check_mail(sender: Option<&Address>, parameters: &Parameters) -> Result<(), CommandError> {
    parameters::check_mail(parameters)?;
    // RFC 6531 §3.5: only who said so may use other letters than ASCII.
    let is_plain = parameters.contains_key("SMTPUTF8") || sender.is_none_or(Address::is_ascii);
    if is_plain { Ok(()) } else { Err(CommandError::Sender(AddressError::NotAscii)) }
}

/// Checks path and parameters of RCPT as a sink rewrote them, by the rules that hold for clients.
pub(super) fn check_rewritten_rcpt(command: &event::Command) -> Result<Address, CommandError> {
    parameters::check_rcpt(&command.parameters)?;
    mailbox(command.path.as_deref().unwrap_or_default()).map_err(CommandError::Recipient)
}

// What browsers and scanners say first when somebody points them at a mail port.
const HTTP_METHODS: &[&str] = &["GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS", "DELETE", "PATCH", "TRACE"];

fn trim_end(line: &[u8]) -> &[u8] {
    let len = line.iter().rposition(|octet| !matches!(octet, b' ' | b'\t')).map_or(0, |last| last + 1);
    line.get(..len).unwrap_or_default()
}

// The verb and what stands after one space.
fn split_verb(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|&octet| octet == b' ') {
        Some(at) => (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default()),
        None => (line, &[]),
    }
}

fn without_argument(argument: &[u8], request: Request) -> Result<Request, CommandError> {
    if argument.is_empty() { Ok(request) } else { Err(CommandError::NoArgument) }
}

// RFC 3030 §2: `BDAT chunk-size [LAST]`. The size is digits alone: a sign or another base makes the size another
// one for the next server, and what was text for one are commands for the other.
fn chunk(argument: &[u8]) -> Result<Request, CommandError> {
    let (size, rest) = split_verb(argument);
    let is_last = rest.eq_ignore_ascii_case(b"LAST");
    let is_size = (1..=CHUNK_DIGITS_MAX).contains(&size.len()) && size.iter().all(u8::is_ascii_digit);
    let text = core::str::from_utf8(size).ok().filter(|_| is_size && (is_last || rest.is_empty()));
    let octets = text.and_then(|text| text.parse().ok()).ok_or(CommandError::Chunk)?;
    Ok(Request::Bdat(octets, is_last))
}

fn with_argument(argument: &[u8], request: Request) -> Result<Request, CommandError> {
    if argument.is_empty() { Err(CommandError::Argument("a name")) } else { Ok(request) }
}

fn unknown(verb: &[u8]) -> Result<Request, CommandError> {
    let is_verb = (1..=VERB_BYTES_MAX).contains(&verb.len())
        && verb.first().is_some_and(u8::is_ascii_alphabetic)
        && verb.iter().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'));
    if !is_verb {
        return Err(CommandError::NoVerb);
    }
    Ok(Request::Unknown(String::from_utf8_lossy(verb).to_ascii_uppercase()))
}

// Takes whatever a client calls itself, as long as it is one word: RFC 5321 §4.1.4 forbids to refuse mail
// because the name is not the client's, and real ones send underscores and bare addresses.
fn client_name(argument: Option<&str>) -> Result<String, CommandError> {
    let is_name = |name: &&str| (1..=DOMAIN_BYTES_MAX).contains(&name.len()) && !name.contains(' ');
    argument.filter(is_name).map(str::to_owned).ok_or(CommandError::Greeting)
}

// Cuts `FROM:<path> rest`; the path comes without its brackets.
fn split_path<'a>(argument: &'a [u8], keyword: &[u8], form: &'static str) -> Result<(&'a str, &'a str), CommandError> {
    let is_sender = keyword == b"FROM:";
    let address_error = |error| if is_sender { CommandError::Sender(error) } else { CommandError::Recipient(error) };
    let head = argument.get(..keyword.len()).unwrap_or_default();
    let bracketed = argument.get(keyword.len()..).and_then(|rest| rest.strip_prefix(b"<"));
    let Some(rest) = bracketed.filter(|_| head.eq_ignore_ascii_case(keyword)) else {
        return Err(CommandError::Argument(form));
    };
    let Ok(rest) = core::str::from_utf8(rest) else { return Err(address_error(AddressError::NotAscii)) };
    let end = path_end(rest).ok_or(CommandError::Argument(form))?;
    // RFC 5321 §4.5.3.1.3 counts the brackets and the source route.
    if end + 2 > PATH_BYTES_MAX {
        return Err(address_error(AddressError::TooLong));
    }
    Ok((rest.get(..end).unwrap_or_default(), rest.get(end + 1..).unwrap_or_default()))
}

// Index of the bracket that closes the path; one inside a quoted local part does not.
fn path_end(text: &str) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (index, octet) in text.bytes().enumerate() {
        match octet {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'>' if !is_quoted => return Some(index),
            _ => {}
        }
    }
    None
}

// A mailbox, after a source route if there is one: `@a,@b:user@c`. RFC 5321 §4.1.2 and appendix C have us
// accept the route and ignore it.
fn mailbox(path: &str) -> Result<Address, AddressError> {
    if !path.starts_with('@') {
        return Address::parse_utf8(path);
    }
    let (route, address) = path.split_once(':').ok_or(AddressError::Form)?;
    for hop in route.split(',') {
        check_domain(hop.strip_prefix('@').ok_or(AddressError::Form)?)?;
    }
    Address::parse_utf8(address)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(line: &str) -> Result<String, CommandError> {
        Request::parse(line.as_bytes()).map(|request| request.describe(line.as_bytes()).path.unwrap_or_default())
    }

    #[test]
    fn verbs_and_keywords_have_no_case() {
        assert_eq!(path("mAiL fRoM:<a@B.example>"), Ok("a@B.example".into()));
        assert_eq!(path("rcpt to:<PostMaster>  \t"), Ok("PostMaster".into()));
        assert_eq!(Request::parse(b"data"), Ok(Request::Data));
        assert_eq!(Request::parse(b"x-Own arg"), Ok(Request::Unknown("X-OWN".into())));
    }

    #[test]
    fn the_size_of_a_chunk_is_digits() {
        let parse = |line: &str| Request::parse(line.as_bytes());
        assert_eq!(parse("bdat 0 last"), Ok(Request::Bdat(0, true)));
        assert_eq!(parse("BDAT 0010 "), Ok(Request::Bdat(10, false)));
        assert_eq!(parse("BDAT 18446744073709551615"), Ok(Request::Bdat(u64::MAX, false)));
        for bad in [
            "",
            " ",
            " +5",
            " -1",
            " 0x10",
            " 5.0",
            " 5a",
            " 18446744073709551616",
            " 000000000000000000005",
            " 5  LAST",
            "  5",
            " 5 LASTS",
            " 5 LAST x",
            " LAST",
            " \u{663}",
            " 5\tLAST",
        ] {
            let error = parse(&format!("BDAT{bad}"));
            assert!(matches!(error, Err(CommandError::Chunk | CommandError::Control)), "{bad:?}: {error:?}");
        }
    }

    #[test]
    fn source_routes_are_taken_off() {
        assert_eq!(path("RCPT TO:<@a.example,@b.example:c@d.example>"), Ok("c@d.example".into()));
        for route in ["@", "@a.example", "@a.example:", "@a.example,:c@d", "@a b:c@d", "@a,b:c@d", "@a:@b:c@d"] {
            let line = format!("RCPT TO:<{route}>");
            assert!(matches!(path(&line), Err(CommandError::Recipient(_))), "{line}");
        }
    }

    #[test]
    fn a_bracket_inside_quotes_does_not_close_the_path() {
        assert_eq!(path(r#"MAIL FROM:<"a>\">b"@c.example> SIZE=1"#), Ok(r#""a>\">b"@c.example"#.into()));
    }

    #[test]
    fn what_sinks_see_is_what_came() {
        let line = b"MAIL FROM:<a@b.example> size=5 BODY=7bit ";
        let command = Request::parse(line).expect("valid").describe(line);
        assert_eq!((command.keyword.as_str(), command.line.as_slice()), ("MAIL", &line[..]));
        assert_eq!(command.argument, "FROM:<a@b.example> size=5 BODY=7bit");
        let parameters: Vec<_> = command.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(parameters, ["BODY=7bit", "SIZE=5"]);
    }

    proptest! {
        #[test]
        fn no_line_upsets_the_parser(line in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(request) = Request::parse(&line) {
                prop_assert!(!line.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)));
                let _described = request.describe(&line);
            }
        }

        #[test]
        fn no_path_upsets_the_parser(verb in "MAIL FROM:|RCPT TO:", rest in "[<>\"\\\\@:,a.% =!()é\r\0-]{0,40}") {
            let line = format!("{verb}<{rest}>");
            if let Ok(request) = Request::parse(line.as_bytes()) {
                // What was accepted is printable, and reads back as itself.
                let path = request.describe(line.as_bytes()).path.unwrap_or_default();
                prop_assert!(path.bytes().all(|octet| octet >= b' ' && octet != 0x7f));
                let again = format!("{verb}<{path}>");
                prop_assert_eq!(self::path(&again), Ok(path));
            }
        }

        #[test]
        fn errors_have_replies_of_their_class(line in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Err(error) = Request::parse(&line) {
                let reply = error.reply();
                prop_assert!(matches!(reply.code(), 500 | 501 | 553 | 555));
            }
        }
    }
}
