import math
import shlex

import msgspec
import pytest

from gateway.admin.dashboard.models import chart, overview
from gateway.admin.dashboard.models import incident as incident_model
from gateway.admin.dashboard.models import request as request_model
from gateway.admin.dashboard.models.changes import changes
from gateway.admin.dashboard.models.markdown import export, plain
from gateway.admin.dashboard.models.routes import routes
from gateway.admin.dashboard.models.spark import spark
from gateway.admin.dashboard.views.configuration import diff
from gateway.admin.dashboard.views.keys import expiry
from gateway.admin.dashboard.views.live import event, matches
from gateway.admin.dashboard.views.requests import address, asked_filter
from gateway.admin.dashboard.views.sign_in import safe_next
from gateway.admin.dashboard.wording import NARROW
from gateway.config.limit_notation import written
from gateway.domain.access import AuthMode
from gateway.domain.incident import Place
from gateway.domain.limits import Limit, Scope
from gateway.domain.paging import RequestFilter
from gateway.domain.plan import ActionState
from gateway.domain.routing import Route
from gateway.domain.traffic import ErrorKind, SeriesKey, Tally
from gateway.domain.window import Window
from gateway.errors import InvalidInputError
from tests.admin_fakes import BROKEN, NOW, some_incidents, some_records, some_snapshot, some_window


def plain_spaces(text: str) -> str:
    return text.replace(NARROW, " ")


def key(**values) -> SeriesKey:
    return SeriesKey(
        **{"route": "r", "upstream": "u", "target": "t", "tenant": "a", "method": "GET", "status": 200, "error": ""}
        | values
    )


class TestOverview:
    def test_figures_of_the_last_whole_minute(self):
        window = Window()
        for at in range(940, 1005, 5):
            window.add(at, {key(): Tally(requests=10, errors=1, latency={500: 10})})
        rate, errors, p95 = overview.figures(window, 1003.0)
        assert plain_spaces(rate.value) == "2.0/s"  # 12 whole cells of 10 in a minute
        assert plain_spaces(errors.value) == "10 %" and errors.bad
        assert plain_spaces(p95.value) == "21.8 ms"

    def test_a_young_window_divides_by_the_time_it_has_seen(self):
        window = Window()
        window.add(1000, {key(): Tally(requests=50)})
        assert overview.figures(window, 1005.0)[0].value == "10.0/s"

    def test_nothing_received_reads_as_nothing_not_as_well(self):
        rate, errors, p95 = overview.figures(Window(), 1000.0)
        assert (rate.value, errors.value, p95.value) == ("0/s", "–", "–")

    def test_an_ejected_target_says_why_and_the_upstream_how_many_serve(self):
        tiles = overview.upstreams(some_snapshot(), {("payments", BROKEN): "ejected"}, some_window(), NOW)
        payments = next(upstream for upstream in tiles if upstream.name == "payments")
        out = next(tile for tile in payments.tiles if tile.target == BROKEN)
        assert payments.summary == "1 of 2 targets serve"
        assert (out.sign, out.word, out.look) == ("✕", "ejected", "out") and "38 %" in out.reason

    def test_who_runs_into_limits_comes_first_with_the_share_of_their_requests(self):
        window = Window()
        refused = ErrorKind.RATE_LIMITED
        window.add(
            995, {key(tenant="a", status=429, error=refused): Tally(requests=5), key(tenant="a"): Tally(requests=15)}
        )
        window.add(
            990, {key(tenant="b", status=429, error=refused): Tally(requests=9), key(tenant="c"): Tally(requests=9)}
        )
        rows = overview.limited(window, 1000.0)
        assert [(row.tenant, row.refused, row.refused_share) for row in rows] == [("b", 9, 1.0), ("a", 5, 0.25)]

    def test_a_user_of_one_tenant_sees_that_tenants_figures(self):
        window = Window()
        window.add(995, {key(tenant="a"): Tally(requests=5), key(tenant="b"): Tally(requests=100)})
        rate = overview.figures(window, 1000.0, lambda series: series.tenant == "a")[0]
        assert "5 in the last minute" in plain_spaces(rate.note)

    def test_changes_are_newest_first_and_directives_leave_with_their_expiry(self):
        snapshot = some_snapshot()
        lines = changes([], snapshot.directives, NOW)
        assert lines[0].text == f"Keeps payments {BROKEN} out"
        assert changes([], snapshot.directives, NOW + 1000) == ()

    def test_a_sparkline_stays_in_its_box(self):
        drawn = spark([0, 5, 10])
        assert drawn.line == "M0.0,30.0 L50.0,16.0 L100.0,2.0"
        assert spark([1]).line == ""
        assert spark([0, 0]).line == "M0.0,30.0 L100.0,30.0"


