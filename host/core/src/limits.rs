//! Every number that bounds something: name, unit, reason, source.
//!
//! What an operator may change is a field of a configuration struct; what stands here is the default or
//! the fixed limit behind it.

use core::time::Duration;

/// Longest reply line sent, in octets, CR LF included (RFC 5321 §4.5.3.1.5).
pub const REPLY_LINE_BYTES_MAX: usize = 512;

/// Most lines of one reply. RFC 5321 sets none; clients hold a reply in memory, and no use needs more.
pub const REPLY_LINES_MAX: usize = 64;

/// Most lines of a reply that are kept with a recipient; a person reads no more of them in a notification.
pub const REPLY_LINES_KEPT: usize = 8;

/// Longest command line accepted, in octets, CR LF included.
///
/// RFC 5321 §4.5.3.1.4 asks for 512; RFC 4954 adds 500, RFC 6531 and RFC 3461 more. We allow their sum,
/// rounded up. A longer line is read to its end, counted as one error and answered with 500 5.5.2.
pub const COMMAND_LINE_BYTES_MAX: usize = 2048;

/// Longest local part, in octets (RFC 5321 §4.5.3.1.1). A longer one is refused, never cut.
pub const LOCAL_PART_BYTES_MAX: usize = 64;

/// Longest domain, in octets (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_BYTES_MAX: usize = 255;

/// Longest label of a domain, in octets (RFC 1035 §2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;

/// Longest path, angle brackets included, in octets (RFC 5321 §4.5.3.1.3).
pub const PATH_BYTES_MAX: usize = 256;

/// Longest verb of a command, in octets. SMTP's have four, STARTTLS eight; a sink's own may be longer.
pub const VERB_BYTES_MAX: usize = 32;

/// Longest text line, in octets, CR LF included. RFC 5321 §4.5.3.1.6 asks for 1,000; real senders pass it,
/// and refusing them loses mail, so we take what fits in a bounded buffer and refuse what does not.
pub const TEXT_LINE_BYTES_MAX: usize = 1024 * 1024;

/// Largest message by default, in octets (RFC 1870 advertises it). The usual size of large providers.
pub const MESSAGE_BYTES_DEFAULT: u64 = 25 * 1024 * 1024;

/// Largest header block, in octets. Real ones stay under 64 KiB; it is kept in memory whole.
pub const HEADER_BLOCK_BYTES_MAX: usize = 256 * 1024;

/// Most header fields. Bounds the work of every sink that walks them.
pub const HEADER_FIELDS_MAX: usize = 2_000;

/// Most recipients of one transaction by default. RFC 5321 §4.5.3.1.8 requires at least 100.
pub const RECIPIENTS_DEFAULT: usize = 1_000;

/// Most Received fields before a message is taken for a loop (RFC 5321 §6.3 requires at least 100).
pub const RECEIVED_FIELDS_MAX: usize = 100;

/// Wait for the next command by default (RFC 5321 §4.5.3.2.7 requires at least 5 minutes).
pub const COMMAND_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);

/// How long a message waits by default for what SPF, DKIM, DMARC and ARC say of it. Its client waits too, and the sooner
/// it hears of success, the fewer send twice (RFC 1047).
pub const MESSAGE_AUTH_TIME_DEFAULT: Duration = Duration::from_secs(10);

/// Wait for the next block of message text by default (RFC 5321 §4.5.3.2.5 has the client wait 3 minutes).
pub const DATA_TIMEOUT_DEFAULT: Duration = Duration::from_secs(180);

/// Whole time for one message text, by default. Without it a client that sends one octet each minute
/// holds a session for years.
pub const DATA_TOTAL_DEFAULT: Duration = Duration::from_secs(3_600);

/// Time over which the rate of a text is measured. Shorter ones would take a hiccup of a radio link for an attack.
pub const DATA_RATE_WINDOW: Duration = Duration::from_secs(60);

/// Protocol errors of one session before it is closed with 421 (Postfix: 20 hard).
pub const ERRORS_MAX: u32 = 20;

/// Commands that move no mail (NOOP, RSET, VRFY, HELP, unknown verbs) in one session before 421, counted
/// since the last accepted message (Postfix: 100).
pub const IDLE_COMMANDS_MAX: u32 = 100;

/// Body of a message kept in memory while it arrives, in octets; more goes to a draft file.
pub const DRAFT_MEMORY_BYTES_MAX: usize = 256 * 1024;

/// Most header fields that one call of a sink may add to a message.
pub const SINK_FIELDS_ADDED_MAX: usize = 100;

/// Most octets of header that one call of a sink may add to a message.
pub const SINK_HEADER_BYTES_ADDED_MAX: usize = 64 * 1024;

