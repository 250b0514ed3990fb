//! `moldau acl`: who may do what.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use moldau_metadata::{Acl, AclFilter, PatternFilter};
use moldau_model::{CLUSTER_RESOURCE_NAME, Operation, PatternType, Permission, Principal, ResourceType};
use serde_json::{Value, json};

use super::topic::done;
use super::{Common, Failure, table};
use crate::console::Console;

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List entries: all, or those about a resource or for a principal
    List {
        #[command(flatten)]
        about: About,
        /// Only those for this principal, for example User:alice
        #[arg(long)]
        principal: Option<String>,
    },
    /// Let principals do something, or keep them from it
    Create {
        #[command(flatten)]
        about: About,
        #[command(flatten)]
        entry: EntryArguments,
    },
    /// Remove entries
    Delete {
        #[command(flatten)]
        about: About,
        #[command(flatten)]
        entry: EntryArguments,
        /// Remove every entry about the resource, whatever it says
        #[arg(long, conflicts_with_all = ["allow", "deny", "operation", "host"])]
        all: bool,
    },
}

/// What entries are about.
#[derive(Args)]
pub(super) struct About {
    /// A topic; * for all
    #[arg(long)]
    topic: Option<String>,
    /// A group; * for all
    #[arg(long, conflicts_with = "topic")]
    group: Option<String>,
    /// A transactional id; * for all
    #[arg(long, conflicts_with_all = ["topic", "group"])]
    transactional_id: Option<String>,
    /// The cluster itself
    #[arg(long, conflicts_with_all = ["topic", "group", "transactional_id"])]
    cluster: bool,
    /// The name is how names begin
    #[arg(long)]
    prefixed: bool,
}

/// What entries say.
#[derive(Args)]
pub(super) struct EntryArguments {
    /// Principals that may, for example User:alice; User:* for everybody
    #[arg(long, value_name = "PRINCIPAL")]
    allow: Vec<String>,
    /// Principals that may not
    #[arg(long, value_name = "PRINCIPAL")]
    deny: Vec<String>,
    /// What: read, write, create, delete, alter, describe, cluster-action, describe-configs, alter-configs,
    /// idempotent-write, or all, which is the default
    #[arg(long, value_name = "OPERATION")]
    operation: Vec<String>,
    /// From this address alone
    #[arg(long, default_value = "*")]
    host: String,
}

impl About {
    /// The resource that is named, if one is.
    fn resource(&self) -> Option<(ResourceType, &str)> {
        let named = [
            (ResourceType::Topic, self.topic.as_deref()),
            (ResourceType::Group, self.group.as_deref()),
            (ResourceType::TransactionalId, self.transactional_id.as_deref()),
            (ResourceType::Cluster, self.cluster.then_some(CLUSTER_RESOURCE_NAME)),
        ];
        named.into_iter().find_map(|(resource_type, name)| Some((resource_type, name?)))
    }

    fn required(&self) -> Result<(ResourceType, &str), Failure> {
        self.resource().ok_or_else(|| {
            Failure::Text("name what it is about: --topic, --group, --transactional-id or --cluster".into())
        })
    }

    fn pattern_type(&self) -> PatternType {
        if self.prefixed { PatternType::Prefixed } else { PatternType::Literal }
    }
}

impl EntryArguments {
    fn acls(&self, about: &About) -> Result<BTreeSet<Acl>, Failure> {
        let (resource_type, name) = about.required()?;
        let mut operations = Vec::new();
        for text in &self.operation {
            let known = Operation::from_name(&text.replace('-', "_"));
            let is_possible = |operation: &Operation| {
                *operation == Operation::All || resource_type.operations().contains(operation)
            };
            operations.push(known.filter(is_possible).ok_or_else(|| {
                let names = resource_type.operations().iter();
                let names: Vec<String> =
                    names.map(|known| known.name().to_ascii_lowercase().replace('_', "-")).collect();
                Failure::Text(format!("{text} is none of {}, all", names.join(", ")))
            })?);
        }
        if operations.is_empty() {
            operations.push(Operation::All);
        }
        let allowed = self.allow.iter().map(|principal| (Permission::Allow, principal));
        let denied = self.deny.iter().map(|principal| (Permission::Deny, principal));
        let mut acls = BTreeSet::new();
        for (permission, principal) in allowed.chain(denied) {
            let principal: Principal =
                principal.parse().map_err(|error| Failure::Text(format!("{error}")))?;
            acls.extend(operations.iter().map(|operation| Acl {
                resource_type,
                pattern_type: about.pattern_type(),
                resource_name: name.into(),
                principal: principal.clone(),
                host: self.host.as_str().into(),
                operation: *operation,
                permission,
            }));
        }
        if acls.is_empty() {
            return Err(Failure::Text("name principals: --allow User:NAME or --deny User:NAME".into()));
        }
        Ok(acls)
    }
}

