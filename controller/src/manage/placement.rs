//! Which brokers hold a new partition's replicas, after Kafka's striped placement:
//! 1. replicas spread over racks, and within a rack over its brokers, evenly;
//! 2. the first replica, the preferred leader, is on a broker that is not fenced;
//! 3. fenced brokers take replicas only where a rack has no other left.
//!
//! Partition after partition starts one rack further on, and each round starts one broker further on in every rack. After
//! as many partitions as there are live brokers the order is shuffled, so that followers do not always pair up alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use moldau_metadata::MetadataImage;
use moldau_model::{BrokerId, ErrorCode, Uuid};

use super::{ApiError, Random};

/// Brokers that are gone through in a circle, from another start in every round.
#[derive(Debug, Default)]
struct Ring {
    brokers: Vec<BrokerId>,
    round: usize,
    start: usize,
    taken: usize,
}

impl Ring {
    fn start_at_random(&mut self, random: &mut Random) {
        if !self.brokers.is_empty() {
            self.start = random.below(self.brokers.len());
        }
    }

    /// The next broker of this round, none twice.
    fn next(&mut self, round: usize) -> Option<BrokerId> {
        let count = self.brokers.len();
        if self.round != round {
            self.round = round;
            self.taken = 0;
            self.start = (self.start + 1) % count.max(1);
        }
        if self.taken == count {
            return None;
        }
        self.taken += 1;
        Some(self.brokers[(self.start + self.taken - 1) % count])
    }
}

#[derive(Debug, Default)]
struct Rack {
    unfenced: Ring,
    fenced: Ring,
}

/// Places the replicas of one topic's new partitions, one call a partition.
#[derive(Debug)]
pub(super) struct Placement<'a> {
    random: &'a mut Random,
    racks: Vec<Rack>,
    broker_count: usize,
    unfenced_count: usize,
    round: usize,
    first_rack: usize,
}

impl<'a> Placement<'a> {
    /// Over the brokers of the image that take new replicas.
    pub(super) fn new(image: &MetadataImage, random: &'a mut Random) -> Self {
        let mut racks: BTreeMap<Option<Arc<str>>, Rack> = BTreeMap::new();
        let mut broker_count = 0;
        for broker in image.brokers().filter(|broker| broker.takes_new_replicas()) {
            broker_count += 1;
            let rack = racks.entry(broker.rack.clone()).or_default();
            let ring = if broker.fenced { &mut rack.fenced } else { &mut rack.unfenced };
            ring.brokers.push(broker.id);
        }
        let mut racks: Vec<Rack> = racks.into_values().collect();
        for rack in &mut racks {
            rack.fenced.start_at_random(random);
            rack.unfenced.start_at_random(random);
        }
        let first_rack = if racks.is_empty() { 0 } else { random.below(racks.len()) };
        let unfenced_count = racks.iter().map(|rack| rack.unfenced.brokers.len()).sum();
        Self { random, racks, broker_count, unfenced_count, round: 0, first_rack }
    }

    /// Whether partitions of this many replicas can be placed at all.
    pub(super) fn check(&self, replication_factor: i16) -> Result<(), String> {
        if replication_factor <= 0 {
            return Err(format!(
                "Invalid replication factor {replication_factor}: the replication factor must be positive."
            ));
        }
        if self.unfenced_count == 0 {
            return Err(
                "All brokers are currently fenced, or have all their log directories cordoned.".into()
            );
        }
        if replication_factor as usize > self.broker_count {
            return Err(format!(
                "The target replication factor of {replication_factor} cannot be reached because only {} broker(s) \
                 are registered or some brokers have all their log directories cordoned.",
                self.broker_count
            ));
        }
        Ok(())
    }

    /// The replicas of the next partition, the preferred leader first.
    pub(super) fn place(&mut self, replication_factor: i16) -> Result<Vec<BrokerId>, String> {
        self.check(replication_factor)?;
        if self.round == self.unfenced_count && self.unfenced_count > 1 {
            self.random.shuffle(&mut self.racks);
            for rack in &mut self.racks {
                self.random.shuffle(&mut rack.fenced.brokers);
                self.random.shuffle(&mut rack.unfenced.brokers);
            }
            self.round = 0;
        }
        self.round += 1;
        let rack_count = self.racks.len();
        let start = self.first_rack % rack_count;
        self.first_rack = start + 1;
        let mut replicas = Vec::with_capacity(replication_factor as usize);
        // One of the racks has an unfenced broker: `check` has seen to that.
        let mut leader_rack = start;
        while replicas.is_empty() {
            match self.racks[leader_rack].unfenced.next(self.round) {
                Some(leader) => replicas.push(leader),
                None => leader_rack = (leader_rack + 1) % rack_count,
            }
        }
        let mut rack = start;
        let mut is_leaders_turn_taken = false;
        // There are as many brokers as replicas at least, and a round gives each of them once.
        while replicas.len() < replication_factor as usize {
            if rack == leader_rack && !is_leaders_turn_taken {
                is_leaders_turn_taken = true;
            } else {
                let Rack { unfenced, fenced } = &mut self.racks[rack];
                replicas.extend(unfenced.next(self.round).or_else(|| fenced.next(self.round)));
            }
            rack = (rack + 1) % rack_count;
        }
        Ok(replicas)
    }
}

/// The log directories of new replicas: a broker with one directory has no choice; with several, it chooses itself.
pub(super) fn default_directories(image: &MetadataImage, replicas: &[BrokerId]) -> Vec<Uuid> {
    let directory = |id: &BrokerId| match image.broker(*id).map(|broker| broker.log_directories.as_slice()) {
        Some([only]) => *only,
        _ => Uuid::ZERO,
    };
    replicas.iter().map(directory).collect()
}

/// The members of a new partition's ISR: the replicas that are active.
pub(super) fn active(image: &MetadataImage, replicas: &[BrokerId]) -> Vec<BrokerId> {
    replicas.iter().copied().filter(|id| image.is_active_broker(*id)).collect()
}

/// Checks an assignment that a user has made: the brokers exist, none comes twice, and there are as many as in the
/// partitions before.
pub(super) fn check_manual(
    image: &MetadataImage,
    replicas: &[BrokerId],
    replication_factor: Option<usize>,
) -> Result<(), ApiError> {
    let invalid = |text: String| Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, text));
    if replicas.is_empty() {
        return invalid("The manual partition assignment includes an empty replica list.".into());
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    let mut before = None;
    for id in sorted {
        if image.broker(id).is_none() {
            return invalid(format!(
                "The manual partition assignment includes broker {id}, but no such broker is registered."
            ));
        }
        if before == Some(id) {
            return invalid(format!(
                "The manual partition assignment includes the broker {id} more than once."
            ));
        }
        before = Some(id);
    }
    match replication_factor {
        Some(expected) if expected != replicas.len() => invalid(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with \
             previous partitions, which have {expected} replica(s).",
            replicas.len()
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
