//! `moldau dev`: a whole cluster in one terminal, for trying things out. Ctrl-C ends all of it.

mod node;
mod ports;
mod screen;

use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

use super::{Failure, http};
use crate::console::Console;
use node::{Event, Node};
use ports::Ports;
use screen::Table;

/// More nodes than the ports of five have room for show nothing that five do not.
const NODES_MAX: usize = 5;
/// Lines that may wait to be printed; a node that writes faster waits for the terminal.
const EVENTS_MAX: usize = 1024;
/// How long nodes get for a clean stop; a broker's own bounds are shorter.
const STOP_MAX: Duration = Duration::from_secs(60);
/// A second Ctrl-C so soon is the first one, that a program around us passed on.
const IMPATIENT_AFTER: Duration = Duration::from_secs(1);
/// How long a node's console may take to show that it is there.
const CONSOLE_MAX: Duration = Duration::from_secs(2);
const CONSOLE_PATH: &str = "/ui/";

#[derive(Args)]
pub(super) struct Arguments {
    /// How many nodes; with three, each record is on all three and one may die
    #[arg(short, long, default_value_t = 1)]
    nodes: usize,
    /// Keep the data here, and go on with it the next time; default: a temporary directory
    #[arg(short, long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// The first node's port for clients, the next node's is 10000 higher; 0 for free ones [default: 9092, or free ones]
    #[arg(short, long)]
    port: Option<u16>,
    /// One setting of every node
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

pub(super) fn run(arguments: &Arguments, console: &mut Console<'_>) -> Result<(), Failure> {
    if !(1..=NODES_MAX).contains(&arguments.nodes) {
        return Err(Failure::Text(format!(
            "--nodes {}: from 1 to {NODES_MAX}; more of them are started one by one with `moldau start`",
            arguments.nodes
        )));
    }
    let (data, is_temporary) = data_directory(arguments)?;
    let result = in_directory(arguments, &data, is_temporary, console);
    if is_temporary && let Err(error) = std::fs::remove_dir_all(&data) {
        crate::console::note(&format!("cannot remove {}: {error}", data.display()));
    }
    result
}

fn data_directory(arguments: &Arguments) -> Result<(PathBuf, bool), Failure> {
    let named = |path: &Path, error: &io::Error| {
        Failure::Text(format!("cannot make {}: {error}; choose another by --data-dir", path.display()))
    };
    match &arguments.data_dir {
        Some(path) => {
            std::fs::create_dir_all(path).map_err(|error| named(path, &error))?;
            let path = std::path::absolute(path).map_err(|error| named(path, &error))?;
            Ok((path, false))
        }
        None => {
            use std::os::unix::fs::DirBuilderExt;
            let path = std::env::temp_dir().join(format!("moldau-dev-{}", std::process::id()));
            // One that is there already is somebody else's, and not to be removed at the end.
            std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(|error| named(&path, &error))?;
            Ok((path, true))
        }
    }
}

fn in_directory(
    arguments: &Arguments,
    data: &Path,
    is_temporary: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let (ports, note) = ports_of(arguments, data).map_err(Failure::Text)?;
    let nodes = (0..ports.len())
        .map(|index| {
            let directory = data.join(format!("node-{}", index + 1));
            Node::new(index, &ports, &directory, &arguments.overrides)
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Text(format!("cannot start: {error}")))?;
    let colours = io::stderr().is_terminal() && crate::console::wants_colours();
    let (sender, events) = channel(EVENTS_MAX);
    let mut cluster = Cluster { nodes, ports, events, sender, colours, ready: 0 };
    let result = runtime.block_on(async {
        if let Some(note) = note {
            cluster.say(&note, console)?;
        }
        let served = cluster.serve(data, is_temporary, console).await;
        let stopped = cluster.stop(console).await;
        served.and(stopped)
    });
    // The thread that reads standard input may stay in its read.
    runtime.shutdown_background();
    result
}

/// The ports: those of the directory, or chosen ones, with what there is to say about them.
fn ports_of(arguments: &Arguments, data: &Path) -> Result<(Vec<Ports>, Option<String>), String> {
    if let Some(kept) = ports::kept(data)? {
        let directory = data.display();
        if kept.len() != arguments.nodes {
            let (has, nodes) = (kept.len(), arguments.nodes);
            return Err(format!(
                "{directory} holds a cluster of {has}, not of {nodes}: start it with --nodes {has}, or choose another --data-dir"
            ));
        }
        let first = kept.first().map_or(0, |ports| ports.client);
        if arguments.port.is_some_and(|port| port != 0 && port != first) {
            return Err(format!(
                "the nodes in {directory} know one another by their ports, from {first}: leave --port away, or choose another --data-dir"
            ));
        }
        return Ok((kept, None));
    }
    let chosen = ports::choose(arguments.port, arguments.nodes)?;
    ports::keep(data, &chosen.nodes)
        .map_err(|error| format!("cannot write in {}: {error}", data.display()))?;
    let note =
        chosen.others_are_taken.map(|port| format!("port {port} is in use: these nodes take free ones"));
    Ok((chosen.nodes, note))
}

struct Cluster {
    nodes: Vec<Node>,
    ports: Vec<Ports>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    colours: bool,
    ready: usize,
}

impl Cluster {
    /// Starts the nodes and shows their logs until a signal.
    async fn serve(
        &mut self,
        data: &Path,
        is_temporary: bool,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        let cannot = |error: io::Error| Failure::Text(format!("cannot wait for signals: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        for node in &mut self.nodes {
            node.start(&self.sender).map_err(Failure::Text)?;
        }
        let mut commands = read_commands();
        let hears_commands = commands.is_some();
        loop {
            let command = async {
                match &mut commands {
                    Some(commands) => commands.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = self.events.recv() => {
                    let Some(event) = event else { return Ok(()) };
                    let was_ready = self.is_ready();
                    self.take(event, console)?;
                    if !was_ready && self.is_ready() {
                        let table = Table {
                            nodes: &self.ports,
                            console_path: self.console_path(),
                            data,
                            data_is_temporary: is_temporary,
                            hears_commands,
                        };
                        console.out.write_all(table.text().as_bytes())?;
                        console.out.flush()?;
                    }
                }
                command = command => match command {
                    Some(command) => self.obey(&command, console)?,
                    None => commands = None,
                },
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
            }
        }
    }

    fn is_ready(&self) -> bool {
        self.ready >= self.nodes.len()
    }

    /// Prints a line; an end before all were ready is the end of all.
    fn take(&mut self, event: Event, console: &mut Console<'_>) -> Result<(), Failure> {
        match event {
            Event::Line { node, text } => {
                console.err.write_all(screen::log_line(node, &text, self.colours).as_bytes())?;
            }
            Event::Ready { node } if self.is_ready() => {
                self.say(&format!("node {} is back", node + 1), console)?
            }
            Event::Ready { .. } => self.ready += 1,
            Event::Ended { node, run, status } => {
                if !self.nodes[node].ended(run) {
                    return Ok(());
                }
                let name = format!("node {}", node + 1);
                let how = end_text(status);
                if !self.is_ready() {
                    let directory = self.nodes[node].directory().display();
                    return Err(Failure::Text(format!(
                        "{name} {how} before it was ready; its own lines above say why (its data: {directory})"
                    )));
                }
                self.say(&format!("{name} {how}; `start {}` and Enter starts it again", node + 1), console)?;
            }
        }
        Ok(())
    }

    /// `kill 2`, `stop 2`, `start 2`.
    fn obey(&mut self, command: &str, console: &mut Console<'_>) -> Result<(), Failure> {
        let (verb, number) = command.trim().split_once(' ').unwrap_or((command.trim(), ""));
        if verb.is_empty() {
            return Ok(());
        }
        let count = self.nodes.len();
        let index =
            number.trim().parse::<usize>().ok().filter(|id| (1..=count).contains(id)).map(|id| id - 1);
        let Some(index) = index.filter(|_| matches!(verb, "kill" | "stop" | "start")) else {
            return self.say(&format!("kill, stop or start, and a node from 1 to {count}"), console);
        };
        let node = &mut self.nodes[index];
        match (verb, node.is_running()) {
            ("start", false) => node.start(&self.sender).map_err(Failure::Text),
            ("start", true) => self.say(&format!("node {} is running", index + 1), console),
            (_, false) => self.say(&format!("node {} is not running", index + 1), console),
            ("kill", true) => {
                node.signal(Signal::KILL);
                Ok(())
            }
            (_, true) => {
                node.signal(Signal::TERM);
                Ok(())
            }
        }
    }

    /// The path of the console, where the nodes serve one.
    fn console_path(&self) -> Option<&'static str> {
        let address = http::dialled(&format!("127.0.0.1:{}", self.ports.first()?.http))?;
        let answer = http::get(address, CONSOLE_PATH, CONSOLE_MAX, http::SMALL_ANSWER_BYTES_MAX)?;
        (answer.status == 200).then_some(CONSOLE_PATH)
    }

    fn say(&self, text: &str, console: &mut Console<'_>) -> Result<(), Failure> {
        console.err.write_all(screen::own_line(text, self.colours).as_bytes())?;
        Ok(())
    }

    /// Stops all, cleanly where they let us; a signal meanwhile, or too long a wait, kills what is left.
    async fn stop(&mut self, console: &mut Console<'_>) -> Result<(), Failure> {
        if !self.nodes.iter().any(Node::is_running) {
            return Ok(());
        }
        self.say("stopping; Ctrl-C once more kills the nodes", console)?;
        self.nodes.iter().for_each(|node| node.signal(Signal::TERM));
        let cannot = |error: io::Error| Failure::Text(format!("cannot wait for signals: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut is_killed = false;
        let begun = Instant::now();
        while self.nodes.iter().any(Node::is_running) {
            let event = tokio::select! {
                event = timeout(STOP_MAX, self.events.recv()) => event,
                _ = interrupt.recv() => {
                    if begun.elapsed() < IMPATIENT_AFTER {
                        continue;
                    }
                    Ok(None)
                }
            };
            match event {
                Ok(Some(Event::Ended { node, run, .. })) => {
                    self.nodes[node].ended(run);
                }
                Ok(Some(Event::Line { node, text })) => {
                    console.err.write_all(screen::log_line(node, &text, self.colours).as_bytes())?;
                }
                Ok(Some(Event::Ready { .. })) => {}
                Ok(None) | Err(_) => {
                    is_killed = true;
                    self.nodes.iter().for_each(|node| node.signal(Signal::KILL));
                }
            }
        }
        let text = if is_killed { "the nodes were killed" } else { "all nodes have stopped" };
        self.say(text, console)
    }
}

fn end_text(status: Option<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.map(|status| (status.code(), status.signal())) {
        Some((Some(0), _)) => "has stopped".to_owned(),
        Some((Some(code), _)) => format!("ended with exit code {code}"),
        Some((None, Some(9))) => "was killed".to_owned(),
        Some((None, Some(signal))) => format!("was ended by signal {signal}"),
        _ => "ended".to_owned(),
    }
}

/// The lines of standard input, read on a thread of its own. None for a process in the background, which a terminal
/// would halt for reading.
fn read_commands() -> Option<Receiver<String>> {
    let input = io::stdin();
    if input.is_terminal() {
        let foreground = rustix::termios::tcgetpgrp(&input).ok()?;
        if foreground != rustix::process::getpgrp() {
            return None;
        }
    }
    let (sender, receiver) = channel(1);
    let read = move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("commands".to_owned()).spawn(read).ok()?;
    Some(receiver)
}
