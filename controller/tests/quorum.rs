//! Controllers of one quorum, over the loopback: they find one another, agree, and lose nothing that was acknowledged.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "controller/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of a lone controller")]
mod broker;
#[path = "quorum/harness.rs"]
mod harness;
#[path = "quorum/voters.rs"]
mod voters;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use broker::{Broker, create_topic, runtime};
use bytes::BytesMut;
use harness::{CLUSTER, Quorum, credentials, eventually, watch_until};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, CreateAclsRequest, CreateAclsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DescribeClusterRequest, DescribeQuorumRequest, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use moldau_cluster::{ControllerChannel, ControllerError, Forward, identify};
use moldau_kafka::ApiKey;
use moldau_metadata::MetadataImage;
use moldau_model::{BrokerId, ErrorCode, LeaderEpoch, Offset};

fn has_topic(name: &str) -> impl Fn(&MetadataImage) -> bool {
    move |image| image.topics().by_name(name).is_some()
}

/// A broker whose listener is this socket's.
async fn join_at(channel: &dyn ControllerChannel, id: i32, listener: &TcpListener) -> Broker {
    join_for_clients_at(channel, id, listener, None).await
}

async fn join_for_clients_at(
    channel: &dyn ControllerChannel,
    id: i32,
    listener: &TcpListener,
    for_clients: Option<&TcpListener>,
) -> Broker {
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let broker = Broker::register_at(channel, id, port(listener), for_clients.map(port)).await;
    channel.heartbeat(broker.beat(Offset(broker.epoch.0))).await.unwrap();
    broker
}

