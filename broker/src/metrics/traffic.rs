//! What goes into topics and comes out of them, counted by topic: its partitions on this broker share the counters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

/// The topics of a broker that had a replica here since the start.
#[derive(Debug, Default)]
pub struct Traffic {
    topics: RwLock<Topics>,
    /// Of topics that are gone, so that no sum ever falls; and failures of topics that are not here.
    rest: TopicTraffic,
}

#[derive(Debug, Default)]
struct Topics {
    present: BTreeMap<Arc<str>, Arc<TopicTraffic>>,
    /// Of topics that are gone, while a request that has their partition may still count.
    leaving: Vec<Arc<TopicTraffic>>,
}

impl Topics {
    /// Moves the counts that nobody can add to any more to `rest`.
    fn settle(&mut self, rest: &TopicTraffic) {
        self.leaving.retain(|gone| {
            let is_in_use = Arc::strong_count(gone) > 1;
            if !is_in_use {
                for (rest, count) in rest.counters().into_iter().zip(gone.counts()) {
                    rest.fetch_add(count, Ordering::Relaxed);
                }
            }
            is_in_use
        });
    }
}

/// The counters of one topic.
#[derive(Debug, Default)]
pub struct TopicTraffic {
    pub messages_in: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub replication_bytes_in: AtomicU64,
    pub replication_bytes_out: AtomicU64,
    pub produce_requests: AtomicU64,
    pub fetch_requests: AtomicU64,
    pub failed_produce_requests: AtomicU64,
    pub failed_fetch_requests: AtomicU64,
}

/// How many counters a topic has.
pub(super) const COUNTERS: usize = 9;

impl TopicTraffic {
    fn counters(&self) -> [&AtomicU64; COUNTERS] {
        [
            &self.messages_in,
            &self.bytes_in,
            &self.bytes_out,
            &self.replication_bytes_in,
            &self.replication_bytes_out,
            &self.produce_requests,
            &self.fetch_requests,
            &self.failed_produce_requests,
            &self.failed_fetch_requests,
        ]
    }

    /// The counts, in the order of the fields.
    #[must_use]
    pub fn counts(&self) -> [u64; COUNTERS] {
        self.counters().map(|counter| counter.load(Ordering::Relaxed))
    }

    /// A client's batch was written.
    pub(crate) fn note_written(&self, messages: i64, bytes: usize) {
        self.messages_in.fetch_add(u64::try_from(messages).unwrap_or(0), Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
        self.produce_requests.fetch_add(1, Ordering::Relaxed);
    }

    /// A client was told of a partition, with so many bytes.
    pub(crate) fn note_read(&self, bytes: usize) {
        self.fetch_requests.fetch_add(1, Ordering::Relaxed);
        if bytes > 0 {
            self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

impl Traffic {
    /// The counters of a topic, made where there are none yet.
    pub(crate) fn of(&self, topic: &Arc<str>) -> Arc<TopicTraffic> {
        if let Some(of_topic) = self.topics.read().present.get(topic) {
            return Arc::clone(of_topic);
        }
        Arc::clone(self.topics.write().present.entry(Arc::clone(topic)).or_default())
    }

    /// A topic is gone: what was counted stays in the sums.
    pub(crate) fn forget(&self, topic: &str) {
        // Under one lock: who looks at the sums meanwhile finds the counts before or after, and never nowhere.
        let mut topics = self.topics.write();
        let gone = topics.present.remove(topic);
        topics.leaving.extend(gone);
        topics.settle(&self.rest);
    }

    /// A client's request for a partition of the topic was refused.
    pub(crate) fn note_failed(&self, topic: &str, counter: impl Fn(&TopicTraffic) -> &AtomicU64) {
        match self.topics.read().present.get(topic) {
            Some(of_topic) => counter(of_topic).fetch_add(1, Ordering::Relaxed),
            None => counter(&self.rest).fetch_add(1, Ordering::Relaxed),
        };
    }

    /// What clients have written and read, in bytes.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        let (_, [_, bytes_in, bytes_out, ..]) = self.snapshot();
        (bytes_in, bytes_out)
    }

    /// All topics by name with their counts, and the sums over these and those that are gone.
    #[must_use]
    pub fn snapshot(&self) -> (Vec<(Arc<str>, [u64; COUNTERS])>, [u64; COUNTERS]) {
        let topics = self.topics.read();
        let present: Vec<_> =
            topics.present.iter().map(|(name, of_topic)| (Arc::clone(name), of_topic.counts())).collect();
        let mut sums = self.rest.counts();
        let leaving = topics.leaving.iter().map(|gone| gone.counts());
        for counts in present.iter().map(|(_, counts)| *counts).chain(leaving) {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        (present, sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_goes_leaves_its_counts_in_the_sums() {
        let traffic = Traffic::default();
        let (a, b) = (Arc::from("a"), Arc::from("b"));
        traffic.of(&a).note_written(3, 100);
        traffic.of(&a).note_written(1, 10);
        traffic.of(&b).note_read(7);
        traffic.note_failed("b", |of| &of.failed_fetch_requests);
        traffic.note_failed("never seen", |of| &of.failed_produce_requests);
        let (topics, before) = traffic.snapshot();
        assert_eq!(topics.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(before, [4, 110, 7, 0, 0, 2, 1, 1, 1]);
        traffic.forget("a");
        let (topics, after) = traffic.snapshot();
        assert_eq!((topics.len(), after), (1, before));
    }
    #[test]
    fn what_is_still_written_to_a_topic_that_is_gone_is_counted() {
        let traffic = Traffic::default();
        let topic = Arc::from("a");
        let held = traffic.of(&topic);
        held.note_written(1, 10);
        traffic.forget("a");
        held.note_written(1, 10);
        assert_eq!(traffic.snapshot().1[..2], [2, 20]);
        // One of the same name begins at nothing, and the sums go on.
        traffic.of(&topic).note_written(1, 10);
        drop(held);
        assert_eq!(traffic.snapshot().0[0].1[..2], [1, 10]);
        traffic.forget("a");
        let (topics, sums) = traffic.snapshot();
        assert_eq!((topics.len(), &sums[..2]), (0, &[3, 30][..]));
        assert!(traffic.topics.read().leaving.is_empty());
    }

    #[test]
    fn no_sum_falls_while_topics_go() {
        let traffic = Arc::new(Traffic::default());
        let names: Vec<Arc<str>> = (0..20_000).map(|n| Arc::from(n.to_string())).collect();
        for name in &names {
            traffic.of(name).note_written(1, 1);
        }
        let going = std::thread::spawn({
            let traffic = Arc::clone(&traffic);
            move || names.iter().for_each(|name| traffic.forget(name))
        });
        while !going.is_finished() {
            assert_eq!(traffic.snapshot().1[0], 20_000);
        }
        going.join().unwrap();
    }
}
