//! A small blocking SMTP client that reads replies strictly.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::tls::{self, TlsStream};

/// Wait for any one reply before the test fails. Far over what a healthy server needs on a busy machine.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest reply line, CR LF included (RFC 5321 §4.5.3.1.5); a longer one is an error of the server.
const REPLY_LINE_BYTES_MAX: usize = 512;

/// A reply as it came: one code, its text lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The code, the same in every line.
    pub code: u16,
    /// The text behind the code and its separator, line by line.
    pub lines: Vec<String>,
}

impl Reply {
    /// The reply as it stood on the wire, without the last CR LF.
    pub fn wire(&self) -> String {
        let last = self.lines.len().saturating_sub(1);
        let line = |(at, text): (usize, &String)| {
            let mark = if at == last { ' ' } else { '-' };
            format!("{}{mark}{text}", self.code)
        };
        self.lines.iter().enumerate().map(line).collect::<Vec<_>>().join("\r\n")
    }

    /// Whether any text line holds `words`.
    pub fn says(&self, words: &str) -> bool {
        self.lines.iter().any(|line| line.contains(words))
    }

    /// Whether the code is 2yz.
    pub fn is_success(&self) -> bool {
        self.code / 100 == 2
    }
}

/// A connection in the open, or encrypted.
#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
    /// A handshake failed.
    Broken,
}

impl Stream {
    fn socket(&self) -> io::Result<&TcpStream> {
        match self {
            Self::Plain(stream) => Ok(stream),
            Self::Tls(stream) => Ok(stream.get_ref()),
            Self::Broken => Err(ErrorKind::NotConnected.into()),
        }
    }
}

/// One connection to the server under test.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    buffer: Vec<u8>,
    used: usize,
}

impl Client {
    /// Connects and leaves the banner unread.
    pub fn connect(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&server, REPLY_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        Ok(Self { stream: Stream::Plain(stream), buffer: Vec::new(), used: 0 })
    }

    /// Connects, shakes hands at once and leaves the banner unread (RFC 8314).
    pub fn connect_tls(server: SocketAddr, server_name: &str) -> io::Result<Self> {
        let mut client = Self::connect(server)?;
        client.shake(server_name)?;
        Ok(client)
    }

    /// Says STARTTLS and shakes hands; EHLO is the caller's.
    pub fn start_tls(&mut self, server_name: &str) -> io::Result<()> {
        self.command("STARTTLS")?.require(220)?;
        self.shake(server_name)
    }

    /// Shakes hands on a connection that was in the open.
    pub fn shake(&mut self, server_name: &str) -> io::Result<()> {
        let Stream::Plain(stream) = std::mem::replace(&mut self.stream, Stream::Broken) else {
            return Err(wrong("the connection is encrypted already".to_owned()));
        };
        self.stream = Stream::Tls(Box::new(tls::shake(stream, server_name)?));
        Ok(())
    }

    /// The certificate that the server showed.
    pub fn server_certificate(&self) -> io::Result<Vec<u8>> {
        let Stream::Tls(stream) = &self.stream else { return Err(wrong("the connection is not encrypted".to_owned())) };
        let shown = stream.conn.peer_certificates().and_then(|chain| chain.first());
        shown.map(|certificate| certificate.to_vec()).ok_or_else(|| wrong("the server showed none".to_owned()))
    }

    /// Connects, reads the banner and says EHLO.
    pub fn greeted(server: SocketAddr) -> io::Result<Self> {
        let mut client = Self::connect(server)?;
        client.expect(220)?;
        client.command("EHLO client.example")?.require(250)?;
        Ok(client)
    }

    /// Bounds each later read; for the tests that measure how fast an answer comes.
    pub fn patience(&self, time: Duration) -> io::Result<()> {
        self.stream.socket()?.set_read_timeout(Some(time))
    }

