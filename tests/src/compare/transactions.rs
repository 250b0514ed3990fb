//! Transactions: what their coordinator says, to producers, to brokers and to administrators.
//!
//! Each version has transactional ids of its own, so that what one has open is not in another one's way.

use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::{self as m, ApiKey, RequestKind, ResponseKind};

use super::admin::{text, topic};
use super::groups::group;
use super::{Case, Peer};

const CONCURRENT_TRANSACTIONS: i16 = 51;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const NOT_COORDINATOR: i16 = 16;

/// A producer: its id and its epoch.
pub(super) type Producer = (i64, i16);

pub(super) fn id(name: &str) -> m::TransactionalId {
    m::TransactionalId(text(name))
}

fn init(name: &str, version: i16, timeout_ms: i32, expected: Producer) -> RequestKind {
    let request = m::InitProducerIdRequest::default()
        .with_transactional_id(Some(id(name)))
        .with_transaction_timeout_ms(timeout_ms);
    RequestKind::InitProducerId(if version >= 3 {
        request.with_producer_id(m::ProducerId(expected.0)).with_producer_epoch(expected.1)
    } else {
        request
    })
}

/// Starts a producer, however often the coordinator has to be asked.
pub(super) fn start(peer: &mut Peer, name: &str) -> Producer {
    const TRIES: usize = 200;
    for _ in 0..TRIES {
        let asked = peer.call(ApiKey::InitProducerId, 4, &init(name, 4, 60_000, (-1, -1)));
        let Ok(ResponseKind::InitProducerId(started)) = asked else { break };
        match started.error_code {
            0 => return (started.producer_id.0, started.producer_epoch),
            CONCURRENT_TRANSACTIONS
            | COORDINATOR_NOT_AVAILABLE
            | COORDINATOR_LOAD_IN_PROGRESS
            | NOT_COORDINATOR => std::thread::sleep(std::time::Duration::from_millis(50)),
            _ => break,
        }
    }
    (-1, -1)
}

fn topics(partitions: &[(&str, i32)]) -> Vec<AddPartitionsToTxnTopic> {
    let topic = |(name, partition): &(&str, i32)| {
        AddPartitionsToTxnTopic::default().with_name(topic(name)).with_partitions(vec![*partition])
    };
    partitions.iter().map(topic).collect()
}

fn add(
    name: &str,
    version: i16,
    producer: Producer,
    partitions: &[(&str, i32)],
    verify_only: bool,
) -> RequestKind {
    let request = m::AddPartitionsToTxnRequest::default();
    RequestKind::AddPartitionsToTxn(if version >= 4 {
        request.with_transactions(vec![
            AddPartitionsToTxnTransaction::default()
                .with_transactional_id(id(name))
                .with_producer_id(m::ProducerId(producer.0))
                .with_producer_epoch(producer.1)
                .with_verify_only(verify_only)
                .with_topics(topics(partitions)),
        ])
    } else {
        request
            .with_v3_and_below_transactional_id(id(name))
            .with_v3_and_below_producer_id(m::ProducerId(producer.0))
            .with_v3_and_below_producer_epoch(producer.1)
            .with_v3_and_below_topics(topics(partitions))
    })
}

/// Starts a producer and opens a transaction with one partition.
fn open(peer: &mut Peer, name: &str) -> Producer {
    let producer = start(peer, name);
    let added = peer.call(ApiKey::AddPartitionsToTxn, 3, &add(name, 3, producer, &[("two", 0)], false));
    drop(added);
    producer
}

pub(super) fn add_offsets(name: &str, producer: Producer, group_id: &str) -> RequestKind {
    RequestKind::AddOffsetsToTxn(
        m::AddOffsetsToTxnRequest::default()
            .with_transactional_id(id(name))
            .with_producer_id(m::ProducerId(producer.0))
            .with_producer_epoch(producer.1)
            .with_group_id(group(group_id)),
    )
}

