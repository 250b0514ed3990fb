//! Voters that come and go while the quorum runs (KIP-853).

use std::time::Duration;

use kafka_protocol::messages::add_raft_voter_request::Listener;
use kafka_protocol::messages::{AddRaftVoterRequest, RemoveRaftVoterRequest};
use kafka_protocol::protocol::StrBytes;
use moldau_cluster::{ControllerChannel, QuorumDescription, QuorumReplica, RemoteControllerChannel};
use moldau_controller::ControllerOptions;
use moldau_model::{BrokerId, ErrorCode, Uuid};

use crate::broker::{create_topic, forward, runtime};
use crate::harness::{Quorum, eventually, watch_until};
use crate::{ask, has_topic, join, keep_alive};

fn add_request(quorum: &Quorum, id: i32, disk: Uuid) -> AddRaftVoterRequest {
    let address = quorum.addresses()[id as usize - 1].address.clone();
    let (host, port) = address.rsplit_once(':').unwrap();
    let listener = Listener::default()
        .with_name(StrBytes::from_static_str("CONTROLLER"))
        .with_host(StrBytes::from_string(host.to_owned()))
        .with_port(port.parse().unwrap());
    AddRaftVoterRequest::default()
        .with_cluster_id(None)
        .with_timeout_ms(20_000)
        .with_voter_id(id)
        .with_voter_directory_id(uuid::Uuid::from_bytes(*disk.as_bytes()))
        .with_listeners(vec![listener])
}

fn remove_request(id: i32, disk: Uuid) -> RemoveRaftVoterRequest {
    RemoveRaftVoterRequest::default()
        .with_cluster_id(None)
        .with_voter_id(id)
        .with_voter_directory_id(uuid::Uuid::from_bytes(*disk.as_bytes()))
}

/// The answer to an addition, through a broker's channel.
async fn add(channel: &RemoteControllerChannel, request: &AddRaftVoterRequest) -> ErrorCode {
    let (response, _) = forward(channel, 0, request).await.unwrap();
    ErrorCode::from_code(response.error_code)
}

async fn remove(channel: &RemoteControllerChannel, id: i32, disk: Uuid) -> ErrorCode {
    let (response, _) = forward(channel, 0, &remove_request(id, disk)).await.unwrap();
    ErrorCode::from_code(response.error_code)
}

/// Waits until the quorum has these voters and observers, by their disks and with all that there is.
async fn settled(quorum: &Quorum, voters: &[i32], observers: &[i32]) -> QuorumDescription {
    let channel = quorum.channel();
    let has = |quorum: &Quorum, description: &QuorumDescription, found: &[QuorumReplica], ids: &[i32]| {
        found.len() == ids.len()
            && ids.iter().all(|id| {
                let disk = quorum.options(*id).directory_id;
                found.iter().any(|replica| {
                    replica.node_id == BrokerId(*id)
                        && replica.directory_id == disk
                        && replica.log_end_offset >= description.high_watermark
                })
            })
    };
    eventually("the quorum has the members it should have", || async {
        let mut description = channel.describe_quorum().await.ok()?;
        // Brokers read along, too.
        description.observers.retain(|replica| replica.node_id.0 < 7);
        let is_it = has(quorum, &description, &description.voters, voters)
            && has(quorum, &description, &description.observers, observers);
        is_it.then_some(description)
    })
    .await
}

/// Node 1 founds a quorum of its own; the others know only whom to ask.
fn one_and_newcomers(options: &mut ControllerOptions) {
    let own = options.voters.iter().find(|voter| voter.node_id == options.node_id).unwrap().clone();
    options.advertised_address = own.address();
    options.bootstrap_servers = options.voters.iter().map(|voter| voter.address()).collect();
    options.voters = if own.node_id == BrokerId(1) { vec![own] } else { Vec::new() };
}

fn one_and_joiners(options: &mut ControllerOptions) {
    one_and_newcomers(options);
    options.auto_join = true;
}

