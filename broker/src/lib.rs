//! The broker: Kafka's wire on one side, the log on the other.
