//! DescribeUserScramCredentials (50), version 0: who has a password for SCRAM, and how it is stretched (KIP-554). Not the
//! password, nor what is kept of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResult,
};
use kafka_protocol::messages::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse};
use moldau_metadata::{ScramImage, ScramMechanism};
use moldau_model::ErrorCode;

use super::message::text;
use super::{ApiSupport, Reply, Request};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(50, "DescribeUserScramCredentials", 0, 0, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<DescribeUserScramCredentialsRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    if !is_authorized(&context, Operation::Describe, Resource::CLUSTER) {
        let code = ErrorCode::ClusterAuthorizationFailed;
        let response = DescribeUserScramCredentialsResponse::default()
            .with_error_code(code.code())
            .with_error_message(Some(text(code.message())));
        return context.ready(&response);
    }
    let image = broker.control.image();
    // Each user, and how often it was asked for.
    let mut users: BTreeMap<String, usize> = BTreeMap::new();
    for user in request.users.unwrap_or_default() {
        *users.entry(user.name.to_string()).or_default() += 1;
    }
    if users.is_empty() {
        users.extend(image.scram().iter().map(|(user, _, _)| (user.to_owned(), 1)));
    }
    let results = users.iter().map(|(user, times)| result(image.scram(), user, *times));
    context.ready(&DescribeUserScramCredentialsResponse::default().with_results(results.collect()))
}

fn result(scram: &ScramImage, user: &str, times: usize) -> DescribeUserScramCredentialsResult {
    let result = DescribeUserScramCredentialsResult::default().with_user(text(user));
    let refused = |code: ErrorCode, message: String| {
        result.clone().with_error_code(code.code()).with_error_message(Some(text(message)))
    };
    if times > 1 {
        let message =
            format!("Cannot describe SCRAM credentials for the same user twice in a single request: {user}");
        return refused(ErrorCode::DuplicateResource, message);
    }
    let info = |mechanism: ScramMechanism| {
        let credential = scram.get(user, mechanism)?;
        let info = CredentialInfo::default().with_mechanism(mechanism.code());
        Some(info.with_iterations(credential.iterations))
    };
    let infos: Vec<CredentialInfo> = ScramMechanism::ALL.into_iter().filter_map(info).collect();
    if infos.is_empty() {
        let message = format!("Attempt to describe a user credential that does not exist: {user}");
        return refused(ErrorCode::ResourceNotFound, message);
    }
    result.with_credential_infos(infos)
}
