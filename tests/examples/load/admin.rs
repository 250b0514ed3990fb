//! Answers, connections, members and topics, counted.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, ConsumerGroupHeartbeatRequest, CreateTopicsRequest, FindCoordinatorRequest, GroupId,
    MetadataRequest, TopicName,
};

use crate::Result;
use crate::wire::{call, connect, text};

const METADATA_VERSION: i16 = 9;
const PAUSE: Duration = Duration::from_micros(500);
const JOIN_SECONDS_MAX: u64 = 120;

/// Milliseconds until Metadata is answered; with a topic, until all its partitions have leaders.
pub(crate) fn first_answer(address: &str, seconds: u64, topic: Option<&str>) -> Result<()> {
    let topics = topic.map(|topic| MetadataRequestTopic::default().with_name(Some(TopicName(text(topic)))));
    let request = MetadataRequest::default().with_topics(Some(topics.into_iter().collect()));
    let started = Instant::now();
    let ask = |stream: &mut TcpStream| -> Result<bool> {
        let response = call(stream, METADATA_VERSION, &request)?;
        let is_led = |topic: &kafka_protocol::messages::metadata_response::MetadataResponseTopic| {
            topic.error_code == 0 && topic.partitions.iter().all(|partition| partition.leader_id.0 >= 0)
        };
        Ok(response.topics.iter().all(is_led))
    };
    while started.elapsed() < Duration::from_secs(seconds) {
        if connect(address).and_then(|mut stream| ask(&mut stream)).unwrap_or(false) {
            println!("{:.1} ms", started.elapsed().as_secs_f64() * 1e3);
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    Err(format!("no answer within {seconds} s").into())
}

/// Connections that have asked once, kept open until the input ends.
pub(crate) fn idle(address: &str, connections: usize) -> Result<()> {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("load"))
        .with_client_software_version(text("1"));
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut stream = connect(address)?;
        call(&mut stream, 3, &request)?;
        open.push(stream);
    }
    println!("{connections} connections");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Members of a group by the consumer protocol, all over one connection, until the input ends.
pub(crate) fn members(address: &str, topic: &str, group: &str, members: usize) -> Result<()> {
    let mut stream = connect(address)?;
    // Whoever asks first has the topic of groups made.
    let coordinator = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
    call(&mut stream, 4, &coordinator)?;
    for number in 0..members {
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_member_id(text(&format!("member-{number}")))
            .with_rebalance_timeout_ms(300_000)
            .with_subscribed_topic_names(Some(vec![TopicName(text(topic))]))
            .with_topic_partitions(Some(Vec::new()));
        let started = Instant::now();
        loop {
            let response = call(&mut stream, 1, &request)?;
            if response.error_code == 0 {
                break;
            }
            if started.elapsed().as_secs() > JOIN_SECONDS_MAX {
                return Err(format!("member {number} was refused: {response:?}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    println!("{members} members");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Topics created one after the other, and how many that was in a second.
pub(crate) fn create_topics(address: &str, count: usize, partitions: i32) -> Result<()> {
    let mut stream = connect(address)?;
    let started = Instant::now();
    for number in 0..count {
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(&format!("created-{partitions}-{}-{number}", std::process::id()))))
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000);
        let response = call(&mut stream, 5, &request)?;
        if response.topics.iter().any(|topic| topic.error_code != 0) {
            return Err(format!("{response:?}").into());
        }
    }
    println!("{:.2} topics/s", count as f64 / started.elapsed().as_secs_f64());
    Ok(())
}
