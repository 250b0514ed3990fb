//! What `moldau dev` prints: each node's log lines behind its name, and a table of where to connect.

use std::fmt::Write;
use std::path::Path;

use super::ports::Ports;

/// A colour for each node's name, in turn.
const COLOURS: [&str; 5] = ["\x1b[36m", "\x1b[35m", "\x1b[32m", "\x1b[34m", "\x1b[33m"];
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// One line of one node's log.
pub(super) fn log_line(node: usize, text: &str, colours: bool) -> String {
    if !colours {
        return format!("node {} | {text}\n", node + 1);
    }
    let name = COLOURS[node % COLOURS.len()];
    // Where a line's level stands: behind its time.
    let level = text.split_whitespace().nth(1).unwrap_or_default();
    let colour = match level {
        "WARN" => YELLOW,
        "ERROR" => RED,
        _ => "",
    };
    format!("{name}node {} |{PLAIN} {colour}{text}{PLAIN}\n", node + 1)
}

/// A line of `moldau dev` itself.
pub(super) fn own_line(text: &str, colours: bool) -> String {
    if colours { format!("{BOLD}dev    | {text}{PLAIN}\n") } else { format!("dev    | {text}\n") }
}

/// What the table says.
pub(super) struct Table<'a> {
    pub(super) nodes: &'a [Ports],
    /// Where a node's console is served below its address; none where this build has no console.
    pub(super) console_path: Option<&'a str>,
    pub(super) data: &'a Path,
    pub(super) data_is_temporary: bool,
    pub(super) hears_commands: bool,
}

/// The servers to bootstrap from.
pub(super) fn bootstrap(nodes: &[Ports]) -> String {
    nodes.iter().map(|node| format!("localhost:{}", node.client)).collect::<Vec<_>>().join(",")
}

impl Table<'_> {
    pub(super) fn text(&self) -> String {
        let count = self.nodes.len();
        let are = if count == 1 { "1 node is" } else { &format!("{count} nodes are") };
        let mut text = format!("\nmoldau {}: {are} ready\n", env!("CARGO_PKG_VERSION"));
        let mut row = |name: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:<12}{value}");
        };
        row("bootstrap", &bootstrap(self.nodes));
        for (index, node) in self.nodes.iter().enumerate() {
            let (what, path) = self.console_path.map_or(("health", "/readyz"), |path| ("console", path));
            let http = format!("{what} http://127.0.0.1:{}{path}", node.http);
            row(&format!("node {}", index + 1), &format!("localhost:{:<7}{http}", node.client));
        }
        let end = if self.data_is_temporary { " (removed at the end; keep it with --data-dir)" } else { "" };
        row("data", &format!("{}{end}", self.data.display()));
        let first = self.nodes.first().map_or(0, |node| node.client);
        let server = if first == 9092 { String::new() } else { format!(" -b localhost:{first}") };
        row("try", &format!("moldau topic create orders{server}"));
        if self.hears_commands && count > 1 {
            row("failures", "type `kill 2`, `stop 2` or `start 2` and Enter");
        }
        row("end", "Ctrl-C");
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_stands_behind_its_nodes_name() {
        assert_eq!(log_line(0, "2026 INFO x", false), "node 1 | 2026 INFO x\n");
        assert_eq!(log_line(1, "t  WARN x", true), "\x1b[35mnode 2 |\x1b[0m \x1b[33mt  WARN x\x1b[0m\n");
    }

    #[test]
    fn the_table_says_where_to_connect() {
        let nodes = [
            Ports { client: 9092, controller: 9093, http: 9644 },
            Ports { client: 19092, controller: 19093, http: 19644 },
        ];
        let table = Table {
            nodes: &nodes,
            console_path: Some("/ui/"),
            data: Path::new("/tmp/x"),
            data_is_temporary: true,
            hears_commands: true,
        };
        let expected = format!(
            "
moldau {}: 2 nodes are ready
  bootstrap   localhost:9092,localhost:19092
  node 1      localhost:9092   console http://127.0.0.1:9644/ui/
  node 2      localhost:19092  console http://127.0.0.1:19644/ui/
  data        /tmp/x (removed at the end; keep it with --data-dir)
  try         moldau topic create orders
  failures    type `kill 2`, `stop 2` or `start 2` and Enter
  end         Ctrl-C

",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(table.text(), expected);
    }
}
