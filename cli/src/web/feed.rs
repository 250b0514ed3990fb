//! What has changed in the cluster lately, in words: brokers that came and went, leaderships that moved, topics.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moldau_metadata::{MetadataImage, TopicImage};
use serde_json::{Value, json};

use super::Shared;
use super::stream::stopped;

/// Entries that are kept: a few screens.
const ENTRIES_MAX: usize = 100;
/// Of one kind in one change so many are named, and the others counted.
const NAMED_MAX: usize = 4;
/// Changes that come within this time are looked at together.
const TOGETHER: Duration = Duration::from_millis(200);

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    at_ms: u64,
    /// `broker`, `leader`, `isr` or `topic`.
    kind: &'static str,
    is_bad: bool,
    text: String,
}

/// The newest changes that this node has seen since its start.
#[derive(Default)]
pub(super) struct Feed {
    entries: parking_lot::Mutex<VecDeque<Entry>>,
}

impl Feed {
    fn add(&self, at_ms: u64, changes: Vec<(&'static str, bool, String)>) {
        let mut entries = self.entries.lock();
        for (kind, is_bad, text) in changes {
            if entries.len() == ENTRIES_MAX {
                entries.pop_back();
            }
            entries.push_front(Entry { at_ms, kind, is_bad, text });
        }
    }

    /// The changes, the newest first.
    pub(super) fn json(&self) -> Value {
        let entries = self.entries.lock();
        let entries = entries.iter().map(|entry| {
            json!({"at_ms": entry.at_ms, "kind": entry.kind, "is_bad": entry.is_bad, "text": entry.text})
        });
        Value::Array(entries.collect())
    }
}

/// Follows the metadata until the node stops.
pub(super) async fn run(web: Shared) {
    let mut stop = web.stop.clone();
    let mut applied = web.node.watch_applied();
    let mut before: Option<Arc<MetadataImage>> = None;
    loop {
        tokio::select! {
            changed = applied.changed() => if changed.is_err() { return },
            () = stopped(&mut stop) => return,
        }
        // What was there when this node started is no news.
        if !web.node.is_ready() {
            before = Some(web.node.image());
            continue;
        }
        tokio::time::sleep(TOGETHER).await;
        applied.mark_unchanged();
        let image = web.node.image();
        if let Some(before) = before {
            let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
            web.feed.add(at_ms, changes(&before, &image));
        }
        before = Some(image);
    }
}

/// What is different: kind, whether somebody should look, in words.
fn changes(before: &MetadataImage, after: &MetadataImage) -> Vec<(&'static str, bool, String)> {
    let mut changes = Vec::new();
    of_brokers(before, after, &mut changes);
    let mut topics = Topics::default();
    for topic in after.topics().iter() {
        match before.topics().by_id(topic.id()) {
            None => topics.created.push(topic.name().to_string()),
            Some(old) if Arc::ptr_eq(old, topic) => {}
            Some(old) => topics.compare(old, topic),
        }
    }
    let gone = before.topics().iter().filter(|topic| after.topics().by_id(topic.id()).is_none());
    topics.deleted.extend(gone.map(|topic| topic.name().to_string()));
    topics.tell(&mut changes);
    changes
}

fn of_brokers(
    before: &MetadataImage,
    after: &MetadataImage,
    changes: &mut Vec<(&'static str, bool, String)>,
) {
    for broker in after.brokers() {
        let id = broker.id;
        let old = before.broker(id);
        let was_alive = old.is_some_and(|old| !old.fenced);
        if was_alive && broker.fenced {
            changes.push(("broker", true, format!("Broker {id} is out of service")));
        } else if !was_alive && !broker.fenced {
            changes.push(("broker", false, format!("Broker {id} is in service")));
        } else if broker.in_controlled_shutdown && !old.is_some_and(|old| old.in_controlled_shutdown) {
            changes.push(("broker", false, format!("Broker {id} is shutting down")));
        }
    }
    for old in before.brokers().filter(|old| after.broker(old.id).is_none()) {
        changes.push(("broker", true, format!("Broker {} was unregistered", old.id)));
    }
}

#[derive(Default)]
struct Topics {
    created: Vec<String>,
    deleted: Vec<String>,
    /// By the new leader, -1 for none.
    led: BTreeMap<i32, Vec<String>>,
    /// By the broker that fell out of sync, or is back.
    left: BTreeMap<i32, Vec<String>>,
    joined: BTreeMap<i32, Vec<String>>,
}

impl Topics {
    fn compare(&mut self, old: &TopicImage, new: &TopicImage) {
        for (index, partition) in new.partitions() {
            let Some(was) = old.partition(index).filter(|was| !Arc::ptr_eq(was, partition)) else { continue };
            let name = format!("{}-{index}", new.name());
            if was.leader != partition.leader {
                self.led.entry(partition.leader.0).or_default().push(name.clone());
            }
            let (then, now): (BTreeSet<_>, BTreeSet<_>) =
                (was.isr.iter().collect(), partition.isr.iter().collect());
            for id in then.difference(&now) {
                self.left.entry(id.0).or_default().push(name.clone());
            }
            for id in now.difference(&then) {
                self.joined.entry(id.0).or_default().push(name.clone());
            }
        }
    }

    fn tell(self, changes: &mut Vec<(&'static str, bool, String)>) {
        for (leader, partitions) in self.led {
            let names = named(&partitions);
            changes.push(if leader < 0 {
                ("leader", true, format!("Nobody leads {names}"))
            } else {
                ("leader", false, format!("Broker {leader} leads {names}"))
            });
        }
        for (broker, partitions) in self.left {
            changes.push(("isr", true, format!("Broker {broker} is out of sync in {}", named(&partitions))));
        }
        for (broker, partitions) in self.joined {
            changes.push(("isr", false, format!("Broker {broker} is in sync in {}", named(&partitions))));
        }
        for (names, what) in [(self.created, "Created"), (self.deleted, "Deleted")] {
            if !names.is_empty() {
                changes.push(("topic", false, format!("{what} {}", named(&names))));
            }
        }
    }
}

/// The first few by name, and how many more there are.
fn named(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMED_MAX)].join(", ");
    if names.len() > NAMED_MAX { format!("{shown} and {} more", names.len() - NAMED_MAX) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_of_a_kind_are_counted_behind_the_first() {
        let names: Vec<String> = (0..6).map(|n| format!("t-{n}")).collect();
        assert_eq!(named(&names), "t-0, t-1, t-2, t-3 and 2 more");
        assert_eq!(named(&names[..1]), "t-0");
    }

    #[test]
    fn the_feed_keeps_the_newest() {
        let feed = Feed::default();
        for at_ms in 0..300 {
            feed.add(at_ms, vec![("topic", false, at_ms.to_string())]);
        }
        let entries = feed.entries.lock();
        assert_eq!((entries.len(), entries[0].at_ms), (ENTRIES_MAX, 299));
    }
}
