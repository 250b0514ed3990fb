//! One controller elsewhere, as a [`ControllerChannel`]. It asks that controller and nobody else.

use std::fmt::Display;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use moldau_model::{BrokerEpoch, BrokerId, ErrorCode};
use tokio::sync::mpsc;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use super::controller as wire;
use super::controller::controller_client::ControllerClient;
use super::credentials::{Credentials, SignCalls};
use super::status::error_of_status;
use super::{MESSAGE_BYTES_MAX, connect_lazily};
use crate::{
    AllocateProducerIds, AlterPartition, AlterPartitionReply, ControllerChannel, ControllerError, Forward,
    Forwarded, Heartbeat, HeartbeatReply, MetadataEvent, MetadataWatch, ProducerIdBlock, QuorumDescription,
    RegisterBroker, RegisteredBroker, WatchMetadata,
};

/// How long the answer to a heartbeat may take: below the shortest session that is sensible.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(2);
/// How long other answers may take: longer than the controller itself waits for a commit.
const REQUEST_LIMIT: Duration = Duration::from_secs(31);
/// How long a controller may take to begin a stream.
const OPEN_LIMIT: Duration = Duration::from_secs(5);
/// How many events may wait for the watcher.
const WATCH_LENGTH: usize = 64;
/// The longest snapshot that is put together: no cluster this program can hold comes near.
const SNAPSHOT_BYTES_MAX: usize = 1 << 30;

/// See the module. A clone uses the same connection.
#[derive(Clone)]
pub struct Connection {
    client: ControllerClient<InterceptedService<Channel, SignCalls>>,
}

impl Connection {
    /// A connection to `host:port`, which comes about when it is first used.
    ///
    /// # Errors
    /// If the address is none.
    pub fn new(address: &str, credentials: &Credentials) -> Result<Self, tonic::transport::Error> {
        let signed = InterceptedService::new(
            connect_lazily(address, &credentials.dialer)?,
            SignCalls::new(credentials),
        );
        let client = ControllerClient::new(signed)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { client })
    }

    /// Asks which cluster the controller belongs to.
    ///
    /// # Errors
    /// The channel's own.
    pub async fn identify(&self) -> Result<String, ControllerError> {
        let request = limited(wire::IdentifyRequest {}, HEARTBEAT_LIMIT);
        let response = self.client.clone().identify(request).await;
        Ok(inner(response)?.cluster_id)
    }

    /// Lets the controller see, by an open call, that the broker is there. It does when this returns.
    ///
    /// # Errors
    /// `NotController`, or the channel's own.
    pub async fn attend(
        &self,
        broker_id: BrokerId,
        broker_epoch: BrokerEpoch,
    ) -> Result<Attendance, ControllerError> {
        let mut client = self.client.clone();
        let request = wire::AttendRequest { broker_id: broker_id.0, broker_epoch: broker_epoch.0 };
        let opening = client.attend(Request::new(request));
        let response =
            tokio::time::timeout(OPEN_LIMIT, opening).await.map_err(|_| ControllerError::Timeout)?;
        Ok(Attendance { stream: inner(response)? })
    }
}

/// An open call. Dropping it ends it.
pub struct Attendance {
    stream: Streaming<wire::AttendResponse>,
}

impl Attendance {
    /// Waits until the call has ended: the controller is gone, or not the active one any more.
    pub async fn ended(&mut self) {
        while let Ok(Some(_)) = self.stream.message().await {}
    }
}

fn limited<W>(message: W, limit: Duration) -> Request<W> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

fn inner<W>(response: Result<Response<W>, Status>) -> Result<W, ControllerError> {
    response.map(Response::into_inner).map_err(|status| error_of_status(&status))
}

fn understood<W, P: TryFrom<W, Error: Display>>(message: W) -> Result<P, ControllerError> {
    message.try_into().map_err(|error| {
        tracing::warn!(%error, "an answer that cannot be understood");
        ControllerError::Kafka(ErrorCode::UnknownServerError)
    })
}

#[async_trait]
impl ControllerChannel for Connection {
    async fn register_broker(&self, request: RegisterBroker) -> Result<RegisteredBroker, ControllerError> {
        let request = limited(request.into(), REQUEST_LIMIT);
        understood(inner(self.client.clone().register_broker(request).await)?)
    }

    async fn heartbeat(&self, request: Heartbeat) -> Result<HeartbeatReply, ControllerError> {
        let request = limited(request.into(), HEARTBEAT_LIMIT);
        understood(inner(self.client.clone().heartbeat(request).await)?)
    }

    async fn allocate_producer_ids(
        &self,
        request: AllocateProducerIds,
    ) -> Result<ProducerIdBlock, ControllerError> {
        let request = limited(request.into(), REQUEST_LIMIT);
        understood(inner(self.client.clone().allocate_producer_ids(request).await)?)
    }

    async fn alter_partition(&self, request: AlterPartition) -> Result<AlterPartitionReply, ControllerError> {
        let request = limited(request.into(), REQUEST_LIMIT);
        understood(inner(self.client.clone().alter_partition(request).await)?)
    }

    async fn watch_metadata(&self, request: WatchMetadata) -> Result<MetadataWatch, ControllerError> {
        let mut client = self.client.clone();
        // Not a limit of the call, which would end the stream as well.
        let opening = client.watch_metadata(Request::new(request.into()));
        let response =
            tokio::time::timeout(OPEN_LIMIT, opening).await.map_err(|_| ControllerError::Timeout)?;
        let (sender, events) = mpsc::channel(WATCH_LENGTH);
        tokio::spawn(pump(inner(response)?, sender));
        Ok(events)
    }

    async fn describe_quorum(&self) -> Result<QuorumDescription, ControllerError> {
        let request = limited(wire::DescribeQuorumRequest {}, REQUEST_LIMIT);
        understood(inner(self.client.clone().describe_quorum(request).await)?)
    }

    async fn forward(&self, request: Forward) -> Result<Forwarded, ControllerError> {
        let request = limited(request.into(), REQUEST_LIMIT);
        understood(inner(self.client.clone().forward(request).await)?)
    }
}

/// Hands on what the controller sends, until either side has enough.
async fn pump(mut stream: Streaming<wire::MetadataEvent>, events: mpsc::Sender<MetadataEvent>) {
    loop {
        let event = tokio::select! {
            event = next_event(&mut stream) => event,
            () = events.closed() => return,
        };
        let Some(event) = event else { return };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// The next event, its parts put together. `None` where the stream has ended or makes no sense.
async fn next_event(stream: &mut Streaming<wire::MetadataEvent>) -> Option<MetadataEvent> {
    let first = match stream.message().await {
        Ok(first) => first?,
        Err(status) => {
            tracing::debug!(%status, "a watch of the metadata has ended");
            return None;
        }
    };
    let position = first.position?.into();
    let mut records: Bytes = first.records;
    if first.has_more {
        let mut whole = BytesMut::from(records);
        loop {
            let part = stream.message().await.ok()??;
            whole.extend_from_slice(&part.records);
            if whole.len() > SNAPSHOT_BYTES_MAX {
                tracing::error!(bytes = whole.len(), "a metadata snapshot is too long");
                return None;
            }
            if !part.has_more {
                break;
            }
        }
        records = whole.freeze();
    }
    Some(if first.is_snapshot {
        MetadataEvent::Snapshot { position, records }
    } else {
        MetadataEvent::Batch { position, records }
    })
}
