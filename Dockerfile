# One image that runs any service or command of rs-agent (docs/deploy.md):
#   docker build -t radicalspam/rs-agent .
# To pin the bases, give them with their digests:
#   --build-arg NODE_IMAGE=node:24-bookworm-slim@sha256:… --build-arg BASE_IMAGE=debian:bookworm-slim@sha256:…
ARG NODE_IMAGE=node:24-bookworm-slim
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /opt/rs-agent
# All workspaces' package.json: npm ci compares each with the lock file. Before the sources, so that
# a change of code installs nothing again.
COPY package.json package-lock.json ./
COPY shared/package.json shared/
COPY services/av-worker/package.json services/av-worker/
COPY services/dispatcher/package.json services/dispatcher/
COPY services/enricher/package.json services/enricher/
COPY services/ingest/package.json services/ingest/
COPY services/relay/package.json services/relay/
COPY services/spam-worker/package.json services/spam-worker/
COPY cli/package.json cli/
COPY kit/package.json kit/
COPY start/package.json start/
COPY bench/package.json bench/
COPY chaos/package.json chaos/
COPY flood/package.json flood/
COPY examples/typescript-worker/package.json examples/typescript-worker/
RUN npm ci --omit=dev --no-audit --no-fund
COPY deploy/agent/prune.mjs deploy/agent/
# sbom.cdx.json: what is inside. The native binding must load after the pruning.
RUN npm sbom --package-lock-only --omit=dev --sbom-format=cyclonedx > sbom.cdx.json \
 && node deploy/agent/prune.mjs \
 && node -e 'require("zeromq"); require("mongodb"); require("msgpackr")' \
 && rm -r start bench chaos flood examples node_modules/@rs-agent/example-worker node_modules/@rs-agent/start node_modules/@rs-agent/bench node_modules/@rs-agent/chaos node_modules/@rs-agent/flood package-lock.json
COPY LICENSE ./
COPY shared/src shared/src
COPY services services
COPY cli cli
COPY kit/src kit/src
COPY deploy/agent deploy/agent

# Debian's own files, Node and ours: the build's npm and its package cache stay behind.
FROM ${BASE_IMAGE}
RUN groupadd --gid 10001 rs-agent \
 && useradd --uid 10001 --gid rs-agent --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin rs-agent \
 && install -d -o rs-agent -g rs-agent -m 2750 /var/spool/rs-agent \
 && install -d -o rs-agent -g rs-agent -m 0750 /var/lib/sink
COPY --from=build /usr/local/bin/node /usr/local/bin/node
COPY --from=build /opt/rs-agent /opt/rs-agent
# `rs-agent` and `clamav-cli` by name, also in `docker exec`.
RUN ln -s /opt/rs-agent/cli/bin/rs-agent.mjs /usr/local/bin/rs-agent \
 && ln -s /opt/rs-agent/cli/bin/clamav-cli.mjs /usr/local/bin/clamav-cli
ENV MALLOC_MMAP_THRESHOLD_=1048576
ENV NODE_ENV=production HEALTH_HTTP=0.0.0.0:9100
USER rs-agent
WORKDIR /
STOPSIGNAL SIGTERM
# /readyz, for people and for whatever starts others after it. No restart should follow from it.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["rs-agent", "ready"]
# Node's options are those of kit/src/processes/service-process.ts, where it says why.
ENTRYPOINT ["node", "--min-semi-space-size=8", "--max-semi-space-size=8", "/opt/rs-agent/deploy/agent/entrypoint.ts"]
CMD ["--help"]
