//! Topics and partitions: what is here, and what this broker tells for the cluster.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use moldau_metadata::{MetadataImage, PartitionRegistration};
use moldau_model::{BrokerId, TopicIdPartition};

use super::exposition::{Exposition, Labels};
use crate::broker::Broker;
use crate::metrics::definitions::{Family, Metric};
use crate::replica_manager::PartitionFigures;

/// Series of one topic's traffic, of one replica's log, of one partition in the words of either family.
const TRAFFIC_SERIES: usize = 7;
const LOG_SERIES: usize = 3;
const PARTITION_SERIES: usize = 5;
const EXPORTER_SERIES: usize = 7;

/// How far followers are behind this broker, over all that it leads.
#[derive(Clone, Copy, Debug, Default)]
struct Lag {
    records: u64,
    bytes: u64,
    ms: i64,
}

/// What is counted over all replicas here.
#[derive(Debug, Default)]
struct Sums {
    led: usize,
    under_replicated: usize,
    under_min_isr: usize,
    at_min_isr: usize,
    offline: usize,
    lags: BTreeMap<BrokerId, Lag>,
}

pub(super) fn put(out: &mut Exposition, broker: &Broker, image: &MetadataImage, is_teller: bool) {
    put_traffic(out, broker);
    let mut figures: HashMap<TopicIdPartition, PartitionFigures> = HashMap::new();
    for partition in broker.replica_manager.partitions() {
        if let Some(found) = partition.figures() {
            figures.insert(partition.id(), found);
        }
    }
    let held = figures.len();
    let mut sums = Sums::default();
    for topic in image.topics().iter() {
        let of_topic = Labels::of("topic", topic.name());
        if is_teller && out.tells(Family::Exporter) && out.has_room(1) {
            out.put_for(Metric::TopicPartitions, &of_topic, topic.partition_count());
        }
        for (index, state) in topic.partitions() {
            let labels = of_topic.and("partition", index);
            let id = TopicIdPartition { topic_id: topic.id(), partition: index };
            sums.offline += usize::from(!state.has_leader());
            let found = figures.get(&id);
            if let Some(found) = found {
                put_log(out, &labels, found);
            }
            match found.filter(|found| found.is_leader) {
                Some(found) => {
                    sums.count(found, state);
                    put_led(out, &labels, found, state);
                    put_exported(out, &labels, Some(found), state);
                }
                None if !state.has_leader() && is_teller => put_exported(out, &labels, None, state),
                None => {}
            }
        }
    }
    out.put(Metric::PartitionCount, held);
    put_sums(out, &sums);
    if is_teller && out.tells(Family::Exporter) {
        put_brokers(out, broker, image);
    }
}

fn put_sums(out: &mut Exposition, sums: &Sums) {
    out.put(Metric::LeaderCount, sums.led);
    out.put(Metric::UnderReplicatedPartitions, sums.under_replicated);
    out.put(Metric::UnderMinIsrPartitionCount, sums.under_min_isr);
    out.put(Metric::AtMinIsrPartitionCount, sums.at_min_isr);
    out.put(Metric::MetadataOfflinePartitions, sums.offline);
    for (follower, lag) in &sums.lags {
        let labels = Labels::of("follower", follower);
        out.put_for(Metric::ReplicationLagRecords, &labels, lag.records);
        out.put_for(Metric::ReplicationLagBytes, &labels, lag.bytes);
        out.put_for(Metric::ReplicationLagSeconds, &labels, lag.ms as f64 / 1e3);
    }
}

impl Sums {
    /// A partition that is led here.
    fn count(&mut self, found: &PartitionFigures, state: &PartitionRegistration) {
        let (in_sync, min_isr) = (state.isr.len(), min_isr(found, state));
        self.led += 1;
        self.under_replicated += usize::from(in_sync < state.replicas.len());
        self.under_min_isr += usize::from(in_sync < min_isr);
        self.at_min_isr += usize::from(in_sync == min_isr);
        for of_follower in &found.lags {
            let lag = self.lags.entry(of_follower.follower).or_default();
            lag.records = lag.records.saturating_add(of_follower.records);
            lag.bytes = lag.bytes.saturating_add(of_follower.bytes);
            lag.ms = lag.ms.max(of_follower.ms);
        }
    }
}

