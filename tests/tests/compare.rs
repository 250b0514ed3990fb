//! Every version of every API against a real Apache Kafka 4.3.0, answer by answer.
//!
//! `tests/clients/test_compare.py` starts both and names them; without it there is nothing to compare with, and the test
//! says so.

use moldau_tests::compare::{Peer, run};

/// Of one difference; a missing topic is enough to see.
const PRINTED_LINES_MAX: usize = 40;

#[test]
fn every_answer_is_apache_kafkas() {
    let (Ok(kafka), Ok(moldau)) = (std::env::var("COMPARE_KAFKA"), std::env::var("COMPARE_MOLDAU")) else {
        eprintln!("skipped: no Apache Kafka to compare with (tests/clients/test_compare.py starts one)");
        return;
    };
    let only = std::env::var("COMPARE_ONLY").ok();
    let (mut kafka, mut moldau) = (Peer::new(&kafka), Peer::new(&moldau));
    let (compared, differences) =
        run(&mut kafka, &mut moldau, only.as_deref()).expect("Apache Kafka answers");
    for difference in &differences {
        eprintln!("== {}", difference.case);
        print_difference(&difference.kafka, &difference.moldau);
    }
    eprintln!("{compared} answers compared, {} differ", differences.len());
    assert!(only.is_some() || compared > 300, "only {compared} answers were compared");
    assert!(differences.is_empty(), "{} answers are not Kafka's", differences.len());
}

/// The lines that differ, each stretch with the two lines before it.
fn print_difference(kafka: &str, moldau: &str) {
    let (kafka, moldau): (Vec<&str>, Vec<&str>) = (kafka.lines().collect(), moldau.lines().collect());
    let common = common_lengths(&kafka, &moldau);
    let (mut k, mut m, mut printed, mut was_same) = (0, 0, 0, true);
    while (k < kafka.len() || m < moldau.len()) && printed < PRINTED_LINES_MAX {
        if k < kafka.len() && m < moldau.len() && kafka[k] == moldau[m] {
            (k, m, was_same) = (k + 1, m + 1, true);
            continue;
        }
        if was_same {
            kafka[k.saturating_sub(2)..k].iter().for_each(|line| eprintln!("       {line}"));
        }
        was_same = false;
        printed += 1;
        if m == moldau.len() || (k < kafka.len() && common[k + 1][m] >= common[k][m + 1]) {
            eprintln!("kafka  {}", kafka[k]);
            k += 1;
        } else {
            eprintln!("moldau {}", moldau[m]);
            m += 1;
        }
    }
}

/// `[i][j]`: how many lines the longest common subsequence of `a[i..]` and `b[j..]` has.
fn common_lengths(a: &[&str], b: &[&str]) -> Vec<Vec<u32>> {
    let mut lengths = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            lengths[i][j] = if a[i] == b[j] {
                lengths[i + 1][j + 1] + 1
            } else {
                lengths[i + 1][j].max(lengths[i][j + 1])
            };
        }
    }
    lengths
}
