//! AlterClientQuotas: who may take how much of a broker.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use moldau_metadata::{
    MetadataImage, MetadataRecord, QuotaEntity, QuotaEntityType, QuotaKey, QuotaName, QuotaValue,
};
use moldau_model::ErrorCode;

use super::{ApiError, Decision};

/// An entity as a request names it, by type: the name, or `None` for the default.
pub type NamedEntity = BTreeMap<String, Option<String>>;

/// One entity, and what becomes of its keys: a limit, or nothing more.
#[derive(Clone, Debug, PartialEq)]
pub struct QuotaAlteration {
    pub entity: NamedEntity,
    pub operations: Vec<(String, Option<f64>)>,
}

/// Entities whose quotas are to be altered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlterClientQuotasRequest {
    pub alterations: Vec<QuotaAlteration>,
    /// Whether to check only.
    pub validate_only: bool,
}

/// One entity's result.
pub type AlterClientQuotasResult = (NamedEntity, Result<(), ApiError>);

/// Alters quotas, each entity by itself. Of an entity that comes twice the first alteration counts, and is told as refused
/// all the same, as in Kafka.
///
/// # Errors
/// `POLICY_VIOLATION` for a request that is too large as a whole.
pub fn alter_client_quotas(
    image: &MetadataImage,
    request: &AlterClientQuotasRequest,
) -> Result<Decision<Vec<AlterClientQuotasResult>>, ApiError> {
    let mut records = Vec::new();
    let mut response: Vec<AlterClientQuotasResult> = Vec::new();
    for QuotaAlteration { entity, operations } in &request.alterations {
        let mut seen = BTreeSet::new();
        let repeats_key = operations.iter().any(|(key, _)| !seen.insert(key));
        let earlier = response.iter_mut().find(|(answered, _)| answered == entity);
        if earlier.is_some() || repeats_key {
            let text = format!("Ignoring duplicate entity {}", shown(entity));
            let refusal = Err(ApiError::new(ErrorCode::InvalidRequest, text));
            match earlier {
                Some((_, result)) => *result = refusal,
                None => response.push((entity.clone(), refusal)),
            }
            continue;
        }
        let result = alter(image, entity, operations).map(|altered| records.extend(altered));
        response.push((entity.clone(), result));
    }
    let mut decision = Decision { records, response }.bounded()?;
    if request.validate_only {
        decision.records.clear();
    }
    Ok(decision)
}

/// An entity as Kafka's texts have it.
fn shown(entity: &NamedEntity) -> String {
    let part =
        |(kind, name): (&String, &Option<String>)| format!("{kind}={}", name.as_deref().unwrap_or("null"));
    format!("ClientQuotaEntity(entries={{{}}})", entity.iter().map(part).collect::<Vec<_>>().join(", "))
}

fn invalid<T>(text: impl Into<String>) -> Result<T, ApiError> {
    Err(ApiError::new(ErrorCode::InvalidRequest, text))
}

fn alter(
    image: &MetadataImage,
    named: &NamedEntity,
    operations: &[(String, Option<f64>)],
) -> Result<Vec<MetadataRecord>, ApiError> {
    let entity = check_entity(named)?;
    let is_address = entity.has(QuotaEntityType::Ip);
    let quotas = image.client_quotas();
    let mut records = Vec::new();
    for (name, value) in operations {
        let key =
            QuotaKey::from_name(name).filter(|key| is_address == (*key == QuotaKey::ConnectionCreationRate));
        let Some(value) = value else {
            if let Some(key) = key.filter(|key| quotas.get(&entity, *key).is_some()) {
                records.push(entity.to_record(key, None).into());
            }
            continue;
        };
        let Some(key) = key else { return invalid(format!("Invalid configuration key {name}")) };
        let value = check_value(key, *value)?;
        if quotas.get(&entity, key) != Some(value) {
            records.push(entity.to_record(key, Some(value)).into());
        }
    }
    Ok(records)
}

