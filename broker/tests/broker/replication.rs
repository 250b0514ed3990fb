//! Three replicas: what is acknowledged is on all that are in sync, durably, and byte for byte.

use std::time::{Duration, Instant};

use kafka_protocol::messages::ProduceRequest;
use moldau_model::ErrorCode;

use crate::cluster::Cluster;
use crate::harness::{Client, eventually};
use crate::requests::*;

fn value(number: usize) -> Vec<u8> {
    format!("value {number}").into_bytes()
}

#[test]
fn what_is_acknowledged_by_all_is_on_all_byte_for_byte() {
    let cluster = Cluster::start(&[]);
    let topic = cluster.create_topic("t", 1, &[("segment.bytes", "1048576")]);
    let leader = cluster.wait_for_leader(&topic, 0);
    let mut client = cluster.connect(leader);
    for number in 0..200 {
        let value = vec![b'a' + (number % 26) as u8; 1 + number * 100];
        assert_eq!(produced(&mut client, &topic, batch(&[&value, b"second"])), 2 * number as i64);
    }
    let expected = cluster.log(leader, &topic, 0);
    assert!(expected.len() > 2_000_000);
    for id in [1, 2, 3] {
        assert!(cluster.log(id, &topic, 0) == expected, "broker {id}");
    }
    // The followers hear of the high watermark although nothing more is produced.
    eventually("everybody knows what is committed", || {
        [1, 2, 3].into_iter().all(|id| cluster.high_watermark(id, &topic, 0) == 400)
    });
}

#[test]
fn a_record_is_acknowledged_when_it_is_durable_on_the_isr_and_not_when_it_is_there() {
    let cluster = Cluster::start(&[]);
    let topic = cluster.create_topic("t", 1, &[]);
    let leader = cluster.wait_for_leader(&topic, 0);
    let slow = cluster.followers(&topic, 0)[0];
    let mut client = cluster.connect(leader);
    produced(&mut client, &topic, batch(&[b"first"]));
    cluster.disk(slow).hold_syncs();
    client.send(9, &produce_request(9, &topic, 0, -1, batch(&[b"second"])));
    eventually("the follower has the record", || {
        cluster.log(slow, &topic, 0) == cluster.log(leader, &topic, 0)
    });
    // It has been there for a while, and asked for more.
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(cluster.high_watermark(leader, &topic, 0), 1);
    cluster.disk(slow).release_syncs();
    let (_, response) = client.receive::<ProduceRequest>(9);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    assert_eq!(cluster.high_watermark(leader, &topic, 0), 2);
}

/// For so long a round with the followers is waited for.
const ROUND_WAITED: Duration = Duration::from_millis(20);

/// One sync of each replica is to cover all that a lone producer has in flight: what it sends while a round is out is the next one.
#[test]
fn a_producer_that_is_alone_has_one_round_with_the_followers_at_a_time() {
    let cluster = Cluster::start(&[]);
    let topic = cluster.create_topic("t", 1, &[]);
    let leader = cluster.wait_for_leader(&topic, 0);
    let slow = cluster.followers(&topic, 0)[0];
    let mut client = cluster.connect(leader);
    let end = || cluster.log_end(leader, &topic, 0);
    // For how long the second of two is not appended, while the first is on its way. Both are answered in their order.
    let waited_with_second = |client: &mut Client| {
        let before = end();
        cluster.disk(slow).hold_syncs();
        let begun = Instant::now();
        client.send(9, &produce_request(9, &topic, 0, -1, batch(&[b"first"])));
        eventually("the first is with the follower", || cluster.log_end(slow, &topic, 0) == before + 1);
        client.send(9, &produce_request(9, &topic, 0, -1, batch(&[b"second"])));
        eventually("the second is not held back for ever", || end() == before + 2);
        let waited = begun.elapsed();
        cluster.disk(slow).release_syncs();
        for offset in [before, before + 1] {
            let (_, response) = client.receive::<ProduceRequest>(9);
            let answer = &response.responses[0].partition_responses[0];
            assert_eq!((answer.error_code, answer.base_offset), (0, offset));
        }
        waited
    };
    // On a busy machine rounds take too long to be waited for, and are tried again after some turns.
    let is_held_back = (0..20).any(|_| {
        for number in 0..100 {
            produced(&mut client, &topic, batch(&[&value(number)]));
        }
        waited_with_second(&mut client) >= ROUND_WAITED
    });
    assert!(is_held_back);
    // With another client's requests there are others whose syncs cover this one's.
    let is_ever_at_once = (0..20).any(|_| {
        produced(&mut cluster.connect(leader), &topic, batch(&[b"another's"]));
        waited_with_second(&mut client) < ROUND_WAITED
    });
    assert!(is_ever_at_once);
}

