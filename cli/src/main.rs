//! One binary: the server, its tools, and Kafka's tools by name.
fn main() {}