class TestIncident:
    incident = some_incidents()[0]

    def test_the_headline_answers_the_five_questions(self):
        hurt = (incident_model.Hurt("acme", 900, 150), incident_model.Hurt("globex", 100, 20))
        head = incident_model.headline(self.incident, hurt, NOW)
        assert head.what == f"Target {BROKEN} of upstream payments stopped answering in time."
        assert head.since_s == 425
        assert plain_spaces(head.for_whom) == "acme and globex: 170 of 1 000 requests failed"
        assert head.how_sure == "high: 0.91 of 1, 0.84 ahead of the next cause"
        assert plain_spaces(head.done[0].text) == f"Eject {BROKEN} from payments for 10 min"
        assert plain_spaces(head.done[0].verdict) == "it helped: 19 % → 0.3 % errors"
        assert head.waiting == 1

    def test_without_a_diagnosis_it_says_what_was_seen_and_that_it_is_not_explained(self):
        bare = msgspec.structs.replace(self.incident, diagnosis=None)
        head = incident_model.headline(bare, (), NOW)
        assert head.how_sure == "not analysed" and "38.1 %" in head.what
        assert head.for_whom == f"everyone who uses upstream payments, target {BROKEN}"

    def test_inconclusive_is_an_answer(self):
        diagnosis = self.incident.diagnosis
        report = msgspec.structs.replace(diagnosis.report, inconclusive=True, confidence_score=0.2, root_cause="")
        open_case = msgspec.structs.replace(self.incident, diagnosis=msgspec.structs.replace(diagnosis, report=report))
        head = incident_model.headline(open_case, (), NOW)
        assert head.how_sure.startswith("inconclusive") and head.what.endswith("The cause is not settled.")

    @pytest.mark.parametrize("state", list(ActionState))
    def test_every_state_of_an_action_has_a_sign_and_a_word(self, state):
        sign, word, _ = incident_model.ACTION_STATES[state]
        assert sign and word

    def test_time_left_is_until_the_lapse_or_until_the_effect_ends(self):
        done, asks = self.incident.actions
        assert incident_model.time_left_s(asks, NOW) == 1500
        assert incident_model.time_left_s(done, NOW) == 320
        assert incident_model.time_left_s(msgspec.structs.replace(done, state=ActionState.REVERTED), NOW) is None

    def test_the_chart_follows_the_upstream_of_a_target(self):
        assert chart.surroundings(Place(upstream="u", target="t")) == Place(upstream="u")
        assert chart.surroundings(Place(target="t")) == Place(target="t")

    def test_a_tenants_chart_holds_that_tenant_alone(self):
        inside = chart.at_place(Place(upstream="u"), tenant="a")
        assert inside(key(upstream="u", tenant="a")) and not inside(key(upstream="u", tenant="b"))

    def test_failed_and_all_requests_share_one_axis(self):
        drawn = chart.chart(self.incident, [(0, Tally(requests=30, errors=15)), (15, Tally())], 15, [], NOW)
        failed, everything = drawn.lines
        assert (failed.values, everything.values) == ((1.0, 0.0), (2.0, 0.0))

    def test_a_point_stands_in_the_middle_of_the_time_it_sums(self):
        assert chart.chart(self.incident, [(60, Tally()), (120, Tally())], 60, [], NOW).at == (90, 150)

    def test_latency_is_drawn_in_milliseconds_with_gaps_where_nothing_came(self):
        slow = msgspec.structs.replace(some_incidents()[1], anomalies=())
        drawn = chart.chart(slow, [(0, Tally(requests=1, latency={500: 1})), (60, Tally())], 60, [], NOW)
        assert drawn.lines[0].values[1] is None and math.isclose(drawn.lines[0].values[0], 21.8, abs_tol=0.2)

    def test_the_usual_band_holds_what_came_before_the_onset(self):
        series = [
            (int(self.incident.onset) - 150 + 15 * place, Tally(requests=30, errors=place)) for place in range(14)
        ]
        drawn = chart.chart(self.incident, series, 15, [], NOW)
        assert drawn.usual == (0.0, 0.6), "ten points lie before the onset"
        assert chart.usual([1.0, None, 2.0, 3.0, 4.0]) is None

    def test_marks_are_lettered_in_order_of_time_and_stay_inside(self):
        marks = chart.marks(self.incident, [], chart.span(self.incident, NOW))
        assert [mark.letter for mark in marks] == ["A", "B", "C"]
        assert [mark.words for mark in marks] == ["began", "noticed", f"eject target {BROKEN}"]

    def test_the_export_holds_cause_evidence_plan_and_time_line(self):
        text = export(self.incident, incident_model.headline(self.incident, (), NOW))
        for part in ("# P1 ", "## Cause", "## Evidence", "- **e2** ", "## Plan", "## Time line", "1. Look at the log"):
            assert part in text

    def test_markdown_and_html_from_traffic_stay_text(self):
        assert plain("[x](http://e)<b>|`") == "\\[x\\](http://e)&lt;b&gt;\\|\\`"
        assert "\n" not in plain("a\n# b")


