//! One GET of a set of keys, bounded in size and time. What is not there is as much a part of it: no redirects, which would have
//! somebody else say where keys come from; no cookies, no compression, no connection that is kept.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use moldau_metadata::config::security::KeysEndpoint;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::link::server_name;

/// From the name's look-up to the last byte.
const LIMIT: Duration = Duration::from_secs(10);
/// A longer answer is no key set.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// What may be buffered of an answer, its head included.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Why nothing was fetched. Nothing of an answer is repeated.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it does not speak HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the URL cannot be asked for: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("it answers {0}, and 200 alone is taken")]
    Status(u16),
    #[error("the answer has more than {BODY_BYTES_MAX} bytes")]
    TooLong,
    #[error("no whole answer within {} seconds", LIMIT.as_secs())]
    Timeout,
}

pub(super) async fn get(endpoint: &KeysEndpoint, config: Arc<ClientConfig>) -> Result<Vec<u8>, FetchError> {
    // Boxed: the buffers of TLS and HTTP are in it.
    in_time(Box::pin(async {
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
        let stream = TlsConnector::from(config).connect(server_name(&endpoint.host)?, stream).await?;
        get_over(stream, endpoint).await
    }))
    .await
}

async fn in_time(got: impl Future<Output = Result<Vec<u8>, FetchError>>) -> Result<Vec<u8>, FetchError> {
    tokio::time::timeout(LIMIT, got).await.unwrap_or(Err(FetchError::Timeout))
}

async fn get_over(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    endpoint: &KeysEndpoint,
) -> Result<Vec<u8>, FetchError> {
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(BUFFER_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let request = Request::get(&endpoint.path_and_query)
        .header(HOST, endpoint.authority())
        .header(ACCEPT, "application/json, application/jwk-set+json")
        .header(USER_AGENT, concat!("moldau/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(String::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        bounded(response.into_body()).await
    };
    // The connection moves the bytes; what became of it is what became of the exchange.
    let moved = async {
        drop(connection.await);
        pending().await
    };
    first_of(exchange, moved).await
}

async fn first_of<T>(one: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    tokio::select! {
        outcome = one => outcome,
        outcome = other => outcome,
    }
}

async fn bounded(mut body: Incoming) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        // Trailers are of no interest.
        let Ok(data) = frame?.into_data() else { continue };
        if bytes.len() + data.len() > BODY_BYTES_MAX {
            return Err(FetchError::TooLong);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::oauth::endpoint::tests::endpoint;

    /// What comes of an answer that comes in pieces, with a pause before each but the first.
    async fn answered(pieces: Vec<Vec<u8>>, pause: Duration) -> Result<Vec<u8>, FetchError> {
        let (client, mut server) = tokio::io::duplex(4096);
        let serving = tokio::spawn(async move {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(server.read_u8().await.unwrap());
            }
            for piece in pieces {
                if server.write_all(&piece).await.is_err() {
                    break;
                }
                tokio::time::sleep(pause).await;
            }
            String::from_utf8(asked).unwrap()
        });
        let got = in_time(Box::pin(get_over(client, &endpoint()))).await;
        if let Ok(asked) = serving.await {
            assert!(asked.starts_with("GET /keys?secret=x HTTP/1.1\r\nhost: idp:8443\r\n"), "{asked}");
        }
        got
    }

    fn ok(rest: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\n{rest}").into_bytes()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_taken_as_http_has_it() {
        for answer in [
            ok("Content-Length: 4\r\n\r\nkeys and more"),
            ok("Transfer-Encoding: chunked\r\n\r\n2\r\nke\r\n2\r\nys\r\n0\r\n\r\n"),
            ok("\r\nkeys"),
        ] {
            assert_eq!(answered(vec![answer], Duration::ZERO).await.unwrap(), b"keys");
        }
        let slow = vec![ok("Content-Length: 4\r\n\r\nke"), b"ys".to_vec()];
        assert_eq!(answered(slow, Duration::from_secs(9)).await.unwrap(), b"keys");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_bounded_in_size_and_time() {
        let piece = vec![b'x'; 64 * 1024];
        let pieces = |head: &str, count| [vec![ok(head)], vec![piece.clone(); count]].concat();
        let whole = answered(pieces("\r\n", 16), Duration::ZERO).await.unwrap();
        assert_eq!(whole.len(), BODY_BYTES_MAX);
        for head in ["\r\n", "Content-Length: 100000000\r\n\r\n"] {
            let refused = answered(pieces(head, 17), Duration::ZERO).await;
            assert!(matches!(refused, Err(FetchError::TooLong)), "{refused:?}");
        }
        // Each byte is in time, and all of them are not.
        let drops = vec![b"x".to_vec(); 100];
        let refused = answered([vec![ok("\r\n")], drops].concat(), Duration::from_secs(1)).await;
        assert!(matches!(refused, Err(FetchError::Timeout)), "{refused:?}");
        let refused = answered(vec![ok("X: ")], Duration::from_secs(60)).await;
        assert!(matches!(refused, Err(FetchError::Timeout)), "{refused:?}");
        let header = format!("X: {}\r\n\r\n", "x".repeat(BUFFER_BYTES_MAX));
        assert!(matches!(answered(vec![ok(&header)], Duration::ZERO).await, Err(FetchError::Http(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_whole_answer_is_none() {
        for (status, answer) in [
            (302, "HTTP/1.1 302 Found\r\nLocation: https://elsewhere/\r\n\r\n"),
            (404, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nkeys"),
            (204, "HTTP/1.1 204 No Content\r\n\r\n"),
        ] {
            let refused = answered(vec![answer.into()], Duration::ZERO).await;
            assert!(matches!(refused, Err(FetchError::Status(found)) if found == status), "{refused:?}");
        }
        for answer in ["", "SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nkeys"] {
            let refused = answered(vec![answer.into()], Duration::ZERO).await;
            assert!(matches!(refused, Err(FetchError::Http(_))), "{refused:?}");
        }
    }
}
