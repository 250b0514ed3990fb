//! The controller's process is killed, as often and as suddenly as a process can be.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use moldau_cluster::ControllerChannel;
use moldau_metadata::{MetadataImage, decode_batch};

use super::harness::{Broker, CLUSTER, create_topic, runtime, start};

/// Where the child keeps its metadata; only a child has it.
const DIRECTORY: &str = "MOLDAU_TEST_KILLED_CONTROLLER";
const ACKNOWLEDGED: &str = "acknowledged ";

/// Not a test of its own: the process that [`acknowledged_metadata_survives_sigkill`] kills.
#[test]
fn a_controller_to_be_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    runtime().block_on(async {
        let controller = start(Path::new(&directory)).await;
        let broker = Broker::join(&controller, 1).await;
        for number in 0.. {
            let name = format!("t{}-{number}", broker.epoch);
            let (created, _) = create_topic(&controller, &name, 1).await;
            assert_eq!(created.error_code, 0);
            println!("{ACKNOWLEDGED}topic {name}");
            let block = controller.allocate_producer_ids(broker.producer_ids()).await.unwrap();
            println!("{ACKNOWLEDGED}ids {}", block.first);
        }
    });
}

#[test]
fn acknowledged_metadata_survives_sigkill() {
    let directory = tempfile::tempdir().unwrap();
    let mut topics = BTreeSet::new();
    let mut blocks = BTreeSet::new();
    // Killed right after so many acknowledgements, while the next request is under way.
    for kill_after in [1, 40, 7, 90, 2, 25] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::a_controller_to_be_killed", "--nocapture", "--test-threads", "1"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut count = 0;
        for line in lines {
            // The harness prints the test's name on the same line as the first of them.
            let Some((_, what)) = line.split_once(ACKNOWLEDGED) else { continue };
            match what.split_once(' ').unwrap() {
                ("topic", name) => assert!(topics.insert(name.to_owned())),
                (_, first) => {
                    assert!(blocks.insert(first.parse::<i64>().unwrap()), "{first} was given out twice")
                }
            }
            count += 1;
            if count == kill_after {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(count >= kill_after, "the child ended by itself");
        check(directory.path(), &topics, &blocks);
    }
}

fn check(directory: &Path, topics: &BTreeSet<String>, blocks: &BTreeSet<i64>) {
    runtime().block_on(async {
        let controller = start(directory).await;
        let request = moldau_cluster::WatchMetadata { cluster_id: CLUSTER.to_owned(), after: None };
        let event = controller.watch_metadata(request).await.unwrap().recv().await.unwrap();
        let position = event.position();
        let moldau_cluster::MetadataEvent::Snapshot { records, .. } = event else { panic!("{event:?}") };
        let batch = decode_batch(&records).unwrap();
        let image = MetadataImage::from_snapshot([&batch], position.offset, position.epoch).unwrap();
        for name in topics {
            assert!(image.topics().by_name(name).is_some(), "topic {name} is lost");
        }
        let last = blocks.last().copied().unwrap_or(-1);
        assert!(image.next_producer_id().0 > last, "{} after {last}", image.next_producer_id());
        controller.shutdown().await;
    });
}
