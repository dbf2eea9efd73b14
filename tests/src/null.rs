//! A null SMTP server: it says yes to everything and keeps nothing.
//!
//! The least that any server written with tokio can cost for a message. The benchmark gives every figure as a ratio
//! to it, because the machine's speed and its other load are then in both.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What one read may bring.
const READ_BYTES: usize = 16 * 1024;

/// Serves until the process ends.
pub async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A client that goes away in the middle is its own affair.
        tokio::spawn(async move { session(stream).await.ok() });
    }
}

async fn session(mut stream: TcpStream) -> io::Result<()> {
    let mut dialogue = Dialogue::default();
    let mut chunk = vec![0; READ_BYTES];
    let mut answer = b"220 null.example ESMTP\r\n".to_vec();
    loop {
        stream.write_all(&answer).await?;
        answer.clear();
        if dialogue.is_over {
            return Ok(());
        }
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        dialogue.take(chunk.get(..count).unwrap_or_default(), &mut answer);
    }
}

/// Where a session stands.
#[derive(Debug, Default)]
pub struct Dialogue {
    line: Vec<u8>,
    /// The last octets of message text: enough to see its end over two reads.
    tail: Vec<u8>,
    is_text: bool,
    is_over: bool,
}

const END: &[u8] = b"\r\n.\r\n";

impl Dialogue {
    /// Takes what came and adds the replies to it.
    pub fn take(&mut self, mut input: &[u8], answer: &mut Vec<u8>) {
        while !input.is_empty() && !self.is_over {
            let used = if self.is_text { self.text(input, answer) } else { self.command(input, answer) };
            input = input.get(used..).unwrap_or_default();
        }
    }

    fn command(&mut self, input: &[u8], answer: &mut Vec<u8>) -> usize {
        let Some(end) = input.iter().position(|&octet| octet == b'\n') else {
            self.line.extend_from_slice(input);
            return input.len();
        };
        self.line.extend_from_slice(input.get(..=end).unwrap_or_default());
        let verb: Vec<u8> = self.line.iter().take(4).map(u8::to_ascii_uppercase).collect();
        answer.extend_from_slice(match verb.as_slice() {
            b"EHLO" => b"250-null.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 104857600\r\n",
            b"DATA" => b"354 go on\r\n",
            b"QUIT" => b"221 bye\r\n",
            _ => b"250 ok\r\n",
        });
        self.is_over = verb == b"QUIT";
        if verb == b"DATA" {
            self.is_text = true;
            // The line end of DATA counts as the one before the dot (RFC 5321 §4.1.1.4).
            self.tail = b"\r\n".to_vec();
        }
        self.line.clear();
        end + 1
    }

    fn text(&mut self, input: &[u8], answer: &mut Vec<u8>) -> usize {
        // The end may lie over the border of two reads: look there first, with what is left of the last one.
        let carried = self.tail.len();
        self.tail.extend_from_slice(input.get(..input.len().min(END.len() - 1)).unwrap_or_default());
        let in_border = find(&self.tail).map(|at| at + END.len() - carried);
        if let Some(used) = in_border.or_else(|| find(input).map(|at| at + END.len())) {
            self.is_text = false;
            answer.extend_from_slice(b"250 taken\r\n");
            return used;
        }
        let rest = input.get(input.len().saturating_sub(END.len() - 1)..).unwrap_or_default();
        self.tail.truncate(carried);
        self.tail.extend_from_slice(rest);
        let surplus = self.tail.len().saturating_sub(END.len() - 1);
        self.tail.drain(..surplus);
        input.len()
    }
}

/// Finds the end of the text; looks only where a dot stands, which is seldom.
fn find(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(dot) = text.get(from..).and_then(|rest| rest.iter().position(|&octet| octet == b'.')) {
        let at = from + dot;
        let start = at.checked_sub(2);
        if let Some(start) = start.filter(|&start| text.get(start..start + END.len()) == Some(END)) {
            return Some(start);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::Dialogue;

    const TALK: &[u8] = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n.\r\nDATA\r\na\r\n..b\r\n.c\r\n\r\n.\r\nNOOP\r\nQUIT\r\n";

    fn answer(chunk_bytes: usize) -> String {
        let mut dialogue = Dialogue::default();
        let mut answer = Vec::new();
        for chunk in TALK.chunks(chunk_bytes) {
            dialogue.take(chunk, &mut answer);
        }
        String::from_utf8(answer).expect("ASCII")
    }

    #[test]
    fn the_end_of_a_text_is_found_however_the_octets_are_cut() {
        let whole = answer(TALK.len());
        assert_eq!(whole.matches("250 taken").count(), 2);
        assert!(whole.ends_with("250 taken\r\n250 ok\r\n221 bye\r\n"), "{whole}");
        for chunk_bytes in 1..TALK.len() {
            assert_eq!(answer(chunk_bytes), whole, "{chunk_bytes}");
        }
    }
}
