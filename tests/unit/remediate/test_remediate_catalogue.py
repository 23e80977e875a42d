"""Each action is proposed for its own trouble, with its numbers, and lives its life in simulated traffic."""

from __future__ import annotations

import msgspec
import pytest

from gateway.domain.callers import Callers
from gateway.domain.diagnosis import Hypothesis
from gateway.domain.histogram import bin_of
from gateway.domain.incident import Change, Incident, IncidentState, Place, Severity, Signal
from gateway.domain.limits import Limit, Scope, TenantPlan
from gateway.domain.plan import Action, ActionKind, ActionState, Outcome, Risk
from gateway.domain.policy import OutsideCommand, RemediateSettings
from gateway.domain.routing import Route, Split, SplitShare
from gateway.domain.snapshot import DirectiveKind, Snapshot
from gateway.domain.traffic import ErrorKind, SeriesKey, Tally
from gateway.domain.window import Window
from gateway.remediate.actions.edge import by_directive
from gateway.remediate.approval import approve_by_policy
from gateway.remediate.closed_loop import Remediation
from gateway.remediate.planner import candidates
from tests.unit.remediate.world import T0, Board, blaming, upstream

pytestmark = pytest.mark.anyio
ONSET = T0 + 300
NOW = ONSET + 30
PAYMENTS = upstream("payments", "10.0.0.1:1")
CANARY = upstream("payments-v2", "10.0.0.2:1")
OTHER = upstream("elsewhere", "10.0.0.3:1")
ROUTE = Route(name="pay", path="/pay/*", upstream="payments")
SPLIT = msgspec.structs.replace(ROUTE, split=Split((SplitShare("payments", 80), SplitShare("payments-v2", 20))))
QUIET = {f"client 198.51.100.{number}": 2.0 for number in range(5)}  # requests per second


class Scene:
    """Five quiet minutes, then half a minute of trouble; ``tell`` adds five seconds of either."""

    def __init__(self, route: Route = ROUTE, **snapshot: object) -> None:
        self.window, self.callers, self.board = Window(), Callers(), Board()
        self.route = route
        self.more = snapshot
        self.settings = RemediateSettings()
        self.changes: tuple[Change, ...] = ()
        for at in range(int(T0), int(ONSET), 5):
            self.tell(at)

    @property
    def snapshot(self) -> Snapshot:
        given = {"revision": 2, "routes": (self.route,), "upstreams": (PAYMENTS, CANARY, OTHER)} | self.more
        return Snapshot(created_at=T0, directives=self.board.active(), **given)

    def tell(
        self,
        at: float,
        *,
        per_s: float = 10.0,
        bad: float = 0.0,
        name: str = "payments",
        error: str = "",
        tenant: str = "",
        callers: dict[str, float] | None = None,
        elsewhere: float = 0.0,
    ) -> None:
        cell: dict[SeriesKey, Tally] = {}
        for where, rate, share, why in ((name, per_s, bad, error), ("elsewhere", 10.0, elsewhere, "")):
            count = round(rate * 5)
            ill = round(count * share)
            for status, amount, kind in ((200, count - ill, ""), (503, ill, why)):
                if amount:
                    key = SeriesKey(
                        self.route.name if where == name else "other", where, "", tenant, "GET", status, kind
                    )
                    tally = Tally(requests=amount, errors=amount if status == 503 else 0)
                    tally.latency[bin_of(10_000)] = amount
                    cell[key] = tally
        self.window.add(int(at) - int(at) % 5, cell)
        into = self.callers._cells.setdefault(int(at) - int(at) % 5, {})
        self.callers.since = T0
        for caller, rate in (callers or QUIET).items():
            into[caller, self.route.name] = round(rate * 5)

    def trouble(self, seconds: int = 30, **told) -> Scene:
        for at in range(int(ONSET), int(ONSET) + seconds, 5):
            self.tell(at, **told)
        return self

    def incident(self, *actions: Action) -> Incident:
        return Incident(
            id="in-1",
            dedup_key="payments:error_rate",
            state=IncidentState.ANALYZING,
            severity=Severity.P1,
            signal=Signal.ERROR_RATE,
            place=Place(upstream="payments"),
            title="payments fails",
            opened_at=ONSET + 10,
            onset=ONSET,
            updated_at=NOW,
            actions=actions,
        )

    def plan(self, *actions: Action, blames: str = "payments"):
        whole = Hypothesis(id="h1", statement="it fails", upstream=blames, score=0.8)
        found = msgspec.structs.replace(blaming(), hypotheses=(whole,))
        return candidates(
            self.incident(*actions),
            found,
            self.snapshot,
            self.window,
            self.settings,
            NOW,
            callers=self.callers,
            changes=self.changes,
        )

    def proposed(self, *actions: Action, blames: str = "payments") -> Action:
        plan = self.plan(*actions, blames=blames)
        assert plan.actions, plan.why_not
        (action,) = plan.actions
        return action


