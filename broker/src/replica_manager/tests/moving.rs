//! Logs that move between the log directories of one broker while they are appended to, cut, cleaned and deleted.

use super::*;
use crate::replica_manager::MoveProgress;

const DIRS: [&str; 3] = ["/a", "/b", "/c"];
/// No move of these takes more steps.
const STEPS_MAX: usize = 200;

fn start(disk: &FaultFileSystem) -> Fixture {
    let mut f = Fixture::over(disk.clone(), &DIRS);
    f.create();
    f.manager.make_logs();
    f
}

impl Fixture {
    fn alter(&self, partition: i32, path: &str) -> Result<(), ErrorCode> {
        let image = self.metadata.image();
        self.manager.alter_log_dir(&image, OFFSETS_TOPIC, PartitionIndex(partition), path)
    }

    fn path(&self, partition: i32) -> String {
        self.partition(partition).dir().log.path().display().to_string()
    }

    /// Another directory than the one it is in.
    fn other(&self, partition: i32) -> &'static str {
        DIRS.into_iter().find(|path| *path != self.path(partition)).unwrap()
    }

    pub(super) fn append_durably(&self, partition: i32) {
        self.append_only(partition);
        while self.partition(partition).sync().unwrap() {}
    }

    /// Takes the move so many steps on. Whether it has come to its end.
    fn advance(&self, partition: i32, steps: usize) -> bool {
        let hosted = self.partition(partition);
        for _ in 0..steps {
            match hosted.advance_move() {
                MoveProgress::Copied(_) | MoveProgress::Waits => {}
                MoveProgress::Ended => return true,
                MoveProgress::Moved { old, from } => {
                    hosted.finish_move(old, &from).unwrap();
                    self.manager.note_moved(&from, &hosted.dir());
                    return true;
                }
                MoveProgress::Failed { dir, reason } => {
                    dir.log.take_offline(reason.as_str());
                    self.manager.handle_offline_dir(&dir);
                    return true;
                }
            }
        }
        false
    }

    /// The directories that have something of the partition, and what it is called there without what is random.
    fn traces(&self, partition: i32) -> Vec<String> {
        let name = format!("{OFFSETS_TOPIC}-{partition}");
        let mut traces = Vec::new();
        for dir in DIRS {
            for entry in self.disk.read_dir(Path::new(dir)).unwrap() {
                let Some(rest) = entry.name.strip_prefix(&name) else { continue };
                match rest.rsplit_once('-') {
                    None if rest.is_empty() => traces.push(dir.to_owned()),
                    Some((_, "future")) => traces.push(format!("{dir} future")),
                    _ => {}
                }
            }
        }
        traces
    }

    fn count(&self, partition: i32) -> usize {
        self.load(partition, 0).unwrap().len()
    }
}

#[test]
fn a_log_moves_while_it_is_appended_to_and_nothing_is_lost() {
    let f = start(&FaultFileSystem::new());
    for _ in 0..20 {
        f.append_durably(0);
    }
    let (from, to) = (f.path(0), f.other(0));
    f.alter(0, to).unwrap();
    let lag = f.partition(0).future().unwrap();
    assert_eq!(lag.offset_lag, 20);
    assert_eq!(f.traces(0).len(), 2);
    let mut appended = 20;
    while !f.advance(0, 1) {
        assert_eq!(f.path(0), from, "the log is where it was until the copy takes its place");
        f.append_durably(0);
        appended += 1;
        assert!(appended < STEPS_MAX);
    }
    assert_eq!((f.path(0).as_str(), f.partition(0).future()), (to, None));
    assert_eq!(f.traces(0), [to]);
    f.append_durably(0);
    assert_eq!(f.count(0), appended + 1);
    assert_eq!(f.partition(0).high_watermark(), Offset(appended as i64 + 1));
    // The controller is told where it is now.
    let misplaced = f.manager.misplaced(&f.metadata.image());
    let told = misplaced.iter().find(|replica| replica.partition == PartitionIndex(0)).unwrap();
    assert_eq!(told.directory, f.partition(0).dir().id);
}