/// A partition with fewer replicas than min.insync.replicas needs no more than it has.
fn min_isr(found: &PartitionFigures, state: &PartitionRegistration) -> usize {
    found.min_isr.min(state.replicas.len())
}

fn put_traffic(out: &mut Exposition, broker: &Broker) {
    const BY_TOPIC: [(Metric, usize); TRAFFIC_SERIES] = [
        (Metric::MessagesIn, 0),
        (Metric::BytesIn, 1),
        (Metric::BytesOut, 2),
        (Metric::TotalProduceRequests, 5),
        (Metric::TotalFetchRequests, 6),
        (Metric::FailedProduceRequests, 7),
        (Metric::FailedFetchRequests, 8),
    ];
    const SUMS_ALONE: [(Metric, usize); 2] =
        [(Metric::ReplicationBytesIn, 3), (Metric::ReplicationBytesOut, 4)];
    let (topics, sums) = broker.metrics.traffic.snapshot();
    for (metric, index) in BY_TOPIC.into_iter().chain(SUMS_ALONE) {
        out.put(metric, sums.get(index).copied().unwrap_or(0));
    }
    if !out.tells(Family::Jmx) {
        return;
    }
    for (topic, counts) in topics {
        if out.has_room(TRAFFIC_SERIES) {
            let labels = Labels::of("topic", Arc::clone(&topic));
            for (metric, index) in BY_TOPIC {
                out.put_for(metric, &labels, counts.get(index).copied().unwrap_or(0));
            }
        }
    }
}

fn put_log(out: &mut Exposition, labels: &Labels, found: &PartitionFigures) {
    if out.tells(Family::Jmx) && out.has_room(LOG_SERIES) {
        out.put_for(Metric::LogSize, labels, found.size_bytes);
        out.put_for(Metric::LogStartOffset, labels, found.log_start);
        out.put_for(Metric::LogEndOffset, labels, found.log_end);
    }
}

fn put_led(out: &mut Exposition, labels: &Labels, found: &PartitionFigures, state: &PartitionRegistration) {
    if out.tells(Family::Jmx) && out.has_room(PARTITION_SERIES) {
        let (in_sync, min_isr) = (state.isr.len(), min_isr(found, state));
        out.put_for(Metric::PartitionReplicasCount, labels, state.replicas.len());
        out.put_for(Metric::PartitionInSyncReplicasCount, labels, in_sync);
        out.put_for(Metric::PartitionUnderReplicated, labels, u8::from(in_sync < state.replicas.len()));
        out.put_for(Metric::PartitionUnderMinIsr, labels, u8::from(in_sync < min_isr));
        out.put_for(Metric::PartitionAtMinIsr, labels, u8::from(in_sync == min_isr));
    }
}

/// A partition in `kafka_exporter`'s words; without figures it has no leader, and its offsets are not known.
fn put_exported(
    out: &mut Exposition,
    labels: &Labels,
    found: Option<&PartitionFigures>,
    state: &PartitionRegistration,
) {
    if !out.tells(Family::Exporter) || !out.has_room(EXPORTER_SERIES) {
        return;
    }
    if let Some(found) = found {
        out.put_for(Metric::TopicCurrentOffset, labels, found.high_watermark);
        out.put_for(Metric::TopicOldestOffset, labels, found.log_start);
    }
    let (in_sync, replicas) = (state.isr.len(), state.replicas.len());
    out.put_for(Metric::TopicInSyncReplica, labels, in_sync);
    out.put_for(Metric::TopicReplicas, labels, replicas);
    out.put_for(Metric::TopicLeader, labels, state.leader);
    out.put_for(Metric::TopicLeaderIsPreferred, labels, u8::from(state.leader == state.preferred_replica()));
    out.put_for(Metric::TopicUnderReplicated, labels, u8::from(in_sync < replicas));
}

