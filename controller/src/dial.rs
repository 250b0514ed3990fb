//! Whether a process is there: its port is dialled, and the connection dropped.

use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, ToSocketAddrs};

/// What became of dialling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialled {
    /// Somebody listens.
    Accepted,
    /// The machine is there, and nobody listens on it: the process has ended.
    Refused,
    /// Neither: it may be there, and cut off.
    Unknown,
}

pub(crate) async fn dial(address: impl ToSocketAddrs, limit: Duration) -> Dialled {
    match tokio::time::timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Dialled::Accepted,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Dialled::Refused,
        Ok(Err(_)) | Err(_) => Dialled::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_refusal_is_one() {
        let limit = Duration::from_secs(10);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(dial(address, limit).await, Dialled::Accepted);
        drop(listener);
        assert_eq!(dial(address, limit).await, Dialled::Refused);
        assert_eq!(dial("no-such-host.invalid:1", limit).await, Dialled::Unknown);
    }
}