/// Most recipients that one call of a sink may add.
pub const SINK_RECIPIENTS_ADDED_MAX: usize = 1_000;

/// Most properties in one bag.
pub const PROPERTIES_MAX: usize = 256;

/// Longest property name, in octets.
pub const PROPERTY_NAME_BYTES_MAX: usize = 128;

/// Largest property value, in octets.
pub const PROPERTY_VALUE_BYTES_MAX: usize = 64 * 1024;

/// Octets of all names and values in one bag together; a bag is written with its message.
pub const PROPERTIES_BYTES_MAX: usize = 256 * 1024;

/// Longest wait that a sink may put before a reply (tarpit). Well under the client's patience.
pub const RESPONSE_DELAY_MAX: Duration = Duration::from_secs(30);

/// Longest name of a mailbox, in octets; it is the name of a directory, and `local-part@domain` should fit.
pub const MAILBOX_NAME_BYTES_MAX: usize = 200;

/// Most mailboxes that one alias stands for. Bounds what one recipient of one message can set in motion.
pub const ALIAS_MAILBOXES_MAX: usize = 1_000;

/// Longest name of a sink, in octets; it becomes part of file and property names.
pub const SINK_NAME_BYTES_MAX: usize = 64;

/// Longest name of a binding, in octets: a sink, an event and a number fit with room to spare.
pub const BINDING_NAME_BYTES_MAX: usize = 128;

/// How long a message is tried by default (RFC 5321 §4.5.4.1: at least 4 to 5 days).
pub const QUEUE_LIFETIME_DEFAULT: Duration = Duration::from_secs(5 * 24 * 3_600);

/// The port of mail between servers (RFC 5321 §4.5.4.2).
pub const SMTP_PORT: u16 = 25;

/// The port of LMTP where none is named: "any private mail system" (RFC 1700), never 25 (RFC 2033 §5).
pub const LMTP_PORT: u16 = 24;

/// Connections to one destination at a time by default: what most receivers let one sender have.
pub const CONNECTIONS_PER_DESTINATION: u32 = 10;

/// Wait before the storage is asked again to write what it could not. A full disk is rarely emptied sooner.
pub const STORAGE_RETRY_AFTER: Duration = Duration::from_secs(30);

/// Shortest time for which a sink can defer a stored message; less would be a loop. The end of the message's
/// life is the longest.
pub const SINK_DEFER_MIN: Duration = Duration::from_secs(1);

/// Times that a sink may fail over one stored message before the message is held: about an hour of retries.
pub const SINK_FAILURES_BEFORE_HOLD: u32 = 12;

/// How long mail from the null sender is tried by default. What it tells is of use for a day or two, and a
/// sender who was forged never takes it.
pub const QUEUE_LIFETIME_NULL_DEFAULT: Duration = Duration::from_secs(24 * 3_600);

/// When a sender is told by default that a message is late: what fails longer rarely heals by itself.
pub const DELAY_NOTICE_DEFAULT: Duration = Duration::from_secs(4 * 3_600);

/// What is past its time is still tried once after a restart or a release, for this long.
pub const EXPIRY_GRACE: Duration = Duration::from_secs(3_600);

/// Largest message that a notification returns whole by default, in octets. Beyond it the header block must do.
pub const RETURNED_BYTES_DEFAULT: u64 = 1024 * 1024;

/// Connections to other servers at a time by default. Each holds a socket and a message's buffers.
pub const CONNECTIONS_OUT_DEFAULT: u32 = 200;

/// Longest line of another server's reply that is read, in octets, CR LF included. RFC 5321 §4.5.3.1.5 says
/// 512; servers that put addresses and links into their refusals pass it.
pub const REMOTE_REPLY_LINE_BYTES_MAX: usize = 2_048;

/// Most lines of another server's reply. The longest answers to EHLO have some 30.
pub const REMOTE_REPLY_LINES_MAX: usize = 128;

/// Most octets of another server's reply, all lines together; what one connection costs in memory for it.
pub const REMOTE_REPLY_BYTES_MAX: usize = 32 * 1024;

/// Commands that may wait for their replies at a time (RFC 2920). Fifty lines of 512 octets, and as many
/// replies, fit into the smallest socket buffers, so neither side ever waits for the other to read (§3.1).
pub const PIPELINED_COMMANDS_MAX: usize = 50;

/// Octets of content read, encoded and handed to the shell at a time.
pub const CONTENT_SLICE_BYTES: usize = 64 * 1024;

/// Octets of one chunk of BDAT by default. One chunk for nearly every message; a refusal wastes no more.
pub const CHUNK_BYTES_DEFAULT: u64 = 1024 * 1024;

