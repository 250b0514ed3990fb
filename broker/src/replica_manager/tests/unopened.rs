//! Log directories that the disk does not give at a start.

use super::*;
use moldau_model::BrokerEpoch;

const DIRS: [&str; 3] = ["/a", "/b", "/c"];
const BROKEN: &str = "/b";

fn start(disk: &FaultFileSystem) -> Fixture {
    let mut f = Fixture::over(disk.clone(), &DIRS);
    f.create();
    f.manager.make_logs();
    f
}

/// Makes the directory unusable, and gives what is needed to bring it back.
fn break_identity(disk: &FaultFileSystem, dir: &str) -> Vec<u8> {
    let path = Path::new(dir).join("meta.properties");
    let whole = disk.bytes(&path).unwrap();
    disk.set_bytes(&path, b"version=1\n".to_vec()).unwrap();
    whole
}

fn mend(disk: &FaultFileSystem, dir: &str, identity: Vec<u8>) {
    disk.set_bytes(&Path::new(dir).join("meta.properties"), identity).unwrap();
}

impl Fixture {
    fn state(&self, partition: i32) -> Result<String, ErrorCode> {
        let image = self.metadata.image();
        let hosted = self.manager.by_name(&image, OFFSETS_TOPIC, PartitionIndex(partition))?;
        Ok(hosted.dir().log.path().display().to_string())
    }

    fn has_log(&self, dir: &str, partition: i32) -> bool {
        let name = format!("{OFFSETS_TOPIC}-{partition}");
        self.disk.read_dir(Path::new(dir)).unwrap().iter().any(|entry| entry.name == name)
    }
}

#[test]
fn one_directory_that_cannot_be_opened_leaves_the_others_and_its_logs_are_made_nowhere_else() {
    let disk = FaultFileSystem::new();
    let f = start(&disk);
    (0..PARTITIONS).for_each(|partition| f.append_durably(partition));
    let before: Vec<String> = (0..PARTITIONS).map(|partition| f.state(partition).unwrap()).collect();
    let lost = |partition: i32| before[partition as usize] == BROKEN;
    assert!((0..PARTITIONS).any(lost));
    drop(f);
    disk.kill_process();
    break_identity(&disk, BROKEN);

    let mut f = start(&disk);
    assert_eq!(f.manager.dirs().unopened(), [PathBuf::from(BROKEN)]);
    assert_eq!((f.manager.dirs().offline_count(), f.manager.dirs().online_ids().len()), (1, 2));
    let image = f.metadata.image();
    f.manager.remove_strays(&image);
    for partition in 0..PARTITIONS {
        if lost(partition) {
            assert_eq!(f.state(partition), Err(ErrorCode::KafkaStorageError));
            assert!(DIRS.iter().all(|dir| *dir == BROKEN || !f.has_log(dir, partition)));
        } else {
            assert_eq!(f.state(partition).as_ref(), Ok(&before[partition as usize]));
        }
    }
    let wish = f.manager.alter_log_dir(&image, OFFSETS_TOPIC, PartitionIndex(0), BROKEN);
    assert_eq!(wish, Err(ErrorCode::KafkaStorageError));
    // What is new from here on has its place.
    f.remove();
    f.create_topic();
    assert!((0..PARTITIONS).all(|partition| f.state(partition).is_ok_and(|dir| dir != BROKEN)));
    drop(f);

    // A start at which the directory is back finds all as it was.
    let disk = FaultFileSystem::new();
    let f = start(&disk);
    (0..PARTITIONS).for_each(|partition| f.append_durably(partition));
    drop(f);
    disk.kill_process();
    let identity = break_identity(&disk, BROKEN);
    let f = start(&disk);
    f.manager.remove_strays(&f.metadata.image());
    drop(f);
    disk.kill_process();
    mend(&disk, BROKEN, identity);
    let f = start(&disk);
    assert!((0..PARTITIONS).all(|partition| f.load(partition, 0).unwrap().len() == 1));
}

