"""SentinelStack: an API gateway that investigates its own incidents.

Two planes and two seams::

    clients ──▶ EDGE (n worker processes)                      CONTROL (one process per node)
                request rules → authenticate → authorize        ships records to the store, adds minute buckets
                → rate limit → forward ⇄ upstreams              detects → groups → diagnoses → plans → acts
                                                                → verifies → notifies
                needs: its run folder, Redis, upstreams         serves /dashboard, /api/v1, /metrics, /docs
                    │                                                 ▲         │
                    └────────── records go up: spool segments ────────┘         │
                    ◀────────── snapshots go down: routes, keys, directives ────┘

Where to start reading: :mod:`gateway.app` wires everything, :mod:`gateway.pipeline` is one incident's way,
:mod:`gateway.edge.middleware` is one request's way.

The words:

- *edge*: the worker processes that carry requests; *control*: the process that watches, thinks and acts.
- *route*: what a request is matched to; *upstream*: a named service behind it; *target*: one address of an upstream.
- *principal*: who calls; *tenant*: the customer the principal belongs to; *plan*: the limits a tenant bought.
- *exchange*: one request under way in a worker; *record*: what is written down of it when it is over.
- *segment*: a spool file of records; *bucket*: the sums of one minute; *snapshot*: the immutable state workers run on.
- *directive*: how control acts on the edge, always with an expiry.
- *anomaly*: one detector's finding; *incident*: anomalies that belong together; *evidence*: a fact with an id;
  *hypothesis*: a ranked cause; *diagnosis*: evidence, hypotheses and the report.
- *action*: one typed, reversible step of a *remediation plan*, with its *risk*, *approval* and *outcome*.
"""

__version__ = "0.1.0"
