//! Transactions from their producers' side, over coordinators and leaders that come and go: who was overtaken writes no
//! more, what comes late opens and ends nothing, and no transaction stays open.

use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{GroupId, OffsetFetchRequest};
use moldau_model::ErrorCode;

use crate::cluster::Cluster;
use crate::harness::eventually;
use crate::requests::*;
use crate::transactional::*;

/// Every record, committed or not, in partition 0.
fn values(cluster: &Cluster, topic: &Topic) -> Vec<String> {
    let leader = cluster.wait_for_leader(topic, 0);
    let read = read_from(&mut cluster.connect(leader), topic, 0);
    read.into_iter().map(|(_, value)| String::from_utf8_lossy(&value).into_owned()).collect()
}

fn wait_for_values(cluster: &Cluster, topic: &Topic, expected: &[&str]) {
    let mut found = None;
    let is_so = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("readers of committed records see it", || {
            let leader = cluster.wait_for_leader(topic, 0);
            let seen = read_committed(cluster, leader, topic, 0);
            let is_so = seen.values == expected
                && seen.last_stable_offset == log_end(&mut cluster.connect(leader), topic);
            found = Some(seen);
            is_so
        });
    }));
    assert!(is_so.is_ok(), "{found:?}, not {expected:?} with nothing open");
}

/// The offset that a group's coordinator gives to who wants a stable one, or why it does not.
fn stable_offset(cluster: &Cluster, group: &'static str, topic: &Topic) -> Result<i64, ErrorCode> {
    let of_topic =
        OffsetFetchRequestTopics::default().with_name(name(&topic.name)).with_partition_indexes(vec![0]);
    let of_group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(Some(vec![of_topic]));
    let request = OffsetFetchRequest::default().with_groups(vec![of_group]).with_require_stable(true);
    let mut told = Err(ErrorCode::CoordinatorNotAvailable);
    eventually("the group's coordinator answers", || {
        let response = cluster.connect(group_coordinator(cluster, group)).call(8, &request);
        let of_group = &response.groups[0];
        told = match code(of_group.error_code) {
            ErrorCode::None => {
                let partition = &of_group.topics[0].partitions[0];
                match code(partition.error_code) {
                    ErrorCode::None => Ok(partition.committed_offset),
                    error => Err(error),
                }
            }
            error => Err(error),
        };
        !matches!(
            told,
            Err(ErrorCode::NotCoordinator
                | ErrorCode::CoordinatorLoadInProgress
                | ErrorCode::CoordinatorNotAvailable)
        )
    });
    told
}

#[test]
fn a_batch_that_comes_after_its_transactions_end_is_refused_and_holds_no_reader_back() {
    let cluster = Cluster::start(TRANSACTIONAL);
    for (version, expected) in [
        // The coordinator knows no open transaction.
        (Version::One, ErrorCode::TransactionAbortable),
        // The marker has left the newer epoch, and the coordinator knows no older one.
        (Version::Two, ErrorCode::InvalidProducerEpoch),
    ] {
        for is_commit in [false, true] {
            let topic = cluster.create_topic(&format!("t-{version:?}-{is_commit}"), 1, &[]);
            let mut producer = Producer::start(&cluster, "late", version);
            producer.write(&cluster, &topic, 0, b"in time");
            let mut late = producer.clone();
            producer.end(&cluster, is_commit);
            eventually("the marker is there", || log_end_of(&cluster, &topic) == 2);
            let told = late.produce(&cluster, &topic, 0, b"late");
            assert_eq!(told, expected, "{version:?} {is_commit}");
            // And into a partition that the transaction never had.
            let other = cluster.create_topic(&format!("o-{version:?}-{is_commit}"), 1, &[]);
            let told = late.produce(&cluster, &other, 0, b"late");
            assert_eq!(told, expected, "{version:?} {is_commit}, elsewhere");
            assert_eq!((log_end_of(&cluster, &topic), log_end_of(&cluster, &other)), (2, 0));
            wait_for_values(&cluster, &topic, if is_commit { &["in time"] } else { &[] });
            // The producer itself goes on.
            producer.write(&cluster, &topic, 0, b"next");
            producer.end(&cluster, true);
            wait_for_values(&cluster, &topic, if is_commit { &["in time", "next"] } else { &["next"] });
        }
    }
}

