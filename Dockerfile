# The commands fgait-data, fgait-pretrain and fgait-eval, on CPU or on NVIDIA accelerators:
#   docker build -t fgait_jax .
#   docker build -t fgait_jax:cuda --build-arg JAX_EXTRA=cuda13 .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" fgait_jax \
#     fgait-pretrain --config=configs/pretrain.py:tiny --workdir=runs/first
# With accelerators add --gpus=all to docker run; the host needs the driver and NVIDIA's container toolkit, no CUDA: jax
# brings its own. Built data sets and runs lie in the mounted folder.
FROM python:3.11-slim

# "" is the CPU; the extras of jax are at https://docs.jax.dev/en/latest/installation.html
ARG JAX_EXTRA=""

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
# Any user may write here: matplotlib and fontconfig keep caches at home.
ENV HOME=/tmp
# Large pages, for speed on processors (docs/pretraining.md).
ENV GLIBC_TUNABLES=glibc.malloc.hugetlb=1

# First, so that a change of code does not install the libraries again.
COPY requirements.txt /src/
RUN pip install -r /src/requirements.txt ${JAX_EXTRA:+"jax[$JAX_EXTRA]"}

COPY pyproject.toml README.md LICENSE /src/
COPY configs /src/configs
COPY data_prep /src/data_prep
COPY fgait_jax /src/fgait_jax
RUN pip install --no-deps /src

WORKDIR /work
USER 1000:1000
CMD ["fgait-data", "--list"]
