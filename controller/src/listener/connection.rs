//! A connection of gRPC: a stranger's until a call of it has shown that it is a node's, and a stranger's place is not held for
//! long.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use moldau_cluster::rpc::{Caller, CallerAddress, Guard};
use moldau_security::link::GateLink;
use moldau_security::{NoPlace, Place, Places};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::service::Interceptor;
use tonic::transport::server::Connected;
use tonic::{Request, Status};

/// What a connection holds of what is bounded. Given back when the connection and its calls have ended.
pub(super) struct Standing {
    held: Mutex<Held>,
    nodes: Arc<Places>,
    address: IpAddr,
}

/// Held, not read: dropping it gives the place back.
enum Held {
    Stranger { _place: Place },
    Node { _place: Place },
}

impl Standing {
    pub(super) fn stranger(place: Place, nodes: Arc<Places>, address: IpAddr) -> Arc<Self> {
        Arc::new(Self { held: Mutex::new(Held::Stranger { _place: place }), nodes, address })
    }

    /// Makes it a node's.
    ///
    /// # Errors
    /// There are too many of those.
    pub(super) fn admit(&self) -> Result<(), NoPlace> {
        let mut held = self.held.lock();
        if matches!(&*held, Held::Stranger { .. }) {
            *held = Held::Node { _place: self.nodes.take(self.address)? };
        }
        Ok(())
    }

    fn is_stranger(&self) -> bool {
        matches!(&*self.held.lock(), Held::Stranger { .. })
    }
}

/// See the module.
pub(crate) struct Connection {
    link: GateLink,
    standing: Arc<Standing>,
    /// When it ends unless it is a node's by then.
    deadline: Option<Pin<Box<Sleep>>>,
    /// When it ends whoever it is: gRPC has no way to authenticate again.
    session_end: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    pub(super) fn new(link: GateLink, standing: Arc<Standing>, deadline: Instant) -> Self {
        let session_end = link.expires_at().map(|at| Box::pin(sleep_until(at.into())));
        Self { link, standing, deadline: Some(Box::pin(sleep_until(deadline))), session_end }
    }
}

/// What its calls know of a connection.
#[derive(Clone)]
pub(crate) struct Peer {
    standing: Arc<Standing>,
    address: Option<IpAddr>,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        let address = self.link.socket().peer_addr().ok().map(|address| address.ip());
        Peer { standing: Arc::clone(&self.standing), address }
    }
}

/// Lets calls pass that the guard does, and takes their connections for nodes' from then on, if they are of this cluster's. One
/// that asks which cluster this is stays a stranger's.
#[derive(Clone)]
pub(crate) struct Admission(pub(crate) Guard);

impl Interceptor for Admission {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let mut request = self.0.call(request)?;
        let Some(peer) = request.extensions().get::<Peer>().cloned() else {
            return Err(Status::internal("a call without a connection"));
        };
        let knows_cluster = request.extensions().get::<Caller>().is_some_and(|caller| caller.knows_cluster);
        if knows_cluster {
            let refused =
                |error: NoPlace| Status::resource_exhausted(format!("connections of nodes: {error}"));
            peer.standing.admit().map_err(refused)?;
        }
        if let Some(address) = peer.address {
            request.extensions_mut().insert(CallerAddress(address.to_canonical()));
        }
        Ok(request)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            if self.standing.is_stranger() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.deadline = None;
        }
        if let Some(session_end) = &mut self.session_end
            && session_end.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.link).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.link).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.link).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.link.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair(nodes: &Arc<Places>, places: &Arc<Places>) -> (TcpStream, Connection, Arc<Standing>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let link = GateLink::plain(listener.accept().await.unwrap().0);
        let place = places.take(Ipv4Addr::LOCALHOST.into()).unwrap();
        let standing = Standing::stranger(place, Arc::clone(nodes), Ipv4Addr::LOCALHOST.into());
        let deadline = Instant::now() + Duration::from_secs(10);
        (client, Connection::new(link, Arc::clone(&standing), deadline), standing)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_does_not_stay_and_a_node_does() {
        let (nodes, places) = (Places::new(1, 1), Places::new(9, 9));
        let (_client, mut stranger, _) = pair(&nodes, &places).await;
        let (_other_client, mut node, standing) = pair(&nodes, &places).await;
        assert_eq!(places.taken(), 2);
        assert!(standing.admit().is_ok() && standing.admit().is_ok(), "a node stays one");
        assert_eq!(places.taken(), 1);
        assert_eq!(stranger.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let stayed = tokio::time::timeout(Duration::from_secs(3600), node.read_u8()).await;
        assert!(stayed.is_err(), "{stayed:?}");
    }

    #[tokio::test]
    async fn a_call_that_names_no_cluster_makes_nobody_a_node() {
        let (nodes, places) = (Places::new(1, 1), Places::new(9, 9));
        let (_client, connection, _standing) = pair(&nodes, &places).await;
        let mut admission = Admission(Guard::new("a", None));
        let mut call = |cluster_id: Option<&str>| {
            let mut request = Request::new(());
            if let Some(cluster_id) = cluster_id {
                let value = tonic::metadata::MetadataValue::from_bytes(cluster_id.as_bytes());
                request.metadata_mut().insert_bin("moldau-cluster-id-bin", value);
            }
            request.extensions_mut().insert(connection.connect_info());
            admission.call(request).is_ok()
        };
        assert!(call(None), "it may ask which cluster this is");
        assert_eq!((places.taken(), nodes.taken()), (1, 0));
        assert!(!call(Some("b")));
        assert_eq!(places.taken(), 1);
        assert!(call(Some("a")));
        assert_eq!((places.taken(), nodes.taken()), (0, 1));
    }

    #[tokio::test]
    async fn places_of_nodes_are_counted_and_come_back() {
        let (nodes, places) = (Places::new(1, 1), Places::new(9, 9));
        let (_client, connection, standing) = pair(&nodes, &places).await;
        let (_other_client, _other, other_standing) = pair(&nodes, &places).await;
        assert!(standing.admit().is_ok());
        assert_eq!(other_standing.admit(), Err(NoPlace::All(1)), "there is one place");
        assert_eq!(places.taken(), 1, "it is a stranger's still");
        drop((connection, standing));
        assert!(other_standing.admit().is_ok());
        assert_eq!(places.taken(), 0);
    }

    #[tokio::test]
    async fn nodes_from_one_address_leave_places_to_those_from_others() {
        let (nodes, places) = (Places::new(9, 2), Places::new(9, 9));
        let mut admitted = Vec::new();
        for _ in 0..2 {
            let (_client, connection, standing) = pair(&nodes, &places).await;
            assert!(standing.admit().is_ok());
            admitted.push((connection, standing));
        }
        let (_client, _connection, standing) = pair(&nodes, &places).await;
        assert_eq!(standing.admit(), Err(NoPlace::Address(2)));
        let place = places.take(Ipv4Addr::LOCALHOST.into()).unwrap();
        let elsewhere = Standing::stranger(place, Arc::clone(&nodes), Ipv4Addr::new(10, 0, 0, 1).into());
        assert!(elsewhere.admit().is_ok());
        drop(admitted);
        assert!(standing.admit().is_ok());
    }
}
