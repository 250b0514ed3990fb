//! The topics that streams applications need for themselves: repartition and changelog topics. A member's heartbeat finds out
//! which are missing; they are created behind its answer, and what went wrong the next answers tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use moldau_group::StreamsTopicInfo;
use parking_lot::Mutex;

use super::auto_create::{self, Requester};
use super::message::{text, topic_name};
use crate::control::ControlPlane;

/// Topics that are being created, or could not be, at one time; others wait for their next heartbeat. Above what a cluster's
/// applications need when all start at once.
const TOPICS_MAX: usize = 10_000;
/// Refusals that an answer names.
const NAMED_REFUSALS_MAX: usize = 3;

/// What is known of topics that were asked for, by who asked: what one principal may not create another one may, and is not
/// to be told of the refusal.
#[derive(Debug, Default)]
pub struct StreamsTopics {
    by_asker: Mutex<BTreeMap<(String, String), Creation>>,
}

#[derive(Debug)]
enum Creation {
    UnderWay,
    /// It is not tried again before that time.
    Refused {
        why: String,
        until: Instant,
    },
}

impl StreamsTopics {
    /// Starts to create those topics that nobody creates already and that were not refused a moment ago. Gives what is known to
    /// have gone wrong with any of them, in Kafka's words.
    pub(crate) fn ask_for(
        self: &Arc<Self>,
        control: &Arc<ControlPlane>,
        topics: Vec<StreamsTopicInfo>,
        requester: Requester,
        patience: Duration,
    ) -> Option<String> {
        let now = Instant::now();
        let asker = requester.asker();
        let problem = self.problem(&asker, &topics, now);
        let topics = self.begin(&asker, topics, now);
        if !topics.is_empty() {
            let (streams_topics, control) = (Arc::clone(self), Arc::clone(control));
            tokio::spawn(async move {
                let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
                let topics = topics.into_iter().map(creatable).collect();
                let outcome = auto_create::create(&control, topics, &requester).await;
                streams_topics.finish(&asker, &names, outcome, Instant::now() + patience);
            });
        }
        problem
    }

    fn problem(&self, asker: &str, topics: &[StreamsTopicInfo], now: Instant) -> Option<String> {
        let by_asker = self.by_asker.lock();
        let refused: Vec<String> = topics
            .iter()
            .filter_map(|topic| match by_asker.get(&(asker.to_owned(), topic.name.clone())) {
                Some(Creation::Refused { why, until }) if *until > now => {
                    Some(format!("{} ({why})", topic.name))
                }
                _ => None,
            })
            .collect();
        let named = refused.iter().take(NAMED_REFUSALS_MAX).cloned().collect::<Vec<_>>().join(", ");
        match refused.len() {
            0 => None,
            1..=NAMED_REFUSALS_MAX => Some(named),
            count => Some(format!("{named} and {} more", count - NAMED_REFUSALS_MAX)),
        }
    }

    /// Takes the topics that are to be created now.
    fn begin(&self, asker: &str, topics: Vec<StreamsTopicInfo>, now: Instant) -> Vec<StreamsTopicInfo> {
        let mut by_asker = self.by_asker.lock();
        by_asker.retain(|_, creation| match creation {
            Creation::UnderWay => true,
            Creation::Refused { until, .. } => *until > now,
        });
        let mut begun = Vec::new();
        for topic in topics {
            let key = (asker.to_owned(), topic.name.clone());
            if by_asker.len() < TOPICS_MAX && !by_asker.contains_key(&key) {
                by_asker.insert(key, Creation::UnderWay);
                begun.push(topic);
            }
        }
        begun
    }

    fn finish(
        &self,
        asker: &str,
        names: &[String],
        outcome: Result<Vec<(String, String)>, String>,
        until: Instant,
    ) {
        let mut by_asker = self.by_asker.lock();
        for name in names {
            by_asker.remove(&(asker.to_owned(), name.clone()));
        }
        let refusals = outcome.unwrap_or_else(|problem| {
            tracing::warn!(problem, ?names, "topics of a streams application cannot be created");
            names.iter().map(|name| (name.clone(), problem.clone())).collect()
        });
        for (name, why) in refusals {
            by_asker.insert((asker.to_owned(), name), Creation::Refused { why, until });
        }
    }
}

