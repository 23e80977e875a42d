"""Every page in a real browser: both widths, both themes, nothing on the console, nothing that scrolls sideways."""

from __future__ import annotations

import re

import msgspec
import pytest

from tests.admin_fakes import BROKEN, HOSTILE, NOW, PASSWORD, TARGETS, some_records

pytestmark = pytest.mark.chromium

PATHS = [
    "/dashboard",
    "/dashboard/incidents",
    "/dashboard/incidents/inc-1",
    "/dashboard/incidents/inc-2",
    "/dashboard/incidents/inc-3",
    "/dashboard/requests",
    "/dashboard/requests/01JD0000000000000000000003",
    "/dashboard/requests/01JD0000000000000000000005",
    "/dashboard/upstreams",
    "/dashboard/routes/orders",
    "/dashboard/routes/orders?limit=5/s+burst+5+per+subject",
    "/dashboard/configuration",
    "/dashboard/configuration?revision=7",
    "/dashboard/configuration?edit=6",
    "/dashboard/keys",
    "/dashboard/objectives",
    "/dashboard/audit",
    "/dashboard/events",
    "/dashboard/events?agent=deploy-7",
]


@pytest.fixture
def complaints():
    """What the browser said against a page: console errors, CSP violations, exceptions."""
    return []


@pytest.fixture
def page(browser, complaints):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    watch(opened, complaints)
    yield opened
    context.close()


def watch(page, complaints):
    page.on("console", lambda line: complaints.append(line.text) if line.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))


def poll(page):
    """Ask at once instead of at the next turn; the overview's test waits for a real one."""
    page.evaluate("htmx.trigger(document.querySelector('[hx-trigger^=every]'), 'every')")


def sideways(page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_is_quiet_and_fits(site, browser, complaints, width, theme):
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=theme)
    page = context.new_page()
    watch(page, complaints)
    site.sign_in(page)
    for path in PATHS:
        answer = page.goto(site.url + path)
        assert answer.status == 200, path
        assert sideways(page) <= 0, path
        assert page.locator("h1").count() == 1, path
        assert complaints == [], path
    context.close()


def test_the_policy_allows_no_script_of_strangers(site, page):
    site.sign_in(page)
    answer = page.goto(f"{site.url}/dashboard/incidents/inc-1")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self' 'nonce-" in policy and "unsafe" not in policy
    assert (
        page.locator("script:not([src])").count() == 0
        and page.locator("[style]:not(.uplot *):not(.uplot)").count() == 0
    )


def test_approving_runs_the_action_once_and_names_who_did(site, page):
    site.sign_in(page)
    page.goto(f"{site.url}/dashboard/incidents/inc-1")
    target = TARGETS["payments"][0]
    page.get_by_role("button", name=re.compile(f"Approve: eject {re.escape(target)} from payments for 10.min")).click()
    page.wait_for_url("**/incidents/inc-1?done=approved")
    assert page.get_by_role("status").filter(has_text="Approved").is_visible()
    assert page.locator("#a-2").get_by_text("by ana@example.org").is_visible()
    assert [(verb, subject, actor.name) for verb, subject, actor in site.admin.decisions.made] == [
        ("approve", "a-2", "ana@example.org")
    ]


def test_who_comes_second_is_told_who_was_first(site, browser, page):
    site.sign_in(page)
    page.goto(f"{site.url}/dashboard/incidents/inc-1")
    other = browser.new_context().new_page()
    site.sign_in(other, "otto")
    other.goto(f"{site.url}/dashboard/incidents/inc-1")
    other.get_by_role("button", name="Reject").click()
    other.wait_for_url("**?done=rejected")
    page.get_by_role("button", name=re.compile("Approve")).click()
    notice = page.locator(".notice.bad")
    notice.wait_for()
    assert "already REJECTED by otto@example.org" in notice.inner_text()
    assert [verb for verb, *_ in site.admin.decisions.made] == ["reject"]
    other.context.close()


