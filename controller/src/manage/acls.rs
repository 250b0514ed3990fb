//! CreateAcls and DeleteAcls: who may do what.

use std::collections::BTreeSet;

use moldau_metadata::{ACL_TEXT_BYTES_MAX, ACLS_MAX, Acl, AclFilter, MetadataImage, MetadataRecord, records};
use moldau_model::{CLUSTER_RESOURCE_NAME, ErrorCode, ResourceType, Uuid};

use super::{ApiError, Decision, Inputs, RECORDS_PER_REQUEST_MAX};

/// What a request is told that would remove more than one may.
const TOO_MANY: &str = "Cannot remove more than 10000 acls in a single delete operation.";

/// Adds entries, each by itself. One that is there already is no error, and does not come twice.
///
/// # Errors
/// `POLICY_VIOLATION` for a request that is too large as a whole.
pub fn create_acls(
    image: &MetadataImage,
    wanted: &[Result<Acl, ApiError>],
    inputs: &mut Inputs<'_>,
) -> Result<Decision<Vec<Result<(), ApiError>>>, ApiError> {
    let mut created: BTreeSet<&Acl> = BTreeSet::new();
    let mut records: Vec<MetadataRecord> = Vec::new();
    let mut response = Vec::with_capacity(wanted.len());
    for acl in wanted {
        let checked = acl.as_ref().map_err(Clone::clone).and_then(|acl| {
            check(acl)?;
            Ok(acl)
        });
        let acl = match checked {
            Ok(acl) => acl,
            Err(error) => {
                response.push(Err(error));
                continue;
            }
        };
        if !image.acls().contains(acl) && created.insert(acl) {
            if image.acls().len() + created.len() > ACLS_MAX {
                created.remove(acl);
                let text =
                    format!("There are {ACLS_MAX} access control entries, which is the most there may be.");
                response.push(Err(ApiError::new(ErrorCode::PolicyViolation, text)));
                continue;
            }
            records.push(acl.to_record(new_id(image, inputs)).into());
        }
        response.push(Ok(()));
    }
    Decision { records, response }.bounded()
}

fn new_id(image: &MetadataImage, inputs: &mut Inputs<'_>) -> Uuid {
    loop {
        let id = inputs.random.uuid();
        if !image.acls().contains_id(&id) {
            return id;
        }
    }
}

fn check(acl: &Acl) -> Result<(), ApiError> {
    let invalid = |text: &str| Err(ApiError::new(ErrorCode::InvalidRequest, text));
    if acl.resource_type == ResourceType::Cluster && &*acl.resource_name != CLUSTER_RESOURCE_NAME {
        return invalid("The only valid name for the CLUSTER resource is kafka-cluster");
    }
    if acl.resource_name.is_empty() {
        return invalid("Invalid empty resource name");
    }
    let texts = [&*acl.resource_name, &*acl.principal.kind, &*acl.principal.name, &*acl.host];
    if texts.iter().any(|text| text.len() > ACL_TEXT_BYTES_MAX) {
        return invalid("A name, principal or host of an access control entry is too long.");
    }
    Ok(())
}

/// Removes the entries that each filter matches. Each filter is told all of its own, also those that an earlier one has
/// removed.
///
/// # Errors
/// `POLICY_VIOLATION` for a request that is too large as a whole.
pub fn delete_acls(
    image: &MetadataImage,
    filters: &[Result<AclFilter, ApiError>],
) -> Result<Decision<Vec<Result<Vec<Acl>, ApiError>>>, ApiError> {
    let mut removed: BTreeSet<Uuid> = BTreeSet::new();
    let mut told = 0;
    let mut response = Vec::with_capacity(filters.len());
    for filter in filters {
        let matching = filter.as_ref().map_err(Clone::clone).map(|filter| {
            let of_filter = image.acls().matching(filter);
            of_filter
                .map(|(id, acl)| {
                    removed.insert(*id);
                    acl.clone()
                })
                .collect::<Vec<Acl>>()
        });
        // Filters that match the same entries must not make an answer larger than what one request may remove.
        told += matching.as_ref().map_or(0, Vec::len);
        if told > RECORDS_PER_REQUEST_MAX {
            return Err(ApiError::new(ErrorCode::PolicyViolation, TOO_MANY));
        }
        response.push(matching);
    }
    let records = removed
        .into_iter()
        .map(|id| records::RemoveAccessControlEntry { id: id.as_bytes().to_vec() }.into())
        .collect();
    Decision { records, response }.bounded()
}

