//! What clients that do not play by the rules may cost in memory.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use kafka_protocol::messages::FetchRequest;
use kafka_protocol::protocol::Request;
use moldau_kafka::ApiKey;
use moldau_kafka::fuzz::MessageGenerator;

use crate::harness::{Client, Node, eventually};
use crate::requests::*;
use crate::watch::Watch;

/// Writes until the peer takes no more for a while; how much it took.
fn write_until_stuck(client: &mut Client, frame: &[u8], bytes_max: usize) -> usize {
    client.stream.set_write_timeout(Some(Duration::from_millis(700))).unwrap();
    let mut written = 0;
    'frames: while written < bytes_max {
        let mut rest = frame;
        while !rest.is_empty() {
            match client.stream.write(rest) {
                Ok(count) => {
                    written += count;
                    rest = &rest[count..];
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    break 'frames;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    written
}

#[test]
fn who_does_not_read_his_answers_is_not_read_from_either() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    // Answers of some hundred kilobytes each, to requests of some hundred bytes.
    let topic = create_topic(&mut client, "t", 1, &[]);
    for _ in 0..20 {
        produced(&mut client, &topic, batch(&[&[b'x'; 50_000]]));
    }
    create_topic(&mut client, "wide", 1000, &[]);
    let watch = Watch::begin();
    // In memory: many partitions. From files: one with many bytes. And answers that are small.
    let mut metadata = client.frame(
        1,
        &kafka_protocol::messages::MetadataRequest::default().with_topics(Some(vec![
            kafka_protocol::messages::metadata_request::MetadataRequestTopic::default()
                .with_name(Some(name("wide"))),
        ])),
    );
    let fetch = client.frame(12, &fetch_request(12, &topic, &[from(0, 0)]));
    let versions = MessageGenerator::frame(ApiKey::ApiVersions, 0, 1, &[]);
    let mut stuck = Vec::new();
    for frame in [&mut metadata, &mut fetch.clone(), &mut versions.clone()] {
        for _ in 0..4 {
            let mut deaf = node.connect();
            let taken = write_until_stuck(&mut deaf, frame, 64 << 20);
            // What is taken lies in socket buffers, not in the broker.
            assert!(taken < 32 << 20, "the broker took {taken} bytes");
            stuck.push(deaf);
        }
    }
    println!("grown by {} KiB", watch.growth_bytes() / 1024);
    assert!(watch.growth_bytes() < 64 << 20, "grown by {} bytes", watch.growth_bytes());
    // Others are served, and who begins to read gets what he asked for.
    ping(&mut node.connect());
    let mut first = stuck.remove(0);
    for _ in 0..20 {
        assert!(first.receive_frame().is_some());
    }
}

#[test]
fn half_requests_hold_no_more_than_they_sent_and_no_more_than_the_budget() {
    const PART: usize = 3 << 20;
    let node =
        Node::start(&[("queued.max.request.bytes", "33554432"), ("socket.request.max.bytes", "33554432")]);
    let topic = create_topic(&mut node.connect(), "t", 1, &[]);
    let watch = Watch::begin();
    let mut held = Vec::new();
    let part = vec![0u8; PART];
    for _ in 0..40 {
        let mut half = node.connect();
        half.stream.write_all(&(32i32 << 20).to_be_bytes()).unwrap();
        half.stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        // Once the budget is spent, the rest stays in the socket.
        let _ = half.stream.write_all(&part);
        held.push(half);
    }
    println!("grown by {} KiB", watch.growth_bytes() / 1024);
    assert!(watch.growth_bytes() < 96 << 20, "grown by {} bytes", watch.growth_bytes());
    // Small requests need none of the budget.
    ping(&mut node.connect());
    assert_eq!(produced(&mut node.connect(), &topic, batch(&[b"x"])), 0);
    // A large one is served once others have given up.
    drop(held);
    let mut client = node.connect();
    assert_eq!(produced(&mut client, &topic, batch(&[&vec![1; 900_000]])), 1);
}

#[test]
fn large_requests_that_wait_are_not_piled_up_on_one_connection() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    let mut wait = fetch_request(12, &topic, &[from(0, 0)]);
    wait.max_wait_ms = 600_000;
    // A fetch that waits, and behind it fetches that repeat themselves in 2 MB each.
    let first = client.frame(12, &wait);
    let mut many = fetch_request(12, &topic, &vec![from(0, 0); 50_000]);
    many.max_wait_ms = 600_000;
    let large = client.frame(12, &many);
    assert!(large.len() > 1 << 20, "{}", large.len());
    let watch = Watch::begin();
    let mut greedy = node.connect();
    greedy.stream.write_all(&first).unwrap();
    let taken = write_until_stuck(&mut greedy, &large, 256 << 20);
    println!("took {} KiB, grown by {} KiB", taken / 1024, watch.growth_bytes() / 1024);
    assert!(taken < 64 << 20, "the broker took {taken} bytes");
    assert!(watch.growth_bytes() < 96 << 20, "grown by {} bytes", watch.growth_bytes());
    // The wait ends, and the connection goes on.
    produced(&mut client, &topic, batch(&[b"x"]));
    let (_, response) = greedy.receive::<FetchRequest>(12);
    assert_eq!(partitions(response).len(), 1);
    assert_eq!(FetchRequest::KEY, 1);
    eventually("those behind it are answered", || greedy.receive_frame().is_some());
}
