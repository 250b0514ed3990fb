//! Client quotas: what a user, a client id or an address may take of each broker (KIP-13, 124, 546, 599, 612).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{SortedMap, records};

/// What a quota can be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaEntityType {
    ClientId,
    Ip,
    User,
}

impl QuotaEntityType {
    pub const ALL: [Self; 3] = [Self::ClientId, Self::Ip, Self::User];

    /// Kafka's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientId => "client-id",
            Self::Ip => "ip",
            Self::User => "user",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Which of a type: one, or all that have no quota of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaName {
    Default,
    Named(Arc<str>),
}

impl QuotaName {
    #[must_use]
    pub fn new(name: Option<&str>) -> Self {
        name.map_or(Self::Default, |name| Self::Named(name.into()))
    }

    /// `None` for the default.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Default => None,
            Self::Named(name) => Some(name),
        }
    }
}

/// Whom a quota is for, by type; a user together with a client id is an entity of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaEntity(pub BTreeMap<QuotaEntityType, QuotaName>);

impl QuotaEntity {
    fn of<const N: usize>(parts: [(QuotaEntityType, QuotaName); N]) -> Self {
        Self(BTreeMap::from(parts))
    }

    #[must_use]
    pub fn has(&self, kind: QuotaEntityType) -> bool {
        self.0.contains_key(&kind)
    }

    /// The record that sets a key, or removes it.
    #[must_use]
    pub fn to_record(&self, key: QuotaKey, value: Option<QuotaValue>) -> records::ClientQuota {
        let part = |(kind, name): (&QuotaEntityType, &QuotaName)| records::QuotaEntity {
            entity_type: kind.name().to_owned(),
            entity_name: name.name().map(str::to_owned),
        };
        records::ClientQuota {
            entity: self.0.iter().map(part).collect(),
            key: key.name().to_owned(),
            value: value.map(|value| value.0),
        }
    }
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaKey {
    /// Connections a second that an address opens.
    ConnectionCreationRate,
    /// Bytes a second that are fetched.
    ConsumerByteRate,
    /// Partitions a second that are created and deleted.
    ControllerMutationRate,
    /// Bytes a second that are produced.
    ProducerByteRate,
    /// Hundredths of one thread's time.
    RequestPercentage,
}

impl QuotaKey {
    pub const ALL: [Self; 5] = [
        Self::ConnectionCreationRate,
        Self::ConsumerByteRate,
        Self::ControllerMutationRate,
        Self::ProducerByteRate,
        Self::RequestPercentage,
    ];

    /// Kafka's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConnectionCreationRate => "connection_creation_rate",
            Self::ConsumerByteRate => "consumer_byte_rate",
            Self::ControllerMutationRate => "controller_mutation_rate",
            Self::ProducerByteRate => "producer_byte_rate",
            Self::RequestPercentage => "request_percentage",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }
}

/// A limit. It is a number above zero.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct QuotaValue(f64);

impl Eq for QuotaValue {}

impl QuotaValue {
    /// `None` unless the number is above zero.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        (value > 0.0).then_some(Self(value))
    }

    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// What one entity is limited to.
pub type QuotaValues = BTreeMap<QuotaKey, QuotaValue>;

/// The quota that counts for a client, and whose use counts against it. A part that is empty is shared by all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedQuota {
    pub limit: QuotaValue,
    pub user: Arc<str>,
    pub client_id: Arc<str>,
}

/// The quotas of all entities that have any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientQuotasImage {
    pub(crate) entities: SortedMap<QuotaEntity, Arc<QuotaValues>>,
}

impl ClientQuotasImage {
    /// Whether anybody is limited in this.
    #[must_use]
    pub fn limits(&self, key: QuotaKey) -> bool {
        self.entities.iter().any(|(_, values)| values.contains_key(&key))
    }

    #[must_use]
    pub fn get(&self, entity: &QuotaEntity, key: QuotaKey) -> Option<QuotaValue> {
        self.entities.get(entity)?.get(&key).copied()
    }

    /// Every entity that has quotas.
    pub fn iter(&self) -> impl Iterator<Item = (&QuotaEntity, &Arc<QuotaValues>)> {
        self.entities.iter()
    }

    /// The quota of a client: what is said of its user and client id together counts before what is said of its user, that
    /// before its client id, and what is said of one before the default.
    #[must_use]
    pub fn applied(&self, user: &Arc<str>, client_id: &Arc<str>, key: QuotaKey) -> Option<AppliedQuota> {
        use QuotaEntityType::{ClientId, User};
        let named = |name: &Arc<str>| QuotaName::Named(Arc::clone(name));
        let empty = || Arc::from("");
        let found = |entity: &QuotaEntity, with_user: bool, with_client: bool| {
            Some(AppliedQuota {
                limit: self.get(entity, key)?,
                user: if with_user { Arc::clone(user) } else { empty() },
                client_id: if with_client { Arc::clone(client_id) } else { empty() },
            })
        };
        // Who gives no client id has none to be limited by.
        let has_client = !client_id.is_empty();
        for user_name in [named(user), QuotaName::Default] {
            if has_client {
                for client_name in [named(client_id), QuotaName::Default] {
                    let entity = QuotaEntity::of([(User, user_name.clone()), (ClientId, client_name)]);
                    if let Some(quota) = found(&entity, true, true) {
                        return Some(quota);
                    }
                }
            }
            if let Some(quota) = found(&QuotaEntity::of([(User, user_name)]), true, false) {
                return Some(quota);
            }
        }
        let client_names = if has_client { vec![named(client_id), QuotaName::Default] } else { Vec::new() };
        client_names.into_iter().find_map(|name| found(&QuotaEntity::of([(ClientId, name)]), false, true))
    }

