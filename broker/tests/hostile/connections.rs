//! Connections: how many there may be, how long they may idle, what a size may say.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use kafka_protocol::messages::{ApiVersionsRequest, FetchRequest, MetadataRequest};
use moldau_kafka::ApiKey;
use moldau_kafka::fuzz::MessageGenerator;

use crate::harness::{Client, LIMIT, Node, eventually};
use crate::requests::*;
use crate::watch::Watch;

fn serves(client: &mut Client) {
    assert_eq!(client.call(0, &ApiVersionsRequest::default()).error_code, 0);
}

#[test]
fn more_connections_than_max_connections_wait_until_another_one_ends() {
    let node = Node::start(&[("max.connections", "3")]);
    let mut open: Vec<Client> = (0..3).map(|_| node.connect()).collect();
    open.iter_mut().for_each(serves);
    let mut waiting = node.connect();
    waiting.send(0, &ApiVersionsRequest::default());
    waiting.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut nothing = [0; 1];
    assert!(waiting.stream.peek(&mut nothing).is_err(), "it is neither served nor closed");
    open.iter_mut().for_each(serves);
    drop(open.pop());
    waiting.stream.set_read_timeout(Some(LIMIT)).unwrap();
    let (_, response) = waiting.receive::<ApiVersionsRequest>(0);
    assert_eq!(response.error_code, 0);
}

#[test]
fn more_connections_than_one_address_may_have_are_closed() {
    let node = Node::start(&[("max.connections.per.ip", "2")]);
    let mut open: Vec<Client> = (0..2).map(|_| node.connect()).collect();
    open.iter_mut().for_each(serves);
    for _ in 0..20 {
        assert!(node.connect().is_closed());
    }
    open.iter_mut().for_each(serves);
    drop(open.pop());
    eventually("the place comes back", || {
        let mut client = node.connect();
        client.send(0, &ApiVersionsRequest::default());
        client.receive_frame().is_some()
    });
}

#[test]
fn an_address_may_have_a_bound_of_its_own() {
    let node = Node::start(&[
        ("max.connections.per.ip", "0"),
        ("max.connections.per.ip.overrides", "127.0.0.1:2,127.0.0.9:1"),
    ]);
    let mut open: Vec<Client> = (0..2).map(|_| node.connect()).collect();
    open.iter_mut().for_each(serves);
    assert!(node.connect().is_closed());
    open.iter_mut().for_each(serves);
}

#[test]
fn connections_that_come_faster_than_they_may_are_served_all_the_same_each_in_its_turn() {
    let node = Node::start(&[("max.connection.creation.rate", "1")]);
    let mut clients: Vec<Client> = (0..5).map(|_| node.connect()).collect();
    clients.iter_mut().for_each(serves);
}

#[test]
fn a_connection_that_idles_is_closed_and_one_that_asks_is_not() {
    let node = Node::start(&[("connections.max.idle.ms", "1500")]);
    let (mut busy, mut idle) = (node.connect(), node.connect());
    serves(&mut idle);
    let idles = std::thread::spawn(move || idle.is_closed());
    while !idles.is_finished() {
        serves(&mut busy);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(idles.join().unwrap());
    serves(&mut busy);
}

#[test]
fn a_size_beyond_the_bound_or_below_zero_ends_the_connection() {
    let node = Node::start(&[("socket.request.max.bytes", "1000")]);
    for size in [-1, i32::MIN, 1001, i32::MAX, i32::from_be_bytes(*b"GET "), 0x1603_0102, 0] {
        let mut client = node.connect();
        client.stream.write_all(&size.to_be_bytes()).unwrap();
        assert!(client.is_closed(), "{size}");
    }
    let mut client = node.connect();
    // As large as is allowed.
    let names = vec![None; 100];
    let topics = names.into_iter().map(|_: Option<()>| {
        kafka_protocol::messages::metadata_request::MetadataRequestTopic::default()
            .with_name(Some(name("abcdef")))
    });
    let request = MetadataRequest::default().with_topics(Some(topics.collect()));
    assert!(client.frame(1, &request).len() < 1000);
    client.call(1, &request);
}

#[test]
fn other_protocols_and_broken_off_requests_harm_nobody() {
    let watch = Watch::begin();
    let node = Node::start(&[]);
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x00\x00\x00\x08\x00\x03\x00\x01\x00\x00\x00\x01",
        b"\x00\x00\x00\x02\x00\x03",
    ] {
        let mut client = node.connect();
        client.stream.write_all(bytes).unwrap();
        assert!(client.is_closed(), "{bytes:02x?}");
    }
    for broken_off in [&b"\x00"[..], b"\x00\x00\x00\x20", b"\x00\x00\x00\x20\x00\x03\x00\x01"] {
        let mut client = node.connect();
        client.stream.write_all(broken_off).unwrap();
        client.stream.shutdown(Shutdown::Write).unwrap();
        assert!(client.is_closed(), "{broken_off:02x?}");
    }
    // Requests whose senders are gone before the answer is there.
    let topic = create_topic(&mut node.connect(), "t", 1, &[]);
    for _ in 0..50 {
        let mut client = node.connect();
        let mut fetch = fetch_request(12, &topic, &[from(0, 0)]);
        fetch.max_wait_ms = 600_000;
        client.send(12, &fetch);
        drop(client);
    }
    assert_eq!(watch.panics(), 0);
    ping(&mut node.connect());
}