#[test]
fn a_follower_that_stops_leaves_the_isr_and_returns_with_all_that_it_missed() {
    let mut cluster = Cluster::start(&[("min.insync.replicas", "2")]);
    let topic = cluster.create_topic("t", 3, &[]);
    for round in 0..2 {
        let leader = cluster.wait_for_leader(&topic, 0);
        let follower = cluster.followers(&topic, 0)[round];
        if round == 0 {
            cluster.stop(follower);
        } else {
            cluster.kill(follower);
        }
        let remaining: Vec<i32> = [1, 2, 3].into_iter().filter(|id| *id != follower).collect();
        cluster.wait_for_isr(&topic, 0, &remaining);
        let mut client = cluster.connect(leader);
        for number in 0..50 {
            produced(&mut client, &topic, batch(&[&value(number)]));
        }
        cluster.start_broker(follower);
        cluster.wait_for_isr(&topic, 0, &[1, 2, 3]);
        assert!(cluster.log(follower, &topic, 0) == cluster.log(leader, &topic, 0), "round {round}");
    }
}

#[test]
fn a_follower_whose_disk_stands_still_is_dropped_for_its_lag_and_taken_back() {
    let cluster = Cluster::start(&[("replica.lag.time.max.ms", "1500"), ("min.insync.replicas", "2")]);
    let topic = cluster.create_topic("t", 1, &[]);
    let leader = cluster.wait_for_leader(&topic, 0);
    let [slow, other] = cluster.followers(&topic, 0)[..] else { panic!("two followers") };
    let mut client = cluster.connect(leader);
    produced(&mut client, &topic, batch(&[b"first"]));
    cluster.disk(slow).hold_syncs();
    // It is answered when the follower has left, and not before.
    produced(&mut client, &topic, batch(&[b"second"]));
    let mut without = [leader, other];
    without.sort_unstable();
    cluster.wait_for_isr(&topic, 0, &without);
    cluster.disk(slow).release_syncs();
    cluster.wait_for_isr(&topic, 0, &[1, 2, 3]);
}

#[test]
fn too_few_in_sync_replicas_refuse_an_append_and_hold_what_is_appended() {
    let mut cluster = Cluster::start(&[("replica.lag.time.max.ms", "1500")]);
    let topic = cluster.create_topic("t", 1, &[("min.insync.replicas", "3")]);
    let leader = cluster.wait_for_leader(&topic, 0);
    let slow = cluster.followers(&topic, 0)[0];
    let mut client = cluster.connect(leader);
    produced(&mut client, &topic, batch(&[b"first"]));
    cluster.disk(slow).hold_syncs();
    // There are enough when it is appended, and too few when the follower has left for its lag: then it waits on, for a
    // client that is told to try again what is written may write it twice.
    let mut waiting = cluster.connect(leader);
    waiting.send(9, &produce_request(9, &topic, 0, -1, batch(&[b"second"])));
    let replica = cluster.replica(leader, &topic, 0);
    let in_sync = || replica.isr().map_or(0, |isr| isr.len());
    eventually("the slow follower has left", || in_sync() == 2);
    let answer = produce(&mut client, 9, &topic, -1, batch(&[b"third"]));
    assert_eq!(code(answer.error_code), ErrorCode::NotEnoughReplicas);
    // Below the minimum nothing is shown that was not committed (KIP-966).
    assert_eq!(cluster.high_watermark(leader, &topic, 0), 1);
    // acks=1 asks nobody.
    assert_eq!(produce(&mut client, 9, &topic, 1, batch(&[b"fourth"])).error_code, 0);
    cluster.disk(slow).release_syncs();
    let mut frame = waiting.receive_frame().unwrap();
    let (_, response) = moldau_kafka::decode_response::<ProduceRequest>(9, &mut frame).unwrap();
    let answer = &response.responses[0].partition_responses[0];
    assert_eq!((code(answer.error_code), answer.base_offset), (ErrorCode::None, 1));
    cluster.wait_for_isr(&topic, 0, &[1, 2, 3]);
    eventually("all is committed", || cluster.high_watermark(leader, &topic, 0) == 3);
    let other = cluster.followers(&topic, 0)[1];
    cluster.kill(other);
    eventually("the leader has heard that the ISR is too small again", || in_sync() == 2);
    let answer = produce(&mut client, 9, &topic, -1, batch(&[b"fifth"]));
    assert_eq!(code(answer.error_code), ErrorCode::NotEnoughReplicas);
}