pub(super) fn end(name: &str, producer: Producer, committed: bool) -> RequestKind {
    RequestKind::EndTxn(
        m::EndTxnRequest::default()
            .with_transactional_id(id(name))
            .with_producer_id(m::ProducerId(producer.0))
            .with_producer_epoch(producer.1)
            .with_committed(committed),
    )
}

pub(super) fn marker_of((id, epoch): Producer, coordinator_epoch: i32, is_commit: bool) -> WritableTxnMarker {
    WritableTxnMarker::default()
        .with_producer_id(m::ProducerId(id))
        .with_producer_epoch(epoch)
        .with_coordinator_epoch(coordinator_epoch)
        .with_transaction_result(is_commit)
}

pub(super) fn write_markers(markers: &[(WritableTxnMarker, &str, i32)]) -> RequestKind {
    let markers = markers.iter().map(|(marker, name, partition)| {
        let of_topic =
            WritableTxnMarkerTopic::default().with_name(topic(name)).with_partition_indexes(vec![*partition]);
        marker.clone().with_topics(vec![of_topic])
    });
    RequestKind::WriteTxnMarkers(m::WriteTxnMarkersRequest::default().with_markers(markers.collect()))
}

fn describe(names: &[&str]) -> RequestKind {
    let ids = names.iter().map(|name| id(name)).collect();
    RequestKind::DescribeTransactions(m::DescribeTransactionsRequest::default().with_transactional_ids(ids))
}

fn list(version: i16, states: &[&str], pattern: &str, duration: i64) -> RequestKind {
    let request = m::ListTransactionsRequest::default()
        .with_state_filters(states.iter().map(|state| text(state)).collect());
    let request = if version >= 1 { request.with_duration_filter(duration) } else { request };
    RequestKind::ListTransactions(if version >= 2 {
        request.with_transactional_id_pattern(Some(text(pattern)))
    } else {
        request
    })
}

fn find(version: i16, key: &str) -> RequestKind {
    let request = m::FindCoordinatorRequest::default().with_key_type(1);
    RequestKind::FindCoordinator(if version >= 4 {
        request.with_coordinator_keys(vec![text(key)])
    } else {
        request.with_key(text(key))
    })
}

