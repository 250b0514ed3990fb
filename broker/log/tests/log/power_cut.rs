//! Power is cut after every single write, sync, rename and removal of a seeded workload. Whatever of the unsynced part
//! the disk kept, the log opens to a prefix of what was written: whole batches, no hole, nothing that was cut off
//! before, and all that a sync had promised.

mod model;
mod workload;

use model::{Cut, Model};
use workload::{Flavour, Workload};

/// Runs the workload up to the given change of the disk, cuts the power, or only kills the process, and looks at what is
/// left.
fn cut_at(flavour: Flavour, seed: u64, mutations: u64, cut_seed: u64) {
    let mut workload = Workload::new(flavour, seed);
    workload.disk.power_off_at(mutations);
    workload.run();
    let Workload { disk, model, .. } = workload;
    let what = format!("{flavour:?} seed {seed}, cut after {mutations} changes by seed {cut_seed}");
    if cut_seed.is_multiple_of(3) {
        disk.kill_process();
    } else {
        disk.power_cut(cut_seed);
    }
    let open = || workload::open(&disk, flavour).unwrap_or_else(|error| panic!("{what}: {error}"));
    let (mut directory, mut log) = open();
    let cut = Cut::read(&log);
    model.check(&log, &cut, flavour, directory.was_clean_shutdown(), &what);

    // What was found is durable now, and believed at the next start.
    directory.write_checkpoints(&[workload::checkpoint_of(&log)]).unwrap();
    if mutations.is_multiple_of(2) {
        drop((log, directory));
        disk.power_cut(cut_seed);
        (directory, log) = open();
        Model::of(&cut).check(&log, &Cut::read(&log), flavour, false, &format!("{what}, then at once again"));
    }
    // The log goes on, and a second loss of power takes nothing away.
    let second = workload::go_on(&mut log, &cut);
    directory.write_checkpoints(&[workload::checkpoint_of(&log)]).unwrap();
    drop((log, directory));
    disk.power_cut(4711);
    let (_directory, log) = open();
    second.check(&log, &Cut::read(&log), flavour, false, &format!("{what}, then again"));
}

/// `MOLDAU_LOG_SEEDS` asks for more workloads than the few that every run affords.
fn seeds() -> u64 {
    std::env::var("MOLDAU_LOG_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(4)
}

#[expect(clippy::print_stdout, reason = "tests/reliability keeps how many there were")]
fn cut_everywhere(flavour: Flavour) {
    let (mut journaled, mut cuts) = (0, 0);
    for seed in 0..seeds() {
        let mut whole = Workload::new(flavour, seed);
        whole.run();
        assert!(!whole.interrupted, "{flavour:?} seed {seed} does not run through");
        let mutations = whole.disk.mutations();
        assert!(mutations > 60, "{flavour:?} seed {seed}: a workload of {mutations} changes shows little");
        journaled += whole.journaled;
        for at in 0..=mutations {
            cut_at(flavour, seed, at, seed + at);
        }
        cuts += mutations + 1;
    }
    println!("power cut {cuts} times: a partition's log, {flavour:?}");
    assert!(journaled > seeds() / 2, "{flavour:?}: the journal took {journaled} tickets");
}

#[test]
fn appends_rolls_and_syncs() {
    cut_everywhere(Flavour::Append);
}

#[test]
fn truncations_and_new_epochs() {
    cut_everywhere(Flavour::Truncate);
}

#[test]
fn transactions() {
    cut_everywhere(Flavour::Transact);
}

#[test]
fn deletions_and_retention() {
    cut_everywhere(Flavour::Delete);
}

#[test]
fn compaction_at_every_step_of_the_swap() {
    cut_everywhere(Flavour::Compact);
}

#[test]
fn a_clean_shutdown() {
    cut_everywhere(Flavour::Close);
    // Once the marker is there, everything else must be.
    for seed in 0..2 * seeds() {
        let mut whole = Workload::new(Flavour::Close, seed);
        whole.run();
        for cut_seed in 0..20 {
            cut_at(Flavour::Close, seed, whole.disk.mutations(), cut_seed);
        }
    }
}
