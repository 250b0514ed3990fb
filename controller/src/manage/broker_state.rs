//! What becomes of a registered broker: fenced, unfenced, shutting down, out of a log directory, gone.

use std::collections::BTreeSet;

use moldau_cluster::ReplicaDirectory;
use moldau_metadata::records::{BrokerRegistrationChange, UnregisterBroker};
use moldau_metadata::{BrokerRegistration, MetadataImage, MetadataRecord, PartitionRegistration};
use moldau_model::{BrokerId, ErrorCode, Uuid};

use super::partition_change::{BrokerEvent, CachedRules, Wish, changes, changes_of, has_online_directory};
use super::{ApiError, Decision, Settings};

fn change_of(broker: &BrokerRegistration) -> BrokerRegistrationChange {
    BrokerRegistrationChange {
        broker_id: broker.id.0,
        broker_epoch: broker.epoch.0,
        ..BrokerRegistrationChange::default()
    }
}

/// Fences a broker: it leaves all ISRs and leaderships. Nothing if it is fenced already, or not registered.
#[must_use]
pub fn fence_broker(image: &MetadataImage, settings: &Settings, id: BrokerId) -> Vec<MetadataRecord> {
    let Some(broker) = image.broker(id).filter(|broker| !broker.fenced) else { return Vec::new() };
    let mut records = changes(image, settings, BrokerEvent::Leaves(id));
    records.push(BrokerRegistrationChange { fenced: Some(true), ..change_of(broker) }.into());
    records
}

/// Unfences a broker: it gets the partitions that have no leader and may have it. Nothing if it is not fenced.
#[must_use]
pub fn unfence_broker(image: &MetadataImage, settings: &Settings, id: BrokerId) -> Vec<MetadataRecord> {
    let Some(broker) = image.broker(id).filter(|broker| broker.fenced) else { return Vec::new() };
    let change = BrokerRegistrationChange { fenced: Some(false), ..change_of(broker) };
    let mut records = vec![change.into()];
    if !broker.in_controlled_shutdown {
        records.extend(changes(image, settings, BrokerEvent::MayLead(id)));
    }
    records
}

/// Starts a broker's controlled shutdown: it leaves ISRs and leaderships, and stays to be told so.
/// Nothing if it is on its way down already.
#[must_use]
pub fn start_controlled_shutdown(
    image: &MetadataImage,
    settings: &Settings,
    id: BrokerId,
) -> Vec<MetadataRecord> {
    let Some(broker) = image.broker(id).filter(|broker| !broker.in_controlled_shutdown) else {
        return Vec::new();
    };
    let change = BrokerRegistrationChange { in_controlled_shutdown: Some(true), ..change_of(broker) };
    let mut records = vec![change.into()];
    records.extend(changes(image, settings, BrokerEvent::Leaves(id)));
    records
}

/// Takes failed log directories out of a broker's registration, and the replicas in them out of ISRs and leaderships.
#[must_use]
pub fn fence_log_directories(
    image: &MetadataImage,
    settings: &Settings,
    id: BrokerId,
    failed: &[Uuid],
) -> Vec<MetadataRecord> {
    let Some(broker) = image.broker(id) else { return Vec::new() };
    let online: Vec<Uuid> =
        broker.log_directories.iter().filter(|directory| !failed.contains(directory)).copied().collect();
    if online.len() == broker.log_directories.len() {
        return Vec::new();
    }
    let change =
        BrokerRegistrationChange { log_directories: Some(online.as_slice().into()), ..change_of(broker) };
    let affected = |partition: &PartitionRegistration| {
        partition.isr.contains(&id) && failed.contains(&partition.directory(id))
    };
    let mut records = vec![change.into()];
    records.extend(changes_of(image, settings, BrokerEvent::Leaves(id), &affected));
    records
}

