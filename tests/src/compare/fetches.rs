//! Fetch where it is more than a read: sessions, isolation, followers; and offsets asked for in odd ways.

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{self as m, ApiKey, BrokerId, RequestKind, ResponseKind};

use super::admin::topic;
use super::data::{fetch, timestamp_ms, wish};
use super::{Case, Peer};

/// A fetch within a session. `wishes` are what is new in it.
fn in_session(
    peer: &Peer,
    version: i16,
    session: (i32, i32),
    wishes: &[(&'static str, i64)],
) -> m::FetchRequest {
    let wishes: Vec<_> = wishes.iter().map(|(name, offset)| wish(name, 0, *offset)).collect();
    let RequestKind::Fetch(request) = fetch(peer, version, &wishes, 1 << 20) else {
        unreachable!("a fetch was built")
    };
    request.with_session_id(session.0).with_session_epoch(session.1)
}

/// Begins a session of its own for the version.
fn begin(peer: &mut Peer, version: i16) {
    let request = in_session(peer, version, (0, 0), &[("records", 0), ("data", 1_000_000)]);
    if let Ok(answer) = peer.call(ApiKey::Fetch, version, &RequestKind::Fetch(request)) {
        peer.remember(&answer);
    }
}

fn forgetting(peer: &Peer, version: i16, request: m::FetchRequest) -> RequestKind {
    let forgotten = ForgottenTopic::default().with_partitions(vec![0]);
    let forgotten = if version >= 13 {
        forgotten.with_topic_id(peer.topic_id("records"))
    } else {
        forgotten.with_topic(topic("records"))
    };
    RequestKind::Fetch(request.with_forgotten_topics_data(vec![forgotten]))
}

fn changed(request: RequestKind, change: impl FnOnce(m::FetchRequest) -> m::FetchRequest) -> RequestKind {
    match request {
        RequestKind::Fetch(request) => RequestKind::Fetch(change(request)),
        other => other,
    }
}

fn as_replica(request: RequestKind, version: i16, id: i32, epoch: i64) -> RequestKind {
    changed(request, |request| {
        if version >= 15 {
            let state = ReplicaState::default().with_replica_id(BrokerId(id)).with_replica_epoch(epoch);
            request.with_replica_state(state)
        } else {
            request.with_replica_id(BrokerId(id))
        }
    })
}

/// Two partitions of one topic in one request, each with a bound of its own.
fn bounded(peer: &Peer, version: i16, request_bytes_max: i32) -> RequestKind {
    let partition = |index| {
        let partition =
            FetchPartition::default().with_partition(index).with_fetch_offset(0).with_partition_max_bytes(1);
        let partition = if version >= 5 { partition.with_log_start_offset(-1) } else { partition };
        if version >= 9 { partition.with_current_leader_epoch(-1) } else { partition }
    };
    let data = FetchTopic::default().with_partitions(vec![partition(0), partition(1)]);
    let data =
        if version >= 13 { data.with_topic_id(peer.topic_id("two")) } else { data.with_topic(topic("two")) };
    changed(fetch(peer, version, &[], 1), |request| {
        request.with_topics(vec![data]).with_max_bytes(request_bytes_max)
    })
}

/// The session that the version's cases share; Kafka and Moldau give it numbers of their own.
fn session(peer: &Peer) -> i32 {
    peer.session_id
}

const EPOCHS: [i32; 3] = [0, 1000, -1];

fn offsets(version: i16, parts: &[(&str, i32, i64)], epoch: i32, isolation: i8, replica: i32) -> RequestKind {
    let topics = parts.iter().map(|(name, partition, timestamp)| {
        let part =
            ListOffsetsPartition::default().with_partition_index(*partition).with_timestamp(*timestamp);
        let part = if version >= 4 { part.with_current_leader_epoch(epoch) } else { part };
        ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![part])
    });
    let request =
        m::ListOffsetsRequest::default().with_replica_id(BrokerId(replica)).with_topics(topics.collect());
    RequestKind::ListOffsets(if version >= 2 { request.with_isolation_level(isolation) } else { request })
}

pub(super) fn cases() -> Vec<Case> {
    use ApiKey::{Fetch, ListOffsets};
    vec![
        Case::new("fetch committed records only", Fetch, 4, 18, |peer, v| {
            changed(fetch(peer, v, &[wish("records", 0, 0), wish("two", 0, 99)], 1 << 20), |request| {
                request.with_isolation_level(1)
            })
        }),
        Case::new("fetch in another leader epoch of each kind", Fetch, 9, 18, |peer, v| {
            let epoch = EPOCHS[usize::from(v.unsigned_abs()) % EPOCHS.len()];
            changed(fetch(peer, v, &[wish("records", 0, 0)], 1 << 20), |mut request| {
                request.topics[0].partitions[0].current_leader_epoch = epoch;
                request
            })
        }),
        Case::new("fetch no more than fits", Fetch, 4, 18, |peer, v| bounded(peer, v, 1)),
        Case::new("fetch one batch of each", Fetch, 4, 18, |peer, v| bounded(peer, v, 1 << 20)),
        Case::new("fetch nothing", Fetch, 4, 18, |peer, v| fetch(peer, v, &[], 1)),
        Case::new("fetch in a session that is none", Fetch, 7, 18, |peer, v| {
            RequestKind::Fetch(in_session(peer, v, (12345, 1), &[("records", 0)]))
        }),
        Case::new("fetch with a session that would begin in its middle", Fetch, 7, 18, |peer, v| {
            RequestKind::Fetch(in_session(peer, v, (0, 7), &[("records", 0)]))
        }),
        Case::new("begin a fetch session", Fetch, 7, 18, |peer, v| {
            RequestKind::Fetch(in_session(peer, v, (0, 0), &[("records", 0), ("two", 0)]))
        }),
        Case::new("fetch what changed in a session", Fetch, 7, 18, |peer, v| {
            begin(peer, v);
            RequestKind::Fetch(in_session(peer, v, (session(peer), 1), &[]))
        }),
        Case::new("fetch more in a session", Fetch, 7, 18, |peer, v| {
            begin(peer, v);
            RequestKind::Fetch(in_session(peer, v, (session(peer), 1), &[("two", 0)]))
        }),
        Case::new("forget a partition of a session", Fetch, 7, 18, |peer, v| {
            begin(peer, v);
            let request = in_session(peer, v, (session(peer), 1), &[]);
            forgetting(peer, v, request)
        }),
        Case::new("fetch in a session's wrong epoch", Fetch, 7, 18, |peer, v| {
            begin(peer, v);
            RequestKind::Fetch(in_session(peer, v, (session(peer), 5), &[]))
        }),
        Case::new("end a fetch session", Fetch, 7, 18, |peer, v| {
            begin(peer, v);
            RequestKind::Fetch(in_session(peer, v, (session(peer), -1), &[("records", 0)]))
        }),
        Case::new("fetch as a replica that is none", Fetch, 4, 18, |peer, v| {
            as_replica(fetch(peer, v, &[wish("records", 0, 0)], 1 << 20), v, 77, -1)
        }),
        Case::new("list offsets at a time that is none", ListOffsets, 1, 10, |_, v| {
            offsets(v, &[("records", 0, -9)], -1, 0, -1)
        }),
        Case::new("list offsets in a later leader epoch", ListOffsets, 4, 10, |_, v| {
            offsets(v, &[("records", 0, -1)], 1000, 0, -1)
        }),
        Case::new("list offsets of committed records", ListOffsets, 2, 10, |_, v| {
            offsets(v, &[("records", 0, -1), ("two", 0, timestamp_ms())], -1, 1, -1)
        }),
        Case::new("list offsets as a debugger", ListOffsets, 1, 10, |_, v| {
            offsets(v, &[("records", 0, -1)], -1, 0, -2)
        }),
        Case::new("list offsets of a partition named twice", ListOffsets, 1, 10, |_, v| {
            offsets(v, &[("records", 0, -1), ("records", 0, -2), ("two", 0, -1)], -1, 0, -1)
        }),
        Case::new("list offsets of nothing", ListOffsets, 1, 10, |_, v| offsets(v, &[], -1, 0, -1)),
        Case::new("list offsets of compressed records", ListOffsets, 7, 10, |_, v| {
            let time = timestamp_ms() + 1;
            offsets(
                v,
                &[("packed", 0, -3), ("unpacked", 0, -3), ("stamped", 0, 0), ("data", 0, time)],
                -1,
                0,
                -1,
            )
        })
        .ignoring(&["timestamp"], "the broker's time, where that counts"),
        Case::new("list offsets before they were tiered", ListOffsets, 1, 10, |_, v| {
            offsets(v, &[("records", 0, -3), ("two", 0, -4), ("data", 0, -5), ("group", 0, -6)], -1, 0, -1)
        }),
    ]
}

/// Takes down a fetch session's number.
pub(super) fn remember(peer: &mut Peer, response: &ResponseKind) {
    if let ResponseKind::Fetch(answer) = response
        && answer.session_id > 0
    {
        peer.session_id = answer.session_id;
        peer.call_it(&answer.session_id.to_string(), "<session>");
    }
}
