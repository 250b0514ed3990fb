"""The page says what the kept figures say, and nothing better."""

import pathlib
import re
import sys

import pytest

import figures
import page
import parts
import run
from matrix import FAULTS

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "chaos"))
import scenarios  # noqa: E402

STAMP = {"date": "2026-11-27", "commit": "abc1234"}
CHAOS = {"scenario": "kill the leader", "size": "short", "system": "moldau", "nodes": 3, "settings": [], "seed": 1, "seconds": 60,
         "verdict": "ok", "kinds": ["kill leader"], "faults": {"kill leader": 25}, "flips": {}, "gaps": {"kill leader": [1.0, 2.0]},
         "sends": {"ok": 1_234, "unknown": 5, "fail": 0}, "reads": 7, "reasons": [], "anomalies": {}, **STAMP}


def scores(**records):
    return page.Scores({"parts": {name.replace("_", " "): rows for name, rows in records.items()}})


def verdict(found, number):
    return found.fault(next(fault for fault in FAULTS if fault.number == number))


def test_every_fault_has_its_number_and_something_that_installs_it_or_a_reason():
    assert [fault.number for fault in FAULTS] == list(range(1, 30))
    for fault in FAULTS:
        assert bool(fault.kinds) != bool(fault.part), fault
        assert not fault.beside or fault.beside in parts.PARTS, fault
        counted_by_name = ("raft", "hostile", "few files", "mixed")
        assert not fault.part or fault.part in (*parts.PARTS, *counted_by_name), fault


def test_what_installs_a_fault_is_there():
    played = {kind for scenario in scenarios.SCENARIOS for kind in scenario.least}
    wanted = {kind for fault in FAULTS for kind in fault.kinds}
    assert wanted <= played, wanted - played
    assert played <= wanted, played - wanted
    coverage = (HERE.parent / "simulation" / "src" / "coverage.rs").read_text()
    for fault in FAULTS:
        for name in fault.simulated:
            assert re.search(rf"^    {name},$", coverage, re.MULTILINE), name


def test_what_no_run_has_found_is_not_run():
    nothing = page.Scores({"parts": {}})
    assert all(nothing.fault(fault) == (0, "not run") for fault in FAULTS)
    assert "pass |" not in page.faults(nothing) and "pass |" not in page.summary(nothing).replace("29 pass |", "")
    assert page.text({"parts": {}, "machine": ""}).count("not run") > len(FAULTS)


def test_runs_add_up():
    found = scores(chaos=[CHAOS, {**CHAOS, "seed": 2}])
    assert verdict(found, 1) == (50, "pass")
    assert verdict(found, 3) == (0, "not run")
    assert "| F1 | kill -9 of a partition's leader | 50 | 500 | pass |" in page.faults(found)
    assert "| kill the leader | 2 | 50 | 2,468 | 10 | 14 | 0 | 0 |" in page.scenarios(found)


@pytest.mark.parametrize("bad", ["INVALID", "UNKNOWN"])
def test_one_run_that_did_not_pass_is_a_failure_and_is_named(bad):
    worse = {**CHAOS, "verdict": bad, "seed": 77, "reasons": ["lost: 1"], "anomalies": {"lost": 1}}
    found = scores(chaos=[CHAOS, worse, CHAOS])
    assert verdict(found, 1) == (75, "**fail**")
    assert "seed 77" in page.failures(found) and "lost: 1" in page.failures(found)
    assert "| lost | 1 |" in page.anomalies(found) and "| duplicate | 0 |" in page.anomalies(found)


def test_a_run_that_did_not_pass_counts_until_its_scenario_passes_with_its_seed():
    worse = {**CHAOS, "verdict": "INVALID", "seed": 77, "reasons": ["lost: 1"], "anomalies": {"lost": 1}}
    again = {**CHAOS, "seed": 77, "commit": "def5678"}
    for others in ([again, worse], [worse, CHAOS], [worse, {**again, "size": "nightly"}], [worse, {**again, "scenario": "pause"}]):
        assert verdict(scores(chaos=others), 1)[1] == "**fail**", others
    found = scores(chaos=[worse, again])
    assert verdict(found, 1) == (25, "pass") and "| lost | 0 |" in page.anomalies(found)
    assert "seed 77, 2026-11-27 at abc1234: INVALID, 1 anomalies. Passed 2026-11-27 at def5678." in page.failures(found)


def test_a_run_that_broke_before_its_fault_is_a_failure_of_that_fault():
    found = scores(chaos=[{**CHAOS, "verdict": "UNKNOWN", "faults": {}, "gaps": {}}])
    assert verdict(found, 1) == (0, "**fail**")


