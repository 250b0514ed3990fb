//! Readers of committed records see the same at every replica, whatever became of it and of the log meanwhile.

use std::path::PathBuf;

use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use moldau_log::FileSystem;
use moldau_record::Batches;

use crate::cluster::Cluster;
use crate::harness::eventually;
use crate::requests::*;
use crate::transactional::*;

const ALL: [i32; 3] = [1, 2, 3];

/// What readers are to see.
struct Expected<'a> {
    /// Where the oldest open transaction begins; `None` if none is, and readers get to the log's end.
    open_from: Option<i64>,
    aborted: &'a [(i64, i64)],
    values: &'a [&'a str],
}

/// Followers hear of what is committed a little later, and a coordinator that has just begun may write a marker again.
fn expect_everywhere(cluster: &Cluster, topic: &Topic, offset: i64, expected: &Expected<'_>, when: &str) {
    let Expected { open_from, aborted, values } = expected;
    for id in ALL.into_iter().filter(|id| cluster.is_running(*id)) {
        let mut found = None;
        let is_so = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(when, || {
                let stable = open_from.unwrap_or_else(|| cluster.log_end(id, topic, 0));
                let seen = read_committed(cluster, id, topic, offset);
                let is_so = seen.last_stable_offset == stable
                    && seen.aborted.iter().eq(*aborted)
                    && seen.values == *values;
                found = Some(seen);
                is_so
            });
        }));
        assert!(is_so.is_ok(), "{when}, broker {id}: {found:?}, not {open_from:?} {aborted:?} {values:?}");
    }
}

fn segments(cluster: &Cluster, id: i32, topic: &Topic) -> usize {
    let directory = PathBuf::from(format!("/data/{}-0", topic.name));
    let entries = cluster.disk(id).files.read_dir(&directory).unwrap();
    entries.iter().filter(|entry| entry.name.ends_with(".log")).count()
}

/// Whether an answer has records of no aborted transaction.
fn shows_committed(data: &PartitionData) -> bool {
    let told: Vec<i64> = data.aborted_transactions.iter().flatten().map(|one| one.producer_id.0).collect();
    let bytes = data.records.clone().unwrap_or_default();
    Batches::new(&bytes).any(|batch| !told.contains(&batch.unwrap().producer_id().0))
}

fn plain(cluster: &Cluster, topic: &Topic, value: &[u8]) {
    let leader = cluster.wait_for_leader(topic, 0);
    produced(&mut cluster.connect(leader), topic, batch(&[value]));
}

fn delete_records(cluster: &Cluster, topic: &Topic, offset: i64) {
    let partition = DeleteRecordsPartition::default().with_offset(offset);
    let of_topic =
        DeleteRecordsTopic::default().with_name(name(&topic.name)).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![of_topic]).with_timeout_ms(60_000);
    let leader = cluster.wait_for_leader(topic, 0);
    let response = cluster.connect(leader).call(2, &request);
    assert_eq!(response.topics[0].partitions[0].error_code, 0, "{response:?}");
}

fn cut_all_power(cluster: &mut Cluster, topic: &Topic) {
    for id in ALL {
        cluster.kill_and(id, |disk| disk.files.power_cut(id as u64));
    }
    for id in ALL {
        cluster.start_broker(id);
    }
    cluster.wait_for_isr(topic, 0, &ALL);
}

#[test]
fn every_replica_shows_the_same_before_and_after_another_one_leads_and_after_a_loss_of_power() {
    let mut cluster = Cluster::start(TRANSACTIONAL);
    let topic = cluster.create_topic("t", 1, &[]);
    let mut old = Producer::start(&cluster, "old", Version::One);
    let mut new = Producer::start(&cluster, "new", Version::Two);
    let mut open = Producer::start(&cluster, "open", Version::Two);
    let aborted_new = new.producer.0;
    old.write(&cluster, &topic, 0, b"kept"); // 0
    new.write(&cluster, &topic, 0, b"dropped"); // 1
    plain(&cluster, &topic, b"plain"); // 2
    new.end(&cluster, false);
    eventually("the marker is there", || cluster.log_end(1, &topic, 0) == 4); // 3
    old.write(&cluster, &topic, 0, b"kept too"); // 4
    old.end(&cluster, true);
    eventually("the marker is there", || cluster.log_end(1, &topic, 0) == 6); // 5
    open.write(&cluster, &topic, 0, b"open"); // 6
    new.write(&cluster, &topic, 0, b"behind"); // 7
    new.end(&cluster, true);
    let aborted_before = [(aborted_new, 1)];
    let held =
        Expected { open_from: Some(6), aborted: &aborted_before, values: &["kept", "plain", "kept too"] };
    expect_everywhere(&cluster, &topic, 0, &held, "a transaction is open");

    let gone = cluster.leader(&topic, 0);
    cluster.kill(gone);
    let leader = cluster.wait_for_leader(&topic, 0);
    assert_ne!(leader, gone);
    expect_everywhere(&cluster, &topic, 0, &held, "another one leads");
    cluster.start_broker(gone);
    cluster.wait_for_isr(&topic, 0, &ALL);
    expect_everywhere(&cluster, &topic, 0, &held, "the old leader follows");
    cut_all_power(&mut cluster, &topic);
    expect_everywhere(&cluster, &topic, 0, &held, "after a loss of power");

    open.write(&cluster, &topic, 0, b"open too"); // 9
    open.end(&cluster, false);
    let aborted_all = [(aborted_new, 1), (open.producer.0, 6)];
    let values = ["kept", "plain", "kept too", "behind"];
    let all = Expected { open_from: None, aborted: &aborted_all, values: &values };
    expect_everywhere(&cluster, &topic, 0, &all, "all are ended");
    // From within the aborted one: its beginning lies before.
    let rest = Expected { aborted: &aborted_all[1..], values: &["behind"], ..all };
    expect_everywhere(&cluster, &topic, 7, &rest, "from the middle");
}

