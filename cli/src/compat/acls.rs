//! `kafka-acls`: who may do what.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use moldau_metadata::{Acl, AclFilter, PatternFilter, WILDCARD};
use moldau_model::{CLUSTER_RESOURCE_NAME, Operation, PatternType, Permission, Principal, ResourceType};

use super::options::{Argument, Options, Spec};
use super::tool::{Failure, ToolInfo, connect, refuse_beside};
use crate::client::Client;
use crate::console::{Console, outln};

const TOOL: ToolInfo = ToolInfo {
    spec: Spec {
        options: &[
            ("add", Argument::No),
            ("allow-host", Argument::Required),
            ("allow-principal", Argument::Required),
            ("bootstrap-controller", Argument::Required),
            ("bootstrap-server", Argument::Required),
            ("cluster", Argument::No),
            ("command-config", Argument::Optional),
            ("consumer", Argument::No),
            ("delegation-token", Argument::Required),
            ("deny-host", Argument::Required),
            ("deny-principal", Argument::Required),
            ("force", Argument::No),
            ("group", Argument::Required),
            ("help", Argument::No),
            ("idempotent", Argument::No),
            ("list", Argument::No),
            ("operation", Argument::Required),
            ("principal", Argument::Optional),
            ("producer", Argument::No),
            ("remove", Argument::No),
            ("resource-pattern-type", Argument::Required),
            ("topic", Argument::Required),
            ("transactional-id", Argument::Required),
            ("user-principal", Argument::Required),
            ("version", Argument::No),
        ],
    },
    usage: include_str!("usage/kafka-acls.txt"),
    about: "This tool helps to manage acls on kafka.",
};

/// What entries are about, or are looked for by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    resource_type: ResourceType,
    name: String,
    pattern: i8,
}

impl Target {
    fn shown(&self) -> String {
        let pattern = match self.pattern {
            1 => "ANY",
            2 => "MATCH",
            code => PatternType::from_code(code).map_or("UNKNOWN", PatternType::name),
        };
        format!(
            "ResourcePattern(resourceType={}, name={}, patternType={pattern})",
            self.resource_type, self.name
        )
    }

    fn filter(&self) -> AclFilter {
        AclFilter {
            resource_type: Some(self.resource_type),
            resource_name: Some(self.name.clone()),
            pattern: PatternFilter::from_code(self.pattern).unwrap_or_default(),
            ..AclFilter::default()
        }
    }
}

/// What entries say.
type Entry = (Permission, Principal, String, Operation);

fn shown((permission, principal, host, operation): &Entry) -> String {
    format!("\t(principal={principal}, host={host}, operation={operation}, permissionType={permission})")
}

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let result = run(arguments, console).or_else(|failure| match failure {
        Failure::Client(error) => {
            outln!(console, "Error while executing ACL command: {}", error.java());
            Err(Failure::Exit(1))
        }
        other => Err(other),
    });
    TOOL.finish(result, "Error while executing ACL command: ", console)
}

fn usage<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Usage(text.into()))
}

fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    let options = TOOL.parse_some(arguments, console)?;
    check(&options)?;
    if options.has("add") {
        return add(&options, console);
    }
    if options.has("remove") {
        return remove(&options, console);
    }
    list(&options, console)
}

fn check(options: &Options) -> Result<(), Failure> {
    if options.has("bootstrap-server") && options.has("bootstrap-controller") {
        return usage("Only one of --bootstrap-server or --bootstrap-controller must be specified");
    }
    if ["add", "remove", "list"].iter().filter(|action| options.has(action)).count() != 1 {
        return usage("Command must include exactly one action: --list, --add, --remove. ");
    }
    refuse_beside(
        options,
        "list",
        &["producer", "consumer", "allow-host", "allow-principal", "deny-host", "deny-principal"],
    )?;
    for role in ["producer", "consumer"] {
        refuse_beside(options, role, &["operation", "deny-principal", "deny-host"])?;
    }
    if options.has("principal") && !options.has("list") {
        return usage("The --principal option is only available if --list is set");
    }
    if options.has("producer") && !options.has("topic") {
        return usage("With --producer you must specify a --topic");
    }
    if options.has("idempotent") && !options.has("producer") {
        return usage("The --idempotent option is only available if --producer is set");
    }
    let has_both = options.has("topic") && options.has("group");
    let is_strange = !options.has("producer") && (options.has("cluster") || options.has("transactional-id"));
    if options.has("consumer") && (!has_both || is_strange) {
        return usage(
            "With --consumer you must specify a --topic and a --group and no --cluster or --transactional-id option should be specified.",
        );
    }
    if options.has("bootstrap-controller") {
        let text = "--bootstrap-controller is not supported yet: ask a broker by --bootstrap-server";
        return Err(Failure::Text(text.to_owned()));
    }
    Ok(())
}

