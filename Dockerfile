# syntax=docker/dockerfile:1
# The program and the example plugins, in an image without a shell. Any command of `sawpit` is its argument:
# docker run -p 8000:8000 -v sawpit:/data sawpit up --listen 0.0.0.0:8000 --data /data --plugins /plugins

FROM rust:1.95-slim-bookworm AS build
RUN rustup target add wasm32-unknown-unknown
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo xtask plugins \
    && cargo build --release --locked --package sawpit \
    && install -D target/release/sawpit /out/sawpit \
    && cp -r plugins.d /out/plugins \
    && mkdir /out/data

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/sawpit /usr/local/bin/sawpit
COPY --from=build --chown=nonroot:nonroot /out/plugins /plugins
COPY --from=build --chown=nonroot:nonroot /out/data /data
# A volume that is mounted here is then this user's.
COPY --from=build --chown=nonroot:nonroot /out/data /cache
WORKDIR /data
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["sawpit"]
