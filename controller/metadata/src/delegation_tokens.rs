//! Delegation tokens (KIP-48): who may act for whom, until when, and who may prolong that. What a token's holder logs in by is
//! not here: it follows from the token's id and a secret that the nodes have.

use std::sync::Arc;

use moldau_model::{Principal, TimestampMs};

use crate::{SortedMap, records};

/// The most tokens that there may be. Each is a record in every snapshot and some hundred bytes on every node; Kafka has no
/// bound, and whoever has authenticated may ask for tokens without any permission.
pub const DELEGATION_TOKENS_MAX: usize = 50_000;

/// The most tokens of one owner, so that no user takes the place of all others.
pub const DELEGATION_TOKENS_PER_OWNER_MAX: usize = 2_000;

/// The most principals that may renew a token, besides its owner.
pub const TOKEN_RENEWERS_MAX: usize = 50;

/// The longest principal of a token. Distinguished names of certificates are the longest that are real.
pub const TOKEN_TEXT_BYTES_MAX: usize = 4096;

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegationToken {
    pub id: Arc<str>,
    /// For whom its holder acts.
    pub owner: Principal,
    /// Who asked for it.
    pub requester: Principal,
    pub renewers: Vec<Principal>,
    pub issued_at: TimestampMs,
    /// It cannot be renewed beyond.
    pub max_timestamp: TimestampMs,
    pub expires_at: TimestampMs,
}

impl DelegationToken {
    /// Whether the principal is its owner or may renew it: they may also see it and end it.
    #[must_use]
    pub fn is_owner_or_renewer(&self, principal: &Principal) -> bool {
        self.owner == *principal || self.renewers.contains(principal)
    }

    /// Whether it is over. In its last millisecond it is not yet, as in Kafka.
    #[must_use]
    pub fn is_expired(&self, now: TimestampMs) -> bool {
        self.max_timestamp < now || self.expires_at < now
    }

    /// The record that puts it into the log.
    #[must_use]
    pub fn to_record(&self) -> records::DelegationToken {
        records::DelegationToken {
            token_id: self.id.to_string(),
            owner: self.owner.to_string(),
            requester: self.requester.to_string(),
            renewers: self.renewers.iter().map(Principal::to_string).collect(),
            issue_timestamp_ms: self.issued_at.0,
            max_timestamp_ms: self.max_timestamp.0,
            expiry_timestamp_ms: self.expires_at.0,
        }
    }

    /// The record that removes it.
    #[must_use]
    pub fn removal(&self) -> records::RemoveDelegationToken {
        records::RemoveDelegationToken { token_id: self.id.to_string() }
    }

    fn from_record(record: &records::DelegationToken) -> Result<Self, String> {
        let principal = |text: &str| text.parse::<Principal>().map_err(|error| error.to_string());
        Ok(Self {
            id: record.token_id.as_str().into(),
            owner: principal(&record.owner)?,
            requester: principal(&record.requester)?,
            renewers: record.renewers.iter().map(|text| principal(text)).collect::<Result<_, _>>()?,
            issued_at: TimestampMs(record.issue_timestamp_ms),
            max_timestamp: TimestampMs(record.max_timestamp_ms),
            expires_at: TimestampMs(record.expiry_timestamp_ms),
        })
    }
}

/// All tokens, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DelegationTokensImage {
    pub(crate) by_id: SortedMap<Arc<str>, Arc<DelegationToken>>,
}

impl DelegationTokensImage {
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<DelegationToken>> {
        self.by_id.get(id)
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.by_id.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Each token, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<DelegationToken>> {
        self.by_id.iter().map(|(_, token)| token)
    }

    /// The ids that came since `earlier`, and those that went, told one by one.
    pub fn for_each_id_since(&self, earlier: &Self, mut told: impl FnMut(&Arc<str>, bool)) {
        earlier.by_id.for_each_difference(&self.by_id, |id, before, after| {
            if before.is_some() != after.is_some() {
                told(id, after.is_some());
            }
        });
    }

    pub(crate) fn replay_token(&mut self, record: &records::DelegationToken) -> Result<(), String> {
        let token = DelegationToken::from_record(record)?;
        self.by_id.insert(Arc::clone(&token.id), Arc::new(token));
        Ok(())
    }

    pub(crate) fn replay_removal(&mut self, record: &records::RemoveDelegationToken) -> Result<(), String> {
        let id = record.token_id.as_str();
        self.by_id.remove(id).map(drop).ok_or_else(|| format!("delegation token {id} is unknown"))
    }
}

#[cfg(test)]
mod tests {
    use moldau_model::{LeaderEpoch, Offset};

