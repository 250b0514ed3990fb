//! A start in the project's container images: their own settings, unless the environment or a mounted file has others.
//! It is here and not in a script, for the small image has no shell.

use std::path::{Path, PathBuf};

use super::StartArguments;
use super::environment::Environment;

/// Where Apache Kafka's image, too, looks for a file of the user's.
const MOUNTED_FILE: &str = "/mnt/shared/config/server.properties";
/// What the image sets where nobody says how the broker is reached.
const SERVER_FILE: &str = "/opt/kafka/config/server.properties";
/// What it sets in any case.
const BASE_FILE: &str = "/opt/kafka/config/base.properties";
/// Where Bitnami's image keeps its things, and where compose files written for it mount their volume: here or above.
const BITNAMI_HOME: &str = "/bitnami/kafka";
const BITNAMI_VOLUMES: [&str; 2] = ["/bitnami", BITNAMI_HOME];
/// Mounts of this process; the fifth field is where.
const MOUNTS: &str = "/proc/self/mountinfo";

/// What was mounted into the container.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mounted {
    has_file: bool,
    has_bitnami_volume: bool,
}

impl Mounted {
    /// Looks. What cannot be looked at is not there.
    pub(super) fn look() -> Self {
        Self {
            has_file: Path::new(MOUNTED_FILE).is_file(),
            has_bitnami_volume: std::fs::read_to_string(MOUNTS)
                .is_ok_and(|mounts| BITNAMI_VOLUMES.iter().any(|path| is_mount_point(&mounts, path))),
        }
    }
}

fn is_mount_point(mounts: &str, path: &str) -> bool {
    mounts.lines().any(|line| line.split(' ').nth(4) == Some(path))
}

/// The image's file, below the files and overrides that were given.
pub(super) fn arguments(
    given: &StartArguments,
    environment: &Environment,
    mounted: Mounted,
) -> StartArguments {
    let is_set = |key: &str| environment.settings.contains_key(key);
    let file = if mounted.has_file {
        MOUNTED_FILE
    } else if is_set("listeners") || is_set("advertised.listeners") {
        // The listeners of the image, and its controller's among them, would contradict them.
        BASE_FILE
    } else {
        SERVER_FILE
    };
    let mut overrides = Vec::new();
    if mounted.has_bitnami_volume && !is_set("log.dirs") && !is_set("log.dir") {
        overrides.push(format!("log.dirs={BITNAMI_HOME}/data"));
    }
    overrides.extend(given.overrides.iter().cloned());
    let files = std::iter::once(PathBuf::from(file)).chain(given.files.iter().cloned()).collect();
    StartArguments { files, overrides, ..*given }
}

#[cfg(test)]
mod tests {
    use super::super::environment;
    use super::*;

    fn outcome(variables: &[(&str, &str)], mounted: Mounted, overrides: &[&str]) -> (String, Vec<String>) {
        let environment =
            environment::read(variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let overrides = overrides.iter().map(|text| (*text).to_owned()).collect();
        let given = StartArguments { overrides, ..StartArguments::default() };
        let made = arguments(&given, &environment, mounted);
        assert_eq!(made.files.len(), 1);
        (made.files[0].display().to_string(), made.overrides)
    }

    #[test]
    fn the_images_listeners_hold_until_somebody_names_others() {
        for (variable, file) in [
            ("PATH", SERVER_FILE),
            ("KAFKA_NODE_ID", SERVER_FILE),
            ("KAFKA_LISTENERS", BASE_FILE),
            ("KAFKA_CFG_ADVERTISED_LISTENERS", BASE_FILE),
            ("KAFKA_ADVERTISED_HOST_NAME", BASE_FILE),
            ("MOLDAU_LISTENERS", BASE_FILE),
        ] {
            assert_eq!(outcome(&[(variable, "1")], Mounted::default(), &[]).0, file, "{variable}");
        }
    }

    #[test]
    fn a_mounted_file_stands_in_the_place_of_the_images() {
        let mounted = Mounted { has_file: true, ..Mounted::default() };
        assert_eq!(outcome(&[("KAFKA_LISTENERS", "PLAINTEXT://:1")], mounted, &[]).0, MOUNTED_FILE);
    }

    #[test]
    fn data_goes_where_bitnamis_volume_is_unless_told_otherwise() {
        let mounted = Mounted { has_bitnami_volume: true, ..Mounted::default() };
        let there = "log.dirs=/bitnami/kafka/data";
        assert_eq!(outcome(&[], mounted, &["log.dirs=/x"]).1, [there, "log.dirs=/x"]);
        assert_eq!(outcome(&[("KAFKA_CFG_LOG_DIRS", "/y")], mounted, &[]).1, Vec::<String>::new());
        assert_eq!(outcome(&[], Mounted::default(), &[]).1, Vec::<String>::new());
    }

    #[test]
    fn a_volume_is_told_by_its_place_among_the_mounts() {
        let mounts = "36 35 98:0 / / rw,noatime - ext4 /dev/root rw\n\
                      40 36 98:0 /volumes/x/_data /bitnami/kafka rw - ext4 /dev/root rw\n";
        assert!(is_mount_point(mounts, "/bitnami/kafka"));
        assert!(!is_mount_point(mounts, "/bitnami") && !is_mount_point(mounts, "/volumes/x/_data"));
    }
}
