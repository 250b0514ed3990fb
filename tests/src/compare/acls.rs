//! Access control entries, where nobody is asked: neither system has an authorizer here. With one, `tests/tests/authorization`
//! asks every API.

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::{self as m, ApiKey, RequestKind};

use super::Case;
use super::admin::text;

const ANY: i8 = 1;
const TOPIC: i8 = 2;
const LITERAL: i8 = 3;
const READ: i8 = 3;
const ALLOW: i8 = 3;

fn creation(name: &str) -> AclCreation {
    AclCreation::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(name))
        .with_resource_pattern_type(LITERAL)
        .with_principal(text("User:alice"))
        .with_host(text("*"))
        .with_operation(READ)
        .with_permission_type(ALLOW)
}

fn create(names: &[&str]) -> RequestKind {
    let creations = names.iter().map(|name| creation(name)).collect();
    RequestKind::CreateAcls(m::CreateAclsRequest::default().with_creations(creations))
}

fn filter(name: Option<&str>) -> DeleteAclsFilter {
    DeleteAclsFilter::default()
        .with_resource_type_filter(TOPIC)
        .with_resource_name_filter(name.map(text))
        .with_pattern_type_filter(ANY)
        .with_principal_filter(None)
        .with_host_filter(None)
        .with_operation(ANY)
        .with_permission_type(ANY)
}

fn delete(names: &[Option<&str>]) -> RequestKind {
    let filters = names.iter().map(|name| filter(*name)).collect();
    RequestKind::DeleteAcls(m::DeleteAclsRequest::default().with_filters(filters))
}

fn describe(name: Option<&str>) -> RequestKind {
    RequestKind::DescribeAcls(
        m::DescribeAclsRequest::default()
            .with_resource_type_filter(TOPIC)
            .with_resource_name_filter(name.map(text))
            .with_pattern_type_filter(ANY)
            .with_principal_filter(None)
            .with_host_filter(None)
            .with_operation(ANY)
            .with_permission_type(ANY),
    )
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("create an entry", ApiKey::CreateAcls, 1, 3, |_, _| create(&["data"])),
        Case::new("create two entries", ApiKey::CreateAcls, 1, 3, |_, _| create(&["data", "others"])),
        Case::new("describe all entries", ApiKey::DescribeAcls, 1, 3, |_, _| describe(None)),
        Case::new("describe entries of a topic", ApiKey::DescribeAcls, 1, 3, |_, _| describe(Some("data"))),
        Case::new("delete entries", ApiKey::DeleteAcls, 1, 3, |_, _| delete(&[None])),
        Case::new("delete entries of two topics", ApiKey::DeleteAcls, 1, 3, |_, _| {
            delete(&[Some("data"), Some("others")])
        }),
    ]
}
