//! Every request decoder, by the thousand: over sockets, and through the dispatcher without them.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey as LibraryKey, RequestKind};
use moldau_broker::api::dispatch::Dispatcher;
use moldau_broker::api::{ApiSupport, Reply, SUPPORTED};
use moldau_broker::request_memory::HeldMemory;
use moldau_broker::response::{Chunk, ResponseFrame};
use moldau_kafka::fuzz::MessageGenerator;
use moldau_kafka::{ApiKey, check_request, check_response};
use moldau_model::Principal;

use crate::harness::Node;
use crate::requests::{create_topic, ping};
use crate::watch::{Random, Watch, iterations, seed};

const GROWTH_BYTES_MAX: u64 = 256 << 20;
/// How long an answer is waited for: some requests wait for things that never happen.
const PATIENCE: Duration = Duration::from_millis(100);

/// What became of the requests, for the record.
#[derive(Debug, Default)]
struct Tally {
    answered: u64,
    refused: u64,
    no_response: u64,
    waiting: u64,
}

fn start() -> Node {
    let node = Node::start(&[]);
    // Names that the generator uses.
    let mut client = node.connect();
    for topic in ["topic", "a"] {
        create_topic(&mut client, topic, 2, &[]);
    }
    node
}

fn all_versions() -> Vec<(&'static ApiSupport, i16)> {
    SUPPORTED.iter().flat_map(|row| (row.min..=row.max).map(move |version| (row, version))).collect()
}

/// One body: right in form, a lie, or worse.
fn body(generator: &mut MessageGenerator, random: &mut Random, api_key: ApiKey, version: i16) -> Vec<u8> {
    match random.below(16) {
        0..=3 => generator.valid_request(api_key, version),
        4..=12 => generator.hostile_request(api_key, version),
        13 => {
            // Made for another version.
            let other = api_key.kafka_versions();
            let version = other.min + random.below(usize::from((other.max - other.min + 1) as u16)) as i16;
            generator.valid_request(api_key, version)
        }
        14 => {
            let count = random.below(200);
            random.bytes(count)
        }
        _ => {
            let mut body = generator.valid_request(api_key, version);
            for _ in 0..=random.below(8) {
                let at = random.below(body.len() + 1);
                match random.below(3) {
                    0 => body.truncate(at),
                    1 => drop(body.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x0f])),
                    _ => {
                        if let Some(byte) = body.get_mut(at) {
                            *byte = random.next() as u8;
                        }
                    }
                }
            }
            body
        }
    }
}

/// The answer to a request of this kind has its form.
fn check_answer(api_key: ApiKey, version: i16, correlation_id: i32, frame: &[u8]) {
    let told = frame.first_chunk().map(|bytes| i32::from_be_bytes(*bytes));
    assert_eq!(told, Some(correlation_id), "{api_key} {version}");
    let header_bytes = if api_key.response_header_version(version) >= 1 { 5 } else { 4 };
    let body = frame.get(header_bytes..).unwrap_or_default();
    // ApiVersions answers a version it does not know in version 0 (KIP-511).
    let is_fallback = api_key == ApiKey::ApiVersions && body.starts_with(&35i16.to_be_bytes());
    let version = if is_fallback { 0 } else { version };
    if let Err(error) = check_response(api_key, version, body) {
        panic!("{api_key} {version} answers with what is none: {error}: {body:02x?}");
    }
}

fn in_memory(frame: ResponseFrame) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in frame.into_chunks() {
        match chunk {
            Chunk::Bytes(chunk) => bytes.extend_from_slice(&chunk),
            Chunk::File(slice) => bytes.extend(slice.read_all().unwrap()),
        }
    }
    bytes
}

/// Drives a reply to its end, for as long as it is waited for.
async fn outcome(reply: Reply) -> Option<Reply> {
    let patience = |future| tokio::time::timeout(PATIENCE, future);
    match reply {
        Reply::Pending(future) => patience(future).await.ok().map(Reply::Ready),
        Reply::Deferred(future) => match tokio::time::timeout(PATIENCE, future).await.ok()? {
            Reply::Pending(future) => patience(future).await.ok().map(Reply::Ready),
            reply => Some(reply),
        },
        reply => Some(reply),
    }
}

