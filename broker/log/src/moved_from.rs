//! `moved-from`: whose place a partition's directory has taken, so that the next start knows which of two is the partition.
//!
//! A partition that moves to another log directory gets its name there before it loses it in the old one. A loss of power in
//! between, or an old directory that failed, leaves two. This file, which is durable before the name is, says that the
//! directory it lies in is the newer one. It goes once the old directory is known to have the partition no more. Kafka has no
//! such file, and leaves it alone.

use moldau_model::Uuid;

pub(crate) const FILE_NAME: &str = "moved-from";
pub(crate) const FILE_BYTES_MAX: usize = 4096;
/// Log directories that are named at most: more than any machine has, and they fit the file.
const DIRECTORIES_MAX: usize = 64;

/// Which log directories may still hold an older copy, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MovedFrom {
    /// Of two that claim each other's place the one with the larger number is right.
    pub(crate) generation: u64,
    pub(crate) directories: Vec<Uuid>,
}

impl MovedFrom {
    /// What a copy in `to` says once it takes the place of the log in `from`, which says `self`.
    #[must_use]
    pub(crate) fn next(&self, from: Uuid, to: Uuid) -> Self {
        let mut directories: Vec<Uuid> =
            self.directories.iter().copied().filter(|id| *id != to && *id != from).collect();
        directories.insert(0, from);
        directories.truncate(DIRECTORIES_MAX);
        Self { generation: self.generation + 1, directories }
    }

    /// Whether a log in this directory is older than the one that says this.
    #[must_use]
    pub fn supersedes(&self, directory: Uuid) -> bool {
        self.directories.contains(&directory)
    }

    pub(crate) fn encode(&self) -> String {
        let mut text = format!("version: 0\ngeneration: {}\n", self.generation);
        for id in &self.directories {
            text += &format!("directory: {id}\n");
        }
        text + "end\n"
    }

    /// `None` if the file is not whole.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.strip_suffix("end\n")?.lines();
        lines.next().filter(|line| *line == "version: 0")?;
        let generation = lines.next()?.strip_prefix("generation: ")?.parse().ok()?;
        let directories = lines.map(|line| line.strip_prefix("directory: ")?.parse().ok());
        Some(Self { generation, directories: directories.collect::<Option<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> Uuid {
        Uuid::from_random_bytes([number; 16])
    }

    #[test]
    fn comes_back_and_a_torn_one_is_told() {
        let moved = MovedFrom::default().next(id(1), id(2)).next(id(2), id(3));
        assert_eq!(moved, MovedFrom { generation: 2, directories: vec![id(2), id(1)] });
        let text = moved.encode();
        assert_eq!(MovedFrom::decode(text.as_bytes()), Some(moved));
        for end in 0..text.len() {
            assert_eq!(MovedFrom::decode(&text.as_bytes()[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn who_comes_back_is_not_claimed_and_the_list_is_bounded() {
        let back = MovedFrom::default().next(id(1), id(2)).next(id(2), id(1));
        assert_eq!(back.directories, [id(2)]);
        let many = (0..=255).fold(MovedFrom::default(), |moved, number| moved.next(id(number), Uuid::ZERO));
        assert!(many.directories.len() == DIRECTORIES_MAX && many.encode().len() <= FILE_BYTES_MAX);
    }
}
