//! `moldau health`: this node alone, fast enough for a container's HEALTHCHECK every second.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::http::{self, dialled};
use super::{Common, Failure};
use crate::console::{Console, errln, outln};

/// Where a node serves health unless its configuration says otherwise.
const HTTP_DEFAULT: &str = "127.0.0.1:9644";

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

fn ask(address: SocketAddr, question: Question, timeout: Duration) -> Answer {
    match http::get(address, question.path(), timeout, http::SMALL_ANSWER_BYTES_MAX) {
        Some(answer) if answer.status == 200 => Answer::Yes(answer.body),
        Some(answer) if answer.status == 503 => Answer::No(answer.body),
        _ => Answer::None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

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
