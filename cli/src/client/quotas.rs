//! Client quotas: who is limited to what.

use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest};

use super::metadata::string;
use super::{Client, ClientError};

/// How a type is looked for; the numbers are the protocol's.
const MATCH_EXACT: i8 = 0;
const MATCH_DEFAULT: i8 = 1;
const MATCH_SPECIFIED: i8 = 2;

/// Which of a type: any, the default, or one by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QuotaMatch {
    Any,
    Default,
    Named(String),
}

/// An entity's types, each with its name; `None` is the default.
pub(crate) type QuotaEntity = Vec<(String, Option<String>)>;

/// An entity with its limits by key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EntityQuotas {
    pub(crate) entity: QuotaEntity,
    pub(crate) limits: Vec<(String, f64)>,
}

impl Client {
    /// The quotas of the entities that have these types and no others.
    pub(crate) fn describe_quotas(
        &mut self,
        types: &[(&str, QuotaMatch)],
    ) -> Result<Vec<EntityQuotas>, ClientError> {
        let component = |(kind, wanted): &(&str, QuotaMatch)| {
            let component = ComponentData::default().with_entity_type(string(kind)).with_match(None);
            match wanted {
                QuotaMatch::Any => component.with_match_type(MATCH_SPECIFIED),
                QuotaMatch::Default => component.with_match_type(MATCH_DEFAULT),
                QuotaMatch::Named(name) => {
                    component.with_match_type(MATCH_EXACT).with_match(Some(string(name)))
                }
            }
        };
        let request = DescribeClientQuotasRequest::default()
            .with_components(types.iter().map(component).collect())
            .with_strict(true);
        let response = self.call(&request)?;
        ClientError::check(response.error_code, response.error_message.as_deref())?;
        let entries = response.entries.unwrap_or_default().into_iter().map(|entry| EntityQuotas {
            entity: entry
                .entity
                .into_iter()
                .map(|part| (part.entity_type.to_string(), part.entity_name.map(|name| name.to_string())))
                .collect(),
            limits: entry.values.into_iter().map(|value| (value.key.to_string(), value.value)).collect(),
        });
        Ok(entries.collect())
    }

    /// Sets an entity's limits, or removes those of `None`.
    pub(crate) fn alter_quotas(
        &mut self,
        entity: &QuotaEntity,
        operations: &[(String, Option<f64>)],
    ) -> Result<(), ClientError> {
        let part = |(kind, name): &(String, Option<String>)| {
            EntityData::default().with_entity_type(string(kind)).with_entity_name(name.as_deref().map(string))
        };
        let operation = |(key, value): &(String, Option<f64>)| {
            OpData::default()
                .with_key(string(key))
                .with_value(value.unwrap_or_default())
                .with_remove(value.is_none())
        };
        let entry = EntryData::default()
            .with_entity(entity.iter().map(part).collect())
            .with_ops(operations.iter().map(operation).collect());
        let response = self.call(&AlterClientQuotasRequest::default().with_entries(vec![entry]))?;
        response
            .entries
            .iter()
            .try_for_each(|entry| ClientError::check(entry.error_code, entry.error_message.as_deref()))
    }
}
