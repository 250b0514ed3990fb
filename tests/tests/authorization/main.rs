//! Every API against every way to be allowed or not, asked of a real broker: `docs/AUTHORIZATION.md` is what came out.
//! `UPDATE_DOCS=1 cargo test -p moldau-tests --test authorization` writes it.
//!
//! With `--ignored` and `AUTHORIZATION_PEER=127.0.0.1:PORT`, an Apache Kafka whose listener there is without authentication, and where
//! `User:ANONYMOUS` may do everything from 127.0.0.2, is asked the same, and has to answer the same.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod asker;
mod node;
mod requests;
mod rows;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::{self as m, ApiKey, RequestKind, ResponseKind};
use kafka_protocol::protocol::StrBytes;
use moldau_broker::api::SUPPORTED;
use moldau_model::{Operation, PatternType, Permission, ResourceType};
use moldau_tests::replace_generated;

use asker::Asker;
use node::Node;
use rows::{Ask, Ground, Row};

/// Who may do everything from there.
const ADMIN: &str = "127.0.0.2";
const ASKER: &str = "127.0.0.1";
const ELSEWHERE: &str = "127.0.0.3";
const EVERYBODY: &str = "User:ANONYMOUS";
/// The codes by which something is refused for want of a permission.
const REFUSALS: [(i16, &str); 5] =
    [(29, "topic"), (30, "group"), (31, "cluster"), (53, "transactional id"), (65, "token")];
const LIMIT: Duration = Duration::from_secs(20);

/// How an asker comes to be allowed, or not.
const CASES: [&str; 8] = [
    "no entry",
    "allow",
    "allow and deny",
    "prefixed",
    "wildcard",
    "this host",
    "another host",
    "super user",
];

/// What an entry says, without the principal.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    resource_type: ResourceType,
    pattern_type: PatternType,
    name: String,
    host: &'static str,
    operation: Operation,
    permission: Permission,
}

impl Entry {
    fn creation(&self) -> AclCreation {
        AclCreation::default()
            .with_resource_type(self.resource_type.code())
            .with_resource_name(StrBytes::from_string(self.name.clone()))
            .with_resource_pattern_type(self.pattern_type.code())
            .with_principal(StrBytes::from_static_str(EVERYBODY))
            .with_host(StrBytes::from_static_str(self.host))
            .with_operation(self.operation.code())
            .with_permission_type(self.permission.code())
    }
}

/// The entries of a case; `None` where Kafka has no such entry.
fn entries(row: &Row, case: &str) -> Option<Vec<Entry>> {
    let about = |operation: Operation, resource_type: ResourceType| Entry {
        resource_type,
        pattern_type: PatternType::Literal,
        name: rows::name(resource_type, row.about).to_owned(),
        host: "*",
        operation,
        permission: Permission::Allow,
    };
    let (&(operation, resource_type), others) = row.needs.split_first()?;
    let allow = about(operation, resource_type);
    let varied = match case {
        "no entry" => Vec::new(),
        "allow" => vec![allow],
        // Not to the administrator, who has to take it away again.
        "allow and deny" => vec![Entry { permission: Permission::Deny, host: ASKER, ..allow.clone() }, allow],
        // The one name of the cluster has to be there in full.
        "prefixed" if resource_type == ResourceType::Cluster => {
            vec![Entry { pattern_type: PatternType::Prefixed, ..allow }]
        }
        "prefixed" => {
            let name = allow.name[..3].to_owned();
            vec![Entry { pattern_type: PatternType::Prefixed, name, ..allow }]
        }
        "wildcard" if resource_type == ResourceType::Cluster => return None,
        "wildcard" => vec![Entry { name: "*".to_owned(), ..allow }],
        "this host" => vec![Entry { host: ASKER, ..allow }],
        "another host" => vec![Entry { host: ELSEWHERE, ..allow }],
        // What is denied to everybody, whatever it is.
        "super user" => [Operation::All]
            .map(|all| Entry { operation: all, permission: Permission::Deny, ..allow.clone() })
            .into(),
        other => unreachable!("{other}"),
    };
    let others = others.iter().map(|(operation, resource_type)| about(*operation, *resource_type));
    Some(varied.into_iter().chain(others.filter(|_| case != "super user")).collect())
}

/// A cluster under test.
struct Cluster {
    admin: Asker,
    asker: Asker,
    ground: Ground,
}

