//! SASL inside of Kafka's protocol: SaslHandshake (17) names the mechanism, SaslAuthenticate (36) carries its messages, or
//! frames without a header do where the handshake was of version 0. Pure: frames in, frames and a verdict out.

mod client;
mod own_login;
mod plain;
mod server;
mod wire;

pub use client::{ClientStep, SaslClient, SaslClientError};
pub use own_login::{OwnLogin, WithOwnLogin};
pub use server::{Authenticator, CredentialStore, Refusal, SaslServer, Step};
