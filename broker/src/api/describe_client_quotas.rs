//! DescribeClientQuotas (48), versions 0 and 1: who is limited to what (KIP-546).

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use kafka_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};
use moldau_metadata::{QuotaEntity, QuotaEntityType, QuotaName, QuotaValues};
use moldau_model::ErrorCode;

use super::message::{owned, text};
use super::{ApiSupport, Reply, Request};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(48, "DescribeClientQuotas", 0, 1, handle);

const MATCH_EXACT: i8 = 0;
const MATCH_DEFAULT: i8 = 1;
const MATCH_SPECIFIED: i8 = 2;

/// The types that an entity has to have, each with the name it has to have, if one.
type Filter = BTreeMap<QuotaEntityType, Option<QuotaName>>;

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<DescribeClientQuotasRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    if !is_authorized(&context, Operation::DescribeConfigs, Resource::CLUSTER) {
        let code = ErrorCode::ClusterAuthorizationFailed;
        let response = DescribeClientQuotasResponse::default()
            .with_error_code(code.code())
            .with_error_message(Some(text(code.message())))
            .with_entries(None);
        return context.ready(&response);
    }
    let filter = match filter(request.components) {
        Ok(filter) => filter,
        Err((code, message)) => {
            let refused = DescribeClientQuotasResponse::default()
                .with_error_code(code.code())
                .with_error_message(Some(text(message)))
                .with_entries(None);
            return context.ready(&refused);
        }
    };
    let image = broker.control.image();
    let found = image.client_quotas().iter().filter(|(entity, _)| {
        let is_found = |(kind, name): (&QuotaEntityType, &Option<QuotaName>)| {
            entity.0.get(kind).is_some_and(|own| name.as_ref().is_none_or(|name| name == own))
        };
        (!request.strict || entity.0.len() == filter.len()) && filter.iter().all(is_found)
    });
    let entries = found.map(|(entity, values)| entry(entity, values)).collect();
    context.ready(&DescribeClientQuotasResponse::default().with_entries(Some(entries)))
}

fn filter(components: Vec<ComponentData>) -> Result<Filter, (ErrorCode, String)> {
    let invalid = |text: String| Err((ErrorCode::InvalidRequest, text));
    let mut filter = Filter::new();
    for component in components {
        let name = component.entity_type;
        if name.is_empty() {
            return invalid("Invalid empty entity type.".into());
        }
        let Some(kind) = QuotaEntityType::from_name(&name) else {
            return Err((ErrorCode::UnsupportedVersion, format!("Unsupported entity type {name}")));
        };
        if filter.contains_key(&kind) {
            return invalid(format!("Entity type {name} cannot appear more than once in the filter."));
        }
        let given = owned(component._match);
        let specified =
            |kind: &str| invalid(format!("Request specified {kind}, but also specified a match string."));
        let wanted = match (component.match_type, given) {
            (MATCH_EXACT, Some(given)) => Some(QuotaName::new(Some(&given))),
            (MATCH_EXACT, None) => {
                return invalid("Request specified MATCH_TYPE_EXACT, but set match string to null.".into());
            }
            (MATCH_DEFAULT, None) => Some(QuotaName::Default),
            (MATCH_DEFAULT, Some(_)) => return specified("MATCH_TYPE_DEFAULT"),
            (MATCH_SPECIFIED, None) => None,
            (MATCH_SPECIFIED, Some(_)) => return specified("MATCH_TYPE_SPECIFIED"),
            (other, _) => return invalid(format!("Unknown match type {other}")),
        };
        filter.insert(kind, wanted);
    }
    if filter.contains_key(&QuotaEntityType::Ip) && filter.len() > 1 {
        let text = "Invalid entity filter component combination. IP filter component should not be used with user or \
                    clientId filter component.";
        return invalid(text.into());
    }
    Ok(filter)
}

fn entry(entity: &QuotaEntity, values: &QuotaValues) -> EntryData {
    let part = |(kind, name): (&QuotaEntityType, &QuotaName)| {
        EntityData::default().with_entity_type(text(kind.name())).with_entity_name(name.name().map(text))
    };
    let values = values
        .iter()
        .map(|(key, value)| ValueData::default().with_key(text(key.name())).with_value(value.get()));
    EntryData::default().with_entity(entity.0.iter().map(part).collect()).with_values(values.collect())
}