impl Cluster {
    /// Makes what the questions are about.
    fn new(address: SocketAddr) -> Self {
        let mut admin = Asker::new(address, ADMIN);
        let topic = m::create_topics_request::CreatableTopic::default()
            .with_name(m::TopicName(StrBytes::from_static_str(rows::TOPIC)))
            .with_num_partitions(1)
            .with_replication_factor(1);
        let request = m::CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        admin.ask(ApiKey::CreateTopics, 7, &RequestKind::CreateTopics(request));
        let wanted = m::metadata_request::MetadataRequestTopic::default()
            .with_name(Some(m::TopicName(StrBytes::from_static_str(rows::TOPIC))));
        let request = RequestKind::Metadata(m::MetadataRequest::default().with_topics(Some(vec![wanted])));
        let mut topic_id = uuid::Uuid::nil();
        eventually("there is a topic", || {
            let Some(ResponseKind::Metadata(answer)) = admin.ask(ApiKey::Metadata, 12, &request) else {
                return false;
            };
            topic_id = answer.topics[0].topic_id;
            answer.topics[0].error_code == 0
        });
        eventually("there is a group", || {
            let coordinator = m::FindCoordinatorRequest::default()
                .with_coordinator_keys(vec![StrBytes::from_static_str(rows::GROUP)]);
            admin.ask(ApiKey::FindCoordinator, 4, &RequestKind::FindCoordinator(coordinator));
            let answer = admin.ask(ApiKey::OffsetCommit, 8, &requests::commit());
            format!("{answer:?}").contains("error_code: 0")
        });
        eventually("there is a transactional id", || {
            let coordinator = m::FindCoordinatorRequest::default()
                .with_key_type(1)
                .with_coordinator_keys(vec![StrBytes::from_static_str(rows::TRANSACTION)]);
            admin.ask(ApiKey::FindCoordinator, 4, &RequestKind::FindCoordinator(coordinator));
            let producer = m::InitProducerIdRequest::default()
                .with_transactional_id(Some(m::TransactionalId(StrBytes::from_static_str(rows::TRANSACTION))))
                .with_transaction_timeout_ms(60_000)
                .with_producer_id(m::ProducerId(-1))
                .with_producer_epoch(-1);
            let answer = admin.ask(ApiKey::InitProducerId, 4, &RequestKind::InitProducerId(producer));
            format!("{answer:?}").contains("error_code: 0")
        });
        Self { admin, asker: Asker::new(address, ASKER), ground: Ground { topic_id } }
    }

    /// Lets these entries be all there are, the administrator's aside.
    fn set(&mut self, entries: &[Entry]) {
        let filter = |host: &'static str| {
            DeleteAclsFilter::default()
                .with_resource_type_filter(1)
                .with_resource_name_filter(None)
                .with_pattern_type_filter(1)
                .with_principal_filter(None)
                .with_host_filter(Some(StrBytes::from_static_str(host)))
                .with_operation(1)
                .with_permission_type(1)
        };
        let filters = ["*", ASKER, ELSEWHERE, "127.0.0.9"].map(filter).into();
        let request = m::DeleteAclsRequest::default().with_filters(filters);
        let deleted = self.admin.ask(ApiKey::DeleteAcls, 3, &RequestKind::DeleteAcls(request));
        assert!(refusals(&format!("{deleted:?}")).is_empty(), "{deleted:?}");
        let creations: Vec<AclCreation> = entries.iter().map(Entry::creation).collect();
        if !creations.is_empty() {
            let request = m::CreateAclsRequest::default().with_creations(creations);
            let created = self.admin.ask(ApiKey::CreateAcls, 3, &RequestKind::CreateAcls(request));
            assert!(format!("{created:?}").contains("error_code: 0"), "{created:?}");
        }
        eventually("the broker knows the entries", || self.known() == entries.len());
    }

    /// How many entries there are that are not the administrator's.
    fn known(&mut self) -> usize {
        let request = m::DescribeAclsRequest::default()
            .with_resource_type_filter(1)
            .with_resource_name_filter(None)
            .with_pattern_type_filter(1)
            .with_principal_filter(None)
            .with_host_filter(None)
            .with_operation(1)
            .with_permission_type(1);
        let answer = self.admin.ask(ApiKey::DescribeAcls, 3, &RequestKind::DescribeAcls(request));
        let Some(ResponseKind::DescribeAcls(answer)) = answer else { panic!("no entries are told") };
        let hosts = answer.resources.iter().flat_map(|resource| &resource.acls).map(|acl| acl.host.as_str());
        hosts.filter(|host| *host != ADMIN).count()
    }

    /// What the row's question comes to.
    fn outcome(&mut self, row: &Row) -> String {
        let answer = match &row.ask {
            Ask::Kind(key, version, build) => {
                let request = build(&self.ground);
                self.asker.ask(*key, *version, &request).map(|answer| format!("{answer:?}"))
            }
            Ask::Frame(_, encode, read) => self.asker.ask_frame(encode).map(read),
        };
        let Some(answer) = answer else { return "closed".to_owned() };
        let refused = refusals(&answer);
        if !refused.is_empty() {
            return refused.iter().map(i16::to_string).collect::<Vec<_>>().join(" ");
        }
        match row.shows {
            Some(shown) if is_told(&answer, shown) => "shown",
            Some(_) => "hidden",
            None => "yes",
        }
        .to_owned()
    }
}

/// Operations are told as a bit field, of which 256, to describe, is one.
fn is_told(answer: &str, shown: &str) -> bool {
    match shown.strip_suffix(": 256") {
        None => answer.contains(shown),
        Some(field) => {
            let rest = answer.split(&format!("{field}: ")).nth(1).unwrap_or_default();
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().is_ok_and(|operations: i32| operations & 256 != 0)
        }
    }
}