/// A broker with a listener that accepts for as long as the test's process lives.
async fn join(channel: &dyn ControllerChannel, id: i32) -> Broker {
    let listener = listener();
    let broker = join_at(channel, id, &listener).await;
    std::mem::forget(listener);
    broker
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Keeps a broker's session alive, so that topics find a place.
fn keep_alive(quorum: &Quorum, broker: &Broker) -> tokio::task::JoinHandle<()> {
    let (channel, beat) = (quorum.channel(), broker.beat(Offset(1_000_000)));
    tokio::spawn(async move {
        loop {
            drop(channel.heartbeat(beat.clone()).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
}

#[test]
fn three_nodes_agree_on_what_one_of_them_acknowledged() {
    runtime().block_on(async {
        let quorum = Quorum::started(3).await;
        let channel = quorum.channel();
        join(&*channel, 7).await;
        let (created, _) = create_topic(&*channel, "pageview", 3).await;
        assert_eq!(created.error_code, 0, "{created:?}");
        let images = [1, 2, 3].map(|id| watch_until(quorum.handle(id), has_topic("pageview")));
        let images = futures::future::join_all(images).await;
        assert!(images.iter().all(|image| *image == images[0]));
        assert_eq!(images[0].cluster_id().map(|id| &**id), Some(CLUSTER));
        // Also for who asks over the network, and has no cluster yet.
        watch_until(&*channel, has_topic("pageview")).await;
        let found = identify(&credentials(None, Some("hush")), &quorum.addresses()).await;
        let each = quorum.addresses().into_iter().map(|at| (at.address, CLUSTER.to_owned()));
        assert_eq!(found, Ok(each.collect()));

        let description = channel.describe_quorum().await.unwrap();
        assert_eq!(description.leader_id, BrokerId(quorum.active().await));
        let ids: Vec<i32> = description.voters.iter().map(|voter| voter.node_id.0).collect();
        assert_eq!(ids, [1, 2, 3]);
        assert!(description.nodes.iter().all(|node| node.listeners.len() == 1), "{description:?}");
        eventually("all replicas have all there is", || async {
            let quorum = channel.describe_quorum().await.ok()?;
            quorum.voters.iter().all(|voter| voter.log_end_offset >= quorum.high_watermark).then_some(())
        })
        .await;
    });
}

#[test]
fn a_dead_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    runtime().block_on(async {
        let mut quorum = Quorum::started(3).await;
        let channel = quorum.channel();
        let broker = join(&*channel, 7).await;
        let alive = keep_alive(&quorum, &broker);
        let mut acknowledged = BTreeSet::new();
        let mut blocks = BTreeSet::new();
        for round in 0..3 {
            let leader = quorum.active().await;
            for number in 0..20 {
                let name = format!("t{round}-{number}");
                let (created, _) = create_topic(&*channel, &name, 1).await;
                assert_eq!(created.error_code, 0, "{created:?}");
                acknowledged.insert(name);
            }
            quorum.kill(leader);
            // Asked at once: the channel finds the next one by itself.
            let block = channel.allocate_producer_ids(broker.producer_ids()).await.unwrap();
            assert!(blocks.insert(block.first), "{} was given out twice", block.first);
            assert_ne!(quorum.active().await, leader);
            quorum.start(leader).await;
        }
        for id in [1, 2, 3] {
            let all = |image: &MetadataImage| acknowledged.iter().all(|name| has_topic(name)(image));
            watch_until(quorum.handle(id), all).await;
        }
        alive.abort();
    });
}

#[test]
fn a_quorum_forms_in_whatever_order_its_nodes_start() {
    let mut quorum = Quorum::new(3);
    runtime().block_on(async {
        // One of three is none.
        quorum.start(3).await;
        let channel = quorum.channel();
        let early = tokio::time::timeout(Duration::from_secs(1), channel.describe_quorum()).await;
        assert!(!matches!(early, Ok(Ok(_))), "{early:?}");
        quorum.start(2).await;
        quorum.active().await;
        join(&*channel, 7).await;
        create_topic(&*channel, "early", 1).await;
        quorum.start(1).await;
        watch_until(quorum.handle(1), has_topic("early")).await;
        // The late one counts: it makes a majority with one of the others.
        let leader = quorum.active().await;
        quorum.kill(if leader == 2 { 3 } else { 2 });
        let (created, _) = create_topic(&*channel, "late", 1).await;
        assert_eq!(created.error_code, 0, "{created:?}");
    });
}

#[test]
fn five_nodes_survive_the_death_of_two() {
    runtime().block_on(async {
        let mut quorum = Quorum::started(5).await;
        let channel = quorum.channel();
        let broker = join(&*channel, 7).await;
        let alive = keep_alive(&quorum, &broker);
        for name in ["a", "b"] {
            let leader = quorum.active().await;
            create_topic(&*channel, name, 1).await;
            quorum.kill(leader);
        }
        let leader = quorum.active().await;
        watch_until(quorum.handle(leader), |image| has_topic("a")(image) && has_topic("b")(image)).await;
        alive.abort();
    });
}

#[test]
fn a_restart_of_all_keeps_everything_and_ends_the_term() {
    runtime().block_on(async {
        let mut quorum = Quorum::started(3).await;
        let channel = quorum.channel();
        join(&*channel, 7).await;
        create_topic(&*channel, "kept", 1).await;
        let epoch = channel.describe_quorum().await.unwrap().leader_epoch;
        // Some in order, one without a word.
        quorum.stop(1).await;
        quorum.stop(2).await;
        quorum.kill(3);
        for id in [3, 1, 2] {
            quorum.start(id).await;
        }
        let leader = quorum.active().await;
        watch_until(quorum.handle(leader), has_topic("kept")).await;
        let later = quorum.channel().describe_quorum().await.unwrap().leader_epoch;
        assert!(later > epoch, "{later} after {epoch}");
    });
}

#[test]
fn a_follower_that_lags_far_behind_gets_a_snapshot() {
    let mut quorum = Quorum::new(3);
    quorum.adjust = |options| {
        options.raft.snapshot_interval_entries = 20;
        options.raft.entries_kept_after_snapshot = 2;
    };
    runtime().block_on(async {
        for id in [1, 2, 3] {
            quorum.start(id).await;
        }
        let channel = quorum.channel();
        let broker = join(&*channel, 7).await;
        let alive = keep_alive(&quorum, &broker);
        let leader = quorum.active().await;
        let behind = leader % 3 + 1;
        quorum.kill(behind);
        // Raft purges its log by some hundred entries at a time.
        for _ in 0..20 {
            let blocks = (0..20).map(|_| channel.allocate_producer_ids(broker.producer_ids()));
            assert!(futures::future::join_all(blocks).await.iter().all(Result::is_ok));
        }
        create_topic(&*channel, "last", 1).await;
        quorum.start(behind).await;
        watch_until(quorum.handle(behind), has_topic("last")).await;
        let snapshots = std::fs::read_dir(quorum.directory(behind).join("__cluster_metadata")).unwrap();
        let names = snapshots.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        assert!(
            names.filter(|name| name.ends_with(".snapshot")).count() > 0,
            "it got the entries one by one"
        );
        alive.abort();
    });
}

#[test]
fn strangers_are_refused() {
    let mut quorum = Quorum::new(3);
    runtime().block_on(async {
        for id in [1, 2] {
            quorum.start(id).await;
        }
        let broker = join(&*quorum.channel(), 7).await;
        let alive = keep_alive(&quorum, &broker);
        let refused = quorum.channel_as(Some("another"), Some("hush")).describe_quorum().await;
        assert_eq!(refused.err(), Some(ControllerError::Kafka(ErrorCode::InconsistentClusterId)));
        let heartbeat = |secret| {
            let channel = quorum.channel_as(Some(CLUSTER), secret);
            let broker = Broker {
                id: BrokerId(7),
                epoch: moldau_model::BrokerEpoch(1),
                incarnation: moldau_model::Uuid::ONE,
            };
            async move {
                loop {
                    match channel.heartbeat(broker.beat(Offset(1))).await {
                        // On a machine under load the two may just elect one.
                        Err(ControllerError::NotController { .. }) => {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                        answer => return answer,
                    }
                }
            }
        };
        for secret in [None, Some("loud")] {
            let refused = heartbeat(secret).await;
            let expected = ControllerError::Kafka(ErrorCode::ClusterAuthorizationFailed);
            assert_eq!(refused.err(), Some(expected), "{secret:?}");
        }
        let stale = ControllerError::Kafka(ErrorCode::StaleBrokerEpoch);
        assert_eq!(heartbeat(Some("hush")).await.err(), Some(stale), "who knows the secret is heard");
        let found = identify(&credentials(None, None), &quorum.addresses()).await;
        assert!(found.is_err(), "{found:?}");
        // A node that cannot prove itself gets no metadata, and no vote.
        quorum.adjust = |options| options.secret = Some("loud".to_owned());
        quorum.start(3).await;
        let leader = quorum.active().await;
        quorum.kill(if leader == 1 { 2 } else { 1 });
        let alone =
            tokio::time::timeout(Duration::from_secs(3), create_topic(&*quorum.channel(), "x", 1)).await;
        assert!(alone.is_err(), "a stranger made a majority: {alone:?}");
        alive.abort();
    });
}

/// What a topic's creation comes to that is forwarded over the network, as if by a client at `10.9.9.9`.
async fn forwarded_creation(quorum: &Quorum, name: &str) -> ErrorCode {
    let topic = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_string(name.to_owned())))
        .with_num_partitions(1)
        .with_replication_factor(1);
    let mut body = BytesMut::new();
    CreateTopicsRequest::default().with_topics(vec![topic]).encode(&mut body, 7).unwrap();
    let request = Forward {
        principal: "Node:1".to_owned(),
        client_host: "10.9.9.9".to_owned(),
        ..broker::raw(ApiKey::CreateTopics as i16, 7, body.to_vec())
    };
    let mut forwarded = quorum.channel_as(Some(CLUSTER), None).forward(request).await.unwrap();
    let response = CreateTopicsResponse::decode(&mut forwarded.body, 7).unwrap();
    ErrorCode::from_code(response.topics[0].error_code)
}

#[test]
fn without_a_secret_nobody_is_believed_who_asks_or_from_where() {
    let mut quorum = Quorum::new(1);
    quorum.adjust = |options| {
        options.secret = None;
        let class = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
        options.settings.insert("authorizer.class.name".to_owned(), class.to_owned());
    };
    runtime().block_on(async {
        quorum.start(1).await;
        quorum.active().await;
        let broker = Broker::register(quorum.handle(1), 1).await;
        quorum.handle(1).heartbeat(broker.beat(Offset(i64::MAX))).await.unwrap();
        for (host, name, expected) in [
            ("10.9.9.9", "claimed", ErrorCode::TopicAuthorizationFailed),
            ("127.0.0.1", "true", ErrorCode::None),
        ] {
            let entry = AclCreation::default()
                .with_resource_type(2)
                .with_resource_name(StrBytes::from_static_str("*"))
                .with_resource_pattern_type(3)
                .with_principal(StrBytes::from_static_str("User:ANONYMOUS"))
                .with_host(StrBytes::from_static_str(host))
                .with_operation(5)
                .with_permission_type(3);
            let mut body = BytesMut::new();
            CreateAclsRequest::default().with_creations(vec![entry]).encode(&mut body, 3).unwrap();
            // In the same process nobody pretends.
            let by_node = Forward {
                principal: "Node:1".to_owned(),
                ..broker::raw(ApiKey::CreateAcls as i16, 3, body.to_vec())
            };
            let mut made = quorum.handle(1).forward(by_node).await.unwrap();
            let made = CreateAclsResponse::decode(&mut made.body, 3).unwrap();
            assert_eq!(made.results[0].error_code, 0, "{made:?}");
            assert_eq!(forwarded_creation(&quorum, name).await, expected, "{host}");
        }
    });
}

/// Connections from one address, each with the first byte of gRPC's preface and nothing behind it.
async fn crowd(address: &str, size: usize) -> Vec<tokio::net::TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..size {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let stream = socket.connect(address.parse().unwrap()).await.unwrap();
        // One that was closed already takes it or does not.
        drop(stream.try_write(b"P"));
        crowd.push(stream);
    }
    crowd
}

#[test]
fn strangers_from_one_address_leave_places_to_nodes_and_tools() {
    let mut quorum = Quorum::new(1);
    runtime().block_on(async {
        quorum.start(1).await;
        quorum.active().await;
        let address = quorum.addresses().remove(0).address;
        let crowd = crowd(&address, 160).await;
        // Those that are let in hear gRPC's first words.
        let is_closed = |stream: &tokio::net::TcpStream| loop {
            match stream.try_read(&mut [0; 256]) {
                Ok(1..) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                Ok(0) | Err(_) => return true,
            }
        };
        eventually("those that are too many are closed", || async {
            (crowd.iter().filter(|stream| is_closed(stream)).count() >= 32).then_some(())
        })
        .await;
        assert!(crowd.iter().any(|stream| !is_closed(stream)), "an address has its share");
        quorum.channel().describe_quorum().await.unwrap();
        let about_controllers = DescribeClusterRequest::default().with_endpoint_type(2);
        let asked = tokio::task::spawn_blocking(move || ask(&address, 1, &about_controllers));
        assert_eq!(asked.await.unwrap().unwrap().brokers.len(), 1);
        // What they begin comes to nothing.
        eventually("all of them are gone", || async { crowd.iter().all(is_closed).then_some(()) }).await;
        quorum.channel().describe_quorum().await.unwrap();
    });
}

fn is_fenced(id: i32) -> impl Fn(&MetadataImage) -> bool {
    move |image| image.broker(BrokerId(id)).is_some_and(|broker| broker.fenced)
}

#[test]
fn a_broker_whose_process_has_ended_is_fenced_without_waiting_for_its_session() {
    let mut quorum = Quorum::new(3);
    // Nobody's session ends in this test.
    quorum.adjust = |options| options.broker_session_timeout = Duration::from_secs(3600);
    runtime().block_on(async {
        for id in [1, 2, 3] {
            quorum.start(id).await;
        }
        let leader = quorum.active().await;
        let (there, gone, silent) = (listener(), listener(), listener());
        // Its connection breaks, and its port refuses. What clients are told leads to somebody else.
        let dying = quorum.channel();
        join_for_clients_at(&*dying, 7, &gone, Some(&there)).await;
        // Its connection breaks, and its port does not.
        let cut_off = quorum.channel();
        join_at(&*cut_off, 8, &there).await;
        drop(gone);
        drop(cut_off);
        drop(dying);
        let image = watch_until(quorum.handle(leader), is_fenced(7)).await;
        assert!(!is_fenced(8)(&image));
        // It comes back before its session has ended, and is let in.
        let back = quorum.channel();
        let incarnation = moldau_model::Uuid::from_bytes([88; 16]);
        eventually("another incarnation takes the place of one that left", || async {
            Broker::try_register(&*back, 8, incarnation, CLUSTER).await.ok()
        })
        .await;
        // Its port refuses, and its connection went down with the controller's.
        let channel = quorum.channel();
        join_at(&*channel, 9, &silent).await;
        drop(silent);
        // One that stays attends the next controller without being asked to.
        let stays = quorum.channel();
        let later = listener();
        join_at(&*stays, 10, &later).await;
        // Its port does not refuse, but it is of one process with the active controller.
        let combined = quorum.channel();
        join_at(&*combined, leader, &there).await;
        quorum.kill(leader);
        drop(channel);
        drop(combined);
        let next = quorum.active().await;
        let image = watch_until(quorum.handle(next), is_fenced(9)).await;
        assert!(!is_fenced(10)(&image));
        watch_until(quorum.handle(next), is_fenced(leader)).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        drop(later);
        drop(stays);
        watch_until(quorum.handle(next), is_fenced(10)).await;
        // A process that dies may go on accepting for a moment after its connections broke.
        let dies = quorum.channel();
        let lingering = listener();
        join_at(&*dies, 11, &lingering).await;
        drop(dies);
        tokio::time::sleep(Duration::from_millis(150)).await;
        drop(lingering);
        watch_until(quorum.handle(next), is_fenced(11)).await;
    });
}

/// Asks a controller as a tool does.
fn ask<R: Request>(address: &str, version: i16, request: &R) -> std::io::Result<R::Response> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(&moldau_kafka::encode_request(version, 7, None, request).unwrap())?;
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix)?;
    let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
    stream.read_exact(&mut frame)?;
    let (correlation_id, response) = moldau_kafka::decode_response::<R>(version, &mut frame.into()).unwrap();
    assert_eq!(correlation_id, 7);
    Ok(response)
}

