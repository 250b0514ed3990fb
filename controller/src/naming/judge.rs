//! What a controller without a cluster's id makes of what the other voters say.

use std::collections::{BTreeMap, BTreeSet};

use moldau_model::BrokerId;

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Me {
    pub(super) node_id: BrokerId,
    /// `controller.quorum.voters`: ids and addresses.
    pub(super) voters: BTreeMap<BrokerId, String>,
}

/// What another voter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// `None`: it has none either.
    pub(super) cluster_id: Option<String>,
    /// Whether its metadata log has an entry.
    pub(super) has_log: bool,
    pub(super) configured: BTreeMap<BrokerId, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Wait(Wait),
    /// This is the cluster.
    Adopt(String),
    /// It is a new one, which this node names.
    Draw,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Too few answered.
    Others,
    /// A majority has no data, and these, which are not there yet, may have some: machines that start together do not do so
    /// in the same moment.
    Late(Vec<BrokerId>),
    /// The one that names a new cluster has not done so.
    First(BrokerId),
    /// `controller.quorum.voters` differs.
    SameConfiguration,
    /// Fewer than a majority have data of this cluster. Where the majority lost its own, a new cluster must not come about
    /// beside what is left of the old one as if nothing had been.
    Majority(String, Vec<BrokerId>),
    /// There are voters of different clusters.
    OneCluster(BTreeMap<BrokerId, String>),
}

/// `is_patient`: those that may be on their way are waited for.
pub(super) fn judge(me: &Me, answers: &BTreeMap<BrokerId, Answer>, is_patient: bool) -> Verdict {
    let majority = me.voters.len() / 2 + 1;
    let named: BTreeMap<BrokerId, String> =
        answers.iter().filter_map(|(id, answer)| Some((*id, answer.cluster_id.clone()?))).collect();
    let clusters: BTreeSet<&String> = named.values().collect();
    let members = |cluster: &String| named.values().filter(|id| *id == cluster).count();
    if let Some(cluster) = clusters.iter().find(|cluster| members(cluster) >= majority) {
        return Verdict::Adopt((*cluster).clone());
    }
    let has_data = answers.values().any(|answer| answer.has_log);
    match clusters.first() {
        Some(_) if clusters.len() > 1 => return Verdict::Wait(Wait::OneCluster(named)),
        // Nobody has data, so that this is a new cluster, which has just been named or was given its id.
        Some(cluster) if !has_data => return Verdict::Adopt((*cluster).clone()),
        Some(cluster) => {
            let cluster = (*cluster).clone();
            return Verdict::Wait(Wait::Majority(cluster, named.into_keys().collect()));
        }
        None => {}
    }
    if answers.values().any(|answer| answer.configured != me.voters) {
        return Verdict::Wait(Wait::SameConfiguration);
    }
    if answers.len() + 1 < majority {
        return Verdict::Wait(Wait::Others);
    }
    let others = me.voters.keys().filter(|id| **id != me.node_id);
    let late: Vec<BrokerId> = others.filter(|id| !answers.contains_key(id)).copied().collect();
    match me.voters.keys().next() {
        _ if is_patient && !late.is_empty() => Verdict::Wait(Wait::Late(late)),
        Some(first) if *first != me.node_id => Verdict::Wait(Wait::First(*first)),
        _ => Verdict::Draw,
    }
}