#[test]
fn every_request_of_every_version_is_answered_or_refused_by_the_dispatcher() {
    let watch = Watch::begin();
    let node = start();
    let (mut generator, mut random) = (MessageGenerator::new(seed()), Random(seed()));
    let versions = all_versions();
    let broker = Arc::clone(node.broker());
    let rounds = iterations(30_000);
    let tally = node.in_runtime(async move {
        let peer = "127.0.0.1:9".parse().unwrap();
        let mut dispatcher = Dispatcher::new(broker, "PLAINTEXT".into(), peer, Principal::anonymous());
        let mut tally: BTreeMap<&str, Tally> = BTreeMap::new();
        for round in 0..rounds {
            let (row, version) = versions[round as usize % versions.len()];
            let api_key = ApiKey::from_code(row.key).unwrap();
            let body = body(&mut generator, &mut random, api_key, version);
            let correlation_id = round as i32;
            let frame = MessageGenerator::frame(api_key, version, correlation_id, &body);
            let tally = tally.entry(row.name).or_default();
            let Ok((reply, _)) = dispatcher.dispatch(BytesMut::from(&frame[4..]), HeldMemory::default())
            else {
                tally.refused += 1;
                continue;
            };
            match outcome(reply).await {
                Some(Reply::Ready(frame)) => {
                    let frame = in_memory(frame);
                    assert!(frame.len() > 4, "{api_key} {version} has no answer: {body:02x?}");
                    check_answer(api_key, version, correlation_id, &frame[4..]);
                    tally.answered += 1;
                }
                Some(Reply::NoResponse { .. }) => tally.no_response += 1,
                Some(Reply::Close(_)) => tally.refused += 1,
                Some(_) | None => tally.waiting += 1,
            }
        }
        tally
    });
    for (name, tally) in &tally {
        println!("{name}: {tally:?}");
        assert!(tally.refused > 0, "{name} was never refused");
    }
    println!("dispatcher: {rounds} executions, grown by {} KiB", watch.growth_bytes() / 1024);
    assert_eq!(watch.panics(), 0);
    assert!(watch.growth_bytes() < GROWTH_BYTES_MAX, "grown by {} bytes", watch.growth_bytes());
    ping(&mut node.connect());
}

/// What a connection said to some frames.
enum Said {
    Answers(Vec<Bytes>),
    Closed,
    Nothing,
}

fn listen(stream: &mut TcpStream, bytes: &[u8], until_correlation_id: i32) -> Said {
    if stream.write_all(bytes).is_err() {
        return Said::Closed;
    }
    let mut answers = Vec::new();
    loop {
        let mut size = [0; 4];
        match read_exact(stream, &mut size) {
            Ok(true) => {}
            Ok(false) => return Said::Closed,
            Err(_) => return Said::Nothing,
        }
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(size)).expect("a size")];
        match read_exact(stream, &mut frame) {
            Ok(true) => {}
            Ok(false) => return Said::Closed,
            Err(_) => return Said::Nothing,
        }
        let is_last = frame.starts_with(&until_correlation_id.to_be_bytes());
        answers.push(Bytes::from(frame));
        if is_last {
            return Said::Answers(answers);
        }
    }
}

/// `Ok(false)`: the peer has ended the connection. An error: it says nothing.
fn read_exact(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<bool> {
    match stream.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Err(error)
        }
        Err(_) => Ok(false),
    }
}

