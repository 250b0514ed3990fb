//! One node of `moldau dev`: a process of its own, so that killing one is what a crash is.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::Sender;

use super::ports::Ports;

/// How the table of a node that is ready begins; its lines stay away, for there is one table for all.
const READY: &str = " is ready";

/// What a node has to tell.
#[derive(Debug)]
pub(super) enum Event {
    Line { node: usize, text: String },
    Ready { node: usize },
    Ended { node: usize, run: u32, status: Option<ExitStatus> },
}

/// A node's settings, and its process where it has one.
pub(super) struct Node {
    index: usize,
    directory: PathBuf,
    overrides: Vec<String>,
    pid: Option<Pid>,
    /// Counts its processes, so that the end of an old one is not taken for the new one's.
    run: u32,
}

impl Node {
    pub(super) fn new(index: usize, all: &[Ports], directory: &Path, further: &[String]) -> Self {
        let overrides = overrides(index, all, directory).into_iter().chain(further.iter().cloned()).collect();
        Self { index, directory: directory.to_owned(), overrides, pid: None, run: 0 }
    }

    pub(super) fn is_running(&self) -> bool {
        self.pid.is_some()
    }

    /// Takes note of an end, unless it is that of an earlier process.
    pub(super) fn ended(&mut self, run: u32) -> bool {
        let is_present = run == self.run;
        if is_present {
            self.pid = None;
        }
        is_present
    }

    /// Starts the process, whose lines and whose end come as events.
    pub(super) fn start(&mut self, events: &Sender<Event>) -> Result<(), String> {
        let program =
            std::env::current_exe().map_err(|error| format!("cannot find moldau itself: {error}"))?;
        let mut command = Command::new(program);
        command.arg("start").arg("--end-with-parent");
        for text in &self.overrides {
            command.arg("--override").arg(text);
        }
        // Settings of the terminal's environment would be the same for every node.
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            let is_setting = name_text.starts_with("KAFKA_") || name_text.starts_with("MOLDAU_");
            if (is_setting && name_text != "MOLDAU_LOG") || name_text == "CLUSTER_ID" {
                command.env_remove(&name);
            }
        }
        // Ctrl-C goes to the terminal's group; the nodes are stopped by us, in order.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| format!("node {} cannot start: {error}", self.index + 1))?;
        self.pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        self.run += 1;
        let (node, run, events) = (self.index, self.run, events.clone());
        tokio::spawn(async move { follow(&mut child, node, run, &events).await });
        Ok(())
    }

    /// Sends a signal to the process; nothing where there is none.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            // One that has just ended cannot be told any more, and need not.
            let _ = kill_process(pid, signal);
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Hands on what the process writes, and at last how it ended.
async fn follow(child: &mut Child, node: usize, run: u32, events: &Sender<Event>) {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let log = async {
        let Some(err) = err else { return };
        let mut lines = BufReader::new(err).lines();
        while let Ok(Some(text)) = lines.next_line().await {
            send(events, Event::Line { node, text }).await;
        }
    };
    let table = async {
        let Some(out) = out else { return };
        let mut lines = BufReader::new(out).lines();
        while let Ok(Some(text)) = lines.next_line().await {
            if text.starts_with("moldau ") && text.ends_with(READY) {
                send(events, Event::Ready { node }).await;
            }
        }
    };
    tokio::join!(log, table);
    let status = child.wait().await.ok();
    send(events, Event::Ended { node, run, status }).await;
}

async fn send(events: &Sender<Event>, event: Event) {
    // Nobody listens any more when everything is over.
    drop(events.send(event).await);
}

/// What makes one of several nodes of a process: its ports, its place in the quorum, and as many replicas as there are
/// nodes, up to three.
fn overrides(index: usize, all: &[Ports], directory: &Path) -> Vec<String> {
    let id = index + 1;
    let Ports { client, controller, http } = all[index];
    // A quorum of an even number outlives no more failures than the odd number below it.
    let voters = if all.len().is_multiple_of(2) { all.len() - 1 } else { all.len() };
    let is_voter = index < voters;
    let quorum = all.iter().take(voters).enumerate();
    let quorum: Vec<String> =
        quorum.map(|(at, node)| format!("{}@127.0.0.1:{}", at + 1, node.controller)).collect();
    let replicas = all.len().min(3);
    let in_sync = if replicas == 3 { 2 } else { 1 };
    let mut listeners = format!("PLAINTEXT://localhost:{client}");
    if is_voter {
        listeners.push_str(&format!(",CONTROLLER://127.0.0.1:{controller}"));
    }
    vec![
        format!("node.id={id}"),
        format!("process.roles={}", if is_voter { "broker,controller" } else { "broker" }),
        format!("listeners={listeners}"),
        format!("advertised.listeners=PLAINTEXT://localhost:{client}"),
        "controller.listener.names=CONTROLLER".to_owned(),
        format!("controller.quorum.voters={}", quorum.join(",")),
        format!("log.dirs={}", directory.display()),
        format!("http.listener=127.0.0.1:{http}"),
        "group.initial.rebalance.delay.ms=0".to_owned(),
        format!("default.replication.factor={replicas}"),
        format!("min.insync.replicas={in_sync}"),
        format!("offsets.topic.replication.factor={replicas}"),
        format!("transaction.state.log.replication.factor={replicas}"),
        format!("transaction.state.log.min.isr={in_sync}"),
        format!("share.coordinator.state.topic.replication.factor={replicas}"),
        format!("share.coordinator.state.topic.min.isr={in_sync}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(count: u16) -> Vec<Ports> {
        (0..count).map(|n| Ports { client: 1000 + n, controller: 2000 + n, http: 3000 + n }).collect()
    }

    #[test]
    fn three_nodes_outlive_the_loss_of_one() {
        let settings = overrides(1, &ports(3), Path::new("/d"));
        for expected in [
            "node.id=2",
            "process.roles=broker,controller",
            "controller.quorum.voters=1@127.0.0.1:2000,2@127.0.0.1:2001,3@127.0.0.1:2002",
            "default.replication.factor=3",
            "min.insync.replicas=2",
            "offsets.topic.replication.factor=3",
        ] {
            assert!(settings.iter().any(|setting| setting == expected), "{expected} in {settings:?}");
        }
    }

    #[test]
    fn of_an_even_number_one_does_not_vote() {
        let settings = overrides(3, &ports(4), Path::new("/d"));
        assert!(settings.contains(&"process.roles=broker".to_owned()));
        assert!(settings.contains(&"listeners=PLAINTEXT://localhost:1003".to_owned()));
    }
}
