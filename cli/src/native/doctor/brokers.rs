//! What the brokers tell of themselves: room on their disks, versions, partitions and the quorum.

use kafka_protocol::messages::DescribeLogDirsRequest;
use moldau_model::ErrorCode;

use super::{Finding, Reached, Verdict, deadline, size};
use crate::client::Client;

/// Below this share a disk is about to be full.
const ROOM_SHARE_MIN: f64 = 0.10;
const ROOM_SHARE_BAD: f64 = 0.02;
/// How many partitions a finding names.
const NAMED_MAX: usize = 5;

pub(super) fn check(client: &mut Client, reached: &mut [Reached], findings: &mut Vec<Finding>) {
    for broker in reached.iter_mut() {
        disks(broker, findings);
    }
    versions(reached, findings);
    away(client, findings);
    partitions(client, findings);
    quorum(client, findings);
}

/// Whoever is not among the bootstrap servers is missed by nobody else.
fn away(client: &mut Client, findings: &mut Vec<Finding>) {
    let advice = "it is down, or starts and catches up: look at its log; `moldau broker decommission` forgets one that will not come back";
    for id in client.fenced_brokers() {
        findings.push(Finding::problem(format!("broker {id}"), "registered, and not in service", advice));
    }
}

fn disks(broker: &mut Reached, findings: &mut Vec<Finding>) {
    let request = DescribeLogDirsRequest::default().with_topics(None);
    let Ok(response) = broker.connection.call(&request, deadline()) else { return };
    for directory in &response.results {
        let subject = format!("disk of {}", broker.id);
        let path = directory.log_dir.as_str();
        if directory.error_code != 0 {
            let reason = ErrorCode::from_code(directory.error_code).message();
            let advice =
                "mend or replace the disk, then restart the node: its replicas come back from the others";
            findings.push(Finding::problem(subject, format!("{path}: {reason}"), advice));
            continue;
        }
        let (Ok(total), Ok(usable)) =
            (u64::try_from(directory.total_bytes), u64::try_from(directory.usable_bytes))
        else {
            // Before version 4 nobody is told.
            continue;
        };
        findings.push(room(subject, path, total, usable));
    }
}

fn room(subject: String, path: &str, total: u64, usable: u64) -> Finding {
    let share = usable as f64 / total.max(1) as f64;
    let seen = format!("{path}: {} of {} free ({:.0} %)", size(usable), size(total), share * 100.0);
    let advice = "lower retention.ms or retention.bytes of the largest topics, or give it a larger disk";
    if share < ROOM_SHARE_BAD {
        Finding::problem(subject, seen, advice)
    } else if share < ROOM_SHARE_MIN {
        Finding::warning(subject, seen, advice)
    } else {
        Finding::good(subject, seen)
    }
}

/// Brokers of one version serve the same versions of the same requests.
fn versions(reached: &[Reached], findings: &mut Vec<Finding>) {
    let Some((first, others)) = reached.split_first() else { return };
    let served = first.connection.api_versions();
    let other: Vec<i32> =
        others.iter().filter(|b| b.connection.api_versions() != served).map(|broker| broker.id).collect();
    if other.is_empty() {
        let what = if reached.len() == 1 { "it serves" } else { "all serve" };
        findings.push(Finding::good("versions", format!("{what} the same {} requests", served.len())));
    } else {
        let other = super::super::join(&other);
        let seen = format!("broker {} serves other versions of requests than {other}", first.id);
        let advice =
            "a rolling upgrade is half done: go on with the rest of the nodes, and only then raise features";
        findings.push(Finding::warning("versions", seen, advice));
    }
}

fn partitions(client: &mut Client, findings: &mut Vec<Finding>) {
    let deadline = client.deadline();
    let Ok(response) = client.metadata(None, deadline) else { return };
    let (mut leaderless, mut behind, mut count) = (Vec::new(), Vec::new(), 0);
    for topic in &response.topics {
        let Some(name) = &topic.name else { continue };
        for p in &topic.partitions {
            count += 1;
            let partition = format!("{}-{}", name.0.as_str(), p.partition_index);
            if p.leader_id.0 < 0 {
                leaderless.push(partition);
            } else if p.isr_nodes.len() < p.replica_nodes.len() {
                behind.push(partition);
            }
        }
    }
    if leaderless.is_empty() && behind.is_empty() {
        findings.push(Finding::good(
            "partitions",
            format!("all {count} have a leader and every replica in sync"),
        ));
    }
    if !leaderless.is_empty() {
        let advice = "start the brokers that hold their replicas; `moldau topic describe` names them";
        findings.push(Finding::problem("partitions", format!("no leader: {}", named(&leaderless)), advice));
    }
    if !behind.is_empty() {
        let advice = "a broker is down, or catches up after it was: `moldau cluster info` shows who is there";
        findings.push(Finding::warning(
            "partitions",
            format!("under-replicated: {}", named(&behind)),
            advice,
        ));
    }
}

fn named(partitions: &[String]) -> String {
    let more = if partitions.len() > NAMED_MAX { ", ..." } else { "" };
    format!("{}: {}{more}", partitions.len(), partitions[..partitions.len().min(NAMED_MAX)].join(", "))
}

fn quorum(client: &mut Client, findings: &mut Vec<Finding>) {
    let Ok(quorum) = client.describe_quorum() else { return };
    let Some(leader) = quorum.leader() else { return };
    let silent: Vec<i32> = quorum.silent_voters().collect();
    let count = quorum.voters.len();
    if silent.is_empty() {
        let verdict = if count == 2 { Verdict::Warning } else { Verdict::Good };
        findings.push(Finding {
            verdict,
            subject: "quorum".to_owned(),
            seen: format!("{count} controllers, {} leads", leader.id),
            advice: (count == 2)
                .then(|| "with two, either one's loss stops the cluster: take one or three".to_owned()),
        });
    } else {
        let seen = format!("of {count} controllers these are not heard: {}", super::super::join(&silent));
        let advice = "start them: once half of the controllers are away, nothing can change any more";
        findings.push(Finding::problem("quorum", seen, advice));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_judged_by_the_share_that_is_free() {
        for (usable, verdict) in [(50, Verdict::Good), (9, Verdict::Warning), (1, Verdict::Problem)] {
            assert_eq!(room("disk of 1".into(), "/d", 100, usable).verdict, verdict, "{usable} %");
        }
        assert_eq!(room("d".into(), "/d", 4 << 30, 1 << 30).seen, "/d: 1.0 GiB of 4.0 GiB free (25 %)");
    }
}
