//! The SMTP protocol: commands, extensions, message text, the server session.
