//! What a node that is not ready yet tells those who read its log: which controllers it cannot reach, and why.

use std::convert::Infallible;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::client::error::io_reason;

/// How long a start may take before anything is said of it: nodes of a new cluster come one after the other.
const TOLD_AFTER: Duration = Duration::from_secs(10);
/// How often it is said again.
const TOLD_EVERY: Duration = Duration::from_secs(30);
/// How long a controller may take to accept.
const DIAL_LIMIT: Duration = Duration::from_secs(2);

/// Tells now and then, for as long as it is polled.
pub(super) async fn tell(controllers: &[String]) -> Infallible {
    let begun = Instant::now();
    sleep(TOLD_AFTER).await;
    loop {
        let unreachable = unreachable(controllers).await;
        let seconds = begun.elapsed().as_secs();
        if unreachable.is_empty() {
            tracing::info!(seconds, "not ready yet");
        } else {
            let unreachable = unreachable.join("; ");
            tracing::warn!(
                seconds,
                unreachable,
                "not ready yet: there are controllers that cannot be reached"
            );
        }
        sleep(TOLD_EVERY).await;
    }
}

/// Those that do not accept, each with the reason.
async fn unreachable(controllers: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for address in controllers {
        let reason = match timeout(DIAL_LIMIT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => continue,
            Ok(Err(error)) => io_reason(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        found.push(format!("{address}: {reason}"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_that_cannot_be_reached_are_named_with_the_reason() {
        let there = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let controllers = [
            there.local_addr().unwrap().to_string(),
            gone.to_string(),
            "no-such-host.invalid:9093".to_owned(),
        ];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(unreachable(&controllers));
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0], format!("{gone}: connection refused"));
        assert!(found[1].starts_with("no-such-host.invalid:9093: ") && found[1].len() > 27, "{found:?}");
    }
}