fn check_entity(named: &NamedEntity) -> Result<QuotaEntity, ApiError> {
    let mut entity = QuotaEntity::default();
    for (kind, name) in named {
        let Some(known) = QuotaEntityType::from_name(kind) else {
            return invalid(format!("Unhandled client quota entity type: {kind}"));
        };
        if name.as_deref() == Some("") {
            return invalid(format!("Empty {kind} not supported"));
        }
        entity.0.insert(known, QuotaName::new(name.as_deref()));
    }
    if entity.0.is_empty() {
        return invalid("Invalid empty client quota entity");
    }
    let Some(address) = entity.0.get(&QuotaEntityType::Ip) else { return Ok(entity) };
    if entity.0.len() > 1 {
        return invalid(
            "Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId",
        );
    }
    let Some(text) = address.name() else { return Ok(entity) };
    // Kafka takes names of hosts too. Who decides here asks no name server: what it answers would be another thing tomorrow.
    let Ok(address) = text.parse::<IpAddr>() else {
        return invalid(format!("{text} is not a valid IP or resolvable host."));
    };
    // One address in one way of writing, for connections are looked up by it.
    let name = QuotaName::new(Some(&address.to_canonical().to_string()));
    Ok(QuotaEntity(BTreeMap::from([(QuotaEntityType::Ip, name)])))
}

