# The service in a container: slim, without root, made for a read-only root file system (see compose.yaml).
FROM python:3.13-slim AS build
WORKDIR /source
# Wheels only, each checked against its hash; what changes seldom comes first.
COPY requirements-serve.txt ./
RUN python -m venv /opt/placewise \
 && /opt/placewise/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements-serve.txt
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN /opt/placewise/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
COPY --from=build /opt/placewise /opt/placewise
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin placewise \
 && install --directory --owner=placewise /data
USER 10001
# Inside a container all addresses are meant; so keys are asked for: placewise keys new --keys /data/keys.jsonl --name me
ENV PATH=/opt/placewise/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PLACEWISE_CACHE=/data/cache \
    PLACEWISE_GALLERY=/data/city.gallery \
    PLACEWISE_KEYS=/data/keys.jsonl \
    PLACEWISE_HOST=0.0.0.0 \
    PLACEWISE_PORT=8750
VOLUME /data
EXPOSE 8750
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['PLACEWISE_PORT'] + '/readyz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["placewise"]
CMD ["serve"]
