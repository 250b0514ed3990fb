//! Reading records until told to stop: the loop below `kafka-console-consumer` and `moldau consume`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::client::consumer::{Fetcher, SeenRecord, Take};
use crate::client::membership::Membership;
use crate::client::offsets::Partition;
use crate::client::patience::Patience;
use crate::client::regex::TopicPattern;
use crate::client::{Client, ClientError, metadata};

const POLL: Duration = Duration::from_millis(500);
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
/// How soon new partitions and new matching topics are noticed.
const METADATA_INTERVAL: Duration = Duration::from_secs(30);

/// Which topics to read.
pub(crate) enum Subscription {
    Topic(String),
    Pattern(TopicPattern),
}

/// What to read, and how long.
pub(crate) struct ConsumeOptions {
    pub(crate) subscription: Subscription,
    /// With a group, the group's members share the partitions and its offsets are committed.
    pub(crate) group: Option<String>,
    /// One partition only, without a group.
    pub(crate) partition: Option<i32>,
    /// An offset, or `EARLIEST` or `LATEST`.
    pub(crate) start: i64,
    pub(crate) read_committed: bool,
    pub(crate) records_max: Option<u64>,
    /// Stop after this long without a record.
    pub(crate) idle_max: Option<Duration>,
    /// Asked of one partition at a time, where it is not the usual.
    pub(crate) partition_bytes: Option<i32>,
}

/// Takes one record.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(SeenRecord<'_>) -> std::io::Result<()>;
/// Is called after each round, with how long the round waited for the group.
pub(crate) type AfterPoll<'a> = &'a mut dyn FnMut(Duration) -> std::io::Result<()>;

/// Set by the first Ctrl-C or SIGTERM, so that the group is left and offsets are committed.
pub(crate) type Stop = Arc<AtomicBool>;

/// Watches for signals on a thread of its own; the second one ends the process at once.
pub(crate) fn stop_on_signals() -> Stop {
    let stop = Stop::default();
    let flag = Arc::clone(&stop);
    let watch = move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            for code in [None, Some(130)] {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                match code {
                    None => flag.store(true, Ordering::SeqCst),
                    Some(code) => std::process::exit(code),
                }
            }
        });
    };
    // Without the thread, a signal just ends the process: no reason not to read.
    drop(std::thread::Builder::new().name("signals".to_owned()).spawn(watch));
    stop
}

/// Why reading failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConsumeError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Output(#[from] std::io::Error),
}

/// Reads and hands each record to `sink`; returns how many. A group is left and its offsets committed also when
/// the sink fails.
pub(crate) fn run(
    client: &mut Client,
    options: &ConsumeOptions,
    stop: &Stop,
    sink: Sink<'_>,
    after_poll: AfterPoll<'_>,
) -> (u64, Result<(), ConsumeError>) {
    let mut session = Session {
        membership: options.group.as_deref().map(Membership::new),
        fetcher: Fetcher::new(options.read_committed, options.start.min(-1)),
        delivered: BTreeMap::new(),
        last_commit: Instant::now(),
        last_metadata: None,
        partitions: Vec::new(),
        count: 0,
        patience: Patience::new(),
    };
    if let Some(bytes) = options.partition_bytes {
        session.fetcher.limits.partition_bytes = bytes;
    }
    let result = session.read(client, options, stop, sink, after_poll);
    let closed = session.close(client);
    (session.count, result.and(closed.map_err(ConsumeError::from)))
}

struct Session {
    membership: Option<Membership>,
    fetcher: Fetcher,
    /// Behind the last record that was handed over, by partition, or where the group begins: what may be committed.
    delivered: BTreeMap<Partition, i64>,
    last_commit: Instant,
    last_metadata: Option<Instant>,
    partitions: Vec<Partition>,
    count: u64,
    patience: Patience,
}

impl Session {
    fn read(
        &mut self,
        client: &mut Client,
        options: &ConsumeOptions,
        stop: &Stop,
        sink: Sink<'_>,
        after_poll: AfterPoll<'_>,
    ) -> Result<(), ConsumeError> {
        let mut idle_since = Instant::now();
        while !stop.load(Ordering::SeqCst) && options.records_max.is_none_or(|max| self.count < max) {
            let began = Instant::now();
            let mut joining = Duration::ZERO;
            self.tell_whom_it_waits_for(options);
            if self.keep_assigned(client, options)? {
                joining = began.elapsed();
                // Waiting for the group's other members is no want of records.
                idle_since = Instant::now();
            }
            let wait = match options.idle_max {
                Some(max) => {
                    let left = max.saturating_sub(idle_since.elapsed());
                    if left.is_zero() {
                        return Ok(());
                    }
                    left.min(POLL)
                }
                None => POLL,
            };
            let count_before = self.count;
            self.round(client, options, stop, wait, sink)?;
            if self.count > count_before {
                idle_since = Instant::now();
            }
            after_poll(joining)?;
            if self.last_commit.elapsed() >= COMMIT_INTERVAL {
                self.commit(client)?;
            }
        }
        Ok(())
    }

    /// What may hold up the next round: what is missing, or where nothing is, the group.
    fn tell_whom_it_waits_for(&self, options: &ConsumeOptions) {
        let leaderless: Vec<String> =
            self.fetcher.leaderless().map(|(topic, partition)| format!("{topic}-{partition}")).collect();
        let whom = match (&options.subscription, &options.group) {
            _ if !leaderless.is_empty() => format!("a leader of {}", leaderless.join(", ")),
            (Subscription::Topic(topic), _) if self.partitions.is_empty() => format!("the topic {topic}"),
            (_, Some(group)) => format!("the group {group}"),
            _ => return self.patience.end(),
        };
        // A member without partitions, or one whose group goes on, waits for nobody.
        let is_at_work = self.last_metadata.is_some() && leaderless.is_empty() && !self.partitions.is_empty();
        if is_at_work && self.membership.as_ref().is_none_or(|member| !member.must_join()) {
            return self.patience.end();
        }
        self.patience.wait_for(whom);
    }

