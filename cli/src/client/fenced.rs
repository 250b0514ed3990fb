//! Brokers that registered and are not in service: an answer to Metadata has the others alone.

use kafka_protocol::messages::DescribeClusterRequest;

use super::Client;

impl Client {
    /// In order. Servers before Apache Kafka 4.0 do not tell of them.
    pub(crate) fn fenced_brokers(&mut self) -> Vec<i32> {
        let request =
            DescribeClusterRequest::default().with_endpoint_type(1).with_include_fenced_brokers(true);
        let Ok(response) = self.call(&request) else { return Vec::new() };
        let fenced = response.brokers.iter().filter(|broker| broker.is_fenced);
        let mut fenced: Vec<i32> = fenced.map(|broker| broker.broker_id.0).collect();
        fenced.sort_unstable();
        fenced
    }
}
