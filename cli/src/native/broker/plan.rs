//! Where the replicas of a broker that goes may be instead: another rack first, then the broker that holds the fewest.

use std::collections::BTreeMap;

use crate::client::offsets::Partition;

/// A broker that may take replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: i32,
    pub(super) rack: Option<String>,
}

/// The new replicas of every partition that `leaving` holds. The error names partitions that no other broker can take,
/// for each of them has a replica already.
pub(super) fn plan(
    partitions: &[(Partition, Vec<i32>)],
    brokers: &[Candidate],
    leaving: i32,
) -> Result<Vec<(Partition, Vec<i32>)>, Vec<Partition>> {
    let mut counts: BTreeMap<i32, usize> = BTreeMap::new();
    for (_, replicas) in partitions {
        for id in replicas {
            *counts.entry(*id).or_default() += 1;
        }
    }
    let rack_of = |id: i32| brokers.iter().find(|broker| broker.id == id).and_then(|b| b.rack.as_deref());
    let mut goals = Vec::new();
    let mut homeless = Vec::new();
    for (partition, replicas) in partitions.iter().filter(|(_, replicas)| replicas.contains(&leaving)) {
        let stay: Vec<i32> = replicas.iter().copied().filter(|id| *id != leaving).collect();
        let shares_rack = |rack: Option<&str>| rack.is_some() && stay.iter().any(|id| rack_of(*id) == rack);
        let candidates = brokers.iter().filter(|b| b.id != leaving && !replicas.contains(&b.id));
        let chosen = candidates.min_by_key(|b| {
            (shares_rack(b.rack.as_deref()), counts.get(&b.id).copied().unwrap_or_default(), b.id)
        });
        let Some(chosen) = chosen else {
            homeless.push(partition.clone());
            continue;
        };
        *counts.entry(chosen.id).or_default() += 1;
        // At the end: what leads next is a replica that has the records already.
        let goal = stay.into_iter().chain([chosen.id]).collect();
        goals.push((partition.clone(), goal));
    }
    if homeless.is_empty() { Ok(goals) } else { Err(homeless) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers(racks: &[&str]) -> Vec<Candidate> {
        let broker = |(index, rack): (usize, &&str)| Candidate {
            id: i32::try_from(index).unwrap() + 1,
            rack: Some((*rack).to_owned()).filter(|rack| !rack.is_empty()),
        };
        racks.iter().enumerate().map(broker).collect()
    }

    fn partition(index: i32, replicas: &[i32]) -> (Partition, Vec<i32>) {
        (("a".to_owned(), index), replicas.to_vec())
    }

    #[test]
    fn replicas_go_where_the_fewest_are() {
        let partitions = [partition(0, &[1]), partition(1, &[1]), partition(2, &[2]), partition(3, &[3, 2])];
        let goals = plan(&partitions, &brokers(&["", "", ""]), 1).unwrap();
        assert_eq!(goals, [partition(0, &[3]), partition(1, &[2])]);
    }

    #[test]
    fn a_partition_stays_spread_over_racks_and_what_stays_leads() {
        let partitions = [partition(0, &[1, 2]), partition(1, &[4]), partition(2, &[4])];
        let goals = plan(&partitions, &brokers(&["x", "y", "y", "x"]), 1).unwrap();
        assert_eq!(goals, [partition(0, &[2, 4])]);
    }

    #[test]
    fn a_partition_that_is_everywhere_already_is_named() {
        let partitions = [partition(0, &[1, 2, 3]), partition(1, &[1])];
        assert_eq!(plan(&partitions, &brokers(&["", "", ""]), 1), Err(vec![("a".to_owned(), 0)]));
    }
}
