//! DescribeUserScramCredentials (50), version 0: there are none, for nobody authenticates yet.
//!
//! Kafka's tool asks for them when it describes the quotas of users, and would fail without an answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::describe_user_scram_credentials_response::DescribeUserScramCredentialsResult;
use kafka_protocol::messages::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse};
use moldau_model::ErrorCode;

use super::message::text;
use super::{ApiSupport, Reply, Request};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(50, "DescribeUserScramCredentials", 0, 0, handle);

fn handle(_broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<DescribeUserScramCredentialsRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let users: Vec<String> =
        request.users.unwrap_or_default().into_iter().map(|user| user.name.to_string()).collect();
    let mut seen = BTreeSet::new();
    let repeated: BTreeSet<&String> = users.iter().filter(|user| !seen.insert(*user)).collect();
    let results = seen.iter().map(|user| {
        let (code, message) = if repeated.contains(user) {
            let text = format!(
                "Cannot describe SCRAM credentials for the same user twice in a single request: {user}"
            );
            (ErrorCode::DuplicateResource, text)
        } else {
            let text = format!("Attempt to describe a user credential that does not exist: {user}");
            (ErrorCode::ResourceNotFound, text)
        };
        DescribeUserScramCredentialsResult::default()
            .with_user(text(user))
            .with_error_code(code.code())
            .with_error_message(Some(text(message)))
    });
    context.ready(&DescribeUserScramCredentialsResponse::default().with_results(results.collect()))
}