    /// Shows the sink what comes within this time.
    fn round(
        &mut self,
        client: &mut Client,
        options: &ConsumeOptions,
        stop: &Stop,
        wait: Duration,
        sink: Sink<'_>,
    ) -> Result<(), ConsumeError> {
        let (count, delivered) = (&mut self.count, &mut self.delivered);
        let mut written = Ok(());
        self.fetcher.visit(client, wait, &mut |seen| {
            if stop.load(Ordering::SeqCst) || options.records_max.is_some_and(|max| *count >= max) {
                return Take::LeaveAll;
            }
            written = sink(seen);
            if written.is_err() {
                return Take::LeaveAll;
            }
            *count += 1;
            let next = seen.record.offset.0 + 1;
            match delivered.get_mut(seen.partition) {
                Some(position) => *position = next,
                None => {
                    delivered.insert(seen.partition.clone(), next);
                }
            }
            Take::Next
        })?;
        Ok(written?)
    }

    /// Joins the group where the member is not in it, beats its heart, and follows new partitions. Returns whether it
    /// joined.
    fn keep_assigned(&mut self, client: &mut Client, options: &ConsumeOptions) -> Result<bool, ClientError> {
        if self.last_metadata.is_none_or(|at| at.elapsed() >= METADATA_INTERVAL) {
            self.last_metadata = Some(Instant::now());
            let partitions = self.subscribed(client, options)?;
            if partitions != self.partitions {
                let is_first = self.partitions.is_empty() && self.count == 0;
                let added: Vec<Partition> =
                    partitions.iter().filter(|p| !self.partitions.contains(p)).cloned().collect();
                self.partitions = partitions;
                match &mut self.membership {
                    Some(membership) => membership.rejoin(),
                    // Partitions that came later are read from their start: nothing in them was missed before.
                    None => self.assign_more(client, added, if is_first { options.start } else { -2 })?,
                }
            }
        }
        let Some(membership) = &mut self.membership else { return Ok(false) };
        if !membership.must_join() && membership.heartbeat(client)? {
            return Ok(false);
        }
        let positions = std::mem::take(&mut self.delivered);
        membership.commit(client, &positions)?;
        let mut topics: Vec<String> = self.partitions.iter().map(|(topic, _)| topic.clone()).collect();
        if let (true, Subscription::Topic(topic)) = (topics.is_empty(), &options.subscription) {
            topics.push(topic.clone());
        }
        topics.dedup();
        let assigned = membership.join(client, &topics)?;
        let group = options.group.as_deref().unwrap_or_default();
        let committed = client.committed_offsets(group, Some(&assigned))?;
        let start = |partition: &Partition| committed.get(partition).copied().unwrap_or(options.start);
        self.fetcher.assign(client, assigned.iter().map(|p| (p.clone(), start(p))).collect())?;
        // Where nothing was committed yet the start is, as with Java's consumer: the group's lag is known from then on.
        let begun =
            self.fetcher.positions().iter().filter(|(partition, _)| !committed.contains_key(*partition));
        self.delivered.extend(begun.map(|(partition, offset)| (partition.clone(), *offset)));
        Ok(true)
    }

    fn assign_more(
        &mut self,
        client: &mut Client,
        added: Vec<Partition>,
        start: i64,
    ) -> Result<(), ClientError> {
        let mut starts: Vec<(Partition, i64)> =
            self.fetcher.positions().iter().map(|(partition, offset)| (partition.clone(), *offset)).collect();
        starts.extend(added.into_iter().map(|partition| (partition, start)));
        self.fetcher.assign(client, starts)
    }

    /// The partitions there are to read. A topic that does not exist is asked for, so that the broker makes it
    /// where it may, as Java's consumer does; until then there are none.
    fn subscribed(
        &self,
        client: &mut Client,
        options: &ConsumeOptions,
    ) -> Result<Vec<Partition>, ClientError> {
        let deadline = client.deadline();
        let request = match &options.subscription {
            Subscription::Topic(topic) => metadata::request(Some(&[topic.as_str()]), true),
            Subscription::Pattern(_) => metadata::request(None, false),
        };
        let response = client.metadata_request(request, deadline)?;
        let mut partitions = Vec::new();
        for topic in &response.topics {
            let Some(name) = topic.name.as_ref().map(|name| name.0.to_string()) else { continue };
            match &options.subscription {
                Subscription::Topic(_) => {
                    if let Err(error) = ClientError::check(topic.error_code, None)
                        && !error.is_retriable()
                    {
                        return Err(error);
                    }
                }
                Subscription::Pattern(pattern) if pattern.matches(&name) && !topic.is_internal => {}
                Subscription::Pattern(_) => continue,
            }
            let wanted = topic.partitions.iter().map(|p| p.partition_index);
            let wanted = wanted.filter(|index| options.partition.is_none_or(|only| only == *index));
            partitions.extend(wanted.map(|index| (name.clone(), index)));
        }
        partitions.sort();
        Ok(partitions)
    }

    fn commit(&mut self, client: &mut Client) -> Result<(), ClientError> {
        self.last_commit = Instant::now();
        match &mut self.membership {
            Some(membership) => {
                let positions = std::mem::take(&mut self.delivered);
                membership.commit(client, &positions)
            }
            None => Ok(()),
        }
    }

    fn close(&mut self, client: &mut Client) -> Result<(), ClientError> {
        let committed = self.commit(client);
        if let Some(membership) = &mut self.membership {
            membership.leave(client);
        }
        committed
    }
}
