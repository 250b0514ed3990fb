//! Changes of the metadata quorum's voters, as far as they are refused. Apache Kafka changes none where its configuration
//! names them, as that of the peer does; that they are changed is tested in the controller.

use kafka_protocol::messages::{self as m, ApiKey, RequestKind};
use kafka_protocol::protocol::StrBytes;

use super::Case;

/// Who is to vote, on which disk, and by which listener it is reached.
fn add(cluster: Option<&'static str>, id: i32, disk: u128, listener: Option<&'static str>) -> RequestKind {
    let listener = listener.map(|name| {
        m::add_raft_voter_request::Listener::default()
            .with_name(StrBytes::from_static_str(name))
            .with_host(StrBytes::from_static_str("controller"))
            .with_port(9093)
    });
    RequestKind::AddRaftVoter(
        m::AddRaftVoterRequest::default()
            .with_cluster_id(cluster.map(StrBytes::from_static_str))
            .with_timeout_ms(5000)
            .with_voter_id(id)
            .with_voter_directory_id(uuid::Uuid::from_u128(disk))
            .with_listeners(listener.into_iter().collect()),
    )
}

fn remove(cluster: Option<&'static str>, id: i32, disk: u128) -> RequestKind {
    RequestKind::RemoveRaftVoter(
        m::RemoveRaftVoterRequest::default()
            .with_cluster_id(cluster.map(StrBytes::from_static_str))
            .with_voter_id(id)
            .with_voter_directory_id(uuid::Uuid::from_u128(disk)),
    )
}

pub(super) fn cases() -> Vec<Case> {
    use ApiKey::{AddRaftVoter, RemoveRaftVoter};
    vec![
        Case::new("add a voter to another cluster", AddRaftVoter, 0, 0, |_, _| {
            add(Some("another"), 2, 7, Some("CONTROLLER"))
        }),
        Case::new("add a voter without a disk", AddRaftVoter, 0, 0, |_, _| {
            add(None, 2, 0, Some("CONTROLLER"))
        }),
        Case::new("add a voter without an id", AddRaftVoter, 0, 0, |_, _| {
            add(None, -1, 7, Some("CONTROLLER"))
        }),
        Case::new("add a voter that listens nowhere", AddRaftVoter, 0, 0, |_, _| add(None, 2, 7, None)),
        Case::new("add a voter that listens elsewhere", AddRaftVoter, 0, 0, |_, _| {
            add(None, 2, 7, Some("OUTSIDE"))
        }),
        Case::new("remove a voter of another cluster", RemoveRaftVoter, 0, 0, |_, _| {
            remove(Some("another"), 1, 7)
        }),
        Case::new("remove a voter without a disk", RemoveRaftVoter, 0, 0, |_, _| remove(None, 1, 0)),
        Case::new("remove a voter without an id", RemoveRaftVoter, 0, 0, |_, _| remove(None, -1, 7)),
    ]
}