#[test]
fn every_request_of_every_version_is_answered_or_ends_its_connection() {
    let watch = Watch::begin();
    let node = start();
    let (mut generator, mut random) = (MessageGenerator::new(seed() ^ 1), Random(seed() ^ 1));
    let versions = all_versions();
    let rounds = iterations(8_000);
    let connect = || {
        let stream = TcpStream::connect(node.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let (mut stream, mut tally) = (connect(), Tally::default());
    for round in 0..rounds {
        let (row, version) = versions[random.below(versions.len())];
        let api_key = ApiKey::from_code(row.key).unwrap();
        let body = body(&mut generator, &mut random, api_key, version);
        let (id, witness_id) = (round as i32 * 2 + 1, round as i32 * 2 + 2);
        let mut bytes = MessageGenerator::frame(api_key, version, id, &body);
        if random.below(32) == 0 {
            // A header that lies, or a size that does.
            let at = random.below(18);
            bytes[at] = random.next() as u8;
            if bytes[8..12] == witness_id.to_be_bytes() {
                // It would be taken for the witness.
                continue;
            }
        }
        // Its answer says that the one before had none, and that the connection goes on.
        let witness = MessageGenerator::frame(ApiKey::ApiVersions, 0, witness_id, &[]);
        bytes.extend(witness);
        match listen(&mut stream, &bytes, witness_id) {
            Said::Answers(answers) => match answers.as_slice() {
                [_witness] => tally.no_response += 1,
                [answer, _witness] => {
                    tally.answered += 1;
                    if answer.starts_with(&id.to_be_bytes()) && bytes[4..8] == header_of(api_key, version) {
                        check_answer(api_key, version, id, answer);
                    }
                }
                more => panic!("{} answers to two requests", more.len()),
            },
            Said::Closed => {
                tally.refused += 1;
                stream = connect();
            }
            Said::Nothing => {
                tally.waiting += 1;
                stream = connect();
            }
        }
    }
    println!("sockets: {rounds} executions, {tally:?}, grown by {} KiB", watch.growth_bytes() / 1024);
    assert!(tally.answered > 0 && tally.refused > 0);
    assert_eq!(watch.panics(), 0);
    assert!(watch.growth_bytes() < GROWTH_BYTES_MAX, "grown by {} bytes", watch.growth_bytes());
    ping(&mut node.connect());
}

fn header_of(api_key: ApiKey, version: i16) -> [u8; 4] {
    let (key, version) = (api_key.code().to_be_bytes(), version.to_be_bytes());
    [key[0], key[1], version[0], version[1]]
}

#[test]
fn what_passes_the_check_never_breaks_the_decoder() {
    let watch = Watch::begin();
    let (mut generator, mut random) = (MessageGenerator::new(seed() ^ 2), Random(seed() ^ 2));
    let rounds = iterations(100_000);
    let mut passed = 0;
    for _ in 0..rounds {
        let (api_key, version) = generator.api();
        let body = body(&mut generator, &mut random, api_key, version);
        let Ok(message_bytes) = check_request(api_key, version, &body) else { continue };
        let (true, Ok(library)) =
            (api_key.library_versions().contains(version), LibraryKey::try_from(api_key.code()))
        else {
            continue;
        };
        passed += 1;
        let mut message = Bytes::copy_from_slice(&body[..message_bytes]);
        let decoded = RequestKind::decode(library, &mut message, version);
        assert!(decoded.is_err() || message.is_empty(), "{api_key} {version}: {body:02x?}");
    }
    println!("check and decode: {rounds} executions, {passed} passed the check");
    assert!(passed > rounds / 20);
    assert_eq!(watch.panics(), 0);
}

#[test]
fn every_api_key_and_version_that_is_not_served_ends_the_connection() {
    let watch = Watch::begin();
    let node = start();
    let mut refused = 0;
    let served = all_versions();
    let keys = (-2..=100).chain([i16::MIN, i16::MAX, 1000]);
    for key in keys {
        for version in [i16::MIN, -1, 0, 1, 2, 3, 99, i16::MAX] {
            let is_served = served.iter().any(|(row, served)| row.key == key && *served == version);
            // ApiVersions answers whatever the version.
            if is_served || key == ApiKey::ApiVersions.code() {
                continue;
            }
            let mut client = node.connect();
            let mut frame = vec![0, 0, 0, 10];
            frame.extend(key.to_be_bytes());
            frame.extend(version.to_be_bytes());
            frame.extend([0, 0, 0, 1, 0xff, 0xff]);
            client.stream.write_all(&frame).unwrap();
            assert!(client.is_closed(), "{key} {version}");
            refused += 1;
        }
    }
    println!("not served: {refused} pairs of key and version");
    for version in [-1, 5, 99, i16::MAX, i16::MIN] {
        let mut client = node.connect();
        let mut frame = vec![0, 0, 0, 10, 0, 18];
        frame.extend(i16::to_be_bytes(version));
        frame.extend([0, 0, 0, 1, 0xff, 0xff]);
        client.stream.write_all(&frame).unwrap();
        let answer = client.receive_frame().unwrap();
        check_answer(ApiKey::ApiVersions, version, 1, &answer);
        assert_eq!(answer[4..6], 35i16.to_be_bytes(), "{version}");
    }
    assert_eq!(watch.panics(), 0);
    ping(&mut node.connect());
}
