"""The whole life of an ejection over simulated traffic that follows the directives in force."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec
import pytest

from gateway.domain.incident import Signal
from gateway.domain.plan import Action, ActionKind, ActionState
from gateway.domain.policy import RemediateSettings
from gateway.domain.window import Window
from gateway.errors import ConflictError
from gateway.remediate.actions.edge import DryRun
from gateway.remediate.approval import approve_by_policy
from gateway.remediate.closed_loop import Remediation
from tests.unit.remediate.world import A, B, C, World, blaming

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio


class Story:
    """An action under way, and what was told about it."""

    def __init__(self, world: World, *, signal: Signal = Signal.ERROR_RATE) -> None:
        self.world = world
        self.signal = signal
        self.remediation = world.remediation()
        self.told: list[tuple[float, str, str]] = []
        self.escalated = False
        self.action: Action

    async def eject(self) -> None:
        world = self.world
        plan = self.remediation.plan(world.incident(signal=self.signal), blaming(A), world.now)
        assert plan.actions, plan.why_not
        await self._take(await self.remediation.execute(approve_by_policy(plan.actions[0], world.now), world.now))

    async def go_on(self, seconds: int, until: Callable[[], bool] = lambda: False) -> None:
        for _ in range(seconds // 5):
            if until():
                return
            self.world.run(5)
            await self._take(await self.remediation.advance(self.action, self.world.now))

    async def _take(self, progress: object) -> None:
        # Saved and loaded at every step, as a control that restarts would.
        self.action = msgspec.json.decode(msgspec.json.encode(progress.action), type=Action)
        self.escalated = self.escalated or progress.escalate
        self.told += [(self.world.now, entry.kind, entry.text) for entry in progress.entries]

    @property
    def kinds(self) -> list[str]:
        return [kind for _, kind, _ in self.told]

    def when(self, kind: str) -> float:
        return next(at for at, told, _ in self.told if told == kind)


async def begun(world: World | None = None, **faults: float) -> Story:
    world = world or World()
    world.run(60)
    world.failing = faults.get("failing", {A: 1.0})
    world.run(15)
    story = Story(world)
    await story.eject()
    return story


async def test_the_demo_story_ejects_verifies_tries_and_restores() -> None:
    story = await begun()
    executed = story.world.now
    (directive,) = story.world.board.active()
    assert (directive.target, directive.share, directive.fence, directive.source) == (A, 0.0, 7, "incident")
    assert directive.expires_at == executed + 600
    await story.go_on(45)
    assert story.kinds[:3] == ["action.executed", "action.watching", "action.verified"]
    assert story.when("action.verified") - executed <= 20
    assert story.action.outcome is not None
    assert story.action.outcome.verdict == "helped"
    lifted = story.world.now
    story.world.failing = {}
    await story.go_on(300, lambda: story.action.state is ActionState.REVERTED)
    assert story.world.now - lifted <= 60
    assert story.world.board.directives == {}
    assert "the fault is gone" in story.action.note
    assert not story.escalated


async def test_verification_speaks_in_numbers_people_can_follow() -> None:
    story = await begun()
    await story.go_on(20)
    text = next(text for _, kind, text in story.told if kind == "action.verified")
    assert text.startswith("It helped. payments: 150 of 300 (50 %) failed before, 0 of ")
    assert "route orders: " in text


async def test_while_the_fault_lasts_trials_are_short_and_rarer_and_the_ejection_is_prolonged() -> None:
    story = await begun()
    executed = story.world.now
    await story.go_on(900)
    assert story.action.state is ActionState.EXECUTED
    trials = [at for at, kind, _ in story.told if kind == "action.trial"]
    pauses = [round(later - earlier) for earlier, later in itertools.pairwise(trials)]
    assert pauses == sorted(pauses)
    assert pauses[0] <= 45
    assert pauses[-1] >= 180
    assert story.kinds.count("action.extended") == story.action.trial.failed >= 4
    assert story.action.effect_until > executed + 900
    hurt = story.world.window.total(
        executed + 5, story.world.now, where=lambda key: key.target == A and key.status == 503
    )
    assert hurt.requests < 60


async def test_an_ejection_that_does_not_help_is_taken_back_and_people_are_called() -> None:
    story = await begun()
    story.world.failing = {A: 1.0, B: 0.5}
    await story.go_on(120, lambda: story.action.state is not ActionState.EXECUTED)
    assert story.action.state is ActionState.REVERTED
    assert story.action.outcome.verdict == "no_effect"
    assert story.escalated
    assert story.world.board.directives == {}


@pytest.mark.parametrize(
    "seed", [0, 1, 2, 7, 9, 10, 12, 13, 14]
)  # of thin traffic in which the fault still stands out enough to act on
async def test_what_looks_better_but_may_be_luck_is_not_taken_back_as_useless(seed: int) -> None:
    world = World(per_s=2, seed=seed)
    world.run(60)
    world.failing = {A: 0.5}
    world.run(15)
    story = Story(world)
    await story.eject()
    await story.go_on(150)
    assert story.action.outcome.verdict in {"helped", "too_little_traffic"}
    assert not story.escalated


async def test_an_ejection_that_makes_it_worse_is_taken_back_at_once() -> None:
    world = World()
    world.overload = True
    story = await begun(world)
    executed = world.now
    await story.go_on(120, lambda: story.action.state is not ActionState.EXECUTED)
    assert story.action.outcome.verdict == "worse"
    assert world.now - executed <= 25
    assert story.escalated


async def test_remaining_targets_that_fail_later_bring_the_ejected_one_back() -> None:
    story = await begun()
    await story.go_on(20)
    story.world.failing = {A: 1.0, B: 1.0}
    await story.go_on(60, lambda: story.action.state is not ActionState.EXECUTED)
    assert story.action.state is ActionState.REVERTED
    assert "do not cope" in story.action.note
    assert story.escalated


async def test_a_recovery_shared_by_the_untouched_targets_is_not_credited_to_the_action() -> None:
    world = World(A, B, C)
    story = await begun(world, failing={A: 0.9, B: 0.4, C: 0.4})
    story.world.failing = {A: 0.9}
    await story.go_on(90, lambda: story.action.state is not ActionState.EXECUTED)
    assert story.action.outcome.verdict == "no_effect"
    assert "untouched targets recovered as well" in story.action.outcome.statement


async def test_a_partial_fault_is_recognised_in_trials_too() -> None:
    story = await begun(failing={A: 0.5})
    await story.go_on(120)
    assert story.action.state is ActionState.EXECUTED
    assert "action.extended" in story.kinds
    story.world.failing = {}
    await story.go_on(200, lambda: story.action.state is ActionState.REVERTED)
    assert "fault is gone" in story.action.note


async def test_a_slow_target_is_ejected_verified_and_restored_by_latency() -> None:
    world = World()
    world.run(60)
    world.slow = {A: 1.0}
    world.run(20)
    story = Story(world, signal=Signal.LATENCY)
    await story.eject()
    await story.go_on(25)
    assert story.action.outcome.verdict == "helped"
    await story.go_on(40)
    assert story.action.trial.failed == 1
    world.slow = {}
    await story.go_on(150, lambda: story.action.state is ActionState.REVERTED)
    assert "fault is gone" in story.action.note


async def test_with_little_traffic_the_action_still_comes_back() -> None:
    world = World(per_s=0.2)
    world.run(300)
    world.failing = {A: 1.0}
    world.run(300)
    story = Story(world)
    plan = story.remediation.plan(world.incident(onset=world.now - 300), blaming(A), world.now)
    if not plan.actions:  # a minute of this traffic holds 12 requests: act on what stands out only
        assert "not clearly worse" in plan.why_not[0]
        world.settings = RemediateSettings()
        world.per_s = 3
        world.run(20)
        plan = story.remediation.plan(world.incident(onset=world.now - 60), blaming(A), world.now)
    await story._take(await story.remediation.execute(approve_by_policy(plan.actions[0], world.now), world.now))
    world.per_s = 0.05
    world.failing = {}
    await story.go_on(700, lambda: story.action.state is ActionState.REVERTED)
    assert story.action.state is ActionState.REVERTED
    assert not story.escalated


async def test_with_no_traffic_at_all_the_time_to_live_ends_it() -> None:
    story = await begun()
    story.world.per_s = 0
    await story.go_on(700, lambda: story.action.state is ActionState.REVERTED)
    assert story.action.note == "its time to live of 10 min ended"
    assert story.action.outcome.verdict == "too_little_traffic"


async def test_the_cap_is_checked_again_at_execution() -> None:
    world = World()
    world.run(60)
    world.failing = {A: 1.0}
    world.run(15)
    story = Story(world)
    plan = story.remediation.plan(world.incident(), blaming(A), world.now)
    approved = approve_by_policy(plan.actions[0], world.now)
    world.settings = RemediateSettings(max_ejected=0.3)
    progress = await story.remediation.execute(approved, world.now)
    assert progress.action.state is ActionState.FAILED
    assert "max_ejected allows 30 %" in progress.action.note
    assert progress.escalate
    assert world.board.directives == {}


async def test_an_approval_that_comes_after_the_fault_has_gone_takes_nothing_out() -> None:
    world = World()
    world.run(60)
    world.failing = {A: 1.0}
    world.run(15)
    story = Story(world)
    plan = story.remediation.plan(world.incident(), blaming(A), world.now)
    world.failing = {}
    world.run(120)
    progress = await story.remediation.execute(approve_by_policy(plan.actions[0], world.now), world.now)
    assert progress.action.state is ActionState.FAILED
    assert "no longer needed" in progress.action.note
    assert not progress.escalate
    assert world.board.directives == {}


async def test_executing_twice_is_a_conflict() -> None:
    story = await begun()
    with pytest.raises(ConflictError):
        await story.remediation.execute(story.action, story.world.now)


async def test_a_board_that_refuses_fails_the_execution_with_its_reason() -> None:
    world = World()
    world.run(60)
    world.failing = {A: 1.0}
    world.run(15)
    world.board.lost = True
    story = Story(world)
    await story.eject()
    assert story.action.state is ActionState.FAILED
    assert story.action.note == "another control leads"


async def test_a_step_the_board_refuses_is_tried_again() -> None:
    story = await begun()
    await story.go_on(20)
    story.world.board.lost = True
    await story.go_on(30)
    assert story.action.state is ActionState.EXECUTED
    assert story.action.trial.share == 0
    story.world.board.lost = False
    await story.go_on(15)
    assert "action.trial" in story.kinds


async def test_a_restarted_control_with_an_empty_window_goes_on_and_ends() -> None:
    story = await begun()
    story.world.window = Window()
    story.remediation = story.world.remediation()
    story.world.failing = {}
    await story.go_on(120, lambda: story.action.state is ActionState.REVERTED)
    assert story.action.outcome.verdict == "helped"
    assert "fault is gone" in story.action.note


async def test_closing_by_hand_takes_a_running_action_back() -> None:
    story = await begun()
    progress = await story.remediation.take_back(story.action, story.world.now, "closed by ana")
    assert (progress.action.state, progress.action.note) == (ActionState.REVERTED, "closed by ana")
    assert story.world.board.directives == {}
    again = await story.remediation.take_back(progress.action, story.world.now, "closed by ben")
    assert not again.changed


async def test_a_dry_run_changes_nothing_and_ends_with_its_time_to_live() -> None:
    world = World()
    world.run(60)
    world.failing = {A: 1.0}
    world.run(15)
    story = Story(world)
    story.remediation = Remediation(
        {ActionKind.EJECT_TARGET: DryRun()}, world.window, lambda: world.snapshot, lambda: world.settings
    )
    await story.eject()
    assert story.action.state is ActionState.EXECUTED
    assert world.board.directives == {}
    await story.go_on(650)
    assert story.action.state is ActionState.REVERTED
    assert story.kinds == ["action.executed", "action.restored"]


@pytest.mark.parametrize("seed", range(12))
async def test_healthy_noise_neither_keeps_a_mended_target_out_nor_lets_a_broken_one_in(seed: int) -> None:
    world = World(per_s=8, seed=seed)
    story = await begun(world, failing={A: 0.8, B: 0.01})
    await story.go_on(110)
    assert story.action.state is ActionState.EXECUTED, story.told
    world.failing = {A: 0.01, B: 0.01}
    await story.go_on(300, lambda: story.action.state is ActionState.REVERTED)
    assert story.action.state is ActionState.REVERTED, story.told
    assert not story.escalated
