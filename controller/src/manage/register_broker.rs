//! A broker's process enters the cluster (KIP-631).

use moldau_cluster::{RegisterBroker, RegisteredBroker};
use moldau_metadata::{BrokerRegistration, Listener, MetadataImage, SecurityProtocol, SupportedFeatureRange};
use moldau_model::{BrokerEpoch, BrokerId, ErrorCode, Uuid};

use super::partition_change::{BrokerEvent, changes};
use super::{ApiError, Decision, Inputs};

/// The ids below this are reserved: unassigned, lost, migrating and more (KIP-858).
const RESERVED_DIRECTORY_IDS: u128 = 100;

/// Whether the broker's last incarnation is alive, as far as the active controller can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// It was heard of within the session timeout.
    Live,
    /// It was not, or never since this controller became the active one.
    NotLive,
}

/// Registers a broker. It starts fenced, and what its last incarnation led or was in sync with ends here: followers
/// may hold records that the leader had not synced, and a leader back with a shorter log in the same epoch could write
/// other records at the same offsets. So a new incarnation leads nothing until a new leader epoch is committed for it.
/// An unclean one leaves the ELR besides. The same incarnation again is a repetition and keeps its epoch.
///
/// # Errors
/// `INCONSISTENT_CLUSTER_ID`, `DUPLICATE_BROKER_REGISTRATION`, `INVALID_REGISTRATION`, `UNSUPPORTED_VERSION`.
pub fn register_broker(
    image: &MetadataImage,
    request: &RegisterBroker,
    session: SessionState,
    inputs: &mut Inputs<'_>,
) -> Result<Decision<RegisteredBroker>, ApiError> {
    let cluster_id = image.cluster_id().map_or("", |id| &**id);
    if request.cluster_id != cluster_id {
        let text = format!("Expected cluster ID {cluster_id}, but got cluster ID {}", request.cluster_id);
        return Err(ApiError::new(ErrorCode::InconsistentClusterId, text));
    }
    let id = request.broker_id;
    let earlier = image.broker(id);
    let is_repetition = earlier.is_some_and(|broker| broker.incarnation_id == request.incarnation_id);
    if earlier.is_some() && !is_repetition && session == SessionState::Live {
        return Err(ApiError::new(
            ErrorCode::DuplicateBrokerRegistration,
            "Another broker is registered with that broker id. If the broker was recently restarted this should \
             self-resolve once the heartbeat manager expires the broker's session.",
        ));
    }
    check_directories(image, request)?;
    let features = features(image, request)?;
    let mut broker = BrokerRegistration {
        id,
        // An offset is larger than all before it, which is all that an epoch needs.
        epoch: BrokerEpoch(inputs.next_offset.0),
        incarnation_id: request.incarnation_id,
        listeners: listeners(request)?,
        features,
        rack: request.rack.as_deref().map(Into::into),
        fenced: true,
        in_controlled_shutdown: false,
        log_directories: request.log_dirs.clone(),
        full_log_directories: Vec::new(),
        // Its first heartbeat says whether they still are.
        cordoned_log_directories: earlier
            .map_or_else(Vec::new, |earlier| earlier.cordoned_log_directories.clone()),
    };
    let mut records = Vec::new();
    match earlier {
        Some(earlier) if is_repetition => {
            broker.epoch = earlier.epoch;
            broker.fenced = earlier.fenced;
            broker.in_controlled_shutdown = earlier.in_controlled_shutdown;
            broker.full_log_directories.clone_from(&earlier.full_log_directories);
            if broker == **earlier {
                return Ok(Decision::unchanged(RegisteredBroker { broker_epoch: earlier.epoch }));
            }
        }
        _ => {
            if let Some(earlier) = earlier {
                assert!(earlier.epoch < broker.epoch, "broker {id} would register again at {}", broker.epoch);
            }
            let is_clean = earlier.is_some_and(|earlier| earlier.epoch == request.previous_broker_epoch);
            let event = if is_clean { BrokerEvent::Leaves(id) } else { BrokerEvent::LeavesUncleanly(id) };
            records = changes(image, inputs.settings, event);
        }
    }
    records.push(broker.to_record().into());
    Ok(Decision { records, response: RegisteredBroker { broker_epoch: broker.epoch } })
}

/// Refuses a request of a broker that is not registered, or of an incarnation other than the registered one.
pub(super) fn check_broker_epoch(
    image: &MetadataImage,
    id: BrokerId,
    epoch: BrokerEpoch,
) -> Result<(), ApiError> {
    let Some(broker) = image.broker(id) else {
        let text = format!("No broker registration found for broker id {id}");
        return Err(ApiError::new(ErrorCode::StaleBrokerEpoch, text));
    };
    if broker.epoch != epoch {
        let text = format!("Expected broker epoch {}, but got broker epoch {epoch}", broker.epoch);
        return Err(ApiError::new(ErrorCode::StaleBrokerEpoch, text));
    }
    Ok(())
}

fn invalid(text: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidRegistration, text)
}

fn check_directories(image: &MetadataImage, request: &RegisterBroker) -> Result<(), ApiError> {
    if request.log_dirs.is_empty() {
        return Err(invalid("No directories specified in request"));
    }
    let is_reserved = |id: &Uuid| u128::from_be_bytes(*id.as_bytes()) < RESERVED_DIRECTORY_IDS;
    if request.log_dirs.iter().any(is_reserved) {
        return Err(invalid("Reserved directory ID in request"));
    }
    let is_repeated = |(place, id): (usize, &Uuid)| request.log_dirs[..place].contains(id);
    if request.log_dirs.iter().enumerate().any(is_repeated) {
        return Err(invalid("Duplicate directory ID in request"));
    }
    for other in image.brokers().filter(|broker| broker.id != request.broker_id) {
        if let Some(directory) = other.log_directories.iter().find(|id| request.log_dirs.contains(id)) {
            return Err(invalid(format!(
                "Broker {} is already registered with directory {directory}",
                other.id
            )));
        }
    }
    Ok(())
}

fn listeners(request: &RegisterBroker) -> Result<Vec<Listener>, ApiError> {
    let listeners = request.listeners.iter().map(|listener| {
        let code = i32::from(listener.security_protocol);
        let security_protocol = SecurityProtocol::from_code(code).ok_or_else(|| {
            invalid(format!("Unknown security protocol {code} of listener {}", listener.name))
        })?;
        Ok(Listener {
            name: listener.name.as_str().into(),
            host: listener.host.as_str().into(),
            port: listener.port,
            security_protocol,
        })
    });
    listeners.collect()
}

/// The broker must be able to run at every level that the cluster has agreed on.
fn features(image: &MetadataImage, request: &RegisterBroker) -> Result<Vec<SupportedFeatureRange>, ApiError> {
    for (name, level) in image.features() {
        let range = request.features.iter().find(|feature| *feature.name == **name);
        let (min, max) = range.map_or((0, 0), |range| (range.min, range.max));
        if !(min..=max).contains(level) {
            return Err(ApiError::new(
                ErrorCode::UnsupportedVersion,
                format!(
                    "Unable to register because the broker does not support finalized version {level} of {name}. \
                     The broker wants a version between {min} and {max}, inclusive."
                ),
            ));
        }
    }
    let range = |feature: &moldau_cluster::FeatureRange| SupportedFeatureRange {
        name: feature.name.as_str().into(),
        min_level: feature.min,
        max_level: feature.max,
    };
    Ok(request.features.iter().map(range).collect())
}

#[cfg(test)]
mod tests;
