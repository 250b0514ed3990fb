//! Who may be made a voter of the metadata quorum, and who may be removed (KIP-853).

use std::fmt;

use moldau_model::{BrokerId, ErrorCode, Uuid};

use super::ApiError;

/// A controller by its disk. The same node with another disk is another replica: it has forgotten what it promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplicaKey {
    /// Its `node.id`.
    pub node_id: BrokerId,
    /// The id of its metadata directory.
    pub directory_id: Uuid,
}

impl fmt::Display for ReplicaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicaKey(id={}, directoryId={})", self.node_id, self.directory_id)
    }
}

impl ReplicaKey {
    /// What a request names. `operation` begins the refusal.
    ///
    /// # Errors
    /// `INVALID_REQUEST` where it names no replica.
    pub fn named(node_id: BrokerId, directory_id: Uuid, operation: &str) -> Result<Self, ApiError> {
        if node_id.0 < 0 || directory_id.is_zero() {
            let text = format!("{operation} voter request didn't include a valid voter");
            return Err(ApiError::new(ErrorCode::InvalidRequest, text));
        }
        Ok(Self { node_id, directory_id })
    }
}

/// Whether a request is meant for this cluster. One that names none is.
///
/// # Errors
/// `INCONSISTENT_CLUSTER_ID`.
pub fn check_cluster(asked: Option<&str>, cluster_id: &str) -> Result<(), ApiError> {
    match asked {
        Some(asked) if asked != cluster_id => {
            let text = format!("The given id \"{asked}\" doesn't match the cluster id \"{cluster_id}\"");
            Err(ApiError::new(ErrorCode::InconsistentClusterId, text))
        }
        _ => Ok(()),
    }
}

/// Whether a replica may become a voter beside these. A node does not vote twice, whatever its disks.
///
/// # Errors
/// `DUPLICATE_VOTER`.
pub fn check_new_voter(voters: &[ReplicaKey], new: ReplicaKey) -> Result<(), ApiError> {
    if voters.iter().any(|voter| voter.node_id == new.node_id) {
        let text = format!("The voter id for {new} is already part of the set of voters {}.", listed(voters));
        return Err(ApiError::new(ErrorCode::DuplicateVoter, text));
    }
    Ok(())
}

/// Whether a voter may be removed. The last one may not: nobody could add another.
///
/// # Errors
/// `VOTER_NOT_FOUND`, also for a voter's node with another disk.
pub fn check_old_voter(voters: &[ReplicaKey], old: ReplicaKey) -> Result<(), ApiError> {
    if voters.contains(&old) && voters.len() > 1 {
        return Ok(());
    }
    let text = format!("Cannot remove voter {old} from the set of voters {}", listed(voters));
    Err(ApiError::new(ErrorCode::VoterNotFound, text))
}

fn listed(voters: &[ReplicaKey]) -> String {
    let voters: Vec<String> = voters.iter().map(ToString::to_string).collect();
    format!("[{}]", voters.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: i32, byte: u8) -> ReplicaKey {
        ReplicaKey { node_id: BrokerId(id), directory_id: Uuid::from_bytes([byte; 16]) }
    }

    #[test]
    fn a_node_becomes_a_voter_once_whatever_its_disks() {
        let voters = [key(1, 1), key(2, 2)];
        assert_eq!(check_new_voter(&voters, key(3, 3)), Ok(()));
        for new in [key(2, 2), key(2, 9)] {
            assert_eq!(check_new_voter(&voters, new).unwrap_err().code, ErrorCode::DuplicateVoter);
        }
        let text = check_new_voter(&voters[..1], key(1, 1)).unwrap_err().message.unwrap();
        let one = "ReplicaKey(id=1, directoryId=AQEBAQEBAQEBAQEBAQEBAQ)";
        assert_eq!(text, format!("The voter id for {one} is already part of the set of voters [{one}]."));
    }

    #[test]
    fn only_the_voter_that_is_meant_is_removed_and_never_the_last() {
        let voters = [key(1, 1), key(2, 2)];
        assert_eq!(check_old_voter(&voters, key(2, 2)), Ok(()));
        for (voters, old) in [(&voters[..], key(3, 3)), (&voters, key(2, 9)), (&voters[..1], key(1, 1))] {
            assert_eq!(check_old_voter(voters, old).unwrap_err().code, ErrorCode::VoterNotFound);
        }
    }

    #[test]
    fn a_request_names_a_cluster_and_a_replica() {
        assert_eq!(check_cluster(None, "a"), Ok(()));
        assert_eq!(check_cluster(Some("a"), "a"), Ok(()));
        let error = check_cluster(Some("b"), "a").unwrap_err();
        assert_eq!(error.code, ErrorCode::InconsistentClusterId);
        assert_eq!(error.message.unwrap(), "The given id \"b\" doesn't match the cluster id \"a\"");
        for (id, directory) in [(-1, Uuid::ONE), (1, Uuid::ZERO)] {
            let error = ReplicaKey::named(BrokerId(id), directory, "Add").unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidRequest);
            assert_eq!(error.message.unwrap(), "Add voter request didn't include a valid voter");
        }
    }
}
