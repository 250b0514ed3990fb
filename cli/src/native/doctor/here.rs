//! This machine: how fast a disk makes things durable, what it is, and the limits that processes have.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open, statfs};
use rustix::process::{Resource, getrlimit};

use super::{Finding, Reached, size};

/// What `moldau start` uses where nobody says otherwise.
const DEFAULT_DATA: &str = "moldau-data";
/// Writes that are timed, and how long they may take together.
const SYNCS_MAX: usize = 50;
const SYNCING_MAX: Duration = Duration::from_secs(2);
const WRITE_BYTES: usize = 4096;
/// A disk that takes longer makes acks=all slow; far longer, and elections and ISRs suffer.
const SYNC_NOTED: Duration = Duration::from_millis(20);
const SYNC_BAD: Duration = Duration::from_millis(500);
/// The kind that statfs gives for a file system in memory.
const TMPFS: i64 = 0x0102_1994;
/// A node holds a file for each segment and its indexes, and one for each connection.
const OPEN_FILES_MIN: u64 = 65_536;
const OPEN_FILES_BAD: u64 = 1_024;
const MEMORY_MIN: u64 = 256 << 20;
const MEMORY_BAD: u64 = 64 << 20;

/// Data directories of brokers that run on this machine: what they name, and what is a data directory here.
pub(super) fn directories_of(reached: &[Reached]) -> Vec<PathBuf> {
    let named = reached.iter().flat_map(|broker| broker.log_dirs.clone());
    let mut directories: Vec<PathBuf> = named.chain([PathBuf::from(DEFAULT_DATA)]).collect();
    directories.retain(|path| std::fs::metadata(path.join("meta.properties")).is_ok());
    directories.dedup();
    directories
}

pub(super) fn check(directories: &[PathBuf], findings: &mut Vec<Finding>) {
    for directory in directories {
        disk(directory, findings);
    }
    open_files(findings);
    memory(findings);
}

fn disk(directory: &Path, findings: &mut Vec<Finding>) {
    let subject = "disk here";
    let path = directory.display();
    match statfs(directory) {
        Ok(found) if found.f_type == TMPFS => {
            let advice = "it is lost when this machine or container ends: put log.dirs on a disk or a volume";
            findings.push(Finding::problem(subject, format!("{path} is in memory (tmpfs)"), advice));
            return;
        }
        Ok(_) => {}
        Err(error) => {
            let error = io::Error::from(error);
            findings.push(Finding::problem(
                subject,
                format!("{path}: {error}"),
                "name a directory that is there",
            ));
            return;
        }
    }
    match sync_times(directory) {
        Ok(times) => findings.push(judged(&format!("{path}"), times)),
        Err(error) => {
            let advice =
                "run it as the user of the node, or on a disk that has files without names (O_TMPFILE)";
            findings.push(Finding::warning(subject, format!("{path} cannot be measured: {error}"), advice));
        }
    }
}

/// How long each of some small writes took to be durable, in a file that has no name and is gone afterwards.
fn sync_times(directory: &Path) -> io::Result<Vec<Duration>> {
    let file = open(directory, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(file);
    let block = [0u8; WRITE_BYTES];
    let begun = Instant::now();
    let mut times = Vec::with_capacity(SYNCS_MAX);
    while times.len() < SYNCS_MAX && (times.is_empty() || begun.elapsed() < SYNCING_MAX) {
        file.write_all(&block)?;
        let at = Instant::now();
        file.sync_data()?;
        times.push(at.elapsed());
    }
    Ok(times)
}

fn judged(path: &str, mut times: Vec<Duration>) -> Finding {
    times.sort_unstable();
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
    let ms = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    let slow = at(90).copied().unwrap_or_default();
    let seen =
        format!("{path}: fdatasync takes {:.2} ms, one of ten {:.2} ms or more", ms(at(50)), ms(at(90)));
    let advice = "acks=all waits for it: take a local SSD or NVMe, not a network share; cheap disks need a cache with a battery";
    if slow > SYNC_BAD {
        Finding::problem("disk here", seen, advice)
    } else if slow > SYNC_NOTED {
        Finding::warning("disk here", seen, advice)
    } else {
        Finding::good("disk here", seen)
    }
}

fn open_files(findings: &mut Vec<Finding>) {
    // A node raises its own limit as far as it may, so that what it may is what counts.
    let maximum = getrlimit(Resource::Nofile).maximum;
    findings.push(open_files_of(maximum));
}

fn open_files_of(maximum: Option<u64>) -> Finding {
    let subject = "open files";
    let seen =
        maximum.map_or_else(|| "no limit".to_owned(), |most| format!("a process here may have {most}"));
    let advice = "raise it: LimitNOFILE=1048576 in the systemd unit, --ulimit nofile=1048576 for a container, or ulimit -Hn";
    match maximum {
        Some(most) if most < OPEN_FILES_BAD => Finding::problem(subject, seen, advice),
        Some(most) if most < OPEN_FILES_MIN => Finding::warning(subject, seen, advice),
        _ => Finding::good(subject, seen),
    }
}

fn memory(findings: &mut Vec<Finding>) {
    let available = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| available_of(&text));
    let limit =
        std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    if let Some(finding) = memory_of(available, limit) {
        findings.push(finding);
    }
}

fn available_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn memory_of(available: Option<u64>, limit: Option<u64>) -> Option<Finding> {
    let least = available.into_iter().chain(limit).min()?;
    let of = if limit == Some(least) { "this container's limit" } else { "free here" };
    let seen = format!("{} ({of})", size(least));
    let advice = "a node starts in 64 MiB; the rest is the page cache that consumers are served from";
    Some(if least < MEMORY_BAD {
        Finding::problem("memory", seen, advice)
    } else if least < MEMORY_MIN {
        Finding::warning("memory", seen, advice)
    } else {
        Finding::good("memory", seen)
    })
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_disk_is_judged_by_its_slow_syncs() {
        let times = |slow_ms: u64| {
            (0..10).map(|n| Duration::from_millis(if n < 8 { 1 } else { slow_ms })).collect::<Vec<_>>()
        };
        for (slow_ms, verdict) in [(2, Verdict::Good), (100, Verdict::Warning), (900, Verdict::Problem)] {
            assert_eq!(judged("/d", times(slow_ms)).verdict, verdict, "{slow_ms}");
        }
    }

    #[test]
    fn a_measurement_leaves_nothing_in_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        // A file system without unnamed files is told of, too.
        if let Ok(times) = sync_times(directory.path()) {
            assert!(!times.is_empty());
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn limits_are_judged() {
        assert_eq!(open_files_of(Some(1_000)).verdict, Verdict::Problem);
        assert_eq!(open_files_of(Some(4_096)).verdict, Verdict::Warning);
        assert_eq!(open_files_of(None).verdict, Verdict::Good);
        let meminfo = "MemTotal: 9 kB\nMemAvailable:    1048576 kB\n";
        assert_eq!(available_of(meminfo), Some(1 << 30));
        assert_eq!(memory_of(Some(1 << 30), Some(128 << 20)).unwrap().verdict, Verdict::Warning);
        assert_eq!(memory_of(None, None), None);
    }
}
