//! Bounds of a YAML file, looked at before it is loaded: the loader calls itself for each level, and writes out each alias.

use std::collections::HashMap;

use yaml_rust2::Event;
use yaml_rust2::parser::Parser;

/// Levels of lists and mappings. Files of topics have half a dozen.
const DEPTH_MAX: usize = 64;
/// Values, with those that aliases stand for.
const VALUES_MAX: usize = 1_000_000;

/// Why the file is not read, if it is not. What is no YAML at all is left for the loader to say.
pub(super) fn check(text: &str) -> Result<(), String> {
    let mut parser = Parser::new_from_str(text);
    // Of each open list or mapping its anchor, and how many values were there before it.
    let mut open: Vec<(usize, usize)> = Vec::new();
    // What an anchor stands for; 0 is no anchor.
    let mut of_anchors: HashMap<usize, usize> = HashMap::new();
    let mut values: usize = 0;
    while let Ok((event, marker)) = parser.next_token() {
        match event {
            Event::StreamEnd => break,
            Event::Scalar(_, _, anchor, _) => {
                values += 1;
                of_anchors.insert(anchor, 1);
            }
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                open.push((anchor, values));
                values += 1;
                if open.len() > DEPTH_MAX {
                    return Err(format!("line {}: more than {DEPTH_MAX} levels", marker.line()));
                }
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((anchor, before)) = open.pop() {
                    of_anchors.insert(anchor, values - before);
                }
            }
            // One that stands within itself has no end yet; the loader puts nothing there.
            Event::Alias(anchor) => {
                values = values.saturating_add(of_anchors.get(&anchor).copied().unwrap_or(1));
            }
            _ => {}
        }
        if values > VALUES_MAX {
            return Err(format!("line {}: more than {VALUES_MAX} values", marker.line()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_file_is_within_the_bounds_and_broken_ones_are_left_to_the_loader() {
        for text in ["", "topics: [a, {b: {c: [d]}}]", "x: &x {a: 1}\ny: [*x, *x]", "topics: [a", "a: b: c"] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn neither_levels_nor_aliases_take_more_than_the_file_does() {
        assert_eq!(check(&"- ".repeat(3_000_000)).unwrap_err(), "line 1: more than 64 levels");
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let below = format!("*a{},", level - 1).repeat(10);
            laughs.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        assert!(check(&laughs).unwrap_err().ends_with("more than 1000000 values"));
    }
}
