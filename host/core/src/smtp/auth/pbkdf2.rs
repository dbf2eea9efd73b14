//! PBKDF2 with HMAC-SHA-256 (RFC 8018 §5.2), the `Hi` of RFC 5802 §2.2, for one block of output.
//!
//! The function of the crate `pbkdf2` is generic all the way down, so it is compiled with this crate, without
//! optimisation in the profile that tests and `make run` use, and takes seconds there for what takes milliseconds in a
//! release. Here the loop calls the core of SHA-256, which is compiled with its own crate. What that crate says is what
//! the tests compare with.

use sha2::digest::Output;
use sha2::digest::core_api::{Block, Buffer, UpdateCore as _, VariableOutputCore as _};
use sha2::{Digest as _, Sha256, Sha256VarCore};

use crate::smtp::auth::accounts::{HASH_BYTES, hmac};

/// Octets that SHA-256 takes at a time.
const BLOCK_BYTES: usize = 64;

/// Derives 32 octets.
pub(super) fn pbkdf2(password: &[u8], salt: &[u8], iterations: u32) -> [u8; HASH_BYTES] {
    // HMAC begins both of its hashes with a block made of the key; what they come to is the same each time.
    let (inner, outer) = keyed(password);
    // The number of the block, of which there is one.
    let mut last = Output::<Sha256VarCore>::from(hmac(password, &[salt, &1_u32.to_be_bytes()]));
    let mut all = last;
    for _ in 1..iterations {
        last = hash_on(&outer, &hash_on(&inner, &last));
        all.iter_mut().zip(&last).for_each(|(octet, more)| *octet ^= more);
    }
    all.into()
}

// RFC 2104 §2: a key over one block is hashed first; a shorter one is filled with zeros.
fn keyed(password: &[u8]) -> (Sha256VarCore, Sha256VarCore) {
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
        let mut core = Sha256VarCore::new(HASH_BYTES).expect("SHA-256 has 32 octets");
        core.update_blocks(&[Block::<Sha256VarCore>::from(block)]);
        core
    };
    (started(0x36), started(0x5c))
}

// The hash of a block that was taken already and 32 octets behind it.
fn hash_on(started: &Sha256VarCore, octets: &Output<Sha256VarCore>) -> Output<Sha256VarCore> {
    let mut core = started.clone();
    let mut hash = Output::<Sha256VarCore>::default();
    core.finalize_variable_core(&mut Buffer::<Sha256VarCore>::new(octets), &mut hash);
    hash
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
