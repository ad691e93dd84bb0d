# The add-on's image, and that of plain Docker: one program on a small base.

# Both can be replaced, by a mirror or by images made locally. The builder's C library must not be newer than the base's.
ARG BUILDER_IMAGE=docker.io/library/rust:1.95.0-slim-trixie
ARG BASE_IMAGE=docker.io/library/debian:13.2-slim

FROM ${BUILDER_IMAGE} AS builder
WORKDIR /build
# Dependencies in a layer of their own: it stays as long as the lock file does. The targets that the manifest names have
# to exist, and the program has to be built again afterwards.
COPY Cargo.toml Cargo.lock ./
COPY crates crates
RUN mkdir -p src docs benches/figures tests/blackbox tests/faults tests/image tests/kernel tests/sim \
    && echo 'fn main() {}' | tee src/main.rs benches/figures/main.rs tests/blackbox/main.rs tests/faults/main.rs \
        tests/image/suite.rs tests/kernel/suite.rs tests/kernel/cut.rs tests/kernel/reboot.rs tests/sim/selftest.rs \
        > tests/sim/demo.rs \
    && touch src/lib.rs \
    && cargo build --release --locked --bin bondkeeper \
    && rm -r src target/release/bondkeeper target/release/deps/bondkeeper* target/release/deps/libbondkeeper*
COPY docs/architecture.md docs/architecture.md
COPY src src
RUN find src -exec touch {} + && cargo build --release --locked --bin bondkeeper

FROM ${BASE_IMAGE}
ARG BUILD_VERSION=0.1.0
ARG BUILD_ARCH=amd64
LABEL io.hass.type="app" \
      io.hass.version="${BUILD_VERSION}" \
      io.hass.arch="${BUILD_ARCH}" \
      org.opencontainers.image.title="bondkeeper" \
      org.opencontainers.image.description="Keeps every Bluetooth bond of a Linux host safe per adapter and loads it back; controlled over MQTT" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${BUILD_VERSION}"
# For brokers behind public certificates. Nothing is run in this stage: the base needs no shell.
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=builder /build/target/release/bondkeeper /usr/bin/bondkeeper
# One heap for all threads: they hand each other what they allocate, and several heaps keep 1.7 MiB more for nothing.
ENV MALLOC_ARENA_MAX=1
VOLUME ["/data"]
HEALTHCHECK --interval=1m --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/bin/bondkeeper", "healthcheck"]
ENTRYPOINT ["/usr/bin/bondkeeper"]
CMD ["run"]
