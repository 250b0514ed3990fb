//! `kafka-broker-api-versions`: what each broker serves, and what of it the stock client would use.

use std::io;

use kafka_protocol::messages::DescribeClusterRequest;

use super::options::{Argument, Spec};
use super::tool::{Failure, NO_RESOLVABLE, ToolInfo, connect};
use crate::client::ClientError;
use crate::client::api::{self, Api};
use crate::console::{Console, outln};

const TOOL: ToolInfo = ToolInfo {
    spec: Spec {
        options: &[
            ("bootstrap-server", Argument::Required),
            ("command-config", Argument::Required),
            ("help", Argument::No),
            ("version", Argument::No),
        ],
    },
    usage: include_str!("usage/kafka-broker-api-versions.txt"),
    about: "This tool helps to retrieve broker version information.",
};

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let result = match run(arguments, console) {
        // It makes no admin client.
        Err(Failure::Unresolvable(_)) => Err(Failure::Text(NO_RESOLVABLE.to_owned())),
        result => result,
    };
    TOOL.finish(result, "", console)
}

fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    let options = TOOL.parse_some(arguments, console)?;
    let mut client = connect(&options, "admin")?;
    let deadline = client.deadline();
    client.metadata(Some(&[]), deadline)?;
    let request = DescribeClusterRequest::default().with_endpoint_type(1).with_include_fenced_brokers(true);
    let cluster = client.call(&request)?;
    ClientError::check(cluster.error_code, cluster.error_message.as_deref())?;
    for broker in &cluster.brokers {
        let rack = broker.rack.as_ref().map_or("null", |rack| rack.as_str());
        let address = format!("{}:{}", broker.host.as_str(), broker.port);
        let line =
            format!("{address} (id: {} rack: {rack} isFenced: {}) -> ", broker.broker_id.0, broker.is_fenced);
        match client.broker(broker.broker_id.0, deadline) {
            Ok(connection) => outln!(console, "{line}{}", versions_text(&connection.api_versions())),
            Err(error) => outln!(console, "{line}ERROR: {}", error.java()),
        }
    }
    Ok(())
}

/// The list in brackets, by key: what the broker serves and what it lacks of the client's.
fn versions_text(served: &[(i16, i16, i16)]) -> String {
    let mut lines: Vec<(i16, String)> = served
        .iter()
        .map(|(key, min, max)| match api::find(*key) {
            Some(api) => {
                (*key, format!("{}({key}): {} [{}]", api.name, range(*min, *max), usable(api, *min, *max)))
            }
            None => (*key, format!("UNKNOWN({key}): {}", range(*min, *max))),
        })
        .collect();
    let lacking = api::APIS.iter().filter(|api| api.broker && served.iter().all(|(key, ..)| *key != api.key));
    lines.extend(lacking.map(|api| (api.key, format!("{}({}): UNSUPPORTED", api.name, api.key))));
    lines.sort_by_key(|(key, _)| *key);
    let lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
    format!("(\n\t{}\n)", lines.join(",\n\t"))
}

fn range(min: i16, max: i16) -> String {
    if min == max { min.to_string() } else { format!("{min} to {max}") }
}

fn usable(api: &Api, min: i16, max: i16) -> String {
    if max < api.min {
        "unusable: node too old".to_owned()
    } else if min > api.max {
        "unusable: node too new".to_owned()
    } else {
        format!("usable: {}", max.min(api.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_listed_as_apache_kafka_lists_them() {
        let text = versions_text(&[(0, 0, 13), (18, 0, 4), (46, 0, 0), (1, 99, 99), (2, 0, 0), (999, 0, 3)]);
        for line in [
            "(\n\tProduce(0): 0 to 13 [usable: 13],\n\t",
            "\tFetch(1): 99 [unusable: node too new],\n",
            "\tListOffsets(2): 0 [unusable: node too old],\n",
            "\tMetadata(3): UNSUPPORTED,\n",
            "\tListPartitionReassignments(46): 0 [usable: 0],\n",
            "\tUNKNOWN(999): 0 to 3\n)",
        ] {
            assert!(text.contains(line), "{line:?} is not in {text}");
        }
        assert!(!text.contains("Vote(52)"), "controllers' own requests are none of a broker's");
    }
}
