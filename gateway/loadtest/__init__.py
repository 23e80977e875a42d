"""``sentinel loadtest``: locust scenarios against a gateway, judged, shown live and written down as one HTML page.

The scenarios are locust files in ``loadtests/scenarios``; each runs in a process of its own, because locust makes every
blocking call of the process it is imported into a cooperative one. There ``watching`` counts and judges, and tells this
process line by line; ``running`` reads that and looks at what the gateway itself uses meanwhile.
"""
