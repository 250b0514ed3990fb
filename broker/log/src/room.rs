//! How much more records may take of the volume that a log directory lies on: what is free there, but for a reserve (ADR 47).
//!
//! Asking the file system is a system call. So it is asked for a grant, and appends are counted against that.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::FileSystem;
use crate::file_system::Space;

/// However large a reserve is asked for, it is no larger part of the volume.
const VOLUME_PARTS: u64 = 16;
/// The file system is asked again after so large a part of the reserve: log directories that share a volume have a grant
/// each, and so much each may go beyond.
const GRANT_PARTS: u64 = 64;

/// The room of one log directory. Without [`Room::keep`] it has no end.
#[derive(Debug)]
pub struct Room {
    file_system: Arc<dyn FileSystem>,
    path: PathBuf,
    /// 0 for no reserve.
    reserve_bytes_max: AtomicU64,
    /// What may be taken before the file system is asked again. Below zero while somebody asks.
    granted_bytes: AtomicI64,
    asking: Mutex<()>,
}

impl Room {
    pub(crate) fn new(file_system: Arc<dyn FileSystem>, path: PathBuf) -> Self {
        Self {
            file_system,
            path,
            reserve_bytes_max: AtomicU64::new(0),
            granted_bytes: AtomicI64::new(i64::MAX),
            asking: Mutex::new(()),
        }
    }

    /// From now on records leave so much of the volume free, or a sixteenth of it where that is less.
    pub fn keep(&self, reserve_bytes_max: u64) {
        self.reserve_bytes_max.store(reserve_bytes_max, Ordering::Relaxed);
        self.granted_bytes.store(if reserve_bytes_max == 0 { i64::MAX } else { 0 }, Ordering::Relaxed);
    }

    /// What records leave free of a volume of so many bytes.
    #[must_use]
    pub fn reserve_bytes(&self, total_bytes: u64) -> u64 {
        self.reserve_bytes_max.load(Ordering::Relaxed).min(total_bytes / VOLUME_PARTS)
    }

    /// Others write to the volume, too: what was granted some time ago says little.
    pub fn forget_grant(&self) {
        if self.reserve_bytes_max.load(Ordering::Relaxed) > 0 {
            self.granted_bytes.store(0, Ordering::Relaxed);
        }
    }

    /// The volume's size, and what of it records may still take.
    pub(crate) fn space(&self) -> io::Result<Space> {
        let space = self.file_system.space(&self.path)?;
        let reserve_bytes = self.reserve_bytes(space.total_bytes);
        Ok(Space { usable_bytes: space.usable_bytes.saturating_sub(reserve_bytes), ..space })
    }

    /// Records are about to take so much.
    ///
    /// # Errors
    /// As if the volume were full.
    pub(crate) fn take(&self, bytes: u64) -> io::Result<()> {
        if self.take_of_grant(bytes) { Ok(()) } else { self.ask(bytes) }
    }

    fn take_of_grant(&self, bytes: u64) -> bool {
        let bytes = bytes as i64;
        self.granted_bytes.fetch_sub(bytes, Ordering::Relaxed) >= bytes
    }

    #[cold]
    fn ask(&self, bytes: u64) -> io::Result<()> {
        let _one_at_a_time = self.asking.lock();
        if self.take_of_grant(bytes) {
            return Ok(());
        }
        // A volume that does not tell is written to until it refuses.
        let grant = match self.file_system.space(&self.path) {
            Ok(space) => grant(space, self.reserve_bytes(space.total_bytes), bytes),
            Err(_) => Some(bytes),
        };
        let left = grant.map_or(0, |grant| grant.saturating_sub(bytes));
        self.granted_bytes.store(i64::try_from(left).unwrap_or(i64::MAX), Ordering::Relaxed);
        if grant.is_some() { Ok(()) } else { Err(no_room()) }
    }

    /// Compaction is about to write so much. It gives back more than it takes, and may have half of the reserve meanwhile.
    ///
    /// # Errors
    /// As if the volume were full.
    pub(crate) fn check_for_cleaning(&self, bytes: u64) -> io::Result<()> {
        if self.reserve_bytes_max.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        match self.file_system.space(&self.path) {
            Ok(space) if grant(space, self.reserve_bytes(space.total_bytes) / 2, bytes).is_none() => {
                Err(no_room())
            }
            _ => Ok(()),
        }
    }
}