#[test]
fn a_controller_is_removed_loses_its_disk_and_is_added_again() {
    runtime().block_on(async {
        let mut quorum = Quorum::started(3).await;
        let channel = quorum.channel();
        let broker = join(&*channel, 7).await;
        let alive = keep_alive(&quorum, &broker);
        settled(&quorum, &[1, 2, 3], &[]).await;
        let leader = quorum.active().await;
        let (lost, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        let disk = quorum.options(lost).directory_id;
        let mut both = [leader, other];
        both.sort_unstable();

        let request = add_request(&quorum, lost, Uuid::ONE);
        assert_eq!(add(&channel, &request).await, ErrorCode::DuplicateVoter, "whatever its disk");
        assert_eq!(remove(&channel, lost, Uuid::ONE).await, ErrorCode::VoterNotFound);
        assert_eq!(remove(&channel, lost, disk).await, ErrorCode::None);
        settled(&quorum, &both, &[lost]).await;
        assert_eq!(remove(&channel, lost, disk).await, ErrorCode::VoterNotFound);
        // It goes on reading.
        create_topic(&*channel, "while.observing", 1).await;
        watch_until(quorum.handle(lost), has_topic("while.observing")).await;

        quorum.kill(lost);
        quorum.replace_disk(lost);
        let request = add_request(&quorum, lost, quorum.options(lost).directory_id).with_timeout_ms(500);
        assert_eq!(add(&channel, &request).await, ErrorCode::RequestTimedOut, "one that is not there");
        quorum.start(lost).await;
        let stale = add_request(&quorum, lost, disk);
        assert_eq!(add(&channel, &stale).await, ErrorCode::RequestTimedOut, "a disk that is gone");
        settled(&quorum, &both, &[lost]).await;
        assert_eq!(add(&channel, &request.with_timeout_ms(20_000)).await, ErrorCode::None);
        settled(&quorum, &[1, 2, 3], &[]).await;

        // It counts: with one of the others it is a majority.
        let leader = quorum.active().await;
        quorum.kill(leader);
        let (created, _) = create_topic(&*channel, "after", 1).await;
        assert_eq!(created.error_code, 0, "{created:?}");
        watch_until(quorum.handle(lost), |image| {
            has_topic("after")(image) && has_topic("while.observing")(image)
        })
        .await;
        alive.abort();
    });
}

#[test]
fn the_active_controller_hands_over_before_it_is_removed() {
    runtime().block_on(async {
        let mut quorum = Quorum::started(3).await;
        let channel = quorum.channel();
        let broker = join(&*channel, 7).await;
        let alive = keep_alive(&quorum, &broker);
        settled(&quorum, &[1, 2, 3], &[]).await;
        let leader = quorum.active().await;
        let mut rest: Vec<i32> = (1..=3).filter(|id| *id != leader).collect();
        let outcome = remove(&channel, leader, quorum.options(leader).directory_id).await;
        assert_eq!(outcome, ErrorCode::None);
        let description = settled(&quorum, &rest, &[leader]).await;
        assert!(rest.contains(&description.leader_id.0), "{description:?}");
        // Who votes no more disturbs nobody, even where it was away.
        let epoch = description.leader_epoch;
        quorum.kill(leader);
        quorum.start(leader).await;
        create_topic(&*channel, "without", 1).await;
        watch_until(quorum.handle(leader), has_topic("without")).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(settled(&quorum, &rest, &[leader]).await.leader_epoch, epoch);
        // Down to one, which stays.
        let next = description.leader_id.0;
        rest.retain(|id| *id != next);
        let last = rest[0];
        assert_eq!(remove(&channel, next, quorum.options(next).directory_id).await, ErrorCode::None);
        settled(&quorum, &[last], &[leader.min(next), leader.max(next)]).await;
        let outcome = remove(&channel, last, quorum.options(last).directory_id).await;
        assert_eq!(outcome, ErrorCode::VoterNotFound, "the last voter");
        alive.abort();
    });
}

#[test]
fn a_quorum_of_one_grows_by_hand() {
    let mut quorum = Quorum::new(3);
    quorum.adjust = one_and_newcomers;
    runtime().block_on(async {
        // The newcomers wait for whom they are told to ask.
        for id in [3, 2, 1] {
            quorum.start(id).await;
        }
        let channel = quorum.channel();
        let broker = join(&*channel, 7).await;
        let alive = keep_alive(&quorum, &broker);
        settled(&quorum, &[1], &[2, 3]).await;
        create_topic(&*channel, "early", 1).await;
        watch_until(quorum.handle(3), has_topic("early")).await;
        for id in [2, 3] {
            let request = add_request(&quorum, id, quorum.options(id).directory_id);
            assert_eq!(add(&channel, &request).await, ErrorCode::None);
        }
        let description = settled(&quorum, &[1, 2, 3], &[]).await;
        assert!(description.nodes.iter().all(|node| node.listeners.len() == 1), "{description:?}");
        // The founder is one of three from now on, also after a restart of all.
        quorum.kill(1);
        create_topic(&*channel, "late", 1).await;
        quorum.kill(2);
        quorum.kill(3);
        for id in [1, 2, 3] {
            quorum.start(id).await;
        }
        settled(&quorum, &[1, 2, 3], &[]).await;
        watch_until(quorum.handle(1), |image| has_topic("early")(image) && has_topic("late")(image)).await;
        alive.abort();
    });
}

#[test]
fn controllers_that_may_join_by_themselves_do_and_again_after_they_lost_their_disk() {
    let mut quorum = Quorum::new(3);
    quorum.adjust = one_and_joiners;
    runtime().block_on(async {
        for id in [1, 2, 3] {
            quorum.start(id).await;
        }
        settled(&quorum, &[1, 2, 3], &[]).await;
        let channel = quorum.channel();
        let broker = join(&*channel, 7).await;
        let alive = keep_alive(&quorum, &broker);
        create_topic(&*channel, "kept", 1).await;
        let leader = quorum.active().await;
        let lost = if leader == 2 { 3 } else { 2 };
        quorum.kill(lost);
        quorum.replace_disk(lost);
        quorum.start(lost).await;
        settled(&quorum, &[1, 2, 3], &[]).await;
        watch_until(quorum.handle(lost), has_topic("kept")).await;
        // One that was removed while it runs stays out.
        assert_eq!(remove(&channel, lost, quorum.options(lost).directory_id).await, ErrorCode::None);
        let rest: Vec<i32> = (1..=3).filter(|id| *id != lost).collect();
        settled(&quorum, &rest, &[lost]).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        settled(&quorum, &rest, &[lost]).await;
        alive.abort();
    });
}

#[test]
fn tools_are_told_who_can_change_the_voters() {
    let mut quorum = Quorum::new(3);
    quorum.adjust = |options| options.secret = None;
    runtime().block_on(async {
        for id in [1, 2, 3] {
            quorum.start(id).await;
        }
        settled(&quorum, &[1, 2, 3], &[]).await;
        let leader = quorum.active().await;
        let address = |id: i32| quorum.addresses()[id as usize - 1].address.clone();
        let request = add_request(&quorum, leader, Uuid::ONE);
        // To the byte what Apache Kafka 4.3 answers.
        let elsewhere = ask(&address(leader % 3 + 1), 0, &request).unwrap();
        let refused = (elsewhere.error_code, elsewhere.error_message.as_deref());
        assert_eq!(refused, (ErrorCode::NotLeaderOrFollower.code(), Some("")));
        let removed = ask(&address(leader % 3 + 1), 0, &remove_request(leader, Uuid::ONE)).unwrap();
        assert_eq!(removed.error_code, ErrorCode::NotLeaderOrFollower.code());
        let wrong = request.clone().with_cluster_id(Some(StrBytes::from_static_str("wrong")));
        let answer = ask(&address(leader % 3 + 1), 0, &wrong).unwrap();
        assert_eq!(answer.error_code, ErrorCode::InconsistentClusterId.code());
        let duplicate = ask(&address(leader), 0, &request).unwrap();
        assert_eq!(duplicate.error_code, ErrorCode::DuplicateVoter.code());
        let nobody = ask(&address(leader), 0, &request.with_voter_id(-1)).unwrap();
        assert_eq!(nobody.error_code, ErrorCode::InvalidRequest.code());
    });
}