fn creatable(topic: StreamsTopicInfo) -> CreatableTopic {
    /// The cluster's default.
    const DEFAULT: i16 = -1;
    let configs = topic.configs.into_iter().map(|(name, value)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    });
    CreatableTopic::default()
        .with_name(topic_name(topic.name))
        .with_num_partitions(topic.partitions)
        .with_replication_factor(if topic.replication_factor == 0 {
            DEFAULT
        } else {
            topic.replication_factor
        })
        .with_configs(configs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(names: &[&str]) -> Vec<StreamsTopicInfo> {
        let topic =
            |name: &&str| StreamsTopicInfo { name: (*name).to_owned(), ..StreamsTopicInfo::default() };
        names.iter().map(topic).collect()
    }

    fn names(topics: Vec<StreamsTopicInfo>) -> Vec<String> {
        topics.into_iter().map(|topic| topic.name).collect()
    }

    const ALICE: &str = "User:alice from 10.0.0.1";

    #[test]
    fn what_one_principal_was_refused_another_one_may_try_and_does_not_hear_of() {
        let streams_topics = StreamsTopics::default();
        let (now, bob) = (Instant::now(), "User:bob from 10.0.0.1");
        streams_topics.begin(ALICE, topics(&["a"]), now);
        let refused = Ok(vec![("a".to_owned(), "no".to_owned())]);
        streams_topics.finish(ALICE, &["a".to_owned()], refused, now + Duration::from_secs(10));
        assert_eq!(streams_topics.problem(bob, &topics(&["a"]), now), None);
        assert_eq!(names(streams_topics.begin(bob, topics(&["a"]), now)), ["a"]);
        assert_eq!(names(streams_topics.begin(ALICE, topics(&["a"]), now)), Vec::<String>::new());
        assert_eq!(streams_topics.problem(ALICE, &topics(&["a"]), now).as_deref(), Some("a (no)"));
    }

    #[test]
    fn a_topic_is_created_once_at_a_time_and_a_refusal_is_told_until_it_is_tried_again() {
        let streams_topics = StreamsTopics::default();
        let now = Instant::now();
        let all = ["a", "b", "c", "d", "e"];
        assert_eq!(names(streams_topics.begin(ALICE, topics(&all), now)), all);
        assert_eq!(names(streams_topics.begin(ALICE, topics(&["a", "f"]), now)), ["f"]);
        assert_eq!(streams_topics.problem(ALICE, &topics(&all), now), None);
        let until = now + Duration::from_secs(10);
        let refusals = ["a", "b", "c", "d"].map(|name| (name.to_owned(), "no".to_owned()));
        streams_topics.finish(ALICE, &all.map(str::to_owned), Ok(refusals.to_vec()), until);
        assert_eq!(
            streams_topics.problem(ALICE, &topics(&all), now).as_deref(),
            Some("a (no), b (no), c (no) and 1 more")
        );
        assert_eq!(streams_topics.problem(ALICE, &topics(&["d", "e"]), now).as_deref(), Some("d (no)"));
        assert_eq!(names(streams_topics.begin(ALICE, topics(&["a", "e"]), now)), ["e"]);
        assert_eq!(names(streams_topics.begin(ALICE, topics(&["a"]), until)), ["a"]);
    }

    #[test]
    fn an_outcome_that_is_not_known_is_told_of_every_topic() {
        let streams_topics = StreamsTopics::default();
        let now = Instant::now();
        streams_topics.begin(ALICE, topics(&["a", "b"]), now);
        let outcome = Err("no answer".to_owned());
        streams_topics.finish(ALICE, &["a", "b"].map(str::to_owned), outcome, now + Duration::from_secs(1));
        assert_eq!(
            streams_topics.problem(ALICE, &topics(&["a", "b"]), now).as_deref(),
            Some("a (no answer), b (no answer)")
        );
    }
}
