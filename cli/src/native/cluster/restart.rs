//! `moldau cluster rolling-restart --check` and `restart-safe`: whether the cluster can do without each broker, as far as
//! partitions and votes go.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::{Common, Failure, table};
use crate::client::Client;
use crate::client::configs::ResourceKind;
use crate::client::quorum::Quorum;
use crate::console::{Console, errln, outln};

/// Topics whose settings are asked for at once.
const TOPICS_AT_ONCE: usize = 500;
/// How many partitions a reason names.
const NAMED_MAX: usize = 3;

/// A partition as far as restarts go.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Partition {
    name: String,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    min_isr: usize,
}

/// Why the cluster cannot do without a broker; nothing where it can.
fn reasons(broker: i32, partitions: &[Partition], quorum: Option<&Quorum>) -> Vec<String> {
    let mut reasons = Vec::new();
    let mut say = |what: &str, of: &dyn Fn(&Partition) -> bool| {
        let names: Vec<&str> = partitions.iter().filter(|p| of(p)).map(|p| p.name.as_str()).collect();
        if !names.is_empty() {
            let more = if names.len() > NAMED_MAX { ", ..." } else { "" };
            let shown = names[..names.len().min(NAMED_MAX)].join(", ");
            reasons.push(format!("{} {what}: {shown}{more}", names.len()));
        }
    };
    let holds = |p: &Partition| p.isr.contains(&broker);
    say("partitions are on this broker alone", &|p| p.replicas == [broker]);
    say("partitions have no other replica in sync", &|p| {
        holds(p) && p.isr.len() == 1 && p.replicas.len() > 1
    });
    say("partitions would fall below min.insync.replicas", &|p| {
        holds(p) && p.isr.len() > 1 && p.isr.len() - 1 < p.min_isr
    });
    if let Some(quorum) = quorum
        && quorum.voters.iter().any(|voter| voter.id == broker)
    {
        let silent: Vec<i32> = quorum.silent_voters().collect();
        let here = quorum.voters.iter().filter(|voter| !silent.contains(&voter.id));
        let without = here.filter(|voter| voter.id != broker).count();
        let needed = quorum.majority();
        if without < needed {
            reasons.push(format!(
                "{without} of {} controllers would be left, {needed} are needed",
                quorum.voters.len()
            ));
        }
    }
    reasons
}

/// The brokers in the order in which to restart them: who leads the controllers last, so that it is led over once.
fn order(brokers: &[i32], quorum: Option<&Quorum>) -> Vec<i32> {
    let leader = quorum.map(|quorum| quorum.leader_id);
    let mut order: Vec<i32> = brokers.to_vec();
    order.sort_by_key(|id| (Some(*id) == leader, *id));
    order
}

/// Every broker's reasons, in the order of a rolling restart.
fn survey(client: &mut Client) -> Result<Vec<(i32, Vec<String>)>, Failure> {
    let partitions = partitions(client)?;
    // A cluster of Kafka's that does not tell its quorum is judged by its partitions.
    let quorum = client.describe_quorum().ok();
    let ids: Vec<i32> = client.brokers().keys().copied().collect();
    let order = order(&ids, quorum.as_ref());
    Ok(order.into_iter().map(|id| (id, reasons(id, &partitions, quorum.as_ref()))).collect())
}

pub(super) fn rolling(
    common: &Common,
    client: &mut Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let survey = survey(client)?;
    let is_safe = survey.iter().all(|(_, reasons)| reasons.is_empty());
    if common.is_json() {
        let list: Vec<Value> = survey
            .iter()
            .map(|(id, reasons)| json!({"broker": id, "safe": reasons.is_empty(), "reasons": reasons}))
            .collect();
        super::super::json(&json!({"safe": is_safe, "order": list}), console)?;
    } else {
        let rows: Vec<Vec<String>> = survey
            .iter()
            .map(|(id, reasons)| {
                let verdict = if reasons.is_empty() { "yes" } else { "no" };
                vec![id.to_string(), verdict.to_owned(), reasons.join("; ")]
            })
            .collect();
        table(&["BROKER", "SAFE", "WHY NOT"], &rows, console)?;
        if is_safe {
            outln!(
                console,
                "\nrestart them one by one in this order, and after each wait for `moldau cluster health`"
            );
        } else {
            errln!(
                console,
                "\nnot all brokers can be restarted now; `moldau cluster health` shows what is amiss"
            );
        }
    }
    if is_safe { Ok(()) } else { Err(Failure::Unhealthy) }
}

