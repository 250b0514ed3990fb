//! The controllers' service over gRPC: any [`ControllerChannel`], asked from elsewhere.

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use moldau_model::{BrokerEpoch, BrokerId, ErrorCode};
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response, Status};

use super::controller as wire;
use super::controller::controller_server::Controller;
use super::credentials::{Caller, CallerAddress};
use super::status::status_of_error;
use crate::{ControllerChannel, ControllerError, MetadataEvent, MetadataWatch};

/// The longest part of an event's records in one message.
const PART_BYTES_MAX: usize = 1 << 20;
/// Whom a request runs as that comes over a channel on which anybody can claim anything.
const ANONYMOUS: &str = "User:ANONYMOUS";

/// Whether this controller is the active one, now and later.
pub type ActiveWatch = watch::Receiver<bool>;

/// Who is told when a broker's connection breaks.
pub trait AttendedBrokers: Send + Sync + 'static {
    /// Whether this controller is the active one: brokers attend nobody else.
    fn active(&self) -> ActiveWatch;

    /// Where else to attend.
    fn not_controller(&self) -> ControllerError;

    /// A broker attends here.
    fn came(&self, broker_id: BrokerId, broker_epoch: BrokerEpoch);

    /// The connection of a broker that attended here has ended.
    fn left(&self, broker_id: BrokerId, broker_epoch: BrokerEpoch);
}

/// See the module.
pub struct ControllerService {
    channel: Arc<dyn ControllerChannel>,
    attended: Arc<dyn AttendedBrokers>,
    cluster_id: Arc<str>,
    is_authenticated: bool,
}

impl ControllerService {
    /// Serves `channel`. Where nobody has to know a secret (`is_authenticated` is false), whom and where a forwarded
    /// request claims to come from is not believed.
    #[must_use]
    pub fn new(
        channel: Arc<dyn ControllerChannel>,
        attended: Arc<dyn AttendedBrokers>,
        cluster_id: &str,
        is_authenticated: bool,
    ) -> Self {
        Self { channel, attended, cluster_id: cluster_id.into(), is_authenticated }
    }
}

/// The plain request of a member of the cluster.
fn plain<W, P: TryFrom<W, Error: Display>>(request: Request<W>) -> Result<P, Status> {
    Caller::of(&request)?;
    P::try_from(request.into_inner()).map_err(|error| {
        tracing::warn!(%error, "a call that cannot be understood");
        status_of_error(&ControllerError::Kafka(ErrorCode::InvalidRequest))
    })
}

fn answer<P, W: From<P>>(result: Result<P, ControllerError>) -> Result<Response<W>, Status> {
    result.map(|reply| Response::new(reply.into())).map_err(|error| status_of_error(&error))
}

#[tonic::async_trait]
impl Controller for ControllerService {
    type AttendStream = BoxStream<'static, Result<wire::AttendResponse, Status>>;
    type WatchMetadataStream = BoxStream<'static, Result<wire::MetadataEvent, Status>>;

    async fn register_broker(
        &self,
        request: Request<wire::RegisterBrokerRequest>,
    ) -> Result<Response<wire::RegisterBrokerResponse>, Status> {
        answer(self.channel.register_broker(plain(request)?).await)
    }

    async fn heartbeat(
        &self,
        request: Request<wire::HeartbeatRequest>,
    ) -> Result<Response<wire::HeartbeatResponse>, Status> {
        answer(self.channel.heartbeat(plain(request)?).await)
    }

    async fn attend(
        &self,
        request: Request<wire::AttendRequest>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        Caller::of(&request)?;
        let wire::AttendRequest { broker_id, broker_epoch } = request.into_inner();
        let mut active = self.attended.active();
        if !*active.borrow_and_update() {
            return Err(status_of_error(&self.attended.not_controller()));
        }
        let (open, nothing) = mpsc::channel(1);
        let attended = Arc::clone(&self.attended);
        attended.came(BrokerId(broker_id), BrokerEpoch(broker_epoch));
        tokio::spawn(async move {
            tokio::select! {
                // Dropping the sender ends the stream, and the broker looks for the active controller.
                _ = active.wait_for(|active| !active) => {}
                () = open.closed() => attended.left(BrokerId(broker_id), BrokerEpoch(broker_epoch)),
            }
        });
        Ok(Response::new(tokio_stream::wrappers::ReceiverStream::new(nothing).boxed()))
    }

    async fn allocate_producer_ids(
        &self,
        request: Request<wire::AllocateProducerIdsRequest>,
    ) -> Result<Response<wire::AllocateProducerIdsResponse>, Status> {
        answer(self.channel.allocate_producer_ids(plain(request)?).await)
    }

    async fn alter_partition(
        &self,
        request: Request<wire::AlterPartitionRequest>,
    ) -> Result<Response<wire::AlterPartitionResponse>, Status> {
        answer(self.channel.alter_partition(plain(request)?).await)
    }

    async fn watch_metadata(
        &self,
        request: Request<wire::WatchMetadataRequest>,
    ) -> Result<Response<Self::WatchMetadataStream>, Status> {
        let events =
            self.channel.watch_metadata(plain(request)?).await.map_err(|error| status_of_error(&error))?;
        Ok(Response::new(parts(events).boxed()))
    }

    async fn describe_quorum(
        &self,
        request: Request<wire::DescribeQuorumRequest>,
    ) -> Result<Response<wire::DescribeQuorumResponse>, Status> {
        Caller::of(&request)?;
        answer(self.channel.describe_quorum().await)
    }

    async fn forward(
        &self,
        request: Request<wire::ForwardRequest>,
    ) -> Result<Response<wire::ForwardResponse>, Status> {
        let address = request.extensions().get::<CallerAddress>().copied();
        let mut request: crate::Forward = plain(request)?;
        if !self.is_authenticated {
            // What is claimed here anybody can claim; an entry for an address is for those who come from there.
            ANONYMOUS.clone_into(&mut request.principal);
            request.client_host = address.map(|address| address.0.to_string()).unwrap_or_default();
        }
        answer(self.channel.forward(request).await)
    }

    async fn identify(
        &self,
        _request: Request<wire::IdentifyRequest>,
    ) -> Result<Response<wire::IdentifyResponse>, Status> {
        Ok(Response::new(wire::IdentifyResponse { cluster_id: self.cluster_id.to_string() }))
    }
}

/// The messages that carry the events: one for each, more for a long snapshot.
fn parts(events: MetadataWatch) -> impl futures::Stream<Item = Result<wire::MetadataEvent, Status>> {
    stream::unfold((events, None), |(mut events, rest)| async move {
        let (position, is_snapshot, mut records): (_, _, Bytes) = match rest {
            Some(rest) => rest,
            None => match events.recv().await? {
                MetadataEvent::Snapshot { position, records } => (position, true, records),
                MetadataEvent::Batch { position, records } => (position, false, records),
            },
        };
        let part = records.split_to(records.len().min(PART_BYTES_MAX));
        let has_more = !records.is_empty();
        let message =
            wire::MetadataEvent { position: Some(position.into()), is_snapshot, records: part, has_more };
        Some((Ok(message), (events, has_more.then_some((position, is_snapshot, records)))))
    })
}
