//! Followers' fetches as a leader sees them: what ends their wait, and who is believed to be one.

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::{BrokerId, DeleteRecordsRequest, ProduceRequest};
use moldau_model::ErrorCode;

use crate::cluster::Cluster;
use crate::harness::{Client, eventually};
use crate::requests::*;

/// Followers' fetches wait for longer than any test: what happens happens in spite of that.
const ENDLESS_WAIT: &[(&str, &str)] = &[
    ("replica.fetch.wait.max.ms", "200000"),
    ("replica.socket.timeout.ms", "200000"),
    ("replica.lag.time.max.ms", "200000"),
];

fn delete_records(client: &mut Client, topic: &Topic, offset: i64, timeout_ms: i32) -> (ErrorCode, i64) {
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
    let of_topic =
        DeleteRecordsTopic::default().with_name(name(&topic.name)).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![of_topic]).with_timeout_ms(timeout_ms);
    let response = client.call(2, &request);
    let answer = &response.topics[0].partitions[0];
    (code(answer.error_code), answer.low_watermark)
}

#[test]
fn nothing_that_followers_have_to_hear_of_waits_for_records() {
    let cluster = Cluster::start(ENDLESS_WAIT);
    let mut topics = Vec::new();
    for number in 0..6 {
        // The followers' fetches wait for records of the topics before when they get this one's partitions to follow.
        let topic = cluster.create_topic(&format!("t{number}"), 3, &[]);
        for partition in 0..3 {
            let leader = cluster.wait_for_leader(&topic, partition);
            let mut client = cluster.connect(leader);
            let request = produce_request(9, &topic, partition, -1, batch(&[b"a", b"b", b"c"]));
            let response = client.call(9, &request);
            assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
        }
        topics.push(topic);
    }
    for topic in &topics {
        for partition in 0..3 {
            eventually("everybody hears of the high watermark", || {
                [1, 2, 3].into_iter().all(|id| cluster.high_watermark(id, topic, partition) == 3)
            });
        }
    }
    let topic = &topics[0];
    let mut client = cluster.connect(cluster.leader(topic, 0));
    assert_eq!(delete_records(&mut client, topic, 2, 60_000), (ErrorCode::None, 2));
    for id in [1, 2, 3] {
        assert_eq!(cluster.log_start(id, topic, 0), 2, "broker {id}");
    }
}

#[test]
fn a_deletion_is_answered_when_the_isr_has_followed_and_times_out_before() {
    let mut cluster = Cluster::start(&[]);
    let topic = cluster.create_topic("t", 1, &[]);
    let leader = cluster.wait_for_leader(&topic, 0);
    let mut client = cluster.connect(leader);
    produced(&mut client, &topic, batch(&[b"a", b"b", b"c", b"d"]));
    assert_eq!(delete_records(&mut client, &topic, 1, 60_000), (ErrorCode::None, 1));
    // Dead, and still in the ISR.
    cluster.kill(cluster.followers(&topic, 0)[0]);
    assert_eq!(delete_records(&mut client, &topic, 3, 1), (ErrorCode::RequestTimedOut, -1));
    assert_eq!(delete_records(&mut client, &topic, 3, 60_000), (ErrorCode::None, 3));
    // That was when it had left: the leader heard of it first.
    eventually("it has left", || cluster.isr(&topic, 0).len() == 2);
}