pub(super) fn one(
    common: &Common,
    client: &mut Client,
    broker: i32,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let survey = survey(client)?;
    let Some((_, reasons)) = survey.iter().find(|(id, _)| *id == broker) else {
        let mut ids: Vec<i32> = survey.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        let ids = super::super::join(&ids);
        return Err(Failure::Text(format!("there is no broker {broker}; these are: {ids}")));
    };
    if common.is_json() {
        super::super::json(
            &json!({"broker": broker, "safe": reasons.is_empty(), "reasons": reasons}),
            console,
        )?;
    } else if reasons.is_empty() {
        outln!(console, "broker {broker} can be restarted");
    } else {
        errln!(console, "broker {broker} cannot be restarted now: {}", reasons.join("; "));
    }
    if reasons.is_empty() { Ok(()) } else { Err(Failure::Unhealthy) }
}

fn partitions(client: &mut Client) -> Result<Vec<Partition>, Failure> {
    let deadline = client.deadline();
    let response = client.metadata(None, deadline)?;
    let names: Vec<String> = response
        .topics
        .iter()
        .filter_map(|topic| topic.name.as_ref())
        .map(|name| name.0.to_string())
        .collect();
    let mut min_isr: BTreeMap<String, usize> = BTreeMap::new();
    for names in names.chunks(TOPICS_AT_ONCE) {
        for (name, entries) in client.describe_configs(ResourceKind::Topic, names, false)? {
            let value = entries.iter().find(|entry| entry.name == "min.insync.replicas");
            let value = value.and_then(|entry| entry.value.as_deref()?.parse().ok());
            min_isr.insert(name, value.unwrap_or(1));
        }
    }
    let mut partitions = Vec::new();
    for topic in &response.topics {
        let Some(name) = topic.name.as_ref().map(|name| name.0.to_string()) else { continue };
        for p in &topic.partitions {
            partitions.push(Partition {
                name: format!("{name}-{}", p.partition_index),
                replicas: p.replica_nodes.iter().map(|id| id.0).collect(),
                isr: p.isr_nodes.iter().map(|id| id.0).collect(),
                min_isr: min_isr.get(&name).copied().unwrap_or(1),
            });
        }
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use moldau_model::Uuid;

    use super::*;
    use crate::client::quorum::QuorumReplica;

    fn partition(replicas: &[i32], isr: &[i32], min_isr: usize) -> Partition {
        Partition { name: "a-0".to_owned(), replicas: replicas.to_vec(), isr: isr.to_vec(), min_isr }
    }

    fn quorum(fetches: &[(i32, i64)]) -> Quorum {
        let voter = |(id, last_fetch_ms): &(i32, i64)| QuorumReplica {
            id: *id,
            directory_id: Uuid::ZERO,
            log_end_offset: 1,
            last_fetch_ms: *last_fetch_ms,
            last_caught_up_ms: *last_fetch_ms,
        };
        Quorum {
            leader_id: 1,
            leader_epoch: 1,
            high_watermark: 1,
            voters: fetches.iter().map(voter).collect(),
            observers: Vec::new(),
            endpoints: Vec::new(),
        }
    }

    #[test]
    fn a_partition_that_keeps_its_minimum_can_do_without() {
        assert_eq!(reasons(1, &[partition(&[1, 2, 3], &[1, 2, 3], 2)], None), Vec::<String>::new());
        assert_eq!(reasons(3, &[partition(&[1, 2], &[1, 2], 2)], None), Vec::<String>::new());
    }

    #[test]
    fn each_way_of_needing_a_broker_has_its_words() {
        for (partition, words) in [
            (partition(&[1], &[1], 1), "1 partitions are on this broker alone: a-0"),
            (partition(&[1, 2], &[1], 1), "1 partitions have no other replica in sync: a-0"),
            (partition(&[1, 2, 3], &[1, 2], 2), "1 partitions would fall below min.insync.replicas: a-0"),
        ] {
            assert_eq!(reasons(1, &[partition], None), [words]);
        }
    }

    #[test]
    fn a_vote_is_needed_where_another_voter_is_silent() {
        let all = quorum(&[(1, 100_000), (2, 99_900), (3, 99_000)]);
        assert_eq!(reasons(2, &[], Some(&all)), Vec::<String>::new());
        let two = quorum(&[(1, 100_000), (2, 99_900), (3, 50_000)]);
        assert_eq!(reasons(2, &[], Some(&two)), ["1 of 3 controllers would be left, 2 are needed"]);
        assert_eq!(reasons(4, &[], Some(&two)), Vec::<String>::new());
    }

    #[test]
    fn who_leads_the_controllers_comes_last() {
        assert_eq!(order(&[1, 2, 3], Some(&quorum(&[(1, 0)]))), [2, 3, 1]);
    }
}
