//! Where tools write: the two streams as parameters, so that tests can read them.

use std::io::{self, IsTerminal, Write};

/// A tool's output streams.
pub(crate) struct Console<'a> {
    pub(crate) out: &'a mut dyn Write,
    pub(crate) err: &'a mut dyn Write,
}

/// Writes a line to the tool's standard output.
macro_rules! outln {
    ($console:expr) => { writeln!($console.out)? };
    ($console:expr, $($arg:tt)*) => { writeln!($console.out, $($arg)*)? };
}

/// Writes a line to the tool's standard error.
macro_rules! errln {
    ($console:expr) => { writeln!($console.err)? };
    ($console:expr, $($arg:tt)*) => { writeln!($console.err, $($arg)*)? };
}

pub(crate) use {errln, outln};

/// Runs a tool on the process's own streams and flushes them. A reader that went away (`| head`) is no failure.
pub(crate) fn run(tool: impl FnOnce(&mut Console<'_>) -> io::Result<u8>) -> u8 {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut err = io::stderr();
    let code = tool(&mut Console { out: &mut out, err: &mut err });
    let flushed = out.flush();
    match code.and_then(|code| flushed.map(|()| code)) {
        Ok(code) => code,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(error) => {
            note(&format!("cannot write the output: {error}"));
            1
        }
    }
}

/// A line on standard error, from places that have no console. Nobody can be told where that fails.
pub(crate) fn note(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// What a terminal obeys, straight to it: our own lock on standard output lets the same thread in again. Without the
/// terminal nobody needs it.
pub(crate) fn raw(sequence: &str) {
    let mut out = io::stdout();
    drop(out.write_all(sequence.as_bytes()).and_then(|()| out.flush()));
}

/// Whether to write colours: on a terminal, unless `NO_COLOR` is set.
pub(crate) fn colours() -> bool {
    io::stdout().is_terminal() && wants_colours()
}

/// Whether the user has nothing against colours where they can be shown.
pub(crate) fn wants_colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