/// Notes which of a broker's log directories have no room left. The replicas in them leave ISRs and leaderships where another
/// one is in sync and has room; the last one stays, since it can be read, and has what was acknowledged. Said again, this
/// finds the partitions in which there is another one by now.
#[must_use]
pub fn note_full_log_directories(
    image: &MetadataImage,
    settings: &Settings,
    id: BrokerId,
    full: &[Uuid],
) -> Vec<MetadataRecord> {
    let Some(before) = image.broker(id) else { return Vec::new() };
    let full = before.log_directories.iter().filter(|directory| full.contains(directory)).copied().collect();
    let broker = BrokerRegistration { full_log_directories: full, ..(**before).clone() };
    let mut records = Vec::new();
    if broker.full_log_directories != before.full_log_directories {
        let full_log_directories = Some(broker.full_log_directories.as_slice().into());
        records.push(BrokerRegistrationChange { full_log_directories, ..change_of(before) }.into());
    }
    if broker.full_log_directories.is_empty() {
        return records;
    }
    let can_go_on = |partition: &PartitionRegistration, other: BrokerId| {
        other != id
            && has_online_directory(image, partition, other)
            && image
                .broker(other)
                .is_some_and(|broker| broker.is_active() && !broker.is_full(partition.directory(other)))
    };
    let affected = |partition: &PartitionRegistration| {
        partition.isr.contains(&id)
            && broker.is_full(partition.directory(id))
            && partition.isr.iter().any(|other| can_go_on(partition, *other))
    };
    records.extend(changes_of(image, settings, BrokerEvent::Leaves(id), &affected));
    records
}

/// Notes which of a broker's log directories are to get no new replicas (`cordoned.log.dirs`, KIP-1066).
#[must_use]
pub fn note_cordoned_log_directories(
    image: &MetadataImage,
    id: BrokerId,
    cordoned: &[Uuid],
) -> Option<MetadataRecord> {
    let broker = image.broker(id)?;
    let change =
        BrokerRegistrationChange { cordoned_log_directories: Some(cordoned.into()), ..change_of(broker) };
    (broker.cordoned_log_directories != cordoned).then(|| change.into())
}

/// Notes in which log directories a broker's replicas are. One that the metadata has in a directory that failed is left there:
/// it has its records no more, and must not be taken for one that has; where it is in sync again, its leader's proposal
/// tells the new place. One that moved into a directory and lost it before the metadata heard of the move is told of here, and
/// leaves ISR and leadership as those do that the metadata had there.
#[must_use]
pub fn place_replicas(
    image: &MetadataImage,
    settings: &Settings,
    id: BrokerId,
    replicas: &[ReplicaDirectory],
    failed: &[Uuid],
) -> Vec<MetadataRecord> {
    let Some(broker) = image.broker(id) else { return Vec::new() };
    let mut rules = CachedRules::new(image, settings);
    let mut placed = BTreeSet::new();
    let mut records = Vec::new();
    for ReplicaDirectory { topic_id, partition: index, directory } in replicas {
        let Some(topic) = image.topics().by_id(*topic_id) else { continue };
        let Some(partition) = topic.partition(*index).filter(|partition| partition.replicas.contains(&id))
        else {
            continue;
        };
        let has_failed = failed.contains(directory);
        if !(has_failed || broker.log_directories.contains(directory))
            || partition.directory(id) == *directory
            || !has_online_directory(image, partition, id)
            || !placed.insert((*topic_id, *index))
        {
            continue;
        }
        let may_lead = |other: BrokerId| {
            image.is_active_broker(other)
                && has_online_directory(image, partition, other)
                && !(has_failed && other == id)
        };
        let mut wish = Wish::new(topic, *index, partition, rules.of(topic), &may_lead);
        wish.assignment.relocate(id, *directory);
        if has_failed {
            wish.isr.retain(|member| *member != id);
        }
        records.extend(wish.record().map(MetadataRecord::from));
    }
    records
}

/// Takes a broker out of the cluster for good, also out of the ELR. A broker that still runs is told by its next
/// heartbeat that nobody knows it.
pub fn unregister_broker(
    image: &MetadataImage,
    settings: &Settings,
    id: BrokerId,
) -> Result<Decision<()>, ApiError> {
    let Some(broker) = image.broker(id) else {
        let text = format!("Broker ID {id} is not currently registered");
        return Err(ApiError::new(ErrorCode::BrokerIdNotRegistered, text));
    };
    let mut records = changes(image, settings, BrokerEvent::LeavesUncleanly(id));
    records.push(UnregisterBroker { broker_id: id.0, broker_epoch: broker.epoch.0 }.into());
    Ok(Decision { records, response: () })
}
