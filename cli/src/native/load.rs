//! What `moldau bench` and `moldau verify` have in common: a topic of their own, and clients that outlive the loss of a broker.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use moldau_security::link::Dialer;

use super::{Common, Failure};
use crate::client::topics::NewTopic;
use crate::client::{Client, ClientOptions, HostPort, WhenUnreachable};
use crate::compat::tool::default_bootstrap;

/// How long one operation may be tried again: a cluster that elects a leader is back long before.
const OPERATION_MAX: Duration = Duration::from_secs(60);

/// The topic of the load.
#[derive(Args)]
pub(super) struct TopicArguments {
    /// Use this topic; default: a new one that is deleted at the end
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Partitions of the new topic
    #[arg(short, long, default_value_t = 6)]
    partitions: i32,
    /// Replicas of the new topic; default: the cluster's
    #[arg(short, long)]
    replication_factor: Option<i16>,
    /// Do not delete the new topic at the end
    #[arg(long)]
    keep: bool,
}

/// Where the load goes.
pub(super) struct Target {
    bootstrap: Vec<HostPort>,
    dialer: Arc<Dialer>,
    pub(super) topic: String,
    pub(super) partitions: Vec<i32>,
    is_deleted_at_end: bool,
}

impl Target {
    /// Finds the brokers, and makes the topic where it is to be a new one.
    pub(super) fn prepare(common: &Common, arguments: &TopicArguments, kind: &str) -> Result<Self, Failure> {
        let mut client = common.client(&format!("moldau-{kind}"))?;
        let deadline = client.deadline();
        client.metadata(Some(&[]), deadline)?;
        // Every broker, so that the one that was named may be the one that dies.
        let mut bootstrap: Vec<HostPort> =
            HostPort::parse_list(&common.bootstrap_server.clone().unwrap_or_else(default_bootstrap))
                .map_err(|error| Failure::Text(error.to_string()))?;
        bootstrap.extend(client.brokers().values().map(|broker| broker.address.clone()));
        let topic = match &arguments.topic {
            Some(topic) => topic.clone(),
            None => {
                let name = format!("moldau-{kind}-{}", std::process::id());
                let topic = NewTopic {
                    name: name.clone(),
                    partitions: Some(arguments.partitions),
                    replication_factor: arguments.replication_factor,
                    ..NewTopic::default()
                };
                client.create_topic(&topic, false)?;
                name
            }
        };
        let is_deleted_at_end = arguments.topic.is_none() && !arguments.keep;
        let partitions = client.partitions_of(&[topic.as_str()])?;
        let partitions = partitions.into_iter().map(|(_, partition)| partition).collect();
        let dialer = Arc::clone(client.dialer());
        Ok(Self { bootstrap, dialer, topic, partitions, is_deleted_at_end })
    }

    pub(super) fn client(&self, client_id: &str) -> Client {
        let client = Client::new(ClientOptions {
            bootstrap: self.bootstrap.clone(),
            client_id: client_id.to_owned(),
            api_timeout: OPERATION_MAX,
            when_unreachable: WhenUnreachable::Retry,
        });
        client.dialing(Arc::clone(&self.dialer))
    }

    /// Deletes the topic where it was made for this.
    pub(super) fn clean(&self) -> Result<(), Failure> {
        if self.is_deleted_at_end {
            self.client("moldau").delete_topics(std::slice::from_ref(&self.topic))?;
        }
        Ok(())
    }
}

/// A thread whose panic is an error like another.
pub(super) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<std::thread::JoinHandle<T>, Failure> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| Failure::Text(format!("cannot start a thread: {error}")))
}

pub(super) fn join<T>(thread: std::thread::JoinHandle<T>) -> Result<T, Failure> {
    thread
        .join()
        .map_err(|_| Failure::Text("a thread of this program failed; its message is above".to_owned()))
}