fn pattern(options: &Options) -> Result<i8, Failure> {
    let Some(name) = options.one("resource-pattern-type")? else { return Ok(PatternType::Literal.code()) };
    match name.to_ascii_uppercase().as_str() {
        "ANY" => Ok(PatternFilter::Any.code()),
        "MATCH" => Ok(PatternFilter::Match.code()),
        upper => match PatternType::from_name(upper) {
            Some(pattern) => Ok(pattern.code()),
            None => usage(format!("Cannot parse argument '{name}' of option resource-pattern-type")),
        },
    }
}

/// The resources that the line names.
fn targets(options: &Options, is_required: bool) -> Result<BTreeSet<Target>, Failure> {
    let pattern = pattern(options)?;
    let mut targets = BTreeSet::new();
    for (option, resource_type) in [
        ("topic", ResourceType::Topic),
        ("group", ResourceType::Group),
        ("transactional-id", ResourceType::TransactionalId),
        ("delegation-token", ResourceType::DelegationToken),
        ("user-principal", ResourceType::User),
    ] {
        let named = options.all(option).iter();
        targets.extend(named.map(|name| Target { resource_type, name: name.trim().to_owned(), pattern }));
    }
    if pattern == PatternType::Literal.code() && (options.has("cluster") || options.has("idempotent")) {
        targets.insert(cluster());
    }
    if targets.is_empty() && is_required {
        return usage(
            "You must provide at least one resource: --topic <topic> or --cluster or --group <group> or --delegation-token <Delegation Token ID>",
        );
    }
    Ok(targets)
}

fn cluster() -> Target {
    Target {
        resource_type: ResourceType::Cluster,
        name: CLUSTER_RESOURCE_NAME.to_owned(),
        pattern: PatternType::Literal.code(),
    }
}

fn principals(options: &Options, option: &str) -> Result<Vec<Principal>, Failure> {
    let parse = |text: &String| text.trim().parse().map_err(|error| Failure::Text(format!("{error}")));
    options.all(option).iter().map(parse).collect()
}

/// What the line says of its principals, for these operations.
fn entries(options: &Options, operations: &[Operation]) -> Result<BTreeSet<Entry>, Failure> {
    let mut entries = BTreeSet::new();
    for (permission, principal_option, host_option) in [
        (Permission::Allow, "allow-principal", "allow-host"),
        (Permission::Deny, "deny-principal", "deny-host"),
    ] {
        let named = options.all(host_option);
        let hosts: Vec<String> = if named.is_empty() {
            vec![WILDCARD.to_owned()]
        } else {
            named.iter().map(|host| host.trim().to_owned()).collect()
        };
        for principal in principals(options, principal_option)? {
            for host in &hosts {
                let entry = |operation: &Operation| (permission, principal.clone(), host.clone(), *operation);
                entries.extend(operations.iter().map(entry));
            }
        }
    }
    Ok(entries)
}

/// An operation as the tool takes it: `DescribeConfigs`, in whatever case, with underscores or without.
fn operation(name: &str) -> Option<Operation> {
    let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_uppercase();
    let wanted = plain(name.trim());
    Operation::ALL_OF_THEM.iter().copied().find(|known| plain(known.name()) == wanted)
}

/// `DESCRIBE_CONFIGS` as the tool prints it: `DescribeConfigs`.
fn pascal(operation: Operation) -> String {
    let word = |word: &str| word[..1].to_owned() + &word[1..].to_ascii_lowercase();
    operation.name().split('_').map(word).collect()
}

