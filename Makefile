# make demo    the flights demo
# make test    folder order, C tests under sanitizers, Python tests
# make test-django   Django's own test suite, with Django 5.2 and 6: DJANGO=6 for one of them, MODE="normal cold engine" for other modes,
#                    APPS="basic queries" for some apps, APPS=--core for those about databases
# make bench   benchmarks
# make lint    ruff
# make venv    only the environment: .venv with the package built and installed

VENV := .venv
PYTHON := $(VENV)/bin/python
BUILD_C := build/c
PYTEST_ARGS :=
DJANGO := 5.2 6
MODE := normal

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

# Each Django in an environment of its own; all of them run, whatever one of them gives.
test-django:
	@for django in $(DJANGO); do tools/venv.sh $$django || exit 1; done
	@status=0; for django in $(DJANGO); do for mode in $(MODE); do \
	  build/django-$$django/venv/bin/python tests/django/run.py --mode $$mode $(APPS) || status=1; \
	done; done; exit $$status

bench: venv
	@tools/setup.sh postgresql strace
	$(PYTHON) bench/run.py

lint: venv
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

clean:
	rm -rf build $(VENV) .pytest_cache .ruff_cache
	find core django_iceberg polars_iceberg tests tools -name __pycache__ -prune -exec rm -rf {} +
