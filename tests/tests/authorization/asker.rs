//! A client that asks from a loopback address of its choice: what an entry for a host can tell apart.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

const ANSWER_WAIT: Duration = Duration::from_secs(20);

pub(crate) struct Asker {
    server: SocketAddr,
    from: IpAddr,
    stream: Option<TcpStream>,
    correlation_id: i32,
}

impl Asker {
    pub(crate) fn new(server: SocketAddr, from: &str) -> Self {
        Self { server, from: from.parse().unwrap(), stream: None, correlation_id: 0 }
    }

    /// The answer in words; `None` if the connection ended in its place.
    pub(crate) fn ask(&mut self, key: ApiKey, version: i16, request: &RequestKind) -> Option<ResponseKind> {
        self.correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("authorization")));
        let mut frame = BytesMut::from(&[0; 4][..]);
        header.encode(&mut frame, key.request_header_version(version)).unwrap();
        request.encode(&mut frame, version).unwrap_or_else(|error| panic!("{key:?} {version}: {error}"));
        let size = u32::try_from(frame.len() - 4).unwrap();
        frame[..4].copy_from_slice(&size.to_be_bytes());
        let mut answer = self.exchange(&frame)?;
        ResponseHeader::decode(&mut answer, key.response_header_version(version)).unwrap();
        Some(ResponseKind::decode(key, &mut answer, version).unwrap())
    }

    /// The same with a frame that somebody else has encoded for a correlation id.
    pub(crate) fn ask_frame(&mut self, encode: impl FnOnce(i32) -> BytesMut) -> Option<Bytes> {
        self.correlation_id += 1;
        let frame = encode(self.correlation_id);
        self.exchange(&frame)
    }

    fn exchange(&mut self, frame: &[u8]) -> Option<Bytes> {
        let mut stream = self.stream.take().unwrap_or_else(|| connect(self.server, self.from));
        stream.write_all(frame).ok()?;
        let mut size = [0; 4];
        stream.read_exact(&mut size).ok()?;
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
        stream.read_exact(&mut answer).ok()?;
        self.stream = Some(stream);
        Some(answer.into())
    }
}

fn connect(server: SocketAddr, from: IpAddr) -> TcpStream {
    let runtime: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(server).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(ANSWER_WAIT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}