def test_a_run_that_nobody_judged_counts_for_its_failure_alone():
    broken = {**CHAOS, "verdict": "UNKNOWN", "sends": {"ok": 0, "unknown": 0, "fail": 0}}
    found = scores(chaos=[CHAOS, broken, {**CHAOS, "verdict": "UNKNOWN", "judged": False}])
    assert verdict(found, 1) == (25, "**fail**") and found.installed(("kill leader",)) == 25
    assert "| kill the leader | 1 | 0 | 0 | 0 | 7 | not judged | **1** |" in page.scenarios(scores(chaos=[broken]))


def test_a_fault_of_several_kinds_has_passed_when_all_of_them_were_played():
    one = {**CHAOS, "kinds": ["failing sync"], "faults": {"failing sync": 2}}
    found = scores(chaos=[one])
    assert verdict(found, 15) == (2, "in part") and "not yet: failing write |" in page.faults(found)
    assert verdict(scores(chaos=[one, {**CHAOS, "kinds": ["failing write"], "faults": {"failing write": 1}}]), 15) == (3, "pass")


def test_other_systems_and_settings_say_nothing_of_what_is_promised():
    found = scores(chaos=[{**CHAOS, "system": "kafka"}, {**CHAOS, "settings": ["flush.policy=interval"]}, {**CHAOS, "nodes": 1}])
    assert verdict(found, 1) == (0, "not run")
    assert found.gaps(("kill leader",)) == [] and len(found.gaps(("kill leader",), "kafka")) == 2


def test_restarts_of_all_nodes_make_a_rolling_one_and_bits_are_counted_as_bits():
    found = scores(chaos=[{**CHAOS, "kinds": ["roll"], "faults": {"roll": 10}},
                          {**CHAOS, "kinds": ["flipped bits"], "faults": {"flipped bits": 2}, "flips": {"flipped bits": 640}}])
    assert verdict(found, 2) == (3, "pass")
    assert verdict(found, 18) == (640, "pass")


def test_what_the_simulation_did_stands_beside_and_is_no_verdict():
    run = {"seeds": 100, "steps": 5, "simulated_seconds": 7_200, "failed": 0, "failed_seeds": [], "first": 1, **STAMP,
           "coverage": {"BrokerKilled": 33}}
    found = scores(simulation=[run, {**run, "failed": 1}])
    assert verdict(found, 1) == (0, "not run") and verdict(found, 29) == (200, "**fail**")
    assert "| F1 | kill -9 of a partition's leader |  | 500 | not run | 66 |" in page.faults(found)
    assert verdict(scores(simulation=[run]), 29) == (100, "pass")


def test_an_attack_that_failed_is_seen():
    rows = [{"attack": "impossible sizes", "verdict": "ok", "count": 700, "of": "frames", "peak_mb": 90},
            {"attack": "few files", "verdict": "FAILED", "count": 0, "of": "", "peak_mb": 60}]
    found = scores(hostile=[{"attacks": rows, "kills": 1, "peak_mb": 90, "limit_mb": 512, **STAMP}])
    assert verdict(found, 24) == (1, "pass") and verdict(found, 25) == (1, "**fail**")
    assert "1 kills, 90 MB" in page.hostile(found)


UPGRADE = {**CHAOS, "scenario": "upgrade and back", "from": "0ldc0de", "kinds": ["upgrade", "downgrade"], "gaps": {},
           "faults": {"upgrade": 6, "downgrade": 6}}


def test_rolls_to_another_version_and_back_are_counted():
    found = scores(chaos=[UPGRADE, CHAOS])
    assert verdict(found, 27) == (4, "pass")
    assert "| 0ldc0de | abc1234 | 2 | 2 | 1,234 | 0 |" in page.upgrades(found)
    assert verdict(scores(chaos=[{**UPGRADE, "verdict": "INVALID", "anomalies": {"lost": 1}}]), 27) == (4, "**fail**")
    assert "1,234 | 1 |" in page.upgrades(scores(chaos=[{**UPGRADE, "anomalies": {"lost": 1}}]))
    assert page.upgrades(scores(chaos=[CHAOS])) == "not run\n"


def test_what_an_earlier_version_found_is_a_part_of_its_own():
    kafka = {**CHAOS, "system": "kafka"}
    for name, stays in (("chaos", [UPGRADE, kafka]), ("upgrade", [CHAOS, kafka]), ("kafka", [CHAOS, UPGRADE])):
        kept = {"parts": {"chaos": [CHAOS, UPGRADE, kafka]}}
        run.forget(kept, name)
        assert kept["parts"]["chaos"] == stays, name
    kept = {"parts": {"fuzz": [{"executions": {}}]}}
    run.forget(kept, "fuzz")
    assert kept["parts"]["fuzz"] == []