#[test]
fn tools_ask_on_the_port_of_the_nodes() {
    for has_secret in [true, false] {
        let mut quorum = Quorum::new(3);
        if !has_secret {
            quorum.adjust = |options| options.secret = None;
        }
        runtime().block_on(async {
            for id in [1, 2, 3] {
                quorum.start(id).await;
            }
            let leader = quorum.active().await;
            let addresses: Vec<String> = quorum.addresses().into_iter().map(|a| a.address).collect();
            let name = StrBytes::from_static_str("a");
            let api_versions = ApiVersionsRequest::default()
                .with_client_software_name(name.clone())
                .with_client_software_version(name);
            let versions = ask(&addresses[0], 4, &api_versions).unwrap();
            let serves = |key: ApiKey| versions.api_keys.iter().any(|row| row.api_key == key as i16);
            assert!(serves(ApiKey::DescribeQuorum) && serves(ApiKey::DescribeCluster), "{versions:?}");
            assert_eq!(serves(ApiKey::CreateTopics), !has_secret);
            let about_controllers = DescribeClusterRequest::default().with_endpoint_type(2);
            let cluster = ask(&addresses[1], 1, &about_controllers).unwrap();
            assert_eq!((cluster.cluster_id.as_str(), cluster.brokers.len()), (CLUSTER, 3));
            assert_eq!(cluster.controller_id.0, leader);
            let quorums = ask(&addresses[leader as usize - 1], 2, &DescribeQuorumRequest::default()).unwrap();
            assert_eq!(quorums.topics[0].partitions[0].current_voters.len(), 3);
            // Nobody changes a cluster with a secret who cannot prove that he knows it.
            let change = ask(&addresses[leader as usize - 1], 7, &CreateTopicsRequest::default());
            assert_eq!(change.is_ok(), !has_secret, "{change:?}");
        });
    }
}