/// Produces to whoever leads, until it is acknowledged.
fn produce_somehow(cluster: &Cluster, topic: &Topic, value: &[u8]) {
    eventually("a produce is acknowledged", || {
        let leader = cluster.leader(topic, 0);
        if !cluster.is_running(leader) {
            return false;
        }
        let mut client = cluster.connect(leader);
        client.send(9, &produce_request(9, topic, 0, -1, batch(&[value])));
        let Some(mut frame) = client.receive_frame() else { return false };
        let (_, response) = moldau_kafka::decode_response::<ProduceRequest>(9, &mut frame).unwrap();
        let answer = &response.responses[0].partition_responses[0];
        let is_expected = [
            ErrorCode::None,
            ErrorCode::NotLeaderOrFollower,
            ErrorCode::NotEnoughReplicas,
            ErrorCode::NotEnoughReplicasAfterAppend,
        ];
        assert!(is_expected.contains(&code(answer.error_code)), "{answer:?}");
        answer.error_code == 0
    });
}

#[test]
fn leaders_that_die_are_replaced_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::start(&[("min.insync.replicas", "2")]);
    let topic = cluster.create_topic("t", 1, &[]);
    cluster.wait_for_leader(&topic, 0);
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        for number in 0..20 {
            let value = value(100 * round + number);
            produce_somehow(&cluster, &topic, &value);
            acknowledged.push(value);
        }
        let leader = cluster.wait_for_leader(&topic, 0);
        // Records that nobody waits for: some of the replicas have them, and some have not.
        let mut client = cluster.connect(leader);
        for number in 0..20 {
            client.send(9, &produce_request(9, &topic, 0, 0, batch(&[&value(9_000 + number)])));
        }
        // Every other one loses besides what it has not synced.
        cluster.kill_and(leader, |disk| {
            if round % 2 == 1 {
                disk.files.power_cut(7 + round as u64);
            }
        });
        // Half of them come back before anybody has noticed that they were gone.
        if round < 2 {
            eventually("another one leads", || {
                let now = cluster.leader(&topic, 0);
                now != leader && now >= 0
            });
            produce_somehow(&cluster, &topic, b"between");
            acknowledged.push(b"between".to_vec());
        }
        cluster.start_broker(leader);
        cluster.wait_for_isr(&topic, 0, &[1, 2, 3]);
    }
    let leader = cluster.wait_for_leader(&topic, 0);
    let mut client = cluster.connect(leader);
    produced(&mut client, &topic, batch(&[b"last"]));
    let expected = cluster.log(leader, &topic, 0);
    for id in [1, 2, 3] {
        assert!(cluster.log(id, &topic, 0) == expected, "broker {id}");
    }
    let mut found: Vec<Vec<u8>> = Vec::new();
    loop {
        let more = read_from(&mut client, &topic, found.len() as i64);
        if more.is_empty() {
            break;
        }
        found.extend(more.into_iter().map(|(_, value)| value));
    }
    // In the order in which they were acknowledged, others between them.
    let mut rest = found.iter();
    for value in &acknowledged {
        assert!(rest.any(|found| found == value), "{} is lost", String::from_utf8_lossy(value));
    }
}

#[test]
fn who_waits_for_a_leader_that_is_none_any_more_is_told() {
    let mut cluster = Cluster::start(&[("replica.lag.time.max.ms", "60000")]);
    let topic = cluster.create_topic("t", 1, &[]);
    let leader = cluster.wait_for_leader(&topic, 0);
    let follower = cluster.followers(&topic, 0)[0];
    cluster.disk(follower).hold_syncs();
    let mut client = cluster.connect(leader);
    client.send(10, &produce_request(10, &topic, 0, -1, batch(&[b"waits"])));
    eventually("it is there", || !cluster.log(leader, &topic, 0).is_empty());
    // The leader goes in order, which moves its leaderships first; its clients are answered before it stops.
    cluster.stop(leader);
    let (_, response) = client.receive::<ProduceRequest>(10);
    let answer = &response.responses[0].partition_responses[0];
    assert_eq!(code(answer.error_code), ErrorCode::NotLeaderOrFollower);
    assert!(answer.current_leader.leader_id.0 >= 0 && answer.current_leader.leader_id.0 != leader);
    assert_eq!(response.node_endpoints.len(), 1);
}
