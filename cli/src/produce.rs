//! Lines of standard input to a topic: the loop below `kafka-console-producer` and `moldau produce`.

use std::io::{self, BufRead, IsTerminal, Write};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use crate::client::ClientError;
use crate::client::producer::{OutgoingRecord, Producer, SendFailure};
use crate::compat::line_reader::LineReader;

/// How many lines are read ahead of what is being sent.
const LINES_AHEAD: usize = 1024;

/// Why producing ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProduceError {
    /// A line that cannot be cut; what came before it was sent.
    #[error("{0}")]
    Line(String),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot read standard input: {0}")]
    Input(io::Error),
}

/// Sends every line of standard input. Batches fill while lines come faster than answers; a lone line is sent at
/// once. `failed` hears of each batch that could not be written, and says whether the lines behind it are still to be: if not, those that
/// were sent are waited for, and no more are read. Returns how many lines were.
pub(crate) fn run(
    producer: &mut Producer,
    reader: &LineReader,
    sync: bool,
    failed: &mut dyn FnMut(&SendFailure) -> ControlFlow<()>,
) -> Result<u64, ProduceError> {
    let lines = read_lines();
    let mut number = 0u64;
    loop {
        let line = match lines.try_recv() {
            Ok(line) => line,
            Err(TryRecvError::Empty) => {
                if report(producer.flush()?, failed).is_break() {
                    return Ok(number);
                }
                match lines.recv() {
                    Ok(line) => line,
                    Err(_) => break,
                }
            }
            Err(TryRecvError::Disconnected) => break,
        };
        let line = line.map_err(ProduceError::Input)?;
        number += 1;
        let record: OutgoingRecord = match reader.parse(&line, number) {
            Ok(record) => record,
            Err(text) => {
                // That it ends here is settled.
                let _ = report(producer.flush()?, failed);
                return Err(ProduceError::Line(text));
            }
        };
        let mut goes_on = report(producer.send(&record)?, failed);
        if sync && goes_on.is_continue() {
            goes_on = report(producer.flush()?, failed);
        }
        if goes_on.is_break() {
            break;
        }
    }
    let _ = report(producer.flush()?, failed);
    Ok(number)
}

/// Tells of all of them, and goes on if that was said of each.
fn report(
    failures: Vec<SendFailure>,
    failed: &mut dyn FnMut(&SendFailure) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut goes_on = ControlFlow::Continue(());
    for failure in &failures {
        if failed(failure).is_break() {
            goes_on = ControlFlow::Break(());
        }
    }
    goes_on
}

/// Reads lines on a thread of its own, with a prompt on a terminal. Bytes that are no UTF-8 are replaced, as Java's
/// reader does.
fn read_lines() -> Receiver<io::Result<String>> {
    let (sender, receiver) = sync_channel(LINES_AHEAD);
    let prompt = io::stdin().is_terminal() && io::stdout().is_terminal();
    let read = move || {
        let mut input = io::stdin().lock();
        let mut line = Vec::new();
        loop {
            if prompt {
                let mut out = io::stdout();
                // A prompt that cannot be shown is no reason not to read.
                drop(out.write_all(b">").and_then(|()| out.flush()));
            }
            line.clear();
            let item = match input.read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => {
                    let text = line.strip_suffix(b"\n").unwrap_or(&line);
                    let text = text.strip_suffix(b"\r").unwrap_or(text);
                    Ok(String::from_utf8_lossy(text).into_owned())
                }
                Err(error) => Err(error),
            };
            let is_error = item.is_err();
            if sender.send(item).is_err() || is_error {
                return;
            }
        }
    };
    // Without the thread the channel is closed, which reads as the end of the input.
    drop(std::thread::Builder::new().name("stdin".to_owned()).spawn(read));
    receiver
}