#[test]
fn an_older_copy_is_not_taken_for_the_log_whose_directory_cannot_be_opened() {
    let disk = FaultFileSystem::new();
    let f = start(&disk);
    f.append_durably(0);
    let held = f.state(0).unwrap();
    let failed = DIRS.into_iter().find(|dir| *dir != held).unwrap();
    let failed_id = f.manager.dirs().by_path(failed).unwrap().id;
    drop(f);
    disk.kill_process();
    let identity = break_identity(&disk, failed);
    let open = |disk: &FaultFileSystem| {
        let mut f = Fixture::over(disk.clone(), &DIRS);
        f.register(INCARNATION);
        f.manager.dirs().iter().for_each(|dir| assert!(dir.is_online()));
        let mut records: Vec<MetadataRecord> =
            vec![records::Topic { name: OFFSETS_TOPIC.into(), topic_id: TOPIC_ID.to_vec() }.into()];
        records.push(MetadataRecord::from(records::Partition {
            partition_index: 0,
            topic_id: TOPIC_ID.to_vec(),
            replicas: vec![NODE.0],
            isr: vec![NODE.0],
            leader: NODE.0,
            directories: vec![failed_id.as_bytes().to_vec()],
            ..records::Partition::default()
        }));
        f.change(records);
        f
    };
    let f = open(&disk);
    assert_eq!(f.state(0), Err(ErrorCode::KafkaStorageError));
    f.manager.remove_strays(&f.metadata.image());
    assert_eq!(f.state(0), Err(ErrorCode::KafkaStorageError));
    assert!(f.has_log(&held, 0), "nor is it deleted");
    drop(f);
    disk.kill_process();
    // With the directory that metadata names at hand, and without the log, this one is it.
    mend(&disk, failed, identity);
    assert_eq!(open(&disk).state(0), Ok(held));
}

#[test]
fn without_any_directory_there_is_no_start() {
    let disk = FaultFileSystem::new();
    drop(start(&disk));
    disk.kill_process();
    DIRS.into_iter().for_each(|dir| drop(break_identity(&disk, dir)));
    let file_system: Arc<dyn FileSystem> = Arc::new(disk);
    let paths = DIRS.map(PathBuf::from);
    let told = LogDirs::open(&file_system, &paths, &[], "cluster", NODE, 100).err().unwrap().to_string();
    assert!(told.starts_with("no log directory can be used: ") && told.contains(BROKEN), "{told}");
}

#[test]
fn a_directory_that_failed_keeps_no_other_from_its_mark_of_a_clean_stop() {
    let disk = FaultFileSystem::new();
    let f = start(&disk);
    (0..PARTITIONS).for_each(|partition| f.append_durably(partition));
    let failed = f.partition(0).dir();
    failed.log.take_offline("its disk is gone".to_owned());
    f.manager.close_clean(BrokerEpoch(1)).unwrap();
    for dir in DIRS {
        let is_marked = disk.bytes(&Path::new(dir).join(".kafka_cleanshutdown")).is_ok();
        assert_eq!(is_marked, Path::new(dir) != failed.log.path(), "{dir}");
    }
}

#[test]
fn a_log_that_cannot_be_closed_leaves_its_directory_alone_without_the_mark() {
    let disk = FaultFileSystem::new();
    let f = start(&disk);
    (0..PARTITIONS).for_each(|partition| f.append_durably(partition));
    let dirs: std::collections::BTreeSet<PathBuf> =
        (0..PARTITIONS).map(|partition| f.partition(partition).dir().log.path().to_owned()).collect();
    f.append_only(0);
    disk.fail_once(Operation::SyncData, 0, FaultKind::Io);
    assert!(f.manager.close_clean(BrokerEpoch(1)).is_err());
    for dir in dirs {
        let is_marked = disk.bytes(&dir.join(".kafka_cleanshutdown")).is_ok();
        assert_eq!(is_marked, dir != f.partition(0).dir().log.path(), "{}", dir.display());
    }
}