    use super::*;
    use crate::{MetadataBatch, MetadataDelta, MetadataImage, MetadataRecord};

    fn token(id: &str, expires_at: i64) -> DelegationToken {
        DelegationToken {
            id: id.into(),
            owner: Principal::user("alice"),
            requester: Principal::user("service"),
            renewers: vec![Principal::user("bob"), Principal::user("a:b")],
            issued_at: TimestampMs(1),
            max_timestamp: TimestampMs(100),
            expires_at: TimestampMs(expires_at),
        }
    }

    fn replayed(image: &MetadataImage, record: impl Into<MetadataRecord>) -> Result<MetadataImage, String> {
        let batch = MetadataBatch::from(vec![record.into()]);
        let offset = Offset(image.position().offset.0 + 1);
        image.replay_image(&batch, offset, LeaderEpoch(1)).map_err(|error| error.to_string())
    }

    #[test]
    fn tokens_come_are_renewed_and_go_and_a_snapshot_holds_them() {
        let image = MetadataImage::empty();
        let image = replayed(&image, token("a", 10).to_record()).unwrap();
        let with_both = replayed(&image, token("b", 10).to_record()).unwrap();
        let renewed = replayed(&with_both, token("a", 20).to_record()).unwrap();
        assert_eq!(**renewed.delegation_tokens().get("a").unwrap(), token("a", 20));
        assert_eq!(renewed.delegation_tokens().get("c"), None);
        let position = renewed.position();
        let snapshot = MetadataBatch::from(renewed.to_snapshot_records());
        let again = MetadataImage::from_snapshot([&snapshot], position.offset, position.epoch).unwrap();
        assert_eq!(again, renewed);
        assert!(with_both != renewed);
        let delta = MetadataDelta::between(&with_both, &renewed);
        assert!(!delta.is_empty());
        assert_eq!(delta.delegation_tokens, ["a".into()].into());
        let left = replayed(&renewed, token("a", 20).removal()).unwrap();
        let ids: Vec<&str> = left.delegation_tokens().iter().map(|token| &*token.id).collect();
        assert_eq!(ids, ["b"]);
        assert!(replayed(&left, token("a", 20).removal()).unwrap_err().contains("unknown"));
    }

    #[test]
    fn what_came_and_went_is_told_and_not_what_was_renewed() {
        let image = MetadataImage::empty();
        let before = replayed(&image, token("a", 10).to_record()).unwrap();
        let before = replayed(&before, token("b", 10).to_record()).unwrap();
        let after = replayed(&before, token("a", 20).to_record()).unwrap();
        let after = replayed(&after, token("b", 10).removal()).unwrap();
        let after = replayed(&after, token("c", 10).to_record()).unwrap();
        let mut told = Vec::new();
        let tell = |id: &Arc<str>, is_there: bool| told.push((id.to_string(), is_there));
        after.delegation_tokens().for_each_id_since(before.delegation_tokens(), tell);
        assert_eq!(told, [("b".to_owned(), false), ("c".to_owned(), true)]);
    }

    #[test]
    fn a_principal_that_is_none_is_not_replayed() {
        let record = records::DelegationToken { owner: "alice".to_owned(), ..token("a", 1).to_record() };
        assert!(replayed(&MetadataImage::empty(), record).unwrap_err().contains("alice"));
    }

    #[test]
    fn a_token_is_over_after_either_of_its_ends() {
        for (expires_at, now, expired) in
            [(10, 10, false), (10, 11, true), (200, 100, false), (200, 101, true)]
        {
            assert_eq!(token("a", expires_at).is_expired(TimestampMs(now)), expired, "{expires_at} at {now}");
        }
    }
}
