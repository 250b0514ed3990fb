//! What lies in the log directories of a broker at its start.

use std::collections::BTreeMap;

use moldau_model::{TimestampMs, TopicPartition, Uuid};

use crate::{LogDirectory, LogError, PartitionOnDisk};

/// Partitions, each with the number of the log directory that holds it.
#[derive(Debug, Default)]
pub struct FoundPartitions {
    pub partitions: Vec<(usize, PartitionOnDisk)>,
    /// Copies that were on their way to another directory.
    pub futures: Vec<(usize, PartitionOnDisk)>,
}

impl FoundPartitions {
    /// Looks into all log directories; one into which the disk lets nobody look goes offline. Where a move between two of them
    /// was interrupted at its end, both have the partition: the older one is deleted.
    ///
    /// # Errors
    /// [`LogError::Duplicate`] where nothing says which of two is the partition.
    pub fn look(directories: &[(Uuid, &LogDirectory)], now: TimestampMs) -> Result<Self, LogError> {
        let mut by_name: BTreeMap<TopicPartition, Vec<(usize, PartitionOnDisk)>> = BTreeMap::new();
        let mut found = Self::default();
        for (number, (_, directory)) in directories.iter().enumerate() {
            let listed = directory.list_partitions().and_then(|found| Ok((found, directory.list_futures()?)));
            let (partitions, futures) = match listed {
                Ok(listed) => listed,
                Err(error @ LogError::Io { .. }) => {
                    tracing::error!(
                        path = %directory.path().display(), %error, "cannot look into a log directory: it goes offline"
                    );
                    directory.take_offline(error.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            for partition in partitions {
                by_name.entry(partition.topic_partition.clone()).or_default().push((number, partition));
            }
            found.futures.extend(futures.into_iter().map(|future| (number, future)));
        }
        for holders in by_name.into_values() {
            found.partitions.push(settle(directories, holders, now)?);
        }
        Ok(found)
    }
}

/// Which of those that have the partition has it.
fn settle(
    directories: &[(Uuid, &LogDirectory)],
    mut holders: Vec<(usize, PartitionOnDisk)>,
    now: TimestampMs,
) -> Result<(usize, PartitionOnDisk), LogError> {
    holders.sort_by_key(|(_, partition)| std::cmp::Reverse(partition.moved_from.generation));
    let mut holders = holders.into_iter();
    let Some((number, mut newest)) = holders.next() else {
        unreachable!("a partition is listed by who has it");
    };
    for (other, older) in holders {
        let (id, directory) = directories[other];
        if !newest.moved_from.directories.contains(&id) {
            return Err(LogError::Duplicate { one: newest.directory, other: older.directory });
        }
        tracing::info!(
            partition = %older.topic_partition, from = %older.directory.display(), to = %newest.directory.display(),
            "ending a move between log directories that was interrupted"
        );
        directory.delete_stray(&older, now)?;
        directory.sync_names()?;
    }
    // A directory that is not here at this start may still have an older one.
    let is_here = |id: &Uuid| directories.iter().any(|(other, _)| other == id);
    if newest.moved_from.generation > 0 && newest.moved_from.directories.iter().all(is_here) {
        // Their names may be in the page cache alone.
        for (_, directory) in directories.iter().filter(|(id, _)| newest.moved_from.directories.contains(id))
        {
            directory.sync_names()?;
        }
        directories[number].1.remove_moved_from(&newest.directory)?;
        newest.moved_from = Default::default();
    }
    Ok((number, newest))
}
