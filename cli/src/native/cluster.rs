//! `moldau cluster`.

mod health;
mod restart;

use clap::Subcommand;
use kafka_protocol::messages::DescribeClusterRequest;
use serde_json::{Value, json};

use super::{Common, Failure, table};
use crate::client::{Client, ClientError};
use crate::console::{Console, outln};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// The cluster's id, controller and brokers
    Info,
    /// Whether every partition has a leader and all its replicas, every broker and controller is there, and every log directory
    /// works and has room; exit code 4 if not
    Health,
    /// The metadata quorum
    Quorum,
    /// Whether a broker can be restarted without any partition missing it; exit code 4 if not
    RestartSafe { broker: i32 },
    /// Whether all brokers can be restarted one by one, and in which order; exit code 4 if not
    RollingRestart {
        /// Only check: the restarts are done by whatever runs the nodes
        #[arg(long, required = true)]
        check: bool,
    },
}

pub(super) fn run(common: &Common, verb: &Verb, console: &mut Console<'_>) -> Result<(), Failure> {
    let mut client = common.client("moldau")?;
    match verb {
        Verb::Info => info(common, &mut client, console),
        Verb::Health => health::run(common, &mut client, console),
        Verb::Quorum => quorum(common, &mut client, console),
        Verb::RestartSafe { broker } => restart::one(common, &mut client, *broker, console),
        Verb::RollingRestart { .. } => restart::rolling(common, &mut client, console),
    }
}

fn info(common: &Common, client: &mut Client, console: &mut Console<'_>) -> Result<(), Failure> {
    let request = DescribeClusterRequest::default().with_endpoint_type(1);
    let response = client.call(&request)?;
    ClientError::check(response.error_code, response.error_message.as_deref())?;
    if common.is_json() {
        let brokers: Vec<Value> = response
            .brokers
            .iter()
            .map(|b| {
                json!({"id": b.broker_id.0, "host": b.host.to_string(), "port": b.port,
                    "rack": b.rack.as_ref().map(ToString::to_string)})
            })
            .collect();
        let value = json!({"cluster_id": response.cluster_id.to_string(),
            "controller_id": response.controller_id.0, "brokers": brokers});
        return Ok(super::json(&value, console)?);
    }
    outln!(console, "cluster     {}", response.cluster_id.as_str());
    outln!(console, "controller  {}\n", response.controller_id.0);
    let rows: Vec<Vec<String>> = response
        .brokers
        .iter()
        .map(|b| {
            let rack = b.rack.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
            vec![b.broker_id.0.to_string(), format!("{}:{}", b.host.as_str(), b.port), rack]
        })
        .collect();
    Ok(table(&["BROKER", "ADDRESS", "RACK"], &rows, console)?)
}

fn quorum(common: &Common, client: &mut Client, console: &mut Console<'_>) -> Result<(), Failure> {
    let quorum = client.describe_quorum()?;
    if common.is_json() {
        let replicas: Vec<Value> = quorum
            .replicas()
            .map(|(replica, status)| {
                json!({"node_id": replica.id, "status": status.to_ascii_lowercase(),
                    "log_end_offset": replica.log_end_offset, "lag": quorum.lag(replica)})
            })
            .collect();
        let value = json!({"leader_id": quorum.leader_id, "leader_epoch": quorum.leader_epoch,
            "high_watermark": quorum.high_watermark, "replicas": replicas});
        return Ok(super::json(&value, console)?);
    }
    outln!(console, "leader          {}", quorum.leader_id);
    outln!(console, "epoch           {}", quorum.leader_epoch);
    outln!(console, "high watermark  {}\n", quorum.high_watermark);
    let rows: Vec<Vec<String>> = quorum
        .replicas()
        .map(|(replica, status)| {
            vec![
                replica.id.to_string(),
                status.to_ascii_lowercase(),
                replica.log_end_offset.to_string(),
                quorum.lag(replica).to_string(),
            ]
        })
        .collect();
    Ok(table(&["NODE", "STATUS", "LOG END", "LAG"], &rows, console)?)
}