#[test]
fn a_move_goes_on_after_a_restart_at_every_step_whether_the_power_went_or_the_process_ended() {
    for steps in 0..12 {
        for cut in 0..3 {
            let disk = FaultFileSystem::new();
            let f = start(&disk);
            for _ in 0..10 {
                f.append_durably(0);
            }
            let to = f.other(0);
            f.alter(0, to).unwrap();
            let is_moved = f.advance(0, steps);
            f.append_durably(0);
            drop(f);
            if cut == 0 {
                disk.kill_process()
            } else {
                disk.power_cut(cut)
            }
            let f = start(&disk);
            let what = format!("after {steps} steps, {cut}");
            assert_eq!(f.count(0), 11, "{what}");
            if !is_moved && !f.partition(0).is_moving() {
                // The copy's name was not durable yet.
                f.alter(0, to).unwrap();
            }
            assert!(f.advance(0, STEPS_MAX), "{what}");
            assert_eq!((f.path(0).as_str(), f.count(0)), (to, 11), "{what}");
            assert_eq!(f.traces(0), [to], "{what}");
        }
    }
}

#[test]
fn a_move_may_get_another_goal_or_none() {
    let f = start(&FaultFileSystem::new());
    for _ in 0..10 {
        f.append_durably(0);
    }
    let here = f.path(0);
    let goals: Vec<&str> = DIRS.into_iter().filter(|path| *path != here).collect();
    f.alter(0, &here).unwrap();
    assert!(!f.partition(0).is_moving(), "it is there already");
    f.alter(0, goals[0]).unwrap();
    f.advance(0, 2);
    f.alter(0, goals[0]).unwrap();
    assert_eq!(f.partition(0).future().unwrap().offset_lag, 0, "the same goal changes nothing");
    f.alter(0, goals[1]).unwrap();
    assert_eq!(f.traces(0).len(), 2, "the first copy is gone: {:?}", f.traces(0));
    f.advance(0, 2);
    f.alter(0, &here).unwrap();
    assert!(f.advance(0, 1) && f.traces(0) == [here.clone()]);
    f.alter(0, goals[1]).unwrap();
    assert!(f.advance(0, STEPS_MAX));
    assert_eq!((f.path(0).as_str(), f.count(0)), (goals[1], 10));
    // And back to where it came from, of which nothing is left.
    f.alter(0, &here).unwrap();
    assert!(f.advance(0, STEPS_MAX));
    assert_eq!((f.path(0), f.traces(0), f.count(0)), (here.clone(), vec![here], 10));
}

#[test]
fn a_topic_that_is_deleted_while_it_moves_leaves_nothing() {
    for steps in [0, 2] {
        let mut f = start(&FaultFileSystem::new());
        f.append_durably(0);
        f.alter(0, f.other(0)).unwrap();
        f.advance(0, steps);
        let hosted = f.partition(0);
        f.remove();
        assert!(matches!(hosted.advance_move(), MoveProgress::Ended));
        assert_eq!(f.traces(0), Vec::<String>::new());
    }
}

#[test]
fn a_copy_of_a_topic_that_is_gone_goes_with_the_next_start() {
    let disk = FaultFileSystem::new();
    let f = start(&disk);
    f.append_durably(0);
    f.alter(0, f.other(0)).unwrap();
    f.advance(0, 3);
    drop(f);
    disk.kill_process();
    let f = Fixture::over(disk, &DIRS);
    f.manager.remove_strays(&f.metadata.image());
    assert_eq!(f.traces(0), Vec::<String>::new());
}

