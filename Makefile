# make demo    the flights demo
# make test    folder order, C tests under sanitizers, Python tests
# make test-django   Django's own test suite (APPS="basic queries" for some apps)
# make bench   benchmarks
# make lint    ruff
# make venv    only the environment: .venv with the package built and installed

VENV := .venv
PYTHON := $(VENV)/bin/python
BUILD_C := build/c
PYTEST_ARGS :=

.PHONY: demo test test-c test-python test-django check-layers bench lint clean venv
.NOTPARALLEL:

venv:
	@tools/venv.sh

demo: venv
	$(PYTHON) examples/flights/demo.py

test: check-layers test-c test-python

check-layers:
	python3 tools/check_layers.py

# C tests look for DuckDB in python3's packages: the environment's come first on PATH. Python tests read what the C tests' programs
# write (ICE_C_TESTS).
test-c test-python: export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

test-c: venv
	@test -f $(BUILD_C)/build.ninja || \
	  meson setup $(BUILD_C) -Dcore_tests=true -Dpython_module=false -Db_sanitize=address,undefined
	meson compile -C $(BUILD_C)
	meson test -C $(BUILD_C) --no-rebuild --print-errorlogs

test-python: export ICE_C_TESTS := $(CURDIR)/$(BUILD_C)/tests/c
test-python: venv
	@tools/setup.sh postgresql chromium
	pytest $(PYTEST_ARGS)

test-django: venv
	$(PYTHON) tests/django/run.py $(APPS)

bench: venv
	@tools/setup.sh postgresql
	$(PYTHON) bench/run.py

lint: venv
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

clean:
	rm -rf build $(VENV) .pytest_cache .ruff_cache
	find core django_iceberg polars_iceberg tests tools -name __pycache__ -prune -exec rm -rf {} +