/// What the line asks for: entries by what they are about.
fn wanted(options: &Options) -> Result<BTreeMap<Target, BTreeSet<Entry>>, Failure> {
    use Operation::{Create, Describe, IdempotentWrite, Read, Write};
    let targets = targets(options, true)?;
    let mut wanted: BTreeMap<Target, BTreeSet<Entry>> = BTreeMap::new();
    let mut put = |resource_type: ResourceType, operations: &[Operation]| -> Result<(), Failure> {
        for target in targets.iter().filter(|target| target.resource_type == resource_type) {
            wanted.entry(target.clone()).or_default().extend(entries(options, operations)?);
        }
        Ok(())
    };
    if options.has("producer") {
        put(ResourceType::Topic, &[Write, Describe, Create])?;
        put(ResourceType::TransactionalId, &[Write, Describe])?;
        if options.has("idempotent") {
            put(ResourceType::Cluster, &[IdempotentWrite])?;
        }
    }
    if options.has("consumer") {
        put(ResourceType::Topic, &[Read, Describe])?;
        put(ResourceType::Group, &[Read])?;
    }
    if !options.has("producer") && !options.has("consumer") {
        let names = options.all("operation");
        let mut operations = Vec::new();
        for name in names {
            match operation(name) {
                Some(operation) => operations.push(operation),
                None => return usage(format!("{name} is not an operation")),
            }
        }
        if names.is_empty() {
            operations.push(Operation::All);
        }
        for target in &targets {
            let known = target.resource_type.operations();
            if operations.iter().any(|operation| *operation != Operation::All && !known.contains(operation)) {
                let names = known.iter().copied().chain([Operation::All]).map(pascal);
                return usage(format!(
                    "ResourceType {} only supports operations {}",
                    target.resource_type,
                    names.collect::<Vec<_>>().join(", ")
                ));
            }
            wanted.insert(target.clone(), entries(options, &operations)?);
        }
    }
    Ok(wanted)
}

fn lines(entries: &BTreeSet<Entry>) -> String {
    entries.iter().map(shown).collect::<Vec<_>>().join("\n")
}

fn add(options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let pattern = pattern(options)?;
    let Some(pattern_type) = PatternType::from_code(pattern) else {
        let name = options.one("resource-pattern-type")?.unwrap_or_default().to_ascii_uppercase();
        return usage(format!(
            "A '--resource-pattern-type' value of '{name}' is not valid when adding acls."
        ));
    };
    let wanted = wanted(options)?;
    if wanted.values().any(BTreeSet::is_empty) {
        return usage(
            "You must specify one of: --allow-principal, --deny-principal when trying to add ACLs.",
        );
    }
    let mut client = connect(options, "adminclient-1")?;
    for (target, entries) in wanted {
        let acl = |(permission, principal, host, operation): Entry| Acl {
            resource_type: target.resource_type,
            pattern_type,
            resource_name: target.name.as_str().into(),
            principal,
            host: host.into(),
            operation,
            permission,
        };
        let known = client.describe_acls(&target.filter())?;
        let (there, new): (BTreeSet<Entry>, BTreeSet<Entry>) =
            entries.into_iter().partition(|entry| known.contains(&acl(entry.clone())));
        for entry in &there {
            let entry = shown(entry);
            outln!(console, "Acl (pattern={}, entry={}) already exists.", target.shown(), entry.trim_start());
        }
        if new.is_empty() {
            continue;
        }
        outln!(console, "Adding ACLs for resource `{}`: \n {}\n", target.shown(), lines(&new));
        client.create_acls(&new.into_iter().map(acl).collect())?;
    }
    Ok(())
}

/// Whether the user says yes, who is not asked with `--force`.
fn is_sure(options: &Options, question: &str, console: &mut Console<'_>) -> Result<bool, Failure> {
    if options.has("force") {
        return Ok(true);
    }
    outln!(console, "{question}");
    console.out.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim_end().eq_ignore_ascii_case("y"))
}

fn remove(options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let wanted = wanted(options)?;
    let mut client = connect(options, "adminclient-1")?;
    for (target, entries) in wanted {
        let question = if entries.is_empty() {
            format!(
                "Are you sure you want to delete all ACLs for resource filter `{}`? (y/n)",
                target.shown()
            )
        } else {
            format!(
                "Are you sure you want to remove ACLs: \n {}\n from resource filter `{}`? (y/n)",
                lines(&entries),
                target.shown()
            )
        };
        if !is_sure(options, &question, console)? {
            continue;
        }
        let filter = |(permission, principal, host, operation): Entry| AclFilter {
            principal: Some(principal.to_string()),
            host: Some(host),
            operation: Some(operation),
            permission: Some(permission),
            ..target.filter()
        };
        let filters = if entries.is_empty() {
            vec![target.filter()]
        } else {
            entries.into_iter().map(filter).collect()
        };
        client.delete_acls(&filters)?;
    }
    Ok(())
}

fn list(options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let targets = targets(options, false)?;
    let principals = principals(options, "principal")?;
    let mut client = connect(options, "adminclient-1")?;
    let found = found(&mut client, &targets)?;
    if principals.is_empty() {
        return Ok(print(&found, None, console)?);
    }
    for principal in principals {
        outln!(console, "ACLs for principal `{principal}`");
        print(&found, Some(&principal), console)?;
    }
    Ok(())
}

