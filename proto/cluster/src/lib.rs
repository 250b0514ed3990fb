//! What brokers and controllers say to one another.
