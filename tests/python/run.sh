#!/bin/sh
# Runs the tests of the Python package in BUILD: with Debian's Python, which Debian's cffi and numpy are made for.
set -eu
here=$(dirname "$(readlink -f "$0")")
PYTHONPATH=$1/python:$here/../demo LD_LIBRARY_PATH=$1/libclient/src PYTHONDONTWRITEBYTECODE=1 \
        exec /usr/bin/python3 -W error "$here/test_svmd.py" "$1"
