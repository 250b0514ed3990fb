//! Kafka's wire: frames, headers, versions, safe decoding.