/// Chunks that wait for their replies at a time by default: one on its way while the other is looked at.
pub const CHUNKS_IN_FLIGHT_DEFAULT: u32 = 2;

/// Most lines and blobs that one binding's sink sends before one command to another server.
pub const OUT_ROUNDS_MAX: u32 = 8;

/// Most changes of state in one session with another server: a loop that a sink makes ends.
pub const OUT_STATE_CHANGES_MAX: u32 = 8;

/// Longest line that a sink has sent to another server, in octets without CR LF: a line of SMTP with the room that
/// its extensions ask for, as this server itself takes it.
pub const OUT_LINE_BYTES_MAX: usize = 2_046;

/// Longest verb of a sink's own, in octets.
pub const OUT_VERB_BYTES_MAX: usize = 32;

/// Most octets of one blob that a sink sends to another server. It is held in memory until it has left.
pub const OUT_BLOB_BYTES_MAX: usize = 1024 * 1024;

/// Longest time that sinks take between two lines to another server, all of them together. Servers wait five
/// minutes for a command (RFC 5321 §4.5.3.2.7); the rest is for the way.
pub const OUT_THINKING_MAX: Duration = Duration::from_secs(240);

/// Most transactions that one message takes over one connection, where the other server takes few recipients
/// at a time (RFC 5321 §4.5.3.1.10); the recipients beyond them wait for the next attempt. Bounds how often a
/// hostile server makes us send the content.
pub const TRANSACTIONS_PER_MESSAGE_MAX: u32 = 100;

/// Most mechanisms of AUTH that are remembered of a server; more than there are in the registry that matter.
pub const REMOTE_MECHANISMS_MAX: usize = 32;

/// Longest AUTH line, in octets, CR LF included: RFC 4954 §4 has an initial response go with the command only
/// where the line keeps to the limit of every command.
pub const AUTH_LINE_BYTES_MAX: usize = 512;

/// Longest ENVID, in octets of xtext (RFC 3461 §4.4).
pub const ENVID_BYTES_MAX: usize = 100;

/// Longest ORCPT, in octets (RFC 3461 §4.2).
pub const ORCPT_BYTES_MAX: usize = 500;

/// Wait for another server's greeting (RFC 5321 §4.5.3.2.1).
pub const CLIENT_GREETING_TIMEOUT: Duration = Duration::from_secs(300);

/// Wait for the reply to MAIL, RCPT (RFC 5321 §4.5.3.2.2, §4.5.3.2.3) and the commands without a time there.
pub const CLIENT_COMMAND_TIMEOUT: Duration = Duration::from_secs(300);

/// Wait for the reply to DATA (RFC 5321 §4.5.3.2.4).
pub const CLIENT_DATA_TIMEOUT: Duration = Duration::from_secs(120);

/// Wait until a block of content is taken (RFC 5321 §4.5.3.2.5).
pub const CLIENT_BLOCK_TIMEOUT: Duration = Duration::from_secs(180);

/// Wait for the reply to the final dot (RFC 5321 §4.5.3.2.6).
pub const CLIENT_END_TIMEOUT: Duration = Duration::from_secs(600);

/// Wait for the reply to QUIT. No mail depends on it, and another server may need the place.
pub const CLIENT_QUIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time from MAIL to the last octet of content. 25 MiB through 28 kbit/s; without it a server that
/// answers each of a thousand recipients after four minutes holds a connection for days.
pub const CLIENT_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(2 * 3_600);

/// Protocol errors of one session after which the answer to each further one waits (Postfix: 10 soft). A listener that
/// lets more pass is as patient in proportion.
pub const ERRORS_SOFT: u32 = 10;

/// How much longer the answer to each protocol error beyond the soft limit waits than the one before it.
pub const ERROR_DELAY: Duration = Duration::from_secs(1);

/// Longest wait before the answer to one protocol error. A client that is only broken must not hold a session for
/// long either.
pub const ERROR_DELAY_MAX: Duration = Duration::from_secs(5);

/// Longest response of AUTH, in octets, CR LF included (RFC 4954 §4); and longest line that a sink may ask for.
pub const AUTH_RESPONSE_BYTES_MAX: usize = 12_288;

/// Most octets that a sink may ask for at a time. A session holds them in memory.
pub const SINK_INPUT_BYTES_MAX: u64 = 1024 * 1024;

/// How long it is remembered which recipients of a sender differed about a message: as long as a client tries
/// (RFC 5321 §4.5.4.1).
pub const DISAGREEMENT_LIFE: Duration = Duration::from_secs(5 * 24 * 3_600);