/// Before any transaction: both systems then have a coordinator that is loaded.
pub(super) fn ground() -> Vec<Case> {
    vec![Case::new("ground: the coordinator of transactions", ApiKey::InitProducerId, 4, 4, |peer, v| {
        for _ in 0..200 {
            let found = peer.call(ApiKey::FindCoordinator, 3, &find(3, "ground"));
            if matches!(found, Ok(ResponseKind::FindCoordinator(found)) if found.error_code == 0) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        start(peer, "ground");
        init("ground", v, 60_000, (-1, -1))
    })]
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub(super) fn cases() -> Vec<Case> {
    use ApiKey::{
        AddOffsetsToTxn, AddPartitionsToTxn, DescribeTransactions, EndTxn, FindCoordinator, InitProducerId,
        ListTransactions, WriteTxnMarkers,
    };
    const NOBODY: Producer = (-1, -1);
    vec![
        Case::new("find the coordinator of a transactional id", FindCoordinator, 1, 6, |_, v| find(v, "x")),
        Case::new("find the coordinator of a nameless transactional id", FindCoordinator, 1, 6, |_, v| {
            find(v, "")
        }),
        Case::new("a transactional producer's id", InitProducerId, 0, 5, |_, v| {
            init(&format!("init-{v}"), v, 60_000, NOBODY)
        }),
        Case::new("a transactional producer's next epoch", InitProducerId, 0, 5, |_, v| {
            init(&format!("init-{v}"), v, 60_000, NOBODY)
        }),
        Case::new("a transactional producer goes on", InitProducerId, 3, 5, |peer, v| {
            let name = format!("go-on-{v}");
            let producer = start(peer, &name);
            init(&name, v, 60_000, producer)
        }),
        Case::new("a transactional producer goes on from an older epoch", InitProducerId, 3, 5, |peer, v| {
            let name = format!("overtaken-{v}");
            let producer = start(peer, &name);
            start(peer, &name);
            init(&name, v, 60_000, producer)
        }),
        Case::new("a transactional producer goes on from another's id", InitProducerId, 3, 5, |peer, v| {
            let name = format!("another-{v}");
            let (id, epoch) = start(peer, &name);
            init(&name, v, 60_000, (id + 7_000_000, epoch))
        }),
        Case::new("a transactional producer with too long a timeout", InitProducerId, 0, 5, |_, v| {
            init("slow", v, 900_001, NOBODY)
        }),
        Case::new("a transactional producer without a timeout", InitProducerId, 0, 5, |_, v| {
            init("slow", v, 0, NOBODY)
        }),
        Case::new("a producer's start while a transaction is open", InitProducerId, 0, 5, |peer, v| {
            let name = format!("fence-{v}");
            open(peer, &name);
            init(&name, v, 60_000, NOBODY)
        }),
        Case::new("partitions for a transaction", AddPartitionsToTxn, 0, 5, |peer, v| {
            let name = format!("add-{v}");
            let producer = start(peer, &name);
            add(&name, v, producer, &[("two", 0), ("data", 0)], false)
        }),
        Case::new("partitions that are in the transaction", AddPartitionsToTxn, 0, 5, |peer, v| {
            let name = format!("again-{v}");
            let producer = open(peer, &name);
            add(&name, v, producer, &[("two", 0)], false)
        }),
        Case::new("partitions that are not there for a transaction", AddPartitionsToTxn, 0, 5, |peer, v| {
            let name = format!("nowhere-{v}");
            let producer = start(peer, &name);
            add(&name, v, producer, &[("two", 0), ("nowhere", 0), ("data", 99)], false)
        }),
        Case::new("partitions for an id that nobody has", AddPartitionsToTxn, 0, 5, |_, v| {
            add("nobody", v, (1, 0), &[("two", 0)], false)
        }),
        Case::new("partitions for a nameless id", AddPartitionsToTxn, 0, 5, |_, v| {
            add("", v, (1, 0), &[("two", 0)], false)
        }),
        Case::new("partitions from an older epoch", AddPartitionsToTxn, 0, 5, |peer, v| {
            let name = format!("older-{v}");
            let (id, epoch) = start(peer, &name);
            add(&name, v, (id, epoch - 1), &[("two", 0)], false)
        }),
        Case::new("partitions from another producer", AddPartitionsToTxn, 0, 5, |peer, v| {
            let name = format!("other-{v}");
            let (id, epoch) = start(peer, &name);
            add(&name, v, (id + 7_000_000, epoch), &[("two", 0)], false)
        }),
        Case::new("partitions to verify", AddPartitionsToTxn, 4, 5, |peer, v| {
            let name = format!("verify-{v}");
            let producer = open(peer, &name);
            add(&name, v, producer, &[("two", 0), ("data", 0)], true)
        }),
        Case::new("partitions to verify where nothing is open", AddPartitionsToTxn, 4, 5, |peer, v| {
            let name = format!("verify-closed-{v}");
            let producer = start(peer, &name);
            add(&name, v, producer, &[("two", 0)], true)
        }),
        Case::new("partitions to verify for an id that nobody has", AddPartitionsToTxn, 4, 5, |_, v| {
            add("nobody", v, (1, 0), &[("two", 0)], true)
        }),
        Case::new("a group for a transaction", AddOffsetsToTxn, 0, 4, |peer, v| {
            let name = format!("offsets-{v}");
            let producer = start(peer, &name);
            add_offsets(&name, producer, "g1")
        }),
        Case::new("a group for an id that nobody has", AddOffsetsToTxn, 0, 4, |_, _| {
            add_offsets("nobody", (1, 0), "g1")
        }),
        Case::new("a group from an older epoch", AddOffsetsToTxn, 0, 4, |peer, v| {
            let name = format!("offsets-older-{v}");
            let (id, epoch) = start(peer, &name);
            add_offsets(&name, (id, epoch - 1), "g1")
        }),
        Case::new("commit a transaction", EndTxn, 0, 5, |peer, v| {
            let name = format!("commit-{v}");
            let producer = open(peer, &name);
            end(&name, producer, true)
        }),
        Case::new("abort a transaction", EndTxn, 0, 5, |peer, v| {
            let name = format!("abort-{v}");
            let producer = open(peer, &name);
            end(&name, producer, false)
        }),
        Case::new("commit where nothing is open", EndTxn, 0, 5, |peer, v| {
            let name = format!("commit-nothing-{v}");
            let producer = start(peer, &name);
            end(&name, producer, true)
        }),
        Case::new("abort where nothing is open", EndTxn, 0, 5, |peer, v| {
            let name = format!("abort-nothing-{v}");
            let producer = start(peer, &name);
            end(&name, producer, false)
        }),
        Case::new("commit for an id that nobody has", EndTxn, 0, 5, |_, _| end("nobody", (1, 0), true)),
        Case::new("commit for a nameless id", EndTxn, 0, 5, |_, _| end("", (1, 0), true)),
        Case::new("commit from an older epoch", EndTxn, 0, 5, |peer, v| {
            let name = format!("commit-older-{v}");
            let (id, epoch) = open(peer, &name);
            end(&name, (id, epoch - 1), true)
        }),
        Case::new("commit from another producer", EndTxn, 0, 5, |peer, v| {
            let name = format!("commit-other-{v}");
            let (id, epoch) = open(peer, &name);
            end(&name, (id + 7_000_000, epoch), true)
        }),
        Case::new("the end of a transaction for a partition", WriteTxnMarkers, 1, 1, |_, _| {
            write_markers(&[(marker_of((9_000_001, 3), 5, true), "two", 0)])
        }),
        Case::new("the ends of older epochs and coordinators", WriteTxnMarkers, 1, 1, |peer, _| {
            let first = write_markers(&[(marker_of((9_000_002, 3), 5, true), "two", 0)]);
            drop(peer.call(WriteTxnMarkers, 1, &first));
            write_markers(&[
                (marker_of((9_000_002, 2), 5, true), "two", 0),
                (marker_of((9_000_002, 3), 4, false), "two", 1),
                (marker_of((9_000_002, 3), 4, false), "two", 0),
            ])
        }),
        Case::new(
            "the end of a transaction for partitions that are not there",
            WriteTxnMarkers,
            1,
            1,
            |_, _| {
                write_markers(&[
                    (marker_of((9_000_003, 0), 0, false), "nowhere", 0),
                    (marker_of((9_000_004, 0), 0, false), "two", 99),
                ])
            },
        ),
        Case::new("no transactions' ends", WriteTxnMarkers, 1, 1, |_, _| write_markers(&[])),
        Case::new("describe a transaction", DescribeTransactions, 0, 0, |peer, _| {
            open(peer, "described");
            describe(&["described"])
        }),
        Case::new("describe transactions that there are not", DescribeTransactions, 0, 0, |peer, _| {
            start(peer, "described-empty");
            describe(&["nobody", "", "described-empty"])
        }),
        Case::new("list transactions of a state that is none", ListTransactions, 0, 2, |_, v| {
            list(v, &["Never"], ".*", -1)
        }),
        Case::new("list transactions that run for long", ListTransactions, 1, 2, |_, v| {
            list(v, &["Ongoing"], "", 3_600_000)
        }),
        Case::new("list transactions by their ids", ListTransactions, 2, 2, |_, v| {
            list(v, &["Empty"], "go-on-[0-9]", -1)
        }),
        Case::new("list transactions by what is no expression", ListTransactions, 2, 2, |_, v| {
            list(v, &[], "(", -1)
        }),
    ]
}
