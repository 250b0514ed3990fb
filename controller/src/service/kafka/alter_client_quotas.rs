//! AlterClientQuotas, versions 0 and 1: what clients may take of a broker (KIP-546).

use std::collections::BTreeSet;

use kafka_protocol::messages::alter_client_quotas_response::{EntityData, EntryData};
use kafka_protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};
use moldau_cluster::ControllerError;
use moldau_model::{Offset, Operation};

use super::{Service, error_fields, text};
use crate::manage::{self, Asker, NamedEntity, QuotaAlteration, alter_client_quotas};

pub(super) async fn handle(
    service: &Service,
    asker: Asker,
    request: AlterClientQuotasRequest,
) -> Result<(AlterClientQuotasResponse, Offset), ControllerError> {
    let question = question(request);
    let asked: BTreeSet<NamedEntity> =
        question.alterations.iter().map(|alteration| alteration.entity.clone()).collect();
    let (result, offset) = service
        .decide(move |deciding| {
            deciding.access(&asker).check_cluster(Operation::AlterConfigs)?;
            alter_client_quotas(deciding.image, &question)
        })
        .await?;
    let results =
        result.unwrap_or_else(|error| asked.into_iter().map(|entity| (entity, Err(error.clone()))).collect());
    let entries = results.into_iter().map(|(entity, result)| {
        let (code, message) = error_fields(&result);
        let part = |(kind, name): (String, Option<String>)| {
            EntityData::default().with_entity_type(text(kind)).with_entity_name(name.map(text))
        };
        EntryData::default()
            .with_error_code(code)
            .with_error_message(message)
            .with_entity(entity.into_iter().map(part).collect())
    });
    Ok((AlterClientQuotasResponse::default().with_entries(entries.collect()), offset))
}

/// As in Kafka, of a type that an entity names twice the last name counts.
fn question(request: AlterClientQuotasRequest) -> manage::AlterClientQuotasRequest {
    let alterations = request.entries.into_iter().map(|entry| QuotaAlteration {
        entity: entry
            .entity
            .into_iter()
            .map(|part| (part.entity_type.to_string(), part.entity_name.map(|name| name.to_string())))
            .collect(),
        operations: entry
            .ops
            .into_iter()
            .map(|operation| (operation.key.to_string(), (!operation.remove).then_some(operation.value)))
            .collect(),
    });
    manage::AlterClientQuotasRequest {
        alterations: alterations.collect(),
        validate_only: request.validate_only,
    }
}
