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

/// Wait for the next block of message text by default (RFC 5321 §4.5.3.2.5 has the client wait 3 minutes).
pub const DATA_TIMEOUT_DEFAULT: Duration = Duration::from_secs(180);

/// Whole time for one message text, by default. Without it a client that sends one octet each minute
/// holds a session for years.
pub const DATA_TOTAL_DEFAULT: Duration = Duration::from_secs(3_600);

/// Protocol errors of one session before it is closed with 421 (Postfix: 20 hard).
pub const ERRORS_MAX: u32 = 20;

/// Commands that move no mail (NOOP, RSET, VRFY, HELP, unknown verbs) in one session before 421, counted
/// since the last accepted message (Postfix: 100).
pub const IDLE_COMMANDS_MAX: u32 = 100;

/// Body of a message kept in memory while it arrives, in octets; more goes to a draft file.
pub const DRAFT_MEMORY_BYTES_MAX: usize = 256 * 1024;

/// Most header fields that one call of a sink may add.
pub const SINK_FIELDS_ADDED_MAX: usize = 100;

/// Most octets of header that one call of a sink may add.
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
pub const QUEUE_LIFETIME_NULL_DEFAULT: Duration = Duration::from_secs(2 * 24 * 3_600);

/// When a sender is told by default that a message is late: what fails longer rarely heals by itself.
pub const DELAY_NOTICE_DEFAULT: Duration = Duration::from_secs(4 * 3_600);

/// What is past its time is still tried once after a restart or a release, for this long.
pub const EXPIRY_GRACE: Duration = Duration::from_secs(3_600);

/// Largest message that a notification returns whole by default, in octets. Beyond it the header block must do.
pub const RETURNED_BYTES_DEFAULT: u64 = 1024 * 1024;

/// Connections to other servers at a time by default. Each holds a socket and a message's buffers.
pub const CONNECTIONS_OUT_DEFAULT: u32 = 100;
