"""The programs that score detection and diagnosis on labelled cases score rightly."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from gateway.diagnose.attribution import Leaf
from tests.evals import attribution, nab, topology

STANDARD = nab.PROFILES["standard"]


def text_of(at):
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def series(values):
    return [nab.Point(text_of(at * 300), at * 300.0, value) for at, value in enumerate(values)]


POINTS = series([0.0] * 1000)
WINDOWS = [[POINTS[500].text, POINTS[599].text]]


def scored(alarms, profile=STANDARD):
    return nab.normalised(nab.file_score(POINTS, alarms, WINDOWS, profile), 1, profile)


def test_silence_scores_nothing_and_an_alarm_at_the_windows_start_all():
    assert scored(set()) == pytest.approx(0)
    assert scored({500}) == pytest.approx(100)


def test_an_alarm_late_in_a_window_earns_less_and_only_the_best_counts():
    assert 50 < scored({598}) < scored({550}) < 100
    assert scored({500, 550, 598}) == scored({500})


def test_a_false_alarm_costs_its_weight_and_less_right_behind_a_window():
    assert scored({500, 300}) == pytest.approx(100 - 100 * 0.11 / 2)
    assert scored({500, 300}) < scored({500, 610}) < scored({500})
    assert scored({500, 999}) == pytest.approx(scored({500, 300}))


def test_the_probationary_start_is_not_scored():
    assert scored({149, 500}) == scored({500})
    assert scored({150, 500}) < scored({500})


def test_a_miss_costs_twice_where_misses_are_dear():
    dear = nab.PROFILES["reward_low_fn"]
    assert nab.file_score(POINTS, set(), WINDOWS, dear) == -2
    assert scored(set(), dear) == pytest.approx(0)


def test_after_an_alarm_the_same_again_is_silent():
    values = [100.0 + at % 7 for at in range(900)]
    for at in (700, 720, 740):
        values[at] = 500.0
    shown = nab.scores_of(series(values))
    assert [at for at, score in enumerate(shown) if at >= 600 and score >= nab.THRESHOLD] == [700]


def test_the_benchmark_program_ends_with_one_json_object_and_writes_every_score(tmp_path, capsys):
    folder = tmp_path / "deep" / "below" / "group"
    folder.mkdir(parents=True)
    points = series([100.0 + at % 7 for at in range(600)] + [500.0] + [100.0 + at % 7 for at in range(399)])
    (folder / "one.csv").write_text("timestamp,value\n" + "".join(f"{one.text},{one.value}\n" for one in points))
    (tmp_path / "windows.json").write_text(json.dumps({"group/one.csv": [[points[590].text, points[650].text]]}))
    assert nab.main(["--data", str(tmp_path), "--results", str(tmp_path / "out")]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["series"] == last["windows"] == 1 and last["standard"] > 80
    lines = (tmp_path / "out" / "group" / "one.csv").read_text().splitlines()
    assert lines[0] == "timestamp,value,anomaly_score" and len(lines) == 1001
    assert float(lines[601].split(",")[2]) > 0.5 > float(lines[300].split(",")[2])


def test_an_answer_is_exact_only_if_it_names_all_causes():
    leaves = [Leaf((value,), 80.0 if value in "ab" else 1.0, 100.0, 10.0, 1000.0) for value in "abcdef"]
    both = frozenset({frozenset({("place", "a")}), frozenset({("place", "b")})})
    one = attribution.judge(attribution.Case("one", ("place",), leaves, frozenset({frozenset({("place", "a")})})))
    two = attribution.judge(attribution.Case("two", ("place",), leaves, both))
    assert one.place >= 1 and two.place >= 1
    assert not (one.exact and two.exact)


def test_causes_are_read_one_or_several():
    assert attribution.causes_of({"a": 1}) == frozenset({frozenset({("a", "1")})})
    assert len(attribution.causes_of([{"a": 1}, {"a": 2}])) == 2


def test_the_cause_of_a_slow_target_is_found_in_files(tmp_path, capsys):
    case = tmp_path / "scenario" / "train" / "issue_0"
    case.mkdir(parents=True)
    label = {"target": {"node": "web", "metric": "latency", "timestamp": 1000}, "root_cause": {"node": "store"}}
    (case / "target.json").write_text(json.dumps(label))
    (tmp_path / "scenario" / "graph.csv").write_text(",web,store\nweb,0.0,1.0\nstore,0.0,0.0\n")
    rows = [
        "n,web,store,web,store",
        "metric,latency,latency,requests,requests",
        "statistic,Average,Average,Sum,Sum",
        "t",
    ]
    for at, store in ((400, 0.01), (700, 0.01), (1001, 0.05), (1301, 0.01), (1601, 0.01)):
        rows.append(f"{at},{0.1 + store},{store},100,100")
    (case / "metrics.csv").write_text("\n".join(rows) + "\n")
    assert topology.main(["--data", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "cases": 1, "top1": 1.0, "top3": 1.0, "top5": 1.0, "exact": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize("program", [nab, attribution, topology])
def test_a_folder_without_cases_is_said_and_ends_with_two(program, tmp_path, capsys):
    assert program.main(["--data", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
