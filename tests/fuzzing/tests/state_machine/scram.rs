//! The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), said the slow way, and the places of an input where a proof
//! is to stand: it answers the server's nonce, which is not known before the server has said it.

use std::collections::BTreeSet;
use std::sync::Arc;

use basin_core::event::{EventSet, Question, Verdict};
use basin_fuzzing::shell::{Scene, play};
use basin_fuzzing::world::{Offers, policy};

use crate::octets::{base64, to_base64};

/// Stands in an input where the client proves that it knows alice's password.
pub(crate) const PROOF: &[u8] = b"here comes the right proof";

/// The same with a proof for another password.
pub(crate) const OTHER_PROOF: &[u8] = b"here comes another proof";

/// The first message without its header (RFC 5802 §7, `client-first-message-bare`).
const BARE: &str = "n=alice,r=abc";

/// The salt that alice has, in base64. Another one is for a user that there is not.
const SALT: &str = "s=MDEyMzQ1Njc4OWFiY2RlZg==";

/// HMAC(PBKDF2(alice's password, that salt, 4096 times), "Client Key").
const CLIENT_KEY: &str = "bde9c5b0a262a5de80a6e6a038367cfa8a8a8610150bde8927f8a2872705e8e6";

/// Errors of a session that is only asked for a nonce.
const MANY: u32 = 100_000;

/// Where in an input there are proofs.
#[derive(Debug, Default)]
pub(crate) struct Proofs {
    /// Where a line begins that is the right one.
    pub(crate) right: BTreeSet<usize>,
    /// The same for one that has the form of a proof and is none.
    pub(crate) wrong: BTreeSet<usize>,
}

/// Puts proofs where an input has room for them, and says where. Room that the server does not get to in an exchange of
/// SCRAM stays as it is, and is no base64.
pub(crate) fn prove(input: &[u8], offers: Offers) -> (Vec<u8>, Proofs) {
    let (mut proved, mut proofs, mut rest) = (Vec::new(), Proofs::default(), input);
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").map_or(rest.len(), |at| at + 2);
        let (line, behind) = rest.split_at(end);
        rest = behind;
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        let challenge = (text == PROOF || text == OTHER_PROOF).then(|| challenge(&proved, offers)).flatten();
        let Some(challenge) = challenge else {
            proved.extend_from_slice(line);
            continue;
        };
        let is_right = text == PROOF && challenge.split(',').any(|attribute| attribute == SALT);
        if is_right { &mut proofs.right } else { &mut proofs.wrong }.insert(proved.len());
        proved.extend(to_base64(last_message(&challenge, text == PROOF).as_bytes()).into_bytes());
        proved.extend_from_slice(b"\r\n");
    }
    (proved, proofs)
}

/// The server's first message, where that is the last that it says to such an input from a client that waits.
fn challenge(input: &[u8], offers: Offers) -> Option<String> {
    let ends = input.windows(2).enumerate().filter(|(_, pair)| *pair == b"\r\n").map(|(at, _)| at + 2);
    let mut start = 0;
    let pieces: Vec<usize> = ends.map(|end| end - core::mem::replace(&mut start, end)).collect();
    let mut decide = |_: &mut Question| Verdict::Next;
    let (policy, interest) = (Arc::new(policy(offers, MANY)), EventSet::default());
    let outcome = play(input, Scene { policy, interest, pieces: &pieces, decide: &mut decide });
    let last = outcome.replies.last().filter(|reply| reply.code == 334)?;
    let message = String::from_utf8(base64(last.lines.concat().as_bytes())?).ok()?;
    message.starts_with("r=abc").then_some(message)
}

// RFC 5802 §3 and §7: `client-final-message`.
fn last_message(challenge: &str, is_right: bool) -> String {
    let nonce = challenge.split(',').next().unwrap_or_default();
    let without_proof = format!("c=biws,{nonce}");
    let signed = format!("{BARE},{challenge},{without_proof}");
    let mut key: Vec<u8> = CLIENT_KEY.as_bytes().chunks(2).map(octet).collect();
    key.iter_mut().take(1).for_each(|octet| *octet ^= u8::from(!is_right));
    let signature = hmac(&sha256(&key), signed.as_bytes());
    let proof: Vec<u8> = key.iter().zip(signature).map(|(key, mask)| key ^ mask).collect();
    format!("{without_proof},p={}", to_base64(&proof))
}

fn octet(digits: &[u8]) -> u8 {
    core::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok()).expect("two digits")
}

// RFC 2104, for keys of 32 octets.
fn hmac(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    let padded = |mask: u8| key.iter().chain(&[0; 32]).map(|octet| octet ^ mask).collect::<Vec<u8>>();
    let inner = sha256(&[padded(0x36).as_slice(), text].concat());
    sha256(&[padded(0x5c).as_slice(), &inner].concat())
}

// FIPS 180-4 §6.2.
fn sha256(text: &[u8]) -> [u8; 32] {
    let mut state = roots(8, 1.0 / 2.0);
    let constants = roots(64, 1.0 / 3.0);
    let bits = (text.len() as u64) * 8;
    let zeros = (119 - text.len() % 64) % 64;
    let padded = [text, &[0x80], &vec![0; zeros], &bits.to_be_bytes()].concat();
    for block in padded.chunks_exact(64) {
        let mut words: Vec<u32> = block
            .chunks_exact(4)
            .map(|four| four.iter().fold(0, |word, octet| word << 8 | u32::from(*octet)))
            .collect();
        for at in 16..64 {
            let (near, far) = (words[at - 2], words[at - 15]);
            let far = far.rotate_right(7) ^ far.rotate_right(18) ^ far >> 3;
            let near = near.rotate_right(17) ^ near.rotate_right(19) ^ near >> 10;
            words.push(words[at - 16].wrapping_add(far).wrapping_add(words[at - 7]).wrapping_add(near));
        }
        let mut now = state.clone();
        for (word, constant) in words.iter().zip(&constants) {
            let [a, b, c, d, e, f, g, h] = now[..] else { unreachable!("there are eight") };
            let mixed = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let choice = (e & f) ^ (!e & g);
            let first = [mixed, choice, *constant, *word].into_iter().fold(h, u32::wrapping_add);
            let second = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let most = (a & b) ^ (a & c) ^ (b & c);
            now = vec![first.wrapping_add(second).wrapping_add(most), a, b, c, d.wrapping_add(first), e, f, g];
        }
        state.iter_mut().zip(now).for_each(|(word, add)| *word = word.wrapping_add(add));
    }
    let octets: Vec<u8> = state.into_iter().flat_map(u32::to_be_bytes).collect();
    octets.try_into().expect("eight words")
}

// The first 32 bits behind the point of such a root of each of the first primes (FIPS 180-4 §4.2.2, §5.3.3).
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction times 2^32 is a u32")]
fn roots(count: usize, power: f64) -> Vec<u32> {
    let is_prime = |number: &u32| (2..*number).all(|divisor| !number.is_multiple_of(divisor));
    let primes = (2_u32..).filter(is_prime).take(count);
    primes.map(|prime| (f64::from(prime).powf(power).fract() * 4_294_967_296.0) as u32).collect()
}

#[test]
fn the_digest_is_that_of_the_standard() {
    let shown = |text: &[u8]| sha256(text).iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    assert_eq!(shown(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(shown(&[b'a'; 64]), "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
    assert_eq!(shown(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