class TestRequests:
    record = some_records()[5]

    def test_the_ledger_splits_the_whole_and_convicts_who_took_the_time(self):
        ledger = request_model.ledger(self.record)
        assert math.isclose(sum(part.share for part in ledger.parts), 1.0)
        assert math.isclose(ledger.parts[-1].x + ledger.parts[-1].width, request_model.LEDGER_WIDTH, abs_tol=0.1)
        assert plain_spaces(ledger.verdict) == "The gateway's own steps took 340 µs; payments took 1.00 s."

    def test_a_request_the_gateway_answered_itself_is_not_blamed_on_an_upstream(self):
        own = msgspec.structs.replace(self.record, attempts=0, duration_us=90)
        assert plain_spaces(request_model.ledger(own).verdict) == "The gateway answered by itself after 90 µs."

    @pytest.mark.parametrize(
        ("query", "shown"),
        [
            ("page=2&access_token=abc", "page=2&access_token=REDACTED"),
            ("API-KEY=1&sig=2&x-code=3", "API-KEY=REDACTED&sig=REDACTED&x-code=REDACTED"),
            ("%74oken=abc", "%74oken=REDACTED"),
            ("monkey=1&design=2&flag", "monkey=1&design=2&flag"),
        ],
    )
    def test_secrets_in_a_query_are_left_out(self, query, shown):
        assert request_model.redacted_query(query) == shown

    def test_curl_survives_a_shell_whatever_the_path_holds(self):
        hostile = msgspec.structs.replace(
            self.record, path="/a'$(rm -rf ~)`x`\n;", query="q=1", user_agent="a'b\x1b", method="GET", bytes_in=0
        )
        words = shlex.split(request_model.curl(hostile, None))
        assert words[:3] == ["curl", "-sS", "-i"]
        assert words[3] == "${GATEWAY:-http://127.0.0.1:8000}/a'$(rm%20-rf%20~)`x`%0A;?q=1"
        assert words[4:] == ["-A", "a'b\\u{1b}"]

    def test_curl_asks_for_the_proof_the_route_wants(self):
        route = Route(name="r", path="/*", upstream="u", auth=AuthMode.KEY)
        assert '-H "X-API-Key: $KEY"' in request_model.curl(self.record, route)
        assert "$TOKEN" in request_model.curl(self.record, msgspec.structs.replace(route, auth=AuthMode.JWT))

    def test_a_filter_survives_the_way_into_an_address_and_back(self):
        wanted, since = asked_filter({"q": "a&b", "route": "orders", "status": "5", "since": "24h"}, NOW)
        assert (wanted.text, wanted.route, wanted.status, wanted.since, since) == (
            "a&b",
            "orders",
            5,
            NOW - 86_400,
            "24h",
        )
        assert address(wanted, since) == "/dashboard/requests?q=a%26b&route=orders&status=5&since=24h"

    def test_nonsense_in_an_address_reads_as_any(self):
        wanted, since = asked_filter({"status": "drop", "since": "0x"}, NOW)
        assert wanted.status == 0 and since == "1h"

    def test_the_live_tail_filters_like_the_list(self):
        assert matches(RequestFilter(status=5, route="payments", text="/payments"), self.record)
        assert not matches(RequestFilter(status=2), self.record)
        assert not matches(RequestFilter(tenant="nobody"), self.record)

    def test_an_event_cannot_be_broken_by_lines_in_its_data(self):
        assert event("rows", "a\n\nevent: evil\r\nb") == "event: rows\ndata: a\ndata: event: evil\ndata: b\n\n"


class TestTheRest:
    def test_limits_read_as_sentinel_toml_writes_them(self):
        assert (
            written(Limit(name="x", rate=10 / 60, burst=20, scope=Scope.TENANT, window_s=60))
            == "10/min burst 20 per tenant"
        )

    def test_a_route_is_the_chain_of_its_steps(self):
        orders = routes(some_snapshot())[0]
        assert orders.match == "GET, POST /orders/*"
        assert orders.chain == (
            "token (JWT)",
            "scope orders:read",
            "100/s burst 200 per subject",
            "limits without Redis: local",
        )

    def test_a_diff_names_what_was_added_and_removed(self):
        assert diff("a\nb\n", "a\nc\n")[1:] == (("", " a"), ("del", "-b"), ("add", "+c"))
        assert diff("a\n", "a\n") == ()

    @pytest.mark.parametrize("days", ["0", "-1", "1.5", "9999", "x", "٣"])
    def test_an_expiry_that_is_no_number_of_days_is_refused(self, days):
        with pytest.raises(InvalidInputError, match="whole number of days"):
            expiry(days, NOW)

    def test_an_expiry_counts_from_now(self):
        assert expiry("2", NOW) == NOW + 172_800 and expiry("", NOW) is None

    @pytest.mark.parametrize(
        "path",
        [
            "//evil.example",
            "https://evil.example",
            "/dashboardx",
            "/dashboard\\evil",
            "/dashboard/../x",
            "/api/v1/keys",
            "",
            "/dashboard\n",
        ],
    )
    def test_signing_in_never_leads_elsewhere(self, path):
        assert safe_next(path) == "/dashboard"

    def test_signing_in_leads_back_to_the_page_with_its_filter(self):
        assert safe_next("/dashboard/requests?status=5") == "/dashboard/requests?status=5"
