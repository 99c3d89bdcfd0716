# dfer_edge on a CPU, x86-64 or aarch64, from a checkout:
#   docker build -f docker/cpu.Dockerfile -t dfer-edge .
#   docker run --rm -v "$PWD:/data:ro" dfer-edge predict /data/video.mp4
#   docker run --rm -p 8000:8000 -e DFER_EDGE_API_KEY=... dfer-edge serve --host 0.0.0.0
FROM python:3.12-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM python:3.12-slim-bookworm
COPY --from=build /wheels /wheels
# hadolint ignore=DL3013
RUN wheel="$(echo /wheels/dfer_edge-*.whl)" \
    && pip install --no-cache-dir "${wheel}[openvino,plots,serve]" \
    && rm -r /wheels \
    && useradd --create-home --uid 10001 dfer \
    && mkdir /cache && chown dfer /cache
USER 10001
# The networks of the default weights, exported now: the first prediction does not wait, and /cache may be read-only.
ENV DFER_EDGE_CACHE=/cache
RUN dfer-edge build slowr50_sa
WORKDIR /data
ENTRYPOINT ["dfer-edge"]
CMD ["doctor"]
