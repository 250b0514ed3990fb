//! Whether clients get where the cluster sends them: each advertised listener, dialled from here.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Instant;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{DescribeConfigsRequest, MetadataRequest};
use moldau_model::ErrorCode;

use super::{Finding, Reached, deadline};
use crate::client::configs::ResourceKind;
use crate::client::connection::Connection;
use crate::client::metadata::string;
use crate::client::{BrokerNode, Client, HostPort};

/// Dials the bootstrap servers, and then every broker where it says it is.
pub(super) fn check(client: &mut Client, findings: &mut Vec<Finding>) -> Vec<Reached> {
    let servers = client.bootstrap_servers().to_vec();
    let mut cluster_id = None;
    let mut is_reached = false;
    for server in &servers {
        let begun = Instant::now();
        match client.dial(server, "moldau-doctor", deadline()) {
            Ok(mut connection) => {
                is_reached = true;
                cluster_id = cluster_id.or_else(|| cluster_of(&mut connection));
                let took = begun.elapsed().as_micros() as f64 / 1000.0;
                findings.push(Finding::good("bootstrap", format!("{server} answers in {took:.1} ms")));
            }
            Err(reason) => findings.push(unreachable(server, &reason)),
        }
    }
    if !is_reached {
        return Vec::new();
    }
    let within = client.deadline();
    if let Err(error) = client.metadata(Some(&[]), within) {
        let advice = "see the log of the node that answered";
        findings.push(Finding::problem("brokers", format!("nobody tells who they are: {error}"), advice));
        return Vec::new();
    }
    let brokers: Vec<BrokerNode> = client.brokers().values().cloned().collect();
    let is_local_client = servers.iter().all(|server| is_loopback(&server.host));
    let mut reached = Vec::new();
    for broker in &brokers {
        let subject = format!("broker {}", broker.id);
        findings.extend(wrong_address(broker, &brokers, is_local_client, &subject));
        match client.dial(&broker.address, "moldau-doctor", deadline()) {
            Ok(connection) => {
                reached.extend(identify(broker, connection, cluster_id.as_deref(), &subject, findings));
            }
            Err(reason) => {
                let seen = format!("clients are told {}: {reason}", broker.address);
                let mut finding =
                    Finding::problem(&subject, seen, advice(&broker.address, &reason, is_local_client));
                // An address that was called wrong already needs no second advice.
                if findings.last().is_some_and(|last| last.subject == subject && last.advice.is_some()) {
                    finding.advice = None;
                }
                findings.push(finding);
            }
        }
    }
    reached
}

fn unreachable(server: &HostPort, reason: &str) -> Finding {
    let advice = match reason {
        "connection refused" => {
            "nothing listens on that port: is a node running, and is this the port of its `listeners`?"
                .to_owned()
        }
        "no answer in time" => {
            "a firewall drops it, or the address is another network's: try from the node's own machine"
                .to_owned()
        }
        _ if server.resolve().is_err() => {
            format!("the name {} has no address here: check it, or DNS", server.host)
        }
        _ => "is this a Kafka listener without TLS? HTTP and the controllers have ports of their own"
            .to_owned(),
    };
    Finding::problem("bootstrap", format!("{server}: {reason}"), advice)
}

/// Addresses that are wrong whoever dials them.
fn wrong_address(
    broker: &BrokerNode,
    brokers: &[BrokerNode],
    is_local_client: bool,
    subject: &str,
) -> Option<Finding> {
    let BrokerNode { id, address, .. } = broker;
    let set = format!(
        "set advertised.listeners of broker {id} to a name that clients reach it by, for example\nadvertised.listeners=PLAINTEXT://the-name-of-that-machine:{}",
        address.port
    );
    let told = format!("clients are told {address}");
    if address.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        return Some(Finding::problem(subject, format!("{told}, which is no address to connect to"), set));
    }
    if let Some(other) = brokers.iter().find(|other| other.id < *id && other.address == *address) {
        return Some(Finding::problem(
            subject,
            format!("{told}, and so they are for broker {}", other.id),
            set,
        ));
    }
    // The classic: it works on the broker's machine, and nowhere else.
    if is_loopback(&address.host) && !is_local_client {
        let seen = format!("{told}, which on every machine is that machine itself");
        return Some(Finding::problem(subject, seen, set));
    }
    None
}