def revision(at: float, diff: str, actor: str = "user ana") -> Change:
    return Change(at=at, kind="config", title="revision 2", reference="2", actor=actor, diff=diff)


# What is proposed for which trouble.


def test_one_caller_that_asks_for_far_more_than_before_is_limited_to_twice_its_usual():
    crowd = QUIET | {"client 203.0.113.9": 40.0}
    action = Scene().trouble(per_s=50.0, bad=0.6, callers=crowd).proposed()
    assert (action.kind, action.caller, action.risk) == (ActionKind.LIMIT_CALLER, "client 203.0.113.9", Risk.SAFE)
    assert action.amount == 1.0
    assert action.blast == pytest.approx(0.8)


def test_a_caller_that_shows_who_it_is_is_named_by_that():
    crowd = QUIET | {"client 203.0.113.9": 40.0, "subject acme/bot": 40.0, "subject acme/ana": 2.0}
    assert Scene().trouble(per_s=50.0, bad=0.6, callers=crowd).proposed().caller == "subject acme/bot"


def test_a_crowd_is_no_abuser_and_what_comes_beyond_the_usual_is_shed():
    crowd = {f"client 198.51.100.{number}": 1.8 for number in range(10)}
    action = Scene().trouble(per_s=18.0, bad=0.6, callers=crowd).proposed()
    assert (action.kind, action.risk) == (ActionKind.SHED_LOAD, Risk.MODERATE)
    assert action.amount == pytest.approx(1 - 1.1 * 10 / 18, abs=0.02)
    assert "18 requests/s, usual are 10" in action.effect


def test_more_than_may_be_shed_is_not_proposed():
    crowd = {f"client 198.51.100.{number}": 5.0 for number in range(20)}
    plan = Scene().trouble(per_s=100.0, bad=0.5, callers=crowd).plan()
    assert plan.actions == ()
    assert any("max_shed allows 50 %" in why for why in plan.why_not)


def test_an_upstream_that_drowns_beyond_shedding_has_its_circuit_opened():
    crowd = {f"client 198.51.100.{number}": 5.0 for number in range(20)}
    action = Scene().trouble(per_s=100.0, bad=0.97, callers=crowd).proposed()
    assert (action.kind, action.risk) == (ActionKind.OPEN_CIRCUIT, Risk.MODERATE)


def test_callers_that_use_up_their_limits_get_tighter_ones_before_anything_is_shed():
    limited = msgspec.structs.replace(ROUTE, limits=(Limit(name="pay", rate=4.0, burst=4, scope=Scope.CLIENT),))
    crowd = {f"client 198.51.100.{number}": 4.0 for number in range(5)}
    action = Scene(limited).trouble(per_s=20.0, bad=0.6, callers=crowd).proposed()
    assert (action.kind, action.route, action.amount) == (ActionKind.TIGHTEN_LIMIT, "pay", 0.5)


def test_callers_of_a_plan_are_shed_after_those_without():
    tenants = {"plans": (TenantPlan("gold", (), priority=9),), "tenant_plans": {"acme": "gold"}}
    scene = Scene(**tenants)
    crowd = {f"client 198.51.100.{number}": 1.8 for number in range(10)}
    for at in range(int(ONSET), int(NOW), 5):
        scene.tell(at, per_s=9.0, bad=0.6, callers=crowd)
        scene.tell(at, per_s=9.0, bad=0.6, callers=crowd, tenant="acme")
    shares = dict(scene.proposed().by_plan)
    assert shares["gold"] == 0.0 and shares[""] > 0.7


