"""What control is made of."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.admin.application import build as build_admin
from gateway.admin.audited import audited
from gateway.admin.auth import Auth
from gateway.admin.dashboard.render import Pages
from gateway.admin.dashboard.routes import routes as dashboard_routes
from gateway.admin.forwarded import FromWorkers
from gateway.admin.local import LocalSocket
from gateway.admin.ports import AdminPorts
from gateway.app.collecting import collecting
from gateway.app.diagnosing import diagnostician
from gateway.app.outside import outside
from gateway.app.own import own_health
from gateway.app.remedies import Seen, remedies, stop_switch, stopped
from gateway.app.replaying import replaying
from gateway.app.telling import Telling, telling
from gateway.app.witness import anybody, second_witness
from gateway.casebook import Casebook
from gateway.config import compile as compiling
from gateway.config import compile_objectives, compile_sources
from gateway.config.checking import load_file
from gateway.config.file_watcher import ConfigFileWatcher
from gateway.config.publisher import Publisher
from gateway.config.revisions import Revisions
from gateway.control.daily import DailyReport
from gateway.control.detector_memory import DetectorMemory
from gateway.control.directives import Board
from gateway.control.gauges import Gauges
from gateway.control.keys import PublishedKeys
from gateway.control.leadership import Leadership
from gateway.control.memory import Memory
from gateway.control.notifiers import Notifiers
from gateway.control.objectives import Objectives
from gateway.control.readiness import reasons_not_ready
from gateway.control.revocations import PublishedRevocations
from gateway.control.rounds import Rounds
from gateway.control.runbooks import Shelf
from gateway.control.silences import Silences
from gateway.control.slack_desk import SlackDesk
from gateway.control.start import offer_setup, prepare_schema, unix_listener
from gateway.detect.burn_rate import BudgetBurn
from gateway.detect.detectors import in_service
from gateway.detect.external import ExternalAlerts
from gateway.detect.held import Held
from gateway.detect.own_trouble import OwnTrouble, WithOurs
from gateway.detect.unlike_itself import Watched
from gateway.domain.topology import Topology
from gateway.identity.setup_link import SetupLink
from gateway.ingest.event_intake import EventIntake
from gateway.newsroom import Newsroom
from gateway.notify.objective_report import daily_report
from gateway.outward import Outward
from gateway.pipeline import Pipeline
from gateway.proxy.health import Prober
from gateway.serving import LiveWorkers, in_background, serve, server, told_to_stop, watch_parent
from gateway.store.api_keys import ApiKeys
from gateway.store.audit import Audit
from gateway.store.detector_states import DetectorStates
from gateway.store.directives import Directives
from gateway.store.engine import open_store
from gateway.store.events import Events
from gateway.store.incidents import Incidents
from gateway.store.journal import Journal
from gateway.store.journaled import JournaledAudit, JournaledIncidents
from gateway.store.leases import Leases
from gateway.store.objective_counts import ObjectiveCounts
from gateway.store.revisions import Revisions as RevisionStore
from gateway.store.revocations import Revocations
from gateway.store.runbooks import Runbooks as RunbookStore
from gateway.store.silences import Silences as SilenceStore
from gateway.store.users import Users

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from gateway.control.own_health import OwnHealth
    from gateway.domain.audit import ConfigRevision
    from gateway.domain.policy import DetectSettings
    from gateway.domain.snapshot import Snapshot
    from gateway.run_folder import RunFolder
    from gateway.settings import Settings


async def control(  # noqa: PLR0915 - a list of what control is made of, in order
    folder: RunFolder,
    settings: Settings,
    listener: socket.socket | None,
    *,
    config_path: str,
    parent: int | None,
    on_ready: Callable[[], None],
) -> None:
    """Control: ships records, detects and acts on them, and answers people; until SIGTERM, or ``parent`` is gone.

    ``listener`` is the admin plane's own; without one, workers forward the admin paths (shared mode).
    """
    async with AsyncExitStack() as stack:
        stopping = told_to_stop()
        in_background(stack, watch_parent(parent, stopping))
        clock = time.time

        # What workers run on. The supervisor wrote a first snapshot; keys, directives and fence go on from there.
        configuration = load_file(Path(config_path), settings)
        document = configuration.document
        publisher = Publisher.resumed(folder.snapshot, configuration, clock=clock)

        def snapshot() -> Snapshot:
            return publisher.snapshot

        # The store; while it is away, incidents and audit lines wait in a journal, pages in the outbox's memory.
        store = open_store(str(document.store.url))
        stack.push_async_callback(store.close)
        await prepare_schema(store, str(document.store.url))
        journal = Journal(folder.journal)
        incidents = JournaledIncidents(Incidents(store), journal)
        memory = Memory(incidents)
        audit = JournaledAudit(Audit(store), journal)
        events = Events(store)

        # Traffic: the spool's way into the store, past everybody who watches.
        collected = await collecting(
            stack, folder, store, publisher, baseline_s=document.detect.baseline_s, clock=clock
        )
        shipper, traffic, window, callers, senders, meters, live, key_sets, records, buckets, others = collected

        # Acting on the edge, and the health of targets.
        board = Board(publisher, Directives(store), clock=clock)
        prober = Prober(board.health_changed)
        prober.apply(publisher.snapshot.upstreams)
        stack.push_async_callback(prober.close)
        gauges = Gauges(meters, snapshot=snapshot, publish=publisher.set_open_incidents)

        # Telling people.
        stop = stop_switch(store, journal, clock)
        people: Telling = await telling(
            stack,
            store,
            document,
            settings,
            meters,
            clock=clock,
            stopped=lambda: stopped(stop),
            watch=lambda channel, why_not: own.delivered(channel, why_not),  # noqa: PLW0108 - made further down
        )

        # What was promised, and how fast it is being spent.
        objectives = Objectives(
            ObjectiveCounts(store),
            window,
            lambda: compile_objectives.objectives(publisher.configuration.document),
            set_gauges=meters.set_all,
            clock=clock,
        )
        budget_burn = BudgetBurn(objectives.states)

        # What others tell: alerts of other monitoring, and deploys.
        told = outside(store, journal, publisher, meters, clock)
        hearsay = ExternalAlerts(told.alerts.speaking)

        # One incident's way.
        shelf = Shelf(RunbookStore(store), document.diagnose.runbooks, leading=lambda: board.leading, clock=clock)
        detectors, watched = lru_cache(maxsize=1)(in_service), Watched()

        def detect_settings() -> DetectSettings:
            return compiling.detect_settings(publisher.configuration.document)

        casebook = Casebook(memory, on_open=gauges.incidents, on_action=gauges.action)
        silences = Silences(
            SilenceStore(store),
            lambda: compile_objectives.maintenance(publisher.configuration.document),
            snapshot,
            clock,
        )

        # The configuration's history; a file that changes on disk is applied like any other text.
        def applied(revision: ConfigRevision, summary: list[str]) -> None:
            told.changes.revision_applied(revision, summary)
            prober.apply(publisher.snapshot.upstreams)

        revisions = Revisions(
            publisher=publisher,
            store=RevisionStore(store),
            settings=settings,
            source=Path(config_path).name,
            clock=clock,
            on_applied=applied,
        )
        await revisions.start()

        def held() -> Held:
            return Held(casebook.open_ones, Topology.of(snapshot()))

        outward = await stack.enter_async_context(Outward(anybody))
        witness = second_witness(
            outward, store, records, told, publisher, board, settings=settings, held=held, meters=meters, clock=clock
        )
        seen = Seen(window, callers, told.changes)
        acting = remedies(store, journal, publisher, board, revisions, casebook, seen, settings.secret)
        own_trouble = OwnTrouble(lambda: own.facts, lambda: casebook.open_ones)
        pipeline = Pipeline(
            window=window,
            detectors=lambda: (*detectors(detect_settings(), held, watched), budget_burn, hearsay, own_trouble),
            grouper=lambda: WithOurs(detect_settings().cooldown_s),
            casebook=casebook,
            analysis=diagnostician(
                stack,
                document,
                settings,
                meters,
                window,
                snapshot,
                told.changes,
                memory,
                clock=clock,
                samples=records,
                senders=senders,
                shelf=shelf,
                witness=witness,
                watch_model=lambda why_not: own.reported(why_not),  # noqa: PLW0108 - made further down
            ),
            remediation=acting.remediation,
            claims=acting.claims,
            stop=stop,
            newsroom=Newsroom(people.herald, casebook, silences.why_quiet, clock),
            detect=detect_settings,
            remediate=acting.settings,
            snapshot=snapshot,
            clock=clock,
            alerts=told.alerts,
        )

        keys = PublishedKeys(ApiKeys(store), publisher)
        revocations = PublishedRevocations(Revocations(store), publisher, clock)
        file_watcher = ConfigFileWatcher(Path(config_path), revisions)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, file_watcher.poke)

        leadership = Leadership(Leases(store), folder.node(), on_fence=publisher.set_fence)
        stack.push_async_callback(leadership.resign)

        # What people and programs see.
        def program_token(source: str) -> str:
            return settings.secret(compile_sources.token_env(publisher.configuration.document, source)) or ""

        live_workers = LiveWorkers(folder.workers)
        own: OwnHealth = own_health(
            folder,
            store,
            publisher,
            meters,
            traffic,
            leadership,
            journal,
            key_sets,
            live_workers,
            people.channels,
            clock,
        )
        stack.callback(own.rest)
        users = Users(store)
        ports = audited(
            AdminPorts(
                incidents=incidents,
                decisions=pipeline,
                stop=stop,
                requests=records,
                live=live,
                buckets=buckets,
                users=users,
                keys=keys,
                revocations=revocations,
                audit=audit,
                events=EventIntake(
                    events,
                    count=lambda outcome, amount: meters.count("sentinel_events_total", outcome, amount=amount),
                    clock=clock,
                ),
                program_token=program_token,
                configuration=revisions,
                silences=silences,
                runbooks=shelf,
                objectives=objectives.states,
                objective_report=lambda: daily_report(objectives.states(), clock()),
                window=window,
                snapshot=snapshot,
                target_states=board.states,
                not_ready=lambda: reasons_not_ready(traffic, leadership, journal, stopping=folder.stopping()),
                troubles=own.symptoms,
                metrics=meters.render,
                clock=clock,
                slack=SlackDesk(people.channels, people.deliverers, settings.secret, incidents, users, clock),
                news=people.news,
                alerts=told.alerts,
                dead_letters=told.letters,
                deploys=told.deploys,
                notifiers=Notifiers(people.channels, people.deliverers, people.kept, clock),
                replays=replaying(store, incidents, publisher, settings, clock),
            )
        )
        setup_link = SetupLink(folder.path)
        auth = Auth(ports, setup_link=setup_link)
        pages = Pages(ports, auth)
        admin = build_admin(
            ports,
            auth,
            dashboard_routes=dashboard_routes(ports, auth, pages),
            error_page=pages.error_page,
            metrics_token=settings.secret(document.admin.metrics_token_env) or "",
        )
        await offer_setup(ports, setup_link, people.base_url)

        # What goes on beside it all.
        detector_memory = DetectorMemory(
            DetectorStates(store),
            watched,
            lambda place: Topology.of(snapshot()).knows(place),
            lambda: leadership.since,
            clock,
        )

        async def purge() -> None:
            retention = publisher.configuration.document.store.retention
            await records.purge(clock(), retention.requests_s, retention.buckets_s)
            await people.purge(clock() - retention.requests_s)
            await told.purge(clock(), retention.buckets_s)
            await events.purge(clock() - retention.events_s)
            await detector_memory.purge()

        reports = compiling.report_settings(document)
        daily = DailyReport(
            reports, people.channels, people.outbox, incidents, objectives.states, people.base_url, clock
        )

        async def tell() -> None:
            going_on, now = casebook.open_ones, clock()
            await people.herald.remind(
                one for one in going_on if not (one.untold or silences.why_quiet(one, going_on, now))
            )
            await daily.look()
            await detector_memory.look()

        rounds = Rounds(
            leadership=leadership,
            pipeline=pipeline,
            board=board,
            keys=keys,
            revocations=revocations,
            silences=silences,
            learn=told.learn(),
            others=others,
            revisions=revisions,
            gauges=gauges,
            workers=live_workers,
            observe_s=lambda seconds: meters.observe("sentinel_detection_seconds", seconds),
            tell=tell,
            purge=purge,
            clock=clock,
        )
        in_background(
            stack,
            shipper.run(),
            journal.run(),
            people.outbox.run(),
            file_watcher.run(),
            live_workers.follow(),
            rounds.run(),
            own.run(),
            key_sets.run(),
            people.news.relate(str(document.redis.url)),
            objectives.run(),
            shelf.run(),
            witness.run(),
        )
        servers = [serve(server(LocalSocket(admin)), unix_listener(folder.control_socket), stopping)]
        if listener is not None:
            servers.append(serve(server(admin), listener, stopping))
        else:
            forwarded = FromWorkers(admin)
            servers.append(serve(server(forwarded), unix_listener(folder.admin_socket), stopping))
        on_ready()
        await asyncio.gather(*servers)