fn check_value(key: QuotaKey, value: f64) -> Result<QuotaValue, ApiError> {
    let name = key.name();
    let Some(quota) = QuotaValue::new(value) else {
        return invalid(format!("Quota {name} must be greater than 0"));
    };
    let (most, kind) = match key {
        QuotaKey::ConnectionCreationRate => (f64::from(i32::MAX), "an INT"),
        QuotaKey::ConsumerByteRate | QuotaKey::ProducerByteRate => (i64::MAX as f64, "a LONG"),
        QuotaKey::ControllerMutationRate | QuotaKey::RequestPercentage => return Ok(quota),
    };
    if value > most {
        return invalid(format!("Proposed value for {name} is too large for {kind}."));
    }
    if (value % 1.0).abs() > 1e-6 {
        return invalid(format!("{name} cannot be a fractional value."));
    }
    Ok(quota)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Cluster;
    use super::*;

    fn entity(parts: &[(&str, Option<&str>)]) -> NamedEntity {
        parts.iter().map(|(kind, name)| ((*kind).to_owned(), name.map(str::to_owned))).collect()
    }

    fn alteration(parts: &[(&str, Option<&str>)], operations: &[(&str, Option<f64>)]) -> QuotaAlteration {
        let operations = operations.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
        QuotaAlteration { entity: entity(parts), operations }
    }

    fn alter(cluster: &mut Cluster, alterations: Vec<QuotaAlteration>) -> Vec<String> {
        let request = AlterClientQuotasRequest { alterations, validate_only: false };
        let answers = cluster.decide(|image, _| alter_client_quotas(image, &request)).unwrap();
        let text = |result: Result<(), ApiError>| {
            result.map_or_else(|error| error.message.unwrap(), |()| "ok".into())
        };
        answers.into_iter().map(|(_, result)| text(result)).collect()
    }

    fn quotas(cluster: &Cluster) -> Vec<String> {
        let shown = |(entity, values): (&QuotaEntity, &std::sync::Arc<moldau_metadata::QuotaValues>)| {
            let parts = entity.0.iter().map(|(kind, name)| format!("{} {:?}", kind.name(), name.name()));
            let values = values.iter().map(|(key, value)| format!("{}={}", key.name(), value.get()));
            parts.chain(values).collect::<Vec<_>>().join(" ")
        };
        cluster.image.client_quotas().iter().map(shown).collect()
    }

    #[test]
    fn quotas_are_set_changed_and_removed_key_by_key() {
        let mut cluster = Cluster::new(1);
        let alice: &[_] = &[("user", Some("alice"))];
        let set = alteration(alice, &[("producer_byte_rate", Some(10.0)), ("request_percentage", Some(0.5))]);
        let default =
            alteration(&[("client-id", None), ("user", None)], &[("consumer_byte_rate", Some(7.0))]);
        assert_eq!(alter(&mut cluster, vec![set.clone(), default]), ["ok", "ok"]);
        assert_eq!(
            quotas(&cluster),
            [
                "client-id None user None consumer_byte_rate=7",
                "user Some(\"alice\") producer_byte_rate=10 request_percentage=0.5"
            ]
        );
        let before = cluster.next_offset();
        assert_eq!(alter(&mut cluster, vec![set]), ["ok"]);
        assert_eq!(cluster.next_offset(), before, "what is so already needs no record");
        let remove = alteration(alice, &[("producer_byte_rate", None), ("consumer_byte_rate", None)]);
        assert_eq!(alter(&mut cluster, vec![remove]), ["ok"]);
        assert_eq!(quotas(&cluster)[1], "user Some(\"alice\") request_percentage=0.5");
    }

    #[test]
    fn an_address_is_one_however_it_is_written() {
        let mut cluster = Cluster::new(1);
        let rate = |address: &str, rate| {
            alteration(&[("ip", Some(address))], &[("connection_creation_rate", Some(rate))])
        };
        assert_eq!(alter(&mut cluster, vec![rate("::ffff:127.0.0.1", 3.0)]), ["ok"]);
        assert_eq!(alter(&mut cluster, vec![rate("127.0.0.1", 5.0)]), ["ok"]);
        assert_eq!(quotas(&cluster), ["ip Some(\"127.0.0.1\") connection_creation_rate=5"]);
    }

    #[test]
    fn checking_alone_changes_nothing() {
        let mut cluster = Cluster::new(1);
        let alterations = vec![alteration(&[("user", None)], &[("request_percentage", Some(1.0))])];
        let request = AlterClientQuotasRequest { alterations, validate_only: true };
        let answers = cluster.decide(|image, _| alter_client_quotas(image, &request)).unwrap();
        assert!(answers[0].1.is_ok() && quotas(&cluster).is_empty());
    }

    #[test]
    fn what_is_no_quota_is_refused_with_kafkas_words() {
        let user: &[_] = &[("user", Some("u"))];
        let ip: &[_] = &[("ip", Some("10.0.0.1"))];
        for (parts, operations, text) in [
            (&[][..], &[][..], "Invalid empty client quota entity"),
            (&[("group", Some("g"))], &[], "Unhandled client quota entity type: group"),
            (&[("user", Some(""))], &[], "Empty user not supported"),
            (
                &[("ip", None), ("user", None)],
                &[],
                "Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId",
            ),
            (&[("ip", Some("no host"))], &[], "no host is not a valid IP or resolvable host."),
            (user, &[("nosuch", Some(1.0))], "Invalid configuration key nosuch"),
            (
                user,
                &[("connection_creation_rate", Some(1.0))],
                "Invalid configuration key connection_creation_rate",
            ),
            (ip, &[("producer_byte_rate", Some(1.0))], "Invalid configuration key producer_byte_rate"),
            (user, &[("producer_byte_rate", Some(0.0))], "Quota producer_byte_rate must be greater than 0"),
            (
                user,
                &[("producer_byte_rate", Some(f64::NAN))],
                "Quota producer_byte_rate must be greater than 0",
            ),
            (user, &[("consumer_byte_rate", Some(1.5))], "consumer_byte_rate cannot be a fractional value."),
            (
                user,
                &[("consumer_byte_rate", Some(1e19))],
                "Proposed value for consumer_byte_rate is too large for a LONG.",
            ),
            (
                ip,
                &[("connection_creation_rate", Some(3e9))],
                "Proposed value for connection_creation_rate is too large for an INT.",
            ),
            (
                user,
                &[("request_percentage", Some(1.0)), ("request_percentage", None)],
                "Ignoring duplicate entity ClientQuotaEntity(entries={user=u})",
            ),
        ] {
            let mut cluster = Cluster::new(1);
            assert_eq!(alter(&mut cluster, vec![alteration(parts, operations)]), [text]);
            assert!(quotas(&cluster).is_empty());
        }
    }
}