#[test]
fn what_cannot_be_moved_is_refused_in_kafkas_words() {
    let f = start(&FaultFileSystem::new());
    assert_eq!(f.alter(0, "/nowhere"), Err(ErrorCode::LogDirNotFound));
    assert_eq!(f.alter(PARTITIONS, DIRS[0]), Err(ErrorCode::UnknownTopicOrPartition));
    let image = f.metadata.image();
    let alter = |topic: &str| f.manager.alter_log_dir(&image, topic, PartitionIndex(0), DIRS[0]);
    assert_eq!(alter("never"), Err(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(alter(&"x".repeat(249)), Err(ErrorCode::InvalidTopicException));
    let goal = f.other(0);
    f.manager.dirs().set_cordoned(&[goal]);
    assert_eq!(f.alter(0, goal), Err(ErrorCode::InvalidReplicaAssignment));
    f.manager.dirs().set_cordoned(&[]);
    f.manager.dirs().by_path(goal).unwrap().log.take_offline("a test");
    assert_eq!(f.alter(0, goal), Err(ErrorCode::KafkaStorageError));
}

#[test]
fn a_replica_that_comes_later_goes_where_it_was_wished_and_a_cordoned_directory_gets_none() {
    let mut f = Fixture::over(FaultFileSystem::new(), &DIRS);
    f.register(INCARNATION);
    for partition in 0..PARTITIONS {
        assert_eq!(f.alter(partition, DIRS[2]), Err(ErrorCode::UnknownTopicOrPartition));
    }
    f.create_topic();
    assert!((0..PARTITIONS).all(|partition| f.path(partition) == DIRS[2]));
    let mut f = Fixture::over(FaultFileSystem::new(), &DIRS);
    f.manager.dirs().set_cordoned(&[DIRS[0], DIRS[2]]);
    f.create();
    assert!((0..PARTITIONS).all(|partition| f.path(partition) == DIRS[1]));
    // With all of them cordoned a replica has to be somewhere all the same.
    let mut f = Fixture::over(FaultFileSystem::new(), &DIRS);
    f.manager.dirs().set_cordoned(&["*"]);
    f.create();
    assert_eq!(f.manager.partitions().len(), PARTITIONS as usize);
}

#[test]
fn a_goal_that_fails_ends_the_move_and_a_source_that_fails_the_log() {
    let f = start(&FaultFileSystem::new());
    f.append_durably(0);
    let (from, to) = (f.path(0), f.other(0));
    f.alter(0, to).unwrap();
    f.disk.fail_once(Operation::SyncData, 0, FaultKind::Io);
    assert!(f.advance(0, STEPS_MAX));
    assert!(!f.partition(0).is_moving() && f.path(0) == from);
    assert!(!f.manager.dirs().by_path(to).unwrap().is_online());
    f.append_durably(0);
    assert_eq!(f.count(0), 2);

    let f = start(&FaultFileSystem::new());
    f.append_durably(0);
    let hosted = f.partition(0);
    f.alter(0, f.other(0)).unwrap();
    let source = hosted.dir();
    source.log.take_offline("a test");
    f.manager.handle_offline_dir(&source);
    assert!(matches!(hosted.advance_move(), MoveProgress::Ended));
    assert_eq!(f.manager.get(hosted.id()).err(), Some(ErrorCode::KafkaStorageError));
}

#[test]
fn a_full_disk_makes_a_move_wait_for_room() {
    let f = start(&FaultFileSystem::new());
    for _ in 0..5 {
        f.append_durably(0);
    }
    let to = f.other(0);
    f.alter(0, to).unwrap();
    f.disk.fail_always(Operation::Write, FaultKind::NoSpace);
    assert!(matches!(f.partition(0).advance_move(), MoveProgress::Waits));
    f.disk.clear_faults();
    assert!(f.advance(0, STEPS_MAX));
    assert_eq!((f.path(0).as_str(), f.count(0)), (to, 5));
}

#[test]
fn a_sync_that_began_before_the_move_and_ends_after_it_takes_nothing_back() {
    let f = start(&FaultFileSystem::new());
    f.append_durably(0);
    f.append_only(0);
    let hosted = f.partition(0);
    let ticket = hosted.lock().log.as_mut().unwrap().begin_sync().unwrap();
    f.alter(0, f.other(0)).unwrap();
    assert!(f.advance(0, STEPS_MAX));
    assert_eq!(hosted.high_watermark(), Offset(2), "the copy was made durable as a whole");
    ticket.run().unwrap();
    assert!(!hosted.finish_sync(ticket));
    f.append_durably(0);
    assert_eq!((hosted.high_watermark(), f.count(0)), (Offset(3), 3));
}

#[test]
fn threads_move_many_logs_while_all_are_appended_to() {
    let f = start(&FaultFileSystem::new());
    let mover = crate::log_mover::LogMover::start(Arc::clone(&f.manager), None).unwrap();
    for partition in 0..PARTITIONS {
        f.append_durably(partition);
    }
    for goal in [DIRS[0], DIRS[1], DIRS[2]] {
        for partition in 0..PARTITIONS {
            f.alter(partition, goal).unwrap();
            f.append_durably(partition);
        }
        let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
        while (0..PARTITIONS).any(|partition| f.path(partition) != goal) {
            assert!(std::time::Instant::now() < deadline, "the logs are not at {goal}");
            (0..PARTITIONS).for_each(|partition| f.append_durably(partition));
        }
    }
    drop(mover);
    for partition in 0..PARTITIONS {
        let records = f.load(partition, 0).unwrap();
        assert!(records.iter().map(|(offset, _)| *offset).eq(0..records.len() as i64));
        assert_eq!(f.partition(partition).high_watermark(), Offset(records.len() as i64));
    }
}
