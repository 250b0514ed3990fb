//! A cluster for tests: an image that changes by committed records alone, as a controller's does.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use moldau_cluster::{BrokerListener, FeatureRange, Heartbeat, RegisterBroker};
use moldau_metadata::{MetadataBatch, MetadataImage, MetadataRecord, PartitionRegistration, records};
use moldau_model::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionIndex, Uuid};

use super::*;

pub(super) const ELR: &str = "eligible.leader.replicas.version";

pub(super) struct Cluster {
    pub(super) image: MetadataImage,
    pub(super) settings: Settings,
    random: Random,
    incarnations: u8,
}

/// The directory that a broker has.
pub(super) fn directory(id: i32) -> Uuid {
    Uuid::from_bytes([200 + id as u8; 16])
}

pub(super) fn ids(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

impl Cluster {
    /// Unfenced brokers 1 to `brokers`, each with one log directory.
    pub(super) fn new(brokers: i32) -> Self {
        Self::with(brokers, &[], &[])
    }

    pub(super) fn with(brokers: i32, features: &[(&str, i16)], statics: &[(&str, &str)]) -> Self {
        let statics =
            statics.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect::<BTreeMap<_, _>>();
        let mut cluster = Self {
            image: MetadataImage::empty(),
            settings: Settings::new(BrokerId(1), statics),
            random: Random::from_number(3),
            incarnations: 0,
        };
        cluster.commit(bootstrap_records("test", features));
        for id in 1..=brokers {
            cluster.register(id, false);
            cluster.unfence(id);
        }
        cluster
    }

    pub(super) fn commit(&mut self, records: Vec<MetadataRecord>) {
        if !records.is_empty() {
            let offset = self.next_offset();
            let batch = MetadataBatch::from(records);
            self.image = self.image.replay_image(&batch, offset, LeaderEpoch(1)).unwrap();
        }
    }

    pub(super) fn next_offset(&self) -> Offset {
        self.image.position().offset.plus(1)
    }

    /// Decides with this cluster's inputs, commits, and gives the response.
    pub(super) fn decide<R>(
        &mut self,
        decide: impl FnOnce(&MetadataImage, &mut Inputs<'_>) -> Result<Decision<R>, ApiError>,
    ) -> Result<R, ApiError> {
        let next_offset = self.next_offset();
        let mutation_quota = MutationQuota::default();
        let mut inputs =
            Inputs { next_offset, random: &mut self.random, settings: &self.settings, mutation_quota };
        let decision = decide(&self.image, &mut inputs)?;
        self.commit(decision.records);
        Ok(decision.response)
    }

    pub(super) fn registration(&mut self, id: i32, is_clean: bool) -> RegisterBroker {
        self.incarnations += 1;
        let earlier = self.image.broker(BrokerId(id)).map(|broker| broker.epoch);
        let features = self.image.features().iter();
        RegisterBroker {
            broker_id: BrokerId(id),
            cluster_id: "test".into(),
            incarnation_id: Uuid::from_bytes([self.incarnations; 16]),
            listeners: vec![BrokerListener {
                name: "PLAINTEXT".into(),
                host: "localhost".into(),
                port: 9092,
                security_protocol: 0,
            }],
            features: features
                .map(|(name, level)| FeatureRange { name: name.to_string(), min: 0, max: *level })
                .collect(),
            rack: None,
            log_dirs: vec![directory(id)],
            previous_broker_epoch: earlier.filter(|_| is_clean).unwrap_or(BrokerEpoch(-1)),
            waited_ms: 0,
        }
    }

    pub(super) fn register(&mut self, id: i32, is_clean: bool) {
        let request = self.registration(id, is_clean);
        self.decide(|image, inputs| register_broker(image, &request, SessionState::NotLive, inputs)).unwrap();
    }

    /// Starts a broker again with these log directories, and lets it in.
    pub(super) fn register_with(&mut self, id: i32, log_dirs: Vec<Uuid>) {
        let request = RegisterBroker { log_dirs, ..self.registration(id, false) };
        self.decide(|image, inputs| register_broker(image, &request, SessionState::NotLive, inputs)).unwrap();
        self.unfence(id);
    }

    pub(super) fn fence(&mut self, id: i32) {
        self.commit(fence_broker(&self.image, &self.settings, BrokerId(id)));
    }

    pub(super) fn unfence(&mut self, id: i32) {
        self.commit(unfence_broker(&self.image, &self.settings, BrokerId(id)));
    }

    pub(super) fn shut_down(&mut self, id: i32) {
        self.commit(start_controlled_shutdown(&self.image, &self.settings, BrokerId(id)));
    }

    /// Creates a topic with these replicas, a partition each, and these configs.
    pub(super) fn topic(&mut self, name: &str, partitions: &[&[i32]], configs: &[(&str, &str)]) {
        let topic = NewTopic {
            name: name.into(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: partitions
                .iter()
                .zip(0..)
                .map(|(replicas, index)| ManualAssignment {
                    partition: PartitionIndex(index),
                    replicas: ids(replicas),
                })
                .collect(),
            configs: configs.iter().map(|(key, value)| ((*key).into(), Some((*value).into()))).collect(),
        };
        let request = CreateTopicsRequest { topics: vec![topic], validate_only: false };
        let results = self.decide(|image, inputs| create_topics(image, &request, inputs)).unwrap();
        results[0].1.as_ref().unwrap();
    }

    pub(super) fn partition(&self, topic: &str, index: i32) -> &PartitionRegistration {
        self.image.partition_by_name(topic, PartitionIndex(index)).unwrap().1
    }

    /// Partition 0 of topic `t` on one line.
    pub(super) fn show(&self) -> String {
        show(self.partition("t", 0))
    }

    pub(super) fn epoch(&self, id: i32) -> BrokerEpoch {
        self.image.broker(BrokerId(id)).unwrap().epoch
    }

    pub(super) fn heartbeat(&self, id: i32) -> Heartbeat {
        Heartbeat {
            broker_id: BrokerId(id),
            broker_epoch: self.epoch(id),
            metadata_offset: self.image.position().offset,
            want_fence: false,
            want_shutdown: false,
            offline_log_dirs: Vec::new(),
            full_log_dirs: Vec::new(),
            cordoned_log_dirs: Vec::new(),
            replica_directories: Vec::new(),
        }
    }

    /// Whether the controller takes the replica into the ISR.
    pub(super) fn may_join(&self, topic: &str, partition: i32, id: i32) -> bool {
        let state = self.partition(topic, partition);
        let member =
            |id: &BrokerId| moldau_cluster::IsrMember { broker_id: *id, broker_epoch: BrokerEpoch(-1) };
        let proposal = moldau_cluster::AlterPartitionRequest {
            topic_id: self.image.topics().by_name(topic).unwrap().id(),
            partition: PartitionIndex(partition),
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            new_isr: state.isr.iter().chain(&[BrokerId(id)]).map(member).collect(),
            leader_recovery_state: moldau_cluster::LeaderRecoveryState::Recovered,
        };
        let request = moldau_cluster::AlterPartition {
            broker_id: state.leader,
            broker_epoch: self.epoch(state.leader.0),
            partitions: vec![proposal],
        };
        super::alter_partition(&self.image, &self.settings, &request).unwrap().response.partitions[0].is_ok()
    }

    /// Sets a partition's ISR as its leader would, without asking whether it may.
    pub(super) fn set_isr(&mut self, topic: &str, isr: &[i32]) {
        let topic_id = self.image.topics().by_name(topic).unwrap().id();
        let change = records::PartitionChange {
            topic_id: topic_id.as_bytes().to_vec(),
            isr: Some(ids(isr).as_slice().into()),
            ..records::PartitionChange::default()
        };
        self.commit(vec![change.into()]);
    }
}

pub(super) fn show(partition: &PartitionRegistration) -> String {
    let list = |ids: &[BrokerId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut out = format!(
        "leader {} isr [{}] elr [{}] leader epoch {} partition epoch {}",
        partition.leader,
        list(&partition.isr),
        list(&partition.elr),
        partition.leader_epoch,
        partition.partition_epoch
    );
    if partition.leader_recovery_state != moldau_metadata::LeaderRecoveryState::Recovered {
        write!(out, " recovering").unwrap();
    }
    out
}

/// `name: code text`, or `name: ok`, one result a line.
pub(super) fn lines<R>(results: impl IntoIterator<Item = (String, Result<R, ApiError>)>) -> String {
    let line = |(name, result): (String, Result<R, ApiError>)| match result {
        Ok(_) => format!("{name}: ok\n"),
        Err(error) => refusal(&name, &error),
    };
    results.into_iter().map(line).collect()
}

pub(super) fn refusal(name: &str, error: &ApiError) -> String {
    format!("{name}: {} {}\n", error.code.code(), error.message.as_deref().unwrap_or("-"))
}