fn advice(address: &HostPort, reason: &str, is_local_client: bool) -> String {
    if address.resolve().is_err() {
        return format!(
            "the name {} is not known here. It may be a container's: connect from inside its network,\nor give the broker a second listener that is advertised with a name known here",
            address.host
        );
    }
    match reason {
        "connection refused" if is_local_client => {
            "the broker stopped a moment ago, or its port is not published on this machine:\nthe port in advertised.listeners has to be the one that clients dial".to_owned()
        }
        "connection refused" => {
            "nothing listens there: the port in advertised.listeners has to be one of `listeners`,\nor one that is forwarded to it".to_owned()
        }
        "no answer in time" => "a firewall drops it, or the address is another network's".to_owned(),
        _ => "something else listens there, or a proxy that does not pass Kafka's protocol".to_owned(),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn cluster_of(connection: &mut Connection) -> Option<String> {
    let request = MetadataRequest::default().with_topics(Some(Vec::new()));
    let response = connection.call(&request, deadline()).ok()?;
    response.cluster_id.map(|id| id.to_string())
}

/// Who answers there: of its own settings a broker tells, and of no other's.
fn identify(
    broker: &BrokerNode,
    mut connection: Connection,
    cluster_id: Option<&str>,
    subject: &str,
    findings: &mut Vec<Finding>,
) -> Option<Reached> {
    let told = format!("clients are told {}", broker.address);
    let advice = "advertised.listeners has to lead to this broker, not to another one or to a balancer";
    let answers_as = cluster_of(&mut connection);
    if cluster_id.is_some() && answers_as.as_deref() != cluster_id {
        let other = answers_as.unwrap_or_else(|| "none".to_owned());
        findings.push(Finding::problem(
            subject,
            format!("{told}, where a broker of cluster {other} answers"),
            advice,
        ));
        return None;
    }
    let keys = ["log.dirs", "log.dir", "http.listener"].map(string);
    let resource = DescribeConfigsResource::default()
        .with_resource_type(ResourceKind::Broker as i8)
        .with_resource_name(string(&broker.id.to_string()))
        .with_configuration_keys(Some(keys.to_vec()));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let result = connection.call(&request, deadline()).ok().and_then(|mut response| response.results.pop());
    let Some(result) = result else {
        let advice = "see the log of that node";
        findings.push(Finding::warning(
            subject,
            format!("{told}, where one answers but does not tell its settings"),
            advice,
        ));
        return None;
    };
    if ErrorCode::from_code(result.error_code) == ErrorCode::InvalidRequest {
        findings.push(Finding::problem(subject, format!("{told}, where another broker answers"), advice));
        return None;
    }
    findings.push(Finding::good(subject, format!("{told}, and it is there")));
    let value = |name: &str| {
        let config = result.configs.iter().find(|config| config.name.as_str() == name);
        config.and_then(|config| config.value.as_ref()).map(ToString::to_string)
    };
    let log_dirs = value("log.dirs").or_else(|| value("log.dir")).unwrap_or_default();
    Some(Reached {
        id: broker.id,
        host: broker.address.host.clone(),
        connection,
        log_dirs: log_dirs
            .split(',')
            .map(str::trim)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
            .collect(),
        http_listener: value("http.listener"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(id: i32, address: &str) -> BrokerNode {
        BrokerNode { id, address: HostPort::parse(address).unwrap(), rack: None }
    }

    fn wrong(address: &str, is_local_client: bool) -> Option<String> {
        let brokers = [broker(1, "kafka:9092"), broker(2, address)];
        wrong_address(&brokers[1], &brokers, is_local_client, "broker 2").map(|finding| finding.seen)
    }

    #[test]
    fn localhost_is_a_problem_for_whoever_is_elsewhere() {
        assert_eq!(wrong("localhost:9092", true), None);
        let text = wrong("localhost:9092", false).unwrap();
        assert_eq!(text, "clients are told localhost:9092, which on every machine is that machine itself");
        assert!(wrong("127.0.0.1:9092", false).is_some());
        assert_eq!(wrong("kafka-2:9092", false), None);
    }

    #[test]
    fn an_address_that_is_none_and_one_of_two_brokers_are_problems_for_all() {
        assert!(wrong("0.0.0.0:9092", true).unwrap().contains("no address to connect to"));
        assert!(wrong("kafka:9092", true).unwrap().ends_with("so they are for broker 1"));
    }
}