/// Recipients of a generation that are remembered so, some 4 MiB when all places are taken. Who is forgotten has his
/// client told once more to come again.
pub const DISAGREEMENT_RECIPIENTS_MAX: usize = 20_000;

/// Failed logins of one session by default. A person mistypes twice; a program that guesses needs many more.
pub const AUTH_ATTEMPTS_MAX: u32 = 3;

/// How much longer the answer to each failed login waits than the one before it.
pub const AUTH_FAILURE_DELAY: Duration = Duration::from_secs(1);

/// Longest name of a user and longest password that is made, in octets. A mail address fits.
pub const USER_BYTES_MAX: usize = 255;

/// Most users in one file. Each takes some 200 octets; more belong into a directory, which a sink asks.
pub const ACCOUNTS_MAX: usize = 100_000;

/// Iterations of PBKDF2 for a new password. Guessing a stolen file costs so many times more; a login with PLAIN costs
/// this server, and one with SCRAM the client, some ten milliseconds.
pub const SCRAM_ITERATIONS_DEFAULT: u32 = 50_000;

/// Fewest iterations that are taken from the file (RFC 7677 §4).
pub const SCRAM_ITERATIONS_MIN: u32 = 4_096;

/// Most iterations that are taken from the file; beyond this a login is an attack on this server.
pub const SCRAM_ITERATIONS_MAX: u32 = 1_000_000;

/// Shortest salt that is taken from the file, in octets.
pub const SCRAM_SALT_BYTES_MIN: usize = 8;

/// Longest salt that is taken from the file, in octets; a challenge has to fit into the line of a reply.
pub const SCRAM_SALT_BYTES_MAX: usize = 64;

/// Longest nonce of a client, in octets; a challenge repeats it and has to fit into the line of a reply.
pub const SCRAM_NONCE_BYTES_MAX: usize = 128;

/// Octets that the tables of one sink hold, keys included. Enough for a hundred thousand greylisted triplets.
pub const TABLES_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Octets of one value in a table of a sink.
pub const TABLE_VALUE_BYTES_MAX: usize = 64 * 1024;

/// Octets of a key in a table of a sink; none is empty.
pub const TABLE_KEY_BYTES_MAX: usize = 256;

/// Keys that one look into a table lists.
pub const TABLE_KEYS_LISTED_MAX: usize = 1_000;

/// Octets that the sinks of one event set in their tables together. They wait in memory until the event is decided.
pub const TABLE_EDITS_BYTES_MAX: usize = 1024 * 1024;

/// Octets that all receipts may hold for another event to get one, see [`crate::event::receipt`]. They lie on the disk of
/// the spool; of values as sinks mostly keep them this is what some 200,000 events replace between two syncs.
pub const RECEIPTS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Octets from which on a receipt is a large one. Those get half of the room, so that a sink which replaces a megabyte at
/// each event cannot have the events of all others deferred.
pub const RECEIPT_LARGE_BYTES: u64 = 2 * TABLE_VALUE_BYTES_MAX as u64;

/// How often an event is raised again because somebody was faster with a value that its sinks swapped. Somebody
/// wins each time, so this many losses in a row mean a crowd at one key; the client comes back later.
pub const TABLE_CONFLICTS_MAX: u32 = 4;

/// Most forks of one chain: one for each recipient of a message with as many as a session takes, less the one that stays.
pub const FORKS_PER_CHAIN_MAX: usize = 1_000;

/// Most messages that the sinks of one chain put into the queue; each of them may make 10 (`wit/message.wit`).
pub const SUBMISSIONS_PER_CHAIN_MAX: usize = 100;

/// Most of them where the message that they come of was made by a sink itself, or by the server about such a one: each
/// step of an exchange among sinks makes one message more, or a few sinks make millions out of one.
pub const ANSWERS_TO_ANSWERS_PER_CHAIN_MAX: usize = 1;

/// How deep messages may answer messages: a notification or a sink's message is one deeper than its cause. Two sinks
/// that answer each other stop here, and people's forwarding never comes near it.
pub const ANSWER_DEPTH_MAX: u32 = 8;

/// Most hops of a route that a sink chose, and most failures that it is told of (`wit/transport.wit`).
pub const HOPS_MAX: usize = 16;

/// How often in a row a recipient that sinks made of another one may be made into others again. Lists in lists in
/// lists are known; more than this is a mistake.
pub const EXPANSION_DEPTH_MAX: usize = 8;

/// Most addresses, those that others took the place of included, that the recipients of a message may become. A larger
/// list is sent as messages of its own.
pub const EXPANSION_ADDRESSES_MAX: usize = 5_000;

/// Answers about single recipients or destinations after which what they changed is written: so many are asked again
/// after a crash.
pub const ANSWERS_PER_RECORD: u32 = 100;