#[test]
fn an_active_controller_that_stops_hands_over() {
    let mut quorum = Quorum::new(3);
    // No election for want of a heartbeat on a busy machine: what is counted here are those of the hand-over.
    quorum.adjust = |options| {
        options.raft.election_timeout_min = Duration::from_millis(2000);
        options.raft.election_timeout_max = Duration::from_millis(3000);
    };
    runtime().block_on(async {
        for id in [1, 2, 3] {
            quorum.start(id).await;
        }
        let channel = quorum.channel();
        join(&*channel, 7).await;
        for _ in 0..2 {
            let leader = quorum.active().await;
            let before = channel.describe_quorum().await.unwrap().leader_epoch;
            // A leader that everybody hears of.
            eventually("all followers answer", || async {
                let quorum = channel.describe_quorum().await.ok()?;
                quorum.voters.iter().all(|voter| voter.log_end_offset >= quorum.high_watermark).then_some(())
            })
            .await;
            quorum.stop(leader).await;
            assert_ne!(quorum.active().await, leader);
            let after = channel.describe_quorum().await.unwrap().leader_epoch;
            assert_eq!(after, LeaderEpoch(before.0 + 1), "there was more than one election");
            quorum.start(leader).await;
        }
    });
}

#[test]
fn a_node_that_nobody_answers_does_not_raise_the_term() {
    let mut quorum = Quorum::new(3);
    quorum.adjust = |options| {
        options.raft.heartbeat_interval = Duration::from_millis(50);
        options.raft.election_timeout_min = Duration::from_millis(150);
        options.raft.election_timeout_max = Duration::from_millis(200);
    };
    runtime().block_on(async {
        for id in [1, 2, 3] {
            quorum.start(id).await;
        }
        join(&*quorum.channel(), 7).await;
        let before = quorum.channel().describe_quorum().await.unwrap().leader_epoch;
        quorum.kill(1);
        quorum.kill(2);
        // Time for a dozen elections.
        tokio::time::sleep(Duration::from_secs(5)).await;
        for id in [1, 2] {
            quorum.start(id).await;
        }
        quorum.active().await;
        let after = quorum.channel().describe_quorum().await.unwrap().leader_epoch;
        assert!(after > before && after < LeaderEpoch(before.0 + 8), "{after} after {before}");
    });
}

