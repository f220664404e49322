# docker build -t lh2face .
# docker run --rm -v "$PWD/out:/out" lh2face make reproduce   # the report: out/report/index.html
# docker run --rm lh2face make test
FROM python:3.11-slim-bookworm

# torch.compile needs g++; tests of the report and of the site need chromium.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes chromium g++ git libgl1 libglib2.0-0 make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /lh2face
# Packages are installed first, so an edit of the code does not install them again.
COPY requirements.lock pyproject.toml README.md Makefile ./
COPY plugin/lh2face/__init__.py plugin/lh2face/__init__.py
RUN make setup PYTHON=python3
COPY . .
RUN touch .venv/installed
ENV PATH=/lh2face/.venv/bin:$PATH

# The entry point copies report/ to /out, if /out is mounted.
ENTRYPOINT ["workflow/docker-entrypoint"]
CMD ["make", "reproduce"]
