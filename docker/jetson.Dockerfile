# dfer_edge on a Jetson with JetPack 6.1 or later, from a checkout, on the board. Built from NVIDIA's pages, not yet run.
#   docker build -f docker/jetson.Dockerfile -t dfer-edge-jetson .
#   docker run --rm --runtime nvidia -v dfer-cache:/cache -v "$PWD:/data:ro" dfer-edge-jetson \
#       predict /data/video.mp4 --engine tensorrt
# TensorRT and its Python bindings come with the image; engines are built on the board at the first use (minutes) and
# kept in the volume, since an engine file fits one GPU and one library.
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0
# hadolint ignore=DL3008,DL3013
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ python3-dev python3-libnvinfer python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN python3 -m venv --system-site-packages /opt/dfer \
    && /opt/dfer/bin/pip install --no-cache-dir "/src[plots,serve]" "cuda-python==12.6.*" \
    && useradd --create-home --uid 10001 --groups video dfer \
    && mkdir /cache && chown dfer /cache
USER 10001
ENV PATH=/opt/dfer/bin:$PATH DFER_EDGE_CACHE=/cache
WORKDIR /data
ENTRYPOINT ["dfer-edge"]
CMD ["doctor"]
