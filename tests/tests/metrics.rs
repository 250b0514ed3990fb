//! `docs/METRICS.md` is what the definitions of the metrics say. `UPDATE_DOCS=1 cargo test -p moldau-tests --test metrics`
//! writes its table.

use std::fmt::Write as _;

use moldau_broker::metrics::definitions::{DEFINITIONS, Family};
use moldau_tests::replace_generated;

fn tables() -> String {
    let mut out = String::new();
    for (family, title) in [
        (Family::Jmx, "Apache Kafka's, as the JMX exporter names them"),
        (Family::Exporter, "kafka_exporter's"),
        (Family::Moldau, "Our own"),
        (Family::Process, "Every process's"),
    ] {
        let _ = write!(out, "\n## {title} (`{}`)\n\n", family.name());
        out.push_str("| metric | type | labels | told by | meaning |\n|---|---|---|---|---|\n");
        for definition in DEFINITIONS.iter().filter(|definition| definition.family == family) {
            let labels: Vec<String> = definition.labels.iter().map(|label| format!("`{label}`")).collect();
            let (name, kind, teller) = (definition.name, definition.kind.name(), definition.teller.name());
            let _ = writeln!(
                out,
                "| `{name}` | {kind} | {} | {teller} | {} |",
                labels.join(" "),
                definition.help
            );
        }
    }
    out
}

#[test]
fn the_tables_in_the_docs_are_the_definitions_in_the_code() {
    replace_generated("docs/METRICS.md", "tests/tests/metrics.rs", &tables());
}
