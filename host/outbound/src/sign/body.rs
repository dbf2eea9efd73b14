//! Hashes of a body that is read in pieces: 50 MiB take no more memory than 64 KiB do.

use std::io;

use basin_core::mail::Body;
use mail_auth::common::crypto::{HashAlgorithm, HashContext, HashImpl, Sha1, Sha256};
use mail_auth::dkim::Canonicalization;
use mail_auth::dkim::canonicalize::BodyHasher;

/// Octets that are read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The ways a body can be hashed: at most two canonicalisations by two algorithms.
pub(super) type Way = (Canonicalization, HashAlgorithm);

type Hasher = BodyHasher<<Sha256 as HashImpl>::Context>;

/// Hashes a body in all ways that are asked for, reading it once. Blocks on the disk.
///
/// # Errors
/// The body cannot be read.
pub(super) fn hashes(body: &Body, ways: &[Way]) -> io::Result<Vec<(Way, Vec<u8>)>> {
    let hasher = |(canonicalization, algorithm): Way| {
        let context = match algorithm {
            HashAlgorithm::Sha1 => Sha1::hasher(),
            HashAlgorithm::Sha256 => Sha256::hasher(),
        };
        BodyHasher::new(context, canonicalization, 0)
    };
    let mut hashers: Vec<_> = ways.iter().map(|way| (*way, hasher(*way))).collect();
    body.for_each_chunk(CHUNK_BYTES, |chunk| {
        hashers.iter_mut().for_each(|(_, hasher)| hasher.write(chunk));
        Ok(())
    })?;
    let finish = |(way, hasher): (Way, Hasher)| (way, hasher.finish().0.complete().as_ref().to_vec());
    Ok(hashers.into_iter().map(finish).collect())
}