#[test]
fn what_was_asked_before_garbage_is_answered_and_what_comes_after_is_not() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let before = MessageGenerator::frame(ApiKey::ApiVersions, 0, 7, &[]);
    let garbage = MessageGenerator::frame(ApiKey::Metadata, 1, 8, &[0x7f, 0xff, 0xff, 0xff]);
    let after = MessageGenerator::frame(ApiKey::ApiVersions, 0, 9, &[]);
    client.stream.write_all(&[before, garbage, after].concat()).unwrap();
    assert!(client.receive_frame().unwrap().starts_with(&7i32.to_be_bytes()));
    assert!(client.is_closed());
}

#[test]
fn requests_that_are_pipelined_beyond_every_bound_are_all_answered_in_order() {
    const COUNT: i32 = 10_000;
    let node = Node::start(&[]);
    let client = node.connect();
    let topic = create_topic(&mut node.connect(), "t", 1, &[]);
    let mut writer = client.stream.try_clone().unwrap();
    let mut fetching = node.connect();
    let mut wait = fetch_request(12, &topic, &[from(0, 0)]);
    wait.max_wait_ms = 20;
    let mut bytes = Vec::new();
    for number in 0..COUNT {
        if number % 1000 == 0 {
            // It waits, and all that comes after it waits with it.
            let frame = fetching.frame(12, &wait);
            bytes.extend_from_slice(&frame[..8]);
            bytes.extend_from_slice(&number.to_be_bytes());
            bytes.extend_from_slice(&frame[12..]);
        } else {
            bytes.extend(MessageGenerator::frame(ApiKey::ApiVersions, 0, number, &[]));
        }
    }
    let writes = std::thread::spawn(move || writer.write_all(&bytes));
    let mut client = client;
    for number in 0..COUNT {
        let frame = client.receive_frame().unwrap();
        assert!(frame.starts_with(&number.to_be_bytes()), "{number}");
    }
    writes.join().unwrap().unwrap();
}

#[test]
fn a_flood_of_connections_that_come_and_go_leaves_none_behind() {
    let watch = Watch::begin();
    let node = Node::start(&[("max.connections", "100000")]);
    serves(&mut node.connect());
    for round in 0..3_000 {
        let mut stream = TcpStream::connect(node.address()).unwrap();
        if round % 3 == 0 {
            stream.write_all(&[0, 0, 0, 50, 0]).unwrap();
        }
    }
    let mut held: Vec<Client> = (0..500).map(|_| node.connect()).collect();
    held.iter_mut().step_by(50).for_each(serves);
    ping(&mut node.connect());
    assert!(watch.growth_bytes() < 64 << 20, "grown by {} bytes", watch.growth_bytes());
    assert_eq!(watch.panics(), 0);
}

#[test]
fn waiting_fetches_leave_nothing_behind_when_their_clients_go() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    let mut waiting = fetch_request(12, &topic, &[from(0, 0)]);
    waiting.max_wait_ms = 600_000;
    for _ in 0..200 {
        let mut gone = node.connect();
        gone.send(12, &waiting);
    }
    let mut there = node.connect();
    there.send(12, &waiting);
    assert_eq!(produced(&mut client, &topic, batch(&[b"x"])), 0);
    let (_, response) = there.receive::<FetchRequest>(12);
    assert_eq!(partitions(response).len(), 1);
}
