# syntax=docker/dockerfile:1
# The wheel is built in one stage, its request path compiled (docs/adr/0015), and installed with hash-pinned
# dependencies; the last stage has neither compiler nor pip cache and runs as nobody in particular.
FROM python:3.13-bookworm AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements/runtime.txt requirements/runtime.txt
COPY requirements/ai.txt requirements/ai.txt
RUN python -m venv /opt/sentinel && /opt/sentinel/bin/pip install --require-hashes -r requirements/ai.txt
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY lua lua
COPY migrations migrations
COPY dashboards dashboards
COPY loadtests/scenarios loadtests/scenarios
RUN HATCH_BUILD_HOOKS_ENABLE=1 /opt/sentinel/bin/pip install --no-deps .

FROM python:3.13-slim-bookworm
LABEL org.opencontainers.image.title="SentinelStack" \
      org.opencontainers.image.description="An API gateway that investigates its own incidents" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --home-dir /var/lib/sentinel --create-home sentinel \
    && install -d -o sentinel -g sentinel -m 0700 /var/lib/sentinel/run \
    && install -d -m 0755 /etc/sentinel
COPY --from=build /opt/sentinel /opt/sentinel
ENV PATH=/opt/sentinel/bin:$PATH PYTHONUNBUFFERED=1 \
    SENTINEL_SERVER__HOST=0.0.0.0 SENTINEL_SERVER__RUN_DIR=/var/lib/sentinel/run SENTINEL_ADMIN__BIND=0.0.0.0:8001
USER 10001
WORKDIR /var/lib/sentinel
EXPOSE 8000 8001
VOLUME ["/var/lib/sentinel"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8001/health/live', timeout=2)"]
ENTRYPOINT ["sentinel"]
CMD ["serve", "--config", "/etc/sentinel/sentinel.toml"]
