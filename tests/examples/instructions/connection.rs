//! The whole way over a socket: what arrives is read, cut into frames, served and written. The client's own part, which is
//! small, is counted too.

use bytes::BytesMut;
use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use moldau_record::BatchBuilder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Result;
use crate::frames::{FETCH_VERSION, batch, fetch, produce, topic};
use crate::measured::{self, Measured, count};
use crate::node::{Node, frame};

/// Records that a fetch takes from the page cache by the kernel.
const FETCHED_BYTES: usize = 64 * 1024;

pub(crate) fn run(node: &mut Node) -> Result<()> {
    let topic = topic(node, "socket", 2)?;
    let mut stream = node.data.block_on(TcpStream::connect(node.address()?))?;
    stream.set_nodelay(true)?;
    let wanted = MetadataRequestTopic::default().with_name(Some(topic.name.clone()));
    let metadata = frame(12, &MetadataRequest::default().with_topics(Some(vec![wanted])))?;
    repeat(node, &mut stream, "connection_metadata", measured::connection_metadata, &metadata, 50)?;

    let tiny = produce(&topic, &[0], 1, &batch(BatchBuilder::new(), 1, 100)?)?;
    repeat(node, &mut stream, "connection_produce", measured::connection_produce, &tiny, 30)?;

    let records = batch(BatchBuilder::new(), 1, FETCHED_BYTES)?;
    let reply = node.dispatch(produce(&topic, &[1], -1, &records)?)?;
    node.resolve(reply)?;
    let request = frame(FETCH_VERSION, &fetch(&topic, &[1], 1, 0))?;
    repeat(node, &mut stream, "connection_fetch", measured::connection_fetch, &request, FETCHED_BYTES)
}

/// Asks the same again and again; an answer has `bytes_min` at least.
fn repeat(
    node: &Node,
    stream: &mut TcpStream,
    name: &str,
    measured: Measured,
    frame: &BytesMut,
    bytes_min: usize,
) -> Result<()> {
    let mut request = u32::try_from(frame.len())?.to_be_bytes().to_vec();
    request.extend_from_slice(frame);
    let mut answer = vec![0; 2 * FETCHED_BYTES];
    let mut failed = 0;
    count(name, measured, &mut || {
        let length = node.data.block_on(async {
            stream.write_all(&request).await?;
            stream.read_exact(&mut answer[..4]).await?;
            let length = u32::from_be_bytes([answer[0], answer[1], answer[2], answer[3]]) as usize;
            stream.read_exact(&mut answer[..length]).await
        });
        failed += usize::from(!length.is_ok_and(|length| length >= bytes_min));
    });
    if failed > 0 {
        return Err(format!("{name}: {failed} answers were not as expected").into());
    }
    Ok(())
}