#[cfg(test)]
mod tests {
    use moldau_metadata::PatternFilter;
    use moldau_model::{Operation, PatternType, Permission};

    use super::super::testing::Cluster;
    use super::*;

    fn acl(name: &str, principal: &str) -> Acl {
        Acl {
            resource_type: ResourceType::Topic,
            pattern_type: PatternType::Literal,
            resource_name: name.into(),
            principal: principal.parse().unwrap(),
            host: "*".into(),
            operation: Operation::Read,
            permission: Permission::Allow,
        }
    }

    fn create(cluster: &mut Cluster, acls: &[Acl]) -> Vec<Result<(), ApiError>> {
        let wanted: Vec<_> = acls.iter().cloned().map(Ok).collect();
        cluster.decide(|image, inputs| create_acls(image, &wanted, inputs)).unwrap()
    }

    fn entries(cluster: &Cluster) -> BTreeSet<Acl> {
        cluster.image.acls().iter().map(|(_, acl)| (**acl).clone()).collect()
    }

    #[test]
    fn an_entry_is_there_once_however_often_it_is_made() {
        let mut cluster = Cluster::new(1);
        let (a, b) = (acl("a", "User:alice"), acl("b", "User:alice"));
        assert!(create(&mut cluster, &[a.clone(), a.clone(), b.clone()]).iter().all(Result::is_ok));
        assert!(create(&mut cluster, std::slice::from_ref(&b))[0].is_ok());
        assert_eq!(cluster.image.acls().len(), 2);
        assert_eq!(entries(&cluster), [a, b].into());
    }

    #[test]
    fn what_is_wrong_with_one_entry_is_told_of_it_alone() {
        let mut cluster = Cluster::new(1);
        let cluster_of = |name: &str| Acl { resource_type: ResourceType::Cluster, ..acl(name, "User:a") };
        let long = "x".repeat(ACL_TEXT_BYTES_MAX + 1);
        let results = create(
            &mut cluster,
            &[cluster_of("mine"), cluster_of(CLUSTER_RESOURCE_NAME), acl("", "User:a"), acl(&long, "User:a")],
        );
        let texts: Vec<String> = results
            .into_iter()
            .map(|result| result.map_or_else(|error| error.message.unwrap(), |()| "ok".to_owned()))
            .collect();
        assert_eq!(
            texts,
            [
                "The only valid name for the CLUSTER resource is kafka-cluster",
                "ok",
                "Invalid empty resource name",
                "A name, principal or host of an access control entry is too long."
            ]
        );
        assert_eq!(cluster.image.acls().len(), 1);
    }

    #[test]
    fn filters_remove_what_they_match_and_tell_it() {
        let mut cluster = Cluster::new(1);
        create(&mut cluster, &[acl("a", "User:alice"), acl("b", "User:alice"), acl("b", "User:bob")]);
        let by_name = AclFilter {
            resource_name: Some("b".into()),
            pattern: PatternFilter::Of(PatternType::Literal),
            ..AclFilter::default()
        };
        let by_principal = AclFilter { principal: Some("User:bob".into()), ..AclFilter::default() };
        let refused = ApiError::standard(ErrorCode::InvalidRequest);
        let filters = [Ok(by_name), Ok(by_principal), Err(refused.clone())];
        let removed = cluster.decide(|image, _| delete_acls(image, &filters)).unwrap();
        assert_eq!(removed[0].as_ref().unwrap().len(), 2);
        assert_eq!(removed[1].as_ref().unwrap(), &[acl("b", "User:bob")]);
        assert_eq!(removed[2].as_ref().unwrap_err(), &refused);
        assert_eq!(entries(&cluster), [acl("a", "User:alice")].into());
        let nothing = cluster.decide(|image, _| delete_acls(image, &filters)).unwrap();
        assert!(nothing[0].as_ref().unwrap().is_empty());
    }
}
