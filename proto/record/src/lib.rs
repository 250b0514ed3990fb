//! Kafka's record batch, version 2: view, check, build, compress.
