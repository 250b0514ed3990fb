//! Offsets by time, and their special times.

use std::collections::BTreeMap;
use std::time::Instant;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest};

use super::metadata::topic_name;
use super::{Client, ClientError};

/// Special timestamps: the end, the start, the record with the greatest timestamp.
pub(crate) const LATEST: i64 = -1;
pub(crate) const EARLIEST: i64 = -2;

/// A topic's name and a partition's index.
pub(crate) type Partition = (String, i32);

/// An answer to "which offset": -1 where no record is that young.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetAt {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) leader_epoch: i32,
}

impl Client {
    /// The offsets of partitions at times, asked of their leaders. An error of one partition stands in its place.
    pub(crate) fn list_offsets(
        &mut self,
        asked: &[(Partition, i64)],
        read_committed: bool,
    ) -> Result<BTreeMap<Partition, Result<OffsetAt, ClientError>>, ClientError> {
        let deadline = self.deadline();
        let mut results = BTreeMap::new();
        let mut open: Vec<(Partition, i64)> = asked.to_vec();
        let mut backoff = super::Backoff::new();
        while !open.is_empty() {
            let mut again = Vec::new();
            for (leader, group) in self.by_leader(&open, deadline)? {
                let answers = match leader {
                    Some(leader) => self.list_offsets_of(leader, &group, read_committed, deadline),
                    None => Err(ClientError::broker(5, None)),
                };
                match answers {
                    Ok(answers) => {
                        for (partition, time, answer) in answers {
                            match answer {
                                Err(error) if error.is_retriable() => again.push((partition, time, error)),
                                answer => {
                                    results.insert(partition, answer);
                                }
                            }
                        }
                    }
                    Err(error) if error.is_retriable() => {
                        let reason = error.to_string();
                        again.extend(group.into_iter().map(|(partition, time)| {
                            (partition, time, ClientError::Timeout(reason.clone()))
                        }));
                    }
                    Err(error) => return Err(error),
                }
            }
            if !again.is_empty() && !backoff.wait(deadline) {
                results.extend(again.drain(..).map(|(partition, _, error)| (partition, Err(error))));
            }
            open = again.into_iter().map(|(partition, time, _)| (partition, time)).collect();
        }
        Ok(results)
    }

    fn list_offsets_of(
        &mut self,
        leader: i32,
        asked: &[(Partition, i64)],
        read_committed: bool,
        deadline: Instant,
    ) -> Result<Vec<(Partition, i64, Result<OffsetAt, ClientError>)>, ClientError> {
        let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for ((topic, partition), time) in asked {
            topics.entry(topic).or_default().push(
                ListOffsetsPartition::default()
                    .with_partition_index(*partition)
                    .with_current_leader_epoch(-1)
                    .with_timestamp(*time),
            );
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(partitions)
        });
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(i8::from(read_committed))
            .with_timeout_ms(30_000)
            .with_topics(topics.collect());
        let response = self.call_broker(leader, &request, deadline)?;
        let times: BTreeMap<&Partition, i64> =
            asked.iter().map(|(partition, time)| (partition, *time)).collect();
        let mut answers = Vec::with_capacity(asked.len());
        for topic in &response.topics {
            for p in &topic.partitions {
                let partition = (topic.name.0.to_string(), p.partition_index);
                let time = times.get(&partition).copied().unwrap_or(LATEST);
                let at = OffsetAt { offset: p.offset, timestamp: p.timestamp, leader_epoch: p.leader_epoch };
                answers.push((partition, time, ClientError::check(p.error_code, None).map(|()| at)));
            }
        }
        Ok(answers)
    }

    /// Groups partitions by their leaders, from fresh metadata; `None` holds those without one for now.
    pub(crate) fn by_leader<T: Clone>(
        &mut self,
        items: &[(Partition, T)],
        deadline: Instant,
    ) -> Result<BTreeMap<Option<i32>, Vec<(Partition, T)>>, ClientError> {
        let mut names: Vec<&str> = items.iter().map(|((topic, _), _)| topic.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let response = self.metadata(Some(&names), deadline)?;
        let mut leaders: BTreeMap<Partition, i32> = BTreeMap::new();
        for topic in &response.topics {
            // A topic that is gone has no leaders, and its partitions will not come: that is an answer, no delay.
            ClientError::check(topic.error_code, None)?;
            let Some(name) = &topic.name else { continue };
            for p in &topic.partitions {
                leaders.insert((name.0.to_string(), p.partition_index), p.leader_id.0);
            }
        }
        let mut groups: BTreeMap<Option<i32>, Vec<(Partition, T)>> = BTreeMap::new();
        for (partition, item) in items {
            let leader = leaders.get(partition).copied().filter(|id| *id >= 0);
            groups.entry(leader).or_default().push((partition.clone(), item.clone()));
        }
        Ok(groups)
    }

    /// The partitions of topics, in order; a topic that does not exist is an error.
    pub(crate) fn partitions_of(&mut self, topics: &[&str]) -> Result<Vec<Partition>, ClientError> {
        let deadline = self.deadline();
        let response = self.metadata(Some(topics), deadline)?;
        let mut partitions = Vec::new();
        for topic in &response.topics {
            ClientError::check(topic.error_code, None)?;
            let Some(name) = &topic.name else { continue };
            partitions.extend(topic.partitions.iter().map(|p| (name.0.to_string(), p.partition_index)));
        }
        partitions.sort();
        Ok(partitions)
    }
}
