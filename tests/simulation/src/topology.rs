//! What every run has: three controllers, five brokers, four topics.

use moldau_metadata::MetadataImage;
use moldau_model::{PartitionIndex, TopicId, TopicPartition};

use crate::message::Part;

pub(crate) const CONTROLLERS: usize = 3;
pub(crate) const BROKERS: i32 = 5;
/// Controllers' node ids begin here, apart from the brokers'.
pub(crate) const CONTROLLER_ID_FIRST: i32 = 101;
pub(crate) const CLUSTER_ID: &str = "simulation";

/// Two partitions whose records must never be lost.
pub(crate) const DATA_TOPIC: &str = "data";
/// One partition that may elect uncleanly: what is acknowledged may be lost there, and nothing else may go wrong.
pub(crate) const LOOSE_TOPIC: &str = "loose";
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";
pub(crate) const TRANSACTIONS_TOPIC: &str = "__transaction_state";

pub(crate) const DATA_PARTS: [Part; 2] = [Part(0), Part(1)];
pub(crate) const LOOSE_PART: Part = Part(2);
pub(crate) const OFFSETS_PART: Part = Part(3);
pub(crate) const TRANSACTIONS_PART: Part = Part(4);
pub(crate) const PARTS: [Part; 5] = [Part(0), Part(1), Part(2), Part(3), Part(4)];

impl Part {
    pub(crate) fn topic(self) -> &'static str {
        match self.0 {
            0 | 1 => DATA_TOPIC,
            2 => LOOSE_TOPIC,
            3 => OFFSETS_TOPIC,
            _ => TRANSACTIONS_TOPIC,
        }
    }

    pub(crate) fn index(self) -> PartitionIndex {
        PartitionIndex(i32::from(self.0 == 1))
    }

    /// As transactions name it.
    pub(crate) fn topic_partition(self) -> TopicPartition {
        TopicPartition { topic: self.topic().into(), partition: self.index() }
    }

    pub(crate) fn of(partition: &TopicPartition) -> Option<Self> {
        PARTS
            .into_iter()
            .find(|part| part.topic() == &*partition.topic && part.index() == partition.partition)
    }

    /// Whether only members of ISR and ELR are elected.
    pub(crate) fn elects_cleanly(self) -> bool {
        self != LOOSE_PART
    }

    /// The partition in an image, with its topic's id.
    pub(crate) fn find(
        self,
        image: &MetadataImage,
    ) -> Option<(TopicId, &moldau_metadata::PartitionRegistration)> {
        let (topic, partition) = image.partition_by_name(self.topic(), self.index())?;
        Some((topic.id(), partition))
    }
}