/// The codes of an answer that say that something is not allowed.
fn refusals(answer: &str) -> BTreeSet<i16> {
    let codes = answer.split("error_code: ").skip(1);
    let codes = codes.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    let codes = codes.filter_map(|digits| digits.parse().ok());
    codes.filter(|code| REFUSALS.iter().any(|(refusal, _)| refusal == code)).collect()
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Every row in every case that a cluster of this kind has.
fn table(cluster: &mut Cluster, is_super: bool) -> Vec<Vec<String>> {
    rows::all()
        .map(|row| {
            let cases = CASES.into_iter().filter(|case| (*case == "super user") == is_super);
            let outcome = |case: &str| match entries(row, case) {
                None => "-".to_owned(),
                Some(entries) => {
                    cluster.set(&entries);
                    cluster.outcome(row)
                }
            };
            cases.map(outcome).collect()
        })
        .collect()
}

fn row_name(row: &Row) -> String {
    let api = moldau_kafka::ApiKey::from_code(row.key()).map_or("unknown", moldau_kafka::ApiKey::name);
    if row.about.is_empty() { api.to_owned() } else { format!("{api}, {}", row.about) }
}

fn document(outcomes: &[Vec<String>]) -> String {
    let mut text = format!(
        "| key | API | needs | {} |\n|---|---|---|{}\n",
        CASES.join(" | "),
        "---|".repeat(CASES.len())
    );
    let mut sorted: Vec<_> = rows::all().zip(outcomes).collect();
    sorted.sort_by_key(|(row, _)| row.key());
    for (row, outcomes) in sorted {
        let (operation, resource_type) = row.needs[0];
        let words = |name: &str| name.to_ascii_lowercase().replace('_', " ");
        let needs = format!("{} on {}", words(operation.name()), words(resource_type.name()));
        let _ = writeln!(text, "| {} | {} | {needs} | {} |", row.key(), row_name(row), outcomes.join(" | "));
    }
    text
}

#[test]
fn every_api_asks_who_may_use_it() {
    let plain = Node::start(&[]);
    let powerful = Node::start(&[("super.users", EVERYBODY)]);
    let (mut plain, mut powerful) = (Cluster::new(plain.address()), Cluster::new(powerful.address()));
    let outcomes = table(&mut plain, false).into_iter().zip(table(&mut powerful, true));
    let outcomes: Vec<Vec<String>> = outcomes.map(|(plain, powerful)| [plain, powerful].concat()).collect();
    let mut wrong = Vec::new();
    for (row, outcomes) in rows::all().zip(&outcomes) {
        let is_allowed = |outcome: &str| ["yes", "shown", "-"].contains(&outcome);
        let allowed = CASES.into_iter().zip(outcomes).filter(|(_, outcome)| is_allowed(outcome));
        let allowed: Vec<&str> = allowed.map(|(case, _)| case).collect();
        // Who may delete may describe, also where it may not delete after all: it hears that there is no such topic.
        let hears_more = row.key() == ApiKey::DeleteTopics as i16;
        let expected = ["allow", "allow and deny", "prefixed", "wildcard", "this host", "super user"];
        let expected = expected.into_iter().filter(|case| hears_more || *case != "allow and deny");
        if allowed != expected.collect::<Vec<_>>() {
            wrong.push(format!("{}: {outcomes:?}", row_name(row)));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} rows let somebody in or keep somebody out:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    replace_generated("docs/AUTHORIZATION.md", "tests/tests/authorization/main.rs", &document(&outcomes));
}

#[test]
fn every_api_that_is_served_is_in_the_table() {
    let asked: BTreeSet<i16> = rows::all().map(Row::key).chain(rows::OPEN.iter().copied()).collect();
    let served: BTreeSet<i16> = SUPPORTED.iter().map(|row| row.key).collect();
    let missing: Vec<i16> = served.difference(&asked).copied().collect();
    assert!(missing.is_empty(), "nobody knows who may use {missing:?}: add rows to rows.rs");
}

#[test]
#[ignore = "needs an Apache Kafka at AUTHORIZATION_PEER"]
fn apache_kafka_answers_the_same() {
    let peer = std::env::var("AUTHORIZATION_PEER").unwrap();
    let node = Node::start(&[]);
    let (mut ours, mut theirs) = (Cluster::new(node.address()), Cluster::new(peer.parse().unwrap()));
    let (ours, theirs) = (table(&mut ours, false), table(&mut theirs, false));
    let differences: Vec<String> = rows::all()
        .zip(ours.iter().zip(&theirs))
        .filter(|(_, (ours, theirs))| ours != theirs)
        .map(|(row, (ours, theirs))| format!("{}\n  ours   {ours:?}\n  Kafka's {theirs:?}", row_name(row)))
        .collect();
    let count = ours.iter().map(Vec::len).sum::<usize>();
    println!("{count} answers compared");
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}
