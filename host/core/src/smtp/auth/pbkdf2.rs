//! PBKDF2 with HMAC-SHA-256 (RFC 8018 §5.2), the `Hi` of RFC 5802 §2.2, for one block of output.
//!
//! The function of the crate `pbkdf2` is generic, so it is compiled with this crate, without optimisation in the
//! profile that tests and `make run` use, and takes seconds there for what takes milliseconds in a release. Here the
//! loop calls the compression function of SHA-256 itself, which is compiled with its own crate. That crate's result is
//! what the tests compare with.

use sha2::digest::generic_array::GenericArray;
use sha2::{Digest as _, Sha256, compress256};

use crate::smtp::auth::accounts::{HASH_BYTES, hmac};

/// Octets that SHA-256 takes at a time.
const BLOCK_BYTES: usize = 64;

/// State of SHA-256 at its start (FIPS 180-4 §5.3.3).
const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The end of the last block of 96 octets, the first 64 of which are gone (FIPS 180-4 §5.1.1): a one, zeros, and the
/// length, 768 bits.
const PADDED: [u8; BLOCK_BYTES] = {
    let mut block = [0; BLOCK_BYTES];
    block[HASH_BYTES] = 0x80;
    block[BLOCK_BYTES - 2] = 3;
    block
};

/// Derives 32 octets.
pub(super) fn pbkdf2(password: &[u8], salt: &[u8], iterations: u32) -> [u8; HASH_BYTES] {
    // HMAC begins both of its hashes with a block made of the key; what they come to is the same each time.
    let keyed = keyed(password);
    // The number of the block, of which there is one.
    let mut last = words(&hmac(password, &[salt, &1_u32.to_be_bytes()]));
    let mut all = last;
    for _ in 1..iterations {
        last = hash_on(&keyed.outer, &hash_on(&keyed.inner, &last));
        all.iter_mut().zip(&last).for_each(|(word, more)| *word ^= more);
    }
    let mut octets = [0; HASH_BYTES];
    write_words(&mut octets, &all);
    octets
}

struct Keyed {
    inner: [u32; 8],
    outer: [u32; 8],
}

// RFC 2104 §2: a key over one block is hashed first; a shorter one is filled with zeros.
fn keyed(password: &[u8]) -> Keyed {
    let hashed;
    let key = if password.len() > BLOCK_BYTES {
        hashed = Sha256::digest(password);
        hashed.as_slice()
    } else {
        password
    };
    let started = |pad: u8| {
        let mut block = [pad; BLOCK_BYTES];
        block.iter_mut().zip(key).for_each(|(octet, key)| *octet ^= key);
        let mut state = START;
        compress256(&mut state, &[GenericArray::from(block)]);
        state
    };
    Keyed { inner: started(0x36), outer: started(0x5c) }
}

// The hash of a block that was taken already and 32 octets behind it.
fn hash_on(started: &[u32; 8], octets: &[u32; 8]) -> [u32; 8] {
    let mut block = PADDED;
    write_words(&mut block, octets);
    let mut state = *started;
    compress256(&mut state, &[GenericArray::from(block)]);
    state
}

fn words(octets: &[u8; HASH_BYTES]) -> [u32; 8] {
    let mut words = [0; 8];
    for (word, octets) in words.iter_mut().zip(octets.chunks_exact(4)) {
        *word = octets.iter().fold(0, |word, octet| word << 8 | u32::from(*octet));
    }
    words
}

fn write_words(octets: &mut [u8], words: &[u32; 8]) {
    for (octets, word) in octets.chunks_exact_mut(4).zip(words) {
        octets.copy_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_what_the_crate_of_that_name_says(
            password in prop::collection::vec(any::<u8>(), 0..130),
            salt in prop::collection::vec(any::<u8>(), 0..70),
            iterations in 1..20_u32,
        ) {
            let mut expected = [0; HASH_BYTES];
            ::pbkdf2::pbkdf2_hmac::<Sha256>(&password, &salt, iterations, &mut expected);
            prop_assert_eq!(pbkdf2(&password, &salt, iterations), expected);
        }
    }
}
