//! One small HTTP request to a node's own listener: what health, `doctor`, `dev` and `top` ask.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Of an answer, as much is read unless the caller says otherwise: a head and a line or two.
pub(super) const SMALL_ANSWER_BYTES_MAX: u64 = 4096;

/// An answer: its status, its head's lines and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: String,
}

impl Answer {
    /// A header's value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }
}

/// The address to dial for a listener: one on every interface is reached by the loopback's.
pub(super) fn dialled(listener: &str) -> Option<SocketAddr> {
    let mut address: SocketAddr = listener.trim().parse().ok()?;
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { "127.0.0.1" } else { "::1" };
        address.set_ip(loopback.parse().ok()?);
    }
    Some(address)
}

/// Asks for `path`. `None` where nobody answers there, or what answers does not speak HTTP.
pub(super) fn get(address: SocketAddr, path: &str, timeout: Duration, bytes_max: u64) -> Option<Answer> {
    let read = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(bytes_max).read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let text = read().ok()?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
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
    fn an_answer_has_a_status_headers_and_a_body() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            for answer in ["HTTP/1.1 503 Busy\r\nDate: today\r\n\r\nwhy\n", "SSH-2.0\r\n"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0u8; 256];
                let _ = stream.read(&mut request).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let ask = || get(address, "/readyz", Duration::from_secs(5), SMALL_ANSWER_BYTES_MAX);
        let answer = ask().unwrap();
        assert_eq!(
            (answer.status, answer.header("date"), answer.body.as_str()),
            (503, Some("today"), "why\n")
        );
        assert_eq!(ask(), None);
        server.join().unwrap();
    }
}
