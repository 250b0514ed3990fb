//! Elections that are asked for, and leadership that goes back by itself.

use expect_test::expect;

use super::super::testing::{Cluster, refusal};
use super::*;

fn ask(cluster: &mut Cluster, kind: ElectionKind, partitions: Option<&[(&str, &[i32])]>) -> String {
    let owned = |(topic, indexes): &(&str, &[i32])| {
        ((*topic).to_owned(), indexes.iter().copied().map(PartitionIndex).collect())
    };
    let request = ElectLeadersRequest { kind, partitions: partitions.map(|p| p.iter().map(owned).collect()) };
    let results = cluster.decide(|image, inputs| elect_leaders(image, &request, inputs)).unwrap();
    let mut out = String::new();
    for (topic, partitions) in results {
        for (index, result) in partitions {
            let name = format!("{topic}-{index}");
            out += &result.map_or_else(|error| refusal(&name, &error), |()| format!("{name}: ok\n"));
        }
    }
    out
}

/// Partition 0 of `t` is led by its second replica and 1 by its first; `lost` is led by nobody.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.topic("t", &[&[1, 2], &[2, 1]], &[]);
    cluster.topic("lost", &[&[3]], &[]);
    cluster.fence(3);
    cluster.fence(1);
    cluster.unfence(1);
    cluster
}

#[test]
fn a_preferred_leader_is_elected_where_it_can_lead() {
    let mut cluster = cluster();
    let text = ask(
        &mut cluster,
        ElectionKind::Preferred,
        Some(&[("t", &[0, 1, 9]), ("lost", &[0]), ("nonono", &[0])]),
    );
    expect![[r#"
        t-0: 80 The preferred leader was not available.
        t-1: 84 Leader election not needed for topic partition.
        t-9: 3 No such partition as t-9
        lost-0: 80 The preferred leader was not available.
        nonono-0: 3 No such topic as nonono
    "#]]
    .assert_eq(&text);
    cluster.set_isr("t", &[2, 1]);
    assert_eq!(
        ask(&mut cluster, ElectionKind::Preferred, Some(&[("t", &[0, 0])])).lines().next(),
        Some("t-0: ok")
    );
    assert_eq!(cluster.show(), "leader 1 isr [2,1] elr [] leader epoch 2 partition epoch 3");
    expect![[r#"
        lost-0: 80 The preferred leader was not available.
    "#]]
    .assert_eq(&ask(&mut cluster, ElectionKind::Preferred, None));
}

#[test]
fn an_unclean_election_is_held_only_for_partitions_without_a_leader() {
    let mut cluster = cluster();
    cluster.topic("u", &[&[1, 2]], &[]);
    cluster.set_isr("u", &[1]);
    cluster.fence(1);
    let text = ask(&mut cluster, ElectionKind::Unclean, Some(&[("t", &[0]), ("lost", &[0]), ("u", &[0])]));
    expect![[r#"
        t-0: 84 Leader election not needed for topic partition.
        lost-0: 83 Eligible topic partition leaders are not available.
        u-0: ok
    "#]]
    .assert_eq(&text);
    assert_eq!(cluster.partition("u", 0).leader, BrokerId(2));
}

#[test]
fn leaders_are_balanced_up_to_a_bound() {
    let mut cluster = Cluster::new(2);
    cluster.topic("t", &[&[1, 2], &[1, 2], &[1, 2]], &[]);
    cluster.fence(1);
    cluster.unfence(1);
    let topic_id = cluster.image.topics().by_name("t").unwrap().id();
    let back = |index| moldau_metadata::records::PartitionChange {
        partition_index: index,
        topic_id: topic_id.as_bytes().to_vec(),
        isr: Some([BrokerId(2), BrokerId(1)].as_slice().into()),
        ..Default::default()
    };
    cluster.commit((0..3).map(|index| back(index).into()).collect());
    let records = balance_leaders(&cluster.image, &cluster.settings, 2);
    assert_eq!(records.len(), 2);
    cluster.commit(records);
    assert_eq!(balance_leaders(&cluster.image, &cluster.settings, 2).len(), 1);
    assert_eq!(cluster.partition("t", 1).leader, BrokerId(1));
}
