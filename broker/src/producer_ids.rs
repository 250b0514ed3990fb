//! Producer ids out of blocks that the controller gives (KIP-730): no id is ever handed out twice.

use std::sync::Arc;

use moldau_cluster::{AllocateProducerIds, ControllerChannel, ControllerError, ProducerIdBlock};
use moldau_model::{BrokerEpoch, BrokerId, ErrorCode, ProducerId};
use tokio::sync::Mutex;

/// The block in use. Who finds it empty fetches the next one while the others wait for the same.
pub struct ProducerIds {
    broker_id: BrokerId,
    channel: Arc<dyn ControllerChannel>,
    left: Mutex<Option<ProducerIdBlock>>,
}

impl ProducerIds {
    #[must_use]
    pub fn new(broker_id: BrokerId, channel: Arc<dyn ControllerChannel>) -> Self {
        Self { broker_id, channel, left: Mutex::new(None) }
    }

    /// An id that no producer has.
    ///
    /// # Errors
    /// `COORDINATOR_LOAD_IN_PROGRESS`, which clients retry, while no controller answers, as in Kafka.
    pub async fn next(&self, broker_epoch: BrokerEpoch) -> Result<ProducerId, ErrorCode> {
        let mut left = self.left.lock().await;
        if let Some(id) = left.as_mut().and_then(take) {
            return Ok(id);
        }
        let request = AllocateProducerIds { broker_id: self.broker_id, broker_epoch };
        let mut block = self.channel.allocate_producer_ids(request).await.map_err(|error| {
            tracing::warn!(%error, "no block of producer ids");
            match error {
                ControllerError::Kafka(code) if !code.is_retriable() => code,
                _ => ErrorCode::CoordinatorLoadInProgress,
            }
        })?;
        let id = take(&mut block).ok_or(ErrorCode::UnknownServerError)?;
        *left = Some(block);
        Ok(id)
    }
}

fn take(block: &mut ProducerIdBlock) -> Option<ProducerId> {
    if block.count <= 0 {
        return None;
    }
    let id = block.first;
    *block = ProducerIdBlock { first: ProducerId(id.0 + 1), count: block.count - 1 };
    Some(id)
}
