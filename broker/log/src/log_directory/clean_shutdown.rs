//! `.kafka_cleanshutdown`: there only while nobody owns the directory and everything in it is durable.

use std::io;
use std::path::Path;

use moldau_model::BrokerEpoch;

use crate::FileSystem;

const FILE_NAME: &str = ".kafka_cleanshutdown";
const FILE_BYTES_MAX: usize = 4096;

/// What the marker said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CleanShutdown {
    /// `None` if the marker was one of the old kind, which is empty.
    pub(super) broker_epoch: Option<BrokerEpoch>,
}

pub(super) fn write(
    file_system: &dyn FileSystem,
    directory: &Path,
    broker_epoch: BrokerEpoch,
) -> io::Result<()> {
    let text = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
    file_system.replace_file(&directory.join(FILE_NAME), text.as_bytes())
}

pub(super) fn is_there(file_system: &dyn FileSystem, directory: &Path) -> io::Result<bool> {
    Ok(file_system.file_length(&directory.join(FILE_NAME))?.is_some())
}

/// Reads the marker and removes it. The caller syncs the directory before anything is written, for a marker that came
/// back would call the next crash clean.
pub(super) fn take(file_system: &dyn FileSystem, directory: &Path) -> io::Result<Option<CleanShutdown>> {
    let path = directory.join(FILE_NAME);
    let bytes = match file_system.read_small(&path, FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    file_system.remove_file(&path)?;
    Ok(Some(CleanShutdown { broker_epoch: parse_broker_epoch(&bytes) }))
}

/// The number behind the one key that matters; the file is ours or Kafka's, and both write it flat.
fn parse_broker_epoch(bytes: &[u8]) -> Option<BrokerEpoch> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (_, after) = text.split_once("\"brokerEpoch\"")?;
    let number = after.trim_start().strip_prefix(':')?.trim_start();
    let end = number
        .find(|character: char| !character.is_ascii_digit() && character != '-')
        .unwrap_or(number.len());
    number.get(..end)?.parse().ok().map(BrokerEpoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_of_any_marker() {
        for (text, expected) in [
            ("{\"version\":0,\"brokerEpoch\":10}", Some(10)),
            ("{ \"brokerEpoch\" : -1, \"version\" : 0 }", Some(-1)),
            ("", None),
            ("{\"version\":0}", None),
            ("{\"brokerEpoch\":\"x\"}", None),
        ] {
            assert_eq!(parse_broker_epoch(text.as_bytes()), expected.map(BrokerEpoch), "{text}");
        }
    }
}