fn log_end_of(cluster: &Cluster, topic: &Topic) -> i64 {
    let leader = cluster.wait_for_leader(topic, 0);
    log_end(&mut cluster.connect(leader), topic)
}

#[test]
fn an_end_that_comes_late_ends_no_later_transaction_whoever_coordinates() {
    let mut cluster = Cluster::start(TRANSACTIONAL);
    let topic = cluster.create_topic("t", 1, &[]);
    let mut producer = Producer::start(&cluster, "x", Version::Two);
    producer.write(&cluster, &topic, 0, b"first");
    let mut late = producer.clone();
    producer.end(&cluster, true);
    producer.write(&cluster, &topic, 0, b"second");
    assert_eq!(late.clone().try_end(&cluster, true), ErrorCode::ProducerFenced);
    // The next coordinator has it from the log alone.
    let gone = transaction_coordinator(&cluster, "x");
    cluster.kill(gone);
    assert_eq!(late.try_end(&cluster, true), ErrorCode::ProducerFenced);
    producer.write(&cluster, &topic, 0, b"third");
    producer.end(&cluster, false);
    wait_for_values(&cluster, &topic, &["first"]);
}

#[test]
fn a_producer_that_was_overtaken_writes_ends_and_commits_offsets_no_more() {
    let mut cluster = Cluster::start(TRANSACTIONAL);
    for version in Version::ALL {
        let topic = cluster.create_topic(&format!("t-{version:?}"), 1, &[]);
        let mut zombie = Producer::start(&cluster, "x", version);
        zombie.write(&cluster, &topic, 0, b"of the zombie");
        let mut producer = Producer::start(&cluster, "x", version);
        producer.write(&cluster, &topic, 0, b"of its successor");
        for restarted in [false, true] {
            let what = format!("{version:?} {restarted}");
            // A client of version 1 asks the coordinator first. Brokers that ask for it tell producers Kafka's older code.
            let refused = match version {
                Version::One => ErrorCode::ProducerFenced,
                Version::Two => ErrorCode::InvalidProducerEpoch,
            };
            assert_eq!(zombie.try_write(&cluster, &topic, 0, b"late"), refused, "{what}");
            assert_eq!(zombie.produce(&cluster, &topic, 0, b"late"), ErrorCode::InvalidProducerEpoch);
            assert_eq!(zombie.send_offset(&cluster, "g", &topic, 7), refused, "{what}");
            assert_eq!(zombie.try_end(&cluster, true), ErrorCode::ProducerFenced, "{what}");
            // Nor does it end its successor's transaction by starting over.
            assert_eq!(zombie.clone().init(&cluster), ErrorCode::ProducerFenced, "{what}");
            if !restarted {
                let gone = transaction_coordinator(&cluster, "x");
                cluster.kill(gone);
                cluster.start_broker(gone);
                cluster.wait_for_isr(&topic, 0, &[1, 2, 3]);
            }
        }
        producer.end(&cluster, true);
        wait_for_values(&cluster, &topic, &["of its successor"]);
        assert_eq!(stable_offset(&cluster, "g", &topic), Ok(-1));
    }
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_by_whoever_coordinates_then() {
    let mut cluster = Cluster::start(TRANSACTIONAL);
    for version in Version::ALL {
        let topic = cluster.create_topic(&format!("t-{version:?}"), 1, &[]);
        let mut slow = Producer::start_with_timeout(&cluster, "slow", version, 1);
        // It may be aborted before it has written: then another one tries.
        eventually("a record is in a transaction", || {
            let is_written = slow.try_write(&cluster, &topic, 0, b"slow") == ErrorCode::None;
            if !is_written {
                slow = Producer::start_with_timeout(&cluster, "slow", version, 1);
            }
            is_written
        });
        let gone = transaction_coordinator(&cluster, "slow");
        cluster.kill(gone);
        wait_for_values(&cluster, &topic, &[]);
        assert!(values(&cluster, &topic).contains(&"slow".to_owned()), "there it is, and nobody's");
        let told = slow.try_end(&cluster, true);
        let refused =
            if version == Version::One { ErrorCode::ProducerFenced } else { ErrorCode::InvalidTxnState };
        assert_eq!(told, refused, "{version:?}");
        cluster.start_broker(gone);
        cluster.wait_for_isr(&topic, 0, &[1, 2, 3]);
        let mut next = Producer::start(&cluster, "slow", version);
        next.write(&cluster, &topic, 0, b"next");
        next.end(&cluster, true);
        wait_for_values(&cluster, &topic, &["next"]);
    }
}

#[test]
fn offsets_of_a_transaction_are_seen_with_its_commit_whichever_coordinators_die_before_it() {
    let mut cluster = Cluster::start(TRANSACTIONAL);
    let topic = cluster.create_topic("t", 1, &[]);
    let mut before = -1;
    for version in Version::ALL {
        for (is_commit, offset) in [(false, 40), (true, 50)] {
            let what = format!("{version:?} {is_commit}");
            let offset = offset + i64::from(version == Version::Two);
            let mut producer = Producer::start(&cluster, "x", version);
            producer.write(&cluster, &topic, 0, b"copied");
            assert_eq!(producer.send_offset(&cluster, "g", &topic, offset), ErrorCode::None, "{what}");
            let pending = Err(ErrorCode::UnstableOffsetCommit);
            assert_eq!(stable_offset(&cluster, "g", &topic), pending, "{what}");
            let gone = group_coordinator(&cluster, "g");
            cluster.kill(gone);
            assert_eq!(stable_offset(&cluster, "g", &topic), pending, "{what}, at the next coordinator");
            cluster.start_broker(gone);
            cluster.wait_for_isr(&topic, 0, &[1, 2, 3]);
            let gone = transaction_coordinator(&cluster, "x");
            cluster.kill(gone);
            producer.end(&cluster, is_commit);
            let expected = if is_commit { offset } else { before };
            eventually("the marker reaches the group", || {
                let told = stable_offset(&cluster, "g", &topic);
                assert!(told == Ok(expected) || told == pending, "{what}: {told:?}, not {expected}");
                told.is_ok()
            });
            before = expected;
            cluster.start_broker(gone);
            cluster.wait_for_isr(&topic, 0, &[1, 2, 3]);
        }
    }
}

#[test]
fn the_last_five_batches_of_a_producer_are_known_again_by_the_next_leader_and_after_a_loss_of_power() {
    let mut cluster = Cluster::start(&[]);
    let topic = cluster.create_topic("t", 1, &[]);
    let leader = cluster.wait_for_leader(&topic, 0);
    let mut client = cluster.connect(leader);
    let sent: Vec<Vec<u8>> = (0..6).map(|number| batch_of((4711, 3), number * 2, &[b"a", b"b"])).collect();
    for (number, records) in sent.iter().enumerate() {
        assert_eq!(produced(&mut client, &topic, records.clone()), 2 * number as i64);
    }
    let check = |cluster: &Cluster, what: &str| {
        let leader = cluster.wait_for_leader(&topic, 0);
        let mut client = cluster.connect(leader);
        for (number, records) in sent.iter().enumerate() {
            let answer = produce(&mut client, 9, &topic, -1, records.clone());
            let expected = if number == 0 {
                (ErrorCode::OutOfOrderSequenceNumber, -1)
            } else {
                (ErrorCode::None, 2 * number as i64)
            };
            assert_eq!((code(answer.error_code), answer.base_offset), expected, "{what}: batch {number}");
        }
        for (epoch, sequence, expected) in [
            (3, 13, ErrorCode::OutOfOrderSequenceNumber),
            (4, 12, ErrorCode::OutOfOrderSequenceNumber),
            (2, 0, ErrorCode::InvalidProducerEpoch),
        ] {
            let answer = produce(&mut client, 9, &topic, -1, batch_of((4711, epoch), sequence, &[b"c"]));
            assert_eq!(code(answer.error_code), expected, "{what}: epoch {epoch} sequence {sequence}");
        }
        assert_eq!(log_end(&mut client, &topic), 12, "{what}");
    };
    check(&cluster, "at first");
    for _ in 0..2 {
        let gone = cluster.wait_for_leader(&topic, 0);
        cluster.kill_and(gone, |disk| disk.files.power_cut(gone as u64));
        check(&cluster, "the next leader");
        cluster.start_broker(gone);
        cluster.wait_for_isr(&topic, 0, &[1, 2, 3]);
    }
    for id in [1, 2, 3] {
        cluster.kill_and(id, |disk| disk.files.power_cut(id as u64));
    }
    for id in [1, 2, 3] {
        cluster.start_broker(id);
    }
    check(&cluster, "after a loss of power");
}
