//! `moldau health`: this node alone, fast enough for a container's HEALTHCHECK every second.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::{Common, Failure};
use crate::console::{Console, errln, outln};

/// Where a node serves health unless its configuration says otherwise.
const HTTP_DEFAULT: &str = "127.0.0.1:9644";

#[derive(Args)]
pub(super) struct Arguments {
    /// The node's http.listener; default: MOLDAU_HTTP_LISTENER or KAFKA_HTTP_LISTENER, else 127.0.0.1:9644
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
}

/// What a node said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Ready,
    NotReady,
    /// Nobody serves health there, or somebody else does.
    None,
}

pub(super) fn run(common: &Common, arguments: &Arguments, console: &mut Console<'_>) -> Result<(), Failure> {
    let configured =
        ["MOLDAU_HTTP_LISTENER", "KAFKA_HTTP_LISTENER"].iter().find_map(|name| std::env::var(name).ok());
    let listener = arguments.http.clone().or(configured).unwrap_or_else(|| HTTP_DEFAULT.to_owned());
    let answer = match dialled(&listener) {
        Some(address) => ask(address, Duration::from_secs(2)),
        None => Answer::None,
    };
    // Health may be off, or its port taken by another program: then a broker that answers is one that serves.
    let ready = match answer {
        Answer::Ready => true,
        Answer::NotReady => false,
        Answer::None => {
            let mut client = common.client("moldau-health")?;
            let deadline = Instant::now() + Duration::from_secs(2);
            client.metadata(Some(&[]), deadline)?;
            !client.brokers().is_empty()
        }
    };
    if common.is_json() {
        super::json(&json!({"ready": ready}), console)?;
    } else if ready {
        outln!(console, "ready");
    } else {
        errln!(console, "not ready");
    }
    if ready { Ok(()) } else { Err(Failure::Unhealthy) }
}

/// The address to dial for a listener: one on every interface is reached by the loopback's.
fn dialled(listener: &str) -> Option<SocketAddr> {
    let address: SocketAddr = listener.trim().parse().ok()?;
    let mut address = address;
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { "127.0.0.1" } else { "::1" };
        address.set_ip(loopback.parse().ok()?);
    }
    Some(address)
}

fn ask(address: SocketAddr, timeout: Duration) -> Answer {
    let answer = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.write_all(
            format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
        )?;
        let mut head = Vec::new();
        stream.take(64).read_to_end(&mut head)?;
        Ok(String::from_utf8_lossy(&head).into_owned())
    };
    match answer() {
        Ok(head) if head.starts_with("HTTP/1.1 200") => Answer::Ready,
        Ok(head) if head.starts_with("HTTP/1.1 503") => Answer::NotReady,
        _ => Answer::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_interface_is_asked_on_the_loopback() {
        assert_eq!(dialled("0.0.0.0:9644"), Some("127.0.0.1:9644".parse().unwrap()));
        assert_eq!(dialled("[::]:9644"), Some("[::1]:9644".parse().unwrap()));
        assert_eq!(dialled("10.0.0.1:1"), Some("10.0.0.1:1".parse().unwrap()));
        assert_eq!(dialled("off"), None);
    }

    #[test]
    fn an_answer_is_told_by_its_status() {
        for (status, expected) in [
            ("200 OK", Answer::Ready),
            ("503 Service Unavailable", Answer::NotReady),
            ("404 Not Found", Answer::None),
        ] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0u8; 256];
                let _ = stream.read(&mut request).unwrap();
                stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).unwrap();
            });
            assert_eq!(ask(address, Duration::from_secs(5)), expected, "{status}");
            server.join().unwrap();
        }
    }
}
