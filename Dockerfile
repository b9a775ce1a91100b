# The gateway as an image: no root, code that it cannot write, one volume for what it keeps.
#
# It listens on loopback, as everywhere: run it with the host's network, or give it a certificate and tokens and
# listen beyond (README, "In a container").
ARG BASE=python:3.11-slim-bookworm

# hadolint ignore=DL3006
FROM ${BASE} AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
# hadolint ignore=DL3013
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir -q -c constraints.txt uv \
    && python3 -m venv --without-pip /opt/venv
COPY gateway gateway
COPY clients/python/trading_gateway clients/python/trading_gateway
RUN /opt/uv/bin/uv pip install -q --no-cache --python /opt/venv/bin/python -c constraints.txt . \
    && rm -f /opt/venv/.lock

# hadolint ignore=DL3006
FROM ${BASE}
LABEL org.opencontainers.image.title="trading-gateway" \
      org.opencontainers.image.description="A gRPC gateway between algorithmic strategies and one Alpaca account" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --no-create-home --home-dir /var/lib/gateway --shell /usr/sbin/nologin gateway \
    && install -d -m 0700 -o gateway -g gateway /var/lib/gateway
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 GATEWAY_DATA_DIR=/var/lib/gateway
USER 10001:10001
WORKDIR /var/lib/gateway
VOLUME /var/lib/gateway
EXPOSE 50051
STOPSIGNAL SIGTERM
# A start reads the journal first: a long one takes some seconds.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["trading-gateway", "health"]
ENTRYPOINT ["trading-gateway"]
CMD ["serve"]