def test_a_bad_release_behind_a_split_gives_its_weight_to_the_others():
    scene = Scene(SPLIT)
    for at in range(int(ONSET), int(NOW), 5):
        scene.tell(at, per_s=8.0)
        scene.tell(at, per_s=4.0, bad=0.5, name="payments-v2")
    action = scene.proposed(blames="payments-v2")
    assert (action.kind, action.route, action.upstream) == (ActionKind.SHIFT_WEIGHT, "pay", "payments-v2")
    assert (action.risk, action.blast) == (Risk.SAFE, 0.2)


def test_a_revision_just_before_that_touches_the_place_is_rolled_back():
    scene = Scene().trouble(bad=0.9)
    scene.changes = (revision(ONSET - 60, 'route pay: rewrite "" → "/wrong"\nroute other: limit changed'),)
    action = scene.proposed()
    assert (action.kind, action.revision, action.from_revision) == (ActionKind.ROLL_BACK, 1, 2)
    assert action.risk is Risk.MODERATE
    assert "/wrong" in action.effect and "other" not in action.effect


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (revision(ONSET - 3600, "route pay: rewrite changed"), "did not begin within"),
        (revision(ONSET - 60, "route repay: rewrite changed"), "changed nothing about payments"),
        (revision(ONSET - 60, "route pay: rewrite changed", actor="remediation"), "is a rollback itself"),
        (revision(ONSET + 60, "route pay: rewrite changed"), "did not begin within"),
    ],
    ids=["long-before", "elsewhere", "own", "after"],
)
def test_any_other_revision_is_not(change, why):
    scene = Scene().trouble(bad=0.9)
    scene.changes = (change,)
    plan = scene.plan()
    assert all(action.kind is not ActionKind.ROLL_BACK for action in plan.actions)
    assert any(why in reason for reason in plan.why_not)


def test_what_is_configured_outside_comes_last_and_says_that_it_is_a_dry_run():
    scene = Scene().trouble(bad=0.5)
    command = OutsideCommand(
        "restart", "kubernetes", "payments", do="restart", settings=(("deployment", "pay"), ("namespace", "shop"))
    )
    scene.settings = RemediateSettings(commands=(command,))
    action = scene.proposed()
    assert (action.kind, action.command, action.risk) == (ActionKind.RUN_OUTSIDE, "restart", Risk.MODERATE)
    assert "Restart deployment pay in namespace shop" in action.effect and "Dry run" in action.effect


def test_what_ran_within_the_hour_is_not_run_again():
    scene = Scene().trouble(bad=0.5)
    command = OutsideCommand("hook", "webhook", "payments")
    scene.settings = RemediateSettings(commands=(command,), ran=(("hook", NOW - 60, "a-other"),))
    assert any("per_hour allows 1" in why for why in scene.plan().why_not)


def test_what_did_not_help_outside_is_followed_by_what_takes_it_back():
    scene = Scene().trouble(bad=0.5)
    there, back = (
        OutsideCommand("up", "webhook", "payments", undo="down"),
        OutsideCommand("down", "webhook", "payments", only_undo=True),
    )
    scene.settings = RemediateSettings(commands=(there, back))
    first = scene.proposed()
    vain = Outcome("no_effect", 0.5, 0.5, 50, NOW, "It did not help.")
    ended = msgspec.structs.replace(first, state=ActionState.KEPT, executed_at=NOW, ended_at=NOW, outcome=vain)
    assert (first.command, scene.proposed(ended).command) == ("up", "down")


def test_nothing_is_proposed_where_nothing_is_worse_than_before():
    crowd = QUIET | {"client 203.0.113.9": 40.0}
    scene = Scene().trouble(per_s=50.0, callers=crowd)
    scene.changes = (revision(ONSET - 60, "route pay: rewrite changed"),)
    scene.settings = RemediateSettings(commands=(OutsideCommand("hook", "webhook", "payments"),))
    assert scene.plan().actions == ()


# How they live.


def remediation(scene: Scene) -> Remediation:
    return Remediation(
        by_directive(scene.board), scene.window, lambda: scene.snapshot, lambda: scene.settings, callers=scene.callers
    )


async def executed(scene: Scene, loop: Remediation) -> Action:
    scene.board.clock = NOW
    action = (await loop.execute(approve_by_policy(scene.proposed(), NOW), NOW)).action
    assert action.state is ActionState.EXECUTED
    return action


async def lived(scene: Scene, loop: Remediation, action: Action, seconds: int, **told) -> Action:
    begun = int(scene.board.clock)
    for at in range(begun, begun + seconds, 5):
        scene.tell(at, **told)
        scene.board.clock = at + 5
        action = (await loop.advance(action, at + 5)).action
        if action.state is not ActionState.EXECUTED:
            break
    return action


