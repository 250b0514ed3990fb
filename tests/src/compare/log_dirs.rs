//! Moves between log directories, and the version of DescribeLogDirs that kafka-protocol does not know.

use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::{self as m, ApiKey, RequestKind, ResponseKind};

use super::admin::{text, topic};
use super::{Case, Peer};

/// A name for which a copy's directory would be too long.
const NAME_LENGTH_MAX: usize = 249;
const THROTTLE_AND_CODE_BYTES: usize = 6;
/// Index, size, lag, whether it is a copy, and no tagged fields.
const PARTITION_BYTES: usize = 22;
/// The size of the volume and its room.
const VOLUME_BYTES: usize = 16;

fn alter(path: &str, wishes: &[(&str, i32)]) -> RequestKind {
    let topics = wishes.iter().map(|(name, partition)| {
        AlterReplicaLogDirTopic::default().with_name(topic(name)).with_partitions(vec![*partition])
    });
    let dir = AlterReplicaLogDir::default().with_path(text(path)).with_topics(topics.collect());
    RequestKind::AlterReplicaLogDirs(m::AlterReplicaLogDirsRequest::default().with_dirs(vec![dir]))
}

/// The peer's only log directory.
fn own_path(peer: &mut Peer) -> String {
    let request = m::DescribeLogDirsRequest::default().with_topics(Some(Vec::new()));
    match peer.call(ApiKey::DescribeLogDirs, 4, &RequestKind::DescribeLogDirs(request)) {
        Ok(ResponseKind::DescribeLogDirs(found)) => {
            found.results.first().map(|dir| dir.log_dir.to_string()).unwrap_or_default()
        }
        _ => String::new(),
    }
}

pub(super) fn cases() -> Vec<Case> {
    use ApiKey::{AlterReplicaLogDirs, DescribeLogDirs};
    vec![
        Case::bytes("describe log directories of nothing, by bytes", DescribeLogDirs, 5, |_| vec![1, 0]),
        Case::bytes("describe log directories, by bytes", DescribeLogDirs, 5, |_| {
            b"\x02\x05data\x02\x00\x00\x00\x00\x00\x00".to_vec()
        }),
        Case::new("move nothing to another log directory", AlterReplicaLogDirs, 1, 2, |_, _| {
            RequestKind::AlterReplicaLogDirs(m::AlterReplicaLogDirsRequest::default())
        }),
        Case::new("move to a log directory that is not there", AlterReplicaLogDirs, 1, 2, |_, _| {
            alter("/nowhere", &[("data", 0), ("nope", 0)])
        }),
        Case::new("move a topic of too long a name", AlterReplicaLogDirs, 1, 2, |_, _| {
            alter("/nowhere", &[(&"x".repeat(NAME_LENGTH_MAX), 0)])
        }),
        Case::new("move to the log directory that has it", AlterReplicaLogDirs, 1, 2, |peer, _| {
            alter(&own_path(peer), &[("data", 0), ("nope", 0), ("two", 9)])
        }),
    ]
}

/// A described answer of version 5 without the paths and sizes of volumes, which are each system's own.
pub(super) fn without_volumes(answer: &[u8]) -> Vec<u8> {
    let mut at = THROTTLE_AND_CODE_BYTES;
    let mut kept: Vec<u8> = answer.get(..at).unwrap_or_default().to_vec();
    let keep = |kept: &mut Vec<u8>, from: usize, to: usize| {
        kept.extend_from_slice(answer.get(from..to).unwrap_or_default());
    };
    // The answers that are compared are short: one byte for each count.
    let count = |at: usize| usize::from(answer.get(at).copied().unwrap_or(1)).saturating_sub(1);
    let directories = count(at);
    at += 1;
    for _ in 0..directories {
        keep(&mut kept, at, at + 2);
        // A path may be longer than one byte can say.
        let long = answer.get(at + 2).is_some_and(|byte| *byte >= 0x80);
        let high = if long { usize::from(answer.get(at + 3).copied().unwrap_or(0)) << 7 } else { 0 };
        let low = usize::from(answer.get(at + 2).copied().unwrap_or(1) & 0x7f);
        at += 3 + usize::from(long) + (high + low).saturating_sub(1);
        let from = at;
        let topics = count(at);
        at += 1;
        for _ in 0..topics {
            at += 1 + count(at);
            let partitions = count(at);
            at += 1 + partitions * PARTITION_BYTES + 1;
        }
        keep(&mut kept, from, at);
        at += VOLUME_BYTES;
        keep(&mut kept, at, at + 2);
        at += 2;
    }
    keep(&mut kept, at, answer.len());
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_described_answer_all_but_paths_and_sizes_is_compared() {
        let answer = |path: &[u8], size: u8, cordoned: u8| {
            let mut bytes = vec![0; THROTTLE_AND_CODE_BYTES];
            bytes.extend_from_slice(&[2, 0, 0, path.len() as u8 + 1]);
            bytes.extend_from_slice(path);
            bytes.extend_from_slice(&[2, 3, b't', b'u', 2]);
            bytes.extend_from_slice(&[7; PARTITION_BYTES]);
            bytes.push(0);
            bytes.extend_from_slice(&[size; VOLUME_BYTES]);
            bytes.extend_from_slice(&[cordoned, 0, 0]);
            without_volumes(&bytes)
        };
        assert_eq!(answer(b"/one", 3, 0), answer(b"/another", 4, 0));
        assert_ne!(answer(b"/one", 3, 0), answer(b"/one", 3, 1));
    }
}
