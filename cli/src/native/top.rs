//! `moldau top`: a cluster as it is now, drawn again each second; over Kafka's protocol alone, so of any cluster. Where
//! there is no terminal, a look after another as plain text.

mod sample;
mod screen;

use std::io::{self, IsTerminal, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::{Value, json};

use super::{Common, Failure};
use crate::console::{Console, outln};
use crate::consume::stop_on_signals;
use sample::Sample;
use screen::Size;

/// What a text that goes on for pages is cut to.
const PLAIN_SIZE: Size = Size { columns: 120, rows: 60, colours: false };
/// How often a key or a signal is looked for between two looks at the cluster.
const NOTICE: Duration = Duration::from_millis(50);

#[derive(Args)]
pub(super) struct Arguments {
    /// Milliseconds from one look to the next
    #[arg(short, long, default_value_t = 1000)]
    interval_ms: u64,
    /// Stop after this many looks; default: q or Ctrl-C stops it, and without a terminal two
    #[arg(short = 'n', long)]
    count: Option<u64>,
    /// Kafka's own topics, too
    #[arg(long)]
    internal: bool,
}

pub(super) fn run(common: &Common, arguments: &Arguments, console: &mut Console<'_>) -> Result<(), Failure> {
    let mut client = common.client("moldau-top")?;
    let servers = client.servers();
    // Before the screen is taken: an error belongs where the user typed.
    let mut before = None;
    let mut now = Sample::take(&mut client, arguments.internal)?;
    let is_live = io::stdout().is_terminal() && io::stdin().is_terminal() && !common.is_json();
    let stop = stop_on_signals();
    let screen = if is_live { Some(Screen::take(&stop)?) } else { None };
    // A first look has no rates: a second one makes them.
    let count = arguments.count.unwrap_or(if is_live { u64::MAX } else { 2 });
    for look in 1..=count {
        match &screen {
            Some(_) => live(&draw(&servers, &now, before.as_ref()), console)?,
            None => plain(common, &servers, &now, before.as_ref(), console)?,
        }
        if look == count || !wait(arguments.interval_ms, &stop) {
            break;
        }
        // A cluster that is away for a moment is why somebody watches.
        match Sample::take(&mut client, arguments.internal) {
            Ok(next) => before = Some(std::mem::replace(&mut now, next)),
            Err(error) if screen.is_some() => {
                live(&[format!("{error}"), "asking again; q ends".to_owned()], console)?
            }
            Err(error) => return Err(error.into()),
        }
        if stop.load(Ordering::SeqCst) {
            break;
        }
    }
    drop(screen);
    Ok(())
}

fn draw(servers: &str, now: &Sample, before: Option<&Sample>) -> Vec<String> {
    let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    let size = size.map_or(PLAIN_SIZE, |size| Size {
        columns: size.ws_col.into(),
        rows: size.ws_row.into(),
        colours: crate::console::wants_colours(),
    });
    let mut lines = screen::draw(servers, now, before, size);
    lines.truncate(size.rows.saturating_sub(1));
    lines
}

/// Draws over what is there, line by line, so that nothing flickers.
fn live(lines: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    write!(console.out, "\x1b[H")?;
    for line in lines {
        write!(console.out, "{line}\x1b[K\r\n")?;
    }
    write!(console.out, "\x1b[J")?;
    console.out.flush()?;
    Ok(())
}

fn plain(
    common: &Common,
    servers: &str,
    now: &Sample,
    before: Option<&Sample>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    if common.is_json() {
        super::json(&as_json(now, before), console)?;
    } else {
        for line in screen::draw(servers, now, before, PLAIN_SIZE) {
            outln!(console, "{}", line.trim_end());
        }
        outln!(console);
    }
    console.out.flush()?;
    Ok(())
}

fn as_json(now: &Sample, before: Option<&Sample>) -> Value {
    let topics: Vec<Value> = now
        .topic_rows(before)
        .into_iter()
        .map(|row| {
            json!({"topic": row.name, "records_per_second": row.records_per_second, "end": row.sample.end,
                "partitions": row.sample.partitions, "under_replicated": row.sample.under_replicated,
                "leaderless": row.sample.leaderless})
        })
        .collect();
    let groups: Vec<Value> = now
        .group_rows(before)
        .into_iter()
        .map(|row| {
            json!({"group": row.sample.group, "state": row.sample.state, "lag": row.sample.lag,
                "records_per_second": row.records_per_second})
        })
        .collect();
    json!({"brokers": now.brokers, "fenced_brokers": now.fenced, "under_replicated": now.under_replicated,
        "leaderless": now.leaderless, "controller_id": now.controller, "topics": topics, "groups": groups,
        "groups_left_out": now.groups_left_out, "groups_error": now.groups_error})
}

/// Waits for the time of the next look; `false` where the user has seen enough.
fn wait(interval_ms: u64, stop: &Arc<AtomicBool>) -> bool {
    let until = Instant::now() + Duration::from_millis(interval_ms);
    while Instant::now() < until {
        if stop.load(Ordering::SeqCst) {
            return false;
        }
        std::thread::sleep(NOTICE.min(until.saturating_duration_since(Instant::now())));
    }
    !stop.load(Ordering::SeqCst)
}

/// The terminal while it is ours: another screen, no cursor, and keys without Enter. It is given back however this ends.
struct Screen {
    before: Termios,
}

impl Screen {
    fn take(stop: &Arc<AtomicBool>) -> Result<Self, Failure> {
        let before = tcgetattr(io::stdin()).map_err(io::Error::from)?;
        let mut ours = before.clone();
        // Ctrl-C stays a signal.
        ours.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &ours).map_err(io::Error::from)?;
        crate::console::raw("\x1b[?1049h\x1b[?25l\x1b[2J");
        let stop = Arc::clone(stop);
        let keys = move || {
            for key in io::stdin().lock().bytes() {
                if matches!(key, Ok(b'q' | b'Q') | Err(_)) {
                    stop.store(true, Ordering::SeqCst);
                    return;
                }
            }
        };
        // Without the thread Ctrl-C still ends it.
        drop(std::thread::Builder::new().name("keys".to_owned()).spawn(keys));
        Ok(Self { before })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        crate::console::raw("\x1b[?25h\x1b[?1049l");
        // A terminal that is gone needs nothing back.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