def test_what_is_played_beside_has_a_word_in_the_verdict_and_none_in_the_count():
    moved = {**CHAOS, "kinds": ["new address"], "faults": {"new address": 20, "new advertised address": 1, "swapped addresses": 1}}
    alone, beside = scores(chaos=[moved]), scores(chaos=[moved], containers=[{"count": 1, "verdict": "ok", **STAMP}])
    assert verdict(alone, 28) == verdict(beside, 28) == (22, "pass")
    assert "kubernetes.sh" in page.faults(alone) and "kubernetes.sh" not in page.faults(beside)
    assert verdict(scores(chaos=[moved], containers=[{"count": 1, "verdict": "FAILED", **STAMP}]), 28) == (22, "**fail**")


def test_the_simulations_own_words_are_understood():
    output = ("           3  MessageLost\n           0  MessageCut\nseed 9: broken\n  cargo run -p moldau-simulation -- replay 9\n"
              "20 seeds, 1000 steps, 640 simulated seconds, 1 failed\n")
    assert parts.seeds_of(output, 1) == {"first": 1, "seeds": 20, "steps": 1000, "simulated_seconds": 640, "failed": 1,
                                         "failed_seeds": [9], "coverage": {"MessageLost": 3, "MessageCut": 0}}
    table = ("seeded fault                        seeds  found by\nNoSyncOfVote                            12  committed (seed 12)\n"
             "LargeEntryCut                         1000  not found\n")
    assert parts.bugs_of(table) == [{"bug": "NoSyncOfVote", "seeds": 12, "invariant": "committed"},
                                    {"bug": "LargeEntryCut", "seeds": 1000, "invariant": None}]
    assert "1 of 2 caught" in page.bugs(scores(bugs=[{"bugs": parts.bugs_of(table), **STAMP}]))


def test_the_tests_own_words_are_understood():
    output = "batches: 400 executions, {}\ncheck and decode: 9000 executions, 7 passed\nnot served: 9 pairs of key and version\n"
    assert parts.EXECUTIONS.findall(output) == [("batches", "400"), ("check and decode", "9000")]
    behind_dots = "running 9 tests\n.......dispatcher: 20000 executions\n.batches: 5 executions, {}\n"
    assert parts.EXECUTIONS.findall(behind_dots) == [("dispatcher", "20000"), ("batches", "5")]
    assert parts.CUTS.findall("power cut 12 times: the Raft log\n") == [("12", "the Raft log")]


def test_the_table_of_authorisation_is_counted():
    rows, cells = parts.table_of("| key | API |\n|---|---|\n| 0 | Produce | write on topic | 29 | yes | - |\n| 91 | A | b | 30 | yes | yes |\n")
    assert (rows, cells) == (2, 5)


def test_what_apache_kafka_answered_stands_beside():
    ours = {"rows": 2, "cells": 5, "verdict": "ok", **STAMP}
    assert "Beside Apache Kafka: not run" in page.authorization(scores(authorization=[ours]))
    beside = {**ours, "compared": 4, "peer_verdict": "ok"}
    assert "4 answers compared, all the same" in page.authorization(scores(authorization=[beside, ours])), "a later run had no Kafka"
    differs = {**beside, "peer_verdict": "FAILED"}
    assert "4 answers compared, **not the same**" in page.authorization(scores(authorization=[beside, differs]))


def test_a_run_adds_to_what_others_have_kept_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setattr(run.figures.read, "__defaults__", (tmp_path / "figures.json",))
    monkeypatch.setattr(run.figures.write, "__defaults__", (tmp_path / "figures.json",))
    monkeypatch.setattr(page, "write", lambda kept, folder: None)
    run.keep("bugs", [{"bugs": []}])
    run.keep("upgrade", [CHAOS | {"from": "abc"}])
    run.keep("bugs", [{"bugs": [1]}], anew=True)
    kept = figures.read(tmp_path / "figures.json")["parts"]
    assert [record["bugs"] for record in kept["bugs"]] == [[1]] and len(kept["chaos"]) == 1


def test_figures_come_back_as_they_were_kept_and_the_oldest_go_first(tmp_path):
    kept = {"parts": {}}
    figures.add(kept, "chaos", [{"n": n} for n in range(figures.RECORDS_MAX + 3)])
    assert [record["n"] for record in kept["parts"]["chaos"]] == list(range(3, figures.RECORDS_MAX + 3))
    assert kept["parts"]["chaos"][0]["commit"] and kept["machine"]
    figures.add(kept, "failing", [{"n": n, "verdict": "FAILED" if n == 1 else "ok"} for n in range(figures.RECORDS_MAX + 3)])
    assert [record["n"] for record in kept["parts"]["failing"]] == [1, *range(4, figures.RECORDS_MAX + 3)], "what failed stays"
    figures.write(kept, tmp_path / "there" / "figures.json")
    assert figures.read(tmp_path / "there" / "figures.json") == kept
    assert figures.read(tmp_path / "not") == {"parts": {}}


def test_the_page_is_what_the_kept_figures_make():
    assert (figures.ROOT / "docs" / "RELIABILITY.md").read_text() == page.text(figures.read()), "tests/reliability/run.sh page"
