//! SCRAM (RFC 5802, RFC 7677): a user shows that it knows a password, and the server that it knew of it, without either
//! saying so. Pure: nonces are arguments.

mod client;
pub(crate) mod message;
mod server;

use moldau_metadata::{ScramCredential, ScramMechanism};
use ring::{digest, hmac, pbkdf2};

pub use client::{ScramClient, ServerRefused};
pub(crate) use server::decoy_salt;
pub use server::{ScramRefusal, ScramServer, decoy};

/// Bytes of chance in a nonce, before it is written in base64.
pub const NONCE_BYTES: usize = 24;

fn hmac_algorithm(mechanism: ScramMechanism) -> hmac::Algorithm {
    match mechanism {
        ScramMechanism::Sha256 => hmac::HMAC_SHA256,
        ScramMechanism::Sha512 => hmac::HMAC_SHA512,
    }
}

fn sign(mechanism: ScramMechanism, key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac_algorithm(mechanism), key);
    hmac::sign(&key, message).as_ref().to_vec()
}

fn hash(mechanism: ScramMechanism, message: &[u8]) -> Vec<u8> {
    let algorithm = match mechanism {
        ScramMechanism::Sha256 => &digest::SHA256,
        ScramMechanism::Sha512 => &digest::SHA512,
    };
    digest::digest(algorithm, message).as_ref().to_vec()
}

/// What stretches a password.
#[must_use]
pub fn salted_password(mechanism: ScramMechanism, password: &[u8], salt: &[u8], iterations: i32) -> Vec<u8> {
    let algorithm = match mechanism {
        ScramMechanism::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        ScramMechanism::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
    };
    let iterations = u32::try_from(iterations).unwrap_or(0).max(1);
    let iterations = std::num::NonZeroU32::new(iterations).unwrap_or(std::num::NonZeroU32::MIN);
    let mut salted = vec![0; mechanism.key_bytes()];
    pbkdf2::derive(algorithm, iterations, salt, password, &mut salted);
    salted
}

/// What is kept of a password that is stretched already, as clients send it.
#[must_use]
pub fn credential_of_salted(
    mechanism: ScramMechanism,
    salted: &[u8],
    salt: Vec<u8>,
    iterations: i32,
) -> ScramCredential {
    let client_key = sign(mechanism, salted, b"Client Key");
    ScramCredential {
        salt,
        stored_key: hash(mechanism, &client_key),
        server_key: sign(mechanism, salted, b"Server Key"),
        iterations,
    }
}

/// What is kept of a password.
#[must_use]
pub fn credential(
    mechanism: ScramMechanism,
    password: &str,
    salt: Vec<u8>,
    iterations: i32,
) -> ScramCredential {
    let salted = salted_password(mechanism, password.as_bytes(), &salt, iterations);
    credential_of_salted(mechanism, &salted, salt, iterations)
}

fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(a, b)| a ^ b).collect()
}

/// Compares in a time that tells nothing of what the two are but their lengths.
#[must_use]
pub fn are_equal(given: &[u8], secret: &[u8]) -> bool {
    let differing = given.iter().zip(secret).fold(0, |differing, (a, b)| differing | (a ^ b));
    given.len() == secret.len() && std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests;
