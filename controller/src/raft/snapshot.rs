//! Snapshots as plain files: written beside their final name, synced, renamed, and the rename synced. The two newest
//! stay, so that one that a disk has spoiled has a predecessor.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;

use super::codec::{LogIdRow, StoredMembershipRow};
use super::kv::sled_store::sync_path;
use super::types::{LogId, SnapshotMeta};

const MAGIC: &[u8; 8] = b"MLDSNAP1";
const SUFFIX: &str = ".snapshot";
const SNAPSHOTS_KEPT: usize = 2;

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(message, optional, tag = "1")]
    last_log_id: Option<LogIdRow>,
    #[prost(message, optional, tag = "2")]
    membership: Option<StoredMembershipRow>,
    /// CRC-32C of the records, which fill the rest of the file.
    #[prost(fixed32, tag = "3")]
    records_crc: u32,
    #[prost(uint64, tag = "4")]
    records_length: u64,
}

/// The snapshots in a directory.
#[derive(Clone, Debug)]
pub(super) struct SnapshotFiles {
    directory: PathBuf,
}

impl SnapshotFiles {
    /// Removes what an interrupted write has left.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        for name in names(directory)? {
            if name.ends_with(".tmp") {
                fs::remove_file(directory.join(name))?;
            }
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// Writes a snapshot; it is durable when this returns. Blocks.
    pub(super) fn write(&self, meta: &SnapshotMeta, records: &[u8]) -> io::Result<()> {
        let name = file_name(meta.last_log_id.as_ref());
        let temporary = self.directory.join(format!("{name}.tmp"));
        let header = Header {
            last_log_id: meta.last_log_id.as_ref().map(LogIdRow::from),
            membership: Some((&meta.last_membership).into()),
            records_crc: crc32c::crc32c(records),
            records_length: records.len() as u64,
        }
        .encode_to_vec();
        let mut file = File::create(&temporary)?;
        file.write_all(MAGIC)?;
        file.write_all(&(header.len() as u32).to_be_bytes())?;
        file.write_all(&crc32c::crc32c(&header).to_be_bytes())?;
        file.write_all(&header)?;
        file.write_all(records)?;
        file.sync_all()?;
        fs::rename(&temporary, self.directory.join(name))?;
        sync_path(&self.directory)?;
        self.remove_old()
    }

    /// The newest snapshot that is whole. Blocks.
    pub(super) fn newest(&self) -> io::Result<Option<(SnapshotMeta, Bytes)>> {
        let mut newest_error = None;
        for name in self.snapshots()?.iter().rev() {
            let path = self.directory.join(name);
            match read(&path) {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::warn!(path = %path.display(), %error, "a metadata snapshot is damaged; taking the one before it");
                    newest_error = newest_error.or(Some(error));
                }
                Err(error) => return Err(error),
            }
        }
        newest_error.map_or(Ok(None), Err)
    }

    fn remove_old(&self) -> io::Result<()> {
        let names = self.snapshots()?;
        for name in names.iter().rev().skip(SNAPSHOTS_KEPT) {
            fs::remove_file(self.directory.join(name))?;
        }
        Ok(())
    }

    /// The names, from the oldest to the newest.
    fn snapshots(&self) -> io::Result<Vec<String>> {
        let mut names = names(&self.directory)?;
        names.retain(|name| name.ends_with(SUFFIX));
        names.sort();
        Ok(names)
    }
}

/// Sorts by index, then by term.
fn file_name(last: Option<&LogId>) -> String {
    let (index, term) = last.map_or((0, 0), |id| (id.index, id.leader_id.term));
    format!("{index:020}-{term:010}{SUFFIX}")
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn read(path: &Path) -> io::Result<(SnapshotMeta, Bytes)> {
    let damaged =
        |reason: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {reason}", path.display()));
    let mut bytes = Bytes::from(fs::read(path)?);
    if bytes.len() < 16 || bytes[..8] != MAGIC[..] {
        return Err(damaged("not a metadata snapshot"));
    }
    let number =
        |at: usize| bytes[at..at + 4].iter().fold(0, |number, byte| (number << 8) | u32::from(*byte));
    let (header_length, header_crc) = (number(8) as usize, number(12));
    let mut rest = bytes.split_off(16);
    if rest.len() < header_length {
        return Err(damaged("cut short"));
    }
    let header = rest.split_to(header_length);
    if crc32c::crc32c(&header) != header_crc {
        return Err(damaged("the header's checksum differs"));
    }
    let header = Header::decode(header).map_err(|error| damaged(&error.to_string()))?;
    if rest.len() as u64 != header.records_length || crc32c::crc32c(&rest) != header.records_crc {
        return Err(damaged("the records' checksum differs"));
    }
    let meta = SnapshotMeta {
        last_log_id: header.last_log_id.map(LogId::from),
        last_membership: header.membership.unwrap_or_default().try_into()?,
    };
    Ok((meta, rest))
}