fn put_brokers(out: &mut Exposition, broker: &Broker, image: &MetadataImage) {
    out.put(Metric::Brokers, image.alive_brokers().count());
    for alive in image.alive_brokers() {
        if let Some(listener) = alive.listener(&broker.options.config.inter_broker_listener_name) {
            let address = format!("{}:{}", listener.host, listener.port);
            let labels = Labels::of("id", alive.id).and("address", address);
            out.put_for(Metric::BrokerInfo, &labels, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use moldau_metadata::{MetadataBatch, MetadataImage, MetadataRecord, records};
    use moldau_model::{LeaderEpoch, Offset, Uuid};

    use super::*;
    use crate::replica_manager::FollowerLag;

    /// One partition: replicas, ISR and leader.
    fn partition(replicas: &[i32], isr: &[i32], leader: i32) -> Arc<PartitionRegistration> {
        let topic_id = Uuid::from_bytes([10; 16]).as_bytes().to_vec();
        let all: Vec<MetadataRecord> = vec![
            records::Topic { name: "t".to_owned(), topic_id: topic_id.clone() }.into(),
            records::Partition {
                topic_id,
                replicas: replicas.to_vec(),
                isr: isr.to_vec(),
                leader,
                directories: vec![vec![0; 16]; replicas.len()],
                ..records::Partition::default()
            }
            .into(),
        ];
        let image = MetadataImage::empty();
        let image = image.replay_image(&MetadataBatch::from(all), Offset(1), LeaderEpoch(1)).unwrap();
        Arc::clone(image.partition_by_name("t", moldau_model::PartitionIndex(0)).unwrap().1)
    }

    fn figures(lags: &[(i32, u64, i64)]) -> PartitionFigures {
        let lags = lags.iter();
        PartitionFigures {
            log_start: Offset(2),
            log_end: Offset(12),
            high_watermark: Offset(10),
            size_bytes: 1000,
            is_leader: true,
            min_isr: 2,
            lags: lags
                .map(|(id, records, ms)| FollowerLag {
                    follower: BrokerId(*id),
                    records: *records,
                    bytes: records * 100,
                    ms: *ms,
                })
                .collect(),
        }
    }

    #[test]
    fn what_is_wrong_is_counted_where_it_is_led() {
        let mut sums = Sums::default();
        for (replicas, isr) in [
            (&[1, 2, 3][..], &[1, 2, 3][..]),
            (&[1, 2, 3], &[1, 2]),
            (&[1, 2, 3], &[1]),
            // One replica alone is all that it needs.
            (&[1], &[1]),
        ] {
            sums.count(&figures(&[]), &partition(replicas, isr, 1));
        }
        assert_eq!((sums.led, sums.under_replicated, sums.under_min_isr, sums.at_min_isr), (4, 2, 1, 2));
    }

    #[test]
    fn a_lag_is_summed_over_partitions_and_its_time_is_the_worst() {
        let mut sums = Sums::default();
        let state = partition(&[1, 2, 3], &[1, 2, 3], 1);
        sums.count(&figures(&[(2, 3, 50), (3, 0, 0)]), &state);
        sums.count(&figures(&[(2, 1, 20)]), &state);
        let lag = sums.lags[&BrokerId(2)];
        assert_eq!((lag.records, lag.bytes, lag.ms), (4, 400, 50));
        assert_eq!(sums.lags[&BrokerId(3)].records, 0);
    }

    #[test]
    fn a_partition_without_a_leader_is_told_of_without_its_offsets() {
        let mut out = Exposition::new(&Family::ALL, 100);
        let labels = Labels::of("topic", "t").and("partition", 0);
        put_exported(&mut out, &labels, None, &partition(&[1, 2], &[2], -1));
        let text = out.finish();
        assert!(text.contains("kafka_topic_partition_leader{topic=\"t\",partition=\"0\"} -1\n"), "{text}");
        assert!(
            text.contains(
                "kafka_topic_partition_under_replicated_partition{topic=\"t\",partition=\"0\"} 1\n"
            )
        );
        assert!(!text.contains("_offset"), "{text}");
    }
}