/// What may be taken before the volume is looked at again, `bytes` of it now; `None` where so many are not to be had.
fn grant(space: Space, reserve_bytes: u64, bytes: u64) -> Option<u64> {
    if reserve_bytes == 0 {
        // The volume says itself when it is full, and some do not tell how large they are.
        return Some(bytes);
    }
    let room = space.usable_bytes.saturating_sub(reserve_bytes);
    (bytes <= room).then(|| room.min(bytes.max(reserve_bytes / GRANT_PARTS)))
}

fn no_room() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "what is left of the volume is kept for the metadata")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_system::FaultFileSystem;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_granted_leaves_the_reserve() {
        let total_bytes = 1 << 40;
        for (usable_bytes, reserve, bytes, expected) in [
            (1 << 39, 64 * MIB, 100, Some(MIB)),
            (1 << 39, 64 * MIB, 5 * MIB, Some(5 * MIB)),
            (64 * MIB + 500, 64 * MIB, 100, Some(500)),
            (64 * MIB + 500, 64 * MIB, 500, Some(500)),
            (64 * MIB + 500, 64 * MIB, 501, None),
            (64 * MIB, 64 * MIB, 1, None),
            (10, 64 * MIB, 1, None),
            // What was allocated before takes nothing.
            (10, 64 * MIB, 0, Some(0)),
            // Without a reserve the volume itself refuses.
            (0, 0, 100, Some(100)),
        ] {
            let space = Space { total_bytes, usable_bytes };
            assert_eq!(grant(space, reserve, bytes), expected, "{bytes} of {usable_bytes}");
        }
    }

    fn room_of(usable_bytes: u64, total_bytes: u64) -> (FaultFileSystem, Room) {
        let disk = FaultFileSystem::new();
        disk.set_space(Space { total_bytes, usable_bytes });
        (disk.clone(), Room::new(Arc::new(disk), PathBuf::from("/data")))
    }

    #[test]
    fn a_reserve_is_no_larger_than_a_sixteenth_of_the_volume() {
        let (_, room) = room_of(MIB, 32 * MIB);
        for (wanted, total, expected) in
            [(0, 1 << 40, 0), (64 * MIB, 1 << 40, 64 * MIB), (64 * MIB, 32 * MIB, 2 * MIB), (64 * MIB, 0, 0)]
        {
            room.keep(wanted);
            assert_eq!(room.reserve_bytes(total), expected, "{wanted} of {total}");
        }
    }

    #[test]
    fn the_volume_is_looked_at_once_for_many_appends_and_again_when_they_have_used_it_up() {
        let (disk, room) = room_of(1 << 39, 1 << 40);
        room.keep(64 * MIB);
        (0..1024).for_each(|_| room.take(1024).unwrap());
        assert_eq!(disk.space_questions(), 1);
        room.take(1024).unwrap();
        assert_eq!(disk.space_questions(), 2);
        room.forget_grant();
        room.take(1).unwrap();
        assert_eq!(disk.space_questions(), 3);
    }

    #[test]
    fn no_reserve_asks_nothing_and_ends_nowhere() {
        let (disk, room) = room_of(0, 1 << 40);
        for _ in 0..2 {
            (0..100).for_each(|_| room.take(1 << 40).unwrap());
            room.check_for_cleaning(1 << 40).unwrap();
            room.forget_grant();
            room.keep(0);
        }
        assert_eq!(disk.space_questions(), 0);
        assert_eq!(room.space().unwrap().usable_bytes, 0);
    }

    #[test]
    fn compaction_has_half_of_the_reserve() {
        let (disk, room) = room_of(40 * MIB, 1 << 40);
        room.keep(64 * MIB);
        assert_eq!(room.take(1).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(room.space().unwrap().usable_bytes, 0);
        room.check_for_cleaning(8 * MIB).unwrap();
        assert_eq!(room.check_for_cleaning(8 * MIB + 1).unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.set_space(Space { total_bytes: 1 << 40, usable_bytes: 65 * MIB });
        room.take(MIB).unwrap();
        room.take(1).unwrap();
        assert_eq!(room.space().unwrap().usable_bytes, MIB);
    }
}