    /// How many connections a second this address may open.
    #[must_use]
    pub fn of_address(&self, address: &str) -> Option<QuotaValue> {
        let of = |name| {
            self.get(&QuotaEntity::of([(QuotaEntityType::Ip, name)]), QuotaKey::ConnectionCreationRate)
        };
        of(QuotaName::new(Some(address))).or_else(|| of(QuotaName::Default))
    }

    pub(crate) fn replay(&mut self, record: &records::ClientQuota) -> Result<(), String> {
        let mut entity = QuotaEntity::default();
        for part in &record.entity {
            let kind = QuotaEntityType::from_name(&part.entity_type)
                .ok_or_else(|| format!("quota entity type {} is unknown", part.entity_type))?;
            entity.0.insert(kind, QuotaName::new(part.entity_name.as_deref()));
        }
        let key =
            QuotaKey::from_name(&record.key).ok_or_else(|| format!("quota {} is unknown", record.key))?;
        let Some(value) = record.value else {
            if let Some(values) = self.entities.get_mut(&entity) {
                let values = Arc::make_mut(values);
                values.remove(&key);
                if values.is_empty() {
                    self.entities.remove(&entity);
                }
            }
            return Ok(());
        };
        let value = QuotaValue::new(value).ok_or_else(|| format!("a quota of {value}"))?;
        if let Some(values) = self.entities.get_mut(&entity) {
            Arc::make_mut(values).insert(key, value);
        } else {
            self.entities.insert(entity, Arc::new(BTreeMap::from([(key, value)])));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(parts: &[(&str, Option<&str>)]) -> QuotaEntity {
        let part = |(kind, name): &(&str, Option<&str>)| {
            (QuotaEntityType::from_name(kind).unwrap(), QuotaName::new(*name))
        };
        QuotaEntity(parts.iter().map(part).collect())
    }

    fn set(image: &mut ClientQuotasImage, parts: &[(&str, Option<&str>)], value: Option<f64>) {
        let record = entity(parts).to_record(QuotaKey::ProducerByteRate, value.and_then(QuotaValue::new));
        image.replay(&record).unwrap();
    }

    #[test]
    fn what_is_said_most_closely_of_a_client_counts() {
        // From the least to the most: each hides those before it.
        let levels: [&[(&str, Option<&str>)]; 8] = [
            &[("client-id", None)],
            &[("client-id", Some("c"))],
            &[("user", None)],
            &[("user", None), ("client-id", None)],
            &[("user", None), ("client-id", Some("c"))],
            &[("user", Some("u"))],
            &[("user", Some("u")), ("client-id", None)],
            &[("user", Some("u")), ("client-id", Some("c"))],
        ];
        let shared_by = ["/c", "/c", "u/", "u/c", "u/c", "u/", "u/c", "u/c"];
        let mut image = ClientQuotasImage::default();
        let applied = |image: &ClientQuotasImage| {
            let quota = image.applied(&"u".into(), &"c".into(), QuotaKey::ProducerByteRate)?;
            Some((quota.limit.get(), format!("{}/{}", quota.user, quota.client_id)))
        };
        assert_eq!(applied(&image), None);
        for ((level, parts), shared_by) in (1..).zip(levels).zip(shared_by) {
            set(&mut image, parts, Some(f64::from(level)));
            assert_eq!(applied(&image), Some((f64::from(level), shared_by.to_owned())));
        }
        let fetches = image.applied(&"u".into(), &"c".into(), QuotaKey::ConsumerByteRate);
        assert_eq!(fetches, None, "another key has another quota");
        let nameless = image.applied(&"u".into(), &"".into(), QuotaKey::ProducerByteRate).unwrap();
        assert_eq!(nameless.limit.get(), 6.0, "without a client id the user's counts");
        let stranger = image.applied(&"v".into(), &"d".into(), QuotaKey::ProducerByteRate).unwrap();
        assert_eq!(stranger.limit.get(), 4.0);
        for parts in levels {
            set(&mut image, parts, None);
        }
        assert_eq!(image, ClientQuotasImage::default());
    }

    #[test]
    fn an_address_has_its_own_quota_or_the_default() {
        let mut image = ClientQuotasImage::default();
        let mut set = |name: Option<&str>, value| {
            let record =
                entity(&[("ip", name)]).to_record(QuotaKey::ConnectionCreationRate, QuotaValue::new(value));
            image.replay(&record).unwrap();
        };
        set(Some("127.0.0.1"), 5.0);
        set(None, 7.0);
        assert_eq!(image.of_address("127.0.0.1").map(QuotaValue::get), Some(5.0));
        assert_eq!(image.of_address("127.0.0.2").map(QuotaValue::get), Some(7.0));
        assert!(image.limits(QuotaKey::ConnectionCreationRate) && !image.limits(QuotaKey::ProducerByteRate));
    }

    #[test]
    fn a_quota_that_is_none_does_not_replay() {
        let mut image = ClientQuotasImage::default();
        for value in [0.0, -1.0, f64::NAN] {
            let mut record = entity(&[("user", None)]).to_record(QuotaKey::ProducerByteRate, None);
            record.value = Some(value);
            assert!(image.replay(&record).is_err(), "{value}");
        }
    }
}
