//! The Raft library's own tests of a log store and a state machine.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::super::kv::RaftKv;
use super::super::kv::fault::FaultKv;
use super::super::kv::sled_store::SledKv;
use super::super::log_store::LogStore;
use super::super::snapshot::SnapshotFiles;
use super::super::state_machine::StateMachine;
use super::super::types::TypeConfig;
use crate::applied::Applied;

fn stores(directory: &TempDir, store: Arc<dyn RaftKv>) -> (LogStore, StateMachine) {
    let snapshots = SnapshotFiles::open(directory.path()).expect("the directory is readable");
    let machine = StateMachine::new(Arc::new(Applied::default()), snapshots);
    (LogStore::open(store).expect("the store is empty"), machine)
}

struct OnSled;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for OnSled {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = SledKv::open(&directory.path().join("log")).expect("a new store opens");
        let (log, machine) = stores(&directory, Arc::new(store));
        Ok((directory, log, machine))
    }
}

struct InMemory;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for InMemory {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (log, machine) = stores(&directory, Arc::new(FaultKv::default()));
        Ok((directory, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_librarys_suite_passes_on_sled() {
    Suite::test_all(OnSled).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_librarys_suite_passes_on_the_fault_store() {
    Suite::test_all(InMemory).await.unwrap();
}
