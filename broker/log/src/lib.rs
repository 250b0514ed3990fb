//! The partition log on disk, in Kafka's format.