pub(super) fn run(common: &Common, verb: &Verb, console: &mut Console<'_>) -> Result<(), Failure> {
    match verb {
        Verb::List { about, principal } => {
            let filter = match about.resource() {
                None => AclFilter { principal: principal.clone(), ..AclFilter::default() },
                // All that is about the resource, also what says so by a prefix or by the wildcard.
                Some((resource_type, name)) => AclFilter {
                    resource_type: Some(resource_type),
                    resource_name: Some(name.to_owned()),
                    pattern: match about.prefixed {
                        true => PatternFilter::Of(PatternType::Prefixed),
                        false => PatternFilter::Match,
                    },
                    principal: principal.clone(),
                    ..AclFilter::default()
                },
            };
            let acls = common.client("moldau")?.describe_acls(&filter)?;
            print(common, &acls, console)
        }
        Verb::Create { about, entry } => {
            let acls = entry.acls(about)?;
            common.client("moldau")?.create_acls(&acls)?;
            let text = format!("created {}", count(acls.len()));
            done(common, &text, json!({"created": acls.iter().map(value).collect::<Vec<_>>()}), console)
        }
        Verb::Delete { about, entry, all } => {
            let filters = if *all {
                let (resource_type, name) = about.required()?;
                vec![AclFilter {
                    resource_type: Some(resource_type),
                    resource_name: Some(name.to_owned()),
                    pattern: PatternFilter::Of(about.pattern_type()),
                    ..AclFilter::default()
                }]
            } else {
                entry.acls(about)?.iter().map(exactly).collect()
            };
            let deleted = common.client("moldau")?.delete_acls(&filters)?;
            let text = format!("deleted {}", count(deleted.len()));
            done(common, &text, json!({"deleted": deleted.iter().map(value).collect::<Vec<_>>()}), console)
        }
    }
}

fn count(entries: usize) -> String {
    if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") }
}

/// The filter that matches this entry and no other.
fn exactly(acl: &Acl) -> AclFilter {
    AclFilter {
        resource_type: Some(acl.resource_type),
        resource_name: Some(acl.resource_name.to_string()),
        pattern: PatternFilter::Of(acl.pattern_type),
        principal: Some(acl.principal.to_string()),
        host: Some(acl.host.to_string()),
        operation: Some(acl.operation),
        permission: Some(acl.permission),
    }
}

fn value(acl: &Acl) -> Value {
    json!({"resource_type": acl.resource_type.name(), "name": &*acl.resource_name, "pattern": acl.pattern_type.name(),
        "principal": acl.principal.to_string(), "host": &*acl.host, "operation": acl.operation.name(),
        "permission": acl.permission.name()})
}

fn print(common: &Common, acls: &BTreeSet<Acl>, console: &mut Console<'_>) -> Result<(), Failure> {
    if common.is_json() {
        let list = acls.iter().map(value).collect();
        return Ok(super::json(&Value::Array(list), console)?);
    }
    let row = |acl: &Acl| {
        vec![
            acl.resource_type.to_string(),
            acl.resource_name.to_string(),
            acl.pattern_type.to_string(),
            acl.permission.to_string(),
            acl.principal.to_string(),
            acl.host.to_string(),
            acl.operation.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = acls.iter().map(row).collect();
    let heads = ["RESOURCE", "NAME", "PATTERN", "PERMISSION", "PRINCIPAL", "HOST", "OPERATION"];
    Ok(table(&heads, &rows, console)?)
}
