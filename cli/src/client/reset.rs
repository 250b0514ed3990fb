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
    new_offsets_telling(client, partitions, committed, target, &mut |_| {})
}

/// As `new_offsets`; `tell` hears, in Kafka's words, of each offset that the log does not hold.
pub(crate) fn new_offsets_telling(
    client: &mut Client,
    partitions: &[Partition],
    committed: &BTreeMap<Partition, i64>,
    target: Target,
    tell: &mut dyn FnMut(&str),
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
    let bounds = |p: &Partition| {
        let (low, high) = (earliest.get(p).copied().unwrap_or(0), latest.get(p).copied().unwrap_or(0));
        (low, high.max(low))
    };
    Ok(wanted
        .into_iter()
        .map(|(p, offset)| {
            let held = held(&p, offset, bounds(&p), tell);
            (p, held)
        })
        .collect())
}

/// The nearest offset that the log holds.
fn held(
    (topic, partition): &Partition,
    offset: i64,
    (low, high): (i64, i64),
    tell: &mut dyn FnMut(&str),
) -> i64 {
    let (order, end) = if offset > high {
        ("higher than latest", high)
    } else if offset < low {
        ("lower than earliest", low)
    } else {
        return offset;
    };
    tell(&format!(
        "New offset ({offset}) is {order} offset for topic partition {topic}-{partition}. Value will be set to {end}"
    ));
    end
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_that_the_log_does_not_hold_is_told_of() {
        for (wanted, given, text) in [
            (
                99_999,
                5,
                "New offset (99999) is higher than latest offset for topic partition t-0. Value will be set to 5",
            ),
            (
                1,
                2,
                "New offset (1) is lower than earliest offset for topic partition t-0. Value will be set to 2",
            ),
            (5, 5, ""),
            (3, 3, ""),
        ] {
            let mut told = String::new();
            let offset = held(&("t".to_owned(), 0), wanted, (2, 5), &mut |text| told.push_str(text));
            assert_eq!((offset, told.as_str()), (given, text), "{wanted}");
        }
    }
}
