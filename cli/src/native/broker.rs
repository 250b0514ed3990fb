//! `moldau broker`: who there is, and a broker out of the cluster without losing a replica.

mod plan;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Subcommand;
use kafka_protocol::messages::RemoveRaftVoterRequest;
use serde_json::{Value, json};

use super::progress::Progress;
use super::topic::done;
use super::{Common, Failure, table};
use crate::client::offsets::Partition;
use crate::client::{Backoff, Client, ClientError, HostPort};
use crate::console::{Console, errln, outln};
use plan::Candidate;

/// Partitions that move at a time: enough to keep the disks busy, and few enough that the first are done soon.
const MOVES_AT_ONCE: usize = 50;
/// How long a broker that runs may take to answer.
const DIAL_MAX: Duration = Duration::from_secs(2);
/// How many partitions an error names.
const NAMED_MAX: usize = 5;

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List the brokers, with how many replicas and leaders each has
    List,
    /// Move every replica away from a broker, and wait until they are
    Drain {
        broker: i32,
        /// Only show what would move
        #[arg(long)]
        dry_run: bool,
        /// Give up waiting after this many seconds; what was begun goes on
        #[arg(long, default_value_t = 3600)]
        wait_s: u64,
    },
    /// Drain a broker, take it out of the quorum, wait until it is stopped, and forget it
    Decommission {
        broker: i32,
        /// Give up waiting after this many seconds, for each step
        #[arg(long, default_value_t = 3600)]
        wait_s: u64,
    },
}

/// Every partition with its replicas, and with its leader.
struct Layout {
    partitions: Vec<(Partition, Vec<i32>)>,
    leaders: BTreeMap<i32, usize>,
}

pub(super) fn run(common: &Common, verb: &Verb, console: &mut Console<'_>) -> Result<(), Failure> {
    let mut client = common.client("moldau")?;
    match verb {
        Verb::List => list(common, &mut client, console),
        Verb::Drain { broker, dry_run, wait_s } => {
            let goals = goals(&mut client, *broker)?;
            if *dry_run {
                return show(common, &goals, console);
            }
            let moved = drain(&mut client, *broker, goals, Duration::from_secs(*wait_s), console)?;
            let text = format!(
                "broker {broker} holds no replica any more, {moved} were moved; new topics may still be placed on it until it stops"
            );
            done(common, &text, json!({"broker": broker, "moved": moved}), console)
        }
        Verb::Decommission { broker, wait_s } => {
            decommission(common, &mut client, *broker, Duration::from_secs(*wait_s), console)
        }
    }
}

fn layout(client: &mut Client) -> Result<Layout, Failure> {
    let deadline = client.deadline();
    let response = client.metadata(None, deadline)?;
    let mut layout = Layout { partitions: Vec::new(), leaders: BTreeMap::new() };
    for topic in &response.topics {
        let Some(name) = &topic.name else { continue };
        for p in &topic.partitions {
            let replicas = p.replica_nodes.iter().map(|id| id.0).collect();
            layout.partitions.push(((name.0.to_string(), p.partition_index), replicas));
            *layout.leaders.entry(p.leader_id.0).or_default() += 1;
        }
    }
    layout.partitions.sort();
    Ok(layout)
}

fn list(common: &Common, client: &mut Client, console: &mut Console<'_>) -> Result<(), Failure> {
    let layout = layout(client)?;
    let replicas = |id: i32| layout.partitions.iter().filter(|(_, replicas)| replicas.contains(&id)).count();
    let leaders = |id: i32| layout.leaders.get(&id).copied().unwrap_or_default();
    let brokers = client.brokers();
    if common.is_json() {
        let list: Vec<Value> = brokers
            .values()
            .map(|b| {
                json!({"id": b.id, "address": b.address.to_string(), "rack": b.rack,
                    "replicas": replicas(b.id), "leaders": leaders(b.id)})
            })
            .collect();
        return Ok(super::json(&Value::Array(list), console)?);
    }
    let rows: Vec<Vec<String>> = brokers
        .values()
        .map(|b| {
            let rack = b.rack.clone().unwrap_or_else(|| "-".to_owned());
            let numbers = [replicas(b.id), leaders(b.id)].map(|number| number.to_string());
            [vec![b.id.to_string(), b.address.to_string(), rack], numbers.to_vec()].concat()
        })
        .collect();
    table(&["BROKER", "ADDRESS", "RACK", "REPLICAS", "LEADERS"], &rows, console)?;
    // Of their addresses nobody is told.
    let fenced = client.fenced_brokers();
    if !fenced.is_empty() {
        outln!(console, "\nnot in service: {}", super::join(&fenced));
    }
    Ok(())
}

/// Where the broker's replicas go.
fn goals(client: &mut Client, broker: i32) -> Result<Vec<(Partition, Vec<i32>)>, Failure> {
    let layout = layout(client)?;
    let brokers: Vec<Candidate> =
        client.brokers().values().map(|b| Candidate { id: b.id, rack: b.rack.clone() }).collect();
    let is_known = brokers.iter().any(|b| b.id == broker)
        || layout.partitions.iter().any(|(_, replicas)| replicas.contains(&broker));
    if !is_known {
        let ids: Vec<i32> = brokers.iter().map(|b| b.id).collect();
        return Err(Failure::Text(format!("there is no broker {broker}; these are: {}", super::join(&ids))));
    }
    plan::plan(&layout.partitions, &brokers, broker).map_err(|homeless| {
        let names: Vec<String> = homeless.iter().take(NAMED_MAX).map(|(t, p)| format!("{t}-{p}")).collect();
        let more = if homeless.len() > NAMED_MAX { ", ..." } else { "" };
        Failure::Text(format!(
            "{} partitions have a replica on every broker, so that none can take broker {broker}'s: {}{more}\n  start another broker first, or give these topics fewer replicas with kafka-reassign-partitions",
            homeless.len(),
            names.join(", ")
        ))
    })
}

