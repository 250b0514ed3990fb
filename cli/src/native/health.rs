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

/// Of an answer, as much is read: a line or two.
const ANSWER_BYTES_MAX: u64 = 4096;

#[derive(Args)]
pub(super) struct Arguments {
    /// Whether clients are sent to this node (the default)
    #[arg(long)]
    ready: bool,
    /// Whether this node's process serves at all
    #[arg(long, conflicts_with = "ready")]
    live: bool,
    /// Whether every partition held here can do without this node for a while
    #[arg(long, conflicts_with_all = ["ready", "live"])]
    restart_safe: bool,
    /// The node's http.listener; default: MOLDAU_HTTP_LISTENER or KAFKA_HTTP_LISTENER, else 127.0.0.1:9644
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Ready,
    Live,
    RestartSafe,
}

impl Question {
    fn of(arguments: &Arguments) -> Self {
        match arguments {
            Arguments { live: true, .. } => Self::Live,
            Arguments { restart_safe: true, .. } => Self::RestartSafe,
            Arguments { .. } => Self::Ready,
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Ready => "/readyz",
            Self::Live => "/livez",
            Self::RestartSafe => "/restart-safe",
        }
    }

    /// The word for yes, in text and as the key in JSON.
    const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Live => "live",
            Self::RestartSafe => "restart-safe",
        }
    }
}

/// What a node said, with the text that came along.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Yes(String),
    No(String),
    /// Nobody serves health there, or somebody else does.
    None,
}

pub(super) fn run(common: &Common, arguments: &Arguments, console: &mut Console<'_>) -> Result<(), Failure> {
    let configured =
        ["MOLDAU_HTTP_LISTENER", "KAFKA_HTTP_LISTENER"].iter().find_map(|name| std::env::var(name).ok());
    let listener = arguments.http.clone().or(configured).unwrap_or_else(|| HTTP_DEFAULT.to_owned());
    let question = Question::of(arguments);
    let answer = match dialled(&listener) {
        Some(address) => ask(address, question, Duration::from_secs(2)),
        None => Answer::None,
    };
    let (yes, details) = match answer {
        Answer::Yes(text) => (true, text),
        Answer::No(text) => (false, text),
        Answer::None if question == Question::RestartSafe => {
            return Err(Failure::Text(format!("nobody serves health on {listener}: see --http")));
        }
        // Health may be off, or its port taken by another program: then a broker that answers is one that serves.
        Answer::None => {
            let mut client = common.client("moldau-health")?;
            let deadline = Instant::now() + Duration::from_secs(2);
            client.metadata(Some(&[]), deadline)?;
            (!client.brokers().is_empty(), String::new())
        }
    };
    let word = question.word();
    let details = details.strip_prefix("ok").unwrap_or(&details).trim();
    let has_more = !details.is_empty();
    if common.is_json() {
        let mut value = json!({ word.replace('-', "_"): yes });
        if has_more {
            value["details"] = details.into();
        }
        super::json(&value, console)?;
    } else {
        let details = if has_more { format!(": {details}") } else { String::new() };
        if yes {
            outln!(console, "{word}{details}");
        } else {
            errln!(console, "not {word}{details}");
        }
    }
    if yes { Ok(()) } else { Err(Failure::Unhealthy) }
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

fn ask(address: SocketAddr, question: Question, timeout: Duration) -> Answer {
    let answer = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        let path = question.path();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let Ok(answer) = answer() else { return Answer::None };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.starts_with("HTTP/1.1 200") {
        Answer::Yes(body.to_owned())
    } else if head.starts_with("HTTP/1.1 503") {
        Answer::No(body.to_owned())
    } else {
        Answer::None
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
            ("200 OK", Answer::Yes("why\n".into())),
            ("503 Service Unavailable", Answer::No("why\n".into())),
            ("404 Not Found", Answer::None),
        ] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0u8; 256];
                let _ = stream.read(&mut request).unwrap();
                stream.write_all(format!("HTTP/1.1 {status}\r\n\r\nwhy\n").as_bytes()).unwrap();
            });
            assert_eq!(ask(address, Question::Ready, Duration::from_secs(5)), expected, "{status}");
            server.join().unwrap();
        }
    }
}