def test_approving_works_without_javascript(site, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    site.sign_in(page)
    page.goto(f"{site.url}/dashboard/incidents/inc-1")
    assert page.get_by_text("stopped answering in time").is_visible()
    page.get_by_role("button", name=re.compile("Approve")).click()
    assert page.get_by_text("Approved. The action starts now").is_visible()
    context.close()


def test_a_viewer_may_look_and_not_decide(site, page):
    site.sign_in(page, "vera")
    page.goto(f"{site.url}/dashboard/incidents/inc-1")
    assert page.get_by_role("button", name=re.compile("Approve|Reject")).count() == 0
    token = page.locator("input[name=csrf_token]").first.input_value()
    answer = page.request.post(
        f"{site.url}/dashboard/incidents/inc-1/actions/a-2/approve",
        form={"csrf_token": token},
        headers={"Origin": site.url},
    )
    assert answer.status == 403 and site.admin.decisions.made == []


@pytest.mark.parametrize(
    ("headers", "token"), [({"Origin": "https://evil.example"}, True), ({}, False)], ids=["origin", "token"]
)
def test_a_foreign_form_cannot_approve(site, page, headers, token):
    site.sign_in(page)
    page.goto(f"{site.url}/dashboard/incidents/inc-1")
    form = {"csrf_token": page.locator("input[name=csrf_token]").first.input_value()} if token else {}
    answer = page.request.post(
        f"{site.url}/dashboard/incidents/inc-1/actions/a-2/approve",
        form=form,
        headers={"Origin": site.url, **headers},
    )
    assert answer.status == 403 and site.admin.decisions.made == []


def test_closing_by_hand_asks_why(site, page):
    site.sign_in(page)
    page.goto(f"{site.url}/dashboard/incidents/inc-3")
    page.get_by_text("Close by hand").click()
    page.get_by_label("Why").fill("expected: a holiday")
    page.get_by_role("button", name=re.compile("^Close:")).click()
    page.wait_for_url("**?done=closed")
    assert page.get_by_text("expected: a holiday").first.is_visible()


def test_the_incident_page_takes_over_what_changed(site, page):
    site.sign_in(page)
    page.goto(f"{site.url}/dashboard/incidents/inc-1")
    incident = site.admin.incidents.rows[0]
    site.admin.incidents.put(msgspec.structs.replace(incident, version=6, title="now with another title"))
    poll(page)
    page.locator("h1", has_text="now with another title").wait_for(timeout=10_000)


def test_a_half_typed_reason_survives_a_change(site, page):
    site.sign_in(page)
    page.goto(f"{site.url}/dashboard/incidents/inc-1")
    page.get_by_label("Reason for rejecting").fill("because")
    incident = site.admin.incidents.rows[0]
    site.admin.incidents.put(msgspec.structs.replace(incident, version=6))
    poll(page)
    page.get_by_text("This incident has changed").wait_for(timeout=10_000)
    assert page.get_by_label("Reason for rejecting").input_value() == "because"


def test_the_overview_refreshes_itself(site, page, complaints):
    site.sign_in(page)
    page.goto(f"{site.url}/dashboard")
    site.admin.target_states["payments", BROKEN] = "trial"
    site.admin.clock.now += 5
    page.get_by_text("on trial").wait_for(timeout=10_000)
    assert complaints == []


def test_the_chart_draws_marks_and_reads_values_out(site, page):
    site.sign_in(page)
    page.goto(f"{site.url}/dashboard/incidents/inc-1")
    page.locator("#chart canvas").scroll_into_view_if_needed()
    box = page.locator("#chart canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.62, box["y"] + box["height"] / 2)
    legend = page.locator("#chart-legend").inner_text()
    assert re.search(r"02:5\d:\d\d · \d+.*% failed", legend), legend
    assert page.locator(".marks-list li").count() == 3


def test_every_claim_leads_to_its_evidence(site, page):
    site.sign_in(page)
    page.goto(f"{site.url}/dashboard/incidents/inc-1")
    for link in page.locator(".cites a").all():
        assert page.locator(link.get_attribute("href")).count() == 1


def test_the_keyboard_moves_about(site, page):
    site.sign_in(page)
    page.goto(f"{site.url}/dashboard")
    for letter, path in (("i", "/dashboard/incidents"), ("r", "/dashboard/requests"), ("o", "/dashboard")):
        page.keyboard.press("g")
        page.keyboard.press(letter)
        page.wait_for_url(site.url + path)
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.wait_for_url("**/dashboard/requests#search")
    page.wait_for_function("document.activeElement.id === 'search'")
    page.keyboard.type("goi?")
    assert page.locator("#search").input_value() == "goi?", "letters typed into a field are no shortcuts"


def test_the_theme_switch_is_remembered(site, page):
    site.sign_in(page)
    page.goto(f"{site.url}/dashboard")
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate(ground) != before
    page.reload()
    assert page.evaluate(ground) != before and page.get_by_role("button", name="Light").is_visible()


def test_text_from_the_traffic_is_inert(site, page, complaints):
    site.sign_in(page)
    rows = some_records()
    evil = '"><img src=x onerror=alert(1)>\u202etxt'
    site.admin.requests.rows = [
        msgspec.structs.replace(
            rows[3], path=f"/{evil}", tenant=evil, subject=evil, user_agent=evil, id="../../<b>", query=f"a={evil}"
        )
    ]
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.goto(f"{site.url}/dashboard/requests?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&tenant=%3Cb%3E")
    page.goto(f"{site.url}/dashboard/requests")
    assert page.locator("td .mono", has_text="onerror").is_visible()
    page.locator("td .mono").first.click()
    page.get_by_role("heading", name=re.compile("onerror")).wait_for()
    assert page.locator("img").count() == 0 and "\\u{202e}" in page.locator("h1").inner_text()
    assert complaints == []


def test_hostile_text_in_an_incident_and_its_export_is_inert(site, page, complaints):
    site.sign_in(page)
    incident = site.admin.incidents.rows[0]
    site.admin.incidents.put(msgspec.structs.replace(incident, title=f"{HOSTILE} [x](javascript:alert(1))"))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.goto(f"{site.url}/dashboard/incidents/inc-1")
    assert HOSTILE in page.locator("h1").inner_text() and complaints == []
    export = page.request.get(f"{site.url}/dashboard/incidents/inc-1.md")
    assert export.headers["content-type"].startswith("text/markdown")
    assert "<script" not in export.text() and " [x](" not in export.text()


def test_the_live_tail_shows_new_rows_escaped_and_pauses(site, page, complaints):
    site.sign_in(page)
    page.goto(f"{site.url}/dashboard/requests?status=5")
    page.get_by_role("button", name="Follow live").click()
    page.get_by_text("Following").wait_for()
    row = next(record for record in some_records() if record.status == 502)
    fresh = msgspec.structs.replace(row, id="fresh-1", path=f"/{HOSTILE}")
    site.publish(fresh)
    site.publish(msgspec.structs.replace(fresh, id="fresh-2", status=200))
    page.locator("#rows tr.fresh").wait_for()
    assert page.locator("#rows tr").first.inner_text().count(HOSTILE) == 1
    page.get_by_role("button", name="Pause").click()
    site.publish(msgspec.structs.replace(fresh, id="fresh-3"))
    page.wait_for_timeout(700)
    assert page.locator("#rows tr.fresh").count() == 1 and complaints == []


def test_filters_stand_in_the_address(site, page):
    site.sign_in(page)
    page.goto(f"{site.url}/dashboard/requests")
    page.get_by_label("Status").select_option("5")
    page.wait_for_url("**/dashboard/requests?status=5&since=1h")
    assert set(page.locator("#rows tr td:nth-child(4)").all_inner_texts()) == {"502 upstream timeout"}


def test_a_user_of_one_tenant_sees_only_that_tenant(site, page):
    site.sign_in(page, "toni")
    page.goto(f"{site.url}/dashboard/requests")
    assert set(page.locator("#rows tr td:nth-child(6)").all_inner_texts()) == {"acme"}
    for path, status in (
        ("/dashboard/incidents/inc-1", 404),
        ("/dashboard/incidents/inc-2.md", 404),
        ("/dashboard/incidents/inc-2/chart.json", 404),
        ("/dashboard/requests/01JD0000000000000000000001", 404),
        ("/dashboard/configuration", 403),
        ("/dashboard/incidents/inc-3", 200),
    ):
        assert page.request.get(site.url + path).status == status, path
    page.goto(f"{site.url}/dashboard/keys")
    assert page.locator("tbody tr").count() == 1


def test_a_new_key_is_shown_once_and_can_be_revoked(site, page):
    site.sign_in(page)
    page.goto(f"{site.url}/dashboard/keys")
    page.get_by_label("Tenant").fill("acme")
    page.get_by_label("Subject").fill("späte Läufe")
    page.get_by_role("button", name="Make the key").click()
    assert "subject: write 1 to 128 letters" in page.locator(".notice.bad").inner_text()
    page.get_by_label("Subject").fill("nightly")
    page.get_by_role("button", name="Make the key").click()
    text = page.locator("#made").inner_text()
    key_id = text.split("_")[1]
    assert text.startswith("sk_") and site.admin.keys.rows[key_id].subject == "nightly"
    page.goto(f"{site.url}/dashboard/keys")
    assert text not in page.content()
    page.get_by_role("button", name=f"Revoke key {key_id}").click()
    page.wait_for_url("**?done=revoked")
    assert site.admin.keys.revoked == [key_id]
    assert [entry.verb for entry in site.admin.audit.rows[:2]] == ["key.revoked", "key.issued"]


def test_a_bad_configuration_is_refused_with_its_place_and_nothing_is_lost(site, page):
    site.sign_in(page)
    page.goto(f"{site.url}/dashboard/configuration")
    page.get_by_label("sentinel.toml").fill("[server]\nprot = 1\n")
    page.get_by_role("button", name="Apply").click()
    assert "sentinel.toml:2:1: unknown key 'prot'" in page.get_by_role("alert").inner_text()
    assert page.get_by_label("sentinel.toml").input_value() == "[server]\nprot = 1\n"
    assert site.admin.configuration.revisions[0].revision == 7


def test_a_configuration_is_checked_applied_and_rolled_back(site, page):
    site.sign_in(page)
    page.goto(f"{site.url}/dashboard/configuration")
    page.get_by_label("sentinel.toml").fill("[server]\nport = 9000\n")
    page.get_by_role("button", name="Check").click()
    assert page.locator(".diff .add").all_inner_texts() == ["+port = 9000"]
    assert site.admin.configuration.revisions[0].revision == 7
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url("**?done=applied")
    assert site.admin.configuration.text() == "[server]\nport = 9000\n"
    page.get_by_role("link", name="Roll back").first.click()
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url("**?done=applied")
    assert site.admin.configuration.revisions[0].note == "back to revision 7"
    assert site.admin.configuration.text() == site.admin.configuration.revisions[2].text


def test_a_wrong_password_says_so_and_keeps_the_address(site, page):
    page.goto(f"{site.url}/dashboard/requests?status=5")
    page.get_by_label("E-mail").fill("ana@example.org")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    assert "wrong" in page.get_by_role("alert").inner_text()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/dashboard/requests?status=5")


def test_signing_out_ends_the_session(site, page):
    site.sign_in(page)
    page.goto(f"{site.url}/dashboard")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/dashboard/sign-in")
    page.goto(f"{site.url}/dashboard")
    assert "/dashboard/sign-in" in page.url and site.admin.users.sessions == {}


def test_the_set_up_link_makes_the_first_administrator_once(site, page):
    site.admin.users.rows.clear()
    link = f"{site.url}/dashboard/setup?token={site.setup.issue(now=NOW)}"
    page.goto(link)
    page.get_by_label("E-mail").fill("first@example.org")
    page.get_by_label("Password").fill("a long enough sentence")
    page.get_by_role("button", name="Create").click()
    page.wait_for_url(f"{site.url}/dashboard")
    assert [user.role for user in site.admin.users.rows.values()] == ["admin"]
    assert page.goto(link).status == 403 and page.get_by_text("This link does not work").is_visible()


def test_an_unknown_page_is_a_page_with_a_way_out(site, page):
    site.sign_in(page)
    for path in ("/dashboard/nothing", "/dashboard/incidents/nothing", "/dashboard/requests/nothing"):
        assert page.goto(site.url + path).status == 404
        assert page.get_by_role("heading", name="Nothing here").is_visible()
    page.goto(f"{site.url}/dashboard/")
    assert page.url == f"{site.url}/dashboard"


def test_a_link_from_a_chat_does_not_ask_for_the_password_again(site, page):
    site.sign_in(page)
    page.route(
        "http://chat.example/",
        lambda route: route.fulfill(
            content_type="text/html", body=f'<a href="{site.url}/dashboard/incidents/inc-1">incident</a>'
        ),
    )
    page.goto("http://chat.example/")
    page.get_by_role("link", name="incident").click()
    page.wait_for_url("**/dashboard/incidents/inc-1")
    assert page.locator("h1", has_text="38 % errors").is_visible()


def test_an_empty_installation_says_what_to_paste(site, page):
    site.admin.incidents.rows.clear()
    site.admin.requests.rows.clear()
    site.admin.keys.rows.clear()
    site.admin.snapshot = msgspec.structs.replace(
        site.admin.snapshot, routes=(), upstreams=(), directives=(), open_incidents={}
    )
    site.sign_in(page)
    for path, command in (
        ("/dashboard", "sentinel serve --upstream"),
        ("/dashboard/incidents", "sentinel demo"),
        ("/dashboard/requests", "curl -i http://127.0.0.1:8000/"),
        ("/dashboard/upstreams", "sentinel serve --upstream"),
        ("/dashboard/keys", "sentinel key create"),
    ):
        page.goto(site.url + path)
        assert page.locator(".empty pre", has_text=command).is_visible(), path