    /// The client's own address, as the server sees it.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.stream.socket()?.local_addr()
    }

    /// Sends octets as they are.
    pub fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(octets),
            Stream::Tls(stream) => {
                stream.write_all(octets)?;
                stream.flush()
            }
            Stream::Broken => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Sends a line and reads the reply.
    pub fn command(&mut self, line: &str) -> io::Result<Reply> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// Reads one reply, strictly: one code in all lines, a mark, printable text, CR LF, 512 octets a line.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut reply: Option<Reply> = None;
        loop {
            let line = self.line()?;
            let (code, mark, text) = split(&line)?;
            let reply = reply.get_or_insert_with(|| Reply { code, lines: Vec::new() });
            if reply.code != code {
                return Err(wrong(format!("reply changes its code from {} to {code}", reply.code)));
            }
            reply.lines.push(text);
            if mark == b' ' {
                return Ok(reply.clone());
            }
        }
    }

    /// Reads one reply and demands its code.
    pub fn expect(&mut self, code: u16) -> io::Result<Reply> {
        self.reply()?.require(code)
    }

    /// One whole transaction without pipelining: the final reply, or the first refusal on the way.
    pub fn deliver(&mut self, from: &str, recipients: &[&str], text: &[u8]) -> io::Result<Reply> {
        let mut last = self.command(&format!("MAIL FROM:<{from}>"))?;
        for recipient in recipients {
            if !last.is_success() {
                return Ok(last);
            }
            last = self.command(&format!("RCPT TO:<{recipient}>"))?;
        }
        if !last.is_success() {
            return Ok(last);
        }
        let go = self.command("DATA")?;
        if go.code != 354 {
            return Ok(go);
        }
        self.send(&stuffed(text))?;
        self.reply()
    }

    /// The same with the commands up to DATA in one segment (RFC 2920): the final reply or the first refusal.
    pub fn deliver_pipelined(&mut self, from: &str, recipient: &str, text: &[u8]) -> io::Result<Reply> {
        self.send(format!("MAIL FROM:<{from}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n").as_bytes())?;
        let replies = [self.reply()?, self.reply()?, self.reply()?];
        let [mail, recipient, go] = replies;
        if go.code != 354 {
            return Ok([mail, recipient].into_iter().find(|reply| !reply.is_success()).unwrap_or(go));
        }
        self.send(&stuffed(text))?;
        self.reply()
    }

    /// Says QUIT, reads 221 and the end of the connection.
    pub fn quit(mut self) -> io::Result<()> {
        self.command("QUIT")?.require(221)?;
        self.closed()
    }

    /// Demands that the server has nothing more to say and closes.
    pub fn closed(&mut self) -> io::Result<()> {
        if self.fill()? == 0 {
            return Ok(());
        }
        let rest = String::from_utf8_lossy(&self.buffer).into_owned();
        Err(wrong(format!("the server goes on talking: {rest:?}")))
    }

    /// Closes the sending half: the server sees the end of the input and can still answer.
    pub fn finish_sending(&self) -> io::Result<()> {
        self.stream.socket()?.shutdown(Shutdown::Write)
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let unread = self.buffer.get(self.used..).unwrap_or_default();
            if let Some(end) = unread.iter().position(|&octet| octet == b'\n') {
                let line = unread.get(..=end).unwrap_or_default().to_vec();
                self.used += end + 1;
                return whole(line);
            }
            if unread.len() > REPLY_LINE_BYTES_MAX {
                return Err(wrong("reply line without end".to_owned()));
            }
            if self.fill()? == 0 {
                return Err(Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let mut chunk = [0; 8192];
        let count = match &mut self.stream {
            Stream::Plain(stream) => stream.read(&mut chunk)?,
            Stream::Tls(stream) => stream.read(&mut chunk)?,
            Stream::Broken => return Err(ErrorKind::NotConnected.into()),
        };
        self.buffer.extend_from_slice(chunk.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl Reply {
    /// The reply itself where it has the code, an error that shows it where not.
    pub fn require(self, code: u16) -> io::Result<Self> {
        if self.code == code {
            return Ok(self);
        }
        Err(wrong(format!("expected {code}, the server said {:?}", self.wire())))
    }
}

/// Message text as DATA wants it: dots doubled, ended by a line with a dot (RFC 5321 §4.5.2).
///
/// Text that does not end with CR LF gets one, or the dot would not stand alone.
pub fn stuffed(text: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(text.len() + 16);
    let mut at_start = true;
    for &octet in text {
        if at_start && octet == b'.' {
            wire.push(b'.');
        }
        wire.push(octet);
        at_start = octet == b'\n';
    }
    if !wire.is_empty() && !wire.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

fn whole(mut line: Vec<u8>) -> io::Result<Vec<u8>> {
    if line.len() > REPLY_LINE_BYTES_MAX {
        return Err(wrong(format!("reply line of {} octets", line.len())));
    }
    if !line.ends_with(b"\r\n") {
        return Err(wrong(format!("reply line without CR LF: {:?}", String::from_utf8_lossy(&line))));
    }
    line.truncate(line.len() - 2);
    if line.iter().any(|&octet| !(b' '..=b'~').contains(&octet)) {
        return Err(wrong(format!("reply line with octets that do not print: {:?}", String::from_utf8_lossy(&line))));
    }
    Ok(line)
}

fn split(line: &[u8]) -> io::Result<(u16, u8, String)> {
    let text = String::from_utf8_lossy(line);
    let code = text.get(..3).and_then(|code| code.parse().ok()).filter(|code| (200..=599).contains(code));
    let mark = line.get(3).copied().filter(|mark| matches!(mark, b' ' | b'-'));
    match (code, mark) {
        (Some(code), Some(mark)) => Ok((code, mark, text.get(4..).unwrap_or_default().to_owned())),
        (None, _) | (_, None) => Err(wrong(format!("not a reply line: {text:?}"))),
    }
}

fn wrong(text: String) -> Error {
    Error::new(ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::{split, stuffed, whole};

    #[test]
    fn dots_at_line_starts_are_doubled_and_the_end_is_added() {
        assert_eq!(stuffed(b".a\r\nb.\r\n..c\r\n"), b"..a\r\nb.\r\n...c\r\n.\r\n");
        assert_eq!(stuffed(b""), b".\r\n");
        assert_eq!(stuffed(b"no end"), b"no end\r\n.\r\n");
    }

    #[test]
    fn a_reply_line_is_read_strictly() {
        assert_eq!(split(b"250-SIZE 10").expect("reply"), (250, b'-', "SIZE 10".to_owned()));
        for bad in [&b"25 ok"[..], b"250", b"250+x", b"650 x", b"abc x"] {
            assert!(split(bad).is_err(), "{bad:?}");
        }
        assert!(whole(b"250 ok\n".to_vec()).is_err());
        assert!(whole(b"250 o\rk\r\n".to_vec()).is_err());
        assert!(whole(vec![b'2'; 600]).is_err());
    }
}