#[test]
fn what_is_left_of_a_transaction_has_its_outcome_when_its_beginning_was_deleted() {
    let mut cluster = Cluster::start(&[TRANSACTIONAL, &[("log.retention.check.interval.ms", "50")]].concat());
    let topic = cluster.create_topic("t", 1, &[("segment.bytes", "1048576"), ("file.delete.delay.ms", "0")]);
    // Two of them fill a segment.
    let large = |name: &str| [name.as_bytes(), &[b' '; 700_000]].concat();
    let shown = |name: &str| String::from_utf8_lossy(&large(name)[..20]).into_owned();
    let mut aborted = Producer::start(&cluster, "aborted", Version::Two);
    let mut open = Producer::start(&cluster, "open", Version::One);
    aborted.write(&cluster, &topic, 0, &large("a0")); // 0
    open.write(&cluster, &topic, 0, &large("o1")); // 1
    aborted.write(&cluster, &topic, 0, &large("a2")); // 2
    open.write(&cluster, &topic, 0, &large("o3")); // 3
    let aborted_id = aborted.producer.0;
    aborted.end(&cluster, false);
    eventually("the marker is there", || cluster.log_end(1, &topic, 0) == 5); // 4

    delete_records(&cluster, &topic, 2);
    eventually("the first segments are gone", || ALL.iter().all(|id| segments(&cluster, *id, &topic) == 2));
    // The open one holds readers back as before: from its first record that is left, where a loss of power took what was
    // remembered of those before it.
    for when in ["the beginning is deleted", "after a loss of power"] {
        for id in ALL {
            let mut client = cluster.connect(id);
            eventually(when, || {
                let data = fetch_committed(&mut client, &topic, 2, &format!("rack-{id}"));
                (2..=3).contains(&data.last_stable_offset) && !shows_committed(&data)
            });
        }
        if when == "the beginning is deleted" {
            cut_all_power(&mut cluster, &topic);
        }
    }
    open.end(&cluster, true);
    let expect = |cluster: &Cluster, when: &str| {
        for id in ALL.into_iter().filter(|id| cluster.is_running(*id)) {
            eventually(when, || {
                let seen = read_committed(cluster, id, &topic, 2);
                seen.last_stable_offset == cluster.log_end(id, &topic, 0)
                    && seen.values == [shown("o3")]
                    && seen.aborted.iter().map(|(producer, _)| *producer).eq([aborted_id])
            });
        }
    };
    expect(&cluster, "the open one is committed");
    let gone = cluster.leader(&topic, 0);
    cluster.kill(gone);
    cluster.wait_for_leader(&topic, 0);
    expect(&cluster, "another one leads");
}

#[test]
fn markers_that_were_truncated_away_end_nothing() {
    let mut cluster = Cluster::start(TRANSACTIONAL);
    let topic = cluster.create_topic("t", 1, &[("unclean.leader.election.enable", "true")]);
    let mut first = Producer::start(&cluster, "first", Version::Two);
    let mut second = Producer::start(&cluster, "second", Version::Two);
    let (first_id, second_id) = (first.producer.0, second.producer.0);
    first.write(&cluster, &topic, 0, b"dropped"); // 0
    first.end(&cluster, false);
    eventually("the marker is there", || cluster.log_end(1, &topic, 0) == 2); // 1
    second.write(&cluster, &topic, 0, b"unfinished"); // 2
    plain(&cluster, &topic, b"behind"); // 3
    let aborted = [(first_id, 0), (second_id, 2)];
    let common = Expected { open_from: Some(2), aborted: &aborted[..1], values: &[] };
    expect_everywhere(&cluster, &topic, 0, &common, "all have it");

    let leader = cluster.leader(&topic, 0);
    for id in cluster.followers(&topic, 0) {
        cluster.kill(id);
    }
    cluster.wait_for_isr(&topic, 0, &[leader]);
    second.end(&cluster, false); // 4
    eventually("the marker is there", || cluster.log_end(leader, &topic, 0) == 5);
    first.write(&cluster, &topic, 0, b"alone"); // 5
    first.end(&cluster, true); // 6
    let alone = Expected { open_from: None, aborted: &aborted, values: &["behind", "alone"] };
    expect_everywhere(&cluster, &topic, 0, &alone, "the last one alone");

    cluster.kill(leader);
    let others = ALL.into_iter().filter(|id| *id != leader);
    others.for_each(|id| cluster.start_broker(id));
    assert_ne!(cluster.wait_for_leader(&topic, 0), leader);
    expect_everywhere(&cluster, &topic, 0, &common, "those lead that never had the end");
    cluster.start_broker(leader);
    cluster.wait_for_isr(&topic, 0, &ALL);
    // What it had of the end it has no more, in its index neither.
    expect_everywhere(&cluster, &topic, 0, &common, "the first one follows them");
}