#[test]
fn who_is_not_a_follower_by_registration_and_listener_moves_nothing() {
    let cluster = Cluster::start(&[
        ("listeners", "PLAINTEXT://127.0.0.1:0,OUTSIDE://127.0.0.1:0"),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT"),
        ("inter.broker.listener.name", "PLAINTEXT"),
    ]);
    let topic = cluster.create_topic("t", 1, &[]);
    let leader = cluster.wait_for_leader(&topic, 0);
    let follower = cluster.followers(&topic, 0)[0];
    let mut producer = cluster.connect(leader);
    produced(&mut producer, &topic, batch(&[b"first"]));
    cluster.disk(follower).hold_syncs();
    producer.send(9, &produce_request(9, &topic, 0, -1, batch(&[b"second"])));
    eventually("the record is there", || cluster.log(follower, &topic, 0) == cluster.log(leader, &topic, 0));
    let epoch = cluster.image().broker(moldau_model::BrokerId(follower)).unwrap().epoch.0;
    for (listener, version, replica_epoch) in [
        // Without a registration, with another one, and by a listener that is not the brokers'.
        ("PLAINTEXT", 12, None),
        ("PLAINTEXT", 14, None),
        ("PLAINTEXT", 17, Some(epoch - 1)),
        ("PLAINTEXT", 17, Some(epoch + 1)),
        ("PLAINTEXT", 17, Some(-1)),
        ("OUTSIDE", 17, Some(epoch)),
        ("OUTSIDE", 18, Some(epoch)),
    ] {
        let mut client = cluster.connect_to(leader, listener);
        let mut request = fetch_request(version, &topic, &[from(0, 2)]);
        match replica_epoch {
            None => request.replica_id = BrokerId(follower),
            Some(replica_epoch) => {
                request.replica_state.replica_id = BrokerId(follower);
                request.replica_state.replica_epoch = replica_epoch;
            }
        }
        // As a follower of ours would say that it has it all.
        let durable = bytes::Bytes::copy_from_slice(&2i64.to_be_bytes());
        request.topics[0].partitions[0].unknown_tagged_fields.insert(0x4d44, durable);
        let answer = partitions(client.call(version, &request)).remove(0);
        assert_eq!(code(answer.error_code), ErrorCode::NotLeaderOrFollower, "{listener} {version}");
        assert_eq!(cluster.high_watermark(leader, &topic, 0), 1, "{listener} {version}");
    }
    cluster.disk(follower).release_syncs();
    let (_, response) = producer.receive::<ProduceRequest>(9);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

#[test]
fn consumers_read_from_the_replica_in_their_rack_what_it_knows_to_be_committed() {
    let rack_aware = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
    let cluster = Cluster::start(&[("replica.selector.class", rack_aware), ("broker.rack", "rack-{id}")]);
    let topic = cluster.create_topic("t", 1, &[]);
    let leader = cluster.wait_for_leader(&topic, 0);
    let [close, other] = cluster.followers(&topic, 0)[..] else { panic!("two followers") };
    let mut at_leader = cluster.connect(leader);
    produced(&mut at_leader, &topic, batch(&[b"first", b"second"]));
    let fetch = |client: &mut Client, version: i16, offset: i64, rack: &str, wait_ms: i32| {
        let mut request = fetch_request(version, &topic, &[from(0, offset)]);
        if version >= 11 {
            request.rack_id = text(rack);
        }
        request.max_wait_ms = wait_ms;
        partitions(client.call(version, &request)).remove(0)
    };
    let rack = format!("rack-{close}");
    for version in 11..=18 {
        let sent_away = fetch(&mut at_leader, version, 0, &rack, 0);
        assert_eq!((sent_away.error_code, sent_away.preferred_read_replica.0), (0, close), "{version}");
        assert!(records(&sent_away).is_empty());
        // In the leader's rack, in nobody's, in none.
        for rack in [format!("rack-{leader}"), "nowhere".to_owned(), String::new()] {
            let served = fetch(&mut at_leader, version, 0, &rack, 0);
            assert_eq!(
                (served.preferred_read_replica.0, records(&served).len()),
                (-1, 2),
                "{version} {rack}"
            );
        }
    }
    // Beyond what anybody has, the leader itself says so.
    let error = fetch(&mut at_leader, 12, 99, &rack, 0);
    assert_eq!(code(error.error_code), ErrorCode::OffsetOutOfRange);
    let mut at_follower = cluster.connect(close);
    eventually("the follower knows what is committed", || {
        records(&fetch(&mut at_follower, 12, 0, &rack, 0)).len() == 2
    });
    // Old clients do not know of followers.
    let refused = fetch(&mut at_follower, 10, 0, "", 0);
    assert_eq!(code(refused.error_code), ErrorCode::NotLeaderOrFollower);
    // A record that is there and not committed is not shown, and is no error.
    cluster.disk(other).hold_syncs();
    at_leader.send(9, &produce_request(9, &topic, 0, -1, batch(&[b"third"])));
    eventually("the follower has it", || cluster.log_end(close, &topic, 0) == 3);
    for offset in [2, 3] {
        let quiet = fetch(&mut at_follower, 12, offset, &rack, 0);
        assert_eq!((quiet.error_code, quiet.high_watermark, records(&quiet).len()), (0, 2, 0), "{offset}");
    }
    let beyond = fetch(&mut at_follower, 12, 4, &rack, 0);
    assert_eq!(code(beyond.error_code), ErrorCode::OffsetOutOfRange);
    // It waits there, and is woken by the high watermark.
    let mut request = fetch_request(12, &topic, &[from(0, 2)]);
    request.max_wait_ms = 100_000;
    at_follower.send(12, &request);
    cluster.disk(other).release_syncs();
    let (_, response) = at_follower.receive::<kafka_protocol::messages::FetchRequest>(12);
    assert_eq!(records(&partitions(response)[0]), [(2, b"third".to_vec())]);
}

#[test]
fn what_was_deleted_stays_deleted_after_a_loss_of_power_whoever_leads() {
    let mut cluster = Cluster::start(&[]);
    let topic = cluster.create_topic("t", 1, &[]);
    let leader = cluster.wait_for_leader(&topic, 0);
    let mut client = cluster.connect(leader);
    for _ in 0..5 {
        produced(&mut client, &topic, batch(&[b"a", b"b"]));
    }
    assert_eq!(delete_records(&mut client, &topic, 7, 60_000), (ErrorCode::None, 7));
    for id in [1, 2, 3] {
        cluster.kill_and(id, |disk| disk.files.power_cut(id as u64));
    }
    for id in [1, 2, 3] {
        cluster.start_broker(id);
        // Before anybody could tell it again.
        assert_eq!(cluster.log_start(id, &topic, 0), 7, "broker {id}");
    }
    let leader = cluster.wait_for_leader(&topic, 0);
    let mut client = cluster.connect(leader);
    // The batch of the first one comes whole.
    eventually("what was acknowledged is there", || {
        read_from(&mut client, &topic, 7).iter().filter(|(offset, _)| *offset >= 7).count() == 3
    });
}