fn show(common: &Common, goals: &[(Partition, Vec<i32>)], console: &mut Console<'_>) -> Result<(), Failure> {
    if common.is_json() {
        let list: Vec<Value> = goals
            .iter()
            .map(|((topic, partition), replicas)| json!({"topic": topic, "partition": partition, "replicas": replicas}))
            .collect();
        return Ok(super::json(&Value::Array(list), console)?);
    }
    let rows: Vec<Vec<String>> = goals
        .iter()
        .map(|((topic, partition), replicas)| {
            vec![topic.clone(), partition.to_string(), super::join(replicas)]
        })
        .collect();
    Ok(table(&["TOPIC", "PARTITION", "NEW REPLICAS"], &rows, console)?)
}

/// Moves the replicas, some at a time, until the broker has none. Returns how many moved.
fn drain(
    client: &mut Client,
    broker: i32,
    goals: Vec<(Partition, Vec<i32>)>,
    wait: Duration,
    console: &mut Console<'_>,
) -> Result<usize, Failure> {
    let deadline = Instant::now() + wait;
    let total = goals.len();
    let mut left = goals.into_iter().peekable();
    let mut moving: Vec<Partition> = Vec::new();
    let mut finished = 0;
    let mut progress = Progress::new();
    let mut backoff = Backoff::new();
    while left.peek().is_some() || !moving.is_empty() {
        let next: Vec<(Partition, Vec<i32>)> = left.by_ref().take(MOVES_AT_ONCE - moving.len()).collect();
        if !next.is_empty() {
            client.move_replicas(&next)?;
            moving.extend(next.into_iter().map(|(partition, _)| partition));
        }
        let still = client.moving_partitions()?;
        let before = moving.len();
        moving.retain(|partition| still.contains(partition));
        finished += before - moving.len();
        progress.show(finished, total, "replicas moved", console)?;
        if moving.len() < before {
            backoff = Backoff::new();
        } else if !backoff.wait(deadline) {
            progress.finish(console)?;
            return Err(Failure::Text(format!(
                "{} replicas of broker {broker} are still on their way; they go on, and the same command waits for them again",
                total - finished
            )));
        }
    }
    progress.finish(console)?;
    // The moves that were cancelled or undone meanwhile are seen only in what is.
    let rest =
        layout(client)?.partitions.into_iter().filter(|(_, replicas)| replicas.contains(&broker)).count();
    if rest > 0 {
        return Err(Failure::Text(format!(
            "broker {broker} still holds {rest} replicas: some were placed there, or moves were cancelled, meanwhile; run it again"
        )));
    }
    Ok(total)
}

fn decommission(
    common: &Common,
    client: &mut Client,
    broker: i32,
    wait: Duration,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let goals = goals(client, broker)?;
    let moved = drain(client, broker, goals, wait, console)?;
    errln!(console, "broker {broker} holds no replica any more, {moved} were moved");
    let quorum = client.describe_quorum()?;
    if let Some(voter) = quorum.voters.iter().find(|voter| voter.id == broker) {
        if quorum.voters.len() == 1 {
            return Err(Failure::Text(format!(
                "node {broker} is the only controller: add another voter first (kafka-metadata-quorum add-controller)"
            )));
        }
        let request = RemoveRaftVoterRequest::default()
            .with_cluster_id(None)
            .with_voter_id(broker)
            .with_voter_directory_id(uuid::Uuid::from_bytes(*voter.directory_id.as_bytes()));
        let response = client.call(&request)?;
        ClientError::check(response.error_code, response.error_message.as_deref())?;
        errln!(console, "node {broker} does not vote any more");
    }
    wait_until_gone(client, broker, wait, console)?;
    client.unregister_broker(broker)?;
    let text = format!("broker {broker} is forgotten; its data can be removed");
    done(common, &text, json!({"broker": broker, "moved": moved, "unregistered": true}), console)
}

/// Waits for somebody to stop the process, which cannot be done from here.
fn wait_until_gone(
    client: &mut Client,
    broker: i32,
    wait: Duration,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let deadline = Instant::now() + wait;
    let mut backoff = Backoff::new();
    let mut is_told = false;
    let mut address = None;
    loop {
        // By whichever broker answers: the one that goes may be the one that was asked before.
        let within = client.deadline();
        client.metadata(Some(&[]), within)?;
        let present = client.brokers().get(&broker).map(|node| node.address.clone());
        let is_listed = present.is_some();
        address = present.or(address);
        // One that is about to stop is listed no more, but would register anew if it were forgotten before it has ended.
        let answers = |at: &HostPort| client.dial(at, "moldau", Instant::now() + DIAL_MAX).is_ok();
        if !is_listed && !address.as_ref().is_some_and(answers) {
            return Ok(());
        }
        if !is_told {
            is_told = true;
            errln!(console, "now stop node {broker} (SIGTERM); waiting until it is gone");
        }
        if !backoff.wait(deadline) {
            return Err(Failure::Text(format!(
                "node {broker} is still running; stop it, and run the same command again"
            )));
        }
    }
}
