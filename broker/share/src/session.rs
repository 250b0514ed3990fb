//! Share sessions: which partitions a member fetches from this broker, so that it need not name them again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use moldau_model::{ErrorCode, TopicIdPartition};

/// Opens a session.
const FIRST_EPOCH: i32 = 0;
/// Closes it.
const FINAL_EPOCH: i32 = -1;
/// Partitions of one session: a member reads what its group's coordinator gives it, and of that what one broker leads. With the
/// bound on sessions, and the names being ids, sessions stay within some hundred megabytes whatever clients name.
const PARTITIONS_MAX: usize = 10_000;

/// A member of a share group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    pub group_id: Arc<str>,
    pub member_id: Arc<str>,
}

/// Why there is no session for a request.
pub type SessionError = ErrorCode;

#[derive(Debug)]
struct Session {
    /// What the next request has to say.
    epoch: i32,
    /// In the order in which they came.
    partitions: Vec<TopicIdPartition>,
    connection: SocketAddr,
}

/// The share sessions of a broker.
#[derive(Debug)]
pub struct ShareSessions {
    by_key: BTreeMap<SessionKey, Session>,
    sessions_max: usize,
}

impl ShareSessions {
    /// At most `sessions_max` at a time: `group.share.max.share.sessions`.
    #[must_use]
    pub fn new(sessions_max: usize) -> Self {
        Self { by_key: BTreeMap::new(), sessions_max }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Takes a ShareFetch's epoch, and what it adds to and takes from its session. Gives all partitions of the session, another
    /// one first each time, so that none is always last.
    ///
    /// # Errors
    /// SHARE_SESSION_NOT_FOUND, INVALID_SHARE_SESSION_EPOCH and SHARE_SESSION_LIMIT_REACHED; INVALID_REQUEST where the session would
    /// have more partitions than a session may have, and then it is as it was but for its epoch; one that would be opened anew, as
    /// it was altogether.
    pub fn fetch(
        &mut self,
        key: &SessionKey,
        epoch: i32,
        connection: SocketAddr,
        added: impl IntoIterator<Item = TopicIdPartition>,
        forgotten: &[TopicIdPartition],
    ) -> Result<Vec<TopicIdPartition>, SessionError> {
        let is_first = epoch == FIRST_EPOCH;
        if is_first && self.by_key.len() >= self.sessions_max && !self.by_key.contains_key(key) {
            return Err(ErrorCode::ShareSessionLimitReached);
        }
        let mut partitions = if is_first { Vec::new() } else { self.check(key, epoch)?.partitions.clone() };
        let mut known: BTreeSet<TopicIdPartition> = partitions.iter().copied().collect();
        partitions.extend(added.into_iter().filter(|partition| known.insert(*partition)));
        let forgotten: BTreeSet<&TopicIdPartition> = forgotten.iter().collect();
        partitions.retain(|partition| !forgotten.contains(partition));
        if partitions.len() > PARTITIONS_MAX {
            return Err(ErrorCode::InvalidRequest);
        }
        if is_first {
            let session = Session { epoch: FIRST_EPOCH + 1, partitions: partitions.clone(), connection };
            self.by_key.insert(key.clone(), session);
        } else if let Some(session) = self.by_key.get_mut(key) {
            session.partitions.clone_from(&partitions);
        }
        if !partitions.is_empty() {
            let first = usize::try_from(epoch).unwrap_or(0) % partitions.len();
            partitions.rotate_left(first);
        }
        Ok(partitions)
    }

    /// Takes a ShareAcknowledge's epoch. It opens no session.
    ///
    /// # Errors
    /// SHARE_SESSION_NOT_FOUND and INVALID_SHARE_SESSION_EPOCH.
    pub fn acknowledge(&mut self, key: &SessionKey, epoch: i32) -> Result<(), SessionError> {
        if epoch == FIRST_EPOCH {
            return Err(ErrorCode::InvalidShareSessionEpoch);
        }
        self.check(key, epoch).map(|_| ())
    }

    /// Whether the epoch is one that ends the session.
    #[must_use]
    pub fn is_final(epoch: i32) -> bool {
        epoch == FINAL_EPOCH
    }

    fn check(&mut self, key: &SessionKey, epoch: i32) -> Result<&mut Session, SessionError> {
        let session = self.by_key.get_mut(key).ok_or(ErrorCode::ShareSessionNotFound)?;
        if epoch != FINAL_EPOCH {
            if epoch != session.epoch {
                return Err(ErrorCode::InvalidShareSessionEpoch);
            }
            session.epoch = epoch.checked_add(1).unwrap_or(FIRST_EPOCH + 1);
        }
        Ok(session)
    }

    /// Whether a member of the group has a session.
    #[must_use]
    pub fn has_group(&self, group_id: &str) -> bool {
        self.by_key.keys().any(|key| *key.group_id == *group_id)
    }

    /// Ends a session. Gives its partitions: what the member has of them is to be taken back.
    pub fn close(&mut self, key: &SessionKey) -> Vec<TopicIdPartition> {
        self.by_key.remove(key).map(|session| session.partitions).unwrap_or_default()
    }

    /// A connection has ended, and with it the sessions that were opened over it.
    pub fn connection_closed(&mut self, connection: SocketAddr) -> Vec<(SessionKey, Vec<TopicIdPartition>)> {
        let of_it = self.by_key.iter().filter(|(_, session)| session.connection == connection);
        let keys: Vec<SessionKey> = of_it.map(|(key, _)| key.clone()).collect();
        keys.into_iter().map(|key| (key.clone(), self.close(&key))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use moldau_model::{PartitionIndex, TopicId};

    use super::*;

    fn key(member_id: &str) -> SessionKey {
        SessionKey { group_id: "g".into(), member_id: member_id.into() }
    }

    fn peer(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    fn partition(index: i32) -> TopicIdPartition {
        TopicIdPartition { topic_id: TopicId::ONE, partition: PartitionIndex(index) }
    }

    #[test]
    fn a_session_remembers_its_partitions_and_turns_them() {
        let mut sessions = ShareSessions::new(10);
        let both = [partition(0), partition(1)];
        assert_eq!(sessions.fetch(&key("m"), 0, peer(1), both, &[]), Ok(both.to_vec()));
        assert_eq!(sessions.fetch(&key("m"), 1, peer(1), [], &[]), Ok(vec![partition(1), partition(0)]));
        assert_eq!(sessions.acknowledge(&key("m"), 2), Ok(()));
        assert_eq!(sessions.fetch(&key("m"), 3, peer(1), [], &[partition(0)]), Ok(vec![partition(1)]));
        assert_eq!(sessions.fetch(&key("m"), -1, peer(1), [], &[]), Ok(vec![partition(1)]));
        assert_eq!(sessions.close(&key("m")), [partition(1)]);
        assert!(sessions.is_empty());
    }

    #[test]
    fn a_session_has_no_more_partitions_than_a_session_may_have() {
        let mut sessions = ShareSessions::new(1);
        let many = |count: usize| (0..count).map(|index| partition(i32::try_from(index).unwrap()));
        assert_eq!(
            sessions.fetch(&key("m"), 0, peer(1), many(PARTITIONS_MAX), &[]).unwrap().len(),
            PARTITIONS_MAX
        );
        let one_more = many(PARTITIONS_MAX + 1);
        assert_eq!(sessions.fetch(&key("m"), 1, peer(1), one_more, &[]), Err(ErrorCode::InvalidRequest));
        let swapped = sessions.fetch(&key("m"), 2, peer(1), many(PARTITIONS_MAX + 1), &[partition(0)]);
        assert_eq!(swapped.unwrap().len(), PARTITIONS_MAX);
        // One that is opened anew with too many does not take the place of the one there is.
        let again = sessions.fetch(&key("m"), 0, peer(2), many(PARTITIONS_MAX + 1), &[]);
        assert_eq!(again, Err(ErrorCode::InvalidRequest));
        assert_eq!(sessions.fetch(&key("m"), 3, peer(1), [], &[]).unwrap().len(), PARTITIONS_MAX);
        assert_eq!(sessions.connection_closed(peer(2)), []);
        assert_eq!(sessions.connection_closed(peer(1)).len(), 1);
    }

    #[test]
    fn who_is_out_of_step_is_told() {
        let mut sessions = ShareSessions::new(1);
        assert_eq!(sessions.fetch(&key("m"), 1, peer(1), [], &[]), Err(ErrorCode::ShareSessionNotFound));
        assert_eq!(sessions.acknowledge(&key("m"), 1), Err(ErrorCode::ShareSessionNotFound));
        sessions.fetch(&key("m"), 0, peer(1), [partition(0)], &[]).unwrap();
        assert_eq!(sessions.fetch(&key("m"), 2, peer(1), [], &[]), Err(ErrorCode::InvalidShareSessionEpoch));
        assert_eq!(sessions.acknowledge(&key("m"), 0), Err(ErrorCode::InvalidShareSessionEpoch));
        assert_eq!(sessions.fetch(&key("n"), 0, peer(2), [], &[]), Err(ErrorCode::ShareSessionLimitReached));
        assert_eq!(sessions.fetch(&key("m"), 0, peer(3), [], &[]), Ok(vec![]), "a session begins anew");
        assert_eq!(sessions.connection_closed(peer(1)), []);
        assert_eq!(sessions.connection_closed(peer(3)), [(key("m"), vec![])]);
        assert_eq!(sessions.len(), 0);
    }
}
