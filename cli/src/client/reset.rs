//! Moving a group's committed offsets.

use std::collections::BTreeMap;

use super::offsets::{EARLIEST, LATEST, Partition};
use super::{Client, ClientError};

/// Where to move offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A time, or `EARLIEST` or `LATEST`.
    Time(i64),
    Offset(i64),
    Shift(i64),
}

/// The offsets to move to, each within what its log holds.
pub(crate) fn new_offsets(
    client: &mut Client,
    partitions: &[Partition],
    committed: &BTreeMap<Partition, i64>,
    target: Target,
) -> Result<BTreeMap<Partition, i64>, ClientError> {
    let at = |client: &mut Client, time: i64| -> Result<BTreeMap<Partition, i64>, ClientError> {
        let asked: Vec<(Partition, i64)> = partitions.iter().map(|p| (p.clone(), time)).collect();
        client.list_offsets(&asked, false)?.into_iter().map(|(p, answer)| Ok((p, answer?.offset))).collect()
    };
    let latest = at(client, LATEST)?;
    let wanted: BTreeMap<Partition, i64> = match target {
        Target::Time(LATEST) => return Ok(latest),
        Target::Time(EARLIEST) => return at(client, EARLIEST),
        // No record is that young: the end is what comes next.
        Target::Time(time) => at(client, time)?
            .into_iter()
            .map(
                |(p, offset)| {
                    if offset < 0 { (latest.get(&p).copied().unwrap_or(0), p) } else { (offset, p) }
                },
            )
            .map(|(offset, p)| (p, offset))
            .collect(),
        Target::Offset(offset) => partitions.iter().map(|p| (p.clone(), offset)).collect(),
        Target::Shift(by) => committed
            .iter()
            .filter(|(p, _)| partitions.contains(p))
            .map(|(p, offset)| (p.clone(), offset.saturating_add(by)))
            .collect(),
    };
    let earliest = at(client, EARLIEST)?;
    Ok(wanted
        .into_iter()
        .map(|(p, offset)| {
            let (low, high) = (earliest.get(&p).copied().unwrap_or(0), latest.get(&p).copied().unwrap_or(0));
            (p, offset.clamp(low, high.max(low)))
        })
        .collect())
}

/// Commits from outside the group, which the coordinator allows only while it has no members.
pub(crate) fn commit(
    client: &mut Client,
    group: &str,
    offsets: &BTreeMap<Partition, i64>,
) -> Result<(), ClientError> {
    match client.commit_offsets(group, "", -1, offsets)? {
        None => Ok(()),
        Some(code) => Err(ClientError::broker(code.code(), None)),
    }
}