impl Wait {
    pub(super) fn tell(&self, answered: &[i32]) {
        match self {
            Self::Others => {
                tracing::info!(?answered, "waiting for the other controllers to learn which cluster this is");
            }
            Self::Late(late) => {
                let late: Vec<i32> = late.iter().map(|id| id.0).collect();
                tracing::info!(
                    ?answered,
                    "nobody who answers has data: waiting a little for the controllers {late:?}, which may have some"
                );
            }
            Self::First(first) => {
                let first = first.0;
                tracing::info!(
                    ?answered,
                    "waiting for controller {first}, the first of controller.quorum.voters, to name the new cluster"
                );
            }
            Self::SameConfiguration => tracing::error!(
                ?answered,
                "controller.quorum.voters differs between the controllers; write the same everywhere"
            ),
            Self::Majority(cluster_id, members) => {
                let members: Vec<i32> = members.iter().map(|id| id.0).collect();
                tracing::warn!(
                    ?answered,
                    "this controller has no data, and of cluster {cluster_id} only the controllers {members:?} answer, which \
                     are no majority of controller.quorum.voters: waiting for the others of that cluster; bring back their \
                     log directories, or, for a new cluster, put those of the controllers {members:?} away"
                );
            }
            Self::OneCluster(found) => {
                let found: Vec<String> =
                    found.iter().map(|(id, cluster)| format!("{id}: {cluster}")).collect();
                tracing::error!(
                    "the controllers belong to different clusters ({}): put away the log directories of those that do not \
                     belong here",
                    found.join(", ")
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(count: i32) -> BTreeMap<BrokerId, String> {
        (1..=count).map(|id| (BrokerId(id), format!("c{id}:9093"))).collect()
    }

    /// Of answers as `2`, `2:A` (has the id A) and `2:A+` (and data).
    fn judged(node_id: i32, count: i32, answers: &str) -> Verdict {
        judged_by(node_id, count, answers, false)
    }

    fn judged_by(node_id: i32, count: i32, answers: &str, is_patient: bool) -> Verdict {
        let answer = |text: &str| {
            let (id, cluster) =
                text.split_once(':').map_or((text, None), |(id, cluster)| (id, Some(cluster)));
            let cluster_id = cluster.map(|cluster| cluster.trim_end_matches('+').to_owned());
            let has_log = text.ends_with('+');
            (BrokerId(id.parse().unwrap()), Answer { cluster_id, has_log, configured: voters(count) })
        };
        let me = Me { node_id: BrokerId(node_id), voters: voters(count) };
        judge(&me, &answers.split_whitespace().map(answer).collect(), is_patient)
    }

    #[test]
    fn the_first_voter_names_a_new_cluster_once_a_majority_has_none() {
        assert_eq!(judged(1, 3, ""), Verdict::Wait(Wait::Others));
        for answers in ["2", "3", "2 3"] {
            assert_eq!(judged(1, 3, answers), Verdict::Draw, "{answers}");
        }
        for answers in ["1", "3", "1 3"] {
            assert_eq!(judged(2, 3, answers), Verdict::Wait(Wait::First(BrokerId(1))), "{answers}");
        }
        assert_eq!(judged(1, 5, "2"), Verdict::Wait(Wait::Others));
        assert_eq!(judged(1, 2, "2"), Verdict::Draw);
    }

    #[test]
    fn who_may_be_on_its_way_with_data_is_waited_for() {
        let late = |ids: &[i32]| Verdict::Wait(Wait::Late(ids.iter().map(|id| BrokerId(*id)).collect()));
        assert_eq!(judged_by(1, 3, "2", true), late(&[3]));
        assert_eq!(judged_by(1, 5, "3 4", true), late(&[2, 5]));
        assert_eq!(judged_by(1, 3, "2 3", true), Verdict::Draw);
        assert_eq!(judged_by(3, 3, "1:A", true), Verdict::Adopt("A".to_owned()));
    }

    #[test]
    fn the_id_that_a_new_cluster_has_is_taken_from_anybody() {
        for (node_id, answers) in [(2, "1:A"), (2, "1:A 3"), (1, "3:A"), (3, "1:A+ 2:A"), (3, "1:A+ 2:A+")] {
            assert_eq!(judged(node_id, 3, answers), Verdict::Adopt("A".to_owned()), "{answers}");
        }
    }

    #[test]
    fn nothing_is_founded_beside_a_minority_with_data_nor_in_its_name() {
        for (node_id, answers) in [(1, "3:A+"), (1, "2 3:A+"), (2, "1 3:A+")] {
            let waits = Verdict::Wait(Wait::Majority("A".to_owned(), vec![BrokerId(3)]));
            assert_eq!(judged(node_id, 3, answers), waits, "{answers}");
        }
        // Two of five, and later the third of those that have it.
        let two = Verdict::Wait(Wait::Majority("A".to_owned(), vec![BrokerId(3), BrokerId(5)]));
        assert_eq!(judged(1, 5, "2 3:A+ 4 5:A+"), two);
        assert_eq!(judged(1, 5, "2 3:A+ 4:A+ 5:A+"), Verdict::Adopt("A".to_owned()));
    }

    #[test]
    fn of_two_clusters_the_majoritys_counts_and_else_none() {
        assert_eq!(judged(1, 5, "2:A+ 3:A+ 4:A+ 5:B+"), Verdict::Adopt("A".to_owned()));
        for answers in ["2:A+ 3:B+", "2:A 3:B+", "2:A 3:B"] {
            assert!(matches!(judged(1, 3, answers), Verdict::Wait(Wait::OneCluster(_))), "{answers}");
        }
    }

    #[test]
    fn different_configurations_name_nothing() {
        let me = Me { node_id: BrokerId(1), voters: voters(3) };
        let other = Answer { cluster_id: None, has_log: false, configured: voters(5) };
        let answers = BTreeMap::from([(BrokerId(2), other)]);
        assert_eq!(judge(&me, &answers, false), Verdict::Wait(Wait::SameConfiguration));
    }
}