async def test_a_limited_caller_is_free_again_once_it_asks_for_no_more_than_it_may():
    crowd = QUIET | {"client 203.0.113.9": 40.0}
    scene = Scene().trouble(per_s=50.0, bad=0.6, callers=crowd)
    loop = remediation(scene)
    action = await executed(scene, loop)
    (order,) = scene.board.directives.values()
    assert (order.kind, order.caller) == (DirectiveKind.LIMIT_CALLER, "client 203.0.113.9")
    action = await lived(scene, loop, action, 60, callers=crowd)
    assert action.outcome.verdict == "helped"
    assert action.trial.failed >= 1, "the caller goes on"
    action = await lived(scene, loop, action, 120)
    assert action.state is ActionState.REVERTED
    assert scene.board.directives == {}


async def test_shedding_that_helps_is_taken_back_step_by_step():
    crowd = {f"client 198.51.100.{number}": 1.8 for number in range(10)}
    scene = Scene().trouble(per_s=18.0, bad=0.6, callers=crowd)
    loop = remediation(scene)
    action = await executed(scene, loop)
    shares: list[float] = []
    for _ in range(60):
        action = await lived(scene, loop, action, 5)
        shares.append(action.trial.share)
    assert action.state is ActionState.REVERTED
    steps = [share for share in dict.fromkeys(shares) if share]
    assert steps == sorted(steps) and len(steps) >= 3, steps


async def test_shedding_that_does_not_help_is_taken_back_and_a_person_called():
    scene = Scene().trouble(per_s=18.0, bad=0.6, callers={f"client 198.51.100.{n}": 1.8 for n in range(10)})
    loop = remediation(scene)
    action = await lived(scene, loop, await executed(scene, loop), 120, bad=0.6)
    assert (action.state, action.outcome.verdict) == (ActionState.REVERTED, "no_effect")


async def test_what_recovers_everywhere_is_not_thanked_to_the_action():
    scene = Scene()
    for at in range(int(ONSET), int(NOW), 5):
        scene.tell(at, per_s=18.0, bad=0.6, elsewhere=0.6, callers={f"client 198.51.100.{n}": 1.8 for n in range(10)})
    loop = remediation(scene)
    action = await lived(scene, loop, await executed(scene, loop), 120)
    assert action.outcome.verdict == "no_effect"
    assert "Other upstreams recovered as well" in action.outcome.statement


async def test_an_upstream_with_a_trouble_of_its_own_is_no_control():
    scene = Scene()
    for at in range(int(ONSET), int(NOW), 5):
        scene.tell(at, per_s=18.0, bad=0.6, elsewhere=0.6, callers={f"client 198.51.100.{n}": 1.8 for n in range(10)})
    loop = Remediation(
        by_directive(scene.board),
        scene.window,
        lambda: scene.snapshot,
        lambda: scene.settings,
        callers=scene.callers,
        troubled=lambda _incident: frozenset({"elsewhere"}),
    )
    action = await lived(scene, loop, await executed(scene, loop), 30)
    assert action.outcome.verdict == "helped"


async def test_an_open_circuit_is_judged_when_some_requests_try_the_upstream_again():
    crowd = {f"client 198.51.100.{number}": 5.0 for number in range(20)}
    scene = Scene().trouble(per_s=100.0, bad=0.97, callers=crowd)
    loop = remediation(scene)
    action = await executed(scene, loop)
    action = await lived(scene, loop, action, 30, bad=1.0, error=ErrorKind.CIRCUIT_OPEN)
    assert action.trial.share == 0.1, "what the open circuit answers itself is not held against the upstream"
    action = await lived(scene, loop, action, 10, per_s=10.0, bad=1.0)
    assert action.trial.failed == 1


async def test_a_control_that_has_just_begun_does_not_take_silence_for_good_behaviour():
    crowd = QUIET | {"client 203.0.113.9": 40.0}
    scene = Scene().trouble(per_s=50.0, bad=0.6, callers=crowd)
    loop = remediation(scene)
    action = await lived(scene, loop, await executed(scene, loop), 25, callers=crowd)
    scene.callers._cells.clear()
    scene.callers.since = None
    assert (await loop.advance(action, NOW + 60)).action.state is ActionState.EXECUTED
