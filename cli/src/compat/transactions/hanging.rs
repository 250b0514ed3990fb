//! Transactions that their coordinator has forgotten: open in a partition for long, and nobody will end them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::subcommands::{Read, table};
use super::{Failed, because, connect, failed, now_ms, number};
use crate::client::transactions::ProducerState;
use crate::client::{Client, ClientError};
use crate::console::Console;

/// So many partitions are asked for in one request.
const PARTITIONS_PER_REQUEST: usize = 500;
const TIMEOUT_MINUTES: i64 = 15;
const MINUTE_MS: i64 = 60_000;

/// A transaction that is open in a partition.
type Open = ((String, i32), ProducerState);

pub(super) fn find(read: &Read, console: &mut Console<'_>) -> Result<(), Failed> {
    let broker: Option<i32> = number(read, "--broker-id", "Integer")?;
    let partition: Option<i32> = number(read, "--partition", "Integer")?;
    let minutes: i64 = number(read, "--max-transaction-timeout", "Integer")?.unwrap_or(TIMEOUT_MINUTES);
    let topic = read.one("--topic");
    if topic.is_none() && broker.is_none() {
        return failed(
            "The `find-hanging` command requires either --topic or --broker-id to limit the scope of the search",
        );
    }
    if partition.is_some() && topic.is_none() {
        return failed("The --partition argument requires --topic to be provided");
    }
    let mut client = connect(read)?;
    let places = places(&mut client, topic, partition, broker)?;
    let mut open = Vec::new();
    for (broker, places) in &places {
        for batch in places.chunks(PARTITIONS_PER_REQUEST) {
            let what =
                format!("Failed to describe producers for {} partitions on broker {broker}", batch.len());
            let described = client.describe_producers(*broker, batch).map_err(because(what))?;
            open.extend(described.into_iter().flat_map(|(place, producers)| {
                let is_open = |producer: &ProducerState| producer.transaction_start.is_some();
                producers.into_iter().filter(is_open).map(move |producer| (place.clone(), producer))
            }));
        }
    }
    let now = now_ms();
    open.retain(|(_, producer): &Open| now - producer.last_timestamp_ms > minutes.saturating_mul(MINUTE_MS));
    let hanging = hanging(&mut client, open)?;
    Ok(write!(console.out, "{}", printed(&hanging, now))?)
}

/// Where to look: partitions by the broker that is asked, the leaders if nobody names one.
fn places(
    client: &mut Client,
    topic: Option<&str>,
    partition: Option<i32>,
    broker: Option<i32>,
) -> Result<BTreeMap<i32, Vec<(String, i32)>>, Failed> {
    let topics: Vec<String> = match topic {
        Some(topic) => vec![topic.to_owned()],
        None => {
            let listed = client.list_topics().map_err(because("Failed to list topics"))?;
            listed.into_iter().map(|topic| topic.name).collect()
        }
    };
    let what = format!("Failed to describe {} topics", topics.len());
    let described = client.describe_topics(&topics, None).map_err(because(what))?;
    let mut places: BTreeMap<i32, Vec<(String, i32)>> = BTreeMap::new();
    for topic in described {
        for found in topic.partitions {
            let is_asked_for = partition.is_none_or(|partition| partition == found.partition)
                && broker.is_none_or(|broker| found.replicas.contains(&broker));
            if let Some(asked) = broker.or(found.leader).filter(|_| is_asked_for) {
                places.entry(asked).or_default().push((topic.name.clone(), found.partition));
            }
        }
    }
    Ok(places)
}

/// Those that no coordinator is about to end.
fn hanging(client: &mut Client, open: Vec<Open>) -> Result<Vec<Open>, Failed> {
    if open.is_empty() {
        return Ok(open);
    }
    let producers: BTreeSet<i64> = open.iter().map(|(_, producer)| producer.producer_id).collect();
    let producers: Vec<i64> = producers.into_iter().collect();
    let what = format!("Failed to list transactions for {} producers", producers.len());
    let listed = client.list_transactions(&producers, None, None).map_err(because(what))?;
    let mut awaited: BTreeMap<i64, Vec<(String, i32)>> = BTreeMap::new();
    for listing in listed {
        match client.describe_transaction(&listing.transactional_id) {
            Ok(described) => {
                awaited.insert(listing.producer_id, described.partitions);
            }
            Err(ClientError::Broker { code: moldau_model::ErrorCode::TransactionalIdNotFound, .. }) => {}
            Err(error) => return Err(because("Failed to describe 1 transactions")(error)),
        }
    }
    Ok(forgotten(open, &awaited))
}

/// What is open in a partition, and not among what the producer's coordinator has still to end.
fn forgotten(open: Vec<Open>, awaited: &BTreeMap<i64, Vec<(String, i32)>>) -> Vec<Open> {
    let is_awaited = |(place, producer): &Open| {
        awaited.get(&producer.producer_id).is_some_and(|places| places.contains(place))
    };
    open.into_iter().filter(|open| !is_awaited(open)).collect()
}

fn printed(hanging: &[Open], now_ms: i64) -> String {
    let row = |((topic, partition), producer): &Open| {
        vec![
            topic.clone(),
            partition.to_string(),
            producer.producer_id.to_string(),
            producer.producer_epoch.to_string(),
            producer.coordinator_epoch.max(-1).to_string(),
            producer.transaction_start.unwrap_or(-1).to_string(),
            producer.last_timestamp_ms.to_string(),
            ((now_ms - producer.last_timestamp_ms) / MINUTE_MS).to_string(),
        ]
    };
    let heads = [
        "Topic",
        "Partition",
        "ProducerId",
        "ProducerEpoch",
        "CoordinatorEpoch",
        "StartOffset",
        "LastTimestamp",
        "Duration(min)",
    ];
    table(&heads, &hanging.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(partition: i32, producer_id: i64) -> Open {
        let producer = ProducerState {
            producer_id,
            producer_epoch: 3,
            coordinator_epoch: 1,
            last_sequence: 9,
            last_timestamp_ms: 0,
            transaction_start: Some(17),
        };
        (("t".to_owned(), partition), producer)
    }

    #[test]
    fn a_transaction_hangs_unless_its_coordinator_knows_of_the_partition() {
        let awaited = BTreeMap::from([(7, vec![("t".to_owned(), 0)])]);
        let found = forgotten(vec![open(0, 7), open(1, 7), open(0, 8)], &awaited);
        assert_eq!(found, [open(1, 7), open(0, 8)]);
    }

    #[test]
    fn what_hangs_is_printed_as_apache_kafka_prints_it() {
        assert_eq!(
            printed(&[open(1, 7)], 20 * MINUTE_MS),
            "Topic\tPartition\tProducerId\tProducerEpoch\tCoordinatorEpoch\tStartOffset\tLastTimestamp\tDuration(min)\t\n\
             t    \t1        \t7         \t3            \t1               \t17         \t0            \t20           \t\n"
        );
    }
}
