//! An image as records, and back: what a snapshot holds.

use moldau_model::{LeaderEpoch, Offset};

use crate::{MetadataBatch, MetadataImage, MetadataPosition, MetadataRecord, ReplayError, records};

impl MetadataImage {
    /// The fewest records that replay into this image, always in the same order.
    #[must_use]
    pub fn to_snapshot_records(&self) -> Vec<MetadataRecord> {
        let mut out: Vec<MetadataRecord> = Vec::new();
        if let Some(cluster_id) = self.cluster_id() {
            out.push(records::Cluster { cluster_id: cluster_id.to_string() }.into());
        }
        for (name, level) in self.features() {
            out.push(records::FeatureLevel { name: name.to_string(), level: i32::from(*level) }.into());
        }
        out.extend(self.brokers().map(|broker| MetadataRecord::from(broker.to_record())));
        for topic in self.topics().iter() {
            let topic_id = topic.id().as_bytes().to_vec();
            out.push(records::Topic { name: topic.name().to_string(), topic_id }.into());
            out.extend(
                topic.partitions().map(|(index, p)| MetadataRecord::from(p.to_record(topic.id(), index))),
            );
        }
        for (resource, configs) in self.configs().iter() {
            out.extend(configs.iter().map(|(key, value)| {
                MetadataRecord::from(records::Config {
                    resource_type: i32::from(resource.resource_type.code()),
                    resource_name: resource.name.to_string(),
                    key: key.to_string(),
                    value: Some(value.to_string()),
                })
            }));
        }
        for (entity, values) in self.client_quotas().iter() {
            out.extend(values.iter().map(|(key, value)| entity.to_record(*key, Some(*value)).into()));
        }
        for (user, mechanism, credential) in self.scram().iter() {
            out.push(credential.to_record(user, mechanism).into());
        }
        out.extend(self.acls().iter().map(|(id, acl)| MetadataRecord::from(acl.to_record(*id))));
        out.extend(self.delegation_tokens().iter().map(|token| MetadataRecord::from(token.to_record())));
        if self.next_producer_id().0 > 0 {
            // The image does not keep who got the last block.
            out.push(
                records::ProducerIds {
                    broker_id: -1,
                    broker_epoch: -1,
                    next_producer_id: self.next_producer_id().0,
                }
                .into(),
            );
        }
        out
    }

    /// The image of a snapshot that was taken at `offset` and `epoch`. Pieces of a snapshot that came as several
    /// batches are given together.
    pub fn from_snapshot<'a>(
        batches: impl IntoIterator<Item = &'a MetadataBatch>,
        offset: Offset,
        epoch: LeaderEpoch,
    ) -> Result<Self, ReplayError> {
        let mut image = Self::empty();
        image.position = MetadataPosition { offset, epoch };
        for batch in batches {
            image.replay_records(&batch.records, offset)?;
        }
        Ok(image)
    }
}