/// The entries there are, by what they are about.
fn found(
    client: &mut Client,
    targets: &BTreeSet<Target>,
) -> Result<BTreeMap<Target, BTreeSet<Entry>>, Failure> {
    let filters: Vec<AclFilter> = if targets.is_empty() {
        vec![AclFilter::default()]
    } else {
        targets.iter().map(Target::filter).collect()
    };
    let mut found: BTreeMap<Target, BTreeSet<Entry>> = BTreeMap::new();
    for filter in &filters {
        for acl in client.describe_acls(filter)? {
            let target = Target {
                resource_type: acl.resource_type,
                name: acl.resource_name.to_string(),
                pattern: acl.pattern_type.code(),
            };
            let entry = (acl.permission, acl.principal, acl.host.to_string(), acl.operation);
            found.entry(target).or_default().insert(entry);
        }
    }
    Ok(found)
}

fn print(
    found: &BTreeMap<Target, BTreeSet<Entry>>,
    only: Option<&Principal>,
    console: &mut Console<'_>,
) -> io::Result<()> {
    for (target, entries) in found {
        let is_shown = |(_, principal, ..): &&Entry| only.is_none_or(|only| only == principal);
        let entries: BTreeSet<Entry> = entries.iter().filter(is_shown).cloned().collect();
        if !entries.is_empty() {
            outln!(console, "Current ACLs for resource `{}`:\n{}\n", target.shown(), lines(&entries));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Options {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        TOOL.spec.parse(&words).unwrap()
    }

    fn texts(line: &str) -> Vec<String> {
        let wanted = wanted(&options(line)).unwrap();
        let text = |(target, entries): (Target, BTreeSet<Entry>)| {
            let entries: Vec<String> = entries
                .into_iter()
                .map(|(permission, principal, host, operation)| {
                    format!("{permission} {principal} {host} {operation}")
                })
                .collect();
            format!("{} {}: {}", target.resource_type, target.name, entries.join(", "))
        };
        wanted.into_iter().map(text).collect()
    }

    #[test]
    fn a_line_says_which_entries_are_wanted() {
        assert_eq!(
            texts("--add --topic t --allow-principal User:a --operation read --operation DescribeConfigs"),
            ["TOPIC t: ALLOW User:a * READ, ALLOW User:a * DESCRIBE_CONFIGS"]
        );
        assert_eq!(
            texts("--add --cluster --allow-principal User:a --deny-principal User:b --deny-host 10.0.0.1"),
            ["CLUSTER kafka-cluster: DENY User:b 10.0.0.1 ALL, ALLOW User:a * ALL"]
        );
        assert_eq!(
            texts("--add --producer --idempotent --topic t --transactional-id x --allow-principal User:a"),
            [
                "TOPIC t: ALLOW User:a * WRITE, ALLOW User:a * CREATE, ALLOW User:a * DESCRIBE",
                "CLUSTER kafka-cluster: ALLOW User:a * IDEMPOTENT_WRITE",
                "TRANSACTIONAL_ID x: ALLOW User:a * WRITE, ALLOW User:a * DESCRIBE",
            ]
        );
        assert_eq!(
            texts("--add --consumer --topic t --group g --allow-principal User:a"),
            ["TOPIC t: ALLOW User:a * READ, ALLOW User:a * DESCRIBE", "GROUP g: ALLOW User:a * READ"]
        );
    }

    #[test]
    fn wrong_lines_are_refused_in_kafkas_words() {
        for (line, expected) in [
            ("--list --add", "Command must include exactly one action: --list, --add, --remove. "),
            ("--list --producer", "Option \"[list]\" can't be used with option \"[producer]\""),
            ("--add --producer", "With --producer you must specify a --topic"),
            (
                "--add --topic t --principal User:a",
                "The --principal option is only available if --list is set",
            ),
            (
                "--add --topic t --idempotent",
                "The --idempotent option is only available if --producer is set",
            ),
            (
                "--add --topic t --resource-pattern-type match --allow-principal User:a",
                "A '--resource-pattern-type' value of 'MATCH' is not valid when adding acls.",
            ),
            (
                "--add --topic t",
                "You must specify one of: --allow-principal, --deny-principal when trying to add ACLs.",
            ),
            (
                "--add --group g --operation write --allow-principal User:a",
                "ResourceType GROUP only supports operations Read, Delete, Describe, DescribeConfigs, AlterConfigs, All",
            ),
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let code = main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap();
            let err = String::from_utf8(err).unwrap();
            assert_eq!((code, out.len(), err), (1, 0, format!("{expected}\n{}", TOOL.usage)), "{line}");
        }
    }
}