#[test]
fn a_node_that_lost_its_disk_is_not_the_voter_it_was() {
    runtime().block_on(async {
        let mut quorum = Quorum::started(3).await;
        let channel = quorum.channel();
        let broker = join(&*channel, 7).await;
        let alive = keep_alive(&quorum, &broker);
        let leader = quorum.active().await;
        let (lost, away) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        eventually("the leader knows all disks", || async {
            let quorum = channel.describe_quorum().await.ok()?;
            quorum.voters.iter().all(|voter| !voter.directory_id.is_zero()).then_some(())
        })
        .await;
        create_topic(&*channel, "before", 1).await;
        quorum.kill(lost);
        quorum.kill(away);
        quorum.replace_disk(lost);
        quorum.start(lost).await;
        // It makes no majority with the one that is left: its word may be one that it gave and forgot.
        let alone = tokio::time::timeout(Duration::from_secs(4), create_topic(&*channel, "alone", 1)).await;
        assert!(alone.is_err(), "a node without its disk was counted: {alone:?}");
        quorum.start(away).await;
        let (created, _) = create_topic(&*channel, "after", 1).await;
        assert_eq!(created.error_code, 0, "{created:?}");
        // The active controller takes it in by its new disk, and from then on it counts.
        let disk = quorum.options(lost).directory_id;
        let count = std::cell::Cell::new(0);
        eventually("the new disk is a voter's", || async {
            // Decisions go on between the changes of the membership.
            count.set(count.get() + 1);
            let (created, _) = create_topic(&*channel, &format!("meanwhile-{}", count.get()), 1).await;
            assert_eq!(created.error_code, 0, "{created:?}");
            let quorum = channel.describe_quorum().await.ok()?;
            let is_it = |voter: &moldau_cluster::QuorumReplica| {
                voter.node_id == BrokerId(lost) && voter.directory_id == disk
            };
            (quorum.voters.len() == 3 && quorum.voters.iter().any(is_it)).then_some(())
        })
        .await;
        // It is seen a moment before it is committed, and until then both others have to agree.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let leader = quorum.active().await;
        quorum.kill(if leader == away { 6 - away - lost } else { away });
        let (created, _) = create_topic(&*channel, "with.the.new.disk", 1).await;
        assert_eq!(created.error_code, 0, "{created:?}");
        watch_until(quorum.handle(lost), has_topic("with.the.new.disk")).await;
        alive.abort();
    });
}
